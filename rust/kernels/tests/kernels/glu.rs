//! The gated linear unit against the definition.

use lamina_kernels::glu::{backward, forward};
use lamina_kernels::threads;
use ndarray::Array3;

use crate::noise;

#[test]
fn one_half_opens_the_other() {
    for (o, m) in [(1, 1), (3, 17), (2, 20_000), (0, 5), (4, 0)] {
        let x = noise::<f64, _>((o, 2, m), 1) * 4.0;
        let dy = noise::<f64, _>((o, m), 2);
        for threads in [1, 3] {
            threads::set_num_threads(threads);
            let y = forward(x.view()).unwrap();
            let dx = backward(dy.view(), x.view()).unwrap();
            for ((o, i), &dy) in dy.indexed_iter() {
                let (a, b) = (x[[o, 0, i]], x[[o, 1, i]]);
                let share = 1.0 / (1.0 + (-b).exp());
                assert!((y[[o, i]] - a * share).abs() < 1e-14);
                assert!((dx[[o, 0, i]] - dy * share).abs() < 1e-14);
                assert!((dx[[o, 1, i]] - dy * a * share * (1.0 - share)).abs() < 1e-14);
            }
        }
    }
}

#[test]
fn shapes_must_agree() {
    let error = forward(Array3::<f32>::zeros((2, 3, 4)).view()).unwrap_err();
    assert_eq!(error.to_string(), "[glu_forward] x: expected two halves, got 3");
}
