import errno
import hashlib
import json
import os
import signal
import stat
import threading
from pathlib import Path

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


def test_what_cannot_be_replaced_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="is a file, expected a folder"):
        files.write_folder(tmp_path / "file", {})


def test_parents_are_made(tmp_path):
    files.write_folder(tmp_path / "a" / "b" / "m", {"config.json": "1"})
    assert names(tmp_path / "a" / "b") == ["m"]


def refuse(code):
    def move(self, *_):
        raise OSError(code, os.strerror(code), os.fspath(self))

    return move


@pytest.mark.parametrize("reason", ["working directory", "mount point", "parent"])
def test_a_folder_that_cannot_be_moved_is_written_file_by_file(tmp_path, monkeypatch, reason):
    folder = tmp_path / "m"
    folder.mkdir()
    inode = folder.stat().st_ino
    if reason == "working directory":
        monkeypatch.chdir(folder)
    plain, mkdir = Path.rename, Path.mkdir
    if reason == "mount point":
        monkeypatch.setattr(files._kernels, "files_exchange", refuse(errno.EBUSY))
        monkeypatch.setattr(
            Path, "rename", lambda a, b: (refuse(errno.EBUSY) if a == folder else plain)(a, b)
        )
    if reason == "parent":
        monkeypatch.setattr(
            Path,
            "mkdir",
            lambda p, *a, **k: (
                refuse(errno.EACCES) if p.parent == tmp_path and p != folder else mkdir
            )(p, *a, **k),
        )
    given = "." if reason == "working directory" else folder
    files.write_folder(given, {"config.json": "1", "tokenizer.json": "1"})
    (folder / "notes").write_text("mine")
    (folder / ".saving-00").mkdir()
    files.write_folder(given, {"config.json": "2", "model.safetensors": b"x"})
    assert names(folder) == ["MANIFEST.json", "config.json", "model.safetensors", "notes"]
    assert (folder / "config.json").read_text() == "2"
    assert folder.stat().st_ino == inode
    assert names(tmp_path) == ["m"]
    files.check_folder(folder)


def test_a_failed_write_file_by_file_leaves_the_old(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files.write_folder(".", {"config.json": "1", "tokenizer.json": "1"})
    plain = Path.replace

    def replace(self, target):
        if self.name == "MANIFEST.json" and self.parent.name.startswith(".saving-"):
            refuse(errno.EIO)(self)
        return plain(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(OSError, match=r"Input/output error: '\./MANIFEST\.json'"):
        files.write_folder(".", {"config.json": "2", "generation_config.json": "2"})
    assert names(tmp_path) == ["MANIFEST.json", "config.json", "tokenizer.json"]
    assert (tmp_path / "config.json").read_text() == "1"
    files.check_folder(tmp_path)


@pytest.mark.parametrize("exchange", [True, False])
def test_ctrl_c_waits_for_the_end(tmp_path, monkeypatch, exchange):
    folder = tmp_path / "m"
    files.write_folder(folder, {"config.json": "1"})
    (folder / "notes").write_text("mine")
    plain = files._kernels.files_exchange

    def press(*paths):
        done = plain(*paths) if exchange else False
        os.kill(os.getpid(), signal.SIGINT)
        return done

    monkeypatch.setattr(files._kernels, "files_exchange", press)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        files.write_folder(folder, {"config.json": "2"})
    assert signal.getsignal(signal.SIGINT) is before
    assert names(tmp_path) == ["m"]
    assert names(folder) == ["MANIFEST.json", "config.json", "notes"]
    assert (folder / "config.json").read_text() == "2"
    monkeypatch.setattr(files._kernels, "files_exchange", plain)
    thread = threading.Thread(target=files.write_folder, args=(folder, {"config.json": "3"}))
    thread.start()
    thread.join()
    assert (folder / "config.json").read_text() == "3"


def test_an_error_after_the_exchange_removes_nothing(tmp_path, monkeypatch):
    folder = tmp_path / "m"
    files.write_folder(folder, {"config.json": "1"})
    (folder / "notes").write_text("mine")
    plain = files._kernels.files_exchange

    def stop(*paths):
        plain(*paths)
        raise SystemExit

    monkeypatch.setattr(files._kernels, "files_exchange", stop)
    with pytest.raises(SystemExit):
        files.write_folder(folder, {"config.json": "2"})
    monkeypatch.undo()
    files.write_folder(folder, {"config.json": "3"})
    assert (folder / "notes").read_text() == "mine"
    assert names(tmp_path) == ["m"]


def test_a_folder_that_cannot_be_put_in_place_comes_back(tmp_path, monkeypatch):
    folder = tmp_path / "m"
    files.write_folder(folder, {"config.json": "1"})
    monkeypatch.setattr(files._kernels, "files_exchange", lambda *_: False)
    plain = Path.rename
    monkeypatch.setattr(
        Path,
        "rename",
        lambda a, b: (refuse(errno.EIO) if ".saving-" in a.name else plain)(a, b),
    )
    with pytest.raises(OSError, match="Input/output error") as caught:
        files.write_folder(folder, {"config.json": "2"})
    assert caught.value.filename == os.fspath(folder)
    assert (folder / "config.json").read_text() == "1"
    assert names(tmp_path) == ["m"]


def test_errors_name_the_path_of_the_user(tmp_path):
    def full(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(path))

    with pytest.raises(OSError, match="No space left") as caught:
        files.write_folder(tmp_path / "m", {"model.safetensors": full})
    assert caught.value.filename == os.fspath(tmp_path / "m" / "model.safetensors")
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError) as caught:
        files.write_folder(tmp_path / "file" / "m", {})
    assert ".saving-" not in str(caught.value)
    with pytest.raises(FileNotFoundError) as caught:
        files.write_file(tmp_path / "none" / "a.txt", "")
    assert caught.value.filename == os.fspath(tmp_path / "none" / "a.txt")


def test_the_mode_of_a_folder_is_kept(tmp_path):
    folder = tmp_path / "m"
    folder.mkdir(mode=0o700)
    for mode in (0o750, 0o500):
        folder.chmod(mode)
        files.write_folder(folder, {"config.json": "1"})
        assert stat.S_IMODE(folder.stat().st_mode) == mode


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


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_file_is_not_read(tmp_path, kind):
    path = tmp_path / "MANIFEST.json"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    for read in (files.check_folder, lambda folder: files.read_json(folder / "MANIFEST.json")):
        with pytest.raises(FormatError, match=r"MANIFEST\.json: is not a file"):
            read(tmp_path)


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
