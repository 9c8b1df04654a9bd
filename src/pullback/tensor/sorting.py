"""Order, order statistics, search and counting, under PyTorch's names."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pullback.ops import compare as c
from pullback.ops import elementwise as e
from pullback.ops import shape as s
from pullback.ops.control import stop_gradient
from pullback.ops.index import along, gather, slice_, take_along
from pullback.ops.reduce import amax
from pullback.ops.selection import argmode
from pullback.ops.sort import argsort as argsort_op
from pullback.ops.sort import searchsorted as searchsorted_op
from pullback.tape.node import Handle, new_handle, wrap
from pullback.tensor.conversion import numbers
from pullback.tensor.dispatch import as_handle, is_raw, to_dtype
from pullback.tensor.operands import given_dim, rank
from pullback.tensor.reduction import check_filled, lone, picked, results
from pullback.values.dtype import promote, type_name
from pullback.values.shape import normalize_axis

__all__ = [
    "argsort",
    "argwhere",
    "bincount",
    "bucketize",
    "histc",
    "isin",
    "kthvalue",
    "median",
    "mode",
    "msort",
    "nanmedian",
    "nanquantile",
    "nonzero",
    "quantile",
    "searchsorted",
    "sort",
    "topk",
    "unique",
    "unique_consecutive",
]

_sorted, _top = gather.titled("SortBackward0"), gather.titled("TopkBackward0")


def _axis(dim: int, axis: int | None, x: Any) -> int:
    return normalize_axis(dim if axis is None else axis, rank(x))


# Order


def sort(input: Any, dim: int = -1, descending: bool = False, stable: bool = False, *, axis: int | None = None) -> Any:
    """The elements in order along `dim` and where they were, as a named tuple `(values, indices)`.

    Equal elements keep their order, `stable` or not; NaN counts as the largest.

    >>> import pullback as pb
    >>> pb.sort(pb.tensor([3.0, 1.0, 2.0])).indices
    tensor([1, 2, 0])
    """
    x = as_handle(input)
    at = _axis(dim, axis, x)
    if not rank(x):
        return lone("sort", x)
    index = argsort_op(x, axis=at, descending=bool(descending))
    return results["sort"](_sorted(x, *along(index, at)), wrap(index))


def argsort(
    input: Any, dim: int = -1, descending: bool = False, stable: bool = False, *, axis: int | None = None
) -> Any:
    """The indices that put the elements in order along `dim`; equal elements keep their order."""
    x = as_handle(input)
    at = _axis(dim, axis, x)
    return argsort_op(x, axis=at, descending=bool(descending)) if rank(x) else new_handle(np.int64(0))


def msort(input: Any) -> Any:
    """The elements in order along the first dimension."""
    return sort(input, 0).values


def _part(index: Any, axis: int, start: int, stop: int) -> Any:
    return slice_(index, index=(*(slice(None),) * axis, slice(start, stop)))


def topk(
    input: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True, *, axis: int | None = None
) -> Any:
    """The `k` largest (or smallest) elements along `dim`, in order, and where they are: `(values, indices)`.

    Raises `RuntimeError` if there are fewer.
    """
    x = as_handle(input)
    at = _axis(dim, axis, x)
    if not 0 <= k <= (x._value.shape[at] if rank(x) else 1):
        raise RuntimeError("selected index k out of range")
    if not rank(x):
        return lone("topk", x)
    index = _part(argsort_op(x, axis=at, descending=bool(largest)), at, 0, int(k))
    return results["topk"](_top(x, *along(index, at)), wrap(index))


def kthvalue(
    input: Any, k: int, dim: int = -1, keepdim: bool = False, *, axis: int | None = None, keepdims: bool = False
) -> Any:
    """The `k`-th smallest element along `dim` (counted from 1) and where it is: `(values, indices)`."""
    x = as_handle(input)
    at = _axis(dim, axis, x)
    if not 1 <= k <= (x._value.shape[at] if rank(x) else 1):
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {at}")
    if not rank(x):
        return lone("kthvalue", x)
    index = _part(argsort_op(x, axis=at), at, k - 1, k)
    return picked("kthvalue", x, at, index, keepdim or keepdims)


# Order statistics


def _middle(name: str, input: Any, dim: Any, keep: bool, axis: Any, skip_nan: bool) -> Any:
    x = as_handle(input)
    dim = given_dim(dim, axis)
    if dim is None:
        flat = s.reshape(x, shape=(math.prod(x._value.shape),))
        if not flat.shape[0]:
            return new_handle(x._value.dtype.type(math.nan))
        return _shared(name, flat, _middle(name, flat, 0, False, None, skip_nan).values)
    at = normalize_axis(dim, rank(x))
    if not rank(x):
        return lone(name, x)
    check_filled(x, (at,), name)
    order, count = argsort_op(x, axis=at), x._value.shape[at]
    nans = to_dtype(c.isnan(x), np.dtype(np.int64)) if x._value.dtype.kind == "f" else None
    place: Any = (count - 1) // 2
    if nans is not None:
        missing = s.sum_(nans, axis=(at,), keepdims=True)
        if skip_nan:
            known = e.maximum(count - 1 - missing, 0)
            place = to_dtype(e.floor(known / 2), np.dtype(np.int64))
        else:  # the first NaN, if there is one
            place = e.where(c.greater(missing, 0), count - missing, place)
    if not isinstance(place, Handle):
        shape = tuple(1 if i == at else n for i, n in enumerate(x._value.shape))
        place = np.full(shape, place)
    return picked(name, x, at, take_along(order, place, at), keep)


_medians = {
    "median": amax.titled("MedianBackward0"),
    "nanmedian": amax.titled("NanmedianBackward0"),
}


def _shared(name: str, flat: Any, found: Any) -> Any:
    """`found` as the largest of what is not beyond it in `flat`: all elements equal to it share its gradient."""
    if flat._value.dtype.kind != "f":
        return found
    found = stop_gradient(found)
    beyond = c.logical_or(c.greater(flat, found), c.not_equal(c.isnan(flat), c.isnan(found)))
    return _medians[name](e.where(beyond, -math.inf, flat), axis=(0,), keepdims=False)


def median(
    input: Any, dim: int | None = None, keepdim: bool = False, *, axis: int | None = None, keepdims: bool = False
) -> Any:
    """The median: the lower of the two middle elements; NaN if there is one. With `dim`, `(values, indices)`."""
    return _middle("median", input, dim, keepdim or keepdims, axis, False)


def nanmedian(
    input: Any, dim: int | None = None, keepdim: bool = False, *, axis: int | None = None, keepdims: bool = False
) -> Any:
    """The median of what is not NaN: the lower of the two middle elements. With `dim`, `(values, indices)`."""
    return _middle("nanmedian", input, dim, keepdim or keepdims, axis, True)


def mode(input: Any, dim: int = -1, keepdim: bool = False, *, axis: int | None = None, keepdims: bool = False) -> Any:
    """The most frequent element along `dim`, the smallest of equally frequent ones, and where it last is."""
    x = as_handle(input)
    at = _axis(dim, axis, x)
    if not rank(x):
        return lone("mode", x)
    check_filled(x, (at,), "mode")
    return picked("mode", x, at, wrap(argmode(x, axis=at)), keepdim or keepdims)


def _quantile(input: Any, q: Any, dim: Any, keep: bool, interpolation: str, skip_nan: bool) -> Any:
    x = as_handle(input)
    at_q = as_handle(q)
    dtype = x._value.dtype
    if dtype.kind != "f" or dtype.itemsize < 4:
        raise RuntimeError("quantile() input tensor must be either float or double dtype")
    if isinstance(q, Handle) and at_q._value.dtype != dtype:
        raise RuntimeError("quantile() q tensor must be same dtype as the input tensor")
    if rank(at_q) > 1:
        raise RuntimeError("quantile() q must be a scalar or 1D tensor")
    if is_raw(at_q) and not all(0 <= level <= 1 for level in np.ravel(at_q._value)):
        raise RuntimeError(f"quantile() q must be in the range [0, 1] but got {q}")
    ndim = rank(x)
    if dim is None:
        x, kept = s.reshape(x, shape=(math.prod(x._value.shape),)), (1,) * ndim if keep else ()
        at = 0
    else:
        at = normalize_axis(dim, ndim)
        kept = tuple(1 if i == at else n for i, n in enumerate(x._value.shape) if keep or i != at)
        if not ndim:
            x = s.reshape(x, shape=(1,))
    count = x.shape[at]
    if not count:
        raise RuntimeError("quantile() input tensor must be non-empty")
    line = take_along(x, argsort_op(x, axis=at), at)
    missing = s.sum_(to_dtype(c.isnan(x), dtype), axis=(at,), keepdims=True)
    last = (count - 1) - missing if skip_nan else new_handle(np.full(missing.shape, count - 1, dtype))
    last = e.maximum(last, 0.0)
    found = []
    for level in s.unbind(s.reshape(to_dtype(at_q, dtype), shape=(math.prod(at_q._value.shape),)), axis=0):
        place = last * level
        if not skip_nan:
            place = e.where(c.greater(missing, 0.0), last, place)  # NaN comes last
        low, high = e.floor(place), e.ceil(place)
        if interpolation == "lower":
            high = low
        elif interpolation == "higher":
            low = high
        elif interpolation == "nearest":
            low = high = e.round_(place)
        a, b = (take_along(line, to_dtype(i, np.dtype(np.int64)), at) for i in (low, high))
        y = a + (b - a) * (0.5 if interpolation == "midpoint" else place - low)
        found.append(s.reshape(y, shape=kept))
    return s.stack(*found, axis=0) if rank(at_q) else found[0]


def quantile(
    input: Any,
    q: Any,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
    axis: int | None = None,
    keepdims: bool = False,
) -> Any:
    """The quantiles `q` (a number or a vector, in [0, 1]) along `dim`, or of all elements; NaN if there is one.

    `interpolation` between the two nearest elements: 'linear', 'lower', 'higher', 'midpoint' or 'nearest'. The first
    dimension of the result is that of `q`, if it has one.
    """
    return _quantile(input, q, given_dim(dim, axis), keepdim or keepdims, interpolation, False)


def nanquantile(
    input: Any,
    q: Any,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
    axis: int | None = None,
    keepdims: bool = False,
) -> Any:
    """`quantile` of what is not NaN."""
    return _quantile(input, q, given_dim(dim, axis), keepdim or keepdims, interpolation, True)


# Distinct elements


def unique(
    input: Any,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
    *,
    axis: int | None = None,
) -> Any:
    """The distinct elements in order (or slices along `dim`); with `return_inverse` also where each element
    went, with `return_counts` how often each occurs. Not differentiable.
    """
    array = np.asarray(numbers(as_handle(input), "unique()"))
    found = np.unique(array, return_inverse=True, return_counts=True, axis=given_dim(dim, axis), equal_nan=False)
    return _distinct(found, return_inverse, return_counts)


def _distinct(found: Any, return_inverse: bool, return_counts: bool) -> Any:
    chosen = [found[0], *([found[1]] if return_inverse else ()), *([found[2]] if return_counts else ())]
    parts = tuple(new_handle(np.asarray(part)) for part in chosen)
    return parts if len(parts) > 1 else parts[0]


def unique_consecutive(
    input: Any, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The elements (or slices along `dim`) without immediate repetitions; options as for `unique`."""
    array = np.asarray(numbers(as_handle(input), "unique_consecutive()"))
    lines = array.reshape(-1) if dim is None else np.moveaxis(array, dim, 0)
    rows = lines.reshape(len(lines), -1)
    new = np.concatenate([[True] * bool(len(rows)), (rows[1:] != rows[:-1]).any(1)]).astype(bool)
    values = lines[new] if dim is None else np.moveaxis(lines[new], 0, dim)
    inverse = np.cumsum(new) - 1
    counts = np.diff(np.append(np.nonzero(new)[0], len(rows)))
    return _distinct(
        (values, inverse.reshape(array.shape if dim is None else -1), counts), return_inverse, return_counts
    )


