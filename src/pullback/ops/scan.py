"""Running sums and products along one `axis`; `reverse` runs from the end."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.ops.elementwise import share, sub
from pullback.ops.fused import plain
from pullback.ops.index import slice_, take_along
from pullback.ops.lowering import Scan
from pullback.ops.samples import Sample, exactly, normal, spread, unit
from pullback.ops.shape import concatenate, with_batch
from pullback.ops.table import Op, general, linear, nondifferentiable, same_shape
from pullback.values.shape import Spec

__all__ = [
    "argcummax",
    "argcummin",
    "cummax",
    "cummin",
    "cumprod",
    "cumsum",
    "delayed",
    "diff",
    "logcumsumexp",
    "recurrence",
]


def _part(x: Any, axis: int, start: int | None, stop: int | None) -> Any:
    return slice_(x, index=tuple(slice(start, stop) if i == axis else slice(None) for i in range(len(x.shape))))


def delayed(x: Any, axis: int, reverse: bool, first: float) -> Any:
    """x moved one step along `axis` in the direction of the scan, with `first` where it starts."""
    edge = np.full(tuple(1 if i == axis else n for i, n in enumerate(x.shape)), first, x.dtype)
    if not x.shape[axis]:
        return x
    if reverse:
        return concatenate(_part(x, axis, 1, None), edge, axis=axis)
    return concatenate(edge, _part(x, axis, None, -1), axis=axis)


def _accumulate(function: np.ufunc) -> Any:
    """The evaluation of a scan by a ufunc."""

    def evaluate(x: Any, axis: int, reverse: bool = False) -> Any:
        if not reverse:
            return function.accumulate(x, axis=axis, dtype=x.dtype)
        return np.flip(function.accumulate(np.flip(x, axis), axis=axis, dtype=x.dtype), axis)

    return evaluate


cumsum: Op = linear(
    "cumsum",
    _accumulate(np.add),
    lambda g, _y, _x, axis, reverse=False: cumsum(g, axis=axis, reverse=not reverse),
    shape=same_shape,
    batch=lambda size, args, batched, axis, reverse=False: cumsum(*args, axis=axis + 1, reverse=reverse),
    lower=Scan("add"),
    samples=[Sample(normal(2, 3), axis=0), Sample(normal(2, 3), axis=1, reverse=True)],
    doc="Running sums along `axis`.",
)


# The linear recurrence s[i] = a[i] s[i-1] + b[i]. It is its own derivative, run backwards, and it is the derivative of
# the products: no division, so zeros do no harm.


def _recurrence(a: Any, b: Any, axis: int, reverse: bool = False) -> Any:
    """By doubling: after step k each element has taken in the 2**k before it (Hillis and Steele, 1986)."""
    a, b = (np.array(np.flip(x, axis) if reverse else x) for x in (a, b))
    count = a.shape[axis]
    lead = (slice(None),) * axis
    step = 1
    while step < count:
        late, early = (*lead, slice(step, None)), (*lead, slice(None, -step))
        b[late] += a[late] * b[early]
        a[late] = a[late] * a[early]
        step *= 2
    return np.flip(b, axis) if reverse else b


def _recurrence_vjp(g: Any, y: Any, a: Any, _b: Any, axis: int, reverse: bool = False) -> tuple[Any, Any]:
    back = recurrence(delayed(a, axis, not reverse, 0.0), g, axis=axis, reverse=not reverse)
    return back * delayed(y, axis, reverse, 0.0), back


def _recurrence_jvp(tangents: Any, y: Any, a: Any, _b: Any, axis: int, reverse: bool = False) -> Any:
    ta, tb = tangents
    if ta is not None:
        drive = ta * delayed(y, axis, reverse, 0.0)
        tb = drive if tb is None else drive + tb
    return recurrence(a, tb, axis=axis, reverse=reverse)


recurrence: Op = general(
    "recurrence",
    _recurrence,
    vjp=_recurrence_vjp,
    jvp=_recurrence_jvp,
    shape=lambda a, b, axis, reverse=False: Spec(a.shape, np.result_type(a.dtype, b.dtype)),
    batch=lambda size, args, batched, axis, reverse=False: recurrence(
        *with_batch(size, args, batched), axis=axis + 1, reverse=reverse
    ),
    samples=[
        Sample(unit(2, 5), normal(2, 5), axis=1),
        Sample(unit(4, 2), normal(4, 2), axis=0, reverse=True),
        Sample(exactly(0.0, 2.0, 0.0, 3.0), normal(4), axis=0),
    ],
    doc="s[i] = a[i] s[i-1] + b[i] along `axis`, s starting from 0; a and b have one shape.",
)


def _by_division(g: Any, y: Any, x: Any, axis: int, reverse: bool) -> Any:
    """The cotangent as the later sums of g·y over x, where no product along a line nears 0 or overflows; the other
    lines by the recurrence."""
    limits = np.finfo(x.dtype)
    size = np.abs(y)
    fine = np.minimum.reduce(size, axis) >= limits.tiny / limits.eps
    fine &= np.maximum.reduce(size, axis) < np.inf
    with np.errstate(all="ignore"):
        d = np.multiply(g, y, out=size)
        back = d if reverse else np.flip(d, axis)
        np.add.accumulate(back, axis=axis, out=back)
        d /= x
    if not fine.all():
        rest_g, rest_y, rest_x = (np.moveaxis(v, axis, -1)[~fine] for v in (g, y, x))
        np.moveaxis(d, axis, -1)[~fine] = _by_recurrence(rest_g, rest_y, rest_x, rest_x.ndim - 1, reverse)
    return d


def _cumprod_vjp(g: Any, y: Any, x: Any, axis: int, reverse: bool = False) -> tuple[Any]:
    if plain(g, y, x) and x.size and x.dtype.kind == "f":
        return (_by_division(g, y, x, axis, reverse),)
    return (_by_recurrence(g, y, x, axis, reverse),)


def _by_recurrence(g: Any, y: Any, x: Any, axis: int, reverse: bool) -> Any:
    later = recurrence(delayed(x, axis, not reverse, 0.0), g, axis=axis, reverse=not reverse)
    return delayed(y, axis, reverse, 1.0) * later


cumprod: Op = general(
    "cumprod",
    _accumulate(np.multiply),
    vjp=_cumprod_vjp,
    jvp=lambda tangents, y, x, axis, reverse=False: recurrence(
        x, tangents[0] * delayed(y, axis, reverse, 1.0), axis=axis, reverse=reverse
    ),
    shape=same_shape,
    batch=lambda size, args, batched, axis, reverse=False: cumprod(*args, axis=axis + 1, reverse=reverse),
    lower=Scan("mul"),
    samples=[
        Sample(normal(2, 3), axis=0),
        Sample(normal(2, 3), axis=1, reverse=True),
        Sample(exactly([0.0, 2.0, 3.0], [2.0, 0.0, 0.0]), axis=1),
    ],
    doc="Running products along `axis`; its derivatives of every order are right with any number of zeros.",
)


# log-sum-exp: the slope of y[i] with respect to x[j] is exp(x[j] - y[i]), a product of ratios that are at most 1.


def _ratios(y: Any, axis: int, reverse: bool) -> Any:
    """exp(y[i-1] - y[i]): how much of each sum was there a step before."""
    return share(delayed(y, axis, reverse, -np.inf), y)


def _logcumsumexp_vjp(g: Any, y: Any, x: Any, axis: int, reverse: bool = False) -> tuple[Any]:
    kept = delayed(_ratios(y, axis, reverse), axis, not reverse, 0.0)
    return (share(x, y) * recurrence(kept, g, axis=axis, reverse=not reverse),)


logcumsumexp: Op = general(
    "logcumsumexp",
    _accumulate(np.logaddexp),
    vjp=_logcumsumexp_vjp,
    jvp=lambda tangents, y, x, axis, reverse=False: recurrence(
        _ratios(y, axis, reverse), tangents[0] * share(x, y), axis=axis, reverse=reverse
    ),
    shape=same_shape,
    batch=lambda size, args, batched, axis, reverse=False: logcumsumexp(*args, axis=axis + 1, reverse=reverse),
    samples=[
        Sample(normal(2, 3), axis=0),
        Sample(normal(2, 3), axis=1, reverse=True),
        Sample(exactly(-np.inf, 1.0, -np.inf, 800.0), axis=0),
    ],
    doc="log of the running sums of exp(x) along `axis`, without overflow; -inf, with slopes 0, while all were -inf.",
)


# Extrema by their indices


def _argcum(name: str, function: np.ufunc, doc: str) -> Op:
    def evaluate(x: Any, axis: int) -> Any:
        wins = (x == function.accumulate(x, axis=axis)) | (x != x)
        place = np.arange(x.shape[axis]).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
        return np.maximum.accumulate(np.where(wins, place, 0), axis=axis)

    op = nondifferentiable(
        name,
        evaluate,
        shape=lambda x, axis: Spec(x.shape, np.dtype(np.int64)),
        batch=lambda size, args, batched, axis: op(*args, axis=axis + 1),
        samples=[Sample(spread(2, 5), axis=1), Sample(np.array([1.0, 3.0, 3.0, np.nan, 4.0]), axis=0)],
        doc=f"{doc} so far along `axis`: the last of equals, the last NaN once there is one.",
    )
    return op


argcummax = _argcum("argcummax", np.maximum, "Where the largest element is")
argcummin = _argcum("argcummin", np.minimum, "Where the smallest element is")


def cummax(x: Any, *, axis: int) -> tuple[Any, Any]:
    """The largest elements so far along `axis` and where they are; the gradient goes to the last of equals."""
    index = argcummax(x, axis=axis)
    return take_along(x, index, axis), index


def cummin(x: Any, *, axis: int) -> tuple[Any, Any]:
    """The smallest elements so far along `axis` and where they are; the gradient goes to the last of equals."""
    index = argcummin(x, axis=axis)
    return take_along(x, index, axis), index


def diff(x: Any, *, axis: int, n: int = 1) -> Any:
    """The differences of neighbours along `axis`, `n` times over."""
    for _ in range(n):
        x = sub(_part(x, axis, 1, None), _part(x, axis, None, -1))
    return x
