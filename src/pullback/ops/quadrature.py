"""Derivatives of distribution functions in their parameters, and of Bessel functions in their order, by quadrature.

Each is the integral of a smooth density times a polynomial in logarithms. In the logarithm (or logit) of the variable
the density is log-concave, so that on either side of its mode it decays at least exponentially. The side without the
mode is taken, up to where the density has fallen by exp(-40), with Gauss's rule of 40 to 80 points: no cancellation,
and the same cost for every parameter. For parameters from 1e-3 to 1e3 the relative error is below 1e-9, mostly far
below, and so is that of second derivatives.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np

from pullback.values.optional import scipy_module

__all__ = ["beta_slopes", "exponential_slopes", "gamma_slopes", "macdonald_slopes"]

_CUT: Final = 40.0
_SERIES: Final = 1.5  # below it the power series of the incomplete gamma function is summed


@functools.cache
def _rule(count: int) -> list[tuple[float, float]]:
    """Gauss's nodes and weights on (0, 1)."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return list(zip((nodes + 1) / 2, weights / 2, strict=True))


def exponential_slopes(log: Callable[[int, int], Any], m: int, n: int) -> Any:
    """∂ᵐ/∂aᵐ ∂ⁿ/∂bⁿ of exp(L(a, b)), over exp(L): `log(i, j)` gives the derivatives of L. By Leibniz's rule, from
    (exp L)' = L' exp L. The derivatives may be arrays or what else has operators.
    """
    if m == 0 and n == 0:
        return 1.0
    total: Any = 0.0
    first, second = (m - 1, n) if m else (0, n - 1)
    for i in range(first + 1):
        for j in range(second + 1):
            outer = exponential_slopes(log, first - i, second - j)
            inner = log(i + 1, j) if m else log(0, j + 1)
            total = total + outer * inner * (math.comb(first, i) * math.comb(second, j))
    return total


def _half_line(count: int, phi: Callable[..., Any], start: Any, *moments: Callable[..., Any]) -> list[Any]:
    """The integrals of exp(-φ(s))·moment(s) over s > 0, for a convex φ that rises from φ(0) = 0, by `count` points.

    `phi(s)` gives φ, a function for φ', and what the moments take besides s; at `start` φ is `_CUT` or more. Nodes
    crowd towards 0, where φ may have a scale of its own.
    """
    s = start
    for _ in range(16):  # Newton's method from the right of a convex function
        value, slope, *_ = phi(s)
        s = np.maximum(s - (value - _CUT) / slope(), 0.0)
        if not (value > _CUT + 1).any():
            break
    totals = [np.zeros_like(s) for _ in moments]
    for r, w in _rule(count):
        at = s * r**3
        value, _, *shared = phi(at)
        density = np.exp(np.negative(value, out=value), out=value)
        density *= 3 * w * r * r
        for total, moment in zip(totals, moments, strict=True):
            total += density * moment(at, *shared)
    return [total * s for total in totals]


def _flat(*operands: Any) -> tuple[tuple[int, ...], list[Any]]:
    """The common shape, and the operands as flat float64 arrays of it."""
    wide = np.broadcast_arrays(*(np.asarray(x, np.float64) for x in operands))
    return wide[0].shape, [x.reshape(-1) for x in wide]


def _log_gamma_density(a: Any, x: Any) -> Any:
    """log(xᵃ e⁻ˣ / Γ(a)); for large a by Stirling's series, about x = a."""
    large = a > 16
    b = np.where(large, a, 16.0)
    mu = (x - b) / b
    stirling = 1 / (12 * b) - 1 / (360 * b**3) + 1 / (1260 * b**5) - 1 / (1680 * b**7)
    near = b * (np.log1p(mu) - mu) + 0.5 * np.log(b / (2 * math.pi)) - stirling
    return np.where(large, near, a * np.log(x) - x - scipy_module("special").gammaln(a))


