//! Maxima of windows of 3 x 3, every second one, as at the beginning of a ResNet: straight from and
//! to the plane, without copies of its rows.
//!
//! Window `j` sees column `m = 2 j + 1 - pad`, its middle, and those left and right of it. So pairs
//! of columns from the first middle on are what windows see with `m` and what they see with `m + 1`,
//! which the next window also does.
#![allow(unsafe_code)]

use std::ops::Range;

use crate::planes::{BAND, Bands, Moves, part};
use crate::simd::{MAX_LANES, Vector};
use crate::threads::Shared;
use crate::{Element, vectorized};

/// Whether windows of `moves` are such, and none reaches over the end of the plane.
pub(super) fn fits(moves: &Moves) -> bool {
    let inside = |axis: usize| 2 * moves.out[axis] < moves.image[axis] + pad(moves, axis);
    (moves.kernel, moves.stride, moves.dilation) == ([3; 2], [2; 2], [1; 2])
        && moves.out[1] >= MAX_LANES
        && inside(0)
        && inside(1)
}

/// Padding before the plane: zero or one.
fn pad(moves: &Moves, axis: usize) -> usize {
    moves.pad[axis].unsigned_abs()
}

/// The largest numbers of windows or of rows of them.
#[derive(Clone, Copy)]
struct Found<V> {
    max: V,
    tap: V,
    /// NaN where a number of the rows is.
    sum: V,
}

impl<V: Vector> Found<V> {
    /// In one row: `line` begins at the middle of the first window, `left` lies before it.
    #[inline(always)]
    fn across(line: &[V::Elem], left: V::Elem, first_tap: V) -> Self {
        let (start, end) = line[..2 * V::LANES].split_at(V::LANES);
        // The next band.
        V::prefetch_far(start.as_ptr().wrapping_add(BAND));
        V::prefetch_far(end.as_ptr().wrapping_add(BAND));
        let (middle, right) = V::read(start).deinterleave(V::read(end));
        let left = right.slide(1, left);
        let tap = V::select(left.lt(middle), V::of(1.0), first_tap);
        let max = middle.max(left);
        let tap = V::select(max.lt(right), V::of(2.0), tap);
        Self { max: right.max(max), tap, sum: left.add(middle).add(right) }
    }

    /// Here or else in the row `below`, whose first tap is `tap`.
    #[inline(always)]
    fn or(self, below: Self, tap: f64) -> Self {
        let there = below.tap.add(V::of(tap));
        Self {
            max: below.max.max(self.max),
            tap: V::select(self.max.lt(below.max), there, self.tap),
            sum: self.sum.add(below.sum),
        }
    }
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
        let lanes = T::V::<S>::LANES;
        let mut sum = T::V::<S>::zero();
        for column in (0..moves.out[1]).step_by(lanes) {
            // A last full vector over the one before is cheaper than part of one.
            let column = column.min(moves.out[1] - lanes);
            sum = sum.add(strip::<T::V<S>>(moves, x, rows.clone(), column, y, places));
        }
        sum.sum().f64().is_nan()
    }
}

/// Writes a vector of outputs of each of the `rows`; the sum of what they saw.
#[inline(always)]
fn strip<V: Vector>(
    moves: &Moves,
    x: &[V::Elem],
    rows: Range<usize>,
    column: usize,
    y: &mut [V::Elem],
    places: &mut [u8],
) -> V {
    let (width, middle) = (moves.out[1], 2 * column + 1 - pad(moves, 1));
    let x = (x, moves.image[1]);
    // A window of nothing but `-inf` found the first number that is no padding.
    let mut first_tap = [V::Elem::default(); MAX_LANES];
    first_tap[0] = V::Elem::of(if middle == 0 { 1.0 } else { 0.0 });
    let first_tap = V::read(&first_tap);
    let mut above = match (2 * rows.start).checked_sub(pad(moves, 0)) {
        Some(row) => seen(x, row, middle, first_tap),
        None => {
            Found { max: V::of(f64::NEG_INFINITY), tap: first_tap.add(V::of(3.0)), sum: V::zero() }
        }
    };
    let mut sum = above.sum;
    let lines = y.chunks_exact_mut(width).zip(places.chunks_exact_mut(width));
    for (row, (y, places)) in rows.zip(lines) {
        let row = 2 * row + 1 - pad(moves, 0);
        let here = seen(x, row, middle, first_tap);
        let below = seen(x, row + 1, middle, first_tap);
        let found = above.or(here, 3.0).or(below, 6.0);
        let y = &mut y[column..][..V::LANES];
        V::prefetch_far(y.as_ptr().wrapping_add(BAND / 4));
        found.max.write(y);
        found.tap.write_bytes(&mut places[column..][..V::LANES]);
        sum = sum.add(here.sum).add(below.sum);
        above = below;
    }
    sum
}

