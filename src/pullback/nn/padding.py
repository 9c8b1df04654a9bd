"""Padding layers: what `nn.functional.pad` does over one, two and three dimensions."""

from __future__ import annotations

from typing import Any, ClassVar

from pullback.nn import functional as F
from pullback.nn.convolution import each
from pullback.nn.module import Module

__all__ = [
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
]


class _Pad(Module):
    """`padding` is a number for all sides, or (before, after) of the last dimension, then of the one before it."""

    _rank: ClassVar[int]
    _mode: ClassVar[str]

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = each(padding, 2 * self._rank)

    def forward(self, input: Any) -> Any:
        return F.pad(input, self.padding, self._mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPad(_Pad):
    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Any) -> Any:
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class _ZeroPad(_ConstantPad):
    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ReflectionPad(_Pad):
    _mode = "reflect"


class _ReplicationPad(_Pad):
    _mode = "replicate"


class _CircularPad(_Pad):
    _mode = "circular"


class ConstantPad1d(_ConstantPad):
    """Pads the last dimension with `value`."""

    _rank = 1


class ConstantPad2d(_ConstantPad):
    """Pads the last two dimensions with `value`."""

    _rank = 2


class ConstantPad3d(_ConstantPad):
    """Pads the last three dimensions with `value`."""

    _rank = 3


class ZeroPad1d(_ZeroPad):
    """Pads the last dimension with zeros."""

    _rank = 1


class ZeroPad2d(_ZeroPad):
    """Pads the last two dimensions with zeros."""

    _rank = 2


class ZeroPad3d(_ZeroPad):
    """Pads the last three dimensions with zeros."""

    _rank = 3


class ReflectionPad1d(_ReflectionPad):
    """Pads the last dimension with their reflection, the edge not repeated."""

    _rank = 1


class ReflectionPad2d(_ReflectionPad):
    """Pads the last two dimensions with their reflection, the edge not repeated."""

    _rank = 2


class ReflectionPad3d(_ReflectionPad):
    """Pads the last three dimensions with their reflection, the edge not repeated."""

    _rank = 3


class ReplicationPad1d(_ReplicationPad):
    """Pads the last dimension by repeating the edge."""

    _rank = 1


class ReplicationPad2d(_ReplicationPad):
    """Pads the last two dimensions by repeating the edge."""

    _rank = 2


class ReplicationPad3d(_ReplicationPad):
    """Pads the last three dimensions by repeating the edge."""

    _rank = 3


class CircularPad1d(_CircularPad):
    """Pads the last dimension from the opposite side."""

    _rank = 1


class CircularPad2d(_CircularPad):
    """Pads the last two dimensions from the opposite side."""

    _rank = 2


class CircularPad3d(_CircularPad):
    """Pads the last three dimensions from the opposite side."""

    _rank = 3
