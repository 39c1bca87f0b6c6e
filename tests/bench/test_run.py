import contextlib
import json
import os
import sys

import numpy as np
import pytest

import lamina
from lamina.bench import PEERS, Case, Machine, Result, Work, at_most, latency, libraries, run
from lamina.bench.libraries import MissingError
from lamina.bench.run import memory_of

MACHINE = Machine("a processor", "avx2", 2, 100e9, 10e9, {})


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    for name in ("_PAUSE", "_WARM_UP", "_LEAST"):
        monkeypatch.setattr(sys.modules["lamina.bench.run"], name, 1e-9)


def case(lamina_builder, **options):
    return Case(name="work", size="1", family="test", lamina=lamina_builder, **options)


def result(ratio=1.2, **options):
    made = case(lambda: Work(lambda: None), **options)
    ratios = {"numpy": (ratio, ratio, ratio)}
    return Result(made, {"lamina": 0.5, "numpy": 0.5 * ratio}, ratios, 3)


def test_libraries_take_turns_inside_their_context():
    order, inside = [], []

    def builder(name):
        @contextlib.contextmanager
        def context():
            inside.append(name)
            yield
            inside.remove(name)

        def call():
            assert inside == [name]
            if not order or order[-1] != name:
                order.append(name)

        return lambda: Work(call, context)

    peers = {"numpy": builder("numpy"), "lamina, twice": builder("lamina, twice")}
    (made,) = run([case(builder("lamina"), peers=peers)], rounds=3)
    names = ["lamina", "numpy", "lamina, twice"]
    assert order == names * 4  # once to begin with, then the rounds
    assert list(made.seconds) == names
    assert made.rounds == 3
    assert set(made.ratios) == {"numpy", "lamina, twice"}
    assert made.peer == min(made.ratios, key=made.seconds.__getitem__)
    for low, middle, high in made.ratios.values():
        assert 0 < low <= middle <= high


def test_peers_that_cannot_run_are_told():
    def missing():
        raise MissingError("numpy is not installed")

    def broken():
        def call():
            raise RuntimeError("no\ncompiler")

        return Work(call)

    peers = {"numpy": missing, "numpy broken": broken, "torch": missing}
    made = next(run([case(lambda: Work(lambda: None), peers=peers)], libraries=("numpy",)))
    assert made.left_out == {
        "numpy": "numpy is not installed",
        "numpy broken": "RuntimeError: no compiler",
    }
    assert list(made.seconds) == ["lamina"]
    assert made.peer is None
    assert made.ratio is None
    assert made.margin(MACHINE) is None


def test_an_error_of_lamina_is_raised():
    def call():
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        next(run([case(lambda: Work(call))], rounds=1))


def test_a_case_that_takes_long_has_fewer_rounds():
    (made,) = run([case(lambda: Work(lambda: None))], rounds=5, seconds=1e-9)
    assert made.rounds == 3


def test_rounds_are_checked():
    with pytest.raises(ValueError, match="rounds: expected at least 1, got 0"):
        next(run([], rounds=0))


def test_margins():
    assert result().margin(MACHINE) is None
    assert result(1.2, bar=1.5).margin(MACHINE) == pytest.approx(0.8)
    assert result(1.2, bar=1.0, flops=44e9, least_share=0.88).margin(MACHINE) == pytest.approx(1.0)
    assert result(most_seconds=0.25).margin(MACHINE) == pytest.approx(0.5)
    assert result(traffic=4e9).share_of_bandwidth(MACHINE) == pytest.approx(0.8)
    assert result(flops=10e9).share_of_peak(MACHINE) == pytest.approx(0.2)


def test_the_higher_limits_count():
    other = Machine("a processor", "avx2", 2, 90e9, 12e9, {})
    assert at_most(MACHINE, other) == Machine("a processor", "avx2", 2, 100e9, 12e9, {})


def test_the_peer_that_counts_may_be_named():
    assert result(against="numpy", bar=1.0).peer == "numpy"
    assert result(against="torch", bar=1.0).peer is None


def test_plain_values():
    plain = json.loads(json.dumps(result(1.2, bar=1.5).as_dict(MACHINE)))
    assert list(plain) == [
        *("name", "size", "family", "rounds", "seconds", "ratios", "peer", "ratio"),
        *("share_of_peak", "share_of_bandwidth", "bar", "least_share", "most_seconds", "margin"),
        *("left_out", "disturbance", "memory"),
    ]
    assert plain["ratio"] == [1.2, 1.2, 1.2]


def test_memory_is_measured_in_a_fresh_process():
    chosen = next(case for case in PEERS if case.title.startswith("MLP step"))
    memory = memory_of(chosen, "lamina")
    assert 10 << 20 < memory.start < memory.peak < 300 << 20
    assert memory.faults >= 0


def test_memory_of_an_unknown_row_fails_with_its_name():
    with pytest.raises(RuntimeError, match="work 1, lamina"):
        memory_of(case(lambda: Work(lambda: None)), "lamina")


def test_one_thread_and_back():
    before = lamina.num_threads()
    try:
        lamina.set_num_threads(2)
        with latency.one_thread():
            assert lamina.num_threads() == 1
        assert lamina.num_threads() == 2
    finally:
        libraries.set_threads(before, ())


def test_the_busy_process_ends():
    before = os.times().children_user
    with latency.busy_core():
        np.ones(10).sum()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    assert os.times().children_user >= before


def test_libraries():
    assert libraries.of_peer("torch NHWC") == "torch"
    assert libraries.of_peer("torch.compile") == "torch"
    assert libraries.of_peer("lamina, one thread") == "lamina"
    assert libraries.load("numpy") is np
    with pytest.raises(MissingError, match="parrot is not installed"):
        libraries.load("parrot")
    assert set(libraries.versions(("numpy", "parrot"))) == {"lamina", "numpy"}
