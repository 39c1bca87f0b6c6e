//! The largest number of each window.
//!
//! Where a window found it is kept as the tap of the window, a byte; the gradient compares the tap
//! with that of each window which saw a number. Planes with a NaN, which is larger than any number,
//! run number by number.
#![allow(unsafe_code)]

use std::ops::Range;

use ndarray::{Array3, ArrayView3};

use super::{Options, Window, Windows, check_output, cost, three, two};
use crate::memory::{self, Scratch};
use crate::planes::{self, Bands, Gather, Moves, part};
use crate::simd::{MAX_LANES, Vector};
use crate::threads::{self, Shared};
use crate::{Element, Error, Result, check_shape, vectorized};

/// Vectors that are summed at a time.
const WIDE: usize = 4;

/// Taps that a byte can tell apart.
const MOST_TAPS: usize = 256;

/// Where the numbers of an output were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Places {
    /// Taps of the windows.
    Taps(Array3<u8>),
    /// Indices in the plane.
    Indices(Array3<i32>),
}

/// Largest number of each window of `x` `[P, H, W]` and where it was, `[P, OH, OW]`: its index where
/// `indices`, or what [`max_backward`] or else [`index_backward`] takes.
///
/// A NaN is larger than any number.
pub fn max_forward<T: Element>(
    x: ArrayView3<'_, T>,
    options: &Options,
    indices: bool,
) -> Result<(Array3<T>, Places)> {
    const OP: &str = "max_pool2d_forward";
    let (_, h, w) = x.dim();
    let windows = Windows::new(OP, [h, w], options)?;
    check_plane(OP, &windows)?;
    check_output::<T>(OP, windows.shape(x.dim().0))?;
    let Some(moves) = windows.moves(options).filter(byte_taps) else {
        return Ok(maxima(x, &windows));
    };
    let (y, taps) = tap_maxima(x, &windows, &moves);
    let places = if indices { Places::Indices(indexed(&taps, &moves)) } else { Places::Taps(taps) };
    Ok((y, places))
}

/// Largest number of each of `out` windows of `x` `[P, H, W]`, and its index in the plane.
pub fn adaptive_max_forward<T: Element>(
    x: ArrayView3<'_, T>,
    out: [usize; 2],
) -> Result<(Array3<T>, Places)> {
    const OP: &str = "adaptive_max_pool2d_forward";
    let (_, h, w) = x.dim();
    let windows = Windows::adaptive(OP, [h, w], out)?;
    check_plane(OP, &windows)?;
    check_output::<T>(OP, windows.shape(x.dim().0))?;
    Ok(maxima(x, &windows))
}

fn byte_taps(moves: &Moves) -> bool {
    moves.kernel[0].saturating_mul(moves.kernel[1]) <= MOST_TAPS
}

pub(super) fn check_plane(op: &'static str, windows: &Windows) -> Result<()> {
    if i32::try_from(windows.plane[0] * windows.plane[1]).is_ok() {
        return Ok(());
    }
    Err(Error::value(op, "x", "expected planes of less than 2^31 numbers"))
}

pub(super) fn maxima<T: Element>(x: ArrayView3<'_, T>, windows: &Windows) -> (Array3<T>, Places) {
    let (plane, shape) = (windows.plane[0] * windows.plane[1], windows.shape(x.dim().0));
    let mut y = memory::unfilled_array(shape);
    let mut indices = memory::unfilled_array(shape);
    let x = x.as_standard_layout();
    let x = x.as_slice().expect("standard layout");
    let step = shape[1] * shape[2];
    let places = Shared::new(indices.as_slice_mut().expect("a new array"));
    let out = y.as_slice_mut().expect("a new array");
    let [rows, columns] = &windows.axes;
    threads::for_each_piece(out, step, cost(x.len(), windows), |p, y| {
        let x = &x[p * plane..][..plane];
        // SAFETY: each task has the plane of its number.
        let indices = unsafe { places.slice(p * step..(p + 1) * step) };
        let mut out = y.iter_mut().zip(indices);
        for row in rows {
            for (column, (y, index)) in columns.iter().zip(&mut out) {
                let best = largest(x, windows, row, column);
                *y = x[best];
                *index = best as i32;
            }
        }
    });
    (y, Places::Indices(indices))
}

