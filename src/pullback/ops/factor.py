"""Inverses, linear systems and determinants, of square matrices in the last two axes.

Forward rules as in Giles, "Collected matrix derivative results for forward and reverse mode algorithmic
differentiation" (2008); that report's reverse rules follow by transposition.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.ops.cast import cast, conj, imag, real, real_of
from pullback.ops.fused import plain
from pullback.ops.products import matmul
from pullback.ops.products import matrix_transpose as t_
from pullback.ops.samples import Sample, complex_normal, exactly, normal, regular
from pullback.ops.shape import reshape, sum_, sum_to, with_batch
from pullback.ops.table import Op, general
from pullback.values.shape import Spec, broadcast_shapes

__all__ = ["adjoint", "cofactor", "det", "hermitian", "inv", "slogdet", "solve", "square_spec"]


def adjoint(x: Any) -> Any:
    """The conjugate transposes of matrices."""
    return conj(t_(x)) if x.dtype.kind == "c" else t_(x)


def hermitian(x: Any) -> Any:
    """The Hermitian parts of matrices."""
    return 0.5 * (x + adjoint(x))


def square_spec(x: Spec) -> Spec:
    """`x`, which holds square matrices. Raises `ValueError` if it doesn't."""
    if len(x.shape) < 2 or x.shape[-1] != x.shape[-2]:
        raise ValueError(f"expected square matrices in the last two axes, got {x}")
    return x


def _scalar(x: Spec) -> Spec:
    return Spec(square_spec(x).shape[:-2], x.dtype)


def _inner(a: Any, b: Any) -> Any:
    """The sum of the elementwise products of matrices."""
    n = len(a.shape)
    return sum_(a * b, axis=(n - 2, n - 1), keepdims=False)


def _scale(s: Any, x: Any) -> Any:
    """Numbers times matrices."""
    return reshape(s, shape=(*s.shape, 1, 1)) * x


# Inverse and solution

inv: Op = general(
    "inv",
    np.linalg.inv,
    vjp=lambda g, y, _a: (-matmul(matmul(t_(y), g), t_(y)),),
    jvp=lambda tangents, y, _a: -matmul(matmul(y, tangents[0]), y),
    shape=square_spec,
    batch=lambda size, args, batched: inv(*args),
    samples=[Sample(regular(3, 3)), Sample(regular(2, 3, 3)), Sample(regular(2, 2, dtype=complex))],
    title="LinalgInvExBackward0",
    doc="The inverse matrix. Raises `numpy.linalg.LinAlgError` for a singular one.",
)


def _solve_shape(a: Spec, b: Spec) -> Spec:
    if len(b.shape) < 2 or square_spec(a).shape[-1] != b.shape[-2]:
        raise ValueError(f"solve: {a} does not fit the right-hand sides {b}")
    lead = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return Spec((*lead, *b.shape[-2:]), np.result_type(a.dtype, b.dtype))


def _solve_vjp(g: Any, y: Any, a: Any, b: Any) -> tuple[Any, Any]:
    back = solve(t_(a), g)
    return sum_to(-matmul(back, t_(y)), a.shape), sum_to(back, b.shape)


def _solve_jvp(tangents: Any, y: Any, a: Any, _b: Any) -> Any:
    ta, tb = tangents
    if ta is None:
        return solve(a, tb)
    drive = -matmul(ta, y)
    return solve(a, drive if tb is None else tb + drive)


def _solve_batch(size: int, args: tuple[Any, ...], batched: tuple[bool, ...]) -> Any:
    rank = max(len(x.shape) - has for x, has in zip(args, batched, strict=True))

    def widen(x: Any, has: bool) -> Any:
        missing = rank - (len(x.shape) - has)
        return reshape(x, shape=(size, *(1,) * missing, *x.shape[1:])) if has and missing else x

    return solve(*map(widen, args, batched))


