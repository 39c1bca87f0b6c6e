//! Cross-entropy of softmax with one class index a row, fused.
//!
//! With class weights w, W = sum w, smoothing e, classes V, target t and p = softmax(x):
//!   loss = (1 - e) w_t (lse(x) - x_t) + e/V sum_c w_c (lse(x) - x_c)
//!   dx_c = ((1 - e) w_t + e W / V) p_c - e/V w_c - (1 - e) w_t [c = t]
//! `mean` divides by the sum of w_t over the rows that are not ignored. The logits are read once: a
//! row's maximum and sum of exponentials are found block by block, and its gradient is written
//! while the row is still in the cache.

use ndarray::{Array1, Array2, ArrayView2};

use crate::loss::{Reduction, check_targets};
use crate::simd::Vector;
use crate::softmax::largest;
use crate::{Element, Error, Result, check_shape, memory, threads, vectorized};

/// Numbers of a row that are looked at twice while they are in the first-level cache.
const BLOCK: usize = 4096;

/// How rows count.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a, T> {
    /// Weight of each class; 1 without.
    pub weight: Option<&'a [T]>,
    /// Rows with this target count for nothing.
    pub ignore_index: i64,
    /// Share of the target's probability that is spread over all classes.
    pub label_smoothing: f64,
    /// How the rows' losses become one.
    pub reduction: Reduction,
}

/// The loss of rows of logits, and what its gradient needs.
#[derive(Debug)]
pub struct Output<T> {
    /// One number, or one a row where nothing is reduced.
    pub loss: Array1<T>,
    /// Maximum of each row and the sum of exponentials less it, `[R, 2]`.
    pub stats: Array2<T>,
    /// Gradient of the logits where the gradient of every loss is 1.
    pub dlogits: Option<Array2<T>>,
}

struct Job<'a, T> {
    logits: &'a [T],
    targets: &'a [i64],
    columns: usize,
    weight: Option<&'a [T]>,
    ignore_index: i64,
    smoothing: f64,
    /// Sum of the class weights.
    total_weight: f64,
    /// What each row's loss is multiplied with.
    scale: f64,
}

impl<T: Element> Job<'_, T> {
    /// Weight of the target of `row`, `None` where the row is ignored.
    fn target(&self, row: usize) -> Option<(usize, f64)> {
        let target = self.targets[row];
        if target == self.ignore_index {
            return None;
        }
        let target = target as usize;
        Some((target, self.weight.map_or(1.0, |w| w[target].f64())))
    }
}

fn job<'a, T: Element>(
    op: &'static str,
    logits: &'a [T],
    (rows, columns): (usize, usize),
    targets: &'a [i64],
    settings: &Settings<'a, T>,
) -> Result<Job<'a, T>> {
    if columns == 0 {
        return Err(Error::value(op, "logits", format!("expected a class, got [{rows}, 0]")));
    }
    let smoothing = settings.label_smoothing;
    if !(0.0..=1.0).contains(&smoothing) {
        return Err(Error::value(
            op,
            "label_smoothing",
            format!("expected 0 to 1, got {smoothing}"),
        ));
    }
    check_shape(op, "targets", &[rows], &[targets.len()])?;
    if let Some(weight) = settings.weight {
        check_shape(op, "weight", &[columns], &[weight.len()])?;
    }
    let counted = check_targets(op, targets, columns, settings.ignore_index, settings.weight)?;
    Ok(Job {
        logits,
        targets,
        columns,
        weight: settings.weight,
        ignore_index: settings.ignore_index,
        smoothing,
        total_weight: settings
            .weight
            .map_or(columns as f64, |weight| weight.iter().map(|w| w.f64()).sum()),
        scale: if settings.reduction == Reduction::Mean { 1.0 / counted } else { 1.0 },
    })
}

