//! The mean of each window.
#![allow(unsafe_code)]

use std::ops::Range;

use ndarray::{Array3, ArrayView3};

use super::{Divisor, Options, Window, Windows, check_output, cost};
use crate::memory::{self, Scratch};
use crate::planes::{self, Bands, Gather, Moves, part};
use crate::simd::Vector;
use crate::threads::{self, Shared};
use crate::{Element, Error, Result, check_shape, norm, vectorized};

/// Vectors that are summed at a time.
const WIDE: usize = 4;

/// Mean of each window of `x` `[P, H, W]`: `[P, OH, OW]`.
pub fn avg_forward<T: Element>(
    x: ArrayView3<'_, T>,
    options: &Options,
    divisor: Divisor,
) -> Result<Array3<T>> {
    const OP: &str = "avg_pool2d_forward";
    let (_, h, w) = x.dim();
    let windows = avg_windows(OP, [h, w], options, divisor)?;
    check_output::<T>(OP, windows.shape(x.dim().0))?;
    match windows.moves(options) {
        Some(moves) => Ok(moving_means(x, &windows, &moves, divisor)),
        None => Ok(means(x, &windows, divisor)),
    }
}

/// Gradient of the input `[P, H, W]` of [`avg_forward`] from `dy`.
pub fn avg_backward<T: Element>(
    dy: ArrayView3<'_, T>,
    plane: [usize; 2],
    options: &Options,
    divisor: Divisor,
) -> Result<Array3<T>> {
    const OP: &str = "avg_pool2d_backward";
    let windows = avg_windows(OP, plane, options, divisor)?;
    check_spread::<T>(OP, dy.shape(), &windows)?;
    match windows.moves(options) {
        Some(moves) => Ok(moving_spread(dy, &windows, &moves, divisor)),
        None => Ok(spread(dy, &windows, divisor)),
    }
}

/// Mean of each of `out` windows of `x` `[P, H, W]`.
pub fn adaptive_avg_forward<T: Element>(
    x: ArrayView3<'_, T>,
    out: [usize; 2],
) -> Result<Array3<T>> {
    const OP: &str = "adaptive_avg_pool2d_forward";
    let (_, h, w) = x.dim();
    let windows = Windows::adaptive(OP, [h, w], out)?;
    check_output::<T>(OP, windows.shape(x.dim().0))?;
    if out == [1, 1] { Ok(plane_means(x)) } else { Ok(means(x, &windows, Divisor::Inside)) }
}

/// Gradient of the input `[P, H, W]` of [`adaptive_avg_forward`] from `dy`.
pub fn adaptive_avg_backward<T: Element>(
    dy: ArrayView3<'_, T>,
    plane: [usize; 2],
) -> Result<Array3<T>> {
    const OP: &str = "adaptive_avg_pool2d_backward";
    let (_, h, w) = dy.dim();
    let windows = Windows::adaptive(OP, plane, [h, w])?;
    check_spread::<T>(OP, dy.shape(), &windows)?;
    if [h, w] == [1, 1] {
        Ok(plane_spread(dy, plane))
    } else {
        Ok(spread(dy, &windows, Divisor::Inside))
    }
}

fn avg_windows(
    op: &'static str,
    plane: [usize; 2],
    options: &Options,
    divisor: Divisor,
) -> Result<Windows> {
    if divisor == Divisor::Fixed(0) {
        return Err(Error::value(op, "divisor_override", "expected at least 1, got 0"));
    }
    if options.dilation != [1, 1] {
        return Err(Error::value(op, "dilation", "expected 1"));
    }
    Windows::new(op, plane, options)
}

/// One over the divisor of a window.
fn scale<T: Element>(row: &Window, column: &Window, divisor: Divisor) -> T {
    let count = match divisor {
        // The product of two padded lengths may leave 64 bits.
        Divisor::Padded => row.padded as f64 * column.padded as f64,
        Divisor::Inside => ((row.end - row.start) * (column.end - column.start)) as f64,
        Divisor::Fixed(count) => count as f64,
    };
    T::of(1.0 / count)
}

