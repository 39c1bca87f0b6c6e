//! What is done to each pair of elements.

use crate::simd::Vector;

/// An operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `a + b`.
    Add,
    /// `a - b`.
    Subtract,
    /// `a * b`.
    Multiply,
    /// `a / b`.
    Divide,
    /// The larger; NaN where either is.
    Maximum,
    /// The smaller; NaN where either is.
    Minimum,
}

/// An operation as a type, which a loop is compiled for.
pub(super) trait Pairwise {
    fn of<V: Vector>(a: V, b: V) -> V;
}

macro_rules! operation {
    ($name:ident, |$a:ident, $b:ident| $result:expr) => {
        pub(super) struct $name;

        impl Pairwise for $name {
            #[inline(always)]
            fn of<V: Vector>($a: V, $b: V) -> V {
                $result
            }
        }
    };
}

operation!(Add, |a, b| a.add(b));
operation!(Subtract, |a, b| a.sub(b));
operation!(Multiply, |a, b| a.mul(b));
operation!(Divide, |a, b| a.div(b));
operation!(Maximum, |a, b| a.larger(b));
operation!(Minimum, |a, b| a.smaller(b));