# Search


def searchsorted(
    sorted_sequence: Any, input: Any, *, out_int32: bool = False, right: bool = False, side: str | None = None
) -> Any:
    """Where each value goes in the ordered last dimension of `sorted_sequence`: before equal elements, or with `right`
    (`side="right"`) after them.

    The other dimensions of both are the same, unless the sequence has one dimension or the value is a number.
    """
    lines = as_handle(sorted_sequence)
    values = as_handle(input)
    if side is not None and side not in ("left", "right"):
        raise RuntimeError(f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}")
    if right and side == "left":
        raise RuntimeError(
            "torch.searchsorted(): side and right can't be set to opposites, got side of left and right=True"
        )
    shape, own = tuple(lines._value.shape), tuple(values._value.shape)
    if len(shape) != 1 and shape[:-1] != own[:-1]:
        raise RuntimeError(
            "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 dimensions of boundaries "
            f"tensor and input value tensor must match, but we got boundaries tensor {list(shape)} and input value "
            f"tensor {list(own)}"
        )
    dtype = promote((lines._value.dtype, 1, None), (values._value.dtype, 1, None))
    found = searchsorted_op(
        to_dtype(lines, dtype), to_dtype(values, dtype), side="right" if right or side == "right" else "left"
    )
    return to_dtype(wrap(found), np.dtype(np.int32)) if out_int32 else wrap(found)


