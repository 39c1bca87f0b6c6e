//! The formulas of each method, for one vector of parameters.
//!
//! ```text
//! SGD       b = mu b + (1 - damp) g (b = g at first); p -= lr (g + mu b if nesterov, else b)
//! Adam      m += (1 - b1)(g - m); v = b2 v + (1 - b2) g^2; p -= lr m^ / (sqrt(v^) + eps), where
//!           m^ = m / (1 - b1^t), v^ = v / (1 - b2^t), or of the largest v so far (amsgrad)
//! RMSprop   v = a v + (1 - a) g^2; r = g / (sqrt(v - mean^2 if centered) + eps); b = mu b + r
//! Adagrad   v += g^2; p -= lr / (1 + (t - 1) decay) g / (sqrt(v) + eps)
//! Adadelta  v = r v + (1 - r) g^2; d = sqrt(u + eps) / sqrt(v + eps) g; u = r u + (1 - r) d^2
//! Adamax    m as Adam; u = max(b2 u, |g| + eps); p -= lr / (1 - b1^t) m / u
//! NAdam     Adam whose m^ is mu_t' g + mu_t+1' m, mu_t = b1 (1 - 0.96^(t decay) / 2)
//! RAdam     m, v as Adam; p -= lr m^ r sqrt(1 - b2^t) / (sqrt(v) + eps) where rho_t > 5, else lr m^;
//!           rho = 2 / (1 - b2) - 1, rho_t = rho - 2 t b2^t / (1 - b2^t),
//!           r^2 = (rho_t - 4)(rho_t - 2) rho / ((rho - 4)(rho - 2) rho_t)
//! ```

use super::{Common, MAX_STATES};
use crate::simd::Vector;

/// A method with what its settings and the number of the step make constant.
pub(super) trait Rule: Copy + Send + Sync {
    /// Arrays it keeps for each parameter.
    const STATES: usize;

    /// The new parameters; `s` holds the state, before and after.
    fn update<V: Vector>(self, p: V, g: V, s: &mut [V; MAX_STATES]) -> V;
}

/// Sign and weight decay of the gradient.
#[derive(Clone, Copy)]
struct Gradient {
    sign: f64,
    /// Added to the gradient for each unit of the parameter.
    decay: f64,
    /// What the parameter itself is multiplied with.
    keep: f64,
}

impl Gradient {
    fn new(common: &Common, decoupled: bool) -> Self {
        let Common { lr, weight_decay, maximize } = *common;
        Self {
            sign: if maximize { -1.0 } else { 1.0 },
            decay: if decoupled { 0.0 } else { weight_decay },
            keep: if decoupled { 1.0 - lr * weight_decay } else { 1.0 },
        }
    }

    /// Parameter and gradient as the formulas want them.
    #[inline(always)]
    fn of<V: Vector>(self, p: V, g: V) -> (V, V) {
        let g = if self.sign < 0.0 { g.neg() } else { g };
        let g = if self.decay == 0.0 { g } else { V::of(self.decay).mul_add(p, g) };
        (if self.keep == 1.0 { p } else { p.mul(V::of(self.keep)) }, g)
    }
}

/// `a + share (b - a)`.
#[inline(always)]
fn lerp<V: Vector>(a: V, b: V, share: f64) -> V {
    b.sub(a).mul_add(V::of(share), a)
}

/// `decay a + (1 - decay) g^2`.
#[inline(always)]
fn square<V: Vector>(a: V, g: V, decay: f64) -> V {
    g.mul(g).mul_add(V::of(1.0 - decay), a.mul(V::of(decay)))
}

#[derive(Clone, Copy)]
pub(super) struct Sgd<const MOMENTUM: bool> {
    gradient: Gradient,
    lr: f64,
    momentum: f64,
    share: f64,
    nesterov: bool,
}

impl<const MOMENTUM: bool> Sgd<MOMENTUM> {
    pub(super) fn new(
        common: &Common,
        momentum: f64,
        dampening: f64,
        nesterov: bool,
        step: u64,
    ) -> Self {
        let share = if step == 1 { 1.0 } else { 1.0 - dampening };
        Self { gradient: Gradient::new(common, false), lr: common.lr, momentum, share, nesterov }
    }
}

impl<const MOMENTUM: bool> Rule for Sgd<MOMENTUM> {
    const STATES: usize = MOMENTUM as usize;

    #[inline(always)]
    fn update<V: Vector>(self, p: V, g: V, s: &mut [V; MAX_STATES]) -> V {
        let (p, mut g) = self.gradient.of(p, g);
        if MOMENTUM {
            let momentum = V::of(self.momentum);
            s[0] = s[0].mul_add(momentum, g.mul(V::of(self.share)));
            g = if self.nesterov { s[0].mul_add(momentum, g) } else { s[0] };
        }
        g.neg_mul_add(V::of(self.lr), p)
    }
}

