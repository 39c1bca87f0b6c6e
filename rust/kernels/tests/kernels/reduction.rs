//! Sums along an axis.

use lamina_kernels::reduction::sum;
use ndarray::{Array3, Axis};

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
