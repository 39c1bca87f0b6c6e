//! Elementary functions of `f32` vectors, good to a few units in the last place over the whole
//! range; the tests state how many. `ln` and the reduction of `exp` after Moshier's Cephes library;
//! the other polynomials and the rational function are least relative error fits of our own, found
//! by iteratively reweighted least squares.

use super::{MAX_LANES, Vector};

/// The methods of a vector of `f32` that the functions of this file serve.
macro_rules! functions {
    () => {
        math::functions!(exp exp_to_one ln tanh sin cos erf);

        #[inline(always)]
        fn normal_tail(self) -> (Self, Self) {
            math::normal_tail(self)
        }
    };
    ($($name:ident)+) => {
        $(#[inline(always)]
        fn $name(self) -> Self {
            math::$name(self)
        })+
    };
}
pub(super) use functions;

/// Value at `x` of the polynomial with the given coefficients, highest power first.
#[inline(always)]
fn polynomial<V: Vector<Elem = f32>>(x: V, coefficients: &[f32]) -> V {
    let mut sum = V::splat(coefficients[0]);
    for &c in &coefficients[1..] {
        sum = sum.mul_add(x, V::splat(c));
    }
    sum
}

/// `e^r` for `|r| <= ln(2) / 2`.
#[inline(always)]
fn exp_near_zero<V: Vector<Elem = f32>>(r: V) -> V {
    polynomial(
        r,
        &[1.381_386_9e-3, 8.369_069e-3, 4.166_842_3e-2, 1.666_651_8e-1, 4.999_999_4e-1, 1.0, 1.0],
    )
}

/// `e^x` for `x` whose result is a normal number: 1 ulp and a relative error of 3e-9 x.
#[inline(always)]
fn exp_in_range<V: Vector<Elem = f32>>(x: V) -> V {
    let n = x.mul(V::splat(std::f32::consts::LOG2_E)).round();
    exp_near_zero(n.neg_mul_add(V::splat(std::f32::consts::LN_2), x)).scale_by_power(n)
}

/// `e^x`: 1 ulp, 1.2 without fused multiply-add. 0 below -87.3365, where the result leaves the
/// normal range.
#[inline(always)]
pub fn exp<V: Vector<Elem = f32>>(x: V) -> V {
    const HIGH: f32 = 88.722_83;
    // `min` and `max` return their second operand for a NaN, which so survives.
    let y = exp_to_one(V::splat(HIGH).min(x));
    V::select(V::splat(HIGH).lt(x), V::splat(f32::INFINITY), y)
}

/// [`exp`] of numbers that it does not take out of range.
#[inline(always)]
pub fn exp_to_one<V: Vector<Elem = f32>>(x: V) -> V {
    const LOW: f32 = -87.336_54;
    let clamped = V::splat(LOW).max(x);
    let n = clamped.mul(V::splat(std::f32::consts::LOG2_E)).round();
    // ln 2 in two parts, the first with trailing zeros so that n times it is exact.
    let r = n.neg_mul_add(V::splat(0.693_359_4), clamped);
    let r = n.neg_mul_add(V::splat(-2.121_944_4e-4), r);
    exp_near_zero(r).scale_by_power(n).zero_where(x.lt(V::splat(LOW)))
}

/// Natural logarithm: 1 ulp. Denormal inputs count as zero.
#[inline(always)]
pub fn ln<V: Vector<Elem = f32>>(x: V) -> V {
    let one = V::splat(1.0);
    let (m, e) = V::splat(f32::MIN_POSITIVE).max(x).split_power();
    // Mantissa in [sqrt(1/2), sqrt(2)) keeps the polynomial's argument near zero.
    let small = m.lt(V::splat(std::f32::consts::FRAC_1_SQRT_2));
    let e = V::select(small, e.sub(one), e);
    let m = V::select(small, m.add(m), m).sub(one);
    let z = m.mul(m);
    let p = polynomial(
        m,
        &[
            7.037_683_6e-2,
            -1.151_461e-1,
            1.167_699_9e-1,
            -1.242_014_1e-1,
            1.424_932_3e-1,
            -1.666_805_8e-1,
            2.000_071_5e-1,
            -2.499_999_4e-1,
            3.333_333e-1,
        ],
    );
    let y = e.mul_add(V::splat(-2.121_944_4e-4), p.mul(m).mul(z));
    let y = V::splat(0.5).neg_mul_add(z, y);
    let y = e.mul_add(V::splat(0.693_359_4), m.add(y));
    let y = V::select(x.lt(V::splat(f32::MIN_POSITIVE)), V::splat(f32::NEG_INFINITY), y);
    let y = V::select(x.lt(V::zero()), V::splat(f32::NAN), y);
    // Infinity maps to itself, and so does a NaN, which is unequal to itself.
    let y = V::select(V::splat(f32::INFINITY).le(x), x, y);
    V::select(x.eq(x), y, x)
}

