//! Batch and group normalisation.

use lamina_kernels::norm::channel::{Sets, forward};
use ndarray::Array3;

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
fn groups_must_divide_the_channels() {
    let x = Array3::<f32>::zeros((1, 4, 2));
    let error = forward(x.view(), Sets::Groups(3), None, None, None, 1e-5).unwrap_err();
    assert_eq!(
        error.to_string(),
        "[group_norm_forward] groups: expected a divisor of the 4 channels, got 3"
    );
}
