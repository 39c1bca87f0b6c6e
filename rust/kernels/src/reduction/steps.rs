//! What is done with each number, and with what it gives.

use std::marker::PhantomData;

use super::fold::{Fold, Form, ROWS, Rows, fold_row};
use crate::simd::{MAX_LANES, Vector};
use crate::{Element, norm, vectorized};

/// A value of each number, and how two values become one.
pub trait Step {
    /// Changes nothing that it is merged with.
    const START: f64;
    /// Whether values depend on a number beside the row or column.
    const CENTRED: bool = false;

    /// A number whose value is [`Self::START`].
    #[inline(always)]
    fn passed<T: Element>(_centre: T) -> T {
        T::zero()
    }
    /// The value of `x`.
    #[inline(always)]
    fn value<V: Vector>(x: V, _centre: V) -> V {
        x
    }
    /// One of two.
    #[inline(always)]
    fn merge<V: Vector>(a: V, b: V) -> V {
        a.add(b)
    }
    /// The same for two numbers.
    #[inline(always)]
    fn both(a: f64, b: f64) -> f64 {
        a + b
    }
    /// One of all lanes.
    #[inline(always)]
    fn lanes<V: Vector>(x: V) -> V::Elem {
        x.sum()
    }
}

pub struct Sum;

impl Step for Sum {
    const START: f64 = 0.0;
}

pub struct Squares;

impl Step for Squares {
    const START: f64 = 0.0;

    #[inline(always)]
    fn value<V: Vector>(x: V, _: V) -> V {
        x.mul(x)
    }
}

/// Differences from the centre.
pub struct Differences;

impl Step for Differences {
    const START: f64 = 0.0;
    const CENTRED: bool = true;

    #[inline(always)]
    fn passed<T: Element>(centre: T) -> T {
        centre
    }
    #[inline(always)]
    fn value<V: Vector>(x: V, centre: V) -> V {
        x.sub(centre)
    }
}

/// Squares of the differences from the centre.
pub struct SquaredDifferences;

impl Step for SquaredDifferences {
    const START: f64 = 0.0;
    const CENTRED: bool = true;

    #[inline(always)]
    fn passed<T: Element>(centre: T) -> T {
        centre
    }
    #[inline(always)]
    fn value<V: Vector>(x: V, centre: V) -> V {
        let d = x.sub(centre);
        d.mul(d)
    }
}

/// Exponentials of the differences from the centre, which is no smaller.
pub struct Exponentials;

impl Step for Exponentials {
    const START: f64 = 0.0;
    const CENTRED: bool = true;

    #[inline(always)]
    fn passed<T: Element>(_: T) -> T {
        T::neg_infinity()
    }
    #[inline(always)]
    fn value<V: Vector>(x: V, centre: V) -> V {
        x.sub(centre).exp_to_one()
    }
}

/// One for numbers that are NaN or equal the centre.
pub struct Matches;

impl Step for Matches {
    const START: f64 = 0.0;
    const CENTRED: bool = true;

    #[inline(always)]
    fn passed<T: Element>(centre: T) -> T {
        if centre == T::zero() { T::one() } else { T::zero() }
    }
    #[inline(always)]
    fn value<V: Vector>(x: V, centre: V) -> V {
        chosen(x, centre, V::of(1.0), V::zero())
    }
}

/// `yes` where `x` is NaN or equals `centre`, else `no`.
#[inline(always)]
pub fn chosen<V: Vector>(x: V, centre: V, yes: V, no: V) -> V {
    V::select(x.eq(centre), yes, V::select(x.eq(x), no, yes))
}

pub struct Product;

impl Step for Product {
    const START: f64 = 1.0;

    #[inline(always)]
    fn passed<T: Element>(_: T) -> T {
        T::one()
    }
    #[inline(always)]
    fn merge<V: Vector>(a: V, b: V) -> V {
        a.mul(b)
    }
    #[inline(always)]
    fn both(a: f64, b: f64) -> f64 {
        a * b
    }
    #[inline(always)]
    fn lanes<V: Vector>(x: V) -> V::Elem {
        let (one, mut product, mut width) = (V::Elem::of(1.0), x, V::LANES);
        while width > 1 {
            width /= 2;
            product = product.mul(product.slide(width, one));
        }
        let mut lanes = [V::Elem::default(); MAX_LANES];
        product.write(&mut lanes);
        lanes[V::LANES - 1]
    }
}

pub struct Largest;

impl Step for Largest {
    const START: f64 = f64::NEG_INFINITY;

