//! The backward pass: each tile of probabilities again, then five products with it.
#![allow(unsafe_code)]

use std::f64::consts::{LN_2, LOG2_E};
use std::ops::Range;

use super::rows::{Matrix, Rows, RowsMut};
use super::tile::{
    Left, Skip, add_mask, clear, copied_len, distance, exp2, matrix, padded, product, transpose,
    visible,
};
use super::{Problem, RowMask, Sizes};
use crate::memory::Scratch;
use crate::simd::Vector;
use crate::threads::{self, Shared};
use crate::{Element, vectorized};

/// Queries in a tile.
const QUERIES: usize = 64;
/// Keys in a tile.
const KEYS: usize = 64;

/// Where the gradients go.
pub(super) struct Outputs<T> {
    pub(super) dq: RowsMut<T>,
    pub(super) dk: RowsMut<T>,
    pub(super) dv: RowsMut<T>,
}

/// Fills the outputs. A task has one part of the keys, for all queries of all heads that share
/// them, so that sums over queries have one order; those over keys are added part by part.
pub(super) fn run<T: Element>(
    x: &Problem<'_, T>,
    dy: &Rows<'_, T>,
    y: &Rows<'_, T>,
    lse: &[T],
    outputs: &Outputs<T>,
) {
    let Sizes { b, h, hk, t, s, d, .. } = x.sizes;
    let part = x.sizes.part(s, KEYS);
    // Without any key there is still a gradient of zero to write.
    let parts = s.div_ceil(part.max(1)).max(1);
    let cost = x.sizes.cost().saturating_mul(3);
    let size = b * h * t * d;
    let mut partial = Scratch::new(if parts > 1 { parts * size } else { 0 });
    let partial_rows = Shared::new(&mut partial);
    threads::for_each(b * hk * parts, cost, |task| {
        let (head, index) = (task / parts, task % parts);
        let keys = index * part..((index + 1) * part).min(s);
        let dq = if parts > 1 {
            RowsMut::by_head(partial_rows, index * size, [h, t, d])
        } else {
            outputs.dq
        };
        Task::run(x, head / hk, head % hk, keys, [dy, y], lse, &dq, outputs);
    });
    if parts > 1 && size > 0 {
        let partial = &*partial;
        threads::for_each(b * h, size, |head| {
            for token in 0..t {
                let at = (head * t + token) * d;
                // SAFETY: each task has the rows of one head.
                let dq = unsafe { outputs.dq.row(head / h, head % h, token) };
                dq.copy_from_slice(&partial[at..at + d]);
                for part in partial.chunks_exact(size).skip(1) {
                    for (dq, part) in dq.iter_mut().zip(&part[at..at + d]) {
                        *dq += *part;
                    }
                }
            }
        });
    }
}

/// One part of one head's keys and values, sums of their gradients and of those of one head's
/// queries.
struct Task<'a, T: Element> {
    x: &'a Problem<'a, T>,
    b: usize,
    keys: Range<usize>,
    /// Distance of rows of transposed keys and values and of scores.
    ld: usize,
    /// Distances of rows of gradients of queries and keys, and of values.
    width: [usize; 2],
    k: Matrix<'a, T>,
    k_transposed: &'a [T],
    v_transposed: &'a [T],
    dk: &'a mut [T],
    dv: &'a mut [T],
    dq: &'a mut [T],
    /// `sum(dy * y)` of each query.
    delta: &'a mut [T],
    p: &'a mut [T],
    ds: &'a mut [T],
}

