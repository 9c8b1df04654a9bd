"""Integrals that have names: relatives of the error function, exponential, elliptic and Fresnel integrals, and the
functions of relative accuracy (exprel, cosm1, ...). Values from SciPy where NumPy has none.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.ops import fused, scalars
from pullback.ops.compare import equal, less, less_equal, logical_and
from pullback.ops.elementwise import abs_, cos, exp, log, log1p, sin, sinc, where
from pullback.ops.gammas import in_dtype_of, no_slope, special
from pullback.ops.kernels import typed
from pullback.ops.samples import Sample, complex_normal, exactly, nonzero, normal, positive, unit
from pullback.ops.scalars import floating
from pullback.ops.special import erf, erfc
from pullback.ops.table import Op, elementwise
from pullback.values.optional import scipy_module

__all__ = [
    "ci",
    "cosm1",
    "dawsn",
    "ellipe",
    "ellipk",
    "ellipkm1",
    "entr",
    "erfcinv",
    "erfcx",
    "erfi",
    "exp1",
    "expi",
    "expn",
    "exprel",
    "fresnelc",
    "fresnels",
    "hyp0f1",
    "hyp1f1",
    "hyp2f1",
    "lambertw",
    "log1prel",
    "log_ndtr",
    "ndtr",
    "ndtri",
    "owens_t",
    "si",
    "spence",
    "wofz",
    "wrightomega",
    "xlog1py",
]

_ROOT_PI = math.sqrt(math.pi)


def _patched(x: Any, radius: float, coefficients: list[float], closed: Callable[[Any], Any]) -> Any:
    """The same in NumPy, the series only where it is needed."""
    near = np.abs(x) < radius
    if not near.any():
        return closed(x)
    small = x[near]
    total = np.full_like(small, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        total *= small
        total += c
    y = closed(np.where(near, x.dtype.type(0.5), x))
    y[near] = total
    return y


def _removable(x: Any, radius: float, coefficients: list[float], closed: Callable[[Any], Any]) -> Any:
    """`closed(x)`, which cancels near 0: within `radius` the power series instead, whose first coefficient is x⁰'s."""
    if type(x) is np.ndarray and x.ndim:
        return _patched(x, radius, coefficients, closed)
    near = less(abs_(x), radius)
    small = where(near, x, 0.0)
    total: Any = coefficients[-1]
    for c in reversed(coefficients[:-1]):
        total = total * small + c
    return where(near, total, closed(where(near, 0.5, x)))


_DENSITY = 1 / math.sqrt(2 * math.pi)

# Relatives of the error function

erfcx: Op = elementwise(
    "erfcx",
    special("erfcx"),
    lambda g, y, x: g * (2.0 * x * y - 2 / _ROOT_PI),
    samples=[Sample(normal(2, 3)), Sample(complex_normal(3))],
    doc="exp(x²) erfc(x).",
)
erfi = elementwise(
    "erfi",
    special("erfi"),
    lambda g, _y, x: g * (exp(x * x) * (2 / _ROOT_PI)),
    samples=[Sample(normal(2, 3)), Sample(complex_normal(3))],
    doc="The imaginary error function -i erf(ix).",
)
dawsn = elementwise(
    "dawsn",
    special("dawsn"),
    lambda g, y, x: g * (1.0 - 2.0 * x * y),
    samples=[Sample(normal(2, 3)), Sample(complex_normal(3))],
    doc="Dawson's integral exp(-x²) √π/2 erfi(x).",
)
wofz = elementwise(
    "wofz",
    special("wofz"),
    lambda g, y, z: g * (2j / _ROOT_PI - 2.0 * z * y),
    samples=[Sample(complex_normal(2, 3))],
    doc="Faddeeva's function exp(-z²) erfc(-iz), of complex z.",
)
erfcinv = elementwise(
    "erfcinv",
    special("erfcinv"),
    lambda g, y, _x: g * (exp(y * y) * (-0.5 * _ROOT_PI)),
    samples=[Sample(exactly(0.1, 0.8, 1.7))],
    doc="The x with erfc(x) the operand; ±∞ at 0 and 2, NaN outside.",
)
owens_t = elementwise(
    "owens_t",
    special("owens_t"),
    lambda g, _y, h, a: g * (exp(-0.5 * h * h) * erf(a * h * math.sqrt(0.5)) * (-0.5 * _DENSITY)),
    lambda g, _y, h, a: g * (exp(-0.5 * h * h * (a * a + 1.0)) / (a * a + 1.0) * (1 / (2 * math.pi))),
    samples=[Sample(normal(2, 3), normal(2, 3)), Sample(normal(3), normal(2, 1))],
    doc="Owen's function: the probability that X > h and 0 < Y < aX, for independent normal X, Y.",
)
ndtr = elementwise(
    "ndtr",
    lambda x: 0.5 * erfc.evaluate(x * -math.sqrt(0.5)),
    lambda g, _y, x: g * (_DENSITY * exp(-0.5 * x * x)),
    lower=floating(scalars.normal_distribution),
    samples=[Sample(normal(2, 3))],
    doc="The normal distribution function, accurate in its lower tail.",
)


