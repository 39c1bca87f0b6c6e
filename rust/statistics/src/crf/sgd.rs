//! Stochastic gradient descent: with an L2 penalty until it converges, and passes with a rate for
//! each weight over data that arrive bit by bit.
//!
//! With N sequences and lambda = 2 c2 / N the rate at step t is 1 / (lambda (t0 + t)), where t0
//! comes from the rate that does best on a sample. Weights are kept as a vector times a factor, so
//! that the penalty costs one product a step.
//! References: Bottou, Stochastic Gradient Descent Tricks, 2012; Shalev-Shwartz et al., Pegasos,
//! 2007; Duchi et al., Adaptive Subgradient Methods, 2011.

use super::features::{NONE, Whole, gather};
use super::lattice::{Lattice, Transitions};
use super::train::{Iteration, Log, Options, Random};
use super::vectors::sum;
use super::{Data, Features, Stop, check};
use crate::{Error, Result, threads};

/// Items between two looks at whether to stop.
const PATIENCE: usize = 2048;

/// What the sequences of a mini-batch say: -ln p of the labels and its gradient, by item
/// and by pair of labels.
struct Residuals {
    sequence: usize,
    loss: f64,
    states: Vec<f64>,
    transitions: Vec<f64>,
}

fn residuals(
    data: &Data,
    features: &Features,
    weights: &[f64],
    factor: f64,
    transitions: &Transitions,
    sequence: usize,
) -> Residuals {
    let items = data.sequence(sequence);
    let labels = features.labels();
    let mut lattice = Lattice::new(items.len(), labels);
    gather(&Whole { data, features }, data, features, weights, items.clone(), &mut lattice.states);
    if factor != 1.0 {
        // They are sums of weights, so the factor can come after.
        let len = items.len() * transitions.width();
        lattice.states[..len].iter_mut().for_each(|state| *state *= factor);
    }
    let truth = &data.labels()[items.clone()];
    let score = transitions.score(&lattice.states, truth);
    let loss = lattice.sum(items.len(), transitions, true) - score;
    let mut counts = vec![0.0; labels * labels];
    transitions.expected(&lattice, &mut counts);
    for (t, &label) in truth.iter().enumerate() {
        lattice.marginals[t * transitions.width() + label as usize] -= 1.0;
    }
    for pair in truth.windows(2) {
        counts[pair[0] as usize * labels + pair[1] as usize] -= 1.0;
    }
    Residuals { sequence, loss, states: lattice.marginals, transitions: counts }
}

/// The residuals of the sequences `batch` under `factor * weights`, in that order.
fn of_batch(
    data: &Data,
    features: &Features,
    weights: &[f64],
    factor: f64,
    transitions: &Transitions,
    batch: &[u32],
) -> Vec<Residuals> {
    let items: usize = batch.iter().map(|&i| data.sequence(i as usize).len()).sum();
    let cost = items * (200 + features.labels().pow(2));
    threads::map(batch.len(), cost, |i| {
        residuals(data, features, weights, factor, transitions, batch[i] as usize)
    })
}

/// Calls `change(place, gradient)` for each weight that `residuals` bear on.
fn for_each_gradient(
    data: &Data,
    features: &Features,
    residuals: &Residuals,
    mut change: impl FnMut(usize, f64),
) {
    let width = super::features::padded(features.labels());
    let places = features.places();
    for (row, item) in residuals.states.chunks_exact(width).zip(data.sequence(residuals.sequence)) {
        for i in data.item(item) {
            let value = data.value(i);
            for place in features.places_of(data.attributes()[i] as usize) {
                if places[place] != NONE {
                    change(place, value * row[places[place] as usize]);
                }
            }
        }
    }
    let square = features.square();
    for (i, &gradient) in residuals.transitions.iter().enumerate() {
        if features.transitions()[i] {
            change(square + i, gradient);
        }
    }
}

/// Weights as a factor times a vector.
struct Scaled {
    factor: f64,
    weights: Vec<f64>,
}

impl Scaled {
    /// Makes the factor one.
    fn settle(&mut self) {
        let factor = std::mem::replace(&mut self.factor, 1.0);
        self.weights.iter_mut().for_each(|weight| *weight *= factor);
    }
}

struct Descent<'a> {
    data: &'a Data,
    features: &'a Features,
    lambda: f64,
    batch: usize,
    stop: Stop<'a>,
}

