//! How arrays, errors and the GIL cross between Python and Rust.

use std::fmt::Display;
use std::io;

use lamina_kernels::{Error, Result};
use ndarray::{ArrayView, CowArray, Dimension, IxDyn};
use numpy::{BorrowError, Element as NumpyElement, PyArray, PyArrayMethods, PyReadonlyArray};
use numpy::{PyArrayDescrMethods, PyUntypedArrayMethods};
use numpy::{PyReadwriteArray, PyUntypedArray};
use pyo3::exceptions::{PyKeyboardInterrupt, PyOSError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::{allocator, profile};

/// Work of fewer simple operations than this keeps the GIL: giving it up and taking it back can
/// cost a thread switch.
const RELEASE_GIL: usize = 20_000;

/// An input array: borrowed where it is C-contiguous, else copied.
pub(crate) struct Input<'py, T: NumpyElement, D: Dimension> {
    borrowed: PyReadonlyArray<'py, T, D>,
}

impl<T: NumpyElement + Clone, D: Dimension> Input<'_, T, D> {
    /// The values in C order.
    pub(crate) fn c_order(&self) -> CowArray<'_, T, D> {
        let view = self.borrowed.as_array();
        if view.is_standard_layout() {
            CowArray::from(view)
        } else {
            CowArray::from(view.as_standard_layout().into_owned())
        }
    }

    /// The values with whatever strides they have, for kernels that take strides.
    pub(crate) fn strided(&self) -> ArrayView<'_, T, D> {
        self.borrowed.as_array()
    }
}

/// `object` as an array of `T` and rank `D`, or a `TypeError` that names `arg`.
pub(crate) fn array<'py, T: NumpyElement, D: Dimension>(
    arg: impl Display,
    object: &Bound<'py, PyAny>,
) -> PyResult<Input<'py, T, D>> {
    match object.cast::<PyArray<T, D>>() {
        Ok(array) => match array.try_readonly() {
            Ok(borrowed) => Ok(Input { borrowed }),
            Err(error) => Err(not_borrowed(arg, error)),
        },
        Err(_) => Err(mismatch::<T>(object.py(), arg, D::NDIM, object)),
    }
}

/// `object` as an array to be changed in place: writeable, C-contiguous, and in no other use.
pub(crate) fn array_mut<'py, T: NumpyElement, D: Dimension>(
    arg: impl Display,
    object: &Bound<'py, PyAny>,
) -> PyResult<PyReadwriteArray<'py, T, D>> {
    let Ok(array) = object.cast::<PyArray<T, D>>() else {
        return Err(mismatch::<T>(object.py(), arg, D::NDIM, object));
    };
    if !array.is_c_contiguous() {
        return Err(PyValueError::new_err(format!(
            "{arg}: expected a C-contiguous array to change in place, got other strides"
        )));
    }
    array.try_readwrite().map_err(|error| not_borrowed(arg, error))
}

/// Each array of `list`, to be changed in place.
pub(crate) fn arrays_mut<'py, T: NumpyElement>(
    arg: &str,
    list: &Bound<'py, PyList>,
) -> PyResult<Vec<PyReadwriteArray<'py, T, IxDyn>>> {
    let arrays = list.iter().enumerate();
    arrays.map(|(i, object)| array_mut(format_args!("{arg}[{i}]"), &object)).collect()
}

fn not_borrowed(arg: impl Display, error: BorrowError) -> PyErr {
    let reason = match error {
        BorrowError::NotWriteable => "expected a writeable array, got a read-only one",
        _ => "this memory is in use as another argument, or in another thread, that changes it",
    };
    PyValueError::new_err(format!("{arg}: {reason}"))
}

/// The same for an argument that may be `None`.
pub(crate) fn optional<'py, T: NumpyElement, D: Dimension>(
    arg: &str,
    object: Option<&Bound<'py, PyAny>>,
) -> PyResult<Option<Input<'py, T, D>>> {
    object.map(|object| array(arg, object)).transpose()
}

fn mismatch<T: NumpyElement>(
    py: Python<'_>,
    arg: impl Display,
    rank: Option<usize>,
    object: &Bound<'_, PyAny>,
) -> PyErr {
    let expected = describe(rank, &T::get_dtype(py).to_string());
    let got = match object.cast::<PyUntypedArray>() {
        Ok(array) => describe(Some(array.ndim()), &array.dtype().to_string()),
        Err(_) => object.get_type().name().map_or_else(|_| "?".into(), |name| name.to_string()),
    };
    PyTypeError::new_err(format!("{arg}: expected {expected} array, got {got}"))
}

fn describe(rank: Option<usize>, dtype: &str) -> String {
    match rank {
        Some(rank) => format!("{rank}-d {dtype}"),
        None => dtype.to_string(),
    }
}

/// Whether `object` is an array of `f64` rather than `f32`, or a `TypeError`.
pub(crate) fn is_double(arg: &str, object: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = object.py();
    if let Ok(array) = object.cast::<PyUntypedArray>() {
        let dtype = array.dtype();
        if dtype.is_equiv_to(&numpy::dtype::<f32>(py)) {
            return Ok(false);
        }
        if dtype.is_equiv_to(&numpy::dtype::<f64>(py)) {
            return Ok(true);
        }
        return Err(PyTypeError::new_err(format!(
            "{arg}: expected float32 or float64 array, got {dtype}"
        )));
    }
    let name = object.get_type().name()?;
    Err(PyTypeError::new_err(format!("{arg}: expected float32 or float64 array, got {name}")))
}

/// Runs `$body` with `$T` as the element type of the array `$arg`.
macro_rules! by_dtype {
    ($arg:ident, $T:ident => $body:block) => {
        if $crate::convert::is_double(stringify!($arg), $arg)? {
            type $T = f64;
            $body
        } else {
            type $T = f32;
            $body
        }
    };
}
pub(crate) use by_dtype;

/// Runs a kernel: counts its time under `kernel`, releases the GIL where `cost`, its simple
/// operations, is worth it, and turns its error into Python's.
pub(crate) fn enter<R: Send>(
    py: Python<'_>,
    kernel: &'static str,
    cost: usize,
    work: impl FnOnce() -> Result<R> + Send,
) -> PyResult<R> {
    let result =
        profile::timed(kernel, || if cost < RELEASE_GIL { work() } else { py.detach(work) });
    allocator::watch();
    result.map_err(raise)
}

/// The Python exception for a kernel's error.
pub(crate) fn raise(error: Error) -> PyErr {
    match error {
        // Of the number Python makes the class, such as `FileNotFoundError`.
        Error::Io { path, code: Some(code), reason, .. } if cfg!(windows) => {
            PyOSError::new_err((0, reason, path, code))
        }
        Error::Io { path, code: Some(code), reason, .. } => {
            PyOSError::new_err((code, reason, path))
        }
        Error::Io { path, kind, reason, .. } => {
            io::Error::new(kind, format!("{path}: {reason}")).into()
        }
        Error::Interrupted => PyKeyboardInterrupt::new_err(()),
        other => PyValueError::new_err(other.to_string()),
    }
}