/// `1 - beta^step`.
fn correction(beta: f64, step: u64) -> f64 {
    1.0 - beta.powf(step as f64)
}

#[derive(Clone, Copy)]
pub(super) struct Adam<const AMSGRAD: bool> {
    gradient: Gradient,
    rate: f64,
    betas: (f64, f64),
    /// What the root of the square is multiplied with.
    root: f64,
    eps: f64,
}

impl<const AMSGRAD: bool> Adam<AMSGRAD> {
    pub(super) fn new(
        common: &Common,
        betas: (f64, f64),
        eps: f64,
        decoupled: bool,
        step: u64,
    ) -> Self {
        Self {
            gradient: Gradient::new(common, decoupled),
            rate: common.lr / correction(betas.0, step),
            betas,
            root: 1.0 / correction(betas.1, step).sqrt(),
            eps,
        }
    }
}

impl<const AMSGRAD: bool> Rule for Adam<AMSGRAD> {
    const STATES: usize = 2 + AMSGRAD as usize;

    #[inline(always)]
    fn update<V: Vector>(self, p: V, g: V, s: &mut [V; MAX_STATES]) -> V {
        let (p, g) = self.gradient.of(p, g);
        s[0] = lerp(s[0], g, 1.0 - self.betas.0);
        s[1] = square(s[1], g, self.betas.1);
        let mut v = s[1];
        if AMSGRAD {
            s[2] = s[2].max(v);
            v = s[2];
        }
        let by = v.sqrt().mul_add(V::of(self.root), V::of(self.eps));
        s[0].div(by).neg_mul_add(V::of(self.rate), p)
    }
}

#[derive(Clone, Copy)]
pub(super) struct RmsProp<const CENTERED: usize, const MOMENTUM: bool> {
    gradient: Gradient,
    lr: f64,
    alpha: f64,
    eps: f64,
    momentum: f64,
}

impl<const CENTERED: usize, const MOMENTUM: bool> RmsProp<CENTERED, MOMENTUM> {
    pub(super) fn new(common: &Common, alpha: f64, eps: f64, momentum: f64) -> Self {
        Self { gradient: Gradient::new(common, false), lr: common.lr, alpha, eps, momentum }
    }
}

impl<const CENTERED: usize, const MOMENTUM: bool> Rule for RmsProp<CENTERED, MOMENTUM> {
    const STATES: usize = 1 + CENTERED + MOMENTUM as usize;

