//! The n-grams of a model as a trie: a node for each n-gram, below the n-gram without its last word.
//!
//! Nodes of one length lie in one level in the order of their words, so the children of a node are
//! neighbours. Each node also knows its suffix, the n-gram without its first word, which is where
//! back-off goes. The node of a single word is its id.
#![allow(unsafe_code)]

use std::ops::Range;

use super::keys::{Key, Layout};
use super::sort::Sorted;
use super::{BEGIN, Stop, Vocabulary, check};
use crate::buffer::Buffer;
use crate::scratch::{Storage, filled};
use crate::threads::{self, Shared};
use crate::{Error, Result};

/// Nodes handled by one task.
pub(super) const BLOCK: usize = 1 << 13;
/// Parts of the sorted n-grams handled between two looks at whether to stop.
const PARTS: usize = 32;
/// Nodes handled between two looks at whether to stop.
pub(super) const BETWEEN_CHECKS: usize = 1 << 18;

/// The n-grams of one length.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Level {
    /// Last word of each n-gram; empty for single words, where the node is the word.
    pub(super) words: Buffer<u32>,
    /// Where the children of each node begin, and the end of the last; empty at the highest order.
    pub(super) children: Buffer<u32>,
    /// Node of each n-gram without its first word; empty for single words.
    pub(super) suffix: Buffer<u32>,
    /// Logarithm to base 10 of the probability of the last word after the others.
    pub(super) prob: Buffer<f32>,
    /// Logarithm to base 10 of the back-off weight; empty at the highest order.
    pub(super) backoff: Buffer<f32>,
    /// Nodes that are no n-grams of the model and stand only for others to hang on, ascending.
    pub(super) blank: Vec<u32>,
    /// The numbers in double precision, where they were asked for.
    pub(super) exact: Option<Box<Exact>>,
}

/// Logarithms of a level in double precision.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Exact {
    pub(super) prob: Vec<f64>,
    pub(super) backoff: Vec<f64>,
}

impl Level {
    /// The children of `node` in the next level.
    #[inline(always)]
    pub(super) fn children(&self, node: u32) -> Range<usize> {
        self.children[node as usize] as usize..self.children[node as usize + 1] as usize
    }

    /// Logarithm to base 10 of the probability of `node`.
    #[inline(always)]
    pub(super) fn prob(&self, node: usize) -> f64 {
        match &self.exact {
            None => f64::from(self.prob[node]),
            Some(exact) => exact.prob[node],
        }
    }

    /// Logarithm to base 10 of the back-off weight of `node`.
    #[inline(always)]
    pub(super) fn backoff(&self, node: usize) -> f64 {
        match &self.exact {
            None => f64::from(self.backoff[node]),
            Some(exact) => exact.backoff[node],
        }
    }

    /// How many nodes there are.
    pub(super) fn nodes(&self) -> usize {
        self.prob.len()
    }
}

/// A back-off n-gram model.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// The words and their ids.
    pub vocabulary: Vocabulary,
    pub(super) levels: Vec<Level>,
}

impl Model {
    /// Words in the longest n-grams.
    pub fn order(&self) -> usize {
        self.levels.len()
    }

    /// How many n-grams of each length there are.
    pub fn counts(&self) -> Vec<usize> {
        self.levels.iter().map(|level| level.nodes() - level.blank.len()).collect()
    }

    /// Words that are there though the model has no estimate of their own for them.
    pub fn absent(&self) -> &[u32] {
        &self.levels[0].blank
    }

    /// Node of the n-gram `words` in its level.
    pub fn find(&self, words: &[u32]) -> Option<u32> {
        let (&first, rest) = words.split_first()?;
        if words.len() > self.order() || first as usize >= self.levels[0].nodes() {
            return None;
        }
        let mut node = first;
        for (level, &word) in self.levels.windows(2).zip(rest) {
            let children = level[0].children(node);
            let at = level[1].words[children.clone()].binary_search(&word).ok()?;
            node = (children.start + at) as u32;
        }
        Some(node)
    }
}

/// The levels without suffixes and numbers, and the raw counts that modified Kneser-Ney needs.
pub(super) struct Shape {
    pub(super) levels: Vec<Level>,
    /// How often each n-gram of the highest order occurs.
    pub(super) highest: Buffer<u32>,
    /// For each lower order, the nodes that begin with `<s>` and how often each occurs.
    pub(super) begin: Vec<(usize, Vec<u32>)>,
}

/// What one part of the sorted n-grams adds to each level.
struct Piece {
    nodes: Vec<usize>,
    /// First word of the piece and one past its last.
    words: Range<u32>,
}

