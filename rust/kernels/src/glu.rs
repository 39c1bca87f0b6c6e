//! The gated linear unit. Dauphin et al., Language Modeling with Gated Convolutional Networks, 2017.
//!
//! forward:  y = a s(b)        backward: da = dy s(b), db = dy a s(b) (1 - s(b)), s the logistic function
#![allow(unsafe_code)]

use std::ops::Range;

use ndarray::{Array2, Array3, ArrayView2, ArrayView3};

use crate::layout::flat;
use crate::simd::Vector;
use crate::threads::{self, Shared};
use crate::{Element, Error, Result, check_shape, memory, vectorized};

/// Numbers in a task.
const PIECE: usize = 8192;

/// `y` `[O, M]` from `x` `[O, 2, M]`, a and then b.
pub fn forward<T: Element>(x: ArrayView3<'_, T>) -> Result<Array2<T>> {
    let (outer, m) = halves("glu_forward", x)?;
    let x = x.as_standard_layout();
    let x = flat(&x);
    let mut y = memory::unfilled_array((outer, m));
    let out = y.as_slice_mut().expect("a new array");
    threads::for_each_piece(out, PIECE, x.len(), |piece, y| {
        for (row, range) in rows(piece * PIECE..piece * PIECE + y.len(), m) {
            let place = row * m + range.start - piece * PIECE;
            let (a, b) = x[2 * row * m..][..2 * m].split_at(m);
            gate(&a[range.clone()], &b[range.clone()], &mut y[place..place + range.len()]);
        }
    });
    Ok(y)
}

/// Gradient of `x` `[O, 2, M]` from `dy` `[O, M]`.
pub fn backward<T: Element>(dy: ArrayView2<'_, T>, x: ArrayView3<'_, T>) -> Result<Array3<T>> {
    let (outer, m) = halves("glu_backward", x)?;
    check_shape("glu_backward", "dy", &[outer, m], dy.shape())?;
    let (x, dy) = (x.as_standard_layout(), dy.as_standard_layout());
    let (x, dy) = (flat(&x), flat(&dy));
    let mut dx = memory::unfilled_array((outer, 2, m));
    let out = Shared::new(dx.as_slice_mut().expect("a new array"));
    threads::for_each(dy.len().div_ceil(PIECE), x.len(), |piece| {
        for (row, range) in rows(piece * PIECE..dy.len().min((piece + 1) * PIECE), m) {
            let (a, b) = x[2 * row * m..][..2 * m].split_at(m);
            let place = |half: usize| {
                let start = (2 * row + half) * m;
                start + range.start..start + range.end
            };
            let dy = &dy[row * m..][range.clone()];
            // SAFETY: each place is written by one task.
            let (da, db) = unsafe { (out.slice(place(0)), out.slice(place(1))) };
            gate_backward(dy, &a[range.clone()], &b[range], da, db);
        }
    });
    Ok(dx)
}

fn halves<T>(op: &'static str, x: ArrayView3<'_, T>) -> Result<(usize, usize)> {
    match x.dim() {
        (outer, 2, m) => Ok((outer, m)),
        (_, parts, _) => Err(Error::value(op, "x", format!("expected two halves, got {parts}"))),
    }
}

/// The rows of `m` numbers that make up `places`, and which numbers of each.
fn rows(places: Range<usize>, m: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
    (places.start / m..places.end.div_ceil(m)).map(move |row| {
        (row, places.start.max(row * m) - row * m..places.end.min((row + 1) * m) - row * m)
    })
}

vectorized! {
    fn gate<S, T: Element>(a: &[T], b: &[T], y: &mut [T]) {
        let lanes = <T::V<S> as Vector>::Pair::LANES;
        for ((a, b), y) in a.chunks(lanes).zip(b.chunks(lanes)).zip(y.chunks_mut(lanes)) {
            <T::V<S> as Vector>::Pair::prefetch_ahead(y);
            let share = <T::V<S> as Vector>::Pair::read(b).sigmoid();
            <T::V<S> as Vector>::Pair::read(a).mul(share).write(y);
        }
    }
}

vectorized! {
    fn gate_backward<S, T: Element>(dy: &[T], a: &[T], b: &[T], da: &mut [T], db: &mut [T]) {
        let lanes = <T::V<S> as Vector>::Pair::LANES;
        let given = dy.chunks(lanes).zip(a.chunks(lanes)).zip(b.chunks(lanes));
        let to = da.chunks_mut(lanes).zip(db.chunks_mut(lanes));
        for (((dy, a), b), (da, db)) in given.zip(to) {
            <T::V<S> as Vector>::Pair::prefetch_ahead(da);
            <T::V<S> as Vector>::Pair::prefetch_ahead(db);
            let share = <T::V<S> as Vector>::Pair::read(b).sigmoid();
            let passed = <T::V<S> as Vector>::Pair::read(dy).mul(share);
            passed.write(da);
            let rest = <T::V<S> as Vector>::Pair::splat(T::one()).sub(share);
            passed.mul(<T::V<S> as Vector>::Pair::read(a)).mul(rest).write(db);
        }
    }
}
