//! Losses that go element by element, and the negative log-likelihood.
//!
//! With d = x - t, and p the weight of positive targets:
//!   mse: d^2            l1: |d|
//!   smooth l1: d^2 / 2b where |d| < b, else |d| - b/2
//!   huber: d^2 / 2 where |d| <= b, else b (|d| - b/2)
//!   bce: -t ln x - (1 - t) ln(1 - x), logarithms at least -100
//!   bce with logits: (1 - t) x + (1 + (p - 1) t) ln(1 + e^-x)
//!   kl: t (ln t - x), or e^t (t - x) where the target is a logarithm too
//!   nll: -w_t x_t of each row

use ndarray::{Array1, Array2, ArrayView2};

use crate::simd::Vector;
use crate::{Element, Error, Result, check_shape, memory, threads, vectorized};

/// Elements of one task.
const PIECE: usize = 8192;
/// Elements that are summed in their own type before the sum goes on in `f64`.
const BLOCK: usize = 512;

/// How many losses become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// They do not.
    None,
    /// Their mean.
    Mean,
    /// Their sum.
    Sum,
}

impl Reduction {
    /// The reduction that Python calls `name`.
    pub fn parse(op: &'static str, name: &str) -> Result<Self> {
        match name {
            "none" => Ok(Self::None),
            "mean" => Ok(Self::Mean),
            "sum" => Ok(Self::Sum),
            _ => Err(Error::value(
                op,
                "reduction",
                format!("expected 'none', 'mean' or 'sum', got '{name}'"),
            )),
        }
    }
}

/// Sum of the weights of `targets` that are not ignored, which all must name one of `classes`.
pub(crate) fn check_targets<T: Element>(
    op: &'static str,
    targets: &[i64],
    classes: usize,
    ignore_index: i64,
    weight: Option<&[T]>,
) -> Result<f64> {
    let mut counted = 0.0;
    for (row, &target) in targets.iter().enumerate() {
        if target == ignore_index {
            continue;
        }
        match usize::try_from(target) {
            Ok(class) if class < classes => {
                counted += weight.map_or(1.0, |weight| weight[class].f64());
            }
            _ => {
                let message = format!(
                    "expected 0 to {} for {classes} classes, got {target} at row {row}",
                    classes as i64 - 1
                );
                return Err(Error::value(op, "targets", message));
            }
        }
    }
    Ok(counted)
}

/// A loss of one number `x` against one target `t`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Loss {
    /// Squared error.
    Mse,
    /// Absolute error.
    L1,
    /// Squared within `beta`, absolute beyond.
    SmoothL1(f64),
    /// The same times `delta`.
    Huber(f64),
    /// Binary cross-entropy of a probability.
    Bce,
    /// Binary cross-entropy of a logit.
    BceWithLogits,
    /// Kullback-Leibler divergence of a log-probability from a probability.
    Kl,
    /// The same from a log-probability.
    KlLog,
}

impl Loss {
    /// The loss that Python calls `name`; `parameter` is its beta or delta.
    pub fn parse(op: &'static str, name: &str, parameter: f64) -> Result<Self> {
        let at_least = |arg, low: bool| match low && parameter.is_finite() {
            true => Ok(parameter),
            false => {
                Err(Error::value(op, arg, format!("expected a positive number, got {parameter}")))
            }
        };
        Ok(match name {
            "mse" => Self::Mse,
            "l1" => Self::L1,
            "smooth_l1" if parameter == 0.0 => Self::L1,
            "smooth_l1" => Self::SmoothL1(at_least("beta", parameter > 0.0)?),
            "huber" => Self::Huber(at_least("delta", parameter > 0.0)?),
            "bce" => Self::Bce,
            "bce_with_logits" => Self::BceWithLogits,
            "kl" => Self::Kl,
            "kl_log" => Self::KlLog,
            _ => return Err(Error::value(op, "name", format!("no loss is called '{name}'"))),
        })
    }
}

/// Which input a gradient is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// The prediction `x`.
    Input,
    /// The target `t`.
    Target,
}

/// The arrays of an element-wise loss, flat and of one length.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a, T> {
    /// Predictions.
    pub x: &'a [T],
    /// Targets.
    pub t: &'a [T],
    /// Factor of each loss; 1 without.
    pub weight: Option<&'a [T]>,
    /// Factor of positive targets of [`Loss::BceWithLogits`]; 1 without.
    pub pos_weight: Option<&'a [T]>,
}

