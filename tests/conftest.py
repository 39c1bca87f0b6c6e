import signal

import numpy as np
import pytest

import lamina


@pytest.fixture(autouse=True)
def seeded():
    """Weights drawn by a test are the same in every run."""
    lamina.manual_seed(0)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def pytest_configure():
    # A shell that starts a job in the background ignores Ctrl-C for it; some tests send one.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
