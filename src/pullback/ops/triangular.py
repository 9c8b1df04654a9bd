"""Triangular systems and the factorisations that give them, Cholesky, QR and LU, of matrices in the last two axes.

Sources of the rules: Giles, "Collected matrix derivative results for forward and reverse mode algorithmic
differentiation" (2008); Walter and Lehmann, "Algorithmic differentiation of linear algebra functions with application
in optimum experimental design" (2011), for QR.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.ops.cast import cast, conj, imag
from pullback.ops.diagonal import tril, triu
from pullback.ops.factor import adjoint, hermitian, square_spec
from pullback.ops.index import gather, scatter_add
from pullback.ops.products import matmul
from pullback.ops.products import matrix_transpose as t_
from pullback.ops.samples import Maker, Sample, complex_normal, definite, normal, regular
from pullback.ops.shape import concatenate, reshape, sum_to
from pullback.ops.spectral import columns, complement, diagonal_of, mirrored, on_diagonal, rows
from pullback.ops.table import Op, general, nondifferentiable
from pullback.values.optional import scipy_module
from pullback.values.shape import Spec, broadcast_shapes

__all__ = ["cholesky", "lu_factor", "permuted_rows", "qr", "row_order", "solve_triangular"]


# Triangular systems


@functools.cache
def _has_scipy() -> bool:
    try:
        scipy_module("linalg")
    except ImportError:
        return False
    return True


def _solve_triangular(a: Any, b: Any, lower: bool, unit: bool) -> Any:
    if a.ndim == b.ndim == 2 and a.size and b.size and _has_scipy():
        (trtrs,) = scipy_module("linalg.lapack").get_lapack_funcs(("trtrs",), (a, b))
        x, info = trtrs(a, b, lower=lower, unitdiag=unit)
        if info:
            raise np.linalg.LinAlgError(f"solve_triangular: the diagonal has a 0 at {info - 1}")
        return np.ascontiguousarray(x)
    a = (np.tril if lower else np.triu)(a, (-1 if lower else 1) if unit else 0)
    return np.linalg.solve(a + np.eye(a.shape[-1], dtype=a.dtype) if unit else a, b)


def _triangle(x: Any, lower: bool, unit: bool) -> Any:
    """The part of a matrix that a triangular system reads."""
    return tril(x, diagonal=-unit) if lower else triu(x, diagonal=int(unit))


def _solve_triangular_shape(a: Spec, b: Spec, lower: bool, unit: bool) -> Spec:
    if len(b.shape) < 2 or square_spec(a).shape[-1] != b.shape[-2]:
        raise ValueError(f"solve_triangular: {a} does not fit the right-hand sides {b}")
    return Spec((*broadcast_shapes(a.shape[:-2], b.shape[:-2]), *b.shape[-2:]), np.result_type(a.dtype, b.dtype))


def _solve_triangular_vjp(g: Any, y: Any, a: Any, b: Spec, lower: bool, unit: bool) -> tuple[Any, Any]:
    back = solve_triangular(t_(a), g, lower=not lower, unit=unit)
    return sum_to(_triangle(-matmul(back, t_(y)), lower, unit), a.shape), sum_to(back, b.shape)


def _solve_triangular_jvp(tangents: Any, y: Any, a: Any, _b: Any, lower: bool, unit: bool) -> Any:
    ta, drive = tangents
    if ta is not None:
        push = -matmul(_triangle(ta, lower, unit), y)
        drive = push if drive is None else drive + push
    return solve_triangular(a, drive, lower=lower, unit=unit)


def _solve_triangular_batch(size: int, args: tuple[Any, ...], batched: tuple[bool, ...], **params: Any) -> Any:
    rank = max(len(x.shape) - has for x, has in zip(args, batched, strict=True))

    def widen(x: Any, has: bool) -> Any:
        missing = rank - (len(x.shape) - has)
        return reshape(x, shape=(size, *(1,) * missing, *x.shape[1:])) if has and missing else x

    return solve_triangular(*map(widen, args, batched), **params)


solve_triangular: Op = general(
    "solve_triangular",
    _solve_triangular,
    vjp=_solve_triangular_vjp,
    jvp=_solve_triangular_jvp,
    shape=_solve_triangular_shape,
    batch=_solve_triangular_batch,
    samples=[
        Sample(regular(3, 3), normal(3, 2), lower=True, unit=False),
        Sample(regular(3, 3), normal(3, 1), lower=False, unit=False),
        Sample(regular(3, 3), normal(2, 3, 2), lower=True, unit=True),
        Sample(regular(2, 3, 3), normal(3, 2), lower=False, unit=True),
        Sample(regular(2, 2, dtype=complex), complex_normal(2, 2), lower=True, unit=False),
    ],
    title="LinalgSolveTriangularBackward0",
    doc="The x with a @ x = b, reading one triangle of a, and for `unit` taking 1 for its diagonal; leading axes "
    "broadcast. Raises `numpy.linalg.LinAlgError` for a singular a.",
)


def _times_inverse_adjoint(x: Any, r: Any) -> Any:
    """x r⁻ᴴ for upper triangular r."""
    return adjoint(solve_triangular(r, adjoint(x), lower=False, unit=False))


def _times_inverse(x: Any, r: Any) -> Any:
    """x r⁻¹ for upper triangular r."""
    return t_(solve_triangular(t_(r), t_(x), lower=True, unit=False))


# Cholesky


def _half(x: Any) -> Any:
    """The lower triangle, the diagonal halved."""
    return 0.5 * (tril(x, diagonal=0) + tril(x, diagonal=-1))


def _cholesky(a: Any) -> Any:
    return np.linalg.cholesky(0.5 * (a + a.conj().swapaxes(-1, -2)))


def _cholesky_vjp(g: Any, y: Any, a: Any) -> tuple[Any]:
    if a.dtype.kind == "c":
        return (conj(_cholesky_pull(conj(g), y)),)  # g comes conjugated, and goes so
    return (_cholesky_pull(g, y),)


def _cholesky_pull(g: Any, y: Any) -> Any:
    """y⁻ᴴ x y⁻¹ for x the lower half of yᴴ g, made Hermitian."""
    upper = adjoint(y)
    left = solve_triangular(upper, _half(matmul(upper, g)), lower=False, unit=False)
    return hermitian(adjoint(solve_triangular(upper, adjoint(left), lower=False, unit=False)))


def _cholesky_jvp(tangents: Any, y: Any, _a: Any) -> Any:
    left = solve_triangular(y, hermitian(tangents[0]), lower=True, unit=False)
    inner = solve_triangular(y, adjoint(left), lower=True, unit=False)
    return matmul(y, _half(inner))


cholesky: Op = general(
    "cholesky",
    _cholesky,
    vjp=_cholesky_vjp,
    jvp=_cholesky_jvp,
    shape=square_spec,
    batch=lambda size, args, batched: cholesky(*args),
    samples=[Sample(definite(3, 3)), Sample(definite(2, 2, 2)), Sample(definite(2, 2, dtype=complex))],
    title="LinalgCholeskyExBackward0",
    doc="The lower triangular l with l lᴴ = (a + aᴴ)/2, the gradient Hermitian. Raises `numpy.linalg.LinAlgError` "
    "unless that is positive definite.",
)


# QR. In Ω = QᴴdQ, skew-Hermitian, what lies below the diagonal is that of M = QᴴdA R⁻¹; the diagonal of R stays real.


def _qr(a: Any, complete: bool) -> tuple[Any, Any]:
    q, r = np.linalg.qr(a, "complete" if complete else "reduced")
    return q, r


def _qr_shape(a: Spec, complete: bool) -> list[Spec]:
    if len(a.shape) < 2:
        raise ValueError(f"qr: expected matrices in the last two axes, got {a}")
    *lead, m, n = a.shape
    k = m if complete else min(m, n)
    return [Spec((*lead, m, k), a.dtype), Spec((*lead, k, n), a.dtype)]


def _turn(x: Any) -> Any:
    """i Im of the diagonal, as a matrix, for complex x."""
    return on_diagonal(1j * cast(imag(diagonal_of(x)), dtype=x.dtype))


def _qr_vjp(g: tuple[Any, Any], y: tuple[Any, Any], a: Spec, complete: bool) -> tuple[Any]:
    (g_q, g_r), (q, r) = g, y
    m, n = a.shape[-2:]
    k = min(m, n)
    q1, r1 = columns(q, 0, k), rows(r, 0, k)
    square = columns(r1, 0, k)
    motion = direct = None
    if g_q is not None:
        motion = matmul(adjoint(q1), columns(g_q, 0, k))
    if g_r is not None:
        g_r = rows(g_r, 0, k)
        direct = matmul(q1, g_r)
        push = matmul(g_r, adjoint(r1))
        motion = -push if motion is None else motion - push
    inner = tril(motion - adjoint(motion), diagonal=-1)
    if inner.dtype.kind == "c":
        inner = inner + _turn(motion)
    drive = matmul(q1, inner)
    if m > k and g_q is not None:
        drive = drive + complement(q, k, g_q)
    result = _times_inverse_adjoint(drive, square)
    if n > k:
        result = concatenate(result, np.zeros((*result.shape[:-1], n - k), result.dtype), axis=len(result.shape) - 1)
    return (result if direct is None else result + direct,)


def _qr_jvp(tangents: Any, y: tuple[Any, Any], a: Any, complete: bool) -> tuple[Any, Any]:
    (t,), (q, r) = tangents, y
    m, n = a.shape[-2:]
    k = min(m, n)
    q1, r1 = columns(q, 0, k), rows(r, 0, k)
    drive = _times_inverse(columns(t, 0, k), columns(r1, 0, k))
    inner = matmul(adjoint(q1), drive)
    below = tril(inner, diagonal=-1)
    motion = below - adjoint(below)
    if motion.dtype.kind == "c":
        motion = motion + _turn(inner)
    t_q, t_r = matmul(q1, motion), matmul(adjoint(q1), t) - matmul(motion, r1)
    t_r = triu(t_r, diagonal=0)  # what is below is rounding
    if m > k:
        across = complement(q, k, drive)
        t_q = mirrored(q, k, t_q + across, across)
        if complete:
            t_r = concatenate(t_r, np.zeros((*t_r.shape[:-2], m - k, n), t_r.dtype), axis=len(t_r.shape) - 2)
    return t_q, t_r


qr: Op = general(
    "qr",
    _qr,
    vjp=_qr_vjp,
    jvp=_qr_jvp,
    shape=_qr_shape,
    several=True,
    batch=lambda size, args, batched, complete: qr(*args, complete=complete),
    samples=[
        Sample(regular(3, 3), complete=False),
        Sample(normal(4, 2), complete=False),
        Sample(normal(2, 2, 4), complete=False),
        Sample(normal(3, 2), complete=True),
        Sample(normal(2, 3), complete=True),
        Sample(complex_normal(3, 2), complete=False),
        Sample(complex_normal(2, 3), complete=False),
    ],
    title="LinalgQrBackward0",
    doc="Orthonormal q and upper triangular r with a = q @ r; q is square if `complete`, and its further columns move "
    "no more than they must. Differentiable where the leading square part of a is regular.",
)


# LU


def permuted_rows(x: Any, order: Any) -> Any:
    """The rows of matrices in another order: row i of the result is row order[i]."""
    return gather(x, *_places(order))


def _unpermuted_rows(x: Any, order: Any) -> Any:
    return scatter_add(x, *_places(order), shape=x.shape)


def _places(order: Any) -> tuple[Any, ...]:
    """Index arrays over the leading axes and the rows."""
    shape = order.shape
    iotas = (np.arange(n).reshape(n, *(1,) * (len(shape) - 1 - i)) for i, n in enumerate(shape[:-1]))
    return (*iotas, order)


def _row_order(pivots: Any, length: int) -> Any:
    orders = []
    for exchanges in pivots.reshape(math.prod(pivots.shape[:-1]), pivots.shape[-1]).tolist():
        order = list(range(length))
        for i, j in enumerate(exchanges):
            order[i], order[j] = order[j], order[i]
        orders.append(order)
    return np.array(orders, np.int64).reshape(*pivots.shape[:-1], length)


row_order: Op = nondifferentiable(
    "row_order",
    _row_order,
    shape=lambda pivots, length: Spec((*pivots.shape[:-1], length), np.dtype(np.int64)),
    batch=lambda size, args, batched, **params: row_order(*args, **params),
    samples=[Sample(np.array([1, 2, 2]), length=4), Sample(np.array([[1, 1], [0, 1]]), length=2)],
    doc="The order of rows after exchanges of row i with row pivots[i], one after the other.",
)


def _lu_factor(a: Any) -> tuple[Any, Any, Any]:
    *lead, m, n = a.shape
    k = min(m, n)
    lu, pivots = np.array(a), np.zeros((*lead, k), np.int32)
    if a.size:
        (getrf,) = scipy_module("linalg.lapack").get_lapack_funcs(("getrf",), (a,))
        for place in np.ndindex(*lead):
            lu[place], pivots[place], _ = getrf(lu[place])
    return lu, pivots, _row_order(pivots, m)


def _lu_shape(a: Spec) -> list[Spec]:
    if len(a.shape) < 2:
        raise ValueError(f"lu_factor: expected matrices in the last two axes, got {a}")
    *lead, m, n = a.shape
    return [a, Spec((*lead, min(m, n)), np.dtype(np.int32)), Spec((*lead, m), np.dtype(np.int64))]


def _lower_solve(l1: Any, x: Any) -> Any:
    return solve_triangular(l1, x, lower=True, unit=True)


def _unit_part(lu: Any, k: int) -> Any:
    """The unit lower triangular square part of a compact factorisation."""
    return tril(columns(rows(lu, 0, k), 0, k), diagonal=-1) + np.eye(k, dtype=lu.dtype)


def _lu_vjp(g: tuple[Any, Any, Any], y: tuple[Any, Any, Any], a: Spec) -> tuple[Any]:
    g_lu, (lu, _, order) = g[0], y
    m, n = a.shape[-2:]
    k = min(m, n)
    core = columns(rows(lu, 0, k), 0, k)
    l1, u1 = _unit_part(lu, k), triu(core, diagonal=0)
    g_core = columns(rows(g_lu, 0, k), 0, k)
    g_l, g_u = tril(g_core, diagonal=-1), triu(g_core, diagonal=0)
    lh = adjoint(l1)
    rest = None
    if n > k:
        rest = solve_triangular(lh, columns(g_lu, k, n), lower=False, unit=True)
        g_l = g_l - matmul(rest, adjoint(columns(lu, k, n)))
    elif m > k:
        rest = _times_inverse_adjoint(rows(g_lu, k, m), u1)
        g_u = g_u - matmul(adjoint(rows(lu, k, m)), rest)
    inner = tril(matmul(lh, g_l), diagonal=-1) + triu(matmul(g_u, adjoint(u1)), diagonal=0)
    result = _times_inverse_adjoint(solve_triangular(lh, inner, lower=False, unit=True), u1)
    if rest is not None:
        result = concatenate(result, rest, axis=len(result.shape) - (1 if n > k else 2))
    return (_unpermuted_rows(result, order),)


def _lu_jvp(tangents: Any, y: tuple[Any, Any, Any], a: Any) -> tuple[Any, None, None]:
    lu, _, order = y
    m, n = a.shape[-2:]
    k = min(m, n)
    t = permuted_rows(tangents[0], order)
    core = columns(rows(lu, 0, k), 0, k)
    l1, u1 = _unit_part(lu, k), triu(core, diagonal=0)
    inner = _times_inverse(_lower_solve(l1, columns(rows(t, 0, k), 0, k)), u1)
    t_l, t_u = matmul(l1, tril(inner, diagonal=-1)), matmul(triu(inner, diagonal=0), u1)
    result = t_l + t_u
    if n > k:
        rest = _lower_solve(l1, columns(t, k, n) - matmul(t_l, columns(lu, k, n)))
        result = concatenate(result, rest, axis=len(t.shape) - 1)
    elif m > k:
        rest = _times_inverse(rows(t, k, m) - matmul(rows(lu, k, m), t_u), u1)
        result = concatenate(result, rest, axis=len(t.shape) - 2)
    return result, None, None


def _pivoting(*shape: int, make: Callable[..., Maker] = normal) -> Maker:
    """Matrices whose pivots are clear of ties."""
    noise = make(*shape)

    def matrix(rng: np.random.Generator) -> Any:
        a = 0.3 * noise(rng) + 2 * np.eye(shape[-2], shape[-1])
        return np.roll(a, 1, -2)

    return matrix


lu_factor: Op = general(
    "lu_factor",
    _lu_factor,
    vjp=_lu_vjp,
    jvp=_lu_jvp,
    shape=_lu_shape,
    several=True,
    batch=lambda size, args, batched: lu_factor(*args),
    samples=[
        Sample(_pivoting(3, 3)),
        Sample(_pivoting(4, 2)),
        Sample(_pivoting(2, 2, 4)),
        Sample(_pivoting(3, 3, make=complex_normal)),
    ],
    title="LinalgLuFactorExBackward0",
    doc="The factors of a with rows exchanged, l unit lower and u upper triangular, in one matrix; the exchanges, row "
    "i with row pivots[i]; and the order of rows they make. Differentiable where the leading square part is regular.",
)
