//! Convolution with 3x3 kernels of stride 1 by Winograd's F(4x4, 3x3).
//!
//! Tiles become 36 points each ([`transform`]); at each point the tiles' channels times the kernels'
//! are one matrix product, 2.25 multiplications for an output of one channel where the definition
//! has nine. The gradient of the input is the same with turned kernels; that of the weight sums
//! products over tiles. Work goes by rows of tiles, in blocks whose points stay in cache.

use super::product::{Left, product};
use super::transform::{self, Channels, Kernels, OUT, POINTS, Points, SIDE, TAPS, to_planes};
use super::{Shape, is_exact};
use crate::memory::Scratch;
use crate::threads::Shared;
use crate::{Element, simd::MAX_LANES, threads};

/// Widest panel of output channels: what a tile of products reads stays in the first cache.
const PANEL: usize = 64;

/// Tiles whose points a task holds at a time.
const BLOCK: usize = 48;

/// Fewer blocks than this share their points, so that panels can be spread over the threads.
const FEW_BLOCKS: usize = 8;

/// Tiles for which turning the kernels into points pays: it costs as much as the products of about
/// ten tiles, whatever the number of channels.
const FEWEST_TILES: usize = 8;

/// Kernels from which on the points of all do not stay in cache.
const LARGE_KERNELS: usize = 1 << 15;

/// Numbers of points of kernels from which on they do not stay in the second cache from one block of
/// tiles to the next.
const LARGE_POINTS: usize = 1 << 18;

/// Most tiles of a task that transforms kernels.
const MOST: usize = 128;

/// Numbers of points of all tiles up to which the gradient of the weight holds them all.
const HELD_WHOLE: usize = 1 << 23;

/// Numbers of input and gradient points held at a time for the gradient of the weight.
const HELD: usize = 1 << 20;

/// Rows of tiles of a batch of images.
#[derive(Debug, Clone, Copy)]
struct Grid {
    /// Tiles in a row.
    width: usize,
    /// Rows of an image.
    height: usize,
    /// Rows of all images.
    rows: usize,
}

impl Grid {
    fn new(n: usize, out: [usize; 2]) -> Self {
        let height = out[0].div_ceil(OUT);
        Self { width: out[1].div_ceil(OUT), height, rows: n * height }
    }
}

/// Whether there is code for these numbers: double precision is asked for where rounding matters.
pub(super) const fn takes<T>() -> bool {
    size_of::<T>() == size_of::<f32>()
}

/// Whether this way is faster, and allowed.
pub(super) fn suits(shape: &Shape) -> bool {
    let plain = shape.kernel == [3, 3]
        && [shape.stride, shape.dilation] == [[1, 1]; 2]
        && shape.groups == 1
        && shape.pad.iter().all(|&pad| pad <= 2);
    if !plain || is_exact() {
        return false;
    }
    let grid = Grid::new(shape.n, shape.out);
    let tiles = grid.rows * grid.width;
    let filled = shape.n * shape.out_plane() * 2 >= tiles * OUT * OUT;
    filled && shape.c.min(shape.o) >= MAX_LANES && tiles >= FEWEST_TILES
}

/// Images `[N, C, H, W]` as convolution sees them: with zeros around.
#[derive(Debug, Clone, Copy)]
struct Images<'a, T> {
    x: &'a [T],
    channels: Channels,
    size: [usize; 2],
    pad: [usize; 2],
}

