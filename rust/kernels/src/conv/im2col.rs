//! Convolution as matrix products with blocks of columns.
//!
//! A column holds what the kernel sees at one output: `col[(c, k), p] = x[c, s p + d k - pad]`, so
//! y = w col, dcol = w' dy, dw = dy col'. Blocks of columns are made in scratch that stays in cache.
#![allow(unsafe_code)]

use std::ops::Range;

use ndarray::{ArrayView2, ArrayViewMut2, ShapeBuilder};

use super::Shape;
use crate::matmul::gemm;
use crate::memory::Scratch;
use crate::{Element, Result, threads};

/// Numbers in a block of columns.
const BLOCK: usize = 1 << 17;

/// Columns at least in a product with all weights: small images go together.
const FEW: usize = 64;

/// The same with a part of the weights, which is smaller.
const MANY: usize = 128;

/// Chunks of images whose gradients of the weight are summed apart.
const CHUNKS: usize = 8;

pub(super) fn forward<T: Element>(
    shape: &Shape,
    x: &[T],
    weight: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
) -> Result<()> {
    let (group_c, group_o) = (shape.group_c(), shape.group_o());
    let (depth, plane) = (group_c * shape.taps(), shape.out_plane());
    let (step, images) = (block_len(depth, plane), images_of(shape, FEW));
    let blocks = plane.div_ceil(step);
    let out = threads::Shared::new(y);
    let tasks = shape.n.div_ceil(images) * shape.groups * blocks;
    let run = |task: usize| -> Result<()> {
        let (image, block) = (task / blocks, task % blocks);
        let (n, group) = (image / shape.groups * images, image % shape.groups);
        let images = n..(n + images).min(shape.n);
        let range = block * step..((block + 1) * step).min(plane);
        let columns = range.len();
        let x = |n: usize| {
            let x = &x[(n * shape.c + group * group_c) * shape.plane()..];
            &x[..group_c * shape.plane()]
        };
        let w = matrix(&weight[group * group_o * depth..], group_o, depth, depth);
        // SAFETY: no two blocks share a column of an image; rows of this one are written only
        // between their first and last column of the block.
        let rows = |n: usize| unsafe {
            let first = (n * shape.o + group * group_o) * plane + range.start;
            rows_mut(&out, first, group_o, columns, plane)
        };
        let bias = bias.map(|bias| &bias[group * group_o..]);
        if images.len() == 1 {
            let mut y = rows(n);
            if let Some(bias) = bias {
                y.rows_mut().into_iter().zip(bias).for_each(|(mut row, &bias)| row.fill(bias));
            }
            if shape.is_pointwise() {
                let x = matrix(&x(n)[range.start..], depth, columns, plane);
                return gemm(w, x, y, bias.is_some());
            }
            let mut block = Scratch::new(depth * columns);
            fill(shape, x(n), range.clone(), &mut block, columns);
            return gemm(w, matrix(&block, depth, columns, columns), y, bias.is_some());
        }
        let width = images.len() * columns;
        let mut block = Scratch::new(depth * width);
        for (i, n) in images.clone().enumerate() {
            fill(shape, x(n), range.clone(), &mut block[i * columns..], width);
        }
        let mut sums = Scratch::new(group_o * width);
        let c = ArrayViewMut2::from_shape((group_o, width), &mut sums[..]).expect("sizes agree");
        gemm(w, matrix(&block, depth, width, width), c, false)?;
        for (i, n) in images.enumerate() {
            for (o, mut row) in rows(n).rows_mut().into_iter().enumerate() {
                let bias = bias.map_or(T::zero(), |bias| bias[o]);
                let sums = &sums[o * width + i * columns..];
                row.iter_mut().zip(sums).for_each(|(y, &sum)| *y = sum + bias);
            }
        }
        Ok(())
    };
    threads::map(tasks, shape.cost(), run).into_iter().collect()
}

