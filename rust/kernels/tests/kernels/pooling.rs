//! The largest and the mean of windows against their definition.

use lamina_kernels::pooling::{
    Divisor, Options, Places, adaptive_avg_backward, adaptive_avg_forward, avg_backward,
    avg_forward, index_backward, max_backward, max_forward, max_values,
};
use lamina_kernels::{Element, threads};
use ndarray::{Array3, ArrayView3, Axis, array};

const PLAIN: Options =
    Options { kernel: [2, 2], stride: [2, 2], padding: [0, 0], dilation: [1, 1], ceil_mode: false };

fn max_indices<T: Element>(x: ArrayView3<'_, T>, options: &Options) -> (Array3<T>, Array3<i32>) {
    match max_forward(x, options, true).unwrap() {
        (y, Places::Indices(indices)) => (y, indices),
        (_, Places::Taps(_)) => panic!("indices were asked for"),
    }
}

#[test]
fn largest_and_where_it_was() {
    let x = array![[[1.0f32, 5.0, 2.0], [4.0, 3.0, f32::NAN], [0.0, -1.0, 7.0]]];
    let (y, indices) = max_indices(x.view(), &PLAIN);
    assert_eq!((y[[0, 0, 0]], indices[[0, 0, 0]]), (5.0, 1));
    let ceil = Options { ceil_mode: true, ..PLAIN };
    let (y, indices) = max_indices(x.view(), &ceil);
    assert_eq!(y.shape(), [1, 2, 2]);
    assert!(y[[0, 0, 1]].is_nan() && indices[[0, 0, 1]] == 5);
    assert_eq!((y[[0, 1, 0]], indices[[0, 1, 1]]), (0.0, 8));
    let dx = index_backward(y.view(), indices.view(), [3, 3]).unwrap();
    assert_eq!(dx[[0, 0, 1]], 5.0);
}

/// Numbers of which many are equal.
fn few_values<T: Element>(shape: [usize; 3]) -> Array3<T> {
    let mut state = 1u32;
    Array3::from_shape_simple_fn(shape, || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        T::of(f64::from(state >> 28) - 8.0)
    })
}

/// The places that each window on an axis covers, those of the padding too: from `-padding` to
/// before `len + padding`.
fn windows(len: usize, options: &Options, axis: usize) -> Vec<Vec<isize>> {
    let Options { kernel, stride, padding, dilation, ceil_mode } = *options;
    let [kernel, stride, pad, dilation] =
        [kernel, stride, padding, dilation].map(|by_axis| by_axis[axis] as isize);
    let end = len as isize + pad;
    let free = end + pad - dilation * (kernel - 1) - 1;
    let partial = ceil_mode && free % stride > 0 && (free / stride + 1) * stride < end;
    let count = free / stride + 1 + isize::from(partial);
    let places = |i| (0..kernel).map(move |tap| i * stride - pad + tap * dilation);
    (0..count).map(|i| places(i).filter(|&place| place < end).collect()).collect()
}

/// Calls `run(window, place)` for each place in each window of a plane.
fn each_place(plane: [usize; 2], options: &Options, mut run: impl FnMut([usize; 2], [usize; 2])) {
    let [rows, columns] = [0, 1].map(|axis| windows(plane[axis], options, axis));
    let inside = |axis: usize, place: isize| {
        usize::try_from(place).ok().filter(|&place| place < plane[axis])
    };
    for (i, row) in rows.iter().enumerate() {
        for (j, column) in columns.iter().enumerate() {
            for y in row.iter().filter_map(|&y| inside(0, y)) {
                for x in column.iter().filter_map(|&x| inside(1, x)) {
                    run([i, j], [y, x]);
                }
            }
        }
    }
}