impl<T: Element> Images<'_, T> {
    /// Writes line `y` of image `n`, padding included, as pixels from column 0 on.
    fn line(&self, n: usize, y: usize, to: &mut [T]) {
        let padded = self.channels.padded();
        let columns = to.len() / padded;
        let [height, width] = self.size;
        let y = y.wrapping_sub(self.pad[0]);
        let count = width.min(columns.saturating_sub(self.pad[1]));
        if y >= height || count == 0 {
            return to.fill(T::zero());
        }
        let (before, inside) = to.split_at_mut(self.pad[1] * padded);
        let (inside, after) = inside.split_at_mut(count * padded);
        before.fill(T::zero());
        after.fill(T::zero());
        let plane = height * width;
        let from = &self.x[n * self.channels.count * plane + y * width..];
        // The next row of tiles begins this far on.
        let ahead = OUT * count;
        transform::to_pixels(from, plane, self.channels.count, count, inside, padded, ahead);
    }

    /// Points of the inputs of the rows of tiles `rows`, the first of which is row 0 of `to`.
    fn input(
        &self,
        grid: Grid,
        rows: std::ops::Range<usize>,
        first: usize,
        to: &Shared<T>,
        points: Points,
    ) {
        let line = (grid.width * OUT + SIDE - OUT) * self.channels.padded();
        let mut ring = Scratch::new(SIDE * line);
        for row in rows.clone() {
            let (n, top) = (row / grid.height, row % grid.height * OUT);
            // The last two lines of the row above are already there.
            let fresh = if row == rows.start || top == 0 { 0 } else { SIDE - OUT };
            for y in top + fresh..top + SIDE {
                self.line(n, y, &mut ring[y % SIDE * line..][..line]);
            }
            let lines = std::array::from_fn(|i| (top + i) % SIDE * line);
            let at = (row - first) * grid.width;
            transform::input(&ring, lines, self.channels, grid.width, to, points, at);
        }
    }

    /// Points of the gradients of outputs, likewise.
    fn gradient(
        &self,
        grid: Grid,
        rows: std::ops::Range<usize>,
        first: usize,
        to: &Shared<T>,
        points: Points,
    ) {
        let line = grid.width * OUT * self.channels.padded();
        let mut pixels = Scratch::new(OUT * line);
        for row in rows {
            let (n, top) = (row / grid.height, row % grid.height * OUT);
            for (i, pixels) in pixels.chunks_exact_mut(line).enumerate() {
                self.line(n, top + i, pixels);
            }
            let lines = std::array::from_fn(|i| i * line);
            let at = (row - first) * grid.width;
            transform::gradient(&pixels, lines, self.channels, grid.width, to, points, at);
        }
    }
}

/// `y = x conv weight + bias`.
pub(super) fn forward<T: Element>(
    shape: &Shape,
    x: &[T],
    weight: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
) {
    let kernels = Kernels { out_stride: shape.c * TAPS, in_stride: TAPS, turned: false };
    let plan = Plan::new(Grid::new(shape.n, shape.out), shape.c, shape.o);
    let images = Images { x, channels: plan.inputs, size: shape.image, pad: shape.pad };
    convolve(plan, images, weight, kernels, bias, shape.out, y);
}

/// Gradient of the input from `dy`.
pub(super) fn data_gradient<T: Element>(shape: &Shape, dy: &[T], weight: &[T], dx: &mut [T]) {
    let kernels = Kernels { out_stride: TAPS, in_stride: shape.c * TAPS, turned: true };
    let plan = Plan::new(Grid::new(shape.n, shape.image), shape.o, shape.c);
    let pad = [2 - shape.pad[0], 2 - shape.pad[1]];
    let images = Images { x: dy, channels: plan.inputs, size: shape.out, pad };
    convolve(plan, images, weight, kernels, None, shape.image, dx);
}

/// How a convolution is cut into tasks: a function of the shape alone.
#[derive(Debug, Clone, Copy)]
struct Plan {
    grid: Grid,
    inputs: Channels,
    outputs: Channels,
    /// Rows of tiles of a task.
    step: usize,
    /// Rows whose points are held at a time: those of a task, or all.
    held: usize,
    /// Whether tasks transform the kernels they need: points of all would not stay in cache.
    fleeting: bool,
}

impl Plan {
    fn new(grid: Grid, inputs: usize, outputs: usize) -> Self {
        let step = (BLOCK / grid.width).max(1);
        let few = grid.rows.div_ceil(step) < FEW_BLOCKS;
        let fleeting = few && inputs * outputs >= LARGE_KERNELS;
        let outputs = Channels::new(outputs, PANEL);
        let step = if fleeting {
            let parts = FEW_BLOCKS.div_ceil(outputs.panels);
            grid.rows.div_ceil(parts).clamp(step.min(grid.rows), (MOST / grid.width).max(1))
        } else {
            step
        };
        Self {
            grid,
            inputs: Channels::new(inputs, if fleeting { PANEL } else { usize::MAX }),
            outputs,
            step,
            held: if few { grid.rows } else { step },
            fleeting,
        }
    }

    /// Simple operations of the whole.
    fn cost(&self) -> usize {
        self.grid.rows * self.grid.width * POINTS * self.inputs.count * self.outputs.count / 16
    }
}

