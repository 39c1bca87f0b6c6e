//! Embedding: rows of a table.

use lamina_kernels::embedding::{self, Id};
use lamina_kernels::layout::Solid;
use ndarray::{ArrayBase, ArrayView1, ArrayViewD, Data, Ix2, IxDyn};
use numpy::{Element as NumpyElement, IntoPyArray, PyArrayDyn};
use pyo3::exceptions::PyValueError;
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
    if ids.cast::<PyArrayDyn<i32>>().is_ok() {
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
    if ids.cast::<PyArrayDyn<i32>>().is_ok() {
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
    let ids = array::<I, IxDyn>("input", ids)?;
    let ids = ids.c_order()?;
    let flat = in_a_row(ids.view());
    by_dtype!(weight, T => {
        let weight = array::<T, Ix2>("weight", weight)?;
        let weight = weight.c_order()?;
        let cost = ids.len() * weight.ncols() / 8;
        let y = enter(py, "embedding", cost, || embedding::forward(flat, weight.view()))?;
        let mut shape = ids.shape().to_vec();
        shape.push(weight.ncols());
        let y = y.into_shape_with_order(shape).expect("a row for each id");
        Ok(y.into_pyarray(py).into_any())
    })
}

fn backward<'py, I: Id + Solid + NumpyElement>(
    py: Python<'py>,
    dy: &Bound<'py, PyAny>,
    ids: &Bound<'py, PyAny>,
    rows: usize,
    padding: Option<usize>,
) -> PyResult<Bound<'py, PyAny>> {
    let ids = array::<I, IxDyn>("input", ids)?;
    let ids = ids.c_order()?;
    let flat = in_a_row(ids.view());
    by_dtype!(dy, T => {
        let dy = array::<T, IxDyn>("dy", dy)?;
        let dy = dy.c_order()?;
        let [lead @ .., width] = dy.shape() else { return Err(rows_of(&ids, dy.shape())) };
        if lead != ids.shape() {
            return Err(rows_of(&ids, dy.shape()));
        }
        let dy = dy.view().into_shape_with_order((flat.len(), *width)).expect("C order");
        let cost = rows.saturating_mul(dy.ncols()) / 8 + dy.len() / 4;
        let work = || embedding::backward(dy.view(), flat, rows, padding);
        Ok(enter(py, "embedding", cost, work)?.into_pyarray(py).into_any())
    })
}

fn in_a_row<I>(ids: ArrayViewD<'_, I>) -> ArrayView1<'_, I> {
    let count = ids.len();
    ids.into_shape_with_order(count).expect("C order")
}

fn rows_of<I>(ids: &ArrayBase<impl Data<Elem = I>, IxDyn>, got: &[usize]) -> PyErr {
    let expected = ids.shape();
    PyValueError::new_err(format!("dy: expected {expected:?} and an axis, got {got:?}"))
}
