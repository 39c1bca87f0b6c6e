//! Kernels compiled in this crate.
//!
//! Generic code is compiled in each crate that calls it. What is named here is compiled here, once:
//! crates above link the functions of [`vectorized!`], which are never inlined. A kernel that is
//! missing here works all the same, and is compiled by all of them.

use crate::*;

/// Addresses of functions for `f32` and `f64`.
macro_rules! both {
    ($($($part:ident)::+ $(<$argument:ty>)?),* $(,)?) => {
        [$(
            $($part)::+::<f32 $(, $argument)?> as *const (),
            $($part)::+::<f64 $(, $argument)?> as *const (),
        )*]
    };
}

/// For the compiler; nobody calls it.
#[doc(hidden)]
#[inline(never)]
pub fn instances() -> impl Sized {
    both![
        activation::forward<ndarray::IxDyn>,
        activation::backward<ndarray::IxDyn>,
        arithmetic::apply,
        arithmetic::choose,
        attention::backward,
        attention::backward_split,
        attention::forward,
        conv::backward,
        conv::forward,
        conv::transposed_backward,
        conv::transposed_forward,
        cross_entropy::backward,
        cross_entropy::forward,
        ctc::forward,
        dropout::apply<ndarray::IxDyn>,
        embedding::backward<i64>,
        embedding::forward<i64>,
        glu::backward,
        glu::forward,
        interpolation::backward,
        interpolation::forward,
        layout::joined,
        layout::padded,
        loss::backward,
        loss::forward,
        matmul::batched,
        matmul::gemm,
        matmul::gemm_packed,
        matmul::linear_backward,
        matmul::linear_forward,
        matmul::product,
        norm::channel::backward,
        norm::channel::forward,
        norm::layer::backward,
        norm::layer::forward,
        optimizer::clip_norm,
        optimizer::clip_value,
        optimizer::step,
        order::top,
        pooling::adaptive_avg_backward,
        pooling::adaptive_avg_forward,
        pooling::adaptive_max_forward,
        pooling::avg_backward,
        pooling::avg_forward,
        pooling::index_backward,
        pooling::max_backward,
        pooling::max_forward,
        pooling::max_values,
        recurrent::backward<recurrent::Gru>,
        recurrent::backward<recurrent::Lstm>,
        recurrent::backward<recurrent::Rnn<false>>,
        recurrent::backward<recurrent::Rnn<true>>,
        recurrent::forward<recurrent::Gru>,
        recurrent::forward<recurrent::Lstm>,
        recurrent::forward<recurrent::Rnn<false>>,
        recurrent::forward<recurrent::Rnn<true>>,
        reduction::deviation,
        reduction::extreme_backward,
        reduction::first_largest,
        reduction::first_smallest,
        reduction::largest,
        reduction::logsumexp,
        reduction::logsumexp_backward,
        reduction::mean,
        reduction::norm,
        reduction::norm_backward,
        reduction::product,
        reduction::product_backward,
        reduction::scan,
        reduction::smallest,
        reduction::sum,
        reduction::variance,
        reduction::variance_backward,
        selection::gather<i64>,
        selection::gather_backward<i64>,
        selection::triangle,
        softmax::backward,
        softmax::forward,
        softmax::log_backward,
        softmax::log_forward,
    ]
}
