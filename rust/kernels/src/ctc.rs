//! Connectionist temporal classification.
//!
//! A target l of S labels is written with blanks around and between, l' of length 2S + 1. With the
//! log-probabilities y, a(t, s) is the log-probability of all alignments of the first t steps that
//! end in l'(s), and b(t, s) that of all continuations from there:
//!   a(t, s) = y_t(l'(s)) + ln(e^a(t-1, s) + e^a(t-1, s-1) + [l'(s) != l'(s-2)] e^a(t-1, s-2))
//!   loss = -ln(e^a(T, 2S) + e^a(T, 2S-1))
//!   dy_t(c) = -sum over l'(s) = c of e^(a(t, s) + b(t, s) + loss)
//! Each step's largest value is taken out, so that `f32` keeps its precision over long inputs.
//! Reference: Graves et al., Connectionist Temporal Classification, 2006.

use ndarray::{Array1, Array3, ArrayView3};

use crate::simd::Vector;
use crate::{Element, Error, Result, check_shape, memory, threads, vectorized};

/// The labels of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Targets<'a> {
    /// Labels one after the other, or in rows of `stride`.
    pub labels: &'a [i64],
    /// Length of a row; 0 where the targets follow each other without padding.
    pub stride: usize,
    /// Labels of each sequence.
    pub lengths: &'a [i64],
    /// Steps of each sequence.
    pub input_lengths: &'a [i64],
    /// The class that stands for no label.
    pub blank: i64,
}

/// Loss of each sequence under log-probabilities `y` `[T, N, C]`, and with `gradient` that of `y`
/// `[T, N, C]` where the gradient of every loss is 1.
///
/// A target that does not fit its input has an infinite loss and a gradient of NaN, or zeros for
/// both with `zero_infinity`.
pub fn forward<T: Element>(
    y: ArrayView3<'_, T>,
    targets: &Targets<'_>,
    zero_infinity: bool,
    gradient: bool,
) -> Result<(Array1<T>, Option<Array3<T>>)> {
    let (steps, batch, classes) = y.dim();
    let sequences = check(targets, steps, batch, classes)?;
    let y = y.as_standard_layout();
    let y = y.as_slice().expect("standard layout");
    // Sequences outside, so that each task writes one stretch.
    let mut dy = if gradient { memory::unfilled(batch * steps * classes) } else { Vec::new() };
    let shared = threads::Shared::new(&mut dy);
    let states: usize = sequences.iter().map(|s| 2 * s.labels.len() + 1).sum();
    let losses = threads::map(batch, states * steps * 10, |n| {
        let sequence = &sequences[n];
        let from = Grid { y, n, batch, classes };
        let range = if gradient { n * steps * classes..(n + 1) * steps * classes } else { 0..0 };
        // SAFETY: each sequence has its own stretch.
        #[allow(unsafe_code)]
        let dy = unsafe { shared.slice(range) };
        let loss = align(&from, sequence, targets.blank as usize, dy);
        if loss.is_finite() {
            return T::of(loss);
        }
        dy.fill(if zero_infinity { T::zero() } else { T::nan() });
        // Steps beyond the input have no part in the loss.
        dy.iter_mut().skip(sequence.steps * classes).for_each(|dy| *dy = T::zero());
        if zero_infinity && loss == f64::INFINITY { T::zero() } else { T::of(loss) }
    });
    let dy = gradient.then(|| {
        let dy = Array3::from_shape_vec((batch, steps, classes), dy).expect("one number each");
        dy.permuted_axes([1, 0, 2])
    });
    Ok((Array1::from_vec(losses), dy))
}

struct Sequence<'a> {
    labels: &'a [i64],
    steps: usize,
}