fn check<T: Element>(shape: [usize; 3], options: &Options, special: Option<f64>) {
    let plane = [shape[1], shape[2]];
    let [down, across] = [0, 1].map(|axis| windows(plane[axis], options, axis).len());
    let mut x = few_values::<T>(shape);
    if let Some(special) = special {
        x.iter_mut().step_by(7).for_each(|x| *x = T::of(special));
    }
    let mut y = Array3::from_elem([shape[0], down, across], T::neg_infinity());
    let mut indices = Array3::from_elem(y.raw_dim(), -1);
    let mut dx = Array3::<T>::zeros(shape);
    let dy = few_values::<T>([shape[0], down, across]);
    for p in 0..shape[0] {
        each_place(plane, options, |[i, j], [row, column]| {
            let (x, y, index) = (x[[p, row, column]], &mut y[[p, i, j]], &mut indices[[p, i, j]]);
            if *index < 0 || x > *y || x.is_nan() {
                (*y, *index) = (x, (row * plane[1] + column) as i32);
            }
        });
        for (dy, &index) in dy.index_axis(Axis(0), p).iter().zip(indices.index_axis(Axis(0), p)) {
            dx[[p, index as usize / plane[1], index as usize % plane[1]]] += *dy;
        }
    }
    let same = |a: &Array3<T>, b: &Array3<T>| {
        a.shape() == b.shape() && a.iter().zip(b).all(|(a, b)| a == b || a.is_nan() && b.is_nan())
    };
    for threads in [1, 3] {
        threads::set_num_threads(threads);
        let (got, found) = max_indices(x.view(), options);
        assert!(same(&got, &y) && found == indices, "{shape:?} {options:?}");
        let (got, Places::Taps(taps)) = max_forward(x.view(), options, false).unwrap() else {
            panic!("taps of windows that move in an ordinary way");
        };
        assert!(same(&got, &y), "{shape:?} {options:?}");
        let got = max_backward(dy.view(), taps.view(), plane, options).unwrap();
        assert!(same(&got, &dx), "{shape:?} {options:?}");
        assert!(same(&max_values(x.view(), options).unwrap(), &y), "{shape:?} {options:?}");
    }
    if special.is_none() && options.dilation == [1, 1] {
        check_means(&x, &dy, options);
    }
}

fn check_means<T: Element>(x: &Array3<T>, dy: &Array3<T>, options: &Options) {
    let plane = [x.dim().1, x.dim().2];
    let [down, across] = [0, 1].map(|axis| windows(plane[axis], options, axis));
    let inside = |window: &[isize], len: usize| {
        window.iter().filter(|&&place| (0..len as isize).contains(&place)).count()
    };
    for divisor in [Divisor::Padded, Divisor::Inside, Divisor::Fixed(3)] {
        let mut y = Array3::<f64>::zeros(dy.raw_dim());
        let mut dx = Array3::<f64>::zeros(x.raw_dim());
        for p in 0..x.dim().0 {
            each_place(plane, options, |[i, j], [row, column]| {
                let count = match divisor {
                    Divisor::Padded => down[i].len() * across[j].len(),
                    Divisor::Fixed(count) => count,
                    Divisor::Inside => inside(&down[i], plane[0]) * inside(&across[j], plane[1]),
                };
                let scale = 1.0 / count as f64;
                y[[p, i, j]] += x[[p, row, column]].f64() * scale;
                dx[[p, row, column]] += dy[[p, i, j]].f64() * scale;
            });
        }
        let close = |a: &Array3<T>, b: &Array3<f64>| {
            a.shape() == b.shape() && a.iter().zip(b).all(|(a, b)| (a.f64() - b).abs() < 1e-5)
        };
        let got = avg_forward(x.view(), options, divisor).unwrap();
        assert!(close(&got, &y), "{options:?} {divisor:?}");
        let got = avg_backward(dy.view(), plane, options, divisor).unwrap();
        assert!(close(&got, &dx), "{options:?} {divisor:?}");
    }
}

#[test]
fn windows_match_their_definition() {
    let resnet = Options { kernel: [3, 3], padding: [1, 1], ..PLAIN };
    let alexnet = Options { kernel: [3, 3], ..PLAIN };
    let mixed = Options { kernel: [3, 3], padding: [0, 1], ..PLAIN };
    let wide = Options { kernel: [2, 5], stride: [1, 3], padding: [1, 2], ..PLAIN };
    let gaps = Options {
        kernel: [3, 2],
        stride: [2, 1],
        padding: [1, 0],
        dilation: [2, 3],
        ceil_mode: true,
    };
    let sparse = Options { kernel: [2, 1], stride: [5, 4], ceil_mode: true, ..PLAIN };
    let signal = Options { kernel: [1, 4], stride: [1, 2], padding: [0, 2], ..PLAIN };
    for options in
        [PLAIN, Options { ceil_mode: true, ..PLAIN }, resnet, alexnet, mixed, wide, gaps, sparse]
    {
        for shape in [
            [2, 112, 112],
            [3, 28, 29],
            [2, 7, 40],
            [1, 5, 6],
            [0, 5, 6],
            [2, 300, 33],
            [3, 70, 34],
        ] {
            for special in [None, Some(f64::NAN), Some(f64::NEG_INFINITY), Some(f64::INFINITY)] {
                check::<f32>(shape, &options, special);
            }
            check::<f64>(shape, &options, None);
        }
    }
    for shape in [[7, 10, 10], [3, 4, 2], [2, 2, 16]] {
        for special in [None, Some(f64::NAN), Some(f64::NEG_INFINITY), Some(f64::INFINITY)] {
            check::<f32>(shape, &PLAIN, special);
            check::<f64>(shape, &PLAIN, special);
        }
    }
    check::<f32>([3, 1, 1000], &signal, None);
    check::<f32>([2, 3, 3], &Options { kernel: [1, 1], stride: [1, 1], ..PLAIN }, None);
}

