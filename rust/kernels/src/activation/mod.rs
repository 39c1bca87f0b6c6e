//! Activations and element-wise functions of one argument, on arrays of any rank.
//!
//! forward:  y = f(x)        backward: dx = dy * f'(x)
//!
//! What the backward pass reads is the output where the slope follows from it more cheaply, else
//! the input: see [`Activation::keeps_output`].

pub(crate) mod functions;

use functions::Function;
use ndarray::{Array, ArrayView, Dimension};

use crate::simd::Vector;
use crate::{Element, Error, Result, check_shape, memory, threads, vectorized};

/// Which function, with its parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs)]
pub enum Activation {
    Celu { alpha: f64 },
    Elu { alpha: f64 },
    Exp,
    Gelu,
    GeluTanh,
    Hardsigmoid,
    Hardswish,
    Hardtanh { low: f64, high: f64 },
    LeakyRelu { slope: f64 },
    Log,
    LogSigmoid,
    Mish,
    Relu,
    Relu6,
    Selu,
    Sigmoid,
    Silu,
    Softplus { beta: f64, threshold: f64 },
    Softsign,
    Tanh,
}

/// Runs `$body` with `$f` as the function that `$kind` names.
macro_rules! with_function {
    ($kind:expr, $f:ident => $body:expr) => {
        match $kind {
            Activation::Celu { alpha } => with_function!(@ functions::Celu { alpha }, $f, $body),
            Activation::Elu { alpha } => with_function!(@ functions::Elu { alpha }, $f, $body),
            Activation::Exp => with_function!(@ functions::Exp, $f, $body),
            Activation::Gelu => with_function!(@ functions::Gelu, $f, $body),
            Activation::GeluTanh => with_function!(@ functions::GeluTanh, $f, $body),
            Activation::Hardsigmoid => with_function!(@ functions::Hardsigmoid, $f, $body),
            Activation::Hardswish => with_function!(@ functions::Hardswish, $f, $body),
            Activation::Hardtanh { low, high } => {
                with_function!(@ functions::Hardtanh { low, high }, $f, $body)
            }
            Activation::LeakyRelu { slope } => {
                with_function!(@ functions::LeakyRelu { slope }, $f, $body)
            }
            Activation::Log => with_function!(@ functions::Log, $f, $body),
            Activation::LogSigmoid => with_function!(@ functions::LogSigmoid, $f, $body),
            Activation::Mish => with_function!(@ functions::Mish, $f, $body),
            Activation::Relu => with_function!(@ functions::Relu, $f, $body),
            Activation::Relu6 => with_function!(@ functions::Relu6, $f, $body),
            Activation::Selu => with_function!(@ functions::Selu, $f, $body),
            Activation::Sigmoid => with_function!(@ functions::Sigmoid, $f, $body),
            Activation::Silu => with_function!(@ functions::Silu, $f, $body),
            Activation::Softplus { beta, threshold } => {
                with_function!(@ functions::Softplus { beta, threshold }, $f, $body)
            }
            Activation::Softsign => with_function!(@ functions::Softsign, $f, $body),
            Activation::Tanh => with_function!(@ functions::Tanh, $f, $body),
        }
    };
    (@ $function:expr, $f:ident, $body:expr) => {{
        let $f = $function;
        $body
    }};
}

impl Activation {
    /// The function with PyTorch's name; `a` and `b` are its parameters, in PyTorch's order.
    pub fn from_name(name: &str, a: f64, b: f64) -> Result<Self> {
        Ok(match name {
            "celu" => Self::Celu { alpha: a },
            "elu" => Self::Elu { alpha: a },
            "exp" => Self::Exp,
            "gelu" => Self::Gelu,
            "gelu_tanh" => Self::GeluTanh,
            "hardsigmoid" => Self::Hardsigmoid,
            "hardswish" => Self::Hardswish,
            "hardtanh" => Self::Hardtanh { low: a, high: b },
            "leaky_relu" => Self::LeakyRelu { slope: a },
            "log" => Self::Log,
            "logsigmoid" => Self::LogSigmoid,
            "mish" => Self::Mish,
            "relu" => Self::Relu,
            "relu6" => Self::Relu6,
            "selu" => Self::Selu,
            "sigmoid" => Self::Sigmoid,
            "silu" => Self::Silu,
            "softplus" => Self::Softplus { beta: a, threshold: b },
            "softsign" => Self::Softsign,
            "tanh" => Self::Tanh,
            _ => {
                let message = format!("expected the name of an activation, got {name:?}");
                return Err(Error::value("activation", "name", message));
            }
        })
    }

    /// Whether the backward pass reads the output; else it reads the input.
    pub fn keeps_output(self) -> bool {
        matches!(self, Self::Exp | Self::Relu | Self::Relu6 | Self::Sigmoid | Self::Tanh)
    }

