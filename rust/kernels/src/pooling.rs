//! Pooling of planes `[P, H, W]`: the largest or the mean of each window.
//!
//! max:  y = x at the first largest place of the window    dx: dy added at that place
//! mean: y = sum of the window / divisor                   dx: dy / divisor added over the window
//!
//! Windows are the product of one range for each axis. Padding counts as `-inf` for the maximum; for
//! the mean as zeros that the divisor counts or not. Adaptive windows are
//! `floor(i H / OH) .. ceil((i + 1) H / OH)`.

use ndarray::{Array3, ArrayView3};

use crate::{Element, Error, Result, check_shape, memory, threads};

/// Windows of a kernel that moves over the plane, for each axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Length of a window.
    pub kernel: [usize; 2],
    /// Step from one window to the next.
    pub stride: [usize; 2],
    /// Padding at either end, at most half the kernel.
    pub padding: [usize; 2],
    /// Step from one number of a window to the next; 1 for the mean.
    pub dilation: [usize; 2],
    /// Whether a last window may reach over the end.
    pub ceil_mode: bool,
}

/// What the mean divides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Divisor {
    /// Numbers of the window, those of the padding too.
    Padded,
    /// Numbers of the window that lie in the plane.
    Inside,
    /// This number.
    Fixed(usize),
}

/// One window on one axis.
#[derive(Debug, Clone, Copy)]
struct Window {
    start: usize,
    end: usize,
    /// Length with the padding that it covers.
    padded: usize,
}

/// All windows of a plane.
#[derive(Debug)]
struct Windows {
    axes: [Vec<Window>; 2],
    dilation: [usize; 2],
    plane: [usize; 2],
}

impl Windows {
    fn new(op: &'static str, plane: [usize; 2], options: &Options) -> Result<Self> {
        if plane.contains(&0) {
            return Err(Error::value(op, "x", format!("expected no empty plane, got {plane:?}")));
        }
        let mut axes = [Vec::new(), Vec::new()];
        for axis in 0..2 {
            axes[axis] = axis_windows(op, plane[axis], options, axis)?;
        }
        Ok(Self { axes, dilation: options.dilation, plane })
    }

    fn adaptive(op: &'static str, plane: [usize; 2], out: [usize; 2]) -> Result<Self> {
        if plane.contains(&0) && !out.contains(&0) {
            return Err(Error::value(op, "x", format!("expected no empty plane, got {plane:?}")));
        }
        let mut axes = [Vec::new(), Vec::new()];
        for axis in 0..2 {
            let (len, count) = (plane[axis], out[axis]);
            reserve(op, "output_size", &mut axes[axis], count)?;
            axes[axis].extend((0..count).map(|i| {
                // The product of index and length may leave 64 bits.
                let start = (i as u128 * len as u128 / count as u128) as usize;
                let end = ((i as u128 + 1) * len as u128).div_ceil(count as u128) as usize;
                Window { start, end, padded: end - start }
            }));
        }
        Ok(Self { axes, dilation: [1, 1], plane })
    }

    /// Shape of the output for `planes` planes.
    fn shape(&self, planes: usize) -> [usize; 3] {
        [planes, self.axes[0].len(), self.axes[1].len()]
    }
}

fn reserve<T>(op: &'static str, arg: &'static str, list: &mut Vec<T>, count: usize) -> Result<()> {
    if !memory::fits::<f64>(&[count, 3]) {
        return Err(Error::value(op, arg, format!("expected what fits in memory, got {count}")));
    }
    list.try_reserve_exact(count).map_err(|_| Error::Memory(count.saturating_mul(size_of::<T>())))
}

fn axis_windows(
    op: &'static str,
    len: usize,
    options: &Options,
    axis: usize,
) -> Result<Vec<Window>> {
    let (kernel, stride) = (options.kernel[axis], options.stride[axis]);
    let (pad, dilation) = (options.padding[axis], options.dilation[axis]);
    for (arg, value) in [("kernel_size", kernel), ("stride", stride), ("dilation", dilation)] {
        if value == 0 {
            return Err(Error::value(op, arg, "expected at least 1, got 0"));
        }
    }
    if pad > kernel / 2 {
        let message = format!("expected at most half of kernel_size {kernel}, got {pad}");
        return Err(Error::value(op, "padding", message));
    }
    let span = (kernel - 1).checked_mul(dilation).and_then(|last| last.checked_add(1));
    let padded = len + 2 * pad;
    // In ceil mode the only window may miss less than a stride.
    let reach = if options.ceil_mode { padded.saturating_add(stride - 1) } else { padded };
    let Some(span) = span.filter(|&span| span <= reach) else {
        let message = format!(
            "expected a window no larger than the padded input of length {padded}, got {kernel}"
        );
        return Err(Error::value(op, "kernel_size", message));
    };
    let free = padded.saturating_sub(span);
    let mut count = free / stride + 1;
    // A window that starts in the padding after the end would see nothing.
    if options.ceil_mode && !free.is_multiple_of(stride) && count * stride < len + pad {
        count += 1;
    }
    let mut windows = Vec::new();
    reserve(op, "x", &mut windows, count)?;
    for i in 0..count {
        let first = i * stride;
        let last = first.saturating_add(span).min(padded);
        let skipped = pad.saturating_sub(first).div_ceil(dilation);
        let start = first + skipped * dilation - pad;
        let end = last.saturating_sub(pad).min(len);
        if start >= end {
            let message = format!("expected windows that see the input, got {dilation}");
            return Err(Error::value(op, "dilation", message));
        }
        windows.push(Window { start, end, padded: last - first });
    }
    Ok(windows)
}

