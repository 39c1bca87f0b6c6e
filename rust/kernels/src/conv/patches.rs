//! Convolution by kernels that lie side by side, as a vision transformer's patches do: each input
//! belongs to one output, so columns are the image in another order, in runs as long as a kernel is wide.
//!
//! With `col[p, (c, k)]`: y = w col', dcol = dy' w, dw = dy col.
#![allow(unsafe_code)]

use std::ops::Range;

use ndarray::ArrayViewMut2;

use super::Shape;
use super::im2col::{begin, matrix, rows_mut};
use crate::matmul::gemm;
use crate::memory::Scratch;
use crate::threads::{self, Shared, part_of};
use crate::{Element, Result};

/// Numbers in the columns of a task.
const BLOCK: usize = 1 << 17;

/// Products of images of which fewer are shared out themselves.
const FEW: usize = 4;

/// Outputs of an image from which its part of the weight's gradient is worth a product of its own.
const OUTPUTS: usize = 64;

/// Shortest run that is not faster as windows of the image.
const RUN: usize = 4;

/// Whether kernels lie side by side and are wide.
pub(super) fn suits(shape: &Shape) -> bool {
    let inside = (0..2).all(|axis| shape.out[axis] * shape.kernel[axis] <= shape.image[axis]);
    shape.kernel == shape.stride
        && shape.kernel[1] >= RUN
        && shape.pad == [0, 0]
        && shape.dilation == [1, 1]
        && inside
}

/// Whether that also helps the gradient of the weight.
pub(super) fn suits_weight(shape: &Shape) -> bool {
    suits(shape) && (shape.out_plane() >= OUTPUTS || shape.n < FEW)
}

pub(super) fn forward<T: Element>(
    shape: &Shape,
    x: &[T],
    weight: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
) -> Result<()> {
    let (group_o, depth, plane) = (shape.group_o(), depth(shape), shape.out_plane());
    let y = Shared::new(y);
    each_part(shape, |image, lines| {
        let (n, group) = (image / shape.groups, image % shape.groups);
        let w = matrix(&weight[group * group_o * depth..], group_o, depth, depth);
        let (first, count) = (lines.start * shape.out[1], lines.len() * shape.out[1]);
        let mut columns = Scratch::new(count * depth);
        gather(shape, &x[image * shape.group_c() * shape.plane()..], lines, &mut columns);
        // SAFETY: no other task has these outputs.
        let mut y = unsafe {
            rows_mut(&y, (n * shape.o + group * group_o) * plane + first, group_o, count, plane)
        };
        let add = begin(&mut y, bias.map(|bias| &bias[group * group_o..]));
        gemm(w, matrix(&columns, count, depth, depth).reversed_axes(), y, add)
    })
}

pub(super) fn data_gradient<T: Element>(
    shape: &Shape,
    dy: &[T],
    weight: &[T],
    dx: &mut [T],
) -> Result<()> {
    let (group_o, depth, plane) = (shape.group_o(), depth(shape), shape.out_plane());
    if (0..2).any(|axis| shape.out[axis] * shape.kernel[axis] < shape.image[axis]) {
        dx.fill(T::zero());
    }
    let dx = Shared::new(dx);
    each_part(shape, |image, lines| {
        let group = image % shape.groups;
        let w = matrix(&weight[group * group_o * depth..], group_o, depth, depth);
        let (first, count) = (lines.start * shape.out[1], lines.len() * shape.out[1]);
        let dy = matrix(&dy[image * group_o * plane + first..], group_o, count, plane);
        let mut columns = Scratch::new(count * depth);
        let c = ArrayViewMut2::from_shape((count, depth), &mut columns).expect("sizes agree");
        gemm(dy.reversed_axes(), w, c, false)?;
        scatter(shape, &columns, lines, &dx, image * shape.group_c() * shape.plane());
        Ok(())
    })
}

