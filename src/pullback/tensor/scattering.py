"""Reductions into places named by index tensors, and writes to the flattened tensor, under PyTorch's names."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.ops.elementwise import where as where_op
from pullback.ops.index import gather as gather_op
from pullback.ops.index import index_update
from pullback.ops.index import scatter_add as scatter_add_op
from pullback.ops.shape import broadcast_to, reshape
from pullback.tape.node import new_handle
from pullback.tensor import gathering as g
from pullback.tensor.conversion import clone, numbers
from pullback.tensor.dispatch import as_handle
from pullback.tensor.gathering import index_of
from pullback.tensor.inplace import check_writable, move
from pullback.tensor.meeting import NEUTRAL, reduced, reduced_into
from pullback.tensor.mutation import fill_, zero_
from pullback.tensor.operands import rank
from pullback.values.dtype import type_name
from pullback.values.shape import broadcast_shapes, normalize_axis

__all__ = [
    "_segment_reduce",
    "_unsafe_masked_index",
    "_unsafe_masked_index_put_accumulate",
    "fill",
    "index_reduce",
    "put",
    "scatter_reduce",
    "segment_reduce",
    "zero_",
]

_put = reshape.titled("PutBackward0")


def _check_kind(kind: str, allowed: tuple[str, ...]) -> None:
    if kind not in allowed:
        raise RuntimeError(f"reduce argument must be either {', '.join(allowed[:-1])} or {allowed[-1]}, got {kind}")


def scatter_reduce(
    input: Any,
    dim: int | None = None,
    index: Any = None,
    src: Any = None,
    reduce: str = "sum",
    *,
    include_self: bool = True,
    axis: int | None = None,
) -> Any:
    """`input` with the elements of `src` reduced where `scatter` would write them: `reduce` is "sum", "prod", "mean",
    "amax" or "amin". Without `include_self` the numbers of `input` in those places do not count.

    At ties of an extreme the gradient is shared evenly; products have the right gradients at zeros, to every order.
    Raises as `scatter` does.

    >>> import pullback as pb
    >>> pb.scatter_reduce(pb.ones(2), 0, pb.tensor([0, 0, 1]), pb.tensor([2.0, 3.0, 0.5]), "amax")
    tensor([3., 1.])
    """
    _check_kind(reduce, ("sum", "prod", "mean", "amax", "amin"))
    x = as_handle(input)
    at = g._dim(dim, axis, rank(x))
    where = index_of(index, "scatter_reduce")
    if not rank(x):
        one = scatter_reduce(reshape(x, shape=(1,)), 0, where.reshape(-1), as_handle(src).reshape(-1), reduce,
                             include_self=include_self)  # fmt: skip
        return reshape(one, shape=())
    g._check_grid(where, at, tuple(x._value.shape), "scatter")
    part = g._src_part(g._match(x, src, "scatter"), where)
    return reduced_into(x, part, g._grid(where, at), reduce, include_self)


def index_reduce(
    input: Any,
    dim: int | None = None,
    index: Any = None,
    source: Any = None,
    reduce: str = "prod",
    *,
    include_self: bool = True,
    axis: int | None = None,
) -> Any:
    """`input` with the entries of `source` along `dim` reduced at `index`: "prod", "mean", "amax" or "amin".

    As `scatter_reduce`, with one index for a whole entry.
    """
    _check_kind(reduce, ("prod", "mean", "amax", "amin"))
    x = as_handle(input)
    if not rank(x):
        one = reshape(x, shape=(1,))
        return reshape(
            index_reduce(one, 0, index, as_handle(source).reshape(-1), reduce, include_self=include_self), shape=()
        )
    at = g._dim(dim, axis, rank(x))
    where, part = g._rows(x, at, index, source, "index_reduce")
    shape = tuple(part.shape)
    grid = [np.arange(n).reshape((n,) + (1,) * (len(shape) - 1 - i)) for i, n in enumerate(shape)]
    grid[at] = reshape(where, shape=(int(where.shape[0]),) + (1,) * (len(shape) - 1 - at))
    return reduced_into(x, part, tuple(grid), reduce, include_self)


def segment_reduce(
    data: Any,
    reduce: str,
    *,
    lengths: Any = None,
    indices: Any = None,
    offsets: Any = None,
    axis: int = 0,
    unsafe: bool = False,
    initial: float | None = None,
) -> Any:
    """Consecutive segments along `axis` reduced to one entry each: `reduce` is "sum", "mean", "prod", "max" or "min".

    `lengths` (or `offsets`, where each begins and the last ends) has the dimensions of `data` before `axis`, then the
    segments. The reductions start from `initial`. Raises `RuntimeError` unless one of the two is given.
    """
    _check_kind(reduce, ("sum", "mean", "prod", "max", "min"))
    x = as_handle(data)
    at = normalize_axis(axis, rank(x))
    shape = tuple(x._value.shape)
    if (lengths is None) == (offsets is None) or indices is not None:
        raise RuntimeError("segment_reduce(): Either lengths or offsets must be defined.")
    given = numbers(as_handle(offsets if lengths is None else lengths), "the segments of segment_reduce()")
    sizes = np.diff(given, axis=at) if lengths is None else given
    if sizes.shape[:-1] != shape[:at]:
        raise RuntimeError(f"segment_reduce(): the segments of shape {sizes.shape} don't fit data of shape {shape}")
    count = sizes.shape[-1]
    kind = {"max": "amax", "min": "amin"}.get(reduce, reduce)
    # Which segment each entry along `axis` is in; those beyond the last segment are cut off.
    rows = sizes.reshape(-1, count)
    if not unsafe and (rows.size and (rows.min() < 0 or (rows.sum(1) != shape[at]).any())):
        raise RuntimeError("segment_reduce(): Expected all rows of lengths along axis to sum to data.size(axis)")
    lead = len(rows)
    rest = math.prod(shape[at + 1 :])
    owner = np.concatenate([np.repeat(np.arange(count), row) + n * count for n, row in enumerate(rows)] or [rows[:0]])
    inside = np.concatenate(
        [np.arange(min(int(row.sum()), shape[at])) + n * shape[at] for n, row in enumerate(rows)] or [rows[:0]]
    )
    values = gather_op(reshape(x, shape=(lead * shape[at], rest)), inside.astype(np.int64))
    where = (owner[:, None] * rest + np.arange(rest)).reshape(-1).astype(np.int64)
    start = NEUTRAL[kind] if initial is None else initial
    full = new_handle(np.full(lead * count * rest, start, x._value.dtype))
    result = reduced(full, reshape(values, shape=(where.size,)), where, "sum" if kind == "mean" else kind, True)
    result = reshape(result, shape=(*shape[:at], count, *shape[at + 1 :]))
    if kind != "mean":
        return result
    divisor = sizes.astype(x._value.dtype).reshape(*sizes.shape, *(1,) * (len(shape) - 1 - at))
    if initial is None:
        with np.errstate(invalid="ignore"):
            return result / new_handle(divisor)  # an empty segment has no mean
    return result / new_handle(np.maximum(divisor, 1))


_segment_reduce = segment_reduce


# The whole tensor, and the flattened one


def fill(input: Any, value: Any) -> Any:
    """`value`, a number or a 0-dim tensor, in every place of a new tensor like `input`."""
    return fill_(clone(input), value)


def put(input: Any, index: Any, source: Any, accumulate: bool = False) -> Any:
    """`input` with `source` written (or added) at `index` of the flattened tensor; negative indices count from the end.

    Raises `IndexError` if `source` and `index` differ in size, or out of range, `RuntimeError` if the dtypes differ.
    """
    x = as_handle(input)
    where = index_of(index, "put_")
    part = g._match(x, source, "put_")
    size, count = math.prod(x._value.shape), math.prod(where.shape)
    if math.prod(part.shape) != count:
        raise IndexError(
            f"put_(): Expected source and index to have the same number of elements, but got source.numel() = "
            f"{math.prod(part.shape)}, index.numel() = {count}"
        )
    if part._value.dtype != x._value.dtype:
        raise RuntimeError(
            f"put_(): self and source expected to have the same dtype, but got self.dtype = "
            f"{type_name(x._value.dtype)} and source.dtype = {type_name(part._value.dtype)}"
        )
    try:
        g._check_range(where, size, "put_", -size)
    except IndexError as error:
        found = str(error).split()[2]
        raise IndexError(f"out of range: tried to access index {found} on a tensor of {size} elements.") from None
    flat, part = reshape(x, shape=(size,)), reshape(part, shape=(count,))
    where = reshape(where, shape=(count,))
    new = flat + scatter_add_op(part, where, shape=(size,)) if accumulate else index_update(flat, part, where)
    return _put(new, shape=tuple(x._value.shape))


# Names that PyTorch's own decompositions use


def _masked_places(x: Any, mask: Any, indices: Any) -> tuple[Any, Any]:
    """Index arrays over all axes, those under a false mask sent to 0, and the mask."""
    held = numbers(as_handle(mask), "a mask")
    shape = tuple(x._value.shape)
    found = [numbers(as_handle(i), "an index") for i in indices]
    common = broadcast_shapes(held.shape, *(i.shape for i in found))
    return tuple(np.where(held, np.where(i < 0, i + n, i), 0) for i, n in zip(found, shape, strict=False)), (
        np.broadcast_to(held, common)
    )


def _unsafe_masked_index(input: Any, mask: Any, indices: Any, fill: float) -> Any:
    """`input[indices]` where the mask holds, `fill` elsewhere; indices under a false mask may be out of range."""
    x = as_handle(input)
    places, held = _masked_places(x, mask, indices)
    found = gather_op(x, *places)
    held = held.reshape(held.shape + (1,) * (rank(found) - held.ndim))
    return where_op(as_handle(np.ascontiguousarray(held)), found, fill)


def _unsafe_masked_index_put_accumulate(input: Any, mask: Any, indices: Any, values: Any) -> Any:
    """`input` with `values` added at `indices` where the mask holds."""
    x = as_handle(input)
    places, held = _masked_places(x, mask, indices)
    part = broadcast_to(as_handle(values), shape=(*held.shape, *x._value.shape[len(places) :]))
    held = held.reshape(held.shape + (1,) * (rank(part) - held.ndim))
    kept = where_op(as_handle(np.ascontiguousarray(held)), part, 0.0)
    return x + scatter_add_op(kept, *places, shape=tuple(x._value.shape))


def _in_place(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        check_writable(self)
        move(self, function(self, *args, **kwargs))
        return self

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"`{name[:-1]}`, in place."
    return method


class ScatterMethods:
    """Reductions into places, as methods of `Tensor`."""

    index_reduce = index_reduce
    put = put
    scatter_reduce = scatter_reduce
    index_reduce_ = _in_place("index_reduce_", index_reduce)
    put_ = _in_place("put_", put)
    scatter_reduce_ = _in_place("scatter_reduce_", scatter_reduce)
