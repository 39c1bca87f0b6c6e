//! The gradient of a kernel: products of what came out with what each tap saw.

use crate::planes::Moves;
use crate::simd::Vector;
use crate::{Element, vectorized};

use super::{WIDE, has_forms};

vectorized! {
    /// Products of rows of `dy` with the rows that they see, summed for each tap.
    pub(super) fn products<S, T: Element>(moves: &Moves, seen: &[T], dy: &[T], sums: &mut [T]) {
        match moves.kernel {
            [3, 3] if const { has_forms::<T::V<S>>() } && moves.row_by_row() => {
                roll_products::<T::V<S>, 3, 3>(moves, seen, dy, sums);
            }
            [5, 5] if const { has_forms::<T::V<S>>() } && moves.row_by_row() => {
                roll_pairs::<T::V<S>, 5>(moves, seen, dy, sums);
            }
            [7, 7] if const { has_forms::<T::V<S>>() } && moves.row_by_row() => {
                roll_pairs::<T::V<S>, 7>(moves, seen, dy, sums);
            }
            _ => products_any::<T::V<S>>(moves, seen, dy, sums),
        }
    }
}

/// [`roll_products`] for two rows of the kernel at a time, which fit the registers.
#[inline(always)]
fn roll_pairs<V: Vector, const KW: usize>(
    moves: &Moves,
    seen: &[V::Elem],
    dy: &[V::Elem],
    to: &mut [V::Elem],
) {
    for (i, to) in to.chunks_mut(2 * KW).enumerate() {
        let seen = &seen[2 * i * moves.row_len()..];
        if to.len() > KW {
            roll_products::<V, 2, KW>(moves, seen, dy, to);
        } else {
            roll_products::<V, 1, KW>(moves, seen, dy, to);
        }
    }
}

/// [`products`] down the columns with the sums of all taps in registers.
#[inline(always)]
fn roll_products<V: Vector, const KH: usize, const KW: usize>(
    moves: &Moves,
    seen: &[V::Elem],
    dy: &[V::Elem],
    to: &mut [V::Elem],
) {
    let width = moves.out[1];
    let rest = width % V::LANES;
    let taps: [usize; KW] = std::array::from_fn(|kx| moves.tap(kx));
    let mut sums = [[V::zero(); KW]; KH];
    for column in (0..width - rest).step_by(V::LANES) {
        roll_column::<V, KH, KW, true>(
            moves,
            &taps,
            &seen[column..],
            &dy[column..],
            V::LANES,
            &mut sums,
        );
    }
    if rest > 0 {
        let column = width - rest;
        roll_column::<V, KH, KW, false>(
            moves,
            &taps,
            &seen[column..],
            &dy[column..],
            rest,
            &mut sums,
        );
    }
    for (sum, to) in sums.as_flattened().iter().zip(to) {
        *to = sum.sum();
    }
}

