//! Laplace's and Lidstone's laws: a constant is added to every count.
//!
//! p(w | h) = (c(h w) + gamma) / (c(h) + gamma V), with V words, h the last n - 1 words or fewer
//! after `<s>`, and nothing is learnt from shorter contexts. As a back-off table: seen n-grams of the
//! highest order and those after `<s>` have that probability, all shorter ones have 1 / V, and a
//! context has the weight gamma V / (c(h) + gamma V). So unseen words after h have exactly
//! gamma / (c(h) + gamma V), `<unk>` among them, and contexts never seen 1 / V.

use super::super::kneser_ney::{Options, base, close};
use super::super::normalise::check_at;
use super::super::trie::Level;
use super::super::{BEGIN, SPECIAL, Stop};
use super::tables::{store, store_backoff};
use crate::Result;

/// Fills the levels.
pub(super) fn fill(
    levels: &mut [Level],
    counts: &[Vec<u32>],
    begin: &[(usize, Vec<u32>)],
    gamma: f64,
    options: &Options,
    stop: Stop<'_>,
) -> Result<()> {
    let order = levels.len();
    let words = counts[0].len();
    let all = if options.closed { words - SPECIAL.len() } else { words - 1 } as f64;
    let (_, unseen) = base(&counts[0], options);
    let total: f64 = counts[0].iter().map(|&count| f64::from(count)).sum();
    let is_word = |word: usize| match options.closed {
        true => word >= SPECIAL.len() || word == 0 && !unseen.is_empty(),
        false => word != BEGIN as usize,
    };
    let single = |word: usize| {
        // In place of the words never seen of a closed vocabulary files have `<unk>`.
        let times = if options.closed && word == 0 { unseen.len() as f64 } else { 1.0 };
        match (is_word(word), order) {
            (false, _) => 0.0,
            (true, 1) => (f64::from(counts[0][word]) + gamma * times) / (total + gamma * all),
            (true, _) => times / all,
        }
    };
    let prob: Vec<f64> = (0..words).map(single).collect();
    close(&mut levels[0], unseen, options, &counts[0]);
    store(&mut levels[0], &prob, options.precise);
    for index in 1..order {
        let (below, above) = levels.split_at_mut(index);
        let (contexts, level) = (&mut below[index - 1], &mut above[0]);
        let (first, after_begin) = &begin[index - 1];
        let mut prob = vec![1.0 / all; counts[index].len()];
        for context in 0..contexts.nodes() {
            check_at(context, stop)?;
            let children = contexts.children(context as u32);
            let whole =
                index + 1 == order || (*first..first + after_begin.len()).contains(&context);
            if !whole || children.is_empty() {
                continue;
            }
            let counts = &counts[index][children.clone()];
            let total = counts.iter().map(|&count| f64::from(count)).sum::<f64>() + gamma * all;
            for (prob, &count) in prob[children].iter_mut().zip(counts) {
                *prob = (f64::from(count) + gamma) / total;
            }
            store_backoff(contexts, context, gamma * all / total);
        }
        store(level, &prob, options.precise);
    }
    Ok(())
}
