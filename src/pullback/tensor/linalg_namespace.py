"""`pb.linalg`: norms, inverses, solutions, determinants and factorisations, under the names of `torch.linalg`.

Matrices are the last two dimensions; leading ones are a batch.
"""

from __future__ import annotations

from typing import Any

from pullback.ops import shape as s
from pullback.ops.elementwise import mul
from pullback.ops.scan import cumprod
from pullback.tape.node import wrap
from pullback.tensor import linear
from pullback.tensor.dispatch import as_handle, promoted, to_dtype
from pullback.tensor.factoring import (
    cholesky,
    cholesky_ex,
    eig,
    eigh,
    eigvals,
    eigvalsh,
    householder_product,
    lu,
    lu_factor,
    lu_factor_ex,
    qr,
    svd,
    svdvals,
)
from pullback.tensor.matrices import LinAlgError
from pullback.tensor.matrix_norms import matrix_norm, matrix_rank, norm, vector_norm
from pullback.tensor.rearranging import diagonal as _diagonal
from pullback.tensor.shaping import atleast_1d, conjugated
from pullback.tensor.systems import (
    cond,
    det,
    inv,
    inv_ex,
    lstsq,
    lu_solve,
    matrix_exp,
    matrix_power,
    pinv,
    slogdet,
    solve,
    solve_ex,
    solve_triangular,
    tensorinv,
    tensorsolve,
)

__all__ = [
    "LinAlgError",
    "cholesky",
    "cholesky_ex",
    "cond",
    "cross",
    "det",
    "diagonal",
    "eig",
    "eigh",
    "eigvals",
    "eigvalsh",
    "householder_product",
    "inv",
    "inv_ex",
    "lstsq",
    "lu",
    "lu_factor",
    "lu_factor_ex",
    "lu_solve",
    "matmul",
    "matrix_exp",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "multi_dot",
    "norm",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "solve_ex",
    "solve_triangular",
    "svd",
    "svdvals",
    "tensorinv",
    "tensorsolve",
    "vander",
    "vecdot",
    "vector_norm",
]


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


def vecdot(x: Any, y: Any, *, dim: int = -1) -> Any:
    """The sums over `dim` of the products of elements, those of x conjugated; broadcast."""
    return mul(conjugated(as_handle(x)), as_handle(y)).sum(dim)


def diagonal(A: Any, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """The diagonals of the planes of `dim1` and `dim2`, as the last dimension; a view."""
    return _diagonal(A, offset, dim1, dim2)


def vander(x: Any, *, N: int | None = None) -> Any:
    """The powers 0 to N - 1 (N: as many as x has elements) of each element of x, as a new last dimension."""
    found = atleast_1d(x)
    found = to_dtype(found, promoted(found, 1))
    count = int(found._value.shape[-1]) if N is None else N
    if count < 1:
        raise RuntimeError(f"N must be greater than 1, but got {count}")
    shape = tuple(found._value.shape)
    factors = s.broadcast_to(s.reshape(found, shape=(*shape, 1)), shape=(*shape, count - 1))
    ones = as_handle(found).new_ones((*shape, 1))
    return wrap(cumprod(s.concatenate(ones, factors, axis=len(shape)), axis=len(shape)))


matmul = linear.matmul
