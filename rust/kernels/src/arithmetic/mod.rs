//! Operations on two arrays of shapes that broadcast, and the choice between them, on all threads.
#![allow(unsafe_code)]

mod choose;
mod operation;

use ndarray::{ArrayD, ArrayViewD, CowArray, IxDyn};

pub use choose::choose;
pub use operation::Operation;
use operation::{Add, Divide, Maximum, Minimum, Multiply, Pairwise, Subtract};

use crate::layout::copied;
use crate::simd::Vector;
use crate::threads;
use crate::walk::{Rows, Source, Walk, broadcast, strides_in};
use crate::{Element, Result, memory, vectorized};

/// Numbers in a task.
const PIECE: usize = 16_384;

/// The operation on each element of `a` and the one of `b` in the same place; axes of length one, and
/// those that only one of them has, are repeated.
///
/// What both have in another order than that of the axes, such as the transposed of a matrix, the
/// result has too.
pub fn apply<T: Element>(
    operation: Operation,
    a: ArrayViewD<'_, T>,
    b: ArrayViewD<'_, T>,
) -> Result<ArrayD<T>> {
    let shape = broadcast("arithmetic", a.shape(), b.shape())?;
    let Some(order) = other_order(&shape, [&a, &b]) else {
        return Ok(in_c_order(operation, &shape, a, b));
    };
    let [a, b] = [&a, &b].map(|x| {
        let whole = x.broadcast(shape.as_slice()).expect("a shape that broadcasts");
        whole.permuted_axes(order.as_slice())
    });
    let lengths: Vec<_> = order.iter().map(|&axis| shape[axis]).collect();
    let c = in_c_order(operation, &lengths, a, b);
    let mut back = vec![0; order.len()];
    order.iter().enumerate().for_each(|(place, &axis)| back[axis] = place);
    Ok(c.permuted_axes(back))
}