    #[inline(always)]
    fn passed<T: Element>(_: T) -> T {
        T::neg_infinity()
    }
    #[inline(always)]
    fn merge<V: Vector>(a: V, b: V) -> V {
        a.larger(b)
    }
    #[inline(always)]
    fn both(a: f64, b: f64) -> f64 {
        if a.is_nan() || a > b { a } else { b }
    }
    #[inline(always)]
    fn lanes<V: Vector>(x: V) -> V::Elem {
        x.max_lane() + nan(x)
    }
}

pub struct Smallest;

impl Step for Smallest {
    const START: f64 = f64::INFINITY;

    #[inline(always)]
    fn passed<T: Element>(_: T) -> T {
        T::infinity()
    }
    #[inline(always)]
    fn merge<V: Vector>(a: V, b: V) -> V {
        a.smaller(b)
    }
    #[inline(always)]
    fn both(a: f64, b: f64) -> f64 {
        if a.is_nan() || a < b { a } else { b }
    }
    #[inline(always)]
    fn lanes<V: Vector>(x: V) -> V::Elem {
        nan(x) - x.neg().max_lane()
    }
}

/// NaN where a lane is, else zero.
#[inline(always)]
fn nan<V: Vector>(x: V) -> V::Elem {
    V::select(x.eq(x), V::zero(), x).sum()
}

/// The largest number, and the sum of the exponentials of the differences from it where it is
/// finite.
pub struct LogSumExp;

impl Fold for LogSumExp {
    type Kept = [f64; 2];
    const PACE: usize = 1;

    fn row<T: Element>(x: &[T], _: usize, _: T) -> [f64; 2] {
        let largest = fold_row::<T, Largest>(x, T::zero());
        let finite = largest.is_finite();
        [largest, if finite { fold_row::<T, Exponentials>(x, T::of(largest)) } else { 0.0 }]
    }

    fn rows<T: Element, const WIDTH: usize>(rows: Rows<'_, T>, kept: &mut [[f64; 2]]) {
        let (mut centres, mut block, mut values) =
            ([T::zero(); WIDTH], [T::zero(); WIDTH], [0.0; WIDTH]);
        let (centres, block) = (&mut centres[..kept.len()], &mut block[..kept.len()]);
        let values = &mut values[..kept.len()];
        rows.fold::<Largest>(&[], block, values);
        for ((kept, centre), &largest) in kept.iter_mut().zip(&mut *centres).zip(&*values) {
            (kept[0], *centre) = (largest, T::of(largest));
        }
        rows.fold::<Exponentials>(centres, block, values);
        for (kept, &sum) in kept.iter_mut().zip(&*values) {
            kept[1] = if kept[0].is_finite() { sum } else { 0.0 };
        }
    }

    fn join([first, a]: [f64; 2], [second, b]: [f64; 2]) -> [f64; 2] {
        let largest = Largest::both(first, second);
        let finite = largest.is_finite();
        let sum = a * (first - largest).exp() + b * (second - largest).exp();
        [largest, if finite { sum } else { 0.0 }]
    }
}

/// How many numbers, their mean, and the sum of the squared differences from it.
pub struct Moments;

/// From `count` numbers' differences from `centre`: their sum and the sum of their squares.
fn around(count: f64, centre: f64, sum: f64, squares: f64) -> [f64; 3] {
    let shift = sum / count;
    let squares = squares - sum * shift;
    [count, centre + shift, if squares < 0.0 { 0.0 } else { squares }]
}

impl Fold for Moments {
    type Kept = [f64; 3];
    const PACE: usize = 4;

    fn row<T: Element>(x: &[T], _: usize, _: T) -> [f64; 3] {
        let count = x.len() as f64;
        let centre = norm::sum(x) / count;
        let (sum, squares) = norm::deviations(x, centre);
        around(count, centre, sum, squares)
    }

    fn rows<T: Element, const WIDTH: usize>(rows: Rows<'_, T>, kept: &mut [[f64; 3]]) {
        let count = rows.count() as f64;
        let (mut centres, mut block, mut values) =
            ([T::zero(); WIDTH], [T::zero(); WIDTH], [0.0; WIDTH]);
        let (centres, block) = (&mut centres[..kept.len()], &mut block[..kept.len()]);
        let values = &mut values[..kept.len()];
        rows.fold::<Sum>(&[], block, values);
        for (centre, &sum) in centres.iter_mut().zip(&*values) {
            *centre = T::of(sum / count);
        }
        rows.fold::<Differences>(centres, block, values);
        for (kept, &sum) in kept.iter_mut().zip(&*values) {
            kept[1] = sum;
        }
        rows.fold::<SquaredDifferences>(centres, block, values);
        for ((kept, centre), &squares) in kept.iter_mut().zip(&*centres).zip(&*values) {
            *kept = around(count, centre.f64(), kept[1], squares);
        }
    }

