//! N-gram language models.

use std::borrow::Cow;
use std::path::PathBuf;

use lamina_kernels::Result;
use lamina_statistics::ngram::container::Verify;
use lamina_statistics::ngram::{
    self, Form, Model, Options, Report, SPECIAL, Smoothing, State, Step, Totals, Verbosity,
    Vocabulary, Weights,
};
use ndarray::{Array2, Ix1};
use numpy::{IntoPyArray, PyArray1, PyArray2};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::convert::{array, enter, interrupted};
use crate::ngram_state::NGramState;

const KERNEL: &str = "ngram";

/// Distinct n-grams `[U, order]` of `ids` in ascending order and how often each occurs.
#[pyfunction]
#[pyo3(signature = (ids, order, /))]
pub(crate) fn ngram_count<'py>(
    py: Python<'py>,
    ids: &Bound<'py, PyAny>,
    order: usize,
) -> PyResult<(Bound<'py, PyArray2<u32>>, Bound<'py, PyArray1<i64>>)> {
    let ids = array::<u32, Ix1>("ids", ids)?;
    let ids = ids.c_order()?;
    let ids = ids.as_slice().unwrap_or_default();
    let found = enter(py, KERNEL, ids.len() * 20, || ngram::count(ids, order, &interrupted))?;
    let shape = (found.counts.len(), order);
    let ngrams = Array2::from_shape_vec(shape, found.words)
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok((ngrams.into_pyarray(py), found.counts.into_pyarray(py)))
}

/// How to smooth, a dictionary in Python.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Method {
    smoothing: String,
    interpolate: bool,
    /// What the method has: gamma, the largest discounted count, the discount or alpha.
    number: Option<f64>,
    weights: Option<Vec<f64>>,
    bucketed: bool,
    interpolate_unigrams: bool,
    discount_unigrams: bool,
    discount_fallback: Option<[f64; 3]>,
    precise: bool,
}

impl Method {
    pub(crate) fn options(
        self,
        order: usize,
        closed: bool,
        held_out: Option<Vec<u32>>,
        prune: Vec<u32>,
    ) -> PyResult<Options> {
        let Self { number, interpolate, .. } = self;
        let smoothing = match self.smoothing.as_str() {
            "mle" => Smoothing::MaximumLikelihood,
            "laplace" | "lidstone" => Smoothing::Additive { gamma: number.unwrap_or(1.0) },
            "good_turing" => Smoothing::GoodTuring,
            "katz" => Smoothing::Katz { largest: number.unwrap_or(5.0) as usize },
            "witten_bell" => Smoothing::WittenBell { interpolate },
            "absolute" => Smoothing::Absolute { discount: number, interpolate },
            "jelinek_mercer" => Smoothing::JelinekMercer(match self.weights {
                Some(weights) => Weights::Given(weights),
                None => Weights::HeldOut {
                    tokens: held_out.unwrap_or_default(),
                    bucketed: self.bucketed,
                },
            }),
            "kneser_ney" => Smoothing::KneserNey { discount: number, interpolate },
            "modified_kneser_ney" => Smoothing::ModifiedKneserNey { interpolate },
            "stupid_backoff" => Smoothing::StupidBackoff { alpha: number.unwrap_or(0.4) },
            other => return Err(PyValueError::new_err(format!("smoothing: unknown: {other}"))),
        };
        Ok(Options {
            order,
            interpolate_unigrams: self.interpolate_unigrams,
            discount_fallback: self.discount_fallback,
            closed,
            prune,
            smoothing,
            discount_unigrams: self.discount_unigrams,
            precise: self.precise,
        })
    }
}

