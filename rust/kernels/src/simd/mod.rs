//! One vector trait, its forms for each instruction set, and the choice between them at run time.
//!
//! A kernel writes its inner loops once with [`vectorized!`], generic over `S: Isa`; the macro makes
//! a copy for each instruction set and a front that picks one. `LAMINA_ISA` (`portable`, `neon`,
//! `avx2`, `avx512`) forces a set. Closures do not inherit the instruction set of the function around
//! them, so inside a vectorized body helpers are `#[inline(always)]` functions, and threads stay
//! outside.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub mod math;
#[cfg(target_arch = "aarch64")]
mod neon;
mod pair;
mod portable;
pub mod steps;

use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
#[cfg(target_arch = "aarch64")]
pub use neon::Neon;
pub use pair::Pair;
pub use portable::{Lanes, Portable};

use crate::Element;

/// No form has more lanes than this.
pub const MAX_LANES: usize = 16;

/// Numbers in a cache line.
pub const fn line<T>() -> usize {
    64 / size_of::<T>()
}

/// How many numbers ahead of the work [`Vector::prefetch_ahead`] asks for.
const AHEAD: usize = 1024;

/// Bytes of an array whose rows are worth asking for: the caches next to a processor do not hold it.
pub const FAR: usize = 1 << 20;

