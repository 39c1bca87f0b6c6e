//! Activations and element-wise functions.

use lamina_kernels::activation::{self, Activation};
use lamina_kernels::glu;
use ndarray::{Ix2, Ix3, IxDyn};
use numpy::IntoPyArray;
use pyo3::prelude::*;

use crate::convert::{array, by_dtype, enter, of_one, of_two, raise};

/// `f(x)` for every number; `a` and `b` are the function's parameters.
#[pyfunction]
#[pyo3(signature = (name, input, a=0.0, b=0.0, /))]
pub(crate) fn activation_forward<'py>(
    py: Python<'py>,
    name: &str,
    input: &Bound<'py, PyAny>,
    a: f64,
    b: f64,
) -> PyResult<Bound<'py, PyAny>> {
    let kind = Activation::from_name(name, a, b).map_err(raise)?;
    by_dtype!(input, T => {
        let x = array::<T, IxDyn>("input", input)?;
        let x = x.c_order()?;
        let cost = kind.cost(x.len());
        let y = enter(py, "activation", cost, || activation::forward(kind, x.view()))?;
        Ok(y.into_pyarray(py).into_any())
    })
}

/// Gradient of the input; `kept` is the output of exp, relu, relu6, sigmoid and tanh, the input of
/// the others.
#[pyfunction]
#[pyo3(signature = (name, dy, kept, a=0.0, b=0.0, /))]
pub(crate) fn activation_backward<'py>(
    py: Python<'py>,
    name: &str,
    dy: &Bound<'py, PyAny>,
    kept: &Bound<'py, PyAny>,
    a: f64,
    b: f64,
) -> PyResult<Bound<'py, PyAny>> {
    let kind = Activation::from_name(name, a, b).map_err(raise)?;
    by_dtype!(kept, T => {
        let (dy, kept) = (array::<T, IxDyn>("dy", dy)?, array::<T, IxDyn>("kept", kept)?);
        let (dy, kept) = (dy.c_order()?, kept.c_order()?);
        let work = || activation::backward(kind, dy.view(), kept.view());
        let dx = enter(py, "activation", kind.cost(kept.len()), work)?;
        Ok(dx.into_pyarray(py).into_any())
    })
}

of_one!(
    glu_forward, glu::forward, (x: Ix3), "activation", |n| n,
    "The gated linear unit: of `x`, two halves each, the first times the logistic function of the second."
);
of_two!(
    glu_backward, glu::backward, (dy: Ix2, x: Ix3), "activation", |n| n,
    "Gradient of the input of the gated linear unit."
);
