"""NumPy's functions that choose, order, round and test elements, and those that read parts by index."""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np

from pullback.ops import compare as c
from pullback.ops import elementwise as e
from pullback.ops import sort as sorting
from pullback.ops.cast import imag, real
from pullback.ops.control import identity
from pullback.ops.linalg import diag_embed
from pullback.ops.linalg import diagonal as diagonal_op
from pullback.ops.linalg import tril as tril_op
from pullback.ops.linalg import triu as triu_op
from pullback.ops.selection import argpartition as partition_op
from pullback.ops.table import Op
from pullback.tape.node import Handle
from pullback.tensor import special
from pullback.tensor.dispatch import is_raw, to_dtype, view
from pullback.tensor.indexing import getitem
from pullback.tensor.numpy_api import reductions, shapes
from pullback.tensor.numpy_api.operands import (
    deliver,
    dtype_of,
    inexact,
    is_number,
    lift,
    one_axis,
    promoted,
    rank,
    raw,
    select,
    shape_of,
    with_dtype,
)
from pullback.tensor.numpy_api.shapes import index_at, line
from pullback.tensor.numpy_api.table import implements

# Choose


@implements("where")
def where(condition: Any, x: Any = None, y: Any = None, /) -> Any:
    if x is None and y is None:
        return nonzero(condition)
    if x is None or y is None:
        raise ValueError("either both or neither of x and y should be given")
    mask = to_dtype(lift(condition), np.dtype(bool))
    return e.where(mask, *promoted(x, y))


