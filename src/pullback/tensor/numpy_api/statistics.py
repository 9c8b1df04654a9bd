"""NumPy's order statistics: medians, quantiles and percentiles by every method, also skipping NaN or weighted."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from pullback.ops import compare as c
from pullback.ops import elementwise as e
from pullback.ops import reduce as r
from pullback.ops import scan
from pullback.ops.control import stop_gradient
from pullback.ops.index import gather, take_along
from pullback.ops.selection import argkth
from pullback.ops.sort import argsort
from pullback.tape.node import Handle
from pullback.tensor.dispatch import is_raw, to_dtype
from pullback.tensor.indexing import getitem
from pullback.tensor.numpy_api import products, reductions, selecting, shapes
from pullback.tensor.numpy_api.operands import (
    broadcast,
    deliver,
    dtype_of,
    inexact,
    is_number,
    lift,
    one_axis,
    promoted,
    rank,
    select,
    shape_of,
    with_dtype,
)
from pullback.tensor.numpy_api.table import implements
from pullback.tensor.shaping import conjugated

_INT = np.dtype(np.int64)


class _Spot(NamedTuple):
    """Between which ranks (from 0, not yet held within the line) a quantile lies, and how far along."""

    low: Any
    high: Any
    weight: Any


# The continuous methods of Hyndman and Fan, "Sample quantiles in statistical packages" (1996), by their two constants.
_CONTINUOUS = {
    "interpolated_inverted_cdf": (0.0, 1.0),
    "hazen": (0.5, 0.5),
    "weibull": (0.0, 0.0),
    "linear": (1.0, 1.0),
    "median_unbiased": (1 / 3, 1 / 3),
    "normal_unbiased": (3 / 8, 3 / 8),
}
_STEPS = ("inverted_cdf", "closest_observation", "lower", "higher", "nearest")  # they give elements
_METHODS = (*_CONTINUOUS, *_STEPS, "averaged_inverted_cdf", "midpoint")


def _spot(method: str, count: Any, q: Any) -> _Spot:
    """Where the quantiles q of `count` elements lie; both may be arrays or Tensors."""
    if method in _CONTINUOUS:
        alpha, beta = _CONTINUOUS[method]
        place = (count - 1) * q if method == "linear" else count * q + (alpha + q * (1 - alpha - beta)) - 1
        low = e.floor(stop_gradient(place))
        return _Spot(low, low + 1, place - low)
    q = stop_gradient(q)
    if method in ("inverted_cdf", "averaged_inverted_cdf"):
        place = count * q - 1
        low, high = (e.ceil(place), e.ceil(place)) if method == "inverted_cdf" else (e.floor(place), e.floor(place) + 1)
        return _Spot(low, high, e.where(c.equal(place, low), 0.5, place * 0.0 + 1.0))
    if method == "closest_observation":
        place = count * q - 1.5
        low = e.floor(place)
        odd = c.logical_and(c.equal(place, low), c.equal(e.remainder(low, 2.0), 1))
        found = e.where(odd, low, low + 1)
        return _Spot(found, found, found * 0.0)
    place = (count - 1) * q
    low, high = e.floor(place), e.ceil(place)
    if method == "midpoint":
        return _Spot(low, high, e.where(c.equal(low, high), 0.0, place * 0.0 + 0.5))
    found = {"lower": low, "higher": high}[method] if method != "nearest" else e.round_(place)
    return _Spot(found, found, found * 0.0)


def _lines(x: Any, axis: Any) -> tuple[Any, tuple[int, ...]]:
    """The elements that make one result along a last axis, and the shape of the results with the axes kept."""
    ndim = rank(x)
    if axis is None:
        return shapes.ravel(x), (1,) * ndim
    axes = tuple(one_axis(i, ndim) for i in (axis if isinstance(axis, tuple | list) else (axis,)))
    flat = shapes.moveaxis(x, axes, tuple(range(-len(axes), 0)))
    size = math.prod(shape_of(x)[i] for i in axes)
    flat = shapes.reshape(flat, (*shape_of(flat)[: ndim - len(axes)], size))
    return flat, tuple(1 if i in axes else n for i, n in enumerate(shape_of(x)))


def _within(place: Any, last: Any) -> Any:
    return e.maximum(e.minimum(place, last), 0.0)


def _at_fixed(line: Any, *places: Any) -> list[Any]:
    """The elements of the given ranks along the last axis, the ranks' axes in front."""
    ranks, where = np.unique(np.stack(places).astype(np.int64), return_inverse=True)
    axis = rank(line) - 1
    found = take_along(line, argkth(line, kth=tuple(ranks.tolist()), axis=axis), axis)
    front = shapes.moveaxis(found, -1, 0)
    return [gather(front, index) for index in where.reshape(len(places), *places[0].shape)]


