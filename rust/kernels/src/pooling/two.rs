//! Maxima of windows of 2 x 2 side by side, straight from and to the plane.
//!
//! A vector of windows is two vectors of each of two rows. In rows shorter than that the last windows
//! are those of the next row, which come after and so write over them.
#![allow(unsafe_code)]

use std::ops::Range;

use super::values::{larger, starts};
use crate::planes::{Bands, Moves, part};
use crate::simd::{MAX_LANES, Vector};
use crate::threads::Shared;
use crate::{Element, vectorized};

/// Whether windows of `moves` are such, and cover the plane.
pub(super) fn fits(moves: &Moves) -> bool {
    (moves.kernel, moves.stride, moves.dilation, moves.pad) == ([2; 2], [2; 2], [1; 2], [0; 2])
        && (0..2).all(|axis| moves.image[axis] == 2 * moves.out[axis])
}

vectorized! {
    /// Maxima and their taps of `rows` of outputs; whether there may be a NaN, so that they are wrong.
    pub(super) fn maxima<S, T: Element>(
        moves: &Moves,
        x: &[T],
        rows: Range<usize>,
        y: &mut [T],
        places: &mut [u8],
    ) -> bool {
        let (width, lanes) = (moves.out[1], T::V::<S>::LANES);
        let x = &x[rows.start * 4 * width..rows.end * 4 * width];
        let mut sum = T::V::<S>::zero();
        for row in 0..rows.len() {
            for column in starts(width, lanes) {
                let (at, pairs) = (row * width + column, 4 * row * width + 2 * column);
                let (upper, lower) = (&x[pairs..], &x[pairs + 2 * width..]);
                let (a, b) = T::V::<S>::read_pairs(upper);
                let (c, d) = T::V::<S>::read_pairs(lower);
                let mut max = a;
                let mut place = T::V::<S>::zero();
                for (tap, x) in [(1.0, b), (2.0, c), (3.0, d)] {
                    place = T::V::<S>::select(max.lt(x), T::V::<S>::of(tap), place);
                    max = x.max(max);
                }
                // No sum of numbers and infinities of one sign is a NaN.
                sum = sum.add(a.add(b).add(c.add(d)));
                max.write(&mut y[at..]);
                place.write_bytes(&mut places[at..]);
            }
        }
        sum.sum().f64().is_nan()
    }
}

vectorized! {
    /// Maxima of `rows` of outputs; a NaN is larger than any number.
    pub(super) fn values<S, T: Element>(moves: &Moves, x: &[T], rows: Range<usize>, y: &mut [T]) {
        let (width, lanes) = (moves.out[1], T::V::<S>::LANES);
        let x = &x[rows.start * 4 * width..rows.end * 4 * width];
        for row in 0..rows.len() {
            for column in starts(width, lanes) {
                let pairs = 4 * row * width + 2 * column;
                let (upper, lower) = (&x[pairs..], &x[pairs + 2 * width..]);
                let (a, b) = T::V::<S>::read_pairs(upper);
                let (c, d) = T::V::<S>::read_pairs(lower);
                larger(d, larger(c, larger(b, a))).write(&mut y[row * width + column..]);
            }
        }
    }
}

/// Writes `dx`, `planes` of which windows saw what `moves` says, from `dy` and the taps.
pub(super) fn backward<T: Element>(
    moves: &Moves,
    planes: usize,
    dy: &[T],
    taps: &[u8],
    dx: &mut [T],
) {
    let bands = Bands::new(moves, planes, moves.image[0] * moves.image[1]);
    let out = Shared::new(dx);
    bands.for_each(|piece| {
        for index in piece {
            let (plane, band) = bands.place(index);
            let rows = bands.rows(moves.out[0], band);
            let seen = part(plane, moves.out, &rows);
            // SAFETY: bands differ.
            let dx = unsafe { out.slice(4 * seen.start..4 * seen.end) };
            gradients(moves.out[1], &dy[seen.clone()], &taps[seen], dx);
        }
    });
}

vectorized! {
    /// Writes the gradient of what rows of `width` windows saw.
    fn gradients<S, T: Element>(width: usize, dy: &[T], taps: &[u8], dx: &mut [T]) {
        let lanes = T::V::<S>::LANES;
        for row in 0..dy.len() / width {
            for (half, tap) in [(0, 0), (2 * width, 2)] {
                for column in starts(width, lanes) {
                    let at = row * width + column;
                    let given = T::V::<S>::read(&dy[at..]);
                    let places = T::V::<S>::first_bytes(&taps[at..]);
                    let (even, odd) = (given_at(given, places, tap), given_at(given, places, tap + 1));
                    let (first, second) = even.interleave(odd);
                    let dx = &mut dx[4 * row * width + half + 2 * column..];
                    let (start, end) = dx.split_at_mut(lanes.min(dx.len()));
                    first.write(start);
                    second.write(end);
                }
            }
        }
    }
}

/// `given` where the place is `tap`, else zero.
#[inline(always)]
fn given_at<V: Vector>(given: V, places: [u8; MAX_LANES], tap: u8) -> V {
    V::select(V::bytes_eq(places, tap), given, V::zero())
}
