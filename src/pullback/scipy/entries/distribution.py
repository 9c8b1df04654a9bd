"""Distributions of one number as SciPy has them: arguments taken in its ways, checked, and guarded, so that neither
values nor slopes outside the support or the parameters' domains are ever computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from pullback.ops import compare as c
from pullback.ops import elementwise as e
from pullback.scipy.entries.special import operands
from pullback.tape.node import Handle
from pullback.tensor.numpy_api.operands import lift

__all__ = ["ANY", "NATURAL", "POSITIVE", "PROBABILITY", "Continuous", "Discrete", "Distribution", "Domain", "Frozen"]

Function = Callable[..., Any]


class Domain(NamedTuple):
    """Where a parameter must be, and a number that is there."""

    holds: Function
    safe: float


POSITIVE = Domain(lambda x: c.greater(x, 0.0), 1.0)
NATURAL = Domain(lambda x: c.greater_equal(x, 0.0), 1.0)
PROBABILITY = Domain(lambda x: c.logical_and(c.greater_equal(x, 0.0), c.less_equal(x, 1.0)), 0.5)
ANY = Domain(lambda x: c.equal(x, x), 0.0)


def all_of(conditions: list[Any]) -> Any:
    total: Any = True
    for condition in conditions:
        total = c.logical_and(total, condition) if total is not True else condition
    return total


def log_or_minus_inf(x: Any) -> Any:
    """log(x), -inf at 0 without a warning."""
    some = c.greater(x, 0.0)
    return e.where(some, e.log(e.where(some, x, 1.0)), -math.inf)


class Distribution:
    """What the two kinds share: arguments as SciPy takes them, checked and guarded."""

    def __init__(
        self,
        name: str,
        shapes: dict[str, Domain],
        log: Function,
        *,
        cdf: Function | None = None,
        sf: Function | None = None,
        ppf: Function | None = None,
        logcdf: Function | None = None,
        logsf: Function | None = None,
        support: Any = (-math.inf, math.inf),
        open: bool = False,
        inner: Any = 0.5,
    ) -> None:
        self.name = name
        self.shapes = shapes
        self.open = open
        self.support: Function = support if callable(support) else lambda *shapes: support
        self.inner: Function = inner if callable(inner) else lambda *shapes: inner  # a number in the support
        self._log = log
        self._given = {"cdf": cdf, "sf": sf, "ppf": ppf, "logcdf": logcdf, "logsf": logsf}
        self.__doc__ = f"SciPy's distribution `{name}`, with shape parameters {', '.join(shapes) or 'none'}."

    def __repr__(self) -> str:
        return f"<distribution {self.name}>"

    parameters: ClassVar[tuple[str, ...]]
    defaults: ClassVar[dict[str, float]]
    domains: ClassVar[dict[str, Domain]]

    def __call__(self, *args: Any, **kwargs: Any) -> Frozen:
        """The distribution with its parameters given."""
        return Frozen(self, args, kwargs)

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """The shape parameters, loc and scale, in order. Raises `TypeError` for missing or unknown ones."""
        names = (*self.shapes, *self.parameters)
        if len(args) > len(names):
            raise TypeError(f"{self.name} takes {len(names)} parameters, {len(args)} were given")
        found = dict(zip(names, args, strict=False))
        for name, value in kwargs.items():
            if name not in names or name in found:
                raise TypeError(f"{self.name} got an unexpected or repeated parameter {name!r}; it takes {names}")
            found[name] = value
        missing = [name for name in names if name not in found and name not in self.defaults]
        if missing:
            raise TypeError(f"{self.name} needs its parameters {', '.join(missing)}")
        return [found.get(name, self.defaults.get(name)) for name in names]

    def _ready(self, x: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any, list[Any]]:
        """x, whether the parameters are where they must be, and the parameters, safe numbers where they are not."""
        x, *given = operands(x, *self._bind(args, kwargs), name=self.name)
        domains = [*self.shapes.values(), *(self.domains[name] for name in self.parameters)]
        checks, safe = [], []
        for value, domain in zip(given, domains, strict=True):
            holds = domain.holds(value)
            checks.append(holds)
            safe.append(
                e.where(holds, value, domain.safe) if isinstance(value, Handle) else value if holds else domain.safe
            )
        return lift(x), all_of(checks), safe

    def _function(self, name: str) -> Function:
        function = self._given[name]
        if function is None:
            raise NotImplementedError(f"{self.name}.{name} has no closed form in pullback")
        return function


class Frozen:
    """A distribution with its parameters."""

    def __init__(self, dist: Distribution, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.dist = dist
        self._parameters = args, kwargs
        dist._bind(args, kwargs)

    def __getattr__(self, name: str) -> Function:
        method = getattr(self.dist, name)
        args, kwargs = self._parameters
        return lambda x, **more: method(x, *args, **kwargs, **more)


class Continuous(Distribution):
    """A distribution of real numbers; the functions are given for loc = 0 and scale = 1."""

    parameters = ("loc", "scale")
    defaults: ClassVar[dict[str, float]] = {"loc": 0.0, "scale": 1.0}
    domains: ClassVar[dict[str, Domain]] = {"loc": ANY, "scale": POSITIVE}

    def _standard(self, x: Any, args: Any, kwargs: Any) -> tuple[Any, Any, Any, Any, list[Any], Any]:
        """The standard variable, held within the support; where it is below and above; the shapes, the scale."""
        x, valid, (*shapes, loc, scale) = self._ready(x, args, kwargs)
        y = (x - loc) / scale
        low, high = self.support(*shapes)
        below, above = (
            (c.less_equal(y, low), c.greater_equal(y, high)) if self.open else (c.less(y, low), c.greater(y, high))
        )
        outside = c.logical_or(below, above)
        valid = c.logical_and(valid, c.equal(x, x))
        return e.where(outside, self.inner(*shapes), y), valid, below, above, shapes, scale

    def logpdf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """The logarithm of the density at x."""
        y, valid, below, above, shapes, scale = self._standard(x, args, kwargs)
        inside = self._log(y, *shapes) - e.log(scale)
        return e.where(valid, e.where(c.logical_or(below, above), -math.inf, inside), math.nan)

    def pdf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """The density at x."""
        return e.exp(self.logpdf(x, *args, **kwargs))

    def _probability(self, name: str, left: float, right: float, x: Any, args: Any, kwargs: Any) -> Any:
        y, valid, below, above, shapes, _ = self._standard(x, args, kwargs)
        value = self._function(name)(y, *shapes)
        return e.where(valid, e.where(below, left, e.where(above, right, value)), math.nan)

    def cdf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """The probability of at most x."""
        return self._probability("cdf", 0.0, 1.0, x, args, kwargs)

    def sf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """The probability of more than x, accurate where that is small."""
        return self._probability("sf", 1.0, 0.0, x, args, kwargs)

    def logcdf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """The logarithm of `cdf`."""
        if self._given["logcdf"] is None:
            return log_or_minus_inf(self.cdf(x, *args, **kwargs))
        return self._probability("logcdf", -math.inf, 0.0, x, args, kwargs)

    def logsf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """The logarithm of `sf`."""
        if self._given["logsf"] is None:
            return log_or_minus_inf(self.sf(x, *args, **kwargs))
        return self._probability("logsf", 0.0, -math.inf, x, args, kwargs)

    def ppf(self, q: Any, *args: Any, **kwargs: Any) -> Any:
        """The x at which `cdf` is q; the ends of the support for 0 and 1, NaN outside."""
        q, valid, (*shapes, loc, scale) = self._ready(q, args, kwargs)
        inside = c.logical_and(c.greater(q, 0.0), c.less(q, 1.0))
        low, high = self.support(*shapes)
        y = self._function("ppf")(e.where(inside, q, 0.5), *shapes)
        y = e.where(inside, y, e.where(c.equal(q, 0.0), low, e.where(c.equal(q, 1.0), high, 0.0 * q)))
        valid = c.logical_and(valid, PROBABILITY.holds(q))
        return e.where(valid, y * scale + loc, math.nan)

    def isf(self, q: Any, *args: Any, **kwargs: Any) -> Any:
        """The x at which `sf` is q."""
        return self.ppf(1.0 - lift(q), *args, **kwargs)


class Discrete(Distribution):
    """A distribution of whole numbers; the functions are given for loc = 0."""

    parameters = ("loc",)
    defaults: ClassVar[dict[str, float]] = {"loc": 0.0}
    domains: ClassVar[dict[str, Domain]] = {"loc": ANY}

    def logpmf(self, k: Any, *args: Any, **kwargs: Any) -> Any:
        """The logarithm of the probability of k."""
        k, valid, (*shapes, loc) = self._ready(k, args, kwargs)
        k = k - loc
        low, high = self.support(*shapes)
        inside = all_of([c.greater_equal(k, low), c.less_equal(k, high), c.equal(k, e.floor(k))])
        value = self._log(e.where(inside, k, low), *shapes)
        return e.where(c.logical_and(valid, c.equal(k, k)), e.where(inside, value, -math.inf), math.nan)

    def pmf(self, k: Any, *args: Any, **kwargs: Any) -> Any:
        """The probability of k."""
        return e.exp(self.logpmf(k, *args, **kwargs))

    def _probability(self, name: str, left: float, right: float, k: Any, args: Any, kwargs: Any) -> Any:
        k, valid, (*shapes, loc) = self._ready(k, args, kwargs)
        k = e.floor(k - loc)
        low, high = self.support(*shapes)
        below, above = c.less(k, low), c.greater_equal(k, high)
        value = self._function(name)(e.where(c.logical_or(below, above), low, k), *shapes)
        value = e.where(below, left, e.where(above, right, value))
        return e.where(c.logical_and(valid, c.equal(k, k)), value, math.nan)

    def cdf(self, k: Any, *args: Any, **kwargs: Any) -> Any:
        """The probability of at most k."""
        return self._probability("cdf", 0.0, 1.0, k, args, kwargs)

    def sf(self, k: Any, *args: Any, **kwargs: Any) -> Any:
        """The probability of more than k, accurate where that is small."""
        return self._probability("sf", 1.0, 0.0, k, args, kwargs)

    def logcdf(self, k: Any, *args: Any, **kwargs: Any) -> Any:
        """The logarithm of `cdf`."""
        return log_or_minus_inf(self.cdf(k, *args, **kwargs))

    def logsf(self, k: Any, *args: Any, **kwargs: Any) -> Any:
        """The logarithm of `sf`."""
        return log_or_minus_inf(self.sf(k, *args, **kwargs))
