//! Finding the weights.

use std::time::Instant;

use super::features::{Whole, gather};
use super::lattice::Transitions;
use super::viterbi::Best;
use super::{Data, Features, Stop, check, lbfgs, online, sgd};
use crate::{Error, Result, threads};

/// How the weights are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Limited-memory BFGS; with c1, orthant-wise.
    Lbfgs,
    /// Stochastic gradient descent with an L2 penalty.
    L2Sgd,
    /// Averaged perceptron.
    Perceptron,
    /// Passive aggressive.
    PassiveAggressive,
    /// Adaptive regularisation of weights.
    Arow,
}

impl Algorithm {
    /// The algorithm of this name.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "lbfgs" => Ok(Self::Lbfgs),
            "l2sgd" => Ok(Self::L2Sgd),
            "ap" => Ok(Self::Perceptron),
            "pa" => Ok(Self::PassiveAggressive),
            "arow" => Ok(Self::Arow),
            _ => {
                let message = format!("expected lbfgs, l2sgd, ap, pa or arow, got {name:?}");
                Err(Error::value("crf_train", "algorithm", message))
            }
        }
    }
}

/// What the trainers ask for; each reads its own part.
#[derive(Debug, Clone)]
pub struct Options {
    /// How.
    pub algorithm: Algorithm,
    /// Factor of the sum of absolute weights.
    pub c1: f64,
    /// Factor of the sum of squared weights.
    pub c2: f64,
    /// Most iterations.
    pub max_iterations: usize,
    /// Pairs of steps that L-BFGS remembers.
    pub num_memories: usize,
    /// L-BFGS: gradient in proportion to the weights at which it ends. Perceptrons: mean loss.
    pub epsilon: f64,
    /// Iterations over which the improvement is measured.
    pub period: usize,
    /// Improvement in proportion to the objective below which training ends.
    pub delta: f64,
    /// Most evaluations of a line search.
    pub max_linesearch: usize,
    /// SGD: sequences between two updates.
    pub batch_size: usize,
    /// SGD: first rate that calibration tries.
    pub calibration_eta: f64,
    /// SGD: factor between rates.
    pub calibration_rate: f64,
    /// SGD: sequences that calibration looks at.
    pub calibration_samples: usize,
    /// SGD: rates that must do better than none.
    pub calibration_candidates: usize,
    /// SGD: most rates tried.
    pub calibration_max_trials: usize,
    /// Passive aggressive: 0 without slack, 1 with, 2 with squared slack.
    pub pa_type: usize,
    /// Passive aggressive: aggressiveness.
    pub c: f64,
    /// Passive aggressive: whether the number of wrong labels counts.
    pub error_sensitive: bool,
    /// Passive aggressive: whether weights are averaged.
    pub averaging: bool,
    /// AROW: first variance of a weight.
    pub variance: f64,
    /// AROW: trade-off between loss and change.
    pub gamma: f64,
    /// Order of the sequences.
    pub seed: u64,
}

/// What is said of an iteration.
#[derive(Debug, Clone, Copy, Default)]
pub struct Iteration {
    /// One-based.
    pub number: usize,
    /// The objective; of perceptrons, the sum of losses.
    pub loss: f64,
    /// Length of the vector of weights.
    pub feature_norm: f64,
    /// Length of the gradient; zero where there is none.
    pub error_norm: f64,
    /// Weights that are not zero.
    pub active: usize,
    /// Step of the line search, or rate.
    pub step: f64,
    /// Evaluations of the objective.
    pub evaluations: usize,
    /// What it took.
    pub seconds: f64,
    /// Share of right items and of right sequences of the held-out data.
    pub holdout: Option<(f64, f64)>,
}

/// Takes what is said of an iteration; returns whether to go on.
pub type Report<'a> = &'a mut dyn FnMut(&Iteration) -> bool;

/// Hands iterations on, with their time and what held-out data say.
pub(crate) struct Log<'a> {
    report: Report<'a>,
    started: Instant,
    features: &'a Features,
    holdout: Option<&'a Data>,
    stop: Stop<'a>,
}

impl Log<'_> {
    /// Whether to go on after `iteration`, which ended with `weights`.
    pub(crate) fn add(&mut self, mut iteration: Iteration, weights: &[f64]) -> Result<bool> {
        iteration.seconds = self.started.elapsed().as_secs_f64();
        iteration.active = weights.iter().filter(|&&weight| weight != 0.0).count();
        if let Some(data) = self.holdout {
            iteration.holdout = Some(accuracy(data, self.features, weights));
        }
        check(self.stop)?;
        let go_on = (self.report)(&iteration);
        self.started = Instant::now();
        Ok(go_on)
    }
}

/// Weights in the places of `features` that fit `data`, from those in `weights`.
///
/// Returns as soon as `report` says so, with the weights so far.
pub fn train(
    data: &Data,
    holdout: Option<&Data>,
    features: &Features,
    weights: Vec<f64>,
    options: &Options,
    report: Report<'_>,
    stop: Stop<'_>,
) -> Result<Vec<f64>> {
    if data.num_items() == 0 {
        return Err(Error::value("crf_train", "x", "expected at least one item, got none"));
    }
    let log = Log { report, started: Instant::now(), features, holdout, stop };
    match options.algorithm {
        Algorithm::Lbfgs => lbfgs::train(data, features, weights, options, log, stop),
        Algorithm::L2Sgd => sgd::train(data, features, weights, options, log, stop),
        _ => online::train(data, features, weights, options, log, stop),
    }
}

/// Share of items and of sequences whose labels are found; labels beyond the model's are wrong.
pub(crate) fn accuracy(data: &Data, features: &Features, weights: &[f64]) -> (f64, f64) {
    const TASK: usize = 64;
    let transitions = Transitions::new(features.labels(), &weights[features.square()..]);
    let cost = data.num_values() * 10;
    let parts = threads::map(data.len().div_ceil(TASK), cost, |task| {
        let range = task * TASK..((task + 1) * TASK).min(data.len());
        let mut states = vec![0.0; data.longest(range.clone()) * transitions.width()];
        let mut best = Best::default();
        let (mut items, mut sequences) = (0, 0);
        for i in range {
            let at = data.sequence(i);
            let mut labels = vec![0; at.len()];
            gather(&Whole { data, features }, data, features, weights, at.clone(), &mut states);
            best.find(&states, &transitions, &mut labels);
            let right = labels.iter().zip(&data.labels()[at]).filter(|(a, b)| a == b).count();
            items += right;
            sequences += usize::from(right == labels.len());
        }
        (items, sequences)
    });
    let (items, sequences) =
        parts.iter().fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
    let share = |part: usize, whole: usize| part as f64 / whole.max(1) as f64;
    (share(items, data.num_items()), share(sequences, data.len()))
}

/// Random numbers for the order of sequences: xorshift, Marsaglia 2003.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = ((u128::from(self.next()) * (i as u128 + 1)) >> 64) as usize;
            items.swap(i, j);
        }
    }
}
