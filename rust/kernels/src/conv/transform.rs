//! The transforms of Winograd's F(4x4, 3x3), a channel in each lane.
//!
//! A tile of the output is `y = A' [(G g G') * (B' d B)] A` for the 6x6 tile d of the input and the 3x3
//! kernel g, products taken place by place; the gradient of g is `G' [(B' d B) * (A dy A')] G`. Lavin &
//! Gray, Fast Algorithms for Convolutional Neural Networks, 2016. On the choice of points: Barabasz et
//! al., Error Analysis and Improving the Accuracy of Winograd Convolution, 2020.

#![allow(unsafe_code)]

use crate::simd::{Isa, MAX_LANES, Vector};
use crate::threads::Shared;
use crate::{Element, vectorized};

/// Outputs of a tile on one axis.
pub(super) const OUT: usize = 4;
/// Inputs of a tile on one axis.
pub(super) const SIDE: usize = 6;
/// Products of a tile.
pub(super) const POINTS: usize = SIDE * SIDE;
/// Taps of a kernel.
pub(super) const TAPS: usize = 9;

/// Channels in panels of equal width, a multiple of every register's lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Channels {
    pub(super) count: usize,
    pub(super) panels: usize,
    pub(super) width: usize,
}

impl Channels {
    /// `count` channels in panels no wider than `most`.
    pub(super) fn new(count: usize, most: usize) -> Self {
        let panels = count.div_ceil(most);
        Self { count, panels, width: count.div_ceil(panels).next_multiple_of(MAX_LANES) }
    }

    /// Channels with those that fill the last panel.
    pub(super) fn padded(&self) -> usize {
        self.panels * self.width
    }

    /// Channels in `panel`.
    pub(super) fn within(&self, panel: usize) -> usize {
        self.count.saturating_sub(panel * self.width).min(self.width)
    }
}

/// Numbers `[panels, POINTS, rows, width]`, with gaps that keep the points of a row in different
/// sets of the cache.
#[derive(Debug, Clone, Copy)]
pub(super) struct Points {
    pub(super) rows: usize,
    pub(super) width: usize,
}

impl Points {
    fn stride(&self) -> usize {
        self.rows * self.width + MAX_LANES
    }

    pub(super) fn len(&self, panels: usize) -> usize {
        panels * POINTS * self.stride()
    }

    /// Where the rows of a point begin.
    pub(super) fn at(&self, panel: usize, point: usize) -> usize {
        (panel * POINTS + point) * self.stride()
    }
}

/// The points are 0, `NEAR`, `-NEAR`, `FAR`, `-FAR` and infinity: a quarter of the error that the usual
/// 1 and 2 give, at the same cost. Both and their powers are exact in `f32`.
const NEAR: f64 = 0.625;
const FAR: f64 = 1.5;
const NEAR_2: f64 = NEAR * NEAR;
const FAR_2: f64 = FAR * FAR;

/// `G` holds the powers of each point over the product of its distances to the others.
const ZERO_SCALE: f64 = 1.0 / (NEAR_2 * FAR_2);
const NEAR_SCALE: f64 = 1.0 / (2.0 * NEAR_2 * (NEAR_2 - FAR_2));
const FAR_SCALE: f64 = 1.0 / (2.0 * FAR_2 * (FAR_2 - NEAR_2));

/// `B' d`.
#[inline(always)]
fn input_points<V: Vector>(d: [V; 6]) -> [V; 6] {
    let (near, far) = (V::of(NEAR), V::of(FAR));
    let (near_2, far_2) = (V::of(NEAR_2), V::of(FAR_2));
    let (sum, product) = (V::of(NEAR_2 + FAR_2), V::of(NEAR_2 * FAR_2));
    let (near_even, near_odd) = (far_2.neg_mul_add(d[2], d[4]), far_2.neg_mul_add(d[1], d[3]));
    let (far_even, far_odd) = (near_2.neg_mul_add(d[2], d[4]), near_2.neg_mul_add(d[1], d[3]));
    [
        product.mul_add(d[0], sum.neg_mul_add(d[2], d[4])),
        near.mul_add(near_odd, near_even),
        near.neg_mul_add(near_odd, near_even),
        far.mul_add(far_odd, far_even),
        far.neg_mul_add(far_odd, far_even),
        product.mul_add(d[1], sum.neg_mul_add(d[3], d[5])),
    ]
}

