//! Operations on two arrays whose shapes broadcast, the choice between them, copies in C order.

use lamina_kernels::arithmetic::{self, Operation};
use lamina_kernels::{Element, layout};
use ndarray::{ArrayView2, Ix2, IxDyn};
use numpy::IntoPyArray;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::convert::{Input, array, by_dtype, enter};

macro_rules! operation {
    ($name:ident, $operation:ident, $doc:literal) => {
        #[doc = $doc]
        #[pyfunction]
        #[pyo3(signature = (a, b, /))]
        pub(crate) fn $name<'py>(
            py: Python<'py>,
            a: &Bound<'py, PyAny>,
            b: &Bound<'py, PyAny>,
        ) -> PyResult<Bound<'py, PyAny>> {
            pair(py, Operation::$operation, a, b)
        }
    };
}

operation!(arithmetic_add, Add, "`a + b`.");
operation!(arithmetic_subtract, Subtract, "`a - b`.");
operation!(arithmetic_multiply, Multiply, "`a * b`.");
operation!(arithmetic_divide, Divide, "`a / b`.");
operation!(arithmetic_maximum, Maximum, "The larger of each pair; NaN where either is.");
operation!(arithmetic_minimum, Minimum, "The smaller of each pair; NaN where either is.");

fn pair<'py>(
    py: Python<'py>,
    operation: Operation,
    a: &Bound<'py, PyAny>,
    b: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    by_dtype!(a, T => {
        let (a, b) = (array::<T, IxDyn>("a", a)?, array::<T, IxDyn>("b", b)?);
        let (a, b) = (a.strided(), b.strided());
        let cost = a.len().max(b.len());
        let c = enter(py, "arithmetic", cost, || arithmetic::apply(operation, a, b))?;
        Ok(c.into_pyarray(py).into_any())
    })
}

/// The elements of `a` where `mask`, of bytes, is not zero, else those of `b`; the three broadcast.
#[pyfunction]
#[pyo3(signature = (mask, a, b, /))]
pub(crate) fn arithmetic_choose<'py>(
    py: Python<'py>,
    mask: &Bound<'py, PyAny>,
    a: &Bound<'py, PyAny>,
    b: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    by_dtype!(a, T => {
        let (a, b) = (array::<T, IxDyn>("a", a)?, array::<T, IxDyn>("b", b)?);
        let mask = array::<u8, IxDyn>("mask", mask)?;
        let (mask, a, b) = (mask.strided(), a.strided(), b.strided());
        let cost = mask.len().max(a.len()).max(b.len());
        let c = enter(py, "arithmetic", cost, || arithmetic::choose(mask, a, b))?;
        Ok(c.into_pyarray(py).into_any())
    })
}

/// A copy in C order.
#[pyfunction]
#[pyo3(signature = (x, /))]
pub(crate) fn copied<'py>(py: Python<'py>, x: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    by_dtype!(x, T => {
        let x = array::<T, IxDyn>("x", x)?;
        let x = x.strided();
        let y = enter(py, "copy", x.len(), || Ok(layout::copied(&x)))?;
        Ok(y.into_pyarray(py).into_any())
    })
}

/// Rows of `parts`, which have as many each, one after the other.
#[pyfunction]
#[pyo3(signature = (parts, /))]
pub(crate) fn joined<'py>(
    py: Python<'py>,
    parts: Vec<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let Some(first) = parts.first() else {
        return Err(PyValueError::new_err("parts: expected at least one array, got none"));
    };
    by_dtype!(first, T => {
        let each = parts.iter().enumerate();
        let parts = each.map(|(i, part)| array::<T, Ix2>(format_args!("parts[{i}]"), part));
        let parts = parts.collect::<PyResult<Vec<_>>>()?;
        let parts: Vec<_> = parts.iter().map(Input::strided).collect();
        let cost = parts.iter().map(ArrayView2::len).sum();
        let y = enter(py, "copy", cost, || layout::joined(&parts))?;
        Ok(y.into_pyarray(py).into_any())
    })
}

/// `x` with as many numbers before and after each axis as `pairs` say, all of them `value`; negative
/// ones cut off.
#[pyfunction]
#[pyo3(signature = (x, pairs, value, /))]
pub(crate) fn padded<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    pairs: Vec<(isize, isize)>,
    value: f64,
) -> PyResult<Bound<'py, PyAny>> {
    by_dtype!(x, T => {
        let x = array::<T, IxDyn>("x", x)?;
        let x = x.c_order()?;
        let work = || layout::padded(x.view(), &pairs, <T as Element>::of(value));
        let y = enter(py, "copy", x.len(), work)?;
        Ok(y.into_pyarray(py).into_any())
    })
}
