//! Counting words, and the words that remain by their place.

use std::path::Path;

use super::source::Text;
use super::{Stop, UNKNOWN, check};
use crate::Result;
use crate::ngram::Vocabulary;
use crate::ngram::words::words;

/// Words counted so far.
#[derive(Debug)]
pub struct Counter {
    vocabulary: Vocabulary,
    counts: Vec<u64>,
    /// Words with a count.
    live: usize,
    max_size: usize,
    /// What the next pruning removes.
    least: u64,
    words: u64,
    sentences: u64,
}

impl Counter {
    /// Counts nothing yet; whenever more than `max_size` words are known, rare ones are forgotten.
    pub fn new(max_size: usize) -> Self {
        let vocabulary = Vocabulary::new();
        Self { vocabulary, counts: vec![], live: 0, max_size, least: 1, words: 0, sentences: 0 }
    }

    /// Occurrences of words, of any kind.
    pub fn words(&self) -> u64 {
        self.words
    }

    /// Sentences, empty ones too.
    pub fn sentences(&self) -> u64 {
        self.sentences
    }

    /// Counts one word.
    pub fn add(&mut self, word: &str) {
        let id = self.vocabulary.add(word) as usize;
        if id >= self.counts.len() {
            self.counts.resize(self.vocabulary.len(), 0);
        }
        self.live += usize::from(self.counts[id] == 0);
        self.counts[id] += 1;
        self.words += 1;
    }

    /// Ends a sentence.
    pub fn end(&mut self) {
        self.sentences += 1;
        if self.live > self.max_size {
            self.prune();
        }
    }

    /// Counts the words of a text file, one sentence a line, compressed or not.
    pub fn read(&mut self, path: &Path, stop: Stop<'_>) -> Result<()> {
        let mut text = Text::open(path)?;
        let mut block = Vec::new();
        while text.next(&mut block)? {
            check(stop)?;
            let block = Text::decoded(path, &block)?;
            for line in block.lines() {
                words(line).for_each(|word| self.add(word));
                self.end();
            }
        }
        Ok(())
    }

    fn prune(&mut self) {
        let old = std::mem::take(&mut self.vocabulary);
        let counts = std::mem::take(&mut self.counts);
        self.live = 0;
        for (id, count) in counts.into_iter().enumerate().filter(|&(_, count)| count > self.least) {
            let id = self.vocabulary.add(&old.word(id as u32)) as usize;
            self.counts.resize(self.vocabulary.len(), 0);
            self.counts[id] = count;
            self.live += 1;
        }
        self.least += 1;
    }

    /// Words that occur at least `min_count` times, at most about `max_final` of them, by descending
    /// count and then in the order of their first occurrence. Of words with the same count all or
    /// none remain.
    pub fn finish(&self, min_count: u64, max_final: Option<usize>) -> (Vec<String>, Vec<u64>) {
        let mut found: Vec<(u64, u32)> = self.counts.iter().copied().zip(0..).collect();
        found.retain(|&(count, _)| count >= min_count.max(1));
        found.sort_by_key(|&(count, id)| (std::cmp::Reverse(count), id));
        if let Some(max) = max_final.filter(|&max| max < found.len()) {
            let least = found[max].0 + 1;
            found.truncate(found.partition_point(|&(count, _)| count >= least));
        }
        let word = |&(_, id): &(u64, u32)| self.vocabulary.word(id).into_owned();
        (found.iter().map(word).collect(), found.iter().map(|&(count, _)| count).collect())
    }
}

/// Words by their place in the vocabulary.
#[derive(Debug)]
pub(super) struct Lexicon {
    vocabulary: Vocabulary,
    /// The place of each id.
    places: Vec<u32>,
}

impl Lexicon {
    pub(super) fn new<'a>(list: impl IntoIterator<Item = &'a str>) -> Self {
        let mut vocabulary = Vocabulary::new();
        let mut places = vec![UNKNOWN; vocabulary.len()];
        for (place, word) in list.into_iter().enumerate() {
            let id = vocabulary.add(word) as usize;
            places.resize(vocabulary.len(), UNKNOWN);
            if places[id] == UNKNOWN {
                places[id] = place as u32;
            }
        }
        Self { vocabulary, places }
    }

    /// The place of `word`, or [`UNKNOWN`].
    pub(super) fn place(&self, word: &str) -> u32 {
        self.vocabulary.id(word).map_or(UNKNOWN, |id| self.places[id as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(text: &str, max_size: usize) -> Counter {
        let mut counter = Counter::new(max_size);
        for line in text.lines() {
            words(line).for_each(|word| counter.add(word));
            counter.end();
        }
        counter
    }

    #[test]
    fn words_come_by_count_and_first_occurrence() {
        let counter = counted("b a a <s>\nc b <unk> b\n\n", usize::MAX);
        assert_eq!((counter.words(), counter.sentences()), (8, 3));
        let (words, counts) = counter.finish(1, None);
        assert_eq!(words, ["b", "a", "<unk>", "<s>", "c"]);
        assert_eq!(counts, [3, 2, 1, 1, 1]);
        assert_eq!(counter.finish(2, None).0, ["b", "a"]);
        assert_eq!(counter.finish(0, Some(3)).0, ["b", "a"]);
        assert_eq!(counter.finish(0, Some(0)).0.len(), 0);
        assert_eq!(counter.finish(0, Some(5)).0.len(), 5);
        let lexicon = Lexicon::new(words.iter().map(String::as_str));
        for (place, word) in words.iter().enumerate() {
            assert_eq!(lexicon.place(word), place as u32);
        }
        assert_eq!(lexicon.place("</s>"), UNKNOWN);
        assert_eq!(lexicon.place("d"), UNKNOWN);
    }

    #[test]
    fn rare_words_are_forgotten_where_there_are_too_many() {
        let (words, counts) = counted("a a b\nc a\nd b b\ne\n", 3).finish(1, None);
        assert_eq!(words, ["a", "b", "e"]);
        assert_eq!(counts, [3, 3, 1]);
    }
}
