"""Distributions over the choices that lie along the last dimension of the parameters."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pullback.distributions import constraints
from pullback.distributions.distribution import Probabilities
from pullback.distributions.functions import eps, lgamma, noise, tensor_of, uniform_noise
from pullback.tape.node import new_handle
from pullback.tensor.gathering import where
from pullback.tensor.scanning import logsumexp

__all__ = ["Categorical", "Multinomial", "OneHotCategorical", "OneHotCategoricalStraightThrough"]

_CHOICES = {"probs": constraints.simplex, "logits": constraints.real_vector}


class _Choices(Probabilities):
    """A family given by probabilities or their logarithms, along the last dimension; either is normalised."""

    arg_constraints: Any = _CHOICES
    _binary = False

    def _along(self, probs: Any, logits: Any) -> tuple[int, ...]:
        """Set the parameter; returns the batch's shape."""
        name = self._choice(probs, logits)
        given = tensor_of(probs if name == "probs" else logits)
        if given.ndim < 1:
            raise ValueError(f"`{name}` parameter must be at least one-dimensional.")
        if name == "probs":
            self.__dict__[name] = given / given.sum(-1, True)
        else:
            self.__dict__[name] = given - logsumexp(given, -1, True)
        self._num_events = int(given.shape[-1])
        return tuple(given.shape)[:-1]

    def _indices(self, shape: Any, rng: Any) -> Any:
        """Numbers of choices: how many of the cumulated probabilities a uniform number passes."""
        p = self.probs
        bounds = p.cumsum(-1)
        level = uniform_noise(rng, (*shape, 1), p) * bounds[..., -1:]
        return (level > bounds[..., :-1]).sum(-1)

    def _surprise(self) -> Any:
        """-Σ p log p, choices of probability 0 counting 0."""
        logits = self.logits
        return -(self.probs * logits.clamp(float(np.finfo(logits._value.dtype).min))).sum(-1)


class Categorical(_Choices):
    """The number of one of several choices, with probabilities ∝ `probs` or ∝ exp(`logits`).

    >>> import pullback as pb
    >>> pb.distributions.Categorical(pb.tensor([1.0, 3.0])).log_prob(pb.tensor(1))
    tensor(-0.2877)
    """

    has_enumerate_support = True

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        super().__init__(self._along(probs, logits), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:
        return constraints.integer_interval(0, self._num_events - 1)

    @property
    def mean(self) -> Any:
        return new_handle(np.full(tuple(self._batch_shape), math.nan, self._param._value.dtype))

    variance = mean

    @property
    def mode(self) -> Any:
        return self.probs.argmax(-1)

    def _draw(self, shape: Any, rng: Any) -> Any:
        return self._indices(shape, rng)

    def log_prob(self, value: Any) -> Any:
        x, logits = self._checked(value).long(), self.logits
        shape = np.broadcast_shapes(tuple(x.shape), tuple(self._batch_shape))
        wide = logits.expand((*shape, self._num_events))
        return wide.gather(-1, x.expand(shape).unsqueeze(-1)).squeeze(-1)

    def entropy(self) -> Any:
        return self._surprise()

    def enumerate_support(self, expand: bool = True) -> Any:
        batch = tuple(self._batch_shape)
        values = new_handle(np.arange(self._num_events)).reshape((-1, *(1 for _ in batch)))
        return values.expand((-1, *batch)) if expand else values


class OneHotCategorical(_Choices):
    """One of several choices as a vector with a 1 in its place."""

    support = constraints.one_hot
    has_enumerate_support = True

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        batch = self._along(probs, logits)
        super().__init__(batch, (self._num_events,), validate_args)

    @property
    def mean(self) -> Any:
        return self.probs

    @property
    def mode(self) -> Any:
        return self._one_hot(self.probs.argmax(-1))

    @property
    def variance(self) -> Any:
        return self.probs * (1 - self.probs)

    def _one_hot(self, index: Any) -> Any:
        return (index.unsqueeze(-1) == new_handle(np.arange(self._num_events))).to(self._param.dtype)

    def _draw(self, shape: Any, rng: Any) -> Any:
        return self._one_hot(self._indices(shape[:-1], rng))

    def log_prob(self, value: Any) -> Any:
        x = self._checked(value)
        return where(x == 1, self.logits, 0.0).sum(-1)

    def entropy(self) -> Any:
        return self._surprise()

    def enumerate_support(self, expand: bool = True) -> Any:
        batch, n = tuple(self._batch_shape), self._num_events
        values = noise(np.eye(n), self._param).reshape((n, *(1 for _ in batch), n))
        return values.expand((n, *batch, n)) if expand else values


class OneHotCategoricalStraightThrough(OneHotCategorical):
    """A one-hot choice whose samples pass gradients on as if they were the probabilities [Bengio et al., 2013]."""

    has_rsample = True

    def rsample(self, sample_shape: Any = (), **options: Any) -> Any:
        probs = self.probs
        return self.sample(sample_shape, **options) + (probs - probs.detach())


class Multinomial(_Choices):
    """How often each of several choices was taken in `total_count` independent trials."""

    def __init__(
        self, total_count: int = 1, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        if not isinstance(total_count, int):
            raise NotImplementedError("inhomogeneous total_count is not supported")
        self.total_count = total_count
        batch = self._along(probs, logits)
        super().__init__(batch, (self._num_events,), validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> Any:
        return constraints.multinomial(self.total_count)

    @property
    def mean(self) -> Any:
        return self.probs * self.total_count

    @property
    def variance(self) -> Any:
        return self.total_count * self.probs * (1 - self.probs)

    def _draw(self, shape: Any, rng: Any) -> Any:
        drawn = self._indices((self.total_count, *shape[:-1]), rng)
        hits = drawn.unsqueeze(-1) == new_handle(np.arange(self._num_events))
        return hits.sum(0).to(self._param.dtype)

    def log_prob(self, value: Any) -> Any:
        x = self._checked(value)
        logits = where((x == 0) & (self.logits == -math.inf), 0.0, self.logits)
        return lgamma(x.sum(-1) + 1) - lgamma(x + 1).sum(-1) + (x * logits).sum(-1)

    def entropy(self) -> Any:
        """From the binomial marginals: n H(p) - log n! + Σᵢ E log xᵢ!."""
        n = self.total_count
        counts = noise(np.arange(1, n + 1), self._param).reshape((-1, *(1 for _ in self._batch_shape), 1))
        p = self.probs.clamp(eps(self.probs), 1 - eps(self.probs))
        choose = math.lgamma(n + 1) - lgamma(counts + 1) - lgamma(n - counts + 1)
        chance = (choose + counts * p.log() + (n - counts) * (-p).log1p()).exp()
        return n * self._surprise() - math.lgamma(n + 1) + (chance * lgamma(counts + 1)).sum((0, -1))
