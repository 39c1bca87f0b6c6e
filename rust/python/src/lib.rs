//! The extension module `lamina._kernels`: dtype, rank and layout of arrays, the GIL, errors.
//! No arithmetic.

mod convert;
mod ngram;
mod profile;
mod softmax;
mod system;

use pyo3::prelude::*;

/// Kept freed blocks make the outputs of a training step free of page faults.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[pymodule]
mod _kernels {
    use super::{Bound, PyModule, PyResult, system};

    #[pymodule_export]
    use crate::ngram::{NGramCorpus, NGramModel, ngram_count, ngram_estimate, ngram_estimate_ids};
    #[pymodule_export]
    use crate::profile::{profile_start, profile_stop};
    #[pymodule_export]
    use crate::softmax::{
        log_softmax_backward, log_softmax_forward, softmax_backward, softmax_forward,
    };
    #[pymodule_export]
    use crate::system::{empty, isa, num_threads, set_num_threads};

    #[pymodule_init]
    fn init(_module: &Bound<'_, PyModule>) -> PyResult<()> {
        system::start()
    }
}
