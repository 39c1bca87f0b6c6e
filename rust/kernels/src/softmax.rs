//! Softmax and log-softmax over the last axis.
//!
//! softmax:      y = exp(x - max x) / sum exp(x - max x)     dx = y * (dy - sum(dy * y))
//! log-softmax:  y = x - max x - ln sum exp(x - max x)       dx = dy - exp(y) * sum(dy)

use ndarray::{Array2, ArrayView2};

use crate::simd::{Isa, Vector};
use crate::{Element, Result, check_shape, memory, threads, vectorized};

/// Softmax of each row of `x` `[R, C]`. A row of `-inf` gives NaN, as in NumPy.
pub fn forward<T: Element>(x: ArrayView2<'_, T>) -> Result<Array2<T>> {
    Ok(map_rows(x, softmax_row))
}

/// Logarithm of the softmax of each row of `x` `[R, C]`.
pub fn log_forward<T: Element>(x: ArrayView2<'_, T>) -> Result<Array2<T>> {
    Ok(map_rows(x, log_softmax_row))
}

/// Gradient of the input of softmax from that of the output, `dy`, and the output `y`, `[R, C]`.
pub fn backward<T: Element>(dy: ArrayView2<'_, T>, y: ArrayView2<'_, T>) -> Result<Array2<T>> {
    check_shape("softmax_backward", "dy", y.shape(), dy.shape())?;
    Ok(zip_rows(dy, y, softmax_row_backward))
}

/// Gradient of the input of log-softmax from `dy` and the output `y`, both `[R, C]`.
pub fn log_backward<T: Element>(dy: ArrayView2<'_, T>, y: ArrayView2<'_, T>) -> Result<Array2<T>> {
    check_shape("log_softmax_backward", "dy", y.shape(), dy.shape())?;
    Ok(zip_rows(dy, y, log_softmax_row_backward))
}

fn map_rows<T: Element>(x: ArrayView2<'_, T>, row: fn(&[T], &mut [T])) -> Array2<T> {
    let (rows, columns) = x.dim();
    let x = x.as_standard_layout();
    let x = x.as_slice().expect("standard layout");
    let mut y = memory::unfilled_array((rows, columns));
    let step = threads::piece_len(rows, columns) * columns;
    let out = y.as_slice_mut().expect("a new array");
    threads::for_each_piece(out, step, rows * columns, |piece, y| {
        let x = &x[piece * step..][..y.len()];
        for (x, y) in x.chunks_exact(columns).zip(y.chunks_exact_mut(columns)) {
            row(x, y);
        }
    });
    y
}

fn zip_rows<T: Element>(
    dy: ArrayView2<'_, T>,
    y: ArrayView2<'_, T>,
    row: fn(&[T], &[T], &mut [T]),
) -> Array2<T> {
    let (rows, columns) = y.dim();
    let (dy, y) = (dy.as_standard_layout(), y.as_standard_layout());
    let dy = dy.as_slice().expect("standard layout");
    let y = y.as_slice().expect("standard layout");
    let mut dx = memory::unfilled_array((rows, columns));
    let step = threads::piece_len(rows, columns) * columns;
    let out = dx.as_slice_mut().expect("a new array");
    threads::for_each_piece(out, step, rows * columns, |piece, dx| {
        let range = piece * step..piece * step + dx.len();
        let rows = dy[range.clone()].chunks_exact(columns).zip(y[range].chunks_exact(columns));
        for ((dy, y), dx) in rows.zip(dx.chunks_exact_mut(columns)) {
            row(dy, y, dx);
        }
    });
    dx
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
