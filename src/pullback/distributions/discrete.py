"""Distributions of counts and of single choices."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pullback.distributions import constraints
from pullback.distributions.distribution import Distribution, Probabilities
from pullback.distributions.functions import filled, lgamma, logsigmoid, noise, plain, softplus, uniform_noise
from pullback.tensor.arithmetic import xlogy
from pullback.tensor.conversion import numbers
from pullback.tensor.dispatch import as_handle
from pullback.tensor.gathering import where

__all__ = ["Bernoulli", "Binomial", "ContinuousBernoulli", "Geometric", "NegativeBinomial", "Poisson"]

_CHANCE = {"probs": constraints.unit_interval, "logits": constraints.real}


def _counts(last: int, like: Any) -> Any:
    return noise(np.arange(last + 1), like)


class Bernoulli(Probabilities):
    """1 with probability `probs`, else 0; given by it or by the log-odds `logits`.

    >>> import pullback as pb
    >>> pb.distributions.Bernoulli(0.25).entropy()
    tensor(0.5623)
    """

    arg_constraints = _CHANCE
    support = constraints.boolean
    has_enumerate_support = True

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        name = self._choice(probs, logits)
        self._families(validate_args, **{name: probs if name == "probs" else logits})

    @property
    def mean(self) -> Any:
        return self.probs

    @property
    def mode(self) -> Any:
        p = self.probs
        return where(p == 0.5, math.nan, (p > 0.5).to(p.dtype))

    @property
    def variance(self) -> Any:
        return self.probs * (1 - self.probs)

    def _draw(self, shape: Any, rng: Any) -> Any:
        p = self.probs
        return (uniform_noise(rng, shape, p) < p).to(p.dtype)

    def log_prob(self, value: Any) -> Any:
        x, logits = self._checked(value), self.logits
        return x * logits - softplus(logits)

    def entropy(self) -> Any:
        logits = self.logits
        return softplus(logits) - self.probs * logits

    def enumerate_support(self, expand: bool = True) -> Any:
        return _enumerated(self, _counts(1, self._param), expand)


def _enumerated(family: Any, values: Any, expand: bool) -> Any:
    """`values` along dimension 0 of what has the batch's dimensions."""
    batch = tuple(family.batch_shape)
    values = values.reshape((-1, *(1 for _ in batch)))
    return values.expand((-1, *batch)) if expand else values


class ContinuousBernoulli(Probabilities):
    """The density ∝ probs^x (1 - probs)^(1 - x) over [0, 1]: an exponential one with the log-odds λ for a rate.

    Where `probs` is within `lims`, λ is near 0 and power series replace the formulas that cancel there [Loaiza-Ganem
    and Cunningham, "The continuous Bernoulli", 2019].
    """

    arg_constraints = _CHANCE
    support = constraints.unit_interval
    has_rsample = True

    def __init__(
        self,
        probs: Any = None,
        logits: Any = None,
        lims: tuple[float, float] = (0.499, 0.501),
        validate_args: bool | None = None,
    ) -> None:
        name = self._choice(probs, logits)
        self._lims = lims
        self._families(validate_args, **{name: probs if name == "probs" else logits})

    def _rate(self) -> tuple[Any, Any, Any]:
        """λ, whether it is near 0, and λ with 1 in place of what is."""
        rate = self.logits
        low, high = (math.log(p / (1 - p)) for p in self._lims)
        near = (rate > low) & (rate < high)
        return rate, near, where(near, 1.0, rate)

    def _log_norm(self) -> Any:
        rate, near, far = self._rate()
        square = rate * rate
        series = math.log(2) + square * (1 / 12 - square * (7 / 1440))
        return where(near, series, (far / (0.5 * far).tanh()).log())

    @property
    def mean(self) -> Any:
        rate, near, far = self._rate()
        series = 0.5 + rate * (1 / 12 - rate * rate * (1 / 720))
        return where(near, series, 0.5 / (0.5 * far).tanh() - 1 / far + 0.5)

    @property
    def variance(self) -> Any:
        rate, near, far = self._rate()
        series = 1 / 12 - rate * rate * (1 / 240)
        return where(near, series, 1 / far.square() - 0.25 / (0.5 * far).sinh().square())

    def _draw(self, shape: Any, rng: Any) -> Any:
        return self.icdf(uniform_noise(rng, shape, self._param))

    def log_prob(self, value: Any) -> Any:
        x, rate = self._checked(value), self.logits
        return x * rate - softplus(rate) + self._log_norm()

    def cdf(self, value: Any) -> Any:
        x = self._checked(value)
        _, near, far = self._rate()
        size = far.abs()
        rising = (-size * x).expm1() / (-size).expm1()
        inside = rising * (far.clamp(0) * (x - 1)).exp()
        return where(x <= 0, 0.0, where(x >= 1, 1.0, where(near, x, inside)))

    def icdf(self, value: Any) -> Any:
        u = as_handle(value)
        _, near, far = self._rate()
        up = far > 0
        part = (where(up, 1 - u, u) * (-far.abs()).expm1()).log1p() / far
        return where(near, u, where(up, 1 + part, part))

    def entropy(self) -> Any:
        rate = self.logits
        return softplus(rate) - self.mean * rate - self._log_norm()


