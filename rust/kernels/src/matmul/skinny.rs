//! Few rows: the right matrix is read once, where it lies, because packing it would cost as much
//! as the product.

use std::ops::Range;

use super::epilogue::Epilogue;
use super::pack::balanced;
use super::{Mat, Target, long, work};
use crate::memory::Scratch;
use crate::simd::Vector;
use crate::{Element, threads, vectorized};

/// Most rows with which rows of the right matrix are read in place.
const ROWS_ALONG: usize = 8;
/// Most rows with which columns of the right matrix are read in place; fewer where they are short.
const ROWS_ACROSS: usize = 64;
/// Most columns of the result in a task, which stay in the second cache.
const COLUMNS: usize = 1 << 14;
/// Bytes of a right matrix that the second cache may still hold since they were last read.
const CLOSE: usize = 1 << 19;
/// Most columns of a result of one row that stays in the first cache.
const NEAR_COLUMNS: usize = 1 << 12;
/// Rows of the right matrix in a stretch.
const STRETCH: usize = 96;
/// Rows of the right matrix that are read together, with a pair of rows of the result: a set of the
/// first cache holds a line of each, which is where they fall if they lie a power of two apart.
const TOGETHER: usize = 6;
/// Cost of a task worth cutting columns for.
const TASK: usize = 10_000;
/// Columns of the right matrix that are multiplied together.
const WIDE: usize = 4;
/// Numbers of the left matrix that stay in the first cache beside columns of the right one.
const NEAR: usize = 6 << 10;

/// Whether the right matrix should be read where it lies.
pub(super) fn suits<T>(a: &Mat<T>, b: &Mat<T>) -> bool {
    suits_along(a, b) || across(a, b)
}

/// Whether by its rows. A matrix of one column or row is contiguous both ways.
pub(super) fn suits_along<T>(a: &Mat<T>, b: &Mat<T>) -> bool {
    b.column_stride == 1 && a.rows <= ROWS_ALONG && b.columns >= 8
}

/// Whether by its columns.
pub(super) fn across<T>(a: &Mat<T>, b: &Mat<T>) -> bool {
    b.row_stride == 1 && a.rows <= (b.rows / 6).clamp(4, ROWS_ACROSS) && b.rows >= 8
}

/// The product of a left matrix of few rows.
pub(super) fn multiply<T: Element>(
    a: Mat<T>,
    b: Mat<T>,
    c: Target<T>,
    accumulate: bool,
    epilogue: &Epilogue<'_, T>,
) {
    let copied = if a.column_stride == 1 { Scratch::new(0) } else { copy_rows(&a) };
    let left = match a.column_stride {
        1 => Rows { start: a.start, stride: a.row_stride, count: a.rows, len: a.columns },
        _ => Rows {
            start: copied.as_ptr(),
            stride: a.columns as isize,
            count: a.rows,
            len: a.columns,
        },
    };
    let along = suits_along(&a, &b);
    let cost = work(a.rows.max(4), b.columns, b.rows);
    if along && a.rows == 1 && b.rows >= 2 * STRETCH && b.columns <= NEAR_COLUMNS {
        return in_stretches(left, b, c, accumulate, cost, epilogue);
    }
    // Memory gives long stretches of a row faster than short ones. Columns are cut finer, so that a
    // slower processor holds nobody up for long.
    let useful = threads::useful(cost);
    let tasks = if along { useful } else { (cost / TASK).clamp(2 * useful, 4 * useful) };
    let width = b.columns.div_ceil(tasks).next_multiple_of(16).min(COLUMNS);
    let distant = b.rows * b.columns * size_of::<T>() > CLOSE;
    threads::for_each(b.columns.div_ceil(width), cost, |task| {
        let column = task * width;
        let count = width.min(b.columns - column);
        let (start, out) = (b.at(0, column), c.at(0, column));
        if along {
            rows_along(left, start, b.row_stride, out, c.stride, count, accumulate);
        } else {
            rows_across(left, start, b.column_stride, out, c.stride, count, accumulate, distant);
        }
        // SAFETY: no other task has these columns.
        unsafe { epilogue.finish(c, 0, a.rows, column, count) };
    });
}

/// The product of one row: sums over stretches of whole rows of the right matrix, which memory gives
/// fastest, and then the sum of these.
fn in_stretches<T: Element>(
    left: Rows<T>,
    b: Mat<T>,
    c: Target<T>,
    accumulate: bool,
    cost: usize,
    epilogue: &Epilogue<'_, T>,
) {
    let stretches = b.rows.div_ceil(STRETCH);
    let mut sums = Scratch::new(stretches * b.columns);
    threads::for_each_piece(&mut sums, b.columns, cost, |i, sums| {
        let rows = threads::part_of(b.rows, stretches, i);
        let start = b.at(rows.start, 0);
        rows_along(left.part(&rows), start, b.row_stride, sums.as_mut_ptr(), 0, b.columns, false);
    });
    long::put_together(&sums, (1, b.columns), c, accumulate, epilogue);
}

