//! Scaled dot-product attention, in tiles that stay in the cache.
//!
//! forward:   s = scale * q k' + mask    lse = ln sum exp(s)    p = exp(s - lse)    y = p v
//! backward:  dp = dy v'    ds = p * (dp - sum(dy * y))
//!            dq = scale * ds k    dk = scale * ds' q    dv = p' dy
//!
//! Scores are held in units of ln 2, for which powers of two serve instead of exponentials.
//! Only `y` and `lse` are kept; the backward pass computes each tile of `p` again. Queries whose
//! keys are all masked give zeros, and so do their gradients.
//!
//! Sizes: B batch, H heads of queries, Hk heads of keys and values (H is a multiple of Hk),
//! T queries, S keys, D numbers in a query or key, Dv in a value.
//!
//! Reference: Dao et al., FlashAttention, 2022; Milakov & Gimelshein, Online normalizer
//! calculation for softmax, 2018.

mod backward;
mod few;
mod forward;
mod rows;
mod tile;

use std::f64::consts::LOG2_E;

use ndarray::{Array3, Array4, ArrayView3, ArrayView4, Axis};

use crate::threads::Shared;
use crate::{Element, Error, Result, check_shape, memory};
use rows::{Rows, RowsMut, contiguous};

/// Which keys a query sees, beside the causal rule: `[B or 1, H or 1, T, S]`.
#[derive(Debug, Clone, Copy)]
pub enum Mask<'a, T> {
    /// All of them.
    None,
    /// Those that are true.
    Keep(ArrayView4<'a, bool>),
    /// The number is added to the score; `-inf` hides the key.
    Add(ArrayView4<'a, T>),
}

/// What attention is computed of. The arrays may have any strides; it is fastest where the last
/// axis is contiguous.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a, T> {
    /// Queries `[B, H, T, D]`.
    pub q: ArrayView4<'a, T>,
    /// Keys `[B, Hk, S, D]`.
    pub k: ArrayView4<'a, T>,
    /// Values `[B, Hk, S, Dv]`.
    pub v: ArrayView4<'a, T>,
    /// Which keys each query sees.
    pub mask: Mask<'a, T>,
    /// Whether query t sees only keys 0 to t.
    pub causal: bool,
    /// Factor of the scores.
    pub scale: f64,
}

/// The lengths of all axes.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    b: usize,
    h: usize,
    hk: usize,
    t: usize,
    s: usize,
    d: usize,
    dv: usize,
}

impl Sizes {
    /// Query heads that share one head of keys.
    fn group(&self) -> usize {
        self.h / self.hk
    }

    /// Simple operations of the forward pass.
    fn cost(&self) -> usize {
        let pairs = self.b.saturating_mul(self.h).saturating_mul(self.t).saturating_mul(self.s);
        pairs.saturating_mul(self.d + self.dv + 16) / 16
    }

    /// Parts into which an axis of `length` is cut so that there are tasks enough for many
    /// threads: their length, a multiple of `unit`.
    fn part(&self, length: usize, unit: usize) -> usize {
        const TASKS: usize = 16;
        const SHORTEST: usize = 256;
        let parts = TASKS.div_ceil((self.b * self.hk).max(1));
        length.div_ceil(parts).max(SHORTEST).min(length.max(1)).next_multiple_of(unit)
    }
}

/// Inputs whose rows are contiguous, and their sizes.
struct Problem<'a, T> {
    q: Rows<'a, T>,
    k: Rows<'a, T>,
    v: Rows<'a, T>,
    mask: RowMask<'a, T>,
    causal: bool,
    /// Factor of the queries: `scale / ln 2`.
    scale: T,
    sizes: Sizes,
}

