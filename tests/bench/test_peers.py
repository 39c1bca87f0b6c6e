"""Every row builds and runs in lamina: small ones as they are, large ones through the same code."""

import numpy as np
import pytest

from lamina import nn
from lamina.bench import CASES, PEERS, kernels, latency, networks, steps
from lamina.bench.libraries import of_peer
from lamina.tensor import Tensor

BOTH = (1.0, 1.0)
SMALL = [
    kernels.matmul(5, 6, 7, 1.0),
    kernels.fixed_weight(3, 8, 4, 1.0),
    kernels.vector_matrix(6, 9, 1.0),
    kernels.batched(3, 4, 5, 6, 1.0),
    *kernels.conv(2, 3, 9, 4, 3, BOTH),
    *kernels.conv(2, 3, 9, 4, 1, BOTH),
    *kernels.conv(2, 3, 14, 4, 7, BOTH, stride=2),
    *kernels.conv(2, 4, 9, 4, 3, BOTH, groups=4),
    *kernels.max_pool(2, 3, 12, BOTH),
    *kernels.recurrent("LSTM", 4, 3, 5, 6, BOTH),
    *kernels.recurrent("GRU", 4, 1, 5, 5, BOTH),
    *kernels.attention(2, 3, 8, 4, BOTH),
    kernels.cross_entropy(6, 11, 1.0),
    *(case for name in ("gelu", "tanh", "softmax") for case in kernels.rowwise(name, 5, 9, BOTH)),
    *kernels.rowwise("layer norm", 5, 9, BOTH),
    kernels.adamw(2, 3, 4, 1.0),
    latency.encoder(1.0, length=5, vocab=50, context=8, dim=24, heads=2, layers=2),
]
# Cheap at their real size.
AS_THEY_ARE = {
    "matmul 64 x 64 x 64",
    "matmul 256 x 256 x 256",
    "matmul, fixed weight 32 x 1024 x 1024",
    "vector-matrix 768 x 3072",
    "batched matmul 48 x [128 x 64] x [64 x 128]",
    "causal attention 12 x 4 x 64 x 32",
    "GRU, with gradients T 128, B 1, 256 -> 256",
    "MLP prediction 784-128-10, batch 1",
    "LeNet-5 prediction 1 x 28 x 28, batch 1",
    "parallel regions 1,000 without work, hot pool",
    "ops.relu from Python 32 values",
}
STEPS = {
    "mlp": steps.mlp((12, 8, 4), batch=6),
    "lenet5": steps.lenet5(batch=4),
    "vgg11": steps.vgg11(width=4, batch=8),
    "resnet18": steps.resnet18(width=4, batch=4),
    "unet": steps.unet(base=4, batch=2, side=16),
    "lstm_lm": steps.lstm_lm(vocab=30, width=8, length=5, batch=3),
    "nanogpt": steps.nanogpt(batch=2, length=16),
    "bert": steps.bert(batch=2, length=16, vocab=40, context=16, dim=24, heads=2, layers=2),
    "gpt2": steps.gpt2(length=12, vocab=40, context=16, dim=64, layers=2),
}


def once(case, peer="lamina"):
    work = case.lamina() if peer == "lamina" else case.peers[peer]()
    with work.context():
        return work.call()


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.title)
def test_small_rows_run(case):
    once(case)


@pytest.mark.parametrize(
    "case", [case for case in PEERS if case.title in AS_THEY_ARE], ids=lambda case: case.title
)
def test_cheap_rows_run_as_they_are(case):
    once(case)


def test_cheap_rows_exist():
    assert {case.title for case in PEERS} > AS_THEY_ARE


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.title)
def test_numpy_computes_the_same(case):
    if "numpy" in case.peers:
        np.testing.assert_allclose(once(case).data, once(case, "numpy"), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", STEPS)
def test_a_step_learns(name):
    work = steps.by_lamina(STEPS[name])
    with work.context():
        losses = [float(work.call().item()) for _ in range(12)]
    assert np.isfinite(losses).all()
    assert min(losses[-3:]) < losses[0]


@pytest.mark.parametrize(
    ("network", "parameters"),
    [
        (networks.mlp, 101_770),
        (networks.lenet5, 61_706),
        (networks.vgg11, 9_231_114),
        (networks.resnet18, 11_173_962),
        (networks.UNet, 1_925_025),
        (networks.RecurrentLM, 4_653_200),
        (networks.nanogpt, 804_096),
        (lambda: networks.MaskedLM(networks.Encoder()), 22_744_506),
    ],
)
def test_networks_have_the_size_of_the_peers(network, parameters):
    assert network().num_parameters() == parameters


def test_the_state_of_the_lstm_goes_on():
    network = networks.RecurrentLM(20, 8)
    ids = np.arange(6).reshape(3, 2)
    zero = tuple(Tensor(np.zeros((2, 2, 8), np.float32)) for _ in range(2))
    y, *state = network(ids, zero)
    assert y.shape == (3, 2, 20)
    assert all(s.shape == (2, 2, 8) for s in state)
    again, *_ = network(ids, tuple(state))
    assert not np.allclose(y.data, again.data)


def test_the_head_of_bert_is_its_token_table():
    network = networks.MaskedLM(networks.Encoder(20, 8, 12, 2, 1))
    assert network(np.arange(8)[None]).shape == (8, 20)
    assert sum(p.shape == (20, 12) for p in network.parameters()) == 1
    assert isinstance(network, nn.Module)


@pytest.mark.parametrize("cases", [CASES, PEERS])
def test_titles_differ(cases):
    assert len({case.title for case in cases}) == len(cases)


@pytest.mark.parametrize("case", PEERS, ids=lambda case: case.title)
def test_every_row_knows_its_bar_and_its_peers(case):
    assert case.bar or case.most_seconds
    assert case.peers or not case.bar
    assert {of_peer(peer) for peer in case.peers} <= {"numpy", "torch", "onnxruntime", "lamina"}
    assert case.against is None or case.against in case.peers


def test_training_steps_are_marked():
    marked = [case for case in PEERS if case.is_step]
    assert {case.family for case in marked} == {"training"}
    assert len(marked) == 10
    assert all(case.flops > 0 for case in marked)
