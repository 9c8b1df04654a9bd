"""The normal distribution and its relatives of one number; the logistic-normal one of a simplex."""

from __future__ import annotations

import math
from typing import Any

from pullback.distributions import constraints
from pullback.distributions.distribution import Distribution
from pullback.distributions.functions import filled, noise
from pullback.distributions.transformed import TransformedDistribution
from pullback.distributions.transforms.arrays import StickBreakingTransform
from pullback.distributions.transforms.numbers import ExpTransform
from pullback.tensor.dispatch import as_handle
from pullback.tensor.gathering import where

__all__ = ["HalfNormal", "LogNormal", "LogisticNormal", "Normal"]

HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


class Normal(Distribution):
    """The normal distribution of mean `loc` and standard deviation `scale`.

    >>> import pullback as pb
    >>> loc = pb.tensor(0.0, requires_grad=True)
    >>> pb.distributions.Normal(loc, 1.0).log_prob(pb.tensor(2.0)).backward()
    >>> loc.grad
    tensor(2.)
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012
    support = constraints.real
    has_rsample = True

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self._families(validate_args, loc=loc, scale=scale)

    @property
    def mean(self) -> Any:
        return self.loc

    mode = mean

    @property
    def stddev(self) -> Any:
        return self.scale

    @property
    def variance(self) -> Any:
        return self.scale * self.scale

    def _draw(self, shape: Any, rng: Any) -> Any:
        return self.loc + self.scale * noise(rng.standard_normal(tuple(shape)), self.loc)

    def log_prob(self, value: Any) -> Any:
        z = (self._checked(value) - self.loc) / self.scale
        return -0.5 * z * z - self.scale.log() - HALF_LOG_TAU

    def cdf(self, value: Any) -> Any:
        return 0.5 * ((self.loc - self._checked(value)) / self.scale * math.sqrt(0.5)).erfc()

    def icdf(self, value: Any) -> Any:
        return self.loc + self.scale * (2 * as_handle(value) - 1).erfinv() * math.sqrt(2)

    def entropy(self) -> Any:
        return 0.5 + HALF_LOG_TAU + self.scale.log()


class HalfNormal(Distribution):
    """The absolute value of a normal number of mean 0 and standard deviation `scale`."""

    arg_constraints = {"scale": constraints.positive}  # noqa: RUF012
    support = constraints.nonnegative
    has_rsample = True

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        self._families(validate_args, scale=scale)

    @property
    def mean(self) -> Any:
        return self.scale * math.sqrt(2 / math.pi)

    @property
    def mode(self) -> Any:
        return filled(self.scale, 0.0)

    @property
    def variance(self) -> Any:
        return self.scale * self.scale * (1 - 2 / math.pi)

    def _draw(self, shape: Any, rng: Any) -> Any:
        return self.scale * noise(abs(rng.standard_normal(tuple(shape))), self.scale)

    def log_prob(self, value: Any) -> Any:
        x = self._checked(value)
        z = x / self.scale
        return where(x >= 0, -0.5 * z * z - self.scale.log() - HALF_LOG_TAU + math.log(2), -math.inf)

    def cdf(self, value: Any) -> Any:
        return (self._checked(value) / self.scale * math.sqrt(0.5)).erf()

    def icdf(self, value: Any) -> Any:
        return self.scale * as_handle(value).erfinv() * math.sqrt(2)

    def entropy(self) -> Any:
        return 0.5 + HALF_LOG_TAU - math.log(2) + self.scale.log()


class LogNormal(TransformedDistribution):
    """The exponential of a normal number of mean `loc` and standard deviation `scale`."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012
    support = constraints.positive
    has_rsample = True

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        super().__init__(Normal(loc, scale, validate_args=validate_args), ExpTransform(), validate_args)

    @property
    def loc(self) -> Any:
        """The mean of the logarithm."""
        return self.base_dist.loc

    @property
    def scale(self) -> Any:
        """The standard deviation of the logarithm."""
        return self.base_dist.scale

    @property
    def mean(self) -> Any:
        return (self.loc + 0.5 * self.base_dist.variance).exp()

    @property
    def mode(self) -> Any:
        return (self.loc - self.base_dist.variance).exp()

    @property
    def variance(self) -> Any:
        square = self.base_dist.variance
        return square.expm1() * (2 * self.loc + square).exp()

    def entropy(self) -> Any:
        return self.base_dist.entropy() + self.loc


class LogisticNormal(TransformedDistribution):
    """Probabilities broken off a stick by normal numbers of mean `loc` and standard deviation `scale`, vectors."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012
    support = constraints.simplex
    has_rsample = True

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        base = Normal(loc, scale, validate_args=validate_args)
        if not base.batch_shape:
            base = base.expand((1,))
        super().__init__(base, StickBreakingTransform(), validate_args)

    @property
    def loc(self) -> Any:
        """The means of the normal numbers."""
        return self.base_dist.base_dist.loc

    @property
    def scale(self) -> Any:
        """Their standard deviations."""
        return self.base_dist.base_dist.scale
