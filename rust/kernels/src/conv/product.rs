//! The matrix products inside Winograd's algorithm: operands that lie in cache as they are read.

#![allow(unsafe_code)]

use crate::simd::steps::{self, Steps};
use crate::simd::{Isa, MAX_LANES, Vector, addresses, line, prefetch};
use crate::{Element, vectorized};

/// Steps of the sum between visits to the output, so that a panel of `b` stays in the first cache.
const DEPTH: usize = 128;

/// Rows of a tile of the output.
const ROWS: usize = 6;

/// Steps from one time that the left operand is asked for to the next: as many numbers of a row lie
/// in one line.
const CHUNK: usize = 16;

/// Steps from the one in use to the one that the nearest cache is asked for.
const AHEAD: usize = 8;

/// The left operand: `a(row, step) = start[row * row_stride + step * step_stride]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Left<'a, T> {
    pub(super) start: &'a [T],
    pub(super) row_stride: usize,
    pub(super) step_stride: usize,
    pub(super) rows: usize,
}

/// What is read after a product, asked for into the second cache while it runs.
struct Next<T> {
    at: [*const T; 2],
    /// Lines of each at a time.
    lines: [usize; 2],
}

impl<T: Element> Next<T> {
    /// Both of `next`, in `times` parts.
    fn new(next: [&[T]; 2], times: usize) -> Self {
        let lines = next.map(|next| next.len().div_ceil(line::<T>() * times));
        Self { at: next.map(<[T]>::as_ptr), lines }
    }

    #[inline(always)]
    fn ask(&mut self) {
        for (at, &lines) in self.at.iter_mut().zip(&self.lines) {
            for _ in 0..lines {
                prefetch::<false>(at.cast());
                *at = at.wrapping_add(line::<T>());
            }
        }
    }
}

/// Most vectors in a row of a tile.
const fn widest<V: Vector>() -> usize {
    if V::LANES == MAX_LANES { 4 } else { V::TILE_VECTORS }
}

/// Steps of a tile of so many sums from one time that memory is asked for to the next. With 16
/// registers the compiler would keep the sums of a loop in a loop in memory.
const fn chunk(sums: usize) -> usize {
    if sums > 16 { CHUNK } else { DEPTH }
}

vectorized! {
    /// `c[rows, width] = a b`, or `+=`: `b` `[depth, width]`, `c` with rows of `width` numbers, a
    /// multiple of the lanes. `next` are operands that will be read after these.
    pub(super) fn product<S, T: Element>(
        a: Left<'_, T>,
        b: &[T],
        width: usize,
        c: &mut [T],
        accumulate: bool,
        next: [&[T]; 2],
    ) {
        let depth = b.len() / width;
        assert!(a.row_stride == 1 || a.step_stride == 1);
        assert!(depth > 0 && b.len() == depth * width && c.len() == a.rows * width);
        assert!(width.is_multiple_of(T::V::<S>::LANES));
        assert!((a.rows - 1) * a.row_stride + (depth - 1) * a.step_stride < a.start.len());
        let vectors = const { widest::<T::V<S>>() };
        let tiles = width.div_ceil(vectors * T::V::<S>::LANES) * a.rows.div_ceil(ROWS);
        let mut next = Next::new(next, tiles * depth.div_ceil(chunk(ROWS * vectors)));
        for start in (0..depth).step_by(DEPTH) {
            let part = Part {
                a: Left { start: &a.start[start * a.step_stride..], ..a },
                steps: DEPTH.min(depth - start),
                b: b[start * width..].as_ptr(),
                c: c.as_mut_ptr(),
                width,
                accumulate: accumulate || start > 0,
            };
            // SAFETY: the operands were measured above.
            unsafe {
                let mut done = 0;
                if const { widest::<T::V<S>>() == 4 } {
                    done = part.strips::<S, 4>(done, &mut next);
                    done = part.strips::<S, 3>(done, &mut next);
                }
                if const { widest::<T::V<S>>() > 1 } {
                    done = part.strips::<S, 2>(done, &mut next);
                }
                part.strips::<S, 1>(done, &mut next);
            }
        }
    }
}

/// Some steps of the sum.
#[derive(Clone, Copy)]
struct Part<'a, T> {
    a: Left<'a, T>,
    steps: usize,
    b: *const T,
    c: *mut T,
    /// Of the rows of `b` and `c`.
    width: usize,
    accumulate: bool,
}

