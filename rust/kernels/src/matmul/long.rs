//! Products of few numbers, each the sum of many terms, as the gradient of a small layer's weight is:
//! parts of the sums side by side, then the sum of these in their order.

use super::epilogue::Epilogue;
use super::{Mat, Target, work};
use crate::memory::Scratch;
use crate::{Element, threads};

/// Most rows of the product, which are too few to share out, and most columns.
const ROWS: usize = 48;
const COLUMNS: usize = 128;
/// Terms of a part, and parts from which it pays.
const TERMS: usize = 512;
const PARTS: usize = 4;
/// Cost of a part from which it pays.
const COST: usize = 2_000;

/// Whether the product is of this kind.
pub(super) fn suits<T>(a: &Mat<T>, b: &Mat<T>) -> bool {
    let few = (2..=ROWS).contains(&a.rows) && b.columns <= COLUMNS;
    few && a.columns >= PARTS * TERMS && work(a.rows, b.columns, TERMS) >= COST
}

/// The product.
pub(super) fn multiply<T: Element>(
    a: Mat<T>,
    b: Mat<T>,
    c: Target<T>,
    accumulate: bool,
    epilogue: &Epilogue<'_, T>,
) {
    let (m, n) = (a.rows, b.columns);
    let parts = a.columns.div_ceil(TERMS);
    let mut sums = Scratch::new(parts * m * n);
    threads::for_each_piece(&mut sums, m * n, work(m, n, a.columns), |part, sums| {
        let terms = threads::part_of(a.columns, parts, part);
        let left = a.columns_from(terms.start, terms.len());
        let right = Mat { start: b.at(terms.start, 0), rows: terms.len(), ..b };
        let target = Target { start: sums.as_mut_ptr(), stride: n };
        super::multiply(left, right, target, false, &Epilogue::NONE);
    });
    put_together(&sums, (m, n), c, accumulate, epilogue);
}

/// Writes the sum of the parts `[parts, M, N]` to `c`, or adds it.
pub(super) fn put_together<T: Element>(
    parts: &[T],
    (m, n): (usize, usize),
    c: Target<T>,
    accumulate: bool,
    epilogue: &Epilogue<'_, T>,
) {
    // SAFETY: the target has these rows and columns, and this thread alone writes them.
    unsafe {
        for row in 0..m {
            let c = std::slice::from_raw_parts_mut(c.at(row, 0), n);
            if !accumulate {
                c.fill(T::zero());
            }
            for part in parts.chunks_exact(m * n) {
                c.iter_mut().zip(&part[row * n..]).for_each(|(c, &sum)| *c += sum);
            }
        }
        epilogue.finish(c, 0, m, 0, n);
    }
}
