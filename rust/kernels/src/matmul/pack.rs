//! Copies of the operands in the order in which tiles read them.
//!
//! The right matrix becomes panels of as many columns as a tile is wide, cut into blocks of
//! rows; the last panel is as many whole vectors wide as it needs, filled with zeros. The
//! left matrix becomes panels of about as many rows as a tile is high.

use ndarray::ArrayView2;

use super::Mat;
use super::shape::{TileShape, tile_shape};
use crate::memory::Scratch;
use crate::simd::{Isa, MAX_LANES, Vector};
use crate::{Element, threads, vectorized};

/// Most panels of the right matrix that are packed together.
const PANELS: usize = 8;

/// Most rows of a packed matrix in a block. Each block means that the product is read and written once
/// more; the sum of more terms at a time would cost accuracy.
const DEEPEST: usize = 512;

/// Columns of the left matrix that are copied together.
const TOGETHER: usize = 16;

/// Columns of the left matrix that are in registers at the same time.
const AT_ONCE: usize = 8;

/// Rows of the right matrix from the one that is copied to the one that is asked for.
const AHEAD: usize = 8;

/// A right-hand matrix `[K, N]` in the layout the inner loops read, for use in many products.
#[derive(Debug)]
pub struct Packed<T: Element> {
    data: Scratch<T>,
    rows: usize,
    columns: usize,
    shape: TileShape,
}

impl<T: Element> Packed<T> {
    /// Packs `b` `[K, N]`, of any strides.
    pub fn new(b: ArrayView2<'_, T>) -> Self {
        Self::of(Mat::of(b))
    }

    /// Packs `b` in blocks of rows that are as equal as can be.
    pub(super) fn of(b: Mat<T>) -> Self {
        Self::shaped(b, tile_shape::<T>(b.columns))
    }

    /// The same for tiles of this height and width.
    pub(super) fn shaped(b: Mat<T>, tile: TileShape) -> Self {
        let blocks = b.rows.div_ceil(DEEPEST).max(1);
        let depth = b.rows.div_ceil(blocks).max(1);
        let shape = TileShape { depth, ..tile };
        let padded = b.columns.next_multiple_of(shape.lanes);
        let mut data = Scratch::new(b.rows * padded);
        let cost = b.rows * padded;
        let threads = threads::useful(cost);
        // Rows are read in longer stretches the more panels go together.
        let share = padded.div_ceil(shape.columns * 2 * threads);
        let group = shape.columns * if threads > 1 { PANELS.min(share) } else { PANELS };
        let out = threads::Shared::new(&mut data);
        threads::for_each(padded.div_ceil(group), cost, |task| {
            let column = task * group;
            let width = group.min(padded - column);
            let count = width.min(b.columns - column);
            for row in (0..b.rows).step_by(shape.depth) {
                let depth = shape.depth.min(b.rows - row);
                let start = row * padded + column * depth;
                // SAFETY: blocks of rows and groups of panels do not overlap, and the rows and
                // columns asked for lie inside the matrix.
                unsafe {
                    let out = out.slice(start..start + depth * width);
                    if b.column_stride == 1 {
                        let from = b.at(row, column);
                        panels_of_rows(from, b.row_stride, depth, count, shape.columns, out);
                    } else {
                        for (i, out) in out.chunks_mut(shape.columns * depth).enumerate() {
                            let first = i * shape.columns;
                            let from = b.at(row, column + first);
                            let count = shape.columns.min(count - first);
                            let width = out.len() / depth;
                            lines(from, b.row_stride, b.column_stride, depth, count, width, out);
                        }
                    }
                }
            }
        });
        Self { data, rows: b.rows, columns: b.columns, shape }
    }

    /// Rows, K.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns, N.
    pub fn columns(&self) -> usize {
        self.columns
    }

    pub(super) fn shape(&self) -> TileShape {
        self.shape
    }

    /// The panel that begins at `column`, from `row` on, which begins a block.
    pub(super) fn panel(&self, row: usize, column: usize) -> &[T] {
        let padded = self.columns.next_multiple_of(self.shape.lanes);
        let width = self.shape.columns.min(padded - column);
        let depth = self.shape.depth.min(self.rows - row);
        let start = row * padded + column * depth;
        &self.data[start..start + depth * width]
    }
}

