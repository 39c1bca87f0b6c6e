//! NEON: eight `f32` in two registers, so that tiles and strips are those of AVX2.

use std::arch::aarch64::*;

use super::{Isa, Lanes, MAX_LANES, Pair, Vector, math};

/// NEON, which every aarch64 processor has.
#[derive(Debug, Clone, Copy)]
pub struct Neon;

/// Eight `f32`: the first four lanes, and the others.
#[derive(Debug, Clone, Copy)]
pub struct F32x8(float32x4_t, float32x4_t);

impl Isa for Neon {
    type F32 = F32x8;
    type F64 = Lanes<f64, 4>;
}

/// Does to both halves what an intrinsic does to one.
macro_rules! halves {
    ($f:ident($($x:expr),*)) => {
        // SAFETY: the target always has NEON.
        unsafe { F32x8($f($($x.0),*), $f($($x.1),*)) }
    };
}

/// The block of four rows and columns, its columns as rows.
#[inline(always)]
fn transpose4(rows: [float32x4_t; 4]) -> [float32x4_t; 4] {
    // SAFETY: the target always has NEON.
    unsafe {
        let pairs = |a, b| (vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b));
        let (even, next_even) = pairs(vtrn1q_f32(rows[0], rows[1]), vtrn1q_f32(rows[2], rows[3]));
        let (odd, next_odd) = pairs(vtrn2q_f32(rows[0], rows[1]), vtrn2q_f32(rows[2], rows[3]));
        [
            vreinterpretq_f32_f64(vtrn1q_f64(even, next_even)),
            vreinterpretq_f32_f64(vtrn1q_f64(odd, next_odd)),
            vreinterpretq_f32_f64(vtrn2q_f64(even, next_even)),
            vreinterpretq_f32_f64(vtrn2q_f64(odd, next_odd)),
        ]
    }
}

