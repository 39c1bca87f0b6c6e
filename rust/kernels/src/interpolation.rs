//! Planes in another resolution.
//!
//! On each axis output `i` takes what lies at its place, `x[low[i]]`, or mixes that with what comes
//! next, up to the end: `(1 - share[i]) x[low[i]] + share[i] x[low[i] + 1]`. Lines are mixed across
//! first, once for all lines of the output they go into, then with each other.
//!
//! The gradient is the transpose: each line of the input gathers, in their order, the lines of `dy`
//! that it went into, then each of its numbers those of that sum.

use std::ops::Range;

use ndarray::{Array3, ArrayView1, ArrayView3};

use crate::memory::Scratch;
use crate::simd::Vector;
use crate::{Element, Error, Result, check_shape, memory, threads, vectorized};

/// Least lines of a task: lines that two tasks need are mixed across by both.
const LINES: usize = 8;

/// What each output on an axis is made of.
#[derive(Debug, Clone)]
pub struct Taps {
    length: usize,
    places: Vec<usize>,
    share: Option<Vec<f64>>,
    doubles: bool,
}

impl Taps {
    /// For an axis of `length` numbers: `places` below that, and the `share` of what comes next, or
    /// none for the places alone.
    pub fn new(
        length: usize,
        places: ArrayView1<'_, i64>,
        share: Option<ArrayView1<'_, f64>>,
    ) -> Result<Self> {
        const OP: &str = "interpolation_taps";
        if let Some(share) = share {
            check_shape(OP, "share", places.shape(), share.shape())?;
        }
        let inside = |place: &i64| usize::try_from(*place).is_ok_and(|place| place < length);
        if let Some(place) = places.iter().find(|&place| !inside(place)) {
            let message = format!("expected numbers from 0 to below {length}, got {place}");
            return Err(Error::value(OP, "places", message));
        }
        let places: Vec<_> = places.iter().map(|&place| place as usize).collect();
        let share: Option<Vec<_>> = share.map(|share| share.to_vec());
        let doubles = length > 0 && places.len() == 2 * length && {
            // Mixed numbers double between their places, which leaves one at either end.
            let pairs = &places[usize::from(share.is_some())..];
            pairs.chunks_exact(2).enumerate().all(|(k, pair)| pair == [k, k])
        };
        Ok(Self { length, places, share, doubles })
    }

    /// Weights of the places and of what comes next.
    fn weights<T: Element>(&self) -> Option<[Vec<T>; 2]> {
        let share = self.share.as_ref()?;
        let low = share.iter().map(|&share| T::of(1.0 - share)).collect();
        Some([low, share.iter().map(|&share| T::of(share)).collect()])
    }
}

/// The place that comes next, which the last place is for itself.
#[inline(always)]
fn next(place: usize, length: usize) -> usize {
    (place + 1).min(length - 1)
}

/// An axis of the planes, with weights of their type.
struct Axis<'a, T> {
    length: usize,
    out: usize,
    /// None where the axis stays as it is.
    taps: Option<&'a Taps>,
    weights: Option<[Vec<T>; 2]>,
}

impl<'a, T: Element> Axis<'a, T> {
    fn new(taps: Option<&'a Taps>, otherwise: usize) -> Self {
        let (length, out) =
            taps.map_or((otherwise, otherwise), |taps| (taps.length, taps.places.len()));
        Self { length, out, taps, weights: taps.and_then(Taps::weights) }
    }

    #[inline(always)]
    fn place(&self, i: usize) -> usize {
        match self.taps {
            Some(taps) => taps.places[i],
            None => i,
        }
    }

    /// The two places and weights of output `i`, if it mixes any.
    #[inline(always)]
    fn mix(&self, i: usize) -> Option<[(usize, T); 2]> {
        let [low, high] = self.weights.as_ref()?;
        let place = self.place(i);
        Some([(place, low[i]), (next(place, self.length), high[i])])
    }

    /// Simple operations for each number that is made or gathered here.
    fn cost(&self, numbers: usize) -> usize {
        numbers / if self.weights.is_some() { 2 } else { 4 }
    }
}

/// Weights of the two outputs between each number and the next, if outputs come in such pairs:
/// those of the first, then those of the second, each by the place.
struct Pairs<T>(Option<[[Vec<T>; 2]; 2]>);

impl<T: Element> Pairs<T> {
    fn new(axis: &Axis<'_, T>) -> Option<Self> {
        let inner = 1..axis.taps.filter(|taps| taps.doubles)?.places.len() - 1;
        Some(Self(axis.weights.as_ref().map(|weights| {
            [0, 1].map(|which| [0, 1].map(|side: usize| every_other(&weights[side], &inner, which)))
        })))
    }
}

