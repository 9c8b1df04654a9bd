"""NumPy's functions of sampled curves: differences, slopes, integrals, interpolation, phases and convolution."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pullback.ops import compare as c
from pullback.ops import convolve as conv
from pullback.ops import elementwise as e
from pullback.ops import scan
from pullback.ops import sort as sorting
from pullback.ops.control import stop_gradient
from pullback.ops.index import gather
from pullback.tensor.dispatch import to_dtype
from pullback.tensor.indexing import getitem
from pullback.tensor.numpy_api import reductions, shapes
from pullback.tensor.numpy_api.operands import (
    dtype_of,
    inexact,
    is_number,
    lift,
    one_axis,
    promoted,
    rank,
    shape_of,
    with_dtype,
)
from pullback.tensor.numpy_api.shapes import index_at
from pullback.tensor.numpy_api.table import implements
from pullback.tensor.shaping import conjugated

# Differences


@implements("diff")
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    if n < 0:
        raise ValueError(f"order must be non-negative but got {n}")
    x = lift(a)
    if not rank(x):
        raise ValueError("diff requires input that is at least one dimensional")
    axis = one_axis(axis, rank(x))
    edge = tuple(1 if i == axis else size for i, size in enumerate(shape_of(x)))
    ends = [
        None if v is None else shapes.broadcast_to(v, edge) if rank(lift(v)) == 0 else lift(v)
        for v in (prepend, append)
    ]
    if ends != [None, None]:
        x = shapes.concatenate([v for v in (ends[0], x, ends[1]) if v is not None], axis)
    for _ in range(n):
        if dtype_of(x).kind == "b":
            x = c.not_equal(_part(x, axis, 1, None), _part(x, axis, None, -1))
        else:
            x = conv.difference(x, axis=axis, full=False)
    return x


@implements("ediff1d")
def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    steps = diff(shapes.ravel(ary))
    parts = [to_begin, steps, to_end]
    return shapes.concatenate([shapes.ravel(with_dtype(v, dtype_of(steps))) for v in parts if v is not None])


def _part(x: Any, axis: int, start: int | None, stop: int | None) -> Any:
    return getitem(x, index_at(axis, slice(start, stop)))


def _along(steps: Any, axis: int, ndim: int) -> Any:
    """A line of numbers shaped to go along one axis of several."""
    return shapes.reshape(steps, (-1,) + (1,) * (ndim - 1 - axis))


@implements("gradient")
def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """Second order inside, first or second order at the ends; slopes with respect to the spacing too."""
    y = inexact(f)
    axes = tuple(range(rank(y))) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = tuple(one_axis(i, rank(y)) for i in axes)
    if len(varargs) not in (0, 1, len(axes)) or (len(varargs) == 1 and rank(lift(varargs[0])) and len(axes) != 1):
        raise TypeError("invalid number of arguments")
    if edge_order not in (1, 2):
        raise ValueError("'edge_order' greater than 2 not supported")
    spacings = varargs * len(axes) if len(varargs) == 1 else varargs or (1.0,) * len(axes)
    slopes = tuple(_slope(y, spacing, i, edge_order) for i, spacing in zip(axes, spacings, strict=True))
    return slopes if len(slopes) > 1 else slopes[0]


def _slope(y: Any, spacing: Any, axis: int, edge_order: int) -> Any:
    size = shape_of(y)[axis]
    if size < edge_order + 1:
        raise ValueError(
            "Shape of array too small to calculate a numerical gradient, at least (edge_order + 1) elements are "
            "required."
        )
    if is_number(spacing) or not rank(lift(spacing)):
        y, step = promoted(y, spacing)
        before = after = step
        first = last = (step, step)
    else:
        if rank(lift(spacing)) != 1:
            raise ValueError("distances must be either scalars or 1d")
        if shape_of(lift(spacing))[0] != size:
            raise ValueError("when 1d, distances must match the length of the corresponding dimension")
        steps = diff(spacing)
        y, steps = promoted(y, with_dtype(steps, np.promote_types(dtype_of(steps), np.float16)))
        before, after = (_along(_part(steps, 0, *ends), axis, rank(y)) for ends in ((None, -1), (1, None)))
        second = min(1, size - 2)  # of two samples the one step
        first, last = (getitem(steps, 0), getitem(steps, second)), (getitem(steps, -1), getitem(steps, -1 - second))
    parts = [_edge(y, axis, first, edge_order, 1)]
    if size > 2 and before is after:
        parts.append(e.div(e.sub(_part(y, axis, 2, None), _part(y, axis, None, -2)), e.mul(before, 2)))
    elif size > 2:
        rise = e.div(e.sub(_part(y, axis, 1, -1), _part(y, axis, None, -2)), before)
        fall = e.div(e.sub(_part(y, axis, 2, None), _part(y, axis, 1, -1)), after)
        share = e.div(before, e.add(before, after))
        parts.append(e.add(rise, e.mul(e.sub(fall, rise), share)))
    parts.append(_edge(y, axis, last, edge_order, -1))
    return shapes.concatenate(parts, axis)


def _edge(y: Any, axis: int, steps: tuple[Any, Any], order: int, sign: int) -> Any:
    """The one-sided slope at the first (sign 1) or last (sign -1) place."""

    def at(i: int) -> Any:
        place = i if sign > 0 else -1 - i
        return _part(y, axis, place, place + 1 or None)

    near = e.div(e.sub(at(1), at(0)), steps[0])
    if order == 2:
        far = e.div(e.sub(at(2), at(1)), steps[1])
        near = e.sub(near, e.mul(e.sub(far, near), e.div(steps[0], e.add(*steps))))
    return near if sign > 0 else e.neg(near)


@implements("trapezoid")
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    heights = lift(y)
    axis = one_axis(axis, rank(heights))
    if x is None:
        size = shape_of(heights)[axis]
        weights = np.full(size, float(size > 1), np.result_type(dtype_of(heights), 0.5))
        weights[[0, -1] if size else []] /= 2
        heights, scale, weights = promoted(heights, dx, weights)
        return e.mul(scale, reductions.sum(e.mul(heights, _along(weights, axis, rank(heights))), axis))
    steps = diff(x) if rank(lift(x)) == 1 else diff(x, axis=axis)
    steps = _along(steps, axis, rank(heights)) if rank(steps) == 1 else steps
    steps, late, early, half = promoted(steps, _part(heights, axis, 1, None), _part(heights, axis, None, -1), 0.5)
    return reductions.sum(e.mul(e.mul(steps, e.add(late, early)), half), axis)


# Between samples


@implements("interp")
def interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None) -> Any:
    """With slopes in x, xp and fp; at a sample the slope in x is the one to its right (at the last, to its left)."""
    x, xp = with_dtype(x, np.float64), with_dtype(xp, np.float64)
    fp = with_dtype(fp, np.complex128 if dtype_of(lift(fp)).kind == "c" else np.float64)
    if rank(xp) != 1 or rank(fp) != 1:
        raise ValueError("Data points must be 1-D sequences")
    if shape_of(xp) != shape_of(fp):
        raise ValueError("fp and xp are not of the same length.")
    if not shape_of(xp)[0]:
        raise ValueError("array of sample points is empty")
    if period is not None:
        if is_number(period) and period == 0:
            raise ValueError("period must be a non-zero value")
        period = e.abs_(with_dtype(period, np.float64))
        x, xp, left, right = e.remainder(x, period), e.remainder(xp, period), None, None
        order = sorting.argsort(xp, axis=0)
        xp, fp = gather(xp, order), gather(fp, order)
        xp = shapes.concatenate((e.sub(_part(xp, 0, -1, None), period), xp, e.add(_part(xp, 0, None, 1), period)))
        fp = shapes.concatenate((_part(fp, 0, -1, None), fp, _part(fp, 0, None, 1)))
    last = shape_of(xp)[0] - 1
    ends = [getitem(fp, i) if v is None else with_dtype(v, dtype_of(fp)) for i, v in ((0, left), (last, right))]
    if last:
        upper = e.clamp(sorting.searchsorted(xp, x, side="right"), min=1, max=last)
        lower = e.sub(upper, 1)
        x0, x1, f0, f1 = gather(xp, lower), gather(xp, upper), gather(fp, lower), gather(fp, upper)
        share, f0, f1 = promoted(e.div(e.sub(x, x0), e.sub(x1, x0)), f0, f1)
        y = e.add(f0, e.mul(share, e.sub(f1, f0)))
    else:
        y = e.add(getitem(fp, 0), e.mul(x, 0.0))
    y = e.where(c.less(x, getitem(xp, 0)), ends[0], y)
    return e.where(c.greater(x, getitem(xp, last)), ends[1], y)


@implements("unwrap")
def unwrap(p: Any, discont: Any = None, axis: int = -1, *, period: Any = 2 * math.pi) -> Any:
    """The corrections are whole periods, so the slope in p is 1."""
    x = lift(p)
    axis = one_axis(axis, rank(x))
    steps = stop_gradient(diff(x, axis=axis))
    whole = dtype_of(steps).kind in "iu" and isinstance(period, int)
    high = period // 2 if whole else period / 2
    steps, wrap, half = promoted(steps, period, high)
    turned = e.sub(e.remainder(e.add(steps, half), wrap), half)
    if not whole or period % 2 == 0:
        up = c.logical_and(c.equal(turned, e.neg(half)), c.greater(steps, 0))
        turned = e.where(up, half, turned)
    least = half if discont is None else e.maximum(*promoted(discont, half))
    jumps = e.where(c.less(e.abs_(steps), least), 0 if whole else 0.0, e.sub(turned, steps))
    x, jumps = promoted(x, scan.cumsum(jumps, axis=axis))
    return shapes.concatenate((_part(x, axis, None, 1), e.add(_part(x, axis, 1, None), jumps)), axis)


# Convolution


def _convolve(a: Any, v: Any, mode: str, mirrored: bool = False) -> Any:
    """The part of the full convolution that NumPy's `mode` names; `mirrored` if v was reversed: it moves the middle."""
    if mode not in ("full", "same", "valid"):
        raise ValueError(f"mode must be one of 'valid', 'same', or 'full' (got {mode!r})")
    a, v = promoted(shapes.atleast_1d(a), shapes.atleast_1d(v))
    if rank(a) != 1 or rank(v) != 1:
        raise ValueError("object too deep for desired array")
    if not shape_of(a)[0] or not shape_of(v)[0]:
        raise ValueError(f"{'a' if not shape_of(a)[0] else 'v'} cannot be empty")
    if dtype_of(a).kind == "b":
        return with_dtype(_convolve(to_dtype(a, np.dtype(int)), to_dtype(v, np.dtype(int)), mode, mirrored), bool)
    late = mirrored and shape_of(v)[0] > shape_of(a)[0]
    if shape_of(v)[0] > shape_of(a)[0]:
        a, v = v, a
    y = conv.convolve(a, v, full=mode != "valid")
    if mode == "same":
        start = (shape_of(v)[0] - (not late)) // 2
        y = _part(y, 0, start, start + shape_of(a)[0])
    return y


@implements("convolve")
def convolve(a: Any, v: Any, mode: str = "full") -> Any:
    return _convolve(a, v, mode)


@implements("correlate")
def correlate(a: Any, v: Any, mode: str = "valid") -> Any:
    return _convolve(a, conjugated(shapes.flip(shapes.atleast_1d(v))), mode, mirrored=True)
