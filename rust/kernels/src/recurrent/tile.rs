//! The product inside a step: a few rows times one panel of packed weights, in registers.
#![allow(unsafe_code)]

use ndarray::ArrayView2;

use crate::memory::Scratch;
use crate::simd::{MAX_LANES, Vector, prefetch};
use crate::threads::part_of;
use crate::{Element, threads, vectorized};

/// Registers that hold sums where there are 32 of them, and where there are 16.
const MANY: usize = 24;
const FEW: usize = 12;

/// Most cache lines asked for ahead.
const LINES: usize = 12 * MANY;

/// Sums of one product, row after row.
#[repr(align(64))]
#[derive(Debug)]
pub struct Tile<T>(pub(super) [T; MANY * MAX_LANES]);

impl<T: Element> Tile<T> {
    pub(super) fn new() -> Self {
        Self([T::zero(); MANY * MAX_LANES])
    }
}

/// Cache lines that the cell's equations will need after a product, asked for while it runs.
#[derive(Debug)]
pub struct Ahead {
    lines: [*const u8; LINES],
    count: usize,
}

impl Ahead {
    pub(super) fn new() -> Self {
        Self { lines: [std::ptr::null(); LINES], count: 0 }
    }

    #[inline(always)]
    pub(super) fn clear(&mut self) {
        self.count = 0;
    }

    /// The line in which `numbers` begin.
    #[inline(always)]
    pub(super) fn add<T>(&mut self, numbers: &[T]) {
        if self.count < LINES {
            self.lines[self.count] = numbers.as_ptr().cast();
            self.count += 1;
        }
    }
}

vectorized! {
    /// Lanes of a register.
    pub(super) fn lanes<S, T: Element>() -> usize {
        T::V::<S>::LANES
    }
}

/// Most rows of a tile that is `vectors` registers wide.
pub(super) const fn most_rows(lanes: usize, vectors: usize) -> usize {
    (if lanes == MAX_LANES { MANY } else { FEW }) / vectors
}

/// `tile = a b` for `rows` rows of `a`, which lie `stride` apart, and the panel `b` `[depth, N
/// vectors]`.
#[inline(always)]
pub(super) fn product<V: Vector, const N: usize>(
    rows: usize,
    depth: usize,
    a: &[V::Elem],
    stride: usize,
    b: &[V::Elem],
    ahead: &Ahead,
    tile: &mut Tile<V::Elem>,
) {
    assert!(rows >= 1 && depth <= stride && (rows - 1) * stride + depth <= a.len());
    assert!(depth * N * V::LANES <= b.len());
    let (a, b, tile) = (a.as_ptr(), b.as_ptr(), &mut tile.0);
    let ahead = &ahead.lines[..ahead.count];
    let most = most_rows(V::LANES, N);
    // SAFETY: both operands are as long as asserted, and `most` rows fit in the tile.
    unsafe {
        match rows {
            1 => sums::<V, 1, N>(depth, a, stride, b, ahead, tile),
            2 => sums::<V, 2, N>(depth, a, stride, b, ahead, tile),
            3 => sums::<V, 3, N>(depth, a, stride, b, ahead, tile),
            4 if most >= 4 => sums::<V, 4, N>(depth, a, stride, b, ahead, tile),
            5 if most >= 5 => sums::<V, 5, N>(depth, a, stride, b, ahead, tile),
            6 if most >= 6 => sums::<V, 6, N>(depth, a, stride, b, ahead, tile),
            7 if most >= 7 => sums::<V, 7, N>(depth, a, stride, b, ahead, tile),
            8 if most >= 8 => sums::<V, 8, N>(depth, a, stride, b, ahead, tile),
            9 if most >= 9 => sums::<V, 9, N>(depth, a, stride, b, ahead, tile),
            10 if most >= 10 => sums::<V, 10, N>(depth, a, stride, b, ahead, tile),
            11 if most >= 11 => sums::<V, 11, N>(depth, a, stride, b, ahead, tile),
            12 if most >= 12 => sums::<V, 12, N>(depth, a, stride, b, ahead, tile),
            _ => unreachable!("a tile has at most {most} rows"),
        }
    }
}

