//! The product inside a step: a few rows times one panel of packed weights, in registers.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::ops::Range;

use ndarray::ArrayView2;

use super::Cell;
use crate::matmul::{panels_of_rows, transposed};
use crate::memory::Scratch;
use crate::simd::steps::{self, Steps};
use crate::simd::{MAX_LANES, Vector, addresses, prefetch};
use crate::threads::part_of;
use crate::{Element, threads, vectorized};

/// Registers that hold sums where there are 32 of them, and where there are 16.
const MANY: usize = 24;
const FEW: usize = 12;

/// Columns of a panel from the one in use to the one that the nearest cache is asked for.
const AHEAD: usize = 8;

/// Most cache lines asked for ahead.
const LINES: usize = 12 * MANY;

/// Sums of one product, row after row. Nothing is there before: to clear it would take a step of a
/// single sequence a fortieth of its time.
#[repr(align(64))]
#[derive(Debug)]
pub struct Tile<T>([MaybeUninit<T>; MANY * MAX_LANES]);

impl<T: Element> Tile<T> {
    pub(super) fn new() -> Self {
        Self([const { MaybeUninit::uninit() }; MANY * MAX_LANES])
    }

    /// These numbers.
    ///
    /// # Safety
    /// A product wrote them.
    #[inline(always)]
    pub(super) unsafe fn numbers(&self, range: Range<usize>) -> &[T] {
        let numbers = &self.0[range];
        std::slice::from_raw_parts(numbers.as_ptr().cast(), numbers.len())
    }
}

/// Cache lines that the cell's equations will need after a product, asked for while it runs.
#[derive(Debug)]
pub struct Ahead {
    /// The first `count` are there.
    lines: [MaybeUninit<*const u8>; LINES],
    count: usize,
}

impl Ahead {
    pub(super) fn new() -> Self {
        Self { lines: [const { MaybeUninit::uninit() }; LINES], count: 0 }
    }

    #[inline(always)]
    pub(super) fn clear(&mut self) {
        self.count = 0;
    }

    /// The line in which `numbers` begin.
    #[inline(always)]
    pub(super) fn add<T>(&mut self, numbers: &[T]) {
        if self.count < LINES {
            self.lines[self.count].write(numbers.as_ptr().cast());
            self.count += 1;
        }
    }

    #[inline(always)]
    fn lines(&self) -> &[*const u8] {
        let lines = &self.lines[..self.count];
        // SAFETY: so many were written.
        unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len()) }
    }
}

vectorized! {
    /// Lanes of a register.
    pub(super) fn lanes<S, T: Element>() -> usize {
        T::V::<S>::LANES
    }
}

/// The first `count` lanes from `at`.
///
/// # Safety
/// As many numbers, at most a register full, are readable at `at`.
#[inline(always)]
pub(super) unsafe fn load<V: Vector>(at: *const V::Elem, count: usize) -> V {
    if count == V::LANES { V::load(at) } else { V::load_first(at, count) }
}

/// Writes the first `count` lanes to `at`.
///
/// # Safety
/// As many numbers, at most a register full, are writable at `at`.
#[inline(always)]
pub(super) unsafe fn store<V: Vector>(x: V, at: *mut V::Elem, count: usize) {
    if count == V::LANES { x.store(at) } else { x.store_first(at, count) }
}

/// Whether there are registers for [`MANY`] sums.
const fn has_many(lanes: usize) -> bool {
    lanes == MAX_LANES
}

/// Registers of a panel's row that lie together and are multiplied together: all where there are
/// many registers, else pairs, which leave room for the most rows.
pub(super) const fn group(lanes: usize, vectors: usize) -> usize {
    if has_many(lanes) { vectors } else { 2 }
}

/// Registers of units in a panel of a cell: pairs where registers are few, which are multiplied and
/// go through the equations together.
pub(super) const fn spread<C: Cell>(lanes: usize) -> usize {
    if has_many(lanes) { C::SPREAD } else { 2 }
}

