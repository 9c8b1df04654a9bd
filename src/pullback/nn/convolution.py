"""Convolution layers over one, two and three dimensions, and transposed ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from pullback.nn import functional as F
from pullback.nn import init
from pullback.nn.layers import empty_parameter
from pullback.nn.module import Module

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]

_PLAIN: Final = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED: Final = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_MODES: Final = ("zeros", "reflect", "replicate", "circular")


def each(value: Any, rank: int) -> tuple[Any, ...]:
    """A number as a tuple of it for each dimension; a sequence as a tuple."""
    return tuple(value) if isinstance(value, Sequence) else (value,) * rank


class _Conv(Module):
    """Filters of `kernel_size` and a bias, which begin uniform in ±1/√(channels/groups · elements of the kernel)."""

    _rank: ClassVar[int]
    transposed: ClassVar[bool]

    def _set_up(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        output_padding: Any,
        groups: int,
        bias: bool,
        padding_mode: str,
        device: Any,
        dtype: Any,
    ) -> None:
        rank = self._rank
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if channels % groups:
                raise ValueError(f"{name} must be divisible by groups")
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(f"Invalid padding string {padding!r}, should be one of {{'valid', 'same'}}")
            if padding == "same" and any(s != 1 for s in each(stride, rank)):
                raise ValueError("padding='same' is not supported for strided convolutions")
        if padding_mode not in _MODES:
            raise ValueError(f"padding_mode must be one of {set(_MODES)}, but got padding_mode='{padding_mode}'")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = kernel = each(kernel_size, rank)
        self.stride = each(stride, rank)
        self.padding = padding if isinstance(padding, str) else each(padding, rank)
        self.dilation = each(dilation, rank)
        self.output_padding = each(output_padding, rank)
        self.groups = groups
        self.padding_mode = padding_mode
        lead = (in_channels, out_channels // groups) if self.transposed else (out_channels, in_channels // groups)
        self.weight = empty_parameter(*lead, *kernel, dtype=dtype, device=device)
        self.register_parameter("bias", empty_parameter(out_channels, dtype=dtype) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        fan_in = math.prod(self.weight.shape[1:])
        if self.bias is not None and fan_in:
            init.uniform_(self.bias, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))

    def extra_repr(self) -> str:
        rank = self._rank
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        usual = {"padding": (0,) * rank, "dilation": (1,) * rank, "output_padding": (0,) * rank, "groups": 1}
        text += "".join(f", {name}={getattr(self, name)}" for name, v in usual.items() if getattr(self, name) != v)
        if self.bias is None:
            text += ", bias=False"
        return text + (f", padding_mode={self.padding_mode}" if self.padding_mode != "zeros" else "")


class _ConvPlain(_Conv):
    transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self._set_up(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            0,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def _around(self) -> list[int]:
        """The padding as `F.pad` takes it: before and after, the last dimension first."""
        pairs = []
        for i, (k, d) in enumerate(zip(self.kernel_size, self.dilation, strict=True)):
            if isinstance(self.padding, str):
                total = d * (k - 1) if self.padding == "same" else 0
                pairs.append((total // 2, total - total // 2))
            else:
                pairs.append((self.padding[i],) * 2)
        return [width for pair in reversed(pairs) for width in pair]

    def forward(self, input: Any) -> Any:
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            input = F.pad(input, self._around(), self.padding_mode)
            padding = 0
        parameters = self._parameters
        return _PLAIN[self._rank](
            input, parameters["weight"], parameters["bias"], self.stride, padding, self.dilation, self.groups
        )


class Conv1d(_ConvPlain):
    """`out_channels` filters over (n, in_channels, length), see `nn.functional.conv1d`.

    weight (out_channels, in_channels/groups, kernel), bias (out_channels), both uniform at first. `padding_mode` other
    than "zeros" pads with what `nn.functional.pad` does in that mode.
    """

    _rank = 1


class Conv2d(_ConvPlain):
    """`Conv1d` over images (n, in_channels, height, width).

    >>> import pullback as pb
    >>> tuple(pb.nn.Conv2d(3, 8, 3, padding="same")(pb.zeros(2, 3, 5, 7)).shape)
    (2, 8, 5, 7)
    """

    _rank = 2


class Conv3d(_ConvPlain):
    """`Conv1d` over volumes (n, in_channels, depth, height, width)."""

    _rank = 3


class _ConvTransposed(_Conv):
    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        self._set_up(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            output_padding,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def forward(self, input: Any, output_size: Sequence[int] | None = None) -> Any:
        extra = self.output_padding if output_size is None else self._extra(input, tuple(output_size))
        parameters = self._parameters
        return _TRANSPOSED[self._rank](
            input,
            parameters["weight"],
            parameters["bias"],
            self.stride,
            self.padding,
            extra,
            self.groups,
            self.dilation,
        )

    def _extra(self, input: Any, output_size: tuple[int, ...]) -> tuple[int, ...]:
        """The output padding that leads to `output_size`."""
        rank = self._rank
        lead = len(input.shape) - rank
        wanted = output_size[lead:] if len(output_size) == lead + rank else output_size
        if len(wanted) != rank:
            raise ValueError(
                f"ConvTranspose{rank}D: for {len(input.shape)}D input, output_size must have {rank} or {lead + rank} "
                f"elements (got {len(wanted)})"
            )
        least = [
            (n - 1) * s - 2 * p + d * (k - 1) + 1
            for n, s, p, d, k in zip(
                input.shape[lead:], self.stride, self.padding, self.dilation, self.kernel_size, strict=True
            )
        ]
        most = [n + s - 1 for n, s in zip(least, self.stride, strict=True)]
        if any(not low <= n <= high for low, n, high in zip(least, wanted, most, strict=True)):
            raise ValueError(
                f"requested an output size of {wanted}, but valid sizes range from {least} to {most} "
                f"(for an input of {tuple(input.shape[2:])})"
            )
        return tuple(n - low for n, low in zip(wanted, least, strict=True))


class ConvTranspose1d(_ConvTransposed):
    """The transpose of a `Conv1d` from out_channels to in_channels, see `nn.functional.conv_transpose1d`.

    weight (in_channels, out_channels/groups, kernel). Called with `output_size`, it chooses among the sizes that the
    convolution would take to the input's.
    """

    _rank = 1


class ConvTranspose2d(_ConvTransposed):
    """`ConvTranspose1d` over images (n, in_channels, height, width)."""

    _rank = 2


class ConvTranspose3d(_ConvTransposed):
    """`ConvTranspose1d` over volumes (n, in_channels, depth, height, width)."""

    _rank = 3
