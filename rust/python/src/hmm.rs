//! Hidden Markov models.

use lamina_statistics::hmm::emission::{self, Products, Spread};
use lamina_statistics::hmm::{self, Chain, Emissions, Trigrams, Want};
use ndarray::{Array2, Ix1, Ix2, Ix3};
use numpy::{IntoPyArray, PyArray1, PyArray2};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::convert::{array, enter, interrupted, optional};

const KERNEL: &str = "hmm";

fn matrix<T>(rows: usize, columns: usize, values: Vec<T>) -> PyResult<Array2<T>> {
    Array2::from_shape_vec((rows, columns), values)
        .map_err(|error| PyValueError::new_err(error.to_string()))
}

fn lengths_of(lengths: &Bound<'_, PyAny>) -> PyResult<Vec<usize>> {
    let lengths = array::<i64, Ix1>("lengths", lengths)?;
    let lengths = lengths.c_order()?;
    lengths
        .iter()
        .map(|&length| {
            usize::try_from(length).map_err(|_| {
                let message = format!("lengths: expected numbers from 0 on, got {length}");
                PyValueError::new_err(message)
            })
        })
        .collect()
}

type Expected<'py> = (
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray2<f64>>,
    Bound<'py, PyArray2<f64>>,
    Bound<'py, PyArray2<f64>>,
);

/// Log-likelihoods `[N]`; where `want` is 2 the expected counts of first states `[S]`, transitions
/// `[S, S]` and symbols `[V, S]`; where it is 1, or 2 without `symbols`, posteriors `[T, S]`.
///
/// `emissions` are probabilities `[V, S]` of symbols, or without `symbols` log-likelihoods `[T, S]`.
#[pyfunction]
#[pyo3(signature = (start, trans, emissions, symbols, lengths, weights, want, /))]
pub(crate) fn hmm_expect<'py>(
    py: Python<'py>,
    start: &Bound<'py, PyAny>,
    trans: &Bound<'py, PyAny>,
    emissions: &Bound<'py, PyAny>,
    symbols: Option<&Bound<'py, PyAny>>,
    lengths: &Bound<'py, PyAny>,
    weights: Option<&Bound<'py, PyAny>>,
    want: u8,
) -> PyResult<Expected<'py>> {
    let start = array::<f64, Ix1>("start", start)?;
    let trans = array::<f64, Ix2>("trans", trans)?;
    let emissions = array::<f64, Ix2>("emissions", emissions)?;
    let symbols = optional::<u32, Ix1>("symbols", symbols)?;
    let weights = optional::<f64, Ix1>("weights", weights)?;
    let lengths = lengths_of(lengths)?;
    let (start, trans, emissions) = (start.c_order()?, trans.c_order()?, emissions.c_order()?);
    let symbols = symbols.as_ref().map(|symbols| symbols.c_order()).transpose()?;
    let weights = weights.as_ref().map(|weights| weights.c_order()).transpose()?;
    let chain = Chain {
        start: start.as_slice().unwrap_or_default(),
        trans: trans.as_slice().unwrap_or_default(),
    };
    let values = emissions.as_slice().unwrap_or_default();
    let emissions = match &symbols {
        Some(symbols) => Emissions::Table(values, symbols.as_slice().unwrap_or_default()),
        None => Emissions::Frames(values),
    };
    let weights = weights.as_ref().map(|weights| weights.as_slice().unwrap_or_default());
    let want = match want {
        0 => Want::Score,
        1 => Want::Posteriors,
        _ => Want::Counts,
    };
    let found = enter(py, KERNEL, usize::MAX, || {
        hmm::expect(chain, emissions, &lengths, weights, want, &interrupted)
    })?;
    let states = chain.start.len();
    let rows = |values: &Vec<f64>| values.len() / states;
    Ok((
        found.log_likelihoods.into_pyarray(py),
        found.start.into_pyarray(py),
        matrix(rows(&found.trans), states, found.trans)?.into_pyarray(py),
        matrix(rows(&found.symbols), states, found.symbols)?.into_pyarray(py),
        matrix(rows(&found.posteriors), states, found.posteriors)?.into_pyarray(py),
    ))
}