def _at(line: Any, *places: Any) -> list[Any]:
    """`_at_fixed` for ranks that differ from line to line or are known as Tensors: `(ranks, *shape of the lines)`."""
    axis = rank(line) - 1
    ordered = take_along(line, argsort(line, axis=axis), axis)
    found = []
    for place in places:
        index = shapes.moveaxis(to_dtype(stop_gradient(lift(place)), _INT), 0, -1)
        found.append(shapes.moveaxis(take_along(ordered, index, axis), -1, 0))
    return found


def _between(low: Any, high: Any, weight: Any, average: bool) -> Any:
    """`low` moved towards `high`; an average does not subtract, so that infinities of one sign give one."""
    low, high, weight = promoted(low, high, weight)
    if average:
        return e.add(e.mul(low, e.sub(1.0, weight)), e.mul(high, weight))
    return e.add(low, e.mul(e.sub(high, low), weight))


def _levels(q: Any, dtype: np.dtype[Any]) -> Any:
    """The fractions q as floats: an array, or a Tensor if it was one. Raises `ValueError` if one is not in [0, 1]."""
    if isinstance(q, Handle):
        q = inexact(q)
    else:
        q = np.asarray(q, dtype if is_number(q) and dtype.kind == "f" else None)
        q = q if q.dtype.kind == "f" else q.astype(float)
    values: Any = q._value if isinstance(q, Handle) else q
    known = isinstance(values, np.ndarray | np.generic)
    if known and not np.all((values >= 0) & (values <= 1)):
        raise ValueError("Quantiles must be in the range [0, 1]")
    return q


def _quantiles(
    x: Any, q: Any, axis: Any, method: str, keepdims: Any, skip_nan: bool = False, average: bool = False
) -> Any:
    """Quantiles of the lines of x; the axes of q come first in the result."""
    if method not in _METHODS:
        raise ValueError(f"{method!r} is not a valid method. Use one of: {', '.join(map(repr, _METHODS))}")
    if dtype_of(x).kind == "c":
        raise TypeError("a must be an array of real numbers")
    q = _levels(q, dtype_of(x))
    line, kept = _lines(x, axis)
    *rest, count = shape_of(line)
    shape = (*q.shape, *(kept if keepdims else rest))
    if not count:
        return lift(np.full(shape, math.nan, np.result_type(dtype_of(x), np.float16)))
    wide = (math.prod(q.shape), *(1,) * len(rest))
    q = shapes.reshape(q, wide) if isinstance(q, Handle) else q.reshape(wide)
    missing = c.isnan(line) if dtype_of(x).kind == "f" else None
    if skip_nan and is_raw(line) and missing is not None and not missing._value.any():
        missing = None
    if skip_nan and missing is not None:
        known = r.sum_(with_dtype(c.logical_not(missing), q.dtype), axis=(len(rest),), keepdims=False)
        y = _picked(line, _spot(method, known, lift(q)), known - 1.0, method, average)
    else:
        y = _picked(line, _spot(method, count, q), float(count - 1), method, average)
        if missing is not None:
            whole = c.logical_not(r.any_(missing, axis=(len(rest),), keepdims=False))
            y = select(broadcast(whole, shape_of(y)), y, math.nan)
    return shapes.reshape(y, shape)


