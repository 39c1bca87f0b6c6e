//! The same along an axis that another follows: columns side by side, a strip of them in a task, row
//! after row.
#![allow(unsafe_code)]

use std::ops::Range;

use crate::memory::Scratch;
use crate::simd::Vector;
use crate::threads::{self, Shared};
use crate::{Element, vectorized};

/// Columns of a strip at most, and at least where there are as many.
const MOST: usize = 1024;
const LEAST: usize = 64;
/// Numbers of a strip, which stay in the second cache from one pass over them to the next.
const NUMBERS: usize = 1 << 16;
/// Numbers of a task where strips are smaller.
const PIECE: usize = 1 << 12;
/// Strips at least, where they are not too narrow.
const STRIPS: usize = 8;

/// Softmax of `x` `[O, N, I]`, or its logarithm.
pub(super) fn forward<T: Element, const LOG: bool>([x]: [&[T]; 1], dims: [usize; 3], y: &mut [T]) {
    let y = Shared::new(y);
    each_strip(dims, |strip, max, sums| {
        max.fill(T::of(f64::NEG_INFINITY));
        for row in strip.rows() {
            raise(&x[row], max);
        }
        for row in strip.rows() {
            // SAFETY: no other task has these columns.
            let y = (!LOG).then(|| unsafe { y.slice(row.clone()) });
            add_exponentials(&x[row], max, sums, y);
        }
        if LOG {
            max.iter_mut().zip(&*sums).for_each(|(max, sum)| *max += sum.ln());
            for row in strip.rows() {
                // SAFETY: as above.
                let y = unsafe { y.slice(row.clone()) };
                shift(&x[row], max, y);
            }
        } else {
            sums.iter_mut().for_each(|sum| *sum = T::one() / *sum);
            for row in strip.rows() {
                // SAFETY: as above.
                scale(unsafe { y.slice(row) }, sums);
            }
        }
    });
}

/// Gradient of the input from `dy` and the output `y`, both `[O, N, I]`.
pub(super) fn backward<T: Element, const LOG: bool>(
    [dy, y]: [&[T]; 2],
    dims: [usize; 3],
    dx: &mut [T],
) {
    let dx = Shared::new(dx);
    each_strip(dims, |strip, _, sums| {
        for row in strip.rows() {
            if LOG {
                add(&dy[row], sums);
            } else {
                add_products(&dy[row.clone()], &y[row], sums);
            }
        }
        for row in strip.rows() {
            // SAFETY: no other task has these columns.
            let dx = unsafe { dx.slice(row.clone()) };
            if LOG {
                subtract_shares(&dy[row.clone()], &y[row], sums, dx);
            } else {
                subtract_products(&dy[row.clone()], &y[row], sums, dx);
            }
        }
    });
}

/// What `row` makes of each column of arrays `[O, N, I]`, copied into a row, as columns of `y`.
pub(super) fn copied<T: Element, const N: usize>(
    x: [&[T]; N],
    [outer, n, inner]: [usize; 3],
    y: &mut [T],
    row: impl Fn([&[T]; N], &mut [T]) + Sync,
) {
    let step = threads::piece_len(outer * inner, n);
    let (y, cost) = (Shared::new(y), outer * n * inner * 2);
    threads::for_each((outer * inner).div_ceil(step), cost, |task| {
        let (mut to, mut from) = (Scratch::new(n), [(); N].map(|()| Scratch::new(n)));
        for column in task * step..(outer * inner).min((task + 1) * step) {
            let first = column / inner * n * inner + column % inner;
            for (x, from) in x.iter().zip(&mut from) {
                x[first..].iter().step_by(inner).zip(&mut **from).for_each(|(x, from)| *from = *x);
            }
            row(from.each_ref().map(|from| &**from), &mut to);
            for (i, &to) in to.iter().enumerate() {
                // SAFETY: no other task has this column.
                unsafe { *y.at(first + i * inner) = to };
            }
        }
    });
}

/// Some columns of all rows.
struct Strip {
    /// Where its first row begins.
    first: usize,
    count: usize,
    stride: usize,
    width: usize,
}

impl Strip {
    fn rows(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (first, stride, width) = (self.first, self.stride, self.width);
        (0..self.count).map(move |row| first + row * stride..first + row * stride + width)
    }
}

