//! Texts beyond memory, and counts of n-grams that are kept, added up and made models of.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lamina_kernels::Result;
use lamina_statistics::buffer::Buffer;
use lamina_statistics::ngram::{self, Shard, Vocabulary};
use lamina_statistics::scratch::{Growing, Scratch, Storage};
use ndarray::Array2;
use numpy::{IntoPyArray, PyArray1, PyArray2};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::convert::{enter, interrupted};
use crate::ngram::{Estimated, Method, estimated, held_out};

const KERNEL: &str = "ngram";

/// Texts and files read so far, as sentences of ids, within a budget of memory if there is one.
/// Whatever is made of them leaves them empty.
#[pyclass(frozen, module = "lamina._kernels")]
pub(crate) struct NGramText {
    read: Mutex<(Vocabulary, Growing<u32>)>,
    scratch: Option<Arc<Scratch>>,
}

impl NGramText {
    fn lock(&self) -> MutexGuard<'_, (Vocabulary, Growing<u32>)> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether to stop; memory beyond the budget is given back whenever somebody asks.
    fn stop(&self) -> bool {
        if let Some(scratch) = &self.scratch {
            scratch.relieve();
        }
        interrupted()
    }

    fn storage(&self) -> Storage<'_> {
        self.scratch.as_deref()
    }

    fn take(&self) -> Result<(Vocabulary, Buffer<u32>)> {
        let mut read = self.lock();
        let vocabulary = std::mem::take(&mut read.0);
        let tokens = std::mem::replace(&mut read.1, Growing::new(self.scratch.clone()));
        Ok((vocabulary, tokens.finish()?))
    }
}

#[pymethods]
impl NGramText {
    /// With `memory`, bytes, what goes beyond lies in files without a name in the folder `temp`.
    #[new]
    #[pyo3(signature = (memory=None, temp=None, /))]
    fn new(memory: Option<usize>, temp: Option<PathBuf>) -> Self {
        let folder = temp.unwrap_or_else(std::env::temp_dir);
        let scratch = memory.map(|memory| Arc::new(Scratch::new(&folder, memory)));
        let read = Mutex::new((Vocabulary::new(), Growing::new(scratch.clone())));
        Self { read, scratch }
    }

    /// Adds the lines of `text`, each as a sentence.
    #[pyo3(signature = (text, /))]
    fn add(&self, py: Python<'_>, text: &str) -> PyResult<()> {
        enter(py, KERNEL, usize::MAX, || {
            let (vocabulary, tokens) = &mut *self.lock();
            vocabulary.learn(text, &mut tokens.values)?;
            tokens.settle()
        })
    }

    /// Adds the lines of a file, compressed where `path` ends in `.gz`.
    #[pyo3(signature = (path, skip_special, /))]
    fn add_file(&self, py: Python<'_>, path: PathBuf, skip_special: bool) -> PyResult<()> {
        enter(py, KERNEL, usize::MAX, || {
            let (vocabulary, tokens) = &mut *self.lock();
            vocabulary.learn_file(&path, skip_special, tokens, &|| self.stop())
        })
    }

    /// Tokens read, with those that begin and end sentences.
    fn __len__(&self, py: Python<'_>) -> usize {
        py.detach(|| self.lock().1.len())
    }

    /// Ids of the words of `text`, `</s>` after each line.
    #[pyo3(signature = (text, /))]
    fn encode<'py>(&self, py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyArray1<u32>>> {
        let ids = enter(py, KERNEL, usize::MAX, || Ok(self.lock().0.encode(text, true)))?;
        Ok(ids.into_pyarray(py))
    }

    /// The model without n-grams that occur at most as often as `prune` says.
    #[pyo3(signature = (order, method, prune, held_out, /))]
    fn estimate(
        &self,
        py: Python<'_>,
        order: usize,
        method: Method,
        prune: Vec<u32>,
        held_out: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Estimated> {
        let options = method.options(order, false, self::held_out(held_out)?, prune)?;
        enter(py, KERNEL, usize::MAX, || {
            let (vocabulary, tokens) = self.take()?;
            ngram::estimate_in(tokens, vocabulary, &options, self.storage(), &|| self.stop())
        })
        .map(estimated)
    }

    /// Writes the model to `path`, as `arpa` or in lamina's own format while it is estimated; how
    /// many n-grams of each length it has in place of the model.
    #[pyo3(signature = (order, method, prune, held_out, path, arpa, /))]
    fn estimate_to_file(
        &self,
        py: Python<'_>,
        order: usize,
        method: Method,
        prune: Vec<u32>,
        held_out: Option<&Bound<'_, PyAny>>,
        path: PathBuf,
        arpa: bool,
    ) -> PyResult<(Vec<usize>, Vec<Vec<f64>>, Vec<String>)> {
        let options = method.options(order, false, self::held_out(held_out)?, prune)?;
        enter(py, KERNEL, usize::MAX, || {
            let (vocabulary, tokens) = self.take()?;
            let (storage, stop) = (self.storage(), || self.stop());
            if arpa {
                return ngram::estimate_to_arpa(
                    tokens, vocabulary, &options, storage, &path, &stop,
                );
            }
            ngram::estimate_to_file(tokens, vocabulary, &options, storage, &path, &stop)
        })
        .map(|(counts, report)| (counts, report.discounts, report.undefined))
    }

    /// Counts of the n-grams.
    #[pyo3(signature = (order, /))]
    fn count(&self, py: Python<'_>, order: usize) -> PyResult<NGramShard> {
        enter(py, KERNEL, usize::MAX, || {
            let (vocabulary, tokens) = self.take()?;
            Shard::count(tokens, vocabulary, order, self.storage(), &|| self.stop())
        })
        .map(|shard| NGramShard { shard })
    }
}

