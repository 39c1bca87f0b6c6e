//! Convolution without columns: what a tap sees of a row of outputs is a window of the image.
//!
//! y[r, t] = b[r] + sum over k of w[r, k] z[offset(k) + t] for each row of outputs, with k a tap of a
//! channel. z is a copy of a part of the image with zeros around; where outputs are several inputs
//! apart it has a plane for each remainder, so that outputs side by side see inputs side by side. For
//! stride 1 the gradient of the input is a sum of the same form.
#![allow(unsafe_code)]

use std::ops::Range;

use super::lines::{self, Panels, Target, Tiles};
use super::{Shape, narrow};
use crate::layout::spaced;
use crate::matmul::transposed;
use crate::memory::Scratch;
use crate::simd::{MAX_LANES, Vector};
use crate::threads::{Shared, part_of};
use crate::{Element, threads, vectorized};

/// Numbers of the copy of the image that a task holds.
const HELD: usize = 1 << 16;

/// Terms of the sum between visits to the output.
const DEPTH: usize = 512;

/// Most outputs of a row in a task.
const WIDTH: usize = 512;

/// Outputs in a line below which columns of several lines fill vectors better.
const SHORT: usize = 10;

/// Channels below which windows are read too often for what is done with them.
const FEW_ROWS: usize = 4;

/// Fewer tasks than this share out their output channels too.
const FEW_TASKS: usize = 8;

/// One axis of outputs and the inputs that their taps see.
struct Axis {
    outputs: usize,
    inputs: usize,
    /// Inputs between those of one output and the next.
    step: usize,
    /// Remainders of inputs by `step`, each a plane of the copy.
    planes: Vec<usize>,
    /// Quotient of the first input in the copy for output 0, and how many more than outputs it holds.
    low: isize,
    margin: usize,
    taps: Vec<Tap>,
}

/// A tap on one axis: where the window of output 0 begins in which plane.
struct Tap {
    plane: usize,
    at: usize,
}

impl Axis {
    /// `taps` says which input output 0 sees by each tap.
    fn new(outputs: usize, inputs: usize, step: usize, taps: Vec<isize>) -> Self {
        let split = |input: isize| {
            let step = step as isize;
            (input.div_euclid(step), input.rem_euclid(step) as usize)
        };
        let quotients = || taps.iter().map(|&input| split(input).0);
        let low = quotients().min().expect("a tap");
        let margin = (quotients().max().expect("a tap") - low) as usize;
        let mut planes: Vec<_> = taps.iter().map(|&input| split(input).1).collect();
        planes.sort_unstable();
        planes.dedup();
        let tap = |&input: &isize| {
            let (quotient, remainder) = split(input);
            let plane = planes.iter().position(|&plane| plane == remainder);
            Tap { plane: plane.expect("in the list"), at: (quotient - low) as usize }
        };
        let taps = taps.iter().map(tap).collect();
        Self { outputs, inputs, step, planes, low, margin, taps }
    }

    fn forward(shape: &Shape, axis: usize) -> Self {
        let [pad, dilation] = [shape.pad[axis], shape.dilation[axis]].map(|n| n as isize);
        let taps = (0..shape.kernel[axis] as isize).map(|k| k * dilation - pad).collect();
        Self::new(shape.out[axis], shape.image[axis], shape.stride[axis], taps)
    }

    /// The same for the gradient of the input.
    fn backward(shape: &Shape, axis: usize) -> Self {
        let [pad, dilation] = [shape.pad[axis], shape.dilation[axis]].map(|n| n as isize);
        let taps = (0..shape.kernel[axis] as isize).map(|k| pad - k * dilation).collect();
        Self::new(shape.image[axis], shape.out[axis], 1, taps)
    }

    /// Taps by which output `index` sees inputs rather than zeros.
    fn seeing(&self, index: usize) -> Range<usize> {
        let sees = |tap: &Tap| {
            let quotient = self.low + (index + tap.at) as isize;
            let input = quotient * self.step as isize + self.planes[tap.plane] as isize;
            (0..self.inputs as isize).contains(&input)
        };
        let first = self.taps.iter().position(sees).unwrap_or(0);
        first..self.taps.iter().rposition(sees).map_or(first, |last| last + 1)
    }

    /// Inputs of plane `plane` that outputs from `from` on see, as many as `held`: how many zeros
    /// come before, the first and the count of those that exist.
    fn inputs_of(&self, plane: usize, from: usize, held: usize) -> (usize, usize, usize) {
        let (step, plane) = (self.step as isize, self.planes[plane] as isize);
        let start = self.low + from as isize;
        let end = (self.inputs as isize - plane + step - 1).div_euclid(step);
        let before = (-start).clamp(0, held as isize);
        let count = (end - start - before).clamp(0, held as isize - before);
        let first = if count > 0 { (start + before) * step + plane } else { 0 };
        (before as usize, first as usize, count as usize)
    }
}

