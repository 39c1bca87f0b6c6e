//! Clipping of gradients, in place.
//!
//! by norm:  g *= min(1, limit / (norm + 1e-6)), norm of all numbers of all gradients
//! by value: g = min(max(g, -limit), limit)

use super::map_tasks;
use crate::simd::Vector;
use crate::threads::Shared;
use crate::{Element, Error, Result, vectorized};

/// Scales `grads` so that their joint norm of order `norm_type` (1, 2, ..., infinity) is at most
/// `max_norm`, and returns the norm before. With `refuse` a norm that is not finite is an error.
pub fn clip_norm<T: Element>(
    grads: Vec<&mut [T]>,
    max_norm: f64,
    norm_type: f64,
    refuse: bool,
) -> Result<f64> {
    const OP: &str = "optimizer_clip_norm";
    if norm_type.is_nan() || norm_type <= 0.0 {
        let message = format!("expected a positive number, got {norm_type}");
        return Err(Error::value(OP, "norm_type", message));
    }
    let lens: Vec<usize> = grads.iter().map(|grad| grad.len()).collect();
    let sums = map_tasks(lens.iter().copied(), |parts| {
        let parts = parts.iter().map(|p| &grads[p.slot][p.start..p.start + p.len]);
        parts.map(|part| powers(part, norm_type)).fold(0.0, |a, b| join(a, b, norm_type))
    });
    let sum = sums.into_iter().fold(0.0, |a, b| join(a, b, norm_type));
    let norm = if norm_type.is_infinite() { sum } else { sum.powf(1.0 / norm_type) };
    if refuse && !norm.is_finite() {
        let message = format!("expected gradients of a finite norm, got {norm}");
        return Err(Error::value(OP, "grads", message));
    }
    let by = max_norm / (norm + 1e-6);
    if by.is_nan() || by < 1.0 {
        in_place(grads, |part| scale(part, T::of(by)));
    }
    Ok(norm)
}

/// Moves every number of `grads` into `[-limit, limit]`.
pub fn clip_value<T: Element>(grads: Vec<&mut [T]>, limit: f64) -> Result<()> {
    in_place(grads, |part| clamp(part, T::of(limit)));
    Ok(())
}

fn in_place<T: Element>(grads: Vec<&mut [T]>, work: impl Fn(&mut [T]) + Sync) {
    let lens: Vec<usize> = grads.iter().map(|grad| grad.len()).collect();
    let grads: Vec<Shared<T>> = grads.into_iter().map(Shared::new).collect();
    map_tasks(lens.into_iter(), |parts| {
        for part in parts {
            // SAFETY: the slices are borrowed exclusively, and parts do not overlap.
            #[allow(unsafe_code)]
            work(unsafe { grads[part.slot].slice(part.start..part.start + part.len) });
        }
    });
}

fn join(a: f64, b: f64, norm_type: f64) -> f64 {
    if norm_type.is_infinite() {
        if b.is_nan() { b } else { b.max(a) + if a.is_nan() { a } else { 0.0 } }
    } else {
        a + b
    }
}

vectorized! {
    /// Sum of `|x|^norm_type`, or the largest magnitude.
    fn powers<S, T: Element>(x: &[T], norm_type: f64) -> f64 {
        let mut sums = [0.0f64; 16];
        if norm_type == 2.0 {
            let blocks = x.chunks_exact(16);
            for (sum, x) in sums.iter_mut().zip(blocks.remainder()) {
                *sum += x.f64() * x.f64();
            }
            for x in blocks {
                for (sum, x) in sums.iter_mut().zip(x) {
                    *sum += x.f64() * x.f64();
                }
            }
            return sums.iter().sum();
        }
        let mut sum = 0.0;
        for x in x {
            let x = x.f64().abs();
            sum = join(sum, if norm_type.is_infinite() { x } else { x.powf(norm_type) }, norm_type);
        }
        sum
    }
}

vectorized! {
    fn scale<S, T: Element>(x: &mut [T], by: T) {
        let by = T::V::<S>::splat(by);
        for x in x.chunks_mut(T::V::<S>::LANES) {
            T::V::<S>::read(x).mul(by).write(x);
        }
    }
}

vectorized! {
    fn clamp<S, T: Element>(x: &mut [T], limit: T) {
        let high = T::V::<S>::splat(limit);
        for x in x.chunks_mut(T::V::<S>::LANES) {
            high.min(high.neg().max(T::V::<S>::read(x))).write(x);
        }
    }
}
