import copy
import pickle

import numpy as np
import pytest

from lamina import Tensor, nn, no_grad, ops, profiler
from lamina.nn.container import Sequential


def layers():
    return [
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, (2, 1), "valid", groups=2, bias=False),
        nn.Tanh(),
        nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        nn.Dropout(0.3),
        nn.Flatten(),
        nn.Linear(8 * 2 * 3, 20),
        nn.SiLU(),
        nn.Linear(20, 5, bias=False),
        nn.Sigmoid(),
        nn.ReLU(),
    ]


SHAPE = (3, 1, 14, 14)


def one_by_one(modules, x):
    for module in modules:
        x = module(x)
    return x.data


def is_one_call(model, x):
    """Whether the kernels are entered once for all modules."""
    with no_grad():
        return model._predict(x) is not None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_one_call_for_all_layers_gives_what_they_give(rng, dtype, batch):
    model = nn.Sequential(*layers()).eval().to(dtype)
    x = rng.standard_normal((batch, *SHAPE[1:])).astype(dtype)
    with no_grad():
        expected = one_by_one(model, x)
        for given in (x, Tensor(x), np.asfortranarray(x)):
            y = model(given)
            assert y.dtype == dtype
            np.testing.assert_allclose(y.data, expected, rtol=0, atol=1e-6)
        assert is_one_call(model, x)


def test_the_input_stays_as_it_was(rng):
    x = rng.standard_normal((2, 3, 4, 4))
    before = x.copy()
    with no_grad():
        for model in (nn.Sequential(nn.ReLU()), nn.Sequential(nn.Flatten(), nn.Tanh())):
            model(Tensor(x))
    np.testing.assert_array_equal(x, before)


def test_linear_layers_of_any_rank(rng):
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).eval()
    with no_grad():
        for shape in ((4,), (5, 4), (2, 3, 4), (2, 0, 4)):
            x = rng.standard_normal(shape).astype(np.float32)
            assert is_one_call(model, x)
            y = model(x).data
            assert y.shape == (*shape[:-1], 2)
            np.testing.assert_allclose(y, one_by_one(model, x), atol=1e-6)


def test_gradients_are_recorded_as_ever(rng):
    model = nn.Sequential(*layers())
    model[6].p = 0.0
    x = Tensor(rng.standard_normal(SHAPE).astype(np.float32), requires_grad=True)
    ops.sum(model(x)).backward()
    assert x.grad is not None
    assert all(p.grad is not None for p in model.parameters())


def test_what_changes_a_layer_changes_the_next_call(rng):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)).eval()
    x = rng.standard_normal((1, 1, 4, 4)).astype(np.float32)

    def check(calls=True):
        with no_grad():
            y = model(x).data
            np.testing.assert_allclose(y, one_by_one(model, x), atol=1e-6)
        assert is_one_call(model, x) is calls
        return y

    seen = [check()]

    def differs():
        y = check()
        assert all(y.shape != other.shape or np.abs(y - other).max() > 1e-6 for other in seen)
        seen.append(y)

    model[3].weight.data[...] *= 2
    differs()
    model[3].weight.data = model[3].weight.data * 2
    differs()
    model[3].weight = nn.Parameter(rng.standard_normal((3, 8)).astype(np.float32))
    model[3].bias = None
    differs()
    model[0].register_parameter("bias", None)
    differs()
    model[0].padding = (1, 1)
    model[0].dilation = (2, 2)
    differs()
    model.load_state_dict({name: array + 1 for name, array in model.state_dict().items()})
    differs()
    model.append(nn.Linear(3, 3))
    differs()
    handle = model[3].register_forward_hook(lambda *given: given[-1] * 0)
    with no_grad():
        np.testing.assert_allclose(model(x).data, model[4].bias.data[None], atol=1e-6)
    handle.remove()
    model[1].forward = lambda x: x * 0
    check(calls=False)


def test_dropout_drops_in_training_only(rng):
    model = nn.Sequential(nn.Linear(50, 50), nn.Dropout(0.5), nn.ReLU())
    x = rng.standard_normal((4, 50)).astype(np.float32)
    with no_grad():
        for _ in range(2):
            assert is_one_call(model.eval(), x)
            assert (model(x).data > 0).mean() > 0.4
            assert not is_one_call(model.train(), x)
            assert (model(x).data > 0).mean() < 0.4


def test_copies_have_parameters_of_their_own(rng):
    model = nn.Sequential(*layers()).eval()
    x = rng.standard_normal(SHAPE).astype(np.float32)
    with no_grad():
        y = model(x).data
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):  # noqa: S301
            np.testing.assert_array_equal(other(x).data, y)
            other[8].weight.data[...] = 0
            assert np.abs(other(x).data - y).max() > 1e-6
            np.testing.assert_array_equal(model(x).data, y)


class Doubled(nn.Linear):
    def forward(self, x):
        return super().forward(x) * 2


def test_layers_of_other_kinds_run_one_by_one(rng):
    x = rng.standard_normal((2, 4)).astype(np.float32)
    for layer in (Doubled(4, 3), nn.LayerNorm(4), nn.GELU(), nn.Flatten(0)):
        model = nn.Sequential(nn.Linear(4, 4), layer).eval()
        assert not is_one_call(model, x)
        with no_grad():
            np.testing.assert_allclose(model(x).data, one_by_one(model, x), atol=1e-6)
    assert not is_one_call(nn.Sequential(nn.MaxPool2d(2, return_indices=True)), x)
    assert not is_one_call(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect")), x)
    assert Sequential()(x) is x


def test_bad_input_gets_the_error_of_its_layer():
    model = nn.Sequential(*layers()).eval()
    with no_grad():
        with pytest.raises(ValueError, match="conv2d: input: expected 3 or 4 axes"):
            model(np.ones((14, 14), np.float32))
        with pytest.raises(ValueError, match=r"conv2d_forward\] weight: expected"):
            model(np.ones((1, 2, 14, 14), np.float32))
        with pytest.raises(ValueError, match="linear: input: expected its last axis"):
            model(np.ones((1, 1, 20, 20), np.float32))
        with pytest.raises(TypeError, match="weight: expected 4-d float64 array, got 4-d float32"):
            model(np.ones(SHAPE))
        assert nn.Sequential(*layers()[:3])(np.ones((1, 14, 14), np.float32)).shape == (6, 7, 7)
        assert nn.Sequential(nn.Linear(2, 2))([[1.0, 2.0]]).shape == (1, 2)


def test_a_profile_counts_the_kernels(rng):
    model = nn.Sequential(*layers()).eval()
    with no_grad(), profiler.profile() as profile:
        model(rng.standard_normal(SHAPE).astype(np.float32))
    text = str(profile)
    assert all(kernel in text for kernel in ("conv", "pooling", "matmul"))
