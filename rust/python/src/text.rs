//! Tokenizers: Hugging Face's crate behind one frozen class.
//!
//! The crate's own thread pool stays off, because it does not survive a fork: texts are cut into
//! pieces here and encoded on the kernels' threads.

use std::cell::Cell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use ahash::AHashMap;
use compact_str::CompactString;
use lamina_kernels::{Error, Result, threads};
use ndarray::{Array1, Ix1};
use numpy::{IntoPyArray, PyArray1};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{
    AddedToken, OffsetReferential, OffsetType, PaddingParams, PostProcessorWrapper,
    PreTokenizedString, PreTokenizer, PreTokenizerWrapper, Tokenizer as Inner, TruncationParams,
};

use crate::convert::{array, enter, raise};

/// Bytes of text between two looks at Ctrl-C.
const BLOCK: usize = 1 << 18;
/// Bytes of text from which a piece may end.
const PIECE: usize = 1 << 14;
/// Simple operations that one byte of text costs, roughly.
const COST: usize = 100;
/// How often training looks at Ctrl-C.
const POLL: Duration = Duration::from_millis(50);
/// Every byte is a token, so no vocabulary is smaller.
const BYTES: usize = 256;
/// Longer words are counted in parts of at most so many bytes: the crate's time for a word grows
/// with the square of its length.
const LONGEST_WORD: usize = 256;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs code of the crate, which panics on some broken files, and turns a panic into an error.
fn guarded<R>(what: &str, work: impl FnOnce() -> tokenizers::Result<R>) -> Result<R> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        tokenizers::utils::parallelism::set_parallelism(false);
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.with(Cell::get) {
                before(info);
            }
        }));
    });
    let format = |reason: String| Error::Format { what: what.to_owned(), line: 0, reason };
    let before = QUIET.with(|quiet| quiet.replace(true));
    let result = catch_unwind(AssertUnwindSafe(work));
    QUIET.with(|quiet| quiet.set(before));
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(format(one_line(&error.to_string()))),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(format(one_line(text.unwrap_or("a rule that cannot be carried out"))))
        }
    }
}

fn one_line(text: &str) -> String {
    const LONGEST: usize = 200;
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(LONGEST).collect()
}

/// Texts to ids and back, by the rules of a `tokenizer.json`.
#[pyclass(frozen, module = "lamina._kernels")]
pub(crate) struct Tokenizer {
    inner: Inner,
    // Of the file, put back by `to_json`; encoding neither cuts nor pads.
    truncation: Option<TruncationParams>,
    padding: Option<PaddingParams>,
    // Ids below this all have a token.
    dense: u32,
    by_line: bool,
}

