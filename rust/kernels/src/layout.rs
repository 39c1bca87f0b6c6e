//! Copies of arrays in C order: of one of any strides, of several side by side.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use ndarray::{Array, Array2, ArrayBase, ArrayView, ArrayView2, Data, Dimension};

use crate::matmul::transposed;
use crate::memory;
use crate::simd::Vector;
use crate::threads::{self, Shared};
use crate::walk::{Axis, Source, Walk, offsets};
use crate::{Element, Result, check_shape, vectorized};

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
        let (mut row, column) = (i * PIECE / width, i * PIECE % width);
        let mut part = starts.partition_point(|&start| start <= column) - 1;
        let mut done = column - starts[part];
        let mut to = to;
        while !to.is_empty() {
            let from = &parts[part][row * widths[part] + done..(row + 1) * widths[part]];
            let count = from.len().min(to.len());
            let (now, later) = to.split_at_mut(count);
            now.copy_from_slice(&from[..count]);
            (to, done) = (later, 0);
            part += 1;
            if part == parts.len() {
                (part, row) = (0, row + 1);
            }
        }
    });
    Ok(out)
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
