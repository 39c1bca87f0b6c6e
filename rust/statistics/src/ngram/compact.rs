//! A model in few bits: a trie from the last word of an n-gram to the first.
//!
//! The n-grams of a length lie in the order of their words read backwards, so those with the same
//! end are neighbours. Each takes the bits of its first word, a code for its probability and,
//! below the highest order, one for its back-off weight; a code is the place of a number in a
//! table of its length. Where the children of each begin takes about two bits ([`packed`]). Single
//! words keep their numbers and where their children begin as they are.
#![allow(unsafe_code)]

use std::path::Path;

use lamina_kernels::simd::prefetch;

use super::backward::{Answer, Backward, Entry};
use super::binary::{read_words, write_words};
use super::container::{self, Container, Kind, Verify};
use super::packed::{Bits, Children};
use super::quantize::{Nearest, centers};
use super::{Model, SPECIAL, Stop, Vocabulary, check};
use crate::buffer::Buffer;
use crate::threads;
use crate::{Error, Result};

/// Bits that a code can have.
pub const CODE_BITS: std::ops::RangeInclusive<u32> = 4..=16;
/// Codes of a weight of one: of n-grams that no longer ones begin with, and of others.
const DEAD_END: usize = 0;
const NO_WEIGHT: usize = 1;
/// N-grams coded by one task.
const BLOCK: usize = 1 << 16;

/// The n-grams of one length from two.
#[derive(Debug, Clone)]
struct Floor {
    /// Word, probability and weight of each, from the lowest bit.
    bits: Bits,
    len: usize,
    prob: Buffer<f32>,
    /// Empty at the highest order.
    backoff: Buffer<f32>,
    /// None at the highest order.
    children: Option<Children>,
    blank: Vec<u32>,
}

/// A model in few bits.
#[derive(Debug, Clone)]
pub struct Compact {
    /// The words and their ids.
    pub vocabulary: Vocabulary,
    word_bits: u32,
    code_bits: u32,
    /// Of single words; weights are empty for a model of those alone.
    prob: Buffer<f32>,
    backoff: Buffer<f32>,
    flags: Buffer<u8>,
    /// Where the children of each word begin, and the end.
    children: Buffer<u32>,
    floors: Vec<Floor>,
    counts: Vec<usize>,
    absent: Vec<u32>,
    error: f32,
}

/// The children among which the next n-gram is looked for, or the node itself.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cursor {
    from: u32,
    to: u32,
}

impl Floor {
    /// The place of `word` among `from..to`.
    #[inline(always)]
    fn find(&self, from: u32, to: u32, word: u32, word_bits: u32) -> Option<u32> {
        let (mut from, mut len) =
            (from as usize, (to as usize).min(self.len).wrapping_sub(from as usize));
        if len > self.len || len == 0 {
            return None;
        }
        while len > 1 {
            let half = len / 2;
            let other = self.bits.part(from + half, 0, word_bits);
            from = if other <= word { from + half } else { from };
            len -= half;
        }
        (self.bits.part(from, 0, word_bits) == word).then_some(from as u32)
    }

    #[inline(always)]
    fn entry(&self, node: u32, word_bits: u32, code_bits: u32) -> Entry {
        let at = node as usize;
        let prob = self.bits.part(at, word_bits, code_bits) as usize;
        let mut entry =
            Entry { prob: self.prob.get(prob).copied().unwrap_or(0.0), ..Entry::default() };
        if !self.backoff.is_empty() {
            let code = self.bits.part(at, word_bits + code_bits, code_bits) as usize;
            entry.backoff = self.backoff.get(code).copied().unwrap_or(0.0);
            entry.flags = if code == DEAD_END { 0 } else { Entry::RIGHT };
        }
        if !self.blank.is_empty() && self.blank.binary_search(&node).is_ok() {
            entry.flags |= Entry::BLANK;
        }
        entry
    }
}

impl Backward for Compact {
    type Cursor = Cursor;

    fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    fn order(&self) -> usize {
        self.floors.len() + 1
    }

    #[inline(always)]
    fn prefetch_word(&self, word: u32) {
        prefetch::<true>(self.prob.as_ptr().wrapping_add(word as usize).cast());
        prefetch::<true>(self.children.as_ptr().wrapping_add(word as usize).cast());
    }

    #[inline(always)]
    fn word(&self, word: u32) -> (Cursor, Entry) {
        let at = word as usize;
        let (from, to) = match self.children.get(at..at + 2) {
            Some(&[from, to]) => (from, to),
            _ => (0, 0),
        };
        let backoff = self.backoff.get(at).copied().unwrap_or(0.0);
        (Cursor { from, to }, Entry { prob: self.prob[at], backoff, flags: self.flags[at] })
    }

    #[inline(always)]
    fn ahead(&self, length: usize, cursor: Cursor, _word: u32) -> Cursor {
        let floor = &self.floors[length - 2];
        let middle = cursor.from as usize + (cursor.to.wrapping_sub(cursor.from) / 2) as usize;
        prefetch::<true>(floor.bits.address(middle));
        cursor
    }

    #[inline(always)]
    fn longer(&self, length: usize, cursor: Cursor, word: u32) -> (Answer, Cursor, Entry) {
        let floor = &self.floors[length - 2];
        let Some(node) = floor.find(cursor.from, cursor.to, word, self.word_bits) else {
            return (Answer::No, cursor, Entry::default());
        };
        let mut entry = floor.entry(node, self.word_bits, self.code_bits);
        let mut next = Cursor::default();
        if let Some(children) = &floor.children {
            let (from, to) = children.range(node);
            next = Cursor { from, to };
            if from < to {
                entry.flags |= Entry::LEFT;
            }
        }
        (Answer::Yes, next, entry)
    }
}

impl Compact {
    /// How many n-grams of each length there are.
    pub fn counts(&self) -> &[usize] {
        &self.counts
    }

    /// Words that are there though the model has no estimate of their own for them.
    pub fn absent(&self) -> &[u32] {
        &self.absent
    }

    /// Bits of a probability and of a back-off weight.
    pub fn code_bits(&self) -> u32 {
        self.code_bits
    }

    /// The most by which a probability or a weight was changed, as a logarithm to base 10.
    pub fn error(&self) -> f32 {
        self.error
    }

    /// `model` with codes of `code_bits` bits, 4 to 16.
    pub fn new(model: &Model, code_bits: u32, stop: Stop<'_>) -> Result<Self> {
        if !CODE_BITS.contains(&code_bits) {
            let (least, most) = (CODE_BITS.start(), CODE_BITS.end());
            let message = format!("expected {least} to {most}, got {code_bits}");
            return Err(Error::value("ngram_compact", "bits", message));
        }
        let order = model.order();
        let single = &model.levels[0];
        let words = single.nodes();
        let word_bits = usize::BITS - (words - 1).leading_zeros().min(usize::BITS - 1);
        let mut rank: Vec<u32> = (0..words as u32).collect();
        let (mut floors, mut first, mut error) = (Vec::<Floor>::new(), Vec::new(), 0.0f32);
        for length in 2..=order {
            check(stop)?;
            let level = &model.levels[length - 1];
            let below = rank.len();
            let mut starts = vec![0u32; below + 1];
            for &suffix in &level.suffix {
                starts[rank[suffix as usize] as usize + 1] += 1;
            }
            if let Some(below) = floors.last_mut() {
                below.children = Some(Children::new(&starts[1..]));
            }
            (0..below).for_each(|at| starts[at + 1] += starts[at]);
            if length == 2 {
                first.clone_from(&starts);
            }
            // First words ascend in the level, so each group is filled in their order.
            let places: Vec<u32> = level
                .suffix
                .iter()
                .map(|&suffix| {
                    let next = &mut starts[rank[suffix as usize] as usize];
                    *next += 1;
                    *next - 1
                })
                .collect();
            let (floor, worst) = floor(model, length, &places, (word_bits, code_bits), stop)?;
            error = error.max(worst);
            floors.push(floor);
            rank = places;
        }
        Ok(Self {
            vocabulary: model.vocabulary.clone(),
            word_bits,
            code_bits,
            prob: single.prob.clone(),
            backoff: single.backoff.clone(),
            flags: model.flags(1).into(),
            children: first.into(),
            floors,
            counts: model.counts(),
            absent: model.absent().to_vec(),
            error,
        })
    }

