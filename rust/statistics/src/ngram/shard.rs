//! Counts of the n-grams of sentences, in memory or in a file of [`Kind::Counts`].
//!
//! There is one n-gram for each word of a sentence and for its `<s>` and `</s>`: the words from there
//! on, as many as the order or up to `</s>`. All shorter n-grams are beginnings of these.
//!
//! | section | values |
//! | --- | --- |
//! | `text`, `ends` | the words one after the other, and where each ends (u64) |
//! | `ngrams` | `order` numbers (u32) for each n-gram: id plus one, zero after the end; ascending |
//! | `counts` | how often each occurs (u64), at least once |
//!
//! Sections are of length 0; the table has the number of n-grams at the order, and zeros below.

use std::path::Path;

use super::binary::{read_words, write_words};
use super::container::{self, Container, Kind, Verify};
use super::keys::{Key, Layout, with_key};
use super::kneser_ney::{Target, check_tokens, estimate_sorted};
use super::sort::{self, Sorted, Windows};
use super::{BEGIN, Model, Options, Stop, Vocabulary, check, check_order, cutoff, kneser_ney};
use crate::buffer::Buffer;
use crate::scratch::Storage;
use crate::{Error, Result};

/// N-grams handled between two looks at whether to stop.
const BETWEEN_CHECKS: usize = 1 << 18;

/// Counts that can be written, added up and made a model of.
#[derive(Debug, Clone, PartialEq)]
pub struct Shard {
    /// Words in the longest n-grams.
    pub order: usize,
    /// The words and their ids.
    pub vocabulary: Vocabulary,
    /// The n-grams one after the other: ids plus one, zeros after the end of a sentence.
    pub ngrams: Buffer<u32>,
    /// How often each occurs.
    pub counts: Buffer<u64>,
}

impl Shard {
    /// Counts the n-grams of `tokens`: sentences of ids, each after a [`BEGIN`].
    pub fn count(
        tokens: impl AsRef<[u32]>,
        vocabulary: Vocabulary,
        order: usize,
        storage: Storage<'_>,
        stop: Stop<'_>,
    ) -> Result<Self> {
        const OP: &str = "ngram_count";
        let given = tokens.as_ref();
        check_order(OP, order)?;
        check_tokens(OP, given, &vocabulary)?;
        let layout = sort::layout(OP, given, order, Windows::Sentences)?;
        with_key!(layout, K => {
            let sorted = sort::sorted::<K>(given, &layout, Windows::Sentences, storage, stop)?;
            let mut ngrams = Vec::new();
            let mut counts = Vec::new();
            for part in 0..sorted.parts() {
                check(stop)?;
                let (keys, times) = sorted.part(part);
                for (key, &times) in keys.iter().zip(times) {
                    ngrams.extend((0..order).map(|index| key.word(index, &layout)));
                    counts.push(u64::from(times));
                }
            }
            Ok(Self { order, vocabulary, ngrams: ngrams.into(), counts: counts.into() })
        })
    }

    /// Writes the counts to `path`.
    pub fn save(&self, path: &Path, stop: Stop<'_>) -> Result<()> {
        container::write(path, Kind::Counts, 0, stop, |writer| {
            write_words(writer, &self.vocabulary)?;
            writer.section("ngrams", 0, &self.ngrams)?;
            writer.section("counts", 0, &self.counts)?;
            let mut lengths = vec![0; self.order];
            lengths[self.order - 1] = self.counts.len() as u64;
            Ok((lengths, ()))
        })
    }

