import math

import numpy as np
import pytest

from lamina import nn, optim


def make(lr=0.1, method=optim.SGD, **options):
    return method([nn.Parameter(np.ones(1))], lr=lr, **options)


def rates(optimizer, schedule, steps):
    out = []
    for _ in range(steps):
        out.append(optimizer.param_groups[0]["lr"])
        schedule.step()
    return out


SCHEDULES = {
    "lambda": lambda o: optim.LambdaLR(o, lambda t: 1 / (1 + t)),
    "step": lambda o: optim.StepLR(o, 3, 0.5),
    "multistep": lambda o: optim.MultiStepLR(o, [2, 5], 0.5),
    "constant": lambda o: optim.ConstantLR(o, 0.5, 4),
    "linear": lambda o: optim.LinearLR(o, 0.2, 0.8, 4),
    "exponential": lambda o: optim.ExponentialLR(o, 0.9),
    "cosine": lambda o: optim.CosineAnnealingLR(o, 6, 0.01),
    "restarts": lambda o: optim.CosineAnnealingWarmRestarts(o, 2, 2),
    "onecycle": lambda o: optim.OneCycleLR(o, 0.5, 12),
    "onecycle linear": lambda o: optim.OneCycleLR(
        o, 0.5, epochs=3, steps_per_epoch=4, anneal_strategy="linear", three_phase=True
    ),
    "sequential": lambda o: optim.SequentialLR(
        o, [optim.LinearLR(o, 0.1, 1.0, 3), optim.ExponentialLR(o, 0.5)], [3]
    ),
}


def test_values():
    def of(name, steps):
        optimizer = make(1.0)
        return rates(optimizer, SCHEDULES[name](optimizer), steps)

    np.testing.assert_allclose(of("lambda", 4), [1, 1 / 2, 1 / 3, 1 / 4])
    np.testing.assert_allclose(of("step", 7), [1, 1, 1, 0.5, 0.5, 0.5, 0.25])
    np.testing.assert_allclose(of("multistep", 6), [1, 1, 0.5, 0.5, 0.5, 0.25])
    np.testing.assert_allclose(of("constant", 6), [0.5] * 4 + [1, 1])
    np.testing.assert_allclose(of("linear", 6), [0.2, 0.35, 0.5, 0.65, 0.8, 0.8])
    np.testing.assert_allclose(of("cosine", 4)[3], 0.01 + 0.99 / 2)
    np.testing.assert_allclose(of("restarts", 7), [1, 0.5, 1, *of("cosine4", 4)[1:], 1][:7])
    np.testing.assert_allclose(of("sequential", 6), [0.1, 0.4, 0.7, 1, 0.5, 0.25])


SCHEDULES["cosine4"] = lambda o: optim.CosineAnnealingLR(o, 4)


@pytest.mark.parametrize("name", SCHEDULES)
def test_resuming_equals_never_stopping(name):
    whole = make()
    expected = rates(whole, SCHEDULES[name](whole), 11)
    first = make()
    schedule = SCHEDULES[name](first)
    rates(first, schedule, 5)
    second = make()
    resumed = SCHEDULES[name](second)
    second.load_state_dict(first.state_dict())
    resumed.load_state_dict(schedule.state_dict())
    assert rates(second, resumed, 6) == expected[5:]
    assert resumed.get_last_lr() == [second.param_groups[0]["lr"]]


def test_one_cycle_moves_momentum_the_other_way():
    for method, read in [
        (optim.SGD, lambda g: g["momentum"]),
        (optim.Adam, lambda g: g["betas"][0]),
    ]:
        optimizer = make(method=method)
        schedule = optim.OneCycleLR(optimizer, 1.0, total_steps=10, pct_start=0.3)
        group = optimizer.param_groups[0]
        assert math.isclose(group["lr"], 1 / 25)
        assert math.isclose(read(group), 0.95)
        schedule.step()
        schedule.step()
        assert math.isclose(group["lr"], 1.0)
        assert math.isclose(read(group), 0.85)
        for _ in range(7):
            schedule.step()
        assert math.isclose(group["lr"], 1 / 25 / 1e4)
        assert math.isclose(read(group), 0.95)
    schedule.step()
    with pytest.raises(ValueError, match="expected at most 10 steps, got 11"):
        schedule.step()