/// Log-probabilities `[N]` of the most likely paths, and these, `[T]`. `emissions` are logarithms,
/// `[V, S]` of symbols or without `symbols` `[T, S]`.
#[pyfunction]
#[pyo3(signature = (start, trans, emissions, symbols, lengths, /))]
pub(crate) fn hmm_decode<'py>(
    py: Python<'py>,
    start: &Bound<'py, PyAny>,
    trans: &Bound<'py, PyAny>,
    emissions: &Bound<'py, PyAny>,
    symbols: Option<&Bound<'py, PyAny>>,
    lengths: &Bound<'py, PyAny>,
) -> PyResult<(Bound<'py, PyArray1<f64>>, Bound<'py, PyArray1<u32>>)> {
    let start = array::<f64, Ix1>("start", start)?;
    let trans = array::<f64, Ix2>("trans", trans)?;
    let emissions = array::<f64, Ix2>("emissions", emissions)?;
    let symbols = optional::<u32, Ix1>("symbols", symbols)?;
    let lengths = lengths_of(lengths)?;
    let (start, trans, emissions) = (start.c_order()?, trans.c_order()?, emissions.c_order()?);
    let symbols = symbols.as_ref().map(|symbols| symbols.c_order()).transpose()?;
    let chain = Chain {
        start: start.as_slice().unwrap_or_default(),
        trans: trans.as_slice().unwrap_or_default(),
    };
    let values = emissions.as_slice().unwrap_or_default();
    let emissions = match &symbols {
        Some(symbols) => Emissions::Table(values, symbols.as_slice().unwrap_or_default()),
        None => Emissions::Frames(values),
    };
    let paths =
        enter(py, KERNEL, usize::MAX, || hmm::decode(chain, emissions, &lengths, &interrupted))?;
    Ok((paths.log_probs.into_pyarray(py), paths.states.into_pyarray(py)))
}

/// Log-probability of each symbol given those before it, `[T]`, and the probabilities of the states
/// after the last one of each sequence, `[N, S]`.
#[pyfunction]
#[pyo3(signature = (start, trans, table, symbols, lengths, /))]
pub(crate) fn hmm_filter<'py>(
    py: Python<'py>,
    start: &Bound<'py, PyAny>,
    trans: &Bound<'py, PyAny>,
    table: &Bound<'py, PyAny>,
    symbols: &Bound<'py, PyAny>,
    lengths: &Bound<'py, PyAny>,
) -> PyResult<(Bound<'py, PyArray1<f64>>, Bound<'py, PyArray2<f64>>)> {
    let start = array::<f64, Ix1>("start", start)?;
    let trans = array::<f64, Ix2>("trans", trans)?;
    let table = array::<f64, Ix2>("table", table)?;
    let symbols = array::<u32, Ix1>("symbols", symbols)?;
    let lengths = lengths_of(lengths)?;
    let (start, trans) = (start.c_order()?, trans.c_order()?);
    let (table, symbols) = (table.c_order()?, symbols.c_order()?);
    let chain = Chain {
        start: start.as_slice().unwrap_or_default(),
        trans: trans.as_slice().unwrap_or_default(),
    };
    let table = table.as_slice().unwrap_or_default();
    let symbols = symbols.as_slice().unwrap_or_default();
    let found = enter(py, KERNEL, usize::MAX, || {
        hmm::filter(chain, table, symbols, &lengths, &interrupted)
    })?;
    let states = matrix(lengths.len(), chain.start.len(), found.states)?;
    Ok((found.log_probs.into_pyarray(py), states.into_pyarray(py)))
}

/// Most likely states `[T]` of a chain of second order: logarithms `trans` `[K + 1, K + 1, K]`, `end`
/// `[K + 1, K + 1]` and `frames` `[T, K]`; K stands for the beginning.
#[pyfunction]
#[pyo3(signature = (trans, end, frames, lengths, /))]
pub(crate) fn hmm_decode_trigrams<'py>(
    py: Python<'py>,
    trans: &Bound<'py, PyAny>,
    end: &Bound<'py, PyAny>,
    frames: &Bound<'py, PyAny>,
    lengths: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyArray1<u32>>> {
    let trans = array::<f64, Ix3>("trans", trans)?;
    let end = array::<f64, Ix2>("end", end)?;
    let frames = array::<f64, Ix2>("frames", frames)?;
    let lengths = lengths_of(lengths)?;
    let (trans, end, frames) = (trans.c_order()?, end.c_order()?, frames.c_order()?);
    let chain = Trigrams {
        states: frames.dim().1,
        trans: trans.as_slice().unwrap_or_default(),
        end: end.as_slice().unwrap_or_default(),
    };
    let frames = frames.as_slice().unwrap_or_default();
    enter(py, KERNEL, usize::MAX, || hmm::decode_trigrams(chain, frames, &lengths, &interrupted))
        .map(|states| states.into_pyarray(py))
}

/// Log-densities `[T, K]` of `x` `[T, D]` under normal distributions, each less its offset. `spread`
/// is one over the variances `[K, D]`, or where `full` says so Cholesky factors `[K D, D]`.
#[pyfunction]
#[pyo3(signature = (x, means, spread, full, offsets, /))]
pub(crate) fn hmm_gaussian<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    means: &Bound<'py, PyAny>,
    spread: &Bound<'py, PyAny>,
    full: bool,
    offsets: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyArray2<f64>>> {
    let x = array::<f64, Ix2>("x", x)?;
    let means = array::<f64, Ix2>("means", means)?;
    let spread = array::<f64, Ix2>("spread", spread)?;
    let offsets = array::<f64, Ix1>("offsets", offsets)?;
    let (x, means) = (x.c_order()?, means.c_order()?);
    let (spread, offsets) = (spread.c_order()?, offsets.c_order()?);
    let rows = x.dim().0;
    let values = spread.as_slice().unwrap_or_default();
    let spread = if full { Spread::Full(values) } else { Spread::Diagonal(values) };
    let x = x.as_slice().unwrap_or_default();
    let means = means.as_slice().unwrap_or_default();
    let offsets = offsets.as_slice().unwrap_or_default();
    let logs = enter(py, KERNEL, usize::MAX, || {
        emission::gaussian(x, means, spread, offsets, &interrupted)
    })?;
    Ok(matrix(rows, offsets.len(), logs)?.into_pyarray(py))
}

