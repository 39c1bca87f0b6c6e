"""Folders of files that are replaced whole, with a checksum of each file.

It stands below every other floor but the kernels: models, tokenizers and training states all
write their folders through it, and none of them knows how.
"""

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import signal
import stat
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from lamina import _kernels

try:
    import fcntl
except ImportError:  # Windows has no flock.
    fcntl = None  # type: ignore[assignment]

MANIFEST = "MANIFEST.json"
SCHEMA_VERSION = 1

# What a model folder may hold of ours; all else in it belongs to the user and stays.
NAMES = frozenset(
    {
        "config.json",
        "generation_config.json",
        "model.arpa.gz",
        "model.safetensors",
        "tokenizer.json",
        "trainer_state.json",
        "training_state.safetensors",
    }
)

PathLike = str | os.PathLike[str]
Content = bytes | str | Callable[[Path], None]

_MAX_JSON = 1 << 20
_MAX_DEPTH = 32
_ABANDONED = 3600.0
_UNMOVED = frozenset({errno.EACCES, errno.EBUSY, errno.EPERM, errno.EROFS, errno.EXDEV})
_ATTEMPTS = 20


class FormatError(ValueError):
    """A file that is not what its name says; the message names it and the reason in one line."""

    def __init__(self, path: PathLike, reason: object) -> None:
        text = " ".join(str(reason).split())
        super().__init__(f"{os.fspath(path)}: {text[:300]}")
        self.path = Path(path)


# Writing.


def write_folder(folder: PathLike, files: Mapping[str, Content]) -> None:
    """Replace the files of ``folder`` by ``files`` and a manifest, all or nothing.

    They are written to a sibling folder, synced to the disk, and the two folders exchanged. Whoever
    opens ``folder`` meanwhile, or after a crash or a kill, finds the old or the new. Where the
    system cannot exchange folders, the old one is moved aside first, and readers look there too.
    Files in ``folder`` that are not of a model stay, and so do its mode and owner.

    A folder that cannot be exchanged, as it is a mount point, holds the working directory or stands
    in a folder that may not be changed, is written file by file, the manifest last: after a kill
    its files may not be those of the manifest, which readers then say.

    Ctrl-C is held back until all is done.

    Args:
        folder: made where it does not exist, with its parents.
        files: by name: the content, or a function that writes it to the path it is given.

    Raises:
        OSError: the system refused; ``folder`` is as it was.
    """
    target = Path(folder).resolve()
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(f"{target}: is a file, expected a folder")
    with _uninterrupted(), _named(folder):
        target.parent.mkdir(parents=True, exist_ok=True)
        if target in (Path.cwd(), *Path.cwd().parents) or os.path.ismount(target):
            _write_inside(target, files)
            return
        try:
            _write_beside(target, files)
        except OSError as error:
            # That it may not be moved is no reason why it could not be written.
            if error.errno not in _UNMOVED or not target.is_dir():
                raise
            _write_inside(target, files)


def _write_beside(target: Path, files: Mapping[str, Content]) -> None:
    fresh = target.with_name(f".{target.name}.saving-{secrets.token_hex(8)}")
    fresh.mkdir()
    made = fresh.stat().st_ino
    with _lock(fresh):
        try:
            _write_files(fresh, files)
            mode = _keep_owner(fresh, target)
            _put_in_place(fresh, target)
        except BaseException:
            # Under this name may be the old folder by now.
            if fresh.exists() and fresh.stat().st_ino == made:
                shutil.rmtree(fresh, ignore_errors=True)
            raise
    try:
        _sync_folder(target.parent)
    finally:
        _sweep(target)
        if mode is not None:
            with contextlib.suppress(OSError):
                target.chmod(mode)


def _write_files(folder: Path, files: Mapping[str, Content]) -> None:
    entries = {}
    for name, content in files.items():
        entries[name] = _write_file(folder / name, content)
    _write_file(folder / MANIFEST, _manifest_text(entries))
    _sync_folder(folder)


def _keep_owner(fresh: Path, target: Path) -> int | None:
    """Give a new folder the owner of the one it replaces, whose mode is returned."""
    if not target.exists():
        return None
    old, new = target.stat(), fresh.stat()
    with contextlib.suppress(OSError, AttributeError):
        if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
            for path in (*fresh.iterdir(), fresh):
                os.chown(path, old.st_uid, old.st_gid)
    with contextlib.suppress(OSError):
        # Files of the user still have to be moved in.
        fresh.chmod(stat.S_IMODE(old.st_mode) | stat.S_IRWXU)
    return stat.S_IMODE(old.st_mode)


