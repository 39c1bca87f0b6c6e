//! Convolution as matrix products with blocks of columns.
//!
//! A column holds what the kernel sees at one output: `col[(c, k), p] = x[c, s p + d k - pad]`, so
//! y = w col, dcol = w' dy, dw = dy col'. Blocks of columns are made in scratch that stays in cache.
#![allow(unsafe_code)]

use std::ops::Range;

use ndarray::{ArrayView2, ArrayViewMut2, ShapeBuilder};

use super::Shape;
use super::windows::{self, Cut, Pass};
use crate::layout::spaced_of;
use crate::matmul::gemm;
use crate::memory::Scratch;
use crate::simd::{MAX_LANES, Vector};
use crate::{Element, Result, threads, vectorized};

/// Numbers in a block of columns.
const BLOCK: usize = 1 << 17;

/// Columns at least in a product with all weights: small images go together.
const FEW: usize = 64;

/// The same with a part of the weights, which is smaller.
const MANY: usize = 128;

/// Numbers of a row of columns behind the last one, for whole vectors that begin before it.
const ROOM: usize = MAX_LANES;

/// Taps that see an input on average from which a copy of the image pays.
const SHARED: usize = 2;

/// Channels whose columns are made together.
const TOGETHER: usize = 4;

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
    let maker = Maker::new(shape);
    let (step, images) = (maker.step(), images_of(shape, FEW));
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
            let add = begin(&mut y, bias);
            if shape.is_pointwise() {
                let x = matrix(&x(n)[range.start..], depth, columns, plane);
                return gemm(w, x, y, add);
            }
            let pitch = columns + ROOM;
            let mut block = Scratch::new(depth * pitch);
            maker.fill(x(n), range.clone(), &mut block, pitch);
            return gemm(w, matrix(&block, depth, columns, pitch), y, add);
        }
        let width = images.len() * columns;
        let pitch = width + ROOM;
        let mut block = Scratch::new(depth * pitch);
        for (i, n) in images.clone().enumerate() {
            maker.fill(x(n), range.clone(), &mut block[i * columns..], pitch);
        }
        let mut sums = Scratch::new(group_o * width);
        let c = ArrayViewMut2::from_shape((group_o, width), &mut sums[..]).expect("sizes agree");
        gemm(w, matrix(&block, depth, width, pitch), c, false)?;
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

pub(super) fn matrix<T>(
    from: &[T],
    rows: usize,
    columns: usize,
    stride: usize,
) -> ArrayView2<'_, T> {
    let len = if rows == 0 { 0 } else { (rows - 1) * stride + columns };
    ArrayView2::from_shape((rows, columns).strides((stride, 1)), &from[..len])
        .expect("the slice holds the last row")
}

/// Writes the bias of each row, if there is one, and returns whether the product is to be added.
pub(super) fn begin<T: Element>(y: &mut ArrayViewMut2<'_, T>, bias: Option<&[T]>) -> bool {
    if let Some(bias) = bias {
        y.rows_mut().into_iter().zip(bias).for_each(|(mut row, &bias)| row.fill(bias));
    }
    bias.is_some()
}

/// Rows of `columns` numbers, `stride` apart, from `first` on.
///
/// # Safety
/// No other task touches those numbers.
pub(super) unsafe fn rows_mut<'a, T>(
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

/// Makes the columns of [`forward`].
struct Maker<'a> {
    shape: &'a Shape,
    /// Copies with zeros around, whose windows are the lines of columns, and where these begin; none
    /// where few taps see the same inputs or lines are long.
    windows: Option<(Pass, Vec<usize>)>,
}

impl<'a> Maker<'a> {
    fn new(shape: &'a Shape) -> Self {
        let width = shape.out[1];
        let lines = block_len(shape.group_c() * shape.taps(), shape.out_plane()) / width;
        let shared = shape.taps() >= SHARED * shape.stride[0] * shape.stride[1];
        let copied = lines > 0 && shared && !shape.is_pointwise() && windows::is_dense(shape);
        let windows = copied.then(|| {
            let pass = Pass::forward(shape, usize::MAX);
            let joined = Some(width + pass.margin());
            let pass = pass.cut(Cut { lines, columns: width, joined });
            let offsets = pass.offsets();
            (pass, offsets)
        });
        Self { shape, windows }
    }

