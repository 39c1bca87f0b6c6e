//! Recurrent layers over whole sequences: one layer, in one or both directions, in one call.
//!
//! forward:  all products of the input first, as one; then per step the products of the state, with
//!           the weights packed so that one tile holds all gates of its units, and the cell's
//!           equations on the tile.
//! backward: the steps in reverse order, each giving the slopes of its gates; then the gradients of
//!           input and weights, each as one product over all steps.
//!
//! Rows follow the order of the input, `[N, L]` or `[L, N]`, so neither is copied. A step is cut
//! into blocks of units and of rows by the sizes alone.

mod backward;
mod forward;
pub mod gru;
pub mod lstm;
pub mod rnn;
mod tile;

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, ArrayView3};

pub use backward::{Gradients, Kept, Needs, backward};
pub use forward::{Forward, forward};
pub use gru::Gru;
pub use lstm::Lstm;
pub use rnn::Rnn;

use crate::simd::Vector;
use crate::{Element, Error, Result, check_shape, threads};
use tile::{Ahead, Tile};

/// Weights of one direction.
#[derive(Debug, Clone, Copy)]
pub struct Weights<'a, T> {
    /// Of the input, `[G H, D]`.
    pub ih: ArrayView2<'a, T>,
    /// Of the state, `[G H, H]`.
    pub hh: ArrayView2<'a, T>,
    /// The biases that go with them, `[G H]` each.
    pub bias: Option<(ArrayView1<'a, T>, ArrayView1<'a, T>)>,
}

/// Gradients of the weights of one direction.
#[derive(Debug)]
pub struct WeightGradients<T> {
    /// Of the weights of the input, `[G H, D]`.
    pub ih: Array2<T>,
    /// Of the weights of the state, `[G H, H]`.
    pub hh: Array2<T>,
    /// Of the biases.
    pub bias: Option<(Array1<T>, Array1<T>)>,
}

/// The equations of a cell on a register of units.
pub trait Cell: Copy + Send + Sync + 'static {
    /// Name of the forward function in errors.
    const FORWARD: &'static str;
    /// Name of the backward function in errors.
    const BACKWARD: &'static str;
    /// Blocks of rows in the weights.
    const GATES: usize;
    /// Registers of units in a tile, where there are many of them; see [`tile::spread`].
    const SPREAD: usize;
    /// Whether backward needs the gates.
    const KEEPS_GATES: bool;
    /// Whether backward needs one more number a unit.
    const KEEPS_EXTRA: bool;
    /// Whether that number is a state of its own, the `c` of LSTM.
    const HAS_CELL: bool;
    /// Whether the last gate's slope differs between the part of the input and that of the state.
    const SPLITS_LAST: bool;

    /// The product of a tile of all gates of its units.
    fn product<V: Vector>(
        rows: usize,
        depth: usize,
        a: &[V::Elem],
        stride: usize,
        b: &[V::Elem],
        ahead: &Ahead,
        tile: &mut Tile<V::Elem>,
    );

    /// One step from the products of the input, `x`, and of the state, `h`, both with their bias.
    /// `before` is the state `c`, or `h` where there is none.
    fn forward<V: Vector>(x: [V; 4], h: [V; 4], before: V) -> Done<V>;

    /// The step backwards from the gradient `dh` of its output. `carry` runs from step to step
    /// beside the products: the gradient of `c`, or the part of `dh` that skips the weights.
    fn backward<V: Vector>(unit: Unit<V>, dh: V, carry: V) -> Slopes<V>;
}

/// What a step gives.
#[derive(Debug, Clone, Copy)]
pub struct Done<V> {
    /// Gates after their functions.
    pub gates: [V; 4],
    /// One more number for backward.
    pub extra: V,
    /// The output.
    pub h: V,
}

/// What forward kept of a step.
#[derive(Debug, Clone, Copy)]
pub struct Unit<V> {
    /// Gates after their functions.
    pub gates: [V; 4],
    /// The extra number.
    pub extra: V,
    /// The state before the step: `c`, or `h` where there is none.
    pub before: V,
    /// The output.
    pub h: V,
}

/// Gradients inside a step.
#[derive(Debug, Clone, Copy)]
pub struct Slopes<V> {
    /// Of the sums that enter the gates.
    pub gates: [V; 4],
    /// Of the last gate's part that comes from the state, where the cell splits it.
    pub last: V,
    /// What runs on to the step before.
    pub carry: V,
}

/// Sizes of a call.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    /// Batch.
    n: usize,
    /// Length.
    l: usize,
    /// Features of the input.
    d: usize,
    /// Units.
    h: usize,
    /// Directions.
    dirs: usize,
    batch_first: bool,
}

