//! Convolution of images and its transpose, as cross-correlation.
//!
//! forward:  y[n, o, p] = b[o] + sum over c, k of w[o, c, k] x[n, c, s p + d k - pad]
//! backward: dx and dw are the same sum read for x and for w; db[o] = sum dy[n, o, p]
//! transposed: y is the dx above for dy = x, so its backward is the forward of the other
//!
//! Layouts are PyTorch's: x `[N, C, H, W]`, w `[O, C / groups, KH, KW]`. A 3x3 kernel of stride 1 runs
//! as Winograd's F(4x4, 3x3) in `f32` where channels are many; channels with kernels of their own run
//! one by one ([`depthwise`]); kernels side by side are one product ([`patches`]); otherwise taps read
//! windows of the image ([`windows`], [`weight`], [`phases`]), or blocks of columns ([`im2col`]) are
//! multiplied with the weight where lines are short or channels few.

mod axis;
mod depthwise;
mod im2col;
mod lines;
mod narrow;
mod patches;
mod phases;
mod product;
mod transform;
mod weight;
mod windows;
mod winograd;

use std::sync::atomic::{AtomicBool, Ordering};

use ndarray::{Array1, Array4, ArrayView1, ArrayView4};

use crate::layout::flat;
use crate::matmul::Activation;
use crate::{Element, Error, Result, check_shape, memory, norm, threads};

static EXACT: AtomicBool = AtomicBool::new(false);

/// Whether to sum products as written only, without algorithms that round differently.
pub fn set_exact(exact: bool) {
    EXACT.store(exact, Ordering::Relaxed);
}

/// What [`set_exact`] set.
pub fn is_exact() -> bool {
    EXACT.load(Ordering::Relaxed)
}

/// How the kernel moves over the image, for each axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Step from one output to the next.
    pub stride: [usize; 2],
    /// Zeros before and after the image.
    pub padding: [[usize; 2]; 2],
    /// Step from one tap of the kernel to the next.
    pub dilation: [usize; 2],
    /// Parts into which channels are cut; output channels of a part see the inputs of that part.
    pub groups: usize,
}

/// Gradients of one convolution, each where it was asked for.
#[derive(Debug)]
pub struct Grads<T> {
    /// Of the input.
    pub dx: Option<Array4<T>>,
    /// Of the weight.
    pub dweight: Option<Array4<T>>,
    /// Of the bias.
    pub dbias: Option<Array1<T>>,
}

/// All sizes of a convolution from an image `[C, H, W]` to `[O, OH, OW]`.
#[derive(Debug, Clone, Copy)]
struct Shape {
    n: usize,
    c: usize,
    image: [usize; 2],
    o: usize,
    out: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    pad: [usize; 2],
    dilation: [usize; 2],
    groups: usize,
}

impl Shape {
    /// Input channels of a group.
    fn group_c(&self) -> usize {
        self.c / self.groups
    }

    /// Output channels of a group.
    fn group_o(&self) -> usize {
        self.o / self.groups
    }

    /// Taps of the kernel.
    fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Numbers in an image of one channel.
    fn plane(&self) -> usize {
        self.image[0] * self.image[1]
    }

    /// Numbers in an output of one channel.
    fn out_plane(&self) -> usize {
        self.out[0] * self.out[1]
    }

    /// Simple operations of the whole, at sixteen multiplications each.
    fn cost(&self) -> usize {
        let products = self.group_c() * self.taps() * self.o * self.out_plane();
        products.saturating_mul(self.n) / 16
    }

    /// The shape of `x` convolved with `weight`.
    fn new(op: &'static str, x: &[usize], weight: &[usize], options: &Options) -> Result<Self> {
        check_options(op, options)?;
        let (groups, o) = (options.groups, weight[0]);
        if !x[1].is_multiple_of(groups) || !o.is_multiple_of(groups) {
            let message = format!("expected a divisor of {} and {o} channels, got {groups}", x[1]);
            return Err(Error::value(op, "groups", message));
        }
        check_shape(op, "weight", &[o, x[1] / groups, weight[2], weight[3]], weight)?;
        let kernel = [weight[2], weight[3]];
        let mut out = [0; 2];
        for axis in 0..2 {
            let [before, after] = options.padding[axis];
            let padded = before.checked_add(after).and_then(|pad| pad.checked_add(x[2 + axis]));
            let padded = padded.ok_or_else(|| too_large(op))?;
            let span = span(op, kernel[axis], options.dilation[axis])?;
            if padded < span {
                let axis = ["height", "width"][axis];
                let message = format!(
                    "expected a kernel no larger than the padded input, got {axis} {span} for {padded}"
                );
                return Err(Error::value(op, "weight", message));
            }
            out[axis] = (padded - span) / options.stride[axis] + 1;
        }
        Ok(Self {
            n: x[0],
            c: x[1],
            image: [x[2], x[3]],
            o,
            out,
            kernel,
            stride: options.stride,
            pad: [options.padding[0][0], options.padding[1][0]],
            dilation: options.dilation,
            groups,
        })
    }