enum RowMask<'a, T> {
    None,
    Keep(Rows<'a, u8>),
    Add(Rows<'a, T>),
}

impl<T> Inputs<'_, T> {
    /// Simple operations of the forward pass, about a nanosecond each; the backward pass has three
    /// times as many.
    pub fn cost(&self) -> usize {
        let ((b, h, t, d), (_, hk, s, dv)) = (self.q.dim(), self.v.dim());
        Sizes { b, h, hk, t, s, d, dv }.cost()
    }

    fn sizes(&self, op: &'static str) -> Result<Sizes> {
        let (b, h, t, d) = self.q.dim();
        let ((_, hk, s, _), dv) = (self.k.dim(), self.v.dim().3);
        check_shape(op, "k", &[b, hk, s, d], self.k.shape())?;
        check_shape(op, "v", &[b, hk, s, dv], self.v.shape())?;
        if hk == 0 || h % hk != 0 {
            let message = format!("expected a number of heads that divides {h}, got {hk}");
            return Err(Error::value(op, "k", message));
        }
        let mask = match &self.mask {
            Mask::None => return Ok(Sizes { b, h, hk, t, s, d, dv }),
            Mask::Keep(mask) => mask.shape(),
            Mask::Add(mask) => mask.shape(),
        };
        let batch = if mask[0] == 1 { 1 } else { b };
        let heads = if mask[1] == 1 { 1 } else { h };
        check_shape(op, "mask", &[batch, heads, t, s], mask)?;
        Ok(Sizes { b, h, hk, t, s, d, dv })
    }
}

/// Calls `run` with the rows of the inputs, copied where they are not contiguous.
fn with_rows<T: Element, R>(
    op: &'static str,
    x: &Inputs<'_, T>,
    run: impl FnOnce(&Problem<'_, T>) -> Result<R>,
) -> Result<R> {
    let sizes = x.sizes(op)?;
    let (q, k, v) = (contiguous(x.q), contiguous(x.k), contiguous(x.v));
    let (keep, add);
    let mask = match x.mask {
        Mask::None => RowMask::None,
        Mask::Keep(mask) => {
            keep = contiguous(mask);
            RowMask::Keep(Rows::of_bool(keep.view()))
        }
        Mask::Add(mask) => {
            add = contiguous(mask);
            RowMask::Add(Rows::new(add.view()))
        }
    };
    run(&Problem {
        q: Rows::new(q.view()),
        k: Rows::new(k.view()),
        v: Rows::new(v.view()),
        mask,
        causal: x.causal,
        scale: T::of(x.scale * LOG2_E),
        sizes,
    })
}

/// The output `y` `[B, T, H, Dv]` and the row-wise `lse` `[B, H, T]` that the backward pass needs.
pub fn forward<T: Element>(x: &Inputs<'_, T>) -> Result<(Array4<T>, Array3<T>)> {
    with_rows("attention_forward", x, |x| {
        let Sizes { b, h, t, dv, .. } = x.sizes;
        let mut y = memory::unfilled_array((b, t, h, dv));
        let mut lse = memory::unfilled_array((b, h, t));
        let rows = RowsMut::by_query(shared(&mut y), 0, [t, h, dv]);
        if few::suits(&x.sizes) {
            few::run(x, &rows, shared(&mut lse));
        } else {
            forward::run(x, &rows, shared(&mut lse));
        }
        Ok((y, lse))
    })
}

/// Gradients `dq` `[B, T, H, D]`, `dk` `[B, S, Hk, D]`, `dv` `[B, S, Hk, Dv]` from that of the output,
/// `dy`, and the output `y`, both `[B, H, T, Dv]` of any strides, and `lse` `[B, H, T]`.
pub fn backward<T: Element>(
    dy: ArrayView4<'_, T>,
    x: &Inputs<'_, T>,
    y: ArrayView4<'_, T>,
    lse: ArrayView3<'_, T>,
) -> Result<(Array4<T>, Array4<T>, Array4<T>)> {
    with_rows("attention_backward", x, |x| {
        let Sizes { b, h, hk, t, s, d, dv } = x.sizes;
        let (dy, y, lse) = saved("attention_backward", &x.sizes, dy, y, lse)?;
        let mut dq = memory::unfilled_array((b, t, h, d));
        let mut dk = memory::unfilled_array((b, s, hk, d));
        let mut dvalue = memory::unfilled_array((b, s, hk, dv));
        let outputs = backward::Outputs {
            dq: RowsMut::by_query(shared(&mut dq), 0, [t, h, d]),
            dk: RowsMut::by_query(shared(&mut dk), 0, [s, hk, d]),
            dv: RowsMut::by_query(shared(&mut dvalue), 0, [s, hk, dv]),
        };
        let lse = lse.as_slice().expect("standard layout");
        backward::run(x, &Rows::new(dy.view()), &Rows::new(y.view()), lse, &outputs);
        Ok((dq, dk, dvalue))
    })
}

/// Views of the queries, keys and values in `qkv` `[B, T, (H + 2 Hk) D]`, which holds for each
/// token the queries of all heads, then the keys, then the values.
pub fn split<'a, T>(
    op: &'static str,
    qkv: ArrayView3<'a, T>,
    heads: usize,
    kv_heads: usize,
) -> Result<(ArrayView4<'a, T>, ArrayView4<'a, T>, ArrayView4<'a, T>)> {
    let (b, t, width) = qkv.dim();
    let total = kv_heads.checked_mul(2).and_then(|n| n.checked_add(heads)).unwrap_or(0);
    if heads == 0 || kv_heads == 0 || total == 0 || width % total != 0 {
        let message = format!(
            "expected a last axis that is a multiple of {heads} + 2 * {kv_heads} heads, got {width}"
        );
        return Err(Error::value(op, "qkv", message));
    }
    // The last axis is cut in two, which any strides allow.
    let strides = qkv.strides();
    let [batch, token, number] = [strides[0], strides[1], strides[2]];
    let d = width / total;
    let cut = |first: usize, count: usize| {
        let (_, rest) = qkv.split_at(Axis(2), first * d);
        let (part, _) = rest.split_at(Axis(2), count * d);
        rows::heads(part, [b, count, t, d], [batch, number * d as isize, token, number])
    };
    Ok((cut(0, heads), cut(heads, kv_heads), cut(heads + kv_heads, kv_heads)))
}