def _picked(line: Any, spot: _Spot, last: Any, method: str, average: bool) -> Any:
    """The numbers at a spot of each line, the quantiles along a first axis."""
    places = [e.maximum(e.minimum(place, last), 0.0) for place in spot[:2]]
    fixed = not isinstance(places[0], Handle)
    if fixed:
        low, high = _at_fixed(line, *(place.reshape(-1) for place in places))
    else:
        low, high = _at(line, *(broadcast(p, (shape_of(p)[0], *shape_of(line)[:-1])) for p in places))
    if method in _STEPS:
        return low
    same = c.equal(*places)
    if fixed:
        same = np.logical_or(same, spot.weight == 0)
    low, high, weight = promoted(low, high, spot.weight)
    return low if fixed and same.all() else e.where(lift(same), low, _between(low, high, weight, average))


@implements("quantile")
def quantile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: Any = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: Any = False,
    *,
    weights: Any = None,
) -> Any:
    """By every method, with slopes with respect to the order statistics and, where it varies continuously, to q.

    Of equal elements those count that a stable sort puts at the places in question. In q the slope is the one to the
    right, and 0 at the end.
    """
    if weights is None:
        return deliver(_quantiles(lift(a), q, axis, method, keepdims), out)
    return deliver(_weighted(lift(a), lift(weights), q, axis, method, keepdims), out)


@implements("nanquantile")
def nanquantile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: Any = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: Any = False,
    *,
    weights: Any = None,
) -> Any:
    """`quantile` of what is not NaN."""
    x = lift(a)
    if weights is None:
        return deliver(_quantiles(x, q, axis, method, keepdims, skip_nan=True), out)
    return deliver(_weighted(x, lift(weights), q, axis, method, keepdims, skip_nan=True), out)


def _hundredth(q: Any, a: Any) -> Any:
    return q / 100.0 if isinstance(q, Handle) or is_number(q) else np.asarray(q) / 100


@implements("percentile")
def percentile(a: Any, q: Any, *args: Any, **kwargs: Any) -> Any:
    return quantile(a, _hundredth(q, a), *args, **kwargs)


@implements("nanpercentile")
def nanpercentile(a: Any, q: Any, *args: Any, **kwargs: Any) -> Any:
    return nanquantile(a, _hundredth(q, a), *args, **kwargs)


@implements("median")
def median(a: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False, keepdims: Any = False) -> Any:
    """The middle element, or the average of the two. Of equal elements those count that a stable sort puts there."""
    return deliver(_quantiles(lift(a), 0.5, axis, "midpoint", keepdims, average=True), out)


@implements("nanmedian")
def nanmedian(a: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False, keepdims: Any = False) -> Any:
    """`median` of what is not NaN."""
    return deliver(_quantiles(lift(a), 0.5, axis, "midpoint", keepdims, skip_nan=True, average=True), out)