vectorized! {
    /// Copies `count` numbers of each of `depth` rows, `step` apart, into panels of `width` columns,
    /// the last as many whole vectors wide as it needs. Rows are read in one go, because each may
    /// lie in a page of its own.
    pub(crate) fn panels_of_rows<S, T: Element>(
        source: *const T,
        step: isize,
        depth: usize,
        count: usize,
        width: usize,
        out: &mut [T],
    ) {
        let lanes = T::V::<S>::LANES;
        let whole = out.len() / depth;
        assert!(count <= whole && whole.is_multiple_of(lanes));
        let out = out.as_mut_ptr();
        for k in 0..depth {
            let row = source.wrapping_offset(k as isize * step);
            let ahead = row.wrapping_offset(AHEAD as isize * step);
            for panel in (0..whole).step_by(width) {
                let wide = width.min(whole - panel);
                for i in (0..wide).step_by(lanes) {
                    let from = panel + i;
                    let real = lanes.min(count.saturating_sub(from));
                    // SAFETY: the row holds `count` numbers, and `out` holds `depth` rows of `whole`.
                    unsafe {
                        let to = out.add(panel * depth + k * wide + i);
                        T::V::<S>::prefetch_far(ahead.wrapping_add(from));
                        if real == lanes {
                            T::V::<S>::load(row.add(from)).store(to);
                        } else {
                            T::V::<S>::load_first(row.wrapping_add(from), real).store(to);
                        }
                    }
                }
            }
        }
    }
}

/// Copies `rows` rows from `row` on and `depth` columns from `column` on as panels of balanced
/// heights, each a column after the other.
///
/// # Safety
/// The rows and columns lie inside the matrix; `out` holds `rows * depth` numbers.
pub(super) unsafe fn pack_left<T: Element>(
    a: &Mat<T>,
    row: usize,
    rows: usize,
    column: usize,
    depth: usize,
    tile_rows: usize,
    out: &mut [T],
) {
    if a.row_stride == 1 {
        return panels_of_columns(a.at(row, column), a.column_stride, rows, depth, tile_rows, out);
    }
    for (first, height) in balanced(rows, tile_rows) {
        let out = &mut out[first * depth..][..height * depth];
        let start = a.at(row + first, column);
        lines(start, a.column_stride, a.row_stride, depth, height, height, out);
    }
}

vectorized! {
    /// Copies `depth` columns of `rows` numbers, `step` apart, into panels of balanced heights, a few
    /// columns at a time: each may lie in a page of its own, and panels are a few sets of the cache
    /// apart.
    fn panels_of_columns<S, T: Element>(
        source: *const T,
        step: isize,
        rows: usize,
        depth: usize,
        tile_rows: usize,
        out: &mut [T],
    ) {
        let lanes = T::V::<S>::LANES;
        assert!(out.len() >= rows * depth && tile_rows <= lanes);
        let out = out.as_mut_ptr();
        for start in (0..depth).step_by(TOGETHER) {
            for (first, height) in balanced(rows, tile_rows) {
                let mut k = start;
                while k < depth.min(start + TOGETHER) {
                    let from = source.wrapping_offset(k as isize * step).wrapping_add(first);
                    let to = out.wrapping_add(first * depth + k * height);
                    // SAFETY: a column holds `rows` numbers, and `out` `depth` times as many.
                    unsafe {
                        if k + AT_ONCE <= depth {
                            // A full register ends before the columns after these do.
                            let whole = (k + AT_ONCE) * height + lanes <= depth * height;
                            columns::<T::V<S>, AT_ONCE>(from, step, height, to, whole);
                            k += AT_ONCE;
                        } else {
                            columns::<T::V<S>, 1>(from, step, height, to, false);
                            k += 1;
                        }
                    }
                }
            }
        }
    }
}

/// Copies `N` columns of `height` numbers, `step` apart, one after the other: all are read before
/// the first is written, which reads must not wait for.
///
/// # Safety
/// The columns are readable; `to` has room for them, and for a full register in place of the last
/// where `whole`.
#[inline(always)]
unsafe fn columns<V: Vector, const N: usize>(
    from: *const V::Elem,
    step: isize,
    height: usize,
    to: *mut V::Elem,
    whole: bool,
) {
    let mut columns = [V::zero(); N];
    for (k, column) in columns.iter_mut().enumerate() {
        let from = from.wrapping_offset(k as isize * step);
        V::prefetch_far(from.wrapping_offset(TOGETHER as isize * step));
        *column = V::load_first(from, height);
    }
    for (k, column) in columns.iter().enumerate() {
        store_line(*column, to.add(k * height), height, whole);
    }
}

