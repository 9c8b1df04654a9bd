"""numpy.linalg over tensors: factorisations, inverses, determinants, norms."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from pullback.ops import elementwise as e
from pullback.ops import linalg as la
from pullback.ops import reduce as r
from pullback.ops import shape as s
from pullback.tensor.numpy_api import products, reductions, shapes
from pullback.tensor.numpy_api.operands import (
    all_axes,
    broadcast,
    deliver,
    dtype_of,
    inexact,
    lift,
    promoted,
    rank,
    shape_of,
    with_dtype,
)
from pullback.tensor.numpy_api.table import implements, not_covered


class SlogdetResult(NamedTuple):
    """The sign of a determinant and the logarithm of its modulus."""

    sign: Any
    logabsdet: Any


def _matrix(a: Any, square: bool = True) -> Any:
    """An operand of linear algebra: float64 for integers, matrices in the last two axes.

    Raises `numpy.linalg.LinAlgError` if it is not that.
    """
    x = inexact(a)
    if dtype_of(x).char == "e":
        raise TypeError("array type float16 is unsupported in linalg")
    if rank(x) < 2:
        raise np.linalg.LinAlgError(f"{rank(x)}-dimensional array given. Array must be at least two-dimensional")
    if square and shape_of(x)[-1] != shape_of(x)[-2]:
        raise np.linalg.LinAlgError("Last 2 dimensions of the array must be square")
    return x


@implements("linalg.inv")
def inv(a: Any) -> Any:
    return la.inv(_matrix(a))


@implements("linalg.solve")
def solve(a: Any, b: Any) -> Any:
    """`b` is a vector if it has one axis, else a stack of matrices, as in NumPy 2."""
    x, y = promoted(_matrix(a), b)
    if rank(y) == 1:
        return s.reshape(column := la.solve(x, s.reshape(y, shape=(*shape_of(y), 1))), shape=shape_of(column)[:-1])
    return la.solve(x, y)


@implements("linalg.det")
def det(a: Any) -> Any:
    return la.det(_matrix(a))


@implements("linalg.slogdet")
def slogdet(a: Any) -> SlogdetResult:
    return SlogdetResult(*la.slogdet(_matrix(a)))


@implements("linalg.cholesky")
def cholesky(a: Any, /, *, upper: bool = False) -> Any:
    """The gradient is that of the symmetric part of a, of which NumPy reads one triangle."""
    lower = la.cholesky(_matrix(a))
    return shapes.matrix_transpose(lower) if upper else lower


@implements("linalg.matrix_power")
def matrix_power(a: Any, n: int) -> Any:
    x = _matrix(a)
    if n == 0:
        return broadcast(lift(np.eye(shape_of(x)[-1], dtype=dtype_of(x))), shape_of(x))
    if n < 0:
        x, n = la.inv(x), -n
    power: Any = None
    while n:
        n, odd = divmod(n, 2)
        if odd:
            power = x if power is None else la.matmul(power, x)
        x = la.matmul(x, x) if n else x
    return power


@implements("linalg.multi_dot")
def multi_dot(arrays: Any, *, out: Any = None) -> Any:
    """Multiplied in the order that costs least (dynamic programming over the dimensions)."""
    xs = [lift(a) for a in arrays]
    if len(xs) < 2:
        raise ValueError("Expecting at least two arrays.")
    row, column = rank(xs[0]) == 1, rank(xs[-1]) == 1
    if row:
        xs[0] = s.reshape(xs[0], shape=(1, *shape_of(xs[0])))
    if column:
        xs[-1] = s.reshape(xs[-1], shape=(*shape_of(xs[-1]), 1))
    sizes = [*(shape_of(x)[0] for x in xs), shape_of(xs[-1])[1]]
    y = _product(xs, _best_cuts(sizes), 0, len(xs) - 1)
    rows, columns = shape_of(y)
    y = s.reshape(y, shape=(() if row else (rows,)) + (() if column else (columns,))) if row or column else y
    return deliver(y, out)


def _best_cuts(sizes: list[int]) -> dict[tuple[int, int], int]:
    """Where to cut the product of matrices i to j, the k-th being sizes[k] by sizes[k + 1]."""
    count = len(sizes) - 1
    cost = {(i, i): 0 for i in range(count)}
    cuts: dict[tuple[int, int], int] = {}
    for length in range(1, count):
        for i in range(count - length):
            j = i + length
            options = [(cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j)]
            cost[i, j], cuts[i, j] = min(options)
    return cuts


def _product(xs: list[Any], cuts: dict[tuple[int, int], int], i: int, j: int) -> Any:
    if i == j:
        return xs[i]
    k = cuts[i, j]
    return products.matmul(_product(xs, cuts, i, k), _product(xs, cuts, k + 1, j))


# Norms


@implements("linalg.norm")
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """Vector norms of every order; the matrix norms None, 'fro', 1, -1, inf and -inf. At 0 the subgradient is 0."""
    a = inexact(x)
    if axis is None and (ord is None or (ord == 2 and rank(a) == 1) or (ord == "fro" and rank(a) == 2)):
        y = r.norm(a, axis=tuple(range(rank(a))), keepdims=False)
        return s.reshape(y, shape=(1,) * rank(a)) if keepdims else y
    axes = tuple(range(rank(a))) if axis is None else tuple(axis) if isinstance(axis, tuple | list) else (axis,)
    if len(axes) == 1:
        return _vector_norm(a, ord, axes, keepdims)
    if len(axes) != 2:
        raise ValueError("Improper number of dimensions to norm.")
    return _matrix_norm(a, ord, axes, keepdims)


def _vector_norm(x: Any, ord: Any, axis: Any, keepdims: Any) -> Any:
    if ord is None or ord == 2:
        return r.norm(x, axis=all_axes(axis, rank(x)), keepdims=bool(keepdims))
    if isinstance(ord, str):
        raise ValueError(f"Invalid norm order '{ord}' for vectors")
    size = e.abs_(x)
    if ord == math.inf:
        return reductions.max(size, axis, keepdims=keepdims)
    if ord == -math.inf:
        return reductions.min(size, axis, keepdims=keepdims)
    if ord == 0:
        return with_dtype(reductions.count_nonzero(x, axis, keepdims=keepdims), dtype_of(size))
    if ord == 1:
        return reductions.sum(size, axis, keepdims=keepdims)
    return e.pow_(reductions.sum(e.pow_(size, float(ord)), axis, keepdims=keepdims), 1.0 / ord)


def _matrix_norm(x: Any, ord: Any, axes: tuple[int, ...], keepdims: Any) -> Any:
    rows, columns = (all_axes(i, rank(x))[0] for i in axes)
    if rows == columns:
        raise ValueError("Duplicate axes given.")
    if ord in (None, "fro", "f"):
        return r.norm(x, axis=tuple(sorted((rows, columns))), keepdims=bool(keepdims))
    if ord not in (1, -1, math.inf, -math.inf):
        if ord in (2, -2, "nuc"):
            raise not_covered(f"linalg.norm of a matrix with ord={ord!r}")
        raise ValueError("Invalid norm order for matrices.")
    summed, sought = (rows, columns) if abs(ord) == 1 else (columns, rows)
    sums = reductions.sum(e.abs_(x), summed, keepdims=True)
    y = (reductions.max if ord > 0 else reductions.min)(sums, sought, keepdims=True)
    return y if keepdims else shapes.squeeze(y, (rows, columns))


@implements("linalg.vector_norm")
def vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    a = inexact(x)
    axes = all_axes(axis, rank(a))
    if len(axes) == 1:
        return _vector_norm(a, ord, axes, keepdims)
    free = [i for i in range(rank(a)) if i not in axes]
    flat = shapes.reshape(shapes.transpose(a, (*free, *axes)), (*(shape_of(a)[i] for i in free), -1))
    y = _vector_norm(flat, ord, -1, False)
    return shapes.reshape(y, tuple(1 if i in axes else n for i, n in enumerate(shape_of(a)))) if keepdims else y


@implements("linalg.matrix_norm")
def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    return norm(x, ord, (-2, -1), keepdims)
