"""The floors of the house: an import goes from a floor to one below it."""

import ast
from pathlib import Path

import pytest

import lamina

ROOT = Path(lamina.__file__).parent
# From the ground up; names on one line may import each other.
FLOORS = [
    ["startup", "_kernels"],
    ["random", "arrays", "tape", "profiler", "precision"],
    ["tensor", "methods", "creation"],
    ["ops"],
    ["files", "terminal"],
    ["nn", "optim", "information"],
    ["data", "text", "generation"],
    ["train"],
    ["models"],
    ["lm", "tagging"],
    ["bench"],
    ["compare"],
    ["cli"],
]
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}
# Public helpers of the tests stand beside the house.
LEVEL["testing"] = LEVEL["nn"]
FILES = sorted(ROOT.rglob("*.py"))


def unit(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0]


def imported(tree):
    """Top-level imports of lamina's own modules."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("lamina."):
                    yield alias.name.split(".")[1]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if module == "lamina":
                yield from (alias.name for alias in node.names)
            elif module.startswith("lamina."):
                yield module.split(".")[1]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path):
    own = unit(path)
    if own in ("__init__", "__main__"):
        return
    assert own in LEVEL, f"{own} stands on no floor"
    for name in imported(ast.parse(path.read_text())):
        if name in LEVEL:
            assert LEVEL[name] <= LEVEL[own], f"{own} imports {name}, which stands above it"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_runs_code_from_files(path):
    forbidden = {"pickle", "marshal", "shelve", "dill", "torch", "tensorflow"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert not forbidden & {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in forbidden
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"eval", "exec", "__import__"}


def test_no_file_is_too_long():
    rust = ROOT.parents[1] / "rust"
    for path in [*FILES, *rust.rglob("*.rs")]:
        lines = path.read_text().count("\n")
        assert lines <= 700, f"{path} has {lines} lines"
