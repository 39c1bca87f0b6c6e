//! How arrays, errors and the GIL cross between Python and Rust.

use std::cell::RefCell;
use std::fmt::Display;
use std::io;

use lamina_kernels::layout::{self, Solid};
use lamina_kernels::{Error, Result, memory};
use ndarray::{ArrayView, CowArray, Dimension, IxDyn};
use numpy::{Element as NumpyElement, PyArray, PyUntypedArray};
use numpy::{PyArrayDescrMethods, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::exceptions::{PyKeyboardInterrupt, PyMemoryError, PyOSError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::borrow::{self, Reading, Writing};
use crate::{allocator, profile};

/// Work of fewer simple operations than this keeps the GIL: giving it up and taking it back can
/// cost a thread switch.
const RELEASE_GIL: usize = 20_000;

/// An input array: used where it lies if it is C-contiguous, else copied.
pub(crate) struct Input<'py, T: NumpyElement, D: Dimension> {
    reading: Reading<'py, T, D>,
}

impl<T: NumpyElement, D: Dimension> Input<'_, T, D> {
    /// The values in C order.
    pub(crate) fn c_order(&self) -> PyResult<CowArray<'_, T, D>>
    where
        T: Solid,
    {
        match self.reading.c_order() {
            Some(view) => Ok(view.into()),
            None => memory::guarded(|| Ok(layout::copied(&self.strided()).into())).map_err(raise),
        }
    }

    /// The values with whatever strides they have, for kernels that take strides.
    pub(crate) fn strided(&self) -> ArrayView<'_, T, D> {
        self.reading.strided()
    }
}

/// `object` as an array of `T` and rank `D`, or a `TypeError` that names `arg`.
pub(crate) fn array<'py, T: NumpyElement, D: Dimension>(
    arg: impl Display,
    object: &Bound<'py, PyAny>,
) -> PyResult<Input<'py, T, D>> {
    let Ok(array) = object.cast::<PyArray<T, D>>() else {
        return Err(mismatch::<T>(object.py(), arg, D::NDIM, object));
    };
    input(arg, array)
}

/// The same for what is known to be such an array.
pub(crate) fn input<'py, T: NumpyElement, D: Dimension>(
    arg: impl Display,
    array: &Bound<'py, PyArray<T, D>>,
) -> PyResult<Input<'py, T, D>> {
    let array = match as_rust_reads(&arg, array)? {
        true => array.clone(),
        false => array.call_method0("copy")?.cast_into()?,
    };
    Reading::new(array).map(|reading| Input { reading }).ok_or_else(|| in_use(arg))
}

/// Whether the numbers lie on their boundaries and a whole number of them apart, which a field of a
/// packed record need not; an error where there are more dimensions than a view can have.
fn as_rust_reads<T: NumpyElement, D: Dimension>(
    arg: &impl Display,
    array: &Bound<'_, PyArray<T, D>>,
) -> PyResult<bool> {
    const MOST: usize = 32;
    if array.ndim() > MOST {
        let message = format!("{arg}: expected at most {MOST} dimensions, got {}", array.ndim());
        return Err(PyValueError::new_err(message));
    }
    let apart = array.strides().iter().zip(array.shape());
    let whole =
        |(&stride, &len): (&isize, &usize)| len < 2 || stride % size_of::<T>() as isize == 0;
    Ok(array.data().is_aligned() && apart.into_iter().all(whole))
}

/// `object` as an array to be changed in place: writeable, C-contiguous, aligned, and in no other
/// use.
pub(crate) fn array_mut<'py, T: NumpyElement, D: Dimension>(
    arg: impl Display,
    object: &Bound<'py, PyAny>,
) -> PyResult<Writing<'py, T, D>> {
    let Ok(array) = object.cast::<PyArray<T, D>>() else {
        return Err(mismatch::<T>(object.py(), arg, D::NDIM, object));
    };
    if !array.is_c_contiguous() {
        return Err(PyValueError::new_err(format!(
            "{arg}: expected a C-contiguous array to change in place, got other strides"
        )));
    }
    if !array.is_aligned() {
        let message =
            format!("{arg}: expected numbers on their boundaries, got a field of a record");
        return Err(PyValueError::new_err(message));
    }
    if !borrow::is_writeable(array) {
        let message = format!("{arg}: expected a writeable array, got a read-only one");
        return Err(PyValueError::new_err(message));
    }
    Writing::new(array.clone()).ok_or_else(|| in_use(arg))
}

