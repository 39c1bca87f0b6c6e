//! Limited-memory BFGS, and its orthant-wise form for weights with a penalty on their absolute
//! values.
//!
//! The direction is a combination of the gradient and of the last steps s and changes y of the
//! gradient, found from their inner products alone, so that each is read twice an iteration.
//! References: Nocedal & Wright, Numerical Optimization, 2006, chapters 3 and 7; Chen et al.,
//! Large-scale L-BFGS using MapReduce, 2014 (inner products); Andrew & Gao, Scalable Training of
//! L1-Regularized Log-Linear Models, 2007.

use std::collections::VecDeque;

use super::objective::Objective;
use super::train::{Iteration, Log, Options};
use super::vectors::{combine, dots, each, many_dots, sum};
use super::{Data, Features, Stop};
use crate::{Error, Result};

/// Share of the promised decrease that a step must reach.
const DECREASE: f64 = 1e-4;
/// Share of the first slope that may be left.
const SLOPE: f64 = 0.9;

/// A step and the change of the gradient over it.
struct Pair {
    s: Vec<f64>,
    y: Vec<f64>,
}

/// The last pairs and their inner products.
struct Memory {
    most: usize,
    pairs: VecDeque<Pair>,
    /// s_i y_j.
    sy: VecDeque<VecDeque<f64>>,
    /// y_i y_j.
    yy: VecDeque<VecDeque<f64>>,
}

impl Memory {
    fn new(most: usize) -> Self {
        Self { most, pairs: VecDeque::new(), sy: VecDeque::new(), yy: VecDeque::new() }
    }

    /// Vectors of a forgotten pair, to be written over; new ones where all are remembered.
    fn take(&mut self, len: usize) -> Pair {
        if self.pairs.len() < self.most {
            return Pair { s: vec![0.0; len], y: vec![0.0; len] };
        }
        for table in [&mut self.sy, &mut self.yy] {
            table.pop_front();
            for row in table.iter_mut() {
                row.pop_front();
            }
        }
        self.pairs.pop_front().expect("as many pairs as remembered")
    }

    /// Remembers a pair; one along which the gradient does not rise says nothing.
    fn add(&mut self, pair: Pair) {
        let mut wanted: Vec<(&[f64], &[f64])> = Vec::new();
        for other in &self.pairs {
            wanted.extend([
                (&other.s[..], &pair.y[..]),
                (&pair.s[..], &other.y[..]),
                (&pair.y[..], &other.y[..]),
            ]);
        }
        wanted.extend([(&pair.s[..], &pair.y[..]), (&pair.y[..], &pair.y[..])]);
        let found = many_dots(&wanted);
        let count = self.pairs.len();
        let (sy, yy) = (found[3 * count], found[3 * count + 1]);
        if sy.partial_cmp(&0.0) != Some(std::cmp::Ordering::Greater) {
            return;
        }
        let (mut sy_row, mut yy_row) = (VecDeque::new(), VecDeque::new());
        for (i, three) in found[..3 * count].chunks(3).enumerate() {
            self.sy[i].push_back(three[0]);
            sy_row.push_back(three[1]);
            self.yy[i].push_back(three[2]);
            yy_row.push_back(three[2]);
        }
        sy_row.push_back(sy);
        yy_row.push_back(yy);
        self.sy.push_back(sy_row);
        self.yy.push_back(yy_row);
        self.pairs.push_back(pair);
    }

    /// Writes minus the inverse Hessian times the gradient.
    fn direction(&self, gradient: &[f64], direction: &mut [f64]) {
        let count = self.pairs.len();
        let mut wanted: Vec<(&[f64], &[f64])> = Vec::new();
        for pair in &self.pairs {
            wanted.extend([(&pair.s[..], gradient), (&pair.y[..], gradient)]);
        }
        let found = many_dots(&wanted);
        let (sg, yg) = (|i: usize| found[2 * i], |i: usize| found[2 * i + 1]);
        let (sy, yy) = (&self.sy, &self.yy);
        let (mut of_s, mut of_y) = (vec![0.0; count], vec![0.0; count]);
        let mut alphas = vec![0.0; count];
        for i in (0..count).rev() {
            let product = sg(i) + (0..count).map(|j| of_y[j] * sy[i][j]).sum::<f64>();
            alphas[i] = product / sy[i][i];
            of_y[i] -= alphas[i];
        }
        let scale = count.checked_sub(1).map_or(1.0, |last| sy[last][last] / yy[last][last]);
        of_y.iter_mut().for_each(|factor| *factor *= scale);
        for i in 0..count {
            let of_others = |j: usize| of_y[j] * yy[i][j] + of_s[j] * sy[j][i];
            let product = scale * yg(i) + (0..count).map(of_others).sum::<f64>();
            of_s[i] += alphas[i] - product / sy[i][i];
        }
        let mut terms = vec![(-scale, gradient)];
        for (i, pair) in self.pairs.iter().enumerate() {
            terms.extend([(-of_s[i], &pair.s[..]), (-of_y[i], &pair.y[..])]);
        }
        combine(&terms, direction);
    }
}

