//! Batch norm and group norm of `[N, C, L]`, where `L` stands for any axes after the channels.
//!
//! A set is the numbers that share a mean: one channel over the batch, or one group of channels of
//! one sample. It is made of runs of `L` numbers, each of one sample and one channel.

use std::ops::Range;

use ndarray::{Array1, Array2, Array3, ArrayView1, ArrayView2, ArrayView3};

use super::{Moments, columns, deviations, products, split, sum};
use crate::memory;
use crate::simd::{MAX_LANES, Vector};
use crate::threads::{self, Shared};
use crate::{Element, Error, Result, check_shape, vectorized};

/// Longest runs of a small batch that are too short to be summed along.
const SHORT: usize = 15;

/// Samples from which a batch is not small.
const ROWS: usize = 16;

/// Which numbers share a mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sets {
    /// Those of a channel, over the batch.
    Channels,
    /// Those of one of so many groups of channels, in each sample.
    Groups(usize),
}

#[derive(Clone, Copy)]
struct Plan {
    sets: Sets,
    n: usize,
    c: usize,
    l: usize,
}

impl Plan {
    fn new(op: &'static str, sets: Sets, (n, c, l): (usize, usize, usize)) -> Result<Self> {
        if let Sets::Groups(groups) = sets
            && (groups == 0 || !c.is_multiple_of(groups))
        {
            let message = format!("expected a divisor of the {c} channels, got {groups}");
            return Err(Error::value(op, "groups", message));
        }
        Ok(Self { sets, n, c, l })
    }

    fn count(self) -> usize {
        match self.sets {
            Sets::Channels => self.c,
            Sets::Groups(groups) => self.n * groups,
        }
    }

    /// Numbers in a set.
    fn size(self) -> usize {
        match self.sets {
            Sets::Channels => self.n * self.l,
            Sets::Groups(groups) => self.c / groups * self.l,
        }
    }

    /// The runs of a set that lie side by side, numbered sample by sample; the channel of run `r`
    /// is `r % C`.
    fn stretches(self, set: usize) -> impl Iterator<Item = Range<usize>> {
        let (step, count, width) = match self.sets {
            Sets::Channels => (self.c, self.n, 1),
            Sets::Groups(groups) => (0, 1, self.c / groups),
        };
        let start = set * width;
        (0..count).map(move |i| start + i * step..start + i * step + width)
    }

    /// The numbers of `runs`.
    fn numbers(self, runs: &Range<usize>) -> Range<usize> {
        runs.start * self.l..runs.end * self.l
    }

    /// The values of the channels of `runs`, of those of all channels.
    fn channels<'a, U>(self, runs: &Range<usize>, of: &'a [U]) -> &'a [U] {
        &of[runs.start % self.c..][..runs.len()]
    }

    /// Whether sums run down columns, not along runs: where runs are short for the number of them.
    fn is_of_columns(self) -> bool {
        let longest = if self.n < ROWS { SHORT } else { columns::COLUMNS };
        self.sets == Sets::Channels && self.l <= longest
    }

    fn moments<T: Element>(self, set: usize, x: &[T]) -> Moments {
        let parts = || self.stretches(set).map(|runs| &x[self.numbers(&runs)]);
        let count = self.size();
        let centre = parts().map(sum).sum::<f64>() / count as f64;
        let mut total = (0.0, 0.0);
        for part in parts() {
            let (sums, squares) = deviations(part, centre);
            total = (total.0 + sums, total.1 + squares);
        }
        Moments::new(centre, total, count)
    }
}

