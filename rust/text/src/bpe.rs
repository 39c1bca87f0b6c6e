//! Byte-level byte-pair encoding, with the pre-tokenizer of GPT-2, learnt from counts of words.

use ahash::AHashMap;
use compact_str::CompactString;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

use crate::guard::guarded;
use crate::pieces::floor_char_boundary;
use crate::tokenizer::{Inner, Tokenizer};
use crate::{COST, Error, Result, threads};

/// Every byte is a token, so no vocabulary is smaller.
const BYTES: usize = 256;
/// Longer words are counted in parts of at most so many bytes: the crate's time for a word grows
/// with the square of its length.
const LONGEST_WORD: usize = 256;

/// How often each word occurs.
#[derive(Default)]
pub struct Counts(AHashMap<CompactString, u64>);

impl Counts {
    /// Adds those of another text.
    pub fn add(&mut self, other: Self) {
        for (word, count) in other.0 {
            *self.0.entry(word).or_default() += count;
        }
    }
}

/// Fails unless `vocab_size` has room for every byte and so many special tokens.
pub fn check_vocab_size(vocab_size: usize, special_tokens: usize) -> Result<()> {
    let least = BYTES + special_tokens;
    if vocab_size < least || u32::try_from(vocab_size).is_err() {
        let message = format!("expected {least} to {}, got {vocab_size}", u32::MAX);
        return Err(Error::value("train_bpe", "vocab_size", message));
    }
    Ok(())
}

/// The words of each of `pieces`, counted on all threads.
pub fn count(pieces: &[&str]) -> Result<Vec<Counts>> {
    let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
    threads::map(pieces.len(), bytes * COST, |i| count_piece(pieces[i])).into_iter().collect()
}

fn count_piece(piece: &str) -> Result<Counts> {
    guarded("train_bpe", || {
        let mut text = PreTokenizedString::from(piece);
        byte_level().pre_tokenize(&mut text)?;
        let mut counts = Counts::default();
        for (word, (start, end), _) in
            text.get_splits(OffsetReferential::Original, OffsetType::Byte)
        {
            for part in parts(word, &piece[start..end]) {
                *counts.0.entry(CompactString::from(part)).or_default() += 1;
            }
        }
        Ok(counts)
    })
}

/// A word, or a long one in parts that end between two characters of `source`, of whose bytes each
/// is a character of `word`.
fn parts<'a>(word: &'a str, source: &str) -> Vec<&'a str> {
    if source.len() <= LONGEST_WORD {
        return vec![word];
    }
    let starts: Vec<usize> =
        word.char_indices().map(|(start, _)| start).chain([word.len()]).collect();
    let mut parts = Vec::with_capacity(source.len() / LONGEST_WORD + 1);
    let mut start = 0;
    while start < source.len() {
        let end = floor_char_boundary(source, start + LONGEST_WORD);
        parts.push(&word[starts[start]..starts[end]]);
        start = end;
    }
    parts
}

fn byte_level() -> ByteLevel {
    ByteLevel::new(false, true, true)
}

/// The tokenizer with merges of pairs that occur at least `min_frequency` times, up to `vocab_size`
/// tokens. It cannot be stopped.
pub fn learn(
    counts: &Counts,
    vocab_size: usize,
    special_tokens: &[String],
    min_frequency: u64,
) -> Result<Tokenizer> {
    let special: Vec<_> = special_tokens.iter().map(|s| AddedToken::from(s, true)).collect();
    let inner = guarded("train_bpe", || {
        let trainer = BpeTrainer::builder()
            .vocab_size(vocab_size)
            .min_frequency(min_frequency)
            .special_tokens(special.clone())
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .show_progress(false)
            .build();
        let mut model = BPE::default();
        trainer.do_train(&counts.0, &mut model)?;
        let mut inner = Inner::new(model);
        inner.with_pre_tokenizer(Some(byte_level()));
        inner.with_decoder(Some(byte_level()));
        inner.add_special_tokens(special)?;
        Ok(inner)
    })?;
    Tokenizer::new(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_words_end_between_characters() {
        let source = "\u{6f22}".repeat(100);
        let word = "abc".repeat(100);
        let parts = parts(&word, &source);
        assert_eq!(parts, ["abc".repeat(85), "abc".repeat(15)]);
    }

    #[test]
    fn words_of_all_pieces_are_added_up() {
        let mut counts = Counts::default();
        for part in count(&["to be\n", "to do"]).unwrap() {
            counts.add(part);
        }
        let mut words: Vec<_> = counts.0.iter().map(|(word, &n)| (word.as_str(), n)).collect();
        words.sort_unstable();
        assert_eq!(words, [("to", 2), ("\u{10a}", 1), ("\u{120}be", 1), ("\u{120}do", 1)]);
    }

    #[test]
    fn vocabularies_have_every_byte() {
        assert_eq!(check_vocab_size(258, 2), Ok(()));
        assert_eq!(
            check_vocab_size(257, 2).unwrap_err().to_string(),
            "[train_bpe] vocab_size: expected 258 to 4294967295, got 257"
        );
    }
}
