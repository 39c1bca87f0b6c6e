//! Copies of arrays in C order: of one of any strides, of several side by side, of one with more around it.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use ndarray::{
    Array, Array2, ArrayBase, ArrayD, ArrayView, ArrayView2, ArrayViewD, Data, Dimension,
};

use crate::matmul::transposed;
use crate::memory;
use crate::simd::Vector;
use crate::threads::{self, Shared};
use crate::walk::{Axis, Source, Walk, offsets};
use crate::{Element, Error, Result, check_shape, vectorized};

/// Numbers in a task.
const PIECE: usize = 32_768;
/// Numbers of a line that is turned into a column at once, and lines of a task: what is written is
/// then whole before it leaves the first cache.
const DEPTH: usize = 64;
const LINES: usize = 2048;

/// Values of whose bits none are padding, so that they can be moved as numbers of their size.
///
/// # Safety
/// So it is.
pub unsafe trait Solid: Copy + Send + Sync {}

macro_rules! solid {
    ($($t:ty),*) => {
        $(
            // SAFETY: all bits are the number's.
            unsafe impl Solid for $t {}
        )*
    };
}

solid!(bool, u8, u16, u32, u64, i32, i64, f32, f64);

/// The numbers of an array in C order.
pub(crate) fn flat<T, S: Data<Elem = T>, D: Dimension>(x: &ArrayBase<S, D>) -> &[T] {
    x.as_slice().expect("standard layout")
}

/// A copy of `view` in C order.
pub fn copied<T: Solid, D: Dimension>(view: &ArrayView<'_, T, D>) -> Array<T, D> {
    let walk = Walk::new(view.shape(), [view.strides()]);
    // SAFETY: the view has a value at each place of the walk, and as many are written.
    unsafe { memory::filled_by(view.raw_dim(), |to| copy(view.as_ptr(), &walk, to)) }
}