/// `A' m`.
#[inline(always)]
fn output_points<V: Vector>(m: [V; 6]) -> [V; 4] {
    let (near_sum, near_difference) = (m[1].add(m[2]), m[1].sub(m[2]));
    let (far_sum, far_difference) = (m[3].add(m[4]), m[3].sub(m[4]));
    let cube = V::of(NEAR_2 * NEAR).mul_add(near_difference, m[5]);
    [
        m[0].add(near_sum).add(far_sum),
        V::of(NEAR).mul_add(near_difference, V::of(FAR).mul(far_difference)),
        V::of(NEAR_2).mul_add(near_sum, V::of(FAR_2).mul(far_sum)),
        V::of(FAR_2 * FAR).mul_add(far_difference, cube),
    ]
}

/// `A dy`.
#[inline(always)]
fn gradient_points<V: Vector>(dy: [V; 4]) -> [V; 6] {
    let (near, far) = (V::of(NEAR), V::of(FAR));
    let (near_2, far_2) = (V::of(NEAR_2), V::of(FAR_2));
    let (near_even, near_odd) = (near_2.mul_add(dy[2], dy[0]), near_2.mul_add(dy[3], dy[1]));
    let (far_even, far_odd) = (far_2.mul_add(dy[2], dy[0]), far_2.mul_add(dy[3], dy[1]));
    [
        dy[0],
        near.mul_add(near_odd, near_even),
        near.neg_mul_add(near_odd, near_even),
        far.mul_add(far_odd, far_even),
        far.neg_mul_add(far_odd, far_even),
        dy[3],
    ]
}

/// `G g`.
#[inline(always)]
fn kernel_points<V: Vector>(g: [V; 3]) -> [V; 6] {
    let (near, far) = (V::of(NEAR), V::of(FAR));
    let near_even = V::of(NEAR_SCALE).mul(V::of(NEAR_2).mul_add(g[2], g[0]));
    let far_even = V::of(FAR_SCALE).mul(V::of(FAR_2).mul_add(g[2], g[0]));
    let (near_odd, far_odd) = (V::of(NEAR_SCALE).mul(g[1]), V::of(FAR_SCALE).mul(g[1]));
    [
        V::of(ZERO_SCALE).mul(g[0]),
        near.mul_add(near_odd, near_even),
        near.neg_mul_add(near_odd, near_even),
        far.mul_add(far_odd, far_even),
        far.neg_mul_add(far_odd, far_even),
        g[2],
    ]
}

/// `G' u`.
#[inline(always)]
fn kernel_sums<V: Vector>(u: [V; 6]) -> [V; 3] {
    let near_sum = V::of(NEAR_SCALE).mul(u[1].add(u[2]));
    let near_difference = V::of(NEAR_SCALE).mul(u[1].sub(u[2]));
    let far_sum = V::of(FAR_SCALE).mul(u[3].add(u[4]));
    let far_difference = V::of(FAR_SCALE).mul(u[3].sub(u[4]));
    [
        V::of(ZERO_SCALE).mul_add(u[0], near_sum.add(far_sum)),
        V::of(NEAR).mul_add(near_difference, V::of(FAR).mul(far_difference)),
        V::of(NEAR_2).mul_add(near_sum, V::of(FAR_2).mul_add(far_sum, u[5])),
    ]
}

/// The transpose of a block of `rows` by `columns` numbers, zero elsewhere.
///
/// # Safety
/// The block is readable at `from`, its rows `stride` apart.
#[inline(always)]
unsafe fn read_transposed<S: Isa, T: Element>(
    from: *const T,
    stride: usize,
    rows: usize,
    columns: usize,
) -> [T::V<S>; MAX_LANES] {
    let lanes = T::V::<S>::LANES;
    let mut block = [T::V::<S>::zero(); MAX_LANES];
    if rows == lanes && columns == lanes {
        for i in 0..lanes {
            block[i] = T::V::<S>::load(from.add(i * stride));
        }
    } else {
        for i in 0..lanes {
            if i < rows {
                block[i] = T::V::<S>::load_first(from.add(i * stride), columns);
            }
        }
    }
    T::V::<S>::transpose(&mut block);
    block
}

