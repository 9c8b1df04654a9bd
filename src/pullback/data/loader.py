"""Batches from a dataset, and how samples are put together to one."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, MutableSequence, Sequence
from itertools import islice
from typing import Any

import numpy as np

from pullback.data.samplers import BatchSampler, RandomSampler, SequentialSampler
from pullback.data.samples import IterableDataset, whole_rows
from pullback.tape.node import Handle
from pullback.tensor.creation import as_tensor, tensor
from pullback.tensor.joining import stack
from pullback.tensor.random import Generator

__all__ = ["DataLoader", "default_collate", "default_convert"]


def default_collate(batch: Sequence[Any]) -> Any:
    """A list of like samples as one: Tensors and arrays stacked, numbers as a Tensor, containers entry by entry.

    Arrays keep their dtype, Python floats become float64 and integers int64; text stays a list; tuples become lists.
    Raises `TypeError` for anything else, `RuntimeError` for sequences of unequal length.

    >>> default_collate([{"x": 1.0, "label": "a"}, {"x": 2.0, "label": "b"}])
    {'x': tensor([1., 2.], dtype=torch.float64), 'label': ['a', 'b']}
    """
    first = batch[0]
    if isinstance(first, Handle):
        return stack(list(batch), 0)
    if isinstance(first, np.ndarray | np.generic):
        if first.dtype.kind in "SUO":
            raise TypeError(_unknown(first.dtype))
        return as_tensor(np.stack([np.asarray(array) for array in batch]))
    if isinstance(first, float):
        return tensor(list(batch), dtype=np.float64)
    if isinstance(first, int):
        return tensor(list(batch))
    if isinstance(first, str | bytes):
        return batch
    if isinstance(first, Mapping):
        return _like(first, {key: default_collate([sample[key] for sample in batch]) for key in first})
    if isinstance(first, Sequence):
        if isinstance(first, tuple) and hasattr(first, "_fields"):
            return type(first)(*map(default_collate, zip(*batch, strict=True)))
        if any(len(sample) != len(first) for sample in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        columns = [default_collate(column) for column in zip(*batch, strict=True)]
        return columns if isinstance(first, tuple) else _like(first, columns)
    raise TypeError(_unknown(type(first)))


def default_convert(data: Any) -> Any:
    """A single sample with its arrays as Tensors, containers entry by entry; anything else as it is."""
    if isinstance(data, np.ndarray | np.generic):
        return data if data.dtype.kind in "SUO" else as_tensor(data)
    if isinstance(data, Mapping):
        return _like(data, {key: default_convert(value) for key, value in data.items()})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*map(default_convert, data))
    if isinstance(data, tuple):
        return list(map(default_convert, data))
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        return _like(data, list(map(default_convert, data)))
    return data


def _unknown(kind: Any) -> str:
    return f"default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {kind}"


def _like(sample: Any, entries: Any) -> Any:
    """The dict or list `entries` as a container of the sample's type, if that type can be copied or built."""
    if type(sample) in (dict, list):
        return entries
    try:
        if isinstance(sample, MutableMapping | MutableSequence):
            result: Any = copy.copy(sample)
            for key, value in entries.items() if isinstance(entries, dict) else enumerate(entries):
                result[key] = value
            return result
        return type(sample)(entries)
    except TypeError:
        return entries


class DataLoader:
    """The batches of a dataset, in order or shuffled; iterate over it once for each epoch.

    `batch_size` None gives single samples. The order comes from `shuffle`, a `sampler` of numbers or a `batch_sampler`
    of lists of numbers; `generator` makes a shuffled order reproducible, else `pb.manual_seed` does. `collate_fn`
    makes a batch of a list of samples. `drop_last` leaves out a last batch that is short.

    Batches of a `TensorDataset` are cut from the tensors at once, with the same result as sample by sample. Everything
    is loaded in the calling process: with `num_workers` other than 0 a warning says so, and `pin_memory` has no
    effect. Raises `ValueError` for options that exclude each other, as PyTorch does.

    >>> import pullback as pb
    >>> data = pb.utils.data.TensorDataset(pb.arange(5))
    >>> [batch.tolist() for (batch,) in pb.utils.data.DataLoader(data, batch_size=2)]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[Any] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        *,
        generator: Generator | None = None,
    ) -> None:
        if num_workers < 0:
            raise ValueError("num_workers option should be non-negative; use num_workers=0 to disable multiprocessing.")
        if num_workers:
            warnings.warn(
                f"num_workers={num_workers}: this loader works in the calling process, as with num_workers=0; "
                "the batches are the same",
                stacklevel=2,
            )
        if generator is not None and not isinstance(generator, Generator):
            raise TypeError(f"generator must be a pullback Generator, not {type(generator).__name__}")
        self._iterable = isinstance(dataset, IterableDataset)
        if self._iterable:
            given = {"shuffle": shuffle or None, "sampler": sampler, "batch_sampler": batch_sampler}
            for name, value in given.items():
                if value is not None:
                    raise ValueError(
                        f"DataLoader with IterableDataset: expected unspecified {name} option, but got {name}={value}"
                    )
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError(
                    "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last"
                )
            batch_size = None
        elif batch_size is None and drop_last:
            raise ValueError("batch_size=None option disables auto-batching and is mutually exclusive with drop_last")
        if sampler is None and not self._iterable:
            sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        batched = batch_sampler is not None or batch_size is not None
        if batch_sampler is None and batch_size is not None:
            batch_sampler = BatchSampler(() if sampler is None else sampler, batch_size, drop_last)
        self.dataset = dataset
        self.batch_size = batch_size
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.num_workers = num_workers
        self.pin_memory = pin_memory
        self.drop_last = drop_last
        self.generator = generator
        self.collate_fn = collate_fn or (default_collate if batched else default_convert)

    def __len__(self) -> int:
        """The number of batches; an `IterableDataset` must know its own length."""
        if not self._iterable:
            return len(self.sampler if self.batch_sampler is None else self.batch_sampler)  # type: ignore[arg-type]
        count = len(self.dataset)
        if self.batch_size is None:
            return count
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        if self._iterable:
            return self._stream()
        if self.batch_sampler is None:
            assert self.sampler is not None
            return (self.collate_fn(self.dataset[i]) for i in self.sampler)
        rows = whole_rows(self.dataset) if self.collate_fn is default_collate else None
        if rows is None:
            return (self.collate_fn(self._fetch(list(numbers))) for numbers in self.batch_sampler)
        if type(self.batch_sampler) is BatchSampler:
            return map(rows, self.batch_sampler.arrays())
        return (rows(np.asarray(numbers, np.int64)) for numbers in self.batch_sampler)

    def _fetch(self, numbers: list[int]) -> list[Any]:
        together = getattr(self.dataset, "__getitems__", None)
        if together is not None:
            return list(together(numbers))
        return [self.dataset[i] for i in numbers]

    def _stream(self) -> Iterator[Any]:
        samples = iter(self.dataset)
        if self.batch_size is None:
            yield from map(self.collate_fn, samples)
            return
        while batch := list(islice(samples, self.batch_size)):
            if self.drop_last and len(batch) < self.batch_size:
                return
            yield self.collate_fn(batch)
