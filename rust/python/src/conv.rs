//! Convolution and its transpose.

use lamina_kernels::conv::{self, Grads, Options};
use lamina_kernels::{Element, Result};
use ndarray::{Ix1, Ix4};
use numpy::{Element as NumpyElement, IntoPyArray};
use pyo3::prelude::*;

use crate::convert::{array, by_dtype, enter, optional};
use crate::matmul::activation_named;

/// Gradients of the input, the weight and the bias, `None` where not asked for.
type Gradients<'py> =
    (Option<Bound<'py, PyAny>>, Option<Bound<'py, PyAny>>, Option<Bound<'py, PyAny>>);

/// Sums products as written only, or again by the fastest algorithm.
#[pyfunction]
#[pyo3(signature = (exact, /))]
pub(crate) fn set_exact(exact: bool) {
    conv::set_exact(exact);
}

/// How a kernel moves over the image; `padding` is the zeros before and after each axis.
#[pyclass(frozen)]
pub(crate) struct ConvOptions(pub(crate) Options);

#[pymethods]
impl ConvOptions {
    #[new]
    #[pyo3(signature = (stride, padding, dilation, groups, /))]
    fn new(
        stride: [usize; 2],
        padding: [[usize; 2]; 2],
        dilation: [usize; 2],
        groups: usize,
    ) -> Self {
        Self(Options { stride, padding, dilation, groups })
    }
}

/// Simple operations of a convolution.
fn cost(outputs: usize, weight: &[usize]) -> usize {
    weight[1..].iter().fold(outputs, |cost, &n| cost.saturating_mul(n)) / 16
}

fn gradients<'py, T: Element + NumpyElement>(py: Python<'py>, grads: Grads<T>) -> Gradients<'py> {
    (
        grads.dx.map(|dx| dx.into_pyarray(py).into_any()),
        grads.dweight.map(|dweight| dweight.into_pyarray(py).into_any()),
        grads.dbias.map(|dbias| dbias.into_pyarray(py).into_any()),
    )
}

/// Convolution, and `activation` of what comes out.
#[pyfunction]
#[pyo3(signature = (x, weight, bias, options, activation, /))]
pub(crate) fn conv2d_forward<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    weight: &Bound<'py, PyAny>,
    bias: Option<&Bound<'py, PyAny>>,
    options: &ConvOptions,
    activation: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let activation = activation_named(activation)?;
    by_dtype!(x, T => {
        let (x, weight) = (array::<T, Ix4>("x", x)?, array::<T, Ix4>("weight", weight)?);
        let bias = optional::<T, Ix1>("bias", bias)?;
        let (x, weight) = (x.c_order()?, weight.c_order()?);
        let bias = bias.as_ref().map(|bias| bias.strided());
        let y = enter(py, "conv", cost(x.len(), weight.shape()), || {
            conv::forward(x.view(), weight.view(), bias, &options.0, activation)
        })?;
        Ok(y.into_pyarray(py).into_any())
    })
}

/// Gradients of a convolution.
#[pyfunction]
#[pyo3(signature = (dy, x, weight, options, needs, /))]
pub(crate) fn conv2d_backward<'py>(
    py: Python<'py>,
    dy: &Bound<'py, PyAny>,
    x: &Bound<'py, PyAny>,
    weight: &Bound<'py, PyAny>,
    options: &ConvOptions,
    needs: [bool; 3],
) -> PyResult<Gradients<'py>> {
    by_dtype!(x, T => {
        let (x, weight) = (array::<T, Ix4>("x", x)?, array::<T, Ix4>("weight", weight)?);
        let dy = array::<T, Ix4>("dy", dy)?;
        let (dy, x, weight) = (dy.c_order()?, x.c_order()?, weight.c_order()?);
        let work = || -> Result<_> {
            conv::backward(dy.view(), x.view(), weight.view(), &options.0, needs)
        };
        Ok(gradients(py, enter(py, "conv", cost(2 * dy.len(), weight.shape()), work)?))
    })
}

/// Transposed convolution; `padding` is that of the convolution it transposes.
#[pyfunction]
#[pyo3(signature = (x, weight, bias, options, output_padding, /))]
pub(crate) fn conv_transpose2d_forward<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    weight: &Bound<'py, PyAny>,
    bias: Option<&Bound<'py, PyAny>>,
    options: &ConvOptions,
    output_padding: [usize; 2],
) -> PyResult<Bound<'py, PyAny>> {
    by_dtype!(x, T => {
        let (x, weight) = (array::<T, Ix4>("x", x)?, array::<T, Ix4>("weight", weight)?);
        let bias = optional::<T, Ix1>("bias", bias)?;
        let (x, weight) = (x.c_order()?, weight.c_order()?);
        let bias = bias.as_ref().map(|bias| bias.strided());
        let y = enter(py, "conv", cost(x.len(), weight.shape()), || {
            conv::transposed_forward(x.view(), weight.view(), bias, &options.0, output_padding)
        })?;
        Ok(y.into_pyarray(py).into_any())
    })
}

/// Gradients of a transposed convolution.
#[pyfunction]
#[pyo3(signature = (dy, x, weight, options, output_padding, needs, /))]
pub(crate) fn conv_transpose2d_backward<'py>(
    py: Python<'py>,
    dy: &Bound<'py, PyAny>,
    x: &Bound<'py, PyAny>,
    weight: &Bound<'py, PyAny>,
    options: &ConvOptions,
    output_padding: [usize; 2],
    needs: [bool; 3],
) -> PyResult<Gradients<'py>> {
    by_dtype!(x, T => {
        let (x, weight) = (array::<T, Ix4>("x", x)?, array::<T, Ix4>("weight", weight)?);
        let dy = array::<T, Ix4>("dy", dy)?;
        let (dy, x, weight) = (dy.c_order()?, x.c_order()?, weight.c_order()?);
        let work = || -> Result<_> {
            let (dy, x, weight) = (dy.view(), x.view(), weight.view());
            conv::transposed_backward(dy, x, weight, &options.0, output_padding, needs)
        };
        Ok(gradients(py, enter(py, "conv", cost(2 * x.len(), weight.shape()), work)?))
    })
}
