//! Words and their ids.

use std::borrow::Cow;
use std::ops::Range;

use crate::hash::hash;
use crate::{Error, Result};

use lamina_kernels::simd::prefetch;

use super::words::{hashed_words, lines};
use super::{BEGIN, END, MAX_NUMBERS, SPECIAL, UNKNOWN};

/// How many words ahead of the one that is looked up memory is asked for, three times over.
const AHEAD: usize = 8;

/// Words numbered in the order in which they were added, after the special ones.
#[derive(Debug, Clone)]
pub struct Vocabulary {
    /// The words that are stored, one after the other.
    text: String,
    /// Where each ends.
    ends: Vec<u64>,
    /// Open addressing: part of the hash, and place in `ends` plus one or zero.
    slots: Vec<(u32, u32)>,
    /// How many numbers follow the special words; they are not stored.
    numbers: u32,
}

impl PartialEq for Vocabulary {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.ends == other.ends && self.numbers == other.numbers
    }
}

impl Default for Vocabulary {
    fn default() -> Self {
        Self::new()
    }
}

impl Vocabulary {
    /// Only the special words.
    pub fn new() -> Self {
        let slots = vec![(0, 0); 64];
        let mut new = Self { text: String::new(), ends: Vec::new(), slots, numbers: 0 };
        for word in SPECIAL {
            new.add(word);
        }
        new
    }

    /// The special words and the numbers below `size` in decimal.
    pub fn numbers(size: usize) -> Result<Self> {
        if size > MAX_NUMBERS {
            let message = format!("expected at most {MAX_NUMBERS}, got {size}");
            return Err(Error::value("ngram", "vocab_size", message));
        }
        Ok(Self { numbers: size as u32, ..Self::new() })
    }

    /// The words that are stored, one after the other, where each ends, and how many numbers there
    /// are.
    pub(super) fn stored_words(&self) -> (&str, &[u64], u32) {
        (&self.text, &self.ends, self.numbers)
    }

    /// The vocabulary of which those are the parts, or what is wrong with them.
    pub(super) fn from_stored(
        text: &str,
        ends: &[u64],
        numbers: u32,
    ) -> std::result::Result<Self, String> {
        let mut vocabulary = Self { numbers: 0, ..Self::new() };
        let mut start = 0;
        for (place, &end) in ends.iter().enumerate() {
            let word = usize::try_from(end).ok().and_then(|end| text.get(start..end));
            let word = word.ok_or_else(|| format!("word {place} does not end within the words"))?;
            start = end as usize;
            if SPECIAL.get(place).is_some_and(|&special| special != word) {
                return Err(format!("expected {} as word {place}, got {word}", SPECIAL[place]));
            }
            if vocabulary.add(word) != place as u32 {
                return Err(format!("word {place}, {word}, is there twice"));
            }
        }
        if ends.len() < SPECIAL.len() || start != text.len() || numbers as usize > MAX_NUMBERS {
            return Err(format!("expected words after {}", SPECIAL.join(", ")));
        }
        vocabulary.numbers = numbers;
        Ok(vocabulary)
    }

    /// Whether the words are numbers.
    pub fn is_numbers(&self) -> bool {
        self.numbers > 0
    }

    /// How many words there are.
    pub fn len(&self) -> usize {
        self.ends.len() + self.numbers as usize
    }

