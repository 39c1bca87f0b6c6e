"""What several commands have in common."""

from pathlib import Path

from lamina import text


def read_texts(paths: tuple[Path, ...]) -> tuple[str, str]:
    """Name and content of the files together; tiny Shakespeare where there is none."""
    if not paths:
        return "tiny Shakespeare", text.shakespeare()
    content = "\n".join(text.read_text(path).rstrip("\n") for path in paths) + "\n"
    return ", ".join(path.name for path in paths), content


def check_writable(path: Path | None) -> None:
    """Refuse, before any work, a file that could not be written after it.

    Raises:
        ValueError: it is a folder, or its folder does not exist.
    """
    if path is None:
        return
    if path.is_dir():
        raise ValueError(f"{path}: is a folder, expected a file to write")
    if not path.absolute().parent.is_dir():
        raise ValueError(f"{path}: there is no folder {path.absolute().parent}")
