//! The steps in order.
#![allow(unsafe_code)]

use std::ops::Range;

use ndarray::{Array3, ArrayView3, Axis, s};

use super::tile::{self, Ahead, Tile, load, store};
use super::{Cell, Cut, Part, Sizes, Weights, step_cost};
use crate::memory::{Scratch, unfilled_array};
use crate::simd::Vector;
use crate::threads::Shared;
use crate::{Element, Error, Result, matmul, threads, vectorized};

/// What a layer gives, and what backward needs of it.
#[derive(Debug)]
pub struct Forward<T> {
    /// Outputs of all steps, `[N, L, dirs H]` or `[L, N, dirs H]`.
    pub y: Array3<T>,
    /// Last output of each direction, `[dirs, N, H]`.
    pub h: Array3<T>,
    /// Last `c` of each direction; empty where the cell has none.
    pub c: Array3<T>,
    /// Gates, `[dirs, rows, G H]`; empty where backward does not need them.
    pub gates: Array3<T>,
    /// The extra number of each unit, `[dirs, rows, H]`; empty where backward does not need it.
    pub extra: Array3<T>,
}

/// One step of all directions. Shared slices are written in parts that do not overlap.
struct Step<'a, T: Element> {
    sizes: Sizes,
    index: usize,
    /// Products of the state, `[dirs, N, G H]`, or packed weights of each direction.
    source: Source<'a, T>,
    /// Biases of input and state, `[dirs, 2, G H]`.
    bias: &'a [T],
    /// `h` before and after, `[dirs, N, stride]`.
    before: &'a [T],
    after: Shared<T>,
    /// `[dirs, N, H]`.
    c: Shared<T>,
    y: Shared<T>,
    gates: Shared<T>,
    extra: Shared<T>,
}

