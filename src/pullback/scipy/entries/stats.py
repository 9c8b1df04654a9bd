"""`pb.scipy.stats`: SciPy's distributions over Tensors, with slopes in the place and in every parameter.

A distribution is called as SciPy's is: `stats.gamma.logpdf(x, a, loc, scale)`, or frozen, `stats.gamma(a).logpdf(x)`.
Outside the support a log-density is -inf, with slopes 0; parameters outside their domain give NaN. float32 stays
float32 (SciPy computes in float64).
"""

from __future__ import annotations

import math
from typing import Any, Final

from pullback.ops import compare as c
from pullback.ops import elementwise as e
from pullback.ops import gammas as g
from pullback.ops import integrals as i
from pullback.ops.activation import logsigmoid
from pullback.ops.control import stop_gradient
from pullback.ops.special import erf
from pullback.scipy.entries.distribution import ANY, NATURAL, POSITIVE, PROBABILITY, Continuous, Discrete
from pullback.scipy.table import FUNCTIONS
from pullback.tensor.numpy_api.operands import lift

__all__: list[str] = []

_LOG_ROOT_2PI: Final = 0.5 * math.log(2 * math.pi)
_HALF_LINE = (0.0, math.inf)


def _student(y: Any, df: Any) -> Any:
    half = 0.5 * df
    return g.lgamma(half + 0.5) - g.lgamma(half) - 0.5 * e.log(df * math.pi) - (half + 0.5) * e.log1p(y * y / df)


def _log_mass(a: Any, b: Any) -> Any:
    """log(Φ(b) - Φ(a)), in the tail where that does not cancel."""
    right = c.greater(a, 0.0)
    high, low = e.where(right, -a, b), e.where(right, -b, a)
    top = i.log_ndtr(high)
    return top + e.log1p(-e.exp(i.log_ndtr(low) - top))


