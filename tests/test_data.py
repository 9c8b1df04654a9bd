"""Datasets, samplers and loaders give the batches that PyTorch's do."""

from __future__ import annotations

import threading
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    progress,
    random_split,
)

torch = pytest.importorskip("torch")

Pair = namedtuple("Pair", ["left", "right"])


class Squares(Dataset[int]):
    """A dataset of Python numbers."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> int:
        if not 0 <= index < self.size:
            raise IndexError(index)
        return index * index


class Count(IterableDataset[int]):
    def __init__(self, size: int) -> None:
        self.size = size

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.size))

    def __len__(self) -> int:
        return self.size


def tensors(lib: Any) -> tuple[Any, ...]:
    x = np.arange(14.0).reshape(7, 2)
    return lib.tensor(x), lib.tensor(np.arange(7)), lib.tensor(np.arange(7, dtype=np.float32))


def plain(value: Any) -> Any:
    """Tensors as (dtype, list), containers as they are, to compare the two libraries."""
    if isinstance(value, pb.Tensor | torch.Tensor):
        return str(value.dtype), value.tolist()
    if isinstance(value, dict):
        return type(value), {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value), [plain(v) for v in value]
    return value


# Batches


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch_size": 3},
        {"batch_size": 3, "drop_last": True},
        {"batch_size": 7},
        {"batch_size": 9, "drop_last": True},
        {"batch_size": None},
        {"batch_size": 2, "sampler": [4, 4, 0, 1, 6]},
        {"batch_sampler": [[1, 2], [0], [6, 6, 6]]},
    ],
    ids=str,
)
def test_batches_are_pytorchs(options: dict[str, Any]) -> None:
    mine = DataLoader(TensorDataset(*tensors(pb)), **options)
    other = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*tensors(torch)), **options)
    for _ in range(2):
        assert [plain(batch) for batch in mine] == [plain(batch) for batch in other]
    assert len(mine) == len(other)
    inner = torch.utils.data.Subset(other.dataset, [5, 3, 1, 0, 2, 4, 6])
    mine, other = (
        DataLoader(Subset(mine.dataset, [5, 3, 1, 0, 2, 4, 6]), **options),
        torch.utils.data.DataLoader(inner, **options),
    )
    assert [plain(batch) for batch in mine] == [plain(batch) for batch in other]


@pytest.mark.parametrize("shuffle", [False, True])
def test_cutting_batches_gives_what_collating_samples_does(shuffle: bool) -> None:
    data = TensorDataset(*tensors(pb))

    def batches(collate: Any) -> Any:
        loader = DataLoader(data, 3, shuffle, collate_fn=collate, generator=pb.Generator().manual_seed(5))
        return [plain(batch) for batch in loader]

    one_by_one = batches(lambda samples: default_collate(samples))
    assert batches(None) == one_by_one
    assert len(one_by_one) == 3


def test_a_batch_is_a_copy() -> None:
    x = pb.arange(4.0)
    for loader in (DataLoader(TensorDataset(x), 4), DataLoader(TensorDataset(x), 4, collate_fn=default_collate)):
        (batch,) = next(iter(loader))
        batch.zero_()
    assert x.tolist() == [0, 1, 2, 3]


def test_gradients_flow_to_tracked_tensors() -> None:
    x = pb.ones(4, requires_grad=True)
    total = sum((batch * (i + 1)).sum() for i, (batch,) in enumerate(DataLoader(TensorDataset(x), 2)))
    total.backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1, 1, 2, 2]


def test_a_subclass_that_changes_samples_is_heard() -> None:
    class Shifted(TensorDataset):
        def __getitem__(self, index: Any) -> tuple[Any, ...]:
            return tuple(t + 100 for t in super().__getitem__(index))

    class Reversed(Subset[Any]):
        def __getitem__(self, index: Any) -> Any:
            return super().__getitem__(len(self) - 1 - index)

    data = Shifted(pb.arange(3))
    assert [b.tolist() for (b,) in DataLoader(data, 2)] == [[100, 101], [102]]
    assert [b.tolist() for (b,) in DataLoader(Subset(data, [2, 0]), 2)] == [[102, 100]]
    assert [b.tolist() for (b,) in DataLoader(Reversed(TensorDataset(pb.arange(3)), [0, 1, 2]), 3)] == [[2, 1, 0]]


def test_samples_can_be_fetched_together() -> None:
    class Together(Squares):
        def __getitems__(self, indices: list[int]) -> list[int]:
            return [-i for i in indices]

    assert [b.tolist() for b in DataLoader(Together(4), 2)] == [[0, -1], [-2, -3]]


def test_any_sequence_is_a_dataset() -> None:
    assert [b.tolist() for b in DataLoader(range(5), 2)] == [[0, 1], [2, 3], [4]]  # type: ignore[arg-type]
    assert [b.tolist() for b in DataLoader(Squares(5), 2, drop_last=True)] == [[0, 1], [4, 9]]


@pytest.mark.parametrize("options", [{"batch_size": 2}, {"batch_size": 2, "drop_last": True}, {"batch_size": None}])
def test_iterable_datasets(options: dict[str, Any]) -> None:
    loader = DataLoader(Count(5), **options)
    expected = {2: [[0, 1], [2, 3], [4]], None: [0, 1, 2, 3, 4]}[options["batch_size"]]
    if options.get("drop_last"):
        expected = expected[:2]
    assert [b.tolist() if isinstance(b, pb.Tensor) else b for b in loader] == expected
    assert len(loader) == len(expected)


def test_two_iterations_at_once_are_independent() -> None:
    loader = DataLoader(range(4), 1)
    assert [(a.item(), b.item()) for a, b in zip(loader, loader, strict=True)] == [(i, i) for i in range(4)]


# Order


def order(loader: Any) -> list[int]:
    return [int(x) for batch in loader for x in (batch[0] if isinstance(batch, list) else batch)]


def test_a_shuffled_order_comes_from_the_seed() -> None:
    data = TensorDataset(pb.arange(50))

    def epochs(generator: Any) -> list[list[int]]:
        loader = DataLoader(data, 8, shuffle=True, generator=generator)
        return [order(loader), order(loader)]

    first = epochs(pb.Generator().manual_seed(3))
    assert first == epochs(pb.Generator().manual_seed(3))
    assert first != epochs(pb.Generator().manual_seed(4))
    assert first[0] != first[1] != sorted(first[1])
    assert sorted(first[0]) == sorted(first[1]) == list(range(50))
    pb.manual_seed(7)
    second = epochs(None)
    pb.manual_seed(7)
    assert second == epochs(None)


def test_the_order_does_not_depend_on_what_is_drawn_meanwhile() -> None:
    data = TensorDataset(pb.arange(30))

    def run(disturb: Callable[[], Any]) -> list[int]:
        pb.manual_seed(1)
        seen = []
        for (batch,) in DataLoader(data, 4, shuffle=True):
            disturb()
            seen += batch.tolist()
        return seen

    quiet = run(lambda: None)
    assert run(lambda: pb.rand(3)) == quiet

    def from_another_thread() -> None:
        thread = threading.Thread(target=lambda: (pb.manual_seed(0), pb.rand(100)))
        thread.start()
        thread.join()

    assert run(from_another_thread) == quiet


def test_samplers() -> None:
    seeded = pb.Generator().manual_seed
    assert list(SequentialSampler(range(3))) == [0, 1, 2]
    twice = list(RandomSampler(range(5), num_samples=8, generator=seeded(0)))
    assert sorted(twice[:5]) == list(range(5))
    assert len(twice) == len(RandomSampler(range(5), num_samples=8)) == 8
    assert len(set(twice[5:])) == 3
    drawn = list(RandomSampler(range(1000), replacement=True, generator=seeded(0)))
    assert len(drawn) == 1000
    assert 500 < len(set(drawn)) < 750  # 1 - 1/e of them
    assert sorted(SubsetRandomSampler([7, 5, 3], seeded(0))) == [3, 5, 7]
    weighted = list(WeightedRandomSampler([0.0, 1.0, 3.0], 4000, generator=seeded(0)))
    assert len(weighted) == 4000
    assert weighted.count(0) == 0
    assert 2850 < weighted.count(2) < 3150
    once = list(WeightedRandomSampler(pb.tensor([1.0, 2.0, 3.0]), 3, replacement=False, generator=seeded(0)))
    assert sorted(once) == [0, 1, 2]
    for drop_last, expected in ((False, [[0, 1, 2], [3]]), (True, [[0, 1, 2]])):
        batches = BatchSampler(SequentialSampler(range(4)), 3, drop_last)
        assert list(batches) == [b.tolist() for b in batches.arrays()] == expected
        assert len(batches) == len(expected)


def test_a_sampler_of_ones_own_orders_the_batches() -> None:
    class Backwards(SequentialSampler):
        def __iter__(self) -> Iterator[int]:
            return iter(range(len(self) - 1, -1, -1))

    data = TensorDataset(pb.arange(5))
    assert order(DataLoader(data, 2, sampler=Backwards(data))) == [4, 3, 2, 1, 0]


# Datasets


def test_datasets_join_and_part() -> None:
    joined = Squares(3) + Squares(2)
    assert isinstance(joined, ConcatDataset)
    assert [joined[i] for i in range(-5, 5)] == [0, 1, 4, 0, 1] * 2
    assert list(joined) == [0, 1, 4, 0, 1]
    with pytest.raises(ValueError, match="absolute value of index"):
        joined[-6]
    assert joined.cumulative_sizes == [3, 5]
    part = Subset(Squares(9), [8, 2])
    assert (len(part), part[0], part[1]) == (2, 64, 4)


@pytest.mark.parametrize("lengths", [[3, 7], [0.5, 0.5], [0.34, 0.33, 0.33], [0.25, 0.75]])
def test_random_split_has_pytorchs_lengths(lengths: list[float]) -> None:
    mine = random_split(Squares(10), lengths, pb.Generator().manual_seed(0))
    other = torch.utils.data.random_split(range(10), lengths)
    assert [len(part) for part in mine] == [len(part) for part in other]
    assert sorted(x for part in mine for x in part) == [i * i for i in range(10)]
    again = random_split(Squares(10), lengths, pb.Generator().manual_seed(0))
    assert [list(part) for part in mine] == [list(part) for part in again]


def test_random_split_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="Sum of input lengths does not equal"):
        random_split(range(10), [3, 6])
    with pytest.raises(ValueError, match="Fraction at index 0 is not between 0 and 1"):
        random_split(range(10), [1.5, -0.5])
    with pytest.warns(UserWarning, match="Length of split at index 1 is 0"):
        random_split(range(1), [0.5, 0.5])


# Collating


SAMPLES: list[list[Any]] = [
    [1.5, 2.5],
    [1, 2],
    [True, False],
    ["a", "b"],
    [b"a", b"b"],
    [np.float32(1.0), np.float32(2.0)],
    [np.arange(3), np.arange(3) + 1],
    [np.ones((2, 2), np.float32)] * 3,
    [(1, 2.0), (3, 4.0)],
    [[1, 2.0], [3, 4.0]],
    [{"x": 1.0, "y": "a"}, {"x": 2.0, "y": "b"}],
    [OrderedDict(x=[1, (2.0,)]), OrderedDict(x=[3, (4.0,)])],
    [Pair(1, {"z": 2.0}), Pair(3, {"z": 4.0})],
]


@pytest.mark.parametrize("samples", SAMPLES, ids=str)
def test_collating_is_pytorchs(samples: list[Any]) -> None:
    assert plain(default_collate(samples)) == plain(torch.utils.data.default_collate(samples))
    assert plain(next(iter(DataLoader(samples, None)))) == plain(
        next(iter(torch.utils.data.DataLoader(samples, batch_size=None)))
    )


def test_tensors_are_stacked() -> None:
    batch = default_collate([(pb.ones(2), pb.tensor(1)), (pb.zeros(2), pb.tensor(2))])
    assert plain(batch) == (list, [("torch.float32", [[1, 1], [0, 0]]), ("torch.int64", [1, 2])])


def test_what_cannot_be_collated() -> None:
    for samples in ([None, None], [np.array(["a"]), np.array(["b"])], [object(), object()]):
        with pytest.raises(TypeError, match="default_collate: batch must contain tensors, numpy arrays, numbers"):
            default_collate(samples)
    with pytest.raises(RuntimeError, match="each element in list of batch should be of equal size"):
        default_collate([[1, 2], [3]])


# Misuse

ROWS = (range(4),)


def stream(utils: Any) -> Any:
    class Stream(utils.IterableDataset):  # type: ignore[misc, name-defined]
        def __iter__(self) -> Iterator[int]:
            return iter(())

    return Stream()


BAD: list[Callable[[Any], Any]] = [
    lambda u: u.DataLoader(*ROWS, num_workers=-1),
    lambda u: u.DataLoader(*ROWS, shuffle=True, sampler=[0]),
    lambda u: u.DataLoader(*ROWS, batch_sampler=[[0]], batch_size=2),
    lambda u: u.DataLoader(*ROWS, batch_sampler=[[0]], drop_last=True),
    lambda u: u.DataLoader(*ROWS, batch_size=None, drop_last=True),
    lambda u: u.DataLoader(*ROWS, batch_size=0),
    lambda u: u.DataLoader([], shuffle=True),
    lambda u: u.DataLoader(stream(u), shuffle=True),
    lambda u: u.DataLoader(stream(u), sampler=[0]),
    lambda u: u.DataLoader(stream(u), batch_sampler=[[0]]),
    lambda u: u.RandomSampler(range(3), replacement=1),
    lambda u: u.RandomSampler(range(3), num_samples=-1),
    lambda u: u.WeightedRandomSampler([1.0], 0),
    lambda u: u.WeightedRandomSampler([1.0], 1, replacement=1),
    lambda u: u.WeightedRandomSampler([[1.0]], 1),
    lambda u: u.BatchSampler([0], True, False),
    lambda u: u.BatchSampler([0], 1, 0),
    lambda u: u.ConcatDataset([]),
    lambda u: u.ConcatDataset([stream(u)]),
]


@pytest.mark.parametrize("misuse", BAD, ids=[str(i) for i in range(len(BAD))])
def test_misuse_raises_as_in_pytorch(misuse: Callable[[Any], Any]) -> None:
    with pytest.raises((TypeError, ValueError, AssertionError)) as caught:
        misuse(torch.utils.data)
    words = " ".join(str(caught.value).split()[:4])
    with pytest.raises(type(caught.value)) as found:
        misuse(pb.utils.data)
    assert str(found.value).startswith(words)


def test_tensors_of_a_dataset_have_one_length() -> None:
    with pytest.raises(AssertionError, match=r"Size mismatch between tensors: \(2,\), \(3, 1\)"):
        TensorDataset(pb.ones(2), pb.ones(3, 1))
    with pytest.raises(TypeError, match="generator must be a pullback Generator"):
        DataLoader(range(3), generator=torch.Generator())  # type: ignore[arg-type]


def test_workers_are_named_as_not_there() -> None:
    with pytest.warns(UserWarning, match="num_workers=2: this loader works in the calling process"):
        loader = DataLoader(range(3), num_workers=2)
    assert order(loader) == [0, 1, 2]


# Progress


def test_progress_draws_on_a_terminal_only(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    assert list(progress(range(3), "fitting")) == [0, 1, 2]
    assert capsys.readouterr().err == ""
    bar = progress(range(3), "fitting", quiet=False, total=3)
    for _ in bar:
        bar.set_postfix(loss=1.0)
    drawn = capsys.readouterr().err
    assert "fitting" in drawn
    assert "3/3" in drawn
    assert list(progress(range(3), quiet=True)) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_progress_without_tqdm_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tqdm", None)
    with pytest.raises(ImportError, match=r"pip install 'pullback\[fit\]'"):
        progress(range(3))
