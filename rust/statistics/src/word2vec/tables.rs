//! What training draws from: which words to keep, which to contrast, and the tree of the
//! hierarchical softmax.

use super::random::{Random, scaled};

/// Words drawn with probabilities in proportion to weights, each by one random number.
///
/// Reference: Vose, A linear algorithm for generating random numbers with a given distribution, 1991.
#[derive(Debug)]
pub(super) struct Alias {
    /// For each word, the share of 2^32 at which it is itself drawn, and what is drawn otherwise.
    slots: Vec<(u32, u32)>,
}

impl Alias {
    pub(super) fn new(weights: &[f64]) -> Self {
        let len = weights.len();
        let total: f64 = weights.iter().sum();
        let mut share: Vec<f64> = weights.iter().map(|w| w * len as f64 / total).collect();
        let mut slots: Vec<(u32, u32)> = (0..len as u32).map(|word| (u32::MAX, word)).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..len).partition(|&word| share[word] < 1.0);
        while let (Some(&less), Some(&more)) = (small.last(), large.last()) {
            small.pop();
            slots[less] = ((share[less] * 4_294_967_296.0) as u32, more as u32);
            share[more] -= 1.0 - share[less];
            if share[more] < 1.0 {
                large.pop();
                small.push(more);
            }
        }
        Self { slots }
    }

    /// A word from one of some equal parts; one from each part are together as many draws from the
    /// whole, but evener.
    #[inline(always)]
    pub(super) fn draw(&self, random: &mut Random, part: u32, parts: u32) -> u32 {
        let bits = random.next();
        let width = u32::MAX / parts;
        let place = part * width + scaled(bits, width);
        let word = scaled(u64::from(place) << 32, self.slots.len() as u32);
        let (share, other) = self.slots[word as usize];
        if (bits as u32) < share { word } else { other }
    }
}

/// For each word the share of 2^32 of its occurrences that are kept; `sample` as in word2vec's C
/// program, from 1 on as a number of occurrences.
pub(super) fn kept(counts: &[u64], sample: f64) -> Vec<u32> {
    let total: u64 = counts.iter().sum();
    let threshold = match sample < 1.0 {
        true => sample * total as f64,
        false => (sample * (3.0 + 5f64.sqrt()) / 2.0).floor(),
    };
    let share = |&count: &u64| {
        let count = count as f64;
        let kept = ((count / threshold).sqrt() + 1.0) * (threshold / count);
        (kept.min(1.0) * f64::from(u32::MAX)) as u32
    };
    counts.iter().map(share).collect()
}

/// The binary tree whose leaves are the words, frequent ones near the root.
#[derive(Debug)]
pub(super) struct Huffman {
    /// Where the path of each word ends in the two lists.
    ends: Vec<usize>,
    /// Inner nodes from the root to each word.
    nodes: Vec<u32>,
    /// One where the path turns left there, else zero.
    labels: Vec<f32>,
}

impl Huffman {
    /// The tree for `counts` in descending order.
    pub(super) fn new(counts: &[u64]) -> Self {
        let len = counts.len();
        let mut weights = counts.to_vec();
        let mut parent = vec![(0u32, false); (2 * len).saturating_sub(1)];
        // Both queues ascend: words from the last on, inner nodes in the order they are made.
        let (mut word, mut inner) = (len, len);
        for made in len..parent.len() {
            let mut children = [0; 2];
            for child in &mut children {
                let take_word = word > 0 && (inner >= made || weights[word - 1] < weights[inner]);
                *child = if take_word { word - 1 } else { inner };
                if take_word {
                    word -= 1;
                } else {
                    inner += 1;
                }
            }
            weights.push(weights[children[0]].saturating_add(weights[children[1]]));
            parent[children[0]] = (made as u32, true);
            parent[children[1]] = (made as u32, false);
        }
        let mut tree = Self { ends: Vec::with_capacity(len), nodes: vec![], labels: vec![] };
        for leaf in 0..len {
            let start = tree.nodes.len();
            let mut node = leaf;
            while node + 1 < parent.len() {
                let (above, left) = parent[node];
                tree.nodes.push(above - len as u32);
                tree.labels.push(f32::from(u8::from(left)));
                node = above as usize;
            }
            tree.nodes[start..].reverse();
            tree.labels[start..].reverse();
            tree.ends.push(tree.nodes.len());
        }
        tree
    }

    /// Inner nodes from the root to `word`, and one for each where the path turns left.
    #[inline(always)]
    pub(super) fn path(&self, word: u32) -> (&[u32], &[f32]) {
        let word = word as usize;
        let start = if word == 0 { 0 } else { self.ends[word - 1] };
        let range = start..self.ends[word];
        (&self.nodes[range.clone()], &self.labels[range])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_drawn_in_proportion_to_their_weights() {
        let weights = [8.0, 4.0, 2.0, 1.0, 0.0, 1.0];
        let alias = Alias::new(&weights);
        let mut random = Random::new(1, 0, 0);
        for parts in [1, 5, 16] {
            let mut seen = [0u32; 6];
            for draw in 0..160_000 {
                seen[alias.draw(&mut random, draw % parts, parts) as usize] += 1;
            }
            for (&seen, weight) in seen.iter().zip(weights) {
                assert!((f64::from(seen) - weight * 10_000.0).abs() < 600.0, "{seen} for {weight}");
            }
            assert_eq!(seen[4], 0);
        }
    }

    #[test]
    fn the_tree_is_that_of_least_cost() {
        let counts = [40, 30, 20, 5, 3, 1, 1];
        let tree = Huffman::new(&counts);
        let lengths: Vec<_> = (0..7).map(|word| tree.path(word).0.len()).collect();
        let cost: u64 = counts.iter().zip(&lengths).map(|(c, &l)| c * l as u64).sum();
        assert_eq!(cost, 40 + 60 + 60 + 20 + 15 + 6 + 6);
        let kraft: f64 = lengths.iter().map(|&l| 0.5f64.powi(l as i32)).sum();
        assert_eq!(kraft, 1.0);
        for word in 0..7 {
            assert_eq!(tree.path(word).0[0], 5, "every path begins at the root");
        }
        assert!(Huffman::new(&[7]).path(0).0.is_empty());
        assert!(Huffman::new(&[]).ends.is_empty());
    }

    #[test]
    fn frequent_words_are_thinned_out() {
        let counts = [1_000_000, 1_000, 1];
        let share = |sample| kept(&counts, sample).iter().map(|&k| k >> 16).collect::<Vec<_>>();
        assert_eq!(share(1e-3), [2139, 65535, 65535]);
        assert_eq!(kept(&counts, 0.999)[1], u32::MAX);
    }
}
