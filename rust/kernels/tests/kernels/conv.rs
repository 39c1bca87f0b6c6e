//! Every way a convolution is computed against the definition written out.

use lamina_kernels::conv::{Options, backward, forward, transposed_backward, transposed_forward};
use lamina_kernels::matmul::Activation;
use lamina_kernels::threads;
use ndarray::{Array1, Array4, ArrayView4, Axis};

use crate::noise;

/// Shape of the output.
fn output_shape(x: [usize; 4], w: [usize; 4], options: &Options) -> [usize; 4] {
    let [height, width] = [0, 1].map(|axis| {
        let padded = x[2 + axis] + options.padding[axis].iter().sum::<usize>();
        (padded - options.dilation[axis] * (w[2 + axis] - 1) - 1) / options.stride[axis] + 1
    });
    [x[0], w[0], height, width]
}

/// The definition: calls `run(x index, w index, y index)` for each product.
fn each_product(
    x: [usize; 4],
    w: [usize; 4],
    options: &Options,
    mut run: impl FnMut([usize; 4], [usize; 4], [usize; 4]),
) {
    let [_, outputs, height, width] = output_shape(x, w, options);
    let Options { stride, padding, dilation, groups } = *options;
    for (n, o, c) in ndarray::indices((x[0], outputs, w[1])) {
        let channel = o / (outputs / groups) * w[1] + c;
        for (ky, kx, oy, ox) in ndarray::indices((w[2], w[3], height, width)) {
            let row = (oy * stride[0] + ky * dilation[0]).wrapping_sub(padding[0][0]);
            let column = (ox * stride[1] + kx * dilation[1]).wrapping_sub(padding[1][0]);
            if row < x[2] && column < x[3] {
                run([n, channel, row, column], [o, c, ky, kx], [n, o, oy, ox]);
            }
        }
    }
}

/// Largest difference relative to the largest number expected.
fn error(got: ArrayView4<'_, f32>, expected: &Array4<f64>) -> f64 {
    assert_eq!(got.shape(), expected.shape());
    let largest = expected.iter().fold(1e-30, |max: f64, x| max.max(x.abs()));
    let worst =
        got.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
    worst / largest
}

fn options(stride: [usize; 2], padding: [[usize; 2]; 2], dilation: [usize; 2]) -> Options {
    Options { stride, padding, dilation, groups: 1 }
}

fn check(x: [usize; 4], w: [usize; 4], options: &Options, allowed: f64) {
    let shapes = (x, w);
    let dy = noise(output_shape(x, w, options), 3);
    let (x, w) = (noise(x, 1), noise(w, 2));
    let mut y = Array4::<f64>::zeros(dy.raw_dim());
    let mut dx = Array4::<f64>::zeros(x.raw_dim());
    let mut dw = Array4::<f64>::zeros(w.raw_dim());
    each_product(shapes.0, shapes.1, options, |xi, wi, yi| {
        let (a, b, d) = (f64::from(x[xi]), f64::from(w[wi]), f64::from(dy[yi]));
        y[yi] += a * b;
        dx[xi] += d * b;
        dw[wi] += d * a;
    });
    let mut bits = Vec::new();
    for count in [1, 3] {
        threads::set_num_threads(count);
        let got = forward(x.view(), w.view(), None, options, Activation::Identity).unwrap();
        assert!(error(got.view(), &y) < allowed, "y: {}", error(got.view(), &y));
        let bias = Array1::from_shape_fn(w.dim().0, |o| (o % 7) as f32 / 4.0 - 0.5);
        let activation = Activation::Identity;
        let mut sum = forward(x.view(), w.view(), Some(bias.view()), options, activation).unwrap();
        for (mut sum, bias) in sum.axis_iter_mut(Axis(1)).zip(&bias) {
            sum -= *bias;
        }
        let off = error(sum.view(), &y);
        assert!(off < allowed + 1e-6, "with bias: {off}");
        let grads = backward(dy.view(), x.view(), w.view(), options, [true; 3]).unwrap();
        let (got_x, got_w) = (grads.dx.unwrap(), grads.dweight.unwrap());
        assert!(error(got_x.view(), &dx) < allowed, "dx: {}", error(got_x.view(), &dx));
        assert!(error(got_w.view(), &dw) < allowed, "dw: {}", error(got_w.view(), &dw));
        let sum = dy.index_axis(Axis(1), 0).sum();
        assert!((grads.dbias.unwrap()[0] - sum).abs() < 1e-3);
        bits.push((got, got_x, got_w));
    }
    assert_eq!(bits[0], bits[1], "other bits for another number of threads");
}

