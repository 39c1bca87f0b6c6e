import numpy as np
import pytest

import lamina
from lamina.data import DataLoader, SequenceDataset, TensorDataset, default_collate


def items(loader):
    return [batch[0].tolist() for batch in loader]


@pytest.mark.parametrize(
    ("n", "size", "drop", "counts"),
    [(7, 3, False, [3, 3, 1]), (7, 3, True, [3, 3]), (0, 3, False, [])],
)
def test_batches(n, size, drop, counts):
    loader = DataLoader(TensorDataset(np.arange(n)), size, drop_last=drop)
    assert len(loader) == len(counts)
    assert [len(batch) for batch in items(loader)] == counts


def test_order_is_that_of_the_seed_and_differs_by_epoch():
    data = TensorDataset(np.arange(50))
    a, b = DataLoader(data, 8, True, seed=3), DataLoader(data, 8, True, seed=3)
    first, second = items(a), items(a)
    assert first == items(b)
    assert second == items(b)
    assert first != second
    assert sorted(np.concatenate(first)) == list(range(50))
    assert items(DataLoader(data, 8, True, seed=4)) != first


def test_seed_comes_from_the_librarys_generator():
    data = TensorDataset(np.arange(50))
    lamina.manual_seed(1)
    first = items(DataLoader(data, 8, True))
    lamina.manual_seed(1)
    assert items(DataLoader(data, 8, True)) == first
    rng = np.random.default_rng(1)
    assert items(DataLoader(data, 8, True, rng=rng)) == first


def test_array_path_and_item_path_agree():
    data = SequenceDataset(np.arange(100), 7)
    fast = list(DataLoader(data, 4, True, seed=0))
    slow = list(DataLoader([data[i] for i in range(len(data))], 4, True, seed=0))
    for a, b in zip(fast, slow, strict=True):
        np.testing.assert_array_equal(a[0], b[0])
        np.testing.assert_array_equal(a[1], b[1])


@pytest.mark.parametrize("stop", [0, 1, 3, 6, 7, 8, 13])
def test_state_goes_on_mid_epoch(stop):
    def endless(loader):
        while True:
            yield from loader

    data = TensorDataset(np.arange(20))
    expected = [
        b[0].tolist()
        for b, _ in zip(endless(DataLoader(data, 3, True, seed=5)), range(20), strict=False)
    ]
    first = DataLoader(data, 3, True, seed=5)
    begun = []
    for batch in endless(first) if stop else ():
        begun.append(batch[0].tolist())
        if len(begun) == stop:
            break
    other = DataLoader(data, 3, True, seed=99)
    other.load_state_dict(first.state_dict())
    rest = [b[0].tolist() for b, _ in zip(endless(other), range(20 - stop), strict=False)]
    assert begun + rest == expected


def test_leaving_an_epoch_ends_it():
    loader = DataLoader(TensorDataset(np.arange(20)), 3, True, seed=5)
    whole = [items(DataLoader(TensorDataset(np.arange(20)), 3, True, seed=5))]
    next(iter(loader))
    second = items(loader)
    assert second != whole[0]
    assert loader.epoch == 2


def test_collate():
    batch = default_collate([(np.ones(2), 1.5, {"a": 1}, "x"), (np.zeros(2), 2.5, {"a": 2}, "y")])
    assert batch[0].shape == (2, 2)
    assert batch[1].dtype == np.float32
    assert batch[2]["a"].tolist() == [1, 2]
    assert batch[3] == ["x", "y"]
    with pytest.raises(ValueError, match=r"shapes \(1,\) and \(2,\) cannot be stacked"):
        default_collate([np.ones(2), np.ones(1)])
    with pytest.raises(ValueError, match="different numbers of parts"):
        default_collate([(1, 2), (1,)])
    loader = DataLoader(["a", "bb"], 2, collate_fn=lambda items: [len(item) for item in items])
    assert list(loader) == [[1, 2]]


def test_refuses():
    with pytest.raises(ValueError, match="batch_size: expected at least 1, got 0"):
        DataLoader([1], 0)
    with pytest.raises(ValueError, match="rng or seed, got both"):
        DataLoader([1], seed=1, rng=np.random.default_rng())
    with pytest.raises(ValueError, match="seed: expected at least 0"):
        DataLoader([1], seed=-1)
    loader = DataLoader([1, 2])
    with pytest.raises(ValueError, match="expected seed, epoch, position"):
        loader.load_state_dict({"seed": 1})
    with pytest.raises(ValueError, match="position <= 2"):
        loader.load_state_dict({"seed": 1, "epoch": 0, "position": 3})
