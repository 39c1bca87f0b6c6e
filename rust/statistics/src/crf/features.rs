//! Which weights there are: of attributes with labels, and of labels with the next one.
#![allow(unsafe_code)]

use std::ops::Range;

use lamina_kernels::simd::{Vector, prefetch};
use lamina_kernels::vectorized;

use super::{Data, MAX_LABELS, MAX_WEIGHTS};
use crate::{Error, Result};

/// A place in a row that no weight of the model has.
pub(crate) const NONE: u16 = u16::MAX;

/// Where the weights of one attribute lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Place of the first.
    pub start: u32,
    /// How many places; `WIDE` where there is one for each label, in order, and padding.
    pub len: u32,
}

/// Length of a row that has a place for each label.
pub(crate) const WIDE: u32 = u32::MAX;

/// The places of all weights in one vector: a row for each attribute, then the square of
/// transitions.
///
/// Attributes that go with a good part of the labels have rows for all of them, whose
/// unused places keep a weight of zero; others only list theirs.
#[derive(Debug, Clone)]
pub struct Features {
    /// How many labels.
    labels: usize,
    /// The row of each attribute.
    rows: Vec<Row>,
    /// The label of each place before the transitions, or [`NONE`].
    places: Vec<u16>,
    /// Whether the model has a weight for a label `[L, L]` after another.
    transitions: Vec<bool>,
    /// Weights there are.
    count: usize,
}

vectorized! {
    /// Numbers in a row of `labels` that is padded to whole vectors.
    pub(crate) fn padded<S>(labels: usize) -> usize {
        labels.next_multiple_of(S::F64::LANES)
    }
}

impl Features {
    /// The weights that `data` call for.
    ///
    /// # Errors
    /// There are more labels or weights than can be told apart.
    pub fn new(
        data: &Data,
        attributes: usize,
        labels: usize,
        min_freq: f64,
        all_states: bool,
        all_transitions: bool,
    ) -> Result<Self> {
        check_labels(labels)?;
        data.check("crf_features", attributes, labels)?;
        let pairs = observed(data, attributes, labels, min_freq, all_states);
        let mut transitions = vec![0.0; labels * labels];
        for i in 0..data.len() {
            let labels_of = &data.labels()[data.sequence(i)];
            for pair in labels_of.windows(2) {
                transitions[pair[0] as usize * labels + pair[1] as usize] += 1.0;
            }
        }
        let transitions = transitions
            .into_iter()
            .map(|freq| (all_transitions || freq > 0.0) && freq >= min_freq)
            .collect();
        Self::from_lists(labels, &pairs.0, &pairs.1, transitions)
    }

    /// The places of weights given as labels `list` of attribute after attribute, which end at
    /// `ends`, and `transitions` `[L, L]`.
    pub fn from_lists(
        labels: usize,
        ends: &[usize],
        list: &[u16],
        transitions: Vec<bool>,
    ) -> Result<Self> {
        check_labels(labels)?;
        if let Some(label) = list.iter().find(|&&label| label as usize >= labels) {
            let message = format!("expected labels below {labels}, got {label}");
            return Err(Error::value("crf_features", "labels", message));
        }
        let width = padded(labels);
        let mut rows = Vec::with_capacity(ends.len());
        let mut places = Vec::with_capacity(list.len() + list.len() / 2);
        let mut start = 0;
        for &end in ends {
            let row = &list[start..end];
            let wide = row.len() * 4 >= width && row.len() > 1;
            let at = places.len();
            rows.push(Row { start: at as u32, len: if wide { WIDE } else { row.len() as u32 } });
            if wide {
                places.resize(at + width, NONE);
                row.iter().for_each(|&label| places[at + label as usize] = label);
            } else {
                places.extend_from_slice(row);
            }
            if places.len() + labels * labels > MAX_WEIGHTS {
                let message = format!("expected at most {MAX_WEIGHTS} weights, got more");
                return Err(Error::value("crf_features", "x", message));
            }
            start = end;
        }
        let count = list.len() + transitions.iter().filter(|&&there| there).count();
        Ok(Self { labels, rows, places, transitions, count })
    }

    /// How many labels.
    pub fn labels(&self) -> usize {
        self.labels
    }

    /// How many weights there are, unused places not counted.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Places of all weights.
    pub fn len(&self) -> usize {
        self.places.len() + self.transitions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Place of the first transition.
    pub fn square(&self) -> usize {
        self.places.len()
    }

    /// The row of each attribute.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The label of each place before the transitions, or [`NONE`].
    pub(crate) fn places(&self) -> &[u16] {
        &self.places
    }

    /// Whether there is a weight for one label `[L, L]` after another.
    pub fn transitions(&self) -> &[bool] {
        &self.transitions
    }

    /// Places of the row of an attribute.
    pub fn places_of(&self, attribute: usize) -> Range<usize> {
        let Row { start, len } = self.rows[attribute];
        let len = if len == WIDE { padded(self.labels) } else { len as usize };
        start as usize..start as usize + len
    }

    /// Labels and places of the weights of an attribute.
    pub fn of(&self, attribute: usize) -> impl Iterator<Item = (u16, usize)> {
        let range = self.places_of(attribute);
        let labels = self.places[range.clone()].iter().copied();
        labels.zip(range).filter(|&(label, _)| label != NONE)
    }

    /// The place of one weight.
    pub fn place(&self, attribute: usize, label: u16) -> Option<usize> {
        let Row { start, len } = *self.rows.get(attribute)?;
        if len == WIDE {
            let place = start as usize + label as usize;
            return (self.places[place] == label).then_some(place);
        }
        let row = &self.places[start as usize..start as usize + len as usize];
        row.binary_search(&label).ok().map(|i| start as usize + i)
    }
}

pub(crate) fn check_labels(labels: usize) -> Result<()> {
    if labels <= MAX_LABELS {
        return Ok(());
    }
    let message = format!("expected at most {MAX_LABELS} labels, got {labels}");
    Err(Error::value("crf_features", "y", message))
}

/// Where the row of an attribute of some data lies.
pub(crate) trait Rows: Sync {
    /// The row of the attribute at place `i` of the data.
    fn row(&self, i: usize) -> Row;
    /// Where that is kept, to be asked for ahead of its use.
    fn address(&self, i: usize) -> *const u8;
    /// The place behind the last one.
    fn end(&self) -> usize;
}

/// Attributes between asking for a row, for what it leads to, and their use: about an item.
pub(crate) const AHEAD: usize = 24;

/// Attributes numbered as in the features.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whole<'a> {
    pub(crate) data: &'a Data,
    pub(crate) features: &'a Features,
}

