//! Linear mixtures of back-off models as one back-off model.
//!
//! The mixture has the n-grams of all models, each with the weighted sum of what the models give it,
//! by back-off where they lack it; back-off weights then make all sums one. The probability that a
//! model gives `<unk>` is shared alike by the words that it lacks and others have, and the `<unk>` of
//! the mixture. Reference: Stolcke, SRILM, an extensible language modeling toolkit, 2002.

use super::arpa_read::{Section, assemble};
use super::kneser_ney::LOG_ZERO;
use super::normalise::{check_at, normalise, power};
use super::trie::BLOCK;
use super::{BEGIN, END, Model, SPECIAL, Stop, UNKNOWN, Vocabulary, check};
use crate::threads;
use crate::{Error, Result};

const OP: &str = "ngram_mix";
/// Blocks of n-grams between two looks at whether to stop.
const GROUP: usize = 8;

/// A model of the mixture and its ids of the mixture's words.
struct Part<'a> {
    model: &'a Model,
    weight: f64,
    /// Its id of each word of the mixture, if it has the word.
    ids: Vec<Option<u32>>,
    /// Logarithm of the share of a word that it lacks in its `<unk>`.
    share: f64,
}

/// The mixture of `models` with `weights`, which sum to one.
pub fn mix(models: &[&Model], weights: &[f64], stop: Stop<'_>) -> Result<Model> {
    let vocabulary = joint_vocabulary(models, weights)?;
    let parts: Vec<Part<'_>> = models
        .iter()
        .zip(weights)
        .map(|(model, &weight)| part(model, weight, &vocabulary))
        .collect();
    let order = models.iter().map(|model| model.order()).max().unwrap_or(1);
    let mut sections = Vec::new();
    for length in 1..=order {
        let words = match length {
            1 => (0..vocabulary.len() as u32).collect(),
            _ => union(models, &vocabulary, length, stop)?,
        };
        let mut prob = Vec::with_capacity(words.len() / length);
        for group in words.chunks(GROUP * BLOCK * length) {
            check(stop)?;
            let blocks: Vec<&[u32]> = group.chunks(BLOCK * length).collect();
            let logs = threads::map(blocks.len(), group.len() * 500, |block| {
                let ngrams = blocks[block].chunks_exact(length);
                ngrams.map(|ngram| log10(&parts, ngram)).collect::<Vec<f32>>()
            });
            logs.iter().for_each(|logs| prob.extend_from_slice(logs));
        }
        let backoff = vec![0.0; if length == order { 0 } else { prob.len() }];
        sections.push(Section {
            words: if length == 1 { Vec::new() } else { words },
            prob,
            backoff,
        });
    }
    let blank = single_words(models, &vocabulary, &mut sections[0].prob);
    let mut mixture = assemble(vocabulary, sections, blank, "mixture", stop)?;
    normalise(&mut mixture.levels, stop)?;
    Ok(mixture)
}

fn joint_vocabulary(models: &[&Model], weights: &[f64]) -> Result<Vocabulary> {
    let Some((first, others)) = models.split_first() else {
        return Err(Error::value(OP, "models", "expected at least one, got none"));
    };
    if weights.len() != models.len() {
        let message = format!("expected {}, got {}", models.len(), weights.len());
        return Err(Error::value(OP, "weights", message));
    }
    let mut joint = first.vocabulary.clone();
    for model in others {
        let other = &model.vocabulary;
        let numbers = joint.is_numbers() || other.is_numbers();
        if numbers && joint.len() != other.len() {
            return Err(Error::value(OP, "models", "expected ids of one vocabulary"));
        }
        if !numbers {
            (0..other.len() as u32).for_each(|id| {
                joint.add(&other.word(id));
            });
        }
    }
    Ok(joint)
}

fn part<'a>(model: &'a Model, weight: f64, joint: &Vocabulary) -> Part<'a> {
    let own = &model.vocabulary;
    let id = |word: u32| if own.is_numbers() { Some(word) } else { own.id(&joint.word(word)) };
    let ids: Vec<Option<u32>> = (0..joint.len() as u32).map(id).collect();
    let lacking = ids.iter().filter(|id| id.is_none()).count();
    Part { model, weight, ids, share: -((lacking + 1) as f64).log10() }
}

