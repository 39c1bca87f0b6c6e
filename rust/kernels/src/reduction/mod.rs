//! Reductions over neighbouring axes: of `[O, N, I]` over `N`.
//!
//! Numbers are taken together in blocks in the element's own precision, and blocks in double
//! precision.
//!
//! largest, smallest:  dx = dy / count where x = y, else 0
//! product:            dx = dy * y / x
//! norm:               y = sqrt(sum x^2)                       dx = x * dy / y
//! logsumexp:          y = max x + ln sum exp(x - max x)       dx = exp(x - y) * dy
//! variance:           y = sum (x - mean)^2 / left             dx = (x - mean) * slope
#![allow(unsafe_code)]

mod fold;
mod scan;
mod spread;
mod steps;

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, CowArray, Ix3};

use crate::layout::flat;
use crate::memory::Plain;
use crate::threads::Shared;
use crate::{Element, Result, check_shape, memory, vectorized};
use fold::{Fold, fold};
pub use scan::scan;
use spread::{Chosen, Deviations, Map, Quotients, Scaled, Shares, spread};
use steps::{First, Largest, LogSumExp, Matches, Moments, Product, Smallest, Squares, Sum};

/// Sum over the middle axis of `x` `[O, N, I]`.
pub fn sum<T: Element>(x: ArrayView3<'_, T>) -> Result<Array2<T>> {
    Ok(reduced::<T, Sum>(x, |sum| sum))
}

/// Mean over the middle axis of `x` `[O, N, I]`: NaN of none.
pub fn mean<T: Element>(x: ArrayView3<'_, T>) -> Result<Array2<T>> {
    let count = x.dim().1 as f64;
    Ok(reduced::<T, Sum>(x, |sum| sum / count))
}

/// Product over the middle axis of `x` `[O, N, I]`.
pub fn product<T: Element>(x: ArrayView3<'_, T>) -> Result<Array2<T>> {
    Ok(reduced::<T, Product>(x, |product| product))
}

/// Largest number over the middle axis of `x` `[O, N, I]`: NaN if there is one, `-inf` of none.
pub fn largest<T: Element>(x: ArrayView3<'_, T>) -> Result<Array2<T>> {
    Ok(reduced::<T, Largest>(x, |largest| largest))
}

/// Smallest number over the middle axis of `x` `[O, N, I]`: NaN if there is one, `inf` of none.
pub fn smallest<T: Element>(x: ArrayView3<'_, T>) -> Result<Array2<T>> {
    Ok(reduced::<T, Smallest>(x, |smallest| smallest))
}

/// Square root of the sum of squares over the middle axis of `x` `[O, N, I]`.
pub fn norm<T: Element>(x: ArrayView3<'_, T>) -> Result<Array2<T>> {
    Ok(reduced::<T, Squares>(x, f64::sqrt))
}

/// Logarithm of the sum of the exponentials over the middle axis of `x` `[O, N, I]`.
pub fn logsumexp<T: Element>(x: ArrayView3<'_, T>) -> Result<Array2<T>> {
    Ok(reduced::<T, LogSumExp>(
        x,
        |[largest, sum]| {
            if largest.is_finite() { largest + sum.ln() } else { largest }
        },
    ))
}

/// Mean over the middle axis of `x` `[O, N, I]`, and the sum of the squared differences from it
/// divided by `left`.
pub fn variance<T: Element>(x: ArrayView3<'_, T>, left: f64) -> Result<(Array2<T>, Array2<T>)> {
    Ok(two::<T, Moments, T>(x, |[_, mean, squares]| (T::of(mean), T::of(squares / left))))
}

/// Mean over the middle axis of `x` `[O, N, I]`, and the root of its [`variance`].
pub fn deviation<T: Element>(x: ArrayView3<'_, T>, left: f64) -> Result<(Array2<T>, Array2<T>)> {
    let root = |squares: f64| T::of((squares / left).sqrt());
    Ok(two::<T, Moments, T>(x, |[_, mean, squares]| (T::of(mean), root(squares))))
}

/// Largest number over the middle axis of `x` `[O, N, I]` and where the first such one, or NaN, is.
pub fn first_largest<T: Element>(x: ArrayView3<'_, T>) -> Result<(Array2<T>, Array2<i64>)> {
    Ok(two::<T, First<Largest>, i64>(x, |[value, place]| (T::of(value), place as i64)))
}

/// Smallest number over the middle axis of `x` `[O, N, I]` and where the first such one, or NaN,
/// is.
pub fn first_smallest<T: Element>(x: ArrayView3<'_, T>) -> Result<(Array2<T>, Array2<i64>)> {
    Ok(two::<T, First<Smallest>, i64>(x, |[value, place]| (T::of(value), place as i64)))
}

