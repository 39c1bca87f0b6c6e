//! Sums, differences, products and quotients of arrays; `b` may have the last axes of `a` alone.

use lamina_kernels::arithmetic::{self, Operation};
use ndarray::IxDyn;
use numpy::IntoPyArray;
use pyo3::prelude::*;

use crate::convert::{array, by_dtype, enter};

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

fn pair<'py>(
    py: Python<'py>,
    operation: Operation,
    a: &Bound<'py, PyAny>,
    b: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    by_dtype!(a, T => {
        let (a, b) = (array::<T, IxDyn>("a", a)?, array::<T, IxDyn>("b", b)?);
        let (a, b) = (a.c_order()?, b.c_order()?);
        let c = enter(py, "arithmetic", a.len(), || arithmetic::apply(operation, a.view(), b.view()))?;
        Ok(c.into_pyarray(py).into_any())
    })
}