/// Writes the first `count` lanes of `line`, or all where it may be `whole`: what a short register
/// writes beyond its line, the next line overwrites. Long ones would nearly always write to two
/// cache lines.
///
/// # Safety
/// There is room for `count` numbers, and for a full register where `whole`.
#[inline(always)]
unsafe fn store_line<V: Vector>(line: V, to: *mut V::Elem, count: usize, whole: bool) {
    if V::LANES < MAX_LANES && whole {
        line.store(to);
    } else {
        line.store_first(to, count);
    }
}

vectorized! {
    /// `depth` lines of `width` numbers: number `i` of line `k` is the one at `k` steps and `i`
    /// places from `source` for `i < count`, and zero beyond.
    pub(super) fn lines<S, T: Element>(
        source: *const T,
        step: isize,
        place: isize,
        depth: usize,
        count: usize,
        width: usize,
        out: &mut [T],
    ) {
        assert!(out.len() >= depth * width && count <= width);
        let lanes = T::V::<S>::LANES;
        let out = out.as_mut_ptr();
        for i in (0..width).step_by(lanes) {
            let (wide, real) = (lanes.min(width - i), lanes.min(count.saturating_sub(i)));
            // SAFETY: the caller's numbers are readable, and `out` has `depth` lines of `width`.
            unsafe {
                let column = source.wrapping_offset(i as isize * place);
                if place == 1 {
                    for k in 0..depth {
                        let from = column.wrapping_offset(k as isize * step);
                        let line = T::V::<S>::load_first(from, real);
                        line.store_first(out.add(k * width + i), wide);
                    }
                } else if step == 1 {
                    transposed::<S, T>(column, place, depth, real, width, out.add(i), wide);
                } else {
                    for k in 0..depth {
                        let from = column.wrapping_offset(k as isize * step);
                        for j in 0..wide {
                            let at = from.wrapping_offset(j as isize * place);
                            *out.add(k * width + i + j) = if j < real { *at } else { T::zero() };
                        }
                    }
                }
            }
        }
    }
}

/// Writes lines of `wide` numbers, `width` apart, each the numbers at one step from `real` rows
/// that lie `place` apart, read in squares that are turned in registers.
///
/// # Safety
/// The rows hold `depth` numbers each, and there is room for `depth` lines.
#[inline(always)]
pub(crate) unsafe fn transposed<S: Isa, T: Element>(
    source: *const T,
    place: isize,
    depth: usize,
    real: usize,
    width: usize,
    out: *mut T,
    wide: usize,
) {
    let lanes = T::V::<S>::LANES;
    // Numbers to the first one that begins a line: others would be read with two lines each.
    let line = lanes * size_of::<T>();
    let first = (source as usize).wrapping_neg() % line / size_of::<T>();
    let mut k = 0;
    while k < depth {
        let steps = if k == 0 && first > 0 { first } else { lanes }.min(depth - k);
        let mut block = [T::V::<S>::zero(); MAX_LANES];
        for (j, row) in block[..real].iter_mut().enumerate() {
            let from = source.wrapping_offset(j as isize * place).add(k);
            *row = T::V::<S>::load_first(from, steps);
            T::V::<S>::prefetch_far(from.wrapping_offset(real as isize * place));
        }
        T::V::<S>::transpose(&mut block);
        for (j, line) in block[..steps].iter().enumerate() {
            let at = (k + j) * width;
            let whole = wide == width && at + lanes <= depth * width;
            store_line(*line, out.add(at), wide, whole);
        }
        k += steps;
    }
}

/// `rows` cut into the fewest panels of at most `most`, as equal as can be: first row and height.
pub(crate) fn balanced(rows: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let panels = rows.div_ceil(most).max(1);
    let (height, longer) = (rows / panels, rows % panels);
    (0..panels).map(move |i| (i * height + i.min(longer), height + usize::from(i < longer)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_are_balanced_and_cover_all_rows() {
        let panels: Vec<_> = balanced(32, 6).collect();
        assert_eq!(panels, [(0, 6), (6, 6), (12, 5), (17, 5), (22, 5), (27, 5)]);
        assert_eq!(balanced(0, 6).map(|(_, height)| height).sum::<usize>(), 0);
    }
}
