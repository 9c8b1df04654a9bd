"""NumPy's polynomials by their coefficients, the highest power first."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from pullback.ops import elementwise as e
from pullback.ops.cast import real
from pullback.ops.control import stop_gradient
from pullback.ops.convolve import convolve
from pullback.tensor.dispatch import is_raw
from pullback.tensor.indexing import getitem
from pullback.tensor.numpy_api import products, reductions, shapes
from pullback.tensor.numpy_api.operands import (
    dtype_of,
    inexact,
    lift,
    promoted,
    rank,
    raw,
    shape_of,
    with_dtype,
)
from pullback.tensor.numpy_api.table import FUNCTIONS, implements


def _coefficients(p: Any) -> Any:
    x = shapes.atleast_1d(lift(p))
    if rank(x) != 1:
        raise ValueError("Polynomial must be 1d only.")
    return x


def _joined(*parts: Any) -> Any:
    return shapes.concatenate(promoted(*parts))


def _zeros(count: int, x: Any) -> Any:
    return lift(np.zeros(count, dtype_of(x)))


@implements("polyval")
def polyval(p: Any, x: Any) -> Any:
    """By Horner's rule."""
    coefficients, x = promoted(_coefficients(p), lift(x))
    y = lift(np.zeros(shape_of(x), dtype_of(x))[()])
    for i in range(shape_of(coefficients)[0]):
        y = e.add(e.mul(y, x), getitem(coefficients, i))
    return y


@implements("polyder")
def polyder(p: Any, m: int = 1) -> Any:
    if int(m) < 0:
        raise ValueError("Order of derivative must be positive (see polyint)")
    y = _coefficients(p)
    for _ in range(int(m)):
        powers = np.arange(shape_of(y)[0] - 1, 0, -1)
        y = e.mul(*promoted(getitem(y, slice(None, -1)), powers))
    return y


@implements("polyint")
def polyint(p: Any, m: int = 1, k: Any = None) -> Any:
    m = int(m)
    if m < 0:
        raise ValueError("Order of integral must be positive (see polyder)")
    constants = shapes.atleast_1d(np.zeros(m) if k is None else k)
    if shape_of(constants)[0] == 1 and m > 1:
        constants = shapes.broadcast_to(constants, m)
    if rank(constants) > 1 or shape_of(constants)[0] < m:
        raise ValueError("k must be a scalar or a rank-1 array of length 1 or >m.")
    y = _coefficients(p)
    for i in range(m):
        powers = np.arange(shape_of(y)[0], 0, -1)
        y = _joined(e.div(*promoted(inexact(y), powers)), getitem(constants, slice(i, i + 1)))
    return y


def _sum(op: Any) -> Any:
    def combine(a1: Any, a2: Any) -> Any:
        a, b = promoted(_coefficients(a1), _coefficients(a2))
        size = max(shape_of(a)[0], shape_of(b)[0])
        return op(*(_joined(_zeros(size - shape_of(x)[0], x), x) for x in (a, b)))

    return combine


polyadd, polysub = implements("polyadd")(_sum(e.add)), implements("polysub")(_sum(e.sub))


@implements("polymul")
def polymul(a1: Any, a2: Any) -> Any:
    a, b = promoted(_coefficients(a1), _coefficients(a2))
    a, b = _trimmed(a), _trimmed(b)
    if shape_of(b)[0] > shape_of(a)[0]:
        a, b = b, a
    return convolve(a, b, full=True)


def _trimmed(x: Any) -> Any:
    """Without zeros at the front; as it is where the numbers are not known."""
    if not is_raw(x):
        return x
    known = np.flatnonzero(x._value)
    if not known.size:
        return getitem(x, slice(-1, None))
    return getitem(x, slice(int(known[0]), None))


@implements("polydiv")
def polydiv(u: Any, v: Any) -> tuple[Any, Any]:
    """The quotient, and the remainder without leading zeros as far as the numbers are known."""
    a, b, _ = promoted(_coefficients(u), _coefficients(v), 0.0)
    steps = shape_of(a)[0] - shape_of(b)[0] + 1
    lead = getitem(b, 0)
    quotient = []
    for i in range(max(steps, 0)):
        factor = e.div(getitem(a, i), lead)
        quotient.append(factor)
        a = e.sub(a, _joined(_zeros(i, a), e.mul(b, factor), _zeros(steps - 1 - i, a)))
    whole = shapes.stack(quotient) if quotient else _zeros(1, a)
    if steps > 0:
        kept = getitem(a, slice(steps, None))
        a = kept if shape_of(kept)[0] else _zeros(1, a)
    if is_raw(a):
        large = np.flatnonzero(~np.isclose(a._value, 0, rtol=1e-14))
        a = getitem(a, slice(int(large[0]) if large.size else -1, None))
    return whole, a


