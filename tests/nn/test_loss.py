import numpy as np
import pytest

from lamina import nn, ops


def test_layers_pass_their_arguments_on(rng):
    x, t = rng.random((4, 3)), rng.random((4, 3))
    index, weight = rng.integers(0, 3, 4), rng.random(3)
    pairs = [
        (nn.MSELoss("sum"), ops.mse_loss(x, t, "sum")),
        (nn.L1Loss("none"), ops.l1_loss(x, t, "none")),
        (nn.SmoothL1Loss(beta=0.2), ops.smooth_l1_loss(x, t, beta=0.2)),
        (nn.HuberLoss("sum", 0.3), ops.huber_loss(x, t, "sum", 0.3)),
        (nn.BCELoss(weight), ops.binary_cross_entropy(x, t, weight)),
        (
            nn.BCEWithLogitsLoss(weight, pos_weight=2 * weight),
            ops.binary_cross_entropy_with_logits(x, t, weight, pos_weight=2 * weight),
        ),
        (nn.KLDivLoss("batchmean", True), ops.kl_div(x, t, "batchmean", True)),
    ]
    for layer, expected in pairs:
        np.testing.assert_array_equal(layer(x, t).data, expected.data)
    layer = nn.CrossEntropyLoss(weight, 1, "sum", 0.1)
    expected = ops.cross_entropy(x, index, weight, 1, "sum", 0.1)
    np.testing.assert_array_equal(layer(x, index).data, expected.data)
    layer = nn.NLLLoss(weight, 1, "none")
    expected = ops.nll_loss(x, index, weight, 1, "none")
    np.testing.assert_array_equal(layer(x, index).data, expected.data)
    y = np.log(np.full((5, 2, 3), 1 / 3))
    args = y, [[0, 1], [1, 0]], [5, 4], [2, 1]
    got = nn.CTCLoss(2, "none", True)(*args)
    np.testing.assert_array_equal(got.data, ops.ctc_loss(*args, 2, "none", True).data)


def test_weights_are_state():
    assert list(nn.CrossEntropyLoss(np.ones(3)).state_dict()) == ["weight"]
    assert list(nn.BCEWithLogitsLoss(pos_weight=np.ones(3)).state_dict()) == ["pos_weight"]
    assert repr(nn.MSELoss()) == "MSELoss(reduction='mean')"


def test_bad_options_are_named():
    with pytest.raises(ValueError, match="MSELoss: reduction: expected"):
        nn.MSELoss("batchmean")
    with pytest.raises(ValueError, match="HuberLoss: delta: expected above 0, got 0"):
        nn.HuberLoss(delta=0)
    with pytest.raises(ValueError, match="SmoothL1Loss: beta: expected at least 0, got -1"):
        nn.SmoothL1Loss(beta=-1)
    with pytest.raises(ValueError, match="CrossEntropyLoss: label_smoothing"):
        nn.CrossEntropyLoss(label_smoothing=1.5)
