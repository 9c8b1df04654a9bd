"""Losses of class indices and class probabilities."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pullback.nn.functional.layer import linear
from pullback.nn.functional.loss import legacy_reduction
from pullback.ops import losses as l
from pullback.ops import nn
from pullback.ops.elementwise import where
from pullback.ops.shape import reshape
from pullback.tape.memory import keep_both
from pullback.tape.node import Handle, Node, edge_of, make, new_handle, set_node
from pullback.tape.state import modes
from pullback.tensor.dispatch import as_handle
from pullback.tensor.joining import cat, stack
from pullback.transforms.checkpoint import checkpoint
from pullback.values.dtype import type_name

__all__ = ["LinearCrossEntropyOptions", "cross_entropy", "linear_cross_entropy", "nll_loss"]


def _check_classes(x: Any, t: Any) -> None:
    """Raise `ValueError` or `RuntimeError`, as PyTorch, for a prediction and class indices that don't fit."""
    rank = len(x.shape)
    if t._value.dtype.kind not in "iu":
        raise RuntimeError(f"expected scalar type Long but found {type_name(t._value.dtype)}")
    if not rank:
        raise ValueError("Expected 1 or more dimensions (got 0)")
    if rank > 1 and len(t.shape) and x.shape[0] != t.shape[0]:
        raise ValueError(f"Expected input batch_size ({x.shape[0]}) to match target batch_size ({t.shape[0]}).")
    expected = (x.shape[0], *x.shape[2:]) if rank > 1 else ()
    if tuple(t.shape) != tuple(expected):
        raise RuntimeError(f"Expected target size {list(expected)}, got {list(t.shape)}")


def _as_rows(x: Any, t: Any) -> tuple[Any, Any]:
    """Scores (n, classes, ...) and indices (n, ...) as rows (m, classes) and (m,)."""
    rank = len(x.shape)
    if rank == 1:
        return reshape(x, shape=(1, x.shape[0])), reshape(t, shape=(1,))
    if rank > 2:
        x = x.movedim(1, -1)
        x = reshape(x, shape=(t._value.size, x.shape[-1]))
        t = reshape(t, shape=(t._value.size,))
    return x, t