/// Index of the largest number of a window: the first of equal ones, but the last NaN.
fn largest<T: Element>(x: &[T], windows: &Windows, row: &Window, column: &Window) -> usize {
    let width = windows.plane[1];
    let mut best = row.start * width + column.start;
    for i in (row.start..row.end).step_by(windows.dilation[0]) {
        for j in (column.start..column.end).step_by(windows.dilation[1]) {
            let value = x[i * width + j];
            if value > x[best] || value.is_nan() {
                best = i * width + j;
            }
        }
    }
    best
}

fn tap_maxima<T: Element>(
    x: ArrayView3<'_, T>,
    windows: &Windows,
    moves: &Moves,
) -> (Array3<T>, Array3<u8>) {
    let shape = windows.shape(x.dim().0);
    let mut y = memory::unfilled_array(shape);
    let mut taps = memory::unfilled_array(shape);
    let x = x.as_standard_layout();
    let x = x.as_slice().expect("standard layout");
    let bands = Bands::new(moves, shape[0], shape[1] * shape[2] * moves.taps().len() / 8);
    let plane = windows.plane[0] * windows.plane[1];
    let first = first_taps(moves);
    let out = Shared::new(y.as_slice_mut().expect("a new array"));
    let places = Shared::new(taps.as_slice_mut().expect("a new array"));
    let (two, three) = (two::fits(moves), three::fits(moves));
    bands.for_each(|piece| {
        let mut seen = Scratch::new(if two || three { 0 } else { bands.seen_len(moves) });
        seen.fill(T::neg_infinity());
        for index in piece {
            let (p, band) = bands.place(index);
            let (x, rows) = (&x[p * plane..][..plane], bands.rows(shape[1], band));
            let range = part(p, moves.out, &rows);
            // SAFETY: bands differ.
            let (y, places) = unsafe { (out.slice(range.clone()), places.slice(range)) };
            let nan = if two {
                two::maxima(moves, x, rows.clone(), y, places)
            } else if three {
                three::maxima(moves, x, rows.clone(), y, places)
            } else {
                tap_rows(moves, x, rows.clone(), &first, &mut seen, y, places)
            };
            if nan {
                tap_numbers(moves, x, rows, windows, y, places);
            }
        }
    });
    (y, taps)
}

/// Column of the first tap that sees the plane, for each column of outputs.
fn first_taps<T: Element>(moves: &Moves) -> Vec<T> {
    let columns = 0..moves.out[1].next_multiple_of(MAX_LANES);
    columns.map(|column| T::of(moves.first_tap(1, column) as f64)).collect()
}

vectorized! {
    /// Maxima and their taps of `rows` of outputs; whether there may be a NaN, so that they are wrong.
    fn tap_rows<S, T: Element>(
        moves: &Moves,
        x: &[T],
        rows: Range<usize>,
        first: &[T],
        seen: &mut [T],
        y: &mut [T],
        places: &mut [u8],
    ) -> bool {
        planes::copy_rows::<T::V<S>>(moves, x, moves.rows(&rows), T::neg_infinity(), seen);
        let taps = moves.taps();
        let out = (y, places);
        // Loops over the taps of common windows are unrolled.
        if let Ok(taps) = <&[usize; 9]>::try_from(&taps[..]) {
            tap_any::<T::V<S>>(moves, seen, taps, rows.start, first, out)
        } else if let Ok(taps) = <&[usize; 4]>::try_from(&taps[..]) {
            tap_any::<T::V<S>>(moves, seen, taps, rows.start, first, out)
        } else {
            tap_any::<T::V<S>>(moves, seen, &taps, rows.start, first, out)
        }
    }
}

#[inline(always)]
fn tap_any<V: Vector>(
    moves: &Moves,
    seen: &[V::Elem],
    taps: &[usize],
    start: usize,
    first: &[V::Elem],
    (y, places): (&mut [V::Elem], &mut [u8]),
) -> bool {
    let width = moves.out[1];
    let step = moves.stride[0] * moves.row_len();
    let rows = y.len() / width;
    let whole = (rows - 1) * step + width.next_multiple_of(V::LANES);
    assert!(taps.iter().all(|tap| tap + whole <= seen.len()), "rows that were copied");
    // No sum of numbers and infinities of one sign is a NaN.
    let mut sum = V::zero();
    let out = y.chunks_exact_mut(width).zip(places.chunks_exact_mut(width));
    for (row, (y, places)) in out.enumerate() {
        let above = moves.first_tap(0, start + row) * moves.kernel[1];
        for column in (0..width).step_by(V::LANES) {
            // A last full vector over the one before is cheaper than part of one.
            let column = column.min(width.saturating_sub(V::LANES));
            let mut max = V::of(f64::NEG_INFINITY);
            let mut place = V::read(&first[column..]).add(V::of(above as f64));
            let mut seen_here = V::zero();
            for (tap, at) in taps.iter().enumerate() {
                // SAFETY: checked above.
                let x = unsafe { V::load(seen.as_ptr().add(row * step + at + column)) };
                place = V::select(max.lt(x), V::of(tap as f64), place);
                max = x.max(max);
                seen_here = seen_here.add(x);
            }
            sum = sum.add(seen_here);
            max.write(&mut y[column..]);
            place.write_bytes(&mut places[column..]);
        }
    }
    sum.sum().f64().is_nan()
}

