//! Sums of what the taps of a kernel see, each with its weight.

use std::sync::atomic::{Ordering, compiler_fence};

use crate::planes::{Gather, Moves};
use crate::simd::Vector;
use crate::{Element, vectorized};

use super::{WIDE, has_forms};

vectorized! {
    /// Writes rows of `y` from the rows that they see, on top of `start` or of what is there.
    pub(super) fn correlate<S, T: Element>(
        moves: &Moves,
        seen: &[T],
        weight: &[T],
        start: Option<T>,
        y: &mut [T],
    ) {
        match moves.kernel {
            [3, 3] if const { has_forms::<T::V<S>>() } && moves.is_dense() => {
                blocks::<T::V<S>, 3, 3, 4>(moves, seen, weight, start, y);
            }
            [5, 5] if const { has_forms::<T::V<S>>() } && moves.is_dense() => {
                if const { has_room::<T::V<S>>() } {
                    blocks::<T::V<S>, 5, 5, 7>(moves, seen, weight, start, y);
                } else {
                    blocks::<T::V<S>, 5, 5, 4>(moves, seen, weight, start, y);
                }
            }
            [7, 7] if const { has_forms::<T::V<S>>() } && moves.is_dense() => {
                if const { has_room::<T::V<S>>() } {
                    blocks::<T::V<S>, 7, 7, 7>(moves, seen, weight, start, y);
                } else {
                    blocks::<T::V<S>, 7, 7, 4>(moves, seen, weight, start, y);
                }
            }
            _ => correlate_any::<T::V<S>>(moves, seen, weight, start, y),
        }
    }
}

/// Whether the sums of seven rows, two vectors each, leave registers to others: where there are 32.
const fn has_room<V: Vector>() -> bool {
    V::TILE_ROWS * V::TILE_VECTORS > 16
}

vectorized! {
    /// Writes the sums of `gather` with the weight of each tap, on top of `start` or of what is there.
    pub(super) fn add_up<S, T: Element>(
        gather: &Gather,
        seen: &[T],
        weight: &[T],
        start: Option<T>,
        apart: &mut [T],
    ) {
        let mut weighted = Vec::with_capacity(weight.len());
        for (to, terms) in gather.sums() {
            weighted.clear();
            weighted.extend(terms.iter().map(|&(tap, first)| (weight[tap], first)));
            combine::<T::V<S>>(&weighted, seen, start, &mut apart[to]);
        }
    }
}

/// [`correlate`] in blocks of rows and vectors, whose sums are enough to hide how long each product
/// takes and few enough for the registers.
#[inline(always)]
fn blocks<V: Vector, const KH: usize, const KW: usize, const TALL: usize>(
    moves: &Moves,
    seen: &[V::Elem],
    weight: &[V::Elem],
    start: Option<V::Elem>,
    y: &mut [V::Elem],
) {
    let mut kernel = [[V::zero(); KW]; KH];
    for ky in 0..KH {
        for kx in 0..KW {
            kernel[ky][kx] = V::splat(weight[ky * KW + kx]);
        }
    }
    let (row_len, width) = (moves.row_len(), moves.out[1]);
    let mut seen = seen;
    let mut tall = y.chunks_exact_mut(TALL * width);
    for y in tall.by_ref() {
        block::<V, KH, KW, TALL>(seen, row_len, &kernel, start, y);
        seen = &seen[TALL * row_len..];
    }
    let mut fours = tall.into_remainder().chunks_exact_mut(4 * width);
    for y in fours.by_ref() {
        block::<V, KH, KW, 4>(seen, row_len, &kernel, start, y);
        seen = &seen[4 * row_len..];
    }
    for y in fours.into_remainder().chunks_exact_mut(width) {
        block::<V, KH, KW, 1>(seen, row_len, &kernel, start, y);
        seen = &seen[row_len..];
    }
}

