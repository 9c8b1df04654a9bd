"""Functions of matrices, in the last two axes: exponential, logarithm, square root, pseudoinverse, and the Sylvester
equation that square roots and Lyapunov equations differentiate to.

The derivative of an analytic function f at a in the direction e stands in f([[a, e], [0, a]]) = [[f(a), Df(a)e],
[0, f(a)]], and its transpose is the derivative at aᵀ (Najfeld and Havel, "Derivatives of the matrix exponential and
their computation", 1995). Higham, "Functions of Matrices" (2008), has the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pullback.ops.cast import conj
from pullback.ops.control import stop_gradient
from pullback.ops.elementwise import abs_, where
from pullback.ops.factor import adjoint, square_spec
from pullback.ops.fused import plain
from pullback.ops.products import matmul
from pullback.ops.products import matrix_transpose as t_
from pullback.ops.reduce import amax
from pullback.ops.samples import Sample, complex_normal, definite, normal, regular
from pullback.ops.shape import concatenate, sum_to, with_batch
from pullback.ops.spectral import columns, rows
from pullback.ops.table import Op, general
from pullback.values.optional import scipy_module
from pullback.values.shape import Spec, broadcast_shapes

__all__ = ["direction", "matrix_exp", "matrix_log", "matrix_sqrt", "pinv", "sylvester"]


def _each(function: Callable[..., Any], *operands: Any) -> Any:
    """A function of matrices, applied to each of a stack."""
    lead = np.broadcast_shapes(*(x.shape[:-2] for x in operands))
    if not lead:
        return function(*operands)
    wide = [np.broadcast_to(x, (*lead, *x.shape[-2:])) for x in operands]
    y = np.empty((*lead, *wide[-1].shape[-2:]), np.result_type(*operands))
    for place in np.ndindex(*lead):
        y[place] = function(*(x[place] for x in wide))
    return y


# Analytic functions, by their values on block triangular matrices


def direction(f: Op, a: Any, e: Any) -> Any:
    """The derivative of f at a in the direction e; e, in which it is linear, is brought to the size of a."""
    n = a.shape[-1]
    if not n:
        return e * 1.0
    rank = len(a.shape)
    over = (rank - 2, rank - 1)
    size, wanted = (amax(abs_(stop_gradient(x)), axis=over, keepdims=True) for x in (e, a))
    scale = where(size > 0.0, where(wanted > 0.0, wanted, 1.0) / where(size > 0.0, size, 1.0), 1.0)
    zero = np.zeros(a.shape, a.dtype)
    block = concatenate(concatenate(a, e * scale, axis=rank - 1), concatenate(zero, a, axis=rank - 1), axis=rank - 2)
    return rows(columns(f(block), n, 2 * n), 0, n) / scale


def _analytic(
    name: str,
    evaluate: Callable[[Any], Any],
    samples: list[Sample],
    title: str | None,
    doc: str,
    slope: Callable[[Any, Any], Any] | None = None,
) -> Op:
    """Enter a function of matrices; `slope(a, e)` gives its derivative for plain arrays, where that is quicker."""

    def along(a: Any, e: Any) -> Any:
        return slope(a, e) if slope is not None and plain(e, e, a) else direction(op, a, e)

    op: Op = general(
        name,
        evaluate,
        vjp=lambda g, _y, a: (along(t_(a), g),),
        jvp=lambda tangents, _y, a: along(a, tangents[0]),
        shape=square_spec,
        batch=lambda size, args, batched: op(*args),
        samples=samples,
        title=title,
        doc=doc,
    )
    return op


# The numerator of the Padé approximant of degree 13 to the exponential, and the norm up to which it is exact in double
# precision: Higham, "The scaling and squaring method for the matrix exponential revisited" (2005).
_PADE = (
    64764752532480000.0,
    32382376266240000.0,
    7771770303897600.0,
    1187353796428800.0,
    129060195264000.0,
    10559470521600.0,
    670442572800.0,
    33522128640.0,
    1323241920.0,
    40840800.0,
    960960.0,
    16380.0,
    182.0,
    1.0,
)
_REACH = 5.371920351148152


def _halved(a: Any) -> tuple[Any, Any]:
    """Matrices over a power of 2 that brings each within reach of the approximant, and the powers."""
    norm = np.abs(a).sum(-2).max(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        halvings = np.where(np.isfinite(norm), np.ceil(np.log2(norm / _REACH)), 0.0).clip(0.0).astype(int)
    halvings = halvings[..., None, None]
    return _over_power(a, halvings), halvings


def _over_power(a: Any, halvings: Any) -> Any:
    if a.dtype.kind == "c":
        return np.ldexp(a.real, -halvings) + 1j * np.ldexp(a.imag, -halvings)
    return np.ldexp(a, -halvings)


def _combined(weights: Sequence[float], powers: Sequence[Any], dtype: Any) -> Any:
    """The sum of matrices, weighted."""
    scale = dtype.type().real.dtype.type
    total = powers[0] * scale(weights[0])
    for w, x in zip(weights[1:], powers[1:], strict=True):
        total += scale(w) * x
    return total


def _halves(a6: Any, powers: Sequence[Any], one: Any) -> tuple[Any, Any, Any, Any]:
    """Of the numerator's odd part over a, and of its even part: the factors of a⁶, and the whole."""
    b = _PADE
    odd = _combined(b[13:8:-2], powers, one.dtype)
    even = _combined(b[12:7:-2], powers, one.dtype)
    return (
        odd,
        even,
        a6 @ odd + _combined((*b[7:2:-2], b[1]), (*powers, one), one.dtype),
        a6 @ even + _combined((*b[6:1:-2], b[0]), (*powers, one), one.dtype),
    )


