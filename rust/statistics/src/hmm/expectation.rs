//! Likelihoods, posteriors and the expected counts that Baum-Welch needs, of many sequences.
#![allow(unsafe_code)]

use std::ops::Range;

use lamina_kernels::simd::Vector;
use lamina_kernels::vectorized;

use super::forward::{Carry, backward, forward};
use super::logarithmic::{self, Sums};
use super::outer::add_outer;
use super::{BATCH, Chain, Emissions, Padded, Rows, Sequences, Watch, check, width};
use crate::ngram::Stop;
use crate::threads::{self, Shared};
use crate::{Error, Result};

/// Tasks that have sums of their own, at most.
const MOST_SUMS: usize = 16;
/// Rows of a task that has none.
const TASK: usize = 1 << 12;
/// Batches of rows from which on a sequence is worked on in blocks.
const LONG: usize = 4;
/// The logarithm of likelihoods below which a state counts as impossible beside the best one.
const LOWEST: f64 = -700.0;

/// What [`expect`] should find out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Log-likelihoods.
    Score,
    /// These and the posteriors of the states.
    Posteriors,
    /// These and the counts; of frames also the posteriors, of symbols their counts in place.
    Counts,
}

/// What [`expect`] found out; what was not wanted is empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Expectation {
    /// Of each sequence; minus infinity where it is impossible.
    pub log_likelihoods: Vec<f64>,
    /// Expected first states, `[S]`.
    pub start: Vec<f64>,
    /// Expected transitions, `[S, S]`.
    pub trans: Vec<f64>,
    /// Expected emissions of each symbol, `[V, S]`.
    pub symbols: Vec<f64>,
    /// Posteriors of the states, `[T, S]`; zero in sequences that are impossible.
    pub posteriors: Vec<f64>,
}

/// Runs the forward and, where wanted, the backward recursion over all sequences.
///
/// Impossible sequences count for nothing. With `weights`, one of each sequence, counts and
/// posteriors are multiplied by them.
pub fn expect(
    chain: Chain<'_>,
    emissions: Emissions<'_>,
    lengths: &[usize],
    weights: Option<&[f64]>,
    want: Want,
    stop: Stop<'_>,
) -> Result<Expectation> {
    const OP: &str = "hmm_expect";
    let sequences = check(OP, chain, emissions, lengths)?;
    if let Some(weights) = weights
        && weights.len() != lengths.len()
    {
        let message = format!("expected {}, got {}", lengths.len(), weights.len());
        return Err(Error::value(OP, "weights", message));
    }
    let states = chain.start.len();
    let rows = sequences.rows(0..sequences.len()).end;
    let (table, frames) = match emissions {
        Emissions::Table(table, _) => (table.len(), false),
        Emissions::Frames(_) => (0, true),
    };
    let counted = want == Want::Counts;
    let with_posteriors = want == Want::Posteriors || (counted && frames);
    let tasks = match counted {
        true => (rows * states / (2 * table).max(1)).clamp(1, MOST_SUMS),
        false => rows.div_ceil(TASK),
    };
    let chunks = sequences.chunks(tasks);
    let mut log_likelihoods = vec![0.0; sequences.len()];
    let mut posteriors = vec![0.0; if with_posteriors { rows * states } else { 0 }];
    let watch = Watch::new(stop);
    let job = Job {
        chain,
        padded: Padded::new(chain),
        rows: Rows::new(emissions, states),
        sequences: &sequences,
        weights,
        want,
        symbols: if counted { table / states * width(states) } else { 0 },
        log_likelihoods: Shared::new(&mut log_likelihoods),
        posteriors: Shared::new(&mut posteriors),
        with_posteriors,
        watch: &watch,
    };
    let cost = rows * states * (states + 16);
    let counts = threads::map(chunks.len(), cost, |task| job.run(chunks[task].clone()));
    watch.check()?;
    let mut found = job.merge(&counts);
    found.log_likelihoods = log_likelihoods;
    found.posteriors = posteriors;
    Ok(found)
}

/// Sums of a task, padded.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) start: Vec<f64>,
    trans: Vec<f64>,
    symbols: Vec<f64>,
}

pub(super) struct Job<'a> {
    chain: Chain<'a>,
    pub(super) padded: Padded,
    rows: Rows<'a>,
    pub(super) sequences: &'a Sequences,
    weights: Option<&'a [f64]>,
    pub(super) want: Want,
    /// Numbers in the padded table of symbol counts.
    symbols: usize,
    pub(super) log_likelihoods: Shared<f64>,
    posteriors: Shared<f64>,
    with_posteriors: bool,
    pub(super) watch: &'a Watch<'a>,
}

/// Memory of a task, for one batch of sequences at a time.
pub(super) struct Memory {
    pub(super) b: Vec<f64>,
    pub(super) alpha: Vec<f64>,
    pub(super) gamma: Vec<f64>,
    pub(super) sums: Vec<f64>,
    /// What was subtracted from the log-likelihoods of each row.
    pub(super) shifts: Vec<f64>,
    /// Rows in which a possible state counts as impossible.
    pub(super) deep: Vec<bool>,
    pub(super) carry: Carry,
    /// Transitions of sequences that needed logarithms.
    pub(super) direct: Vec<f64>,
}

