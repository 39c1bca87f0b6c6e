//! The best labelling of a sequence, and the best few.
//!
//!   d_t(j) = s_t(j) + max over i of d_(t-1)(i) + w(i, j)
//! and the same with the k best ways into each label.
//! Reference: Seshadri & Sundberg, List Viterbi Decoding Algorithms, 1994.

use lamina_kernels::simd::Vector;
use lamina_kernels::vectorized;

use super::lattice::Transitions;

/// Room for the best labellings of one sequence.
#[derive(Debug, Clone, Default)]
pub struct Best {
    now: Vec<f64>,
    next: Vec<f64>,
    from: Vec<f64>,
    back: Vec<u16>,
}

impl Best {
    /// Writes the best labels of items with state weights `[T, W]`, -inf in padding; its score.
    ///
    /// Of equal ways into a label, the one from the lowest label counts.
    pub fn find(&mut self, states: &[f64], transitions: &Transitions, labels: &mut [u32]) -> f64 {
        let (len, width) = (labels.len(), transitions.width());
        if len == 0 {
            return 0.0;
        }
        self.now.clear();
        self.now.extend_from_slice(&states[..width]);
        self.next.resize(width, 0.0);
        self.from.resize(width, 0.0);
        self.back.resize(len * width, 0);
        walk(self, states, transitions, len);
        let mut best = 0;
        for label in 1..transitions.labels() {
            if self.now[label] > self.now[best] {
                best = label;
            }
        }
        let score = self.now[best];
        for t in (0..len).rev() {
            labels[t] = best as u32;
            best = self.back[t * width + best] as usize;
        }
        score
    }
}

vectorized! {
    /// Scores of the best ways into each label of the last item, and where each came from.
    fn walk<S>(best: &mut Best, states: &[f64], transitions: &Transitions, len: usize) {
        let lanes = S::F64::LANES;
        let width = transitions.width();
        for t in 1..len {
            for j in (0..width).step_by(lanes) {
                let mut most = S::F64::splat(f64::NEG_INFINITY);
                let mut from = S::F64::zero();
                for (i, &now) in best.now[..transitions.labels()].iter().enumerate() {
                    let way = S::F64::splat(now).add(S::F64::read(&transitions.row(i)[j..]));
                    let better = most.lt(way);
                    most = S::F64::select(better, way, most);
                    from = S::F64::select(better, S::F64::splat(i as f64), from);
                }
                let state = S::F64::read(&states[t * width + j..]);
                most.add(state).write(&mut best.next[j..]);
                from.write(&mut best.from[j..]);
            }
            let back = &mut best.back[t * width..(t + 1) * width];
            back.iter_mut().zip(&best.from).for_each(|(back, &from)| *back = from as u16);
            std::mem::swap(&mut best.now, &mut best.next);
        }
    }
}

/// One way into a label: its score, and the label and the rank of the way before it.
#[derive(Debug, Clone, Copy)]
struct Way {
    score: f64,
    label: u32,
    rank: u32,
}

/// The `count` best labellings of `len` items and their scores, best first; fewer where there are
/// no more.
pub fn best_few(
    states: &[f64],
    transitions: &Transitions,
    len: usize,
    count: usize,
) -> Vec<(f64, Vec<u32>)> {
    let (labels, width) = (transitions.labels(), transitions.width());
    if len == 0 || count == 0 {
        return if count == 0 { Vec::new() } else { vec![(0.0, Vec::new())] };
    }
    let first = |j: usize| vec![Way { score: states[j], label: 0, rank: 0 }];
    let mut steps: Vec<Vec<Vec<Way>>> = vec![(0..labels).map(first).collect()];
    for t in 1..len {
        let before = &steps[t - 1];
        let ways = (0..labels).map(|j| {
            let mut ways: Vec<Way> = Vec::with_capacity(labels);
            for (i, of_label) in before.iter().enumerate() {
                let weight = transitions.row(i)[j] + states[t * width + j];
                ways.extend(of_label.iter().enumerate().map(|(rank, way)| Way {
                    score: way.score + weight,
                    label: i as u32,
                    rank: rank as u32,
                }));
            }
            keep_best(&mut ways, count);
            ways
        });
        let ways = ways.collect();
        steps.push(ways);
    }
    let mut last: Vec<Way> = Vec::new();
    for (label, ways) in steps[len - 1].iter().enumerate() {
        let way = |(rank, way): (usize, &Way)| Way {
            score: way.score,
            label: label as u32,
            rank: rank as u32,
        };
        last.extend(ways.iter().enumerate().map(way));
    }
    keep_best(&mut last, count);
    last.iter().map(|way| (way.score, trace(&steps, *way))).collect()
}

fn keep_best(ways: &mut Vec<Way>, count: usize) {
    ways.sort_by(|a, b| b.score.total_cmp(&a.score));
    ways.truncate(count);
}

fn trace(steps: &[Vec<Vec<Way>>], end: Way) -> Vec<u32> {
    let mut labels = vec![0; steps.len()];
    let (mut label, mut rank) = (end.label, end.rank);
    for t in (0..steps.len()).rev() {
        labels[t] = label;
        let way = steps[t][label as usize][rank as usize];
        (label, rank) = (way.label, way.rank);
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_few_are_those_of_all_labellings() {
        let (len, labels) = (4, 3);
        let number = |i: usize| ((i * 37 + 11) % 23) as f64 / 7.0 - 1.5;
        let weights: Vec<f64> = (0..labels * labels).map(number).collect();
        let transitions = Transitions::new(labels, &weights);
        let width = transitions.width();
        let mut states = vec![f64::NEG_INFINITY; len * width];
        for t in 0..len {
            for j in 0..labels {
                states[t * width + j] = number(100 + t * labels + j);
            }
        }
        let mut all: Vec<(f64, Vec<u32>)> = (0..labels.pow(len as u32))
            .map(|mut p| {
                let mut digit = || (p % labels, p /= labels).0 as u32;
                let y: Vec<u32> = (0..len).map(|_| digit()).collect();
                (transitions.score(&states, &y), y)
            })
            .collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        for count in [0, 1, 5, 81, 100] {
            let few = best_few(&states, &transitions, len, count);
            assert_eq!(few.len(), count.min(81));
            for (few, all) in few.iter().zip(&all) {
                assert!((few.0 - all.0).abs() < 1e-12);
                assert!((transitions.score(&states, &few.1) - few.0).abs() < 1e-12);
            }
        }
        let mut best = vec![0; len];
        let score = Best::default().find(&states, &transitions, &mut best);
        assert!((score - all[0].0).abs() < 1e-12);
        assert_eq!(best, all[0].1);
    }
}
