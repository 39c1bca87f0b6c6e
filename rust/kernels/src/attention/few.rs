//! The forward pass for few queries to a head of keys, as where a text is made token by token: keys
//! and values are read once each where they lie, because copies would cost as much as all the rest.
#![allow(unsafe_code)]

use std::f64::consts::{LN_2, LOG2_E};

use super::rows::{Rows, RowsMut};
use super::tile::{add_mask, exp2, padded, visible};
use super::{Problem, RowMask, Sizes};
use crate::memory::Scratch;
use crate::simd::Vector;
use crate::threads::{self, Shared};
use crate::{Element, vectorized};

/// Queries that share a head of keys, up to which this pays.
const FEW: usize = 4;
/// Keys whose scores are found together, as many as [`Vector::four_sums`] takes.
const FOUR: usize = 4;
/// Vectors of a value that are summed up together.
const WIDE: usize = 4;

/// Whether there are so few queries.
pub(super) fn suits(sizes: &Sizes) -> bool {
    sizes.t * sizes.group() <= FEW && sizes.s > 0
}

/// Fills `y` and `lse`. A task has one head of keys.
pub(super) fn run<T: Element>(x: &Problem<'_, T>, y: &RowsMut<T>, lse: Shared<T>) {
    let Sizes { b, h, hk, t, s, d, .. } = x.sizes;
    threads::for_each(b * hk, x.sizes.cost(), |task| {
        let (batch, kv_head) = (task / hk, task % hk);
        let lens = [padded::<T>(d), padded::<T>(s)];
        let mut block = Scratch::for_parts(lens);
        let [q, scores] = block.split(lens);
        for head in kv_head * x.sizes.group()..(kv_head + 1) * x.sizes.group() {
            for query in 0..t {
                let seen = if x.causal { s.min(query + 1) } else { s };
                q.fill(T::zero());
                for (q, &from) in q.iter_mut().zip(x.q.row(batch, head, query)) {
                    *q = from * x.scale;
                }
                multiply(q, x.k, batch, kv_head, seen, scores);
                if !matches!(x.mask, RowMask::None) {
                    let (unit, scores) = (T::of(LOG2_E), &mut scores[..padded::<T>(seen)]);
                    let ld = scores.len();
                    add_mask(&x.mask, unit, batch, head, query, 0, seen, scores, ld);
                }
                let (max, sum) = powers(&mut scores[..padded::<T>(seen)], seen);
                let by = if sum == T::zero() { T::zero() } else { T::one() / sum };
                let row = (batch * h + head) * t + query;
                // SAFETY: no other task has this head.
                unsafe {
                    lse.slice(row..row + 1)[0] = max * T::of(LN_2) + sum.ln();
                    mix(&scores[..seen], x.v, [batch, kv_head], by, y.row(batch, head, query));
                }
            }
        }
    });
}

vectorized! {
    /// Scores of a query, padded with zeros, with the first `seen` keys of a head.
    fn multiply<S, T: Element>(
        q: &[T],
        keys: Rows<'_, T>,
        b: usize,
        h: usize,
        seen: usize,
        scores: &mut [T],
    ) {
        let lanes = T::V::<S>::LANES;
        for first in (0..seen).step_by(FOUR) {
            let mut rows = [keys.row(b, h, first); FOUR];
            for i in 1..FOUR {
                rows[i] = keys.row(b, h, (first + i).min(seen - 1));
            }
            for row in rows {
                keys.ask_behind(row);
            }
            let mut sums = [T::V::<S>::zero(); FOUR];
            for (i, q) in q.chunks_exact(lanes).enumerate() {
                let q = T::V::<S>::read(q);
                for (sum, row) in sums.iter_mut().zip(rows) {
                    *sum = T::V::<S>::read(&row[i * lanes..]).mul_add(q, *sum);
                }
            }
            let sums = T::V::<S>::four_sums(sums);
            let count = FOUR.min(seen - first);
            scores[first..first + count].copy_from_slice(&sums[..count]);
        }
    }
}

vectorized! {
    /// Turns the first `seen` of `scores`, whole vectors, into powers; their largest, and the sum of
    /// the powers.
    fn powers<S, T: Element>(scores: &mut [T], seen: usize) -> (T, T) {
        let lanes = T::V::<S>::LANES;
        let base = scores.len() - lanes;
        let last = visible::<S, T>(T::V::<S>::read(&scores[base..]), base, seen);
        last.write(&mut scores[base..]);
        let mut max = T::V::<S>::splat(T::neg_infinity());
        for score in scores.chunks_exact(lanes) {
            max = T::V::<S>::read(score).max(max);
        }
        let max = max.max_lane();
        // Where every key is hidden, any shift will do that is not itself infinite.
        let shift = T::V::<S>::splat(if max == T::neg_infinity() { T::zero() } else { max });
        let mut sum = T::V::<S>::zero();
        for score in scores.chunks_exact_mut(lanes) {
            let p = exp2(T::V::<S>::read(score).sub(shift));
            p.write(score);
            sum = sum.add(p);
        }
        (max, sum.sum())
    }
}

vectorized! {
    /// The sum of the values of a head, each times its power and `by`.
    fn mix<S, T: Element>(powers: &[T], values: Rows<'_, T>, head: [usize; 2], by: T, y: &mut [T]) {
        let lanes = T::V::<S>::LANES;
        let mut at = 0;
        for y in y.chunks_mut(WIDE * lanes) {
            if y.len() == WIDE * lanes {
                strip::<T::V<S>, WIDE>(powers, values, head, by, at, y);
            } else {
                for (i, y) in y.chunks_mut(lanes).enumerate() {
                    strip::<T::V<S>, 1>(powers, values, head, by, at + i * lanes, y);
                }
            }
            at += WIDE * lanes;
        }
    }
}

/// Columns of that sum, `N` vectors of them from `at` on.
#[inline(always)]
fn strip<V: Vector, const N: usize>(
    powers: &[V::Elem],
    values: Rows<'_, V::Elem>,
    [b, h]: [usize; 2],
    by: V::Elem,
    at: usize,
    y: &mut [V::Elem],
) {
    // Two sums of each, of which neither waits for the other.
    let mut sums = [[V::zero(); N]; 2];
    for (pair, powers) in powers.chunks(2).enumerate() {
        for (i, (sums, &p)) in sums.iter_mut().zip(powers).enumerate() {
            let row = values.row(b, h, 2 * pair + i);
            values.ask_behind(row);
            let (row, p) = (&row[at..], V::splat(p));
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = V::read(&row[i * V::LANES..]).mul_add(p, *sum);
            }
        }
    }
    for (i, y) in y.chunks_mut(V::LANES).enumerate() {
        sums[0][i].add(sums[1][i]).mul(V::splat(by)).write(y);
    }
}