    /// Never: the special words are always there.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The word `id`.
    pub fn word(&self, id: u32) -> Cow<'_, str> {
        let special = SPECIAL.len() as u32;
        match id.checked_sub(special) {
            Some(number) if number < self.numbers => Cow::Owned(number.to_string()),
            Some(_) => Cow::Borrowed(self.stored(id - self.numbers)),
            None => Cow::Borrowed(self.stored(id)),
        }
    }

    /// The id of `word`.
    pub fn id(&self, word: &str) -> Option<u32> {
        self.id_of_hashed(word, hash(word.as_bytes()))
    }

    fn id_of_hashed(&self, word: &str, hash: u64) -> Option<u32> {
        match self.slots[self.slot(word, hash)] {
            (_, 0) => self.number(word),
            (_, place) => Some(self.id_of(place - 1)),
        }
    }

    /// The id of `word` if it is a number as [`Self::word`] would write it.
    fn number(&self, word: &str) -> Option<u32> {
        let digits = word.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || word.len() > 1 && word.starts_with('0') {
            return None;
        }
        let number: u32 = word.parse().ok()?;
        (number < self.numbers).then(|| number + SPECIAL.len() as u32)
    }

    fn stored(&self, place: u32) -> &str {
        &self.text[self.range(place)]
    }

    #[inline(always)]
    fn stored_bytes(&self, place: u32) -> &[u8] {
        &self.text.as_bytes()[self.range(place)]
    }

    #[inline(always)]
    fn range(&self, place: u32) -> Range<usize> {
        let place = place as usize;
        let start = if place == 0 { 0 } else { self.ends[place - 1] };
        start as usize..self.ends[place] as usize
    }

    fn id_of(&self, place: u32) -> u32 {
        if (place as usize) < SPECIAL.len() { place } else { place + self.numbers }
    }

    /// The id of `word`, which becomes a new word if it is none yet.
    pub fn add(&mut self, word: &str) -> u32 {
        self.add_hashed(word, hash(word.as_bytes()))
    }

    fn add_hashed(&mut self, word: &str, hash: u64) -> u32 {
        let slot = self.slot(word, hash);
        if self.slots[slot].1 != 0 {
            return self.id_of(self.slots[slot].1 - 1);
        }
        if let Some(id) = self.number(word) {
            return id;
        }
        let place = self.ends.len() as u32;
        self.text.push_str(word);
        self.ends.push(self.text.len() as u64);
        self.slots[slot] = (tag(hash), place + 1);
        if self.ends.len() * 2 > self.slots.len() {
            self.grow();
        }
        self.id_of(place)
    }

    fn slot(&self, word: &str, hash: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let (other, place) = self.slots[slot];
            if place == 0 || other == tag(hash) && self.stored_bytes(place - 1) == word.as_bytes() {
                return slot;
            }
            slot = (slot + 1) & mask;
        }
    }

    fn grow(&mut self) {
        let mut slots = vec![(0, 0); self.slots.len() * 4];
        let mask = slots.len() - 1;
        for place in 0..self.ends.len() as u32 {
            let hash = hash(self.stored(place).as_bytes());
            let mut slot = hash as usize & mask;
            while slots[slot].1 != 0 {
                slot = (slot + 1) & mask;
            }
            slots[slot] = (tag(hash), place + 1);
        }
        self.slots = slots;
    }

    /// Adds the lines of `text` to `tokens`, each as a sentence between `<s>` and `</s>`, with ids
    /// for new words.
    pub fn learn(&mut self, text: &str, tokens: &mut Vec<u32>) -> Result<()> {
        for (number, line) in lines(text).enumerate() {
            tokens.push(BEGIN);
            for (word, hash) in hashed_words(line) {
                let id = self.add_hashed(word, hash);
                if id == BEGIN || id == END {
                    return Err(Error::Format {
                        what: "text".into(),
                        line: number + 1,
                        reason: format!("the word {word} is reserved for the model's own use"),
                    });
                }
                tokens.push(id);
            }
            tokens.push(END);
        }
        Ok(())
    }

    /// Ids of the words of `text`, `</s>` after each line but one without a line feed behind it,
    /// unless `finish` asks for that too.
    pub fn encode(&self, text: &str, finish: bool) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / 5);
        let mut rest = lines(text).peekable();
        while let Some(line) = rest.next() {
            let words = hashed_words(line);
            ids.extend(words.map(|(word, hash)| as_queried(self.id_of_hashed(word, hash))));
            if finish || rest.peek().is_some() || text.ends_with('\n') {
                ids.push(END);
            }
        }
        ids
    }

    /// Hands the id of each of `words`, which stand in a text and have these hashes, to `each`. The
    /// memory that a word needs, which lies in three places, is asked for while those before it are
    /// looked at.
    pub(super) fn query_each(&self, words: &[(&str, u64)], mut each: impl FnMut(usize, u32)) {
        let mask = self.slots.len() - 1;
        let place = |hash: u64| self.slots[hash as usize & mask].1 as usize;
        for step in 0..words.len() + 3 * AHEAD {
            let at = |behind: usize| Some(words.get(step.checked_sub(behind * AHEAD)?)?.1);
            if let Some(hash) = at(0) {
                prefetch::<true>(self.slots.as_ptr().wrapping_add(hash as usize & mask).cast());
            }
            if let Some(hash) = at(1) {
                let end = self.ends.as_ptr().wrapping_add(place(hash).saturating_sub(2));
                prefetch::<true>(end.cast());
            }
            if let Some(before) = at(2).and_then(|hash| place(hash).checked_sub(2)) {
                let start = self.ends[before] as usize;
                prefetch::<true>(self.text.as_ptr().wrapping_add(start));
            }
            if let Some(hash) = at(3) {
                let at = step - 3 * AHEAD;
                each(at, as_queried(self.id_of_hashed(words[at].0, hash)));
            }
        }
    }

    /// The id of `word` where it stands in a text: `<s>` is as unknown there as any other.
    pub fn query(&self, word: &str) -> u32 {
        as_queried(self.id(word))
    }
}

