"""NumPy's reductions and scans: sums, means, extrema, spread, tests, counts, and their NaN-skipping kin."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pullback.ops import compare as c
from pullback.ops import elementwise as e
from pullback.ops import reduce as r
from pullback.ops import scan
from pullback.ops.shape import concatenate, reshape, transpose
from pullback.ops.table import Op
from pullback.tensor.dispatch import is_raw, to_dtype
from pullback.tensor.numpy_api.operands import (
    all_axes,
    broadcast,
    deliver,
    dtype_of,
    inexact,
    lift,
    one_axis,
    promoted,
    rank,
    select,
    shape_of,
    with_dtype,
)
from pullback.tensor.numpy_api.shapes import line
from pullback.tensor.numpy_api.table import implements
from pullback.values.shape import Shape


def _apply(op: Op, x: Any, axis: Any, keepdims: Any, **params: Any) -> Any:
    return op(x, axis=all_axes(axis, rank(x)), keepdims=bool(keepdims), **params)


def _of_line(x: Any, axis: Any) -> Any:
    """The axis of a ufunc's reduction: that of a number may be 0 or -1."""
    return None if not rank(x) and axis in (0, -1) else axis


def _accumulator(ufunc: np.ufunc, a: Any, dtype: Any) -> Any:
    """The operand of a sum or product, in the dtype NumPy accumulates in: small integers widen."""
    x = lift(a)
    if dtype is None:
        dtype = ufunc.resolve_dtypes((None, dtype_of(x), None), reduction=True)[1]
    return to_dtype(x, np.dtype(dtype))


def _mask(where: Any, x: Any) -> Any:
    """The mask of `where=` at the operand's shape."""
    return broadcast(to_dtype(lift(where), np.dtype(bool)), shape_of(x))


def _total(ufunc: np.ufunc, op: Op, pair: Op, neutral: int) -> Any:
    def total(
        a: Any,
        axis: Any = None,
        dtype: Any = None,
        out: Any = None,
        keepdims: Any = False,
        initial: Any = None,
        where: Any = True,
    ) -> Any:
        x = _accumulator(ufunc, a, dtype)
        if where is not True:
            x = select(_mask(where, x), x, neutral)
        y = _apply(op, x, _of_line(x, axis), keepdims)
        return deliver(y if initial is None else pair(y, with_dtype(initial, dtype_of(y))), out)

    return total


sum = implements("sum")(_total(np.add, r.sum_, e.add, 0))
prod = implements("prod")(_total(np.multiply, r.prod, e.mul, 1))


def _extremum(name: str, op: Op, pair: Op) -> Any:
    def extremum(
        a: Any, axis: Any = None, out: Any = None, keepdims: Any = False, initial: Any = None, where: Any = True
    ) -> Any:
        x = lift(a)
        axis = _of_line(x, axis)
        if where is not True:
            if initial is None:
                raise ValueError(
                    f"reduction operation '{name}' does not have an identity, so to use a where mask one has to "
                    "specify 'initial'"
                )
            x = select(_mask(where, x), x, lift(initial))
        if initial is not None and 0 in [shape_of(x)[i] for i in all_axes(axis, rank(x))]:
            kept = _apply(r.sum_, x, axis, keepdims)
            return deliver(e.add(kept, with_dtype(initial, dtype_of(kept))), out)
        y = _apply(op, x, axis, keepdims)
        return deliver(y if initial is None else pair(y, with_dtype(initial, dtype_of(y))), out)

    return extremum


max = implements("max", "amax")(_extremum("maximum", r.amax, e.maximum))
min = implements("min", "amin")(_extremum("minimum", r.amin, e.minimum))


@implements("mean")
def mean(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False, where: Any = True) -> Any:
    x = inexact(a, dtype)
    if where is True:
        return deliver(_apply(r.mean, x, axis, keepdims), out)
    mask = _mask(where, x)
    count = _apply(r.sum_, to_dtype(mask, dtype_of(x)), axis, keepdims)
    return deliver(e.div(_apply(r.sum_, select(mask, x, 0), axis, keepdims), count), out)


