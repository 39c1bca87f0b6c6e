//! N-grams packed into integers that sort as the n-grams do.
//!
//! Word i of an n-gram takes `bits` bits, the first word the highest ones. An n-gram shorter than
//! the order ends in zeros, so that it sorts before those it is the beginning of.
#![allow(unsafe_code)]

use crate::buffer::Plain;

/// How words lie in a key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) order: usize,
    /// No word is above this.
    pub(super) largest: u32,
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
        Self { order, largest, bits, per_part, parts, keep }
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
pub(super) trait Key: Plain + Ord + Default {
    /// The n-gram with `word` put in front and the last word dropped.
    fn push_front(self, word: u32, layout: &Layout) -> Self;

    /// The word at `index`.
    fn word(self, index: usize, layout: &Layout) -> u32;

    /// Sorts n-grams, moves the distinct ones to the front and returns how often each occurs.
    fn sort_and_count(keys: &mut [Self]) -> Vec<u32> {
        keys.sort_unstable();
        merge_equal(keys)
    }

    /// How many words two different n-grams have in common from the front.
    fn common(self, other: Self, layout: &Layout) -> usize;
}

macro_rules! integer_key {
    ($type:ty $(, $sort:path)?) => {
        impl Key for $type {
            $(
                fn sort_and_count(keys: &mut [Self]) -> Vec<u32> {
                    $sort(keys)
                }
            )?

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

integer_key!(u64, sort_and_count);
integer_key!(u128);

/// Moves the distinct ones of sorted keys to the front; how often each occurred.
fn merge_equal<K: Key>(keys: &mut [K]) -> Vec<u32> {
    let mut counts = Vec::with_capacity(keys.len());
    let Some(&first) = keys.first() else { return counts };
    let (mut last, mut since) = (first, 0);
    for at in 1..keys.len() {
        let key = keys[at];
        if key != last {
            counts.push((at - since) as u32);
            keys[counts.len()] = key;
            (last, since) = (key, at);
        }
    }
    counts.push((keys.len() - since) as u32);
    counts
}

fn sort_and_count(keys: &mut [u64]) -> Vec<u32> {
    if is_repetitive(keys) {
        return hash_and_sort(keys);
    }
    radix_sort(keys);
    merge_equal(keys)
}

/// Whether so many keys are equal that it pays to find the distinct ones before sorting.
fn is_repetitive(keys: &[u64]) -> bool {
    const SAMPLE: usize = 2048;
    if keys.len() < 4 * SAMPLE {
        return false;
    }
    let mut sample: Vec<u64> = keys.iter().step_by(keys.len() / SAMPLE).copied().collect();
    sample.sort_unstable();
    let distinct = 1 + sample.windows(2).filter(|pair| pair[0] != pair[1]).count();
    distinct * 8 < sample.len() * 7
}

/// Counts by open addressing, then sorts the distinct keys.
fn hash_and_sort(keys: &mut [u64]) -> Vec<u32> {
    let mut found: Vec<(u64, u32)> = Vec::new();
    let mut table = Table::new((keys.len() / 4).next_power_of_two());
    for &key in &*keys {
        let slot = table.find(key, &found);
        match table.slots[slot] {
            0 => {
                found.push((key, 1));
                table.slots[slot] = found.len() as u32;
                if found.len() * 2 > table.slots.len() {
                    table = Table::new(table.slots.len() * 4);
                    for (place, &(key, _)) in (1..).zip(&found) {
                        let slot = table.find(key, &found);
                        table.slots[slot] = place;
                    }
                }
            }
            place => found[place as usize - 1].1 += 1,
        }
    }
    found.sort_unstable();
    for (key, &(distinct, _)) in keys.iter_mut().zip(&found) {
        *key = distinct;
    }
    found.into_iter().map(|(_, count)| count).collect()
}

/// Open addressing: one more than the place of a key, or zero.
struct Table {
    slots: Vec<u32>,
    shift: u32,
}

impl Table {
    /// `slots` is a power of two above one.
    fn new(slots: usize) -> Self {
        Self { slots: vec![0; slots], shift: 64 - slots.trailing_zeros() }
    }

    /// The slot of `key`, or the free one where it belongs.
    #[inline(always)]
    fn find(&self, key: u64, found: &[(u64, u32)]) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize & mask;
        while self.slots[slot] != 0 && found[self.slots[slot] as usize - 1].0 != key {
            slot = (slot + 1) & mask;
        }
        slot
    }
}

/// Sorts by digits from the lowest up, leaving out the high bits that all keys share.
fn radix_sort(keys: &mut [u64]) {
    const WORTHWHILE: usize = 512;
    const WIDEST: u32 = 11;
    const MOST_DIGITS: usize = 6;
    let first = keys.first().copied().unwrap_or(0);
    let differing = 64 - keys.iter().fold(0, |all, key| all | key ^ first).leading_zeros();
    let digits = differing.div_ceil(WIDEST) as usize;
    if keys.len() < WORTHWHILE || digits > MOST_DIGITS {
        return keys.sort_unstable();
    }
    let width = differing.div_ceil(digits.max(1) as u32);
    let digit = |key: u64, index: usize| (key >> (index as u32 * width) & low(width)) as usize;
    let mut places = vec![[0u32; 1 << WIDEST]; digits];
    for &key in &*keys {
        for (index, places) in places.iter_mut().enumerate() {
            places[digit(key, index)] += 1;
        }
    }
    let mut other = vec![0; keys.len()];
    let (mut from, mut to) = (&mut *keys, &mut other[..]);
    for (index, places) in places.iter_mut().enumerate() {
        let mut next = 0;
        for place in &mut places[..1 << width] {
            next += std::mem::replace(place, next);
        }
        for &key in &*from {
            let place = &mut places[digit(key, index)];
            to[*place as usize] = key;
            *place += 1;
        }
        std::mem::swap(&mut from, &mut to);
    }
    if digits % 2 == 1 {
        to.copy_from_slice(from);
    }
}

/// A key of several parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub(super) struct Wide<const W: usize>([u64; W]);

// SAFETY: an array of plain numbers.
unsafe impl<const W: usize> Plain for Wide<W> {}

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