/// Rows of `parts`, `[R, C1]`, `[R, C2]` and so on, one after the other: `[R, C1 + C2 + ...]`.
pub fn joined<T: Element>(parts: &[ArrayView2<'_, T>]) -> Result<Array2<T>> {
    let rows = parts.first().map_or(0, ArrayView2::nrows);
    let widths: Vec<_> = parts.iter().map(ArrayView2::ncols).collect();
    let mut starts = Vec::with_capacity(parts.len());
    let mut width = 0;
    for part in parts {
        check_shape("joined", "parts", &[rows, part.ncols()], part.shape())?;
        starts.push(width);
        width += part.ncols();
    }
    let parts: Vec<_> = parts.iter().map(|part| part.as_standard_layout()).collect();
    let parts: Vec<_> =
        parts.iter().map(|part| part.as_slice().expect("standard layout")).collect();
    let mut out = memory::unfilled_array((rows, width));
    let (to, cost) = (out.as_slice_mut().expect("a new array"), rows * width / 4);
    threads::for_each_piece(to, PIECE, cost, |i, to| {
        let (row, column) = (i * PIECE / width, i * PIECE % width);
        let part = starts.partition_point(|&start| start <= column) - 1;
        join(&parts, &widths, (row, part, column - starts[part]), to);
    });
    Ok(out)
}

vectorized! {
    /// What follows in `to` from a row, a part and a column of it on.
    fn join<S, T: Element>(
        parts: &[&[T]],
        widths: &[usize],
        from: (usize, usize, usize),
        to: &mut [T],
    ) {
        let (mut row, mut part, mut done) = from;
        let mut to = to;
        while !to.is_empty() {
            let from = &parts[part][row * widths[part] + done..(row + 1) * widths[part]];
            let (now, later) = to.split_at_mut(from.len().min(to.len()));
            put::<T::V<S>>(from, now);
            (to, done) = (later, 0);
            part += 1;
            if part == parts.len() {
                (part, row) = (0, row + 1);
            }
        }
    }
}

/// An axis, or several that go with it: how long it is, how many numbers are before it, and how many
/// there are then.
#[derive(Debug, Clone, Copy)]
struct Padded {
    len: usize,
    before: isize,
    padded: usize,
}

/// `x` with as many numbers before and after each axis as `pairs` say, all of them `value`; where they
/// are negative, so many of `x` are left out.
pub fn padded<T: Element>(
    x: ArrayViewD<'_, T>,
    pairs: &[(isize, isize)],
    value: T,
) -> Result<ArrayD<T>> {
    let wrong = |message| Error::value("padded", "pairs", message);
    if pairs.len() != x.ndim() {
        return Err(wrong(format!("expected {} pairs, got {}", x.ndim(), pairs.len())));
    }
    let mut axes: Vec<Padded> = Vec::with_capacity(pairs.len());
    let mut shape = Vec::with_capacity(pairs.len());
    for (&len, &(before, after)) in x.shape().iter().zip(pairs) {
        let whole = len.checked_add_signed(before).and_then(|n| n.checked_add_signed(after));
        let Some(padded) = whole else {
            return Err(wrong(format!(
                "expected a length from 0 on, got {len} and {before}, {after}"
            )));
        };
        shape.push(padded);
        // What has nothing around it goes with the axis before it.
        match axes.last_mut().filter(|_| (before, after) == (0, 0)) {
            Some(axis) => {
                *axis = Padded {
                    len: axis.len * len,
                    before: axis.before.saturating_mul(len as isize),
                    padded: axis.padded.saturating_mul(len),
                };
            }
            None => axes.push(Padded { len, before, padded }),
        }
    }
    let x = x.as_standard_layout();
    let x = flat(&x);
    let mut y = memory::unfilled_array(shape);
    if !y.is_empty() {
        let (cost, to) = (y.len() / 4, y.as_slice_mut().expect("a new array"));
        threads::for_each_piece(to, PIECE, cost, |i, to| pad(x, &axes, value, i * PIECE, to));
    }
    Ok(y)
}

vectorized! {
    /// The numbers of a padded array from number `start` on.
    fn pad<S, T: Element>(x: &[T], axes: &[Padded], value: T, start: usize, to: &mut [T]) {
        let whole = Padded { len: 1, before: 0, padded: 1 };
        let (row, outer) = axes.split_last().unwrap_or((&whole, &[]));
        let (mut line, mut column) = (start / row.padded, start % row.padded);
        let mut to = to;
        while !to.is_empty() {
            let count = to.len().min(row.padded - column);
            let (now, later) = to.split_at_mut(count);
            // The columns of `x` that come first and last, be they there or not.
            let first = column as isize - row.before;
            let ends = [first, first + count as isize].map(|end| end.clamp(0, row.len as isize));
            match line_of(outer, line).filter(|_| ends[0] < ends[1]) {
                Some(line) => {
                    let (start, stop) = (ends[0] as usize, ends[1] as usize);
                    let (before, rest) = now.split_at_mut((ends[0] - first) as usize);
                    let (inside, after) = rest.split_at_mut(stop - start);
                    fill::<T::V<S>>(before, value);
                    put::<T::V<S>>(&x[line * row.len..][start..stop], inside);
                    fill::<T::V<S>>(after, value);
                }
                None => fill::<T::V<S>>(now, value),
            }
            (to, line, column) = (later, line + 1, 0);
        }
    }
}

/// The line of the numbers themselves that a line of the padded array holds, if any.
#[inline(always)]
fn line_of(outer: &[Padded], mut line: usize) -> Option<usize> {
    let (mut own, mut stride) = (0, 1);
    for (i, axis) in outer.iter().enumerate().rev() {
        // Dividing takes longer than the rest.
        let place = if i == 0 { line } else { line % axis.padded };
        line = if i == 0 { 0 } else { line / axis.padded };
        let inside = (place as isize).wrapping_sub(axis.before) as usize;
        if inside >= axis.len {
            return None;
        }
        own += inside * stride;
        stride *= axis.len;
    }
    Some(own)
}

#[inline(always)]
fn fill<V: Vector>(to: &mut [V::Elem], value: V::Elem) {
    to.chunks_mut(V::LANES).for_each(|to| V::splat(value).write(to));
}

/// # Safety
/// `from` has a value at each place of the walk, of which there are as many as in `to`.
unsafe fn copy<T: Solid>(from: *const T, walk: &Walk<1>, to: &mut [MaybeUninit<T>]) {
    if to.is_empty() {
        return;
    }
    let apart = !(0..=1).contains(&walk.inner().steps[0]);
    let lines = walk.axes.iter().rposition(|axis| axis.steps == [1]);
    match (size_of::<T>(), lines.filter(|_| apart)) {
        (4, Some(along)) => turn::<f32>(from.cast(), walk, along, cast(to)),
        (8, Some(along)) => turn::<f64>(from.cast(), walk, along, cast(to)),
        _ => copy_rows(from, walk, to),
    }
}

/// The same places as those of numbers.
///
/// # Safety
/// `T` and `U` have the same size and alignment.
unsafe fn cast<T, U>(to: &mut [MaybeUninit<T>]) -> &mut [MaybeUninit<U>] {
    std::slice::from_raw_parts_mut(to.as_mut_ptr().cast(), to.len())
}

/// # Safety
/// As [`copy`].
unsafe fn copy_rows<T: Solid>(from: *const T, walk: &Walk<1>, to: &mut [MaybeUninit<T>]) {
    let [step] = walk.inner().steps;
    let (from, cost) = (Source::new(from), to.len() / 4);
    threads::for_each_piece(to, PIECE, cost, |i, to| {
        let start = i * PIECE;
        walk.rows(start..start + to.len(), |rows| {
            let to = &mut to[rows.at - start..][..rows.count * rows.len];
            for (row, to) in to.chunks_exact_mut(rows.len).enumerate() {
                let from = from.at(rows.offsets[0] + row as isize * rows.apart[0]);
                match step {
                    // SAFETY: see above.
                    0 => to.fill(MaybeUninit::new(unsafe { *from })),
                    // SAFETY: see above; a new array is apart from all others.
                    1 => unsafe { from.copy_to_nonoverlapping(to.as_mut_ptr().cast(), to.len()) },
                    _ => {
                        for (i, to) in to.iter_mut().enumerate() {
                            // SAFETY: see above.
                            to.write(unsafe { *from.wrapping_offset(i as isize * step) });
                        }
                    }
                }
            }
        });
    });
}

/// The copy of what lies in lines along another axis than the last.
///
/// # Safety
/// As [`copy`].
unsafe fn turn<T: Element>(
    from: *const T,
    walk: &Walk<1>,
    along: usize,
    to: &mut [MaybeUninit<T>],
) {
    let (inner, line) = (walk.inner(), walk.axes[along]);
    // How far apart the copy has the places of each axis.
    let mut apart = 1;
    let mut both: Vec<Axis<2>> = Vec::with_capacity(walk.axes.len());
    for axis in walk.axes.iter().rev() {
        both.push(Axis { len: axis.len, steps: [axis.steps[0], apart] });
        apart *= axis.len as isize;
    }
    both.reverse();
    let width = both[along].steps[1] as usize;
    both.pop();
    both.remove(along);
    let (deep, wide) = (line.len.div_ceil(DEPTH), inner.len.div_ceil(LINES));
    let planes = to.len() / (line.len * inner.len);
    let (from, cost, to) = (Source::new(from), to.len(), Shared::new(to));
    threads::for_each(planes * deep * wide, cost, |task| {
        let (plane, part) = (task / (deep * wide), task % (deep * wide));
        let (first, column) = (part / wide * DEPTH, part % wide * LINES);
        let [start, place] = offsets(&both, plane);
        let from = from.at(start + first as isize + column as isize * inner.steps[0]);
        let place = place as usize + first * width + column;
        let (depth, count) = (DEPTH.min(line.len - first), LINES.min(inner.len - column));
        columns(from, inner.steps[0], depth, count, width, to.at(place).cast());
    });
}

vectorized! {
    /// `count` lines of `depth` numbers, `apart` from each other, as columns of rows that lie `width`
    /// apart at `to`. The pointers hold what these numbers say.
    fn columns<S, T: Element>(
        from: *const T,
        apart: isize,
        depth: usize,
        count: usize,
        width: usize,
        to: *mut T,
    ) {
        let lanes = T::V::<S>::LANES;
        for i in (0..count).step_by(lanes) {
            let real = lanes.min(count - i);
            let from = from.wrapping_offset(i as isize * apart);
            // SAFETY: see above.
            unsafe { transposed::<S, T>(from, apart, depth, real, width, to.add(i), real) };
        }
    }
}

/// Copies as many numbers as `to` has room for: for those of a line, which a call takes longer for.
#[inline(always)]
pub(crate) fn put<V: Vector>(from: &[V::Elem], to: &mut [V::Elem]) {
    let from = &from[..to.len()];
    let Some(last) = to.len().checked_sub(V::LANES) else {
        return V::read(from).write(to);
    };
    for at in (0..to.len()).step_by(V::LANES) {
        // A last full vector over the one before is cheaper than part of one.
        let at = at.min(last);
        V::read(&from[at..]).write(&mut to[at..]);
    }
}

/// `to[i] = from[i * step]`.
#[inline(always)]
pub(crate) fn spaced_of<V: Vector>(from: &[V::Elem], step: usize, to: &mut [V::Elem]) {
    let lanes = V::LANES;
    match step {
        1 => {
            let from = &from[..to.len()];
            let Some(last) = to.len().checked_sub(lanes) else {
                return V::read(from).write(to);
            };
            for at in (0..to.len()).step_by(lanes) {
                // A last full vector over the one before is cheaper than part of one.
                let at = at.min(last);
                V::prefetch_ahead(&from[at..]);
                V::read(&from[at..]).write(&mut to[at..]);
            }
        }
        2 => {
            for (from, to) in from.chunks(2 * lanes).zip(to.chunks_mut(lanes)) {
                V::read_pairs(from).0.write(to);
            }
        }
        4 => {
            for (from, to) in from.chunks(4 * lanes).zip(to.chunks_mut(lanes)) {
                let second = &from[from.len().min(2 * lanes)..];
                V::read_pairs(from).0.deinterleave(V::read_pairs(second).0).0.write(to);
            }
        }
        _ => {
            for (from, to) in from.iter().step_by(step).zip(to) {
                *to = *from;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    vectorized! {
        fn spaced<S, T: Element>(from: &[T], step: usize, to: &mut [T]) {
            spaced_of::<T::V<S>>(from, step, to);
        }
    }

    #[test]
    fn spaced_numbers_are_those_that_far_apart() {
        let numbers: Vec<f32> = (0..500).map(|i| i as f32).collect();
        for step in 1..7usize {
            for count in [0, 1, 7, 8, 9, 31, 32, 65] {
                // As many as the last one needs, and more.
                for len in [(count * step).saturating_sub(step - 1), 500] {
                    let mut to = vec![-1.0; count];
                    spaced(&numbers[..len], step, &mut to);
                    assert!(to.iter().enumerate().all(|(i, &x)| x == (i * step) as f32), "{to:?}");
                }
            }
        }
    }
}