/// Most rows of a tile whose panel is `vectors` registers wide.
pub(super) const fn most_rows(lanes: usize, vectors: usize) -> usize {
    (if has_many(lanes) { MANY } else { FEW }) / group(lanes, vectors)
}

/// `tile = a b` for `rows` rows of `a`, which lie `stride` apart, and the panel `b`, groups of
/// `[depth, group]` registers, `N` registers in all.
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
    let (a, b, tile) = (a.as_ptr(), b.as_ptr(), tile.0.as_mut_ptr().cast());
    let ahead = ahead.lines();
    // SAFETY: both operands are as long as asserted, and the rows of any arm fit in the tile.
    unsafe {
        if has_many(V::LANES) || rows * N <= FEW {
            sums_of::<V, N>(rows, depth, a, stride, b, ahead, tile, N);
            return;
        }
        for first in (0..N).step_by(2) {
            let b = b.add(first * depth * V::LANES);
            let ahead = if first + 2 == N { ahead } else { &[] };
            sums_of::<V, 2>(rows, depth, a, stride, b, ahead, tile.add(first * V::LANES), N);
        }
    }
}

/// [`sums`] for a number of rows known at run time.
///
/// # Safety
/// As for [`sums`].
#[inline(always)]
unsafe fn sums_of<V: Vector, const N: usize>(
    rows: usize,
    depth: usize,
    a: *const V::Elem,
    stride: usize,
    b: *const V::Elem,
    ahead: &[*const u8],
    tile: *mut V::Elem,
    wide: usize,
) {
    macro_rules! rows {
        ($($m:literal)*) => {
            match rows {
                $($m if const { $m * N <= if has_many(V::LANES) { MANY } else { FEW } } => {
                    sums::<V, $m, N>(depth, a, stride, b, ahead, tile, wide)
                })*
                _ => unreachable!("a tile of {rows} rows"),
            }
        };
    }
    rows!(1 2 3 4 5 6 7 8 9 10 11 12);
}

/// `M` rows of `N` registers, written into rows of `wide` registers of `tile`.
///
/// # Safety
/// `a` holds `M` rows of `depth` numbers `stride` apart, `b` holds `depth` times `N` registers in
/// groups, and the rows fit in `tile`.
#[inline(always)]
unsafe fn sums<V: Vector, const M: usize, const N: usize>(
    depth: usize,
    a: *const V::Elem,
    stride: usize,
    b: *const V::Elem,
    ahead: &[*const u8],
    tile: *mut V::Elem,
    wide: usize,
) {
    if const { steps::suits::<V>(M, N) && !is_short(M * N) } {
        let steps = Steps { count: depth, a, apart: stride as isize, b, b_step: 2 * V::LANES };
        let mut lines = ahead.iter();
        let at_once = ahead.len().div_ceil((depth / steps::TOGETHER).max(1));
        let sums = steps.sums::<V, M, N, true, true>(|| {
            for line in lines.by_ref().take(at_once) {
                prefetch::<true>(*line);
            }
        });
        return write(&sums, tile, wide);
    }
    let mut sums = [[V::zero(); N]; M];
    // A product with few sums cannot hide the latency of their additions: twice as many.
    let mut more = [[V::zero(); N]; M];
    let mut k = 0;
    for (index, line) in ahead.iter().chain([&std::ptr::null()]).enumerate() {
        let end = part_of(depth, ahead.len() + 1, index).end;
        if !line.is_null() {
            prefetch::<true>(*line);
        }
        if const { is_short(M * N) } {
            while k + 2 <= end {
                add::<V, M, N>(k, depth, a, stride, b, &mut sums);
                add::<V, M, N>(k + 1, depth, a, stride, b, &mut more);
                k += 2;
            }
        }
        while k < end {
            add::<V, M, N>(k, depth, a, stride, b, &mut sums);
            k += 1;
        }
    }
    if const { is_short(M * N) } {
        for (sums, more) in sums.iter_mut().zip(more) {
            for (sum, more) in sums.iter_mut().zip(more) {
                *sum = sum.add(more);
            }
        }
    }
    write(&sums, tile, wide);
}

