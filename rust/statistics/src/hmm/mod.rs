//! Hidden Markov models: likelihoods, posteriors, best paths, statistics for Baum-Welch.
//!
//! A chain of hidden states starts by `start`, moves by `trans` and emits an observation at each
//! step. What a state thinks of an observation comes either from a table of probabilities by symbol
//! or from a row of log-likelihoods by frame ([`emission`]). Sequences are grouped into tasks by
//! their lengths alone, so results do not depend on the number of threads.
//!
//! Reference: Rabiner, A tutorial on hidden Markov models and selected applications in speech
//! recognition, 1989.

pub mod emission;
mod expectation;
mod filter;
mod forward;
mod logarithmic;
mod long;
mod outer;
mod trigram;
mod viterbi;

pub use expectation::{Expectation, Want, expect};
pub use filter::{Filtered, filter};
pub use trigram::{Trigrams, decode_trigrams};
pub use viterbi::{Paths, decode};

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ThreadId};

use crate::ngram::Stop;
use crate::{Error, Result};

/// Most hidden states.
pub const MAX_STATES: usize = 1 << 14;
/// States are padded to a multiple of this, the lanes of the widest vector.
const LANES: usize = 8;
/// Numbers in the rows of a batch of sequences, which stay in the second cache.
const BATCH: usize = 1 << 13;
/// Rows of a long sequence between two looks at whether to stop.
const BETWEEN_CHECKS: usize = 1 << 12;

/// A chain of hidden states.
#[derive(Debug, Clone, Copy)]
pub struct Chain<'a> {
    /// Probabilities of the first state, `[S]`.
    pub start: &'a [f64],
    /// Probabilities of the next state (column) after a state (row), `[S, S]`.
    pub trans: &'a [f64],
}

/// How likely the states make the observations.
#[derive(Debug, Clone, Copy)]
pub enum Emissions<'a> {
    /// Of each symbol, `[V, S]`, and the symbols observed, `[T]`: probabilities, or for
    /// [`decode`] their logarithms.
    Table(&'a [f64], &'a [u32]),
    /// Log-likelihoods of each frame, `[T, S]`.
    Frames(&'a [f64]),
}

/// A chain whose rows are padded with zeros to whole vectors.
struct Padded {
    states: usize,
    width: usize,
    start: Vec<f64>,
    trans: Vec<f64>,
    transposed: Vec<f64>,
    /// Whether some transition is impossible.
    restricted: bool,
}

impl Padded {
    fn new(chain: Chain<'_>) -> Self {
        let states = chain.start.len();
        let width = width(states);
        let mut padded = Self {
            states,
            width,
            start: vec![0.0; width],
            trans: vec![0.0; states * width],
            transposed: vec![0.0; states * width],
            restricted: chain.trans.contains(&0.0),
        };
        padded.start[..states].copy_from_slice(chain.start);
        for (i, row) in chain.trans.chunks_exact(states).enumerate() {
            padded.trans[i * width..][..states].copy_from_slice(row);
            for (j, &p) in row.iter().enumerate() {
                padded.transposed[j * width + i] = p;
            }
        }
        padded
    }
}

fn width(states: usize) -> usize {
    states.next_multiple_of(LANES)
}

/// Sequences by the rows at which they begin and end.
struct Sequences {
    ends: Vec<usize>,
}

impl Sequences {
    fn new(lengths: &[usize]) -> Self {
        let sum = |total: &mut usize, &length: &usize| {
            *total += length;
            Some(*total)
        };
        Self { ends: std::iter::once(0).chain(lengths.iter().scan(0, sum)).collect() }
    }

    fn len(&self) -> usize {
        self.ends.len() - 1
    }

    fn rows(&self, sequences: Range<usize>) -> Range<usize> {
        self.ends[sequences.start]..self.ends[sequences.end]
    }

    /// The longest run of sequences from `first` on, below `last`, that has no more than `rows`
    /// rows, and at least one sequence.
    fn batch(&self, first: usize, last: usize, rows: usize) -> Range<usize> {
        let most = self.ends[first] + rows;
        let count = self.ends[first + 1..=last].partition_point(|&end| end <= most);
        first..first + count.max(1)
    }