fn means<T: Element>(x: ArrayView3<'_, T>, windows: &Windows, divisor: Divisor) -> Array3<T> {
    let shape = windows.shape(x.dim().0);
    let (width, plane) = (windows.plane[1], windows.plane[0] * windows.plane[1]);
    let x = x.as_standard_layout();
    let x = x.as_slice().expect("standard layout");
    let mut y = memory::unfilled_array(shape);
    let out = y.as_slice_mut().expect("a new array");
    let [rows, columns] = &windows.axes;
    threads::for_each_piece(out, shape[1] * shape[2], cost(x.len(), windows), |p, y| {
        let x = &x[p * plane..][..plane];
        let mut sums = Scratch::<T>::new(width);
        for (row, y) in rows.iter().zip(y.chunks_exact_mut(columns.len())) {
            sums.fill(T::zero());
            for line in x[row.start * width..row.end * width].chunks_exact(width.max(1)) {
                sums.iter_mut().zip(line).for_each(|(sum, &x)| *sum += x);
            }
            for (column, y) in columns.iter().zip(y) {
                let sum = sums[column.start..column.end].iter().fold(T::zero(), |a, &b| a + b);
                *y = sum * scale(row, column, divisor);
            }
        }
    });
    y
}

fn check_spread<T: Element>(op: &'static str, dy: &[usize], windows: &Windows) -> Result<()> {
    check_shape(op, "dy", &windows.shape(dy[0]), dy)?;
    check_output::<T>(op, [dy[0], windows.plane[0], windows.plane[1]])
}

fn spread<T: Element>(dy: ArrayView3<'_, T>, windows: &Windows, divisor: Divisor) -> Array3<T> {
    let planes = dy.dim().0;
    let expected = windows.shape(planes);
    let shape = [planes, windows.plane[0], windows.plane[1]];
    let (width, plane) = (shape[2], shape[1] * shape[2]);
    let dy = dy.as_standard_layout();
    let dy = dy.as_slice().expect("standard layout");
    let mut dx = memory::unfilled_array(shape);
    let out = dx.as_slice_mut().expect("a new array");
    let cost = cost(out.len(), windows);
    let [rows, columns] = &windows.axes;
    threads::for_each_piece(out, plane, cost, |p, dx| {
        dx.fill(T::zero());
        let dy = &dy[p * expected[1] * expected[2]..][..expected[1] * expected[2]];
        let mut line = Scratch::<T>::new(width);
        for (row, dy) in rows.iter().zip(dy.chunks_exact(columns.len().max(1))) {
            line.fill(T::zero());
            for (column, &dy) in columns.iter().zip(dy) {
                let part = dy * scale(row, column, divisor);
                line[column.start..column.end].iter_mut().for_each(|d| *d += part);
            }
            for dx in dx[row.start * width..row.end * width].chunks_exact_mut(width.max(1)) {
                dx.iter_mut().zip(line.iter()).for_each(|(dx, &d)| *dx += d);
            }
        }
    });
    dx
}

/// One over the divisor of each window: a row of numbers for each length of windows down, and which
/// of them each row of outputs has.
struct Scales<T> {
    lines: Vec<(usize, Vec<T>)>,
    rows: Vec<usize>,
}

impl<T: Element> Scales<T> {
    fn new(windows: &Windows, divisor: Divisor) -> Self {
        let mut scales = Self { lines: Vec::new(), rows: Vec::new() };
        for row in &windows.axes[0] {
            let len = if divisor == Divisor::Padded { row.padded } else { row.end - row.start };
            let known = scales.lines.iter().position(|line| line.0 == len);
            scales.rows.push(known.unwrap_or(scales.lines.len()));
            if known.is_none() {
                let line = windows.axes[1].iter().map(|column| scale(row, column, divisor));
                scales.lines.push((len, line.collect()));
            }
        }
        scales
    }

