"""Special functions and softmax of tensors, under PyTorch's names."""

from __future__ import annotations

from typing import Any

from pullback.ops import nn
from pullback.ops import special as s
from pullback.ops.shape import reshape
from pullback.ops.table import Op
from pullback.tensor.dispatch import as_handle, to_dtype, unary
from pullback.values.dtype import as_dtype, type_name
from pullback.values.shape import normalize_axis

__all__ = ["erf", "erfc", "erfinv", "log_softmax", "softmax"]

erf, erfc, erfinv = unary(s.erf), unary(s.erfc), unary(s.erfinv)


def _along(op: Op, input: Any, dim: Any, axis: Any, dtype: Any) -> Any:
    x = as_handle(input)
    if dtype is not None:
        x = to_dtype(x, as_dtype(dtype).dtype)
    found = x._value.dtype
    if found.kind != "f":
        raise NotImplementedError(f"\"{op.name}_lastdim_kernel_impl\" not implemented for '{type_name(found)}'")
    if dim is None:
        dim = axis
    shape = x._value.shape
    axis = normalize_axis(dim, len(shape))
    return op(x, axis=axis) if shape else reshape(op(reshape(x, shape=(1,)), axis=0), shape=())


def softmax(input: Any, dim: int | None = None, dtype: Any = None, *, axis: int | None = None) -> Any:
    """exp(x) over its sum along `dim`, without overflow; computed in `dtype` if given.

    >>> import pullback as pb
    >>> pb.softmax(pb.tensor([0.0, 0.0]), 0)
    tensor([0.5000, 0.5000])
    """
    return _along(nn.softmax, input, dim, axis, dtype)


def log_softmax(input: Any, dim: int | None = None, dtype: Any = None, *, axis: int | None = None) -> Any:
    """log(softmax(x)) along `dim`, without overflow or cancellation; computed in `dtype` if given."""
    return _along(nn.log_softmax, input, dim, axis, dtype)


class SpecialMethods:
    """Special functions and softmax as methods of `Tensor`."""

    erf = erf
    erfc = erfc
    erfinv = erfinv
    softmax = softmax
    log_softmax = log_softmax
