"""The gamma function and its relatives: values from SciPy, derivatives exact in every argument and to every order."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.ops.compare import less
from pullback.ops.elementwise import cos, exp, log, log1p, sin, where, xlogy
from pullback.ops.quadrature import beta_slopes, exponential_slopes, gamma_slopes
from pullback.ops.samples import Sample, exactly, exponents, positive
from pullback.ops.table import Op, elementwise
from pullback.values.optional import from_scipy

__all__ = [
    "beta",
    "betainc",
    "betaincinv",
    "betaln",
    "binom",
    "digamma",
    "gamma",
    "gammainc",
    "gammaincc",
    "gammainccinv",
    "gammaincinv",
    "gammasgn",
    "lgamma",
    "loggamma",
    "poch",
    "polygamma",
    "rgamma",
    "zeta",
]


def in_dtype_of(operands: tuple[Any, ...], y: Any) -> Any:
    """`y` in the dtype that the operands meet in; a Python number for Python numbers, which stay weak so."""
    arrays = [x for x in operands if isinstance(x, np.ndarray | np.generic)]
    if not arrays:
        return y.item()
    dtype = np.result_type(*operands) if len(operands) > 1 else arrays[0].dtype
    return y if y.dtype == dtype else y.astype(dtype)


def special(name: str, *, part: int | None = None) -> Callable[..., Any]:
    """A function of `scipy.special`, or one of its results, as the evaluation of an op: float16 stays float16."""
    function = from_scipy("special", name)

    def evaluate(*operands: Any) -> Any:
        y = function(*operands)
        return in_dtype_of(operands, y if part is None else y[part])

    return evaluate


def no_slope(function: str, operand: str) -> Callable[..., Any]:
    """The rule of an operand in which there is no derivative to be had. Raises when it is asked for one."""

    def rule(_g: Any, _y: Any, *_operands: Any, **_params: Any) -> Any:
        raise NotImplementedError(
            f"{function} has no derivative in {operand} in pullback; detach() it if no gradient should flow to it"
        )

    return rule


_PSI, _ZETA = special("psi"), special("zeta")


_BERNOULLI = (7 / 6, -691 / 2730, 5 / 66, -1 / 30, 1 / 42, -1 / 30, 1 / 6)  # B_14, ..., B_2


def _trigamma(z: Any) -> Any:
    """ψ'(z) of a float64 array, which is overwritten, for z > 0: by ψ'(z) = Σ 1/(z+k)² + ψ'(z+10), k < 10, and the
    asymptotic series, which is faster than SciPy's zeta function."""
    total = np.zeros_like(z)
    for _ in range(10):
        total += 1 / (z * z)
        z += 1
    square = 1 / (z * z)
    series = np.zeros_like(z)
    for b in _BERNOULLI:
        series += b
        series *= square
    return total + (1 + series) / z + 0.5 * square


def _polygamma(x: Any, n: int = 0) -> Any:
    if n == 1 and isinstance(x, np.ndarray) and x.ndim:
        z = x.astype(np.float64)
        if ((z > 1e-100) & (z < 1e100)).all():
            return in_dtype_of((x,), _trigamma(z))
    return _ZETA(n + 1.0, x) * ((-1) ** (n + 1) * math.factorial(n)) if n else _PSI(x)


polygamma: Op = elementwise(
    "polygamma",
    _polygamma,
    lambda g, _y, x, n=0: g * polygamma(x, n=n + 1),
    samples=[Sample(exponents(2, 3), n=0), Sample(exponents(2, 3), n=1), Sample(exactly(-0.5, -1.5, 3.1), n=2)],
    doc="The n-th derivative of digamma; a pole at 0 and at each negative integer, infinite or NaN as in SciPy.",
)
digamma: Op = elementwise(
    "digamma",
    _PSI,
    lambda g, _y, x: g * polygamma(x, n=1),
    samples=[Sample(positive(2, 3)), Sample(exactly(-0.4, -1.7, 3.1))],
    doc="The derivative of log Γ(x); NaN at the poles 0, -1, -2, ... (-inf at 0).",
)
lgamma: Op = elementwise(
    "lgamma",
    special("gammaln"),
    lambda g, _y, x: g * digamma(x),
    samples=[Sample(positive(2, 3)), Sample(exactly(-0.4, -1.7, 3.1))],
    doc="log |Γ(x)|; inf at the poles 0, -1, -2, ..., where the slope is digamma's value.",
)
loggamma = elementwise(
    "loggamma",
    special("loggamma"),
    lambda g, _y, x: g * digamma(x),
    samples=[Sample(positive(2, 3))],
    doc="log Γ(x), of complex x the principal branch; NaN for x < 0, and of complex x no second derivative.",
)
gamma: Op = elementwise(
    "gamma",
    special("gamma"),
    lambda g, y, x: g * (y * digamma(x)),
    samples=[Sample(positive(2, 3)), Sample(exactly(-0.4, -1.7, 3.1))],
    doc="Γ(x); NaN at its poles.",
)


