"""Factorisations of matrices, under the names of `torch.linalg`: Cholesky, QR, LU, eigenvalues, singular values."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.ops import shape as s
from pullback.ops import spectral, triangular
from pullback.ops.compare import equal
from pullback.ops.control import stop_gradient
from pullback.ops.diagonal import tril, triu
from pullback.ops.elementwise import where
from pullback.tape.node import new_handle, wrap
from pullback.tensor.conversion import numbers
from pullback.tensor.dispatch import as_handle
from pullback.tensor.linear import matmul
from pullback.tensor.matrices import (
    LinAlgError,
    attempted,
    from_triangle,
    inexact,
    matrix,
    same_dtype,
    square,
    transposed,
    zero_info,
)
from pullback.tensor.results import result_type

__all__ = [
    "cholesky",
    "cholesky_ex",
    "eig",
    "eigh",
    "eigvals",
    "eigvalsh",
    "geqrf",
    "householder_product",
    "lu",
    "lu_factor",
    "lu_factor_ex",
    "lu_unpack",
    "ormqr",
    "qr",
    "svd",
    "svdvals",
]

_cholesky_ex = result_type("linalg_cholesky_ex", "L", "info")
_eig = result_type("linalg_eig", "eigenvalues", "eigenvectors")
_eigh = result_type("linalg_eigh", "eigenvalues", "eigenvectors")
_geqrf = result_type("geqrf", "a", "tau")
_lu = result_type("linalg_lu", "P", "L", "U")
_lu_factor = result_type("linalg_lu_factor", "LU", "pivots")
_lu_factor_ex = result_type("linalg_lu_factor_ex", "LU", "pivots", "info")
_lu_unpack = result_type("lu_unpack", "P", "L", "U")
_qr = result_type("linalg_qr", "Q", "R")
_svd = result_type("linalg_svd", "U", "S", "Vh")
_CONVERGENCE = "linalg.{}: The algorithm failed to converge because the input matrix is ill-conditioned or has NaNs."


# Cholesky


def cholesky(A: Any, *, upper: bool = False) -> Any:
    """The lower triangular L with L Lᴴ = A (or the upper U = Lᴴ), for Hermitian positive definite A, of which one
    triangle is read.

    Raises `LinAlgError` for other matrices.

    >>> import pullback as pb
    >>> pb.linalg.cholesky(pb.tensor([[4.0, 2.0], [2.0, 5.0]]))
    tensor([[2., 0.],
            [1., 2.]])
    """
    y = attempted(
        triangular.cholesky,
        from_triangle(square(A, "cholesky"), not upper),
        problem="linalg.cholesky: The factorization could not be completed because the input is not positive-definite",
    )
    return transposed(y, conjugate=True) if upper else y


def cholesky_ex(A: Any, *, upper: bool = False, check_errors: bool = False) -> Any:
    """`cholesky` with LAPACK's report `info`: 0, or the order of the first leading minor that is not positive.

    The factor of such a matrix is NaN, unless `check_errors`, which raises `LinAlgError`.
    """
    x = square(A, "cholesky_ex")
    try:
        return _cholesky_ex(cholesky(x, upper=upper), new_handle(zero_info(x)))
    except LinAlgError:
        if check_errors:
            raise
    value = numbers(stop_gradient(from_triangle(x, not upper)), "linalg.cholesky_ex of a matrix that has no factor")
    info = np.zeros(value.shape[:-2], np.int32)
    for place in np.ndindex(*info.shape):
        info[place] = _first_bad_minor(value[place])
    safe = where(np.asarray(info)[..., None, None] == 0, x, np.eye(value.shape[-1], dtype=value.dtype))
    factor_ = where(np.asarray(info)[..., None, None] == 0, cholesky(safe, upper=upper), float("nan"))
    return _cholesky_ex(wrap(factor_), new_handle(info))


def _first_bad_minor(a: Any) -> int:
    for k in range(1, len(a) + 1):
        try:
            np.linalg.cholesky(a[:k, :k])
        except np.linalg.LinAlgError:
            return k
    return 0


# Eigenvalues


def eigh(A: Any, UPLO: str = "L") -> Any:
    """Eigenvalues, ascending, and orthonormal eigenvectors of Hermitian matrices, as `(eigenvalues, eigenvectors)`.

    One triangle is read, the lower for UPLO "L"; the gradient is Hermitian. The eigenvectors of equal eigenvalues are
    not unique: only functions that do not depend on their choice have a gradient there, and theirs is right.

    >>> import pullback as pb
    >>> pb.linalg.eigh(pb.tensor([[2.0, 1.0], [1.0, 2.0]])).eigenvalues
    tensor([1., 3.])
    """
    x = from_triangle(square(A, "eigh"), _is_lower(UPLO, "eigh"))
    return _eigh(*attempted(spectral.eigh, x, problem=_CONVERGENCE.format("eigh")))


def eigvalsh(A: Any, UPLO: str = "L") -> Any:
    """The eigenvalues of Hermitian matrices, ascending. One triangle is read; the gradient is Hermitian."""
    x = from_triangle(square(A, "eigvalsh"), _is_lower(UPLO, "eigvalsh"))
    return attempted(spectral.eigvalsh, x, problem=_CONVERGENCE.format("eigvalsh"))


def _is_lower(uplo: str, name: str) -> bool:
    if uplo.upper() not in ("L", "U"):
        raise RuntimeError(f"linalg.{name}: Expected UPLO argument to be 'L' or 'U', but got {uplo}")
    return uplo.upper() == "L"


def eig(A: Any) -> Any:
    """Eigenvalues and eigenvectors of square matrices, complex, as `(eigenvalues, eigenvectors)`.

    Differentiable for diagonalisable matrices, in functions that do not depend on the phase of the eigenvectors.
    """
    return _eig(*attempted(spectral.eig, square(A, "eig"), problem=_CONVERGENCE.format("eig")))


def eigvals(A: Any) -> Any:
    """The eigenvalues of square matrices, complex, in no particular order."""
    return eig(square(A, "eigvals"))[0]


# Singular values


def svd(A: Any, full_matrices: bool = True, *, driver: str | None = None) -> Any:
    """U, S and Vh with A = U diag(S) Vh: singular values descending, unitary U and Vh, square if `full_matrices`.

    The singular vectors of equal values are not unique: only functions that do not depend on their choice have a
    gradient there, and theirs is right. `driver` is there for PyTorch's sake.

    >>> import pullback as pb
    >>> pb.linalg.svd(pb.tensor([[0.0, 2.0], [1.0, 0.0]])).S
    tensor([2., 1.])
    """
    x = matrix(A, "svd")
    return _svd(*attempted(spectral.svd, x, full=bool(full_matrices), problem=_CONVERGENCE.format("svd")))


def svdvals(A: Any, *, driver: str | None = None) -> Any:
    """The singular values, descending. Their sum, the nuclear norm, has the gradient UVᴴ of full-rank matrices."""
    return attempted(spectral.svdvals, matrix(A, "svdvals"), problem=_CONVERGENCE.format("svdvals"))


# QR, and products of Householder reflections


def qr(A: Any, mode: str = "reduced") -> Any:
    """Orthonormal Q and upper triangular R with A = Q R; with mode "complete" Q is square, with "r" it is empty.

    Differentiable where the leading square part of A is regular. Raises `RuntimeError` for another mode.
    """
    x = matrix(A, "qr")
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or 'complete'"
        )
    q, r = wrap(triangular.qr(x, complete=mode == "complete"))
    return _qr(new_handle(np.empty(0, x._value.dtype)) if mode == "r" else q, r)


def geqrf(input: Any) -> Any:
    """The QR factorisation as LAPACK leaves it: R above the diagonal, Householder vectors below, and their `tau`; for
    `householder_product` and `ormqr`. It has no gradient.
    """
    x = matrix(input, "geqrf")
    h, tau = np.linalg.qr(numbers(stop_gradient(x), "geqrf"), mode="raw")
    return _geqrf(new_handle(np.ascontiguousarray(h.swapaxes(-1, -2))), new_handle(tau))


def _reflections(input: Any, tau: Any, name: str) -> tuple[Any, Any]:
    """V and T with H₁⋯H_k = 1 - V T Vᴴ for the reflections H_i = 1 - tau_i v_i v_iᴴ, v_i the unit lower trapezoidal
    columns of the input. Source: Schreiber and Van Loan, "A storage-efficient WY representation" (1989).
    """
    a, t = matrix(input, name), inexact(tau, name)
    m, n = a._value.shape[-2:]
    k = t._value.shape[-1]
    if n < k:
        raise RuntimeError(f"linalg.{name}: input.shape[-1] must be greater than or equal to tau.shape[-1]")
    same_dtype(a, t, name)
    v = tril(spectral.columns(a, 0, k), diagonal=-1) + np.eye(m, k, dtype=a._value.dtype)
    gram = triu(matmul(transposed(v, conjugate=True), v), diagonal=1)
    rows = s.reshape(t, shape=(*t._value.shape, 1))
    return v, wrap(triangular.solve_triangular(rows * gram, spectral.on_diagonal(t), lower=False, unit=True))


def householder_product(input: Any, tau: Any) -> Any:
    """The first columns of the product of the Householder reflections that `geqrf` gives, (m, n) as the input."""
    v, t = _reflections(input, tau, "householder_product")
    m, n = input.shape[-2:]
    if m < n:
        raise RuntimeError(
            "linalg.householder_product: input.shape[-2] must be greater than or equal to input.shape[-1]"
        )
    first = transposed(spectral.rows(v, 0, n), conjugate=True)
    return np.eye(m, n, dtype=v._value.dtype) - matmul(v, matmul(t, first))


def ormqr(input: Any, tau: Any, other: Any, left: bool = True, transpose: bool = False) -> Any:
    """The product of Householder reflections, or its adjoint if `transpose`, times `other`; from the right unless
    `left`.
    """
    v, t = _reflections(input, tau, "ormqr")
    x = as_handle(other)
    if transpose:
        t = transposed(t, conjugate=True)
    vh = transposed(v, conjugate=True)
    return x - (matmul(v, matmul(t, matmul(vh, x))) if left else matmul(matmul(matmul(x, v), t), vh))


# LU


def _pivoted(pivot: bool, name: str) -> None:
    if not pivot:
        raise RuntimeError(f"linalg.{name}: LU without pivoting is not implemented on the CPU")


def lu_factor(A: Any, *, pivot: bool = True) -> Any:
    """The LU factorisation in one matrix, and the rows exchanged, counted from 1: `(LU, pivots)` for `lu_solve` and
    `lu_unpack`.

    Raises `LinAlgError` for a singular square matrix.
    """
    factors, pivots, info = lu_factor_ex(A, pivot=pivot)
    _check_info(info, "lu_factor")
    return _lu_factor(factors, pivots)


def _check_info(info: Any, name: str) -> None:
    bad = int(np.max(info._value, initial=0)) if isinstance(info._value, np.ndarray | np.generic) else 0
    if bad:
        raise LinAlgError(
            f"torch.linalg.{name}: U[{bad},{bad}] is zero and using it on lu_solve would result in a division by zero. "
            "If you still want to perform the factorization, consider calling linalg.lu(A, pivot) or "
            "linalg.lu_factor_ex(A, pivot)"
        )


def lu_factor_ex(A: Any, *, pivot: bool = True, check_errors: bool = False) -> Any:
    """`lu_factor` with LAPACK's report `info`: 0, or where U first has a 0 on its diagonal. Raises `LinAlgError` for
    that with `check_errors`.
    """
    x = matrix(A, "lu_factor_ex")
    _pivoted(pivot, "lu_factor_ex")
    factors, pivots, _ = wrap(triangular.lu_factor(x))
    info = _info(factors)
    if check_errors:
        _check_info(info, "lu_factor_ex")
    return _lu_factor_ex(factors, wrap(pivots + 1), info)


def _info(factors: Any) -> Any:
    """For each factorisation 0, or where the diagonal of U is first 0, counted from 1."""
    shape = tuple(factors._value.shape)
    k = min(shape[-2:])
    if not k:
        return new_handle(np.zeros(shape[:-2], np.int32))
    bad = equal(stop_gradient(spectral.diagonal_of(factors)), 0)
    place = where(bad, np.arange(1, k + 1, dtype=np.int32), np.int32(k + 1))
    first = wrap(place).amin(-1)
    return wrap(where(equal(first, k + 1), np.int32(0), first))


def lu(A: Any, *, pivot: bool = True) -> Any:
    """The permutation P, unit lower triangular L and upper triangular U with A = P L U, as `(P, L, U)`."""
    x = matrix(A, "lu")
    _pivoted(pivot, "lu")
    factors, _, order = wrap(triangular.lu_factor(x))
    return _lu(permutation(order, x._value.dtype), *triangles(factors))


def triangles(factors: Any) -> tuple[Any, Any]:
    """The unit lower and the upper triangular factor that one matrix holds."""
    m, n = factors._value.shape[-2:]
    k = min(m, n)
    lower = tril(spectral.columns(factors, 0, k), diagonal=-1) + np.eye(m, k, dtype=factors._value.dtype)
    return wrap(lower), wrap(triu(spectral.rows(factors, 0, k), diagonal=0))


def permutation(order: Any, dtype: Any) -> Any:
    """P with P @ x putting row i of x into row order[i]."""
    n = order._value.shape[-1]
    hits = equal(s.reshape(order, shape=(*order._value.shape[:-1], 1, n)), np.arange(n).reshape(n, 1))
    return wrap(hits).to(dtype)


def lu_unpack(LU_data: Any, LU_pivots: Any, unpack_data: bool = True, unpack_pivots: bool = True) -> Any:
    """`(P, L, U)` from what `lu_factor` gives; empty ones for what is not asked for."""
    factors = matrix(LU_data, "lu_unpack")
    dtype = factors._value.dtype
    empty = new_handle(np.empty(0, dtype))
    lower, upper = triangles(factors) if unpack_data else (empty, empty)
    if not unpack_pivots:
        return _lu_unpack(empty, lower, upper)
    order = triangular.row_order(as_handle(LU_pivots) - 1, length=factors._value.shape[-2])
    return _lu_unpack(permutation(wrap(order), dtype), lower, upper)
