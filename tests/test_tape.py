import numpy as np
import pytest

import lamina
from lamina import Tensor, nn, ops, optim


def leaf(rng, *shape):
    return Tensor(rng.standard_normal(shape), requires_grad=True)


def test_the_graph_is_released_unless_kept():
    x = Tensor([1.0], requires_grad=True)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_array_equal(x.grad, [4.0])
    with pytest.raises(RuntimeError, match="already used"):
        y.backward()


def test_modes():
    x = Tensor([1.0], requires_grad=True)
    with lamina.no_grad():
        assert not (x * 2).requires_grad
        with lamina.enable_grad():
            assert (x * 2).requires_grad

    @lamina.no_grad()
    def double(x):
        return x * 2

    assert not double(x).requires_grad
    assert lamina.is_grad_enabled()
    assert (x * 2).requires_grad
    assert not (x.detach() * 2).requires_grad


def test_a_mode_may_be_set_by_a_statement():
    x = Tensor([1.0], requires_grad=True)
    lamina.set_grad_enabled(False)
    try:
        assert not (x * 2).requires_grad
        with lamina.set_grad_enabled(True):
            assert (x * 2).requires_grad
        assert not (x * 2).requires_grad
    finally:
        lamina.set_grad_enabled(True)
    with lamina.set_grad_enabled(False):
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad

    @lamina.set_grad_enabled(False)
    def double(x):
        return x * 2

    assert (x * 2).requires_grad
    assert not double(x).requires_grad


def test_modes_decorate_without_parentheses():
    x = Tensor([1.0], requires_grad=True)

    @lamina.no_grad
    def double(x, *, factor=2):
        """Doubles."""
        return x * factor

    @lamina.enable_grad
    def recorded(x):
        return x * 2

    assert not double(x, factor=3).requires_grad
    assert (double.__name__, double.__doc__) == ("double", "Doubles.")
    with lamina.no_grad():
        assert recorded(x).requires_grad


def test_generators_run_in_their_mode_and_their_callers_do_not():
    x = Tensor([1.0], requires_grad=True)
    seen = []

    @lamina.no_grad()
    def numbers():
        try:
            while True:
                sent = yield (x * 2).requires_grad
                seen.append((sent, (x * 2).requires_grad))
        except KeyError:
            yield lamina.is_grad_enabled()
            return "end"
        finally:
            seen.append(lamina.is_grad_enabled())

    def through():
        return (yield from numbers())

    steps = through()
    assert next(steps) is False
    assert lamina.is_grad_enabled()
    assert steps.send(3) is False
    assert seen == [(3, False)]
    assert steps.throw(KeyError) is False
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert end.value.value == "end"
    assert seen[-1] is False
    steps = numbers()
    next(steps)
    steps.close()
    assert seen[-1] is False
    assert lamina.is_grad_enabled()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failed_walk_leaves_nothing_behind(error):
    x = Tensor([2.0], requires_grad=True)
    fail = [True]

    def vjp(dy):
        if fail[0]:
            raise error("stop")
        return (dy,)

    y = x * 3
    z = Tensor.record(y.data, (y,), vjp)
    # The other way to y, which its gradient has come by when the walk fails.
    total = z + y
    with pytest.raises(error):
        total.sum().backward()
    assert x.grad is None
    fail[0] = False
    (y * 1).sum().backward()
    np.testing.assert_array_equal(x.grad, [3.0])


def test_a_used_graph_leaves_nothing_behind():
    x = Tensor([2.0], requires_grad=True)
    used = x * 3
    used.sum().backward(retain_graph=True)
    x.grad = None
    other = used * 2
    other.sum().backward()
    x.grad = None
    with pytest.raises(RuntimeError, match="already used"):
        (used + x).sum().backward()
    x.grad = None
    (x * 5).sum().backward()
    np.testing.assert_array_equal(x.grad, [5.0])


def test_retain_graph_may_stand_second():
    x = Tensor([1.0], requires_grad=True)
    y = x * x
    y.backward(np.ones(1), True)
    y.backward(np.ones(1))
    np.testing.assert_array_equal(x.grad, [4.0])


CHANGED = "changed in place, by an optimizer's step, load_state_dict or an assignment"


def test_a_step_between_forward_and_backward_is_an_error(rng):
    first, second = nn.Linear(3, 4, rng=rng), nn.Linear(4, 1, rng=rng)
    optimizer = optim.SGD([*first.parameters(), *second.parameters()], lr=0.1)
    x = rng.standard_normal((5, 3)).astype(np.float32)
    hidden = first(x)
    one, two = second(hidden).mean(), second(hidden * 2).mean()
    one.backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(RuntimeError, match=CHANGED):
        two.backward()
    # A new graph is good again.
    second(first(x)).mean().backward()


def test_loading_between_forward_and_backward_is_an_error(rng):
    layer = nn.Linear(3, 4, rng=rng)
    loss = layer(Tensor(rng.standard_normal((5, 3)).astype(np.float32))).mean()
    layer.load_state_dict({k: np.zeros_like(v) for k, v in layer.state_dict().items()})
    with pytest.raises(RuntimeError, match=CHANGED):
        loss.backward()


@pytest.mark.parametrize("view", [lambda w: w.T, lambda w: w[1:].reshape(-1, 1)])
def test_a_change_shows_through_views(rng, view):
    w, x = leaf(rng, 3, 3), leaf(rng, 2, 3)
    y = (x[:, :1] * view(w)[:1]).sum()
    with lamina.no_grad():
        w[0] = 1
    with pytest.raises(RuntimeError, match=CHANGED):
        y.backward()


def test_a_change_does_not_matter_where_the_gradient_does_not_need_it(rng):
    w, x = leaf(rng, 3), leaf(rng, 2, 3)
    y = ((x + w)[0] - w.reshape(1, 3) + ops.cat([w, w])[:3] + w[[0, 0, 1]] + w.sum()).sum()
    w.grad = np.ones(3)
    optim.SGD([w], lr=0.1).step()
    w.grad = None
    y.backward()
    np.testing.assert_allclose(w.grad, [6, 5, 4])


def test_an_input_assigned_to_before_backward_is_an_error(rng):
    w, x = leaf(rng, 3), Tensor(np.ones(3))
    y = (w * x).sum()
    x[0] = 5
    with pytest.raises(RuntimeError, match=CHANGED):
        y.backward()


def test_index_arrays_may_change_after_use(rng):
    w = leaf(rng, 4, 2)
    rows, ids, mask = np.array([0, 1]), np.array([0, 1]), np.array([True, False, False, True])
    columns = Tensor(np.array([0, 1]))
    y = w[rows].sum() + ops.embedding(ids, w).sum() + w[mask].sum() + w[0, columns].sum()
    y = y + ops.gather(w, 0, columns[None]).sum()
    rows[:] = ids[:] = 3
    mask[:] = True
    columns[:] = 1
    y.backward()
    np.testing.assert_array_equal(w.grad, [[5, 4], [2, 3], [0, 0], [1, 1]])