    /// Reads a file of [`Self::save`], which is mapped.
    pub fn load(path: &Path, stop: Stop<'_>) -> Result<Self> {
        let file = Container::open(path, Verify::Whole, stop)?;
        file.expect(Kind::Counts)?;
        let order = file.order();
        let len = file.count(order)?;
        let vocabulary = read_words(&file, 0)?;
        let ngrams: Buffer<u32> = file.array_of("ngrams", 0, len * order)?;
        let counts: Buffer<u64> = file.array_of("counts", 0, len)?;
        let words = vocabulary.len() as u32;
        let mut last: Option<&[u32]> = None;
        for (at, (ngram, &count)) in ngrams.chunks_exact(order).zip(&counts).enumerate() {
            if at % BETWEEN_CHECKS == 0 {
                check(stop)?;
            }
            let len = ngram.iter().position(|&word| word == 0).unwrap_or(order);
            let fits = len > 0
                && ngram[..len].iter().all(|&word| word <= words)
                && ngram[len..].iter().all(|&word| word == 0)
                && ngram[1..len].iter().all(|&word| word != BEGIN + 1);
            if !fits || count == 0 || count > u64::from(u32::MAX) {
                return Err(file.failed(format!("n-gram {at} or its count is damaged")));
            }
            if last.is_some_and(|last| last >= ngram) {
                return Err(file.failed(format!("n-gram {at} is not above the one before")));
            }
            last = Some(ngram);
        }
        Ok(Self { order, vocabulary, ngrams, counts })
    }

    /// The counts of both: words keep this one's ids, and new ones follow in the other's order.
    pub fn merge(&self, other: &Self, stop: Stop<'_>) -> Result<Self> {
        if self.order != other.order {
            let message = format!("expected order {}, got {}", self.order, other.order);
            return Err(Error::value("ngram_merge", "counts", message));
        }
        let mut vocabulary = self.vocabulary.clone();
        let ids: Vec<u32> = (0..other.vocabulary.len() as u32)
            .map(|id| vocabulary.add(&other.vocabulary.word(id)))
            .collect();
        let layout = Layout::new(self.order, vocabulary.len() as u32);
        with_key!(layout, K => {
            let mut moved: Vec<(K, u64)> = Vec::with_capacity(other.counts.len());
            for (ngram, &count) in other.ngrams.chunks_exact(self.order).zip(&other.counts) {
                let key = ngram.iter().rev().fold(K::default(), |key, &word| {
                    let word = word.checked_sub(1).map_or(0, |word| ids[word as usize] + 1);
                    key.push_front(word, &layout)
                });
                moved.push((key, count));
            }
            check(stop)?;
            moved.sort_unstable();
            self.interleave(&moved, &layout, vocabulary, stop)
        })
    }

    fn interleave<K: Key>(
        &self,
        moved: &[(K, u64)],
        layout: &Layout,
        vocabulary: Vocabulary,
        stop: Stop<'_>,
    ) -> Result<Self> {
        let mut ngrams = Vec::with_capacity(self.ngrams.len() + moved.len() * self.order / 2);
        let mut counts = Vec::with_capacity(self.counts.len() + moved.len() / 2);
        let mut push = |key: K, count: u64| {
            ngrams.extend((0..self.order).map(|index| key.word(index, layout)));
            counts.push(count);
        };
        let mut rest = moved.iter().copied().peekable();
        for at in 0..self.counts.len() {
            if at % BETWEEN_CHECKS == 0 {
                check(stop)?;
            }
            let key = self.key::<K>(at, layout);
            while let Some((before, count)) = rest.next_if(|(other, _)| *other < key) {
                push(before, count);
            }
            let same = rest.next_if(|(other, _)| *other == key).map_or(0, |(_, count)| count);
            push(key, self.counts[at] + same);
        }
        rest.for_each(|(key, count)| push(key, count));
        let (ngrams, counts) = (ngrams.into(), counts.into());
        Ok(Self { order: self.order, vocabulary, ngrams, counts })
    }

    fn key<K: Key>(&self, at: usize, layout: &Layout) -> K {
        let ngram = &self.ngrams[at * self.order..(at + 1) * self.order];
        ngram.iter().rev().fold(K::default(), |key, &word| key.push_front(word, layout))
    }