impl Descent<'_> {
    /// One pass over the sequences `order` with the clock at `time`, t0 counted; the loss without
    /// its penalty. Infinite where it diverged.
    fn pass(&self, scaled: &mut Scaled, order: &[u32], time: &mut f64) -> Result<f64> {
        let (features, square) = (self.features, self.features.square());
        let mut loss = 0.0;
        let mut patience = 0;
        let mut square_weights = Vec::new();
        for batch in order.chunks(self.batch) {
            patience += batch.iter().map(|&i| self.data.sequence(i as usize).len()).sum::<usize>();
            if patience > PATIENCE {
                patience = 0;
                check(self.stop)?;
            }
            if scaled.factor < 1e-9 {
                scaled.settle();
            }
            square_weights.clear();
            let scale = |weight: &f64| weight * scaled.factor;
            square_weights.extend(scaled.weights[square..].iter().map(scale));
            let transitions = Transitions::new(features.labels(), &square_weights);
            let rate = 1.0 / (self.lambda * *time);
            let (factor, weights) = (scaled.factor, &scaled.weights);
            let found = of_batch(self.data, features, weights, factor, &transitions, batch);
            scaled.factor *= 1.0 - rate * self.lambda;
            if scaled.factor <= 0.0 {
                // The first step with t0 = 0 forgets what was there.
                scaled.factor = 1.0;
                scaled.weights.fill(0.0);
            }
            let gain = rate / (scaled.factor * batch.len() as f64);
            for residuals in &found {
                loss += residuals.loss;
                let weights = &mut scaled.weights;
                for_each_gradient(self.data, features, residuals, |place, gradient| {
                    weights[place] -= gain * gradient;
                });
            }
            if !loss.is_finite() {
                return Ok(f64::INFINITY);
            }
            *time += 1.0;
        }
        Ok(loss)
    }

    /// t0 of the rate that does best on a sample.
    fn calibrate(&self, options: &Options, random: &mut Random) -> Result<f64> {
        let mut order: Vec<u32> = (0..self.data.len() as u32).collect();
        random.shuffle(&mut order);
        order.truncate(options.calibration_samples.max(1));
        let fresh = || Scaled { factor: 1.0, weights: vec![0.0; self.features.len()] };
        let items: usize = order.iter().map(|&i| self.data.sequence(i as usize).len()).sum();
        // Without weights every labelling is as likely as any other.
        let initial = items as f64 * (self.features.labels() as f64).ln();
        let mut eta = options.calibration_eta;
        let (mut best, mut least) = (eta, f64::INFINITY);
        let (mut good, mut rising) = (0, true);
        for _ in 0..options.calibration_max_trials {
            let mut scaled = fresh();
            let mut time = 1.0 / (self.lambda * eta);
            let mut loss = self.pass(&mut scaled, &order, &mut time)?;
            scaled.settle();
            loss += self.penalty(&scaled) * order.len() as f64;
            let fine = loss.is_finite() && loss < initial;
            if fine {
                good += 1;
                if loss < least {
                    (best, least) = (eta, loss);
                }
            }
            if !fine && rising {
                rising = false;
                eta = options.calibration_eta / options.calibration_rate;
            } else if rising {
                eta *= options.calibration_rate;
            } else {
                eta /= options.calibration_rate;
            }
            if good >= options.calibration_candidates {
                break;
            }
        }
        Ok(1.0 / (self.lambda * best))
    }

    /// Penalty for one sequence.
    fn penalty(&self, scaled: &Scaled) -> f64 {
        let weights = &scaled.weights;
        let norm = sum(weights.len(), |i| weights[i] * weights[i]);
        0.5 * self.lambda * norm * scaled.factor * scaled.factor
    }
}

/// Trains until the improvement over a period is small.
pub(crate) fn train(
    data: &Data,
    features: &Features,
    weights: Vec<f64>,
    options: &Options,
    mut log: Log<'_>,
    stop: Stop<'_>,
) -> Result<Vec<f64>> {
    if options.c2 <= 0.0 {
        let message = format!("expected a positive number for l2sgd, got {}", options.c2);
        return Err(Error::value("crf_train", "c2", message));
    }
    let lambda = 2.0 * options.c2 / data.len() as f64;
    let descent = Descent { data, features, lambda, batch: options.batch_size.max(1), stop };
    let mut random = Random::new(options.seed);
    let mut time = descent.calibrate(options, &mut random)?;
    let mut scaled = Scaled { factor: 1.0, weights };
    let mut order: Vec<u32> = (0..data.len() as u32).collect();
    let mut past = vec![f64::INFINITY; options.period.max(1)];
    let mut best = (f64::INFINITY, scaled.weights.clone());
    for number in 1..=options.max_iterations {
        random.shuffle(&mut order);
        let mut loss = descent.pass(&mut scaled, &order, &mut time)?;
        scaled.settle();
        loss += descent.penalty(&scaled) * data.len() as f64;
        if !loss.is_finite() {
            break;
        }
        if loss < best.0 {
            best.0 = loss;
            best.1.copy_from_slice(&scaled.weights);
        }
        let weights = &scaled.weights;
        let norm = sum(weights.len(), |i| weights[i] * weights[i]).sqrt();
        let step = 1.0 / (lambda * time);
        let iteration =
            Iteration { number, loss, feature_norm: norm, step, ..Iteration::default() };
        if !log.add(iteration, weights)? {
            break;
        }
        let slot = number % past.len();
        if options.period > 0
            && number > options.period
            && (past[slot] - loss) / loss.abs() < options.delta
        {
            break;
        }
        past[slot] = loss;
    }
    Ok(best.1)
}

/// One pass in mini-batches, each weight with a rate of its own: `rate / sqrt(squares)`, where
/// `squares` sums up the squared gradients of this weight so far.
///
/// Returns the mean of -ln p of a sequence as each came.
pub fn adapt(
    data: &Data,
    features: &Features,
    weights: &mut [f64],
    squares: &mut [f64],
    rate: f64,
    batch_size: usize,
    stop: Stop<'_>,
) -> Result<f64> {
    let order: Vec<u32> = (0..data.len() as u32).collect();
    let mut loss = 0.0;
    for batch in order.chunks(batch_size.max(1)) {
        check(stop)?;
        let transitions = Transitions::new(features.labels(), &weights[features.square()..]);
        for residuals in of_batch(data, features, weights, 1.0, &transitions, batch) {
            loss += residuals.loss;
            for_each_gradient(data, features, &residuals, |place, gradient| {
                if gradient != 0.0 {
                    squares[place] += gradient * gradient;
                    weights[place] -= rate * gradient / squares[place].sqrt();
                }
            });
        }
        if !loss.is_finite() {
            return Err(Error::value("crf_adapt", "x", "the objective is not a finite number"));
        }
    }
    Ok(loss / data.len().max(1) as f64)
}
