"""Pooling layers over one, two and three dimensions, see the functions of their names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from pullback.nn import functional as F
from pullback.nn.convolution import each
from pullback.nn.module import Module

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "FractionalMaxPool2d",
    "FractionalMaxPool3d",
    "LPPool1d",
    "LPPool2d",
    "LPPool3d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "MaxUnpool1d",
    "MaxUnpool2d",
    "MaxUnpool3d",
]


class _Pool(Module):
    """A pooling whose settings are shown by name."""

    _rank: ClassVar[int]
    _shown: ClassVar[tuple[str, ...]] = ("kernel_size", "stride", "padding")

    def _pool(self, kind: str, *args: Any) -> Any:
        function: Callable[..., Any] = getattr(F, f"{kind}{self._rank}d")
        return function(*args)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)}" for name in self._shown)


class _MaxPool(_Pool):
    _shown = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride if stride is not None else kernel_size
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def forward(self, input: Any) -> Any:
        return self._pool(
            "max_pool",
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            self.return_indices,
        )


class _MaxUnpool(_Pool):
    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()
        self.kernel_size = each(kernel_size, self._rank)
        self.stride = each(stride if stride is not None else kernel_size, self._rank)
        self.padding = each(padding, self._rank)

    def forward(self, input: Any, indices: Any, output_size: Any = None) -> Any:
        return self._pool("max_unpool", input, indices, self.kernel_size, self.stride, self.padding, output_size)


class _AvgPool(_Pool):
    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride if stride is not None else kernel_size
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Any) -> Any:
        return self._pool(
            "avg_pool",
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )


class _LPPool(_Pool):
    _shown = ("norm_type", "kernel_size", "stride", "ceil_mode")

    def __init__(self, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> None:
        super().__init__()
        self.norm_type = norm_type
        self.kernel_size = kernel_size
        self.stride = stride
        self.ceil_mode = ceil_mode

    def forward(self, input: Any) -> Any:
        return self._pool("lp_pool", input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)


class _AdaptiveAvgPool(_Pool):
    _shown = ("output_size",)

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Any) -> Any:
        return self._pool("adaptive_avg_pool", input, self.output_size)


class _AdaptiveMaxPool(_Pool):
    _shown = ("output_size",)

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__()
        self.output_size = output_size
        self.return_indices = return_indices

    def forward(self, input: Any) -> Any:
        return self._pool("adaptive_max_pool", input, self.output_size, self.return_indices)


class _FractionalMaxPool(_Pool):
    _shown = ()

    def __init__(
        self,
        kernel_size: Any,
        output_size: Any = None,
        output_ratio: Any = None,
        return_indices: bool = False,
        _random_samples: Any = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if output_size is None and output_ratio is None:
            raise ValueError(f"{name} requires specifying either an output size, or a pooling ratio")
        if output_size is not None and output_ratio is not None:
            raise ValueError(f"only one of output_size and output_ratio may be specified for {name}")
        self.kernel_size = each(kernel_size, self._rank)
        self.return_indices = return_indices
        self.output_size = each(output_size, self._rank) if output_size is not None else None
        self.output_ratio = each(output_ratio, self._rank) if output_ratio is not None else None
        if self.output_ratio is not None and not all(0 < ratio < 1 for ratio in self.output_ratio):
            raise ValueError(f"output_ratio must be between 0 and 1 (got {output_ratio})")
        self.register_buffer("_random_samples", _random_samples)

    def forward(self, input: Any) -> Any:
        return self._pool(
            "fractional_max_pool",
            input,
            self.kernel_size,
            self.output_size,
            self.output_ratio,
            self.return_indices,
            self._random_samples,
        )


class MaxPool1d(_MaxPool):
    """The largest element of each window over the last dimension."""

    _rank = 1


class MaxPool2d(_MaxPool):
    """The largest element of each window over the last two dimensions."""

    _rank = 2


class MaxPool3d(_MaxPool):
    """The largest element of each window over the last three dimensions."""

    _rank = 3


class MaxUnpool1d(_MaxUnpool):
    """Puts the elements back where `MaxPool1d` with `return_indices` found them, among zeros."""

    _rank = 1


class MaxUnpool2d(_MaxUnpool):
    """Puts the elements back where `MaxPool2d` with `return_indices` found them, among zeros."""

    _rank = 2


class MaxUnpool3d(_MaxUnpool):
    """Puts the elements back where `MaxPool3d` with `return_indices` found them, among zeros."""

    _rank = 3


class AvgPool1d(_AvgPool):
    """The mean of each window over the last dimension."""

    _rank = 1

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        steps = stride if stride is not None else kernel_size
        super().__init__(each(kernel_size, 1), each(steps, 1), each(padding, 1), ceil_mode, count_include_pad)


class AvgPool2d(_AvgPool):
    """The mean of each window over the last two dimensions."""

    _rank = 2


class AvgPool3d(_AvgPool):
    """The mean of each window over the last three dimensions."""

    _rank = 3


class LPPool1d(_LPPool):
    """The p-norm of each window over the last dimension, p being `norm_type`."""

    _rank = 1


class LPPool2d(_LPPool):
    """The p-norm of each window over the last two dimensions, p being `norm_type`."""

    _rank = 2


class LPPool3d(_LPPool):
    """The p-norm of each window over the last three dimensions, p being `norm_type`."""

    _rank = 3


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """The mean of each of `output_size` parts of the last dimension."""

    _rank = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """The mean of each of `output_size` parts of the last two dimensions."""

    _rank = 2


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """The mean of each of `output_size` parts of the last three dimensions."""

    _rank = 3


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The largest element of each of `output_size` parts of the last dimension."""

    _rank = 1


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The largest element of each of `output_size` parts of the last two dimensions."""

    _rank = 2


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """The largest element of each of `output_size` parts of the last three dimensions."""

    _rank = 3


class FractionalMaxPool2d(_FractionalMaxPool):
    """The largest element of each of `output_size` windows at random places in the last two dimensions."""

    _rank = 2


class FractionalMaxPool3d(_FractionalMaxPool):
    """The largest element of each of `output_size` windows at random places in the last three dimensions."""

    _rank = 3