def _rgamma_slope(g: Any, y: Any, x: Any) -> Any:
    """Left of 1/2 by reflection, 1/Γ(x) = Γ(1-x) sin(πx)/π, which is smooth at the poles of Γ."""
    left = less(x, 0.5)
    low = 1 - where(left, x, 0.0)
    turn = math.pi * where(left, x, 0.0)
    mirrored = gamma(low) * (cos(turn) - digamma(low) * sin(turn) * (1 / math.pi))
    return g * where(left, mirrored, -y * digamma(where(left, 1.0, x)))


rgamma = elementwise(
    "rgamma",
    special("rgamma"),
    _rgamma_slope,
    samples=[Sample(positive(2, 3)), Sample(exactly(0.0, -1.0, -2.0, -0.4))],
    doc="1/Γ(x), an entire function: its slope at 0, -1, -2, ... is exact too.",
)
gammasgn = elementwise(
    "gammasgn",
    special("gammasgn"),
    lambda g, _y, _x: g * 0.0,
    samples=[Sample(exactly(0.5, -0.4, -1.7))],
    doc="The sign of Γ(x); slope 0.",
)
zeta: Op = elementwise(
    "zeta",
    _ZETA,
    no_slope("zeta(x, q)", "x"),
    lambda g, _y, x, q: g * (-x * zeta(x + 1.0, q)),
    samples=[Sample(2.5, exponents(2, 3)), Sample(3.0, exponents(3))],
    doc="Hurwitz's zeta function, the sum of (k + q)**-x over k >= 0; no derivative in x.",
)
betaln = elementwise(
    "betaln",
    special("betaln"),
    lambda g, _y, a, b: g * (digamma(a) - digamma(a + b)),
    lambda g, _y, a, b: g * (digamma(b) - digamma(a + b)),
    samples=[Sample(positive(2, 3), positive(2, 3)), Sample(positive(3), positive(2, 1))],
    doc="log |B(a, b)|, B(a, b) = Γ(a) Γ(b) / Γ(a + b).",
)
beta = elementwise(
    "beta",
    special("beta"),
    lambda g, y, a, b: g * (y * (digamma(a) - digamma(a + b))),
    lambda g, y, a, b: g * (y * (digamma(b) - digamma(a + b))),
    samples=[Sample(positive(2, 3), positive(2, 3)), Sample(positive(3), positive(2, 1))],
    doc="B(a, b) = Γ(a) Γ(b) / Γ(a + b).",
)
poch = elementwise(
    "poch",
    special("poch"),
    lambda g, y, x, m: g * (y * (digamma(x + m) - digamma(x))),
    lambda g, y, x, m: g * (y * digamma(x + m)),
    samples=[Sample(positive(2, 3), positive(2, 3)), Sample(positive(3), positive(2, 1))],
    doc="Γ(x + m) / Γ(x), the rising factorial.",
)
binom = elementwise(
    "binom",
    special("binom"),
    lambda g, y, n, k: g * (y * (digamma(n + 1.0) - digamma(n - k + 1.0))),
    lambda g, y, n, k: g * (y * (digamma(n - k + 1.0) - digamma(k + 1.0))),
    samples=[Sample(exactly(4.0, 2.5, 7.0), exactly(2.0, 1.1, 3.3)), Sample(exactly(4.0, 6.5), 2.0)],
    doc="n over k, for numbers that need not be whole; its slopes are NaN where n - k or k is a negative integer.",
)


# Incomplete functions. `order` counts derivatives in the shape parameters, which quadrature gives.


def _density(a: Any, x: Any, order: int) -> Any:
    """∂ⁿ/∂aⁿ of x**(a-1) exp(-x) / Γ(a)."""

    def slope(i: int, _j: int) -> Any:
        return log(x) - digamma(a) if i == 1 else -polygamma(a, n=i - 1)

    density = exp(xlogy(a - 1.0, x) - x - lgamma(a))
    return density * exponential_slopes(slope, order, 0) if order else density


_P, _Q, _I = special("gammainc"), special("gammaincc"), special("betainc")


def _gammainc(a: Any, x: Any, order: int = 0) -> Any:
    return in_dtype_of((a, x), gamma_slopes(a, x, order)) if order else _P(a, x)


def _gammaincc(a: Any, x: Any, order: int = 0) -> Any:
    return in_dtype_of((a, x), -gamma_slopes(a, x, order)) if order else _Q(a, x)


_SHAPES = [
    Sample(positive(2, 3), positive(2, 3)),
    Sample(positive(3), positive(2, 1)),
    Sample(exactly(3.0, 12.0, 50.0), exactly(7.0, 2.0, 45.0), order=1),
    Sample(2.5, positive(3)),
]
gammainc: Op = elementwise(
    "gammainc",
    _gammainc,
    lambda g, _y, a, x, order=0: g * gammainc(a, x, order=order + 1),
    lambda g, _y, a, x, order=0: g * _density(a, x, order),
    samples=_SHAPES,
    doc="""The regularised lower incomplete gamma function P(a, x), or its derivative in a of the given order, which is
    found by a series (x < 1.5) or by quadrature, see `ops.quadrature`.""",
)
gammaincc: Op = elementwise(
    "gammaincc",
    _gammaincc,
    lambda g, _y, a, x, order=0: g * gammaincc(a, x, order=order + 1),
    lambda g, _y, a, x, order=0: g * -_density(a, x, order),
    samples=_SHAPES,
    doc="The regularised upper incomplete gamma function Q(a, x) = 1 - P(a, x), or its derivative in a, see gammainc.",
)


