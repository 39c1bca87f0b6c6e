//! Sorting the n-grams of a text.
//!
//! N-grams are dealt to parts by ranges of their first word, ranges chosen so that parts are of
//! about equal size and stay in a processor's own cache; then each part is sorted by itself. The
//! result follows from the text alone, whatever the number of threads.
#![allow(unsafe_code)]

use std::ops::Range;

use super::keys::{Key, Layout};
use super::{BEGIN, Stop, check};
use crate::threads::{self, Shared};
use crate::{Error, Result};

/// Tokens dealt by one task.
const BLOCK: usize = 1 << 15;
/// N-grams that a part should have.
const PART: usize = 1 << 13;
/// Parts at most.
const MAX_PARTS: usize = 1 << 10;
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
pub(super) struct Sorted<K> {
    keys: Vec<K>,
    counts: Vec<u32>,
    parts: Vec<Range<usize>>,
}

impl<K> Sorted<K> {
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
    stop: Stop<'_>,
) -> Result<Sorted<K>> {
    let starts = match windows {
        Windows::Full => (tokens.len() + 1).saturating_sub(layout.order),
        Windows::Sentences => tokens.len(),
    };
    if starts == 0 {
        return Ok(Sorted { keys: Vec::new(), counts: Vec::new(), parts: Vec::new() });
    }
    check(stop)?;
    let deal = Deal::new(&tokens[..starts]);
    let mut keys = unfilled(starts);
    let out = Shared::new(&mut keys);
    let blocks = starts.div_ceil(BLOCK);
    threads::for_each(blocks, starts * 4, |block| {
        let range = block_range(block, starts);
        let mut next = deal.starts[block].clone();
        let mut key = K::default();
        let warm_up = (range.end + layout.order - 1).min(tokens.len());
        for at in (range.start..warm_up).rev() {
            let word = tokens[at];
            key = key.push_front(word + windows.offset(), layout);
            if at < range.end {
                let slot = &mut next[deal.part_of(word)];
                // SAFETY: `deal` gives each n-gram a place of its own.
                unsafe { out.slice(*slot as usize..*slot as usize + 1)[0] = key };
                *slot += 1;
            }
            if windows == Windows::Sentences && word == BEGIN {
                key = K::default();
            }
        }
    });

    let mut counts: Vec<u32> = unfilled(starts);
    let (keys_out, counts_out) = (Shared::new(&mut keys), Shared::new(&mut counts));
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
            let keys = unsafe { keys_out.slice(range.clone()) };
            // SAFETY: as above.
            let counts = unsafe { counts_out.slice(range.clone()) };
            keys.sort_unstable();
            range.start..range.start + merge_equal(keys, counts)
        }));
        first = end;
    }
    Ok(Sorted { keys, counts, parts })
}

/// Moves the distinct keys to the front and writes how often each occurred; how many there are.
fn merge_equal<K: Key>(keys: &mut [K], counts: &mut [u32]) -> usize {
    let Some(&first) = keys.first() else { return 0 };
    let (mut last, mut distinct, mut since) = (first, 0, 0);
    for at in 1..keys.len() {
        let key = keys[at];
        if key != last {
            counts[distinct] = (at - since) as u32;
            distinct += 1;
            keys[distinct] = key;
            (last, since) = (key, at);
        }
    }
    counts[distinct] = (keys.len() - since) as u32;
    distinct + 1
}

/// Where each block puts its n-grams of each part.
struct Deal {
    shift: u32,
    part_of: Vec<u16>,
    parts: Vec<Range<usize>>,
    starts: Vec<Vec<u32>>,
}

impl Deal {
    fn new(tokens: &[u32]) -> Self {
        const BUCKET_BITS: u32 = 18;
        let blocks = tokens.len().div_ceil(BLOCK);
        let largest = tokens.iter().copied().max().unwrap_or(0);
        let shift = (32 - largest.leading_zeros()).saturating_sub(BUCKET_BITS);
        let mut sizes = vec![0u32; (largest >> shift) as usize + 1];
        for &word in tokens {
            sizes[(word >> shift) as usize] += 1;
        }
        let wanted = PART.max(tokens.len() / MAX_PARTS);
        let mut part_of = vec![0u16; sizes.len()];
        let mut parts = Vec::new();
        let (mut start, mut end) = (0, 0);
        for (bucket, &size) in sizes.iter().enumerate() {
            // A bucket that would make the part too large begins the next one.
            if end > start && end - start + size as usize > wanted {
                parts.push(start..end);
                start = end;
            }
            part_of[bucket] = parts.len() as u16;
            end += size as usize;
        }
        parts.push(start..end);
        let mut deal = Self { shift, part_of, parts, starts: Vec::new() };
        let histograms = threads::map(blocks, tokens.len(), |block| {
            let mut histogram = vec![0u32; deal.parts.len()];
            for &word in &tokens[block_range(block, tokens.len())] {
                histogram[deal.part_of(word)] += 1;
            }
            histogram
        });
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

/// `len` values that the caller writes before it reads them.
fn unfilled<T: Copy + Default>(len: usize) -> Vec<T> {
    vec![T::default(); len]
}