/// Asks for the cache line of an address, which need not be valid: into the first cache where `NEAR`,
/// else into the second.
#[inline(always)]
pub fn prefetch<const NEAR: bool>(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint that never faults; every x86-64 processor has it.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
        if NEAR {
            _mm_prefetch::<_MM_HINT_T0>(at.cast());
        } else {
            _mm_prefetch::<_MM_HINT_T1>(at.cast());
        }
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a hint that never faults and changes no register.
    unsafe {
        if NEAR {
            std::arch::asm!("prfm pldl1keep, [{}]", in(reg) at, options(nostack, readonly, preserves_flags));
        } else {
            std::arch::asm!("prfm pldl2keep, [{}]", in(reg) at, options(nostack, readonly, preserves_flags));
        }
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = at;
}

/// `at` and the addresses of `M - 1` numbers after it, each `apart` numbers from the one before, for
/// the loads of a loop: three are reached from one register. Left alone the compiler adds up
/// another for each, which takes as long as what it is for.
#[inline(always)]
pub fn addresses<T, const M: usize>(at: *const T, apart: isize) -> [*const T; M] {
    let mut from = at;
    std::array::from_fn(|i| {
        if i > 0 && i % 3 == 0 {
            from = hidden(from.wrapping_offset(3 * apart));
        }
        from.wrapping_offset((i % 3) as isize * apart)
    })
}

/// The same address, of which the compiler does not know where it comes from.
#[inline(always)]
fn hidden<T>(mut at: *const T) -> *const T {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    // SAFETY: nothing is done to it.
    unsafe {
        std::arch::asm!("/* {0} */", inout(reg) at, options(pure, readonly, nostack, preserves_flags));
    }
    at
}

/// A register of numbers. Comparisons give a mask; a NaN compares false.
pub trait Vector: Copy {
    /// The number in each lane.
    type Elem: Element;
    /// Result of a comparison.
    type Mask: Copy;
    /// Several vectors that a function of each number takes in turn, or the vector itself.
    type Pair: Vector<Elem = Self::Elem>;
    /// How many lanes.
    const LANES: usize;
    /// Rows of a tile of a matrix product that fits the registers.
    const TILE_ROWS: usize;
    /// Vectors in a row of that tile.
    const TILE_VECTORS: usize;

    /// The same number in every lane.
    fn splat(x: Self::Elem) -> Self;
    /// Lanes read from `source`.
    ///
    /// # Safety
    /// `LANES` numbers are readable at `source`.
    unsafe fn load(source: *const Self::Elem) -> Self;
    /// Lanes written to `target`.
    ///
    /// # Safety
    /// `LANES` numbers are writable at `target`.
    unsafe fn store(self, target: *mut Self::Elem);
    /// The first `count` lanes read from `source`, zero in the others.
    ///
    /// # Safety
    /// `count <= LANES` numbers are readable at `source`.
    unsafe fn load_first(source: *const Self::Elem, count: usize) -> Self;
    /// The first `count` lanes written to `target`.
    ///
    /// # Safety
    /// `count <= LANES` numbers are writable at `target`.
    unsafe fn store_first(self, target: *mut Self::Elem, count: usize);

    /// Sum.
    fn add(self, other: Self) -> Self;
    /// Difference.
    fn sub(self, other: Self) -> Self;
    /// Product.
    fn mul(self, other: Self) -> Self;
    /// Quotient.
    fn div(self, other: Self) -> Self;
    /// `self * b + c`, rounded once where the hardware does.
    fn mul_add(self, b: Self, c: Self) -> Self;
    /// `c - self * b`.
    fn neg_mul_add(self, b: Self, c: Self) -> Self;
    /// The smaller; `other` where either is NaN.
    fn min(self, other: Self) -> Self;
    /// The larger; `other` where either is NaN.
    fn max(self, other: Self) -> Self;
    /// The larger; NaN where either is.
    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        Self::select(self.eq(self), self.max(other), self)
    }
    /// The smaller; NaN where either is.
    #[inline(always)]
    fn smaller(self, other: Self) -> Self {
        Self::select(self.eq(self), self.min(other), self)
    }
    /// Absolute value.
    fn abs(self) -> Self;
    /// Negation.
    fn neg(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// Nearest integer, ties to even.
    fn round(self) -> Self;
    /// `self * 2^n` for lanes `n` that hold an integer which keeps the result normal.
    fn scale_by_power(self, n: Self) -> Self;
    /// `self * 2^n` for lanes in `[0.5, 2)` and integers `n`; zero, or nearly so, where `n` is below
    /// -125.
    #[inline(always)]
    fn scale_down(self, n: Self) -> Self {
        self.scale_by_power(n).zero_where(n.lt(Self::of(-125.0)))
    }
    /// Mantissa in `[0.5, 1)` and exponent of positive normal lanes.
    fn split_power(self) -> (Self, Self);

    /// `self < other`.
    fn lt(self, other: Self) -> Self::Mask;
    /// `self <= other`.
    fn le(self, other: Self) -> Self::Mask;
    /// `self == other`.
    fn eq(self, other: Self) -> Self::Mask;
    /// `yes` where the mask holds, else `no`.
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self;
    /// `self`, but zero where the mask holds.
    #[inline(always)]
    fn zero_where(self, mask: Self::Mask) -> Self {
        Self::select(mask, Self::zero(), self)
    }

    /// Both as they are, but neither before the other is there: keeps the compiler from working off
    /// one chain of steps before another that the processor could take along. No instruction.
    #[inline(always)]
    fn together(self, other: Self) -> (Self, Self) {
        (self, other)
    }

    /// Sum over the lanes, in an order fixed by their number.
    fn sum(self) -> Self::Elem;
    /// Sums over the lanes of four vectors, which take fewer steps together.
    #[inline(always)]
    fn four_sums(vectors: [Self; 4]) -> [Self::Elem; 4] {
        vectors.map(Self::sum)
    }
    /// Largest lane.
    fn max_lane(self) -> Self::Elem;

    /// Transposes the block whose rows are the first `LANES` vectors; the others are left alone.
    #[inline(always)]
    fn transpose(block: &mut [Self; MAX_LANES]) {
        let mut rows = [[Self::Elem::default(); MAX_LANES]; MAX_LANES];
        for (row, vector) in rows.iter_mut().zip(block.iter()).take(Self::LANES) {
            vector.write(row);
        }
        for (i, vector) in block.iter_mut().enumerate().take(Self::LANES) {
            let mut column = [Self::Elem::default(); MAX_LANES];
            for (to, row) in column.iter_mut().zip(&rows) {
                *to = row[i];
            }
            *vector = Self::read(&column);
        }
    }

    /// Lanes of even and of odd index of `self` followed by `next`.
    #[inline(always)]
    fn deinterleave(self, next: Self) -> (Self, Self) {
        let mut both = [Self::Elem::default(); 2 * MAX_LANES];
        self.write(&mut both);
        next.write(&mut both[Self::LANES..]);
        let mut parts = [[Self::Elem::default(); MAX_LANES]; 2];
        for i in 0..Self::LANES {
            parts[0][i] = both[2 * i];
            parts[1][i] = both[2 * i + 1];
        }
        (Self::read(&parts[0]), Self::read(&parts[1]))
    }

    /// The first numbers of `from` of even and of odd index, at most a register full of either.
    #[inline(always)]
    fn read_pairs(from: &[Self::Elem]) -> (Self, Self) {
        Self::read(from).deinterleave(Self::read(&from[Self::LANES.min(from.len())..]))
    }

    /// Lanes of `self` and `other` in turn: what [`Vector::deinterleave`] takes apart.
    #[inline(always)]
    fn interleave(self, other: Self) -> (Self, Self) {
        let mut parts = [[Self::Elem::default(); MAX_LANES]; 2];
        self.write(&mut parts[0]);
        other.write(&mut parts[1]);
        let mut both = [Self::Elem::default(); 2 * MAX_LANES];
        for i in 0..Self::LANES {
            both[2 * i] = parts[0][i];
            both[2 * i + 1] = parts[1][i];
        }
        (Self::read(&both), Self::read(&both[Self::LANES..]))
    }

    /// Lanes moved up by `by`, a power of two below `LANES`, behind as many of `first`.
    #[inline(always)]
    fn slide(self, by: usize, first: Self::Elem) -> Self {
        let mut lanes = [first; 2 * MAX_LANES];
        self.write(&mut lanes[by..]);
        Self::read(&lanes)
    }

    /// Where the first `LANES` of `bytes` are `byte`.
    #[inline(always)]
    fn bytes_eq(bytes: [u8; MAX_LANES], byte: u8) -> Self::Mask {
        Self::from_bytes(bytes).eq(Self::of(f64::from(byte)))
    }

    /// The first `LANES` of `bytes` as numbers.
    #[inline(always)]
    fn from_bytes(bytes: [u8; MAX_LANES]) -> Self {
        let mut lanes = [Self::Elem::default(); MAX_LANES];
        for (lane, byte) in lanes.iter_mut().zip(bytes) {
            *lane = Self::Elem::of(f64::from(byte));
        }
        Self::read(&lanes)
    }

    /// Lanes that are integers of a byte as such, before zeros.
    #[inline(always)]
    fn to_bytes(self) -> [u8; MAX_LANES] {
        let mut lanes = [Self::Elem::default(); MAX_LANES];
        self.write(&mut lanes);
        lanes.map(|lane| lane.f64() as u8)
    }

    /// `e^x`; 0 below the smallest normal result, infinity above the range, NaN for NaN.
    fn exp(self) -> Self;
    /// The same for numbers of at most zero, and NaN.
    #[inline(always)]
    fn exp_to_one(self) -> Self {
        self.exp()
    }
    /// Natural logarithm; `-inf` at 0, NaN below.
    fn ln(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// Sine.
    fn sin(self) -> Self;
    /// Cosine.
    fn cos(self) -> Self;
    /// Error function.
    fn erf(self) -> Self;
    /// Probability of a standard normal number above lanes from 0 to 100, and `e^(-x^2 / 2)`.
    fn normal_tail(self) -> (Self, Self);

    /// Asks for the cache line of an address, which need not be valid.
    #[inline(always)]
    fn prefetch(at: *const Self::Elem) {
        prefetch::<true>(at.cast());
    }

    /// Asks for the cache line of an address to come as near as the second cache.
    #[inline(always)]
    fn prefetch_far(at: *const Self::Elem) {
        prefetch::<false>(at.cast());
    }

    /// Asks for what comes some way after the start of `part`, so that memory is under way while
    /// the numbers before it are worked on.
    #[inline(always)]
    fn prefetch_ahead(part: &[Self::Elem]) {
        Self::prefetch(part.as_ptr().wrapping_add(AHEAD));
    }

    /// The first numbers of `from`, at most a register full; zero in lanes beyond its end.
    #[inline(always)]
    fn read(from: &[Self::Elem]) -> Self {
        if from.len() >= Self::LANES {
            // SAFETY: as many numbers as lanes are there.
            unsafe { Self::load(from.as_ptr()) }
        } else {
            // SAFETY: the slice holds as many as are read.
            unsafe { Self::load_first(from.as_ptr(), from.len()) }
        }
    }

    /// Like [`Vector::read`], with `fill` in lanes beyond the end.
    #[inline(always)]
    fn read_or(from: &[Self::Elem], fill: Self::Elem) -> Self {
        if from.len() >= Self::LANES {
            return Self::read(from);
        }
        let mut places = [Self::Elem::default(); MAX_LANES];
        for (i, place) in places.iter_mut().enumerate() {
            *place = Self::Elem::of(i as f64);
        }
        let inside = Self::read(&places).lt(Self::of(from.len() as f64));
        Self::select(inside, Self::read(from), Self::splat(fill))
    }

    /// Writes the first lanes over `to`, at most a register full.
    #[inline(always)]
    fn write(self, to: &mut [Self::Elem]) {
        if to.len() >= Self::LANES {
            // SAFETY: there is room for every lane.
            unsafe { self.store(to.as_mut_ptr()) }
        } else {
            // SAFETY: the slice holds as many as are written.
            unsafe { self.store_first(to.as_mut_ptr(), to.len()) }
        }
    }

    /// The first bytes of `from` as numbers, at most a register full; zero in lanes beyond its end.
    #[inline(always)]
    fn read_bytes(from: &[u8]) -> Self {
        Self::from_bytes(Self::first_bytes(from))
    }

    /// The first bytes of `from`, at most one for each lane, before zeros.
    #[inline(always)]
    fn first_bytes(from: &[u8]) -> [u8; MAX_LANES] {
        let mut bytes = [0; MAX_LANES];
        if from.len() >= Self::LANES {
            bytes[..Self::LANES].copy_from_slice(&from[..Self::LANES]);
        } else {
            bytes[..from.len()].copy_from_slice(from);
        }
        bytes
    }

    /// Writes the first lanes, integers of a byte, over `to`, at most a register full.
    #[inline(always)]
    fn write_bytes(self, to: &mut [u8]) {
        let bytes = self.to_bytes();
        if to.len() >= Self::LANES {
            to[..Self::LANES].copy_from_slice(&bytes[..Self::LANES]);
        } else {
            to.copy_from_slice(&bytes[..to.len()]);
        }
    }

    /// Zero in every lane.
    #[inline(always)]
    fn zero() -> Self {
        Self::splat(num_traits::Zero::zero())
    }

    /// A constant given as `f64`.
    #[inline(always)]
    fn of(x: f64) -> Self {
        Self::splat(Self::Elem::of(x))
    }

    /// `1 / (1 + e^-x)`.
    #[inline(always)]
    fn sigmoid(self) -> Self {
        let one = Self::of(1.0);
        one.div(one.add(self.neg().exp()))
    }
}

/// A set of instructions: which vector serves each element.
pub trait Isa: Copy + Send + Sync + 'static {
    /// Vector of `f32`.
    type F32: Vector<Elem = f32>;
    /// Vector of `f64`.
    type F64: Vector<Elem = f64>;
}

/// Instruction sets there is code for, in rising order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Plain arrays, which the compiler turns into whatever the target always has.
    Portable,
    /// NEON of aarch64.
    Neon,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, DQ, VL.
    Avx512,
}

