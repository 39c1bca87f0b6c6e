//! Numerical kernels of lamina.
//!
//! One file per subject, each with its equations, a forward and a backward function. Threads run
//! outside, vector code inside: a kernel cuts its work into chunks that depend on the shape alone,
//! hands them to [`threads`], and each chunk calls a function made by [`vectorized!`].

pub mod activation;
pub mod arithmetic;
pub mod attention;
pub mod conv;
pub mod cross_entropy;
pub mod ctc;
pub mod dropout;
pub mod element;
pub mod embedding;
pub mod error;
pub mod glu;
// The unit tests need few of them.
#[cfg(not(test))]
pub mod instances;
pub mod interpolation;
pub mod layout;
pub mod loss;
pub mod machine;
pub mod matmul;
pub mod memory;
pub mod norm;
pub mod optimizer;
pub mod order;
mod planes;
pub mod pooling;
pub mod recurrent;
pub mod reduction;
pub mod selection;
pub mod simd;
pub mod softmax;
pub mod threads;
mod walk;
pub mod watcher;

pub use element::Element;
pub use error::{Error, Result, check_shape};
