//! What the probabilities of a back-off model sum to, and weights that make it one.

use super::kneser_ney::LOG_ZERO;
use super::trie::Level;
use super::{BEGIN, Model, SPECIAL, Stop, check};
use crate::Result;

/// Probability that is no more than rounding.
const NOTHING: f64 = 1e-9;
/// Nodes handled between two looks at whether to stop.
const BETWEEN_CHECKS: usize = 1 << 16;

/// What the probabilities of all words after each context sum to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sums {
    /// Contexts that something follows, and the empty one.
    pub contexts: usize,
    /// Those whose sum is not one.
    pub wrong: usize,
    /// Sum and words of those furthest from one, the furthest first.
    pub worst: Vec<(f64, Vec<u32>)>,
}

impl Model {
    /// The sums after all contexts; those that are not within `tolerance` of one are wrong.
    ///
    /// s(h) = sum_w p(h w) + b(h) (s(h') - sum_w p(h' w)) over the words w seen after h
    pub fn sums(&self, tolerance: f64, most: usize, stop: Stop<'_>) -> Result<Sums> {
        let empty = self.empty_sum();
        let mut found = Sums::default();
        found.add(empty, tolerance, most, Vec::new);
        let mut shorter = Vec::new();
        for index in 0..self.order() - 1 {
            let (level, next) = (&self.levels[index], &self.levels[index + 1]);
            let mut sums = Vec::with_capacity(level.nodes());
            for node in 0..level.nodes() {
                check_at(node, stop)?;
                let children = level.children(node as u32);
                let below = match index {
                    0 => empty,
                    _ => shorter[level.suffix[node] as usize],
                };
                let (mut own, mut others) = (0.0, below);
                for child in children.clone() {
                    own += power(next.prob(child));
                    others -= power(level.prob(next.suffix[child] as usize));
                }
                sums.push(own + power(level.backoff(node)) * others);
                if !children.is_empty() {
                    let words = || self.words_of(index + 1, node as u32);
                    found.add(sums[node], tolerance, most, words);
                }
            }
            shorter = sums;
        }
        Ok(found)
    }

    /// Sum of the probabilities of single words.
    fn empty_sum(&self) -> f64 {
        let first = &self.levels[0];
        let closed = self.vocabulary.is_numbers();
        let words = if closed { SPECIAL.len() } else { 0 }..first.nodes();
        words.filter(|&word| word != BEGIN as usize).map(|word| power(first.prob(word))).sum()
    }

    /// The words of n-gram `node`.
    pub(super) fn words_of(&self, length: usize, node: u32) -> Vec<u32> {
        let path = self.path(length, node);
        let word = |(depth, &node): (usize, &u32)| match depth {
            0 => node,
            _ => self.levels[depth].words[node as usize],
        };
        path.iter().enumerate().map(word).collect()
    }
}

impl Sums {
    fn add(&mut self, sum: f64, tolerance: f64, most: usize, words: impl Fn() -> Vec<u32>) {
        self.contexts += 1;
        let error = |sum: f64| if sum.is_nan() { f64::INFINITY } else { (sum - 1.0).abs() };
        if error(sum) <= tolerance {
            return;
        }
        self.wrong += 1;
        let at = self.worst.partition_point(|&(other, _)| error(other) >= error(sum));
        if at < most {
            self.worst.insert(at, (sum, words()));
            self.worst.truncate(most);
        }
    }
}

/// Asks once in a while, as `at` goes up one by one.
pub(super) fn check_at(at: usize, stop: Stop<'_>) -> Result<()> {
    if at.is_multiple_of(BETWEEN_CHECKS) { check(stop) } else { Ok(()) }
}

/// The number of which this is the logarithm to base 10.
pub(super) fn power(log: f64) -> f64 {
    10f64.powf(log)
}

/// Gives every context the back-off weight with which its sum is one, and nodes that are no n-grams
/// of the model the probability that backing off yields.
pub(super) fn normalise(levels: &mut [Level], stop: Stop<'_>) -> Result<()> {
    for index in 0..levels.len() - 1 {
        let (lower, upper) = levels.split_at_mut(index + 1);
        let (level, next) = (&mut lower[index], &mut upper[0]);
        let mut blank = next.blank.as_slice();
        let mut backoff = vec![0.0f32; level.nodes()];
        for (node, backoff) in backoff.iter_mut().enumerate() {
            check_at(node, stop)?;
            let children = level.children(node as u32);
            let (mut left, mut others) = (1.0, 1.0);
            let blanks = blank.partition_point(|&child| (child as usize) < children.end);
            let (own_blank, rest) = blank.split_at(blanks);
            blank = rest;
            for child in children.clone() {
                if own_blank.binary_search(&(child as u32)).is_err() {
                    left -= power(next.prob(child));
                    others -= power(level.prob(next.suffix[child] as usize));
                }
            }
            if !children.is_empty() {
                *backoff = match (left > 0.0, others > NOTHING) {
                    (true, true) => (left / others).log10() as f32,
                    (false, true) => LOG_ZERO,
                    (_, false) => 0.0,
                };
            }
            for &child in own_blank {
                let lower = level.prob(next.suffix[child as usize] as usize);
                next.prob[child as usize] = *backoff + lower as f32;
            }
        }
        level.backoff = backoff.into();
    }
    Ok(())
}