def _gamma_series(a: Any, x: Any, order: int) -> Any:
    """By P(a, x) = xᵃ/Γ(a+1) · (1 + a Σ (-x)ᵏ / (k! (a+k))), k >= 1; DLMF 8.7.1."""
    special = scipy_module("special")
    log_x = np.log(x)

    def log(i: int, _j: int) -> Any:
        return (log_x if i == 1 else 0.0) - special.polygamma(i - 1, a + 1)

    total = np.zeros_like(x)
    for n in range(order + 1):
        series = np.full_like(x, 1.0 if n == 0 else 0.0)
        term = np.ones_like(x)
        for k in range(1, 30):
            term = term * (-x / k)
            ratio = a / (a + k) if n == 0 else -k * (-1) ** n * math.factorial(n) / (a + k) ** (n + 1)
            series += term * ratio
        total += math.comb(order, n) * series * exponential_slopes(log, order - n, 0)
    return total * np.exp(a * log_x - special.gammaln(a + 1))


def _gamma_side(a: Any, x: Any, order: int) -> Any:
    special = scipy_module("special")
    below = x < a
    sign = np.where(below, 1.0, -1.0)
    log_x = np.log(x)
    slopes = [special.polygamma(i, a) for i in range(order)]

    def phi(s: Any) -> tuple[Any, ...]:
        fall = np.expm1(-sign * s)  # t = x·exp(∓s)
        return sign * a * s + x * fall, lambda: sign * (a - x * (fall + 1))

    def moment(s: Any) -> Any:
        def log(i: int, _j: int) -> Any:
            return (log_x - sign * s if i == 1 else 0.0) - slopes[i - 1]

        return exponential_slopes(log, order, 0)

    c = _CUT / np.maximum(a, x)
    start = np.where(below, 1 + _CUT / a, np.log1p(c + np.sqrt(2 * c)))
    return sign * np.exp(_log_gamma_density(a, x)) * _half_line(40, phi, start, moment)[0]


def gamma_slopes(a: Any, x: Any, order: int) -> Any:
    """∂ⁿ/∂aⁿ of the regularised lower incomplete gamma function P(a, x), for n >= 1 and a > 0; 0 at x = 0 and x = ∞."""
    shape, (a, x) = _flat(a, x)
    valid = (a > 0) & (x > 0) & np.isfinite(a) & np.isfinite(x)
    y = np.where((a > 0) & ((x == 0) | (x == np.inf)), 0.0, np.nan)
    small = x < _SERIES
    with np.errstate(all="ignore"):
        for at in _pieces(valid & small):
            y[at] = _gamma_series(a[at], x[at], order)
        for at in _pieces(valid & ~small):
            y[at] = _gamma_side(a[at], x[at], order)
    return y.reshape(shape)[()]


def _beta_side(a: Any, b: Any, x: Any, orders: Sequence[tuple[int, int]]) -> list[Any]:
    special = scipy_module("special")
    log_x, log_rest = np.log(x), np.log1p(-x)
    highest = max(m + n for m, n in orders)
    shared, first, second = ([special.polygamma(i, z) for i in range(highest)] for z in (a + b, a, b))
    both = a + b

    def phi(s: Any) -> tuple[Any, ...]:
        fall = np.expm1(-s)  # logit(t) = logit(x) - s
        fall *= x
        log_scale = np.log1p(fall)
        return a * s + both * log_scale, lambda: a - both * (x + fall) / (1 + fall), log_scale

    def moment(m: int, n: int) -> Callable[[Any, Any], Any]:
        def log(i: int, j: int) -> Any:
            """The part of the derivatives of the log-density that doesn't depend on s."""
            value = shared[i + j - 1]
            if j == 0:
                value = value - first[i - 1]
            if i == 0:
                value = value - second[j - 1]
            return value + (log_x if i else log_rest) if i + j == 1 else value

        known = {(i, j): log(i, j) for i in range(m + 1) for j in range(n + 1) if i + j}

        def at(s: Any, log_scale: Any) -> Any:
            def moved(i: int, j: int) -> Any:
                value = known[i, j]
                if i + j == 1:
                    value = value - log_scale
                    if i:
                        value -= s
                return value

            return exponential_slopes(moved, m, n)

        return at

    start = (_CUT - both * log_rest) / a
    density = np.exp(a * log_x + b * log_rest - special.betaln(a, b))
    return [density * part for part in _half_line(80, phi, start, *(moment(m, n) for m, n in orders))]


