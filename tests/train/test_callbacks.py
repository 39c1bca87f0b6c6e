import dataclasses

import numpy as np
import pytest

from lamina import nn
from lamina.data import DataLoader, TensorDataset
from lamina.train import (
    Callback,
    EarlyStopping,
    LambdaCallback,
    ModelCheckpoint,
    TerminateOnNaN,
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


@pytest.mark.parametrize(
    ("options", "values", "epochs"),
    [
        ({}, [3, 2, 1, 2, 0], 4),
        ({"patience": 2}, [3, 4, 2, 3, 3, 0], 5),
        ({"min_delta": 1.5, "patience": 1}, [9, 8, 0], 2),
        ({"mode": "max", "patience": 1}, [1, 2, 1, 5], 3),
        ({"patience": 9}, [1, 2, 3], 3),
    ],
)
def test_early_stopping(model, loader, options, values, epochs, Descent, squares):
    stopper = EarlyStopping(**options)
    history = fit(
        model,
        loader,
        loss=squares,
        optimizer=Descent(model.parameters(), 0.0),
        epochs=len(values),
        validation=Feed(model, values),
        callbacks=[stopper],
    )
    assert len(history) == epochs
    assert bool(history.stopped) == (epochs < len(values))
    assert np.isfinite(stopper.best)


def test_early_stopping_restores_the_best_weights(model, loader, optimizer, squares):
    weights = []
    note = LambdaCallback(on_epoch_end=lambda *_: weights.append(model.weight.data.copy()))
    stopper = EarlyStopping(patience=2, restore_best_weights=True)
    fit(
        model,
        loader,
        loss=squares,
        optimizer=optimizer,
        epochs=9,
        validation=Feed(model, [3, 1, 2, 2, 0]),
        callbacks=[note, stopper],
    )
    assert stopper.best_epoch == 1
    assert len(weights) == 4
    np.testing.assert_array_equal(model.weight.data, weights[1])
    assert not np.array_equal(weights[1], weights[3])


def test_a_monitor_that_is_not_recorded_is_named(model, loader, optimizer, squares):
    with pytest.raises(ValueError, match="'val_loss' is not recorded, expected one of loss, lr"):
        fit(model, loader, loss=squares, optimizer=optimizer, callbacks=[EarlyStopping()])
    with pytest.raises(ValueError, match="mode: expected auto, min or max"):
        EarlyStopping(mode="best")
    with pytest.raises(ValueError, match="patience: expected at least 0"):
        EarlyStopping(patience=-1)
    with pytest.raises(ValueError, match="min_delta: expected at least 0"):
        EarlyStopping(min_delta=-1.0)


def test_checkpoints_of_any_module(model, loader, optimizer, tmp_path, Line, squares):
    best = ModelCheckpoint(tmp_path / "best", save_best_only=True)
    each = ModelCheckpoint(tmp_path / "all" / "{epoch}-{step}", monitor="loss", save_every=3)
    weights = []
    note = LambdaCallback(on_epoch_end=lambda *_: weights.append(model.weight.data.copy()))
    fit(
        model,
        loader,
        loss=squares,
        optimizer=optimizer,
        epochs=3,
        validation=Feed(model, [3, 1, 2]),
        callbacks=[note, best, each],
    )
    names = sorted(path.name for path in (tmp_path / "all").iterdir())
    assert names == ["0-3", "0-5", "1-10", "1-6", "1-9", "2-12", "2-15"]
    again = Line()
    nn.load_weights(again, tmp_path / "best")
    np.testing.assert_array_equal(again.weight.data, weights[1])


@dataclasses.dataclass(frozen=True)
class LineConfig:
    d: int = 3


def test_checkpoints_of_pretrained_models(loader, tmp_path, Line, Descent, squares):
    class Stored(nn.Pretrained, Line):
        config_class = LineConfig

        def __init__(self, config):
            super().__init__(config.d)
            self.config = config

    model = Stored(LineConfig())
    save = ModelCheckpoint(tmp_path / "m", generation_config={"top_k": 1})
    optimizer = Descent(model.parameters())
    fit(model, loader, loss=squares, optimizer=optimizer, callbacks=[save])
    again = Stored.from_pretrained(tmp_path / "m")
    np.testing.assert_array_equal(again.weight.data, model.weight.data)
    assert (tmp_path / "m" / "generation_config.json").is_file()


def test_calls_come_in_order(model, loader, optimizer, squares):
    calls = []

    class Note(Callback):
        def on_train_begin(self):
            calls.append("begin")

        def on_train_batch_begin(self, step):
            calls.append(f"[{step}")

        def on_gradients(self, *_):
            assert all(parameter.grad is not None for parameter in self.run.model.parameters())

        def on_train_batch_end(self, step, *_):
            assert self.run.step == step + 1
            calls.append(f"{step}]")
            if step == 1:
                self.run.stop("enough")

        def on_epoch_end(self, epoch, *_):
            calls.append(f"epoch {epoch}")

        def on_train_end(self):
            calls.append("end")

    plain = LambdaCallback(
        on_train_begin=lambda: calls.append("b"), on_train_end=lambda: calls.append("e")
    )
    callbacks = [Note(), plain, Callback()]
    history = fit(model, loader, loss=squares, optimizer=optimizer, callbacks=callbacks, epochs=3)
    assert calls == ["begin", "b", "[0", "0]", "[1", "1]", "epoch 0", "end", "e"]
    assert history.stopped == "enough"
    assert history["steps"] == [2]


def test_nan_in_the_data_is_named(model, optimizer, squares):
    x = np.ones((4, 3), np.float32)
    y = np.array([1, 1, 1, np.nan], np.float32)
    loader = DataLoader(TensorDataset(x, y), 1)
    with pytest.raises(FloatingPointError, match="step 3: the loss is nan; all parameters are fin"):
        fit(model, loader, loss=squares, optimizer=optimizer)
    assert np.isfinite(model.weight.data).all()


def test_nan_in_a_parameter_is_named(model, loader, optimizer, squares):
    model.bias.data[...] = np.inf
    with pytest.raises(FloatingPointError, match="step 0: the loss is inf; bias is not finite"):
        fit(model, loader, loss=squares, optimizer=optimizer)


def test_a_bad_gradient_is_named_before_the_step(model, optimizer, squares):
    def bad(output, target):
        return squares(output, target) + ((output - output) ** 1.0).abs().sqrt().sum() * 1

    loader = DataLoader(TensorDataset(np.ones((4, 3), np.float32), np.ones(4, np.float32)), 2)
    before = model.weight.data.copy()
    check = TerminateOnNaN(gradients=True)
    with (
        np.errstate(all="ignore"),
        pytest.raises(FloatingPointError, match="step 0: the gradient of weight is not finite"),
    ):
        fit(model, loader, loss=bad, optimizer=optimizer, callbacks=[check])
    np.testing.assert_array_equal(model.weight.data, before)
