import numpy as np
import pytest
import safetensors.numpy

import lamina
from lamina import as_tensor, nn, optim
from lamina.data import DataLoader, TensorDataset
from lamina.files import FormatError
from lamina.train import EMA, Callback, EarlyStopping, LearningRateScheduler, ModelCheckpoint, fit


class Net(nn.Module):
    """Something of each kind that has a state: statistics, the library's generator, its own."""

    def __init__(self):
        super().__init__()
        rng = np.random.default_rng(5)
        self.first = nn.Linear(3, 8, rng=rng)
        self.norm = nn.BatchNorm1d(8)
        self.drop = nn.Dropout(0.25)
        self.rng = np.random.default_rng(9)
        self.last = nn.Linear(8, 1, rng=rng)

    def forward(self, x):
        noise = self.rng.standard_normal(x.shape).astype(np.float32) if self.training else 0
        return self.last(self.drop(self.norm(self.first(as_tensor(x + noise)))))[:, 0]


class CutError(Exception):
    pass


class Stop(Callback):
    """The end of the process, as far as the loop can tell."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_begin(self, step):
        if step == self.step:
            raise CutError


def squares(output, target):
    return ((output - target) ** 2.0).mean()


def train(folder, data, *, stop=None, resume=None, kind="plateau", stream=False, **options):
    lamina.manual_seed(0 if resume is None else 77)
    model = Net()
    loader = DataLoader(data, 8, shuffle=True)
    if stream:
        loader = list(DataLoader(data, 8))
    optimizer = optim.AdamW(model.parameters(), lr=0.02, amsgrad=True)
    schedule = {
        "none": lambda: None,
        "plateau": lambda: optim.ReduceLROnPlateau(optimizer, patience=0),
        "chained": lambda: optim.ChainedScheduler(
            [optim.LinearLR(optimizer, 0.1, 1.0, 6), optim.ExponentialLR(optimizer, 0.97)]
        ),
        "cycle": lambda: optim.OneCycleLR(optimizer, 0.05, 40),
    }[kind]()
    save = ModelCheckpoint(folder, save_every=stop, save_state=True)
    average, stopper = EMA(0.5), EarlyStopping(patience=9, restore_best_weights=True)
    callbacks = [save, average, stopper, Stop(stop)]
    if kind == "none":
        callbacks.append(LearningRateScheduler(lambda _, lr: lr * 0.7))
    options = {"epochs": 3, **options}
    history = fit(
        model,
        loader,
        loss=squares,
        optimizer=optimizer,
        schedule=schedule,
        validation=data,
        clip_norm=1.0,
        callbacks=callbacks,
        resume=resume,
        **options,
    )
    state = optimizer.state_dict()["state"]
    ours = {f"{i}.{key}": value for i, values in state.items() for key, value in values.items()}
    ours |= {f"average.{name}": weight for name, weight in average.weights.items()}
    ours |= {"best": stopper.best, "best_epoch": stopper.best_epoch}
    history.history.pop("seconds")
    return {**model.state_dict(), **ours}, history, lamina.random.generator().random()


@pytest.fixture
def arrays(rng):
    x = rng.standard_normal((36, 3)).astype(np.float32)
    return TensorDataset(x, x @ np.array([1, -2, 3], np.float32) + 1)


def same(a, b):
    assert a[0].keys() == b[0].keys()
    for name, value in a[0].items():
        np.testing.assert_array_equal(value, b[0][name], err_msg=name)
    assert a[1].history == b[1].history
    assert a[1].epoch == b[1].epoch
    assert a[2] == b[2]


# A pass has five steps, so that 5 and 10 are the ends of one.
@pytest.mark.parametrize("stop", [1, 3, 4, 5, 6, 10, 14])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("plateau", {}),
        ("chained", {"eval_every": 4}),
        ("cycle", {"steps": 15}),
        ("none", {"stream": True}),
    ],
)
def test_a_run_cut_at_any_step_goes_on_to_the_last_bit(tmp_path, arrays, stop, kind, options):
    options = {"kind": kind, **options}
    whole = train(tmp_path / "whole", arrays, **options)
    with pytest.raises(CutError):
        train(tmp_path / "m", arrays, stop=stop, **options)
    again = train(tmp_path / "m", arrays, resume=tmp_path / "m", **options)
    same(whole, again)


def test_a_finished_run_goes_on_longer(tmp_path, arrays):
    whole = train(tmp_path / "whole", arrays, kind="none")
    train(tmp_path / "m", arrays, kind="none", epochs=2)
    # The end of a training puts averages into the model, not into what was saved.
    again = train(tmp_path / "m", arrays, kind="none", resume=tmp_path / "m")
    same(whole, again)
    assert len(train(tmp_path / "m", arrays, kind="none", resume=tmp_path / "m")[1]) == 3


def test_what_cannot_be_resumed_is_named(tmp_path, arrays):
    folder = tmp_path / "m"
    train(folder, arrays, epochs=1)
    with pytest.raises(FormatError, match="schedule: one of the two trainings has none"):
        fit(
            Net(),
            arrays,
            loss=squares,
            optimizer=optim.SGD(Net().parameters()),
            resume=folder,
            callbacks=[ModelCheckpoint(folder, save_state=True), EMA(), EarlyStopping(), Stop(0)],
            validation=arrays,
        )
    with pytest.raises(FormatError, match=r"expected the callbacks TerminateOnNaN, EMA, .* got T"):
        fit(Net(), arrays, loss=squares, optimizer=optim.SGD(Net().parameters()), resume=folder)
    nn.save_weights(Net(), folder)
    options = {"loss": squares, "optimizer": optim.SGD(Net().parameters())}
    with pytest.raises(
        FileNotFoundError, match=r"training_state\.safetensors: no such file; Model"
    ):
        fit(Net(), arrays, resume=folder, **options)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        fit(Net(), arrays, resume=tmp_path / "none", **options)
    (folder / "MANIFEST.json").unlink()
    safetensors.numpy.save_file({"a": np.ones(1)}, folder / "training_state.safetensors")
    with pytest.raises(FormatError, match=r"training_state\.safetensors: is not the state"):
        fit(Net(), arrays, resume=folder, **options)
    (folder / "training_state.safetensors").write_bytes(b"x" * 20)
    with pytest.raises(FormatError, match=r"training_state\.safetensors: is not the state"):
        fit(Net(), arrays, resume=folder, **options)


def test_an_optimiser_without_a_state_is_named(tmp_path, model, loader, optimizer):
    save = ModelCheckpoint(tmp_path / "m", save_state=True)
    with pytest.raises(TypeError, match=r"save_state: optimizer: .* _Descent has not"):
        fit(model, loader, loss=squares, optimizer=optimizer, callbacks=[save])
