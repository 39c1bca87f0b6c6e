//! Layer norm and RMS norm: over the last axes of an array, which make one row.
//!
//! layer norm: `xhat = (x - mean) / sqrt(var + eps)`      RMS norm: the same with `mean = 0`

use ndarray::{Array, Array2, ArrayD, ArrayView2, ArrayViewD, IxDyn};

use super::{LINE, Moments, deviations_of, split, sum_of};
use crate::memory::{self, Scratch};
use crate::simd::Vector;
use crate::threads::{self, Shared};
use crate::{Element, Error, Result, check_shape, vectorized};

/// Most tasks whose parts of the parameters' gradients are added up.
const MAX_PARTS: usize = 64;

/// Rows worked on together: what follows from the sums of one overlaps with the sums of the next.
const BLOCK: usize = 4;

/// Numbers of the input that stay in the first cache, beside the output, from pass to pass.
const NEAR: usize = 2048;

/// Longest rows of which the second cache holds a block with its gradients.
const FAR: usize = 8192;

/// What is subtracted from a row before it is scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Centre {
    /// Its mean: layer norm.
    Mean,
    /// Nothing: RMS norm.
    Zero,
}

/// Gradients of the input and of the parameters that were given.
#[derive(Debug)]
pub struct Grads<T> {
    /// Of the input.
    pub dx: ArrayD<T>,
    /// Of the weight.
    pub dweight: Option<ArrayD<T>>,
    /// Of the bias.
    pub dbias: Option<ArrayD<T>>,
}

/// Rows and their length where the last `axes` axes of `shape` make a row.
fn rows(op: &'static str, shape: &[usize], axes: usize) -> Result<(usize, usize)> {
    if axes == 0 || axes > shape.len() {
        let message = format!("expected an array of at least {axes} > 0 axes, got shape {shape:?}");
        return Err(Error::value(op, "input", message));
    }
    let (outer, inner) = shape.split_at(shape.len() - axes);
    Ok((outer.iter().product(), inner.iter().product()))
}

/// Rows of a task: small enough for as many tasks as share the work evenly.
fn rows_of_task(count: usize, width: usize) -> usize {
    threads::piece_len(count, 2 * width).next_multiple_of(BLOCK)
}

/// Normalises each row, made of the last `axes` axes of `x`, whose shape `weight` and `bias` have.
/// Returns the output and the mean and variance of each row.
pub fn forward<T: Element>(
    x: ArrayViewD<'_, T>,
    axes: usize,
    weight: Option<ArrayViewD<'_, T>>,
    bias: Option<ArrayViewD<'_, T>>,
    centre: Centre,
    eps: f64,
) -> Result<(ArrayD<T>, Array2<f64>)> {
    const OP: &str = "layer_norm_forward";
    let (count, width) = rows(OP, x.shape(), axes)?;
    let inner = &x.shape()[x.ndim() - axes..];
    for (arg, parameter) in [("weight", &weight), ("bias", &bias)] {
        if let Some(parameter) = parameter {
            check_shape(OP, arg, inner, parameter.shape())?;
        }
    }
    let mut y = memory::unfilled_array(x.raw_dim());
    let mut moments = memory::zeros((count, 2));
    if !y.is_empty() {
        let (x, weight, bias) = (x.as_standard_layout(), contiguous(&weight), contiguous(&bias));
        let x = x.as_slice().expect("standard layout");
        let (weight, bias) = (weight.as_deref(), bias.as_deref());
        let out = Shared::new(y.as_slice_mut().expect("a new array"));
        let kept = Shared::new(moments.as_slice_mut().expect("a new array"));
        let step = rows_of_task(count, width);
        let block = (NEAR / width).clamp(1, BLOCK);
        threads::for_each(count.div_ceil(step), x.len() / 2, |task| {
            let end = ((task + 1) * step).min(count);
            for first in (task * step..end).step_by(block) {
                let rows = first..(first + block).min(end);
                // SAFETY: each row is written by one task, and so are its moments.
                let (y, kept) = unsafe {
                    (
                        out.slice(rows.start * width..rows.end * width),
                        kept.slice(2 * rows.start..2 * rows.end),
                    )
                };
                let x = &x[rows.start * width..rows.end * width];
                rows_forward(x, centre, weight, bias, eps, y, kept);
            }
        });
    }
    Ok((y, moments))
}