enum Source<'a, T: Element> {
    Ready(&'a [T]),
    Packed(&'a [Scratch<T>]),
}

/// Runs a layer over `x` `[N, L, D]`, or `[L, N, D]` unless `batch_first`, from the states `h0` and,
/// for a cell that has one, `c0`, both `[dirs, N, H]`. The second of two directions runs backwards.
pub fn forward<T: Element, C: Cell>(
    x: ArrayView3<'_, T>,
    h0: ArrayView3<'_, T>,
    c0: Option<ArrayView3<'_, T>>,
    weights: &[Weights<'_, T>],
    batch_first: bool,
) -> Result<Forward<T>> {
    if C::HAS_CELL != c0.is_some() {
        return Err(Error::value(C::FORWARD, "c0", "expected for LSTM and for no other cell"));
    }
    let sizes = Sizes::check::<T, C>(C::FORWARD, x, h0, c0, weights, batch_first)?;
    let Sizes { n, d, h, dirs, .. } = sizes;
    let (rows, wide) = (sizes.rows(), C::GATES * h);
    let x = x.as_standard_layout();
    let inputs = x.view().into_shape_with_order((rows, d)).expect("standard layout");
    let mut gates = unfilled_array((dirs, rows, wide));
    for (weights, gates) in weights.iter().zip(gates.outer_iter_mut()) {
        matmul::gemm(inputs, weights.ih.t(), gates, false)?;
    }
    let mut extra = unfilled_array(if C::KEEPS_EXTRA { (dirs, rows, h) } else { (0, 0, 0) });
    let mut y = unfilled_array((x.dim().0, x.dim().1, dirs * h));
    let mut c =
        c0.map_or_else(|| Array3::zeros((0, 0, 0)), |c0| c0.as_standard_layout().into_owned());

    let mut bias = Scratch::zeros(dirs * 2 * wide);
    for (weights, bias) in weights.iter().zip(bias.chunks_exact_mut(2 * wide)) {
        if let Some((ih, hh)) = weights.bias {
            bias[..wide].iter_mut().zip(ih).for_each(|(to, from)| *to = *from);
            bias[wide..].iter_mut().zip(hh).for_each(|(to, from)| *to = *from);
        }
    }
    let stride = Sizes::stride(h);
    let mut before = Scratch::zeros(dirs * n * stride);
    let mut after = Scratch::zeros(dirs * n * stride);
    for (row, h0) in before.chunks_exact_mut(stride).zip(h0.lanes(Axis(2))) {
        row.iter_mut().zip(h0).for_each(|(to, from)| *to = *from);
    }

    let lanes = tile::lanes::<T>();
    let spread = tile::spread::<C>(lanes);
    let units = spread * lanes;
    let cut = Cut::new(n, units, h, dirs);
    let mut products = Array3::zeros((0, 0, 0));
    let mut packed = Vec::new();
    if sizes.l == 1 {
        // A single step does not pay for packing.
        products = unfilled_array((dirs, n, wide));
        for dir in 0..dirs {
            let products = products.index_axis_mut(Axis(0), dir);
            matmul::gemm(h0.index_axis(Axis(0), dir), weights[dir].hh.t(), products, false)?;
        }
    } else {
        let group = tile::group(lanes, C::GATES * spread) * lanes;
        packed.extend(weights.iter().map(|w| tile::pack_gates(w.hh, C::GATES, units, group)));
    }
    let shared = (
        Shared::new(c.as_slice_mut().expect("standard layout")),
        Shared::new(y.as_slice_mut().expect("a new array")),
        Shared::new(gates.as_slice_mut().expect("a new array")),
        Shared::new(extra.as_slice_mut().expect("a new array")),
    );
    let cost = dirs * step_cost(n, C::GATES, h);
    for index in 0..sizes.l {
        let step = Step {
            sizes,
            index,
            source: match sizes.l {
                1 => Source::Ready(products.as_slice().expect("a new array")),
                _ => Source::Packed(&packed),
            },
            bias: &bias,
            before: &before,
            after: Shared::new(&mut after),
            c: shared.0,
            y: shared.1,
            gates: shared.2,
            extra: shared.3,
        };
        let tasks = cut.tasks(dirs);
        let order = threads::to_and_fro(tasks, index);
        threads::for_each(tasks, cost, |number| {
            advance::<T, C>(&step, cut.part(order(number)));
        });
        std::mem::swap(&mut before, &mut after);
    }
    let mut last = unfilled_array((dirs, n, h));
    for (mut to, from) in last.lanes_mut(Axis(2)).into_iter().zip(before.chunks_exact(stride)) {
        to.assign(&ndarray::aview1(&from[..h]));
    }
    if !C::KEEPS_GATES {
        gates = gates.slice_move(s![..0, ..0, ..0]);
    }
    Ok(Forward { y, h: last, c, gates, extra })
}

vectorized! {
    fn advance<S, T: Element, C: Cell>(step: &Step<'_, T>, part: Part) {
        let Sizes { n, h, dirs, .. } = step.sizes;
        let lanes = T::V::<S>::LANES;
        let spread = tile::spread::<C>(lanes);
        let vectors = C::GATES * spread;
        let wide = C::GATES * h;
        let stride = Sizes::stride(h);
        let first_unit = part.panel * spread * lanes;
        let before = &step.before[part.dir * n * stride..][..n * stride];
        let bias = &step.bias[part.dir * 2 * wide..][..2 * wide];
        let (first_row, apart) = step.sizes.row(step.sizes.time(part.dir, step.index));
        let mut tile = Tile::new();
        let mut ahead = Ahead::new();
        let count = part.end - part.first;
        let tiles = count.div_ceil(tile::most_rows(lanes, vectors));
        for index in 0..tiles {
            let rows = threads::part_of(count, tiles, index);
            let (first, end) = (part.first + rows.start, part.first + rows.end);
            if let Source::Packed(packed) = step.source {
                ahead.clear();
                for i in first..end {
                    let row = part.dir * step.sizes.rows() + first_row + i * apart;
                    for at in 0..vectors {
                        let unit = first_unit + at % spread * lanes;
                        if unit < h {
                            let at = row * wide + at / spread * h + unit;
                            // SAFETY: this task alone touches these units of these rows.
                            ahead.add(unsafe { step.gates.slice(at..at + 1) });
                        }
                    }
                }
                let size = h * vectors * lanes;
                let panel = &packed[part.dir][part.panel * size..][..size];
                let a = &before[first * stride..end * stride];
                C::product::<T::V<S>>(end - first, h, a, stride, panel, &ahead, &mut tile);
            }
            for i in first..end {
                let row = Row {
                    index: part.dir * step.sizes.rows() + first_row + i * apart,
                    state: part.dir * n + i,
                    output: (first_row + i * apart) * dirs + part.dir,
                    before: &before[i * stride..(i + 1) * stride],
                    bias,
                };
                let sums = match step.source {
                    Source::Ready(_) => &[],
                    // SAFETY: the product above wrote them.
                    Source::Packed(_) => unsafe {
                        let row = (i - first) * vectors * lanes;
                        tile.numbers(row..row + vectors * lanes)
                    },
                };
                let units = first_unit..h.min(first_unit + spread * lanes);
                // SAFETY: this task alone touches these units of these rows.
                unsafe {
                    if spread * lanes >= <T::V<S> as Vector>::Pair::LANES {
                        finish::<<T::V<S> as Vector>::Pair, T, C>(step, &row, sums, units);
                    } else {
                        finish::<T::V<S>, T, C>(step, &row, sums, units);
                    }
                }
            }
        }
    }
}

/// Where a row of a step is found.
struct Row<'a, T> {
    /// Among the rows of all steps.
    index: usize,
    /// Among the rows of the states.
    state: usize,
    /// Among the rows of the outputs of each direction.
    output: usize,
    /// The state `h` before.
    before: &'a [T],
    /// Biases of input and state.
    bias: &'a [T],
}

/// The cell's equations on some units of a row, from the products of the state: `sums`, of each gate
/// as many numbers as a panel has units, or those at hand.
///
/// # Safety
/// Nothing else touches these units of this row meanwhile.
#[inline(always)]
unsafe fn finish<V: Vector<Elem = T>, T: Element, C: Cell>(
    step: &Step<'_, T>,
    row: &Row<'_, T>,
    sums: &[T],
    units: Range<usize>,
) {
    let h = step.sizes.h;
    let (wide, stride) = (C::GATES * h, Sizes::stride(h));
    let first = units.start;
    for unit in units.clone().step_by(V::LANES) {
        let count = V::LANES.min(units.end - unit);
        let gates = step.gates.at(row.index * wide + unit);
        let state = row.state * h + unit;
        let mut x = [V::zero(); 4];
        let mut products = [V::zero(); 4];
        for g in 0..C::GATES {
            let bias = row.bias.as_ptr().add(g * h + unit);
            let product = match step.source {
                Source::Packed(_) => {
                    V::load(sums.as_ptr().add(g * (sums.len() / C::GATES) + unit - first))
                }
                Source::Ready(all) => {
                    load(all.as_ptr().add(row.state * wide + g * h + unit), count)
                }
            };
            x[g] = load::<V>(gates.add(g * h), count).add(load(bias, count));
            products[g] = product.add(load(bias.add(wide), count));
        }
        let before =
            if C::HAS_CELL { step.c.at(state).cast_const() } else { row.before.as_ptr().add(unit) };
        let done = C::forward(x, products, load::<V>(before, count));
        if C::KEEPS_GATES {
            for g in 0..C::GATES {
                store(done.gates[g], gates.add(g * h), count);
            }
        }
        if C::KEEPS_EXTRA {
            store(done.extra, step.extra.at(row.index * h + unit), count);
        }
        if C::HAS_CELL {
            store(done.extra, step.c.at(state), count);
        }
        store(done.h, step.y.at(row.output * h + unit), count);
        store(done.h, step.after.at(row.state * stride + unit), count);
    }
}
