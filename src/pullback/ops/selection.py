"""Order statistics without sorting: where the k-th smallest elements along one `axis` are."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.ops.samples import Sample, spread
from pullback.ops.sort import argsort
from pullback.ops.table import Op, nondifferentiable
from pullback.values.shape import Shape, Spec

__all__ = ["argkth", "argmode", "argpartition"]

_FEW, _LONG = 16, 256  # so few ranks of so long a line are found faster by partition than by sorting


def _argkth(x: Any, kth: Shape, axis: int) -> Any:
    if len(kth) > _FEW or x.shape[axis] < _LONG:
        return np.take(argsort.evaluate(x, axis=axis), kth, axis)
    line = np.moveaxis(x, axis, -1)
    parted = np.partition(line, kth, axis=-1)
    found = np.empty((*line.shape[:-1], len(kth)), np.int64)
    rows, places = line.reshape(-1, line.shape[-1]), found.reshape(-1, len(kth))
    values = parted[..., list(kth)].reshape(places.shape)
    for row, place, wanted in zip(rows, places, values, strict=True):
        for i, (k, value) in enumerate(zip(kth, wanted, strict=True)):
            if value == value:
                equal = np.flatnonzero(row == value)
                before = k if equal.size == 1 else np.count_nonzero(row < value)
                place[i] = equal[0] if equal.size == 1 else equal[k - before]
            else:  # NaN comes last
                nans = np.flatnonzero(np.isnan(row))
                place[i] = nans[k - (row.size - nans.size)]
    return np.moveaxis(found, -1, axis)


argkth: Op = nondifferentiable(
    "argkth",
    _argkth,
    shape=lambda x, kth, axis: Spec((*x.shape[:axis], len(kth), *x.shape[axis + 1 :]), np.dtype(np.int64)),
    batch=lambda size, args, batched, kth, axis: argkth(*args, kth=kth, axis=axis + 1),
    samples=[
        Sample(spread(3, 5), kth=(1, 3), axis=1),
        Sample(spread(5, 2), kth=(4,), axis=0),
        Sample(spread(2, 300), kth=(0, 150), axis=1),
        Sample(np.array([[2.0, 1.0, np.nan, 1.0] * 100, [3.0, 1.0, 2.0, 1.0] * 100]), kth=(1, 150, 399), axis=1),
        Sample(spread(600), kth=tuple(range(0, 600, 30)), axis=0),
    ],
    doc="Where the elements of rank `kth` (from 0) are along `axis`, as a stable sort finds them; NaN comes last.",
)
argpartition: Op = nondifferentiable(
    "argpartition",
    lambda x, kth, axis: np.argpartition(x, kth, axis),
    shape=lambda x, kth, axis: Spec(x.shape, np.dtype(np.int64)),
    batch=lambda size, args, batched, kth, axis: argpartition(*args, kth=kth, axis=axis + 1),
    samples=[Sample(spread(2, 5), kth=(2,), axis=1), Sample(spread(5, 2), kth=(1, 3), axis=0)],
    doc="Indices that put the elements of rank `kth` into place along `axis`, smaller ones before and larger behind.",
)


def _last_of_most(line: Any) -> int:
    values, counts = np.unique(line, return_counts=True)
    return int(np.nonzero(line == values[np.argmax(counts)])[0][-1])


argmode: Op = nondifferentiable(
    "argmode",
    lambda x, axis: np.expand_dims(np.apply_along_axis(_last_of_most, axis, x), axis),
    shape=lambda x, axis: Spec((*x.shape[:axis], 1, *x.shape[axis + 1 :]), np.dtype(np.int64)),
    batch=lambda size, args, batched, axis: argmode(*args, axis=axis + 1),
    samples=[Sample(spread(2, 5), axis=1), Sample(np.array([[3.0, 1.0], [1.0, 2.0], [3.0, 2.0]]), axis=0)],
    doc="Where the most frequent element along `axis` is: the smallest of equally frequent ones, its last place.",
)