#[test]
fn matches_the_definition() {
    let plain = options([1, 1], [[0, 0]; 2], [1, 1]);
    check([2, 3, 5, 7], [4, 3, 1, 1], &plain, 1e-6);
    check([1, 1, 1, 1], [1, 1, 1, 1], &plain, 1e-6);
    check([2, 3, 9, 11], [5, 3, 3, 2], &plain, 1e-6);
    check([2, 5, 23, 17], [3, 5, 7, 5], &options([3, 2], [[3, 3], [2, 2]], [1, 1]), 1e-6);
    check([2, 2, 13, 8], [3, 2, 3, 3], &options([1, 2], [[2, 1], [0, 3]], [2, 3]), 1e-6);
    check([1, 2, 2, 2], [1, 2, 3, 3], &options([1, 1], [[7, 7], [7, 7]], [1, 1]), 1e-6);
    let grouped = Options { groups: 3, ..options([2, 1], [[1, 1]; 2], [1, 2]) };
    check([2, 6, 9, 12], [9, 2, 3, 3], &grouped, 1e-6);
    check([3, 40, 33, 31], [24, 40, 3, 3], &options([2, 2], [[1, 1]; 2], [1, 1]), 2e-6);
}

#[test]
fn channels_alone_match_the_definition() {
    let of = |groups, stride, padding, dilation| Options {
        groups,
        ..options(stride, padding, dilation)
    };
    let same = [[1, 1]; 2];
    check([2, 5, 28, 28], [5, 1, 3, 3], &of(5, [1, 1], same, [1, 1]), 1e-6);
    check([3, 4, 7, 33], [8, 1, 3, 3], &of(4, [1, 1], [[0, 2], [2, 0]], [1, 1]), 1e-6);
    check([1, 2, 130, 150], [2, 1, 5, 5], &of(2, [1, 1], [[2, 2]; 2], [1, 1]), 1e-6);
    check([2, 3, 9, 70], [6, 1, 7, 7], &of(3, [1, 1], [[3, 3]; 2], [1, 1]), 1e-6);
    check([2, 3, 112, 113], [3, 1, 3, 3], &of(3, [2, 2], same, [1, 1]), 1e-6);
    check([2, 3, 15, 40], [9, 1, 4, 5], &of(3, [2, 3], [[1, 2], [0, 4]], [3, 2]), 1e-6);
    check([2, 3, 11, 12], [3, 1, 2, 2], &of(3, [3, 2], [[0, 0]; 2], [1, 1]), 1e-6);
    check([1, 1, 90, 200], [4, 1, 3, 3], &of(1, [1, 2], [[2, 1], [0, 1]], [2, 1]), 1e-6);
    check([3, 2, 1, 500], [2, 1, 1, 31], &of(2, [1, 1], [[0, 0], [15, 15]], [1, 1]), 1e-6);
    check([3, 2, 1, 60], [4, 1, 1, 4], &of(2, [1, 1], [[0, 0], [3, 0]], [1, 1]), 1e-6);
    check([2, 3, 1, 1], [3, 1, 3, 3], &of(3, [1, 1], same, [1, 1]), 1e-6);
    check([2, 3, 4, 4], [3, 1, 1, 1], &of(3, [2, 2], [[0, 0]; 2], [1, 1]), 1e-6);
    check([2, 3, 4, 5], [6, 1, 1, 1], &of(3, [1, 1], [[0, 0]; 2], [1, 1]), 1e-6);
    check([1, 2, 2, 3], [2, 1, 3, 3], &of(2, [1, 1], [[4, 4], [3, 2]], [1, 1]), 1e-6);
}

