"""NumPy's counts: bins and histograms. Counts have no slope; weights have, and so have edges made from the data."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pullback.ops import compare as c
from pullback.ops import elementwise as e
from pullback.ops import sort as sorting
from pullback.ops.index import scatter_add
from pullback.tape.node import Handle
from pullback.tensor.dispatch import is_raw, to_dtype
from pullback.tensor.indexing import getitem
from pullback.tensor.numpy_api import creation, reductions, shapes, signals
from pullback.tensor.numpy_api.operands import (
    dtype_of,
    inexact,
    lift,
    promoted,
    rank,
    raw,
    shape_of,
    with_dtype,
)
from pullback.tensor.numpy_api.table import implements

_INT = np.dtype(np.int64)


@implements("bincount")
def bincount(x: Any, /, weights: Any = None, minlength: int = 0) -> Any:
    """How often each number from 0 occurs, or the sum of its weights."""
    places = lift(x)
    if dtype_of(places).kind not in "biu":
        raise TypeError("Cannot cast array data from floats to int64 according to the rule 'safe'")
    if rank(places) != 1:
        raise ValueError("object of too small depth for desired array" if not rank(places) else "object too deep")
    numbers = raw(places, "bincount's operand")
    if numbers.size and numbers.min() < 0:
        raise ValueError("'list' argument must have no negative elements")
    size = max(int(numbers.max()) + 1 if numbers.size else 0, int(minlength))
    if weights is None:
        return lift(np.bincount(numbers, minlength=size))
    heavy = with_dtype(weights, np.float64)
    if shape_of(heavy) != shape_of(places):
        raise ValueError("The weights and list don't have the same length.")
    return scatter_add(heavy, np.asarray(numbers, np.int64), shape=(size,))


@implements("digitize")
def digitize(x: Any, bins: Any, right: bool = False) -> Any:
    """In which bin each element lies; the direction of the bins must be known."""
    edges = lift(bins)
    numbers = np.asarray(raw(edges, "digitize's bins"))
    if rank(edges) != 1:
        raise ValueError("object too deep for desired array" if rank(edges) else "object of too small depth")
    falling = numbers.size > 1 and bool(numbers[0] > numbers[-1])
    steps = np.diff(numbers)
    if np.any(steps > 0 if falling else steps < 0):
        raise ValueError("bins must be monotonically increasing or decreasing")
    values, edges = promoted(lift(x), edges)
    side = "left" if right else "right"
    if not falling:
        return sorting.searchsorted(edges, values, side=side)
    return e.sub(numbers.size, sorting.searchsorted(shapes.flip(edges), values, side=side))


# Histograms


def _span(x: Any, given: Any) -> tuple[Any, Any]:
    """The first and the last edge: as given, or the extremes of x, half a unit apart from a single value."""
    if given is not None:
        low, high = (float(raw(v, "a histogram's range")) for v in given)
        if low > high:
            raise ValueError("max must be larger than min in range parameter.")
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(f"supplied range of [{low}, {high}] is not finite")
        return (low - 0.5, high + 0.5) if low == high else (low, high)
    if not math.prod(shape_of(x)):
        return 0.0, 1.0
    low, high = inexact(reductions.min(x)), inexact(reductions.max(x))
    if is_raw(low) and not (np.isfinite(low._value) and np.isfinite(high._value)):
        raise ValueError(f"autodetected range of [{low._value}, {high._value}] is not finite")
    half = e.where(c.equal(low, high), 0.5, 0.0)
    return e.sub(low, with_dtype(half, dtype_of(low))), e.add(high, with_dtype(half, dtype_of(high)))


def _edges(x: Any, bins: Any, given: Any, weights: Any = None) -> Any:
    """The edges of the bins along one direction."""
    if isinstance(bins, str):
        if weights is not None:
            raise TypeError("Automated estimation of the number of bins is not supported for weighted data")
        numbers = np.asarray(raw(x, "the number of bins"))
        bins = len(np.histogram_bin_edges(numbers, bins, given)) - 1
    if np.ndim(bins) == 0 if not isinstance(bins, Handle) else not rank(bins):
        count = int(raw(bins, "the number of bins"))
        if count < 1:
            raise ValueError("`bins` must be positive, when an integer")
        kind = dtype_of(x) if dtype_of(x).kind == "f" else np.float64
        return with_dtype(creation.linspace(*_span(x, given), count + 1), kind)
    edges = lift(bins)
    if rank(edges) != 1:
        raise ValueError("`bins` must be 1d, when an array")
    if is_raw(edges) and np.any(edges._value[1:] < edges._value[:-1]):
        raise ValueError("`bins` must increase monotonically, when an array")
    return edges


def _bins(x: Any, edges: Any) -> tuple[Any, Any]:
    """The bin of each element, held within the bins, and whether it is in one; the last edge belongs to the last."""
    x, edges = promoted(x, edges)
    last = shape_of(edges)[0] - 1
    place = sorting.searchsorted(edges, x, side="right")
    place = e.where(c.equal(x, getitem(edges, last)), last, place)
    inside = c.logical_and(c.greater_equal(place, 1), c.less_equal(place, last))
    return e.clamp(e.sub(place, 1), min=0, max=max(last - 1, 0)), inside


def _totals(place: Any, inside: Any, weights: Any, size: int) -> Any:
    """The sum of the weights, or the count, in each bin."""
    if weights is None:
        return scatter_add(to_dtype(inside, _INT), place, shape=(size,))
    return scatter_add(e.where(inside, weights, 0 if dtype_of(weights).kind in "iu" else 0.0), place, shape=(size,))


def _weights(weights: Any, shape: Any) -> Any:
    if weights is None:
        return None
    heavy = lift(weights)
    if shape_of(heavy) != shape:
        raise ValueError("weights should have the same shape as a.")
    return to_dtype(shapes.ravel(heavy), _INT) if dtype_of(heavy).kind == "b" else shapes.ravel(heavy)


@implements("histogram")
def histogram(a: Any, bins: Any = 10, range: Any = None, density: bool = False, weights: Any = None) -> Any:
    whole = lift(a)
    heavy, x = _weights(weights, shape_of(whole)), shapes.ravel(whole)
    edges = _edges(x, bins, range, heavy)
    counts = _totals(*_bins(x, edges), heavy, shape_of(edges)[0] - 1)
    if density:
        widths = inexact(signals.diff(edges))
        share = e.div(*promoted(counts, widths, 1.0)[:2])
        counts = e.div(*promoted(share, reductions.sum(counts)))
    return counts, edges


@implements("histogram_bin_edges")
def histogram_bin_edges(a: Any, bins: Any = 10, range: Any = None, weights: Any = None) -> Any:
    x = shapes.ravel(a)
    return _edges(x, bins, range, weights)


@implements("histogramdd")
def histogramdd(
    sample: Any, bins: Any = 10, range: Any = None, density: bool = False, weights: Any = None
) -> tuple[Any, tuple[Any, ...]]:
    if isinstance(sample, list | tuple):
        points = shapes.transpose(shapes.atleast_2d(lift(sample)))
    else:
        points = lift(sample)
        points = shapes.reshape(points, (-1, 1)) if rank(points) == 1 else points
    count, directions = shape_of(points)
    heavy = _weights(weights, (count,))
    if isinstance(bins, int | np.integer | str):
        bins = [bins] * directions
    if len(bins) != directions:
        raise ValueError("The dimension of bins must be equal to the dimension of the sample x.")
    if range is not None and len(range) != directions:
        raise ValueError("range argument must have one entry per dimension")
    ranges = range or (None,) * directions
    place: Any = 0
    inside: Any = True
    edges, sizes = [], []
    for i, (given, span) in enumerate(zip(bins, ranges, strict=True)):
        x = getitem(points, (slice(None), i))
        edges.append(_edges(x, given, span))
        sizes.append(shape_of(edges[-1])[0] - 1)
        here, within = _bins(x, edges[-1])
        place, inside = e.add(here, e.mul(place, sizes[-1]) if i else 0), c.logical_and(within, inside)
    heavy = lift(np.ones(count)) if heavy is None else with_dtype(heavy, np.float64)
    table = shapes.reshape(_totals(place, inside, heavy, math.prod(sizes)), tuple(sizes))
    if density:
        total = reductions.sum(table)
        for i, edge in enumerate(edges):
            widths = shapes.reshape(signals.diff(edge), (-1,) + (1,) * (directions - 1 - i))
            table = e.div(*promoted(table, widths))
        table = e.div(table, total)
    return table, tuple(edges)


@implements("histogram2d")
def histogram2d(
    x: Any, y: Any, bins: Any = 10, range: Any = None, density: bool = False, weights: Any = None
) -> tuple[Any, Any, Any]:
    a, b = lift(x), lift(y)
    if shape_of(a) != shape_of(b):
        raise ValueError("x and y must have the same length.")
    if not isinstance(bins, str | int) and (isinstance(bins, Handle) or len(bins) not in (1, 2)):
        bins = [lift(bins)] * 2
    if isinstance(bins, list | tuple) and len(bins) == 1:
        bins = bins * 2
    table, edges = histogramdd([a, b], bins, range, density, weights)
    return table, *edges
