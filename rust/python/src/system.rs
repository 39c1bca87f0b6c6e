//! The machine as Python sees it: instruction set, threads, memory.

use lamina_kernels::{Element, machine, memory, simd, threads};
use ndarray::IxDyn;
use numpy::IntoPyArray;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::allocator;
use crate::convert::raise;

/// Reads the environment once and sets the allocator to keep freed blocks.
pub(crate) fn start() -> PyResult<()> {
    allocator::keep_freed_blocks();
    simd::level().map_err(PyValueError::new_err)?;
    threads::set_num_threads(threads::from_environment().map_err(PyValueError::new_err)?);
    Ok(())
}

/// Name of the instruction set the kernels run on.
#[pyfunction]
pub(crate) fn isa() -> &'static str {
    simd::isa().name()
}

/// Number of threads the kernels use.
#[pyfunction]
pub(crate) fn num_threads() -> usize {
    threads::num_threads()
}

/// Sets the number of threads.
#[pyfunction]
#[pyo3(signature = (n, /))]
pub(crate) fn set_num_threads(n: isize) -> PyResult<()> {
    match usize::try_from(n) {
        Ok(n) if (1..=threads::MAX_THREADS).contains(&n) => {
            threads::set_num_threads(n);
            Ok(())
        }
        _ => Err(PyValueError::new_err(format!(
            "[set_num_threads] n: expected 1 to {}, got {n}",
            threads::MAX_THREADS
        ))),
    }
}

/// An array of unspecified values from recycled memory, for NumPy to write into.
#[pyfunction]
#[pyo3(signature = (shape, double=false, /))]
pub(crate) fn empty<'py>(
    py: Python<'py>,
    shape: Vec<usize>,
    double: bool,
) -> PyResult<Bound<'py, PyAny>> {
    fn new<T: Element + numpy::Element>(
        py: Python<'_>,
        shape: IxDyn,
    ) -> PyResult<Bound<'_, PyAny>> {
        let array = memory::guarded(|| Ok(memory::unfilled_array::<T, _, _>(shape)));
        Ok(array.map_err(raise)?.into_pyarray(py).into_any())
    }
    allocator::watch();
    let shape = IxDyn(&shape);
    if double { new::<f64>(py, shape) } else { new::<f32>(py, shape) }
}

/// Most single-precision operations a second, and bytes a second read from memory.
#[pyfunction]
pub(crate) fn machine_limits(py: Python<'_>) -> (f64, f64) {
    py.detach(|| (machine::peak_flops(), machine::read_bandwidth()))
}

/// Opens `count` parallel regions without work, one after the other.
#[pyfunction]
#[pyo3(signature = (count, /))]
pub(crate) fn empty_regions(py: Python<'_>, count: usize) {
    py.detach(|| {
        for _ in 0..count {
            threads::for_each(threads::num_threads(), usize::MAX, |_| {});
        }
    });
}
