"""The gamma distribution and what is made of gamma-distributed numbers."""

from __future__ import annotations

import math
from typing import Any

from pullback.distributions import constraints
from pullback.distributions.distribution import Distribution
from pullback.distributions.functions import (
    digamma,
    eps,
    filled,
    gamma_draw,
    lgamma,
    log_beta,
    log_gamma_draw,
    noise,
    softplus,
    tensor_of,
    tiny,
)
from pullback.ops import gammas
from pullback.tensor.arithmetic import xlogy
from pullback.tensor.dispatch import apply
from pullback.tensor.gathering import where
from pullback.tensor.joining import stack

__all__ = ["Beta", "Chi2", "Dirichlet", "FisherSnedecor", "Gamma", "InverseGamma", "StudentT"]


class Gamma(Distribution):
    """The gamma distribution of shape `concentration` and the given `rate`: density ∝ x^(a-1) exp(-rate·x).

    Samples move with the concentration as their quantile does; they need SciPy.

    >>> import pullback as pb
    >>> _ = pb.manual_seed(0)
    >>> a = pb.tensor(2.0, requires_grad=True)
    >>> pb.distributions.Gamma(a, 1.0).rsample((10000,)).mean().backward()  # of a number whose mean is a
    >>> abs(a.grad.item() - 1) < 0.02
    True
    """

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}  # noqa: RUF012
    support = constraints.nonnegative
    has_rsample = True

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None) -> None:
        self._families(validate_args, concentration=concentration, rate=rate)

    @property
    def mean(self) -> Any:
        return self.concentration / self.rate

    @property
    def mode(self) -> Any:
        return ((self.concentration - 1) / self.rate).clamp(0)

    @property
    def variance(self) -> Any:
        return self.concentration / self.rate.square()

    def _draw(self, shape: Any, rng: Any) -> Any:
        drawn = gamma_draw(self.concentration, shape, rng) / self.rate
        return drawn.clamp(tiny(drawn))

    def log_prob(self, value: Any) -> Any:
        x, a, rate = self._checked(value), self.concentration, self.rate
        return xlogy(a, rate) + xlogy(a - 1, x) - rate * x - lgamma(a)

    def cdf(self, value: Any) -> Any:
        return apply(gammas.gammainc, self.concentration, self.rate * self._checked(value))

    def entropy(self) -> Any:
        a = self.concentration
        return a - self.rate.log() + lgamma(a) + (1 - a) * digamma(a)


class Chi2(Gamma):
    """The sum of `df` squared standard normal numbers: a gamma distribution of shape df/2 and rate 1/2."""

    arg_constraints = {"df": constraints.positive}  # noqa: RUF012

    def __init__(self, df: Any, validate_args: bool | None = None) -> None:
        self._families(validate_args, df=df)

    @property
    def concentration(self) -> Any:
        """df/2."""
        return 0.5 * self.df

    @property
    def rate(self) -> Any:
        """1/2."""
        return filled(self.df, 0.5)


class InverseGamma(Distribution):
    """The reciprocal of a gamma-distributed number of shape `concentration` and the given `rate`."""

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}  # noqa: RUF012
    support = constraints.positive
    has_rsample = True

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None) -> None:
        self._families(validate_args, concentration=concentration, rate=rate)

    @property
    def mean(self) -> Any:
        some = self.concentration > 1
        return where(some, self.rate / (where(some, self.concentration, 2.0) - 1), math.inf)

    @property
    def mode(self) -> Any:
        return self.rate / (self.concentration + 1)

    @property
    def variance(self) -> Any:
        some = self.concentration > 2
        a = where(some, self.concentration, 3.0)
        return where(some, self.rate.square() / ((a - 1).square() * (a - 2)), math.inf)

    def _draw(self, shape: Any, rng: Any) -> Any:
        drawn = gamma_draw(self.concentration, shape, rng)
        return self.rate / drawn.clamp(tiny(drawn))

    def log_prob(self, value: Any) -> Any:
        x, a, rate = self._checked(value), self.concentration, self.rate
        return xlogy(a, rate) - (a + 1) * x.log() - rate / x - lgamma(a)

    def cdf(self, value: Any) -> Any:
        return apply(gammas.gammaincc, self.concentration, self.rate / self._checked(value))

    def entropy(self) -> Any:
        a = self.concentration
        return a + self.rate.log() + lgamma(a) - (1 + a) * digamma(a)


