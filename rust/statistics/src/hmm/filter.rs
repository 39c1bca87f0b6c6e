//! The probability of each observation given those before it, and the state after the last.
#![allow(unsafe_code)]

use super::forward::forward_rows;
use super::{BETWEEN_CHECKS, Chain, Emissions, Padded, Rows, Watch, check};
use crate::ngram::Stop;
use crate::threads::{self, Shared};
use crate::{Error, Result};

/// What [`filter`] found out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filtered {
    /// Natural logarithm of the probability of each symbol given those before it in its sequence,
    /// `[T]`.
    pub log_probs: Vec<f64>,
    /// Probabilities of the states after the last symbol of each sequence, `[N, S]`; those of the
    /// first state where a sequence is empty, not yet moved on.
    pub states: Vec<f64>,
}

/// Runs the forward recursion over symbols. An impossible one says nothing about the states.
pub fn filter(
    chain: Chain<'_>,
    table: &[f64],
    symbols: &[u32],
    lengths: &[usize],
    stop: Stop<'_>,
) -> Result<Filtered> {
    let emissions = Emissions::Table(table, symbols);
    let sequences = check("hmm_filter", chain, emissions, lengths)?;
    let states = chain.start.len();
    let padded = Padded::new(chain);
    let rows = Rows::new(emissions, states);
    let mut log_probs = vec![0.0; symbols.len()];
    let mut last = vec![0.0; lengths.len() * states];
    let (logs, ends) = (Shared::new(&mut log_probs), Shared::new(&mut last));
    let watch = Watch::new(stop);
    let cost = symbols.len() * states * (states + 16);
    threads::for_each(sequences.len(), cost, |sequence| {
        if watch.stopped() {
            return;
        }
        let range = sequences.rows(sequence..sequence + 1);
        // SAFETY: no other task has this sequence.
        let (logs, end) = unsafe {
            (logs.slice(range.clone()), ends.slice(sequence * states..(sequence + 1) * states))
        };
        end.copy_from_slice(chain.start);
        let mut b = Vec::new();
        let mut alpha = Vec::new();
        let mut sums = Vec::new();
        // In pieces whose first row is the last one of the piece before.
        for from in (0..range.len()).step_by(BETWEEN_CHECKS) {
            let to = (from + BETWEEN_CHECKS).min(range.len());
            let first = usize::from(from > 0);
            let count = to - from + first;
            let width = padded.width;
            b.resize(count * width, 0.0);
            alpha.resize(count * width, 0.0);
            sums.resize(count, 0.0);
            alpha[..states].copy_from_slice(end);
            rows.copy(range.start + from - first..range.start + to, states, &mut b);
            run(&padded, &b, &mut alpha, &mut sums, first);
            for (log, sum) in logs[from..to].iter_mut().zip(&sums[first..]) {
                *log = sum.ln();
            }
            end.copy_from_slice(&alpha[(count - 1) * width..][..states]);
            if watch.stopped() {
                return;
            }
        }
    });
    if watch.stopped() {
        return Err(Error::Interrupted);
    }
    Ok(Filtered { log_probs, states: last })
}

fn run(chain: &Padded, b: &[f64], alpha: &mut [f64], sums: &mut [f64], first: usize) {
    let (width, count) = (chain.width, sums.len());
    let mut from = first;
    loop {
        let done = forward_rows(chain, b, alpha, sums, from, count);
        if done == count {
            return;
        }
        sums[done] = 0.0;
        let (before, row) = alpha.split_at_mut(done * width);
        match done {
            0 => row[..width].copy_from_slice(&chain.start),
            _ => predict(chain, &before[(done - 1) * width..], &mut row[..width]),
        }
        from = done + 1;
    }
}

/// The probabilities of the next state.
fn predict(chain: &Padded, state: &[f64], out: &mut [f64]) {
    out.fill(0.0);
    for (&p, row) in state.iter().zip(chain.trans.chunks_exact(chain.width)) {
        for (to, step) in out.iter_mut().zip(row) {
            *to += p * step;
        }
    }
}