def bucketize(input: Any, boundaries: Any, *, out_int32: bool = False, right: bool = False) -> Any:
    """The number of the interval between the ordered `boundaries` in which each element is."""
    if rank(as_handle(boundaries)) != 1:
        raise RuntimeError("bucketize(): boundaries tensor must be 1 dimension")
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Any:
    """Whether each element is one of the test elements."""
    a, b = (np.asarray(numbers(as_handle(x), "isin()")) for x in (elements, test_elements))
    return new_handle(np.isin(a, b, invert=invert))


def nonzero(input: Any, *, as_tuple: bool = False) -> Any:
    """The indices of the elements that are not 0, one a row; or as a tuple of vectors, one for each dimension."""
    array = np.asarray(numbers(as_handle(input), "nonzero()"))
    if as_tuple:
        return tuple(new_handle(found) for found in np.nonzero(np.atleast_1d(array)))
    return new_handle(np.argwhere(array))


def argwhere(input: Any) -> Any:
    """The indices of the elements that are not 0, one a row."""
    return nonzero(input)


# Counting


def bincount(input: Any, weights: Any = None, minlength: int = 0) -> Any:
    """How often each non-negative integer occurs, or the sums of the weights of its occurrences; at least `minlength`
    numbers. Not differentiable.
    """
    x = np.asarray(numbers(as_handle(input), "bincount()"))
    if x.dtype.kind not in "iu":
        raise NotImplementedError(f'"bincount_cpu" not implemented for {type_name(x.dtype)!r}')
    if x.ndim != 1 or (x.size and x.min() < 0):
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    if weights is None:
        return new_handle(np.bincount(x, minlength=minlength).astype(np.int64))
    w = np.asarray(numbers(as_handle(weights), "bincount()"))
    if w.shape != x.shape:
        raise RuntimeError("weights should be 1-d and have the same length as input")
    total = np.bincount(x, w, minlength)
    return new_handle(total.astype(w.dtype if w.dtype == np.float32 else np.float64))


