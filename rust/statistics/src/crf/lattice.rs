//! Sums over all labellings of one sequence: forward and backward, scaled.
//!
//! With state weights s_t(j), E(i, j) = e^w(i, j) and e_t(j) = e^s_t(j), each row of
//!   a_t(j) = e_t(j) sum_i a_(t-1)(i) E(i, j)
//! is divided by its sum c_t, so that ln Z = sum ln c_t, and backward
//!   v_t(j) = e_t(j) b_t(j) / c_t,   b_(t-1)(i) = sum_j E(i, j) v_t(j)
//! give p(y_t = j) = a_t(j) b_t(j) and p(y_(t-1) = i, y_t = j) = a_(t-1)(i) E(i, j) v_t(j). The
//! largest s_t and w are taken out before exponentials and put back into ln Z.
//! Reference: Rabiner, A Tutorial on Hidden Markov Models, 1989.
#![allow(unsafe_code)]

use lamina_kernels::simd::{Isa, Vector};
use lamina_kernels::vectorized;

use super::features::padded;

/// Vectors of a row that are summed in registers at a time.
const BLOCK: usize = 6;

/// Weights of a label `[L, L]` after another, and their exponentials.
#[derive(Debug, Clone)]
pub struct Transitions {
    labels: usize,
    width: usize,
    /// Weights `[L, W]`.
    weights: Vec<f64>,
    /// The largest weight, taken out of the exponentials.
    max: f64,
    /// E `[L, W]`.
    exp: Vec<f64>,
    /// E transposed `[L, W]`.
    exp_transposed: Vec<f64>,
}

impl Transitions {
    /// From weights `[L, L]`.
    pub fn new(labels: usize, weights: &[f64]) -> Self {
        let width = padded(labels);
        let mut new = Self {
            labels,
            width,
            weights: vec![0.0; labels * width],
            max: 0.0,
            exp: vec![0.0; labels * width],
            exp_transposed: vec![0.0; labels * width],
        };
        new.set(weights);
        let max = weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        new.max = if max.is_finite() { max } else { 0.0 };
        for i in 0..labels {
            for j in 0..labels {
                let exp = (weights[i * labels + j] - new.max).exp();
                new.exp[i * width + j] = exp;
                new.exp_transposed[j * width + i] = exp;
            }
        }
        new
    }

    /// Other weights, for scores and best labellings only: the exponentials stay.
    pub(crate) fn set(&mut self, weights: &[f64]) {
        for (to, from) in self.weights.chunks_mut(self.width).zip(weights.chunks(self.labels)) {
            to[..self.labels].copy_from_slice(from);
        }
    }

    /// How many labels, L.
    pub fn labels(&self) -> usize {
        self.labels
    }

    /// Numbers in a row, W.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Weights of what follows label `i`.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.weights[i * self.width..(i + 1) * self.width]
    }

    /// Adds the expected counts `[L, L]` of transitions that `lattice` summed up.
    pub fn expected(&self, lattice: &Lattice, counts: &mut [f64]) {
        for i in 0..self.labels {
            let from = i * self.width;
            for j in 0..self.labels {
                counts[i * self.labels + j] += lattice.pairs[from + j] * self.exp[from + j];
            }
        }
        for (count, &more) in counts.iter_mut().zip(&lattice.counts) {
            *count += more;
        }
    }

    /// Score of labels under the state weights `[T, W]`.
    pub fn score(&self, states: &[f64], labels: &[u32]) -> f64 {
        let mut score = 0.0;
        for (t, &label) in labels.iter().enumerate() {
            score += states[t * self.width + label as usize];
            if t > 0 {
                score += self.row(labels[t - 1] as usize)[label as usize];
            }
        }
        score
    }
}

/// Room for the sums of one sequence.
#[derive(Debug, Clone)]
pub struct Lattice {
    /// State weights on the way in `[T, W]`, -inf in padding; v on the way out.
    pub states: Vec<f64>,
    /// Forward sums `[T, W]`.
    forward: Vec<f64>,
    /// Probabilities `[T, W]` of labels.
    pub marginals: Vec<f64>,
    /// Sums over t of a_(t-1)(i) v_t(j) `[W, W]`, to be multiplied by E; added to by each call.
    pub pairs: Vec<f64>,
    /// Expected transitions `[L, L]` of sequences that were summed in logarithms.
    counts: Vec<f64>,
    /// c_t.
    scales: Vec<f64>,
}

