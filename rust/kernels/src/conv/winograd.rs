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

/// Whether this way is faster, and allowed.
pub(super) fn suits<T: Element>(shape: &Shape) -> bool {
    let plain = shape.kernel == [3, 3]
        && [shape.stride, shape.dilation] == [[1, 1]; 2]
        && shape.groups == 1
        && shape.pad.iter().all(|&pad| pad <= 2);
    if !plain || size_of::<T>() != size_of::<f32>() || is_exact() {
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
        transform::to_pixels(from, plane, self.channels.count, count, inside, padded);
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
    let channels = Channels::new(shape.c, usize::MAX);
    let images = Images { x, channels, size: shape.image, pad: shape.pad };
    let kernels = Kernels { out_stride: shape.c * TAPS, in_stride: TAPS, turned: false };
    let outputs = Channels::new(shape.o, PANEL);
    convolve(shape.n, images, weight, kernels, outputs, bias, shape.out, y);
}

/// Gradient of the input from `dy`.
pub(super) fn data_gradient<T: Element>(shape: &Shape, dy: &[T], weight: &[T], dx: &mut [T]) {
    let channels = Channels::new(shape.o, usize::MAX);
    let pad = [2 - shape.pad[0], 2 - shape.pad[1]];
    let images = Images { x: dy, channels, size: shape.out, pad };
    let kernels = Kernels { out_stride: TAPS, in_stride: shape.c * TAPS, turned: true };
    let outputs = Channels::new(shape.c, PANEL);
    convolve(shape.n, images, weight, kernels, outputs, None, shape.image, dx);
}

fn convolve<T: Element>(
    n: usize,
    images: Images<'_, T>,
    weight: &[T],
    kernels: Kernels,
    outputs: Channels,
    bias: Option<&[T]>,
    out: [usize; 2],
    y: &mut [T],
) {
    let grid = Grid::new(n, out);
    let inputs = images.channels;
    let cost = grid.rows * grid.width * POINTS * inputs.count * outputs.count / 16;
    let kernel_points = Points { rows: inputs.count, width: outputs.width };
    let mut u = Scratch::new(kernel_points.len(outputs.panels));
    transform_kernels(weight, kernels, inputs.count, outputs, &mut u, kernel_points);
    let mut biases = Scratch::zeros(outputs.padded());
    if let Some(bias) = bias {
        biases[..bias.len()].copy_from_slice(bias);
    }
    let step = (BLOCK / grid.width).max(1);
    let blocks = grid.rows.div_ceil(step);
    let held = if blocks < FEW_BLOCKS { grid.rows } else { step };
    let y = Shared::new(y);
    threads::for_each(grid.rows.div_ceil(held), cost, |task| {
        let rows = task * held..((task + 1) * held).min(grid.rows);
        let points = Points { rows: rows.len() * grid.width, width: inputs.width };
        let mut v = Scratch::new(points.len(1));
        let shared = Shared::new(&mut v);
        let piece = if held == step { rows.len() } else { piece_len(rows.len()) };
        threads::for_each(rows.len().div_ceil(piece), cost / 8, |i| {
            let piece = rows.start + i * piece..(rows.start + (i + 1) * piece).min(rows.end);
            images.input(grid, piece, rows.start, &shared, points);
        });
        let parts = rows.len().div_ceil(step);
        threads::for_each(parts * outputs.panels, cost, |task| {
            let (panel, part) = (task / parts, task % parts);
            let rows_at = part * step..((part + 1) * step).min(rows.len());
            let tiles = rows_at.len() * grid.width;
            let made = Points { rows: tiles, width: outputs.width };
            let mut m = Scratch::new(made.len(1));
            for point in 0..POINTS {
                let left = Left {
                    start: &v[points.at(0, point) + rows_at.start * grid.width * inputs.width..],
                    row_stride: inputs.width,
                    step_stride: 1,
                    rows: tiles,
                };
                let u = &u[kernel_points.at(panel, point)..][..inputs.count * outputs.width];
                let m = &mut m[made.at(0, point)..][..tiles * outputs.width];
                product(left, u, outputs.width, m, false);
            }
            let bias = &biases[panel * outputs.width..][..outputs.width];
            let line = grid.width * OUT * outputs.width;
            let mut pixels = Scratch::new(OUT * line);
            for i in 0..rows_at.len() {
                transform::output(&m, made, i * grid.width, grid.width, bias, &mut pixels);
                let row = rows.start + rows_at.start + i;
                let (n, top) = (row / grid.height, row % grid.height * OUT);
                let plane = out[0] * out[1];
                let first = (n * outputs.count + panel * outputs.width) * plane;
                let (lines, count) = (OUT.min(out[0] - top), outputs.within(panel));
                let first = first + top * out[1];
                if out[1] == grid.width * OUT {
                    let pixels_in = lines * out[1];
                    to_planes(&pixels, outputs.width, count, pixels_in, &y, first, plane);
                    continue;
                }
                for (i, pixels) in pixels.chunks_exact(line).enumerate().take(lines) {
                    let first = first + i * out[1];
                    to_planes(pixels, outputs.width, count, out[1], &y, first, plane);
                }
            }
        });
    });
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
        transform::kernels(weight, kernels, inputs, outputs, panel, &u, points);
    });
}