def _log_ndtr_slope(g: Any, y: Any, x: Any) -> Any:
    """The density over the probability: by erfcx in the lower tail, where their logarithms cancel."""
    low = less(x, 0.0)
    tail = math.sqrt(2 / math.pi) / erfcx(where(low, x, 0.0) * -math.sqrt(0.5))
    return g * where(low, tail, exp(-0.5 * x * x - y) * _DENSITY)


log_ndtr = elementwise(
    "log_ndtr",
    special("log_ndtr"),
    _log_ndtr_slope,
    samples=[Sample(normal(2, 3)), Sample(exactly(-30.0, 3.0))],
    doc="log of the normal distribution function; value and slopes are accurate in both tails.",
)
ndtri = elementwise(
    "ndtri",
    special("ndtri"),
    lambda g, y, _x: g * (exp(0.5 * y * y) * (1 / _DENSITY)),
    samples=[Sample(exactly(0.1, 0.45, 0.8))],
    doc="The x at which the normal distribution function is the operand; ±∞ at 0 and 1, NaN outside.",
)

# Logarithms and exponentials with care


def _entr(x: Any) -> Any:
    outside = x <= 0
    if not outside.any():
        return -x * np.log(x)
    y = -x * np.log(np.where(outside, 1, x))
    return np.where(x < 0, x.dtype.type(-np.inf), y)[()]


entr = elementwise(
    "entr",
    _entr,
    lambda g, _y, x: g * (-1.0 - log(x)),
    lower=floating(scalars.entropy),
    samples=[Sample(positive(2, 3))],
    doc="-x log x, 0 at 0, where its slope is inf; -inf below 0.",
)


def _xlog1py(x: Any, y: Any) -> Any:
    y = typed(y, x)
    return x * np.log1p(np.where(np.equal(x, 0) & ~np.isnan(y), 0.0, y))


