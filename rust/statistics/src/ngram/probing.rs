//! A model as tables of hashes: the form that answers fastest.
//!
//! Each length has a table of lines of 64 bytes, the unit that memory is fetched in. The high bits
//! of an n-gram's hash choose a line, the other 60 are kept there beside four flags; where a line is
//! full, the next one takes what comes. A line has four n-grams with back-off weights, or five
//! of the highest order. Two n-grams with the same hash are noticed when the tables are made, which
//! then use another seed; an n-gram that is not there is taken for one with a chance of 2^-58.
#![allow(unsafe_code)]

use std::path::Path;
use std::sync::Arc;

use lamina_kernels::simd::prefetch;
use memmap2::MmapMut;

use super::backward::{Answer, Backward, Entry};
use super::binary::{read_words, write_words};
use super::container::{self, Container, Kind, Verify};
use super::trie::BETWEEN_CHECKS;
use super::{Model, SPECIAL, Stop, Vocabulary, check};
use crate::buffer::{Buffer, Plain};
use crate::hash::fold;
use crate::{Error, Result};

/// Part of the places of a table that are taken, in hundredths.
const LOAD: usize = 70;
/// Flags of an entry below the bits of its hash; the last one is of the line.
const FLAG_BITS: u32 = 4;
const FLAGS: u64 = (1 << FLAG_BITS) - 1;
/// In a key of a full line, whichever: of what belonged here, hashes that [`way`] sends to this key
/// also lie in the next line. The others need not be looked for there.
const GOES_ON: u64 = 8;
/// Insertions whose lines are asked for ahead.
const AHEAD: usize = 16;

/// A cache line of a table.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C, align(64))]
pub(super) struct Line([u64; 8]);

// SAFETY: eight plain numbers without gaps.
unsafe impl Plain for Line {}

/// What a single word has.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub(super) struct Unigram {
    prob: f32,
    backoff: f32,
    flags: u32,
}

// SAFETY: three plain numbers of the same size.
unsafe impl Plain for Unigram {}

/// The n-grams of one length.
#[derive(Debug, Clone)]
struct Table {
    lines: Buffer<Line>,
}

/// A model as tables of hashes.
#[derive(Debug, Clone)]
pub struct Probing {
    /// The words and their ids.
    pub vocabulary: Vocabulary,
    seed: u64,
    unigrams: Buffer<Unigram>,
    /// Of two words and more.
    tables: Vec<Table>,
    counts: Vec<usize>,
    absent: Vec<u32>,
}

