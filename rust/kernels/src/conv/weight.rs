//! Gradient of the weight without columns: every tap of a channel reads its window of the image.
//!
//! dw[o, k] = sum over outputs q of z[offset(k) + q] dy[o, q], with z as in [`windows`](super::windows),
//! or the image itself where each output sees one place of it. A tile of taps and output channels stays
//! in registers over all outputs of a part of an image.
#![allow(unsafe_code)]

use super::Shape;
use super::transform::{Channels, to_pixels, to_planes};
use super::windows::{self, Pass};
use crate::memory::Scratch;
use crate::simd::steps::{self, Steps};
use crate::simd::{Isa, Vector, line};
use crate::threads::{Shared, part_of};
use crate::{Element, threads, vectorized};

/// Most outputs of a part, whose gradients stay in the nearest caches.
const PART: usize = 512;

/// Outputs up to which whole images are taken together.
const TOGETHER: usize = 128;

/// Widest panel of output channels.
const PANEL: usize = 32;

/// Gradients of a channel from those that are copied to those that are asked for.
const AHEAD: usize = 64;

/// Bytes of a page.
const PAGE: usize = 4096;

/// Outputs that follow each other from which sums of their own pay.
const LONG: usize = 32;

/// Sums of parts of the batch that are added up at the end.
const SHARES: usize = 8;

/// Whether output channels fill a vector.
pub(super) fn suits(shape: &Shape) -> bool {
    shape.group_o() >= 8 && windows::is_dense(shape)
}

pub(super) fn gradient<T: Element>(shape: &Shape, dy: &[T], x: &[T], dweight: &mut [T]) {
    let shape = &shape.unrolled();
    let pass = Pass::forward(shape, PART);
    let outputs = Channels::new(shape.group_o(), PANEL);
    let depth = pass.sources * pass.taps.len();
    let in_place = reads_in_place::<T>(shape, &pass);
    let offsets = if in_place {
        (0..pass.chunk).map(|source| source * pass.inputs()).collect()
    } else {
        pass.offsets()
    };
    let chunks = pass.sources.div_ceil(pass.chunk);
    let parts = pass.parts()[0] * pass.parts()[1];
    // Small images go together.
    let together = (TOGETHER / pass.outputs()).clamp(1, shape.n);
    let items = shape.n.div_ceil(together) * parts;
    let units = shape.groups * chunks;
    let shares = SHARES.div_ceil(units).min(items);
    let terms = |chunk: usize| {
        let sources = pass.chunk.min(pass.sources - chunk * pass.chunk);
        sources * pass.taps.len()
    };
    let sums = threads::map(units * shares, shape.cost(), |task| {
        let (unit, share) = (task / shares, task % shares);
        let (group, chunk) = (unit / chunks, unit % chunks);
        let terms = terms(chunk);
        let mut sums = Scratch::zeros(outputs.padded() * terms);
        let mut z = Scratch::new(if in_place { 0 } else { together * pass.copy_len() });
        let most = together * pass.part[0] * pass.part[1];
        let mut pixels = Scratch::new(outputs.width * most);
        for item in part_of(items, shares, share) {
            let (first, part) = (item / parts * together, item % parts);
            let images = first..(first + together).min(shape.n);
            let (from, size) = pass.place(part);
            let source = |n| {
                ((n * shape.groups + group) * pass.sources + chunk * pass.chunk) * pass.inputs()
            };
            for (n, z) in images.clone().zip(z.chunks_exact_mut(pass.copy_len())) {
                pass.copy(&x[source(n)..], from, terms / pass.taps.len(), z);
            }
            // Whole lines follow each other as one.
            let [lines, columns] =
                if size[1] == pass.width() { [1, size[0] * size[1]] } else { size };
            for panel in 0..outputs.panels {
                let (width, within) = (outputs.width, outputs.within(panel));
                let mut room = pixels.chunks_exact_mut(width * columns);
                for n in images.clone() {
                    let row = (n * shape.groups + group) * outputs.count + panel * width;
                    for line in 0..lines {
                        let to = room.next().expect("room for all images");
                        let first =
                            row * pass.outputs() + (from[0] + line) * pass.width() + from[1];
                        let dy = &dy[first..];
                        to_pixels(dy, pass.outputs(), within, columns, to, width, AHEAD);
                    }
                }
                let sums = &mut sums[panel * width * terms..][..width * terms];
                let ([lines, columns], z) = if in_place {
                    let start = &x[source(images.start) + from[0] * pass.width() + from[1]..];
                    let (image, line) = (shape.c * pass.inputs(), pass.width());
                    ([lines, columns], Inputs { start, image, line })
                } else {
                    (size, Inputs { start: &z, image: pass.copy_len(), line: pass.pitch })
                };
                let size = [images.len(), lines, columns];
                let dy = Gradients { pixels: &pixels, width, size };
                add_products(&offsets[..terms], z, dy, sums);
            }
        }
        sums
    });
    let dweight = Shared::new(dweight);
    threads::for_each(units * outputs.panels, sums.len() * sums[0].len(), |task| {
        let (unit, panel) = (task / outputs.panels, task % outputs.panels);
        let (group, chunk) = (unit / chunks, unit % chunks);
        let terms = terms(chunk);
        let part = panel * outputs.width * terms..(panel + 1) * outputs.width * terms;
        let shares = &sums[unit * shares..(unit + 1) * shares];
        let mut total = Scratch::new(part.len());
        total.copy_from_slice(&shares[0][part.clone()]);
        for share in &shares[1..] {
            total.iter_mut().zip(&share[part.clone()]).for_each(|(total, &sum)| *total += sum);
        }
        let row = group * outputs.count + panel * outputs.width;
        let first = row * depth + chunk * pass.chunk * pass.taps.len();
        let count = outputs.within(panel);
        to_planes(&total, outputs.width, count, terms, &dweight, first, depth);
    });
}

