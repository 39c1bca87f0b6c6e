//! Whole sequences against the textbook loop.

use lamina_kernels::recurrent::{Gru, Lstm, Weights, forward};
use ndarray::{Array2, Array3, ArrayView3, Axis, s};

use crate::noise;

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The textbook loop: outputs of one direction of LSTM, `[N, L, H]`, and the last `c`.
fn lstm_plain(
    x: &Array3<f32>,
    h0: &Array2<f32>,
    c0: &Array2<f32>,
    ih: &Array2<f32>,
    hh: &Array2<f32>,
) -> (Array3<f64>, Array2<f64>) {
    let (n, l, d) = x.dim();
    let h = h0.ncols();
    let mut y = Array3::zeros((n, l, h));
    let (mut state, mut c) = (h0.mapv(f64::from), c0.mapv(f64::from));
    for t in 0..l {
        let before = state.clone();
        for i in 0..n {
            for unit in 0..h {
                let mut a = [0.0; 4];
                for (g, a) in a.iter_mut().enumerate() {
                    let row = g * h + unit;
                    *a += (0..d).map(|k| f64::from(x[[i, t, k]] * ih[[row, k]])).sum::<f64>();
                    *a += (0..h).map(|k| before[[i, k]] * f64::from(hh[[row, k]])).sum::<f64>();
                }
                let [i_gate, f, g, o] = [sigmoid(a[0]), sigmoid(a[1]), a[2].tanh(), sigmoid(a[3])];
                c[[i, unit]] = f * c[[i, unit]] + i_gate * g;
                state[[i, unit]] = o * c[[i, unit]].tanh();
                y[[i, t, unit]] = state[[i, unit]];
            }
        }
    }
    (y, c)
}

#[test]
fn lstm_is_the_textbook_loop_at_any_size() {
    for (n, l, d, h) in [(1, 1, 1, 1), (2, 3, 4, 5), (7, 4, 3, 33), (65, 2, 2, 17), (1, 9, 5, 64)] {
        let x = noise((n, l, d), 1) * 0.4;
        let (h0, c0) = (noise((1, n, h), 2) * 0.4, noise((1, n, h), 3) * 0.4);
        let (ih, hh) = (noise((4 * h, d), 4) * 0.4, noise((4 * h, h), 5) * 0.4);
        let weights = [Weights { ih: ih.view(), hh: hh.view(), bias: None }];
        let run = |x: ArrayView3<'_, f32>, batch_first| {
            forward::<f32, Lstm>(x, h0.view(), Some(c0.view()), &weights, batch_first).unwrap()
        };
        let (first, last) = (Axis(0), s![.., l - 1, ..]);
        let got = run(x.view(), true);
        let (y, c) = lstm_plain(
            &x,
            &h0.index_axis(first, 0).to_owned(),
            &c0.index_axis(first, 0).to_owned(),
            &ih,
            &hh,
        );
        let near = |a: f32, b: f64| assert!((f64::from(a) - b).abs() < 2e-6, "{a} for {b}");
        got.y.iter().zip(&y).for_each(|(a, b)| near(*a, *b));
        got.c.iter().zip(&c).for_each(|(a, b)| near(*a, *b));
        got.h.iter().zip(y.slice(last)).for_each(|(a, b)| near(*a, *b));
        let swapped = x.view().permuted_axes([1, 0, 2]);
        let other = run(swapped.as_standard_layout().view(), false);
        assert_eq!(other.y.permuted_axes([1, 0, 2]), got.y);
    }
}

#[test]
fn shapes_must_agree() {
    let x = Array3::<f32>::zeros((2, 3, 4));
    let h0 = Array3::zeros((1, 2, 5));
    let (ih, hh) = (Array2::zeros((15, 4)), Array2::zeros((15, 5)));
    let weights = [Weights { ih: ih.view(), hh: hh.view(), bias: None }];
    let run = |h0: ArrayView3<'_, f32>, weights: &[Weights<'_, f32>]| {
        forward::<f32, Gru>(x.view(), h0, None, weights, true)
            .map(|_| ())
            .map_err(|e| e.to_string())
    };
    assert_eq!(run(h0.view(), &weights), Ok(()));
    let error = run(h0.slice(s![.., ..1, ..]), &weights).unwrap_err();
    assert_eq!(error, "[gru_forward] h0: expected shape [1, 2, 5], got [1, 1, 5]");
    assert!(
        run(h0.view(), &[]).unwrap_err().contains("expected those of 1 or 2 directions, got 0")
    );
    assert!(forward::<f32, Lstm>(x.view(), h0.view(), None, &weights, true).is_err());
}