impl Lattice {
    /// Forgets the sums of transitions.
    pub fn clear(&mut self) {
        self.pairs.fill(0.0);
        self.counts.clear();
    }

    /// Room for sequences of `longest` items.
    pub fn new(longest: usize, labels: usize) -> Self {
        let width = padded(labels);
        Self {
            states: vec![0.0; longest * width],
            forward: vec![0.0; longest * width],
            marginals: vec![0.0; longest * width],
            pairs: vec![0.0; width * width],
            counts: Vec::new(),
            scales: vec![0.0; longest],
        }
    }

    /// ln Z of `len` items whose state weights are in `states`; with `backward`, also `marginals`
    /// and `pairs`.
    pub fn sum(&mut self, len: usize, transitions: &Transitions, backward: bool) -> f64 {
        if len == 0 {
            return 0.0;
        }
        let size = len * transitions.width;
        self.marginals[..size].copy_from_slice(&self.states[..size]);
        let log = forward(self, len, transitions);
        if !log.is_finite() {
            // Every path has a step that vanishes beside the best one of its place.
            self.states[..size].copy_from_slice(&self.marginals[..size]);
            return self.sum_of_logs(len, transitions, backward);
        }
        if backward {
            backwards(self, len, transitions);
            if len > 1 {
                products(self, len, transitions.labels, transitions.width);
            }
        }
        log
    }

    /// The same in logarithms throughout, for weights whose exponentials vanish.
    fn sum_of_logs(&mut self, len: usize, transitions: &Transitions, backward: bool) -> f64 {
        let (labels, width) = (transitions.labels, transitions.width);
        let mut terms = vec![0.0; labels];
        for t in 0..len {
            for j in 0..labels {
                let mut sum = 0.0;
                if t > 0 {
                    for i in 0..labels {
                        terms[i] = self.forward[(t - 1) * width + i] + transitions.row(i)[j];
                    }
                    sum = log_sum_exp(&terms);
                }
                self.forward[t * width + j] = self.states[t * width + j] + sum;
            }
        }
        let last = (len - 1) * width;
        let log = log_sum_exp(&self.forward[last..last + labels]);
        if !backward {
            return log;
        }
        self.counts.resize(labels * labels, 0.0);
        let mut after = vec![0.0; labels];
        for t in (0..len).rev() {
            let row = t * width;
            for j in 0..labels {
                self.marginals[row + j] = (self.forward[row + j] + after[j] - log).exp();
            }
            self.marginals[row + labels..row + width].fill(0.0);
            if t == 0 {
                break;
            }
            let to: Vec<f64> = (0..labels).map(|j| self.states[row + j] + after[j]).collect();
            for i in 0..labels {
                for j in 0..labels {
                    terms[j] = transitions.row(i)[j] + to[j];
                    let pair = self.forward[row - width + i] + terms[j] - log;
                    self.counts[i * labels + j] += pair.exp();
                }
                after[i] = log_sum_exp(&terms);
            }
        }
        log
    }
}

/// `ln` of the sum of exponentials; -inf where there is nothing to add up.
fn log_sum_exp(terms: &[f64]) -> f64 {
    let max = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !max.is_finite() {
        return max;
    }
    max + terms.iter().map(|term| (term - max).exp()).sum::<f64>().ln()
}

/// Writes `e^(x - max)` over a row whose largest number is `max`, 0 for results below e^-700: to the
/// last place but one. The loop is plain so that the compiler makes vectors of it.
#[inline(always)]
fn exponentials(row: &mut [f64], max: f64) {
    const LOW: f64 = -700.0;
    // Adding 1.5 * 2^52 leaves the nearest integer in the lowest bits.
    const SHIFT: f64 = 6_755_399_441_055_744.0;
    // The terms of the series, highest first: |r| is at most half of ln 2.
    const TERMS: [f64; 14] = [
        1.0 / 6_227_020_800.0,
        1.0 / 479_001_600.0,
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ];
    for x in row {
        let low = *x - max;
        let clamped = if low < LOW { LOW } else { low };
        let shifted = clamped * std::f64::consts::LOG2_E + SHIFT;
        let n = shifted - SHIFT;
        // ln 2 in two parts, the first with trailing zeros so that n times it is exact.
        let r = clamped - n * 0.693_147_180_369_123_8 - n * 1.908_214_929_270_587_7e-10;
        let mut sum = TERMS[0];
        for &term in &TERMS[1..] {
            sum = sum * r + term;
        }
        let power = f64::from_bits((shifted.to_bits() << 52).wrapping_add(1023 << 52));
        *x = if low < LOW { 0.0 } else { sum * power };
    }
}

