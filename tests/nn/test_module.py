from collections import OrderedDict

import numpy as np
import pytest

from lamina import Tensor, nn


class Unreadable:
    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("no array of this")


def names(container):
    return [type(module).__name__ for module in container]


def test_a_list_is_changed_in_place():
    layers = nn.ModuleList([nn.ReLU(), nn.Tanh()])
    layers.insert(0, nn.GELU())
    layers.insert(-1, nn.SiLU())
    assert names(layers) == ["GELU", "ReLU", "SiLU", "Tanh"]
    layers[-1] = nn.Linear(2, 3)
    assert list(layers.state_dict()) == ["3.weight", "3.bias"]
    part = layers[1:3]
    assert type(part) is nn.ModuleList
    assert names(part) == ["ReLU", "SiLU"]
    with pytest.raises(IndexError):
        layers[4] = nn.ReLU()


def test_containers_take_modules_only():
    for make, name in [
        (lambda: nn.ModuleList([1]), "ModuleList: 0: expected a Module, got int"),
        (lambda: nn.ModuleList().append(None), "ModuleList: 0: expected a Module, got NoneType"),
        (lambda: nn.ModuleList().insert(0, 3), "ModuleList: 0: expected a Module, got int"),
        (
            lambda: nn.Sequential().append(lambda x: x),
            "Sequential: 0: expected a Module, got funct",
        ),
        (lambda: nn.Sequential(np.ones(3)), "Sequential: 0: expected a Module, got ndarray"),
        (lambda: nn.ModuleDict({"a": 3}), "ModuleDict: a: expected a Module, got int"),
    ]:
        with pytest.raises(TypeError, match=name):
            make()
    layers = nn.ModuleList([nn.ReLU()])
    with pytest.raises(TypeError, match="ModuleList: 0: expected a Module, got int"):
        layers[0] = 1


def test_what_is_registered_keeps_its_kind():
    layer = nn.Linear(2, 3)
    with pytest.raises(TypeError, match="Linear: weight: expected Parameter or None, got ndarray"):
        layer.weight = np.ones((3, 2), np.float32)
    with pytest.raises(TypeError, match="Linear: weight: expected Parameter or None, got Tensor"):
        layer.weight = Tensor(np.ones((3, 2), np.float32))
    assert len(list(layer.parameters())) == 2
    layer.bias = None
    assert list(layer.state_dict()) == ["weight"]
    model = nn.Sequential(OrderedDict(first=layer))
    with pytest.raises(TypeError, match="Sequential: first: expected Module or None, got int"):
        model.first = 3
    norm = nn.BatchNorm1d(2)
    with pytest.raises(TypeError, match="running_mean: expected ndarray or None, got Tensor"):
        norm.running_mean = Tensor(np.ones(2))


def test_bad_registrations_are_named():
    layer = nn.Linear(2, 3)
    for register in (layer.register_parameter, layer.register_buffer, layer.add_module):
        with pytest.raises(
            KeyError, match=r"Linear: name: expected some letters and no dot.*'a\.b'"
        ):
            register("a.b", None)
        with pytest.raises(KeyError, match="name: expected some letters"):
            register("", None)
        with pytest.raises(KeyError, match="'forward' is already an attribute"):
            register("forward", None)
        with pytest.raises(TypeError, match="name: expected str, got int"):
            register(3, None)
        with pytest.raises(TypeError, match=r"Linear: new: expected .* or None, got int"):
            register("new", 3)
    with pytest.raises(KeyError, match="'weight' is already an attribute"):
        layer.register_buffer("weight", np.ones(3))
    with pytest.raises(TypeError, match="Linear: table: expected ndarray or None, got Tensor"):
        layer.register_buffer("table", Tensor(np.ones(3)))
    with pytest.raises(KeyError, match=r"ModuleDict: name: expected some letters and no dot"):
        nn.ModuleDict({"a.b": nn.ReLU()})
    assert list(layer.state_dict()) == ["weight", "bias"]


def test_names_lead_to_modules_and_parameters():
    inner = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    model = nn.ModuleDict({"body": inner})
    assert model.get_submodule("") is model
    assert model.get_submodule("body.0") is inner[0]
    assert model.get_parameter("body.0.weight") is inner[0].weight
    inner.add_module("2", nn.Linear(3, 1, bias=False))
    assert list(model.state_dict(prefix="net.")) == [
        "net.body.0.weight",
        "net.body.0.bias",
        "net.body.2.weight",
    ]
    with pytest.raises(AttributeError, match=r"no module 'body\.7': Sequential has no '7'"):
        model.get_submodule("body.7")
    with pytest.raises(AttributeError, match=r"ModuleDict: no parameter 'body\.2\.bias'"):
        model.get_parameter("body.2.bias")


