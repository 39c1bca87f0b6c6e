//! Large products: blocks of the operands sized for the caches, tiles sized for the registers.

use super::epilogue::Epilogue;
use super::micro::{AHEAD, Panels, tile_of};
use super::pack::{Packed, balanced, pack_left, panels_of_rows};
use super::shape::{TileShape, tile_shape};
use super::{Mat, Target, work};
use crate::memory::Scratch;
use crate::simd::{MAX_LANES, Vector};
use crate::{Element, threads, vectorized};

/// Most rows and most numbers of the left matrix in a block, which stays in the second cache.
const HEIGHT: usize = 336;
const NUMBERS: usize = 224 * 512;

/// Tiles in a block of rows at least, so that a panel of the right matrix is used a few times.
const TILES: usize = 4;

/// Numbers of the right matrix that are packed at a time.
const PACKED_AT_ONCE: usize = 1 << 22;

/// Columns of the product up to which the left matrix is read where it lies: packing would not pay.
const READ_IN_PLACE: usize = 768;

/// Rows up to which the same holds: every group of columns would pack them again.
const FEW_ROWS: usize = 16;

/// Distance between rows above which reading them in place pays for few panels only: what a tile
/// reads of each is then far from what it reads of the others.
const FAR_ROWS: isize = 4096;

/// Distance between columns up to which a transposed left matrix is read where it lies: those
/// farther apart are in pages of their own.
const NEAR_COLUMNS: usize = 128;

/// Bytes of a right matrix whose panels are not worth asking for: the nearest cache holds them all, or
/// most of them.
const SMALL: usize = 24 << 10;

/// Bytes between rows of the right matrix up to which tasks copy panels for themselves: rows
/// farther apart fall on too few sets of the caches.
const NEAR_ROWS: usize = 5 << 10;

/// Rows of the product from which the right matrix is packed for all tasks together; with fewer each
/// may copy the panels it uses.
const PACKS_FROM: usize = 512;

/// The product of matrices in any order.
pub(super) fn multiply<T: Element>(
    a: Mat<T>,
    b: Mat<T>,
    c: Target<T>,
    accumulate: bool,
    epilogue: &Epilogue<'_, T>,
) {
    multiply_shaped(a, b, c, accumulate, epilogue, tile_shape::<T>(b.columns));
}

/// The same by tiles of this height and width.
pub(super) fn multiply_shaped<T: Element>(
    a: Mat<T>,
    b: Mat<T>,
    c: Target<T>,
    accumulate: bool,
    epilogue: &Epilogue<'_, T>,
    tile: TileShape,
) {
    let apart = b.row_stride.unsigned_abs() * size_of::<T>();
    if b.column_stride == 1 && apart <= NEAR_ROWS && a.rows < PACKS_FROM {
        return Job { a, b: Right::Rows(b), c, accumulate, epilogue }.run(tile);
    }
    let width = (PACKED_AT_ONCE / b.rows).max(1024).next_multiple_of(tile.columns).min(b.columns);
    for column in (0..b.columns).step_by(width) {
        let count = width.min(b.columns - column);
        let packed = Packed::shaped(b.columns_from(column, count), tile);
        let whole = count == b.columns;
        let part = Epilogue {
            bias: epilogue.bias.map(|bias| &bias[column..column + count]),
            activation: epilogue.activation,
            before: epilogue.before.map(|t| Target { start: t.at(0, column), ..t }),
        };
        let c = Target { start: c.at(0, column), ..c };
        multiply_packed(a, &packed, c, accumulate, if whole { epilogue } else { &part });
    }
}

/// The product with a right matrix that is packed already.
pub(super) fn multiply_packed<T: Element>(
    a: Mat<T>,
    b: &Packed<T>,
    c: Target<T>,
    accumulate: bool,
    epilogue: &Epilogue<'_, T>,
) {
    if a.rows == 0 || b.columns() == 0 {
        return;
    }
    if a.columns == 0 {
        return no_terms(a.rows, b.columns(), c, accumulate, epilogue);
    }
    Job { a, b: Right::Packed(b), c, accumulate, epilogue }.run(b.shape());
}

