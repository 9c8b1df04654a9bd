"""Reductions of the elements that an index sends to one place.

Sums are scattered. Products and extremes go through the reductions that exist: the elements that meet in one place are
gathered into the row of a matrix, which is reduced. Rows of similar length share a matrix, so that memory stays within
twice the elements.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from pullback.ops import reduce as r
from pullback.ops.elementwise import where as where_op
from pullback.ops.index import gather, index_update, scatter_add
from pullback.ops.shape import broadcast_to, concatenate, reshape
from pullback.tape.node import Handle
from pullback.tensor.conversion import numbers
from pullback.tensor.dispatch import as_handle, to_dtype

__all__ = ["NEUTRAL", "reduced", "reduced_into"]

NEUTRAL: Final = {"sum": 0.0, "mean": 0.0, "prod": 1.0, "amax": -math.inf, "amin": math.inf}
_OPS: Final = {"prod": r.prod, "amax": r.amax, "amin": r.amin}


def _meeting(start: Any, values: Any, where: Any, size: int, kind: str) -> tuple[Any, Any]:
    """The reduction of the `values` (a vector) that `where` sends to each place, with `start` (a vector) if given.

    Returns the places that something is sent to, and their reductions in that order.
    """
    order = np.argsort(where, kind="stable")
    reached, first, counts = np.unique(where[order], return_index=True, return_counts=True)
    pool, base = values, 0
    if start is not None:
        pool, base = concatenate(start, values, axis=0), size
    widths = counts + (start is not None)
    classes = np.ceil(np.log2(np.maximum(widths, 1))).astype(np.int64)
    results, places = [], []
    for number in np.unique(classes):
        rows = np.flatnonzero(classes == number)
        width = int(widths[rows].max())
        column = np.arange(width)
        if start is not None:  # the first column is what stands there already, then those sent
            sent = first[rows, None] + column - 1
            chosen = np.where(column == 0, reached[rows, None], base + order[np.minimum(sent, len(order) - 1)])
        else:
            chosen = order[np.minimum(first[rows, None] + column, len(order) - 1)]
        present = column < widths[rows, None]
        picked = gather(pool, np.where(present, chosen, 0))
        if not present.all():
            picked = where_op(present, picked, _neutral(kind, values))
        results.append(_OPS[kind](picked, axis=(1,), keepdims=False))
        places.append(reached[rows])
    if not results:
        return reached, values[:0]
    return np.concatenate(places), results[0] if len(results) == 1 else concatenate(*results, axis=0)


def _neutral(kind: str, x: Any) -> Any:
    """The number that does not count in a reduction, in the dtype of `x`."""
    dtype = x.dtype if not isinstance(x, Handle) else x._value.dtype
    if dtype.kind in "iu" and kind in ("amax", "amin"):
        info = np.iinfo(dtype)
        return int(info.min if kind == "amax" else info.max)
    return NEUTRAL[kind] if dtype.kind in "fc" else int(NEUTRAL[kind])


def reduced(x: Any, values: Any, where: Any, kind: str, include_self: bool) -> Any:
    """The vector `x` with the `values` that the vector `where` sends to each place reduced there."""
    size = int(x.shape[0])
    if kind in ("sum", "mean"):
        total = scatter_add(values, where, shape=(size,))
        counts = scatter_add(np.ones(where.shape, np.int64), where, shape=(size,))
        if not include_self:
            x = where_op(counts == 0, x, 0.0 if x._value.dtype.kind in "fc" else 0)
        total = x + total
        if kind == "sum":
            return total
        counts = counts + 1 if include_self else counts + (counts == 0)
        counts = to_dtype(as_handle(counts), np.dtype(np.int64))
        if x._value.dtype.kind not in "fc":
            return total // counts
        return total / to_dtype(counts, x._value.dtype)
    where = numbers(where, f"the index of a reduction by {kind!r}") if isinstance(where, Handle) else where
    places, found = _meeting(x if include_self else None, values, where, size, kind)
    return index_update(x, found, places)


def reduced_into(x: Any, part: Any, indices: tuple[Any, ...], kind: str, include_self: bool) -> Any:
    """`x` with the entries of `part` reduced into the places that `indices`, broadcast to its shape, name."""
    shape = tuple(x._value.shape)
    common = tuple(part.shape)
    flat: Any = 0
    for n, index in zip(shape, indices, strict=True):
        flat = flat * n + index
    flat = broadcast_to(flat, shape=common) if tuple(flat.shape) != common else flat
    count = math.prod(common)
    where = reshape(flat, shape=(count,))
    y = reduced(reshape(x, shape=(math.prod(shape),)), reshape(part, shape=(count,)), where, kind, include_self)
    return reshape(y, shape=shape)