impl<'a, T: Element> Inputs<'a, T> {
    fn check(&self, op: &'static str, loss: Loss) -> Result<()> {
        let len = self.x.len();
        check_shape(op, "target", &[len], &[self.t.len()])?;
        for (arg, array) in [("weight", self.weight), ("pos_weight", self.pos_weight)] {
            if let Some(array) = array {
                check_shape(op, arg, &[len], &[array.len()])?;
            }
        }
        if loss == Loss::Bce {
            let inside = |x: &T| x.is_nan() || (T::zero()..=T::one()).contains(x);
            if let Some(bad) = self.x.iter().find(|x| !inside(x)) {
                return Err(Error::value(op, "input", format!("expected 0 to 1, got {bad}")));
            }
        }
        Ok(())
    }

    fn part(&self, start: usize, len: usize) -> Self {
        let cut = |array: &'a [T]| &array[start..start + len];
        Self {
            x: cut(self.x),
            t: cut(self.t),
            weight: self.weight.map(cut),
            pos_weight: self.pos_weight.map(cut),
        }
    }
}

/// Loss of each element, or one number.
pub fn forward<T: Element>(
    loss: Loss,
    inputs: &Inputs<'_, T>,
    reduction: Reduction,
) -> Result<Array1<T>> {
    inputs.check("loss_forward", loss)?;
    Ok(match loss {
        Loss::Mse => run(Mse, inputs, reduction),
        Loss::L1 => run(L1, inputs, reduction),
        Loss::SmoothL1(beta) => run(SmoothL1(beta), inputs, reduction),
        Loss::Huber(delta) => run(Huber(delta), inputs, reduction),
        Loss::Bce => run(Bce, inputs, reduction),
        Loss::BceWithLogits => run(BceWithLogits, inputs, reduction),
        Loss::Kl => run(Kl, inputs, reduction),
        Loss::KlLog => run(KlLog, inputs, reduction),
    })
}

/// Gradient of one input from that of the loss, `dy`, of length 1 or, without reduction, as long
/// as the inputs.
pub fn backward<T: Element>(
    loss: Loss,
    of: Of,
    dy: &[T],
    inputs: &Inputs<'_, T>,
    reduction: Reduction,
) -> Result<Array1<T>> {
    inputs.check("loss_backward", loss)?;
    let expected = if reduction == Reduction::None { inputs.x.len() } else { 1 };
    check_shape("loss_backward", "dy", &[expected], &[dy.len()])?;
    Ok(match loss {
        Loss::Mse => run_back(Mse, of, dy, inputs, reduction),
        Loss::L1 => run_back(L1, of, dy, inputs, reduction),
        Loss::SmoothL1(beta) => run_back(SmoothL1(beta), of, dy, inputs, reduction),
        Loss::Huber(delta) => run_back(Huber(delta), of, dy, inputs, reduction),
        Loss::Bce => run_back(Bce, of, dy, inputs, reduction),
        Loss::BceWithLogits => run_back(BceWithLogits, of, dy, inputs, reduction),
        Loss::Kl => run_back(Kl, of, dy, inputs, reduction),
        Loss::KlLog => run_back(KlLog, of, dy, inputs, reduction),
    })
}

fn run<T: Element, R: Rule>(rule: R, inputs: &Inputs<'_, T>, reduction: Reduction) -> Array1<T> {
    let len = inputs.x.len();
    if reduction == Reduction::None {
        let mut out = memory::unfilled_array(len);
        let slice = out.as_slice_mut().expect("a new array");
        threads::for_each_piece(slice, PIECE, len * 2, |piece, out| {
            values(rule, &inputs.part(piece * PIECE, out.len()), out);
        });
        return out;
    }
    let sums = threads::map(len.div_ceil(PIECE), len * 2, |piece| {
        let start = piece * PIECE;
        total(rule, &inputs.part(start, PIECE.min(len - start)))
    });
    let sum: f64 = sums.iter().sum();
    let by = if reduction == Reduction::Mean { len as f64 } else { 1.0 };
    Array1::from_elem(1, T::of(sum / by))
}