fn as_queried(id: Option<u32>) -> u32 {
    id.filter(|&id| id != BEGIN).unwrap_or(UNKNOWN)
}

#[inline(always)]
fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_their_ids_while_the_table_grows() {
        let mut vocabulary = Vocabulary::new();
        for number in 0..5000u32 {
            assert_eq!(vocabulary.add(&number.to_string()), number + 3);
        }
        assert_eq!(vocabulary.len(), 5003);
        for number in 0..5000u32 {
            assert_eq!(vocabulary.id(&number.to_string()), Some(number + 3));
            assert_eq!(vocabulary.word(number + 3), number.to_string());
        }
        assert_eq!(vocabulary.id("5000"), None);
        assert_eq!(vocabulary.query("<s>"), UNKNOWN);
    }

    #[test]
    fn numbers_are_words_that_are_not_stored() {
        let mut vocabulary = Vocabulary::numbers(MAX_NUMBERS).unwrap();
        let last = MAX_NUMBERS as u32 + 2;
        assert_eq!(vocabulary.len(), MAX_NUMBERS + 3);
        assert_eq!(vocabulary.ends.len(), 3);
        for (word, id) in [("<unk>", 0), ("</s>", 2), ("0", 3), ("70", 73), ("16777215", last)] {
            assert_eq!(vocabulary.id(word), Some(id));
            assert_eq!(vocabulary.add(word), id);
            assert_eq!(vocabulary.word(id), word);
        }
        for word in ["", "00", "07", "+7", "-0", "16777216", "99999999999999999999", "\u{663}"] {
            assert_eq!(vocabulary.id(word), None, "{word}");
        }
        assert_eq!(vocabulary.add("other"), last + 1);
        assert_eq!(vocabulary.id("other"), Some(last + 1));
        assert_eq!(vocabulary.word(last + 1), "other");
        let error = Vocabulary::numbers(MAX_NUMBERS + 1).unwrap_err().to_string();
        assert_eq!(error, "[ngram] vocab_size: expected at most 16777216, got 16777217");
    }

    #[test]
    fn text_becomes_sentences() {
        let mut vocabulary = Vocabulary::new();
        let mut tokens = Vec::new();
        vocabulary.learn("a b\r\n\n b\u{a0}a \tä", &mut tokens).unwrap();
        assert_eq!(tokens, [1, 3, 4, 2, 1, 2, 1, 5, 6, 2]);
        assert_eq!(vocabulary.encode("a x\nb", false), [3, 0, 2, 4]);
        assert_eq!(vocabulary.encode("a x\nb", true), [3, 0, 2, 4, 2]);
        assert_eq!(vocabulary.encode("b\n", false), [4, 2]);
        assert_eq!(vocabulary.encode("", true), []);
        let error = vocabulary.learn("a\nb </s>", &mut tokens).unwrap_err().to_string();
        assert_eq!(error, "text, line 2: the word </s> is reserved for the model's own use");
    }
}