pub(super) fn data_gradient<T: Element>(
    shape: &Shape,
    dy: &[T],
    weight: &[T],
    dx: &mut [T],
) -> Result<()> {
    let (group_c, group_o) = (shape.group_c(), shape.group_o());
    let (taps, plane) = (shape.taps(), shape.out_plane());
    let channels = channel_step(group_c, taps);
    let parts = group_c.div_ceil(channels);
    let images = images_of(shape, MANY);
    let out = threads::Shared::new(dx);
    let tasks = shape.n.div_ceil(images) * shape.groups * parts;
    let run = |task: usize| -> Result<()> {
        let (image, part) = (task / parts, task % parts);
        let (n, group) = (image / shape.groups * images, image % shape.groups);
        let images = n..(n + images).min(shape.n);
        let c0 = part * channels;
        let count = channels.min(group_c - c0);
        let depth = count * taps;
        // SAFETY: channels and images of different tasks differ.
        let dx = |n: usize| unsafe {
            let first = (n * shape.c + group * group_c + c0) * shape.plane();
            out.slice(first..first + count * shape.plane())
        };
        let w = &weight[(group * group_o * group_c + c0) * taps..];
        let w = matrix(w, group_o, depth, group_c * taps);
        let rows = |n: usize| &dy[(n * shape.o + group * group_o) * plane..];
        if images.len() > 1 {
            let width = images.len() * plane;
            let mut dy = Scratch::new(group_o * width);
            for (i, n) in images.clone().enumerate() {
                for (o, row) in rows(n).chunks_exact(plane).take(group_o).enumerate() {
                    dy[o * width + i * plane..][..plane].copy_from_slice(row);
                }
            }
            let mut block = Scratch::new(depth * width);
            let c = ArrayViewMut2::from_shape((depth, width), &mut block[..]).expect("sizes agree");
            gemm(w.t(), matrix(&dy, group_o, width, width), c, false)?;
            for (i, n) in images.enumerate() {
                let dx = dx(n);
                dx.fill(T::zero());
                add_back(shape, &block[i * plane..], width, 0..plane, dx);
            }
            return Ok(());
        }
        let (dx, dy) = (dx(n), rows(n));
        if shape.is_pointwise() {
            let dx = ArrayViewMut2::from_shape((depth, plane), dx).expect("sizes agree");
            return gemm(w.t(), matrix(dy, group_o, plane, plane), dx, false);
        }
        dx.fill(T::zero());
        let step = block_len(depth, plane);
        let mut block = Scratch::new(depth * step);
        let mut start = 0;
        while start < plane {
            let columns = step.min(plane - start);
            let block = &mut block[..depth * columns];
            let c = ArrayViewMut2::from_shape((depth, columns), &mut *block).expect("sizes agree");
            gemm(w.t(), matrix(&dy[start..], group_o, columns, plane), c, false)?;
            add_back(shape, block, columns, start..start + columns, dx);
            start += columns;
        }
        Ok(())
    };
    threads::map(tasks, shape.cost(), run).into_iter().collect()
}