def _write_inside(target: Path, files: Mapping[str, Content]) -> None:
    """Replace the files of a folder one by one, the manifest last."""
    for left in target.glob(".saving-*"):
        if left.is_dir() and _is_abandoned(left):
            shutil.rmtree(left, ignore_errors=True)
    fresh = target / f".saving-{secrets.token_hex(8)}"
    fresh.mkdir()
    with _lock(fresh):
        try:
            _write_files(fresh, files)
            _move_files(fresh, target, files)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    _sync_folder(target)


def _move_files(fresh: Path, target: Path, names: Collection[str]) -> None:
    before = fresh / "before"
    before.mkdir()
    old = [name for name in {*NAMES, *_listed(target)} if name not in names]
    done: list[str] = []
    try:
        for name in (*old, *names, MANIFEST):
            place = target / name
            if os.path.lexists(place):
                _link(place, before / name)
            if name not in old:
                (fresh / name).replace(place)
            else:
                place.unlink(missing_ok=True)
            done.append(name)
    except BaseException:
        for name in done:
            if os.path.lexists(before / name):
                (before / name).replace(target / name)
            else:
                (target / name).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold back Ctrl-C, which could come between two steps that belong together."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    pending: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: pending.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if pending:
            signal.raise_signal(signal.SIGINT)


@contextlib.contextmanager
def _named(path: PathLike) -> Iterator[None]:
    """Let errors of the system name what the user named, not where it is written first."""
    try:
        yield
    except OSError as error:
        hidden = os.fsdecode(error.filename or "")
        if error.errno is None or not (hidden == "" or ".saving-" in hidden):
            raise
        name = os.path.basename(hidden)
        shown = os.fspath(path) if ".saving-" in name or not name else os.path.join(path, name)
        raise OSError(error.errno, error.strerror, shown) from None


def write_file(path: PathLike, content: bytes | str) -> None:
    """Replace one file, all or nothing; in a folder with a manifest, that too."""
    target = Path(path).resolve()
    entries = _read_manifest(target.parent) if target.name in NAMES else None
    if entries is not None:
        kept = {name: _linker(target.parent / name) for name in entries}
        write_folder(target.parent, {**kept, target.name: content})
        return
    fresh = target.with_name(f".{target.name}.saving-{secrets.token_hex(8)}")
    with _uninterrupted(), _named(path):
        try:
            _write_file(fresh, content)
            fresh.replace(target)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        _sync_folder(target.parent)


def _linker(source: Path) -> Callable[[Path], None]:
    return lambda path: _link(source, path)


def _link(source: Path, path: Path) -> None:
    try:
        path.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, path)


def _write_file(path: Path, content: Content) -> dict[str, Any]:
    if callable(content):
        content(path)
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with path.open("rb+") as file:
        os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"sha256": digest, "size": path.stat().st_size}


def _manifest_text(entries: Mapping[str, Any]) -> str:
    manifest = {"files": entries, "schema_version": SCHEMA_VERSION}
    return json.dumps(manifest, indent=2, sort_keys=True) + "\n"