fn convolve<T: Element>(
    plan: Plan,
    images: Images<'_, T>,
    weight: &[T],
    kernels: Kernels,
    bias: Option<&[T]>,
    out: [usize; 2],
    y: &mut [T],
) {
    let Plan { grid, inputs, outputs, step, held, .. } = plan;
    let kernels = KernelPoints::new(plan, weight, kernels);
    let mut biases = Scratch::zeros(outputs.padded());
    if let Some(bias) = bias {
        biases[..bias.len()].copy_from_slice(bias);
    }
    let y = Shared::new(y);
    threads::for_each(grid.rows.div_ceil(held), plan.cost(), |task| {
        let rows = task * held..((task + 1) * held).min(grid.rows);
        let points = Points { rows: rows.len() * grid.width, width: inputs.width };
        let mut v = Scratch::new(points.len(inputs.panels));
        let shared = Shared::new(&mut v);
        let piece = if held == step { rows.len() } else { piece_len(rows.len()) };
        threads::for_each(rows.len().div_ceil(piece), plan.cost() / 8, |i| {
            let piece = rows.start + i * piece..(rows.start + (i + 1) * piece).min(rows.end);
            images.input(grid, piece, rows.start, &shared, points);
        });
        let parts = rows.len().div_ceil(step);
        threads::for_each(parts * outputs.panels, plan.cost(), |task| {
            let (panel, part) = (task / parts, task % parts);
            let first = part * step;
            let count = step.min(rows.len() - first);
            let made = Points { rows: count * grid.width, width: outputs.width };
            let mut m = Scratch::new(made.len(1));
            kernels.multiply(panel, &v, points, first * grid.width, &mut m, made);
            let bias = &biases[panel * outputs.width..][..outputs.width];
            let first = rows.start + first;
            write_rows(grid, first..first + count, &m, made, outputs, panel, bias, out, &y);
        });
    });
}

/// Writes the outputs of one panel for the rows of tiles `rows` from the products `m`.
fn write_rows<T: Element>(
    grid: Grid,
    rows: std::ops::Range<usize>,
    m: &[T],
    made: Points,
    outputs: Channels,
    panel: usize,
    bias: &[T],
    out: [usize; 2],
    y: &Shared<T>,
) {
    let line = grid.width * OUT * outputs.width;
    let mut pixels = Scratch::new(OUT * line);
    for (i, row) in rows.enumerate() {
        transform::output(m, made, i * grid.width, grid.width, bias, &mut pixels);
        let (n, top) = (row / grid.height, row % grid.height * OUT);
        let plane = out[0] * out[1];
        let first = (n * outputs.count + panel * outputs.width) * plane;
        let (lines, count) = (OUT.min(out[0] - top), outputs.within(panel));
        let first = first + top * out[1];
        if out[1] == grid.width * OUT {
            let pixels_in = lines * out[1];
            to_planes(&pixels, outputs.width, count, pixels_in, y, first, plane);
            continue;
        }
        for (i, pixels) in pixels.chunks_exact(line).enumerate().take(lines) {
            let first = first + i * out[1];
            to_planes(pixels, outputs.width, count, out[1], y, first, plane);
        }
    }
}

/// Kernels as points, of all of them or where they are used.
struct KernelPoints<'a, T: Element> {
    weight: &'a [T],
    kernels: Kernels,
    plan: Plan,
    /// Of a panel of outputs and a panel of inputs.
    points: Points,
    /// Points of all kernels, unless the plan has tasks transform their own.
    all: Scratch<T>,
}

impl<'a, T: Element> KernelPoints<'a, T> {
    fn new(plan: Plan, weight: &'a [T], kernels: Kernels) -> Self {
        let Plan { inputs, outputs, fleeting, .. } = plan;
        let points = Points { rows: inputs.width.min(inputs.count), width: outputs.width };
        let mut all = Scratch::new(if fleeting { 0 } else { points.len(outputs.panels) });
        if !fleeting {
            transform_kernels(weight, kernels, inputs.count, outputs, &mut all, points);
        }
        Self { weight, kernels, plan, points, all }
    }

