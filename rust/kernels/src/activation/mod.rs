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
    Abs,
    Celu { alpha: f64 },
    Clamp { low: f64, high: f64 },
    Cos,
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
    Sin,
    Softplus { beta: f64, threshold: f64 },
    Softsign,
    Sqrt,
    Tanh,
}

/// Runs `$body` with `$f` as the function that `$kind` names.
macro_rules! with_function {
    ($kind:expr, $f:ident => $body:expr) => {
        match $kind {
            Activation::Abs => with_function!(@ functions::Abs, $f, $body),
            Activation::Clamp { low, high } => {
                with_function!(@ functions::Clamp { low, high }, $f, $body)
            }
            Activation::Celu { alpha } => with_function!(@ functions::Celu { alpha }, $f, $body),
            Activation::Cos => with_function!(@ functions::Cos, $f, $body),
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
            Activation::Sin => with_function!(@ functions::Sin, $f, $body),
            Activation::Softplus { beta, threshold } => {
                with_function!(@ functions::Softplus { beta, threshold }, $f, $body)
            }
            Activation::Softsign => with_function!(@ functions::Softsign, $f, $body),
            Activation::Sqrt => with_function!(@ functions::Sqrt, $f, $body),
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
            "abs" => Self::Abs,
            "celu" => Self::Celu { alpha: a },
            "clamp" => Self::Clamp { low: a, high: b },
            "cos" => Self::Cos,
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
            "sin" => Self::Sin,
            "softplus" => Self::Softplus { beta: a, threshold: b },
            "softsign" => Self::Softsign,
            "sqrt" => Self::Sqrt,
            "tanh" => Self::Tanh,
            _ => {
                let message = format!("expected the name of an activation, got {name:?}");
                return Err(Error::value("activation", "name", message));
            }
        })
    }

    /// Whether the backward pass reads the output; else it reads the input.
    pub fn keeps_output(self) -> bool {
        matches!(
            self,
            Self::Exp | Self::Relu | Self::Relu6 | Self::Sigmoid | Self::Sqrt | Self::Tanh
        )
    }

    /// Simple operations for `len` numbers, for the choice between one thread and all.
    pub fn cost(self, len: usize) -> usize {
        match self {
            Self::Abs | Self::Clamp { .. } | Self::Relu | Self::Relu6 => len / 8,
            Self::LeakyRelu { .. } | Self::Hardtanh { .. } => len / 8,
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
