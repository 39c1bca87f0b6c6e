//! What states think of observations that are numbers: log-densities by frame, and the moments that
//! estimate them anew.
#![allow(unsafe_code)]

use std::ops::Range;

use lamina_kernels::simd::{Isa, MAX_LANES, Vector};
use lamina_kernels::vectorized;

use super::outer::add_outer;
use super::{BATCH, LANES, Watch};
use crate::ngram::Stop;
use crate::threads::{self, Shared};
use crate::{Error, Result};

/// Vectors of frames that one pass over a component serves.
const VECTORS: usize = 4;
/// Rows of a task.
const TASK: usize = 1 << 10;
/// Tasks that have sums of their own, at most.
const MOST_SUMS: usize = 16;
/// Work between two looks at whether to stop.
const BETWEEN_CHECKS: usize = 1 << 26;

/// Spread of normal distributions.
#[derive(Debug, Clone, Copy)]
pub enum Spread<'a> {
    /// One over the variances, `[K, D]`.
    Diagonal(&'a [f64]),
    /// Cholesky factors of the covariances, lower triangles, `[K, D, D]`.
    Full(&'a [f64]),
}

fn expected(op: &'static str, arg: &'static str, want: usize, got: usize) -> Result<()> {
    if want == got {
        return Ok(());
    }
    Err(Error::value(op, arg, format!("expected {want} numbers, got {got}")))
}

/// Runs `work` over pieces of `rows` rows that cost `cost` each, in rounds between which `stop` is
/// asked.
fn in_rounds(
    rows: usize,
    cost: usize,
    stop: Stop<'_>,
    work: impl Fn(Range<usize>) + Sync,
) -> Result<()> {
    let watch = Watch::new(stop);
    let round = (BETWEEN_CHECKS / cost.max(1)).max(1).next_multiple_of(TASK);
    for start in (0..rows).step_by(round) {
        watch.check()?;
        let end = (start + round).min(rows);
        threads::for_each((end - start).div_ceil(TASK), (end - start) * cost, |task| {
            let from = start + task * TASK;
            work(from..(from + TASK).min(end));
        });
    }
    Ok(())
}

/// Log-densities `[T, K]` of `x` `[T, D]` under K normal distributions, each less `offsets` `[K]`:
/// minus half the squared distance from `means` `[K, D]` in units of the spread.
pub fn gaussian(
    x: &[f64],
    means: &[f64],
    spread: Spread<'_>,
    offsets: &[f64],
    stop: Stop<'_>,
) -> Result<Vec<f64>> {
    const OP: &str = "hmm_gaussian";
    let k = offsets.len();
    if k == 0 || !means.len().is_multiple_of(k) || means.is_empty() {
        return Err(Error::value(OP, "means", "expected at least one mean of one dimension"));
    }
    let d = means.len() / k;
    match spread {
        Spread::Diagonal(values) => expected(OP, "spread", k * d, values.len())?,
        Spread::Full(values) => expected(OP, "spread", k * d * d, values.len())?,
    }
    expected(OP, "x", x.len() / d * d, x.len())?;
    let rows = x.len() / d;
    let mut out = vec![0.0; rows * k];
    let shared = Shared::new(&mut out);
    let cost = match spread {
        Spread::Diagonal(_) => k * d,
        Spread::Full(_) => k * d * d / 2 + k * d,
    };
    in_rounds(rows, cost, stop, |range| {
        // SAFETY: no other task has these rows.
        let out = unsafe { shared.slice(range.start * k..range.end * k) };
        gaussian_rows(&x[range.start * d..range.end * d], means, spread, offsets, out);
    })?;
    Ok(out)
}

vectorized! {
    fn gaussian_rows<S>(
        x: &[f64], means: &[f64], spread: Spread<'_>, offsets: &[f64], out: &mut [f64],
    ) {
        let k = offsets.len();
        let d = means.len() / k;
        let lanes = S::F64::LANES;
        let block = VECTORS * lanes;
        let mut columns = vec![0.0; d * block];
        let mut solved = vec![0.0; d * block];
        let mut distances = [0.0; VECTORS * MAX_LANES];
        for (x, out) in x.chunks(block * d).zip(out.chunks_mut(block * k)) {
            for (t, row) in x.chunks_exact(d).enumerate() {
                for (column, &value) in columns.chunks_exact_mut(block).zip(row) {
                    column[t] = value;
                }
            }
            for (c, (mean, &offset)) in means.chunks_exact(d).zip(offsets).enumerate() {
                let sums = match spread {
                    Spread::Diagonal(by) => {
                        diagonal::<S>(&columns, mean, &by[c * d..][..d])
                    }
                    Spread::Full(factors) => {
                        full::<S>(&columns, mean, &factors[c * d * d..][..d * d], &mut solved)
                    }
                };
                for (v, sum) in sums.into_iter().enumerate() {
                    sum.mul(S::F64::of(-0.5)).write(&mut distances[v * lanes..][..lanes]);
                }
                for (out, distance) in out.chunks_exact_mut(k).zip(&distances) {
                    out[c] = distance - offset;
                }
            }
        }
    }
}

/// Squared distances of a block of frames, given by columns.
#[inline(always)]
fn diagonal<S: Isa>(columns: &[f64], mean: &[f64], by: &[f64]) -> [S::F64; VECTORS] {
    let lanes = S::F64::LANES;
    let mut sums = [S::F64::zero(); VECTORS];
    for ((column, &mean), &by) in columns.chunks_exact(VECTORS * lanes).zip(mean).zip(by) {
        let (mean, by) = (S::F64::splat(mean), S::F64::splat(by));
        for (sum, x) in sums.iter_mut().zip(column.chunks_exact(lanes)) {
            let away = S::F64::read(x).sub(mean);
            *sum = away.mul(by).mul_add(away, *sum);
        }
    }
    sums
}

/// The same with a Cholesky factor: the squared length of the solution of L y = x - mean.
#[inline(always)]
fn full<S: Isa>(
    columns: &[f64],
    mean: &[f64],
    factor: &[f64],
    solved: &mut [f64],
) -> [S::F64; VECTORS] {
    let lanes = S::F64::LANES;
    let (block, d) = (VECTORS * lanes, mean.len());
    let mut sums = [S::F64::zero(); VECTORS];
    for i in 0..d {
        let (done, rest) = solved.split_at_mut(i * block);
        let mean = S::F64::splat(mean[i]);
        let mut y = [S::F64::zero(); VECTORS];
        for (y, x) in y.iter_mut().zip(columns[i * block..].chunks_exact(lanes)) {
            *y = S::F64::read(x).sub(mean);
        }
        for (column, &by) in done.chunks_exact(block).zip(&factor[i * d..][..i]) {
            let by = S::F64::splat(by);
            for (y, x) in y.iter_mut().zip(column.chunks_exact(lanes)) {
                *y = S::F64::read(x).neg_mul_add(by, *y);
            }
        }
        let by = S::F64::splat(1.0 / factor[i * d + i]);
        for (v, y) in y.into_iter().enumerate() {
            let y = y.mul(by);
            y.write(&mut rest[v * lanes..][..lanes]);
            sums[v] = y.mul_add(y, sums[v]);
        }
    }
    sums
}

/// Log-probabilities `[T, S]` of counts `x` `[T, D]`: the sum over d of x ln r, where the logarithms
/// are `log_rates` `[D, S]` and nothing times minus infinity is nothing, plus `base` `[T]`, less
/// `offsets` `[S]`. So both Poisson and multinomial distributions are.
pub fn counts(
    x: &[f64],
    log_rates: &[f64],
    offsets: &[f64],
    base: &[f64],
    stop: Stop<'_>,
) -> Result<Vec<f64>> {
    const OP: &str = "hmm_counts";
    let (states, rows) = (offsets.len(), base.len());
    if states == 0 || !log_rates.len().is_multiple_of(states) || log_rates.is_empty() {
        return Err(Error::value(OP, "log_rates", "expected rows of at least one state"));
    }
    let d = log_rates.len() / states;
    expected(OP, "x", rows * d, x.len())?;
    let mut out = vec![0.0; rows * states];
    let shared = Shared::new(&mut out);
    in_rounds(rows, d * states, stop, |range| {
        // SAFETY: no other task has these rows.
        let out = unsafe { shared.slice(range.start * states..range.end * states) };
        let x = &x[range.start * d..range.end * d];
        counts_rows(x, log_rates, offsets, &base[range], out);
    })?;
    Ok(out)
}

vectorized! {
    /// [`counts`] of some rows; the compiler turns the loops over states into vectors.
    fn counts_rows<S>(
        x: &[f64], log_rates: &[f64], offsets: &[f64], base: &[f64], out: &mut [f64],
    ) {
        let states = offsets.len();
        let d = log_rates.len() / states;
        let rows = x.chunks_exact(d).zip(base).zip(out.chunks_exact_mut(states));
        for ((x, base), out) in rows {
            for (to, offset) in out.iter_mut().zip(offsets) {
                *to = base - offset;
            }
            for (&count, logs) in x.iter().zip(log_rates.chunks_exact(states)) {
                if count != 0.0 {
                    for (to, log) in out.iter_mut().zip(logs) {
                        *to += count * log;
                    }
                }
            }
        }
    }
}

/// Log-densities `[T, S]` of states that mix M of the K = S M components whose log-densities, with
/// the weights, are `logs` `[T, K]`.
pub fn mixture(logs: &[f64], components: usize, mixed: usize) -> Result<Vec<f64>> {
    const OP: &str = "hmm_mixture";
    if mixed == 0
        || components == 0
        || !components.is_multiple_of(mixed)
        || !logs.len().is_multiple_of(components)
    {
        return Err(Error::value(OP, "logs", "expected rows of states times components"));
    }
    let (rows, states) = (logs.len() / components, components / mixed);
    let mut out = vec![0.0; rows * states];
    threads::for_each_piece(&mut out, TASK * states, logs.len() * 4, |piece, out| {
        let from = &logs[piece * TASK * components..][..out.len() * mixed];
        mixture_rows(from, components, mixed, out);
    });
    Ok(out)
}

vectorized! {
    fn mixture_rows<S>(logs: &[f64], components: usize, mixed: usize, out: &mut [f64]) {
        let lanes = S::F64::LANES;
        let mut scratch = vec![0.0; components];
        let rows = logs.chunks_exact(components).zip(out.chunks_exact_mut(components / mixed));
        for (logs, out) in rows {
            let groups = logs.chunks_exact(mixed).zip(scratch.chunks_exact_mut(mixed));
            for ((logs, scratch), max) in groups.zip(out.iter_mut()) {
                *max = logs.iter().fold(f64::NEG_INFINITY, |max, &log| max.max(log));
                let shift = if max.is_finite() { *max } else { 0.0 };
                for (to, log) in scratch.iter_mut().zip(logs) {
                    *to = log - shift;
                }
            }
            for part in scratch.chunks_mut(lanes) {
                S::F64::read(part).exp().write(part);
            }
            for (scratch, max) in scratch.chunks_exact(mixed).zip(out) {
                // The sum is at least one where there is a largest.
                if max.is_finite() {
                    *max += scratch.iter().sum::<f64>().ln();
                }
            }
        }
    }
}

/// Posteriors `[T, K]` of the components, from those of the states, `posteriors` `[T, S]`, and
/// what [`mixture`] was given and said.
pub fn responsibilities(logs: &[f64], mixed: &[f64], posteriors: &[f64]) -> Result<Vec<f64>> {
    const OP: &str = "hmm_responsibilities";
    expected(OP, "posteriors", mixed.len(), posteriors.len())?;
    if mixed.is_empty() || !logs.len().is_multiple_of(mixed.len()) {
        return Err(Error::value(OP, "logs", "expected rows of states times components"));
    }
    let per = logs.len() / mixed.len();
    let mut out = vec![0.0; logs.len()];
    threads::for_each_piece(&mut out, TASK * per, logs.len() * 4, |piece, out| {
        let from = piece * TASK;
        let count = out.len() / per;
        let logs = &logs[from * per..][..out.len()];
        responsibility_rows(logs, &mixed[from..][..count], &posteriors[from..][..count], out);
    });
    Ok(out)
}

vectorized! {
    fn responsibility_rows<S>(logs: &[f64], mixed: &[f64], posteriors: &[f64], out: &mut [f64]) {
        let per = logs.len() / mixed.len();
        let groups = logs.chunks_exact(per).zip(out.chunks_exact_mut(per));
        for ((logs, out), mixed) in groups.zip(mixed) {
            let shift = if mixed.is_finite() { *mixed } else { 0.0 };
            for (to, log) in out.iter_mut().zip(logs) {
                *to = log - shift;
            }
        }
        for part in out.chunks_mut(S::F64::LANES) {
            S::F64::read(part).exp().write(part);
        }
        for (out, by) in out.chunks_exact_mut(per).zip(posteriors) {
            for to in out {
                *to *= by;
            }
        }
    }
}

/// Which products of observations [`moments`] sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Products {
    /// None.
    None,
    /// Squares, D of them.
    Squares,
    /// Of all pairs, D (D + 1) / 2: the lower triangle row by row.
    Pairs,
}

