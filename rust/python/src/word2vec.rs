//! Word vectors.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lamina_statistics::word2vec::format::{Layout, Vectors};
use lamina_statistics::word2vec::train::Tables;
use lamina_statistics::word2vec::{self, Counter, Epoch, Options, Sentences, Subwords, Trainer};
use ndarray::{Array2, Ix1, Ix2};
use numpy::{IntoPyArray, PyArray1, PyArray2};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::convert::{array, array_mut, enter, interrupted};

const KERNEL: &str = "word2vec";

/// Calls `word` for the words of each sentence and `end` after each.
fn for_each_word(sentences: &Bound<'_, PyAny>, word: &mut dyn FnMut(Option<&str>)) -> PyResult<()> {
    for sentence in sentences.try_iter()? {
        let sentence = sentence?;
        if sentence.is_instance_of::<PyString>() {
            return Err(PyTypeError::new_err(
                "sentences: expected lists of words, got a text in place of a list",
            ));
        }
        for item in sentence.try_iter()? {
            let item = item?;
            let text = item.cast::<PyString>().map_err(|_| {
                let kind = item.get_type().name().map_or("?".into(), |name| name.to_string());
                PyTypeError::new_err(format!("sentences: expected words as str, got {kind}"))
            })?;
            word(Some(text.to_str()?));
        }
        word(None);
    }
    Ok(())
}

fn matrix<'py>(
    py: Python<'py>,
    rows: Vec<f32>,
    shape: (usize, usize),
) -> PyResult<Bound<'py, PyArray2<f32>>> {
    let rows = Array2::from_shape_vec(shape, rows)
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(rows.into_pyarray(py))
}

/// Words counted so far; of more than `max_size` the rare ones are forgotten.
#[pyclass(frozen, module = "lamina._kernels")]
pub(crate) struct Word2VecCounter {
    counter: Mutex<Counter>,
}

impl Word2VecCounter {
    fn lock(&self) -> MutexGuard<'_, Counter> {
        self.counter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Word2VecCounter {
    #[new]
    #[pyo3(signature = (max_size=None, /))]
    fn new(max_size: Option<usize>) -> Self {
        Self { counter: Mutex::new(Counter::new(max_size.unwrap_or(usize::MAX))) }
    }

    /// Counts the words of sentences, which are lists of words.
    #[pyo3(signature = (sentences, /))]
    fn add(&self, sentences: &Bound<'_, PyAny>) -> PyResult<()> {
        // Iterating runs code of Python, which must not meet the lock.
        let (mut text, mut ends) = (String::new(), vec![]);
        for_each_word(sentences, &mut |word| {
            text.push_str(word.unwrap_or(""));
            ends.push((text.len(), word.is_some()));
        })?;
        let mut counter = self.lock();
        let mut start = 0;
        for (end, word) in ends {
            if word {
                counter.add(&text[start..end]);
            } else {
                counter.end();
            }
            start = end;
        }
        Ok(())
    }

    /// Counts the words of a text file, one sentence a line.
    #[pyo3(signature = (path, /))]
    fn read(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        enter(py, KERNEL, usize::MAX, || self.lock().read(&path, &interrupted))
    }

    /// Occurrences of words.
    #[getter]
    fn words(&self, py: Python<'_>) -> u64 {
        py.detach(|| self.lock().words())
    }

    /// Sentences.
    #[getter]
    fn sentences(&self, py: Python<'_>) -> u64 {
        py.detach(|| self.lock().sentences())
    }

    /// Words that occur `min_count` times, at most `max_final`, by descending count, and the counts.
    #[pyo3(signature = (min_count, max_final, /))]
    fn finish<'py>(
        &self,
        py: Python<'py>,
        min_count: u64,
        max_final: Option<usize>,
    ) -> PyResult<(Vec<String>, Bound<'py, PyArray1<u64>>)> {
        let found = || Ok(self.lock().finish(min_count, max_final));
        let (words, counts) = enter(py, KERNEL, usize::MAX, found)?;
        Ok((words, counts.into_pyarray(py)))
    }
}

