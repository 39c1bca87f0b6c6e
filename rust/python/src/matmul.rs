//! Matrix products and the fully connected layer.

use lamina_kernels::Element;
use lamina_kernels::matmul::{self, Activation, Saved};
use ndarray::{Ix1, Ix2, Ix3};
use numpy::{Element as NumpyElement, IntoPyArray, PyArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::convert::{Input, array, by_dtype, enter, input, optional};

/// Simple operations of a product, for the choice to release the GIL.
fn cost(m: usize, n: usize, k: usize) -> usize {
    m.saturating_mul(n).saturating_mul(k) / 32
}

/// Product of two matrices, of any strides.
#[pyfunction]
#[pyo3(signature = (a, b, /))]
pub(crate) fn matmul_matrices<'py>(
    py: Python<'py>,
    a: &Bound<'py, PyAny>,
    b: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    by_dtype!(a, T => {
        product(py, array::<T, Ix2>("a", a)?, array::<T, Ix2>("b", b)?)
    })
}

fn product<'py, T: Element + NumpyElement>(
    py: Python<'py>,
    a: Input<'py, T, Ix2>,
    b: Input<'py, T, Ix2>,
) -> PyResult<Bound<'py, PyAny>> {
    let (a, b) = (a.strided(), b.strided());
    let cost = cost(a.nrows(), b.ncols(), a.ncols());
    let c = enter(py, "matmul", cost, || matmul::product(a, b))?;
    Ok(c.into_pyarray(py).into_any())
}

/// Product of two arrays that are matrices of one floating type and fit together, else nothing: a
/// look at them from Python takes as long as a small product.
#[pyfunction]
#[pyo3(signature = (a, b, /))]
pub(crate) fn matmul_ready<'py>(
    py: Python<'py>,
    a: &Bound<'py, PyAny>,
    b: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    fn of<'py, T: Element + NumpyElement>(
        py: Python<'py>,
        a: &Bound<'py, PyAny>,
        b: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        match (a.cast::<PyArray<T, Ix2>>(), b.cast::<PyArray<T, Ix2>>()) {
            (Ok(a), Ok(b)) if a.shape()[1] == b.shape()[0] => {
                product(py, input("a", a)?, input("b", b)?).map(Some)
            }
            _ => Ok(None),
        }
    }
    match of::<f32>(py, a, b)? {
        None => of::<f64>(py, a, b),
        found => Ok(found),
    }
}

/// Product of each pair of matrices, of any strides.
#[pyfunction]
#[pyo3(signature = (a, b, /))]
pub(crate) fn matmul_batched<'py>(
    py: Python<'py>,
    a: &Bound<'py, PyAny>,
    b: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    by_dtype!(a, T => {
        let (a, b) = (array::<T, Ix3>("a", a)?, array::<T, Ix3>("b", b)?);
        let (a, b) = (a.strided(), b.strided());
        let cost = cost(a.dim().0 * a.dim().1, b.dim().2, a.dim().2);
        let c = enter(py, "matmul", cost, || matmul::batched(a, b))?;
        Ok(c.into_pyarray(py).into_any())
    })
}

/// The activation of a layer that Python calls `name`.
pub(crate) fn activation_named(name: &str) -> PyResult<Activation> {
    Activation::named(name).ok_or_else(|| {
        PyValueError::new_err(format!(
            "activation: expected identity, relu, gelu, gelu_tanh, silu, tanh or sigmoid, got {name:?}"
        ))
    })
}

/// `f(x w' + b)`, and what the gradient of `f` needs where that is not the output.
#[pyfunction]
#[pyo3(signature = (x, weight, bias, activation_name, save, /))]
pub(crate) fn linear_forward<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    weight: &Bound<'py, PyAny>,
    bias: Option<&Bound<'py, PyAny>>,
    activation_name: &str,
    save: bool,
) -> PyResult<(Bound<'py, PyAny>, Option<Bound<'py, PyAny>>)> {
    let activation = activation_named(activation_name)?;
    by_dtype!(x, T => {
        let (x, weight) = (array::<T, Ix2>("x", x)?, array::<T, Ix2>("weight", weight)?);
        let bias = optional::<T, Ix1>("bias", bias)?;
        let (x, weight) = (x.strided(), weight.strided());
        let bias = bias.as_ref().map(|bias| bias.strided());
        let cost = cost(x.nrows(), weight.nrows(), x.ncols());
        let (y, saved) = enter(py, "matmul", cost, || {
            matmul::linear_forward(x, weight, bias, activation, save)
        })?;
        let before = match saved {
            Saved::Before(before) => Some(before.into_pyarray(py).into_any()),
            Saved::Output => None,
        };
        Ok((y.into_pyarray(py).into_any(), before))
    })
}

/// Gradients of `x`, `weight` and `bias` where `needs` asks for them.
#[pyfunction]
#[pyo3(signature = (dy, x, weight, activation_name, kept, needs, /))]
pub(crate) fn linear_backward<'py>(
    py: Python<'py>,
    dy: &Bound<'py, PyAny>,
    x: &Bound<'py, PyAny>,
    weight: &Bound<'py, PyAny>,
    activation_name: &str,
    kept: Option<&Bound<'py, PyAny>>,
    needs: (bool, bool, bool),
) -> PyResult<(Option<Bound<'py, PyAny>>, Option<Bound<'py, PyAny>>, Option<Bound<'py, PyAny>>)> {
    let activation = activation_named(activation_name)?;
    by_dtype!(x, T => {
        let (dy, x) = (array::<T, Ix2>("dy", dy)?, array::<T, Ix2>("x", x)?);
        let weight = array::<T, Ix2>("weight", weight)?;
        let kept = optional::<T, Ix2>("kept", kept)?;
        let (dy, x, weight) = (dy.strided(), x.strided(), weight.strided());
        let kept = kept.as_ref().map(|kept| kept.strided());
        let cost = cost(x.nrows(), weight.nrows(), x.ncols());
        let needs = [needs.0, needs.1, needs.2];
        let (dx, dweight, dbias) = enter(py, "matmul", cost, || {
            matmul::linear_backward(dy, x, weight, activation, kept, needs)
        })?;
        Ok((
            dx.map(|dx| dx.into_pyarray(py).into_any()),
            dweight.map(|dweight| dweight.into_pyarray(py).into_any()),
            dbias.map(|dbias| dbias.into_pyarray(py).into_any()),
        ))
    })
}