fn check<'a>(
    targets: &Targets<'a>,
    steps: usize,
    batch: usize,
    classes: usize,
) -> Result<Vec<Sequence<'a>>> {
    const OP: &str = "ctc_forward";
    check_shape(OP, "input_lengths", &[batch], &[targets.input_lengths.len()])?;
    check_shape(OP, "target_lengths", &[batch], &[targets.lengths.len()])?;
    if usize::try_from(targets.blank).map_or(true, |blank| blank >= classes) {
        let message = format!("expected 0 to {}, got {}", classes as i64 - 1, targets.blank);
        return Err(Error::value(OP, "blank", message));
    }
    if targets.stride > 0 && Some(targets.labels.len()) != batch.checked_mul(targets.stride) {
        let message = format!(
            "expected {batch} rows of {} labels, got {} labels",
            targets.stride,
            targets.labels.len()
        );
        return Err(Error::value(OP, "targets", message));
    }
    let length = |arg, n: usize, length: i64, most: usize| match usize::try_from(length) {
        Ok(length) if length <= most => Ok(length),
        _ => Err(Error::value(
            OP,
            arg,
            format!("expected 0 to {most}, got {length} for sequence {n}"),
        )),
    };
    let mut start = 0;
    let mut sequences = Vec::with_capacity(batch);
    for n in 0..batch {
        let most = match targets.stride {
            0 => targets.labels.len() - start,
            stride => stride,
        };
        let count = length("target_lengths", n, targets.lengths[n], most)?;
        let labels = &targets.labels[start..][..count];
        start += if targets.stride == 0 { count } else { targets.stride };
        let wrong = |&&label: &&i64| {
            label == targets.blank || usize::try_from(label).map_or(true, |label| label >= classes)
        };
        if let Some(label) = labels.iter().find(wrong) {
            let message = format!(
                "expected 0 to {} and not the blank, {}, got {label} in sequence {n}",
                classes - 1,
                targets.blank
            );
            return Err(Error::value(OP, "targets", message));
        }
        let steps = length("input_lengths", n, targets.input_lengths[n], steps)?;
        sequences.push(Sequence { labels, steps });
    }
    if start != targets.labels.len() {
        let message = format!(
            "expected target_lengths to add up to the {} labels, got {start}",
            targets.labels.len()
        );
        return Err(Error::value(OP, "targets", message));
    }
    Ok(sequences)
}

/// Log-probabilities of one sequence of a batch.
struct Grid<'a, T> {
    y: &'a [T],
    n: usize,
    batch: usize,
    classes: usize,
}

impl<T> Grid<'_, T> {
    #[inline(always)]
    fn step(&self, t: usize) -> &[T] {
        &self.y[(t * self.batch + self.n) * self.classes..][..self.classes]
    }
}

/// `ln(e^a + e^b + e^c)`, -inf where all are.
#[inline(always)]
fn log_sum<V: Vector>(a: V, b: V, c: V) -> V {
    let max = a.max(b).max(c);
    let shift = V::select(max.eq(V::of(f64::NEG_INFINITY)), V::zero(), max);
    let sum = a.sub(shift).exp().add(b.sub(shift).exp()).add(c.sub(shift).exp());
    shift.add(sum.ln())
}

/// Takes the largest of `row` out of it; `None` where all are `-inf`.
#[inline(always)]
fn normalise<T: Element>(row: &mut [T]) -> Option<f64> {
    let mut max = T::neg_infinity();
    for &a in &*row {
        // A NaN must not be passed over.
        if a > max || a.is_nan() {
            max = a;
        }
    }
    if max == T::neg_infinity() {
        return None;
    }
    for a in row {
        *a -= max;
    }
    Some(max.f64())
}

