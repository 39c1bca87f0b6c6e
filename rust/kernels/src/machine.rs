//! What the machine can do at most: multiply-adds a second, bytes read a second.

use std::hint::black_box;
use std::time::Instant;

use crate::simd::Vector;
use crate::{threads, vectorized};

/// Sums under way at once: more than two units of a latency of five need, and with both factors no
/// more than the sixteen registers of AVX2.
const SUMS: usize = 12;

vectorized! {
    /// `steps` rounds of independent multiply-adds; returns their number of operations.
    fn multiply_adds<S>(steps: usize, x: f32) -> (f32, usize) {
        let (a, b) = (S::F32::splat(x), S::F32::splat(1.0 - x));
        let mut sums = [S::F32::splat(x); SUMS];
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = a.mul_add(b, *sum);
            }
        }
        let mut total = S::F32::zero();
        for sum in sums {
            total = total.add(sum);
        }
        (total.sum(), steps * SUMS * 2 * S::F32::LANES)
    }
}

vectorized! {
    /// Sum of all numbers, read in order.
    fn total<S>(x: &[f32]) -> f32 {
        let mut sums = [S::F32::zero(); 8];
        for x in x.chunks_exact(8 * S::F32::LANES) {
            for (sum, x) in sums.iter_mut().zip(x.chunks_exact(S::F32::LANES)) {
                *sum = sum.add(S::F32::read(x));
            }
        }
        let mut total = S::F32::zero();
        for sum in sums {
            total = total.add(sum);
        }
        total.sum()
    }
}

/// Most single-precision operations a second with all threads, by the best of several rounds.
pub fn peak_flops() -> f64 {
    let tasks = threads::num_threads();
    let mut best = 0.0f64;
    for _ in 0..10 {
        let start = Instant::now();
        let counts = threads::map(tasks, usize::MAX, |_| {
            let (sum, count) = multiply_adds(1_000_000, black_box(0.25));
            black_box(sum);
            count
        });
        let total: usize = counts.iter().sum();
        best = best.max(total as f64 / start.elapsed().as_secs_f64());
    }
    best
}

/// Most bytes a second read from memory, not from caches, with all threads.
pub fn read_bandwidth() -> f64 {
    const BYTES: usize = 256 << 20;
    let block = vec![1.0f32; BYTES / 4];
    let tasks = threads::num_threads() * 8;
    let mut best = 0.0f64;
    for _ in 0..4 {
        let start = Instant::now();
        let sums = threads::map(tasks, usize::MAX, |task| {
            let share = block.len() / tasks;
            total(&block[task * share..(task + 1) * share])
        });
        black_box(sums);
        best = best.max(BYTES as f64 / start.elapsed().as_secs_f64());
    }
    best
}
