"""Continuous distributions of one number with elementary formulas."""

from __future__ import annotations

import math
from typing import Any

from pullback.distributions import constraints
from pullback.distributions.distribution import Distribution
from pullback.distributions.functions import (
    EULER,
    digamma,
    eps,
    filled,
    lgamma,
    log_beta,
    noise,
    plain,
    tiny,
    uniform_noise,
)
from pullback.tensor.dispatch import as_handle
from pullback.tensor.gathering import where

__all__ = [
    "Cauchy",
    "Exponential",
    "Gumbel",
    "HalfCauchy",
    "Kumaraswamy",
    "Laplace",
    "Pareto",
    "Uniform",
    "Weibull",
]

_LOCATED = {"loc": constraints.real, "scale": constraints.positive}


class _Located(Distribution):
    """A shape moved to `loc` and stretched by `scale`."""

    arg_constraints = _LOCATED
    support = constraints.real
    has_rsample = True

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self._families(validate_args, loc=loc, scale=scale)

    @property
    def mode(self) -> Any:
        return self.loc

    def _standard(self, value: Any) -> Any:
        return (self._checked(value) - self.loc) / self.scale


class Laplace(_Located):
    """The two-sided exponential distribution about `loc`: density exp(-|x - loc|/scale)/(2 scale)."""

    @property
    def mean(self) -> Any:
        return self.loc

    @property
    def variance(self) -> Any:
        return 2 * self.scale * self.scale

    @property
    def stddev(self) -> Any:
        return math.sqrt(2) * self.scale

    def _draw(self, shape: Any, rng: Any) -> Any:
        return self.loc + self.scale * noise(rng.laplace(size=tuple(shape)), self.loc)

    def log_prob(self, value: Any) -> Any:
        return -self._standard(value).abs() - (2 * self.scale).log()

    def cdf(self, value: Any) -> Any:
        z = self._standard(value)
        return 0.5 - 0.5 * z.sign() * (-z.abs()).expm1()

    def icdf(self, value: Any) -> Any:
        p = as_handle(value) - 0.5
        return self.loc - self.scale * p.sign() * (-2 * p.abs()).log1p()

    def entropy(self) -> Any:
        return 1 + (2 * self.scale).log()


class Cauchy(_Located):
    """The Cauchy distribution of median `loc` and half-width `scale`; it has no mean."""

    @property
    def mean(self) -> Any:
        return filled(self.loc, math.nan)

    @property
    def variance(self) -> Any:
        return filled(self.loc, math.inf)

    def _draw(self, shape: Any, rng: Any) -> Any:
        return self.loc + self.scale * noise(rng.standard_cauchy(tuple(shape)), self.loc)

    def log_prob(self, value: Any) -> Any:
        z = self._standard(value)
        return -math.log(math.pi) - self.scale.log() - (z * z).log1p()

    def cdf(self, value: Any) -> Any:
        return self._standard(value).atan() * (1 / math.pi) + 0.5

    def icdf(self, value: Any) -> Any:
        return self.loc + self.scale * ((as_handle(value) - 0.5) * math.pi).tan()

    def entropy(self) -> Any:
        return math.log(4 * math.pi) + self.scale.log()


class Gumbel(_Located):
    """The Gumbel distribution, of the largest of many numbers: distribution function exp(-exp(-(x - loc)/scale))."""

    @property
    def mean(self) -> Any:
        return self.loc + EULER * self.scale

    @property
    def variance(self) -> Any:
        return self.stddev.square()

    @property
    def stddev(self) -> Any:
        return math.pi / math.sqrt(6) * self.scale

    def _draw(self, shape: Any, rng: Any) -> Any:
        return self.loc + self.scale * noise(rng.gumbel(size=tuple(shape)), self.loc)

    def log_prob(self, value: Any) -> Any:
        z = self._standard(value)
        return -z - (-z).exp() - self.scale.log()

    def cdf(self, value: Any) -> Any:
        return (-(-self._standard(value)).exp()).exp()

    def icdf(self, value: Any) -> Any:
        return self.loc - self.scale * (-as_handle(value).log()).log()

    def entropy(self) -> Any:
        return self.scale.log() + (1 + EULER)