xlog1py = elementwise(
    "xlog1py",
    _xlog1py,
    lambda g, _y, a, b: g * log1p(where(logical_and(equal(a, 0), less_equal(b, -1)), 0.0, typed(b, a))),
    lambda g, _y, a, b: g * (a / where(logical_and(equal(a, 0), equal(b, -1)), 1.0, b + 1.0)),
    kernel=fused.xlog1py,
    lower=floating(scalars.xlog1py),
    samples=[Sample(normal(2, 3), positive(2, 3)), Sample(normal(3), positive(2, 1)), Sample(2.0, positive(3))],
    doc="x · log1p(y), 0 where x is 0 and y a number; there the slopes are 0 too, in x for y <= -1, in y for y = -1.",
)
_EXPREL_SLOPE = [(k + 1) / math.factorial(k + 2) for k in range(22)]
exprel: Op = elementwise(
    "exprel",
    special("exprel"),
    lambda g, y, x: g * _removable(x, 1.0, _EXPREL_SLOPE, lambda x: (exp(x) * (x - 1.0) + 1.0) / (x * x)),
    lower=floating(scalars.exprel),
    samples=[Sample(normal(2, 3)), Sample(exactly(0.0, 1e-3, 3.0, -20.0))],
    doc="(exp(x) - 1) / x, 1 at 0.",
)
_LOG1PREL_SLOPE = [(-1) ** (k + 1) * (k + 1) / (k + 2) for k in range(26)]
log1prel: Op = elementwise(
    "log1prel",
    lambda x: np.where(x == 0, 1.0, np.log1p(x) / np.where(x == 0, 1.0, x)).astype(x.dtype)[()],
    lambda g, y, x: g * _removable(x, 0.2, _LOG1PREL_SLOPE, lambda x: (1.0 / (x + 1.0) - y) / x),
    lower=scalars.relative("log1p"),
    samples=[Sample(positive(2, 3)), Sample(exactly(0.0, 1e-3, 3.0, -0.8))],
    doc="log(1 + x) / x, 1 at 0.",
)
cosm1 = elementwise(
    "cosm1",
    lambda x: -2 * np.square(np.sin(x / 2)),
    lambda g, _y, x: -g * sin(x),
    lower=floating(scalars.cosm1),
    samples=[Sample(normal(2, 3))],
    doc="cos(x) - 1, accurate near 0.",
)
lambertw = elementwise(
    "lambertw",
    lambda z, k=0: in_dtype_of((z,), scipy_module("special").lambertw(z, k)),
    lambda g, y, _z, k=0: g / (exp(y) * (y + 1.0)),
    samples=[Sample(complex_normal(3)), Sample(complex_normal(3), k=-1)],
    doc="Branch k of the w with w exp(w) = z, of complex z; infinite slope at the branch point -1/e.",
)
wrightomega = elementwise(
    "wrightomega",
    special("wrightomega"),
    lambda g, y, _x: g * (y / (y + 1.0)),
    samples=[Sample(normal(2, 3))],
    doc="The w > 0 with w + log(w) = x.",
)

# Exponential, Fresnel and elliptic integrals