/// Gradients from that of the output, the input, and the moments and options of the forward pass.
/// Those of the parameters are computed where `needs` says so.
pub fn backward<T: Element>(
    dy: ArrayViewD<'_, T>,
    x: ArrayViewD<'_, T>,
    moments: ArrayView2<'_, f64>,
    axes: usize,
    weight: Option<ArrayViewD<'_, T>>,
    centre: Centre,
    eps: f64,
    needs: bool,
) -> Result<Grads<T>> {
    const OP: &str = "layer_norm_backward";
    let (count, width) = rows(OP, x.shape(), axes)?;
    check_shape(OP, "dy", x.shape(), dy.shape())?;
    check_shape(OP, "moments", &[count, 2], moments.shape())?;
    let inner = IxDyn(&x.shape()[x.ndim() - axes..]);
    if let Some(weight) = &weight {
        check_shape(OP, "weight", &x.shape()[x.ndim() - axes..], weight.shape())?;
    }
    let mut dx = memory::unfilled_array(x.raw_dim());
    let step = rows_of_task(count, width).max(count.div_ceil(MAX_PARTS)).next_multiple_of(BLOCK);
    let tasks = if dx.is_empty() { 0 } else { count.div_ceil(step) };
    let mut parts = Scratch::<T>::new(if needs { 2 * width * tasks } else { 0 });
    {
        let (dy, x) = (dy.as_standard_layout(), x.as_standard_layout());
        let dy = dy.as_slice().expect("standard layout");
        let x = x.as_slice().expect("standard layout");
        let weight = contiguous(&weight);
        let weight = weight.as_deref();
        let out = Shared::new(dx.as_slice_mut().expect("a new array"));
        let shared = Shared::new(&mut parts);
        let block = if width <= FAR { BLOCK } else { 1 };
        threads::for_each(tasks, x.len(), |task| {
            let part = if needs { 2 * width * task..2 * width * (task + 1) } else { 0..0 };
            // SAFETY: each task has a part of its own.
            let part = unsafe { shared.slice(part) };
            part.fill(T::zero());
            let (dweight, dbias) = part.split_at_mut(part.len() / 2);
            let end = ((task + 1) * step).min(count);
            for first in (task * step..end).step_by(block) {
                let rows = first..(first + block).min(end);
                let range = rows.start * width..rows.end * width;
                // SAFETY: each row is written by one task.
                let dx = unsafe { out.slice(range.clone()) };
                let of = |row: usize| Moments { mean: moments[[row, 0]], var: moments[[row, 1]] };
                let of = rows.map(|row| (of(row).mean, of(row).rstd(eps)));
                let mut means = [(0.0, 0.0); BLOCK];
                means.iter_mut().zip(of).for_each(|(to, from)| *to = from);
                let (dy, x) = (&dy[range.clone()], &x[range]);
                rows_backward(dy, x, &means, weight, centre, dx, dweight, dbias, width);
            }
        });
    }
    let (mut dweight, mut dbias) = (None, None);
    if needs {
        let mut sums = Scratch::<T>::zeros(2 * width);
        for part in parts.chunks(2 * width.max(1)) {
            for (sum, &part) in sums.iter_mut().zip(part) {
                *sum += part;
            }
        }
        let (w, b) = sums.split_at(width);
        let array = |values: &[T]| {
            Array::from_shape_vec(inner.clone(), values.to_vec()).expect("length is the width")
        };
        (dweight, dbias) = (Some(array(w)), Some(array(b)));
    }
    Ok(Grads { dx, dweight, dbias })
}

/// The values of an optional array in C order.
pub(super) fn contiguous<T: Element>(array: &Option<ArrayViewD<'_, T>>) -> Option<Vec<T>> {
    array.as_ref().map(|array| match array.as_slice() {
        Some(values) => values.to_vec(),
        None => array.iter().copied().collect(),
    })
}