/// Builds the trie of `vocabulary` words from the n-grams of their sentences.
pub(super) fn build<K: Key>(
    sorted: &Sorted<K>,
    layout: &Layout,
    vocabulary: usize,
    storage: Storage<'_>,
    stop: Stop<'_>,
) -> Result<Shape> {
    let order = layout.order;
    let parts = sorted.parts();
    let cost = (0..parts).map(|part| sorted.part(part).0.len()).sum::<usize>() * 5;
    let measure = |part: usize| {
        let keys = sorted.part(part).0;
        let mut nodes = vec![0; order];
        each_node(keys, layout, |level, _, _| nodes[level] += 1);
        let words = match (keys.first(), keys.last()) {
            (Some(first), Some(last)) => first.word(0, layout) - 1..last.word(0, layout),
            _ => 0..0,
        };
        Piece { nodes, words }
    };
    let mut pieces = Vec::with_capacity(parts);
    for first in (0..parts).step_by(PARTS) {
        check(stop)?;
        let group = PARTS.min(parts - first);
        pieces.extend(threads::map(group, cost * group / parts, |task| measure(first + task)));
    }

    let mut starts = vec![vec![0; order]];
    for piece in &pieces {
        let last = &starts[starts.len() - 1];
        starts.push(last.iter().zip(&piece.nodes).map(|(start, nodes)| start + nodes).collect());
    }
    let totals = starts[parts].clone();
    if totals.iter().any(|&total| total >= u32::MAX as usize) {
        let message = format!("more than {} distinct n-grams of one length", u32::MAX);
        return Err(Error::value("ngram_estimate", "tokens", message));
    }
    let mut levels = Vec::with_capacity(order);
    for level in 0..order {
        let words = filled(storage, if level == 0 { 0 } else { totals[level] }, 0)?;
        let children = match level {
            _ if level + 1 == order => Buffer::default(),
            0 => filled(storage, vocabulary + 1, u32::MAX)?,
            _ => filled(storage, totals[level] + 1, 0)?,
        };
        levels.push(Level { words, children, ..Level::default() });
    }
    // Single words have a node each, seen or not.
    let len = if order == 1 { vocabulary } else { totals[order - 1] };
    let mut highest = filled(storage, len, 0)?;
    {
        let out: Vec<_> = levels
            .iter_mut()
            .map(|level| (Shared::new(&mut level.words), Shared::new(&mut level.children)))
            .collect();
        let highest = Shared::new(highest.to_mut());
        let fill = |part: usize| {
            let (keys, counts) = sorted.part(part);
            let (from, to) = (&starts[part], &starts[part + 1]);
            // SAFETY: nodes of different parts are different, and so are their first words.
            let mut slices: Vec<(&mut [u32], &mut [u32])> = unsafe {
                (0..order)
                    .map(|level| {
                        let nodes = from[level]..to[level];
                        let words = if level == 0 { 0..0 } else { nodes.clone() };
                        let children = match level {
                            _ if level + 1 == order => 0..0,
                            0 => pieces[part].words.start as usize..pieces[part].words.end as usize,
                            _ => nodes,
                        };
                        (out[level].0.slice(words), out[level].1.slice(children))
                    })
                    .collect()
            };
            // SAFETY: as above.
            let highest = unsafe {
                highest.slice(match order {
                    1 => pieces[part].words.start as usize..pieces[part].words.end as usize,
                    _ => from[order - 1]..to[order - 1],
                })
            };
            let first_word = pieces[part].words.start;
            let mut made = vec![0; order];
            each_node(keys, layout, |level, word, at| {
                let node = if level == 0 { (word - first_word) as usize } else { made[level] };
                if level > 0 {
                    slices[level].0[node] = word;
                }
                if level + 1 < order {
                    slices[level].1[node] = (from[level + 1] + made[level + 1]) as u32;
                } else {
                    highest[node] = counts[at];
                }
                made[level] += 1;
            });
        };
        for first in (0..parts).step_by(PARTS) {
            check(stop)?;
            let group = PARTS.min(parts - first);
            threads::for_each(group, cost * group / parts, |task| fill(first + task));
        }
    }
    close_children(&mut levels, &totals);
    let begin = begin_counts(sorted, layout, &levels);
    Ok(Shape { levels, highest, begin })
}

/// Calls `visit(level, word, key)` for the nodes of sorted `keys` in the order of their words, a
/// node before those below it.
#[inline(always)]
fn each_node<K: Key>(keys: &[K], layout: &Layout, mut visit: impl FnMut(usize, u32, usize)) {
    for (at, &key) in keys.iter().enumerate() {
        let known = if at == 0 { 0 } else { key.common(keys[at - 1], layout) };
        for level in known..layout.order {
            match key.word(level, layout) {
                0 => break,
                word => visit(level, word - 1, at),
            }
        }
    }
}

/// Gives words that never occur an empty range of children, and every level its end.
fn close_children(levels: &mut [Level], totals: &[usize]) {
    for level in 0..levels.len().saturating_sub(1) {
        let children = &mut levels[level].children;
        let mut next = totals[level + 1] as u32;
        for start in children.iter_mut().rev() {
            if *start == u32::MAX {
                *start = next;
            }
            next = *start;
        }
        if let Some(end) = children.last_mut() {
            *end = totals[level + 1] as u32;
        }
    }
}

