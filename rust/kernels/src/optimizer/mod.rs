//! Optimiser steps over all parameters at once, in place.
//!
//! The flat list of parameters is cut into pieces of a fixed length; each piece reads parameter,
//! gradient and state once and writes parameter and state once. `g` is the gradient, negated to
//! maximise, plus `weight_decay * p` unless said otherwise; a step is numbered from 1.

mod clip;
mod rules;

pub use clip::{clip_norm, clip_value};
use rules::{Adadelta, Adagrad, Adam, Adamax, Nadam, Radam, RmsProp, Rule, Sgd};

use crate::simd::Vector;
use crate::threads::Shared;
use crate::{Element, Error, Result, check_shape, threads, vectorized};

/// Elements of one task.
const PIECE: usize = 16_384;
/// No method keeps more arrays for a parameter.
const MAX_STATES: usize = 3;
/// How many numbers ahead of the work memory is asked for.
const AHEAD: usize = 256;

/// One parameter with its gradient and state, flat and of one length.
#[derive(Debug)]
pub struct Slot<'a, T> {
    /// The parameter.
    pub param: &'a mut [T],
    /// Its gradient.
    pub grad: &'a [T],
    /// Moments and other running values, as many as the method keeps.
    pub state: Vec<&'a mut [T]>,
    /// Number of this step for this parameter, from 1.
    pub step: u64,
    /// Product of NAdam's momenta over the steps before.
    pub product: f64,
}

/// A method with its settings. Names and formulas are PyTorch's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// Gradient descent; state: momentum.
    Sgd {
        /// Share of the last direction that is kept; 0 keeps no state.
        momentum: f64,
        /// Share of the gradient that momentum leaves out.
        dampening: f64,
        /// Look ahead by the momentum.
        nesterov: bool,
    },
    /// State: mean, square and, with `amsgrad`, largest square.
    Adam {
        /// Decay of the mean.
        beta1: f64,
        /// Decay of the square.
        beta2: f64,
        /// Added to the divisor.
        eps: f64,
        /// Divide by the largest square so far.
        amsgrad: bool,
        /// Shrink the parameter itself in place of adding to the gradient (AdamW).
        decoupled: bool,
    },
    /// State: square, then mean where `centered`, then momentum.
    RmsProp {
        /// Decay of the square.
        alpha: f64,
        /// Added to the divisor.
        eps: f64,
        /// Share of the last direction that is kept; 0 keeps no state.
        momentum: f64,
        /// Divide by the standard deviation.
        centered: bool,
    },
    /// State: sum of squares.
    Adagrad {
        /// Decay of the rate.
        lr_decay: f64,
        /// Added to the divisor.
        eps: f64,
    },
    /// State: squares of gradients and of steps.
    Adadelta {
        /// Decay of both.
        rho: f64,
        /// Added to both.
        eps: f64,
    },
    /// State: mean and largest magnitude.
    Adamax {
        /// Decay of the mean.
        beta1: f64,
        /// Decay of the magnitude.
        beta2: f64,
        /// Added to the magnitude.
        eps: f64,
    },
    /// State: mean and square.
    Nadam {
        /// Decay of the mean.
        beta1: f64,
        /// Decay of the square.
        beta2: f64,
        /// Added to the divisor.
        eps: f64,
        /// Decay of the momentum's schedule.
        momentum_decay: f64,
        /// Shrink the parameter itself in place of adding to the gradient.
        decoupled: bool,
    },
    /// State: mean and square.
    Radam {
        /// Decay of the mean.
        beta1: f64,
        /// Decay of the square.
        beta2: f64,
        /// Added to the divisor.
        eps: f64,
        /// Shrink the parameter itself in place of adding to the gradient.
        decoupled: bool,
    },
}

/// Settings that every method has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Common {
    /// Learning rate.
    pub lr: f64,
    /// Share of the parameter added to the gradient.
    pub weight_decay: f64,
    /// Climb in place of descending.
    pub maximize: bool,
}

/// One step of `method` for every slot.
pub fn step<T: Element>(method: Method, common: &Common, slots: Vec<Slot<'_, T>>) -> Result<()> {
    match method {
        Method::Sgd { momentum, dampening, nesterov } => {
            if momentum == 0.0 {
                run(slots, |_| Sgd::<false>::new(common, momentum, dampening, nesterov, 1))
            } else {
                run(slots, |(step, _)| {
                    Sgd::<true>::new(common, momentum, dampening, nesterov, step)
                })
            }
        }
        Method::Adam { beta1, beta2, eps, amsgrad, decoupled } => {
            let betas = (beta1, beta2);
            if amsgrad {
                run(slots, |(step, _)| Adam::<true>::new(common, betas, eps, decoupled, step))
            } else {
                run(slots, |(step, _)| Adam::<false>::new(common, betas, eps, decoupled, step))
            }
        }
        Method::RmsProp { alpha, eps, momentum, centered } => match (centered, momentum != 0.0) {
            (false, false) => {
                run(slots, |_| RmsProp::<0, false>::new(common, alpha, eps, momentum))
            }
            (false, true) => run(slots, |_| RmsProp::<0, true>::new(common, alpha, eps, momentum)),
            (true, false) => run(slots, |_| RmsProp::<1, false>::new(common, alpha, eps, momentum)),
            (true, true) => run(slots, |_| RmsProp::<1, true>::new(common, alpha, eps, momentum)),
        },
        Method::Adagrad { lr_decay, eps } => {
            run(slots, |(step, _)| Adagrad::new(common, lr_decay, eps, step))
        }
        Method::Adadelta { rho, eps } => run(slots, |_| Adadelta::new(common, rho, eps)),
        Method::Adamax { beta1, beta2, eps } => {
            run(slots, |(step, _)| Adamax::new(common, (beta1, beta2), eps, step))
        }
        Method::Nadam { beta1, beta2, eps, momentum_decay, decoupled } => run(slots, |step| {
            Nadam::new(common, (beta1, beta2), eps, momentum_decay, decoupled, step)
        }),
        Method::Radam { beta1, beta2, eps, decoupled } => {
            run(slots, |(step, _)| Radam::new(common, (beta1, beta2), eps, decoupled, step))
        }
    }
}

