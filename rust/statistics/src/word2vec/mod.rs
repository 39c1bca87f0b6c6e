//! Word vectors: word2vec and fastText.
//!
//! Words are counted ([`lexicon`]), sentences come in blocks ([`source`]), become the steps of their
//! windows ([`window`]), and each step changes a few rows ([`step`], [`train`]). Several threads
//! change the same rows without locks: with one worker a seed gives the same bits each time, with
//! more it does not.
//!
//! Reference: Mikolov et al., Distributed representations of words and phrases and their
//! compositionality, 2013; Recht et al., Hogwild!, 2011.

pub mod format;
pub mod lexicon;
mod random;
pub mod source;
mod step;
pub mod subwords;
mod tables;
pub mod train;
mod window;

pub use format::Vectors;
pub use lexicon::Counter;
pub use source::Sentences;
pub use subwords::Subwords;
pub use train::{Epoch, Options, Report, Trainer};

pub use crate::ngram::Stop;
use crate::{Error, Result};

/// Stands for a word that is not in the vocabulary.
pub const UNKNOWN: u32 = u32::MAX;
/// Longer sentences are cut into such of this many words.
pub const MAX_SENTENCE: usize = 10_000;
/// Rows are padded with zeros to a multiple of this many numbers.
pub const PAD: usize = 16;

fn check(stop: Stop<'_>) -> Result<()> {
    if stop() { Err(Error::Interrupted) } else { Ok(()) }
}