/// Loss of `logits` `[R, V]` against `targets` `[R]`; with `gradient` also that of the logits.
pub fn forward<T: Element>(
    logits: ArrayView2<'_, T>,
    targets: &[i64],
    settings: &Settings<'_, T>,
    gradient: bool,
) -> Result<Output<T>> {
    let (rows, columns) = logits.dim();
    let logits = logits.as_standard_layout();
    let logits = logits.as_slice().expect("standard layout");
    let job = job("cross_entropy_forward", logits, (rows, columns), targets, settings)?;
    let mut losses = vec![0.0; rows];
    let mut stats = memory::unfilled_array((rows, 2));
    let mut dlogits = gradient.then(|| memory::unfilled_array((rows, columns)));
    let step = threads::piece_len(rows, columns * 2);
    {
        let losses = threads::Shared::new(&mut losses);
        let stats = threads::Shared::new(stats.as_slice_mut().expect("a new array"));
        let dlogits = dlogits
            .as_mut()
            .map(|dlogits| threads::Shared::new(dlogits.as_slice_mut().expect("a new array")));
        threads::for_each(rows.div_ceil(step), rows * columns * 2, |piece| {
            let (first, last) = (piece * step, ((piece + 1) * step).min(rows));
            // SAFETY: the rows of different pieces do not overlap.
            #[allow(unsafe_code)]
            let (losses, stats, dlogits) = unsafe {
                (
                    losses.slice(first..last),
                    stats.slice(first * 2..last * 2),
                    dlogits.as_ref().map(|d| d.slice(first * columns..last * columns)),
                )
            };
            forward_rows(&job, first, losses, stats, dlogits);
        });
    }
    let loss = match settings.reduction {
        Reduction::None => losses.into_iter().map(T::of).collect(),
        _ => Array1::from_elem(1, T::of(losses.iter().sum::<f64>() * job.scale)),
    };
    Ok(Output { loss, stats, dlogits })
}

/// Gradient of the logits from that of the loss, `dy`, of length 1 or, without reduction, R.
pub fn backward<T: Element>(
    dy: &[T],
    logits: ArrayView2<'_, T>,
    targets: &[i64],
    stats: ArrayView2<'_, T>,
    settings: &Settings<'_, T>,
) -> Result<Array2<T>> {
    const OP: &str = "cross_entropy_backward";
    let (rows, columns) = logits.dim();
    let logits = logits.as_standard_layout();
    let logits = logits.as_slice().expect("standard layout");
    let job = job(OP, logits, (rows, columns), targets, settings)?;
    let expected = if settings.reduction == Reduction::None { rows } else { 1 };
    check_shape(OP, "dy", &[expected], &[dy.len()])?;
    check_shape(OP, "stats", &[rows, 2], stats.shape())?;
    let stats = stats.as_standard_layout();
    let stats = stats.as_slice().expect("standard layout");
    let mut dlogits = memory::unfilled_array((rows, columns));
    let step = threads::piece_len(rows, columns * 2);
    let out = dlogits.as_slice_mut().expect("a new array");
    threads::for_each_piece(out, step * columns, rows * columns * 2, |piece, out| {
        backward_rows(&job, piece * step, dy, stats, out);
    });
    Ok(dlogits)
}

/// Maximum of `x` and sum of `exp(x - maximum)`; a NaN in `x` makes the sum NaN.
#[inline(always)]
fn max_and_sum<V: Vector>(x: &[V::Elem]) -> (V::Elem, f64) {
    let mut max = <V::Elem as num_traits::Float>::neg_infinity();
    let mut sum = 0.0f64;
    for block in x.chunks(BLOCK) {
        let high = largest::<V>(block);
        if high > max {
            if sum > 0.0 {
                sum *= (max.f64() - high.f64()).exp();
            }
            max = high;
        }
        // Where there is nothing but -inf so far, subtracting it would make NaN of zeros.
        let low = V::Elem::of(f64::NEG_INFINITY);
        let shift = V::splat(if max == low { V::Elem::of(0.0) } else { max });
        let mut sums = [V::zero(); 2];
        let mut pairs = block.chunks_exact(2 * V::LANES);
        for x in pairs.by_ref() {
            let (a, b) = x.split_at(V::LANES);
            V::prefetch_ahead(a);
            V::prefetch_ahead(b);
            sums[0] = sums[0].add(V::read(a).sub(shift).exp_to_one());
            sums[1] = sums[1].add(V::read(b).sub(shift).exp_to_one());
        }
        for x in pairs.remainder().chunks(V::LANES) {
            sums[0] = sums[0].add(V::read_or(x, low).sub(shift).exp_to_one());
        }
        sum += sums[0].add(sums[1]).sum().f64();
    }
    (max, sum)
}

