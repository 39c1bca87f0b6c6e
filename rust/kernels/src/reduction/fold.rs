//! Cuts of `[O, N, I]` into tasks, and folds of each of them.

use std::ops::Range;

use super::steps::Step;
use crate::memory::{self, Plain};
use crate::simd::{FAR, MAX_LANES, Vector};
use crate::threads::{self, Shared};
use crate::{Element, vectorized};

/// Least numbers of a task, where there are as many.
pub const PART: usize = 16_384;
/// Columns of a task.
pub const COLUMNS: usize = 1024;
/// Columns that are few: room for more takes longer to clear than a few short ones to fold.
pub const FEW: usize = 64;
/// Rows folded in the element's own precision.
pub const ROWS: usize = 64;
/// Most parts of one fold.
pub const MAX_PARTS: usize = 64;
/// Numbers of one row folded in the element's own precision.
const BLOCK: usize = 4096;
/// Vectors or rows folded side by side.
const SIDE: usize = 4;

/// Longest rows that are folded together: what is kept of longer ones takes little of their time.
const SHORT: usize = 512;

/// Numbers of which those of a column, or those of a row, are folded.
#[derive(Clone, Copy)]
pub struct Rows<'a, T> {
    /// Begins at the first number and ends with the last.
    pub x: &'a [T],
    pub form: Form,
    /// The number of the first row of columns.
    pub at: usize,
    /// A number for each fold, or none.
    pub centres: &'a [T],
}

/// What is folded of rows.
#[derive(Clone, Copy)]
pub enum Form {
    /// Each column of rows that lie so far apart.
    Columns(usize),
    /// Each row, of so many numbers.
    Rows(usize),
}

impl<T: Element> Rows<'_, T> {
    /// Numbers in a fold.
    pub fn count(&self) -> usize {
        match self.form {
            Form::Columns(stride) => self.x.len().div_ceil(stride),
            Form::Rows(len) => len,
        }
    }

    /// Folds beside `centres`; `block` is room for a number of each.
    pub fn fold<F: Step>(&self, centres: &[T], block: &mut [T], kept: &mut [f64]) {
        match self.form {
            Form::Columns(stride) => fold_columns::<T, F>(self.x, stride, centres, block, kept),
            Form::Rows(len) => fold_rows::<T, F>(self.x, len, centres, kept),
        }
    }
}

/// What is kept of numbers: of those of a row, or of each column of rows.
pub trait Fold {
    /// What is kept.
    type Kept: Plain + Default + Send + Sync;
    /// Numbers folded in a nanosecond, about.
    const PACE: usize = 8;

    /// Of a row, a part that begins at its number `at`, beside the number `centre`.
    fn row<T: Element>(x: &[T], at: usize, centre: T) -> Self::Kept;
    /// Of each column or row, of which there are at most `WIDTH`.
    fn rows<T: Element, const WIDTH: usize>(rows: Rows<'_, T>, kept: &mut [Self::Kept]);
    /// Of a part and the one after it.
    fn join(first: Self::Kept, second: Self::Kept) -> Self::Kept;
}

impl<F: Step> Fold for F {
    type Kept = f64;

