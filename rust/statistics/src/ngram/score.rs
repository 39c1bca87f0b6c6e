//! Probabilities of words in context.
//!
//! p(w | h) is that of the longest n-gram h' w of the model, h' a suffix of h, times the back-off
//! weights of the longer suffixes of h. The state between two words is the longest suffix of what
//! was read that is an n-gram of the model, at most as long as a context can be.
#![allow(unsafe_code)]

use super::backward::{Entry, check_tokens};
use super::state::{self, Step, Sum};
use super::{BEGIN, END, Model, Stop, check};
use crate::Result;
use crate::threads::{self, Shared};

/// Tokens scored by one task.
pub(super) const BLOCK: usize = 1 << 12;
/// Tokens scored between two looks at whether to stop.
pub(super) const BETWEEN_CHECKS: usize = 1 << 18;

/// What scoring found out about each token.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scores {
    /// Logarithm to base 10 of the probability given all tokens before it.
    pub log10: Vec<f64>,
    /// Words in the longest n-gram of the model that ends in the token.
    pub length: Vec<u8>,
}

/// The context that matters for the next word: a node and its number of words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    length: usize,
    node: u32,
}

const EMPTY: State = State { length: 0, node: 0 };

impl Model {
    fn begin(&self) -> State {
        self.context(State { length: 1, node: BEGIN })
    }

    /// `state` made no longer than a context.
    #[inline(always)]
    fn context(&self, state: State) -> State {
        if state.length < self.order() { state } else { self.shorter(state) }
    }

    /// `state` without its first word.
    #[inline(always)]
    fn shorter(&self, state: State) -> State {
        match state.length {
            0 | 1 => EMPTY,
            length => {
                let node = self.levels[length - 1].suffix[state.node as usize];
                State { length: length - 1, node }
            }
        }
    }

    /// The node of `word` below `state`.
    #[inline(always)]
    fn child(&self, state: State, word: u32) -> Option<u32> {
        if state.length == 0 {
            return Some(word);
        }
        let children = self.levels[state.length - 1].children(state.node);
        let words = &self.levels[state.length].words[children.clone()];
        let at = words.binary_search(&word).ok()?;
        Some((children.start + at) as u32)
    }

    /// Logarithm of the probability of `word` after `state`, the length of the n-gram that it came
    /// from, and the state after it.
    #[inline(always)]
    fn step(&self, mut state: State, word: u32) -> (f64, usize, State) {
        let mut backoff = 0.0;
        loop {
            if let Some(node) = self.child(state, word) {
                let found = State { length: state.length + 1, node };
                let prob = self.levels[state.length].prob(node as usize);
                return (backoff + prob, self.true_length(found), self.context(found));
            }
            backoff += self.levels[state.length - 1].backoff(state.node as usize);
            state = self.shorter(state);
        }
    }

    /// Words in the longest suffix of `state` that is an n-gram of the model.
    fn true_length(&self, mut state: State) -> usize {
        while state.length > 1
            && !self.levels[state.length - 1].blank.is_empty()
            && self.levels[state.length - 1].blank.binary_search(&state.node).is_ok()
        {
            state = self.shorter(state);
        }
        state.length
    }

    /// Scores `tokens`, which begin a text where `begin` says so. Where `sentences` says so, each
    /// [`END`] ends a sentence and another begins.
    pub fn score(
        &self,
        tokens: &[u32],
        begin: bool,
        sentences: bool,
        stop: Stop<'_>,
    ) -> Result<Scores> {
        check_tokens("ngram_score", &self.vocabulary, tokens)?;
        let mut log10 = vec![0.0; tokens.len()];
        let mut length = vec![0; tokens.len()];
        let (log_out, length_out) = (Shared::new(&mut log10), Shared::new(&mut length));
        for start in (0..tokens.len()).step_by(BETWEEN_CHECKS) {
            check(stop)?;
            let end = (start + BETWEEN_CHECKS).min(tokens.len());
            threads::for_each((end - start).div_ceil(BLOCK), (end - start) * 100, |task| {
                let from = start + task * BLOCK;
                let range = from..(from + BLOCK).min(end);
                let state = self.state(&tokens[..from], begin, sentences);
                // SAFETY: blocks do not overlap.
                let (logs, lengths) =
                    unsafe { (log_out.slice(range.clone()), length_out.slice(range.clone())) };
                self.score_block(&tokens[range], state, sentences, logs, lengths);
            });
        }
        Ok(Scores { log10, length })
    }

    fn score_block(
        &self,
        tokens: &[u32],
        mut state: State,
        sentences: bool,
        logs: &mut [f64],
        lengths: &mut [u8],
    ) {
        for ((&word, log), out) in tokens.iter().zip(logs).zip(lengths) {
            let (prob, length, next) = self.step(state, word);
            *log = prob;
            *out = length as u8;
            state = if sentences && word == END { self.begin() } else { next };
        }
    }

