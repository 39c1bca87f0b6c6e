//! The matrix products inside Winograd's algorithm: operands that lie in cache as they are read.

#![allow(unsafe_code)]

use crate::simd::{Isa, Vector, addresses};
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

vectorized! {
    /// `c[rows, width] = a b`, or `+=`: `b` `[depth, width]`, `c` with rows of `width` numbers, a
    /// multiple of the lanes.
    pub(super) fn product<S, T: Element>(
        a: Left<'_, T>,
        b: &[T],
        width: usize,
        c: &mut [T],
        accumulate: bool,
    ) {
        let depth = b.len() / width;
        assert!(depth > 0 && b.len() == depth * width && c.len() == a.rows * width);
        assert!(width.is_multiple_of(T::V::<S>::LANES));
        assert!((a.rows - 1) * a.row_stride + (depth - 1) * a.step_stride < a.start.len());
        let mut start = 0;
        while start < depth {
            let steps = DEPTH.min(depth - start);
            let add = accumulate || start > 0;
            // SAFETY: the operands were measured above.
            unsafe {
                let a = Left { start: &a.start[start * a.step_stride..], ..a };
                let (b, c) = (b.as_ptr().add(start * width), c.as_mut_ptr());
                if T::V::<S>::TILE_VECTORS == 1 {
                    strips::<S, T, 1>(a, steps, b, width, c, 0, add);
                } else if T::V::<S>::LANES == 16 {
                    let done = strips::<S, T, 4>(a, steps, b, width, c, 0, add);
                    let done = strips::<S, T, 3>(a, steps, b, width, c, done, add);
                    let done = strips::<S, T, 2>(a, steps, b, width, c, done, add);
                    strips::<S, T, 1>(a, steps, b, width, c, done, add);
                } else {
                    let done = strips::<S, T, 2>(a, steps, b, width, c, 0, add);
                    strips::<S, T, 1>(a, steps, b, width, c, done, add);
                }
            }
            start += steps;
        }
    }
}

/// Strips of `VECTORS` vectors from column `from` on, as many as fit; returns the column after.
///
/// # Safety
/// `a` has `steps` steps, `b` as many rows of `width` numbers, `c` as many such rows as `a`.
#[inline(always)]
unsafe fn strips<S: Isa, T: Element, const VECTORS: usize>(
    a: Left<'_, T>,
    steps: usize,
    b: *const T,
    width: usize,
    c: *mut T,
    from: usize,
    add: bool,
) -> usize {
    let strip = VECTORS * T::V::<S>::LANES;
    let mut column = from;
    while column + strip <= width {
        // Tiles of nearly equal height keep the pipes full in the last one too.
        let tiles = a.rows.div_ceil(ROWS);
        let (least, more) = (a.rows / tiles, a.rows % tiles);
        let mut row = 0;
        for i in 0..tiles {
            let rows = least + usize::from(i < more);
            let a = (a.start.as_ptr().add(row * a.row_stride), a.row_stride, a.step_stride);
            let (b, c) = (b.add(column), c.add(row * width + column));
            match rows {
                1 => tile::<S, T, 1, VECTORS>(a, steps, b, width, c, add),
                2 => tile::<S, T, 2, VECTORS>(a, steps, b, width, c, add),
                3 => tile::<S, T, 3, VECTORS>(a, steps, b, width, c, add),
                4 => tile::<S, T, 4, VECTORS>(a, steps, b, width, c, add),
                5 => tile::<S, T, 5, VECTORS>(a, steps, b, width, c, add),
                _ => tile::<S, T, ROWS, VECTORS>(a, steps, b, width, c, add),
            }
            row += rows;
        }
        column += strip;
    }
    column
}

/// One tile of the output, in registers.
///
/// # Safety
/// As for [`strips`], with the tile's first row and column at the pointers.
#[inline(always)]
unsafe fn tile<S: Isa, T: Element, const ROWS: usize, const VECTORS: usize>(
    (a, row_stride, step_stride): (*const T, usize, usize),
    steps: usize,
    mut b: *const T,
    width: usize,
    c: *mut T,
    add: bool,
) {
    let lanes = T::V::<S>::LANES;
    let mut sums = [[T::V::<S>::zero(); VECTORS]; ROWS];
    if add {
        for (i, sums) in sums.iter_mut().enumerate() {
            for (j, sum) in sums.iter_mut().enumerate() {
                *sum = T::V::<S>::load(c.add(i * width + j * lanes));
            }
        }
    }
    // With 16 registers the compiler would keep the sums of a loop in a loop in memory.
    let chunk = if ROWS * VECTORS > 16 { CHUNK } else { steps };
    let (mut a, mut rest) = (a, steps);
    while rest > 0 {
        // A line of each row in turn, or of each step; rows without end would be asked for in vain.
        let (mut ahead, next) = match step_stride {
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
                T::V::<S>::prefetch(b.wrapping_add(AHEAD * width + j * lanes));
            }
            let left: [_; ROWS] = addresses(a, row_stride as isize);
            for (sums, left) in sums.iter_mut().zip(left) {
                let x = T::V::<S>::splat(*left);
                for (sum, row) in sums.iter_mut().zip(row) {
                    *sum = x.mul_add(row, *sum);
                }
            }
            T::V::<S>::prefetch(ahead);
            ahead = ahead.wrapping_add(next);
            a = a.wrapping_add(step_stride);
            b = b.wrapping_add(width);
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        for (j, sum) in sums.iter().enumerate() {
            sum.store(c.add(i * width + j * lanes));
        }
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
            product(left, &b, width, &mut c, true);
            assert_eq!(c, expected);
            let across: Vec<f32> =
                (0..rows * depth).map(|i| a[i % rows * depth + i / rows]).collect();
            let left = Left { start: &across, row_stride: 1, step_stride: rows, rows };
            product(left, &b, width, &mut c, false);
            assert!(c.iter().zip(&expected).all(|(c, e)| c + 1.0 == *e));
        }
    }
}
