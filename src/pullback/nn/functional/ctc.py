"""Connectionist temporal classification: the loss of a label sequence whose alignment to the steps is not known."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.nn.functional.loss import legacy_reduction
from pullback.ops.control import stop_gradient
from pullback.ops.ctc import alignments
from pullback.ops.elementwise import exp, where
from pullback.ops.index import gather
from pullback.tape.node import Handle, new_handle
from pullback.tensor.dispatch import as_handle
from pullback.values.dtype import type_name

__all__ = ["ctc_loss"]


def _integers(x: Any, what: str) -> Any:
    """Lengths or labels as an int64 array: they decide what is computed, so they may not be tracked or batched."""
    if isinstance(x, Handle) and not isinstance(x._value, np.ndarray | np.generic):
        raise TypeError(f"ctc_loss: {what} must be known numbers; they can't be batched or traced")
    return np.asarray(x._value if isinstance(x, Handle) else x, np.int64)


def _padded(targets: Any, lengths: Any, n: int) -> Any:
    """The labels as rows (n, longest), of rows or of all labels one after another."""
    longest = int(lengths.max(initial=0))
    if targets.ndim == 2:
        if targets.shape[0] != n or longest > targets.shape[1]:
            raise RuntimeError(
                f"Expected tensor to have size at least {longest} at dimension 1, but got size {targets.shape[1]} "
                "for argument #2 'targets' (while checking arguments for ctc_loss_cpu)"
            )
        return targets[:, :longest]
    if targets.ndim != 1 or lengths.sum() > len(targets):
        raise RuntimeError(
            f"Expected 1-dimensional targets of at least {lengths.sum()} labels, or rows of {longest}; got the shape "
            f"{targets.shape}"
        )
    rows = np.zeros((n, longest), np.int64)
    rows[np.arange(longest) < lengths[:, None]] = targets[: lengths.sum()]
    return rows


def ctc_loss(
    log_probs: Any,
    targets: Any,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Any:
    """-log of the probability that the labels are what is left of the steps, repetitions merged and blanks dropped.

    `log_probs` (steps, n, classes), or (steps, classes) for one sequence, are log-probabilities; `targets` (n, longest)
    or all labels in a row; the lengths say how many steps and labels of each sequence count. The "mean" divides each
    loss by its number of labels first. Where no alignment is possible the loss is infinite, or 0 without a gradient
    with `zero_infinity`. As in PyTorch, the gradient is that of normalised probabilities: it has exp(log_probs) added,
    which the gradient of log_softmax takes away. Raises `RuntimeError` for operands that don't fit.

    >>> import pullback as pb
    >>> even = pb.full((2, 1, 2), 0.5).log()
    >>> pb.nn.functional.ctc_loss(even, pb.tensor([[1]]), [2], [1]).exp()  # 3 of 4 paths: 01, 10, 11
    tensor(1.3333)
    """
    reduction = legacy_reduction(None, None, reduction)
    x = as_handle(log_probs)
    if x._value.dtype.kind != "f":
        raise RuntimeError(f"\"ctc_loss_cpu\" not implemented for '{type_name(x._value.dtype)}'")
    single = len(x.shape) == 2
    labels = _integers(targets, "targets")
    if single:
        x, labels = x.unsqueeze(1), labels.reshape(1, -1)
    steps, n, classes = x.shape
    used, count = (_integers(v, "lengths").reshape(-1) for v in (input_lengths, target_lengths))
    if not 0 <= blank < classes:
        raise RuntimeError("blank must be in label range")
    if len(used) != n or len(count) != n:
        name = "input" if len(used) != n else "target"
        raise RuntimeError(f"{name}_lengths must be of size batch_size")
    if (used < 0).any() or (used > steps).any():
        raise RuntimeError(f"Expected input_lengths to have value at most {steps}, but got value {used.max(initial=0)}")
    rows = _padded(labels, count, n)
    if rows.size and (rows[np.arange(rows.shape[1]) < count[:, None]] >= classes).any():
        raise RuntimeError(f"Expected targets to be less than {classes}, the number of classes")
    states = np.full((n, 2 * rows.shape[1] + 1), blank)
    states[:, 1::2] = np.clip(rows, 0, classes - 1)
    skips = np.zeros(states.shape, np.bool_)
    skips[:, 3::2] = rows[:, 1:] != rows[:, :-1]
    place = np.arange(states.shape[1])
    ends = (place == 2 * count[:, None]) | (place == 2 * count[:, None] - 1)
    emissions = _emissions(x, states)
    losses = -alignments(emissions, new_handle(skips), new_handle(ends), new_handle(used))
    within = new_handle((np.arange(steps)[:, None] < used)[..., None])
    mass = where(within, exp(x), 0.0).sum((0, 2))
    losses = losses + (mass - stop_gradient(mass))
    if zero_infinity:
        losses = where(losses == np.inf, 0.0, losses)
    if reduction == "mean":
        return (losses / new_handle(np.maximum(count, 1).astype(x._value.dtype))).mean()
    if reduction == "sum":
        return losses.sum()
    return losses.squeeze(0) if single else losses


def _emissions(x: Any, states: Any) -> Any:
    """The log-probability of each state's class at each step: (steps, n, states)."""
    steps, n, _ = x.shape
    return gather(x, np.arange(steps)[:, None, None], np.arange(n)[:, None], states)
