import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from typing import Literal

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from lamina import nn
from lamina.files import FormatError, write_folder
from lamina.nn import init
from lamina.nn.pretrained import read_dataclass
from lamina.text import CharTokenizer, Tokenizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class ToyConfig:
    vocab_size: int = 7
    dim: int = 3
    scale: float = 1.0
    kind: Literal["a", "b"] = "a"
    sizes: tuple[int, ...] = (1, 2)
    name: str | None = None
    bias: bool = True


class Toy(nn.Pretrained, nn.Module):
    config_class = ToyConfig

    def __init__(self, config, *, rng=None):
        super().__init__()
        if config.dim < 1:
            raise ValueError(f"dim must be positive, got {config.dim}")
        self.config = config
        self.table = nn.Parameter(np.empty((config.vocab_size, config.dim), np.float32))
        init.normal_(self.table, rng=rng)
        self.register_buffer("count", np.array(3, np.int64))
        self.below = nn.Module()
        self.below.weight = nn.Parameter(np.zeros((2, 2), np.float32).T)
        # Tied, as the output of a language model to its embedding.
        self.head = nn.Module()
        self.head.weight = self.table


CLASSES = {"Toy": (Toy, ToyConfig)}


@pytest.fixture
def model(rng):
    model = Toy(ToyConfig(scale=0.5, sizes=(4,), name="x"), rng=rng)
    model.below.weight.data[...] = [[1, 2], [3, 4]]
    model.count[...] = 9
    return model


def same(a, b):
    return all(np.array_equal(x, b.state_dict()[name]) for name, x in a.state_dict().items())


def test_round_trip(tmp_path, model):
    tokenizer = CharTokenizer.train("hello")
    model.save_pretrained(
        tmp_path / "m", tokenizer=tokenizer, generation_config={"top_k": np.int64(3), "stop": ["a"]}
    )
    for again in (Toy.from_pretrained(tmp_path / "m"), nn.from_pretrained(tmp_path / "m", CLASSES)):
        assert type(again) is Toy
        assert again.config == model.config
        assert again.head.weight is again.table
        assert same(model, again)
        assert not again.training
    assert Tokenizer.from_pretrained(tmp_path / "m").encode("he").tolist() == [1, 0]
    assert json.loads((tmp_path / "m" / "generation_config.json").read_text())["top_k"] == 3
    tokenizer.save(tmp_path / "m")
    Toy.from_pretrained(tmp_path / "m")


def test_float64_stays(tmp_path, model):
    model.double()
    model.register_buffer("mean", np.array([1 / 3]))
    model.table.data[0, 0] = 1 / 3

    class Wide(Toy):
        def __init__(self, config):
            super().__init__(config)
            self.register_buffer("mean", np.zeros(1, np.float32))

    nn.save_weights(model, tmp_path / "w")
    model.save_pretrained(tmp_path / "m")
    again = nn.from_pretrained(tmp_path / "m", {"Toy": (Wide, ToyConfig)})
    assert same(model, again)
    assert again.head.weight is again.table
    assert {array.dtype.name for array in again.state_dict().values()} == {"float64", "int64"}
    single = Wide(model.config)
    nn.load_weights(single, tmp_path / "w")
    assert single.table.dtype == np.float32


def test_files_have_the_mode_of_new_files(tmp_path, model):
    (tmp_path / "plain").touch()
    model.save_pretrained(tmp_path / "m")
    modes = {path.stat().st_mode for path in [tmp_path / "plain", *(tmp_path / "m").iterdir()]}
    assert len(modes) == 1


def test_a_full_disk_is_an_error_of_the_system(tmp_path, model, monkeypatch):
    model.save_pretrained(tmp_path / "m")

    def full(*_, **__):
        raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.numpy, "save_file", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        model.save_pretrained(tmp_path / "m")
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == os.fspath(tmp_path / "m" / "model.safetensors")
    assert same(model, Toy.from_pretrained(tmp_path / "m"))


def test_more_layers_than_are_stored_are_not_built(tmp_path):
    made = []

    @dataclasses.dataclass(frozen=True)
    class DeepConfig:
        num_layers: int = 2

    class Deep(nn.Pretrained, nn.Module):
        config_class = DeepConfig

        def __init__(self, config):
            super().__init__()
            self.config = config
            self.layers = nn.ModuleList()
            for _ in range(config.num_layers):
                made.append(None)
                self.layers.append(nn.Linear(2, 2))

    Deep(DeepConfig()).save_pretrained(tmp_path / "m")
    config_of(tmp_path / "m", arguments={"num_layers": 2**31 - 1})
    made.clear()
    with pytest.raises(FormatError, match="far more parameters than there are"):
        Deep.from_pretrained(tmp_path / "m")
    assert len(made) < 1000