#[test]
fn a_window_of_nothing_but_minus_infinity_found_its_first_number() {
    let x = Array3::from_elem([1, 4, 4], f32::NEG_INFINITY);
    let resnet = Options { kernel: [3, 3], padding: [1, 1], ..PLAIN };
    let (y, indices) = max_indices(x.view(), &resnet);
    assert!(y.iter().all(|&y| y == f32::NEG_INFINITY));
    assert_eq!(indices, array![[[0, 1], [4, 5]]]);
    let wide = Array3::from_elem([1, 36, 36], f32::NEG_INFINITY);
    let (_, indices) = max_indices(wide.view(), &resnet);
    for ((_, i, j), &index) in indices.indexed_iter() {
        let (row, column) = ((2 * i).saturating_sub(1), (2 * j).saturating_sub(1));
        assert_eq!(index, (36 * row + column) as i32);
    }
}

#[test]
fn more_taps_than_a_byte_tells_apart() {
    let x = few_values::<f32>([2, 20, 20]);
    let options = Options { kernel: [17, 17], stride: [1, 1], ..PLAIN };
    let (y, places) = max_forward(x.view(), &options, false).unwrap();
    let Places::Indices(indices) = places else { panic!("taps of a byte") };
    let dx = index_backward(y.view(), indices.view(), [20, 20]).unwrap();
    assert_eq!(dx.sum(), y.sum());
}

#[test]
fn divisors() {
    let x = array![[[1.0f64, 2.0, 3.0]]];
    let options =
        Options { kernel: [1, 2], stride: [1, 2], padding: [0, 1], ceil_mode: true, ..PLAIN };
    let y = |divisor| avg_forward(x.view(), &options, divisor).unwrap().into_raw_vec_and_offset();
    assert_eq!(y(Divisor::Padded).0, [0.5, 2.5]);
    assert_eq!(y(Divisor::Inside).0, [1.0, 2.5]);
    assert_eq!(y(Divisor::Fixed(4)).0, [0.25, 1.25]);
}

#[test]
fn a_padded_window_of_more_than_64_bits() {
    let side = 1usize << 32;
    let options = Options { kernel: [side; 2], padding: [side / 2; 2], ..PLAIN };
    let y = avg_forward(array![[[2.0f64]]].view(), &options, Divisor::Padded).unwrap();
    assert_eq!(y, array![[[2.0f64.powi(-63)]]]);
}

#[test]
fn in_ceil_mode_one_window_may_be_larger_than_the_plane() {
    let x = array![[[1.0f32, 2.0], [3.0, 4.0]]];
    let ceil = Options { kernel: [3, 3], ceil_mode: true, ..PLAIN };
    assert_eq!(max_indices(x.view(), &ceil), (array![[[4.0]]], array![[[3]]]));
    let y = avg_forward(x.view(), &ceil, Divisor::Padded).unwrap();
    assert_eq!(y, array![[[2.5]]]);
    let wider = Options { kernel: [3, 4], ..ceil };
    assert_eq!(
        max_forward(x.view(), &wider, false).unwrap_err().to_string(),
        "[max_pool2d_forward] kernel_size: expected a window no larger than the padded input of \
         length 2, got 4"
    );
}

#[test]
fn adaptive_windows_cover_the_plane() {
    let x = array![[[1.0f32, 2.0, 3.0, 4.0, 5.0]]];
    let y = adaptive_avg_forward(x.view(), [1, 3]).unwrap();
    assert_eq!(y, array![[[1.5, 3.0, 4.5]]]);
    let dx = adaptive_avg_backward(y.view(), [1, 5]).unwrap();
    assert_eq!(dx, array![[[0.75, 1.75, 1.0, 3.25, 2.25]]]);
}

#[test]
fn bad_windows_are_refused() {
    let x = array![[[1.0f32, 2.0], [3.0, 4.0]]];
    let message = |options| max_forward(x.view(), &options, false).unwrap_err().to_string();
    assert_eq!(
        message(Options { kernel: [3, 3], ..PLAIN }),
        "[max_pool2d_forward] kernel_size: expected a window no larger than the padded input of \
         length 2, got 3"
    );
    assert_eq!(
        message(Options { padding: [2, 0], ..PLAIN }),
        "[max_pool2d_forward] padding: expected at most half of kernel_size 2, got 2"
    );
    assert_eq!(
        message(Options { stride: [0, 1], ..PLAIN }),
        "[max_pool2d_forward] stride: expected at least 1, got 0"
    );
}
