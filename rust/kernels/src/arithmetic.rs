//! Sums, differences, products and quotients of arrays, on all threads.

use ndarray::{ArrayD, ArrayViewD};

use crate::simd::Vector;
use crate::{Element, Result, check_shape, memory, threads, vectorized};

/// What is done to each pair of elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `a + b`.
    Add,
    /// `a - b`.
    Subtract,
    /// `a * b`.
    Multiply,
    /// `a / b`.
    Divide,
}

/// Numbers in a task where nothing but one number is repeated.
const PIECE: usize = 16_384;

/// The operation on each element of `a` and the one of `b` in the same place; a `b` of `a`'s last
/// axes is repeated along the others.
pub fn apply<T: Element>(
    operation: Operation,
    a: ArrayViewD<'_, T>,
    b: ArrayViewD<'_, T>,
) -> Result<ArrayD<T>> {
    let same = &a.shape()[a.ndim().saturating_sub(b.ndim())..];
    check_shape("arithmetic", "b", same, b.shape())?;
    let mut c = memory::unfilled_array(a.raw_dim());
    let (a, b) = (a.as_standard_layout(), b.as_standard_layout());
    let a = a.as_slice().expect("standard layout");
    let b = b.as_slice().expect("standard layout");
    if let &[number] = b {
        let out = c.as_slice_mut().expect("a new array");
        threads::for_each_piece(out, PIECE, a.len(), |i, c| {
            with_number(operation, &a[i * PIECE..][..c.len()], number, c);
        });
        return Ok(c);
    }
    let repeated = b.len() < a.len();
    // Where `b` is repeated, a piece is made of whole copies of it.
    let width = if repeated { b.len() } else { 1 };
    let piece = threads::piece_len(a.len().div_ceil(width.max(1)), width) * width;
    let out = c.as_slice_mut().expect("a new array");
    threads::for_each_piece(out, piece, a.len(), |i, c| {
        let range = i * piece..i * piece + c.len();
        if repeated {
            let rows = a[range].chunks_exact(width).zip(c.chunks_exact_mut(width));
            rows.for_each(|(a, c)| pairs(operation, a, b, c));
        } else {
            pairs(operation, &a[range.clone()], &b[range], c);
        }
    });
    Ok(c)
}

vectorized! {
    fn pairs<S, T: Element>(operation: Operation, a: &[T], b: &[T], c: &mut [T]) {
        let lanes = T::V::<S>::LANES;
        for ((a, b), c) in a.chunks(lanes).zip(b.chunks(lanes)).zip(c.chunks_mut(lanes)) {
            T::V::<S>::prefetch_ahead(a);
            T::V::<S>::prefetch_ahead(b);
            T::V::<S>::prefetch_ahead(c);
            operate(operation, T::V::<S>::read(a), T::V::<S>::read(b)).write(c);
        }
    }
}

vectorized! {
    fn with_number<S, T: Element>(operation: Operation, a: &[T], b: T, c: &mut [T]) {
        let lanes = T::V::<S>::LANES;
        let b = T::V::<S>::splat(b);
        for (a, c) in a.chunks(lanes).zip(c.chunks_mut(lanes)) {
            T::V::<S>::prefetch_ahead(a);
            T::V::<S>::prefetch_ahead(c);
            operate(operation, T::V::<S>::read(a), b).write(c);
        }
    }
}

#[inline(always)]
fn operate<V: Vector>(operation: Operation, a: V, b: V) -> V {
    match operation {
        Operation::Add => a.add(b),
        Operation::Subtract => a.sub(b),
        Operation::Multiply => a.mul(b),
        Operation::Divide => a.div(b),
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array, IxDyn};

    use super::*;

    #[test]
    fn every_length_and_operation() {
        for len in [0, 1, 7, 16, 33, 40_000] {
            let a = Array::from_shape_fn(IxDyn(&[len]), |i| i[0] as f32);
            let b = a.mapv(|x| 3.0 - x);
            let (a, b) = (a.view(), b.view());
            assert_eq!(apply(Operation::Add, a.clone(), b.clone()).unwrap(), &a + &b);
            assert_eq!(apply(Operation::Subtract, a.clone(), b.clone()).unwrap(), &a - &b);
            assert_eq!(apply(Operation::Multiply, a.clone(), b.clone()).unwrap(), &a * &b);
            let positive = b.mapv(|x| x.abs() + 1.0);
            assert_eq!(
                apply(Operation::Divide, a.clone(), positive.view()).unwrap(),
                &a / &positive
            );
            let number = ndarray::arr0(3.0f32).into_dyn();
            assert_eq!(apply(Operation::Divide, a.clone(), number.view()).unwrap(), &a / &number);
        }
    }

    #[test]
    fn a_row_is_repeated() {
        for (rows, width) in [(1, 5), (7, 1), (3, 33), (2, 40_000), (4, 0)] {
            let a = Array::from_shape_fn(IxDyn(&[rows, 2, width]), |i| (i[0] + 3 * i[2]) as f64);
            let b = Array::from_shape_fn(IxDyn(&[width]), |i| i[0] as f64);
            let c = apply(Operation::Subtract, a.view(), b.view()).unwrap();
            assert_eq!(c, &a - &b);
        }
        let row = Array::<f32, _>::zeros(IxDyn(&[3]));
        let pair = Array::zeros(IxDyn(&[2]));
        assert!(apply(Operation::Add, row.view(), pair.view()).is_err());
    }
}
