import copy
import pickle

import numpy as np
import pytest

from lamina.data import (
    BatchDataset,
    ConcatDataset,
    SequenceDataset,
    Subset,
    TensorDataset,
    random_split,
)


def test_tensor_dataset(rng):
    x, y = rng.standard_normal((5, 3)), np.arange(5)
    data = TensorDataset(x, y)
    assert len(data) == 5
    np.testing.assert_array_equal(data[2][0], x[2])
    inputs, targets = data.batch(np.array([4, 0]))
    np.testing.assert_array_equal(inputs, x[[4, 0]])
    np.testing.assert_array_equal(targets, [4, 0])
    with pytest.raises(ValueError, match=r"arrays\[1\]: expected 5 items, got 4"):
        TensorDataset(x, y[:4])
    with pytest.raises(ValueError, match=r"arrays\[0\]: expected at least 1 axis"):
        TensorDataset(3.0)
    with pytest.raises(ValueError, match="expected at least one"):
        TensorDataset()


@pytest.mark.parametrize(("length", "context", "stride"), [(11, 3, None), (10, 3, 1), (4, 3, 2)])
def test_sequence_dataset(length, context, stride):
    ids = np.arange(length, dtype=np.uint16) * 10
    data = SequenceDataset(ids, context, stride)
    step = stride or context
    starts = [s for s in range(0, length, step) if s + context < length]
    assert len(data) == len(starts)
    inputs, targets = data.batch(np.arange(len(data)))
    assert inputs.dtype == targets.dtype == np.int64
    for i, s in enumerate(starts):
        np.testing.assert_array_equal(inputs[i], ids[s : s + context])
        np.testing.assert_array_equal(targets[i], ids[s + 1 : s + context + 1])
        np.testing.assert_array_equal(data[i][1], targets[i])
    with pytest.raises(IndexError, match=f"below {len(data)}"):
        data[len(data)]


def test_sequence_dataset_reads_a_memory_map(tmp_path):
    np.arange(100, dtype=np.uint16).tofile(tmp_path / "ids.bin")
    data = SequenceDataset(np.memmap(tmp_path / "ids.bin", np.uint16), 8)
    assert data.batch(np.array([1]))[0].tolist() == [list(range(8, 16))]


def test_sequence_dataset_refuses():
    with pytest.raises(ValueError, match="ids: expected more than context=3, got 3"):
        SequenceDataset(np.arange(3), 3)
    with pytest.raises(TypeError, match="1-d integer array, got 1-d float64"):
        SequenceDataset(np.ones(9), 3)
    with pytest.raises(ValueError, match="positive sizes"):
        SequenceDataset(np.arange(9), 0)
    with pytest.raises(TypeError, match=r"context: expected a whole number, got 2\.0"):
        SequenceDataset(np.arange(9), 2.0)
    with pytest.raises(TypeError, match="stride: expected a whole number, got '1'"):
        SequenceDataset(np.arange(9), np.int64(2), "1")


@pytest.mark.parametrize("lengths", [[7, 4], [0.6, 0.4], [0.9, 0.1], [11]])
def test_random_split_covers_all_once(rng, lengths):
    parts = random_split(TensorDataset(np.arange(11)), lengths, rng=rng)
    found = np.concatenate([part.batch(np.arange(len(part)))[0] for part in parts])
    assert sorted(found) == list(range(11))
    if lengths == [7, 4]:
        assert [len(part) for part in parts] == lengths


def test_random_split_repeats_with_its_seed():
    a, b = (random_split(list("abcdef"), [3, 3], rng=np.random.default_rng(3)) for _ in range(2))
    assert [list(map(x.__getitem__, range(3))) for x in a] == [
        list(map(x.__getitem__, range(3))) for x in b
    ]
    with pytest.raises(ValueError, match="numbers that sum to 6"):
        random_split(list("abcdef"), [3, 4])


def test_subset_has_batches_only_where_its_data_has():
    assert isinstance(Subset(TensorDataset(np.arange(3)), [0]), BatchDataset)
    plain = Subset(["a", "b", "c"], [2, 0])
    assert not isinstance(plain, BatchDataset)
    assert [plain[0], plain[1]] == ["c", "a"]
    with pytest.raises(ValueError, match="indices: expected below 3, got 3"):
        Subset(["a", "b", "c"], [3])
    assert len(Subset(["a"], [])) == 0
    with pytest.raises(TypeError, match="indices: expected integers, got a mask"):
        Subset(["a", "b"], [True, False])
    with pytest.raises(TypeError, match="indices: expected integers, got float64"):
        Subset(["a", "b"], [0.0, 1.5])
    with pytest.raises(ValueError, match="indices: expected 1 axis, got 2"):
        Subset(["a", "b"], [[0]])


def test_a_subset_is_copied_with_its_data():
    whole = TensorDataset(np.arange(5))
    part = Subset(whole, [3, 1])
    deep, shallow = copy.deepcopy(part), copy.copy(part)
    shallow.indices = np.array([0])
    restored = pickle.loads(pickle.dumps(part))  # noqa: S301
    whole.arrays[0][:] = 9
    for same in (deep, restored):
        assert same.batch(np.array([0, 1]))[0].tolist() == [3, 1]
        assert isinstance(same, Subset)
    assert part.batch(np.array([0, 1]))[0].tolist() == [9, 9]
    whole.arrays[0][0] = 7
    assert shallow.batch(np.array([0]))[0].tolist() == [7]


def test_concatenation():
    both = ConcatDataset(["ab", "", "cde"])
    assert len(both) == 5
    assert [both[i] for i in range(5)] == list("abcde")
    assert both[-5] == "a"
    with pytest.raises(IndexError, match="below 5, got 5"):
        both[5]
    with pytest.raises(ValueError, match="expected at least one"):
        ConcatDataset([])
