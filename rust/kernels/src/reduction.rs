//! Sums over neighbouring axes: of `[O, N, I]` over `N`.
//!
//! Blocks are summed in the element's own precision and added up in double precision.
#![allow(unsafe_code)]

use ndarray::{Array2, ArrayView3};

use crate::memory::{self, Scratch};
use crate::simd::Vector;
use crate::threads::{self, Shared};
use crate::{Element, Result, norm, vectorized};

/// Least numbers of a task, where there are as many.
const PART: usize = 16_384;
/// Columns of a task.
const COLUMNS: usize = 1024;
/// Rows summed in the element's own precision.
const ROWS: usize = 64;
/// Most parts that one sum is made of.
const MAX_PARTS: usize = 64;
/// Rows added to the block at once.
const SIDE: usize = 4;

/// Sum over the middle axis of `x` `[O, N, I]`.
pub fn sum<T: Element>(x: ArrayView3<'_, T>) -> Result<Array2<T>> {
    let (outer, n, inner) = x.dim();
    let x = x.as_standard_layout();
    let x = x.as_slice().expect("standard layout");
    let mut y = memory::zeros((outer, inner));
    if x.is_empty() {
        return Ok(y);
    }
    let step = (PART / inner.min(COLUMNS)).max(ROWS).max(n.div_ceil(MAX_PARTS));
    let (parts, strips) = (n.div_ceil(step), inner.div_ceil(COLUMNS));
    // Short sums are many to a task.
    let several = if parts * strips == 1 { (PART / (n * inner)).max(1) } else { 1 };
    let mut partial = Scratch::<f64>::new(if parts > 1 { outer * parts * inner } else { 0 });
    let (out, kept) =
        (Shared::new(y.as_slice_mut().expect("a new array")), Shared::new(&mut partial));
    threads::for_each(outer.div_ceil(several) * parts * strips, x.len() / 8, |task| {
        let (group, part, strip) = (task / (parts * strips), task / strips % parts, task % strips);
        let first = strip * COLUMNS;
        let width = COLUMNS.min(inner - first);
        let rows = part * step..((part + 1) * step).min(n);
        let mut sums = [0.0; COLUMNS];
        let sums = &mut sums[..width];
        for o in group * several..((group + 1) * several).min(outer) {
            let start = (o * n + rows.start) * inner + first;
            let x = &x[start..(o * n + rows.end - 1) * inner + first + width];
            sums.fill(0.0);
            if inner == 1 {
                sums[0] = norm::sum(x);
            } else {
                add_rows(x, inner, sums);
            }
            if parts == 1 {
                // SAFETY: each place is written by one task.
                let y = unsafe { out.slice(o * inner + first..o * inner + first + width) };
                y.iter_mut().zip(&*sums).for_each(|(y, &sum)| *y = T::of(sum));
            } else {
                let start = (o * parts + part) * inner + first;
                // SAFETY: as above.
                unsafe { kept.slice(start..start + width) }.copy_from_slice(sums);
            }
        }
    });
    if parts > 1 {
        let outputs = y.as_slice_mut().expect("a new array").chunks_exact_mut(inner);
        for (y, parts) in outputs.zip(partial.chunks_exact_mut(parts * inner)) {
            let (total, others) = parts.split_at_mut(inner);
            for part in others.chunks_exact(inner) {
                total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
            }
            y.iter_mut().zip(total).for_each(|(y, &mut total)| *y = T::of(total));
        }
    }
    Ok(y)
}

vectorized! {
    /// Adds the first numbers of each row of `x` to `sums`; rows lie `stride` apart.
    fn add_rows<S, T: Element>(x: &[T], stride: usize, sums: &mut [f64]) {
        let lanes = T::V::<S>::LANES;
        let width = sums.len();
        let mut block = [T::zero(); COLUMNS];
        let block = &mut block[..width];
        for rows in x.chunks(ROWS * stride) {
            block.fill(T::zero());
            for rows in rows.chunks(SIDE * stride) {
                let count = rows.len().div_ceil(stride);
                for from in (0..width).step_by(lanes) {
                    let block = &mut block[from..(from + lanes).min(width)];
                    let mut totals = [T::V::<S>::zero(); SIDE];
                    for i in 0..count {
                        let row = &rows[i * stride + from..][..block.len()];
                        T::V::<S>::prefetch_far(row.as_ptr().wrapping_add(SIDE * stride));
                        totals[i] = T::V::<S>::read(row);
                    }
                    let total = totals[0].add(totals[1]).add(totals[2].add(totals[3]));
                    T::V::<S>::read(block).add(total).write(block);
                }
            }
            for (sum, x) in sums.iter_mut().zip(&*block) {
                *sum += x.f64();
            }
        }
    }
}