/// A stretch of one array of a list.
#[derive(Clone, Copy)]
struct Part {
    slot: usize,
    start: usize,
    len: usize,
}

/// Runs `work` for the stretches of arrays of lengths `lens`, cut into tasks of [`PIECE`] elements
/// each, and returns what the tasks return, in order.
fn map_tasks<R: Send>(
    lens: impl Iterator<Item = usize>,
    work: impl Fn(&[Part]) -> R + Sync,
) -> Vec<R> {
    let (mut parts, mut ends) = (Vec::with_capacity(lens.size_hint().0), Vec::new());
    let (mut room, mut total) = (PIECE, 0);
    for (slot, len) in lens.enumerate() {
        let mut start = 0;
        total += len;
        while start < len {
            let take = room.min(len - start);
            parts.push(Part { slot, start, len: take });
            start += take;
            room -= take;
            if room == 0 {
                ends.push(parts.len());
                room = PIECE;
            }
        }
    }
    if room < PIECE {
        ends.push(parts.len());
    }
    threads::map(ends.len(), total, |task| {
        let first = if task == 0 { 0 } else { ends[task - 1] };
        work(&parts[first..ends[task]])
    })
}

struct Job<'a, T, R> {
    rule: R,
    param: Shared<T>,
    grad: &'a [T],
    state: [Shared<T>; MAX_STATES],
}

fn run<'a, T: Element, R: Rule>(
    slots: Vec<Slot<'a, T>>,
    rule: impl Fn((u64, f64)) -> R,
) -> Result<()> {
    const OP: &str = "optimizer_step";
    let mut jobs = Vec::with_capacity(slots.len());
    let mut made: Option<((u64, f64), R)> = None;
    for slot in slots {
        check_shape(OP, "grad", &[slot.param.len()], &[slot.grad.len()])?;
        if slot.state.len() != R::STATES {
            let message = format!("expected {} arrays, got {}", R::STATES, slot.state.len());
            return Err(Error::value(OP, "state", message));
        }
        let mut state = [(); MAX_STATES].map(|()| Shared::new(&mut []));
        for (shared, array) in state.iter_mut().zip(slot.state) {
            check_shape(OP, "state", &[slot.param.len()], &[array.len()])?;
            *shared = Shared::new(array);
        }
        let at = (slot.step, slot.product);
        let rule = match made {
            Some((before, rule)) if before == at => rule,
            _ => rule(at),
        };
        made = Some((at, rule));
        jobs.push(Job { rule, param: Shared::new(slot.param), grad: slot.grad, state });
    }
    map_tasks(jobs.iter().map(|job| job.grad.len()), |parts| {
        for part in parts {
            let job = &jobs[part.slot];
            let range = part.start..part.start + part.len;
            // SAFETY: the slots borrow their arrays exclusively for all of this call, and no two
            // parts overlap.
            #[allow(unsafe_code)]
            let (param, state) = unsafe {
                let state = std::array::from_fn(|k| {
                    let used = if k < R::STATES { range.clone() } else { 0..0 };
                    job.state[k].slice(used)
                });
                (job.param.slice(range.clone()), state)
            };
            update(job.rule, param, &job.grad[range], state);
        }
    });
    Ok(())
}

vectorized! {
    fn update<S, T: Element, R: Rule>(
        rule: R,
        param: &mut [T],
        grad: &[T],
        state: [&mut [T]; MAX_STATES],
    ) {
        let len = param.len();
        assert!(grad.len() == len && state[..R::STATES].iter().all(|s| s.len() == len));
        let lanes = T::V::<S>::LANES;
        let (p, g) = (param.as_mut_ptr(), grad.as_ptr());
        let state = state.map(|s| s.as_mut_ptr());
        for start in (0..len).step_by(lanes) {
            let count = lanes.min(len - start);
            let mut s = [T::V::<S>::zero(); MAX_STATES];
            // SAFETY: all arrays in use have `len` numbers, and `count` of them follow `start`.
            #[allow(unsafe_code)]
            unsafe {
                let (p, g) = (p.add(start), g.add(start));
                if count == lanes {
                    // The arrays are more streams than the hardware follows by itself.
                    T::V::<S>::prefetch(p.wrapping_add(AHEAD));
                    T::V::<S>::prefetch(g.wrapping_add(AHEAD));
                    for k in 0..R::STATES {
                        let at = state[k].add(start);
                        T::V::<S>::prefetch(at.wrapping_add(AHEAD));
                        s[k] = T::V::<S>::load(at);
                    }
                    rule.update(T::V::<S>::load(p), T::V::<S>::load(g), &mut s).store(p);
                    for k in 0..R::STATES {
                        s[k].store(state[k].add(start));
                    }
                } else {
                    for k in 0..R::STATES {
                        s[k] = T::V::<S>::load_first(state[k].add(start), count);
                    }
                    let (x, dx) = (T::V::<S>::load_first(p, count), T::V::<S>::load_first(g, count));
                    rule.update(x, dx, &mut s).store_first(p, count);
                    for k in 0..R::STATES {
                        s[k].store_first(state[k].add(start), count);
                    }
                }
            }
        }
    }
}
