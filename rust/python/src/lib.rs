//! The extension module `lamina._kernels`: dtype, rank and layout of arrays, the GIL, errors.
//! No arithmetic.

mod activation;
mod allocator;
mod arithmetic;
mod attention;
mod axes;
mod borrow;
mod conv;
mod convert;
mod crf;
mod crf_data;
mod cross_entropy;
mod ctc;
mod dropout;
mod embedding;
mod files;
mod hmm;
mod interpolation;
mod layers;
mod loss;
mod matmul;
mod ngram;
mod ngram_counts;
mod ngram_state;
mod norm;
mod optimizer;
mod order;
mod pooling;
mod profile;
mod recurrent;
mod reduction;
mod selection;
mod softmax;
mod system;
mod text;
mod word2vec;

use pyo3::prelude::*;

#[pymodule]
mod _kernels {
    use super::{Bound, PyModule, PyResult, system};

    #[pymodule_export]
    use crate::activation::{activation_backward, activation_forward, glu_backward, glu_forward};
    #[pymodule_export]
    use crate::arithmetic::{
        arithmetic_add, arithmetic_choose, arithmetic_divide, arithmetic_maximum,
        arithmetic_minimum, arithmetic_multiply, arithmetic_subtract, copied, joined, padded,
    };
    #[pymodule_export]
    use crate::attention::{
        attention_backward, attention_forward, self_attention_backward, self_attention_forward,
    };
    #[pymodule_export]
    use crate::conv::{
        ConvOptions, conv_transpose2d_backward, conv_transpose2d_forward, conv2d_backward,
        conv2d_forward, set_exact,
    };
    #[pymodule_export]
    use crate::crf::{CRFModel, crf_decode, crf_forward};
    #[pymodule_export]
    use crate::crf_data::CRFData;
    #[pymodule_export]
    use crate::cross_entropy::{cross_entropy_backward, cross_entropy_forward};
    #[pymodule_export]
    use crate::ctc::ctc_forward;
    #[pymodule_export]
    use crate::dropout::dropout_apply;
    #[pymodule_export]
    use crate::embedding::{embedding_backward, embedding_forward};
    #[pymodule_export]
    use crate::files::files_exchange;
    #[pymodule_export]
    use crate::hmm::{
        hmm_counts, hmm_decode, hmm_decode_trigrams, hmm_expect, hmm_filter, hmm_gaussian,
        hmm_mixture, hmm_moments, hmm_responsibilities,
    };
    #[pymodule_export]
    use crate::interpolation::{InterpolationTaps, interpolation_backward, interpolation_forward};
    #[pymodule_export]
    use crate::layers::layers_forward;
    #[pymodule_export]
    use crate::loss::{loss_backward, loss_forward, nll_backward, nll_forward};
    #[pymodule_export]
    use crate::matmul::{
        linear_backward, linear_forward, matmul_batched, matmul_matrices, matmul_ready,
    };
    #[pymodule_export]
    use crate::ngram::{NGramModel, ngram_count, ngram_estimate_ids, ngram_mix};
    #[pymodule_export]
    use crate::ngram_counts::{NGramShard, NGramText};
    #[pymodule_export]
    use crate::ngram_state::NGramState;
    #[pymodule_export]
    use crate::norm::{
        channel_norm_backward, channel_norm_forward, layer_norm_backward, layer_norm_forward,
    };
    #[pymodule_export]
    use crate::optimizer::{
        optimizer_adadelta, optimizer_adagrad, optimizer_adam, optimizer_adamax,
        optimizer_clip_norm, optimizer_clip_value, optimizer_nadam, optimizer_radam,
        optimizer_rmsprop, optimizer_sgd,
    };
    #[pymodule_export]
    use crate::order::order_top;
    #[pymodule_export]
    use crate::pooling::{
        PoolOptions, adaptive_avg_pool2d_backward, adaptive_avg_pool2d_forward,
        adaptive_max_pool2d_forward, avg_pool2d_backward, avg_pool2d_forward, max_pool2d_backward,
        max_pool2d_forward, max_pool2d_index_backward, max_pool2d_values,
    };
    #[pymodule_export]
    use crate::profile::{profile_start, profile_stop};
    #[pymodule_export]
    use crate::recurrent::{
        gru_backward, gru_forward, lstm_backward, lstm_forward, rnn_relu_backward,
        rnn_relu_forward, rnn_tanh_backward, rnn_tanh_forward,
    };
    #[pymodule_export]
    use crate::reduction::{
        reduction_deviation, reduction_extreme_backward, reduction_first_largest,
        reduction_first_smallest, reduction_largest, reduction_logsumexp,
        reduction_logsumexp_backward, reduction_mean, reduction_norm, reduction_norm_backward,
        reduction_product, reduction_product_backward, reduction_scan, reduction_smallest,
        reduction_sum, reduction_variance, reduction_variance_backward,
    };
    #[pymodule_export]
    use crate::selection::{gather_backward, gather_forward, triangle};
    #[pymodule_export]
    use crate::softmax::{
        log_softmax_backward, log_softmax_forward, softmax_backward, softmax_forward,
    };
    #[pymodule_export]
    use crate::system::{empty, empty_regions, isa, machine_limits, num_threads, set_num_threads};
    #[pymodule_export]
    use crate::text::Tokenizer;
    #[pymodule_export]
    use crate::word2vec::{
        Word2VecCounter, Word2VecTrainer, word2vec_hash, word2vec_load, word2vec_save,
        word2vec_subwords,
    };

    #[pymodule_init]
    fn init(_module: &Bound<'_, PyModule>) -> PyResult<()> {
        system::start()
    }
}