    fn row<T: Element>(x: &[T], _: usize, centre: T) -> f64 {
        fold_row::<T, F>(x, centre)
    }
    fn rows<T: Element, const WIDTH: usize>(rows: Rows<'_, T>, kept: &mut [f64]) {
        let mut block = [T::zero(); WIDTH];
        rows.fold::<F>(rows.centres, &mut block[..kept.len()], kept);
    }
    fn join(first: f64, second: f64) -> f64 {
        F::both(first, second)
    }
}

/// Rows of a part.
pub fn part_len((_, n, inner): (usize, usize, usize)) -> usize {
    (PART / inner.clamp(1, COLUMNS)).max(ROWS).max(n.div_ceil(MAX_PARTS))
}

/// Runs `run(outer, part, columns)` for ranges that make up all of `dims`, whose middle axis is cut
/// into parts of `step`.
pub fn cut(
    (outer, n, inner): (usize, usize, usize),
    step: usize,
    cost: usize,
    run: impl Fn(Range<usize>, usize, Range<usize>) + Sync,
) {
    let (parts, strips) = (n.div_ceil(step), inner.div_ceil(COLUMNS));
    // Short ones are many to a task.
    let several = if parts * strips == 1 { (PART / (n * inner)).max(1) } else { 1 };
    threads::for_each(outer.div_ceil(several) * parts * strips, cost, |task| {
        let (group, part, strip) = (task / (parts * strips), task / strips % parts, task % strips);
        let first = strip * COLUMNS;
        let outers = group * several..((group + 1) * several).min(outer);
        run(outers, part, first..(first + COLUMNS).min(inner));
    });
}

/// Runs `done(o, part, column, kept)` with what is kept of each part from a column on, or, of short
/// rows of one part, of those from the row `o` on.
pub fn for_parts<T: Element, F: Fold>(
    x: &[T],
    dims: (usize, usize, usize),
    step: usize,
    centres: &[T],
    done: impl Fn(usize, usize, usize, &[F::Kept]) + Sync,
) {
    let (_, n, inner) = dims;
    cut(dims, step, x.len() / F::PACE, |outers, part, columns| {
        let (from, to) = (part * step, ((part + 1) * step).min(n));
        if inner == 1 && step >= n && n <= SHORT {
            let mut kept = [F::Kept::default(); FEW];
            for o in outers.clone().step_by(FEW) {
                let several = o..(o + FEW).min(outers.end);
                let kept = &mut kept[..several.len()];
                let x = &x[several.start * n..several.end * n];
                let centres = if centres.is_empty() { centres } else { &centres[several] };
                F::rows::<T, FEW>(Rows { x, form: Form::Rows(n), at: 0, centres }, kept);
                done(o, part, 0, kept);
            }
            return;
        }
        if inner == 1 {
            for o in outers {
                let centre = centres.get(o).copied().unwrap_or_default();
                done(o, part, 0, &[F::row(&x[o * n + from..o * n + to], from, centre)]);
            }
            return;
        }
        let mut kept = [F::Kept::default(); COLUMNS];
        let kept = &mut kept[..columns.len()];
        for o in outers {
            let x =
                &x[(o * n + from) * inner + columns.start..(o * n + to - 1) * inner + columns.end];
            let places = o * inner + columns.start..o * inner + columns.end;
            let centres = if centres.is_empty() { centres } else { &centres[places] };
            let rows = Rows { x, form: Form::Columns(inner), at: from, centres };
            if kept.len() <= FEW {
                F::rows::<T, FEW>(rows, kept);
            } else {
                F::rows::<T, COLUMNS>(rows, kept);
            }
            done(o, part, columns.start, kept);
        }
    });
}

/// Runs `write(place, kept)` with what is kept over the middle axis of `x` for outputs `[O, I]`
/// from a place on. `centres` are of the outputs' shape, or none.
pub fn fold<T: Element, F: Fold>(
    x: &[T],
    dims: (usize, usize, usize),
    centres: &[T],
    write: impl Fn(usize, &[F::Kept]) + Sync,
) {
    let (outer, n, inner) = dims;
    if x.is_empty() {
        let nothing = F::row::<T>(&[], 0, T::zero());
        return (0..outer * inner).for_each(|place| write(place, &[nothing]));
    }
    let step = part_len(dims);
    let parts = n.div_ceil(step);
    if parts == 1 {
        let whole = |o, _, column, kept: &[F::Kept]| write(o * inner + column, kept);
        return for_parts::<T, F>(x, dims, step, centres, whole);
    }
    let mut all = memory::unfilled::<F::Kept>(outer * parts * inner);
    let shared = Shared::new(&mut all);
    for_parts::<T, F>(x, dims, step, centres, |o, part, column, kept| {
        let start = (o * parts + part) * inner + column;
        // SAFETY: each place is written by one task.
        unsafe { shared.slice(start..start + kept.len()) }.copy_from_slice(kept);
    });
    for (o, parts) in all.chunks_exact_mut(parts * inner).enumerate() {
        let (total, others) = parts.split_at_mut(inner);
        for part in others.chunks_exact(inner) {
            total.iter_mut().zip(part).for_each(|(total, &part)| *total = F::join(*total, part));
        }
        write(o * inner, total);
    }
}

/// All four as one.
#[inline(always)]
fn merged<F: Step, V: Vector>([a, b, c, d]: [V; SIDE]) -> V {
    F::merge(F::merge(a, b), F::merge(c, d))
}

vectorized! {
    /// The values of a row beside `centre`, merged.
    pub fn fold_row<S, T: Element, F: Step>(x: &[T], centre: T) -> f64 {
        let mut result = F::START;
        for block in x.chunks(BLOCK) {
            result = F::both(result, F::lanes(fold_block::<T::V<S>, F>(block, centre)).f64());
        }
        result
    }
}

/// The values beside `centre`, merged lane by lane.
#[inline(always)]
fn fold_block<V: Vector, F: Step>(block: &[V::Elem], centre: V::Elem) -> V {
    let (start, centres) = (V::of(F::START), V::splat(centre));
    let mut totals = [start; SIDE];
    let mut groups = block.chunks_exact(SIDE * V::LANES);
    for group in groups.by_ref() {
        for i in 0..SIDE {
            let x = &group[i * V::LANES..][..V::LANES];
            if (i * V::LANES).is_multiple_of(crate::simd::line::<V::Elem>()) {
                V::prefetch_ahead(x);
            }
            totals[i] = F::merge(totals[i], F::value(V::read(x), centres));
        }
    }
    for x in groups.remainder().chunks(V::LANES) {
        totals[0] = F::merge(totals[0], F::value(V::read_or(x, F::passed(centre)), centres));
    }
    merged::<F, V>(totals)
}

vectorized! {
    /// The values of each row of `len` numbers beside its number in `centres`, merged: those of as many
    /// rows as a vector has lanes, together.
    fn fold_rows<S, T: Element, F: Step>(x: &[T], len: usize, centres: &[T], kept: &mut [f64]) {
        let lanes = T::V::<S>::LANES;
        let start = T::V::<S>::of(F::START);
        for (i, (rows, kept)) in x.chunks(lanes * len).zip(kept.chunks_mut(lanes)).enumerate() {
            let mut block = [start; MAX_LANES];
            for ((row, x), total) in rows.chunks_exact(len).enumerate().zip(&mut block) {
                let centre = if F::CENTRED { centres[i * lanes + row] } else { T::zero() };
                *total = fold_block::<T::V<S>, F>(x, centre);
            }
            T::V::<S>::transpose(&mut block);
            let mut width = lanes;
            while width > 1 {
                width /= 2;
                for lane in 0..width {
                    block[lane] = F::merge(block[lane], block[lane + width]);
                }
            }
            let mut totals = [T::zero(); MAX_LANES];
            block[0].write(&mut totals);
            kept.iter_mut().zip(&totals).for_each(|(kept, total)| *kept = total.f64());
        }
    }
}

vectorized! {
    /// The values of each column beside its number in `centres`, merged; rows lie `stride` apart, and
    /// `block` is room for a number of each column.
    fn fold_columns<S, T: Element, F: Step>(
        x: &[T],
        stride: usize,
        centres: &[T],
        block: &mut [T],
        kept: &mut [f64],
    ) {
        let lanes = T::V::<S>::LANES;
        let width = kept.len();
        let start = T::of(F::START);
        let far = size_of_val(x) >= FAR;
        kept.fill(F::START);
        for rows in x.chunks(ROWS * stride) {
            block.fill(start);
            for rows in rows.chunks(SIDE * stride) {
                let count = rows.len().div_ceil(stride);
                let mut from = 0;
                // Whole vectors of as many rows as go together, which is nearly all of them.
                while count == SIDE && from + lanes <= width {
                    let centre = match F::CENTRED {
                        true => T::V::<S>::read(&centres[from..][..lanes]),
                        false => T::V::<S>::zero(),
                    };
                    let mut values = [T::V::<S>::zero(); SIDE];
                    for i in 0..SIDE {
                        let row = &rows[i * stride + from..][..lanes];
                        if far {
                            T::V::<S>::prefetch_far(row.as_ptr().wrapping_add(SIDE * stride));
                        }
                        values[i] = F::value(T::V::<S>::read(row), centre);
                    }
                    let (block, total) = (&mut block[from..][..lanes], merged::<F, T::V<S>>(values));
                    // A choice of what is there already would become a masked store, which is slow.
                    F::merge(total, T::V::<S>::read(block)).write(block);
                    from += lanes;
                }
                for from in (from..width).step_by(lanes) {
                    let block = &mut block[from..(from + lanes).min(width)];
                    let centre = match F::CENTRED {
                        true => T::V::<S>::read(&centres[from..][..block.len()]),
                        false => T::V::<S>::zero(),
                    };
                    let mut values = [T::V::<S>::splat(start); SIDE];
                    for i in 0..count {
                        let row = &rows[i * stride + from..][..block.len()];
                        values[i] = F::value(T::V::<S>::read(row), centre);
                    }
                    let total = merged::<F, T::V<S>>(values);
                    F::merge(total, T::V::<S>::read(block)).write(block);
                }
            }
            for (kept, x) in kept.iter_mut().zip(&*block) {
                *kept = F::both(*kept, x.f64());
            }
        }
    }
}