/// A vocabulary and what training draws from it.
#[pyclass(frozen, module = "lamina._kernels")]
pub(crate) struct Word2VecTrainer {
    trainer: Trainer,
}

#[pymethods]
impl Word2VecTrainer {
    #[new]
    #[pyo3(signature = (
        words, counts, /, *, skip_gram, hierarchical, negative, ns_exponent, sample, window,
        shrink_windows, mean, shared_negatives, subwords, batch_words
    ))]
    fn new(
        py: Python<'_>,
        words: Vec<String>,
        counts: &Bound<'_, PyAny>,
        skip_gram: bool,
        hierarchical: bool,
        negative: usize,
        ns_exponent: f64,
        sample: f64,
        window: usize,
        shrink_windows: bool,
        mean: bool,
        shared_negatives: bool,
        subwords: Option<(usize, usize, u32)>,
        batch_words: usize,
    ) -> PyResult<Self> {
        let counts = array::<u64, Ix1>("counts", counts)?;
        let counts = counts.c_order()?;
        let counts = counts.as_slice().unwrap_or_default();
        let subwords = subwords.map(|(min_n, max_n, buckets)| Subwords { min_n, max_n, buckets });
        let options = Options {
            skip_gram,
            hierarchical,
            negative,
            ns_exponent,
            sample,
            window,
            shrink_windows,
            mean,
            shared_negatives,
            subwords,
            batch_words,
        };
        enter(py, KERNEL, usize::MAX, || {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            Trainer::new(&words, counts, options)
        })
        .map(|trainer| Self { trainer })
    }

    /// Places of the words of sentences, and where each sentence ends.
    #[pyo3(signature = (sentences, /))]
    fn encode<'py>(
        &self,
        py: Python<'py>,
        sentences: &Bound<'py, PyAny>,
    ) -> PyResult<(Bound<'py, PyArray1<u32>>, Bound<'py, PyArray1<u64>>)> {
        let (mut ids, mut ends) = (vec![], vec![]);
        for_each_word(sentences, &mut |word| match word {
            Some(word) => ids.push(self.trainer.place(word)),
            None => ends.push(ids.len() as u64),
        })?;
        Ok((ids.into_pyarray(py), ends.into_pyarray(py)))
    }

    /// One pass over a file or over encoded sentences; changes the tables. Returns the loss, the
    /// words read and those of them that were used.
    #[pyo3(signature = (
        sentences, input, hidden, nodes, /, *, words, alpha, seed, number, workers, compute_loss,
        progress=None
    ))]
    fn train(
        &self,
        py: Python<'_>,
        sentences: &Bound<'_, PyAny>,
        input: &Bound<'_, PyAny>,
        hidden: &Bound<'_, PyAny>,
        nodes: &Bound<'_, PyAny>,
        words: u64,
        alpha: (f64, f64),
        seed: u64,
        number: u64,
        workers: usize,
        compute_loss: bool,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<(f64, u64, u64)> {
        let mut input = array_mut::<f32, Ix2>("input", input)?;
        let mut hidden = array_mut::<f32, Ix2>("hidden", hidden)?;
        let mut nodes = array_mut::<f32, Ix2>("nodes", nodes)?;
        let stride = input.shape()[1];
        let tables = Tables {
            input: input.numbers(),
            hidden: hidden.numbers(),
            nodes: nodes.numbers(),
            stride,
        };
        let raised = Mutex::new(None);
        let watch = |done: u64| {
            interrupted()
                || progress.as_ref().is_some_and(|progress| {
                    Python::attach(|py| match progress.call1(py, (done,)) {
                        Ok(_) => false,
                        Err(error) => {
                            *raised.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                            true
                        }
                    })
                })
        };
        let run = |sentences: Sentences<'_>| {
            let epoch = Epoch { sentences, words, alpha, seed, number, workers, compute_loss };
            let train = || self.trainer.train(&epoch, tables, &watch);
            enter(py, KERNEL, usize::MAX, train)
        };
        let report = match sentences.extract::<PathBuf>() {
            Ok(path) => run(Sentences::File(&path)),
            Err(_) => {
                let (ids, ends): (Bound<'_, PyAny>, Bound<'_, PyAny>) = sentences.extract()?;
                let (ids, ends) =
                    (array::<u32, Ix1>("ids", &ids)?, array::<u64, Ix1>("ends", &ends)?);
                let (ids, ends) = (ids.c_order()?, ends.c_order()?);
                let ids = ids.as_slice().unwrap_or_default();
                run(Sentences::Ids(ids, ends.as_slice().unwrap_or_default()))
            }
        };
        if let Some(error) = raised.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        report.map(|report| (report.loss, report.words, report.effective))
    }

    /// The vectors `[V, width]` of all words from the input table.
    #[pyo3(signature = (input, width, /))]
    fn vectors<'py>(
        &self,
        py: Python<'py>,
        input: &Bound<'py, PyAny>,
        width: usize,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let input = array::<f32, Ix2>("input", input)?;
        let input = input.c_order()?;
        let stride = input.ncols();
        let input = input.as_slice().unwrap_or_default();
        let cost = self.trainer.len() * stride;
        let rows = enter(py, KERNEL, cost, || self.trainer.vectors(input, stride, width))?;
        matrix(py, rows, (self.trainer.len(), width))
    }
}

