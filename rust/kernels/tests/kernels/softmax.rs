//! Softmax of rows.

use lamina_kernels::softmax::{backward, forward};
use ndarray::array;

#[test]
fn rows_sum_to_one_and_infinities_count_for_nothing() {
    let x = array![[1.0f32, 2.0, f32::NEG_INFINITY], [1e30, 1e30, -1e30]];
    let y = forward(x.view()).unwrap();
    let third = 1.0 / (1.0 + 1.0f32.exp());
    assert!((y[[0, 0]] - third).abs() < 1e-7 && y[[0, 2]] == 0.0);
    assert_eq!(y.row(1).to_vec(), [0.5, 0.5, 0.0]);
    assert!(forward(array![[f32::NAN, 1.0]].view()).unwrap()[[0, 1]].is_nan());
}

#[test]
fn shapes_must_agree() {
    let y = array![[1.0f64, 2.0]];
    let error = backward(array![[1.0f64]].view(), y.view()).unwrap_err();
    assert_eq!(error.to_string(), "[softmax_backward] dy: expected shape [1, 2], got [1, 1]");
}