#[pymethods]
impl Tokenizer {
    /// Learns byte-level byte-pair encoding, with the pre-tokenizer of GPT-2, from an iterable of
    /// texts.
    #[staticmethod]
    #[pyo3(signature = (texts, vocab_size, special_tokens, min_frequency, /))]
    fn train_bpe(
        py: Python<'_>,
        texts: &Bound<'_, PyAny>,
        vocab_size: usize,
        special_tokens: Vec<String>,
        min_frequency: u64,
    ) -> PyResult<Self> {
        let least = BYTES + special_tokens.len();
        if vocab_size < least || u32::try_from(vocab_size).is_err() {
            return Err(PyValueError::new_err(format!(
                "[train_bpe] vocab_size: expected {least} to {}, got {vocab_size}",
                u32::MAX
            )));
        }
        let counts = count_words(py, texts)?;
        let special: Vec<_> = special_tokens.iter().map(|s| AddedToken::from(s, true)).collect();
        let (send, receive) = channel();
        // A thread of its own: the crate cannot be stopped, but Ctrl-C can stop waiting for it.
        std::thread::Builder::new()
            .name("lamina-bpe".into())
            .spawn(move || {
                let _ = send.send(guarded("train_bpe", || {
                    learn(&counts, vocab_size, special, min_frequency)
                }));
            })
            .map_err(PyErr::from)?;
        let receive = Mutex::new(receive);
        let inner = loop {
            let outcome = py.detach(|| {
                receive.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(POLL)
            });
            match outcome {
                Ok(result) => break result.map_err(raise)?,
                Err(RecvTimeoutError::Timeout) => py.check_signals()?,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(PyRuntimeError::new_err("[train_bpe] the thread ended early"));
                }
            }
        };
        Self::new(inner).map_err(raise)
    }

    /// Reads the text of a `tokenizer.json`.
    #[staticmethod]
    #[pyo3(signature = (text, /))]
    fn from_json(py: Python<'_>, text: PyBackedStr) -> PyResult<Self> {
        let bytes: &[u8] = text.as_bytes();
        enter(py, "tokenizer", bytes.len() * COST, || {
            Self::new(guarded("tokenizer.json", || Inner::from_bytes(bytes))?)
        })
    }

    /// Writes the text of a `tokenizer.json`.
    fn to_json(&self, py: Python<'_>) -> PyResult<String> {
        enter(py, "tokenizer", usize::MAX, || {
            guarded("tokenizer.json", || {
                let mut inner = self.inner.clone();
                inner.with_truncation(self.truncation.clone())?;
                inner.with_padding(self.padding.clone());
                inner.to_string(false)
            })
        })
    }

    /// Ids of each text, int64.
    #[pyo3(signature = (texts, add_special_tokens=true, /))]
    fn encode<'py>(
        &self,
        py: Python<'py>,
        texts: Vec<PyBackedStr>,
        add_special_tokens: bool,
    ) -> PyResult<Vec<Bound<'py, PyArray1<i64>>>> {
        let mut pieces = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            for piece in if self.by_line { cut(text) } else { vec![text.as_ref()] } {
                pieces.push((index, piece));
            }
        }
        let mut ids: Vec<Vec<i64>> = texts.iter().map(|_| Vec::new()).collect();
        let mut rest = pieces.as_slice();
        while !rest.is_empty() {
            let (block, bytes) = first_block(rest, |(_, piece)| piece.len());
            rest = &rest[block.len()..];
            let encoded = enter(py, "tokenizer", bytes * COST, || {
                threads::map(block.len(), bytes * COST, |i| {
                    guarded("encode", || {
                        let encoding = self.inner.encode_fast(block[i].1, add_special_tokens)?;
                        Ok(encoding.get_ids().to_vec())
                    })
                })
                .into_iter()
                .collect::<Result<Vec<_>>>()
            })?;
            for (&(index, _), part) in block.iter().zip(encoded) {
                ids[index].extend(part.into_iter().map(i64::from));
            }
            py.check_signals()?;
        }
        Ok(ids.into_iter().map(|ids| Array1::from_vec(ids).into_pyarray(py)).collect())
    }

    /// Text of `ids`, int64 `[L]`.
    #[pyo3(signature = (ids, skip_special_tokens=false, /))]
    fn decode(
        &self,
        py: Python<'_>,
        ids: &Bound<'_, PyAny>,
        skip_special_tokens: bool,
    ) -> PyResult<String> {
        let ids = array::<i64, Ix1>("ids", ids)?;
        let ids = ids.c_order()?;
        enter(py, "tokenizer", ids.len() * COST, || {
            let known = ids.iter().map(|&id| self.known(id)).collect::<Result<Vec<_>>>()?;
            guarded("decode", || self.inner.decode(&known, skip_special_tokens))
        })
    }

    /// Number of tokens.
    #[getter]
    fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Ids by token.
    fn vocab(&self) -> HashMap<String, u32> {
        self.inner.get_vocab(true)
    }

    /// Id of a token, or `None`.
    #[pyo3(signature = (token, /))]
    fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Token of an id, or `None`.
    #[pyo3(signature = (id, /))]
    fn id_to_token(&self, id: i64) -> Option<String> {
        self.inner.id_to_token(u32::try_from(id).ok()?)
    }
}

