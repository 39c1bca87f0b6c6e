//! The steps in reverse order, then the products over all of them.
#![allow(unsafe_code)]

use ndarray::{Array1, Array3, ArrayView2, ArrayView3, ArrayViewMut2, Axis, aview1, azip, s};

use super::tile::{self, Ahead, Tile};
use super::{Cell, Cut, Forward, Part, Sizes, Unit, WeightGradients, Weights, step_cost};
use crate::memory::{self, Scratch, unfilled_array};
use crate::simd::Vector;
use crate::threads::Shared;
use crate::{Element, Error, Result, check_shape, matmul, threads, vectorized};

/// Which gradients the caller wants besides those of the states.
#[derive(Debug, Clone, Copy)]
pub struct Needs {
    /// That of the input.
    pub x: bool,
    /// Those of the weights.
    pub weights: bool,
}

/// Gradients of a layer.
#[derive(Debug)]
pub struct Gradients<T> {
    /// Of the input, in its shape.
    pub x: Option<Array3<T>>,
    /// Of the first `h`, `[dirs, N, H]`.
    pub h0: Array3<T>,
    /// Of the first `c`; empty where the cell has none.
    pub c0: Array3<T>,
    /// Of the weights of each direction.
    pub weights: Vec<WeightGradients<T>>,
}

/// One step of all directions. Shared slices are written in parts that do not overlap.
struct Step<'a, T: Element> {
    sizes: Sizes,
    index: usize,
    /// `None` where the result does not depend on it.
    dy: Option<&'a [T]>,
    /// `dh` `[dirs, N, H]` at the last step, packed weights before it.
    source: Source<'a, T>,
    y: &'a [T],
    gates: &'a [T],
    extra: &'a [T],
    /// The state before the first step, `[dirs, N, H]`.
    start: &'a [T],
    /// Slopes of the state's part of the gates, after and at this step, `[dirs, N, stride]`.
    after: &'a [T],
    here: Shared<T>,
    /// `[dirs, N, H]`.
    carry: Shared<T>,
    /// `[dirs, rows, G H]`.
    slopes: Shared<T>,
    /// `[dirs, rows, H]`; empty where the cell does not split its last gate.
    last: Shared<T>,
    /// Sums over rows and steps, `[dirs, blocks, (G + 1) H]`.
    bias: Shared<T>,
    blocks: usize,
}