/// What windows see of a row of a plane of some width, the first from column `middle` on.
#[inline(always)]
fn seen<V: Vector>(
    (x, width): (&[V::Elem], usize),
    row: usize,
    middle: usize,
    first_tap: V,
) -> Found<V> {
    let at = row * width + middle;
    let left = if middle == 0 { V::Elem::of(f64::NEG_INFINITY) } else { x[at - 1] };
    Found::across(&x[at..], left, first_tap)
}

/// Writes `dx`, `planes` of which windows saw what `moves` says, from `dy` and the taps.
pub(super) fn backward<T: Element>(
    moves: &Moves,
    planes: usize,
    dy: &[T],
    taps: &[u8],
    dx: &mut [T],
) {
    let [height, width] = moves.image;
    let bands = Bands::new(moves, planes, height * width);
    let seen = moves.out[0] * moves.out[1];
    let out = Shared::new(dx);
    bands.for_each(|piece| {
        for index in piece {
            let (plane, band) = bands.place(index);
            let rows = bands.rows(height, band);
            // SAFETY: bands differ.
            let dx = unsafe { out.slice(part(plane, moves.image, &rows)) };
            let seen = plane * seen..(plane + 1) * seen;
            gradients(moves, &dy[seen.clone()], &taps[seen], rows, dx);
        }
    });
}

vectorized! {
    /// Writes `rows` of the gradient of a plane.
    fn gradients<S, T: Element>(
        moves: &Moves,
        dy: &[T],
        taps: &[u8],
        rows: Range<usize>,
        dx: &mut [T],
    ) {
        for (row, dx) in rows.zip(dx.chunks_exact_mut(moves.image[1])) {
            let row = row + pad(moves, 0);
            let (window, ky) = (row / 2, row % 2);
            let here = (window < moves.out[0]).then_some((window, 3 * ky as u8));
            let above = window.checked_sub(1).filter(|&above| ky == 0 && above < moves.out[0]);
            match (above.map(|above| (above, 6)), here) {
                (Some(above), Some(here)) => {
                    gather::<T::V<S>, 2>(moves, dy, taps, [above, here], dx);
                }
                (Some(one), None) | (None, Some(one)) => {
                    gather::<T::V<S>, 1>(moves, dy, taps, [one], dx);
                }
                (None, None) => dx.fill(T::zero()),
            }
        }
    }
}

/// Writes a row of the gradient, which the given rows of windows see from the given tap on.
#[inline(always)]
fn gather<V: Vector, const N: usize>(
    moves: &Moves,
    dy: &[V::Elem],
    taps: &[u8],
    rows: [(usize, u8); N],
    dx: &mut [V::Elem],
) {
    let width = moves.out[1];
    let (before, dx) = dx.split_at_mut(1 - pad(moves, 1));
    let (dx, after) = dx.split_at_mut(2 * width);
    after.fill(V::Elem::default());
    if let [left] = before {
        *left = V::Elem::default();
        for (row, _) in rows.into_iter().filter(|&(row, tap)| taps[row * width] == tap) {
            *left += dy[row * width];
        }
    }
    let lines = rows.map(|(row, tap)| {
        let line = row * width..(row + 1) * width;
        (&dy[line.clone()], &taps[line], tap)
    });
    let last = width - V::LANES;
    for column in (0..last).step_by(V::LANES) {
        let next = column + 1..column + 1 + V::LANES;
        pairs::<V, N>(lines, column, next, &mut dx[2 * column..]);
    }
    // There is no window right of the last.
    pairs::<V, N>(lines, last, last + 1..width, &mut dx[2 * last..]);
}

/// Writes a vector of pairs of columns, those of windows from `column` on; `next` are those after.
#[inline(always)]
fn pairs<V: Vector, const N: usize>(
    lines: [(&[V::Elem], &[u8], u8); N],
    column: usize,
    next: Range<usize>,
    dx: &mut [V::Elem],
) {
    let (mut middle, mut right) = (V::zero(), V::zero());
    for (dy, taps, tap) in lines {
        let places = V::first_bytes(&taps[column..][..V::LANES]);
        let here = V::read(&dy[column..][..V::LANES]);
        middle = V::select(V::bytes_eq(places, tap + 1), middle.add(here), middle);
        right = V::select(V::bytes_eq(places, tap + 2), right.add(here), right);
        let places = V::first_bytes(&taps[next.clone()]);
        let next = V::read(&dy[next.clone()]);
        right = V::select(V::bytes_eq(places, tap), right.add(next), right);
    }
    let (start, end) = middle.interleave(right);
    let (first, second) = dx[..2 * V::LANES].split_at_mut(V::LANES);
    start.write(first);
    end.write(second);
}