impl Tokenizer {
    fn new(mut inner: Inner) -> Result<Self> {
        let truncation = inner.get_truncation().cloned();
        let padding = inner.get_padding().cloned();
        let (dense, by_line) = guarded("tokenizer.json", || {
            inner.with_truncation(None)?;
            inner.with_padding(None);
            let mut ids: Vec<u32> = inner.get_vocab(true).into_values().collect();
            ids.sort_unstable();
            ids.dedup();
            let dense = ids.iter().zip(0..).take_while(|&(&id, expected)| id == expected).count();
            Ok((dense as u32, ends_lines(&inner)))
        })?;
        Ok(Self { inner, truncation, padding, dense, by_line })
    }

    fn known(&self, id: i64) -> Result<u32> {
        match u32::try_from(id) {
            Ok(small) if small < self.dense || self.inner.id_to_token(small).is_some() => Ok(small),
            _ => Err(Error::value(
                "decode",
                "ids",
                format!("expected ids of the vocabulary, below {}, got {id}", self.dense),
            )),
        }
    }
}

/// Whether no rule looks across a line break between two visible characters.
fn ends_lines(inner: &Inner) -> bool {
    let plain = match inner.get_pre_tokenizer() {
        Some(PreTokenizerWrapper::ByteLevel(level)) => level.use_regex && !level.add_prefix_space,
        _ => false,
    };
    let adds =
        !matches!(inner.get_post_processor(), None | Some(PostProcessorWrapper::ByteLevel(_)));
    plain
        && !adds
        && inner.get_normalizer().is_none()
        && inner.get_added_tokens_decoder().values().all(|token| {
            !token.lstrip && !token.rstrip && !token.content.contains(char::is_whitespace)
        })
}

/// `text` in pieces that end after a line break between two visible characters: there the regular
/// expression of GPT-2 always ends a word.
fn cut(text: &str) -> Vec<&str> {
    let visible = |c: Option<char>| c.is_some_and(|c| !c.is_whitespace());
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut from = PIECE;
    while let Some(found) =
        text.as_bytes().get(from..).and_then(|rest| rest.iter().position(|&byte| byte == b'\n'))
    {
        let end = from + found + 1;
        from = end;
        if visible(text[..end - 1].chars().next_back()) && visible(text[end..].chars().next()) {
            pieces.push(&text[start..end]);
            start = end;
            from = end + PIECE;
        }
    }
    pieces.push(&text[start..]);
    pieces
}

/// `piece` in pieces of at most a block, so that Ctrl-C need not wait for all of it. They end before
/// a blank between two visible characters, where a word ends; a text without has hardly any words
/// that could be cut.
fn bounded(piece: &str) -> Vec<&str> {
    let visible = |byte: u8| !byte.is_ascii_whitespace();
    let mut pieces = Vec::new();
    let mut rest = piece;
    while rest.len() > BLOCK {
        let bytes = rest.as_bytes();
        let blank = (BLOCK / 2..BLOCK)
            .rev()
            .find(|&i| bytes[i] == b' ' && visible(bytes[i - 1]) && visible(bytes[i + 1]));
        let end = blank.unwrap_or_else(|| floor_char_boundary(rest, BLOCK));
        let (first, after) = rest.split_at(end);
        pieces.push(first);
        rest = after;
    }
    pieces.push(rest);
    pieces
}

/// The end of the last character of `text` that ends at `end` or before.
fn floor_char_boundary(text: &str, end: usize) -> usize {
    let mut end = end.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    end
}

/// The first items, at least one, up to about a block of bytes, and their bytes.
fn first_block<T>(items: &[T], len: impl Fn(&T) -> usize) -> (&[T], usize) {
    let mut bytes = 0;
    let mut count = 0;
    while count < items.len() && (count == 0 || bytes < BLOCK) {
        bytes += len(&items[count]);
        count += 1;
    }
    (&items[..count], bytes)
}

type Counts = AHashMap<CompactString, u64>;