/// A point with the objective and its gradient there.
struct Point {
    x: Vec<f64>,
    gradient: Vec<f64>,
    /// With both penalties.
    loss: f64,
}

/// What is minimised.
struct Problem<'a> {
    objective: Objective<'a>,
    c1: f64,
    max_linesearch: usize,
    stop: Stop<'a>,
}

impl Problem<'_> {
    fn evaluate(&self, point: &mut Point) -> Result<()> {
        point.loss = self.objective.evaluate(&point.x, &mut point.gradient, self.stop)?;
        if self.c1 > 0.0 {
            point.loss += self.c1 * sum(point.x.len(), |i| point.x[i].abs());
        }
        Ok(())
    }

    /// The derivative along each weight in which the objective falls; zero where it rises both ways.
    fn pseudo_gradient(&self, point: &Point, out: &mut [f64]) {
        let c1 = self.c1;
        each(out, |i| {
            let (x, g) = (point.x[i], point.gradient[i]);
            if x != 0.0 {
                g + c1.copysign(x)
            } else if g < -c1 {
                g + c1
            } else if g > c1 {
                g - c1
            } else {
                0.0
            }
        });
    }

    /// Finds a step along `direction` from `from` that does well enough; `to` gets what it leads to.
    /// The step and the number of evaluations; `None` where there is none.
    fn search(
        &self,
        from: &Point,
        direction: &[f64],
        slope: f64,
        first: f64,
        to: &mut Point,
    ) -> Result<(Option<f64>, usize)> {
        // Ends of the interval: place, objective, slope.
        let mut low = (0.0, from.loss, slope);
        let mut high: Option<(f64, f64, f64)> = None;
        let mut step = first;
        for tried in 1..=self.max_linesearch {
            combine(&[(1.0, &from.x), (step, direction)], &mut to.x);
            self.evaluate(to)?;
            let [here] = dots([(&to.gradient, direction)]);
            let enough = to.loss <= from.loss + DECREASE * step * slope;
            if !enough || (low.0 > 0.0 && to.loss >= low.1) {
                high = Some((step, to.loss, here));
            } else if here.abs() <= SLOPE * slope.abs() {
                return Ok((Some(step), tried));
            } else {
                if here * high.map_or(1.0, |high| high.0 - low.0) >= 0.0 {
                    high = Some(low);
                }
                low = (step, to.loss, here);
            }
            step = match high {
                None => minimum((0.0, from.loss, slope), low).clamp(2.0 * step, 4.0 * step),
                Some(high) => {
                    let width = high.0 - low.0;
                    let share = (minimum(low, high) - low.0) / width;
                    let share = if share.is_finite() { share.clamp(0.1, 0.9) } else { 0.5 };
                    low.0 + share * width
                }
            };
        }
        if low.0 == 0.0 {
            return Ok((None, self.max_linesearch));
        }
        combine(&[(1.0, &from.x), (low.0, direction)], &mut to.x);
        self.evaluate(to)?;
        Ok((Some(low.0), self.max_linesearch + 1))
    }

    /// The same by halving, where weights may not change their sign.
    fn search_orthant(
        &self,
        from: &Point,
        direction: &[f64],
        pseudo: &[f64],
        first: f64,
        to: &mut Point,
    ) -> Result<(Option<f64>, usize)> {
        let mut step = first;
        for tried in 1..=self.max_linesearch {
            each(&mut to.x, |i| {
                let x = from.x[i];
                let side = if x != 0.0 { x } else { -pseudo[i] };
                let moved = x + step * direction[i];
                if moved * side > 0.0 { moved } else { 0.0 }
            });
            self.evaluate(to)?;
            let promised = sum(to.x.len(), |i| (to.x[i] - from.x[i]) * pseudo[i]);
            if to.loss <= from.loss + DECREASE * promised {
                return Ok((Some(step), tried));
            }
            step *= 0.5;
        }
        Ok((None, self.max_linesearch))
    }
}