def _weighted(x: Any, w: Any, q: Any, axis: Any, method: str, keepdims: Any, skip_nan: bool = False) -> Any:
    """The first element at which the cumulated weights reach the fraction q of their sum; no slope in the weights."""
    if method != "inverted_cdf":
        raise ValueError(f"Only method 'inverted_cdf' supports weights. Got: {method}.")
    if shape_of(w) != shape_of(x):
        if axis is None:
            raise TypeError("Axis must be specified when shapes of a and weights differ.")
        w = reductions.weights_along(w, shape_of(x), axis)
    q = stop_gradient(lift(_levels(q, dtype_of(x))))
    line, kept = _lines(x, axis)
    heavy, _ = _lines(with_dtype(stop_gradient(w), np.float64), axis)
    last = rank(line) - 1
    missing = c.isnan(line)
    if skip_nan:
        heavy = e.where(missing, 0.0, heavy)
    order = argsort(line, axis=last)
    line = take_along(line, order, last)
    cumulated = scan.cumsum(take_along(heavy, order, last), axis=last)
    fraction = e.div(cumulated, getitem(cumulated, (Ellipsis, slice(-1, None))))
    fraction = to_dtype(e.where(c.equal(fraction, 0), -1.0, fraction), dtype_of(q))
    levels = shapes.reshape(q, (math.prod(shape_of(q)), *(1,) * rank(line)))
    before = r.sum_(to_dtype(c.less(fraction, levels), _INT), axis=(last + 1,), keepdims=False)
    place = e.minimum(before, shape_of(line)[-1] - 1)
    y = shapes.moveaxis(take_along(line, shapes.moveaxis(place, 0, -1), last), -1, 0)
    if not skip_nan:
        whole = c.logical_not(r.any_(missing, axis=(last,), keepdims=False))
        y = select(broadcast(whole, shape_of(y)), y, math.nan)
    return shapes.reshape(y, (*shape_of(q), *(kept if keepdims else shape_of(line)[:-1])))


# Covariance


@implements("cov")
def cov(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: Any = None,
    aweights: Any = None,
    *,
    dtype: Any = None,
) -> Any:
    if ddof is not None and ddof != int(ddof):
        raise ValueError("ddof must be integer")
    ddof = int(ddof) if ddof is not None else 0 if bias else 1
    x = _variables("m", m, rowvar, dtype)
    if y is not None:
        x = shapes.concatenate((x, _variables("y", y, rowvar, dtype)), 0)
    weights = None
    for name, given in (("fweights", fweights), ("aweights", aweights)):
        if given is None:
            continue
        w = lift(given)
        if name == "fweights" and is_raw(w) and np.any(w._value != np.around(w._value)):
            raise TypeError("fweights must be integer")
        if rank(w) > 1:
            raise RuntimeError(f"cannot handle multidimensional {name}")
        if shape_of(w)[0] != shape_of(x)[1]:
            raise RuntimeError(f"incompatible numbers of samples and {name}")
        w = with_dtype(w, np.float64)
        weights = w if weights is None else e.mul(weights, w)
    if weights is None:
        free: Any = float(max(shape_of(x)[1] - ddof, 0))
    else:
        total = reductions.sum(weights)
        lost = total if aweights is None else reductions.sum(e.mul(weights, with_dtype(aweights, np.float64)))
        free = e.maximum(e.sub(total, e.div(e.mul(lost, float(ddof)), total)), 0.0)
    apart = e.sub(x, shapes.expand_dims(reductions.average(x, 1, weights), 1))
    right = apart if weights is None else e.mul(*promoted(apart, weights))
    product = products.matmul(apart, conjugated(shapes.transpose(right)))
    return shapes.squeeze(e.div(*promoted(product, free)))


def _variables(name: str, m: Any, rowvar: bool, dtype: Any) -> Any:
    """The observations of some variables, a variable a row."""
    x = lift(m)
    if rank(x) > 2:
        raise ValueError(f"{name} has more than 2 dimensions")
    x = with_dtype(x, np.promote_types(dtype_of(x), np.float64) if dtype is None else dtype)
    return shapes.transpose(x) if rank(x) == 2 and not rowvar else shapes.atleast_2d(x)


@implements("corrcoef")
def corrcoef(x: Any, y: Any = None, rowvar: bool = True, *, dtype: Any = None) -> Any:
    table = cov(x, y, rowvar, dtype=dtype)
    if not rank(table):
        return e.div(table, table)
    spread = e.sqrt(selecting.real_(selecting.diagonal(table)))
    across, down = promoted(shapes.expand_dims(spread, 1), spread, table)[:2]
    result = e.div(e.div(table, across), down)
    return result if dtype_of(result).kind == "c" else selecting.clip(result, -1.0, 1.0)