vectorized! {
    /// Normalises the rows of a block and keeps their moments.
    fn rows_forward<S, T: Element>(
        x: &[T], centre: Centre, weight: Option<&[T]>, bias: Option<&[T]>, eps: f64, y: &mut [T],
        kept: &mut [f64],
    ) {
        let width = x.len() / (kept.len() / 2);
        for (x, kept) in x.chunks_exact(width).zip(kept.chunks_exact_mut(2)) {
            let mean = || sum_of::<T::V<S>>(x) / width as f64;
            kept[0] = if centre == Centre::Mean { mean() } else { 0.0 };
        }
        for (x, kept) in x.chunks_exact(width).zip(kept.chunks_exact_mut(2)) {
            let found = deviations_of::<T::V<S>>(x, kept[0]);
            let m = match centre {
                Centre::Mean => Moments::new(kept[0], found, width),
                Centre::Zero => Moments { mean: 0.0, var: found.1 / width as f64 },
            };
            kept.copy_from_slice(&[m.mean, m.var]);
        }
        let ahead = x.len();
        let rows = x.chunks_exact(width).zip(y.chunks_exact_mut(width));
        for ((x, y), kept) in rows.zip(kept.chunks_exact(2)) {
            let m = Moments { mean: kept[0], var: kept[1] };
            let unit = Unit::<T::V<S>>::new(m.mean, m.rstd(eps));
            match (weight, bias) {
                (Some(weight), Some(bias)) => scale(x, unit, Some(weight), Some(bias), y, ahead),
                (Some(weight), None) => scale(x, unit, Some(weight), None, y, ahead),
                (None, bias) => scale(x, unit, None, bias, y, ahead),
            }
        }
    }
}

/// What makes a number of a row its `xhat`.
#[derive(Clone, Copy)]
struct Unit<V> {
    mean: V,
    rstd: V,
    /// What the rounding of the mean lost, times `-rstd`.
    shift: V,
}

impl<V: Vector> Unit<V> {
    #[inline(always)]
    fn new(mean: f64, rstd: f64) -> Self {
        let (high, low) = split::<V::Elem>(mean);
        Self { mean: V::splat(high), rstd: V::of(rstd), shift: V::of(-low.f64() * rstd) }
    }

    #[inline(always)]
    fn xhat(self, x: V) -> V {
        x.sub(self.mean).mul_add(self.rstd, self.shift)
    }
}

/// Asks for the cache lines of two vectors.
#[inline(always)]
fn prefetch_two<V: Vector>(at: *const V::Elem) {
    for byte in (0..2 * size_of::<V>()).step_by(LINE) {
        V::prefetch_far(at.wrapping_byte_add(byte));
    }
}

/// Writes numbers `at` to `end` of a row of the output.
#[inline(always)]
fn scale_part<V: Vector>(
    x: &[V::Elem],
    unit: Unit<V>,
    weight: Option<&[V::Elem]>,
    bias: Option<&[V::Elem]>,
    y: &mut [V::Elem],
    at: usize,
    end: usize,
) {
    let v = unit.xhat(V::read(&x[at..end]));
    let v = match (weight, bias) {
        (Some(weight), Some(bias)) => v.mul_add(V::read(&weight[at..end]), V::read(&bias[at..end])),
        (Some(weight), None) => v.mul(V::read(&weight[at..end])),
        (None, Some(bias)) => v.add(V::read(&bias[at..end])),
        (None, None) => v,
    };
    v.write(&mut y[at..end]);
}