vectorized! {
    /// Copies a line of `pixels` of each channel, `plane` numbers apart, to pixels of `width`
    /// channels, zero beyond the last. Those `ahead` in each channel are asked for: short stretches of
    /// so many planes are no pattern that the processor would follow.
    pub(super) fn to_pixels<S, T: Element>(
        from: &[T],
        plane: usize,
        channels: usize,
        pixels: usize,
        to: &mut [T],
        width: usize,
        ahead: usize,
    ) {
        let lanes = T::V::<S>::LANES;
        assert!((channels - 1) * plane + pixels <= from.len());
        assert!(width >= channels && width.is_multiple_of(lanes) && pixels * width <= to.len());
        for channel in (0..width).step_by(lanes) {
            let rows = lanes.min(channels.saturating_sub(channel));
            let first = channel.min(channels - 1) * plane;
            for pixel in (0..pixels).step_by(lanes) {
                let columns = lanes.min(pixels - pixel);
                // SAFETY: the block ends with the last channel and pixel, which were checked.
                unsafe {
                    let from = from.as_ptr().add(first + pixel);
                    for i in 0..rows {
                        T::V::<S>::prefetch_far(from.wrapping_add(i * plane + ahead));
                    }
                    let block = read_transposed::<S, T>(from, plane, rows, columns);
                    let to = to.as_mut_ptr().add(pixel * width + channel);
                    if columns == lanes {
                        for i in 0..lanes {
                            block[i].store(to.add(i * width));
                        }
                    } else {
                        for i in 0..columns {
                            block[i].store(to.add(i * width));
                        }
                    }
                }
            }
        }
    }
}

vectorized! {
    /// Copies `pixels` of `width` channels to a line of each of the first `channels`, from number
    /// `first` of `to` on, `plane` numbers apart. The caller alone writes those lines.
    pub(super) fn to_planes<S, T: Element>(
        from: &[T],
        width: usize,
        channels: usize,
        pixels: usize,
        to: &Shared<T>,
        first: usize,
        plane: usize,
    ) {
        let lanes = T::V::<S>::LANES;
        assert!(channels > 0 && channels <= width && width.is_multiple_of(lanes));
        assert!(pixels * width <= from.len());
        let _end = to.at(first + (channels - 1) * plane + pixels);
        for channel in (0..channels).step_by(lanes) {
            let columns = lanes.min(channels - channel);
            for pixel in (0..pixels).step_by(lanes) {
                let rows = lanes.min(pixels - pixel);
                // SAFETY: the block ends with the last channel and pixel, which were checked; the
                // caller answers for the lines.
                unsafe {
                    let from = from.as_ptr().add(pixel * width + channel);
                    let block = read_transposed::<S, T>(from, width, rows, lanes);
                    let to = to.at(first).add(channel * plane + pixel);
                    for i in 0..columns {
                        T::V::<S>::prefetch_far(to.wrapping_add(i * plane + pixels));
                    }
                    if columns == lanes && rows == lanes {
                        for i in 0..lanes {
                            block[i].store(to.add(i * plane));
                        }
                    } else {
                        for i in 0..columns {
                            block[i].store_first(to.add(i * plane), rows);
                        }
                    }
                }
            }
        }
    }
}

vectorized! {
    /// `B' d B` of a row of `tiles` tiles, whose six lines of pixels begin at `lines`, to the rows
    /// of `points` from `row` on.
    pub(super) fn input<S, T: Element>(
        pixels: &[T],
        lines: [usize; SIDE],
        channels: Channels,
        tiles: usize,
        to: &Shared<T>,
        points: Points,
        row: usize,
    ) {
        let (lanes, padded) = (T::V::<S>::LANES, channels.padded());
        let columns = tiles * OUT + SIDE - OUT;
        assert!(lines.iter().all(|line| line + columns * padded <= pixels.len()));
        assert!(row + tiles <= points.rows && channels.width == points.width);
        let _end = to.at(points.len(channels.panels));
        for tile in 0..tiles {
            for channel in (0..padded).step_by(lanes) {
                let (panel, lane) = (channel / channels.width, channel % channels.width);
                let first = points.at(panel, 0) + (row + tile) * points.width + lane;
                // SAFETY: lines and rows were measured above; tiles of other tasks are others.
                unsafe {
                    let mut half = [[T::V::<S>::zero(); SIDE]; SIDE];
                    for j in 0..SIDE {
                        let column = (tile * OUT + j) * padded + channel;
                        let mut d = [T::V::<S>::zero(); SIDE];
                        for i in 0..SIDE {
                            d[i] = T::V::<S>::load(pixels.as_ptr().add(lines[i] + column));
                        }
                        half[j] = input_points(d);
                    }
                    let to = to.at(first);
                    for i in 0..SIDE {
                        let d = [
                            half[0][i], half[1][i], half[2][i], half[3][i], half[4][i], half[5][i],
                        ];
                        let done = input_points(d);
                        for j in 0..SIDE {
                            done[j].store(to.add((i * SIDE + j) * points.stride()));
                        }
                    }
                }
            }
        }
    }
}