def histc(input: Any, bins: int = 100, min: float = 0, max: float = 0) -> Any:
    """How many elements are in each of `bins` equal intervals of [min, max] (of the data's range, if both are equal).

    Elements outside are left out. Raises `RuntimeError` for integers or an infinite range.
    """
    x = np.asarray(numbers(as_handle(input), "histc()"))
    if x.dtype.kind != "f":
        raise NotImplementedError(f'"histogram_cpu" not implemented for {type_name(x.dtype)!r}')
    if bins <= 0:
        raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {bins} for dimension 0")
    low, high = float(min), float(max)
    if low == high and x.size:
        low, high = float(x.min()), float(x.max())
    if low == high:
        low, high = low - 1, high + 1
    if not (math.isfinite(low) and math.isfinite(high)) or low > high:
        raise RuntimeError(f"range of [{low}, {high}] is not finite" if low <= high else "max must be larger than min")
    return new_handle(np.histogram(x, bins, (low, high))[0].astype(x.dtype))


class SortMethods:
    """Order and search as methods of `Tensor`."""

    sort = sort
    argsort = argsort
    msort = msort
    topk = topk
    kthvalue = kthvalue
    median = median
    nanmedian = nanmedian
    mode = mode
    quantile = quantile
    nanquantile = nanquantile
    unique = unique
    unique_consecutive = unique_consecutive
    nonzero = nonzero
    argwhere = argwhere
    bincount = bincount
    histc = histc
