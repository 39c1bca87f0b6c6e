//! Scaled dot-product attention.

use lamina_kernels::attention::{self, Inputs, Mask};
use ndarray::{Ix3, Ix4};
use numpy::{Element as NumpyElement, IntoPyArray, PyArray};
use pyo3::prelude::*;

use crate::convert::{Input, array, by_dtype, enter, optional};

/// A mask as it came from Python: truth values or numbers.
enum GivenMask<'py, T: NumpyElement> {
    Keep(Input<'py, bool, Ix4>),
    Add(Option<Input<'py, T, Ix4>>),
}

impl<'py, T: NumpyElement + Clone> GivenMask<'py, T> {
    fn new(mask: Option<&Bound<'py, PyAny>>) -> PyResult<Self> {
        match mask {
            Some(mask) if mask.cast::<PyArray<bool, Ix4>>().is_ok() => {
                Ok(Self::Keep(array("mask", mask)?))
            }
            _ => Ok(Self::Add(optional("mask", mask)?)),
        }
    }

    fn view(&self) -> Mask<'_, T> {
        match self {
            Self::Keep(mask) => Mask::Keep(mask.strided()),
            Self::Add(Some(mask)) => Mask::Add(mask.strided()),
            Self::Add(None) => Mask::None,
        }
    }
}

type Pair<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>);
type Triple<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>);

/// Output `[B, T, H, Dv]` and the logarithm of each row's sum of exponentials, `[B, H, T]`.
#[pyfunction]
#[pyo3(signature = (q, k, v, mask, causal, scale, /))]
pub(crate) fn attention_forward<'py>(
    py: Python<'py>,
    q: &Bound<'py, PyAny>,
    k: &Bound<'py, PyAny>,
    v: &Bound<'py, PyAny>,
    mask: Option<&Bound<'py, PyAny>>,
    causal: bool,
    scale: f64,
) -> PyResult<Pair<'py>> {
    by_dtype!(q, T => {
        let (q, k) = (array::<T, Ix4>("q", q)?, array::<T, Ix4>("k", k)?);
        let (v, mask) = (array::<T, Ix4>("v", v)?, GivenMask::<T>::new(mask)?);
        let (q, k, v, mask) = (q.strided(), k.strided(), v.strided(), mask.view());
        let x = Inputs { q, k, v, mask, causal, scale };
        let (y, lse) = enter(py, "attention", x.cost(), || attention::forward(&x))?;
        Ok((y.into_pyarray(py).into_any(), lse.into_pyarray(py).into_any()))
    })
}

/// Gradients of queries, keys and values, `[B, T, H, D]` each.
#[pyfunction]
#[pyo3(signature = (dy, q, k, v, mask, causal, scale, y, lse, /))]
pub(crate) fn attention_backward<'py>(
    py: Python<'py>,
    dy: &Bound<'py, PyAny>,
    q: &Bound<'py, PyAny>,
    k: &Bound<'py, PyAny>,
    v: &Bound<'py, PyAny>,
    mask: Option<&Bound<'py, PyAny>>,
    causal: bool,
    scale: f64,
    y: &Bound<'py, PyAny>,
    lse: &Bound<'py, PyAny>,
) -> PyResult<Triple<'py>> {
    by_dtype!(q, T => {
        let (q, k) = (array::<T, Ix4>("q", q)?, array::<T, Ix4>("k", k)?);
        let (v, mask) = (array::<T, Ix4>("v", v)?, GivenMask::<T>::new(mask)?);
        let (dy, y) = (array::<T, Ix4>("dy", dy)?, array::<T, Ix4>("y", y)?);
        let lse = array::<T, Ix3>("lse", lse)?;
        let (q, k, v, mask) = (q.strided(), k.strided(), v.strided(), mask.view());
        let (dy, y, lse) = (dy.strided(), y.strided(), lse.strided());
        let x = Inputs { q, k, v, mask, causal, scale };
        let cost = x.cost().saturating_mul(3);
        let run = || attention::backward(dy, &x, y, lse);
        let (dq, dk, dv) = enter(py, "attention", cost, run)?;
        let (dq, dk) = (dq.into_pyarray(py).into_any(), dk.into_pyarray(py).into_any());
        Ok((dq, dk, dv.into_pyarray(py).into_any()))
    })
}

/// Attention within `qkv` `[B, T, (H + 2 Hk) D]`: output `[B, T, H, D]` and the logarithm of each
/// row's sum of exponentials, `[B, H, T]`.
#[pyfunction]
#[pyo3(signature = (qkv, num_heads, num_kv_heads, mask, causal, scale, /))]
pub(crate) fn self_attention_forward<'py>(
    py: Python<'py>,
    qkv: &Bound<'py, PyAny>,
    num_heads: usize,
    num_kv_heads: usize,
    mask: Option<&Bound<'py, PyAny>>,
    causal: bool,
    scale: f64,
) -> PyResult<Pair<'py>> {
    by_dtype!(qkv, T => {
        let (qkv, mask) = (array::<T, Ix3>("qkv", qkv)?, GivenMask::<T>::new(mask)?);
        let (qkv, mask) = (qkv.strided(), mask.view());
        let run = || {
            let (q, k, v) =
                attention::split("self_attention_forward", qkv, num_heads, num_kv_heads)?;
            attention::forward(&Inputs { q, k, v, mask, causal, scale })
        };
        let (y, lse) = enter(py, "attention", qkv.len(), run)?;
        Ok((y.into_pyarray(py).into_any(), lse.into_pyarray(py).into_any()))
    })
}

/// Gradient of `qkv`, in its own layout.
#[pyfunction]
#[pyo3(signature = (dy, qkv, num_heads, num_kv_heads, mask, causal, scale, y, lse, /))]
pub(crate) fn self_attention_backward<'py>(
    py: Python<'py>,
    dy: &Bound<'py, PyAny>,
    qkv: &Bound<'py, PyAny>,
    num_heads: usize,
    num_kv_heads: usize,
    mask: Option<&Bound<'py, PyAny>>,
    causal: bool,
    scale: f64,
    y: &Bound<'py, PyAny>,
    lse: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    by_dtype!(qkv, T => {
        let (qkv, mask) = (array::<T, Ix3>("qkv", qkv)?, GivenMask::<T>::new(mask)?);
        let (dy, y) = (array::<T, Ix4>("dy", dy)?, array::<T, Ix4>("y", y)?);
        let lse = array::<T, Ix3>("lse", lse)?;
        let (qkv, mask) = (qkv.strided(), mask.view());
        let (dy, y, lse) = (dy.strided(), y.strided(), lse.strided());
        let run = || {
            let (q, k, v) =
                attention::split("self_attention_backward", qkv, num_heads, num_kv_heads)?;
            let x = Inputs { q, k, v, mask, causal, scale };
            let (dy, y) = (dy.permuted_axes([0, 2, 1, 3]), y.permuted_axes([0, 2, 1, 3]));
            attention::backward_split(dy, &x, y, lse)
        };
        let dqkv = enter(py, "attention", qkv.len(), run)?;
        Ok(dqkv.into_pyarray(py).into_any())
    })
}