impl<T: Element> Task<'_, T> {
    /// Makes the copies and does the work.
    fn run(
        x: &Problem<'_, T>,
        b: usize,
        kv_head: usize,
        keys: Range<usize>,
        [dy, y]: [&Rows<'_, T>; 2],
        lse: &[T],
        dq_rows: &RowsMut<T>,
        outputs: &Outputs<T>,
    ) {
        let Sizes { t, d, dv: value, .. } = x.sizes;
        let (count, tiles) = (keys.len(), keys.len().div_ceil(KEYS));
        let ld = distance::<T>(count.min(KEYS));
        let width = [distance::<T>(d), distance::<T>(value)];
        let lens = [
            copied_len(x.k, count),
            copied_len(x.q, t),
            copied_len(*dy, t),
            tiles * d * ld,
            tiles * value * ld,
            count * width[0],
            count * width[1],
            t * width[0],
            t,
            QUERIES * ld,
            QUERIES * ld,
        ];
        let mut block = Scratch::for_parts(lens);
        let [k, q, dy_copy, k_transposed, v_transposed, dk, dv, dq, delta, p, ds] =
            block.split(lens);
        let k = matrix(x.k, b, kv_head, keys.clone(), k);
        for (tile, first) in keys.clone().step_by(KEYS).enumerate() {
            let tokens = first..(first + KEYS).min(keys.end);
            let (k, v) =
                (&mut k_transposed[tile * d * ld..], &mut v_transposed[tile * value * ld..]);
            transpose(x.k, b, kv_head, tokens.clone(), x.scale, k, ld);
            transpose(x.v, b, kv_head, tokens, T::one(), v, ld);
        }
        // No tile writes keys that no query sees, nor queries that see none of these keys.
        let seen = if x.causal || t == 0 { t.clamp(keys.start, keys.end) } else { keys.end };
        dk[(seen - keys.start) * width[0]..].fill(T::zero());
        dv[(seen - keys.start) * width[1]..].fill(T::zero());
        let blind = match x.causal {
            _ if keys.is_empty() => t,
            true => keys.start.min(t),
            false => 0,
        };
        dq[..blind * width[0]].fill(T::zero());
        let group = x.sizes.group();
        let heads = kv_head * group..(kv_head + 1) * group;
        let mut task =
            Task { x, b, keys, ld, width, k, k_transposed, v_transposed, dk, dv, dq, delta, p, ds };
        let scale = x.scale * T::of(LN_2);
        for head in heads.clone() {
            let q = matrix(x.q, b, head, 0..t, q);
            dots(*dy, *y, b, head, task.delta);
            let dy = matrix(*dy, b, head, 0..t, dy_copy);
            let lse = &lse[(b * x.sizes.h + head) * t..][..t];
            task.head(head, [q, dy], lse, head == heads.start);
            write(task.dq, width[0], scale, dq_rows, b, head, 0..t);
        }
        write(task.dk, width[0], scale, &outputs.dk, b, kv_head, task.keys.clone());
        write(task.dv, width[1], T::one(), &outputs.dv, b, kv_head, task.keys.clone());
    }

    /// All tiles of the queries of one head, which may be the first of those that share the keys.
    fn head(&mut self, head: usize, rows: [Matrix<'_, T>; 2], lse: &[T], first_head: bool) {
        let t = self.x.sizes.t;
        for tile in 0..self.keys.len().div_ceil(KEYS) {
            let first = self.keys.start + tile * KEYS;
            let start = if self.x.causal { first / QUERIES * QUERIES } else { 0 };
            // The last queries see every key that any sees, and so begin all sums of the keys.
            for query in (start..t).step_by(QUERIES).rev() {
                let begins = first_head && query + QUERIES >= t;
                self.tile(head, tile, query..(query + QUERIES).min(t), rows, lse, begins);
            }
        }
    }

    /// Adds what one tile of queries and keys gives to all three gradients; those of the keys and values
    /// it may begin, that of the queries the first tile of keys does.
    fn tile(
        &mut self,
        head: usize,
        tile: usize,
        queries: Range<usize>,
        rows: [Matrix<'_, T>; 2],
        lse: &[T],
        begins: bool,
    ) {
        let [q, dy] = rows.map(|rows| rows.from(queries.start));
        let Sizes { d, dv, .. } = self.x.sizes;
        let ld = self.ld;
        let [width, value_width] = self.width;
        let rows = queries.len();
        let first = self.keys.start + tile * KEYS;
        let end = if self.x.causal { self.keys.end.min(queries.end) } else { self.keys.end };
        let count = end.saturating_sub(first).min(KEYS);
        if count == 0 {
            return;
        }
        // Query i of the tile sees the keys up to `i + offset` of it.
        let offset = queries.start as isize - first as isize;
        let diagonal = self.x.causal && offset + 1 < count as isize;
        let skip = |skip| if diagonal { skip } else { Skip::Nothing };
        product(
            [rows, padded::<T>(count), d],
            Left { data: q.data, ld: q.ld, transposed: false },
            &self.k_transposed[tile * d * ld..],
            ld,
            self.p,
            ld,
            false,
            skip(Skip::Columns(offset + 1)),
        );
        product(
            [rows, padded::<T>(count), dv],
            Left { data: dy.data, ld: dy.ld, transposed: false },
            &self.v_transposed[tile * dv * ld..],
            ld,
            self.ds,
            ld,
            false,
            skip(Skip::Columns(offset + 1)),
        );
        let p = &mut self.p[..rows * ld];
        if !matches!(self.x.mask, RowMask::None) {
            add_mask(&self.x.mask, T::of(LOG2_E), self.b, head, queries.start, first, count, p, ld);
        }
        let (lse, delta) = (&lse[queries.clone()], &self.delta[queries.clone()]);
        let below = if diagonal { offset + 1 } else { count as isize };
        probabilities(p, self.ds, ld, count, below, usize::from(diagonal), lse, delta);
        let at = tile * KEYS;
        let k = self.k.from(at);
        product(
            [count, padded::<T>(dv), rows],
            Left { data: self.p, ld, transposed: true },
            dy.data,
            dy.ld,
            &mut self.dv[at * value_width..],
            value_width,
            !begins,
            skip(Skip::Before(offset)),
        );
        product(
            [count, padded::<T>(d), rows],
            Left { data: self.ds, ld, transposed: true },
            q.data,
            q.ld,
            &mut self.dk[at * width..],
            width,
            !begins,
            skip(Skip::Before(offset)),
        );
        product(
            [rows, padded::<T>(d), count],
            Left { data: self.ds, ld, transposed: false },
            k.data,
            k.ld,
            &mut self.dq[queries.start * width..],
            width,
            tile > 0,
            skip(Skip::After(offset + 1)),
        );
    }
}

vectorized! {
    /// Turns scores into `p` and `dp` into `ds`; row i has `below + i * step` keys that count, at
    /// most `count`.
    fn probabilities<S, T: Element>(
        p: &mut [T],
        ds: &mut [T],
        ld: usize,
        count: usize,
        below: isize,
        step: usize,
        lse: &[T],
        delta: &[T]
    ) {
        let lanes = T::V::<S>::LANES;
        let end = count.next_multiple_of(lanes);
        for (i, (p, ds)) in p.chunks_exact_mut(ld).zip(ds.chunks_exact_mut(ld)).enumerate() {
            let length = count.min((below + (i * step) as isize).max(0) as usize);
            let seen = length.next_multiple_of(lanes);
            clear::<T::V<S>>(&mut p[seen..end]);
            clear::<T::V<S>>(&mut ds[seen..end]);
            // A query that sees no key has `-inf`: its probabilities are zero.
            let shift = if lse[i] == T::neg_infinity() { T::infinity() } else { lse[i] * T::of(LOG2_E) };
            let (shift, delta) = (T::V::<S>::splat(shift), T::V::<S>::splat(delta[i]));
            let tiles = p[..seen].chunks_exact_mut(lanes).zip(ds[..seen].chunks_exact_mut(lanes));
            for (n, (p, ds)) in tiles.enumerate() {
                let x = visible::<S, T>(T::V::<S>::read(p), n * lanes, length);
                // No probability is above one; `lse`, rounded, may be below the largest score.
                let probability = exp2(T::V::<S>::zero().min(x.sub(shift)));
                probability.mul(T::V::<S>::read(ds).sub(delta)).write(ds);
                probability.write(p);
            }
        }
    }
}

vectorized! {
    /// `sum(dy * y)` of each query of one head.
    fn dots<S, T: Element>(
        dy: Rows<'_, T>,
        y: Rows<'_, T>,
        b: usize,
        h: usize,
        out: &mut [T]
    ) {
        let lanes = T::V::<S>::LANES;
        for (t, out) in out.iter_mut().enumerate() {
            let (dy_row, y_row) = (dy.row(b, h, t), y.row(b, h, t));
            dy.ask_behind(dy_row);
            y.ask_behind(y_row);
            let mut sum = T::V::<S>::zero();
            for (dy, y) in dy_row.chunks(lanes).zip(y_row.chunks(lanes)) {
                sum = T::V::<S>::read(dy).mul_add(T::V::<S>::read(y), sum);
            }
            *out = sum.sum();
        }
    }
}

vectorized! {
    /// Writes rows `tokens` of one head, `width` apart, times `scale`.
    fn write<S, T: Element>(
        from: &[T],
        width: usize,
        scale: T,
        to: &RowsMut<T>,
        b: usize,
        h: usize,
        tokens: Range<usize>
    ) {
        let lanes = T::V::<S>::LANES;
        for (i, t) in tokens.enumerate() {
            // SAFETY: no other task has these rows.
            let row = unsafe { to.row(b, h, t) };
            to.ask_behind(row);
            let from = from[i * width..(i + 1) * width].chunks(lanes);
            for (from, to) in from.zip(row.chunks_mut(lanes)) {
                T::V::<S>::read(from).mul(T::V::<S>::splat(scale)).write(to);
            }
        }
    }
}
