//! Labels of sequences by a fitted model.
#![allow(unsafe_code)]

use super::features::{Whole, gather};
use super::lattice::{Lattice, Transitions};
use super::train::accuracy;
use super::viterbi::{Best, best_few};
use super::{Data, Model};
use crate::{Error, Result, threads};

/// Sequences of one task.
const TASK: usize = 32;

/// A model ready to label.
#[derive(Debug)]
pub struct Tagger<'a> {
    model: &'a Model,
    transitions: Transitions,
}

impl<'a> Tagger<'a> {
    /// Of a model, whose weights stay as they are meanwhile.
    pub fn new(model: &'a Model) -> Self {
        let transitions = Transitions::new(model.labels.len(), model.transitions());
        Self { model, transitions }
    }

    fn check(&self, data: &Data) -> Result<()> {
        let known = self.model.attributes.len();
        let most = data.attributes().iter().max().map_or(0, |&most| most as usize + 1);
        if most > known {
            let message = format!("expected attributes below {known}, got {}", most - 1);
            return Err(Error::value("crf_tag", "x", message));
        }
        if self.model.labels.is_empty() && data.num_items() > 0 {
            return Err(Error::value("crf_tag", "x", "the model has no labels"));
        }
        Ok(())
    }

    /// Share of right items and of right sequences.
    pub fn accuracy(&self, data: &Data) -> Result<(f64, f64)> {
        self.check(data)?;
        Ok(accuracy(data, &self.model.features, &self.model.weights))
    }

    fn states(&self, data: &Data, sequence: usize, states: &mut [f64]) {
        let (features, weights) = (&self.model.features, &self.model.weights);
        let rows = Whole { data, features };
        gather(&rows, data, features, weights, data.sequence(sequence), states);
    }

    fn cost(&self, data: &Data) -> usize {
        data.num_values() * 5 + data.num_items() * self.transitions.labels().pow(2) / 2
    }

    /// The best label of each item, and the score of each sequence.
    pub fn best(&self, data: &Data) -> Result<(Vec<u32>, Vec<f64>)> {
        self.check(data)?;
        let mut labels = vec![0; data.num_items()];
        let mut scores = vec![0.0; data.len()];
        let (all_labels, all_scores) =
            (threads::Shared::new(&mut labels), threads::Shared::new(&mut scores));
        threads::for_each(data.len().div_ceil(TASK), self.cost(data), |task| {
            let range = task * TASK..((task + 1) * TASK).min(data.len());
            let mut states = vec![0.0; data.longest(range.clone()) * self.transitions.width()];
            let mut best = Best::default();
            for i in range {
                // SAFETY: sequences do not overlap.
                let (labels, score) = unsafe {
                    (all_labels.slice(data.sequence(i)), &mut all_scores.slice(i..i + 1)[0])
                };
                self.states(data, i, &mut states);
                *score = best.find(&states, &self.transitions, labels);
            }
        });
        Ok((labels, scores))
    }

    /// The best few labellings of each sequence with their scores, and ln Z of each.
    pub fn best_few(&self, data: &Data, count: usize) -> Result<Vec<(Vec<(f64, Vec<u32>)>, f64)>> {
        self.check(data)?;
        Ok(threads::map(data.len(), self.cost(data).saturating_mul(count), |i| {
            let len = data.sequence(i).len();
            let mut lattice = Lattice::new(len, self.transitions.labels());
            self.states(data, i, &mut lattice.states);
            let few = best_few(&lattice.states, &self.transitions, len, count);
            (few, lattice.sum(len, &self.transitions, false))
        }))
    }

    /// Probabilities `[items, L]` of the labels of each item, and ln Z of each sequence.
    pub fn marginals(&self, data: &Data) -> Result<(Vec<f64>, Vec<f64>)> {
        self.check(data)?;
        let labels = self.transitions.labels();
        let mut out = vec![0.0; data.num_items() * labels];
        let mut logs = vec![0.0; data.len()];
        let (all, all_logs) = (threads::Shared::new(&mut out), threads::Shared::new(&mut logs));
        threads::for_each(data.len().div_ceil(TASK), self.cost(data) * 3, |task| {
            let range = task * TASK..((task + 1) * TASK).min(data.len());
            let mut lattice = Lattice::new(data.longest(range.clone()), labels);
            for i in range {
                let items = data.sequence(i);
                self.states(data, i, &mut lattice.states);
                let log = lattice.sum(items.len(), &self.transitions, true);
                // SAFETY: sequences do not overlap.
                let (out, at) = unsafe {
                    let out = all.slice(items.start * labels..items.end * labels);
                    (out, &mut all_logs.slice(i..i + 1)[0])
                };
                *at = log;
                let rows = lattice.marginals.chunks_exact(self.transitions.width());
                for (out, row) in out.chunks_exact_mut(labels).zip(rows) {
                    out.copy_from_slice(&row[..labels]);
                }
            }
        });
        Ok((out, logs))
    }

    /// Score of the labels of each sequence.
    pub fn scores(&self, data: &Data) -> Result<Vec<f64>> {
        self.check(data)?;
        data.check("crf_scores", self.model.attributes.len(), self.model.labels.len())?;
        Ok(threads::map(data.len(), self.cost(data), |i| {
            let items = data.sequence(i);
            let mut states = vec![0.0; items.len() * self.transitions.width()];
            self.states(data, i, &mut states);
            self.transitions.score(&states, &data.labels()[items])
        }))
    }
}
