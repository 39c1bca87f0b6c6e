//! Gated recurrent unit, gates in the order r, z, n, with the bias `b_hn` inside the reset gate.
//!
//! forward:  r, z = sigmoid(x W_ih' + b_ih + h W_hh' + b_hh)
//!           n = tanh(x W_in' + b_in + r (h W_hn' + b_hn))        h = (1 - z) n + z h_before
//! backward: dn = dh (1 - z) (1 - n^2)             dz = dh (h_before - n) z (1 - z)
//!           dr = dn (h_before W_hn' + b_hn) r (1 - r)
//!           the part of n that comes from the state: dn r         dh_before = dh z + the products
//!
//! Reference: Cho et al., Learning Phrase Representations using RNN Encoder-Decoder, 2014.

use super::tile::{Ahead, Tile, product, spread};
use super::{Cell, Done, Slopes, Unit};
use crate::simd::Vector;

/// The gated recurrent unit.
#[derive(Debug, Clone, Copy)]
pub struct Gru;

impl Cell for Gru {
    const FORWARD: &'static str = "gru_forward";
    const BACKWARD: &'static str = "gru_backward";
    const GATES: usize = 3;
    const SPREAD: usize = 1;
    const KEEPS_GATES: bool = true;
    const KEEPS_EXTRA: bool = true;
    const HAS_CELL: bool = false;
    const SPLITS_LAST: bool = true;

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
            product::<V, 3>(rows, depth, a, stride, b, ahead, tile);
        } else {
            product::<V, 6>(rows, depth, a, stride, b, ahead, tile);
        }
    }

    #[inline(always)]
    fn forward<V: Vector>(x: [V; 4], h: [V; 4], before: V) -> Done<V> {
        let r = x[0].add(h[0]).sigmoid();
        let z = x[1].add(h[1]).sigmoid();
        let n = r.mul_add(h[2], x[2]).tanh();
        Done { gates: [r, z, n, n], extra: h[2], h: z.mul_add(before.sub(n), n) }
    }

    #[inline(always)]
    fn backward<V: Vector>(unit: Unit<V>, dh: V, carry: V) -> Slopes<V> {
        let [r, z, n, _] = unit.gates;
        let one = V::of(1.0);
        let dh = dh.add(carry);
        let dn = z.neg_mul_add(dh, dh).mul(n.neg_mul_add(n, one));
        let dz = dh.mul(unit.before.sub(n)).mul(z.neg_mul_add(z, z));
        let dr = dn.mul(unit.extra).mul(r.neg_mul_add(r, r));
        Slopes { gates: [dr, dz, dn, dn], last: dn.mul(r), carry: dh.mul(z) }
    }
}
