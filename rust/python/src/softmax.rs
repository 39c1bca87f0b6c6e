//! Softmax and log-softmax along an axis.

use lamina_kernels::softmax;
use ndarray::IxDyn;
use pyo3::prelude::*;

use crate::axes::Axes;
use crate::convert::{array, by_dtype, enter};

macro_rules! forward {
    ($name:ident, $kernel:ident, $doc:literal) => {
        #[doc = $doc]
        #[pyfunction]
        #[pyo3(signature = (x, dim, /))]
        pub(crate) fn $name<'py>(
            py: Python<'py>,
            x: &Bound<'py, PyAny>,
            dim: usize,
        ) -> PyResult<Bound<'py, PyAny>> {
            by_dtype!(x, T => {
                let x = array::<T, IxDyn>("x", x)?;
                let x = x.c_order()?;
                let axes = Axes::one(x.shape(), dim)?;
                let rows = axes.rows(x.view());
                let y = enter(py, "softmax", x.len() * 4, || softmax::$kernel(rows))?;
                Ok(axes.whole(py, y))
            })
        }
    };
}

forward!(softmax_forward, forward, "Softmax along an axis.");
forward!(log_softmax_forward, log_forward, "Logarithm of the softmax along an axis.");

macro_rules! backward {
    ($name:ident, $kernel:ident, $pace:literal, $doc:literal) => {
        #[doc = $doc]
        #[pyfunction]
        #[pyo3(signature = (dy, y, dim, /))]
        pub(crate) fn $name<'py>(
            py: Python<'py>,
            dy: &Bound<'py, PyAny>,
            y: &Bound<'py, PyAny>,
            dim: usize,
        ) -> PyResult<Bound<'py, PyAny>> {
            by_dtype!(y, T => {
                let (dy, y) = (array::<T, IxDyn>("dy", dy)?, array::<T, IxDyn>("y", y)?);
                let (dy, y) = (dy.c_order()?, y.c_order()?);
                let axes = Axes::one(y.shape(), dim)?;
                let given = axes.of("dy", dy.shape())?.rows(dy.view());
                let rows = axes.rows(y.view());
                let dx = enter(py, "softmax", y.len() * $pace, || softmax::$kernel(given, rows))?;
                Ok(axes.whole(py, dx))
            })
        }
    };
}

backward!(softmax_backward, backward, 2, "Gradient of the input of softmax.");
backward!(log_softmax_backward, log_backward, 4, "Gradient of the input of log-softmax.");
