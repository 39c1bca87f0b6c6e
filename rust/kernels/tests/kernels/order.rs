//! Elements of rows in order.

use std::cmp::Ordering;

use lamina_kernels::order::{Ordered, top};
use ndarray::{Array2, ArrayView2, ShapeBuilder, array};

use crate::noise;

/// All indices of a row by a stable sort.
fn sorted<T: Ordered>(x: &[T], largest: bool) -> Vec<i64> {
    let ascending = |a: T, b: T| {
        let unordered = || a.is_nan().cmp(&b.is_nan());
        a.partial_cmp(&b).unwrap_or_else(unordered)
    };
    let mut indices: Vec<i64> = (0..x.len() as i64).collect();
    indices.sort_by(|&i, &j| {
        let order: Ordering = ascending(x[i as usize], x[j as usize]);
        if largest { order.reverse() } else { order }
    });
    indices
}

fn check<T: Ordered>(x: &Array2<T>) {
    let columns = x.ncols();
    for largest in [false, true] {
        let expected: Vec<_> =
            x.rows().into_iter().map(|row| sorted(&row.to_vec(), largest)).collect();
        for k in [0, 1, 2, 7, 33, columns / 4, columns / 4 + 1, columns.saturating_sub(1), columns]
        {
            if k > columns {
                continue;
            }
            let (values, indices) = top(x.view(), k, largest).unwrap();
            assert_eq!((values.dim(), indices.dim()), ((x.nrows(), k), (x.nrows(), k)));
            for (r, expected) in expected.iter().enumerate() {
                let place = format!("row {r} of {:?}, k {k}, largest {largest}", x.dim());
                assert_eq!(indices.row(r).to_vec(), expected[..k], "{place}");
                for (value, &index) in values.row(r).iter().zip(expected) {
                    // Also the signs of zeros and what NaN are made of.
                    let element = x[[r, index as usize]];
                    assert!(value.is_nan() && element.is_nan() || *value == element, "{place}");
                    assert_eq!(value.is_sign_negative(), element.is_sign_negative(), "{place}");
                }
            }
        }
    }
}

fn every_shape<T: Ordered>() {
    let shapes = [
        (0, 3),
        (3, 0),
        (1, 1),
        (5, 2),
        (3, 63),
        (2, 64),
        (2, 65),
        (700, 30),
        (3, 1027),
        (1, 30_000),
    ];
    for shape in shapes {
        let x = noise::<T, _>(shape, 7);
        check(&x);
        // Many are equal, some zeros have a sign.
        check(&x.mapv(|x| (x * T::of(3.0)).trunc()));
        check(&x.mapv(|x| {
            let special =
                [f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0, 1e-310];
            let which = ((x.f64() + 1.0) * 7.0) as usize;
            special.get(which).map_or(x, |&special| T::of(special))
        }));
    }
}

#[test]
fn single_precision_is_sorted_as_by_definition() {
    every_shape::<f32>();
}

#[test]
fn double_precision_is_sorted_as_by_definition() {
    every_shape::<f64>();
}

#[test]
fn rows_that_are_sorted_or_of_one_number() {
    for columns in [100, 5000] {
        check(&Array2::from_shape_fn((2, columns), |(_, j)| j as f32));
        check(&Array2::from_shape_fn((2, columns), |(_, j)| -(j as f64)));
        check(&Array2::from_elem((1, columns), -0.5f32));
        check(&Array2::from_elem((1, columns), f64::NAN));
        // NaN fill the places that are wanted, and go on behind them.
        check(&Array2::from_shape_fn(
            (1, columns),
            |(_, j)| if j % 2 == 0 { f32::NAN } else { 0.0 },
        ));
    }
}

#[test]
fn numbers_next_to_each_other_are_told_apart() {
    let x = array![[f32::MIN_POSITIVE, 1e-45, 0.0, -0.0, -1e-45, f32::MAX, f32::INFINITY, 1.0]];
    check(&x);
    check(&array![[1.0, 1.0 + f64::EPSILON, 1.0 - f64::EPSILON, 5e-324, 0.0, -5e-324]]);
}

#[test]
fn axes_in_another_order() {
    let x = noise::<f32, _>((40, 30), 3);
    let (values, indices) = top(x.t(), 5, true).unwrap();
    assert_eq!((values, indices), top(x.t().as_standard_layout().view(), 5, true).unwrap());
}

#[test]
fn what_cannot_be_is_refused() {
    let error = top(array![[1.0f32, 2.0]].view(), 3, true).unwrap_err();
    assert_eq!(error.to_string(), "[order_top] k: expected at most 2, the length of a row, got 3");
}

#[test]
#[cfg(target_pointer_width = "64")]
fn rows_longer_than_indices_are_refused() {
    let long = (1 << 32) + 1;
    let x = [0.5f32];
    // No memory is behind it: one number is repeated.
    let x = ArrayView2::from_shape((1, long).strides((0, 0)), &x).unwrap();
    let error = top(x, 1, true).unwrap_err();
    assert_eq!(
        error.to_string(),
        "[order_top] x: expected rows of at most 4294967296, got 4294967297"
    );
}