/// `to[j] = sum over i of from[i] matrix[i, j]` for `N` vectors from column `at`.
#[inline(always)]
fn columns<V: Vector<Elem = f64>, const N: usize>(
    from: &[f64],
    matrix: &[f64],
    width: usize,
    at: usize,
    to: &mut [f64],
) {
    let mut even = [V::zero(); N];
    let mut odd = [V::zero(); N];
    let rows = from.len();
    assert!(rows * width <= matrix.len() && at + N * V::LANES <= width && width <= to.len());
    let mut i = 0;
    while i + 1 < rows {
        let (a, b) = (V::splat(from[i]), V::splat(from[i + 1]));
        for n in 0..N {
            // SAFETY: both rows are below `rows`, and the columns lie in them.
            unsafe {
                let here = matrix.as_ptr().add(i * width + at + n * V::LANES);
                even[n] = a.mul_add(V::load(here), even[n]);
                odd[n] = b.mul_add(V::load(here.add(width)), odd[n]);
            }
        }
        i += 2;
    }
    if i < rows {
        let a = V::splat(from[i]);
        for n in 0..N {
            // SAFETY: as above.
            let row = unsafe { V::load(matrix.as_ptr().add(i * width + at + n * V::LANES)) };
            even[n] = a.mul_add(row, even[n]);
        }
    }
    for n in 0..N {
        // SAFETY: the columns lie in the row.
        unsafe { even[n].add(odd[n]).store(to.as_mut_ptr().add(at + n * V::LANES)) };
    }
}

/// `to = from matrix` for a row `[L]` and a matrix `[L, W]`.
#[inline(always)]
fn row_times<V: Vector<Elem = f64>>(from: &[f64], matrix: &[f64], width: usize, to: &mut [f64]) {
    let mut at = 0;
    while at < width {
        let left = ((width - at) / V::LANES).min(BLOCK);
        match left {
            1 => columns::<V, 1>(from, matrix, width, at, to),
            2 => columns::<V, 2>(from, matrix, width, at, to),
            3 => columns::<V, 3>(from, matrix, width, at, to),
            4 => columns::<V, 4>(from, matrix, width, at, to),
            5 => columns::<V, 5>(from, matrix, width, at, to),
            _ => columns::<V, BLOCK>(from, matrix, width, at, to),
        }
        at += left * V::LANES;
    }
}

vectorized! {
    /// Forward sums; the states become their exponentials. NaN or -inf where a sum vanishes.
    fn forward<S>(lattice: &mut Lattice, len: usize, transitions: &Transitions) -> f64 {
        let lanes = S::F64::LANES;
        let (labels, width) = (transitions.labels, transitions.width);
        let mut log = transitions.max * (len - 1) as f64;
        // The product of scales, whose logarithm is taken before it leaves the range.
        let mut product = 1.0f64;
        for t in 0..len {
            let states = &mut lattice.states[t * width..(t + 1) * width];
            let mut max = S::F64::splat(f64::NEG_INFINITY);
            for j in (0..width).step_by(lanes) {
                max = max.max(S::F64::read(&states[j..]));
            }
            let max = max.max_lane();
            log += max;
            let (before, row) = lattice.forward.split_at_mut(t * width);
            let row = &mut row[..width];
            if t > 0 {
                let before = &before[(t - 1) * width..][..labels];
                row_times::<S::F64>(before, &transitions.exp, width, row);
            }
            exponentials(states, max);
            let mut sum = S::F64::zero();
            for j in (0..width).step_by(lanes) {
                let e = S::F64::read(&states[j..]);
                let a = if t > 0 { e.mul(S::F64::read(&row[j..])) } else { e };
                a.write(&mut row[j..]);
                sum = sum.add(a);
            }
            let sum = sum.sum();
            lattice.scales[t] = sum;
            product *= sum;
            if !(1e-150..1e150).contains(&product) {
                log += product.ln();
                product = 1.0;
            }
            let inverse = S::F64::splat(1.0 / sum);
            for j in (0..width).step_by(lanes) {
                S::F64::read(&row[j..]).mul(inverse).write(&mut row[j..]);
            }
        }
        log + product.ln()
    }
}

