"""The von Mises distribution of angles."""

from __future__ import annotations

import math
from typing import Any

from pullback.distributions import constraints
from pullback.distributions.distribution import Distribution
from pullback.distributions.functions import noise
from pullback.ops import bessel
from pullback.tensor.conversion import numbers
from pullback.tensor.dispatch import unary

__all__ = ["VonMises"]

_i0e, _i1e = unary(bessel.i0e), unary(bessel.i1e)


class VonMises(Distribution):
    """Angles about `loc`, in radians, the narrower the larger `concentration`: density ∝ exp(κ cos(x - loc))."""

    arg_constraints = {"loc": constraints.real, "concentration": constraints.positive}  # noqa: RUF012
    support = constraints.real

    def __init__(self, loc: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self._families(validate_args, loc=loc, concentration=concentration)

    @property
    def mean(self) -> Any:
        """The direction of the mean vector."""
        return self.loc

    mode = mean

    @property
    def variance(self) -> Any:
        """The circular variance, 1 less the length of the mean vector."""
        return 1 - _i1e(self.concentration) / _i0e(self.concentration)

    def _draw(self, shape: Any, rng: Any) -> Any:
        loc, concentration = (numbers(x, "VonMises.sample()") for x in (self.loc, self.concentration))
        angle = rng.vonmises(0.0, concentration, tuple(shape)) + loc
        return noise((angle + math.pi) % (2 * math.pi) - math.pi, self.loc)

    def log_prob(self, value: Any) -> Any:
        sine = (0.5 * (self._checked(value) - self.loc)).sin()
        return -2 * self.concentration * sine.square() - math.log(2 * math.pi) - _i0e(self.concentration).log()

    def entropy(self) -> Any:
        ratio = _i1e(self.concentration) / _i0e(self.concentration)
        return math.log(2 * math.pi) + _i0e(self.concentration).log() + self.concentration * (1 - ratio)
