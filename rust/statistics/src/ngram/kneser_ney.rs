//! Interpolated modified Kneser-Ney smoothing.
//!
//! With a(w) the count of an n-gram w_1..w_n, which below the highest order, and unless w_1 is
//! `<s>`, is the number of different words in front of it:
//!
//! p(w_n | w_1..w_n-1) = (a(w) - D(a(w))) / sum_x a(w_1..w_n-1 x) + b(w_1..w_n-1) p(w_n | w_2..w_n-1)
//! b(w_1..w_n-1)       = sum_x D(a(w_1..w_n-1 x)) / sum_x a(w_1..w_n-1 x)
//! D(k)                = k - (k+1) t_1/(t_1 + 2 t_2) t_k+1/t_k  for k = 1, 2 and 3, D(k) = D(3) above,
//!
//! where t_k is the number of n-grams of that order with count k. Single words are interpolated with
//! the uniform distribution over all words but `<s>`, or else `<unk>` takes all that is left over.
//!
//! References: Chen & Goodman, An empirical study of smoothing techniques, 1998; Heafield et al.,
//! Scalable modified Kneser-Ney language model estimation, 2013.
#![allow(unsafe_code)]

use super::keys::with_key;
use super::smoothing::{self, Smoothing};
use super::sort::{self, Windows};
use super::trie::{self, BETWEEN_CHECKS, BLOCK, Level, Shape};
use super::{BEGIN, END, Model, SPECIAL, Stop, UNKNOWN, Vocabulary, check, check_order};
use crate::threads::{self, Shared};
use crate::{Error, Result};

const OP: &str = "ngram_estimate";

/// What a probability of zero is written as.
pub(super) const LOG_ZERO: f32 = -99.0;

/// How to smooth.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Words in the longest n-grams.
    pub order: usize,
    /// Whether single words are interpolated with the uniform distribution.
    pub interpolate_unigrams: bool,
    /// D(1), D(2) and D(3) where the counts do not define them; an error without.
    pub discount_fallback: Option<[f64; 3]>,
    /// Whether the vocabulary is the set of all ids there are, so that those never seen share what
    /// `<unk>` would get. Else the vocabulary is open and `<unk>` stands for all other words.
    pub closed: bool,
    /// The method.
    pub smoothing: Smoothing,
    /// Whether single words give something up: else those never seen have no probability.
    pub discount_unigrams: bool,
    /// Whether the numbers are kept in double precision too, as long as the model is in memory.
    pub precise: bool,
}

impl Default for Options {
    /// Interpolated modified Kneser-Ney smoothing of order 3 over an open vocabulary.
    fn default() -> Self {
        Self {
            order: 3,
            interpolate_unigrams: true,
            discount_fallback: Some([0.5, 1.0, 1.5]),
            closed: false,
            smoothing: Smoothing::ModifiedKneserNey { interpolate: true },
            discount_unigrams: true,
            precise: false,
        }
    }
}

/// What the estimate found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// What counts from 1 up lose, for each order: D(1), D(2) and D(3), or as many as the method has.
    pub discounts: Vec<Vec<f64>>,
    /// Weights of each order, for Jelinek-Mercer smoothing.
    pub weights: Vec<Vec<f64>>,
    /// The orders, and the reason for each, whose discounts are the fallback's.
    pub undefined: Vec<String>,
}

/// Estimates a model from `tokens`: sentences of ids, each after a [`BEGIN`].
pub fn estimate(
    tokens: &[u32],
    vocabulary: Vocabulary,
    options: &Options,
    stop: Stop<'_>,
) -> Result<(Model, Report)> {
    check_order(OP, options.order)?;
    check_tokens(tokens, &vocabulary)?;
    let words = vocabulary.len();
    let layout = sort::layout(OP, tokens, options.order, Windows::Sentences)?;
    let shape = with_key!(layout, K => {
        let sorted = sort::sorted::<K>(tokens, &layout, Windows::Sentences, stop)?;
        trie::build(&sorted, &layout, words, stop)?
    });
    let usual = options.smoothing == Smoothing::ModifiedKneserNey { interpolate: true };
    if !usual || options.precise || !options.discount_unigrams {
        return smoothing::estimate(shape, vocabulary, options, stop);
    }
    let Shape { mut levels, highest, begin } = shape;
    let mut report = Report::default();
    let mut lower = Vec::new();
    let counts = adjusted_counts(&levels, highest, &begin, words, stop)?;
    for (index, counts) in counts.into_iter().enumerate() {
        check(stop)?;
        let discount = discount(index, &counts, options, &mut report)?;
        report.discounts.push(discount.to_vec());
        lower = if index == 0 {
            unigrams(&mut levels[0], &counts, discount, options)
        } else {
            let (below, above) = levels.split_at_mut(index);
            higher(&mut below[index - 1], &mut above[0], &counts, discount, &lower, stop)?
        };
    }
    Ok((Model { vocabulary, levels }, report))
}