    fn row(&self, row: usize) -> &[T] {
        &self.lines[self.rows[row]].1
    }
}

/// [`means`] of windows that move in an ordinary way.
fn moving_means<T: Element>(
    x: ArrayView3<'_, T>,
    windows: &Windows,
    moves: &Moves,
    divisor: Divisor,
) -> Array3<T> {
    let shape = windows.shape(x.dim().0);
    let mut y = memory::unfilled_array(shape);
    let x = x.as_standard_layout();
    let x = x.as_slice().expect("standard layout");
    let (plane, taps) = (windows.plane[0] * windows.plane[1], moves.taps());
    let bands = Bands::new(moves, shape[0], shape[1] * shape[2] * taps.len() / 16);
    let scales = Scales::new(windows, divisor);
    let out = Shared::new(y.as_slice_mut().expect("a new array"));
    bands.for_each(|piece| {
        let mut seen = Scratch::zeros(bands.seen_len(moves));
        for index in piece {
            let (p, band) = bands.place(index);
            let rows = bands.rows(shape[1], band);
            // SAFETY: bands differ.
            let y = unsafe { out.slice(part(p, moves.out, &rows)) };
            mean_rows(moves, &x[p * plane..], rows, &taps, &scales, &mut seen, y);
        }
    });
    y
}

vectorized! {
    /// Means of `rows` of outputs.
    fn mean_rows<S, T: Element>(
        moves: &Moves,
        x: &[T],
        rows: Range<usize>,
        taps: &[usize],
        scales: &Scales<T>,
        seen: &mut [T],
        y: &mut [T],
    ) {
        planes::copy_rows::<T::V<S>>(moves, x, moves.rows(&rows), T::zero(), seen);
        let step = moves.stride[0] * moves.row_len();
        for (i, (row, y)) in rows.zip(y.chunks_exact_mut(moves.out[1])).enumerate() {
            let terms = taps.iter().map(|tap| tap + i * step);
            sum_stretches::<T::V<S>>(terms, seen, y);
            multiply::<T::V<S>>(y, scales.row(row));
        }
    }
}

/// Writes the sum of the stretches of `from` that begin at `terms`.
#[inline(always)]
fn sum_stretches<V: Vector>(
    terms: impl Iterator<Item = usize> + Clone,
    from: &[V::Elem],
    to: &mut [V::Elem],
) {
    let whole = to.len().next_multiple_of(V::LANES);
    for first in terms.clone() {
        assert!(first + whole <= from.len(), "rows that were copied");
    }
    let (wide, narrow) = to.split_at_mut(to.len() - to.len() % (WIDE * V::LANES));
    let rest = wide.len();
    for (i, to) in wide.chunks_exact_mut(WIDE * V::LANES).enumerate() {
        // SAFETY: checked above.
        unsafe { sum_some::<V, WIDE>(terms.clone(), &from[i * WIDE * V::LANES..], to) };
    }
    for (i, to) in narrow.chunks_mut(V::LANES).enumerate() {
        // SAFETY: checked above.
        unsafe { sum_some::<V, 1>(terms.clone(), &from[rest + i * V::LANES..], to) };
    }
}

/// `N` vectors of [`sum_stretches`], the last as far as `to` goes.
///
/// # Safety
/// `from` holds them for all terms.
#[inline(always)]
unsafe fn sum_some<V: Vector, const N: usize>(
    terms: impl Iterator<Item = usize>,
    from: &[V::Elem],
    to: &mut [V::Elem],
) {
    let mut sums = [V::zero(); N];
    for first in terms {
        for (i, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the caller vouches for it.
            *sum = sum.add(unsafe { V::load(from.as_ptr().add(first + i * V::LANES)) });
        }
    }
    for (sum, to) in sums.into_iter().zip(to.chunks_mut(V::LANES)) {
        sum.write(to);
    }
}

