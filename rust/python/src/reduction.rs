//! Sums over axes.

use lamina_kernels::reduction;
use ndarray::Ix3;
use numpy::IntoPyArray;
use pyo3::prelude::*;

use crate::convert::{array, by_dtype, enter};

/// Sum over the middle axis.
#[pyfunction]
#[pyo3(signature = (x, /))]
pub(crate) fn reduction_sum<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    by_dtype!(x, T => {
        let x = array::<T, Ix3>("x", x)?;
        let x = x.c_order()?;
        let y = enter(py, "reduction", x.len() / 8, || reduction::sum(x.view()))?;
        Ok(y.into_pyarray(py).into_any())
    })
}
