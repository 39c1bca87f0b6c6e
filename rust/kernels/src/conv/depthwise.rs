//! Convolution of each channel by itself, without columns.
//!
//! A task copies bands of planes with their padding into scratch that stays in the first cache
//! ([`planes`]) and runs over their rows with the taps in registers. The gradient of the input is,
//! for stride 1, the same with turned kernels; else each row of it gathers what the rows of `dy` give
//! it, apart for each remainder of the stride. That of the weight is kept for each band and added up
//! in the order of the bands.
#![allow(unsafe_code)]

use std::ops::Range;
use std::sync::atomic::{Ordering, compiler_fence};

use super::Shape;
use crate::memory::Scratch;
use crate::planes::{self, Bands, Gather, Moves, part};
use crate::simd::{MAX_LANES, Vector};
use crate::threads::{self, Shared};
use crate::{Element, vectorized};

/// Vectors that the plain loops sum at a time.
const WIDE: usize = 4;

/// Whether each channel has kernels of its own that move over it in an ordinary way. Kernels that fill
/// a vector are faster side by side.
pub(super) fn suits(shape: &Shape) -> bool {
    shape.group_c() == 1 && shape.group_o() < MAX_LANES && shape.moves().are_ordinary()
}

impl Shape {
    fn moves(&self) -> Moves {
        Moves {
            image: self.image,
            out: self.out,
            kernel: self.kernel,
            stride: self.stride,
            dilation: self.dilation,
            pad: self.pad.map(|pad| pad as isize),
        }
    }

    /// The convolution of the gradient of the output that gives that of the input, for stride 1.
    fn turned(&self) -> Moves {
        let moves = self.moves();
        let pad = [0, 1].map(|axis| moves.reach(axis) as isize - moves.pad[axis]);
        Moves { image: self.out, out: self.image, pad, ..moves }
    }

    fn bands(&self) -> Bands {
        Bands::new(&self.moves(), self.n * self.c, self.cost() / (self.n * self.c))
    }
}

/// Runs a body for each constant `ROW` below `ROWS`, which is at most 8: places of sums in registers
/// must be constants, which a loop does not promise.
macro_rules! for_rows {
    ($ROWS:expr, $ROW:ident => $body:block) => {
        for_rows!($ROWS, $ROW => $body, 0 1 2 3 4 5 6 7)
    };
    ($ROWS:expr, $ROW:ident => $body:block, $($row:literal)*) => {
        $(if $ROWS > $row {
            const $ROW: usize = $row;
            $body
        })*
    };
}

pub(super) fn forward<T: Element>(
    shape: &Shape,
    x: &[T],
    weight: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
) {
    let (moves, bands) = (shape.moves(), shape.bands());
    let (kernels, taps) = (shape.group_o(), shape.taps());
    let out = Shared::new(y);
    bands.for_each(|piece| {
        let mut seen = Scratch::zeros(bands.seen_len(&moves));
        for index in piece {
            let (plane, band) = (index / bands.count, index % bands.count);
            let rows = bands.rows(shape.out[0], band);
            copy_rows(&moves, &x[plane * shape.plane()..], moves.rows(&rows), &mut seen);
            for kernel in 0..kernels {
                let o = plane % shape.c * kernels + kernel;
                // SAFETY: bands of an output differ.
                let y = unsafe { out.slice(part(plane * kernels + kernel, shape.out, &rows)) };
                let start = Some(bias.map_or(T::zero(), |bias| bias[o]));
                correlate(&moves, &seen, &weight[o * taps..][..taps], start, y);
            }
        }
    });
}

pub(super) fn data_gradient<T: Element>(shape: &Shape, dy: &[T], weight: &[T], dx: &mut [T]) {
    if shape.stride == [1, 1] {
        turned_gradient(shape, dy, weight, dx);
    } else {
        strided_gradient(shape, dy, weight, dx);
    }
}

fn turned_gradient<T: Element>(shape: &Shape, dy: &[T], weight: &[T], dx: &mut [T]) {
    let (moves, bands) = (shape.turned(), shape.bands());
    let (kernels, taps) = (shape.group_o(), shape.taps());
    let mut turned = weight.to_vec();
    turned.chunks_exact_mut(taps).for_each(<[T]>::reverse);
    let out = Shared::new(dx);
    bands.for_each(|piece| {
        let mut seen = Scratch::zeros(bands.seen_len(&moves));
        for index in piece {
            let (plane, band) = (index / bands.count, index % bands.count);
            let rows = bands.rows(shape.image[0], band);
            // SAFETY: bands of the image differ.
            let dx = unsafe { out.slice(part(plane, shape.image, &rows)) };
            for kernel in 0..kernels {
                let dy = &dy[(plane * kernels + kernel) * shape.out_plane()..];
                copy_rows(&moves, dy, moves.rows(&rows), &mut seen);
                let o = plane % shape.c * kernels + kernel;
                let start = (kernel == 0).then(T::zero);
                correlate(&moves, &seen, &turned[o * taps..][..taps], start, dx);
            }
        }
    });
}