/// Buckets of the parts of a word.
#[pyfunction]
#[pyo3(signature = (word, min_n, max_n, buckets, /))]
pub(crate) fn word2vec_subwords<'py>(
    py: Python<'py>,
    word: &str,
    min_n: usize,
    max_n: usize,
    buckets: u32,
) -> Bound<'py, PyArray1<u32>> {
    let mut found = vec![];
    Subwords { min_n, max_n, buckets }.append(word, &mut found);
    found.into_pyarray(py)
}

/// Words and vectors `[V, D]` of a file of word2vec.
#[pyfunction]
#[pyo3(signature = (path, binary, no_header, limit, /))]
pub(crate) fn word2vec_load(
    py: Python<'_>,
    path: PathBuf,
    binary: bool,
    no_header: bool,
    limit: Option<usize>,
) -> PyResult<(Vec<String>, Bound<'_, PyArray2<f32>>)> {
    let layout = Layout { binary, no_header };
    let limit = limit.unwrap_or(usize::MAX);
    let load = || Vectors::load(&path, layout, limit, &interrupted);
    let Vectors { text, ends, rows, width } = enter(py, KERNEL, usize::MAX, load)?;
    let starts = std::iter::once(0).chain(ends.iter().copied());
    let words: Vec<_> = starts.zip(&ends).map(|(start, &end)| text[start..end].into()).collect();
    let shape = (words.len(), width);
    Ok((words, matrix(py, rows, shape)?))
}

/// Writes words and vectors `[V, D]` as a file of word2vec.
#[pyfunction]
#[pyo3(signature = (path, words, vectors, binary, no_header, compressed, /))]
pub(crate) fn word2vec_save(
    py: Python<'_>,
    path: PathBuf,
    words: Vec<String>,
    vectors: &Bound<'_, PyAny>,
    binary: bool,
    no_header: bool,
    compressed: bool,
) -> PyResult<()> {
    let vectors = array::<f32, Ix2>("vectors", vectors)?;
    let vectors = vectors.c_order()?;
    let rows = vectors.as_slice().unwrap_or_default();
    let layout = Layout { binary, no_header };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    enter(py, KERNEL, usize::MAX, || {
        Vectors::save(&path, &words, rows, layout, compressed, &interrupted)
    })
}

/// The hash of fastText.
#[pyfunction]
#[pyo3(signature = (bytes, /))]
pub(crate) fn word2vec_hash(bytes: &[u8]) -> u32 {
    word2vec::subwords::hash(bytes)
}