impl Rows for Whole<'_> {
    #[inline(always)]
    fn row(&self, i: usize) -> Row {
        self.features.rows[self.data.attributes()[i] as usize]
    }

    #[inline(always)]
    fn address(&self, i: usize) -> *const u8 {
        self.features.rows.as_ptr().wrapping_add(self.data.attributes()[i] as usize).cast()
    }

    fn end(&self) -> usize {
        self.data.num_values()
    }
}

vectorized! {
    /// State weights `[T, W]` of items, -inf in padding.
    pub(crate) fn gather<S, R: Rows>(
        rows: &R,
        data: &Data,
        features: &Features,
        weights: &[f64],
        items: Range<usize>,
        states: &mut [f64],
    ) {
        let lanes = S::F64::LANES;
        let labels = features.labels();
        let width = labels.next_multiple_of(lanes);
        let names = features.places();
        let ones = data.values().is_empty();
        let end = rows.end();
        for (sums, item) in states.chunks_exact_mut(width).zip(items) {
            sums[..labels].fill(0.0);
            sums[labels..].fill(f64::NEG_INFINITY);
            for i in data.item(item) {
                if i + 2 * AHEAD < end {
                    prefetch::<true>(rows.address(i + 2 * AHEAD));
                    let next = rows.row(i + AHEAD).start as usize;
                    prefetch::<true>(weights.as_ptr().wrapping_add(next).cast());
                    prefetch::<true>(names.as_ptr().wrapping_add(next).cast());
                }
                let row = rows.row(i);
                let value = if ones { 1.0 } else { data.values()[i] };
                let start = row.start as usize;
                if row.len == WIDE {
                    let from = &weights[start..start + width];
                    let value = S::F64::splat(value);
                    for j in (0..width).step_by(lanes) {
                        let sum = S::F64::read(&sums[j..]);
                        value.mul_add(S::F64::read(&from[j..]), sum).write(&mut sums[j..]);
                    }
                    continue;
                }
                let range = start..start + row.len as usize;
                for (&label, &weight) in names[range.clone()].iter().zip(&weights[range]) {
                    // SAFETY: places that are not in a wide row hold labels, which were checked.
                    unsafe { *sums.get_unchecked_mut(label as usize) += value * weight };
                }
            }
        }
    }
}

/// Labels of each attribute in rising order, and where those of each end.
fn observed(
    data: &Data,
    attributes: usize,
    labels: usize,
    min_freq: f64,
    all: bool,
) -> (Vec<usize>, Vec<u16>) {
    let (starts, found) = by_attribute(data, attributes);
    let mut freq = vec![0.0; labels];
    let mut seen: Vec<u16> = Vec::new();
    let (mut ends, mut list) = (Vec::with_capacity(attributes), Vec::new());
    for attribute in 0..attributes {
        for &(label, value) in &found[starts[attribute]..starts[attribute + 1]] {
            // A frequency of zero may be one that was seen, and is then noted twice.
            if freq[label as usize] == 0.0 {
                seen.push(label);
            }
            freq[label as usize] += f64::from(value);
        }
        seen.sort_unstable();
        seen.dedup();
        if all && min_freq <= 0.0 {
            list.extend(0..labels as u16);
        } else {
            list.extend(seen.iter().copied().filter(|&label| freq[label as usize] >= min_freq));
        }
        seen.drain(..).for_each(|label| freq[label as usize] = 0.0);
        ends.push(list.len());
    }
    (ends, list)
}

/// Label and value of each occurrence, attribute after attribute, and where those of each start.
fn by_attribute(data: &Data, attributes: usize) -> (Vec<usize>, Vec<(u16, f32)>) {
    let mut starts = vec![0; attributes + 1];
    for &attribute in data.attributes() {
        starts[attribute as usize + 1] += 1;
    }
    for attribute in 0..attributes {
        starts[attribute + 1] += starts[attribute];
    }
    let mut next = starts.clone();
    let mut found = vec![(0, 0.0); data.num_values()];
    for item in 0..data.num_items() {
        let label = data.labels()[item] as u16;
        for i in data.item(item) {
            let next = &mut next[data.attributes()[i] as usize];
            found[*next] = (label, data.value(i) as f32);
            *next += 1;
        }
    }
    (starts, found)
}
