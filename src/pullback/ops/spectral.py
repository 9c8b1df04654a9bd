"""Eigenvalues, singular values and their vectors, of matrices in the last two axes.

First-order perturbation divides by the differences of eigenvalues. Where two are equal, to the accuracy that a
decomposition has, the quotient is taken as 0. The vectors of equal values are not determined there, so a function that
is well defined does not depend on how they turn, and its gradient is right. Its second derivatives are right where
the values are simple; where they repeat they are finite, without the part that tells how such values part.

Complex vectors are determined up to a phase. `eig` has LAPACK's, which makes the largest component of each real;
`eigh` and `svd` move without turning: vᴴdv is real, and for a pair of singular vectors it is shared between them.

Sources: Giles, "Collected matrix derivative results for forward and reverse mode algorithmic differentiation" (2008);
Magnus, "On differentiating eigenvalues and eigenvectors" (1985). For the singular vectors, Ω = UᴴdU and Ψ = VᴴdV are
skew-Hermitian and UᴴdA V = ΩS + dS - SΨ, so that its Hermitian part gives Ω + Ψ, over differences of singular values,
and the rest Ω - Ψ, over sums: functions of UVᴴ alone need no differences.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pullback.ops.cast import cast, conj, imag, real, real_of
from pullback.ops.compare import equal, greater
from pullback.ops.diagonal import diag_embed, diagonal
from pullback.ops.elementwise import abs_, where
from pullback.ops.factor import adjoint, hermitian, solve, square_spec
from pullback.ops.index import slice_
from pullback.ops.products import matmul
from pullback.ops.reduce import amax, argmax
from pullback.ops.samples import Sample, exactly, separated
from pullback.ops.shape import concatenate, reshape, sum_
from pullback.ops.table import Op, general
from pullback.values.shape import Spec

__all__ = ["eig", "eigh", "eigvalsh", "svd", "svdvals"]


def columns(x: Any, start: int, stop: int) -> Any:
    """Columns `start` to `stop` of matrices."""
    lead = (slice(None),) * (len(x.shape) - 1)
    return x if (start, stop) == (0, x.shape[-1]) else slice_(x, index=(*lead, slice(start, stop)))


def rows(x: Any, start: int, stop: int) -> Any:
    """Rows `start` to `stop` of matrices."""
    lead = (slice(None),) * (len(x.shape) - 2)
    return x if (start, stop) == (0, x.shape[-2]) else slice_(x, index=(*lead, slice(start, stop), slice(None)))


def on_diagonal(v: Any) -> Any:
    """Diagonal matrices of vectors."""
    n, k = len(v.shape), v.shape[-1]
    return diag_embed(v, shape=(*v.shape, k), offset=0, axis1=n - 1, axis2=n)


def diagonal_of(x: Any) -> Any:
    """The diagonals of matrices."""
    n = len(x.shape)
    return diagonal(x, offset=0, axis1=n - 2, axis2=n - 1)


def times_columns(x: Any, v: Any) -> Any:
    """x diag(v)."""
    return x * reshape(v, shape=(*v.shape[:-1], 1, v.shape[-1]))


def _real_diagonal(x: Any) -> Any:
    d = diagonal_of(x)
    return real(d) if d.dtype.kind == "c" else d


def _like(x: Any, a: Any) -> Any:
    """x with the dtype of a."""
    return x if x.dtype == a.dtype else cast(x, dtype=np.dtype(a.dtype))


def _inverse(x: Any, values: Any) -> Any:
    """1 / x, and 0 where x is 0 to the accuracy that LAPACK finds n `values` with: 10√n ulps of the largest."""
    if not values.shape[-1]:
        return x
    size = abs_(values)
    top = amax(size, axis=(len(size.shape) - 1,), keepdims=True)
    top = reshape(top, shape=(*top.shape, *(1,) * (len(x.shape) - len(top.shape))))
    known = greater(abs_(x), top * (10 * math.sqrt(values.shape[-1]) * float(np.finfo(x.dtype).eps)))
    return where(known, 1.0 / where(known, x, 1.0), 0.0)


def _gaps(values: Any, sign: float = -1.0) -> Any:
    """The matrix 1 / (values[j] - values[i]), 0 where they are equal; of sums for sign 1."""
    row = reshape(values, shape=(*values.shape[:-1], 1, values.shape[-1]))
    column = reshape(values, shape=(*values.shape, 1))
    return _inverse(row - column if sign < 0 else row + column, values)


# Hermitian matrices


def _eigh(a: Any) -> Any:
    return tuple(np.linalg.eigh(0.5 * (a + a.conj().swapaxes(-1, -2))))


def _eigh_vjp(g: tuple[Any, Any], y: tuple[Any, Any], _a: Any) -> tuple[Any]:
    (g_w, g_v), (w, v) = g, y
    inner = None
    if g_v is not None:
        inner = matmul(adjoint(v), g_v) * _like(_gaps(w), v)
    if g_w is not None:
        mine = on_diagonal(_like(g_w, v))
        inner = mine if inner is None else inner + mine
    return (hermitian(matmul(matmul(v, inner), adjoint(v))),)


def _eigh_jvp(tangents: Any, y: tuple[Any, Any], _a: Any) -> tuple[Any, Any]:
    w, v = y
    inner = matmul(matmul(adjoint(v), hermitian(tangents[0])), v)
    return _real_diagonal(inner), matmul(v, inner * _like(_gaps(w), v))


eigh: Op = general(
    "eigh",
    _eigh,
    vjp=_eigh_vjp,
    jvp=_eigh_jvp,
    shape=lambda a: [real_of(Spec(square_spec(a).shape[:-1], a.dtype)), a],
    several=True,
    batch=lambda size, args, batched: eigh(*args),
    samples=[Sample(separated(3, 3)), Sample(separated(2, 2, 2))],
    title="LinalgEighBackward0",
    doc="Eigenvalues, ascending, and orthonormal eigenvectors of the Hermitian part (a + aᴴ)/2; the gradient is "
    "Hermitian. The slopes between vectors of equal eigenvalues are taken as 0.",
)


def _eigvalsh_vjp(g: Any, _y: Any, a: Any) -> tuple[Any]:
    v = eigh(a)[1]
    return (matmul(times_columns(v, _like(g, v)), adjoint(v)),)


def _eigvalsh_jvp(tangents: Any, _y: Any, a: Any) -> Any:
    v = eigh(a)[1]
    return _real_diagonal(matmul(matmul(adjoint(v), hermitian(tangents[0])), v))


eigvalsh: Op = general(
    "eigvalsh",
    lambda a: np.linalg.eigvalsh(0.5 * (a + a.conj().swapaxes(-1, -2))),
    vjp=_eigvalsh_vjp,
    jvp=_eigvalsh_jvp,
    shape=lambda a: real_of(Spec(square_spec(a).shape[:-1], a.dtype)),
    batch=lambda size, args, batched: eigvalsh(*args),
    samples=[Sample(separated(3, 3)), Sample(separated(2, 2, 2))],
    title="LinalgEighBackward0",
    doc="The eigenvalues of the Hermitian part (a + aᴴ)/2, ascending; the gradient is Hermitian. Equal ones share it "
    "as their eigenvectors, chosen by LAPACK, say.",
)


# General matrices


def _eig(a: Any) -> tuple[Any, Any]:
    w, v = np.linalg.eig(a)
    dtype = np.result_type(a.dtype, np.complex64)
    return w.astype(dtype, copy=False), v.astype(dtype, copy=False)


def _largest(v: Any) -> tuple[Any, Any]:
    """Where each column of v has its largest component, as a mask, and those components, which are real."""
    n = len(v.shape)
    size = v.shape[-1]
    if not size:
        return np.zeros(v.shape, bool), np.zeros(v.shape[:-1], v.dtype).real
    place = argmax(abs_(v), axis=n - 2, keepdims=True)
    mask = equal(place, np.arange(size).reshape(size, 1))
    return mask, real(sum_(where(mask, v, 0.0), axis=(n - 2,), keepdims=False))


def _eig_vjp(g: tuple[Any, Any], y: tuple[Any, Any], a: Spec) -> tuple[Any]:
    (g_w, g_v), (w, v) = g, y
    inner = None
    vh = adjoint(v)
    if g_v is not None:
        own = sum_(conj(v) * g_v, axis=(len(v.shape) - 2,), keepdims=False)
        mask, top = _largest(v)
        turned = where(mask, reshape(_like(imag(own) / top, v), shape=(*top.shape[:-1], 1, top.shape[-1])), 0.0)
        inner = matmul(vh, g_v - times_columns(v, _like(real(own), v)) - 1j * turned) * conj(_gaps(w))
    if g_w is not None:
        mine = on_diagonal(g_w)
        inner = mine if inner is None else inner + mine
    return (_like(solve(vh, matmul(inner, vh)), a),)


def _eig_jvp(tangents: Any, y: tuple[Any, Any], _a: Any) -> tuple[Any, Any]:
    w, v = y
    n = len(v.shape)
    inner = solve(v, matmul(_like(tangents[0], v), v))
    push = matmul(v, inner * _gaps(w))
    stretch = real(sum_(conj(v) * push, axis=(n - 2,), keepdims=False))
    mask, top = _largest(v)
    turn = imag(sum_(where(mask, push, 0.0), axis=(n - 2,), keepdims=False)) / top
    drift = _like(stretch, v) + 1j * _like(turn, v)
    return diagonal_of(inner) * 1.0, push - times_columns(v, drift)


def _eig_shape(a: Spec) -> list[Spec]:
    dtype = np.result_type(a.dtype, np.complex64)
    return [Spec(square_spec(a).shape[:-1], dtype), Spec(a.shape, dtype)]


eig: Op = general(
    "eig",
    _eig,
    vjp=_eig_vjp,
    jvp=_eig_jvp,
    shape=_eig_shape,
    several=True,
    batch=lambda size, args, batched: eig(*args),
    samples=[Sample(separated(3, 3)), Sample(separated(2, 2, 2)), Sample(exactly([0.5, 2.0], [-1.0, 0.3]))],
    title="LinalgEigBackward0",
    doc="Eigenvalues and eigenvectors of length 1, whose largest component is real, of diagonalisable matrices; "
    "complex always. The slopes between vectors of equal eigenvalues are taken as 0.",
)


# Singular values


def _svd_shape(a: Spec, full: bool) -> list[Spec]:
    if len(a.shape) < 2:
        raise ValueError(f"svd: expected matrices in the last two axes, got {a}")
    *lead, m, n = a.shape
    k = min(m, n)
    return [
        Spec((*lead, m, m if full else k), a.dtype),
        real_of(Spec((*lead, k), a.dtype)),
        Spec((*lead, n if full else k, n), a.dtype),
    ]


def _svd(a: Any, full: bool) -> tuple[Any, Any, Any]:
    return tuple(np.linalg.svd(a, full_matrices=full))  # type: ignore[return-value]


def complement(q: Any, k: int, x: Any) -> Any:
    """What x, shaped like q, has across the first k columns of q, orthonormal: the part of a motion of those columns,
    or of a cotangent of them. With further columns of q their motion is its mirror image.
    """
    first = columns(q, 0, k)
    if q.shape[-1] == k:
        return x - matmul(first, matmul(adjoint(first), x))
    rest = columns(q, k, q.shape[-1])
    across = matmul(adjoint(rest), columns(x, 0, k))
    if x.shape[-1] > k:
        across = across - matmul(adjoint(columns(x, k, x.shape[-1])), first)
    return matmul(rest, across)


def mirrored(q: Any, k: int, push: Any, across: Any) -> Any:
    """The motion of all columns of q, from that of the first k and its part across them."""
    if q.shape[-1] == k:
        return push
    rest = columns(q, k, q.shape[-1])
    back = -matmul(columns(q, 0, k), matmul(adjoint(across), rest))
    return concatenate(push, back, axis=len(q.shape) - 1)


def _svd_vjp(g: tuple[Any, Any, Any], y: tuple[Any, Any, Any], _a: Any, full: bool) -> tuple[Any]:
    (g_u, g_s, g_vh), (u, s, vh) = g, y
    m, k, n = u.shape[-2], s.shape[-1], vh.shape[-1]
    u1, vh1 = columns(u, 0, k), rows(vh, 0, k)
    inner = None if g_s is None else on_diagonal(_like(g_s, u))
    if g_u is None and g_vh is None:
        return (matmul(matmul(u1, inner), vh1),)
    v, g_v = adjoint(vh), None if g_vh is None else adjoint(g_vh)
    h_u = None if g_u is None else matmul(adjoint(u1), columns(g_u, 0, k))
    h_v = None if g_v is None else matmul(vh1, columns(g_v, 0, k))
    both: Any = h_v if h_u is None else h_u
    apart: Any = h_u if h_v is None else -h_v
    if h_u is not None and h_v is not None:
        both, apart = h_u + h_v, h_u - h_v
    turn = 0.5 * (_like(_gaps(s), u) * (both - adjoint(both)) + _like(_gaps(s, 1.0), u) * (apart - adjoint(apart)))
    inner = turn if inner is None else inner + turn
    result = matmul(matmul(u1, inner), vh1)
    if m > k and g_u is not None:
        across = complement(u, k, g_u)
        result = result + matmul(times_columns(across, _like(_inverse(s, s), u)), vh1)
    if n > k and g_v is not None:
        across = times_columns(complement(v, k, g_v), _like(_inverse(s, s), u))
        result = result + matmul(u1, adjoint(across))
    return (result,)


def _svd_jvp(tangents: Any, y: tuple[Any, Any, Any], _a: Any, full: bool) -> tuple[Any, Any, Any]:
    (t,), (u, s, vh) = tangents, y
    m, k, n = u.shape[-2], s.shape[-1], vh.shape[-1]
    v = adjoint(vh)
    u1, v1 = columns(u, 0, k), columns(v, 0, k)
    left, right = matmul(t, v1), matmul(adjoint(t), u1)
    inner = matmul(adjoint(u1), left)
    both = _like(_gaps(s), u) * (inner + adjoint(inner))
    apart = _like(_gaps(s, 1.0), u) * (inner - adjoint(inner))
    t_u, t_v = matmul(u1, 0.5 * (both + apart)), matmul(v1, 0.5 * (both - apart))
    if m > k:
        across = times_columns(complement(u, k, left), _like(_inverse(s, s), u))
        t_u = mirrored(u, k, t_u + across, across)
    if n > k:
        across = times_columns(complement(v, k, right), _like(_inverse(s, s), u))
        t_v = mirrored(v, k, t_v + across, across)
    return t_u, _real_diagonal(inner), adjoint(t_v)


svd: Op = general(
    "svd",
    _svd,
    vjp=_svd_vjp,
    jvp=_svd_jvp,
    shape=_svd_shape,
    several=True,
    batch=lambda size, args, batched, full: svd(*args, full=full),
    samples=[
        Sample(separated(3, 3), full=False),
        Sample(separated(4, 2), full=False),
        Sample(separated(2, 2, 4), full=False),
        Sample(separated(3, 2), full=True),
        Sample(separated(2, 3), full=True),
        Sample(separated(3, 3), full=True),
    ],
    title="LinalgSvdBackward0",
    doc="u, s and vh with a = u diag(s) vh and s descending; square unitary u and vh if `full`, whose further columns "
    "and rows move no more than they must. The slopes between vectors of equal singular values, and across those of "
    "singular values 0, are taken as 0.",
)


def _svdvals_vjp(g: Any, _y: Any, a: Any) -> tuple[Any]:
    u, _, vh = svd(a, full=False)
    return (matmul(times_columns(u, _like(g, u)), vh),)


def _svdvals_jvp(tangents: Any, _y: Any, a: Any) -> Any:
    u, _, vh = svd(a, full=False)
    return _real_diagonal(matmul(matmul(adjoint(u), tangents[0]), adjoint(vh)))


svdvals: Op = general(
    "svdvals",
    lambda a: np.linalg.svd(a, compute_uv=False),
    vjp=_svdvals_vjp,
    jvp=_svdvals_jvp,
    shape=lambda a: _svd_shape(a, False)[1],
    batch=lambda size, args, batched: svdvals(*args),
    samples=[Sample(separated(3, 3)), Sample(separated(2, 4, 2)), Sample(separated(2, 3))],
    title="LinalgSvdBackward0",
    doc="The singular values, descending; of a rank-deficient matrix the gradient is one of the subgradients.",
)
