//! Optimiser steps and clipping, in place, over lists of arrays.
//!
//! `states` holds the arrays of the first kind of every parameter, then those of the second, and so
//! on; `steps` the number of the step for each parameter, from 1.

use lamina_kernels::Element;
use lamina_kernels::optimizer::{self, Common, Method, Slot};
use ndarray::IxDyn;
use numpy::Element as NumpyElement;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::borrow::Writing;
use crate::convert::{array, arrays_mut, by_dtype, enter};

/// What every method takes.
struct Lists<'a, 'py> {
    params: &'a Bound<'py, PyList>,
    grads: &'a Bound<'py, PyList>,
    states: &'a Bound<'py, PyList>,
    steps: Vec<u64>,
    products: Option<Vec<f64>>,
}

impl<'py> Lists<'_, 'py> {
    fn step(self, py: Python<'py>, method: Method, common: Common) -> PyResult<()> {
        let Ok(first) = self.params.get_item(0) else { return Ok(()) };
        let params = &first;
        by_dtype!(params, T => { self.typed_step::<T>(py, method, common) })
    }

    fn typed_step<T: Element + NumpyElement>(
        self,
        py: Python<'py>,
        method: Method,
        common: Common,
    ) -> PyResult<()> {
        let count = self.params.len();
        let lens = [("grads", self.grads.len()), ("steps", self.steps.len())];
        let products = self.products.iter().map(|products| ("products", products.len()));
        for (arg, len) in lens.into_iter().chain(products) {
            if len != count {
                let message = format!("{arg}: expected {count}, one a parameter, got {len}");
                return Err(PyValueError::new_err(message));
            }
        }
        let mut params = arrays_mut::<T>("params", self.params)?;
        let mut states = arrays_mut::<T>("states", self.states)?;
        let grads = self.grads.iter().enumerate();
        let grads = grads
            .map(|(i, grad)| array::<T, IxDyn>(format_args!("grads[{i}]"), &grad))
            .collect::<PyResult<Vec<_>>>()?;
        let grads: Vec<_> = grads.iter().map(|grad| grad.c_order()).collect::<PyResult<_>>()?;
        let mut slots = Vec::with_capacity(count);
        let mut total = 0;
        for (i, (param, grad)) in params.iter_mut().zip(&grads).enumerate() {
            total += grad.len();
            slots.push(Slot {
                param: param.numbers(),
                grad: grad.as_slice().expect("C order"),
                state: Vec::new(),
                step: self.steps[i],
                product: self.products.as_ref().map_or(1.0, |products| products[i]),
            });
        }
        for (i, state) in states.iter_mut().enumerate() {
            slots[i % count].state.push(state.numbers());
        }
        enter(py, "optimizer", total, || optimizer::step(method, &common, slots))
    }
}

/// Gradient descent with momentum.
#[pyfunction]
#[pyo3(signature = (
    params, grads, states, steps, lr, weight_decay, maximize, momentum, dampening, nesterov, /
))]
pub(crate) fn optimizer_sgd<'py>(
    py: Python<'py>,
    params: &Bound<'py, PyList>,
    grads: &Bound<'py, PyList>,
    states: &Bound<'py, PyList>,
    steps: Vec<u64>,
    lr: f64,
    weight_decay: f64,
    maximize: bool,
    momentum: f64,
    dampening: f64,
    nesterov: bool,
) -> PyResult<()> {
    let method = Method::Sgd { momentum, dampening, nesterov };
    let lists = Lists { params, grads, states, steps, products: None };
    lists.step(py, method, Common { lr, weight_decay, maximize })
}

/// Adam, or AdamW where the weight decay is `decoupled`.
#[pyfunction]
#[pyo3(signature = (
    params, grads, states, steps, lr, weight_decay, maximize, beta1, beta2, eps, amsgrad, decoupled, /
))]
pub(crate) fn optimizer_adam<'py>(
    py: Python<'py>,
    params: &Bound<'py, PyList>,
    grads: &Bound<'py, PyList>,
    states: &Bound<'py, PyList>,
    steps: Vec<u64>,
    lr: f64,
    weight_decay: f64,
    maximize: bool,
    beta1: f64,
    beta2: f64,
    eps: f64,
    amsgrad: bool,
    decoupled: bool,
) -> PyResult<()> {
    let method = Method::Adam { beta1, beta2, eps, amsgrad, decoupled };
    let lists = Lists { params, grads, states, steps, products: None };
    lists.step(py, method, Common { lr, weight_decay, maximize })
}

/// RMSprop.
#[pyfunction]
#[pyo3(signature = (
    params, grads, states, steps, lr, weight_decay, maximize, alpha, eps, momentum, centered, /
))]
pub(crate) fn optimizer_rmsprop<'py>(
    py: Python<'py>,
    params: &Bound<'py, PyList>,
    grads: &Bound<'py, PyList>,
    states: &Bound<'py, PyList>,
    steps: Vec<u64>,
    lr: f64,
    weight_decay: f64,
    maximize: bool,
    alpha: f64,
    eps: f64,
    momentum: f64,
    centered: bool,
) -> PyResult<()> {
    let method = Method::RmsProp { alpha, eps, momentum, centered };
    let lists = Lists { params, grads, states, steps, products: None };
    lists.step(py, method, Common { lr, weight_decay, maximize })
}

