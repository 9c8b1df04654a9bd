"""Linear systems, inverses and determinants, under the names of `torch.linalg`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pullback.ops import elementwise as e
from pullback.ops import factor, matrix_functions, triangular
from pullback.ops import shape as s
from pullback.tape.node import new_handle, wrap
from pullback.tensor.dispatch import as_handle, is_raw
from pullback.tensor.factoring import svdvals
from pullback.tensor.linear import matmul
from pullback.tensor.matrices import (
    LinAlgError,
    attempted,
    broadcast_lead,
    eps_of,
    from_triangle,
    inexact,
    is_vector,
    matrix,
    real_dtype,
    same_dtype,
    square,
    tolerances,
    transposed,
    zero_info,
)
from pullback.tensor.matrix_norms import matrix_norm, matrix_rank
from pullback.tensor.results import result_type

__all__ = [
    "cond",
    "det",
    "inv",
    "inv_ex",
    "logdet",
    "lstsq",
    "lu_solve",
    "matrix_exp",
    "matrix_power",
    "pinv",
    "slogdet",
    "solve",
    "solve_ex",
    "solve_triangular",
    "tensorinv",
    "tensorsolve",
]

_slogdet = result_type("linalg_slogdet", "sign", "logabsdet")
_inv_ex = result_type("linalg_inv_ex", "inverse", "info")
_solve_ex = result_type("linalg_solve_ex", "result", "info")
_lstsq = result_type("linalg_lstsq", "solution", "residuals", "rank", "singular_values")


# Inverses and determinants


def inv(A: Any) -> Any:
    """The inverse of square matrices. Raises `LinAlgError` for a singular one."""
    return attempted(
        factor.inv,
        square(A, "inv"),
        problem="linalg.inv: The diagonal element of U is zero, the inversion could not be completed "
        "because the input matrix is singular.",
    )


def _with_info(function: Any, kind: Any, checked: bool, a: Any, *others: Any, **options: Any) -> Any:
    """The result of a function and LAPACK's report: NaN and 1 where it raises, unless `checked`."""
    try:
        return kind(function(a, *others, **options), new_handle(zero_info(a)))
    except LinAlgError:
        if checked:
            raise
    y = function(np.eye(a._value.shape[-1], dtype=a._value.dtype) + 0.0 * a, *others, **options)
    return kind(y * math.nan, new_handle(np.ones(tuple(a._value.shape)[:-2], np.int32)))


def inv_ex(A: Any, *, check_errors: bool = False) -> Any:
    """`inv`, and for each matrix 0 or LAPACK's report that it is singular. If one is, all inverses are NaN, unless
    `check_errors`, which raises `LinAlgError`.
    """
    return _with_info(inv, _inv_ex, check_errors, square(A, "inv_ex"))


def det(A: Any) -> Any:
    """The determinants of square matrices."""
    return wrap(factor.det(square(A, "det")))


def slogdet(A: Any) -> Any:
    """The sign and the logarithm of the absolute value of determinants: a named tuple `(sign, logabsdet)`."""
    return _slogdet(*map(wrap, factor.slogdet(square(A, "slogdet"))))


def logdet(A: Any) -> Any:
    """The logarithm of determinants; NaN for negative ones."""
    sign, log = slogdet(A)
    return e.where(sign < 0, math.nan, log) if sign._value.dtype.kind == "f" else sign.log() + log


def matrix_power(A: Any, n: int) -> Any:
    """A multiplied with itself `n` times; the inverse's power for negative `n`. By repeated squaring."""
    x = square(A, "matrix_power")
    if n < 0:
        x, n = inv(x), -n
    if n == 0:
        one = np.broadcast_to(np.eye(x._value.shape[-1], dtype=x._value.dtype), tuple(x._value.shape))
        return wrap(e.where(np.zeros(tuple(x._value.shape), bool), x, one))  # a function of x, with gradient 0
    result = None
    while n:
        if n & 1:
            result = x if result is None else matmul(result, x)
        n >>= 1
        if n:
            x = matmul(x, x)
    return wrap(result) if result is not A else x * 1


def matrix_exp(A: Any) -> Any:
    """The exponential of square matrices, the sum of Aᵏ/k!.

    >>> import pullback as pb
    >>> pb.linalg.matrix_exp(pb.tensor([[0.0, 1.0], [0.0, 0.0]]))
    tensor([[1., 1.],
            [0., 1.]])
    """
    return wrap(matrix_functions.matrix_exp(square(A, "matrix_exp")))