/// # Safety
/// `a` holds `M` rows of `depth` numbers `stride` apart, `b` holds `depth` times `N` registers, and
/// `M * N` registers fit in `tile`.
#[inline(always)]
unsafe fn sums<V: Vector, const M: usize, const N: usize>(
    depth: usize,
    a: *const V::Elem,
    stride: usize,
    b: *const V::Elem,
    ahead: &[*const u8],
    tile: &mut [V::Elem],
) {
    let mut sums = [[V::zero(); N]; M];
    // A product with few sums cannot hide the latency of their additions: twice as many.
    let mut more = [[V::zero(); N]; M];
    let mut k = 0;
    for (index, line) in ahead.iter().chain([&std::ptr::null()]).enumerate() {
        let end = part_of(depth, ahead.len() + 1, index).end;
        if !line.is_null() {
            prefetch::<true>(*line);
        }
        if M * N < 8 {
            while k + 2 <= end {
                add::<V, M, N>(k, a, stride, b, &mut sums);
                add::<V, M, N>(k + 1, a, stride, b, &mut more);
                k += 2;
            }
        }
        while k < end {
            add::<V, M, N>(k, a, stride, b, &mut sums);
            k += 1;
        }
    }
    for i in 0..M {
        for j in 0..N {
            let sum = if M * N < 8 { sums[i][j].add(more[i][j]) } else { sums[i][j] };
            sum.store(tile.as_mut_ptr().add((i * N + j) * V::LANES));
        }
    }
}

/// Adds column `k` of `a` times row `k` of `b`.
///
/// # Safety
/// As for [`sums`], with `k < depth`.
#[inline(always)]
unsafe fn add<V: Vector, const M: usize, const N: usize>(
    k: usize,
    a: *const V::Elem,
    stride: usize,
    b: *const V::Elem,
    sums: &mut [[V; N]; M],
) {
    let mut w = [V::zero(); N];
    for j in 0..N {
        w[j] = V::load(b.add((k * N + j) * V::LANES));
    }
    for i in 0..M {
        let x = V::splat(*a.add(i * stride + k));
        for j in 0..N {
            sums[i][j] = x.mul_add(w[j], sums[i][j]);
        }
    }
}

/// The weight `[G H, H]` transposed into panels `[H, G, units]`, zero beyond the last unit, so that
/// one panel gives all gates of its units.
pub(super) fn pack_gates<T: Element>(
    weight: ArrayView2<'_, T>,
    gates: usize,
    units: usize,
) -> Scratch<T> {
    // So many columns of the weight at a time stay in the first cache.
    const BLOCK: usize = 16;
    let hidden = weight.ncols();
    let weight = weight.as_standard_layout();
    let weight = weight.as_slice().expect("standard layout");
    let width = gates * units;
    let mut packed = Scratch::new(hidden.div_ceil(units) * hidden * width);
    let cost = packed.len();
    threads::for_each_piece(&mut packed, hidden * width, cost, |panel, packed| {
        for start in (0..hidden).step_by(BLOCK) {
            let end = (start + BLOCK).min(hidden);
            for j in 0..width {
                let unit = panel * units + j % units;
                if unit < hidden {
                    let row = &weight[(j / units * hidden + unit) * hidden..][..hidden];
                    for k in start..end {
                        packed[k * width + j] = row[k];
                    }
                } else {
                    for k in start..end {
                        packed[k * width + j] = T::zero();
                    }
                }
            }
        }
    });
    packed
}

/// The weight `[G H, H]` in panels `[G H, units]`, zero beyond the last unit.
pub(super) fn pack_units<T: Element>(weight: ArrayView2<'_, T>, units: usize) -> Scratch<T> {
    let (depth, hidden) = weight.dim();
    let weight = weight.as_standard_layout();
    let weight = weight.as_slice().expect("standard layout");
    let mut packed = Scratch::new(hidden.div_ceil(units) * depth * units);
    let cost = packed.len();
    threads::for_each_piece(&mut packed, depth * units, cost, |panel, packed| {
        let first = panel * units;
        let count = units.min(hidden - first);
        for (to, from) in packed.chunks_exact_mut(units).zip(weight.chunks_exact(hidden)) {
            to[..count].copy_from_slice(&from[first..first + count]);
            to[count..].fill(T::zero());
        }
    });
    packed
}
