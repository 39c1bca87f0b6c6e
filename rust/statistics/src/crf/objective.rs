//! The objective of training and its gradient over a whole data set:
//! the sum of -ln p(y | x) plus c2 |w|^2, and where c1 counts, c1 |w|_1 besides.
//!
//! The sequences are cut into chunks that depend on the data alone. Each chunk numbers its
//! attributes anew and sums its gradient in a buffer of its own, which has places for those
//! only; the buffers are added up in the order of the chunks, so that the number of threads changes
//! nothing.
#![allow(unsafe_code)]

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use lamina_kernels::simd::{Vector, prefetch};
use lamina_kernels::vectorized;

use super::features::{AHEAD, NONE, Row, Rows, WIDE, gather, padded};
use super::lattice::{Lattice, Transitions};
use super::{Data, Features, Stop, check};
use crate::{Result, threads};

/// Items of a chunk, about.
const ITEMS: usize = 12_288;
/// Most chunks.
const CHUNKS: usize = 32;
/// Items between two looks at whether to stop.
const PATIENCE: usize = 2048;
/// Numbers of the gradient that one task adds up.
const BLOCK: usize = 1 << 15;

/// Places of the same length in the gradients of all and of a chunk.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    global: usize,
    local: usize,
    len: usize,
}

/// Row of an attribute: where its weights lie, and where its part of the gradient in the chunk.
#[derive(Debug, Clone, Copy)]
struct Place {
    weights: u32,
    gradient: u32,
    len: u32,
}

/// Some of the sequences, with attributes numbered from zero.
#[derive(Debug)]
struct Chunk {
    sequences: Range<usize>,
    /// The row of each of its attributes, in the order of all attributes.
    places: Vec<Place>,
    /// Attributes in places of this chunk, in the order of the data.
    attributes: Vec<u32>,
    /// Where `attributes` begin in the data.
    first: usize,
    stretches: Vec<Stretch>,
    /// Numbers in the gradient of states.
    size: usize,
    longest: usize,
    cost: usize,
}

/// A data set to be fitted.
#[derive(Debug)]
pub struct Objective<'a> {
    data: &'a Data,
    features: &'a Features,
    chunks: Vec<Chunk>,
    c2: f64,
}

/// What a chunk contributes.
struct Part {
    loss: f64,
    gradient: Vec<f64>,
    transitions: Vec<f64>,
}

impl<'a> Objective<'a> {
    /// Of labelled `data` with weights in the places of `features`.
    pub fn new(data: &'a Data, features: &'a Features, c2: f64) -> Self {
        let wanted = (data.num_items() / ITEMS).clamp(1, CHUNKS);
        let share = data.num_items().div_ceil(wanted).max(1);
        let mut ranges = Vec::new();
        let (mut start, mut items) = (0, 0);
        for i in 0..data.len() {
            items += data.sequence(i).len();
            if items >= share {
                ranges.push(start..i + 1);
                (start, items) = (i + 1, 0);
            }
        }
        if start < data.len() {
            ranges.push(start..data.len());
        }
        let cost = data.num_values() * 10;
        let chunks =
            threads::map(ranges.len(), cost, |i| Chunk::new(data, features, ranges[i].clone()));
        Self { data, features, chunks, c2 }
    }

    /// The objective at `weights`, its gradient written to `gradient`.
    pub fn evaluate(&self, weights: &[f64], gradient: &mut [f64], stop: Stop<'_>) -> Result<f64> {
        let labels = self.features.labels();
        let square = self.features.square();
        let transitions = Transitions::new(labels, &weights[square..]);
        let caller = std::thread::current().id();
        let stopped = AtomicBool::new(false);
        let cost = self.chunks.iter().map(|chunk| chunk.cost).sum();
        let parts = threads::map(self.chunks.len(), cost, |i| {
            // Only the thread that called may ask.
            let ask = || {
                if std::thread::current().id() == caller && stop() {
                    stopped.store(true, Ordering::Relaxed);
                }
                stopped.load(Ordering::Relaxed)
            };
            self.chunks[i].evaluate(self.data, self.features, weights, &transitions, &ask)
        });
        if stopped.load(Ordering::Relaxed) {
            check(&|| true)?;
        }
        check(stop)?;
        let penalty = self.add_up(weights, gradient, &parts);
        Ok(parts.iter().map(|part| part.loss).sum::<f64>() + penalty)
    }

