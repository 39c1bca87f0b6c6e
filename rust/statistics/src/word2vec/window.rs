//! From the words of a sentence to the steps of training: which rows meet which.

use std::ops::Range;

use super::UNKNOWN;
use super::random::Random;
use super::train::Trainer;

/// Most rows of a step with shared negatives.
pub(super) const MAX_INPUTS: usize = 16;

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
    /// Drops unknown words and some of the frequent ones, then draws the windows.
    pub(super) fn draw(&mut self, ids: &[u32], trainer: &Trainer, random: &mut Random) {
        self.words.clear();
        let known = ids.iter().copied().filter(|&id| id != UNKNOWN);
        match &trainer.kept {
            None => self.words.extend(known),
            Some(kept) => self
                .words
                .extend(known.filter(|&id| kept[id as usize] >= (random.next() >> 32) as u32)),
        }
        let window = trainer.options.window as u32;
        self.windows.clear();
        if trainer.options.shrink_windows {
            self.windows.extend(self.words.iter().map(|_| window - random.below(window)));
        } else {
            self.windows.resize(self.words.len(), window);
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
            for _ in 0..trainer.options.negative {
                let other = alias.draw(random);
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
