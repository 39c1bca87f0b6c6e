//! Some rows times a right matrix that lies column after column, as a linear layer's weight does:
//! the product is computed turned over, `c' = b' a'`, so that the large matrix is the left one,
//! which tiles read where it lies, and the small one is packed.

use super::epilogue::Epilogue;
use super::pack::Packed;
use super::shape::is_narrow_slow;
use super::{Mat, Target, blocked, skinny, work};
use crate::memory::Scratch;
use crate::simd::{MAX_LANES, Vector};
use crate::{Element, threads, vectorized};

/// Rows from which it pays, and up to which.
const ROWS: std::ops::RangeInclusive<usize> = 5..=256;
/// Columns of the result in a task at most.
const COLUMNS: usize = 192;

/// Columns of a right matrix up to which rows of the left one are better read once, for dot products.
const FEW_COLUMNS: usize = 4;

/// Rows up to which dot products are better where a tile one vector wide is slow.
const DOTS: usize = 16;

/// Whether the shapes are of this kind.
pub(super) fn suits<T: Element>(a: &Mat<T>, b: &Mat<T>) -> bool {
    let dots = is_narrow_slow::<T>() && a.rows <= DOTS && skinny::suits(a, b);
    let fits =
        ROWS.contains(&a.rows) && b.columns >= (2 * a.rows).max(64) && b.rows >= a.rows.max(16);
    b.row_stride == 1 && fits && !dots
}

/// The product.
pub(super) fn multiply<T: Element>(
    a: Mat<T>,
    b: Mat<T>,
    c: Target<T>,
    accumulate: bool,
    epilogue: &Epilogue<'_, T>,
) {
    let packed = Packed::of(a.turned());
    let (m, n) = (a.rows, b.columns);
    let width = m.next_multiple_of(packed.shape().lanes);
    let cost = work(m, n, b.rows);
    let tasks = 2 * threads::useful(cost);
    let columns = n.div_ceil(tasks).next_multiple_of(packed.shape().lanes).min(COLUMNS);
    threads::for_each(n.div_ceil(columns), cost, |task| {
        let column = task * columns;
        let count = columns.min(n - column);
        let mut turned = Scratch::new(count * width);
        let left = b.columns_from(column, count).turned();
        let target = Target { start: turned.as_mut_ptr(), stride: width };
        blocked::multiply_packed(left, &packed, target, false, &Epilogue::NONE);
        turn(&turned, width, m, c.at(0, column), c.stride, accumulate);
        // SAFETY: no other task has these columns.
        unsafe { epilogue.finish(c, 0, m, column, count) };
    });
}

/// Whether the right matrix has few columns: turned over, the left one is read once, where it lies.
pub(super) fn suits_few_columns<T: Copy>(a: &Mat<T>, b: &Mat<T>) -> bool {
    let (left, right) = (b.turned(), a.turned());
    let across = b.columns <= FEW_COLUMNS && skinny::across(&left, &right);
    a.rows > 1 && (a.row_stride == 1 && skinny::suits_along(&left, &right) || across)
}

/// The product of such matrices.
pub(super) fn multiply_few_columns<T: Element>(
    a: Mat<T>,
    b: Mat<T>,
    c: Target<T>,
    accumulate: bool,
    epilogue: &Epilogue<'_, T>,
) {
    let (m, n) = (a.rows, b.columns);
    let mut turned = Scratch::new(m * n);
    let target = Target { start: turned.as_mut_ptr(), stride: m };
    super::multiply(b.turned(), a.turned(), target, false, &Epilogue::NONE);
    // SAFETY: the target has these rows and columns, and this thread alone writes them.
    unsafe {
        for row in 0..m {
            for column in 0..n {
                let (sum, to) = (turned[column * m + row], c.at(row, column));
                *to = if accumulate { *to + sum } else { sum };
            }
        }
        epilogue.finish(c, 0, m, 0, n);
    }
}

vectorized! {
    /// Rows `width` wide as the columns of `rows` rows of `c`, which lie `stride` apart and nothing
    /// else uses meanwhile.
    fn turn<S, T: Element>(
        turned: &[T],
        width: usize,
        rows: usize,
        c: *mut T,
        stride: usize,
        accumulate: bool,
    ) {
        let lanes = T::V::<S>::LANES;
        assert!(width.is_multiple_of(lanes) && rows <= width);
        let mut block = [T::V::<S>::zero(); MAX_LANES];
        for (i, square) in turned.chunks(lanes * width).enumerate() {
            let count = square.len() / width;
            for first in (0..rows).step_by(lanes) {
                for (to, from) in block.iter_mut().zip(square.chunks_exact(width)) {
                    *to = T::V::<S>::read(&from[first..]);
                }
                T::V::<S>::transpose(&mut block);
                for (row, &sums) in (first..rows.min(first + lanes)).zip(&block) {
                    // SAFETY: `c` has as many columns as `turned` has rows.
                    unsafe {
                        let at = c.add(row * stride + i * lanes);
                        let sums =
                            if accumulate { sums.add(T::V::<S>::load_first(at, count)) } else { sums };
                        sums.store_first(at, count);
                    }
                }
            }
        }
    }
}
