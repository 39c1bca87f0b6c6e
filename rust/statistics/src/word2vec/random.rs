//! The stream of random numbers, simple enough for a test in another language to draw the same.

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64.
///
/// Reference: Steele, Lea & Flood, Fast splittable pseudorandom number generators, 2014.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    /// The stream of one block of sentences in one epoch.
    pub(super) fn new(seed: u64, epoch: u64, block: u64) -> Self {
        Self(mix(mix(mix(seed) ^ epoch) ^ block))
    }

    #[inline(always)]
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }
}

/// The upper half of 64 random bits as a number below `end`.
#[inline(always)]
pub(super) fn scaled(bits: u64, end: u32) -> u32 {
    (((bits >> 32) * u64::from(end)) >> 32) as u32
}

#[inline(always)]
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
