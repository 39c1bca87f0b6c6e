//! The fast forms against the sum written out.

use lamina_kernels::matmul::{
    Activation, Packed, Saved, batched, gemm, gemm_packed, linear_forward, product,
};
use lamina_kernels::{Element, threads};
use ndarray::{Array2, Array3, ArrayView2, Axis, s};

use crate::noise;

/// The textbook product, in `f64`.
fn plain<T: Element>(a: ArrayView2<'_, T>, b: ArrayView2<'_, T>) -> Array2<f64> {
    let mut c = Array2::zeros((a.nrows(), b.ncols()));
    for ((i, j), c) in c.indexed_iter_mut() {
        *c = a.row(i).iter().zip(b.column(j)).map(|(x, y)| x.f64() * y.f64()).sum();
    }
    c
}

fn assert_close<T: Element>(got: ArrayView2<'_, T>, expected: &Array2<f64>, what: &str) {
    let largest = expected.iter().fold(1e-30f64, |max, x| max.max(x.abs()));
    let bound = if size_of::<T>() == 4 { 2e-6 } else { 1e-14 };
    for (got, expected) in got.iter().zip(expected) {
        assert!(
            (got.f64() - expected).abs() <= bound * largest.max(1.0),
            "{what}: {got} {expected}"
        );
    }
}

const SIZES: [(usize, usize, usize); 41] = [
    (20, 1100, 129),
    (5, 16, 64),
    (1, 1, 1),
    (1, 7, 300),
    (1, 100, 33),
    (2, 64, 65),
    (2, 300_001, 7),
    (3, 17, 5),
    (4, 1030, 9),
    (5, 3, 40),
    (1, 3001, 130),
    (5, 3000, 101),
    (6, 33, 1),
    (8, 300, 70),
    (13, 16, 16),
    (14, 32, 257),
    (29, 31, 37),
    (64, 64, 64),
    (100, 65, 128),
    (169, 48, 513),
    (300, 130, 20),
    (1500, 40, 30),
    (16, 1, 200),
    (64, 1, 400),
    (48, 20, 1),
    (16, 800, 70),
    (17, 801, 270),
    (345, 33, 17),
    (65, 47, 523),
    (16, 99, 900),
    (8, 41, 1000),
    (900, 5, 40),
    (70, 8, 129),
    (4, 4, 4),
    (13, 19, 10),
    (9, 33, 6),
    (20, 20, 5000),
    (33, 100, 2100),
    (2, 128, 3000),
    (1000, 1, 100),
    (70, 3, 700),
];

fn all_forms<T: Element>() {
    for (m, n, k) in SIZES {
        let (a, b) = (noise::<T, _>((m, k), 1), noise::<T, _>((k, n), 2));
        let (at, bt) = (noise::<T, _>((k, m), 3), noise::<T, _>((n, k), 4));
        for (a, b, form) in [
            (a.view(), b.view(), "nn"),
            (a.view(), bt.t(), "nt"),
            (at.t(), b.view(), "tn"),
            (at.t(), bt.t(), "tt"),
            (a.slice(s![..;-1, ..]), b.slice(s![.., ..;-1]), "reversed"),
        ] {
            let what = format!("{form} {m}x{n}x{k}");
            let expected = plain(a, b);
            let mut c = noise::<T, _>((m, n), 5);
            let before = c.clone();
            gemm(a, b, c.view_mut(), false).unwrap();
            assert_close(c.view(), &expected, &what);
            gemm(a, b, c.view_mut(), true).unwrap();
            assert_close(c.view(), &(&expected * 2.0), &what);

            let packed = Packed::new(b);
            let mut c = before.clone();
            gemm_packed(a, &packed, c.view_mut(), true).unwrap();
            assert_close(c.view(), &(expected.clone() + before.mapv(Element::f64)), &what);

            let mut wide = Array2::<T>::zeros((n, m));
            gemm(a, b, wide.view_mut().reversed_axes(), false).unwrap();
            assert_close(wide.t(), &expected, &what);
        }
    }
}

/// Small whole numbers, whose sums are exact in any order.
fn whole(rows: usize, columns: usize, step: usize) -> Array2<f32> {
    Array2::from_shape_fn((rows, columns), |(i, j)| ((i * 37 + j * step) % 13) as f32 - 6.0)
}

#[test]
fn tiles_of_every_width_and_height_agree() {
    // How wide the tiles are depends on the columns, how high each is on the rows.
    let heights = (1..=30).chain([70, 100, 345]);
    for (m, n) in heights.map(|m| (m, 100)).chain((1..=900).map(|n| (70, n))) {
        let (a, b) = (whole(m, 41, 5), whole(41, n, 7));
        let mut expected = a.dot(&b);
        let packed = Packed::new(b.view());
        let mut forms = [Array2::zeros((m, n)), Array2::zeros((m, n))];
        for (accumulate, times) in [(false, 1.0), (true, 2.0)] {
            let [rows, panels] = &mut forms;
            gemm(a.view(), b.view(), rows.view_mut(), accumulate).unwrap();
            gemm_packed(a.view(), &packed, panels.view_mut(), accumulate).unwrap();
            expected *= times;
            assert!(forms.iter().all(|c| c == expected), "{m}x{n}, accumulate: {accumulate}");
        }
    }
}

