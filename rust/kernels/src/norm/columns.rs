//! Batch norm of `[N, C, L]` whose runs are too short for sums along them: they are `N` rows of
//! `C * L` columns, and the sums run down the columns.
//!
//! A task has all rows of a few neighbouring channels, which the second cache holds from the first
//! pass over them to the last where the batch is not very large.

use super::{Moments, split};
use crate::simd::{Isa, Vector};
use crate::threads::{self, Shared};
use crate::{Element, vectorized};

/// Most columns of a task; longer runs are summed along.
pub(super) const COLUMNS: usize = 64;

/// Rows summed in the element's own precision.
const ROWS: usize = 64;

/// How many rows ahead of the work memory is asked for.
const AHEAD: usize = 16;

/// Vectors of columns summed side by side.
const SIDE: usize = 4;

/// The channels of one task.
#[derive(Clone, Copy)]
struct Strip {
    channels: usize,
    l: usize,
    /// First column of the first row, and what lies between a row and the next.
    start: usize,
    stride: usize,
}

impl Strip {
    fn width(self) -> usize {
        self.channels * self.l
    }

    /// The value of each column's channel.
    fn spread<T: Element>(self, of: impl Fn(usize) -> T) -> [T; COLUMNS] {
        let mut columns = [T::zero(); COLUMNS];
        for (i, columns) in columns[..self.width()].chunks_exact_mut(self.l).enumerate() {
            columns.fill(of(i));
        }
        columns
    }

    /// The means of the channels as numbers and what their rounding lost.
    fn centre<T: Element>(self, mean: impl Fn(usize) -> f64) -> [[T; COLUMNS]; 2] {
        [self.spread(|i| split(mean(i)).0), self.spread(|i| split(mean(i)).1)]
    }

    /// Of each channel, the sum of `g` and of `g` times the deviations of `x` from `centre`; `g` is
    /// the deviation itself where it is not given.
    fn sums<T: Element>(
        self,
        g: Option<&[T]>,
        x: &[T],
        centre: &[[T; COLUMNS]; 2],
    ) -> Vec<(f64, f64)> {
        let mut sums = [(0.0, 0.0); COLUMNS];
        column_sums(self, g, x, centre, &mut sums);
        let channels = sums[..self.width()].chunks(self.l);
        channels.map(|sums| sums.iter().fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1))).collect()
    }
}

/// Runs `work` for the strips of `[N, C, L]`, with the number of the strip's first channel.
fn for_each_strip(n: usize, c: usize, l: usize, work: impl Fn(usize, Strip) + Sync) {
    let step = COLUMNS / l;
    threads::for_each(c.div_ceil(step), n * c * l, |task| {
        let first = task * step;
        let channels = step.min(c - first);
        work(first, Strip { channels, l, start: first * l, stride: c * l });
    });
}

/// Normalises `x` `[N, C, L]`, of which nothing is empty, by `moments`, which are first computed
/// where they are not `fixed`. `scale` gives weight and bias of a channel.
pub(super) fn forward<T: Element>(
    x: &[T],
    (n, c, l): (usize, usize, usize),
    fixed: bool,
    moments: &mut [f64],
    scale: impl Fn(usize) -> (f64, f64) + Sync,
    eps: f64,
    y: &mut [T],
) {
    let (out, kept) = (Shared::new(y), Shared::new(moments));
    for_each_strip(n, c, l, |first, strip| {
        // SAFETY: each channel is the work of one task.
        let kept = unsafe { kept.slice(2 * first..2 * (first + strip.channels)) };
        if !fixed {
            let count = n * l;
            let sums = strip.sums(None, x, &strip.centre(|_| 0.0));
            let mean = |i: usize| sums[i].0 / count as f64;
            let deviations = strip.sums(None, x, &strip.centre(mean));
            for (i, kept) in kept.chunks_exact_mut(2).enumerate() {
                let m = Moments::new(mean(i), deviations[i], count);
                kept.copy_from_slice(&[m.mean, m.var]);
            }
        }
        let m = |i: usize| Moments { mean: kept[2 * i], var: kept[2 * i + 1] };
        let centre = strip.centre(|i| m(i).mean);
        let by = strip.spread(|i| T::of(m(i).rstd(eps) * scale(first + i).0));
        let shift = strip.spread(|i| T::of(scale(first + i).1));
        scale_columns(strip, x, &centre, &by, &shift, out);
    });
}

/// Writes the gradient of the input and, where `needs` or not `fixed`, the sums of `dy` and of
/// `dy * xhat` of each channel to `sums`.
pub(super) fn backward<T: Element>(
    dy: &[T],
    x: &[T],
    (n, c, l): (usize, usize, usize),
    moments: impl Fn(usize) -> Moments + Sync,
    fixed: bool,
    weight: impl Fn(usize) -> f64 + Sync,
    eps: f64,
    needs: bool,
    dx: &mut [T],
    sums: &mut [(f64, f64)],
) {
    let (out, sums) = (Shared::new(dx), Shared::new(sums));
    for_each_strip(n, c, l, |first, strip| {
        let m = |i: usize| moments(first + i);
        let centre = strip.centre(|i| m(i).mean);
        // SAFETY: each channel is the work of one task.
        let sums = unsafe { sums.slice(first..first + strip.channels) };
        if needs || !fixed {
            let found = strip.sums(Some(dy), x, &centre);
            for (i, (to, (sum, dot))) in sums.iter_mut().zip(found).enumerate() {
                *to = (sum, dot * m(i).rstd(eps));
            }
        }
        let scale = |i: usize| weight(first + i) * m(i).rstd(eps);
        // The part of the gradient that comes through the moments, for each number of the channel.
        let share = |i: usize| if fixed { 0.0 } else { scale(i) / (n * l) as f64 };
        let slope = strip.spread(|i| T::of(share(i) * sums[i].1 * m(i).rstd(eps)));
        let shift = strip.spread(|i| T::of(-share(i) * sums[i].0));
        let scale = strip.spread(|i| T::of(scale(i)));
        columns_backward(strip, dy, x, &centre, &scale, &slope, &shift, out);
    });
}

