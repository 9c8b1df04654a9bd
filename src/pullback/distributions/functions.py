"""What distributions compute with: functions of tensors, and the noise that samples are made from."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pullback.ops import gammas as _gammas
from pullback.ops.activation import logsigmoid as _logsigmoid
from pullback.ops.activation import softplus as _softplus
from pullback.ops.sampling import gamma_sample
from pullback.tape.node import Handle, new_handle
from pullback.tensor.conversion import numbers
from pullback.tensor.creation import dtype_of
from pullback.tensor.dispatch import apply, as_handle, promoted, to_dtype, unary
from pullback.tensor.random import as_drawn
from pullback.tensor.shaping import broadcast_tensors

__all__ = [
    "EULER",
    "broadcast_all",
    "digamma",
    "eps",
    "extended",
    "filled",
    "gamma_draw",
    "levels",
    "lgamma",
    "log_beta",
    "log_gamma_draw",
    "logits_to_probs",
    "logsigmoid",
    "noise",
    "plain",
    "probs_to_logits",
    "softplus",
    "sum_last",
    "tensor_of",
    "tiny",
    "trigamma",
    "uniform_noise",
]

EULER = float(np.euler_gamma)

lgamma, digamma, logsigmoid = unary(_gammas.lgamma), unary(_gammas.digamma), unary(_logsigmoid)


def softplus(x: Any) -> Any:
    """log(1 + exp(x)), without overflow."""
    return apply(_softplus, x, floating=True, beta=1.0, threshold=math.inf)


def trigamma(x: Any) -> Any:
    """The derivative of digamma."""
    return apply(_gammas.polygamma, x, floating=True, n=1)


def log_beta(a: Any, b: Any) -> Any:
    """The logarithm of the beta function."""
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def broadcast_all(*values: Any) -> tuple[Any, ...]:
    """Parameters, tensors or numbers, as tensors of one shape; numbers (NumPy's too) take the dtype of the tensors.

    Raises `ValueError` for what is neither.
    """
    for value in values:
        if not isinstance(value, Handle | np.ndarray | np.generic | int | float):
            raise ValueError("Input arguments must all be instances of Number, torch.Tensor or objects with numbers")
    dtype = promoted(*values, floating=True)
    return tuple(broadcast_tensors(*(_as_dtype(value, dtype) for value in values)))


def _as_dtype(value: Any, dtype: np.dtype[Any]) -> Any:
    if not isinstance(value, Handle | np.ndarray):
        return new_handle(np.asarray(value, dtype)[()])
    handle = as_handle(value)
    return handle if handle._value.dtype.kind == "f" else to_dtype(handle, dtype)


def tensor_of(value: Any) -> Any:
    """A parameter that is one array: a tensor of it, in the default float if it is a list."""
    if isinstance(value, list | tuple):
        return new_handle(np.asarray(value, dtype_of(None)))
    return as_handle(value)


def filled(like: Any, value: float) -> Any:
    """`value` everywhere, in the shape and dtype of `like`."""
    return new_handle(np.full(tuple(like.shape), value, like._value.dtype)[()])


def extended(x: Any, shape: Any) -> Any:
    """`x` spread over `shape`."""
    return x if tuple(x.shape) == tuple(shape) else x.expand(tuple(shape))


def eps(x: Any) -> float:
    """The rounding unit of the dtype of `x`."""
    return float(np.finfo(x._value.dtype).eps)


def tiny(x: Any) -> float:
    """The smallest normal number of the dtype of `x`."""
    return float(np.finfo(x._value.dtype).tiny)


def sum_last(x: Any, ndims: int) -> Any:
    """The sum over the last `ndims` dimensions."""
    return x.sum(tuple(range(-ndims, 0))) if ndims else x


def plain(x: Any) -> bool:
    """Whether the numbers of `x` can be looked at: no transform is working on it."""
    try:
        numbers(x, "")
    except TypeError:
        return False
    return True


def uniform_noise(rng: np.random.Generator, shape: Any, like: Any) -> Any:
    """Numbers evenly distributed in the open interval (0, 1), in the dtype of `like`."""
    return noise(_open(rng, shape, np.finfo(like._value.dtype).nmant), like)


def levels(rng: np.random.Generator, shape: Any) -> Any:
    """float64 numbers evenly distributed in the open interval (0, 1): the levels of quantiles."""
    return as_drawn(_open(rng, shape, 52), np.float64)


def _open(rng: np.random.Generator, shape: Any, bits: int) -> Any:
    return (as_drawn(rng.integers(0, 1 << bits, tuple(shape)), np.float64) + 0.5) * 0.5**bits


def noise(array: Any, like: Any) -> Any:
    """A tensor of drawn numbers, in the dtype of `like`."""
    return as_drawn(array, like._value.dtype)


def probs_to_logits(probs: Any, is_binary: bool = False) -> Any:
    """log p, or log(p / (1 - p)) for the probabilities of a binary choice; p is kept off 0 and 1 by a rounding unit."""
    p = probs.clamp(eps(probs), 1 - eps(probs))
    return p.log() - (-p).log1p() if is_binary else p.log()


def logits_to_probs(logits: Any, is_binary: bool = False) -> Any:
    """The probabilities of which `logits` are the log-odds (if binary) or the logarithms, up to a constant."""
    return logits.sigmoid() if is_binary else logits.softmax(-1)


def log_gamma_draw(concentration: Any, shape: Any, rng: np.random.Generator) -> Any:
    """Logarithms of gamma-distributed numbers, as functions of their shape parameter a.

    As G(a) = G(a + 1)·U^(1/a), in logarithms, where small a do not make zeros.
    """
    whole = gamma_draw(concentration + 1, shape, rng)
    return whole.log() - noise(rng.standard_exponential(tuple(shape)), concentration) / concentration


def gamma_draw(concentration: Any, shape: Any, rng: np.random.Generator) -> Any:
    """Gamma-distributed numbers, as functions of their shape parameter."""
    return gamma_sample(concentration, levels(rng, shape))
