//! Operations on two arrays, and the choice between them, against those of `ndarray`.

use lamina_kernels::Element;
use lamina_kernels::arithmetic::{Operation, apply, choose};
use ndarray::{Array, ArrayD, ArrayViewD, Axis, IxDyn, Slice};

use crate::noise;

const OPERATIONS: [Operation; 6] = [
    Operation::Add,
    Operation::Subtract,
    Operation::Multiply,
    Operation::Divide,
    Operation::Maximum,
    Operation::Minimum,
];

fn one<T: Element>(operation: Operation, a: T, b: T) -> T {
    match operation {
        Operation::Add => a + b,
        Operation::Subtract => a - b,
        Operation::Multiply => a * b,
        Operation::Divide => a / b,
        _ if a.is_nan() || b.is_nan() => T::nan(),
        Operation::Maximum => a.max(b),
        Operation::Minimum => a.min(b),
    }
}

/// The results, in C order.
fn check<T: Element>(a: ArrayViewD<'_, T>, b: ArrayViewD<'_, T>, shape: &[usize]) {
    check_order(a, b, shape, &(0..shape.len()).collect::<Vec<_>>());
}

/// The results, whose axes lie in memory in this order.
fn check_order<T: Element>(
    a: ArrayViewD<'_, T>,
    b: ArrayViewD<'_, T>,
    shape: &[usize],
    order: &[usize],
) {
    let (wide, other) = (a.broadcast(shape).unwrap(), b.broadcast(shape).unwrap());
    for operation in OPERATIONS {
        let mut expected = wide.to_owned();
        expected.zip_mut_with(&other, |a, &b| *a = one(operation, *a, b));
        let c = apply(operation, a.view(), b.view()).unwrap();
        assert!(c.view().permuted_axes(order).is_standard_layout());
        assert_eq!(c, expected, "{operation:?} of {:?} and {:?}", a.shape(), b.shape());
    }
}

#[test]
fn every_length_and_operation() {
    for len in [0, 1, 7, 15, 16, 33, 40_000] {
        let (a, b) = (noise::<f32, _>(IxDyn(&[len]), 1), noise(IxDyn(&[len]), 2));
        check(a.view(), b.view(), &[len]);
        let number = ndarray::arr0(3.0f32).into_dyn();
        check(a.view(), number.view(), &[len]);
        check(number.view(), a.view(), &[len]);
        check(number.view(), number.view(), &[]);
    }
}

#[test]
fn shapes_broadcast_either_way() {
    let pairs: [(&[usize], &[usize]); 13] = [
        (&[7, 2, 1], &[1]),
        (&[3, 2, 33], &[33]),
        (&[2, 2, 20_000], &[20_000]),
        (&[4, 2, 0], &[0]),
        (&[64, 100], &[64, 1]),
        (&[300, 17], &[300, 1]),
        (&[5, 6, 3, 4], &[1, 6, 1, 1]),
        (&[2, 3, 40, 50], &[3, 1, 1]),
        (&[100, 1], &[1, 70]),
        (&[2, 1, 3, 1], &[4, 1, 5]),
        (&[1, 1, 1], &[9, 8]),
        (&[5000, 3], &[3]),
        (&[2, 3, 1, 2, 3], &[3, 1, 1, 3]),
    ];
    for (a, b) in pairs {
        let ndim = a.len().max(b.len());
        let axis = |s: &[usize], i: usize| (i + s.len()).checked_sub(ndim).map_or(1, |i| s[i]);
        let shape: Vec<_> =
            (0..ndim).map(|i| if axis(a, i) == 1 { axis(b, i) } else { axis(a, i) }).collect();
        let (x, y) = (noise::<f64, _>(a, 3), noise(b, 4));
        check(x.view(), y.view(), &shape);
        check(y.view(), x.view(), &shape);
    }
}

#[test]
fn operands_lie_any_way() {
    let a = noise::<f32, _>(IxDyn(&[37, 41, 50]), 5);
    let b = noise::<f32, _>(IxDyn(&[50, 41, 37]), 6);
    check(a.view(), b.t(), &[37, 41, 50]);
    check(b.t(), a.view(), &[37, 41, 50]);
    let mut back = a.view();
    back.invert_axis(Axis(2));
    check(back.view(), a.view(), &[37, 41, 50]);
    let every_third = a.slice_axis(Axis(2), Slice::from(1..).step_by(3)).into_dyn();
    check(every_third.view(), every_third.view(), &[37, 41, 17]);
    let row = a.index_axis(Axis(0), 3).into_dyn();
    let spread = row.broadcast(IxDyn(&[37, 41, 50])).unwrap();
    check(spread.view(), a.view(), &[37, 41, 50]);
    let column = noise::<f32, _>(IxDyn(&[41, 1]), 7);
    let spread = column.broadcast(IxDyn(&[41, 50])).unwrap();
    check(spread.view(), spread.view(), &[41, 50]);
}

