//! Writing models in the ARPA format.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::trie::BLOCK;
use super::{Model, SPECIAL, Stop, check};
use crate::{Error, Result};
use crate::{files, threads};

/// Blocks of lines made between two looks at whether to stop.
const BLOCKS: usize = 16;

impl Model {
    /// Writes the model to `path`, compressed where that ends in `.gz`. The file appears under its
    /// name when it is complete.
    pub fn save_arpa(&self, path: &Path, stop: Stop<'_>) -> Result<()> {
        let compressed = path.extension().is_some_and(|extension| extension == "gz");
        files::replace(path, |file| {
            self.write_arpa(compressed, stop, |bytes| {
                file.write_all(bytes).map_err(|error| Error::io(path, &error))
            })
        })
    }

    /// Hands the lines of the file to `write`, block by block.
    pub fn write_arpa(
        &self,
        compressed: bool,
        stop: Stop<'_>,
        mut write: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut header = String::from("\\data\\\n");
        for (index, level) in self.levels.iter().enumerate() {
            let blank = level.blank.iter().filter(|&&node| !self.is_written(index + 1, node));
            let count = level.nodes() - blank.count();
            header.push_str(&format!("ngram {}={count}\n", index + 1));
        }
        write(&packed(header.into_bytes(), compressed))?;
        for length in 1..=self.order() {
            write(&packed(format!("\n\\{length}-grams:\n").into_bytes(), compressed))?;
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
                    write(&block)?;
                }
            }
        }
        write(&packed(b"\n\\end\\\n".to_vec(), compressed))
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
        for node in from..to {
            self.advance(&mut path, node);
            if blank.first() == Some(&node) {
                blank = &blank[1..];
                if !self.is_written(length, node) {
                    continue;
                }
            }
            number(&mut out, level.prob[node as usize]);
            for (depth, &node) in path.iter().enumerate() {
                let word = if depth == 0 { node } else { self.levels[depth].words[node as usize] };
                out.push(if depth == 0 { b'\t' } else { b' ' });
                out.extend_from_slice(self.vocabulary.word(word).as_bytes());
            }
            if let Some(&backoff) = level.backoff.get(node as usize) {
                out.push(b'\t');
                number(&mut out, backoff);
            }
            out.push(b'\n');
        }
        out
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

    /// Moves `path` on to `node`, at or after its own.
    pub(super) fn advance(&self, path: &mut [u32], node: u32) {
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
        }
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
