"""Normalisation layers: by layer, group, channel, instance and neighbouring channels."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import numpy as np

from pullback.nn import functional as F
from pullback.nn import init
from pullback.nn.layers import empty_parameter
from pullback.nn.module import Module
from pullback.tape.node import new_handle
from pullback.tape.state import modes
from pullback.tensor.creation import dtype_of

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerNorm",
    "LocalResponseNorm",
    "RMSNorm",
]


def _normalized(shape: Any) -> tuple[int, ...]:
    return (shape,) if isinstance(shape, int) else tuple(shape)


class _Norm(Module):
    """What is normalised is multiplied by a weight that begins at 1 and shifted by a bias that begins at 0."""

    def _register(self, *shape: int, dtype: Any, device: Any, **present: bool) -> None:
        for name, wanted in present.items():
            self.register_parameter(name, empty_parameter(*shape, dtype=dtype, device=device) if wanted else None)

    def reset_parameters(self) -> None:
        """Set the weight to 1 and the bias to 0, where there is one."""
        for name, start in (("weight", init.ones_), ("bias", init.zeros_)):
            parameter = self._parameters.get(name)
            if parameter is not None:
                start(parameter)


class LayerNorm(_Norm):
    """(x - mean)/√(variance + eps)·weight + bias over the trailing axes, whose shape is `normalized_shape`."""

    def __init__(
        self,
        normalized_shape: Any,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = shape = _normalized(normalized_shape)
        self.eps = eps
        self.elementwise_affine = affine = elementwise_affine
        self._register(*shape, dtype=dtype, device=device, weight=affine, bias=affine and bias)
        self.reset_parameters()

    def forward(self, input: Any) -> Any:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
            f"bias={self.bias is not None}"
        )


class RMSNorm(_Norm):
    """x/√(mean of x² + eps)·weight over the trailing axes, whose shape is `normalized_shape`."""

    def __init__(
        self,
        normalized_shape: Any,
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = shape = _normalized(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self._register(*shape, dtype=dtype, device=device, weight=elementwise_affine)
        self.reset_parameters()

    def forward(self, input: Any) -> Any:
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(_Norm):
    """Layer normalisation over groups of channels (axis 1) and all later axes."""

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if num_channels % num_groups:
            raise ValueError(f"num_channels ({num_channels}) must be divisible by num_groups ({num_groups})")
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        self._register(num_channels, dtype=dtype, device=device, weight=affine, bias=affine and bias)
        self.reset_parameters()

    def forward(self, input: Any) -> Any:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


# By channel, with statistics that are kept


class _ChannelNorm(_Norm):
    """A weight and a bias for each channel, and running statistics of it."""

    _ranks: ClassVar[tuple[int, ...]]

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        self._register(num_features, dtype=dtype, device=device, weight=affine, bias=affine and bias)
        kind = dtype_of(dtype)
        buffers = {
            "running_mean": np.zeros(num_features, kind),
            "running_var": np.ones(num_features, kind),
            "num_batches_tracked": np.array(0, np.int64),
        }
        for name, array in buffers.items():
            self.register_buffer(name, new_handle(array) if track_running_stats else None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget all batches."""
        if self.track_running_stats:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
            init.zeros_(self.num_batches_tracked)

    def reset_parameters(self) -> None:
        """Forget all batches, set the weight to 1 and the bias to 0."""
        self.reset_running_stats()
        super().reset_parameters()

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )

    def _check_rank(self, input: Any) -> None:
        rank = len(input.shape)
        if rank not in self._ranks:
            wanted = " or ".join(f"{n}D" for n in self._ranks)
            raise ValueError(f"expected {wanted} input (got {rank}D input)")


class _BatchNorm(_ChannelNorm):
    def forward(self, input: Any) -> Any:
        self._check_rank(input)
        if input.shape[1] != self.num_features:
            raise RuntimeError(f"running_mean should contain {input.shape[1]} elements not {self.num_features}")
        momentum = self.momentum
        track = self.training and self.track_running_stats
        if track:
            if modes.tracer is None:
                init.constant_(self.num_batches_tracked, self.num_batches_tracked._value + 1)
            else:
                self.num_batches_tracked.add_(1)
            if momentum is None:
                momentum = 1 / float(self.num_batches_tracked)
        by_batch = self.training or self.running_mean is None
        known = not self.training or self.track_running_stats
        return F.batch_norm(
            input,
            self.running_mean if known else None,
            self.running_var if known else None,
            self.weight,
            self.bias,
            by_batch,
            0.0 if momentum is None else momentum,
            self.eps,
        )


class BatchNorm1d(_BatchNorm):
    """Normalises each channel of (n, channels) or (n, channels, length) over the batch, then scales and shifts it.

    In training with the batch's mean and variance, which running ones follow (`momentum=None`: their plain average);
    in `eval` mode with the running ones, if `track_running_stats`.
    """

    _ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """`BatchNorm1d` for images (n, channels, height, width)."""

    _ranks = (4,)


class BatchNorm3d(_BatchNorm):
    """`BatchNorm1d` for volumes (n, channels, depth, height, width)."""

    _ranks = (5,)


class _InstanceNorm(_ChannelNorm):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def forward(self, input: Any) -> Any:
        self._check_rank(input)
        alone = len(input.shape) == self._ranks[0]
        at = 0 if alone else 1
        if input.shape[at] != self.num_features:
            told = f"input's size at dim={at}", f"num_features ({self.num_features})"
            if self.affine:
                raise ValueError(f"expected {told[0]} to match {told[1]}, but got: {input.shape[at]}.")
            warnings.warn(f"{told[0]} does not match {told[1]}, which is not used because affine=False", stacklevel=2)
        y = F.instance_norm(
            input.unsqueeze(0) if alone else input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
        )
        return y.squeeze(0) if alone else y


class InstanceNorm1d(_InstanceNorm):
    """Normalises each channel of each element of (n, channels, length), or of (channels, length), by itself.

    With `affine` it is then scaled and shifted; with `track_running_stats` the running mean and variance are used in
    `eval` mode.
    """

    _ranks = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """`InstanceNorm1d` for images (n, channels, height, width)."""

    _ranks = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """`InstanceNorm1d` for volumes (n, channels, depth, height, width)."""

    _ranks = (4, 5)


class LocalResponseNorm(Module):
    """x/(k + alpha·mean of x² over `size` neighbouring channels)^beta."""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, input: Any) -> Any:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
