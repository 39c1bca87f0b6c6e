import numpy as np
import pytest

from lamina import Tensor, nn, ops

LAYERS = [
    (nn.CELU(0.5), lambda x: ops.celu(x, 0.5), "CELU(alpha=0.5)"),
    (nn.ELU(0.5), lambda x: ops.elu(x, 0.5), "ELU(alpha=0.5)"),
    (nn.GELU(), ops.gelu, "GELU(approximate='none')"),
    (nn.GELU("tanh"), lambda x: ops.gelu(x, "tanh"), "GELU(approximate='tanh')"),
    (nn.GLU(0), lambda x: ops.glu(x, 0), "GLU(dim=0)"),
    (nn.Hardsigmoid(), ops.hardsigmoid, "Hardsigmoid()"),
    (nn.Hardswish(), ops.hardswish, "Hardswish()"),
    (
        nn.Hardtanh(-0.5, 2),
        lambda x: ops.hardtanh(x, -0.5, 2),
        "Hardtanh(min_val=-0.5, max_val=2)",
    ),
    (nn.Identity(3, name="any"), lambda x: x, "Identity()"),
    (nn.LeakyReLU(), ops.leaky_relu, "LeakyReLU(negative_slope=0.01)"),
    (nn.LogSigmoid(), ops.logsigmoid, "LogSigmoid()"),
    (nn.LogSoftmax(0), lambda x: ops.log_softmax(x, 0), "LogSoftmax(dim=0)"),
    (nn.Mish(), ops.mish, "Mish()"),
    (nn.ReLU(), ops.relu, "ReLU()"),
    (nn.ReLU6(), ops.relu6, "ReLU6()"),
    (nn.SELU(), ops.selu, "SELU()"),
    (nn.SiLU(), ops.silu, "SiLU()"),
    (nn.Sigmoid(), ops.sigmoid, "Sigmoid()"),
    (nn.Softmax(dim=1), ops.softmax, "Softmax(dim=1)"),
    (nn.Softplus(2, 5), lambda x: ops.softplus(x, 2, 5), "Softplus(beta=2, threshold=5)"),
    (nn.Softsign(), ops.softsign, "Softsign()"),
    (nn.Tanh(), ops.tanh, "Tanh()"),
]


@pytest.mark.parametrize(("layer", "op", "text"), LAYERS)
def test_layer_is_the_op(rng, layer, op, text):
    x = Tensor(rng.standard_normal((4, 5)))
    np.testing.assert_array_equal(layer(x).data, op(x).data)
    assert repr(layer) == text
    assert not layer.state_dict()


def test_bad_options_are_named():
    with pytest.raises(ValueError, match="GELU: approximate"):
        nn.GELU("erf")
    with pytest.raises(ValueError, match="Softplus: beta"):
        nn.Softplus(0)
    with pytest.raises(ValueError, match="CELU: alpha: expected a number other than 0"):
        nn.CELU(0)
    with pytest.raises(ValueError, match="Hardtanh: expected min_val <= max_val, got 1 and 0"):
        nn.Hardtanh(1, 0)
    with pytest.raises(ValueError, match="PReLU: num_parameters: expected at least 1, got 0"):
        nn.PReLU(0)


def test_prelu_learns_its_slopes(rng):
    layer = nn.PReLU(3, init=0.5)
    assert repr(layer) == "PReLU(num_parameters=3)"
    assert layer.num_parameters() == 3
    x = rng.standard_normal((2, 3, 4)).astype(np.float32)
    np.testing.assert_array_equal(layer(x).data, np.where(x > 0, x, 0.5 * x))
    layer(x).sum().backward()
    np.testing.assert_allclose(layer.weight.grad, np.minimum(x, 0).sum((0, 2)), rtol=1e-5)