/// Adagrad.
#[pyfunction]
#[pyo3(signature = (params, grads, states, steps, lr, weight_decay, maximize, lr_decay, eps, /))]
pub(crate) fn optimizer_adagrad<'py>(
    py: Python<'py>,
    params: &Bound<'py, PyList>,
    grads: &Bound<'py, PyList>,
    states: &Bound<'py, PyList>,
    steps: Vec<u64>,
    lr: f64,
    weight_decay: f64,
    maximize: bool,
    lr_decay: f64,
    eps: f64,
) -> PyResult<()> {
    let method = Method::Adagrad { lr_decay, eps };
    let lists = Lists { params, grads, states, steps, products: None };
    lists.step(py, method, Common { lr, weight_decay, maximize })
}

/// Adadelta.
#[pyfunction]
#[pyo3(signature = (params, grads, states, steps, lr, weight_decay, maximize, rho, eps, /))]
pub(crate) fn optimizer_adadelta<'py>(
    py: Python<'py>,
    params: &Bound<'py, PyList>,
    grads: &Bound<'py, PyList>,
    states: &Bound<'py, PyList>,
    steps: Vec<u64>,
    lr: f64,
    weight_decay: f64,
    maximize: bool,
    rho: f64,
    eps: f64,
) -> PyResult<()> {
    let method = Method::Adadelta { rho, eps };
    let lists = Lists { params, grads, states, steps, products: None };
    lists.step(py, method, Common { lr, weight_decay, maximize })
}

/// Adamax.
#[pyfunction]
#[pyo3(signature = (
    params, grads, states, steps, lr, weight_decay, maximize, beta1, beta2, eps, /
))]
pub(crate) fn optimizer_adamax<'py>(
    py: Python<'py>,
    params: &Bound<'py, PyList>,
    grads: &Bound<'py, PyList>,
    states: &Bound<'py, PyList>,
    steps: Vec<u64>,
    lr: f64,
    weight_decay: f64,
    maximize: bool,
    beta1: f64,
    beta2: f64,
    eps: f64,
) -> PyResult<()> {
    let method = Method::Adamax { beta1, beta2, eps };
    let lists = Lists { params, grads, states, steps, products: None };
    lists.step(py, method, Common { lr, weight_decay, maximize })
}

/// NAdam; `products` are those of the momenta of the steps before.
#[pyfunction]
#[pyo3(signature = (
    params, grads, states, steps, products, lr, weight_decay, maximize, beta1, beta2, eps, momentum_decay, decoupled, /
))]
pub(crate) fn optimizer_nadam<'py>(
    py: Python<'py>,
    params: &Bound<'py, PyList>,
    grads: &Bound<'py, PyList>,
    states: &Bound<'py, PyList>,
    steps: Vec<u64>,
    products: Vec<f64>,
    lr: f64,
    weight_decay: f64,
    maximize: bool,
    beta1: f64,
    beta2: f64,
    eps: f64,
    momentum_decay: f64,
    decoupled: bool,
) -> PyResult<()> {
    let method = Method::Nadam { beta1, beta2, eps, momentum_decay, decoupled };
    let lists = Lists { params, grads, states, steps, products: Some(products) };
    lists.step(py, method, Common { lr, weight_decay, maximize })
}

/// RAdam.
#[pyfunction]
#[pyo3(signature = (
    params, grads, states, steps, lr, weight_decay, maximize, beta1, beta2, eps, decoupled, /
))]
pub(crate) fn optimizer_radam<'py>(
    py: Python<'py>,
    params: &Bound<'py, PyList>,
    grads: &Bound<'py, PyList>,
    states: &Bound<'py, PyList>,
    steps: Vec<u64>,
    lr: f64,
    weight_decay: f64,
    maximize: bool,
    beta1: f64,
    beta2: f64,
    eps: f64,
    decoupled: bool,
) -> PyResult<()> {
    let method = Method::Radam { beta1, beta2, eps, decoupled };
    let lists = Lists { params, grads, states, steps, products: None };
    lists.step(py, method, Common { lr, weight_decay, maximize })
}

/// Scales gradients to a joint norm of at most `max_norm`; returns the norm before.
#[pyfunction]
#[pyo3(signature = (grads, max_norm, norm_type, error_if_nonfinite, /))]
pub(crate) fn optimizer_clip_norm<'py>(
    py: Python<'py>,
    grads: &Bound<'py, PyList>,
    max_norm: f64,
    norm_type: f64,
    error_if_nonfinite: bool,
) -> PyResult<f64> {
    let list = grads;
    let Ok(first) = list.get_item(0) else { return Ok(0.0) };
    let grads = &first;
    by_dtype!(grads, T => {
        let mut grads = arrays_mut::<T>("grads", list)?;
        let grads: Vec<_> = grads.iter_mut().map(Writing::numbers).collect();
        let total = grads.iter().map(|grad| grad.len()).sum();
        enter(py, "optimizer", total, || {
            optimizer::clip_norm(grads, max_norm, norm_type, error_if_nonfinite)
        })
    })
}

/// Moves every gradient into `[-clip_value, clip_value]`.
#[pyfunction]
#[pyo3(signature = (grads, clip_value, /))]
pub(crate) fn optimizer_clip_value<'py>(
    py: Python<'py>,
    grads: &Bound<'py, PyList>,
    clip_value: f64,
) -> PyResult<()> {
    let list = grads;
    let Ok(first) = list.get_item(0) else { return Ok(()) };
    let grads = &first;
    by_dtype!(grads, T => {
        let mut grads = arrays_mut::<T>("grads", list)?;
        let grads: Vec<_> = grads.iter_mut().map(Writing::numbers).collect();
        let total = grads.iter().map(|grad| grad.len()).sum();
        enter(py, "optimizer", total, || optimizer::clip_value(grads, clip_value))
    })
}