_CONTINUOUS = [
    Continuous(
        "norm",
        {},
        lambda y: -0.5 * y * y - _LOG_ROOT_2PI,
        cdf=i.ndtr,
        sf=lambda y: i.ndtr(-y),
        ppf=i.ndtri,
        logcdf=i.log_ndtr,
        logsf=lambda y: i.log_ndtr(-y),
    ),
    Continuous(
        "t",
        {"df": POSITIVE},
        _student,
        cdf=lambda y, df: FUNCTIONS["special.stdtr"](df, y),
        sf=lambda y, df: FUNCTIONS["special.stdtr"](df, -y),
    ),
    Continuous(
        "cauchy",
        {},
        lambda y: -math.log(math.pi) - e.log1p(y * y),
        cdf=lambda y: e.atan2(y * 0.0 + 1.0, -y) * (1 / math.pi),
        sf=lambda y: e.atan2(y * 0.0 + 1.0, y) * (1 / math.pi),
        ppf=lambda q: e.tan((q - 0.5) * math.pi),
    ),
    Continuous(
        "laplace",
        {},
        lambda y: -e.abs_(y) - math.log(2),
        cdf=lambda y: _laplace(y),
        sf=lambda y: _laplace(-y),
        ppf=lambda q: e.where(c.less(q, 0.5), e.log(2.0 * q), -e.log(2.0 - 2.0 * q)),
    ),
    Continuous(
        "logistic",
        {},
        lambda y: logsigmoid(y) + logsigmoid(-y),
        cdf=e.sigmoid,
        sf=lambda y: e.sigmoid(-y),
        ppf=e.logit,
        logcdf=logsigmoid,
        logsf=lambda y: logsigmoid(-y),
    ),
    Continuous(
        "gamma",
        {"a": POSITIVE},
        lambda y, a: e.xlogy(a - 1.0, y) - y - g.lgamma(a),
        cdf=lambda y, a: g.gammainc(a, y),
        sf=lambda y, a: g.gammaincc(a, y),
        ppf=lambda q, a: g.gammaincinv(a, q),
        support=_HALF_LINE,
    ),
    Continuous(
        "invgamma",
        {"a": POSITIVE},
        lambda y, a: -(a + 1.0) * e.log(y) - g.lgamma(a) - 1.0 / y,
        cdf=lambda y, a: g.gammaincc(a, 1.0 / y),
        sf=lambda y, a: g.gammainc(a, 1.0 / y),
        ppf=lambda q, a: 1.0 / g.gammainccinv(a, q),
        support=_HALF_LINE,
        open=True,
    ),
    Continuous(
        "beta",
        {"a": POSITIVE, "b": POSITIVE},
        lambda y, a, b: e.xlogy(a - 1.0, y) + i.xlog1py(b - 1.0, -y) - g.betaln(a, b),
        cdf=lambda y, a, b: g.betainc(a, b, y),
        sf=lambda y, a, b: g.betainc(b, a, 1.0 - y),
        ppf=lambda q, a, b: g.betaincinv(a, b, q),
        support=(0.0, 1.0),
    ),
    Continuous(
        "chi2",
        {"df": POSITIVE},
        lambda y, df: e.xlogy(0.5 * df - 1.0, y) - 0.5 * y - g.lgamma(0.5 * df) - 0.5 * math.log(2) * df,
        cdf=lambda y, df: g.gammainc(0.5 * df, 0.5 * y),
        sf=lambda y, df: g.gammaincc(0.5 * df, 0.5 * y),
        ppf=lambda q, df: 2.0 * g.gammaincinv(0.5 * df, q),
        support=_HALF_LINE,
    ),
    Continuous(
        "expon",
        {},
        lambda y: -y,
        cdf=lambda y: -e.expm1(-y),
        sf=lambda y: e.exp(-y),
        ppf=lambda q: -e.log1p(-q),
        logsf=lambda y: -y,
        support=_HALF_LINE,
    ),
    Continuous(
        "uniform",
        {},
        lambda y: 0.0 * y,
        cdf=lambda y: y,
        sf=lambda y: 1.0 - y,
        ppf=lambda q: q,
        support=(0.0, 1.0),
    ),
    Continuous(
        "lognorm",
        {"s": POSITIVE},
        lambda y, s: -0.5 * e.square(e.log(y) / s) - e.log(s * y) - _LOG_ROOT_2PI,
        cdf=lambda y, s: i.ndtr(e.log(y) / s),
        sf=lambda y, s: i.ndtr(-e.log(y) / s),
        ppf=lambda q, s: e.exp(s * i.ndtri(q)),
        logcdf=lambda y, s: i.log_ndtr(e.log(y) / s),
        logsf=lambda y, s: i.log_ndtr(-e.log(y) / s),
        support=_HALF_LINE,
        open=True,
    ),
    Continuous(
        "pareto",
        {"b": POSITIVE},
        lambda y, b: e.log(b) - (b + 1.0) * e.log(y),
        cdf=lambda y, b: -e.expm1(-b * e.log(y)),
        sf=lambda y, b: e.exp(-b * e.log(y)),
        ppf=lambda q, b: e.exp(-e.log1p(-q) / b),
        logsf=lambda y, b: -b * e.log(y),
        support=(1.0, math.inf),
        inner=2.0,
    ),
    Continuous(
        "weibull_min",
        {"c": POSITIVE},
        lambda y, k: e.log(k) + e.xlogy(k - 1.0, y) - e.pow_(y, k),
        cdf=lambda y, k: -e.expm1(-e.pow_(y, k)),
        sf=lambda y, k: e.exp(-e.pow_(y, k)),
        ppf=lambda q, k: e.pow_(-e.log1p(-q), 1.0 / k),
        logsf=lambda y, k: -e.pow_(y, k),
        support=_HALF_LINE,
    ),
    Continuous(
        "gumbel_r",
        {},
        lambda y: -y - e.exp(-y),
        cdf=lambda y: e.exp(-e.exp(-y)),
        sf=lambda y: -e.expm1(-e.exp(-y)),
        ppf=lambda q: -e.log(-e.log(q)),
        logcdf=lambda y: -e.exp(-y),
    ),
    Continuous(
        "gumbel_l",
        {},
        lambda y: y - e.exp(y),
        cdf=lambda y: -e.expm1(-e.exp(y)),
        sf=lambda y: e.exp(-e.exp(y)),
        ppf=lambda q: e.log(-e.log1p(-q)),
        logsf=lambda y: -e.exp(y),
    ),
    Continuous(
        "halfnorm",
        {},
        lambda y: 0.5 * math.log(2 / math.pi) - 0.5 * y * y,
        cdf=lambda y: erf(y * math.sqrt(0.5)),
        sf=lambda y: 2.0 * i.ndtr(-y),
        ppf=lambda q: i.ndtri(0.5 * q + 0.5),
        support=_HALF_LINE,
    ),
    Continuous(
        "truncnorm",
        {"a": ANY, "b": ANY},
        lambda y, a, b: -0.5 * y * y - _LOG_ROOT_2PI - _log_mass(a, b),
        cdf=lambda y, a, b: e.exp(_log_mass(a, y) - _log_mass(a, b)),
        sf=lambda y, a, b: e.exp(_log_mass(y, b) - _log_mass(a, b)),
        support=lambda a, b: (a, b),
        open=True,
        inner=lambda a, b: 0.5 * stop_gradient(e.maximum(lift(a), -1e5) + e.minimum(lift(b), 1e5)),
    ),
]


