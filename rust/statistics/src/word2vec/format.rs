//! Vectors in the files of word2vec, text and binary.
//!
//! Text: a line with the number of words and the width, then a line for each word and its numbers.
//! Binary: the same first line, then each word, a space and its numbers as little-endian `f32`.
//! Nothing is allocated on the word of the first line alone.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::{Stop, check};
use crate::{Error, Result};

/// Widest vectors.
pub const MAX_WIDTH: usize = 1 << 20;
/// Longest word in bytes.
const MAX_WORD: usize = 1 << 16;
/// Longest line, with at most 32 characters for each number.
const MAX_LINE: usize = MAX_WORD + 32 * MAX_WIDTH;
/// Words between two looks at whether to stop.
const BETWEEN_CHECKS: usize = 1 << 12;

/// How a file is written.
#[derive(Debug, Clone, Copy, Default)]
pub struct Layout {
    /// Numbers as bytes rather than as text.
    pub binary: bool,
    /// Whether the first line already has a word, as in the files of `GloVe`; text only.
    pub no_header: bool,
}

/// Words and their vectors.
#[derive(Debug, Default, PartialEq)]
pub struct Vectors {
    /// The words one after the other.
    pub text: String,
    /// Where each ends.
    pub ends: Vec<usize>,
    /// `[V, width]`.
    pub rows: Vec<f32>,
    /// Numbers of each word.
    pub width: usize,
}

impl Vectors {
    /// Reads the first words, at most `limit`, of the file at `path`, compressed or not.
    pub fn load(path: &Path, layout: Layout, limit: usize, stop: Stop<'_>) -> Result<Self> {
        let failed = |error: io::Error| Error::io(path, &error);
        let mut file = BufReader::with_capacity(1 << 16, File::open(path).map_err(failed)?);
        let compressed = file.fill_buf().map_err(failed)?.starts_with(&[0x1f, 0x8b]);
        let what = path.display().to_string();
        if compressed {
            let decoder = BufReader::with_capacity(1 << 16, MultiGzDecoder::new(file));
            return Self::read(decoder, &what, layout, limit, stop);
        }
        Self::read(file, &what, layout, limit, stop)
    }

    /// The same from any source of bytes, which errors call `what`.
    pub fn read(
        source: impl BufRead,
        what: &str,
        layout: Layout,
        limit: usize,
        stop: Stop<'_>,
    ) -> Result<Self> {
        let mut input = Input { source, what, bytes: Vec::new(), line: 0 };
        let mut vectors = Self::default();
        let mut count = usize::MAX;
        if !layout.no_header {
            (count, vectors.width) = input.header()?;
        }
        for number in 0..count.min(limit) {
            if number.is_multiple_of(BETWEEN_CHECKS) {
                check(stop)?;
            }
            let more = match layout.binary {
                true => input.binary_row(&mut vectors)?,
                false => input.text_row(&mut vectors)?,
            };
            if !more && layout.no_header {
                break;
            }
            if !more {
                let reason = format!("ends after {number} of {count} words");
                return Err(input.error(reason));
            }
        }
        Ok(vectors)
    }

    /// Writes `words` with `rows` `[V, width]` to `path`.
    pub fn save(
        path: &Path,
        words: &[&str],
        rows: &[f32],
        layout: Layout,
        compressed: bool,
        stop: Stop<'_>,
    ) -> Result<()> {
        let failed = |error: io::Error| Error::io(path, &error);
        let unfit = |byte: u8| byte.is_ascii_whitespace();
        if let Some(word) = words.iter().find(|word| word.is_empty() || word.bytes().any(unfit)) {
            let message = format!("expected words without white space, got {word:?}");
            return Err(Error::value("word2vec", "words", message));
        }
        let width = rows.len() / words.len().max(1);
        if width * words.len() != rows.len() || rows.is_empty() {
            let message = format!("expected a row for each of {} words", words.len());
            return Err(Error::value("word2vec", "vectors", message));
        }
        let file = BufWriter::with_capacity(1 << 16, File::create(path).map_err(failed)?);
        let write = |out: &mut dyn Write| -> Result<()> {
            if !layout.no_header {
                writeln!(out, "{} {width}", words.len()).map_err(failed)?;
            }
            for (number, (word, row)) in words.iter().zip(rows.chunks_exact(width)).enumerate() {
                if number.is_multiple_of(BETWEEN_CHECKS) {
                    check(stop)?;
                }
                write_row(out, word, row, layout.binary).map_err(failed)?;
            }
            out.flush().map_err(failed)
        };
        if compressed {
            let mut encoder = GzEncoder::new(file, Compression::fast());
            write(&mut encoder)?;
            return encoder.finish().and_then(|mut file| file.flush()).map_err(failed);
        }
        let mut file = file;
        write(&mut file)
    }
}

