"""Order along one `axis`: the indices are ops, the values follow from them by `take_along`."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.ops.index import slice_, take_along
from pullback.ops.samples import Sample, normal, spread
from pullback.ops.shape import broadcast_to, reshape
from pullback.ops.table import Op, nondifferentiable
from pullback.values.shape import Spec

__all__ = ["argsort", "searchsorted", "sort", "topk"]


_LONG = 2048


def _stable(x: Any, axis: int) -> Any:
    """A stable order; of many distinct floats by the quicker unstable sort, which finds the same."""
    if x.dtype.kind == "f" and x.shape[axis] >= _LONG:
        index = np.argsort(x, axis=axis)
        ordered = np.moveaxis(np.take_along_axis(x, index, axis), axis, -1)
        if (ordered[..., 1:] > ordered[..., :-1]).all():
            return index
    return np.argsort(x, axis=axis, kind="stable")


def _argsort(x: Any, axis: int, descending: bool = False) -> Any:
    if not descending:
        return _stable(x, axis)
    # Sorting the reversed line and reversing the result keeps equal elements in order; no sign to overflow.
    index = _stable(np.flip(x, axis), axis)
    return x.shape[axis] - 1 - np.flip(index, axis)


argsort: Op = nondifferentiable(
    "argsort",
    _argsort,
    shape=lambda x, axis, descending=False: Spec(x.shape, np.dtype(np.int64)),
    batch=lambda size, args, batched, axis, descending=False: argsort(*args, axis=axis + 1, descending=descending),
    samples=[
        Sample(spread(2, 5), axis=1),
        Sample(spread(4, 2), axis=0, descending=True),
        Sample(np.array([1.0, 0.0, 1.0, np.nan, 0.0]), axis=0, descending=True),
    ],
    doc="The indices that put x in order along `axis`. Equal elements keep their order; NaN counts as the largest.",
)


def sort(x: Any, *, axis: int, descending: bool = False) -> tuple[Any, Any]:
    """x in order along `axis`, and where each element was; the gradient goes back there, ties in order."""
    index = argsort(x, axis=axis, descending=descending)
    return take_along(x, index, axis), index


def topk(x: Any, k: int, *, axis: int, largest: bool = True) -> tuple[Any, Any]:
    """The `k` largest (or smallest) elements along `axis` in order, and where they are."""
    index = argsort(x, axis=axis, descending=largest)
    index = slice_(index, index=(*(slice(None),) * axis, slice(k), *(slice(None),) * (len(index.shape) - axis - 1)))
    return take_along(x, index, axis), index


def _searchsorted(line: Any, values: Any, side: Any = "left") -> Any:
    if line.ndim == 1:
        return np.asarray(np.searchsorted(line, values, side), np.int64)[()]
    lines = line.reshape(-1, line.shape[-1])
    rows = values.reshape(len(lines), -1)
    found = [np.searchsorted(a, b, side) for a, b in zip(lines, rows, strict=True)]
    return np.array(found, np.int64).reshape(values.shape)


def _searchsorted_batch(size: int, args: tuple[Any, ...], batched: tuple[bool, ...], side: str = "left") -> Any:
    line, values = args
    if not batched[0] and len(line.shape) == 1:
        return searchsorted(line, values, side=side)
    line = line if batched[0] else broadcast_to(line, shape=(size, *line.shape))
    values = values if batched[1] else broadcast_to(values, shape=(size, *values.shape))
    if len(line.shape) > 2:
        return searchsorted(line, values, side=side)
    flat = reshape(values, shape=(size, int(np.prod(values.shape[1:]))))
    return reshape(searchsorted(line, flat, side=side), shape=tuple(values.shape))


def _ordered(*shape: int) -> Any:
    return lambda rng: np.sort(rng.standard_normal(shape), axis=-1)


searchsorted = nondifferentiable(
    "searchsorted",
    _searchsorted,
    shape=lambda line, values, side="left": Spec(values.shape, np.dtype(np.int64)),
    batch=_searchsorted_batch,
    samples=[
        Sample(_ordered(5), normal(2, 3)),
        Sample(_ordered(5), normal()),
        Sample(_ordered(2, 5), normal(2, 3), side="right"),
    ],
    doc="Where each value goes in sorted lines: one line for all, or one for each row of values (same leading axes).",
)
