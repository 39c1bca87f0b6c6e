//! Smoothing: what n-grams that were seen give up for those that were not.
//!
//! Every method but the additive ones says, for each context h, what share of the probability each
//! seen word keeps and what is left ([`Rule`]). What is left goes to the distribution after the
//! shorter context h' ([`Form`]):
//!
//! interpolated: p(w | h) = kept(w | h) + left(h) p(w | h')
//! back-off:     p(w | h) = kept(w | h) for w seen after h, else b(h) p(w | h'), where b(h) makes the
//!               sum one
//!
//! Both are a back-off table, so one trie holds them all. Single words leave their share to the
//! uniform distribution over all words but `<s>`, or else to `<unk>`; the words never seen of a closed
//! vocabulary share what `<unk>` gets.

mod additive;
mod discounts;
mod good_turing;
mod jelinek_mercer;
mod tables;

pub use jelinek_mercer::Weights;

use super::kneser_ney::{self, Options, Report};
use super::trie::{Level, Shape};
use super::{BEGIN, Model, Stop, Vocabulary, check};
use crate::Result;
use tables::Form;

const OP: &str = "ngram_estimate";

/// A method of smoothing and its options.
#[derive(Debug, Clone, PartialEq)]
pub enum Smoothing {
    /// Relative frequencies: what was not seen after a context that was has no probability, `<unk>`
    /// never has one, and only contexts never seen back off.
    MaximumLikelihood,
    /// `gamma` is added to every count of the highest order, of `<unk>` too: Lidstone's, and with 1
    /// Laplace's law. A context never seen is followed by all words alike.
    Additive {
        /// What is added.
        gamma: f64,
    },
    /// Back-off with the smoothed Turing estimates of Gale & Sampson for all counts.
    GoodTuring,
    /// Back-off with Turing estimates for small counts.
    Katz {
        /// The largest count that is discounted.
        largest: usize,
    },
    /// A context leaves as many events as different words follow it.
    WittenBell {
        /// Interpolated, or else back-off.
        interpolate: bool,
    },
    /// One number is subtracted from every count.
    Absolute {
        /// The number; t_1 / (t_1 + 2 t_2) of each order without.
        discount: Option<f64>,
        /// Interpolated, or else back-off.
        interpolate: bool,
    },
    /// Interpolation with weights for each order.
    JelinekMercer(Weights),
    /// Absolute discounting, with lower orders that count the different words in front.
    KneserNey {
        /// What is subtracted; t_1 / (t_1 + 2 t_2) of each order without.
        discount: Option<f64>,
        /// Interpolated, or else back-off.
        interpolate: bool,
    },
    /// The same with other discounts for counts of one, of two and of more.
    ModifiedKneserNey {
        /// Interpolated, or else back-off.
        interpolate: bool,
    },
    /// Relative frequencies, times `alpha` for each word that the context loses: scores that do not
    /// sum to one, none for `<unk>`.
    StupidBackoff {
        /// The factor.
        alpha: f64,
    },
}

impl Smoothing {
    /// Whether lower orders count the different words in front instead of occurrences.
    fn adjusts(&self) -> bool {
        matches!(self, Self::KneserNey { .. } | Self::ModifiedKneserNey { .. })
    }

    /// How many discounts of each order are reported.
    fn shown(&self) -> usize {
        match *self {
            Self::Katz { largest } => largest,
            Self::GoodTuring => 5,
            Self::Absolute { .. } | Self::KneserNey { .. } => 1,
            _ => 0,
        }
    }

    fn form(&self) -> Form {
        match *self {
            Self::MaximumLikelihood => Form::Constant(0.0),
            Self::StupidBackoff { alpha } => Form::Constant(alpha),
            Self::GoodTuring | Self::Katz { .. } => Form::BackOff,
            Self::WittenBell { interpolate }
            | Self::Absolute { interpolate, .. }
            | Self::KneserNey { interpolate, .. }
            | Self::ModifiedKneserNey { interpolate } => match interpolate {
                true => Form::Interpolated,
                false => Form::BackOff,
            },
            Self::JelinekMercer(_) | Self::Additive { .. } => Form::Interpolated,
        }
    }
}

/// What the contexts of one order keep and leave.
#[derive(Debug, Clone, PartialEq)]
enum Rule {
    /// A count r is worth `worth[r]`, and above those as much less as the last one.
    Worth(Vec<f64>),
    /// A context leaves one event for each different word.
    WittenBell,
    /// A context keeps this share, by the logarithm to base 2 of its count.
    Kept(Vec<f64>),
}