    /// Bytes that the n-grams take, without the text of the words.
    pub fn bytes(&self) -> usize {
        let floors = self.floors.iter().map(|floor| {
            let children = floor.children.as_ref().map_or(0, Children::bytes);
            floor.bits.bytes().len() + 4 * (floor.prob.len() + floor.backoff.len()) + children
        });
        floors.sum::<usize>()
            + 4 * (self.prob.len() + self.backoff.len() + self.children.len())
            + self.flags.len()
    }

    /// Writes the model to `path`: sections `text`, `ends`, `about` (bits of a word and of a code, the
    /// bits of the largest error), `absent`, of single words `prob`, `backoff`, `flags` and
    /// `begins`, and for each length from two `bits`, the tables `prob` and `backoff`, `blank` and
    /// below the highest `children`, `samples` and `positions`.
    pub fn save_binary(&self, path: &Path, stop: Stop<'_>) -> Result<()> {
        let (_, _, numbers) = self.vocabulary.stored_words();
        container::write(path, Kind::Compact, numbers, stop, |writer| {
            write_words(writer, &self.vocabulary)?;
            writer.section("about", 0, &[self.word_bits, self.code_bits, self.error.to_bits()])?;
            writer.section("absent", 0, &self.absent)?;
            writer.section("prob", 1, &self.prob)?;
            writer.section("backoff", 1, &self.backoff)?;
            writer.section("flags", 1, &self.flags)?;
            writer.section("begins", 1, &self.children)?;
            for (length, floor) in (2..).zip(&self.floors) {
                writer.section("bits", length, floor.bits.bytes())?;
                writer.section("prob", length, &floor.prob)?;
                writer.section("backoff", length, &floor.backoff)?;
                writer.section("blank", length, &floor.blank)?;
                if let Some(children) = &floor.children {
                    children.write(writer, length)?;
                }
            }
            Ok((self.counts.iter().map(|&count| count as u64).collect(), ()))
        })
    }

    /// Reads a file of [`Self::save_binary`], where the n-grams stay.
    pub fn load_binary(path: &Path, verify: Verify, stop: Stop<'_>) -> Result<Self> {
        Self::from_container(&Container::open(path, verify, stop)?)
    }

    /// The model of a file that is open.
    pub fn from_container(file: &Container) -> Result<Self> {
        file.expect(Kind::Compact)?;
        let vocabulary = read_words(file, file.flags)?;
        let (words, order) = (vocabulary.len(), file.order());
        let about = file.array_of::<u32>("about", 0, 3)?;
        let (word_bits, code_bits) = (about[0], about[1]);
        if words < SPECIAL.len()
            || !CODE_BITS.contains(&code_bits)
            || !(1..=32).contains(&word_bits)
        {
            return Err(file.failed(format!(
                "{words} words of {word_bits} bits and codes of {code_bits} make no model"
            )));
        }
        let longer = if order > 1 { words } else { 0 };
        let counts = (1..=order).map(|length| file.count(length)).collect::<Result<Vec<_>>>()?;
        let mut floors: Vec<Floor> = Vec::with_capacity(order - 1);
        for length in 2..=order {
            let blank = ascending(file, "blank", length, usize::MAX)?;
            let len = counts[length - 1] + blank.len();
            let codes = if length == order { 1 } else { 2 };
            let bits =
                Bits::mapped(file.array("bits", length)?, len, word_bits + codes * code_bits);
            let bits = bits.ok_or_else(|| file.failed(format!("bits[{length}] are damaged")))?;
            let (prob, backoff) = (file.array("prob", length)?, file.array("backoff", length)?);
            if let Some(below) = floors.last_mut() {
                below.children = Some(Children::read(file, length - 1, below.len, len)?);
            }
            floors.push(Floor { bits, len, prob, backoff, children: None, blank });
        }
        Ok(Self {
            word_bits,
            code_bits,
            prob: file.array_of("prob", 1, words)?,
            backoff: file.array_of("backoff", 1, longer)?,
            flags: file.array_of("flags", 1, words)?,
            children: file.array_of("begins", 1, if order > 1 { words + 1 } else { 0 })?,
            floors,
            counts,
            absent: ascending(file, "absent", 0, words)?,
            error: f32::from_bits(about[2]),
            vocabulary,
        })
    }
}

