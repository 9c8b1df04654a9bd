"""Samplers: in which order a loader visits a dataset.

A random sampler without a generator draws a seed from the thread's default generator whenever an iteration starts, and
the order from that seed alone: `pb.manual_seed` makes it reproducible, whatever else is drawn meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from itertools import islice
from typing import Any, Generic, TypeVar

import numpy as np

from pullback.tape.node import Handle, new_handle
from pullback.tensor.conversion import numbers
from pullback.tensor.random import Generator, multinomial, source

__all__ = [
    "BatchSampler",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "SubsetRandomSampler",
    "WeightedRandomSampler",
]

T_co = TypeVar("T_co", covariant=True)


class Sampler(Generic[T_co]):
    """The base: a subclass gives `__iter__`, and `__len__` where the loader's length is asked for."""

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError


def _count(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise ValueError(f"{name} should be a positive integer value, but got {name}={value}")
    return value


class _Order(Sampler[int]):
    """A sampler that knows the whole order when it starts."""

    def order(self) -> Any:
        """The numbers in the order of one iteration, as an integer array; drawn anew each time if they are random."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[int]:
        yield from self.order().tolist()


class SequentialSampler(_Order):
    """0, 1, 2, ... to the end of `data_source`."""

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def order(self) -> Any:
        return np.arange(len(self.data_source))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(_Order):
    """Random numbers of samples: each once before any comes again, or with `replacement` independent of each other.

    `num_samples` of them, by default as many as `data_source` has. Raises `ValueError` if that is not positive.
    """

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        if not isinstance(replacement, bool):
            raise TypeError(f"replacement should be a boolean value, but got replacement={replacement}")
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = num_samples
        self.generator = generator
        _count("num_samples", self.num_samples)

    @property
    def num_samples(self) -> int:
        """How many samples an iteration draws."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def order(self) -> Any:
        rng = source(self.generator or Generator().manual_seed(int(source().integers(1 << 63))))
        size, count = len(self.data_source), self.num_samples
        if self.replacement:
            return rng.integers(0, size, count)
        rounds = [rng.permutation(size) for _ in range(-(-count // size))]
        return np.concatenate(rounds)[:count]

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(_Order):
    """The given numbers, each once, in random order."""

    def __init__(self, indices: Sequence[int], generator: Generator | None = None) -> None:
        self.indices = indices
        self.generator = generator

    def order(self) -> Any:
        return source(self.generator).permutation(np.asarray(self.indices, np.int64))

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(_Order):
    """`num_samples` numbers drawn with probabilities proportional to `weights`, which need not sum to 1."""

    def __init__(
        self,
        weights: Sequence[float],
        num_samples: int,
        replacement: bool = True,
        generator: Generator | None = None,
    ) -> None:
        if not isinstance(replacement, bool):
            raise ValueError(f"replacement should be a boolean value, but got replacement={replacement}")
        raw = numbers(weights, "WeightedRandomSampler") if isinstance(weights, Handle) else weights
        array = np.array(raw, np.float64)
        if array.ndim != 1:
            raise ValueError(f"weights should be a 1d sequence but given weights have shape {array.shape}")
        self.weights = new_handle(array)
        self.num_samples = _count("num_samples", num_samples)
        self.replacement = replacement
        self.generator = generator

    def order(self) -> Any:
        return multinomial(self.weights, self.num_samples, self.replacement, generator=self.generator)._value

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list[int]]):
    """Lists of `batch_size` numbers from another sampler; the last may be shorter, or is left out with `drop_last`.

    >>> list(BatchSampler(range(5), batch_size=2, drop_last=False))
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool) -> None:
        if not isinstance(drop_last, bool):
            raise ValueError(f"drop_last should be a boolean value, but got drop_last={drop_last}")
        self.sampler = sampler
        self.batch_size = _count("batch_size", batch_size)
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[int]]:
        numbers = iter(self.sampler)
        while batch := list(islice(numbers, self.batch_size)):
            if self.drop_last and len(batch) < self.batch_size:
                return
            yield batch

    def arrays(self) -> Iterator[Any]:
        """The same batches as integer arrays."""
        if isinstance(self.sampler, _Order) and type(self.sampler).__iter__ is _Order.__iter__:
            order = self.sampler.order()
            end = len(order) - len(order) % self.batch_size if self.drop_last else len(order)
            for start in range(0, end, self.batch_size):
                yield order[start : start + self.batch_size]
        else:
            yield from map(np.asarray, self)

    def __len__(self) -> int:
        count = len(self.sampler)  # type: ignore[arg-type]
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)
