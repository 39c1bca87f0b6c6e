//! Sorting the n-grams of a text.
//!
//! N-grams are dealt to parts by ranges of their first word, ranges chosen so that parts are of
//! about equal size and stay in a processor's own cache; then each part is sorted by itself. The
//! result follows from the text alone, whatever the number of threads.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::ops::Range;

use super::keys::{Key, Layout};
use super::{BEGIN, Stop, check};
use crate::buffer::{Buffer, Plain};
use crate::scratch::{Storage, filled};
use crate::threads::{self, Shared};
use crate::{Error, Result};

/// Tokens dealt by one task.
const BLOCK: usize = 1 << 15;
/// N-grams that a part should have, at least where there are enough of them.
const PART: usize = 1 << 15;
/// Parts that there should be in a text that is not long.
const FEW_PARTS: usize = 32;
/// About the most parts there are.
const MAX_PARTS: usize = 1 << 10;
/// Of this many tokens one is looked at to choose the parts.
const SAMPLE: usize = 8;
/// Blocks dealt between two looks at whether to stop.
const BLOCKS: usize = 32;
/// N-grams sorted between two looks at whether to stop.
const BETWEEN_CHECKS: usize = 1 << 20;

/// Which n-grams of a text are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Windows {
    /// Those of full length, ids as they are.
    Full,
    /// One from each token, cut short before the next `<s>`; words are ids plus one.
    Sentences,
}

impl Windows {
    fn offset(self) -> u32 {
        u32::from(self == Self::Sentences)
    }
}

/// Distinct n-grams in ascending order, part by part.
pub(super) struct Sorted<K: Plain> {
    keys: Buffer<K>,
    /// How often each key occurs.
    counts: Buffer<u32>,
    /// The keys of each part.
    parts: Vec<Range<usize>>,
}

impl<K: Key> Sorted<K> {
    /// Of distinct n-grams in ascending order, parts of about [`PART`] of them.
    pub(super) fn new(keys: Buffer<K>, counts: Buffer<u32>, layout: &Layout) -> Self {
        let mut parts: Vec<Range<usize>> = Vec::new();
        let mut start = 0;
        while start < keys.len() {
            let last = keys[(start + PART).min(keys.len()) - 1].word(0, layout);
            // A first word has one part only.
            let end = start + keys[start..].partition_point(|key| key.word(0, layout) <= last);
            parts.push(start..end);
            start = end;
        }
        Self { keys, counts, parts }
    }

    pub(super) fn parts(&self) -> usize {
        self.parts.len()
    }

    /// The distinct n-grams of a part and how often each occurs.
    pub(super) fn part(&self, part: usize) -> (&[K], &[u32]) {
        let range = self.parts[part].clone();
        (&self.keys[range.clone()], &self.counts[range])
    }
}

/// The layout of keys for the n-grams of `tokens`.
pub(super) fn layout(
    op: &'static str,
    tokens: &[u32],
    order: usize,
    windows: Windows,
) -> Result<Layout> {
    let largest = threads::map(tokens.len().div_ceil(BLOCK), tokens.len() / 4, |block| {
        tokens[block_range(block, tokens.len())].iter().copied().max().unwrap_or(0)
    });
    let largest = largest.into_iter().max().unwrap_or(0);
    let largest = largest.checked_add(windows.offset()).ok_or_else(|| {
        Error::value(op, "ids", format!("expected ids below {}, got {largest}", u32::MAX))
    })?;
    if tokens.len() >= u32::MAX as usize {
        let message = format!("expected fewer than {} tokens, got {}", u32::MAX, tokens.len());
        return Err(Error::value(op, "ids", message));
    }
    Ok(Layout::new(order, largest))
}

fn block_range(block: usize, len: usize) -> Range<usize> {
    block * BLOCK..((block + 1) * BLOCK).min(len)
}