    /// The shape whose data gradient is `x` convolved with `weight`, transposed.
    fn transposed(
        op: &'static str,
        x: &[usize],
        weight: &[usize],
        options: &Options,
        output_padding: [usize; 2],
    ) -> Result<Self> {
        check_options(op, options)?;
        let groups = options.groups;
        if !x[1].is_multiple_of(groups) {
            let message = format!("expected a divisor of {} channels, got {groups}", x[1]);
            return Err(Error::value(op, "groups", message));
        }
        check_shape(op, "weight", &[x[1], weight[1], weight[2], weight[3]], weight)?;
        if weight[1] == 0 {
            return Err(Error::value(op, "weight", "expected output channels, got none"));
        }
        let kernel = [weight[2], weight[3]];
        let mut image = [0; 2];
        for axis in 0..2 {
            let (stride, dilation) = (options.stride[axis], options.dilation[axis]);
            if output_padding[axis] >= stride.max(dilation) {
                let message = format!(
                    "expected less than the stride or the dilation, got {}",
                    output_padding[axis]
                );
                return Err(Error::value(op, "output_padding", message));
            }
            let [before, after] = options.padding[axis];
            let len = x[2 + axis]
                .checked_sub(1)
                .ok_or_else(|| Error::value(op, "x", "expected an image, got an empty one"))?
                .checked_mul(stride)
                .and_then(|len| len.checked_add(span(op, kernel[axis], dilation).ok()?))
                .and_then(|len| len.checked_add(output_padding[axis]))
                .ok_or_else(|| too_large(op))?;
            let pad = before.checked_add(after).ok_or_else(|| too_large(op))?;
            image[axis] = len.checked_sub(pad).ok_or_else(|| {
                let message = format!("expected at most {len} in all, got {pad}");
                Error::value(op, "padding", message)
            })?;
        }
        Ok(Self {
            n: x[0],
            c: weight[1].checked_mul(groups).ok_or_else(|| too_large(op))?,
            image,
            o: x[1],
            out: [x[2], x[3]],
            kernel,
            stride: options.stride,
            pad: [options.padding[0][0], options.padding[1][0]],
            dilation: options.dilation,
            groups,
        })
    }
}

/// Length of a kernel with the gaps between its taps.
fn span(op: &'static str, kernel: usize, dilation: usize) -> Result<usize> {
    let last = kernel
        .checked_sub(1)
        .ok_or_else(|| Error::value(op, "weight", "expected a kernel, got one of length 0"))?;
    last.checked_mul(dilation).and_then(|last| last.checked_add(1)).ok_or_else(|| too_large(op))
}

fn check_options(op: &'static str, options: &Options) -> Result<()> {
    let [stride, dilation] = [options.stride, options.dilation];
    for (arg, values) in
        [("stride", stride), ("dilation", dilation), ("groups", [options.groups; 2])]
    {
        if values.contains(&0) {
            return Err(Error::value(op, arg, "expected at least 1, got 0"));
        }
    }
    Ok(())
}

fn too_large(op: &'static str) -> Error {
    Error::value(op, "x", "expected an output that fits in memory, got a larger one")
}

/// A new array, or an error where the machine has no room for it.
fn output<T: Element>(op: &'static str, shape: [usize; 4]) -> Result<Array4<T>> {
    if memory::fits::<T>(&shape) { Ok(memory::unfilled_array(shape)) } else { Err(too_large(op)) }
}

/// `x` `[N, C, H, W]` convolved with `weight` `[O, C / groups, KH, KW]`, plus `bias` `[O]`, and the
/// `activation` of that.
pub fn forward<T: Element>(
    x: ArrayView4<'_, T>,
    weight: ArrayView4<'_, T>,
    bias: Option<ArrayView1<'_, T>>,
    options: &Options,
    activation: Activation,
) -> Result<Array4<T>> {
    const OP: &str = "conv2d_forward";
    let shape = Shape::new(OP, x.shape(), weight.shape(), options)?;
    if let Some(bias) = &bias {
        check_shape(OP, "bias", &[shape.o], bias.shape())?;
    }
    let mut y = output(OP, [shape.n, shape.o, shape.out[0], shape.out[1]])?;
    let bias = bias.map(|bias| bias.to_vec());
    let (x, weight) = (x.as_standard_layout(), weight.as_standard_layout());
    run_forward(&shape, flat(&x), flat(&weight), bias.as_deref(), flat_mut(&mut y))?;
    activation.replace(flat_mut(&mut y));
    Ok(y)
}

