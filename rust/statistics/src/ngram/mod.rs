//! N-gram language models: counting, modified Kneser-Ney estimates, ARPA files, scoring.
//!
//! Text becomes ids ([`vocab`]), ids become sorted n-grams ([`sort`], [`count`]), those become a trie
//! ([`trie`]) whose nodes get probabilities ([`kneser_ney`]); the finished [`Model`] answers queries
//! ([`score`]) and travels as an ARPA file ([`arpa`], [`arpa_read`]).

pub mod arpa;
pub mod arpa_read;
mod backward;
mod batch;
mod binary;
pub mod compact;
pub mod container;
pub mod count;
mod cutoff;
mod entropy;
pub mod form;
mod keys;
pub mod kneser_ney;
pub mod mix;
pub mod normalise;
mod packed;
pub mod probing;
mod quantize;
pub mod query;
pub mod score;
pub mod shard;
pub mod smoothing;
mod sort;
pub mod state;
mod text;
pub mod trie;
pub mod vocab;
pub mod words;

pub use compact::Compact;
pub use count::{Counts, count};
pub use form::Form;
pub use kneser_ney::{Options, Report, estimate, estimate_in, estimate_to_arpa, estimate_to_file};
pub use mix::mix;
pub use normalise::Sums;
pub use probing::Probing;
pub use query::{Totals, Verbosity};
pub use score::Scores;
pub use shard::Shard;
pub use smoothing::{Smoothing, Weights};
pub use state::{State, Step};
pub use trie::{Level, Model};
pub use vocab::Vocabulary;

use crate::{Error, Result};

/// Id of the unknown word, `<unk>`.
pub const UNKNOWN: u32 = 0;
/// Id of the beginning of a sentence, `<s>`.
pub const BEGIN: u32 = 1;
/// Id of the end of a sentence, `</s>`.
pub const END: u32 = 2;
/// Words with an id of their own below which no other word lies.
pub const SPECIAL: [&str; 3] = ["<unk>", "<s>", "</s>"];
/// Longest n-grams.
pub const MAX_ORDER: usize = 20;
/// Most ids of a model whose words are numbers: each takes about fifty bytes, seen or not.
pub const MAX_NUMBERS: usize = 1 << 24;

/// Asks the caller whether long work should end; called every few dozen milliseconds.
pub type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

fn check(stop: Stop<'_>) -> Result<()> {
    if stop() { Err(Error::Interrupted) } else { Ok(()) }
}

fn check_order(op: &'static str, order: usize) -> Result<()> {
    if (1..=MAX_ORDER).contains(&order) {
        return Ok(());
    }
    Err(Error::value(op, "order", format!("expected 1 to {MAX_ORDER}, got {order}")))
}
