"""Linear algebra under the names that PyTorch has outside `torch.linalg`: what came before it, low-rank factorisations,
covariances, distances.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pullback.ops import elementwise as e
from pullback.ops import shape as s
from pullback.ops.compare import greater
from pullback.tape.node import new_handle, wrap
from pullback.tensor import factoring, systems
from pullback.tensor.dispatch import as_handle, promoted, to_dtype
from pullback.tensor.factoring import geqrf, lu_unpack, ormqr
from pullback.tensor.linear import matmul
from pullback.tensor.matrices import inexact, matrix, same_dtype, square, transposed
from pullback.tensor.random import randn
from pullback.tensor.reduction import vector_norm_over
from pullback.tensor.results import result_type
from pullback.tensor.systems import det, logdet, matrix_exp, matrix_power, slogdet
from pullback.values.shape import normalize_axis

__all__ = [
    "block_diag",
    "cdist",
    "cholesky",
    "cholesky_inverse",
    "cholesky_solve",
    "corrcoef",
    "cov",
    "det",
    "geqrf",
    "inverse",
    "logdet",
    "lu",
    "lu_solve",
    "lu_unpack",
    "matrix_exp",
    "matrix_power",
    "orgqr",
    "ormqr",
    "pca_lowrank",
    "pinverse",
    "qr",
    "renorm",
    "slogdet",
    "svd",
    "svd_lowrank",
    "triangular_solve",
]

_qr = result_type("qr", "Q", "R")
_svd = result_type("svd", "U", "S", "V")
_triangular_solve = result_type("triangular_solve", "solution", "cloned_coefficient")
inverse = systems.inv
orgqr = factoring.householder_product


# Factorisations


def cholesky(input: Any, upper: bool = False) -> Any:
    """`linalg.cholesky`."""
    return factoring.cholesky(input, upper=upper)


def qr(input: Any, some: bool = True) -> Any:
    """`linalg.qr`, reduced if `some`, else complete."""
    return _qr(*factoring.qr(input, "reduced" if some else "complete"))


def svd(input: Any, some: bool = True, compute_uv: bool = True) -> Any:
    """U, S and V (not its adjoint) with input = U diag(S) Vᴴ, reduced if `some`; U and V are 0 unless `compute_uv`."""
    x = matrix(input, "svd")
    if not compute_uv:
        *lead, m, n = x._value.shape
        empty = (new_handle(np.zeros((*lead, k, k), x._value.dtype)) for k in (m, n))
        return _svd(next(empty), factoring.svdvals(x), next(empty))
    u, values, vh = factoring.svd(x, full_matrices=not some)
    return _svd(u, values, transposed(vh, conjugate=True))


def lu(A: Any, pivot: bool = True, get_infos: bool = False) -> Any:
    """`linalg.lu_factor`: `(LU, pivots)`, and with `get_infos` LAPACK's report."""
    return tuple(factoring.lu_factor_ex(A, pivot=pivot))[: 3 if get_infos else 2]


# Systems


def lu_solve(b: Any, LU_data: Any, LU_pivots: Any) -> Any:
    """The X with A @ X = b, given what `lu` made of A."""
    return systems.lu_solve(LU_data, LU_pivots, b)


def triangular_solve(b: Any, A: Any, upper: bool = True, transpose: bool = False, unitriangular: bool = False) -> Any:
    """The X with A @ X = b for triangular A, or Aᵀ if `transpose`: `(solution, cloned_coefficient)`."""
    a, x = square(A, "triangular_solve"), matrix(b, "triangular_solve")
    factor = transposed(a) if transpose else a
    y = systems.solve_triangular(factor, x, upper=upper is not transpose, unitriangular=unitriangular)
    return _triangular_solve(y, a.clone())


def cholesky_solve(input: Any, L: Any, upper: bool = False) -> Any:
    """The X with A @ X = input, given the Cholesky factor of A, lower or `upper`."""
    b, factor = matrix(input, "cholesky_solve"), square(L, "cholesky_solve")
    same_dtype(factor, b, "cholesky_solve")
    adjoint = transposed(factor, conjugate=True)
    first, second = (adjoint, factor) if upper else (factor, adjoint)
    return systems.solve_triangular(second, systems.solve_triangular(first, b, upper=False), upper=True)


