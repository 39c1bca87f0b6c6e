//! Operations on two arrays against those of `ndarray`.

use lamina_kernels::arithmetic::{Operation, apply};
use ndarray::{Array, IxDyn};

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
        assert_eq!(apply(Operation::Divide, a.clone(), positive.view()).unwrap(), &a / &positive);
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
