//! Many tokens looked up together in a model that goes from the last word of an n-gram to the first:
//! each length in turn for all of them, whose memory is asked for before the first is looked at.
//! Whether an n-gram is there cannot be foretold, so nothing branches on it.

use std::ops::Range;

use super::MAX_ORDER;
use super::backward::{Answer, Backward, Entry};
use super::state::Sum;

/// Tokens in a batch.
const TOGETHER: usize = 48;
/// Places for them, behind one for the token before the first.
const SLOTS: usize = TOGETHER + 1;

/// Some tokens: of each the longest n-gram that ends in it, and what the shorter ends of that weigh
/// as contexts.
struct Batch<C> {
    prob: [f32; SLOTS],
    /// Words in the n-gram, blank or not, and words in the longest one that is not blank.
    length: [u8; SLOTS],
    true_length: [u8; SLOTS],
    /// Words of the context that it leaves.
    context: [u8; SLOTS],
    /// Weights by the length of the context less one; those longer than `context` mean nothing.
    backoff: [[f32; SLOTS]; MAX_ORDER],
    cursors: [C; SLOTS],
    /// The first `living` are slots of the tokens of which longer n-grams may be there.
    alive: [u8; SLOTS],
    living: usize,
    /// Where the first token is in the text.
    start: usize,
}

impl<C: Copy + Default> Batch<C> {
    fn new() -> Self {
        Self {
            prob: [0.0; SLOTS],
            length: [0; SLOTS],
            true_length: [0; SLOTS],
            context: [0; SLOTS],
            backoff: [[0.0; SLOTS]; MAX_ORDER],
            cursors: [C::default(); SLOTS],
            alive: [0; SLOTS],
            living: 0,
            start: 0,
        }
    }

    /// Begins the tokens `range` with their words.
    #[inline(always)]
    fn begin<B: Backward<Cursor = C>>(&mut self, model: &B, text: Text<'_>, range: Range<usize>) {
        self.living = 0;
        self.start = range.start;
        for (at, slot) in range.zip(1..) {
            let (cursor, entry) = model.word(text.words[at]);
            self.cursors[slot] = cursor;
            self.prob[slot] = entry.prob;
            self.backoff[0][slot] = entry.backoff;
            self.length[slot] = 1;
            self.true_length[slot] = 1;
            self.context[slot] = u8::from(entry.is(Entry::RIGHT));
            self.alive[self.living] = slot as u8;
            self.living += usize::from(entry.is(Entry::LEFT) & (text.reach[at] > 1));
        }
    }

    /// Asks for n-grams of `length` words.
    #[inline(always)]
    fn ask<B: Backward<Cursor = C>>(&mut self, model: &B, text: Text<'_>, length: usize) {
        for &slot in &self.alive[..self.living] {
            let slot = usize::from(slot);
            let word = text.words[self.start + slot - length];
            self.cursors[slot] = model.ahead(length, self.cursors[slot], word);
        }
    }

    /// Looks at the n-grams of `length` words that were asked for.
    #[inline(always)]
    fn look<B: Backward<Cursor = C>>(&mut self, model: &B, text: Text<'_>, length: usize) {
        let mut late = [0u8; SLOTS];
        let (mut still, mut waiting) = (0, 0);
        for index in 0..self.living {
            let slot = usize::from(self.alive[index]);
            let word = text.words[self.start + slot - length];
            let (answer, cursor, entry) = model.longer(length, self.cursors[slot], word);
            self.cursors[slot] = cursor;
            self.alive[still] = slot as u8;
            still += self.take(slot, answer == Answer::Yes, length, entry, text);
            late[waiting] = slot as u8;
            waiting += usize::from(answer == Answer::Later);
        }
        for &slot in &late[..waiting] {
            self.alive[still] = slot;
            let slot = usize::from(slot);
            let (there, cursor, entry) = model.later(length, self.cursors[slot]);
            self.cursors[slot] = cursor;
            still += self.take(slot, there, length, entry, text);
        }
        self.living = still;
    }

    /// Takes a longer n-gram where `there` is one; one where still longer ones may be.
    #[inline(always)]
    fn take(
        &mut self,
        slot: usize,
        there: bool,
        length: usize,
        entry: Entry,
        text: Text<'_>,
    ) -> usize {
        let choose = |yes: bool, old: u8| if yes { length as u8 } else { old };
        self.prob[slot] = if there { entry.prob } else { self.prob[slot] };
        self.backoff[length - 1][slot] = entry.backoff;
        self.length[slot] = choose(there, self.length[slot]);
        let real = there & !entry.is(Entry::BLANK);
        self.true_length[slot] = choose(real, self.true_length[slot]);
        let context = there & entry.is(Entry::RIGHT);
        self.context[slot] = choose(context, self.context[slot]);
        let far = usize::from(text.reach[self.start + slot - 1]) > length;
        usize::from(there & entry.is(Entry::LEFT) & far)
    }

    /// The sum for a token after the one before it, `first` of a sentence or not.
    #[inline(always)]
    fn sum<T: Sum>(&self, slot: usize, order: usize, first: bool) -> T {
        let known = usize::from(self.length[slot]) - 1;
        let context = if first { 0 } else { usize::from(self.context[slot - 1]) };
        let left_out = (0..order - 1).map(|at| {
            let weight = self.backoff[at][slot - 1];
            if (at >= known) & (at < context) { weight } else { 0.0 }
        });
        T::sum(self.prob[slot], left_out)
    }

    /// Makes the last token of a full batch the one before the next ones.
    #[inline(always)]
    fn follow(&mut self, order: usize) {
        self.context[0] = self.context[TOGETHER];
        for row in &mut self.backoff[..order] {
            row[0] = row[TOGETHER];
        }
    }
}

/// Words, and how many words an n-gram that ends in each may have.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    pub(super) words: &'a [u32],
    pub(super) reach: &'a [u8],
}

/// Looks up all tokens of `text` from `from` on; `each` gets the sum for each and the length of the
/// n-gram found, as if nothing came before `from`.
#[inline(always)]
pub(super) fn look_up<B: Backward, T: Sum>(
    model: &B,
    text: Text<'_>,
    from: usize,
    mut each: impl FnMut(usize, T, u8),
) {
    let order = model.order();
    let end = text.words.len();
    let mut batch = Batch::new();
    let ask = |from: usize| {
        let range = from.min(end)..(from + TOGETHER).min(end);
        text.words[range].iter().for_each(|&word| model.prefetch_word(word));
    };
    ask(from);
    for start in (from..end).step_by(TOGETHER) {
        ask(start + TOGETHER);
        let range = start..end.min(start + TOGETHER);
        batch.begin(model, text, range.clone());
        for length in 2..=order {
            batch.ask(model, text, length);
            batch.look(model, text, length);
        }
        for (at, slot) in range.zip(1..) {
            each(at, batch.sum(slot, order, text.reach[at] == 1), batch.true_length[slot]);
        }
        batch.follow(order);
    }
}