impl Products {
    fn count(self, d: usize) -> usize {
        match self {
            Self::None => 0,
            Self::Squares => d,
            Self::Pairs => d * (d + 1) / 2,
        }
    }
}

/// Sums over frames of `weights` `[T, K]` times one, the observations `x` `[T, D]` and their
/// products: `[K, F]`, each row in that order.
pub fn moments(
    weights: &[f64],
    k: usize,
    x: &[f64],
    d: usize,
    products: Products,
    stop: Stop<'_>,
) -> Result<Vec<f64>> {
    const OP: &str = "hmm_moments";
    if k == 0 || d == 0 || !weights.len().is_multiple_of(k) {
        return Err(Error::value(OP, "weights", "expected rows of at least one number"));
    }
    let rows = weights.len() / k;
    expected(OP, "x", rows * d, x.len())?;
    let used = 1 + d + products.count(d);
    let width = used.next_multiple_of(LANES);
    let tasks = (rows / TASK).clamp(1, MOST_SUMS);
    let step = rows.div_ceil(tasks).max(1);
    let watch = Watch::new(stop);
    let sums = threads::map(tasks, rows * k * width / 4, |task| {
        let mut sums = vec![0.0; k * width];
        let mut block = Vec::new();
        let size = (BATCH * 4 / width).max(LANES);
        let end = ((task + 1) * step).min(rows);
        for from in ((task * step).min(end)..end).step_by(size) {
            if watch.stopped() {
                break;
            }
            let to = (from + size).min(end);
            block.resize((to - from) * width, 0.0);
            features(&x[from * d..to * d], d, products, width, &mut block);
            add_outer(&weights[from * k..to * k], k, &block, width, &mut sums);
        }
        sums
    });
    watch.check()?;
    let mut out = vec![0.0; k * used];
    for sums in &sums {
        for (to, from) in out.chunks_exact_mut(used).zip(sums.chunks_exact(width)) {
            for (to, from) in to.iter_mut().zip(from) {
                *to += from;
            }
        }
    }
    Ok(out)
}

fn features(x: &[f64], d: usize, products: Products, width: usize, out: &mut [f64]) {
    for (x, out) in x.chunks_exact(d).zip(out.chunks_exact_mut(width)) {
        out[0] = 1.0;
        out[1..=d].copy_from_slice(x);
        let more = &mut out[d + 1..];
        match products {
            Products::None => {}
            Products::Squares => {
                for (to, x) in more.iter_mut().zip(x) {
                    *to = x * x;
                }
            }
            Products::Pairs => {
                for i in 0..d {
                    for (to, other) in more[i * (i + 1) / 2..].iter_mut().zip(&x[..=i]) {
                        *to = x[i] * other;
                    }
                }
            }
        }
    }
}
