//! Sequences of items, each with attributes and perhaps a label, as compressed rows.

use std::ops::Range;

use crate::{Error, Result};

/// Items one after the other.
#[derive(Debug, Clone, Default)]
pub struct Data {
    /// Where each sequence ends, in items.
    ends: Vec<usize>,
    /// Where the attributes of each item end.
    item_ends: Vec<usize>,
    /// Numbers of the attributes.
    attributes: Vec<u32>,
    /// Their values; empty where all are 1.
    values: Vec<f64>,
    /// Number of the label of each item; empty where there are none.
    labels: Vec<u32>,
}

impl Data {
    /// No sequences yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an attribute to the item that is being made.
    #[inline]
    pub fn push(&mut self, attribute: u32, value: f64) {
        if value != 1.0 && self.values.is_empty() {
            self.values = vec![1.0; self.attributes.len()];
            self.values.push(value);
        } else if !self.values.is_empty() {
            self.values.push(value);
        }
        self.attributes.push(attribute);
        // An empty list of values says that all are 1, so the first attribute needs no care.
    }

    /// Ends the item that is being made.
    pub fn end_item(&mut self) {
        self.item_ends.push(self.attributes.len());
    }

    /// Ends the sequence that is being made.
    pub fn end_sequence(&mut self) {
        self.ends.push(self.item_ends.len());
    }

    /// Adds the label of an item, in the order of the items.
    pub fn push_label(&mut self, label: u32) {
        self.labels.push(label);
    }

    /// How many sequences there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many items there are.
    pub fn num_items(&self) -> usize {
        self.item_ends.len()
    }

    /// How many attributes all items have together.
    pub fn num_values(&self) -> usize {
        self.attributes.len()
    }

    /// Whether every item has a label.
    pub fn is_labelled(&self) -> bool {
        self.labels.len() == self.item_ends.len()
    }

    /// Labels of all items.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The items of sequence `i`.
    pub fn sequence(&self, i: usize) -> Range<usize> {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        start..self.ends[i]
    }

    /// Where the attributes of item `i` lie.
    #[inline(always)]
    pub fn item(&self, i: usize) -> Range<usize> {
        let start = if i == 0 { 0 } else { self.item_ends[i - 1] };
        start..self.item_ends[i]
    }

    /// Numbers of attributes.
    #[inline(always)]
    pub fn attributes(&self) -> &[u32] {
        &self.attributes
    }

    /// Values of attributes; empty where all are 1.
    #[inline(always)]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The value at `i`.
    #[inline(always)]
    pub fn value(&self, i: usize) -> f64 {
        if self.values.is_empty() { 1.0 } else { self.values[i] }
    }

    /// Longest sequence of `range`, in items.
    pub fn longest(&self, range: Range<usize>) -> usize {
        range.map(|i| self.sequence(i).len()).max().unwrap_or(0)
    }

    /// Fails unless every item has a label below `labels` and every attribute lies below
    /// `attributes`.
    pub fn check(&self, op: &'static str, attributes: usize, labels: usize) -> Result<()> {
        if !self.is_labelled() {
            let message =
                format!("expected {} labels, got {}", self.num_items(), self.labels.len());
            return Err(Error::value(op, "y", message));
        }
        if let Some(label) = self.labels.iter().find(|&&label| label as usize >= labels) {
            return Err(Error::value(
                op,
                "y",
                format!("expected labels below {labels}, got {label}"),
            ));
        }
        let most = self.attributes.iter().max().map_or(0, |&most| most as usize + 1);
        if most > attributes {
            let message = format!("expected attributes below {attributes}, got {}", most - 1);
            return Err(Error::value(op, "x", message));
        }
        Ok(())
    }
}
