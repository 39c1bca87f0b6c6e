//! Lines of outputs from windows of the image: a vector holds columns that lie side by side.
#![allow(unsafe_code)]

use std::ops::Range;

use crate::simd::{FAR, Isa, Vector};
use crate::threads::{Shared, part_of};
use crate::{Element, vectorized};

/// Numbers of a row of outputs from those that are computed to those that the nearest cache is asked
/// for: the processor does not foresee short stretches of many rows.
const AHEAD: usize = 64;

/// Terms of a sum from which to copy it takes little.
const DEEP: usize = 256;

/// Calls a tile of one or two vectors for a number of lines that is known at run time.
macro_rules! sized {
    ($lines:expr, $vectors:expr, $tile:ident $args:tt) => {
        if const { T::V::<S>::TILE_VECTORS > 1 } && $vectors > 1 {
            sized!(2, $lines, $tile $args, 1 2 3 4 5 6 7 8 9 10 11 12 13 14)
        } else {
            sized!(1, $lines, $tile $args, 1 2 3 4 5 6 7 8 9 10 11 12 13 14)
        }
    };
    ($n:literal, $lines:expr, $tile:ident $args:tt, $($m:literal)*) => {
        match $lines {
            $($m if const { $m <= T::V::<S>::TILE_ROWS } => $tile::<S, T, $m, $n> $args,)*
            lines => unreachable!("a tile of {lines} lines"),
        }
    };
}
pub(super) use sized;

/// Rows of outputs cut into tiles of whole units, as equal as can be.
#[derive(Clone, Copy)]
pub(super) struct Tiles {
    pub(super) count: usize,
    pub(super) units: usize,
    /// Rows of a unit.
    pub(super) unit: usize,
}

impl Tiles {
    pub(super) fn rows(self, tile: usize) -> Range<usize> {
        let units = part_of(self.units, self.count, tile);
        units.start * self.unit..units.end * self.unit
    }
}

/// Weights of all rows: panels of a tile's rows each.
#[derive(Clone, Copy)]
pub(super) struct Panels<'a, T> {
    pub(super) start: &'a [T],
    /// Terms of the whole sum, and the first that is taken.
    pub(super) depth: usize,
    pub(super) from: usize,
}

impl<'a, T> Panels<'a, T> {
    /// The weights of a tile for `terms` terms, one after the other.
    pub(super) fn of(&self, rows: &Range<usize>, terms: usize) -> &'a [T] {
        let first = rows.start * self.depth + self.from * rows.len();
        &self.start[first..first + terms * rows.len()]
    }
}

/// A part of a line of outputs.
#[derive(Clone, Copy)]
pub(super) struct Target<'a, T> {
    pub(super) whole: Shared<T>,
    /// Where it begins for row 0, and the distance of rows.
    pub(super) first: usize,
    pub(super) stride: usize,
    pub(super) columns: usize,
    pub(super) accumulate: bool,
    pub(super) bias: Option<&'a [T]>,
}

impl<'a, T> Target<'a, T> {
    /// `count` outputs of each of the rows from `column` on: where those of the first row begin.
    pub(super) fn at(&self, rows: &Range<usize>, column: usize, count: usize) -> *mut T {
        let at = self.first + rows.start * self.stride + column;
        self.whole.at(at + (rows.len() - 1) * self.stride + count);
        self.whole.at(at)
    }

    /// What the sums of the rows begin with.
    pub(super) fn bias(&self, rows: &Range<usize>) -> Option<&'a [T]> {
        self.bias.filter(|_| !self.accumulate).map(|bias| &bias[rows.clone()])
    }
}

vectorized! {
    /// Tiles of as many rows as registers hold.
    pub(super) fn tiles<S, T: Element>(rows: usize) -> Tiles {
        Tiles { count: rows.div_ceil(T::V::<S>::TILE_ROWS), units: rows, unit: 1 }
    }
}

