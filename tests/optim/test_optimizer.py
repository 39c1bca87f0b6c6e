import threading

import numpy as np
import pytest

import lamina
from lamina import Tensor, nn, optim

SHAPES = [(3, 5), (), (0, 2), (17,), (2, 3, 4), (33000,)]


def numpy_sgd(p, g, s, t, o):
    g = g + o["weight_decay"] * p
    if o["momentum"]:
        first = "b" not in s
        s["b"] = g if first else o["momentum"] * s["b"] + (1 - o["dampening"]) * g
        g = g + o["momentum"] * s["b"] if o["nesterov"] else s["b"]
    return p - o["lr"] * g


def moments(p, g, s, o):
    b1, b2 = o["betas"]
    s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
    s["v"] = b2 * s.get("v", 0) + (1 - b2) * g * g
    return b1, b2


def numpy_adam(p, g, s, t, o):
    if o.get("decoupled"):
        p = p * (1 - o["lr"] * o["weight_decay"])
    else:
        g = g + o["weight_decay"] * p
    b1, b2 = moments(p, g, s, o)
    s["x"] = np.maximum(s.get("x", 0), s["v"]) if o["amsgrad"] else s["v"]
    root = np.sqrt(s["x"] / (1 - b2**t)) + o["eps"]
    return p - o["lr"] * s["m"] / (1 - b1**t) / root


def numpy_rmsprop(p, g, s, t, o):
    a = o["alpha"]
    g = g + o["weight_decay"] * p
    s["v"] = a * s.get("v", 0) + (1 - a) * g * g
    s["g"] = a * s.get("g", 0) + (1 - a) * g
    v = s["v"] - s["g"] ** 2 if o["centered"] else s["v"]
    s["b"] = o["momentum"] * s.get("b", 0) + g / (np.sqrt(v) + o["eps"])
    return p - o["lr"] * s["b"]


def numpy_adagrad(p, g, s, t, o):
    g = g + o["weight_decay"] * p
    s["v"] = s.get("v", o["initial_accumulator_value"]) + g * g
    return p - o["lr"] / (1 + (t - 1) * o["lr_decay"]) * g / (np.sqrt(s["v"]) + o["eps"])


def numpy_adadelta(p, g, s, t, o):
    g = g + o["weight_decay"] * p
    s["v"] = o["rho"] * s.get("v", 0) + (1 - o["rho"]) * g * g
    d = np.sqrt(s.get("u", 0) + o["eps"]) / np.sqrt(s["v"] + o["eps"]) * g
    s["u"] = o["rho"] * s.get("u", 0) + (1 - o["rho"]) * d * d
    return p - o["lr"] * d


def numpy_adamax(p, g, s, t, o):
    g = g + o["weight_decay"] * p
    b1, b2 = moments(p, g, s, o)
    s["u"] = np.maximum(b2 * s.get("u", 0), np.abs(g) + o["eps"])
    return p - o["lr"] / (1 - b1**t) * s["m"] / s["u"]


def numpy_nadam(p, g, s, t, o):
    if o["decoupled_weight_decay"]:
        p = p * (1 - o["lr"] * o["weight_decay"])
    else:
        g = g + o["weight_decay"] * p
    b1, b2 = moments(p, g, s, o)
    mu, ahead = (b1 * (1 - 0.5 * 0.96 ** (k * o["momentum_decay"])) for k in (t, t + 1))
    s["mu"] = s.get("mu", 1) * mu
    root = np.sqrt(s["v"] / (1 - b2**t)) + o["eps"]
    p = p - o["lr"] * (1 - mu) / (1 - s["mu"]) * g / root
    return p - o["lr"] * ahead / (1 - s["mu"] * ahead) * s["m"] / root


