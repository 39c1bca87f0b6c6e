//! Embedding: rows of a table.

use lamina_kernels::embedding::{self, Id};
use lamina_kernels::layout::Solid;
use ndarray::{Ix1, Ix2};
use numpy::{Element as NumpyElement, IntoPyArray, PyArray1};
use pyo3::prelude::*;

use crate::convert::{array, by_dtype, enter};

/// The rows `ids` of `weight`.
#[pyfunction]
#[pyo3(signature = (ids, weight, /))]
pub(crate) fn embedding_forward<'py>(
    py: Python<'py>,
    ids: &Bound<'py, PyAny>,
    weight: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    if ids.cast::<PyArray1<i32>>().is_ok() {
        forward::<i32>(py, ids, weight)
    } else {
        forward::<i64>(py, ids, weight)
    }
}

/// Gradient of a table of `rows` rows; the row `padding` gets none.
#[pyfunction]
#[pyo3(signature = (dy, ids, rows, padding=None, /))]
pub(crate) fn embedding_backward<'py>(
    py: Python<'py>,
    dy: &Bound<'py, PyAny>,
    ids: &Bound<'py, PyAny>,
    rows: usize,
    padding: Option<usize>,
) -> PyResult<Bound<'py, PyAny>> {
    if ids.cast::<PyArray1<i32>>().is_ok() {
        backward::<i32>(py, dy, ids, rows, padding)
    } else {
        backward::<i64>(py, dy, ids, rows, padding)
    }
}

fn forward<'py, I: Id + Solid + NumpyElement>(
    py: Python<'py>,
    ids: &Bound<'py, PyAny>,
    weight: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let ids = array::<I, Ix1>("input", ids)?;
    let ids = ids.c_order()?;
    by_dtype!(weight, T => {
        let weight = array::<T, Ix2>("weight", weight)?;
        let weight = weight.c_order()?;
        let cost = ids.len() * weight.ncols() / 8;
        let work = || embedding::forward(ids.view(), weight.view());
        Ok(enter(py, "embedding", cost, work)?.into_pyarray(py).into_any())
    })
}

fn backward<'py, I: Id + Solid + NumpyElement>(
    py: Python<'py>,
    dy: &Bound<'py, PyAny>,
    ids: &Bound<'py, PyAny>,
    rows: usize,
    padding: Option<usize>,
) -> PyResult<Bound<'py, PyAny>> {
    let ids = array::<I, Ix1>("input", ids)?;
    let ids = ids.c_order()?;
    by_dtype!(dy, T => {
        let dy = array::<T, Ix2>("dy", dy)?;
        let dy = dy.c_order()?;
        let cost = rows.saturating_mul(dy.ncols()) / 8 + dy.len() / 4;
        let work = || embedding::backward(dy.view(), ids.view(), rows, padding);
        Ok(enter(py, "embedding", cost, work)?.into_pyarray(py).into_any())
    })
}