/// Numbers below `end` that ascend.
fn ascending(file: &Container, name: &str, length: usize, end: usize) -> Result<Vec<u32>> {
    let values = file.array::<u32>(name, length)?.to_vec();
    let inside = values.last().is_none_or(|&value| (value as usize) < end);
    if !inside || values.windows(2).any(|pair| pair[0] >= pair[1]) {
        return Err(file.failed(format!("{name}[{length}] is damaged")));
    }
    Ok(values)
}

/// The n-grams of `length` words at `places`, and the most by which a number was changed.
fn floor(
    model: &Model,
    length: usize,
    places: &[u32],
    (word_bits, code_bits): (u32, u32),
    stop: Stop<'_>,
) -> Result<(Floor, f32)> {
    let level = &model.levels[length - 1];
    let highest = length == model.order();
    let (flags, words) = (model.flags(length), model.first_words(length));
    let (len, codes) = (places.len(), 1usize << code_bits);
    let prob = centers(&level.prob, codes);
    let mut backoff = vec![0.0, 0.0];
    if highest {
        backoff.clear();
    } else {
        let weights: Vec<f32> =
            level.backoff.iter().copied().filter(|&weight| weight != 0.0).collect();
        backoff.extend(centers(&weights, codes - 2));
    }
    check(stop)?;
    let nearest = (Nearest::new(&prob), Nearest::new(backoff.get(2..).unwrap_or_default()));
    let blocks = threads::map(len.div_ceil(BLOCK), len * 40, |block| {
        let range = block * BLOCK..((block + 1) * BLOCK).min(len);
        let mut worst = 0.0f32;
        let codes: Vec<u64> = range
            .map(|node| {
                let code = nearest.0.of(level.prob[node]);
                worst = worst.max((prob[code] - level.prob[node]).abs());
                let mut all = u64::from(words[node]) | (code as u64) << word_bits;
                if !highest {
                    let weight = level.backoff[node];
                    let code = match (weight == 0.0, flags[node] & Entry::RIGHT != 0) {
                        (true, false) => DEAD_END,
                        (true, true) => NO_WEIGHT,
                        (false, _) => nearest.1.of(weight) + 2,
                    };
                    worst = worst.max((backoff[code] - weight).abs());
                    all |= (code as u64) << (word_bits + code_bits);
                }
                all
            })
            .collect();
        (codes, worst)
    });
    let width = word_bits + if highest { 1 } else { 2 } * code_bits;
    let mut bits = Bits::zeros(len, width);
    let mut worst = 0.0f32;
    let mut places_left = places;
    for (codes, error) in blocks {
        check(stop)?;
        worst = worst.max(error);
        let (now, rest) = places_left.split_at(codes.len());
        places_left = rest;
        now.iter().zip(codes).for_each(|(&place, code)| bits.set(place as usize, code));
    }
    let mut blank: Vec<u32> = level.blank.iter().map(|&node| places[node as usize]).collect();
    blank.sort_unstable();
    let (prob, backoff) = (prob.into(), backoff.into());
    Ok((Floor { bits, len, prob, backoff, children: None, blank }, worst))
}
