//! Pooling of planes.

use lamina_kernels::pooling::{self, Divisor, Options, Places};
use ndarray::{Array3, Ix3, IxDyn};
use numpy::{Element as NumpyElement, IntoPyArray};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::convert::{array, by_dtype, enter};

/// How windows move over the plane.
#[pyclass(frozen)]
pub(crate) struct PoolOptions(pub(crate) Options);

#[pymethods]
impl PoolOptions {
    #[new]
    #[pyo3(signature = (kernel, stride, padding, dilation, ceil_mode, /))]
    fn new(
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 2],
        dilation: [usize; 2],
        ceil_mode: bool,
    ) -> Self {
        Self(Options { kernel, stride, padding, dilation, ceil_mode })
    }
}

/// An output and where its numbers were.
type Maxima<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>);

fn maxima<'py, T: NumpyElement>(py: Python<'py>, (y, places): (Array3<T>, Places)) -> Maxima<'py> {
    let places = match places {
        Places::Taps(taps) => taps.into_pyarray(py).into_any(),
        Places::Indices(indices) => indices.into_pyarray(py).into_any(),
    };
    (y.into_pyarray(py).into_any(), places)
}

fn divisor(count_include_pad: bool, divisor_override: Option<usize>) -> Divisor {
    match divisor_override {
        Some(count) => Divisor::Fixed(count),
        None if count_include_pad => Divisor::Padded,
        None => Divisor::Inside,
    }
}

/// Largest number of each window and where it was: int32 indices in the plane where `indices`, else
/// uint8 taps of the windows if those can tell.
#[pyfunction]
#[pyo3(signature = (x, options, indices, /))]
pub(crate) fn max_pool2d_forward<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    options: &PoolOptions,
    indices: bool,
) -> PyResult<Maxima<'py>> {
    by_dtype!(x, T => {
        let x = array::<T, Ix3>("x", x)?;
        let x = x.c_order()?;
        let work = || pooling::max_forward(x.view(), &options.0, indices);
        Ok(maxima(py, enter(py, "pooling", x.len() * 4, work)?))
    })
}

/// Largest number of each window of the last two axes.
#[pyfunction]
#[pyo3(signature = (x, options, /))]
pub(crate) fn max_pool2d_values<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    options: &PoolOptions,
) -> PyResult<Bound<'py, PyAny>> {
    by_dtype!(x, T => {
        let x = array::<T, IxDyn>("x", x)?;
        let x = x.c_order()?;
        let Some(leading) = x.ndim().checked_sub(2) else {
            return Err(PyTypeError::new_err("x: expected at least 2 axes"));
        };
        let mut shape = x.shape().to_vec();
        let planes = (shape[..leading].iter().product(), shape[leading], shape[leading + 1]);
        let planes = x.to_shape(planes).expect("C order");
        let work = || pooling::max_values(planes.view(), &options.0);
        let y = enter(py, "pooling", planes.len(), work)?;
        shape[leading..].copy_from_slice(&y.shape()[1..]);
        let y = y.into_shape_with_order(shape).expect("as many planes");
        Ok(y.into_pyarray(py).into_any())
    })
}

/// Gradient of the input of a maximum from the taps of its windows.
#[pyfunction]
#[pyo3(signature = (dy, taps, plane, options, /))]
pub(crate) fn max_pool2d_backward<'py>(
    py: Python<'py>,
    dy: &Bound<'py, PyAny>,
    taps: &Bound<'py, PyAny>,
    plane: [usize; 2],
    options: &PoolOptions,
) -> PyResult<Bound<'py, PyAny>> {
    by_dtype!(dy, T => {
        let (dy, taps) = (array::<T, Ix3>("dy", dy)?, array::<u8, Ix3>("taps", taps)?);
        let (dy, taps) = (dy.c_order()?, taps.c_order()?);
        let work = || pooling::max_backward(dy.view(), taps.view(), plane, &options.0);
        Ok(enter(py, "pooling", dy.len() * 4, work)?.into_pyarray(py).into_any())
    })
}

