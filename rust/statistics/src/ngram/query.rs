//! What KenLM's `query` prints about a text.
//!
//! A line is a sentence. Its sum is made in single precision and the sum of the text in double, as
//! KenLM makes them, so that both print the same digits.

use super::backward::Backward;
use super::batch::{Text, look_up};
use super::form::Form;
use super::state::State;
use super::words::{hashed_words, lines, words};
use super::{BEGIN, END, SPECIAL, Stop, UNKNOWN, check};
use crate::Result;
use crate::threads;

/// Bytes of the text that one task looks at.
const BLOCK: usize = 1 << 16;
/// Words that are looked up together, at least.
const WAITING: usize = 1 << 9;
/// Blocks of each thread between two looks at whether to stop: some 40 ms with the compact form.
const BLOCKS: usize = 4;

/// How much is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Nothing but what is known at the end.
    Summary,
    /// A line for each sentence.
    Sentence,
    /// And, before it, all its words.
    Word,
}

/// Sums over a text.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Totals {
    /// Logarithm to base 10 of the probability of all sentences.
    pub log10: f64,
    /// The same of the unknown words alone.
    pub log10_unknown: f64,
    /// Words, and the ends of sentences.
    pub tokens: u64,
    /// Words that the model does not know.
    pub unknown: u64,
}

/// A block of the text: what is printed, sums of the sentences, and logarithms of unknown words.
struct Block {
    printed: Vec<u8>,
    sentences: Vec<f32>,
    unknown: Vec<f32>,
    tokens: u64,
}

impl Form {
    /// Scores the lines of `text`, between `<s>` and `</s>` where `context` says so; adds to `totals`
    /// and returns what is printed.
    pub fn query(
        &self,
        text: &str,
        context: bool,
        verbosity: Verbosity,
        totals: &mut Totals,
        stop: Stop<'_>,
    ) -> Result<Vec<u8>> {
        let blocks = cut(text);
        let mut printed = Vec::new();
        for group in blocks.chunks(BLOCKS * threads::num_threads()) {
            check(stop)?;
            let cost = group.iter().map(|block| block.len() * 10).sum();
            let found = threads::map(group.len(), cost, |at| match self {
                Self::Trie(_) => stepwise(self, group[at], context, verbosity),
                Self::Probing(model) => in_batches(model, group[at], context, verbosity),
                Self::Compact(model) => in_batches(model, group[at], context, verbosity),
            });
            for block in found {
                printed.extend(block.printed);
                block.sentences.iter().for_each(|&sum| totals.log10 += f64::from(sum));
                block.unknown.iter().for_each(|&log| totals.log10_unknown += f64::from(log));
                totals.tokens += block.tokens;
                totals.unknown += block.unknown.len() as u64;
            }
        }
        Ok(printed)
    }
}

/// `text` in pieces that end with their lines.
fn cut(text: &str) -> Vec<&str> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while rest.len() > BLOCK {
        let end = rest.as_bytes()[BLOCK..].iter().position(|&byte| byte == b'\n');
        let (block, after) = rest.split_at(end.map_or(rest.len(), |end| BLOCK + end + 1));
        blocks.push(block);
        rest = after;
    }
    if !rest.is_empty() {
        blocks.push(rest);
    }
    blocks
}

/// What is printed of a block, and the sums of the sentence that is being read.
struct Printer {
    block: Block,
    verbosity: Verbosity,
    sum: f32,
    unknown: usize,
}

impl Printer {
    fn new(verbosity: Verbosity) -> Self {
        let (sentences, unknown) = (Vec::new(), Vec::new());
        let block = Block { printed: Vec::new(), sentences, unknown, tokens: 0 };
        Self { block, verbosity, sum: 0.0, unknown: 0 }
    }

    #[inline(always)]
    fn token<'a>(&mut self, word: impl Fn() -> &'a str, id: u32, length: u8, log10: f32) {
        self.sum += log10;
        self.block.tokens += 1;
        if id == UNKNOWN {
            self.block.unknown.push(log10);
        }
        if self.verbosity == Verbosity::Word {
            let out = &mut self.block.printed;
            out.extend_from_slice(word().as_bytes());
            out.extend_from_slice(format!("={id} {length} ").as_bytes());
            shortest(out, log10);
            out.push(b'\t');
        }
    }

    fn end_line(&mut self) {
        let unknown = self.block.unknown.len() - self.unknown;
        if self.verbosity >= Verbosity::Sentence {
            let out = &mut self.block.printed;
            out.extend_from_slice(b"Total: ");
            shortest(out, self.sum);
            out.extend_from_slice(format!(" OOV: {unknown}\n").as_bytes());
        }
        self.block.sentences.push(std::mem::take(&mut self.sum));
        self.unknown = self.block.unknown.len();
    }
}