/// [`blocks`] for `R` rows.
#[inline(always)]
fn block<V: Vector, const KH: usize, const KW: usize, const R: usize>(
    seen: &[V::Elem],
    row_len: usize,
    kernel: &[[V; KW]; KH],
    start: Option<V::Elem>,
    y: &mut [V::Elem],
) {
    let width = y.len() / R;
    let mut column = 0;
    while column + V::LANES < width {
        // A last full vector over the one before is cheaper than part of one.
        let second = (column + V::LANES).min(width - V::LANES);
        tile::<V, KH, KW, R, 2>(seen, row_len, kernel, start, [column, second], y);
        column += 2 * V::LANES;
    }
    if column < width {
        tile::<V, KH, KW, R, 1>(seen, row_len, kernel, start, [column], y);
    }
}

/// [`block`] for the vectors of outputs at `columns`, which may overlap.
#[inline(always)]
fn tile<V: Vector, const KH: usize, const KW: usize, const R: usize, const N: usize>(
    seen: &[V::Elem],
    row_len: usize,
    kernel: &[[V; KW]; KH],
    start: Option<V::Elem>,
    columns: [usize; N],
    y: &mut [V::Elem],
) {
    let width = y.len() / R;
    assert!((R + KH - 1) * row_len <= seen.len(), "rows that were copied");
    let mut sums = [[start.map_or(V::zero(), V::splat); N]; R];
    for_rows!(R + KH - 1, ROW => {
        // Or else the compiler reads all rows first, for which there are no registers.
        compiler_fence(Ordering::SeqCst);
        let row = seen.as_ptr().wrapping_add(ROW * row_len);
        for kx in 0..KW {
            let mut x = [V::zero(); N];
            for j in 0..N {
                // SAFETY: a copied row has room for whole vectors from any tap on.
                x[j] = unsafe { V::load(row.add(columns[j] + kx)) };
            }
            for ky in 0..KH {
                if (ky..R + ky).contains(&ROW) {
                    for j in 0..N {
                        sums[ROW - ky][j] = kernel[ky][kx].mul_add(x[j], sums[ROW - ky][j]);
                    }
                }
            }
        }
        // Or else it keeps what it read to sum one row after the other, each waiting for itself.
        if N == 2 {
            for sums in &mut sums {
                (sums[0], sums[N - 1]) = sums[0].together(sums[N - 1]);
            }
        }
    });
    for (sums, y) in sums.into_iter().zip(y.chunks_exact_mut(width)) {
        put(sums, start, columns, y);
    }
}

/// [`correlate`] for any kernel and step.
#[inline(always)]
fn correlate_any<V: Vector>(
    moves: &Moves,
    seen: &[V::Elem],
    weight: &[V::Elem],
    start: Option<V::Elem>,
    y: &mut [V::Elem],
) {
    let row_len = moves.row_len();
    let mut terms = Vec::with_capacity(weight.len());
    for (ky, weight) in weight.chunks_exact(moves.kernel[1]).enumerate() {
        for (kx, &weight) in weight.iter().enumerate() {
            terms.push((weight, ky * moves.dilation[0] * row_len + moves.tap(kx)));
        }
    }
    let (step, y_rows) = (moves.stride[0] * row_len, y.len() / moves.out[1]);
    let mut rows = y.chunks_exact_mut(WIDE * moves.out[1]);
    for (i, y) in rows.by_ref().enumerate() {
        combine_rows::<V>(&terms, &seen[i * WIDE * step..], step, start, y);
    }
    let done = y_rows / WIDE * WIDE;
    for (i, y) in rows.into_remainder().chunks_exact_mut(moves.out[1]).enumerate() {
        combine::<V>(&terms, &seen[(done + i) * step..], start, y);
    }
}

