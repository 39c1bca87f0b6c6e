//! AVX2 with FMA: eight `f32`.

use std::arch::x86_64::*;

use super::{Isa, Lanes, MAX_LANES, Pair, Vector, math};

/// AVX2 and FMA.
#[derive(Debug, Clone, Copy)]
pub struct Avx2;

/// Eight `f32`.
#[derive(Debug, Clone, Copy)]
pub struct F32x8(__m256);

impl Isa for Avx2 {
    type F32 = F32x8;
    type F64 = Lanes<f64, 4>;
}

/// A mask whose first `count` lanes are set.
#[inline(always)]
fn first(count: usize) -> __m256i {
    const ONES: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    debug_assert!(count <= 8);
    // SAFETY: eight integers from `8 - count` on lie inside the table.
    unsafe { _mm256_loadu_si256(ONES.as_ptr().add(8 - count).cast()) }
}

/// See [`Vector::together`].
#[inline]
#[target_feature(enable = "avx2")]
fn together(mut first: __m256, mut second: __m256) -> (__m256, __m256) {
    // SAFETY: nothing is done to either.
    unsafe {
        std::arch::asm!(
            "/* {0} {1} */",
            inout(ymm_reg) first,
            inout(ymm_reg) second,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    (first, second)
}

// SAFETY of every block: this form is reached only through `vectorized!` on a machine with AVX2.
impl Vector for F32x8 {
    type Elem = f32;
    type Mask = __m256;
    type Pair = Pair<Self>;
    const LANES: usize = 8;
    const TILE_ROWS: usize = 6;
    const TILE_VECTORS: usize = 2;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_set1_ps(x) })
    }
    #[inline(always)]
    unsafe fn load(source: *const f32) -> Self {
        Self(_mm256_loadu_ps(source))
    }
    #[inline(always)]
    unsafe fn store(self, target: *mut f32) {
        _mm256_storeu_ps(target, self.0);
    }
    #[inline(always)]
    unsafe fn load_first(source: *const f32, count: usize) -> Self {
        Self(_mm256_maskload_ps(source, first(count)))
    }
    #[inline(always)]
    unsafe fn store_first(self, target: *mut f32, count: usize) {
        if count >= 8 {
            return self.store(target);
        }
        // Masked stores take tens of cycles on AMD's processors.
        let (mut half, mut target) = (_mm256_castps256_ps128(self.0), target);
        if count & 4 != 0 {
            _mm_storeu_ps(target, half);
            (half, target) = (_mm256_extractf128_ps::<1>(self.0), target.add(4));
        }
        if count & 2 != 0 {
            _mm_storel_pd(target.cast(), _mm_castps_pd(half));
            (half, target) = (_mm_movehl_ps(half, half), target.add(2));
        }
        if count & 1 != 0 {
            _mm_store_ss(target, half);
        }
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_add_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_sub_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_mul_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_div_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_fmadd_ps(self.0, b.0, c.0) })
    }
    #[inline(always)]
    fn neg_mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_fnmadd_ps(self.0, b.0, c.0) })
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_min_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_max_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn abs(self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), self.0) })
    }
    #[inline(always)]
    fn neg(self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_xor_ps(_mm256_set1_ps(-0.0), self.0) })
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_sqrt_ps(self.0) })
    }
    #[inline(always)]
    fn round(self) -> Self {
        // SAFETY: see above.
        Self(unsafe {
            _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0)
        })
    }
    #[inline(always)]
    fn scale_by_power(self, n: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe {
            let power = _mm256_slli_epi32::<23>(_mm256_cvtps_epi32(n.0));
            _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(self.0), power))
        })
    }
    #[inline(always)]
    fn split_power(self) -> (Self, Self) {
        // SAFETY: see above.
        unsafe {
            let bits = _mm256_castps_si256(self.0);
            let mantissa = _mm256_or_si256(
                _mm256_and_si256(bits, _mm256_set1_epi32(0x007f_ffff)),
                _mm256_set1_epi32(0x3f00_0000),
            );
            let power = _mm256_sub_epi32(_mm256_srli_epi32::<23>(bits), _mm256_set1_epi32(126));
            (Self(_mm256_castsi256_ps(mantissa)), Self(_mm256_cvtepi32_ps(power)))
        }
    }
    #[inline(always)]
    fn lt(self, other: Self) -> Self::Mask {
        // SAFETY: see above.
        unsafe { _mm256_cmp_ps::<_CMP_LT_OQ>(self.0, other.0) }
    }
    #[inline(always)]
    fn le(self, other: Self) -> Self::Mask {
        // SAFETY: see above.
        unsafe { _mm256_cmp_ps::<_CMP_LE_OQ>(self.0, other.0) }
    }
    #[inline(always)]
    fn eq(self, other: Self) -> Self::Mask {
        // SAFETY: see above.
        unsafe { _mm256_cmp_ps::<_CMP_EQ_OQ>(self.0, other.0) }
    }
    #[inline(always)]
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_blendv_ps(no.0, yes.0, mask) })
    }
    #[inline(always)]
    fn zero_where(self, mask: Self::Mask) -> Self {
        // One instruction, where the compiler makes two of a choice.
        // SAFETY: see above.
        Self(unsafe { _mm256_andnot_ps(mask, self.0) })
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
        unsafe {
            let half =
                _mm_add_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
            let quarter = _mm_add_ps(half, _mm_movehl_ps(half, half));
            _mm_cvtss_f32(_mm_add_ss(quarter, _mm_shuffle_ps::<1>(quarter, quarter)))
        }
    }
    #[inline(always)]
    fn four_sums([a, b, c, d]: [Self; 4]) -> [f32; 4] {
        // SAFETY: see above.
        unsafe {
            let all = _mm256_hadd_ps(_mm256_hadd_ps(a.0, b.0), _mm256_hadd_ps(c.0, d.0));
            let sums = _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps::<1>(all));
            let mut out = [0.0; 4];
            _mm_storeu_ps(out.as_mut_ptr(), sums);
            out
        }
    }
    #[inline(always)]
    fn max_lane(self) -> f32 {
        // SAFETY: see above.
        unsafe {
            let half =
                _mm_max_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
            let quarter = _mm_max_ps(half, _mm_movehl_ps(half, half));
            _mm_cvtss_f32(_mm_max_ss(quarter, _mm_shuffle_ps::<1>(quarter, quarter)))
        }
    }
    #[inline(always)]
    fn transpose(block: &mut [Self; MAX_LANES]) {
        let mut quads = [Self::splat(0.0); 8];
        for i in [0, 4] {
            // SAFETY: see above.
            unsafe {
                let low = _mm256_unpacklo_ps(block[i].0, block[i + 1].0);
                let high = _mm256_unpackhi_ps(block[i].0, block[i + 1].0);
                let next_low = _mm256_unpacklo_ps(block[i + 2].0, block[i + 3].0);
                let next_high = _mm256_unpackhi_ps(block[i + 2].0, block[i + 3].0);
                quads[i] = Self(_mm256_shuffle_ps::<0x44>(low, next_low));
                quads[i + 1] = Self(_mm256_shuffle_ps::<0xEE>(low, next_low));
                quads[i + 2] = Self(_mm256_shuffle_ps::<0x44>(high, next_high));
                quads[i + 3] = Self(_mm256_shuffle_ps::<0xEE>(high, next_high));
            }
        }
        for i in 0..4 {
            // SAFETY: see above.
            unsafe {
                let (a, b) = (quads[i].0, quads[i + 4].0);
                block[i] = Self(_mm256_permute2f128_ps::<0x20>(a, b));
                block[i + 4] = Self(_mm256_permute2f128_ps::<0x31>(a, b));
            }
        }
    }
    #[inline(always)]
    fn deinterleave(self, next: Self) -> (Self, Self) {
        // SAFETY: see above.
        unsafe {
            // The shuffles pair halves of both; the second and third quarters change places.
            let even = _mm256_castps_pd(_mm256_shuffle_ps::<0x88>(self.0, next.0));
            let odd = _mm256_castps_pd(_mm256_shuffle_ps::<0xDD>(self.0, next.0));
            (
                Self(_mm256_castpd_ps(_mm256_permute4x64_pd::<0xD8>(even))),
                Self(_mm256_castpd_ps(_mm256_permute4x64_pd::<0xD8>(odd))),
            )
        }
    }
    #[inline(always)]
    fn interleave(self, other: Self) -> (Self, Self) {
        // SAFETY: see above.
        unsafe {
            let low = _mm256_unpacklo_ps(self.0, other.0);
            let high = _mm256_unpackhi_ps(self.0, other.0);
            (
                Self(_mm256_permute2f128_ps::<0x20>(low, high)),
                Self(_mm256_permute2f128_ps::<0x31>(low, high)),
            )
        }
    }
    #[inline(always)]
    fn slide(self, by: usize, first: f32) -> Self {
        // SAFETY: see above.
        unsafe {
            let (x, first) = (self.0, _mm256_set1_ps(first));
            Self(match by {
                1 => {
                    let up = _mm256_setr_epi32(0, 0, 1, 2, 3, 4, 5, 6);
                    _mm256_blend_ps::<0b1>(_mm256_permutevar8x32_ps(x, up), first)
                }
                2 => {
                    let up = _mm256_setr_epi32(0, 0, 0, 1, 2, 3, 4, 5);
                    _mm256_blend_ps::<0b11>(_mm256_permutevar8x32_ps(x, up), first)
                }
                4 => _mm256_permute2f128_ps::<0x20>(first, x),
                _ => unreachable!("a slide by {by} of 8 lanes"),
            })
        }
    }
    #[inline(always)]
    fn from_bytes(bytes: [u8; MAX_LANES]) -> Self {
        // SAFETY: see above; as many bytes are there.
        unsafe {
            let bytes = _mm_loadu_si128(bytes.as_ptr().cast());
            Self(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes)))
        }
    }
    #[inline(always)]
    fn to_bytes(self) -> [u8; MAX_LANES] {
        let mut bytes = [0; MAX_LANES];
        // SAFETY: see above; there is room for as many bytes.
        unsafe {
            let wide = _mm256_cvtps_epi32(self.0);
            let half =
                _mm_packus_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256::<1>(wide));
            _mm_storel_epi64(bytes.as_mut_ptr().cast(), _mm_packus_epi16(half, half));
        }
        bytes
    }
    math::functions!();
}