    /// One word after `before`, which need not come from this form of the model.
    pub(super) fn step_from(&self, before: &state::State, word: u32) -> Step {
        let known = before.words.len().min(usize::from(before.length)).min(self.order() - 1);
        let mut ngram: Vec<u32> = before.words()[..known].iter().rev().copied().collect();
        ngram.push(word);
        let (length, node) = (0..=known)
            .find_map(|from| Some((known + 1 - from, self.find(&ngram[from..])?)))
            .unwrap_or((1, word));
        let prob = self.levels[length - 1].prob[node as usize];
        let left_out = before.backoffs().get(length - 1..).unwrap_or_default();
        let found = State { length, node };
        Step {
            log10: f64::sum(prob, left_out.iter().copied()),
            single: f32::sum(prob, left_out.iter().copied()),
            length: self.true_length(found) as u8,
            state: self.outside(self.context(found), &ngram),
        }
    }

    /// The state at a node, of the last words of `ngram`, without the words that do not matter.
    fn outside(&self, state: State, ngram: &[u32]) -> state::State {
        let mut nodes = Vec::with_capacity(state.length);
        let mut now = state;
        while now.length > 0 {
            nodes.push(now);
            now = self.shorter(now);
        }
        let matters = |state: &State| {
            let level = &self.levels[state.length - 1];
            level.backoff[state.node as usize] != 0.0 || !level.children(state.node).is_empty()
        };
        let from = nodes.iter().position(matters).unwrap_or(nodes.len());
        let mut outside = state::State::NULL;
        for (node, &word) in nodes[from..].iter().rev().zip(ngram.iter().rev()) {
            outside.push(word, self.levels[node.length - 1].backoff[node.node as usize]);
        }
        outside
    }

    /// The state after `tokens` as [`Self::step_from`] takes it.
    pub(super) fn state_after(&self, tokens: &[u32], sentences: bool) -> state::State {
        let state = self.state(tokens, true, sentences);
        let mut words: Vec<u32> = vec![BEGIN];
        for &word in tokens {
            words.push(word);
            if sentences && word == END {
                words.push(BEGIN);
            }
        }
        self.outside(state, &words)
    }

    /// For each n-gram of `length` words, the flags of [`Entry`].
    pub(super) fn flags(&self, length: usize) -> Vec<u8> {
        let level = &self.levels[length - 1];
        let mut flags = vec![0; level.nodes()];
        if length < self.order() {
            for (node, flag) in flags.iter_mut().enumerate() {
                if level.backoff[node] != 0.0 || !level.children(node as u32).is_empty() {
                    *flag = Entry::RIGHT;
                }
            }
            for &suffix in &self.levels[length].suffix {
                flags[suffix as usize] |= Entry::LEFT;
            }
        }
        // A single word is always an n-gram that was found.
        if length > 1 {
            level.blank.iter().for_each(|&node| flags[node as usize] |= Entry::BLANK);
        }
        flags
    }

    /// The first word of each n-gram of `length` words.
    pub(super) fn first_words(&self, length: usize) -> Vec<u32> {
        let mut first = vec![0; self.levels[length - 1].nodes()];
        for word in 0..self.levels[0].nodes() as u32 {
            let (mut from, mut to) = (word, word + 1);
            for level in &self.levels[..length - 1] {
                (from, to) = (level.children[from as usize], level.children[to as usize]);
            }
            first[from as usize..to as usize].fill(word);
        }
        first
    }

    /// The state after `tokens`, which follows from the last few of them.
    fn state(&self, tokens: &[u32], begin: bool, sentences: bool) -> State {
        let reach = self.order() - 1;
        let from = tokens.len().saturating_sub(reach);
        let mut state = if from == 0 && begin { self.begin() } else { EMPTY };
        // A sentence that ended just before the last few words still shows in their context.
        if from > 0 && sentences && tokens[from - 1] == END {
            state = self.begin();
        }
        for &word in &tokens[from..] {
            state = match sentences && word == END {
                true => self.begin(),
                false => self.step(state, word).2,
            };
        }
        state
    }

    /// Natural logarithms of the probabilities of all words after `tokens`, which begin a text;
    /// minus infinity for `<s>`, which is never predicted.
    pub fn next(&self, tokens: &[u32], sentences: bool) -> Result<Vec<f64>> {
        check_tokens("ngram_next", &self.vocabulary, tokens)?;
        let mut contexts = Vec::with_capacity(self.order());
        let mut state = self.state(tokens, true, sentences);
        let mut backoff = 0.0;
        while state.length > 0 {
            contexts.push((state, backoff));
            backoff += self.levels[state.length - 1].backoff(state.node as usize);
            state = self.shorter(state);
        }
        let natural = std::f64::consts::LN_10;
        let first = &self.levels[0];
        let mut logs: Vec<f64> =
            (0..first.nodes()).map(|word| (first.prob(word) + backoff) * natural).collect();
        for &(context, backoff) in contexts.iter().rev() {
            let children = self.levels[context.length - 1].children(context.node);
            let level = &self.levels[context.length];
            for (&word, node) in level.words[children.clone()].iter().zip(children) {
                logs[word as usize] = (level.prob(node) + backoff) * natural;
            }
        }
        logs[BEGIN as usize] = f64::NEG_INFINITY;
        Ok(logs)
    }
}