/// Rows of the left matrix, each contiguous.
#[derive(Clone, Copy)]
struct Rows<T> {
    start: *const T,
    stride: isize,
    count: usize,
    len: usize,
}

// SAFETY: part of a view that outlives the call it is used in, and is only read.
unsafe impl<T: Sync> Sync for Rows<T> {}

impl<T> Rows<T> {
    /// These numbers of every row.
    fn part(self, numbers: &Range<usize>) -> Self {
        Self { start: self.start.wrapping_add(numbers.start), len: numbers.len(), ..self }
    }
}

fn copy_rows<T: Element>(a: &Mat<T>) -> Scratch<T> {
    let mut copy = Scratch::new(a.rows * a.columns);
    for row in 0..a.rows {
        for k in 0..a.columns {
            // SAFETY: inside the matrix.
            copy[row * a.columns + k] = unsafe { *a.at(row, k) };
        }
    }
    copy
}

vectorized! {
    /// Sums of rows of `b`, `step` apart, weighted by each row of `left`.
    fn rows_along<S, T: Element>(
        left: Rows<T>,
        b: *const T,
        step: isize,
        c: *mut T,
        stride: usize,
        columns: usize,
        accumulate: bool,
    ) {
        // SAFETY: `k` rows of `b` and `rows` rows of `c` have `columns` numbers.
        unsafe {
            if !accumulate {
                for i in 0..left.count {
                    std::slice::from_raw_parts_mut(c.add(i * stride), columns).fill(T::zero());
                }
            }
            // Every vector after these lies in one cache line, if rows are whole lines apart.
            let head = b.align_offset(64).min(columns);
            let block = (CLOSE / size_of::<T>() / columns).next_multiple_of(TOGETHER);
            for from in (0..left.len).step_by(block) {
                let to = left.len.min(from + block);
                let whole = to - (to - from) % TOGETHER;
                for row in (0..left.count).step_by(2) {
                    for k in (from..whole).step_by(TOGETHER).chain(whole..to) {
                        let weights = left.start.offset(row as isize * left.stride).add(k);
                        let b = b.offset(k as isize * step);
                        let c = c.add(row * stride);
                        macro_rules! add {
                            ($m:literal, $k:expr) => {
                                add_rows::<T::V<S>, $m, { $k }>(
                                    weights, left.stride, b, step, c, stride, head, columns,
                                )
                            };
                        }
                        match (row + 1 < left.count, k < whole) {
                            (true, true) => add!(2, TOGETHER),
                            (true, false) => add!(2, 1),
                            (false, true) => add!(1, TOGETHER),
                            (false, false) => add!(1, 1),
                        }
                    }
                }
            }
        }
    }
}

/// Adds `K` rows of `b`, weighted by `K` numbers of each row of `left`, to `M` rows of `c`: first
/// `head` columns, then the others.
///
/// # Safety
/// The rows of `b` and `c` hold `columns` numbers, those of `left` hold `K`.
#[inline(always)]
unsafe fn add_rows<V: Vector, const M: usize, const K: usize>(
    left: *const V::Elem,
    left_row: isize,
    b: *const V::Elem,
    step: isize,
    c: *mut V::Elem,
    stride: usize,
    head: usize,
    columns: usize,
) {
    let mut weights = [[V::zero(); K]; M];
    for i in 0..M {
        for k in 0..K {
            weights[i][k] = V::splat(*left.offset(i as isize * left_row).add(k));
        }
    }
    let mut column = 0;
    while column < columns {
        let edge = if column < head { head } else { columns };
        let count = V::LANES.min(edge - column);
        let (b, c) = (b.add(column), c.add(column));
        if count == V::LANES {
            let mut right = [V::zero(); K];
            for k in 0..K {
                right[k] = V::load(b.offset(k as isize * step));
            }
            for i in 0..M {
                let mut sum = V::load(c.add(i * stride));
                for k in 0..K {
                    sum = weights[i][k].mul_add(right[k], sum);
                }
                sum.store(c.add(i * stride));
            }
        } else {
            for i in 0..M {
                let mut sum = V::load_first(c.add(i * stride), count);
                for k in 0..K {
                    let right = V::load_first(b.offset(k as isize * step), count);
                    sum = weights[i][k].mul_add(right, sum);
                }
                sum.store_first(c.add(i * stride), count);
            }
        }
        column += count;
    }
}

vectorized! {
    /// Dot products of each row of `left` with columns of `b`, which lie `step` apart.
    fn rows_across<S, T: Element>(
        left: Rows<T>,
        b: *const T,
        step: isize,
        c: *mut T,
        stride: usize,
        columns: usize,
        accumulate: bool,
        distant: bool,
    ) {
        // All rows are read again with every group of columns, and these once for each few rows.
        let passes = left.count.div_ceil(T::V::<S>::TILE_ROWS / 2);
        let blocks = if passes > 1 { (left.count * left.len).div_ceil(NEAR) } else { 1 };
        let block = left.len.div_ceil(blocks).next_multiple_of(T::V::<S>::LANES).max(1);
        for k in (0..left.len).step_by(block) {
            let left = left.part(&(k..left.len.min(k + block)));
            let every = if distant { passes } else { 0 };
            // SAFETY: rows of `left` and columns of `b` hold as many numbers; `c` has these rows and
            // columns.
            unsafe {
                let b = b.wrapping_add(k);
                block_across::<T::V<S>>(left, b, step, c, stride, columns, accumulate || k > 0, every);
            }
        }
    }
}