impl Level {
    /// Name as `LAMINA_ISA` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Neon => "neon",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// Those this machine can run.
    pub fn available() -> Vec<Self> {
        #[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(unused_mut))]
        let mut levels = vec![Self::Portable];
        #[cfg(target_arch = "aarch64")]
        levels.push(Self::Neon);
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                levels.push(Self::Avx2);
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                {
                    levels.push(Self::Avx512);
                }
            }
        }
        levels
    }
}

static LEVEL: OnceLock<Result<Level, String>> = OnceLock::new();

fn choose() -> Result<Level, String> {
    let available = Level::available();
    let best = *available.last().expect("portable is always there");
    match std::env::var("LAMINA_ISA") {
        Err(_) => Ok(best),
        Ok(name) => available.iter().copied().find(|level| level.name() == name).ok_or_else(|| {
            let names: Vec<_> = available.iter().map(|level| level.name()).collect();
            format!("LAMINA_ISA: expected one of {}, got {name:?}", names.join(", "))
        }),
    }
}

/// Whether Intel made the processor.
pub fn is_intel() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        static INTEL: OnceLock<bool> = OnceLock::new();
        *INTEL.get_or_init(|| {
            let maker = std::arch::x86_64::__cpuid(0);
            [maker.ebx, maker.edx, maker.ecx].map(u32::to_le_bytes).concat() == b"GenuineIntel"
        })
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// The level in use, or why `LAMINA_ISA` cannot be followed.
pub fn level() -> Result<Level, String> {
    LEVEL.get_or_init(choose).clone()
}

