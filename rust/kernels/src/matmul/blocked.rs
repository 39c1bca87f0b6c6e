//! Large products: blocks of the operands sized for the caches, tiles sized for the registers.

use super::epilogue::Epilogue;
use super::micro::{Panels, tile_of};
use super::pack::{Packed, balanced, pack_left};
use super::{Mat, Target, work};
use crate::memory::Scratch;
use crate::simd::Vector;
use crate::{Element, threads, vectorized};

/// Rows of the left matrix in a block, which stays in the second cache.
const HEIGHT: usize = 336;

/// Numbers of the right matrix that are packed at a time.
const PACKED_AT_ONCE: usize = 1 << 22;

/// Columns of the product up to which the left matrix is read where it lies: packing would not pay.
const READ_IN_PLACE: usize = 768;

/// Blocks of rows from which on tasks take whole rows and pack their own part of the left matrix.
const MANY_BLOCKS: usize = 8;

/// The product of matrices in any order.
pub(super) fn multiply<T: Element>(
    a: Mat<T>,
    b: Mat<T>,
    c: Target<T>,
    accumulate: bool,
    epilogue: &Epilogue<'_, T>,
) {
    let width = (PACKED_AT_ONCE / b.rows).max(1024).next_multiple_of(64).min(b.columns);
    for column in (0..b.columns).step_by(width) {
        let count = width.min(b.columns - column);
        let packed = Packed::of(b.columns_from(column, count));
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
    let blocks: Vec<_> = balanced(a.rows, HEIGHT).collect();
    let cost = work(a.rows, b.columns(), a.columns);
    let job = Job { a, b, c, accumulate, epilogue };
    let most = b.shape().depth;
    if (a.column_stride == 1 || a.row_stride == 1) && b.columns() <= READ_IN_PLACE {
        return job.in_place(cost);
    }
    if blocks.len() >= MANY_BLOCKS {
        threads::for_each(blocks.len(), cost, |task| {
            let (row, rows) = blocks[task];
            let mut left = Scratch::new(rows * most.min(a.columns));
            for step in (0..a.columns).step_by(most) {
                let depth = most.min(a.columns - step);
                // SAFETY: the block lies inside the matrix, and no other task has its rows.
                unsafe {
                    pack_left(&a, row, rows, step, depth, b.shape().rows, &mut left);
                    job.block(row, rows, step, 0, b.columns(), Left::Packed(left.as_ptr()));
                }
            }
        });
        return;
    }
    // Few rows: the left matrix is packed once, and tasks take groups of columns.
    let mut left = Scratch::new(a.rows * a.columns);
    let shared = threads::Shared::new(&mut left);
    let steps = a.columns.div_ceil(most);
    threads::for_each(blocks.len() * steps, a.rows * a.columns, |task| {
        let (row, rows) = blocks[task / steps];
        let step = task % steps * most;
        let depth = most.min(a.columns - step);
        let start = row * a.columns + rows * step;
        // SAFETY: blocks do not overlap, and lie inside the matrix.
        unsafe {
            let out = shared.slice(start..start + rows * depth);
            pack_left(&a, row, rows, step, depth, b.shape().rows, out);
        }
    });
    let panels = b.columns().div_ceil(b.shape().columns);
    let groups: Vec<_> = balanced(panels, panels.div_ceil(MANY_BLOCKS.div_ceil(blocks.len())))
        .map(|(first, count)| {
            let columns = b.shape().columns;
            (first * columns, ((first + count) * columns).min(b.columns()))
        })
        .collect();
    threads::for_each(blocks.len() * groups.len(), cost, |task| {
        let (row, rows) = blocks[task % blocks.len()];
        let (from, to) = groups[task / blocks.len()];
        for step in (0..a.columns).step_by(most) {
            let depth = most.min(a.columns - step);
            let start = row * a.columns + rows * step;
            let left = Left::Packed(left[start..start + rows * depth].as_ptr());
            // SAFETY: no other task has these rows and columns.
            unsafe { job.block(row, rows, step, from, to, left) };
        }
    });
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

struct Job<'a, T: Element> {
    a: Mat<T>,
    b: &'a Packed<T>,
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
    /// The product with the rows of the left matrix read where they lie.
    fn in_place(&self, cost: usize) {
        const ROWS: usize = 4;
        let tile = self.b.shape();
        let blocks: Vec<_> = balanced(self.a.rows, ROWS * tile.rows).collect();
        let panels = self.b.columns().div_ceil(tile.columns);
        let groups: Vec<_> = balanced(panels, panels.div_ceil(MANY_BLOCKS.div_ceil(blocks.len())))
            .map(|(first, count)| {
                (first * tile.columns, ((first + count) * tile.columns).min(self.b.columns()))
            })
            .collect();
        threads::for_each(blocks.len() * groups.len(), cost, |task| {
            let (row, rows) = blocks[task % blocks.len()];
            let (from, to) = groups[task / blocks.len()];
            for step in (0..self.a.columns).step_by(tile.depth) {
                let left =
                    Left::InPlace(self.a.at(row, step), self.a.row_stride, self.a.column_stride);
                // SAFETY: no other task has these rows and columns.
                unsafe { self.block(row, rows, step, from, to, left) };
            }
        });
    }

    /// Adds the steps from `step` on, one block deep, to `rows` rows from `row` on and the columns
    /// `from` to `to`, of which `from` begins a panel.
    ///
    /// # Safety
    /// `left` holds these rows and steps; nothing else reads or writes these rows and columns of
    /// the target meanwhile.
    unsafe fn block(
        &self,
        row: usize,
        rows: usize,
        step: usize,
        from: usize,
        to: usize,
        left: Left<T>,
    ) {
        let accumulate = self.accumulate || step > 0;
        let last = step + self.b.shape().depth >= self.a.columns;
        let columns = self.b.shape().columns;
        for column in (from..to).step_by(columns) {
            let (right, width) = self.b.panel(step, column);
            let count = columns.min(to - column);
            let depth = right.len() / width;
            let c = self.c.at(row, column);
            panel(rows, depth, left, right.as_ptr(), width, c, self.c.stride, count, accumulate);
            if last {
                self.epilogue.finish(self.c, row, rows, column, count);
            }
        }
    }
}

vectorized! {
    /// Tiles down one right panel of `depth` steps of `width` numbers, to `rows` rows of `columns`
    /// numbers at `c`. The pointers hold what these numbers say.
    fn panel<S, T: Element>(
        rows: usize,
        depth: usize,
        left: Left<T>,
        right: *const T,
        width: usize,
        c: *mut T,
        stride: usize,
        columns: usize,
        accumulate: bool,
    ) {
        for (first, height) in balanced(rows, T::V::<S>::TILE_ROWS) {
            let (a, a_row, a_step) = match left {
                Left::Packed(a) => (a.wrapping_add(first * depth), 1, height as isize),
                Left::InPlace(a, row, step) => (a.wrapping_offset(first as isize * row), row, step),
            };
            let p = Panels { k: depth, a, a_row, a_step, b: right, b_step: width as isize };
            // SAFETY: see above.
            unsafe {
                let c = c.add(first * stride);
                if width > T::V::<S>::LANES {
                    tile_of::<T::V<S>, 2>(height, p, c, stride, columns, accumulate);
                } else {
                    tile_of::<T::V<S>, 1>(height, p, c, stride, columns, accumulate);
                }
            }
        }
    }
}
