//! AVX-512: sixteen `f32`.

use std::arch::x86_64::*;

use super::{Isa, Lanes, MAX_LANES, Pair, Vector, math};

/// AVX-512 F, BW, DQ, VL.
#[derive(Debug, Clone, Copy)]
pub struct Avx512;

/// Sixteen `f32`.
#[derive(Debug, Clone, Copy)]
pub struct F32x16(__m512);

impl Isa for Avx512 {
    type F32 = F32x16;
    type F64 = Lanes<f64, 8>;
}

/// A mask whose first `count` lanes are set.
#[inline(always)]
fn first(count: usize) -> __mmask16 {
    debug_assert!(count <= 16);
    ((1u32 << count) - 1) as __mmask16
}

/// See [`Vector::together`].
#[inline]
#[target_feature(enable = "avx512f")]
fn together(mut first: __m512, mut second: __m512) -> (__m512, __m512) {
    // SAFETY: nothing is done to either.
    unsafe {
        std::arch::asm!(
            "/* {0} {1} */",
            inout(zmm_reg) first,
            inout(zmm_reg) second,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    (first, second)
}

// SAFETY of every block: this form is reached only through `vectorized!` on a machine with AVX-512.
impl Vector for F32x16 {
    type Elem = f32;
    type Mask = __mmask16;
    type Pair = Pair<Self>;
    const LANES: usize = 16;
    const TILE_ROWS: usize = 14;
    const TILE_VECTORS: usize = 2;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_set1_ps(x) })
    }
    #[inline(always)]
    unsafe fn load(source: *const f32) -> Self {
        Self(_mm512_loadu_ps(source))
    }
    #[inline(always)]
    unsafe fn store(self, target: *mut f32) {
        _mm512_storeu_ps(target, self.0);
    }
    #[inline(always)]
    unsafe fn load_first(source: *const f32, count: usize) -> Self {
        Self(_mm512_maskz_loadu_ps(first(count), source))
    }
    #[inline(always)]
    unsafe fn store_first(self, target: *mut f32, count: usize) {
        _mm512_mask_storeu_ps(target, first(count), self.0);
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_add_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_sub_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_mul_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_div_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_fmadd_ps(self.0, b.0, c.0) })
    }
    #[inline(always)]
    fn neg_mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_fnmadd_ps(self.0, b.0, c.0) })
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_min_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_max_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn abs(self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_abs_ps(self.0) })
    }
    #[inline(always)]
    fn neg(self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_xor_ps(_mm512_set1_ps(-0.0), self.0) })
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_sqrt_ps(self.0) })
    }
    #[inline(always)]
    fn round(self) -> Self {
        // SAFETY: see above.
        Self(unsafe {
            _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0)
        })
    }
    #[inline(always)]
    fn scale_by_power(self, n: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_scalef_ps(self.0, n.0) })
    }
    #[inline(always)]
    fn scale_down(self, n: Self) -> Self {
        self.scale_by_power(n)
    }
    #[inline(always)]
    fn split_power(self) -> (Self, Self) {
        // SAFETY: see above.
        unsafe {
            let mantissa = _mm512_getmant_ps::<_MM_MANT_NORM_P5_1, _MM_MANT_SIGN_SRC>(self.0);
            let power = _mm512_add_ps(_mm512_getexp_ps(self.0), _mm512_set1_ps(1.0));
            (Self(mantissa), Self(power))
        }
    }
    #[inline(always)]
    fn lt(self, other: Self) -> Self::Mask {
        // SAFETY: see above.
        unsafe { _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, other.0) }
    }
    #[inline(always)]
    fn le(self, other: Self) -> Self::Mask {
        // SAFETY: see above.
        unsafe { _mm512_cmp_ps_mask::<_CMP_LE_OQ>(self.0, other.0) }
    }
    #[inline(always)]
    fn eq(self, other: Self) -> Self::Mask {
        // SAFETY: see above.
        unsafe { _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(self.0, other.0) }
    }
    #[inline(always)]
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_mask_blend_ps(mask, no.0, yes.0) })
    }
    #[inline(always)]
    fn together(self, other: Self) -> (Self, Self) {
        // SAFETY: see above.
        let (first, second) = unsafe { together(self.0, other.0) };
        (Self(first), Self(second))
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        // SAFETY: see above.
        unsafe { _mm512_reduce_add_ps(self.0) }
    }
    #[inline(always)]
    fn four_sums([a, b, c, d]: [Self; 4]) -> [f32; 4] {
        // SAFETY: see above.
        unsafe {
            let ab = _mm512_add_ps(_mm512_unpacklo_ps(a.0, b.0), _mm512_unpackhi_ps(a.0, b.0));
            let cd = _mm512_add_ps(_mm512_unpacklo_ps(c.0, d.0), _mm512_unpackhi_ps(c.0, d.0));
            let (ab, cd) = (_mm512_castps_pd(ab), _mm512_castps_pd(cd));
            let (low, high) = (_mm512_unpacklo_pd(ab, cd), _mm512_unpackhi_pd(ab, cd));
            let all = _mm512_add_ps(_mm512_castpd_ps(low), _mm512_castpd_ps(high));
            let half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps::<1>(all));
            let sums = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps::<1>(half));
            let mut out = [0.0; 4];
            _mm_storeu_ps(out.as_mut_ptr(), sums);
            out
        }
    }
    #[inline(always)]
    fn max_lane(self) -> f32 {
        // SAFETY: see above.
        unsafe { _mm512_reduce_max_ps(self.0) }
    }
    #[inline(always)]
    fn transpose(block: &mut [Self; MAX_LANES]) {
        let mut quads = [Self::splat(0.0); MAX_LANES];
        for i in (0..16).step_by(4) {
            // SAFETY: see above.
            unsafe {
                let low = _mm512_unpacklo_ps(block[i].0, block[i + 1].0);
                let high = _mm512_unpackhi_ps(block[i].0, block[i + 1].0);
                let next_low = _mm512_unpacklo_ps(block[i + 2].0, block[i + 3].0);
                let next_high = _mm512_unpackhi_ps(block[i + 2].0, block[i + 3].0);
                quads[i] = Self(_mm512_shuffle_ps::<0x44>(low, next_low));
                quads[i + 1] = Self(_mm512_shuffle_ps::<0xEE>(low, next_low));
                quads[i + 2] = Self(_mm512_shuffle_ps::<0x44>(high, next_high));
                quads[i + 3] = Self(_mm512_shuffle_ps::<0xEE>(high, next_high));
            }
        }
        for i in 0..4 {
            // SAFETY: see above.
            unsafe {
                let [a, b] = [quads[i].0, quads[i + 4].0];
                let [c, d] = [quads[i + 8].0, quads[i + 12].0];
                let low = _mm512_shuffle_f32x4::<0x44>(a, b);
                let next_low = _mm512_shuffle_f32x4::<0x44>(c, d);
                let high = _mm512_shuffle_f32x4::<0xEE>(a, b);
                let next_high = _mm512_shuffle_f32x4::<0xEE>(c, d);
                block[i] = Self(_mm512_shuffle_f32x4::<0x88>(low, next_low));
                block[i + 4] = Self(_mm512_shuffle_f32x4::<0xDD>(low, next_low));
                block[i + 8] = Self(_mm512_shuffle_f32x4::<0x88>(high, next_high));
                block[i + 12] = Self(_mm512_shuffle_f32x4::<0xDD>(high, next_high));
            }
        }
    }
    #[inline(always)]
    fn deinterleave(self, next: Self) -> (Self, Self) {
        // SAFETY: see above.
        unsafe {
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            let odd = _mm512_or_si512(even, _mm512_set1_epi32(1));
            (
                Self(_mm512_permutex2var_ps(self.0, even, next.0)),
                Self(_mm512_permutex2var_ps(self.0, odd, next.0)),
            )
        }
    }
    #[inline(always)]
    fn interleave(self, other: Self) -> (Self, Self) {
        // SAFETY: see above.
        unsafe {
            let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            let high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
            (
                Self(_mm512_permutex2var_ps(self.0, low, other.0)),
                Self(_mm512_permutex2var_ps(self.0, high, other.0)),
            )
        }
    }
    #[inline(always)]
    fn slide(self, by: usize, first: f32) -> Self {
        // SAFETY: see above.
        unsafe {
            let lanes = _mm512_castps_si512(self.0);
            let first = _mm512_castps_si512(_mm512_set1_ps(first));
            Self(_mm512_castsi512_ps(match by {
                1 => _mm512_alignr_epi32::<15>(lanes, first),
                2 => _mm512_alignr_epi32::<14>(lanes, first),
                4 => _mm512_alignr_epi32::<12>(lanes, first),
                8 => _mm512_alignr_epi32::<8>(lanes, first),
                _ => unreachable!("a slide by {by} of 16 lanes"),
            }))
        }
    }
    #[inline(always)]
    fn bytes_eq(bytes: [u8; MAX_LANES], byte: u8) -> __mmask16 {
        // SAFETY: see above; as many bytes are there.
        unsafe {
            let bytes = _mm_loadu_si128(bytes.as_ptr().cast());
            _mm_cmpeq_epi8_mask(bytes, _mm_set1_epi8(byte.cast_signed()))
        }
    }
    #[inline(always)]
    fn from_bytes(bytes: [u8; MAX_LANES]) -> Self {
        // SAFETY: see above; as many bytes are there.
        unsafe {
            let bytes = _mm_loadu_si128(bytes.as_ptr().cast());
            Self(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes)))
        }
    }
    #[inline(always)]
    fn to_bytes(self) -> [u8; MAX_LANES] {
        let mut bytes = [0; MAX_LANES];
        // SAFETY: see above; there is room for as many bytes.
        unsafe {
            let narrow = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(self.0));
            _mm_storeu_si128(bytes.as_mut_ptr().cast(), narrow);
        }
        bytes
    }
    math::functions!();
}