/// Log-probabilities `[T, S]` of counts `x` `[T, D]` whose logarithms of rates are `[D, S]`, plus `base`
/// `[T]`, less `offsets` `[S]`.
#[pyfunction]
#[pyo3(signature = (x, log_rates, offsets, base, /))]
pub(crate) fn hmm_counts<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    log_rates: &Bound<'py, PyAny>,
    offsets: &Bound<'py, PyAny>,
    base: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyArray2<f64>>> {
    let x = array::<f64, Ix2>("x", x)?;
    let log_rates = array::<f64, Ix2>("log_rates", log_rates)?;
    let offsets = array::<f64, Ix1>("offsets", offsets)?;
    let base = array::<f64, Ix1>("base", base)?;
    let (x, log_rates) = (x.c_order()?, log_rates.c_order()?);
    let (offsets, base) = (offsets.c_order()?, base.c_order()?);
    let x = x.as_slice().unwrap_or_default();
    let log_rates = log_rates.as_slice().unwrap_or_default();
    let offsets = offsets.as_slice().unwrap_or_default();
    let base = base.as_slice().unwrap_or_default();
    let logs = enter(py, KERNEL, usize::MAX, || {
        emission::counts(x, log_rates, offsets, base, &interrupted)
    })?;
    Ok(matrix(base.len(), offsets.len(), logs)?.into_pyarray(py))
}

/// Log-densities `[T, S]` of states that mix `mixed` components each; `logs` `[T, S mixed]` have the
/// weights in them.
#[pyfunction]
#[pyo3(signature = (logs, mixed, /))]
pub(crate) fn hmm_mixture<'py>(
    py: Python<'py>,
    logs: &Bound<'py, PyAny>,
    mixed: usize,
) -> PyResult<Bound<'py, PyArray2<f64>>> {
    let logs = array::<f64, Ix2>("logs", logs)?;
    let logs = logs.c_order()?;
    let (rows, components) = logs.dim();
    let values = logs.as_slice().unwrap_or_default();
    let found = enter(py, KERNEL, usize::MAX, || emission::mixture(values, components, mixed))?;
    Ok(matrix(rows, components / mixed.max(1), found)?.into_pyarray(py))
}

/// Posteriors of the components, `[T, K]`, from what `hmm_mixture` was given and said, and the
/// posteriors of the states, both `[T, S]`.
#[pyfunction]
#[pyo3(signature = (logs, mixed, posteriors, /))]
pub(crate) fn hmm_responsibilities<'py>(
    py: Python<'py>,
    logs: &Bound<'py, PyAny>,
    mixed: &Bound<'py, PyAny>,
    posteriors: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyArray2<f64>>> {
    let logs = array::<f64, Ix2>("logs", logs)?;
    let mixed = array::<f64, Ix2>("mixed", mixed)?;
    let posteriors = array::<f64, Ix2>("posteriors", posteriors)?;
    let (logs, mixed, posteriors) = (logs.c_order()?, mixed.c_order()?, posteriors.c_order()?);
    let (rows, components) = logs.dim();
    let logs = logs.as_slice().unwrap_or_default();
    let mixed = mixed.as_slice().unwrap_or_default();
    let posteriors = posteriors.as_slice().unwrap_or_default();
    let found =
        enter(py, KERNEL, usize::MAX, || emission::responsibilities(logs, mixed, posteriors))?;
    Ok(matrix(rows, components, found)?.into_pyarray(py))
}

/// Sums `[K, F]` of `weights` `[T, K]` times one, `x` `[T, D]` and, where `products` is 1, its squares,
/// or where it is 2 the lower triangle of its outer products.
#[pyfunction]
#[pyo3(signature = (weights, x, products, /))]
pub(crate) fn hmm_moments<'py>(
    py: Python<'py>,
    weights: &Bound<'py, PyAny>,
    x: &Bound<'py, PyAny>,
    products: u8,
) -> PyResult<Bound<'py, PyArray2<f64>>> {
    let weights = array::<f64, Ix2>("weights", weights)?;
    let x = array::<f64, Ix2>("x", x)?;
    let (weights, x) = (weights.c_order()?, x.c_order()?);
    let (k, d) = (weights.dim().1, x.dim().1);
    let products = match products {
        0 => Products::None,
        1 => Products::Squares,
        _ => Products::Pairs,
    };
    let weights = weights.as_slice().unwrap_or_default();
    let x = x.as_slice().unwrap_or_default();
    let sums = enter(py, KERNEL, usize::MAX, || {
        emission::moments(weights, k, x, d, products, &interrupted)
    })?;
    Ok(matrix(k, sums.len() / k, sums)?.into_pyarray(py))
}
