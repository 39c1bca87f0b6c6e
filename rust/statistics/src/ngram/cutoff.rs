//! Count pruning: leaving out n-grams that occur too rarely.
//!
//! What counts is how often an n-gram itself occurs, at every length, so what is left always has
//! its beginnings and its suffixes: thresholds do not fall with the length.

use super::MAX_ORDER;
use super::keys::{Key, Layout};
use super::sort::Sorted;
use super::trie::Level;
use crate::{Error, Result};

/// The threshold of each length: the last one given stands for all that follow.
pub(super) fn thresholds(op: &'static str, given: &[u32], order: usize) -> Result<Vec<u32>> {
    let failed = |message: String| Err(Error::value(op, "prune", message));
    if given.len() > order {
        return failed(format!("expected at most {order} thresholds, got {}", given.len()));
    }
    if given.first().is_some_and(|&first| first > 0) {
        return failed(format!("expected 0 for single words, got {}", given[0]));
    }
    if given.windows(2).any(|pair| pair[0] > pair[1]) {
        return failed(format!("expected thresholds that do not fall, got {given:?}"));
    }
    let last = given.last().copied().unwrap_or(0);
    Ok((0..order).map(|index| given.get(index).copied().unwrap_or(last)).collect())
}

/// How often each node of each level occurs.
pub(super) fn raw_counts<K: Key>(
    sorted: &Sorted<K>,
    layout: &Layout,
    levels: &[Level],
    words: usize,
) -> Vec<Vec<u32>> {
    let mut raw: Vec<Vec<u32>> =
        levels.iter().map(|level| vec![0; level.words.len().max(1)]).collect();
    raw[0] = vec![0; words];
    let mut at = [usize::MAX; MAX_ORDER];
    for part in 0..sorted.parts() {
        let (keys, counts) = sorted.part(part);
        for (index, (&key, &count)) in keys.iter().zip(counts).enumerate() {
            let known = if index == 0 { 0 } else { key.common(keys[index - 1], layout) };
            for (level, at) in at.iter_mut().enumerate().take(layout.order) {
                match key.word(level, layout) {
                    0 => break,
                    word if level == 0 => *at = word as usize - 1,
                    _ if level >= known => *at = at.wrapping_add(1),
                    _ => {}
                }
                raw[level][*at] += count;
            }
        }
    }
    raw
}

/// Which nodes of each level are left out.
pub(super) fn pruned(raw: &[Vec<u32>], thresholds: &[u32]) -> Vec<Vec<bool>> {
    let of_level = |(index, (raw, &most)): (usize, (&Vec<u32>, &u32))| match index {
        0 => Vec::new(),
        _ => raw.iter().map(|&count| count <= most).collect(),
    };
    raw.iter().zip(thresholds).enumerate().map(of_level).collect()
}

/// Takes the nodes out of the levels.
pub(super) fn remove(levels: &mut [Level], pruned: &[Vec<bool>]) {
    let ranks: Vec<Vec<u32>> = levels
        .iter()
        .zip(pruned)
        .map(|(level, pruned)| {
            let mut kept = 0;
            let mut ranks = Vec::with_capacity(level.nodes() + 1);
            for node in 0..level.nodes() {
                ranks.push(kept);
                kept += u32::from(!pruned.get(node).is_some_and(|&pruned| pruned));
            }
            ranks.push(kept);
            ranks
        })
        .collect();
    let last = levels.len() - 1;
    for (index, level) in levels.iter_mut().enumerate() {
        let pruned = &pruned[index];
        let keep = |node: usize| !pruned.get(node).is_some_and(|&pruned| pruned);
        if index < last {
            let next = &ranks[index + 1];
            let nodes = level.children.len() - 1;
            let starts = level.children.iter().enumerate();
            // The end of the last node is kept whatever becomes of the node.
            let kept = starts.filter(|&(node, _)| node == nodes || keep(node));
            level.children = kept.map(|(_, &start)| next[start as usize]).collect();
        }
        if index > 0 {
            let below = &ranks[index - 1];
            let suffix = level.suffix.iter().enumerate().filter(|&(node, _)| keep(node));
            level.suffix = suffix.map(|(_, &suffix)| below[suffix as usize]).collect();
            level.words = kept_of(&level.words, keep);
            level.prob = kept_of(&level.prob, keep);
            level.backoff = kept_of(&level.backoff, keep);
        }
    }
}

fn kept_of<T: crate::buffer::Plain, C: FromIterator<T>>(
    values: &[T],
    keep: impl Fn(usize) -> bool,
) -> C {
    values.iter().enumerate().filter(|&(node, _)| keep(node)).map(|(_, &value)| value).collect()
}
