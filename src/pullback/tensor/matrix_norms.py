"""Norms, condition and rank, under the names of `torch.linalg`."""

from __future__ import annotations

import math
from typing import Any

from pullback.ops import compare as c
from pullback.ops import elementwise as e
from pullback.ops import shape as s
from pullback.ops.control import stop_gradient
from pullback.ops.reduce import amax, amin, count_nonzero
from pullback.tape.node import wrap
from pullback.tensor.dispatch import as_handle, to_dtype
from pullback.tensor.factoring import eigvalsh, svdvals
from pullback.tensor.matrices import inexact, matrix, tolerances
from pullback.tensor.reduction import all_dims, singular_norm_over, vector_norm_over
from pullback.values.dtype import as_dtype
from pullback.values.shape import Shape, normalize_axis

__all__ = ["matrix_norm", "matrix_rank", "norm", "vector_norm"]


def _operand(x: Any, dtype: Any, name: str) -> Any:
    value = as_handle(x)
    return inexact(value if dtype is None else to_dtype(value, as_dtype(dtype).dtype), name)


def vector_norm(
    x: Any, ord: float = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, axis: Any = None
) -> Any:
    """The `ord`-norm of the elements over `dim` (None: all): (Σ|x|^ord)^(1/ord), the largest for inf, the smallest for
    -inf, how many are not 0 for 0. At 0 the gradient is 0.
    """
    value = _operand(x, dtype, "vector_norm")
    return vector_norm_over(value, float(ord), all_dims(dim, axis, len(value._value.shape)), keepdim)


def matrix_norm(
    A: Any, ord: Any = "fro", dim: tuple[int, int] = (-2, -1), keepdim: bool = False, *, dtype: Any = None
) -> Any:
    """The norm of matrices: 'fro'; 'nuc', the sum of the singular values; the largest (2) or smallest (-2) of them; the
    largest (1, inf) or smallest (-1, -inf) sum of the absolute values of a column (±1) or a row (±inf).

    Raises `RuntimeError` for another `ord`.
    """
    x = _operand(A, dtype, "matrix_norm")
    rank = len(x._value.shape)
    if rank < 2:
        raise RuntimeError("linalg.matrix_norm: The input tensor A must have at least 2 dimensions.")
    rows, columns = (normalize_axis(d, rank) for d in dim)
    if rows == columns:
        raise RuntimeError(f"linalg.matrix_norm: dims must be different. Got {tuple(dim)}")
    if ord not in ("fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf):
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    return matrix_norm_over(x, ord, rows, columns, keepdim)


def matrix_norm_over(x: Any, ord: Any, rows: int, columns: int, keepdim: bool) -> Any:
    """The norm `ord`, one of those of `matrix_norm`, of the matrices in two axes."""
    axes: Shape = tuple(sorted((rows, columns)))
    if ord == "fro":
        return vector_norm_over(x, 2.0, axes, keepdim)
    shape = tuple(x._value.shape)
    if ord in ("nuc", 2, -2):
        return singular_norm_over(x, ord, rows, columns, keepdim)
    summed, reduced = (rows, columns) if abs(ord) == 1 else (columns, rows)
    sums = s.sum_(e.abs_(x), axis=(summed,), keepdims=True)
    y = (amax if ord > 0 else amin)(sums, axis=(reduced,), keepdims=True)
    return wrap(y if keepdim else s.reshape(y, shape=s.reduced(shape, axes, False)))


def norm(
    A: Any, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, axis: Any = None
) -> Any:
    """`vector_norm` over one dimension, of a vector, or with no `ord` of all elements; else `matrix_norm`."""
    x = as_handle(A)
    dim = axis if dim is None else dim
    rank = len(x._value.shape)
    count = (rank if dim is None else 1) if dim is None or isinstance(dim, int) else len(dim)
    if ord is None or (count == 1 and not isinstance(ord, str)):
        return vector_norm(x, 2 if ord is None else ord, dim, keepdim, dtype=dtype)
    if count != 2:
        raise RuntimeError(
            "linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. "
            f"Got {rank}D. If it is, it must be of length 1 or 2. Got {dim}"
        )
    return matrix_norm(x, ord, (0, 1) if dim is None else tuple(dim), keepdim, dtype=dtype)


def matrix_rank(A: Any, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Any:
    """How many singular values exceed the larger of `atol` (or `tol`) and `rtol` times the largest; `rtol` is eps times
    the larger side if none is given. If `hermitian`, the lower triangle is read.
    """
    x = wrap(stop_gradient(matrix(A, "matrix_rank")))
    values = eigvalsh(x).abs() if hermitian else svdvals(x)
    last = (len(values._value.shape) - 1,)
    if not values._value.shape[-1]:
        return wrap(count_nonzero(values, axis=last, keepdims=False))
    low, relative = (t.reshape((*t.shape, 1)) for t in map(wrap, tolerances(x, tol if atol is None else atol, rtol)))
    cut = e.maximum(amax(values, axis=last, keepdims=True) * relative, low)
    return wrap(count_nonzero(c.greater(values, cut), axis=last, keepdims=False))
