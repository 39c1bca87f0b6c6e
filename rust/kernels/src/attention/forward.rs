//! The forward pass: online softmax over tiles of keys.
#![allow(unsafe_code)]

use std::f64::consts::{LN_2, LOG2_E};
use std::ops::Range;

use super::rows::{Matrix, RowsMut};
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
const QUERIES: usize = 32;
/// Rows of scores that become powers together, as many as [`Vector::four_sums`] takes.
const FOUR: usize = 4;
/// Keys in a tile: scores of 16 KiB, which leave room in a first-level cache.
const KEYS: usize = 128;

/// Fills `y` and `lse`. A task has the queries of one part of the sequence, in all heads that
/// share their keys.
pub(super) fn run<T: Element>(x: &Problem<'_, T>, y: &RowsMut<T>, lse: Shared<T>) {
    let Sizes { b, hk, t, .. } = x.sizes;
    let part = x.sizes.part(t, QUERIES);
    let parts = t.div_ceil(part.max(1));
    threads::for_each(b * hk * parts, x.sizes.cost(), |task| {
        let (head, part_index) = (task / parts, task % parts);
        let queries = part_index * part..((part_index + 1) * part).min(t);
        Task::run(x, head / hk, head % hk, queries, y, lse);
    });
}

/// One head's keys and values, and room for one tile.
struct Task<'a, T: Element> {
    x: &'a Problem<'a, T>,
    b: usize,
    kv_head: usize,
    queries: Range<usize>,
    /// Keys that any of the queries sees.
    seen: usize,
    /// Distance of rows of the transposed keys and of the scores.
    keys: usize,
    /// Distance of rows of the sums.
    width: usize,
    k: &'a [T],
    v: Matrix<'a, T>,
    /// For a copy of queries, where one is needed.
    q: &'a mut [T],
    scores: &'a mut [T],
    sums: &'a mut [T],
    state: State<T>,
}

/// Largest score and sum of powers of each query of a tile.
struct State<T> {
    max: [T; QUERIES],
    sum: [T; QUERIES],
}

impl<'a, T: Element> Task<'a, T> {
    /// Makes the copies and does the work.
    fn run(
        x: &Problem<'_, T>,
        b: usize,
        kv_head: usize,
        queries: Range<usize>,
        y: &RowsMut<T>,
        lse: Shared<T>,
    ) {
        let Sizes { s, d, dv, .. } = x.sizes;
        let seen = if x.causal { s.min(queries.end) } else { s };
        let keys = distance::<T>(seen.min(KEYS));
        let width = distance::<T>(dv);
        let lens = [
            seen.div_ceil(KEYS) * d * keys,
            copied_len(x.v, seen),
            copied_len(x.q, QUERIES),
            QUERIES * keys,
            QUERIES * width,
        ];
        let mut block = Scratch::for_parts(lens);
        let [k, v, q, scores, sums] = block.split(lens);
        for (tile, first) in (0..seen).step_by(KEYS).enumerate() {
            let tokens = first..(first + KEYS).min(seen);
            transpose(x.k, b, kv_head, tokens, x.scale, &mut k[tile * d * keys..], keys);
        }
        let v = matrix(x.v, b, kv_head, 0..seen, v);
        let state = State { max: [T::zero(); QUERIES], sum: [T::zero(); QUERIES] };
        Task { x, b, kv_head, queries, seen, keys, width, k, v, q, scores, sums, state }
            .heads(y, lse);
    }

    fn heads(mut self, y: &RowsMut<T>, lse: Shared<T>) {
        let group = self.x.sizes.group();
        for h in self.kv_head * group..(self.kv_head + 1) * group {
            for first in self.queries.clone().step_by(QUERIES) {
                let queries = first..(first + QUERIES).min(self.queries.end);
                self.tile(h, queries.clone());
                let row = (self.b * self.x.sizes.h + h) * self.x.sizes.t;
                // SAFETY: no other task has these queries of this head.
                let lse = unsafe { lse.slice(row + queries.start..row + queries.end) };
                finish(&self.state, self.sums, self.width, y, self.b, h, queries.start, lse);
            }
        }
    }

    /// Leaves the unnormalised output of some queries in `sums`.
    fn tile(&mut self, h: usize, queries: Range<usize>) {
        let Sizes { d, dv, .. } = self.x.sizes;
        let rows = queries.len();
        self.x.q.ask(self.b, h, queries.clone());
        let q = matrix(self.x.q, self.b, h, queries.clone(), self.q);
        self.state.max.fill(T::neg_infinity());
        self.state.sum.fill(T::zero());
        if self.seen == 0 {
            self.sums.fill(T::zero());
        }
        let end = if self.x.causal { self.seen.min(queries.end) } else { self.seen };
        for (tile, first) in (0..end).step_by(KEYS).enumerate() {
            let count = (end - first).min(KEYS);
            // Query i of the tile sees the keys before `i + below` of it.
            let below = (queries.start + 1) as isize - first as isize;
            let diagonal = self.x.causal && (below as usize) < count;
            let skip = |skip| if diagonal { skip } else { Skip::Nothing };
            let (k, v) = (&self.k[tile * d * self.keys..], self.v.from(first));
            product(
                [rows, padded::<T>(count), d],
                Left { data: q.data, ld: q.ld, transposed: false },
                k,
                self.keys,
                self.scores,
                self.keys,
                false,
                skip(Skip::Columns(below)),
            );
            if !matches!(self.x.mask, RowMask::None) {
                let scores = &mut self.scores[..rows * self.keys];
                let (mask, at) = (&self.x.mask, queries.start);
                add_mask(mask, T::of(LOG2_E), self.b, h, at, first, count, scores, self.keys);
            }
            let scores = &mut self.scores[..rows * self.keys];
            let below = if diagonal { below } else { count as isize };
            let sums = (tile > 0).then_some(&mut *self.sums);
            let step = usize::from(diagonal);
            softmax(scores, self.keys, count, below, step, &mut self.state, sums, self.width);
            product(
                [rows, padded::<T>(dv), count],
                Left { data: self.scores, ld: self.keys, transposed: false },
                v.data,
                v.ld,
                self.sums,
                self.width,
                tile > 0,
                skip(Skip::After(below)),
            );
        }
    }
}

