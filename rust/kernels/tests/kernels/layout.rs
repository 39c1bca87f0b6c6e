//! Copies in C order against the numbers where they were.

use lamina_kernels::layout::{Solid, copied, joined, padded};
use lamina_kernels::{memory, threads};
use ndarray::{Array, ArrayD, ArrayView, ArrayViewD, Axis, Dimension, IxDyn, Slice};

use crate::noise;

fn check<T: Solid + PartialEq + std::fmt::Debug, D: Dimension>(view: &ArrayView<'_, T, D>) {
    let copy = copied(view);
    assert!(copy.is_standard_layout());
    assert_eq!(copy.view(), *view, "{:?} by {:?}", view.shape(), view.strides());
}

/// All orders of `axes` axes.
fn orders(axes: usize) -> Vec<Vec<usize>> {
    if axes == 0 {
        return vec![vec![]];
    }
    let insert = |order: &Vec<usize>, at: usize| {
        let mut order = order.clone();
        order.insert(at, axes - 1);
        order
    };
    orders(axes - 1).iter().flat_map(|o| (0..axes).map(move |at| insert(o, at))).collect()
}

#[test]
fn axes_come_in_any_order() {
    for shape in [[2, 3, 4, 5], [1, 70, 9, 130], [33, 1, 17, 66], [3, 0, 2, 2], [2, 65, 64, 3]] {
        let (single, double) =
            (noise::<f32, _>(IxDyn(&shape), 1), noise::<f64, _>(IxDyn(&shape), 2));
        let whole = single.mapv(|x| (x * 1e9) as i64);
        let bytes = single.mapv(|x| x > 0.0);
        for order in orders(4) {
            check(&single.view().permuted_axes(order.clone()));
            check(&double.view().permuted_axes(order.clone()));
            check(&whole.view().permuted_axes(order.clone()));
            check(&bytes.view().permuted_axes(order));
        }
    }
}

#[test]
fn long_lines_and_columns_are_turned() {
    for (rows, columns) in [(1000, 300), (3, 5000), (5000, 3), (1, 9000), (4100, 65)] {
        check(&noise::<f32, _>((rows, columns), 3).t());
        check(&noise::<f64, _>((rows, columns), 4).t());
    }
}

#[test]
fn steps_may_be_any() {
    let x = noise::<f32, _>(IxDyn(&[20, 70, 90]), 5);
    let mut back: ArrayViewD<'_, f32> = x.view();
    back.invert_axis(Axis(2));
    check(&back);
    back.swap_axes(0, 2);
    check(&back);
    let third = x.slice_axis(Axis(2), Slice::from(1..).step_by(3)).into_dyn();
    check(&third);
    check(&third.t());
    let row = x.index_axis(Axis(0), 0).into_dyn();
    check(&row.broadcast(IxDyn(&[5, 70, 90])).unwrap());
    let column = noise::<f64, _>(IxDyn(&[70, 1]), 6);
    check(&column.broadcast(IxDyn(&[3, 70, 90])).unwrap());
    check(&ndarray::arr0(3u32).view());
}

#[test]
fn bits_that_are_no_numbers_stay() {
    let bits = Array::from_shape_fn((40, 50), |(i, j)| 0x7f80_0001u32 + (i * 50 + j) as u32);
    check(&bits.t());
    let wide: ArrayD<u64> = bits.mapv(|x| u64::from(x) << 32 | 0x7ff0_0000).into_dyn();
    check(&wide.t());
}

#[test]
fn parts_stand_side_by_side() {
    for (rows, widths) in [(1, vec![100_000, 7]), (700, vec![0, 33, 1, 0, 90, 0]), (3, vec![5])] {
        let parts: Vec<_> =
            widths.iter().map(|&width| noise::<f32, _>((rows, width), width as u32)).collect();
        let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
        let expected = ndarray::concatenate(Axis(1), &views).unwrap();
        assert_eq!(joined(&views).unwrap(), expected, "{rows} rows of {widths:?}");
    }
    let (x, y) = (noise::<f64, _>((40, 30), 1), noise::<f64, _>((50, 40), 2));
    let views = [x.view(), y.t()];
    assert_eq!(joined(&views).unwrap(), ndarray::concatenate(Axis(1), &views).unwrap());
    let error = joined(&[x.view(), y.view()]).unwrap_err();
    assert_eq!(error.to_string(), "[joined] parts: expected shape [40, 40], got [50, 40]");
    assert_eq!(joined::<f32>(&[]).unwrap().dim(), (0, 0));
}

#[test]
fn padding_surrounds_and_cuts() {
    for (shape, pairs) in [
        (vec![], vec![]),
        (vec![5], vec![(2, 3)]),
        (vec![5], vec![(-2, -3)]),
        (vec![100_000], vec![(70_000, -10)]),
        (vec![0, 3], vec![(2, 1), (0, 1)]),
        (vec![700, 90], vec![(0, 0), (1, 2)]),
        (vec![700, 90], vec![(3, 0), (0, 0)]),
        (vec![2, 3, 40, 50], vec![(0, 0), (0, 0), (1, 2), (17, 3)]),
        (vec![2, 3, 40, 50], vec![(1, -1), (-1, 4), (0, 0), (-20, 0)]),
        (vec![4, 3, 5], vec![(-3, 9), (2, -4), (1, 1)]),
        (vec![4, 3, 5], vec![(0, 0), (-3, 1), (0, 0)]),
    ] {
        let x = noise::<f32, _>(IxDyn(&shape), 1);
        let lengths: Vec<_> = shape
            .iter()
            .zip(&pairs)
            .map(|(&n, &(before, after))| (n as isize + before + after) as usize)
            .collect();
        let expected = ArrayD::from_shape_fn(IxDyn(&lengths), |place| {
            let from =
                place.slice().iter().zip(&pairs).map(|(&i, pair)| i.wrapping_add_signed(-pair.0));
            *x.get(IxDyn(&from.collect::<Vec<_>>())).unwrap_or(&-1.5)
        });
        for threads in [1, 3] {
            threads::set_num_threads(threads);
            assert_eq!(padded(x.view(), &pairs, -1.5).unwrap(), expected, "{shape:?} {pairs:?}");
        }
        let turned: Vec<_> = pairs.iter().rev().copied().collect();
        assert_eq!(padded(x.t(), &turned, -1.5).unwrap(), expected.t());
    }
    let x = noise::<f64, _>(IxDyn(&[2, 3]), 1);
    for (pairs, text) in [
        (vec![(0, 0)], "expected 2 pairs, got 1"),
        (vec![(0, 0), (-2, -2)], "expected a length from 0 on, got 3 and -2, -2"),
        (vec![(0, 0), (isize::MAX, isize::MAX)], "expected a length from 0 on"),
    ] {
        let error = padded(x.view(), &pairs, 0.0).unwrap_err().to_string();
        assert!(error.starts_with(&format!("[padded] pairs: {text}")), "{error}");
    }
    let most = [(isize::MAX, 0), (isize::MAX, 0)];
    assert!(memory::guarded(|| padded(x.view(), &most, 0.0)).is_err());
}
