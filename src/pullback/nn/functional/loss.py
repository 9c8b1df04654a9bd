"""Losses of tensors, under PyTorch's names: prediction and target to a number, or to one for each element (`none`)."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from pullback.nn.functional.layer import pairwise_distance
from pullback.ops import losses as l
from pullback.ops import nn
from pullback.ops.activation import logsigmoid
from pullback.ops.elementwise import where
from pullback.ops.shape import broadcast_to, reshape
from pullback.ops.table import Op
from pullback.tape.node import Handle, Node, edge_of, make, new_handle, set_node, version_of
from pullback.tape.state import modes
from pullback.tensor.dispatch import as_handle, to_dtype
from pullback.values.dtype import promote, type_name
from pullback.values.shape import broadcast_shapes

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cosine_embedding_loss",
    "cross_entropy",
    "gaussian_nll_loss",
    "hinge_embedding_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "margin_ranking_loss",
    "mse_loss",
    "multi_margin_loss",
    "multilabel_soft_margin_loss",
    "nll_loss",
    "poisson_nll_loss",
    "smooth_l1_loss",
    "soft_margin_loss",
    "triplet_margin_loss",
]


# What they share


def legacy_reduction(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """The reduction meant by PyTorch's deprecated flags, if they are given. Raises `ValueError` for an unknown one."""
    if size_average is not None or reduce is not None:
        reduction = "none" if reduce is False else "sum" if size_average is False else "mean"
        warnings.warn(
            f"size_average and reduce args will be deprecated, please use reduction='{reduction}' instead.",
            stacklevel=3,
        )
    if reduction not in l.REDUCTIONS:
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return reduction


def _reduced(losses: Any, reduction: str) -> Any:
    if reduction == "none":
        return losses
    return losses.mean() if reduction == "mean" else losses.sum()


def _floats(name: str, *tensors: Any) -> list[Any]:
    """Operands as tensors of one floating-point dtype."""
    handles = [as_handle(x) for x in tensors]
    dtype = promote(*((x._value.dtype, len(x._value.shape), None) for x in handles))
    if dtype.kind not in "fc":
        raise NotImplementedError(f"\"{name}_cpu\" not implemented for '{type_name(dtype)}'")
    return [to_dtype(x, dtype) for x in handles]


def _pair(name: str, input: Any, target: Any) -> list[Any]:
    """Prediction and target in one dtype and shape; a warning if they had to be broadcast."""
    if isinstance(input, Handle) and isinstance(target, Handle):
        x, t = input._value, target._value
        if x.dtype is t.dtype and x.shape == t.shape and x.dtype.kind in "fc":
            return [input, target]
    pair = _floats(name, input, target)
    shapes = [tuple(x.shape) for x in pair]
    if shapes[0] == shapes[1]:
        return pair
    warnings.warn(
        f"Using a target size ({pair[1].shape}) that is different to the input size ({pair[0].shape}). This will "
        "likely lead to incorrect results due to broadcasting. Please ensure they have the same size.",
        stacklevel=4,
    )
    try:
        shape = broadcast_shapes(*shapes)
    except ValueError:
        raise RuntimeError(
            f"The size of the input {list(shapes[0])} does not match that of the target {list(shapes[1])}"
        ) from None
    return [x if tuple(x.shape) == shape else broadcast_to(x, shape=shape) for x in pair]


def _pointwise(op: Op, input: Any, target: Any, weight: Any, flags: tuple[Any, Any, str], **params: Any) -> Any:
    reduction = flags[2] if flags[:2] == (None, None) and flags[2] in l.REDUCTIONS else legacy_reduction(*flags)
    x, t = _pair(op.name, input, target)
    if weight is None:
        return op(x, t, reduction=reduction, **params)
    if tuple(weight.shape) != tuple(input.shape):
        raise ValueError("Weights and input must have the same size.")
    losses = op(x, t, reduction="none", **params) * weight
    if reduction == "mean" and op is not l.huber_loss:  # PyTorch divides by the weights, but not here
        return losses.sum() / weight.sum()
    return _reduced(losses, reduction)


# Differences


def mse_loss(
    input: Any,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Any = None,
) -> Any:
    """(input - target)²; with weights, the mean is the weighted one."""
    return _pointwise(l.mse_loss, input, target, weight, (size_average, reduce, reduction))


def l1_loss(
    input: Any,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Any = None,
) -> Any:
    """|input - target|; with weights, the mean is the weighted one."""
    return _pointwise(l.l1_loss, input, target, weight, (size_average, reduce, reduction))


