//! Elementary functions of `f32` vectors, good to a few units in the last place over the whole
//! range; the tests state how many. Polynomials after Moshier's Cephes library.

use super::{MAX_LANES, Vector};

/// Value at `x` of the polynomial with the given coefficients, highest power first.
#[inline(always)]
fn polynomial<V: Vector<Elem = f32>>(x: V, coefficients: &[f32]) -> V {
    let mut sum = V::splat(coefficients[0]);
    for &c in &coefficients[1..] {
        sum = sum.mul_add(x, V::splat(c));
    }
    sum
}

/// `e^x`: 1 ulp. 0 below -87.3365, where the result leaves the normal range.
#[inline(always)]
pub fn exp<V: Vector<Elem = f32>>(x: V) -> V {
    const LOW: f32 = -87.336_54;
    const HIGH: f32 = 88.722_83;
    // `min` and `max` return their second operand for a NaN, which so survives the clamp.
    let clamped = V::splat(HIGH).min(V::splat(LOW).max(x));
    let n = clamped.mul(V::splat(std::f32::consts::LOG2_E)).round();
    // ln 2 in two parts, the first with trailing zeros so that n times it is exact.
    let r = n.neg_mul_add(V::splat(0.693_359_4), clamped);
    let r = n.neg_mul_add(V::splat(-2.121_944_4e-4), r);
    let p = polynomial(
        r,
        &[1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5.000_000_1e-1],
    );
    let y = p.mul_add(r.mul(r), r).add(V::splat(1.0)).scale_by_power(n);
    let y = V::select(x.lt(V::splat(LOW)), V::zero(), y);
    V::select(V::splat(HIGH).lt(x), V::splat(f32::INFINITY), y)
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

/// Hyperbolic tangent: 3 ulp.
#[inline(always)]
pub fn tanh<V: Vector<Elem = f32>>(x: V) -> V {
    let one = V::splat(1.0);
    let z = x.mul(x);
    let p = polynomial(
        z,
        &[-5.704_988_7e-3, 2.063_908_9e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328_2e-1],
    );
    let near = p.mul(z).mul_add(x, x);
    let far = one.sub(V::splat(2.0).div(x.add(x).exp().add(one)));
    V::select(x.abs().lt(V::splat(0.625)), near, far)
}

/// Error function, lane by lane.
#[inline(always)]
pub fn erf<V: Vector<Elem = f32>>(x: V) -> V {
    let mut lanes = [0.0f32; MAX_LANES];
    x.write(&mut lanes);
    for lane in &mut lanes[..V::LANES] {
        *lane = libm::erff(*lane);
    }
    V::read(&lanes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectorized;

    vectorized! {
        fn all<S>(x: &[f32], y: &mut [[f32; 4]]) {
            let mut lanes = [0.0f32; MAX_LANES];
            for (x, y) in x.iter().zip(y) {
                let v = S::F32::splat(*x);
                for (i, v) in [v.exp(), v.ln(), v.tanh(), v.sigmoid()].into_iter().enumerate() {
                    v.write(&mut lanes);
                    y[i] = lanes[0];
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
        let mut y = vec![[0.0; 4]; x.len()];
        all(&x, &mut y);
        let mut worst = [0.0f64; 4];
        for (&x, y) in x.iter().zip(&y) {
            let d = f64::from(x);
            let exact = [d.exp(), d.ln(), d.tanh(), 1.0 / (1.0 + (-d).exp())];
            for i in 0..4 {
                let tiny = f64::from(f32::MIN_POSITIVE);
                if exact[i] != 0.0 && exact[i].abs() < tiny && (i == 0 || i == 3) {
                    assert!(f64::from(y[i]) <= tiny, "flushed");
                } else if i == 1 && x.abs() < f32::MIN_POSITIVE {
                    assert!(
                        x.is_sign_negative() && x != 0.0 && y[i].is_nan()
                            || y[i] == f32::NEG_INFINITY
                    );
                } else {
                    worst[i] = worst[i].max(ulps(y[i], exact[i]));
                }
            }
        }
        assert!(
            worst[0] <= 1.0 && worst[1] <= 1.0 && worst[2] <= 3.5 && worst[3] <= 3.0,
            "{worst:?}"
        );
    }
}
