"""Datasets: samples that are looked up by number, or that come one after another."""

from __future__ import annotations

import math
import warnings
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, Generic, TypeVar, cast

import numpy as np

from pullback.tape.node import new_handle
from pullback.tensor.dispatch import as_handle, is_raw
from pullback.tensor.random import Generator, randperm

__all__ = ["ConcatDataset", "Dataset", "IterableDataset", "Subset", "TensorDataset", "random_split"]

T_co = TypeVar("T_co", covariant=True)


class Dataset(Generic[T_co]):
    """Samples by number: a subclass gives `__getitem__`, and `__len__` where a loader needs it. `a + b` joins two."""

    def __getitem__(self, index: Any) -> T_co:
        raise NotImplementedError("Subclasses of Dataset should implement __getitem__.")

    def __add__(self, other: Dataset[T_co]) -> ConcatDataset[T_co]:
        return ConcatDataset([self, other])


class IterableDataset(Dataset[T_co]):
    """Samples one after another: a subclass gives `__iter__`."""

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError("Subclasses of IterableDataset should implement __iter__.")


class TensorDataset(Dataset[tuple[Any, ...]]):
    """Rows of tensors: sample i is the tuple of the i-th rows. Arrays are taken as tensors that share their memory.

    Raises `AssertionError` if the tensors differ in length.

    >>> import pullback as pb
    >>> data = TensorDataset(pb.tensor([[1.0], [2.0]]), pb.tensor([0, 1]))
    >>> len(data), data[1]
    (2, (tensor([2.]), tensor(1)))
    """

    def __init__(self, *tensors: Any) -> None:
        self.tensors = tuple(map(as_handle, tensors))
        if len({tensor.shape[0] for tensor in self.tensors}) > 1:
            raise AssertionError(
                f"Size mismatch between tensors: {', '.join(str(tuple(t.shape)) for t in self.tensors)}"
            )

    def __getitem__(self, index: Any) -> tuple[Any, ...]:
        return tuple(tensor[index] for tensor in self.tensors)

    def __len__(self) -> int:
        return len(self.tensors[0])

    def rows(self, indices: Any) -> list[Any]:
        """The samples numbered by an integer array, collated: of each tensor these rows, copied."""
        return [
            new_handle(np.take(t._value, indices, axis=0)) if is_raw(t) and t._node is None else t[indices]
            for t in self.tensors
        ]


class Subset(Dataset[T_co]):
    """The samples of `dataset` whose numbers are listed in `indices`, in that order."""

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices

    def __getitem__(self, index: Any) -> T_co:
        if isinstance(index, list):
            return cast(T_co, self.dataset[[self.indices[i] for i in index]])
        return cast(T_co, self.dataset[self.indices[index]])

    def __len__(self) -> int:
        return len(self.indices)


class ConcatDataset(Dataset[T_co]):
    """Datasets one behind the other, numbered through.

    Raises `AssertionError` if there are none, or for an `IterableDataset`, whose samples have no numbers.
    """

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise AssertionError("datasets should not be an empty iterable")
        if any(isinstance(dataset, IterableDataset) for dataset in self.datasets):
            raise AssertionError("ConcatDataset does not support IterableDataset")
        self.cumulative_sizes = list(accumulate(len(dataset) for dataset in self.datasets))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: Any) -> T_co:
        if index < 0:
            if -index > len(self):
                raise ValueError("absolute value of index should not exceed dataset length")
            index += len(self)
        if index >= len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} samples")
        which = bisect_right(self.cumulative_sizes, index)
        before = self.cumulative_sizes[which - 1] if which else 0
        return cast(T_co, self.datasets[which][index - before])


def random_split(dataset: Any, lengths: Sequence[float], generator: Generator | None = None) -> list[Subset[Any]]:
    """Distinct random parts of `dataset` of the given lengths, or shares that sum to 1 (what is left over goes round).

    Raises `ValueError` if the lengths don't sum to the length of the dataset, or a share is not in [0, 1].

    >>> import pullback as pb
    >>> train, test = random_split(range(10), [0.8, 0.2], pb.Generator().manual_seed(0))
    >>> len(train), len(test), sorted([*train, *test]) == list(range(10))
    (8, 2, True)
    """
    size = len(dataset)
    if math.isclose(sum(lengths), 1) and sum(lengths) <= 1:
        for i, share in enumerate(lengths):
            if not 0 <= share <= 1:
                raise ValueError(f"Fraction at index {i} is not between 0 and 1")
        counts = [math.floor(size * share) for share in lengths]
        for i in range(size - sum(counts)):
            counts[i % len(counts)] += 1
        for i, count in enumerate(counts):
            if count == 0:
                warnings.warn(
                    f"Length of split at index {i} is 0. This might result in an empty dataset.", stacklevel=2
                )
    else:
        counts = [int(length) for length in lengths]
    if sum(counts) != size:
        raise ValueError("Sum of input lengths does not equal the length of the input dataset!")
    order = randperm(size, generator=generator).tolist()
    return [Subset(dataset, order[end - count : end]) for end, count in zip(accumulate(counts), counts, strict=True)]


def whole_rows(dataset: Any) -> Any:
    """A function from an array of numbers to the collated batch, where it need not be made sample by sample, else None.

    That is so for `TensorDataset` and subsets of it, as long as no subclass looks samples up in its own way.
    """
    find = getattr(type(dataset), "__getitem__", None)
    if find is TensorDataset.__getitem__ and not hasattr(dataset, "__getitems__"):
        return dataset.rows
    if find is Subset.__getitem__ and not hasattr(dataset, "__getitems__"):
        rows = whole_rows(dataset.dataset)
        if rows is not None:
            numbers = np.asarray(dataset.indices, np.int64)
            return lambda indices: rows(numbers[indices])
    return None
