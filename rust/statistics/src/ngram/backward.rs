//! Scoring with models that find an n-gram from its last word to its first.
//!
//! What such a model finds of the n-grams that end in a token does not depend on the scores before
//! it, so many tokens are looked up at once (see [`super::batch`]). The entry of the n-gram that
//! ends in a token is the context of the next one, so its back-off weight comes with it.
#![allow(unsafe_code)]

use super::batch::{Text, look_up};
use super::score::{BETWEEN_CHECKS, BLOCK, Scores};
use super::state::{State, Step, Sum};
use super::{BEGIN, END, Stop, Vocabulary, check};
use crate::threads::{self, Shared};
use crate::{Error, Result};

/// What a model knows of an n-gram.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Entry {
    pub(super) prob: f32,
    pub(super) backoff: f32,
    pub(super) flags: u8,
}

impl Entry {
    /// There are longer n-grams that end in this one.
    pub(super) const LEFT: u8 = 1;
    /// There are longer n-grams that begin with this one, or its weight is not one.
    pub(super) const RIGHT: u8 = 2;
    /// It is no n-gram of the model, and only stands in for others.
    pub(super) const BLANK: u8 = 4;

    #[inline(always)]
    pub(super) fn is(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Whether there is an n-gram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    No,
    Yes,
    /// The memory that says so has only been asked for: see [`Backward::later`].
    Later,
}

impl Answer {
    #[inline(always)]
    pub(super) fn of(there: bool) -> Self {
        if there { Self::Yes } else { Self::No }
    }
}

/// A model that goes from the last word of an n-gram to the first.
pub(super) trait Backward: Sync {
    /// Where the search for longer n-grams goes on.
    type Cursor: Copy + Default;

    fn vocabulary(&self) -> &Vocabulary;
    fn order(&self) -> usize;

    /// Asks for the memory of the word.
    fn prefetch_word(&self, word: u32);

    /// The word as an n-gram. It must be below the number of words.
    fn word(&self, word: u32) -> (Self::Cursor, Entry);

    /// Where to look for the n-gram of `length` words that has `word` in front of those of
    /// `cursor`; asks for its memory.
    fn ahead(&self, length: usize, cursor: Self::Cursor, word: u32) -> Self::Cursor;

    /// Whether there is that n-gram, and if so what it has; `cursor` is from [`Self::ahead`].
    fn longer(
        &self,
        length: usize,
        cursor: Self::Cursor,
        word: u32,
    ) -> (Answer, Self::Cursor, Entry);

