//! Layer norm and RMS norm: over the last axes of an array, which make one row.
//!
//! layer norm: `xhat = (x - mean) / sqrt(var + eps)`      RMS norm: the same with `mean = 0`

use ndarray::{Array, Array2, ArrayD, ArrayView2, ArrayViewD, IxDyn};

use super::{Moments, deviations, split, sum};
use crate::memory::{self, Scratch};
use crate::simd::Vector;
use crate::threads::{self, Shared};
use crate::{Element, Error, Result, check_shape, vectorized};

/// Most tasks whose parts of the parameters' gradients are added up.
const MAX_PARTS: usize = 64;

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
        let step = threads::piece_len(count, width / 2);
        threads::for_each(count.div_ceil(step), x.len() / 2, |task| {
            for row in task * step..((task + 1) * step).min(count) {
                let range = row * width..(row + 1) * width;
                // SAFETY: each row is written by one task, and so are its moments.
                let (y, kept) =
                    unsafe { (out.slice(range.clone()), kept.slice(2 * row..2 * row + 2)) };
                let m = row_moments(&x[range.clone()], centre);
                scale_row(&x[range], m.mean, m.rstd(eps), weight, bias, y);
                kept.copy_from_slice(&[m.mean, m.var]);
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
    let step = threads::piece_len(count, width).max(count.div_ceil(MAX_PARTS));
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
        threads::for_each(tasks, x.len(), |task| {
            let part = if needs { 2 * width * task..2 * width * (task + 1) } else { 0..0 };
            // SAFETY: each task has a part of its own.
            let part = unsafe { shared.slice(part) };
            part.fill(T::zero());
            let (dweight, dbias) = part.split_at_mut(part.len() / 2);
            for row in task * step..((task + 1) * step).min(count) {
                let range = row * width..(row + 1) * width;
                // SAFETY: each row is written by one task.
                let dx = unsafe { out.slice(range.clone()) };
                let m = Moments { mean: moments[[row, 0]], var: moments[[row, 1]] };
                let (dy, x) = (&dy[range.clone()], &x[range]);
                row_backward(dy, x, m.mean, m.rstd(eps), weight, centre, dx, dweight, dbias);
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

fn row_moments<T: Element>(x: &[T], centre: Centre) -> Moments {
    match centre {
        Centre::Mean => {
            let mean = sum(x) / x.len() as f64;
            Moments::new(mean, deviations(x, mean), x.len())
        }
        Centre::Zero => Moments { mean: 0.0, var: deviations(x, 0.0).1 / x.len() as f64 },
    }
}

/// The deviations from the mean times `rstd`.
#[derive(Clone, Copy)]
struct Hat<V> {
    high: V,
    low: V,
    rstd: V,
}

impl<V: Vector> Hat<V> {
    #[inline(always)]
    fn new(mean: f64, rstd: f64) -> Self {
        let (high, low) = split::<V::Elem>(mean);
        Self { high: V::splat(high), low: V::splat(low), rstd: V::of(rstd) }
    }

    #[inline(always)]
    fn at(self, x: &[V::Elem]) -> V {
        V::read(x).sub(self.high).sub(self.low).mul(self.rstd)
    }
}

#[inline(always)]
fn scale<V: Vector>(
    x: &[V::Elem],
    hat: Hat<V>,
    weight: Option<&[V::Elem]>,
    bias: Option<&[V::Elem]>,
    y: &mut [V::Elem],
) {
    let mut at = 0;
    while at < x.len() {
        let end = (at + V::LANES).min(x.len());
        V::prefetch_ahead(&y[at..end]);
        let v = hat.at(&x[at..end]);
        let v = match (weight, bias) {
            (Some(weight), Some(bias)) => {
                v.mul_add(V::read(&weight[at..end]), V::read(&bias[at..end]))
            }
            (Some(weight), None) => v.mul(V::read(&weight[at..end])),
            (None, Some(bias)) => v.add(V::read(&bias[at..end])),
            (None, None) => v,
        };
        v.write(&mut y[at..end]);
        at = end;
    }
}

vectorized! {
    fn scale_row<S, T: Element>(
        x: &[T], mean: f64, rstd: f64, weight: Option<&[T]>, bias: Option<&[T]>, y: &mut [T],
    ) {
        let hat = Hat::<T::V<S>>::new(mean, rstd);
        match (weight, bias) {
            (Some(weight), Some(bias)) => scale(x, hat, Some(weight), Some(bias), y),
            (Some(weight), None) => scale(x, hat, Some(weight), None, y),
            (None, bias) => scale(x, hat, None, bias, y),
        }
    }
}

/// `dy * weight`.
#[inline(always)]
fn weighted<V: Vector>(dy: &[V::Elem], weight: Option<&[V::Elem]>, at: usize, end: usize) -> V {
    let dy = V::read(&dy[at..end]);
    match weight {
        Some(weight) => dy.mul(V::read(&weight[at..end])),
        None => dy,
    }
}

vectorized! {
    /// Writes `dx` of one row and adds to `dweight` and `dbias`, which may be empty.
    fn row_backward<S, T: Element>(
        dy: &[T], x: &[T], mean: f64, rstd: f64, weight: Option<&[T]>, centre: Centre,
        dx: &mut [T], dweight: &mut [T], dbias: &mut [T],
    ) {
        let hat = Hat::<T::V<S>>::new(mean, rstd);
        let width = x.len();
        let lanes = T::V::<S>::LANES;
        let (mut sums, mut dots) = ([T::V::<S>::zero(); 2], [T::V::<S>::zero(); 2]);
        let mut side = 0;
        let mut at = 0;
        while at < width {
            let end = (at + lanes).min(width);
            T::V::<S>::prefetch_ahead(&x[at..end]);
            T::V::<S>::prefetch_ahead(&dy[at..end]);
            T::V::<S>::prefetch_ahead(&dx[at..end]);
            let g = weighted::<T::V<S>>(dy, weight, at, end);
            sums[side] = sums[side].add(g);
            dots[side] = g.mul_add(hat.at(&x[at..end]), dots[side]);
            side ^= 1;
            at = end;
        }
        let n = T::of(width as f64);
        let dot = T::V::<S>::splat(dots[0].add(dots[1]).sum() / n);
        let mean = match centre {
            Centre::Mean => T::V::<S>::splat(sums[0].add(sums[1]).sum() / n),
            Centre::Zero => T::V::<S>::zero(),
        };
        let needs = !dweight.is_empty();
        at = 0;
        while at < width {
            let end = (at + lanes).min(width);
            let h = hat.at(&x[at..end]);
            let g = weighted::<T::V<S>>(dy, weight, at, end);
            h.neg_mul_add(dot, g.sub(mean)).mul(hat.rstd).write(&mut dx[at..end]);
            if needs {
                let dy = T::V::<S>::read(&dy[at..end]);
                dy.mul_add(h, T::V::<S>::read(&dweight[at..end])).write(&mut dweight[at..end]);
                dy.add(T::V::<S>::read(&dbias[at..end])).write(&mut dbias[at..end]);
            }
            at = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array1;

    use super::*;

    #[test]
    fn gradients_are_the_same_for_any_number_of_threads() {
        let (count, width) = (517, 83);
        let wave = |scale: f64| {
            Array1::from_iter((0..count * width).map(|i| ((i as f64) * scale).sin() as f32))
                .into_shape_with_order(IxDyn(&[count, width]))
                .unwrap()
        };
        let (x, dy) = (wave(0.37), wave(0.11));
        let weight = Array1::linspace(0.5f32, 1.5, width).into_dyn();
        let run = || {
            let (_, m) =
                forward(x.view(), 1, Some(weight.view()), None, Centre::Mean, 1e-5).unwrap();
            let weight = Some(weight.view());
            backward(dy.view(), x.view(), m.view(), 1, weight, Centre::Mean, 1e-5, true).unwrap()
        };
        threads::set_num_threads(1);
        let one = run();
        threads::set_num_threads(3);
        let three = run();
        assert_eq!(one.dx, three.dx);
        assert_eq!(one.dweight, three.dweight);
        assert_eq!(one.dbias, three.dbias);
    }

    #[test]
    fn a_wrong_parameter_is_named() {
        let x = ArrayD::<f32>::zeros(IxDyn(&[2, 3]));
        let bias = ArrayD::<f32>::zeros(IxDyn(&[2]));
        let error = forward(x.view(), 1, None, Some(bias.view()), Centre::Mean, 1e-5).unwrap_err();
        assert_eq!(error.to_string(), "[layer_norm_forward] bias: expected shape [3], got [2]");
        assert!(forward(x.view(), 3, None, None, Centre::Mean, 1e-5).is_err());
    }
}
