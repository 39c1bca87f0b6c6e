//! Softmax along an axis.

use lamina_kernels::softmax::{backward, forward, log_backward, log_forward};
use lamina_kernels::threads;
use ndarray::{Array3, ArrayView3, Axis, array};

use crate::noise;

#[test]
fn rows_sum_to_one_and_infinities_count_for_nothing() {
    let x = array![[1.0f32, 2.0, f32::NEG_INFINITY], [1e30, 1e30, -1e30]];
    let rows = x.view().insert_axis(Axis(2));
    let columns = x.t().insert_axis(Axis(0));
    let (along, across) = (forward(rows).unwrap(), forward(columns).unwrap());
    for y in [along.index_axis(Axis(2), 0), across.index_axis(Axis(0), 0).reversed_axes()] {
        let third = 1.0 / (1.0 + 1.0f32.exp());
        assert!((y[[0, 0]] - third).abs() < 1e-7 && y[[0, 2]] == 0.0);
        assert_eq!(y.row(1).to_vec(), [0.5, 0.5, 0.0]);
    }
    for x in [array![[[f32::NAN], [1.0]]], array![[[f32::NAN, f32::NAN], [1.0, 2.0]]]] {
        assert!(forward(x.view()).unwrap()[[0, 1, 0]].is_nan());
    }
}

/// The same with the middle axis last, whose rows lie one after the other.
fn by_rows(
    arrays: &[ArrayView3<'_, f64>],
    run: impl Fn(&[ArrayView3<'_, f64>]) -> Array3<f64>,
) -> Array3<f64> {
    let moved: Vec<_> = arrays.iter().map(|x| x.permuted_axes([0, 2, 1])).collect();
    let (o, i, n) = moved[0].dim();
    let rows: Vec<_> = moved
        .iter()
        .map(|x| x.as_standard_layout().into_owned().into_shape_with_order((o * i, n, 1)).unwrap())
        .collect();
    let views: Vec<_> = rows.iter().map(|x| x.view()).collect();
    run(&views).into_shape_with_order((o, i, n)).unwrap().permuted_axes([0, 2, 1])
}

#[test]
fn columns_give_what_rows_give() {
    for (o, n, i) in [
        (1, 1, 2),
        (3, 9000, 2),
        (700, 5, 15),
        (1, 0, 3),
        (1, 300, 17),
        (3, 5, 1100),
        (20, 7, 65),
        (2, 1200, 70),
        (300, 3, 20),
        (0, 4, 3),
        (3, 0, 20),
        (2, 3, 0),
    ] {
        let (x, dy) = (noise::<f64, _>((o, n, i), 1), noise::<f64, _>((o, n, i), 2));
        for threads in [1, 3] {
            threads::set_num_threads(threads);
            let close = |a: &Array3<f64>, b: &Array3<f64>| {
                assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-13), "{o} {n} {i}");
            };
            let y = forward(x.view()).unwrap();
            close(&y, &by_rows(&[x.view()], |x| forward(x[0]).unwrap()));
            let given = [dy.view(), y.view()];
            let dx = backward(dy.view(), y.view()).unwrap();
            close(&dx, &by_rows(&given, |x| backward(x[0], x[1]).unwrap()));
            let y = log_forward(x.view()).unwrap();
            close(&y, &by_rows(&[x.view()], |x| log_forward(x[0]).unwrap()));
            let given = [dy.view(), y.view()];
            let dx = log_backward(dy.view(), y.view()).unwrap();
            close(&dx, &by_rows(&given, |x| log_backward(x[0], x[1]).unwrap()));
        }
    }
}

#[test]
fn shapes_must_agree() {
    let y = array![[[1.0f64], [2.0]]];
    let error = backward(array![[[1.0f64]]].view(), y.view()).unwrap_err();
    assert_eq!(error.to_string(), "[softmax_backward] dy: expected shape [1, 2, 1], got [1, 1, 1]");
}
