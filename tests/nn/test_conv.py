import numpy as np
import pytest

from lamina import Tensor, nn, ops
from lamina.testing import check_grads


@pytest.mark.parametrize(
    ("layer", "op", "x"),
    [
        (nn.Conv1d, ops.conv1d, (2, 4, 9)),
        (nn.Conv2d, ops.conv2d, (2, 4, 9, 7)),
        (nn.ConvTranspose1d, ops.conv_transpose1d, (2, 4, 9)),
        (nn.ConvTranspose2d, ops.conv_transpose2d, (2, 4, 9, 7)),
    ],
)
def test_is_the_op_on_its_parameters(rng, layer, op, x):
    layer = layer(4, 6, 3, stride=2, padding=1, groups=2, dilation=2, rng=rng)
    x = rng.standard_normal(x).astype(np.float32)
    expected = op(x, layer.weight, layer.bias, stride=2, padding=1, groups=2, dilation=2)
    np.testing.assert_array_equal(layer(x).data, expected.data)
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]


def test_parameters_are_those_of_pytorch(rng):
    layer = nn.Conv2d(8, 6, (3, 5), groups=2, rng=rng)
    bound = 1 / np.sqrt(4 * 15)
    assert layer.weight.shape == (6, 4, 3, 5)
    assert layer.weight.dtype == np.float32
    for parameter in layer.parameters():
        assert 0.7 * bound < np.abs(parameter.data).max() <= bound
    layer = nn.ConvTranspose2d(8, 6, 3, groups=2, bias=False, rng=rng)
    assert layer.weight.shape == (8, 3, 3, 3)
    assert list(layer.state_dict()) == ["weight"]
    assert np.abs(layer.weight.data).max() <= 1 / np.sqrt(27)


def test_gradients_and_same_padding(rng):
    layer = nn.Conv2d(2, 3, 3, padding="same", rng=rng).double()
    x = Tensor(rng.standard_normal((1, 2, 4, 5)), requires_grad=True)
    assert layer(x).shape == (1, 3, 4, 5)
    check_grads(lambda x, *_: layer(x), x, *layer.parameters())


def test_repr():
    layer = nn.Conv2d(3, 4, 3, padding=1, bias=False)
    assert repr(layer) == (
        "Conv2d(3, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)"
    )


def test_bad_options_are_named():
    with pytest.raises(ValueError, match="Conv2d: groups: expected a divisor of 3 and 4 channels"):
        nn.Conv2d(3, 4, 3, groups=2)
    with pytest.raises(ValueError, match="Conv1d: channels: expected at least 1, got 0 and 4"):
        nn.Conv1d(0, 4, 3)
    with pytest.raises(ValueError, match="kernel_size: expected 2 numbers of at least 1, got"):
        nn.Conv2d(3, 4, (3, 3, 3))
    with pytest.raises(
        ValueError, match="padding_mode: expected one of 'zeros', 'reflect', 'repli"
    ):
        nn.Conv2d(3, 4, 3, padding_mode="same")
    with pytest.raises(ValueError, match="padding_mode: expected one of 'zeros', got 'reflect'"):
        nn.ConvTranspose2d(3, 4, 3, padding_mode="reflect")
    with pytest.raises(ValueError, match="padding: expected numbers, 'same' or 'valid', got 'all'"):
        nn.Conv2d(3, 4, 3, padding="all")


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", [(1, 2), "same", "valid"])
def test_other_paddings_than_zeros(rng, mode, padding):
    layer = nn.Conv2d(2, 3, (3, 4), padding=padding, padding_mode=mode, rng=rng).double()
    x = rng.standard_normal((2, 2, 5, 6))
    amounts = {"same": (1, 2, 1, 1), "valid": (0, 0, 0, 0)}.get(padding, (2, 2, 1, 1))
    expected = ops.conv2d(ops.pad(x, amounts, mode), layer.weight, layer.bias)
    np.testing.assert_array_equal(layer(x).data, expected.data)
    assert f"padding_mode='{mode}'" in repr(layer)
    signal = nn.Conv1d(2, 3, 3, 2, 1, padding_mode=mode, rng=rng).double()
    one = x[0, :, 0]
    y = ops.conv1d(ops.pad(one, (1, 1), mode), signal.weight, signal.bias, 2)
    np.testing.assert_array_equal(signal(one).data, y.data)