fn run_back<T: Element, R: Rule>(
    rule: R,
    of: Of,
    dy: &[T],
    inputs: &Inputs<'_, T>,
    reduction: Reduction,
) -> Array1<T> {
    let len = inputs.x.len();
    let scale = if reduction == Reduction::Mean { 1.0 / len as f64 } else { 1.0 };
    let mut out = memory::unfilled_array(len);
    let slice = out.as_slice_mut().expect("a new array");
    threads::for_each_piece(slice, PIECE, len * 2, |piece, out| {
        let start = piece * PIECE;
        let part = inputs.part(start, out.len());
        if reduction == Reduction::None {
            slopes(rule, of, &part, Some(&dy[start..start + out.len()]), T::one(), out);
        } else {
            slopes(rule, of, &part, None, T::of(dy[0].f64() * scale), out);
        }
    });
    out
}

/// Formulas of one loss: `x` prediction, `t` target, `p` weight of positive targets.
trait Rule: Copy + Sync {
    fn value<V: Vector>(self, x: V, t: V, p: V) -> V;
    /// Slope towards `x`.
    fn slope<V: Vector>(self, x: V, t: V, p: V) -> V;
    /// Slope towards `t`.
    fn target_slope<V: Vector>(self, x: V, t: V, p: V) -> V {
        self.slope(x, t, p).neg()
    }
}

/// `ln(1 + e)` without the loss of small `e` in the sum.
#[inline(always)]
fn ln_1p<V: Vector>(e: V) -> V {
    let one = V::of(1.0);
    let u = one.add(e);
    V::select(u.eq(one), e, u.ln().mul(e.div(u.sub(one))))
}

/// `ln(1 + e^-x)`.
#[inline(always)]
fn softplus_neg<V: Vector>(x: V) -> V {
    // `max` hands on its second operand for a NaN.
    V::zero().max(x.neg()).add(ln_1p(x.abs().neg().exp()))
}

#[inline(always)]
fn clamp<V: Vector>(x: V, bound: f64) -> V {
    V::of(bound).min(V::of(-bound).max(x))
}

#[derive(Clone, Copy)]
struct Mse;

impl Rule for Mse {
    #[inline(always)]
    fn value<V: Vector>(self, x: V, t: V, _p: V) -> V {
        let d = x.sub(t);
        d.mul(d)
    }
    #[inline(always)]
    fn slope<V: Vector>(self, x: V, t: V, _p: V) -> V {
        let d = x.sub(t);
        d.add(d)
    }
}

#[derive(Clone, Copy)]
struct L1;

impl Rule for L1 {
    #[inline(always)]
    fn value<V: Vector>(self, x: V, t: V, _p: V) -> V {
        x.sub(t).abs()
    }
    #[inline(always)]
    fn slope<V: Vector>(self, x: V, t: V, _p: V) -> V {
        let d = x.sub(t);
        let zero = V::zero();
        V::select(d.lt(zero), V::of(-1.0), V::select(zero.lt(d), V::of(1.0), d))
    }
}

#[derive(Clone, Copy)]
struct SmoothL1(f64);

impl Rule for SmoothL1 {
    #[inline(always)]
    fn value<V: Vector>(self, x: V, t: V, _p: V) -> V {
        let d = x.sub(t).abs();
        let near = d.mul(d).mul(V::of(0.5 / self.0));
        V::select(d.lt(V::of(self.0)), near, d.sub(V::of(0.5 * self.0)))
    }
    #[inline(always)]
    fn slope<V: Vector>(self, x: V, t: V, _p: V) -> V {
        clamp(x.sub(t).mul(V::of(1.0 / self.0)), 1.0)
    }
}

#[derive(Clone, Copy)]
struct Huber(f64);

impl Rule for Huber {
    #[inline(always)]
    fn value<V: Vector>(self, x: V, t: V, _p: V) -> V {
        let d = x.sub(t).abs();
        let delta = V::of(self.0);
        let far = delta.mul(d.sub(V::of(0.5 * self.0)));
        V::select(d.le(delta), d.mul(d).mul(V::of(0.5)), far)
    }
    #[inline(always)]
    fn slope<V: Vector>(self, x: V, t: V, _p: V) -> V {
        clamp(x.sub(t), self.0)
    }
}

#[derive(Clone, Copy)]
struct Bce;