/// A product without terms: zero, or what was there, through the epilogue.
pub(super) fn no_terms<T: Element>(
    rows: usize,
    columns: usize,
    c: Target<T>,
    accumulate: bool,
    epilogue: &Epilogue<'_, T>,
) {
    // SAFETY: the target has these rows and columns, and this thread alone writes them.
    unsafe {
        for row in 0..rows {
            if !accumulate {
                std::slice::from_raw_parts_mut(c.at(row, 0), columns).fill(T::zero());
            }
        }
        epilogue.finish(c, 0, rows, 0, columns);
    }
}

/// The right matrix: packed, or rows of which each task copies a panel before it uses it.
#[derive(Clone, Copy)]
enum Right<'a, T: Element> {
    Packed(&'a Packed<T>),
    Rows(Mat<T>),
}

impl<T: Element> Right<'_, T> {
    fn columns(&self) -> usize {
        match self {
            Right::Packed(b) => b.columns(),
            Right::Rows(b) => b.columns,
        }
    }
}

struct Job<'a, T: Element> {
    a: Mat<T>,
    b: Right<'a, T>,
    c: Target<T>,
    accumulate: bool,
    epilogue: &'a Epilogue<'a, T>,
}

/// Part of the left matrix: packed panels, or where it lies, with its strides.
#[derive(Clone, Copy)]
enum Left<T> {
    Packed(*const T),
    InPlace(*const T, isize, isize),
}

impl<T: Element> Job<'_, T> {
    /// Shares the product out as blocks of rows, and groups of columns where the rows are few.
    fn run(&self, tile: TileShape) {
        let (a, columns) = (&self.a, self.b.columns());
        let few = |most| columns <= most || a.rows <= FEW_ROWS;
        let near = a.row_stride == 1 && a.column_stride.unsigned_abs() <= NEAR_COLUMNS;
        let far = a.row_stride > FAR_ROWS && columns > TILES * tile.columns;
        let in_place =
            a.column_stride == 1 && !far && few(READ_IN_PLACE) || near && few(tile.reads_lines_to);
        let cost = work(a.rows, columns, a.columns);
        let (blocks, groups) = share(a.rows, columns, tile, in_place, threads::useful(cost));
        threads::for_each(blocks.len() * groups.len(), cost, |task| {
            let (row, rows) = blocks[task % blocks.len()];
            let (from, to) = groups[task / blocks.len()];
            let depth = tile.depth.min(a.columns);
            let mut left = Scratch::new(if in_place { 0 } else { rows * depth });
            let mut copy = Scratch::new(match self.b {
                Right::Packed(_) => 0,
                Right::Rows(_) => depth * tile.columns,
            });
            for step in (0..a.columns).step_by(tile.depth) {
                let depth = depth.min(a.columns - step);
                // SAFETY: the block lies inside the matrix, and no other task has its rows and
                // columns.
                unsafe {
                    let part = if in_place {
                        Left::InPlace(a.at(row, step), a.row_stride, a.column_stride)
                    } else {
                        pack_left(a, row, rows, step, depth, tile.rows, &mut left);
                        Left::Packed(left.as_ptr())
                    };
                    self.block((row, rows), (step, depth), (from, to), tile, part, &mut copy);
                }
            }
        });
    }

    /// Adds `depth` steps from `step` on to `rows` rows from `row` on and the columns `from` to
    /// `to`, of which `from` begins a panel.
    ///
    /// # Safety
    /// `left` holds these rows and steps; nothing else reads or writes these rows and columns of
    /// the target meanwhile.
    unsafe fn block(
        &self,
        (row, rows): (usize, usize),
        (step, depth): (usize, usize),
        (from, to): (usize, usize),
        tile: TileShape,
        left: Left<T>,
        copy: &mut [T],
    ) {
        let accumulate = self.accumulate || step > 0;
        let last = step + depth == self.a.columns;
        let small = self.a.columns * self.b.columns() * size_of::<T>() <= SMALL;
        for column in (from..to).step_by(tile.columns) {
            let count = tile.columns.min(to - column);
            let width = count.next_multiple_of(tile.lanes);
            let copy = copy.as_mut_ptr();
            let after = column + tile.columns;
            let next = match self.b {
                _ if small || after >= to => std::ptr::null(),
                Right::Packed(b) => b.panel(step, after).as_ptr(),
                Right::Rows(b) => b.at(step, after),
            };
            let packed = |start| Panel { start, step: width as isize, width, copy: None, next };
            let right = match self.b {
                Right::Packed(b) => packed(b.panel(step, column).as_ptr()),
                Right::Rows(b) if count == tile.columns => {
                    let start = b.at(step, column);
                    Panel { start, step: b.row_stride, width, copy: Some(copy), next }
                }
                Right::Rows(b) => {
                    let out = std::slice::from_raw_parts_mut(copy, depth * width);
                    panels_of_rows(b.at(step, column), b.row_stride, depth, count, width, out);
                    packed(copy.cast_const())
                }
            };
            let target = Target { start: self.c.at(row, column), ..self.c };
            panel(rows, depth, tile.rows, left, right, target, count, accumulate);
            if last {
                self.epilogue.finish(self.c, row, rows, column, count);
            }
        }
    }
}

