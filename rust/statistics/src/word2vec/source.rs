//! Where sentences come from: a text file, read block by block, or ids in memory.
//!
//! Each thread begins at its own part of the text, as those of word2vec, fastText and gensim do, so
//! that what is learnt at one time, and last, comes from more than one place.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use flate2::bufread::MultiGzDecoder;

use super::lexicon::Lexicon;
use super::{MAX_SENTENCE, UNKNOWN};
use crate::ngram::words::words;
use crate::{Error, Result};

/// Bytes of a file read at a time.
const BLOCK: usize = 1 << 16;
/// A line longer than this is cut at white space, and without any where this many bytes end.
const MAX_LINE: usize = 1 << 20;

/// A text file cut into blocks of whole lines.
pub(super) struct Text {
    path: PathBuf,
    file: Box<dyn Read + Send>,
    /// Read, but behind the last line end.
    rest: Vec<u8>,
    ended: bool,
}

impl Text {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let (text, _) = Self::opened(path).map_err(|error| Error::io(path, &error))?;
        Ok(text)
    }

    /// The whole text, and its bytes where those can be read from any place.
    fn opened(path: &Path) -> io::Result<(Self, Option<u64>)> {
        let mut file = BufReader::with_capacity(BLOCK, File::open(path)?);
        if file.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
            return Ok((Self::new(path, Box::new(MultiGzDecoder::new(file))), None));
        }
        let about = file.get_ref().metadata()?;
        let len = about.is_file().then_some(about.len());
        Ok((Self::new(path, Box::new(file)), len))
    }

    /// The text in up to `count` parts of about the same size; in one where it can only be read from
    /// its beginning.
    pub(super) fn parts(path: &Path, count: usize) -> Result<Vec<Self>> {
        let failed = |error: io::Error| Error::io(path, &error);
        let len = match Self::opened(path).map_err(failed)? {
            (_, Some(len)) if count > 1 => len,
            (text, _) => return Ok(vec![text]),
        };
        let mut file = File::open(path).map_err(failed)?;
        let mut parts = Vec::with_capacity(count);
        let mut start = 0;
        for part in 1..=count as u64 {
            let end = match part == count as u64 {
                // What was appended since is read too, as by one thread.
                true => u64::MAX,
                false => {
                    let near = u128::from(len) * u128::from(part) / count as u128;
                    line_start(&mut file, near as u64).map_err(failed)?.max(start)
                }
            };
            let mut file = File::open(path).map_err(failed)?;
            file.seek(SeekFrom::Start(start)).map_err(failed)?;
            parts.push(Self::new(path, Box::new(file.take(end - start))));
            start = end;
        }
        Ok(parts)
    }

    fn new(path: &Path, file: Box<dyn Read + Send>) -> Self {
        Self { path: path.to_owned(), file, rest: Vec::new(), ended: false }
    }

    /// Reads the next lines into `block`; whether there were any.
    pub(super) fn next(&mut self, block: &mut Vec<u8>) -> Result<bool> {
        block.clear();
        block.append(&mut self.rest);
        while !self.ended {
            let before = block.len();
            let mut part = (&mut self.file).take(BLOCK as u64);
            let read = part.read_to_end(block).map_err(|error| Error::io(&self.path, &error))?;
            self.ended = read < BLOCK;
            let line_end = block[before..].iter().rposition(|&byte| byte == b'\n');
            let cut = match line_end {
                Some(at) => before + at + 1,
                None if block.len() >= MAX_LINE => space_before_end(block),
                None => continue,
            };
            if !self.ended {
                self.rest.extend_from_slice(&block[cut..]);
                block.truncate(cut);
            }
            break;
        }
        Ok(!block.is_empty())
    }

    /// A block as text.
    pub(super) fn decoded<'a>(path: &Path, block: &'a [u8]) -> Result<&'a str> {
        std::str::from_utf8(block).map_err(|_| Error::Format {
            what: path.display().to_string(),
            line: 0,
            reason: "is not UTF-8 text".into(),
        })
    }
}