vectorized! {
    /// Marginals from the forward sums; the states become v.
    fn backwards<S>(lattice: &mut Lattice, len: usize, transitions: &Transitions) {
        let lanes = S::F64::LANES;
        let (labels, width) = (transitions.labels, transitions.width);
        for t in (0..len).rev() {
            let forward = &lattice.forward[t * width..(t + 1) * width];
            let (here, after) = lattice.states[t * width..].split_at_mut(width);
            let marginals = &mut lattice.marginals[t * width..(t + 1) * width];
            let last = t + 1 == len;
            if !last {
                let matrix = &transitions.exp_transposed;
                row_times::<S::F64>(&after[..labels], matrix, width, marginals);
            }
            let inverse = S::F64::splat(1.0 / lattice.scales[t]);
            for j in (0..width).step_by(lanes) {
                let b = if last { S::F64::splat(1.0) } else { S::F64::read(&marginals[j..]) };
                S::F64::read(&here[j..]).mul(b).mul(inverse).write(&mut here[j..]);
                S::F64::read(&forward[j..]).mul(b).write(&mut marginals[j..]);
            }
        }
    }
}

/// Adds two rows `at` and `at + 1` of the products of all steps, `N` vectors from column `column`.
#[inline(always)]
fn tile<V: Vector<Elem = f64>, const N: usize>(
    forward: &[f64],
    v: &[f64],
    width: usize,
    at: usize,
    column: usize,
    pairs: &mut [f64],
) {
    let steps = v.len() / width;
    assert!(forward.len() >= steps * width && at + 2 <= width);
    assert!(column + N * V::LANES <= width && pairs.len() >= (at + 2) * width);
    let mut sums = [[V::zero(); N]; 2];
    for (row, sums) in sums.iter_mut().enumerate() {
        for (n, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the columns lie in the row, which was checked.
            *sum =
                unsafe { V::load(pairs.as_ptr().add((at + row) * width + column + n * V::LANES)) };
        }
    }
    for t in 0..steps {
        // SAFETY: `t` is a step, and the row and the columns lie in it.
        unsafe {
            let a = V::splat(*forward.get_unchecked(t * width + at));
            let b = V::splat(*forward.get_unchecked(t * width + at + 1));
            for n in 0..N {
                let v = V::load(v.as_ptr().add(t * width + column + n * V::LANES));
                sums[0][n] = a.mul_add(v, sums[0][n]);
                sums[1][n] = b.mul_add(v, sums[1][n]);
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        for (n, sum) in sums.iter().enumerate() {
            // SAFETY: as above.
            unsafe {
                sum.store(pairs.as_mut_ptr().add((at + row) * width + column + n * V::LANES))
            };
        }
    }
}

#[inline(always)]
fn tiles<S: Isa, const N: usize>(
    forward: &[f64],
    v: &[f64],
    labels: usize,
    width: usize,
    column: usize,
    pairs: &mut [f64],
) {
    for at in (0..labels).step_by(2) {
        tile::<S::F64, N>(forward, v, width, at, column, pairs);
    }
}

vectorized! {
    /// Adds the sums over t of a_(t-1)(i) v_t(j) to `pairs`.
    fn products<S>(lattice: &mut Lattice, len: usize, labels: usize, width: usize) {
        let forward = &lattice.forward[..(len - 1) * width];
        let v = &lattice.states[width..len * width];
        let pairs = &mut lattice.pairs[..];
        let mut column = 0;
        while column < width {
            let left = ((width - column) / S::F64::LANES).min(BLOCK);
            match left {
                1 => tiles::<S, 1>(forward, v, labels, width, column, pairs),
                2 => tiles::<S, 2>(forward, v, labels, width, column, pairs),
                3 => tiles::<S, 3>(forward, v, labels, width, column, pairs),
                4 => tiles::<S, 4>(forward, v, labels, width, column, pairs),
                5 => tiles::<S, 5>(forward, v, labels, width, column, pairs),
                _ => tiles::<S, BLOCK>(forward, v, labels, width, column, pairs),
            }
            column += left * S::F64::LANES;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// State weights `[T, W]` with padding.
    pub(crate) fn laid_out(states: &[f64], labels: usize) -> Vec<f64> {
        let width = padded(labels);
        let mut out = vec![f64::NEG_INFINITY; states.len() / labels.max(1) * width];
        for (row, states) in out.chunks_mut(width).zip(states.chunks(labels)) {
            row[..labels].copy_from_slice(states);
        }
        out
    }

    fn numbers(count: usize, seed: u64, scale: f64) -> Vec<f64> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
        };
        (0..count).map(|_| next() * scale).collect()
    }

    /// ln Z, marginals and expected transitions from every labelling.
    fn brute(len: usize, labels: usize, s: &[f64], w: &[f64]) -> (f64, Vec<f64>, Vec<f64>) {
        let paths = labels.pow(len as u32);
        let path = |mut p: usize| -> Vec<usize> {
            (0..len).map(|_| (p % labels, p /= labels).0).collect()
        };
        let score = |y: &[usize]| {
            let states: f64 = y.iter().enumerate().map(|(t, &j)| s[t * labels + j]).sum();
            states + y.windows(2).map(|p| w[p[0] * labels + p[1]]).sum::<f64>()
        };
        let scores: Vec<f64> = (0..paths).map(|p| score(&path(p))).collect();
        let log = log_sum_exp(&scores);
        let (mut marginals, mut counts) = (vec![0.0; len * labels], vec![0.0; labels * labels]);
        for p in 0..paths {
            let (y, share) = (path(p), (scores[p] - log).exp());
            y.iter().enumerate().for_each(|(t, &j)| marginals[t * labels + j] += share);
            y.windows(2).for_each(|p| counts[p[0] * labels + p[1]] += share);
        }
        (log, marginals, counts)
    }

    fn agrees(len: usize, labels: usize, scale: f64, logs: bool) {
        let (s, w) = (numbers(len * labels, 3, scale), numbers(labels * labels, 5, scale));
        let (log, marginals, counts) = brute(len, labels, &s, &w);
        let transitions = Transitions::new(labels, &w);
        let mut lattice = Lattice::new(len, labels);
        lattice.states = laid_out(&s, labels);
        let got = if logs {
            lattice.sum_of_logs(len, &transitions, true)
        } else {
            lattice.sum(len, &transitions, true)
        };
        assert!((got - log).abs() < 1e-11 * (1.0 + log.abs()), "{got} {log}");
        for t in 0..len {
            for j in 0..labels {
                let got = lattice.marginals[t * transitions.width + j];
                assert!((got - marginals[t * labels + j]).abs() < 1e-12);
            }
        }
        let mut got = vec![0.0; labels * labels];
        transitions.expected(&lattice, &mut got);
        for (got, count) in got.iter().zip(&counts) {
            assert!((got - count).abs() < 1e-11, "{got} {count}");
        }
    }

    #[test]
    fn sums_are_those_over_all_labellings() {
        for (len, labels) in
            [(1, 1), (1, 4), (5, 1), (2, 2), (6, 3), (4, 5), (3, 9), (3, 17), (2, 40)]
        {
            for scale in [0.0, 1.0, 20.0, 300.0] {
                agrees(len, labels, scale, false);
                agrees(len, labels, scale, true);
            }
        }
    }

    #[test]
    fn weights_whose_exponentials_vanish_are_summed_as_logarithms() {
        // The only way from a forced 0 to a forced 1 is 2,000 below the best transition.
        let transitions = Transitions::new(2, &[0.0, -2000.0, 0.0, 0.0]);
        let mut lattice = Lattice::new(2, 2);
        lattice.states = laid_out(&[0.0, -1e4, -1e4, 0.0], 2);
        let log = lattice.sum(2, &transitions, true);
        assert!((log + 2000.0).abs() < 1e-9, "{log}");
        assert!((lattice.marginals[0] - 1.0).abs() < 1e-9);
        assert!((lattice.marginals[transitions.width + 1] - 1.0).abs() < 1e-9);
    }

    #[test]
    fn no_items_have_one_labelling() {
        let transitions = Transitions::new(3, &[0.0; 9]);
        assert_eq!(Lattice::new(0, 3).sum(0, &transitions, true), 0.0);
    }
}