def test_tied_parameters_are_stored_once(tmp_path, model):
    model.save_pretrained(tmp_path / "m")
    stored = safetensors.numpy.load_file(tmp_path / "m" / "model.safetensors")
    assert sorted(stored) == ["below.weight", "count", "table"]
    np.testing.assert_array_equal(stored["below.weight"], [[1, 2], [3, 4]])


def test_files_of_others_may_name_tied_parameters_twice(tmp_path, model):
    model.save_pretrained(tmp_path / "m")
    (tmp_path / "m" / "MANIFEST.json").unlink()
    file = tmp_path / "m" / "model.safetensors"
    state = safetensors.numpy.load_file(file)
    state["head.weight"] = state.pop("table")
    safetensors.numpy.save_file(state, file)
    assert same(model, Toy.from_pretrained(tmp_path / "m"))
    state["table"] = state["head.weight"] + 1
    safetensors.numpy.save_file(state, file)
    with pytest.raises(FormatError, match=r"model\.safetensors: .* are one in the model, two here"):
        Toy.from_pretrained(tmp_path / "m")


def test_bfloat16_becomes_float32(tmp_path, model):
    values = np.arange(21, dtype=np.float32).reshape(7, 3)
    halves = (values.view(np.uint32) >> 16).astype(np.uint16)
    model.save_pretrained(tmp_path / "m")
    (tmp_path / "m" / "MANIFEST.json").unlink()
    file = tmp_path / "m" / "model.safetensors"
    state = safetensors.numpy.load_file(file)
    specs = {
        "table": ("bfloat16", halves),
        **{k: (v.dtype.name, v) for k, v in state.items() if k != "table"},
    }
    specs = {
        name: safetensors.TensorSpec(
            dtype=dtype, shape=v.shape, data_ptr=v.ctypes.data, data_len=v.nbytes
        )
        for name, (dtype, v) in specs.items()
    }
    safetensors.serialize_file(specs, file)
    np.testing.assert_array_equal(Toy.from_pretrained(tmp_path / "m").table.data, values)


def test_weights_alone(tmp_path, model, rng):
    nn.save_weights(model, tmp_path / "w")
    other = Toy(model.config, rng=rng)
    assert not same(model, other)
    nn.load_weights(other, tmp_path / "w")
    assert same(model, other)
    wide = Toy(ToyConfig(dim=4))
    before = wide.table.data.copy()
    with pytest.raises(FormatError, match=r"table: expected shape \(7, 4\), got \(7, 3\)"):
        nn.load_weights(wide, tmp_path / "w")
    np.testing.assert_array_equal(wide.table.data, before)


def config_of(folder, **changes):
    file = folder / "config.json"
    content = json.loads(file.read_text())
    arguments = changes.pop("arguments", {})
    content["arguments"].update(arguments)
    content.update(changes)
    weights = (folder / "model.safetensors").read_bytes()
    write_folder(folder, {"config.json": json.dumps(content), "model.safetensors": weights})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"class": "os.system"}, "class: expected one of Toy, got 'os.system'"),
        ({"class": 3}, "class: expected one of Toy, got 3"),
        ({"schema_version": 2, "lamina_version": "9.9"}, "at most 1, got 2 of lamina 9.9"),
        ({"schema_version": True}, "schema_version"),
        ({"arguments": {"__class__": 1}}, "ToyConfig has no '__class__'"),
        ({"arguments": {"dim": "3"}}, "arguments.dim: expected int, got str '3'"),
        ({"arguments": {"dim": 3.5}}, "arguments.dim: expected int, got float 3.5"),
        ({"arguments": {"dim": True}}, "arguments.dim: expected int, got bool"),
        ({"arguments": {"dim": 2**62}}, "arguments.dim: 4611686018427387904 is too large"),
        ({"arguments": {"vocab_size": 2**31}}, "far more parameters|make no model"),
        ({"arguments": {"dim": -1}}, "make no model: dim must be positive, got -1"),
        ({"arguments": {"dim": 4}}, r"model.safetensors: .*table: expected shape \(7, 4\)"),
        ({"arguments": {"kind": "c"}}, "arguments.kind"),
        ({"arguments": {"sizes": [1, "a"]}}, r"arguments.sizes\[1\]: expected int, got str"),
        ({"arguments": {"bias": 1}}, "arguments.bias: expected bool, got int"),
    ],
)
def test_bad_configs_are_named(tmp_path, model, changes, reason):
    model.save_pretrained(tmp_path / "m")
    config_of(tmp_path / "m", **changes)
    with pytest.raises(FormatError, match=reason) as caught:
        Toy.from_pretrained(tmp_path / "m")
    assert len(str(caught.value).splitlines()) == 1


