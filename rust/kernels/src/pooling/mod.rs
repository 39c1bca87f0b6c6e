//! Pooling of planes `[P, H, W]`: the largest or the mean of each window.
//!
//! max:  y = x at the first largest place of the window    dx: dy added at that place
//! mean: y = sum of the window / divisor                   dx: dy / divisor added over the window
//!
//! Windows are the product of one range for each axis. Those that move in an ordinary way run over
//! padded rows ([`crate::planes`]), others number by number. Padding counts as `-inf` for the maximum; for
//! the mean as zeros that the divisor counts or not. Adaptive windows are
//! `floor(i H / OH) .. ceil((i + 1) H / OH)`.

mod average;
mod max;
mod three;
mod two;
mod values;

pub use average::{adaptive_avg_backward, adaptive_avg_forward, avg_backward, avg_forward};
pub use max::{Places, adaptive_max_forward, index_backward, max_backward, max_forward};
pub use values::max_values;

use crate::planes::Moves;
use crate::{Element, Error, Result, memory};

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

    /// How windows of `options` move, where they do so in an ordinary way.
    fn moves(&self, options: &Options) -> Option<Moves> {
        let moves = Moves {
            image: self.plane,
            out: [self.axes[0].len(), self.axes[1].len()],
            kernel: options.kernel,
            stride: options.stride,
            dilation: options.dilation,
            pad: options.padding.map(|pad| pad as isize),
        };
        moves.are_ordinary().then_some(moves)
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

/// Simple operations for an input of `len` numbers.
fn cost(len: usize, windows: &Windows) -> usize {
    let per_axis = |axis: usize| {
        let seen: usize = windows.axes[axis].iter().map(|window| window.end - window.start).sum();
        seen.div_ceil(windows.plane[axis].max(1))
    };
    len.saturating_mul(1 + per_axis(0).saturating_mul(per_axis(1)))
}