impl Job<'_> {
    fn run(&self, chunk: Range<usize>) -> Counts {
        let (states, width) = (self.padded.states, self.padded.width);
        let mut counts = Counts::default();
        let counted = self.want == Want::Counts;
        if counted {
            counts.start = vec![0.0; states];
            counts.trans = vec![0.0; states * width];
            counts.symbols = vec![0.0; self.symbols];
        }
        let mut memory = Memory {
            b: Vec::new(),
            alpha: Vec::new(),
            gamma: Vec::new(),
            sums: Vec::new(),
            shifts: Vec::new(),
            deep: Vec::new(),
            carry: Carry::new(width),
            direct: vec![0.0; if self.want == Want::Score { 0 } else { states * states }],
        };
        let mut first = chunk.start;
        while first < chunk.end && !self.watch.stopped() {
            let batch = self.sequences.batch(first, chunk.end, BATCH / width);
            first = batch.end;
            if self.sequences.rows(batch.clone()).len() > LONG * (BATCH / width) {
                self.run_long(batch.start, &mut memory, &mut counts);
            } else {
                self.run_batch(batch, &mut memory, &mut counts);
            }
        }
        for (i, row) in counts.trans.chunks_exact_mut(width).enumerate() {
            for (j, count) in row[..states].iter_mut().enumerate() {
                *count = *count * self.chain.trans[i * states + j] + memory.direct[i * states + j];
            }
        }
        counts
    }

    fn run_batch(&self, batch: Range<usize>, memory: &mut Memory, counts: &mut Counts) {
        let (states, width) = (self.padded.states, self.padded.width);
        let rows = self.sequences.rows(batch.clone());
        let count = rows.len();
        memory.b.resize(count * width, 0.0);
        memory.alpha.resize(count * width, 0.0);
        if self.want != Want::Score {
            memory.gamma.resize(count * width, 0.0);
        }
        memory.sums.resize(count, 0.0);
        self.load(rows.clone(), &mut memory.b, &mut memory.shifts, &mut memory.deep);
        for sequence in batch {
            let all = self.sequences.rows(sequence..sequence + 1);
            let inside = all.start - rows.start..all.end - rows.start;
            let log = self.run_sequence(sequence, inside.clone(), memory);
            // SAFETY: no other task has this sequence.
            let out = unsafe { self.log_likelihoods.slice(sequence..sequence + 1) };
            out[0] = log;
            if self.want == Want::Counts && !inside.is_empty() {
                let first = &memory.gamma[inside.start * width..][..states];
                for (to, from) in counts.start.iter_mut().zip(first) {
                    *to += from;
                }
            }
        }
        if self.want != Want::Score {
            self.consume(rows, &memory.alpha, &memory.b, &memory.gamma, counts);
        }
    }

    /// Fills `b` with the likelihoods of some rows, and where these are frames says what was taken
    /// from their logarithms and where that lost a state.
    pub(super) fn load(
        &self,
        rows: Range<usize>,
        b: &mut [f64],
        shifts: &mut Vec<f64>,
        deep: &mut Vec<bool>,
    ) {
        let (states, width, count) = (self.padded.states, self.padded.width, rows.len());
        self.rows.copy(rows, states, b);
        if let Rows::Frames(_) = self.rows {
            shifts.resize(count, 0.0);
            deep.resize(count, false);
            likelihoods(b, states, width, shifts, deep);
        }
    }

    /// Counts what the recursions found about some rows, and hands out their posteriors.
    pub(super) fn consume(
        &self,
        rows: Range<usize>,
        alpha: &[f64],
        b: &[f64],
        gamma: &[f64],
        counts: &mut Counts,
    ) {
        let (states, width) = (self.padded.states, self.padded.width);
        if self.want == Want::Counts {
            add_outer(alpha, width, b, width, &mut counts.trans);
            if let Rows::Table(_, symbols) = &self.rows {
                add_rows(&symbols[rows.clone()], gamma, width, &mut counts.symbols);
            }
        }
        if self.with_posteriors {
            // SAFETY: no other task has these rows.
            let out = unsafe { self.posteriors.slice(rows.start * states..rows.end * states) };
            for (to, from) in out.chunks_exact_mut(states).zip(gamma.chunks_exact(width)) {
                to.copy_from_slice(&from[..states]);
            }
        }
    }

    /// The log-likelihood of a sequence, its posteriors in `gamma` and what transitions need in
    /// `alpha` and `b`.
    fn run_sequence(&self, sequence: usize, inside: Range<usize>, memory: &mut Memory) -> f64 {
        let width = self.padded.width;
        if inside.is_empty() {
            return 0.0;
        }
        let numbers = inside.start * width..inside.end * width;
        let b = &mut memory.b[numbers.clone()];
        let alpha = &mut memory.alpha[numbers.clone()];
        let gamma = match self.want {
            Want::Score => &mut [][..],
            _ => &mut memory.gamma[numbers],
        };
        let sums = &mut memory.sums[inside.clone()];
        let weight = self.weight(sequence);
        let (shifts, deep) = match self.rows {
            Rows::Table(..) => (&[][..], &[][..]),
            Rows::Frames(_) => (&memory.shifts[inside.clone()], &memory.deep[inside]),
        };
        // Where every state can follow, one that is lost here can come back by another way.
        let scaled = match self.padded.restricted && deep.contains(&true) {
            true => None,
            false => forward(&self.padded, b, alpha, sums, self.watch),
        };
        if let Some(log) = scaled {
            if self.want != Want::Score {
                let (chain, carry) = (&self.padded, &mut memory.carry);
                backward(chain, b, alpha, sums, gamma, carry, weight, self.watch);
            }
            return log + shifts.iter().sum::<f64>();
        }
        alpha.fill(0.0);
        self.run_logarithmic(sequence, gamma, &mut memory.direct)
    }

    /// The same in logarithms: posteriors in `gamma`, transitions in `direct`.
    pub(super) fn run_logarithmic(
        &self,
        sequence: usize,
        gamma: &mut [f64],
        direct: &mut [f64],
    ) -> f64 {
        if self.watch.stopped() {
            return f64::NEG_INFINITY;
        }
        let logs = self.logs(sequence);
        let sums = (self.want != Want::Score).then_some(Sums {
            trans: direct,
            gamma,
            width: self.padded.width,
            weight: self.weight(sequence),
        });
        logarithmic::sequence(self.chain, &logs, sums, self.watch)
    }

    pub(super) fn weight(&self, sequence: usize) -> f64 {
        self.weights.map_or(1.0, |weights| weights[sequence])
    }

    /// Log-likelihoods by frame of a sequence, `[n, S]`.
    fn logs(&self, sequence: usize) -> Vec<f64> {
        let states = self.padded.states;
        let rows = self.sequences.rows(sequence..sequence + 1);
        match &self.rows {
            Rows::Frames(frames) => frames[rows.start * states..rows.end * states].to_vec(),
            Rows::Table(table, symbols) => symbols[rows]
                .iter()
                .flat_map(|&symbol| &table[symbol as usize * self.padded.width..][..states])
                .map(|p| p.ln())
                .collect(),
        }
    }

    /// Sums over tasks in their order, without the padding.
    fn merge(&self, counts: &[Counts]) -> Expectation {
        let mut found = Expectation::default();
        if self.want != Want::Counts {
            return found;
        }
        let (states, width) = (self.padded.states, self.padded.width);
        found.start = vec![0.0; states];
        found.trans = vec![0.0; states * states];
        found.symbols = vec![0.0; self.symbols / width * states];
        for counts in counts {
            for (to, from) in found.start.iter_mut().zip(&counts.start) {
                *to += from;
            }
            add_unpadded(&mut found.trans, &counts.trans, states, width);
        }
        let step = threads::piece_len(self.symbols / width, counts.len() * states).max(1);
        threads::for_each_piece(
            &mut found.symbols,
            step * states,
            counts.len() * self.symbols,
            |piece, out| {
                let from = piece * step * width;
                for counts in counts {
                    add_unpadded(out, &counts.symbols[from..], states, width);
                }
            },
        );
        found
    }
}

