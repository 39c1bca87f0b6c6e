"""Stub of the extension module; checked against it by stubtest."""

import os
from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from typing import Any, final

import numpy.typing as npt

__all__ = [
    "CRFData",
    "CRFModel",
    "ConvOptions",
    "InterpolationTaps",
    "NGramModel",
    "NGramShard",
    "NGramState",
    "NGramText",
    "PoolOptions",
    "Tokenizer",
    "Word2VecCounter",
    "Word2VecTrainer",
    "activation_backward",
    "activation_forward",
    "adaptive_avg_pool2d_backward",
    "adaptive_avg_pool2d_forward",
    "adaptive_max_pool2d_forward",
    "arithmetic_add",
    "arithmetic_choose",
    "arithmetic_divide",
    "arithmetic_maximum",
    "arithmetic_minimum",
    "arithmetic_multiply",
    "arithmetic_subtract",
    "attention_backward",
    "attention_forward",
    "avg_pool2d_backward",
    "avg_pool2d_forward",
    "channel_norm_backward",
    "channel_norm_forward",
    "conv2d_backward",
    "conv2d_forward",
    "conv_transpose2d_backward",
    "conv_transpose2d_forward",
    "copied",
    "crf_decode",
    "crf_forward",
    "cross_entropy_backward",
    "cross_entropy_forward",
    "ctc_forward",
    "dropout_apply",
    "embedding_backward",
    "embedding_forward",
    "empty",
    "empty_regions",
    "files_exchange",
    "gather_backward",
    "gather_forward",
    "glu_backward",
    "glu_forward",
    "gru_backward",
    "gru_forward",
    "hmm_counts",
    "hmm_decode",
    "hmm_decode_trigrams",
    "hmm_expect",
    "hmm_filter",
    "hmm_gaussian",
    "hmm_mixture",
    "hmm_moments",
    "hmm_responsibilities",
    "interpolation_backward",
    "interpolation_forward",
    "isa",
    "joined",
    "layer_norm_backward",
    "layer_norm_forward",
    "layers_forward",
    "linear_backward",
    "linear_forward",
    "log_softmax_backward",
    "log_softmax_forward",
    "loss_backward",
    "loss_forward",
    "lstm_backward",
    "lstm_forward",
    "machine_limits",
    "matmul_batched",
    "matmul_matrices",
    "matmul_ready",
    "max_pool2d_backward",
    "max_pool2d_forward",
    "max_pool2d_index_backward",
    "max_pool2d_values",
    "ngram_count",
    "ngram_estimate_ids",
    "ngram_mix",
    "nll_backward",
    "nll_forward",
    "num_threads",
    "optimizer_adadelta",
    "optimizer_adagrad",
    "optimizer_adam",
    "optimizer_adamax",
    "optimizer_clip_norm",
    "optimizer_clip_value",
    "optimizer_nadam",
    "optimizer_radam",
    "optimizer_rmsprop",
    "optimizer_sgd",
    "order_top",
    "padded",
    "profile_start",
    "profile_stop",
    "reduction_deviation",
    "reduction_extreme_backward",
    "reduction_first_largest",
    "reduction_first_smallest",
    "reduction_largest",
    "reduction_logsumexp",
    "reduction_logsumexp_backward",
    "reduction_mean",
    "reduction_norm",
    "reduction_norm_backward",
    "reduction_product",
    "reduction_product_backward",
    "reduction_scan",
    "reduction_smallest",
    "reduction_sum",
    "reduction_variance",
    "reduction_variance_backward",
    "rnn_relu_backward",
    "rnn_relu_forward",
    "rnn_tanh_backward",
    "rnn_tanh_forward",
    "self_attention_backward",
    "self_attention_forward",
    "set_exact",
    "set_num_threads",
    "softmax_backward",
    "softmax_forward",
    "triangle",
    "word2vec_hash",
    "word2vec_load",
    "word2vec_save",
    "word2vec_subwords",
]

_Array = npt.NDArray[Any]
_Pair = tuple[int, int]
_Gradients = tuple[_Array | None, _Array | None, _Array | None]

