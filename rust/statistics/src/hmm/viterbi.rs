//! The most likely path of states.
//!
//! d_t(j) = max_i (d_{t-1}(i) + ln A(i, j)) + ln b_t(j). Rows d are kept for one block of steps and at
//! the end of each, and no back-pointers at all: on the way back the predecessors of the path alone
//! are looked for, so that the inner loop is a sum and a maximum.
#![allow(unsafe_code)]

use lamina_kernels::simd::{Isa, Vector};
use lamina_kernels::vectorized;

use super::{BATCH, Chain, Emissions, Rows, Watch, check, width};
use crate::Result;
use crate::ngram::Stop;
use crate::threads::{self, Shared};

/// Steps whose rows are kept at once.
const BLOCK: usize = 1 << 10;
/// Rows of a task.
const TASK: usize = 1 << 12;

/// What [`decode`] found out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Paths {
    /// Logarithm of the probability of each sequence and its path; minus infinity where it is
    /// impossible.
    pub log_probs: Vec<f64>,
    /// The states, `[T]`; of equally likely ones the first.
    pub states: Vec<u32>,
}

/// The most likely paths of all sequences; `emissions` are logarithms in either form.
pub fn decode(
    chain: Chain<'_>,
    emissions: Emissions<'_>,
    lengths: &[usize],
    stop: Stop<'_>,
) -> Result<Paths> {
    let sequences = check("hmm_decode", chain, emissions, lengths)?;
    let states = chain.start.len();
    let total = sequences.rows(0..sequences.len()).end;
    let logs = Logs::new(chain);
    let rows = Rows::new(emissions, states);
    let mut paths = Paths { log_probs: vec![0.0; lengths.len()], states: vec![0; total] };
    let (log_probs, path) = (Shared::new(&mut paths.log_probs), Shared::new(&mut paths.states));
    let chunks = sequences.chunks(total.div_ceil(TASK));
    let watch = Watch::new(stop);
    threads::for_each(chunks.len(), total * states * (states + 16), |task| {
        let mut memory = Memory::default();
        let mut first = chunks[task].start;
        while first < chunks[task].end && !watch.stopped() {
            let batch = sequences.batch(first, chunks[task].end, BATCH / logs.width);
            first = batch.end;
            for sequence in batch {
                let range = sequences.rows(sequence..sequence + 1);
                // SAFETY: no other task has this sequence.
                let (log, out) =
                    unsafe { (log_probs.slice(sequence..sequence + 1), path.slice(range.clone())) };
                log[0] = logs.path(&rows, range.start, out, &mut memory, &watch);
            }
        }
    });
    watch.check()?;
    Ok(paths)
}

/// Logarithms of a chain, padded with minus infinity.
struct Logs {
    states: usize,
    width: usize,
    start: Vec<f64>,
    trans: Vec<f64>,
    /// Column by column, for the way back.
    transposed: Vec<f64>,
}

#[derive(Default)]
struct Memory {
    rows: Vec<f64>,
    kept: Vec<f64>,
}

impl Logs {
    fn new(chain: Chain<'_>) -> Self {
        let states = chain.start.len();
        let width = width(states);
        let mut start = vec![f64::NEG_INFINITY; width];
        let mut trans = vec![f64::NEG_INFINITY; states * width];
        let mut transposed = vec![f64::NEG_INFINITY; states * states];
        for (to, p) in start.iter_mut().zip(chain.start) {
            *to = p.ln();
        }
        for (i, row) in chain.trans.chunks_exact(states).enumerate() {
            for (j, p) in row.iter().enumerate() {
                trans[i * width + j] = p.ln();
                transposed[j * states + i] = p.ln();
            }
        }
        Self { states, width, start, trans, transposed }
    }

