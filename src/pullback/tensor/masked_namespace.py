"""`pb.masked`: reductions and normalisations of the elements that a mask keeps, under the names of `torch.masked`.

Each takes `mask`, booleans that broadcast to the input: True for what counts, None for everything. What is left out has
gradient 0, whatever it is (NaN included). Where nothing is left, a reduction gives what it gives for nothing: 0 for a
sum, 1 for a product, NaN for a mean, -inf for `amax`; `softmax`, `softmin` and `normalize` give 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.ops import compare as c
from pullback.ops import elementwise as e
from pullback.ops import shape as s
from pullback.tensor import reduction, scanning, sorting, special
from pullback.tensor.arithmetic import logaddexp as _logaddexp
from pullback.tensor.dispatch import as_handle, to_dtype
from pullback.tensor.operands import rank
from pullback.values.dtype import as_dtype
from pullback.values.shape import broadcast_shapes

__all__ = [
    "amax",
    "amin",
    "argmax",
    "argmin",
    "cumprod",
    "cumsum",
    "log_softmax",
    "logaddexp",
    "logsumexp",
    "mean",
    "median",
    "norm",
    "normalize",
    "prod",
    "softmax",
    "softmin",
    "std",
    "sum",
    "var",
]


def _operand(input: Any, dtype: Any) -> Any:
    x = as_handle(input)
    return x if dtype is None else to_dtype(x, as_dtype(dtype).dtype)


def _mask(x: Any, mask: Any) -> Any:
    """The mask, of the shape of `x`. Raises `TypeError` if it is not boolean, `ValueError` if it does not fit."""
    kept = as_handle(mask)
    if kept._value.dtype.kind != "b":
        raise TypeError(f"mask should be of boolean dtype, not {kept.dtype}")
    shape = tuple(x._value.shape)
    if broadcast_shapes(tuple(kept._value.shape), shape) != shape:
        raise ValueError(f"a mask of shape {tuple(kept.shape)} does not broadcast to an input of shape {shape}")
    return s.broadcast_to(kept, shape=shape)


def _filled(input: Any, mask: Any, fill: float, dtype: Any = None) -> Any:
    """The input with `fill` in place of what the mask leaves out; an infinite fill is an integer type's limit."""
    x = _operand(input, dtype)
    if mask is None:
        return x
    kind = x._value.dtype
    if kind.kind in "iu" and math.isinf(fill):
        fill = np.iinfo(kind).max if fill > 0 else np.iinfo(kind).min
    return e.where(_mask(x, mask), x, int(fill) if kind.kind in "iu" else fill)


def _counts(x: Any, dim: Any, keepdim: bool, mask: Any) -> Any:
    """How many elements are kept, in the dtype of `x`."""
    kept = s.broadcast_to(as_handle(np.True_), shape=tuple(x._value.shape)) if mask is None else _mask(x, mask)
    return reduction.sum(to_dtype(kept, np.abs(np.empty(0, x._value.dtype)).dtype), dim, keepdim)


def _over(total: Any, count: Any) -> Any:
    """total / count, NaN where there are none."""
    some = c.greater(count, 0.0)
    return e.where(some, total / to_dtype(e.where(some, count, 1.0), total._value.dtype), math.nan)


# Reductions