impl Rule {
    /// What each of the words of a context keeps, given how often each occurs, and what is left.
    fn share(&self, counts: &[u32], kept: &mut Vec<f64>) -> f64 {
        let total: f64 = counts.iter().map(|&count| f64::from(count)).sum();
        kept.clear();
        match self {
            Self::Worth(worth) => {
                let last = worth.len() - 1;
                let discount = |count: u32| {
                    let place = (count as usize).min(last);
                    place as f64 - worth[place]
                };
                kept.extend(counts.iter().map(|&r| (f64::from(r) - discount(r)) / total));
                counts.iter().map(|&count| discount(count)).sum::<f64>() / total
            }
            Self::WittenBell => {
                let different = counts.iter().filter(|&&count| count > 0).count() as f64;
                let all = total + different;
                kept.extend(counts.iter().map(|&count| f64::from(count) / all));
                different / all
            }
            Self::Kept(shares) => {
                let share = shares[jelinek_mercer::bucket(total, shares.len())];
                kept.extend(counts.iter().map(|&count| share * f64::from(count) / total));
                1.0 - share
            }
        }
    }
}

/// Fills the levels of `shape`.
pub(super) fn estimate(
    shape: Shape,
    vocabulary: Vocabulary,
    options: &Options,
    stop: Stop<'_>,
) -> Result<(Model, Report)> {
    let Shape { mut levels, highest, begin } = shape;
    let words = vocabulary.len();
    let smoothing = &options.smoothing;
    let highest = highest.to_vec();
    let counts = match smoothing.adjusts() {
        true => adjusted_counts(&levels, highest, &begin, words, stop)?,
        false => raw_counts(&levels, highest, &begin, words, stop)?,
    };
    let mut report = Report::default();
    if let Smoothing::Additive { gamma } = *smoothing {
        additive::fill(&mut levels, &counts, &begin, gamma, options, stop)?;
        return Ok((Model { vocabulary, levels }, report));
    }
    if let Smoothing::JelinekMercer(weights) = smoothing {
        report.weights = jelinek_mercer::weights(weights, &levels, &counts, options, stop)?;
    }
    let form = smoothing.form();
    let mut lower = Vec::new();
    for (index, counts) in counts.iter().enumerate() {
        check(stop)?;
        let rule = match smoothing {
            Smoothing::WittenBell { .. } => Rule::WittenBell,
            Smoothing::JelinekMercer(_) => Rule::Kept(report.weights[index].clone()),
            _ => discounts::rule(index, counts, options, &mut report)?,
        };
        lower = if index == 0 {
            tables::unigrams(&mut levels[0], counts, &rule, form, options)
        } else {
            let (below, above) = levels.split_at_mut(index);
            let contexts = &mut below[index - 1];
            tables::higher(contexts, &mut above[0], counts, &rule, form, &lower, options, stop)?
        };
    }
    Ok((Model { vocabulary, levels }, report))
}

/// The count a(w) of every node of every level.
fn adjusted_counts(
    levels: &[Level],
    highest: Vec<u32>,
    begin: &[(usize, Vec<u32>)],
    words: usize,
    stop: Stop<'_>,
) -> Result<Vec<Vec<u32>>> {
    let mut all = Vec::with_capacity(levels.len());
    for (index, (start, raw)) in begin.iter().enumerate() {
        let begin = (*start, &raw[..]);
        let counts = kneser_ney::adjusted_counts(levels, index, begin, words, None, stop)?;
        all.push(counts.to_vec());
    }
    all.push(highest);
    // `<s>` is never predicted, so it has no part in the distribution of single words.
    all[0][BEGIN as usize] = 0;
    Ok(all)
}

/// How often every node of every level occurs: as often as all n-grams that end in it, and those
/// that begin with `<s>` as often as counted.
fn raw_counts(
    levels: &[Level],
    highest: Vec<u32>,
    begin: &[(usize, Vec<u32>)],
    words: usize,
    stop: Stop<'_>,
) -> Result<Vec<Vec<u32>>> {
    let mut all = vec![highest];
    for (index, (start, counted)) in begin.iter().enumerate().rev() {
        check(stop)?;
        let nodes = if index == 0 { words } else { levels[index].words.len() };
        let mut counts = vec![0; nodes];
        for (&suffix, &count) in levels[index + 1].suffix.iter().zip(&all[all.len() - 1]) {
            counts[suffix as usize] += count;
        }
        counts[*start..*start + counted.len()].copy_from_slice(counted);
        all.push(counts);
    }
    all.reverse();
    // `<s>` is never predicted, so it has no part in the distribution of single words.
    all[0][BEGIN as usize] = 0;
    Ok(all)
}

#[cfg(test)]
mod tests;