// SAFETY of every block: the target always has NEON.
impl Vector for F32x8 {
    type Elem = f32;
    type Mask = (uint32x4_t, uint32x4_t);
    type Pair = Pair<Self>;
    const LANES: usize = 8;
    const TILE_ROWS: usize = 6;
    const TILE_VECTORS: usize = 2;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        // SAFETY: see above.
        let half = unsafe { vdupq_n_f32(x) };
        Self(half, half)
    }
    #[inline(always)]
    unsafe fn load(source: *const f32) -> Self {
        Self(vld1q_f32(source), vld1q_f32(source.add(4)))
    }
    #[inline(always)]
    unsafe fn store(self, target: *mut f32) {
        vst1q_f32(target, self.0);
        vst1q_f32(target.add(4), self.1);
    }
    #[inline(always)]
    unsafe fn load_first(source: *const f32, count: usize) -> Self {
        let mut lanes = [0.0f32; 8];
        source.copy_to_nonoverlapping(lanes.as_mut_ptr(), count);
        Self::load(lanes.as_ptr())
    }
    #[inline(always)]
    unsafe fn store_first(self, target: *mut f32, count: usize) {
        let mut lanes = [0.0f32; 8];
        self.store(lanes.as_mut_ptr());
        target.copy_from_nonoverlapping(lanes.as_ptr(), count);
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        halves!(vaddq_f32(self, other))
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        halves!(vsubq_f32(self, other))
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        halves!(vmulq_f32(self, other))
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        halves!(vdivq_f32(self, other))
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        halves!(vfmaq_f32(c, self, b))
    }
    #[inline(always)]
    fn neg_mul_add(self, b: Self, c: Self) -> Self {
        halves!(vfmsq_f32(c, self, b))
    }
    // The instructions for these give NaN where either is NaN, not the second.
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self::select(self.lt(other), self, other)
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self::select(other.lt(self), self, other)
    }
    #[inline(always)]
    fn abs(self) -> Self {
        halves!(vabsq_f32(self))
    }
    #[inline(always)]
    fn neg(self) -> Self {
        halves!(vnegq_f32(self))
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        halves!(vsqrtq_f32(self))
    }
    #[inline(always)]
    fn round(self) -> Self {
        halves!(vrndnq_f32(self))
    }
    #[inline(always)]
    fn scale_by_power(self, n: Self) -> Self {
        #[inline(always)]
        fn half(x: float32x4_t, n: float32x4_t) -> float32x4_t {
            // SAFETY: the target always has NEON.
            unsafe {
                let power = vshlq_n_s32::<23>(vcvtnq_s32_f32(n));
                vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(x), power))
            }
        }
        Self(half(self.0, n.0), half(self.1, n.1))
    }
    #[inline(always)]
    fn split_power(self) -> (Self, Self) {
        #[inline(always)]
        fn half(x: float32x4_t) -> (float32x4_t, float32x4_t) {
            // SAFETY: the target always has NEON.
            unsafe {
                let bits = vreinterpretq_u32_f32(x);
                let mantissa =
                    vorrq_u32(vandq_u32(bits, vdupq_n_u32(0x007f_ffff)), vdupq_n_u32(0x3f00_0000));
                let power = vreinterpretq_s32_u32(vshrq_n_u32::<23>(bits));
                let power = vcvtq_f32_s32(vsubq_s32(power, vdupq_n_s32(126)));
                (vreinterpretq_f32_u32(mantissa), power)
            }
        }
        let (low, high) = (half(self.0), half(self.1));
        (Self(low.0, high.0), Self(low.1, high.1))
    }
    #[inline(always)]
    fn lt(self, other: Self) -> Self::Mask {
        // SAFETY: see above.
        unsafe { (vcltq_f32(self.0, other.0), vcltq_f32(self.1, other.1)) }
    }
    #[inline(always)]
    fn le(self, other: Self) -> Self::Mask {
        // SAFETY: see above.
        unsafe { (vcleq_f32(self.0, other.0), vcleq_f32(self.1, other.1)) }
    }
    #[inline(always)]
    fn eq(self, other: Self) -> Self::Mask {
        // SAFETY: see above.
        unsafe { (vceqq_f32(self.0, other.0), vceqq_f32(self.1, other.1)) }
    }
    #[inline(always)]
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self {
        halves!(vbslq_f32(mask, yes, no))
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        // SAFETY: see above.
        unsafe {
            let half = vaddq_f32(self.0, self.1);
            let quarter = vadd_f32(vget_low_f32(half), vget_high_f32(half));
            vget_lane_f32::<0>(quarter) + vget_lane_f32::<1>(quarter)
        }
    }
    #[inline(always)]
    fn max_lane(self) -> f32 {
        // SAFETY: see above.
        unsafe { vmaxnmvq_f32(vmaxnmq_f32(self.0, self.1)) }
    }
    #[inline(always)]
    fn transpose(block: &mut [Self; MAX_LANES]) {
        let quad = |high: bool, from: usize| {
            let mut rows = [block[0].0; 4];
            for (i, row) in rows.iter_mut().enumerate() {
                *row = if high { block[from + i].1 } else { block[from + i].0 };
            }
            transpose4(rows)
        };
        let columns = [quad(false, 0), quad(true, 0), quad(false, 4), quad(true, 4)];
        for i in 0..4 {
            block[i] = Self(columns[0][i], columns[2][i]);
            block[i + 4] = Self(columns[1][i], columns[3][i]);
        }
    }
    #[inline(always)]
    fn deinterleave(self, next: Self) -> (Self, Self) {
        // SAFETY: see above.
        unsafe {
            (
                Self(vuzp1q_f32(self.0, self.1), vuzp1q_f32(next.0, next.1)),
                Self(vuzp2q_f32(self.0, self.1), vuzp2q_f32(next.0, next.1)),
            )
        }
    }
    #[inline(always)]
    fn interleave(self, other: Self) -> (Self, Self) {
        // SAFETY: see above.
        unsafe {
            (
                Self(vzip1q_f32(self.0, other.0), vzip2q_f32(self.0, other.0)),
                Self(vzip1q_f32(self.1, other.1), vzip2q_f32(self.1, other.1)),
            )
        }
    }
    #[inline(always)]
    fn slide(self, by: usize, first: f32) -> Self {
        // SAFETY: see above.
        unsafe {
            let first = vdupq_n_f32(first);
            match by {
                1 => Self(vextq_f32::<3>(first, self.0), vextq_f32::<3>(self.0, self.1)),
                2 => Self(vextq_f32::<2>(first, self.0), vextq_f32::<2>(self.0, self.1)),
                4 => Self(first, self.0),
                _ => unreachable!("a slide by {by} of 8 lanes"),
            }
        }
    }
    math::functions!();
}
