//! Alignments counted by hand.

use lamina_kernels::ctc::{Targets, forward};
use ndarray::Array3;

fn uniform(steps: usize, labels: &[i64], input: i64) -> (f64, Option<Array3<f64>>) {
    let y = Array3::from_elem((steps, 1, 4), 0.25f64.ln());
    let targets = Targets {
        labels,
        stride: 0,
        lengths: &[labels.len() as i64],
        input_lengths: &[input],
        blank: 0,
    };
    let (loss, dy) = forward(y.view(), &targets, false, true).unwrap();
    (loss[0], dy)
}

#[test]
fn one_label_has_a_triangle_of_alignments() {
    // A run of the label anywhere in five steps: 15 of 4^5 paths.
    let (loss, dy) = uniform(6, &[2], 5);
    assert!((loss - (4.0f64.powi(5) / 15.0).ln()).abs() < 1e-12);
    let dy = dy.unwrap();
    for t in 0..6 {
        let sum: f64 = (0..4).map(|c| dy[[t, 0, c]]).sum();
        assert!((sum - if t < 5 { -1.0 } else { 0.0 }).abs() < 1e-12);
    }
}

#[test]
fn equal_labels_need_a_blank_between() {
    assert_eq!(uniform(2, &[1, 1], 2).0, f64::INFINITY);
    assert!((uniform(2, &[1, 2], 2).0 - 16.0f64.ln()).abs() < 1e-12);
    assert!((uniform(3, &[], 3).0 - 64.0f64.ln()).abs() < 1e-12);
    assert_eq!(uniform(0, &[], 0).0, 0.0);
}
