//! One of two numbers at each place.

use ndarray::{ArrayD, ArrayViewD};

use super::PIECE;
use crate::walk::{Source, Walk, broadcast, strides_in};
use crate::{Element, Result, memory, threads, vectorized};

/// The elements of `a` where `mask` is not zero, else those of `b`; the three broadcast.
pub fn choose<T: Element>(
    mask: ArrayViewD<'_, u8>,
    a: ArrayViewD<'_, T>,
    b: ArrayViewD<'_, T>,
) -> Result<ArrayD<T>> {
    let both = broadcast("where", a.shape(), b.shape())?;
    let shape = broadcast("where", mask.shape(), &both)?;
    let mut c = memory::unfilled_array(shape.as_slice());
    if c.is_empty() {
        return Ok(c);
    }
    let strides = [strides_in(&shape, &mask), strides_in(&shape, &a), strides_in(&shape, &b)];
    let walk = Walk::new(&shape, strides.each_ref().map(Vec::as_slice));
    let steps = walk.inner().steps;
    let (mask, a, b) =
        (Source::new(mask.as_ptr()), Source::new(a.as_ptr()), Source::new(b.as_ptr()));
    let (out, cost) = (c.as_slice_mut().expect("a new array"), shape.iter().product());
    threads::for_each_piece(out, PIECE, cost, |i, c| {
        let start = i * PIECE;
        walk.rows(start..start + c.len(), |rows| {
            let c = &mut c[rows.at - start..][..rows.count * rows.len];
            for (row, c) in c.chunks_exact_mut(rows.len).enumerate() {
                let at = |n: usize| rows.offsets[n] + row as isize * rows.apart[n];
                choose_row(mask.at(at(0)), a.at(at(1)), b.at(at(2)), steps, c);
            }
        });
    });
    Ok(c)
}

vectorized! {
    /// One row from others that are readable at these steps as far as `c` goes.
    fn choose_row<S, T: Element>(
        mask: *const u8,
        a: *const T,
        b: *const T,
        steps: [isize; 3],
        c: &mut [T],
    ) {
        // SAFETY: see above.
        unsafe {
            match steps {
                [1, 1, 1] => choose_with(mask, a, b, [1, 1, 1], c),
                [1, 1, 0] => choose_with(mask, a, b, [1, 1, 0], c),
                [1, 0, 1] => choose_with(mask, a, b, [1, 0, 1], c),
                [1, 0, 0] => choose_with(mask, a, b, [1, 0, 0], c),
                steps => choose_with(mask, a, b, steps, c),
            }
        }
    }
}

/// # Safety
/// As [`choose_row`].
#[inline(always)]
unsafe fn choose_with<T: Element>(
    mask: *const u8,
    a: *const T,
    b: *const T,
    steps: [isize; 3],
    c: &mut [T],
) {
    for (i, c) in c.iter_mut().enumerate() {
        let [m, x, y] = steps.map(|step| i as isize * step);
        // Both are read, so that the choice is one instruction for a whole register.
        let (x, y) = (*a.wrapping_offset(x), *b.wrapping_offset(y));
        *c = if *mask.wrapping_offset(m) != 0 { x } else { y };
    }
}