class HalfCauchy(Distribution):
    """The absolute value of a Cauchy number of median 0 and half-width `scale`."""

    arg_constraints = {"scale": constraints.positive}  # noqa: RUF012
    support = constraints.nonnegative
    has_rsample = True

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        self._families(validate_args, scale=scale)

    @property
    def mean(self) -> Any:
        return filled(self.scale, math.inf)

    variance = mean

    @property
    def mode(self) -> Any:
        return filled(self.scale, 0.0)

    def _draw(self, shape: Any, rng: Any) -> Any:
        return self.scale * noise(abs(rng.standard_cauchy(tuple(shape))), self.scale)

    def log_prob(self, value: Any) -> Any:
        x = self._checked(value)
        z = x / self.scale
        return where(x >= 0, math.log(2 / math.pi) - self.scale.log() - (z * z).log1p(), -math.inf)

    def cdf(self, value: Any) -> Any:
        return (self._checked(value) / self.scale).atan() * (2 / math.pi)

    def icdf(self, value: Any) -> Any:
        return self.scale * (as_handle(value) * (0.5 * math.pi)).tan()

    def entropy(self) -> Any:
        return math.log(2 * math.pi) + self.scale.log()


class Uniform(Distribution):
    """Evenly distributed numbers in [low, high)."""

    has_rsample = True
    arg_constraints = {  # noqa: RUF012
        "low": constraints.dependent(is_discrete=False, event_dim=0),
        "high": constraints.dependent(is_discrete=False, event_dim=0),
    }

    def __init__(self, low: Any, high: Any, validate_args: bool | None = None) -> None:
        self._families(validate_args, low=low, high=high)
        if self._validate_args and plain(self.low) and plain(self.high) and not bool((self.low < self.high).all()):
            raise ValueError("Uniform is not defined when low >= high")

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Any:
        return constraints.interval(self.low, self.high)

    @property
    def mean(self) -> Any:
        return 0.5 * (self.low + self.high)

    @property
    def mode(self) -> Any:
        return filled(self.low, math.nan)

    @property
    def stddev(self) -> Any:
        return (self.high - self.low) * (1 / math.sqrt(12))

    @property
    def variance(self) -> Any:
        return (self.high - self.low).square() * (1 / 12)

    def _draw(self, shape: Any, rng: Any) -> Any:
        return self.low + (self.high - self.low) * uniform_noise(rng, shape, self.low)

    def log_prob(self, value: Any) -> Any:
        x = self._checked(value)
        return where((x >= self.low) & (x < self.high), -(self.high - self.low).log(), -math.inf)

    def cdf(self, value: Any) -> Any:
        return ((self._checked(value) - self.low) / (self.high - self.low)).clamp(0, 1)

    def icdf(self, value: Any) -> Any:
        return self.low + (self.high - self.low) * as_handle(value)

    def entropy(self) -> Any:
        return (self.high - self.low).log()


class Exponential(Distribution):
    """Waiting times of events that come at `rate`."""

    arg_constraints = {"rate": constraints.positive}  # noqa: RUF012
    support = constraints.nonnegative
    has_rsample = True

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        self._families(validate_args, rate=rate)

    @property
    def mean(self) -> Any:
        return self.rate.reciprocal()

    stddev = mean

    @property
    def mode(self) -> Any:
        return filled(self.rate, 0.0)

    @property
    def variance(self) -> Any:
        return self.rate**-2

    def _draw(self, shape: Any, rng: Any) -> Any:
        return noise(rng.standard_exponential(tuple(shape)), self.rate) / self.rate

    def log_prob(self, value: Any) -> Any:
        return self.rate.log() - self.rate * self._checked(value)

    def cdf(self, value: Any) -> Any:
        return -(-self.rate * self._checked(value)).expm1()

    def icdf(self, value: Any) -> Any:
        return -(-as_handle(value)).log1p() / self.rate

    def entropy(self) -> Any:
        return 1.0 - self.rate.log()


