//! Cross-entropy of logits, by cases whose answers are known.

use lamina_kernels::cross_entropy::{Settings, backward, forward};
use lamina_kernels::loss::Reduction;
use ndarray::{Array2, array};

const PLAIN: Settings<'static, f64> =
    Settings { weight: None, ignore_index: -100, label_smoothing: 0.0, reduction: Reduction::Mean };

#[test]
fn uniform_logits_cost_the_logarithm_of_the_number_of_classes() {
    let out = forward(Array2::zeros((3, 4)).view(), &[0, -100, 3], &PLAIN, true).unwrap();
    assert!((out.loss[0] - 4.0f64.ln()).abs() < 1e-15);
    let dlogits = out.dlogits.unwrap();
    assert_eq!(dlogits.row(0).to_vec(), [-0.375, 0.125, 0.125, 0.125]);
    assert_eq!(dlogits.row(1).to_vec(), [0.0; 4]);
}

#[test]
fn blocks_of_minus_infinity_count_for_nothing() {
    let mut x = Array2::from_elem((1, 20_000), f64::NEG_INFINITY);
    (x[[0, 8192]], x[[0, 16_385]]) = (1.0, 3.0);
    let out = forward(x.view(), &[8192], &PLAIN, false).unwrap();
    assert!((out.loss[0] - (1.0 + 2.0f64.exp()).ln()).abs() < 1e-15);
    x[[0, 0]] = f64::NAN;
    assert!(forward(x.view(), &[8192], &PLAIN, false).unwrap().loss[0].is_nan());
}

#[test]
fn backward_agrees_with_the_gradient_of_forward() {
    let x = array![[0.3, -1.0, 2.0], [1e3, 0.0, -1e3]];
    let weight = [0.5, 2.0, 1.0];
    let settings = Settings { weight: Some(&weight), label_smoothing: 0.1, ..PLAIN };
    let out = forward(x.view(), &[1, 2], &settings, true).unwrap();
    let dx = backward(&[1.0], x.view(), &[1, 2], out.stats.view(), &settings).unwrap();
    assert_eq!(out.dlogits.unwrap(), dx);
    assert!(dx.sum().abs() < 1e-15);
}

#[test]
fn targets_are_checked_first() {
    let error = forward(array![[0.0, 1.0]].view(), &[2], &PLAIN, false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "[cross_entropy_forward] targets: expected 0 to 1 for 2 classes, got 2 at row 0"
    );
}
