import numpy as np
import pytest

import lamina
from lamina import Tensor


def test_constants():
    for made, expected in (
        (lamina.zeros(2, 3), np.zeros((2, 3), np.float32)),
        (lamina.ones((2, 3)), np.ones((2, 3), np.float32)),
        (lamina.zeros(()), np.zeros((), np.float32)),
        (lamina.ones(2, dtype=np.int64), np.ones(2, np.int64)),
        (lamina.full((2, 3), 1.5), np.full((2, 3), 1.5, np.float32)),
        (lamina.full(2, 3), np.full(2, 3)),
        (lamina.zeros_like(Tensor([1, 2])), np.zeros(2, np.int64)),
        (lamina.ones_like(np.ones(2), dtype=bool), np.ones(2, bool)),
    ):
        np.testing.assert_array_equal(made.data, expected)
        assert made.dtype == expected.dtype
    assert lamina.zeros(np.int64(2), requires_grad=True).requires_grad


def test_ranges():
    assert lamina.arange(5).tolist() == [0, 1, 2, 3, 4]
    assert lamina.arange(5).dtype == np.int64
    assert lamina.arange(1, 2, 0.25).tolist() == [1, 1.25, 1.5, 1.75]
    assert lamina.arange(3.0).dtype == np.float32
    assert lamina.arange(3, dtype=np.float64).dtype == np.float64


def test_tensor_copies():
    x = np.ones(2)
    made = lamina.tensor(x)
    x[0] = 5
    assert made.tolist() == [1, 1]
    assert made.dtype == np.float64
    assert lamina.tensor([1.0]).dtype == np.float32
    assert lamina.tensor([1], dtype=np.float32, requires_grad=True).requires_grad
    with pytest.raises(TypeError, match="requires_grad: expected floating data, got int64"):
        lamina.tensor([1], requires_grad=True)


def test_random_numbers_come_from_the_given_source_or_the_librarys():
    for make in (lamina.randn, lamina.rand):
        one, two = (make(3, 4, rng=np.random.default_rng(5)) for _ in range(2))
        np.testing.assert_array_equal(one.data, two.data)
        assert one.dtype == np.float32
        lamina.manual_seed(3)
        one = make((3, 4))
        lamina.manual_seed(3)
        np.testing.assert_array_equal(one.data, make(3, 4).data)
        assert make(2, dtype=np.float64).dtype == np.float64
        assert make().shape == ()
    values = lamina.rand(1000).data
    assert ((values >= 0) & (values < 1)).all()
    assert abs(lamina.randn(10_000).data.std() - 1) < 0.05


def test_triangles():
    x = np.ones((3, 3), np.float32)
    np.testing.assert_array_equal(lamina.tril(x, -1).data, np.tril(x, -1))
    np.testing.assert_array_equal(lamina.triu(x).data, np.triu(x))
