//! Convolution without columns: what a tap sees of a row of outputs is a window of the image.
//!
//! y[r, t] = b[r] + sum over k of w[r, k] z[offset(k) + t] for each row of outputs, with k a tap of a
//! channel. z is a copy of a part of the image with zeros around; where outputs are several inputs
//! apart it has a plane for each remainder, so that outputs side by side see inputs side by side. Where
//! lines fill vectors badly, those of a part follow each other as one, and what the windows see between
//! them is left out of the output. For stride 1 the gradient of the input is a sum of the same form.
#![allow(unsafe_code)]

use std::ops::Range;

use super::axis::{Axis, Seen, Tap};
use super::lines::{self, Panels, Target, Tiles};
use super::{Shape, narrow};
use crate::layout::spaced_of;
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

/// The sources from `first` on that a task takes together, in the order of the sum: that of the
/// weights, or where rows of the kernel may see only zeros, which are then left out, all of what lies
/// in one row before the next.
pub(super) struct Chunk {
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
    /// Which number of a kernel the weight of each tap is.
    places: Vec<usize>,
    /// Distances of weights between groups, rows and sources.
    strides: [usize; 3],
    /// Whether the sum is in the order of the weights of a row.
    in_order: bool,
    /// Most outputs of a task on each axis, and sources it takes at a time.
    pub(super) part: [usize; 2],
    pub(super) chunk: usize,
    /// Whether the lines of a part follow each other as one.
    joined: bool,
    /// Numbers in a line and in a plane of the copy.
    pub(super) pitch: usize,
    plane: usize,
}

/// How outputs are cut into parts.
#[derive(Clone, Copy)]
pub(super) struct Cut {
    /// Most of a part.
    pub(super) lines: usize,
    pub(super) columns: usize,
    /// Distance of lines that follow each other as one, with outputs between that nobody asked for.
    pub(super) joined: Option<usize>,
}

impl Pass {
    fn new(
        axes: [Axis; 2],
        groups: usize,
        [sources, rows]: [usize; 2],
        strides: [usize; 3],
        places: Vec<usize>,
    ) -> Self {
        let chunk = DEPTH.div_ceil(axes[0].taps.len() * axes[1].taps.len()).min(sources);
        let columns = columns(axes[1].outputs);
        let pass = Self {
            axes,
            groups,
            sources,
            rows,
            taps: Vec::new(),
            places,
            strides,
            in_order: false,
            part: [0; 2],
            chunk,
            joined: false,
            pitch: 0,
            plane: 0,
        };
        pass.cut(Cut { lines: usize::MAX, columns, joined: None })
    }

    /// The same in other parts.
    pub(super) fn cut(mut self, cut: Cut) -> Self {
        let [y, x] = &self.axes;
        let pitch = cut.joined.unwrap_or(cut.columns + x.margin);
        let held = HELD / (self.chunk * y.planes.len() * x.planes.len() * pitch);
        let lines = held.saturating_sub(y.margin).min(cut.lines).clamp(1, y.outputs);
        // An odd number of cache lines: planes of all channels must not fall on the same sets.
        let plane = (((lines + y.margin) * pitch).div_ceil(MAX_LANES) | 1) * MAX_LANES;
        let window = |ty: &Tap, tx: &Tap| {
            let plane_at = ty.plane * x.planes.len() + tx.plane;
            plane_at * plane + ty.at * pitch + tx.at
        };
        let taps = y.taps.iter().flat_map(|ty| x.taps.iter().map(move |tx| window(ty, tx)));
        let taps: Vec<_> = taps.collect();
        let sees_all = |line| cut.joined.is_some() || y.seeing(line) == (0..y.taps.len());
        self.in_order = self.strides[1..] == [self.sources * taps.len(), taps.len()]
            && sees_all(0)
            && sees_all(y.outputs - 1);
        (self.taps, self.part, self.joined) = (taps, [lines, cut.columns], cut.joined.is_some());
        (self.pitch, self.plane) = (pitch, plane);
        self
    }

    /// The same with lines joined, where that fills vectors better.
    fn joined_up<T: Element>(self, narrow: bool) -> Self {
        let (width, margin) = (self.width(), self.margin());
        if narrow || !lines::gains_by_joining::<T>(width, margin, self.depth()) {
            return self;
        }
        let pitch = width + margin;
        let lines = (HELD / (self.rows * pitch)).max(1);
        self.cut(Cut { lines, columns: width, joined: Some(pitch) })
    }

    /// The sum of [`forward`], with parts of `most` outputs.
    pub(super) fn forward(shape: &Shape, most: usize) -> Self {
        let axes = [0, 1].map(|axis| Axis::forward(shape, axis));
        let channels = [shape.group_c(), shape.group_o()];
        let row = shape.group_c() * shape.taps();
        let strides = [shape.group_o() * row, row, shape.taps()];
        let places = (0..shape.taps()).collect();
        let columns = columns(shape.out[1]);
        let pass = Self::new(axes, shape.groups, channels, strides, places);
        pass.cut(Cut { lines: most / columns, columns, joined: None })
    }

