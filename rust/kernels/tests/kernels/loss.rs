//! Losses of single numbers.

use lamina_kernels::loss::{Inputs, Loss, Reduction, forward};

fn one(loss: Loss, x: f32, t: f32) -> f32 {
    let inputs = Inputs { x: &[x; 19], t: &[t; 19], weight: None, pos_weight: None };
    let each = forward(loss, &inputs, Reduction::None).unwrap();
    let mean = forward(loss, &inputs, Reduction::Mean).unwrap()[0];
    assert!((each[18] - mean).abs() <= mean.abs() * 1e-6);
    each[18]
}

#[test]
fn a_sum_has_nothing_of_the_lanes_beyond_the_end() {
    assert_eq!(one(Loss::Mse, 3.0, 1.0), 4.0);
    assert_eq!(one(Loss::SmoothL1(2.0), 4.0, 1.0), 2.0);
    assert_eq!(one(Loss::Huber(0.5), 2.0, 1.0), 0.375);
    assert!((one(Loss::BceWithLogits, 0.0, 1.0) - 2.0f32.ln()).abs() < 1e-7);
}

#[test]
fn tails_keep_their_precision() {
    let tiny = (-20.0f32).exp();
    assert!((one(Loss::BceWithLogits, 20.0, 1.0) / tiny - 1.0).abs() < 1e-6);
    assert_eq!(one(Loss::BceWithLogits, -1e30, 1.0), 1e30);
    assert_eq!(one(Loss::Bce, 0.0, 1.0), 100.0);
    assert_eq!(one(Loss::Bce, 1.0, 1.0), 0.0);
    assert_eq!(one(Loss::Kl, -3.0, 0.0), 0.0);
}