#[test]
fn every_form_matches_the_textbook() {
    all_forms::<f32>();
    all_forms::<f64>();
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    for (m, n, k) in [
        (700, 300, 600),
        (1600, 64, 300),
        (1, 3001, 768),
        (5, 4000, 512),
        (16, 400, 900),
        (64, 64, 64),
        (20, 20, 5000),
    ] {
        let (a, b) = (noise::<f32, _>((m, k), 1), noise::<f32, _>((k, n), 2));
        let mut results = Vec::new();
        for threads in [1, 2, 3] {
            threads::set_num_threads(threads);
            let mut c = Array2::zeros((m, n));
            gemm(a.view(), b.view(), c.view_mut(), false).unwrap();
            results.push(c);
        }
        assert_eq!(results[0], results[1]);
        assert_eq!(results[0], results[2]);
    }
}

#[test]
fn batches_may_repeat_a_matrix() {
    let a = noise::<f32, _>((12, 5), 1).into_shape_with_order((3, 4, 5)).unwrap();
    let b = noise::<f32, _>((5, 6), 2);
    let repeated = b.view().insert_axis(Axis(0));
    let c = batched(a.view(), repeated.broadcast((3, 5, 6)).unwrap()).unwrap();
    for i in 0..3 {
        let expected = plain(a.index_axis(Axis(0), i), b.view());
        assert_close(c.index_axis(Axis(0), i), &expected, "batch");
    }
    let none = batched(Array3::<f32>::zeros((0, 2, 3)).view(), Array3::zeros((0, 3, 2)).view());
    assert_eq!(none.unwrap().dim(), (0, 2, 2));
}

#[test]
fn no_terms_give_zero_or_what_was_there() {
    let (a, b) = (Array2::<f32>::zeros((2, 0)), Array2::zeros((0, 3)));
    let mut c = Array2::ones((2, 3));
    gemm(a.view(), b.view(), c.view_mut(), true).unwrap();
    assert_eq!(c, Array2::<f32>::ones((2, 3)));
    gemm(a.view(), b.view(), c.view_mut(), false).unwrap();
    assert_eq!(c, Array2::<f32>::zeros((2, 3)));
}

#[test]
fn nan_and_infinity_reach_the_result() {
    let mut a = Array2::<f32>::zeros((20, 20));
    a[[3, 4]] = f32::NAN;
    let b = Array2::<f32>::ones((20, 20));
    let mut c = Array2::zeros((20, 20));
    gemm(a.view(), b.view(), c.view_mut(), false).unwrap();
    assert!(c.row(3).iter().all(|x| x.is_nan()) && c.row(2).iter().all(|&x| x == 0.0));
}

#[test]
fn linear_fuses_bias_and_activation() {
    use Activation::*;
    for m in [1, 5, 40] {
        let (x, w) = (noise::<f64, _>((m, 30), 1), noise::<f64, _>((20, 30), 2));
        let bias = noise::<f64, _>((1, 20), 3).row(0).to_owned();
        for activation in [Identity, Relu, Gelu, GeluTanh, Silu, Tanh, Sigmoid] {
            let (y, saved) =
                linear_forward(x.view(), w.view(), Some(bias.view()), activation, true).unwrap();
            let z = plain(x.view(), w.t()) + &bias;
            let expected = z.mapv(|z| match activation {
                Identity => z,
                Relu => z.max(0.0),
                Gelu => 0.5 * z * (1.0 + libm::erf(z / 2f64.sqrt())),
                GeluTanh => {
                    let u = (2.0 / std::f64::consts::PI).sqrt() * (z + 0.044_715 * z.powi(3));
                    0.5 * z * (1.0 + u.tanh())
                }
                Silu => z / (1.0 + (-z).exp()),
                Tanh => z.tanh(),
                Sigmoid => 1.0 / (1.0 + (-z).exp()),
            });
            assert_close(y.view(), &expected, "linear");
            match saved {
                Saved::Before(before) => assert_close(before.view(), &z, "before"),
                Saved::Output => assert!(!activation.saves_input()),
            }
        }
    }
}

#[test]
fn sizes_must_agree() {
    let (a, b) = (Array2::<f32>::zeros((2, 3)), Array2::zeros((4, 5)));
    let error = gemm(a.view(), b.view(), Array2::zeros((2, 5)).view_mut(), false).unwrap_err();
    assert_eq!(error.to_string(), "[gemm] b: expected shape [3, 5], got [4, 5]");
}

#[test]
fn long_sums_of_few_rows_are_as_exact_as_those_of_many() {
    let (a, b) = (noise::<f32, _>((300, 4100), 1), noise::<f32, _>((600, 4100), 2));
    let error = |rows: usize| {
        let a = a.slice(s![..rows, ..]);
        let exact = plain(a, b.t());
        let errors = product(a, b.t()).unwrap().mapv(f64::from) - exact;
        (errors.mapv(|x| x * x).mean().unwrap()).sqrt()
    };
    let many = error(300);
    for rows in [1, 4, 20, 200] {
        let few = error(rows);
        assert!(few <= 2.0 * many, "{rows} rows: {few:e}, 300 rows: {many:e}");
    }
}