/// Maxima and their taps of `rows` of outputs, number by number.
fn tap_numbers<T: Element>(
    moves: &Moves,
    x: &[T],
    rows: Range<usize>,
    windows: &Windows,
    y: &mut [T],
    places: &mut [u8],
) {
    let tap = |axis: usize, place: usize, window: usize| {
        let first = (window * moves.stride[axis]) as isize - moves.pad[axis];
        (place as isize - first) as usize / moves.dilation[axis]
    };
    let mut out = y.iter_mut().zip(places);
    for row in rows {
        for (column, window) in windows.axes[1].iter().enumerate() {
            let Some((y, place)) = out.next() else { return };
            let best = largest(x, windows, &windows.axes[0][row], window);
            let (i, j) = (best / windows.plane[1], best % windows.plane[1]);
            *y = x[best];
            *place = (tap(0, i, row) * moves.kernel[1] + tap(1, j, column)) as u8;
        }
    }
}

/// Indices in the plane of taps.
fn indexed(taps: &Array3<u8>, moves: &Moves) -> Array3<i32> {
    let mut indices = memory::unfilled_array(taps.raw_dim());
    let (width, out_width) = (moves.image[1] as isize, moves.out[1]);
    let place = |axis: usize, at: usize, step: [usize; 2]| (at * step[axis]) as isize;
    let kernel = ndarray::indices((moves.kernel[0], moves.kernel[1])).into_iter();
    let gap = moves.dilation;
    let shifts: Vec<_> = kernel.map(|(y, x)| place(0, y, gap) * width + place(1, x, gap)).collect();
    let plane = moves.out[0] * out_width;
    let cost = taps.len();
    let taps = taps.as_slice().expect("a new array");
    let out = indices.as_slice_mut().expect("a new array");
    threads::for_each_piece(out, plane, cost, |p, indices| {
        let rows = indices.chunks_exact_mut(out_width).zip(taps[p * plane..].chunks(out_width));
        for (row, (indices, taps)) in rows.enumerate() {
            let line = (place(0, row, moves.stride) - moves.pad[0]) * width - moves.pad[1];
            for (column, (index, &tap)) in indices.iter_mut().zip(taps).enumerate() {
                *index = (line + place(1, column, moves.stride) + shifts[usize::from(tap)]) as i32;
            }
        }
    });
    indices
}

/// Gradient of the input `[P, H, W]` of [`max_forward`] from `dy` and the taps, `[P, OH, OW]`.
pub fn max_backward<T: Element>(
    dy: ArrayView3<'_, T>,
    taps: ArrayView3<'_, u8>,
    plane: [usize; 2],
    options: &Options,
) -> Result<Array3<T>> {
    const OP: &str = "max_pool2d_backward";
    check_shape(OP, "taps", dy.shape(), taps.shape())?;
    let windows = Windows::new(OP, plane, options)?;
    let planes = dy.dim().0;
    check_shape(OP, "dy", &windows.shape(planes), dy.shape())?;
    let shape = [planes, plane[0], plane[1]];
    check_output::<T>(OP, shape)?;
    let Some(moves) = windows.moves(options).filter(byte_taps) else {
        return Err(Error::value(OP, "taps", "expected indices for windows like these"));
    };
    let (dy, taps) = (dy.as_standard_layout(), taps.as_standard_layout());
    let dy = dy.as_slice().expect("standard layout");
    let taps = taps.as_slice().expect("standard layout");
    let numbers: Vec<T> = (0..MOST_TAPS).map(|tap| T::of(tap as f64)).collect();
    let mut dx = memory::unfilled_array(shape);
    let out = dx.as_slice_mut().expect("a new array");
    let work = out.len() / planes.max(1);
    if two::fits(&moves) {
        two::backward(&moves, planes, dy, taps, out);
        return Ok(dx);
    }
    if three::fits(&moves) {
        three::backward(&moves, planes, dy, taps, out);
        return Ok(dx);
    }
    Gather::each_band(&moves, planes, work, out, |gather, p, [seen, places], apart| {
        let part = p * moves.out[0] * moves.out[1]..(p + 1) * moves.out[0] * moves.out[1];
        pick(gather, &dy[part.clone()], &taps[part], &numbers, seen, places, apart);
    });
    Ok(dx)
}