def _reduction(function: Callable[..., Any], fill: float) -> Callable[..., Any]:
    def masked(input: Any, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
        return function(_filled(input, mask, fill, dtype), dim, keepdim)

    masked.__name__ = masked.__qualname__ = function.__name__
    masked.__doc__ = f"`{function.__name__}` over `dim` (None: all) of what the mask keeps; {fill} if nothing."
    return masked


def _product(x: Any, dim: Any, keepdim: bool) -> Any:
    """`prod` over one dimension, several or all."""
    axes = reduction.all_dims(dim, None, rank(x))
    for axis in sorted(axes, reverse=True):
        x = reduction.prod(x, axis, keepdim) if rank(x) else x
    return x


_product.__name__ = "prod"
sum = _reduction(reduction.sum, 0.0)
prod = _reduction(_product, 1.0)
amax, amin = _reduction(reduction.amax, -math.inf), _reduction(reduction.amin, math.inf)
argmax, argmin = _reduction(reduction.argmax, -math.inf), _reduction(reduction.argmin, math.inf)
logsumexp = _reduction(scanning.logsumexp, -math.inf)


def mean(input: Any, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """The mean over `dim` (None: all) of what the mask keeps; NaN if nothing.

    >>> import pullback as pb
    >>> pb.masked.mean(pb.tensor([1.0, 2.0, 9.0]), mask=pb.tensor([True, True, False]))
    tensor(1.5000)
    """
    x = _filled(input, mask, 0.0, dtype)
    if mask is None:
        return reduction.mean(x, dim, keepdim)
    return _over(reduction.sum(x, dim, keepdim), _counts(x, dim, keepdim, mask))


def median(input: Any, dim: int = -1, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """The median along `dim` of what the mask keeps, the lower of two; NaN if nothing, and NaN in the input is left
    out too."""
    return sorting.nanmedian(_filled(input, mask, math.nan, dtype), dim, keepdim).values


def norm(
    input: Any,
    ord: float | None = 2.0,
    dim: Any = None,
    *,
    keepdim: bool = False,
    dtype: Any = None,
    mask: Any = None,
) -> Any:
    """The `ord`-norm over `dim` (None: all) of what the mask keeps."""
    order = 2.0 if ord is None else float(ord)
    x = _filled(input, mask, math.inf if order < 0 else 0.0, dtype)
    return reduction.vector_norm_over(x, order, reduction.all_dims(dim, None, rank(x)), keepdim)


def _variance(
    input: Any, dim: Any, unbiased: bool | None, correction: float | None, keepdim: bool, dtype: Any, mask: Any
) -> Any:
    if unbiased is not None and correction is not None:
        raise ValueError("give unbiased or correction, not both")
    free = (1.0 if unbiased is None else float(unbiased)) if correction is None else float(correction)
    x = _operand(input, dtype)
    if x._value.dtype.kind not in "fc":
        x = to_dtype(x, np.dtype(np.float32))
    total, count = sum(x, dim, keepdim=True, mask=mask), _counts(x, dim, True, mask)
    away = x - _over(total, count)
    away = _filled(away, mask, 0.0)
    squares = e.square(e.abs_(away)) if x._value.dtype.kind == "c" else e.square(away)
    left = _counts(x, dim, keepdim, mask) - free
    return _over(reduction.sum(squares, dim, keepdim), left)


def var(
    input: Any,
    dim: Any = None,
    unbiased: bool | None = None,
    *,
    correction: float | None = None,
    keepdim: bool = False,
    dtype: Any = None,
    mask: Any = None,
) -> Any:
    """The variance over `dim` (None: all) of what the mask keeps: over n - `correction` (1 unless given)."""
    return _variance(input, dim, unbiased, correction, keepdim, dtype, mask)


def std(
    input: Any,
    dim: Any = None,
    unbiased: bool | None = None,
    *,
    correction: float | None = None,
    keepdim: bool = False,
    dtype: Any = None,
    mask: Any = None,
) -> Any:
    """The square root of `var`; slope 0 where it is 0."""
    spread = _variance(input, dim, unbiased, correction, keepdim, dtype, mask)
    some = c.not_equal(spread, 0.0)
    return e.where(some, e.sqrt(e.where(some, spread, 1.0)), 0.0)


# Along a dimension


def cumsum(input: Any, dim: int, *, dtype: Any = None, mask: Any = None) -> Any:
    """Running sums along `dim` of what the mask keeps."""
    return scanning.cumsum(_filled(input, mask, 0.0, dtype), dim)


def cumprod(input: Any, dim: int, *, dtype: Any = None, mask: Any = None) -> Any:
    """Running products along `dim` of what the mask keeps."""
    return scanning.cumprod(_filled(input, mask, 1.0, dtype), dim)


def _normalised(function: Any, input: Any, dim: int, dtype: Any, mask: Any, rest: float) -> Any:
    """Of what the mask keeps; `rest` elsewhere."""
    x = _operand(input, dtype)
    if mask is None:
        return function(x, dim)
    kept = _mask(x, mask)
    some = reduction.any(kept, dim, True) if rank(x) else kept
    return e.where(kept, function(e.where(kept, x, e.where(some, -math.inf, 0.0)), dim), rest)


def softmax(input: Any, dim: int, *, dtype: Any = None, mask: Any = None) -> Any:
    """exp(x) over its sum along `dim`, of what the mask keeps; 0 elsewhere."""
    return _normalised(special.softmax, input, dim, dtype, mask, 0.0)


def log_softmax(input: Any, dim: int, *, dtype: Any = None, mask: Any = None) -> Any:
    """log(softmax(x)) along `dim`, of what the mask keeps; -inf elsewhere."""
    return _normalised(special.log_softmax, input, dim, dtype, mask, -math.inf)


def softmin(input: Any, dim: int, *, dtype: Any = None, mask: Any = None) -> Any:
    """softmax(-x) along `dim`, of what the mask keeps; 0 elsewhere."""
    return softmax(-_operand(input, dtype), dim, mask=mask)


def normalize(input: Any, ord: float, dim: int, *, eps: float = 1e-12, dtype: Any = None, mask: Any = None) -> Any:
    """What the mask keeps, over its `ord`-norm along `dim`, or over `eps` where that is larger; 0 elsewhere."""
    length = norm(input, ord, dim, keepdim=True, dtype=dtype, mask=mask)
    return _filled(input, mask, 0.0, dtype) / e.maximum(length, eps)


def logaddexp(input: Any, other: Any, *, dtype: Any = None, input_mask: Any = None, other_mask: Any = None) -> Any:
    """log(exp(a) + exp(b)) of what the masks keep: of a or b alone where the other is left out, -inf where both are."""
    a, b = _filled(input, input_mask, -math.inf, dtype), _filled(other, other_mask, -math.inf, dtype)
    return _logaddexp(a, b)