vectorized! {
    /// Loss of one sequence; writes the gradient to `dy` `[T, C]` unless that is empty.
    fn align<S, T: Element>(
        from: &Grid<'_, T>,
        sequence: &Sequence<'_>,
        blank: usize,
        dy: &mut [T],
    ) -> f64 {
        let lanes = T::V::<S>::LANES;
        let low = T::neg_infinity();
        let (labels, steps) = (sequence.labels, sequence.steps);
        let states = 2 * labels.len() + 1;
        let class = |s: usize| if s % 2 == 1 { labels[s / 2] as usize } else { blank };
        if steps == 0 {
            dy.fill(T::zero());
            return if labels.is_empty() { 0.0 } else { f64::INFINITY };
        }
        // Rows have two states of probability zero on either side.
        let width = states + 4;
        let mut skip = vec![low; states + 2];
        for s in (3..states).step_by(2) {
            if labels[s / 2] != labels[s / 2 - 1] {
                skip[s] = T::zero();
            }
        }
        let keep = if dy.is_empty() { 2 } else { steps };
        let mut rows = vec![low; keep * width];
        let mut shifts = vec![0.0f64; steps];
        let mut total = 0.0f64;
        for t in 0..steps {
            let y = from.step(t);
            let (before, row) = if t == 0 {
                rows.split_at_mut(0)
            } else if keep == 2 {
                let (a, b) = rows.split_at_mut(width);
                if t % 2 == 0 { (b, a) } else { (a, b) }
            } else {
                let (a, b) = rows.split_at_mut(t * width);
                (&mut a[(t - 1) * width..], b)
            };
            let row = &mut row[2..2 + states];
            if t == 0 {
                row[0] = y[blank];
                if states > 1 {
                    row[1] = y[class(1)];
                }
            } else {
                for s in (0..states).step_by(lanes) {
                    let a = T::V::<S>::read_or(&before[s + 2..], low);
                    let b = T::V::<S>::read_or(&before[s + 1..], low);
                    let c = T::V::<S>::read_or(&before[s..], low);
                    let c = c.add(T::V::<S>::read_or(&skip[s..], low));
                    log_sum(a, b, c).write(&mut row[s..]);
                }
                for (s, a) in row.iter_mut().enumerate() {
                    *a += y[class(s)];
                }
            }
            match normalise(row) {
                Some(shift) => total += shift,
                None => return f64::INFINITY,
            }
            shifts[t] = total;
        }
        let last = (if keep == 2 { (steps - 1) % 2 } else { steps - 1 }) * width + 2;
        let end = &rows[last..last + states];
        let mut mass = end[states - 1].f64().exp();
        if states > 1 {
            mass += end[states - 2].f64().exp();
        }
        let loss = -(total + mass.ln());
        if dy.is_empty() || !loss.is_finite() {
            return loss;
        }
        dy.fill(T::zero());
        // What is left of the loss once the shifts of both directions are counted.
        let mut after = vec![low; width];
        after[states + 1] = T::zero();
        if states > 1 {
            after[states] = T::zero();
        }
        let mut next = vec![low; width];
        let mut behind = 0.0f64;
        for t in (0..steps).rev() {
            if t + 1 < steps {
                let y = from.step(t + 1);
                for s in 0..states {
                    after[s + 2] += y[class(s)];
                }
                for s in (0..states).step_by(lanes) {
                    let a = T::V::<S>::read_or(&after[s + 2..], low);
                    let b = T::V::<S>::read_or(&after[s + 3..], low);
                    let c = T::V::<S>::read_or(&after[s + 4..], low);
                    let c = c.add(T::V::<S>::read_or(&skip[s + 2..], low));
                    log_sum(a, b, c).write(&mut next[s + 2..s + 2 + lanes.min(states - s)]);
                }
                std::mem::swap(&mut after, &mut next);
                behind += normalise(&mut after[2..2 + states]).unwrap_or(0.0);
            }
            let shift = T::of(shifts[t] + behind + loss);
            let row = &rows[t * width + 2..][..states];
            let dy = &mut dy[t * from.classes..][..from.classes];
            for (s, (a, b)) in row.iter().zip(&after[2..]).enumerate() {
                dy[class(s)] -= (*a + *b + shift).exp();
            }
        }
        loss
    }
}
