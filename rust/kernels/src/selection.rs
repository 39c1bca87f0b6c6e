//! Elements by their place along an axis, and triangles of matrices.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};

use ndarray::{Array3, ArrayView3};

use crate::embedding::Id;
use crate::layout::flat;
use crate::threads::{self, Shared};
use crate::{Element, Error, Result, check_shape, memory};

/// Numbers in a task.
const PIECE: usize = 16_384;
/// Columns of a task that adds up.
const COLUMNS: usize = 64;

/// `y[o, k, i] = x[o, ids[o, k, i], i]` for `x` `[O, N, I]` and `ids` `[O, K, I]`.
pub fn gather<T: Element, I: Id>(
    x: ArrayView3<'_, T>,
    ids: ArrayView3<'_, I>,
) -> Result<Array3<T>> {
    let dims @ (outer, _, inner) = ids.dim();
    let n = x.dim().1;
    check_shape("gather", "x", &[outer, n, inner], x.shape())?;
    let (x, ids) = (x.as_standard_layout(), ids.as_standard_layout());
    let (x, ids) = (flat(&x), flat(&ids));
    let mut y = memory::unfilled_array(dims);
    let len = dims.1 * inner;
    let step = (PIECE / inner.max(1)).max(1) * inner;
    let out = y.as_slice_mut().expect("a new array");
    let outside = AtomicBool::new(false);
    threads::for_each_piece(out, step, ids.len(), |piece, y| {
        let start = piece * step;
        let (mut ids, mut y) = (&ids[start..start + y.len()], y);
        let (mut o, mut left) = (start / len, len - start % len);
        while !y.is_empty() {
            let count = left.min(y.len());
            let (now, later) = y.split_at_mut(count);
            let (x, chosen) = (&x[o * n * inner..][..n * inner], &ids[..count]);
            if !gather_rows(x, chosen, inner, now) {
                outside.store(true, Ordering::Relaxed);
            }
            (y, ids, o, left) = (later, &ids[count..], o + 1, len);
        }
    });
    if outside.into_inner() {
        check_ids("gather", ids, n)?;
    }
    Ok(y)
}

/// Rows of [`gather`] whose numbers lie in one `x` `[N, I]`; false where an id is outside.
fn gather_rows<T: Element, I: Id>(x: &[T], ids: &[I], inner: usize, y: &mut [T]) -> bool {
    let mut inside = true;
    if inner == 1 {
        for (y, id) in y.iter_mut().zip(ids) {
            match x.get(id.index()) {
                Some(x) => *y = *x,
                None => inside = false,
            }
        }
        return inside;
    }
    let n = x.len() / inner;
    for (y, ids) in y.chunks_exact_mut(inner).zip(ids.chunks_exact(inner)) {
        for (i, (y, id)) in y.iter_mut().zip(ids).enumerate() {
            match id.index() {
                id if id < n => *y = x[id * inner + i],
                _ => inside = false,
            }
        }
    }
    inside
}

/// Gradient of `x` `[O, N, I]` of [`gather`] from `dy` and `ids`, both `[O, K, I]`: a task adds up some
/// columns in the order of the ids.
pub fn gather_backward<T: Element, I: Id>(
    dy: ArrayView3<'_, T>,
    ids: ArrayView3<'_, I>,
    n: usize,
) -> Result<Array3<T>> {
    let (outer, k, inner) = ids.dim();
    check_shape("gather_backward", "dy", ids.shape(), dy.shape())?;
    let (dy, ids) = (dy.as_standard_layout(), ids.as_standard_layout());
    let (dy, ids) = (flat(&dy), flat(&ids));
    check_ids("gather_backward", ids, n)?;
    let mut dx = memory::unfilled_array((outer, n, inner));
    if dx.is_empty() {
        return Ok(dx);
    }
    let cost = dx.len() / 4 + dy.len() * 2;
    let out = Shared::new(dx.as_slice_mut().expect("a new array"));
    let strips = inner.div_ceil(COLUMNS);
    // Short ones are many to a task.
    let several = (PIECE / (n * inner)).max(1);
    threads::for_each(outer.div_ceil(several) * strips, cost, |task| {
        let (first, column) = (task / strips * several, task % strips * COLUMNS);
        let columns = column..inner.min(column + COLUMNS);
        for o in first..outer.min(first + several) {
            let row = |rows: usize, row: usize| {
                let start = (o * rows + row) * inner;
                start + columns.start..start + columns.end
            };
            // Whole rows follow each other.
            let together = if columns.len() == inner { n } else { 1 };
            for at in (0..n).step_by(together) {
                let first = row(n, at);
                // SAFETY: no other task has these columns.
                let sums =
                    unsafe { out.slice(first.start..first.start + together * columns.len()) };
                sums.fill(T::zero());
            }
            for at in 0..k {
                let places = row(k, at);
                for (i, (&dy, id)) in dy[places.clone()].iter().zip(&ids[places]).enumerate() {
                    // SAFETY: as above; ids were checked.
                    unsafe { *out.at(row(n, id.index()).start + i) += dy };
                }
            }
        }
    });
    Ok(dx)
}

fn check_ids<I: Id>(op: &'static str, ids: &[I], n: usize) -> Result<()> {
    match ids.iter().find(|id| id.index() >= n) {
        None => Ok(()),
        Some(id) => Err(Error::value(op, "index", format!("expected 0 to below {n}, got {id}"))),
    }
}

/// Each matrix of `x` `[O, R, C]` up to its diagonal number `diagonal`, above the main one where it is
/// positive, or from there on unless `lower`; zero elsewhere.
pub fn triangle<T: Element>(x: ArrayView3<'_, T>, diagonal: i64, lower: bool) -> Array3<T> {
    let dims @ (_, rows, columns) = x.dim();
    let x = x.as_standard_layout();
    let x = flat(&x);
    let mut y = memory::unfilled_array(dims);
    let step = (PIECE / columns.max(1)).max(1) * columns;
    let cost = x.len() / 4;
    let out = y.as_slice_mut().expect("a new array");
    threads::for_each_piece(out, step, cost, |piece, y| {
        for (i, y) in y.chunks_exact_mut(columns).enumerate() {
            let first = piece * step + i * columns;
            let x = &x[first..first + columns];
            let row = (first / columns % rows) as i64;
            let on = row.saturating_add(diagonal).saturating_add(i64::from(lower));
            let cut = on.clamp(0, columns as i64) as usize;
            let ((x_before, x_after), (before, after)) = (x.split_at(cut), y.split_at_mut(cut));
            if lower {
                before.copy_from_slice(x_before);
                after.fill(T::zero());
            } else {
                before.fill(T::zero());
                after.copy_from_slice(x_after);
            }
        }
    });
    y
}