    /// Sums the parts into `gradient`, with the penalty, which is returned.
    fn add_up(&self, weights: &[f64], gradient: &mut [f64], parts: &[Part]) -> f64 {
        let square = self.features.square();
        let places = self.features.places();
        let c2 = self.c2;
        let (states, transitions) = gradient.split_at_mut(square);
        let blocks = square.div_ceil(BLOCK);
        let shared = threads::Shared::new(states);
        let cost = 2 * square;
        let mut penalties = threads::map(blocks, cost, |block| {
            let range = block * BLOCK..((block + 1) * BLOCK).min(square);
            // SAFETY: blocks do not overlap.
            let sum = unsafe { shared.slice(range.clone()) };
            sum.fill(0.0);
            for (chunk, part) in self.chunks.iter().zip(parts) {
                chunk.add(&part.gradient, range.clone(), sum);
            }
            regularise(sum, &weights[range.clone()], &places[range], c2)
        });
        transitions.fill(0.0);
        for part in parts {
            for (sum, &more) in transitions.iter_mut().zip(&part.transitions) {
                *sum += more;
            }
        }
        let mut norm = 0.0;
        for ((sum, &weight), &there) in
            transitions.iter_mut().zip(&weights[square..]).zip(self.features.transitions())
        {
            *sum = if there { *sum + 2.0 * c2 * weight } else { 0.0 };
            norm += weight * weight;
        }
        penalties.push(norm);
        c2 * penalties.iter().sum::<f64>()
    }
}

/// Adds the gradient of the penalty, leaves places without a weight at zero; the sum of squares.
fn regularise(sum: &mut [f64], weights: &[f64], places: &[u16], c2: f64) -> f64 {
    let mut norm = 0.0;
    for ((sum, &weight), &place) in sum.iter_mut().zip(weights).zip(places) {
        *sum = if place == NONE { 0.0 } else { *sum + 2.0 * c2 * weight };
        norm += weight * weight;
    }
    norm
}

impl Chunk {
    fn new(data: &Data, features: &Features, sequences: Range<usize>) -> Self {
        let (first, last) =
            (data.sequence(sequences.start).start, { data.sequence(sequences.end - 1).end });
        let values =
            if first < last { data.item(first).start..data.item(last - 1).end } else { 0..0 };
        let range = &data.attributes()[values.clone()];
        let mut used = vec![false; features.rows().len()];
        range.iter().for_each(|&attribute| used[attribute as usize] = true);
        let mut local = vec![u32::MAX; used.len()];
        let mut new = Self {
            longest: data.longest(sequences.clone()),
            sequences,
            places: Vec::new(),
            attributes: Vec::new(),
            first: values.start,
            stretches: Vec::new(),
            size: 0,
            cost: 0,
        };
        let width = padded(features.labels());
        for (attribute, _) in used.iter().enumerate().filter(|&(_, &used)| used) {
            let Row { start, len } = features.rows()[attribute];
            local[attribute] = new.places.len() as u32;
            new.places.push(Place { weights: start, gradient: new.size as u32, len });
            let len = if len == WIDE { width } else { len as usize };
            new.extend(start as usize, len);
        }
        new.attributes = range.iter().map(|&attribute| local[attribute as usize]).collect();
        new.cost = range.len() * 10 + (last - first) * (30 + features.labels().pow(2));
        new
    }

    /// Adds places for `len` weights from `start` to the gradient.
    fn extend(&mut self, start: usize, len: usize) {
        match self.stretches.last_mut() {
            Some(last) if last.global + last.len == start => last.len += len,
            _ => self.stretches.push(Stretch { global: start, local: self.size, len }),
        }
        self.size += len;
    }

