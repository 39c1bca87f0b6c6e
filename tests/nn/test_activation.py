import numpy as np
import pytest

from lamina import Tensor, nn, ops

LAYERS = [
    (nn.ELU(0.5), lambda x: ops.elu(x, 0.5), "ELU(alpha=0.5)"),
    (nn.GELU(), ops.gelu, "GELU(approximate='none')"),
    (nn.GELU("tanh"), lambda x: ops.gelu(x, "tanh"), "GELU(approximate='tanh')"),
    (nn.Hardswish(), ops.hardswish, "Hardswish()"),
    (nn.Identity(3, name="any"), lambda x: x, "Identity()"),
    (nn.LeakyReLU(), ops.leaky_relu, "LeakyReLU(negative_slope=0.01)"),
    (nn.LogSoftmax(0), lambda x: ops.log_softmax(x, 0), "LogSoftmax(dim=0)"),
    (nn.Mish(), ops.mish, "Mish()"),
    (nn.ReLU(), ops.relu, "ReLU()"),
    (nn.SiLU(), ops.silu, "SiLU()"),
    (nn.Sigmoid(), ops.sigmoid, "Sigmoid()"),
    (nn.Softmax(dim=1), ops.softmax, "Softmax(dim=1)"),
    (nn.Softplus(2, 5), lambda x: ops.softplus(x, 2, 5), "Softplus(beta=2, threshold=5)"),
    (nn.Tanh(), ops.tanh, "Tanh()"),
]


@pytest.mark.parametrize(("layer", "op", "text"), LAYERS)
def test_layer_is_the_op(rng, layer, op, text):
    x = Tensor(rng.standard_normal((3, 5)))
    np.testing.assert_array_equal(layer(x).data, op(x).data)
    assert repr(layer) == text
    assert not layer.state_dict()


def test_bad_options_are_named():
    with pytest.raises(ValueError, match="GELU: approximate"):
        nn.GELU("erf")
    with pytest.raises(ValueError, match="Softplus: beta"):
        nn.Softplus(0)
