"""Running sums, products and extrema along a dimension, and differences, under PyTorch's names."""

from __future__ import annotations

from typing import Any

from pullback.ops import compare as c
from pullback.ops import reduce as r
from pullback.ops import scan
from pullback.tensor.dispatch import as_handle, to_dtype
from pullback.tensor.joining import cat
from pullback.tensor.operands import rank
from pullback.tensor.reduction import all_dims, lone, one_dim, picked, widened
from pullback.values.dtype import default_dtype
from pullback.values.shape import normalize_axis

__all__ = [
    "cummax",
    "cummin",
    "cumprod",
    "cumsum",
    "diff",
    "logcumsumexp",
    "logsumexp",
]


# Running along a dimension


def _scan_operand(input: Any, dim: Any, axis: Any, dtype: Any) -> tuple[Any, int]:
    x = widened(as_handle(input), dtype)
    return x, one_dim(dim, axis, x)


def cumsum(input: Any, dim: int | None = None, *, axis: int | None = None, dtype: Any = None) -> Any:
    """Running sums along `dim`. Integers and booleans sum to int64."""
    x, at = _scan_operand(input, dim, axis, dtype)
    return scan.cumsum(x, axis=at) if rank(x) else x * 1


def cumprod(input: Any, dim: int | None = None, *, axis: int | None = None, dtype: Any = None) -> Any:
    """Running products along `dim`; the derivative is right with zeros. Integers and booleans multiply to int64."""
    x, at = _scan_operand(input, dim, axis, dtype)
    return scan.cumprod(x, axis=at) if rank(x) else x * 1


def logcumsumexp(input: Any, dim: int | None = None, *, axis: int | None = None) -> Any:
    """log of the running sums of exp along `dim`, without overflow."""
    x = as_handle(input)
    at = one_dim(dim, axis, x)
    return scan.logcumsumexp(x, axis=at) if rank(x) else x * 1


def _cumulative(name: str, op: Any, input: Any, dim: Any, axis: Any) -> Any:
    x = as_handle(input)
    at = one_dim(dim, axis, x)
    if not rank(x):
        return lone(name, x)
    return picked(name, x, at, op(x, axis=at), True)


def cummax(input: Any, dim: int | None = None, *, axis: int | None = None) -> Any:
    """The largest elements so far along `dim` and where they are: `(values, indices)`; the last of equals."""
    return _cumulative("cummax", scan.argcummax, input, dim, axis)


def cummin(input: Any, dim: int | None = None, *, axis: int | None = None) -> Any:
    """The smallest elements so far along `dim` and where they are: `(values, indices)`; the last of equals."""
    return _cumulative("cummin", scan.argcummin, input, dim, axis)


def diff(
    input: Any, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None, *, axis: int | None = None
) -> Any:
    """The differences of neighbours along `dim`, `n` times over, after `prepend` and `append` are joined to it.

    For n = 0 the tensor as it is."""
    x = as_handle(input)
    if not rank(x):
        raise RuntimeError("diff expects input to be at least one-dimensional")
    at = normalize_axis(dim if axis is None else axis, rank(x))
    parts = [p for p in (prepend, x, append) if p is not None]
    if len(parts) > 1 and n:
        x = cat(parts, at)
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    if x._value.dtype.kind == "b":
        for _ in range(n):
            front = (slice(None),) * at
            x = c.logical_xor(x[(*front, slice(1, None))], x[(*front, slice(None, -1))])
        return x
    return scan.diff(x, axis=at, n=min(n, x.shape[at]))


def logsumexp(input: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool = False) -> Any:
    """log(sum(exp(x))) over `dim`, without overflow; of integers in the default float type."""
    x = as_handle(input)
    if x._value.dtype.kind in "biu":
        x = to_dtype(x, default_dtype())
    return r.logsumexp(x, axis=all_dims(dim, axis, rank(x)), keepdims=keepdim or keepdims)


class ScanMethods:
    """Running sums and their kin, as methods of `Tensor`."""

    cumsum = cumsum
    cumprod = cumprod
    logcumsumexp = logcumsumexp
    cummax = cummax
    cummin = cummin
    diff = diff
    logsumexp = logsumexp
