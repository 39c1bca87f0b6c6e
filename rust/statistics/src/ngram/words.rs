//! Cutting text into lines and words.

use std::ops::Range;

use crate::hash::{hash, hash_short, little_endian};

/// The lines of `text`; the last one may lack its line feed.
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n').map(|line| line.strip_suffix('\n').unwrap_or(line))
}

/// What stands between ASCII white space.
pub fn words(line: &str) -> impl Iterator<Item = &str> {
    ranges(line.as_bytes()).map(|range| &line[range])
}

/// [`words`], each with its [`hash`].
#[inline(always)]
pub(super) fn hashed_words(line: &str) -> impl Iterator<Item = (&str, u64)> {
    let bytes = line.as_bytes();
    ranges(bytes).map(move |range| {
        // Most words are short, and not the last of their line: then no branch depends on the length.
        let hash = match bytes.get(range.start..range.start + 8) {
            Some(eight) if range.len() <= 8 => {
                let behind = 64 - 8 * range.len() as u32;
                hash_short(range.len(), little_endian(eight) << behind >> behind)
            }
            _ => hash(&bytes[range.clone()]),
        };
        (&line[range], hash)
    })
}

/// Where the words are.
#[inline(always)]
fn ranges(bytes: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = skip_space(bytes, at)?;
        at = space_from(bytes, start);
        Some(start..at)
    })
}

#[inline(always)]
fn skip_space(bytes: &[u8], mut at: usize) -> Option<usize> {
    while is_space(*bytes.get(at)?) {
        at += 1;
    }
    Some(at)
}

/// Where the next white space is from `at` on, or the end; eight bytes are looked at together.
#[inline(always)]
fn space_from(bytes: &[u8], mut at: usize) -> usize {
    const EACH: u64 = 0x0101_0101_0101_0101;
    while let Some(eight) = bytes.get(at..at + 8) {
        let eight = little_endian(eight);
        // The highest bit of every byte up to the space. A borrow may mark others too, but only
        // behind a byte that is marked with reason.
        let marks = eight.wrapping_sub(EACH * 0x21) & !eight & (EACH * 0x80);
        if marks == 0 {
            at += 8;
            continue;
        }
        at += marks.trailing_zeros() as usize / 8;
        if is_space(bytes[at]) {
            return at;
        }
        at += 1;
    }
    while at < bytes.len() && !is_space(bytes[at]) {
        at += 1;
    }
    at
}

#[inline(always)]
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b'\x0b' | b'\x0c' | b'\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_stands_between_white_space() {
        // Every byte that may be white space or look like it, at every distance from the others.
        let signs =
            [" ", "\t", "\r", "\x0b", "\x0c", "\0", "\x01", "\x1f", "!", "a", "\u{7f}", "ä"];
        let mut state = 1u64;
        for length in 0..60 {
            for _ in 0..200 {
                let line: String = (0..length)
                    .map(|_| {
                        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                        // Half of them letters, so that some words are long.
                        let sign = (state >> 40) as usize % 24;
                        signs.get(sign).copied().unwrap_or("b")
                    })
                    .collect();
                let expected: Vec<&str> = line
                    .split([' ', '\t', '\r', '\x0b', '\x0c', '\0'])
                    .filter(|word| !word.is_empty())
                    .collect();
                assert_eq!(words(&line).collect::<Vec<_>>(), expected, "{line:?}");
                let hashes: Vec<_> = expected.iter().map(|w| (*w, hash(w.as_bytes()))).collect();
                assert_eq!(hashed_words(&line).collect::<Vec<_>>(), hashes, "{line:?}");
            }
        }
    }

    #[test]
    fn lines_end_with_their_line_feed() {
        assert_eq!(lines("a\n\nb").collect::<Vec<_>>(), ["a", "", "b"]);
        assert_eq!(lines("a\r\n").collect::<Vec<_>>(), ["a\r"]);
        assert_eq!(lines("").count(), 0);
    }
}