/// Like [`backward`] for inputs that [`split`] took from one array: its gradient
/// `[B, T, (H + 2 Hk) D]`.
pub fn backward_split<T: Element>(
    dy: ArrayView4<'_, T>,
    x: &Inputs<'_, T>,
    y: ArrayView4<'_, T>,
    lse: ArrayView3<'_, T>,
) -> Result<Array3<T>> {
    with_rows("self_attention_backward", x, |x| {
        let Sizes { b, h, hk, t, d, .. } = x.sizes;
        check_shape("self_attention_backward", "k", &[t, d], &[x.sizes.s, x.sizes.dv])?;
        let (dy, y, lse) = saved("self_attention_backward", &x.sizes, dy, y, lse)?;
        let total = h + 2 * hk;
        let mut dqkv = memory::unfilled_array((b, t, total * d));
        let whole = shared(&mut dqkv);
        let part = |first: usize| RowsMut::by_query(whole, first * d, [t, total, d]);
        let outputs = backward::Outputs { dq: part(0), dk: part(h), dv: part(h + hk) };
        let lse = lse.as_slice().expect("standard layout");
        backward::run(x, &Rows::new(dy.view()), &Rows::new(y.view()), lse, &outputs);
        Ok(dqkv)
    })
}

fn shared<T: Element, D: ndarray::Dimension>(array: &mut ndarray::Array<T, D>) -> Shared<T> {
    Shared::new(array.as_slice_mut().expect("a new array"))
}

type Saved<'a, T> = (
    ndarray::CowArray<'a, T, ndarray::Ix4>,
    ndarray::CowArray<'a, T, ndarray::Ix4>,
    ndarray::CowArray<'a, T, ndarray::Ix3>,
);

/// What the forward pass left, with its shapes checked.
fn saved<'a, T: Element>(
    op: &'static str,
    sizes: &Sizes,
    dy: ArrayView4<'a, T>,
    y: ArrayView4<'a, T>,
    lse: ArrayView3<'a, T>,
) -> Result<Saved<'a, T>> {
    let expected = [sizes.b, sizes.h, sizes.t, sizes.dv];
    check_shape(op, "y", &expected, y.shape())?;
    check_shape(op, "dy", &expected, dy.shape())?;
    check_shape(op, "lse", &expected[..3], lse.shape())?;
    let lse = if lse.is_standard_layout() {
        lse.into()
    } else {
        lse.as_standard_layout().into_owned().into()
    };
    Ok((contiguous(dy), contiguous(y), lse))
}