/// Where the first line behind `at` begins, or in a longer one its first word, or character.
fn line_start(file: &mut (impl Read + Seek), at: u64) -> io::Result<u64> {
    file.seek(SeekFrom::Start(at))?;
    let mut read = Vec::new();
    file.take(MAX_LINE as u64).read_to_end(&mut read)?;
    let line = read.iter().position(|&byte| byte == b'\n').map(|at| at + 1);
    let word = || read.iter().position(u8::is_ascii_whitespace).map(|at| at + 1);
    let character = || read.iter().position(|&byte| byte & 0xc0 != 0x80);
    Ok(at + line.or_else(word).or_else(character).unwrap_or(read.len()) as u64)
}

/// Where the last white space ends, or else the last whole character.
fn space_before_end(block: &[u8]) -> usize {
    let space = block.iter().rposition(u8::is_ascii_whitespace);
    let character = block.iter().rposition(|&byte| byte & 0xc0 != 0x80);
    space.map(|at| at + 1).or(character.filter(|&at| at > 0)).unwrap_or(block.len())
}

/// Sentences to train on.
#[derive(Debug, Clone, Copy)]
pub enum Sentences<'a> {
    /// A text file, one sentence a line, words apart by white space, compressed or not.
    File(&'a Path),
    /// Places of words one after the other, `u32::MAX` for unknown ones, and where each sentence
    /// ends.
    Ids(&'a [u32], &'a [u64]),
}

/// A block of sentences as places of words.
#[derive(Debug, Default)]
pub(super) struct Block {
    pub(super) number: u64,
    pub(super) ids: Vec<u32>,
    pub(super) ends: Vec<usize>,
    bytes: Vec<u8>,
}

/// Hands out blocks of sentences to several threads, each once.
pub(super) struct Source<'a> {
    lexicon: &'a Lexicon,
    path: &'a Path,
    batch_words: usize,
    parts: Vec<Mutex<Part<'a>>>,
}

/// What is left of one part of the sentences, and the number of its next block.
struct Part<'a> {
    number: u64,
    rest: Rest<'a>,
}

enum Rest<'a> {
    File(Text),
    Ids { ids: &'a [u32], ends: &'a [u64], sentences: Range<usize> },
}

impl<'a> Source<'a> {
    /// The sentences in a part for each of `workers`, where that can be had.
    pub(super) fn new(
        sentences: Sentences<'a>,
        lexicon: &'a Lexicon,
        batch_words: usize,
        workers: usize,
    ) -> Result<Self> {
        let (path, parts): (_, Vec<_>) = match sentences {
            Sentences::File(path) => {
                (path, Text::parts(path, workers)?.into_iter().map(Rest::File).collect())
            }
            Sentences::Ids(ids, ends) => {
                let first = |part: usize| {
                    let near = ids.len() as u128 * part as u128 / workers as u128;
                    ends.partition_point(|&end| u128::from(end) <= near)
                };
                let rest = |part: usize| {
                    let end = if part + 1 == workers { ends.len() } else { first(part + 1) };
                    let start = if part == 0 { 0 } else { first(part) };
                    Rest::Ids { ids, ends, sentences: start..end }
                };
                (Path::new(""), (0..workers).map(rest).collect())
            }
        };
        // No part has as many blocks.
        let numbers = (0..).map(|part: u64| part << 48);
        let parts = numbers.zip(parts).map(|(number, rest)| Mutex::new(Part { number, rest }));
        Ok(Self { lexicon, path, batch_words, parts: parts.collect() })
    }