def isa() -> str: ...
def num_threads() -> int: ...
def set_num_threads(n: int, /) -> None: ...
def machine_limits() -> tuple[float, float]: ...
def empty(shape: Sequence[int], double: bool = False, /) -> _Array: ...
def empty_regions(count: int, /) -> None: ...
def profile_start() -> None: ...
def profile_stop() -> dict[str, tuple[int, float]]: ...
def gather_forward(x: _Array, dim: int, index: _Array, /) -> _Array: ...
def gather_backward(dy: _Array, dim: int, index: _Array, n: int, /) -> _Array: ...
def triangle(x: _Array, diagonal: int, lower: bool, /) -> _Array: ...
def glu_forward(x: _Array, /) -> _Array: ...
def glu_backward(dy: _Array, x: _Array, /) -> _Array: ...
def softmax_forward(x: _Array, dim: int, /) -> _Array: ...
def softmax_backward(dy: _Array, y: _Array, dim: int, /) -> _Array: ...
def log_softmax_forward(x: _Array, dim: int, /) -> _Array: ...
def log_softmax_backward(dy: _Array, y: _Array, dim: int, /) -> _Array: ...
def matmul_matrices(a: _Array, b: _Array, /) -> _Array: ...
def matmul_ready(a: _Array, b: _Array, /) -> _Array | None: ...
def matmul_batched(a: _Array, b: _Array, /) -> _Array: ...
def linear_forward(
    x: _Array, weight: _Array, bias: _Array | None, activation_name: str, save: bool, /
) -> tuple[_Array, _Array | None]: ...
def linear_backward(
    dy: _Array,
    x: _Array,
    weight: _Array,
    activation_name: str,
    kept: _Array | None,
    needs: tuple[bool, bool, bool],
    /,
) -> tuple[_Array | None, _Array | None, _Array | None]: ...
def activation_forward(name: str, input: _Array, a: float = 0.0, b: float = 0.0, /) -> _Array: ...
def activation_backward(
    name: str, dy: _Array, kept: _Array, a: float = 0.0, b: float = 0.0, /
) -> _Array: ...
def dropout_apply(input: _Array, p: float, seed: int, /) -> _Array: ...
def embedding_forward(ids: _Array, weight: _Array, /) -> _Array: ...
def embedding_backward(
    dy: _Array, ids: _Array, rows: int, padding: int | None = None, /
) -> _Array: ...
def layer_norm_forward(
    input: _Array,
    axes: int,
    weight: _Array | None,
    bias: _Array | None,
    centred: bool,
    eps: float,
    /,
) -> tuple[_Array, _Array]: ...
def layer_norm_backward(
    dy: _Array,
    x: _Array,
    moments: _Array,
    axes: int,
    weight: _Array | None,
    centred: bool,
    eps: float,
    needs: bool,
    /,
) -> tuple[_Array, _Array | None, _Array | None]: ...
def channel_norm_forward(
    input: _Array,
    groups: int | None,
    mean: _Array | None,
    var: _Array | None,
    weight: _Array | None,
    bias: _Array | None,
    eps: float,
    /,
) -> tuple[_Array, _Array]: ...
def channel_norm_backward(
    dy: _Array,
    x: _Array,
    groups: int | None,
    moments: _Array,
    fixed: bool,
    weight: _Array | None,
    eps: float,
    needs: bool,
    /,
) -> tuple[_Array, _Array | None, _Array | None]: ...
def cross_entropy_forward(
    logits: _Array,
    targets: _Array,
    weight: _Array | None,
    ignore_index: int,
    label_smoothing: float,
    reduction: str,
    gradient: bool,
    /,
) -> tuple[_Array, _Array, _Array | None]: ...
def cross_entropy_backward(
    dy: _Array,
    logits: _Array,
    targets: _Array,
    stats: _Array,
    weight: _Array | None,
    ignore_index: int,
    label_smoothing: float,
    reduction: str,
    /,
) -> _Array: ...
def ctc_forward(
    y: _Array,
    labels: _Array,
    stride: int,
    input_lengths: _Array,
    target_lengths: _Array,
    blank: int,
    zero_infinity: bool,
    gradient: bool,
    /,
) -> tuple[_Array, _Array | None]: ...
def loss_forward(
    name: str,
    x: _Array,
    t: _Array,
    weight: _Array | None,
    pos_weight: _Array | None,
    parameter: float,
    reduction: str,
    /,
) -> _Array: ...
def loss_backward(
    name: str,
    of_target: bool,
    dy: _Array,
    x: _Array,
    t: _Array,
    weight: _Array | None,
    pos_weight: _Array | None,
    parameter: float,
    reduction: str,
    /,
) -> _Array: ...
def nll_forward(
    x: _Array,
    targets: _Array,
    weight: _Array | None,
    ignore_index: int,
    reduction: str,
    /,
) -> _Array: ...
def nll_backward(
    dy: _Array,
    columns: int,
    targets: _Array,
    weight: _Array | None,
    ignore_index: int,
    reduction: str,
    /,
) -> _Array: ...
def optimizer_sgd(
    params: list[_Array],
    grads: list[_Array],
    states: list[_Array],
    steps: Sequence[int],
    lr: float,
    weight_decay: float,
    maximize: bool,
    momentum: float,
    dampening: float,
    nesterov: bool,
    /,
) -> None: ...
def optimizer_adam(
    params: list[_Array],
    grads: list[_Array],
    states: list[_Array],
    steps: Sequence[int],
    lr: float,
    weight_decay: float,
    maximize: bool,
    beta1: float,
    beta2: float,
    eps: float,
    amsgrad: bool,
    decoupled: bool,
    /,
) -> None: ...
def optimizer_rmsprop(
    params: list[_Array],
    grads: list[_Array],
    states: list[_Array],
    steps: Sequence[int],
    lr: float,
    weight_decay: float,
    maximize: bool,
    alpha: float,
    eps: float,
    momentum: float,
    centered: bool,
    /,
) -> None: ...
def optimizer_adagrad(
    params: list[_Array],
    grads: list[_Array],
    states: list[_Array],
    steps: Sequence[int],
    lr: float,
    weight_decay: float,
    maximize: bool,
    lr_decay: float,
    eps: float,
    /,
) -> None: ...
def optimizer_adadelta(
    params: list[_Array],
    grads: list[_Array],
    states: list[_Array],
    steps: Sequence[int],
    lr: float,
    weight_decay: float,
    maximize: bool,
    rho: float,
    eps: float,
    /,
) -> None: ...
def optimizer_adamax(
    params: list[_Array],
    grads: list[_Array],
    states: list[_Array],
    steps: Sequence[int],
    lr: float,
    weight_decay: float,
    maximize: bool,
    beta1: float,
    beta2: float,
    eps: float,
    /,
) -> None: ...
def optimizer_nadam(
    params: list[_Array],
    grads: list[_Array],
    states: list[_Array],
    steps: Sequence[int],
    products: Sequence[float],
    lr: float,
    weight_decay: float,
    maximize: bool,
    beta1: float,
    beta2: float,
    eps: float,
    momentum_decay: float,
    decoupled: bool,
    /,
) -> None: ...
def optimizer_radam(
    params: list[_Array],
    grads: list[_Array],
    states: list[_Array],
    steps: Sequence[int],
    lr: float,
    weight_decay: float,
    maximize: bool,
    beta1: float,
    beta2: float,
    eps: float,
    decoupled: bool,
    /,
) -> None: ...
def optimizer_clip_norm(
    grads: list[_Array], max_norm: float, norm_type: float, error_if_nonfinite: bool, /
) -> float: ...
def optimizer_clip_value(grads: list[_Array], clip_value: float, /) -> None: ...
def files_exchange(a: str | PathLike[str], b: str | PathLike[str], /) -> bool: ...