vectorized! {
    /// Turns each row of scores into exponentials, of which row i has `below + i * step` that
    /// count, at most `count`; brings `state` and the `sums` of earlier tiles to the new maximum.
    fn softmax<S, T: Element>(
        scores: &mut [T],
        ld: usize,
        count: usize,
        below: isize,
        step: usize,
        state: &mut State<T>,
        sums: Option<&mut [T]>,
        width: usize
    ) {
        let lanes = T::V::<S>::LANES;
        let end = count.next_multiple_of(lanes);
        let mut sums = sums;
        // Four rows at a time, of which none waits for the others' largest scores and sums.
        for (group, scores) in scores.chunks_mut(FOUR * ld).enumerate() {
            let first = group * FOUR;
            let rows = scores.len() / ld;
            let mut seen = [0; FOUR];
            let mut largest = [T::zero(); FOUR];
            for (i, scores) in scores.chunks_exact_mut(ld).enumerate() {
                let length = count.min((below + ((first + i) * step) as isize).max(0) as usize);
                seen[i] = length.next_multiple_of(lanes);
                clear::<T::V<S>>(&mut scores[seen[i]..end]);
                if !length.is_multiple_of(lanes) {
                    let base = seen[i] - lanes;
                    let last = &mut scores[base..];
                    visible::<S, T>(T::V::<S>::read(last), base, length).write(last);
                }
                let mut max = T::V::<S>::splat(state.max[first + i]);
                for score in scores[..seen[i]].chunks_exact(lanes) {
                    max = T::V::<S>::read(score).max(max);
                }
                largest[i] = max.max_lane();
            }
            let mut powers = [T::V::<S>::zero(); FOUR];
            for (i, scores) in scores.chunks_exact_mut(ld).enumerate() {
                let (row, max) = (first + i, largest[i]);
                // Where every key is hidden, any shift will do that is not itself infinite.
                let shift = if max == T::neg_infinity() { T::zero() } else { max };
                for score in scores[..seen[i]].chunks_exact_mut(lanes) {
                    let p = exp2(T::V::<S>::read(score).sub(T::V::<S>::splat(shift)));
                    powers[i] = powers[i].add(p);
                    p.write(score);
                }
                let before = std::mem::replace(&mut state.max[row], max);
                if let Some(sums) = &mut sums && max != before {
                    let factor = (before - shift).exp2();
                    state.sum[row] *= factor;
                    let factor = T::V::<S>::splat(factor);
                    for sum in sums[row * width..(row + 1) * width].chunks_exact_mut(lanes) {
                        T::V::<S>::read(sum).mul(factor).write(sum);
                    }
                }
            }
            let totals = T::V::<S>::four_sums(powers);
            for (sum, total) in state.sum[first..first + rows].iter_mut().zip(totals) {
                *sum += total;
            }
        }
    }
}

vectorized! {
    /// Divides the sums of the queries from `t` on, and writes the output and `lse`.
    fn finish<S, T: Element>(
        state: &State<T>,
        sums: &[T],
        width: usize,
        y: &RowsMut<T>,
        b: usize,
        h: usize,
        t: usize,
        lse: &mut [T]
    ) {
        let lanes = T::V::<S>::LANES;
        for (i, lse) in lse.chunks_mut(lanes).enumerate() {
            let at = i * lanes..i * lanes + lse.len();
            let (max, sum) = (&state.max[at.clone()], &state.sum[at]);
            let natural = T::V::<S>::splat(T::of(LN_2));
            T::V::<S>::read(max).mul_add(natural, T::V::<S>::read(sum).ln()).write(lse);
        }
        for (i, &sum) in state.sum[..lse.len()].iter().enumerate() {
            let by = if sum == T::zero() { T::zero() } else { T::one() / sum };
            // SAFETY: no other task has this query of this head.
            let row = unsafe { y.row(b, h, t + i) };
            y.ask_behind(row);
            let sums = sums[i * width..(i + 1) * width].chunks(lanes);
            for (sum, y) in sums.zip(row.chunks_mut(lanes)) {
                T::V::<S>::read(sum).mul(T::V::<S>::splat(by)).write(y);
            }
        }
    }
}
