//! What happens to a tile of a product while it is still in the cache: bias and activation.

use super::Target;
use crate::activation::functions::{self, Function};
use crate::simd::Vector;
use crate::{Element, threads, vectorized};

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

    /// Puts what it makes of every number of `x` in its place.
    pub fn replace<T: Element>(self, x: &mut [T]) {
        const PIECE: usize = 16_384;
        if self != Self::Identity {
            let cost = x.len() / 4;
            threads::for_each_piece(x, PIECE, cost, |_, x| finish_row(None, self, x, None));
        }
    }

    #[inline(always)]
    fn apply<V: Vector>(self, x: V) -> V {
        match self {
            Self::Identity => x,
            Self::Relu => functions::Relu.value(x),
            Self::Gelu => functions::Gelu.value(x),
            Self::GeluTanh => functions::GeluTanh.value(x),
            Self::Silu => functions::Silu.value(x),
            Self::Tanh => functions::Tanh.value(x),
            Self::Sigmoid => functions::Sigmoid.value(x),
        }
    }

    /// Slope at the value before the activation, or from the output where that is what was kept.
    #[inline(always)]
    fn slope<V: Vector>(self, kept: V) -> V {
        match self {
            Self::Identity => V::of(1.0),
            Self::Relu => functions::Relu.slope(kept),
            Self::Gelu => functions::Gelu.slope(kept),
            Self::GeluTanh => functions::GeluTanh.slope(kept),
            Self::Silu => functions::Silu.slope(kept),
            Self::Tanh => functions::Tanh.slope(kept),
            Self::Sigmoid => functions::Sigmoid.slope(kept),
        }
    }
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
            T::V::<S>::prefetch_ahead(dy);
            T::V::<S>::prefetch_ahead(kept);
            T::V::<S>::prefetch_ahead(dx);
            let slope = activation.slope(T::V::<S>::read(kept));
            T::V::<S>::read(dy).mul(slope).write(dx);
        }
    }
}
