//! Where sentences come from: a text file, read block by block, or ids in memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
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
        let failed = |error: io::Error| Error::io(path, &error);
        let mut file = BufReader::with_capacity(BLOCK, File::open(path).map_err(failed)?);
        let compressed = file.fill_buf().map_err(failed)?.starts_with(&[0x1f, 0x8b]);
        let file: Box<dyn Read + Send> = match compressed {
            true => Box::new(MultiGzDecoder::new(file)),
            false => Box::new(file),
        };
        Ok(Self { path: path.to_owned(), file, rest: Vec::new(), ended: false })
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
    next: Mutex<(u64, Next<'a>)>,
}

enum Next<'a> {
    File(Text),
    Ids { ids: &'a [u32], ends: &'a [u64], sentence: usize },
}

impl<'a> Source<'a> {
    pub(super) fn new(
        sentences: Sentences<'a>,
        lexicon: &'a Lexicon,
        batch_words: usize,
    ) -> Result<Self> {
        let (path, next) = match sentences {
            Sentences::File(path) => (path, Next::File(Text::open(path)?)),
            Sentences::Ids(ids, ends) => (Path::new(""), Next::Ids { ids, ends, sentence: 0 }),
        };
        Ok(Self { lexicon, path, batch_words, next: Mutex::new((0, next)) })
    }

    /// Fills `block` with the next sentences; whether there were any.
    pub(super) fn next(&self, block: &mut Block) -> Result<bool> {
        block.ids.clear();
        block.ends.clear();
        let mut locked = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let (number, next) = &mut *locked;
        block.number = *number;
        *number += 1;
        match next {
            Next::File(text) => {
                if !text.next(&mut block.bytes)? {
                    return Ok(false);
                }
                // Other threads may read on while this one cuts its text into words.
                drop(locked);
                self.encode(block)?;
            }
            Next::Ids { ids, ends, sentence } => {
                let from = *sentence;
                while *sentence < ends.len() && block.ids.len() < self.batch_words {
                    let range = range(ends, *sentence);
                    block.ids.extend_from_slice(&ids[range]);
                    block.end();
                    *sentence += 1;
                }
                return Ok(*sentence > from);
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

    #[test]
    fn blocks_hold_the_whole_file_in_lines() {
        let folder = std::env::temp_dir().join(format!("lamina-blocks-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("text");
        let short = "ein Wörtchen\n\nund noch eins\n".repeat(9_000);
        let long = "ä".repeat(700_000);
        for whole in
            [String::new(), "a".into(), short, format!("{long}\n{long}"), "x ".repeat(900_000)]
        {
            std::fs::write(&path, &whole).unwrap();
            let mut text = Text::open(&path).unwrap();
            let (mut block, mut all) = (Vec::new(), String::new());
            while text.next(&mut block).unwrap() {
                assert!(block.len() <= MAX_LINE + BLOCK);
                all.push_str(Text::decoded(&path, &block).unwrap());
            }
            assert_eq!(all, whole);
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