def cholesky_inverse(L: Any, upper: bool = False) -> Any:
    """The inverse of A, given its Cholesky factor, lower or `upper`."""
    factor = square(L, "cholesky_inverse")
    return cholesky_solve(np.eye(factor._value.shape[-1], dtype=factor._value.dtype), factor, upper)


def pinverse(input: Any, rcond: float = 1e-15) -> Any:
    """`linalg.pinv`."""
    return systems.pinv(input, rcond)


# Low rank. Source: Halko, Martinsson and Tropp, "Finding structure with randomness" (2011), algorithms 4.4 and 5.1.


def _range(a: Any, q: int, niter: int) -> Any:
    """Orthonormal columns that nearly span the range of a, by power iteration from random ones."""
    start = randn(a._value.shape[-1], q, dtype=a.dtype)
    basis = factoring.qr(matmul(a, start))[0]
    adjoint = transposed(a, conjugate=True)
    for _ in range(niter):
        basis = factoring.qr(matmul(a, factoring.qr(matmul(adjoint, basis))[0]))[0]
    return basis


def svd_lowrank(A: Any, q: int | None = 6, niter: int = 2, M: Any = None) -> Any:
    """U, S and V of rank q with U diag(S) Vᴴ near A, or A - M: exact up to rounding if that has rank q or less.

    Random vectors are drawn from the default generator.
    """
    a = matrix(A, "svd_lowrank")
    if M is not None:
        a = a - M
    q = 6 if q is None else q
    m, n = a._value.shape[-2:]
    if not 0 <= q <= min(m, n):
        raise ValueError(f"q(={q}) must be non-negative integer and not greater than min(m, n)={min(m, n)}")
    if m < n:
        u, values, v = svd_lowrank(transposed(a, conjugate=True), q, niter)
        return v, values, u
    basis = _range(a, q, niter)
    u, values, vh = factoring.svd(matmul(transposed(basis, conjugate=True), a), full_matrices=False)
    return matmul(basis, u), values, transposed(vh, conjugate=True)


def pca_lowrank(A: Any, q: int | None = None, center: bool = True, niter: int = 2) -> Any:
    """`svd_lowrank` of A with the mean of each column taken off, unless `center` is False."""
    a = matrix(A, "pca_lowrank")
    m, n = a._value.shape[-2:]
    q = min(6, m, n) if q is None else q
    if not 0 <= q <= min(m, n):
        raise ValueError(f"q(={q}) must be non-negative integer and not greater than min(m, n)={min(m, n)}")
    return svd_lowrank(a - a.mean(-2, keepdim=True) if center else a, q, niter)


# Covariance


def cov(input: Any, *, correction: int = 1, fweights: Any = None, aweights: Any = None) -> Any:
    """The covariance matrix of the variables in the rows, observed in the columns: over n - `correction`, each column
    counted `fweights` times and weighed by `aweights`.
    """
    x = as_handle(input)
    if len(x._value.shape) > 2:
        raise RuntimeError(
            f"cov(): expected input to have two or fewer dimensions but got an input with {x.dim()} dimensions"
        )
    x = to_dtype(x, promoted(x, floating=True))
    x = s.reshape(x, shape=(1, math.prod(x._value.shape))) if len(x._value.shape) < 2 else x
    weights = None
    for given in (fweights, aweights):
        if given is not None:
            w = as_handle(given)
            weights = w if weights is None else weights * w
    count: Any = x._value.shape[1]
    if weights is None:
        mean = x.mean(1, keepdim=True)
        free: Any = max(count - correction, 0)
    else:
        total = weights.sum()
        mean = (x * weights).sum(1, keepdim=True) / total
        free = total - correction if aweights is None else total - correction * (weights * aweights).sum() / total
        free = e.where(greater(free, 0.0), free, 0.0)
    centred = x - mean
    right = transposed(centred, conjugate=True)
    y = matmul(centred if weights is None else centred * weights, right)
    y = (
        y / free
        if not isinstance(free, int)
        else y / new_handle(np.asarray(free, y._value.real.dtype if False else np.float64)).to(y.dtype)
    )
    return y.squeeze()


