//! Layer norm, RMS norm, batch norm, group norm.

use lamina_kernels::norm::channel::{self, Sets};
use lamina_kernels::norm::layer::{self, Centre};
use ndarray::{Ix1, Ix2, Ix3};
use numpy::{IntoPyArray, IxDyn, PyArray2};
use pyo3::prelude::*;

use crate::convert::{array, by_dtype, enter, optional};

type Output<'py> = (Bound<'py, PyAny>, Bound<'py, PyArray2<f64>>);
type Grads<'py> = (Bound<'py, PyAny>, Option<Bound<'py, PyAny>>, Option<Bound<'py, PyAny>>);

/// An optional input as an optional view.
macro_rules! view {
    ($input:ident) => {
        $input.as_ref().map(|input| input.strided())
    };
}

fn centre(centred: bool) -> Centre {
    if centred { Centre::Mean } else { Centre::Zero }
}

fn sets(groups: Option<usize>) -> Sets {
    groups.map_or(Sets::Channels, Sets::Groups)
}

/// Normalises over the last `axes` axes; gives the output and the moments of each row.
#[pyfunction]
#[pyo3(signature = (input, axes, weight, bias, centred, eps, /))]
pub(crate) fn layer_norm_forward<'py>(
    py: Python<'py>,
    input: &Bound<'py, PyAny>,
    axes: usize,
    weight: Option<&Bound<'py, PyAny>>,
    bias: Option<&Bound<'py, PyAny>>,
    centred: bool,
    eps: f64,
) -> PyResult<Output<'py>> {
    by_dtype!(input, T => {
        let x = array::<T, IxDyn>("input", input)?;
        let (weight, bias) =
            (optional::<T, IxDyn>("weight", weight)?, optional::<T, IxDyn>("bias", bias)?);
        let x = x.c_order()?;
        let (weight, bias) = (view!(weight), view!(bias));
        let work = || layer::forward(x.view(), axes, weight, bias, centre(centred), eps);
        let (y, moments) = enter(py, "norm", x.len() / 2, work)?;
        Ok((y.into_pyarray(py).into_any(), moments.into_pyarray(py)))
    })
}

/// Gradients of the input and, where needed, of weight and bias.
#[pyfunction]
#[pyo3(signature = (dy, x, moments, axes, weight, centred, eps, needs, /))]
pub(crate) fn layer_norm_backward<'py>(
    py: Python<'py>,
    dy: &Bound<'py, PyAny>,
    x: &Bound<'py, PyAny>,
    moments: &Bound<'py, PyAny>,
    axes: usize,
    weight: Option<&Bound<'py, PyAny>>,
    centred: bool,
    eps: f64,
    needs: bool,
) -> PyResult<Grads<'py>> {
    by_dtype!(x, T => {
        let (dy, x) = (array::<T, IxDyn>("dy", dy)?, array::<T, IxDyn>("x", x)?);
        let moments = array::<f64, Ix2>("moments", moments)?;
        let weight = optional::<T, IxDyn>("weight", weight)?;
        let (dy, x) = (dy.c_order()?, x.c_order()?);
        let (moments, weight) = (moments.strided(), view!(weight));
        let centre = centre(centred);
        let work =
            || layer::backward(dy.view(), x.view(), moments, axes, weight, centre, eps, needs);
        let grads = enter(py, "norm", x.len(), work)?;
        let any = |grad: Option<_>| grad.map(|grad| IntoPyArray::into_pyarray(grad, py).into_any());
        Ok((grads.dx.into_pyarray(py).into_any(), any(grads.dweight), any(grads.dbias)))
    })
}

/// Normalises `[N, C, L]` over each channel, or over `groups` of channels of each sample; by the
/// given mean and variance `[C]` where there are any. Gives the output and the moments.
#[pyfunction]
#[pyo3(signature = (input, groups, mean, var, weight, bias, eps, /))]
pub(crate) fn channel_norm_forward<'py>(
    py: Python<'py>,
    input: &Bound<'py, PyAny>,
    groups: Option<usize>,
    mean: Option<&Bound<'py, PyAny>>,
    var: Option<&Bound<'py, PyAny>>,
    weight: Option<&Bound<'py, PyAny>>,
    bias: Option<&Bound<'py, PyAny>>,
    eps: f64,
) -> PyResult<Output<'py>> {
    by_dtype!(input, T => {
        let x = array::<T, Ix3>("input", input)?;
        let (mean, var) =
            (optional::<T, Ix1>("running_mean", mean)?, optional::<T, Ix1>("running_var", var)?);
        let (weight, bias) =
            (optional::<T, Ix1>("weight", weight)?, optional::<T, Ix1>("bias", bias)?);
        let x = x.c_order()?;
        let (weight, bias) = (view!(weight), view!(bias));
        let given = view!(mean).zip(view!(var));
        let work = || channel::forward(x.view(), sets(groups), given, weight, bias, eps);
        let (y, moments) = enter(py, "norm", x.len() / 2, work)?;
        Ok((y.into_pyarray(py).into_any(), moments.into_pyarray(py)))
    })
}

/// Gradients of the input and, where needed, of weight and bias; `fixed` moments do not depend on
/// the input.
#[pyfunction]
#[pyo3(signature = (dy, x, groups, moments, fixed, weight, eps, needs, /))]
pub(crate) fn channel_norm_backward<'py>(
    py: Python<'py>,
    dy: &Bound<'py, PyAny>,
    x: &Bound<'py, PyAny>,
    groups: Option<usize>,
    moments: &Bound<'py, PyAny>,
    fixed: bool,
    weight: Option<&Bound<'py, PyAny>>,
    eps: f64,
    needs: bool,
) -> PyResult<Grads<'py>> {
    by_dtype!(x, T => {
        let (dy, x) = (array::<T, Ix3>("dy", dy)?, array::<T, Ix3>("x", x)?);
        let moments = array::<f64, Ix2>("moments", moments)?;
        let weight = optional::<T, Ix1>("weight", weight)?;
        let (dy, x) = (dy.c_order()?, x.c_order()?);
        let (moments, weight) = (moments.strided(), view!(weight));
        let sets = sets(groups);
        let work =
            || channel::backward(dy.view(), x.view(), sets, moments, fixed, weight, eps, needs);
        let (dx, grads) = enter(py, "norm", x.len(), work)?;
        let (dweight, dbias) = grads.unzip();
        let any = |grad: Option<_>| grad.map(|grad| IntoPyArray::into_pyarray(grad, py).into_any());
        Ok((dx.into_pyarray(py).into_any(), any(dweight), any(dbias)))
    })
}