/// Gradient of `x` `[O, N, I]` from `dy` and the largest or smallest numbers `y`, both `[O, I]`:
/// those that are equal share it, as do those that are NaN.
pub fn extreme_backward<T: Element>(
    dy: ArrayView2<'_, T>,
    x: ArrayView3<'_, T>,
    y: ArrayView2<'_, T>,
) -> Result<Array3<T>> {
    const OP: &str = "reduction_extreme_backward";
    check_each(OP, "dy", x.dim(), dy)?;
    check_each(OP, "y", x.dim(), y)?;
    let y = y.as_standard_layout();
    let mut share = memory::unfilled_array(y.raw_dim());
    let out = Shared::new(share.as_slice_mut().expect("a new array"));
    let numbers = x.as_standard_layout();
    fold::<T, Matches>(flat(&numbers), x.dim(), flat(&y), |place, counts| {
        // SAFETY: each place is written once.
        let share = unsafe { out.slice(place..place + counts.len()) };
        share.iter_mut().zip(counts).for_each(|(share, &count)| *share = T::of(count));
    });
    share.zip_mut_with(&dy, |share, &dy| *share = dy / *share);
    Ok(spread::<T, Chosen>(x, y.view(), share.view()))
}

/// Gradient of `x` `[O, N, I]` from `dy` and the outputs `y` of [`logsumexp`], both `[O, I]`.
pub fn logsumexp_backward<T: Element>(
    dy: ArrayView2<'_, T>,
    x: ArrayView3<'_, T>,
    y: ArrayView2<'_, T>,
) -> Result<Array3<T>> {
    mapped::<T, Shares>("reduction_logsumexp_backward", ("y", y), ("dy", dy), x)
}

/// `(x - mean) * slope` for `x` `[O, N, I]`, `mean` and `slope` `[O, I]`.
pub fn variance_backward<T: Element>(
    slope: ArrayView2<'_, T>,
    x: ArrayView3<'_, T>,
    mean: ArrayView2<'_, T>,
) -> Result<Array3<T>> {
    mapped::<T, Deviations>("reduction_variance_backward", ("mean", mean), ("slope", slope), x)
}

/// `x * slope` for `x` `[O, N, I]` and `slope` `[O, I]`.
pub fn norm_backward<T: Element>(
    slope: ArrayView2<'_, T>,
    x: ArrayView3<'_, T>,
) -> Result<Array3<T>> {
    mapped::<T, Scaled>("reduction_norm_backward", ("slope", slope), ("slope", slope), x)
}

/// `slope / x` for `x` `[O, N, I]` and `slope` `[O, I]`.
pub fn product_backward<T: Element>(
    slope: ArrayView2<'_, T>,
    x: ArrayView3<'_, T>,
) -> Result<Array3<T>> {
    mapped::<T, Quotients>("reduction_product_backward", ("slope", slope), ("slope", slope), x)
}

/// That `each` has one number for all those of `[O, N, I]` over `N`.
fn check_each<T>(
    op: &'static str,
    arg: &'static str,
    (outer, _, inner): (usize, usize, usize),
    each: ArrayView2<'_, T>,
) -> Result<()> {
    check_shape(op, arg, &[outer, inner], each.shape())
}

fn mapped<T: Element, M: Map>(
    op: &'static str,
    a: (&'static str, ArrayView2<'_, T>),
    b: (&'static str, ArrayView2<'_, T>),
    x: ArrayView3<'_, T>,
) -> Result<Array3<T>> {
    for (arg, each) in [a, b] {
        check_each(op, arg, x.dim(), each)?;
    }
    Ok(spread::<T, M>(x, a.1, b.1))
}

/// What `result` makes of what is kept.
fn reduced<T: Element, F: Fold>(
    x: ArrayView3<'_, T>,
    result: impl Fn(F::Kept) -> f64 + Sync,
) -> Array2<T> {
    let (outer, _, inner) = x.dim();
    let mut y = memory::unfilled_array((outer, inner));
    let out = Shared::new(y.as_slice_mut().expect("a new array"));
    let numbers: CowArray<'_, T, Ix3> = x.as_standard_layout();
    fold::<T, F>(flat(&numbers), x.dim(), &[], |place, kept| {
        // SAFETY: each place is written once.
        let y = unsafe { out.slice(place..place + kept.len()) };
        write_each(kept, &result, y);
    });
    y
}

vectorized! {
    /// What `result` makes of each that is kept.
    fn write_each<S, T: Element, K: Copy, R: Fn(K) -> f64>(kept: &[K], result: &R, y: &mut [T]) {
        y.iter_mut().zip(kept).for_each(|(y, &kept)| *y = T::of(result(kept)));
    }
}

/// The two numbers that `result` makes of what is kept.
fn two<T: Element, F: Fold, U: Plain + Send>(
    x: ArrayView3<'_, T>,
    result: impl Fn(F::Kept) -> (T, U) + Sync,
) -> (Array2<T>, Array2<U>) {
    let (outer, _, inner) = x.dim();
    let mut y = memory::unfilled_array((outer, inner));
    let mut z = memory::unfilled_array((outer, inner));
    let out = Shared::new(y.as_slice_mut().expect("a new array"));
    let second = Shared::new(z.as_slice_mut().expect("a new array"));
    let numbers: CowArray<'_, T, Ix3> = x.as_standard_layout();
    fold::<T, F>(flat(&numbers), x.dim(), &[], |place, kept| {
        let places = place..place + kept.len();
        // SAFETY: each place is written once.
        let (y, z) = unsafe { (out.slice(places.clone()), second.slice(places)) };
        for ((y, z), &kept) in y.iter_mut().zip(z).zip(kept) {
            (*y, *z) = result(kept);
        }
    });
    (y, z)
}