/// Sum of `x`, or of `weight * x`.
#[inline(always)]
fn weighted_sum<V: Vector>(x: &[V::Elem], weight: Option<&[V::Elem]>) -> f64 {
    let mut total = 0.0;
    for (i, block) in x.chunks(BLOCK).enumerate() {
        let mut sum = V::zero();
        for (j, x) in block.chunks(V::LANES).enumerate() {
            let x = V::read(x);
            sum = match weight {
                Some(w) => V::read(&w[i * BLOCK + j * V::LANES..]).mul_add(x, sum),
                None => sum.add(x),
            };
        }
        total += sum.sum().f64();
    }
    total
}

/// Writes the gradient of one row, of which the loss counts `scale` times.
#[inline(always)]
fn row_gradient<V: Vector>(
    job: &Job<'_, V::Elem>,
    row: usize,
    (max, sum): (V::Elem, f64),
    scale: f64,
    out: &mut [V::Elem],
) {
    let Some((target, weight)) = job.target(row) else {
        out.fill(V::Elem::of(0.0));
        return;
    };
    let x = &job.logits[row * job.columns..][..job.columns];
    let spread = job.smoothing / job.columns as f64;
    let hit = (1.0 - job.smoothing) * weight;
    let by = V::of(scale * (hit + spread * job.total_weight) / sum);
    let spread = V::of(scale * spread);
    let shift = V::splat(max);
    let lanes = V::LANES;
    if job.smoothing == 0.0 {
        for (x, y) in x.chunks(lanes).zip(out.chunks_mut(lanes)) {
            V::prefetch_ahead(y);
            V::read(x).sub(shift).exp_to_one().mul(by).write(y);
        }
    } else if let Some(weight) = job.weight {
        for ((x, w), y) in x.chunks(lanes).zip(weight.chunks(lanes)).zip(out.chunks_mut(lanes)) {
            let less = spread.mul(V::read(w)).neg();
            V::prefetch_ahead(y);
            V::read(x).sub(shift).exp_to_one().mul_add(by, less).write(y);
        }
    } else {
        let less = spread.neg();
        for (x, y) in x.chunks(lanes).zip(out.chunks_mut(lanes)) {
            V::prefetch_ahead(y);
            V::read(x).sub(shift).exp_to_one().mul_add(by, less).write(y);
        }
    }
    out[target] -= V::Elem::of(scale * hit);
}

vectorized! {
    fn forward_rows<S, T: Element>(
        job: &Job<'_, T>,
        first: usize,
        losses: &mut [f64],
        stats: &mut [T],
        dlogits: Option<&mut [T]>,
    ) {
        let columns = job.columns;
        let mut dlogits = dlogits;
        for i in 0..losses.len() {
            let row = first + i;
            let x = &job.logits[row * columns..][..columns];
            let (max, sum) = match job.target(row) {
                None => (T::zero(), 1.0),
                Some((target, weight)) => {
                    let (max, sum) = max_and_sum::<T::V<S>>(x);
                    let mut loss = (1.0 - job.smoothing) * weight;
                    loss *= (max.f64() - x[target].f64()) + sum.ln();
                    if job.smoothing > 0.0 {
                        let all = job.total_weight * (max.f64() + sum.ln());
                        let rest = all - weighted_sum::<T::V<S>>(x, job.weight);
                        loss += job.smoothing / columns as f64 * rest;
                    }
                    losses[i] = loss;
                    (max, sum)
                }
            };
            (stats[2 * i], stats[2 * i + 1]) = (max, T::of(sum));
            if let Some(dlogits) = &mut dlogits {
                let out = &mut dlogits[i * columns..][..columns];
                row_gradient::<T::V<S>>(job, row, (max, sum), job.scale, out);
            }
        }
    }
}

vectorized! {
    fn backward_rows<S, T: Element>(
        job: &Job<'_, T>,
        first: usize,
        dy: &[T],
        stats: &[T],
        out: &mut [T],
    ) {
        for (i, out) in out.chunks_exact_mut(job.columns).enumerate() {
            let row = first + i;
            let dy = dy[if dy.len() == 1 { 0 } else { row }].f64();
            let stats = (stats[2 * row], stats[2 * row + 1].f64());
            row_gradient::<T::V<S>>(job, row, stats, dy * job.scale, out);
        }
    }
}