/// Counts of the n-grams of a text.
#[pyclass(frozen, module = "lamina._kernels")]
pub(crate) struct NGramShard {
    shard: Shard,
}

#[pymethods]
impl NGramShard {
    /// Reads a file of [`Self::save`].
    #[staticmethod]
    #[pyo3(signature = (path, /))]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        enter(py, KERNEL, usize::MAX, || Shard::load(&path, &interrupted))
            .map(|shard| Self { shard })
    }

    /// Writes the counts to a file.
    #[pyo3(signature = (path, /))]
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        enter(py, KERNEL, usize::MAX, || self.shard.save(&path, &interrupted))
    }

    /// The counts of both.
    #[pyo3(signature = (other, /))]
    fn merge(&self, py: Python<'_>, other: &Self) -> PyResult<Self> {
        enter(py, KERNEL, usize::MAX, || self.shard.merge(&other.shard, &interrupted))
            .map(|shard| Self { shard })
    }

    /// Ids of the words of `text`, `</s>` after each line.
    #[pyo3(signature = (text, /))]
    fn encode<'py>(&self, py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyArray1<u32>>> {
        let vocabulary = &self.shard.vocabulary;
        let ids = enter(py, KERNEL, usize::MAX, || Ok(vocabulary.encode(text, true)))?;
        Ok(ids.into_pyarray(py))
    }

    /// The model without n-grams that occur at most as often as `prune` says.
    #[pyo3(signature = (method, prune, held_out, /))]
    fn estimate(
        &self,
        py: Python<'_>,
        method: Method,
        prune: Vec<u32>,
        held_out: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Estimated> {
        let held_out = self::held_out(held_out)?;
        let options = method.options(self.shard.order, false, held_out, prune)?;
        enter(py, KERNEL, usize::MAX, || self.shard.estimate(&options, None, &interrupted))
            .map(estimated)
    }

    /// Words in the longest n-grams.
    #[getter]
    fn order(&self) -> usize {
        self.shard.order
    }

    /// How many n-grams there are.
    fn __len__(&self) -> usize {
        self.shard.counts.len()
    }

    /// The words in the order of their ids.
    fn vocabulary(&self) -> Vec<Cow<'_, str>> {
        let vocabulary = &self.shard.vocabulary;
        (0..vocabulary.len() as u32).map(|id| vocabulary.word(id)).collect()
    }

    /// How often an n-gram of at most `order` words occurs.
    #[pyo3(signature = (words, /))]
    fn occurrences(&self, words: Vec<String>) -> u64 {
        let ids: Option<Vec<u32>> =
            words.iter().map(|word| self.shard.vocabulary.id(word)).collect();
        ids.map_or(0, |ids| self.shard.occurrences(&ids))
    }

    /// The n-grams from number `start` to `end`, `[U, order]`: ids plus one, zero after `</s>`; and
    /// how often each occurs.
    #[pyo3(signature = (start, end, /))]
    fn rows<'py>(
        &self,
        py: Python<'py>,
        start: usize,
        end: usize,
    ) -> PyResult<(Bound<'py, PyArray2<u32>>, Bound<'py, PyArray1<u64>>)> {
        let (order, len) = (self.shard.order, self.shard.counts.len());
        let range = start.min(len)..end.clamp(start.min(len), len);
        let ngrams = self.shard.ngrams[range.start * order..range.end * order].to_vec();
        let ngrams = Array2::from_shape_vec((range.len(), order), ngrams)
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        let counts = self.shard.counts[range].to_vec();
        Ok((ngrams.into_pyarray(py), counts.into_pyarray(py)))
    }
}
