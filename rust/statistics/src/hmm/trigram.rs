//! The most likely path of a chain of second order, as part-of-speech taggers use.
//!
//! d_t(v, x) = max_u (d_{t-1}(u, v) + ln p(x | u, v)) + ln b_t(x), where before the first step both
//! states are that of the beginning, which has the number K.
#![allow(unsafe_code)]

use lamina_kernels::vectorized;

use super::{Sequences, Watch};
use crate::ngram::Stop;
use crate::threads::{self, Shared};
use crate::{Error, Result};

/// Most states, so that a predecessor fits a byte.
const MAX_STATES: usize = 255;

/// A chain of second order over K states.
#[derive(Debug, Clone, Copy)]
pub struct Trigrams<'a> {
    /// K.
    pub states: usize,
    /// Logarithms of the probabilities of a state (last axis) after two, `[K + 1, K + 1, K]`.
    pub trans: &'a [f64],
    /// Logarithms of the probabilities that nothing comes after two states, `[K + 1, K + 1]`.
    pub end: &'a [f64],
}

/// The most likely states `[T]` of sequences whose log-likelihoods by frame are `[T, K]`.
pub fn decode_trigrams(
    chain: Trigrams<'_>,
    frames: &[f64],
    lengths: &[usize],
    stop: Stop<'_>,
) -> Result<Vec<u32>> {
    const OP: &str = "hmm_decode_trigrams";
    let k = chain.states;
    if !(1..=MAX_STATES).contains(&k) {
        let message = format!("expected 1 to {MAX_STATES} states, got {k}");
        return Err(Error::value(OP, "trans", message));
    }
    let all = k + 1;
    if chain.trans.len() != all * all * k || chain.end.len() != all * all {
        return Err(Error::value(OP, "trans", format!("expected {all} x {all} x {k} numbers")));
    }
    let total = lengths.iter().try_fold(0, |sum: usize, &length| sum.checked_add(length));
    if !frames.len().is_multiple_of(k) || total != Some(frames.len() / k) {
        let message = format!("expected a sum of {}", frames.len() / k);
        return Err(Error::value(OP, "lengths", message));
    }
    let sequences = Sequences::new(lengths);
    let mut states = vec![0; frames.len() / k];
    let out = Shared::new(&mut states);
    let watch = Watch::new(stop);
    threads::for_each(sequences.len(), frames.len() * k * 8, |sequence| {
        let range = sequences.rows(sequence..sequence + 1);
        if range.is_empty() || watch.stopped() {
            return;
        }
        // SAFETY: no other task has this sequence.
        let out = unsafe { out.slice(range.clone()) };
        path(chain, &frames[range.start * k..range.end * k], out, &watch);
    });
    watch.check()?;
    Ok(states)
}

fn path(chain: Trigrams<'_>, frames: &[f64], out: &mut [u32], watch: &Watch<'_>) {
    let (k, rows) = (chain.states, out.len());
    let all = k + 1;
    // d(u, v) of the last two states; only the beginning stands before the first.
    let mut last = vec![f64::NEG_INFINITY; all * all];
    last[all * all - 1] = 0.0;
    let mut next = last.clone();
    let mut back = vec![0; rows * all * k];
    for t in 0..rows {
        if t % 1024 == 1023 && watch.stopped() {
            return;
        }
        let back = &mut back[t * all * k..][..all * k];
        step(chain.trans, k, &last, &frames[t * k..][..k], &mut next, back);
        std::mem::swap(&mut last, &mut next);
    }
    let mut best = (f64::NEG_INFINITY, 0, 0);
    for u in 0..all {
        for v in 0..k {
            let value = last[u * all + v] + chain.end[u * all + v];
            if value > best.0 {
                best = (value, u, v);
            }
        }
    }
    let (_, mut u, mut v) = best;
    for t in (0..rows).rev() {
        out[t] = v as u32;
        // Where nothing is possible, whatever comes out must be a state.
        let before = usize::from(back[t * all * k + u * k + v]);
        (u, v) = (before, if t > 0 { u.min(k - 1) } else { 0 });
    }
}

vectorized! {
    /// `next(v, x)` from `last(u, v)`, and in `back` the u that it came from; the compiler turns the
    /// loops into vectors.
    fn step<S>(
        trans: &[f64], k: usize, last: &[f64], frame: &[f64], next: &mut [f64], back: &mut [u8],
    ) {
        let all = k + 1;
        next.fill(f64::NEG_INFINITY);
        for v in 0..all {
            let best = &mut next[v * all..][..k];
            let from = &mut back[v * k..][..k];
            for u in 0..all {
                let before = last[u * all + v];
                if before == f64::NEG_INFINITY {
                    continue;
                }
                let row = &trans[(u * all + v) * k..][..k];
                for ((best, from), step) in best.iter_mut().zip(from.iter_mut()).zip(row) {
                    let value = before + step;
                    let better = value > *best;
                    *best = if better { value } else { *best };
                    *from = if better { u as u8 } else { *from };
                }
            }
            for (best, log) in best.iter_mut().zip(frame) {
                *best += log;
            }
        }
    }
}