/// Counts of the n-grams that begin with `<s>`, for each order but the highest.
fn begin_counts<K: Key>(
    sorted: &Sorted<K>,
    layout: &Layout,
    levels: &[Level],
) -> Vec<(usize, Vec<u32>)> {
    let mut begin = Vec::new();
    let mut nodes = BEGIN as usize..BEGIN as usize + 1;
    for level in &levels[..levels.len() - 1] {
        begin.push((nodes.start, vec![0u32; nodes.len()]));
        let children = &level.children;
        nodes = children[nodes.start] as usize..children[nodes.end] as usize;
    }
    for part in 0..sorted.parts() {
        let (keys, counts) = sorted.part(part);
        let is_begin = |key: &K| key.word(0, layout) == BEGIN + 1;
        let from = keys.partition_point(|key| key.word(0, layout) < BEGIN + 1);
        let mut at = vec![usize::MAX; begin.len()];
        let mut last = K::default();
        for (&key, &count) in keys[from..].iter().zip(&counts[from..]) {
            if !is_begin(&key) {
                break;
            }
            let known = if last == K::default() { 0 } else { key.common(last, layout) };
            for (level, at) in at.iter_mut().enumerate() {
                if key.word(level, layout) == 0 {
                    break;
                }
                if level >= known {
                    *at = at.wrapping_add(1);
                }
                begin[level].1[*at] += count;
            }
            last = key;
        }
    }
    begin
}

/// Finds the suffix of every node: the child of its parent's suffix with the same last word.
///
/// Where there is none, some other number stands: the caller knows that there is one, or looks.
pub(super) fn link_level(
    levels: &mut [Level],
    length: usize,
    storage: Storage<'_>,
    stop: Stop<'_>,
) -> Result<()> {
    let (lower, upper) = levels.split_at_mut(length - 1);
    let level = &mut upper[0];
    if length == 2 {
        level.suffix = level.words.clone();
        return Ok(());
    }
    let (contexts, siblings) = (&lower[length - 2], &lower[length - 3]);
    let parents = contexts.words.len();
    let mut suffix = filled(storage, level.words.len(), 0u32)?;
    let out = Shared::new(suffix.to_mut());
    let words = &level.words;
    for group in (0..parents).step_by(BETWEEN_CHECKS) {
        check(stop)?;
        let group = group..(group + BETWEEN_CHECKS).min(parents);
        threads::for_each(group.len().div_ceil(BLOCK), group.len() * 50, |task| {
            let from = group.start + task * BLOCK;
            for parent in from..(from + BLOCK).min(group.end) {
                fetch_siblings(contexts, siblings, parent);
                let nodes = contexts.children(parent as u32);
                if nodes.is_empty() {
                    continue;
                }
                let among = siblings.children(contexts.suffix[parent]);
                // SAFETY: children of different nodes are different.
                let suffix = unsafe { out.slice(nodes.clone()) };
                find_each(&words[nodes], &contexts.words[among.clone()], |at, found| {
                    suffix[at] = (among.start + found) as u32;
                });
            }
        });
    }
    level.suffix = suffix;
    Ok(())
}

/// Asks for what [`link_level`] will need a few nodes after `parent`.
#[inline(always)]
fn fetch_siblings(contexts: &Level, siblings: &Level, parent: usize) {
    if let Some(&suffix) = contexts.suffix.get(parent + 2 * AHEAD) {
        fetch(&siblings.children, suffix as usize);
    }
    if let Some(&suffix) = contexts.suffix.get(parent + AHEAD) {
        fetch(&contexts.words, siblings.children[suffix as usize] as usize);
    }
}

/// How many items before they are needed they are asked for.
pub(super) const AHEAD: usize = 16;

/// Asks the processor for `values[index]`.
#[inline(always)]
pub(super) fn fetch<T>(values: &[T], index: usize) {
    #[cfg(target_arch = "x86_64")]
    if index < values.len() {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: inside the slice; a hint, which reads nothing.
        unsafe { _mm_prefetch(values.as_ptr().add(index).cast(), _MM_HINT_T0) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (values, index);
}

/// Calls `found(i, j)` with `wanted[i] == among[j]` for each of `wanted`; both ascend.
#[inline(always)]
fn find_each(wanted: &[u32], among: &[u32], mut found: impl FnMut(usize, usize)) {
    let mut from = 0;
    for (at, word) in wanted.iter().enumerate() {
        let mut step = 1;
        while from + step < among.len() && among[from + step] <= *word {
            from += step;
            step *= 2;
        }
        let end = (from + step).min(among.len());
        from += among[from..end].partition_point(|other| other <= word).saturating_sub(1);
        found(at, from);
    }
}