def numpy_radam(p, g, s, t, o):
    if o["decoupled_weight_decay"]:
        p = p * (1 - o["lr"] * o["weight_decay"])
    else:
        g = g + o["weight_decay"] * p
    b1, b2 = moments(p, g, s, o)
    mean = s["m"] / (1 - b1**t)
    rho = 2 / (1 - b2) - 1
    now = rho - 2 * t * b2**t / (1 - b2**t)
    if now <= 5:
        return p - o["lr"] * mean
    r = np.sqrt((now - 4) * (now - 2) * rho / ((rho - 4) * (rho - 2) * now))
    return p - o["lr"] * mean * r * np.sqrt(1 - b2**t) / (np.sqrt(s["v"]) + o["eps"])


METHODS = [
    (optim.SGD, numpy_sgd, {"lr": 0.1}),
    (optim.SGD, numpy_sgd, {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    (optim.SGD, numpy_sgd, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    (optim.Adam, numpy_adam, {"weight_decay": 0.1, "lr": 0.01}),
    (optim.Adam, numpy_adam, {"amsgrad": True, "betas": (0.5, 0.6)}),
    (optim.AdamW, numpy_adam, {"weight_decay": 0.3, "eps": 1e-3}),
    (optim.RMSprop, numpy_rmsprop, {}),
    (optim.RMSprop, numpy_rmsprop, {"momentum": 0.5, "weight_decay": 0.1}),
    (optim.RMSprop, numpy_rmsprop, {"centered": True}),
    (optim.RMSprop, numpy_rmsprop, {"centered": True, "momentum": 0.5, "alpha": 0.7}),
    (optim.Adagrad, numpy_adagrad, {"lr_decay": 0.1, "initial_accumulator_value": 0.5}),
    (optim.Adadelta, numpy_adadelta, {"weight_decay": 0.1}),
    (optim.Adamax, numpy_adamax, {"weight_decay": 0.1}),
    (optim.NAdam, numpy_nadam, {"weight_decay": 0.1}),
    (optim.NAdam, numpy_nadam, {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    (optim.RAdam, numpy_radam, {"weight_decay": 0.1}),
    (optim.RAdam, numpy_radam, {"weight_decay": 0.1, "betas": (0.8, 0.9)}),
    (optim.RAdam, numpy_radam, {"weight_decay": 0.1, "decoupled_weight_decay": True}),
]


def parameters(rng, dtype=np.float64):
    return [nn.Parameter(np.asarray(rng.standard_normal(s), dtype=dtype)) for s in SHAPES]


def gradients(rng, params):
    for p in params:
        p.grad = np.asarray(rng.standard_normal(p.shape), dtype=p.dtype)


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize(("method", "formula", "options"), METHODS)
def test_matches_numpy(rng, method, formula, options, maximize):
    params = parameters(rng)
    optimizer = method(params, maximize=maximize, **options)
    settings = {**optimizer.defaults, "decoupled": method is optim.AdamW}
    expected = [p.data.copy() for p in params]
    states = [{} for _ in params]
    for t in range(1, 9):
        gradients(rng, params)
        for i, p in enumerate(params):
            g = -p.grad if maximize else p.grad
            expected[i] = formula(expected[i], g, states[i], t, settings)
        optimizer.step()
    for p, e in zip(params, expected, strict=True):
        np.testing.assert_allclose(p.data, e, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("method", "formula", "options"), METHODS)
def test_resuming_equals_never_stopping(method, formula, options, dtype):
    def run(stop):
        rng = np.random.default_rng(1)
        params = parameters(rng, dtype)
        optimizer = method(params, **options)
        for step in range(8):
            if step == stop:
                state = optimizer.state_dict()
                params = [nn.Parameter(p.data.copy()) for p in params]
                optimizer = method(params, lr=99.0)
                optimizer.load_state_dict(state)
            gradients(rng, params)
            optimizer.step()
        return params

    for a, b in zip(run(None), run(4), strict=True):
        np.testing.assert_array_equal(a.data, b.data)


@pytest.mark.parametrize(("method", "formula", "options"), METHODS)
def test_the_same_bits_for_any_number_of_threads(method, formula, options):
    before = lamina.num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            lamina.set_num_threads(threads)
            rng = np.random.default_rng(2)
            params = parameters(rng, np.float32)
            optimizer = method(params, **options)
            for _ in range(3):
                gradients(rng, params)
                norm = optim.clip_grad_norm_(params, 0.5)
                optimizer.step()
            results.append([np.array(norm), *(p.data for p in params)])
    finally:
        lamina.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_groups_have_their_own_settings():
    a, b, c = (nn.Parameter(np.ones(2, np.float32)) for _ in range(3))
    optimizer = optim.SGD([{"params": [a]}, {"params": b, "lr": 1.0}], lr=0.5)
    optimizer.add_param_group({"params": [c], "weight_decay": 1.0})
    for p in (a, b, c):
        p.grad = np.ones(2, np.float32)
    optimizer.step()
    assert [p.data[0] for p in (a, b, c)] == [0.5, 0.0, 0.0]
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 1.0, 0.5]


def test_parameters_without_a_gradient_stay_and_keep_their_own_count():
    a, b = (nn.Parameter(np.ones(2)) for _ in range(2))
    optimizer = optim.Adam([("a", a), ("b", b)], lr=0.1)
    a.grad = np.ones(2)
    optimizer.step()
    assert (b.data == 1).all()
    assert b not in optimizer.state
    b.grad = np.ones(2)
    optimizer.step()
    np.testing.assert_allclose(b.data, 0.9)
    assert [optimizer.state[p]["step"] for p in (a, b)] == [2, 1]
    optimizer.zero_grad()
    assert a.grad is None
    optimizer.step()


def test_gradients_of_any_layout(rng):
    p = nn.Parameter(np.zeros((3, 4)))
    g = rng.standard_normal((4, 3))
    p.grad = g.T
    optim.SGD([p], lr=1.0).step()
    np.testing.assert_array_equal(p.data, -g.T)


def test_a_closure_is_called_first():
    p = nn.Parameter(np.array([2.0]))
    optimizer = optim.SGD([p], lr=0.25)

    def closure():
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 4.0
    assert p.data[0] == 1.0
    with lamina.no_grad():
        assert optimizer.step(closure).item() == 1.0
    assert p.data[0] == 0.5


def test_training_goes_on_in_place():
    p = nn.Parameter(np.ones(3, np.float32))
    data = p.data
    p.grad = np.ones(3, np.float32)
    optim.AdamW([p]).step()
    assert p.data is data
    assert data[0] < 1


def test_what_cannot_be_trained_is_refused():
    p = nn.Parameter(np.ones(3))
    with pytest.raises(ValueError, match="SGD: params: expected parameters, got none"):
        optim.SGD([])
    with pytest.raises(ValueError, match="expected parameters in every group, got none"):
        optim.SGD([{"params": []}])
    with pytest.raises(TypeError, match="params: expected an iterable of parameters"):
        optim.SGD(p)
    with pytest.raises(TypeError, match=r"params\[1\]: expected a parameter, got ndarray"):
        optim.SGD([p, np.ones(3)])
    with pytest.raises(TypeError, match=r"params\[0\]: expected float32 or float64, got int64"):
        optim.SGD([Tensor(np.ones(3, np.int64))])
    with pytest.raises(ValueError, match=r"params\[0\]: expected a leaf, got a computed tensor"):
        optim.SGD([p * 2])
    with pytest.raises(ValueError, match=r"params\[1\]: this parameter is given twice"):
        optim.SGD([p, p])
    with pytest.raises(ValueError, match=r"params\[0\]: expected a writeable C-contiguous array"):
        optim.SGD([nn.Parameter(np.ones((2, 3)).T)])
    with pytest.raises(ValueError, match=r"params\[1\]: its array is also that of another param"):
        optim.SGD([p, nn.Parameter(p.data)])
    with pytest.raises(ValueError, match=r"params\[0\]: its array is also that of another param"):
        optim.SGD([{"params": p}, {"params": nn.Parameter(p.data.reshape(3, 1))}])
    optim.SGD([nn.Parameter(np.ones(0)), nn.Parameter(np.ones(0))])


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (optim.SGD, {"lr": -1.0}, "SGD: lr: expected a number of at least 0, got -1.0"),
        (optim.SGD, {"lr": float("nan")}, "SGD: lr: .* got nan"),
        (optim.SGD, {"nesterov": True}, "SGD: nesterov: expected a momentum"),
        (optim.Adam, {"betas": (0.9, 1.0)}, "Adam: betas: expected numbers from 0 to below 1"),
        (optim.Adam, {"betas": 0.9}, "Adam: betas: expected two numbers, got 0.9"),
        (optim.Adam, {"betas": (0.9,)}, r"Adam: betas: expected two numbers, got \(0.9,\)"),
        (optim.Adadelta, {"rho": 1.5}, "Adadelta: rho: expected 0 to 1, got 1.5"),
    ],
)
def test_bad_settings_are_named(method, options, message):
    with pytest.raises(ValueError, match=message):
        method([nn.Parameter(np.ones(1))], **options)


@pytest.mark.parametrize("lr", ["0.1", None])
def test_settings_of_the_wrong_type_are_named(lr):
    with pytest.raises(TypeError, match=f"SGD: lr: expected a number, got {lr!r}"):
        optim.SGD([nn.Parameter(np.ones(1))], lr=lr)


def test_what_else_a_group_holds_is_kept():
    optimizer = optim.SGD([{"params": [nn.Parameter(np.ones(1))], "name": "head"}])
    assert optimizer.param_groups[0]["name"] == "head"
    other = optim.SGD([nn.Parameter(np.ones(1))])
    other.load_state_dict(optimizer.state_dict())
    assert other.param_groups[0]["name"] == "head"


def test_both_types_in_one_group(rng):
    def params():
        single = [nn.Parameter(np.asarray(a.data, np.float32)) for a in parameters(rng)]
        return [p for pair in zip(parameters(rng), single, strict=True) for p in pair]

    mixed = params()
    apart = [nn.Parameter(p.data.copy()) for p in mixed]
    optimizer = optim.Adam(mixed)
    others = [optim.Adam([p for p in apart if p.dtype == t]) for t in (np.float32, np.float64)]
    for _ in range(3):
        gradients(rng, mixed)
        for p, q in zip(mixed, apart, strict=True):
            q.grad = p.grad.copy()
        flat = np.concatenate([np.ravel(p.grad).astype(np.float64) for p in mixed])
        for order in (2.0, 1.0, np.inf):
            norm = optim.clip_grad_norm_(mixed, np.inf, order)
            np.testing.assert_allclose(norm, np.linalg.norm(flat, order), rtol=1e-12)
        optimizer.step()
        for other in others:
            other.step()
    for p, q in zip(mixed, apart, strict=True):
        np.testing.assert_array_equal(p.data, q.data)
    before = [p.grad.copy() for p in mixed]
    norm = optim.clip_grad_norm_(mixed, 0.5)
    for p, b in zip(mixed, before, strict=True):
        assert p.grad.dtype == p.dtype
        np.testing.assert_allclose(p.grad, b * (0.5 / norm), rtol=1e-5)
    optim.clip_grad_value_(mixed, 0.01)
    assert max(np.abs(p.grad).max(initial=0) for p in mixed) <= 0.01


def test_a_failed_step_changes_nothing():
    for bad, error, message in [
        (np.ones(2), ValueError, r"params\[1\]: grad: expected shape \[3\], got \[2\]"),
        (np.ones(3, np.float32), TypeError, r"params\[1\]: grad: expected a float64 array"),
    ]:
        a, b, c = (nn.Parameter(np.ones(3)) for _ in range(3))
        optimizer = optim.Adam([{"params": [a]}, {"params": [b, c]}])
        for p in (a, b, c):
            p.grad = np.ones(3)
        optimizer.step()
        before = optimizer.state_dict()
        values = [p.data.copy() for p in (a, b, c)]
        c.grad = bad
        with pytest.raises(error, match=message):
            optimizer.step()
        after = optimizer.state_dict()
        for number, state in before["state"].items():
            for key, value in state.items():
                np.testing.assert_array_equal(after["state"][number][key], value)
        for p, value in zip((a, b, c), values, strict=True):
            np.testing.assert_array_equal(p.data, value)


def test_a_state_of_another_shape_or_type_is_named():
    p = nn.Parameter(np.ones(3))
    optimizer = optim.Adam([p])
    p.grad = np.ones(3)
    optimizer.step()
    p.data, p.grad = p.data.astype(np.float32), np.ones(3, np.float32)
    with pytest.raises(TypeError, match=r"params\[0\]: exp_avg: expected a float32 array"):
        optimizer.step()


def test_a_buffer_of_a_failed_step_is_not_kept():
    p = nn.Parameter(np.ones(3))
    optimizer = optim.SGD([p], lr=1.0, momentum=0.5, dampening=0.5)
    p.grad = p.data
    with pytest.raises(ValueError, match="this memory is in use"):
        optimizer.step()
    p.grad = np.ones(3)
    optimizer.step()
    np.testing.assert_array_equal(p.data, 0)


def test_the_mean_square_about_the_mean_is_not_negative():
    p = nn.Parameter(np.zeros(64, np.float32))
    optimizer = optim.RMSprop([p], centered=True, alpha=0.9)
    for _ in range(300):
        p.grad = np.linspace(0.1, 7, 64, dtype=np.float32)
        optimizer.step()
    assert np.isfinite(p.data).all()
    p.grad = np.full(64, np.nan, np.float32)
    optimizer.step()
    assert np.isnan(p.data).all()


def test_a_state_is_a_copy():
    p = nn.Parameter(np.ones(3))
    optimizer = optim.Adam([p])
    p.grad = np.ones(3)
    optimizer.step()
    state = optimizer.state_dict()
    mean = state["state"][0]["exp_avg"].copy()
    optimizer.step()
    np.testing.assert_array_equal(state["state"][0]["exp_avg"], mean)
    assert state["state"][0]["step"] == 1


def test_arrays_that_cannot_be_stepped_are_named():
    p, q = nn.Parameter(np.ones(3)), nn.Parameter(np.ones(3))
    optimizer = optim.SGD([p, q])
    p.grad = q.grad = np.ones(2)
    with pytest.raises(ValueError, match=r"grad: expected shape \[3\], got \[2\]"):
        optimizer.step()
    p.grad, q.grad = np.ones(3), np.ones(3, np.float32)
    with pytest.raises(
        TypeError, match=r"params\[1\]: grad: expected a float64 array, got float32"
    ):
        optimizer.step()
    p.grad = p.data
    q.grad = np.ones(3)
    with pytest.raises(ValueError, match=r"grads\[0\]: this memory is in use"):
        optimizer.step()
    p.grad = np.ones(3)
    q.data = p.data[:]
    with pytest.raises(ValueError, match=r"params\[1\]: this memory is in use"):
        optimizer.step()
    q.data = np.ones(3)
    q.data.flags.writeable = False
    with pytest.raises(ValueError, match=r"params\[1\]: expected a writeable array"):
        optimizer.step()
    assert (p.data == 1).all()


def test_states_of_other_models_are_refused():
    optimizer = optim.Adam([nn.Parameter(np.ones(3))])
    other = optim.Adam([nn.Parameter(np.ones(3)), nn.Parameter(np.ones(3))])
    with pytest.raises(ValueError, match=r"expected groups of \[1\] parameters, got \[2\]"):
        optimizer.load_state_dict(other.state_dict())
    with pytest.raises(ValueError, match="not the state of an optimiser"):
        optimizer.load_state_dict({})
    state = optimizer.state_dict()
    state["state"] = {0: {"exp_avg": np.ones(3), "exp_avg_sq": np.ones(3)}}
    with pytest.raises(ValueError, match="state of parameter 0 has no step"):
        optimizer.load_state_dict(state)
    state = optimizer.state_dict()
    state["state"] = {0: {"step": 1, "exp_avg": np.ones(4), "exp_avg_sq": np.ones(3)}}
    with pytest.raises(ValueError, match=r"exp_avg: expected shape \(3,\), got \(4,\)"):
        optimizer.load_state_dict(state)
    assert optimizer.state == {}


def test_two_threads_may_read_while_one_steps(rng):
    p = nn.Parameter(rng.standard_normal(200_000).astype(np.float32))
    p.grad = np.ones_like(p.data)
    optimizer = optim.Adam([p])
    errors = []

    def read():
        try:
            for _ in range(20):
                lamina.ops.softmax(p.data[None])
        except ValueError as error:
            errors.append(str(error))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(20):
        try:
            optimizer.step()
        except ValueError as error:
            errors.append(str(error))
    for reader in readers:
        reader.join()
    assert all("this memory is in use" in error for error in errors)


@pytest.mark.parametrize("order", [1.0, 2.0, 3.0, float("inf")])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_clipping_by_norm(rng, order, dtype):
    params = parameters(rng, dtype)
    gradients(rng, params)
    params[3].grad = None
    params[0].grad = np.asfortranarray(params[0].grad)
    before = [p.grad.copy() for p in params if p.grad is not None]
    flat = np.concatenate([g.ravel() for g in before]).astype(np.float64)
    norm = optim.clip_grad_norm_(params, 1.5, order)
    np.testing.assert_allclose(norm, np.linalg.norm(flat, order), rtol=1e-12)
    after = [p.grad for p in params if p.grad is not None]
    for a, b in zip(after, before, strict=True):
        np.testing.assert_allclose(a, b * (1.5 / norm), rtol=1e-6)
    again = [a.copy() for a in after]
    optim.clip_grad_norm_(params, 100.0, order)
    for a, b in zip(after, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_clipping_of_bad_gradients():
    p = nn.Parameter(np.ones(2, np.float32))
    assert optim.clip_grad_norm_([p], 1.0) == 0.0
    p.grad = np.array([np.inf, 1], np.float32)
    with pytest.raises(ValueError, match="expected gradients of a finite norm, got inf"):
        optim.clip_grad_norm_(p, 1.0, error_if_nonfinite=True)
    assert p.grad[1] == 1
    with pytest.raises(ValueError, match="norm_type: expected a positive number, got 0"):
        optim.clip_grad_norm_(p, 1.0, 0.0)
    huge = nn.Parameter(np.ones(2, np.float32))
    huge.grad = np.full(2, 3e38, np.float32)
    np.testing.assert_allclose(optim.clip_grad_norm_(huge, 1.0), 3e38 * 2**0.5, rtol=1e-6)


def test_clipping_of_a_gradient_that_two_parameters_have():
    p, q = nn.Parameter(np.ones(4)), nn.Parameter(np.ones((2, 2)))
    shared = np.full(4, 3.0)
    p.grad, q.grad = shared, shared.reshape(2, 2)
    norm = optim.clip_grad_norm_([p, q], 1.0)
    np.testing.assert_allclose(norm, np.sqrt(72))
    for grad in (p.grad, q.grad):
        np.testing.assert_allclose(grad, 3 / norm, rtol=1e-6)
    # Arrays of the kernels have an owner that is no array.
    x = Tensor(np.ones((2, 2), np.float32), requires_grad=True)
    lamina.ops.softmax(x).sum().backward()
    p.data, q.data = np.ones((2, 2), np.float32), np.ones(4, np.float32)
    p.grad, q.grad = x.grad, x.grad.reshape(4)
    assert np.shares_memory(p.grad, q.grad)
    optim.clip_grad_norm_([p, q], 1.0)
    assert not np.shares_memory(p.grad, q.grad)


def test_clipping_by_value():
    p = nn.Parameter(np.ones(4))
    p.grad = np.array([-3.0, -0.5, 0.5, 3.0])
    optim.clip_grad_value_([p], 1.0)
    np.testing.assert_array_equal(p.grad, [-1, -0.5, 0.5, 1])