/// The axes in the order in which they lie in the operands of the whole `shape`, if that is not the
/// last axis innermost, and the same for all of them.
fn other_order<T>(shape: &[usize], operands: [&ArrayViewD<'_, T>; 2]) -> Option<Vec<usize>> {
    let last = shape.iter().rposition(|&len| len > 1)?;
    let mut found: Option<Vec<usize>> = None;
    for x in operands.into_iter().filter(|x| x.shape() == shape) {
        if x.strides()[last] == 1 {
            return None;
        }
        let mut order: Vec<_> = (0..shape.len()).collect();
        order.sort_by_key(|&axis| match shape[axis] {
            1 => isize::MIN,
            _ => -x.strides()[axis],
        });
        let dense = x.strides()[*order.last()?] == 1;
        if !dense || found.as_ref().is_some_and(|other| *other != order) {
            return None;
        }
        found = Some(order);
    }
    found
}

/// [`apply`] whose result, of `shape`, is in C order.
fn in_c_order<T: Element>(
    operation: Operation,
    shape: &[usize],
    a: ArrayViewD<'_, T>,
    b: ArrayViewD<'_, T>,
) -> ArrayD<T> {
    let mut c = memory::unfilled_array(shape);
    if c.is_empty() {
        return c;
    }
    let (a, b) = (in_rows(a), in_rows(b));
    let strides = [strides_in(shape, &a.view()), strides_in(shape, &b.view())];
    let walk = Walk::new(shape, strides.each_ref().map(Vec::as_slice));
    let [a_step, b_step] = walk.inner().steps;
    let (a, b) = (Source::new(a.as_ptr()), Source::new(b.as_ptr()));
    let (out, cost) = (c.as_slice_mut().expect("a new array"), shape.iter().product());
    threads::for_each_piece(out, PIECE, cost, |i, c| {
        let start = i * PIECE;
        walk.rows(start..start + c.len(), |rows| {
            let [a_at, b_at] = rows.offsets;
            let a = Operand { start: a.at(a_at), apart: rows.apart[0], step: a_step };
            let b = Operand { start: b.at(b_at), apart: rows.apart[1], step: b_step };
            let c = &mut c[rows.at - start..][..rows.count * rows.len];
            operate(operation, a, b, c, &rows);
        });
    });
    c
}

/// `x`, or a copy in C order if its numbers are apart along the last axis, the one that is gone along.
fn in_rows<T: Element>(x: ArrayViewD<'_, T>) -> CowArray<'_, T, IxDyn> {
    let last = x.shape().iter().zip(x.strides()).rev().find(|&(&len, _)| len > 1);
    let apart = last.is_some_and(|(_, &stride)| !(0..=1).contains(&stride));
    if apart { copied(&x).into() } else { x.into() }
}

/// Rows of an operand `apart` from each other, whose numbers are next to each other, or all the same
/// where `step` is zero.
#[derive(Clone, Copy)]
struct Operand<T> {
    start: *const T,
    apart: isize,
    step: isize,
}

vectorized! {
    /// The rows of `c` from those of `a` and `b`, which are readable as far as those go.
    fn operate<S, T: Element>(
        operation: Operation,
        a: Operand<T>,
        b: Operand<T>,
        c: &mut [T],
        rows: &Rows<2>,
    ) {
        match operation {
            Operation::Add => operate_on::<T::V<S>, Add>(a, b, c, rows),
            Operation::Subtract => operate_on::<T::V<S>, Subtract>(a, b, c, rows),
            Operation::Multiply => operate_on::<T::V<S>, Multiply>(a, b, c, rows),
            Operation::Divide => operate_on::<T::V<S>, Divide>(a, b, c, rows),
            Operation::Maximum => operate_on::<T::V<S>, Maximum>(a, b, c, rows),
            Operation::Minimum => operate_on::<T::V<S>, Minimum>(a, b, c, rows),
        }
    }
}

#[inline(always)]
fn operate_on<V: Vector, O: Pairwise>(
    a: Operand<V::Elem>,
    b: Operand<V::Elem>,
    c: &mut [V::Elem],
    rows: &Rows<2>,
) {
    for (row, c) in c.chunks_exact_mut(rows.len).enumerate() {
        let (x, y) = (
            a.start.wrapping_offset(row as isize * a.apart),
            b.start.wrapping_offset(row as isize * b.apart),
        );
        // SAFETY: the caller's rows are as long as those of `c`, or one number.
        unsafe {
            match (a.step, b.step) {
                (0, 0) => c.fill(O::of(V::splat(*x), V::splat(*y)).max_lane()),
                (0, _) => along::<V, O, false, true>(x, y, c),
                (_, 0) => along::<V, O, true, false>(x, y, c),
                _ => along::<V, O, true, true>(x, y, c),
            }
        }
    }
}

/// One row; the numbers of `a` and `b` are repeated where they do not move.
///
/// # Safety
/// Operands that move are as long as `c`.
#[inline(always)]
unsafe fn along<V: Vector, O: Pairwise, const A: bool, const B: bool>(
    a: *const V::Elem,
    b: *const V::Elem,
    c: &mut [V::Elem],
) {
    let whole = c.len() - c.len() % V::Pair::LANES;
    let (pairs, rest) = c.split_at_mut(whole);
    part::<V::Pair, O, A, B>(a, b, pairs);
    let (a, b) = (a.add(if A { whole } else { 0 }), b.add(if B { whole } else { 0 }));
    part::<V, O, A, B>(a, b, rest);
}

/// # Safety
/// As [`along`].
#[inline(always)]
unsafe fn part<V: Vector, O: Pairwise, const A: bool, const B: bool>(
    a: *const V::Elem,
    b: *const V::Elem,
    c: &mut [V::Elem],
) {
    if c.is_empty() {
        return;
    }
    let len = c.len();
    let a_row = std::slice::from_raw_parts(a, if A { len } else { 1 });
    let b_row = std::slice::from_raw_parts(b, if B { len } else { 1 });
    let (one, other) = (V::splat(a_row[0]), V::splat(b_row[0]));
    for (i, c) in c.chunks_mut(V::LANES).enumerate() {
        let at = i * V::LANES;
        let (mut x, mut y) = (one, other);
        if A {
            V::prefetch_ahead(&a_row[at..]);
            x = V::read(&a_row[at..]);
        }
        if B {
            V::prefetch_ahead(&b_row[at..]);
            y = V::read(&b_row[at..]);
        }
        V::prefetch_ahead(c);
        O::of(x, y).write(c);
    }
}
