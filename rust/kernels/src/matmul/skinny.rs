//! Few rows: the right matrix is read once, where it lies, because packing it would cost as much
//! as the product.

use super::epilogue::Epilogue;
use super::micro::{Panels, tile};
use super::{Mat, Target, work};
use crate::memory::Scratch;
use crate::simd::Vector;
use crate::{Element, threads, vectorized};

/// Most rows with which rows of the right matrix are read in place.
const ROWS_ALONG: usize = 8;
/// Most rows with which columns of the right matrix are read in place.
const ROWS_ACROSS: usize = 4;
/// Columns of the result in a task.
const COLUMNS: usize = 256;

/// Whether the right matrix should be read where it lies.
pub(super) fn suits<T>(a: &Mat<T>, b: &Mat<T>) -> bool {
    (b.column_stride == 1 && a.rows <= ROWS_ALONG && b.columns >= 8)
        || (b.row_stride == 1 && a.rows <= ROWS_ACROSS && b.rows >= 8)
}

/// The product of a left matrix of few rows.
pub(super) fn multiply<T: Element>(
    a: Mat<T>,
    b: Mat<T>,
    c: Target<T>,
    accumulate: bool,
    epilogue: &Epilogue<'_, T>,
) {
    let mut left = Scratch::new(a.rows * a.columns);
    for row in 0..a.rows {
        for k in 0..a.columns {
            // SAFETY: inside the matrix.
            left[row * a.columns + k] = unsafe { *a.at(row, k) };
        }
    }
    let along = b.column_stride == 1;
    let tasks = b.columns.div_ceil(COLUMNS);
    threads::for_each(tasks, work(a.rows.max(4), b.columns, b.rows), |task| {
        let column = task * COLUMNS;
        let count = COLUMNS.min(b.columns - column);
        let part = b.columns_from(column, count);
        let start = c.at(0, column);
        if along {
            rows_along(
                &left,
                a.rows,
                a.columns,
                part.start,
                b.row_stride,
                start,
                c.stride,
                count,
                accumulate,
            );
        } else {
            rows_across(
                &left,
                a.rows,
                a.columns,
                part.start,
                b.column_stride,
                start,
                c.stride,
                count,
                accumulate,
            );
        }
        // SAFETY: no other task has these columns.
        unsafe { epilogue.finish(c, 0, a.rows, column, count) };
    });
}

vectorized! {
    /// Sums of rows of `b`, `step` apart, weighted by each row of `left`.
    fn rows_along<S, T: Element>(
        left: &[T],
        rows: usize,
        k: usize,
        b: *const T,
        step: isize,
        c: *mut T,
        stride: usize,
        columns: usize,
        accumulate: bool,
    ) {
        let lanes = T::V::<S>::LANES;
        let mut column = 0;
        while column < columns {
            let rest = columns - column;
            // SAFETY: `k` rows of `b` and `rows` rows of `c` have `columns` numbers.
            unsafe {
                let p = Panels {
                    k,
                    a: left.as_ptr(),
                    a_row: k as isize,
                    a_step: 1,
                    b: b.add(column),
                    b_step: step,
                    copy: std::ptr::null_mut(),
                };
                let c = c.add(column);
                macro_rules! heights {
                    ($n:literal: $($m:literal)*) => {
                        match rows {
                            $($m => tile::<T::V<S>, $m, $n, false>(p, c, stride, $n * lanes, accumulate),)*
                            _ => unreachable!("{rows} rows"),
                        }
                    };
                }
                if rest >= 4 * lanes && rows <= 4 {
                    heights!(4: 1 2 3 4);
                    column += 4 * lanes;
                } else if rest >= lanes {
                    heights!(1: 1 2 3 4 5 6 7 8);
                    column += lanes;
                } else {
                    for i in 0..rows {
                        let mut sum = T::V::<S>::zero();
                        for j in 0..k {
                            let right = T::V::<S>::load_first(p.b.offset(j as isize * step), rest);
                            sum = T::V::<S>::splat(left[i * k + j]).mul_add(right, sum);
                        }
                        let at = c.add(i * stride);
                        if accumulate {
                            sum = sum.add(T::V::<S>::load_first(at, rest));
                        }
                        sum.store_first(at, rest);
                    }
                    column = columns;
                }
            }
        }
    }
}

vectorized! {
    /// Dot products of each row of `left` with columns of `b`, which lie `step` apart.
    fn rows_across<S, T: Element>(
        left: &[T],
        rows: usize,
        k: usize,
        b: *const T,
        step: isize,
        c: *mut T,
        stride: usize,
        columns: usize,
        accumulate: bool,
    ) {
        let mut column = 0;
        while column < columns {
            let at = b.wrapping_offset(column as isize * step);
            for i in 0..rows {
                let left = &left[i * k..][..k];
                // SAFETY: columns of `b` hold `k` numbers each, rows of `c` hold `columns`.
                unsafe {
                    let c = c.add(i * stride + column);
                    if columns - column >= 4 {
                        dots::<T::V<S>, 4>(left, at, step, c, accumulate);
                    } else {
                        dots::<T::V<S>, 1>(left, at, step, c, accumulate);
                    }
                }
            }
            column += if columns - column >= 4 { 4 } else { 1 };
        }
    }
}

/// `N` dot products with columns that lie `step` apart.
///
/// # Safety
/// Each column holds as many numbers as `left`, and `c` has room for `N`.
#[inline(always)]
unsafe fn dots<V: Vector, const N: usize>(
    left: &[V::Elem],
    b: *const V::Elem,
    step: isize,
    c: *mut V::Elem,
    accumulate: bool,
) {
    let mut sums = [[V::zero(); 2]; N];
    let pair = 2 * V::LANES;
    let whole = left.len() - left.len() % pair;
    for k in (0..whole).step_by(pair) {
        for half in 0..2 {
            let at = k + half * V::LANES;
            let x = V::load(left.as_ptr().add(at));
            for j in 0..N {
                let w = V::load(b.offset(j as isize * step).add(at));
                sums[j][half] = x.mul_add(w, sums[j][half]);
            }
        }
    }
    for j in 0..N {
        let column = b.offset(j as isize * step);
        let mut total = sums[j][0].add(sums[j][1]).sum();
        for k in whole..left.len() {
            total += left[k] * *column.add(k);
        }
        let at = c.add(j);
        *at = if accumulate { *at + total } else { total };
    }
}
