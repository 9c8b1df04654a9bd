"""Distances and similarities of vectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.tape.node import new_handle
from pullback.tensor.dispatch import as_handle
from pullback.values.shape import broadcast_shapes

__all__ = ["cosine_similarity", "pairwise_distance", "pdist"]


def pairwise_distance(x1: Any, x2: Any, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Any:
    """The p-norm of x1 - x2 + eps along the last axis."""
    return (x1 - x2 + eps).norm(p, -1, keepdim=keepdim)


def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    """x1·x2/(‖x1‖‖x2‖) along `dim` of both, broadcast together, each norm being at least `eps`."""
    shape = broadcast_shapes(tuple(x1.shape), tuple(x2.shape))
    a, b = (as_handle(x).expand(shape) for x in (x1, x2))
    units = [x / x.norm(2, dim, keepdim=True).clamp(min=eps) for x in (a, b)]
    return (units[0] * units[1]).sum(dim)


def pdist(input: Any, p: float = 2.0) -> Any:
    """The p-norms of the differences of all pairs of rows of `input` (n, features): (n·(n - 1)/2), pairs (0, 1), (0, 2)
    and so on. The slope of a distance of 0 is 0. Raises `RuntimeError` for another rank or a negative p.
    """
    x = as_handle(input)
    if len(x.shape) != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {len(x.shape)}D")
    if p < 0:
        raise RuntimeError("pdist only supports non-negative p values")
    first, second = np.triu_indices(x.shape[0], 1)
    return (x.index_select(0, new_handle(first)) - x.index_select(0, new_handle(second))).norm(p, -1)
