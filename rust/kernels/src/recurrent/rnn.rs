//! The plain recurrent network, with tanh or relu.
//!
//! forward:  h = f(x W_ih' + b_ih + h_before W_hh' + b_hh)
//! backward: da = dh (1 - h^2) for tanh            da = dh where h > 0, else 0, for relu
//!
//! Reference: Elman, Finding Structure in Time, 1990.

use super::tile::{Ahead, Tile, product};
use super::{Cell, Done, Slopes, Unit};
use crate::simd::Vector;

/// The plain cell; `RELU` chooses its function.
#[derive(Debug, Clone, Copy)]
pub struct Rnn<const RELU: bool>;

impl<const RELU: bool> Cell for Rnn<RELU> {
    const FORWARD: &'static str = if RELU { "rnn_relu_forward" } else { "rnn_tanh_forward" };
    const BACKWARD: &'static str = if RELU { "rnn_relu_backward" } else { "rnn_tanh_backward" };
    const GATES: usize = 1;
    const SPREAD: usize = 2;
    const KEEPS_GATES: bool = false;
    const KEEPS_EXTRA: bool = false;
    const HAS_CELL: bool = false;
    const SPLITS_LAST: bool = false;

    #[inline(always)]
    fn product<V: Vector>(
        rows: usize,
        depth: usize,
        a: &[V::Elem],
        stride: usize,
        b: &[V::Elem],
        ahead: &Ahead,
        tile: &mut Tile<V::Elem>,
    ) {
        product::<V, 2>(rows, depth, a, stride, b, ahead, tile);
    }

    #[inline(always)]
    fn forward<V: Vector>(x: [V; 4], h: [V; 4], _before: V) -> Done<V> {
        let a = x[0].add(h[0]);
        // `max` gives its argument where that is NaN.
        let h = if RELU { V::zero().max(a) } else { a.tanh() };
        Done { gates: [h; 4], extra: h, h }
    }

    #[inline(always)]
    fn backward<V: Vector>(unit: Unit<V>, dh: V, carry: V) -> Slopes<V> {
        let da = if RELU {
            V::select(V::zero().lt(unit.h), dh, V::zero())
        } else {
            dh.mul(unit.h.neg_mul_add(unit.h, V::of(1.0)))
        };
        Slopes { gates: [da; 4], last: da, carry }
    }
}
