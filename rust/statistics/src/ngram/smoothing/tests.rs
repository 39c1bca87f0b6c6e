//! Every method beside plain references.

use std::collections::HashMap;

use super::*;
use crate::ngram::{END, UNKNOWN, estimate, mix};

const TEXT: &str = "the cat sat on the mat\nthe dog sat on the cat\n\na cat and a dog\nthe end\n\
    a cat sat on a dog\nthe cat ran\nthe dog ran on and on\n";

fn corpus() -> (Vec<u32>, Vocabulary) {
    let (mut vocabulary, mut tokens) = (Vocabulary::new(), Vec::new());
    vocabulary.learn(TEXT, &mut tokens).unwrap();
    (tokens, vocabulary)
}

fn methods() -> Vec<Smoothing> {
    let mut all = vec![
        Smoothing::MaximumLikelihood,
        Smoothing::Additive { gamma: 0.3 },
        Smoothing::GoodTuring,
        Smoothing::Katz { largest: 5 },
        Smoothing::JelinekMercer(Weights::Given(vec![0.9, 0.5, 0.4])),
        Smoothing::JelinekMercer(Weights::HeldOut { tokens: vec![1, 3, 4, 0, 2], bucketed: true }),
    ];
    for interpolate in [true, false] {
        all.push(Smoothing::WittenBell { interpolate });
        all.push(Smoothing::Absolute { discount: None, interpolate });
        all.push(Smoothing::KneserNey { discount: Some(0.4), interpolate });
        all.push(Smoothing::ModifiedKneserNey { interpolate });
    }
    all
}

fn model(smoothing: Smoothing, precise: bool) -> Model {
    let (tokens, vocabulary) = corpus();
    let options = Options { smoothing, precise, ..Options::default() };
    estimate(&tokens, vocabulary, &options, &|| false).unwrap().0
}

#[test]
fn every_method_sums_to_one() {
    for smoothing in methods() {
        let model = model(smoothing.clone(), true);
        let sums = model.sums(1e-9, 3, &|| false).unwrap();
        assert!(sums.contexts > 30);
        assert_eq!(sums.wrong, 0, "{smoothing:?}: {sums:?}");
        let all = model.next(&[3, 4], true).unwrap();
        let sum: f64 = all.iter().map(|log| log.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-9, "{smoothing:?}");
    }
    let stupid = model(Smoothing::StupidBackoff { alpha: 0.4 }, true);
    assert!(stupid.sums(1e-9, 3, &|| false).unwrap().wrong > 10);
}

#[test]
fn counts_are_those_of_a_map() {
    let (tokens, vocabulary) = corpus();
    let options = Options { smoothing: Smoothing::MaximumLikelihood, ..Options::default() };
    let model = estimate(&tokens, vocabulary, &options, &|| false).unwrap().0;
    let (mut counts, mut totals) = (HashMap::new(), HashMap::new());
    for sentence in tokens.split_inclusive(|&word| word == END) {
        for length in 1..=3 {
            for ngram in sentence.windows(length).filter(|ngram| *ngram != [BEGIN]) {
                *counts.entry(ngram).or_insert(0.0) += 1.0;
                *totals.entry(&ngram[..length - 1]).or_insert(0.0) += 1.0;
            }
        }
    }
    for (ngram, count) in counts {
        let level = &model.levels[ngram.len() - 1];
        let node = model.find(ngram).unwrap() as usize;
        let expected: f64 = count / totals[&ngram[..ngram.len() - 1]];
        assert!((level.prob(node) - expected.log10()).abs() < 1e-6, "{ngram:?}");
    }
}

#[test]
fn both_precisions_and_both_ways_agree() {
    let usual = Smoothing::ModifiedKneserNey { interpolate: true };
    let (single, double) = (model(usual.clone(), false), model(usual, true));
    for (single, double) in single.levels.iter().zip(&double.levels) {
        for node in 0..single.nodes() {
            assert!((single.prob(node) - double.prob(node)).abs() < 1e-6);
        }
    }
}

#[test]
fn smaller_and_mixed_models_sum_to_one() {
    for smoothing in methods() {
        let model = model(smoothing.clone(), false);
        for threshold in [0.0, 1e-3, 1e-2, 1.0] {
            let pruned = model.prune(threshold, &|| false).unwrap();
            assert!(pruned.counts()[2] <= model.counts()[2]);
            let sums = pruned.sums(1e-5, 3, &|| false).unwrap();
            assert_eq!(sums.wrong, 0, "{smoothing:?} {threshold}: {sums:?}");
        }
        let limited = model.limit(&["cat".into(), "on".into()], &|| false).unwrap();
        assert_eq!(limited.vocabulary.len(), 5);
        assert_eq!(limited.sums(1e-5, 3, &|| false).unwrap().wrong, 0, "{smoothing:?}");
        let mixed = mix(&[&model, &limited], &[0.25, 0.75], &|| false).unwrap();
        assert_eq!(mixed.sums(1e-5, 3, &|| false).unwrap().wrong, 0, "{smoothing:?}");
        assert_eq!(mixed.counts(), model.counts());
    }
}

#[test]
fn a_mixture_shares_unknown_words() {
    let model = model(Smoothing::WittenBell { interpolate: true }, false);
    let limited = model.limit(&["cat".into()], &|| false).unwrap();
    let mixed = mix(&[&model, &limited], &[0.5, 0.5], &|| false).unwrap();
    let lacking = (model.vocabulary.len() - limited.vocabulary.len() + 1) as f64;
    let dog = model.vocabulary.id("dog").unwrap();
    let unknown = 10f64.powf(limited.levels[0].prob(UNKNOWN as usize));
    let expected = 0.5 * 10f64.powf(model.levels[0].prob(dog as usize)) + 0.5 * unknown / lacking;
    let found = 10f64.powf(mixed.levels[0].prob(mixed.vocabulary.id("dog").unwrap() as usize));
    assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    assert!(mix(&[], &[], &|| false).is_err());
    assert!(mix(&[&model], &[], &|| false).is_err());
}

#[test]
fn long_work_stops_and_bad_text_is_refused() {
    let model = model(Smoothing::Katz { largest: 5 }, false);
    assert!(model.prune(1e-3, &|| true).is_err());
    assert!(model.sums(1e-3, 3, &|| true).is_err());
    assert!(mix(&[&model], &[1.0], &|| true).is_err());
    let (tokens, vocabulary) = corpus();
    let held_out = Weights::HeldOut { tokens: vec![1, 99], bucketed: false };
    let options = Options { smoothing: Smoothing::JelinekMercer(held_out), ..Options::default() };
    let message = estimate(&tokens, vocabulary, &options, &|| false).unwrap_err().to_string();
    assert!(message.contains("held_out: expected ids below"), "{message}");
}
