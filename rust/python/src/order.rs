//! Elements in order.

use lamina_kernels::order;
use ndarray::Ix2;
use numpy::IntoPyArray;
use pyo3::prelude::*;

use crate::convert::{array, by_dtype, enter};

/// The `k` largest or smallest elements of each row in order, and where they were.
#[pyfunction]
#[pyo3(signature = (x, k, largest, /))]
pub(crate) fn order_top<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    k: usize,
    largest: bool,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    by_dtype!(x, T => {
        let x = array::<T, Ix2>("x", x)?;
        let x = x.c_order()?;
        let work = || order::top(x.view(), k, largest);
        let (values, indices) = enter(py, "order", x.len() * 4, work)?;
        Ok((values.into_pyarray(py).into_any(), indices.into_pyarray(py).into_any()))
    })
}