impl Bce {
    /// Logarithms of `x` and `1 - x`, at least -100.
    #[inline(always)]
    fn logs<V: Vector>(x: V) -> (V, V) {
        let low = V::of(-100.0);
        (low.max(x.ln()), low.max(ln_1p(x.neg())))
    }
}

impl Rule for Bce {
    #[inline(always)]
    fn value<V: Vector>(self, x: V, t: V, _p: V) -> V {
        let (yes, no) = Self::logs(x);
        t.sub(V::of(1.0)).mul(no).sub(t.mul(yes))
    }
    #[inline(always)]
    fn slope<V: Vector>(self, x: V, t: V, _p: V) -> V {
        let spread = x.mul(V::of(1.0).sub(x));
        x.sub(t).div(V::of(1e-12).max(spread))
    }
    #[inline(always)]
    fn target_slope<V: Vector>(self, x: V, _t: V, _p: V) -> V {
        let (yes, no) = Self::logs(x);
        no.sub(yes)
    }
}

#[derive(Clone, Copy)]
struct BceWithLogits;

impl Rule for BceWithLogits {
    #[inline(always)]
    fn value<V: Vector>(self, x: V, t: V, p: V) -> V {
        let one = V::of(1.0);
        let by = p.sub(one).mul_add(t, one);
        by.mul_add(softplus_neg(x), one.sub(t).mul(x))
    }
    #[inline(always)]
    fn slope<V: Vector>(self, x: V, t: V, p: V) -> V {
        let one = V::of(1.0);
        let by = p.sub(one).mul_add(t, one);
        by.neg_mul_add(x.neg().sigmoid(), one.sub(t))
    }
    #[inline(always)]
    fn target_slope<V: Vector>(self, x: V, _t: V, p: V) -> V {
        p.sub(V::of(1.0)).mul_add(softplus_neg(x), x.neg())
    }
}

#[derive(Clone, Copy)]
struct Kl;

impl Kl {
    /// `ln t`, and 0 where `t` is 0 or too small for the logarithm.
    #[inline(always)]
    fn log<V: Vector>(t: V) -> V {
        let low = V::splat(<V::Elem as num_traits::Float>::min_positive_value());
        V::select(t.abs().lt(low), V::zero(), t.ln())
    }
}

impl Rule for Kl {
    #[inline(always)]
    fn value<V: Vector>(self, x: V, t: V, _p: V) -> V {
        t.mul(Self::log(t).sub(x))
    }
    #[inline(always)]
    fn slope<V: Vector>(self, _x: V, t: V, _p: V) -> V {
        t.neg()
    }
    #[inline(always)]
    fn target_slope<V: Vector>(self, x: V, t: V, _p: V) -> V {
        Self::log(t).add(V::of(1.0)).sub(x)
    }
}

#[derive(Clone, Copy)]
struct KlLog;

impl Rule for KlLog {
    #[inline(always)]
    fn value<V: Vector>(self, x: V, t: V, _p: V) -> V {
        t.exp().mul(t.sub(x))
    }
    #[inline(always)]
    fn slope<V: Vector>(self, _x: V, t: V, _p: V) -> V {
        t.exp().neg()
    }
    #[inline(always)]
    fn target_slope<V: Vector>(self, x: V, t: V, _p: V) -> V {
        t.exp().mul(t.sub(x).add(V::of(1.0)))
    }
}

/// Lanes of an optional array from `start`, 1 without.
#[inline(always)]
fn factor<V: Vector>(array: Option<&[V::Elem]>, start: usize) -> V {
    match array {
        Some(array) => V::read(&array[start..]),
        None => V::of(1.0),
    }
}

vectorized! {
    fn values<S, T: Element, R: Rule>(rule: R, inputs: &Inputs<'_, T>, out: &mut [T]) {
        let lanes = T::V::<S>::LANES;
        for (i, out) in out.chunks_mut(lanes).enumerate() {
            let start = i * lanes;
            let x = T::V::<S>::read(&inputs.x[start..]);
            let t = T::V::<S>::read(&inputs.t[start..]);
            let y = rule.value(x, t, factor(inputs.pos_weight, start));
            y.mul(factor(inputs.weight, start)).write(out);
        }
    }
}

