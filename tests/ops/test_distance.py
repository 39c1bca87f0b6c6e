import numpy as np
import pytest

from lamina import Tensor, ops
from lamina.testing import check_grads


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_normalized_vectors_have_length_one(rng, p, dim):
    x = rng.standard_normal((3, 4, 5))
    y = ops.normalize(x, p, dim)
    np.testing.assert_allclose((abs(y.data) ** p).sum(dim), 1, rtol=1e-12)
    np.testing.assert_allclose(y.data * np.linalg.norm(x, p, dim, keepdims=True), x, rtol=1e-12)
    check_grads(lambda x: ops.normalize(x, p, dim), Tensor(x[:2, :3, :2], requires_grad=True))


def test_vectors_shorter_than_eps_are_divided_by_it():
    x = Tensor([[0.0, 0.0], [3e-3, 4e-3]], requires_grad=True)
    y = ops.normalize(x, eps=0.5)
    np.testing.assert_allclose(y.data, [[0, 0], [6e-3, 8e-3]], rtol=1e-6)
    y.sum().backward()
    np.testing.assert_allclose(x.grad, 2)
    assert y.dtype == np.float32


def test_cosine_similarity(rng):
    a, b = rng.standard_normal((2, 3, 4)), rng.standard_normal((3, 4))
    lengths = np.linalg.norm(a, axis=2) * np.linalg.norm(b, axis=1)
    for dim in (2, -1):
        y = ops.cosine_similarity(a, b, dim)
        np.testing.assert_allclose(y.data, (a * b).sum(2) / lengths, rtol=1e-12)
    pair = Tensor(a, requires_grad=True), Tensor(b, requires_grad=True)
    check_grads(ops.cosine_similarity, *pair)
    assert ops.cosine_similarity(np.zeros(3), np.ones(3), 0).item() == 0


def test_bad_input_is_named():
    x = np.ones((2, 3))
    with pytest.raises(TypeError, match="normalize: input: expected floats, got int64"):
        ops.normalize(np.ones((2, 3), np.int64))
    with pytest.raises(ValueError, match=r"normalize: p: expected a finite number of at least 1"):
        ops.normalize(x, 0.5)
    with pytest.raises(
        ValueError, match=r"normalize: dim: expected an axis of shape \(2, 3\), got 2"
    ):
        ops.normalize(x, dim=2)
    with pytest.raises(
        ValueError, match=r"cosine_similarity: x2: expected a shape that broadcasts"
    ):
        ops.cosine_similarity(x, x[:, :2])
    with pytest.raises(ValueError, match="cosine_similarity: dim: expected an axis of shape"):
        ops.cosine_similarity(x, x, 2)
