//! The scaled recursions over one sequence.
//!
//! forward:   a_t(j) = b_t(j) sum_i a_{t-1}(i) A(i, j) / s_t, where s_t makes the sum of a_t one
//! backward:  w_t(j) = b_t(j) beta_t(j) / s_t,  beta_{t-1}(i) = sum_j A(i, j) w_t(j)
//!
//! So the posterior of state j at t is a_t(j) beta_t(j), that of the states i and j at t - 1 and t is
//! a_{t-1}(i) A(i, j) w_t(j), and the log-likelihood is the sum of ln s_t.
#![allow(unsafe_code)]

use lamina_kernels::simd::{Isa, Vector};
use lamina_kernels::vectorized;

use super::{BETWEEN_CHECKS, Padded, Watch};

/// Smaller shares of a sum are taken as zero: numbers below the normal ones are slow.
const TINY: f64 = 1e-290;
/// A product of sums is turned into a logarithm when it falls below this.
const SMALL: f64 = 1e-150;

/// `V` vectors from `column` on of the product of the row `x` and a matrix of `width` columns.
///
/// # Safety
/// `matrix` holds `x.len()` rows of `width`, of which `column` and `V` vectors are part.
#[inline(always)]
unsafe fn columns<S: Isa, const V: usize>(
    x: &[f64],
    matrix: *const f64,
    width: usize,
) -> [S::F64; V] {
    // Two chains of sums hide part of the latency of the additions.
    let mut even = [S::F64::zero(); V];
    let mut odd = [S::F64::zero(); V];
    let pairs = x.chunks_exact(2);
    let rest = pairs.remainder();
    let mut at = matrix;
    for pair in pairs {
        let (first, second) = (S::F64::splat(pair[0]), S::F64::splat(pair[1]));
        for v in 0..V {
            // SAFETY: inside two rows, as the caller promises.
            unsafe {
                even[v] = first.mul_add(S::F64::load(at.add(v * S::F64::LANES)), even[v]);
                let below = at.add(width + v * S::F64::LANES);
                odd[v] = second.mul_add(S::F64::load(below), odd[v]);
            }
        }
        at = at.wrapping_add(2 * width);
    }
    for &last in rest {
        for v in 0..V {
            // SAFETY: inside the last row.
            let value = unsafe { S::F64::load(at.add(v * S::F64::LANES)) };
            even[v] = S::F64::splat(last).mul_add(value, even[v]);
        }
    }
    for v in 0..V {
        even[v] = even[v].add(odd[v]);
    }
    even
}

/// Writes the product of the row `x` and `matrix` to `out`, whose length is the width.
#[inline(always)]
fn product<S: Isa>(x: &[f64], matrix: &[f64], out: &mut [f64]) {
    let width = out.len();
    assert!(matrix.len() >= x.len() * width, "as many rows as x is long");
    let lanes = S::F64::LANES;
    let mut column = 0;
    while column + 4 * lanes <= width {
        // SAFETY: four vectors end inside a row.
        let sums = unsafe { columns::<S, 4>(x, matrix.as_ptr().add(column), width) };
        for (v, sum) in sums.into_iter().enumerate() {
            sum.write(&mut out[column + v * lanes..]);
        }
        column += 4 * lanes;
    }
    while column + 2 * lanes <= width {
        // SAFETY: two vectors end inside a row.
        let sums = unsafe { columns::<S, 2>(x, matrix.as_ptr().add(column), width) };
        for (v, sum) in sums.into_iter().enumerate() {
            sum.write(&mut out[column + v * lanes..]);
        }
        column += 2 * lanes;
    }
    while column < width {
        // SAFETY: widths are whole vectors.
        let [sum] = unsafe { columns::<S, 1>(x, matrix.as_ptr().add(column), width) };
        sum.write(&mut out[column..]);
        column += lanes;
    }
}