def smooth_l1_loss(
    input: Any,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Any:
    """(input - target)²/(2·beta) where they differ by less than `beta`, |input - target| - beta/2 elsewhere."""
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    return _pointwise(l.smooth_l1_loss, input, target, None, (size_average, reduce, reduction), beta=float(beta))


def huber_loss(input: Any, target: Any, reduction: str = "mean", delta: float = 1.0, weight: Any = None) -> Any:
    """(input - target)²/2 where they differ by at most `delta`, delta·(|input - target| - delta/2) elsewhere.

    Weights multiply it; the mean is then not divided by them.
    """
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    return _pointwise(l.huber_loss, input, target, weight, (None, None, reduction), delta=float(delta))


# Probabilities


def binary_cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    """-target·log(input) - (1 - target)·log(1 - input) of probabilities, the logs held above -100.

    Raises `ValueError` for unlike sizes, `RuntimeError` for an input outside [0, 1].
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    x, t = _floats("binary_cross_entropy", input, target)
    if tuple(x.shape) != tuple(t.shape):
        raise ValueError(
            f"Using a target size ({t.shape}) that is different to the input size ({x.shape}) is deprecated. "
            "Please ensure they have the same size."
        )
    if weight is None:
        return l.binary_cross_entropy(x, t, reduction=reduction)
    return _reduced(l.binary_cross_entropy(x, t, reduction="none") * weight, reduction)


def binary_cross_entropy_with_logits(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Any = None,
) -> Any:
    """binary_cross_entropy(sigmoid(input), target), exact for logits of any size; `pos_weight` multiplies the loss of
    positives. Raises `ValueError` for unlike sizes.
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    x, t = _floats("binary_cross_entropy_with_logits", input, target)
    if tuple(x.shape) != tuple(t.shape):
        raise ValueError(f"Target size ({t.shape}) must be the same as input size ({x.shape})")
    if weight is None and pos_weight is None:
        return l.binary_cross_entropy_with_logits(x, t, reduction=reduction)
    op = l.binary_cross_entropy_with_logits
    if pos_weight is None:
        losses = op(x, t, reduction="none")
    else:
        ones = new_handle(np.ones(tuple(t.shape), t._value.dtype))
        positive = op(x, ones, reduction="none") * t * pos_weight
        losses = positive + op(x, ones * 0, reduction="none") * (1 - t)
    return _reduced(losses if weight is None else losses * weight, reduction)


def kl_div(
    input: Any,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Any:
    """target·(log(target) - input) of log-probabilities `input`; `batchmean` divides the sum by the first size."""
    if reduction == "batchmean" and size_average is None and reduce is None:
        total = _pointwise(l.kl_div, input, target, None, (None, None, "sum"), log_target=log_target)
        return total / (input.shape[0] if len(input.shape) else 1)
    if reduction == "mean":
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size."
            "'batchmean' divides only by the batch size, and aligns with the KL div math definition."
            "'mean' will be changed to behave the same as 'batchmean' in the next major release.",
            stacklevel=2,
        )
    return _pointwise(l.kl_div, input, target, None, (size_average, reduce, reduction), log_target=log_target)


def poisson_nll_loss(
    input: Any,
    target: Any,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    """The negative log-likelihood of counts for Poisson rates (their logs: `log_input`); `full` adds Stirling's
    approximation of log(target!).
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    losses = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        count = where(target > 1, target, 1.0)
        stirling = count * count.log() - count + 0.5 * (2 * math.pi * count).log()
        losses = losses + where(target > 1, stirling, 0.0)
    return _reduced(losses, reduction)


def gaussian_nll_loss(
    input: Any, target: Any, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Any:
    """The negative log-likelihood of targets for normal distributions with means `input` and variances `var`, held
    above `eps` without a gradient for that; `full` adds the constant.
    """
    if isinstance(var, int | float):
        var = input.detach() * 0 + float(var)
    if bool((var < 0).any()):
        raise ValueError("var has negative entry/entries")
    if tuple(var.shape) != tuple(input.shape):
        if tuple(input.shape[:-1]) == tuple(var.shape):
            var = var.unsqueeze(-1)
        elif not (tuple(input.shape[:-1]) == tuple(var.shape[:-1]) and var.shape[-1] == 1) and var.shape != (1,):
            raise ValueError("var is of incorrect size")
    if reduction not in l.REDUCTIONS:
        raise ValueError(reduction + " is not valid")
    var = var + (var.detach().clamp(min=eps) - var.detach())
    losses = 0.5 * (var.log() + (input - target) ** 2 / var)
    if full:
        losses = losses + 0.5 * math.log(2 * math.pi)
    return _reduced(losses, reduction)


# Class indices


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
    node = set_node(
        make(Node),
        l.cross_entropy,
        (edge_of(input), None),
        (None, input, target, parts),
        (0, version_of(input), version_of(target), 0),
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


# Margins


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
    return _reduced(apart + where(target != -1, input, 0.0), reduction)


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
    return _reduced((-target * (input1 - input2) + margin).clamp(min=0), reduction)


def soft_margin_loss(
    input: Any,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    """log(1 + exp(-target·input)) for targets 1 and -1."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    return _reduced(-logsigmoid(target * input), reduction)


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
    return _reduced(losses.sum(-1) / input.shape[-1], reduction)


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
    """The mean over classes of max(0, margin - input[target] + input)^p without the target's own, for p 1 or 2."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    x, t = as_handle(input), as_handle(target)
    single = len(x.shape) == 1
    if single:
        x, t = _as_rows(x, t)
    n, classes = x.shape
    own = t.reshape(n, 1)
    gaps = (x - x.gather(1, own) + margin).clamp(min=0)
    if p == 2:
        gaps = gaps * gaps
    if weight is not None:
        gaps = gaps * as_handle(weight)[t].reshape(n, 1)
    others = own != new_handle(np.arange(classes))
    losses = where(others, gaps, 0.0).sum(1) / classes
    return _reduced(losses.reshape(()) if single else losses, reduction)


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
    return _reduced(alike + where(target == -1, (cos - margin).clamp(min=0), 0.0), reduction)


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
    near = pairwise_distance(anchor, positive, p, eps)
    far = pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = far.minimum(pairwise_distance(positive, negative, p, eps))
    return _reduced((near - far + margin).clamp(min=0), reduction)
