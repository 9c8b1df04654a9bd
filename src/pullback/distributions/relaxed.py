"""Continuous relaxations of choices, whose samples have gradients: the concrete distribution at a temperature.

Sources: Maddison, Mnih and Teh, "The Concrete distribution", 2017; Jang, Gu and Poole, "Categorical reparameterization
with Gumbel-softmax", 2017.
"""

from __future__ import annotations

import math
from typing import Any

from pullback.distributions import constraints
from pullback.distributions.categorical import _Choices
from pullback.distributions.distribution import Probabilities
from pullback.distributions.functions import filled, noise, softplus, tensor_of
from pullback.distributions.transformed import TransformedDistribution
from pullback.distributions.transforms.numbers import ExpTransform, SigmoidTransform
from pullback.tensor.scanning import logsumexp

__all__ = ["ExpRelaxedCategorical", "LogitRelaxedBernoulli", "RelaxedBernoulli", "RelaxedOneHotCategorical"]


class LogitRelaxedBernoulli(Probabilities):
    """The log-odds of a relaxed Bernoulli number: (logits + logistic noise)/temperature."""

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}  # noqa: RUF012
    support = constraints.real
    has_rsample = True

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        self.temperature = temperature
        name = self._choice(probs, logits)
        self._families(validate_args, **{name: probs if name == "probs" else logits})

    def _draw(self, shape: Any, rng: Any) -> Any:
        return (self.logits + noise(rng.logistic(size=tuple(shape)), self._param)) / self.temperature

    def log_prob(self, value: Any) -> Any:
        x = self._checked(value)
        difference = self.logits - x * self.temperature
        temperature = tensor_of(self.temperature)
        return temperature.log() + difference - 2 * softplus(difference)


class RelaxedBernoulli(TransformedDistribution):
    """A number in (0, 1) near 0 or 1, the nearer the lower the temperature."""

    arg_constraints = LogitRelaxedBernoulli.arg_constraints
    support = constraints.unit_interval
    has_rsample = True

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        base = LogitRelaxedBernoulli(temperature, probs, logits, validate_args)
        super().__init__(base, SigmoidTransform(), validate_args)

    def __getattr__(self, name: str) -> Any:
        if name in ("temperature", "probs", "logits"):
            return getattr(self.base_dist, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


class ExpRelaxedCategorical(_Choices):
    """The logarithms of a relaxed one-hot vector: log softmax((logits + Gumbel noise)/temperature)."""

    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        self.temperature = temperature
        batch = self._along(probs, logits)
        super().__init__(batch, (self._num_events,), validate_args)

    def _draw(self, shape: Any, rng: Any) -> Any:
        scores = (self.logits + noise(rng.gumbel(size=tuple(shape)), self._param)) / self.temperature
        return scores - logsumexp(scores, -1, True)

    def log_prob(self, value: Any) -> Any:
        x, count = self._checked(value), self._num_events
        score = self.logits - x * self.temperature
        score = (score - logsumexp(score, -1, True)).sum(-1)
        temperature = filled(x[..., 0], 1.0) * self.temperature
        return score + math.lgamma(count) + temperature.log() * (count - 1)


class RelaxedOneHotCategorical(TransformedDistribution):
    """Probabilities near one-hot, the nearer the lower the temperature."""

    arg_constraints = _Choices.arg_constraints
    support = constraints.simplex
    has_rsample = True

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        base = ExpRelaxedCategorical(temperature, probs, logits, validate_args)
        super().__init__(base, ExpTransform(), validate_args)

    def __getattr__(self, name: str) -> Any:
        if name in ("temperature", "probs", "logits"):
            return getattr(self.base_dist, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