vectorized! {
    /// Sums of `dy` where its tap is that of the term.
    fn pick<S, T: Element>(
        gather: &Gather,
        dy: &[T],
        taps: &[u8],
        numbers: &[T],
        seen: &mut [T],
        places: &mut [T],
        apart: &mut [T],
    ) {
        let (moves, lanes) = (&gather.moves, T::V::<S>::LANES);
        planes::copy_rows::<T::V<S>>(moves, dy, gather.rows.clone(), T::zero(), seen);
        let taps = taps.chunks_exact(moves.image[1]).skip(gather.rows.start);
        for (taps, to) in taps.zip(places.chunks_exact_mut(moves.row_len())) {
            let to = &mut to[moves.kernel[1] - 1..];
            for (taps, to) in taps.chunks(lanes).zip(to.chunks_mut(lanes)) {
                T::V::<S>::read_bytes(taps).write(to);
            }
        }
        for (to, terms) in gather.sums() {
            let len = to.len().next_multiple_of(lanes);
            gather.check(terms, len, seen.len().min(places.len()));
            let to = &mut apart[to.start..][..len];
            let wide = len - len % (WIDE * lanes);
            for at in (0..wide).step_by(WIDE * lanes) {
                // SAFETY: checked above.
                unsafe { pick_some::<T::V<S>, WIDE>(terms, numbers, seen, places, at, to) };
            }
            for at in (wide..len).step_by(lanes) {
                // SAFETY: checked above.
                unsafe { pick_some::<T::V<S>, 1>(terms, numbers, seen, places, at, to) };
            }
        }
    }
}

/// Sums of `N` vectors, from `at` on.
///
/// # Safety
/// Stretches of `seen` and `places` hold them for all terms.
#[inline(always)]
unsafe fn pick_some<V: Vector, const N: usize>(
    terms: &[(usize, usize)],
    numbers: &[V::Elem],
    seen: &[V::Elem],
    places: &[V::Elem],
    at: usize,
    to: &mut [V::Elem],
) {
    let mut sums = [V::zero(); N];
    for &(tap, first) in terms {
        let tap = V::splat(numbers[tap]);
        for (i, sum) in sums.iter_mut().enumerate() {
            let at = first + at + i * V::LANES;
            // SAFETY: the caller vouches for it.
            let (dy, place) =
                unsafe { (V::load(seen.as_ptr().add(at)), V::load(places.as_ptr().add(at))) };
            *sum = V::select(place.eq(tap), sum.add(dy), *sum);
        }
    }
    for (sum, to) in sums.into_iter().zip(to[at..].chunks_exact_mut(V::LANES)) {
        sum.write(to);
    }
}

/// Gradient of the input `[P, H, W]` of a maximum from `dy` and the indices, `[P, OH, OW]`.
pub fn index_backward<T: Element>(
    dy: ArrayView3<'_, T>,
    indices: ArrayView3<'_, i32>,
    plane: [usize; 2],
) -> Result<Array3<T>> {
    const OP: &str = "max_pool2d_index_backward";
    check_shape(OP, "indices", dy.shape(), indices.shape())?;
    let (planes, h, w) = dy.dim();
    let shape = [planes, plane[0], plane[1]];
    check_output::<T>(OP, shape)?;
    let len = plane[0] * plane[1];
    if let Some(index) = indices.iter().find(|&&i| usize::try_from(i).map_or(true, |i| i >= len)) {
        let message = format!("expected 0 to less than {len}, got {index}");
        return Err(Error::value(OP, "indices", message));
    }
    let (dy, indices) = (dy.as_standard_layout(), indices.as_standard_layout());
    let dy = dy.as_slice().expect("standard layout");
    let indices = indices.as_slice().expect("standard layout");
    let mut dx = memory::unfilled_array(shape);
    let out = dx.as_slice_mut().expect("a new array");
    let cost = out.len() + dy.len();
    threads::for_each_piece(out, len, cost, |p, dx| {
        dx.fill(T::zero());
        let range = p * h * w..(p + 1) * h * w;
        for (&dy, &index) in dy[range.clone()].iter().zip(&indices[range]) {
            dx[index as usize] += dy;
        }
    });
    Ok(dx)
}