/// [`combine`] for `WIDE` rows of `to`, `step` numbers apart in `from`.
#[inline(always)]
fn combine_rows<V: Vector>(
    terms: &[(V::Elem, usize)],
    from: &[V::Elem],
    step: usize,
    start: Option<V::Elem>,
    to: &mut [V::Elem],
) {
    let width = to.len() / WIDE;
    check_terms(terms, (WIDE - 1) * step + width.next_multiple_of(V::LANES), from);
    let mut column = 0;
    while column + V::LANES < width {
        // A last full vector over the one before is cheaper than part of one.
        let columns = [column, (column + V::LANES).min(width - V::LANES)];
        // SAFETY: checked above.
        let sums: [[V; 2]; WIDE] = unsafe { add_terms(terms, from, step, columns, start) };
        for (sums, to) in sums.into_iter().zip(to.chunks_exact_mut(width)) {
            put(sums, start, columns, to);
        }
        column += 2 * V::LANES;
    }
    if column < width {
        // SAFETY: checked above.
        let sums: [[V; 1]; WIDE] = unsafe { add_terms(terms, from, step, [column], start) };
        for (sums, to) in sums.into_iter().zip(to.chunks_exact_mut(width)) {
            put(sums, start, [column], to);
        }
    }
}

/// Writes the sum of stretches of `from`, each with a weight and where it begins.
#[inline(always)]
fn combine<V: Vector>(
    terms: &[(V::Elem, usize)],
    from: &[V::Elem],
    start: Option<V::Elem>,
    to: &mut [V::Elem],
) {
    check_terms(terms, to.len().next_multiple_of(V::LANES), from);
    let narrow = to.len() % (WIDE * V::LANES);
    let wide = to.len() - narrow;
    for (i, to) in to[..wide].chunks_exact_mut(WIDE * V::LANES).enumerate() {
        let from = &from[i * WIDE * V::LANES..];
        // SAFETY: checked above.
        let sums: [[V; 1]; WIDE] = unsafe { add_terms(terms, from, V::LANES, [0], start) };
        for (sums, to) in sums.into_iter().zip(to.chunks_exact_mut(V::LANES)) {
            put(sums, start, [0], to);
        }
    }
    for (i, to) in to[wide..].chunks_mut(V::LANES).enumerate() {
        let from = &from[wide + i * V::LANES..];
        // SAFETY: checked above.
        let [sums] = unsafe { add_terms::<V, 1, 1>(terms, from, 0, [0], start) };
        put(sums, start, [0], to);
    }
}

/// Panics where a stretch of `len` numbers leaves `from`.
#[inline(always)]
fn check_terms<T>(terms: &[(T, usize)], len: usize, from: &[T]) {
    assert!(terms.iter().all(|term| term.1 + len <= from.len()), "rows that were copied");
}

/// Sums of vectors of `from`: those at `columns` of `R` rows, `step` numbers apart.
///
/// # Safety
/// `from` holds them.
#[inline(always)]
unsafe fn add_terms<V: Vector, const R: usize, const N: usize>(
    terms: &[(V::Elem, usize)],
    from: &[V::Elem],
    step: usize,
    columns: [usize; N],
    start: Option<V::Elem>,
) -> [[V; N]; R] {
    let mut sums = [[start.map_or(V::zero(), V::splat); N]; R];
    for &(weight, first) in terms {
        let weight = V::splat(weight);
        for (i, sums) in sums.iter_mut().enumerate() {
            for (sum, column) in sums.iter_mut().zip(columns) {
                // SAFETY: the caller vouches for it.
                let x = unsafe { V::load(from.as_ptr().add(first + i * step + column)) };
                *sum = weight.mul_add(x, *sum);
            }
        }
    }
    sums
}

/// Writes vectors at `columns` of `to`, which may overlap, or adds to what is there where there is
/// no start.
#[inline(always)]
fn put<V: Vector, const N: usize>(
    mut sums: [V; N],
    start: Option<V::Elem>,
    columns: [usize; N],
    to: &mut [V::Elem],
) {
    if start.is_none() {
        for (sum, column) in sums.iter_mut().zip(columns) {
            *sum = sum.add(V::read(&to[column..]));
        }
    }
    for (sum, column) in sums.iter().zip(columns) {
        V::prefetch_ahead(&to[column..]);
        sum.write(&mut to[column..]);
    }
}
