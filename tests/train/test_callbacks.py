import dataclasses

import numpy as np
import pytest

from lamina import as_tensor, nn
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


@pytest.mark.parametrize(
    ("mode", "names"),
    [
        (
            "min",
            "val_loss loss val_mse val_mae val_cer val_wer bits_per_byte val_perplexity myloss",
        ),
        ("min", "val_mean_squared_error val_MeanSquaredError log_loss brier_score val_nll"),
        ("max", "val_acc accuracy val_acc1 top5_accuracy auc val_f1 f1_score precision val_recall"),
        ("max", "val_bleu r2 val_iou dice score ValAccuracy"),
    ],
)
def test_auto_knows_which_is_better(mode, names):
    for name in names.split():
        assert EarlyStopping(name).mode == mode, name
        assert ModelCheckpoint("m", name, save_best_only=True).mode == mode, name


def test_auto_does_not_guess():
    for name in ("val_thing", "lr", "val_worst", "val_macro"):
        with pytest.raises(ValueError, match=f"mode: expected min or max, as the name '{name}'"):
            EarlyStopping(name)
        assert EarlyStopping(name, mode="max").mode == "max"
        ModelCheckpoint("m", name)
    with pytest.raises(ValueError, match="ModelCheckpoint: mode: expected min or max"):
        ModelCheckpoint("m", "val_thing", save_best_only=True)


def test_early_stopping_from_an_epoch_and_with_a_baseline(model, loader, Descent, squares):
    def run(stopper, values):
        return fit(
            model,
            loader,
            loss=squares,
            optimizer=Descent(model.parameters(), 0.0),
            epochs=len(values),
            validation=Feed(model, values),
            callbacks=[stopper],
        )

    stopper = EarlyStopping(patience=2, start_from_epoch=2)
    assert len(run(stopper, [1, 1, 5, 5, 5, 5])) == 5
    assert stopper.best_epoch == 2
    stopper = EarlyStopping(patience=2, baseline=2.0)
    history = run(stopper, [4, 3, 2.5, 1])
    assert len(history) == 2
    assert history.stopped == "val_loss did not get better than 2"
    assert len(run(stopper, [4, 1, 3, 3, 0])) == 4


def test_checkpoints_named_by_values(model, loader, optimizer, tmp_path, squares):
    named = ModelCheckpoint(tmp_path / "{epoch:02d}-{val_loss:.2f}-{step}")
    options = {"loss": squares, "optimizer": optimizer, "validation": Feed(model, [3, 1])}
    fit(model, loader, callbacks=[named], epochs=2, **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00-3.00-5", "01-1.00-10"]
    wrong = ModelCheckpoint(tmp_path / "{val_acc:.2f}")
    with pytest.raises(ValueError, match="folder: 'val_acc' is not recorded, expected one of loss"):
        fit(model, loader, callbacks=[wrong], loss=squares, optimizer=optimizer)


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


def test_what_a_run_has_so_far_outlives_a_nan(model, loader, optimizer, squares):
    seen = []

    class Spoil(Callback):
        def on_train_batch_end(self, step, _):
            if step == 11:
                self.run.model.bias.data[...] = np.nan

        def on_train_end(self):
            seen.append(self.run.history.stopped)

    stopper = EarlyStopping(patience=9, restore_best_weights=True)
    with pytest.raises(FloatingPointError, match="step 12: the loss is nan; bias is") as caught:
        fit(
            model,
            loader,
            loss=squares,
            optimizer=optimizer,
            epochs=5,
            validation=Feed(model, [2, 1, 3]),
            callbacks=[stopper, Spoil()],
        )
    assert caught.value.history["val_loss"] == pytest.approx([2, 1])
    assert seen == [str(caught.value)]
    assert np.isfinite(model.bias.data).all()


def test_statistics_of_a_bad_batch_are_not_blamed(Descent, squares):
    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(3)

        def forward(self, x):
            return self.norm(as_tensor(x)).sum(1)

    model = Normed()
    x = np.ones((6, 3), np.float32)
    x[4, 1] = np.nan
    loader = DataLoader(TensorDataset(x, np.ones(6, np.float32)), 2)
    with pytest.raises(FloatingPointError) as caught:
        fit(model, loader, loss=squares, optimizer=Descent(model.parameters()))
    assert (
        "step 2: the loss is nan; all parameters are finite, but input 0 of the batch is not; "
        in (str(caught.value))
    )
    assert "norm.running_mean" in str(caught.value)


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
