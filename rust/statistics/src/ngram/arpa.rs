//! Writing models in the ARPA format.

use std::io::Write;
use std::path::Path;
use std::sync::mpsc::sync_channel;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::trie::BLOCK;
use super::{Model, SPECIAL, Stop, check};
use crate::{Error, Result};
use crate::{files, threads};

/// Blocks of lines made between two looks at whether to stop.
const BLOCKS: usize = 16;
/// Blocks after which the system begins to write them to the disk.
const BLOCKS_STARTED: usize = 64;

impl Model {
    /// Writes the model to `path`, compressed where that ends in `.gz`. The file appears under its
    /// name when it is complete.
    pub fn save_arpa(&self, path: &Path, stop: Stop<'_>) -> Result<()> {
        let compressed = path.extension().is_some_and(|extension| extension == "gz");
        files::replace(path, |file| {
            std::thread::scope(|scope| {
                // Blocks are written while the next ones are made.
                let (send, receive) = sync_channel::<Vec<u8>>(4 * BLOCKS);
                let writer = scope.spawn(move || {
                    receive.iter().zip(1..).try_for_each(|(block, number)| {
                        if number % BLOCKS_STARTED == 0 {
                            files::start_writing(file);
                        }
                        file.write_all(&block).map_err(|error| Error::io(path, &error))
                    })
                });
                let made = self.write_arpa(compressed, stop, |block| {
                    // Nobody receives after an error, which is the one to be reported.
                    send.send(block).map_err(|_| Error::Interrupted)
                });
                drop(send);
                match writer.join() {
                    Ok(written) => written.and(made),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            })
        })
    }

    /// Hands the lines of the file to `write`, block by block.
    pub fn write_arpa(
        &self,
        compressed: bool,
        stop: Stop<'_>,
        mut write: impl FnMut(Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        let mut header = String::from("\\data\\\n");
        for (index, level) in self.levels.iter().enumerate() {
            let blank = level.blank.iter().filter(|&&node| !self.is_written(index + 1, node));
            let count = level.nodes() - blank.count();
            header.push_str(&format!("ngram {}={count}\n", index + 1));
        }
        write(packed(header.into_bytes(), compressed))?;
        for length in 1..=self.order() {
            write(packed(format!("\n\\{length}-grams:\n").into_bytes(), compressed))?;
            let nodes = self.levels[length - 1].nodes();
            let blocks = nodes.div_ceil(BLOCK);
            for first in (0..blocks).step_by(BLOCKS) {
                check(stop)?;
                let group = BLOCKS.min(blocks - first);
                let lines = threads::map(group, group * BLOCK * 100, |block| {
                    let from = (first + block) * BLOCK;
                    let to = (from + BLOCK).min(nodes);
                    packed(self.lines(length, from as u32, to as u32), compressed)
                });
                for block in lines {
                    write(block)?;
                }
            }
        }
        write(packed(b"\n\\end\\\n".to_vec(), compressed))
    }

    /// Whether a blank node is in the file all the same: other toolkits refuse one without the
    /// special words, which a model of ids may have no use for.
    fn is_written(&self, length: usize, node: u32) -> bool {
        length == 1 && (node as usize) < SPECIAL.len() && self.vocabulary.is_numbers()
    }

    /// The lines of n-grams `from` to `to` of `length` words.
    fn lines(&self, length: usize, from: u32, to: u32) -> Vec<u8> {
        let level = &self.levels[length - 1];
        let mut out = Vec::with_capacity((to - from) as usize * (16 + 8 * length));
        let mut blank = &level.blank[level.blank.partition_point(|&node| node < from)..];
        let mut path = self.path(length, from);
        // All words but the last, which many n-grams in a row have in common.
        let mut prefix = Vec::new();
        self.write_prefix(&path, &mut prefix);
        for node in from..to {
            if self.advance(&mut path, node) {
                self.write_prefix(&path, &mut prefix);
            }
            if blank.first() == Some(&node) {
                blank = &blank[1..];
                if !self.is_written(length, node) {
                    continue;
                }
            }
            number(&mut out, level.prob[node as usize]);
            out.push(b'\t');
            out.extend_from_slice(&prefix);
            let word = if length == 1 { node } else { level.words[node as usize] };
            out.extend_from_slice(self.vocabulary.word(word).as_bytes());
            if let Some(&backoff) = level.backoff.get(node as usize) {
                out.push(b'\t');
                number(&mut out, backoff);
            }
            out.push(b'\n');
        }
        out
    }

    /// The words of `path` but the last, each with a blank behind it.
    fn write_prefix(&self, path: &[u32], prefix: &mut Vec<u8>) {
        prefix.clear();
        for (depth, &node) in path[..path.len() - 1].iter().enumerate() {
            let word = if depth == 0 { node } else { self.levels[depth].words[node as usize] };
            prefix.extend_from_slice(self.vocabulary.word(word).as_bytes());
            prefix.push(b' ');
        }
    }

    /// The nodes of the beginnings of n-gram `node`, itself the last.
    pub(super) fn path(&self, length: usize, node: u32) -> Vec<u32> {
        let mut path = vec![node; length];
        for depth in (0..length - 1).rev() {
            let children = &self.levels[depth].children;
            path[depth] = children.partition_point(|&start| start <= path[depth + 1]) as u32 - 1;
        }
        path
    }

    /// Moves `path` on to `node`, at or after its own; whether more than the last word changes.
    pub(super) fn advance(&self, path: &mut [u32], node: u32) -> bool {
        let mut changed = false;
        let last = path.len() - 1;
        path[last] = node;
        for depth in (0..last).rev() {
            let children = &self.levels[depth].children;
            let below = path[depth + 1];
            if below < children[path[depth] as usize + 1] {
                break;
            }
            while below >= children[path[depth] as usize + 1] {
                path[depth] += 1;
            }
            changed = true;
        }
        changed
    }
}

/// The shortest decimal that reads back as `x`.
fn number(out: &mut Vec<u8>, x: f32) {
    let mut buffer = zmij::Buffer::new();
    // A negative zero would be written with its sign.
    let text = buffer.format_finite(x + 0.0);
    out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes());
}

/// `bytes`, or a gzip member that holds them: members one after the other are a gzip file.
fn packed(bytes: Vec<u8>, compressed: bool) -> Vec<u8> {
    if !compressed {
        return bytes;
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 3), Compression::new(6));
    let done = encoder.write_all(&bytes).and_then(|()| encoder.finish());
    done.expect("a vector takes all bytes")
}