def test_groups_keep_their_ratio():
    a, b = (nn.Parameter(np.ones(1)) for _ in range(2))
    optimizer = optim.SGD([{"params": [a]}, {"params": [b], "lr": 1.0}], lr=0.1)
    schedule = optim.ExponentialLR(optimizer, 0.5)
    schedule.step()
    assert schedule.get_last_lr() == [0.05, 0.5]
    schedule = optim.LambdaLR(optimizer, [lambda t: 2.0 - t, lambda t: 3.0 - t])
    assert schedule.get_last_lr() == [0.2, 3.0]


def test_plateau():
    optimizer = make(1.0)
    schedule = optim.ReduceLROnPlateau(optimizer, factor=0.5, patience=1, cooldown=1, min_lr=0.3)
    seen = []
    for measure in [3, 2, 2, 2, 2, 2, 2, 2, 2]:
        schedule.step(measure)
        seen.append(schedule.get_last_lr()[0])
    assert seen == [1, 1, 1, 0.5, 0.5, 0.5, 0.3, 0.3, 0.3]
    other = optim.ReduceLROnPlateau(make(1.0))
    other.load_state_dict(schedule.state_dict())
    assert other.best == 2
    assert other.patience == 1
    rising = optim.ReduceLROnPlateau(
        optimizer, "max", threshold_mode="abs", threshold=0.5, patience=0, eps=0.0
    )
    rising.step(1.0)
    rising.step(1.6)
    assert rising.num_bad_epochs == 0
    rising.step(1.7)
    assert math.isclose(optimizer.param_groups[0]["lr"], 0.03)


def test_bad_arguments_are_named():
    o = make()
    for bad, message in [
        (lambda: optim.StepLR(o, 0), "StepLR: step_size: expected a whole number"),
        (lambda: optim.CosineAnnealingLR(o, 0), "CosineAnnealingLR: T_max"),
        (lambda: optim.CosineAnnealingWarmRestarts(o, 5, 0), "T_mult"),
        (lambda: optim.LinearLR(o, 0.0), "LinearLR: start_factor: expected a number above 0"),
        (lambda: optim.ConstantLR(o, 1.5), "ConstantLR: factor"),
        (lambda: optim.OneCycleLR(o, 0.1), "expected total_steps, or epochs"),
        (lambda: optim.OneCycleLR(o, [0.1, 0.2], 9), "max_lr: expected 1 rates, got 2"),
        (lambda: optim.OneCycleLR(o, 0.1, 9, anneal_strategy="x"), "anneal_strategy"),
        (lambda: optim.OneCycleLR(o, 0.1, 9, pct_start=2), "pct_start"),
        (lambda: optim.OneCycleLR(make(method=optim.Adagrad), 0.1, 9), "has no momentum"),
        (lambda: optim.SequentialLR(o, [optim.StepLR(o, 1)], [1]), "milestones: expected 0"),
        (lambda: optim.SequentialLR(o, [optim.StepLR(make(), 1)], []), "same optimizer"),
        (lambda: optim.ReduceLROnPlateau(o, "mean"), "mode: expected 'min' or 'max'"),
        (lambda: optim.ReduceLROnPlateau(o, factor=1.0), "factor"),
        (lambda: optim.ReduceLROnPlateau(o, threshold_mode="x"), "threshold_mode"),
        (lambda: optim.ReduceLROnPlateau(o, min_lr=[1.0, 2.0]), "min_lr: expected 1"),
        (lambda: optim.LambdaLR(o, []), "lr_lambda: expected 1 functions"),
        (lambda: optim.StepLR(o, 1).load_state_dict({"x": 1}), "unknown keys: x"),
    ]:
        with pytest.raises(ValueError, match=message):
            bad()
    with pytest.raises(TypeError, match="StepLR: optimizer: expected an Optimizer, got int"):
        optim.StepLR(3, 1)
    with pytest.raises(KeyError, match="no 'initial_lr' to resume"):
        optim.StepLR(make(), 1, last_epoch=4)
