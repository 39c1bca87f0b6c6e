"""The README's example runs as it stands."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def test_example_runs(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        code = compile(block, str(README), "exec")
        exec(code, {})  # noqa: S102 - the example is ours
    out = capsys.readouterr().out
    bits = float(out.splitlines()[0])
    assert bits == pytest.approx(2.5, abs=0.5)