/// Sorts and counts the n-grams of `tokens`.
pub(super) fn sorted<K: Key>(
    tokens: &[u32],
    layout: &Layout,
    windows: Windows,
    storage: Storage<'_>,
    stop: Stop<'_>,
) -> Result<Sorted<K>> {
    let starts = match windows {
        Windows::Full => (tokens.len() + 1).saturating_sub(layout.order),
        Windows::Sentences => tokens.len(),
    };
    if starts == 0 {
        return Ok(Sorted::new(Buffer::default(), Buffer::default(), layout));
    }
    check(stop)?;
    let deal = Deal::new(&tokens[..starts], layout.largest - windows.offset());
    let blocks = starts.div_ceil(BLOCK);
    let offset = windows.offset();
    let cut = windows == Windows::Sentences;
    let deal_block = |block: usize, out: &Shared<MaybeUninit<K>>| {
        let range = block_range(block, starts);
        let mut next = deal.starts[block].clone();
        let mut key = K::default();
        let warm_up = (range.end + layout.order - 1).min(tokens.len());
        let mut extend = |word: u32| {
            let extended = key.push_front(word + offset, layout);
            // Nothing before a sentence goes on into it.
            key = if cut && word == BEGIN { K::default() } else { extended };
            extended
        };
        for &word in tokens[range.end..warm_up].iter().rev() {
            extend(word);
        }
        for &word in tokens[range].iter().rev() {
            let slot = &mut next[deal.part_of(word)];
            let place = *slot as usize;
            *slot += 1;
            // SAFETY: `deal` gives each n-gram a place of its own.
            unsafe { out.slice(place..place + 1)[0].write(extend(word)) };
        }
    };
    let mut keys = filled(storage, starts, K::default())?;
    // SAFETY: a value may lie where one may be written.
    let places = unsafe {
        let start = keys.to_mut().as_mut_ptr().cast::<MaybeUninit<K>>();
        std::slice::from_raw_parts_mut(start, starts)
    };
    let out = Shared::new(places);
    for first in (0..blocks).step_by(BLOCKS) {
        check(stop)?;
        let group = BLOCKS.min(blocks - first);
        threads::for_each(group, group * BLOCK * 4, |task| deal_block(first + task, &out));
    }
    let mut counts = filled(storage, starts, 0)?;
    let keys_out = Shared::new(keys.to_mut());
    let counts_out = Shared::new(counts.to_mut());
    let mut parts = Vec::with_capacity(deal.parts.len());
    let mut first = 0;
    while first < deal.parts.len() {
        check(stop)?;
        let from = deal.parts[first].start;
        let group =
            deal.parts[first..].iter().take_while(|part| part.start - from < BETWEEN_CHECKS);
        let end = first + group.count();
        let items = deal.parts[end - 1].end - from;
        parts.extend(threads::map(end - first, items * 20, |task| {
            let range = deal.parts[first + task].clone();
            // SAFETY: parts do not overlap.
            let (keys, counts) =
                unsafe { (keys_out.slice(range.clone()), counts_out.slice(range.clone())) };
            let found = K::sort_and_count(keys);
            counts[..found.len()].copy_from_slice(&found);
            range.start..range.start + found.len()
        }));
        first = end;
    }
    Ok(Sorted { keys, counts, parts })
}

/// Where each block puts its n-grams of each part.
struct Deal {
    shift: u32,
    part_of: Vec<u16>,
    parts: Vec<Range<usize>>,
    starts: Vec<Vec<u32>>,
}

impl Deal {
    fn new(tokens: &[u32], largest: u32) -> Self {
        const BUCKET_BITS: u32 = 18;
        let blocks = tokens.len().div_ceil(BLOCK);
        let shift = (32 - largest.leading_zeros()).saturating_sub(BUCKET_BITS);
        // A sample is enough to make parts of about equal size.
        let mut sizes = vec![0; (largest >> shift) as usize + 1];
        for &word in tokens.iter().step_by(SAMPLE) {
            sizes[(word >> shift) as usize] += SAMPLE;
        }
        let wanted = PART.min(tokens.len() / FEW_PARTS).max(tokens.len() / MAX_PARTS);
        let mut part_of = vec![0u16; sizes.len()];
        let (mut parts, mut size_of_part) = (1, 0);
        for (bucket, &size) in sizes.iter().enumerate() {
            // A bucket that would make the part too large begins the next one.
            if size_of_part > 0 && size_of_part + size > wanted {
                parts += 1;
                size_of_part = 0;
            }
            part_of[bucket] = parts as u16 - 1;
            size_of_part += size;
        }
        let mut deal = Self { shift, part_of, parts: Vec::new(), starts: Vec::new() };
        let histograms = threads::map(blocks, tokens.len(), |block| {
            let mut histogram = vec![0u32; parts];
            for &word in &tokens[block_range(block, tokens.len())] {
                histogram[deal.part_of(word)] += 1;
            }
            histogram
        });
        let mut end = 0;
        for part in 0..parts {
            let size: u32 = histograms.iter().map(|histogram| histogram[part]).sum();
            deal.parts.push(end..end + size as usize);
            end += size as usize;
        }
        let mut next: Vec<u32> = deal.parts.iter().map(|part| part.start as u32).collect();
        for histogram in histograms {
            deal.starts.push(next.clone());
            for (next, size) in next.iter_mut().zip(histogram) {
                *next += size;
            }
        }
        deal
    }

    #[inline(always)]
    fn part_of(&self, word: u32) -> usize {
        usize::from(self.part_of[(word >> self.shift) as usize])
    }
}

/// `len` values, all of which `write` writes.
///
/// # Safety
/// `write` does write all of them.
pub(super) unsafe fn written<T: Copy>(
    len: usize,
    write: impl FnOnce(Shared<MaybeUninit<T>>),
) -> Vec<T> {
    let mut values = Vec::with_capacity(len);
    write(Shared::new(&mut values.spare_capacity_mut()[..len]));
    // SAFETY: the capacity is at least `len`, and the caller vouches for the values.
    unsafe { values.set_len(len) };
    values
}