@final
class Tokenizer:
    @staticmethod
    def train_bpe(
        texts: Iterable[str],
        vocab_size: int,
        special_tokens: Sequence[str],
        min_frequency: int,
        /,
    ) -> Tokenizer: ...
    @staticmethod
    def from_json(text: str, /) -> Tokenizer: ...
    def to_json(self) -> str: ...
    def encode(self, texts: Sequence[str], add_special_tokens: bool = True, /) -> list[_Array]: ...
    def decode(self, ids: _Array, skip_special_tokens: bool = False, /) -> str: ...
    @property
    def vocab_size(self) -> int: ...
    def vocab(self) -> dict[str, int]: ...
    def token_to_id(self, token: str, /) -> int | None: ...
    def id_to_token(self, id: int, /) -> str | None: ...

def gru_forward(
    x: _Array, states: Sequence[_Array], weights: Sequence[_Array], batch_first: bool, /
) -> tuple[_Array, list[_Array], _Array, _Array]: ...
def gru_backward(
    dy: _Array | None,
    d_last: Sequence[_Array | None],
    x: _Array,
    states: Sequence[_Array],
    weights: Sequence[_Array],
    kept: Sequence[_Array],
    batch_first: bool,
    needs: tuple[bool, bool],
    /,
) -> tuple[_Array | None, list[_Array], list[_Array]]: ...
def lstm_forward(
    x: _Array, states: Sequence[_Array], weights: Sequence[_Array], batch_first: bool, /
) -> tuple[_Array, list[_Array], _Array, _Array]: ...
def lstm_backward(
    dy: _Array | None,
    d_last: Sequence[_Array | None],
    x: _Array,
    states: Sequence[_Array],
    weights: Sequence[_Array],
    kept: Sequence[_Array],
    batch_first: bool,
    needs: tuple[bool, bool],
    /,
) -> tuple[_Array | None, list[_Array], list[_Array]]: ...
def rnn_relu_forward(
    x: _Array, states: Sequence[_Array], weights: Sequence[_Array], batch_first: bool, /
) -> tuple[_Array, list[_Array], _Array, _Array]: ...
def rnn_relu_backward(
    dy: _Array | None,
    d_last: Sequence[_Array | None],
    x: _Array,
    states: Sequence[_Array],
    weights: Sequence[_Array],
    kept: Sequence[_Array],
    batch_first: bool,
    needs: tuple[bool, bool],
    /,
) -> tuple[_Array | None, list[_Array], list[_Array]]: ...
def rnn_tanh_forward(
    x: _Array, states: Sequence[_Array], weights: Sequence[_Array], batch_first: bool, /
) -> tuple[_Array, list[_Array], _Array, _Array]: ...
def rnn_tanh_backward(
    dy: _Array | None,
    d_last: Sequence[_Array | None],
    x: _Array,
    states: Sequence[_Array],
    weights: Sequence[_Array],
    kept: Sequence[_Array],
    batch_first: bool,
    needs: tuple[bool, bool],
    /,
) -> tuple[_Array | None, list[_Array], list[_Array]]: ...
def attention_forward(
    q: _Array, k: _Array, v: _Array, mask: _Array | None, causal: bool, scale: float, /
) -> tuple[_Array, _Array]: ...
def attention_backward(
    dy: _Array,
    q: _Array,
    k: _Array,
    v: _Array,
    mask: _Array | None,
    causal: bool,
    scale: float,
    y: _Array,
    lse: _Array,
    /,
) -> tuple[_Array, _Array, _Array]: ...
def self_attention_forward(
    qkv: _Array,
    num_heads: int,
    num_kv_heads: int,
    mask: _Array | None,
    causal: bool,
    scale: float,
    /,
) -> tuple[_Array, _Array]: ...
def self_attention_backward(
    dy: _Array,
    qkv: _Array,
    num_heads: int,
    num_kv_heads: int,
    mask: _Array | None,
    causal: bool,
    scale: float,
    y: _Array,
    lse: _Array,
    /,
) -> _Array: ...

