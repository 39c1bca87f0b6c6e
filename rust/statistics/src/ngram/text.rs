//! Reading the words of text files.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::{SPECIAL, Stop, Vocabulary, check};
use crate::scratch::Growing;
use crate::threads;
use crate::{Error, Result};

/// Bytes cut into words by one task.
const BLOCK: usize = 1 << 21;
/// Blocks read between two looks at whether to stop.
const BLOCKS: usize = 4;

/// A block of whole lines as sentences of its own words.
struct Block {
    vocabulary: Vocabulary,
    tokens: Vec<u32>,
}

impl Vocabulary {
    /// Adds the lines of a file to `tokens` as [`Self::learn`] does, new words in the order in
    /// which they first occur. A file whose name ends in `.gz` is decompressed.
    ///
    /// With `skip_special`, the words `<s>`, `</s>` and `<unk>` are left out instead of refused.
    pub fn learn_file(
        &mut self,
        path: &Path,
        skip_special: bool,
        tokens: &mut Growing<u32>,
        stop: Stop<'_>,
    ) -> Result<()> {
        let failed = |error: io::Error| Error::io(path, &error);
        let mut file = File::open(path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        if path.extension().is_some_and(|extension| extension == "gz") {
            let mut file = MultiGzDecoder::new(file);
            return self.learn_from(&mut file, path, 0, skip_special, tokens, stop);
        }
        self.learn_from(&mut file, path, size, skip_special, tokens, stop)
    }

    fn learn_from(
        &mut self,
        file: &mut dyn Read,
        path: &Path,
        size: u64,
        skip_special: bool,
        tokens: &mut Growing<u32>,
        stop: Stop<'_>,
    ) -> Result<()> {
        let mut text = Vec::with_capacity((BLOCK * BLOCKS).min(size as usize + 1));
        let (mut lines, mut read) = (0, 0);
        loop {
            check(stop)?;
            let begun = text.len();
            let room = (BLOCK * BLOCKS).saturating_sub(begun).max(BLOCK) as u64;
            let taken = file.take(room).read_to_end(&mut text);
            let taken = taken.map_err(|error| Error::io(path, &error))?;
            read += taken as u64;
            let ends = match taken {
                0 => text.len(),
                _ => text.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1),
            };
            let blocks = split(&text[..ends]);
            let learnt =
                threads::map(blocks.len(), ends * 4, |block| learn(blocks[block], skip_special));
            for (bytes, block) in blocks.iter().zip(learnt) {
                let block = block.map_err(|error| located(error, path, lines))?;
                self.take(&block, &mut tokens.values);
                lines += bytes.iter().filter(|&&byte| byte == b'\n').count();
            }
            if taken == 0 {
                return Ok(());
            }
            tokens.settle()?;
            let spills = tokens.spills();
            let values = &mut tokens.values;
            if !spills && values.capacity() - values.len() < BLOCK && size > read {
                // One allocation for about all that is to come.
                values.reserve_exact((values.len() as u64 * (size - read) / read) as usize + BLOCK);
            }
            text.drain(..ends);
        }
    }

    /// Adds a block, its words by this vocabulary's ids.
    fn take(&mut self, block: &Block, tokens: &mut Vec<u32>) {
        let ids: Vec<u32> = (0..block.vocabulary.len() as u32)
            .map(|id| self.add(&block.vocabulary.word(id)))
            .collect();
        let start = tokens.len();
        tokens.extend_from_slice(&block.tokens);
        let new = &mut tokens[start..];
        let cost = new.len() * 2;
        threads::for_each_piece(new, 1 << 16, cost, |_, piece| {
            piece.iter_mut().for_each(|token| *token = ids[*token as usize]);
        });
    }
}

/// `text` in blocks of whole lines.
fn split(mut text: &[u8]) -> Vec<&[u8]> {
    let mut blocks = Vec::new();
    while text.len() > BLOCK {
        let end = text[BLOCK..].iter().position(|&byte| byte == b'\n');
        let (block, rest) = text.split_at(end.map_or(text.len(), |at| BLOCK + at + 1));
        blocks.push(block);
        text = rest;
    }
    if !text.is_empty() {
        blocks.push(text);
    }
    blocks
}

fn learn(bytes: &[u8], skip_special: bool) -> Result<Block> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count();
        Error::Format { what: String::new(), line, reason: "is not UTF-8".into() }
    })?;
    let mut block = Block { vocabulary: Vocabulary::new(), tokens: Vec::new() };
    block.tokens.reserve(bytes.len() / 4);
    if !skip_special || !SPECIAL.iter().any(|special| text.contains(special)) {
        block.vocabulary.learn(text, &mut block.tokens)?;
        return Ok(block);
    }
    for line in text.split_inclusive('\n') {
        let words = super::words::words(line).filter(|word| !SPECIAL.contains(word));
        let line = words.collect::<Vec<_>>().join(" ") + "\n";
        block.vocabulary.learn(&line, &mut block.tokens)?;
    }
    Ok(block)
}

/// The error of a block with the name of the file and the number of the line in it.
fn located(error: Error, path: &Path, before: usize) -> Error {
    match error {
        Error::Format { line, reason, .. } => {
            Error::Format { what: path.display().to_string(), line: before + line, reason }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8], skip_special: bool) -> Result<(Vocabulary, Vec<u32>)> {
        let mut found = (Vocabulary::new(), Growing::new(None));
        let path = Path::new("text");
        found.0.learn_from(&mut &*text, path, 9, skip_special, &mut found.1, &|| false)?;
        Ok((found.0, found.1.values))
    }

    #[test]
    fn files_are_learnt_as_texts_are() {
        let mut long = String::new();
        for number in 0..1_500_000u32 {
            long.push_str(&(number.wrapping_mul(2_654_435_761) >> 16).to_string());
            long.push(if number % 11 == 0 { '\n' } else { ' ' });
        }
        for text in ["", "\n", "a", "a b\n\nb a", "a\r\nb \t c\n", &long] {
            let mut expected = (Vocabulary::new(), Vec::new());
            expected.0.learn(text, &mut expected.1).unwrap();
            let got = read(text.as_bytes(), false).unwrap();
            assert!(got == expected, "{}", &text[..text.len().min(20)]);
        }
    }

    #[test]
    fn special_words_and_other_bytes_are_named() {
        let lines = "x\n".repeat(3_000_000);
        let error = read(format!("{lines}a <s>\n").as_bytes(), false).unwrap_err().to_string();
        let line = 3_000_001;
        assert_eq!(
            error,
            format!("text, line {line}: the word <s> is reserved for the model's own use")
        );
        let error = read(&[lines.as_bytes(), b"a\n\xff\n"].concat(), false).unwrap_err();
        assert_eq!(error.to_string(), format!("text, line {}: is not UTF-8", line + 1));
        let (_, tokens) = read(b"a <s> b\n<unk>\n</s>", true).unwrap();
        assert_eq!(tokens, [1, 3, 4, 2, 1, 2, 1, 2]);
    }
}
