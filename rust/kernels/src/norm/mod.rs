//! Normalisations: `xhat = (x - mean) / sqrt(var + eps)`, then `y = xhat * weight + bias`.
//!
//! [`layer`]: mean and variance of each row (layer norm, RMS norm). [`channel`]: of each channel
//! over the batch (batch norm) or of a group of channels of one sample (group norm).
//!
//! backward, over the `n` numbers that share a mean, with `g = dy * weight`:
//!
//! dx = (g - sum(g) / n - xhat * sum(g * xhat) / n) / sqrt(var + eps)
//! dweight = sum(dy * xhat)        dbias = sum(dy)
//!
//! Sums run in blocks that are added up in double precision. The mean is subtracted as a number
//! and what its rounding lost, and the deviations correct the mean, so that no digits go where the
//! mean is large beside the deviation.
#![allow(unsafe_code)]

pub mod channel;
mod columns;
pub mod layer;

use crate::simd::Vector;
use crate::{Element, vectorized};

/// Numbers summed in the element's own precision.
const BLOCK: usize = 4096;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Vectors summed side by side.
const SIDE: usize = 4;

/// Mean and variance of numbers that share them.
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    mean: f64,
    var: f64,
}

impl Moments {
    /// From `count` deviations from `centre`: their sum and the sum of their squares.
    fn new(centre: f64, deviations: (f64, f64), count: usize) -> Self {
        let shift = deviations.0 / count as f64;
        let var = deviations.1 / count as f64 - shift * shift;
        Self { mean: centre + shift, var: if var < 0.0 { 0.0 } else { var } }
    }

    fn rstd(self, eps: f64) -> f64 {
        (self.var + eps).sqrt().recip()
    }
}

/// `x` as a number and what its rounding lost.
#[inline(always)]
fn split<T: Element>(x: f64) -> (T, T) {
    let high = T::of(x);
    (high, T::of(x - high.f64()))
}

/// Sum over the lanes of all, in a fixed order.
#[inline(always)]
fn total<V: Vector>(sums: [V; SIDE]) -> f64 {
    sums[0].add(sums[1]).add(sums[2].add(sums[3])).sum().f64()
}

/// Sum of `x`.
#[inline(always)]
fn sum_of<V: Vector>(x: &[V::Elem]) -> f64 {
    let mut result = 0.0;
    for block in x.chunks(BLOCK) {
        let mut sums = [V::zero(); SIDE];
        let mut groups = block.chunks_exact(SIDE * V::LANES);
        for group in groups.by_ref() {
            for i in 0..SIDE {
                let x = &group[i * V::LANES..][..V::LANES];
                if (i * size_of::<V>()).is_multiple_of(LINE) {
                    V::prefetch_ahead(x);
                }
                sums[i] = sums[i].add(V::read(x));
            }
        }
        for x in groups.remainder().chunks(V::LANES) {
            sums[0] = sums[0].add(V::read(x));
        }
        result += total(sums);
    }
    result
}

/// Sum of the deviations of `x` from `centre` and of their squares.
#[inline(always)]
fn deviations_of<V: Vector>(x: &[V::Elem], centre: f64) -> (f64, f64) {
    let (high, low) = split::<V::Elem>(centre);
    let (centre, low) = (V::splat(high), low.f64());
    let mut result = (0.0, 0.0);
    for block in x.chunks(BLOCK) {
        let mut sums = [V::zero(); SIDE];
        let mut squares = [V::zero(); SIDE];
        let mut groups = block.chunks_exact(SIDE * V::LANES);
        for group in groups.by_ref() {
            for i in 0..SIDE {
                let d = V::read(&group[i * V::LANES..][..V::LANES]).sub(centre);
                sums[i] = sums[i].add(d);
                squares[i] = d.mul_add(d, squares[i]);
            }
        }
        let mut rest = groups.remainder().chunks_exact(V::LANES);
        for x in rest.by_ref() {
            let d = V::read(x).sub(centre);
            sums[0] = sums[0].add(d);
            squares[0] = d.mul_add(d, squares[0]);
        }
        let (mut sum, mut square) = (total(sums), total(squares));
        for &x in rest.remainder() {
            let d = (x - high).f64();
            sum += d;
            square += d * d;
        }
        // What the rounding of the centre lost, for the whole block at once.
        let n = block.len() as f64;
        result.0 += sum - n * low;
        result.1 += square + low * (n * low - 2.0 * sum);
    }
    result
}