def _matrix_exp(a: Any) -> Any:
    if not a.size:
        return np.array(a)
    a, halvings = _halved(a)
    a2 = a @ a
    a4 = a2 @ a2
    a6 = a4 @ a2
    *_, odd, even = _halves(a6, (a6, a4, a2), np.eye(a.shape[-1], dtype=a.dtype))
    odd = a @ odd
    y = np.linalg.solve(even - odd, even + odd)
    for step in range(int(halvings.max())):
        y = np.where(halvings > step, y @ y, y)
    return y


def _matrix_exp_slope(a: Any, e: Any) -> Any:
    """The same steps, differentiated in the direction e, at three times the work: Al-Mohy and Higham, "Computing the
    Fréchet derivative of the matrix exponential" (2009).
    """
    if not a.size:
        return e * 1.0
    a, halvings = _halved(a)
    e = _over_power(e, halvings)
    a2 = a @ a
    d2 = a @ e + e @ a
    a4 = a2 @ a2
    d4 = a2 @ d2 + d2 @ a2
    a6 = a4 @ a2
    d6 = a4 @ d2 + d4 @ a2
    outer_odd, outer_even, odd, even = _halves(a6, (a6, a4, a2), np.eye(a.shape[-1], dtype=a.dtype))
    moved = (d6, d4, d2)
    b = _PADE
    d_odd = a6 @ _combined(b[13:8:-2], moved, a.dtype) + d6 @ outer_odd + _combined(b[7:2:-2], moved, a.dtype)
    d_even = a6 @ _combined(b[12:7:-2], moved, a.dtype) + d6 @ outer_even + _combined(b[6:1:-2], moved, a.dtype)
    d_odd = a @ d_odd + e @ odd
    odd = a @ odd
    below = np.linalg.inv(even - odd)
    y = below @ (even + odd)
    d = below @ (d_even + d_odd - (d_even - d_odd) @ y)
    for step in range(int(halvings.max())):
        on = halvings > step
        d = np.where(on, y @ d + d @ y, d)
        y = np.where(on, y @ y, y)
    return d


matrix_exp = _analytic(
    "matrix_exp",
    _matrix_exp,
    [Sample(normal(3, 3)), Sample(normal(2, 2, 2)), Sample(complex_normal(2, 2))],
    "LinalgMatrixExpBackward0",
    "The sum of aᵏ/k!, by scaling and squaring.",
    _matrix_exp_slope,
)


def _logarithm(a: Any) -> Any:
    y = scipy_module("linalg").logm(a.astype(np.result_type(a, np.float64)))  # it warns of single precision
    return _of_its_own(y, a, "logarithm")


def _of_its_own(y: Any, a: Any, what: str) -> Any:
    if y.dtype.kind == "c" and a.dtype.kind != "c":
        size = np.abs(y).max(initial=0.0)
        if np.abs(y.imag).max(initial=0.0) > 1e3 * np.finfo(a.dtype).eps * size:
            raise ValueError(f"the {what} of this real matrix is complex: give the matrix as complex")
        y = y.real
    return y.astype(a.dtype, copy=False)


matrix_log = _analytic(
    "matrix_log",
    lambda a: _each(_logarithm, a),
    [Sample(regular(3, 3)), Sample(regular(2, 2, 2)), Sample(regular(2, 2, dtype=complex))],
    None,
    "The principal logarithm, whose exponential is a. Raises `ValueError` for a real matrix that has a complex one.",
)


# Sylvester's equation, and the square root, whose derivative solves one


def _sylvester_shape(a: Spec, b: Spec, c: Spec) -> Spec:
    m, n = square_spec(a).shape[-1], square_spec(b).shape[-1]
    if c.shape[-2:] != (m, n):
        raise ValueError(f"sylvester: {c} does not fit {a} and {b}")
    lead = broadcast_shapes(a.shape[:-2], b.shape[:-2], c.shape[:-2])
    return Spec((*lead, m, n), np.result_type(a.dtype, b.dtype, c.dtype))


def _sylvester(a: Any, b: Any, c: Any) -> Any:
    y = _each(scipy_module("linalg").solve_sylvester, a, b, c)
    return y.astype(np.result_type(a, b, c), copy=False)


