//! Sequences of Python objects as the numbers of a conditional random field.

use lamina_statistics::crf::{Data, MAX_LABELS, Names};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyFrozenSet, PyList, PySet, PyString, PyTuple};

/// Items between two looks at whether a signal came.
const PATIENCE: usize = 4096;
/// How deep attributes may be nested.
const DEPTH: usize = 16;

/// The number of a label that a model does not have.
const UNKNOWN: u32 = u32::MAX;

/// Sequences, with the names of what is in them where they are their own.
#[pyclass(frozen, module = "lamina._kernels")]
pub(crate) struct CRFData {
    pub(crate) data: Data,
    pub(crate) labels: Names,
    pub(crate) attributes: Names,
}

#[pymethods]
impl CRFData {
    /// Reads sequences and their labels, whose names are added to `labels`.
    #[new]
    #[pyo3(signature = (x, y, labels, /))]
    fn new(x: &Bound<'_, PyAny>, y: &Bound<'_, PyAny>, labels: Vec<String>) -> PyResult<Self> {
        let mut names = Names::new();
        for label in &labels {
            names.add(label);
        }
        collect(x, y, names, Names::new())
    }

    /// Reads sequences, and labels where there are any, in the names of these.
    #[pyo3(signature = (x, y, /))]
    fn read(&self, x: &Bound<'_, PyAny>, y: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let data = read(x, y, &self.labels, &self.attributes)?;
        Ok(Self { data, labels: Names::new(), attributes: Names::new() })
    }

    /// Items, attributes of all items, different attributes.
    fn sizes(&self) -> (usize, usize, usize) {
        (self.data.num_items(), self.data.num_values(), self.attributes.len())
    }

    /// How many sequences there are.
    fn __len__(&self) -> usize {
        self.data.len()
    }

    /// Items of each sequence.
    fn lengths(&self) -> Vec<usize> {
        (0..self.data.len()).map(|i| self.data.sequence(i).len()).collect()
    }
}

/// Sequences and labels whose new names are added to those given.
pub(crate) fn collect(
    x: &Bound<'_, PyAny>,
    y: &Bound<'_, PyAny>,
    labels: Names,
    attributes: Names,
) -> PyResult<CRFData> {
    let mut reader = Reader::new(Growing(attributes), Growing(labels));
    reader.read(x, Some(y))?;
    let (labels, attributes) = (reader.y.0, reader.x.0);
    if labels.len() > MAX_LABELS {
        let message = format!("y: expected at most {MAX_LABELS} labels, got {}", labels.len());
        return Err(PyValueError::new_err(message));
    }
    Ok(CRFData { data: reader.data, labels, attributes })
}

/// Sequences in names that stay as they are: other attributes count for nothing, and other labels
/// have a number that no label has.
pub(crate) fn read(
    x: &Bound<'_, PyAny>,
    y: Option<&Bound<'_, PyAny>>,
    labels: &Names,
    attributes: &Names,
) -> PyResult<Data> {
    let mut reader = Reader::new(Known(attributes), Known(labels));
    reader.read(x, y)?;
    Ok(reader.data)
}

/// Gives strings their numbers.
trait Numbers {
    fn number(&mut self, name: &str) -> Option<u32>;
}

struct Growing(Names);

impl Numbers for Growing {
    fn number(&mut self, name: &str) -> Option<u32> {
        Some(self.0.add(name))
    }
}

#[derive(Clone, Copy)]
struct Known<'a>(&'a Names);

impl Numbers for Known<'_> {
    fn number(&mut self, name: &str) -> Option<u32> {
        self.0.id(name)
    }
}

struct Reader<X, Y> {
    data: Data,
    x: X,
    y: Y,
    /// The name that is being made.
    name: String,
    patience: usize,
}

impl<X: Numbers, Y: Numbers> Reader<X, Y> {
    fn new(x: X, y: Y) -> Self {
        Self { data: Data::new(), x, y, name: String::new(), patience: 0 }
    }

    fn read(&mut self, x: &Bound<'_, PyAny>, y: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let x = as_list("X", x)?;
        let y = y.map(|y| as_list("y", y)).transpose()?;
        if let Some(y) = &y
            && y.len() != x.len()
        {
            return Err(PyValueError::new_err(format!(
                "y: expected {} sequences, one for each of X, got {}",
                x.len(),
                y.len()
            )));
        }
        for (i, sequence) in x.iter().enumerate() {
            let before = self.data.num_items();
            self.sequence(i, &sequence)?;
            let count = self.data.num_items() - before;
            if let Some(y) = &y {
                self.labels(i, &y.get_item(i)?, count)?;
            }
        }
        Ok(())
    }

    fn sequence(&mut self, i: usize, sequence: &Bound<'_, PyAny>) -> PyResult<()> {
        let items = as_list(format_args!("X[{i}]"), sequence)?;
        for (t, item) in items.iter().enumerate() {
            self.item(&item).map_err(|error| match error {
                Wrong::Python(error) => error,
                Wrong::Type(what) => PyTypeError::new_err(format!("X[{i}][{t}]{what}")),
                Wrong::Value(what) => PyValueError::new_err(format!("X[{i}][{t}]{what}")),
            })?;
            self.data.end_item();
            self.patience += 1;
            if self.patience == PATIENCE {
                self.patience = 0;
                sequence.py().check_signals()?;
            }
        }
        self.data.end_sequence();
        Ok(())
    }

