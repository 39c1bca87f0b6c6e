//! Reductions along an axis.

use lamina_kernels::reduction::{
    deviation, extreme_backward, first_largest, first_smallest, largest, logsumexp,
    logsumexp_backward, mean, norm, norm_backward, product, product_backward, scan, smallest, sum,
    variance, variance_backward,
};
use lamina_kernels::{Element, threads};
use ndarray::{Array, Array2, Array3, ArrayView3, Axis, Dimension, array, s};

use super::noise;

#[test]
fn every_cut_into_parts_strips_and_groups() {
    let shapes = [
        (1, 1, 1),
        (3, 5, 1),
        (700, 16, 1),
        (2, 40_000, 1),
        (3, 7, 5),
        (1, 3000, 33),
        (2, 9, 1027),
        (1, 5000, 2),
        (0, 3, 2),
        (2, 0, 3),
    ];
    for shape in shapes {
        let x = Array3::from_shape_fn(shape, |(i, j, k)| ((i + 3 * j + 7 * k) % 11) as f32);
        assert_eq!(sum(x.view()).unwrap(), x.sum_axis(Axis(1)), "{shape:?}");
        let swapped = x.view().reversed_axes();
        assert_eq!(sum(swapped.view()).unwrap(), swapped.sum_axis(Axis(1)), "{shape:?}");
    }
}

#[test]
fn many_numbers_lose_no_digits() {
    let x = Array3::from_elem((1, 1 << 20, 1), 0.1f32);
    let exact = f64::from(0.1f32) * f64::from(1 << 20);
    let whole = sum(x.view()).unwrap()[[0, 0]] / exact as f32;
    let columns = x.into_shape_with_order((1, 1 << 18, 4)).unwrap();
    let columns = sum(columns.view()).unwrap() / (exact / 4.0) as f32;
    for ratio in columns.into_iter().chain([whole]) {
        assert!((ratio - 1.0).abs() < 1e-6, "{ratio}");
    }
}

/// Shapes that make every cut into parts, strips and groups, and rows of every rest.
const SHAPES: [(usize, usize, usize); 17] = [
    (1, 1, 1),
    (3, 5, 1),
    (700, 16, 1),
    (2, 40_000, 1),
    (5, 4099, 1),
    (20, 133, 1),
    (133, 100, 1),
    (70, 512, 1),
    (3, 513, 1),
    (3, 7, 5),
    (1, 3000, 33),
    (2, 9, 1027),
    (1, 5000, 2),
    (17, 1, 70),
    (40, 67, 9),
    (1, 1, 2100),
    (2, 300, 65),
];

type Kernel<T> = fn(ArrayView3<'_, T>) -> lamina_kernels::Result<Array2<T>>;

/// `expected` of the numbers over the middle axis, in double precision.
fn over<T: Element>(x: &Array3<T>, expected: impl Fn(&[f64]) -> f64) -> Array2<f64> {
    let (outer, _, inner) = x.dim();
    Array2::from_shape_fn((outer, inner), |(o, i)| {
        let numbers: Vec<_> = x.slice(s![o, .., i]).iter().map(|x| x.f64()).collect();
        expected(&numbers)
    })
}

fn assert_close<T: Element, D: Dimension>(got: &Array<T, D>, expected: &Array<f64, D>, rtol: f64) {
    assert_eq!(got.shape(), expected.shape());
    for (got, &expected) in got.iter().zip(expected) {
        let got = got.f64();
        let same = got == expected || (got.is_nan() && expected.is_nan());
        let apart = (got - expected).abs();
        assert!(same || apart <= rtol * expected.abs().max(1.0), "{got} {expected}");
    }
}

fn log_sum_exp(x: &[f64]) -> f64 {
    let largest = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if x.iter().any(|x| x.is_nan()) {
        f64::NAN
    } else if largest.is_infinite() {
        largest
    } else {
        largest + x.iter().map(|x| (x - largest).exp()).sum::<f64>().ln()
    }
}

/// As of NumPy: NaN where there is one.
fn extreme(x: &[f64], largest: bool) -> f64 {
    x.iter().copied().fold(if largest { f64::NEG_INFINITY } else { f64::INFINITY }, |a, b| {
        if a.is_nan() || b.is_nan() {
            f64::NAN
        } else if largest {
            a.max(b)
        } else {
            a.min(b)
        }
    })
}

fn where_first(x: &[f64], value: f64) -> f64 {
    x.iter().position(|&x| x == value || x.is_nan()).unwrap_or(0) as f64
}

fn matches_definitions<T: Element>(rtol: f64) {
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        let mut x = noise::<T, _>(shape, seed as u32);
        // The same digits as an f32 has, and not so many that none are equal.
        x.mapv_inplace(|x| (x * T::of(512.0)).round() / T::of(64.0));
        let v = x.view();
        let close = |kernel: Kernel<T>, expected: &dyn Fn(&[f64]) -> f64| {
            assert_close(&kernel(v).unwrap(), &over(&x, expected), rtol);
        };
        close(largest, &|x| extreme(x, true));
        close(smallest, &|x| extreme(x, false));
        close(norm, &|x| x.iter().map(|x| x * x).sum::<f64>().sqrt());
        close(logsumexp, &log_sum_exp);
        for (first, is_largest) in [
            (first_largest as fn(_) -> lamina_kernels::Result<(_, Array2<i64>)>, true),
            (first_smallest, false),
        ] {
            let (values, places): (Array2<T>, _) = first(v).unwrap();
            assert_close(&values, &over(&x, |x| extreme(x, is_largest)), 0.0);
            let expected = over(&x, |x| where_first(x, extreme(x, is_largest)));
            assert_eq!(places.mapv(|place| place as f64), expected);
        }
        let (means, squares) = variance(v, 1.0).unwrap();
        let middle = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
        assert_close(&means, &over(&x, middle), rtol);
        assert_close(&mean(v).unwrap(), &over(&x, middle), rtol);
        let squares_of = |x: &[f64]| x.iter().map(|y| (y - middle(x)).powi(2)).sum::<f64>();
        assert_close(&squares, &over(&x, squares_of), rtol);
        let (same, deviations) = deviation(v, 1.5).unwrap();
        assert_eq!(same, means);
        assert_close(&deviations, &over(&x, |x| (squares_of(x) / 1.5).sqrt()), rtol);
        // Factors that neither overflow nor vanish.
        let near_one = x.mapv(|x| T::one() + x * T::of(1e-3));
        let expected = over(&near_one, |x| x.iter().product());
        assert_close(&product(near_one.view()).unwrap(), &expected, 20.0 * rtol);
    }
}