/// Whether so few sums wait for each other.
const fn is_short(sums: usize) -> bool {
    sums < 8
}

/// Writes sums into rows of `wide` registers.
///
/// # Safety
/// The rows fit in `tile`.
#[inline(always)]
unsafe fn write<V: Vector, const M: usize, const N: usize>(
    sums: &[[V; N]; M],
    tile: *mut V::Elem,
    wide: usize,
) {
    for (i, sums) in sums.iter().enumerate() {
        for (j, sum) in sums.iter().enumerate() {
            sum.store(tile.add((i * wide + j) * V::LANES));
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
    depth: usize,
    a: *const V::Elem,
    stride: usize,
    b: *const V::Elem,
    sums: &mut [[V; N]; M],
) {
    let group = group(V::LANES, N);
    let mut w = [V::zero(); N];
    for j in 0..N {
        let start = j / group * group * depth;
        let at = b.add((start + k * group + j % group) * V::LANES);
        w[j] = V::load(at);
        // Few sums wait for memory, whatever is asked for, and have no time to ask.
        if M * N > 16 {
            V::prefetch(at.wrapping_add(AHEAD * group * V::LANES));
        }
    }
    // More rows than this have no register each for where they begin.
    let rows: [_; M] = match M > 8 {
        true => addresses(a.wrapping_add(k), stride as isize),
        false => std::array::from_fn(|i| a.wrapping_add(i * stride + k)),
    };
    for i in 0..M {
        let x = V::splat(*rows[i]);
        for j in 0..N {
            sums[i][j] = x.mul_add(w[j], sums[i][j]);
        }
    }
}

/// The weight `[G H, H]` transposed into panels `[G units / group, H, group]`, zero beyond the last
/// unit, so that one panel gives all gates of its units.
pub(super) fn pack_gates<T: Element>(
    weight: ArrayView2<'_, T>,
    gates: usize,
    units: usize,
    group: usize,
) -> Scratch<T> {
    let hidden = weight.ncols();
    let weight = weight.as_standard_layout();
    let weight = weight.as_slice().expect("standard layout");
    let width = gates * units;
    let mut packed = Scratch::new(hidden.div_ceil(units) * hidden * width);
    let cost = packed.len();
    threads::for_each_piece(&mut packed, hidden * width, cost, |panel, packed| {
        pack_panel(weight, hidden, panel * units, units, group, packed);
    });
    packed
}

vectorized! {
    /// The panel of the units from `first` on.
    fn pack_panel<S, T: Element>(
        weight: &[T],
        hidden: usize,
        first: usize,
        units: usize,
        group: usize,
        packed: &mut [T],
    ) {
        let lanes = T::V::<S>::LANES;
        let width = packed.len() / hidden;
        assert!(units.is_multiple_of(lanes) && group.is_multiple_of(lanes));
        assert!(width.is_multiple_of(group));
        assert!(weight.len() >= width / units * hidden * hidden);
        for column in (0..width).step_by(lanes) {
            let unit = first + column % units;
            let real = lanes.min(hidden.saturating_sub(unit));
            let row = column / units * hidden + unit;
            let start = column / group * group * hidden + column % group;
            // SAFETY: the weight has `real` rows of `hidden` numbers from `row` on, and the panel a
            // register full in each of `hidden` lines.
            unsafe {
                let from = weight.as_ptr().wrapping_add(row * hidden);
                let to = packed.as_mut_ptr().add(start);
                transposed::<S, T>(from, hidden as isize, hidden, real, group, to, lanes);
            }
        }
    }
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
        panels_of_rows(weight[first..].as_ptr(), hidden as isize, depth, count, units, packed);
    });
    packed
}