    /// Outputs of a block: whole lines where there is a copy.
    fn step(&self) -> usize {
        let shape = self.shape;
        match &self.windows {
            Some((pass, _)) => pass.part[0] * pass.part[1],
            None => block_len(shape.group_c() * shape.taps(), shape.out_plane()),
        }
    }

    /// Writes the columns of a block for all channels of `x`, to rows of `pitch` numbers, and anything
    /// to as many as [`ROOM`] behind them.
    fn fill<T: Element>(&self, x: &[T], range: Range<usize>, columns: &mut [T], pitch: usize) {
        let Some((pass, offsets)) = &self.windows else {
            return fill(self.shape, x, range, columns, pitch);
        };
        let (width, taps) = (pass.width(), self.shape.taps());
        let (from, lines) = ([range.start / width, 0], range.len() / width);
        let mut z = Scratch::new(pass.copy_len());
        for first in (0..pass.sources).step_by(pass.chunk) {
            let count = pass.chunk.min(pass.sources - first);
            pass.copy(&x[first * pass.inputs()..], from, count, &mut z);
            let columns = &mut columns[first * taps * pitch..];
            lay_out(&z, &offsets[..count * taps], [lines, width], pass.pitch, columns, pitch);
        }
    }
}

vectorized! {
    /// Writes `lines` of `width` numbers, `apart` in `z` from each of `offsets` on, one after the other
    /// to a row, and anything to less than a vector behind it.
    fn lay_out<S, T: Element>(
        z: &[T],
        offsets: &[usize],
        size: [usize; 2],
        apart: usize,
        rows: &mut [T],
        pitch: usize,
    ) {
        let lanes = T::V::<S>::LANES;
        let [lines, width] = size;
        let whole = width.next_multiple_of(lanes);
        let last = offsets.iter().max().expect("a tap") + (lines - 1) * apart;
        assert!(last + whole <= z.len());
        assert!((offsets.len() - 1) * pitch + (lines - 1) * width + whole <= rows.len());
        for (i, &offset) in offsets.iter().enumerate() {
            for line in 0..lines {
                // SAFETY: as asserted; later lines write over what lies behind this one.
                unsafe {
                    let from = z.as_ptr().add(offset + line * apart);
                    let to = rows.as_mut_ptr().add(i * pitch + line * width);
                    for at in (0..width).step_by(lanes) {
                        T::V::<S>::load(from.add(at)).store(to.add(at));
                    }
                }
            }
        }
    }
}

/// A block of the outputs `range` of a channel.
struct Block<'a> {
    shape: &'a Shape,
    outputs: usize,
    /// Row and column of the first output.
    first: [usize; 2],
    taps: Vec<Tap>,
}

/// A tap, and which outputs of a row see the image by it.
struct Tap {
    shift: [usize; 2],
    low: usize,
    high: usize,
}

/// Neighbouring outputs in one row: `at` is their place in the block.
struct Stretch {
    at: usize,
    len: usize,
    seen: Option<Seen>,
}

/// What outputs see of the image, of which as many as `before` see nothing.
#[derive(Clone, Copy)]
struct Seen {
    first: usize,
    before: usize,
    len: usize,
}

impl<'a> Block<'a> {
    fn new(shape: &'a Shape, range: Range<usize>) -> Self {
        let tap = |tap: usize| {
            let shift = [tap / shape.kernel[1], tap % shape.kernel[1]];
            let shift = [shift[0] * shape.dilation[0], shift[1] * shape.dilation[1]];
            let outputs = |inputs: usize| inputs.saturating_sub(shift[1]).div_ceil(shape.stride[1]);
            let (low, high) = (outputs(shape.pad[1]), outputs(shape.image[1] + shape.pad[1]));
            Tap { shift, low, high }
        };
        let first = [range.start / shape.out[1], range.start % shape.out[1]];
        let taps = (0..shape.taps()).map(tap).collect();
        Self { shape, outputs: range.len(), first, taps }
    }