pub(super) fn weight_gradient<T: Element>(
    shape: &Shape,
    dy: &[T],
    x: &[T],
    dweight: &mut [T],
) -> Result<()> {
    let (group_c, group_o) = (shape.group_c(), shape.group_o());
    let (taps, plane) = (shape.taps(), shape.out_plane());
    let channels = channel_step(group_c, taps);
    let parts = group_c.div_ceil(channels);
    let units = shape.groups * parts;
    let chunks = if units < CHUNKS { shape.n.min(CHUNKS.div_ceil(units)) } else { 1 };
    let per_chunk = shape.n.div_ceil(chunks);
    let run = |task: usize| -> Result<Scratch<T>> {
        let (unit, chunk) = (task / chunks, task % chunks);
        let (group, part) = (unit / parts, unit % parts);
        let c0 = part * channels;
        let count = channels.min(group_c - c0);
        let depth = count * taps;
        let step = block_len(depth, plane);
        let mut sum = Scratch::zeros(group_o * depth);
        let mut block = Scratch::new(depth * step);
        for n in chunk * per_chunk..((chunk + 1) * per_chunk).min(shape.n) {
            let x = &x[(n * shape.c + group * group_c + c0) * shape.plane()..];
            let x = &x[..count * shape.plane()];
            let dy = &dy[(n * shape.o + group * group_o) * plane..];
            let mut start = 0;
            while start < plane {
                let columns = step.min(plane - start);
                let col = if shape.is_pointwise() {
                    matrix(&x[start..], depth, columns, plane)
                } else {
                    let block = &mut block[..depth * columns];
                    fill(shape, x, start..start + columns, block, columns);
                    matrix(block, depth, columns, columns)
                };
                let dy = matrix(&dy[start..], group_o, columns, plane);
                let c = ArrayViewMut2::from_shape((group_o, depth), &mut sum[..]);
                gemm(dy, col.t(), c.expect("sizes agree"), true)?;
                start += columns;
            }
        }
        Ok(sum)
    };
    let sums: Vec<_> =
        threads::map(units * chunks, shape.cost(), run).into_iter().collect::<Result<_>>()?;
    for (unit, sums) in sums.chunks_exact(chunks).enumerate() {
        let (group, part) = (unit / parts, unit % parts);
        let c0 = part * channels;
        let depth = channels.min(group_c - c0) * taps;
        for o in 0..group_o {
            let first = ((group * group_o + o) * group_c + c0) * taps;
            let row = &mut dweight[first..first + depth];
            row.copy_from_slice(&sums[0][o * depth..][..depth]);
            for sum in &sums[1..] {
                for (to, &part) in row.iter_mut().zip(&sum[o * depth..][..depth]) {
                    *to += part;
                }
            }
        }
    }
    Ok(())
}

impl Shape {
    /// The same with each image as one row, where no tap sees around it.
    pub(super) fn unrolled(&self) -> Self {
        if self.is_pointwise() {
            return Self { image: [1, self.plane()], out: [1, self.out_plane()], ..*self };
        }
        *self
    }

    /// Whether columns are the image itself.
    pub(super) fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1]
            && self.stride == [1, 1]
            && self.pad == [0, 0]
            && self.out == self.image
    }
}

/// Columns of a block, a function of the sizes alone.
fn block_len(depth: usize, plane: usize) -> usize {
    (BLOCK / depth.max(1)).next_multiple_of(64).clamp(64, plane.max(64)).min(plane)
}

/// Images whose columns make a product of `least` columns.
fn images_of(shape: &Shape, least: usize) -> usize {
    least.div_ceil(shape.out_plane()).min(shape.n)
}

/// Channels of a part, whose rows of columns are enough for a product to be fast.
fn channel_step(group_c: usize, taps: usize) -> usize {
    192usize.div_ceil(taps).clamp(1, group_c.max(1))
}

fn matrix<T>(from: &[T], rows: usize, columns: usize, stride: usize) -> ArrayView2<'_, T> {
    let len = if rows == 0 { 0 } else { (rows - 1) * stride + columns };
    ArrayView2::from_shape((rows, columns).strides((stride, 1)), &from[..len])
        .expect("the slice holds the last row")
}

/// Rows of `columns` numbers, `stride` apart, from `first` on.
///
/// # Safety
/// No other task touches those numbers.
unsafe fn rows_mut<'a, T>(
    whole: &'a threads::Shared<T>,
    first: usize,
    rows: usize,
    columns: usize,
    stride: usize,
) -> ArrayViewMut2<'a, T> {
    let _end = whole.at(first + (rows - 1) * stride + columns);
    // SAFETY: the last number is inside, which `at` checked; the view reaches only its rows.
    unsafe { ArrayViewMut2::from_shape_ptr((rows, columns).strides((stride, 1)), whole.at(first)) }
}