    /// Products of the tiles from row `first` of each point of `v` on with the kernels of `panel`.
    fn multiply(
        &self,
        panel: usize,
        v: &[T],
        tiles: Points,
        first: usize,
        m: &mut [T],
        made: Points,
    ) {
        let Plan { inputs, outputs, fleeting, .. } = self.plan;
        let mut own = Scratch::new(if fleeting { self.points.len(1) } else { 0 });
        for depth in 0..inputs.panels {
            let count = inputs.within(depth);
            let u = if fleeting {
                let range = depth * inputs.width..depth * inputs.width + count;
                let to = Shared::new(&mut own);
                let (weight, kernels) = (self.weight, self.kernels);
                transform::kernels(weight, kernels, range, outputs, panel, &to, self.points, 0);
                &own[..]
            } else {
                &self.all[self.points.at(panel, 0)..][..self.points.len(1)]
            };
            for point in 0..POINTS {
                let right = |point| &u[self.points.at(0, point)..][..count * outputs.width];
                let next = match self.all.len() > LARGE_POINTS && point + 1 < POINTS {
                    true => right(point + 1),
                    false => &[],
                };
                let left = Left {
                    start: &v[tiles.at(depth, point) + first * inputs.width..],
                    row_stride: inputs.width,
                    step_stride: 1,
                    rows: made.rows,
                };
                let m = &mut m[made.at(0, point)..][..made.rows * outputs.width];
                product(left, right(point), outputs.width, m, depth > 0, [next, &[]]);
            }
        }
    }
}

/// Rows of a piece where threads share `rows` rows: in long pieces fewer lines are read twice.
fn piece_len(rows: usize) -> usize {
    (rows / FEW_BLOCKS).clamp(1, 4)
}

/// Points of all kernels.
fn transform_kernels<T: Element>(
    weight: &[T],
    kernels: Kernels,
    inputs: usize,
    outputs: Channels,
    u: &mut [T],
    points: Points,
) {
    let step = 32;
    let parts = inputs.div_ceil(step);
    let u = Shared::new(u);
    threads::for_each(parts * outputs.panels, weight.len(), |task| {
        let (panel, part) = (task / parts, task % parts);
        let inputs = part * step..((part + 1) * step).min(inputs);
        let at = points.at(panel, 0) + inputs.start * points.width;
        transform::kernels(weight, kernels, inputs, outputs, panel, &u, points, at);
    });
}

/// Points of the inputs and of the gradients of outputs of some tiles.
struct Held<T: Element> {
    v: Scratch<T>,
    d: Scratch<T>,
    tiles: usize,
    inputs: Channels,
    outputs: Channels,
}

impl<T: Element> Held<T> {
    /// Room for `most` tiles.
    fn new(most: usize, inputs: Channels, outputs: Channels) -> Self {
        let room = |channels: Channels| {
            Scratch::new(Points { rows: most, width: channels.width }.len(channels.panels))
        };
        Self { v: room(inputs), d: room(outputs), tiles: most, inputs, outputs }
    }

    fn points(&self, channels: Channels) -> Points {
        Points { rows: self.tiles, width: channels.width }
    }

    /// Simple operations of the products.
    fn cost(&self) -> usize {
        self.tiles * POINTS * self.inputs.count * self.outputs.count / 16
    }

    /// Takes the tiles of `rows`.
    fn fill(
        &mut self,
        grid: Grid,
        rows: std::ops::Range<usize>,
        images: Images<'_, T>,
        gradients: Images<'_, T>,
    ) {
        self.tiles = rows.len() * grid.width;
        let (of_inputs, of_outputs) = (self.points(self.inputs), self.points(self.outputs));
        let cost = self.cost() / 4;
        let (v, d) = (Shared::new(&mut self.v), Shared::new(&mut self.d));
        let piece = piece_len(rows.len());
        threads::for_each(rows.len().div_ceil(piece), cost, |i| {
            let piece = rows.start + i * piece..(rows.start + (i + 1) * piece).min(rows.end);
            images.input(grid, piece.clone(), rows.start, &v, of_inputs);
            gradients.gradient(grid, piece, rows.start, &d, of_outputs);
        });
    }

    /// Points `point` of the inputs of `part` and of the gradients of `panel`, tile after tile.
    fn operands(&self, [part, panel, point]: [usize; 3]) -> [&[T]; 2] {
        let panel_of = |channels, panel| {
            let points = self.points(channels);
            points.at(panel, point)..points.at(panel, point) + points.rows * points.width
        };
        [&self.v[panel_of(self.inputs, part)], &self.d[panel_of(self.outputs, panel)]]
    }

