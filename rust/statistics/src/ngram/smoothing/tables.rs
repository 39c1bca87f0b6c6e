//! Back-off tables from what contexts keep and leave.

use super::super::kneser_ney::{LOG_ZERO, Options, base, close};
use super::super::trie::{BETWEEN_CHECKS, BLOCK, Exact, Level};
use super::super::{BEGIN, Stop, check};
use super::Rule;
use crate::Result;
use crate::threads;

/// Probability after the shorter context that is no more than rounding.
const NOTHING: f64 = 1e-12;

/// Where what is left goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Form {
    /// To all words, as the shorter context has them.
    Interpolated,
    /// To the words not seen after the context, as the shorter context has them.
    BackOff,
    /// Nothing is left; words not seen get this much of what they have after the shorter context.
    Constant(f64),
}

/// Logarithm to base 10.
pub(super) fn log10(x: f64) -> f64 {
    if x > 0.0 { x.log10() } else { f64::from(LOG_ZERO) }
}

/// Writes the numbers of a level, in double precision too if `precise`.
pub(super) fn store(level: &mut Level, prob: &[f64], precise: bool) {
    let mut logs: Vec<f64> = prob.iter().map(|&prob| log10(prob)).collect();
    if level.words.is_empty() && logs.len() > BEGIN as usize {
        // KenLM's convention: `<s>` is given, which has probability one.
        logs[BEGIN as usize] = 0.0;
    }
    let contexts = if level.children.is_empty() { 0 } else { prob.len() };
    level.prob = logs.iter().map(|&log| log as f32).collect();
    level.backoff = vec![0.0; contexts].into();
    level.exact = precise.then(|| Box::new(Exact { prob: logs, backoff: vec![0.0; contexts] }));
}

/// Writes the back-off weight of `node`.
pub(super) fn store_backoff(level: &mut Level, node: usize, weight: f64) {
    let log = log10(weight);
    level.backoff[node] = log as f32;
    if let Some(exact) = &mut level.exact {
        exact.backoff[node] = log;
    }
}

/// Fills the level of single words; their probabilities.
pub(super) fn unigrams(
    level: &mut Level,
    counts: &[u32],
    rule: &Rule,
    form: Form,
    options: &Options,
) -> Vec<f64> {
    let (base, unseen) = base(counts, options);
    let mut prob = Vec::new();
    let mut left = match (form, options.discount_unigrams) {
        (Form::Constant(_), _) | (_, false) => Rule::Worth(vec![0.0]).share(counts, &mut prob),
        _ => rule.share(counts, &mut prob),
    };
    if form == Form::BackOff && options.discount_unigrams {
        left = at_least(left, counts, &mut prob);
    }
    match base.iter().all(|&base| base == 0.0) {
        // Nobody else is there to leave anything to.
        true => prob.iter_mut().for_each(|prob| *prob /= 1.0 - left),
        false => prob.iter_mut().zip(&base).for_each(|(prob, base)| *prob += left * base),
    }
    close(level, unseen, options, counts);
    store(level, &prob, options.precise);
    prob
}

/// Fills the probabilities of `level` and the back-off weights of `contexts`, the level below;
/// `lower` are the probabilities of that one.
#[allow(clippy::too_many_arguments, reason = "two levels and what is known of each")]
pub(super) fn higher(
    contexts: &mut Level,
    level: &mut Level,
    counts: &[u32],
    rule: &Rule,
    form: Form,
    lower: &[f64],
    options: &Options,
    stop: Stop<'_>,
) -> Result<Vec<f64>> {
    let nodes = contexts.nodes();
    let mut prob = Vec::with_capacity(counts.len());
    for start in (0..nodes).step_by(BETWEEN_CHECKS) {
        check(stop)?;
        let end = (start + BETWEEN_CHECKS).min(nodes);
        let below = &*contexts;
        let cost = (below.children[end] - below.children[start]) as usize * 20;
        let blocks = threads::map((end - start).div_ceil(BLOCK), cost, |block| {
            let from = start + block * BLOCK;
            let mut own = Vec::new();
            let (mut all, mut weights) = (Vec::new(), Vec::new());
            for context in from..(from + BLOCK).min(end) {
                let children = below.children(context as u32);
                if children.is_empty() {
                    weights.push(1.0);
                    continue;
                }
                let left = rule.share(&counts[children.clone()], &mut own);
                let lower = level.suffix[children.clone()].iter().map(|&node| lower[node as usize]);
                weights.push(spread(form, left, &counts[children], &mut own, lower));
                all.extend_from_slice(&own);
            }
            (all, weights)
        });
        let mut node = start;
        for (all, weights) in blocks {
            prob.extend_from_slice(&all);
            for weight in weights {
                store_backoff(contexts, node, weight);
                node += 1;
            }
        }
    }
    store(level, &prob, options.precise);
    Ok(prob)
}

/// Makes the probabilities of a context's words of what they keep; the back-off weight.
fn spread(
    form: Form,
    left: f64,
    counts: &[u32],
    kept: &mut [f64],
    lower: impl Iterator<Item = f64>,
) -> f64 {
    match form {
        Form::Interpolated => {
            kept.iter_mut().zip(lower).for_each(|(kept, lower)| *kept += left * lower);
            left
        }
        Form::BackOff => {
            let others = 1.0 - lower.sum::<f64>();
            if others < NOTHING {
                // Every word was seen: there is nobody to leave anything to.
                kept.iter_mut().for_each(|kept| *kept /= 1.0 - left);
                return 0.0;
            }
            at_least(left, counts, kept) / others
        }
        Form::Constant(weight) => weight,
    }
}

/// `left`, or where no count was discounted the share of one more event, which all others pay.
fn at_least(left: f64, counts: &[u32], kept: &mut [f64]) -> f64 {
    if left > NOTHING {
        return left;
    }
    let total: f64 = counts.iter().map(|&count| f64::from(count)).sum();
    kept.iter_mut().for_each(|kept| *kept *= total / (total + 1.0));
    1.0 / (total + 1.0)
}
