//! The same sums for scores that a network gives: a layer's log-likelihood and its gradient.
#![allow(unsafe_code)]

use lamina_kernels::{Element, check_shape};
use ndarray::{Array1, Array3, ArrayView1, ArrayView2, ArrayView3};

use super::lattice::{Lattice, Transitions};
use super::viterbi::Best;
use super::{MAX_LABELS, features};
use crate::{Error, Result, threads};

/// Scores of labels: of each label of each item, of the first and the last label, and of pairs.
#[derive(Debug, Clone, Copy)]
pub struct Scores<'a, T> {
    /// `[N, L, C]`.
    pub emissions: ArrayView3<'a, T>,
    /// Items of each sequence `[N]`.
    pub lengths: ArrayView1<'a, i64>,
    /// `[C]`.
    pub start: ArrayView1<'a, T>,
    /// `[C]`.
    pub end: ArrayView1<'a, T>,
    /// `[C, C]`, from row to column.
    pub transitions: ArrayView2<'a, T>,
}

/// Log-likelihood `[N]` of tags, and its gradients where each has one of 1.
#[derive(Debug)]
pub struct LogLikelihood<T> {
    /// `[N]`.
    pub values: Array1<T>,
    /// Of emissions `[N, L, C]`, and of transitions `[N, C, C]`.
    pub gradients: Option<(Array3<T>, Array3<T>)>,
}

impl<T: Element> Scores<'_, T> {
    fn check(&self, op: &'static str) -> Result<()> {
        let (batch, steps, labels) = self.emissions.dim();
        check_shape(op, "lengths", &[batch], self.lengths.shape())?;
        check_shape(op, "start_transitions", &[labels], self.start.shape())?;
        check_shape(op, "end_transitions", &[labels], self.end.shape())?;
        check_shape(op, "transitions", &[labels, labels], self.transitions.shape())?;
        if labels == 0 || labels > MAX_LABELS {
            let message = format!("expected 1 to {MAX_LABELS} tags, got {labels}");
            return Err(Error::value(op, "emissions", message));
        }
        for (n, &length) in self.lengths.iter().enumerate() {
            if usize::try_from(length).map_or(true, |length| length > steps) {
                let message = format!("expected 0 to {steps} items, got {length} in sequence {n}");
                return Err(Error::value(op, "mask", message));
            }
        }
        Ok(())
    }

    fn square(&self) -> Transitions {
        let weights: Vec<f64> = self.transitions.iter().map(|weight| weight.f64()).collect();
        Transitions::new(self.start.len(), &weights)
    }

    /// State weights `[T, W]` of sequence `n`, with those of its ends.
    fn states(&self, n: usize, states: &mut [f64]) {
        let len = self.lengths[n] as usize;
        let labels = self.start.len();
        let width = features::padded(labels);
        for (t, row) in states.chunks_exact_mut(width).take(len).enumerate() {
            row[labels..].fill(f64::NEG_INFINITY);
            for j in 0..labels {
                row[j] = self.emissions[[n, t, j]].f64();
                if t == 0 {
                    row[j] += self.start[j].f64();
                }
                if t + 1 == len {
                    row[j] += self.end[j].f64();
                }
            }
        }
    }
}

/// Log-likelihood of `tags` `[N, L]`, of which those beyond a length count for nothing.
///
/// A sequence without items has a likelihood of 1.
pub fn forward<T: Element>(
    scores: &Scores<'_, T>,
    tags: ArrayView2<'_, i64>,
    gradient: bool,
) -> Result<LogLikelihood<T>> {
    const OP: &str = "crf_forward";
    scores.check(OP)?;
    let (batch, steps, labels) = scores.emissions.dim();
    check_shape(OP, "tags", &[batch, steps], tags.shape())?;
    for n in 0..batch {
        for t in 0..scores.lengths[n] as usize {
            let tag = tags[[n, t]];
            if usize::try_from(tag).map_or(true, |tag| tag >= labels) {
                let most = labels - 1;
                let message = format!("expected 0 to {most}, got {tag} in sequence {n}");
                return Err(Error::value(OP, "tags", message));
            }
        }
    }
    let square = scores.square();
    let width = square.width();
    let (states, pairs) = if gradient { (steps * labels, labels * labels) } else { (0, 0) };
    let mut of_states = vec![T::zero(); batch * states];
    let mut of_pairs = vec![T::zero(); batch * pairs];
    let (all_states, all_pairs) =
        (threads::Shared::new(&mut of_states), threads::Shared::new(&mut of_pairs));
    let cost = batch * steps * (30 + labels * (20 + labels));
    let values = threads::map(batch, cost, |n| {
        let len = scores.lengths[n] as usize;
        let mut lattice = Lattice::new(len, labels);
        scores.states(n, &mut lattice.states);
        let truth: Vec<u32> = (0..len).map(|t| tags[[n, t]] as u32).collect();
        let score = square.score(&lattice.states, &truth);
        let value = T::of(score - lattice.sum(len, &square, gradient));
        if !gradient {
            return value;
        }
        // SAFETY: each sequence has its own part of both.
        let (of_states, of_pairs) = unsafe {
            (
                all_states.slice(n * states..(n + 1) * states),
                all_pairs.slice(n * pairs..(n + 1) * pairs),
            )
        };
        let mut counts = vec![0.0; labels * labels];
        square.expected(&lattice, &mut counts);
        for (t, &tag) in truth.iter().enumerate() {
            let row = &lattice.marginals[t * width..][..labels];
            let to = &mut of_states[t * labels..(t + 1) * labels];
            to.iter_mut().zip(row).for_each(|(to, &p)| *to = T::of(-p));
            to[tag as usize] = T::of(1.0 - row[tag as usize]);
            if t > 0 {
                counts[truth[t - 1] as usize * labels + tag as usize] -= 1.0;
            }
        }
        of_pairs.iter_mut().zip(&counts).for_each(|(to, &count)| *to = T::of(-count));
        value
    });
    let shaped = |shape, values| Array3::from_shape_vec(shape, values).expect("one number each");
    let gradients = gradient.then(|| {
        (shaped((batch, steps, labels), of_states), shaped((batch, labels, labels), of_pairs))
    });
    Ok(LogLikelihood { values: Array1::from_vec(values), gradients })
}

/// The best tags of each sequence, one after the other, and their scores `[N]`.
pub fn decode<T: Element>(scores: &Scores<'_, T>) -> Result<(Vec<i64>, Vec<f64>)> {
    scores.check("crf_decode")?;
    let (batch, steps, labels) = scores.emissions.dim();
    let square = scores.square();
    let found = threads::map(batch, batch * steps * (30 + labels * labels), |n| {
        let len = scores.lengths[n] as usize;
        let mut states = vec![0.0; len * square.width()];
        scores.states(n, &mut states);
        let mut tags = vec![0; len];
        let score = Best::default().find(&states, &square, &mut tags);
        (tags, score)
    });
    let tags = found.iter().flat_map(|(tags, _)| tags.iter().map(|&tag| i64::from(tag)));
    Ok((tags.collect(), found.iter().map(|(_, score)| *score).collect()))
}
