"""Distributions made from others: transformed, and with batch dimensions counted as part of the event."""

from __future__ import annotations

from typing import Any

from pullback.distributions import constraints
from pullback.distributions.distribution import Distribution
from pullback.distributions.functions import sum_last
from pullback.distributions.transforms.numbers import Transform
from pullback.distributions.transforms.parts import ComposeTransform
from pullback.values.shape import Size

__all__ = ["Independent", "TransformedDistribution"]


class Independent(Distribution):
    """`base_distribution` with its last `reinterpreted_batch_ndims` batch dimensions part of the event.

    >>> import pullback as pb
    >>> d = pb.distributions
    >>> d.Independent(d.Normal(pb.zeros(3), pb.ones(3)), 1).log_prob(pb.zeros(3))
    tensor(-2.7568)
    """

    def __init__(
        self, base_distribution: Any, reinterpreted_batch_ndims: int, validate_args: bool | None = None
    ) -> None:
        batch, event = tuple(base_distribution.batch_shape), tuple(base_distribution.event_shape)
        if reinterpreted_batch_ndims > len(batch):
            raise ValueError(
                "Expected reinterpreted_batch_ndims <= len(base_distribution.batch_shape), actual "
                f"{reinterpreted_batch_ndims} vs {len(batch)}"
            )
        cut = len(batch) - reinterpreted_batch_ndims
        self.base_dist, self.reinterpreted_batch_ndims = base_distribution, reinterpreted_batch_ndims
        super().__init__(batch[:cut], batch[cut:] + event, validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = object.__new__(type(self)) if _instance is None else _instance
        inner = tuple(self._event_shape)[: self.reinterpreted_batch_ndims]
        new.__dict__.update(self.__dict__, base_dist=self.base_dist.expand((*batch_shape, *inner)))
        new._batch_shape = Size(batch_shape)
        return new

    @property
    def has_rsample(self) -> Any:
        return self.base_dist.has_rsample

    @property
    def has_enumerate_support(self) -> Any:
        return self.reinterpreted_batch_ndims == 0 and self.base_dist.has_enumerate_support

    @property
    def support(self) -> Any:
        base = self.base_dist.support
        return constraints.independent(base, self.reinterpreted_batch_ndims) if self.reinterpreted_batch_ndims else base

    @property
    def mean(self) -> Any:
        return self.base_dist.mean

    @property
    def mode(self) -> Any:
        return self.base_dist.mode

    @property
    def variance(self) -> Any:
        return self.base_dist.variance

    def sample(self, sample_shape: Any = (), **options: Any) -> Any:
        return self.base_dist.sample(sample_shape, **options)

    def rsample(self, sample_shape: Any = (), **options: Any) -> Any:
        return self.base_dist.rsample(sample_shape, **options)

    def log_prob(self, value: Any) -> Any:
        return sum_last(self.base_dist.log_prob(value), self.reinterpreted_batch_ndims)

    def entropy(self) -> Any:
        return sum_last(self.base_dist.entropy(), self.reinterpreted_batch_ndims)

    def enumerate_support(self, expand: bool = True) -> Any:
        if self.reinterpreted_batch_ndims > 0:
            raise NotImplementedError("Enumeration over cartesian product is not implemented")
        return self.base_dist.enumerate_support(expand)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_dist!r}, {self.reinterpreted_batch_ndims})"


class TransformedDistribution(Distribution):
    """The distribution of t(x) for x of `base_distribution` and t the `transforms`, one or a list, first one first.

    log p(y) = log p(x) - log |det dy/dx|.
    """

    def __init__(self, base_distribution: Any, transforms: Any, validate_args: bool | None = None) -> None:
        if isinstance(transforms, Transform):
            self.transforms = [transforms]
        elif isinstance(transforms, list) and all(isinstance(t, Transform) for t in transforms):
            self.transforms = transforms
        else:
            raise ValueError(f"transforms must be a Transform or list, but was {transforms}")
        whole = ComposeTransform(self.transforms)
        base = tuple(base_distribution.batch_shape) + tuple(base_distribution.event_shape)
        domain, codomain = whole.domain.event_dim, whole.codomain.event_dim
        if len(base) < domain:
            raise ValueError(
                f"base_distribution needs to have shape with size at least {domain}, but got {base_distribution}."
            )
        shape = tuple(whole.forward_shape(base))
        base_distribution = base_distribution.expand(
            tuple(whole.inverse_shape(shape))[: len(base) - len(base_distribution.event_shape)]
        )
        missing = domain - len(base_distribution.event_shape)
        self.base_dist = Independent(base_distribution, missing) if missing > 0 else base_distribution
        event = max(codomain, codomain - domain + len(self.base_dist.event_shape))
        cut = len(shape) - event
        super().__init__(shape[:cut], shape[cut:], validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = object.__new__(type(self)) if _instance is None else _instance
        shape = (*batch_shape, *self._event_shape)
        base = tuple(ComposeTransform(self.transforms).inverse_shape(shape))
        event = len(self.base_dist.event_shape)
        new.__dict__.update(self.__dict__, base_dist=self.base_dist.expand(base[: len(base) - event]))
        new._batch_shape = Size(batch_shape)
        return new

    @property
    def has_rsample(self) -> Any:
        return self.base_dist.has_rsample

    @property
    def support(self) -> Any:
        if not self.transforms:
            return self.base_dist.support
        support = self.transforms[-1].codomain
        missing = len(self._event_shape) - support.event_dim
        return constraints.independent(support, missing) if missing > 0 else support

    def _map(self, x: Any) -> Any:
        for transform in self.transforms:
            x = transform(x)
        return x

    def sample(self, sample_shape: Any = (), **options: Any) -> Any:
        return self._map(self.base_dist.sample(sample_shape, **options)).detach()

    def rsample(self, sample_shape: Any = (), **options: Any) -> Any:
        return self._map(self.base_dist.rsample(sample_shape, **options))

    def log_prob(self, value: Any) -> Any:
        y = self._checked(value)
        dims = len(self._event_shape)
        total: Any = 0.0
        for transform in reversed(self.transforms):
            x = transform.inv(y)
            dims += transform.domain.event_dim - transform.codomain.event_dim
            total = total - sum_last(transform.log_abs_det_jacobian(x, y), dims - transform.domain.event_dim)
            y = x
        return total + sum_last(self.base_dist.log_prob(y), dims - len(self.base_dist.event_shape))

    def _upwards(self, probability: Any) -> Any:
        """The probability of what is below, from that on the base's side: a falling map turns it over."""
        sign: Any = ComposeTransform(self.transforms).sign
        if isinstance(sign, int) and sign == 1:
            return probability
        return sign * (probability - 0.5) + 0.5

    def cdf(self, value: Any) -> Any:
        y = self._checked(value)
        for transform in reversed(self.transforms):
            y = transform.inv(y)
        return self._upwards(self.base_dist.cdf(y))

    def icdf(self, value: Any) -> Any:
        return self._map(self.base_dist.icdf(self._upwards(value)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_dist!r}, {self.transforms!r})"
