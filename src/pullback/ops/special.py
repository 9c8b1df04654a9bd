"""The error function and its relatives, evaluated in NumPy to within five units in the last place of float64.

Sources: W. J. Cody, "Rational Chebyshev approximations for the error function", Math. Comp. 23 (1969) 631-637, for erf
and erfc; M. B. Giles, "Approximating the erfinv function", GPU Computing Gems Jade (2011) 109-116, for the first
approximation of erfinv, which Halley's method then makes exact.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from pullback.ops.elementwise import exp
from pullback.ops.samples import Sample, normal, unit
from pullback.ops.scalars import floating, function
from pullback.ops.table import elementwise

_SMALL: Final = 0.46875  # below it erf is approximated, above it erfc
_FAR: Final = 27.0  # erfc is below the smallest float64 beyond it

# erf(x) = x·P(x²)/Q(x²) for |x| <= 0.46875; highest power first.
_ERF_P = (
    1.85777706184603153e-1,
    3.16112374387056560e0,
    1.13864154151050156e2,
    3.77485237685302021e2,
    3.20937758913846947e3,
)
_ERF_Q = (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3)
# erfc(x) = exp(-x²)·P(x)/Q(x) for 0.46875 <= x <= 4
_MID_P = (
    2.15311535474403846e-8,
    5.64188496988670089e-1,
    8.88314979438837594e0,
    6.61191906371416295e1,
    2.98635138197400131e2,
    8.81952221241769090e2,
    1.71204761263407058e3,
    2.05107837782607147e3,
    1.23033935479799725e3,
)
_MID_Q = (
    1.0,
    1.57449261107098347e1,
    1.17693950891312499e2,
    5.37181101862009858e2,
    1.62138957456669019e3,
    3.29079923573345963e3,
    4.36261909014324716e3,
    3.43936767414372164e3,
    1.23033935480374942e3,
)
# erfc(x) = exp(-x²)/x·(1/√π - x⁻²·P(x⁻²)/Q(x⁻²)) for x >= 4
_FAR_P = (
    1.63153871373020978e-2,
    3.05326634961232344e-1,
    3.60344899949804439e-1,
    1.25781726111229246e-1,
    1.60837851487422766e-2,
    6.58749161529837803e-4,
)
_FAR_Q = (
    1.0,
    2.56852019228982242e0,
    1.87295284992346725e0,
    5.27905102951428412e-1,
    6.05183413124413191e-2,
    2.33520497626869185e-3,
)
# erfinv(x) = x·P(w) with w = -log(1 - x²): P in w - 2.5 below w = 5, in √w - 3 above
_INVERSE_NEAR = (
    2.81022636e-08,
    3.43273939e-07,
    -3.5233877e-06,
    -4.39150654e-06,
    0.00021858087,
    -0.00125372503,
    -0.00417768164,
    0.246640727,
    1.50140941,
)
_INVERSE_FAR = (
    -0.000200214257,
    0.000100950558,
    0.00134934322,
    -0.00367342844,
    0.00573950773,
    -0.0076224613,
    0.00943887047,
    1.00167406,
    2.83297682,
)
_SLOPE: Final = 2 / math.sqrt(math.pi)


def _horner(x: Any, coefficients: tuple[float, ...]) -> Any:
    total = np.full_like(x, coefficients[0])
    for c in coefficients[1:]:
        total *= x
        total += c
    return total


def _ratio(x: Any, p: tuple[float, ...], q: tuple[float, ...]) -> Any:
    return _horner(x, p) / _horner(x, q)


def _exp_of_minus_square(x: Any) -> Any:
    """exp(-x²) to full precision: x² is split into a part that is exact and a small rest."""
    head = np.trunc(x * 16) / 16
    return np.exp(-head * head) * np.exp(-(x - head) * (x + head))


def _tail(x: Any) -> Any:
    """erfc of a float64 array with every element >= 0.46875."""
    x = np.minimum(x, _FAR + 1)
    y = _exp_of_minus_square(x)
    far = x > 4
    if not far.any():
        return y * _ratio(x, _MID_P, _MID_Q)
    inverse = 1 / x[far]
    square = inverse * inverse
    factor = np.empty_like(x)
    factor[~far] = _ratio(x[~far], _MID_P, _MID_Q)
    factor[far] = inverse * (1 / math.sqrt(math.pi) - square * _ratio(square, _FAR_P, _FAR_Q))
    return y * factor


def _in_float64(function: Any) -> Any:
    """`function` of a float64 array with dimensions, as a function of any real array; NaN stays NaN."""

    def evaluate(x: Any) -> Any:
        wide = np.atleast_1d(np.asarray(x, np.float64))
        y = function(wide).reshape(np.shape(x))
        return y.astype(x.dtype)[()] if isinstance(x, np.ndarray | np.generic) else y[()]

    return evaluate


def _erf(x: Any) -> Any:
    size = np.abs(x)
    small = size <= _SMALL
    y = np.empty_like(x)
    near = x[small]
    y[small] = near * _ratio(near * near, _ERF_P, _ERF_Q)
    y[~small] = np.copysign(1 - _tail(size[~small]), x[~small])
    return y


def _erfc(x: Any) -> Any:
    size = np.abs(x)
    small = size <= _SMALL
    y = np.empty_like(x)
    near = x[small]
    y[small] = 1 - near * _ratio(near * near, _ERF_P, _ERF_Q)
    tail = _tail(size[~small])
    y[~small] = np.where(x[~small] < 0, 2 - tail, tail)
    return y


def _erfinv(x: Any) -> Any:
    size = np.abs(x)
    inside = size < 1
    s = np.where(inside, size, 0.0)
    w = -np.log((1 - s) * (1 + s))
    y = s * np.where(w < 5, _horner(np.minimum(w, 5) - 2.5, _INVERSE_NEAR), 0.0)
    far = w >= 5
    if far.any():
        root = np.sqrt(w[far])
        # Giles' polynomial holds for single precision (w < 16); beyond it the leading term of the asymptotic series.
        y[far] = np.where(root < 4, s[far] * _horner(np.minimum(root, 4) - 3, _INVERSE_FAR), root - 0.25)
    for _ in range(2 if not far.any() else 4):
        close = s > 0.5  # there 1 - s is exact
        error = np.where(close, (1 - s) - _erfc(y), _erf(y) - s)
        step = error / (_SLOPE * _exp_of_minus_square(y))
        y = y - step / (1 + y * step)
    y = np.where(inside, y, np.where(size == 1, np.inf, np.nan))
    return np.copysign(y, x)


def _polynomial(x: Any, coefficients: tuple[float, ...]) -> Any:
    total = x * coefficients[0] + coefficients[1]
    for c in coefficients[2:]:
        total = total * x + c
    return total


def _erfinv_lowered(b: Any, x: Any) -> Any:
    """The steps of `_erfinv`, for one element."""
    x = b.cast(x, np.float64)
    size = b.abs(x)
    s = b.where(size < 1, size, 0)
    w = -b.call("log", (1 - s) * (1 + s))
    root = b.sqrt(w)
    far = b.where(root < 4, s * _polynomial(b.minimum(root, 4) - 3, _INVERSE_FAR), root - 0.25)
    y = b.where(w < 5, s * _polynomial(b.minimum(w, 5) - 2.5, _INVERSE_NEAR), far)
    for _ in range(4):
        error = b.where(s > 0.5, (1 - s) - b.call("erfc", y), b.call("erf", y) - s)
        step = error / (b.call("exp", -y * y) * _SLOPE)
        y = y - step / (y * step + 1)
    edge = b.where(b.equal(size, 1), b.constant(math.inf, x.dtype), math.nan)
    return b.copysign(b.where(size < 1, y, edge), x)


erf = elementwise(
    "erf",
    _in_float64(_erf),
    lambda g, _y, x: g * (_SLOPE * exp(-x * x)),
    lower=function("erf"),
    samples=[Sample(normal(2, 3))],
    doc="The error function, 2/√π times the integral of exp(-t²) from 0 to x.",
)
erfc = elementwise(
    "erfc",
    _in_float64(_erfc),
    lambda g, _y, x: g * (-_SLOPE * exp(-x * x)),
    lower=function("erfc"),
    samples=[Sample(normal(2, 3))],
    doc="1 - erf(x), accurate where that is small.",
)
erfinv = elementwise(
    "erfinv",
    _in_float64(_erfinv),
    lambda g, y, _x: g * (exp(y * y) * (1 / _SLOPE)),
    lower=floating(_erfinv_lowered),
    samples=[Sample(unit(2, 3))],
    doc="The x with erf(x) the operand; ±∞ at ±1, NaN beyond.",
)