fn check_tokens(tokens: &[u32], vocabulary: &Vocabulary) -> Result<()> {
    if tokens.iter().all(|&word| word == BEGIN) {
        return Err(Error::value(OP, "tokens", "expected at least one word, got an empty corpus"));
    }
    if tokens[0] != BEGIN {
        let message = format!("expected <s> first, got id {}", tokens[0]);
        return Err(Error::value(OP, "tokens", message));
    }
    match tokens.iter().find(|&&word| word as usize >= vocabulary.len()) {
        None => Ok(()),
        Some(word) => {
            let message = format!("expected ids below {}, got {word}", vocabulary.len());
            Err(Error::value(OP, "tokens", message))
        }
    }
}

/// The count a(w) of every node of every level.
pub(super) fn adjusted_counts(
    levels: &[Level],
    highest: Vec<u32>,
    begin: &[(usize, Vec<u32>)],
    words: usize,
    stop: Stop<'_>,
) -> Result<Vec<Vec<u32>>> {
    let mut all = Vec::with_capacity(levels.len());
    for (index, (start, raw)) in begin.iter().enumerate() {
        check(stop)?;
        let nodes = if index == 0 { words } else { levels[index].words.len() };
        let mut counts = vec![0; nodes];
        for &suffix in &levels[index + 1].suffix {
            counts[suffix as usize] += 1;
        }
        counts[*start..*start + raw.len()].copy_from_slice(raw);
        all.push(counts);
    }
    all.push(highest);
    // `<s>` is never predicted, so it has no part in the distribution of single words.
    all[0][BEGIN as usize] = 0;
    Ok(all)
}

/// D(1), D(2) and D(3) of the n-grams with these counts.
pub(super) fn discount(
    index: usize,
    counts: &[u32],
    options: &Options,
    report: &mut Report,
) -> Result<[f64; 3]> {
    let mut with_count = [0usize; 5];
    for &count in counts {
        with_count[count.min(5) as usize % 5] += usize::from(count != 0);
    }
    let length = index + 1;
    let reason = match discounts_of(&with_count, length) {
        Ok(discounts) => return Ok(discounts),
        Err(reason) => reason,
    };
    let fallback = options.discount_fallback.ok_or_else(|| {
        let message = format!(
            "the discounts of order {length} are undefined ({reason}); give more text, a lower order \
             or a discount_fallback"
        );
        Error::value(OP, "tokens", message)
    })?;
    // Single ids of a small closed set, such as characters, have no rare ones to estimate from, and
    // hardly any probability is at stake.
    if index > 0 || !options.closed {
        report.undefined.push(format!("order {length} ({reason})"));
    }
    Ok(fallback)
}

fn discounts_of(with_count: &[usize; 5], length: usize) -> std::result::Result<[f64; 3], String> {
    if let Some(count) = (1..=3).find(|&count| with_count[count] == 0) {
        return Err(format!("no {length}-gram has a count of {count}"));
    }
    let t = with_count.map(|n| n as f64);
    let y = t[1] / (t[1] + 2.0 * t[2]);
    let discounts = [1, 2, 3].map(|k| k as f64 - (k + 1) as f64 * y * t[k + 1] / t[k]);
    for (discount, k) in discounts.iter().zip(1..) {
        if !(0.0..=f64::from(k)).contains(discount) {
            return Err(format!("that of count {k} would be {discount:.3}, out of range"));
        }
    }
    Ok(discounts)
}

#[inline(always)]
fn discount_of(discounts: &[f64; 4], count: u32) -> f64 {
    discounts[count.min(3) as usize]
}

fn with_zero(d: [f64; 3]) -> [f64; 4] {
    [0.0, d[0], d[1], d[2]]
}

#[inline(always)]
fn log10(x: f64) -> f32 {
    if x > 0.0 { x.log10() as f32 } else { LOG_ZERO }
}

