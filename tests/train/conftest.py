import numpy as np
import pytest

from lamina import as_tensor, nn
from lamina.data import DataLoader, TensorDataset


class _Line(nn.Module):
    """``x w + b`` for inputs ``[N, D]``, from arithmetic of tensors alone."""

    def __init__(self, d=3):
        super().__init__()
        self.weight = nn.Parameter(np.zeros(d, np.float32))
        self.bias = nn.Parameter(np.zeros(1, np.float32))

    def forward(self, x):
        return (as_tensor(x) * self.weight).sum(1) + self.bias


class _Descent:
    """Gradient descent in a few lines."""

    def __init__(self, parameters, lr=0.1):
        self.param_groups = [{"params": list(parameters), "lr": lr}]

    def zero_grad(self):
        for parameter in self.param_groups[0]["params"]:
            parameter.grad = None

    def step(self):
        for parameter in self.param_groups[0]["params"]:
            parameter.data -= self.param_groups[0]["lr"] * parameter.grad


def _squares(output, target):
    error = output - target
    return (error * error).mean()


@pytest.fixture
def data(rng):
    x = rng.standard_normal((40, 3)).astype(np.float32)
    return TensorDataset(x, x @ np.array([1, -2, 3], np.float32) + 1)


@pytest.fixture
def loader(data):
    return DataLoader(data, 8, shuffle=True, seed=0)


@pytest.fixture
def model():
    return _Line()


@pytest.fixture
def optimizer(model):
    return _Descent(model.parameters())


@pytest.fixture
def Line():
    return _Line


@pytest.fixture
def Descent():
    return _Descent


@pytest.fixture
def squares():
    return _squares
