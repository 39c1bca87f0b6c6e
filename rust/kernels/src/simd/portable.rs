//! Vectors as plain arrays: `f64` everywhere, `f32` where no other form fits. The compiler turns
//! the loops into whatever the surrounding function may use.

use super::{Isa, Vector, math};
use crate::Element;

/// `N` numbers, aligned like a register.
#[derive(Debug, Clone, Copy)]
#[repr(align(32))]
pub struct Lanes<T, const N: usize>([T; N]);

/// No instructions beyond the target's own.
#[derive(Debug, Clone, Copy)]
pub struct Portable;

impl Isa for Portable {
    type F32 = Lanes<f32, 8>;
    type F64 = Lanes<f64, 4>;
}

impl<T: Element, const N: usize> Lanes<T, N> {
    #[inline(always)]
    fn map(self, f: impl Fn(T) -> T) -> Self {
        let mut out = self.0;
        for lane in &mut out {
            *lane = f(*lane);
        }
        Self(out)
    }

    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(T, T) -> T) -> Self {
        let mut out = self.0;
        for (lane, other) in out.iter_mut().zip(other.0) {
            *lane = f(*lane, other);
        }
        Self(out)
    }

    #[inline(always)]
    fn test(self, other: Self, f: impl Fn(T, T) -> bool) -> [bool; N] {
        let mut out = [false; N];
        for i in 0..N {
            out[i] = f(self.0[i], other.0[i]);
        }
        out
    }
}

/// `a * b + c`; a library call where the target has no such instruction is far too slow.
#[inline(always)]
fn mul_add<T: Element>(a: T, b: T, c: T) -> T {
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
        a.mul_add(b, c)
    } else {
        a * b + c
    }
}

macro_rules! lanes {
    (
        $t:ty, $bits:ty, $mantissa:expr, $bias:expr, $tail:expr, $($name:ident: $function:expr),+
    ) => {
        impl<const N: usize> Vector for Lanes<$t, N> {
            type Elem = $t;
            type Mask = [bool; N];
            type Pair = Self;
            const LANES: usize = N;
            const TILE_ROWS: usize = if size_of::<$t>() == 8 && N == 8 { 6 } else { 4 };
            const TILE_VECTORS: usize = 1;

            #[inline(always)]
            fn splat(x: $t) -> Self {
                Self([x; N])
            }
            #[inline(always)]
            unsafe fn load(source: *const $t) -> Self {
                Self(source.cast::<[$t; N]>().read_unaligned())
            }
            #[inline(always)]
            unsafe fn store(self, target: *mut $t) {
                target.cast::<[$t; N]>().write_unaligned(self.0);
            }
            #[inline(always)]
            unsafe fn load_first(source: *const $t, count: usize) -> Self {
                let mut out = [0.0; N];
                for i in 0..count {
                    out[i] = *source.add(i);
                }
                Self(out)
            }
            #[inline(always)]
            unsafe fn store_first(self, target: *mut $t, count: usize) {
                for i in 0..count {
                    *target.add(i) = self.0[i];
                }
            }
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                self.zip(other, |a, b| a + b)
            }
            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                self.zip(other, |a, b| a - b)
            }
            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                self.zip(other, |a, b| a * b)
            }
            #[inline(always)]
            fn div(self, other: Self) -> Self {
                self.zip(other, |a, b| a / b)
            }
            #[inline(always)]
            fn mul_add(self, b: Self, c: Self) -> Self {
                let mut out = [0.0; N];
                for i in 0..N {
                    out[i] = mul_add(self.0[i], b.0[i], c.0[i]);
                }
                Self(out)
            }
            #[inline(always)]
            fn neg_mul_add(self, b: Self, c: Self) -> Self {
                self.neg().mul_add(b, c)
            }
            #[inline(always)]
            fn min(self, other: Self) -> Self {
                self.zip(other, |a, b| if a < b { a } else { b })
            }
            #[inline(always)]
            fn max(self, other: Self) -> Self {
                self.zip(other, |a, b| if a > b { a } else { b })
            }
            #[inline(always)]
            fn abs(self) -> Self {
                self.map(<$t>::abs)
            }
            #[inline(always)]
            fn neg(self) -> Self {
                self.map(|x| -x)
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                self.map(<$t>::sqrt)
            }
            #[inline(always)]
            fn round(self) -> Self {
                // Adding and taking away 1.5 * 2^mantissa leaves the nearest even integer.
                let shift = (3u64 << ($mantissa - 1)) as $t;
                self.map(|x| (x + shift) - shift)
            }
            #[inline(always)]
            fn scale_by_power(self, n: Self) -> Self {
                self.zip(n, |x, n| {
                    let power = (n as i64) << $mantissa;
                    <$t>::from_bits((x.to_bits() as i64).wrapping_add(power) as $bits)
                })
            }
            #[inline(always)]
            fn split_power(self) -> (Self, Self) {
                let mask: $bits = (1 << $mantissa) - 1;
                let half: $bits = ($bias - 1) << $mantissa;
                let mantissa = self.map(|x| <$t>::from_bits((x.to_bits() & mask) | half));
                let power = self.map(|x| ((x.to_bits() >> $mantissa) as i64 - ($bias - 1)) as $t);
                (mantissa, power)
            }
            #[inline(always)]
            fn lt(self, other: Self) -> Self::Mask {
                self.test(other, |a, b| a < b)
            }
            #[inline(always)]
            fn le(self, other: Self) -> Self::Mask {
                self.test(other, |a, b| a <= b)
            }
            #[inline(always)]
            fn eq(self, other: Self) -> Self::Mask {
                self.test(other, |a, b| a == b)
            }
            #[inline(always)]
            fn select(mask: Self::Mask, yes: Self, no: Self) -> Self {
                let mut out = no.0;
                for i in 0..N {
                    out[i] = if mask[i] { yes.0[i] } else { no.0[i] };
                }
                Self(out)
            }
            #[inline(always)]
            fn sum(self) -> $t {
                let mut lanes = self.0;
                let mut width = N;
                while width > 1 {
                    width /= 2;
                    for i in 0..width {
                        lanes[i] += lanes[i + width];
                    }
                }
                lanes[0]
            }
            #[inline(always)]
            fn slide(self, by: usize, first: $t) -> Self {
                let mut out = [first; N];
                out[by..].copy_from_slice(&self.0[..N - by]);
                Self(out)
            }
            #[inline(always)]
            fn max_lane(self) -> $t {
                self.0.iter().copied().fold(<$t>::NEG_INFINITY, <$t>::max)
            }
            $(#[inline(always)]
            fn $name(self) -> Self {
                $function(self)
            })+
            #[inline(always)]
            fn normal_tail(self) -> (Self, Self) {
                $tail(self)
            }
        }
    };
}

lanes!(
    f32, u32, 23, 127, math::normal_tail,
    exp: math::exp,
    ln: math::ln,
    tanh: math::tanh,
    sin: math::sin,
    cos: math::cos,
    erf: math::erf
);
lanes!(
    f64, u64, 52, 1023,
    |x: Self| {
        let tail = x.map(|x| 0.5 * libm::erfc(x.abs() * std::f64::consts::FRAC_1_SQRT_2));
        (tail, x.map(|x| (-0.5 * x * x).exp()))
    },
    exp: |x: Self| x.map(f64::exp),
    ln: |x: Self| x.map(f64::ln),
    tanh: |x: Self| x.map(f64::tanh),
    sin: |x: Self| x.map(f64::sin),
    cos: |x: Self| x.map(f64::cos),
    erf: |x: Self| x.map(libm::erf)
);