/// The n-grams of `length` words of all models, ascending.
fn union(models: &[&Model], joint: &Vocabulary, length: usize, stop: Stop<'_>) -> Result<Vec<u32>> {
    let mut all = Vec::new();
    for model in models.iter().filter(|model| model.order() >= length) {
        let own = &model.vocabulary;
        let ids: Vec<u32> = (0..own.len() as u32)
            .map(|word| match own.is_numbers() {
                true => word,
                false => joint.id(&own.word(word)).unwrap_or(UNKNOWN),
            })
            .collect();
        let level = &model.levels[length - 1];
        if level.nodes() == 0 {
            continue;
        }
        let mut path = model.path(length, 0);
        for node in 0..level.nodes() as u32 {
            check_at(node as usize, stop)?;
            model.advance(&mut path, node);
            if level.blank.binary_search(&node).is_err() {
                all.push(ids[path[0] as usize]);
                all.extend(
                    (1..length).map(|d| ids[model.levels[d].words[path[d] as usize] as usize]),
                );
            }
        }
    }
    let mut ngrams: Vec<&[u32]> = all.chunks_exact(length).collect();
    ngrams.sort_unstable();
    ngrams.dedup();
    Ok(ngrams.concat())
}

/// Logarithm of the mixture's probability of the last word after the others.
fn log10(parts: &[Part<'_>], ngram: &[u32]) -> f32 {
    let sum: f64 = parts.iter().map(|part| part.weight * power(part.log10(ngram))).sum();
    if sum > 0.0 { sum.log10().max(f64::from(LOG_ZERO)) as f32 } else { LOG_ZERO }
}

impl Part<'_> {
    fn log10(&self, ngram: &[u32]) -> f64 {
        let own: Vec<u32> =
            ngram.iter().map(|&word| self.ids[word as usize].unwrap_or(UNKNOWN)).collect();
        let last = ngram[ngram.len() - 1] as usize;
        let shared = last == UNKNOWN as usize || self.ids[last].is_none();
        let closed = self.model.vocabulary.is_numbers();
        self.model.log10_of(&own) + if shared && !closed { self.share } else { 0.0 }
    }
}

impl Model {
    /// Logarithm of the probability of the last of `words` after the others.
    pub(super) fn log10_of(&self, words: &[u32]) -> f64 {
        let (last, context) = (words.len() - 1, words.len().min(self.order()) - 1);
        let mut backoff = 0.0;
        for length in (1..=context).rev() {
            let Some(node) = self.find(&words[last - length..last]) else { continue };
            let children = self.levels[length - 1].children(node);
            let level = &self.levels[length];
            match level.words[children.clone()].binary_search(&words[last]) {
                Ok(at) => return backoff + level.prob(children.start + at),
                Err(_) => backoff += self.levels[length - 1].backoff(node as usize),
            }
        }
        backoff + self.levels[0].prob(words[last] as usize)
    }
}

/// Mends the special words; the words that no model has an estimate of its own for.
fn single_words(models: &[&Model], vocabulary: &Vocabulary, prob: &mut [f32]) -> Vec<u32> {
    prob[BEGIN as usize] = 0.0;
    let mut blank = models[0].levels[0].blank.clone();
    if !vocabulary.is_numbers() {
        return Vec::new();
    }
    for model in &models[1..] {
        blank.retain(|word| model.levels[0].blank.binary_search(word).is_ok());
    }
    let unseen = blank.iter().filter(|&&word| word as usize >= SPECIAL.len());
    let unknown: f64 = unseen.map(|&word| power(f64::from(prob[word as usize]))).sum();
    blank.retain(|&word| word as usize >= SPECIAL.len() || word == END);
    prob[UNKNOWN as usize] = if unknown > 0.0 { unknown.log10() as f32 } else { LOG_ZERO };
    if unknown == 0.0 {
        blank.insert(0, UNKNOWN);
    }
    blank
}
