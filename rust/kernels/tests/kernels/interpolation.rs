//! Planes in another resolution against the definition.

use lamina_kernels::interpolation::{Taps, backward, forward};
use lamina_kernels::{Element, threads};
use ndarray::{Array, Array1, Array3, Axis, array};

use crate::noise;

/// A table as it is, beside the kernel's.
struct Table {
    length: usize,
    places: Vec<usize>,
    share: Option<Vec<f64>>,
    taps: Taps,
}

fn table(length: usize, places: Vec<usize>, share: Option<Vec<f64>>) -> Table {
    let given: Array1<i64> = places.iter().map(|&place| place as i64).collect();
    let shares = share.clone().map(Array::from_vec);
    let taps = Taps::new(length, given.view(), shares.as_ref().map(|s| s.view())).unwrap();
    Table { length, places, share, taps }
}

fn nearest(length: usize, out: usize) -> Table {
    table(length, (0..out).map(|i| i * length / out).collect(), None)
}

fn linear(length: usize, out: usize, aligned: bool) -> Table {
    let step = if aligned {
        (length - 1) as f64 / (out - 1).max(1) as f64
    } else {
        length as f64 / out as f64
    };
    let place = |i: usize| match aligned {
        true => i as f64 * step,
        false => ((i as f64 + 0.5) * step - 0.5).max(0.0),
    };
    let low = |i| (place(i) as usize).min(length - 1);
    let share = (0..out).map(|i| (place(i) - low(i) as f64).min(1.0)).collect();
    table(length, (0..out).map(low).collect(), Some(share))
}

/// One axis of `x` by the definition.
fn by_definition<T: Element>(x: &Array3<T>, axis: usize, table: Option<&Table>) -> Array3<T> {
    let Some(Table { places, share, .. }) = table else {
        return x.clone();
    };
    let axis = Axis(axis);
    let mut shape = x.raw_dim();
    shape[axis.0] = places.len();
    let mut y = Array3::zeros(shape);
    for (i, &place) in places.iter().enumerate() {
        let share = share.as_ref().map_or(0.0, |share| share[i]);
        let next = (place + 1).min(x.len_of(axis) - 1);
        let mixed = x.index_axis(axis, place).mapv(|x| x * T::of(1.0 - share))
            + x.index_axis(axis, next).mapv(|x| x * T::of(share));
        y.index_axis_mut(axis, i).assign(&mixed);
    }
    y
}

fn dot<T: Element>(a: &Array3<T>, b: &Array3<T>) -> f64 {
    a.iter().zip(b).map(|(a, b)| a.f64() * b.f64()).sum()
}

fn check<T: Element>(shape: [usize; 3], rows: Option<&Table>, columns: Option<&Table>) {
    let x = noise::<T, _>(shape, 1);
    let taps = |table: Option<&'_ Table>| table.map(|table| table.taps.clone());
    let (row_taps, column_taps) = (taps(rows), taps(columns));
    let (row_taps, column_taps) = (row_taps.as_ref(), column_taps.as_ref());
    let expected = by_definition(&by_definition(&x, 2, columns), 1, rows);
    let y = forward(x.view(), row_taps, column_taps).unwrap();
    assert_eq!(y, expected, "{shape:?} to {:?}", y.dim());

    let dy = noise::<T, _>(y.raw_dim(), 2);
    let dx = backward(dy.view(), row_taps, column_taps).unwrap();
    assert_eq!(dx.dim(), x.dim());
    let (out, back) = (dot(&dy, &y), dot(&dx, &x));
    let allowed = T::epsilon().f64() * 8.0 * (1.0 + (x.len() + y.len()) as f64);
    assert!((out - back).abs() < allowed, "{shape:?} to {:?}: {out} and {back}", y.dim());
    // Which number of the gradient is wrong a product of everything does not tell.
    if x.len() <= 64 {
        for i in 0..x.len() {
            let mut one = Array3::zeros(shape);
            one.as_slice_mut().unwrap()[i] = T::one();
            let expected = dot(&dy, &forward(one.view(), row_taps, column_taps).unwrap());
            let got = dx.as_slice().unwrap()[i].f64();
            assert!((got - expected).abs() < allowed, "{shape:?} at {i}: {got}, {expected}");
        }
    }
    // As they lie in memory makes no difference.
    let turned = x.view().permuted_axes([2, 1, 0]).as_standard_layout().into_owned();
    assert_eq!(forward(turned.view().permuted_axes([2, 1, 0]), row_taps, column_taps).unwrap(), y);
}