vectorized! {
    /// `A dy A'` of a row of `tiles` tiles, whose four lines of pixels begin at `lines`, to the rows
    /// of `points` from `row` on.
    pub(super) fn gradient<S, T: Element>(
        pixels: &[T],
        lines: [usize; OUT],
        channels: Channels,
        tiles: usize,
        to: &Shared<T>,
        points: Points,
        row: usize,
    ) {
        let (lanes, padded) = (T::V::<S>::LANES, channels.padded());
        assert!(lines.iter().all(|line| line + tiles * OUT * padded <= pixels.len()));
        assert!(row + tiles <= points.rows && channels.width == points.width);
        let _end = to.at(points.len(channels.panels));
        for tile in 0..tiles {
            for channel in (0..padded).step_by(lanes) {
                let (panel, lane) = (channel / channels.width, channel % channels.width);
                let first = points.at(panel, 0) + (row + tile) * points.width + lane;
                // SAFETY: lines and rows were measured above; tiles of other tasks are others.
                unsafe {
                    let mut half = [[T::V::<S>::zero(); SIDE]; OUT];
                    for j in 0..OUT {
                        let column = (tile * OUT + j) * padded + channel;
                        let mut d = [T::V::<S>::zero(); OUT];
                        for i in 0..OUT {
                            d[i] = T::V::<S>::load(pixels.as_ptr().add(lines[i] + column));
                        }
                        half[j] = gradient_points(d);
                    }
                    let to = to.at(first);
                    for i in 0..SIDE {
                        let done =
                            gradient_points([half[0][i], half[1][i], half[2][i], half[3][i]]);
                        for j in 0..SIDE {
                            done[j].store(to.add((i * SIDE + j) * points.stride()));
                        }
                    }
                }
            }
        }
    }
}

vectorized! {
    /// `A' m A` of a row of `tiles` tiles, plus `bias`, to four lines of pixels.
    pub(super) fn output<S, T: Element>(
        from: &[T],
        points: Points,
        row: usize,
        tiles: usize,
        bias: &[T],
        pixels: &mut [T],
    ) {
        let (lanes, width) = (T::V::<S>::LANES, points.width);
        let line = tiles * OUT * width;
        assert!(row + tiles <= points.rows && from.len() == points.len(1) && width.is_multiple_of(lanes));
        assert!(bias.len() == width && pixels.len() == OUT * line);
        for tile in 0..tiles {
            for lane in (0..width).step_by(lanes) {
                // SAFETY: rows and lines were measured above.
                unsafe {
                    let from = from.as_ptr().add((row + tile) * width + lane);
                    let bias = T::V::<S>::load(bias.as_ptr().add(lane));
                    let mut half = [[T::V::<S>::zero(); OUT]; SIDE];
                    for j in 0..SIDE {
                        let mut m = [T::V::<S>::zero(); SIDE];
                        for i in 0..SIDE {
                            m[i] = T::V::<S>::load(from.add((i * SIDE + j) * points.stride()));
                        }
                        half[j] = output_points(m);
                    }
                    let to = pixels.as_mut_ptr().add(tile * OUT * width + lane);
                    for i in 0..OUT {
                        let m = [
                            half[0][i], half[1][i], half[2][i], half[3][i], half[4][i], half[5][i],
                        ];
                        let done = output_points(m);
                        for j in 0..OUT {
                            done[j].add(bias).store(to.add(i * line + j * width));
                        }
                    }
                }
            }
        }
    }
}

/// Where the kernel from channel `c` to channel `o` lies: `o * out_stride + c * in_stride`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kernels {
    pub(super) out_stride: usize,
    pub(super) in_stride: usize,
    /// Whether kernels are read from their last tap to their first.
    pub(super) turned: bool,
}

