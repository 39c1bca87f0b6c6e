//! Sums of outer products: the transposed matrix P times the matrix W, both of few columns and many
//! rows. Transitions, symbols and moments are counted with it.
#![allow(unsafe_code)]

use lamina_kernels::simd::{Isa, Vector};
use lamina_kernels::vectorized;

/// Columns of P in a tile of sums.
const TILE: usize = 4;

vectorized! {
    /// Adds to `out` `[K, width]` the sums over rows of `p(k) w`, where `p` has rows of `stride`
    /// numbers of which the first K count and `w` rows of `width`, a multiple of eight.
    pub(super) fn add_outer<S>(
        p: &[f64], stride: usize, w: &[f64], width: usize, out: &mut [f64],
    ) {
        let rows = w.len() / width;
        let count = out.len() / width;
        if rows == 0 {
            return;
        }
        assert!(p.len() >= (rows - 1) * stride + count, "as many rows as w");
        assert!(count <= stride, "whole rows");
        let lanes = S::F64::LANES;
        for first in (0..count).step_by(TILE) {
            let mut column = 0;
            while column < width {
                // SAFETY: rows, the columns of a tile and `out` were measured above.
                unsafe {
                    let p = p.as_ptr().add(first);
                    let w = w.as_ptr().add(column);
                    let out = out.as_mut_ptr().add(first * width + column);
                    let two = column + 2 * lanes <= width;
                    match (count - first >= TILE, two) {
                        (true, true) => tile::<S, TILE, 2>(p, stride, w, width, rows, out),
                        (true, false) => tile::<S, TILE, 1>(p, stride, w, width, rows, out),
                        (false, two) => {
                            for k in 0..count - first {
                                let (p, out) = (p.add(k), out.add(k * width));
                                if two {
                                    tile::<S, 1, 2>(p, stride, w, width, rows, out);
                                } else {
                                    tile::<S, 1, 1>(p, stride, w, width, rows, out);
                                }
                            }
                        }
                    }
                    column += if two { 2 * lanes } else { lanes };
                }
            }
        }
    }
}

/// `R` rows and `V` vectors of the sums, held in registers over all rows.
///
/// # Safety
/// `p` has `rows` rows of `R` numbers `stride` apart, `w` as many of `V` vectors `width` apart, and
/// `out` has `R` rows of `V` vectors `width` apart.
#[inline(always)]
unsafe fn tile<S: Isa, const R: usize, const V: usize>(
    p: *const f64,
    stride: usize,
    w: *const f64,
    width: usize,
    rows: usize,
    out: *mut f64,
) {
    let lanes = S::F64::LANES;
    let mut sums = [[S::F64::zero(); V]; R];
    for t in 0..rows {
        // SAFETY: the caller promises these rows.
        unsafe {
            let mut values = [S::F64::zero(); V];
            for (v, value) in values.iter_mut().enumerate() {
                *value = S::F64::load(w.add(t * width + v * lanes));
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let by = S::F64::splat(*p.add(t * stride + r));
                for v in 0..V {
                    sums[v] = by.mul_add(values[v], sums[v]);
                }
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        for (v, &sum) in sums.iter().enumerate() {
            // SAFETY: as above.
            unsafe {
                let to = out.add(r * width + v * lanes);
                S::F64::load(to).add(sum).store(to);
            }
        }
    }
}
