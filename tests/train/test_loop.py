import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import lamina
from lamina import Tensor, optim
from lamina.data import DataLoader, TensorDataset
from lamina.train import Callback, LambdaCallback, evaluate, fit, predict


def test_learns_a_line(model, loader, optimizer, data, squares):
    history = fit(model, loader, loss=squares, optimizer=optimizer, epochs=40, validation=loader)
    np.testing.assert_allclose(model.weight.data, [1, -2, 3], atol=1e-3)
    assert len(history) == 40
    assert history.epoch == list(range(40))
    assert set(history.history) == {"loss", "val_loss", "lr", "seconds", "steps"}
    assert history["loss"][-1] < 1e-5 < history["loss"][0]
    assert history["steps"][-1] == 200
    assert history["lr"] == [0.1] * 40
    assert history["seconds"] == sorted(history["seconds"])
    assert repr(history).startswith("History(epochs=40, last: loss=")


def test_equals_a_loop_by_hand(model, data, optimizer, Line, Descent, squares):
    other = Line()
    by_hand = Descent(other.parameters())
    for _ in range(3):
        for x, y in DataLoader(data, 16):
            by_hand.zero_grad()
            squares(other(x), y).backward()
            by_hand.step()
    loader = DataLoader(data, 16)
    fit(model, loader, loss=squares, optimizer=optimizer, epochs=3)
    np.testing.assert_array_equal(model.weight.data, other.weight.data)


def test_several_inputs(optimizer, model, Line, Descent, squares):
    class Two(Line):
        def forward(self, x, y):
            return super().forward(x) + super().forward(y)

    x = np.ones((4, 3), np.float32)
    data = TensorDataset(x, x, np.zeros(4, np.float32))
    two = Two()
    history = fit(two, DataLoader(data, 2), loss=squares, optimizer=Descent(two.parameters()))
    assert history["loss"] == [0.0]


@pytest.mark.parametrize(
    ("limits", "steps", "rows"),
    [
        ({}, 5, [5]),
        ({"epochs": 2}, 10, [5, 10]),
        ({"steps": 7}, 7, [5, 7]),
        ({"steps": 10}, 10, [5, 10]),
        ({"steps": 100, "epochs": 1}, 5, [5]),
        ({"epochs": 2, "eval_every": 4}, 10, [4, 8, 10]),
        ({"steps": 8, "eval_every": 4}, 8, [4, 8]),
        ({"seconds": 1e-9}, 1, [1]),
    ],
)
def test_limits(model, loader, optimizer, limits, steps, rows, squares):
    history = fit(model, loader, loss=squares, optimizer=optimizer, **limits)
    assert history["steps"] == rows
    assert rows[-1] == steps


def test_seconds_end_a_training(model, loader, optimizer, squares):
    start = time.monotonic()
    history = fit(model, loader, loss=squares, optimizer=optimizer, seconds=0.1, eval_every=100)
    assert 0.1 <= time.monotonic() - start < 5
    assert history["steps"][-1] > 10


def test_metrics_and_modes(model, loader, optimizer, squares):
    modes = []

    def worst(output, target):
        assert isinstance(output, np.ndarray)
        modes.append(model.training)
        return np.abs(output - target).max()

    model.eval()
    seen = LambdaCallback(on_train_batch_end=lambda *_: modes.append(model.training))
    history = fit(
        model,
        loader,
        loss=squares,
        optimizer=optimizer,
        validation=loader,
        metrics=[worst],
        callbacks=[seen],
    )
    assert len(history["val_worst"]) == 1
    assert modes == [True] * 5 + [False] * 5
    assert not model.training
    with pytest.raises(ValueError, match="metrics: expected validation with them"):
        fit(model, loader, loss=squares, optimizer=optimizer, metrics=[worst])


def test_schedules_count_steps_or_get_the_loss(model, loader, optimizer, squares):
    class Halve:
        def step(self):
            optimizer.param_groups[0]["lr"] /= 2

    history = fit(model, loader, loss=squares, optimizer=optimizer, schedule=Halve(), epochs=2)
    assert history["lr"] == [0.1 / 2**5, 0.1 / 2**10]

    class Plateau:
        def __init__(self):
            self.seen = []

        def step(self, metrics):
            self.seen.append(metrics)

    schedule = Plateau()
    history = fit(model, loader, loss=squares, optimizer=optimizer, schedule=schedule, epochs=2)
    assert schedule.seen == history["loss"]


