"""Native lowerings of the ops on sliding windows. A transpose gathers: each element adds up the windows it lies in.

`window` is a `windows.Window`. `at` ends in one index for each axis of the windows or of their operand.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pullback.ops.lowering import Element
from pullback.ops.movement import both, chosen, divided, held, within
from pullback.values.shape import Shape

__all__ = ["fold", "unfold", "window_argmax", "window_index", "window_pick", "window_place"]

_MANY = 64  # offsets in a window, above which code with a term for each is too long


def _offsets(window: Any) -> Iterator[tuple[int, Shape]]:
    return enumerate(itertools.product(*map(range, window.kernel)))


def _begin(windows: Sequence[Any], window: Any) -> list[Any]:
    """Where on the operand windows begin."""
    return [i * s - p[0] for i, s, p in zip(windows, window.stride, window.padding, strict=True)]


def _member(b: Any, x: Any, lead: Sequence[Any], begin: Sequence[Any], offset: Sequence[Any], window: Any) -> Any:
    """Whether the element at an offset in a window lies on the operand, and the element."""
    inside, places = None, []
    shape = x.shape[len(lead) :]
    for i, k, n, (before, after), d in zip(begin, offset, shape, window.padding, window.dilation, strict=True):
        i = i + k * d
        if before > 0 or after > 0:
            inside = both(inside, within(i, n))
            i = held(b, i, n)
        places.append(i)
    return inside, x(*lead, *places)


def _windows_at(b: Any, places: Sequence[Any], offset: Shape, out: Shape, window: Any) -> Any:
    """Whether there is a window that has the element at `places` at this offset, and which."""
    inside, found = None, []
    geometry = zip(places, offset, out, window.stride, window.padding, window.dilation, strict=True)
    for i, k, n, stride, (before, _), dilation in geometry:
        whole, at = divided(b, i + (before - k * dilation), stride)
        inside = both(inside, whole, within(at, n))
        found.append(held(b, at, n))
    return inside, found


def _sum(x: Any, y: Any) -> Any:
    return x | y if x.dtype.kind == "b" else x + y


def _unfold(b: Any, at: Sequence[Any], x: Any, window: Any) -> Any:
    if 0 in x.shape:
        return NotImplemented
    rank = len(window.kernel)
    lead, offset, windows = at[: -2 * rank], at[-2 * rank : -rank], at[-rank:]
    inside, found = _member(b, x, lead, _begin(windows, window), offset, window)
    return chosen(b, inside, found, 0)


def _fold(b: Any, at: Sequence[Any], y: Any, window: Any, size: Shape) -> Any:
    rank = len(size)
    out = y.shape[-rank:]
    if 0 in y.shape or math.prod(window.kernel) > _MANY:
        return NotImplemented
    total: Any = None
    for _, offset in _offsets(window):
        inside, windows = _windows_at(b, at[-rank:], offset, out, window)
        term = chosen(b, inside, y(*at[:-rank], *offset, *windows), 0)
        total = term if total is None else _sum(total, term)
    return total


def _window_argmax(b: Any, at: Sequence[Any], x: Any, window: Any) -> Any:
    """From the last offset to the first, so that the first of equals is met last."""
    rank = len(window.kernel)
    if 0 in x.shape or math.prod(window.kernel) > _MANY:
        return NotImplemented
    begin = _begin(at[-rank:], window)
    none = np.iinfo(np.min_scalar_type(math.prod(window.kernel))).max
    which = b.constant(int(none), np.int64)
    best = None
    for number, offset in reversed(list(_offsets(window))):
        inside, found = _member(b, x, at[:-rank], begin, offset, window)
        if best is None:
            lowest = -math.inf if found.dtype.kind == "f" else int(np.iinfo(found.dtype).min)
            best = b.constant(lowest, found.dtype)
        taken = found >= best
        if found.dtype.kind == "f":
            taken = taken | b.isnan(found)
        which = b.where(both(inside, taken), number, which)
        best = chosen(b, inside, b.maximum(best, found), best)
    return which


def _unravelled(b: Any, which: Any, kernel: Shape) -> tuple[Any, list[Any]]:
    """Whether a number is one of an offset in a window, and the offset."""
    number = b.cast(which, np.int64)
    count = math.prod(kernel)
    rest, offset = held(b, number, count), []
    for k in kernel:
        count //= k
        place = b.divide(rest, count) if count > 1 and not isinstance(rest, int) else rest
        offset.append(place)
        rest = rest - place * count
    return within(number, math.prod(kernel)), offset


def _window_pick(b: Any, at: Sequence[Any], x: Any, which: Any, window: Any) -> Any:
    rank = len(window.kernel)
    if 0 in x.shape or which.shape[:-rank] != x.shape[:-rank]:
        return NotImplemented
    known, offset = _unravelled(b, which(*at), window.kernel)
    inside, found = _member(b, x, at[:-rank], _begin(at[-rank:], window), offset, window)
    return b.where(both(known, inside), found, 0)


def _window_place(b: Any, at: Sequence[Any], g: Any, which: Any, window: Any, size: Shape) -> Any:
    rank = len(size)
    if 0 in g.shape or which.shape != g.shape or math.prod(window.kernel) > _MANY:
        return NotImplemented
    total: Any = None
    for number, offset in _offsets(window):
        inside, windows = _windows_at(b, at[-rank:], offset, g.shape[-rank:], window)
        index = (*at[:-rank], *windows)
        mine = b.equal(b.cast(which(*index), np.int64), number)
        term = b.where(both(inside, mine), g(*index), 0)
        total = term if total is None else _sum(total, term)
    return total


def _window_index(b: Any, at: Sequence[Any], which: Any, window: Any, size: Shape) -> Any:
    _, offset = _unravelled(b, b.minimum(b.cast(which(*at), np.int64), math.prod(window.kernel) - 1), window.kernel)
    index: Any = 0
    for i, k, n, d in zip(_begin(at[-len(size) :], window), offset, size, window.dilation, strict=True):
        index = i + k * d + index * n
    return index


unfold, fold = Element(_unfold), Element(_fold)
window_argmax, window_index = Element(_window_argmax), Element(_window_index)
window_pick, window_place = Element(_window_pick), Element(_window_place)