/// The sources from `first` on that a task takes together, in the order of the sum: that of the
/// weights, or where rows of the kernel may see only zeros, which are then left out, all of what lies
/// in one row before the next.
struct Chunk {
    first: usize,
    sources: usize,
    /// Where the windows begin in the copy.
    offsets: Vec<usize>,
}

/// One sum: its outputs, and how channels and weights are found.
pub(super) struct Pass {
    axes: [Axis; 2],
    groups: usize,
    /// Channels of a group that are read and written.
    pub(super) sources: usize,
    rows: usize,
    /// Where the window of each tap begins in the planes of a channel.
    pub(super) taps: Vec<usize>,
    /// Distances of weights between groups, rows and sources.
    strides: [usize; 3],
    /// Whether the sum is in the order of the weights of a row.
    in_order: bool,
    /// Most outputs of a task on each axis, and sources it takes at a time.
    pub(super) part: [usize; 2],
    pub(super) chunk: usize,
    /// Numbers in a line and in a plane of the copy.
    pub(super) pitch: usize,
    plane: usize,
}

impl Pass {
    fn new(
        axes: [Axis; 2],
        groups: usize,
        [sources, rows]: [usize; 2],
        strides: [usize; 3],
        most: usize,
    ) -> Self {
        let [y, x] = &axes;
        let chunk = DEPTH.div_ceil(y.taps.len() * x.taps.len()).min(sources);
        let columns = x.outputs.div_ceil(x.outputs.div_ceil(WIDTH)).next_multiple_of(MAX_LANES);
        let pitch = columns + x.margin;
        let held = HELD / (chunk * y.planes.len() * x.planes.len() * pitch);
        let lines = held.saturating_sub(y.margin).min(most / columns).clamp(1, y.outputs);
        let part = [lines, columns];
        // An odd number of cache lines: planes of all channels must not fall on the same sets.
        let plane = (((part[0] + y.margin) * pitch).div_ceil(MAX_LANES) | 1) * MAX_LANES;
        let window = |ty: &Tap, tx: &Tap| {
            let plane_at = ty.plane * x.planes.len() + tx.plane;
            plane_at * plane + ty.at * pitch + tx.at
        };
        let taps = y.taps.iter().flat_map(|ty| x.taps.iter().map(move |tx| window(ty, tx)));
        let taps: Vec<_> = taps.collect();
        let sees_all = |line| y.seeing(line) == (0..y.taps.len());
        let in_order = strides[1..] == [sources * taps.len(), taps.len()]
            && sees_all(0)
            && sees_all(y.outputs - 1);
        Self { axes, groups, sources, rows, taps, strides, in_order, part, chunk, pitch, plane }
    }

    /// The sum of [`forward`], with parts of `most` outputs.
    pub(super) fn forward(shape: &Shape, most: usize) -> Self {
        let axes = [0, 1].map(|axis| Axis::forward(shape, axis));
        let channels = [shape.group_c(), shape.group_o()];
        let row = shape.group_c() * shape.taps();
        let strides = [shape.group_o() * row, row, shape.taps()];
        Self::new(axes, shape.groups, channels, strides, most)
    }

    /// The sum of [`data_gradient`].
    fn backward(shape: &Shape) -> Self {
        let axes = [0, 1].map(|axis| Axis::backward(shape, axis));
        let channels = [shape.group_o(), shape.group_c()];
        let source = shape.group_c() * shape.taps();
        let strides = [shape.group_o() * source, shape.taps(), source];
        Self::new(axes, shape.groups, channels, strides, usize::MAX)
    }

    /// Inputs of a channel.
    pub(super) fn inputs(&self) -> usize {
        self.axes[0].inputs * self.axes[1].inputs
    }

    /// Outputs of a line.
    pub(super) fn width(&self) -> usize {
        self.axes[1].outputs
    }

    /// Outputs of a channel.
    pub(super) fn outputs(&self) -> usize {
        self.axes[0].outputs * self.axes[1].outputs
    }

    /// Parts of the outputs on each axis.
    pub(super) fn parts(&self) -> [usize; 2] {
        [0, 1].map(|i| self.axes[i].outputs.div_ceil(self.part[i]))
    }

    /// First output and size of a part, on each axis.
    pub(super) fn place(&self, part: usize) -> ([usize; 2], [usize; 2]) {
        let across = self.parts()[1];
        let from = [part / across * self.part[0], part % across * self.part[1]];
        (from, [0, 1].map(|i| self.part[i].min(self.axes[i].outputs - from[i])))
    }