    /// Simple operations for `len` numbers, for the choice between one thread and all.
    pub fn cost(self, len: usize) -> usize {
        match self {
            Self::Relu | Self::Relu6 | Self::LeakyRelu { .. } | Self::Hardtanh { .. } => len / 8,
            _ => len / 2,
        }
    }
}

/// `f(x)` for every number of `x`.
pub fn forward<T: Element, D: Dimension>(
    kind: Activation,
    x: ArrayView<'_, T, D>,
) -> Result<Array<T, D>> {
    let mut y = memory::unfilled_array(x.raw_dim());
    let x = x.as_standard_layout();
    let x = x.as_slice().expect("standard layout");
    let out = y.as_slice_mut().expect("a new array");
    with_function!(kind, f => threads::for_each_piece(out, PIECE, kind.cost(x.len()), |i, y| {
        map_values(f, &x[i * PIECE..][..y.len()], y);
    }));
    Ok(y)
}

/// Gradient of the input from that of the output, `dy`, and `kept`, the output or the input of
/// the forward pass as [`Activation::keeps_output`] says.
pub fn backward<T: Element, D: Dimension>(
    kind: Activation,
    dy: ArrayView<'_, T, D>,
    kept: ArrayView<'_, T, D>,
) -> Result<Array<T, D>> {
    check_shape("activation_backward", "dy", kept.shape(), dy.shape())?;
    let mut dx = memory::unfilled_array(kept.raw_dim());
    let (dy, kept) = (dy.as_standard_layout(), kept.as_standard_layout());
    let dy = dy.as_slice().expect("standard layout");
    let kept = kept.as_slice().expect("standard layout");
    let out = dx.as_slice_mut().expect("a new array");
    with_function!(kind, f => threads::for_each_piece(out, PIECE, kind.cost(dy.len()), |i, dx| {
        let range = i * PIECE..i * PIECE + dx.len();
        map_slopes(f, &dy[range.clone()], &kept[range], dx);
    }));
    Ok(dx)
}

/// Numbers in a task, a multiple of every vector.
const PIECE: usize = 16_384;

vectorized! {
    fn map_values<S, T: Element, F: Function>(f: F, x: &[T], y: &mut [T]) {
        values::<<T::V<S> as Vector>::Pair, F>(f, x, y);
    }
}

#[inline(always)]
fn values<V: Vector, F: Function>(f: F, x: &[V::Elem], y: &mut [V::Elem]) {
    let whole = x.len() / V::LANES * V::LANES;
    let (x, x_rest) = x.split_at(whole);
    let (y, y_rest) = y.split_at_mut(whole);
    for (x, y) in x.chunks_exact(V::LANES).zip(y.chunks_exact_mut(V::LANES)) {
        V::prefetch_ahead(x);
        V::prefetch_ahead(y);
        f.value(V::read(x)).write(y);
    }
    f.value(V::read(x_rest)).write(y_rest);
}

vectorized! {
    fn map_slopes<S, T: Element, F: Function>(f: F, dy: &[T], kept: &[T], dx: &mut [T]) {
        slopes::<<T::V<S> as Vector>::Pair, F>(f, dy, kept, dx);
    }
}

#[inline(always)]
fn slopes<V: Vector, F: Function>(f: F, dy: &[V::Elem], kept: &[V::Elem], dx: &mut [V::Elem]) {
    let whole = dx.len() / V::LANES * V::LANES;
    let (dx, dx_rest) = dx.split_at_mut(whole);
    let (dy, dy_rest) = dy.split_at(whole);
    let (kept, kept_rest) = kept.split_at(whole);
    let pairs = dy.chunks_exact(V::LANES).zip(kept.chunks_exact(V::LANES));
    for ((dy, kept), dx) in pairs.zip(dx.chunks_exact_mut(V::LANES)) {
        V::prefetch_ahead(dy);
        V::prefetch_ahead(kept);
        V::prefetch_ahead(dx);
        V::read(dy).mul(f.slope(V::read(kept))).write(dx);
    }
    V::read(dy_rest).mul(f.slope(V::read(kept_rest))).write(dx_rest);
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, array};

    use super::*;

    const ALL: [Activation; 20] = [
        Activation::Celu { alpha: 0.7 },
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
        Activation::Softplus { beta: 1.5, threshold: 20.0 },
        Activation::Softsign,
        Activation::Tanh,
    ];

    #[test]
    fn single_precision_follows_double_over_the_range() {
        let x: Array1<f64> = (-4000..4000).map(|i| f64::from(i) * 0.01 + 0.003).collect();
        let dy = Array1::ones(x.len());
        for kind in ALL {
            let x = if kind == Activation::Log { x.mapv(f64::abs) } else { x.clone() };
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
            if kind != Activation::Log {
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
}
