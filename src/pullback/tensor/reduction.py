"""Sums, means and other reductions of tensors, under PyTorch's names; `dim` and `axis` are both taken."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.ops import shape as s
from pullback.tensor.dispatch import as_handle, to_dtype
from pullback.values.shape import normalize_axes


def _axes(dim: Any, axis: Any, ndim: int) -> tuple[int, ...]:
    if dim is None:
        dim = axis
    elif axis is not None:
        raise TypeError("give dim or axis, not both")
    if dim == () and not isinstance(dim, int):
        dim = None  # PyTorch: an empty dim means all
    return normalize_axes(dim, ndim)


def sum(
    input: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool = False, dtype: Any = None
) -> Any:
    """The sum over `dim` (None: all). Integers and booleans sum to int64."""
    x = as_handle(input)
    if dtype is not None:
        x = to_dtype(x, np.dtype(dtype))
    elif x._value.dtype.kind in "biu":
        x = to_dtype(x, np.dtype(np.int64))
    return s.sum_(x, axis=_axes(dim, axis, len(x._value.shape)), keepdims=keepdim or keepdims)


class ReductionMethods:
    """Reductions as methods of `Tensor`."""

    sum = sum