#[test]
fn pointwise_matches_the_definition() {
    let plain = options([1, 1], [[0, 0]; 2], [1, 1]);
    check([3, 13, 14, 15], [24, 13, 1, 1], &plain, 2e-6);
    check([5, 7, 6, 7], [33, 7, 1, 1], &plain, 2e-6);
    // Several parts: whole lines, lines cut up, planes whole pages apart.
    check([2, 9, 40, 31], [17, 9, 1, 1], &plain, 2e-6);
    check([1, 8, 3, 1100], [9, 8, 1, 1], &plain, 4e-6);
    check([2, 8, 32, 64], [16, 8, 1, 1], &plain, 4e-6);
    check([2, 600, 6, 6], [8, 600, 1, 1], &plain, 4e-6);
    check([2, 12, 13, 14], [24, 6, 1, 1], &Options { groups: 2, ..plain }, 2e-6);
    check([2, 12, 65, 66], [24, 12, 1, 1], &options([2, 2], [[0, 0]; 2], [1, 1]), 4e-6);
}

#[test]
fn windows_match_the_definition() {
    let plain = |stride, padding| options(stride, padding, [1, 1]);
    // Lines longer than a part, more terms than are summed at a time, channels of odd numbers.
    check([1, 2, 4, 1100], [5, 2, 2, 3], &plain([1, 2], [[0, 1], [1, 0]]), 2e-6);
    check([2, 60, 12, 13], [17, 60, 3, 5], &plain([1, 1], [[1, 1], [2, 2]]), 4e-6);
    check([2, 3, 40, 43], [33, 3, 7, 7], &plain([2, 2], [[3, 3], [3, 3]]), 2e-6);
    check([1, 5, 200, 24], [8, 5, 3, 3], &plain([1, 1], [[2, 0], [0, 2]]), 4e-6);
    check([2, 4, 25, 60], [9, 4, 4, 5], &options([3, 2], [[5, 4], [1, 6]], [3, 4]), 2e-6);
    check([1, 4, 90, 85], [9, 4, 3, 3], &options([1, 1], [[0, 0]; 2], [40, 33]), 2e-6);
    check([3, 40, 14, 15], [30, 40, 1, 1], &plain([1, 1], [[0, 0]; 2]), 2e-6);
    check([2, 3, 36, 61], [12, 3, 4, 4], &plain([4, 4], [[0, 0]; 2]), 2e-6);
    let grouped = Options { groups: 3, ..plain([2, 1], [[1, 1]; 2]) };
    check([2, 12, 19, 24], [27, 4, 3, 3], &grouped, 2e-6);
}

#[test]
fn strides_match_the_definition() {
    let plain = |stride, pad| options([stride; 2], [[pad; 2]; 2], [1, 1]);
    check([2, 9, 18, 34], [10, 9, 4, 4], &plain(2, 1), 2e-6);
    check([3, 8, 15, 29], [7, 8, 3, 3], &plain(2, 1), 2e-6);
    check([1, 40, 32, 16], [20, 40, 2, 2], &plain(2, 0), 4e-6);
    check([2, 5, 21, 30], [6, 5, 5, 4], &options([3, 2], [[4, 0], [1, 3]], [1, 1]), 2e-6);
    // Inputs that no tap sees, or only some.
    check([2, 6, 20, 24], [8, 6, 1, 1], &plain(2, 0), 2e-6);
    check([2, 6, 24, 28], [8, 6, 2, 3], &options([2, 2], [[1, 0], [0, 1]], [2, 2]), 2e-6);
    check([1, 4, 31, 40], [5, 4, 2, 2], &plain(4, 0), 2e-6);
    // Long lines, more channels than a task holds, terms than are summed at a time.
    check([1, 4, 3, 2100], [5, 4, 3, 3], &plain(2, 1), 4e-6);
    check([1, 400, 12, 56], [9, 400, 3, 3], &plain(2, 1), 4e-6);
    check([1, 4, 18, 40], [300, 4, 4, 4], &plain(2, 1), 4e-6);
    let grouped = Options { groups: 2, ..plain(2, 1) };
    check([2, 16, 17, 30], [24, 8, 3, 3], &grouped, 2e-6);
}

