//! Linear-chain conditional random fields.
//!
//! For a sequence x of items and its labels y, with the weights w of attributes seen with labels and
//! those of pairs of labels:
//!   score(y | x) = sum over t of [sum over a in x_t of value(a) w(a, y_t)] + w(y_(t-1), y_t)
//!   p(y | x) = e^score(y | x) / Z(x),   Z(x) = sum over all y' of e^score(y' | x)
//! Text becomes ids ([`names`], [`data`]), those tell which weights there are ([`features`]); a
//! trainer ([`train`]) finds them on sums over all labellings ([`lattice`], [`objective`]) or on
//! the best one ([`viterbi`]); the finished [`Model`] labels, and explains itself.
//! Reference: Lafferty, McCallum & Pereira, Conditional Random Fields, 2001.

pub mod data;
pub mod features;
pub mod lattice;
pub mod layer;
mod lbfgs;
pub mod model;
pub mod names;
pub mod objective;
mod online;
mod sgd;
pub mod tag;
pub mod train;
mod vectors;
pub mod viterbi;

pub use data::Data;
pub use features::Features;
pub use model::Model;
pub use names::Names;
pub use sgd::adapt;
pub use train::{Algorithm, Iteration, Options};

use crate::{Error, Result};

/// Most labels: there may be a weight for each pair, and a dozen vectors of them.
pub const MAX_LABELS: usize = 1 << 12;
/// Most weights: their places take four bytes.
pub const MAX_WEIGHTS: usize = 1 << 31;

/// Asks the caller whether long work should end; called every few dozen milliseconds.
pub type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

fn check(stop: Stop<'_>) -> Result<()> {
    if stop() { Err(Error::Interrupted) } else { Ok(()) }
}