def test_clips_and_follows_the_librarys_own_schedule(model, loader, squares):
    norms = []

    class Note(Callback):
        def on_gradients(self, _, logs):
            norms.append(np.sqrt(sum((p.grad**2).sum() for p in model.parameters())))
            assert logs["grad_norm"] > 0

    sgd = optim.SGD(model.parameters(), lr=0.1)
    history = fit(
        model,
        loader,
        loss=squares,
        optimizer=sgd,
        schedule=optim.StepLR(sgd, 5),
        clip_norm=0.5,
        epochs=2,
        callbacks=[Note()],
    )
    assert max(norms) == pytest.approx(0.5, rel=1e-4)
    np.testing.assert_allclose(history["lr"], [0.01, 0.001])
    plateau = optim.ReduceLROnPlateau(sgd, patience=0)
    history = fit(
        model,
        loader,
        loss=lambda o, t: squares(o, t) * 0,
        optimizer=sgd,
        schedule=plateau,
        epochs=3,
    )
    assert history["lr"][-1] < history["lr"][0]


def test_a_norm_that_is_not_finite_is_named(model, loader, squares):
    def steep(output, target):
        return squares(output, target) * 1e38

    adam = optim.Adam(model.parameters())
    with (
        np.errstate(all="ignore"),
        pytest.raises(FloatingPointError, match=r"step 0: the (loss|norm of the gradients) is inf"),
    ):
        fit(model, loader, loss=steep, optimizer=adam, clip_norm=1.0)


def test_loss_is_a_mean_over_items(model, data, Descent, squares):
    history = fit(
        model, DataLoader(data, 32), loss=squares, optimizer=Descent(model.parameters(), 0.0)
    )
    assert history["loss"][0] == pytest.approx(float((data.arrays[1] ** 2).mean()), rel=1e-6)


def test_evaluate_and_predict(model, data, loader, squares):
    y = data.arrays[1]
    result = evaluate(model, loader, loss=squares, metrics={"mean": lambda _, t: t.mean()})
    assert result["loss"] == pytest.approx(float((y**2).mean()), rel=1e-5)
    assert result["mean"] == pytest.approx(float(y.mean()), rel=1e-5)
    model.bias.data[...] = 2
    for x in (data.arrays[0], Tensor(data.arrays[0]), DataLoader(TensorDataset(data.arrays[0]), 7)):
        out = predict(model, x)
        np.testing.assert_array_equal(out, np.full(40, 2, np.float32))
    assert model.training
    with pytest.raises(ValueError, match="evaluate: loader: gave no batch"):
        evaluate(model, [], loss=squares)
    with pytest.raises(ValueError, match="predict: x: expected at least one item"):
        predict(model, [])


def test_predict_joins_tuples(model, Line):
    class Two(Line):
        def forward(self, x):
            return super().forward(x), x

    a, b = predict(Two(), np.ones((5, 3), np.float32), batch_size=2)
    assert a.shape == (5,)
    assert b.shape == (5, 3)


def test_refuses(model, loader, optimizer, squares):
    for name in ("epochs", "steps", "seconds", "clip_norm", "eval_every"):
        with pytest.raises(ValueError, match=f"fit: {name}: expected a positive number, got 0"):
            fit(model, loader, loss=squares, optimizer=optimizer, **{name: 0})
    with pytest.raises(ValueError, match="loader: gave no batch in epoch 0"):
        fit(model, [], loss=squares, optimizer=optimizer)
    with pytest.raises(TypeError, match=r"expected batches \(inputs..., target\), got ndarray"):
        fit(model, np.ones((3, 3)), loss=squares, optimizer=optimizer)
    with pytest.raises(TypeError, match="expected batches to iterate over, got int"):
        fit(model, 3, loss=squares, optimizer=optimizer)

    with pytest.raises(TypeError, match="loss: expected a Tensor of it, got float"):
        fit(model, loader, loss=lambda *_: 1.0, optimizer=optimizer)
    with pytest.raises(ValueError, match=r"loss: expected one number .* got shape \[8\]"):
        fit(model, loader, loss=lambda o, t: o - t, optimizer=optimizer)
    with pytest.raises(ValueError, match="metrics: 'loss' is the name of the loss"):
        fit(
            model,
            loader,
            loss=squares,
            optimizer=optimizer,
            validation=loader,
            metrics={"loss": np.max},
        )
    with pytest.raises(ValueError, match="schedule_by: expected 'step' or 'epoch', got 'x'"):
        fit(model, loader, loss=squares, optimizer=optimizer, schedule_by="x")


