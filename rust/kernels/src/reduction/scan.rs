//! Sums and products of the numbers up to each.

use ndarray::{Array3, ArrayView3};

use super::fold::{COLUMNS, MAX_PARTS, cut, for_parts, part_len};
use super::steps::{Product, Step, Sum};
use crate::simd::Vector;
use crate::threads::Shared;
use crate::{Element, Result, memory, vectorized};

/// Numbers turned round at once.
const TURNED: usize = 512;

/// Sums, or products, over the middle axis of `x` `[O, N, I]` of the numbers up to each, or from
/// each on if in `reverse`.
pub fn scan<T: Element>(x: ArrayView3<'_, T>, product: bool, reverse: bool) -> Result<Array3<T>> {
    Ok(if product { run::<T, Product>(x, reverse) } else { run::<T, Sum>(x, reverse) })
}

fn run<T: Element, F: Step>(x: ArrayView3<'_, T>, reverse: bool) -> Array3<T> {
    let dims @ (outer, n, inner) = x.dim();
    let x = x.as_standard_layout();
    let x = x.as_slice().expect("standard layout");
    let mut y = memory::unfilled_array(dims);
    if x.is_empty() {
        return y;
    }
    // Parts take numbers twice, so that they are for where rows are too few.
    let enough = outer * inner.div_ceil(COLUMNS) >= MAX_PARTS / 4;
    let step = if enough { n } else { part_len(dims) };
    let parts = n.div_ceil(step);
    let mut starts = memory::unfilled::<f64>(if parts > 1 { outer * parts * inner } else { 0 });
    if parts > 1 {
        let shared = Shared::new(&mut starts);
        for_parts::<T, F>(x, dims, step, &[], |o, part, column, totals| {
            let start = (o * parts + part) * inner + column;
            // SAFETY: each place is written by one task.
            unsafe { shared.slice(start..start + totals.len()) }.copy_from_slice(totals);
        });
        for starts in starts.chunks_exact_mut(parts * inner) {
            for column in 0..inner {
                let mut before = F::START;
                for i in 0..parts {
                    let part = if reverse { parts - 1 - i } else { i };
                    let start = &mut starts[part * inner + column];
                    (*start, before) = (before, F::both(before, *start));
                }
            }
        }
    }
    let out = Shared::new(y.as_slice_mut().expect("a new array"));
    cut(dims, step, x.len() / 2, |outers, part, columns| {
        let (from, to) = (part * step, ((part + 1) * step).min(n));
        if inner == 1 {
            // Several rows are whole ones.
            let places = outers.start * n + from..(outers.end - 1) * n + to;
            let before = starts.get(outers.start * parts + part).copied().unwrap_or(F::START);
            // SAFETY: each place is written by one task.
            let y = unsafe { out.slice(places.clone()) };
            scan_along::<T, F>(&x[places], to - from, before, reverse, y);
            return;
        }
        let mut running = [T::zero(); COLUMNS];
        let running = &mut running[..columns.len()];
        for o in outers {
            let start = (o * parts + part) * inner;
            running.fill(T::of(F::START));
            if parts > 1 {
                let starts = &starts[start + columns.start..start + columns.end];
                running.iter_mut().zip(starts).for_each(|(to, &start)| *to = T::of(start));
            }
            // Strips of rows are apart from each other, whole rows are not.
            let together = if columns.len() == inner { to - from } else { 1 };
            for row in (from..to).step_by(together) {
                let row = if reverse { from + to - together - row } else { row };
                let start = (o * n + row) * inner + columns.start;
                let places = start..start + together * columns.len();
                // SAFETY: as above.
                let y = unsafe { out.slice(places.clone()) };
                scan_rows::<T, F>(&x[places], reverse, running, y);
            }
        }
    });
    y
}

/// Each lane merged with those before it.
#[inline(always)]
fn up_to_each<F: Step, V: Vector>(x: V) -> V {
    let start = V::Elem::of(F::START);
    let (mut merged, mut width) = (x, 1);
    while width < V::LANES {
        merged = F::merge(merged.slide(width, start), merged);
        width *= 2;
    }
    merged
}

/// Writes `before` and all of `x` up to each number, merged, and returns that of all.
#[inline(always)]
fn scan_part<F: Step, V: Vector>(x: &[V::Elem], mut before: f64, y: &mut [V::Elem]) -> f64 {
    let whole = x.len() - x.len() % V::LANES;
    let ((x, x_rest), (y, y_rest)) = (x.split_at(whole), y.split_at_mut(whole));
    for (x, y) in x.chunks_exact(V::LANES).zip(y.chunks_exact_mut(V::LANES)) {
        let x = V::read(x);
        F::merge(V::of(before), up_to_each::<F, V>(x)).write(y);
        // All lanes at once: the next vector need not wait for them one by one.
        before = F::both(before, F::lanes(x).f64());
    }
    for (x, y) in x_rest.iter().zip(y_rest) {
        before = F::both(before, x.f64());
        *y = V::Elem::of(before);
    }
    before
}

vectorized! {
    /// Rows of `width` numbers, to each of which `before` is added.
    fn scan_along<S, T: Element, F: Step>(
        x: &[T],
        width: usize,
        before: f64,
        reverse: bool,
        y: &mut [T],
    ) {
        let rows = x.chunks_exact(width).zip(y.chunks_exact_mut(width));
        if !reverse {
            for (x, y) in rows {
                scan_part::<F, T::V<S>>(x, before, y);
            }
            return;
        }
        let (mut from, mut to) = ([T::zero(); TURNED], [T::zero(); TURNED]);
        for (x, y) in rows {
            let mut before = before;
            for (x, y) in x.rchunks(TURNED).zip(y.rchunks_mut(TURNED)) {
                let (from, to) = (&mut from[..x.len()], &mut to[..x.len()]);
                for (from, x) in from.iter_mut().zip(x.iter().rev()) {
                    *from = *x;
                }
                before = scan_part::<F, T::V<S>>(from, before, to);
                for (to, y) in to.iter().zip(y.iter_mut().rev()) {
                    *y = *to;
                }
            }
        }
    }
}

vectorized! {
    /// Rows as long as `running`, to which each is added in turn.
    fn scan_rows<S, T: Element, F: Step>(
        x: &[T],
        reverse: bool,
        running: &mut [T],
        y: &mut [T],
    ) {
        let lanes = T::V::<S>::LANES;
        let width = running.len();
        let rows = x.len() / width;
        for i in 0..rows {
            let row = if reverse { rows - 1 - i } else { i };
            let (x, y) = (&x[row * width..][..width], &mut y[row * width..][..width]);
            let parts = x.chunks(lanes).zip(y.chunks_mut(lanes));
            for ((x, y), running) in parts.zip(running.chunks_mut(lanes)) {
                let merged = F::merge(T::V::<S>::read(running), T::V::<S>::read(x));
                merged.write(running);
                merged.write(y);
            }
        }
    }
}
