//! Sums, differences and products of arrays of one shape, on all threads.

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
}

/// The operation on each element of `a` and the one of `b` in the same place.
pub fn apply<T: Element>(
    operation: Operation,
    a: ArrayViewD<'_, T>,
    b: ArrayViewD<'_, T>,
) -> Result<ArrayD<T>> {
    check_shape("arithmetic", "b", a.shape(), b.shape())?;
    let mut c = memory::unfilled_array(a.raw_dim());
    let (a, b) = (a.as_standard_layout(), b.as_standard_layout());
    let a = a.as_slice().expect("standard layout");
    let b = b.as_slice().expect("standard layout");
    let piece = threads::piece_len(a.len(), 1);
    let out = c.as_slice_mut().expect("a new array");
    threads::for_each_piece(out, piece, a.len(), |i, c| {
        let range = i * piece..i * piece + c.len();
        pairs(operation, &a[range.clone()], &b[range], c);
    });
    Ok(c)
}

vectorized! {
    fn pairs<S, T: Element>(operation: Operation, a: &[T], b: &[T], c: &mut [T]) {
        let lanes = T::V::<S>::LANES;
        for ((a, b), c) in a.chunks(lanes).zip(b.chunks(lanes)).zip(c.chunks_mut(lanes)) {
            let (a, b) = (T::V::<S>::read(a), T::V::<S>::read(b));
            match operation {
                Operation::Add => a.add(b),
                Operation::Subtract => a.sub(b),
                Operation::Multiply => a.mul(b),
            }
            .write(c);
        }
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
        }
    }
}
