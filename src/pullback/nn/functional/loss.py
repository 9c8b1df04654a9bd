"""Losses that compare prediction and target element by element: to one number, or one for each element (`none`)."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from pullback.ops import losses as l
from pullback.ops.elementwise import where
from pullback.ops.shape import broadcast_to
from pullback.ops.table import Op
from pullback.tape.node import Handle, new_handle
from pullback.tensor.dispatch import as_handle, to_dtype
from pullback.values.dtype import promote, type_name
from pullback.values.shape import broadcast_shapes

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "gaussian_nll_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "mse_loss",
    "poisson_nll_loss",
    "smooth_l1_loss",
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


def reduced(losses: Any, reduction: str) -> Any:
    """The losses' mean or sum, or themselves."""
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
    return reduced(losses, reduction)


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
    return reduced(l.binary_cross_entropy(x, t, reduction="none") * weight, reduction)


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
    return reduced(losses if weight is None else losses * weight, reduction)


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
    return reduced(losses, reduction)


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
    return reduced(losses, reduction)
