//! Products so small that it would take longer to cut them up: sums stay in a few registers, and the
//! matrices are read where they lie, but for a right one that does not lie row after row.

use std::mem::MaybeUninit;

use super::epilogue::Epilogue;
use super::pack::{balanced, lines};
use super::{Mat, Target, skinny};
use crate::simd::Vector;
use crate::{Element, vectorized};

/// Multiplications from which it pays to cut a product up, over the square of a vector's lanes.
const MOST: usize = 768;
/// Most numbers of a right matrix that is copied.
const COPIED: usize = 1 << 11;
/// Columns of a right matrix that is narrow, and its numbers at most: few rows of a result stay in
/// registers however many terms their sums have.
const NARROW: usize = 16;
const NUMBERS: usize = 1 << 16;
/// Rows of a narrow product.
const FEW: usize = 4;
/// Rows of two vectors each that are summed up together where there are 32 registers, and where there
/// are 16.
const ROWS: usize = 8;
const LOW: usize = 6;

/// Whether the matrices are so small, and columns of the right one not better read where they lie.
pub(super) fn suits<T: Element>(a: &Mat<T>, b: &Mat<T>) -> bool {
    let numbers = b.rows.saturating_mul(b.columns);
    let narrow = b.columns <= NARROW && a.rows <= FEW && numbers <= NUMBERS;
    let small = a.rows > 1 && a.rows.saturating_mul(numbers) < most::<T>();
    if b.column_stride == 1 {
        return narrow || small;
    }
    small && numbers <= COPIED && !skinny::suits(a, b)
}

vectorized! {
    /// Multiplications from which a product is too large.
    fn most<S, T: Element>() -> usize {
        MOST * T::V::<S>::LANES * T::V::<S>::LANES
    }
}

/// The product.
pub(super) fn multiply<T: Element>(
    a: Mat<T>,
    b: Mat<T>,
    c: Target<T>,
    accumulate: bool,
    epilogue: &Epilogue<'_, T>,
) {
    if b.column_stride == 1 {
        sums(a, b, c, accumulate);
    } else {
        copied_sums(a, b, c, accumulate);
    }
    // SAFETY: the target has these rows and columns, and this thread alone writes them.
    unsafe { epilogue.finish(c, 0, a.rows, 0, b.columns) };
}

/// [`sums`] with the right matrix copied row after row, on a stack that other products need not pay for.
#[inline(never)]
fn copied_sums<T: Element>(a: Mat<T>, b: Mat<T>, c: Target<T>, accumulate: bool) {
    let mut copy = [const { MaybeUninit::uninit() }; COPIED];
    let copy = &mut copy[..b.rows * b.columns];
    copy.fill(MaybeUninit::new(T::zero()));
    // SAFETY: all of it was written.
    let out = unsafe { std::slice::from_raw_parts_mut(copy.as_mut_ptr().cast(), copy.len()) };
    lines(b.start, b.row_stride, b.column_stride, b.rows, b.columns, b.columns, out);
    let rows = Mat { start: out.as_ptr(), row_stride: b.columns as isize, column_stride: 1, ..b };
    sums(a, rows, c, accumulate);
}

vectorized! {
    /// Writes the product to `c`, or adds it. The pointers hold what the matrices say.
    fn sums<S, T: Element>(a: Mat<T>, b: Mat<T>, c: Target<T>, accumulate: bool) {
        for (row, rows) in balanced(a.rows, const { most_rows::<T::V<S>>() }) {
            macro_rules! heights {
                ($($m:literal)*) => {
                    match rows {
                        // SAFETY: see above.
                        $($m if const { $m <= most_rows::<T::V<S>>() } => unsafe {
                            strip::<T::V<S>, $m>(&a, &b, c, row, accumulate);
                        },)*
                        _ => unreachable!("{rows} rows"),
                    }
                };
            }
            heights!(1 2 3 4 5 6 7 8);
        }
    }
}

/// Most rows that are summed up together, two vectors of each.
const fn most_rows<V: Vector>() -> usize {
    if V::TILE_ROWS * V::TILE_VECTORS > 16 { ROWS } else { LOW }
}

/// `M` rows of the product from `row` on.
///
/// # Safety
/// The pointers hold what the matrices say.
#[inline(always)]
unsafe fn strip<V: Vector, const M: usize>(
    a: &Mat<V::Elem>,
    b: &Mat<V::Elem>,
    c: Target<V::Elem>,
    row: usize,
    accumulate: bool,
) {
    let mut column = 0;
    while column + 2 * V::LANES <= b.columns {
        tile::<V, M, 2>(a, b, c, [row, column], V::LANES, accumulate);
        column += 2 * V::LANES;
    }
    while column < b.columns {
        let width = V::LANES.min(b.columns - column);
        tile::<V, M, 1>(a, b, c, [row, column], width, accumulate);
        column += width;
    }
}

/// `M` rows of `N` vectors of the product from a row and column on, the last of which holds `width`
/// columns.
///
/// # Safety
/// The pointers hold what the matrices say.
#[inline(always)]
unsafe fn tile<V: Vector, const M: usize, const N: usize>(
    a: &Mat<V::Elem>,
    b: &Mat<V::Elem>,
    c: Target<V::Elem>,
    [row, column]: [usize; 2],
    width: usize,
    accumulate: bool,
) {
    let rows: [_; M] = std::array::from_fn(|i| a.at(row + i, 0));
    let load =
        |from: *const V::Elem| if N > 1 { V::load(from) } else { V::load_first(from, width) };
    let mut sums = [[V::zero(); N]; M];
    for k in 0..a.columns {
        let mut right = [V::zero(); N];
        for j in 0..N {
            right[j] = load(b.at(k, column + j * V::LANES));
        }
        for i in 0..M {
            let left = V::splat(*rows[i].wrapping_offset(k as isize * a.column_stride));
            for j in 0..N {
                sums[i][j] = left.mul_add(right[j], sums[i][j]);
            }
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        for (j, &sum) in sums.iter().enumerate() {
            let to = c.at(row + i, column + j * V::LANES);
            let sum = if accumulate { sum.add(load(to)) } else { sum };
            sum.store_first(to, width);
        }
    }
}
