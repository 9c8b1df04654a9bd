"""`pb.scipy.linalg`: SciPy's linear algebra over Tensors, with SciPy's signatures.

Stacks of matrices are taken throughout. What only says how to compute (`overwrite_a`, `lapack_driver`, `lwork`) has no
effect; `check_finite` is heeded where the numbers are known. Singular matrices raise `numpy.linalg.LinAlgError`. Of
symmetric, Hermitian and positive definite matrices one triangle is read, as in SciPy; where both are given, the
gradient is symmetric.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.ops import linalg as la
from pullback.ops import shape as s
from pullback.ops.elementwise import where
from pullback.ops.index import gather
from pullback.ops.triangular import permuted_rows, row_order
from pullback.scipy.entries.matrices import toeplitz
from pullback.scipy.entries.matrix_operands import adjoint, conjugate, operand
from pullback.scipy.table import implements
from pullback.tape.node import wrap
from pullback.tensor import factoring, matrix_norms, systems
from pullback.tensor.matrices import broadcast_lead, completed, eps_of, from_triangle, tolerances, transposed
from pullback.tensor.numpy_api import linalg as numpy_linalg
from pullback.tensor.numpy_api.operands import dtype_of, promoted, rank, raw, shape_of
from pullback.tensor.numpy_api.products import kron as numpy_kron
from pullback.tensor.numpy_api.products import matmul
from pullback.values.optional import scipy_module

__all__: list[str] = []

LinAlgError = np.linalg.LinAlgError


def _pair(a: Any, b: Any, check_finite: bool) -> tuple[Any, Any, bool]:
    """A square matrix and right-hand sides as a matrix, and whether they were a vector.

    Raises `ValueError` if they don't fit.
    """
    x, y = promoted(operand(a, check_finite, square=True), operand(b, check_finite, least=1))
    vector = rank(y) == 1
    y = wrap(s.reshape(y, shape=(*shape_of(y), 1))) if vector else y
    if shape_of(y)[-2] != shape_of(x)[-1]:
        raise ValueError(f"shapes of a {shape_of(x)} and b {np.shape(b)} are incompatible")
    return x, y, vector


def _shaped(y: Any, vector: bool) -> Any:
    y = wrap(y)
    return wrap(s.reshape(y, shape=shape_of(y)[:-1])) if vector else y


# Systems


@implements("linalg.solve")
def solve(
    a: Any,
    b: Any,
    lower: bool = False,
    overwrite_a: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = True,
    assume_a: str | None = None,
    transposed: bool = False,
) -> Any:
    """The x with a @ x = b, aᵀ in place of a if `transposed`. `assume_a` says which parts of a are read."""
    x, y, vector = _pair(a, b, check_finite)
    kind = {"gen": "general", "sym": "symmetric", "her": "hermitian", "pos": "positive definite"}.get(
        assume_a or "general", assume_a or "general"
    )
    if kind in ("lower triangular", "upper triangular"):
        below = kind.startswith("lower")
        x = la.matrix_transpose(x) if transposed else x
        return _shaped(la.solve_triangular(x, y, lower=below is not transposed, unit=False), vector)
    if kind == "positive definite":
        factor = la.cholesky(from_triangle(x, lower))
        if transposed:
            factor = conjugate(wrap(factor)) if dtype_of(x).kind == "c" else factor
        return _shaped(_cholesky_solve(factor, y), vector)
    if kind == "symmetric" and dtype_of(x).kind == "c":
        keep, other = (la.tril, -1) if lower else (la.triu, 1)
        x = keep(x, diagonal=0) + la.matrix_transpose(keep(x, diagonal=other))
    elif kind in ("symmetric", "hermitian"):
        x = from_triangle(x, lower)
    elif kind not in ("general", "diagonal", "tridiagonal", "banded"):
        raise ValueError(f"{assume_a} is not a recognized matrix structure")
    return _shaped(la.solve(la.matrix_transpose(x) if transposed else x, y), vector)


def _cholesky_solve(lower: Any, b: Any) -> Any:
    half = la.solve_triangular(lower, b, lower=True, unit=False)
    return la.solve_triangular(adjoint(wrap(lower)), half, lower=False, unit=False)


@implements("linalg.solve_triangular")
def solve_triangular(
    a: Any,
    b: Any,
    trans: int | str = 0,
    lower: bool = False,
    unit_diagonal: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = True,
) -> Any:
    """The x with a @ x = b for triangular a; `trans` 1 or "T" puts aᵀ in its place, 2 or "C" its adjoint."""
    x, y, vector = _pair(a, b, check_finite)
    way = {0: 0, "N": 0, 1: 1, "T": 1, 2: 2, "C": 2}[trans]
    x = (x, la.matrix_transpose(x), adjoint(x))[way]
    below = lower if way == 0 else not lower
    return _shaped(la.solve_triangular(x, y, lower=bool(below), unit=bool(unit_diagonal)), vector)


def _from_bands(ab: Any, below: int, above: int) -> Any:
    """The square matrix whose diagonals are the rows of `ab`, from the `above`-th on."""
    n = shape_of(ab)[-1]
    i, j = np.ogrid[:n, :n]
    row = above + i - j
    inside = (row >= 0) & (row <= below + above)
    return where(inside, gather(ab, np.where(inside, row, 0), np.broadcast_to(j, (n, n))), 0.0)


@implements("linalg.solve_banded")
def solve_banded(
    l_and_u: Any, ab: Any, b: Any, overwrite_ab: bool = False, overwrite_b: bool = False, check_finite: bool = True
) -> Any:
    """The x with a @ x = b, given the diagonals of a. Solved as a full system."""
    below, above = (int(n) for n in l_and_u)
    bands = operand(ab, check_finite)
    if rank(bands) != 2 or shape_of(bands)[0] != below + above + 1:
        raise ValueError(
            "invalid values for the number of lower and upper diagonals: "
            f"l+u+1 ({below + above + 1}) does not equal ab.shape[0] ({shape_of(bands)[0]})"
        )
    return solve(_from_bands(bands, below, above), b, check_finite=check_finite)


@implements("linalg.solveh_banded")
def solveh_banded(
    ab: Any,
    b: Any,
    overwrite_ab: bool = False,
    overwrite_b: bool = False,
    lower: bool = False,
    check_finite: bool = True,
) -> Any:
    """The x with a @ x = b for Hermitian positive definite a, given its diagonals. Solved as a full system."""
    bands = operand(ab, check_finite)
    width = shape_of(bands)[0] - 1
    matrix = _from_bands(bands, width if lower else 0, 0 if lower else width)
    return solve(completed(matrix, lower), b, lower=lower, check_finite=check_finite, assume_a="pos")


@implements("linalg.solve_toeplitz")
def solve_toeplitz(c_or_cr: Any, b: Any, check_finite: bool = True) -> Any:
    """The x with toeplitz(c, r) @ x = b. Solved as a full system."""
    pair = c_or_cr if isinstance(c_or_cr, tuple) else (c_or_cr,)
    return solve(toeplitz(*pair), b, check_finite=check_finite)


@implements("linalg.solve_sylvester")
def solve_sylvester(a: Any, b: Any, q: Any) -> Any:
    """The x with a @ x + x @ b = q, by SciPy; its derivative solves the adjoint equation."""
    x, y, z = promoted(operand(a, square=True), operand(b, square=True), operand(q))
    return wrap(la.sylvester(x, y, z))


@implements("linalg.solve_continuous_lyapunov", "linalg.solve_lyapunov")
def solve_continuous_lyapunov(a: Any, q: Any) -> Any:
    """The x with a @ x + x @ aᴴ = q."""
    x = operand(a, square=True)
    return solve_sylvester(x, adjoint(x), q)


@implements("linalg.solve_discrete_lyapunov")
def solve_discrete_lyapunov(a: Any, q: Any, method: str | None = None) -> Any:
    """The x with a @ x @ aᴴ - x + q = 0: "direct", a linear system of n² unknowns, or "bilinear", which is the default
    from 10 rows on.
    """
    x, y = promoted(operand(a, square=True), operand(q, square=True))
    n = shape_of(x)[-1]
    method = (method or ("direct" if n < 10 else "bilinear")).lower()
    if method == "direct":
        system = np.eye(n * n) - numpy_kron(x, conjugate(x))
        return wrap(s.reshape(solve(system, s.reshape(y, shape=(n * n,))), shape=(n, n)))
    if method != "bilinear":
        raise ValueError(f"Unknown solver {method}")
    one = np.eye(n, dtype=dtype_of(x))
    xh = adjoint(x)
    right = inv(xh + one)
    b = matmul(xh - one, right)
    c = 2 * matmul(matmul(inv(x + one), y), right)
    return solve_continuous_lyapunov(adjoint(b), -c)


# Inverses, determinants, norms, least squares


@implements("linalg.inv")
def inv(
    a: Any,
    overwrite_a: bool = False,
    check_finite: bool = True,
    *,
    assume_a: str | None = None,
    lower: bool = False,
) -> Any:
    """The inverse; `assume_a` as in `solve`."""
    x = operand(a, check_finite, square=True)
    if assume_a in (None, "gen", "general"):
        return wrap(la.inv(x))
    return solve(x, np.eye(shape_of(x)[-1], dtype=dtype_of(x)), lower=lower, assume_a=assume_a)


@implements("linalg.det")
def det(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> Any:
    """The determinant; its derivative is right for singular matrices too."""
    return wrap(la.det(operand(a, check_finite, square=True)))


@implements("linalg.norm")
def norm(a: Any, ord: Any = None, axis: Any = None, keepdims: bool = False, check_finite: bool = True) -> Any:
    """The norms of `numpy.linalg.norm`."""
    return numpy_linalg.norm(operand(a, check_finite, least=0), ord, axis, keepdims)


def _pseudoinverse(x: Any, atol: Any, rtol: Any, return_rank: bool) -> Any:
    atol = 0.0 if atol is None else atol
    rtol = eps_of(x) * max(shape_of(x)[-2:]) if rtol is None else rtol
    y = wrap(la.pinv(x, *tolerances(x, atol, rtol)))
    return (y, matrix_norms.matrix_rank(x, atol=atol, rtol=rtol)) if return_rank else y


@implements("linalg.pinv")
def pinv(a: Any, *, atol: Any = None, rtol: Any = None, return_rank: bool = False, check_finite: bool = True) -> Any:
    """The pseudoinverse; its derivative is that of a change which keeps the rank."""
    return _pseudoinverse(operand(a, check_finite), atol, rtol, return_rank)


@implements("linalg.pinvh")
def pinvh(
    a: Any,
    atol: Any = None,
    rtol: Any = None,
    lower: bool = True,
    return_rank: bool = False,
    check_finite: bool = True,
) -> Any:
    """The pseudoinverse of a Hermitian matrix."""
    x = from_triangle(operand(a, check_finite, square=True), lower)
    return _pseudoinverse(x, atol, rtol, return_rank)


@implements("linalg.lstsq")
def lstsq(
    a: Any,
    b: Any,
    cond: float | None = None,
    overwrite_a: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = True,
    lapack_driver: str | None = None,
) -> tuple[Any, Any, Any, Any]:
    """`(x, residuals, rank, s)`; `s` is None for the driver "gelsy"."""
    x, y = promoted(operand(a, check_finite), operand(b, check_finite, least=1))
    cut = eps_of(x) if cond is None else cond
    found = systems.lstsq(x, y, cut, driver="gelss")
    residuals = found.residuals
    if rank(y) == 1 and shape_of(residuals) == (1,):
        residuals = wrap(s.reshape(residuals, shape=()))
    return found.solution, residuals, found.rank, None if lapack_driver == "gelsy" else wrap(la.svdvals(x))


# Factorisations


@implements("linalg.cholesky")
def cholesky(a: Any, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True) -> Any:
    """The upper triangular u with uᴴ u = a, or the lower l with l lᴴ = a."""
    y = wrap(la.cholesky(from_triangle(operand(a, check_finite, square=True), lower)))
    return y if lower else adjoint(y)


@implements("linalg.cho_factor")
def cho_factor(a: Any, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True) -> tuple[Any, bool]:
    """The factor of `cholesky`, with zeros in the other triangle, and `lower`; for `cho_solve`."""
    return cholesky(a, lower, check_finite=check_finite), lower


@implements("linalg.cho_solve")
def cho_solve(c_and_lower: Any, b: Any, overwrite_b: bool = False, check_finite: bool = True) -> Any:
    """The x with a @ x = b, given what `cho_factor` made of a."""
    factor, lower = c_and_lower
    x, y, vector = _pair(factor, b, check_finite)
    return _shaped(_cholesky_solve(x if lower else adjoint(x), y), vector)


@implements("linalg.lu_factor")
def lu_factor(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> tuple[Any, Any]:
    """Both factors in one matrix, and the rows exchanged, counted from 0; for `lu_solve`."""
    return wrap(la.lu_factor(operand(a, check_finite)))[:2]  # type: ignore[no-any-return]


@implements("linalg.lu_solve")
def lu_solve(lu_and_piv: Any, b: Any, trans: int = 0, overwrite_b: bool = False, check_finite: bool = True) -> Any:
    """The x with a @ x = b, given what `lu_factor` made of a; `trans` 1 for aᵀ, 2 for the adjoint."""
    factors, pivots = lu_and_piv
    x, y, vector = _pair(factors, b, check_finite)
    x, y = broadcast_lead(x, y)
    order = wrap(row_order(pivots, length=shape_of(x)[-1]))
    if trans == 0:
        y = permuted_rows(y, order)
        y = la.solve_triangular(x, y, lower=True, unit=True)
        return _shaped(la.solve_triangular(x, y, lower=False, unit=False), vector)
    flipped = adjoint(x) if trans == 2 else transposed(x)
    y = la.solve_triangular(flipped, y, lower=True, unit=False)
    y = la.solve_triangular(flipped, y, lower=False, unit=True)
    return _shaped(permuted_rows(y, order.argsort(-1)), vector)


@implements("linalg.lu")
def lu(
    a: Any, permute_l: bool = False, overwrite_a: bool = False, check_finite: bool = True, p_indices: bool = False
) -> Any:
    """`(p, l, u)` with a = p @ l @ u; `(p @ l, u)` with `permute_l`; with `p_indices` a = l[p] @ u."""
    x = operand(a, check_finite)
    factors, _, order = wrap(la.lu_factor(x))
    lower, upper = factoring.triangles(factors)
    place = wrap(order.argsort(-1))
    if permute_l:
        return wrap(permuted_rows(lower, place)), upper
    return place if p_indices else factoring.permutation(order, dtype_of(x)), lower, upper


@implements("linalg.qr")
def qr(
    a: Any,
    overwrite_a: bool = False,
    lwork: Any = None,
    mode: str = "full",
    pivoting: bool = False,
    check_finite: bool = True,
) -> Any:
    """`(q, r)` in the modes full and economic, `(r,)` in the mode r; with `pivoting` also the order of the columns, for
    which the numbers must be known. The mode raw has no derivative: `TypeError`.
    """
    x = operand(a, check_finite)
    if mode == "raw":
        raise TypeError("scipy.linalg.qr with mode='raw' has no derivative in pullback")
    if mode not in ("full", "qr", "r", "economic"):
        raise ValueError("Mode argument should be one of ['full', 'r', 'economic', 'raw']")
    order: tuple[Any, ...] = ()
    if pivoting:
        from_numbers = scipy_module("linalg").qr(raw(x, "scipy.linalg.qr with pivoting"), mode="r", pivoting=True)[1]
        x, order = transposed(permuted_rows(transposed(x), from_numbers)), (from_numbers,)
    q, r = wrap(la.qr(x, complete=mode != "economic"))
    return (r, *order) if mode == "r" else (q, r, *order)


@implements("linalg.svd")
def svd(
    a: Any,
    full_matrices: bool = True,
    compute_uv: bool = True,
    overwrite_a: bool = False,
    check_finite: bool = True,
    lapack_driver: str = "gesdd",
) -> Any:
    """`(u, s, vh)`, or `s` alone unless `compute_uv`."""
    x = operand(a, check_finite)
    return wrap(la.svd(x, full=bool(full_matrices)) if compute_uv else la.svdvals(x))


@implements("linalg.svdvals")
def svdvals(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> Any:
    """The singular values, descending."""
    return wrap(la.svdvals(operand(a, check_finite)))


@implements("linalg.orth")
def orth(A: Any, rcond: float | None = None) -> Any:
    """An orthonormal basis of the range of A; how many columns it has depends on the numbers."""
    x = operand(A)
    cut = eps_of(x) * max(shape_of(x)) if rcond is None else rcond
    u = wrap(la.svd(x, full=False))[0]
    return u[:, : int(raw(matrix_norms.matrix_rank(x, rtol=cut), "scipy.linalg.orth"))]


@implements("linalg.null_space")
def null_space(
    A: Any,
    rcond: float | None = None,
    *,
    overwrite_a: bool = False,
    check_finite: bool = True,
    lapack_driver: str = "gesdd",
) -> Any:
    """An orthonormal basis of the null space of A; how many columns it has depends on the numbers."""
    x = operand(A, check_finite)
    cut = eps_of(x) * max(shape_of(x)) if rcond is None else rcond
    vh = wrap(la.svd(x, full=True))[2]
    return adjoint(vh[int(raw(matrix_norms.matrix_rank(x, rtol=cut), "scipy.linalg.null_space")) :])


@implements("linalg.polar")
def polar(a: Any, side: str = "right") -> tuple[Any, Any]:
    """u with orthonormal columns or rows and p positive semidefinite with a = u @ p, or p @ u for the side "left"."""
    if side not in ("right", "left"):
        raise ValueError("`side` must be either 'right' or 'left'")
    x = operand(a)
    u, _, vh = wrap(la.svd(x, full=False))
    u = matmul(u, vh)
    p = matmul(adjoint(u), x) if side == "right" else matmul(x, adjoint(u))
    return u, 0.5 * (p + adjoint(p))


@implements("linalg.orthogonal_procrustes")
def orthogonal_procrustes(A: Any, B: Any, check_finite: bool = True) -> tuple[Any, Any]:
    """The orthogonal r that brings A @ r nearest to B, and the sum of the singular values of Aᴴ B."""
    x, y = promoted(operand(A, check_finite), operand(B, check_finite))
    u, values, vh = wrap(la.svd(matmul(adjoint(x), y), full=False))
    return matmul(u, vh), values.sum()


# Eigenvalues


def _chosen(w: Any, v: Any, by_index: Any, by_value: Any) -> tuple[Any, Any]:
    """The eigenvalues with numbers, or in a half-open range of values."""
    if by_value is not None:
        low, high = by_value
        known = raw(w, "subset_by_value")
        by_index = np.searchsorted(known, low, "right"), np.searchsorted(known, high, "right") - 1
    if by_index is None:
        return w, v
    part = slice(int(by_index[0]), int(by_index[1]) + 1)
    return w[..., part], None if v is None else v[..., part]


@implements("linalg.eigh")
def eigh(
    a: Any,
    b: Any = None,
    *,
    lower: bool = True,
    eigvals_only: bool = False,
    overwrite_a: bool = False,
    overwrite_b: bool = False,
    type: int = 1,
    check_finite: bool = True,
    subset_by_index: Any = None,
    subset_by_value: Any = None,
    driver: str | None = None,
) -> Any:
    """Eigenvalues, ascending, and eigenvectors of a, or of a v = w b v (`type` 1), a b v = w v (2), b a v = w v (3) for
    positive definite b. Of equal eigenvalues only functions that do not depend on the choice of vectors have the right
    gradient.
    """
    x = from_triangle(operand(a, check_finite, square=True), lower)
    if b is None:
        if eigvals_only:
            return _chosen(wrap(la.eigvalsh(x)), None, subset_by_index, subset_by_value)[0]
        w, v = wrap(la.eigh(x))
        return _chosen(w, v, subset_by_index, subset_by_value)
    x, metric = promoted(x, operand(b, check_finite, square=True))
    factor = wrap(la.cholesky(from_triangle(metric, lower)))
    fh = adjoint(factor)
    if type == 1:
        half = wrap(la.solve_triangular(factor, x, lower=True, unit=False))
        reduced = la.solve_triangular(factor, adjoint(half), lower=True, unit=False)
    elif type in (2, 3):
        reduced = matmul(matmul(fh, x), factor)
    else:
        raise ValueError('"type" keyword only accepts 1, 2, and 3.')
    if eigvals_only:
        return _chosen(wrap(la.eigvalsh(reduced)), None, subset_by_index, subset_by_value)[0]
    w, y = wrap(la.eigh(reduced))
    v = matmul(factor, y) if type == 3 else la.solve_triangular(fh, y, lower=False, unit=False)
    return _chosen(w, wrap(v), subset_by_index, subset_by_value)


@implements("linalg.eigvalsh")
def eigvalsh(a: Any, b: Any = None, **options: Any) -> Any:
    """The eigenvalues of `eigh`, with its options."""
    return eigh(a, b, eigvals_only=True, **options)


@implements("linalg.eig")
def eig(
    a: Any,
    b: Any = None,
    left: bool = False,
    right: bool = True,
    overwrite_a: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = True,
    homogeneous_eigvals: bool = False,
) -> Any:
    """Eigenvalues, and eigenvectors of length 1 if `right`, before them the `left` ones if asked for; complex always.
    For a regular b those of a v = w b v.
    """
    if homogeneous_eigvals:
        raise TypeError("scipy.linalg.eig with homogeneous_eigvals has no derivative in pullback")
    x = operand(a, check_finite, square=True)
    if b is not None:
        x, metric = promoted(x, operand(b, check_finite, square=True))
        x = la.solve(metric, x)
    w, v = wrap(la.eig(x))
    found: tuple[Any, ...] = (w,)
    if left:
        other = adjoint(wrap(la.inv(v)))
        if b is not None:
            other = wrap(la.solve(adjoint(metric), other))
        found = (*found, other / numpy_linalg.norm(other, axis=-2, keepdims=True))
    found = (*found, v) if right else found
    return found if len(found) > 1 else w


@implements("linalg.eigvals")
def eigvals(
    a: Any, b: Any = None, overwrite_a: bool = False, check_finite: bool = True, homogeneous_eigvals: bool = False
) -> Any:
    """The eigenvalues of `eig`, complex always."""
    return eig(a, b, right=False, check_finite=check_finite, homogeneous_eigvals=homogeneous_eigvals)
