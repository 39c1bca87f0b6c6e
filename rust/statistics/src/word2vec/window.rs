//! From the words of a sentence to the steps of training: which rows meet which.
//!
//! In an epoch a word of the text is kept with its probability, and its window has each width with
//! the same. From one epoch to the next both draws move on by a fixed step, so that over the epochs
//! they fall evenly (systematic sampling); the negatives of a group come one from each equal part
//! of what they are drawn from (stratified sampling). Sums over many draws, which is what training
//! takes from them, are then expected to be the same and vary less: over seeds the agreement with
//! WordSim-353 is higher and half as far apart.
//!
//! Reference: Cochran, Sampling Techniques, 1977, chapters 5 and 8.

use std::ops::Range;

use super::UNKNOWN;
use super::random::{Random, scaled};
use super::train::{Options, Trainer};

/// Most rows of a step with shared negatives.
pub(super) const MAX_INPUTS: usize = 16;
/// The golden section of 2^32: its multiples fall evenly.
const TURN: u32 = 0x9e37_79b9;

/// The steps around one centre word, or a part of them.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// Rows of the input table, in `inputs`.
    pub(super) inputs: Range<usize>,
    /// What they are to predict, one after the other, in `groups`.
    pub(super) groups: Range<usize>,
}

/// One word to be predicted.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) word: u32,
    /// That word and those drawn to contrast it with, in `targets`.
    pub(super) targets: Range<usize>,
}

/// Steps in their order. No word is twice among the targets of a group: the second draw of a word
/// is added to its weight.
#[derive(Debug, Default)]
pub(super) struct Items {
    pub(super) items: Vec<Item>,
    pub(super) groups: Vec<Group>,
    pub(super) inputs: Vec<u32>,
    pub(super) targets: Vec<u32>,
    pub(super) weights: Vec<f32>,
}

/// The words of a sentence that are left, and how far each looks around.
#[derive(Debug, Default)]
pub(super) struct Sentence {
    pub(super) words: Vec<u32>,
    windows: Vec<u32>,
}

impl Sentence {
    /// Drops unknown words and some of the frequent ones, then draws the windows. `each` must draw the
    /// same numbers in every epoch.
    pub(super) fn draw(&mut self, ids: &[u32], trainer: &Trainer, each: &mut Random, epoch: u64) {
        self.words.clear();
        self.windows.clear();
        let Options { window, shrink_windows, .. } = trainer.options;
        let turn = (epoch as u32).wrapping_mul(TURN);
        for &id in ids.iter().filter(|&&id| id != UNKNOWN) {
            let bits = each.next();
            let kept = trainer
                .kept
                .as_ref()
                .is_none_or(|kept| kept[id as usize] >= ((bits >> 32) as u32).wrapping_add(turn));
            if kept {
                self.words.push(id);
                let less = (u64::from(scaled(bits << 32, window as u32)) + epoch) % window as u64;
                self.windows.push(window as u32 - if shrink_windows { less as u32 } else { 0 });
            }
        }
    }

    fn contexts(&self, centre: usize) -> impl Iterator<Item = u32> {
        let window = self.windows[centre] as usize;
        let before = &self.words[centre.saturating_sub(window)..centre];
        let end = (centre + 1 + window).min(self.words.len());
        before.iter().chain(&self.words[centre + 1..end]).copied()
    }
}

impl Items {
    /// The steps of the words `centres` of a sentence.
    pub(super) fn fill(
        &mut self,
        sentence: &Sentence,
        centres: Range<usize>,
        trainer: &Trainer,
        random: &mut Random,
    ) {
        self.items.clear();
        self.groups.clear();
        self.inputs.clear();
        self.targets.clear();
        self.weights.clear();
        let options = &trainer.options;
        for centre in centres {
            let word = sentence.words[centre];
            let (input, group) = (self.inputs.len(), self.groups.len());
            if !options.skip_gram {
                sentence.contexts(centre).for_each(|id| trainer.rows(id, &mut self.inputs));
                if self.inputs.len() > input {
                    self.predict(word, trainer, random);
                    self.end(input, group);
                }
            } else if options.subwords.is_some() {
                trainer.rows(word, &mut self.inputs);
                sentence.contexts(centre).for_each(|id| self.predict(id, trainer, random));
                if self.groups.len() > group {
                    self.end(input, group);
                }
            } else {
                let most = if options.shared_negatives { MAX_INPUTS } else { 1 };
                for context in sentence.contexts(centre) {
                    let last = self.items.last();
                    if self.groups.len() == group || last.is_none_or(|i| i.inputs.len() == most) {
                        let (input, group) = (self.inputs.len(), self.groups.len());
                        self.predict(word, trainer, random);
                        self.end(input, group);
                    }
                    self.inputs.push(context);
                    if let Some(item) = self.items.last_mut() {
                        item.inputs.end += 1;
                    }
                }
            }
        }
    }

    fn end(&mut self, input: usize, group: usize) {
        let (inputs, groups) = (input..self.inputs.len(), group..self.groups.len());
        self.items.push(Item { inputs, groups });
    }

    /// A word to be predicted, and words drawn to contrast it with.
    #[inline(always)]
    fn predict(&mut self, word: u32, trainer: &Trainer, random: &mut Random) {
        let start = self.targets.len();
        if let Some(alias) = &trainer.alias {
            self.targets.push(word);
            self.weights.push(1.0);
            let parts = trainer.options.negative as u32;
            for part in 0..parts {
                let other = alias.draw(random, part, parts);
                if other == word {
                    continue;
                }
                match self.targets[start + 1..].iter().position(|&id| id == other) {
                    Some(place) => self.weights[start + 1 + place] += 1.0,
                    None => {
                        self.targets.push(other);
                        self.weights.push(1.0);
                    }
                }
            }
        }
        self.groups.push(Group { word, targets: start..self.targets.len() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_fall_evenly_over_the_epochs() {
        let options = Options {
            skip_gram: true,
            hierarchical: false,
            negative: 5,
            ns_exponent: 0.75,
            sample: 0.1,
            window: 5,
            shrink_windows: true,
            mean: true,
            shared_negatives: false,
            subwords: None,
            batch_words: 100,
        };
        // Of the first word 444 in 1,000 are kept, of the second all.
        let trainer = Trainer::new(&["a", "b"], &[900, 100], options).unwrap();
        for (word, share) in [(0, 0.444), (1, 1.0)] {
            let ids = [word; 1000];
            let mut all = 0;
            let mut widths = [0; 5];
            for epoch in 0..10 {
                let mut sentence = Sentence::default();
                sentence.draw(&ids, &trainer, &mut Random::new(1, 2, 3), epoch);
                assert_eq!(sentence.words.len(), sentence.windows.len());
                sentence.windows.iter().for_each(|&width| widths[width as usize - 1] += 1);
                all += sentence.words.len();
                let kept = sentence.words.len() as f64 / 1000.0;
                assert!((kept - share).abs() < 0.06, "{kept} of {word} in epoch {epoch}");
            }
            let kept = all as f64 / 10_000.0;
            assert!((kept - share).abs() < 0.01, "{kept} of {word} in all");
            if word == 1 {
                assert_eq!(widths, [2000; 5], "each word has each width twice in ten epochs");
            }
        }
    }
}