class Beta(Distribution):
    """The beta distribution: density ∝ x^(concentration1 - 1) (1 - x)^(concentration0 - 1)."""

    arg_constraints = {  # noqa: RUF012
        "concentration1": constraints.positive,
        "concentration0": constraints.positive,
    }
    support = constraints.unit_interval
    has_rsample = True

    def __init__(self, concentration1: Any, concentration0: Any, validate_args: bool | None = None) -> None:
        self._families(validate_args, concentration1=concentration1, concentration0=concentration0)

    @property
    def mean(self) -> Any:
        return self.concentration1 / (self.concentration1 + self.concentration0)

    @property
    def mode(self) -> Any:
        return Dirichlet(stack([self.concentration1, self.concentration0], -1), False).mode[..., 0]

    @property
    def variance(self) -> Any:
        a, b = self.concentration1, self.concentration0
        total = a + b
        return a * b / (total.square() * (total + 1))

    def _draw(self, shape: Any, rng: Any) -> Any:
        logs = [log_gamma_draw(a, shape, rng) for a in (self.concentration1, self.concentration0)]
        drawn = (logs[0] - logs[1]).sigmoid()
        return drawn.clamp(tiny(drawn), 1 - eps(drawn))

    def log_prob(self, value: Any) -> Any:
        x, a, b = self._checked(value), self.concentration1, self.concentration0
        return xlogy(a - 1, x) + xlogy(b - 1, 1 - x) - log_beta(a, b)

    def cdf(self, value: Any) -> Any:
        return apply(gammas.betainc, self.concentration1, self.concentration0, self._checked(value))

    def entropy(self) -> Any:
        a, b = self.concentration1, self.concentration0
        rest = (a + b - 2) * digamma(a + b) - (a - 1) * digamma(a) - (b - 1) * digamma(b)
        return log_beta(a, b) + rest


class Dirichlet(Distribution):
    """The Dirichlet distribution of probabilities: density ∝ Π xᵢ^(aᵢ - 1), the aᵢ along the last dimension."""

    arg_constraints = {"concentration": constraints.independent(constraints.positive, 1)}  # noqa: RUF012
    support = constraints.simplex
    has_rsample = True

    def __init__(self, concentration: Any, validate_args: bool | None = None) -> None:
        self.concentration = tensor_of(concentration)
        if self.concentration.ndim < 1:
            raise ValueError("`concentration` parameter must be at least one-dimensional.")
        shape = tuple(self.concentration.shape)
        super().__init__(shape[:-1], shape[-1:], validate_args)

    @property
    def mean(self) -> Any:
        return self.concentration / self.concentration.sum(-1, True)

    @property
    def mode(self) -> Any:
        """Where all concentrations are below 1, the mode is the corner of the largest one."""
        a = self.concentration
        over = (a - 1).clamp(0)
        inner = (a < 1).all(-1, True)
        corner = (a == a.amax(-1, True)).to(a.dtype)
        corner = ((corner.cumsum(-1) == 1) & (corner == 1)).to(a.dtype)
        return where(inner, corner, over / where(inner, 1.0, over.sum(-1, True)))

    @property
    def variance(self) -> Any:
        a = self.concentration
        total = a.sum(-1, True)
        return a * (total - a) / (total.square() * (total + 1))

    def _draw(self, shape: Any, rng: Any) -> Any:
        drawn = log_gamma_draw(self.concentration, shape, rng).softmax(-1)
        return drawn.clamp(tiny(drawn))

    def log_prob(self, value: Any) -> Any:
        x, a = self._checked(value), self.concentration
        return xlogy(a - 1, x).sum(-1) + lgamma(a.sum(-1)) - lgamma(a).sum(-1)

    def entropy(self) -> Any:
        a = self.concentration
        total = a.sum(-1)
        count = int(a.shape[-1])
        spread = (count - total) * digamma(total) + ((a - 1) * digamma(a)).sum(-1)
        return lgamma(a).sum(-1) - lgamma(total) - spread