expi = elementwise(
    "expi",
    special("expi"),
    lambda g, _y, x: g * (exp(x) / x),
    samples=[Sample(nonzero(2, 3))],
    doc="The exponential integral Ei(x); -inf at 0.",
)
exp1 = elementwise(
    "exp1",
    special("exp1"),
    lambda g, _y, x: -g * (exp(-x) / x),
    samples=[Sample(positive(2, 3))],
    doc="The exponential integral E₁(x), for x > 0.",
)
_EXPN = special("expn")
expn: Op = elementwise(
    "expn",
    lambda x, n: _EXPN(n, x),
    lambda g, y, x, n: -g * expn(x, n=n - 1) if n else -g * (y * (1.0 + 1.0 / x)),
    samples=[Sample(positive(2, 3), n=2), Sample(positive(3), n=0)],
    doc="The exponential integral of whole order n >= 0, for x > 0.",
)
si = elementwise(
    "si",
    special("sici", part=0),
    lambda g, _y, x: g * sinc(x * (1 / math.pi)),
    samples=[Sample(normal(2, 3))],
    doc="The sine integral Si(x).",
)
ci = elementwise(
    "ci",
    special("sici", part=1),
    lambda g, _y, x: g * (cos(x) / x),
    samples=[Sample(positive(2, 3))],
    doc="The cosine integral Ci(x), for x > 0.",
)
fresnels = elementwise(
    "fresnels",
    special("fresnel", part=0),
    lambda g, _y, x: g * sin(x * x * (math.pi / 2)),
    samples=[Sample(normal(2, 3))],
    doc="Fresnel's integral of sin(πt²/2) from 0 to x.",
)
fresnelc = elementwise(
    "fresnelc",
    special("fresnel", part=1),
    lambda g, _y, x: g * cos(x * x * (math.pi / 2)),
    samples=[Sample(normal(2, 3))],
    doc="Fresnel's integral of cos(πt²/2) from 0 to x.",
)
spence = elementwise(
    "spence",
    special("spence"),
    lambda g, _y, x: -g * log1prel(x - 1.0),
    samples=[Sample(positive(2, 3)), Sample(exactly(1.0, 1.001))],
    doc="The integral of log(t) / (1 - t) from 1 to x: the dilogarithm of 1 - x.",
)
_QUARTER = [(math.comb(2 * k, k) / 4**k) ** 2 for k in range(15)]  # K(m) = π/2 Σ of these times mᵏ
_K_SLOPE = [math.pi / 2 * k * c for k, c in enumerate(_QUARTER) if k]
_E_SLOPE = [-math.pi / 2 * k * c / (2 * k - 1) for k, c in enumerate(_QUARTER) if k]
ellipk: Op = elementwise(
    "ellipk",
    special("ellipk"),
    lambda g, y, m: g * _removable(m, 0.05, _K_SLOPE, lambda m: (ellipe(m) - (1.0 - m) * y) / (2.0 * m * (1.0 - m))),
    samples=[Sample(unit(2, 3)), Sample(exactly(0.0, 0.1, -3.0))],
    doc="The complete elliptic integral of the first kind K(m), m < 1; inf at 1.",
)
ellipe: Op = elementwise(
    "ellipe",
    special("ellipe"),
    lambda g, y, m: g * _removable(m, 0.05, _E_SLOPE, lambda m: (y - ellipk(m)) / (2.0 * m)),
    samples=[Sample(unit(2, 3)), Sample(exactly(0.0, 0.1, -3.0))],
    doc="The complete elliptic integral of the second kind E(m), m <= 1.",
)
ellipkm1: Op = elementwise(
    "ellipkm1",
    special("ellipkm1"),
    lambda g, y, p: (
        -g * _removable(1.0 - p, 0.2, _K_SLOPE, lambda m: (ellipe(m) - (1.0 - m) * y) / (2.0 * m * (1.0 - m)))
    ),
    samples=[Sample(exactly(0.3, 0.5, 1.0, 1.7))],
    doc="K(1 - p), accurate for small p > 0.",
)

# Hypergeometric functions, in their argument

hyp0f1: Op = elementwise(
    "hyp0f1",
    special("hyp0f1"),
    no_slope("hyp0f1(v, z)", "v"),
    lambda g, _y, v, z: g * (hyp0f1(v + 1.0, z) / v),
    samples=[Sample(1.5, normal(2, 3))],
    doc="The confluent hypergeometric limit function ₀F₁(v; z); no derivative in v.",
)
hyp1f1: Op = elementwise(
    "hyp1f1",
    special("hyp1f1"),
    no_slope("hyp1f1(a, b, z)", "a"),
    no_slope("hyp1f1(a, b, z)", "b"),
    lambda g, _y, a, b, z: g * (hyp1f1(a + 1.0, b + 1.0, z) * (a / b)),
    samples=[Sample(0.7, 1.5, normal(2, 3))],
    doc="The confluent hypergeometric function ₁F₁(a; b; z); no derivative in a and b.",
)
hyp2f1: Op = elementwise(
    "hyp2f1",
    special("hyp2f1"),
    no_slope("hyp2f1(a, b, c, z)", "a"),
    no_slope("hyp2f1(a, b, c, z)", "b"),
    no_slope("hyp2f1(a, b, c, z)", "c"),
    lambda g, _y, a, b, c, z: g * (hyp2f1(a + 1.0, b + 1.0, c + 1.0, z) * (a * b / c)),
    samples=[Sample(0.7, 1.5, 2.2, unit(2, 3))],
    doc="Gauss's hypergeometric function ₂F₁(a, b; c; z); no derivative in a, b and c.",
)
