//! Batch and group normalisation.

use lamina_kernels::norm::channel::{Sets, backward, forward};
use ndarray::{Array1, Array3};

use crate::noise;

#[test]
fn a_batch_norm_of_short_runs_equals_one_of_long_runs() {
    for l in [2, 49, 64] {
        let x =
            Array3::from_shape_fn((40, 3, l), |(n, c, l)| ((7 * n + 5 * c + 3 * l) % 11) as f64);
        let long = x.view().permuted_axes([1, 0, 2]).as_standard_layout().into_owned();
        let long = long.into_shape_with_order((1, 3, 40 * l)).unwrap();
        let (y, moments) = forward(x.view(), Sets::Channels, None, None, None, 1e-5).unwrap();
        let (y_long, same) = forward(long.view(), Sets::Channels, None, None, None, 1e-5).unwrap();
        assert!(moments.iter().zip(&same).all(|(a, b)| (a - b).abs() < 1e-13));
        assert!((y[[7, 1, 1]] - y_long[[0, 1, 7 * l + 1]]).abs() < 1e-13);
    }
}

#[test]
fn a_group_norm_of_single_numbers_equals_one_of_each_twice() {
    let sets = Sets::Groups(4);
    let (x, dy) = (noise::<f64, _>((5, 92, 1), 1), noise::<f64, _>((5, 92, 1), 2));
    let (weight, bias) = (noise::<f64, _>(92, 3), noise::<f64, _>(92, 4));
    let (weight, bias) = (Some(weight.view()), Some(bias.view()));
    let twice = |x: &Array3<f64>| x.broadcast((5, 92, 2)).unwrap().to_owned();
    let close = |a: &Array1<f64>, b: &Array1<f64>| {
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-13));
    };
    let (y, moments) = forward(x.view(), sets, None, weight, bias, 1e-5).unwrap();
    let (long, same) = forward(twice(&x).view(), sets, None, weight, bias, 1e-5).unwrap();
    close(&twice(&y).flatten().to_owned(), &long.flatten().to_owned());
    let single =
        backward(dy.view(), x.view(), sets, moments.view(), false, weight, 1e-5, true).unwrap();
    let halves = twice(&dy) / 2.0;
    let of = twice(&x);
    let both =
        backward(halves.view(), of.view(), sets, same.view(), false, weight, 1e-5, true).unwrap();
    close(&twice(&single.0).flatten().to_owned(), &(both.0 * 2.0).flatten().to_owned());
    let ((dweight, dbias), expected) = (single.1.unwrap(), both.1.unwrap());
    close(&dweight, &expected.0);
    close(&dbias, &expected.1);
}

#[test]
fn groups_must_divide_the_channels() {
    let x = Array3::<f32>::zeros((1, 4, 2));
    let error = forward(x.view(), Sets::Groups(3), None, None, None, 1e-5).unwrap_err();
    assert_eq!(
        error.to_string(),
        "[group_norm_forward] groups: expected a divisor of the 4 channels, got 3"
    );
}
