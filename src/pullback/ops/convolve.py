"""Discrete convolution along the last axis, and differences along any: each its own transpose."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.ops.index import slice_
from pullback.ops.lowering import Expansion
from pullback.ops.samples import Sample, complex_normal, normal
from pullback.ops.shape import flip, pad, with_batch
from pullback.ops.table import Op, linear
from pullback.values.shape import Spec

__all__ = ["convolve", "difference"]


def _convolve(a: Any, v: Any, full: bool) -> Any:
    mode = "full" if full else "valid"
    if a.ndim == 1:
        return np.convolve(a, v, mode)  # type: ignore[call-overload]
    lines = zip(a.reshape(-1, a.shape[-1]), v.reshape(-1, v.shape[-1]), strict=True)
    shape = _convolve_shape(a, v, full).shape
    rows = [np.convolve(x, y, mode) for x, y in lines]  # type: ignore[call-overload]
    return np.array(rows, np.result_type(a, v)).reshape(shape)


def _convolve_shape(a: Any, v: Any, full: bool) -> Spec:
    n, m = a.shape[-1], v.shape[-1]
    return Spec((*a.shape[:-1], n + m - 1 if full else n - m + 1), np.result_type(a.dtype, v.dtype))


def _reversed(x: Any) -> Any:
    return flip(x, axis=(len(x.shape) - 1,))


def _longer_transpose(g: Any, _y: Any, _a: Any, v: Any, full: bool) -> Any:
    return convolve(g, _reversed(v), full=not full)


def _shorter_transpose(g: Any, _y: Any, a: Any, _v: Any, full: bool) -> Any:
    if full:
        return convolve(g, _reversed(a), full=False)
    return _reversed(convolve(a, _reversed(g), full=False))


convolve: Op = linear(
    "convolve",
    _convolve,
    _longer_transpose,
    _shorter_transpose,
    shape=_convolve_shape,
    batch=lambda size, args, batched, full: convolve(*with_batch(size, args, batched), full=full),
    samples=[
        Sample(normal(5), normal(3), full=True),
        Sample(normal(5), normal(3), full=False),
        Sample(normal(2, 4), normal(2, 4), full=False),
        Sample(complex_normal(4), complex_normal(2), full=True),
    ],
    doc="y[k] = Σ a[i] v[k-i] along the last axis, the axes before it being equal: every k (`full`), or those for "
    "which the shorter operand v lies within a.",
)


def _difference(x: Any, axis: int, full: bool) -> Any:
    lead = (slice(None),) * axis
    early, late = (*lead, slice(None, -1)), (*lead, slice(1, None))
    if not full:
        return np.subtract(x[late], x[early])
    y: Any = np.empty(_difference_shape(x, axis, full).shape, x.dtype)
    if not x.shape[axis]:
        y.fill(0)
        return y
    first = (*lead, slice(1))
    y[first] = -x[first]  # np.negative from strided to strided memory is wrong in NumPy 2.4 with AVX-512
    np.subtract(x[early], x[late], out=y[(*lead, slice(1, -1))])
    y[(*lead, -1)] = x[(*lead, -1)]
    return y


def _difference_shape(x: Any, axis: int, full: bool) -> Spec:
    size = x.shape[axis] + 1 if full else max(x.shape[axis] - 1, 0)
    return Spec((*x.shape[:axis], size, *x.shape[axis + 1 :]), x.dtype)


def _difference_in_ops(x: Any, axis: int, full: bool) -> Any:
    rank = len(x.shape)

    def each(own: Any, other: Any) -> tuple[Any, ...]:
        return tuple(own if i == axis else other for i in range(rank))

    if full:
        before, after = each((1, 0), (0, 0)), each((0, 1), (0, 0))
        return pad(x, widths=before, value=0.0) - pad(x, widths=after, value=0.0)
    late, early = each(slice(1, None), slice(None)), each(slice(None, -1), slice(None))
    return slice_(x, index=late) - slice_(x, index=early)


difference: Op = linear(
    "difference",
    _difference,
    lambda g, _y, x, axis, full: (
        difference(g, axis=axis, full=not full) if x.shape[axis] or full else np.zeros(x.shape, x.dtype)
    ),
    shape=_difference_shape,
    batch=lambda size, args, batched, axis, full: difference(*args, axis=axis + 1, full=full),
    lower=Expansion(_difference_in_ops),
    samples=[
        Sample(normal(2, 4), axis=1, full=False),
        Sample(normal(3, 2), axis=0, full=True),
        Sample(normal(2, 1), axis=1, full=False),
        Sample(normal(1), axis=0, full=True),
    ],
    title="DiffBackward0",
    doc="x[i+1] - x[i] along `axis`; `full`: x[i-1] - x[i] with zeros beyond both ends, one more than x has.",
)