def test_models_without_a_config_are_refused(tmp_path):
    with pytest.raises(TypeError, match=r"Module: expected a dataclass as \.config"):
        nn.save_pretrained(nn.Module(), tmp_path / "m")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        Toy.from_pretrained(tmp_path / "none")
    (tmp_path / "e").mkdir()
    with pytest.raises(FileNotFoundError, match=r"config\.json: no such file"):
        Toy.from_pretrained(tmp_path / "e")


def test_nested_dataclasses():
    @dataclasses.dataclass
    class Outer:
        inner: ToyConfig
        pair: tuple[int, float]
        names: list[str]

    value = read_dataclass(Outer, {"inner": {"dim": 2}, "pair": [1, 2], "names": ["a"]})
    assert value == Outer(ToyConfig(dim=2), (1, 2.0), ["a"])
    with pytest.raises(ValueError, match=r"arguments\.inner\.dim: expected int"):
        read_dataclass(Outer, {"inner": {"dim": None}, "pair": [1, 2], "names": []})
    with pytest.raises(ValueError, match=r"missing .* 'names'"):
        read_dataclass(Outer, {"inner": {}, "pair": [1, 2]})


def test_loading_draws_no_random_numbers(tmp_path, model, monkeypatch):
    model.save_pretrained(tmp_path / "m")
    monkeypatch.setattr(init, "generator", None)
    assert same(model, Toy.from_pretrained(tmp_path / "m"))


def test_every_damage_is_reported(tmp_path, model, rng):
    folder = tmp_path / "m"
    model.save_pretrained(folder, tokenizer=CharTokenizer.train("hello"), generation_config={})
    contents = {path: path.read_bytes() for path in sorted(folder.iterdir())}
    assert len(contents) == 5
    for trial in range(200):
        path = list(contents)[trial % 5]
        data = bytearray(contents[path])
        if trial % 3 == 0:
            del data[rng.integers(len(data)) :]
        else:
            data[rng.integers(len(data))] ^= rng.integers(1, 256)
        path.write_bytes(data)
        with pytest.raises(FormatError, match=path.name) as caught:
            Toy.from_pretrained(folder)
        assert len(str(caught.value).splitlines()) == 1
        path.write_bytes(contents[path])
    Toy.from_pretrained(folder)


def test_damage_without_a_manifest_never_crashes(tmp_path, model, rng):
    folder = tmp_path / "m"
    model.save_pretrained(folder)
    (folder / "MANIFEST.json").unlink()
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        for trial in range(100):
            data = bytearray(content)
            if trial % 3 == 0:
                del data[rng.integers(len(data)) :]
            else:
                data[rng.integers(min(len(data), 400))] = rng.integers(256)
            path.write_bytes(data)
            try:
                Toy.from_pretrained(folder)
            except FormatError as error:
                assert len(str(error).splitlines()) == 1  # noqa: PT017
        path.write_bytes(content)


SAVER = """
    import sys
    import numpy as np
    from lamina import nn

    class Big(nn.Module):
        def __init__(self, value):
            super().__init__()
            for i in range(8):
                setattr(self, f"w{i}", nn.Parameter(np.full((200, 200), value, np.float32)))

    for value in range(1, 1_000_000):
        nn.save_weights(Big(value), sys.argv[1])
        print(value, flush=True)
"""


@pytest.mark.parametrize("exchange", [True, False])
def test_a_killed_save_leaves_the_old_or_the_new(tmp_path, rng, exchange):
    folder = tmp_path / "m"
    script = textwrap.dedent(SAVER)
    if not exchange:
        script = (
            "from lamina import files\nfiles._kernels.files_exchange = lambda a, b: False\n"
            + script
        )
    state = {}
    for _ in range(10):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, text=True
        )
        process.stdout.readline()
        time.sleep(rng.uniform(0, 0.05))
        os.kill(process.pid, signal.SIGKILL)
        saved = [1, *map(int, process.stdout.read().split())]
        process.wait()
        process.stdout.close()
        like = nn.Module()
        for i in range(8):
            setattr(like, f"w{i}", nn.Parameter(np.zeros((200, 200), np.float32)))
        nn.load_weights(like, folder)
        state = like.state_dict()
        values = {float(x) for array in state.values() for x in np.unique(array)}
        assert len(values) == 1
        assert values.pop() in (saved[-1], saved[-1] + 1)
    nn.save_weights(like, folder)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
