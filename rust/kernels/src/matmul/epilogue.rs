//! What happens to a tile of a product while it is still in the cache: bias and activation.

use super::Target;
use crate::simd::Vector;
use crate::{Element, vectorized};

/// Non-linearity applied to a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// None.
    Identity,
    /// `max(x, 0)`.
    Relu,
    /// `x Phi(x)` with the error function.
    Gelu,
    /// `x Phi(x)` by the tanh approximation.
    GeluTanh,
    /// `x sigmoid(x)`.
    Silu,
    /// Hyperbolic tangent.
    Tanh,
    /// Logistic function.
    Sigmoid,
}

impl Activation {
    /// The activation that Python calls `name`.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "identity" => Self::Identity,
            "relu" => Self::Relu,
            "gelu" => Self::Gelu,
            "gelu_tanh" => Self::GeluTanh,
            "silu" => Self::Silu,
            "tanh" => Self::Tanh,
            "sigmoid" => Self::Sigmoid,
            _ => return None,
        })
    }

    /// Whether the gradient needs the value before the activation; else the output is enough.
    pub fn saves_input(self) -> bool {
        matches!(self, Self::Gelu | Self::GeluTanh | Self::Silu)
    }

    #[inline(always)]
    fn apply<V: Vector>(self, x: V) -> V {
        match self {
            Self::Identity => x,
            Self::Relu => x.max(V::zero()),
            Self::Gelu => x.mul(x.normal().0),
            Self::GeluTanh => x.mul(gelu_tanh_argument(x).sigmoid()),
            Self::Silu => x.mul(x.sigmoid()),
            Self::Tanh => x.tanh(),
            Self::Sigmoid => x.sigmoid(),
        }
    }

    /// Slope at the value before the activation, or from the output where that is what was kept.
    #[inline(always)]
    fn slope<V: Vector>(self, kept: V) -> V {
        let one = V::of(1.0);
        match self {
            Self::Identity => one,
            Self::Relu => V::select(V::zero().lt(kept), one, V::zero()),
            Self::Gelu => {
                let (cdf, exponential) = kept.normal();
                kept.mul(V::of(INV_SQRT_2PI)).mul_add(exponential, cdf)
            }
            Self::GeluTanh => {
                let s = gelu_tanh_argument(kept).sigmoid();
                let square = kept.mul(kept);
                let du = square.mul_add(V::of(6.0 * CUBIC * SQRT_2_PI), V::of(2.0 * SQRT_2_PI));
                kept.mul(s).mul(one.sub(s)).mul_add(du, s)
            }
            Self::Silu => {
                let s = kept.sigmoid();
                s.mul(kept.mul_add(one.sub(s), one))
            }
            Self::Tanh => kept.neg_mul_add(kept, one),
            Self::Sigmoid => kept.mul(one.sub(kept)),
        }
    }
}

const INV_SQRT_2PI: f64 = 0.398_942_280_401_432_7;
const SQRT_2_PI: f64 = 0.797_884_560_802_865_4;
const CUBIC: f64 = 0.044_715;

/// `2 u` where gelu is approximated by `x (1 + tanh u) / 2 = x sigmoid(2 u)`.
#[inline(always)]
fn gelu_tanh_argument<V: Vector>(x: V) -> V {
    let square = x.mul(x);
    x.mul(square.mul_add(V::of(2.0 * CUBIC * SQRT_2_PI), V::of(2.0 * SQRT_2_PI)))
}

/// Bias and activation of a product, and where to keep what its gradient needs.
pub(super) struct Epilogue<'a, T> {
    pub(super) bias: Option<&'a [T]>,
    pub(super) activation: Activation,
    /// Values before the activation, with the rows of the output.
    pub(super) before: Option<Target<T>>,
}

impl<T> Epilogue<'_, T> {
    pub(super) const NONE: Self =
        Self { bias: None, activation: Activation::Identity, before: None };

    pub(super) fn is_none(&self) -> bool {
        self.bias.is_none() && self.activation == Activation::Identity
    }
}

impl<T: Element> Epilogue<'_, T> {
    /// Finishes rows `row..row + rows` and columns `column..column + columns` of `c`.
    ///
    /// # Safety
    /// They lie inside the target and nothing else reads or writes them meanwhile.
    pub(super) unsafe fn finish(
        &self,
        c: Target<T>,
        row: usize,
        rows: usize,
        column: usize,
        columns: usize,
    ) {
        if self.is_none() {
            return;
        }
        let bias = self.bias.map(|bias| &bias[column..column + columns]);
        for i in row..row + rows {
            let y = std::slice::from_raw_parts_mut(c.at(i, column), columns);
            let before = self
                .before
                .map(|before| std::slice::from_raw_parts_mut(before.at(i, column), columns));
            finish_row(bias, self.activation, y, before);
        }
    }
}

vectorized! {
    fn finish_row<S, T: Element>(
        bias: Option<&[T]>,
        activation: Activation,
        y: &mut [T],
        before: Option<&mut [T]>,
    ) {
        if let Some(bias) = bias {
            for (y, b) in y.iter_mut().zip(bias) {
                *y += *b;
            }
        }
        if let Some(before) = before {
            before.copy_from_slice(y);
        }
        if activation != Activation::Identity {
            for y in y.chunks_mut(T::V::<S>::LANES) {
                activation.apply(T::V::<S>::read(y)).write(y);
            }
        }
    }
}

vectorized! {
    /// `dx = dy * slope`, with the slope from what the activation kept.
    pub(super) fn slope_row<S, T: Element>(
        activation: Activation,
        dy: &[T],
        kept: &[T],
        dx: &mut [T],
    ) {
        let lanes = T::V::<S>::LANES;
        for ((dy, kept), dx) in dy.chunks(lanes).zip(kept.chunks(lanes)).zip(dx.chunks_mut(lanes)) {
            let slope = activation.slope(T::V::<S>::read(kept));
            T::V::<S>::read(dy).mul(slope).write(dx);
        }
    }
}