def _beta_density(a: Any, b: Any, x: Any, orders: tuple[int, int]) -> Any:
    """∂ᵐ/∂aᵐ ∂ⁿ/∂bⁿ of x**(a-1) (1-x)**(b-1) / B(a, b)."""

    def slope(i: int, j: int) -> Any:
        value = polygamma(a + b, n=i + j - 1)
        if j == 0:
            value = value - polygamma(a, n=i - 1)
        if i == 0:
            value = value - polygamma(b, n=j - 1)
        return value + (log(x) if i else log1p(-x)) if i + j == 1 else value

    density = exp(xlogy(a - 1.0, x) + xlogy(b - 1.0, 1.0 - x) - betaln(a, b))
    return density * exponential_slopes(slope, *orders) if any(orders) else density


def _betainc(a: Any, b: Any, x: Any, orders: tuple[int, int] = (0, 0)) -> Any:
    return in_dtype_of((a, b, x), beta_slopes(a, b, x, orders)[0]) if any(orders) else _I(a, b, x)


def _betainc_at_once(g: Any, _y: Any, a: Any, b: Any, x: Any, orders: tuple[int, int] = (0, 0)) -> tuple[Any, ...]:
    m, n = orders
    slopes = (*beta_slopes(a, b, x, (m + 1, n), (m, n + 1)), _beta_density(a, b, x, orders))
    return tuple(g * in_dtype_of((a, b, x), slope) for slope in slopes)


betainc: Op = elementwise(
    "betainc",
    _betainc,
    lambda g, _y, a, b, x, orders=(0, 0): g * betainc(a, b, x, orders=(orders[0] + 1, orders[1])),
    lambda g, _y, a, b, x, orders=(0, 0): g * betainc(a, b, x, orders=(orders[0], orders[1] + 1)),
    lambda g, _y, a, b, x, orders=(0, 0): g * _beta_density(a, b, x, orders),
    kernel=_betainc_at_once,
    samples=[
        Sample(positive(2, 3), positive(2, 3), exactly([0.1, 0.3, 0.5], [0.7, 0.9, 0.4])),
        Sample(positive(2), 3.0, exactly(0.2, 0.8)),
        Sample(exactly(3.0, 20.0), exactly(2.0, 30.0), exactly(0.3, 0.5), orders=(1, 0)),
        Sample(exactly(3.0, 20.0), exactly(2.0, 30.0), exactly(0.3, 0.5), orders=(1, 1)),
    ],
    doc="""The regularised incomplete beta function I_x(a, b), or its derivative in a and b of the given orders, which
    is found by quadrature, see `ops.quadrature`.""",
)


# Their inverses: y is where F(y; a) = p, so that dy/dp = 1/F' and dy/da = -(∂F/∂a)/F'.

_LEVELS = exactly(0.2, 0.5, 0.9)

gammaincinv = elementwise(
    "gammaincinv",
    special("gammaincinv"),
    lambda g, y, a, _p: -g * (gammainc(a, y, order=1) / _density(a, y, 0)),
    lambda g, y, a, _p: g / _density(a, y, 0),
    samples=[Sample(positive(3), _LEVELS), Sample(2.5, _LEVELS)],
    doc="The x with P(a, x) = p.",
)
gammainccinv = elementwise(
    "gammainccinv",
    special("gammainccinv"),
    lambda g, y, a, _p: -g * (gammainc(a, y, order=1) / _density(a, y, 0)),
    lambda g, y, a, _p: -g / _density(a, y, 0),
    samples=[Sample(positive(3), _LEVELS), Sample(2.5, _LEVELS)],
    doc="The x with Q(a, x) = p.",
)


def _betaincinv_at_once(g: Any, y: Any, a: Any, b: Any, _p: Any) -> tuple[Any, ...]:
    last = g / _beta_density(a, b, y, (0, 0))
    first, second = (in_dtype_of((a, b, y), slope) for slope in beta_slopes(a, b, y, (1, 0), (0, 1)))
    return -last * first, -last * second, last


betaincinv = elementwise(
    "betaincinv",
    special("betaincinv"),
    lambda g, y, a, b, _p: -g * (betainc(a, b, y, orders=(1, 0)) / _beta_density(a, b, y, (0, 0))),
    lambda g, y, a, b, _p: -g * (betainc(a, b, y, orders=(0, 1)) / _beta_density(a, b, y, (0, 0))),
    lambda g, y, a, b, _p: g / _beta_density(a, b, y, (0, 0)),
    kernel=_betaincinv_at_once,
    samples=[Sample(positive(3), positive(3), _LEVELS), Sample(2.5, 1.5, _LEVELS)],
    doc="The x with I_x(a, b) = p.",
)