def test_a_loader_that_is_used_up_ends_the_training(model, loader, optimizer, squares):
    ended = []
    note = LambdaCallback(on_train_end=lambda: ended.append(True))
    with pytest.warns(
        UserWarning, match="training ends early: the loader gave no batch in epoch 1"
    ):
        history = fit(
            model, iter(loader), loss=squares, optimizer=optimizer, epochs=3, callbacks=[note]
        )
    assert history["steps"] == [5]
    assert history.stopped.startswith("the loader gave no batch in epoch 1")
    assert ended == [True]


def test_a_validation_that_is_used_up_is_named(model, loader, optimizer, squares):
    options = {"loss": squares, "optimizer": optimizer}
    with pytest.raises(ValueError, match=r"validation: an iterator .* a list for 2 epochs"):
        fit(model, loader, validation=iter(loader), epochs=2, **options)
    with pytest.raises(ValueError, match="validation: gave no batch in epoch 1") as caught:
        fit(model, loader, validation=iter(list(loader)), steps=7, **options)
    assert len(caught.value.history) == 1
    assert len(fit(model, loader, validation=iter(list(loader)), **options)["val_loss"]) == 1


def test_a_loss_is_weighted_by_items(model, Descent):
    def first(output, target):
        return ((output - target[0]) ** 2.0).mean()

    def named(output, target):
        return ((output - target["y"]) ** 2.0).mean()

    x = np.zeros((7, 3), np.float32)
    y = np.arange(7, dtype=np.float32)
    expected = float((y**2).mean())
    for loss, targets in [
        (first, [(y[:4], y[:4], y[:4]), (y[4:6], y[4:6], y[4:6]), (y[6:], y[6:], y[6:])]),
        (named, [{"y": y[:4], "n": 1}, {"y": y[4:6], "n": 1}, {"y": y[6:], "n": 1}]),
        (lambda o, _: ((o - 2.0) ** 2.0).mean(), [np.float32(2), 2.0, None]),
    ]:
        batches = list(zip([x[:4], x[4:6], x[6:]], targets, strict=True))
        if targets[-1] is None:
            expected = 4.0
        history = fit(
            model,
            batches,
            loss=loss,
            optimizer=Descent(model.parameters(), 0.0),
            validation=batches,
            metrics={"size": lambda o, _: len(o)},
        )
        assert history["loss"][0] == pytest.approx(expected, rel=1e-6)
        assert history["val_loss"][0] == pytest.approx(expected, rel=1e-6)
        assert history["val_size"][0] == pytest.approx((16 + 4 + 1) / 7)
    with pytest.raises(TypeError, match="expected a batch of items along the first axis"):
        evaluate(lambda_model(model), [(3.0, 2.0)])


def lambda_model(model):
    model.forward = lambda x: Tensor(np.float32(x))
    return model


def test_metrics_of_one_name_are_refused(model, loader):
    with pytest.raises(ValueError, match="metrics: two are named '<lambda>', expected a mapping"):
        evaluate(model, loader, metrics=[lambda *_: 0.0, lambda *_: 1.0])
    with pytest.raises(ValueError, match="metrics: 'loss' is the name of the loss"):
        evaluate(model, loader, loss=lambda o, _: o.sum(), metrics={"loss": np.max})
    assert evaluate(model, loader, metrics={"loss": lambda *_: 2.0}) == {"loss": 2.0}
    with pytest.raises(ValueError, match=r"metrics: each: expected a number, got shape \(8,\)"):
        evaluate(model, loader, metrics={"each": lambda o, t: o - t})


def test_data_sets_and_arrays(model, data, Line, Descent, squares):
    x, y = data.arrays
    whole = evaluate(model, DataLoader(data, 40), loss=squares)

    class Items:
        def __len__(self):
            return len(data)

        def __getitem__(self, index):
            return data[index]

    for given in (data, (x, y), (Tensor(x), Tensor(y)), Items()):
        assert evaluate(model, given, loss=squares, batch_size=40) == whole
    results = []
    for arguments in [
        (DataLoader(data, 8, True, seed=int(np.random.default_rng(3).integers(1 << 62))),),
        (data,),
        (x, y),
        ((x,), Tensor(y)),
    ]:
        lamina.manual_seed(3)
        line = Line()
        options = {"batch_size": 8} if len(arguments) > 1 or arguments[0] is data else {}
        history = fit(
            line,
            *arguments,
            loss=squares,
            optimizer=Descent(line.parameters()),
            validation=DataLoader(data, 40),
            epochs=2,
            **options,
        )
        results.append((line.weight.data.tolist(), history["val_loss"]))
    assert all(result == results[0] for result in results)