    fn join([n, mean, squares]: [f64; 3], [m, other, more]: [f64; 3]) -> [f64; 3] {
        let (count, apart) = (n + m, other - mean);
        [count, mean + apart * (m / count), squares + more + apart * apart * (n * m / count)]
    }
}

/// The largest or smallest number, and where the first that equals it, or is NaN, stands.
pub struct First<F>(PhantomData<F>);

impl<F: Step> Fold for First<F> {
    type Kept = [f64; 2];
    const PACE: usize = 4;

    fn row<T: Element>(x: &[T], at: usize, _: T) -> [f64; 2] {
        let value = fold_row::<T, F>(x, T::zero());
        [value, (at + first_match(x, T::of(value))) as f64]
    }

    fn rows<T: Element, const WIDTH: usize>(rows: Rows<'_, T>, kept: &mut [[f64; 2]]) {
        let (mut centres, mut block, mut values) =
            ([T::zero(); WIDTH], [T::zero(); WIDTH], [0.0; WIDTH]);
        let (centres, block) = (&mut centres[..kept.len()], &mut block[..kept.len()]);
        let values = &mut values[..kept.len()];
        rows.fold::<F>(&[], block, values);
        for ((kept, centre), &value) in kept.iter_mut().zip(&mut *centres).zip(&*values) {
            (kept[0], *centre) = (value, T::of(value));
        }
        match rows.form {
            Form::Columns(stride) => first_matches(rows.x, stride, centres, block, values),
            Form::Rows(len) => {
                for ((x, &value), place) in
                    rows.x.chunks_exact(len).zip(&*centres).zip(&mut *values)
                {
                    *place = first_match(x, value) as f64;
                }
            }
        }
        for (kept, &place) in kept.iter_mut().zip(&*values) {
            kept[1] = rows.at as f64 + place;
        }
    }

    fn join(first: [f64; 2], second: [f64; 2]) -> [f64; 2] {
        let value = F::both(first[0], second[0]);
        if first[0].is_nan() || first[0] == value { first } else { second }
    }
}

vectorized! {
    /// Where the first of `x` is that is NaN or equals `value`; zero if none does.
    fn first_match<S, T: Element>(x: &[T], value: T) -> usize {
        const BLOCK: usize = 128;
        let lanes = T::V::<S>::LANES;
        let (centre, one) = (T::V::<S>::splat(value), T::V::<S>::of(1.0));
        let is_it = |x: &T| x.is_nan() || *x == value;
        for (i, block) in x.chunks(BLOCK).enumerate() {
            let mut vectors = block.chunks_exact(lanes);
            let mut count = T::V::<S>::zero();
            for x in vectors.by_ref() {
                count = count.add(chosen(T::V::<S>::read(x), centre, one, T::V::<S>::zero()));
            }
            if count.sum() > T::zero() || vectors.remainder().iter().any(is_it) {
                return i * BLOCK + block.iter().position(is_it).unwrap_or(0);
            }
        }
        0
    }
}

vectorized! {
    /// The first row whose number in each column is NaN or equals that in `values`; `block` is room
    /// for a number of each.
    fn first_matches<S, T: Element>(
        x: &[T],
        stride: usize,
        values: &[T],
        block: &mut [T],
        places: &mut [f64],
    ) {
        let lanes = T::V::<S>::LANES;
        let width = places.len();
        let none = T::of(ROWS as f64);
        places.fill(0.0);
        for (i, rows) in x.chunks(ROWS * stride).enumerate().rev() {
            block.fill(none);
            for (row, x) in rows.chunks(stride).enumerate().rev() {
                let row = T::V::<S>::of(row as f64);
                for from in (0..width).step_by(lanes) {
                    let to = (from + lanes).min(width);
                    let (x, block) = (T::V::<S>::read(&x[from..to]), &mut block[from..to]);
                    let value = T::V::<S>::read(&values[from..to]);
                    chosen(x, value, row, T::V::<S>::read(block)).write(block);
                }
            }
            for (place, &row) in places.iter_mut().zip(&*block) {
                if row < none {
                    *place = (i * ROWS) as f64 + row.f64();
                }
            }
        }
    }
}
