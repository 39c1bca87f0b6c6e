//! Linear-chain conditional random fields.

use std::sync::{Mutex, PoisonError};

use lamina_statistics::crf::model::Arrays;
use lamina_statistics::crf::tag::Tagger;
use lamina_statistics::crf::{self, Algorithm, Features, Iteration, Model, Names, Options, layer};
use ndarray::{Array2, Ix1, Ix2, Ix3};
use numpy::{IntoPyArray, PyArray1, PyArray2};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};

use crate::convert::{array, by_dtype, enter, interrupted};
use crate::crf_data::{CRFData, collect, read};

const KERNEL: &str = "crf";

/// What [`CRFModel::train`] takes besides its data, by name.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Settings {
    algorithm: String,
    min_freq: f64,
    all_possible_states: bool,
    all_possible_transitions: bool,
    c1: f64,
    c2: f64,
    max_iterations: usize,
    num_memories: usize,
    epsilon: f64,
    period: usize,
    delta: f64,
    max_linesearch: usize,
    batch_size: usize,
    calibration_eta: f64,
    calibration_rate: f64,
    calibration_samples: usize,
    calibration_candidates: usize,
    calibration_max_trials: usize,
    pa_type: usize,
    c: f64,
    error_sensitive: bool,
    averaging: bool,
    variance: f64,
    gamma: f64,
    seed: u64,
}

impl Settings {
    fn options(&self) -> lamina_kernels::Result<Options> {
        Ok(Options {
            algorithm: Algorithm::parse(&self.algorithm)?,
            c1: self.c1,
            c2: self.c2,
            max_iterations: self.max_iterations,
            num_memories: self.num_memories,
            epsilon: self.epsilon,
            period: self.period,
            delta: self.delta,
            max_linesearch: self.max_linesearch,
            batch_size: self.batch_size,
            calibration_eta: self.calibration_eta,
            calibration_rate: self.calibration_rate,
            calibration_samples: self.calibration_samples,
            calibration_candidates: self.calibration_candidates,
            calibration_max_trials: self.calibration_max_trials,
            pa_type: self.pa_type,
            c: self.c,
            error_sensitive: self.error_sensitive,
            averaging: self.averaging,
            variance: self.variance,
            gamma: self.gamma,
            seed: self.seed,
        })
    }
}

fn row<'py>(py: Python<'py>, iteration: &Iteration) -> PyResult<Bound<'py, PyDict>> {
    let row = PyDict::new(py);
    row.set_item("iteration", iteration.number)?;
    row.set_item("loss", iteration.loss)?;
    row.set_item("feature_norm", iteration.feature_norm)?;
    row.set_item("error_norm", iteration.error_norm)?;
    row.set_item("active_features", iteration.active)?;
    row.set_item("step", iteration.step)?;
    row.set_item("evaluations", iteration.evaluations)?;
    row.set_item("seconds", iteration.seconds)?;
    if let Some((items, sequences)) = iteration.holdout {
        row.set_item("dev_accuracy", items)?;
        row.set_item("dev_sequence_accuracy", sequences)?;
    }
    Ok(row)
}

/// A fitted conditional random field.
#[pyclass(frozen, module = "lamina._kernels")]
pub(crate) struct CRFModel {
    model: Model,
}

type Parts<'py> = (
    Bound<'py, PyArray1<u8>>,
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyArray1<u8>>,
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyArray1<u16>>,
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray1<bool>>,
);

#[pymethods]
impl CRFModel {
    /// Labels without weights.
    #[new]
    #[pyo3(signature = (labels, /))]
    fn new(py: Python<'_>, labels: Vec<String>) -> PyResult<Self> {
        let mut names = Names::new();
        for label in &labels {
            names.add(label);
        }
        enter(py, KERNEL, 0, || Model::empty(names)).map(|model| Self { model })
    }