class Geometric(Probabilities):
    """How many trials fail before the first that succeeds, each with probability `probs`."""

    arg_constraints = _CHANCE
    support = constraints.nonnegative_integer

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        name = self._choice(probs, logits)
        self._families(validate_args, **{name: probs if name == "probs" else logits})
        if self._validate_args and probs is not None and plain(self.probs) and not bool((self.probs > 0).all()):
            raise ValueError(
                f"Expected parameter probs of distribution {self!r} to be positive but found invalid values:\n"
                f"{self.probs}"
            )

    @property
    def mean(self) -> Any:
        return 1 / self.probs - 1

    @property
    def mode(self) -> Any:
        return filled(self._param, 0.0)

    @property
    def variance(self) -> Any:
        return (1 / self.probs - 1) / self.probs

    def _draw(self, shape: Any, rng: Any) -> Any:
        return (noise(rng.standard_exponential(tuple(shape)), self._param) / -(-self.probs).log1p()).floor()

    def log_prob(self, value: Any) -> Any:
        x, p = self._checked(value), self.probs
        return x * where((p == 1) & (x == 0), 0.0, -p).log1p() + p.log()

    def entropy(self) -> Any:
        logits = self.logits
        return (softplus(logits) - self.probs * logits) / self.probs


class Poisson(Distribution):
    """The number of events in a unit of time, if they come at `rate`."""

    arg_constraints = {"rate": constraints.nonnegative}  # noqa: RUF012
    support = constraints.nonnegative_integer

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        self._families(validate_args, rate=rate)

    @property
    def mean(self) -> Any:
        return self.rate

    variance = mean

    @property
    def mode(self) -> Any:
        return self.rate.floor()

    def _draw(self, shape: Any, rng: Any) -> Any:
        return noise(rng.poisson(numbers(self.rate, "Poisson.sample()"), tuple(shape)), self.rate)

    def log_prob(self, value: Any) -> Any:
        x = self._checked(value)
        return xlogy(x, self.rate) - self.rate - lgamma(x + 1)


class _Counts(Probabilities):
    """A family of counts with a `total_count` beside the chance of a success."""

    def __init__(self, total_count: Any, probs: Any, logits: Any, validate_args: bool | None) -> None:
        name = self._choice(probs, logits)
        self._families(validate_args, total_count=total_count, **{name: probs if name == "probs" else logits})


class Binomial(_Counts):
    """How many of `total_count` trials succeed, each with probability `probs` (or log-odds `logits`)."""

    arg_constraints = {"total_count": constraints.nonnegative_integer, **_CHANCE}  # noqa: RUF012
    has_enumerate_support = True

    def __init__(
        self, total_count: Any = 1, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        super().__init__(total_count, probs, logits, validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:
        return constraints.integer_interval(0, self.total_count)

    @property
    def mean(self) -> Any:
        return self.total_count * self.probs

    @property
    def mode(self) -> Any:
        return ((self.total_count + 1) * self.probs).floor().minimum(self.total_count)

    @property
    def variance(self) -> Any:
        return self.total_count * self.probs * (1 - self.probs)

    def _draw(self, shape: Any, rng: Any) -> Any:
        count, p = (numbers(x, "Binomial.sample()") for x in (self.total_count, self.probs))
        return noise(rng.binomial(count.astype(np.int64), p, tuple(shape)), self._param)

    def log_prob(self, value: Any) -> Any:
        x, n, logits = self._checked(value), self.total_count, self.logits
        return x * logits - n * softplus(logits) + lgamma(n + 1) - lgamma(x + 1) - lgamma(n - x + 1)

    def entropy(self) -> Any:
        """For one `total_count` throughout the batch. Raises `NotImplementedError` for several."""
        self._one_total("inhomogeneous total count not supported by `entropy`")
        logs = self.log_prob(self.enumerate_support(False))
        return -(logs.exp() * logs).sum(0)

    def _one_total(self, complaint: str) -> int:
        counts = numbers(self.total_count, "enumerate_support()")
        if counts.size == 0 or counts.min() != counts.max():
            raise NotImplementedError(complaint)
        return int(counts.max())

    def enumerate_support(self, expand: bool = True) -> Any:
        last = self._one_total("Inhomogeneous total count not supported by `enumerate_support`.")
        return _enumerated(self, _counts(last, self._param), expand)


class NegativeBinomial(_Counts):
    """How many trials succeed, each with probability `probs`, before `total_count` of them have failed."""

    arg_constraints = {  # noqa: RUF012
        "total_count": constraints.greater_than_eq(0),
        "probs": constraints.half_open_interval(0.0, 1.0),
        "logits": constraints.real,
    }
    support = constraints.nonnegative_integer

    def __init__(
        self, total_count: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        super().__init__(total_count, probs, logits, validate_args)

    @property
    def mean(self) -> Any:
        return self.total_count * self.logits.exp()

    @property
    def mode(self) -> Any:
        return ((self.total_count - 1) * self.logits.exp()).floor().clamp(0)

    @property
    def variance(self) -> Any:
        return self.mean / (-self.logits).sigmoid()

    def _draw(self, shape: Any, rng: Any) -> Any:
        count, logits = (numbers(x, "NegativeBinomial.sample()") for x in (self.total_count, self.logits))
        rates = rng.standard_gamma(np.broadcast_to(count, tuple(shape))) * np.exp(logits)
        return noise(rng.poisson(rates), self._param)

    def log_prob(self, value: Any) -> Any:
        x, n, logits = self._checked(value), self.total_count, self.logits
        front = lgamma(n + x) - lgamma(x + 1) - lgamma(n)
        return n * logsigmoid(-logits) + x * logsigmoid(logits) + where(n + x == 0, 0.0, front)
