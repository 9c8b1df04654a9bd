"""Dropout: of elements, of whole channels, and the kinds that keep what SELU needs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.nn.functional.axes import shape_of
from pullback.ops.elementwise import add, mul
from pullback.tape.node import new_handle
from pullback.tensor.dispatch import as_handle
from pullback.tensor.inplace import update
from pullback.tensor.random import drawn

__all__ = ["alpha_dropout", "dropout", "dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout"]

_BOUND = -1.7580993408473766  # where SELU tends to on the left: -scale·alpha


def check_probability(p: float) -> None:
    """Raise `ValueError` for a probability of dropout outside [0, 1]."""
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def _choices(x: Any, lead: int | None) -> Any:
    """The shape of what is chosen; with `lead` the choice is one for all elements beyond that many dimensions."""
    shape = shape_of(x)
    if lead is not None:
        if len(shape) < 2:
            raise RuntimeError("Feature dropout requires at least 2 dimensions in the input")
        shape = (*shape[:lead], *(1,) * (len(shape) - lead))
    return shape


def _kept(rng: np.random.Generator, p: float, shape: Any) -> Any:
    """Which elements are kept, at random."""
    return rng.random(shape, np.float32) >= p if p < 1 else np.zeros(shape, bool)


def _dropped(input: Any, p: float, training: bool, inplace: bool, lead: int | None = None) -> Any:
    check_probability(p)
    x = as_handle(input)
    if not training or p == 0:
        return x
    dtype = x._value.dtype
    shape, scale = _choices(x, lead), dtype.type(1 / (1 - p) if p < 1 else 0)
    mask = new_handle(drawn(lambda rng: np.asarray(_kept(rng, p, shape) * scale, dtype)))
    return update(x, mul, mask) if inplace else x * mask


def _alpha_dropped(input: Any, p: float, training: bool, inplace: bool, lead: int | None = None) -> Any:
    check_probability(p)
    x = as_handle(input)
    if not training or p == 0:
        return x
    scale = 1 / math.sqrt((1 - p) * (1 + p * _BOUND * _BOUND)) if p < 1 else 0.0
    dtype = x._value.dtype
    shape = _choices(x, lead)
    kept = new_handle(drawn(lambda rng: np.asarray(_kept(rng, p, shape), dtype)))
    mask = kept * scale
    shift = (1 - kept) * (scale * _BOUND) - scale * p * _BOUND
    if inplace:
        return update(update(x, mul, mask), add, shift)
    return x * mask + shift


def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """In training, each element is 0 with probability `p` and divided by 1 - p otherwise; else the input itself."""
    return _dropped(input, p, training, inplace)


def alpha_dropout(input: Any, p: float = 0.5, training: bool = False, inplace: bool = False) -> Any:
    """Dropout that keeps mean 0 and variance 1 of SELU's outputs: dropped elements are set to SELU's lower bound."""
    return _alpha_dropped(input, p, training, inplace)


def feature_alpha_dropout(input: Any, p: float = 0.5, training: bool = False, inplace: bool = False) -> Any:
    """`alpha_dropout` of whole channels (n, channels, ...)."""
    return _alpha_dropped(input, p, training, inplace, 2)


def _channel_dropout(rank: int) -> Callable[..., Any]:
    def drop(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
        x = as_handle(input)
        ndim = len(shape_of(x))
        if rank == 1 and ndim not in (2, 3):
            raise RuntimeError(f"dropout1d: Expected 2D or 3D input, but received a {ndim}D input.")
        alone = ndim == rank + 1 and rank != 2  # in two PyTorch takes three dimensions for (n, channels, length)
        return _dropped(x, p, training, inplace, 1 if alone else 2)

    drop.__name__ = drop.__qualname__ = f"dropout{rank}d"
    drop.__doc__ = (
        f"Dropout of whole channels (n, channels, ...) over {rank} more dimensions: each is 0 with probability `p`."
    )
    return drop


dropout1d, dropout2d, dropout3d = map(_channel_dropout, (1, 2, 3))