pub(crate) fn held_out(tokens: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Vec<u32>>> {
    let Some(tokens) = tokens else { return Ok(None) };
    let tokens = array::<u32, Ix1>("held_out", tokens)?;
    Ok(Some(tokens.c_order()?.as_slice().unwrap_or_default().to_vec()))
}

/// Contexts, those that are wrong, and the worst of these.
type Sums = (usize, usize, Vec<(f64, String)>);

/// The model, the discounts and the weights of each order, and which discounts are the fallback's.
pub(crate) type Estimated = (NGramModel, Vec<Vec<f64>>, Vec<Vec<f64>>, Vec<String>);

pub(crate) fn estimated((model, report): (Model, Report)) -> Estimated {
    (model.into(), report.discounts, report.weights, report.undefined)
}

/// The model of `tokens`, in which 1 begins each text and the ids below `vocab_size` have 3 added.
#[pyfunction]
#[pyo3(signature = (tokens, vocab_size, order, method, held_out, /))]
pub(crate) fn ngram_estimate_ids(
    py: Python<'_>,
    tokens: &Bound<'_, PyAny>,
    vocab_size: u32,
    order: usize,
    method: Method,
    held_out: Option<&Bound<'_, PyAny>>,
) -> PyResult<Estimated> {
    let tokens = array::<u32, Ix1>("tokens", tokens)?;
    let tokens = tokens.c_order()?;
    let tokens = tokens.as_slice().unwrap_or_default();
    let options = method.options(order, true, self::held_out(held_out)?, Vec::new())?;
    enter(py, KERNEL, usize::MAX, || {
        let vocabulary = Vocabulary::numbers(vocab_size as usize)?;
        ngram::estimate(tokens, vocabulary, &options, &interrupted)
    })
    .map(estimated)
}

/// The linear mixture of models with weights that sum to one.
#[pyfunction]
#[pyo3(signature = (models, weights, /))]
pub(crate) fn ngram_mix(
    py: Python<'_>,
    models: Vec<Py<NGramModel>>,
    weights: Vec<f64>,
) -> PyResult<NGramModel> {
    enter(py, KERNEL, usize::MAX, || {
        let tries: Result<Vec<&Model>> =
            models.iter().map(|model| model.get().model.trie()).collect();
        ngram::mix(&tries?, &weights, &interrupted)
    })
    .map(NGramModel::from)
}

/// A back-off n-gram model.
#[pyclass(frozen, module = "lamina._kernels")]
pub(crate) struct NGramModel {
    pub(crate) model: Form,
}

impl From<Model> for NGramModel {
    fn from(model: Model) -> Self {
        Self { model: Form::Trie(model) }
    }
}

impl NGramModel {
    /// The id of a word or, as the model's own, of a token.
    fn id_of(&self, word: &Bound<'_, PyAny>) -> PyResult<u32> {
        let vocabulary = self.model.vocabulary();
        let numbers = vocabulary.is_numbers();
        if let Ok(text) = word.cast::<PyString>() {
            if numbers {
                return Err(PyTypeError::new_err("NGram: word: expected an id, got a text"));
            }
            return Ok(vocabulary.query(text.to_str()?));
        }
        let id: u32 = word.extract().map_err(|_| {
            let kind = word.get_type().name().map_or_else(|_| "?".into(), |name| name.to_string());
            PyTypeError::new_err(format!("NGram: word: expected a word or an id, got {kind}"))
        })?;
        Ok(if numbers { id.saturating_add(SPECIAL.len() as u32) } else { id })
    }

    fn take_step(&self, py: Python<'_>, state: &State, word: u32) -> PyResult<Step> {
        enter(py, KERNEL, 0, || self.model.step(state, word))
    }
}

#[pymethods]
impl NGramModel {
    /// Reads an ARPA file; with `vocab_size`, its words are ids below that.
    #[staticmethod]
    #[pyo3(signature = (path, vocab_size=None, /))]
    fn load_arpa(py: Python<'_>, path: PathBuf, vocab_size: Option<u32>) -> PyResult<Self> {
        let numbers = vocab_size.map(|size| size as usize);
        enter(py, KERNEL, usize::MAX, || Model::load_arpa(&path, numbers, &interrupted))
            .map(Self::from)
    }

    /// Reads a binary file of any form; unless `lazy`, all of it is compared with its checksums.
    #[staticmethod]
    #[pyo3(signature = (path, lazy, /))]
    fn load_binary(py: Python<'_>, path: PathBuf, lazy: bool) -> PyResult<Self> {
        let verify = if lazy { Verify::Lazy } else { Verify::Whole };
        enter(py, KERNEL, usize::MAX, || Form::load_binary(&path, verify, &interrupted))
            .map(|model| Self { model })
    }

    /// Writes a binary file in the form `kind`, with codes of `bits` bits where that is `compact`.
    #[pyo3(signature = (path, kind, bits, /))]
    fn save_binary(&self, py: Python<'_>, path: PathBuf, kind: &str, bits: u32) -> PyResult<()> {
        enter(py, KERNEL, usize::MAX, || self.model.save_binary(&path, kind, bits, &interrupted))
    }

    /// The model in the form `kind`.
    #[pyo3(signature = (kind, bits, /))]
    fn convert(&self, py: Python<'_>, kind: &str, bits: u32) -> PyResult<Self> {
        enter(py, KERNEL, usize::MAX, || self.model.convert(kind, bits, &interrupted))
            .map(|model| Self { model })
    }

    /// `trie`, `probing` or `compact`.
    #[getter]
    fn kind(&self) -> &'static str {
        self.model.kind()
    }

    /// How many ids there are where tokens are ids.
    #[getter]
    fn numbers(&self) -> Option<usize> {
        let vocabulary = self.model.vocabulary();
        vocabulary.is_numbers().then(|| vocabulary.len() - SPECIAL.len())
    }

    /// The most by which a logarithm was rounded; zero but for the compact form.
    #[getter]
    fn error(&self) -> f32 {
        match &self.model {
            Form::Compact(model) => model.error(),
            _ => 0.0,
        }
    }

    /// Writes an ARPA file, compressed where `path` ends in `.gz`.
    #[pyo3(signature = (path, /))]
    fn save_arpa(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        enter(py, KERNEL, usize::MAX, || self.model.trie()?.save_arpa(&path, &interrupted))
    }

    /// Words in the longest n-grams.
    #[getter]
    fn order(&self) -> usize {
        self.model.order()
    }

    /// How many n-grams of each length there are.
    #[getter]
    fn counts(&self) -> Vec<usize> {
        self.model.counts()
    }

    /// How many words there are.
    fn __len__(&self) -> usize {
        self.model.vocabulary().len()
    }

    /// Ids of words that training did not see and that only round off the vocabulary, ascending.
    fn absent<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<u32>> {
        PyArray1::from_slice(py, self.model.absent())
    }

    /// The words in the order of their ids.
    fn vocabulary(&self) -> Vec<Cow<'_, str>> {
        let vocabulary = self.model.vocabulary();
        (0..vocabulary.len() as u32).map(|id| vocabulary.word(id)).collect()
    }

    /// The id of `word`.
    #[pyo3(signature = (word, /))]
    fn id(&self, word: &str) -> Option<u32> {
        self.model.vocabulary().id(word)
    }

    /// Ids of the words of `text`, with `</s>` after each line; after the last one only where a
    /// line feed or `finish` says so.
    #[pyo3(signature = (text, finish, /))]
    fn encode<'py>(
        &self,
        py: Python<'py>,
        text: &str,
        finish: bool,
    ) -> PyResult<Bound<'py, PyArray1<u32>>> {
        let cost = text.len() * 2;
        let ids = enter(py, KERNEL, cost, || Ok(self.model.vocabulary().encode(text, finish)))?;
        Ok(ids.into_pyarray(py))
    }

    /// Logarithm to base 10 of the probability of each token and the length of the n-gram it is of.
    #[pyo3(signature = (tokens, begin, sentences, /))]
    fn score<'py>(
        &self,
        py: Python<'py>,
        tokens: &Bound<'py, PyAny>,
        begin: bool,
        sentences: bool,
    ) -> PyResult<(Bound<'py, PyArray1<f64>>, Bound<'py, PyArray1<u8>>)> {
        let tokens = array::<u32, Ix1>("tokens", tokens)?;
        let tokens = tokens.c_order()?;
        let tokens = tokens.as_slice().unwrap_or_default();
        let scores = enter(py, KERNEL, tokens.len() * 100, || {
            self.model.score(tokens, begin, sentences, &interrupted)
        })?;
        Ok((scores.log10.into_pyarray(py), scores.length.into_pyarray(py)))
    }

    /// Natural logarithm of the probability of every word after `tokens`.
    #[pyo3(signature = (tokens, sentences, /))]
    fn next<'py>(
        &self,
        py: Python<'py>,
        tokens: &Bound<'py, PyAny>,
        sentences: bool,
    ) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let tokens = array::<u32, Ix1>("tokens", tokens)?;
        let tokens = tokens.c_order()?;
        let tokens = tokens.as_slice().unwrap_or_default();
        let cost = self.model.vocabulary().len() * 2;
        let logs = enter(py, KERNEL, cost, || self.model.next(tokens, sentences))?;
        Ok(logs.into_pyarray(py))
    }
    /// The model without the n-grams whose loss changes its perplexity by less than `threshold`.
    #[pyo3(signature = (threshold, /))]
    fn prune(&self, py: Python<'_>, threshold: f64) -> PyResult<Self> {
        enter(py, KERNEL, usize::MAX, || self.model.trie()?.prune(threshold, &interrupted))
            .map(Self::from)
    }

    /// The model of only `words`, the special ones besides.
    #[pyo3(signature = (words, /))]
    fn limit(&self, py: Python<'_>, words: Vec<String>) -> PyResult<Self> {
        enter(py, KERNEL, usize::MAX, || self.model.trie()?.limit(&words, &interrupted))
            .map(Self::from)
    }

    /// How many contexts there are, how many whose probabilities do not sum to one within
    /// `tolerance`, and the sums and words of the `most` worst.
    #[pyo3(signature = (tolerance, most, /))]
    fn sums(&self, py: Python<'_>, tolerance: f64, most: usize) -> PyResult<Sums> {
        let sums = enter(py, KERNEL, usize::MAX, || {
            self.model.trie()?.sums(tolerance, most, &interrupted)
        })?;
        let vocabulary = self.model.vocabulary();
        let named = |words: Vec<u32>| {
            let words: Vec<_> = words.into_iter().map(|word| vocabulary.word(word)).collect();
            words.join(" ")
        };
        let worst = sums.worst.into_iter().map(|(sum, words)| (sum, named(words))).collect();
        Ok((sums.contexts, sums.wrong, worst))
    }

    /// Logarithm to base 10 of the probability of `word` after `state`, and the state after it.
    #[pyo3(signature = (state, word, /))]
    fn step(
        &self,
        py: Python<'_>,
        state: &NGramState,
        word: &Bound<'_, PyAny>,
    ) -> PyResult<(f64, NGramState)> {
        let step = self.take_step(py, &state.state, self.id_of(word)?)?;
        Ok((step.log10, NGramState { state: step.state }))
    }

    /// The same, in single precision, with the state put into `out`.
    #[pyo3(signature = (state, word, out, /))]
    fn step_into(
        &self,
        py: Python<'_>,
        state: &Bound<'_, NGramState>,
        word: &Bound<'_, PyAny>,
        out: &Bound<'_, NGramState>,
    ) -> PyResult<f32> {
        // Both may be the same object.
        let before = state.borrow().state;
        let step = self.take_step(py, &before, self.id_of(word)?)?;
        out.borrow_mut().state = step.state;
        Ok(step.single)
    }

    /// The same with the length of the n-gram, and whether the word is unknown.
    #[pyo3(signature = (state, word, out, /))]
    fn full_step_into(
        &self,
        py: Python<'_>,
        state: &Bound<'_, NGramState>,
        word: &Bound<'_, PyAny>,
        out: &Bound<'_, NGramState>,
    ) -> PyResult<(f32, u8, bool)> {
        let before = state.borrow().state;
        let id = self.id_of(word)?;
        let step = self.take_step(py, &before, id)?;
        out.borrow_mut().state = step.state;
        Ok((step.single, step.length, id == ngram::UNKNOWN))
    }

    /// The state at the beginning of a sentence.
    fn begin_state(&self) -> NGramState {
        NGramState { state: self.model.begin_state() }
    }

    /// Makes `out` that state.
    #[pyo3(signature = (out, /))]
    fn begin_into(&self, out: &mut NGramState) {
        out.state = self.model.begin_state();
    }

    /// Makes `out` a state that remembers nothing.
    #[pyo3(signature = (out, /))]
    fn null_into(&self, out: &mut NGramState) {
        out.state = State::NULL;
    }

    /// The state after `tokens`, which begin a text.
    #[pyo3(signature = (tokens, sentences, /))]
    fn state(
        &self,
        py: Python<'_>,
        tokens: &Bound<'_, PyAny>,
        sentences: bool,
    ) -> PyResult<NGramState> {
        let tokens = array::<u32, Ix1>("tokens", tokens)?;
        let tokens = tokens.c_order()?;
        let tokens = tokens.as_slice().unwrap_or_default();
        let state = enter(py, KERNEL, 0, || self.model.state_after(tokens, sentences))?;
        Ok(NGramState { state })
    }

    /// What is printed of the lines of `text`, and the sums of [`Totals`].
    #[pyo3(signature = (text, context, verbosity, /))]
    fn query<'py>(
        &self,
        py: Python<'py>,
        text: &str,
        context: bool,
        verbosity: u8,
    ) -> PyResult<(Bound<'py, PyBytes>, f64, f64, u64, u64)> {
        let verbosity = match verbosity {
            0 => Verbosity::Summary,
            1 => Verbosity::Sentence,
            _ => Verbosity::Word,
        };
        let mut totals = Totals::default();
        let printed = enter(py, KERNEL, text.len() * 10, || {
            self.model.query(text, context, verbosity, &mut totals, &interrupted)
        })?;
        let Totals { log10, log10_unknown, tokens, unknown } = totals;
        Ok((PyBytes::new(py, &printed), log10, log10_unknown, tokens, unknown))
    }
}