/// Normalises `x` `[N, C, L]` and scales it by `weight` and `bias` `[C]`. Returns the output and
/// the mean and variance of each set: those of `x`, or those given for each channel.
pub fn forward<T: Element>(
    x: ArrayView3<'_, T>,
    sets: Sets,
    given: Option<(ArrayView1<'_, T>, ArrayView1<'_, T>)>,
    weight: Option<ArrayView1<'_, T>>,
    bias: Option<ArrayView1<'_, T>>,
    eps: f64,
) -> Result<(Array3<T>, Array2<f64>)> {
    let op = match sets {
        Sets::Channels => "batch_norm_forward",
        Sets::Groups(_) => "group_norm_forward",
    };
    let dim = x.dim();
    for (arg, parameter) in [("weight", &weight), ("bias", &bias)] {
        if let Some(parameter) = parameter {
            check_shape(op, arg, &[dim.1], parameter.shape())?;
        }
    }
    let x = x.as_standard_layout();
    let plan = Plan::new(op, sets, dim)?;
    let fixed = given.is_some();
    let mut moments = memory::zeros((plan.count(), 2));
    if let Some((mean, var)) = given {
        check_shape(op, "running_mean", &[plan.count()], mean.shape())?;
        check_shape(op, "running_var", &[plan.count()], var.shape())?;
        moments.column_mut(0).assign(&mean.mapv(T::f64));
        moments.column_mut(1).assign(&var.mapv(T::f64));
    }
    let mut y = memory::unfilled_array(x.raw_dim());
    if !y.is_empty() {
        let x = x.as_slice().expect("standard layout");
        let out = y.as_slice_mut().expect("a new array");
        let kept = moments.as_slice_mut().expect("C order");
        let scale_of = |channel: usize| {
            let weight = weight.map_or(1.0, |w| w[channel].f64());
            (weight, bias.map_or(0.0, |b| b[channel].f64()))
        };
        if plan.is_of_columns() {
            columns::forward(x, dim, fixed, kept, scale_of, eps, out);
            return Ok((y, moments));
        }
        let affine: Vec<_> = (0..plan.c).map(scale_of).collect();
        let (out, kept) = (Shared::new(out), Shared::new(kept));
        let step = threads::piece_len(plan.count(), plan.size() / 2);
        threads::for_each(plan.count().div_ceil(step), x.len() / 2, |task| {
            for set in task * step..((task + 1) * step).min(plan.count()) {
                // SAFETY: each set is the work of one task.
                let kept = unsafe { kept.slice(2 * set..2 * set + 2) };
                if !fixed {
                    let m = plan.moments(set, x);
                    kept.copy_from_slice(&[m.mean, m.var]);
                }
                let m = Moments { mean: kept[0], var: kept[1] };
                let rstd = m.rstd(eps);
                for runs in plan.stretches(set) {
                    let range = plan.numbers(&runs);
                    // SAFETY: each run belongs to one set.
                    let y = unsafe { out.slice(range.clone()) };
                    scale_runs(&x[range], m.mean, rstd, plan.channels(&runs, &affine), y);
                }
            }
        });
    }
    Ok((y, moments))
}

/// Gradients from that of the output, the input, and the moments and options of the forward pass.
/// `fixed` moments do not depend on the input. Gradients of the parameters, `[C]`, are computed
/// where `needs` says so.
pub fn backward<T: Element>(
    dy: ArrayView3<'_, T>,
    x: ArrayView3<'_, T>,
    sets: Sets,
    moments: ArrayView2<'_, f64>,
    fixed: bool,
    weight: Option<ArrayView1<'_, T>>,
    eps: f64,
    needs: bool,
) -> Result<(Array3<T>, Option<(Array1<T>, Array1<T>)>)> {
    let op = match sets {
        Sets::Channels => "batch_norm_backward",
        Sets::Groups(_) => "group_norm_backward",
    };
    let dim = x.dim();
    check_shape(op, "dy", x.shape(), dy.shape())?;
    if let Some(weight) = &weight {
        check_shape(op, "weight", &[dim.1], weight.shape())?;
    }
    let (x, dy) = (x.as_standard_layout(), dy.as_standard_layout());
    let plan = Plan::new(op, sets, dim)?;
    check_shape(op, "moments", &[plan.count(), 2], moments.shape())?;
    let moments_of = |set: usize| Moments { mean: moments[[set, 0]], var: moments[[set, 1]] };
    let mut dx = memory::unfilled_array(x.raw_dim());
    // Of each run, or of each channel, the sum of dy and of dy * xhat.
    let runs = if plan.is_of_columns() { plan.c } else { plan.n * plan.c };
    let mut sums = vec![(0.0f64, 0.0f64); runs];
    let weight_of = |channel: usize| weight.map_or(1.0, |w| w[channel].f64());
    if !dx.is_empty() {
        let x = x.as_slice().expect("standard layout");
        let dy = dy.as_slice().expect("standard layout");
        let out = dx.as_slice_mut().expect("a new array");
        if plan.is_of_columns() {
            let to = &mut sums;
            columns::backward(dy, x, dim, moments_of, fixed, weight_of, eps, needs, out, to);
            return Ok((dx, needs.then(|| parameters(&sums, plan.c))));
        }
        let weights: Vec<_> = (0..plan.c).map(weight_of).collect();
        let (out, shared) = (Shared::new(out), Shared::new(&mut sums));
        let step = threads::piece_len(plan.count(), plan.size());
        threads::for_each(plan.count().div_ceil(step), x.len(), |task| {
            for set in task * step..((task + 1) * step).min(plan.count()) {
                let m = moments_of(set);
                let rstd = m.rstd(eps);
                let mut total = (0.0, 0.0);
                if needs || !fixed {
                    for runs in plan.stretches(set) {
                        let range = plan.numbers(&runs);
                        // SAFETY: each run belongs to one set, each set to one task.
                        let sums = unsafe { shared.slice(runs.clone()) };
                        products(&dy[range.clone()], &x[range], m.mean, sums);
                        for (sums, weight) in sums.iter_mut().zip(plan.channels(&runs, &weights)) {
                            sums.1 *= rstd;
                            if !fixed {
                                total.0 += weight * sums.0;
                                total.1 += weight * sums.1;
                            }
                        }
                    }
                }
                let (sum, dot) = (total.0 / plan.size() as f64, total.1 / plan.size() as f64);
                let (slope, shift) = (dot * rstd * rstd, sum * rstd);
                for runs in plan.stretches(set) {
                    let range = plan.numbers(&runs);
                    // SAFETY: as above.
                    let dx = unsafe { out.slice(range.clone()) };
                    let (dy, x) = (&dy[range.clone()], &x[range]);
                    runs_backward(
                        dy,
                        x,
                        m.mean,
                        rstd,
                        plan.channels(&runs, &weights),
                        slope,
                        shift,
                        dx,
                    );
                }
            }
        });
    }
    Ok((dx, needs.then(|| parameters(&sums, plan.c))))
}