fn check_output<T: Element>(op: &'static str, shape: [usize; 3]) -> Result<()> {
    if memory::fits::<T>(&shape) {
        return Ok(());
    }
    Err(Error::value(op, "x", format!("expected an output that fits in memory, got {shape:?}")))
}

/// Largest number of each window of `x` `[P, H, W]` and its index in the plane, `[P, OH, OW]`.
///
/// A NaN is larger than any number.
pub fn max_forward<T: Element>(
    x: ArrayView3<'_, T>,
    options: &Options,
) -> Result<(Array3<T>, Array3<i32>)> {
    const OP: &str = "max_pool2d_forward";
    let (_, h, w) = x.dim();
    maxima(OP, x, &Windows::new(OP, [h, w], options)?)
}

/// Largest number of each of `out` windows of `x` `[P, H, W]`, and its index in the plane.
pub fn adaptive_max_forward<T: Element>(
    x: ArrayView3<'_, T>,
    out: [usize; 2],
) -> Result<(Array3<T>, Array3<i32>)> {
    const OP: &str = "adaptive_max_pool2d_forward";
    let (_, h, w) = x.dim();
    maxima(OP, x, &Windows::adaptive(OP, [h, w], out)?)
}

fn maxima<T: Element>(
    op: &'static str,
    x: ArrayView3<'_, T>,
    windows: &Windows,
) -> Result<(Array3<T>, Array3<i32>)> {
    let plane = windows.plane[0] * windows.plane[1];
    if i32::try_from(plane).is_err() {
        return Err(Error::value(op, "x", "expected planes of less than 2^31 numbers"));
    }
    let shape = windows.shape(x.dim().0);
    check_output::<T>(op, shape)?;
    let mut y = memory::unfilled_array(shape);
    let mut indices = memory::zeros(shape);
    let x = x.as_standard_layout();
    let x = x.as_slice().expect("standard layout");
    let step = shape[1] * shape[2];
    let places = threads::Shared::new(indices.as_slice_mut().expect("a new array"));
    let out = y.as_slice_mut().expect("a new array");
    threads::for_each_piece(out, step, cost(x.len(), windows), |p, y| {
        let x = &x[p * plane..][..plane];
        // SAFETY: each task has the plane of its number.
        #[allow(unsafe_code)]
        let indices = unsafe { places.slice(p * step..(p + 1) * step) };
        max_plane(x, windows, y, indices);
    });
    Ok((y, indices))
}

fn max_plane<T: Element>(x: &[T], windows: &Windows, y: &mut [T], indices: &mut [i32]) {
    let [rows, columns] = &windows.axes;
    let width = windows.plane[1];
    let rows_out = y.chunks_exact_mut(columns.len()).zip(indices.chunks_exact_mut(columns.len()));
    for (row, (y, indices)) in rows.iter().zip(rows_out) {
        for ((column, y), index) in columns.iter().zip(y).zip(indices) {
            let mut best = row.start * width + column.start;
            let mut max = x[best];
            for i in (row.start..row.end).step_by(windows.dilation[0]) {
                let line = &x[i * width..][..width];
                for j in (column.start..column.end).step_by(windows.dilation[1]) {
                    let value = line[j];
                    if value > max || value.is_nan() {
                        max = value;
                        best = i * width + j;
                    }
                }
            }
            *y = max;
            *index = best as i32;
        }
    }
}