solve = general(
    "solve",
    np.linalg.solve,
    vjp=_solve_vjp,
    jvp=_solve_jvp,
    shape=_solve_shape,
    batch=_solve_batch,
    samples=[
        Sample(regular(3, 3), normal(3, 2)),
        Sample(regular(2, 3, 3), normal(3, 1)),
        Sample(regular(2, 2), normal(3, 2, 2)),
        Sample(regular(2, 2, dtype=complex), complex_normal(2, 2)),
    ],
    title="LinalgSolveExBackward0",
    doc="The x with a @ x = b; b is a matrix of right-hand sides, leading axes broadcast. "
    "Raises `numpy.linalg.LinAlgError` for a singular a.",
)


# Determinants. The gradient of det is the matrix of cofactors, which needs no inverse: with a = u diag(s) vh,
# det(a) = det(u) det(vh) Πs, and cofactors of a product are the product of cofactors. So the first two derivatives are
# right for singular matrices too.


def _unitary(a: Any) -> tuple[Any, Any, Any, Any]:
    u, s, vh = np.linalg.svd(a)
    return u, s, vh, np.linalg.det(u) * np.linalg.det(vh)


def _regular(a: Any, size: Any = None) -> tuple[Any, Any] | None:
    """The inverses and determinants (`size`, if known) of matrices, if all are so well conditioned that cofactors are
    accurate by them."""
    if not a.size:
        return None
    size = np.linalg.det(a) if size is None else size
    limits = np.finfo(a.dtype)
    if not (np.abs(size) >= limits.tiny).all() or not np.isfinite(size).all():
        return None
    x = np.linalg.inv(a)
    condition = np.linalg.norm(a, 1, (-2, -1)) * np.linalg.norm(x, 1, (-2, -1))
    return (x, size[..., None, None]) if (condition < float(limits.eps) ** -0.25).all() else None


def _cofactor(a: Any) -> Any:
    found = _regular(a)
    if found is not None:
        x, size = found
        x *= size
        return np.ascontiguousarray(x.swapaxes(-1, -2))
    u, s, vh, unit = _unitary(a)
    n = a.shape[-1]
    others = np.where(np.eye(n, dtype=bool), s.dtype.type(1), s[..., None, :]).prod(-1)
    return unit[..., None, None] * ((u.conj() * others[..., None, :]) @ vh.conj())


def _cofactor_slope(a: Any, e: Any) -> Any:
    found = _regular(a)
    if found is not None:  # the derivative of det(a) x, transposed, for x = inv(a)
        x, size = found
        xe = x @ e
        slope = np.trace(xe, axis1=-2, axis2=-1)[..., None, None] * x
        slope -= xe @ x
        slope *= size
        return np.ascontiguousarray(slope.swapaxes(-1, -2))
    u, s, vh, unit = _unitary(a)
    n = a.shape[-1]
    eye = np.eye(n, dtype=bool)
    others = np.where(eye[:, None, :] | eye[None, :, :], s.dtype.type(1), s[..., None, None, :]).prod(-1)
    others = np.where(eye, s.dtype.type(0), others)  # [i, j]: the product of all s but those of i and j
    f = u.conj().swapaxes(-1, -2) @ e @ vh.conj().swapaxes(-1, -2)
    diagonal = (others @ f.diagonal(0, -2, -1)[..., None])[..., 0]
    slope = np.where(eye, diagonal[..., None, :], -others * f.swapaxes(-1, -2))
    return unit[..., None, None] * (u.conj() @ slope @ vh.conj())


def _third(a: Any, e: Any, f: Any) -> Any:
    """The third derivative of det at a regular a, in the directions e, f and each entry: of
    tr(xe) tr(xf) - tr(xexf) with x = inv(a), times det(a), which is the second.
    """
    x = inv(a)
    xe, xf = matmul(x, e), matmul(x, f)
    xex, xfx = matmul(xe, x), matmul(xf, x)
    trace_e, trace_f = _inner(t_(x), e), _inner(t_(x), f)
    inner = (
        _scale(trace_e * trace_f - _inner(t_(xe), xf), x)
        - _scale(trace_f, xex)
        - _scale(trace_e, xfx)
        + matmul(xe, xfx)
        + matmul(xf, xex)
    )
    return t_(_scale(det(a), inner))