/// The first `count` columns of [`roll_products`], which are a `WHOLE` vector or not.
#[inline(always)]
fn roll_column<V: Vector, const KH: usize, const KW: usize, const WHOLE: bool>(
    moves: &Moves,
    taps: &[usize; KW],
    seen: &[V::Elem],
    dy: &[V::Elem],
    count: usize,
    sums: &mut [[V; KW]; KH],
) {
    let (row_len, width) = (moves.row_len(), moves.out[1]);
    let rows = dy.len().div_ceil(width);
    let last = (rows + KH - 2) * row_len + taps[KW - 1];
    assert!(last + count <= seen.len() && (rows - 1) * width + count <= dy.len());
    let count = if WHOLE { V::LANES } else { count };
    let mut all = *sums;
    if const { V::TILE_ROWS * V::TILE_VECTORS >= 2 * KH * KW } {
        // What the outputs of a row see stays in registers for the next.
        let mut held = [[V::zero(); KW]; KH];
        for row in 0..KH - 1 {
            // SAFETY: checked above.
            held[row] = unsafe { load_taps::<V, KW, WHOLE>(seen, row * row_len, taps, count) };
        }
        for block in (0..rows).step_by(KH) {
            for_rows!(KH, PHASE => {
                let row = block + PHASE;
                if row < rows {
                    let next = (row + KH - 1) * row_len;
                    // SAFETY: checked above.
                    let given = unsafe {
                        // Row `row` at `row % KH`, so that none has to move.
                        held[(PHASE + KH - 1) % KH] =
                            load_taps::<V, KW, WHOLE>(seen, next, taps, count);
                        load_taps::<V, 1, WHOLE>(dy, row * width, &[0], count)[0]
                    };
                    for ky in 0..KH {
                        for kx in 0..KW {
                            let x = held[(PHASE + ky) % KH][kx];
                            all[ky][kx] = given.mul_add(x, all[ky][kx]);
                        }
                    }
                }
            });
        }
    } else {
        for row in 0..rows {
            // SAFETY: checked above.
            unsafe {
                let [given] = load_taps::<V, 1, WHOLE>(dy, row * width, &[0], count);
                for ky in 0..KH {
                    let x = load_taps::<V, KW, WHOLE>(seen, (row + ky) * row_len, taps, count);
                    for kx in 0..KW {
                        all[ky][kx] = given.mul_add(x[kx], all[ky][kx]);
                    }
                }
            }
        }
    }
    *sums = all;
}

/// The `count` numbers, a `WHOLE` vector or not, that each tap sees of the row at `first`.
///
/// # Safety
/// They lie in `from`.
#[inline(always)]
unsafe fn load_taps<V: Vector, const N: usize, const WHOLE: bool>(
    from: &[V::Elem],
    first: usize,
    taps: &[usize; N],
    count: usize,
) -> [V; N] {
    let mut seen = [V::zero(); N];
    for i in 0..N {
        // SAFETY: the caller vouches for it.
        unsafe {
            let at = from.as_ptr().add(first + taps[i]);
            seen[i] = if WHOLE { V::load(at) } else { V::load_first(at, count) };
        }
    }
    seen
}

/// [`products`] for any kernel and step.
#[inline(always)]
fn products_any<V: Vector>(moves: &Moves, seen: &[V::Elem], dy: &[V::Elem], to: &mut [V::Elem]) {
    for (ky, to) in to.chunks_exact_mut(moves.kernel[1]).enumerate() {
        let seen = &seen[ky * moves.dilation[0] * moves.row_len()..];
        for (i, to) in to.chunks_mut(WIDE).enumerate() {
            match to.len() {
                1 => products_some::<V, 1>(moves, seen, dy, i * WIDE, to),
                2 => products_some::<V, 2>(moves, seen, dy, i * WIDE, to),
                3 => products_some::<V, 3>(moves, seen, dy, i * WIDE, to),
                _ => products_some::<V, WIDE>(moves, seen, dy, i * WIDE, to),
            }
        }
    }
}

/// Sums for `N` taps of one row of the kernel, from `kx` on.
#[inline(always)]
fn products_some<V: Vector, const N: usize>(
    moves: &Moves,
    seen: &[V::Elem],
    dy: &[V::Elem],
    kx: usize,
    to: &mut [V::Elem],
) {
    let taps: [usize; N] = std::array::from_fn(|i| moves.tap(kx + i));
    let mut sums = [V::zero(); N];
    for (row, dy) in dy.chunks_exact(moves.out[1]).enumerate() {
        let seen = &seen[row * moves.stride[0] * moves.row_len()..];
        for column in (0..dy.len()).step_by(V::LANES) {
            let given = V::read(&dy[column..]);
            let count = V::LANES.min(dy.len() - column);
            for (sum, tap) in sums.iter_mut().zip(taps) {
                *sum = given.mul_add(V::read(&seen[tap + column..][..count]), *sum);
            }
        }
    }
    for (to, sum) in to.iter_mut().zip(sums) {
        *to = sum.sum();
    }
}