fn every_other<T: Copy>(weights: &[T], inner: &Range<usize>, from: usize) -> Vec<T> {
    weights[inner.clone()].iter().skip(from).step_by(2).copied().collect()
}

/// What each number on an axis went into, and with which weight, in the order of the outputs.
struct Uses<T> {
    starts: Vec<usize>,
    uses: Vec<(usize, T)>,
}

impl<T: Element> Uses<T> {
    fn new(axis: &Axis<'_, T>) -> Self {
        let mut starts = vec![0; axis.length + 1];
        let each = |run: &mut dyn FnMut(usize, usize, T)| {
            for i in 0..axis.out {
                match axis.mix(i) {
                    Some(mixed) => mixed.into_iter().for_each(|(place, by)| run(i, place, by)),
                    None => run(i, axis.place(i), T::one()),
                }
            }
        };
        each(&mut |_, place, _| starts[place + 1] += 1);
        for place in 0..axis.length {
            starts[place + 1] += starts[place];
        }
        let mut ends = starts.clone();
        let mut uses = vec![(0, T::zero()); starts[axis.length]];
        each(&mut |i, place, by| {
            uses[ends[place]] = (i, by);
            ends[place] += 1;
        });
        Self { starts, uses }
    }

    #[inline(always)]
    fn of(&self, place: usize) -> &[(usize, T)] {
        &self.uses[self.starts[place]..self.starts[place + 1]]
    }
}

/// The planes `x` `[P, H, W]` with other rows, other columns or both.
pub fn forward<T: Element>(
    x: ArrayView3<'_, T>,
    rows: Option<&Taps>,
    columns: Option<&Taps>,
) -> Result<Array3<T>> {
    let (planes, height, width) = x.dim();
    let (rows, columns) = (Axis::new(rows, height), Axis::new(columns, width));
    let expected = [planes, rows.length, columns.length];
    check_shape("interpolation_forward", "x", &expected, x.shape())?;
    let mut y = memory::unfilled_array([planes, rows.out, columns.out]);
    if y.is_empty() {
        return Ok(y);
    }
    let x = x.as_standard_layout();
    let x = x.as_slice().expect("standard layout");
    let pairs = Pairs::new(&columns);
    let cost = rows.cost(y.len()) + columns.cost(y.len());
    let lines = planes * rows.out;
    let mut step = threads::piece_len(lines, cost / lines);
    if rows.weights.is_some() {
        step = step.max(LINES);
    }
    let out = y.as_slice_mut().expect("a new array");
    threads::for_each_piece(out, step * columns.out, cost, |piece, y| {
        mix_lines(x, piece * step, &rows, &columns, pairs.as_ref(), y);
    });
    Ok(y)
}

/// Gradient of the planes from that of the output, `dy`, `[P, OH, OW]`.
pub fn backward<T: Element>(
    dy: ArrayView3<'_, T>,
    rows: Option<&Taps>,
    columns: Option<&Taps>,
) -> Result<Array3<T>> {
    let (planes, height, width) = dy.dim();
    let (rows, columns) = (Axis::new(rows, height), Axis::new(columns, width));
    check_shape("interpolation_backward", "dy", &[planes, rows.out, columns.out], dy.shape())?;
    let mut dx = memory::unfilled_array([planes, rows.length, columns.length]);
    if dx.is_empty() {
        return Ok(dx);
    }
    let dy = dy.as_standard_layout();
    let dy = dy.as_slice().expect("standard layout");
    let pairs = Pairs::new(&columns);
    let line_uses = Uses::new(&rows);
    let number_uses = (columns.taps.is_some() && pairs.is_none()).then(|| Uses::new(&columns));
    let numbers = match (&pairs, &number_uses) {
        (Some(pairs), _) => Gather::Pairs(pairs, &columns),
        (None, Some(uses)) => Gather::Uses(uses),
        (None, None) => Gather::Same,
    };
    let lines = planes * rows.length;
    let cost = rows.cost(dy.len()) + columns.cost(lines * columns.out) + dx.len() / 4;
    let step = threads::piece_len(lines, cost / lines);
    let out = dx.as_slice_mut().expect("a new array");
    threads::for_each_piece(out, step * columns.length, cost, |piece, dx| {
        let out = [rows.out, columns.out];
        gather_lines(dy, piece * step, out, &line_uses, numbers, columns.length, dx);
    });
    Ok(dx)
}

