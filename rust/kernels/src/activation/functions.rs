//! The functions and their slopes, each on one vector.
//!
//! Where an infinity would meet a zero the argument is first moved to where the limit is already
//! reached. `min` and `max` give their second operand for a NaN, so that one is never lost.

use crate::simd::Vector;

/// A function of one number.
pub(crate) trait Function: Copy + Sync {
    /// `f(x)`.
    fn value<V: Vector>(self, x: V) -> V;
    /// `f'(x)`, from the input or the output as `Activation::keeps_output` says.
    fn slope<V: Vector>(self, kept: V) -> V;
}

/// Implements [`Function`] for a struct: its value at `$x` and its slope at `$kept`.
macro_rules! function {
    ($name:ident $(($self:ident))?, |$x:ident| $value:expr, |$kept:ident| $slope:expr) => {
        impl Function for $name {
            #[inline(always)]
            fn value<V: Vector>(self, $x: V) -> V {
                $(let $self = self;)?
                $value
            }
            #[inline(always)]
            fn slope<V: Vector>(self, $kept: V) -> V {
                $(let $self = self;)?
                $slope
            }
        }
    };
}

#[derive(Clone, Copy)]
pub(crate) struct Abs;
#[derive(Clone, Copy)]
pub(crate) struct Celu {
    pub alpha: f64,
}
#[derive(Clone, Copy)]
pub(crate) struct Clamp {
    pub low: f64,
    pub high: f64,
}
#[derive(Clone, Copy)]
pub(crate) struct Cos;
#[derive(Clone, Copy)]
pub(crate) struct Elu {
    pub alpha: f64,
}
#[derive(Clone, Copy)]
pub(crate) struct Exp;
#[derive(Clone, Copy)]
pub(crate) struct Gelu;
#[derive(Clone, Copy)]
pub(crate) struct GeluTanh;
#[derive(Clone, Copy)]
pub(crate) struct Hardsigmoid;
#[derive(Clone, Copy)]
pub(crate) struct Hardswish;
#[derive(Clone, Copy)]
pub(crate) struct Hardtanh {
    pub low: f64,
    pub high: f64,
}
#[derive(Clone, Copy)]
pub(crate) struct LeakyRelu {
    pub slope: f64,
}
#[derive(Clone, Copy)]
pub(crate) struct Log;
#[derive(Clone, Copy)]
pub(crate) struct LogSigmoid;
#[derive(Clone, Copy)]
pub(crate) struct Mish;
#[derive(Clone, Copy)]
pub(crate) struct Relu;
#[derive(Clone, Copy)]
pub(crate) struct Relu6;
#[derive(Clone, Copy)]
pub(crate) struct Selu;
#[derive(Clone, Copy)]
pub(crate) struct Sigmoid;
#[derive(Clone, Copy)]
pub(crate) struct Silu;
#[derive(Clone, Copy)]
pub(crate) struct Sin;
#[derive(Clone, Copy)]
pub(crate) struct Softplus {
    pub beta: f64,
    pub threshold: f64,
}
#[derive(Clone, Copy)]
pub(crate) struct Softsign;
#[derive(Clone, Copy)]
pub(crate) struct Sqrt;
#[derive(Clone, Copy)]
pub(crate) struct Tanh;

/// `x` moved into `[low, high]`.
#[inline(always)]
fn clamp<V: Vector>(x: V, low: f64, high: f64) -> V {
    V::of(high).min(V::of(low).max(x))
}

/// Zero where `x <= low` or `x >= high`, else one.
#[inline(always)]
fn between<V: Vector>(x: V, low: f64, high: f64) -> V {
    let above = V::select(x.le(V::of(low)), V::zero(), V::of(1.0));
    V::select(V::of(high).le(x), V::zero(), above)
}

/// `e^x - 1` for `x <= 0`, without the loss near zero.
#[inline(always)]
fn exp_m1<V: Vector>(x: V) -> V {
    let t = x.mul(V::of(0.5)).tanh();
    t.add(t).div(V::of(1.0).sub(t))
}

