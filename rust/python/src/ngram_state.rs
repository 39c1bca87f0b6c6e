//! Contexts of n-gram models.

use std::hash::{DefaultHasher, Hash, Hasher};

use lamina_statistics::ngram::State;
use pyo3::basic::CompareOp;
use pyo3::prelude::*;

/// What a model remembers of the words so far.
#[pyclass(module = "lamina._kernels")]
#[derive(Clone)]
pub(crate) struct NGramState {
    pub(crate) state: State,
}

#[pymethods]
impl NGramState {
    /// Nothing is remembered.
    #[new]
    fn new() -> Self {
        Self { state: State::NULL }
    }

    /// Ids of the words that matter, the last one first.
    #[getter]
    fn words(&self) -> Vec<u32> {
        self.state.words().to_vec()
    }

    /// How many words matter.
    fn __len__(&self) -> usize {
        self.state.words().len()
    }

    fn __bool__(&self) -> bool {
        true
    }

    fn __richcmp__(&self, other: &Self, op: CompareOp) -> bool {
        op.matches(self.state.words().cmp(other.state.words()))
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.state.words().hash(&mut hasher);
        hasher.finish()
    }

    fn __copy__(&self) -> Self {
        self.clone()
    }

    #[pyo3(signature = (_memo, /))]
    fn __deepcopy__(&self, _memo: &Bound<'_, PyAny>) -> Self {
        self.clone()
    }

    fn __repr__(&self) -> String {
        format!("NGramState(words={:?})", self.state.words())
    }
}
