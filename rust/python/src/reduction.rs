//! Reductions over axes.

use lamina_kernels::reduction;
use ndarray::{Ix2, Ix3};
use numpy::IntoPyArray;
use pyo3::prelude::*;

use crate::convert::{array, by_dtype, enter, of_one, of_two};

/// Functions of `x` alone.
macro_rules! reduced {
    ($name:ident, $kernel:path, $pace:literal, $doc:literal) => {
        of_one!($name, $kernel, (x: Ix3), "reduction", |n| n / $pace, $doc);
    };
}

reduced!(reduction_sum, reduction::sum, 8, "Sum over the middle axis.");
reduced!(reduction_product, reduction::product, 8, "Product over the middle axis.");
reduced!(reduction_largest, reduction::largest, 8, "Largest number over the middle axis.");
reduced!(reduction_smallest, reduction::smallest, 8, "Smallest number over the middle axis.");
reduced!(reduction_norm, reduction::norm, 8, "Root of the sum of squares over the middle axis.");
reduced!(reduction_logsumexp, reduction::logsumexp, 1, "Logarithm of the sum of exponentials.");

/// Functions of `x` with two outputs.
macro_rules! two {
    ($name:ident, $kernel:ident, $doc:literal) => {
        #[doc = $doc]
        #[pyfunction]
        #[pyo3(signature = (x, /))]
        pub(crate) fn $name<'py>(
            py: Python<'py>,
            x: &Bound<'py, PyAny>,
        ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
            by_dtype!(x, T => {
                let x = array::<T, Ix3>("x", x)?;
                let x = x.c_order()?;
                let (y, z) = enter(py, "reduction", x.len() / 4, || reduction::$kernel(x.view()))?;
                Ok((y.into_pyarray(py).into_any(), z.into_pyarray(py).into_any()))
            })
        }
    };
}

two!(reduction_moments, moments, "Means, and sums of the squared differences from them.");
two!(reduction_first_largest, first_largest, "Largest numbers and where the first ones are.");
two!(reduction_first_smallest, first_smallest, "Smallest numbers and where the first ones are.");

/// Functions of `x` and two numbers for all those over its middle axis.
macro_rules! spread {
    ($name:ident, $kernel:ident, $first:ident, $second:ident, $doc:literal) => {
        #[doc = $doc]
        #[pyfunction]
        #[pyo3(signature = ($first, x, $second, /))]
        pub(crate) fn $name<'py>(
            py: Python<'py>,
            $first: &Bound<'py, PyAny>,
            x: &Bound<'py, PyAny>,
            $second: &Bound<'py, PyAny>,
        ) -> PyResult<Bound<'py, PyAny>> {
            by_dtype!(x, T => {
                let x = array::<T, Ix3>("x", x)?;
                let $first = array::<T, Ix2>(stringify!($first), $first)?;
                let $second = array::<T, Ix2>(stringify!($second), $second)?;
                let (x, $first, $second) = (x.c_order()?, $first.c_order()?, $second.c_order()?);
                let dx = enter(py, "reduction", x.len() / 2, || {
                    reduction::$kernel($first.view(), x.view(), $second.view())
                })?;
                Ok(dx.into_pyarray(py).into_any())
            })
        }
    };
}

spread!(reduction_extreme_backward, extreme_backward, dy, y, "Gradient of largest and smallest.");
spread!(reduction_logsumexp_backward, logsumexp_backward, dy, y, "Gradient of logsumexp.");
spread!(reduction_moments_backward, moments_backward, slope, mean, "`(x - mean) * slope`.");

of_two!(
    reduction_norm_backward, reduction::norm_backward, (slope: Ix2, x: Ix3), "reduction",
    |n| n / 4, "`x * slope`."
);
of_two!(
    reduction_product_backward, reduction::product_backward, (slope: Ix2, x: Ix3), "reduction",
    |n| n / 4, "`slope / x`."
);

/// Sums, or products, of the numbers up to each along the middle axis, or from each on.
#[pyfunction]
#[pyo3(signature = (x, product, reverse, /))]
pub(crate) fn reduction_scan<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    product: bool,
    reverse: bool,
) -> PyResult<Bound<'py, PyAny>> {
    by_dtype!(x, T => {
        let x = array::<T, Ix3>("x", x)?;
        let x = x.c_order()?;
        let y = enter(py, "reduction", x.len() / 2, || reduction::scan(x.view(), product, reverse))?;
        Ok(y.into_pyarray(py).into_any())
    })
}