/// [`rows_across`] for numbers that stay in the first cache; the next columns are asked for at `every`
/// so many steps, or never where that is 0.
///
/// # Safety
/// The rows and columns hold `left.len` numbers each, and `c` has these rows and columns.
#[inline(always)]
unsafe fn block_across<V: Vector>(
    left: Rows<V::Elem>,
    b: *const V::Elem,
    step: isize,
    c: *mut V::Elem,
    stride: usize,
    columns: usize,
    accumulate: bool,
    every: usize,
) {
    for (column, wide) in groups(columns, WIDE) {
        let b = b.wrapping_offset(column as isize * step);
        let mut ahead =
            Ahead { at: b.wrapping_offset(wide as isize * step), step, every, since: 0 };
        for (row, height) in balanced(left.count, V::TILE_ROWS / 2) {
            let rows =
                Rows { start: left.start.wrapping_offset(row as isize * left.stride), ..left };
            let c = c.add(row * stride + column);
            macro_rules! heights {
                ($n:expr, $($m:literal)*) => {
                    match height {
                        $($m => dots::<V, $m, { $n }>(
                            rows, b, step, c, stride, accumulate, &mut ahead,
                        ),)*
                        _ => unreachable!("{height} rows"),
                    }
                };
            }
            if wide == WIDE {
                heights!(WIDE, 1 2 3 4 5 6 7);
            } else {
                heights!(1, 1 2 3 4 5 6 7);
            }
        }
    }
}

/// What is asked for of the columns that come next, which are too short for the processor to foresee:
/// a register of each at a time, spread over the passes of all rows.
struct Ahead<T> {
    at: *const T,
    /// Distance between columns.
    step: isize,
    /// Steps from one time to the next, never where that is 0, and those since the last.
    every: usize,
    since: usize,
}

impl<T: Element> Ahead<T> {
    #[inline(always)]
    fn ask<V: Vector<Elem = T>, const N: usize>(&mut self) {
        self.since += 1;
        if self.since == self.every {
            self.since = 0;
            for j in 0..N {
                V::prefetch(self.at.wrapping_offset(j as isize * self.step));
            }
            self.at = self.at.wrapping_add(V::LANES);
        }
    }
}

/// Groups of `wide` columns, then single ones: first and count.
fn groups(columns: usize, wide: usize) -> impl Iterator<Item = (usize, usize)> {
    let whole = columns - columns % wide;
    (0..whole).step_by(wide).map(move |i| (i, wide)).chain((whole..columns).map(|i| (i, 1)))
}

/// Dot products of the first `M` rows of `left` with `N` columns that lie `step` apart.
///
/// # Safety
/// The rows and columns hold `left.len` numbers each, and `c` has `M` rows of `N`, `stride` apart.
#[inline(always)]
unsafe fn dots<V: Vector, const M: usize, const N: usize>(
    left: Rows<V::Elem>,
    b: *const V::Elem,
    step: isize,
    c: *mut V::Elem,
    stride: usize,
    accumulate: bool,
    ahead: &mut Ahead<V::Elem>,
) {
    let k = left.len;
    let mut sums = [[V::zero(); N]; M];
    let whole = k - k % V::LANES;
    for at in (0..whole).step_by(V::LANES) {
        let mut right = [V::zero(); N];
        for j in 0..N {
            right[j] = V::load(b.wrapping_offset(j as isize * step).wrapping_add(at));
        }
        ahead.ask::<V, N>();
        for i in 0..M {
            let left = V::load(left.start.offset(i as isize * left.stride).add(at));
            for j in 0..N {
                sums[i][j] = left.mul_add(right[j], sums[i][j]);
            }
        }
    }
    if whole < k {
        let rest = k - whole;
        for i in 0..M {
            let left = V::load_first(left.start.offset(i as isize * left.stride).add(whole), rest);
            for j in 0..N {
                let right = V::load_first(b.offset(j as isize * step).add(whole), rest);
                sums[i][j] = left.mul_add(right, sums[i][j]);
            }
        }
    }
    for (i, row) in sums.iter().enumerate() {
        let c = std::slice::from_raw_parts_mut(c.add(i * stride), N);
        let (fours, rest) = row.as_chunks::<WIDE>();
        let fours = fours.iter().flat_map(|&four| V::four_sums(four));
        for (c, sum) in c.iter_mut().zip(fours.chain(rest.iter().map(|sum| sum.sum()))) {
            *c = if accumulate { *c + sum } else { sum };
        }
    }
}