    fn labels(&mut self, i: usize, labels: &Bound<'_, PyAny>, count: usize) -> PyResult<()> {
        let labels = as_list(format_args!("y[{i}]"), labels)?;
        if labels.len() != count {
            return Err(PyValueError::new_err(format!(
                "y[{i}]: expected {count} labels, one for each item of X[{i}], got {}",
                labels.len()
            )));
        }
        for (t, label) in labels.iter().enumerate() {
            let Ok(label) = label.cast::<PyString>() else {
                let kind = label.get_type().name()?;
                return Err(PyTypeError::new_err(format!("y[{i}][{t}]: expected str, got {kind}")));
            };
            let number = self.y.number(label.to_str()?).unwrap_or(UNKNOWN);
            self.data.push_label(number);
        }
        Ok(())
    }

    fn item(&mut self, item: &Bound<'_, PyAny>) -> Result<(), Wrong> {
        self.name.clear();
        if let Ok(names) = item.cast::<PyDict>() {
            self.named(names, 0)
        } else if item.cast::<PyString>().is_ok() {
            Err(Wrong::Type(": expected a dict or a list of attributes, got str".into()))
        } else {
            self.listed(item)
        }
    }

    fn push(&mut self, value: f64) -> Result<(), Wrong> {
        if !value.is_finite() {
            let message = format!("[{:?}]: expected a finite number, got {value}", self.name);
            return Err(Wrong::Value(message));
        }
        if value != 0.0
            && let Some(attribute) = self.x.number(&self.name)
        {
            self.data.push(attribute, value);
        }
        Ok(())
    }

    /// Attributes of a mapping: each key, or each key with what stands under it.
    fn named(&mut self, names: &Bound<'_, PyDict>, depth: usize) -> Result<(), Wrong> {
        if depth > DEPTH {
            return Err(Wrong::Value(format!(": is nested more than {DEPTH} deep")));
        }
        let start = self.name.len();
        for (name, value) in names.iter() {
            let Ok(name) = name.cast::<PyString>() else {
                let kind = type_name(&name);
                return Err(Wrong::Type(format!(": expected names of type str, got {kind}")));
            };
            self.name.push_str(name.to_str()?);
            self.valued(&value, depth)?;
            self.name.truncate(start);
        }
        Ok(())
    }

    /// The attribute whose name was begun, with what stands under it.
    fn valued(&mut self, value: &Bound<'_, PyAny>, depth: usize) -> Result<(), Wrong> {
        if let Ok(text) = value.cast::<PyString>() {
            self.name.push(':');
            self.name.push_str(text.to_str()?);
            return self.push(1.0);
        }
        if let Ok(number) = value.cast::<PyFloat>() {
            return self.push(number.value());
        }
        if let Ok(flag) = value.cast::<PyBool>() {
            return self.push(if flag.is_true() { 1.0 } else { 0.0 });
        }
        if let Ok(names) = value.cast::<PyDict>() {
            self.name.push(':');
            return self.named(names, depth + 1);
        }
        let nested = value.cast::<PyList>().is_ok() || value.cast::<PyTuple>().is_ok();
        if nested || value.cast::<PySet>().is_ok() || value.cast::<PyFrozenSet>().is_ok() {
            self.name.push(':');
            return self.listed(value);
        }
        match value.extract::<f64>() {
            Ok(number) => self.push(number),
            Err(_) => Err(Wrong::Type(format!(
                "[{:?}]: expected a number, a string, a bool, a list or a dict, got {}",
                self.name,
                type_name(value)
            ))),
        }
    }

    /// Attributes of a list: strings, or pairs of a string and a number.
    fn listed(&mut self, names: &Bound<'_, PyAny>) -> Result<(), Wrong> {
        let start = self.name.len();
        if let Ok(names) = names.cast::<PyList>() {
            for name in names.iter() {
                self.element(&name, start)?;
            }
            return Ok(());
        }
        let Ok(iterator) = names.try_iter() else {
            let kind = type_name(names);
            return Err(Wrong::Type(format!(
                ": expected a dict or a list of attributes, got {kind}"
            )));
        };
        for name in iterator {
            self.element(&name?, start)?;
        }
        Ok(())
    }

    fn element(&mut self, name: &Bound<'_, PyAny>, start: usize) -> Result<(), Wrong> {
        self.name.truncate(start);
        if let Ok(name) = name.cast::<PyString>() {
            self.name.push_str(name.to_str()?);
            return self.push(1.0);
        }
        let Ok((text, value)) = name.extract::<(Bound<'_, PyString>, f64)>() else {
            let kind = type_name(name);
            return Err(Wrong::Type(format!(
                ": expected strings or pairs of a string and a number, got {kind}"
            )));
        };
        self.name.push_str(text.to_str()?);
        self.push(value)
    }
}

/// Why an item cannot be read; what it says follows the place of the item.
enum Wrong {
    Python(PyErr),
    Type(String),
    Value(String),
}

impl From<PyErr> for Wrong {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

fn type_name(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map_or_else(|_| "?".into(), |name| name.to_string())
}

/// Anything that can be iterated over, but a string, as a list.
fn as_list<'py>(
    what: impl std::fmt::Display,
    object: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyList>> {
    if let Ok(list) = object.cast::<PyList>() {
        return Ok(list.clone());
    }
    if object.cast::<PyString>().is_ok() || object.cast::<PyDict>().is_ok() {
        let kind = type_name(object);
        return Err(PyTypeError::new_err(format!("{what}: expected a list, got {kind}")));
    }
    let list = PyList::empty(object.py());
    let Ok(iterator) = object.try_iter() else {
        let kind = type_name(object);
        return Err(PyTypeError::new_err(format!("{what}: expected a list, got {kind}")));
    };
    for element in iterator {
        list.append(element?)?;
    }
    Ok(list)
}