@implements("select")
def select_(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    if len(condlist) != len(choicelist):
        raise ValueError("list of cases must be same length as list of conditions")
    *choices, result = promoted(*choicelist, default)
    for condition, choice in zip(reversed(condlist), reversed(choices), strict=True):
        result = e.where(lift(condition), choice, result)
    return result


@implements("clip")
def clip(
    a: Any,
    a_min: Any = None,
    a_max: Any = None,
    out: Any = None,
    *,
    min: Any = None,
    max: Any = None,
    where: Any = True,
    dtype: Any = None,
    casting: str = "same_kind",
) -> Any:
    """The slope is 1 between the bounds and at them; a bound gets the gradient of what it replaces."""
    low, high = (a_min if min is None else min), (a_max if max is None else max)
    bounds = [b for b in (low, high) if b is not None]
    if isinstance(a, Handle) and builtins.all(is_number(b) for b in bounds):
        kind = np.result_type(dtype_of(a), *bounds)
        y = with_dtype(a, kind)
        if kind.kind in "iu":  # a bound may be no number of this dtype
            info = np.iinfo(kind)
            low, high = (b if b is None else builtins.min(builtins.max(b, info.min), info.max) for b in (low, high))
        y = e.clamp(y, min=low, max=high) if bounds else identity(y)
    else:
        y, *ends = promoted(a, *bounds)
        if low is not None:
            y = e.where(c.less(y, ends[0]), ends[0], y)
        if high is not None:
            y = e.where(c.greater(y, ends[-1]), ends[-1], y)
    y = with_dtype(y, dtype)
    if where is not True:
        y = select(where, y, 0 if out is None else lift(out))
    return deliver(y, out, casting)


@implements("nan_to_num")
def nan_to_num(x: Any, copy: bool = True, nan: float = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    a = lift(x)
    if dtype_of(a).kind in "biu":
        return identity(a)
    return e.nan_to_num(a, nan=nan, posinf=posinf, neginf=neginf)


# Round and complex parts


@implements("round", "around")
def round(a: Any, decimals: int = 0, out: Any = None) -> Any:
    x = lift(a)
    if dtype_of(x).kind in "iu" and decimals >= 0:
        return deliver(identity(x), out)
    scale = 10.0 ** abs(decimals)
    if decimals == 0:
        y = e.round_(x)
    elif decimals > 0:
        y = e.div(e.round_(e.mul(x, scale)), scale)
    else:
        y = to_dtype(e.mul(e.round_(e.div(x, scale)), scale), dtype_of(x))
    return deliver(y, out)


@implements("fix")
def fix(x: Any, out: Any = None) -> Any:
    return deliver(e.trunc(lift(x)), out)


@implements("real")
def real_(val: Any) -> Any:
    x = lift(val)
    return view(real, x) if dtype_of(x).kind == "c" else x


@implements("imag")
def imag_(val: Any) -> Any:
    x = lift(val)
    return view(imag, x) if dtype_of(x).kind == "c" else lift(np.zeros(shape_of(x), dtype_of(x)))


@implements("angle")
def angle(z: Any, deg: bool = False) -> Any:
    y = e.angle(inexact(z))
    return e.mul(y, 180 / math.pi) if deg else y


@implements("real_if_close")
def real_if_close(a: Any, tol: float = 100) -> Any:
    x = lift(a)
    if dtype_of(x).kind != "c":
        return x
    bound = tol * float(np.finfo(dtype_of(x)).eps) if tol > 1 else tol
    return real(x) if np.all(np.abs(raw(imag(x), "real_if_close")) < bound) else x


@implements("i0")
def i0(x: Any) -> Any:
    a = inexact(x)
    if dtype_of(a).kind == "c":
        raise TypeError("i0 not supported for complex values")
    return special.i0(a)


@implements("kaiser")
def kaiser(M: int, beta: Any) -> Any:
    """The window of M samples, with slopes in its shape parameter."""
    width = builtins.max(int(M), 0)
    if width < 2:
        return lift(np.ones(width))
    half = (width - 1) / 2.0
    rim = np.sqrt(1 - ((np.arange(width) - half) / half) ** 2)
    shape = inexact(beta, np.float64)
    return e.div(i0(e.mul(shape, rim)), i0(shape))


@implements("sinc")
def sinc(x: Any) -> Any:
    return e.sinc(inexact(x))


# Read by index


@implements("take")
def take(a: Any, indices: Any, axis: int | None = None, out: Any = None, mode: str = "raise") -> Any:
    x, axis = line(a, axis)
    index = lift(indices)
    if mode != "raise":
        size = shape_of(x)[axis]
        if mode not in ("wrap", "clip"):
            raise ValueError(f"clipmode must be one of 'clip', 'raise', or 'wrap' (got {mode!r})")
        index = e.remainder(index, size) if mode == "wrap" else e.clamp(index, min=0, max=size - 1)
    return deliver(getitem(x, index_at(axis, index)), out)


@implements("take_along_axis")
def take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> Any:
    x, axis = line(arr, axis)
    index = lift(indices)
    if rank(x) != rank(index):
        raise ValueError("`indices` and `arr` must have the same number of dimensions")
    parts: list[Any] = [np.arange(n).reshape((n,) + (1,) * (rank(x) - 1 - i)) for i, n in enumerate(shape_of(x))]
    parts[axis] = index
    return getitem(x, tuple(parts))


@implements("compress")
def compress(condition: Any, a: Any, axis: int | None = None, out: Any = None) -> Any:
    return take(a, np.flatnonzero(raw(condition, "the condition")), axis, out)


@implements("extract")
def extract(condition: Any, arr: Any) -> Any:
    return take(arr, np.flatnonzero(raw(condition, "the condition")))


@implements("choose")
def choose_(a: Any, choices: Any, out: Any = None, mode: str = "raise") -> Any:
    number = lift(a)
    *options, number_like = shapes.broadcast_arrays(*promoted(*choices), number)
    stacked = shapes.stack(options)
    if mode != "raise":
        number_like = (
            e.remainder(number_like, len(options)) if mode == "wrap" else clip(number_like, 0, len(options) - 1)
        )
    return deliver(shapes.squeeze(take_along_axis(stacked, shapes.expand_dims(number_like, 0), 0), 0), out)


@implements("nonzero")
def nonzero(a: Any) -> tuple[Any, ...]:
    return tuple(map(lift, np.nonzero(raw(a, "nonzero's operand"))))


@implements("flatnonzero")
def flatnonzero(a: Any) -> Any:
    return lift(np.flatnonzero(raw(a, "flatnonzero's operand")))


@implements("argwhere")
def argwhere(a: Any) -> Any:
    return lift(np.argwhere(raw(a, "argwhere's operand")))


# Diagonals and triangles


@implements("diagonal")
def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    x = lift(a)
    first, second = one_axis(axis1, rank(x)), one_axis(axis2, rank(x))
    if first == second:
        raise ValueError("axis1 and axis2 cannot be the same")
    return view(diagonal_op, x, offset=int(offset), axis1=first, axis2=second)


@implements("linalg.diagonal")
def linalg_diagonal(x: Any, /, *, offset: int = 0) -> Any:
    return diagonal(x, offset, -2, -1)


@implements("diag")
def diag(v: Any, k: int = 0) -> Any:
    x = lift(v)
    if rank(x) == 2:
        return diagonal(x, k)
    if rank(x) != 1:
        raise ValueError("Input must be 1- or 2-d.")
    size = shape_of(x)[0] + abs(k)
    return diag_embed(x, offset=int(k), axis1=0, axis2=1, shape=(size, size))


@implements("diagflat")
def diagflat(v: Any, k: int = 0) -> Any:
    return diag(shapes.ravel(v), k)


def _triangle(m: Any, op: Op, k: int) -> Any:
    x = lift(m)
    if rank(x) < 2:
        x = shapes.broadcast_to(x, (shape_of(x)[0],) * 2)
    return op(x, diagonal=int(k))


@implements("tril")
def tril(m: Any, k: int = 0) -> Any:
    return _triangle(m, tril_op, k)


@implements("triu")
def triu(m: Any, k: int = 0) -> Any:
    return _triangle(m, triu_op, k)


# Order


@implements("sort")
def sort(a: Any, axis: int | None = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Any:
    x, axis = line(a, axis)
    return take_along_axis(x, argsort(x, axis), axis)


@implements("argsort")
def argsort(a: Any, axis: int | None = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Any:
    """Equal elements keep their order, whatever the `kind`."""
    if order is not None:
        raise ValueError("Cannot specify order when the array has no fields.")
    x, axis = line(a, axis)
    return sorting.argsort(x, axis=axis)


@implements("argpartition")
def argpartition(a: Any, kth: Any, axis: int | None = -1, kind: str = "introselect", order: Any = None) -> Any:
    x, axis = line(a, axis)
    return partition_op(x, kth=_ranks(kth, shape_of(x)[axis]), axis=axis)


@implements("partition")
def partition(a: Any, kth: Any, axis: int | None = -1, kind: str = "introselect", order: Any = None) -> Any:
    x, axis = line(a, axis)
    return take_along_axis(x, argpartition(x, kth, axis), axis)


def _ranks(kth: Any, size: int) -> tuple[int, ...]:
    ranks = np.atleast_1d(raw(kth, "kth"))
    if ranks.dtype.kind not in "iu":
        raise TypeError("Partition index must be integer")
    if np.any((ranks < -size) | (ranks >= size)):
        raise ValueError(f"kth(={ranks.tolist()}) out of bounds ({size})")
    return tuple(np.unique(ranks % size).tolist())


@implements("sort_complex")
def sort_complex(a: Any) -> Any:
    """In order of the real parts, then of the imaginary."""
    x = lift(a)
    kind = np.dtype(np.complex64 if dtype_of(x).char in "bhBHF" else np.complex128)
    return with_dtype(sort(x), kind)


@implements("searchsorted")
def searchsorted(a: Any, v: Any, side: str = "left", sorter: Any = None) -> Any:
    ordered, values = lift(a), lift(v)
    if sorter is not None:
        ordered = take(ordered, sorter)
    return sorting.searchsorted(ordered, values, side=side)


# Compare


@implements("isclose")
def isclose(a: Any, b: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Any:
    return c.isclose(lift(a), lift(b), rtol=rtol, atol=atol, equal_nan=equal_nan)


def _answer(x: Any) -> Any:
    """A truth value: a bool, or the Tensor itself where the numbers are not known yet."""
    return bool(x._value) if is_raw(x) else x


@implements("allclose")
def allclose(a: Any, b: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Any:
    return _answer(reductions.all(isclose(a, b, rtol, atol, equal_nan)))


@implements("array_equal")
def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> Any:
    a, b = lift(a1), lift(a2)
    if shape_of(a) != shape_of(b):
        return False
    same = c.equal(a, b)
    if equal_nan:
        same = c.logical_or(same, c.logical_and(c.isnan(a), c.isnan(b)))
    return _answer(reductions.all(same))


@implements("array_equiv")
def array_equiv(a1: Any, a2: Any) -> Any:
    try:
        a, b = shapes.broadcast_arrays(a1, a2)
    except ValueError:
        return False
    return array_equal(a, b)


@implements("iscomplex")
def iscomplex(x: Any) -> Any:
    return c.not_equal(imag_(x), 0)


@implements("isreal")
def isreal(x: Any) -> Any:
    return c.equal(imag_(x), 0)


@implements("isposinf")
def isposinf(x: Any, out: Any = None) -> Any:
    a = lift(x)
    return deliver(c.logical_and(c.isinf(a), c.logical_not(c.signbit(a))), out)


@implements("isneginf")
def isneginf(x: Any, out: Any = None) -> Any:
    a = lift(x)
    return deliver(c.logical_and(c.isinf(a), c.signbit(a)), out)


@implements("iscomplexobj")
def iscomplexobj(x: Any) -> bool:
    return bool(dtype_of(lift(x)).kind == "c")


@implements("isrealobj")
def isrealobj(x: Any) -> bool:
    return not iscomplexobj(x)
