//! Matrix products.
//!
//! forward:  c = a b         backward: da = dc b', db = a' dc
//!
//! [`gemm`] picks a form by shape: small products stay in registers; few sums of many terms are cut into
//! parts; few rows read the right-hand matrix where it lies; some rows times a transposed matrix are
//! computed as the transposed product; everything else goes through blocks packed so that the inner loop
//! reads both operands in order (Goto & van de Geijn, Anatomy of High-Performance Matrix Multiplication,
//! 2008). An element of `c` is the same sum in the same order however the work is shared out, so results
//! do not depend on the number of threads.
//!
//! Other kernels call [`gemm`] and [`gemm_packed`]; both thread themselves unless they are called
//! from inside a task of the pool.
#![allow(unsafe_code)]

mod blocked;
mod epilogue;
mod linear;
mod long;
mod micro;
mod pack;
mod shape;
mod skinny;
mod tiny;
mod turned;

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, ArrayViewMut2, Axis};

pub use epilogue::Activation;
pub use linear::{Saved, linear_backward, linear_forward};
pub use pack::Packed;
pub(crate) use pack::{balanced, panels_of_rows, transposed};

use crate::{Element, Result, check_shape, memory, threads};
use epilogue::Epilogue;

/// A matrix as a pointer and two strides, in elements.
#[derive(Clone, Copy)]
struct Mat<T> {
    start: *const T,
    rows: usize,
    columns: usize,
    row_stride: isize,
    column_stride: isize,
}

// SAFETY: a view that outlives the call it is used in, and is only read.
unsafe impl<T: Sync> Send for Mat<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Mat<T> {}

impl<T> Mat<T> {
    fn of(view: ArrayView2<'_, T>) -> Self {
        Self {
            start: view.as_ptr(),
            rows: view.nrows(),
            columns: view.ncols(),
            row_stride: view.strides()[0],
            column_stride: view.strides()[1],
        }
    }

    /// The address of an element, which lies inside the matrix only where the indices do.
    #[inline(always)]
    fn at(&self, row: usize, column: usize) -> *const T {
        let offset = row as isize * self.row_stride + column as isize * self.column_stride;
        self.start.wrapping_offset(offset)
    }