    /// The same after [`Answer::Later`], which a model need not answer: yes or no.
    fn later(&self, _length: usize, cursor: Self::Cursor) -> (bool, Self::Cursor, Entry) {
        (false, cursor, Entry::default())
    }
}

/// Tokens with the `<s>` before each sentence; the words that an n-gram at each can reach back.
struct Stream {
    words: Vec<u32>,
    reach: Vec<u8>,
}

impl Stream {
    /// Tokens `from..to` and, before them, as many as they depend on.
    fn new(
        tokens: &[u32],
        range: std::ops::Range<usize>,
        order: usize,
        begin: bool,
        sentences: bool,
    ) -> Self {
        let history = range.start.saturating_sub(order - 1);
        let mut new = Self { words: Vec::new(), reach: Vec::new() };
        new.words.reserve((range.end - history) * 5 / 4 + 1);
        new.reach.reserve((range.end - history) * 5 / 4 + 1);
        let mut reach = 0;
        let first = if history == 0 { begin } else { sentences && tokens[history - 1] == END };
        let mut push = |word: u32, reach: &mut usize| {
            *reach = (*reach + 1).min(order);
            new.words.push(word);
            new.reach.push(*reach as u8);
        };
        if first {
            push(BEGIN, &mut reach);
        }
        for at in history..range.end {
            push(tokens[at], &mut reach);
            if sentences && tokens[at] == END {
                reach = 0;
                if at + 1 < range.end {
                    push(BEGIN, &mut reach);
                }
            }
        }
        new
    }
}

/// Scores tokens as [`super::Model::score`] does; they have been checked.
pub(super) fn score<B: Backward>(
    model: &B,
    tokens: &[u32],
    begin: bool,
    sentences: bool,
    stop: Stop<'_>,
) -> Result<Scores> {
    let mut log10 = vec![0.0; tokens.len()];
    let mut length = vec![0; tokens.len()];
    let (log_out, length_out) = (Shared::new(&mut log10), Shared::new(&mut length));
    for start in (0..tokens.len()).step_by(BETWEEN_CHECKS) {
        check(stop)?;
        let end = (start + BETWEEN_CHECKS).min(tokens.len());
        threads::for_each((end - start).div_ceil(BLOCK), (end - start) * 60, |task| {
            let from = start + task * BLOCK;
            let range = from..(from + BLOCK).min(end);
            // SAFETY: blocks do not overlap.
            let (logs, lengths) =
                unsafe { (log_out.slice(range.clone()), length_out.slice(range.clone())) };
            let stream = Stream::new(tokens, range, model.order(), begin, sentences);
            score_stream(model, &stream, logs, lengths);
        });
    }
    Ok(Scores { log10, length })
}

/// Scores the last tokens of a stream, as many as there are places for.
fn score_stream<B: Backward>(model: &B, stream: &Stream, logs: &mut [f64], lengths: &mut [u8]) {
    let (words, reach) = (&stream.words, &stream.reach);
    // The last word before the first one scored is its context.
    let mut first = words.len();
    let mut left = logs.len();
    while left > 0 {
        first -= 1;
        left -= usize::from(words[first] != BEGIN);
    }
    let from = first.saturating_sub(1);
    let mut out = logs.iter_mut().zip(lengths);
    look_up(model, Text { words, reach }, from, |at, sum, true_length| {
        if at >= first
            && words[at] != BEGIN
            && let Some((log, length)) = out.next()
        {
            *log = sum;
            *length = true_length;
        }
    });
}

/// One word after `state`.
#[inline(always)]
pub(super) fn step<B: Backward>(model: &B, state: &State, word: u32) -> Step {
    let order = model.order();
    let (mut cursor, mut entry) = model.word(word);
    let mut found = State::NULL;
    let (mut length, mut true_length) = (1, 1);
    let mut context = usize::from(order > 1 && entry.is(Entry::RIGHT));
    let mut prob = entry.prob;
    found.push(word, entry.backoff);
    // A state of another model may be longer than those of this one.
    for (longer, &before) in (2..=order).zip(state.words()) {
        if !entry.is(Entry::LEFT) {
            break;
        }
        cursor = model.ahead(longer, cursor, before);
        let answer;
        (answer, cursor, entry) = model.longer(longer, cursor, before);
        let mut there = answer == Answer::Yes;
        if answer == Answer::Later {
            (there, cursor, entry) = model.later(longer, cursor);
        }
        if !there {
            break;
        }
        (length, prob) = (longer, entry.prob);
        if !entry.is(Entry::BLANK) {
            true_length = longer as u8;
        }
        if longer < order {
            found.push(before, entry.backoff);
            if entry.is(Entry::RIGHT) {
                context = longer;
            }
        }
    }
    let left_out = &state.backoffs()[(length - 1).min(state.words().len())..];
    found.length = context as u8;
    Step {
        log10: f64::sum(prob, left_out.iter().copied()),
        single: f32::sum(prob, left_out.iter().copied()),
        length: true_length,
        state: found,
    }
}

/// The state after `tokens`, which follows from the last few of them.
pub(super) fn state<B: Backward>(model: &B, tokens: &[u32], begin: bool, sentences: bool) -> State {
    let from = tokens.len().saturating_sub(model.order() - 1);
    let start = step(model, &State::NULL, BEGIN).state;
    let fresh = if from == 0 { begin } else { sentences && tokens[from - 1] == END };
    let mut state = if fresh { start } else { State::NULL };
    for &word in &tokens[from..] {
        state = if sentences && word == END { start } else { step(model, &state, word).state };
    }
    state
}

/// Natural logarithms of the probabilities of all words after `state`.
pub(super) fn next<B: Backward>(model: &B, state: &State) -> Vec<f64> {
    let words = model.vocabulary().len();
    let mut logs = vec![0.0; words];
    threads::for_each_piece(&mut logs, BLOCK, words * 60, |block, logs| {
        let first = block * BLOCK;
        for (at, log) in logs.iter_mut().enumerate() {
            let step = step(model, state, (first + at) as u32);
            *log = step.log10 * std::f64::consts::LN_10;
        }
    });
    logs[BEGIN as usize] = f64::NEG_INFINITY;
    logs
}

/// Refuses what no model has scores for.
pub(super) fn check_tokens(
    op: &'static str,
    vocabulary: &Vocabulary,
    tokens: &[u32],
) -> Result<()> {
    let words = vocabulary.len();
    match tokens.iter().find(|&&word| word as usize >= words || word == BEGIN) {
        None => Ok(()),
        Some(&BEGIN) => {
            let message = "expected words, got the id of <s>, which is never predicted";
            Err(Error::value(op, "tokens", message))
        }
        Some(word) => {
            let message = format!("expected ids below {words}, got {word}");
            Err(Error::value(op, "tokens", message))
        }
    }
}