@final
class CRFData:
    def __new__(cls, x: Any, y: Any, labels: Sequence[str], /) -> CRFData: ...
    def read(self, x: Any, y: Any | None, /) -> CRFData: ...
    def sizes(self) -> tuple[int, int, int]: ...
    def __len__(self) -> int: ...
    def lengths(self) -> list[int]: ...

@final
class CRFModel:
    def __new__(cls, labels: Sequence[str], /) -> CRFModel: ...
    @staticmethod
    def train(
        data: CRFData,
        holdout: CRFData | None,
        settings: dict[str, Any],
        report: Callable[[dict[str, float]], bool | None],
        /,
    ) -> CRFModel: ...
    def collect(self, x: Any, y: Any, /) -> CRFData: ...
    def read(self, x: Any, y: Any | None = None, /) -> CRFData: ...
    def adapt(
        self, data: CRFData, squares: _Array, rate: float, batch_size: int, /
    ) -> tuple[CRFModel, _Array, float]: ...
    def tag(self, data: CRFData, /) -> list[list[str]]: ...
    def best_few(self, data: CRFData, count: int, /) -> list[list[tuple[list[str], float]]]: ...
    def marginals(self, data: CRFData, /) -> tuple[_Array, _Array]: ...
    def scores(self, data: CRFData, /) -> _Array: ...
    def accuracy(self, data: CRFData, /) -> tuple[float, float]: ...
    def labels(self) -> list[str]: ...
    def attributes(self) -> list[str]: ...
    def parts(
        self,
    ) -> tuple[_Array, _Array, _Array, _Array, _Array, _Array, _Array, _Array, _Array]: ...
    @staticmethod
    def from_parts(
        label_text: _Array,
        label_ends: _Array,
        attribute_text: _Array,
        attribute_ends: _Array,
        ends: _Array,
        labels: _Array,
        weights: _Array,
        transitions: _Array,
        present: _Array,
        /,
    ) -> CRFModel: ...