@implements("poly")
def poly(seq_of_zeros: Any) -> Any:
    """The coefficients of the polynomial with these roots, or of a matrix's characteristic polynomial."""
    roots = shapes.atleast_1d(inexact(seq_of_zeros))
    shape = shape_of(roots)
    if rank(roots) == 2 and shape[0] == shape[1] and shape[0]:
        return _characteristic(roots)
    if rank(roots) != 1:
        raise ValueError("input must be 1d or non-empty square 2d array.")
    if not shape[0]:
        return lift(np.float64(1.0))
    y = lift(np.ones(1, dtype_of(roots)))
    for i in range(shape[0]):
        y = e.sub(_joined(y, _zeros(1, y)), _joined(_zeros(1, y), e.mul(y, getitem(roots, i))))
    if dtype_of(y).kind == "c" and is_raw(roots):
        conjugates = np.array_equal(np.sort(roots._value), np.sort(roots._value.conj()))
        return real(y) if conjugates else y
    return y


def _characteristic(a: Any) -> Any:
    """By the recurrence of Faddeev and Leverrier, which is smooth where eigenvalues meet."""
    size = shape_of(a)[0]
    unit = lift(np.eye(size, dtype=dtype_of(a)))
    found, power = [lift(np.ones((), dtype_of(a)))], unit
    for k in range(1, size + 1):
        product = products.matmul(a, power)
        found.append(e.div(products.trace(product), float(-k)))
        power = e.add(product, e.mul(unit, found[-1]))
    return shapes.stack(found)


@implements("roots")
def roots(p: Any) -> Any:
    """The roots, in NumPy's order, with slopes by implicit differentiation. The numbers of p must be known.

    NumPy's roots are constants from which two steps of Newton's method start: each doubles the number of derivatives
    that are right, so that those up to the third are. A multiple root has none.
    """
    coefficients = inexact(_coefficients(p))
    values = np.asarray(raw(coefficients, "roots' operand"))
    known = np.flatnonzero(values)
    start = np.roots(values)
    if not known.size or (coefficients._node is None and is_raw(coefficients)):
        return lift(start)
    degree = int(known[-1]) - int(known[0])
    core = getitem(coefficients, slice(int(known[0]), int(known[-1]) + 1))
    x = lift(start[:degree])
    for _ in range(2):
        x = e.sub(x, e.div(*promoted(polyval(core, x), polyval(polyder(core), x))))
    return _joined(x, _zeros(start.size - degree, x)) if start.size > degree else x


@implements("polyfit")
def polyfit(
    x: Any, y: Any, deg: Any, rcond: float | None = None, full: bool = False, w: Any = None, cov: Any = False
) -> Any:
    """Least squares with slopes in x, y and the weights."""
    x, y = inexact(x), inexact(y)
    degrees = np.asarray(deg)
    if degrees.dtype.kind not in "iu" or degrees.ndim:
        raise TypeError("deg must be an int")
    if degrees < 0:
        raise ValueError("expected deg >= 0")
    if rank(x) != 1:
        raise TypeError("expected 1D vector for x")
    if not shape_of(x)[0]:
        raise TypeError("expected non-empty vector for x")
    if rank(y) not in (1, 2):
        raise TypeError("expected 1D or 2D array for y")
    if shape_of(x)[0] != shape_of(y)[0]:
        raise TypeError("expected x and y to have same length")
    count = int(degrees) + 1
    samples = shape_of(x)[0]
    rcond = samples * float(np.finfo(dtype_of(x)).eps) if rcond is None else rcond
    table, target = FUNCTIONS["vander"](x, count), y
    if w is not None:
        weight = lift(w)
        if rank(weight) != 1:
            raise TypeError("expected a 1-d array for weights")
        if shape_of(weight)[0] != samples:
            raise TypeError("expected w and y to have the same length")
        weight = shapes.expand_dims(with_dtype(weight, np.promote_types(dtype_of(weight), np.float16)), 1)
        table = e.mul(*promoted(table, weight))
        target = e.mul(*promoted(target, weight if rank(y) == 2 else shapes.squeeze(weight, 1)))
    scale = stop_gradient(e.sqrt(reductions.sum(e.square(table), 0)))  # any scale gives the same fit
    table = e.div(table, scale)
    fit, residuals, found, singular = FUNCTIONS["linalg.lstsq"](table, target, rcond)
    result = e.div(fit, scale if rank(y) == 1 else shapes.expand_dims(scale, 1))
    if full:
        return result, residuals, found, singular, rcond
    if is_raw(lift(found)) and int(lift(found)._value) != count:
        warnings.warn("Polyfit may be poorly conditioned", np.exceptions.RankWarning, stacklevel=2)
    if not cov:
        return result
    spread = FUNCTIONS["linalg.inv"](products.matmul(shapes.transpose(table), table))
    spread = e.div(e.div(spread, scale), shapes.expand_dims(scale, 1))
    spread = spread if rank(y) == 1 else shapes.expand_dims(spread, 2)
    if cov != "unscaled":
        if samples <= count:
            raise ValueError("the number of data points must exceed order to scale the covariance matrix")
        left = e.sub(*promoted(products.matmul(table, fit), target))
        factor = e.div(reductions.sum(e.square(left), 0), float(samples - count))
        spread = e.mul(spread, factor)
    return result, spread