    /// The model that [`kneser_ney::estimate`] would make of the text; `options` may ask for a
    /// lower order.
    pub fn estimate(
        &self,
        options: &Options,
        storage: Storage<'_>,
        stop: Stop<'_>,
    ) -> Result<(Model, kneser_ney::Report)> {
        const OP: &str = "ngram_estimate";
        if options.order != self.order {
            let message =
                format!("expected {}, that of the counts, got {}", self.order, options.order);
            return Err(Error::value(OP, "order", message));
        }
        cutoff::thresholds(OP, &options.prune, options.order)?;
        let layout = Layout::new(self.order, self.vocabulary.len() as u32);
        with_key!(layout, K => {
            let mut keys: Vec<K> = Vec::with_capacity(self.counts.len());
            let mut counts = Vec::with_capacity(self.counts.len());
            for at in 0..self.counts.len() {
                if at % BETWEEN_CHECKS == 0 {
                    check(stop)?;
                }
                let count = u32::try_from(self.counts[at]).map_err(|_| {
                    let most = u32::MAX;
                    Error::value(OP, "counts", format!("expected at most {most}, got {}", self.counts[at]))
                })?;
                keys.push(self.key::<K>(at, &layout));
                counts.push(count);
            }
            let sorted = Sorted::new(keys.into(), counts.into(), &layout);
            let (vocabulary, target) = (self.vocabulary.clone(), Target::Model);
            estimate_sorted(sorted, &layout, vocabulary, options, storage, target, stop)
        })
    }

    /// How often the n-gram `words` occurs; at most `order` words.
    pub fn occurrences(&self, words: &[u32]) -> u64 {
        if words.is_empty() || words.len() > self.order {
            return 0;
        }
        let prefix = |at: usize| &self.ngrams[at * self.order..at * self.order + words.len()];
        let compare =
            |at: usize| prefix(at).iter().copied().cmp(words.iter().map(|&word| word + 1));
        let (mut low, mut high) = (0, self.counts.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match compare(middle) {
                std::cmp::Ordering::Less => low = middle + 1,
                _ => high = middle,
            }
        }
        (low..self.counts.len())
            .take_while(|&at| compare(at) == std::cmp::Ordering::Equal)
            .map(|at| self.counts[at])
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vocabulary, Vec<u32>) {
        let mut read = (Vocabulary::new(), Vec::new());
        read.0.learn(text, &mut read.1).unwrap();
        read
    }

    #[test]
    fn shards_make_the_model_of_the_whole() {
        let (a, b) = ("a b c\nc a b\n\n", "b d a\nx a b c\nd d\n");
        for order in [1, 2, 3, 5, 20] {
            let options = Options { order, ..Options::default() };
            let count = |text: &str| {
                let (vocabulary, tokens) = read(text);
                Shard::count(tokens, vocabulary, order, None, &|| false).unwrap()
            };
            let merged = count(a).merge(&count(b), &|| false).unwrap();
            assert_eq!(merged, count(&format!("{a}{b}")));
            let path = std::env::temp_dir().join(format!("lamina-shard-{}", std::process::id()));
            merged.save(&path, &|| false).unwrap();
            let loaded = Shard::load(&path, &|| false).unwrap();
            std::fs::remove_file(path).unwrap();
            assert_eq!(loaded, merged);
            let (vocabulary, tokens) = read(&format!("{a}{b}"));
            let whole = kneser_ney::estimate(&tokens, vocabulary, &options, &|| false).unwrap();
            assert_eq!(loaded.estimate(&options, None, &|| false).unwrap(), whole);
            let id = |word| merged.vocabulary.id(word).unwrap();
            assert_eq!(merged.occurrences(&[id("a")]), 4);
            assert_eq!(merged.occurrences(&[id("a"), id("b")]), if order > 1 { 3 } else { 0 });
            assert_eq!(merged.occurrences(&[id("x"), id("x")]), 0);
        }
    }
}