def crf_forward(
    emissions: _Array,
    tags: _Array,
    lengths: _Array,
    start: _Array,
    end: _Array,
    transitions: _Array,
    gradient: bool,
    /,
) -> tuple[_Array, tuple[_Array, _Array] | None]: ...
def crf_decode(
    emissions: _Array, lengths: _Array, start: _Array, end: _Array, transitions: _Array, /
) -> tuple[_Array, _Array]: ...
def ngram_count(ids: _Array, order: int, /) -> tuple[_Array, _Array]: ...
def ngram_estimate_ids(
    tokens: _Array,
    vocab_size: int,
    order: int,
    method: dict[str, Any],
    held_out: _Array | None,
    /,
) -> tuple[NGramModel, list[list[float]], list[list[float]], list[str]]: ...
def ngram_mix(models: list[NGramModel], weights: list[float], /) -> NGramModel: ...

@final
class NGramModel:
    @property
    def order(self) -> int: ...
    @property
    def counts(self) -> list[int]: ...
    @staticmethod
    def load_arpa(path: str | os.PathLike[str], vocab_size: int | None = None, /) -> NGramModel: ...
    def save_arpa(self, path: str | os.PathLike[str], /) -> None: ...
    def __len__(self) -> int: ...
    def absent(self) -> _Array: ...
    def vocabulary(self) -> list[str]: ...
    def id(self, word: str, /) -> int | None: ...
    def encode(self, text: str, finish: bool, /) -> _Array: ...
    def score(self, tokens: _Array, begin: bool, sentences: bool, /) -> tuple[_Array, _Array]: ...
    def next(self, tokens: _Array, sentences: bool, /) -> _Array: ...
    def prune(self, threshold: float, /) -> NGramModel: ...
    def limit(self, words: list[str], /) -> NGramModel: ...
    def sums(self, tolerance: float, most: int, /) -> tuple[int, int, list[tuple[float, str]]]: ...
    @staticmethod
    def load_binary(path: str | os.PathLike[str], lazy: bool, /) -> NGramModel: ...
    def save_binary(self, path: str | os.PathLike[str], kind: str, bits: int, /) -> None: ...
    def convert(self, kind: str, bits: int, /) -> NGramModel: ...
    @property
    def kind(self) -> str: ...
    @property
    def numbers(self) -> int | None: ...
    @property
    def error(self) -> float: ...
    def step(self, state: NGramState, word: str | int, /) -> tuple[float, NGramState]: ...
    def step_into(self, state: NGramState, word: str | int, out: NGramState, /) -> float: ...
    def full_step_into(
        self, state: NGramState, word: str | int, out: NGramState, /
    ) -> tuple[float, int, bool]: ...
    def begin_state(self) -> NGramState: ...
    def begin_into(self, out: NGramState, /) -> None: ...
    def null_into(self, out: NGramState, /) -> None: ...
    def state(self, tokens: _Array, sentences: bool, /) -> NGramState: ...
    def query(
        self, text: str, context: bool, verbosity: int, /
    ) -> tuple[bytes, float, float, int, int]: ...

