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
use crate::threads::{self, Shared};
use crate::{Error, Result};

/// Nodes handled by one task.
pub(super) const BLOCK: usize = 1 << 13;
/// Nodes handled between two looks at whether to stop.
pub(super) const BETWEEN_CHECKS: usize = 1 << 21;

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

/// The levels without their numbers, and the raw counts that modified Kneser-Ney needs.
pub(super) struct Shape {
    pub(super) levels: Vec<Level>,
    /// How often each n-gram of the highest order occurs.
    pub(super) highest: Vec<u32>,
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
    stop: Stop<'_>,
) -> Result<Shape> {
    let order = layout.order;
    let parts = sorted.parts();
    let cost = (0..parts).map(|part| sorted.part(part).0.len()).sum::<usize>() * 5;
    let pieces = threads::map(parts, cost, |part| {
        let keys = sorted.part(part).0;
        let mut nodes = vec![0; order];
        each_node(keys, layout, |level, _, _| nodes[level] += 1);
        let words = match (keys.first(), keys.last()) {
            (Some(first), Some(last)) => first.word(0, layout) - 1..last.word(0, layout),
            _ => 0..0,
        };
        Piece { nodes, words }
    });
    check(stop)?;

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
    let mut levels: Vec<Level> = (0..order)
        .map(|level| Level {
            words: vec![0; if level == 0 { 0 } else { totals[level] }].into(),
            children: match level {
                _ if level + 1 == order => Buffer::default(),
                0 => vec![u32::MAX; vocabulary + 1].into(),
                _ => vec![0; totals[level] + 1].into(),
            },
            ..Level::default()
        })
        .collect();
    // Single words have a node each, seen or not.
    let mut highest = vec![0; if order == 1 { vocabulary } else { totals[order - 1] }];
    {
        let out: Vec<_> = levels
            .iter_mut()
            .map(|level| (Shared::new(&mut level.words), Shared::new(&mut level.children)))
            .collect();
        let highest = Shared::new(&mut highest);
        threads::for_each(parts, cost, |part| {
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
        });
    }
    close_children(&mut levels, &totals);
    let begin = begin_counts(sorted, layout, &levels);
    check(stop)?;
    for length in 2..=order {
        link_level(&mut levels, length, stop)?;
    }
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
pub(super) fn link_level(levels: &mut [Level], length: usize, stop: Stop<'_>) -> Result<()> {
    let (lower, upper) = levels.split_at_mut(length - 1);
    let level = &mut upper[0];
    if length == 2 {
        level.suffix = level.words.clone();
        return Ok(());
    }
    let (contexts, siblings) = (&lower[length - 2], &lower[length - 3]);
    let parents = contexts.words.len();
    let mut suffix = vec![0u32; level.words.len()];
    let out = Shared::new(&mut suffix);
    let words = &level.words;
    for group in (0..parents).step_by(BETWEEN_CHECKS) {
        check(stop)?;
        let group = group..(group + BETWEEN_CHECKS).min(parents);
        threads::for_each(group.len().div_ceil(BLOCK), group.len() * 50, |task| {
            let from = group.start + task * BLOCK;
            for parent in from..(from + BLOCK).min(group.end) {
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
    level.suffix = suffix.into();
    Ok(())
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