def _sylvester_vjp(g: Any, y: Any, a: Any, b: Any, c: Spec) -> tuple[Any, Any, Any]:
    back = sylvester(t_(a), t_(b), g)
    return (
        sum_to(-matmul(back, t_(y)), a.shape),
        sum_to(-matmul(t_(y), back), b.shape),
        sum_to(back, c.shape),
    )


def _sylvester_jvp(tangents: Any, y: Any, a: Any, b: Any, _c: Any) -> Any:
    ta, tb, drive = tangents
    for push in (None if ta is None else matmul(ta, y), None if tb is None else matmul(y, tb)):
        if push is not None:
            drive = -push if drive is None else drive - push
    return sylvester(a, b, drive)


def _sylvester_batch(size: int, args: tuple[Any, ...], batched: tuple[bool, ...]) -> Any:
    rank = max(len(x.shape) - has for x, has in zip(args, batched, strict=True))
    wide = with_batch(size, args, batched)
    return sylvester(*(x.reshape(size, *(1,) * (rank + 1 - len(x.shape)), *x.shape[1:]) for x in wide))


sylvester: Op = general(
    "sylvester",
    _sylvester,
    vjp=_sylvester_vjp,
    jvp=_sylvester_jvp,
    shape=_sylvester_shape,
    batch=_sylvester_batch,
    samples=[
        Sample(regular(3, 3), regular(2, 2), normal(3, 2)),
        Sample(regular(2, 2, 2), regular(2, 2), normal(2, 2)),
        Sample(regular(2, 2, dtype=complex), regular(2, 2, dtype=complex), complex_normal(2, 2)),
    ],
    doc="The x with a @ x + x @ b = c; leading axes broadcast. a and -b have no eigenvalue in common.",
)


def _root(a: Any) -> Any:
    return _of_its_own(scipy_module("linalg").sqrtm(a), a, "square root")


def _sqrt_vjp(g: Any, y: Any, _a: Any) -> tuple[Any]:
    return (sylvester(t_(y), t_(y), g),)


matrix_sqrt: Op = general(
    "matrix_sqrt",
    lambda a: _each(_root, a),
    vjp=_sqrt_vjp,
    jvp=lambda tangents, y, _a: sylvester(y, y, tangents[0]),
    shape=square_spec,
    batch=lambda size, args, batched: matrix_sqrt(*args),
    samples=[Sample(regular(3, 3)), Sample(definite(2, 2, 2)), Sample(regular(2, 2, dtype=complex))],
    doc="The principal square root. Raises `ValueError` for a real matrix that has a complex one.",
)


# The pseudoinverse. Source: Golub and Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares
# problems whose variables separate" (1973).


def _pinv(a: Any, atol: Any, rtol: Any) -> Any:
    if not a.size:
        return np.array(a.swapaxes(-1, -2))
    u, s, vh = np.linalg.svd(a, full_matrices=False)
    small = s <= np.maximum(atol, rtol * s[..., 0])[..., None]
    inverse = np.where(small, 0, 1 / np.where(small, 1, s)).astype(s.dtype)
    return (vh.conj().swapaxes(-1, -2) * inverse[..., None, :]) @ u.conj().swapaxes(-1, -2)


def _pinv_pull(g: Any, y: Any, a: Any) -> Any:
    yh, gh = adjoint(y), adjoint(g)
    left, right = matmul(gh, y), matmul(y, gh)
    across = matmul(left - matmul(a, matmul(y, left)), yh)
    along = matmul(yh, right - matmul(matmul(right, y), a))
    return across + along - matmul(matmul(yh, g), yh)


def _pinv_jvp(tangents: Any, y: Any, a: Any, _atol: Any, _rtol: Any) -> Any:
    t, yh = tangents[0], adjoint(y)
    th = adjoint(t)
    left, right = matmul(yh, th), matmul(th, yh)
    across = matmul(y, left - matmul(matmul(left, a), y))
    along = matmul(right - matmul(y, matmul(a, right)), y)
    return across + along - matmul(matmul(y, t), y)


pinv: Op = general(
    "pinv",
    _pinv,
    # over the reals: g comes conjugated, and goes so
    vjp=(
        lambda g, y, a, _atol, _rtol: conj(_pinv_pull(conj(g), y, a)) if a.dtype.kind == "c" else _pinv_pull(g, y, a),
        None,
        None,
    ),
    jvp=_pinv_jvp,
    shape=lambda a, atol, rtol: Spec((*a.shape[:-2], a.shape[-1], a.shape[-2]), a.dtype),
    batch=lambda size, args, batched: pinv(*with_batch(size, args, batched)),
    samples=[
        Sample(regular(3, 3), np.array(0.0), np.array(1e-15)),
        Sample(normal(4, 2), np.array(0.0), np.array(1e-15)),
        Sample(normal(2, 2, 3), np.zeros(2), np.full(2, 1e-15)),
        Sample(complex_normal(3, 2), np.array(1e-9), np.array(0.0)),
    ],
    title="LinalgPinvBackward0",
    doc="The pseudoinverse: singular values up to the larger of atol and rtol times the largest count as 0; atol and "
    "rtol have a number for each matrix. The derivative holds while the rank stays the same.",
)
