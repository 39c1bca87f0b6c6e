//! Values and slopes of every function.

use lamina_kernels::activation::{Activation, backward, forward};
use ndarray::{Array1, array};

const ALL: [Activation; 25] = [
    Activation::Abs,
    Activation::Clamp { low: -1.5, high: 0.5 },
    Activation::Celu { alpha: 0.7 },
    Activation::Cos,
    Activation::Elu { alpha: 1.3 },
    Activation::Exp,
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::Hardsigmoid,
    Activation::Hardswish,
    Activation::Hardtanh { low: -1.5, high: 0.5 },
    Activation::LeakyRelu { slope: 0.1 },
    Activation::Log,
    Activation::LogSigmoid,
    Activation::Mish,
    Activation::Relu,
    Activation::Relu6,
    Activation::Selu,
    Activation::Sigmoid,
    Activation::Silu,
    Activation::Sin,
    Activation::Softplus { beta: 1.5, threshold: 20.0 },
    Activation::Softsign,
    Activation::Sqrt,
    Activation::Tanh,
];

#[test]
fn single_precision_follows_double_over_the_range() {
    // Exact in either, or a turn of many would show what was lost rather than what is computed.
    let x = (-4000..4000).map(|i| f64::from(i as f32 * 0.01 + 0.003));
    let x: Array1<f64> = x.collect();
    let dy = Array1::ones(x.len());
    for kind in ALL {
        let x = if [Activation::Log, Activation::Sqrt].contains(&kind) {
            x.mapv(f64::abs)
        } else {
            x.clone()
        };
        let (x32, dy32) = (x.mapv(|x| x as f32), dy.mapv(|x: f64| x as f32));
        let y = forward(kind, x.view()).unwrap();
        let y32 = forward(kind, x32.view()).unwrap();
        let kept = if kind.keeps_output() { &y } else { &x };
        let kept32 = if kind.keeps_output() { &y32 } else { &x32 };
        let dx = backward(kind, dy.view(), kept.view()).unwrap();
        let dx32 = backward(kind, dy32.view(), kept32.view()).unwrap();
        for i in 0..x.len() {
            let close = |a: f64, b: f32| (a - f64::from(b)).abs() <= 3e-6 * (a.abs() + 0.1);
            assert!(close(y[i], y32[i]), "{kind:?} at {}: {} {}", x[i], y[i], y32[i]);
            assert!(close(dx[i], dx32[i]), "{kind:?}' at {}: {} {}", x[i], dx[i], dx32[i]);
        }
    }
}

#[test]
fn celu_of_negative_alpha_grows_without_bound_below_zero() {
    let kind = Activation::Celu { alpha: -1.5 };
    let x: Array1<f64> = (0..200).map(|i| f64::from(i) * -4.0).collect();
    let expected = x.mapv(|x| -1.5 * (x / -1.5).exp_m1());
    let y = forward(kind, x.view()).unwrap();
    let y32 = forward(kind, x.mapv(|x| x as f32).view()).unwrap();
    for i in 0..x.len() {
        // The exponential multiplies the rounding of its argument by the argument.
        let allowed = 1e-15 * (1.0 + x[i].abs()) * expected[i].abs();
        assert!((y[i] - expected[i]).abs() <= allowed, "{} at {}", y[i], x[i]);
        let single = f64::from(expected[i] as f32);
        let close = (f64::from(y32[i]) - single).abs() <= 1e-5 * single.abs();
        assert!(f64::from(y32[i]) == single || close, "{} at {}", y32[i], x[i]);
    }
}

#[test]
fn nan_stays_and_infinities_have_their_limits() {
    let x = array![f32::NAN, f32::NEG_INFINITY, f32::INFINITY];
    let dy = array![1.0f32, 1.0, 1.0];
    for kind in ALL {
        let y = forward(kind, x.view()).unwrap();
        let kept = if kind.keeps_output() { &y } else { &x };
        let dx = backward(kind, dy.view(), kept.view()).unwrap();
        assert!(y[0].is_nan(), "{kind:?}");
        if [Activation::Cos, Activation::Sin].contains(&kind) {
            assert!(y[1].is_nan() && y[2].is_nan(), "{kind:?} {y}");
        } else if ![Activation::Log, Activation::Sqrt].contains(&kind) {
            assert!(!y[1].is_nan() && !y[2].is_nan(), "{kind:?} {y}");
            assert!(!dx[1].is_nan() && !dx[2].is_nan(), "{kind:?}' {dx}");
        }
    }
}

#[test]
fn a_wrong_name_or_shape_is_refused() {
    assert!(Activation::from_name("rellu", 0.0, 0.0).is_err());
    let error = backward(Activation::Relu, array![1.0f32].view(), array![1.0, 2.0].view());
    assert_eq!(
        error.unwrap_err().to_string(),
        "[activation_backward] dy: expected shape [2], got [1]"
    );
}