#[test]
fn reductions_are_as_defined() {
    matches_definitions::<f32>(1e-6);
    matches_definitions::<f64>(1e-12);
}

#[test]
fn nan_and_infinities_go_where_they_belong() {
    for shape in [(1, 37, 1), (37, 20, 1), (1, 20_000, 1), (2, 70, 19), (1, 900, 21), (3, 1, 5)] {
        for place in [0, shape.1 / 2, shape.1 - 1] {
            for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut x = noise::<f32, _>(shape, 3);
                x.slice_mut(s![0, place, ..]).fill(odd);
                let close = |kernel: Kernel<f32>, expected: &dyn Fn(&[f64]) -> f64| {
                    assert_close(&kernel(x.view()).unwrap(), &over(&x, expected), 1e-5);
                };
                close(largest, &|x| extreme(x, true));
                close(smallest, &|x| extreme(x, false));
                close(logsumexp, &log_sum_exp);
                close(norm, &|x| x.iter().map(|x| x * x).sum::<f64>().sqrt());
                let (_, places) = first_largest(x.view()).unwrap();
                let expected = over(&x, |x| where_first(x, extreme(x, true)));
                assert_eq!(places.mapv(|place| place as f64), expected);
            }
        }
        let none = Array3::from_elem(shape, f32::NEG_INFINITY);
        assert!(logsumexp(none.view()).unwrap().iter().all(|&y| y == f32::NEG_INFINITY));
        let (_, squares) = variance(none.view(), 1.0).unwrap();
        assert!(squares.iter().all(|y| y.is_nan()));
    }
}

fn scans_match<T: Element>(rtol: f64) {
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        let x = noise::<T, _>(shape, seed as u32);
        for (is_product, reverse) in [(false, false), (false, true), (true, false), (true, true)] {
            let x = if is_product { x.mapv(|x| T::one() + x * T::of(0.01)) } else { x.clone() };
            let mut expected = x.mapv(|x| x.f64());
            if reverse {
                expected.invert_axis(Axis(1));
            }
            expected.accumulate_axis_inplace(Axis(1), |&before, x| {
                *x = if is_product { before * *x } else { before + *x };
            });
            if reverse {
                expected.invert_axis(Axis(1));
            }
            let y = scan(x.view(), is_product, reverse).unwrap();
            assert_close(&y, &expected, rtol);
        }
    }
}

#[test]
fn scans_are_as_defined_either_way() {
    scans_match::<f32>(1e-4);
    scans_match::<f64>(1e-12);
    let mut x = Array3::from_elem((1, 40, 1), 1.0f64);
    (x[[0, 9, 0]], x[[0, 20, 0]]) = (f64::INFINITY, f64::NEG_INFINITY);
    let y = scan(x.view(), false, false).unwrap();
    for (i, y) in y.iter().enumerate() {
        assert!(if i < 9 { *y == (i + 1) as f64 } else { y.is_infinite() == (i < 20) }, "{i} {y}");
    }
}

