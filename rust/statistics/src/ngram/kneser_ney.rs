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

use std::path::Path;

use super::binary::write_words;
use super::container::{self, Kind, Writer};
use super::cutoff;
use super::keys::{Key, Layout, with_key};
use super::smoothing::{self, Smoothing};
use super::sort::{self, Sorted, Windows};
use super::trie::{self, AHEAD, BETWEEN_CHECKS, BLOCK, Level, Shape, fetch};
use super::{BEGIN, END, Model, SPECIAL, Stop, UNKNOWN, Vocabulary, check, check_order};
use crate::buffer::Buffer;
use crate::scratch::{Storage, filled};
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
    /// N-grams that occur at most this often are left out, by length from one word on; the last
    /// threshold stands for all that follow. The discounts are those of all n-grams. For
    /// interpolated modified Kneser-Ney smoothing only.
    pub prune: Vec<u32>,
    /// The method.
    pub smoothing: Smoothing,
    /// Whether single words give something up: else those never seen have no probability.
    pub discount_unigrams: bool,
    /// Whether the numbers are kept in double precision too, as long as the model is in memory.
    pub precise: bool,
}

impl Options {
    /// Whether the estimate is that of this file, in its single precision.
    fn is_usual(&self) -> bool {
        let usual = self.smoothing == Smoothing::ModifiedKneserNey { interpolate: true };
        usual && !self.precise && self.discount_unigrams
    }

    /// The counts at or below which n-grams are left out, for each length; an error where they make
    /// no sense or the method lacks them.
    fn thresholds(&self) -> Result<Vec<u32>> {
        let thresholds = cutoff::thresholds(OP, &self.prune, self.order)?;
        if !self.is_usual() && thresholds.iter().any(|&threshold| threshold > 0) {
            let message = "expected none but with interpolated modified Kneser-Ney smoothing";
            return Err(Error::value(OP, "prune", message));
        }
        Ok(thresholds)
    }
}

impl Default for Options {
    /// Interpolated modified Kneser-Ney smoothing of order 3 over an open vocabulary.
    fn default() -> Self {
        Self {
            order: 3,
            interpolate_unigrams: true,
            discount_fallback: Some([0.5, 1.0, 1.5]),
            closed: false,
            prune: Vec::new(),
            smoothing: Smoothing::ModifiedKneserNey { interpolate: true },
            discount_unigrams: true,
            precise: false,
        }
    }
}

/// What becomes of an estimate, which says what need not be kept.
pub(super) enum Target<'a, 'f> {
    /// A model that can be asked.
    Model,
    /// A model whose n-grams are only read in their order, and which has no suffixes.
    Lines,
    /// A file that the parts go to as they are made; what is returned can only tell its counts.
    File(&'a mut Writer<'f>),
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
    estimate_in(tokens, vocabulary, options, None, stop)
}

/// The same; a vector is freed when it is no longer needed. Arrays go to `storage`, whose relief
/// `stop` is to see to.
pub fn estimate_in(
    tokens: impl AsRef<[u32]>,
    vocabulary: Vocabulary,
    options: &Options,
    storage: Storage<'_>,
    stop: Stop<'_>,
) -> Result<(Model, Report)> {
    let layout = checked_layout(tokens.as_ref(), &vocabulary, options)?;
    estimate_for(Target::Model, tokens, &layout, vocabulary, options, storage, stop)
}

/// How the n-grams of `tokens` are packed, or what is wrong with an argument.
fn checked_layout(tokens: &[u32], vocabulary: &Vocabulary, options: &Options) -> Result<Layout> {
    check_order(OP, options.order)?;
    check_tokens(OP, tokens, vocabulary)?;
    options.thresholds()?;
    sort::layout(OP, tokens, options.order, Windows::Sentences)
}

/// The estimate of tokens with a [`checked_layout`].
fn estimate_for(
    target: Target<'_, '_>,
    tokens: impl AsRef<[u32]>,
    layout: &Layout,
    vocabulary: Vocabulary,
    options: &Options,
    storage: Storage<'_>,
    stop: Stop<'_>,
) -> Result<(Model, Report)> {
    with_key!(layout, K => {
        let sorted = sort::sorted::<K>(tokens.as_ref(), layout, Windows::Sentences, storage, stop)?;
        drop(tokens);
        estimate_sorted(sorted, layout, vocabulary, options, storage, target, stop)
    })
}

/// Estimates a model and writes it to `path` as [`Model::save_arpa`] does, which needs less memory
/// than a model that can be asked.
pub fn estimate_to_arpa(
    tokens: impl AsRef<[u32]>,
    vocabulary: Vocabulary,
    options: &Options,
    storage: Storage<'_>,
    path: &Path,
    stop: Stop<'_>,
) -> Result<(Vec<usize>, Report)> {
    let layout = checked_layout(tokens.as_ref(), &vocabulary, options)?;
    let (model, report) =
        estimate_for(Target::Lines, tokens, &layout, vocabulary, options, storage, stop)?;
    model.save_arpa(path, stop)?;
    Ok((model.counts(), report))
}