def cond(A: Any, p: Any = None) -> Any:
    """The condition number: the norm `p` of A times that of its inverse, infinite for singular matrices. For p 2 (None)
    and -2 the quotient of the largest and smallest singular values, also of matrices that are not square.
    """
    x = matrix(A, "cond")
    shape = tuple(x._value.shape)
    if not math.prod(shape[-2:]):
        return wrap(np.zeros(shape[:-2], real_dtype(x)))
    if p is None or p in (2, -2):
        values = svdvals(x)
        first, last = values[..., 0], values[..., -1]
        return last / first if p == -2 else first / last
    x = square(x, "cond")
    try:
        inverse = inv(x)
    except LinAlgError:
        return matrix_norm(x, p) * math.inf
    return matrix_norm(x, p) * matrix_norm(inverse, p)


# Systems


def _fitting(a: Any, b: Any, rows: int, name: str) -> None:
    shape, right = tuple(a._value.shape), tuple(b._value.shape)
    if right[-2] != rows:
        raise RuntimeError(
            f"linalg.{name}: Incompatible shapes of A and B for the equation AX = B ({shape[-2]}x{shape[-1]} and "
            f"{right[-2]}x{right[-1]})"
        )


def _column(b: Any) -> Any:
    return wrap(s.reshape(b, shape=(*b._value.shape, 1)))


def _line(y: Any) -> Any:
    return wrap(s.reshape(y, shape=tuple(y._value.shape)[:-1]))


def solve(A: Any, B: Any, *, left: bool = True) -> Any:
    """The X with A @ X = B (or X @ A = B if not `left`): B is a vector or a matrix, or a batch of them.

    Raises `LinAlgError` for a singular A.
    """
    a, b = square(A, "solve"), inexact(B, "solve")
    same_dtype(a, b, "solve")
    vector = is_vector(tuple(a._value.shape), tuple(b._value.shape))
    if vector:
        b = _column(b)
    elif not left:
        a, b = transposed(a), transposed(b)
    _fitting(a, b, a._value.shape[-1], "solve")
    y = attempted(
        factor.solve, a, b, problem="torch.linalg.solve: The solver failed because the input matrix is singular."
    )
    if vector:
        return _line(y)
    return y if left else transposed(y)


def solve_ex(A: Any, B: Any, *, left: bool = True, check_errors: bool = False) -> Any:
    """`solve`, and for each matrix 0 or LAPACK's report that it is singular. If one is, the results are NaN, unless
    `check_errors`, which raises `LinAlgError`.
    """
    return _with_info(solve, _solve_ex, check_errors, square(A, "solve_ex"), B, left=left)


