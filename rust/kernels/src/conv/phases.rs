//! Gradient of the input for larger strides, without columns.
//!
//! Inputs with one remainder by the stride, a phase, see the same taps of the kernel, at outputs side
//! by side: dx[s q + p] = sum over taps k with s | p + pad - d k of w[k] dy[q + (p + pad - d k) / s],
//! a sum as in [`windows`](super::windows). A task computes a part of every phase and puts their
//! numbers in turns.
#![allow(unsafe_code)]

use super::Shape;
use super::lines::{self, Target};
use super::windows::{self, Cut, Pass, Region, Rows, Sum};
use crate::memory::Scratch;
use crate::simd::Vector;
use crate::threads::Shared;
use crate::{Element, threads, vectorized};

/// Numbers of the gradient that a task holds before it puts them in turns.
const HELD: usize = 1 << 15;

/// Taps that a phase sees on average from which it has enough to do for a copy of its own.
const TAPS: usize = 4;

/// Inputs of a phase in a line below which columns of several lines fill vectors better.
const SHORT: usize = 7;

/// Whether every phase has lines that fill vectors.
pub(super) fn suits(shape: &Shape) -> bool {
    let [down, across] = shape.stride;
    down * across > 1
        && shape.taps() >= TAPS * down * across
        && shape.image[1] / across >= SHORT
        && windows::has_rows(shape.group_c())
        && windows::is_dense(shape)
}

/// The sums of all phases and how their outputs are cut.
struct Plan {
    /// By the remainders of line and column; `None` for inputs that no tap sees.
    passes: Vec<Option<Pass>>,
    rows: Rows,
    /// Lines and columns of a part, and the distance of lines.
    part: [usize; 2],
    pitch: usize,
}

impl Plan {
    fn new<T: Element>(shape: &Shape, [height, width]: [usize; 2]) -> Self {
        let [down, across] = shape.stride;
        let (channels, sources) = (shape.group_c(), shape.group_o());
        let rows = Rows::new::<T>(width, channels);
        let phases = (0..down * across).map(|phase| [phase / across, phase % across]);
        let passes: Vec<_> = phases.map(|phase| Pass::backward(shape, phase)).collect();
        let margin = passes.iter().flatten().map(Pass::margin).max().unwrap_or(0);
        let depth = passes.iter().flatten().map(Pass::depth).max().unwrap_or(0);
        let join = !rows.narrow && lines::gains_by_joining::<T>(width, margin, depth);
        let joined = join.then_some(width + margin);
        let columns = if join { width } else { windows::columns(width) };
        let pitch = joined.unwrap_or(columns);
        let cut = |passes: Vec<Option<Pass>>, lines: usize| -> Vec<Option<Pass>> {
            let cut = Cut { lines, columns, joined };
            passes.into_iter().map(|pass| pass.map(|pass| pass.cut(cut))).collect()
        };
        // As many lines as the task of every phase holds, in parts as equal as can be.
        let lines = (HELD / (channels * across).max(sources) / pitch).clamp(1, height);
        let passes = cut(passes, lines);
        let lines = passes.iter().flatten().filter_map(Pass::cut_to).min().unwrap_or(lines);
        let lines = height.div_ceil(height.div_ceil(lines));
        Self { passes: cut(passes, lines), rows, part: [lines, columns], pitch }
    }
}

