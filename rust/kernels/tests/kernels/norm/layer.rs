//! Layer normalisation against its formula.

use lamina_kernels::norm::layer::{Centre, backward, forward};
use lamina_kernels::threads;
use ndarray::{Array1, Array2, ArrayD, IxDyn};

#[test]
fn gradients_are_the_same_for_any_number_of_threads() {
    let (count, width) = (517, 83);
    let wave = |scale: f64| {
        Array1::from_iter((0..count * width).map(|i| ((i as f64) * scale).sin() as f32))
            .into_shape_with_order(IxDyn(&[count, width]))
            .unwrap()
    };
    let (x, dy) = (wave(0.37), wave(0.11));
    let weight = Array1::linspace(0.5f32, 1.5, width).into_dyn();
    let run = || {
        let (_, m) = forward(x.view(), 1, Some(weight.view()), None, Centre::Mean, 1e-5).unwrap();
        let weight = Some(weight.view());
        backward(dy.view(), x.view(), m.view(), 1, weight, Centre::Mean, 1e-5, true).unwrap()
    };
    threads::set_num_threads(1);
    let one = run();
    threads::set_num_threads(3);
    let three = run();
    assert_eq!(one.dx, three.dx);
    assert_eq!(one.dweight, three.dweight);
    assert_eq!(one.dbias, three.dbias);
}

#[test]
fn blocks_of_rows_and_what_is_left_of_them_follow_the_formula() {
    let shapes = [(1, 1), (3, 5), (4, 16), (9, 17), (70, 129), (5, 8195), (6, 2047)];
    for (count, width) in shapes {
        let wave = |by: f64| {
            Array2::from_shape_fn((count, width), |(i, j)| ((i * width + j) as f64 * by).sin())
        };
        let (x, dy) = (wave(0.37), wave(0.11));
        let weight = Array1::from_shape_fn(width, |j| 1.0 + 0.5 * (j as f64).cos());
        let (xd, dyd) = (x.clone().into_dyn(), dy.clone().into_dyn());
        let w = weight.clone().into_dyn();
        for centre in [Centre::Mean, Centre::Zero] {
            let (y, m) =
                forward(xd.view(), 1, Some(w.view()), Some(w.view()), centre, 1e-5).unwrap();
            let weight_given = Some(w.view());
            let grads =
                backward(dyd.view(), xd.view(), m.view(), 1, weight_given, centre, 1e-5, true)
                    .unwrap();
            let (mut dweight, mut dbias) = (Array1::zeros(width), Array1::<f64>::zeros(width));
            for row in 0..count {
                let (x, dy, n) = (x.row(row), dy.row(row), width as f64);
                let centred = centre == Centre::Mean;
                let mean = if centred { x.sum() / n } else { 0.0 };
                let rstd = (x.mapv(|x| (x - mean).powi(2)).sum() / n + 1e-5).sqrt().recip();
                let hat = x.mapv(|x| (x - mean) * rstd);
                let g = &dy * &weight;
                let shift = if centred { g.sum() / n } else { 0.0 };
                let dx = (&g - shift - &hat * ((&g * &hat).sum() / n)) * rstd;
                for j in 0..width {
                    let expected = hat[j] * weight[j] + weight[j];
                    assert!((y[[row, j]] - expected).abs() < 1e-10);
                    assert!((grads.dx[[row, j]] - dx[j]).abs() < 1e-9 * rstd);
                }
                dweight += &(&dy * &hat);
                dbias += &dy;
            }
            let close = |a: &ArrayD<f64>, b: Array1<f64>| {
                a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-9 * (1.0 + b.abs()))
            };
            assert!(close(&grads.dweight.unwrap(), dweight), "{count} {width}");
            assert!(close(&grads.dbias.unwrap(), dbias), "{count} {width}");
        }
    }
}

#[test]
fn a_wrong_parameter_is_named() {
    let x = ArrayD::<f32>::zeros(IxDyn(&[2, 3]));
    let bias = ArrayD::<f32>::zeros(IxDyn(&[2]));
    let error = forward(x.view(), 1, None, Some(bias.view()), Centre::Mean, 1e-5).unwrap_err();
    assert_eq!(error.to_string(), "[layer_norm_forward] bias: expected shape [3], got [2]");
    assert!(forward(x.view(), 3, None, None, Centre::Mean, 1e-5).is_err());
}