    /// Fits a model; `report` gets a row of figures after each iteration and ends the training
    /// where it returns `False`.
    #[staticmethod]
    #[pyo3(signature = (data, holdout, settings, report, /))]
    fn train(
        py: Python<'_>,
        data: &CRFData,
        holdout: Option<&CRFData>,
        settings: Settings,
        report: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let report = report.clone().unbind();
        let raised: Mutex<Option<PyErr>> = Mutex::new(None);
        let mut call = |iteration: &Iteration| {
            let called = Python::attach(|py| -> PyResult<bool> {
                let answer = report.bind(py).call1((row(py, iteration)?,))?;
                Ok(answer.is_none() || answer.is_truthy()?)
            });
            called.unwrap_or_else(|error| {
                *raised.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                false
            })
        };
        let model = enter(py, KERNEL, usize::MAX, || {
            let options = settings.options()?;
            let features = Features::new(
                &data.data,
                data.attributes.len(),
                data.labels.len(),
                settings.min_freq,
                settings.all_possible_states,
                settings.all_possible_transitions,
            )?;
            let start = vec![0.0; features.len()];
            let holdout = holdout.map(|holdout| &holdout.data);
            let train = crf::train::train;
            let weights =
                train(&data.data, holdout, &features, start, &options, &mut call, &interrupted)?;
            let (labels, attributes) = (data.labels.clone(), data.attributes.clone());
            Model { labels, attributes, features, weights }.pruned()
        })?;
        match raised.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(Self { model }),
        }
    }

    /// Reads sequences and labels, whose names are added to those of the model.
    #[pyo3(signature = (x, y, /))]
    fn collect(&self, x: &Bound<'_, PyAny>, y: &Bound<'_, PyAny>) -> PyResult<CRFData> {
        collect(x, y, self.model.labels.clone(), self.model.attributes.clone())
    }

    /// Reads sequences, and labels where there are any, in the names of the model.
    #[pyo3(signature = (x, y=None, /))]
    fn read(&self, x: &Bound<'_, PyAny>, y: Option<&Bound<'_, PyAny>>) -> PyResult<CRFData> {
        let data = read(x, y, &self.model.labels, &self.model.attributes)?;
        Ok(CRFData { data, labels: Names::new(), attributes: Names::new() })
    }

    /// One pass over what `collect` read: the model it leads to, the history of its gradients,
    /// and the mean loss of a sequence.
    #[pyo3(signature = (data, squares, rate, batch_size, /))]
    fn adapt<'py>(
        &self,
        py: Python<'py>,
        data: &CRFData,
        squares: &Bound<'py, PyAny>,
        rate: f64,
        batch_size: usize,
    ) -> PyResult<(Self, Bound<'py, PyArray1<f64>>, f64)> {
        let squares = array::<f64, Ix1>("squares", squares)?;
        let squares = squares.c_order()?;
        let squares = squares.as_slice().unwrap_or_default();
        let (model, squares, loss) = enter(py, KERNEL, usize::MAX, || {
            let (labels, attributes) = (data.labels.clone(), data.attributes.clone());
            let (mut model, mut squares) =
                self.model.extended(labels, attributes, &data.data, squares)?;
            let Model { features, weights, .. } = &mut model;
            let found = crf::adapt(
                &data.data,
                features,
                weights,
                &mut squares,
                rate,
                batch_size,
                &interrupted,
            );
            Ok((model, squares, found?))
        })?;
        Ok((Self { model }, squares.into_pyarray(py), loss))
    }

    /// Labels of each sequence.
    #[pyo3(signature = (data, /))]
    fn tag<'py>(&self, py: Python<'py>, data: &CRFData) -> PyResult<Bound<'py, PyList>> {
        let (found, _) = enter(py, KERNEL, data.data.num_values() * 10, || {
            Tagger::new(&self.model).best(&data.data)
        })?;
        let names = self.names(py);
        let rows = PyList::empty(py);
        for i in 0..data.data.len() {
            rows.append(spelled(py, &names, &found[data.data.sequence(i)])?)?;
        }
        Ok(rows)
    }

    /// The best few labellings of each sequence, each with its log-probability.
    #[pyo3(signature = (data, count, /))]
    fn best_few<'py>(
        &self,
        py: Python<'py>,
        data: &CRFData,
        count: usize,
    ) -> PyResult<Vec<Vec<(Bound<'py, PyList>, f64)>>> {
        let found =
            enter(py, KERNEL, usize::MAX, || Tagger::new(&self.model).best_few(&data.data, count))?;
        let names = self.names(py);
        let sequence = |(few, log): (Vec<(f64, Vec<u32>)>, f64)| {
            let one =
                |(score, labels): (f64, Vec<u32>)| Ok((spelled(py, &names, &labels)?, score - log));
            few.into_iter().map(one).collect::<PyResult<Vec<_>>>()
        };
        found.into_iter().map(sequence).collect()
    }

    /// Probabilities `[items, L]` of labels, and the logarithm of Z of each sequence.
    #[pyo3(signature = (data, /))]
    fn marginals<'py>(
        &self,
        py: Python<'py>,
        data: &CRFData,
    ) -> PyResult<(Bound<'py, PyArray2<f64>>, Bound<'py, PyArray1<f64>>)> {
        let (found, logs) = enter(py, KERNEL, data.data.num_values() * 20, || {
            Tagger::new(&self.model).marginals(&data.data)
        })?;
        let shape = (data.data.num_items(), self.model.labels.len());
        let found = Array2::from_shape_vec(shape, found)
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok((found.into_pyarray(py), logs.into_pyarray(py)))
    }

    /// Score of the labels of each sequence; less the logarithm of Z, their log-probability.
    #[pyo3(signature = (data, /))]
    fn scores<'py>(&self, py: Python<'py>, data: &CRFData) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let found = enter(py, KERNEL, data.data.num_values() * 10, || {
            Tagger::new(&self.model).scores(&data.data)
        })?;
        Ok(found.into_pyarray(py))
    }

    /// Share of right items and of right sequences.
    #[pyo3(signature = (data, /))]
    fn accuracy(&self, py: Python<'_>, data: &CRFData) -> PyResult<(f64, f64)> {
        enter(py, KERNEL, data.data.num_values() * 10, || {
            Tagger::new(&self.model).accuracy(&data.data)
        })
    }

    /// The labels.
    fn labels(&self) -> Vec<&str> {
        self.model.labels.iter().collect()
    }

    /// The attributes.
    fn attributes(&self) -> Vec<&str> {
        self.model.attributes.iter().collect()
    }

    /// Everything as arrays: text and ends of labels and of attributes, ends of the weights of
    /// each attribute, their labels, the weights, those of transitions, and which of these exist.
    fn parts<'py>(&self, py: Python<'py>) -> Parts<'py> {
        let arrays = self.model.arrays();
        let names = |names: &Names| {
            let (text, ends) = names.parts();
            let ends: Vec<i64> = ends.iter().map(|&end| end as i64).collect();
            (text.as_bytes().to_vec().into_pyarray(py), ends.into_pyarray(py))
        };
        let (labels, label_ends) = names(&self.model.labels);
        let (attributes, attribute_ends) = names(&self.model.attributes);
        (
            labels,
            label_ends,
            attributes,
            attribute_ends,
            arrays.ends.into_pyarray(py),
            arrays.labels.into_pyarray(py),
            arrays.weights.into_pyarray(py),
            arrays.transitions.into_pyarray(py),
            arrays.present.into_pyarray(py),
        )
    }

    /// The model of the arrays that `parts` gave.
    #[staticmethod]
    #[pyo3(signature = (
        label_text, label_ends, attribute_text, attribute_ends, ends, labels, weights, transitions,
        present, /
    ))]
    fn from_parts(
        py: Python<'_>,
        label_text: &Bound<'_, PyAny>,
        label_ends: &Bound<'_, PyAny>,
        attribute_text: &Bound<'_, PyAny>,
        attribute_ends: &Bound<'_, PyAny>,
        ends: &Bound<'_, PyAny>,
        labels: &Bound<'_, PyAny>,
        weights: &Bound<'_, PyAny>,
        transitions: &Bound<'_, PyAny>,
        present: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let label_text = array::<u8, Ix1>("label_text", label_text)?.c_order()?.to_vec();
        let label_ends = array::<i64, Ix1>("label_ends", label_ends)?.c_order()?.to_vec();
        let text = array::<u8, Ix1>("attribute_text", attribute_text)?.c_order()?.to_vec();
        let text_ends = array::<i64, Ix1>("attribute_ends", attribute_ends)?.c_order()?.to_vec();
        let arrays = Arrays {
            ends: array::<i64, Ix1>("ends", ends)?.c_order()?.to_vec(),
            labels: array::<u16, Ix1>("labels", labels)?.c_order()?.to_vec(),
            weights: array::<f64, Ix1>("weights", weights)?.c_order()?.to_vec(),
            transitions: array::<f64, Ix1>("transitions", transitions)?.c_order()?.to_vec(),
            present: array::<bool, Ix1>("present", present)?.c_order()?.to_vec(),
        };
        enter(py, KERNEL, usize::MAX, || {
            let labels = Names::from_parts("labels", &label_text, &label_ends)?;
            let attributes = Names::from_parts("attributes", &text, &text_ends)?;
            Model::from_arrays(labels, attributes, &arrays)
        })
        .map(|model| Self { model })
    }
}

