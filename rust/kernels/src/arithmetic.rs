//! Sums, differences, products and quotients of arrays, on all threads.

use ndarray::{ArrayD, ArrayViewD};

use crate::simd::Vector;
use crate::{Element, Result, check_shape, memory, threads, vectorized};

/// What is done to each pair of elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `a + b`.
    Add,
    /// `a - b`.
    Subtract,
    /// `a * b`.
    Multiply,
    /// `a / b`.
    Divide,
}

/// Numbers in a task where nothing but one number is repeated.
const PIECE: usize = 16_384;

/// The operation on each element of `a` and the one of `b` in the same place; a `b` of `a`'s last
/// axes is repeated along the others.
pub fn apply<T: Element>(
    operation: Operation,
    a: ArrayViewD<'_, T>,
    b: ArrayViewD<'_, T>,
) -> Result<ArrayD<T>> {
    let same = &a.shape()[a.ndim().saturating_sub(b.ndim())..];
    check_shape("arithmetic", "b", same, b.shape())?;
    let mut c = memory::unfilled_array(a.raw_dim());
    let (a, b) = (a.as_standard_layout(), b.as_standard_layout());
    let a = a.as_slice().expect("standard layout");
    let b = b.as_slice().expect("standard layout");
    if let &[number] = b {
        let out = c.as_slice_mut().expect("a new array");
        threads::for_each_piece(out, PIECE, a.len(), |i, c| {
            with_number(operation, &a[i * PIECE..][..c.len()], number, c);
        });
        return Ok(c);
    }
    let repeated = b.len() < a.len();
    // Where `b` is repeated, a piece is made of whole copies of it.
    let width = if repeated { b.len() } else { 1 };
    let piece = threads::piece_len(a.len().div_ceil(width.max(1)), width) * width;
    let out = c.as_slice_mut().expect("a new array");
    threads::for_each_piece(out, piece, a.len(), |i, c| {
        let range = i * piece..i * piece + c.len();
        if repeated {
            let rows = a[range].chunks_exact(width).zip(c.chunks_exact_mut(width));
            rows.for_each(|(a, c)| pairs(operation, a, b, c));
        } else {
            pairs(operation, &a[range.clone()], &b[range], c);
        }
    });
    Ok(c)
}

vectorized! {
    fn pairs<S, T: Element>(operation: Operation, a: &[T], b: &[T], c: &mut [T]) {
        let lanes = T::V::<S>::LANES;
        for ((a, b), c) in a.chunks(lanes).zip(b.chunks(lanes)).zip(c.chunks_mut(lanes)) {
            T::V::<S>::prefetch_ahead(a);
            T::V::<S>::prefetch_ahead(b);
            T::V::<S>::prefetch_ahead(c);
            operate(operation, T::V::<S>::read(a), T::V::<S>::read(b)).write(c);
        }
    }
}

vectorized! {
    fn with_number<S, T: Element>(operation: Operation, a: &[T], b: T, c: &mut [T]) {
        let lanes = T::V::<S>::LANES;
        let b = T::V::<S>::splat(b);
        for (a, c) in a.chunks(lanes).zip(c.chunks_mut(lanes)) {
            T::V::<S>::prefetch_ahead(a);
            T::V::<S>::prefetch_ahead(c);
            operate(operation, T::V::<S>::read(a), b).write(c);
        }
    }
}

#[inline(always)]
fn operate<V: Vector>(operation: Operation, a: V, b: V) -> V {
    match operation {
        Operation::Add => a.add(b),
        Operation::Subtract => a.sub(b),
        Operation::Multiply => a.mul(b),
        Operation::Divide => a.div(b),
    }
}
