//! Statistical models of lamina: n-grams, hidden Markov models, conditional random fields, word
//! vectors and measures of information.
//!
//! They stand on the pool of threads, the vectors, the memory and the errors of `lamina-kernels`,
//! and are a crate of their own so that a change to one compiles in seconds.

pub mod buffer;
pub mod crf;
mod files;
mod hash;
pub mod hmm;
pub mod ngram;
pub mod scratch;
pub mod word2vec;

pub(crate) use lamina_kernels::{Error, Result, threads};