/// One row of a block: a tap of a channel, and for each output row what it sees of the image.
struct Walk<'a> {
    shape: &'a Shape,
    start: usize,
    end: usize,
}

impl Walk<'_> {
    /// Calls `run(tap, at, len, input)` for each stretch of outputs in one row: `at` is its place in
    /// the block, `input` where its first number lies in the image and how many outputs before and
    /// within see the image.
    #[inline(always)]
    fn each(&self, mut run: impl FnMut(usize, usize, usize, Option<Stretch>)) {
        let shape = self.shape;
        let (width, [stride_y, stride_x]) = (shape.out[1], shape.stride);
        for tap in 0..shape.taps() {
            let (ky, kx) = (tap / shape.kernel[1], tap % shape.kernel[1]);
            let shift = kx * shape.dilation[1];
            let low = shape.pad[1].saturating_sub(shift).div_ceil(stride_x);
            let high = (shape.image[1] + shape.pad[1]).saturating_sub(shift).div_ceil(stride_x);
            let mut position = self.start;
            while position < self.end {
                let (oy, ox) = (position / width, position % width);
                let len = (width - ox).min(self.end - position);
                let from = low.clamp(ox, ox + len);
                let to = high.clamp(from, ox + len);
                let y = (oy * stride_y + ky * shape.dilation[0]).wrapping_sub(shape.pad[0]);
                let seen = (y < shape.image[0] && from < to).then(|| Stretch {
                    first: y * shape.image[1] + from * stride_x + shift - shape.pad[1],
                    before: from - ox,
                    len: to - from,
                });
                run(tap, position - self.start, len, seen);
                position += len;
            }
        }
    }
}

/// Outputs of a row that see the image.
struct Stretch {
    first: usize,
    before: usize,
    len: usize,
}

/// Writes the columns of the outputs `range` for all channels of `x`, to rows of `pitch` numbers.
fn fill<T: Element>(shape: &Shape, x: &[T], range: Range<usize>, block: &mut [T], pitch: usize) {
    let stride = shape.stride[1];
    let walk = Walk { shape, start: range.start, end: range.end };
    let taps = shape.taps();
    for (x, block) in x.chunks_exact(shape.plane()).zip(block.chunks_mut(taps * pitch)) {
        walk.each(|tap, at, len, seen| {
            let row = &mut block[tap * pitch + at..][..len];
            let Some(seen) = seen else { return row.fill(T::zero()) };
            row[..seen.before].fill(T::zero());
            row[seen.before + seen.len..].fill(T::zero());
            let row = &mut row[seen.before..][..seen.len];
            if stride == 1 {
                row.copy_from_slice(&x[seen.first..][..seen.len]);
            } else {
                let x = x[seen.first..].iter().step_by(stride);
                row.iter_mut().zip(x).for_each(|(to, &x)| *to = x);
            }
        });
    }
}

/// Adds the columns of the outputs `range`, in rows of `pitch` numbers, back to the image.
fn add_back<T: Element>(
    shape: &Shape,
    block: &[T],
    pitch: usize,
    range: Range<usize>,
    dx: &mut [T],
) {
    let stride = shape.stride[1];
    let walk = Walk { shape, start: range.start, end: range.end };
    let taps = shape.taps();
    for (dx, block) in dx.chunks_exact_mut(shape.plane()).zip(block.chunks(taps * pitch)) {
        walk.each(|tap, at, _, seen| {
            let Some(seen) = seen else { return };
            let row = &block[tap * pitch + at + seen.before..][..seen.len];
            if stride == 1 {
                let dx = &mut dx[seen.first..][..seen.len];
                dx.iter_mut().zip(row).for_each(|(dx, &d)| *dx += d);
            } else {
                let dx = dx[seen.first..].iter_mut().step_by(stride);
                dx.zip(row).for_each(|(dx, &d)| *dx += d);
            }
        });
    }
}
