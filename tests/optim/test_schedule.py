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
    "polynomial": lambda o: optim.PolynomialLR(o, 4, 2.0),
    "restarts": lambda o: optim.CosineAnnealingWarmRestarts(o, 2, 2),
    "onecycle": lambda o: optim.OneCycleLR(o, 0.5, 12),
    "onecycle linear": lambda o: optim.OneCycleLR(
        o, 0.5, epochs=3, steps_per_epoch=4, anneal_strategy="linear", three_phase=True
    ),
    "sequential": lambda o: optim.SequentialLR(
        o, [optim.LinearLR(o, 0.1, 1.0, 3), optim.ExponentialLR(o, 0.5)], [3]
    ),
    "chained": lambda o: optim.ChainedScheduler(
        [optim.ConstantLR(o, 0.5, 4), optim.ExponentialLR(o, 0.9)]
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
    np.testing.assert_allclose(of("polynomial", 6), [1, 0.5625, 0.25, 0.0625, 0, 0])
    np.testing.assert_allclose(of("chained", 6), [0.5, 0.45, 0.405, 0.3645, 0.6561, 0.59049])
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


def test_two_schedules_of_one_optimiser_compose():
    optimizer = make(1.0)
    constant = optim.ConstantLR(optimizer, 0.5, 3)
    exponential = optim.ExponentialLR(optimizer, 0.9)
    cosine = optim.CosineAnnealingLR(optimizer, 4)
    for t in range(12):
        factor = 0.5 if t < 3 else 1.0
        # From its turn on, half a wave up is added to what the others left of the rate.
        if t <= 4:
            wave = (1 + math.cos(math.pi * t / 4)) / 2
            expected = factor * 0.9**t * wave
            assert math.isclose(optimizer.param_groups[0]["lr"], expected, abs_tol=1e-15)
        elif t == 5:
            expected = (1 - math.cos(math.pi / 4)) / 2
            assert math.isclose(optimizer.param_groups[0]["lr"], expected)
        for schedule in (constant, exponential, cosine):
            schedule.step()


@pytest.mark.parametrize(
    ("name", "t"), [("step", 6), ("multistep", 3), ("linear", 2), ("exponential", 5), ("cosine", 4)]
)
def test_a_rate_changed_by_hand_is_kept(name, t):
    plain, changed = make(), make()
    expected = rates(plain, SCHEDULES[name](plain), 12)
    schedule = SCHEDULES[name](changed)
    rates(changed, schedule, t)
    low = 0.01 if name == "cosine" else 0.0
    changed.param_groups[0]["lr"] = low + (changed.param_groups[0]["lr"] - low) * 0.25
    upto = 7 if name == "cosine" else 12
    seen = rates(changed, schedule, upto - t)
    np.testing.assert_allclose(seen, low + (np.array(expected[t:upto]) - low) * 0.25)


@pytest.mark.parametrize("name", sorted(SCHEDULES.keys() - {"onecycle", "onecycle linear"}))
def test_a_group_may_be_added(name):
    plain, grown = make(0.3), make(0.3)
    expected = rates(plain, SCHEDULES[name](plain), 8)
    schedule = SCHEDULES[name](grown)
    rates(grown, schedule, 2)
    lr = grown.param_groups[0]["lr"]
    grown.add_param_group({"params": [nn.Parameter(np.ones(1))], "lr": 2 * lr})
    seen = []
    for _ in range(6):
        seen.append([group["lr"] for group in grown.param_groups])
        schedule.step()
    assert [row[0] for row in seen] == expected[2:]
    if name in ("step", "multistep", "exponential", "linear", "polynomial"):
        np.testing.assert_allclose([row[1] for row in seen], 2 * np.array(expected[2:]))


def test_what_is_one_for_each_group_must_grow_with_them():
    for make_one, message in [
        (lambda o: optim.OneCycleLR(o, 0.1, 9), "OneCycleLR: max_lr: expected 2 rates, got 1"),
        (lambda o: optim.LambdaLR(o, [math.sqrt]), "lr_lambda: expected 2 functions, got 1"),
        (lambda o: optim.ReduceLROnPlateau(o, min_lr=[0.1]), "min_lr: expected 2 rates, got 1"),
    ]:
        optimizer = make(lr=0.3, method=optim.Adam)
        schedule = make_one(optimizer)
        optimizer.add_param_group({"params": [nn.Parameter(np.ones(1))]})
        arguments = [1.0] if isinstance(schedule, optim.ReduceLROnPlateau) else []
        with pytest.raises(ValueError, match=message):
            schedule.step(*arguments)
    optimizer = make()
    plateau = optim.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
    optimizer.add_param_group({"params": [nn.Parameter(np.ones(1))]})
    plateau.step(1.0)
    plateau.step(1.0)
    assert plateau.get_last_lr() == [0.05, 0.05]


def test_a_schedule_in_sequence_starts_from_the_initial_rate():
    optimizer = make(1.0)
    parts = [optim.ConstantLR(optimizer, 0.1, 2), optim.StepLR(optimizer, 2, 0.5)]
    schedule = optim.SequentialLR(optimizer, parts, [2])
    np.testing.assert_allclose(rates(optimizer, schedule, 7), [0.1, 0.1, 1, 1, 0.5, 0.5, 0.25])


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
        (lambda: optim.ChainedScheduler([]), "schedulers: expected at least one"),
        (lambda: optim.ChainedScheduler([optim.StepLR(o, 1)], make()), "same optimizer"),
        (lambda: optim.PolynomialLR(o, 0), "PolynomialLR: total_iters"),
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