#[test]
fn gradients_are_as_defined() {
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        let x = noise::<f64, _>(shape, seed as u32).mapv(|x| (x * 8.0).round());
        let each = (shape.0, shape.2);
        let dy = noise::<f64, _>(each, 77);
        let at = |each: &Array2<f64>, o, i| each[[o, i]];
        let check = |got: Array3<f64>, expected: &dyn Fn(usize, usize, f64) -> f64| {
            let expected = Array3::from_shape_fn(shape, |(o, n, i)| expected(o, i, x[[o, n, i]]));
            assert_close(&got, &expected, 1e-12);
        };
        let y = largest(x.view()).unwrap();
        let counts = Array2::from_shape_fn(each, |(o, i)| {
            x.slice(s![o, .., i]).iter().filter(|&&x| x == y[[o, i]]).count() as f64
        });
        check(extreme_backward(dy.view(), x.view(), y.view()).unwrap(), &|o, i, x| {
            if x == y[[o, i]] { dy[[o, i]] / counts[[o, i]] } else { 0.0 }
        });
        let y = logsumexp(x.view()).unwrap();
        check(logsumexp_backward(dy.view(), x.view(), y.view()).unwrap(), &|o, i, x| {
            (x - at(&y, o, i)).exp() * at(&dy, o, i)
        });
        check(variance_backward(dy.view(), x.view(), y.view()).unwrap(), &|o, i, x| {
            (x - at(&y, o, i)) * at(&dy, o, i)
        });
        check(norm_backward(dy.view(), x.view()).unwrap(), &|o, i, x| x * at(&dy, o, i));
        check(product_backward(dy.view(), x.view()).unwrap(), &|o, i, x| at(&dy, o, i) / x);
    }
}

#[test]
fn nan_shares_the_gradient_of_an_extreme() {
    let x = array![[[1.0f32], [f32::NAN], [f32::NAN]], [[2.0], [2.0], [1.0]]];
    let y = largest(x.view()).unwrap();
    let dx = extreme_backward(array![[1.0f32], [1.0]].view(), x.view(), y.view()).unwrap();
    assert_eq!(dx, array![[[0.0], [0.5], [0.5]], [[0.5], [0.5], [0.0]]]);
}

#[test]
fn nothing_reduces_to_what_changes_nothing() {
    let x = Array3::<f32>::zeros((2, 0, 3));
    let all = |kernel: Kernel<f32>, value: f32| {
        assert_eq!(kernel(x.view()).unwrap(), Array2::from_elem((2, 3), value));
    };
    all(product, 1.0);
    all(largest, f32::NEG_INFINITY);
    all(smallest, f32::INFINITY);
    all(norm, 0.0);
    all(logsumexp, f32::NEG_INFINITY);
    assert_eq!(scan(x.view(), false, true).unwrap().dim(), (2, 0, 3));
    let each = Array2::<f32>::zeros((2, 3));
    assert_eq!(norm_backward(each.view(), x.view()).unwrap().dim(), (2, 0, 3));
    let none = Array3::<f32>::zeros((0, 4, 3));
    assert_eq!(largest(none.view()).unwrap().dim(), (0, 3));
}

#[test]
fn a_large_mean_costs_the_squares_no_digits() {
    for shape in [(1, 60_000, 1), (1, 3000, 20)] {
        let mut i = 0;
        let x = Array3::from_shape_simple_fn(shape, || {
            i += 1;
            1e4f32 + (i % 7) as f32 * 0.0625
        });
        let expected = over(&x, |x| {
            let mean = x.iter().sum::<f64>() / x.len() as f64;
            x.iter().map(|x| (x - mean).powi(2)).sum()
        });
        let squares = variance(x.view(), 1.0).unwrap().1;
        for (got, expected) in squares.iter().zip(&expected) {
            assert!((f64::from(*got) / expected - 1.0).abs() < 1e-5, "{got} {expected}");
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same() {
    let results = || {
        let mut all = Vec::new();
        for shape in [(2, 40_000, 1), (300, 200, 1), (1, 3000, 33), (2, 30, 1500)] {
            let x = noise::<f32, _>(shape, 5);
            for kernel in [sum, product, largest, norm, logsumexp] {
                all.extend(kernel(x.view()).unwrap());
            }
            let (means, squares) = variance(x.view(), 1.0).unwrap();
            all.extend(means.into_iter().chain(squares));
            all.extend(scan(x.view(), false, false).unwrap());
            all.extend(scan(x.view(), false, true).unwrap());
        }
        all
    };
    let before = threads::num_threads();
    let expected = results();
    for count in [1, 2, 3] {
        threads::set_num_threads(count);
        assert!(results() == expected, "{count} threads");
    }
    threads::set_num_threads(before);
}

#[test]
fn shapes_must_agree() {
    let (x, dy) = (Array3::<f64>::zeros((2, 3, 4)), Array2::<f64>::zeros((2, 3)));
    let error = norm_backward(dy.view(), x.view()).unwrap_err();
    let expected = "[reduction_norm_backward] slope: expected shape [2, 4], got [2, 3]";
    assert_eq!(error.to_string(), expected);
}
