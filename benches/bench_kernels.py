"""The works of `lamina bench` under pytest-benchmark: `pytest benches`."""

import pytest

import lamina
from lamina import bench
from lamina.bench.cases import torch_module

TORCH = torch_module()
LIBRARIES = ["lamina", "numpy", *(["torch"] if TORCH else [])]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("case", bench.CASES, ids=lambda case: case.name)
def test_kernel(benchmark, case, library):
    runs = case.build(TORCH)
    work = getattr(runs, library)
    if work is None:
        work = runs.numpy
    benchmark.group = f"{case.name} {case.size}"
    with lamina.no_grad():
        benchmark(work)