/// Gradient of the input `[P, H, W]` of a maximum from `dy` and the indices, `[P, OH, OW]`.
pub fn max_backward<T: Element>(
    dy: ArrayView3<'_, T>,
    indices: ArrayView3<'_, i32>,
    plane: [usize; 2],
) -> Result<Array3<T>> {
    const OP: &str = "max_pool2d_backward";
    check_shape(OP, "indices", dy.shape(), indices.shape())?;
    let (planes, h, w) = dy.dim();
    let shape = [planes, plane[0], plane[1]];
    check_output::<T>(OP, shape)?;
    let len = plane[0] * plane[1];
    if let Some(index) = indices.iter().find(|&&i| usize::try_from(i).map_or(true, |i| i >= len)) {
        let message = format!("expected 0 to less than {len}, got {index}");
        return Err(Error::value(OP, "indices", message));
    }
    let (dy, indices) = (dy.as_standard_layout(), indices.as_standard_layout());
    let dy = dy.as_slice().expect("standard layout");
    let indices = indices.as_slice().expect("standard layout");
    let mut dx = memory::unfilled_array(shape);
    let out = dx.as_slice_mut().expect("a new array");
    let cost = out.len() + dy.len();
    threads::for_each_piece(out, len, cost, |p, dx| {
        dx.fill(T::zero());
        let range = p * h * w..(p + 1) * h * w;
        for (&dy, &index) in dy[range.clone()].iter().zip(&indices[range]) {
            dx[index as usize] += dy;
        }
    });
    Ok(dx)
}

/// Mean of each window of `x` `[P, H, W]`: `[P, OH, OW]`.
pub fn avg_forward<T: Element>(
    x: ArrayView3<'_, T>,
    options: &Options,
    divisor: Divisor,
) -> Result<Array3<T>> {
    const OP: &str = "avg_pool2d_forward";
    let (_, h, w) = x.dim();
    means(OP, x, &avg_windows(OP, [h, w], options, divisor)?, divisor)
}

/// Gradient of the input `[P, H, W]` of [`avg_forward`] from `dy`.
pub fn avg_backward<T: Element>(
    dy: ArrayView3<'_, T>,
    plane: [usize; 2],
    options: &Options,
    divisor: Divisor,
) -> Result<Array3<T>> {
    const OP: &str = "avg_pool2d_backward";
    spread(OP, dy, &avg_windows(OP, plane, options, divisor)?, divisor)
}

/// Mean of each of `out` windows of `x` `[P, H, W]`.
pub fn adaptive_avg_forward<T: Element>(
    x: ArrayView3<'_, T>,
    out: [usize; 2],
) -> Result<Array3<T>> {
    const OP: &str = "adaptive_avg_pool2d_forward";
    let (_, h, w) = x.dim();
    means(OP, x, &Windows::adaptive(OP, [h, w], out)?, Divisor::Inside)
}

/// Gradient of the input `[P, H, W]` of [`adaptive_avg_forward`] from `dy`.
pub fn adaptive_avg_backward<T: Element>(
    dy: ArrayView3<'_, T>,
    plane: [usize; 2],
) -> Result<Array3<T>> {
    const OP: &str = "adaptive_avg_pool2d_backward";
    let (_, h, w) = dy.dim();
    spread(OP, dy, &Windows::adaptive(OP, plane, [h, w])?, Divisor::Inside)
}

fn avg_windows(
    op: &'static str,
    plane: [usize; 2],
    options: &Options,
    divisor: Divisor,
) -> Result<Windows> {
    if divisor == Divisor::Fixed(0) {
        return Err(Error::value(op, "divisor_override", "expected at least 1, got 0"));
    }
    if options.dilation != [1, 1] {
        return Err(Error::value(op, "dilation", "expected 1"));
    }
    Windows::new(op, plane, options)
}

/// One over the divisor of a window.
fn scale<T: Element>(row: &Window, column: &Window, divisor: Divisor) -> T {
    let count = match divisor {
        // The product of two padded lengths may leave 64 bits.
        Divisor::Padded => row.padded as f64 * column.padded as f64,
        Divisor::Inside => ((row.end - row.start) * (column.end - column.start)) as f64,
        Divisor::Fixed(count) => count as f64,
    };
    T::of(1.0 / count)
}

fn means<T: Element>(
    op: &'static str,
    x: ArrayView3<'_, T>,
    windows: &Windows,
    divisor: Divisor,
) -> Result<Array3<T>> {
    let shape = windows.shape(x.dim().0);
    check_output::<T>(op, shape)?;
    let (width, plane) = (windows.plane[1], windows.plane[0] * windows.plane[1]);
    let x = x.as_standard_layout();
    let x = x.as_slice().expect("standard layout");
    let mut y = memory::unfilled_array(shape);
    let out = y.as_slice_mut().expect("a new array");
    let [rows, columns] = &windows.axes;
    threads::for_each_piece(out, shape[1] * shape[2], cost(x.len(), windows), |p, y| {
        let x = &x[p * plane..][..plane];
        let mut sums = memory::Scratch::<T>::new(width);
        for (row, y) in rows.iter().zip(y.chunks_exact_mut(columns.len())) {
            sums.fill(T::zero());
            for line in x[row.start * width..row.end * width].chunks_exact(width.max(1)) {
                sums.iter_mut().zip(line).for_each(|(sum, &x)| *sum += x);
            }
            for (column, y) in columns.iter().zip(y) {
                let sum = sums[column.start..column.end].iter().fold(T::zero(), |a, &b| a + b);
                *y = sum * scale(row, column, divisor);
            }
        }
    });
    Ok(y)
}