impl CRFModel {
    fn names<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyString>> {
        self.model.labels.iter().map(|name| PyString::new(py, name)).collect()
    }
}

fn spelled<'py>(
    py: Python<'py>,
    names: &[Bound<'py, PyString>],
    labels: &[u32],
) -> PyResult<Bound<'py, PyList>> {
    PyList::new(py, labels.iter().map(|&label| &names[label as usize]))
}

/// Log-likelihood `[N]` of tags `[N, L]` and, where asked for, the gradients of emissions
/// `[N, L, C]` and of transitions `[N, C, C]` for a gradient of 1.
#[pyfunction]
#[pyo3(signature = (emissions, tags, lengths, start, end, transitions, gradient, /))]
pub(crate) fn crf_forward<'py>(
    py: Python<'py>,
    emissions: &Bound<'py, PyAny>,
    tags: &Bound<'py, PyAny>,
    lengths: &Bound<'py, PyAny>,
    start: &Bound<'py, PyAny>,
    end: &Bound<'py, PyAny>,
    transitions: &Bound<'py, PyAny>,
    gradient: bool,
) -> PyResult<(Bound<'py, PyAny>, Option<(Bound<'py, PyAny>, Bound<'py, PyAny>)>)> {
    let tags = array::<i64, Ix2>("tags", tags)?;
    let lengths = array::<i64, Ix1>("lengths", lengths)?;
    by_dtype!(emissions, T => {
        let emissions = array::<T, Ix3>("emissions", emissions)?;
        let (start, end) =
            (array::<T, Ix1>("start_transitions", start)?, array::<T, Ix1>("end_transitions", end)?);
        let transitions = array::<T, Ix2>("transitions", transitions)?;
        let (tags, scores) = (tags.strided(), layer::Scores {
            emissions: emissions.strided(),
            lengths: lengths.strided(),
            start: start.strided(),
            end: end.strided(),
            transitions: transitions.strided(),
        });
        let cost = scores.emissions.len() * 20;
        let found = enter(py, KERNEL, cost, || layer::forward(&scores, tags, gradient))?;
        let gradients = found.gradients.map(|(states, pairs)| {
            (states.into_pyarray(py).into_any(), pairs.into_pyarray(py).into_any())
        });
        Ok((found.values.into_pyarray(py).into_any(), gradients))
    })
}