    /// Fills `block` with the next sentences of the part of `worker`, or of another where that is
    /// done; whether there were any.
    pub(super) fn next(&self, worker: usize, block: &mut Block) -> Result<bool> {
        for part in 0..self.parts.len() {
            if self.next_of(&self.parts[(worker + part) % self.parts.len()], block)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn next_of(&self, part: &Mutex<Part<'a>>, block: &mut Block) -> Result<bool> {
        block.ids.clear();
        block.ends.clear();
        let mut locked = part.lock().unwrap_or_else(PoisonError::into_inner);
        block.number = locked.number;
        locked.number += 1;
        match &mut locked.rest {
            Rest::File(text) => {
                if !text.next(&mut block.bytes)? {
                    return Ok(false);
                }
                // Other threads may read on while this one cuts its text into words.
                drop(locked);
                self.encode(block)?;
            }
            Rest::Ids { ids, ends, sentences } => {
                let from = sentences.start;
                while sentences.start < sentences.end && block.ids.len() < self.batch_words {
                    block.ids.extend_from_slice(&ids[range(ends, sentences.start)]);
                    block.end();
                    sentences.start += 1;
                }
                return Ok(sentences.start > from);
            }
        }
        Ok(true)
    }

    fn encode(&self, block: &mut Block) -> Result<()> {
        let bytes = std::mem::take(&mut block.bytes);
        for line in Text::decoded(self.path, &bytes)?.lines() {
            block.ids.extend(words(line).map(|word| self.lexicon.place(word)));
            block.end();
        }
        block.bytes = bytes;
        Ok(())
    }
}

impl Block {
    /// Ends a sentence, or several where it is too long for one.
    fn end(&mut self) {
        let mut from = self.ends.last().copied().unwrap_or(0);
        while self.ids.len() - from > MAX_SENTENCE {
            from += MAX_SENTENCE;
            self.ends.push(from);
        }
        self.ends.push(self.ids.len());
    }
}

fn range(ends: &[u64], sentence: usize) -> Range<usize> {
    let start = if sentence == 0 { 0 } else { ends[sentence - 1] };
    start as usize..ends[sentence] as usize
}

/// Whether ends ascend to the number of ids, and ids are below `len` or unknown.
pub(super) fn is_valid(ids: &[u32], ends: &[u64], len: usize) -> bool {
    ends.is_sorted()
        && ends.last().copied().unwrap_or(0) == ids.len() as u64
        && ids.iter().all(|&id| (id as usize) < len || id == UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> [String; 6] {
        let short = "ein Wörtchen\n\nund noch eins\n".repeat(9_000);
        let long = "ä".repeat(700_000);
        let words = "x ".repeat(900_000);
        [String::new(), "a".into(), "a\nb".into(), short, format!("{long}\n{long}"), words]
    }

    #[test]
    fn blocks_hold_the_whole_file_in_lines() {
        let folder = std::env::temp_dir().join(format!("lamina-blocks-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("text");
        for whole in texts() {
            std::fs::write(&path, &whole).unwrap();
            for count in [1, 2, 3, 7] {
                let (mut block, mut all) = (Vec::new(), String::new());
                for mut text in Text::parts(&path, count).unwrap() {
                    let before = all.len();
                    while text.next(&mut block).unwrap() {
                        assert!(block.len() <= MAX_LINE + BLOCK);
                        all.push_str(Text::decoded(&path, &block).unwrap());
                    }
                    let (size, about) = (all.len() - before, whole.len() / count);
                    let even = size.abs_diff(about) < 100;
                    assert!(even || !whole.contains(' '), "{size} bytes of about {about}");
                }
                assert_eq!(all, whole);
            }
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn every_sentence_comes_once_whichever_worker_asks() {
        let ends = [0, 3, 3, 10, 11, 40, 40];
        let ids: Vec<u32> = (0..40).collect();
        let lexicon = Lexicon::new(std::iter::empty());
        for workers in 1..6 {
            let source = Source::new(Sentences::Ids(&ids, &ends), &lexicon, 5, workers).unwrap();
            let (mut block, mut numbers) = (Block::default(), vec![]);
            let (mut seen, mut sentences) = (vec![], 0);
            while source.next(workers - 1, &mut block).unwrap() {
                seen.extend_from_slice(&block.ids);
                sentences += block.ends.len();
                numbers.push(block.number);
            }
            assert!(workers == 1 || seen[0] > 0, "the last worker begins at its own part");
            seen.sort_unstable();
            assert_eq!((seen, sentences), (ids.clone(), ends.len()));
            numbers.sort_unstable();
            assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        }
    }
}