@implements("var")
def var(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: Any = 0,
    keepdims: Any = False,
    *,
    where: Any = True,
    mean: Any = None,
    correction: Any = None,
) -> Any:
    x = inexact(a, dtype)
    ddof = ddof if correction is None else correction
    if where is True and mean is None:
        return deliver(_apply(r.var, x, axis, keepdims, correction=float(ddof)), out)
    mask = _mask(where, x)
    count = _apply(r.sum_, to_dtype(mask, dtype_of(x)), axis, True)
    if mean is None:
        mean = e.div(_apply(r.sum_, select(mask, x, 0), axis, True), count)
    apart = select(mask, e.sub(x, lift(mean)), 0)
    squares = e.square(apart if dtype_of(x).kind != "c" else e.abs_(apart))
    free = e.maximum(e.sub(_apply(r.sum_, to_dtype(mask, dtype_of(squares)), axis, keepdims), float(ddof)), 0.0)
    return deliver(e.div(_apply(r.sum_, squares, axis, keepdims), free), out)


@implements("std")
def std(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: Any = 0,
    keepdims: Any = False,
    *,
    where: Any = True,
    mean: Any = None,
    correction: Any = None,
) -> Any:
    if where is True and mean is None:
        x = inexact(a, dtype)
        free = float(ddof if correction is None else correction)
        return deliver(_apply(r.std, x, axis, keepdims, correction=free), out)
    spread = var(a, axis, dtype, None, ddof, keepdims, where=where, mean=mean, correction=correction)
    none = c.equal(spread, 0)  # as the op `std`: slope 0 where all elements are equal
    return deliver(e.where(none, 0.0, e.sqrt(e.where(none, 1.0, spread))), out)


@implements("ptp")
def ptp(a: Any, axis: Any = None, out: Any = None, keepdims: Any = False) -> Any:
    return deliver(e.sub(max(a, axis, keepdims=keepdims), min(a, axis, keepdims=keepdims)), out)


def weights_along(w: Any, shape: Shape, axis: Any) -> Any:
    """Weights of one line, or of several axes, at the shape of what they weigh."""
    if shape_of(w) == shape:
        return w
    if axis is None:
        raise TypeError("Axis must be specified when shapes of a and weights differ.")
    axes = tuple(one_axis(i, len(shape)) for i in (axis if isinstance(axis, tuple) else (axis,)))
    if shape_of(w) != tuple(shape[i] for i in axes):
        raise ValueError("Shape of weights must be consistent with shape of a along specified axis.")
    w = transpose(w, axes=tuple(int(i) for i in np.argsort(axes)))
    w = reshape(w, shape=tuple(n if i in axes else 1 for i, n in enumerate(shape)))
    return broadcast(w, shape)


@implements("average")
def average(a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: Any = False) -> Any:
    if weights is None:
        result = mean(a, axis, keepdims=keepdims)
        x = lift(a)
        count = math.prod(shape_of(x)[i] for i in all_axes(axis, rank(x)))
        scale = np.full(shape_of(result), count, dtype_of(result))[()]
        return (result, lift(scale)) if returned else result
    x, w = promoted(inexact(a), weights)
    w = weights_along(w, shape_of(x), axis)
    scale = _apply(r.sum_, w, axis, keepdims)
    result = e.div(_apply(r.sum_, e.mul(x, w), axis, keepdims), scale)
    return (result, scale) if returned else result


# Where, whether and how many


def _position(op: Op) -> Any:
    def position(a: Any, axis: Any = None, out: Any = None, *, keepdims: Any = False) -> Any:
        x = lift(a)
        if axis is not None:
            return deliver(op(x, axis=one_axis(axis, rank(x)), keepdims=bool(keepdims)), out)
        y = op(reshape(x, shape=(math.prod(shape_of(x)),)), axis=0, keepdims=False)
        return deliver(reshape(y, shape=(1,) * rank(x)) if keepdims else y, out)

    return position


argmax = implements("argmax")(_position(r.argmax))
argmin = implements("argmin")(_position(r.argmin))


def _test(op: Op, neutral: bool) -> Any:
    def test(a: Any, axis: Any = None, out: Any = None, keepdims: Any = False, *, where: Any = True) -> Any:
        x = to_dtype(lift(a), np.dtype(bool))
        if where is not True:
            x = select(_mask(where, x), x, neutral)
        return deliver(_apply(op, x, axis, keepdims), out, "unsafe")

    return test


all = implements("all")(_test(r.all_, True))
any = implements("any")(_test(r.any_, False))


@implements("count_nonzero")
def count_nonzero(a: Any, axis: Any = None, *, keepdims: Any = False) -> Any:
    return sum(c.not_equal(lift(a), 0), axis, keepdims=keepdims)


# Scans