vectorized! {
    fn total<S, T: Element, R: Rule>(rule: R, inputs: &Inputs<'_, T>) -> f64 {
        let lanes = T::V::<S>::LANES;
        let len = inputs.x.len();
        let mut total = 0.0;
        let mut rest = [T::zero(); crate::simd::MAX_LANES];
        for block in (0..len).step_by(BLOCK) {
            let mut sum = T::V::<S>::zero();
            for start in (block..len.min(block + BLOCK)).step_by(lanes) {
                let x = T::V::<S>::read(&inputs.x[start..]);
                let t = T::V::<S>::read(&inputs.t[start..]);
                let y = rule.value(x, t, factor(inputs.pos_weight, start));
                let y = y.mul(factor(inputs.weight, start));
                if len - start < lanes {
                    // Lanes beyond the end hold the loss of nothing.
                    y.write(&mut rest[..len - start]);
                    sum = sum.add(T::V::<S>::read(&rest));
                } else {
                    sum = sum.add(y);
                }
            }
            total += sum.sum().f64();
        }
        total
    }
}

vectorized! {
    fn slopes<S, T: Element, R: Rule>(
        rule: R,
        of: Of,
        inputs: &Inputs<'_, T>,
        dy: Option<&[T]>,
        scale: T,
        out: &mut [T],
    ) {
        let lanes = T::V::<S>::LANES;
        let scale = T::V::<S>::splat(scale);
        for (i, out) in out.chunks_mut(lanes).enumerate() {
            let start = i * lanes;
            let x = T::V::<S>::read(&inputs.x[start..]);
            let t = T::V::<S>::read(&inputs.t[start..]);
            let p = factor(inputs.pos_weight, start);
            let slope = match of {
                Of::Input => rule.slope(x, t, p),
                Of::Target => rule.target_slope(x, t, p),
            };
            let by = scale.mul(factor(inputs.weight, start)).mul(factor(dy, start));
            slope.mul(by).write(out);
        }
    }
}

/// Negative log-likelihood of `targets` `[R]` under log-probabilities `x` `[R, C]`.
pub fn nll_forward<T: Element>(
    x: ArrayView2<'_, T>,
    targets: &[i64],
    weight: Option<&[T]>,
    ignore_index: i64,
    reduction: Reduction,
) -> Result<Array1<T>> {
    let counted = check_nll("nll_forward", x.dim(), targets, weight, ignore_index)?;
    let rows = targets.iter().zip(x.rows()).map(|(&target, row)| {
        if target == ignore_index {
            return 0.0;
        }
        let class = target as usize;
        -row[class].f64() * weight.map_or(1.0, |weight| weight[class].f64())
    });
    Ok(match reduction {
        Reduction::None => rows.map(T::of).collect(),
        Reduction::Sum => Array1::from_elem(1, T::of(rows.sum())),
        Reduction::Mean => Array1::from_elem(1, T::of(rows.sum::<f64>() / counted)),
    })
}

/// Gradient of the log-probabilities, of shape `dim` `[R, C]`, from that of the loss.
pub fn nll_backward<T: Element>(
    dy: &[T],
    dim: (usize, usize),
    targets: &[i64],
    weight: Option<&[T]>,
    ignore_index: i64,
    reduction: Reduction,
) -> Result<Array2<T>> {
    let counted = check_nll("nll_backward", dim, targets, weight, ignore_index)?;
    let none = reduction == Reduction::None;
    check_shape("nll_backward", "dy", &[if none { dim.0 } else { 1 }], &[dy.len()])?;
    let scale = if reduction == Reduction::Mean { 1.0 / counted } else { 1.0 };
    let mut dx: Array2<T> = memory::zeros(dim);
    for (row, (&target, mut dx)) in targets.iter().zip(dx.rows_mut()).enumerate() {
        if target != ignore_index {
            let class = target as usize;
            let weight = weight.map_or(1.0, |weight| weight[class].f64());
            dx[class] = T::of(-dy[if none { row } else { 0 }].f64() * scale * weight);
        }
    }
    Ok(dx)
}

fn check_nll<T: Element>(
    op: &'static str,
    (rows, columns): (usize, usize),
    targets: &[i64],
    weight: Option<&[T]>,
    ignore_index: i64,
) -> Result<f64> {
    check_shape(op, "targets", &[rows], &[targets.len()])?;
    if let Some(weight) = weight {
        check_shape(op, "weight", &[columns], &[weight.len()])?;
    }
    check_targets(op, targets, columns, ignore_index, weight)
}