/// The level in use; portable where `LAMINA_ISA` cannot be followed, which the extension reports.
#[inline(always)]
pub fn isa() -> Level {
    match LEVEL.get_or_init(choose) {
        Ok(level) => *level,
        Err(_) => Level::Portable,
    }
}

/// Makes one copy of a function for each instruction set and a front that picks one at run time.
/// A copy is never inlined, so that crates share those compiled in [`crate::instances`].
///
/// The body is generic over the set, named first; elements may follow:
/// `vectorized! { fn scale<S, T: Element>(x: &mut [T], by: T) { ... T::V::<S>::splat(by) ... } }`
#[macro_export]
macro_rules! vectorized {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<$S:ident $(, $T:ident : $bound:path)* $(,)?>
        ($($arg:ident : $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(unsafe_code, clippy::extra_unused_type_parameters)]
        $vis fn $name<$($T: $bound),*>($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body<$S: $crate::simd::Isa $(, $T: $bound)*>($($arg: $ty),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            #[inline(never)]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
            fn avx512<$($T: $bound),*>($($arg: $ty),*) $(-> $ret)? {
                body::<$crate::simd::Avx512 $(, $T)*>($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[inline(never)]
            #[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
            fn avx2<$($T: $bound),*>($($arg: $ty),*) $(-> $ret)? {
                body::<$crate::simd::Avx2 $(, $T)*>($($arg),*)
            }
            #[cfg(target_arch = "aarch64")]
            #[inline(never)]
            fn neon<$($T: $bound),*>($($arg: $ty),*) $(-> $ret)? {
                body::<$crate::simd::Neon $(, $T)*>($($arg),*)
            }
            #[inline(never)]
            fn portable<$($T: $bound),*>($($arg: $ty),*) $(-> $ret)? {
                body::<$crate::simd::Portable $(, $T)*>($($arg),*)
            }
            match $crate::simd::isa() {
                #[cfg(target_arch = "aarch64")]
                $crate::simd::Level::Neon => neon::<$($T),*>($($arg),*),
                // SAFETY: the level was chosen because this machine has its features.
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Level::Avx512 => unsafe { avx512::<$($T),*>($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Level::Avx2 => unsafe { avx2::<$($T),*>($($arg),*) },
                _ => portable::<$($T),*>($($arg),*),
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Element;

    vectorized! {
        fn sums<S, T: Element>(numbers: &[T]) -> ([T; 4], [T; 4]) {
            let lanes = T::V::<S>::LANES;
            let vectors = [0, 1, 2, 3].map(|i| T::V::<S>::read(&numbers[i * lanes..(i + 1) * lanes]));
            (T::V::<S>::four_sums(vectors), vectors.map(|vector| vector.sum()))
        }
    }

    #[test]
    fn four_sums_are_those_of_each() {
        fn check<T: Element + PartialEq + std::fmt::Debug>() {
            // Whole numbers add up exactly in any order.
            let numbers: Vec<T> = (0..4 * MAX_LANES).map(|i| T::of((i * i) as f64)).collect();
            let (together, each) = sums::<T>(&numbers);
            assert_eq!(together, each);
        }
        check::<f32>();
        check::<f64>();
    }
}