/// Hyperbolic tangent: 2 ulp.
#[inline(always)]
pub fn tanh<V: Vector<Elem = f32>>(x: V) -> V {
    let one = V::splat(1.0);
    let z = x.mul(x);
    let p = polynomial(
        z,
        &[-5.895_157e-3, 2.079_597_1e-2, -5.378_383e-2, 1.333_192_4e-1, -3.333_329_9e-1],
    );
    let near = p.mul(z).mul_add(x, x);
    // From here on the result rounds to one.
    let a = V::splat(9.02).min(x.abs());
    let far = one.sub(V::splat(2.0).div(exp_in_range(a.add(a)).add(one)));
    let far = V::select(x.lt(V::zero()), far.neg(), far);
    V::select(a.lt(V::splat(0.6)), near, far)
}

/// Sine: 2 ulp.
#[inline(always)]
pub fn sin<V: Vector<Elem = f32>>(x: V) -> V {
    if is_far(x) {
        return each(x, f64::sin);
    }
    let (quarter, sin, cos) = turned(x);
    turned_back(quarter, sin, cos)
}

/// Cosine: 2 ulp.
#[inline(always)]
pub fn cos<V: Vector<Elem = f32>>(x: V) -> V {
    if is_far(x) {
        return each(x, f64::cos);
    }
    let (quarter, sin, cos) = turned(x);
    turned_back(quarter, cos, sin.neg())
}

/// What a function that is `here` at quarter 0, `next` at 1 and the negative of either half a turn
/// further is at `quarter`.
#[inline(always)]
fn turned_back<V: Vector<Elem = f32>>(quarter: V, here: V, next: V) -> V {
    let even = V::select(quarter.abs().lt(V::splat(1.0)), here, here.neg());
    let odd = V::select(quarter.lt(V::zero()), next.neg(), next);
    V::select(quarter.abs().eq(V::splat(1.0)), odd, even)
}

/// Whether a lane is too far from zero for [`turned`].
#[inline(always)]
fn is_far<V: Vector<Elem = f32>>(x: V) -> bool {
    V::select(V::splat(8192.0).lt(x.abs()), V::splat(1.0), V::zero()).sum() > 0.0
}

/// `f` of each lane in double precision.
#[inline(always)]
fn each<V: Vector<Elem = f32>>(x: V, f: impl Fn(f64) -> f64) -> V {
    let mut lanes = [0.0f32; 2 * MAX_LANES];
    x.write(&mut lanes);
    lanes[..V::LANES].iter_mut().for_each(|x| *x = f(f64::from(*x)) as f32);
    V::read(&lanes)
}

/// The quarter of a turn, from -2 to 2, that `x` is nearest to, and sine and cosine of what it is
/// away from it. Cody & Waite, 1980: pi / 2 in parts, of which whole multiples are exact.
#[inline(always)]
fn turned<V: Vector<Elem = f32>>(x: V) -> (V, V, V) {
    let n = x.mul(V::splat(std::f32::consts::FRAC_2_PI)).round();
    let mut r = x;
    for part in [1.570_312_5, 4.837_513e-4, 7.549_533_6e-8, 2.563_344e-12] {
        r = n.neg_mul_add(V::splat(part), r);
    }
    let z = r.mul(r);
    let p = polynomial(z, &[-1.951_494e-4, 8.332_158e-3, -1.666_665_5e-1]);
    let sin = p.mul(z).mul_add(r, r);
    let p = polynomial(z, &[2.443_277e-5, -1.388_731_3e-3, 4.166_664_6e-2]);
    let cos = p.mul(z).mul_add(z, V::splat(-0.5).mul_add(z, V::splat(1.0)));
    (V::splat(-4.0).mul_add(n.mul(V::splat(0.25)).round(), n), sin, cos)
}

/// Probability of a standard normal number above `a`, from 0 to 100, and `exp(-a^2 / 2)`. Relative
/// error 4e-7 + 6e-8 a^2; 0 where the latter leaves the normal range, or nearly so.
#[inline(always)]
pub fn normal_tail<V: Vector<Elem = f32>>(a: V) -> (V, V) {
    // exp(-a^2 / 2) as a power of two, of which one fused step takes the whole part.
    let square = a.mul(a);
    let to_power = V::splat(-0.5 * std::f32::consts::LOG2_E);
    let n = square.mul(to_power).round();
    let e = polynomial(
        square.mul_add(to_power, n.neg()),
        &[
            1.326_472_7e-3,
            9.671_513e-3,
            5.550_733_6e-2,
            2.402_224_2e-1,
            std::f32::consts::LN_2 - 1.788_139_3e-7,
            1.0,
        ],
    );
    let e = e.scale_down(n);
    // Their quotient is good to 1e-7 (1 + 0.15 a^2).
    let p = polynomial(a, &[3.988_325_6e-1, 2.957_120_2, 9.269_889, 13.399_679]);
    let mut q = a.add(V::splat(7.403_029_4));
    for c in [24.369_339, 39.922_462, 26.799_358] {
        q = q.mul_add(a, V::splat(c));
    }
    (e.mul(p).div(q), e)
}

