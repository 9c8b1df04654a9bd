"""`pb.scipy.linalg`, continued: functions of matrices, and matrices made from their diagonals or blocks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pullback.ops import linalg as la
from pullback.ops import shape as s
from pullback.ops.cast import cast
from pullback.ops.index import gather
from pullback.scipy.entries.matrix_operands import conjugate, operand
from pullback.scipy.table import implements
from pullback.tape.node import wrap
from pullback.tensor import linalg_legacy, systems
from pullback.tensor.numpy_api.operands import dtype_of, inexact, promoted, rank, shape_of
from pullback.tensor.numpy_api.products import kron as numpy_kron

__all__: list[str] = []


# Functions of matrices


@implements("linalg.expm")
def expm(A: Any) -> Any:
    """The exponential of square matrices.

    >>> import numpy as np
    >>> import pullback as pb
    >>> slope = pb.grad(lambda t: pb.scipy.linalg.expm(t * np.array([[0.0, 1.0], [-1.0, 0.0]]))[0, 1])
    >>> round(slope(0.0), 12)
    np.float64(1.0)
    """
    x = operand(A, False, least=0)
    return wrap(la.matrix_exp(x if rank(x) > 1 else s.reshape(x, shape=(1, 1))))


@implements("linalg.expm_frechet")
def expm_frechet(
    A: Any, E: Any, method: str | None = None, compute_expm: bool = True, check_finite: bool = True
) -> Any:
    """The exponential and its derivative in the direction E, or the derivative alone unless `compute_expm`."""
    x, e = promoted(operand(A, check_finite, square=True), operand(E, check_finite, square=True))
    slope = wrap(la.direction(la.matrix_exp, x, e))
    return (wrap(la.matrix_exp(x)), slope) if compute_expm else slope


def _perhaps_complex(op: Any, A: Any) -> Any:
    """A function of matrices that may be complex for real ones, as far as the numbers tell."""
    x = operand(A, square=True)
    try:
        return wrap(op(x))
    except ValueError:
        return wrap(op(cast(x, dtype=np.result_type(dtype_of(x), np.complex64))))


@implements("linalg.logm")
def logm(A: Any, disp: Any = None) -> Any:
    """The principal logarithm, by SciPy; complex for real matrices that need it, unless the numbers are not known."""
    return _perhaps_complex(la.matrix_log, A)


@implements("linalg.sqrtm")
def sqrtm(A: Any, disp: Any = None, blocksize: Any = None) -> Any:
    """The principal square root, by SciPy; complex for real matrices that need it, unless the numbers are not known.
    Its derivative solves a Sylvester equation.
    """
    return _perhaps_complex(la.matrix_sqrt, A)


@implements("linalg.fractional_matrix_power")
def fractional_matrix_power(A: Any, t: float) -> Any:
    """The power t of a regular matrix: exp(t log A), by repeated squaring for integers."""
    if t == int(t):
        return systems.matrix_power(operand(A, square=True), int(t))
    return expm(t * logm(A))


def _both_ways(x: Any) -> tuple[Any, Any]:
    """exp(ix) and exp(-ix)."""
    turned = 1j * x
    return expm(turned), expm(-turned)


def _part(y: Any, x: Any) -> Any:
    return y if dtype_of(x).kind == "c" else y.real


@implements("linalg.cosm")
def cosm(A: Any) -> Any:
    """The cosine of square matrices."""
    x = operand(A, square=True)
    there, back = _both_ways(x)
    return _part(0.5 * (there + back), x)


@implements("linalg.sinm")
def sinm(A: Any) -> Any:
    """The sine of square matrices."""
    x = operand(A, square=True)
    there, back = _both_ways(x)
    return _part(-0.5j * (there - back), x)


@implements("linalg.tanm")
def tanm(A: Any) -> Any:
    """The tangent of square matrices."""
    return wrap(la.solve(cosm(A), sinm(A)))


@implements("linalg.coshm")
def coshm(A: Any) -> Any:
    """The hyperbolic cosine of square matrices."""
    x = operand(A, square=True)
    return 0.5 * (expm(x) + expm(-x))


@implements("linalg.sinhm")
def sinhm(A: Any) -> Any:
    """The hyperbolic sine of square matrices."""
    x = operand(A, square=True)
    return 0.5 * (expm(x) - expm(-x))


@implements("linalg.tanhm")
def tanhm(A: Any) -> Any:
    """The hyperbolic tangent of square matrices."""
    return wrap(la.solve(coshm(A), sinhm(A)))


# Matrices of a kind


@implements("linalg.block_diag")
def block_diag(*arrs: Any) -> Any:
    """A matrix with the given ones, or vectors as rows, along its diagonal."""
    return linalg_legacy.block_diag(*promoted(*arrs)) if arrs else inexact(np.zeros((1, 0)))


def _line(x: Any) -> Any:
    found = promoted(x)[0]
    return wrap(s.reshape(found, shape=(math.prod(shape_of(found)),)))


def _along_diagonals(values: Any, index: Any) -> Any:
    return wrap(gather(values, index))


@implements("linalg.toeplitz")
def toeplitz(c: Any, r: Any = None) -> Any:
    """The matrix with constant diagonals whose first column is c and first row r, its conjugate if not given."""
    column = _line(c)
    row = conjugate(column) if r is None else _line(r)
    column, row = promoted(column, row)
    m, n = shape_of(column)[0], shape_of(row)[0]
    values = s.concatenate(s.flip(column, axis=(0,)), row[1:], axis=0)
    return _along_diagonals(values, np.arange(m)[::-1, None] + np.arange(n))


@implements("linalg.circulant")
def circulant(c: Any) -> Any:
    """The matrix whose columns are c, turned by one place each."""
    values = _line(c)
    n = shape_of(values)[0]
    return _along_diagonals(values, (np.arange(n)[:, None] - np.arange(n)) % n)


@implements("linalg.hankel")
def hankel(c: Any, r: Any = None) -> Any:
    """The matrix with constant antidiagonals whose first column is c and last row r, zeros if not given; r[0] is not
    read.
    """
    column = _line(c)
    row = column * 0 if r is None else _line(r)
    column, row = promoted(column, row)
    m, n = shape_of(column)[0], shape_of(row)[0]
    return _along_diagonals(s.concatenate(column, row[1:], axis=0), np.arange(m)[:, None] + np.arange(n))


@implements("linalg.companion")
def companion(a: Any) -> Any:
    """The companion matrix of the polynomial with these coefficients, the highest first."""
    values = _line(inexact(a))
    n = shape_of(values)[0] - 1
    top = s.reshape(-(values[1:] / values[0]), shape=(1, n))
    return wrap(s.concatenate(top, np.eye(n - 1, n, dtype=dtype_of(values)), axis=0))


@implements("linalg.kron")
def kron(a: Any, b: Any) -> Any:
    """The Kronecker product."""
    return numpy_kron(a, b)


@implements("linalg.khatri_rao")
def khatri_rao(a: Any, b: Any) -> Any:
    """The Kronecker products of the columns of a with those of b."""
    x, y = promoted(a, b)
    (m, k), (n, _) = shape_of(x), shape_of(y)
    return wrap(s.reshape(s.reshape(x, shape=(m, 1, k)) * s.reshape(y, shape=(1, n, k)), shape=(m * n, k)))