    /// Writes the path of the sequence whose first row is `first` to `path`; returns its logarithm.
    fn path(
        &self,
        rows: &Rows<'_>,
        first: usize,
        path: &mut [u32],
        memory: &mut Memory,
        watch: &Watch<'_>,
    ) -> f64 {
        if path.is_empty() {
            return 0.0;
        }
        let width = self.width;
        let blocks = path.len().div_ceil(BLOCK);
        memory.kept.resize(blocks * width, 0.0);
        memory.rows.resize(path.len().min(BLOCK) * width, 0.0);
        let length = path.len();
        let ends = |block: usize| block * BLOCK..((block + 1) * BLOCK).min(length);
        let mut state = 0;
        let mut best = f64::NEG_INFINITY;
        for block in 0..blocks {
            if watch.stopped() {
                return best;
            }
            let range = ends(block);
            let count = range.len();
            let (before, kept) = memory.kept.split_at_mut(block * width);
            let before = block.checked_sub(1).map(|last| &before[last * width..]);
            let out = &mut memory.rows[..count * width];
            rows.copy(first + range.start..first + range.end, self.states, out);
            forward(self, before, out);
            let last = &out[(count - 1) * width..];
            kept[..width].copy_from_slice(last);
            (state, best) = first_max(last[..self.states].iter().copied());
        }
        for block in (0..blocks).rev() {
            if watch.stopped() {
                return best;
            }
            let range = ends(block);
            let out = &mut memory.rows[..range.len() * width];
            let before = block.checked_sub(1).map(|last| &memory.kept[last * width..][..width]);
            if block + 1 < blocks {
                rows.copy(first + range.start..first + range.end, self.states, out);
                forward(self, before, out);
            }
            for t in (0..range.len()).rev() {
                path[range.start + t] = state as u32;
                let row = match t {
                    0 => before,
                    _ => Some(&out[(t - 1) * width..][..width]),
                };
                if let Some(row) = row {
                    state = self.predecessor(row, state);
                }
            }
        }
        best
    }

    /// The first state from which `state` is reached best.
    fn predecessor(&self, row: &[f64], state: usize) -> usize {
        let column = &self.transposed[state * self.states..][..self.states];
        first_max(row.iter().zip(column).map(|(d, step)| d + step)).0
    }
}

/// The first of the largest values and its place.
fn first_max(values: impl Iterator<Item = f64>) -> (usize, f64) {
    let mut best = (0, f64::NEG_INFINITY);
    for (i, value) in values.enumerate() {
        if value > best.1 {
            best = (i, value);
        }
    }
    best
}

vectorized! {
    /// Turns rows of log-likelihoods into rows of d, after the row `before` or at the start.
    fn forward<S>(logs: &Logs, before: Option<&[f64]>, rows: &mut [f64]) {
        let (width, lanes) = (logs.width, S::F64::LANES);
        for t in 0..rows.len() / width {
            let (done, rest) = rows.split_at_mut(t * width);
            let row = &mut rest[..width];
            let last = match t {
                0 => before,
                _ => Some(&done[(t - 1) * width..]),
            };
            let Some(last) = last else {
                for (to, from) in row.iter_mut().zip(&logs.start) {
                    *to += from;
                }
                continue;
            };
            let last = &last[..logs.states];
            let mut column = 0;
            while column < width {
                // SAFETY: the vectors end inside a row, and `trans` has a row of each state.
                unsafe {
                    let from = logs.trans.as_ptr().add(column);
                    let to = row.as_mut_ptr().add(column);
                    if column + 4 * lanes <= width {
                        step::<S, 4>(last, from, width, to);
                        column += 4 * lanes;
                    } else if column + 2 * lanes <= width {
                        step::<S, 2>(last, from, width, to);
                        column += 2 * lanes;
                    } else {
                        step::<S, 1>(last, from, width, to);
                        column += lanes;
                    }
                }
            }
        }
    }
}

/// Adds to `V` vectors at `to` the best of `last` and a step.
///
/// # Safety
/// `trans` has a row of `V` vectors for each of `last`, `width` apart; `to` has `V` vectors.
#[inline(always)]
unsafe fn step<S: Isa, const V: usize>(
    last: &[f64],
    trans: *const f64,
    width: usize,
    to: *mut f64,
) {
    let lanes = S::F64::LANES;
    let mut even = [S::F64::of(f64::NEG_INFINITY); V];
    let mut odd = even;
    let pairs = last.chunks_exact(2);
    let rest = pairs.remainder();
    let mut at = trans;
    for pair in pairs {
        let (first, second) = (S::F64::splat(pair[0]), S::F64::splat(pair[1]));
        for v in 0..V {
            // SAFETY: inside two rows, as the caller promises.
            unsafe {
                even[v] = first.add(S::F64::load(at.add(v * lanes))).max(even[v]);
                odd[v] = second.add(S::F64::load(at.add(width + v * lanes))).max(odd[v]);
            }
        }
        at = at.wrapping_add(2 * width);
    }
    for &value in rest {
        for v in 0..V {
            // SAFETY: inside the last row.
            let step = unsafe { S::F64::load(at.add(v * lanes)) };
            even[v] = S::F64::splat(value).add(step).max(even[v]);
        }
    }
    for v in 0..V {
        // SAFETY: the caller promises `V` vectors there.
        unsafe {
            let out = to.add(v * lanes);
            even[v].max(odd[v]).add(S::F64::load(out)).store(out);
        }
    }
}