    /// The sum for the gradient of the inputs that are whole strides after number `phase`; `None` if
    /// they see no tap.
    pub(super) fn backward(shape: &Shape, phase: [usize; 2]) -> Option<Self> {
        let (y, ky) = Axis::backward(shape, 0, phase[0])?;
        let (x, kx) = Axis::backward(shape, 1, phase[1])?;
        let channels = [shape.group_o(), shape.group_c()];
        let source = shape.group_c() * shape.taps();
        let strides = [shape.group_o() * source, shape.taps(), source];
        let across = shape.kernel[1];
        let places = ky.iter().flat_map(|ky| kx.iter().map(move |kx| ky * across + kx)).collect();
        Some(Self::new([y, x], shape.groups, channels, strides, places))
    }

    /// Lines of a part, where the outputs have more.
    pub(super) fn cut_to(&self) -> Option<usize> {
        Some(self.part[0]).filter(|&lines| lines < self.axes[0].outputs)
    }

    /// Inputs of a channel.
    pub(super) fn inputs(&self) -> usize {
        self.axes[0].inputs * self.axes[1].inputs
    }

    /// Inputs more than outputs that a line sees.
    pub(super) fn margin(&self) -> usize {
        self.axes[1].margin
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

    /// Terms of the sum.
    pub(super) fn depth(&self) -> usize {
        self.sources * self.taps.len()
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
    pub(super) fn chunks(&self) -> Vec<Chunk> {
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
            for places in self.places.chunks_exact(across) {
                for source in first..self.sources.min(first + self.chunk) {
                    let weight = &weight[source * source_stride..];
                    for (&place, term) in places.iter().zip(terms.by_ref()) {
                        for (row, to) in term.iter_mut().enumerate() {
                            *to = weight[place + row * row_stride];
                        }
                    }
                }
            }
        }
    }

    /// Weights of all groups as panels of a tile's rows.
    pub(super) fn weights<T: Element>(&self, weight: &[T], tiles: Tiles) -> Scratch<T> {
        let depth = self.depth();
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
            let rows = y_axis.inputs_of(i % planes / x_axis.planes.len(), from[0], lines);
            let columns = x_axis.inputs_of(i % x_axis.planes.len(), from[1], self.pitch);
            copy_plane(x, x_axis.inputs, rows, columns, self.pitch, &mut z[..lines * self.pitch]);
        }
    }

    /// Writes the sum for images `x` to `y`.
    fn run<T: Element>(
        &self,
        n: usize,
        mut rows: Rows,
        x: &[T],
        weight: &[T],
        bias: Option<&[T]>,
        y: &mut [T],
    ) {
        let chunks = self.chunks();
        let images = n * self.groups;
        let parts = self.parts()[0] * self.parts()[1];
        let tiles = &mut rows.tiles;
        // Threads share the tiles of a single image.
        if images * parts == 1 && tiles.count > 1 {
            tiles.count = tiles.count.next_multiple_of(2).min(tiles.units);
        }
        let shares = rows.shares(images * parts);
        // What one thread has just written is slow to read for another.
        let packed = (images * parts > 1).then(|| self.weights(weight, rows.tiles));
        let depth = self.depth();
        let stride = self.outputs();
        let cost = images.saturating_mul(self.rows * depth * stride) / at_once::<T>();
        let whole = Shared::new(y);
        threads::for_each(images * parts * shares, cost, |task| {
            let (region, share) = (task / shares, task % shares);
            let image = region / parts;
            let (from, size) = self.place(region % parts);
            let tiles = rows.of_share(shares, share);
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
            let target = Target { whole, first, stride, columns: size[1], accumulate: false, bias };
            let region = Region { from, lines: size[0], pitch: self.width() };
            let x = &x[image * self.sources * self.inputs()..];
            let sum = Sum { tiles: &tiles, narrow: rows.narrow, weights, chunks: &chunks };
            if !self.joined {
                return self.sum(x, &region, &sum, target);
            }
            let apart = self.part[0] * self.pitch;
            let mut room = Scratch::new(self.rows * apart);
            let joined =
                Target { whole: Shared::new(&mut room), first: 0, stride: apart, ..target };
            self.sum(x, &region, &sum, joined);
            for row in tiles.into_iter().flatten() {
                let from = room[row * apart..].chunks(self.pitch);
                for (line, from) in from.take(size[0]).enumerate() {
                    let at = first + row * stride + line * self.width();
                    // SAFETY: tasks have lines or channels of their own.
                    let to = unsafe { whole.slice(at..at + size[1]) };
                    to.copy_from_slice(&from[..size[1]]);
                }
            }
        });
    }

