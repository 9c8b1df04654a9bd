"""Losses with margins: of scores, labels 1 and -1, classes, and distances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.nn.functional.distance import pairwise_distance
from pullback.nn.functional.loss import legacy_reduction, reduced
from pullback.ops.activation import logsigmoid
from pullback.ops.elementwise import where
from pullback.tape.node import new_handle
from pullback.tensor.arithmetic import relu
from pullback.tensor.dispatch import as_handle
from pullback.values.dtype import type_name

__all__ = [
    "cosine_embedding_loss",
    "hinge_embedding_loss",
    "margin_ranking_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "soft_margin_loss",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]


def hinge_embedding_loss(
    input: Any,
    target: Any,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    """`input` where the target is 1, max(0, margin - input) where it is -1."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    apart = where(target != 1, (margin - input).clamp(min=0), 0.0)
    return reduced(apart + where(target != -1, input, 0.0), reduction)


def margin_ranking_loss(
    input1: Any,
    input2: Any,
    target: Any,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    """max(0, margin - target·(input1 - input2)): `target` 1 ranks the first higher, -1 the second."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    if not len(input1.shape) == len(input2.shape) == len(target.shape):
        raise RuntimeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: "
            f"input1: {input1.shape}, input2: {input2.shape}, target: {target.shape} "
        )
    return reduced((-target * (input1 - input2) + margin).clamp(min=0), reduction)


def soft_margin_loss(
    input: Any,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    """log(1 + exp(-target·input)) for targets 1 and -1."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    return reduced(-logsigmoid(target * input), reduction)


def multilabel_soft_margin_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    """The mean over classes of the binary cross entropy of logits (..., classes) to targets 0 and 1."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    losses = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    if weight is not None:
        losses = losses * weight
    return reduced(losses.sum(-1) / input.shape[-1], reduction)


def _classes(input: Any, target: Any) -> tuple[Any, Any]:
    """Scores as rows (n, classes), and class indices. Raises `RuntimeError` for shapes that don't fit."""
    x, t = as_handle(input), as_handle(target)
    if t._value.dtype != np.int64:
        raise RuntimeError(f"expected scalar type Long but found {type_name(t._value.dtype)}")
    if len(x.shape) > 2 or (len(x.shape) == 2 and not x.shape[1]):
        raise RuntimeError(
            f"Expected non-empty vector or matrix with optional 0-dim batch size, but got: {list(x.shape)}"
        )
    return x if len(x.shape) == 2 else x.reshape(1, -1), t


def multi_margin_loss(
    input: Any,
    target: Any,
    p: int = 1,
    margin: float = 1.0,
    weight: Any = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    """The mean over classes of max(0, margin - input[target] + input)^p without the target's own, for p 1 or 2.

    `input` is (n, classes) or (classes), `target` (n) or a number, `weight` (classes). The slope at the margin is 0.
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    x, given = _classes(input, target)
    n, classes = x.shape
    t = given.reshape(-1)
    if t.shape[0] != n:
        raise RuntimeError(
            "multi_margin_loss: target tensor should be 1-D with size equal to the number of input samples (batch "
            f"size). Expected target size [{n}], but got {list(given.shape)}."
        )
    own = t.reshape(n, 1)
    gaps = relu(x - x.gather(1, own) + margin)
    if p == 2:
        gaps = gaps * gaps
    if weight is not None:
        gaps = gaps * as_handle(weight)[t].reshape(n, 1)
    others = own != new_handle(np.arange(classes))
    losses = where(others, gaps, 0.0).sum(1) / classes
    return reduced(losses.reshape(given.shape) if len(input.shape) < 2 else losses, reduction)


def multilabel_margin_loss(
    input: Any,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    """The sum over classes y of the target and classes i that are none of it of max(0, 1 - input[y] + input[i]), over
    the number of classes.

    Both are (n, classes) or (classes). The target's classes are those before the first -1. The slope at the margin is
    0.
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    x, given = _classes(input, target)
    if tuple(given.shape) != tuple(input.shape):
        raise RuntimeError(f"inconsistent target size: {list(given.shape)} for input of size: {list(input.shape)}")
    n, classes = x.shape
    t = given.reshape(n, classes)
    listed = (t < 0).cumsum(1) == 0
    own = where(listed, t, 0)
    named = listed.unsqueeze(2) & (own.unsqueeze(2) == new_handle(np.arange(classes)))
    pairs = listed.unsqueeze(2) & ~named.any(1).unsqueeze(1)
    gaps = relu(1 - x.gather(1, own).unsqueeze(2) + x.unsqueeze(1))
    losses = where(pairs, gaps, 0.0).sum((1, 2)) / classes
    return reduced(losses.reshape(()) if len(input.shape) < 2 else losses, reduction)


def cosine_embedding_loss(
    input1: Any,
    input2: Any,
    target: Any,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    """1 - cos of the angle between the inputs where the target is 1, max(0, cos - margin) where it is -1."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    tiny = 1e-12  # as PyTorch: keeps the quotient finite for zero vectors
    product = (input1 * input2).sum(-1)
    cos = product / (((input1 * input1).sum(-1) + tiny) * ((input2 * input2).sum(-1) + tiny)).sqrt()
    alike = where(target == 1, 1 - cos, 0.0)
    return reduced(alike + where(target == -1, (cos - margin).clamp(min=0), 0.0), reduction)


def triplet_margin_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    """max(0, d(anchor, positive) - d(anchor, negative) + margin) with the p-norm of the difference as d; `swap` takes
    d(positive, negative) where that is smaller.
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")

    def distance(a: Any, b: Any) -> Any:
        return pairwise_distance(a, b, p, eps)

    return reduced(_triplet(distance, anchor, positive, negative, margin, swap), reduction)


def triplet_margin_with_distance_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    *,
    distance_function: Callable[[Any, Any], Any] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Any:
    """max(0, d(anchor, positive) - d(anchor, negative) + margin) with `distance_function` as d, `pairwise_distance`
    unless given; `swap` takes d(positive, negative) where that is smaller.
    """
    reduction = legacy_reduction(None, None, reduction)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    ranks = [len(x.shape) for x in (anchor, positive, negative)]
    if len(set(ranks)) > 1:
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of dimensions, but got: "
            f"anchor {ranks[0]}D, positive {ranks[1]}D, and negative {ranks[2]}D inputs"
        )
    distance = pairwise_distance if distance_function is None else distance_function
    return reduced(_triplet(distance, anchor, positive, negative, margin, swap), reduction)


def _triplet(
    distance: Callable[[Any, Any], Any], anchor: Any, positive: Any, negative: Any, margin: float, swap: bool
) -> Any:
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = far.minimum(distance(positive, negative))
    return (near - far + margin).clamp(min=0)