    /// Runs of sequences with about as many rows each, at most `count`.
    fn chunks(&self, count: usize) -> Vec<Range<usize>> {
        let rows = self.ends[self.len()].div_ceil(count.max(1)).max(1);
        let mut chunks = Vec::with_capacity(count);
        let mut first = 0;
        while first < self.len() {
            let most = (chunks.len() + 1) * rows;
            let last = first + self.ends[first + 1..].partition_point(|&end| end <= most);
            let last = if chunks.len() + 1 == count { self.len() } else { last };
            if last > first {
                chunks.push(first..last);
            } else {
                chunks.push(first..first + 1);
            }
            first = chunks[chunks.len() - 1].end;
        }
        chunks
    }
}

/// Lets long work be stopped: the thread that began it asks, the others follow.
struct Watch<'a> {
    stop: Stop<'a>,
    caller: ThreadId,
    stopped: AtomicBool,
}

impl<'a> Watch<'a> {
    fn new(stop: Stop<'a>) -> Self {
        Self { stop, caller: thread::current().id(), stopped: AtomicBool::new(false) }
    }

    fn stopped(&self) -> bool {
        if thread::current().id() == self.caller && (self.stop)() {
            self.stopped.store(true, Ordering::Relaxed);
        }
        self.stopped.load(Ordering::Relaxed)
    }

    fn check(&self) -> Result<()> {
        if self.stopped() { Err(Error::Interrupted) } else { Ok(()) }
    }
}

/// Fails unless chain, emissions and lengths agree; the sequences otherwise.
fn check(
    op: &'static str,
    chain: Chain<'_>,
    emissions: Emissions<'_>,
    lengths: &[usize],
) -> Result<Sequences> {
    let states = chain.start.len();
    if !(1..=MAX_STATES).contains(&states) {
        let message = format!("expected 1 to {MAX_STATES} states, got {states}");
        return Err(Error::value(op, "start", message));
    }
    if chain.trans.len() != states * states {
        let message = format!("expected {states} x {states} numbers, got {}", chain.trans.len());
        return Err(Error::value(op, "trans", message));
    }
    let (values, frames) = match emissions {
        Emissions::Table(table, symbols) => (table.len(), symbols.len()),
        Emissions::Frames(frames) => (frames.len(), frames.len() / states),
    };
    if values % states != 0 {
        let message = format!("expected rows of {states} numbers, got {values} in all");
        return Err(Error::value(op, "emissions", message));
    }
    if let Emissions::Table(table, symbols) = emissions {
        let size = table.len() / states;
        if let Some(symbol) = symbols.iter().find(|&&symbol| symbol as usize >= size) {
            let message = format!("expected symbols below {size}, got {symbol}");
            return Err(Error::value(op, "symbols", message));
        }
    }
    let total = lengths.iter().try_fold(0, |sum: usize, &length| sum.checked_add(length));
    if total != Some(frames) {
        let message = format!("expected a sum of {frames}, got {}", total.unwrap_or(usize::MAX));
        return Err(Error::value(op, "lengths", message));
    }
    Ok(Sequences::new(lengths))
}

/// Emissions whose rows are padded to whole vectors.
enum Rows<'a> {
    Table(Vec<f64>, &'a [u32]),
    Frames(&'a [f64]),
}

impl<'a> Rows<'a> {
    fn new(emissions: Emissions<'a>, states: usize) -> Self {
        match emissions {
            Emissions::Frames(frames) => Self::Frames(frames),
            Emissions::Table(table, symbols) => {
                let width = width(states);
                let mut padded = vec![0.0; table.len() / states * width];
                for (to, from) in padded.chunks_exact_mut(width).zip(table.chunks_exact(states)) {
                    to[..states].copy_from_slice(from);
                }
                Self::Table(padded, symbols)
            }
        }
    }

    /// Copies the values of `rows` to `out`, each padded with zeros.
    fn copy(&self, rows: Range<usize>, states: usize, out: &mut [f64]) {
        let width = width(states);
        match self {
            Self::Table(table, symbols) => {
                for (to, &symbol) in out.chunks_exact_mut(width).zip(&symbols[rows]) {
                    to.copy_from_slice(&table[symbol as usize * width..][..width]);
                }
            }
            Self::Frames(frames) => {
                let from = &frames[rows.start * states..rows.end * states];
                for (to, from) in out.chunks_exact_mut(width).zip(from.chunks_exact(states)) {
                    to[..states].copy_from_slice(from);
                    to[states..].fill(0.0);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
