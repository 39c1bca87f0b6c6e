//! Kernels by what they promise to the crates above. Tests of what only the crate sees are in its
//! files: here the kernels of the library are linked, there those that a test calls are compiled again.

use lamina_kernels::Element;
use ndarray::{Array, ShapeBuilder};

mod activation;
mod arithmetic;
mod attention;
mod conv;
mod cross_entropy;
mod ctc;
mod embedding;
mod glu;
mod interpolation;
mod layout;
mod loss;
mod matmul;
mod norm;
mod optimizer;
mod order;
mod pooling;
mod recurrent;
mod reduction;
mod selection;
mod softmax;

/// Numbers without pattern in `[-1, 1)`, the same ones for the same seed.
fn noise<T: Element, Sh: ShapeBuilder>(shape: Sh, seed: u32) -> Array<T, Sh::Dim> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    Array::from_shape_simple_fn(shape, || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        T::of(f64::from(state >> 8) / 8_388_608.0 - 1.0)
    })
}
