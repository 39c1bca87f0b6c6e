//! Functions of each number of `[O, N, I]` and of two numbers of `[O, I]` that belong to it.

use ndarray::{Array3, ArrayView2, ArrayView3};

use super::fold::{COLUMNS, PART, cut};
use super::steps::chosen;
use crate::simd::Vector;
use crate::threads::Shared;
use crate::{Element, memory, vectorized};

/// A function of `x` and the two others.
pub trait Map {
    /// Numbers written in a nanosecond, about.
    const PACE: usize = 4;

    /// Its value.
    fn at<V: Vector>(x: V, a: V, b: V) -> V;
}

/// `b` where `x` is NaN or equals `a`, else zero.
pub struct Chosen;

impl Map for Chosen {
    #[inline(always)]
    fn at<V: Vector>(x: V, a: V, b: V) -> V {
        chosen(x, a, b, V::zero())
    }
}

/// `exp(x - a) * b`.
pub struct Shares;

impl Map for Shares {
    const PACE: usize = 1;

    #[inline(always)]
    fn at<V: Vector>(x: V, a: V, b: V) -> V {
        x.sub(a).exp().mul(b)
    }
}

/// `(x - a) * b`.
pub struct Deviations;

impl Map for Deviations {
    #[inline(always)]
    fn at<V: Vector>(x: V, a: V, b: V) -> V {
        x.sub(a).mul(b)
    }
}

/// `x * b`.
pub struct Scaled;

impl Map for Scaled {
    #[inline(always)]
    fn at<V: Vector>(x: V, _: V, b: V) -> V {
        x.mul(b)
    }
}

/// `b / x`.
pub struct Quotients;

impl Map for Quotients {
    #[inline(always)]
    fn at<V: Vector>(x: V, _: V, b: V) -> V {
        b.div(x)
    }
}

/// The values for `x` `[O, N, I]` and `a` and `b` `[O, I]`.
pub fn spread<T: Element, M: Map>(
    x: ArrayView3<'_, T>,
    a: ArrayView2<'_, T>,
    b: ArrayView2<'_, T>,
) -> Array3<T> {
    let dims @ (_, n, inner) = x.dim();
    let (x, a, b) = (x.as_standard_layout(), a.as_standard_layout(), b.as_standard_layout());
    let x = x.as_slice().expect("standard layout");
    let a = a.as_slice().expect("standard layout");
    let b = b.as_slice().expect("standard layout");
    let mut y = memory::unfilled_array(dims);
    if x.is_empty() {
        return y;
    }
    let out = Shared::new(y.as_slice_mut().expect("a new array"));
    let step = PART.div_ceil(inner.min(COLUMNS));
    cut(dims, step, x.len() / M::PACE, |outers, part, columns| {
        let (from, to) = (part * step, ((part + 1) * step).min(n));
        for o in outers {
            if inner == 1 {
                let places = o * n + from..o * n + to;
                // SAFETY: each place is written by one task.
                let y = unsafe { out.slice(places.clone()) };
                spread_row::<T, M>(&x[places], a[o], b[o], y);
                continue;
            }
            let each = o * inner + columns.start..o * inner + columns.end;
            let (a, b) = (&a[each.clone()], &b[each]);
            // Strips of rows are apart from each other, whole rows are not.
            let together = if columns.len() == inner { to - from } else { 1 };
            for row in (from..to).step_by(together) {
                let start = (o * n + row) * inner + columns.start;
                let places = start..start + together * columns.len();
                // SAFETY: as above.
                let y = unsafe { out.slice(places.clone()) };
                spread_rows::<T, M>(&x[places], a, b, y);
            }
        }
    });
    y
}

vectorized! {
    fn spread_row<S, T: Element, M: Map>(x: &[T], a: T, b: T, y: &mut [T]) {
        let lanes = T::V::<S>::LANES;
        let (a, b) = (T::V::<S>::splat(a), T::V::<S>::splat(b));
        for (x, y) in x.chunks(lanes).zip(y.chunks_mut(lanes)) {
            T::V::<S>::prefetch_ahead(x);
            T::V::<S>::prefetch_ahead(y);
            M::at(T::V::<S>::read(x), a, b).write(y);
        }
    }
}

vectorized! {
    /// Rows as long as `a` and `b`.
    fn spread_rows<S, T: Element, M: Map>(x: &[T], a: &[T], b: &[T], y: &mut [T]) {
        let lanes = T::V::<S>::LANES;
        for (x, y) in x.chunks_exact(a.len()).zip(y.chunks_exact_mut(a.len())) {
            let others = a.chunks(lanes).zip(b.chunks(lanes));
            for ((x, y), (a, b)) in x.chunks(lanes).zip(y.chunks_mut(lanes)).zip(others) {
                T::V::<S>::prefetch_ahead(x);
                T::V::<S>::prefetch_ahead(y);
                let (a, b) = (T::V::<S>::read(a), T::V::<S>::read(b));
                M::at(T::V::<S>::read(x), a, b).write(y);
            }
        }
    }
}