    /// Products of a panel of inputs and one of outputs at one point, summed over the tiles; `next`
    /// will follow.
    fn sum(&self, at: [usize; 3], next: Option<[usize; 3]>, to: &mut [T], add: bool) {
        let [v, d] = self.operands(at);
        let rows = self.inputs.within(at[0]);
        let left = Left { start: v, row_stride: 1, step_stride: self.inputs.width, rows };
        let next = next.map_or([&[][..]; 2], |next| self.operands(next));
        product(left, d, self.outputs.width, to, add, next);
    }
}

/// Gradient of the weight from `dy` and `x`.
pub(super) fn weight_gradient<T: Element>(shape: &Shape, dy: &[T], x: &[T], dweight: &mut [T]) {
    let grid = Grid::new(shape.n, shape.out);
    let (inputs, outputs) = (Channels::new(shape.c, PANEL), Channels::new(shape.o, PANEL));
    let images = Images { x, channels: inputs, size: shape.image, pad: shape.pad };
    let gradients = Images { x: dy, channels: outputs, size: shape.out, pad: [0, 0] };
    let kernels = Kernels { out_stride: shape.c * TAPS, in_stride: TAPS, turned: false };
    let per_tile = POINTS * (inputs.padded() + outputs.padded()) / 2;
    if inputs.panels * outputs.panels >= FEW_BLOCKS
        && grid.rows * grid.width * per_tile <= HELD_WHOLE
    {
        let mut held = Held::new(grid.rows * grid.width, inputs, outputs);
        held.fill(grid, 0..grid.rows, images, gradients);
        return by_panels(&held, kernels, dweight);
    }
    let step = (HELD / per_tile).clamp(2 * BLOCK, 8 * BLOCK) / grid.width;
    let step = step.clamp(1, grid.rows);
    let mut held = Held::new(step * grid.width, inputs, outputs);
    let sums = Points { rows: inputs.count, width: outputs.width };
    let mut u = Scratch::new(sums.len(outputs.panels));
    // Part, panel and point of a product, in the order in which a thread comes to them.
    let place = |product: usize| {
        let (task, part) = (product / inputs.panels, product % inputs.panels);
        let place = [part, task % outputs.panels, task / outputs.panels];
        (place[2] < POINTS).then_some(place)
    };
    for start in (0..grid.rows).step_by(step) {
        held.fill(grid, start..(start + step).min(grid.rows), images, gradients);
        let u = Shared::new(&mut u);
        threads::for_each(POINTS * outputs.panels, held.cost(), |task| {
            let (point, panel) = (task / outputs.panels, task % outputs.panels);
            for part in 0..inputs.panels {
                let first = sums.at(panel, point) + part * inputs.width * outputs.width;
                let len = inputs.within(part) * outputs.width;
                // SAFETY: point and panel of each task are its own.
                #[allow(unsafe_code)]
                let sum = unsafe { u.slice(first..first + len) };
                let next = task * inputs.panels + part + 1;
                held.sum([part, panel, point], place(next), sum, start > 0);
            }
        });
    }
    let step = 32;
    let parts = shape.c.div_ceil(step);
    let cost = dweight.len();
    let dweight = Shared::new(dweight);
    threads::for_each(parts * outputs.panels, cost, |task| {
        let (panel, part) = (task / parts, task % parts);
        let range = part * step..((part + 1) * step).min(shape.c);
        let at = sums.at(panel, 0) + range.start * sums.width;
        transform::kernel_gradients(&u, sums, at, kernels, range, outputs, panel, &dweight);
    });
}

/// The gradient where all tiles are held: sums over them need not leave the cache.
fn by_panels<T: Element>(held: &Held<T>, kernels: Kernels, dweight: &mut [T]) {
    let (inputs, outputs) = (held.inputs, held.outputs);
    let dweight = Shared::new(dweight);
    threads::for_each(inputs.panels * outputs.panels, held.cost(), |task| {
        let (panel, part) = (task / inputs.panels, task % inputs.panels);
        let sums = Points { rows: inputs.within(part), width: outputs.width };
        let mut u = Scratch::new(sums.len(1));
        for point in 0..POINTS {
            let sum = &mut u[sums.at(0, point)..][..sums.rows * sums.width];
            let next = (point + 1 < POINTS).then_some([part, panel, point + 1]);
            held.sum([part, panel, point], next, sum, false);
        }
        let first = part * inputs.width;
        let range = first..first + sums.rows;
        transform::kernel_gradients(&u, sums, 0, kernels, range, outputs, panel, &dweight);
    });
}
