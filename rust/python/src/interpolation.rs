//! Planes in another resolution.

use lamina_kernels::interpolation::{self, Taps};
use lamina_kernels::{Element, Result};
use ndarray::{Array3, ArrayView3, Ix1, IxDyn};
use numpy::{Element as NumpyElement, IntoPyArray};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::convert::{array, by_dtype, enter, optional, raise};

/// What each output on an axis is made of.
#[pyclass(frozen)]
pub(crate) struct InterpolationTaps(Taps);

#[pymethods]
impl InterpolationTaps {
    #[new]
    #[pyo3(signature = (length, places, share, /))]
    fn new(
        length: usize,
        places: &Bound<'_, PyAny>,
        share: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let places = array::<i64, Ix1>("places", places)?;
        let share = optional::<f64, Ix1>("share", share)?;
        let share = share.as_ref().map(|share| share.strided());
        Taps::new(length, places.strided(), share).map(Self).map_err(raise)
    }
}

/// The planes of the last two axes with other rows, other columns or both.
#[pyfunction]
#[pyo3(signature = (x, rows, columns, /))]
pub(crate) fn interpolation_forward<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    rows: Option<&InterpolationTaps>,
    columns: Option<&InterpolationTaps>,
) -> PyResult<Bound<'py, PyAny>> {
    by_dtype!(x, T => { on_planes::<T>(py, "x", x, rows, columns, interpolation::forward) })
}

/// Gradient of the planes.
#[pyfunction]
#[pyo3(signature = (dy, rows, columns, /))]
pub(crate) fn interpolation_backward<'py>(
    py: Python<'py>,
    dy: &Bound<'py, PyAny>,
    rows: Option<&InterpolationTaps>,
    columns: Option<&InterpolationTaps>,
) -> PyResult<Bound<'py, PyAny>> {
    by_dtype!(dy, T => { on_planes::<T>(py, "dy", dy, rows, columns, interpolation::backward) })
}

type Kernel<T> = fn(ArrayView3<'_, T>, Option<&Taps>, Option<&Taps>) -> Result<Array3<T>>;

fn on_planes<'py, T: Element + NumpyElement>(
    py: Python<'py>,
    arg: &str,
    given: &Bound<'py, PyAny>,
    rows: Option<&InterpolationTaps>,
    columns: Option<&InterpolationTaps>,
    kernel: Kernel<T>,
) -> PyResult<Bound<'py, PyAny>> {
    let x = array::<T, IxDyn>(arg, given)?;
    let x = x.c_order()?;
    let Some(leading) = x.ndim().checked_sub(2) else {
        return Err(PyTypeError::new_err(format!("{arg}: expected at least 2 axes")));
    };
    let mut shape = x.shape().to_vec();
    let planes = (shape[..leading].iter().product(), shape[leading], shape[leading + 1]);
    let planes = x.to_shape(planes).expect("C order");
    let (rows, columns) = (rows.map(|taps| &taps.0), columns.map(|taps| &taps.0));
    let work = || kernel(planes.view(), rows, columns);
    let y = enter(py, "interpolation", planes.len(), work)?;
    shape[leading..].copy_from_slice(&y.shape()[1..]);
    let y = y.into_shape_with_order(shape).expect("as many planes");
    Ok(y.into_pyarray(py).into_any())
}