#[test]
fn an_order_of_axes_that_operands_share_is_kept() {
    let (a, b) = (noise::<f32, _>(IxDyn(&[37, 41, 50]), 5), noise(IxDyn(&[37, 41, 50]), 6));
    let (number, row) = (ndarray::arr0(2.0f32).into_dyn(), noise(IxDyn(&[37]), 7));
    for (order, back) in [([2, 0, 1], [1, 2, 0]), ([0, 2, 1], [0, 2, 1]), ([2, 1, 0], [2, 1, 0])] {
        let (a, b) = (a.view().permuted_axes(&order[..]), b.view().permuted_axes(&order[..]));
        check_order(a.view(), b.view(), a.shape(), &back);
        check_order(a.view(), number.view(), a.shape(), &back);
        check_order(number.view(), a.view(), a.shape(), &back);
    }
    check_order(a.t(), row.view(), &[50, 41, 37], &[2, 1, 0]);
    check(a.t(), a.t().as_standard_layout().view(), &[50, 41, 37]);
    let column = noise::<f32, _>(IxDyn(&[9, 1, 1]), 8);
    check(column.t(), number.view(), &[1, 1, 9]);
    let one = noise::<f32, _>(IxDyn(&[40, 1, 30]), 9);
    check_order(one.t(), number.view(), &[30, 1, 40], &[1, 2, 0]);
    let part = a.slice_axis(Axis(1), Slice::from(3..20));
    check_order(part.t(), number.view(), &[50, 17, 37], &[2, 1, 0]);
}

#[test]
fn nan_is_beyond_all_others() {
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let a = Array::from_vec(vec![nan, 1.0, nan, inf, -inf]).into_dyn();
    let b = Array::from_vec(vec![1.0, nan, nan, 1.0, 1.0]).into_dyn();
    let larger = apply(Operation::Maximum, a.view(), b.view()).unwrap();
    let smaller = apply(Operation::Minimum, a.view(), b.view()).unwrap();
    assert!(larger.iter().take(3).chain(smaller.iter().take(3)).all(|x| x.is_nan()));
    assert_eq!((larger[3], larger[4], smaller[3], smaller[4]), (inf, 1.0, 1.0, -inf));
}

#[test]
fn shapes_that_do_not_broadcast_are_an_error() {
    let (row, pair) = (ArrayD::<f32>::zeros(IxDyn(&[3])), ArrayD::zeros(IxDyn(&[2])));
    let error = apply(Operation::Add, row.view(), pair.view()).unwrap_err();
    let expected = "[arithmetic] b: expected a shape that broadcasts with [3], got [2]";
    assert_eq!(error.to_string(), expected);
    let mask = ArrayD::zeros(IxDyn(&[4]));
    assert!(choose(mask.view(), row.view(), row.view()).is_err());
}

#[test]
fn one_of_two_is_chosen_at_each_place() {
    let shapes: [[&[usize]; 4]; 6] = [
        [&[33], &[33], &[33], &[33]],
        [&[200, 300], &[200, 300], &[], &[200, 300]],
        [&[200, 300], &[], &[200, 300], &[200, 300]],
        [&[30, 1], &[4, 1, 20], &[20], &[4, 30, 20]],
        [&[1], &[2, 3], &[3], &[2, 3]],
        [&[0, 4], &[4], &[1, 1], &[0, 4]],
    ];
    for [mask, a, b, shape] in shapes {
        let mask = noise::<f32, _>(mask, 1).mapv(|x| u8::from(x > 0.0) * 3);
        let (a, b) = (noise::<f64, _>(a, 2), noise::<f64, _>(b, 3));
        let c = choose(mask.view(), a.view(), b.view()).unwrap();
        let mask = mask.broadcast(shape).unwrap();
        let (a, b) = (a.broadcast(shape).unwrap(), b.broadcast(shape).unwrap());
        let expected = ArrayD::from_shape_fn(shape, |i| if mask[&i] != 0 { a[&i] } else { b[&i] });
        assert_eq!(c, expected, "{shape:?}");
    }
}
