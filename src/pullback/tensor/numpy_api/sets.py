"""NumPy's sets: distinct elements, unions, intersections, membership.

What they choose depends on the numbers, which must be known. The elements keep their slopes: each goes back to the
first element of the operand that is equal to it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pullback.tensor.indexing import getitem
from pullback.tensor.numpy_api import shapes
from pullback.tensor.numpy_api.operands import lift, one_axis, promoted, rank, raw, shape_of
from pullback.tensor.numpy_api.shapes import index_at
from pullback.tensor.numpy_api.table import implements

# The results of NumPy's functions of the array API, by the names of their parts.


class UniqueAllResult(NamedTuple):
    """Distinct elements, where each was first, where each element went, and how often each occurs."""

    values: Any
    indices: Any
    inverse_indices: Any
    counts: Any


class UniqueCountsResult(NamedTuple):
    """Distinct elements and how often each occurs."""

    values: Any
    counts: Any


class UniqueInverseResult(NamedTuple):
    """Distinct elements and where each element went."""

    values: Any
    inverse_indices: Any


def _numbers(x: Any, name: str) -> Any:
    return np.asarray(raw(x, f"{name}'s operand"))


@implements("unique")
def unique(
    ar: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    *,
    equal_nan: bool = True,
    sorted: bool = True,
) -> Any:
    x = lift(ar)
    _, first, inverse, counts = np.unique(_numbers(x, "unique"), True, True, True, axis=axis, equal_nan=equal_nan)
    line, at = (shapes.ravel(x), 0) if axis is None else (x, one_axis(axis, rank(x)))
    values = getitem(line, index_at(at, first))
    wanted = ((return_index, first), (return_inverse, inverse), (return_counts, counts))
    parts = (values, *(lift(part) for asked, part in wanted if asked))
    return parts if len(parts) > 1 else values


@implements("unique_values")
def unique_values(x: Any) -> Any:
    return unique(x, equal_nan=False)


@implements("unique_counts")
def unique_counts(x: Any) -> UniqueCountsResult:
    return UniqueCountsResult(*unique(x, return_counts=True, equal_nan=False))


@implements("unique_inverse")
def unique_inverse(x: Any) -> UniqueInverseResult:
    return UniqueInverseResult(*unique(x, return_inverse=True, equal_nan=False))


@implements("unique_all")
def unique_all(x: Any) -> UniqueAllResult:
    return UniqueAllResult(*unique(x, True, True, True, equal_nan=False))


def _kept(x: Any, places: Any) -> Any:
    return getitem(shapes.ravel(x), (np.asarray(places),))


@implements("intersect1d")
def intersect1d(ar1: Any, ar2: Any, assume_unique: bool = False, return_indices: bool = False) -> Any:
    a, b = promoted(lift(ar1), lift(ar2))
    _, first, second = np.intersect1d(_numbers(a, "intersect1d"), _numbers(b, "intersect1d"), assume_unique, True)
    common = _kept(a, first)
    return (common, lift(first), lift(second)) if return_indices else common


@implements("union1d")
def union1d(ar1: Any, ar2: Any) -> Any:
    return unique(shapes.concatenate((ar1, ar2), axis=None))


@implements("setdiff1d")
def setdiff1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> Any:
    x = shapes.ravel(ar1) if assume_unique else unique(ar1)
    return _kept(x, np.flatnonzero(~np.isin(_numbers(x, "setdiff1d"), _numbers(ar2, "setdiff1d"))))


@implements("setxor1d")
def setxor1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> Any:
    a, b = (shapes.ravel(x) if assume_unique else unique(x) for x in (ar1, ar2))
    x = shapes.concatenate((a, b))
    _, first, counts = np.unique(_numbers(x, "setxor1d"), return_index=True, return_counts=True)
    return _kept(x, first[counts == 1])


@implements("isin")
def isin(
    element: Any, test_elements: Any, assume_unique: bool = False, invert: bool = False, *, kind: Any = None
) -> Any:
    return lift(np.isin(_numbers(element, "isin"), _numbers(test_elements, "isin"), assume_unique, invert, kind=kind))


@implements("trim_zeros")
def trim_zeros(filt: Any, trim: str = "fb", axis: Any = None) -> Any:
    x = lift(filt)
    places = np.argwhere(_numbers(x, "trim_zeros"))
    axes = range(rank(x)) if axis is None else [one_axis(i, rank(x)) for i in np.atleast_1d(axis)]
    parts = [slice(None)] * rank(x)
    for i in axes:
        size = shape_of(x)[i]
        if not len(places):
            parts[i] = slice(0, 0)
            continue
        low, high = int(places[:, i].min()), int(places[:, i].max()) + 1
        parts[i] = slice(low if "f" in trim.lower() else 0, high if "b" in trim.lower() else size)
    return getitem(x, tuple(parts))