/// Calls `run` with strips that make up all columns, and two numbers for each of their columns, the
/// second of which is zero.
fn each_strip<T: Element>(
    [outer, n, inner]: [usize; 3],
    run: impl Fn(Strip, &mut [T], &mut [T]) + Sync,
) {
    if outer * n * inner == 0 {
        return;
    }
    let strips = STRIPS.div_ceil(outer);
    let most = (NUMBERS / n / LEAST * LEAST).clamp(LEAST, MOST);
    let width = inner.div_ceil(strips).next_multiple_of(LEAST).min(most);
    let strips = inner.div_ceil(width);
    // Small ones are many to a task.
    let several = if strips == 1 { (PIECE / (n * inner)).max(1) } else { 1 };
    threads::for_each(outer.div_ceil(several) * strips, outer * n * inner, |task| {
        let (first, column) = (task / strips * several, task % strips * width);
        let width = width.min(inner - column);
        let (mut one, mut other) = ([T::zero(); MOST], [T::zero(); MOST]);
        let (one, other) = (&mut one[..width], &mut other[..width]);
        for o in first..outer.min(first + several) {
            other.fill(T::zero());
            run(
                Strip { first: o * n * inner + column, count: n, stride: inner, width },
                one,
                other,
            );
        }
    });
}

vectorized! {
    /// The larger of each number and what `max` has, passing over NaN.
    fn raise<S, T: Element>(x: &[T], max: &mut [T]) {
        let lanes = T::V::<S>::LANES;
        for (x, max) in x.chunks(lanes).zip(max.chunks_mut(lanes)) {
            T::V::<S>::read(x).max(T::V::<S>::read(max)).write(max);
        }
    }
}

vectorized! {
    /// Adds `exp(x - max)` to the sums, and writes it where it is wanted.
    fn add_exponentials<S, T: Element>(x: &[T], max: &[T], sums: &mut [T], y: Option<&mut [T]>) {
        let lanes = <T::V<S> as Vector>::Pair::LANES;
        let columns = x.chunks(lanes).zip(max.chunks(lanes)).zip(sums.chunks_mut(lanes));
        match y {
            Some(y) => {
                for (((x, max), sums), y) in columns.zip(y.chunks_mut(lanes)) {
                    exponentials::<<T::V<S> as Vector>::Pair>(x, max, sums).write(y);
                }
            }
            None => {
                for ((x, max), sums) in columns {
                    exponentials::<<T::V<S> as Vector>::Pair>(x, max, sums);
                }
            }
        }
    }
}

#[inline(always)]
fn exponentials<V: Vector>(x: &[V::Elem], max: &[V::Elem], sums: &mut [V::Elem]) -> V {
    let e = V::read(x).sub(V::read(max)).exp_to_one();
    V::read(sums).add(e).write(sums);
    e
}

vectorized! {
    /// `y = x - by`.
    fn shift<S, T: Element>(x: &[T], by: &[T], y: &mut [T]) {
        y.iter_mut().zip(x).zip(by).for_each(|((y, &x), &by)| *y = x - by);
    }
}

vectorized! {
    fn scale<S, T: Element>(y: &mut [T], by: &[T]) {
        y.iter_mut().zip(by).for_each(|(y, &by)| *y *= by);
    }
}

vectorized! {
    fn add<S, T: Element>(dy: &[T], sums: &mut [T]) {
        sums.iter_mut().zip(dy).for_each(|(sum, &dy)| *sum += dy);
    }
}

vectorized! {
    fn add_products<S, T: Element>(dy: &[T], y: &[T], sums: &mut [T]) {
        let lanes = T::V::<S>::LANES;
        for ((dy, y), sums) in dy.chunks(lanes).zip(y.chunks(lanes)).zip(sums.chunks_mut(lanes)) {
            T::V::<S>::read(dy).mul_add(T::V::<S>::read(y), T::V::<S>::read(sums)).write(sums);
        }
    }
}

vectorized! {
    /// `dx = y * (dy - dot)`.
    fn subtract_products<S, T: Element>(dy: &[T], y: &[T], dots: &[T], dx: &mut [T]) {
        let given = dy.iter().zip(y).zip(dots);
        dx.iter_mut().zip(given).for_each(|(dx, ((&dy, &y), &dot))| *dx = y * (dy - dot));
    }
}

vectorized! {
    /// `dx = dy - exp(y) * sum`.
    fn subtract_shares<S, T: Element>(dy: &[T], y: &[T], sums: &[T], dx: &mut [T]) {
        let lanes = T::V::<S>::LANES;
        let given = dy.chunks(lanes).zip(y.chunks(lanes)).zip(sums.chunks(lanes));
        for (((dy, y), sums), dx) in given.zip(dx.chunks_mut(lanes)) {
            let p = T::V::<S>::read(y).exp();
            p.neg_mul_add(T::V::<S>::read(sums), T::V::<S>::read(dy)).write(dx);
        }
    }
}
