"""Between tensors and Python, NumPy, and other dtypes."""

from __future__ import annotations


class ConversionMethods:
    """Conversions as methods of `Tensor`."""
