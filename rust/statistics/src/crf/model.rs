//! A fitted model: names, places and weights.

use super::features::check_labels;
use super::{Data, Features, Names};
use crate::{Error, Result};

/// Names of labels and attributes, and the weights that tie them together.
#[derive(Debug, Clone)]
pub struct Model {
    /// Names of the labels.
    pub labels: Names,
    /// Names of the attributes.
    pub attributes: Names,
    /// Which weights there are.
    pub features: Features,
    /// The weights in their places.
    pub weights: Vec<f64>,
}

/// The arrays of a model, as they are stored.
#[derive(Debug, Clone, Default)]
pub struct Arrays {
    /// Where the weights of each attribute end.
    pub ends: Vec<i64>,
    /// Label of each weight.
    pub labels: Vec<u16>,
    /// The weights.
    pub weights: Vec<f64>,
    /// Weights `[L, L]` of labels after another.
    pub transitions: Vec<f64>,
    /// Whether there is such a weight.
    pub present: Vec<bool>,
}

impl Model {
    /// Labels of these names and no weights.
    pub fn empty(labels: Names) -> Result<Self> {
        check_labels(labels.len())?;
        let square = labels.len().saturating_mul(labels.len());
        let features = Features::from_lists(labels.len(), &[], &[], vec![false; square])?;
        let weights = vec![0.0; features.len()];
        Ok(Self { labels, attributes: Names::new(), features, weights })
    }

    /// From stored arrays.
    pub fn from_arrays(labels: Names, attributes: Names, arrays: &Arrays) -> Result<Self> {
        let format = |reason: String| Error::Format { what: "CRF".into(), line: 0, reason };
        if labels.is_empty() {
            return Err(format("expected at least one label, got none".into()));
        }
        let (count, square) = (attributes.len(), labels.len().saturating_mul(labels.len()));
        if arrays.ends.len() != count {
            let got = arrays.ends.len();
            return Err(format(format!("expected the ends of {count} attributes, got {got}")));
        }
        if arrays.labels.len() != arrays.weights.len() {
            let (labels, weights) = (arrays.labels.len(), arrays.weights.len());
            return Err(format(format!("{labels} labels of weights, but {weights} weights")));
        }
        if arrays.transitions.len() != square || arrays.present.len() != square {
            let got = (arrays.transitions.len(), arrays.present.len());
            return Err(format(format!("expected {square} transitions, got {got:?}")));
        }
        if arrays.weights.iter().chain(&arrays.transitions).any(|weight| !weight.is_finite()) {
            return Err(format("a weight is not a finite number".into()));
        }
        let mut ends = Vec::with_capacity(count);
        let mut start = 0;
        for &end in &arrays.ends {
            let end = usize::try_from(end).unwrap_or(usize::MAX);
            if end < start || end > arrays.labels.len() {
                return Err(format(format!("weights end at {end}, outside of what is there")));
            }
            let row = &arrays.labels[start..end];
            if row.windows(2).any(|pair| pair[0] >= pair[1]) {
                return Err(format("the labels of an attribute do not rise".into()));
            }
            if row.last().is_some_and(|&label| label as usize >= labels.len()) {
                return Err(format(format!("expected labels below {}", labels.len())));
            }
            ends.push(end);
            start = end;
        }
        if start != arrays.labels.len() {
            return Err(format(format!(
                "weights end at {start}, expected {}",
                arrays.labels.len()
            )));
        }
        let present = arrays.present.clone();
        let features = Features::from_lists(labels.len(), &ends, &arrays.labels, present)?;
        let mut weights = vec![0.0; features.len()];
        for attribute in 0..count {
            let from = if attribute == 0 { 0 } else { ends[attribute - 1] };
            for (i, (_, place)) in features.of(attribute).enumerate() {
                weights[place] = arrays.weights[from + i];
            }
        }
        let there = arrays.transitions.iter().zip(&arrays.present);
        let square = features.square();
        for (weight, (&transition, &present)) in weights[square..].iter_mut().zip(there) {
            *weight = if present { transition } else { 0.0 };
        }
        Ok(Self { labels, attributes, features, weights })
    }

