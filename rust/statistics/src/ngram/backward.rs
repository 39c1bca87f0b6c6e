//! Scoring with models that find an n-gram from its last word to its first.
//!
//! What such a model finds of the n-grams that end in a token does not depend on the scores before
//! it, so many tokens are looked up at once: each length in turn for all of them, the memory of
//! the next length being asked for while the others are looked at. The entry of the n-gram that
//! ends in a token is the context of the next one, so its back-off weight comes with it.
#![allow(unsafe_code)]

use super::score::{BETWEEN_CHECKS, BLOCK, Scores};
use super::state::{State, Step, Sum};
use super::{BEGIN, END, MAX_ORDER, Stop, Vocabulary, check};
use crate::threads::{self, Shared};
use crate::{Error, Result};

/// Tokens that are looked up together.
const TOGETHER: usize = 32;

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

    /// That n-gram, if there is one; `cursor` is from [`Self::ahead`].
    fn longer(
        &self,
        length: usize,
        cursor: Self::Cursor,
        word: u32,
    ) -> Option<(Self::Cursor, Entry)>;
}

/// The longest n-gram that ends in a token, and what its shorter ends weigh as contexts.
#[derive(Clone, Copy)]
struct Found {
    /// Words in it, blank or not, and words in the longest one that is not blank.
    length: u8,
    true_length: u8,
    /// Words of the context that it leaves.
    context: u8,
    prob: f32,
    backoff: [f32; MAX_ORDER - 1],
}

const NOTHING: Found =
    Found { length: 0, true_length: 0, context: 0, prob: 0.0, backoff: [0.0; MAX_ORDER - 1] };

impl Found {
    #[inline(always)]
    fn add(&mut self, length: usize, entry: Entry, order: usize) {
        self.length = length as u8;
        self.prob = entry.prob;
        if !entry.is(Entry::BLANK) {
            self.true_length = length as u8;
        }
        if length < order {
            self.backoff[length - 1] = entry.backoff;
            if entry.is(Entry::RIGHT) {
                self.context = length as u8;
            }
        }
    }

    /// The sum for this token after that one.
    #[inline(always)]
    fn after<T: Sum>(&self, before: &Self) -> T {
        let known = usize::from(self.length - 1).min(usize::from(before.context));
        T::sum(self.prob, &before.backoff[known..usize::from(before.context)])
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

/// Looks up all tokens of `words` from `from` on; `found` gets each in turn.
#[inline(always)]
fn look_up<B: Backward>(
    model: &B,
    words: &[u32],
    reach: &[u8],
    from: usize,
    mut found: impl FnMut(usize, &Found),
) {
    let order = model.order();
    let mut batch = [NOTHING; TOGETHER];
    let mut cursors = [B::Cursor::default(); TOGETHER];
    let mut alive = [0u8; TOGETHER];
    for word in &words[from..words.len().min(from + TOGETHER)] {
        model.prefetch_word(*word);
    }
    for start in (from..words.len()).step_by(TOGETHER) {
        let end = words.len().min(start + TOGETHER);
        let mut living = 0;
        for at in start..end {
            let slot = at - start;
            let (cursor, entry) = model.word(words[at]);
            if let Some(&word) = words.get(at + TOGETHER) {
                model.prefetch_word(word);
            }
            let one = &mut batch[slot];
            one.context = 0;
            one.true_length = 1;
            one.add(1, entry, order);
            if entry.is(Entry::LEFT) && reach[at] > 1 {
                cursors[slot] = model.ahead(2, cursor, words[at - 1]);
                alive[living] = slot as u8;
                living += 1;
            }
        }
        let mut length = 2;
        while living > 0 {
            let mut still = 0;
            for index in 0..living {
                let slot = usize::from(alive[index]);
                let at = start + slot;
                let word = words[at + 1 - length];
                if let Some((cursor, entry)) = model.longer(length, cursors[slot], word) {
                    batch[slot].add(length, entry, order);
                    if entry.is(Entry::LEFT) && usize::from(reach[at]) > length {
                        cursors[slot] = model.ahead(length + 1, cursor, words[at - length]);
                        alive[still] = slot as u8;
                        still += 1;
                    }
                }
            }
            living = still;
            length += 1;
        }
        for at in start..end {
            found(at, &batch[at - start]);
        }
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
    let mut before = NOTHING;
    let mut out = logs.iter_mut().zip(lengths);
    look_up(model, words, reach, from, |at, found| {
        if reach[at] == 1 {
            before.context = 0;
        }
        if at >= first
            && words[at] != BEGIN
            && let Some((log, length)) = out.next()
        {
            *log = found.after(&before);
            *length = found.true_length;
        }
        before = *found;
    });
}

/// Scores the words of sentences one after the other, which `reach` tells apart: single-precision
/// logarithms and lengths, also for those that begin a sentence.
pub(super) fn score_single<B: Backward>(
    model: &B,
    words: &[u32],
    reach: &[u8],
    from: usize,
    mut each: impl FnMut(usize, f32, u8),
) {
    let mut before = NOTHING;
    look_up(model, words, reach, from, |at, found| {
        if reach[at] == 1 {
            before.context = 0;
        }
        each(at, found.after(&before), found.true_length);
        before = *found;
    });
}

/// One word after `state`.
#[inline(always)]
pub(super) fn step<B: Backward>(model: &B, state: &State, word: u32) -> Step {
    let order = model.order();
    let (mut cursor, mut entry) = model.word(word);
    let mut found = NOTHING;
    found.true_length = 1;
    found.add(1, entry, order);
    // A state of another model may be longer than those of this one.
    for (length, &before) in (2..=order).zip(state.words()) {
        if !entry.is(Entry::LEFT) {
            break;
        }
        cursor = model.ahead(length, cursor, before);
        match model.longer(length, cursor, before) {
            Some(longer) => (cursor, entry) = longer,
            None => break,
        }
        found.add(length, entry, order);
    }
    let left_out = &state.backoffs()[usize::from(found.length - 1).min(state.words().len())..];
    let mut next = State::NULL;
    for length in 0..usize::from(found.context) {
        let word = if length == 0 { word } else { state.words[length - 1] };
        next.push(word, found.backoff[length]);
    }
    Step {
        log10: f64::sum(found.prob, left_out),
        single: f32::sum(found.prob, left_out),
        length: found.true_length,
        state: next,
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