#[test]
fn joined_lines_match_the_definition() {
    let plain = |stride, pad| options([stride; 2], [[pad; 2]; 2], [1, 1]);
    check([2, 30, 29, 57], [13, 30, 3, 3], &plain(2, 1), 4e-6);
    check([1, 64, 40, 42], [7, 64, 2, 2], &plain(2, 0), 4e-6);
    check([1, 45, 70, 28], [70, 45, 3, 2], &plain(1, 1), 4e-6);
    check([2, 128, 10, 20], [8, 128, 1, 2], &options([1, 1], [[0, 0], [0, 1]], [1, 1]), 4e-6);
    let grouped = Options { groups: 3, ..options([1, 1], [[2, 0], [0, 1]], [1, 1]) };
    check([2, 132, 15, 20], [30, 44, 3, 2], &grouped, 4e-6);
}

#[test]
fn narrow_lines_match_the_definition() {
    let plain = |stride, pad| options([stride; 2], [[pad; 2]; 2], [1, 1]);
    check([2, 6, 14, 14], [16, 6, 5, 5], &plain(1, 0), 2e-6);
    check([1, 6, 14, 14], [48, 6, 5, 5], &plain(1, 0), 2e-6);
    check([1, 48, 12, 12], [80, 48, 5, 5], &plain(1, 1), 4e-6);
    check([2, 32, 21, 41], [32, 32, 3, 5], &plain(2, 1), 4e-6);
    check([1, 16, 9, 21], [16, 16, 2, 4], &plain(1, 2), 2e-6);
    let grouped = Options { groups: 2, ..plain(1, 2) };
    check([2, 32, 11, 17], [64, 16, 5, 5], &grouped, 4e-6);
}

#[test]
fn kernels_side_by_side_match_the_definition() {
    let side = |kernel: [usize; 2], pad| options(kernel, pad, [1, 1]);
    let none = [[0, 0]; 2];
    check([2, 3, 48, 32], [20, 3, 16, 16], &side([16, 16], none), 4e-6);
    check([9, 3, 32, 40], [10, 3, 4, 4], &side([4, 4], none), 2e-6);
    check([4, 20, 64, 36], [8, 20, 2, 2], &side([2, 2], none), 2e-6);
    check([5, 3, 17, 20], [6, 3, 8, 5], &side([8, 5], none), 2e-6);
    // Lines and columns that no kernel sees, several parts of an image, few outputs of many.
    check([4, 40, 67, 58], [5, 40, 2, 4], &side([2, 4], none), 4e-6);
    check([7, 5, 6, 9], [9, 5, 3, 4], &side([3, 4], none), 2e-6);
    check([6, 4, 1, 50], [7, 4, 1, 5], &side([1, 5], none), 2e-6);
    // The last kernel sees zeros behind the image.
    check([2, 3, 7, 14], [4, 3, 4, 5], &side([4, 5], [[0, 1], [0, 2]]), 2e-6);
    let grouped = Options { groups: 3, ..side([4, 4], none) };
    check([2, 12, 20, 24], [27, 4, 4, 4], &grouped, 2e-6);
}

#[test]
fn small_images_match_the_definition() {
    let plain = |stride, pad| options([stride; 2], [[pad; 2]; 2], [1, 1]);
    check([70, 20, 4, 4], [9, 20, 3, 3], &plain(2, 1), 2e-6);
    check([33, 40, 2, 2], [24, 40, 3, 3], &plain(1, 1), 2e-6);
    check([5, 70, 3, 5], [19, 70, 1, 1], &plain(1, 0), 2e-6);
    check([3, 7, 9, 5], [6, 7, 1, 1], &plain(3, 0), 2e-6);
    check([3, 9, 19, 17], [10, 9, 3, 3], &plain(2, 1), 2e-6);
    let grouped = Options { groups: 2, ..plain(1, 0) };
    check([9, 6, 4, 3], [20, 3, 2, 2], &grouped, 2e-6);
}