vectorized! {
    /// `G g G'` of the kernels from each channel of `inputs` to those of one panel of `outputs`, to
    /// rows of `points` of which that of the first point and channel begins at `at`.
    pub(super) fn kernels<S, T: Element>(
        weight: &[T],
        kernels: Kernels,
        inputs: std::ops::Range<usize>,
        outputs: Channels,
        panel: usize,
        to: &Shared<T>,
        points: Points,
        at: usize,
    ) {
        let lanes = T::V::<S>::LANES;
        let (first, count) = (panel * outputs.width, outputs.within(panel));
        assert!(inputs.len() <= points.rows && points.width == outputs.width);
        let last = (first + count.max(1) - 1) * kernels.out_stride
            + inputs.end.saturating_sub(1) * kernels.in_stride;
        assert!(count == 0 || last + TAPS <= weight.len());
        let _end = to.at(at + (POINTS - 1) * points.stride() + inputs.len() * points.width);
        for (row, c) in inputs.enumerate() {
            for lane in (0..outputs.width).step_by(lanes) {
                let rows = lanes.min(count.saturating_sub(lane));
                let mut g = [[T::V::<S>::zero(); 3]; 3];
                // SAFETY: the last kernel and the end of the points were checked; inputs and panels
                // of other tasks are others.
                unsafe {
                    for tap in (0..TAPS).step_by(lanes) {
                        let columns = lanes.min(TAPS - tap);
                        let from = weight.as_ptr().wrapping_add(
                            (first + lane) * kernels.out_stride + c * kernels.in_stride + tap,
                        );
                        let block =
                            read_transposed::<S, T>(from, kernels.out_stride, rows, columns);
                        for i in 0..lanes {
                            if i < columns {
                                let tap = tap + i;
                                let tap = if kernels.turned { TAPS - 1 - tap } else { tap };
                                g[tap / 3][tap % 3] = block[i];
                            }
                        }
                    }
                    let to = to.at(at + row * points.width + lane);
                    let mut half = [[T::V::<S>::zero(); SIDE]; 3];
                    for j in 0..3 {
                        half[j] = kernel_points([g[0][j], g[1][j], g[2][j]]);
                    }
                    for i in 0..SIDE {
                        let done = kernel_points([half[0][i], half[1][i], half[2][i]]);
                        for j in 0..SIDE {
                            done[j].store(to.add((i * SIDE + j) * points.stride()));
                        }
                    }
                }
            }
        }
    }
}

vectorized! {
    /// `G' u G` for the kernels from each channel of `inputs` to those of one panel of `outputs`, from
    /// rows of `points` of which that of the first point and channel begins at `at`.
    pub(super) fn kernel_gradients<S, T: Element>(
        from: &[T],
        points: Points,
        at: usize,
        kernels: Kernels,
        inputs: std::ops::Range<usize>,
        outputs: Channels,
        panel: usize,
        dweight: &Shared<T>,
    ) {
        let lanes = T::V::<S>::LANES;
        let (first, count) = (panel * outputs.width, outputs.within(panel));
        assert!(inputs.len() <= points.rows && points.width == outputs.width);
        assert!(
            at + (POINTS - 1) * points.stride() + inputs.len() * points.width <= from.len()
        );
        for (row, c) in inputs.enumerate() {
            for lane in (0..count).step_by(lanes) {
                let columns = lanes.min(count - lane);
                let start = (first + lane) * kernels.out_stride + c * kernels.in_stride;
                let _end = dweight.at(start + (columns - 1) * kernels.out_stride + TAPS);
                // SAFETY: rows and the last kernel were checked; inputs and panels of other tasks
                // are others.
                unsafe {
                    let from = from.as_ptr().add(at + row * points.width + lane);
                    let mut half = [[T::V::<S>::zero(); 3]; SIDE];
                    for j in 0..SIDE {
                        let mut u = [T::V::<S>::zero(); SIDE];
                        for i in 0..SIDE {
                            u[i] = T::V::<S>::load(from.add((i * SIDE + j) * points.stride()));
                        }
                        half[j] = kernel_sums(u);
                    }
                    let mut g = [T::V::<S>::zero(); TAPS];
                    for i in 0..3 {
                        let u = [
                            half[0][i], half[1][i], half[2][i], half[3][i], half[4][i], half[5][i],
                        ];
                        let done = kernel_sums(u);
                        for j in 0..3 {
                            g[i * 3 + j] = done[j];
                        }
                    }
                    for tap in (0..TAPS).step_by(lanes) {
                        let rows = lanes.min(TAPS - tap);
                        let mut block = [T::V::<S>::zero(); MAX_LANES];
                        block[..rows].copy_from_slice(&g[tap..tap + rows]);
                        T::V::<S>::transpose(&mut block);
                        for i in 0..lanes {
                            if i < columns {
                                let to = dweight.at(start + i * kernels.out_stride + tap);
                                block[i].store_first(to, rows);
                            }
                        }
                    }
                }
            }
        }
    }
}