fn spread<T: Element>(
    op: &'static str,
    dy: ArrayView3<'_, T>,
    windows: &Windows,
    divisor: Divisor,
) -> Result<Array3<T>> {
    let planes = dy.dim().0;
    let expected = windows.shape(planes);
    check_shape(op, "dy", &expected, dy.shape())?;
    let shape = [planes, windows.plane[0], windows.plane[1]];
    check_output::<T>(op, shape)?;
    let (width, plane) = (shape[2], shape[1] * shape[2]);
    let dy = dy.as_standard_layout();
    let dy = dy.as_slice().expect("standard layout");
    let mut dx = memory::unfilled_array(shape);
    let out = dx.as_slice_mut().expect("a new array");
    let cost = cost(out.len(), windows);
    let [rows, columns] = &windows.axes;
    threads::for_each_piece(out, plane, cost, |p, dx| {
        dx.fill(T::zero());
        let dy = &dy[p * expected[1] * expected[2]..][..expected[1] * expected[2]];
        let mut line = memory::Scratch::<T>::new(width);
        for (row, dy) in rows.iter().zip(dy.chunks_exact(columns.len().max(1))) {
            line.fill(T::zero());
            for (column, &dy) in columns.iter().zip(dy) {
                let part = dy * scale(row, column, divisor);
                line[column.start..column.end].iter_mut().for_each(|d| *d += part);
            }
            for dx in dx[row.start * width..row.end * width].chunks_exact_mut(width.max(1)) {
                dx.iter_mut().zip(line.iter()).for_each(|(dx, &d)| *dx += d);
            }
        }
    });
    Ok(dx)
}

/// Simple operations for an input of `len` numbers.
fn cost(len: usize, windows: &Windows) -> usize {
    let per_axis = |axis: usize| {
        let seen: usize = windows.axes[axis].iter().map(|window| window.end - window.start).sum();
        seen.div_ceil(windows.plane[axis].max(1))
    };
    len.saturating_mul(1 + per_axis(0).saturating_mul(per_axis(1)))
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    const PLAIN: Options = Options {
        kernel: [2, 2],
        stride: [2, 2],
        padding: [0, 0],
        dilation: [1, 1],
        ceil_mode: false,
    };

    #[test]
    fn largest_and_where_it_was() {
        let x = array![[[1.0f32, 5.0, 2.0], [4.0, 3.0, f32::NAN], [0.0, -1.0, 7.0]]];
        let (y, indices) = max_forward(x.view(), &PLAIN).unwrap();
        assert_eq!((y[[0, 0, 0]], indices[[0, 0, 0]]), (5.0, 1));
        let ceil = Options { ceil_mode: true, ..PLAIN };
        let (y, indices) = max_forward(x.view(), &ceil).unwrap();
        assert_eq!(y.shape(), [1, 2, 2]);
        assert!(y[[0, 0, 1]].is_nan() && indices[[0, 0, 1]] == 5);
        assert_eq!((y[[0, 1, 0]], indices[[0, 1, 1]]), (0.0, 8));
        let dx = max_backward(y.view(), indices.view(), [3, 3]).unwrap();
        assert_eq!(dx[[0, 0, 1]], 5.0);
    }

    #[test]
    fn divisors() {
        let x = array![[[1.0f64, 2.0, 3.0]]];
        let options =
            Options { kernel: [1, 2], stride: [1, 2], padding: [0, 1], ceil_mode: true, ..PLAIN };
        let y =
            |divisor| avg_forward(x.view(), &options, divisor).unwrap().into_raw_vec_and_offset();
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
        let (y, indices) = max_forward(x.view(), &ceil).unwrap();
        assert_eq!((y, indices), (array![[[4.0]]], array![[[3]]]));
        let y = avg_forward(x.view(), &ceil, Divisor::Padded).unwrap();
        assert_eq!(y, array![[[2.5]]]);
        let wider = Options { kernel: [3, 4], ..ceil };
        assert_eq!(
            max_forward(x.view(), &wider).unwrap_err().to_string(),
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
        let message = |options| max_forward(x.view(), &options).unwrap_err().to_string();
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
}
