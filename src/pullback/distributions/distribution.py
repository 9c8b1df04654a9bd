"""The base of all distributions."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pullback.distributions import constraints
from pullback.distributions.functions import broadcast_all, extended, logits_to_probs, plain, probs_to_logits
from pullback.tape.node import Handle
from pullback.tape.state import no_grad
from pullback.tensor.conversion import numbers
from pullback.tensor.random import Generator, drawing
from pullback.values.shape import Size

__all__ = ["Distribution", "Probabilities"]


class Distribution:
    """A probability distribution over events of `event_shape`, or `batch_shape` many of them, independent.

    A family states its parameters' constraints in `arg_constraints`, its `support`, and its formulas. Its samples come
    from `_draw(shape, rng)`: as functions of the parameters if `has_rsample`, or as plain numbers. Parameters are
    tensors, arrays or numbers; they are checked (where a transform lets their numbers be seen) unless `validate_args`
    is False.
    """

    has_rsample: Any = False
    has_enumerate_support: Any = False
    arg_constraints: Any = {}  # noqa: RUF012 - a property in some families
    _validate_args: bool = __debug__

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """A parameter."""

    def __init__(self, batch_shape: Any = (), event_shape: Any = (), validate_args: bool | None = None) -> None:
        self._batch_shape, self._event_shape = Size(batch_shape), Size(event_shape)
        if validate_args is not None:
            self._validate_args = validate_args
        if not self._validate_args:
            return
        for name, constraint in self.arg_constraints.items():
            if constraints.is_dependent(constraint) or name not in self.__dict__:
                continue  # what can't be checked, and what is derived from other parameters
            value = self.__dict__[name]
            if plain(value) and not np.all(numbers(constraint.check(value), "validate_args")):
                raise ValueError(
                    f"Expected parameter {name} ({type(value).__name__} of shape {tuple(value.shape)}) of distribution "
                    f"{self!r} to satisfy the constraint {constraint!r}, but found invalid values:\n{value}"
                )

    def _families(self, validate_args: bool | None, **parameters: Any) -> None:
        """Set scalar parameters, spread to one shape, which becomes the batch's."""
        values = broadcast_all(*parameters.values())
        self.__dict__.update(zip(parameters, values, strict=True))
        Distribution.__init__(self, values[0].shape, validate_args=validate_args)

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Whether distributions check their parameters and values unless told otherwise."""
        if value not in (True, False):
            raise ValueError("validate_args must be True or False")
        Distribution._validate_args = value

    # Shapes

    @property
    def batch_shape(self) -> Size:
        """The shape over which the parameters vary."""
        return self._batch_shape

    @property
    def event_shape(self) -> Size:
        """The shape of one event."""
        return self._event_shape

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distribution with its parameters spread over `batch_shape`."""
        new = object.__new__(type(self)) if _instance is None else _instance
        new.__dict__.update(self.__dict__)
        given = type(self).arg_constraints
        for name, constraint in (given if isinstance(given, dict) else self.arg_constraints).items():
            value: Any = self.__dict__.get(name)
            if value is not None:
                event = tuple(value.shape)[value.ndim - constraint.event_dim :] if constraint.event_dim else ()
                new.__dict__[name] = extended(value, (*batch_shape, *event))
        new._batch_shape = Size(batch_shape)
        return new

    def _extended_shape(self, sample_shape: Any = ()) -> Size:
        return Size((*sample_shape, *self._batch_shape, *self._event_shape))

    # What a family gives

    @property
    def support(self) -> Any:
        """The constraint that events satisfy."""
        raise NotImplementedError

    @property
    def mean(self) -> Any:
        """The mean, of shape `batch_shape + event_shape`."""
        raise NotImplementedError

    @property
    def mode(self) -> Any:
        """Where the density or mass is largest."""
        raise NotImplementedError(f"{type(self)} does not implement mode")

    @property
    def variance(self) -> Any:
        """The variance of each component."""
        raise NotImplementedError

    @property
    def stddev(self) -> Any:
        """The standard deviation of each component."""
        return self.variance.sqrt()

    def _draw(self, shape: Size, rng: np.random.Generator) -> Any:
        """Events of the extended `shape`."""
        raise NotImplementedError

    def rsample(self, sample_shape: Any = (), *, generator: Generator | None = None) -> Any:
        """Events as functions of the parameters, of shape `sample_shape + batch_shape + event_shape`.

        The noise comes from `generator` (this thread's default if None), so that under `vmap` all elements share it.
        Raises `NotImplementedError` if the events are discrete.
        """
        if not self.has_rsample:
            raise NotImplementedError(f"{type(self).__name__} has no reparametrised samples: use sample()")
        return self._draw(self._extended_shape(sample_shape), drawing(generator))

    def sample(self, sample_shape: Any = (), *, generator: Generator | None = None) -> Any:
        """Events as plain numbers, of shape `sample_shape + batch_shape + event_shape`."""
        with no_grad():
            if type(self)._draw is Distribution._draw:  # a family that states `rsample` only
                return self.rsample(sample_shape).detach()
            return self._draw(self._extended_shape(sample_shape), drawing(generator)).detach()

    def sample_n(self, n: int) -> Any:
        """`sample((n,))`."""
        warnings.warn("`sample_n(n)` will be deprecated. Use `sample((n,))` instead.", FutureWarning, stacklevel=2)
        return self.sample((n,))

    def log_prob(self, value: Any) -> Any:
        """The logarithm of the density or mass at `value`."""
        raise NotImplementedError

    def cdf(self, value: Any) -> Any:
        """The probability of an event up to `value`."""
        raise NotImplementedError

    def icdf(self, value: Any) -> Any:
        """The event with the probability `value` of what is up to it."""
        raise NotImplementedError

    def enumerate_support(self, expand: bool = True) -> Any:
        """All events of a discrete distribution along dimension 0, repeated over the batch if `expand`."""
        raise NotImplementedError

    def entropy(self) -> Any:
        """The entropy in nats, of shape `batch_shape`."""
        raise NotImplementedError

    def perplexity(self) -> Any:
        """The exponential of the entropy."""
        return self.entropy().exp()

    # Checking values

    def _checked(self, value: Any) -> Any:
        """`value` as a tensor, checked if arguments are: its shape, and that it lies in the support.

        Raises `ValueError`.
        """
        if not isinstance(value, Handle | np.ndarray | np.generic):
            raise ValueError("The value argument to log_prob must be a Tensor")
        handle = value if isinstance(value, Handle) else broadcast_all(value)[0]
        if self._validate_args:
            self._validate_sample(handle)
        return handle

    def _validate_sample(self, value: Any) -> None:
        event, shape = tuple(self._event_shape), tuple(value.shape)
        if shape[len(shape) - len(event) :] != event:
            raise ValueError(
                f"The right-most size of value must match event_shape: {value.shape} vs {self._event_shape}."
            )
        whole = (*self._batch_shape, *event)
        if any(m != n and 1 not in (m, n) for m, n in zip(reversed(shape), reversed(whole), strict=False)):
            raise ValueError(
                f"Value is not broadcastable with batch_shape+event_shape: {value.shape} vs {Size(whole)}."
            )
        if not plain(value):
            return
        support = self.support
        if constraints.is_dependent(support):
            return
        inside = support.check(value)
        if plain(inside) and not np.all(numbers(inside, "validate_args")):
            raise ValueError(
                f"Expected value argument ({type(value).__name__} of shape {shape}) to be within the support "
                f"({support!r}) of the distribution {self!r}, but found invalid values:\n{value}"
            )

    def __repr__(self) -> str:
        held = {name: self.__dict__[name] for name in self.arg_constraints if name in self.__dict__}
        fields = [f"{name}: {x if x.numel() == 1 and plain(x) else x.shape}" for name, x in held.items()]
        return f"{type(self).__name__}({', '.join(fields)})"


class Probabilities(Distribution):
    """A family given by probabilities or by logits, whichever its author has; the other is derived.

    `_binary` families have one number for a choice of two, the log-odds.
    """

    _binary: ClassVar[bool] = True

    def _choice(self, probs: Any, logits: Any) -> str:
        """The name of the parameter that was given. Raises `ValueError` unless exactly one was."""
        if (probs is None) == (logits is None):
            raise ValueError("Either `probs` or `logits` must be specified, but not both.")
        return "probs" if logits is None else "logits"

    @property
    def _param(self) -> Any:
        return self.__dict__.get("probs", self.__dict__.get("logits"))

    @property
    def param_shape(self) -> Size:
        """The shape of the parameter."""
        shape: Size = self._param.shape
        return shape

    def __getattr__(self, name: str) -> Any:
        held = self.__dict__
        if name == "logits" and "probs" in held:
            return probs_to_logits(held["probs"], self._binary)
        if name == "probs" and "logits" in held:
            return logits_to_probs(held["logits"], self._binary)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