class Weibull(Distribution):
    """scale·E^(1/concentration) for exponential E."""

    arg_constraints = {"scale": constraints.positive, "concentration": constraints.positive}  # noqa: RUF012
    support = constraints.positive
    has_rsample = True

    def __init__(self, scale: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self._families(validate_args, scale=scale, concentration=concentration)

    @property
    def mean(self) -> Any:
        return self.scale * lgamma(1 + 1 / self.concentration).exp()

    @property
    def mode(self) -> Any:
        k = self.concentration
        above = where(k > 1, k, 2.0)
        return self.scale * where(k > 1, ((above - 1) / above) ** (1 / above), 0.0)

    @property
    def variance(self) -> Any:
        inverse = 1 / self.concentration
        return self.scale.square() * (lgamma(1 + 2 * inverse).exp() - (2 * lgamma(1 + inverse)).exp())

    def _draw(self, shape: Any, rng: Any) -> Any:
        return self.scale * noise(rng.standard_exponential(tuple(shape)), self.scale) ** (1 / self.concentration)

    def log_prob(self, value: Any) -> Any:
        x, k = self._checked(value), self.concentration
        log = (x / self.scale).log()
        return k.log() - self.scale.log() + (k - 1) * log - (k * log).exp()

    def cdf(self, value: Any) -> Any:
        return -(-((self._checked(value) / self.scale) ** self.concentration)).expm1()

    def icdf(self, value: Any) -> Any:
        return self.scale * (-(-as_handle(value)).log1p()) ** (1 / self.concentration)

    def entropy(self) -> Any:
        k = self.concentration
        return EULER * (1 - 1 / k) + (self.scale / k).log() + 1


class Pareto(Distribution):
    """Numbers above `scale` with the tail (x/scale)^-alpha."""

    arg_constraints = {"alpha": constraints.positive, "scale": constraints.positive}  # noqa: RUF012
    has_rsample = True

    def __init__(self, scale: Any, alpha: Any, validate_args: bool | None = None) -> None:
        self._families(validate_args, scale=scale, alpha=alpha)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Any:
        return constraints.greater_than_eq(self.scale)

    @property
    def mean(self) -> Any:
        some = self.alpha > 1
        a = where(some, self.alpha, 2.0)
        return where(some, a * self.scale / (a - 1), math.inf)

    @property
    def mode(self) -> Any:
        return self.scale

    @property
    def variance(self) -> Any:
        some = self.alpha > 2
        a = where(some, self.alpha, 3.0)
        return where(some, self.scale.square() * a / ((a - 1).square() * (a - 2)), math.inf)

    def _draw(self, shape: Any, rng: Any) -> Any:
        return self.scale * (noise(rng.standard_exponential(tuple(shape)), self.scale) / self.alpha).exp()

    def log_prob(self, value: Any) -> Any:
        x = self._checked(value)
        return self.alpha.log() + self.alpha * self.scale.log() - (self.alpha + 1) * x.log()

    def cdf(self, value: Any) -> Any:
        return -(self.alpha * (self.scale / self._checked(value)).log()).expm1()

    def icdf(self, value: Any) -> Any:
        return self.scale * (-(-as_handle(value)).log1p() / self.alpha).exp()

    def entropy(self) -> Any:
        return (self.scale / self.alpha).log() + (1 + 1 / self.alpha)


class Kumaraswamy(Distribution):
    """Numbers x in (0, 1) with the distribution function 1 - (1 - x^a)^b."""

    arg_constraints = {  # noqa: RUF012
        "concentration1": constraints.positive,
        "concentration0": constraints.positive,
    }
    support = constraints.unit_interval
    has_rsample = True

    def __init__(self, concentration1: Any, concentration0: Any, validate_args: bool | None = None) -> None:
        self._families(validate_args, concentration1=concentration1, concentration0=concentration0)

    def _moment(self, n: int) -> Any:
        a, b = self.concentration1, self.concentration0
        return (b.log() + log_beta(1 + n / a, b)).exp()

    @property
    def mean(self) -> Any:
        return self._moment(1)

    @property
    def mode(self) -> Any:
        a, b = self.concentration1, self.concentration0
        some = (a >= 1) & (b >= 1) & ~((a == 1) & (b == 1))
        a, b = where(some, a, 2.0), where(some, b, 2.0)
        return where(some, ((a - 1) / (a * b - 1)) ** (1 / a), math.nan)

    @property
    def variance(self) -> Any:
        return self._moment(2) - self._moment(1).square()

    def _draw(self, shape: Any, rng: Any) -> Any:
        return self._tail(-noise(rng.standard_exponential(tuple(shape)), self.concentration1))

    def _tail(self, log: Any) -> Any:
        """The number with the probability exp(log) of what is above it."""
        inside = -(log / self.concentration0).expm1()
        return (inside ** (1 / self.concentration1)).clamp(tiny(inside), 1 - eps(inside))

    def log_prob(self, value: Any) -> Any:
        a, b = self.concentration1, self.concentration0
        log = self._checked(value).log()
        return a.log() + b.log() + (a - 1) * log + (b - 1) * (-(a * log).exp()).log1p()

    def cdf(self, value: Any) -> Any:
        log = self._checked(value).log()
        return -(self.concentration0 * (-(self.concentration1 * log).exp()).log1p()).expm1()

    def icdf(self, value: Any) -> Any:
        return self._tail((-as_handle(value)).log1p())

    def entropy(self) -> Any:
        a, b = self.concentration1, self.concentration0
        return (1 - 1 / b) + (1 - 1 / a) * (digamma(b + 1) + EULER) - a.log() - b.log()
