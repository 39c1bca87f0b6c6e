//! Reductions over neighbouring axes of arrays of any shape.

use lamina_kernels::reduction;
use ndarray::IxDyn;
use pyo3::prelude::*;

use crate::axes::Axes;
use crate::convert::{array, by_dtype, enter};

/// Functions of `x` with one output.
macro_rules! one {
    ($name:ident, $kernel:ident, $pace:literal, $doc:literal) => {
        #[doc = $doc]
        #[pyfunction]
        #[pyo3(signature = (x, axes, keepdim, /))]
        pub(crate) fn $name<'py>(
            py: Python<'py>,
            x: &Bound<'py, PyAny>,
            axes: (usize, usize),
            keepdim: bool,
        ) -> PyResult<Bound<'py, PyAny>> {
            by_dtype!(x, T => {
                let x = array::<T, IxDyn>("x", x)?;
                let x = x.c_order()?;
                let axes = Axes::new(x.shape(), axes)?;
                let rows = axes.rows(x.view());
                let y = enter(py, "reduction", x.len() / $pace, || reduction::$kernel(rows))?;
                Ok(axes.reduced(py, y, keepdim))
            })
        }
    };
}

one!(reduction_sum, sum, 8, "Sum over axes.");
one!(reduction_mean, mean, 8, "Mean over axes.");
one!(reduction_product, product, 8, "Product over axes.");
one!(reduction_largest, largest, 8, "Largest number over axes.");
one!(reduction_smallest, smallest, 8, "Smallest number over axes.");
one!(reduction_norm, norm, 8, "Root of the sum of squares over axes.");
one!(reduction_logsumexp, logsumexp, 1, "Logarithm of the sum of exponentials over axes.");

/// Functions of `x` with two outputs.
macro_rules! two {
    ($name:ident, $kernel:ident, ($($left:ident: $number:ty)?), $doc:literal) => {
        #[doc = $doc]
        #[pyfunction]
        #[pyo3(signature = (x, axes, keepdim, $($left,)? /))]
        pub(crate) fn $name<'py>(
            py: Python<'py>,
            x: &Bound<'py, PyAny>,
            axes: (usize, usize),
            keepdim: bool,
            $($left: $number,)?
        ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
            by_dtype!(x, T => {
                let x = array::<T, IxDyn>("x", x)?;
                let x = x.c_order()?;
                let axes = Axes::new(x.shape(), axes)?;
                let rows = axes.rows(x.view());
                let work = || reduction::$kernel(rows $(, $left)?);
                let (y, z) = enter(py, "reduction", x.len() / 4, work)?;
                Ok((axes.reduced(py, y, keepdim), axes.reduced(py, z, keepdim)))
            })
        }
    };
}

two!(reduction_variance, variance, (left: f64), "Means, and variances: sums over `left`.");
two!(reduction_deviation, deviation, (left: f64), "Means, and roots of variances.");
two!(reduction_first_largest, first_largest, (), "Largest numbers and where the first ones are.");
two!(reduction_first_smallest, first_smallest, (), "Smallest ones and where the first are.");

/// Gradients of `x` from numbers for each reduction of it.
macro_rules! spread {
    ($name:ident, $kernel:ident, ($first:ident, x $(, $second:ident)?), $doc:literal) => {
        #[doc = $doc]
        #[pyfunction]
        #[pyo3(signature = ($first, x, $($second,)? axes, /))]
        pub(crate) fn $name<'py>(
            py: Python<'py>,
            $first: &Bound<'py, PyAny>,
            x: &Bound<'py, PyAny>,
            $($second: &Bound<'py, PyAny>,)?
            axes: (usize, usize),
        ) -> PyResult<Bound<'py, PyAny>> {
            by_dtype!(x, T => {
                let x = array::<T, IxDyn>("x", x)?;
                let x = x.c_order()?;
                let axes = Axes::new(x.shape(), axes)?;
                let rows = axes.rows(x.view());
                let $first = array::<T, IxDyn>(stringify!($first), $first)?;
                let $first = $first.c_order()?;
                let $first = axes.each(stringify!($first), $first.view())?;
                $(
                    let $second = array::<T, IxDyn>(stringify!($second), $second)?;
                    let $second = $second.c_order()?;
                    let $second = axes.each(stringify!($second), $second.view())?;
                )?
                let dx = enter(py, "reduction", x.len() / 2, || {
                    reduction::$kernel($first, rows $(, $second)?)
                })?;
                Ok(axes.whole(py, dx))
            })
        }
    };
}

spread!(
    reduction_extreme_backward,
    extreme_backward,
    (dy, x, y),
    "Gradient of largest and smallest."
);
spread!(reduction_logsumexp_backward, logsumexp_backward, (dy, x, y), "Gradient of logsumexp.");
spread!(reduction_variance_backward, variance_backward, (slope, x, mean), "`(x - mean) * slope`.");
spread!(reduction_norm_backward, norm_backward, (slope, x), "`x * slope`.");
spread!(reduction_product_backward, product_backward, (slope, x), "`slope / x`.");

/// Sums, or products, of the numbers up to each along the axis `dim`, or from each on.
#[pyfunction]
#[pyo3(signature = (x, dim, product, reverse, /))]
pub(crate) fn reduction_scan<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    dim: usize,
    product: bool,
    reverse: bool,
) -> PyResult<Bound<'py, PyAny>> {
    by_dtype!(x, T => {
        let x = array::<T, IxDyn>("x", x)?;
        let x = x.c_order()?;
        let axes = Axes::one(x.shape(), dim)?;
        let rows = axes.rows(x.view());
        let y = enter(py, "reduction", x.len() / 2, || reduction::scan(rows, product, reverse))?;
        Ok(axes.whole(py, y))
    })
}