def solve_triangular(A: Any, B: Any, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Any:
    """The X with A @ X = B (or X @ A = B if not `left`) for triangular A, of which the other triangle is not read, nor
    the diagonal if `unitriangular`.

    Raises `LinAlgError` for a singular A.
    """
    a, b = square(A, "solve_triangular"), matrix(B, "solve_triangular")
    same_dtype(a, b, "solve_triangular")
    lower = not upper
    if not left:
        a, b, lower = transposed(a), transposed(b), upper
    _fitting(a, b, a._value.shape[-1], "solve_triangular")
    y = attempted(
        triangular.solve_triangular,
        a,
        b,
        lower=lower,
        unit=bool(unitriangular),
        problem="linalg.solve_triangular: The solver failed because the input matrix is singular.",
    )
    return y if left else transposed(y)


def lu_solve(LU: Any, pivots: Any, B: Any, *, left: bool = True, adjoint: bool = False) -> Any:
    """The X with A @ X = B (or X @ A = B if not `left`; Aᴴ for A if `adjoint`), given what `lu_factor` made of A."""
    factors, b = square(LU, "lu_solve"), matrix(B, "lu_solve")
    same_dtype(factors, b, "lu_solve")
    if not left:  # X A = B is Aᴴ Xᴴ = Bᴴ
        b, adjoint = transposed(b, conjugate=True), not adjoint
    order = wrap(triangular.row_order(as_handle(pivots) - 1, length=factors._value.shape[-1]))
    _fitting(factors, b, factors._value.shape[-1], "lu_solve")
    wide = broadcast_lead(factors, b)[1]
    order = _line(broadcast_lead(_column(order), wide)[0])
    if adjoint:
        flipped = transposed(factors, conjugate=True)
        y = triangular.solve_triangular(flipped, wide, lower=True, unit=False)
        y = triangular.solve_triangular(flipped, y, lower=False, unit=True)
        order = order.argsort(-1)
    else:
        y = triangular.permuted_rows(wide, order)
        y = triangular.solve_triangular(factors, y, lower=True, unit=True)
        y = triangular.solve_triangular(factors, y, lower=False, unit=False)
    y = wrap(triangular.permuted_rows(y, order) if adjoint else y)
    return y if left else transposed(y, conjugate=True)


# Least squares


def pinv(A: Any, rcond: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Any:
    """The pseudoinverses of matrices. Singular values up to the larger of `atol` and `rtol` times the largest count as
    0; `rtol` is eps times the larger side if neither is given. If `hermitian`, the lower triangle is read.

    The derivative is that of a change which keeps the rank.
    """
    x = matrix(A, "pinv")
    if hermitian:
        x = from_triangle(square(x, "pinv"), True)
        x = wrap(factor.hermitian(x))
    low, relative = tolerances(x, atol, rcond if rtol is None else rtol)
    return wrap(matrix_functions.pinv(x, low, relative))


def lstsq(A: Any, B: Any, rcond: float | None = None, *, driver: str | None = None) -> Any:
    """The X of least Frobenius norm that minimises that of A @ X - B: `(solution, residuals, rank, singular_values)`.

    Singular values up to `rcond` times the largest count as 0. The residuals, sums of squares for each right-hand side,
    are empty unless A has more rows than columns and full rank; the rank is left out by driver "gels", and the singular
    values are given by "gelsd" and "gelss", as in PyTorch. The gradient passes through the solution and the residuals.
    """
    a, b = matrix(A, "lstsq"), inexact(B, "lstsq")
    same_dtype(a, b, "lstsq")
    driver = driver or "gelsy"
    if driver not in ("gels", "gelsy", "gelsd", "gelss"):
        raise RuntimeError(
            f"torch.linalg.lstsq: parameter `driver` should be one of (gels, gelsy, gelsd, gelss), not {driver}"
        )
    m, n = a._value.shape[-2:]
    vector = is_vector(tuple(a._value.shape), tuple(b._value.shape))
    b = _column(b) if vector else b
    _fitting(a, b, m, "lstsq")
    cut = eps_of(a) * max(m, n) if rcond is None else rcond
    x = matmul(pinv(a, rtol=cut), b)
    empty = new_handle(np.empty(0, real_dtype(a)))
    rank = matrix_rank(a, rtol=cut)
    residuals = empty
    if m > n and driver != "gelsy" and (not is_raw(rank) or bool(np.all(rank._value == n))):
        residuals = (matmul(a, x) - b).abs().square().sum(-2)
    values = svdvals(a.detach()) if driver in ("gelsd", "gelss") else empty
    found = new_handle(np.empty(0, np.int64)) if driver == "gels" else rank
    return _lstsq(_line(x) if vector else x, residuals, found, values)


# Tensors as matrices


def tensorinv(A: Any, ind: int = 2) -> Any:
    """The inverse of A as a map from its last dimensions to its first `ind`, whose sizes have one product."""
    x = inexact(A, "tensorinv")
    if ind <= 0:
        raise RuntimeError("Expected a strictly positive integer for 'ind'")
    shape = tuple(x._value.shape)
    rows, columns = math.prod(shape[:ind]), math.prod(shape[ind:])
    if rows != columns:
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[ind:]) == prod(self.shape[:ind]), "
            f"but got {columns} != {rows}"
        )
    return wrap(s.reshape(inv(s.reshape(x, shape=(rows, columns))), shape=(*shape[ind:], *shape[:ind])))


def tensorsolve(A: Any, B: Any, dims: Any = None) -> Any:
    """The X with tensordot(A, X, X.ndim) = B, after moving the dimensions `dims` of A to its end."""
    a, b = inexact(A, "tensorsolve"), inexact(B, "tensorsolve")
    if dims is not None:
        a = a.movedim(tuple(dims), tuple(range(len(a._value.shape) - len(dims), len(a._value.shape))))
    shape, right = tuple(a._value.shape), tuple(b._value.shape)
    rest = shape[len(right) :]
    if math.prod(rest) != math.prod(right):
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == prod(self.shape[:other.ndim]), "
            f"but got {math.prod(rest)} != {math.prod(shape[: len(right)])}"
        )
    flat = s.reshape(a, shape=(math.prod(right), math.prod(rest)))
    return wrap(s.reshape(solve(flat, s.reshape(b, shape=(math.prod(right),))), shape=rest))