/// Estimates a model and writes it to `path` as [`Model::save_binary`] does, part by part while the
/// next is being estimated.
pub fn estimate_to_file(
    tokens: impl AsRef<[u32]>,
    vocabulary: Vocabulary,
    options: &Options,
    storage: Storage<'_>,
    path: &Path,
    stop: Stop<'_>,
) -> Result<(Vec<usize>, Report)> {
    let layout = checked_layout(tokens.as_ref(), &vocabulary, options)?;
    let pruned = options.thresholds()?.iter().any(|&threshold| threshold > 0);
    if pruned || !options.is_usual() {
        let (model, report) =
            estimate_for(Target::Model, tokens, &layout, vocabulary, options, storage, stop)?;
        model.save_binary(path, stop)?;
        return Ok((model.counts(), report));
    }
    let (_, _, numbers) = vocabulary.stored_words();
    container::write(path, Kind::Trie, numbers, stop, |writer| {
        let target = Target::File(&mut *writer);
        let (model, report) =
            estimate_for(target, tokens, &layout, vocabulary, options, storage, stop)?;
        let counts = model.levels.iter().map(|level| level.prob.len() as u64).collect();
        Ok((counts, (model.counts(), report)))
    })
}

/// The same from sorted n-grams.
pub(super) fn estimate_sorted<K: Key>(
    sorted: Sorted<K>,
    layout: &Layout,
    vocabulary: Vocabulary,
    options: &Options,
    storage: Storage<'_>,
    mut target: Target<'_, '_>,
    stop: Stop<'_>,
) -> Result<(Model, Report)> {
    let words = vocabulary.len();
    let thresholds = options.thresholds()?;
    let mut shape = trie::build(&sorted, layout, words, storage, stop)?;
    if !options.is_usual() {
        drop(sorted);
        for length in 2..=options.order {
            trie::link_level(&mut shape.levels, length, storage, stop)?;
        }
        return smoothing::estimate(shape, vocabulary, options, stop);
    }
    let Shape { mut levels, mut highest, begin } = shape;
    let pruned = match thresholds.iter().any(|&threshold| threshold > 0) {
        true => {
            // Leaving n-grams out needs all there is.
            target = Target::Model;
            cutoff::pruned(&cutoff::raw_counts(&sorted, layout, &levels, words), &thresholds)
        }
        false => vec![Vec::new(); options.order],
    };
    drop(sorted);
    let order = options.order;
    if let Target::File(writer) = &mut target {
        write_words(writer, &vocabulary)?;
        levels
            .iter()
            .zip(1..)
            .try_for_each(|(level, length)| level.write_nodes(writer, length, order))?;
    }
    for length in 2..=order {
        trie::link_level(&mut levels, length, storage, stop)?;
        if let Target::File(writer) = &mut target {
            writer.section("suffix", length, &levels[length - 1].suffix)?;
        }
    }
    if let Target::File(_) = target {
        // They are in the file, and what follows needs only how many there are.
        levels.iter_mut().for_each(|level| level.words = Buffer::default());
    }
    let mut report = Report::default();
    let mut lower = Buffer::default();
    for index in 0..options.order {
        check(stop)?;
        let mut counts = match begin.get(index) {
            Some((start, raw)) => {
                adjusted_counts(&levels, index, (*start, raw), words, storage, stop)?
            }
            None => std::mem::take(&mut highest),
        };
        if index == 0 {
            // `<s>` is never predicted, so it has no part in the distribution of single words.
            counts[BEGIN as usize] = 0;
        }
        let discount = discount(index, &counts, options, &mut report)?;
        report.discounts.push(discount.to_vec());
        lower = if index == 0 {
            unigrams(&mut levels[0], &counts, discount, options).into()
        } else {
            let (below, above) = levels.split_at_mut(index);
            let (contexts, pruned) = (&mut below[index - 1], &pruned[index]);
            higher(contexts, &mut above[0], &counts, pruned, discount, &lower, storage, stop)?
        };
        // Freed before the logarithms of this order take their place.
        drop(counts);
        if index > 0 && !lower.is_empty() {
            levels[index].prob = logarithms(&lower, storage, stop)?;
        }
        if !matches!(target, Target::Model) {
            // Nobody asks for these again.
            levels[index].suffix = Buffer::default();
        }
        if let Target::File(writer) = &mut target {
            if index > 0 {
                writer.section("backoff", index, &levels[index - 1].backoff)?;
            }
            writer.section("prob", index + 1, &levels[index].prob)?;
            writer.section("blank", index + 1, &levels[index].blank)?;
        }
    }
    if pruned.iter().any(|pruned| !pruned.is_empty()) {
        cutoff::remove(&mut levels, &pruned);
    }
    Ok((Model { vocabulary, levels }, report))
}

