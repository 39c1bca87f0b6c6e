//! Elements of rows in order, all of them or the first few.
//!
//! Integers stand for floats in their order: one holds the element and behind it where it was, so
//! that a comparison also keeps equal ones in their order, and none are equal to the sort.
#![allow(unsafe_code)]

use ndarray::{Array2, ArrayView2};
use num_traits::{PrimInt, Zero};

use crate::memory::{self, Plain};
use crate::threads::{self, Shared};
use crate::{Element, Error, Result, vectorized};

/// Elements that are passed over at once where none is among the first.
const BLOCK: usize = 64;
/// Least candidates that are kept, so that few wanted ones are not chosen again and again.
const CANDIDATES: usize = 64;
/// Fewer wanted ones than this part of a row are selected while it is read once.
const FEW: usize = 4;

/// Floats with integers that stand for them.
pub trait Ordered: Element {
    /// An integer as wide as the element.
    type Key: PrimInt + Send + Sync;
    /// A key and behind it an index.
    type Place: Plain + Ord + Zero + Send;
    /// Most elements of a row that indices can tell apart.
    const MOST: u64;

    /// Larger for what comes later from smallest to largest, NaN last; the other way round where
    /// the bits of `flip` are set.
    fn key(self, flip: Self::Key) -> Self::Key;

    /// Where `key` was.
    fn place(key: Self::Key, index: usize) -> Self::Place;

    /// The key and the index of a place.
    fn parts(place: Self::Place) -> (Self::Key, usize);
}

impl Ordered for f32 {
    type Key = u32;
    type Place = u64;
    const MOST: u64 = 1 << 32;

    #[inline(always)]
    fn key(self, flip: u32) -> u32 {
        const SIGN: u32 = 1 << 31;
        let bits = self.to_bits();
        // Of two numbers below zero the larger one has the smaller bits.
        let signed = bits ^ ((bits.cast_signed() >> 31).cast_unsigned() | SIGN);
        let key = if self == 0.0 { SIGN } else { signed };
        (if self.is_nan() { u32::MAX } else { key }) ^ flip
    }

    #[inline(always)]
    fn place(key: u32, index: usize) -> u64 {
        u64::from(key) << 32 | index as u64
    }

    #[inline(always)]
    fn parts(place: u64) -> (u32, usize) {
        ((place >> 32) as u32, place as u32 as usize)
    }
}

impl Ordered for f64 {
    type Key = u64;
    type Place = u128;
    const MOST: u64 = u64::MAX;

    #[inline(always)]
    fn key(self, flip: u64) -> u64 {
        const SIGN: u64 = 1 << 63;
        let bits = self.to_bits();
        let signed = bits ^ ((bits.cast_signed() >> 63).cast_unsigned() | SIGN);
        let key = if self == 0.0 { SIGN } else { signed };
        (if self.is_nan() { u64::MAX } else { key }) ^ flip
    }

    #[inline(always)]
    fn place(key: u64, index: usize) -> u128 {
        u128::from(key) << 64 | index as u128
    }

    #[inline(always)]
    fn parts(place: u128) -> (u64, usize) {
        ((place >> 64) as u64, place as u64 as usize)
    }
}

/// The `k` largest or smallest elements of each row of `x` `[R, C]`, in order, and where they were.
///
/// NaN counts as larger than all, -0 equals 0, and equal ones keep their order both ways.
pub fn top<T: Ordered>(
    x: ArrayView2<'_, T>,
    k: usize,
    largest: bool,
) -> Result<(Array2<T>, Array2<i64>)> {
    let (rows, columns) = x.dim();
    if k > columns {
        let message = format!("expected at most {columns}, the length of a row, got {k}");
        return Err(Error::value("order_top", "k", message));
    }
    if columns as u64 > T::MOST {
        let message = format!("expected rows of at most {}, got {columns}", T::MOST);
        return Err(Error::value("order_top", "x", message));
    }
    let mut values = memory::unfilled_array((rows, k));
    let mut indices = memory::unfilled_array((rows, k));
    if values.is_empty() {
        return Ok((values, indices));
    }
    let x = x.as_standard_layout();
    let x = x.as_slice().expect("standard layout");
    let flip = if largest { !T::Key::zero() } else { T::Key::zero() };
    let (room, cost) = match k > columns / FEW {
        true => (columns, 16 * columns),
        false => ((2 * k).max(CANDIDATES).min(columns), columns),
    };
    let step = threads::piece_len(rows, cost);
    let kept = Shared::new(values.as_slice_mut().expect("a new array"));
    let out = indices.as_slice_mut().expect("a new array");
    threads::for_each_piece(out, step * k, rows.saturating_mul(cost), |piece, indices| {
        let first = piece * step;
        // SAFETY: each row is written by one task.
        let values = unsafe { kept.slice(first * k..first * k + indices.len()) };
        let mut places = memory::unfilled(room);
        let outputs = values.chunks_exact_mut(k).zip(indices.chunks_exact_mut(k));
        for (x, (values, indices)) in x[first * columns..].chunks_exact(columns).zip(outputs) {
            arrange(x, k, flip, &mut places);
            for ((value, index), &place) in values.iter_mut().zip(indices).zip(&places) {
                let (_, at) = T::parts(place);
                (*value, *index) = (x[at], at as i64);
            }
        }
    });
    Ok((values, indices))
}

vectorized! {
    /// Writes the first `k` of a row in the order of their keys to the front of `places`, which has
    /// room for all, or for more than `k`.
    fn arrange<S, T: Ordered>(x: &[T], k: usize, flip: T::Key, places: &mut [T::Place]) {
        let (start, rest) = x.split_at(places.len());
        for (index, (&x, place)) in start.iter().zip(&mut *places).enumerate() {
            *place = T::place(x.key(flip), index);
        }
        if k < start.len() {
            let mut last = keep::<T>(places, k);
            let mut count = k;
            for (block, x) in rest.chunks(BLOCK).enumerate() {
                // What is equal to the last that is kept comes after it.
                if x.iter().fold(last, |least, x| least.min(x.key(flip))) == last {
                    continue;
                }
                for (i, &x) in x.iter().enumerate() {
                    let key = x.key(flip);
                    if key >= last {
                        continue;
                    }
                    if count == places.len() {
                        last = keep::<T>(places, k);
                        count = k;
                    }
                    places[count] = T::place(key, start.len() + block * BLOCK + i);
                    count += 1;
                }
            }
            keep::<T>(&mut places[..count], k);
        }
        places[..k].sort_unstable();
    }
}

/// Moves the first `k` in order to the front, and gives the key of the last of them.
fn keep<T: Ordered>(places: &mut [T::Place], k: usize) -> T::Key {
    let (_, &mut last, _) = places.select_nth_unstable(k - 1);
    T::parts(last).0
}