    /// The arrays to be stored.
    pub fn arrays(&self) -> Arrays {
        let mut arrays = Arrays::default();
        for attribute in 0..self.attributes.len() {
            for (label, place) in self.features.of(attribute) {
                arrays.labels.push(label);
                arrays.weights.push(self.weights[place]);
            }
            arrays.ends.push(arrays.labels.len() as i64);
        }
        arrays.transitions = self.transitions().to_vec();
        arrays.present = self.features.transitions().to_vec();
        arrays
    }

    /// Weights `[L, L]` of labels after another.
    pub fn transitions(&self) -> &[f64] {
        &self.weights[self.features.square()..]
    }

    /// The same model without weights of zero, and without attributes that have no others.
    pub fn pruned(&self) -> Result<Self> {
        let mut attributes = Names::new();
        let mut arrays = Arrays::default();
        for (id, name) in self.attributes.iter().enumerate() {
            let before = arrays.labels.len();
            for (label, place) in self.features.of(id) {
                if self.weights[place] != 0.0 {
                    arrays.labels.push(label);
                    arrays.weights.push(self.weights[place]);
                }
            }
            if arrays.labels.len() > before {
                attributes.add(name);
                arrays.ends.push(arrays.labels.len() as i64);
            }
        }
        arrays.transitions = self.transitions().to_vec();
        arrays.present = arrays.transitions.iter().map(|&weight| weight != 0.0).collect();
        Self::from_arrays(self.labels.clone(), attributes, &arrays)
    }

    /// This model with the weights that `data` call for besides, at zero; `values` in places of this
    /// one, such as a history of the weights, go with them.
    ///
    /// `labels` and `attributes` begin with those of this model.
    pub fn extended(
        &self,
        labels: Names,
        attributes: Names,
        data: &Data,
        values: &[f64],
    ) -> Result<(Self, Vec<f64>)> {
        if labels.len() < self.labels.len() || attributes.len() < self.attributes.len() {
            let message = "expected names that begin with those of the model";
            return Err(Error::value("crf_adapt", "x", message));
        }
        let fresh = Features::new(data, attributes.len(), labels.len(), 0.0, false, false)?;
        let (mut ends, mut list) = (Vec::new(), Vec::new());
        for attribute in 0..attributes.len() {
            let start = list.len();
            list.extend(fresh.of(attribute).map(|(label, _)| label));
            if attribute < self.attributes.len() {
                list.extend(self.features.of(attribute).map(|(label, _)| label));
                list[start..].sort_unstable();
                let mut kept = start;
                for i in start..list.len() {
                    if i == start || list[i] != list[kept - 1] {
                        list[kept] = list[i];
                        kept += 1;
                    }
                }
                list.truncate(kept);
            }
            ends.push(list.len());
        }
        let (count, old) = (labels.len(), self.labels.len());
        let mut present = fresh.transitions().to_vec();
        for i in 0..old {
            for j in 0..old {
                present[i * count + j] |= self.features.transitions()[i * old + j];
            }
        }
        let features = Features::from_lists(count, &ends, &list, present)?;
        let (mut weights, mut moved) = (vec![0.0; features.len()], vec![0.0; features.len()]);
        let mut carry = |from: usize, to: usize| {
            weights[to] = self.weights[from];
            moved[to] = values.get(from).copied().unwrap_or(0.0);
        };
        for attribute in 0..self.attributes.len() {
            for (label, from) in self.features.of(attribute) {
                if let Some(to) = features.place(attribute, label) {
                    carry(from, to);
                }
            }
        }
        let (from, to) = (self.features.square(), features.square());
        for i in 0..old {
            for j in 0..old {
                carry(from + i * old + j, to + i * count + j);
            }
        }
        Ok((Self { labels, attributes, features, weights }, moved))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_without_labels_is_refused() {
        let error = Model::from_arrays(Names::new(), Names::new(), &Arrays::default());
        let message = error.unwrap_err().to_string();
        assert!(message.ends_with("expected at least one label, got none"), "{message}");
    }
}
