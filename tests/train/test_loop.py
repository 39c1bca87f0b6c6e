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
    with pytest.raises(ValueError, match="loader: gave no batch in epoch 1"):
        fit(model, iter(loader), loss=squares, optimizer=optimizer, epochs=2)
    with pytest.raises(TypeError, match=r"expected batches \(inputs..., target\), got ndarray"):
        fit(model, np.ones((3, 3)), loss=squares, optimizer=optimizer)
    with pytest.raises(TypeError, match="expected batches to iterate over, got int"):
        fit(model, 3, loss=squares, optimizer=optimizer)


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
