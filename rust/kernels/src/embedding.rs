//! Rows of a table by their number.
//!
//! forward: `y[i] = weight[ids[i]]`      backward: `dweight[v] = sum of dy[i] over ids[i] = v`

use std::fmt::Display;

use ndarray::{Array2, ArrayView1, ArrayView2};

use crate::layout::put;
use crate::simd::{line, prefetch};
use crate::threads::{self, Shared};
use crate::{Element, Error, Result, check_shape, memory, vectorized};

/// How many rows ahead of the one that is copied are asked for, and how many lines of each: of the rest
/// the processor finds out by itself.
const AHEAD: usize = 4;
const LINES: usize = 16;
/// Columns that one task of the backward pass adds up.
const COLUMNS: usize = 64;

/// A type of row numbers.
pub trait Id: Copy + Display + Send + Sync {
    /// The number as an index; anything negative becomes larger than every table.
    fn index(self) -> usize;
}

impl Id for i64 {
    fn index(self) -> usize {
        usize::try_from(self).unwrap_or(usize::MAX)
    }
}

impl Id for i32 {
    fn index(self) -> usize {
        usize::try_from(self).unwrap_or(usize::MAX)
    }
}

fn check_ids<I: Id>(op: &'static str, ids: ArrayView1<'_, I>, rows: usize) -> Result<()> {
    match ids.iter().find(|id| id.index() >= rows) {
        None => Ok(()),
        Some(id) => {
            let message = format!("expected ids from 0 to below {rows}, got {id}");
            Err(Error::value(op, "input", message))
        }
    }
}

/// The rows `ids` `[M]` of `weight` `[V, D]`.
pub fn forward<T: Element, I: Id>(
    ids: ArrayView1<'_, I>,
    weight: ArrayView2<'_, T>,
) -> Result<Array2<T>> {
    let (rows, width) = weight.dim();
    check_ids("embedding_forward", ids, rows)?;
    let mut y = memory::unfilled_array((ids.len(), width));
    if !y.is_empty() {
        let weight = weight.as_standard_layout();
        let weight = weight.as_slice().expect("standard layout");
        let cost = y.len() / 4;
        let ids = ids.as_standard_layout();
        let ids = ids.as_slice().expect("standard layout");
        let step = threads::piece_len(ids.len(), width);
        let out = y.as_slice_mut().expect("a new array");
        threads::for_each_piece(out, step * width, cost, |piece, y| {
            rows_of(weight, width, &ids[piece * step..], y);
        });
    }
    Ok(y)
}

vectorized! {
    /// The rows `ids` of `weight`, as many as `y` has.
    fn rows_of<S, T: Element, I: Id>(weight: &[T], width: usize, ids: &[I], y: &mut [T]) {
        for (i, y) in y.chunks_exact_mut(width).enumerate() {
            if let Some(next) = ids.get(i + AHEAD) {
                let start = weight.as_ptr().wrapping_add(next.index() * width);
                for at in (0..width.min(LINES * line::<T>())).step_by(line::<T>()) {
                    prefetch::<true>(start.wrapping_add(at).cast());
                }
            }
            put::<T::V<S>>(&weight[ids[i].index() * width..][..width], y);
        }
    }
}

/// Gradient of a table of `rows` rows from that of the output, `dy` `[M, D]`. The row `padding`
/// gets none. A task adds up some columns over all ids in their order, so that the sums are the
/// same for any number of threads.
pub fn backward<T: Element, I: Id>(
    dy: ArrayView2<'_, T>,
    ids: ArrayView1<'_, I>,
    rows: usize,
    padding: Option<usize>,
) -> Result<Array2<T>> {
    const OP: &str = "embedding_backward";
    let width = dy.ncols();
    check_shape(OP, "dy", &[ids.len(), width], dy.shape())?;
    check_ids(OP, ids, rows)?;
    let mut dweight = memory::unfilled_array((rows, width));
    let out = dweight.as_slice_mut().expect("a new array");
    let cost = out.len() / 8;
    threads::for_each_piece(out, 65_536, cost, |_, piece| piece.fill(T::zero()));
    if width > 0 {
        let dy = dy.as_standard_layout();
        let dy = dy.as_slice().expect("standard layout");
        let out = Shared::new(out);
        threads::for_each(width.div_ceil(COLUMNS), dy.len() / 4, |task| {
            let columns = task * COLUMNS..((task + 1) * COLUMNS).min(width);
            for (id, dy) in ids.iter().zip(dy.chunks_exact(width)) {
                let row = id.index();
                if padding != Some(row) {
                    let part = row * width + columns.start..row * width + columns.end;
                    // SAFETY: each task writes columns of its own.
                    #[allow(unsafe_code)]
                    let sums = unsafe { out.slice(part) };
                    for (sum, &dy) in sums.iter_mut().zip(&dy[columns.clone()]) {
                        *sum += dy;
                    }
                }
            }
        });
    }
    Ok(dweight)
}
