//! Tokenizers of lamina: Hugging Face's crate behind one type, and byte-pair encoding learnt with
//! it.
//!
//! The crate's own thread pool stays off, because it does not survive a fork: texts are cut into
//! pieces here and encoded on the kernels' threads. A caller goes through the pieces block by
//! block and can stop between two.

pub mod bpe;
mod guard;
pub mod pieces;
pub mod tokenizer;

pub use tokenizer::Tokenizer;

pub(crate) use lamina_kernels::{Error, Result, threads};

/// Simple operations that one byte of text costs, roughly.
pub const COST: usize = 100;
