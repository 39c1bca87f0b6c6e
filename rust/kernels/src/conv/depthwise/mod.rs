//! Convolution of each channel by itself, without columns.
//!
//! A task copies bands of planes with their padding into scratch that stays in the first cache
//! ([`planes`]) and runs over their rows with the taps in registers. The gradient of the input is,
//! for stride 1, the same with turned kernels; else each row of it gathers what the rows of `dy` give
//! it, apart for each remainder of the stride. That of the weight is kept for each band and added up
//! in the order of the bands.
#![allow(unsafe_code)]

use std::ops::Range;

use super::Shape;
use crate::memory::Scratch;
use crate::planes::{self, Bands, Gather, Moves, part};
use crate::simd::{MAX_LANES, Vector};
use crate::threads::{self, Shared};
use crate::{Element, vectorized};

/// Vectors that the plain loops sum at a time.
const WIDE: usize = 4;

/// Whether usual kernels have code of their own: where single precision has registers, and in double
/// precision, which takes 1.4 to 2 times as long without. The portable form would take as long to compile.
const fn has_forms<V: Vector>() -> bool {
    V::TILE_VECTORS > 1 || size_of::<V::Elem>() == size_of::<f64>()
}

/// Whether each channel has kernels of its own that move over it in an ordinary way. Kernels that fill
/// a vector are faster side by side.
pub(super) fn suits(shape: &Shape) -> bool {
    shape.group_c() == 1 && shape.group_o() < MAX_LANES && shape.moves().are_ordinary()
}

impl Shape {
    fn moves(&self) -> Moves {
        Moves {
            image: self.image,
            out: self.out,
            kernel: self.kernel,
            stride: self.stride,
            dilation: self.dilation,
            pad: self.pad.map(|pad| pad as isize),
        }
    }

    /// The convolution of the gradient of the output that gives that of the input, for stride 1.
    fn turned(&self) -> Moves {
        let moves = self.moves();
        let pad = [0, 1].map(|axis| moves.reach(axis) as isize - moves.pad[axis]);
        Moves { image: self.out, out: self.image, pad, ..moves }
    }

    fn bands(&self) -> Bands {
        Bands::new(&self.moves(), self.n * self.c, self.cost() / (self.n * self.c))
    }
}

/// Runs a body for each constant `ROW` below `ROWS`, which is at most 13: places of sums in registers
/// must be constants, which a loop does not promise.
macro_rules! for_rows {
    ($ROWS:expr, $ROW:ident => $body:block) => {
        const { assert!($ROWS <= 13, "a body for each row") };
        for_rows!($ROWS, $ROW => $body, 0 1 2 3 4 5 6 7 8 9 10 11 12)
    };
    ($ROWS:expr, $ROW:ident => $body:block, $($row:literal)*) => {
        $(if $ROWS > $row {
            const $ROW: usize = $row;
            $body
        })*
    };
}

mod correlate;
mod products;

use correlate::{add_up, correlate};
use products::products;

pub(super) fn forward<T: Element>(
    shape: &Shape,
    x: &[T],
    weight: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
) {
    let (moves, bands) = (shape.moves(), shape.bands());
    let (kernels, taps) = (shape.group_o(), shape.taps());
    let out = Shared::new(y);
    bands.for_each(|piece| {
        let mut seen = Scratch::zeros(bands.seen_len(&moves));
        for index in piece {
            let (plane, band) = bands.place(index);
            let rows = bands.rows(shape.out[0], band);
            copy_rows(&moves, &x[plane * shape.plane()..], moves.rows(&rows), &mut seen);
            for kernel in 0..kernels {
                let o = plane % shape.c * kernels + kernel;
                // SAFETY: bands of an output differ.
                let y = unsafe { out.slice(part(plane * kernels + kernel, shape.out, &rows)) };
                let start = Some(bias.map_or(T::zero(), |bias| bias[o]));
                correlate(&moves, &seen, &weight[o * taps..][..taps], start, y);
            }
        }
    });
}

/// The gradient of the input, from the weight, and that of the weight, from the input, as far as they
/// are wanted: both from one look at `dy` where the stride is 1.
pub(super) fn gradients<T: Element>(
    shape: &Shape,
    dy: &[T],
    data: Option<(&[T], &mut [T])>,
    weight: Option<(&[T], &mut [T])>,
) {
    let data = match data {
        Some((weight, dx)) if shape.stride != [1, 1] => {
            strided_gradient(shape, dy, weight, dx);
            None
        }
        data => data.map(|(weight, dx)| Data::new(shape, weight, dx)),
    };
    let bands = shape.bands();
    let (x, dweight) = weight.unzip();
    let all = dweight.as_ref().map_or(0, |dweight| dweight.len());
    let mut parts = Scratch::new(shape.n * bands.count * all);
    let sums = x.map(|x| Sums { shape, moves: shape.moves(), x, parts: Shared::new(&mut parts) });
    if data.is_some() || sums.is_some() {
        bands.for_each(|piece| {
            let room = |moves: Option<&Moves>| moves.map_or(0, |moves| bands.seen_len(moves));
            let mut dy_seen = Scratch::zeros(room(data.as_ref().map(|data| &data.moves)));
            let mut x_seen = Scratch::zeros(room(sums.as_ref().map(|sums| &sums.moves)));
            for index in piece {
                if let Some(data) = &data {
                    data.band(&bands, index, dy, &mut dy_seen);
                }
                if let Some(sums) = &sums {
                    sums.band(&bands, index, dy, &mut x_seen);
                }
            }
        });
    }
    if let Some(dweight) = dweight {
        add_parts(&parts, dweight);
    }
}