    /// Where the windows of all taps of a chunk of channels begin in the copy.
    pub(super) fn offsets(&self) -> Vec<usize> {
        let len = self.source_len();
        let windows = |source| self.taps.iter().map(move |tap| source * len + tap);
        (0..self.chunk).flat_map(windows).collect()
    }

    /// Numbers of the copy, and of vectors that begin with the last in it.
    pub(super) fn copy_len(&self) -> usize {
        self.chunk * self.source_len() + 2 * MAX_LANES
    }

    /// Numbers of a channel in the copy.
    fn source_len(&self) -> usize {
        self.axes[0].planes.len() * self.axes[1].planes.len() * self.plane
    }

    /// All sources in parts.
    fn chunks(&self) -> Vec<Chunk> {
        let (len, across) = (self.source_len(), self.axes[1].taps.len());
        let chunk = |first: usize| {
            let sources = self.chunk.min(self.sources - first);
            let mut offsets = Vec::with_capacity(sources * self.taps.len());
            let row = if self.in_order { self.taps.len() } else { across };
            for taps in self.taps.chunks_exact(row) {
                for source in 0..sources {
                    offsets.extend(taps.iter().map(|tap| source * len + tap));
                }
            }
            Chunk { first, sources, offsets }
        };
        (0..self.sources).step_by(self.chunk).map(chunk).collect()
    }

    /// Weights of `rows` of a group, in the order of the sum.
    fn pack<T: Element>(&self, weight: &[T], group: usize, rows: Range<usize>, panel: &mut [T]) {
        let [group_stride, row_stride, source_stride] = self.strides;
        let weight = &weight[group * group_stride + rows.start * row_stride..];
        if self.in_order {
            turn(weight, row_stride, rows.len(), panel);
            return;
        }
        let across = self.axes[1].taps.len();
        let mut terms = panel.chunks_exact_mut(rows.len());
        for first in (0..self.sources).step_by(self.chunk) {
            for ky in (0..self.taps.len()).step_by(across) {
                for source in first..self.sources.min(first + self.chunk) {
                    let weight = &weight[source * source_stride + ky..];
                    for (kx, term) in terms.by_ref().take(across).enumerate() {
                        for (row, to) in term.iter_mut().enumerate() {
                            *to = weight[kx + row * row_stride];
                        }
                    }
                }
            }
        }
    }

    /// Weights of all groups as panels of a tile's rows.
    fn weights<T: Element>(&self, weight: &[T], tiles: Tiles) -> Scratch<T> {
        let depth = self.sources * self.taps.len();
        let mut packed = Scratch::new(self.groups * self.rows * depth);
        let cost = packed.len();
        let out = Shared::new(&mut packed);
        threads::for_each(self.groups * tiles.count, cost, |task| {
            let (group, rows) = (task / tiles.count, tiles.rows(task % tiles.count));
            let start = (group * self.rows + rows.start) * depth;
            // SAFETY: tiles have rows of their own.
            let panel = unsafe { out.slice(start..start + rows.len() * depth) };
            self.pack(weight, group, rows, panel);
        });
        packed
    }

    /// Copies what outputs from `from` on see of the first `sources` channels of `x` to `z`.
    pub(super) fn copy<T: Element>(&self, x: &[T], from: [usize; 2], sources: usize, z: &mut [T]) {
        let [y_axis, x_axis] = &self.axes;
        let lines = self.part[0] + y_axis.margin;
        let planes = y_axis.planes.len() * x_axis.planes.len();
        for (i, z) in z.chunks_exact_mut(self.plane).take(sources * planes).enumerate() {
            let x = &x[i / planes * y_axis.inputs * x_axis.inputs..];
            let (top, first, seen) =
                y_axis.inputs_of(i % planes / x_axis.planes.len(), from[0], lines);
            let (left, column, count) =
                x_axis.inputs_of(i % x_axis.planes.len(), from[1], self.pitch);
            for (line, z) in z.chunks_exact_mut(self.pitch).take(lines).enumerate() {
                if line < top || line >= top + seen {
                    z.fill(T::zero());
                    continue;
                }
                let row = first + (line - top) * y_axis.step;
                let x = &x[row * x_axis.inputs + column..];
                z[..left].fill(T::zero());
                z[left + count..].fill(T::zero());
                let z = &mut z[left..left + count];
                if x_axis.step == 1 {
                    z.copy_from_slice(&x[..count]);
                } else {
                    spaced(x, x_axis.step, z);
                }
            }
        }
    }