enum Source<'a, T: Element> {
    Given(Option<&'a [T]>),
    Packed(&'a [Scratch<T>]),
}

/// Gradients of [`super::forward`] from those of its outputs, its arguments and its results.
/// `None` stands for a gradient of zero.
pub fn backward<T: Element, C: Cell>(
    dy: Option<ArrayView3<'_, T>>,
    dh: Option<ArrayView3<'_, T>>,
    dc: Option<ArrayView3<'_, T>>,
    x: ArrayView3<'_, T>,
    h0: ArrayView3<'_, T>,
    c0: Option<ArrayView3<'_, T>>,
    weights: &[Weights<'_, T>],
    kept: Kept<'_, T>,
    batch_first: bool,
    needs: Needs,
) -> Result<Gradients<T>> {
    let op = C::BACKWARD;
    if C::HAS_CELL != c0.is_some() {
        return Err(Error::value(op, "c0", "expected for LSTM and for no other cell"));
    }
    let sizes = Sizes::check::<T, C>(op, x, h0, c0, weights, batch_first)?;
    let Sizes { n, d, h, dirs, .. } = sizes;
    let (rows, wide) = (sizes.rows(), C::GATES * h);
    let outputs = [x.dim().0, x.dim().1, dirs * h];
    check_shape(op, "y", &outputs, kept.y.shape())?;
    if let Some(dy) = dy {
        check_shape(op, "dy", &outputs, dy.shape())?;
    }
    for (name, gradient) in [("dh", dh), ("dc", dc)] {
        if let Some(gradient) = gradient {
            check_shape(op, name, &[dirs, n, h], gradient.shape())?;
        }
    }
    if C::KEEPS_GATES {
        check_shape(op, "gates", &[dirs, rows, wide], kept.gates.shape())?;
    }
    if C::KEEPS_EXTRA {
        check_shape(op, "extra", &[dirs, rows, h], kept.extra.shape())?;
    }

    let x = x.as_standard_layout();
    let dy = dy.as_ref().map(|dy| dy.as_standard_layout());
    let dh = dh.as_ref().map(|dh| dh.as_standard_layout());
    let y = kept.y.as_standard_layout();
    let gates = kept.gates.as_standard_layout();
    let extra = kept.extra.as_standard_layout();
    let start = c0.unwrap_or(h0);
    let start = start.as_standard_layout();
    let mut carry = match dc {
        Some(dc) => dc.as_standard_layout().into_owned(),
        None => memory::zeros((dirs, n, h)),
    };
    let mut slopes = unfilled_array((dirs, rows, wide));
    let mut last = unfilled_array(if C::SPLITS_LAST { (dirs, rows, h) } else { (0, 0, 0) });
    let stride = Sizes::stride(wide);
    let mut after = Scratch::zeros(dirs * n * stride);
    let mut here = Scratch::zeros(dirs * n * stride);
    let units = 2 * tile::lanes::<T>();
    let cut = Cut::new(n, units, h, dirs);
    let mut bias = Scratch::zeros(dirs * cut.blocks * (wide + h));
    let mut packed = Vec::new();
    if sizes.l > 1 {
        packed.extend(weights.iter().map(|w| tile::pack_units(w.hh, units)));
    }
    let shared = (
        Shared::new(carry.as_slice_mut().expect("standard layout")),
        Shared::new(slopes.as_slice_mut().expect("a new array")),
        Shared::new(last.as_slice_mut().expect("a new array")),
        Shared::new(&mut bias),
    );
    let cost = dirs * step_cost(n, C::GATES, h);
    for index in (0..sizes.l).rev() {
        let step = Step {
            sizes,
            index,
            dy: dy.as_ref().map(|dy| dy.as_slice().expect("standard layout")),
            source: if index + 1 == sizes.l {
                Source::Given(dh.as_ref().map(|dh| dh.as_slice().expect("standard layout")))
            } else {
                Source::Packed(&packed)
            },
            y: y.as_slice().expect("standard layout"),
            gates: gates.as_slice().expect("standard layout"),
            extra: extra.as_slice().expect("standard layout"),
            start: start.as_slice().expect("standard layout"),
            after: &after,
            here: Shared::new(&mut here),
            carry: shared.0,
            slopes: shared.1,
            last: shared.2,
            bias: shared.3,
            blocks: cut.blocks,
        };
        let tasks = cut.tasks(dirs);
        let order = threads::to_and_fro(tasks, index);
        threads::for_each(tasks, cost, |number| {
            retreat::<T, C>(&step, cut.part(order(number)));
        });
        std::mem::swap(&mut after, &mut here);
    }

    // Slopes of the first step, of the state's part, in rows of their own.
    let first = ArrayView3::from_shape((dirs, n, stride), &after).expect("its length");
    let first = first.slice_move(s![.., .., ..wide]);
    let mut dh0 = if C::SPLITS_LAST { carry.clone() } else { unfilled_array((dirs, n, h)) };
    for dir in 0..dirs {
        let dh0 = dh0.index_axis_mut(Axis(0), dir);
        matmul::gemm(first.index_axis(Axis(0), dir), weights[dir].hh, dh0, C::SPLITS_LAST)?;
    }
    let mut dx = needs.x.then(|| unfilled_array((rows, d)));
    if let Some(dx) = &mut dx {
        for dir in 0..dirs {
            let slopes = slopes.index_axis(Axis(0), dir);
            matmul::gemm(slopes, weights[dir].ih, dx.view_mut(), dir > 0)?;
        }
    }
    let mut gradients = Vec::new();
    if needs.weights {
        let inputs = x.view().into_shape_with_order((rows, d)).expect("standard layout");
        let y = y.view().into_shape_with_order((rows, dirs * h)).expect("standard layout");
        for dir in 0..dirs {
            let mut slopes = slopes.index_axis_mut(Axis(0), dir);
            let mut ih = unfilled_array((wide, d));
            matmul::gemm(slopes.t(), inputs, ih.view_mut(), false)?;
            let mut last = C::SPLITS_LAST.then(|| last.index_axis_mut(Axis(0), dir));
            let mut hh = unfilled_array((wide, h));
            let outputs = y.slice(s![.., dir * h..(dir + 1) * h]);
            let split = if C::SPLITS_LAST { wide - h } else { wide };
            let (top, bottom) = hh.view_mut().split_at(Axis(0), split);
            let (slopes, _) = slopes.view_mut().split_at(Axis(1), split);
            over_states(&sizes, dir, slopes, outputs, top)?;
            if let Some(last) = &mut last {
                over_states(&sizes, dir, last.view_mut(), outputs, bottom)?;
            }
            let h0 = h0.index_axis(Axis(0), dir);
            matmul::gemm(first.index_axis(Axis(0), dir).t(), h0, hh.view_mut(), true)?;
            let blocks = &bias[dir * cut.blocks * (wide + h)..][..cut.blocks * (wide + h)];
            let bias = weights[dir].bias.map(|_| bias_gradients::<T, C>(blocks, wide, h));
            gradients.push(WeightGradients { ih, hh, bias });
        }
    }
    let dx = dx.map(|dx| dx.into_shape_with_order(x.raw_dim()).expect("as many rows"));
    let dc0 = if C::HAS_CELL { carry } else { Array3::zeros((0, 0, 0)) };
    Ok(Gradients { x: dx, h0: dh0, c0: dc0, weights: gradients })
}

/// What [`super::forward`] left for its gradients.
#[derive(Debug, Clone, Copy)]
pub struct Kept<'a, T> {
    /// Outputs.
    pub y: ArrayView3<'a, T>,
    /// Gates.
    pub gates: ArrayView3<'a, T>,
    /// The extra number of each unit.
    pub extra: ArrayView3<'a, T>,
}

impl<T: Element> Forward<T> {
    /// Views of what backward needs.
    pub fn kept(&self) -> Kept<'_, T> {
        Kept { y: self.y.view(), gates: self.gates.view(), extra: self.extra.view() }
    }
}

