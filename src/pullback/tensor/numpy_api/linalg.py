"""numpy.linalg over tensors: factorisations, inverses, determinants, norms."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from pullback.ops import compare as c
from pullback.ops import elementwise as e
from pullback.ops import linalg as la
from pullback.ops import reduce as r
from pullback.ops import shape as s
from pullback.ops.cast import cast
from pullback.tensor import matrix_norms as norms
from pullback.tensor import systems
from pullback.tensor.matrices import completed, numbers_within, tolerances, transposed
from pullback.tensor.numpy_api import products, reductions, shapes
from pullback.tensor.numpy_api.operands import (
    all_axes,
    broadcast,
    deliver,
    dtype_of,
    inexact,
    lift,
    one_axis,
    promoted,
    rank,
    shape_of,
    with_dtype,
)
from pullback.tensor.numpy_api.table import implements, not_covered
from pullback.tensor.reduction import singular_norm_over


class SlogdetResult(NamedTuple):
    """The sign of a determinant and the logarithm of its modulus."""

    sign: Any
    logabsdet: Any


class EigResult(NamedTuple):
    """Eigenvalues, and eigenvectors in columns."""

    eigenvalues: Any
    eigenvectors: Any


class EighResult(NamedTuple):
    """Eigenvalues of a Hermitian matrix, and orthonormal eigenvectors in columns."""

    eigenvalues: Any
    eigenvectors: Any


class QRResult(NamedTuple):
    """An orthonormal and an upper triangular factor."""

    Q: Any
    R: Any


class SVDResult(NamedTuple):
    """Left singular vectors in columns, singular values, right singular vectors in rows."""

    U: Any
    S: Any
    Vh: Any


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
    """One triangle of a is read, and gets the gradient; that of the other is 0."""
    lower = la.cholesky(completed(_matrix(a), not upper))
    return transposed(lower, conjugate=True) if upper else lower


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


# Factorisations


@implements("linalg.qr")
def qr(a: Any, mode: str = "reduced") -> Any:
    """The modes reduced, complete and r; differentiable where the leading square part of a is regular."""
    x = _matrix(a, square=False)
    if mode == "raw":
        raise not_covered("linalg.qr with mode='raw'")
    if mode not in ("reduced", "complete", "r"):
        raise ValueError(f"Unrecognized mode '{mode}'")
    q, r_ = la.qr(x, complete=mode == "complete")
    return r_ if mode == "r" else QRResult(q, r_)


@implements("linalg.svd")
def svd(a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False) -> Any:
    """Singular vectors of equal singular values are not unique: functions that do not depend on their choice have the
    right gradient."""
    x = completed(_matrix(a), True) if hermitian else _matrix(a, square=False)
    return SVDResult(*la.svd(x, full=bool(full_matrices))) if compute_uv else la.svdvals(x)


@implements("linalg.svdvals")
def svdvals(x: Any, /) -> Any:
    return la.svdvals(_matrix(x, square=False))


def _triangle(a: Any, uplo: str) -> Any:
    if uplo.upper() not in ("L", "U"):
        raise ValueError("UPLO argument must be 'L' or 'U'")
    return completed(_matrix(a), uplo.upper() == "L")


@implements("linalg.eigh")
def eigh(a: Any, UPLO: str = "L") -> EighResult:
    """One triangle of a is read, and gets the gradient; that of the other is 0. Eigenvectors of equal eigenvalues are
    not unique: functions that do not depend on their choice have the right gradient."""
    return EighResult(*la.eigh(_triangle(a, UPLO)))


@implements("linalg.eigvalsh")
def eigvalsh(a: Any, UPLO: str = "L") -> Any:
    """One triangle of a is read, and gets the gradient; that of the other is 0."""
    return la.eigvalsh(_triangle(a, UPLO))


@implements("linalg.eig")
def eig(a: Any) -> EigResult:
    """Real if all eigenvalues of a real matrix are, as in NumPy, but complex in a trace, where they are not known."""
    x = _matrix(a)
    values, vectors = la.eig(x)
    known = numbers_within(values)  # of all members of a batch
    if dtype_of(x).kind != "c" and known is not None and not np.any(known.imag):
        values, vectors = cast(values, dtype=dtype_of(x)), cast(vectors, dtype=dtype_of(x))
    return EigResult(values, vectors)


@implements("linalg.eigvals")
def eigvals(a: Any) -> Any:
    """Real if all eigenvalues of a real matrix are, as in NumPy, but complex in a trace, where they are not known."""
    return eig(a).eigenvalues


# Least squares, rank, condition


@implements("linalg.pinv")
def pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = np._NoValue) -> Any:
    """The derivative is that of a change of a which keeps its rank."""
    x = completed(_matrix(a), True) if hermitian else _matrix(a, square=False)
    if rcond is None:
        rcond = 1e-15 if rtol is np._NoValue else rtol
    elif rtol is not np._NoValue:
        raise ValueError("`rtol` and `rcond` can't be both set.")
    return la.pinv(x, *tolerances(x, 0.0, rcond))


@implements("linalg.matrix_rank")
def matrix_rank(A: Any, tol: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Any:
    """Has no derivative."""
    x = inexact(A)
    if rank(x) < 2:
        return reductions.max(c.not_equal(x, 0)).astype(np.intp)
    if tol is not None and rtol is not None:
        raise ValueError("`tol` and `rtol` can't be both set.")
    return norms.matrix_rank(x, atol=tol, rtol=0.0 if tol is not None else rtol, hermitian=hermitian)


@implements("linalg.lstsq")
def lstsq(a: Any, b: Any, rcond: float | None = None) -> Any:
    """In a trace the rank counts as full."""
    x, y = promoted(_matrix(a, square=False), b)
    if rank(x) != 2:
        raise np.linalg.LinAlgError(f"{rank(x)}-dimensional array given. Array must be two-dimensional")
    if rank(y) not in (1, 2) or shape_of(y)[0] != shape_of(x)[0]:
        raise np.linalg.LinAlgError("Incompatible dimensions")
    found = systems.lstsq(x, y, rcond, driver="gelss")
    residuals = found.residuals
    if rank(y) == 1 and rank(residuals) == 0:
        residuals = s.reshape(residuals, shape=(1,))
    known = cast(found.rank, dtype=np.dtype(np.int32))
    return found.solution, residuals, known, la.svdvals(x)


@implements("linalg.cond")
def cond(x: Any, p: Any = None) -> Any:
    """Infinite for singular matrices."""
    a = _matrix(x, square=p not in (None, 2, -2))
    if not all(shape_of(a)):
        raise np.linalg.LinAlgError("cond is not defined on empty arrays")
    return systems.cond(a, p)


# Tensors as matrices


@implements("linalg.tensorinv")
def tensorinv(a: Any, ind: int = 2) -> Any:
    if ind <= 0:
        raise ValueError("Invalid ind argument.")
    x = inexact(a)
    shape = shape_of(x)
    rows = math.prod(shape[:ind])
    flat = s.reshape(x, shape=(rows, math.prod(shape[ind:])))
    return s.reshape(inv(flat), shape=(*shape[ind:], *shape[:ind]))


@implements("linalg.tensorsolve")
def tensorsolve(a: Any, b: Any, axes: Any = None) -> Any:
    x, y = promoted(inexact(a), b)
    if axes is not None:
        moved = [one_axis(i, rank(x)) for i in axes]
        x = shapes.permuted(x, [*(i for i in range(rank(x)) if i not in moved), *moved])
    shape, size = shape_of(x)[rank(y) :], math.prod(shape_of(y))
    if math.prod(shape) != size:
        raise np.linalg.LinAlgError(
            "Input arrays must satisfy the requirement prod(a.shape[b.ndim:]) == prod(a.shape[:b.ndim])"
        )
    flat = s.reshape(x, shape=(size, size))
    return s.reshape(solve(flat, s.reshape(y, shape=(size,))), shape=shape)


# Norms


@implements("linalg.norm")
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """Vector and matrix norms of every order. At 0 the subgradient is 0."""
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
    if ord in (2, -2, "nuc"):
        return singular_norm_over(x, ord, rows, columns, bool(keepdims))
    if ord not in (1, -1, math.inf, -math.inf):
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
