//! Connectionist temporal classification.

use lamina_kernels::ctc;
use ndarray::{Ix1, Ix3};
use numpy::IntoPyArray;
use pyo3::prelude::*;

use crate::convert::{array, by_dtype, enter};
use crate::loss::flat;

/// Loss of each sequence and, where asked for, the gradient of the log-probabilities for a gradient
/// of 1.
#[pyfunction]
#[pyo3(signature = (
    y, labels, stride, input_lengths, target_lengths, blank, zero_infinity, gradient, /
))]
pub(crate) fn ctc_forward<'py>(
    py: Python<'py>,
    y: &Bound<'py, PyAny>,
    labels: &Bound<'py, PyAny>,
    stride: usize,
    input_lengths: &Bound<'py, PyAny>,
    target_lengths: &Bound<'py, PyAny>,
    blank: i64,
    zero_infinity: bool,
    gradient: bool,
) -> PyResult<(Bound<'py, PyAny>, Option<Bound<'py, PyAny>>)> {
    by_dtype!(y, T => {
        let y = array::<T, Ix3>("log_probs", y)?;
        let y = y.c_order()?;
        let labels = array::<i64, Ix1>("targets", labels)?;
        let labels = labels.c_order()?;
        let input_lengths = array::<i64, Ix1>("input_lengths", input_lengths)?;
        let input_lengths = input_lengths.c_order()?;
        let target_lengths = array::<i64, Ix1>("target_lengths", target_lengths)?;
        let target_lengths = target_lengths.c_order()?;
        let targets = ctc::Targets {
            labels: flat(&labels),
            stride,
            lengths: flat(&target_lengths),
            input_lengths: flat(&input_lengths),
            blank,
        };
        let (loss, dy) = enter(py, "loss", y.len() * 10, || {
            ctc::forward(y.view(), &targets, zero_infinity, gradient)
        })?;
        let dy = dy.map(|dy| dy.into_pyarray(py).into_any());
        Ok((loss.into_pyarray(py).into_any(), dy))
    })
}
