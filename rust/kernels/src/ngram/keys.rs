//! N-grams packed into integers that sort as the n-grams do.
//!
//! Word i of an n-gram takes `bits` bits, the first word the highest ones. An n-gram shorter than
//! the order ends in zeros, so that it sorts before those it is the beginning of.

/// How words lie in a key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) order: usize,
    bits: u32,
    /// Words in each 64-bit part of a wide key, its parts in use and the bits kept of the last.
    per_part: usize,
    parts: usize,
    keep: u64,
}

impl Layout {
    /// For `order` words of at most `largest`.
    pub(super) fn new(order: usize, largest: u32) -> Self {
        let bits = (32 - largest.leading_zeros()).max(1);
        let per_part = 64 / bits as usize;
        let parts = order.div_ceil(per_part);
        let unused = (parts * per_part - order) as u32 * bits;
        let keep = (low(bits * per_part as u32) >> unused) << unused;
        Self { order, bits, per_part, parts, keep }
    }

    /// Bits of a key without gaps.
    pub(super) fn total_bits(&self) -> usize {
        self.order * self.bits as usize
    }

    /// 64-bit parts of a wide key.
    pub(super) fn parts(&self) -> usize {
        self.parts
    }
}

fn low(bits: u32) -> u64 {
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}

/// A packed n-gram.
pub(super) trait Key: Copy + Ord + Send + Sync + Default {
    /// The n-gram with `word` put in front and the last word dropped.
    fn push_front(self, word: u32, layout: &Layout) -> Self;

    /// The word at `index`.
    fn word(self, index: usize, layout: &Layout) -> u32;

    /// How many words two different n-grams have in common from the front.
    fn common(self, other: Self, layout: &Layout) -> usize;
}

macro_rules! integer_key {
    ($type:ty) => {
        impl Key for $type {
            #[inline(always)]
            fn push_front(self, word: u32, layout: &Layout) -> Self {
                let top = (layout.order as u32 - 1) * layout.bits;
                // One word as wide as the key leaves nothing of the old one.
                let rest = if top == 0 { 0 } else { self >> layout.bits };
                rest | <$type>::from(word) << top
            }

            #[inline(always)]
            fn word(self, index: usize, layout: &Layout) -> u32 {
                let shift = (layout.order - 1 - index) as u32 * layout.bits;
                (self >> shift) as u32 & low(layout.bits) as u32
            }

            #[inline(always)]
            fn common(self, other: Self, layout: &Layout) -> usize {
                let highest = <$type>::BITS - 1 - (self ^ other | 1).leading_zeros();
                layout.order - 1 - (highest / layout.bits) as usize
            }
        }
    };
}

integer_key!(u64);
integer_key!(u128);

/// A key of several parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wide<const W: usize>([u64; W]);

impl<const W: usize> Default for Wide<W> {
    fn default() -> Self {
        Self([0; W])
    }
}

impl<const W: usize> Key for Wide<W> {
    #[inline(always)]
    fn push_front(mut self, word: u32, layout: &Layout) -> Self {
        let top = (layout.per_part as u32 - 1) * layout.bits;
        let mut front = u64::from(word);
        for part in &mut self.0[..layout.parts] {
            let last = *part & low(layout.bits);
            *part = *part >> layout.bits | front << top;
            front = last;
        }
        self.0[layout.parts - 1] &= layout.keep;
        self
    }

    #[inline(always)]
    fn word(self, index: usize, layout: &Layout) -> u32 {
        let slot = (layout.per_part - 1 - index % layout.per_part) as u32;
        (self.0[index / layout.per_part] >> (slot * layout.bits)) as u32 & low(layout.bits) as u32
    }

    #[inline(always)]
    fn common(self, other: Self, layout: &Layout) -> usize {
        let part = (0..layout.parts).find(|&i| self.0[i] != other.0[i]).unwrap_or(0);
        let highest = 63 - (self.0[part] ^ other.0[part] | 1).leading_zeros();
        part * layout.per_part + layout.per_part - 1 - (highest / layout.bits) as usize
    }
}

/// Runs `$body` with `$K` as the narrowest key that `$layout` fits.
macro_rules! with_key {
    ($layout:expr, $K:ident => $body:expr) => {
        match ($layout.total_bits(), $layout.parts()) {
            (0..=64, _) => {
                type $K = u64;
                $body
            }
            (65..=128, _) => {
                type $K = u128;
                $body
            }
            (_, 0..=3) => {
                type $K = $crate::ngram::keys::Wide<3>;
                $body
            }
            (_, 4..=5) => {
                type $K = $crate::ngram::keys::Wide<5>;
                $body
            }
            (_, 6..=7) => {
                type $K = $crate::ngram::keys::Wide<7>;
                $body
            }
            _ => {
                type $K = $crate::ngram::keys::Wide<10>;
                $body
            }
        }
    };
}
pub(super) use with_key;

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<K: Key + std::fmt::Debug>(order: usize, largest: u32) {
        let layout = Layout::new(order, largest);
        let words: Vec<u32> = (0..2 * order as u32).map(|i| largest - i.min(largest)).collect();
        let mut key = K::default();
        for &word in words.iter().rev() {
            key = key.push_front(word, &layout);
        }
        for index in 0..order {
            assert_eq!(key.word(index, &layout), words[index], "{order} {largest} {index}");
        }
        for index in 0..order {
            let mut other = words.clone();
            other[index] ^= 1;
            let mut changed = K::default();
            for &word in other[..order].iter().rev() {
                changed = changed.push_front(word, &layout);
            }
            assert_eq!(key.common(changed, &layout), index);
            assert_eq!(key.cmp(&changed), words.cmp(&other));
        }
    }

    #[test]
    fn every_width_keeps_words_and_order() {
        for order in 1..=20 {
            for largest in [1, 2, 255, 256, 131_071, u32::MAX] {
                let layout = Layout::new(order, largest);
                with_key!(layout, K => round_trip::<K>(order, largest));
            }
        }
    }
}