def test_hooks_run_around_forward_in_their_order():
    layer = nn.Linear(2, 2, bias=False)
    layer.weight.data[...] = np.eye(2)
    x = np.ones((1, 2), np.float32)
    seen = []
    layer.register_forward_pre_hook(lambda module, args: seen.append((module, args)))
    double = layer.register_forward_pre_hook(lambda _, args: args[0] * 2)
    layer.register_forward_pre_hook(lambda _, args: (args[0] + 1,))
    layer.register_forward_hook(lambda _, args, y: seen.append((args[0][0, 0], y)))
    with layer.register_forward_hook(lambda *given: given[-1] * 10):
        np.testing.assert_array_equal(layer(x).data, [[30, 30]])
    assert seen[0] == (layer, (x,))
    assert seen[1][0] == 3
    np.testing.assert_array_equal(layer(x).data, [[3, 3]])
    double.remove()
    double.remove()
    np.testing.assert_array_equal(layer(x).data, [[2, 2]])
    np.testing.assert_array_equal(layer.forward(x).data, x)
    np.testing.assert_array_equal(nn.Identity()(x).data, x)


def test_sequential_calls_hooks_and_calls_of_its_modules():
    class Doubling(nn.Identity):
        def __call__(self, x):
            return super().__call__(x) * 2

    class Inherited(Doubling):
        pass

    layer = nn.Identity()
    model = nn.Sequential(Doubling(), layer, Inherited())
    x = Tensor(np.ones(2, np.float32))
    np.testing.assert_array_equal(model(x).data, [4, 4])
    with layer.register_forward_hook(lambda *given: given[-1] + 1):
        np.testing.assert_array_equal(model(x).data, [6, 6])
    np.testing.assert_array_equal(model(x).data, [4, 4])


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Sigmoid, nn.SiLU, nn.Tanh])
def test_sequential_joins_layers_to_their_activations(activation):
    class Negative(activation):
        def forward(self, x):
            return -super().forward(x)

    def gradients(model, x):
        y = model(x)
        model.zero_grad()
        (y * y).sum().backward()
        return [y.data, *(p.grad for p in model.parameters())]

    layers = [nn.Linear(5, 7), activation(), nn.Linear(7, 3), nn.Linear(3, 4), activation()]
    model = nn.Sequential(*layers, activation(), Negative(), nn.Linear(4, 2), Negative())
    x = Tensor(np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32))
    joined = gradients(model, x)
    hooks = [layer.register_forward_hook(lambda *_: None) for layer in model]
    for got, expected in zip(joined, gradients(model, x), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-7)
    for hook in hooks:
        hook.remove()
    layers[0].forward = lambda x: x[:, :1].expand(6, 7) * 0
    np.testing.assert_array_equal(model(x).data[0], model(x * 0).data[0])


def test_states_that_are_no_arrays_are_named():
    layer = nn.Linear(2, 3)
    state = {"weight": [[1, 2], [3]], "bias": Unreadable()}
    before = layer.weight.data.copy()
    with pytest.raises(ValueError, match="weight: expected an array, got list") as caught:
        layer.load_state_dict(state)
    assert "bias: expected an array, got Unreadable (no array of this)" in str(caught.value)
    np.testing.assert_array_equal(layer.weight.data, before)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Linear(2.0, 3), "Linear: in_features: expected an integer, got 2.0"),
        (lambda: nn.LSTM(2, 3.5), "LSTM: hidden_size: expected an integer, got 3.5"),
        (lambda: nn.GRUCell(2.0, 3), "GRUCell: input_size: expected an integer"),
        (lambda: nn.Embedding(2, 3.0), "Embedding: embedding_dim: expected an integer"),
        (lambda: nn.Conv2d(1.0, 2, 3), "Conv2d: in_channels: expected an integer, got 1.0"),
        (lambda: nn.Conv1d(1, 2, 3.0), "Conv1d: kernel_size: expected integers, got 3.0"),
        (lambda: nn.BatchNorm1d(3.0), "BatchNorm1d: num_features: expected an integer"),
        (lambda: nn.GroupNorm(2.0, 4), "GroupNorm: num_groups: expected an integer"),
        (lambda: nn.LayerNorm(3.0), "LayerNorm: normalized_shape: expected integers, got 3.0"),
        (lambda: nn.MultiheadAttention(4, 2.0), "MultiheadAttention: num_heads: expected an int"),
        (lambda: nn.AvgPool2d(2, divisor_override=1.5), "AvgPool2d: divisor_override: expected an"),
    ],
)
def test_sizes_are_integers(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_numpy_integers_are_sizes():
    two = np.int64(2)
    assert repr(nn.Linear(two, np.int32(3))) == "Linear(2, 3, bias=True)"
    assert nn.LayerNorm(two).normalized_shape == (2,)
    assert nn.Conv2d(two, 2, two, stride=two).weight.shape == (2, 2, 2, 2)
    assert nn.LSTM(two, two, two)(np.ones((1, 2, 2), np.float32))[0].shape == (1, 2, 2)
