//! RNN, LSTM and GRU over whole sequences.

use lamina_kernels::Element;
use lamina_kernels::recurrent::{
    self, Cell, Forward, Gradients, Gru, Kept, Lstm, Needs, Rnn, Weights,
};
use ndarray::{Ix1, Ix2, Ix3};
use numpy::{Element as NumpyElement, IntoPyArray};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::convert::{Input, array, by_dtype, enter, optional};

type Object<'py> = Bound<'py, PyAny>;

/// The two functions of a cell: a layer over a sequence, and its gradients.
macro_rules! layer {
    ($forward:ident, $backward:ident, $cell:ty, $kernel:literal) => {
        #[pyfunction]
        #[pyo3(signature = (x, states, weights, batch_first, /))]
        pub(crate) fn $forward<'py>(
            py: Python<'py>,
            x: &Object<'py>,
            states: Vec<Object<'py>>,
            weights: Vec<Object<'py>>,
            batch_first: bool,
        ) -> PyResult<Object<'py>> {
            by_dtype!(x, T => {
                forward::<T, $cell>(py, $kernel, x, &states, &weights, batch_first)
            })
        }

        #[pyfunction]
        #[pyo3(signature = (dy, d_last, x, states, weights, kept, batch_first, needs, /))]
        pub(crate) fn $backward<'py>(
            py: Python<'py>,
            dy: Option<Object<'py>>,
            d_last: Vec<Option<Object<'py>>>,
            x: &Object<'py>,
            states: Vec<Object<'py>>,
            weights: Vec<Object<'py>>,
            kept: [Object<'py>; 3],
            batch_first: bool,
            needs: (bool, bool),
        ) -> PyResult<Object<'py>> {
            let given = (dy.as_ref(), &d_last[..]);
            by_dtype!(x, T => {
                backward::<T, $cell>(
                    py, $kernel, given, x, &states, &weights, &kept, batch_first, needs,
                )
            })
        }
    };
}

layer!(gru_forward, gru_backward, Gru, "gru");
layer!(lstm_forward, lstm_backward, Lstm, "lstm");
layer!(rnn_relu_forward, rnn_relu_backward, Rnn<true>, "rnn");
layer!(rnn_tanh_forward, rnn_tanh_backward, Rnn<false>, "rnn");

/// The arrays of one direction.
struct Direction<'py, T: NumpyElement> {
    ih: Input<'py, T, Ix2>,
    hh: Input<'py, T, Ix2>,
    bias: Option<(Input<'py, T, Ix1>, Input<'py, T, Ix1>)>,
}

impl<T: Element + NumpyElement> Direction<'_, T> {
    fn weights(&self) -> Weights<'_, T> {
        let bias = self.bias.as_ref().map(|(ih, hh)| (ih.strided(), hh.strided()));
        Weights { ih: self.ih.strided(), hh: self.hh.strided(), bias }
    }
}

/// The flat list `weight_ih, weight_hh[, bias_ih, bias_hh]` of each of `count` directions.
fn directions<'py, T: Element + NumpyElement>(
    op: &str,
    weights: &[Object<'py>],
    count: usize,
) -> PyResult<Vec<Direction<'py, T>>> {
    let each = if weights.len() == 4 * count { 4 } else { 2 };
    if count == 0 || weights.len() != each * count {
        return Err(PyValueError::new_err(format!(
            "[{op}] weights: expected 2 or 4 arrays for each of the {count} directions of h0, got {}",
            weights.len()
        )));
    }
    let one = |of: &[Object<'py>]| {
        let bias = match of {
            [_, _, ih, hh] => Some((array("bias_ih", ih)?, array("bias_hh", hh)?)),
            _ => None,
        };
        Ok(Direction { ih: array("weight_ih", &of[0])?, hh: array("weight_hh", &of[1])?, bias })
    };
    weights.chunks_exact(each).map(one).collect()
}