/// Gradient of the input of any maximum from indices in the plane.
#[pyfunction]
#[pyo3(signature = (dy, indices, plane, /))]
pub(crate) fn max_pool2d_index_backward<'py>(
    py: Python<'py>,
    dy: &Bound<'py, PyAny>,
    indices: &Bound<'py, PyAny>,
    plane: [usize; 2],
) -> PyResult<Bound<'py, PyAny>> {
    by_dtype!(dy, T => {
        let (dy, indices) = (array::<T, Ix3>("dy", dy)?, array::<i32, Ix3>("indices", indices)?);
        let (dy, indices) = (dy.c_order()?, indices.c_order()?);
        let work = || pooling::index_backward(dy.view(), indices.view(), plane);
        Ok(enter(py, "pooling", dy.len() * 4, work)?.into_pyarray(py).into_any())
    })
}

/// Largest number of each adaptive window and its index in the plane.
#[pyfunction]
#[pyo3(signature = (x, output_size, /))]
pub(crate) fn adaptive_max_pool2d_forward<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    output_size: [usize; 2],
) -> PyResult<Maxima<'py>> {
    by_dtype!(x, T => {
        let x = array::<T, Ix3>("x", x)?;
        let x = x.c_order()?;
        let work = || pooling::adaptive_max_forward(x.view(), output_size);
        Ok(maxima(py, enter(py, "pooling", x.len() * 2, work)?))
    })
}

/// Mean of each window.
#[pyfunction]
#[pyo3(signature = (x, options, count_include_pad, divisor_override, /))]
pub(crate) fn avg_pool2d_forward<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    options: &PoolOptions,
    count_include_pad: bool,
    divisor_override: Option<usize>,
) -> PyResult<Bound<'py, PyAny>> {
    by_dtype!(x, T => {
        let x = array::<T, Ix3>("x", x)?;
        let x = x.c_order()?;
        let divisor = divisor(count_include_pad, divisor_override);
        let work = || pooling::avg_forward(x.view(), &options.0, divisor);
        Ok(enter(py, "pooling", x.len() * 2, work)?.into_pyarray(py).into_any())
    })
}

/// Gradient of the input of a mean over windows.
#[pyfunction]
#[pyo3(signature = (dy, plane, options, count_include_pad, divisor_override, /))]
pub(crate) fn avg_pool2d_backward<'py>(
    py: Python<'py>,
    dy: &Bound<'py, PyAny>,
    plane: [usize; 2],
    options: &PoolOptions,
    count_include_pad: bool,
    divisor_override: Option<usize>,
) -> PyResult<Bound<'py, PyAny>> {
    by_dtype!(dy, T => {
        let dy = array::<T, Ix3>("dy", dy)?;
        let dy = dy.c_order()?;
        let divisor = divisor(count_include_pad, divisor_override);
        let work = || pooling::avg_backward(dy.view(), plane, &options.0, divisor);
        Ok(enter(py, "pooling", dy.len() * 4, work)?.into_pyarray(py).into_any())
    })
}

/// Mean of each adaptive window.
#[pyfunction]
#[pyo3(signature = (x, output_size, /))]
pub(crate) fn adaptive_avg_pool2d_forward<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    output_size: [usize; 2],
) -> PyResult<Bound<'py, PyAny>> {
    by_dtype!(x, T => {
        let x = array::<T, Ix3>("x", x)?;
        let x = x.c_order()?;
        let work = || pooling::adaptive_avg_forward(x.view(), output_size);
        Ok(enter(py, "pooling", x.len() * 2, work)?.into_pyarray(py).into_any())
    })
}

/// Gradient of the input of a mean over adaptive windows.
#[pyfunction]
#[pyo3(signature = (dy, plane, /))]
pub(crate) fn adaptive_avg_pool2d_backward<'py>(
    py: Python<'py>,
    dy: &Bound<'py, PyAny>,
    plane: [usize; 2],
) -> PyResult<Bound<'py, PyAny>> {
    by_dtype!(dy, T => {
        let dy = array::<T, Ix3>("dy", dy)?;
        let dy = dy.c_order()?;
        let work = || pooling::adaptive_avg_backward(dy.view(), plane);
        Ok(enter(py, "pooling", dy.len() * 4, work)?.into_pyarray(py).into_any())
    })
}
