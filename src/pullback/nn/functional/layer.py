"""What layers compute, as functions of tensors: affine maps, normalisation, embedding."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pullback.ops import nn
from pullback.ops.control import stop_gradient
from pullback.tape.memory import keep_both
from pullback.tape.node import Handle, LeafMark, Node, make, new_handle, set_node
from pullback.tape.state import modes, no_grad
from pullback.tensor.dispatch import as_handle, is_raw
from pullback.values.dtype import type_name
from pullback.values.graph import Symbol

__all__ = [
    "batch_norm",
    "bilinear",
    "embedding",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "linear",
    "one_hot",
    "rms_norm",
]


def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    """input @ weight.T + bias, of an input (..., in), a weight (out, in) and a bias (out).

    Raises `RuntimeError` for shapes or dtypes that don't fit.
    """
    if modes.fast == 2 and bias is not None:
        try:
            x, w, b = input._value, weight._value, bias._value
        except AttributeError:
            return _linear(as_handle(input), as_handle(weight), as_handle(bias))
        dtype = x.dtype
        same = dtype is w.dtype and dtype is b.dtype
        if same and w.ndim == 2 and x.ndim and x.shape[-1] == w.shape[1] and b.shape == w.shape[:1]:
            return _recorded(nn.affine.evaluate(x, w, b), input, weight, bias)
    return _linear(as_handle(input), as_handle(weight), bias)


def _recorded(y: Any, input: Any, weight: Any, bias: Any) -> Any:
    """The result of `affine` on the tape: what the machinery would do for any op, without finding out what to save."""
    px, pw, pb = input._node, weight._node, bias._node
    if px is None and pw is None and pb is None:
        return new_handle(y)
    edges = (
        input if type(px) is LeafMark else px,
        weight if type(pw) is LeafMark else pw,
        bias if type(pb) is LeafMark else pb,
    )
    saved, versions = keep_both(None, None if pw is None else input, None if px is None else weight)
    return new_handle(y, set_node(make(Node), nn.affine, edges, (*saved, None), (*versions, 0)))


def _linear(x: Any, w: Any, bias: Any) -> Any:
    operands = [x, w] if bias is None else [x, w, as_handle(bias)]
    dtypes = [v._value.dtype for v in operands]
    if any(dtype != dtypes[0] for dtype in dtypes):
        raise RuntimeError(
            f"mat1 and mat2 must have the same dtype, but got {type_name(dtypes[0])} and {type_name(dtypes[1])}"
        )
    if len(w.shape) == 1:  # PyTorch: a weight (in,) gives one feature, without an axis
        y = (x * w).sum(-1)
        return y if bias is None else y + bias
    if not x.shape or x.shape[-1] != w.shape[1]:
        rows = math.prod(x.shape[:-1])
        last = x.shape[-1] if x.shape else 1
        raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({rows}x{last} and {w.shape[1]}x{w.shape[0]})")
    return nn.project(x, w) if bias is None else nn.affine(*operands)


def bilinear(input1: Any, input2: Any, weight: Any, bias: Any = None) -> Any:
    """input1ᵀ weight[k] input2 + bias[k] for each k, of inputs (..., in1), (..., in2) and a weight (out, in1, in2)."""
    out, in1, in2 = weight.shape
    left = nn.project(input1, weight.permute(0, 2, 1).reshape(out * in2, in1))
    left = left.reshape(*input1.shape[:-1], out, in2)
    y = (left * input2.unsqueeze(-2)).sum(-1)
    return y if bias is None else y + bias


def embedding(
    input: Any,
    weight: Any,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Any:
    """Rows of the table `weight` for an integer tensor of row numbers; row `padding_idx` gets no gradient.

    `max_norm` first shrinks, in place, the rows that are read and longer than that. `scale_grad_by_freq` divides the
    gradient that a reading gives to its row by how often the row is read. Raises `IndexError` for a number that is no
    row, `RuntimeError` for one that is not an integer. `sparse` is not supported.
    """
    if sparse:
        raise NotImplementedError("embedding: sparse gradients are not supported")
    index, table = as_handle(input), as_handle(weight)
    if index._value.dtype.kind not in "iu":
        raise RuntimeError(
            "Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; "
            f"but got {type_name(index._value.dtype)} instead"
        )
    rows = table.shape[0]
    padding = padding_row(padding_idx, rows)
    if is_raw(index):
        numbers = index._value
        if numbers.size and (numbers.min() < 0 or numbers.max() >= rows):
            raise IndexError("index out of range in self")
        if max_norm is not None:
            _renormalize(table, np.unique(numbers), max_norm, norm_type)
    y = nn.embedding(table, index, padding=padding)
    if not scale_grad_by_freq:
        return y
    if not is_raw(index):
        raise TypeError("embedding: scale_grad_by_freq needs known indices; they can't be batched or traced")
    counts = np.bincount(index._value.ravel(), minlength=1)[index._value]
    shared = y * new_handle((1 / np.maximum(counts, 1))[..., None].astype(table._value.dtype))
    return stop_gradient(y) + (shared - stop_gradient(shared))


def padding_row(padding_idx: int | None, rows: int) -> int | None:
    """`padding_idx` counted from the front. Raises `AssertionError` if the table has no such row."""
    if padding_idx is None:
        return None
    if not -rows <= padding_idx < rows:
        raise AssertionError("Padding_idx must be within num_embeddings")
    return padding_idx % rows


def _renormalize(table: Any, rows: Any, max_norm: float, norm_type: float) -> None:
    with no_grad():
        chosen = table._value[rows]
        norms = np.linalg.norm(chosen, norm_type, axis=1, keepdims=True)
        scale = np.where(norms > max_norm, max_norm / (norms + 1e-7), 1.0).astype(chosen.dtype)
        table[new_handle(rows)] = new_handle(chosen * scale)


def one_hot(tensor: Any, num_classes: int = -1) -> Any:
    """An int64 tensor with a new last axis, 1 at the class and 0 elsewhere."""
    index = as_handle(tensor)._value
    if index.dtype != np.int64:
        raise RuntimeError("one_hot is only applicable to index tensor of type LongTensor.")
    if index.size and index.min() < 0:
        raise RuntimeError("Class values must be non-negative.")
    classes = int(index.max()) + 1 if num_classes == -1 else num_classes
    if index.size and index.max() >= classes:
        raise RuntimeError("Class values must be smaller than num_classes.")
    return new_handle((index[..., None] == np.arange(classes)).astype(np.int64))


# Normalisation


def layer_norm(input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """(x - mean)/√(variance + eps)·weight + bias over the trailing axes, whose shape is `normalized_shape`.

    Raises `RuntimeError` if the shapes don't fit.
    """
    x = as_handle(input)
    shape = tuple(int(n) for n in normalized_shape)
    rank = len(x.shape)
    if not shape:
        raise RuntimeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element"
        )
    if tuple(x.shape[rank - len(shape) :]) != shape or rank < len(shape):
        star = ", ".join(["*", *map(str, shape)])
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [{star}], "
            f"but got input of size{list(x.shape)}"
        )
    for name, v in (("weight", weight), ("bias", bias)):
        if v is not None and tuple(v.shape) != shape:
            raise RuntimeError(
                f"Expected {name} to be of same shape as normalized_shape, but got {name} of shape {list(v.shape)} "
                f"and normalized_shape = {list(shape)}"
            )
    if weight is not None and bias is not None:
        return nn.layer_norm(x, weight, bias, eps=float(eps))
    y = nn.standardize(x, axis=tuple(range(rank - len(shape), rank)), eps=float(eps))
    return _scaled(y, weight, bias)


def _scaled(y: Any, weight: Any, bias: Any) -> Any:
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def rms_norm(input: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Any:
    """x/√(mean of x² + eps)·weight over the trailing axes, whose shape is `normalized_shape`."""
    x = as_handle(input)
    axes = tuple(range(-len(tuple(normalized_shape)), 0))
    if eps is None:
        eps = float(np.finfo(x._value.dtype).eps)
    y = x * ((x * x).mean(axes, keepdim=True) + eps).rsqrt()
    return y if weight is None else y * weight


def _channels(v: Any, rank: int) -> Any:
    """A tensor with one number for each channel, or None, shaped to multiply (n, channels, ...)."""
    return None if v is None else v.reshape(v.shape[0], *(1,) * (rank - 2))


def batch_norm(
    input: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """(x - mean)/√(variance + eps)·weight + bias for each channel (axis 1), over all other axes.

    In training, mean and variance are the batch's, and the running ones move towards them by `momentum`
    (the variance with n - 1 in the denominator); else they are the running ones. Raises `ValueError` for a batch of
    one value a channel in training.
    """
    x = as_handle(input)
    rank = len(x.shape)
    if training:
        axes = (0, *range(2, rank))
        count = math.prod(x.shape[a] for a in axes)
        if count == 1:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {x.shape}")
        y = nn.standardize(x, axis=axes, eps=float(eps))
        if running_mean is not None:
            _track(x, running_mean, running_var, axes, count, momentum)
    else:
        if running_mean is None or running_var is None:
            raise RuntimeError("Expected running_mean and running_var to be defined when training=False")
        scale = (running_var + eps).rsqrt()
        y = (x - _channels(running_mean, rank)) * _channels(scale, rank)
    return _scaled(y, _channels(weight, rank), _channels(bias, rank))


def _track(x: Any, mean: Any, var: Any, axes: tuple[int, ...], count: int, momentum: float) -> None:
    """Move the running statistics, which stay outside of every derivative."""
    seen = stop_gradient(x)
    while isinstance(seen, Handle) and not is_raw(seen) and isinstance(seen._value, Handle):
        seen = seen._value
    traced = modes.tracer is not None and type(seen._value) is Symbol
    if not is_raw(seen) and not traced:
        raise RuntimeError(
            "batch_norm can't update its running statistics inside vmap; make the layer with "
            "track_running_stats=False, or call .eval() on it"
        )
    with no_grad():
        if traced:
            running_statistics = (mean, seen.mean(axes)), (var, seen.var(axes))
            for running, new in running_statistics:
                running.mul_(1 - momentum).add_(new.to(running.dtype), alpha=momentum)
            return
        array = seen._value
        for running, new in (
            (mean, array.mean(axes)),
            (var, array.var(axes) * (count / (count - 1))),
        ):
            new = new.mean(0) if new.ndim > 1 else new  # each element of the batch has its own
            running.mul_(1 - momentum).add_(new_handle(new.astype(running._value.dtype)), alpha=momentum)


def group_norm(input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """Layer normalisation over groups of channels (axis 1) and all later axes, with a weight and bias per channel."""
    x = as_handle(input)
    n, channels, *rest = x.shape
    if channels % num_groups:
        raise RuntimeError(
            "Expected number of channels in input to be divisible by num_groups, but got input of shape "
            f"{list(x.shape)} and num_groups={num_groups}"
        )
    groups = x.reshape(n, num_groups, channels // num_groups * math.prod(rest))
    y = nn.standardize(groups, axis=(2,), eps=float(eps)).reshape(n, channels, *rest)
    rank = len(x.shape)
    return _scaled(y, _channels(weight, rank), _channels(bias, rank))


def instance_norm(
    input: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """(x - mean)/√(variance + eps)·weight + bias for each channel (axis 1) of each element of the batch.

    Mean and variance are the input's, and the running ones move by `momentum` towards their average over the batch;
    without `use_input_stats` they are the running ones. Raises `ValueError` for one value a channel.
    """
    x = as_handle(input)
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise RuntimeError("Expected running_mean and running_var to be defined when use_input_stats is false")
        return batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    rank = len(x.shape)
    axes = tuple(range(2, rank))
    count = math.prod(x.shape[a] for a in axes)
    if count == 1:
        raise ValueError(f"Expected more than 1 spatial element when training, got input size {x.shape}")
    y = nn.standardize(x, axis=axes, eps=float(eps))
    if running_mean is not None:
        _track(x, running_mean, running_var, axes, count, momentum)
    return _scaled(y, _channels(weight, rank), _channels(bias, rank))