#[test]
fn every_mode_and_its_gradient_follow_the_definition() {
    let lengths =
        [(1, 1), (1, 2), (1, 5), (2, 4), (3, 6), (5, 10), (9, 18), (17, 34), (40, 80), (7, 7)];
    let odd = [(5, 7), (7, 5), (13, 3), (4, 1), (8, 4), (33, 50), (3, 17)];
    for (length, out) in lengths.into_iter().chain(odd) {
        let tables = [nearest(length, out), linear(length, out, false), linear(length, out, true)];
        for table in &tables {
            check::<f32>([2, 1, length], None, Some(table));
            check::<f64>([2, 3, length], None, Some(table));
            check::<f32>([2, length, 19], Some(table), None);
            for other in [&nearest(3, 7), &linear(6, 12, true), &linear(5, 3, false)] {
                let there = other.length;
                check::<f32>([2, length, there], Some(table), Some(other));
                check::<f64>([3, there, length], Some(other), Some(table));
            }
        }
    }
}

#[test]
fn places_may_come_in_any_order() {
    let places =
        table(4, vec![3, 0, 3, 2, 2, 1, 0], Some(vec![0.5, 0.25, 0.0, 1.0, 0.5, 0.5, 1.0]));
    check::<f64>([2, 4, 4], Some(&places), Some(&places));
}

#[test]
fn any_number_of_threads_gives_the_same() {
    let (rows, columns) = (linear(90, 180, true), linear(70, 131, false));
    let x = noise::<f32, _>([3, 90, 70], 3);
    let dy = noise::<f32, _>([3, 180, 131], 4);
    let run = |count| {
        threads::set_num_threads(count);
        let y = forward(x.view(), Some(&rows.taps), Some(&columns.taps)).unwrap();
        (y, backward(dy.view(), Some(&rows.taps), Some(&columns.taps)).unwrap())
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn empty_arrays_stay_empty_and_unused_numbers_have_no_gradient() {
    let double = nearest(3, 6).taps;
    let none = Array3::<f32>::zeros([0, 3, 3]);
    assert_eq!(forward(none.view(), Some(&double), Some(&double)).unwrap().dim(), (0, 6, 6));
    let nothing = table(3, vec![], None).taps;
    let y = forward(Array3::<f32>::zeros([2, 3, 3]).view(), Some(&double), Some(&nothing)).unwrap();
    assert_eq!(y.dim(), (2, 6, 0));
    assert_eq!(
        backward(y.view(), Some(&double), Some(&nothing)).unwrap(),
        Array3::zeros([2, 3, 3])
    );
    let half = nearest(4, 2).taps;
    let dx = backward(array![[[1.0f64, 2.0]]].view(), None, Some(&half)).unwrap();
    assert_eq!(dx, array![[[1.0, 0.0, 2.0, 0.0]]]);
}

#[test]
fn what_does_not_fit_is_named() {
    for (length, places, text) in [
        (3, array![0i64, 3], "expected numbers from 0 to below 3, got 3"),
        (3, array![-1, 0], "expected numbers from 0 to below 3, got -1"),
        (0, array![0], "expected numbers from 0 to below 0, got 0"),
    ] {
        let error = Taps::new(length, places.view(), None).unwrap_err();
        assert_eq!(error.to_string(), format!("[interpolation_taps] places: {text}"));
    }
    let error = Taps::new(3, array![0i64, 1].view(), Some(array![0.5].view())).unwrap_err();
    assert_eq!(error.to_string(), "[interpolation_taps] share: expected shape [2], got [1]");
    let taps = nearest(3, 6).taps;
    let x = Array3::<f32>::zeros([2, 3, 4]);
    let error = forward(x.view(), None, Some(&taps)).unwrap_err();
    let text = "[interpolation_forward] x: expected shape [2, 3, 3], got [2, 3, 4]";
    assert_eq!(error.to_string(), text);
    let error = backward(x.view(), Some(&taps), None).unwrap_err();
    let text = "[interpolation_backward] dy: expected shape [2, 6, 4], got [2, 3, 4]";
    assert_eq!(error.to_string(), text);
}