    /// Writes the sum for the outputs of a region to `target`, which is that of its first line; joined
    /// lines lie as far apart as in the copy.
    pub(super) fn sum<T: Element>(
        &self,
        x: &[T],
        region: &Region,
        sum: &Sum<'_, T>,
        target: Target<'_, T>,
    ) {
        let (depth, across) = (self.depth(), self.axes[1].taps.len());
        let mut z = Scratch::new(self.copy_len());
        for chunk in sum.chunks {
            self.copy(&x[chunk.first * self.inputs()..], region.from, chunk.sources, &mut z);
            let between = if self.joined { (region.lines - 1) * self.pitch } else { 0 };
            let columns = between + target.columns;
            for line in 0..if self.joined { 1 } else { region.lines } {
                let seeing = match self.joined {
                    true => 0..self.axes[0].taps.len(),
                    false => self.axes[0].seeing(region.from[0] + line),
                };
                let across = chunk.sources * across;
                let terms = seeing.start * across..seeing.end * across;
                let start = chunk.first * self.taps.len() + terms.start;
                let weights = Panels { start: sum.weights, depth, from: start };
                let first = target.first + line * region.pitch;
                let accumulate = chunk.first > 0;
                let target = Target { first, columns, accumulate, ..target };
                let (offsets, z) = (&chunk.offsets[terms], &z[line * self.pitch..]);
                if sum.narrow {
                    narrow::run_line(sum.tiles, weights, offsets, z, target);
                } else {
                    lines::run_line(sum.tiles, weights, offsets, z, target);
                }
            }
        }
    }
}

/// How output channels are shared out.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    pub(super) tiles: Tiles,
    /// Whether a vector holds channels, not columns.
    pub(super) narrow: bool,
}

impl Rows {
    /// For lines of `width` outputs.
    pub(super) fn new<T: Element>(width: usize, rows: usize) -> Self {
        let narrow = narrow::suits::<T>(width, rows);
        let tiles = if narrow { narrow::tiles::<T>(rows) } else { lines::tiles::<T>(rows) };
        Self { tiles, narrow }
    }

    /// Tasks for each of so many regions.
    pub(super) fn shares(&self, regions: usize) -> usize {
        FEW_TASKS.div_ceil(regions).min(self.tiles.count)
    }

    /// The tiles of one share of so many.
    pub(super) fn of_share(&self, shares: usize, share: usize) -> Vec<Range<usize>> {
        part_of(self.tiles.count, shares, share).map(|tile| self.tiles.rows(tile)).collect()
    }
}

/// Outputs of an image: the first on each axis, the lines, and their distance in the target.
pub(super) struct Region {
    pub(super) from: [usize; 2],
    pub(super) lines: usize,
    pub(super) pitch: usize,
}

/// What of a sum a task works out: tiles of output channels from their group's panels of weights.
pub(super) struct Sum<'a, T> {
    pub(super) tiles: &'a [Range<usize>],
    pub(super) narrow: bool,
    pub(super) weights: &'a [T],
    pub(super) chunks: &'a [Chunk],
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
    /// Inputs of rows and columns, of lines of `width`, in lines of `pitch` numbers with zeros around.
    fn copy_plane<S, T: Element>(
        x: &[T],
        width: usize,
        rows: Seen,
        columns: Seen,
        pitch: usize,
        z: &mut [T],
    ) {
        let clear = |z: &mut [T]| {
            z.chunks_mut(T::V::<S>::LANES).for_each(|z| T::V::<S>::zero().write(z));
        };
        for (line, z) in z.chunks_exact_mut(pitch).enumerate() {
            let Some(row) = line.checked_sub(rows.before).filter(|&row| row < rows.count) else {
                clear(z);
                continue;
            };
            let (before, rest) = z.split_at_mut(columns.before);
            let (seen, after) = rest.split_at_mut(columns.count);
            clear(before);
            clear(after);
            let x = &x[(rows.first + row * rows.step) * width + columns.first..];
            spaced_of::<T::V<S>>(x, columns.step, seen);
        }
    }
}

vectorized! {
    /// Multiplications of about a nanosecond.
    fn at_once<S, T: Element>() -> usize {
        2 * T::V::<S>::LANES
    }
}

/// Columns of a part of so many, in whole vectors.
pub(super) fn columns(outputs: usize) -> usize {
    outputs.div_ceil(outputs.div_ceil(WIDTH)).next_multiple_of(MAX_LANES)
}

/// Whether lines of `width` outputs fill vectors, `rows` channels make use of each, and a task's copy
/// of the image holds little that none of its outputs sees.
pub(super) fn suits(shape: &Shape, width: usize, rows: usize) -> bool {
    width >= SHORT && has_rows(rows) && !shape.is_pointwise() && is_dense(shape)
}

/// Whether `rows` channels make use of each window.
pub(super) fn has_rows(rows: usize) -> bool {
    rows >= FEW_ROWS
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
    let pass = Pass::forward(shape, usize::MAX);
    let rows = Rows::new::<T>(pass.width(), pass.rows);
    pass.joined_up::<T>(rows.narrow).run(shape.n, rows, x, weight, bias, y);
}

/// Gradient of the input from `dy`, for stride 1.
pub(super) fn data_gradient<T: Element>(shape: &Shape, dy: &[T], weight: &[T], dx: &mut [T]) {
    let pass = Pass::backward(shape, [0, 0]).expect("a tap for each input");
    let rows = Rows::new::<T>(pass.width(), pass.rows);
    pass.joined_up::<T>(rows.narrow).run(shape.n, rows, dy, weight, None, dx);
}