    #[inline(always)]
    fn update<V: Vector>(self, p: V, g: V, s: &mut [V; MAX_STATES]) -> V {
        let (p, g) = self.gradient.of(p, g);
        s[0] = square(s[0], g, self.alpha);
        let mut v = s[0];
        if CENTERED == 1 {
            s[1] = lerp(s[1], g, 1.0 - self.alpha);
            // Rounding may leave it below zero; the second operand of `max` hands on a NaN.
            v = V::zero().max(s[1].neg_mul_add(s[1], v));
        }
        let mut d = g.div(v.sqrt().add(V::of(self.eps)));
        if MOMENTUM {
            let b = &mut s[1 + CENTERED];
            *b = b.mul_add(V::of(self.momentum), d);
            d = *b;
        }
        d.neg_mul_add(V::of(self.lr), p)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Adagrad {
    gradient: Gradient,
    rate: f64,
    eps: f64,
}

impl Adagrad {
    pub(super) fn new(common: &Common, lr_decay: f64, eps: f64, step: u64) -> Self {
        let rate = common.lr / (1.0 + step.saturating_sub(1) as f64 * lr_decay);
        Self { gradient: Gradient::new(common, false), rate, eps }
    }
}

impl Rule for Adagrad {
    const STATES: usize = 1;

    #[inline(always)]
    fn update<V: Vector>(self, p: V, g: V, s: &mut [V; MAX_STATES]) -> V {
        let (p, g) = self.gradient.of(p, g);
        s[0] = g.mul_add(g, s[0]);
        g.div(s[0].sqrt().add(V::of(self.eps))).neg_mul_add(V::of(self.rate), p)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Adadelta {
    gradient: Gradient,
    lr: f64,
    rho: f64,
    eps: f64,
}

impl Adadelta {
    pub(super) fn new(common: &Common, rho: f64, eps: f64) -> Self {
        Self { gradient: Gradient::new(common, false), lr: common.lr, rho, eps }
    }
}

impl Rule for Adadelta {
    const STATES: usize = 2;

    #[inline(always)]
    fn update<V: Vector>(self, p: V, g: V, s: &mut [V; MAX_STATES]) -> V {
        let (p, g) = self.gradient.of(p, g);
        let eps = V::of(self.eps);
        s[0] = square(s[0], g, self.rho);
        let d = s[1].add(eps).sqrt().div(s[0].add(eps).sqrt()).mul(g);
        s[1] = square(s[1], d, self.rho);
        d.neg_mul_add(V::of(self.lr), p)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Adamax {
    gradient: Gradient,
    rate: f64,
    betas: (f64, f64),
    eps: f64,
}

impl Adamax {
    pub(super) fn new(common: &Common, betas: (f64, f64), eps: f64, step: u64) -> Self {
        let rate = common.lr / correction(betas.0, step);
        Self { gradient: Gradient::new(common, false), rate, betas, eps }
    }
}

impl Rule for Adamax {
    const STATES: usize = 2;

    #[inline(always)]
    fn update<V: Vector>(self, p: V, g: V, s: &mut [V; MAX_STATES]) -> V {
        let (p, g) = self.gradient.of(p, g);
        s[0] = lerp(s[0], g, 1.0 - self.betas.0);
        // `max` hands on its second operand for a NaN.
        s[1] = s[1].mul(V::of(self.betas.1)).max(g.abs().add(V::of(self.eps)));
        s[0].div(s[1]).neg_mul_add(V::of(self.rate), p)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Nadam {
    gradient: Gradient,
    betas: (f64, f64),
    root: f64,
    eps: f64,
    /// Rates of the gradient and of the mean.
    rates: (f64, f64),
}

impl Nadam {
    pub(super) fn new(
        common: &Common,
        betas: (f64, f64),
        eps: f64,
        momentum_decay: f64,
        decoupled: bool,
        (step, product): (u64, f64),
    ) -> Self {
        let mu = nadam_momentum(betas.0, momentum_decay, step);
        let next = nadam_momentum(betas.0, momentum_decay, step + 1);
        let product = product * mu;
        Self {
            gradient: Gradient::new(common, decoupled),
            betas,
            root: 1.0 / correction(betas.1, step).sqrt(),
            eps,
            rates: (
                common.lr * (1.0 - mu) / (1.0 - product),
                common.lr * next / (1.0 - product * next),
            ),
        }
    }
}

/// Momentum of NAdam's schedule at `step`.
pub fn nadam_momentum(beta1: f64, momentum_decay: f64, step: u64) -> f64 {
    beta1 * (1.0 - 0.5 * 0.96f64.powf(step as f64 * momentum_decay))
}

impl Rule for Nadam {
    const STATES: usize = 2;

    #[inline(always)]
    fn update<V: Vector>(self, p: V, g: V, s: &mut [V; MAX_STATES]) -> V {
        let (p, g) = self.gradient.of(p, g);
        s[0] = lerp(s[0], g, 1.0 - self.betas.0);
        s[1] = square(s[1], g, self.betas.1);
        let by = s[1].sqrt().mul_add(V::of(self.root), V::of(self.eps));
        let p = g.div(by).neg_mul_add(V::of(self.rates.0), p);
        s[0].div(by).neg_mul_add(V::of(self.rates.1), p)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Radam {
    gradient: Gradient,
    rate: f64,
    betas: (f64, f64),
    eps: f64,
    /// Whether enough squares are known for their root to be a divisor.
    adaptive: bool,
}

impl Radam {
    pub(super) fn new(
        common: &Common,
        betas: (f64, f64),
        eps: f64,
        decoupled: bool,
        step: u64,
    ) -> Self {
        let known = correction(betas.1, step);
        let rho = 2.0 / (1.0 - betas.1) - 1.0;
        let rho_t = rho - 2.0 * step as f64 * (1.0 - known) / known;
        let adaptive = rho_t > 5.0;
        let mut rate = common.lr / correction(betas.0, step);
        if adaptive {
            let square = (rho_t - 4.0) * (rho_t - 2.0) * rho / ((rho - 4.0) * (rho - 2.0) * rho_t);
            rate *= (square * known).sqrt();
        }
        Self { gradient: Gradient::new(common, decoupled), rate, betas, eps, adaptive }
    }
}

impl Rule for Radam {
    const STATES: usize = 2;

    #[inline(always)]
    fn update<V: Vector>(self, p: V, g: V, s: &mut [V; MAX_STATES]) -> V {
        let (p, g) = self.gradient.of(p, g);
        s[0] = lerp(s[0], g, 1.0 - self.betas.0);
        s[1] = square(s[1], g, self.betas.1);
        let d = if self.adaptive { s[0].div(s[1].sqrt().add(V::of(self.eps))) } else { s[0] };
        d.neg_mul_add(V::of(self.rate), p)
    }
}