/// Blocks of rows, first and count, and groups of columns, from and to: as many tasks as keep all
/// threads busy to the end.
fn share(
    rows: usize,
    columns: usize,
    tile: TileShape,
    in_place: bool,
    threads: usize,
) -> (Spans, Spans) {
    let tasks = if threads > 1 { 2 * threads } else { 1 };
    let panels = columns.div_ceil(tile.columns);
    // A task that packs its left matrix must have a use for it.
    let fewest = if in_place { 4 } else { 16 };
    let most = rows.div_ceil(TILES * tile.rows);
    let blocks = rows.div_ceil(HEIGHT.min(NUMBERS / tile.depth));
    let groups = tasks.div_ceil(blocks).min(panels / fewest).max(1);
    let blocks = blocks.max(tasks.div_ceil(groups).min(most));
    let groups = match groups {
        2.. if blocks == 1 => groups.next_multiple_of(threads).min(panels),
        _ => groups,
    };
    let even = blocks.next_multiple_of(threads);
    let blocks = balanced(rows, rows.div_ceil(if even <= most { even } else { blocks }));
    let groups = balanced(panels, panels.div_ceil(groups)).map(|(first, count)| {
        (first * tile.columns, ((first + count) * tile.columns).min(columns))
    });
    (blocks.collect(), groups.collect())
}

type Spans = Vec<(usize, usize)>;

/// A panel of the right matrix: where it begins, the distance between its steps, their width in whole
/// vectors, and where the first tile copies it, if it is not packed.
#[derive(Clone, Copy)]
struct Panel<T> {
    start: *const T,
    step: isize,
    width: usize,
    copy: Option<*mut T>,
    /// The one after it, where that will be used and is worth asking for.
    next: *const T,
}

