//! Elements by their place, and triangles.

use lamina_kernels::selection;
use ndarray::Ix3;
use numpy::IntoPyArray;
use pyo3::prelude::*;

use crate::convert::{array, by_dtype, enter};

/// Elements of `x` along its middle axis, at the places that `index` names.
#[pyfunction]
#[pyo3(signature = (x, index, /))]
pub(crate) fn gather_forward<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    index: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let index = array::<i64, Ix3>("index", index)?;
    let index = index.c_order()?;
    by_dtype!(x, T => {
        let x = array::<T, Ix3>("x", x)?;
        let x = x.c_order()?;
        let work = || selection::gather(x.view(), index.view());
        Ok(enter(py, "selection", index.len(), work)?.into_pyarray(py).into_any())
    })
}

/// Gradient of `x`, whose middle axis has `n` places.
#[pyfunction]
#[pyo3(signature = (dy, index, n, /))]
pub(crate) fn gather_backward<'py>(
    py: Python<'py>,
    dy: &Bound<'py, PyAny>,
    index: &Bound<'py, PyAny>,
    n: usize,
) -> PyResult<Bound<'py, PyAny>> {
    let index = array::<i64, Ix3>("index", index)?;
    let index = index.c_order()?;
    by_dtype!(dy, T => {
        let dy = array::<T, Ix3>("dy", dy)?;
        let dy = dy.c_order()?;
        let work = || selection::gather_backward(dy.view(), index.view(), n);
        Ok(enter(py, "selection", dy.len() * 2, work)?.into_pyarray(py).into_any())
    })
}

/// Each matrix up to a diagonal, or from it on; zero elsewhere.
#[pyfunction]
#[pyo3(signature = (x, diagonal, lower, /))]
pub(crate) fn triangle<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    diagonal: i64,
    lower: bool,
) -> PyResult<Bound<'py, PyAny>> {
    by_dtype!(x, T => {
        let x = array::<T, Ix3>("x", x)?;
        let x = x.c_order()?;
        let work = || Ok(selection::triangle(x.view(), diagonal, lower));
        Ok(enter(py, "selection", x.len() / 4, work)?.into_pyarray(py).into_any())
    })
}