    /// Adds what of `gradient` falls into the places `range` of all to `sum`.
    fn add(&self, gradient: &[f64], range: Range<usize>, sum: &mut [f64]) {
        let from = self.stretches.partition_point(|s| s.global + s.len <= range.start);
        for stretch in &self.stretches[from..] {
            if stretch.global >= range.end {
                break;
            }
            let start = stretch.global.max(range.start);
            let end = (stretch.global + stretch.len).min(range.end);
            let local = &gradient[stretch.local + start - stretch.global..][..end - start];
            let sum = &mut sum[start - range.start..end - range.start];
            sum.iter_mut().zip(local).for_each(|(sum, &more)| *sum += more);
        }
    }

    fn evaluate(
        &self,
        data: &Data,
        features: &Features,
        weights: &[f64],
        transitions: &Transitions,
        ask: &dyn Fn() -> bool,
    ) -> Part {
        let labels = features.labels();
        let mut lattice = Lattice::new(self.longest, labels);
        let mut part = Part {
            loss: 0.0,
            gradient: vec![0.0; self.size],
            transitions: vec![0.0; labels * labels],
        };
        let mut patience = 0;
        for i in self.sequences.clone() {
            let items = data.sequence(i);
            patience += items.len();
            if patience > PATIENCE {
                patience = 0;
                if ask() {
                    return part;
                }
            }
            gather(self, data, features, weights, items.clone(), &mut lattice.states);
            let truth = &data.labels()[items.clone()];
            let score = transitions.score(&lattice.states, truth);
            part.loss += lattice.sum(items.len(), transitions, true) - score;
            for (t, &label) in truth.iter().enumerate() {
                lattice.marginals[t * transitions.width() + label as usize] -= 1.0;
            }
            for pair in truth.windows(2) {
                part.transitions[pair[0] as usize * labels + pair[1] as usize] -= 1.0;
            }
            scatter(self, data, features, items, &lattice.marginals, &mut part.gradient);
        }
        transitions.expected(&lattice, &mut part.transitions);
        part
    }
}

impl Rows for Chunk {
    #[inline(always)]
    fn row(&self, i: usize) -> Row {
        let place = self.places[self.attributes[i - self.first] as usize];
        Row { start: place.weights, len: place.len }
    }

    #[inline(always)]
    fn address(&self, i: usize) -> *const u8 {
        self.places.as_ptr().wrapping_add(self.attributes[i - self.first] as usize).cast()
    }

    fn end(&self) -> usize {
        self.first + self.attributes.len()
    }
}

vectorized! {
    /// Adds what items with residuals `[T, W]` contribute to `gradient`.
    fn scatter<S>(
        chunk: &Chunk,
        data: &Data,
        features: &Features,
        items: Range<usize>,
        residuals: &[f64],
        gradient: &mut [f64],
    ) {
        let lanes = S::F64::LANES;
        let width = features.labels().next_multiple_of(lanes);
        let names = features.places();
        let ones = data.values().is_empty();
        let end = chunk.end();
        for (row, item) in residuals.chunks_exact(width).zip(items) {
            for i in data.item(item) {
                if i + AHEAD < end {
                    let next = chunk.places[chunk.attributes[i + AHEAD - chunk.first] as usize];
                    prefetch::<true>(gradient.as_ptr().wrapping_add(next.gradient as usize).cast());
                }
                let place = chunk.places[chunk.attributes[i - chunk.first] as usize];
                let value = if ones { 1.0 } else { data.values()[i] };
                let start = place.gradient as usize;
                if place.len == WIDE {
                    let to = &mut gradient[start..start + width];
                    let value = S::F64::splat(value);
                    for j in (0..width).step_by(lanes) {
                        let sum = S::F64::read(&to[j..]);
                        value.mul_add(S::F64::read(&row[j..]), sum).write(&mut to[j..]);
                    }
                    continue;
                }
                let len = place.len as usize;
                let names = &names[place.weights as usize..][..len];
                for (&label, to) in names.iter().zip(&mut gradient[start..start + len]) {
                    // SAFETY: places that are not in a wide row hold labels.
                    unsafe { *to += value * row.get_unchecked(label as usize) };
                }
            }
        }
    }
}