/// `product = slopes' before`, where `before` is the output of the step before in every row but
/// those of the first step, whose slopes become zero.
fn over_states<T: Element>(
    sizes: &Sizes,
    dir: usize,
    mut slopes: ArrayViewMut2<'_, T>,
    outputs: ArrayView2<'_, T>,
    mut product: ArrayViewMut2<'_, T>,
) -> Result<()> {
    if sizes.l == 1 || sizes.n == 0 {
        product.fill(T::zero());
        return Ok(());
    }
    let (first, apart) = sizes.row(sizes.time(dir, 0));
    for i in 0..sizes.n {
        slopes.row_mut(first + i * apart).fill(T::zero());
    }
    let shift = if sizes.batch_first { 1 } else { sizes.n };
    let rows = sizes.rows().saturating_sub(shift);
    let (from, to) = if dir == 0 { (0, shift) } else { (shift, 0) };
    let slopes = slopes.slice(s![to..to + rows, ..]);
    matmul::gemm(slopes.t(), outputs.slice(s![from..from + rows, ..]), product, false)
}

/// Gradients of both biases from the sums of each block of rows.
fn bias_gradients<T: Element, C: Cell>(
    blocks: &[T],
    wide: usize,
    h: usize,
) -> (Array1<T>, Array1<T>) {
    let mut sums = Array1::<T>::zeros(wide + h);
    for block in blocks.chunks_exact(wide + h) {
        azip!((sum in &mut sums, &part in aview1(block)) *sum += part);
    }
    let ih = sums.slice(s![..wide]).to_owned();
    let mut hh = ih.clone();
    if C::SPLITS_LAST {
        hh.slice_mut(s![wide - h..]).assign(&sums.slice(s![wide..]));
    }
    (ih, hh)
}

/// Asks for what a row of units reads and writes.
#[inline(always)]
fn expect<T: Element, C: Cell>(
    step: &Step<'_, T>,
    dir: usize,
    y_row: usize,
    earlier: Option<usize>,
    unit: usize,
    ahead: &mut Ahead,
) {
    let Sizes { h, dirs, .. } = step.sizes;
    let row = dir * step.sizes.rows() + y_row;
    for g in 0..C::GATES {
        let at = (row * C::GATES + g) * h + unit;
        if C::KEEPS_GATES {
            ahead.add(&step.gates[at..]);
        }
        // SAFETY: the task that asks alone touches these units of these rows.
        ahead.add(unsafe { step.slopes.slice(at..at + 1) });
    }
    let out = (y_row * dirs + dir) * h + unit;
    if C::KEEPS_EXTRA {
        ahead.add(&step.extra[row * h + unit..]);
    } else {
        ahead.add(&step.y[out..]);
    }
    match earlier {
        Some(earlier) if C::HAS_CELL => {
            ahead.add(&step.extra[(dir * step.sizes.rows() + earlier) * h + unit..]);
        }
        Some(earlier) if C::KEEPS_GATES => ahead.add(&step.y[(earlier * dirs + dir) * h + unit..]),
        _ => {}
    }
    if let Some(dy) = step.dy {
        ahead.add(&dy[out..]);
    }
}

