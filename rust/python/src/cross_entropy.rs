//! Cross-entropy of softmax with class indices.

use lamina_kernels::cross_entropy::{Settings, backward, forward};
use lamina_kernels::loss::Reduction;
use ndarray::{CowArray, Ix1, Ix2};
use numpy::IntoPyArray;
use pyo3::prelude::*;

use crate::convert::{array, by_dtype, enter, optional, raise};
use crate::loss::{flat, reduced};

/// Loss, what backward needs of each row and, where asked for, the gradient of the logits for a
/// gradient of 1.
#[pyfunction]
#[pyo3(signature = (logits, targets, weight, ignore_index, label_smoothing, reduction, gradient, /))]
pub(crate) fn cross_entropy_forward<'py>(
    py: Python<'py>,
    logits: &Bound<'py, PyAny>,
    targets: &Bound<'py, PyAny>,
    weight: Option<&Bound<'py, PyAny>>,
    ignore_index: i64,
    label_smoothing: f64,
    reduction: &str,
    gradient: bool,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>, Option<Bound<'py, PyAny>>)> {
    by_dtype!(logits, T => {
        let logits = array::<T, Ix2>("logits", logits)?;
        let logits = logits.c_order()?;
        let targets = array::<i64, Ix1>("targets", targets)?;
        let targets = targets.c_order()?;
        let weight = optional::<T, Ix1>("weight", weight)?;
        let weight = weight.as_ref().map(|weight| weight.c_order()).transpose()?;
        let reduction = Reduction::parse("cross_entropy_forward", reduction).map_err(raise)?;
        let settings = Settings {
            weight: weight.as_ref().map(flat),
            ignore_index,
            label_smoothing,
            reduction,
        };
        let out = enter(py, "loss", logits.len() * 4, || {
            forward(logits.view(), flat(&targets), &settings, gradient)
        })?;
        let dlogits = out.dlogits.map(|dlogits| dlogits.into_pyarray(py).into_any());
        Ok((reduced(py, out.loss, reduction), out.stats.into_pyarray(py).into_any(), dlogits))
    })
}

/// Gradient of the logits.
#[pyfunction]
#[pyo3(signature = (
    dy, logits, targets, stats, weight, ignore_index, label_smoothing, reduction, /
))]
pub(crate) fn cross_entropy_backward<'py>(
    py: Python<'py>,
    dy: &Bound<'py, PyAny>,
    logits: &Bound<'py, PyAny>,
    targets: &Bound<'py, PyAny>,
    stats: &Bound<'py, PyAny>,
    weight: Option<&Bound<'py, PyAny>>,
    ignore_index: i64,
    label_smoothing: f64,
    reduction: &str,
) -> PyResult<Bound<'py, PyAny>> {
    by_dtype!(logits, T => {
        let dy = array::<T, Ix1>("dy", dy)?;
        let dy = dy.c_order()?;
        let logits = array::<T, Ix2>("logits", logits)?;
        let logits = logits.c_order()?;
        let targets = array::<i64, Ix1>("targets", targets)?;
        let targets = targets.c_order()?;
        let stats = array::<T, Ix2>("stats", stats)?;
        let stats = stats.c_order()?;
        let weight = optional::<T, Ix1>("weight", weight)?;
        let weight: Option<CowArray<'_, T, Ix1>> = weight.as_ref().map(|weight| weight.c_order()).transpose()?;
        let settings = Settings {
            weight: weight.as_ref().map(flat),
            ignore_index,
            label_smoothing,
            reduction: Reduction::parse("cross_entropy_backward", reduction).map_err(raise)?,
        };
        let dlogits = enter(py, "loss", logits.len() * 2, || {
            backward(flat(&dy), logits.view(), flat(&targets), stats.view(), &settings)
        })?;
        Ok(dlogits.into_pyarray(py).into_any())
    })
}