fn in_batches<B: Backward>(model: &B, text: &str, context: bool, verbosity: Verbosity) -> Block {
    let (order, vocabulary) = (model.order(), model.vocabulary());
    let mut ids = Vec::with_capacity(text.len() / 4);
    let mut reach: Vec<u8> = Vec::with_capacity(text.len() / 4);
    // Where lines end in `ids`.
    let mut ends = Vec::new();
    // Words whose ids are not there yet, and where these belong.
    let mut waiting: Vec<(&str, u64)> = Vec::with_capacity(WAITING);
    let mut places: Vec<usize> = Vec::with_capacity(WAITING);
    for line in lines(text) {
        let mut far = 0;
        let mut push = |id: u32| {
            far = (far + 1).min(order);
            ids.push(id);
            reach.push(far as u8);
            ids.len() - 1
        };
        if context {
            push(BEGIN);
        }
        for word in hashed_words(line) {
            waiting.push(word);
            places.push(push(UNKNOWN));
        }
        if context {
            push(END);
        }
        ends.push(ids.len());
        if waiting.len() >= WAITING {
            vocabulary.query_each(&waiting, |at, id| ids[places[at]] = id);
            waiting.clear();
            places.clear();
        }
    }
    vocabulary.query_each(&waiting, |at, id| ids[places[at]] = id);
    let mut printer = Printer::new(verbosity);
    let mut ends = ends.into_iter().peekable();
    let mut surface = words(if verbosity == Verbosity::Word { text } else { "" });
    let found = Text { words: &ids, reach: &reach };
    look_up(model, found, 0, |at, log10: f32, length| {
        // Lines without a token.
        while ends.next_if_eq(&at).is_some() {
            printer.end_line();
        }
        let last = ends.peek() == Some(&(at + 1));
        if !(context && reach[at] == 1) {
            let word = if context && last {
                SPECIAL[END as usize]
            } else {
                surface.next().unwrap_or_default()
            };
            printer.token(|| word, ids[at], length, log10);
        }
        if last {
            ends.next();
            printer.end_line();
        }
    });
    ends.for_each(|_| printer.end_line());
    printer.block
}

/// The same for the form that knows no batches.
fn stepwise(form: &Form, text: &str, context: bool, verbosity: Verbosity) -> Block {
    let mut printer = Printer::new(verbosity);
    let begin = if context { form.begin_state() } else { State::NULL };
    for line in lines(text) {
        let mut state = begin;
        let end = context.then_some((SPECIAL[END as usize], END));
        let known = words(line).map(|word| (word, form.vocabulary().query(word)));
        for (word, id) in known.chain(end) {
            let step = form.known_step(&state, id);
            printer.token(|| word, id, step.length, step.single);
            state = step.state;
        }
        printer.end_line();
    }
    printer.block
}

/// The shortest decimal that reads back as `x`, as KenLM writes it: without an exponent down to 1e-6.
fn shortest(out: &mut Vec<u8>, x: f32) {
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format(x);
    let text = text.strip_suffix(".0").unwrap_or(text);
    let small = text.strip_suffix("e-6").or_else(|| text.strip_suffix("e-5"));
    let Some(digits) = small else { return out.extend_from_slice(text.as_bytes()) };
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    let zeros = if text.ends_with('6') { "0.00000" } else { "0.0000" };
    let digits = digits.strip_suffix(".0").unwrap_or(digits).replace('.', "");
    out.extend_from_slice(format!("{sign}{zeros}{digits}").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_kenlm_does() {
        for (x, text) in [
            (-38.1663, "-38.1663"),
            (-0.4, "-0.4"),
            (-3.0, "-3"),
            (0.0, "0"),
            (-1.25e-6, "-0.00000125"),
            (3e-5, "0.00003"),
            (1.5e-7, "1.5e-7"),
        ] {
            let mut out = Vec::new();
            shortest(&mut out, x);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}
