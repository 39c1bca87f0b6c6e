//! Softmax and log-softmax.

use lamina_kernels::softmax;
use ndarray::Ix3;
use numpy::IntoPyArray;
use pyo3::prelude::*;

use crate::convert::{array, by_dtype, enter};

/// Softmax along the middle axis.
#[pyfunction]
#[pyo3(signature = (x, /))]
pub(crate) fn softmax_forward<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    by_dtype!(x, T => {
        let x = array::<T, Ix3>("x", x)?;
        let x = x.c_order()?;
        let y = enter(py, "softmax", x.len() * 4, || softmax::forward(x.view()))?;
        Ok(y.into_pyarray(py).into_any())
    })
}

/// Gradient of the input of softmax.
#[pyfunction]
#[pyo3(signature = (dy, y, /))]
pub(crate) fn softmax_backward<'py>(
    py: Python<'py>,
    dy: &Bound<'py, PyAny>,
    y: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    by_dtype!(y, T => {
        let (dy, y) = (array::<T, Ix3>("dy", dy)?, array::<T, Ix3>("y", y)?);
        let (dy, y) = (dy.c_order()?, y.c_order()?);
        let dx = enter(py, "softmax", y.len() * 2, || softmax::backward(dy.view(), y.view()))?;
        Ok(dx.into_pyarray(py).into_any())
    })
}

/// Logarithm of the softmax along the middle axis.
#[pyfunction]
#[pyo3(signature = (x, /))]
pub(crate) fn log_softmax_forward<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    by_dtype!(x, T => {
        let x = array::<T, Ix3>("x", x)?;
        let x = x.c_order()?;
        let y = enter(py, "softmax", x.len() * 4, || softmax::log_forward(x.view()))?;
        Ok(y.into_pyarray(py).into_any())
    })
}

/// Gradient of the input of log-softmax.
#[pyfunction]
#[pyo3(signature = (dy, y, /))]
pub(crate) fn log_softmax_backward<'py>(
    py: Python<'py>,
    dy: &Bound<'py, PyAny>,
    y: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    by_dtype!(y, T => {
        let (dy, y) = (array::<T, Ix3>("dy", dy)?, array::<T, Ix3>("y", y)?);
        let (dy, y) = (dy.c_order()?, y.c_order()?);
        let dx = enter(py, "softmax", y.len() * 4, || softmax::log_backward(dy.view(), y.view()))?;
        Ok(dx.into_pyarray(py).into_any())
    })
}