/// Gradients of [`forward`] from `dy` `[N, O, OH, OW]`; `needs` says whether of input, weight, bias.
pub fn backward<T: Element>(
    dy: ArrayView4<'_, T>,
    x: ArrayView4<'_, T>,
    weight: ArrayView4<'_, T>,
    options: &Options,
    needs: [bool; 3],
) -> Result<Grads<T>> {
    const OP: &str = "conv2d_backward";
    let shape = Shape::new(OP, x.shape(), weight.shape(), options)?;
    check_shape(OP, "dy", &[shape.n, shape.o, shape.out[0], shape.out[1]], dy.shape())?;
    let (weight_dim, x_dim) = (weight.raw_dim(), x.raw_dim());
    let (dy, x, weight) =
        (dy.as_standard_layout(), x.as_standard_layout(), weight.as_standard_layout());
    let mut grads = Grads { dx: None, dweight: None, dbias: None };
    let by_channel =
        !(winograd::takes::<T>() && winograd::suits(&shape)) && depthwise::suits(&shape);
    let at_once = needs[0] && needs[1] && by_channel && !dy.is_empty() && !x.is_empty();
    if at_once {
        let (mut dx, mut dweight) =
            (memory::unfilled_array(x_dim), memory::unfilled_array(weight_dim));
        let data = (flat(&weight), flat_mut(&mut dx));
        let sums = (flat(&x), flat_mut(&mut dweight));
        depthwise::gradients(&shape, flat(&dy), Some(data), Some(sums));
        (grads.dx, grads.dweight) = (Some(dx), Some(dweight));
    } else {
        if needs[0] {
            let mut dx = memory::unfilled_array(x_dim);
            run_data(&shape, flat(&dy), flat(&weight), flat_mut(&mut dx))?;
            grads.dx = Some(dx);
        }
        if needs[1] {
            let mut dweight = memory::unfilled_array(weight_dim);
            run_weight(&shape, flat(&dy), flat(&x), flat_mut(&mut dweight))?;
            grads.dweight = Some(dweight);
        }
    }
    if needs[2] {
        grads.dbias = Some(bias_gradient(flat(&dy), shape.n, shape.o, shape.out_plane()));
    }
    Ok(grads)
}

/// `x` `[N, I, H, W]` through the transpose of a convolution, with `weight` `[I, O / groups, KH, KW]`.
///
/// `output_padding` says which of the sizes that the convolution maps to `H`, `W` is meant.
pub fn transposed_forward<T: Element>(
    x: ArrayView4<'_, T>,
    weight: ArrayView4<'_, T>,
    bias: Option<ArrayView1<'_, T>>,
    options: &Options,
    output_padding: [usize; 2],
) -> Result<Array4<T>> {
    const OP: &str = "conv_transpose2d_forward";
    let shape = Shape::transposed(OP, x.shape(), weight.shape(), options, output_padding)?;
    if let Some(bias) = &bias {
        check_shape(OP, "bias", &[shape.c], bias.shape())?;
    }
    let mut y = output(OP, [shape.n, shape.c, shape.image[0], shape.image[1]])?;
    let (x, weight) = (x.as_standard_layout(), weight.as_standard_layout());
    run_data(&shape, flat(&x), flat(&weight), flat_mut(&mut y))?;
    if let Some(bias) = bias {
        let bias = bias.to_vec();
        let plane = shape.plane();
        let cost = y.len();
        threads::for_each_piece(flat_mut(&mut y), plane, cost, |index, y| {
            let bias = bias[index % bias.len()];
            y.iter_mut().for_each(|y| *y += bias);
        });
    }
    Ok(y)
}

