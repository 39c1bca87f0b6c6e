//! Matrix products.
//!
//! forward:  c = a b         backward: da = dc b', db = a' dc
//!
//! Other kernels call [`gemm`] and [`gemm_packed`]; both thread themselves unless they are called
//! from inside a task of the pool.

use ndarray::{Array2, ArrayView2, ArrayViewMut2};

use crate::{Element, Result, check_shape};

/// A right-hand matrix `[K, N]` in the layout the inner loops read, for use in many products.
#[derive(Debug)]
pub struct Packed<T: Element> {
    b: Array2<T>,
}

impl<T: Element> Packed<T> {
    /// Packs `b` `[K, N]`, of any strides.
    pub fn new(b: ArrayView2<'_, T>) -> Self {
        Self { b: b.as_standard_layout().into_owned() }
    }

    /// Rows, K.
    pub fn rows(&self) -> usize {
        self.b.nrows()
    }

    /// Columns, N.
    pub fn columns(&self) -> usize {
        self.b.ncols()
    }
}

/// `c = a b`, or `c += a b` where `accumulate`. `a` `[M, K]`, `b` `[K, N]`, `c` `[M, N]`, each of any
/// strides; contiguous rows of `c` are fastest.
pub fn gemm<T: Element>(
    a: ArrayView2<'_, T>,
    b: ArrayView2<'_, T>,
    mut c: ArrayViewMut2<'_, T>,
    accumulate: bool,
) -> Result<()> {
    check_shape("gemm", "b", &[a.ncols(), c.ncols()], b.shape())?;
    check_shape("gemm", "c", &[a.nrows(), b.ncols()], c.shape())?;
    for (i, mut row) in c.rows_mut().into_iter().enumerate() {
        if !accumulate {
            row.fill(T::zero());
        }
        for k in 0..a.ncols() {
            row.scaled_add(a[[i, k]], &b.row(k));
        }
    }
    Ok(())
}

/// [`gemm`] with a right-hand matrix packed before.
pub fn gemm_packed<T: Element>(
    a: ArrayView2<'_, T>,
    b: &Packed<T>,
    c: ArrayViewMut2<'_, T>,
    accumulate: bool,
) -> Result<()> {
    gemm(a, b.b.view(), c, accumulate)
}