vectorized! {
    /// Sum of `x`.
    pub(crate) fn sum<S, T: Element>(x: &[T]) -> f64 {
        sum_of::<T::V<S>>(x)
    }
}

vectorized! {
    /// Sum of the deviations of `x` from `centre` and of their squares.
    pub(crate) fn deviations<S, T: Element>(x: &[T], centre: f64) -> (f64, f64) {
        deviations_of::<T::V<S>>(x, centre)
    }
}

vectorized! {
    /// Of each run of numbers side by side, as many as `sums`: the sum of `dy` and of `dy` times the
    /// deviations of `x` from `centre`.
    fn products<S, T: Element>(dy: &[T], x: &[T], centre: f64, sums: &mut [(f64, f64)]) {
        let len = x.len() / sums.len();
        if len == 1 {
            let (high, low) = split::<T>(centre);
            for (sums, (&dy, &x)) in sums.iter_mut().zip(dy.iter().zip(x)) {
                *sums = (dy.f64(), (dy * (x - high - low)).f64());
            }
            return;
        }
        let runs = dy.chunks_exact(len).zip(x.chunks_exact(len));
        for (sums, (dy, x)) in sums.iter_mut().zip(runs) {
            *sums = products_of::<T::V<S>>(dy, x, centre);
        }
    }
}

/// Sum of `dy` and of `dy` times the deviations of `x` from `centre`.
#[inline(always)]
fn products_of<V: Vector>(dy: &[V::Elem], x: &[V::Elem], centre: f64) -> (f64, f64) {
    let lanes = V::LANES;
    let (high, low) = split::<V::Elem>(centre);
    let (high, low) = (V::splat(high), V::splat(low));
    let mut result = (0.0, 0.0);
    for (dy, x) in dy.chunks(BLOCK).zip(x.chunks(BLOCK)) {
        let mut sums = [V::zero(); SIDE];
        let mut dots = [V::zero(); SIDE];
        let mut dy = dy.chunks_exact(SIDE * lanes);
        let mut x = x.chunks_exact(SIDE * lanes);
        for (dy, x) in dy.by_ref().zip(x.by_ref()) {
            for i in 0..SIDE {
                let (x, dy) = (&x[i * lanes..][..lanes], &dy[i * lanes..][..lanes]);
                V::prefetch_ahead(x);
                V::prefetch_ahead(dy);
                let d = V::read(x).sub(high).sub(low);
                let dy = V::read(dy);
                sums[i] = sums[i].add(dy);
                dots[i] = dy.mul_add(d, dots[i]);
            }
        }
        let rest = dy.remainder().chunks(lanes).zip(x.remainder().chunks(lanes));
        for (dy, x) in rest {
            let dy = V::read(dy);
            let d = V::read(x).sub(high).sub(low);
            sums[0] = sums[0].add(dy);
            dots[0] = dy.mul_add(d, dots[0]);
        }
        result.0 += total(sums);
        result.1 += total(dots);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_mean_costs_no_digits() {
        let x: Vec<f32> = (0..10_007).map(|i| 1e4 + (i % 7) as f32 * 0.0625).collect();
        let exact: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
        let n = x.len() as f64;
        let mean = exact.iter().sum::<f64>() / n;
        let var = exact.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        let centre = sum(&x) / n;
        let got = Moments::new(centre, deviations(&x, centre), x.len());
        assert!((got.mean - mean).abs() < 1e-7, "{} {mean}", got.mean);
        assert!((got.var / var - 1.0).abs() < 1e-5, "{} {var}", got.var);
    }
}
