"""Steps of larger functions, under the names they have in PyTorch's own graphs."""

from __future__ import annotations

from typing import Any

from pullback.nn.functional.attention import safe_softmax
from pullback.tensor.dispatch import as_handle, to_dtype
from pullback.values.dtype import as_dtype

__all__ = ["_safe_softmax", "_softmax_backward_data", "native_dropout_backward"]


def _as(x: Any, dtype: Any) -> Any:
    return x if dtype is None else to_dtype(x, as_dtype(dtype).dtype)


def _safe_softmax(input: Any, dim: int, dtype: Any = None) -> Any:
    """softmax along `dim`, in `dtype` if given, and 0 instead of NaN where a whole slice is -inf."""
    return safe_softmax(_as(as_handle(input), dtype), dim)


def _softmax_backward_data(grad_output: Any, output: Any, dim: int, input_dtype: Any) -> Any:
    """The cotangent of x, in `input_dtype`, where softmax(x) along `dim` is `output` and has the cotangent given."""
    product = grad_output * output
    return _as(product - output * product.sum(dim, keepdim=True), input_dtype)


def native_dropout_backward(grad_output: Any, mask: Any, scale: float) -> Any:
    """The cotangent of x where dropout multiplied it by a boolean mask and by `scale`."""
    return grad_output * (mask * scale)