vectorized! {
    /// Fills the rows `from..to` of `alpha`, whose earlier ones are there, and `sums`; returns the
    /// first row whose sum is zero, or `to`.
    pub(super) fn forward_rows<S>(
        chain: &Padded, b: &[f64], alpha: &mut [f64], sums: &mut [f64], from: usize, to: usize,
    ) -> usize {
        let (width, lanes) = (chain.width, S::F64::LANES);
        for t in from..to {
            let (done, rest) = alpha.split_at_mut(t * width);
            let row = &mut rest[..width];
            if t == 0 {
                row.copy_from_slice(&chain.start);
            } else {
                product::<S>(&done[(t - 1) * width..][..chain.states], &chain.trans, row);
            }
            let b = &b[t * width..][..width];
            let mut sum = S::F64::zero();
            for (a, b) in row.chunks_mut(lanes).zip(b.chunks(lanes)) {
                let value = S::F64::read(a).mul(S::F64::read(b));
                value.write(a);
                sum = sum.add(value);
            }
            let sum = sum.sum();
            // Also where the sum is no number.
            if !(sum > 0.0 && sum < f64::INFINITY) {
                return t;
            }
            sums[t] = sum;
            let (total, tiny) = (S::F64::splat(sum), S::F64::splat(TINY));
            for a in row.chunks_mut(lanes) {
                let value = S::F64::read(a).div(total);
                S::F64::select(value.lt(tiny), S::F64::zero(), value).write(a);
            }
        }
        to
    }
}

/// What the backward recursion carries from one row to the one before it.
pub(super) struct Carry {
    beta: Vec<f64>,
    /// w of the row after this, times the weight.
    after: Vec<f64>,
    scratch: Vec<f64>,
}

impl Carry {
    pub(super) fn new(width: usize) -> Self {
        Self { beta: vec![0.0; width], after: vec![0.0; width], scratch: vec![0.0; width] }
    }

    /// Made ready for the last row of a sequence.
    pub(super) fn reset(&mut self, states: usize) {
        self.beta.fill(0.0);
        self.beta[..states].fill(1.0);
        self.after.fill(0.0);
    }
}

vectorized! {
    /// From the last of the rows `from..to` to the first: `gamma` gets the posteriors times
    /// `weight`, and `b` of each row the w of the row after it, times `weight`.
    pub(super) fn backward_rows<S>(
        chain: &Padded, b: &mut [f64], alpha: &[f64], sums: &[f64], gamma: &mut [f64],
        carry: &mut Carry, weight: f64, from: usize, to: usize,
    ) {
        let (width, lanes) = (chain.width, S::F64::LANES);
        let by = S::F64::splat(weight);
        for t in (from..to).rev() {
            let at = t * width;
            let scale = S::F64::splat(1.0 / sums[t]);
            for k in (0..width).step_by(lanes) {
                let beta = S::F64::read(&carry.beta[k..]);
                let posterior = S::F64::read(&alpha[at + k..]).mul(beta);
                posterior.mul(by).write(&mut gamma[at + k..]);
                let w = S::F64::read(&b[at + k..]).mul(beta).mul(scale);
                w.write(&mut carry.scratch[k..]);
                S::F64::read(&carry.after[k..]).write(&mut b[at + k..]);
                w.mul(by).write(&mut carry.after[k..]);
            }
            product::<S>(&carry.scratch[..chain.states], &chain.transposed, &mut carry.beta);
        }
    }
}

/// The log-likelihood of the sequence whose likelihoods are the rows of `b`, and its `alpha` and
/// `sums`. `None` where a sum is zero, so that the rest is undefined.
pub(super) fn forward(
    chain: &Padded,
    b: &[f64],
    alpha: &mut [f64],
    sums: &mut [f64],
    watch: &Watch<'_>,
) -> Option<f64> {
    let rows = sums.len();
    for from in (0..rows).step_by(BETWEEN_CHECKS) {
        let to = (from + BETWEEN_CHECKS).min(rows);
        if forward_rows(chain, b, alpha, sums, from, to) < to {
            return None;
        }
        if to < rows && watch.stopped() {
            return None;
        }
    }
    Some(log_of_product(sums))
}

/// Posteriors of the sequence, from what [`forward`] found; see `backward_rows`.
pub(super) fn backward(
    chain: &Padded,
    b: &mut [f64],
    alpha: &[f64],
    sums: &[f64],
    gamma: &mut [f64],
    carry: &mut Carry,
    weight: f64,
    watch: &Watch<'_>,
) {
    carry.reset(chain.states);
    let mut to = sums.len();
    while to > 0 {
        let from = to.saturating_sub(BETWEEN_CHECKS);
        backward_rows(chain, b, alpha, sums, gamma, carry, weight, from, to);
        to = from;
        if to > 0 && watch.stopped() {
            return;
        }
    }
}

/// The sum of logarithms, of which few are taken.
pub(super) fn log_of_product(factors: &[f64]) -> f64 {
    let (mut total, mut product) = (0.0, 1.0);
    for &factor in factors {
        if factor < SMALL {
            total += factor.ln();
            continue;
        }
        product *= factor;
        if !(SMALL..=1.0 / SMALL).contains(&product) {
            total += product.ln();
            product = 1.0;
        }
    }
    total + product.ln()
}
