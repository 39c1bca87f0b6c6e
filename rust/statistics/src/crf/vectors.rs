//! Sums and combinations of long vectors, cut into blocks that do not depend on the threads.
#![allow(unsafe_code)]

use lamina_kernels::simd::Vector;
use lamina_kernels::vectorized;

use crate::threads;

/// Numbers of one task; as many as stay in the second cache with those of a dozen vectors.
const BLOCK: usize = 1 << 12;

vectorized! {
    fn dot_block<S>(a: &[f64], b: &[f64]) -> f64 {
        let lanes = S::F64::LANES;
        let mut sums = [S::F64::zero(); 4];
        let step = 4 * lanes;
        let whole = a.len() / step * step;
        for i in (0..whole).step_by(step) {
            for (k, sum) in sums.iter_mut().enumerate() {
                let (a, b) = (&a[i + k * lanes..], &b[i + k * lanes..]);
                *sum = S::F64::read(a).mul_add(S::F64::read(b), *sum);
            }
        }
        let mut sum = sums[0].add(sums[1]).add(sums[2].add(sums[3]));
        for i in (whole..a.len()).step_by(lanes) {
            sum = S::F64::read(&a[i..]).mul_add(S::F64::read(&b[i..]), sum);
        }
        sum.sum()
    }
}

vectorized! {
    fn add_block<S>(by: f64, from: &[f64], to: &mut [f64]) {
        let lanes = S::F64::LANES;
        let by = S::F64::splat(by);
        for i in (0..to.len()).step_by(lanes) {
            let sum = by.mul_add(S::F64::read(&from[i..]), S::F64::read(&to[i..]));
            sum.write(&mut to[i..]);
        }
    }
}

/// The inner products of each pair of vectors of one length.
pub(crate) fn dots<const N: usize>(pairs: [(&[f64], &[f64]); N]) -> [f64; N] {
    let mut sums = [0.0; N];
    for (sum, more) in sums.iter_mut().zip(many_dots(&pairs)) {
        *sum = more;
    }
    sums
}

/// The same for any number of pairs; each block is read once however often a vector occurs.
pub(crate) fn many_dots(pairs: &[(&[f64], &[f64])]) -> Vec<f64> {
    let len = pairs.first().map_or(0, |pair| pair.0.len());
    let blocks = len.div_ceil(BLOCK);
    let parts = threads::map(blocks, len * pairs.len() / 2, |block| {
        let range = block * BLOCK..((block + 1) * BLOCK).min(len);
        let dot =
            |pair: &(&[f64], &[f64])| dot_block(&pair.0[range.clone()], &pair.1[range.clone()]);
        pairs.iter().map(dot).collect::<Vec<_>>()
    });
    let mut sums = vec![0.0; pairs.len()];
    for part in parts {
        sums.iter_mut().zip(part).for_each(|(sum, more)| *sum += more);
    }
    sums
}

/// `to = sum of factor * vector`.
pub(crate) fn combine(terms: &[(f64, &[f64])], to: &mut [f64]) {
    let cost = to.len() * (terms.len() + 1) / 2;
    threads::for_each_piece(to, BLOCK, cost, |block, to| {
        to.fill(0.0);
        let start = block * BLOCK;
        for &(factor, vector) in terms {
            add_block(factor, &vector[start..start + to.len()], to);
        }
    });
}

/// `to[i] = run(i)`.
pub(crate) fn each(to: &mut [f64], run: impl Fn(usize) -> f64 + Sync) {
    let cost = to.len() * 2;
    threads::for_each_piece(to, BLOCK, cost, |block, to| {
        for (i, to) in to.iter_mut().enumerate() {
            *to = run(block * BLOCK + i);
        }
    });
}

/// The sum of `run(i)` for `i` below `len`.
pub(crate) fn sum(len: usize, run: impl Fn(usize) -> f64 + Sync) -> f64 {
    let parts = threads::map(len.div_ceil(BLOCK), len * 2, |block| {
        (block * BLOCK..((block + 1) * BLOCK).min(len)).map(&run).sum::<f64>()
    });
    parts.iter().sum()
}
