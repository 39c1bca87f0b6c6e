import hashlib
import json
import os

import pytest

from lamina import files
from lamina.files import FormatError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_write_and_check(tmp_path):
    folder = tmp_path / "m"
    files.write_folder(folder, {"config.json": "{}", "a.bin": b"abc"})
    assert names(folder) == ["MANIFEST.json", "a.bin", "config.json"]
    assert names(tmp_path) == ["m"]
    listed = json.loads((folder / "MANIFEST.json").read_text())["files"]
    assert listed["a.bin"] == {"sha256": hashlib.sha256(b"abc").hexdigest(), "size": 3}
    files.check_folder(folder)
    files.write_folder(folder, {"config.json": "{ }"})
    assert names(folder) == ["MANIFEST.json", "config.json"]
    assert names(tmp_path) == ["m"]


def test_files_of_the_user_stay(tmp_path):
    folder = tmp_path / "m"
    files.write_folder(folder, {"config.json": "{}"})
    (folder / "README.md").write_text("mine")
    (folder / "runs").mkdir()
    (folder / "runs" / "log").write_text("mine too")
    files.write_folder(folder, {"model.safetensors": b"x"})
    assert names(folder) == ["MANIFEST.json", "README.md", "model.safetensors", "runs"]
    assert (folder / "runs" / "log").read_text() == "mine too"
    files.check_folder(folder)


def test_a_failed_write_leaves_the_old(tmp_path):
    folder = tmp_path / "m"
    files.write_folder(folder, {"config.json": "old"})

    def fail(path):
        path.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        files.write_folder(folder, {"config.json": "new", "model.safetensors": fail})
    assert (folder / "config.json").read_text() == "old"
    assert names(tmp_path) == ["m"]


@pytest.mark.parametrize("swap", [True, False])
def test_leftovers_of_killed_saves_are_swept(tmp_path, monkeypatch, swap):
    if not swap:
        monkeypatch.setattr(files._kernels, "files_exchange", lambda *_: False)
    folder = tmp_path / "m"
    files.write_folder(folder, {"config.json": "1"})
    left = tmp_path / ".m.saving-00"
    left.mkdir()
    (left / "config.json").write_text("half")
    (left / "notes.txt").write_text("mine")
    other = tmp_path / ".mm.saving-00"
    other.mkdir()
    files.write_folder(folder, {"config.json": "2"})
    assert names(tmp_path) == [".mm.saving-00", "m"]
    assert names(folder) == ["MANIFEST.json", "config.json", "notes.txt"]


def test_a_folder_being_written_is_not_swept(tmp_path):
    busy = tmp_path / ".m.saving-00"
    busy.mkdir()
    with files._lock(busy):
        files.write_folder(tmp_path / "m", {"config.json": "1"})
        assert busy.is_dir()
    files.write_folder(tmp_path / "m", {"config.json": "1"})
    assert not busy.exists()


def test_a_folder_moved_aside_is_found(tmp_path):
    folder = tmp_path / "m"
    files.write_folder(folder, {"config.json": "1"})
    folder.rename(tmp_path / ".m.replaced-00")
    assert files.find_folder(folder) == tmp_path / ".m.replaced-00"
    files.write_folder(folder, {"config.json": "2"})
    assert files.find_folder(folder) == folder
    assert names(tmp_path) == ["m"]


def test_exchange(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    assert files._kernels.files_exchange(tmp_path / "a", tmp_path / "b")
    assert names(tmp_path / "a") == ["b"]
    with pytest.raises(FileNotFoundError):
        files._kernels.files_exchange(tmp_path / "a", tmp_path / "c")


def test_what_cannot_be_replaced_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="is a file, expected a folder"):
        files.write_folder(tmp_path / "file", {})
    with pytest.raises(FileNotFoundError):
        files.write_folder(tmp_path / "no" / "m", {})
    (tmp_path / "m" / "below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "m" / "below")
    for folder in (".", "..", tmp_path / "m"):
        with pytest.raises(ValueError, match="holds the working directory"):
            files.write_folder(folder, {})


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    files.write_folder(tmp_path / "m", {"config.json": "1"})
    (tmp_path / "link").symlink_to(tmp_path / "m")
    files.write_folder(tmp_path / "link", {"config.json": "2"})
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "m" / "config.json").read_text() == "2"


def test_write_file_keeps_the_manifest_true(tmp_path):
    files.write_file(tmp_path / "tokenizer.json", "1")
    assert names(tmp_path) == ["tokenizer.json"]
    folder = tmp_path / "m"
    files.write_folder(folder, {"model.safetensors": b"abc"})
    files.write_file(folder / "tokenizer.json", "2")
    files.check_folder(folder)
    assert names(folder) == ["MANIFEST.json", "model.safetensors", "tokenizer.json"]


def test_damage_is_named(tmp_path):
    folder = tmp_path / "m"
    files.write_folder(folder, {"config.json": "{}", "model.safetensors": b"abc"})
    weights = folder / "model.safetensors"
    weights.write_bytes(b"abd")
    with pytest.raises(FormatError, match=r"model\.safetensors: is damaged or was changed"):
        files.check_folder(folder)
    files.check_folder(folder, {"config.json"})
    weights.write_bytes(b"ab")
    with pytest.raises(FormatError, match=r"has 2 bytes, MANIFEST\.json says 3"):
        files.check_folder(folder)
    weights.unlink()
    with pytest.raises(FormatError, match="is missing, but listed"):
        files.check_folder(folder)
    weights.write_bytes(b"abc")
    (folder / "tokenizer.json").touch()
    with pytest.raises(FormatError, match=r"tokenizer\.json: is not listed"):
        files.check_folder(folder)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not valid JSON"),
        ("[1]", "expected a JSON object, got list"),
        ('{"a": NaN}', "NaN is not JSON"),
        ('{"a": 1, "a": 2}', "a key occurs twice"),
        ('{"a": ' + "[" * 40 + "]" * 40 + "}", "nested more than 32 deep"),
        ('{"a":' * 200_000, "nested too deep"),
        ('{"a": ' + "9" * 5000 + "}", "is not valid JSON: Exceeds the limit"),
        ('{"a": "' + "x" * (1 << 20) + '"}', "expected at most 1048576"),
    ],
)
def test_json_is_checked(tmp_path, text, reason):
    file = tmp_path / "c.json"
    file.write_text(text)
    with pytest.raises(FormatError, match=rf"c\.json: .*{reason}") as caught:
        files.read_json(file)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".."])
def test_a_manifest_cannot_name_files_elsewhere(tmp_path, name):
    entry = {"sha256": "", "size": 0}
    (tmp_path / "MANIFEST.json").write_text(files._manifest_text({name: entry}))
    with pytest.raises(FormatError, match="is not the name of a file"):
        files.check_folder(tmp_path)


def test_permissions_are_those_of_a_new_folder(tmp_path):
    (tmp_path / "plain").mkdir()
    files.write_folder(tmp_path / "m", {})
    assert os.stat(tmp_path / "m").st_mode == os.stat(tmp_path / "plain").st_mode