def _cofactor_slope_jvp(tangents: Any, _y: Any, a: Any, e: Any) -> Any:
    ta, te = tangents
    linear = None if te is None else cofactor_slope(a, te)
    if ta is None:
        return linear
    return _third(a, e, ta) if linear is None else linear + _third(a, e, ta)


cofactor_slope: Op = general(
    "cofactor_slope",
    _cofactor_slope,
    vjp=(lambda g, _y, a, e: _third(a, e, g), lambda g, _y, a, _e: cofactor_slope(a, g)),
    jvp=_cofactor_slope_jvp,
    shape=lambda a, e: Spec(square_spec(a).shape, np.result_type(a.dtype, e.dtype)),
    batch=lambda size, args, batched: cofactor_slope(*with_batch(size, args, batched)),
    samples=[Sample(regular(3, 3), normal(3, 3)), Sample(regular(2, 2, 2), normal(2, 2, 2))],
    doc="The derivative of `cofactor` at a in the direction e. Its own derivative needs a regular a.",
)
cofactor: Op = general(
    "cofactor",
    _cofactor,
    vjp=lambda g, _y, a: (cofactor_slope(a, g),),
    jvp=lambda tangents, _y, a: cofactor_slope(a, tangents[0]),
    shape=square_spec,
    batch=lambda size, args, batched: cofactor(*args),
    samples=[Sample(normal(3, 3)), Sample(normal(2, 2, 2)), Sample(complex_normal(3, 3))],
    doc="The matrices of cofactors: det(a) inv(a)ᵀ, and what that tends to where a is singular.",
)


def _det_vjp(g: Any, y: Any, a: Any) -> tuple[Any]:
    found = _regular(a, y) if plain(g, a) and isinstance(y, np.ndarray | np.generic) else None
    if found is None:
        return (_scale(g, cofactor(a)),)
    x, size = found
    return (np.multiply(x.swapaxes(-1, -2), g[..., None, None] * size, order="C"),)


det: Op = general(
    "det",
    np.linalg.det,
    vjp=_det_vjp,
    jvp=lambda tangents, _y, a: _inner(cofactor(a), tangents[0]),
    shape=_scalar,
    batch=lambda size, args, batched: det(*args),
    samples=[
        Sample(normal(2, 2)),
        Sample(normal(2, 3, 3)),
        Sample(complex_normal(3, 3)),
        Sample(exactly([1.0, 2.0], [2.0, 4.0])),
        Sample(exactly([0.0, 0.0], [0.0, 0.0])),
    ],
    title="LinalgDetBackward0",
    doc="The determinant; its first two derivatives are right for singular matrices too, third ones need regular ones.",
)


def _slogdet_shape(a: Spec) -> list[Spec]:
    return [_scalar(a), real_of(_scalar(a))]


def _slogdet_vjp(g: tuple[Any, Any], _y: Any, a: Any) -> tuple[Any]:
    g_sign, g_log = g
    if a.dtype.kind != "c":
        return (None if g_log is None else _scale(g_log, t_(inv(a))),)
    weight = None if g_log is None else cast(g_log, dtype=a.dtype)
    if g_sign is not None:
        turn = cast(imag(g_sign * conj(slogdet(a)[0])), dtype=a.dtype) * 1j
        weight = turn if weight is None else weight + turn
    return (_scale(weight, conj(t_(inv(a)))),)


def _slogdet_jvp(tangents: Any, y: Any, a: Any) -> tuple[Any, Any]:
    trace = _inner(t_(inv(a)), tangents[0])
    if a.dtype.kind != "c":
        return None, trace
    return y[0] * (cast(imag(trace), dtype=a.dtype) * 1j), real(trace)


slogdet: Op = general(
    "slogdet",
    lambda a: tuple(np.linalg.slogdet(a)),
    vjp=_slogdet_vjp,
    jvp=_slogdet_jvp,
    shape=_slogdet_shape,
    several=True,
    batch=lambda size, args, batched: slogdet(*args),
    samples=[Sample(regular(3, 3)), Sample(normal(2, 2, 2)), Sample(regular(2, 2, dtype=complex))],
    title="LinalgSlogdetBackward0",
    doc="The determinant's sign (complex: direction) and the log of its modulus; differentiable for regular matrices.",
)
