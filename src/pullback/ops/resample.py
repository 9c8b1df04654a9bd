"""Linear maps of one axis whose results read a few elements each: mean pooling, interpolation, padding by repetition.

A map is named by `Taps`: what it is and the lengths it is between; its coefficients are worked out once. In several
dimensions these maps are applied axis by axis. The transpose is the same map read the other way.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from pullback.ops.samples import Sample, normal
from pullback.ops.table import Op, linear
from pullback.values.shape import Spec

__all__ = ["Taps", "resample"]


class Taps(NamedTuple):
    """A map from `size` elements to `out`: its kind, a key of `KINDS`, and what else that takes."""

    kind: str
    size: int
    out: int
    options: tuple[Any, ...] = ()


Table = tuple[Any, Any]  # for each result, the elements it reads and their weights: both (out, some)
_Builder = Callable[..., Table]


def _clipped(index: Any, size: int) -> Any:
    return np.clip(index, 0, size - 1)


def _plain(index: Any) -> Table:
    """Each result is one element."""
    return index[:, None], np.ones((len(index), 1))


def _mean_of(first: Any, last: Any, divisor: Any) -> Table:
    """Each result is the sum of the elements in [first, last) over a divisor."""
    offsets = np.arange(max(int((last - first).max(initial=0)), 1))
    source = first[:, None] + offsets
    inside = source < last[:, None]
    return np.where(inside, source, 0), inside / np.maximum(divisor, 1)[:, None]


def _windows(size: int, out: int, kernel: int, stride: int, padding: int, count: str) -> Table:
    """Sums over windows: divided by their lengths "with" padding or "without" it, or by nothing ("none")."""
    begin = np.arange(out) * stride - padding
    end = np.minimum(begin + kernel, size + padding)
    first, last = np.maximum(begin, 0), np.minimum(end, size)
    divisors = {"with": end - begin, "without": last - first, "none": np.ones(out)}
    return _mean_of(first, last, divisors[count])


def _parts(size: int, out: int) -> Table:
    """Means over `out` parts that cover the axis and may share an element with their neighbours."""
    first, last = part_bounds(size, out)
    return _mean_of(first, last, last - first)


def part_bounds(size: int, out: int) -> tuple[Any, Any]:
    """Where the `out` parts of an axis begin and end."""
    i = np.arange(out)
    return i * size // out, -(-(i + 1) * size // out)


def _nearest(size: int, out: int, scale: float | None, half: float) -> Table:
    """PyTorch's rounding, which is in single precision whatever the operand."""
    i = np.arange(out)
    if out == 2 * size:
        return _plain(i // 2)
    step = np.float32(1 / scale if scale else size / out)
    return _plain(_clipped(np.floor((i + half).astype(np.float32) * step).astype(np.int64), size))


def _step(size: int, out: int, align: bool, scale: float | None) -> float:
    if align:
        return (size - 1) / (out - 1) if out > 1 else 0.0
    return 1 / scale if scale else size / out


def _positions(size: int, out: int, align: bool, scale: float | None) -> Any:
    """Where the results lie between the elements, numbered from 0."""
    step, i = _step(size, out, align, scale), np.arange(out)
    return i * step if align else (i + 0.5) * step - 0.5


def _linear(size: int, out: int, align: bool, scale: float | None) -> Table:
    at = _clipped(_positions(size, out, align, scale), size)
    left = np.floor(at).astype(np.int64)
    share = at - left
    return np.stack([left, _clipped(left + 1, size)], 1), np.stack([1 - share, share], 1)


def cubic_weight(distance: Any, a: float) -> Any:
    """The cubic convolution kernel of Keys (1981) with its parameter a."""
    x = np.abs(distance)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def _cubic(size: int, out: int, align: bool, scale: float | None) -> Table:
    at = _positions(size, out, align, scale)
    source = np.floor(at).astype(np.int64)[:, None] + np.arange(-1, 3)
    return _clipped(source, size), cubic_weight(at[:, None] - source, -0.75)


def _smooth(size: int, out: int, align: bool, scale: float | None, reach: int) -> Table:
    """Interpolation whose kernel widens with the step when it shrinks (antialias)."""
    step = _step(size, out, align, scale)
    width = max(step, 1.0)
    centre = (np.arange(out) + 0.5) * step
    first = np.maximum((centre - reach * width + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + reach * width + 0.5).astype(np.int64), size)
    source, inside = _mean_of(first, last, np.ones(out))
    distance = (source + 0.5 - centre[:, None]) / width
    weight = np.maximum(1 - np.abs(distance), 0) if reach == 1 else cubic_weight(distance, -0.5)
    weight = weight * inside
    total = weight.sum(1, keepdims=True)
    return source, weight / np.where(total == 0, 1, total)


def _around(size: int, out: int, before: int, mode: str) -> Table:
    """Padding by what is inside; what is cut off takes no part in a circle."""
    i = np.arange(out) - before
    if mode == "circular":
        after = out - size - before
        first = max(-before, 0)
        return _plain((i - first) % (size + min(before, 0) + min(after, 0)) + first)
    if mode == "reflect":
        i = np.abs(i)
        i = np.where(i < size, i, 2 * (size - 1) - i)
    return _plain(_clipped(i, size))


KINDS: dict[str, _Builder] = {
    "windows": _windows,
    "parts": _parts,
    "nearest": _nearest,
    "linear": _linear,
    "cubic": _cubic,
    "smooth": _smooth,
    "around": _around,
}


# How a map is carried out: as one pass for each place in the list of what a result reads, or, where lists are long, by
# one pass over all reads and a sum over each list.

_LAYERS = 48


def _regular(index: Any) -> Any:
    """An index array as a slice, if it is one."""
    if len(index) < 2:
        return slice(int(index[0]), int(index[0]) + 1) if len(index) else slice(0, 0)
    step = int(index[1] - index[0])
    if step <= 0 or np.any(np.diff(index) != step):
        return index
    return slice(int(index[0]), int(index[-1]) + 1, step)


class _Plan(NamedTuple):
    layers: Sequence[tuple[Any, Any, Any]] | None  # places written, elements read, weights
    sums: tuple[Any, Any, Any, Any] | None  # elements read, weights, where each list begins, places written


def _weights(weight: Any) -> Any:
    """Weights that are all one number as that number; None for 1."""
    if len(weight) and np.all(weight == weight[0]):
        return None if weight[0] == 1 else float(weight[0])
    return weight


@functools.lru_cache(maxsize=512)
def _plan(taps: Taps, adjoint: bool) -> _Plan:
    source, weight = KINDS[taps.kind](taps.size, taps.out, *taps.options)
    target = np.broadcast_to(np.arange(taps.out)[:, None], source.shape)
    read = weight != 0
    source, target, weight = source[read], target[read], weight[read]
    if adjoint:
        order = np.argsort(source, kind="stable")
        source, target, weight = target[order], source[order], weight[order]
    places, begin, count = np.unique(target, return_index=True, return_counts=True)
    if not len(places):
        return _Plan((), None)
    if count.max() > _LAYERS:
        return _Plan(None, (_regular(source), _weights(weight), begin, _regular(places)))
    layers = []
    for j in range(count.max()):
        chosen = begin[count > j] + j
        layers.append((_regular(target[chosen]), _regular(source[chosen]), _weights(weight[chosen])))
    return _Plan(layers, None)


def _weighted(x: Any, weight: Any, axis: int) -> Any:
    if weight is None:
        return x
    if not isinstance(weight, float):
        weight = weight.astype(np.finfo(x.dtype).dtype).reshape(-1, *(1,) * (x.ndim - 1 - axis))
    return x * weight


def _resample(x: Any, axis: int, taps: Taps, adjoint: bool = False) -> Any:
    plan = _plan(taps, adjoint)
    lead = (slice(None),) * axis
    out = taps.size if adjoint else taps.out
    y = np.zeros((*x.shape[:axis], out, *x.shape[axis + 1 :]), x.dtype)
    if plan.sums is not None:
        source, weight, begin, places = plan.sums
        y[(*lead, places)] = np.add.reduceat(_weighted(x[(*lead, source)], weight, axis), begin, axis)
    for n, (places, source, weight) in enumerate(plan.layers or ()):
        if n:
            y[(*lead, places)] += _weighted(x[(*lead, source)], weight, axis)
        else:
            y[(*lead, places)] = _weighted(x[(*lead, source)], weight, axis)
    return y


def _shape(x: Spec, axis: int, taps: Taps, adjoint: bool = False) -> Spec:
    return Spec((*x.shape[:axis], taps.size if adjoint else taps.out, *x.shape[axis + 1 :]), x.dtype)


_SAMPLES = (
    Taps("windows", 5, 3, (2, 2, 1, "with")),
    Taps("windows", 5, 3, (3, 2, 1, "without")),
    Taps("windows", 5, 4, (2, 1, 0, "none")),
    Taps("parts", 5, 3),
    Taps("parts", 64, 1),
    Taps("nearest", 4, 7, (None, 0.0)),
    Taps("nearest", 4, 8, (2.0, 0.5)),
    Taps("linear", 4, 7, (True, None)),
    Taps("linear", 5, 3, (False, 0.7)),
    Taps("cubic", 4, 6, (False, None)),
    Taps("smooth", 7, 3, (False, None, 1)),
    Taps("smooth", 7, 3, (True, None, 2)),
    Taps("around", 4, 7, (2, "reflect")),
    Taps("around", 4, 7, (-1, "replicate")),
    Taps("around", 4, 7, (2, "circular")),
    Taps("around", 5, 5, (-1, "circular")),
)

resample: Op = linear(
    "resample",
    _resample,
    lambda g, _y, _x, axis, taps, adjoint=False: resample(g, axis=axis, taps=taps, adjoint=not adjoint),
    shape=_shape,
    batch=lambda size, args, batched, axis, taps, adjoint=False: resample(
        *args, axis=axis + 1, taps=taps, adjoint=adjoint
    ),
    samples=[
        *(Sample(normal(2, taps.size), axis=1, taps=taps) for taps in _SAMPLES),
        Sample(normal(5, 2), axis=0, taps=_SAMPLES[0]),
        Sample(normal(2, 3, 2), axis=1, taps=_SAMPLES[1], adjoint=True),
        Sample(normal(2, 1), axis=1, taps=_SAMPLES[4], adjoint=True),
    ],
    doc="The map `taps` along `axis`: each result a weighted sum of a few elements; with `adjoint` its transpose.",
)