vectorized! {
    /// Lines of the output of all planes, from number `first` on.
    fn mix_lines<S, T: Element>(
        x: &[T],
        first: usize,
        rows: &Axis<'_, T>,
        columns: &Axis<'_, T>,
        pairs: Option<&Pairs<T>>,
        y: &mut [T],
    ) {
        let (width, out) = (columns.length, columns.out);
        let len = if rows.weights.is_some() { out } else { 0 };
        let mut scratch = Scratch::for_parts([len, len]);
        let [mut low_line, mut high_line] = scratch.split([len, len]);
        // Lines of `x` that were mixed across last.
        let (mut low_held, mut high_held) = (usize::MAX, usize::MAX);
        for i in 0..y.len() / out {
            let (plane, row) = ((first + i) / rows.out, (first + i) % rows.out);
            let above = plane * rows.length;
            let Some([(low, low_weight), (high, high_weight)]) = rows.mix(row) else {
                let line = above + rows.place(row);
                if line == low_held {
                    y.copy_within((i - 1) * out..i * out, i * out);
                } else {
                    across::<T::V<S>>(&x[line * width..][..width], columns, pairs, &mut y[i * out..][..out]);
                    low_held = line;
                }
                continue;
            };
            let (low, high) = (above + low, above + high);
            if low == high_held {
                std::mem::swap(&mut low_line, &mut high_line);
                std::mem::swap(&mut low_held, &mut high_held);
            } else if low != low_held {
                across::<T::V<S>>(&x[low * width..][..width], columns, pairs, low_line);
                low_held = low;
            }
            if high != low && high != high_held {
                across::<T::V<S>>(&x[high * width..][..width], columns, pairs, high_line);
                high_held = high;
            }
            let next = if high == low { &*low_line } else { &*high_line };
            let weights = [low_weight, high_weight];
            mix::<T::V<S>>(low_line, next, weights, &mut y[i * out..][..out]);
        }
    }
}

/// Two lines, weighted.
#[inline(always)]
fn mix<V: Vector>(low: &[V::Elem], high: &[V::Elem], weights: [V::Elem; 2], y: &mut [V::Elem]) {
    let (low_weight, high_weight) = (V::splat(weights[0]), V::splat(weights[1]));
    let lines = low.chunks(V::LANES).zip(high.chunks(V::LANES));
    for ((low, high), y) in lines.zip(y.chunks_mut(V::LANES)) {
        mixed(V::read(low), V::read(high), low_weight, high_weight).write(y);
    }
}

/// Each product is rounded, so that every instruction set gives the same.
#[inline(always)]
fn mixed<V: Vector>(low: V, high: V, low_weight: V, high_weight: V) -> V {
    low.mul(low_weight).add(high.mul(high_weight))
}

/// One line with other columns.
#[inline(always)]
fn across<V: Vector>(
    x: &[V::Elem],
    columns: &Axis<'_, V::Elem>,
    pairs: Option<&Pairs<V::Elem>>,
    y: &mut [V::Elem],
) {
    let Some(taps) = columns.taps else {
        return y.copy_from_slice(x);
    };
    match (pairs, &columns.weights) {
        (None, None) => {
            for (y, &place) in y.iter_mut().zip(&taps.places) {
                *y = x[place];
            }
        }
        (None, Some([low, high])) => {
            let weights = low.iter().zip(high);
            for ((y, &place), (&low, &high)) in y.iter_mut().zip(&taps.places).zip(weights) {
                *y = x[place] * low + x[next(place, x.len())] * high;
            }
        }
        (Some(Pairs(None)), _) => {
            for (x, y) in x.chunks(V::LANES).zip(y.chunks_mut(2 * V::LANES)) {
                let x = V::read(x);
                write_pairs(x, x, y);
            }
        }
        (Some(Pairs(Some([first, second]))), _) => {
            let last = y.len() - 1;
            for end in [0, last] {
                if let Some([(low, low_weight), (high, high_weight)]) = columns.mix(end) {
                    y[end] = x[low] * low_weight + x[high] * high_weight;
                }
            }
            for (i, y) in y[1..last].chunks_mut(2 * V::LANES).enumerate() {
                let at = i * V::LANES;
                let (low, high) = (V::read(&x[at..]), V::read(&x[at + 1..]));
                let a = mixed(low, high, V::read(&first[0][at..]), V::read(&first[1][at..]));
                let b = mixed(low, high, V::read(&second[0][at..]), V::read(&second[1][at..]));
                write_pairs(a, b, y);
            }
        }
    }
}