/// Multiplications, roughly.
fn cost(rows: usize, weights: &[Weights<'_, impl Element>]) -> usize {
    weights.iter().map(|w| rows * (w.ih.len() + w.hh.len()) / 16).sum()
}

/// The first `h` and, for a cell that has one, the first `c`.
fn first_states<'py, T: Element + NumpyElement, C: Cell>(
    op: &str,
    states: &[Object<'py>],
) -> PyResult<(Input<'py, T, Ix3>, Option<Input<'py, T, Ix3>>)> {
    match (states, C::HAS_CELL) {
        ([h0, c0], true) => Ok((array("h0", h0)?, Some(array("c0", c0)?))),
        ([h0], false) => Ok((array("h0", h0)?, None)),
        _ => Err(PyValueError::new_err(format!(
            "[{op}] states: expected {}, got {} arrays",
            if C::HAS_CELL { "h0 and c0" } else { "h0" },
            states.len()
        ))),
    }
}

fn forward<'py, T: Element + NumpyElement, C: Cell>(
    py: Python<'py>,
    kernel: &'static str,
    x: &Object<'py>,
    states: &[Object<'py>],
    weights: &[Object<'py>],
    batch_first: bool,
) -> PyResult<Object<'py>> {
    let x = array::<T, Ix3>("x", x)?;
    let (h0, c0) = first_states::<T, C>(C::FORWARD, states)?;
    let (x, h0, c0) = (x.c_order()?, h0.strided(), c0.as_ref().map(|c0| c0.strided()));
    let weights = directions::<T>(C::FORWARD, weights, h0.dim().0)?;
    let weights: Vec<_> = weights.iter().map(Direction::weights).collect();
    let cost = cost(x.dim().0 * x.dim().1, &weights);
    let Forward { y, h, c, gates, extra } = enter(py, kernel, cost, || {
        recurrent::forward::<T, C>(x.view(), h0, c0, &weights, batch_first)
    })?;
    let last = PyList::new(py, [h.into_pyarray(py)])?;
    if C::HAS_CELL {
        last.append(c.into_pyarray(py))?;
    }
    let kept = (gates.into_pyarray(py), extra.into_pyarray(py));
    Ok((y.into_pyarray(py), last, kept.0, kept.1).into_pyobject(py)?.into_any())
}

fn backward<'py, T: Element + NumpyElement, C: Cell>(
    py: Python<'py>,
    kernel: &'static str,
    (dy, d_last): (Option<&Object<'py>>, &[Option<Object<'py>>]),
    x: &Object<'py>,
    states: &[Object<'py>],
    weights: &[Object<'py>],
    kept: &[Object<'py>; 3],
    batch_first: bool,
    needs: (bool, bool),
) -> PyResult<Object<'py>> {
    let dy = optional::<T, Ix3>("dy", dy)?;
    let dh = optional::<T, Ix3>("dh", d_last.first().and_then(Option::as_ref))?;
    let dc = optional::<T, Ix3>("dc", d_last.get(1).and_then(Option::as_ref))?;
    let x = array::<T, Ix3>("x", x)?;
    let (h0, c0) = first_states::<T, C>(C::BACKWARD, states)?;
    let (y, gates) = (array::<T, Ix3>("y", &kept[0])?, array::<T, Ix3>("gates", &kept[1])?);
    let extra = array::<T, Ix3>("extra", &kept[2])?;
    let dy = dy.as_ref().map(|dy| dy.strided());
    let (dh, dc) = (dh.as_ref().map(|dh| dh.strided()), dc.as_ref().map(|dc| dc.strided()));
    let (x, h0, c0) = (x.c_order()?, h0.strided(), c0.as_ref().map(|c0| c0.strided()));
    let kept = Kept { y: y.strided(), gates: gates.strided(), extra: extra.strided() };
    let weights = directions::<T>(C::BACKWARD, weights, h0.dim().0)?;
    let weights: Vec<_> = weights.iter().map(Direction::weights).collect();
    let cost = 2 * cost(x.dim().0 * x.dim().1, &weights);
    let needs = Needs { x: needs.0, weights: needs.1 };
    let gradients = enter(py, kernel, cost, || {
        recurrent::backward::<T, C>(
            dy,
            dh,
            dc,
            x.view(),
            h0,
            c0,
            &weights,
            kept,
            batch_first,
            needs,
        )
    })?;
    let Gradients { x: dx, h0: dh0, c0: dc0, weights: of_weights } = gradients;
    let d_states = PyList::new(py, [dh0.into_pyarray(py)])?;
    if C::HAS_CELL {
        d_states.append(dc0.into_pyarray(py))?;
    }
    let d_weights = PyList::empty(py);
    for gradients in of_weights {
        d_weights.append(gradients.ih.into_pyarray(py))?;
        d_weights.append(gradients.hh.into_pyarray(py))?;
        if let Some((ih, hh)) = gradients.bias {
            d_weights.append(ih.into_pyarray(py))?;
            d_weights.append(hh.into_pyarray(py))?;
        }
    }
    let dx = dx.map(|dx| dx.into_pyarray(py));
    Ok((dx, d_states, d_weights).into_pyobject(py)?.into_any())
}