vectorized! {
    /// Whether lines of `width` outputs fill vectors better where they follow each other as one,
    /// `margin` numbers apart, though sums of `depth` terms are then copied.
    pub(super) fn gains_by_joining<S, T: Element>(width: usize, margin: usize, depth: usize) -> bool {
        let (lanes, most) = (T::V::<S>::LANES, T::V::<S>::TILE_VECTORS);
        let strip = lanes * most;
        let rest = match width % strip {
            0 => 0,
            // A tile of one vector takes more than half as long as one of two.
            rest if most > 1 && rest <= lanes => 5 * lanes / 4,
            _ => strip,
        };
        depth >= DEEP && (width + margin) * 20 <= (width / strip * strip + rest) * 19
    }
}

vectorized! {
    /// All tiles of rows of one line of outputs.
    pub(super) fn run_line<S, T: Element>(
        tiles: &[Range<usize>],
        weights: Panels<'_, T>,
        offsets: &[usize],
        z: &[T],
        target: Target<'_, T>,
    ) {
        let lanes = T::V::<S>::LANES;
        let far = target.whole.bytes() >= FAR;
        let strip = lanes * T::V::<S>::TILE_VECTORS;
        for rows in tiles {
            let w = weights.of(rows, offsets.len());
            let bias = target.bias(rows);
            let (stride, add) = (target.stride, target.accumulate);
            for column in (0..target.columns).step_by(strip) {
                let count = strip.min(target.columns - column);
                let c = target.at(rows, column, count);
                // SAFETY: a line of the copy holds the outputs of a part, which are whole vectors,
                // for every tap; the last output of the tile was found to be inside.
                unsafe {
                    let z = z.as_ptr().add(column);
                    let vectors = count.div_ceil(lanes);
                    sized!(rows.len(), vectors, tile(w, offsets, z, c, stride, count, far, add, bias));
                }
            }
        }
    }
}

/// `M` rows of `count` outputs, at most `N` vectors of them, `stride` apart.
///
/// # Safety
/// `N` vectors are readable from each offset of `z` on, and the outputs are there.
#[inline(always)]
unsafe fn tile<S: Isa, T: Element, const M: usize, const N: usize>(
    weights: &[T],
    offsets: &[usize],
    z: *const T,
    c: *mut T,
    stride: usize,
    count: usize,
    far: bool,
    accumulate: bool,
    bias: Option<&[T]>,
) {
    let lanes = T::V::<S>::LANES;
    // A last full vector over the one before is cheaper than part of one.
    let mut places = [0; N];
    for (j, place) in places.iter_mut().enumerate() {
        *place = (j * lanes).min(count.saturating_sub(lanes));
    }
    let mut sums = [[T::V::<S>::zero(); N]; M];
    if let Some(bias) = bias {
        for (sums, &bias) in sums.iter_mut().zip(bias) {
            *sums = [T::V::<S>::splat(bias); N];
        }
    }
    if far {
        for i in 0..M {
            T::V::<S>::prefetch(c.wrapping_add(i * stride + AHEAD));
        }
    }
    let mut w = weights.as_ptr();
    for &offset in offsets {
        let mut window = [T::V::<S>::zero(); N];
        for (window, place) in window.iter_mut().zip(places) {
            *window = T::V::<S>::load(z.add(offset + place));
        }
        for (i, sums) in sums.iter_mut().enumerate() {
            let w = T::V::<S>::splat(*w.add(i));
            for (sum, window) in sums.iter_mut().zip(window) {
                *sum = w.mul_add(window, *sum);
            }
        }
        w = w.wrapping_add(M);
    }
    for (i, sums) in sums.iter_mut().enumerate() {
        let c = c.wrapping_add(i * stride);
        if count < lanes {
            for sum in sums {
                let before =
                    if accumulate { T::V::<S>::load_first(c, count) } else { T::V::<S>::zero() };
                sum.add(before).store_first(c, count);
            }
            continue;
        }
        if accumulate {
            for (sum, place) in sums.iter_mut().zip(places) {
                *sum = sum.add(T::V::<S>::load(c.add(place)));
            }
        }
        for (sum, place) in sums.iter().zip(places) {
            sum.store(c.add(place));
        }
    }
}
