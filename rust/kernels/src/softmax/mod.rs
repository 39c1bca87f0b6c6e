//! Softmax and log-softmax along an axis.
//!
//! softmax:      y = exp(x - max x) / sum exp(x - max x)     dx = y * (dy - sum(dy * y))
//! log-softmax:  y = x - max x - ln sum exp(x - max x)       dx = dy - exp(y) * sum(dy)

mod columns;

use ndarray::{Array3, ArrayView3};

use crate::layout::flat;
use crate::simd::{Isa, Vector};
use crate::{Element, Result, check_shape, memory, threads, vectorized};

/// Columns from which on they are faster side by side than each copied into a row.
const SIDE_BY_SIDE: usize = 16;

/// Softmax of `x` `[O, N, I]` along its middle axis. Where all numbers are `-inf` it is NaN, as in NumPy.
pub fn forward<T: Element>(x: ArrayView3<'_, T>) -> Result<Array3<T>> {
    Ok(along([x], |[x], y| softmax_row(x, y), columns::forward::<T, false>))
}

/// Logarithm of the softmax of `x` `[O, N, I]` along its middle axis.
pub fn log_forward<T: Element>(x: ArrayView3<'_, T>) -> Result<Array3<T>> {
    Ok(along([x], |[x], y| log_softmax_row(x, y), columns::forward::<T, true>))
}

/// Gradient of the input of softmax from that of the output, `dy`, and the output `y`, `[O, N, I]`.
pub fn backward<T: Element>(dy: ArrayView3<'_, T>, y: ArrayView3<'_, T>) -> Result<Array3<T>> {
    check_shape("softmax_backward", "dy", y.shape(), dy.shape())?;
    let row = |[dy, y]: [&[T]; 2], dx: &mut [T]| softmax_row_backward(dy, y, dx);
    Ok(along([dy, y], row, columns::backward::<T, false>))
}

/// Gradient of the input of log-softmax from `dy` and the output `y`, both `[O, N, I]`.
pub fn log_backward<T: Element>(dy: ArrayView3<'_, T>, y: ArrayView3<'_, T>) -> Result<Array3<T>> {
    check_shape("log_softmax_backward", "dy", y.shape(), dy.shape())?;
    let row = |[dy, y]: [&[T]; 2], dx: &mut [T]| log_softmax_row_backward(dy, y, dx);
    Ok(along([dy, y], row, columns::backward::<T, true>))
}

