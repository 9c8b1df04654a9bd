"""`pb.linalg`: norms, inverses, solutions, determinants and factorisations, under the names of `torch.linalg`.

Matrices are the last two dimensions; leading ones are a batch.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pullback.ops import elementwise as e
from pullback.ops import factor
from pullback.ops import shape as s
from pullback.ops.products import matmul as matmul_op
from pullback.ops.reduce import amax, amin
from pullback.tape.node import new_handle, wrap
from pullback.tensor import linear
from pullback.tensor.dispatch import as_handle, to_dtype
from pullback.tensor.rearranging import diagonal as _diagonal
from pullback.tensor.reduction import all_dims, vector_norm_over
from pullback.tensor.results import result_type
from pullback.values.dtype import as_dtype, type_name
from pullback.values.shape import normalize_axis

__all__ = [
    "LinAlgError",
    "cholesky",
    "cross",
    "det",
    "diagonal",
    "inv",
    "matmul",
    "matrix_norm",
    "matrix_power",
    "multi_dot",
    "norm",
    "slogdet",
    "solve",
    "vector_norm",
]

_slogdet = result_type("linalg_slogdet", "sign", "logabsdet")


class LinAlgError(RuntimeError):
    """A matrix is singular, or not positive definite, where it must not be."""


def _inexact(input: Any, name: str) -> Any:
    x = as_handle(input)
    if x._value.dtype.kind not in "fc":
        raise RuntimeError(
            f"linalg.{name}: Expected a floating point or complex tensor as input. Got {type_name(x._value.dtype)}"
        )
    return x


def _square(input: Any, name: str) -> Any:
    """Matrices to factor. Raises `RuntimeError` if they are not square, or not floating-point."""
    x = _inexact(input, name)
    shape = tuple(x._value.shape)
    if len(shape) < 2:
        raise RuntimeError(f"linalg.{name}: The input tensor A must have at least 2 dimensions.")
    if shape[-1] != shape[-2]:
        raise RuntimeError(
            f"linalg.{name}: A must be batches of square matrices, but they are {shape[-2]} by {shape[-1]} matrices"
        )
    return x


def _factored(op: Any, *operands: Any, problem: str) -> Any:
    try:
        return op(*operands)
    except np.linalg.LinAlgError:
        raise LinAlgError(problem) from None


# Norms


def vector_norm(
    x: Any, ord: float = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, axis: Any = None
) -> Any:
    """The `ord`-norm of the elements over `dim` (None: all): (Σ|x|^ord)^(1/ord), the largest for inf, the smallest for
    -inf, how many are not 0 for 0. At 0 the gradient is 0.
    """
    value = as_handle(x)
    if dtype is not None:
        value = to_dtype(value, as_dtype(dtype).dtype)
    value = _inexact(value, "vector_norm")
    return vector_norm_over(value, float(ord), all_dims(dim, axis, len(value._value.shape)), keepdim)


def matrix_norm(
    A: Any, ord: Any = "fro", dim: tuple[int, int] = (-2, -1), keepdim: bool = False, *, dtype: Any = None
) -> Any:
    """The norm of matrices: 'fro', or the largest (1, inf) or smallest (-1, -inf) sum of the absolute values of a
    column (±1) or a row (±inf).

    Raises `RuntimeError` for another `ord`.
    """
    x = as_handle(A)
    if dtype is not None:
        x = to_dtype(x, as_dtype(dtype).dtype)
    x = _inexact(x, "matrix_norm")
    rank = len(x._value.shape)
    if rank < 2:
        raise RuntimeError("linalg.matrix_norm: The input tensor A must have at least 2 dimensions.")
    rows, columns = (normalize_axis(d, rank) for d in dim)
    if rows == columns:
        raise RuntimeError(f"linalg.matrix_norm: dims must be different. Got {dim}")
    axes = tuple(sorted((rows, columns)))
    if ord == "fro":
        return vector_norm_over(x, 2.0, axes, keepdim)
    if ord not in (1, -1, math.inf, -math.inf):
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    summed, reduced = (rows, columns) if abs(ord) == 1 else (columns, rows)
    sums = s.sum_(e.abs_(x), axis=(summed,), keepdims=True)
    y = (amax if ord > 0 else amin)(sums, axis=(reduced,), keepdims=True)
    return y if keepdim else s.reshape(y, shape=s.reduced(tuple(x._value.shape), axes, False))


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


# Inverses and solutions


def inv(A: Any) -> Any:
    """The inverse of square matrices. Raises `LinAlgError` for a singular one."""
    x = _square(A, "inv")
    return _factored(
        factor.inv,
        x,
        problem="linalg.inv: The diagonal element of U is zero, the inversion could not be completed "
        "because the input matrix is singular.",
    )


def solve(A: Any, B: Any, *, left: bool = True) -> Any:
    """The X with A @ X = B (or X @ A = B if not `left`): B is a vector or a matrix, or a batch of them.

    Raises `LinAlgError` for a singular A.
    """
    a, b = _square(A, "solve"), _inexact(B, "solve")
    if a._value.dtype != b._value.dtype:
        raise RuntimeError(
            "linalg.solve: Expected A and B to have the same dtype, but found A of type "
            f"{type_name(a._value.dtype)} and B of type {type_name(b._value.dtype)} instead"
        )
    shape, right = tuple(a._value.shape), tuple(b._value.shape)
    vector = len(right) == 1 or (len(right) == len(shape) - 1 and right == shape[:-1])
    if vector:
        b = s.reshape(b, shape=(*right, 1))
    elif not left:
        a, b = a.mT, b.mT
    if b.shape[-2] != shape[-1]:
        raise RuntimeError(
            f"linalg.solve: Incompatible shapes of A and B for the equation AX = B ({shape[-2]}x{shape[-1]} and "
            f"{b.shape[-2]}x{b.shape[-1]})"
        )
    y = wrap(
        _factored(
            factor.solve,
            a,
            b,
            problem="torch.linalg.solve: The solver failed because the input matrix is singular.",
        )
    )
    if vector:
        return s.reshape(y, shape=tuple(y.shape[:-1]))
    return y if left else y.mT


def det(A: Any) -> Any:
    """The determinants of square matrices."""
    return wrap(factor.det(_square(A, "det")))


def slogdet(A: Any) -> Any:
    """The sign and the logarithm of the absolute value of determinants: a named tuple `(sign, logabsdet)`."""
    return _slogdet(*map(wrap, factor.slogdet(_square(A, "slogdet"))))


def logdet(A: Any) -> Any:
    """The logarithm of determinants; NaN for negative ones."""
    sign, log = slogdet(A)
    return e.where(sign < 0, math.nan, log)


def cholesky(A: Any, *, upper: bool = False) -> Any:
    """The lower triangular L with L Lᴴ = A (or the upper U = Lᴴ), for Hermitian positive definite A.

    Raises `LinAlgError` for other matrices.
    """
    x = _square(A, "cholesky")
    y = wrap(
        _factored(
            factor.cholesky,
            x,
            problem="linalg.cholesky: The factorization could not be completed because the input is not "
            "positive-definite",
        )
    )
    return y.mH if upper else y


# Products


def matrix_power(A: Any, n: int) -> Any:
    """A multiplied with itself `n` times; the inverse's power for negative `n`. By repeated squaring."""
    x = _square(A, "matrix_power")
    if n < 0:
        x, n = inv(x), -n
    if n == 0:
        shape = tuple(x._value.shape)
        return new_handle(np.broadcast_to(np.eye(shape[-1], dtype=x._value.dtype), shape).copy())
    result = None
    while n:
        if n & 1:
            result = x if result is None else matmul_op(result, x)
        n >>= 1
        if n:
            x = matmul_op(x, x)
    return wrap(result) if result is not A else x * 1


def multi_dot(tensors: Any) -> Any:
    """The product of several matrices in the cheapest order; the first and the last may be vectors."""
    found = [as_handle(x) for x in tensors]
    if len(found) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(found)}")
    first, last = len(found[0]._value.shape) == 1, len(found[-1]._value.shape) == 1
    if first:
        found[0] = s.reshape(found[0], shape=(1, *found[0].shape))
    if last:
        found[-1] = s.reshape(found[-1], shape=(*found[-1].shape, 1))
    y = linear.chain_matmul(*found)
    if first or last:
        return s.reshape(y, shape=tuple(y.shape)[first : 2 - last])
    return y


def cross(input: Any, other: Any, *, dim: int = -1) -> Any:
    """The cross products of the vectors of three along `dim`."""
    return linear.cross(input, other, dim)


def diagonal(A: Any, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """The diagonals of the planes of `dim1` and `dim2`, as the last dimension; a view."""
    return _diagonal(A, offset, dim1, dim2)


matmul = linear.matmul


class FactorMethods:
    """Inverses and determinants as methods of `Tensor`."""

    inverse = inv
    det = det
    slogdet = slogdet
    logdet = logdet
    matrix_power = matrix_power
