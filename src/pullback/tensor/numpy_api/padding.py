"""numpy.pad, by every mode: one axis after the other, as NumPy does it, which decides the corners."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.ops import elementwise as e
from pullback.ops.index import embed
from pullback.tape.node import Handle
from pullback.tensor.indexing import getitem
from pullback.tensor.numpy_api import creation, reductions, selecting, shapes, statistics
from pullback.tensor.numpy_api.operands import broadcast, dtype_of, lift, rank, raw, shape_of, with_dtype
from pullback.tensor.numpy_api.shapes import index_at
from pullback.tensor.numpy_api.table import implements

Widths = tuple[int, int]
_OPTIONS: dict[Any, dict[str, Any]] = {
    "constant": {"constant_values": 0},
    "linear_ramp": {"end_values": 0},
    "maximum": {"stat_length": None},
    "minimum": {"stat_length": None},
    "mean": {"stat_length": None},
    "median": {"stat_length": None},
    "edge": {},
    "wrap": {},
    "empty": {},
    "reflect": {"reflect_type": "even"},
    "symmetric": {"reflect_type": "even"},
}
_STATISTICS: dict[str, Callable[..., Any]] = {
    "maximum": reductions.max,
    "minimum": reductions.min,
    "mean": reductions.mean,
    "median": statistics.median,
}


@implements("pad")
def pad(array: Any, pad_width: Any, mode: Any = "constant", **kwargs: Any) -> Any:
    """With slopes in the fills of `constant` and `linear_ramp` too; `empty` is filled with 0."""
    x = lift(array)
    pairs = _pairs(pad_width, rank(x))
    if min((n for pair in pairs for n in pair), default=0) < 0:
        raise ValueError("index can't contain negative values")
    if callable(mode):
        return _by_function(x, pairs, mode, kwargs)
    if mode not in _OPTIONS:
        raise ValueError(f"mode '{mode}' is not supported")
    unknown = set(kwargs) - set(_OPTIONS[mode])
    if unknown:
        raise ValueError(f"unsupported keyword arguments for mode '{mode}': {unknown}")
    options = {**_OPTIONS[mode], **kwargs}
    if mode == "empty" or (mode == "constant" and _is_zero(options["constant_values"])):
        return _framed(x, pairs)
    if mode in ("constant", "linear_ramp"):
        fills = lift(options["constant_values" if mode == "constant" else "end_values"])
        fills = shapes.broadcast_to(fills, (rank(x), 2))
        for axis, pair in enumerate(pairs):
            ends = [getitem(fills, (axis, side)) for side in (0, 1)]
            x = (_constant if mode == "constant" else _ramp)(x, axis, pair, ends)
        return x
    if mode in _STATISTICS:
        lengths = options["stat_length"]
        lengths = [(None, None)] * rank(x) if lengths is None else _pairs(lengths, rank(x))
        for axis, (pair, length) in enumerate(zip(pairs, lengths, strict=True)):
            x = _statistic(x, axis, pair, length, mode) if any(pair) else x
        return x
    odd = options.get("reflect_type") == "odd"
    for axis, pair in enumerate(pairs):
        if odd:
            x = _odd(x, axis, pair, int(mode == "reflect"))
        elif any(pair):
            x = getitem(x, index_at(axis, np.pad(np.arange(shape_of(x)[axis]), pair, mode)))
    return x


def _pairs(widths: Any, ndim: int) -> list[Widths]:
    """How many before and after along each axis."""
    if isinstance(widths, dict):
        pairs = [(0, 0)] * ndim
        for axis, width in widths.items():
            pairs[axis] = tuple(np.broadcast_to(width, 2).tolist())
        return pairs
    numbers = np.asarray(raw(widths, "pad_width") if isinstance(widths, Handle) else widths)
    if numbers.dtype.kind not in "iu":
        raise TypeError("`pad_width` must be of integral type.")
    return [(int(before), int(after)) for before, after in np.broadcast_to(numbers, (ndim, 2))]


def _is_zero(fills: Any) -> bool:
    leaves = _flat(fills)
    return not any(isinstance(fill, Handle) for fill in leaves) and not any(np.any(fill) for fill in leaves)


def _flat(nested: Any) -> list[Any]:
    return [leaf for part in nested for leaf in _flat(part)] if isinstance(nested, list | tuple) else [nested]


def _framed(x: Any, pairs: list[Widths]) -> Any:
    shape = shape_of(x)
    inside = tuple(slice(before, before + n) for n, (before, _) in zip(shape, pairs, strict=True))
    return embed(x, index=inside, shape=tuple(n + before + after for n, (before, after) in zip(shape, pairs)))


def _joined(x: Any, axis: int, before: Any, after: Any) -> Any:
    return shapes.concatenate([with_dtype(part, dtype_of(x)) for part in (before, x, after)], axis)


def _strip(x: Any, axis: int, width: int) -> tuple[int, ...]:
    """The shape of what goes beside x along an axis."""
    return tuple(width if i == axis else n for i, n in enumerate(shape_of(x)))


def _constant(x: Any, axis: int, pair: Widths, fills: list[Any]) -> Any:
    return _joined(x, axis, *(broadcast(fill, _strip(x, axis, n)) for fill, n in zip(fills, pair, strict=True)))


def _ramp(x: Any, axis: int, pair: Widths, ends: list[Any]) -> Any:
    size = shape_of(x)[axis]
    edges = [getitem(x, index_at(axis, i)) for i in (0, size - 1)]
    before, after = (
        creation.linspace(end, edge, width, endpoint=False, axis=axis)
        for end, edge, width in zip(ends, edges, pair, strict=True)
    )
    if dtype_of(x).kind in "iu":
        before, after = e.floor(before), e.floor(after)
    return _joined(x, axis, before, shapes.flip(after, axis))


def _statistic(x: Any, axis: int, pair: Widths, lengths: tuple[Any, Any], mode: str) -> Any:
    size = shape_of(x)[axis]
    parts = []
    for width, length, first in zip(pair, lengths, (True, False), strict=True):
        count = size if length is None else min(int(length), size)
        if count == 0 and mode in ("maximum", "minimum"):
            raise ValueError("stat_length of 0 yields no value for padding")
        part = getitem(x, index_at(axis, slice(None, count) if first else slice(size - count, None)))
        found = _STATISTICS[mode](part, axis=axis, keepdims=True)
        if dtype_of(x).kind in "iu":
            found = selecting.round(found)
        parts.append(broadcast(found, _strip(x, axis, width)))
    return _joined(x, axis, *parts)


def _odd(x: Any, axis: int, pair: Widths, skipped: int) -> Any:
    """Turned about the edges, over and over; the edge itself is not repeated if it is `skipped`."""
    left, right = pair
    while left or right:
        size = shape_of(x)[axis]
        if size == 1 and skipped:
            return getitem(x, index_at(axis, np.pad(np.arange(1), (left, right), "edge")))
        room = size - skipped
        before, after = min(left, room), min(right, room)
        edges = [getitem(x, index_at(axis, slice(i, i + 1))) for i in (0, size - 1)]
        start = slice(skipped, skipped + before)
        stop = slice(size - skipped - after, size - skipped)
        turned = [shapes.flip(getitem(x, index_at(axis, part)), axis) for part in (start, stop)]
        x = _joined(x, axis, *(e.sub(e.mul(edge, 2), part) for edge, part in zip(edges, turned, strict=True)))
        left, right = left - before, right - after
    return x


def _by_function(x: Any, pairs: list[Widths], function: Any, kwargs: dict[str, Any]) -> Any:
    """`function(line, (before, after), axis, kwargs)` writes into each line along each axis."""
    y = _framed(x, pairs)
    for axis, pair in enumerate(pairs):
        lines = shapes.moveaxis(y, axis, -1)
        for place in np.ndindex(shape_of(lines)[:-1]):
            part = getitem(lines, place)
            result = function(part, pair, axis, kwargs)
            if result is not None:
                part[...] = result
    return y