impl Sizes {
    fn check<T: Element, C: Cell>(
        op: &'static str,
        x: ArrayView3<'_, T>,
        h0: ArrayView3<'_, T>,
        c0: Option<ArrayView3<'_, T>>,
        weights: &[Weights<'_, T>],
        batch_first: bool,
    ) -> Result<Self> {
        let (first, second, d) = x.dim();
        let (n, l) = if batch_first { (first, second) } else { (second, first) };
        let dirs = weights.len();
        if dirs != 1 && dirs != 2 {
            return Err(Error::value(
                op,
                "weights",
                format!("expected those of 1 or 2 directions, got {dirs}"),
            ));
        }
        let h = weights[0].hh.ncols();
        if l == 0 || d == 0 || h == 0 {
            return Err(Error::value(
                op,
                "x",
                format!("expected length, features and units above zero, got {l}, {d} and {h}"),
            ));
        }
        let gates = C::GATES * h;
        for weights in weights {
            check_shape(op, "weight_ih", &[gates, d], weights.ih.shape())?;
            check_shape(op, "weight_hh", &[gates, h], weights.hh.shape())?;
            if let Some((ih, hh)) = weights.bias {
                check_shape(op, "bias_ih", &[gates], ih.shape())?;
                check_shape(op, "bias_hh", &[gates], hh.shape())?;
            }
        }
        check_shape(op, "h0", &[dirs, n, h], h0.shape())?;
        if let Some(c0) = c0 {
            check_shape(op, "c0", &[dirs, n, h], c0.shape())?;
        }
        let largest = [n, l, dirs, gates, size_of::<T>()]
            .iter()
            .try_fold(1isize, |size, &by| size.checked_mul(isize::try_from(by).ok()?));
        if largest.is_none() {
            return Err(Error::value(op, "x", "expected sizes that fit in memory"));
        }
        Ok(Self { n, l, d, h, dirs, batch_first })
    }

    /// Rows in all.
    fn rows(&self) -> usize {
        self.n * self.l
    }

    /// Row of sequence 0 at time `t`, and how far apart its neighbours lie.
    fn row(&self, t: usize) -> (usize, usize) {
        if self.batch_first { (t, self.l) } else { (t * self.n, 1) }
    }

    /// Time of step `s` in a direction.
    fn time(&self, dir: usize, s: usize) -> usize {
        if dir == 0 { s } else { self.l - 1 - s }
    }

    /// Distance between rows that steps multiply: a line more than a multiple of a power of two, so
    /// that neighbours do not share a set of the cache.
    fn stride(columns: usize) -> usize {
        columns.next_multiple_of(16) + 16
    }
}

/// How a step is cut into tasks: panels of units, and blocks of rows where there are many rows or
/// few panels.
#[derive(Debug, Clone, Copy)]
struct Cut {
    panels: usize,
    blocks: usize,
    rows: usize,
}

/// One task of a step.
#[derive(Debug, Clone, Copy)]
struct Part {
    dir: usize,
    panel: usize,
    block: usize,
    first: usize,
    end: usize,
}

impl Cut {
    fn new(rows: usize, units: usize, hidden: usize, dirs: usize) -> Self {
        let panels = hidden.div_ceil(units);
        let few = 8usize.div_ceil(panels * dirs).min(rows.div_ceil(12));
        Self { panels, blocks: rows.div_ceil(64).max(few).max(1), rows }
    }

    fn tasks(&self, dirs: usize) -> usize {
        dirs * self.panels * self.blocks
    }

    /// Blocks of rows vary fastest, so that a thread keeps to few panels of the weights.
    fn part(&self, task: usize) -> Part {
        let (dir, rest) = (task / (self.panels * self.blocks), task % (self.panels * self.blocks));
        let (panel, block) = (rest / self.blocks, rest % self.blocks);
        let rows = threads::part_of(self.rows, self.blocks, block);
        Part { dir, panel, block, first: rows.start, end: rows.end }
    }
}

/// Nanoseconds, roughly, of a step in one direction.
fn step_cost(n: usize, gates: usize, hidden: usize) -> usize {
    n * gates * hidden * (hidden / 32 + 2)
}

#[cfg(test)]
mod tests {
    use ndarray::{Array3, s};

    use super::*;

    #[test]
    fn parts_cover_every_unit_of_every_row_once() {
        for (rows, units, hidden, dirs) in
            [(1, 16, 1, 1), (33, 8, 20, 2), (200, 32, 64, 1), (0, 4, 4, 1)]
        {
            let cut = Cut::new(rows, units, hidden, dirs);
            let mut seen = Array3::<u8>::zeros((dirs, cut.panels, rows));
            for task in 0..cut.tasks(dirs) {
                let part = cut.part(task);
                seen.slice_mut(s![part.dir, part.panel, part.first..part.end])
                    .map_inplace(|n| *n += 1);
            }
            assert!(seen.iter().all(|&n| n == 1) && cut.panels * units >= hidden);
        }
    }
}