/// Gradient of the weight from `dy` and `x`.
pub(super) fn weight_gradient<T: Element>(shape: &Shape, dy: &[T], x: &[T], dweight: &mut [T]) {
    let grid = Grid::new(shape.n, shape.out);
    let (inputs, outputs) = (Channels::new(shape.c, PANEL), Channels::new(shape.o, PANEL));
    let images = Images { x, channels: inputs, size: shape.image, pad: shape.pad };
    let gradients = Images { x: dy, channels: outputs, size: shape.out, pad: [0, 0] };
    let tiles = HELD / (POINTS * (inputs.padded() + outputs.padded()) / 2);
    let held = (tiles.clamp(2 * BLOCK, 8 * BLOCK) / grid.width).clamp(1, grid.rows);
    let sums = Points { rows: inputs.count, width: outputs.width };
    let mut u = Scratch::new(sums.len(outputs.panels));
    let shared = Shared::new(&mut u);
    let most = held * grid.width;
    let size =
        |channels: Channels| Points { rows: most, width: channels.width }.len(channels.panels);
    let (mut v, mut d) = (Scratch::new(size(inputs)), Scratch::new(size(outputs)));
    for start in (0..grid.rows).step_by(held) {
        let rows = start..(start + held).min(grid.rows);
        let tiles = rows.len() * grid.width;
        let cost = tiles * POINTS * inputs.count * outputs.count / 16;
        let input_points = Points { rows: tiles, width: inputs.width };
        let gradient_points = Points { rows: tiles, width: outputs.width };
        let (to_v, to_d) = (Shared::new(&mut v), Shared::new(&mut d));
        let piece = piece_len(rows.len());
        threads::for_each(rows.len().div_ceil(piece), cost / 4, |i| {
            let piece = rows.start + i * piece..(rows.start + (i + 1) * piece).min(rows.end);
            images.input(grid, piece.clone(), rows.start, &to_v, input_points);
            gradients.gradient(grid, piece, rows.start, &to_d, gradient_points);
        });
        threads::for_each(POINTS * outputs.panels, cost, |task| {
            let (point, panel) = (task / outputs.panels, task % outputs.panels);
            let dy = &d[gradient_points.at(panel, point)..][..tiles * outputs.width];
            for part in 0..inputs.panels {
                let rows = inputs.within(part);
                if rows == 0 {
                    continue;
                }
                let left = Left {
                    start: &v[input_points.at(part, point)..][..tiles * inputs.width],
                    row_stride: 1,
                    step_stride: inputs.width,
                    rows,
                };
                let first = sums.at(panel, point) + part * inputs.width * outputs.width;
                // SAFETY: point and panel of each task are its own.
                #[allow(unsafe_code)]
                let sum = unsafe { shared.slice(first..first + rows * outputs.width) };
                product(left, dy, outputs.width, sum, start > 0);
            }
        });
    }
    let kernels = Kernels { out_stride: shape.c * TAPS, in_stride: TAPS, turned: false };
    let step = 32;
    let parts = shape.c.div_ceil(step);
    let cost = dweight.len();
    let dweight = Shared::new(dweight);
    threads::for_each(parts * outputs.panels, cost, |task| {
        let (panel, part) = (task / parts, task % parts);
        let range = part * step..((part + 1) * step).min(shape.c);
        transform::kernel_gradients(&u, sums, kernels, range, outputs, panel, &dweight);
    });
}
