"""Functions of layers that PyTorch has at its root: some as they are, some under other names or with more results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pullback.nn.functional.axes import shape_of
from pullback.nn.functional.channels import channel_shuffle, native_channel_shuffle, pixel_shuffle, pixel_unshuffle
from pullback.nn.functional.convolution import (
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)
from pullback.nn.functional.dropout import alpha_dropout, dropout, dropout2d, feature_alpha_dropout
from pullback.nn.functional.layer import batch_norm, group_norm, instance_norm, layer_norm
from pullback.nn.functional.padding import pad as padded
from pullback.nn.functional.pooling import (
    adaptive_avg_pool1d,
    adaptive_max_pool1d_with_indices,
    avg_pool1d,
    max_pool1d,
    max_pool1d_with_indices,
    max_pool2d,
    max_pool3d,
)
from pullback.nn.functional.sampling import (
    _upsample_bilinear2d_aa,
    affine_grid,
    grid_sampler,
    grid_sampler_2d,
    grid_sampler_3d,
)
from pullback.ops.control import stop_gradient
from pullback.ops.shape import reshape, transpose
from pullback.tape.node import new_handle
from pullback.tensor.comparison import ne
from pullback.tensor.creation import ones_like
from pullback.tensor.dispatch import as_handle

__all__ = [
    "_batch_norm_with_update",
    "_native_batch_norm_legit",
    "_upsample_bilinear2d_aa",
    "adaptive_avg_pool1d",
    "adaptive_max_pool1d",
    "affine_grid_generator",
    "alpha_dropout_",
    "avg_pool1d",
    "channel_shuffle",
    "constant_pad_nd",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_tbc",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "convolution",
    "dropout_",
    "feature_alpha_dropout",
    "feature_alpha_dropout_",
    "feature_dropout",
    "feature_dropout_",
    "grid_sampler",
    "grid_sampler_2d",
    "grid_sampler_3d",
    "instance_norm",
    "max_pool1d",
    "max_pool1d_with_indices",
    "max_pool2d",
    "max_pool3d",
    "native_batch_norm",
    "native_channel_shuffle",
    "native_dropout",
    "native_dropout_backward",
    "native_group_norm",
    "native_layer_norm",
    "pixel_shuffle",
    "pixel_unshuffle",
]


def _statistics(x: Any, axes: tuple[int, ...], eps: float, keepdim: bool = False) -> tuple[Any, Any]:
    """Mean and 1/√(variance + eps)."""
    return x.mean(axes, keepdim), (x.var(axes, correction=0, keepdim=keepdim) + eps).rsqrt()


def native_layer_norm(
    input: Any, normalized_shape: Sequence[int], weight: Any, bias: Any, eps: float
) -> tuple[Any, Any, Any]:
    """`layer_norm`, the means, and 1/√(variance + eps); these two outside of every derivative."""
    x = as_handle(input)
    rank = len(shape_of(x))
    axes = tuple(range(rank - len(tuple(normalized_shape)), rank))
    return layer_norm(x, normalized_shape, weight, bias, eps), *_statistics(stop_gradient(x), axes, eps, True)


def native_group_norm(
    input: Any, weight: Any, bias: Any, N: int, C: int, HxW: int, group: int, eps: float
) -> tuple[Any, Any, Any]:
    """`group_norm`, the means (n, groups), and 1/√(variance + eps)."""
    x = as_handle(input)
    groups = reshape(x, shape=(N, group, C // group * HxW))
    return group_norm(x, group, weight, bias, eps), *_statistics(groups, (2,), eps)


def native_batch_norm(
    input: Any,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Any, Any, Any]:
    """`batch_norm`, and in training the batch's means and 1/√(variance + eps); they are empty otherwise."""
    x = as_handle(input)
    y = batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    if not training:
        empty = np.empty(0, x._value.dtype)
        return y, new_handle(empty), new_handle(empty.copy())
    return y, *_statistics(stop_gradient(x), (0, *range(2, len(shape_of(x)))), eps)


def _native_batch_norm_legit(input: Any, weight: Any, bias: Any, *rest: Any) -> tuple[Any, Any, Any]:
    """`native_batch_norm`, with running statistics or without these two arguments."""
    statistics = (None, None) if len(rest) == 3 else ()
    return native_batch_norm(input, weight, bias, *statistics, *rest)


def _batch_norm_with_update(
    input: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, momentum: float, eps: float
) -> tuple[Any, Any, Any, Any]:
    """`native_batch_norm` in training, and nothing reserved for the backward pass."""
    found = native_batch_norm(input, weight, bias, running_mean, running_var, True, momentum, eps)
    return *found, new_handle(np.empty(0, np.uint8))


def native_dropout(input: Any, p: float, train: bool | None) -> tuple[Any, Any]:
    """`dropout`, and which elements were kept."""
    x = as_handle(input)
    ones = ones_like(stop_gradient(x))
    if train is False:
        return x * 1.0, ne(ones, 0)
    mask = ne(dropout(ones, p), 0)
    return native_dropout_backward(x, mask, 1 / (1 - p) if p < 1 else 0.0), mask


def native_dropout_backward(grad_output: Any, mask: Any, scale: float) -> Any:
    """The cotangent of `native_dropout`: grad_output·mask·scale."""
    return grad_output * mask * scale


def constant_pad_nd(input: Any, pad: Sequence[int], value: float = 0) -> Any:
    """`nn.functional.pad` with a number."""
    return padded(input, pad, "constant", value)


# Convolution

_CONVOLUTIONS = {1: (conv1d, conv_transpose1d), 2: (conv2d, conv_transpose2d), 3: (conv3d, conv_transpose3d)}


def convolution(
    input: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
) -> Any:
    """A convolution or a transposed one, over as many dimensions as the weight has."""
    plain, turned = _CONVOLUTIONS[len(weight.shape) - 2]
    if transposed:
        return turned(input, weight, bias, stride, padding, output_padding, groups, dilation)
    return plain(input, weight, bias, stride, padding, dilation, groups)


def conv_tbc(input: Any, weight: Any, bias: Any, pad: int = 0) -> Any:
    """`conv1d` of (length, n, channels) with a weight (kernel, channels, features), to (length, n, features)."""
    x, w = (transpose(as_handle(v), axes=axes) for v, axes in ((input, (1, 2, 0)), (weight, (2, 1, 0))))
    return transpose(conv1d(x, w, bias, 1, pad), axes=(2, 0, 1))


adaptive_max_pool1d = adaptive_max_pool1d_with_indices  # at the root it gives both


# Dropout


def dropout_(input: Any, p: float, train: bool) -> Any:
    """`dropout` in place."""
    return dropout(input, p, train, True)


def alpha_dropout_(input: Any, p: float, train: bool) -> Any:
    """`alpha_dropout` in place."""
    return alpha_dropout(input, p, train, True)


def feature_alpha_dropout_(input: Any, p: float, train: bool) -> Any:
    """`feature_alpha_dropout` in place."""
    return feature_alpha_dropout(input, p, train, True)


def feature_dropout(input: Any, p: float, train: bool) -> Any:
    """Dropout of whole channels (n, channels, ...)."""
    return dropout2d(input, p, train)


def feature_dropout_(input: Any, p: float, train: bool) -> Any:
    """`feature_dropout` in place."""
    return dropout2d(input, p, train, True)


# Grids


def affine_grid_generator(theta: Any, size: Sequence[int], align_corners: bool) -> Any:
    """`nn.functional.affine_grid`."""
    return affine_grid(theta, size, align_corners)