fn strided_gradient<T: Element>(shape: &Shape, dy: &[T], weight: &[T], dx: &mut [T]) {
    let (kernels, taps) = (shape.group_o(), shape.taps());
    let planes = shape.n * shape.c;
    let work = shape.cost() / planes;
    Gather::each_band(&shape.moves(), planes, work, dx, |gather, plane, [seen, _], apart| {
        for kernel in 0..kernels {
            let dy = &dy[(plane * kernels + kernel) * shape.out_plane()..];
            copy_rows(&gather.moves, dy, gather.rows.clone(), seen);
            let o = plane % shape.c * kernels + kernel;
            let start = (kernel == 0).then(T::zero);
            add_up(gather, seen, &weight[o * taps..][..taps], start, apart);
        }
    });
}

pub(super) fn weight_gradient<T: Element>(shape: &Shape, dy: &[T], x: &[T], dweight: &mut [T]) {
    const PIECE: usize = 1024;
    let (moves, bands) = (shape.moves(), shape.bands());
    let (kernels, all) = (shape.group_o(), dweight.len());
    let mut parts = Scratch::new(shape.n * bands.count * all);
    let out = Shared::new(&mut parts);
    bands.for_each(|piece| {
        let mut seen = Scratch::zeros(bands.seen_len(&moves));
        for index in piece {
            let (plane, band) = (index / bands.count, index % bands.count);
            let rows = bands.rows(shape.out[0], band);
            copy_rows(&moves, &x[plane * shape.plane()..], moves.rows(&rows), &mut seen);
            let (n, c) = (plane / shape.c, plane % shape.c);
            let taps = kernels * shape.taps();
            let first = (n * bands.count + band) * all + c * taps;
            // SAFETY: each band has a part of its own.
            let sums = unsafe { out.slice(first..first + taps) };
            for (kernel, sums) in sums.chunks_exact_mut(shape.taps()).enumerate() {
                let dy = &dy[part(plane * kernels + kernel, shape.out, &rows)];
                products(&moves, &seen, dy, sums);
            }
        }
    });
    threads::for_each_piece(dweight, PIECE, parts.len() / 8, |index, sum| {
        sum.fill(T::zero());
        for parts in parts.chunks_exact(all) {
            sum.iter_mut().zip(&parts[index * PIECE..]).for_each(|(sum, &part)| *sum += part);
        }
    });
}

vectorized! {
    /// [`planes::copy_rows`] with zeros for padding.
    fn copy_rows<S, T: Element>(moves: &Moves, plane: &[T], rows: Range<usize>, to: &mut [T]) {
        planes::copy_rows::<T::V<S>>(moves, plane, rows, T::zero(), to);
    }
}

vectorized! {
    /// Writes rows of `y` from the rows that they see, on top of `start` or of what is there.
    fn correlate<S, T: Element>(
        moves: &Moves,
        seen: &[T],
        weight: &[T],
        start: Option<T>,
        y: &mut [T],
    ) {
        match moves.kernel {
            [3, 3] if moves.row_by_row() => blocks::<T::V<S>, 3, 3>(moves, seen, weight, start, y),
            [5, 5] if moves.row_by_row() => blocks::<T::V<S>, 5, 5>(moves, seen, weight, start, y),
            _ => correlate_any::<T::V<S>>(moves, seen, weight, start, y),
        }
    }
}

vectorized! {
    /// Products of rows of `dy` with the rows that they see, summed for each tap.
    fn products<S, T: Element>(moves: &Moves, seen: &[T], dy: &[T], sums: &mut [T]) {
        match moves.kernel {
            [3, 3] if moves.row_by_row() => {
                roll_products::<T::V<S>, 3, 3>(moves, seen, dy, sums);
            }
            [5, 5] if moves.row_by_row() => roll_pairs::<T::V<S>, 5>(moves, seen, dy, sums),
            [7, 7] if moves.row_by_row() => roll_pairs::<T::V<S>, 7>(moves, seen, dy, sums),
            _ => products_any::<T::V<S>>(moves, seen, dy, sums),
        }
    }
}

