//! What a model has to remember of the words before the next one.

use super::MAX_ORDER;

/// The longest context that still matters, its last word first, and its back-off weights.
///
/// States are equal where their words are: from then on the model says the same of any words.
#[derive(Debug, Clone, Copy)]
pub struct State {
    pub(super) length: u8,
    pub(super) words: [u32; MAX_ORDER - 1],
    /// Logarithm to base 10 of the weight of the last word, the last two, and so on.
    pub(super) backoff: [f32; MAX_ORDER - 1],
}

impl State {
    /// Nothing is known of what came before.
    pub const NULL: Self =
        Self { length: 0, words: [0; MAX_ORDER - 1], backoff: [0.0; MAX_ORDER - 1] };

    /// The words of the context, the last one first.
    pub fn words(&self) -> &[u32] {
        &self.words[..usize::from(self.length)]
    }

    pub(super) fn backoffs(&self) -> &[f32] {
        &self.backoff[..usize::from(self.length)]
    }

    /// Puts a word in front of the context.
    #[inline(always)]
    pub(super) fn push(&mut self, word: u32, backoff: f32) {
        let at = usize::from(self.length);
        self.words[at] = word;
        self.backoff[at] = backoff;
        self.length += 1;
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.words() == other.words()
    }
}

impl Eq for State {}

/// One word after a state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Logarithm to base 10 of its probability.
    pub log10: f64,
    /// The same added up in single precision, as KenLM does it.
    pub single: f32,
    /// Words in the longest n-gram of the model that ends in the word.
    pub length: u8,
    /// The state after it.
    pub state: State,
}

/// A number that probabilities are added up in.
pub(super) trait Sum: Copy + Send {
    /// `prob` and the weights of the contexts that were left out, the shortest first.
    fn sum(prob: f32, backoffs: impl DoubleEndedIterator<Item = f32>) -> Self;
}

impl Sum for f64 {
    #[inline(always)]
    fn sum(prob: f32, backoffs: impl DoubleEndedIterator<Item = f32>) -> Self {
        backoffs.rev().fold(0.0, |sum, backoff| sum + f64::from(backoff)) + f64::from(prob)
    }
}

impl Sum for f32 {
    #[inline(always)]
    fn sum(prob: f32, backoffs: impl DoubleEndedIterator<Item = f32>) -> Self {
        backoffs.fold(prob, |sum, backoff| sum + backoff)
    }
}