def nll_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    """-input at the target's class, of log-probabilities (n, classes, ...) and class indices (n, ...).

    The mean is over the targets that are not `ignore_index`, weighted by their classes' weights. Raises `IndexError`
    for a target that is no class.
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    x, t = as_handle(input), as_handle(target)
    _check_classes(x, t)
    rows, targets = _as_rows(x, t)
    if weight is None:
        y = l.nll_loss(rows, targets, reduction=reduction, ignore_index=ignore_index)
        return y if reduction != "none" else y.reshape(t.shape)
    losses, weights = _weighted(rows, targets, weight, ignore_index)
    if reduction == "none":
        return losses.reshape(t.shape)
    return losses.sum() if reduction == "sum" else losses.sum() / weights.sum()


def _weighted(rows: Any, targets: Any, weight: Any, ignore_index: int) -> tuple[Any, Any]:
    """The weighted loss of each row, and its weight: 0 where it is ignored."""
    classes = rows.shape[1]
    w = as_handle(weight)
    if tuple(w.shape) != (classes,):
        raise RuntimeError(
            "weight tensor should be defined either for all or no classes: "
            f"expected shape {[classes]}, got {list(w.shape)}"
        )
    losses = l.nll_loss(rows, targets, reduction="none", ignore_index=ignore_index)
    kept = targets != ignore_index
    weights = where(kept, w[where(kept, targets, 0)], 0.0)
    return losses * weights, weights


def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """The cross entropy of scores (n, classes, ...) to class indices (n, ...) or to class probabilities.

    `weight` has one number for each class; `label_smoothing` mixes the target with that share of the uniform
    distribution. Indices equal to `ignore_index` don't count. Raises `IndexError` for a target that is no class.

    >>> import pullback as pb
    >>> pb.nn.functional.cross_entropy(pb.tensor([[0.0, 0.0]]), pb.tensor([1]))
    tensor(0.6931)
    """
    if weight is None and not label_smoothing and modes.fast == 2 and size_average is None and reduce is None:
        y = _recorded(input, target, reduction, ignore_index)
        if y is not None:
            return y
    reduction = legacy_reduction(size_average, reduce, reduction)
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    x, t = as_handle(input), as_handle(target)
    if tuple(x.shape) == tuple(t.shape):
        return _cross_entropy_of_probabilities(x, t, weight, reduction, label_smoothing)
    _check_classes(x, t)
    rows, targets = _as_rows(x, t)
    if weight is None and not label_smoothing:
        y = l.cross_entropy(rows, targets, reduction=reduction, ignore_index=ignore_index)
        return y if reduction != "none" else y.reshape(t.shape)
    logs = nn.log_softmax(rows, axis=1)
    w = new_handle(np.ones(rows.shape[1], rows._value.dtype)) if weight is None else as_handle(weight)
    losses, weights = _weighted(logs, targets, w, ignore_index)
    if label_smoothing:
        smooth = where(targets != ignore_index, -(logs * w).sum(1), 0.0)
        losses = losses * (1 - label_smoothing) + smooth * (label_smoothing / rows.shape[1])
    if reduction == "none":
        return losses.reshape(t.shape)
    return losses.sum() if reduction == "sum" else losses.sum() / weights.sum()


def _recorded(input: Any, target: Any, reduction: str, ignore_index: int) -> Any:
    """The plain case at once: scores (n, classes), indices (n,), a mean or a sum. None for any other.

    The node keeps what the backward pass would compute again.
    """
    if not isinstance(input, Handle) or not isinstance(target, Handle) or reduction not in ("mean", "sum"):
        return None
    x, t = input._value, target._value
    if x.ndim != 2 or t.ndim != 1 or t.dtype.kind != "i" or x.dtype.itemsize < 4 or x.dtype.kind != "f":
        return None
    if len(t) != len(x):
        return None
    y, parts = l.cross_entropy_parts(x, t, reduction, ignore_index)
    if input._node is None:
        return new_handle(y)
    saved, versions = keep_both(None, input, target)
    node = set_node(
        make(Node),
        l.cross_entropy,
        (edge_of(input), None),
        (*saved, parts),
        (*versions, 0),
        {"reduction": reduction, "ignore_index": ignore_index},
    )
    return new_handle(y, node)


def _cross_entropy_of_probabilities(x: Any, t: Any, weight: Any, reduction: str, label_smoothing: float) -> Any:
    if t._value.dtype.kind != "f":
        raise RuntimeError(
            "Expected floating point type for target with class probabilities, got " + type_name(t._value.dtype)
        )
    rank = len(x.shape)
    axis = 1 if rank > 1 else 0
    classes = x.shape[axis]
    if label_smoothing:
        t = t * (1 - label_smoothing) + label_smoothing / classes
    losses = nn.log_softmax(x, axis=axis) * t
    if weight is not None:
        losses = losses * as_handle(weight).reshape(classes, *(1,) * (rank - 1 - axis))
    if reduction == "none":
        return -losses.sum(axis)
    total = -losses.sum()
    return total / (x._value.size // classes) if reduction == "mean" else total


# Of the results of a linear layer


@dataclass(frozen=True, slots=True)
class LinearCrossEntropyOptions:
    """How `linear_cross_entropy` goes through the rows: `batch_chunk_size` at a time, so that no more scores than that
    exist at once. None takes as many as have twice as many scores as there are inputs.

    The other options choose among PyTorch's kernels and have no effect here.
    """

    allow_retain_graph: bool = False
    batch_chunk_size: int | None = None
    chunking_method: str | None = "auto"
    acc_policy: str = "auto"
    acc_dtype: Any = None


def linear_cross_entropy(
    input: Any,
    linear_weight: Any,
    target: Any,
    *,
    linear_bias: Any = None,
    weight: Any = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: LinearCrossEntropyOptions | None = None,
) -> Any:
    """cross_entropy(linear(input, linear_weight, linear_bias), target) of an input (n, in) or (in).

    `linear_weight` is (classes, in), or (classes, ..., in) for scores (n, classes, ...). With `options` the rows are
    taken in chunks whose scores are not kept: the backward pass computes them again. Raises `RuntimeError` for shapes
    that don't fit.
    """
    x, w, t = as_handle(input), as_handle(linear_weight), as_handle(target)
    if len(x.shape) not in (1, 2):
        raise RuntimeError(f"expected input with dimensionality 1 or 2, got {len(x.shape)}")
    if len(w.shape) < 2:
        raise RuntimeError(f"expected linear_weight with dimensionality at least 2, got {len(w.shape)}")
    if x.shape[-1] != w.shape[-1]:
        raise RuntimeError(
            "expected equal input and linear_weight last dimensions (in_features), "
            f"got {x.shape[-1]} and {w.shape[-1]}, respectively"
        )
    classes = tuple(w.shape[:-1])
    if linear_bias is not None and tuple(linear_bias.shape) != classes:
        raise RuntimeError(f"expected linear_bias shape {classes}, got {tuple(linear_bias.shape)}")
    if len(classes) > 1 and len(x.shape) == 1:
        raise RuntimeError(
            f"K-dimensional loss defined by linear_weight shape {tuple(w.shape)} requires batched input, "
            f"(N, {x.shape[-1]}), got unbatched input with shape {tuple(x.shape)}"
        )
    if tuple(t.shape) == (*x.shape[:-1], *classes) and ignore_index is not None:
        raise RuntimeError("ignore_index cannot be specified when target contains probabilities")
    ignored = -100 if ignore_index is None else ignore_index
    flat = w.reshape(-1, x.shape[-1]), None if linear_bias is None else linear_bias.reshape(-1)

    def loss(rows: Any, targets: Any, reduction: str) -> Any:
        scores = linear(rows, *flat).reshape(*rows.shape[:-1], *classes)
        return cross_entropy(
            scores, targets, weight, ignore_index=ignored, reduction=reduction, label_smoothing=label_smoothing
        )

    if options is None or len(x.shape) == 1 or not x.shape[0]:
        return loss(x, t, reduction)
    reduction = legacy_reduction(None, None, reduction)
    size = options.batch_chunk_size or max(1, 2 * x._value.size // math.prod(classes))
    parts = [
        checkpoint(loss)(x[i : i + size], t[i : i + size], "none" if reduction == "none" else "sum")
        for i in range(0, x.shape[0], size)
    ]
    if reduction == "none":
        return cat(parts)
    total = stack(parts).sum()
    return total if reduction == "sum" else total / _weight_of(t, classes, weight, ignored)


def _weight_of(t: Any, classes: tuple[int, ...], weight: Any, ignore_index: int) -> Any:
    """What the mean of a cross entropy divides by: the number of targets, or the weight of their classes."""
    if t._value.dtype.kind == "f":
        return t._value.size // classes[0]
    kept = t != ignore_index
    if weight is None:
        return kept.sum()
    return where(kept, as_handle(weight)[where(kept, t, 0)], 0.0).sum()
