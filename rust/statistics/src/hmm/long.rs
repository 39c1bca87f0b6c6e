//! Long sequences, block by block: the forward recursion keeps a row of each block, and on the way
//! back each block is computed a second time. So all that is worked on stays in the caches, and
//! memory does not grow by rows times states.
#![allow(unsafe_code)]

use std::ops::Range;

use super::BATCH;
use super::expectation::{Counts, Job, Memory, Want};
use super::forward::{backward_rows, forward_rows, log_of_product};

impl Job<'_> {
    /// One long sequence.
    pub(super) fn run_long(&self, sequence: usize, memory: &mut Memory, counts: &mut Counts) {
        let rows = self.sequences.rows(sequence..sequence + 1);
        let log = match self.forward_blocks(rows.clone(), memory) {
            Some((log, kept)) => {
                if self.want != Want::Score {
                    self.backward_blocks(sequence, &kept, memory, counts);
                }
                log
            }
            None => self.logarithmic_blocks(sequence, rows, memory, counts),
        };
        // SAFETY: no other task has this sequence.
        let out = unsafe { self.log_likelihoods.slice(sequence..sequence + 1) };
        out[0] = log;
    }

    fn blocks(&self, rows: &Range<usize>) -> Vec<Range<usize>> {
        let block = (BATCH / self.padded.width).max(1);
        rows.clone().step_by(block).map(|from| from..(from + block).min(rows.end)).collect()
    }

    /// The log-likelihood and the last row of each block; `None` where logarithms are needed.
    fn forward_blocks(&self, rows: Range<usize>, memory: &mut Memory) -> Option<(f64, Vec<f64>)> {
        let width = self.padded.width;
        let mut kept = Vec::new();
        let mut log = 0.0;
        memory.alpha.resize(width, 0.0);
        for block in self.blocks(&rows) {
            if self.watch.stopped() {
                return None;
            }
            let before = (block.start > rows.start).then(|| memory.alpha.len() - width);
            if let Some(last) = before {
                memory.alpha.copy_within(last.., 0);
            }
            let first = usize::from(before.is_some());
            let count = self.load_block(&block, first, memory);
            if self.padded.restricted && memory.deep.contains(&true) {
                return None;
            }
            let (b, alpha, sums) = (&memory.b, &mut memory.alpha, &mut memory.sums);
            if forward_rows(&self.padded, b, alpha, sums, first, count) < count {
                return None;
            }
            log += log_of_product(&memory.sums[first..]) + memory.shifts.iter().sum::<f64>();
            kept.extend_from_slice(&memory.alpha[(count - 1) * width..]);
        }
        Some((log, kept))
    }

    /// Makes room for a block behind `first` rows and fills its likelihoods; the number of rows.
    fn load_block(&self, block: &Range<usize>, first: usize, memory: &mut Memory) -> usize {
        let width = self.padded.width;
        let count = first + block.len();
        memory.b.resize(count * width, 0.0);
        memory.alpha.resize(count * width, 0.0);
        memory.sums.resize(count, 0.0);
        let b = &mut memory.b[first * width..];
        self.load(block.clone(), b, &mut memory.shifts, &mut memory.deep);
        count
    }

    fn backward_blocks(
        &self,
        sequence: usize,
        kept: &[f64],
        memory: &mut Memory,
        counts: &mut Counts,
    ) {
        let (states, width) = (self.padded.states, self.padded.width);
        let rows = self.sequences.rows(sequence..sequence + 1);
        let weight = self.weight(sequence);
        memory.carry.reset(states);
        for (i, block) in self.blocks(&rows).into_iter().enumerate().rev() {
            if self.watch.stopped() {
                return;
            }
            let first = usize::from(i > 0);
            let count = self.load_block(&block, first, memory);
            if i > 0 {
                memory.alpha[..width].copy_from_slice(&kept[(i - 1) * width..][..width]);
            }
            memory.gamma.resize(count * width, 0.0);
            let Memory { b, alpha, gamma, sums, carry, .. } = memory;
            forward_rows(&self.padded, b, alpha, sums, first, count);
            backward_rows(&self.padded, b, alpha, sums, gamma, carry, weight, first, count);
            let from = first * width;
            if i == 0 && self.want == Want::Counts {
                for (to, from) in counts.start.iter_mut().zip(&gamma[..states]) {
                    *to += from;
                }
            }
            self.consume(block, &alpha[from..], &b[from..], &gamma[from..], counts);
        }
    }

    fn logarithmic_blocks(
        &self,
        sequence: usize,
        rows: Range<usize>,
        memory: &mut Memory,
        counts: &mut Counts,
    ) -> f64 {
        let (states, width) = (self.padded.states, self.padded.width);
        if self.want == Want::Score {
            return self.run_logarithmic(sequence, &mut [], &mut memory.direct);
        }
        let mut gamma = vec![0.0; rows.len() * width];
        let log = self.run_logarithmic(sequence, &mut gamma, &mut memory.direct);
        if self.want == Want::Counts {
            for (to, from) in counts.start.iter_mut().zip(&gamma[..states]) {
                *to += from;
            }
        }
        // Its transitions are counted already.
        let nothing = vec![0.0; rows.len() * width];
        self.consume(rows, &nothing, &nothing, &gamma, counts);
        log
    }
}