/// `ln(1 + e^x)`.
#[inline(always)]
fn softplus<V: Vector>(x: V) -> V {
    let one = V::of(1.0);
    let e = x.abs().neg().exp();
    let u = e.add(one);
    // What the sum lost to rounding comes back as a first-order term.
    let log = u.ln().add(e.sub(u.sub(one)).div(u));
    V::zero().max(x).add(log)
}

const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;
const SELU_SCALE: f64 = 1.050_700_987_355_480_5;
/// Twice the square root of 2 / pi, which turns the tanh of GELU into a sigmoid.
const GELU_SCALE: f64 = 1.595_769_121_605_731;
const GELU_CUBIC: f64 = 0.044_715;
const INV_SQRT_2_PI: f64 = 0.398_942_280_401_432_7;

/// `alpha * (e^(x / width) - 1)` below zero, `x` above.
#[inline(always)]
fn exponential_unit<V: Vector>(x: V, alpha: f64, width: f64) -> V {
    let below = V::of(alpha).mul(exp_m1(V::zero().min(x).mul(V::of(1.0 / width))));
    V::select(V::zero().lt(x), x, below)
}

#[inline(always)]
fn exponential_unit_slope<V: Vector>(x: V, alpha: f64, width: f64) -> V {
    let below = V::of(alpha / width).mul(x.mul(V::of(1.0 / width)).exp());
    V::select(V::zero().lt(x), V::of(1.0), below)
}

function!(
    Celu(f),
    |x| {
        if f.alpha > 0.0 {
            exponential_unit(x, f.alpha, f.alpha)
        } else {
            // Here u = x / alpha >= 0, where e^u - 1 = -e^u (e^-u - 1).
            let u = V::zero().min(x).mul(V::of(1.0 / f.alpha));
            let below = V::of(-f.alpha).mul(u.exp().mul(exp_m1(u.neg())));
            V::select(V::zero().lt(x), x, below)
        }
    },
    |x| exponential_unit_slope(x, f.alpha, f.alpha)
);

function!(Elu(f), |x| exponential_unit(x, f.alpha, 1.0), |x| exponential_unit_slope(
    x, f.alpha, 1.0
));

function!(Selu, |x| V::of(SELU_SCALE).mul(exponential_unit(x, SELU_ALPHA, 1.0)), |x| V::of(
    SELU_SCALE
)
.mul(exponential_unit_slope(x, SELU_ALPHA, 1.0)));

function!(Exp, |x| x.exp(), |y| y);

function!(Log, |x| x.ln(), |x| V::of(1.0).div(x));

function!(Tanh, |x| x.tanh(), |y| y.neg_mul_add(y, V::of(1.0)));

function!(Sigmoid, |x| x.sigmoid(), |y| y.neg_mul_add(y, y));

function!(LogSigmoid, |x| softplus(x.neg()).neg(), |x| x.neg().sigmoid());

function!(
    Gelu,
    // The tail is what is missing from x above zero, and all there is below.
    |x| {
        let a = V::of(40.0).min(x.abs());
        a.neg_mul_add(a.normal_tail().0, V::zero().max(x))
    },
    |x| {
        let x = clamp(x, -40.0, 40.0);
        let (tail, density) = x.abs().normal_tail();
        let cdf = V::select(x.lt(V::zero()), tail, V::of(1.0).sub(tail));
        x.mul(V::of(INV_SQRT_2_PI)).mul_add(density, cdf)
    }
);

function!(
    GeluTanh,
    |x| {
        let x = V::of(-40.0).max(x);
        let inner = x.mul(x).mul_add(V::of(GELU_CUBIC), V::of(1.0)).mul(x);
        x.mul(V::of(GELU_SCALE).mul(inner).sigmoid())
    },
    |x| {
        let x = clamp(x, -40.0, 40.0);
        let square = x.mul(x);
        let inner = square.mul_add(V::of(GELU_CUBIC), V::of(1.0)).mul(x);
        let s = V::of(GELU_SCALE).mul(inner).sigmoid();
        let du = square.mul_add(V::of(3.0 * GELU_CUBIC * GELU_SCALE), V::of(GELU_SCALE));
        s.neg_mul_add(s, s).mul(x).mul_add(du, s)
    }
);

