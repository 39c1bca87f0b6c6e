//! Element-wise losses and the negative log-likelihood.

use lamina_kernels::Element;
use lamina_kernels::loss::{self, Inputs, Loss, Of, Reduction};
use ndarray::{Array1, CowArray, Ix1, Ix2, arr0};
use numpy::{Element as NumpyElement, IntoPyArray};
use pyo3::prelude::*;

use crate::convert::{array, by_dtype, enter, optional, raise};

/// The numbers of an array in C order.
pub(crate) fn flat<'a, T>(array: &'a CowArray<'_, T, Ix1>) -> &'a [T] {
    array.as_slice().expect("one axis in C order")
}

/// A loss for Python: an array without axes unless nothing was reduced.
pub(crate) fn reduced<'py, T: Element + NumpyElement>(
    py: Python<'py>,
    loss: Array1<T>,
    reduction: Reduction,
) -> Bound<'py, PyAny> {
    match reduction {
        Reduction::None => loss.into_pyarray(py).into_any(),
        _ => arr0(loss[0]).into_pyarray(py).into_any(),
    }
}

/// Loss of flat predictions `x` against targets `t`; `parameter` is beta or delta.
#[pyfunction]
#[pyo3(signature = (name, x, t, weight, pos_weight, parameter, reduction, /))]
pub(crate) fn loss_forward<'py>(
    py: Python<'py>,
    name: &str,
    x: &Bound<'py, PyAny>,
    t: &Bound<'py, PyAny>,
    weight: Option<&Bound<'py, PyAny>>,
    pos_weight: Option<&Bound<'py, PyAny>>,
    parameter: f64,
    reduction: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let loss = Loss::parse("loss_forward", name, parameter).map_err(raise)?;
    let reduction = Reduction::parse("loss_forward", reduction).map_err(raise)?;
    by_dtype!(x, T => {
        let (x, t) = (array::<T, Ix1>("input", x)?, array::<T, Ix1>("target", t)?);
        let (x, t) = (x.c_order()?, t.c_order()?);
        let weight = optional::<T, Ix1>("weight", weight)?;
        let weight = weight.as_ref().map(|weight| weight.c_order()).transpose()?;
        let pos_weight = optional::<T, Ix1>("pos_weight", pos_weight)?;
        let pos_weight = pos_weight.as_ref().map(|pos_weight| pos_weight.c_order()).transpose()?;
        let inputs = Inputs {
            x: flat(&x),
            t: flat(&t),
            weight: weight.as_ref().map(flat),
            pos_weight: pos_weight.as_ref().map(flat),
        };
        let y = enter(py, "loss", x.len() * 2, || loss::forward(loss, &inputs, reduction))?;
        Ok(reduced(py, y, reduction))
    })
}

/// Gradient of the predictions or, with `of_target`, of the targets.
#[pyfunction]
#[pyo3(signature = (name, of_target, dy, x, t, weight, pos_weight, parameter, reduction, /))]
pub(crate) fn loss_backward<'py>(
    py: Python<'py>,
    name: &str,
    of_target: bool,
    dy: &Bound<'py, PyAny>,
    x: &Bound<'py, PyAny>,
    t: &Bound<'py, PyAny>,
    weight: Option<&Bound<'py, PyAny>>,
    pos_weight: Option<&Bound<'py, PyAny>>,
    parameter: f64,
    reduction: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let loss = Loss::parse("loss_backward", name, parameter).map_err(raise)?;
    let reduction = Reduction::parse("loss_backward", reduction).map_err(raise)?;
    let of = if of_target { Of::Target } else { Of::Input };
    by_dtype!(x, T => {
        let dy = array::<T, Ix1>("dy", dy)?;
        let dy = dy.c_order()?;
        let (x, t) = (array::<T, Ix1>("input", x)?, array::<T, Ix1>("target", t)?);
        let (x, t) = (x.c_order()?, t.c_order()?);
        let weight = optional::<T, Ix1>("weight", weight)?;
        let weight = weight.as_ref().map(|weight| weight.c_order()).transpose()?;
        let pos_weight = optional::<T, Ix1>("pos_weight", pos_weight)?;
        let pos_weight = pos_weight.as_ref().map(|pos_weight| pos_weight.c_order()).transpose()?;
        let inputs = Inputs {
            x: flat(&x),
            t: flat(&t),
            weight: weight.as_ref().map(flat),
            pos_weight: pos_weight.as_ref().map(flat),
        };
        let dx = enter(py, "loss", x.len() * 2, || {
            loss::backward(loss, of, flat(&dy), &inputs, reduction)
        })?;
        Ok(dx.into_pyarray(py).into_any())
    })
}

/// Negative log-likelihood of class indices under rows of log-probabilities.
#[pyfunction]
#[pyo3(signature = (x, targets, weight, ignore_index, reduction, /))]
pub(crate) fn nll_forward<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    targets: &Bound<'py, PyAny>,
    weight: Option<&Bound<'py, PyAny>>,
    ignore_index: i64,
    reduction: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let reduction = Reduction::parse("nll_forward", reduction).map_err(raise)?;
    by_dtype!(x, T => {
        let x = array::<T, Ix2>("input", x)?;
        let targets = array::<i64, Ix1>("targets", targets)?;
        let targets = targets.c_order()?;
        let weight = optional::<T, Ix1>("weight", weight)?;
        let weight = weight.as_ref().map(|weight| weight.c_order()).transpose()?;
        let (x, weight) = (x.strided(), weight.as_ref().map(flat));
        let y = enter(py, "loss", targets.len() * 4, || {
            loss::nll_forward(x, flat(&targets), weight, ignore_index, reduction)
        })?;
        Ok(reduced(py, y, reduction))
    })
}

/// Gradient of the log-probabilities, which had `columns` classes.
#[pyfunction]
#[pyo3(signature = (dy, columns, targets, weight, ignore_index, reduction, /))]
pub(crate) fn nll_backward<'py>(
    py: Python<'py>,
    dy: &Bound<'py, PyAny>,
    columns: usize,
    targets: &Bound<'py, PyAny>,
    weight: Option<&Bound<'py, PyAny>>,
    ignore_index: i64,
    reduction: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let reduction = Reduction::parse("nll_backward", reduction).map_err(raise)?;
    by_dtype!(dy, T => {
        let dy = array::<T, Ix1>("dy", dy)?;
        let dy = dy.c_order()?;
        let targets = array::<i64, Ix1>("targets", targets)?;
        let targets = targets.c_order()?;
        let weight = optional::<T, Ix1>("weight", weight)?;
        let weight = weight.as_ref().map(|weight| weight.c_order()).transpose()?;
        let (dim, weight) = ((targets.len(), columns), weight.as_ref().map(flat));
        let cost = targets.len().saturating_mul(columns);
        let dx = enter(py, "loss", cost, || {
            loss::nll_backward(flat(&dy), dim, flat(&targets), weight, ignore_index, reduction)
        })?;
        Ok(dx.into_pyarray(py).into_any())
    })
}