/// Each array of `list`, to be changed in place.
pub(crate) fn arrays_mut<'py, T: NumpyElement>(
    arg: &str,
    list: &Bound<'py, PyList>,
) -> PyResult<Vec<Writing<'py, T, IxDyn>>> {
    let arrays = list.iter().enumerate();
    arrays.map(|(i, object)| array_mut(format_args!("{arg}[{i}]"), &object)).collect()
}

fn in_use(arg: impl Display) -> PyErr {
    let reason = "this memory is in use as another argument, or in another thread, that changes it";
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

/// A function of one array that gives one, and what it costs for so many numbers.
macro_rules! of_one {
    ($name:ident, $kernel:path, ($x:ident: $dim:ty), $family:literal, $cost:expr, $doc:literal) => {
        #[doc = $doc]
        #[pyo3::pyfunction]
        #[pyo3(signature = ($x, /))]
        pub(crate) fn $name<'py>(
            py: pyo3::Python<'py>,
            $x: &pyo3::Bound<'py, pyo3::PyAny>,
        ) -> pyo3::PyResult<pyo3::Bound<'py, pyo3::PyAny>> {
            $crate::convert::by_dtype!($x, T => {
                let $x = $crate::convert::array::<T, $dim>(stringify!($x), $x)?;
                let $x = $x.c_order()?;
                let cost: fn(usize) -> usize = $cost;
                let work = || $kernel($x.view());
                let y = $crate::convert::enter(py, $family, cost($x.len()), work)?;
                Ok(numpy::IntoPyArray::into_pyarray(y, py).into_any())
            })
        }
    };
}
pub(crate) use of_one;

/// The same of two arrays; the numbers of the second count.
macro_rules! of_two {
    (
        $name:ident, $kernel:path, ($a:ident: $a_dim:ty, $b:ident: $b_dim:ty), $family:literal,
        $cost:expr, $doc:literal
    ) => {
        #[doc = $doc]
        #[pyo3::pyfunction]
        #[pyo3(signature = ($a, $b, /))]
        pub(crate) fn $name<'py>(
            py: pyo3::Python<'py>,
            $a: &pyo3::Bound<'py, pyo3::PyAny>,
            $b: &pyo3::Bound<'py, pyo3::PyAny>,
        ) -> pyo3::PyResult<pyo3::Bound<'py, pyo3::PyAny>> {
            $crate::convert::by_dtype!($b, T => {
                let $a = $crate::convert::array::<T, $a_dim>(stringify!($a), $a)?;
                let $b = $crate::convert::array::<T, $b_dim>(stringify!($b), $b)?;
                let ($a, $b) = ($a.c_order()?, $b.c_order()?);
                let cost: fn(usize) -> usize = $cost;
                let work = || $kernel($a.view(), $b.view());
                let y = $crate::convert::enter(py, $family, cost($b.len()), work)?;
                Ok(numpy::IntoPyArray::into_pyarray(y, py).into_any())
            })
        }
    };
}
pub(crate) use of_two;

/// Runs a kernel and counts its time under `kernel`; see [`run`].
pub(crate) fn enter<R: Send>(
    py: Python<'_>,
    kernel: &'static str,
    cost: usize,
    work: impl FnOnce() -> Result<R> + Send,
) -> PyResult<R> {
    profile::timed(kernel, || run(py, cost, work))
}

/// Runs kernels: releases the GIL where `cost`, their simple operations, is worth it, and turns
/// their error into Python's.
pub(crate) fn run<R: Send>(
    py: Python<'_>,
    cost: usize,
    work: impl FnOnce() -> Result<R> + Send,
) -> PyResult<R> {
    let work = || memory::guarded(work);
    let result = if cost < RELEASE_GIL { work() } else { py.detach(work) };
    allocator::watch();
    result.map_err(raise)
}

thread_local! {
    /// What a signal handler of Python raised inside a kernel on this thread.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// Whether a signal, such as Ctrl-C's, wants the kernel to stop; asked from inside it, after it
/// released the GIL.
///
/// Only the main thread of Python sees signals, so kernels ask on the thread that called them.
pub(crate) fn interrupted() -> bool {
    Python::attach(|py| match py.check_signals() {
        Ok(()) => false,
        Err(error) => {
            RAISED.set(Some(error));
            true
        }
    })
}

/// The Python exception for a kernel's error.
pub(crate) fn raise(error: Error) -> PyErr {
    match error {
        Error::Memory(_) => PyMemoryError::new_err(error.to_string()),
        Error::Interrupted => RAISED.take().unwrap_or_else(|| PyKeyboardInterrupt::new_err(())),
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
        other => PyValueError::new_err(other.to_string()),
    }
}
