//! Tiles, masks and grouped heads against the definition written out.

use lamina_kernels::attention::{Inputs, Mask, backward, backward_split, forward, split};
use lamina_kernels::{Element, threads};
use ndarray::{Array3, Array4, ArrayView4, Axis, s};

use crate::noise;

fn hidden(x: &Inputs<'_, f64>, b: usize, h: usize, t: usize, j: usize) -> f64 {
    let at = |shape: &[usize]| [b.min(shape[0] - 1), h.min(shape[1] - 1), t, j];
    let masked = match &x.mask {
        Mask::None => 0.0,
        Mask::Keep(mask) if mask[at(mask.shape())] => 0.0,
        Mask::Keep(_) => f64::NEG_INFINITY,
        Mask::Add(mask) => mask[at(mask.shape())],
    };
    if x.causal && j > t { f64::NEG_INFINITY } else { masked }
}

/// Output, `lse` and gradients by the definition, `[B, H, T, D]` each.
fn plain(
    x: &Inputs<'_, f64>,
    dy: &Array4<f64>,
) -> (Array4<f64>, Array3<f64>, Array4<f64>, Array4<f64>, Array4<f64>) {
    let (b, heads, t, _) = x.q.dim();
    let (_, kv_heads, keys, dv) = x.v.dim();
    let mut y = Array4::zeros((b, heads, t, dv));
    let mut lse = Array3::zeros((b, heads, t));
    let mut dq = Array4::zeros(x.q.raw_dim());
    let mut dk = Array4::zeros(x.k.raw_dim());
    let mut dvalue = Array4::zeros(x.v.raw_dim());
    for (b, h, i) in ndarray::indices((b, heads, t)) {
        let kv = h / (heads / kv_heads);
        let q = x.q.slice(s![b, h, i, ..]);
        let k = x.k.slice(s![b, kv, .., ..]);
        let v = x.v.slice(s![b, kv, .., ..]);
        let mut scores = k.dot(&q) * x.scale;
        for j in 0..keys {
            scores[j] += hidden(x, b, h, i, j);
        }
        let max = scores.fold(f64::NEG_INFINITY, |max, &x| max.max(x));
        let p = scores.mapv(|x| if max.is_infinite() { 0.0 } else { (x - max).exp() });
        let sum = p.sum();
        lse[[b, h, i]] = max + sum.ln();
        let p = p / if sum == 0.0 { 1.0 } else { sum };
        let out = p.dot(&v);
        let dout = dy.slice(s![b, h, i, ..]);
        let ds = &p * &(v.dot(&dout) - dout.dot(&out));
        dq.slice_mut(s![b, h, i, ..]).assign(&(ds.dot(&k) * x.scale));
        for j in 0..keys {
            dk.slice_mut(s![b, kv, j, ..]).scaled_add(ds[j] * x.scale, &q);
            dvalue.slice_mut(s![b, kv, j, ..]).scaled_add(p[j], &dout);
        }
        y.slice_mut(s![b, h, i, ..]).assign(&out);
    }
    (y, lse, dq, dk, dvalue)
}

fn close<T: Element, D: ndarray::Dimension>(
    name: &str,
    got: &ndarray::ArrayView<'_, T, D>,
    expected: &ndarray::Array<f64, D>,
    tolerance: f64,
) {
    assert_eq!(got.shape(), expected.shape(), "{name}");
    let scale = expected.iter().filter(|x| x.is_finite()).fold(1e-30f64, |a, x| a.max(x.abs()));
    for (index, (got, &expected)) in got.iter().zip(expected).enumerate() {
        let error = (got.f64() - expected).abs();
        let same = got.f64() == expected;
        assert!(same || error <= tolerance * scale, "{name} {index}: {got} not {expected}");
    }
}

/// `[B, T, H, D]` seen as `[B, H, T, D]`.
fn by_head<T>(x: &Array4<T>) -> ArrayView4<'_, T> {
    x.view().permuted_axes([0, 2, 1, 3])
}

fn check<T: Element>(x: &Inputs<'_, T>, tolerance: f64) {
    let double = |x: ArrayView4<'_, T>| x.mapv(Element::f64);
    let (q, k, v) = (double(x.q), double(x.k), double(x.v));
    let add;
    let mask = match x.mask {
        Mask::None => Mask::None,
        Mask::Keep(mask) => Mask::Keep(mask),
        Mask::Add(mask) => {
            add = double(mask);
            Mask::Add(add.view())
        }
    };
    let exact =
        Inputs { q: q.view(), k: k.view(), v: v.view(), mask, causal: x.causal, scale: x.scale };
    let (b, h, t, _) = x.q.dim();
    let dy = noise::<T, _>([b, h, t, v.dim().3], 9);
    let expected = plain(&exact, &double(dy.view()));
    let (y, lse) = forward(x).unwrap();
    close("y", &by_head(&y), &expected.0, tolerance);
    close("lse", &lse.view(), &expected.1, tolerance);
    let (dq, dk, dv) = backward(dy.view(), x, by_head(&y), lse.view()).unwrap();
    close("dq", &by_head(&dq), &expected.2, tolerance);
    close("dk", &by_head(&dk), &expected.3, tolerance);
    close("dv", &by_head(&dv), &expected.4, tolerance);
}