    /// Its outputs in stretches, and what they see by `tap`.
    #[inline(always)]
    fn stretches(&self, tap: &'a Tap) -> Stretches<'_> {
        Stretches { block: self, tap, at: 0, next: self.first }
    }
}

struct Stretches<'a> {
    block: &'a Block<'a>,
    tap: &'a Tap,
    at: usize,
    next: [usize; 2],
}

impl Iterator for Stretches<'_> {
    type Item = Stretch;

    #[inline(always)]
    fn next(&mut self) -> Option<Stretch> {
        let (shape, tap, at, [oy, ox]) = (self.block.shape, self.tap, self.at, self.next);
        let len = (shape.out[1] - ox).min(self.block.outputs - at);
        if len == 0 {
            return None;
        }
        (self.at, self.next) = (at + len, [oy + 1, 0]);
        let from = tap.low.clamp(ox, ox + len);
        let to = tap.high.clamp(from, ox + len);
        let y = (oy * shape.stride[0] + tap.shift[0]).wrapping_sub(shape.pad[0]);
        let seen = (y < shape.image[0] && from < to).then(|| Seen {
            first: y * shape.image[1] + from * shape.stride[1] + tap.shift[1] - shape.pad[1],
            before: from - ox,
            len: to - from,
        });
        Some(Stretch { at, len, seen })
    }
}

vectorized! {
    /// Writes the columns of the outputs `range` for all channels of `x`, to rows of `pitch`
    /// numbers.
    fn fill<S, T: Element>(
        shape: &Shape, x: &[T], range: Range<usize>, columns: &mut [T], pitch: usize,
    ) {
        let (block, plane) = (Block::new(shape, range), shape.plane());
        let depth = shape.taps() * pitch;
        // What a tap sees is worked out once for several channels.
        let channels = x.chunks(TOGETHER * plane).zip(columns.chunks_mut(TOGETHER * depth));
        for (x, columns) in channels {
            for (i, tap) in block.taps.iter().enumerate() {
                for Stretch { at, len, seen } in block.stretches(tap) {
                    for (x, columns) in x.chunks_exact(plane).zip(columns.chunks_mut(depth)) {
                        let row = &mut columns[i * pitch + at..][..len];
                        let Some(Seen { first, before, len: seen }) = seen else {
                            row.fill(T::zero());
                            continue;
                        };
                        // Mostly none, for which a call would take longer than to look.
                        if before > 0 {
                            row[..before].fill(T::zero());
                        }
                        if before + seen < len {
                            row[before + seen..].fill(T::zero());
                        }
                        let row = &mut row[before..][..seen];
                        spaced_of::<T::V<S>>(&x[first..], shape.stride[1], row);
                    }
                }
            }
        }
    }
}

/// Adds the columns of the outputs `range`, in rows of `pitch` numbers, back to the image.
fn add_back<T: Element>(
    shape: &Shape,
    columns: &[T],
    pitch: usize,
    range: Range<usize>,
    dx: &mut [T],
) {
    let block = Block::new(shape, range);
    let stride = shape.stride[1];
    let channels = dx.chunks_exact_mut(shape.plane()).zip(columns.chunks(shape.taps() * pitch));
    for (dx, columns) in channels {
        for (tap, columns) in block.taps.iter().zip(columns.chunks(pitch)) {
            for Stretch { at, seen, .. } in block.stretches(tap) {
                let Some(seen) = seen else { continue };
                let row = &columns[at + seen.before..][..seen.len];
                if stride == 1 {
                    let dx = &mut dx[seen.first..][..seen.len];
                    dx.iter_mut().zip(row).for_each(|(dx, &d)| *dx += d);
                } else {
                    let dx = dx[seen.first..].iter_mut().step_by(stride);
                    dx.zip(row).for_each(|(dx, &d)| *dx += d);
                }
            }
        }
    }
}