/// Where the cubic through two points with their slopes is least.
fn minimum(a: (f64, f64, f64), b: (f64, f64, f64)) -> f64 {
    let theta = a.2 + b.2 - 3.0 * (a.1 - b.1) / (a.0 - b.0);
    let gamma = (theta * theta - a.2 * b.2).max(0.0).sqrt() * (b.0 - a.0).signum();
    b.0 - (b.0 - a.0) * (b.2 + gamma - theta) / (b.2 - a.2 + 2.0 * gamma)
}

/// Trains until the gradient, or the improvement over a period, is small.
pub(crate) fn train(
    data: &Data,
    features: &Features,
    weights: Vec<f64>,
    options: &Options,
    mut log: Log<'_>,
    stop: Stop<'_>,
) -> Result<Vec<f64>> {
    let len = features.len();
    let objective = Objective::new(data, features, options.c2);
    let max_linesearch = options.max_linesearch.max(1);
    let problem = Problem { objective, c1: options.c1, max_linesearch, stop };
    let orthant = options.c1 > 0.0;
    let mut now = Point { x: weights, gradient: vec![0.0; len], loss: 0.0 };
    let mut next = Point { x: vec![0.0; len], gradient: vec![0.0; len], loss: 0.0 };
    problem.evaluate(&mut now)?;
    if !now.loss.is_finite() {
        return Err(Error::value("crf_train", "x", "the objective is not a finite number"));
    }
    let mut memory = Memory::new(options.num_memories.max(1));
    let mut past = vec![now.loss; options.period.max(1)];
    let mut pseudo = vec![0.0; if orthant { len } else { 0 }];
    let mut direction = vec![0.0; len];
    for number in 1..=options.max_iterations {
        if orthant {
            problem.pseudo_gradient(&now, &mut pseudo);
        }
        let gradient = if orthant { &pseudo } else { &now.gradient };
        let [norm, size] = dots([(gradient, gradient), (&now.x, &now.x)]);
        if norm.sqrt() <= options.epsilon * size.sqrt().max(1.0) {
            break;
        }
        memory.direction(gradient, &mut direction);
        if orthant {
            let raw = std::mem::take(&mut direction);
            direction = vec![0.0; len];
            each(&mut direction, |i| if raw[i] * gradient[i] < 0.0 { raw[i] } else { 0.0 });
        }
        let [slope] = dots([(&direction, gradient)]);
        let first = if memory.pairs.is_empty() { 1.0 / norm.sqrt() } else { 1.0 };
        let (step, evaluations) = if orthant {
            problem.search_orthant(&now, &direction, &pseudo, first, &mut next)?
        } else {
            problem.search(&now, &direction, slope, first, &mut next)?
        };
        let Some(step) = step else {
            if memory.pairs.is_empty() {
                break;
            }
            // What is remembered misleads; the gradient alone does not.
            memory = Memory::new(memory.most);
            continue;
        };
        let mut pair = memory.take(len);
        combine(&[(1.0, &next.x), (-1.0, &now.x)], &mut pair.s);
        combine(&[(1.0, &next.gradient), (-1.0, &now.gradient)], &mut pair.y);
        memory.add(pair);
        std::mem::swap(&mut now, &mut next);
        let shown = if orthant {
            problem.pseudo_gradient(&now, &mut pseudo);
            &pseudo
        } else {
            &now.gradient
        };
        let [error, norm] = dots([(shown, shown), (&now.x, &now.x)]);
        let iteration = Iteration {
            number,
            loss: now.loss,
            feature_norm: norm.sqrt(),
            error_norm: error.sqrt(),
            step,
            evaluations,
            ..Iteration::default()
        };
        if !log.add(iteration, &now.x)? {
            break;
        }
        let slot = number % past.len();
        if options.period > 0
            && number >= options.period
            && past[slot] - now.loss < options.delta * now.loss.abs()
        {
            break;
        }
        past[slot] = now.loss;
    }
    Ok(now.x)
}
