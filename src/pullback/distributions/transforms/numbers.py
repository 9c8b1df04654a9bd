"""Invertible maps with the logarithm of the volume they stretch by: what they are, and those of single numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pullback.distributions import constraints
from pullback.distributions.functions import eps, extended, softplus, sum_last
from pullback.tape.node import new_handle

__all__ = [
    "AbsTransform",
    "AffineTransform",
    "CumulativeDistributionTransform",
    "ExpTransform",
    "PowerTransform",
    "SigmoidTransform",
    "SoftplusTransform",
    "TanhTransform",
    "Transform",
]


class Transform:
    """A map y = t(x) with its inverse `t.inv` and `t.log_abs_det_jacobian(x, y)`.

    A map states `_call`, `_inverse` and `log_abs_det_jacobian`, the constraints `domain` and `codomain` (their event
    dimensions are those of x and y that make up one point), `bijective`, and the `sign` of its slope if it is monotone.
    With `cache_size=1` the last pair of x and y is remembered, so that going there and back gives x itself.
    """

    bijective: Any = False
    domain: Any = constraints.real
    codomain: Any = constraints.real
    _sign: Any = None

    def __init__(self, cache_size: int = 0) -> None:
        if cache_size not in (0, 1):
            raise ValueError("cache_size must be 0 or 1")
        self._cache_size = cache_size
        self._cached: tuple[Any, Any] = (None, None)

    @property
    def inv(self) -> Any:
        """The inverse map."""
        return _Inverse(self)

    @property
    def sign(self) -> Any:
        """The sign of the slope. Raises `NotImplementedError` for maps that are not monotone."""
        if self._sign is None:
            raise NotImplementedError(f"{type(self).__name__} has no sign")
        return self._sign

    @property
    def event_dim(self) -> int:
        """The number of event dimensions, if the map keeps it."""
        if self.domain.event_dim != self.codomain.event_dim:
            raise ValueError("Please use either .domain.event_dim or .codomain.event_dim")
        return int(self.domain.event_dim)

    def with_cache(self, cache_size: int = 1) -> Any:
        """The same map with another `cache_size`."""
        if self._cache_size == cache_size:
            return self
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__, _cache_size=cache_size, _cached=(None, None))
        return twin

    def __call__(self, x: Any) -> Any:
        """y for x."""
        if self._cached[0] is x and self._cache_size:
            return self._cached[1]
        y = self._call(x)
        self._cached = (x, y) if self._cache_size else (None, None)
        return y

    def _inv_call(self, y: Any) -> Any:
        if self._cached[1] is y and self._cache_size:
            return self._cached[0]
        x = self._inverse(y)
        self._cached = (x, y) if self._cache_size else (None, None)
        return x

    def _call(self, x: Any) -> Any:
        raise NotImplementedError

    def _inverse(self, y: Any) -> Any:
        raise NotImplementedError

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        """log |det dy/dx|, of the shape of x without its event dimensions."""
        raise NotImplementedError

    def forward_shape(self, shape: Any) -> Any:
        """The shape of y for that of x."""
        return shape

    def inverse_shape(self, shape: Any) -> Any:
        """The shape of x for that of y."""
        return shape

    def _fields(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def __eq__(self, other: Any) -> bool:
        if type(self) is not type(other):
            return False
        mine, yours = self._fields(), other._fields()
        return mine.keys() == yours.keys() and all(_same(mine[name], yours[name]) for name in mine)

    def __hash__(self) -> int:
        return hash(type(self))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value}" for name, value in self._fields().items())
        return f"{type(self).__name__}({fields})"


def _same(a: Any, b: Any) -> bool:
    if a is b:
        return True
    found: Any = a == b
    if hasattr(found, "all"):
        return bool(found.all())
    return bool(found)


class _Inverse(Transform):
    """The inverse of a map."""

    def __init__(self, transform: Any) -> None:
        super().__init__(transform._cache_size)
        self._inv = transform
        self.domain, self.codomain = transform.codomain, transform.domain
        self.bijective = transform.bijective

    @property
    def inv(self) -> Any:
        return self._inv

    @property
    def sign(self) -> Any:
        return self._inv.sign

    def with_cache(self, cache_size: int = 1) -> Any:
        return self._inv.with_cache(cache_size).inv

    def __call__(self, x: Any) -> Any:
        return self._inv._inv_call(x)

    def _inv_call(self, y: Any) -> Any:
        return self._inv(y)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return -self._inv.log_abs_det_jacobian(y, x)

    def forward_shape(self, shape: Any) -> Any:
        return self._inv.inverse_shape(shape)

    def inverse_shape(self, shape: Any) -> Any:
        return self._inv.forward_shape(shape)

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, _Inverse) and self._inv == other._inv

    def __hash__(self) -> int:
        return hash((_Inverse, self._inv))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._inv!r})"


# Of numbers


class ExpTransform(Transform):
    """y = exp(x)."""

    codomain = constraints.positive
    bijective = True
    _sign = +1

    def _call(self, x: Any) -> Any:
        return x.exp()

    def _inverse(self, y: Any) -> Any:
        return y.log()

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return x


class PowerTransform(Transform):
    """y = x to the power of `exponent`, on positive numbers."""

    domain = codomain = constraints.positive
    bijective = True

    def __init__(self, exponent: Any, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.exponent = exponent if hasattr(exponent, "sign") else new_handle(np.asarray(exponent, float)[()])

    @property
    def sign(self) -> Any:
        return self.exponent.sign()

    def _call(self, x: Any) -> Any:
        return x**self.exponent

    def _inverse(self, y: Any) -> Any:
        return y ** (1 / self.exponent)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return (self.exponent * y / x).abs().log()

    def forward_shape(self, shape: Any) -> Any:
        return np.broadcast_shapes(tuple(shape), tuple(self.exponent.shape))

    inverse_shape = forward_shape


def _inside(p: Any) -> Any:
    """Probabilities kept off 0 and 1, where rounding took them there."""
    return p.clamp(float(np.finfo(p._value.dtype).tiny), 1 - eps(p))


class SigmoidTransform(Transform):
    """y = 1/(1 + exp(-x))."""

    codomain = constraints.unit_interval
    bijective = True
    _sign = +1

    def _call(self, x: Any) -> Any:
        return _inside(x.sigmoid())

    def _inverse(self, y: Any) -> Any:
        y = _inside(y)
        return y.log() - (-y).log1p()

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return -softplus(-x) - softplus(x)


class SoftplusTransform(Transform):
    """y = log(1 + exp(x))."""

    codomain = constraints.positive
    bijective = True
    _sign = +1

    def _call(self, x: Any) -> Any:
        return softplus(x)

    def _inverse(self, y: Any) -> Any:
        return (-y).expm1().neg().log() + y

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return -softplus(-x)


class TanhTransform(Transform):
    """y = tanh(x)."""

    codomain = constraints.interval(-1.0, 1.0)
    bijective = True
    _sign = +1

    def _call(self, x: Any) -> Any:
        return x.tanh()

    def _inverse(self, y: Any) -> Any:
        return y.atanh()

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return 2.0 * (math.log(2.0) - x - softplus(-2.0 * x))  # log(1 - tanh²) without cancellation


class AbsTransform(Transform):
    """y = |x|; not bijective, its inverse gives the positive one."""

    codomain = constraints.positive

    def _call(self, x: Any) -> Any:
        return x.abs()

    def _inverse(self, y: Any) -> Any:
        return y


class AffineTransform(Transform):
    """y = loc + scale·x, of points with `event_dim` dimensions."""

    bijective = True

    def __init__(self, loc: Any, scale: Any, event_dim: int = 0, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.loc, self.scale = loc, scale
        self._event_dim = event_dim

    @property
    def event_dim(self) -> int:
        return self._event_dim

    @property
    def domain(self) -> Any:
        return constraints.independent(constraints.real, self._event_dim) if self._event_dim else constraints.real

    codomain = domain

    @property
    def sign(self) -> Any:
        return self.scale.sign() if hasattr(self.scale, "sign") else int(np.sign(self.scale))

    def _call(self, x: Any) -> Any:
        return self.loc + self.scale * x

    def _inverse(self, y: Any) -> Any:
        return (y - self.loc) / self.scale

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        scale = self.scale
        log = scale.abs().log() if hasattr(scale, "abs") else math.log(abs(scale)) + 0.0 * x
        return sum_last(extended(log, x.shape), self._event_dim)

    def forward_shape(self, shape: Any) -> Any:
        given = (tuple(getattr(x, "shape", ())) for x in (self.loc, self.scale))
        return np.broadcast_shapes(tuple(shape), *given)

    inverse_shape = forward_shape


class CumulativeDistributionTransform(Transform):
    """y = F(x), the cumulative distribution function of `distribution`."""

    bijective = True
    codomain = constraints.unit_interval
    _sign = +1

    def __init__(self, distribution: Any, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.distribution = distribution

    @property
    def domain(self) -> Any:
        return self.distribution.support

    def _call(self, x: Any) -> Any:
        return self.distribution.cdf(x)

    def _inverse(self, y: Any) -> Any:
        return self.distribution.icdf(y)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return self.distribution.log_prob(x)
