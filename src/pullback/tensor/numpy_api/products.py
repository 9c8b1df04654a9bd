"""NumPy's products: matrix, inner, outer, tensor and Kronecker products, and einsum."""

from __future__ import annotations

import builtins
import math
import string
from collections.abc import Sequence
from typing import Any

import numpy as np

from pullback.ops import elementwise as e
from pullback.ops import shape as s
from pullback.ops.linalg import contract
from pullback.ops.linalg import matmul as matmul_op
from pullback.tensor import linear
from pullback.tensor.dispatch import to_dtype
from pullback.tensor.numpy_api import reductions, selecting, shapes
from pullback.tensor.numpy_api.operands import deliver, lift, one_axis, promoted, rank, shape_of
from pullback.tensor.numpy_api.table import implements
from pullback.tensor.shaping import conjugated


def _pair(a: Any, b: Any, dtype: Any = None) -> tuple[Any, Any]:
    """Two operands of one dtype. As in NumPy's products a Python number is no weaker than an array of it."""
    x, y = promoted(lift(a), lift(b))
    if dtype is not None:
        x, y = to_dtype(x, np.dtype(dtype)), to_dtype(y, np.dtype(dtype))
    return x, y


@implements("matmul")
def matmul(
    x1: Any, x2: Any, /, out: Any = None, *, dtype: Any = None, casting: str = "same_kind", axes: Any = None
) -> Any:
    if axes is not None:
        raise TypeError("numpy.matmul with axes= has no derivative in pullback yet; move the axes with np.moveaxis")
    a, b = _pair(x1, x2, dtype)
    if not rank(a) or not rank(b):
        raise ValueError("matmul: Input operand does not have enough dimensions (scalars need multiply)")
    return deliver(_matmul(a, b), out, casting)


def _matmul(a: Any, b: Any) -> Any:
    """The matrix product; a vector is a row on the left, a column on the right, and leaves no axis."""
    if shape_of(a)[-1] != shape_of(b)[0 if rank(b) == 1 else -2]:
        raise ValueError(
            f"matmul: Input operand 1 has a mismatch in its core dimension: shapes {shape_of(a)} and {shape_of(b)}"
        )
    return linear.matmul(a, b)


@implements("dot")
def dot(a: Any, b: Any, out: Any = None) -> Any:
    x, y = _pair(a, b)
    if not rank(x) or not rank(y):
        return deliver(e.mul(x, y), out)
    if rank(y) <= 2:
        return deliver(_matmul(x, y), out)
    return deliver(tensordot(x, y, ((-1,), (-2,))), out)


@implements("inner")
def inner(a: Any, b: Any, /) -> Any:
    x, y = _pair(a, b)
    return e.mul(x, y) if not rank(x) or not rank(y) else tensordot(x, y, ((-1,), (-1,)))


@implements("vdot")
def vdot(a: Any, b: Any, /) -> Any:
    x, y = _pair(shapes.ravel(a), shapes.ravel(b))
    return _matmul(conjugated(x), y)


@implements("vecdot", "linalg.vecdot")
def vecdot(x1: Any, x2: Any, /, out: Any = None, *, axis: int = -1, keepdims: bool = False) -> Any:
    a, b = _pair(x1, x2)
    return deliver(reductions.sum(e.mul(conjugated(a), b), axis, keepdims=keepdims), out)


@implements("matvec")
def matvec(x1: Any, x2: Any, /, out: Any = None) -> Any:
    a, b = _pair(x1, x2)
    return deliver(shapes.squeeze(matmul_op(a, shapes.expand_dims(b, -1)), -1), out)


@implements("vecmat")
def vecmat(x1: Any, x2: Any, /, out: Any = None) -> Any:
    a, b = _pair(x1, x2)
    return deliver(shapes.squeeze(matmul_op(shapes.expand_dims(conjugated(a), -2), b), -2), out)


@implements("linalg.matmul")
def linalg_matmul(x1: Any, x2: Any, /) -> Any:
    return matmul(x1, x2)


@implements("outer")
def outer(a: Any, b: Any, out: Any = None) -> Any:
    x, y = _pair(shapes.ravel(a), shapes.ravel(b))
    return deliver(e.mul(s.reshape(x, shape=(*shape_of(x), 1)), y), out)


