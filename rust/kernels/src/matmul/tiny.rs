//! Products so small that it would take longer to cut them up: sums stay in a few registers, and both
//! matrices are read where they lie.

use super::epilogue::Epilogue;
use super::{Mat, Target};
use crate::simd::Vector;
use crate::{Element, vectorized};

/// Most multiplications.
const MOST: usize = 1 << 12;
/// Columns of a right matrix that is narrow, and its numbers at most: few rows of a result stay in
/// registers however many terms their sums have.
const NARROW: usize = 16;
const NUMBERS: usize = 1 << 16;
/// Rows of the result that are summed up together.
const ROWS: usize = 4;

/// Whether the matrices are so small, and the right one lies row after row.
pub(super) fn suits<T>(a: &Mat<T>, b: &Mat<T>) -> bool {
    let numbers = b.rows.saturating_mul(b.columns);
    let narrow = b.columns <= NARROW && a.rows <= ROWS && numbers <= NUMBERS;
    let small = a.rows > 1 && a.rows.saturating_mul(numbers) <= MOST;
    b.column_stride == 1 && (narrow || small)
}

/// The product.
pub(super) fn multiply<T: Element>(
    a: Mat<T>,
    b: Mat<T>,
    c: Target<T>,
    accumulate: bool,
    epilogue: &Epilogue<'_, T>,
) {
    sums(a, b, c, accumulate);
    // SAFETY: the target has these rows and columns, and this thread alone writes them.
    unsafe { epilogue.finish(c, 0, a.rows, 0, b.columns) };
}

vectorized! {
    /// Writes the product to `c`, or adds it. The pointers hold what the matrices say.
    fn sums<S, T: Element>(a: Mat<T>, b: Mat<T>, c: Target<T>, accumulate: bool) {
        let lanes = T::V::<S>::LANES;
        for row in (0..a.rows).step_by(ROWS) {
            // The last rows are the first of these again where there are fewer.
            let rows: [usize; ROWS] = std::array::from_fn(|i| (row + i).min(a.rows - 1));
            let count = ROWS.min(a.rows - row);
            for column in (0..b.columns).step_by(lanes) {
                let width = lanes.min(b.columns - column);
                let mut sums = [T::V::<S>::zero(); ROWS];
                // SAFETY: see above.
                unsafe {
                    for k in 0..a.columns {
                        let b = T::V::<S>::load_first(b.at(k, column), width);
                        for (sum, &row) in sums.iter_mut().zip(&rows) {
                            *sum = b.mul_add(T::V::<S>::splat(*a.at(row, k)), *sum);
                        }
                    }
                    for (i, &sum) in sums[..count].iter().enumerate() {
                        let to = c.at(row + i, column);
                        let sum = if accumulate {
                            sum.add(T::V::<S>::load_first(to, width))
                        } else {
                            sum
                        };
                        sum.store_first(to, width);
                    }
                }
            }
        }
    }
}