fn check_both(sizes: [usize; 7], causal: bool, mask: &str) {
    fn run<T: Element>(sizes: [usize; 7], causal: bool, mask: &str, tolerance: f64) {
        let [b, h, hk, t, keys, d, dv] = sizes;
        let q = noise::<T, _>([b, h, t, d], 1) * T::of(3.0);
        let k = noise::<T, _>([b, hk, keys, d], 2);
        let v = noise::<T, _>([b, hk, keys, dv], 3);
        let batch = if mask == "keep" { 1 } else { b };
        let add = noise::<T, _>([b, 1, t, keys], 4);
        let keep = noise::<f64, _>([batch, h, t, keys], 5).mapv(|x| x > -0.3);
        let mask = match mask {
            "keep" => Mask::Keep(keep.view()),
            "add" => Mask::Add(add.view()),
            _ => Mask::None,
        };
        let scale = 0.7 / (d as f64).sqrt();
        check(&Inputs { q: q.view(), k: k.view(), v: v.view(), mask, causal, scale }, tolerance);
    }
    run::<f64>(sizes, causal, mask, 1e-12);
    run::<f32>(sizes, causal, mask, 3e-6);
}

#[test]
fn agrees_with_the_definition() {
    for causal in [false, true] {
        for mask in ["none", "keep", "add"] {
            check_both([1, 1, 1, 1, 1, 1, 1], causal, mask);
            check_both([2, 4, 4, 64, 64, 32, 32], causal, mask);
            check_both([2, 3, 3, 7, 5, 8, 8], causal, mask);
            check_both([1, 4, 2, 33, 33, 24, 17], causal, mask);
            check_both([1, 6, 2, 5, 140, 5, 50], causal, mask);
            check_both([1, 2, 1, 130, 70, 67, 3], causal, mask);
            check_both([1, 1, 1, 600, 650, 16, 16], causal, mask);
            // Few queries.
            if !causal {
                // Few keys are seen otherwise, of one of which the gradient is zero: nothing is close to it.
                check_both([2, 3, 3, 1, 700, 64, 64], causal, mask);
                check_both([1, 8, 2, 1, 37, 5, 77], causal, mask);
                check_both([1, 2, 1, 2, 130, 16, 40], causal, mask);
            }
            check_both([2, 2, 2, 4, 3, 33, 20], causal, mask);
        }
    }
}

#[test]
fn any_strides() {
    let empty = noise::<f32, _>([2, 4, 0, 32], 1);
    // Rows of 32 numbers are read where they are, unless they go backwards.
    for (width, step) in [(32, 1), (32, -1), (20, -1)] {
        let packed = noise::<f32, _>([2, 19, 3 * 4, width], 7);
        let part = |i: usize| packed.slice(s![.., ..;step, i * 4..(i + 1) * 4, ..]);
        let [q, k, v] = [0, 1, 2].map(|i| part(i).permuted_axes([0, 2, 1, 3]));
        for causal in [false, true] {
            let x = Inputs { q, k, v, mask: Mask::None, causal, scale: 0.3 };
            check(&x, 3e-6);
            let none = empty.slice(s![.., .., ..;step, ..width]);
            check(&Inputs { q: none, ..x }, 3e-6);
            check(&Inputs { k: none, v: none, ..x }, 3e-6);
        }
    }
    let last = noise::<f32, _>([2, 4, 20, 19], 8);
    let q = last.view().permuted_axes([0, 1, 3, 2]);
    check(&Inputs { q, k: q, v: q, mask: Mask::None, causal: true, scale: 0.3 }, 3e-6);
}