@final
class NGramState:
    def __new__(cls) -> NGramState: ...
    @property
    def words(self) -> list[int]: ...
    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...
    def __hash__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __lt__(self, other: NGramState, /) -> bool: ...
    def __le__(self, other: NGramState, /) -> bool: ...
    def __gt__(self, other: NGramState, /) -> bool: ...
    def __ge__(self, other: NGramState, /) -> bool: ...
    def __copy__(self) -> NGramState: ...
    def __deepcopy__(self, memo: object, /) -> NGramState: ...

@final
class NGramText:
    def __new__(
        cls, memory: int | None = None, temp: str | os.PathLike[str] | None = None, /
    ) -> NGramText: ...
    def add(self, text: str, /) -> None: ...
    def add_file(self, path: str | os.PathLike[str], skip_special: bool, /) -> None: ...
    def __len__(self) -> int: ...
    def encode(self, text: str, /) -> _Array: ...
    def estimate(
        self,
        order: int,
        method: dict[str, Any],
        prune: Sequence[int],
        held_out: _Array | None,
        /,
    ) -> tuple[NGramModel, list[list[float]], list[list[float]], list[str]]: ...
    def estimate_to_file(
        self,
        order: int,
        method: dict[str, Any],
        prune: Sequence[int],
        held_out: _Array | None,
        path: str | os.PathLike[str],
        arpa: bool,
        /,
    ) -> tuple[list[int], list[list[float]], list[str]]: ...
    def count(self, order: int, /) -> NGramShard: ...

@final
class NGramShard:
    @property
    def order(self) -> int: ...
    @staticmethod
    def load(path: str | os.PathLike[str], /) -> NGramShard: ...
    def save(self, path: str | os.PathLike[str], /) -> None: ...
    def merge(self, other: NGramShard, /) -> NGramShard: ...
    def encode(self, text: str, /) -> _Array: ...
    def estimate(
        self, method: dict[str, Any], prune: Sequence[int], held_out: _Array | None, /
    ) -> tuple[NGramModel, list[list[float]], list[list[float]], list[str]]: ...
    def __len__(self) -> int: ...
    def vocabulary(self) -> list[str]: ...
    def occurrences(self, words: Sequence[str], /) -> int: ...
    def rows(self, start: int, end: int, /) -> tuple[_Array, _Array]: ...

def set_exact(exact: bool, /) -> None: ...
def layers_forward(
    x: _Array,
    layers: list[tuple[str, Any, Any, ConvOptions | PoolOptions | None]],
    /,
) -> _Array: ...

@final
class ConvOptions:
    def __new__(
        cls,
        stride: _Pair,
        padding: tuple[_Pair, _Pair],
        dilation: _Pair,
        groups: int,
        /,
    ) -> ConvOptions: ...

def conv2d_forward(
    x: _Array,
    weight: _Array,
    bias: _Array | None,
    options: ConvOptions,
    activation: str,
    /,
) -> _Array: ...
def conv2d_backward(
    dy: _Array,
    x: _Array,
    weight: _Array,
    options: ConvOptions,
    needs: tuple[bool, bool, bool],
    /,
) -> _Gradients: ...
def conv_transpose2d_forward(
    x: _Array,
    weight: _Array,
    bias: _Array | None,
    options: ConvOptions,
    output_padding: _Pair,
    /,
) -> _Array: ...
def conv_transpose2d_backward(
    dy: _Array,
    x: _Array,
    weight: _Array,
    options: ConvOptions,
    output_padding: _Pair,
    needs: tuple[bool, bool, bool],
    /,
) -> _Gradients: ...