/// The best tags of each sequence, one sequence after the other, and their scores `[N]`.
#[pyfunction]
#[pyo3(signature = (emissions, lengths, start, end, transitions, /))]
pub(crate) fn crf_decode<'py>(
    py: Python<'py>,
    emissions: &Bound<'py, PyAny>,
    lengths: &Bound<'py, PyAny>,
    start: &Bound<'py, PyAny>,
    end: &Bound<'py, PyAny>,
    transitions: &Bound<'py, PyAny>,
) -> PyResult<(Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<f64>>)> {
    let lengths = array::<i64, Ix1>("lengths", lengths)?;
    by_dtype!(emissions, T => {
        let emissions = array::<T, Ix3>("emissions", emissions)?;
        let (start, end) =
            (array::<T, Ix1>("start_transitions", start)?, array::<T, Ix1>("end_transitions", end)?);
        let transitions = array::<T, Ix2>("transitions", transitions)?;
        let scores = layer::Scores {
            emissions: emissions.strided(),
            lengths: lengths.strided(),
            start: start.strided(),
            end: end.strided(),
            transitions: transitions.strided(),
        };
        let cost = scores.emissions.len() * 20;
        let (tags, scores) = enter(py, KERNEL, cost, || layer::decode(&scores))?;
        Ok((tags.into_pyarray(py), scores.into_pyarray(py)))
    })
}
