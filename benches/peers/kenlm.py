"""The tools of KenLM, and the text that they and lamina are measured on.

``lmplz``, ``build_binary`` and ``query`` are built once from the source distribution of ``kenlm``
0.3.0 into ``kenlm/bin`` below the folder of :mod:`common`. That takes ``cmake``, a C++ compiler and
Boost: on Debian ``apt-get install cmake g++ libboost-all-dev zlib1g-dev libbz2-dev liblzma-dev``.

    import kenlm
    lmplz = kenlm.tool("lmplz")
    head, tail = kenlm.novels("data/text/eltec_eng.txt.xz")
"""

import lzma
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import common

_VERSION = "0.3.0"
_TOOLS = ("lmplz", "build_binary", "query")
_TOKEN = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*|\d+|[^\w\s]")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"'\u201d\u2019)]*\s+")
_HELD_OUT = 0.05


def tool(name: str) -> Path:
    """The program ``name``, built where it is missing."""
    folder = common.ROOT / "kenlm"
    programs = folder / "bin"
    if not all((programs / other).is_file() for other in _TOOLS):
        _build(folder, programs)
    return programs / name


def _build(folder: Path, programs: Path) -> None:
    print(f"building kenlm {_VERSION} in {folder}", file=sys.stderr)
    python = common.environment("kenlm-source", "setuptools", "wheel")
    folder.mkdir(parents=True, exist_ok=True)
    download = [python, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "kenlm"]
    command = [*download, "--no-build-isolation", f"kenlm=={_VERSION}", "-d", folder]
    subprocess.run(command, check=True)
    with tarfile.open(folder / f"kenlm-{_VERSION}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    source, build = folder / f"kenlm-{_VERSION}", folder / "build"
    configure = ["cmake", "-S", source, "-B", build, "-DCMAKE_BUILD_TYPE=Release"]
    # Its minimum is older than what a current cmake accepts without being told.
    configure += [
        "-DCMAKE_POLICY_VERSION_MINIMUM=3.5",
        f"-DCMAKE_RUNTIME_OUTPUT_DIRECTORY={programs}",
    ]
    for step in (configure, ["cmake", "--build", build, "-j2", "--target", *_TOOLS]):
        subprocess.run(step, check=True, stdout=subprocess.DEVNULL)


def novels(path: str | Path) -> tuple[Path, Path]:
    """A text lower-cased, cut into tokens and one sentence a line: its head and its last 5 %."""
    folder = common.ROOT / "texts"
    stem = Path(path).name.partition(".")[0]
    head, tail = folder / f"{stem}.head.txt", folder / f"{stem}.tail.txt"
    if not tail.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        lines = _sentences(Path(path))
        held_out = int(len(lines) * _HELD_OUT)
        head.write_text("".join(lines[: len(lines) - held_out]), encoding="utf-8")
        tail.write_text("".join(lines[len(lines) - held_out :]), encoding="utf-8")
    return head, tail


def _sentences(path: Path) -> list[str]:
    lines: list[str] = []
    with (lzma.open if path.suffix == ".xz" else open)(path, "rt", encoding="utf-8") as text:
        for line in text:
            sentences = map(_TOKEN.findall, _SENTENCE_END.split(line.lower()))
            lines.extend(" ".join(tokens) + "\n" for tokens in sentences if tokens)
    return lines