def corrcoef(input: Any) -> Any:
    """The correlation coefficients of the variables in the rows, observed in the columns."""
    x = as_handle(input)
    if len(x._value.shape) > 2:
        raise RuntimeError(
            f"corrcoef(): expected input to have two or fewer dimensions but got an input with {x.dim()} dimensions"
        )
    c = cov(x)
    if not len(c._value.shape):
        return c / c
    spread = c.diagonal().real.sqrt() if c._value.dtype.kind == "c" else c.diagonal().sqrt()
    return c / spread.unsqueeze(1) / spread.unsqueeze(0)


# Distances and norms


def _norm(x: Any, p: float) -> Any:
    return vector_norm_over(x, float(p), (len(x._value.shape) - 1,), False)


def cdist(x1: Any, x2: Any, p: float = 2.0, compute_mode: str | None = None) -> Any:
    """The p-norm of the difference of each row of x1 and each of x2: (..., m, d) and (..., n, d) to (..., m, n).

    Where two rows are equal the gradient is 0.
    """
    a, b = matrix(x1, "cdist"), matrix(x2, "cdist")
    if a._value.shape[-1] != b._value.shape[-1]:
        raise RuntimeError(
            f"X1 and X2 must have the same number of columns. X1: {a._value.shape[-1]} X2: {b._value.shape[-1]}"
        )
    return _norm(a.unsqueeze(-2) - b.unsqueeze(-3), p)


def renorm(input: Any, p: float, dim: int, maxnorm: float) -> Any:
    """The slices along `dim` scaled down to the p-norm `maxnorm`, where theirs is larger."""
    x = inexact(input, "renorm")
    at = normalize_axis(dim, len(x._value.shape))
    others = tuple(i for i in range(len(x._value.shape)) if i != at)
    size = vector_norm_over(x, float(p), others, True)
    return x * e.where(greater(size, float(maxnorm)), maxnorm / (size + 1e-7), 1.0)


def block_diag(*tensors: Any) -> Any:
    """A matrix with the given ones, or vectors as rows, along its diagonal."""
    found = [
        as_handle(x) for x in (tensors[0] if len(tensors) == 1 and isinstance(tensors[0], list | tuple) else tensors)
    ]
    for i, x in enumerate(found):
        if len(x._value.shape) > 2:
            raise RuntimeError(
                "torch.block_diag: Input tensors must have 2 or fewer dimensions. "
                f"Input {i} has {len(x._value.shape)} dimensions"
            )
    dtype = promoted(*found)
    blocks = [to_dtype(x, dtype) for x in found]
    blocks = [x if len(x._value.shape) == 2 else s.reshape(x, shape=(1, math.prod(x._value.shape))) for x in blocks]
    width, before, rows = sum(x._value.shape[1] for x in blocks), 0, []
    for x in blocks:
        columns = x._value.shape[1]
        rows.append(s.pad(x, widths=((0, 0), (before, width - before - columns)), value=0.0))
        before += columns
    return wrap(s.concatenate(*rows, axis=0))


class FactorMethods:
    """Linear algebra as methods of `Tensor`."""

    cholesky = cholesky
    cholesky_inverse = cholesky_inverse
    cholesky_solve = cholesky_solve
    corrcoef = corrcoef
    cov = cov
    det = det
    geqrf = geqrf
    inverse = inverse
    logdet = logdet
    lu = lu
    lu_solve = lu_solve
    matrix_exp = matrix_exp
    matrix_power = matrix_power
    orgqr = orgqr
    ormqr = ormqr
    pinverse = pinverse
    qr = qr
    renorm = renorm
    slogdet = slogdet
    svd = svd
    triangular_solve = triangular_solve
