//! Rows of layers without gradients: from array to array, so that Python is entered once for all.

use lamina_kernels::layout::{self, Solid};
use lamina_kernels::matmul::{self, Activation};
use lamina_kernels::{Element, Error, Result, conv, pooling};
use ndarray::{
    Array, ArrayD, ArrayView1, ArrayViewD, CowArray, Dimension, Ix1, Ix2, Ix3, Ix4, IxDyn,
};
use numpy::{Element as NumpyElement, IntoPyArray};
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::conv::ConvOptions;
use crate::convert::{Input, array, by_dtype, run};
use crate::matmul::activation_named;
use crate::pooling::PoolOptions;
use crate::profile;

const OP: &str = "layers_forward";

/// What a layer does.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Conv(conv::Options, Activation),
    Linear(Activation),
    MaxPool(pooling::Options),
    Flatten,
    Activation(Activation),
}

/// A layer and its parameters.
struct Layer<'py, T: NumpyElement> {
    kind: Kind,
    weight: Option<Input<'py, T, IxDyn>>,
    bias: Option<Input<'py, T, Ix1>>,
}

/// The same without Python.
struct Step<'a, T> {
    kind: Kind,
    weight: Option<CowArray<'a, T, IxDyn>>,
    bias: Option<ArrayView1<'a, T>>,
}

/// What layers make of `x`: each is a name, its parameters `weight` and `bias` or `None`, and its
/// options or `None`. Names are `conv2d`, `linear`, `max_pool2d`, `flatten` and those of activations.
#[pyfunction]
#[pyo3(signature = (x, layers, /))]
pub(crate) fn layers_forward<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    layers: Vec<Bound<'py, PyTuple>>,
) -> PyResult<Bound<'py, PyAny>> {
    by_dtype!(x, T => {
        let x = array::<T, IxDyn>("x", x)?;
        let x = x.c_order()?;
        let mut known: Vec<Layer<'py, T>> = Vec::with_capacity(layers.len());
        for layer in &layers {
            let layer = read(layer)?;
            if let Kind::Activation(next) = layer.kind
                && let Some(Layer { kind, .. }) = known.last_mut()
                && kind.activate(next)
            {
                continue;
            }
            known.push(layer);
        }
        let steps = known.iter().map(Layer::step).collect::<PyResult<Vec<_>>>()?;
        let weights = steps.iter().filter_map(|step| Some(step.weight.as_ref()?.len()));
        let cost = x.len() + weights.sum::<usize>();
        let y = run(py, cost, || steps.iter().try_fold(x, |x, step| Ok(step.forward(x)?.into())))?;
        Ok(y.into_owned().into_pyarray(py).into_any())
    })
}

fn read<'py, T: NumpyElement>(layer: &Bound<'py, PyTuple>) -> PyResult<Layer<'py, T>> {
    let part = |index: usize| layer.get_borrowed_item(index);
    let data = |index: usize| {
        let parameter = part(index)?;
        if parameter.is_none() {
            return Ok(None);
        }
        parameter.getattr(intern!(layer.py(), "data")).map(Some)
    };
    let name = part(0)?;
    let kind = match name.extract::<&str>()? {
        "conv2d" => Kind::Conv(part(3)?.cast::<ConvOptions>()?.get().0, Activation::Identity),
        "linear" => Kind::Linear(Activation::Identity),
        "max_pool2d" => Kind::MaxPool(part(3)?.cast::<PoolOptions>()?.get().0),
        "flatten" => Kind::Flatten,
        name => Kind::Activation(activation_named(name)?),
    };
    let weight = data(1)?.map(|weight| array("weight", &weight)).transpose()?;
    let bias = data(2)?.map(|bias| array("bias", &bias)).transpose()?;
    if weight.is_none() && matches!(kind, Kind::Conv(..) | Kind::Linear(_)) {
        return Err(PyTypeError::new_err("weight: expected a parameter, got None"));
    }
    Ok(Layer { kind, weight, bias })
}