fn write_row(out: &mut dyn Write, word: &str, row: &[f32], binary: bool) -> io::Result<()> {
    out.write_all(word.as_bytes())?;
    if binary {
        out.write_all(b" ")?;
        for x in row {
            out.write_all(&x.to_le_bytes())?;
        }
        return Ok(());
    }
    let mut buffer = zmij::Buffer::new();
    for &x in row {
        out.write_all(b" ")?;
        out.write_all(buffer.format(x).as_bytes())?;
    }
    out.write_all(b"\n")
}

struct Input<'a, R> {
    source: R,
    what: &'a str,
    bytes: Vec<u8>,
    line: usize,
}

impl<R: BufRead> Input<'_, R> {
    fn error(&self, reason: impl Into<String>) -> Error {
        Error::Format { what: self.what.into(), line: self.line, reason: reason.into() }
    }

    fn failed(&self, error: &io::Error) -> Error {
        match error.raw_os_error() {
            Some(_) => Error::io(Path::new(self.what), error),
            None => self.error(error.to_string()),
        }
    }

    /// Reads on to `end`, which is left out; whether there was any byte.
    fn until(&mut self, end: u8, most: usize) -> Result<bool> {
        self.bytes.clear();
        let limit = most as u64 + 1;
        let read = (&mut self.source).take(limit).read_until(end, &mut self.bytes);
        read.map_err(|error| self.failed(&error))?;
        if self.bytes.is_empty() {
            return Ok(false);
        }
        if self.bytes.last() == Some(&end) {
            self.bytes.pop();
        } else if self.bytes.len() > most {
            return Err(self.error(format!("expected at most {most} bytes up to {end:#04x}")));
        }
        Ok(true)
    }

    fn header(&mut self) -> Result<(usize, usize)> {
        self.line = 1;
        self.until(b'\n', 256)?;
        let text = std::str::from_utf8(&self.bytes).unwrap_or("");
        let numbers: Vec<usize> =
            text.split_ascii_whitespace().map_while(|n| n.parse().ok()).collect();
        match numbers[..] {
            [count, width] if (1..=MAX_WIDTH).contains(&width) => Ok((count, width)),
            _ => {
                let shown: String = String::from_utf8_lossy(&self.bytes).chars().take(40).collect();
                let reason = format!(
                    "expected the number of words and their width, 1 to {MAX_WIDTH}, got {shown:?}"
                );
                Err(self.error(reason))
            }
        }
    }

    /// Appends the word in the first `length` bytes.
    fn word(&self, length: usize, vectors: &mut Vectors) -> Result<()> {
        match std::str::from_utf8(&self.bytes[..length]) {
            Ok("") => Err(self.error("expected a word, got none")),
            Ok(word) if length <= MAX_WORD => {
                vectors.text.push_str(word);
                vectors.ends.push(vectors.text.len());
                Ok(())
            }
            Ok(_) => Err(self.error(format!("a word of {length} bytes, at most {MAX_WORD}"))),
            Err(_) => Err(self.error("a word is not UTF-8")),
        }
    }

    fn binary_row(&mut self, vectors: &mut Vectors) -> Result<bool> {
        self.line = 0;
        if !self.until(b' ', MAX_WORD)? {
            return Ok(false);
        }
        // Some writers end each row with a line feed, others do not.
        let start = self.bytes.iter().take_while(|&&byte| byte == b'\n').count();
        self.bytes.drain(..start);
        self.word(self.bytes.len(), vectors)?;
        let size = vectors.width * 4;
        self.bytes.clear();
        let read = (&mut self.source).take(size as u64).read_to_end(&mut self.bytes);
        read.map_err(|error| self.failed(&error))?;
        if self.bytes.len() < size {
            return Err(
                self.error(format!("ends inside the vector of word {}", vectors.ends.len()))
            );
        }
        let (numbers, _) = self.bytes.as_chunks();
        vectors.rows.extend(numbers.iter().map(|&bytes| f32::from_le_bytes(bytes)));
        Ok(true)
    }

    fn text_row(&mut self, vectors: &mut Vectors) -> Result<bool> {
        self.line += 1;
        if !self.until(b'\n', MAX_LINE)? {
            return Ok(false);
        }
        let line = self.bytes.trim_ascii_end();
        if vectors.width == 0 {
            let fields = line.split(|&byte| byte == b' ').count();
            if fields < 2 {
                return Err(self.error("expected a word and its numbers"));
            }
            vectors.width = fields - 1;
        }
        // From the end, as the word itself may hold spaces.
        let mut length = line.len();
        let start = vectors.rows.len();
        for _ in 0..vectors.width {
            let space = line[..length].iter().rposition(|byte| matches!(byte, b' ' | b'\t'));
            let Some(space) = space else {
                let reason = format!("expected a word and {} numbers, got fewer", vectors.width);
                return Err(self.error(reason));
            };
            let field = std::str::from_utf8(&line[space + 1..length]).unwrap_or("");
            let Ok(number) = field.parse() else {
                return Err(self.error(format!("expected a number, got {field:?}")));
            };
            vectors.rows.push(number);
            length = space;
        }
        vectors.rows[start..].reverse();
        self.word(length, vectors)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], layout: Layout, limit: usize) -> Result<Vectors> {
        Vectors::read(bytes, "vectors", layout, limit, &|| false)
    }

    const TEXT: Layout = Layout { binary: false, no_header: false };
    const BINARY: Layout = Layout { binary: true, no_header: false };
    const BARE: Layout = Layout { binary: false, no_header: true };

    #[test]
    fn text_is_read() {
        let vectors = read(b"2 3\nNew York 1 -2e-1 3\r\n\xc3\xa4 .5 0 nan", TEXT, 9).unwrap();
        assert_eq!((vectors.text.as_str(), &vectors.ends[..]), ("New Yorkä", &[8, 10][..]));
        assert_eq!(vectors.rows[..5], [1.0, -0.2, 3.0, 0.5, 0.0]);
        let bare = read(b"a 1 2\nb 3 4\n", BARE, 1).unwrap();
        assert_eq!((bare.width, &bare.rows[..]), (2, &[1.0, 2.0][..]));
    }

    #[test]
    fn binary_is_read_with_and_without_line_feeds() {
        let mut bytes = b"2 1\na ".to_vec();
        bytes.extend(1f32.to_le_bytes());
        let mut apart = [&bytes[..], b"\nb "].concat();
        bytes.extend(b"b ");
        for bytes in [&mut bytes, &mut apart] {
            bytes.extend(2f32.to_le_bytes());
            let vectors = read(bytes, BINARY, usize::MAX).unwrap();
            assert_eq!((vectors.text.as_str(), &vectors.rows[..]), ("ab", &[1.0, 2.0][..]));
        }
    }

    #[test]
    fn broken_files_say_how() {
        let message = |bytes: &[u8], layout| read(bytes, layout, 9).unwrap_err().to_string();
        let header = "expected the number of words and their width, 1 to 1048576, got ";
        assert_eq!(message(b"", TEXT), format!("vectors, line 1: {header}\"\""));
        assert_eq!(message(b"2\n", TEXT), format!("vectors, line 1: {header}\"2\""));
        assert_eq!(message(b"2 0\n", TEXT), format!("vectors, line 1: {header}\"2 0\""));
        assert_eq!(message(b"2 1\na 1\n", TEXT), "vectors, line 3: ends after 1 of 2 words");
        assert_eq!(message(b"1 1\na x\n", TEXT), "vectors, line 2: expected a number, got \"x\"");
        let fewer = "vectors, line 2: expected a word and 2 numbers, got fewer";
        assert_eq!(message(b"1 2\na 1\n", TEXT), fewer);
        assert_eq!(message(b"1 1\n 1\n", TEXT), "vectors, line 2: expected a word, got none");
        assert_eq!(message(b"1 1\n\xff 1\n", TEXT), "vectors, line 2: a word is not UTF-8");
        assert_eq!(message(b"9 9\na 1", BINARY), "vectors: ends inside the vector of word 1");
        assert_eq!(message(b"9 9\n", BINARY), "vectors: ends after 0 of 9 words");
    }
}
