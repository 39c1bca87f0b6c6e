//! Rows of a table by their number.
//!
//! forward: `y[i] = weight[ids[i]]`      backward: `dweight[v] = sum of dy[i] over ids[i] = v`

use std::fmt::Display;

use ndarray::{Array2, ArrayView1, ArrayView2};

use crate::threads::{self, Shared};
use crate::{Element, Error, Result, check_shape, memory};

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
        let cost = y.len() / 8;
        let step = threads::piece_len(ids.len(), width / 8);
        let out = y.as_slice_mut().expect("a new array");
        threads::for_each_piece(out, step * width, cost, |piece, y| {
            for (i, y) in y.chunks_exact_mut(width).enumerate() {
                let row = ids[piece * step + i].index();
                y.copy_from_slice(&weight[row * width..][..width]);
            }
        });
    }
    Ok(y)
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