/// Whether images are read where they lie. Planes whole pages apart would fall on the same few sets of
/// the caches, unless all of a plane is read.
fn reads_in_place<T>(shape: &Shape, pass: &Pass) -> bool {
    let apart = !(pass.inputs() * size_of::<T>()).is_multiple_of(PAGE);
    shape.is_pointwise() && (apart || pass.parts() == [1, 1])
}

/// Gradients of outputs, `size` images, lines and columns, `width` channels side by side.
#[derive(Clone, Copy)]
struct Gradients<'a, T> {
    pixels: &'a [T],
    width: usize,
    size: [usize; 3],
}

/// Images or copies of them, and the distances between them and between their lines.
#[derive(Clone, Copy)]
struct Inputs<'a, T> {
    start: &'a [T],
    image: usize,
    line: usize,
}

vectorized! {
    /// `sums[k] += z[offset(k) + q] dy[q]` over all outputs q.
    fn add_products<S, T: Element>(
        offsets: &[usize],
        z: Inputs<'_, T>,
        dy: Gradients<'_, T>,
        sums: &mut [T],
    ) {
        let lanes = T::V::<S>::LANES;
        let most = T::V::<S>::TILE_ROWS;
        let tiles = offsets.len().div_ceil(most);
        let [images, lines, columns] = dy.size;
        assert!(dy.width.is_multiple_of(lanes));
        assert!(dy.pixels.len() >= images * lines * columns * dy.width);
        assert!(sums.len() == offsets.len() * dy.width);
        let last = (images - 1) * z.image + (lines - 1) * z.line + columns;
        assert!(offsets.iter().max().expect("a tap") + last <= z.start.len());
        let apart = distance(offsets).filter(|_| columns >= LONG);
        let mut column = 0;
        while column < dy.width {
            let vectors = T::V::<S>::TILE_VECTORS.min((dy.width - column) / lanes);
            for index in 0..tiles {
                let rows = part_of(offsets.len(), tiles, index);
                let offsets = &offsets[rows.clone()];
                // SAFETY: windows, gradients and sums were measured above.
                unsafe {
                    let c = sums.as_mut_ptr().add(rows.start * dy.width + column);
                    let dy = Gradients { pixels: &dy.pixels[column..], ..dy };
                    macro_rules! tiles {
                        ($n:literal, $($m:literal)*) => {
                            match rows.len() {
                                $($m if const { $m <= T::V::<S>::TILE_ROWS } => {
                                    tile::<S, T, $m, $n>(offsets, apart, z, dy, c);
                                })*
                                rows => unreachable!("a tile of {rows} rows"),
                            }
                        };
                    }
                    if const { T::V::<S>::TILE_VECTORS > 1 } && vectors > 1 {
                        tiles!(2, 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
                    } else {
                        tiles!(1, 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
                    }
                }
            }
            column += vectors * lanes;
        }
    }
}

/// Distance of neighbouring windows, if it is always the same.
fn distance(offsets: &[usize]) -> Option<usize> {
    let apart = offsets.get(1)?.checked_sub(offsets[0])?;
    let same = |pair: &[usize]| pair[1].checked_sub(pair[0]) == Some(apart);
    offsets.windows(2).all(same).then_some(apart)
}

/// What is asked for of the inputs that the next tile reads, a line of each tap in turn.
struct Ahead<T> {
    at: *const T,
    apart: usize,
    turn: usize,
}

impl<T> Ahead<T> {
    /// Asks for as much of `M` taps as [`Steps`] take between two times.
    #[inline(always)]
    fn ask<V: Vector<Elem = T>, const M: usize>(&mut self) {
        let turns = line::<T>() / steps::TOGETHER;
        for tap in (self.turn..M).step_by(turns) {
            V::prefetch_far(self.at.wrapping_add(tap * self.apart));
        }
        self.turn += 1;
        if self.turn == turns {
            self.turn = 0;
            self.at = self.at.wrapping_add(line::<T>());
        }
    }
}

/// Sums of `M` taps for `N` vectors of output channels, in registers; windows of neighbouring taps may
/// always lie as far `apart`.
///
/// # Safety
/// Every window holds the lines and columns of `dy`; `c` has `M` rows, `dy.width` apart.
#[inline(always)]
unsafe fn tile<S: Isa, T: Element, const M: usize, const N: usize>(
    offsets: &[usize],
    apart: Option<usize>,
    z: Inputs<'_, T>,
    dy: Gradients<'_, T>,
    c: *mut T,
) {
    let lanes = T::V::<S>::LANES;
    let mut sums = [[T::V::<S>::zero(); N]; M];
    let mut windows = [z.start.as_ptr(); M];
    for (window, &offset) in windows.iter_mut().zip(offsets) {
        *window = window.add(offset);
    }
    let mut d = dy.pixels.as_ptr();
    let lines =
        (0..dy.size[0]).flat_map(|i| (0..dy.size[1]).map(move |l| i * z.image + l * z.line));
    for start in lines {
        if const { steps::suits::<T::V<S>>(M, N) }
            && let Some(apart) = apart
        {
            let a = windows[0].add(start);
            let mut ahead = Ahead { at: a.wrapping_add(M * apart), apart, turn: 0 };
            let (count, apart, b_step) = (dy.size[2], apart as isize, dy.width);
            let steps = Steps { count, a, apart, b: d, b_step };
            let more = steps.sums::<T::V<S>, M, N, true, false>(|| ahead.ask::<T::V<S>, M>());
            for (sum, more) in sums.as_flattened_mut().iter_mut().zip(more.as_flattened()) {
                *sum = sum.add(*more);
            }
            d = d.wrapping_add(count * dy.width);
            continue;
        }
        for at in start..start + dy.size[2] {
            let mut right = [T::V::<S>::zero(); N];
            for (j, right) in right.iter_mut().enumerate() {
                *right = T::V::<S>::load(d.add(j * lanes));
            }
            for (window, sums) in windows.iter().zip(&mut sums) {
                let x = T::V::<S>::splat(*window.add(at));
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = x.mul_add(right, *sum);
                }
            }
            d = d.wrapping_add(dy.width);
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        for (j, sum) in sums.iter().enumerate() {
            let at = c.add(i * dy.width + j * lanes);
            sum.add(T::V::<S>::load(at)).store(at);
        }
    }
}