function!(
    Silu,
    |x| {
        let x = V::of(-800.0).max(x);
        x.mul(x.sigmoid())
    },
    |x| {
        let x = clamp(x, -800.0, 800.0);
        let s = x.sigmoid();
        s.neg_mul_add(s, s).mul_add(x, s)
    }
);

// With e = exp(x) and n = e (e + 2): tanh(ln(1 + e)) = n / (n + 2).
function!(
    Mish,
    |x| {
        let x = V::of(-800.0).max(x);
        let e = V::of(20.0).min(x).exp();
        let n = e.mul(e.add(V::of(2.0)));
        x.mul(n.div(n.add(V::of(2.0))))
    },
    |x| {
        let x = clamp(x, -800.0, 20.0);
        let e = x.exp();
        let n = e.mul(e.add(V::of(2.0)));
        let by = V::of(1.0).div(n.add(V::of(2.0)));
        let rise = V::of(4.0).mul(e.add(V::of(1.0))).mul(e).mul(by).mul(by);
        n.mul_add(by, x.mul(rise))
    }
);

function!(
    Softplus(f),
    |x| {
        let scaled = x.mul(V::of(f.beta));
        let y = softplus(scaled).mul(V::of(1.0 / f.beta));
        V::select(V::of(f.threshold).lt(scaled), x, y)
    },
    |x| {
        let scaled = x.mul(V::of(f.beta));
        V::select(V::of(f.threshold).lt(scaled), V::of(1.0), scaled.sigmoid())
    }
);

function!(
    Softsign,
    |x| {
        let x = clamp(x, -1e30, 1e30);
        x.div(x.abs().add(V::of(1.0)))
    },
    |x| {
        let by = V::of(1.0).div(x.abs().add(V::of(1.0)));
        by.mul(by)
    }
);

function!(
    Abs,
    |x| x.abs(),
    // The sign, that of NaN NaN.
    |x| {
        let side = V::select(x.lt(V::zero()), V::of(-1.0), x);
        V::select(V::zero().lt(x), V::of(1.0), side)
    }
);

function!(Clamp(f), |x| clamp(x, f.low, f.high), |x| {
    let above = V::select(V::of(f.low).le(x), V::of(1.0), V::zero());
    V::select(x.le(V::of(f.high)), above, V::zero())
});

function!(Cos, |x| x.cos(), |x| x.sin().neg());

function!(Sin, |x| x.sin(), |x| x.cos());

function!(Sqrt, |x| x.sqrt(), |y| V::of(0.5).div(y));

function!(Relu, |x| V::zero().max(x), |y| V::select(y.le(V::zero()), V::zero(), V::of(1.0)));

function!(Relu6, |x| clamp(x, 0.0, 6.0), |y| between(y, 0.0, 6.0));

function!(Hardtanh(f), |x| clamp(x, f.low, f.high), |x| between(x, f.low, f.high));

function!(LeakyRelu(f), |x| V::select(V::zero().lt(x), x, x.mul(V::of(f.slope))), |x| V::select(
    V::zero().lt(x),
    V::of(1.0),
    V::of(f.slope)
));

function!(Hardsigmoid, |x| clamp(x.add(V::of(3.0)), 0.0, 6.0).mul(V::of(1.0 / 6.0)), |x| between(
    x, -3.0, 3.0
)
.mul(V::of(1.0 / 6.0)));

function!(
    Hardswish,
    |x| {
        let x = V::of(-3.0).max(x);
        x.mul(V::of(6.0).min(x.add(V::of(3.0)))).mul(V::of(1.0 / 6.0))
    },
    |x| {
        let inner = x.mul_add(V::of(1.0 / 3.0), V::of(0.5));
        let y = V::select(V::of(-3.0).lt(x), inner, V::zero());
        V::select(V::of(3.0).lt(x), V::of(1.0), y)
    }
);