fn add_unpadded(out: &mut [f64], from: &[f64], states: usize, width: usize) {
    for (to, from) in out.chunks_exact_mut(states).zip(from.chunks_exact(width)) {
        for (to, from) in to.iter_mut().zip(from) {
            *to += from;
        }
    }
}

vectorized! {
    /// Turns rows of log-likelihoods into likelihoods over the largest, whose logarithm goes to
    /// `shifts`; `deep` says where that loses a state.
    fn likelihoods<S>(
        b: &mut [f64], states: usize, width: usize, shifts: &mut [f64], deep: &mut [bool],
    ) {
        let lanes = S::F64::LANES;
        let rows = b.chunks_exact_mut(width).zip(shifts.iter_mut().zip(deep));
        for (row, (shift, deep)) in rows {
            let (mut max, mut min) = (f64::NEG_INFINITY, f64::INFINITY);
            for &log in &row[..states] {
                max = if log > max { log } else { max };
                min = if log < min && log > f64::NEG_INFINITY { log } else { min };
            }
            *shift = if max.is_finite() { max } else { 0.0 };
            *deep = min - *shift < LOWEST;
            row[states..].fill(f64::NEG_INFINITY);
            let by = S::F64::splat(*shift);
            for part in row.chunks_mut(lanes) {
                S::F64::read(part).sub(by).exp().write(part);
            }
        }
    }
}

vectorized! {
    /// Adds each row of `gamma` to that of its symbol.
    fn add_rows<S>(symbols: &[u32], gamma: &[f64], width: usize, out: &mut [f64]) {
        let lanes = S::F64::LANES;
        for (&symbol, row) in symbols.iter().zip(gamma.chunks_exact(width)) {
            let to = &mut out[symbol as usize * width..][..width];
            for (to, from) in to.chunks_mut(lanes).zip(row.chunks(lanes)) {
                S::F64::read(to).add(S::F64::read(from)).write(to);
            }
        }
    }
}