#[test]
fn one_packed_array_equals_three() {
    for step in [1isize, -1] {
        let (heads, kv, d) = (4, 2, 6);
        let qkv = noise::<f32, _>([1, 2, 9, (heads + 2 * kv) * d], 3);
        let qkv = qkv.index_axis(Axis(0), 0);
        let qkv = qkv.slice(s![.., ..;step, ..]);
        let (q, k, v) = split("test", qkv, heads, kv).unwrap();
        assert_eq!(k[[1, 1, 2, 3]], qkv[[1, 2, (heads + 1) * d + 3]]);
        let x = Inputs { q, k, v, mask: Mask::None, causal: true, scale: 0.5 };
        check(&x, 3e-6);
        let (y, lse) = forward(&x).unwrap();
        let dy = noise([2, heads, 9, d], 5);
        let (dq, dk, dv) = backward(dy.view(), &x, by_head(&y), lse.view()).unwrap();
        let dqkv = backward_split(dy.view(), &x, by_head(&y), lse.view()).unwrap();
        let (a, b, c) = split("test", dqkv.view(), heads, kv).unwrap();
        assert_eq!((a, b, c), (by_head(&dq), by_head(&dk), by_head(&dv)));
    }
    let narrow = Array3::<f32>::zeros((1, 1, 7));
    assert_eq!(
        split("test", narrow.view(), 1, 1).unwrap_err().to_string(),
        "[test] qkv: expected a last axis that is a multiple of 1 + 2 * 1 heads, got 7"
    );
}

#[test]
fn queries_without_keys_give_zeros() {
    let q = noise::<f32, _>([1, 1, 3, 4], 1);
    let k = noise::<f32, _>([1, 1, 2, 4], 2);
    let mut add = Array4::zeros((1, 1, 3, 2));
    add.slice_mut(s![0, 0, 1, ..]).fill(f32::NEG_INFINITY);
    let mask = Mask::Add(add.view());
    let x = Inputs { q: q.view(), k: k.view(), v: k.view(), mask, causal: false, scale: 0.5 };
    check(&x, 1e-6);
    let (y, lse) = forward(&x).unwrap();
    assert!(y.slice(s![0, 1, 0, ..]).iter().all(|&y| y == 0.0));
    assert_eq!(lse[[0, 0, 1]], f32::NEG_INFINITY);
    for causal in [false, true] {
        let none = k.slice(s![.., .., ..0, ..]);
        let x = Inputs { q: q.view(), k: none, v: none, mask: Mask::None, causal, scale: 0.5 };
        check(&x, 1e-6);
    }
}

#[test]
fn large_scores_stay_finite() {
    let q = noise::<f32, _>([1, 2, 150, 8], 1) * 1e2;
    let k = noise::<f32, _>([1, 2, 150, 8], 2) * 1e2;
    let mask = Mask::None;
    let x = Inputs { q: q.view(), k: k.view(), v: k.view(), mask, causal: true, scale: 1.0 };
    let (y, lse) = forward(&x).unwrap();
    assert!(y.iter().chain(&lse).all(|y| y.is_finite()));
    let (dq, dk, dv) = backward(by_head(&y), &x, by_head(&y), lse.view()).unwrap();
    assert!(dq.iter().chain(&dk).chain(&dv).all(|y| y.is_finite()));
}

#[test]
fn the_same_bits_for_any_number_of_threads() {
    let q = noise::<f32, _>([1, 2, 700, 16], 1);
    let k = noise::<f32, _>([1, 1, 700, 16], 2);
    let mask = Mask::None;
    let x = Inputs { q: q.view(), k: k.view(), v: k.view(), mask, causal: true, scale: 0.25 };
    let all = |n| {
        threads::set_num_threads(n);
        let (y, lse) = forward(&x).unwrap();
        let gradients = backward(q.view(), &x, by_head(&y), lse.view()).unwrap();
        (y, lse, gradients)
    };
    let one = all(1);
    assert!(one == all(2) && one == all(3));
}

#[test]
fn shapes_must_agree() {
    let q = noise::<f32, _>([2, 4, 3, 8], 1);
    let k = noise::<f32, _>([2, 3, 5, 8], 2);
    let mask = Mask::None;
    let x = Inputs { q: q.view(), k: k.view(), v: k.view(), mask, causal: false, scale: 1.0 };
    let message = |x: &Inputs<'_, f32>| forward(x).unwrap_err().to_string();
    assert_eq!(
        message(&x),
        "[attention_forward] k: expected a number of heads that divides 4, got 3"
    );
    let k = k.slice(s![.., ..2, .., ..]);
    let short = k.slice(s![.., .., ..4, ..]);
    assert_eq!(
        message(&Inputs { k, v: short, ..x }),
        "[attention_forward] v: expected shape [2, 2, 5, 8], got [2, 2, 4, 8]"
    );
    let keep = Array4::from_elem((2, 3, 3, 5), true);
    assert_eq!(
        message(&Inputs { k, v: k, mask: Mask::Keep(keep.view()), ..x }),
        "[attention_forward] mask: expected shape [2, 4, 3, 5], got [2, 3, 3, 5]"
    );
}