@final
class PoolOptions:
    def __new__(
        cls,
        kernel: _Pair,
        stride: _Pair,
        padding: _Pair,
        dilation: _Pair,
        ceil_mode: bool,
        /,
    ) -> PoolOptions: ...

def max_pool2d_forward(
    x: _Array,
    options: PoolOptions,
    indices: bool,
    /,
) -> tuple[_Array, _Array]: ...
def max_pool2d_values(x: _Array, options: PoolOptions, /) -> _Array: ...
def max_pool2d_backward(
    dy: _Array,
    taps: _Array,
    plane: _Pair,
    options: PoolOptions,
    /,
) -> _Array: ...
def max_pool2d_index_backward(dy: _Array, indices: _Array, plane: _Pair, /) -> _Array: ...
def adaptive_max_pool2d_forward(x: _Array, output_size: _Pair, /) -> tuple[_Array, _Array]: ...
def avg_pool2d_forward(
    x: _Array,
    options: PoolOptions,
    count_include_pad: bool,
    divisor_override: int | None,
    /,
) -> _Array: ...
def avg_pool2d_backward(
    dy: _Array,
    plane: _Pair,
    options: PoolOptions,
    count_include_pad: bool,
    divisor_override: int | None,
    /,
) -> _Array: ...
def adaptive_avg_pool2d_forward(x: _Array, output_size: _Pair, /) -> _Array: ...
def adaptive_avg_pool2d_backward(dy: _Array, plane: _Pair, /) -> _Array: ...

@final
class InterpolationTaps:
    def __new__(cls, length: int, places: _Array, share: _Array | None, /) -> InterpolationTaps: ...

def interpolation_forward(
    x: _Array, rows: InterpolationTaps | None, columns: InterpolationTaps | None, /
) -> _Array: ...
def interpolation_backward(
    dy: _Array, rows: InterpolationTaps | None, columns: InterpolationTaps | None, /
) -> _Array: ...
def arithmetic_add(a: _Array, b: _Array, /) -> _Array: ...
def arithmetic_subtract(a: _Array, b: _Array, /) -> _Array: ...
def arithmetic_multiply(a: _Array, b: _Array, /) -> _Array: ...
def arithmetic_divide(a: _Array, b: _Array, /) -> _Array: ...
def arithmetic_maximum(a: _Array, b: _Array, /) -> _Array: ...
def arithmetic_minimum(a: _Array, b: _Array, /) -> _Array: ...
def arithmetic_choose(mask: _Array, a: _Array, b: _Array, /) -> _Array: ...
def copied(x: _Array, /) -> _Array: ...
def joined(parts: Sequence[_Array], /) -> _Array: ...
def padded(x: _Array, pairs: Sequence[_Pair], value: float, /) -> _Array: ...
def order_top(x: _Array, k: int, largest: bool, /) -> tuple[_Array, _Array]: ...
def reduction_sum(x: _Array, axes: _Pair, keepdim: bool, /) -> _Array: ...
def reduction_product(x: _Array, axes: _Pair, keepdim: bool, /) -> _Array: ...
def reduction_largest(x: _Array, axes: _Pair, keepdim: bool, /) -> _Array: ...
def reduction_smallest(x: _Array, axes: _Pair, keepdim: bool, /) -> _Array: ...
def reduction_norm(x: _Array, axes: _Pair, keepdim: bool, /) -> _Array: ...
def reduction_logsumexp(x: _Array, axes: _Pair, keepdim: bool, /) -> _Array: ...
def reduction_mean(x: _Array, axes: _Pair, keepdim: bool, /) -> _Array: ...
def reduction_variance(
    x: _Array, axes: _Pair, keepdim: bool, left: float, /
) -> tuple[_Array, _Array]: ...
def reduction_deviation(
    x: _Array, axes: _Pair, keepdim: bool, left: float, /
) -> tuple[_Array, _Array]: ...
def reduction_first_largest(x: _Array, axes: _Pair, keepdim: bool, /) -> tuple[_Array, _Array]: ...
def reduction_first_smallest(x: _Array, axes: _Pair, keepdim: bool, /) -> tuple[_Array, _Array]: ...
def reduction_extreme_backward(dy: _Array, x: _Array, y: _Array, axes: _Pair, /) -> _Array: ...
def reduction_logsumexp_backward(dy: _Array, x: _Array, y: _Array, axes: _Pair, /) -> _Array: ...
def reduction_variance_backward(
    slope: _Array, x: _Array, mean: _Array, axes: _Pair, /
) -> _Array: ...
def reduction_norm_backward(slope: _Array, x: _Array, axes: _Pair, /) -> _Array: ...
def reduction_product_backward(slope: _Array, x: _Array, axes: _Pair, /) -> _Array: ...
def reduction_scan(x: _Array, dim: int, product: bool, reverse: bool, /) -> _Array: ...
def hmm_expect(
    start: _Array,
    trans: _Array,
    emissions: _Array,
    symbols: _Array | None,
    lengths: _Array,
    weights: _Array | None,
    want: int,
    /,
) -> tuple[_Array, _Array, _Array, _Array, _Array]: ...
def hmm_decode(
    start: _Array, trans: _Array, emissions: _Array, symbols: _Array | None, lengths: _Array, /
) -> tuple[_Array, _Array]: ...
def hmm_filter(
    start: _Array, trans: _Array, table: _Array, symbols: _Array, lengths: _Array, /
) -> tuple[_Array, _Array]: ...
def hmm_decode_trigrams(
    trans: _Array, end: _Array, frames: _Array, lengths: _Array, /
) -> _Array: ...
def hmm_gaussian(
    x: _Array, means: _Array, spread: _Array, full: bool, offsets: _Array, /
) -> _Array: ...
def hmm_counts(x: _Array, log_rates: _Array, offsets: _Array, base: _Array, /) -> _Array: ...
def hmm_mixture(logs: _Array, mixed: int, /) -> _Array: ...
def hmm_responsibilities(logs: _Array, mixed: _Array, posteriors: _Array, /) -> _Array: ...
def hmm_moments(weights: _Array, x: _Array, products: int, /) -> _Array: ...