def test_a_share_of_arrays_is_held_out(model, data, Descent, squares):
    x, y = data.arrays
    options = {"loss": squares, "optimizer": Descent(model.parameters(), 0.0)}
    history = fit(model, x, y, validation_split=0.25, shuffle=False, **options)
    assert history["steps"] == [1]
    assert history["loss"][0] == pytest.approx(float((y[:30] ** 2).mean()), rel=1e-6)
    assert history["val_loss"][0] == pytest.approx(float((y[30:] ** 2).mean()), rel=1e-6)
    for arguments, message in [
        ({"loader": x, "target": y, "validation_split": 1.0}, "expected 0 to below 1, got 1"),
        ({"loader": data, "validation_split": 0.5}, "expected arrays of inputs and target"),
        ({"loader": x, "target": y, "validation_split": 0.001}, "leaves a part empty"),
        (
            {"loader": x, "target": y, "validation_split": 0.5, "validation": (x, y)},
            "expected no validation with it",
        ),
    ]:
        with pytest.raises(ValueError, match=f"validation_split: .*{message}"):
            fit(model, **arguments, **options)


def test_a_schedule_by_epochs(model, loader, squares):
    sgd = optim.SGD(model.parameters(), lr=1e-3)
    history = fit(
        model,
        loader,
        loss=squares,
        optimizer=sgd,
        schedule=optim.ExponentialLR(sgd, 0.5),
        schedule_by="epoch",
        epochs=3,
    )
    assert history["lr"] == [1e-3, 5e-4, 2.5e-4]


def test_lines_where_there_is_no_terminal(model, loader, optimizer, capsys, squares):
    fit(model, loader, loss=squares, optimizer=optimizer, epochs=2)
    assert capsys.readouterr() == ("", "")
    fit(model, loader, loss=squares, optimizer=optimizer, epochs=2, progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("epoch 2: loss ")
    assert "(10 steps, " in lines[1]
    fit(model, loader, loss=squares, optimizer=optimizer, progress=False)
    assert capsys.readouterr().err == ""


def test_a_bar_on_a_terminal(model, loader, optimizer, monkeypatch, capsys, squares):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    slow = LambdaCallback(on_train_batch_end=lambda *_: time.sleep(0.03))
    fit(model, loader, loss=squares, optimizer=optimizer, epochs=2, callbacks=[slow])
    err = capsys.readouterr().err
    assert "/10" in err
    assert "epoch 2: loss" in err


def test_ctrl_c_stops_soon_and_between_steps(model, loader, optimizer, Descent, squares):
    ended = []
    half = []

    class Slow(Descent):
        def step(self):
            half.append(True)
            time.sleep(0.002)
            super().step()
            half.pop()

    class End(Callback):
        def on_train_end(self):
            ended.append(self.run.step)

    sent = []

    def press():
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    for delay in (0.02, 0.033, 0.051):
        timer = threading.Timer(delay, press)
        timer.start()
        before = signal.getsignal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt) as caught:
            fit(
                model,
                loader,
                loss=squares,
                optimizer=Slow(model.parameters()),
                seconds=30,
                callbacks=[End()],
            )
        assert time.monotonic() - sent[-1] < 2
        timer.join()
        assert signal.getsignal(signal.SIGINT) is before
        assert half == []
        assert ended[-1] > 0
        assert caught.value.history.stopped == "interrupted"
        assert all(parameter.grad is None for parameter in model.parameters())


def test_an_uncaught_ctrl_c_ends_the_program():
    script = """
        import numpy as np
        from lamina.train import LambdaCallback, fit
        from conftest import _Descent, _Line, _squares

        model = _Line()
        batches = [(np.ones((2, 3), np.float32), np.ones(2, np.float32))] * 10
        started = LambdaCallback(
            on_train_begin=lambda: print("on", flush=True),
            on_train_end=lambda: print("end", flush=True),
        )
        fit(model, batches, loss=_squares, optimizer=_Descent(model.parameters()), seconds=60,
            callbacks=[started])
        print("never")
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent,
    )
    assert process.stdout.readline() == "on\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert out == "end\n"
    assert process.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in err


def test_in_a_thread(model, loader, optimizer, squares):
    results = []
    thread = threading.Thread(
        target=lambda: results.append(fit(model, loader, loss=squares, optimizer=optimizer))
    )
    thread.start()
    thread.join()
    assert results[0]["steps"] == [5]
