//! Elements in order.

use lamina_kernels::order;
use ndarray::IxDyn;
use numpy::IntoPyArray;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::convert::{array, by_dtype, enter};

/// The `k` largest or smallest elements along the last axis in order, and where they were.
#[pyfunction]
#[pyo3(signature = (x, k, largest, /))]
pub(crate) fn order_top<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    k: usize,
    largest: bool,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    by_dtype!(x, T => {
        let x = array::<T, IxDyn>("x", x)?;
        let x = x.c_order()?;
        let mut shape = x.shape().to_vec();
        let Some(last) = shape.last_mut() else {
            return Err(PyValueError::new_err("x: expected at least one axis, got none"));
        };
        let length = std::mem::replace(last, k);
        let count = shape[..shape.len() - 1].iter().product();
        let rows = x.view().into_shape_with_order((count, length)).expect("an array in C order");
        let (values, indices) = enter(py, "order", x.len() * 4, || order::top(rows, k, largest))?;
        let whole = "as many of each row";
        let values = values.into_shape_with_order(&*shape).expect(whole);
        let indices = indices.into_shape_with_order(&*shape).expect(whole);
        Ok((values.into_pyarray(py).into_any(), indices.into_pyarray(py).into_any()))
    })
}