pub(super) fn check_tokens(
    op: &'static str,
    tokens: &[u32],
    vocabulary: &Vocabulary,
) -> Result<()> {
    if tokens.iter().all(|&word| word == BEGIN) {
        return Err(Error::value(op, "tokens", "expected at least one word, got an empty corpus"));
    }
    if tokens[0] != BEGIN {
        let message = format!("expected <s> first, got id {}", tokens[0]);
        return Err(Error::value(op, "tokens", message));
    }
    match tokens.iter().find(|&&word| word as usize >= vocabulary.len()) {
        None => Ok(()),
        Some(word) => {
            let message = format!("expected ids below {}, got {word}", vocabulary.len());
            Err(Error::value(op, "tokens", message))
        }
    }
}

/// The count a(w) of every node of a level below the highest; `raw` are those of the nodes from
/// `start` on, which begin with `<s>`.
pub(super) fn adjusted_counts(
    levels: &[Level],
    index: usize,
    (start, raw): (usize, &[u32]),
    words: usize,
    storage: Storage<'_>,
    stop: Stop<'_>,
) -> Result<Buffer<u32>> {
    let nodes = if index == 0 { words } else { levels[index].suffix.len() };
    let mut counts = filled(storage, nodes, 0)?;
    for suffixes in levels[index + 1].suffix.chunks(BETWEEN_CHECKS) {
        check(stop)?;
        let counts = counts.to_mut();
        for &suffix in suffixes {
            counts[suffix as usize] += 1;
        }
    }
    counts[start..start + raw.len()].copy_from_slice(raw);
    Ok(counts)
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

fn logarithms(prob: &[f64], storage: Storage<'_>, stop: Stop<'_>) -> Result<Buffer<f32>> {
    let mut logs = filled(storage, prob.len(), 0.0)?;
    for (start, group) in
        (0..).step_by(BETWEEN_CHECKS).zip(logs.to_mut().chunks_mut(BETWEEN_CHECKS))
    {
        check(stop)?;
        let cost = group.len() * 10;
        threads::for_each_piece(group, BLOCK, cost, |task, logs| {
            let from = start + task * BLOCK;
            logs.iter_mut().zip(&prob[from..]).for_each(|(log, &prob)| *log = log10(prob));
        });
    }
    Ok(logs)
}

/// Fills the back-off weights of `contexts`, the level below, whose probabilities are `lower`.
/// Returns the probabilities of `level`, or fills their logarithms in where it is the highest.
fn higher(
    contexts: &mut Level,
    level: &mut Level,
    counts: &[u32],
    pruned: &[bool],
    discounts: [f64; 3],
    lower: &[f64],
    storage: Storage<'_>,
    stop: Stop<'_>,
) -> Result<Buffer<f64>> {
    let discounts = with_zero(discounts);
    let nodes = contexts.nodes();
    let is_highest = level.children.is_empty();
    // Nobody asks for those of the highest order again.
    let mut prob = filled(storage, if is_highest { 0 } else { counts.len() }, 0.0)?;
    level.prob = filled(storage, if is_highest { counts.len() } else { 0 }, 0.0)?;
    level.backoff = filled(storage, prob.len(), 0.0)?;
    let prob_out = Shared::new(prob.to_mut());
    let log_out = Shared::new(level.prob.to_mut());
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
                let pruned = pruned.get(children.clone()).unwrap_or_default();
                for &suffix in suffix.iter().skip(children.start + 2 * AHEAD).take(children.len()) {
                    fetch(lower, suffix as usize);
                }
                let (counts, suffix) = (&counts[children.clone()], &suffix[children.clone()]);
                let total: f64 = counts.iter().map(|&count| f64::from(count)).sum();
                let left: f64 = match pruned.is_empty() {
                    true => counts.iter().map(|&count| discount_of(&discounts, count)).sum(),
                    false => counts
                        .iter()
                        .zip(pruned)
                        .map(|(&count, &pruned)| match pruned {
                            // What is left out gives up all it has.
                            true => f64::from(count),
                            false => discount_of(&discounts, count),
                        })
                        .sum(),
                };
                let weight = left / total;
                for at in 0..counts.len() {
                    let own = f64::from(counts[at]) - discount_of(&discounts, counts[at]);
                    let prob = own / total + weight * lower[suffix[at] as usize];
                    let node = children.start + at;
                    // SAFETY: children of different nodes are different.
                    unsafe {
                        match is_highest {
                            true => log_out.at(node).write(log10(prob)),
                            false => prob_out.at(node).write(prob),
                        }
                    }
                }
                *backoff = log10(weight);
            }
        });
    }
    contexts.backoff = backoff;
    Ok(prob)
}