/// Error function: 2 ulp.
#[inline(always)]
pub fn erf<V: Vector<Elem = f32>>(x: V) -> V {
    let z = x.mul(x);
    let p = polynomial(
        z,
        &[
            -6.535_247e-4,
            5.085_132_6e-3,
            -2.682_080_9e-2,
            1.128_311_3e-1,
            -3.761_260_2e-1,
            1.283_791_7e-1,
        ],
    );
    let near = p.mul_add(x, x);
    let a = V::splat(10.0).min(x.abs());
    let (tail, _) = normal_tail(a.mul(V::splat(std::f32::consts::SQRT_2)));
    let far = V::splat(-2.0).mul_add(tail, V::splat(1.0));
    let far = V::select(x.lt(V::zero()), far.neg(), far);
    V::select(x.abs().lt(V::splat(0.8)), near, far)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectorized;

    const FUNCTIONS: usize = 8;

    vectorized! {
        fn all<S>(x: &[f32], y: &mut [[f32; FUNCTIONS]]) {
            let mut lanes = [0.0f32; MAX_LANES];
            for (x, y) in x.iter().zip(y) {
                let v = S::F32::splat(*x);
                let tail = S::F32::splat(40.0).min(v.abs()).normal_tail().0;
                let (sin, cos) = (v.sin(), v.cos());
                let results = [v.exp(), v.ln(), v.tanh(), v.sigmoid(), v.erf(), tail, sin, cos];
                for (y, v) in y.iter_mut().zip(results) {
                    v.write(&mut lanes);
                    *y = lanes[0];
                }
            }
        }
    }

    fn ulps(got: f32, exact: f64) -> f64 {
        let rounded = exact as f32;
        if got == rounded || (got.is_nan() && rounded.is_nan()) {
            return 0.0;
        }
        let unit =
            f64::from(f32::from_bits(rounded.abs().to_bits() + 1)) - f64::from(rounded.abs());
        (f64::from(got) - exact).abs() / unit
    }

    #[test]
    fn errors_stay_within_the_stated_ulps_over_the_whole_range() {
        // Every 1,000th pattern of bits: all exponents, both signs, infinities and NaN.
        let x: Vec<f32> = (0..u32::MAX).step_by(1000).map(f32::from_bits).collect();
        let mut y = vec![[0.0; FUNCTIONS]; x.len()];
        all(&x, &mut y);
        let mut worst = [0.0f64; FUNCTIONS];
        for (&x, y) in x.iter().zip(&y) {
            let d = f64::from(x);
            let tail = 0.5 * libm::erfc(d.abs() * std::f64::consts::FRAC_1_SQRT_2);
            let sigmoid = 1.0 / (1.0 + (-d).exp());
            let (sin, cos) = d.sin_cos();
            let exact = [d.exp(), d.ln(), d.tanh(), sigmoid, libm::erf(d), tail, sin, cos];
            for i in 0..FUNCTIONS {
                let tiny = f64::from(f32::MIN_POSITIVE);
                if exact[i] != 0.0 && exact[i].abs() < tiny && [0, 3, 5].contains(&i) {
                    assert!(f64::from(y[i]) <= tiny, "flushed");
                } else if i == 1 && x.abs() < f32::MIN_POSITIVE {
                    assert!(
                        x.is_sign_negative() && x != 0.0 && y[i].is_nan()
                            || y[i] == f32::NEG_INFINITY
                    );
                } else {
                    let mut error = ulps(y[i], exact[i]);
                    if i == 5 && x.is_finite() {
                        error *= 4.0 / (4.0 + d * d);
                    }
                    worst[i] = worst[i].max(error);
                }
            }
        }
        let stated = [1.2, 1.0, 2.0, 3.0, 2.0, 6.0, 2.0, 2.0];
        assert!(worst.iter().zip(stated).all(|(worst, stated)| *worst <= stated), "{worst:?}");
    }

    #[test]
    fn ends_of_the_normal_distribution() {
        let x = [f32::NEG_INFINITY, -20.0, 0.0, 20.0, f32::INFINITY];
        let mut y = vec![[0.0; FUNCTIONS]; x.len()];
        all(&x, &mut y);
        let ends: Vec<f32> = y.iter().map(|y| y[5]).collect();
        assert_eq!(ends, [0.0, 0.0, 0.5, 0.0, 0.0]);
    }
}
