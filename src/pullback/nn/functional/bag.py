"""Sums, means and maxima of bags of rows of a table."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from pullback.nn.functional.layer import embedding, padding_row
from pullback.ops.elementwise import where
from pullback.ops.index import gather, scatter_add, take_along
from pullback.ops.reduce import argmax
from pullback.tape.node import new_handle
from pullback.tensor.dispatch import as_handle, is_raw

__all__ = ["embedding_bag"]


def embedding_bag(
    input: Any,
    weight: Any,
    offsets: Any = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Any = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Any:
    """For each bag of row numbers the "sum", "mean" or "max" of these rows of `weight`: (bags, features).

    `input` has a bag in each row (bags, size), or all bags one after another, which begin at `offsets`; with
    `include_last_offset` the last of these is where the last bag ends. An empty bag gives 0. Row `padding_idx` does not
    count. `per_sample_weights`, of the shape of `input`, multiply the rows of a sum. The gradient of a maximum goes to
    the first of equals. Raises `ValueError`, as PyTorch, for what doesn't fit; `sparse` is not supported.
    """
    index, table = as_handle(input), as_handle(weight)
    if table._value.dtype.kind in "iu" and index._value.dtype.kind == "f":
        warnings.warn(
            "Argument order of nn.functional.embedding_bag was changed. Usage `embedding_bag(weight, input, ...)` is "
            "deprecated, and should now be `embedding_bag(input, weight, ...)`.",
            stacklevel=2,
        )
        index, table = table, index
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
    if per_sample_weights is not None:
        if tuple(per_sample_weights.shape) != tuple(index.shape):
            raise ValueError(
                f"embedding_bag: If per_sample_weights ({per_sample_weights.shape}) is not None, "
                f"then it must have the same shape as the input ({index.shape})"
            )
        if mode != "sum":
            raise NotImplementedError(
                "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported for mode='sum' "
                f"(got mode='{mode}')."
            )
    if len(table.shape) != 2:
        raise ValueError(f"weight has to be a 2D Tensor, but got Tensor of dimension {len(table.shape)}")
    if mode == "max" and (scale_grad_by_freq or sparse):
        raise ValueError(
            "max mode does not support " + ("sparse weights" if sparse else "scaling the gradient by the frequency")
        )
    starts = _starts(index, offsets, include_last_offset)
    numbers = _known(index, "input").reshape(-1)
    bags = np.searchsorted(starts[:-1], np.arange(len(numbers)), side="right") - 1
    padding = padding_row(padding_idx, table.shape[0])
    counts = numbers != padding if padding is not None else np.ones(len(numbers), np.bool_)
    rows = embedding(new_handle(numbers), table, padding_idx, max_norm, float(norm_type), scale_grad_by_freq, sparse)
    weights = None if per_sample_weights is None else as_handle(per_sample_weights).reshape(-1)
    if not counts.all():
        kept = np.flatnonzero(counts)
        rows, bags = gather(rows, kept), bags[kept]
        weights = None if weights is None else gather(weights, kept)
    if mode == "max":
        return _largest(rows, bags, len(starts) - 1)
    if weights is not None:
        rows = rows * weights.unsqueeze(-1)
    total = scatter_add(rows, bags, shape=(len(starts) - 1, table.shape[1]))
    if mode == "sum":
        return total
    sizes = np.maximum(np.bincount(bags, minlength=len(starts) - 1), 1).astype(table._value.dtype)
    return total / new_handle(sizes[:, None])


def _known(x: Any, what: str) -> Any:
    if not is_raw(x):
        raise TypeError(f"embedding_bag: {what} must be known numbers; they can't be batched or traced")
    return x._value


def _starts(index: Any, offsets: Any, include_last: bool) -> Any:
    """Where each bag begins, and where the last one ends."""
    rank, size = len(index.shape), index._value.size
    if rank == 2:
        if offsets is not None:
            raise ValueError(
                "if input is 2D, then offsets has to be None, as input is treated is a mini-batch of fixed length "
                f"sequences. However, found offsets of type {type(offsets)}"
            )
        return np.arange(index.shape[0] + 1) * index.shape[1]
    if rank != 1:
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {rank}")
    if offsets is None:
        raise ValueError("offsets has to be a 1D Tensor but got None")
    starts = _known(as_handle(offsets), "offsets")
    if starts.ndim != 1:
        raise ValueError("offsets has to be a 1D Tensor")
    if include_last and not len(starts):
        raise RuntimeError("include_last_offset: number of offset should be at least 1")
    if len(starts) and starts[0]:
        raise RuntimeError(
            f"offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from position 0. "
            f"However, got {starts[0]}"
        )
    if len(starts) and starts[-1] > size:
        raise RuntimeError(
            f"offsets[-1] can not be greater than input's length({size}), but got offsets[-1] of {starts[-1]}"
        )
    return starts if include_last else np.append(starts, size)


def _largest(rows: Any, bags: Any, count: int) -> Any:
    """The maximum over the rows of each bag, which are in the bags' order."""
    sizes = np.bincount(bags, minlength=count)
    longest = int(sizes.max(initial=0))
    if not longest:
        return rows.sum(0).expand(count, rows.shape[1])
    slots = np.arange(longest)
    inside = slots < sizes[:, None]
    places = np.where(inside, (np.cumsum(sizes) - sizes)[:, None] + slots, 0)
    padded = where(new_handle(inside[..., None]), gather(rows, places), -np.inf)
    best = take_along(padded, argmax(padded, axis=1, keepdims=True), 1).squeeze(1)
    return where(new_handle((sizes > 0)[:, None]), best, 0.0)