def _laplace(y: Any) -> Any:
    fall = 0.5 * e.exp(-e.abs_(y))
    return e.where(c.less(y, 0.0), fall, 1.0 - fall)


_DISCRETE = [
    Discrete(
        "poisson",
        {"mu": NATURAL},
        lambda k, mu: e.xlogy(k, mu) - g.lgamma(k + 1.0) - mu,
        cdf=lambda k, mu: g.gammaincc(k + 1.0, mu),
        sf=lambda k, mu: g.gammainc(k + 1.0, mu),
        support=_HALF_LINE,
    ),
    Discrete(
        "binom",
        {"n": NATURAL, "p": PROBABILITY},
        lambda k, n, p: (
            g.lgamma(n + 1.0) - g.lgamma(k + 1.0) - g.lgamma(n - k + 1.0) + e.xlogy(k, p) + i.xlog1py(n - k, -p)
        ),
        cdf=lambda k, n, p: g.betainc(n - k, k + 1.0, 1.0 - p),
        sf=lambda k, n, p: g.betainc(k + 1.0, n - k, p),
        support=lambda n, p: (0.0, n),
    ),
    Discrete(
        "bernoulli",
        {"p": PROBABILITY},
        lambda k, p: e.xlogy(k, p) + i.xlog1py(1.0 - k, -p),
        cdf=lambda k, p: 1.0 - p + 0.0 * k,
        sf=lambda k, p: p + 0.0 * k,
        support=(0.0, 1.0),
    ),
    Discrete(
        "nbinom",
        {"n": POSITIVE, "p": PROBABILITY},
        lambda k, n, p: g.lgamma(n + k) - g.lgamma(n) - g.lgamma(k + 1.0) + e.xlogy(n, p) + i.xlog1py(k, -p),
        cdf=lambda k, n, p: g.betainc(n, k + 1.0, p),
        sf=lambda k, n, p: g.betainc(k + 1.0, n, 1.0 - p),
        support=_HALF_LINE,
    ),
    Discrete(
        "geom",
        {"p": PROBABILITY},
        lambda k, p: i.xlog1py(k - 1.0, -p) + e.log(p),
        cdf=lambda k, p: -e.expm1(i.xlog1py(k, -p)),
        sf=lambda k, p: e.exp(i.xlog1py(k, -p)),
        support=(1.0, math.inf),
    ),
]
for _distribution in (*_CONTINUOUS, *_DISCRETE):
    FUNCTIONS[f"stats.{_distribution.name}"] = _distribution
