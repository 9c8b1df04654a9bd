"""The `Tensor` and its functions."""

from pullback.tensor.core import Tensor

__all__ = ["Tensor"]
