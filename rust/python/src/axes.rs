//! Axes of arrays of any rank as kernels see them: `[O, N, I]`.

use ndarray::{Array, ArrayView, ArrayView2, ArrayView3, Dimension, IxDyn};
use numpy::{Element as NumpyElement, IntoPyArray};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// The axes of a shape that a kernel runs along, from one to before another.
pub(crate) struct Axes<'a> {
    shape: &'a [usize],
    start: usize,
    stop: usize,
}

impl<'a> Axes<'a> {
    pub(crate) fn new(shape: &'a [usize], (start, stop): (usize, usize)) -> PyResult<Self> {
        if start > stop || stop > shape.len() {
            return Err(PyValueError::new_err(format!(
                "axes: expected a range of {} axes, got {start} to {stop}",
                shape.len()
            )));
        }
        Ok(Self { shape, start, stop })
    }

    /// A single axis.
    pub(crate) fn one(shape: &'a [usize], dim: usize) -> PyResult<Self> {
        Self::new(shape, (dim, dim.saturating_add(1)))
    }

    /// The same axes of another array, which differs from this one in their lengths alone.
    pub(crate) fn of(&self, arg: &str, shape: &'a [usize]) -> PyResult<Self> {
        let outside = |shape: &'a [usize]| {
            let (before, after) = (shape.get(..self.start), shape.get(self.stop..));
            before.zip(after).filter(|_| shape.len() == self.shape.len())
        };
        if outside(shape) == outside(self.shape) {
            return Ok(Self { shape, ..*self });
        }
        Err(PyValueError::new_err(format!(
            "{arg}: expected {:?} but for axes {} to {}, got {shape:?}",
            self.shape, self.start, self.stop
        )))
    }

    /// `[O, N, I]`, where `N` counts the numbers that become one.
    fn three(&self) -> [usize; 3] {
        let count = |lengths: &[usize]| lengths.iter().product();
        let (before, rest) = self.shape.split_at(self.start);
        let (along, after) = rest.split_at(self.stop - self.start);
        [count(before), count(along), count(after)]
    }

    /// `x` as `[O, N, I]`.
    pub(crate) fn rows<'x, T>(&self, x: ArrayView<'x, T, IxDyn>) -> ArrayView3<'x, T> {
        x.into_shape_with_order(self.three()).expect("an array in C order of this shape")
    }

    /// What has a number for each reduction, with these axes or without, as `[O, I]`.
    pub(crate) fn each<'x, T>(
        &self,
        arg: &str,
        x: ArrayView<'x, T, IxDyn>,
    ) -> PyResult<ArrayView2<'x, T>> {
        let [outer, _, inner] = self.three();
        let (expected, got) = (outer * inner, x.len());
        x.into_shape_with_order((outer, inner)).map_err(|_| {
            PyValueError::new_err(format!("{arg}: expected {expected} numbers, got {got}"))
        })
    }

    /// Outputs as an array without these axes, or with length one in their place.
    pub(crate) fn reduced<'py, T: NumpyElement, D: Dimension>(
        &self,
        py: Python<'py>,
        y: Array<T, D>,
        keepdim: bool,
    ) -> Bound<'py, PyAny> {
        let ones = std::iter::repeat_n(&1, if keepdim { self.stop - self.start } else { 0 });
        let (before, after) = (&self.shape[..self.start], &self.shape[self.stop..]);
        let shape: Vec<_> = before.iter().chain(ones).chain(after).copied().collect();
        let y = y.into_shape_with_order(shape).expect("a number for each reduction");
        y.into_pyarray(py).into_any()
    }

    /// What has a number for each of an array of this shape.
    pub(crate) fn whole<'py, T: NumpyElement, D: Dimension>(
        &self,
        py: Python<'py>,
        y: Array<T, D>,
    ) -> Bound<'py, PyAny> {
        let y = y.into_shape_with_order(self.shape).expect("a number for each of the shape");
        y.into_pyarray(py).into_any()
    }
}
