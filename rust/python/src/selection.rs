//! Elements by their place, and triangles.

use lamina_kernels::selection;
use ndarray::{ArrayView, ArrayView3, IxDyn};
use numpy::IntoPyArray;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::axes::Axes;
use crate::convert::{array, by_dtype, enter};

/// Elements of `x` along an axis, at the places that `index`, as long on all others, names.
#[pyfunction]
#[pyo3(signature = (x, dim, index, /))]
pub(crate) fn gather_forward<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    dim: usize,
    index: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let index = array::<i64, IxDyn>("index", index)?;
    let index = index.c_order()?;
    by_dtype!(x, T => {
        let x = array::<T, IxDyn>("x", x)?;
        let x = x.c_order()?;
        let axes = Axes::one(x.shape(), dim)?;
        let chosen = axes.of("index", index.shape())?;
        let (rows, ids) = (axes.rows(x.view()), chosen.rows(index.view()));
        let y = enter(py, "selection", index.len(), || selection::gather(rows, ids))?;
        Ok(chosen.whole(py, y))
    })
}

/// Gradient of `x`, whose axis has `n` places.
#[pyfunction]
#[pyo3(signature = (dy, dim, index, n, /))]
pub(crate) fn gather_backward<'py>(
    py: Python<'py>,
    dy: &Bound<'py, PyAny>,
    dim: usize,
    index: &Bound<'py, PyAny>,
    n: usize,
) -> PyResult<Bound<'py, PyAny>> {
    let index = array::<i64, IxDyn>("index", index)?;
    let index = index.c_order()?;
    by_dtype!(dy, T => {
        let dy = array::<T, IxDyn>("dy", dy)?;
        let dy = dy.c_order()?;
        let chosen = Axes::one(index.shape(), dim)?;
        let given = chosen.of("dy", dy.shape())?;
        let (rows, ids) = (given.rows(dy.view()), chosen.rows(index.view()));
        let work = || selection::gather_backward(rows, ids, n);
        let dx = enter(py, "selection", dy.len() * 2, work)?;
        let mut shape = index.shape().to_vec();
        shape[dim] = n;
        Ok(Axes::one(&shape, dim)?.whole(py, dx))
    })
}

/// The matrices of the last two axes up to a diagonal, or from it on; zero elsewhere.
#[pyfunction]
#[pyo3(signature = (x, diagonal, lower, /))]
pub(crate) fn triangle<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    diagonal: i64,
    lower: bool,
) -> PyResult<Bound<'py, PyAny>> {
    by_dtype!(x, T => {
        let x = array::<T, IxDyn>("x", x)?;
        let x = x.c_order()?;
        let matrices = matrices(x.view())?;
        let work = || Ok(selection::triangle(matrices, diagonal, lower));
        let y = enter(py, "selection", x.len() / 4, work)?;
        let y = y.into_shape_with_order(x.shape()).expect("a number for each");
        Ok(y.into_pyarray(py).into_any())
    })
}

fn matrices<T>(x: ArrayView<'_, T, IxDyn>) -> PyResult<ArrayView3<'_, T>> {
    let [outer @ .., rows, columns] = x.shape() else {
        let got = x.ndim();
        return Err(PyValueError::new_err(format!("x: expected at least 2 axes, got {got}")));
    };
    let shape = (outer.iter().product(), *rows, *columns);
    Ok(x.into_shape_with_order(shape).expect("an array in C order of this shape"))
}