@final
class Word2VecCounter:
    def __new__(cls, max_size: int | None = None, /) -> Word2VecCounter: ...
    def add(self, sentences: Iterable[Iterable[str]], /) -> None: ...
    def read(self, path: str | os.PathLike[str], /) -> None: ...
    @property
    def words(self) -> int: ...
    @property
    def sentences(self) -> int: ...
    def finish(self, min_count: int, max_final: int | None, /) -> tuple[list[str], _Array]: ...

@final
class Word2VecTrainer:
    def __new__(
        cls,
        words: Sequence[str],
        counts: _Array,
        /,
        *,
        skip_gram: bool,
        hierarchical: bool,
        negative: int,
        ns_exponent: float,
        sample: float,
        window: int,
        shrink_windows: bool,
        mean: bool,
        shared_negatives: bool,
        subwords: tuple[int, int, int] | None,
        batch_words: int,
    ) -> Word2VecTrainer: ...
    def encode(self, sentences: Iterable[Iterable[str]], /) -> tuple[_Array, _Array]: ...
    def train(
        self,
        sentences: str | os.PathLike[str] | tuple[_Array, _Array],
        input: _Array,
        hidden: _Array,
        nodes: _Array,
        /,
        *,
        words: int,
        alpha: tuple[float, float],
        seed: int,
        number: int,
        workers: int,
        compute_loss: bool,
        progress: Callable[[int], object] | None = None,
    ) -> tuple[float, int, int]: ...
    def vectors(self, input: _Array, width: int, /) -> _Array: ...

def word2vec_hash(bytes: bytes, /) -> int: ...
def word2vec_load(
    path: str | os.PathLike[str], binary: bool, no_header: bool, limit: int | None, /
) -> tuple[list[str], _Array]: ...
def word2vec_save(
    path: str | os.PathLike[str],
    words: Sequence[str],
    vectors: _Array,
    binary: bool,
    no_header: bool,
    compressed: bool,
    /,
) -> None: ...
def word2vec_subwords(word: str, min_n: int, max_n: int, buckets: int, /) -> _Array: ...