#[inline(always)]
fn multiply<V: Vector>(numbers: &mut [V::Elem], by: &[V::Elem]) {
    for (x, by) in numbers.chunks_mut(V::LANES).zip(by.chunks(V::LANES)) {
        V::read(x).mul(V::read(by)).write(x);
    }
}

/// [`spread`] of windows that move in an ordinary way.
fn moving_spread<T: Element>(
    dy: ArrayView3<'_, T>,
    windows: &Windows,
    moves: &Moves,
    divisor: Divisor,
) -> Array3<T> {
    let mut dx = memory::unfilled_array([dy.dim().0, windows.plane[0], windows.plane[1]]);
    let planes = dy.dim().0;
    let dy = dy.as_standard_layout();
    let dy = dy.as_slice().expect("standard layout");
    let scales = Scales::new(windows, divisor);
    let out = dx.as_slice_mut().expect("a new array");
    let (work, plane) = (out.len() / planes.max(1), moves.out[0] * moves.out[1]);
    Gather::each_band(moves, planes, work, out, |gather, p, [seen, _], apart| {
        spread_rows(gather, &dy[p * plane..][..plane], &scales, seen, apart);
    });
    dx
}

vectorized! {
    /// Sums of `dy` times one over the divisor.
    fn spread_rows<S, T: Element>(
        gather: &Gather,
        dy: &[T],
        scales: &Scales<T>,
        seen: &mut [T],
        apart: &mut [T],
    ) {
        let moves = &gather.moves;
        let (width, back) = (moves.image[1], moves.kernel[1] - 1);
        planes::copy_rows::<T::V<S>>(moves, dy, gather.rows.clone(), T::zero(), seen);
        for (row, line) in gather.rows.clone().zip(seen.chunks_exact_mut(moves.row_len())) {
            if row < moves.image[0] {
                multiply::<T::V<S>>(&mut line[back..back + width], scales.row(row));
            }
        }
        for (to, terms) in gather.sums() {
            let to = to.start..to.start + to.len().next_multiple_of(T::V::<S>::LANES);
            sum_stretches::<T::V<S>>(terms.iter().map(|term| term.1), seen, &mut apart[to]);
        }
    }
}

/// Mean of each plane `[P, H, W]`.
fn plane_means<T: Element>(x: ArrayView3<'_, T>) -> Array3<T> {
    let (planes, h, w) = x.dim();
    let mut y = memory::unfilled_array([planes, 1, 1]);
    let x = x.as_standard_layout();
    let x = x.as_slice().expect("standard layout");
    let piece = threads::piece_len(planes, h * w / 8);
    let scale = T::of(1.0 / (h as f64 * w as f64));
    threads::for_each_piece(y.as_slice_mut().expect("a new array"), piece, x.len() / 8, |i, y| {
        for (y, x) in y.iter_mut().zip(x[i * piece * h * w..].chunks_exact(h * w)) {
            *y = T::of(norm::sum(x)) * scale;
        }
    });
    y
}

/// Gradient of [`plane_means`].
fn plane_spread<T: Element>(dy: ArrayView3<'_, T>, plane: [usize; 2]) -> Array3<T> {
    let mut dx = memory::unfilled_array([dy.dim().0, plane[0], plane[1]]);
    let dy = dy.as_standard_layout();
    let dy = dy.as_slice().expect("standard layout");
    let len = plane[0] * plane[1];
    let piece = threads::piece_len(dy.len(), len / 8);
    let scale = T::of(1.0 / (plane[0] as f64 * plane[1] as f64));
    let out = dx.as_slice_mut().expect("a new array");
    let cost = out.len() / 8;
    threads::for_each_piece(out, piece * len, cost, |i, dx| {
        for (dx, &dy) in dx.chunks_exact_mut(len).zip(&dy[i * piece..]) {
            dx.fill(dy * scale);
        }
    });
    dx
}