pub(super) fn data_gradient<T: Element>(shape: &Shape, dy: &[T], weight: &[T], dx: &mut [T]) {
    let [down, across] = shape.stride;
    let (channels, sources) = (shape.group_c(), shape.group_o());
    let quotients = [0, 1].map(|axis| shape.image[axis].div_ceil(shape.stride[axis]));
    let Plan { passes, rows, part, pitch } = Plan::new::<T>(shape, quotients);
    let parts = [0, 1].map(|axis| quotients[axis].div_ceil(part[axis]));
    let images = shape.n * shape.groups;
    let regions = images * parts[0] * parts[1];
    let shares = rows.shares(regions);
    let with_weights = |pass: Pass| (pass.chunks(), pass.weights(weight, rows.tiles), pass);
    let phases: Vec<_> = passes.into_iter().map(|pass| pass.map(with_weights)).collect();
    let out = Shared::new(dx);
    threads::for_each(regions * shares, shape.cost(), |task| {
        let (region, share) = (task / shares, task % shares);
        let (image, place) = (region / (parts[0] * parts[1]), region % (parts[0] * parts[1]));
        let from = [place / parts[1] * part[0], place % parts[1] * part[1]];
        let tiles = rows.of_share(shares, share);
        let own = tiles[0].start..tiles[tiles.len() - 1].end;
        let dy = &dy[image * sources * shape.out_plane()..];
        // Inputs of a phase that lie in the part.
        let count = |axis: usize, phase: usize| {
            let all = shape.image[axis].saturating_sub(phase).div_ceil(shape.stride[axis]);
            all.saturating_sub(from[axis]).min(part[axis])
        };
        let stride = part[0] * pitch;
        let mut sums = Scratch::new(across * channels * stride);
        for y in 0..down {
            let lines = count(0, y);
            if lines == 0 {
                continue;
            }
            for (x, sums) in sums.chunks_exact_mut(channels * stride).enumerate() {
                let Some((chunks, weights, pass)) = &phases[y * across + x] else {
                    sums.fill(T::zero());
                    continue;
                };
                let weights = &weights[image % shape.groups * channels * pass.depth()..];
                let sum = Sum { tiles: &tiles, narrow: rows.narrow, weights, chunks };
                let target = Target {
                    whole: Shared::new(sums),
                    first: 0,
                    stride,
                    columns: count(1, x),
                    accumulate: false,
                    bias: None,
                };
                pass.sum(dy, &Region { from, lines, pitch }, &sum, target);
            }
            let width = shape.image[1];
            let start = from[1] * across;
            let len = (width - start).min(part[1] * across);
            for channel in own.clone() {
                let first = (image * channels + channel) * shape.plane();
                let first = first + (from[0] * down + y) * width + start;
                let lines = Lines { first, apart: down * width, count: lines, len };
                let sums = &sums[channel * stride..];
                in_turns(sums, [channels * stride, pitch], across, &out, lines);
            }
        }
    });
}

/// Lines of an image.
#[derive(Clone, Copy)]
struct Lines {
    first: usize,
    apart: usize,
    count: usize,
    len: usize,
}

vectorized! {
    /// `line[step i + p] = from[p apart + i]` for each of `lines`, whose numbers lie `pitch` apart in
    /// `from`.
    fn in_turns<S, T: Element>(
        from: &[T],
        distances: [usize; 2],
        step: usize,
        out: &Shared<T>,
        lines: Lines,
    ) {
        let lanes = T::V::<S>::LANES;
        let [apart, pitch] = distances;
        for i in 0..lines.count {
            let first = lines.first + i * lines.apart;
            // SAFETY: tasks have lines, or parts of them, of their own.
            let line = unsafe { out.slice(first..first + lines.len) };
            let from = &from[i * pitch..];
            let mut done = 0;
            if step == 2 {
                let (even, odd) = (&from[..pitch], &from[apart..][..pitch]);
                for (i, pairs) in line.chunks_exact_mut(2 * lanes).enumerate() {
                    let at = i * lanes;
                    let (low, high) =
                        T::V::<S>::read(&even[at..]).interleave(T::V::<S>::read(&odd[at..]));
                    low.write(pairs);
                    high.write(&mut pairs[lanes..]);
                    done = at + lanes;
                }
            }
            for phase in 0..step {
                let numbers = &from[phase * apart + done..];
                let to = line[done * step..].iter_mut().skip(phase).step_by(step);
                to.zip(numbers).for_each(|(to, &number)| *to = number);
            }
        }
    }
}