/// How often each word occurs in an iterable of texts, of which a block is in memory at a time.
fn count_words(py: Python<'_>, texts: &Bound<'_, PyAny>) -> PyResult<Counts> {
    let mut counts = Counts::new();
    let mut iterator = texts.try_iter()?;
    loop {
        let mut block: Vec<PyBackedStr> = Vec::new();
        let mut bytes = 0;
        while bytes < BLOCK {
            let Some(text) = iterator.next() else { break };
            let text: PyBackedStr = text?.extract()?;
            bytes += text.len();
            block.push(text);
        }
        if block.is_empty() {
            return Ok(counts);
        }
        let pieces: Vec<&str> = block.iter().flat_map(|text| cut(text)).flat_map(bounded).collect();
        let mut rest = pieces.as_slice();
        while !rest.is_empty() {
            let (part, bytes) = first_block(rest, |piece| piece.len());
            rest = &rest[part.len()..];
            let counted = enter(py, "tokenizer", bytes * COST, || {
                threads::map(part.len(), bytes * COST, |i| count_piece(part[i]))
                    .into_iter()
                    .collect::<Result<Vec<_>>>()
            })?;
            for (word, count) in counted.into_iter().flatten() {
                *counts.entry(word).or_default() += count;
            }
            py.check_signals()?;
        }
    }
}

fn count_piece(piece: &str) -> Result<Counts> {
    guarded("train_bpe", || {
        let mut text = PreTokenizedString::from(piece);
        byte_level().pre_tokenize(&mut text)?;
        let mut counts = Counts::new();
        for (word, (start, end), _) in
            text.get_splits(OffsetReferential::Original, OffsetType::Byte)
        {
            for part in parts(word, &piece[start..end]) {
                *counts.entry(CompactString::from(part)).or_default() += 1;
            }
        }
        Ok(counts)
    })
}

/// A word, or a long one in parts that end between two characters of `source`, of whose bytes each
/// is a character of `word`.
fn parts<'a>(word: &'a str, source: &str) -> Vec<&'a str> {
    if source.len() <= LONGEST_WORD {
        return vec![word];
    }
    let starts: Vec<usize> =
        word.char_indices().map(|(start, _)| start).chain([word.len()]).collect();
    let mut parts = Vec::with_capacity(source.len() / LONGEST_WORD + 1);
    let mut start = 0;
    while start < source.len() {
        let end = floor_char_boundary(source, start + LONGEST_WORD);
        parts.push(&word[starts[start]..starts[end]]);
        start = end;
    }
    parts
}

fn byte_level() -> ByteLevel {
    ByteLevel::new(false, true, true)
}

fn learn(
    counts: &Counts,
    vocab_size: usize,
    special: Vec<AddedToken>,
    min_frequency: u64,
) -> tokenizers::Result<Inner> {
    let trainer = BpeTrainer::builder()
        .vocab_size(vocab_size)
        .min_frequency(min_frequency)
        .special_tokens(special.clone())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .show_progress(false)
        .build();
    let mut model = BPE::default();
    trainer.do_train(counts, &mut model)?;
    let mut inner = Inner::new(model);
    inner.with_pre_tokenizer(Some(byte_level()));
    inner.with_decoder(Some(byte_level()));
    inner.add_special_tokens(special)?;
    Ok(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_join_to_the_text_and_end_between_visible_characters() {
        let line = "To be, or not to be\n";
        let text = format!("{}\n  \n{}", line.repeat(3_000), line.repeat(3_000));
        let pieces = cut(&text);
        assert!(pieces.len() > 4);
        assert_eq!(pieces.concat(), text);
        for pair in pieces.windows(2) {
            assert!(pair[0].ends_with("be\n") && pair[1].starts_with("To"));
        }
        assert_eq!(cut(""), [""]);
    }

    #[test]
    fn long_pieces_are_counted_in_shorter_ones() {
        let text = "To be or not ".repeat(BLOCK / 8);
        let pieces = bounded(&text);
        assert!(pieces.len() > 1);
        assert_eq!(pieces.concat(), text);
        for pair in pieces.windows(2) {
            assert!(!pair[0].ends_with(' ') && pair[1].starts_with(' '));
        }
        let run = "\u{6f22}".repeat(BLOCK);
        assert_eq!(bounded(&run).concat(), run);
        assert_eq!(bounded(""), [""]);
    }

    #[test]
    fn long_words_end_between_characters() {
        let source = "\u{6f22}".repeat(100);
        let word = "abc".repeat(100);
        let parts = parts(&word, &source);
        assert_eq!(parts, ["abc".repeat(85), "abc".repeat(15)]);
    }
}
