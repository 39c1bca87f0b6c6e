//! Dropout.

use lamina_kernels::dropout;
use numpy::{IntoPyArray, IxDyn};
use pyo3::prelude::*;

use crate::convert::{array, by_dtype, enter};

/// Numbers dropped with probability `p` and the others scaled; the seed decides which.
#[pyfunction]
#[pyo3(signature = (input, p, seed, /))]
pub(crate) fn dropout_apply<'py>(
    py: Python<'py>,
    input: &Bound<'py, PyAny>,
    p: f64,
    seed: u64,
) -> PyResult<Bound<'py, PyAny>> {
    by_dtype!(input, T => {
        let x = array::<T, IxDyn>("input", input)?;
        let x = x.c_order()?;
        let y = enter(py, "dropout", x.len() / 4, || dropout::apply(x.view(), p, seed))?;
        Ok(y.into_pyarray(py).into_any())
    })
}
