//! Long short-term memory, gates in the order i, f, g, o.
//!
//! forward:  i, f, o = sigmoid(x W_ih' + b_ih + h W_hh' + b_hh)    g = tanh(the same)
//!           c = f c_before + i g                                  h = o tanh(c)
//! backward: do = dh tanh(c) o (1 - o)             dc = dc_after + dh o (1 - tanh(c)^2)
//!           di = dc g i (1 - i)   df = dc c_before f (1 - f)   dg = dc i (1 - g^2)
//!           dc_before = dc f
//!
//! Reference: Hochreiter & Schmidhuber, Long Short-Term Memory, 1997; Gers et al., 2000.

use super::tile::{Ahead, Tile, product, spread};
use super::{Cell, Done, Slopes, Unit};
use crate::simd::Vector;

/// The long short-term memory cell.
#[derive(Debug, Clone, Copy)]
pub struct Lstm;

impl Cell for Lstm {
    const FORWARD: &'static str = "lstm_forward";
    const BACKWARD: &'static str = "lstm_backward";
    const GATES: usize = 4;
    const SPREAD: usize = 1;
    const KEEPS_GATES: bool = true;
    const KEEPS_EXTRA: bool = true;
    const HAS_CELL: bool = true;
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
        if spread::<Self>(V::LANES) == 1 {
            product::<V, 4>(rows, depth, a, stride, b, ahead, tile);
        } else {
            product::<V, 8>(rows, depth, a, stride, b, ahead, tile);
        }
    }

    #[inline(always)]
    fn forward<V: Vector>(x: [V; 4], h: [V; 4], before: V) -> Done<V> {
        let i = x[0].add(h[0]).sigmoid();
        let f = x[1].add(h[1]).sigmoid();
        let g = x[2].add(h[2]).tanh();
        let o = x[3].add(h[3]).sigmoid();
        let c = f.mul_add(before, i.mul(g));
        Done { gates: [i, f, g, o], extra: c, h: o.mul(c.tanh()) }
    }

    #[inline(always)]
    fn backward<V: Vector>(unit: Unit<V>, dh: V, carry: V) -> Slopes<V> {
        let [i, f, g, o] = unit.gates;
        let one = V::of(1.0);
        let tanh = unit.extra.tanh();
        let dc = dh.mul(o).mul_add(tanh.neg_mul_add(tanh, one), carry);
        let di = dc.mul(g).mul(i.neg_mul_add(i, i));
        let df = dc.mul(unit.before).mul(f.neg_mul_add(f, f));
        let dg = dc.mul(i).mul(g.neg_mul_add(g, one));
        let d_o = dh.mul(tanh).mul(o.neg_mul_add(o, o));
        Slopes { gates: [di, df, dg, d_o], last: d_o, carry: dc.mul(f) }
    }
}
