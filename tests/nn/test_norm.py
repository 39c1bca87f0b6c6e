import numpy as np
import pytest

from lamina import Tensor, nn, ops
from lamina.testing import check_grads


def keys(layer):
    return {name: array.shape for name, array in layer.state_dict().items()}


def test_parameters_are_pytorchs():
    assert keys(nn.LayerNorm((2, 3))) == {"weight": (2, 3), "bias": (2, 3)}
    assert keys(nn.LayerNorm(3, bias=False)) == {"weight": (3,)}
    assert keys(nn.LayerNorm(3, elementwise_affine=False)) == {}
    assert keys(nn.RMSNorm(3)) == {"weight": (3,)}
    assert keys(nn.RMSNorm([2, 3], elementwise_affine=False)) == {}
    assert keys(nn.GroupNorm(2, 4)) == {"weight": (4,), "bias": (4,)}
    assert keys(nn.InstanceNorm2d(4)) == {}
    assert keys(nn.InstanceNorm1d(4, affine=True)) == {"weight": (4,), "bias": (4,)}
    assert keys(nn.InstanceNorm2d(4, affine=True)) == {"weight": (4,), "bias": (4,)}
    buffers = {"running_mean": (3,), "running_var": (3,), "num_batches_tracked": ()}
    for layer in (nn.BatchNorm1d, nn.BatchNorm2d):
        assert keys(layer(3)) == {"weight": (3,), "bias": (3,)} | buffers
        assert keys(layer(3, affine=False)) == buffers
        assert keys(layer(3, track_running_stats=False)) == {"weight": (3,), "bias": (3,)}
    assert nn.BatchNorm1d(3).num_batches_tracked.dtype == np.int64


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.LayerNorm(5), (3, 5)),
        (nn.LayerNorm((4, 5), bias=False), (2, 4, 5)),
        (nn.RMSNorm(5), (3, 5)),
        (nn.BatchNorm1d(4), (3, 4)),
        (nn.BatchNorm1d(4), (3, 4, 2)),
        (nn.BatchNorm2d(4, affine=False), (2, 4, 2, 3)),
        (nn.GroupNorm(2, 4), (3, 4)),
        (nn.InstanceNorm1d(3, affine=True), (2, 3, 5)),
        (nn.InstanceNorm2d(3, affine=True), (2, 3, 2, 4)),
    ],
)
def test_gradients(rng, layer, shape):
    layer = layer.double()
    x = Tensor(rng.exponential(size=shape), requires_grad=True)
    check_grads(lambda x, *_: layer(x), x, *layer.parameters())


def test_batch_norm_in_training_and_evaluation(rng):
    layer = nn.BatchNorm2d(3, momentum=0.5)
    x = rng.standard_normal((4, 3, 5, 6)).astype(np.float32)
    layer(Tensor(x))
    layer(Tensor(x + 1))
    assert int(layer.num_batches_tracked) == 2
    np.testing.assert_allclose(layer.running_mean, 0.75 * x.mean((0, 2, 3)) + 0.5, atol=1e-6)
    layer.eval()
    y = layer(Tensor(x))
    assert int(layer.num_batches_tracked) == 2
    expected = ops.batch_norm(x, layer.running_mean, layer.running_var)
    np.testing.assert_array_equal(y.data, expected.data)


def test_batch_norm_without_momentum_weighs_batches_alike(rng):
    layer = nn.BatchNorm1d(2, momentum=None)
    x = rng.standard_normal((3, 8, 2)).astype(np.float32)
    for batch in x:
        layer(Tensor(batch))
    np.testing.assert_allclose(layer.running_mean, x.mean((0, 1)), atol=1e-6)
    np.testing.assert_allclose(layer.running_var, x.var(1, ddof=1).mean(0), rtol=1e-5)


def test_batch_norm_without_running_statistics_uses_the_batch(rng):
    layer = nn.BatchNorm1d(2, track_running_stats=False)
    x = Tensor(rng.standard_normal((9, 2)).astype(np.float32))
    trained = layer(x).data
    np.testing.assert_array_equal(layer.eval()(x).data, trained)


def test_state_comes_back(rng):
    layer, other = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    layer(Tensor(rng.standard_normal((5, 2)).astype(np.float32)))
    other.load_state_dict(layer.state_dict())
    assert int(other.num_batches_tracked) == 1
    x = Tensor(rng.standard_normal((5, 2)).astype(np.float32))
    np.testing.assert_array_equal(other.eval()(x).data, layer.eval()(x).data)
    other.train()(x)
    assert (other.running_mean != layer.running_mean).all()
    assert int(layer.num_batches_tracked) == 1


def test_bad_input_is_named():
    for wrong in (lambda: nn.LayerNorm(()), lambda: nn.RMSNorm((3, 0))):
        with pytest.raises(ValueError, match="normalized_shape: expected positive lengths"):
            wrong()
    with pytest.raises(ValueError, match="BatchNorm1d: num_features: expected at least 1, got 0"):
        nn.BatchNorm1d(0)
    with pytest.raises(ValueError, match="GroupNorm: num_groups: expected a divisor of the 4"):
        nn.GroupNorm(3, 4)
    with pytest.raises(ValueError, match="InstanceNorm2d: num_features"):
        nn.InstanceNorm2d(0)
    x = Tensor(np.ones((2, 3), np.float32))
    with pytest.raises(ValueError, match="BatchNorm1d: x: expected 2 or 3 axes and 4 channels"):
        nn.BatchNorm1d(4)(x)
    with pytest.raises(ValueError, match="BatchNorm2d: x: expected 4 axes and 3 channels"):
        nn.BatchNorm2d(3)(x)
    with pytest.raises(ValueError, match="GroupNorm: x: expected 4 channels"):
        nn.GroupNorm(2, 4)(x)
    with pytest.raises(ValueError, match="InstanceNorm2d: x: expected 4 axes and 3 channels"):
        nn.InstanceNorm2d(3)(x)
    with pytest.raises(ValueError, match="InstanceNorm1d: x: expected 3 axes and 3 channels"):
        nn.InstanceNorm1d(3)(x)