/// Gradients of weight and bias from the sums of each run.
fn parameters<T: Element>(sums: &[(f64, f64)], channels: usize) -> (Array1<T>, Array1<T>) {
    let mut totals = vec![(0.0, 0.0); channels];
    for sample in sums.chunks_exact(channels.max(1)) {
        for (total, (sum, dot)) in totals.iter_mut().zip(sample) {
            *total = (total.0 + sum, total.1 + dot);
        }
    }
    let dweight = totals.iter().map(|total| T::of(total.1)).collect();
    (dweight, totals.iter().map(|total| T::of(total.0)).collect())
}

vectorized! {
    /// `y = (x - mean) * rstd * weight + bias` for runs side by side, of weight and bias in `affine`.
    fn scale_runs<S, T: Element>(
        x: &[T], mean: f64, rstd: f64, affine: &[(f64, f64)], y: &mut [T],
    ) {
        let (high, low) = split::<T>(mean);
        let (high, low) = (T::V::<S>::splat(high), T::V::<S>::splat(low));
        let (len, lanes) = (x.len() / affine.len(), T::V::<S>::LANES);
        if len == 1 {
            let vectors = x.chunks(lanes).zip(y.chunks_mut(lanes)).zip(affine.chunks(lanes));
            for ((x, y), affine) in vectors {
                let mut lines = [[T::zero(); MAX_LANES]; 2];
                for (lane, &(weight, bias)) in affine.iter().enumerate() {
                    (lines[0][lane], lines[1][lane]) = (T::of(rstd * weight), T::of(bias));
                }
                let [scale, shift] = lines.each_ref().map(|line| T::V::<S>::read(&line[..lanes]));
                T::V::<S>::read(x).sub(high).sub(low).mul_add(scale, shift).write(y);
            }
            return;
        }
        let runs = x.chunks_exact(len).zip(y.chunks_exact_mut(len));
        for ((x, y), &(weight, bias)) in runs.zip(affine) {
            let (scale, shift) = (T::V::<S>::of(rstd * weight), T::V::<S>::of(bias));
            for (x, y) in x.chunks(lanes).zip(y.chunks_mut(lanes)) {
                T::V::<S>::read(x).sub(high).sub(low).mul_add(scale, shift).write(y);
            }
        }
    }
}

vectorized! {
    /// `dx = dy * rstd * weight - (x - mean) * slope - shift` for runs side by side.
    fn runs_backward<S, T: Element>(
        dy: &[T], x: &[T], mean: f64, rstd: f64, weights: &[f64], slope: f64, shift: f64,
        dx: &mut [T],
    ) {
        let (high, low) = split::<T>(mean);
        let (high, low) = (T::V::<S>::splat(high), T::V::<S>::splat(low));
        let (slope, shift) = (T::V::<S>::of(slope), T::V::<S>::of(-shift));
        let (len, lanes) = (x.len() / weights.len(), T::V::<S>::LANES);
        if len == 1 {
            let vectors = dy.chunks(lanes).zip(x.chunks(lanes)).zip(dx.chunks_mut(lanes));
            for (((dy, x), dx), weights) in vectors.zip(weights.chunks(lanes)) {
                let mut scales = [T::zero(); MAX_LANES];
                for (scale, weight) in scales.iter_mut().zip(weights) {
                    *scale = T::of(rstd * weight);
                }
                let d = T::V::<S>::read(x).sub(high).sub(low);
                let scale = T::V::<S>::read(&scales[..lanes]);
                let dy = T::V::<S>::read(dy).mul_add(scale, shift);
                d.neg_mul_add(slope, dy).write(dx);
            }
            return;
        }
        let runs = dy.chunks_exact(len).zip(x.chunks_exact(len)).zip(dx.chunks_exact_mut(len));
        for (((dy, x), dx), &weight) in runs.zip(weights) {
            let scale = T::V::<S>::of(rstd * weight);
            let vectors = dy.chunks(lanes).zip(x.chunks(lanes)).zip(dx.chunks_mut(lanes));
            for ((dy, x), dx) in vectors {
                let d = T::V::<S>::read(x).sub(high).sub(low);
                let dy = T::V::<S>::read(dy).mul_add(scale, shift);
                d.neg_mul_add(slope, dy).write(dx);
            }
        }
    }
}
