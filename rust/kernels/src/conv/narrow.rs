//! The same as [`super::lines`] for lines that fill vectors badly: a vector holds output channels.
//!
//! Of each term the weights of all channels of a tile are read as vectors and times one number of the
//! image for each column; the sums are turned when they are written.
#![allow(unsafe_code)]

use std::ops::Range;

use super::lines::{Panels, Target, Tiles, sized};
use crate::matmul::balanced;
use crate::simd::{Isa, MAX_LANES, Vector};
use crate::{Element, vectorized};

vectorized! {
    /// Whether lines of `width` outputs leave a quarter of their vectors empty, and `rows` channels
    /// none.
    pub(super) fn suits<S, T: Element>(width: usize, rows: usize) -> bool {
        let lanes = T::V::<S>::LANES;
        rows.is_multiple_of(lanes) && width * 4 <= width.next_multiple_of(lanes) * 3
    }
}

vectorized! {
    /// Tiles of whole vectors of rows.
    pub(super) fn tiles<S, T: Element>(rows: usize) -> Tiles {
        let unit = T::V::<S>::LANES;
        let units = rows / unit;
        Tiles { count: units.div_ceil(T::V::<S>::TILE_VECTORS), units, unit }
    }
}

vectorized! {
    /// All tiles of rows of one line of outputs.
    pub(super) fn run_line<S, T: Element>(
        tiles: &[Range<usize>],
        weights: Panels<'_, T>,
        offsets: &[usize],
        z: &[T],
        target: Target<'_, T>,
    ) {
        let lanes = T::V::<S>::LANES;
        for rows in tiles {
            let w = weights.of(rows, offsets.len());
            for (column, count) in balanced(target.columns, T::V::<S>::TILE_ROWS.min(lanes)) {
                let c = target.at(rows, column, count);
                // SAFETY: a line of the copy holds all outputs of a part for every tap; the last
                // output of the tile was found to be inside.
                unsafe {
                    let z = z.as_ptr().add(column);
                    let bias = target.bias(rows);
                    sized!(count, rows.len() / lanes, tile(w, offsets, z, c, target, bias));
                }
            }
        }
    }
}

/// `M` outputs of each of `N` vectors of rows.
///
/// # Safety
/// `weights` holds `N` vectors and `z` `M` numbers for each of the offsets, and the outputs are there.
#[inline(always)]
unsafe fn tile<S: Isa, T: Element, const M: usize, const N: usize>(
    weights: &[T],
    offsets: &[usize],
    z: *const T,
    c: *mut T,
    target: Target<'_, T>,
    bias: Option<&[T]>,
) {
    let lanes = T::V::<S>::LANES;
    let mut first = [T::V::<S>::zero(); N];
    if let Some(bias) = bias {
        for (first, bias) in first.iter_mut().zip(bias.chunks_exact(lanes)) {
            *first = T::V::<S>::load(bias.as_ptr());
        }
    }
    let mut sums = [first; M];
    let mut w = weights.as_ptr();
    for &offset in offsets {
        let mut vectors = [T::V::<S>::zero(); N];
        for (j, vector) in vectors.iter_mut().enumerate() {
            *vector = T::V::<S>::load(w.add(j * lanes));
        }
        for (i, sums) in sums.iter_mut().enumerate() {
            let x = T::V::<S>::splat(*z.add(offset + i));
            for (sum, vector) in sums.iter_mut().zip(vectors) {
                *sum = x.mul_add(vector, *sum);
            }
        }
        w = w.wrapping_add(N * lanes);
    }
    // By constant places: the compiler would keep sums in memory that a loop picks.
    turn(sums.map(|sums| sums[0]), c, target);
    if N > 1 {
        turn(sums.map(|sums| sums[N - 1]), c.wrapping_add(lanes * target.stride), target);
    }
}

/// Writes `M` outputs of each row that the lanes hold to `c`, or adds them.
///
/// # Safety
/// The outputs are there.
#[inline(always)]
unsafe fn turn<V: Vector, const M: usize>(
    sums: [V; M],
    c: *mut V::Elem,
    target: Target<'_, V::Elem>,
) {
    let mut block = [V::zero(); MAX_LANES];
    block[..M].copy_from_slice(&sums);
    V::transpose(&mut block);
    for (row, line) in block[..V::LANES].iter().enumerate() {
        let c = c.wrapping_add(row * target.stride);
        let before = if target.accumulate { V::load_first(c, M) } else { V::zero() };
        line.add(before).store_first(c, M);
    }
}