#[inline(always)]
fn write_pairs<V: Vector>(first: V, second: V, y: &mut [V::Elem]) {
    let (front, back) = first.interleave(second);
    front.write(y);
    if y.len() > V::LANES {
        back.write(&mut y[V::LANES..]);
    }
}

#[inline(always)]
fn read_pairs<V: Vector>(y: &[V::Elem]) -> (V, V) {
    let back = if y.len() > V::LANES { V::read(&y[V::LANES..]) } else { V::zero() };
    V::read(y).deinterleave(back)
}

/// How a line of sums becomes one of the gradient.
#[derive(Clone, Copy)]
enum Gather<'a, T> {
    Same,
    Pairs(&'a Pairs<T>, &'a Axis<'a, T>),
    Uses(&'a Uses<T>),
}

vectorized! {
    /// Lines of the gradient of all planes, each of `width` numbers, from number `first` on; `out`
    /// is the shape of a plane of `dy`.
    fn gather_lines<S, T: Element>(
        dy: &[T],
        first: usize,
        out: [usize; 2],
        lines: &Uses<T>,
        numbers: Gather<'_, T>,
        width: usize,
        dx: &mut [T],
    ) {
        let rows = lines.starts.len() - 1;
        let mut scratch = Scratch::new(out[1]);
        for (i, dx) in dx.chunks_exact_mut(width).enumerate() {
            let (plane, row) = ((first + i) / rows, (first + i) % rows);
            let dy = &dy[plane * out[0] * out[1]..][..out[0] * out[1]];
            let uses = lines.of(row);
            if let Gather::Same = numbers {
                sum_lines::<T::V<S>>(dy, uses, dx);
                continue;
            }
            let sums = match uses {
                [(line, by)] if by.is_one() => &dy[line * out[1]..][..out[1]],
                _ => {
                    sum_lines::<T::V<S>>(dy, uses, &mut scratch);
                    &*scratch
                }
            };
            gather::<T::V<S>>(sums, numbers, dx);
        }
    }
}

/// The sum of lines of a plane of `dy`, weighted.
#[inline(always)]
fn sum_lines<V: Vector>(dy: &[V::Elem], uses: &[(usize, V::Elem)], sums: &mut [V::Elem]) {
    let width = sums.len();
    for (i, sums) in sums.chunks_mut(V::LANES).enumerate() {
        let at = i * V::LANES;
        let mut sum = V::zero();
        for &(line, by) in uses {
            sum = V::read(&dy[line * width + at..][..sums.len()]).mul_add(V::splat(by), sum);
        }
        sum.write(sums);
    }
}

/// One line of the gradient from the sums of its outputs.
#[inline(always)]
fn gather<V: Vector>(sums: &[V::Elem], numbers: Gather<'_, V::Elem>, dx: &mut [V::Elem]) {
    match numbers {
        Gather::Same => dx.copy_from_slice(sums),
        Gather::Uses(uses) => {
            for (place, dx) in dx.iter_mut().enumerate() {
                let mut sum = V::Elem::of(0.0);
                for &(i, by) in uses.of(place) {
                    sum += by * sums[i];
                }
                *dx = sum;
            }
        }
        Gather::Pairs(Pairs(None), _) => {
            for (sums, dx) in sums.chunks(2 * V::LANES).zip(dx.chunks_mut(V::LANES)) {
                let (a, b) = read_pairs::<V>(sums);
                a.add(b).write(dx);
            }
        }
        Gather::Pairs(Pairs(Some([first, second])), columns) => {
            let (last, end) = (dx.len() - 1, sums.len() - 1);
            dx[last] = V::Elem::of(0.0);
            // To the places, then to what comes next.
            for side in [0, 1] {
                let to = dx[side..][..last].chunks_mut(V::LANES);
                for ((i, dx), sums) in to.enumerate().zip(sums[1..end].chunks(2 * V::LANES)) {
                    let at = i * V::LANES;
                    let (a, b) = read_pairs::<V>(sums);
                    let before = if side == 0 { V::zero() } else { V::read(dx) };
                    let (a_weight, b_weight) =
                        (V::read(&first[side][at..]), V::read(&second[side][at..]));
                    b.mul_add(b_weight, a.mul_add(a_weight, before)).write(dx);
                }
            }
            for end in [0, end] {
                for (place, by) in columns.mix(end).into_iter().flatten() {
                    dx[place] += by * sums[end];
                }
            }
        }
    }
}