vectorized! {
    /// Writes the sums of `gather` with the weight of each tap, on top of `start` or of what is there.
    fn add_up<S, T: Element>(
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
fn blocks<V: Vector, const KH: usize, const KW: usize>(
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
    let taps: [usize; KW] = std::array::from_fn(|kx| moves.tap(kx));
    let mut fours = y.chunks_exact_mut(4 * width);
    let mut seen = seen;
    for y in fours.by_ref() {
        block::<V, KH, KW, 4>(seen, row_len, &taps, &kernel, start, y);
        seen = &seen[4 * row_len..];
    }
    for y in fours.into_remainder().chunks_exact_mut(width) {
        block::<V, KH, KW, 1>(seen, row_len, &taps, &kernel, start, y);
        seen = &seen[row_len..];
    }
}

/// [`blocks`] for `R` rows.
#[inline(always)]
fn block<V: Vector, const KH: usize, const KW: usize, const R: usize>(
    seen: &[V::Elem],
    row_len: usize,
    taps: &[usize; KW],
    kernel: &[[V; KW]; KH],
    start: Option<V::Elem>,
    y: &mut [V::Elem],
) {
    let width = y.len() / R;
    let mut column = 0;
    while column + V::LANES < width {
        // A last full vector over the one before is cheaper than part of one.
        let second = (column + V::LANES).min(width - V::LANES);
        tile::<V, KH, KW, R, 2>(seen, row_len, taps, kernel, start, [column, second], y);
        column += 2 * V::LANES;
    }
    if column < width {
        tile::<V, KH, KW, R, 1>(seen, row_len, taps, kernel, start, [column], y);
    }
}

/// [`block`] for the vectors of outputs at `columns`, which may overlap.
#[inline(always)]
fn tile<V: Vector, const KH: usize, const KW: usize, const R: usize, const N: usize>(
    seen: &[V::Elem],
    row_len: usize,
    taps: &[usize; KW],
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
        for kx in 0..KW {
            let mut x = [V::zero(); N];
            for j in 0..N {
                // SAFETY: a copied row has room for whole vectors from any tap on.
                x[j] = unsafe { V::load(seen.as_ptr().add(ROW * row_len + taps[kx] + columns[j])) };
            }
            for ky in 0..KH {
                if (ky..R + ky).contains(&ROW) {
                    for j in 0..N {
                        sums[ROW - ky][j] = kernel[ky][kx].mul_add(x[j], sums[ROW - ky][j]);
                    }
                }
            }
        }
    });
    for (sums, y) in sums.iter_mut().zip(y.chunks_exact_mut(width)) {
        if start.is_none() {
            for j in 0..N {
                sums[j] = sums[j].add(V::read(&y[columns[j]..]));
            }
        }
        for j in 0..N {
            sums[j].write(&mut y[columns[j]..]);
        }
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
    for column in (0..width).step_by(V::LANES) {
        // SAFETY: checked above.
        let sums: [V; WIDE] = unsafe { add_terms(terms, &from[column..], step, start) };
        for (sum, to) in sums.into_iter().zip(to.chunks_exact_mut(width)) {
            put(sum, start, &mut to[column..]);
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
        let sums: [V; WIDE] = unsafe { add_terms(terms, from, V::LANES, start) };
        for (sum, to) in sums.into_iter().zip(to.chunks_exact_mut(V::LANES)) {
            put(sum, start, to);
        }
    }
    for (i, to) in to[wide..].chunks_mut(V::LANES).enumerate() {
        // SAFETY: checked above.
        let [sum] = unsafe { add_terms::<V, 1>(terms, &from[wide + i * V::LANES..], 0, start) };
        put(sum, start, to);
    }
}

/// Panics where a stretch of `len` numbers leaves `from`.
#[inline(always)]
fn check_terms<T>(terms: &[(T, usize)], len: usize, from: &[T]) {
    assert!(terms.iter().all(|term| term.1 + len <= from.len()), "rows that were copied");
}

/// Sums of vectors of `from`, `N` for each term, `step` numbers apart.
///
/// # Safety
/// `from` holds them.
#[inline(always)]
unsafe fn add_terms<V: Vector, const N: usize>(
    terms: &[(V::Elem, usize)],
    from: &[V::Elem],
    step: usize,
    start: Option<V::Elem>,
) -> [V; N] {
    let mut sums = [start.map_or(V::zero(), V::splat); N];
    for &(weight, first) in terms {
        let weight = V::splat(weight);
        for (i, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the caller vouches for it.
            let x = unsafe { V::load(from.as_ptr().add(first + i * step)) };
            *sum = weight.mul_add(x, *sum);
        }
    }
    sums
}

/// Writes the first numbers of `to`, or adds to them where there is no start.
#[inline(always)]
fn put<V: Vector>(sum: V, start: Option<V::Elem>, to: &mut [V::Elem]) {
    let sum = if start.is_some() { sum } else { sum.add(V::read(to)) };
    sum.write(to);
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
    if V::TILE_ROWS * V::TILE_VECTORS >= 2 * KH * KW {
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