/// Share of each word in what single words leave, and the words never seen of a closed vocabulary,
/// which share that of `<unk>`. All shares are zero if there is no `<unk>` that could take it.
pub(super) fn base(counts: &[u32], options: &Options) -> (Vec<f64>, Vec<u32>) {
    let special = SPECIAL.len();
    let unseen: Vec<u32> = match options.closed {
        true => {
            (special as u32..counts.len() as u32).filter(|&id| counts[id as usize] == 0).collect()
        }
        false => Vec::new(),
    };
    let has_unknown = !options.closed || !unseen.is_empty();
    let seen = counts.iter().skip(special).filter(|&&count| count > 0).count();
    let mut base = vec![0.0; counts.len()];
    if !options.interpolate_unigrams {
        base[UNKNOWN as usize] = f64::from(u8::from(has_unknown));
    } else {
        let words = if options.closed { seen + usize::from(has_unknown) } else { counts.len() - 1 };
        for (word, base) in base.iter_mut().enumerate() {
            let shares = match word as u32 {
                BEGIN => false,
                UNKNOWN => has_unknown,
                _ => !options.closed || counts[word] > 0,
            };
            *base = if shares { 1.0 / words as f64 } else { 0.0 };
        }
    }
    for &word in &unseen {
        base[word as usize] = base[UNKNOWN as usize] / unseen.len() as f64;
    }
    (base, unseen)
}

/// Marks the words that a closed vocabulary has no estimate of their own for.
pub(super) fn close(level: &mut Level, unseen: Vec<u32>, options: &Options, counts: &[u32]) {
    let has_unknown = !unseen.is_empty();
    level.blank = unseen;
    if options.closed {
        if counts[END as usize] == 0 {
            level.blank.insert(0, END);
        }
        if !has_unknown {
            level.blank.insert(0, UNKNOWN);
        }
    }
}

/// Fills the level of single words; their probabilities.
fn unigrams(level: &mut Level, counts: &[u32], discounts: [f64; 3], options: &Options) -> Vec<f64> {
    let discounts = with_zero(discounts);
    let total: f64 = counts.iter().map(|&count| f64::from(count)).sum();
    let left: f64 = counts.iter().map(|&count| discount_of(&discounts, count)).sum::<f64>() / total;
    let mut prob: Vec<f64> = counts
        .iter()
        .map(|&count| (f64::from(count) - discount_of(&discounts, count)) / total)
        .collect();
    let (base, unseen) = base(counts, options);
    match base.iter().all(|&base| base == 0.0) {
        // Nobody else is there to leave anything to.
        true => prob.iter_mut().for_each(|prob| *prob /= 1.0 - left),
        false => prob.iter_mut().zip(&base).for_each(|(prob, base)| *prob += left * base),
    }
    level.prob = prob.iter().map(|&prob| log10(prob)).collect();
    // KenLM's convention: `<s>` is given, which has probability one.
    level.prob[BEGIN as usize] = 0.0;
    level.backoff = vec![0.0; if level.children.is_empty() { 0 } else { counts.len() }].into();
    close(level, unseen, options, counts);
    prob
}

/// Fills the probabilities of `level` and the back-off weights of `contexts`, the level below;
/// `lower` are the probabilities of that one.
fn higher(
    contexts: &mut Level,
    level: &mut Level,
    counts: &[u32],
    discounts: [f64; 3],
    lower: &[f64],
    stop: Stop<'_>,
) -> Result<Vec<f64>> {
    let discounts = with_zero(discounts);
    let nodes = contexts.nodes();
    let mut prob = vec![0.0; counts.len()];
    level.prob = vec![0.0; counts.len()].into();
    level.backoff = vec![0.0; if level.children.is_empty() { 0 } else { counts.len() }].into();
    let prob_out = Shared::new(&mut prob);
    let log_out = Shared::new(&mut level.prob);
    let mut backoff = std::mem::take(&mut contexts.backoff);
    let contexts_ref = &*contexts;
    let suffix = &level.suffix;
    for start in (0..nodes).step_by(BETWEEN_CHECKS) {
        check(stop)?;
        let end = (start + BETWEEN_CHECKS).min(nodes);
        let group = &mut backoff[start..end];
        let items = contexts_ref.children[end] - contexts_ref.children[start];
        threads::for_each_piece(group, BLOCK, items as usize * 20, |task, backoff| {
            let from = start + task * BLOCK;
            for (context, backoff) in (from..).zip(backoff) {
                let children = contexts_ref.children(context as u32);
                if children.is_empty() {
                    continue;
                }
                // SAFETY: children of different nodes are different.
                let (prob, log) =
                    unsafe { (prob_out.slice(children.clone()), log_out.slice(children.clone())) };
                let (counts, suffix) = (&counts[children.clone()], &suffix[children]);
                let total: f64 = counts.iter().map(|&count| f64::from(count)).sum();
                let left: f64 = counts.iter().map(|&count| discount_of(&discounts, count)).sum();
                let weight = left / total;
                for at in 0..counts.len() {
                    let own = f64::from(counts[at]) - discount_of(&discounts, counts[at]);
                    prob[at] = own / total + weight * lower[suffix[at] as usize];
                    log[at] = log10(prob[at]);
                }
                *backoff = log10(weight);
            }
        });
    }
    contexts.backoff = backoff;
    Ok(prob)
}