vectorized! {
    fn column_sums<S, T: Element>(
        strip: Strip,
        g: Option<&[T]>,
        x: &[T],
        centre: &[[T; COLUMNS]; 2],
        sums: &mut [(f64, f64); COLUMNS],
    ) {
        match g {
            Some(g) => add_columns::<S, T, false>(strip, g, x, centre, sums),
            None => add_columns::<S, T, true>(strip, x, x, centre, sums),
        }
    }
}

#[inline(always)]
fn add_columns<S: Isa, T: Element, const OWN: bool>(
    strip: Strip,
    g: &[T],
    x: &[T],
    centre: &[[T; COLUMNS]; 2],
    sums: &mut [(f64, f64); COLUMNS],
) {
    let lanes = T::V::<S>::LANES;
    let width = strip.width();
    let rows = x.len() / strip.stride;
    for from in (0..width).step_by(SIDE * lanes) {
        let at = |i: usize| (from + i * lanes).min(width);
        let [high, low] = [0, 1].map(|k| {
            std::array::from_fn::<_, SIDE, _>(|i| T::V::<S>::read(&centre[k][at(i)..width]))
        });
        for block in (0..rows).step_by(ROWS) {
            let mut totals = [[T::V::<S>::zero(); SIDE]; 2];
            for row in block..(block + ROWS).min(rows) {
                let start = row * strip.stride + strip.start;
                let (x, g) = (&x[start..start + width], &g[start..start + width]);
                for i in 0..SIDE {
                    let (x, g) = (&x[at(i)..], &g[at(i)..]);
                    T::V::<S>::prefetch(x.as_ptr().wrapping_add(AHEAD * strip.stride));
                    let d = T::V::<S>::read(x).sub(high[i]).sub(low[i]);
                    let g = if OWN {
                        d
                    } else {
                        T::V::<S>::prefetch(g.as_ptr().wrapping_add(AHEAD * strip.stride));
                        T::V::<S>::read(g)
                    };
                    totals[0][i] = totals[0][i].add(g);
                    totals[1][i] = g.mul_add(d, totals[1][i]);
                }
            }
            let mut found = [[T::zero(); SIDE * crate::simd::MAX_LANES]; 2];
            for (found, totals) in found.iter_mut().zip(totals) {
                for (found, total) in found.chunks_exact_mut(lanes).zip(totals) {
                    total.write(found);
                }
            }
            let columns = sums[from..width].iter_mut().take(SIDE * lanes);
            for (i, sums) in columns.enumerate() {
                *sums = (sums.0 + found[0][i].f64(), sums.1 + found[1][i].f64());
            }
        }
    }
}

vectorized! {
    /// `y = (x - mean) * scale + shift`.
    fn scale_columns<S, T: Element>(
        strip: Strip,
        x: &[T],
        centre: &[[T; COLUMNS]; 2],
        scale: &[T; COLUMNS],
        shift: &[T; COLUMNS],
        out: Shared<T>,
    ) {
        let width = strip.width();
        for row in 0..x.len() / strip.stride {
            let start = row * strip.stride + strip.start;
            let x = &x[start..start + width];
            // SAFETY: each column is the work of one task.
            let y = unsafe { out.slice(start..start + width) };
            for from in (0..width).step_by(T::V::<S>::LANES) {
                let y = &mut y[from..];
                T::V::<S>::prefetch(y.as_ptr().wrapping_add(AHEAD * strip.stride));
                let [high, low] = [0, 1].map(|k| T::V::<S>::read(&centre[k][from..]));
                let d = T::V::<S>::read(&x[from..]).sub(high).sub(low);
                let scale = T::V::<S>::read(&scale[from..]);
                d.mul_add(scale, T::V::<S>::read(&shift[from..])).write(y);
            }
        }
    }
}

vectorized! {
    /// `dx = dy * scale - (x - mean) * slope + shift`.
    fn columns_backward<S, T: Element>(
        strip: Strip,
        dy: &[T],
        x: &[T],
        centre: &[[T; COLUMNS]; 2],
        scale: &[T; COLUMNS],
        slope: &[T; COLUMNS],
        shift: &[T; COLUMNS],
        out: Shared<T>,
    ) {
        let width = strip.width();
        for row in 0..x.len() / strip.stride {
            let start = row * strip.stride + strip.start;
            let (x, dy) = (&x[start..start + width], &dy[start..start + width]);
            // SAFETY: each column is the work of one task.
            let dx = unsafe { out.slice(start..start + width) };
            for from in (0..width).step_by(T::V::<S>::LANES) {
                let dx = &mut dx[from..];
                T::V::<S>::prefetch(dx.as_ptr().wrapping_add(AHEAD * strip.stride));
                let [high, low] = [0, 1].map(|k| T::V::<S>::read(&centre[k][from..]));
                let d = T::V::<S>::read(&x[from..]).sub(high).sub(low);
                let scale = T::V::<S>::read(&scale[from..]);
                let dy = T::V::<S>::read(&dy[from..]);
                let dy = dy.mul_add(scale, T::V::<S>::read(&shift[from..]));
                d.neg_mul_add(T::V::<S>::read(&slope[from..]), dy).write(dx);
            }
        }
    }
}