def _put_in_place(fresh: Path, target: Path) -> None:
    for _ in range(_ATTEMPTS):
        aside = None
        if target.exists():
            # Whatever forbids it, what follows says so with its path.
            with contextlib.suppress(OSError):
                if _kernels.files_exchange(fresh, target):
                    return
            aside = target.with_name(f".{target.name}.replaced-{secrets.token_hex(8)}")
            try:
                target.rename(aside)
            except FileNotFoundError:
                aside = None
        # Another process may have put its folder there in between: then once more.
        try:
            fresh.rename(target)
            return
        except FileExistsError:
            continue
        except OSError:
            if not target.exists():
                if aside is not None:
                    aside.rename(target)
                raise
    raise OSError(f"{target}: other processes keep replacing it")


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(PermissionError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Mark a folder as being written: the system lets go of the lock if the process dies."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_abandoned(folder: Path) -> bool:
    if fcntl is None:
        return time.time() - folder.stat().st_mtime > _ABANDONED
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _sweep(target: Path) -> None:
    """Remove what this and killed saves left beside ``target``, less the user's own files."""
    for left in (*_beside(target, "saving"), *_beside(target, "replaced")):
        with contextlib.suppress(OSError):
            if not left.is_dir() or not _is_abandoned(left):
                continue
            ours = {*NAMES, MANIFEST, *_listed(left)}
            for entry in list(left.iterdir()):
                if entry.name not in ours and not os.path.lexists(target / entry.name):
                    entry.rename(target / entry.name)
            shutil.rmtree(left, ignore_errors=True)


def _beside(target: Path, state: str) -> list[Path]:
    start = f".{target.name}.{state}-"
    try:
        return sorted(path for path in target.parent.iterdir() if path.name.startswith(start))
    except OSError:
        return []


def _listed(folder: Path) -> Collection[str]:
    try:
        return _read_manifest(folder) or ()
    except (OSError, FormatError):
        return ()


# Reading.


def find_folder(folder: PathLike) -> Path:
    """The folder to read: ``folder``, or where a save was killed while it was moved aside, that.

    Raises:
        FileNotFoundError: there is neither.
    """
    path = Path(folder)
    if path.is_dir():
        return path
    if not path.exists():
        for aside in reversed(_beside(path.absolute(), "replaced")):
            if aside.is_dir():
                return aside
        raise FileNotFoundError(f"{path}: no such folder")
    raise NotADirectoryError(f"{path}: is a file, expected a folder")


def check_folder(folder: PathLike, names: Collection[str] | None = None) -> None:
    """Compare the files of ``folder`` with its manifest; a folder without one passes.

    Args:
        folder: as :func:`find_folder` gave it.
        names: check these files only.

    Raises:
        FormatError: a file is missing, not listed, or not the one that was saved.
    """
    path = Path(folder)
    entries = _read_manifest(path)
    if entries is None:
        return
    for name in sorted(NAMES):
        if (names is None or name in names) and name not in entries and (path / name).exists():
            raise FormatError(path / name, f"is not listed in {MANIFEST}")
    for name, entry in entries.items():
        if names is not None and name not in names:
            continue
        file = path / name
        if not file.is_file():
            raise FormatError(file, f"is missing, but listed in {MANIFEST}")
        size = file.stat().st_size
        if size != entry["size"]:
            raise FormatError(file, f"has {size} bytes, {MANIFEST} says {entry['size']}")
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != entry["sha256"]:
            raise FormatError(
                file,
                f"is damaged or was changed after it was saved: its sha256 is not that of "
                f"{MANIFEST} (delete {MANIFEST} to load it all the same)",
            )


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    path = folder / MANIFEST
    if not path.exists():
        return None
    content = _read_bytes(path, _MAX_JSON)
    manifest = _parse_json(path, content)
    entries = manifest.get("files")
    if manifest.get("schema_version") != SCHEMA_VERSION or not isinstance(entries, dict):
        raise FormatError(path, f"expected files and schema_version {SCHEMA_VERSION}")
    for name, entry in entries.items():
        if os.path.basename(name) != name or name in ("", ".", ".."):
            raise FormatError(path, f"{name!r} is not the name of a file")
        if (
            not isinstance(entry, dict)
            or entry.keys() != {"sha256", "size"}
            or not isinstance(entry["sha256"], str)
            or type(entry["size"]) is not int
        ):
            raise FormatError(path, f"{name}: expected sha256 and size")
    # Every byte counts: what is not read as a sum or a name must still be as it was written.
    if content != _manifest_text(entries).encode():
        raise FormatError(path, "was changed after it was saved")
    return entries


def read_json(path: PathLike, limit: int = _MAX_JSON) -> dict[str, Any]:
    """The object in a JSON file of at most ``limit`` bytes, nested at most 32 deep.

    Raises:
        FormatError: it is no file, too large, too deep, names a key twice or is not a JSON object.
    """
    file = Path(path)
    return _parse_json(file, _read_bytes(file, limit))


def _read_bytes(path: Path, limit: int) -> bytes:
    """The content of a file that is one, not a pipe or a device, and no larger than it says."""
    # For the error that there is none.
    path.stat()
    if not path.is_file():
        raise FormatError(path, "is not a file")
    with path.open("rb") as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise FormatError(path, f"has {path.stat().st_size} bytes, expected at most {limit}")
    return content


def _parse_json(path: Path, content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content, object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise FormatError(path, "is nested too deep") from None
    except (ValueError, UnicodeError) as error:
        raise FormatError(path, f"is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise FormatError(path, f"expected a JSON object, got {type(value).__name__}")
    if _depth(value, _MAX_DEPTH) > _MAX_DEPTH:
        raise FormatError(path, f"is nested more than {_MAX_DEPTH} deep")
    return value


def json_text(value: Mapping[str, Any]) -> str:
    """``value`` as the text of a JSON file."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key occurs twice")
    return value


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _depth(value: Any, limit: int) -> int:
    if limit < 0 or not isinstance(value, dict | list):
        return 0
    children = value.values() if isinstance(value, dict) else value
    return 1 + max((_depth(child, limit - 1) for child in children), default=0)