/// Gradients of [`transposed_forward`] from `dy`; `needs` says whether of input, weight, bias.
pub fn transposed_backward<T: Element>(
    dy: ArrayView4<'_, T>,
    x: ArrayView4<'_, T>,
    weight: ArrayView4<'_, T>,
    options: &Options,
    output_padding: [usize; 2],
    needs: [bool; 3],
) -> Result<Grads<T>> {
    const OP: &str = "conv_transpose2d_backward";
    let shape = Shape::transposed(OP, x.shape(), weight.shape(), options, output_padding)?;
    check_shape(OP, "dy", &[shape.n, shape.c, shape.image[0], shape.image[1]], dy.shape())?;
    let (weight_dim, x_dim) = (weight.raw_dim(), x.raw_dim());
    let (dy, x, weight) =
        (dy.as_standard_layout(), x.as_standard_layout(), weight.as_standard_layout());
    let mut grads = Grads { dx: None, dweight: None, dbias: None };
    if needs[0] {
        let mut dx = memory::unfilled_array(x_dim);
        run_forward(&shape, flat(&dy), flat(&weight), None, flat_mut(&mut dx))?;
        grads.dx = Some(dx);
    }
    if needs[1] {
        let mut dweight = memory::unfilled_array(weight_dim);
        run_weight(&shape, flat(&x), flat(&dy), flat_mut(&mut dweight))?;
        grads.dweight = Some(dweight);
    }
    if needs[2] {
        grads.dbias = Some(bias_gradient(flat(&dy), shape.n, shape.c, shape.plane()));
    }
    Ok(grads)
}

fn flat_mut<T>(x: &mut Array4<T>) -> &mut [T] {
    x.as_slice_mut().expect("a new array")
}

fn run_forward<T: Element>(
    shape: &Shape,
    x: &[T],
    weight: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
) -> Result<()> {
    if y.is_empty() {
        return Ok(());
    }
    if x.is_empty() {
        for (index, y) in y.chunks_exact_mut(shape.out_plane()).enumerate() {
            y.fill(bias.map_or(T::zero(), |bias| bias[index % shape.o]));
        }
        return Ok(());
    }
    if const { winograd::takes::<T>() } && winograd::suits(shape) {
        winograd::forward(shape, x, weight, bias, y);
        return Ok(());
    }
    if depthwise::suits(shape) {
        depthwise::forward(shape, x, weight, bias, y);
        return Ok(());
    }
    if patches::suits(shape) {
        return patches::forward(shape, x, weight, bias, y);
    }
    if windows::suits(shape, shape.out[1], shape.group_o()) {
        windows::forward(shape, x, weight, bias, y);
        return Ok(());
    }
    im2col::forward(shape, x, weight, bias, y)
}

fn run_data<T: Element>(shape: &Shape, dy: &[T], weight: &[T], dx: &mut [T]) -> Result<()> {
    if dx.is_empty() || dy.is_empty() {
        dx.fill(T::zero());
        return Ok(());
    }
    if const { winograd::takes::<T>() } && winograd::suits(shape) {
        winograd::data_gradient(shape, dy, weight, dx);
        return Ok(());
    }
    if depthwise::suits(shape) {
        depthwise::gradients(shape, dy, Some((weight, dx)), None);
        return Ok(());
    }
    if patches::suits(shape) {
        return patches::data_gradient(shape, dy, weight, dx);
    }
    if shape.stride == [1, 1] && windows::suits(shape, shape.image[1], shape.group_c()) {
        windows::data_gradient(shape, dy, weight, dx);
        return Ok(());
    }
    if phases::suits(shape) {
        phases::data_gradient(shape, dy, weight, dx);
        return Ok(());
    }
    im2col::data_gradient(shape, dy, weight, dx)
}

fn run_weight<T: Element>(shape: &Shape, dy: &[T], x: &[T], dweight: &mut [T]) -> Result<()> {
    if dweight.is_empty() || dy.is_empty() || x.is_empty() {
        dweight.fill(T::zero());
        return Ok(());
    }
    if const { winograd::takes::<T>() } && winograd::suits(shape) {
        winograd::weight_gradient(shape, dy, x, dweight);
        return Ok(());
    }
    if depthwise::suits(shape) {
        depthwise::gradients(shape, dy, None, Some((x, dweight)));
        return Ok(());
    }
    if patches::suits_weight(shape) {
        return patches::weight_gradient(shape, dy, x, dweight);
    }
    if weight::suits(shape) {
        weight::gradient(shape, dy, x, dweight);
        return Ok(());
    }
    im2col::weight_gradient(shape, dy, x, dweight)
}

/// Sum of `dy` `[N, O, P]` over N and P.
fn bias_gradient<T: Element>(dy: &[T], n: usize, o: usize, plane: usize) -> Array1<T> {
    let sums = threads::map(o, dy.len(), |o_at| {
        let sum = (0..n).map(|n| norm::sum(&dy[(n * o + o_at) * plane..][..plane])).sum::<f64>();
        T::of(sum)
    });
    Array1::from_vec(sums)
}
