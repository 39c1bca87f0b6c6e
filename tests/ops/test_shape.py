import numpy as np
import pytest

from lamina import Tensor, ops
from lamina.testing import check_grads

NUMPY = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@pytest.mark.parametrize("mode", NUMPY)
@pytest.mark.parametrize("amounts", [(1, 2), (3, 0), (0, 3), (3, 3), (1, 0, 2, 1), (0, 0, 0, 0)])
def test_pad_is_numpys(rng, mode, amounts):
    x = rng.standard_normal((2, 3, 4))
    pairs = [(0, 0)] * (3 - len(amounts) // 2)
    pairs += list(zip(amounts[::2], amounts[1::2], strict=True))[::-1]
    expected = np.pad(x, pairs, mode=NUMPY[mode])
    np.testing.assert_array_equal(ops.pad(x, amounts, mode).data, expected)
    given = Tensor(x.swapaxes(0, 2).copy().swapaxes(0, 2), requires_grad=True)
    check_grads(lambda x: ops.pad(x, amounts, mode), given)


def test_constants_and_what_is_cut_off(rng):
    x = rng.standard_normal((3, 4))
    np.testing.assert_array_equal(ops.pad(x, [-1, -2], value=5).data, x[:, 1:2])
    expected = np.pad(x[1:, :3], [(0, 2), (1, 0)], constant_values=2.5)
    np.testing.assert_array_equal(ops.pad(x, [1, -1, -1, 2], value=2.5).data, expected)
    check_grads(lambda x: ops.pad(x, [1, -1, -1, 2]), Tensor(x, requires_grad=True))
    assert ops.pad(np.ones((0, 2), np.float32), (1, 1, 2, 0)).shape == (2, 4)
    assert ops.pad(np.arange(3), (np.int64(1), 0)).dtype == np.int64


def test_long_rows_are_padded_at_their_ends(rng):
    x = rng.standard_normal((2, 3, 400))
    pairs = [(1, 0), (0, 2), (3, 5)]
    expected = np.pad(x, pairs, constant_values=-1.5)
    np.testing.assert_array_equal(ops.pad(x, (3, 5, 0, 2, 1, 0), value=-1.5).data, expected)
    np.testing.assert_array_equal(
        ops.pad(x, (-3, 5)).data, np.pad(x, [(0, 0)] * 2 + [(0, 5)])[..., 3:]
    )


def test_one_hot(rng):
    ids = rng.integers(0, 4, (2, 3))
    np.testing.assert_array_equal(ops.one_hot(ids, 4).data, np.eye(4, dtype=np.int64)[ids])
    assert ops.one_hot([1, 0]).tolist() == [[0, 1], [1, 0]]
    assert ops.one_hot(np.int32(1), 3).tolist() == [0, 1, 0]
    assert ops.one_hot(np.zeros((0, 2), np.int64), 3).shape == (0, 2, 3)


def test_bad_input_is_named():
    x = np.ones((2, 3))
    with pytest.raises(ValueError, match="pad: pad: expected a pair for each of at most 2 axes"):
        ops.pad(x, (1, 1, 1))
    with pytest.raises(ValueError, match="pad: mode: expected 'constant', 'reflect', 'replicate'"):
        ops.pad(x, (1, 1), "edge")
    with pytest.raises(ValueError, match="expected 0 to 2 for an axis of length 3 with mode 'refl"):
        ops.pad(x, (3, 0), "reflect")
    with pytest.raises(ValueError, match="expected 0 to 3 for an axis of length 3 with mode 'circ"):
        ops.pad(x, (0, 4), "circular")
    with pytest.raises(ValueError, match="mode 'replicate', got -1 and 0"):
        ops.pad(x, (-1, 0), "replicate")
    with pytest.raises(ValueError, match="pad: value: expected none with mode 'reflect', got 1"):
        ops.pad(x, (1, 0), "reflect", 1)
    with pytest.raises(ValueError, match="pad: pad: expected to cut off at most the shape"):
        ops.pad(x, (-2, -2))
    with pytest.raises(TypeError, match="pad: pad: expected integers, got"):
        ops.pad(x, (1.5, 2))
    with pytest.raises(
        ValueError, match="one_hot: input: expected indices from 0 to 2, got 1 to 3"
    ):
        ops.one_hot([1, 3], 3)
    with pytest.raises(ValueError, match="one_hot: input: expected indices from 0 to 1, got -1"):
        ops.one_hot([1, -1])
    with pytest.raises(TypeError, match="one_hot: input: expected integers, got float32"):
        ops.one_hot([1.0])
    with pytest.raises(ValueError, match="one_hot: num_classes: expected a number where input is"):
        ops.one_hot(np.zeros(0, np.int64))
    with pytest.raises(ValueError, match="one_hot: num_classes: expected -1 or at least 1, got 0"):
        ops.one_hot([0], 0)