class StudentT(Distribution):
    """Student's t-distribution of `df` degrees of freedom, moved to `loc` and stretched by `scale`."""

    arg_constraints = {  # noqa: RUF012
        "df": constraints.positive,
        "loc": constraints.real,
        "scale": constraints.positive,
    }
    support = constraints.real
    has_rsample = True

    def __init__(self, df: Any, loc: Any = 0.0, scale: Any = 1.0, validate_args: bool | None = None) -> None:
        self._families(validate_args, df=df, loc=loc, scale=scale)

    @property
    def mean(self) -> Any:
        return where(self.df > 1, self.loc, math.nan)

    @property
    def mode(self) -> Any:
        return self.loc

    @property
    def variance(self) -> Any:
        some = self.df > 2
        df = where(some, self.df, 3.0)
        infinite = where(self.df > 1, filled(self.df, math.inf), math.nan)
        return where(some, self.scale.square() * df / (df - 2), infinite)

    def _draw(self, shape: Any, rng: Any) -> Any:
        x = noise(rng.standard_normal(tuple(shape)), self.df)
        log = log_gamma_draw(0.5 * self.df, shape, rng)
        return self.loc + self.scale * x * (0.5 * ((0.5 * self.df).log() - log)).exp()

    def log_prob(self, value: Any) -> Any:
        z, half = (self._checked(value) - self.loc) / self.scale, 0.5 * self.df
        front = self.scale.log() + 0.5 * (self.df.log() + math.log(math.pi)) + lgamma(half) - lgamma(half + 0.5)
        return -(half + 0.5) * (z.square() / self.df).log1p() - front

    def cdf(self, value: Any) -> Any:
        z = (self._checked(value) - self.loc) / self.scale
        tail = 0.5 * apply(gammas.betainc, 0.5 * self.df, filled(z, 0.5), self.df / (self.df + z.square()))
        return where(z > 0, 1 - tail, tail)

    def entropy(self) -> Any:
        half = 0.5 * self.df
        front = 0.5 * self.df.log() + log_beta(half, filled(half, 0.5)) + self.scale.log()
        return (half + 0.5) * (digamma(half + 0.5) - digamma(half)) + front


class FisherSnedecor(Distribution):
    """The ratio of two independent chi-squared numbers, each over its degrees of freedom `df1` and `df2`."""

    arg_constraints = {"df1": constraints.positive, "df2": constraints.positive}  # noqa: RUF012
    support = constraints.positive
    has_rsample = True

    def __init__(self, df1: Any, df2: Any, validate_args: bool | None = None) -> None:
        self._families(validate_args, df1=df1, df2=df2)

    @property
    def mean(self) -> Any:
        some = self.df2 > 2
        df2 = where(some, self.df2, 3.0)
        return where(some, df2 / (df2 - 2), math.nan)

    @property
    def mode(self) -> Any:
        some = self.df1 > 2
        df1 = where(some, self.df1, 3.0)
        return where(some, (df1 - 2) / df1 * self.df2 / (self.df2 + 2), math.nan)

    @property
    def variance(self) -> Any:
        some = self.df2 > 4
        df2 = where(some, self.df2, 5.0)
        value = 2 * df2.square() * (self.df1 + df2 - 2) / (self.df1 * (df2 - 2).square() * (df2 - 4))
        return where(some, value, math.nan)

    def _draw(self, shape: Any, rng: Any) -> Any:
        logs = [log_gamma_draw(0.5 * df, shape, rng) - df.log() for df in (self.df1, self.df2)]
        drawn = (logs[0] - logs[1]).exp()
        return drawn.clamp(tiny(drawn))

    def log_prob(self, value: Any) -> Any:
        x, a, b = self._checked(value), 0.5 * self.df1, 0.5 * self.df2
        log = (self.df1 / self.df2).log()
        return a * log + (a - 1) * x.log() - (a + b) * softplus(log + x.log()) - log_beta(a, b)

    def cdf(self, value: Any) -> Any:
        x = self.df1 * self._checked(value)
        return apply(gammas.betainc, 0.5 * self.df1, 0.5 * self.df2, x / (x + self.df2))
