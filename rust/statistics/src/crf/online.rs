//! Perceptrons: the best labelling is found with the weights so far, and where it is wrong the
//! weights move towards the right one and away from it.
//!
//! With d the difference between the features of the right labelling and of the best one:
//!   averaged perceptron: w += d
//!   passive aggressive:  w += tau d,   tau = cost / |d|^2, at most C, or over |d|^2 + 1 / 2C
//!   AROW: w += alpha S d,   alpha = cost / (d S d + gamma),   S a variance for each weight
//! References: Collins, Discriminative Training Methods for Hidden Markov Models, 2002; Crammer et
//! al., Online Passive-Aggressive Algorithms, 2006; Mejer & Crammer, Confidence in Structured
//! Prediction using Confidence-Weighted Models, 2010.

use super::features::{Whole, gather};
use super::lattice::Transitions;
use super::train::{Algorithm, Iteration, Log, Options, Random};
use super::vectors::sum;
use super::viterbi::Best;
use super::{Data, Features, Stop, check};
use crate::Result;

/// Items between two looks at whether to stop.
const PATIENCE: usize = 2048;

/// A sparse difference of features.
struct Difference {
    /// Value in each place, zero outside `places`.
    values: Vec<f64>,
    /// Places that were touched, perhaps more than once.
    places: Vec<usize>,
}

impl Difference {
    fn add(&mut self, place: usize, value: f64) {
        self.places.push(place);
        self.values[place] += value;
    }

    /// Adds `sign` times the features of labels of the items of a sequence.
    fn add_labelling(
        &mut self,
        data: &Data,
        features: &Features,
        start: usize,
        labels: &[u32],
        others: &[u32],
        sign: f64,
    ) {
        let count = features.labels();
        for (t, (&label, &other)) in labels.iter().zip(others).enumerate() {
            if label != other {
                for i in data.item(start + t) {
                    let attribute = data.attributes()[i] as usize;
                    if let Some(place) = features.place(attribute, label as u16) {
                        self.add(place, sign * data.value(i));
                    }
                }
            }
            if t > 0 && (label != other || labels[t - 1] != others[t - 1]) {
                let pair = labels[t - 1] as usize * count + label as usize;
                if features.transitions()[pair] {
                    self.add(features.square() + pair, sign);
                }
            }
        }
    }

    /// Calls `run(place, value)` for each value that is not zero, and forgets them.
    fn drain(&mut self, mut run: impl FnMut(usize, f64)) {
        for place in self.places.drain(..) {
            let value = std::mem::take(&mut self.values[place]);
            if value != 0.0 {
                run(place, value);
            }
        }
    }

    /// The sum of `run(place, value)` over values that are not zero.
    fn sum(&mut self, run: impl Fn(usize, f64) -> f64) -> f64 {
        self.places.sort_unstable();
        self.places.dedup();
        self.places.iter().map(|&place| run(place, self.values[place])).sum()
    }
}

struct Learner<'a> {
    options: &'a Options,
    weights: Vec<f64>,
    /// Changes times the step at which they came, for the average.
    weighted: Vec<f64>,
    /// AROW: variances.
    variances: Vec<f64>,
    difference: Difference,
    clock: f64,
}

impl Learner<'_> {
    fn averages(&self) -> bool {
        match self.options.algorithm {
            Algorithm::Perceptron => true,
            Algorithm::PassiveAggressive => self.options.averaging,
            _ => false,
        }
    }

    /// Moves the weights along the difference; what the mistake cost.
    fn update(&mut self, margin: f64, wrong: f64) -> f64 {
        let options = self.options;
        let Self { weights, weighted, variances, difference, clock, .. } = self;
        if options.algorithm == Algorithm::Arow {
            let cost = margin + wrong;
            let spread = difference.sum(|place, value| value * value * variances[place]);
            let alpha = cost / (spread + options.gamma);
            difference.drain(|place, value| {
                weights[place] += alpha * variances[place] * value;
                let gained = value * value / options.gamma;
                variances[place] /= 1.0 + variances[place] * gained;
            });
            return cost;
        }
        let (tau, cost) = if options.algorithm == Algorithm::Perceptron {
            (1.0, 1.0)
        } else {
            let cost = margin + if options.error_sensitive { wrong.sqrt() } else { 1.0 };
            let norm = difference.sum(|_, value| value * value);
            let tau = match options.pa_type {
                0 => cost / norm,
                1 => (cost / norm).min(options.c),
                _ => cost / (norm + 0.5 / options.c),
            };
            (if norm > 0.0 { tau } else { 0.0 }, cost)
        };
        difference.drain(|place, value| {
            weights[place] += tau * value;
            weighted[place] += *clock * tau * value;
        });
        cost
    }

    /// The weights to be used: the mean of those so far where the algorithm says so.
    fn result(&self) -> Vec<f64> {
        if !self.averages() {
            return self.weights.clone();
        }
        let pairs = self.weights.iter().zip(&self.weighted);
        pairs.map(|(weight, weighted)| weight - weighted / self.clock).collect()
    }
}

/// Trains until the mean loss is small.
pub(crate) fn train(
    data: &Data,
    features: &Features,
    weights: Vec<f64>,
    options: &Options,
    mut log: Log<'_>,
    stop: Stop<'_>,
) -> Result<Vec<f64>> {
    let len = features.len();
    let arow = options.algorithm == Algorithm::Arow;
    let mut learner = Learner {
        options,
        weights,
        weighted: vec![0.0; len],
        variances: if arow { vec![options.variance; len] } else { Vec::new() },
        difference: Difference { values: vec![0.0; len], places: Vec::new() },
        clock: 1.0,
    };
    let mut random = Random::new(options.seed);
    let mut order: Vec<u32> = (0..data.len() as u32).collect();
    let square = features.square();
    let mut transitions = Transitions::new(features.labels(), &learner.weights[square..]);
    let mut states = vec![0.0; data.longest(0..data.len()) * transitions.width()];
    let mut best = Best::default();
    let (mut found, mut patience) = (Vec::new(), 0);
    let mut result = learner.weights.clone();
    for number in 1..=options.max_iterations {
        random.shuffle(&mut order);
        let mut loss = 0.0;
        for &i in &order {
            let items = data.sequence(i as usize);
            patience += items.len();
            if patience > PATIENCE {
                patience = 0;
                check(stop)?;
            }
            let truth = &data.labels()[items.clone()];
            found.resize(items.len(), 0);
            let rows = Whole { data, features };
            gather(&rows, data, features, &learner.weights, items.clone(), &mut states);
            let score = best.find(&states, &transitions, &mut found);
            let wrong = truth.iter().zip(&found).filter(|(a, b)| a != b).count();
            if wrong > 0 {
                let margin = score - transitions.score(&states, truth);
                let difference = &mut learner.difference;
                difference.add_labelling(data, features, items.start, truth, &found, 1.0);
                difference.add_labelling(data, features, items.start, &found, truth, -1.0);
                let share = wrong as f64 / items.len() as f64;
                let perceptron = options.algorithm == Algorithm::Perceptron;
                let cost = learner.update(margin, wrong as f64);
                loss += if perceptron { share } else { cost };
                transitions.set(&learner.weights[square..]);
            }
            learner.clock += 1.0;
        }
        result = learner.result();
        let norm = sum(len, |i| result[i] * result[i]).sqrt();
        let iteration = Iteration { number, loss, feature_norm: norm, ..Iteration::default() };
        if !log.add(iteration, &result)? || loss / data.len() as f64 <= options.epsilon {
            break;
        }
    }
    Ok(result)
}