/// The gradient of the input for stride 1.
struct Data<'a, T> {
    shape: &'a Shape,
    moves: Moves,
    turned: Vec<T>,
    dx: Shared<T>,
}

impl<'a, T: Element> Data<'a, T> {
    fn new(shape: &'a Shape, weight: &[T], dx: &mut [T]) -> Self {
        let mut turned = weight.to_vec();
        turned.chunks_exact_mut(shape.taps()).for_each(<[T]>::reverse);
        Self { shape, moves: shape.turned(), turned, dx: Shared::new(dx) }
    }

    fn band(&self, bands: &Bands, index: usize, dy: &[T], seen: &mut [T]) {
        let (shape, moves) = (self.shape, &self.moves);
        let (kernels, taps) = (shape.group_o(), shape.taps());
        let (plane, band) = bands.place(index);
        let rows = bands.rows(shape.image[0], band);
        // SAFETY: bands of the image differ.
        let dx = unsafe { self.dx.slice(part(plane, shape.image, &rows)) };
        for kernel in 0..kernels {
            let dy = &dy[(plane * kernels + kernel) * shape.out_plane()..];
            copy_rows(moves, dy, moves.rows(&rows), seen);
            let o = plane % shape.c * kernels + kernel;
            let start = (kernel == 0).then(T::zero);
            correlate(moves, seen, &self.turned[o * taps..][..taps], start, dx);
        }
    }
}

/// The gradient of the weight, a part for each band.
struct Sums<'a, T> {
    shape: &'a Shape,
    moves: Moves,
    x: &'a [T],
    parts: Shared<T>,
}

impl<T: Element> Sums<'_, T> {
    fn band(&self, bands: &Bands, index: usize, dy: &[T], seen: &mut [T]) {
        let (shape, moves) = (self.shape, &self.moves);
        let (plane, band) = bands.place(index);
        let rows = bands.rows(shape.out[0], band);
        copy_rows(moves, &self.x[plane * shape.plane()..], moves.rows(&rows), seen);
        let (n, c) = (plane / shape.c, plane % shape.c);
        let (kernels, taps) = (shape.group_o(), shape.taps());
        let first = ((n * bands.count + band) * shape.c + c) * kernels * taps;
        // SAFETY: each band has a part of its own.
        let sums = unsafe { self.parts.slice(first..first + kernels * taps) };
        for (kernel, sums) in sums.chunks_exact_mut(taps).enumerate() {
            let dy = &dy[part(plane * kernels + kernel, shape.out, &rows)];
            products(moves, seen, dy, sums);
        }
    }
}

/// Adds up the parts of a gradient in their order.
fn add_parts<T: Element>(parts: &[T], dweight: &mut [T]) {
    const PIECE: usize = 1024;
    let all = dweight.len();
    threads::for_each_piece(dweight, PIECE, parts.len() / 8, |index, sum| {
        sum.fill(T::zero());
        for parts in parts.chunks_exact(all) {
            sum.iter_mut().zip(&parts[index * PIECE..]).for_each(|(sum, &part)| *sum += part);
        }
    });
}

fn strided_gradient<T: Element>(shape: &Shape, dy: &[T], weight: &[T], dx: &mut [T]) {
    let (kernels, taps) = (shape.group_o(), shape.taps());
    let planes = shape.n * shape.c;
    let work = shape.cost() / planes;
    Gather::each_band(&shape.moves(), planes, work, dx, |gather, plane, [seen, _], apart| {
        for kernel in 0..kernels {
            let dy = &dy[(plane * kernels + kernel) * shape.out_plane()..];
            copy_rows(&gather.moves, dy, gather.rows.clone(), seen);
            let o = plane % shape.c * kernels + kernel;
            let start = (kernel == 0).then(T::zero);
            add_up(gather, seen, &weight[o * taps..][..taps], start, apart);
        }
    });
}

vectorized! {
    /// [`planes::copy_rows`] with zeros for padding.
    fn copy_rows<S, T: Element>(moves: &Moves, plane: &[T], rows: Range<usize>, to: &mut [T]) {
        planes::copy_rows::<T::V<S>>(moves, plane, rows, T::zero(), to);
    }
}