def _scan(ufunc: np.ufunc, op: Op) -> Any:
    def accumulate(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
        x = _accumulator(ufunc, a, dtype)
        x, axis = line(x, _of_line(x, axis))
        return deliver(op(x, axis=axis), out)

    return accumulate


cumsum = implements("cumsum")(_scan(np.add, scan.cumsum))
cumprod = implements("cumprod")(_scan(np.multiply, scan.cumprod))


def _whole_scan(scan_: Any, first: int) -> Any:
    def cumulative(
        x: Any, /, *, axis: int | None = None, dtype: Any = None, out: Any = None, include_initial: bool = False
    ) -> Any:
        a = lift(x)
        if axis is None and rank(a) > 1:
            raise ValueError("For arrays which have more than one dimension ``axis`` argument is required.")
        y = scan_(a, 0 if axis is None else axis, dtype)
        if include_initial:
            at = one_axis(0 if axis is None else axis, rank(y))
            edge = np.full([1 if i == at else n for i, n in enumerate(shape_of(y))], first, dtype_of(y))
            y = concatenate(lift(edge), y, axis=at)
        return deliver(y, out)

    return cumulative


cumulative_sum = implements("cumulative_sum")(_whole_scan(cumsum, 0))
cumulative_prod = implements("cumulative_prod")(_whole_scan(cumprod, 1))


# NaN counted as nothing


def _known(a: Any, where: Any = True) -> tuple[Any, Any]:
    """An operand, and where it is not NaN and to be counted."""
    x = lift(a)
    known = c.logical_not(c.isnan(x))
    return x, known if where is True else c.logical_and(known, lift(where))


def _nan_total(total: Any) -> Any:
    def function(
        a: Any,
        axis: Any = None,
        dtype: Any = None,
        out: Any = None,
        keepdims: Any = False,
        initial: Any = None,
        where: Any = True,
    ) -> Any:
        x, known = _known(a, where)
        return total(x, axis, dtype, out, keepdims, initial, known)

    return function


nansum, nanprod = implements("nansum")(_nan_total(sum)), implements("nanprod")(_nan_total(prod))


@implements("nanmean")
def nanmean(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False, *, where: Any = True
) -> Any:
    x, known = _known(a, where)
    return mean(x, axis, dtype, out, keepdims, known)


def _nan_spread(spread: Any) -> Any:
    def function(
        a: Any,
        axis: Any = None,
        dtype: Any = None,
        out: Any = None,
        ddof: Any = 0,
        keepdims: Any = False,
        *,
        where: Any = True,
    ) -> Any:
        x, known = _known(a, where)
        return spread(x, axis, dtype, out, ddof, keepdims, where=known)

    return function


nanvar, nanstd = implements("nanvar")(_nan_spread(var)), implements("nanstd")(_nan_spread(std))


def _nan_extremum(extremum: Any, worst: float) -> Any:
    def function(
        a: Any, axis: Any = None, out: Any = None, keepdims: Any = False, initial: Any = None, where: Any = True
    ) -> Any:
        x, known = _known(a)
        if dtype_of(x).kind not in "fc":
            return extremum(x, axis, out, keepdims, initial, where)
        y = extremum(select(known, x, worst), axis, None, keepdims, initial, where)
        return deliver(select(any(known, axis, keepdims=keepdims), y, math.nan), out)

    return function


nanmax = implements("nanmax")(_nan_extremum(max, -math.inf))
nanmin = implements("nanmin")(_nan_extremum(min, math.inf))


def _nan_scan(scan_: Any, neutral: float) -> Any:
    def cumulative(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
        x, known = _known(a)
        return scan_(select(known, x, neutral) if dtype_of(x).kind in "fc" else x, axis, dtype, out)

    return cumulative


nancumsum = implements("nancumsum")(_nan_scan(cumsum, 0.0))
nancumprod = implements("nancumprod")(_nan_scan(cumprod, 1.0))


def _nan_position(position: Any, worst: float) -> Any:
    def nan_position(a: Any, axis: Any = None, out: Any = None, *, keepdims: Any = False) -> Any:
        x, known = _known(a)
        if is_raw(known) and not np.all(np.any(known._value, axis)):
            raise ValueError("All-NaN slice encountered")
        return position(select(known, x, worst) if dtype_of(x).kind in "fc" else x, axis, out, keepdims=keepdims)

    return nan_position


nanargmax = implements("nanargmax")(_nan_position(argmax, -math.inf))
nanargmin = implements("nanargmin")(_nan_position(argmin, math.inf))