/// `row` of each row of arrays of one shape where these lie one after the other, else `columns` of the
/// whole, or `row` of a copy of each where there are few.
fn along<T: Element, const N: usize>(
    x: [ArrayView3<'_, T>; N],
    row: impl Fn([&[T]; N], &mut [T]) + Sync,
    columns: fn([&[T]; N], [usize; 3], &mut [T]),
) -> Array3<T> {
    let dims @ (outer, n, inner) = x[0].dim();
    let x = x.each_ref().map(|x| x.as_standard_layout());
    let x = x.each_ref().map(|x| flat(x));
    let mut y = memory::unfilled_array(dims);
    let out = y.as_slice_mut().expect("a new array");
    match inner {
        _ if out.is_empty() => {}
        1 => {
            let step = threads::piece_len(outer, n) * n;
            threads::for_each_piece(out, step, x[0].len(), |piece, y| {
                for (i, y) in y.chunks_exact_mut(n).enumerate() {
                    row(x.map(|x| &x[piece * step + i * n..][..n]), y);
                }
            });
        }
        ..SIDE_BY_SIDE => columns::copied(x, [outer, n, inner], out, row),
        _ => columns(x, [outer, n, inner], out),
    }
    y
}

/// Largest number, `-inf` where there is none, passing over NaN, of which the exponentials make one of
/// their sum.
#[inline(always)]
pub(crate) fn largest<V: Vector>(x: &[V::Elem]) -> V::Elem {
    let low = <V::Elem as num_traits::Float>::neg_infinity();
    let mut max = [V::splat(low); 4];
    let blocks = x.chunks_exact(4 * V::LANES);
    for x in blocks.remainder().chunks(V::LANES) {
        max[0] = V::read_or(x, low).max(max[0]);
    }
    for x in blocks {
        for (i, max) in max.iter_mut().enumerate() {
            *max = V::read(&x[i * V::LANES..]).max(*max);
        }
    }
    max[0].max(max[1]).max(max[2].max(max[3])).max_lane()
}

/// Writes `exp(x - max)` to `y` and returns its sum.
#[inline(always)]
fn exp_row<S: Isa, T: Element>(x: &[T], max: T, y: &mut [T]) -> T {
    let whole = x.len() - x.len() % <T::V<S> as Vector>::Pair::LANES;
    let (x, x_rest) = x.split_at(whole);
    let (y, y_rest) = y.split_at_mut(whole);
    exp_part::<<T::V<S> as Vector>::Pair>(x, max, y) + exp_part::<T::V<S>>(x_rest, max, y_rest)
}

#[inline(always)]
fn exp_part<V: Vector>(x: &[V::Elem], max: V::Elem, y: &mut [V::Elem]) -> V::Elem {
    let shift = V::splat(max);
    let mut sum = V::zero();
    for (x, y) in x.chunks(V::LANES).zip(y.chunks_mut(V::LANES)) {
        V::prefetch_ahead(x);
        V::prefetch_ahead(y);
        let e = V::read_or(x, V::Elem::of(f64::NEG_INFINITY)).sub(shift).exp_to_one();
        e.write(y);
        sum = sum.add(e);
    }
    sum.sum()
}

vectorized! {
    fn softmax_row<S, T: Element>(x: &[T], y: &mut [T]) {
        let sum = exp_row::<S, T>(x, largest::<T::V<S>>(x), y);
        let by = T::one() / sum;
        for y in y {
            *y *= by;
        }
    }
}

vectorized! {
    fn log_softmax_row<S, T: Element>(x: &[T], y: &mut [T]) {
        let max = largest::<T::V<S>>(x);
        let shift = max + exp_row::<S, T>(x, max, y).ln();
        for (x, y) in x.iter().zip(y) {
            *y = *x - shift;
        }
    }
}

vectorized! {
    fn softmax_row_backward<S, T: Element>(dy: &[T], y: &[T], dx: &mut [T]) {
        let lanes = T::V::<S>::LANES;
        let mut dot = T::V::<S>::zero();
        for ((dy, y), dx) in dy.chunks(lanes).zip(y.chunks(lanes)).zip(dx.chunks(lanes)) {
            T::V::<S>::prefetch_ahead(dy);
            T::V::<S>::prefetch_ahead(y);
            T::V::<S>::prefetch_ahead(dx);
            dot = T::V::<S>::read(dy).mul_add(T::V::<S>::read(y), dot);
        }
        let dot = dot.sum();
        for ((dy, y), dx) in dy.iter().zip(y).zip(dx) {
            *dx = *y * (*dy - dot);
        }
    }
}

vectorized! {
    fn log_softmax_row_backward<S, T: Element>(dy: &[T], y: &[T], dx: &mut [T]) {
        let lanes = T::V::<S>::LANES;
        let mut sum = T::V::<S>::zero();
        for dy in dy.chunks(lanes) {
            sum = sum.add(T::V::<S>::read(dy));
        }
        let sum = T::V::<S>::splat(sum.sum());
        for ((dy, y), dx) in dy.chunks(lanes).zip(y.chunks(lanes)).zip(dx.chunks_mut(lanes)) {
            T::V::<S>::prefetch_ahead(dy);
            T::V::<S>::prefetch_ahead(y);
            T::V::<S>::prefetch_ahead(dx);
            let p = T::V::<S>::read(y).exp();
            p.neg_mul_add(sum, T::V::<S>::read(dy)).write(dx);
        }
    }
}
