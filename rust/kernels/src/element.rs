//! The two number types every differentiable kernel runs on.

use ndarray::NdFloat;

use crate::layout::Solid;
use crate::memory::Plain;
use crate::simd::{Isa, Vector};

/// `f32`, the fast path, or `f64`, for gradient checks and statistics.
pub trait Element: NdFloat + num_traits::FromPrimitive + Default + Plain + Solid {
    /// The vector of this element under the instruction set `S`.
    type V<S: Isa>: Vector<Elem = Self>;

    /// Nearest value to `x`.
    fn of(x: f64) -> Self;

    /// The value as `f64`.
    fn f64(self) -> f64;

    /// Error function, to the last places of the type.
    fn erf(self) -> Self;
}

impl Element for f32 {
    type V<S: Isa> = S::F32;

    #[inline(always)]
    fn of(x: f64) -> Self {
        x as f32
    }

    #[inline(always)]
    fn f64(self) -> f64 {
        f64::from(self)
    }

    fn erf(self) -> Self {
        libm::erff(self)
    }
}

impl Element for f64 {
    type V<S: Isa> = S::F64;

    #[inline(always)]
    fn of(x: f64) -> Self {
        x
    }

    #[inline(always)]
    fn f64(self) -> f64 {
        self
    }

    fn erf(self) -> Self {
        libm::erf(self)
    }
}
