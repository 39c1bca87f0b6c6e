//! Jelinek-Mercer smoothing: interpolation with weights fitted on held-out text.
//!
//! p(w | h) = lambda(h) c(h w) / c(h) + (1 - lambda(h)) p(w | h'), lambda depending on the order alone
//! or also on the logarithm of c(h). The weights of the highest likelihood are found by expectation
//! and maximisation. Reference: Jelinek & Mercer, Interpolated estimation of Markov source parameters
//! from sparse data, 1980.

use super::super::kneser_ney::{Options, base};
use super::super::normalise::check_at;
use super::super::trie::Level;
use super::super::{BEGIN, Stop};
use super::OP;
use crate::{Error, Result};

/// Classes of the counts of contexts: 1, 2-3, 4-7, ..., 2^15 and more.
const BUCKETS: usize = 16;
/// Rounds at most.
const ROUNDS: usize = 200;
/// Change of every weight below which the rounds end.
const CONVERGED: f64 = 1e-7;
/// Most that a context keeps: something is always left for what was never seen.
const MOST: f64 = 1.0 - 1e-6;

/// Where the weights come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Weights {
    /// One for each order.
    Given(Vec<f64>),
    /// They are fitted.
    HeldOut {
        /// Sentences of ids, each after a [`BEGIN`].
        tokens: Vec<u32>,
        /// Whether they depend on the count of the context.
        bucketed: bool,
    },
}

/// Class of a context with this count, of so many.
pub(super) fn bucket(count: f64, buckets: usize) -> usize {
    (count.max(1.0).log2() as usize).min(buckets - 1)
}

/// What a token of the held-out text has of each order whose context was seen.
struct Event {
    /// Its share in what single words leave.
    base: f64,
    /// Class of the context and relative frequency, from single words up.
    orders: Vec<(u8, f64)>,
}

/// The weights of each order, of one class or of all.
pub(super) fn weights(
    given: &Weights,
    levels: &[Level],
    counts: &[Vec<u32>],
    options: &Options,
    stop: Stop<'_>,
) -> Result<Vec<Vec<f64>>> {
    let order = levels.len();
    match given {
        Weights::Given(weights) if weights.len() == order => {
            Ok(weights.iter().map(|&weight| vec![weight.clamp(0.0, 1.0)]).collect())
        }
        Weights::Given(weights) => {
            let message = format!("expected {order}, one for each order, got {}", weights.len());
            Err(Error::value(OP, "weights", message))
        }
        Weights::HeldOut { tokens, bucketed } => {
            let words = counts[0].len();
            if let Some(word) = tokens.iter().find(|&&word| word as usize >= words) {
                let message = format!("expected ids below {words}, got {word}");
                return Err(Error::value(OP, "held_out", message));
            }
            let (base, _) = base(&counts[0], options);
            let start = vec![vec![0.5]; order];
            let events = events(tokens, levels, counts, &base, 1, stop)?;
            if events.is_empty() {
                let message = "expected at least one word, got an empty text";
                return Err(Error::value(OP, "held_out", message));
            }
            let plain = fit(&events, start, 0.0, stop)?;
            if !bucketed {
                return Ok(plain);
            }
            let start = plain.iter().map(|weights| vec![weights[0]; BUCKETS]).collect();
            let events = self::events(tokens, levels, counts, &base, BUCKETS, stop)?;
            // Classes with little text stay near the weight of their order.
            fit(&events, start, 1.0, stop)
        }
    }
}

fn fit(
    events: &[Event],
    start: Vec<Vec<f64>>,
    prior: f64,
    stop: Stop<'_>,
) -> Result<Vec<Vec<f64>>> {
    let mut weights = start.clone();
    for _ in 0..ROUNDS {
        let mut kept: Vec<Vec<f64>> = start
            .iter()
            .map(|classes| classes.iter().map(|weight| prior * weight).collect())
            .collect();
        let mut all: Vec<Vec<f64>> =
            start.iter().map(|classes| vec![prior; classes.len()]).collect();
        for (at, event) in events.iter().enumerate() {
            check_at(at, stop)?;
            expect(event, &weights, &mut kept, &mut all);
        }
        let mut change = 0.0f64;
        for ((weights, kept), all) in weights.iter_mut().zip(&kept).zip(&all) {
            for ((weight, kept), all) in weights.iter_mut().zip(kept).zip(all) {
                if *all > 0.0 {
                    let new = (kept / all).min(MOST);
                    change = change.max((new - *weight).abs());
                    *weight = new;
                }
            }
        }
        if change < CONVERGED {
            break;
        }
    }
    Ok(weights)
}

/// Adds how probably each order was where the token came from, and that it was that or a lower one.
fn expect(event: &Event, weights: &[Vec<f64>], kept: &mut [Vec<f64>], all: &mut [Vec<f64>]) {
    let mut prob = [0.0; super::super::MAX_ORDER + 1];
    prob[0] = event.base;
    for (order, &(class, frequency)) in event.orders.iter().enumerate() {
        let weight = weights[order][class as usize];
        prob[order + 1] = weight * frequency + (1.0 - weight) * prob[order];
    }
    let mut reached = 1.0;
    for (order, &(class, frequency)) in event.orders.iter().enumerate().rev() {
        let class = class as usize;
        let here = match prob[order + 1] > 0.0 {
            true => weights[order][class] * frequency / prob[order + 1],
            false => 0.0,
        };
        kept[order][class] += reached * here;
        all[order][class] += reached;
        reached *= 1.0 - here;
    }
}

/// The events of the tokens.
fn events(
    tokens: &[u32],
    levels: &[Level],
    counts: &[Vec<u32>],
    base: &[f64],
    classes: usize,
    stop: Stop<'_>,
) -> Result<Vec<Event>> {
    let total: f64 = counts[0].iter().map(|&count| f64::from(count)).sum();
    let totals: Vec<Vec<f64>> = levels.windows(2).zip(&counts[1..]).map(totals).collect();
    let mut all = Vec::new();
    let mut begin = 0;
    for (at, &word) in tokens.iter().enumerate() {
        check_at(at, stop)?;
        if word == BEGIN {
            begin = at;
            continue;
        }
        let own = f64::from(counts[0][word as usize]);
        let mut orders = vec![(bucket(total, classes) as u8, own / total)];
        for length in 1..levels.len().min(at - begin + 1) {
            let Some(context) = find(levels, &tokens[at - length..at]) else { break };
            let all = totals[length - 1][context as usize];
            if all == 0.0 {
                break;
            }
            let child = child(levels, length, context, word);
            let own = child.map_or(0.0, |node| f64::from(counts[length][node as usize]));
            orders.push((bucket(all, classes) as u8, own / all));
        }
        all.push(Event { base: base[word as usize], orders });
    }
    Ok(all)
}

/// How often each context is followed by something.
fn totals((pair, counts): (&[Level], &Vec<u32>)) -> Vec<f64> {
    let starts = pair[0].children.windows(2);
    let sum = |range: &[u32]| counts[range[0] as usize..range[1] as usize].iter().copied();
    starts.map(|range| sum(range).map(f64::from).sum()).collect()
}

fn find(levels: &[Level], words: &[u32]) -> Option<u32> {
    let (&first, rest) = words.split_first()?;
    let mut node = first;
    for (length, &word) in (1..).zip(rest) {
        node = child(levels, length, node, word)?;
    }
    Some(node)
}

fn child(levels: &[Level], length: usize, node: u32, word: u32) -> Option<u32> {
    let children = levels[length - 1].children(node);
    let at = levels[length].words[children.clone()].binary_search(&word).ok()?;
    Some((children.start + at) as u32)
}
