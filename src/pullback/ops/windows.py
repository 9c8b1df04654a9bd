"""Sliding windows over the trailing axes: taking them apart (im2col), adding them back, and the largest of each.

A window holds `kernel` elements, `dilation` apart; windows begin `stride` apart on the operand with `padding` around
it. Nothing is padded: for each of the few offsets in the window one strided slice of the operand holds that element of
every window, less those that lie in the padding, so each op here is a loop over offsets.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pullback.ops import window_lowerings as lowerings
from pullback.ops.samples import Sample, integers, normal, spread
from pullback.ops.shape import with_batch
from pullback.ops.table import Op, linear, nondifferentiable
from pullback.values.shape import Shape, Spec

__all__ = ["Window", "fold", "unfold", "window_argmax", "window_index", "window_pick", "window_place"]

Slices = tuple[Any, ...]


class Window(NamedTuple):
    """The geometry of sliding windows, a number or a pair (padding before and after) for each axis."""

    kernel: Shape
    stride: Shape
    padding: tuple[tuple[int, int], ...]
    dilation: Shape

    def out(self, size: Sequence[int]) -> Shape:
        """How many windows there are along each axis of an operand of this size; negative where none fits."""
        return tuple(
            (n + before + after - d * (k - 1) - 1) // s + 1
            for n, k, s, (before, after), d in zip(size, *self, strict=True)
        )

    def slices(self, size: Shape, out: Shape) -> Sequence[tuple[Shape, Slices, Slices]]:
        """For each offset in the window: the offset, which windows have an element there, and those elements."""
        return _slices(self, size, out)


def _axis_slices(
    n: int, out: int, kernel: int, stride: int, padding: tuple[int, int], dilation: int
) -> list[tuple[int, slice, slice]]:
    found = []
    for k in range(kernel):
        start = k * dilation - padding[0]
        first = max(0, -(start // stride))
        last = min(out - 1, (n - 1 - start) // stride)
        if first <= last:
            place = slice(first * stride + start, last * stride + start + 1, stride)
            found.append((k, slice(first, last + 1), place))
    return found


@functools.lru_cache(maxsize=1024)
def _slices(window: Window, size: Shape, out: Shape) -> list[tuple[Shape, Slices, Slices]]:
    axes = [_axis_slices(*axis) for axis in zip(size, out, *window, strict=True)]
    return [
        (
            tuple(k for k, _, _ in combination),
            tuple(windows for _, windows, _ in combination),
            tuple(places for _, _, places in combination),
        )
        for combination in itertools.product(*axes)
    ]


def _divided(shape: Shape, window: Window) -> tuple[Shape, Shape]:
    """Leading axes, and as many trailing ones as a window has."""
    at = len(shape) - len(window.kernel)
    return shape[:at], shape[at:]


# Windows taken apart and added back


def columns(x: Any, window: Window) -> Any:
    """x (*, *size) as (*, *kernel, *out): the elements of every window."""
    lead, size = _divided(x.shape, window)
    out = window.out(size)
    slices = window.slices(size, out)
    inside = len(slices) == math.prod(window.kernel) and all(
        t == slice(0, n) for _, windows, _ in slices for t, n in zip(windows, out, strict=True)
    )
    y = (np.empty if inside else np.zeros)((*lead, *window.kernel, *out), x.dtype)
    for offset, windows, places in slices:
        y[(..., *offset, *windows)] = x[(..., *places)]
    return y


def add_columns(y: Any, x: Any, window: Window) -> None:
    """Add to x (*, *size) what the columns y (*, *kernel, *out) hold of each element."""
    size = _divided(x.shape, window)[1]
    out = y.shape[len(y.shape) - len(size) :]
    for offset, windows, places in window.slices(size, out):
        x[(..., *places)] += y[(..., *offset, *windows)]


def _fold(y: Any, window: Window, size: Shape) -> Any:
    x = np.zeros((*y.shape[: len(y.shape) - 2 * len(size)], *size), y.dtype)
    add_columns(y, x, window)
    return x


def _unfold_shape(x: Spec, window: Window) -> Spec:
    lead, size = _divided(x.shape, window)
    return Spec((*lead, *window.kernel, *window.out(size)), x.dtype)


_WINDOWS = (
    ((5,), Window((2,), (1,), ((0, 0),), (1,))),
    ((2, 6), Window((3,), (2,), ((1, 2),), (1,))),
    ((2, 5, 4), Window((2, 3), (2, 1), ((1, 0), (1, 1)), (2, 1))),
    ((6, 5), Window((2, 2), (3, 2), ((-1, 0), (0, -1)), (1, 2))),
)

unfold: Op = linear(
    "unfold",
    columns,
    lambda g, _y, x, window: fold(g, window=window, size=_divided(x.shape, window)[1]),
    shape=_unfold_shape,
    batch=lambda size, args, batched, window: unfold(*args, window=window),
    lower=lowerings.unfold,
    samples=[Sample(normal(*shape), window=window) for shape, window in _WINDOWS],
    title="Im2ColBackward0",
    doc="Windows over the trailing axes: x (*, *size) as (*, *kernel, *out), 0 in the padding.",
)
fold: Op = linear(
    "fold",
    _fold,
    lambda g, _y, _x, window, size: unfold(g, window=window),
    shape=lambda y, window, size: Spec((*y.shape[: len(y.shape) - 2 * len(size)], *size), y.dtype),
    batch=lambda count, args, batched, window, size: fold(*args, window=window, size=size),
    lower=lowerings.fold,
    samples=[
        Sample(normal(*_unfold_shape(Spec(shape, np.dtype(float)), window).shape), window=window, size=shape[-n:])
        for shape, window in _WINDOWS
        for n in (len(window.kernel),)
    ],
    title="Col2ImBackward0",
    doc="The transpose of `unfold`: windows (*, *kernel, *out) added up where they overlap, as (*, *size).",
)


# The largest element of each window. Which it is, is a number below the kernel's size: small, and its transpose needs
# no scatter.

_MANY = 128  # offsets, above which the windows are laid out and searched at once


def _offset_type(window: Window) -> np.dtype[Any]:
    return np.min_scalar_type(math.prod(window.kernel))


def _numbered(window: Window, size: Shape, out: Shape) -> list[tuple[int, Slices, Slices]]:
    return [
        (int(np.ravel_multi_index(offset, window.kernel)), windows, places)
        for offset, windows, places in window.slices(size, out)
    ]


def _largest(x: Any, window: Window) -> Any:
    lead, size = _divided(x.shape, window)
    out = window.out(size)
    dtype = _offset_type(window)
    if math.prod(window.kernel) > _MANY and not any(map(any, window.padding)):
        laid = columns(x, window).reshape(*lead, -1, *out)
        return laid.argmax(len(lead)).astype(dtype)
    lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    best = np.full((*lead, *out), lowest, x.dtype)
    which = np.full(best.shape, np.iinfo(dtype).max, dtype)
    nan = x.dtype.kind == "f" and bool(np.isnan(x).any())
    for number, windows, places in reversed(_numbered(window, size, out)):  # the first of equals is met last
        candidate, seen, chosen = x[(..., *places)], best[(..., *windows)], which[(..., *windows)]
        with np.errstate(invalid="ignore"):
            larger = candidate >= seen
        if nan:
            larger |= candidate != candidate
        chosen ^= (chosen ^ dtype.type(number)) & _mask(larger, dtype)
        np.maximum(seen, candidate, out=seen)
    return which


# Conditions that hold here and there are slow to branch on, so elements are chosen by masking bits.

_UNSIGNED = {n: np.dtype(f"u{n}") for n in (1, 2, 4, 8)}


def _mask(condition: Any, dtype: np.dtype[Any]) -> Any:
    """All bits where the condition holds, none elsewhere."""
    mask = condition.astype(dtype)
    return np.negative(mask, out=mask)


def _where(condition: Any, x: Any) -> Any:
    """x where the condition holds, 0 elsewhere."""
    bits = _UNSIGNED.get(x.dtype.itemsize) if x.dtype.kind in "fiu" else None
    if bits is None:
        return np.where(condition, x, x.dtype.type(0))
    return np.bitwise_and(x.view(bits), _mask(condition, bits)).view(x.dtype)


def _reduced(x: Spec, window: Window) -> Shape:
    lead, size = _divided(x.shape, window)
    return (*lead, *window.out(size))


def _pick(x: Any, which: Any, window: Window) -> Any:
    lead, size = _divided(x.shape, window)
    y = np.zeros((*lead, *which.shape[len(lead) :]), x.dtype)
    for number, windows, places in _numbered(window, size, which.shape[len(lead) :]):
        y[(..., *windows)] += _where(which[(..., *windows)] == number, x[(..., *places)])
    return y


def _place(g: Any, which: Any, window: Window, size: Shape) -> Any:
    lead, out = _divided(g.shape, window)
    x = np.zeros((*lead, *size), g.dtype)
    for number, windows, places in _numbered(window, size, out):
        x[(..., *places)] += _where(which[(..., *windows)] == number, g[(..., *windows)])
    return x


_MAXIMA = (
    ((5,), Window((2,), (1,), ((0, 0),), (1,))),
    ((2, 6), Window((3,), (2,), ((1, 2),), (1,))),
    ((2, 5, 4), Window((2, 3), (2, 1), ((1, 0), (1, 1)), (2, 1))),
    ((12, 13), Window((12, 11), (1, 2), ((0, 0), (0, 0)), (1, 1))),
)

window_argmax: Op = nondifferentiable(
    "window_argmax",
    _largest,
    shape=lambda x, window: Spec(_reduced(x, window), _offset_type(window)),
    batch=lambda size, args, batched, window: window_argmax(*args, window=window),
    lower=lowerings.window_argmax,
    samples=[Sample(spread(*shape), window=window) for shape, window in _MAXIMA],
    doc="The offset of the largest element of each window, counted along the kernel: the first of equals, a NaN if "
    "there is one.",
)
window_pick: Op = linear(
    "window_pick",
    _pick,
    lambda g, _y, x, which, window: window_place(g, which, window=window, size=_divided(x.shape, window)[1]),
    None,
    shape=lambda x, which, window: Spec(which.shape, x.dtype),
    batch=lambda size, args, batched, window: window_pick(*with_batch(size, args, batched), window=window),
    lower=lowerings.window_pick,
    samples=[
        Sample(
            normal(*shape),
            integers(math.prod(window.kernel), *_reduced(Spec(shape, np.dtype(float)), window)),
            window=window,
        )
        for shape, window in _MAXIMA
    ],
    title="MaxPool2DWithIndicesBackward0",
    doc="The element of each window at the offset `which`; 0 where that lies in the padding.",
)
window_place: Op = linear(
    "window_place",
    _place,
    lambda g, _y, _x, which, window, size: window_pick(g, which, window=window),
    None,
    shape=lambda g, which, window, size: Spec((*_divided(g.shape, window)[0], *size), g.dtype),
    batch=lambda count, args, batched, window, size: window_place(
        *with_batch(count, args, batched), window=window, size=size
    ),
    lower=lowerings.window_place,
    samples=[
        Sample(
            normal(*_reduced(Spec(shape, np.dtype(float)), window)),
            integers(math.prod(window.kernel), *_reduced(Spec(shape, np.dtype(float)), window)),
            window=window,
            size=shape[-len(window.kernel) :],
        )
        for shape, window in _MAXIMA
    ],
    doc="The transpose of `window_pick`: zeros of `size` with g added at the offset `which` of each window.",
)


def _index(which: Any, window: Window, size: Shape) -> Any:
    out = _divided(which.shape, window)[1]
    offsets = np.unravel_index(np.minimum(which.astype(np.int64), math.prod(window.kernel) - 1), window.kernel)
    index: Any = 0
    for i, (n, m, _, s, (before, _), d, offset) in enumerate(zip(size, out, *window, offsets, strict=True)):
        begin = (np.arange(m) * s - before).reshape(-1, *(1,) * (len(out) - 1 - i))
        index = index * n + offset * d + begin
    return index


window_index: Op = nondifferentiable(
    "window_index",
    _index,
    shape=lambda which, window, size: Spec(which.shape, np.dtype(np.int64)),
    batch=lambda count, args, batched, window, size: window_index(*args, window=window, size=size),
    lower=lowerings.window_index,
    samples=[
        Sample(
            integers(math.prod(window.kernel), *_reduced(Spec(shape, np.dtype(float)), window)),
            window=window,
            size=shape[-len(window.kernel) :],
        )
        for shape, window in _MAXIMA
    ],
    doc="The offset `which` in each window as an index into the flattened trailing axes of the operand.",
)
