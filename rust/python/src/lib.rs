//! The extension module `lamina._kernels`: dtype, rank and layout of arrays, the GIL, errors.
//! No arithmetic.

mod conv;
mod convert;
mod matmul;
mod pooling;
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
    use crate::conv::{
        conv_transpose2d_backward, conv_transpose2d_forward, conv2d_backward, conv2d_forward,
        set_exact,
    };
    #[pymodule_export]
    use crate::matmul::{linear_backward, linear_forward, matmul_batched};
    #[pymodule_export]
    use crate::pooling::{
        adaptive_avg_pool2d_backward, adaptive_avg_pool2d_forward, adaptive_max_pool2d_forward,
        avg_pool2d_backward, avg_pool2d_forward, max_pool2d_backward, max_pool2d_forward,
    };
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
