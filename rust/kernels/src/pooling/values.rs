//! Largest numbers of windows where nobody asks for their places: down the columns first, then along
//! the row that is left.

use std::ops::Range;

use ndarray::{Array3, ArrayView3};

use super::max::{check_plane, maxima};
use super::{Options, Windows, check_output, two};
use crate::memory::{self, Scratch};
use crate::planes::{Bands, Moves, copy_row, part};
use crate::simd::Vector;
use crate::threads::Shared;
use crate::{Element, Result, vectorized};

/// Largest number of each window of `x` `[P, H, W]`: `[P, OH, OW]`.
///
/// A NaN is larger than any number.
pub fn max_values<T: Element>(x: ArrayView3<'_, T>, options: &Options) -> Result<Array3<T>> {
    const OP: &str = "max_pool2d_values";
    let (_, h, w) = x.dim();
    let windows = Windows::new(OP, [h, w], options)?;
    check_plane(OP, &windows)?;
    let shape = windows.shape(x.dim().0);
    check_output::<T>(OP, shape)?;
    let Some(moves) = windows.moves(options) else {
        return Ok(maxima(x, &windows).0);
    };
    let mut y = memory::unfilled_array(shape);
    let x = x.as_standard_layout();
    let x = x.as_slice().expect("standard layout");
    let work = shape[1] * shape[2] * (moves.kernel[0] + moves.kernel[1]) / 8;
    let bands = Bands::new(&moves, shape[0], work);
    let out = Shared::new(y.as_slice_mut().expect("a new array"));
    let lines = unrolled(&moves, bands.most(shape[1]));
    let two = two::fits(&moves);
    bands.for_each(|piece| {
        let mut tall = Scratch::new(if two { 0 } else { bands.most(shape[1]) * w });
        let mut seen = Scratch::new(tall.len().div_ceil(lines.image[1]) * lines.row_len());
        seen.fill(T::neg_infinity());
        for index in piece {
            let (p, band) = bands.place(index);
            let (x, rows) = (&x[p * h * w..][..h * w], bands.rows(shape[1], band));
            // SAFETY: bands differ.
            #[allow(unsafe_code)]
            let y = unsafe { out.slice(part(p, moves.out, &rows)) };
            if two {
                two::values(&moves, x, rows, y);
            } else {
                value_rows(&moves, &lines, x, rows, &mut tall, &mut seen, y);
            }
        }
    });
    Ok(y)
}

/// How windows move along a row; rows are one where no window reaches from one into the next.
fn unrolled(moves: &Moves, rows: usize) -> Moves {
    let ([_, width], [_, out], [_, stride]) = (moves.image, moves.out, moves.stride);
    let apart = moves.pad[1] == 0 && moves.reach(1) < stride && width == out * stride;
    let rows = if apart { rows } else { 1 };
    Moves { image: [1, rows * width], out: [1, rows * out], ..*moves }
}

vectorized! {
    /// Maxima of `rows` of outputs. `seen` holds `-inf` where no number of the plane comes.
    fn value_rows<S, T: Element>(
        moves: &Moves,
        lines: &Moves,
        x: &[T],
        rows: Range<usize>,
        tall: &mut [T],
        seen: &mut [T],
        y: &mut [T],
    ) {
        let (lanes, width) = (T::V::<S>::LANES, moves.image[1]);
        let step = moves.dilation[0] * width;
        let tall = &mut tall[..rows.len() * width];
        for (row, tall) in rows.zip(tall.chunks_exact_mut(width)) {
            let rows = moves.seen_rows(row);
            let x = &x[rows.start * width..];
            for at in starts(width, lanes) {
                let mut max = T::V::<S>::read(&x[at..width]);
                for line in 1..rows.len().div_ceil(moves.dilation[0]) {
                    max = larger(T::V::<S>::read(&x[line * step..][at..width]), max);
                }
                max.write(&mut tall[at..]);
            }
        }
        let len = lines.row_len();
        for (tall, seen) in tall.chunks(lines.image[1]).zip(seen.chunks_mut(len)) {
            copy_row::<T::V<S>>(lines, tall, seen);
        }
        for (y, seen) in y.chunks_mut(lines.out[1]).zip(seen.chunks(len)) {
            for at in starts(y.len(), lanes) {
                let mut max = T::V::<S>::read(&seen[lines.tap(0) + at..]);
                for kx in 1..lines.kernel[1] {
                    max = larger(T::V::<S>::read(&seen[lines.tap(kx) + at..]), max);
                }
                max.write(&mut y[at..]);
            }
        }
    }
}

/// Where vectors begin that cover `len` numbers: a last full one over the one before is cheaper than
/// part of one.
#[inline(always)]
pub(super) fn starts(len: usize, lanes: usize) -> impl Iterator<Item = usize> {
    (0..len).step_by(lanes).map(move |at| at.min(len.saturating_sub(lanes)))
}

/// The larger number, or else a NaN.
#[inline(always)]
pub(super) fn larger<V: Vector>(x: V, max: V) -> V {
    V::select(x.eq(x), x.max(max), x)
}
