//! Kernels by what they promise to the crates above. Tests of what only the crate sees are in its
//! files: here the kernels of the library are linked, there those that a test calls are compiled again.

mod activation;
mod arithmetic;
mod attention;
mod conv;
mod cross_entropy;
mod ctc;
mod embedding;
mod loss;
mod matmul;
mod norm;
mod optimizer;
mod pooling;
mod recurrent;
mod reduction;
mod softmax;
