"""Products of tensors, under PyTorch's names."""

from __future__ import annotations


class LinearMethods:
    """Products as methods of `Tensor`."""
