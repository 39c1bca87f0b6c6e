"""What an installation weighs: the wheel, a new environment with it, the import.

Run from the root of the project: `python benches/budgets.py`. It builds the wheel.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MEGABYTE = 1_000_000


def size(path):
    return sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir())


def seconds(python, code):
    start = time.perf_counter()
    subprocess.run([python, "-c", code], check=True)
    return time.perf_counter() - start


def main():
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        subprocess.run(
            [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", root, "."], check=True
        )
        (wheel,) = root.glob("*.whl")
        print(f"wheel {wheel.stat().st_size / MEGABYTE:.1f} MB (at most 15): {wheel.name}")
        environment = root / "environment"
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        python = environment / "bin" / "python"
        empty = size(environment)
        subprocess.run([python, "-m", "pip", "install", "-q", wheel], check=True)
        whole = size(environment)
        print(f"environment {whole / MEGABYTE:.1f} MB with pip ({empty / MEGABYTE:.1f} MB empty)")
        print(f"lamina and what it needs: {(whole - empty) / MEGABYTE:.1f} MB (at most 90)")
        seconds(python, "import lamina")
        pairs = [
            (seconds(python, "import numpy"), seconds(python, "import lamina")) for _ in range(15)
        ]
        more = statistics.median(b - a for a, b in pairs)
        print(f"import lamina takes {more:.3f} s more than import numpy (at most 0.10)")


if __name__ == "__main__":
    main()
