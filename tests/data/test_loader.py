import numpy as np
import pytest

import lamina
from lamina.data import (
    DataLoader,
    SequenceDataset,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
)


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


def test_iterators_at_once_have_epochs_of_their_own():
    data = TensorDataset(np.arange(12))
    loader = DataLoader(data, 3, True, seed=5)
    alone = DataLoader(data, 3, True, seed=5)
    epochs = [items(alone) for _ in range(8)]
    pairs = list(zip(loader, loader, strict=True))
    assert [a[0].tolist() for a, _ in pairs] == epochs[0]
    assert [b[0].tolist() for _, b in pairs] == epochs[1]
    outer = []
    for i, batch in enumerate(loader):
        outer.append(batch[0].tolist())
        assert items(loader) == epochs[3 + i]
        assert loader.state_dict() == {"seed": 5, "epoch": 4 + i, "position": 0}
    assert outer == epochs[2]
    assert items(loader) == epochs[7]


def test_samplers_give_the_order():
    data = TensorDataset(np.arange(6))
    loader = DataLoader(data, 2, sampler=[5, 3, 1, 0, 2])
    assert len(loader) == 3
    assert items(loader) == [[5, 3], [1, 0], [2]]
    assert items(DataLoader(data, 2, sampler=[5, 3, 1], drop_last=True)) == [[5, 3]]
    loader = DataLoader(list(range(6)), batch_sampler=[[5], [3, 1]], num_workers=0)
    assert len(loader) == 2
    assert [batch.tolist() for batch in loader] == [[5], [3, 1]]
    rng = np.random.default_rng(1)
    a = DataLoader(data, 2, True, generator=rng)
    assert items(a) == items(DataLoader(data, 2, True, rng=np.random.default_rng(1)))


def test_weighted_sampler():
    weights = np.array([0, 1, 0, 3.0])
    sampler = WeightedRandomSampler(weights, 4000, seed=1)
    drawn = np.bincount(list(sampler), minlength=4)
    assert drawn[0] == drawn[2] == 0
    assert abs(drawn[3] / 4000 - 0.75) < 0.03
    assert sorted(WeightedRandomSampler(weights, 2, replacement=False)) == [1, 3]
    for bad, message in [
        (lambda: WeightedRandomSampler([[1]], 1), "expected 1 axis"),
        (lambda: WeightedRandomSampler([1, -1], 1), "expected finite numbers from 0"),
        (lambda: WeightedRandomSampler([1, np.nan], 1), "expected finite numbers from 0"),
        (lambda: WeightedRandomSampler([0, 0], 1), "not all of them 0"),
        (lambda: WeightedRandomSampler([1], 0), "num_samples: expected at least 1"),
        (lambda: WeightedRandomSampler(weights, 3, False), "at most the 2 items"),
    ]:
        with pytest.raises(ValueError, match=message):
            bad()


def test_a_sampled_epoch_is_resumed():
    def make(seed):
        sampler = WeightedRandomSampler(np.ones(9), 9, seed=seed)
        return DataLoader(TensorDataset(np.arange(9)), 2, sampler=sampler)

    whole = make(3)
    expected = items(whole) + items(whole)
    first, begun = make(3), []
    for batch in first:
        begun.append(batch[0].tolist())
        if len(begun) == 2:
            break
    second = make(4)
    second.load_state_dict(first.state_dict())
    assert begun + items(second) + items(second) == expected


def test_iterables_without_indices():
    class Stream:
        def __iter__(self):
            return iter(range(5))

    loader = DataLoader(Stream(), 2)
    assert [batch.tolist() for batch in loader] == [[0, 1], [2, 3], [4]]
    assert [batch.tolist() for batch in DataLoader(Stream(), 2, drop_last=True)] == [[0, 1], [2, 3]]
    next(iter(loader))
    other = DataLoader(Stream(), 2)
    other.load_state_dict(loader.state_dict())
    assert [batch.tolist() for batch in other] == [[2, 3], [4]]
    with pytest.raises(TypeError, match="has no len"):
        len(loader)


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
    for options, message in [
        ({"num_workers": 4}, "num_workers: expected 0, .*, got 4"),
        ({"rng": np.random.default_rng(), "generator": np.random.default_rng()}, "got both"),
        ({"shuffle": True, "sampler": [0]}, "shuffle: expected no sampler"),
        ({"batch_size": 2, "batch_sampler": [[0]]}, "batch_sampler: expected no batch_size"),
        ({"dataset": iter([1]), "shuffle": True}, "shuffle: .* items by index"),
        ({"dataset": iter([1]), "sampler": [0]}, "sampler: expected a data set of items by index"),
    ]:
        with pytest.raises(ValueError, match=message):
            DataLoader(**{"dataset": [1], **options})
    with pytest.raises(TypeError, match="dataset: expected items by index or an iterable, got int"):
        DataLoader(3)
    with pytest.raises(TypeError, match=r"rng: expected a numpy.random.Generator, got 3"):
        DataLoader([1], generator=3)
    loader = DataLoader([1, 2])
    with pytest.raises(ValueError, match="expected seed, epoch, position"):
        loader.load_state_dict({"seed": 1})
    with pytest.raises(ValueError, match="position <= 2"):
        loader.load_state_dict({"seed": 1, "epoch": 0, "position": 3})