vectorized! {
    fn retreat<S, T: Element, C: Cell>(step: &Step<'_, T>, part: Part) {
        let Sizes { n, h, dirs, .. } = step.sizes;
        let lanes = T::V::<S>::LANES;
        let wide = C::GATES * h;
        let stride = Sizes::stride(wide);
        let after = &step.after[part.dir * n * stride..][..n * stride];
        let (first_row, apart) = step.sizes.row(step.sizes.time(part.dir, step.index));
        let earlier = step.index.checked_sub(1).map(|s| step.sizes.row(step.sizes.time(part.dir, s)).0);
        let mut tile = Tile::new();
        let mut ahead = Ahead::new();
        let count = part.end - part.first;
        let tiles = count.div_ceil(tile::most_rows(lanes, 2));
        for index in 0..tiles {
            let rows = threads::part_of(count, tiles, index);
            let (first, end) = (part.first + rows.start, part.first + rows.end);
            if let Source::Packed(packed) = step.source {
                ahead.clear();
                for i in first..end {
                    for spread in 0..2 {
                        let unit = (part.panel * 2 + spread) * lanes;
                        if unit < h {
                            let earlier = earlier.map(|first| first + i * apart);
                            let y_row = first_row + i * apart;
                            expect::<T, C>(step, part.dir, y_row, earlier, unit, &mut ahead);
                        }
                    }
                }
                let size = wide * 2 * lanes;
                let panel = &packed[part.dir][part.panel * size..][..size];
                let a = &after[first * stride..end * stride];
                tile::product::<T::V<S>, 2>(end - first, wide, a, stride, panel, &ahead, &mut tile);
            }
            for i in first..end {
                let y_row = first_row + i * apart;
                let row = part.dir * step.sizes.rows() + y_row;
                for spread in 0..2 {
                    let unit = (part.panel * 2 + spread) * lanes;
                    if unit >= h {
                        break;
                    }
                    let count = lanes.min(h - unit);
                    let state = (part.dir * n + i) * h + unit;
                    let mut dh = match step.source {
                        // SAFETY: the product above wrote them.
                        Source::Packed(_) => unsafe {
                            let from = ((i - first) * 2 + spread) * lanes;
                            T::V::<S>::read(tile.numbers(from..from + lanes))
                        },
                        Source::Given(Some(dh)) => T::V::<S>::read(&dh[state..state + count]),
                        Source::Given(None) => T::V::<S>::zero(),
                    };
                    let out = part.dir * h + unit;
                    if let Some(dy) = step.dy {
                        dh = dh.add(T::V::<S>::read(&dy[y_row * dirs * h + out..][..count]));
                    }
                    let mut kept = Unit {
                        gates: [T::V::<S>::zero(); 4],
                        extra: T::V::<S>::zero(),
                        before: T::V::<S>::zero(),
                        h: T::V::<S>::zero(),
                    };
                    if C::KEEPS_GATES {
                        for g in 0..C::GATES {
                            kept.gates[g] =
                                T::V::<S>::read(&step.gates[row * wide + g * h + unit..][..count]);
                        }
                        let before = match earlier {
                            None => &step.start[state..state + count],
                            Some(earlier) if C::HAS_CELL => {
                                let row = part.dir * step.sizes.rows() + earlier + i * apart;
                                &step.extra[row * h + unit..][..count]
                            }
                            Some(earlier) => {
                                &step.y[(earlier + i * apart) * dirs * h + out..][..count]
                            }
                        };
                        kept.before = T::V::<S>::read(before);
                    } else {
                        kept.h = T::V::<S>::read(&step.y[y_row * dirs * h + out..][..count]);
                    }
                    if C::KEEPS_EXTRA {
                        kept.extra = T::V::<S>::read(&step.extra[row * h + unit..][..count]);
                    }
                    // SAFETY: this task alone touches these units of these rows, and these units
                    // of the sums of its block.
                    unsafe {
                        let carry = step.carry.slice(state..state + count);
                        let slopes = C::backward(kept, dh, T::V::<S>::read(carry));
                        slopes.carry.write(carry);
                        let sums = (part.dir * step.blocks + part.block) * (wide + h);
                        for g in 0..C::GATES {
                            let at = row * wide + g * h + unit;
                            slopes.gates[g].write(step.slopes.slice(at..at + count));
                            let of_state = C::SPLITS_LAST && g + 1 == C::GATES;
                            let from = if of_state { slopes.last } else { slopes.gates[g] };
                            let at = (part.dir * n + i) * stride + g * h + unit;
                            from.write(step.here.slice(at..at + count));
                            let at = sums + g * h + unit;
                            let sum = step.bias.slice(at..at + count);
                            T::V::<S>::read(sum).add(slopes.gates[g]).write(sum);
                        }
                        if C::SPLITS_LAST {
                            let at = row * h + unit;
                            slopes.last.write(step.last.slice(at..at + count));
                            let at = sums + wide + unit;
                            let sum = step.bias.slice(at..at + count);
                            T::V::<S>::read(sum).add(slopes.last).write(sum);
                        }
                    }
                }
            }
        }
    }
}
