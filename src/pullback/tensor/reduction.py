"""Sums, means, extrema and norms of tensors, under PyTorch's names.

`dim` and `axis` are both taken, and `keepdim` and `keepdims`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pullback.ops import compare as c
from pullback.ops import elementwise as e
from pullback.ops import reduce as r
from pullback.ops import shape as s
from pullback.ops.index import gather
from pullback.ops.spectral import svdvals
from pullback.ops.table import Op
from pullback.tape.node import Handle, new_handle, wrap
from pullback.tape.state import modes
from pullback.tensor.dispatch import apply, as_handle, to_dtype
from pullback.tensor.operands import given_dim, rank
from pullback.tensor.results import result_type
from pullback.values.dtype import as_dtype, type_name
from pullback.values.shape import Shape, normalize_axes, normalize_axis

__all__ = [
    "all",
    "amax",
    "amin",
    "aminmax",
    "any",
    "argmax",
    "argmin",
    "count_nonzero",
    "dist",
    "max",
    "mean",
    "min",
    "nanmean",
    "nansum",
    "norm",
    "prod",
    "std",
    "std_mean",
    "sum",
    "var",
    "var_mean",
]

_sums = s.sum_, s.sum_.titled("SumBackward1")
_means = r.mean, r.mean.titled("MeanBackward1")
_prods = r.prod, r.prod.titled("ProdBackward1")
_max, _min = r.amax.titled("MaxBackward1"), r.amin.titled("MinBackward1")
results = {
    name: result_type(name, "values", "indices")
    for name in "max min median nanmedian mode kthvalue cummax cummin sort topk".split()
}
_picks = {
    name: gather.titled(title)
    for name, title in {
        "max": "MaxBackward0",
        "min": "MinBackward0",
        "median": "MedianBackward1",
        "nanmedian": "NanmedianBackward1",
        "mode": "ModeBackward0",
        "kthvalue": "KthvalueBackward0",
        "cummax": "CummaxBackward0",
        "cummin": "CumminBackward0",
    }.items()
}
_aminmax = result_type("aminmax", "min", "max")


def all_dims(dim: Any, axis: Any, ndim: int) -> Shape:
    """The dimensions meant; an empty list means all, as in PyTorch, unless `modes.numpy` says otherwise.

    Raises `RuntimeError` if one is repeated.
    """
    dim = given_dim(dim, axis)
    if dim is None or (type(dim) is not int and isinstance(dim, tuple | list) and not dim and not modes.numpy):
        return tuple(range(ndim))
    try:
        return normalize_axes(dim, ndim)
    except ValueError as error:
        raise RuntimeError(f"dim appears multiple times in the list of dims: {error}") from None


def one_dim(dim: Any, axis: Any, x: Any) -> int:
    """The one dimension meant."""
    dim = given_dim(dim, axis)
    if dim is None:
        raise TypeError("missing the dimension: give dim= or axis=")
    return normalize_axis(dim, rank(x))


def _as(x: Any, dtype: Any) -> Any:
    return to_dtype(x, as_dtype(dtype).dtype)


def widened(x: Any, dtype: Any) -> Any:
    """The operand of a sum or product: in `dtype`, or int64 for integers and booleans."""
    if dtype is not None:
        return _as(x, dtype)
    kind = x._value.dtype.kind
    if kind == "u" and modes.numpy:
        return to_dtype(x, np.dtype(np.uint64))
    return to_dtype(x, np.dtype(np.int64)) if kind in "biu" else x


def _floating(x: Any, dtype: Any, name: str) -> Any:
    """The operand of a mean. Raises `RuntimeError` for integers, except for NumPy arguments, as `modes.numpy` says."""
    if dtype is not None:
        x = _as(x, dtype)
    found = x._value.dtype
    if found.kind in "fc":
        return x
    if modes.numpy:
        return to_dtype(x, np.dtype(np.float64))
    raise RuntimeError(
        f"{name}(): could not infer output dtype. Input dtype must be either a floating point or complex dtype. "
        f"Got: {type_name(found)}. Convert it with .float(), or pass dtype=."
    )


# Sums and means


def _is_whole(input: Any, dim: Any, axis: Any, dtype: Any) -> bool:
    """Whether a reduction is the commonest of all: of every element of a tensor of floats, in the ordinary mode."""
    return (
        dim is None
        and axis is None
        and dtype is None
        and modes.fast > 0
        and isinstance(input, Handle)
        and bool(input._value.dtype.kind == "f")
    )


def _whole(op: Op, input: Handle, keepdims: bool) -> Any:
    return input.eager(op, (input,), {"axis": tuple(range(input._value.ndim)), "keepdims": keepdims})


def sum(
    input: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool = False, dtype: Any = None
) -> Any:
    """The sum over `dim` (None: all). Integers and booleans sum to int64.

    >>> import pullback as pb
    >>> x = pb.tensor([[1, 2], [3, 4]])
    >>> x.sum(), x.sum(0), x.sum(dim=1, keepdim=True)
    (tensor(10), tensor([4, 6]), tensor([[3],
            [7]]))
    """
    if _is_whole(input, dim, axis, dtype):
        return _whole(s.sum_, input, keepdim or keepdims)
    x = widened(as_handle(input), dtype)
    op = _sums[dim is not None or axis is not None]
    return op(x, axis=all_dims(dim, axis, rank(x)), keepdims=keepdim or keepdims)


def mean(
    input: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool = False, dtype: Any = None
) -> Any:
    """The mean over `dim` (None: all), of floating-point or complex values.

    Raises `RuntimeError` for integers unless `dtype` is given.
    """
    if _is_whole(input, dim, axis, dtype):
        return _whole(r.mean, input, keepdim or keepdims)
    x = _floating(as_handle(input), dtype, "mean")
    op = _means[dim is not None or axis is not None]
    return op(x, axis=all_dims(dim, axis, rank(x)), keepdims=keepdim or keepdims)


def prod(
    input: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool = False, dtype: Any = None
) -> Any:
    """The product over one dimension (None: all). Integers and booleans multiply to int64."""
    x = widened(as_handle(input), dtype)
    op = _prods[dim is not None or axis is not None]
    return op(x, axis=all_dims(dim, axis, rank(x)), keepdims=keepdim or keepdims)


def nansum(
    input: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool = False, dtype: Any = None
) -> Any:
    """The sum over `dim` with NaN taken as 0."""
    x = widened(as_handle(input), dtype)
    if x._value.dtype.kind in "fc":
        x = e.where(c.isnan(x), 0.0, x)
    return s.sum_(x, axis=all_dims(dim, axis, rank(x)), keepdims=keepdim or keepdims)


def nanmean(
    input: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool = False, dtype: Any = None
) -> Any:
    """The mean over `dim` of what is not NaN."""
    x = _floating(as_handle(input), dtype, "nanmean")
    axes, keep = all_dims(dim, axis, rank(x)), keepdim or keepdims
    known = to_dtype(c.logical_not(c.isnan(x)), x._value.dtype)
    return e.div(nansum(x, axes, keep), s.sum_(known, axis=axes, keepdims=keep))


# Spread


def _correction(unbiased: Any, correction: Any, ddof: Any) -> float:
    """What to take off the number of elements: 1 unless said otherwise."""
    if correction is None:
        correction = ddof
    if correction is None:
        correction = 1 if unbiased is None else int(unbiased)
    return float(correction)


def _spread(
    op: Any, name: str, input: Any, dim: Any, unbiased: Any, keep: bool, correction: Any, axis: Any, ddof: Any
) -> Any:
    if isinstance(dim, bool):  # x.var(False)
        dim, unbiased = None, dim
    x = _floating(as_handle(input), None, name)
    axes = all_dims(dim, axis, rank(x))
    free = _correction(unbiased, correction, ddof)
    return op(x, axis=axes, correction=free, keepdims=keep)


def var(
    input: Any,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
    axis: Any = None,
    keepdims: bool = False,
    ddof: float | None = None,
) -> Any:
    """The variance over `dim` (None: all): the sum of squared deviations over n - `correction` (1 unless given)."""
    return _spread(r.var, "var", input, dim, unbiased, keepdim or keepdims, correction, axis, ddof)


def std(
    input: Any,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
    axis: Any = None,
    keepdims: bool = False,
    ddof: float | None = None,
) -> Any:
    """The standard deviation over `dim` (None: all), the square root of `var`; slope 0 where all elements are equal."""
    return _spread(r.std, "std", input, dim, unbiased, keepdim or keepdims, correction, axis, ddof)


def _with_mean(function: Any, input: Any, dim: Any, unbiased: Any, keepdim: bool, **options: Any) -> tuple[Any, Any]:
    spread = function(input, dim, unbiased, keepdim, **options)
    keep, axis = keepdim or options.get("keepdims", False), options.get("axis")
    return spread, mean(input, None if isinstance(dim, bool) else dim, keep, axis=axis)


def std_mean(
    input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, **options: Any
) -> tuple[Any, Any]:
    """`std` and `mean`, with the same options."""
    return _with_mean(std, input, dim, unbiased, keepdim, **options)


def var_mean(
    input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, **options: Any
) -> tuple[Any, Any]:
    """`var` and `mean`, with the same options."""
    return _with_mean(var, input, dim, unbiased, keepdim, **options)


# Extrema


def check_filled(x: Any, axes: Shape, name: str) -> None:
    """Raise for an extremum of nothing."""
    shape = x._value.shape
    for a in axes:
        if not shape[a]:
            if len(axes) == 1:
                raise IndexError(f"{name}(): Expected reduction dim {a} to have non-zero size.")
            raise RuntimeError(
                f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim "
                "with the 'dim' argument."
            )


def _filled(op: Op, name: str, input: Any, dim: Any, axis: Any, keep: bool) -> Any:
    """An extremum over `dim`, which must not be empty."""
    x = as_handle(input)
    axes = all_dims(dim, axis, rank(x))
    check_filled(x, axes, name)
    return op(x, axis=axes, keepdims=keep)


def lone(name: str, x: Any) -> Any:
    """Value and index for a 0-dim tensor."""
    return results[name](x * 1 if x._value.dtype.kind != "b" else x, new_handle(np.int64(0)))


def picked(name: str, x: Any, axis: int, index: Any, keep: bool) -> Any:
    """Values and indices along `axis`, from indices that keep the dimension."""
    shape = tuple(index.shape)
    if not keep:
        shape = shape[:axis] + shape[axis + 1 :]
        index = s.reshape(index, shape=shape)
    others = [np.arange(n).reshape((n,) + (1,) * (len(shape) - 1 - i)) for i, n in enumerate(shape)]
    if keep:
        del others[axis]
    return results[name](_picks[name](x, *others[:axis], index, *others[axis:]), wrap(index))


def _extremum(name: str, input: Any, dim: Any, keepdim: bool, axis: Any, keepdims: bool, other: Any) -> Any:
    pair, whole, arg = {
        "max": (e.maximum, _max, r.argmax),
        "min": (e.minimum, _min, r.argmin),
    }[name]
    if isinstance(dim, Handle | np.ndarray):
        dim, other = None, dim
    if other is not None:
        return apply(pair, input, other)
    x = as_handle(input)
    dim = given_dim(dim, axis)
    keep = keepdim or keepdims
    if dim is None:
        return _filled(whole, name, x, None, None, False)
    at = normalize_axis(dim, rank(x))
    if not rank(x):
        return lone(name, x)
    check_filled(x, (at,), name)
    return picked(name, x, at, arg(x, axis=at, keepdims=True), keep)


def max(
    input: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool = False, other: Any = None
) -> Any:
    """The largest element; with a dimension, a named tuple `(values, indices)` along it; with a second tensor, the
    larger of each two elements. The gradient of the first form is shared by equal winners, that of the second goes to
    the index given, the first of equals.

    >>> import pullback as pb
    >>> pb.max(pb.tensor([[1.0, 5.0], [7.0, 3.0]]), 1).indices
    tensor([1, 0])
    """
    return _extremum("max", input, dim, keepdim, axis, keepdims, other)


def min(
    input: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool = False, other: Any = None
) -> Any:
    """The smallest element; with a dimension, `(values, indices)` along it; with a second tensor, the smaller."""
    return _extremum("min", input, dim, keepdim, axis, keepdims, other)


def amax(input: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool = False) -> Any:
    """The largest elements over `dim` (one or several; none: all); equal winners share the gradient evenly."""
    return _filled(r.amax, "amax", input, dim, axis, keepdim or keepdims)


def amin(input: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool = False) -> Any:
    """The smallest elements over `dim` (one or several; none: all); equal winners share the gradient evenly."""
    return _filled(r.amin, "amin", input, dim, axis, keepdim or keepdims)


def aminmax(input: Any, *, dim: Any = None, keepdim: bool = False, axis: Any = None, keepdims: bool = False) -> Any:
    """`amin` and `amax`, as a named tuple `(min, max)`."""
    keep = keepdim or keepdims
    return _aminmax(amin(input, dim, keep, axis=axis), amax(input, dim, keep, axis=axis))


def _arg(op: Any, name: str, input: Any, dim: Any, keep: bool, axis: Any) -> Any:
    x = as_handle(input)
    dim = given_dim(dim, axis)
    if dim is None:
        size = math.prod(x._value.shape)
        if not size:
            raise IndexError(f"{name}(): Expected reduction dim to be specified for input.numel() == 0.")
        index = op(s.reshape(x, shape=(size,)), axis=0, keepdims=False)
        return s.reshape(index, shape=(1,) * rank(x)) if keep else index
    at = normalize_axis(dim, rank(x))
    if not rank(x):
        return new_handle(np.int64(0))
    check_filled(x, (at,), name)
    return op(x, axis=at, keepdims=keep)


def argmax(
    input: Any, dim: int | None = None, keepdim: bool = False, *, axis: int | None = None, keepdims: bool = False
) -> Any:
    """Where the largest element is, along `dim` or in the flattened tensor; the first of equals."""
    return _arg(r.argmax, "argmax", input, dim, keepdim or keepdims, axis)


def argmin(
    input: Any, dim: int | None = None, keepdim: bool = False, *, axis: int | None = None, keepdims: bool = False
) -> Any:
    """Where the smallest element is, along `dim` or in the flattened tensor; the first of equals."""
    return _arg(r.argmin, "argmin", input, dim, keepdim or keepdims, axis)


# Tests and counts


def all(input: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool = False) -> Any:
    """Whether all elements over `dim` (None: all) are true, or not 0."""
    x = as_handle(input)
    return r.all_(x, axis=all_dims(dim, axis, rank(x)), keepdims=keepdim or keepdims)


def any(input: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool = False) -> Any:
    """Whether any element over `dim` (None: all) is true, or not 0."""
    x = as_handle(input)
    return r.any_(x, axis=all_dims(dim, axis, rank(x)), keepdims=keepdim or keepdims)


def count_nonzero(input: Any, dim: Any = None, *, axis: Any = None) -> Any:
    """How many elements over `dim` (None: all) are not 0."""
    x = as_handle(input)
    return r.count_nonzero(x, axis=all_dims(dim, axis, rank(x)), keepdims=False)


# Norms


def norm(
    input: Any,
    p: Any = "fro",
    dim: Any = None,
    keepdim: bool = False,
    dtype: Any = None,
    *,
    axis: Any = None,
    keepdims: bool = False,
) -> Any:
    """The p-norm of the elements over `dim` (None: all): `p` is a number, inf, -inf, 0 (a count) or 'fro' (2); with
    'nuc' that of matrices, the sum of their singular values.

    At 0 the gradient is 0. Raises `RuntimeError` for integers, or another `p`.
    """
    x = as_handle(input)
    if dtype is not None:
        x = _as(x, dtype)
    if x._value.dtype.kind not in "fc":
        raise RuntimeError(
            f"linalg.vector_norm: Expected a floating point or complex tensor as input. Got {type_name(x._value.dtype)}"
        )
    if p == "fro" or p is None:
        p = 2.0
    if p == "nuc":
        axes = all_dims(dim, axis, rank(x))
        if len(axes) != 2:
            raise RuntimeError(f"linalg.matrix_norm: dim must be a 2-tuple of ints. Got {len(axes)} dimensions")
        return singular_norm_over(x, "nuc", *axes, keepdim or keepdims)
    return vector_norm_over(x, float(p), all_dims(dim, axis, rank(x)), keepdim or keepdims)


def vector_norm_over(x: Any, p: float, axes: Shape, keep: bool) -> Any:
    """The p-norm over `axes` of a floating-point tensor; slope 0 at 0."""
    if p == 2.0:
        return r.norm(x, axis=axes, keepdims=keep)
    size = e.abs_(x)
    if p == 1.0:
        return s.sum_(size, axis=axes, keepdims=keep)
    if math.isinf(p):
        return (r.amax if p > 0 else r.amin)(size, axis=axes, keepdims=keep)
    if p == 0.0:  # |x| at 0, 1 elsewhere: a count, and a function of x with slope 0
        return s.sum_(e.where(c.not_equal(x, 0), 1.0, size), axis=axes, keepdims=keep)
    # Scaled by the largest element, so no power overflows; where that is 0 or infinite, it is the norm itself.
    top = r.amax(size, axis=axes, keepdims=True) if math.prod(x._value.shape[a] for a in axes) else None
    if p < 1.0 and top is not None:
        known = c.greater(size, 0.0)
        powers = e.where(known, e.pow_(e.where(known, size, 1.0), p), 0.0)
        total = s.sum_(powers, axis=axes, keepdims=keep)
        positive = c.greater(total if p > 0.0 else r.amin(size, axis=axes, keepdims=keep), 0.0)
        return e.where(positive, e.pow_(e.where(positive, total, 1.0), 1 / p), 0.0)
    if top is None:
        return e.pow_(s.sum_(e.pow_(size, p), axis=axes, keepdims=keep), 1 / p)
    top = top.detach()
    usable = c.logical_and(c.greater(top, 0.0), c.isfinite(top))
    scale = e.where(usable, top, 1.0)
    total = s.sum_(e.pow_(e.div(size, scale), p), axis=axes, keepdims=True)
    safe = e.where(c.greater(total, 0.0), total, 1.0)
    y = e.where(c.greater(total, 0.0), e.mul(e.pow_(safe, 1 / p), scale), 0.0)
    return y if keep else s.reshape(y, shape=s.reduced(tuple(x._value.shape), axes, False))


def singular_norm_over(x: Any, ord: Any, rows: int, columns: int, keep: bool) -> Any:
    """The sum ("nuc"), the largest (2) or the smallest (-2) of the singular values of the matrices in two axes."""
    shape = tuple(x._value.shape)
    others = tuple(i for i in range(len(shape)) if i not in (rows, columns))
    values = svdvals(s.transpose(x, axes=(*others, rows, columns)))
    last = (len(others),)
    if ord == "nuc":
        y = s.sum_(values, axis=last, keepdims=False)
    else:
        y = (r.amax if ord > 0 else r.amin)(values, axis=last, keepdims=False)
    return wrap(s.reshape(y, shape=s.reduced(shape, (rows, columns), True)) if keep else y)


def dist(input: Any, other: Any, p: float = 2.0) -> Any:
    """The p-norm of `input - other`."""
    return norm(apply(e.sub, input, other), p)


class ReductionMethods:
    """Reductions as methods of `Tensor`."""

    sum = sum
    mean = mean
    prod = prod
    nansum = nansum
    nanmean = nanmean
    var = var
    std = std
    max = max
    min = min
    amax = amax
    amin = amin
    aminmax = aminmax
    argmax = argmax
    argmin = argmin
    all = all
    any = any
    count_nonzero = count_nonzero
    norm = norm
    dist = dist
