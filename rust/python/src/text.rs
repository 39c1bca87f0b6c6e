//! Tokenizers: one frozen class, and looks at Ctrl-C between blocks of text.

use std::collections::HashMap;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lamina_text::bpe::{self, Counts};
use lamina_text::pieces::{BLOCK, bounded, cut, first_block};
use lamina_text::{COST, Tokenizer as Inner};
use ndarray::{Array1, Ix1};
use numpy::{IntoPyArray, PyArray1};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;

use crate::convert::{array, enter, raise};

/// How often training looks at Ctrl-C.
const POLL: Duration = Duration::from_millis(50);

/// Texts to ids and back, by the rules of a `tokenizer.json`.
#[pyclass(frozen, module = "lamina._kernels")]
pub(crate) struct Tokenizer {
    inner: Inner,
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
        bpe::check_vocab_size(vocab_size, special_tokens.len()).map_err(raise)?;
        let counts = count_words(py, texts)?;
        let (send, receive) = channel();
        // A thread of its own: the crate cannot be stopped, but Ctrl-C can stop waiting for it.
        std::thread::Builder::new()
            .name("lamina-bpe".into())
            .spawn(move || {
                let _ = send.send(bpe::learn(&counts, vocab_size, &special_tokens, min_frequency));
            })
            .map_err(PyErr::from)?;
        let receive = Mutex::new(receive);
        loop {
            let outcome = py.detach(|| {
                receive.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(POLL)
            });
            match outcome {
                Ok(result) => return Ok(Self { inner: result.map_err(raise)? }),
                Err(RecvTimeoutError::Timeout) => py.check_signals()?,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(PyRuntimeError::new_err("[train_bpe] the thread ended early"));
                }
            }
        }
    }

    /// Reads the text of a `tokenizer.json`.
    #[staticmethod]
    #[pyo3(signature = (text, /))]
    fn from_json(py: Python<'_>, text: PyBackedStr) -> PyResult<Self> {
        let bytes: &[u8] = text.as_bytes();
        let inner = enter(py, "tokenizer", bytes.len() * COST, || Inner::from_json(bytes))?;
        Ok(Self { inner })
    }

    /// Writes the text of a `tokenizer.json`.
    fn to_json(&self, py: Python<'_>) -> PyResult<String> {
        enter(py, "tokenizer", usize::MAX, || self.inner.to_json())
    }

    /// Ids of each text, int64.
    #[pyo3(signature = (texts, add_special_tokens=true, /))]
    fn encode<'py>(
        &self,
        py: Python<'py>,
        texts: Vec<PyBackedStr>,
        add_special_tokens: bool,
    ) -> PyResult<Vec<Bound<'py, PyArray1<i64>>>> {
        let pieces = self.inner.pieces(texts.iter().map(AsRef::as_ref));
        let mut ids: Vec<Vec<i64>> = texts.iter().map(|_| Vec::new()).collect();
        let mut rest = pieces.as_slice();
        while !rest.is_empty() {
            let (block, bytes) = first_block(rest, |(_, piece)| piece.len());
            rest = &rest[block.len()..];
            let encoded = enter(py, "tokenizer", bytes * COST, || {
                self.inner.encode(block, add_special_tokens)
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
        let ids = ids.as_slice().unwrap_or_default();
        enter(py, "tokenizer", ids.len() * COST, || self.inner.decode(ids, skip_special_tokens))
    }

    /// Number of tokens.
    #[getter]
    fn vocab_size(&self) -> usize {
        self.inner.vocab_size()
    }

    /// Ids by token.
    fn vocab(&self) -> HashMap<String, u32> {
        self.inner.vocab()
    }

    /// Id of a token, or `None`.
    #[pyo3(signature = (token, /))]
    fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Token of an id, or `None`.
    #[pyo3(signature = (id, /))]
    fn id_to_token(&self, id: i64) -> Option<String> {
        self.inner.id_to_token(id)
    }
}

/// How often each word occurs in an iterable of texts, of which a block is in memory at a time.
fn count_words(py: Python<'_>, texts: &Bound<'_, PyAny>) -> PyResult<Counts> {
    let mut counts = Counts::default();
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
            for counted in enter(py, "tokenizer", bytes * COST, || bpe::count(part))? {
                counts.add(counted);
            }
            py.check_signals()?;
        }
    }
}
