"""Mixtures of distributions of one family."""

from __future__ import annotations

from typing import Any

from pullback.distributions import constraints
from pullback.distributions.categorical import Categorical
from pullback.distributions.distribution import Distribution
from pullback.tensor.scanning import logsumexp
from pullback.values.shape import Size

__all__ = ["MixtureSameFamily"]


class _AnyComponent(constraints.Constraint):
    """Where any of a batch of constraints holds; the batch is the last dimension of what it checks."""

    def __init__(self, base_constraint: Any) -> None:
        self.base_constraint = base_constraint
        self.is_discrete, self.event_dim = base_constraint.is_discrete, base_constraint.event_dim

    def check(self, value: Any) -> Any:
        place = -1 - self.event_dim
        return self.base_constraint.check(value.unsqueeze(place)).any(-1)


class MixtureSameFamily(Distribution):
    """Events of one of the components that the last batch dimension of `component_distribution` counts.

    >>> import pullback as pb
    >>> d = pb.distributions
    >>> mix = d.MixtureSameFamily(d.Categorical(pb.ones(2)), d.Normal(pb.tensor([-1.0, 1.0]), pb.ones(2)))
    >>> mix.mean, mix.variance
    (tensor(0.), tensor(2.))
    """

    def __init__(
        self, mixture_distribution: Any, component_distribution: Any, validate_args: bool | None = None
    ) -> None:
        self._mixture_distribution, self._component_distribution = mixture_distribution, component_distribution
        if not isinstance(mixture_distribution, Categorical):
            raise ValueError(" The Mixture distribution needs to be an instance of torch.distributions.Categorical")
        if not isinstance(component_distribution, Distribution):
            raise ValueError("The Component distribution need to be an instance of torch.distributions.Distribution")
        inner = tuple(component_distribution.batch_shape)
        batch = inner[:-1]
        for a, b in zip(reversed(tuple(mixture_distribution.batch_shape)), reversed(batch), strict=False):
            if a != b and 1 not in (a, b):
                raise ValueError(
                    f"`mixture_distribution.batch_shape` ({tuple(mixture_distribution.batch_shape)}) is not "
                    f"compatible with `component_distribution.batch_shape` ({inner})"
                )
        count = mixture_distribution._num_events
        if not inner or inner[-1] != count:
            raise ValueError(
                f"`mixture_distribution component` ({count}) does not equal "
                f"`component_distribution.batch_shape[-1]` ({inner[-1] if inner else None})"
            )
        self._num_component = count
        super().__init__(batch, component_distribution.event_shape, validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = object.__new__(type(self)) if _instance is None else _instance
        new.__dict__.update(
            self.__dict__,
            _component_distribution=self._component_distribution.expand((*batch_shape, self._num_component)),
            _mixture_distribution=self._mixture_distribution.expand(tuple(batch_shape)),
        )
        new._batch_shape = Size(batch_shape)
        return new

    @property
    def mixture_distribution(self) -> Any:
        """The distribution of the component's number."""
        return self._mixture_distribution

    @property
    def component_distribution(self) -> Any:
        """The components, along the last batch dimension."""
        return self._component_distribution

    @constraints.dependent_property
    def support(self) -> Any:
        return _AnyComponent(self._component_distribution.support)

    def _weighted(self, values: Any) -> Any:
        """The mean over the components of what has them in front of the event's dimensions."""
        dims = len(self._event_shape)
        weights = self._mixture_distribution.probs
        weights = weights.reshape((*weights.shape, *(1 for _ in range(dims))))
        return (weights * values).sum(-1 - dims)

    @property
    def mean(self) -> Any:
        return self._weighted(self._component_distribution.mean)

    @property
    def variance(self) -> Any:
        means = self._component_distribution.mean
        centre = self.mean.unsqueeze(-1 - len(self._event_shape))
        return self._weighted(self._component_distribution.variance) + self._weighted((means - centre).square())

    def _padded(self, value: Any) -> Any:
        return value.unsqueeze(-1 - len(self._event_shape))

    def log_prob(self, value: Any) -> Any:
        x = self._padded(self._checked(value))
        logs = self._component_distribution.log_prob(x)
        return logsumexp(logs + self._mixture_distribution.logits, -1)

    def cdf(self, value: Any) -> Any:
        below = self._component_distribution.cdf(self._padded(self._checked(value)))
        return (below * self._mixture_distribution.probs).sum(-1)

    def sample(self, sample_shape: Any = (), **options: Any) -> Any:
        dims = len(self._event_shape)
        chosen = self._mixture_distribution.sample(sample_shape, **options)
        values = self._component_distribution.sample(sample_shape, **options)
        chosen = chosen.reshape((*chosen.shape, 1, *(1 for _ in range(dims))))
        shape = (*tuple(values.shape)[: values.ndim - 1 - dims], 1, *self._event_shape)
        return values.gather(values.ndim - 1 - dims, chosen.expand(shape)).squeeze(-1 - dims)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._mixture_distribution!r}, {self._component_distribution!r})"
