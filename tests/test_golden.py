"""Every recorded answer of PyTorch against lamina's, outputs and gradients.

The folder comes from `LAMINA_GOLDEN` (default `tests/golden`); a case that no rule here runs fails.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from lamina import Tensor, nn, ops, optim
from lamina.nn import Parameter

FOLDER = Path(os.environ.get("LAMINA_GOLDEN", Path(__file__).parent / "golden"))
CASES = sorted((FOLDER / "ops").glob("*.npz"))
TOLERANCE = 1e-5


def assert_close(name, got, expected):
    """Largest error relative to the largest number expected."""
    got = np.asarray(got, dtype=np.float64)
    expected = np.asarray(expected, dtype=np.float64)
    assert got.shape == expected.shape, f"{name}: shape {got.shape}, expected {expected.shape}"
    assert np.array_equal(np.isfinite(got), np.isfinite(expected)), f"{name}: not finite"
    finite = np.isfinite(expected)
    scale = max(np.abs(expected[finite]).max(initial=0.0), 1e-12)
    error = np.abs(got - expected)[finite].max(initial=0.0) / scale
    assert error <= TOLERANCE, f"{name}: error {error:.2e}"


class Case:
    """One file: `x`, `p` are leaves made of its inputs and parameters, `spec` its options."""

    def __init__(self, path):
        with np.load(path, allow_pickle=False) as data:
            self.arrays = {key: data[key] for key in data.files}
        self.name = path.stem
        self.spec = json.loads(str(self.arrays.pop("spec")))
        self.x = self._leaves("in_", Tensor)
        self.p = self._leaves("p_", Parameter)

    def _leaves(self, prefix, kind):
        leaves = {}
        for key, value in self.arrays.items():
            if key.startswith(prefix):
                name = key.removeprefix(prefix)
                grad = f"g_{name}" in self.arrays
                leaves[name] = kind(value, requires_grad=grad) if grad else value
        return leaves

    def check(self, **outputs):
        """Compare outputs, then send the recorded cotangents back and compare gradients."""
        expected = {k.removeprefix("out_"): v for k, v in self.arrays.items() if k[:4] == "out_"}
        assert outputs.keys() == expected.keys()
        for name, value in expected.items():
            assert_close(name, np.asarray(outputs[name]), value)
        total = Tensor(np.zeros((), np.float32))
        for name, output in outputs.items():
            cotangent = self.arrays.get(f"cot_{name}")
            if cotangent is not None:
                total = total + (output * cotangent).sum()
        gradients = {k.removeprefix("g_") for k in self.arrays if k.startswith("g_")}
        if not gradients:
            return
        total.backward()
        for name in gradients:
            leaf = self.x.get(name, self.p.get(name))
            assert leaf.grad is not None, f"{name}: no gradient"
            assert_close(f"gradient of {name}", leaf.grad, self.arrays[f"g_{name}"])


def conv2d(c):
    s = c.spec
    y = ops.conv2d(
        c.x["x"], c.p["w"], c.p["b"], s["stride"], s["padding"], s["dilation"], s["groups"]
    )
    c.check(y=y)


def conv_transpose2d(c):
    s = c.spec
    y = ops.conv_transpose2d(
        c.x["x"], c.p["w"], c.p["b"], s["stride"], s["padding"], s["output_padding"], s["groups"]
    )
    c.check(y=y)


def conv1d(c):
    s = c.spec
    y = ops.conv1d(
        c.x["x"], c.p["w"], c.p["b"], s["stride"], s["padding"], s["dilation"], s["groups"]
    )
    c.check(y=y)


def max_pool2d(c):
    s = c.spec
    c.check(y=ops.max_pool2d(c.x["x"], s["kernel_size"], s["stride"], s["padding"]))


def avg_pool2d(c):
    c.check(y=ops.avg_pool2d(c.x["x"], **c.spec))


def adaptive_avg_pool2d(c):
    c.check(y=ops.adaptive_avg_pool2d(c.x["x"], tuple(c.spec["output_size"])))


def recurrent(c):
    s = c.spec
    kind = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[c.name.split("_")[0]]
    options = {"nonlinearity": s["nonlinearity"]} if kind is nn.RNN else {}
    layer = kind(
        s["I"],
        s["H"],
        s["num_layers"],
        bidirectional=s["bidirectional"],
        batch_first=False,
        **options,
    )
    install(layer, c.p)
    if kind is nn.LSTM:
        y, (h, state) = layer(c.x["x"], (c.x["h0"], c.x["c0"]))
        c.check(y=y, h=h, c=state)
    else:
        y, h = layer(c.x["x"], c.x["h0"])
        c.check(y=y, h=h)


def install(module, parameters):
    """Put the case's own leaves in the place of the module's parameters."""
    own = dict(module.named_parameters())
    assert own.keys() == parameters.keys()
    for name, leaf in parameters.items():
        assert own[name].shape == leaf.shape
        *path, last = name.split(".")
        owner = module
        for part in path:
            owner = getattr(owner, part)
        setattr(owner, last, leaf)


def attention(c):
    s = c.spec
    y = ops.scaled_dot_product_attention(
        c.x["q"],
        c.x["k"],
        c.x["v"],
        attn_mask=c.x.get("mask"),
        is_causal=s["causal"],
        enable_gqa=s["heads"] != s["kv_heads"],
    )
    c.check(y=y)


def multihead_attention(c):
    layer = nn.MultiheadAttention(**c.spec)
    install(layer, c.p)
    y, weights = layer(c.x["x"], c.x["y"], c.x["y"])
    c.check(y=y, weights=weights)


def layer_norm(c):
    c.check(y=ops.layer_norm(c.x["x"], (10,), c.p["w"], c.p["b"], c.spec["eps"]))


def rms_norm(c):
    c.check(y=ops.rms_norm(c.x["x"], (10,), c.p["w"], c.spec["eps"]))


def group_norm(c):
    c.check(y=ops.group_norm(c.x["x"], c.spec["groups"], c.p["w"], c.p["b"], c.spec["eps"]))


def batch_norm_train(c):
    layer = nn.BatchNorm2d(6, eps=c.spec["eps"], momentum=c.spec["momentum"])
    install(layer, {"weight": c.p["w"], "bias": c.p["b"]})
    y = layer(c.x["x"])
    c.check(y=y, running_mean=layer.running_mean, running_var=layer.running_var)


def batch_norm_eval(c):
    layer = nn.BatchNorm2d(6, eps=c.spec["eps"]).eval()
    install(layer, {"weight": c.p["w"], "bias": c.p["b"]})
    layer.running_mean, layer.running_var = np.asarray(c.x["rm"]), np.asarray(c.x["rv"])
    y = layer(c.x["x"])
    # Statistics are constants here, so no gradient of theirs is expected.
    c.check(y=y)


def act(c):
    name = c.name.removeprefix("act_")
    if name == "gelu_tanh":
        c.check(y=ops.gelu(c.x["x"], approximate="tanh"))
    elif name in ("softmax", "log_softmax"):
        c.check(y=getattr(ops, name)(c.x["x"], -1))
    else:
        c.check(y=getattr(ops, name)(c.x["x"]))


def cross_entropy(c):
    weight = c.x.get("w")
    loss = ops.cross_entropy(c.x["x"], c.x["t"], weight, **c.spec)
    c.check(loss=loss)


LOSSES = {
    "mse": ops.mse_loss,
    "l1": ops.l1_loss,
    "smooth_l1": ops.smooth_l1_loss,
    "huber": ops.huber_loss,
    "bce_with_logits": ops.binary_cross_entropy_with_logits,
}


def loss(c):
    name = c.name.removeprefix("loss_")
    x, t = c.x["x"], c.x["t"]
    if name == "kl_div":
        target = ops.softmax(np.asarray(t), -1).detach()
        c.check(loss=ops.kl_div(ops.log_softmax(x, -1), target, **c.spec))
    else:
        c.check(loss=LOSSES[name](x, t, **c.spec))


def ctc_loss(c):
    log_probs = ops.log_softmax(c.x["x"], -1)
    lengths = c.x["input_lengths"], c.x["target_lengths"]
    options = {"blank": c.spec["blank"], "reduction": c.spec["reduction"]}
    c.check(loss=ops.ctc_loss(log_probs, c.x["targets"], *lengths, **options))


def embedding(c):
    c.check(y=ops.embedding(c.x["idx"], c.p["w"], **c.spec))


OPTIMISERS = {
    "sgd": optim.SGD,
    "sgd_momentum": optim.SGD,
    "sgd_nesterov": optim.SGD,
    "adam": optim.Adam,
    "adam_amsgrad": optim.Adam,
    "adamw": optim.AdamW,
    "rmsprop": optim.RMSprop,
    "adagrad": optim.Adagrad,
    "adadelta": optim.Adadelta,
    "adamax": optim.Adamax,
    "nadam": optim.NAdam,
}


def optimiser(c):
    parameter = Parameter(np.asarray(c.x["p0"]).copy())
    step = OPTIMISERS[c.name.removeprefix("optim_")]([parameter], **c.spec)
    trajectory = []
    for gradient in np.asarray(c.x["grads"]):
        parameter.grad = gradient.copy()
        step.step()
        trajectory.append(parameter.data.copy())
    assert len(trajectory) == 12
    c.check(trajectory=np.stack(trajectory))


SCHEDULES = {
    "step": lambda o: optim.StepLR(o, 7, 0.3),
    "exponential": lambda o: optim.ExponentialLR(o, 0.9),
    "cosine": lambda o: optim.CosineAnnealingLR(o, 25, 1e-3),
    "onecycle": lambda o: optim.OneCycleLR(o, 0.5, total_steps=30),
    "linear_warmup": lambda o: optim.LinearLR(o, 0.1, 1.0, 10),
    "cosine_restarts": lambda o: optim.CosineAnnealingWarmRestarts(o, 8, 2),
}


def schedule(c):
    parameter = Parameter(np.zeros(1, np.float32))
    parameter.grad = np.zeros(1, np.float32)
    step = optim.SGD([parameter], lr=c.spec["lr"])
    rule = SCHEDULES[c.name.removeprefix("schedule_")](step)
    rates = []
    for _ in c.arrays["out_lr"]:
        rates.append(step.param_groups[0]["lr"])
        step.step()
        rule.step()
    c.check(lr=np.array(rates))


RULES = {
    "conv2d": conv2d,
    "conv_transpose2d": conv_transpose2d,
    "conv1d": conv1d,
    "max_pool2d": max_pool2d,
    "avg_pool2d": avg_pool2d,
    "adaptive_avg_pool2d": adaptive_avg_pool2d,
    "rnn": recurrent,
    "lstm": recurrent,
    "gru": recurrent,
    "attention": attention,
    "multihead_attention": multihead_attention,
    "layer_norm": layer_norm,
    "rms_norm": rms_norm,
    "group_norm": group_norm,
    "batch_norm_train": batch_norm_train,
    "batch_norm_eval": batch_norm_eval,
    "act": act,
    "cross_entropy": cross_entropy,
    "loss": loss,
    "ctc_loss": ctc_loss,
    "embedding": embedding,
    "optim": optimiser,
    "schedule": schedule,
}


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path):
    rules = [prefix for prefix in RULES if path.stem.startswith(f"{prefix}_")]
    assert rules, f"no rule runs {path.name}"
    RULES[max(rules, key=len)](Case(path))


def test_there_are_cases():
    assert len(CASES) >= 75, f"{FOLDER / 'ops'} holds {len(CASES)} cases"
