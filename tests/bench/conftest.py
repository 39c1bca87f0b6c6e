"""A record as ``lamina bench --peers`` writes it, made by hand."""

import pytest


def make_row(name="matmul", size="64 x 64 x 64", family="matmul", **changes):
    row = {
        "name": name,
        "size": size,
        "family": family,
        "rounds": 15,
        "seconds": {"lamina": 0.01, "numpy": 0.013, "torch": 0.012},
        "ratios": {"numpy": [1.2, 1.3, 1.4], "torch": [1.1, 1.2, 1.25]},
        "peer": "torch",
        "ratio": [1.1, 1.2, 1.25],
        "share_of_peak": 0.91,
        "share_of_bandwidth": 0.0,
        "bar": 1.0,
        "least_share": 0.88,
        "most_seconds": None,
        "margin": 1.034,
        "left_out": {},
        "disturbance": 0.01,
        "memory": {},
    }
    assert not set(changes) - set(row)
    return row | changes


def make_record(*rows):
    loss = {"seconds": {"lamina": 2.5e-5, "torch": 1.2e-5}, "ratios": {"torch": [0.4, 0.48, 0.5]}}
    loss |= {"ratio": [0.4, 0.48, 0.5], "margin": 0.48, "share_of_peak": 0.0, "least_share": None}
    memory = {
        "lamina": {"peak": 300 << 20, "start": 50 << 20, "faults": 12.0},
        "torch": {"peak": 700 << 20, "start": 500 << 20, "faults": 900.0},
    }
    made = [
        make_row(),
        make_row("MLP prediction", "batch 1", "latency", **loss, left_out={"onnxruntime 1": "why"}),
        make_row("MLP step", "784-128-10", "training", memory=memory, disturbance=0.31),
        make_row(
            *("ops.relu from Python", "32 values", "overhead"),
            seconds={"lamina": 1.3e-6},
            ratios={},
            peer=None,
            ratio=None,
            bar=None,
            least_share=None,
            most_seconds=1.5e-6,
            share_of_peak=0.0,
            margin=1.15,
            disturbance=None,
        ),
    ]
    return {
        "date": "2026-11-23",
        "rounds": 15,
        "machine": {
            "processor": "A & B Processor",
            "isa": "avx512",
            "threads": 2,
            "peak": 241.3e9,
            "bandwidth": 18.4e9,
            "versions": {"lamina": "0.1.0", "numpy": "2.4.6", "torch": "2.13.0"},
        },
        "results": list(rows) or made,
    }


@pytest.fixture
def row():
    """Makes the figures of one row; they may be changed."""
    return make_row


@pytest.fixture
def record():
    """Makes a record, of four rows where none is given."""
    return make_record