#[inline(always)]
fn hash_word(word: u32, seed: u64) -> u64 {
    (u64::from(word) ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The hash of an n-gram from that of the n-gram without its first word.
#[inline(always)]
fn hash_longer(hash: u64, first: u32) -> u64 {
    fold(hash ^ u64::from(first).wrapping_mul(0xd1b5_4a32_d192_ed03), 0x8cb9_2ba7_2f3d_8dd7)
        .wrapping_add(hash)
}

/// The bits of a hash that are kept; never zero, which is a free place.
#[inline(always)]
fn key_of(hash: u64) -> u64 {
    (hash << FLAG_BITS).max(1 << FLAG_BITS)
}

/// The key of a full line that says whether this hash may be in the next one.
#[inline(always)]
fn way(hash: u64) -> usize {
    (hash & 3) as usize
}

#[inline(always)]
fn place(hash: u64, lines: usize) -> usize {
    ((u128::from(hash) * lines as u128) >> 64) as usize
}

/// The line after that one.
#[inline(always)]
fn after(at: usize, lines: usize) -> usize {
    if at + 1 == lines { 0 } else { at + 1 }
}

impl Table {
    fn with_room(ngrams: usize, highest: bool) -> Result<Self> {
        let lines =
            if ngrams == 0 { 0 } else { (ngrams * 100).div_ceil(LOAD * width(highest)) + 1 };
        let bytes = lines * size_of::<Line>();
        let lines = match bytes >= 1 << 22 {
            true => huge(bytes).and_then(|map| Buffer::own(Arc::new(map), lines)),
            false => Some(vec![Line([0; 8]); lines].into()),
        };
        Ok(Self { lines: lines.ok_or(Error::Memory(bytes))? })
    }

    #[inline(always)]
    fn ask(&self, hash: u64) {
        prefetch::<true>(self.lines.as_ptr().wrapping_add(place(hash, self.lines.len())).cast());
    }

    /// Whether there is an n-gram with this hash, and what it has; looks in the line where it belongs
    /// and asks for the next one.
    #[inline(always)]
    fn find<const HIGHEST: bool>(&self, hash: u64) -> (Answer, Entry) {
        if self.lines.is_empty() {
            return (Answer::No, Entry::default());
        }
        let at = place(hash, self.lines.len());
        let line = &self.lines[at].0;
        let (there, entry) = find_in::<HIGHEST>(line, key_of(hash));
        if !there & (line[way(hash)] & GOES_ON != 0) {
            prefetch::<true>(self.lines.as_ptr().wrapping_add(after(at, self.lines.len())).cast());
            return (Answer::Later, entry);
        }
        (Answer::of(there), entry)
    }

    /// The same in the lines after that one.
    #[inline(always)]
    fn find_further<const HIGHEST: bool>(&self, hash: u64) -> (bool, Entry) {
        let lines = &*self.lines;
        let mut at = place(hash, lines.len());
        // A table that was damaged may have no free place.
        for _ in 1..lines.len() {
            at = after(at, self.lines.len());
            let line = &lines[at].0;
            let (there, entry) = find_in::<HIGHEST>(line, key_of(hash));
            if there || line[way(hash)] & GOES_ON == 0 {
                return (there, entry);
            }
        }
        (false, Entry::default())
    }

    /// Puts an n-gram in; `false` where another one with its hash is there.
    fn insert(&mut self, highest: bool, hash: u64, entry: Entry) -> bool {
        let key = key_of(hash);
        let width = width(highest);
        let lines = &mut *self.lines;
        let mut at = place(hash, lines.len());
        loop {
            let line = &mut lines[at].0;
            for slot in 0..width {
                if line[slot] & !FLAGS == key {
                    return false;
                }
                if line[slot] & !FLAGS == 0 {
                    line[slot] |= key | u64::from(entry.flags);
                    let prob = u64::from(entry.prob.to_bits());
                    match highest {
                        true => line[5 + slot / 2] |= prob << (32 * (slot % 2)),
                        false => line[4 + slot] = prob | u64::from(entry.backoff.to_bits()) << 32,
                    }
                    return true;
                }
            }
            line[way(hash)] |= GOES_ON;
            at = after(at, lines.len());
        }
    }
}

/// Whether the n-gram of `key` is in a line, and what it has.
#[inline(always)]
fn find_in<const HIGHEST: bool>(line: &[u64; 8], key: u64) -> (bool, Entry) {
    let mut found = 0u32;
    for slot in 0..width(HIGHEST) {
        found |= u32::from((line[slot] ^ key) <= FLAGS) << slot;
    }
    // Some slot where there is none: its values are not used.
    let slot = found.trailing_zeros() as usize & 7;
    let (prob, backoff) = values::<HIGHEST>(line, slot);
    (found != 0, Entry { prob, backoff, flags: (line[slot] & 7) as u8 })
}

/// N-grams in a line.
const fn width(highest: bool) -> usize {
    if highest { 5 } else { 4 }
}

/// Probability and back-off weight at `slot`.
#[inline(always)]
fn values<const HIGHEST: bool>(line: &[u64; 8], slot: usize) -> (f32, f32) {
    if HIGHEST {
        let both = line[(5 + slot / 2) & 7];
        return (f32::from_bits((both >> (32 * (slot % 2))) as u32), 0.0);
    }
    let both = line[(4 + slot) & 7];
    (f32::from_bits(both as u32), f32::from_bits((both >> 32) as u32))
}

/// Zeros, in pages of 2 MiB where the system has them.
fn huge(bytes: usize) -> Option<MmapMut> {
    let map = MmapMut::map_anon(bytes).ok()?;
    // Small pages serve too, only more slowly.
    #[cfg(target_os = "linux")]
    let _ = map.advise(memmap2::Advice::HugePage);
    Some(map)
}

impl Backward for Probing {
    type Cursor = u64;

    fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    fn order(&self) -> usize {
        self.tables.len() + 1
    }

    #[inline(always)]
    fn prefetch_word(&self, word: u32) {
        prefetch::<true>(self.unigrams.as_ptr().wrapping_add(word as usize).cast());
    }

    #[inline(always)]
    fn word(&self, word: u32) -> (u64, Entry) {
        let Unigram { prob, backoff, flags } = self.unigrams[word as usize];
        (hash_word(word, self.seed), Entry { prob, backoff, flags: flags as u8 })
    }

    #[inline(always)]
    fn ahead(&self, length: usize, cursor: u64, word: u32) -> u64 {
        let hash = hash_longer(cursor, word);
        self.tables[length - 2].ask(hash);
        hash
    }

    #[inline(always)]
    fn longer(&self, length: usize, cursor: u64, _word: u32) -> (Answer, u64, Entry) {
        let table = &self.tables[length - 2];
        let (answer, entry) = match length == self.order() {
            true => table.find::<true>(cursor),
            false => table.find::<false>(cursor),
        };
        (answer, cursor, entry)
    }

    #[inline(always)]
    fn later(&self, length: usize, cursor: u64) -> (bool, u64, Entry) {
        let table = &self.tables[length - 2];
        let (there, entry) = match length == self.order() {
            true => table.find_further::<true>(cursor),
            false => table.find_further::<false>(cursor),
        };
        (there, cursor, entry)
    }
}

impl Probing {
    /// How many n-grams of each length there are.
    pub fn counts(&self) -> &[usize] {
        &self.counts
    }

    /// Words that are there though the model has no estimate of their own for them.
    pub fn absent(&self) -> &[u32] {
        &self.absent
    }

    /// The tables of `model`.
    pub fn new(model: &Model, stop: Stop<'_>) -> Result<Self> {
        for seed in 1..=8 {
            if let Some(new) = Self::with_seed(model, seed, stop)? {
                return Ok(new);
            }
        }
        let message = "n-grams have the same hash with eight seeds; the model is damaged";
        Err(Error::value("ngram_probing", "model", message))
    }

    fn with_seed(model: &Model, seed: u64, stop: Stop<'_>) -> Result<Option<Self>> {
        let order = model.order();
        let words = model.levels[0].nodes();
        let flags = model.flags(1);
        let single = &model.levels[0];
        let unigrams = (0..words).map(|word| Unigram {
            prob: single.prob[word],
            backoff: single.backoff.get(word).copied().unwrap_or(0.0),
            flags: u32::from(flags[word]),
        });
        let unigrams: Buffer<Unigram> = unigrams.collect();
        let mut hashes: Vec<u64> = (0..words as u32).map(|word| hash_word(word, seed)).collect();
        let mut tables = Vec::with_capacity(order - 1);
        for length in 2..=order {
            let level = &model.levels[length - 1];
            let (flags, first) = (model.flags(length), model.first_words(length));
            let mut table = Table::with_room(level.nodes(), length == order)?;
            let mut longer = vec![0u64; level.nodes()];
            for (at, hash) in longer.iter_mut().enumerate() {
                *hash = hash_longer(hashes[level.suffix[at] as usize], first[at]);
            }
            for (at, &hash) in longer.iter().enumerate() {
                if at.is_multiple_of(BETWEEN_CHECKS) {
                    check(stop)?;
                }
                if let Some(&soon) = longer.get(at + AHEAD) {
                    table.ask(soon);
                }
                let backoff = level.backoff.get(at).copied().unwrap_or(0.0);
                let entry = Entry { prob: level.prob[at], backoff, flags: flags[at] };
                if !table.insert(length == order, hash, entry) {
                    return Ok(None);
                }
            }
            tables.push(table);
            hashes = longer;
        }
        Ok(Some(Self {
            vocabulary: model.vocabulary.clone(),
            seed,
            unigrams,
            tables,
            counts: model.counts(),
            absent: model.absent().to_vec(),
        }))
    }

    /// Writes the tables to `path`: sections `text`, `ends`, `seed`, `absent`, `unigrams` and, for
    /// each length from two, `lines`. The flags of the file are how many numbers are words.
    pub fn save_binary(&self, path: &Path, stop: Stop<'_>) -> Result<()> {
        let (_, _, numbers) = self.vocabulary.stored_words();
        container::write(path, Kind::Probing, numbers, stop, |writer| {
            write_words(writer, &self.vocabulary)?;
            writer.section("seed", 0, &[self.seed])?;
            writer.section("absent", 0, &self.absent)?;
            writer.section("unigrams", 1, &self.unigrams)?;
            for (length, table) in (2..).zip(&self.tables) {
                writer.section("lines", length, &table.lines)?;
            }
            Ok((self.counts.iter().map(|&count| count as u64).collect(), ()))
        })
    }

    /// Reads a file of [`Self::save_binary`], whose tables stay in the file.
    pub fn load_binary(path: &Path, verify: Verify, stop: Stop<'_>) -> Result<Self> {
        Self::from_container(&Container::open(path, verify, stop)?)
    }

    /// The model of a file that is open.
    pub fn from_container(file: &Container) -> Result<Self> {
        file.expect(Kind::Probing)?;
        let vocabulary = read_words(file, file.flags)?;
        let words = vocabulary.len();
        let unigrams: Buffer<Unigram> = file.array_of("unigrams", 1, words)?;
        if words < SPECIAL.len() {
            return Err(file.failed(format!("expected the special words, got {words} words")));
        }
        let absent = file.array::<u32>("absent", 0)?.to_vec();
        let ascends = absent.windows(2).all(|pair| pair[0] < pair[1]);
        if !ascends || absent.last().is_some_and(|&word| word as usize >= words) {
            return Err(file.failed("absent words are damaged"));
        }
        let mut tables = Vec::with_capacity(file.order() - 1);
        for length in 2..=file.order() {
            let lines: Buffer<Line> = file.array("lines", length)?;
            if lines.is_empty() && file.count(length)? > 0 {
                return Err(file.failed(format!("lacks the n-grams of length {length}")));
            }
            tables.push(Table { lines });
        }
        let counts = (1..=file.order()).map(|length| file.count(length)).collect::<Result<_>>()?;
        let seed = file.array_of::<u64>("seed", 0, 1)?[0];
        Ok(Self { vocabulary, seed, unigrams, tables, counts, absent })
    }
}