pub(super) fn weight_gradient<T: Element>(
    shape: &Shape,
    dy: &[T],
    x: &[T],
    dweight: &mut [T],
) -> Result<()> {
    let (group_o, depth, plane) = (shape.group_o(), depth(shape), shape.out_plane());
    let mut columns = Scratch::new(plane * depth);
    for (group, dweight) in dweight.chunks_exact_mut(group_o * depth).enumerate() {
        for n in 0..shape.n {
            let image = n * shape.groups + group;
            let x = &x[image * shape.group_c() * shape.plane()..];
            gather(shape, x, 0..shape.out[0], &mut columns);
            let dy = matrix(&dy[image * group_o * plane..], group_o, plane, plane);
            let c = ArrayViewMut2::from_shape((group_o, depth), &mut *dweight);
            gemm(dy, matrix(&columns, plane, depth, depth), c.expect("sizes agree"), n > 0)?;
        }
    }
    Ok(())
}

/// Numbers of a column.
fn depth(shape: &Shape) -> usize {
    shape.group_c() * shape.taps()
}

/// Runs `run(image, lines)` for lines of outputs of each image and group that make a block.
fn each_part(shape: &Shape, run: impl Fn(usize, Range<usize>) -> Result<()> + Sync) -> Result<()> {
    let images = shape.n * shape.groups;
    if images < FEW {
        return (0..images).try_for_each(|image| run(image, 0..shape.out[0]));
    }
    let parts = (shape.out_plane() * depth(shape)).div_ceil(BLOCK).min(shape.out[0]);
    let run = |task: usize| run(task / parts, part_of(shape.out[0], parts, task % parts));
    threads::map(images * parts, shape.cost(), run).into_iter().collect()
}

/// Writes the columns of `lines` of outputs, one after the other.
fn gather<T: Element>(shape: &Shape, x: &[T], lines: Range<usize>, columns: &mut [T]) {
    let cost = columns.len() / 4;
    threads::for_each_piece(columns, shape.out[1] * depth(shape), cost, |i, columns| {
        let line = lines.start + i;
        let copy = |at: usize, place: usize, len: usize| {
            columns[place..place + len].copy_from_slice(&x[at..at + len]);
        };
        each_run(shape, line, copy);
    });
}

/// Writes the columns of `lines` of outputs to the image that begins at `start` of `dx`, in which
/// nothing else touches what these see.
fn scatter<T: Element>(
    shape: &Shape,
    columns: &[T],
    lines: Range<usize>,
    dx: &Shared<T>,
    start: usize,
) {
    let len = shape.out[1] * depth(shape);
    threads::for_each(lines.len(), columns.len() / 4, |i| {
        let columns = &columns[i * len..][..len];
        let copy = |at: usize, place: usize, len: usize| {
            // SAFETY: runs do not overlap.
            let dx = unsafe { dx.slice(start + at..start + at + len) };
            dx.copy_from_slice(&columns[place..place + len]);
        };
        each_run(shape, lines.start + i, copy);
    });
}

/// Calls `copy(place in the image, place in the columns, length)` for the runs that the outputs of a
/// line see, in the order of the columns.
#[inline(always)]
fn each_run(shape: &Shape, line: usize, copy: impl FnMut(usize, usize, usize)) {
    // Copies of a known length need no call.
    match shape.kernel[1] {
        4 => runs(shape, line, 4, copy),
        8 => runs(shape, line, 8, copy),
        16 => runs(shape, line, 16, copy),
        len => runs(shape, line, len, copy),
    }
}

#[inline(always)]
fn runs(shape: &Shape, line: usize, len: usize, mut copy: impl FnMut(usize, usize, usize)) {
    let mut place = 0;
    for output in 0..shape.out[1] {
        for channel in 0..shape.group_c() {
            let first = channel * shape.plane() + line * shape.kernel[0] * shape.image[1];
            for row in 0..shape.kernel[0] {
                copy(first + row * shape.image[1] + output * len, place, len);
                place += len;
            }
        }
    }
}