vectorized! {
    /// Tiles of at most `tile_rows` down one right panel of `depth` steps of `width` numbers, to `rows`
    /// rows of `columns` numbers of the target. The pointers hold what these numbers say. The next
    /// panel, if there is one, is asked for meanwhile.
    fn panel<S, T: Element>(
        rows: usize,
        depth: usize,
        tile_rows: usize,
        left: Left<T>,
        right: Panel<T>,
        target: Target<T>,
        columns: usize,
        accumulate: bool,
    ) {
        let lanes = T::V::<S>::LANES;
        let share = depth.div_ceil(rows.div_ceil(tile_rows));
        for (i, (first, height)) in balanced(rows, tile_rows).enumerate() {
            let (a, a_row, a_step) = match left {
                Left::Packed(a) => (a.wrapping_add(first * depth), 1, height as isize),
                Left::InPlace(a, row, step) => (a.wrapping_offset(first as isize * row), row, step),
            };
            let (b, b_step, copy) = match right.copy {
                Some(copy) if i > 0 => (copy.cast_const(), right.width as isize, None),
                copy => (right.start, right.step, copy),
            };
            // Rows in place that lie one after the other are asked for while those before are used.
            let (ahead, ahead_step) = match left {
                Left::InPlace(..) if a_step == 1 && a_row == depth as isize => {
                    (a.wrapping_add(height * depth), height)
                }
                Left::Packed(_) => (a.wrapping_offset(2 * AHEAD * height as isize), height),
                _ => (b, 0),
            };
            let p = Panels {
                k: depth,
                a,
                a_row,
                a_step,
                b,
                b_step,
                copy: copy.unwrap_or(std::ptr::null_mut()),
                ahead,
                ahead_step,
                next: right.next.wrapping_offset((i * share) as isize * right.step),
                next_step: right.step,
                next_lines: if right.next.is_null() { 0 } else { share },
            };
            macro_rules! tile {
                ($n:literal, $copy:literal) => {
                    tile_of::<T::V<S>, $n, $copy>(
                        height,
                        p,
                        target.at(first, 0),
                        target.stride,
                        columns,
                        accumulate,
                    )
                };
            }
            // SAFETY: see above.
            unsafe {
                match (right.width / lanes, copy.is_some()) {
                    (1, true) => tile!(1, true),
                    (1, false) => tile!(1, false),
                    (3, true) if const { T::V::<S>::LANES == MAX_LANES } => tile!(3, true),
                    (3, false) if const { T::V::<S>::LANES == MAX_LANES } => tile!(3, false),
                    (4, true) if const { T::V::<S>::LANES == MAX_LANES } => tile!(4, true),
                    (4, false) if const { T::V::<S>::LANES == MAX_LANES } => tile!(4, false),
                    (2, true) if const { T::V::<S>::TILE_VECTORS > 1 } => tile!(2, true),
                    (2, false) if const { T::V::<S>::TILE_VECTORS > 1 } => tile!(2, false),
                    (vectors, _) => unreachable!("a tile of {vectors} vectors"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::super::shape::tile_shapes;
    use super::*;

    /// Small whole numbers, whose sums are exact in any order.
    fn whole(rows: usize, columns: usize, step: usize) -> Array2<f32> {
        Array2::from_shape_fn((rows, columns), |(i, j)| ((i * 37 + j * step) % 13) as f32 - 6.0)
    }

    #[test]
    fn tiles_of_every_shape_agree() {
        let sizes = [
            (20, 1100, 129),
            (5, 16, 64),
            (1, 1, 1),
            (1, 7, 300),
            (1, 100, 33),
            (2, 64, 65),
            (2, 300_001, 7),
            (3, 17, 5),
            (4, 1030, 9),
            (5, 3, 40),
            (1, 3001, 130),
            (5, 3000, 101),
            (6, 33, 1),
            (8, 300, 70),
            (13, 16, 16),
            (14, 32, 257),
            (29, 31, 37),
            (64, 64, 64),
            (100, 65, 128),
            (169, 48, 513),
            (300, 130, 20),
            (1500, 40, 30),
            (16, 1, 200),
            (64, 1, 400),
            (48, 20, 1),
            (16, 800, 70),
            (17, 801, 270),
            (345, 33, 17),
            (65, 47, 523),
            (16, 99, 900),
            (8, 41, 1000),
        ];
        for tile in tile_shapes::<f32>() {
            for (m, n, k) in sizes {
                let (a, b, bt) = (whole(m, k, 5), whole(k, n, 7), whole(n, k, 11));
                for (b, form) in [(b.view(), "rows"), (bt.t(), "packed")] {
                    let mut expected = a.dot(&b);
                    let mut c = Array2::zeros((m, n));
                    let target = Target { start: c.as_mut_ptr(), stride: n };
                    let (a, b) = (Mat::of(a.view()), Mat::of(b));
                    multiply_shaped(a, b, target, false, &Epilogue::NONE, tile);
                    assert_eq!(c, expected, "{form} {m}x{n}x{k} by {tile:?}");
                    multiply_shaped(a, b, target, true, &Epilogue::NONE, tile);
                    expected *= 2.0;
                    assert_eq!(c, expected, "{form} {m}x{n}x{k} by {tile:?}, added");
                }
            }
        }
    }
}