#[inline(always)]
fn scale<V: Vector>(
    x: &[V::Elem],
    unit: Unit<V>,
    mut weight: Option<&[V::Elem]>,
    mut bias: Option<&[V::Elem]>,
    y: &mut [V::Elem],
    ahead: usize,
) {
    // One length for all, so that one check of the bounds serves all.
    let width = x.len();
    let y = &mut y[..width];
    weight = weight.map(|weight| &weight[..width]);
    bias = bias.map(|bias| &bias[..width]);
    let mut at = 0;
    while width - at >= 2 * V::LANES {
        prefetch_two::<V>(x[at..].as_ptr().wrapping_add(ahead));
        prefetch_two::<V>(y[at..].as_ptr().wrapping_add(ahead));
        scale_part(x, unit, weight, bias, y, at, at + V::LANES);
        scale_part(x, unit, weight, bias, y, at + V::LANES, at + 2 * V::LANES);
        at += 2 * V::LANES;
    }
    while at < width {
        let end = (at + V::LANES).min(width);
        scale_part(x, unit, weight, bias, y, at, end);
        at = end;
    }
}

vectorized! {
    /// Writes `dx` of the rows of a block, whose mean and `rstd` are given, and adds to `dweight` and
    /// `dbias`, which may be empty.
    fn rows_backward<S, T: Element>(
        dy: &[T], x: &[T], means: &[(f64, f64); BLOCK], weight: Option<&[T]>, centre: Centre,
        dx: &mut [T], dweight: &mut [T], dbias: &mut [T], width: usize,
    ) {
        // Five factors and two sums of each row want registers: 32 in AVX-512, else 16.
        let most = if T::V::<S>::LANES == 16 { BLOCK } else { 2 };
        let count = x.len() / width;
        let mut first = 0;
        while first < count {
            let rows = if count - first >= most { most } else { 1 };
            let range = first * width..(first + rows) * width;
            let (dy, x, dx) = (&dy[range.clone()], &x[range.clone()], &mut dx[range]);
            let means = &means[first..first + rows];
            match rows {
                BLOCK => {
                    block_backward::<T::V<S>, BLOCK>(dy, x, means, weight, centre, dx, dweight, dbias);
                }
                2 => block_backward::<T::V<S>, 2>(dy, x, means, weight, centre, dx, dweight, dbias),
                _ => block_backward::<T::V<S>, 1>(dy, x, means, weight, centre, dx, dweight, dbias),
            }
            first += rows;
        }
    }
}

/// Rows of one length whose sums are taken side by side.
struct Block<'a, V: Vector, const N: usize> {
    dy: [&'a [V::Elem]; N],
    x: [&'a [V::Elem]; N],
    weight: Option<&'a [V::Elem]>,
    unit: [Unit<V>; N],
}

impl<V: Vector, const N: usize> Block<'_, V, N> {
    /// Numbers `at` to `end` of `dy * weight` of row `i`.
    #[inline(always)]
    fn weighted(&self, dy: V, at: usize, end: usize) -> V {
        match self.weight {
            Some(weight) => dy.mul(V::read(&weight[at..end])),
            None => dy,
        }
    }

    /// Adds numbers `at` to `end` of `g` and of `g` times the deviations from the rounded mean.
    #[inline(always)]
    fn add_sums(&self, sums: &mut [[V; 2]; N], at: usize, end: usize) {
        for i in 0..N {
            let g = self.weighted(V::read(&self.dy[i][at..end]), at, end);
            let d = V::read(&self.x[i][at..end]).sub(self.unit[i].mean);
            sums[i] = [sums[i][0].add(g), g.mul_add(d, sums[i][1])];
        }
    }

    /// Of each row the sums of `g` and of `g` times the deviations from the rounded mean.
    #[inline(always)]
    fn sums(&self) -> [(f64, f64); N] {
        let width = self.x[0].len();
        let mut sums = [[[V::zero(); 2]; N]; 2];
        let mut at = 0;
        while width - at >= 2 * V::LANES {
            for i in 0..N {
                // Of the next block; the second pass asks for the rest, so that memory is never idle.
                prefetch_two::<V>(self.x[i].as_ptr().wrapping_add(N * width + at));
            }
            self.add_sums(&mut sums[0], at, at + V::LANES);
            self.add_sums(&mut sums[1], at + V::LANES, at + 2 * V::LANES);
            at += 2 * V::LANES;
        }
        while at < width {
            let end = (at + V::LANES).min(width);
            self.add_sums(&mut sums[0], at, end);
            at = end;
        }
        let mut totals = [(0.0, 0.0); N];
        for i in 0..N {
            totals[i].0 = sums[0][i][0].add(sums[1][i][0]).sum().f64();
            totals[i].1 = sums[0][i][1].add(sums[1][i][1]).sum().f64();
        }
        totals
    }

    /// Writes numbers `at` to `end` of `dx = g * rstd - xhat * slope + shift` and adds to the
    /// gradients of the parameters.
    #[inline(always)]
    fn write(
        &self,
        slope: [V; N],
        shift: [V; N],
        dx: &mut [&mut [V::Elem]; N],
        parameters: &mut Option<(&mut [V::Elem], &mut [V::Elem])>,
        at: usize,
        end: usize,
    ) {
        let (mut dw, mut db) = (V::zero(), V::zero());
        if let Some((dweight, dbias)) = parameters {
            (dw, db) = (V::read(&dweight[at..end]), V::read(&dbias[at..end]));
        }
        for i in 0..N {
            let xhat = self.unit[i].xhat(V::read(&self.x[i][at..end]));
            let dy = V::read(&self.dy[i][at..end]);
            let g = self.weighted(dy, at, end).mul_add(self.unit[i].rstd, shift[i]);
            xhat.neg_mul_add(slope[i], g).write(&mut dx[i][at..end]);
            dw = dy.mul_add(xhat, dw);
            db = db.add(dy);
        }
        if let Some((dweight, dbias)) = parameters {
            dw.write(&mut dweight[at..end]);
            db.write(&mut dbias[at..end]);
        }
    }
}