    /// The transposed matrix.
    fn turned(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// The columns from `start` on, `count` of them.
    fn columns_from(self, start: usize, count: usize) -> Self {
        Self { start: self.at(0, start), columns: count, ..self }
    }
}

/// Where a product goes: rows with contiguous elements, `stride` apart.
#[derive(Clone, Copy)]
struct Target<T> {
    start: *mut T,
    stride: usize,
}

// SAFETY: tasks write rows and columns that do not overlap.
unsafe impl<T: Send> Send for Target<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Target<T> {}

impl<T> Target<T> {
    /// The address of an element, which lies inside the matrix only where the indices do.
    #[inline(always)]
    fn at(&self, row: usize, column: usize) -> *mut T {
        self.start.wrapping_add(row * self.stride + column)
    }
}

/// `c = a b`, or `c += a b` where `accumulate`. `a` `[M, K]`, `b` `[K, N]`, `c` `[M, N]`, each of any
/// strides; contiguous rows of `c` are fastest.
pub fn gemm<T: Element>(
    a: ArrayView2<'_, T>,
    b: ArrayView2<'_, T>,
    c: ArrayViewMut2<'_, T>,
    accumulate: bool,
) -> Result<()> {
    check_shape("gemm", "b", &[a.ncols(), c.ncols()], b.shape())?;
    check_shape("gemm", "c", &[a.nrows(), b.ncols()], c.shape())?;
    let (a, b) = (Mat::of(a), Mat::of(b));
    into_rows(c, accumulate, |c| multiply(a, b, c, accumulate, &Epilogue::NONE));
    Ok(())
}

/// A new `c = a b`; see [`gemm`].
pub fn product<T: Element>(a: ArrayView2<'_, T>, b: ArrayView2<'_, T>) -> Result<Array2<T>> {
    check_shape("matmul", "b", &[a.ncols(), b.ncols()], b.shape())?;
    let mut c = memory::unfilled_array((a.nrows(), b.ncols()));
    let to = Target { start: c.as_mut_ptr(), stride: b.ncols() };
    multiply(Mat::of(a), Mat::of(b), to, false, &Epilogue::NONE);
    Ok(c)
}

/// [`gemm`] with a right-hand matrix packed before.
pub fn gemm_packed<T: Element>(
    a: ArrayView2<'_, T>,
    b: &Packed<T>,
    c: ArrayViewMut2<'_, T>,
    accumulate: bool,
) -> Result<()> {
    check_shape("gemm_packed", "a", &[c.nrows(), b.rows()], a.shape())?;
    check_shape("gemm_packed", "c", &[a.nrows(), b.columns()], c.shape())?;
    let a = Mat::of(a);
    into_rows(c, accumulate, |c| {
        blocked::multiply_packed(a, b, c, accumulate, &Epilogue::NONE);
    });
    Ok(())
}

/// Product of each pair of matrices of `a` `[B, M, K]` and `b` `[B, K, N]`, of any strides.
pub fn batched<T: Element>(a: ArrayView3<'_, T>, b: ArrayView3<'_, T>) -> Result<Array3<T>> {
    let (batch, m, k) = a.dim();
    let n = b.dim().2;
    check_shape("matmul", "b", &[batch, k, n], b.shape())?;
    let mut c = memory::unfilled_array((batch, m, n));
    let out = threads::Shared::new(c.as_slice_mut().expect("a new array"));
    let one = |i: usize| {
        // SAFETY: each task has the matrix of its number.
        let c = unsafe { out.slice(i * m * n..(i + 1) * m * n) };
        let c = Target { start: c.as_mut_ptr(), stride: n };
        let (a, b) = (a.index_axis(Axis(0), i), b.index_axis(Axis(0), i));
        multiply(Mat::of(a), Mat::of(b), c, false, &Epilogue::NONE);
    };
    // One matrix, or few large ones, are better cut up themselves.
    if batch < 4 && m * n * k > 1 << 18 {
        (0..batch).for_each(one);
    } else {
        // Small ones are many to a task.
        let cost = work(m, n, k).max(LEAST_WORK);
        let step = threads::piece_len(batch, cost).min(batch.div_ceil(LEAST_TASKS)).max(1);
        threads::for_each(batch.div_ceil(step), batch.saturating_mul(cost), |piece| {
            (piece * step..batch.min((piece + 1) * step)).for_each(one);
        });
    }
    Ok(c)
}

/// Tasks that a batch is cut into at least, where it has as many products.
const LEAST_TASKS: usize = 8;

/// Cost of a product of no more than a few numbers.
const LEAST_WORK: usize = 20;

/// Cost of a product for the pool.
fn work(m: usize, n: usize, k: usize) -> usize {
    m.saturating_mul(n).saturating_mul(k) / 24
}

/// Runs `fill` on rows of contiguous elements: those of `c`, or a copy that then goes back.
fn into_rows<T: Element>(
    mut c: ArrayViewMut2<'_, T>,
    accumulate: bool,
    fill: impl FnOnce(Target<T>),
) {
    let contiguous = c.ncols() <= 1 || c.strides()[1] == 1;
    let apart = c.nrows() <= 1 || c.strides()[0] >= c.ncols() as isize;
    if contiguous && apart {
        let stride = c.strides()[0].unsigned_abs();
        return fill(Target { start: c.as_mut_ptr(), stride });
    }
    let mut copy = memory::unfilled_array(c.raw_dim());
    if accumulate {
        copy.assign(&c);
    }
    fill(Target { start: copy.as_mut_ptr(), stride: c.ncols() });
    c.assign(&copy);
}

/// The product of matrices whose sizes agree, by the form that suits them.
fn multiply<T: Element>(
    a: Mat<T>,
    b: Mat<T>,
    c: Target<T>,
    accumulate: bool,
    epilogue: &Epilogue<'_, T>,
) {
    if a.rows == 0 || b.columns == 0 {
        return;
    }
    if a.columns == 0 {
        return blocked::no_terms(a.rows, b.columns, c, accumulate, epilogue);
    }
    if tiny::suits(&a, &b) {
        tiny::multiply(a, b, c, accumulate, epilogue);
    } else if long::suits(&a, &b) {
        long::multiply(a, b, c, accumulate, epilogue);
    } else if turned::suits(&a, &b) {
        turned::multiply(a, b, c, accumulate, epilogue);
    } else if skinny::suits(&a, &b) {
        skinny::multiply(a, b, c, accumulate, epilogue);
    } else if turned::suits_few_columns(&a, &b) {
        turned::multiply_few_columns(a, b, c, accumulate, epilogue);
    } else {
        blocked::multiply(a, b, c, accumulate, epilogue);
    }
}