@implements("linalg.outer")
def linalg_outer(x1: Any, x2: Any, /) -> Any:
    if rank(lift(x1)) != 1 or rank(lift(x2)) != 1:
        raise ValueError("Input arrays must be one-dimensional")
    return outer(x1, x2)


@implements("tensordot", "linalg.tensordot")
def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    x, y = _pair(a, b)
    if np.iterable(axes):
        left, right = (tuple(i) if np.iterable(i) else (i,) for i in axes)
    else:
        left, right = tuple(range(-int(axes), 0)), tuple(range(int(axes)))
    left = tuple(one_axis(i, rank(x)) for i in left)
    right = tuple(one_axis(i, rank(y)) for i in right)
    if [shape_of(x)[i] for i in left] != [shape_of(y)[i] for i in right]:
        raise ValueError("shape-mismatch for sum")
    free_x = [i for i in range(rank(x)) if i not in left]
    free_y = [i for i in range(rank(y)) if i not in right]
    shape_x, shape_y = [shape_of(x)[i] for i in free_x], [shape_of(y)[i] for i in free_y]
    size = math.prod(shape_of(x)[i] for i in left)
    flat_x = s.reshape(shapes.permuted(x, [*free_x, *left]), shape=(math.prod(shape_x), size))
    flat_y = s.reshape(shapes.permuted(y, [*right, *free_y]), shape=(size, math.prod(shape_y)))
    return s.reshape(matmul_op(flat_x, flat_y), shape=(*shape_x, *shape_y))


@implements("kron")
def kron(a: Any, b: Any) -> Any:
    x, y = _pair(a, b)
    ndim = builtins.max(rank(x), rank(y))
    left, right = ((1,) * (ndim - rank(z)) + shape_of(z) for z in (x, y))
    wide = s.reshape(x, shape=tuple(n for size in left for n in (size, 1)))
    tall = s.reshape(y, shape=tuple(n for size in right for n in (1, size)))
    return s.reshape(e.mul(wide, tall), shape=tuple(m * n for m, n in zip(left, right, strict=True)))


@implements("cross")
def cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Any:
    if axis is not None:
        axisa = axisb = axisc = axis
    x, y = _pair(a, b)
    x, y = shapes.moveaxis(x, axisa, -1), shapes.moveaxis(y, axisb, -1)
    if shape_of(x)[-1] != 3 or shape_of(y)[-1] != 3:
        raise ValueError("incompatible dimensions for cross product (dimension must be 3)")
    ahead, behind = [1, 2, 0], [2, 0, 1]

    def turned(v: Any, order: list[int]) -> Any:
        return selecting.take(v, order, -1)

    y = e.sub(e.mul(turned(x, ahead), turned(y, behind)), e.mul(turned(x, behind), turned(y, ahead)))
    return shapes.moveaxis(y, -1, axisc)


@implements("linalg.cross")
def linalg_cross(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    return cross(x1, x2, axis=axis)


@implements("trace")
def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None) -> Any:
    return reductions.sum(selecting.diagonal(a, offset, axis1, axis2), -1, dtype, out)


@implements("linalg.trace")
def linalg_trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    return trace(x, offset, -2, -1, dtype)


@implements("einsum")
def einsum(*operands: Any, out: Any = None, dtype: Any = None, casting: str = "safe", optimize: Any = False) -> Any:
    """Contracted in the cheapest order, whatever `optimize` says; also in the form with lists of axis numbers."""
    if isinstance(operands[0], str):
        subscripts, *xs = operands
    else:
        subscripts, xs = _lettered(operands)
    xs = list(promoted(*xs))
    if dtype is not None:
        xs = [to_dtype(x, np.dtype(dtype)) for x in xs]
    return deliver(contract(subscripts, *xs), out)


def _lettered(operands: Sequence[Any]) -> tuple[str, list[Any]]:
    """The subscripts of operands that alternate with lists of axis numbers."""

    def letters(numbers: Any) -> str:
        return "".join("..." if n is Ellipsis else string.ascii_letters[n] for n in numbers)

    xs, axes = operands[0 : 2 * (len(operands) // 2) : 2], operands[1::2]
    text = ",".join(map(letters, axes))
    return (f"{text}->{letters(operands[-1])}" if len(operands) % 2 else text), list(xs)
