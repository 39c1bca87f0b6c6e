import csv

import numpy as np
import pytest

from lamina import optim
from lamina.train import (
    EMA,
    CSVLogger,
    LambdaCallback,
    LearningRateScheduler,
    ReduceLROnPlateau,
    fit,
)


class Feed:
    """A validation whose losses are those given."""

    def __init__(self, model, values):
        self.model = model
        self.values = iter(values)

    def __iter__(self):
        target = np.float32(next(self.values)) ** 0.5
        x = np.zeros((1, 3), np.float32)
        yield x, self.model(x).data + target


def test_csv(model, loader, optimizer, squares, tmp_path):
    logger = CSVLogger(tmp_path / "log.csv", ";")
    history = fit(model, loader, loss=squares, optimizer=optimizer, epochs=3, callbacks=[logger])
    with (tmp_path / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    assert [int(row["epoch"]) for row in rows] == [0, 1, 2]
    for name in history.history:
        assert [float(row[name]) for row in rows] == history[name]


def test_rates_by_epoch(model, loader, optimizer, squares):
    rates = LearningRateScheduler(lambda epoch, lr: lr / 2 if epoch else 0.08)
    history = fit(model, loader, loss=squares, optimizer=optimizer, epochs=3, callbacks=[rates])
    assert history["lr"] == [0.08, 0.04, 0.02]
    wrong = LearningRateScheduler(lambda _, lr: -lr)
    with pytest.raises(ValueError, match=r"schedule: expected a number of at least 0, got -0\.01"):
        fit(model, loader, loss=squares, optimizer=optimizer, callbacks=[wrong])


def test_rates_fall_on_a_plateau(model, loader, optimizer, squares):
    lower = ReduceLROnPlateau(factor=0.5, patience=2, min_lr=0.02)
    history = fit(
        model,
        loader,
        loss=squares,
        optimizer=optimizer,
        epochs=8,
        validation=Feed(model, [3, 2, 2, 2, 2, 2, 2, 2]),
        callbacks=[lower],
    )
    np.testing.assert_allclose(history["lr"], [0.1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.025, 0.025])
    assert optimizer.param_groups[0]["lr"] == 0.02
    with pytest.raises(ValueError, match="factor: expected 0 to below 1, got 1"):
        ReduceLROnPlateau(factor=1.0)


def test_the_average_of_the_weights(loader, squares, Line):
    lines = [Line(), Line()]
    seen = []
    for line, swap in zip(lines, (True, False), strict=True):
        loader.load_state_dict({"seed": 1, "epoch": 0, "position": 0})
        average = EMA(0.75, swap)
        sgd = optim.SGD(line.parameters(), lr=0.05)
        expected = np.zeros(3)
        steps = []

        note = LambdaCallback(
            on_train_batch_end=lambda *_: steps.append(line.weight.data.copy())  # noqa: B023
        )
        fit(line, loader, loss=squares, optimizer=sgd, callbacks=[average, note])
        for weight in steps:
            expected = 0.75 * expected + 0.25 * weight
        np.testing.assert_allclose(average.weights["weight"], expected, rtol=1e-5)
        seen.append((expected, steps[-1]))
    np.testing.assert_allclose(lines[0].weight.data, seen[0][0], rtol=1e-5)
    np.testing.assert_array_equal(lines[1].weight.data, seen[1][1])
    with pytest.raises(ValueError, match="decay: expected 0 to below 1, got 1"):
        EMA(1.0)