_PIECE: Final = 8192  # elements at a time, so that what the loops over nodes work on stays in the cache


def beta_slopes(a: Any, b: Any, x: Any, *orders: tuple[int, int]) -> list[Any]:
    """∂ᵐ/∂aᵐ ∂ⁿ/∂bⁿ of the regularised incomplete beta function I_x(a, b), m + n >= 1 and a, b > 0, for each (m, n) of
    `orders`; 0 at x = 0, 1."""
    shape, (a, b, x) = _flat(a, b, x)
    positive = (a > 0) & (b > 0) & np.isfinite(a) & np.isfinite(b)
    valid = positive & (x > 0) & (x < 1)
    ys = [np.where(positive & ((x == 0) | (x == 1)), 0.0, np.nan) for _ in orders]
    below = x * (a + b) <= a
    swapped = [(n, m) for m, n in orders]
    with np.errstate(all="ignore"):
        for at in _pieces(valid & below):
            for y, part in zip(ys, _beta_side(a[at], b[at], x[at], orders), strict=True):
                y[at] = part
        for at in _pieces(valid & ~below):
            for y, part in zip(ys, _beta_side(b[at], a[at], 1 - x[at], swapped), strict=True):
                y[at] = -part
    return [y.reshape(shape)[()] for y in ys]


def _pieces(mask: Any) -> Iterator[Any]:
    """The places where a mask holds, some at a time."""
    places = np.flatnonzero(mask)
    for start in range(0, len(places), _PIECE):
        yield places[start : start + _PIECE]


def macdonald_slopes(v: Any, x: Any, order: int, scaled: bool) -> Any:
    """∂ⁿ/∂vⁿ of the modified Bessel function K_v(x), x > 0, times eˣ if `scaled`.

    By K_v(x) = ∫ exp(-x cosh t) cosh(v t) dt over t > 0 (DLMF 10.32.9), differentiated under the integral.
    """
    shape, (v, x) = _flat(v, x)
    y = np.empty_like(x)
    with np.errstate(all="ignore"):
        for start in range(0, len(x), _PIECE):
            at = slice(start, start + _PIECE)
            y[at] = _macdonald(v[at], x[at], order, scaled)
    return y.reshape(shape)[()]


def _macdonald(v: Any, x: Any, order: int, scaled: bool) -> Any:
    size = np.abs(v)
    peak = np.arcsinh(size / x)

    def log(t: Any) -> Any:
        """|v|t - x(cosh t - 1)."""
        growth = np.exp(t)
        rise = growth - 1
        rise *= rise
        rise /= growth
        rise *= 0.5 * x
        return np.subtract(size * t, rise, out=rise)

    top = log(peak)
    c = _CUT / np.hypot(x, size)
    bounds = []
    for inner, outer in ((peak, np.zeros_like(x)), (peak, peak + 1 + np.log1p(c + np.sqrt(2 * c)))):
        low, high = inner, outer
        for _ in range(14):
            middle = (low + high) / 2
            inside = top - log(middle) < _CUT
            low, high = np.where(inside, middle, low), np.where(inside, high, middle)
        bounds.append(high)
    start, stop = bounds
    start = np.where(start < 1e-9, 0.0, start)
    length = stop - start
    total = np.zeros_like(x)
    for r, w in _rule(48):
        t = start + length * r
        term = np.exp(log(t) - top)
        term *= w * t**order
        mirror = np.exp(-2 * size * t)
        term *= 1 - mirror if order % 2 else 1 + mirror
        total += term
    if order % 2:
        total = np.copysign(total, v)
    return total * length * np.exp(top if scaled else top - x) / 2