#[test]
fn winograd_matches_the_definition() {
    let padded = |pad| options([1, 1], pad, [1, 1]);
    check([2, 16, 9, 10], [16, 16, 3, 3], &padded([[1, 1]; 2]), 4e-6);
    check([1, 17, 20, 13], [33, 17, 3, 3], &padded([[0, 2], [2, 0]]), 4e-6);
    check([3, 70, 14, 14], [100, 70, 3, 3], &padded([[0, 0]; 2]), 4e-6);
    check([1, 24, 6, 50], [130, 24, 3, 3], &padded([[1, 5], [2, 7]]), 4e-6);
    check([8, 20, 30, 22], [16, 20, 3, 3], &padded([[1, 1]; 2]), 4e-6);
    check([9, 130, 4, 4], [70, 130, 3, 3], &padded([[1, 1]; 2]), 4e-6);
    // Kernels too many to transform all at once, in one task and in several for each panel.
    check([13, 200, 4, 4], [170, 200, 3, 3], &padded([[1, 1]; 2]), 4e-6);
    check([5, 130, 13, 15], [260, 130, 3, 3], &padded([[0, 1], [2, 1]]), 4e-6);
}

#[test]
fn an_empty_image_is_all_padding() {
    let options = options([1, 3], [[2, 2], [1, 1]], [1, 1]);
    let (x, w) = (noise([3, 1, 2, 5], 1), noise([1, 5, 3, 3], 2));
    let y = transposed_forward(x.view(), w.view(), None, &options, [0, 2]).unwrap();
    assert_eq!(y.shape(), [3, 5, 0, 15]);
    let grads =
        transposed_backward(y.view(), x.view(), w.view(), &options, [0, 2], [true; 3]).unwrap();
    assert_eq!(grads.dx.unwrap(), Array4::<f32>::zeros(x.raw_dim()));
    assert_eq!(grads.dweight.unwrap(), Array4::<f32>::zeros(w.raw_dim()));
    assert_eq!(grads.dbias.unwrap().to_vec(), [0.0; 5]);
    let bias = ndarray::array![1.0, 2.0];
    let w = noise([2, 5, 3, 3], 2);
    let z = forward(y.view(), w.view(), Some(bias.view()), &options, Activation::Identity).unwrap();
    assert_eq!(z.shape(), [3, 2, 2, 5]);
    assert!(z.indexed_iter().all(|((_, o, _, _), &z)| z == bias[o]));
}

#[test]
fn bad_input_is_refused() {
    let plain = options([1, 1], [[0, 0]; 2], [1, 1]);
    let (x, w) = (noise([1, 2, 4, 4], 1), noise([3, 2, 5, 3], 2));
    let message = |w: ArrayView4<'_, f32>, options: &Options| {
        forward(x.view(), w, None, options, Activation::Identity).unwrap_err().to_string()
    };
    assert_eq!(
        message(w.view(), &plain),
        "[conv2d_forward] weight: expected a kernel no larger than the padded input, got height 5 \
         for 4"
    );
    assert_eq!(
        message(noise([3, 1, 3, 3], 2).view(), &plain),
        "[conv2d_forward] weight: expected shape [3, 2, 3, 3], got [3, 1, 3, 3]"
    );
    assert_eq!(
        message(w.view(), &Options { groups: 2, ..plain }),
        "[conv2d_forward] groups: expected a divisor of 2 and 3 channels, got 2"
    );
    let huge = options([1, 1], [[usize::MAX / 2, 0]; 2], [1, 1]);
    assert!(message(w.view(), &huge).contains("fits in memory"));
    let huge = options([1, 1], [[1 << 31, 0]; 2], [1, 1]);
    assert!(message(w.view(), &huge).contains("fits in memory"));
}