#[inline(always)]
fn block_backward<V: Vector, const N: usize>(
    dy: &[V::Elem],
    x: &[V::Elem],
    means: &[(f64, f64)],
    weight: Option<&[V::Elem]>,
    centre: Centre,
    dx: &mut [V::Elem],
    dweight: &mut [V::Elem],
    dbias: &mut [V::Elem],
) {
    let width = x.len() / N;
    // One length for all, so that one check of the bounds serves all.
    let weight = weight.map(|weight| &weight[..width]);
    let mut block = Block {
        dy: [&dy[..width]; N],
        x: [&x[..width]; N],
        weight,
        unit: [Unit::<V>::new(0.0, 0.0); N],
    };
    for i in 0..N {
        block.dy[i] = &dy[i * width..][..width];
        block.x[i] = &x[i * width..][..width];
        block.unit[i] = Unit::new(means[i].0, means[i].1);
    }
    let sums = block.sums();
    let n = width as f64;
    let (mut slope, mut shift) = ([V::zero(); N], [V::zero(); N]);
    for i in 0..N {
        let (mean, rstd) = means[i];
        let (sum, dot) = sums[i];
        slope[i] = V::of((dot - split::<V::Elem>(mean).1.f64() * sum) * rstd * rstd / n);
        if centre == Centre::Mean {
            shift[i] = V::of(-sum * rstd / n);
        }
    }
    let mut rows = dx.chunks_exact_mut(width);
    let mut dx: [_; N] = std::array::from_fn(|_| rows.next().expect("a row of dx for each of x"));
    let needs = !dweight.is_empty();
    let mut parameters = needs.then(|| (&mut dweight[..width], &mut dbias[..width]));
    let mut at = 0;
    while width - at >= 2 * V::LANES {
        for i in 0..N {
            prefetch_two::<V>(block.dy[i].as_ptr().wrapping_add(N * width + at));
            prefetch_two::<V>(dx[i].as_ptr().wrapping_add(N * width + at));
        }
        block.write(slope, shift, &mut dx, &mut parameters, at, at + V::LANES);
        at += V::LANES;
        block.write(slope, shift, &mut dx, &mut parameters, at, at + V::LANES);
        at += V::LANES;
    }
    while at < width {
        let end = (at + V::LANES).min(width);
        block.write(slope, shift, &mut dx, &mut parameters, at, end);
        at = end;
    }
}
