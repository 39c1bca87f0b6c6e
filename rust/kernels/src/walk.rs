//! Several arrays of one shape, each with its strides, gone through in the order of that shape.
#![allow(unsafe_code)]

use std::ops::Range;

use ndarray::ArrayViewD;

use crate::{Error, Result};

/// An address that tasks read from.
pub(crate) struct Source<T>(*const T);

// SAFETY: it is only read from, by a call that outlives the tasks.
unsafe impl<T: Sync> Sync for Source<T> {}

impl<T> Source<T> {
    pub(crate) fn new(start: *const T) -> Self {
        Self(start)
    }

    /// The address so many numbers on, which is readable only where there is one.
    pub(crate) fn at(&self, offset: isize) -> *const T {
        self.0.wrapping_offset(offset)
    }
}

/// An axis: its length, and how far each array moves from one place on it to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Axis<const N: usize> {
    pub(crate) len: usize,
    pub(crate) steps: [isize; N],
}

/// The axes of `N` arrays, those that can be gone through as one merged.
#[derive(Debug)]
pub(crate) struct Walk<const N: usize> {
    /// Outermost first.
    pub(crate) axes: Vec<Axis<N>>,
}

/// Rows of one length that each array has at equal distances.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<const N: usize> {
    /// Where the first begins, in the order of the shape.
    pub(crate) at: usize,
    /// Where it begins in each array.
    pub(crate) offsets: [isize; N],
    /// From row to row.
    pub(crate) apart: [isize; N],
    pub(crate) count: usize,
    pub(crate) len: usize,
}

impl<const N: usize> Walk<N> {
    /// Over `shape`; `strides` has those of each array for the same axes.
    pub(crate) fn new(shape: &[usize], strides: [&[isize]; N]) -> Self {
        let mut axes: Vec<Axis<N>> = Vec::with_capacity(shape.len());
        for (i, &len) in shape.iter().enumerate() {
            if len == 1 {
                continue;
            }
            let steps = strides.map(|strides| strides[i]);
            if let Some(before) = axes.last_mut()
                && (0..N).all(|n| before.steps[n] == steps[n] * len as isize)
            {
                *before = Axis { len: before.len * len, steps };
            } else {
                axes.push(Axis { len, steps });
            }
        }
        Self { axes }
    }

    /// The innermost axis, one place long where there is none.
    pub(crate) fn inner(&self) -> Axis<N> {
        self.axes.last().copied().unwrap_or(Axis { len: 1, steps: [0; N] })
    }

    /// Calls `visit` with the rows that make up the places `range`, in their order; the first and
    /// the last may be part of a row.
    pub(crate) fn rows(&self, range: Range<usize>, mut visit: impl FnMut(Rows<N>)) {
        let inner = self.inner();
        let outside = &self.axes[..self.axes.len().saturating_sub(1)];
        let (next, rest) = match outside.split_last() {
            Some((next, rest)) => (*next, rest),
            None => (Axis { len: 1, steps: [0; N] }, outside),
        };
        let mut at = range.start;
        while at < range.end {
            let (row, column) = (at / inner.len, at % inner.len);
            let (line, row) = (row / next.len, row % next.len);
            let mut offsets = offsets(rest, line);
            for (n, offset) in offsets.iter_mut().enumerate() {
                *offset += row as isize * next.steps[n] + column as isize * inner.steps[n];
            }
            let left = range.end - at;
            let (count, len) = if column > 0 || left < inner.len {
                (1, left.min(inner.len - column))
            } else {
                ((left / inner.len).min(next.len - row), inner.len)
            };
            visit(Rows { at, offsets, apart: next.steps, count, len });
            at += count * len;
        }
    }
}

/// Where each array has place `index` of the axes, which are gone through innermost first.
pub(crate) fn offsets<const N: usize>(axes: &[Axis<N>], mut index: usize) -> [isize; N] {
    let mut offsets = [0; N];
    for axis in axes.iter().rev() {
        let place = (index % axis.len) as isize;
        index /= axis.len;
        for (offset, step) in offsets.iter_mut().zip(axis.steps) {
            *offset += place * step;
        }
    }
    offsets
}

/// The shape of arrays of these shapes together: axes are counted from the last, and those of length
/// one are repeated.
pub(crate) fn broadcast(op: &'static str, a: &[usize], b: &[usize]) -> Result<Vec<usize>> {
    let ndim = a.len().max(b.len());
    let axis = |shape: &[usize], i: usize| (i + shape.len()).checked_sub(ndim).map(|i| shape[i]);
    let shape = (0..ndim).map(|i| match (axis(a, i).unwrap_or(1), axis(b, i).unwrap_or(1)) {
        (a, 1) => Some(a),
        (1, b) => Some(b),
        (a, b) => (a == b).then_some(a),
    });
    shape.collect::<Option<_>>().ok_or_else(|| {
        Error::value(op, "b", format!("expected a shape that broadcasts with {a:?}, got {b:?}"))
    })
}

/// Strides of an array for the axes of `shape`, which its own broadcasts to: none where it is
/// repeated.
pub(crate) fn strides_in<T>(shape: &[usize], x: &ArrayViewD<'_, T>) -> Vec<isize> {
    let mut strides = vec![0; shape.len() - x.ndim()];
    let own = x.shape().iter().zip(x.strides());
    strides.extend(own.map(|(&len, &stride)| if len == 1 { 0 } else { stride }));
    strides
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_that_follow_each_other_are_one() {
        let walk = Walk::new(&[2, 1, 3, 4], [&[12, 12, 4, 1], &[0, 0, 4, 1]]);
        let axes = [Axis { len: 2, steps: [12, 0] }, Axis { len: 12, steps: [1, 1] }];
        assert_eq!(walk.axes, axes);
        let alone = Walk::new(&[1, 1], [&[7, 7]]);
        assert!(alone.axes.is_empty());
        assert_eq!(alone.inner(), Axis { len: 1, steps: [0] });
    }

    #[test]
    fn any_ranges_cover_all_places_in_order() {
        let (shape, strides): (_, &[isize]) = ([2, 3, 4, 5], &[1000, 7, 100, -1]);
        let walk = Walk::new(&shape, [strides]);
        let expected: Vec<isize> =
            (0..120).map(|i| i / 60 * 1000 + i / 20 % 3 * 7 + i / 5 % 4 * 100 - i % 5).collect();
        for piece in [1, 3, 5, 7, 20, 50, 120] {
            let mut seen = Vec::new();
            for start in (0..120).step_by(piece) {
                walk.rows(start..(start + piece).min(120), |rows| {
                    assert_eq!(rows.at, seen.len());
                    for row in 0..rows.count as isize {
                        let from = rows.offsets[0] + row * rows.apart[0];
                        seen.extend((0..rows.len as isize).map(|i| from - i));
                    }
                });
            }
            assert_eq!(seen, expected, "pieces of {piece}");
        }
    }

    #[test]
    fn shapes_broadcast_from_the_last_axis() {
        assert_eq!(broadcast("op", &[4, 1, 3], &[2, 1]).unwrap(), [4, 2, 3]);
        assert_eq!(broadcast("op", &[], &[0, 1]).unwrap(), [0, 1]);
        assert!(broadcast("op", &[2], &[3]).is_err());
    }
}
