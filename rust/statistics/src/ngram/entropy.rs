//! Pruning by relative entropy.
//!
//! Without the n-gram h w the model p becomes p', which gives w after h what backing off yields, with
//! the weight b'(h). The n-gram goes if that changes the perplexity by less than a share theta:
//!
//! D = - p(h) (p(w | h) (ln p'(w | h) - ln p(w | h)) + (ln b'(h) - ln b(h)) (1 - sum_x p(x | h)))
//! exp(D) - 1 < theta
//!
//! with x the words seen after h. p(h) is the model's own, by the chain rule; `<s>` counts as often as
//! `</s>`. The lower orders of Kneser-Ney models are no estimates of how frequent contexts are, so
//! these lose more than others of the same size do (Chelba et al., Study on interaction between
//! entropy pruning and Kneser-Ney smoothing, 2010).
//!
//! Reference: Stolcke, Entropy-based pruning of backoff language models, 1998.

use super::arpa_read::{Section, assemble};
use super::normalise::{check_at, normalise, power};
use super::{BEGIN, END, Model, Stop, Vocabulary};
use crate::{Error, Result};

const NATURAL: f64 = std::f64::consts::LN_10;

impl Model {
    /// The model without the n-grams whose loss changes its perplexity by less than `threshold`, a
    /// share of it. Single words stay, and so do n-grams that begin longer ones.
    pub fn prune(&self, threshold: f64, stop: Stop<'_>) -> Result<Self> {
        let joint = self.joint();
        let mut kept: Vec<Vec<bool>> = Vec::new();
        let mut begins = vec![false; self.levels[self.order() - 1].nodes()];
        for index in (1..self.order()).rev() {
            let contexts = &self.levels[index - 1];
            let mut own = self.without_blank(index);
            let mut is_context = vec![false; contexts.nodes()];
            for (context, is_context) in is_context.iter_mut().enumerate() {
                check_at(context, stop)?;
                let history = power(joint[index - 1][context]);
                self.judge(index, context, history, threshold, &begins, &mut own);
                *is_context = contexts.children(context as u32).any(|child| own[child]);
            }
            begins = is_context;
            kept.push(own);
        }
        kept.reverse();
        self.rebuilt(self.vocabulary.clone(), Some, &kept, self.levels[0].prob.to_vec(), stop)
    }

    /// Logarithm of the probability of all words of each n-gram but those of the highest order.
    fn joint(&self) -> Vec<Vec<f64>> {
        let first = &self.levels[0];
        let mut joint: Vec<Vec<f64>> = vec![(0..first.nodes()).map(|n| first.prob(n)).collect()];
        joint[0][BEGIN as usize] = first.prob(END as usize);
        for index in 1..self.order().saturating_sub(1) {
            let (contexts, level) = (&self.levels[index - 1], &self.levels[index]);
            let mut own = vec![0.0; level.nodes()];
            for (context, &before) in joint[index - 1].iter().enumerate() {
                for child in contexts.children(context as u32) {
                    own[child] = before + level.prob(child);
                }
            }
            joint.push(own);
        }
        joint
    }

    /// Which nodes of a level are n-grams of the model.
    fn without_blank(&self, index: usize) -> Vec<bool> {
        let mut own = vec![true; self.levels[index].nodes()];
        self.levels[index].blank.iter().for_each(|&node| own[node as usize] = false);
        own
    }

    /// Takes the n-grams after `context` that matter too little off `kept`.
    fn judge(
        &self,
        index: usize,
        context: usize,
        history: f64,
        threshold: f64,
        begins: &[bool],
        kept: &mut [bool],
    ) {
        let (contexts, level) = (&self.levels[index - 1], &self.levels[index]);
        let children = contexts.children(context as u32);
        let lower = |child: usize| contexts.prob(level.suffix[child] as usize);
        let (mut left, mut others) = (1.0, 1.0);
        for child in children.clone().filter(|&child| kept[child]) {
            left -= power(level.prob(child));
            others -= power(lower(child));
        }
        let (left, others) = (f64::max(left, 0.0), f64::max(others, 0.0));
        let weight = contexts.backoff(context);
        for child in children {
            if !kept[child] || begins[child] {
                continue;
            }
            let (prob, below) = (level.prob(child), lower(child));
            let new_weight = ((left + power(prob)) / (others + power(below))).log10();
            let own = power(prob) * (new_weight + below - prob);
            let rest = if left > 0.0 { left * (new_weight - weight) } else { 0.0 };
            let entropy = -history * NATURAL * (own + rest);
            kept[child] = entropy.exp_m1() >= threshold;
        }
    }

    /// The model of only the `words` and `<unk>`, which stands for the others from now on.
    pub fn limit(&self, words: &[String], stop: Stop<'_>) -> Result<Self> {
        if self.vocabulary.is_numbers() {
            let message = "expected a model of words, got one of ids";
            return Err(Error::value("ngram_limit", "model", message));
        }
        let first = &self.levels[0];
        let mut wanted = vec![false; first.nodes()];
        for id in words.iter().filter_map(|word| self.vocabulary.id(word)) {
            wanted[id as usize] = true;
        }
        let mut vocabulary = Vocabulary::new();
        let mut ids = vec![None; first.nodes()];
        let mut prob: Vec<f32> = Vec::new();
        let mut unknown = 0.0;
        for (word, id) in ids.iter_mut().enumerate() {
            let special = word < super::SPECIAL.len();
            if special || wanted[word] {
                *id = Some(vocabulary.add(&self.vocabulary.word(word as u32)));
                prob.push(first.prob(word) as f32);
            }
            if word == 0 || id.is_none() {
                unknown += power(first.prob(word));
            }
        }
        prob[0] = unknown.log10().min(0.0) as f32;
        let kept: Vec<_> = (1..self.order()).map(|index| self.without_blank(index)).collect();
        self.rebuilt(vocabulary, |word| ids[word as usize], &kept, prob, stop)
    }

    /// A model of the n-grams that are `kept` of each order from two up and whose words all have a
    /// new id, ascending with the old, and of single words with the logarithms `prob`.
    fn rebuilt(
        &self,
        vocabulary: Vocabulary,
        id: impl Fn(u32) -> Option<u32>,
        kept: &[Vec<bool>],
        prob: Vec<f32>,
        stop: Stop<'_>,
    ) -> Result<Self> {
        let backoff = vec![0.0; if self.order() == 1 { 0 } else { prob.len() }];
        let blank = self.levels[0].blank.iter().filter_map(|&word| id(word)).collect();
        let mut sections = vec![Section { words: Vec::new(), prob, backoff }];
        for (index, kept) in (1..).zip(kept) {
            let level = &self.levels[index];
            let mut section = Section::default();
            if level.nodes() > 0 {
                let mut path = self.path(index + 1, 0);
                for node in 0..level.nodes() {
                    check_at(node, stop)?;
                    self.advance(&mut path, node as u32);
                    let word = |depth: usize| match depth {
                        0 => path[0],
                        _ => self.levels[depth].words[path[depth] as usize],
                    };
                    let start = section.words.len();
                    section.words.extend((0..=index).map_while(|depth| id(word(depth))));
                    if !kept[node] || section.words.len() != start + index + 1 {
                        section.words.truncate(start);
                        continue;
                    }
                    section.prob.push(level.prob(node) as f32);
                }
            }
            if index + 1 < self.order() {
                section.backoff = vec![0.0; section.prob.len()];
            }
            sections.push(section);
        }
        let mut model = assemble(vocabulary, sections, blank, "model", stop)?;
        normalise(&mut model.levels, stop)?;
        Ok(model)
    }
}
