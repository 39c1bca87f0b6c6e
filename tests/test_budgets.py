"""What an installation may weigh, as far as shows without building a wheel (see benches)."""

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import lamina

ROOT = Path(lamina.__file__).parent
WHEEL = 15 * 1024**2


def test_the_package_packs_into_its_budget(tmp_path):
    manifest = tomllib.loads((ROOT.parents[1] / "Cargo.toml").read_text())
    assert manifest["profile"]["dist"]["strip"]
    with zipfile.ZipFile(tmp_path / "wheel.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in ROOT.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                archive.write(shipped(path, tmp_path), path.relative_to(ROOT))
    assert (tmp_path / "wheel.zip").stat().st_size <= WHEEL


def shipped(path, folder):
    """A file as the wheel has it: libraries without the debug lines that builds for tests have."""
    strip = shutil.which("strip")
    if path.suffix != ".so" or strip is None:
        return path
    subprocess.run([strip, "-o", folder / path.name, path], check=True)
    return folder / path.name


def names(requirements):
    """What is required here in any case: not by an extra or on another system."""
    plain = (line for line in requirements or () if ";" not in line)
    return {re.match(r"[\w.-]+", line)[0].lower() for line in plain}


def test_it_needs_only_small_packages_that_need_nothing():
    project = tomllib.loads((ROOT.parents[1] / "pyproject.toml").read_text())["project"]
    required = names(project["dependencies"])
    assert required == {"click", "numpy", "safetensors"}
    assert not set().union(*(names(importlib.metadata.requires(name)) for name in required))


def loaded_by(statement):
    code = f"import sys, json; import numpy; before = set(sys.modules); {statement}; "
    code += "print(json.dumps(sorted(set(sys.modules) - before)))"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return json.loads(out.stdout)


def test_importing_lamina_loads_only_tensors():
    loaded = loaded_by("import lamina")
    own = {name for name in loaded if name.startswith("lamina")}
    assert own <= {
        "lamina",
        "lamina._kernels",
        "lamina.arrays",
        "lamina.creation",
        "lamina.methods",
        "lamina.precision",
        "lamina.profiler",
        "lamina.random",
        "lamina.tape",
        "lamina.tensor",
    }
    others = {name.split(".")[0] for name in loaded}
    assert not others & {"click", "safetensors", "matplotlib", "jinja2"}


def test_training_needs_neither_plots_nor_templates():
    loaded = loaded_by("import lamina.compare, lamina.train, lamina.lm, lamina.cli")
    assert not {name.split(".")[0] for name in loaded} & {"matplotlib", "jinja2", "torch"}