    /// Writes the sum for images `x` to `y`.
    fn run<T: Element>(&self, n: usize, x: &[T], weight: &[T], bias: Option<&[T]>, y: &mut [T]) {
        let chunks = self.chunks();
        let images = n * self.groups;
        let parts = self.parts()[0] * self.parts()[1];
        let narrow = narrow::suits::<T>(self.width(), self.rows);
        let mut tiles =
            if narrow { narrow::tiles::<T>(self.rows) } else { lines::tiles::<T>(self.rows) };
        // Threads share the tiles of a single image.
        if images * parts == 1 && tiles.count > 1 {
            tiles.count = tiles.count.next_multiple_of(2).min(tiles.units);
        }
        let shares = FEW_TASKS.div_ceil(images * parts).min(tiles.count);
        // What one thread has just written is slow to read for another.
        let packed = (images * parts > 1).then(|| self.weights(weight, tiles));
        let depth = self.sources * self.taps.len();
        let stride = self.outputs();
        let cost = images.saturating_mul(self.rows * depth * stride) / at_once::<T>();
        let whole = Shared::new(y);
        threads::for_each(images * parts * shares, cost, |task| {
            let (region, share) = (task / shares, task % shares);
            let image = region / parts;
            let (from, size) = self.place(region % parts);
            let tiles: Vec<_> =
                part_of(tiles.count, shares, share).map(|tile| tiles.rows(tile)).collect();
            let group = image % self.groups * self.rows;
            let bias = bias.map(|bias| &bias[group..group + self.rows]);
            let own = packed.is_none().then(|| {
                let mut own = Scratch::new(self.rows * depth);
                for rows in &tiles {
                    let panel = &mut own[rows.start * depth..rows.end * depth];
                    self.pack(weight, 0, rows.clone(), panel);
                }
                own
            });
            let weights = packed.as_ref().map_or(&[][..], |all| &all[group * depth..]);
            let weights = own.as_deref().unwrap_or(weights);
            let first = image * self.rows * stride + from[0] * self.width() + from[1];
            let mut z = Scratch::new(self.copy_len());
            for chunk in &chunks {
                let x = &x[(image * self.sources + chunk.first) * self.inputs()..];
                self.copy(x, from, chunk.sources, &mut z);
                for line in 0..size[0] {
                    let rows = self.axes[0].seeing(from[0] + line);
                    let across = chunk.sources * self.axes[1].taps.len();
                    let terms = rows.start * across..rows.end * across;
                    let start = chunk.first * self.taps.len() + terms.start;
                    let weights = Panels { start: weights, depth, from: start };
                    let first = first + line * self.width();
                    let accumulate = chunk.first > 0;
                    let target =
                        Target { whole, first, stride, columns: size[1], accumulate, bias };
                    let (offsets, z) = (&chunk.offsets[terms], &z[line * self.pitch..]);
                    if narrow {
                        narrow::run_line(&tiles, weights, offsets, z, target);
                    } else {
                        lines::run_line(&tiles, weights, offsets, z, target);
                    }
                }
            }
        });
    }
}

vectorized! {
    /// The first `height` rows of `weight` as columns.
    fn turn<S, T: Element>(weight: &[T], depth: usize, height: usize, panel: &mut [T]) {
        assert!(weight.len() >= height * depth && panel.len() == height * depth);
        let lanes = T::V::<S>::LANES;
        for first in (0..height).step_by(lanes) {
            let real = lanes.min(height - first);
            // SAFETY: as asserted, with `depth` lines of `height` numbers.
            unsafe {
                let from = weight.as_ptr().add(first * depth);
                let to = panel.as_mut_ptr().add(first);
                transposed::<S, T>(from, depth as isize, depth, real, height, to, real);
            }
        }
    }
}

vectorized! {
    /// Multiplications of about a nanosecond.
    fn at_once<S, T: Element>() -> usize {
        2 * T::V::<S>::LANES
    }
}

/// Whether lines of `width` outputs fill vectors, `rows` channels make use of each, and a task's copy
/// of the image holds little that none of its outputs sees.
pub(super) fn suits(shape: &Shape, width: usize, rows: usize) -> bool {
    width >= SHORT && rows >= FEW_ROWS && !shape.is_pointwise() && is_dense(shape)
}

/// Whether few numbers lie between the taps.
pub(super) fn is_dense(shape: &Shape) -> bool {
    (0..2).all(|i| shape.dilation[i] <= 4 && shape.stride[i] <= 8 && shape.kernel[i] <= 64)
}

/// `y = x conv weight + bias`.
pub(super) fn forward<T: Element>(
    shape: &Shape,
    x: &[T],
    weight: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
) {
    Pass::forward(shape, usize::MAX).run(shape.n, x, weight, bias, y);
}

/// Gradient of the input from `dy`, for stride 1.
pub(super) fn data_gradient<T: Element>(shape: &Shape, dy: &[T], weight: &[T], dx: &mut [T]) {
    Pass::backward(shape).run(shape.n, dy, weight, None, dx);
}