impl<T: NumpyElement + Solid> Layer<'_, T> {
    fn step(&self) -> PyResult<Step<'_, T>> {
        let weight = self.weight.as_ref().map(Input::c_order).transpose()?;
        Ok(Step { kind: self.kind, weight, bias: self.bias.as_ref().map(Input::strided) })
    }
}

impl Kind {
    /// Whether the layer can apply the activation after it, and now does.
    fn activate(&mut self, next: Activation) -> bool {
        match self {
            Self::Conv(_, own) | Self::Linear(own) if *own == Activation::Identity => {
                *own = next;
                true
            }
            _ => false,
        }
    }

    /// Under which name a profile counts it.
    fn kernel(self) -> &'static str {
        match self {
            Self::Conv(..) => "conv",
            Self::Linear(_) => "matmul",
            Self::MaxPool(_) => "pooling",
            Self::Flatten | Self::Activation(_) => "activation",
        }
    }
}

impl<T: Element> Step<'_, T> {
    fn forward(&self, x: CowArray<'_, T, IxDyn>) -> Result<ArrayD<T>> {
        profile::timed(self.kind.kernel(), || match self.kind {
            Kind::Conv(options, activation) => {
                let (x, weight) =
                    (ranked::<_, Ix4>("x", x.view())?, ranked("weight", self.weight())?);
                Ok(conv::forward(x, weight, self.bias, &options, activation)?.into_dyn())
            }
            Kind::Linear(activation) => self.linear(&x, activation),
            Kind::MaxPool(options) => {
                let (n, c, h, w) = ranked::<_, Ix4>("x", x.view())?.dim();
                let y = pooling::max_values(reshaped::<_, Ix3>(x.view(), (n * c, h, w)), &options)?;
                let (_, h, w) = y.dim();
                Ok(owned(y, vec![n, c, h, w]))
            }
            Kind::Flatten => {
                let Some(&n) = x.shape().first() else { return Err(rank("x")) };
                let rest = x.shape()[1..].iter().product();
                Ok(owned(into_owned(x), vec![n, rest]))
            }
            Kind::Activation(activation) => {
                let mut y = into_owned(x);
                activation.replace(y.as_slice_mut().expect("C order"));
                Ok(y)
            }
        })
    }

    fn weight(&self) -> ArrayViewD<'_, T> {
        self.weight.as_ref().expect("found when it was read").view()
    }

    fn linear(&self, x: &CowArray<'_, T, IxDyn>, activation: Activation) -> Result<ArrayD<T>> {
        let weight = ranked::<_, Ix2>("weight", self.weight())?;
        let mut shape = x.shape().to_vec();
        if shape.last() != Some(&weight.ncols()) {
            return Err(rank("x"));
        }
        let rows = shape[..shape.len() - 1].iter().product();
        let x = reshaped::<_, Ix2>(x.view(), (rows, weight.ncols()));
        let (y, _) = matmul::linear_forward(x, weight, self.bias, activation, false)?;
        *shape.last_mut().expect("an axis") = y.ncols();
        Ok(owned(y, shape))
    }
}

/// The caller lets the layers say one by one what is wrong.
fn rank(arg: &'static str) -> Error {
    Error::value(OP, arg, "expected another shape")
}

fn ranked<'a, T, D: Dimension>(
    arg: &'static str,
    x: ArrayViewD<'a, T>,
) -> Result<ndarray::ArrayView<'a, T, D>> {
    x.into_dimensionality().map_err(|_| rank(arg))
}

fn reshaped<T, D: Dimension>(
    x: ArrayViewD<'_, T>,
    shape: impl ndarray::ShapeArg<Dim = D>,
) -> ndarray::ArrayView<'_, T, D> {
    x.into_shape_with_order(shape).expect("C order, as many numbers")
}

fn owned<T, D: Dimension>(x: Array<T, D>, shape: Vec<usize>) -> ArrayD<T> {
    x.into_shape_with_order(shape).expect("C order, as many numbers")
}

fn into_owned<T: Element>(x: CowArray<'_, T, IxDyn>) -> ArrayD<T> {
    if x.is_owned() { x.into_owned() } else { layout::copied(&x.view()) }
}