impl<T: Element> Part<'_, T> {
    /// Strips of `VECTORS` vectors from column `from` on, as many as fit; returns the column after.
    ///
    /// # Safety
    /// `a` has as many steps, `b` as many rows of `width` numbers, `c` as many such rows as `a`.
    #[inline(always)]
    unsafe fn strips<S: Isa, const VECTORS: usize>(self, from: usize, next: &mut Next<T>) -> usize {
        let strip = VECTORS * T::V::<S>::LANES;
        let mut column = from;
        while column + strip <= self.width {
            // Tiles of nearly equal height keep the pipes full in the last one too.
            let tiles = self.a.rows.div_ceil(ROWS);
            let (least, more) = (self.a.rows / tiles, self.a.rows % tiles);
            let mut row = 0;
            for i in 0..tiles {
                let rows = least + usize::from(i < more);
                macro_rules! heights {
                    ($($m:literal)*) => {
                        match rows {
                            $($m if row == 0 => self.tile::<S, $m, VECTORS, true>(row, column, next),
                            $m => self.tile::<S, $m, VECTORS, false>(row, column, next),)*
                            _ => unreachable!("a tile of {rows} rows"),
                        }
                    };
                }
                heights!(1 2 3 4 5 6);
                row += rows;
            }
            column += strip;
        }
        column
    }

    /// One tile of the output, in registers. The `FIRST` of a strip brings the panel of `b` into the
    /// nearest cache.
    ///
    /// # Safety
    /// As for [`Part::strips`], with the tile inside the output.
    #[inline(always)]
    unsafe fn tile<S: Isa, const ROWS: usize, const VECTORS: usize, const FIRST: bool>(
        self,
        row: usize,
        column: usize,
        next: &mut Next<T>,
    ) {
        let (lanes, width) = (T::V::<S>::LANES, self.width);
        let (row_stride, step_stride) = (self.a.row_stride, self.a.step_stride);
        let a = self.a.start.as_ptr().add(row * row_stride);
        let b = self.b.add(column);
        let c = self.c.add(row * width + column);
        let mut sums = if const { steps::suits::<T::V<S>>(ROWS, VECTORS) } {
            next.ask();
            for i in 0..if self.accumulate { ROWS } else { 0 } {
                T::V::<S>::prefetch(c.wrapping_add(i * width));
            }
            let mut ahead = b.wrapping_add(AHEAD * width);
            let ask = || {
                for _ in 0..if FIRST { steps::TOGETHER } else { 0 } {
                    T::V::<S>::prefetch(ahead);
                    ahead = ahead.wrapping_add(width);
                }
            };
            let (count, b_step) = (self.steps, width);
            if step_stride == 1 {
                let steps = Steps { count, a, apart: row_stride as isize, b, b_step };
                steps.sums::<T::V<S>, ROWS, VECTORS, true, false>(ask)
            } else {
                let steps = Steps { count, a, apart: step_stride as isize, b, b_step };
                steps.sums::<T::V<S>, ROWS, VECTORS, false, false>(ask)
            }
        } else {
            self.in_chunks::<S, ROWS, VECTORS, FIRST>(a, b, next)
        };
        if self.accumulate {
            for (i, sums) in sums.iter_mut().enumerate() {
                for (j, sum) in sums.iter_mut().enumerate() {
                    *sum = sum.add(T::V::<S>::load(c.add(i * width + j * lanes)));
                }
            }
        }
        for (i, sums) in sums.iter().enumerate() {
            for (j, sum) in sums.iter().enumerate() {
                sum.store(c.add(i * width + j * lanes));
            }
        }
    }

    /// Sums of a tile for which there are no [`Steps`].
    ///
    /// # Safety
    /// As for [`Self::tile`].
    #[inline(always)]
    unsafe fn in_chunks<S: Isa, const ROWS: usize, const VECTORS: usize, const FIRST: bool>(
        self,
        mut a: *const T,
        mut b: *const T,
        next: &mut Next<T>,
    ) -> [[T::V<S>; VECTORS]; ROWS] {
        let (lanes, width) = (T::V::<S>::LANES, self.width);
        let (row_stride, step_stride) = (self.a.row_stride, self.a.step_stride);
        let mut sums = [[T::V::<S>::zero(); VECTORS]; ROWS];
        let chunk = chunk(ROWS * VECTORS);
        let mut rest = self.steps;
        while rest > 0 {
            next.ask();
            // A line of each row in turn, or of each step; rows without end would be asked for in vain.
            let (mut ahead, ahead_step) = match step_stride {
                1 if chunk > CHUNK => (a, 1),
                1 => (a.wrapping_add(4 * CHUNK), row_stride),
                _ => (a.wrapping_add(AHEAD * step_stride), step_stride),
            };
            let now = rest.min(chunk);
            rest -= now;
            for _ in 0..now {
                let mut row = [T::V::<S>::zero(); VECTORS];
                for (j, row) in row.iter_mut().enumerate() {
                    *row = T::V::<S>::load(b.add(j * lanes));
                    if FIRST {
                        T::V::<S>::prefetch(b.wrapping_add(AHEAD * width + j * lanes));
                    }
                }
                let left: [_; ROWS] = addresses(a, row_stride as isize);
                for (sums, left) in sums.iter_mut().zip(left) {
                    let x = T::V::<S>::splat(*left);
                    for (sum, row) in sums.iter_mut().zip(row) {
                        *sum = x.mul_add(row, *sum);
                    }
                }
                T::V::<S>::prefetch(ahead);
                ahead = ahead.wrapping_add(ahead_step);
                a = a.wrapping_add(step_stride);
                b = b.wrapping_add(width);
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_a_plain_product() {
        for (rows, depth, width) in [(1, 1, 16), (6, 5, 64), (7, 130, 48), (25, 17, 112)] {
            let a: Vec<f32> = (0..rows * depth).map(|i| (i * 7 % 13) as f32 - 6.0).collect();
            let b: Vec<f32> = (0..depth * width).map(|i| (i * 5 % 11) as f32 - 5.0).collect();
            let mut expected = vec![1.0f32; rows * width];
            for (i, k, j) in ndarray::indices((rows, depth, width)) {
                expected[i * width + j] += a[i * depth + k] * b[k * width + j];
            }
            let left = Left { start: &a, row_stride: depth, step_stride: 1, rows };
            let mut c = vec![1.0; rows * width];
            product(left, &b, width, &mut c, true, [&a, &[]]);
            assert_eq!(c, expected);
            let across: Vec<f32> =
                (0..rows * depth).map(|i| a[i % rows * depth + i / rows]).collect();
            let left = Left { start: &across, row_stride: 1, step_stride: rows, rows };
            product(left, &b, width, &mut c, false, [&[], &b]);
            assert!(c.iter().zip(&expected).all(|(c, e)| c + 1.0 == *e));
        }
    }
}
