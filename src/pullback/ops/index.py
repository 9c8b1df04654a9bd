"""Reading and writing parts of an array, each next to its transpose.

`slice` takes integers, slices, None and Ellipsis and gives a view; `gather` takes index arrays over the leading axes.
`tensor.indexing` composes them into what NumPy's brackets mean.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pullback.ops import movement
from pullback.ops.cast import cast
from pullback.ops.compare import equal
from pullback.ops.samples import Sample, integers, normal
from pullback.ops.shape import broadcast_to, reshape, sum_to, with_batch
from pullback.ops.table import Op, linear
from pullback.values.shape import Shape, Spec, broadcast_shapes

Index = tuple[Any, ...]  # integers, slices and None, one for each axis of the operand but the None


def _slice_shape(x: Spec, index: Index) -> Spec:
    return Spec(np.broadcast_to(np.empty((), np.bool_), x.shape)[index].shape, x.dtype)


def _slice_writeback(parent: Any, new: Any, index: Index) -> Any:
    return slice_update, (parent, new), {"index": index}


slice_: Op = linear(
    "slice",
    lambda x, index: x[index],
    lambda g, _y, x, index: embed(g, index=index, shape=x.shape),
    shape=_slice_shape,
    batch=lambda size, args, batched, index: slice_(*args, index=(slice(None), *index)),
    lower=movement.slice_view,
    samples=[
        Sample(normal(4, 3), index=(slice(1, 3), slice(None))),
        Sample(normal(4, 3), index=(1, slice(None, None, -1))),
        Sample(normal(4, 3), index=(slice(None, None, 2), None, 2)),
        Sample(normal(4), index=(-1,)),
    ],
    writeback=_slice_writeback,
    doc="x[index] for an index of integers, slices and None; a view.",
)


def _embed(g: Any, index: Index, shape: Shape) -> Any:
    x = np.zeros(shape, g.dtype)
    x[index] = g
    return x


embed: Op = linear(
    "embed",
    _embed,
    lambda g, _y, _x, index, shape: slice_(g, index=index),
    shape=lambda g, index, shape: Spec(shape, g.dtype),
    batch=lambda size, args, batched, index, shape: embed(*args, index=(slice(None), *index), shape=(size, *shape)),
    lower=movement.embed,
    samples=[
        Sample(normal(2, 3), index=(slice(1, 3), slice(None)), shape=(4, 3)),
        Sample(normal(3), index=(1, slice(None, None, -1)), shape=(4, 3)),
    ],
    doc="Zeros of `shape` with the operand at [index].",
)


def _slice_update(x: Any, v: Any, index: Index) -> Any:
    y = x.copy() if isinstance(x, np.ndarray) else np.array(x)
    y[index] = v
    return y


slice_update: Op = linear(
    "slice_update",
    _slice_update,
    lambda g, _y, _x, v, index: slice_update(g, _zeros(v), index=index),
    lambda g, _y, _x, v, index: sum_to(slice_(g, index=index), v.shape),
    shape=lambda x, v, index: Spec(x.shape, x.dtype),
    batch=lambda size, args, batched, index: slice_update(
        *with_batch(size, args, batched), index=(slice(None), *index)
    ),
    joint=True,
    lower=movement.slice_update,
    samples=[
        Sample(normal(4, 3), normal(2, 3), index=(slice(1, 3), slice(None))),
        Sample(normal(4, 3), normal(4), index=(slice(None), 1)),
    ],
    title="CopySlices",
    doc="x with v at [index]; v has the shape of x[index].",
)


def _zeros(v: Any) -> Any:
    return np.zeros(v.shape, v.dtype)


# Index arrays


def _iota(size: int, rank: int) -> Any:
    return np.arange(size).reshape((size, *(1,) * rank))


def _batched_indices(size: int, indices: tuple[Any, ...], batched: tuple[bool, ...]) -> tuple[Any, ...]:
    """Index arrays for a batch in front: the number of the batch element, then each index with the batch in front."""
    ranks = [len(i.shape) - has for i, has in zip(indices, batched, strict=True)]
    rank = max(ranks, default=0)
    ready = []
    for index, has, own in zip(indices, batched, ranks, strict=True):
        lead = (size,) if has else (1,)
        ready.append(reshape(index, shape=(*lead, *(1,) * (rank - own), *index.shape[has:])))
    return (_iota(size, rank), *ready)


def _gather_shape(x: Spec, *indices: Spec) -> Spec:
    return Spec((*broadcast_shapes(*(i.shape for i in indices)), *x.shape[len(indices) :]), x.dtype)


def _gather_batch(size: int, args: tuple[Any, ...], batched: tuple[bool, ...]) -> Any:
    x, *indices = args
    if not batched[0]:
        return gather(x, *_batched_indices(size, tuple(indices), batched[1:])[1:])
    return gather(x, *_batched_indices(size, tuple(indices), batched[1:]))


def _gather_transpose(g: Any, _y: Any, x: Any, *indices: Any) -> tuple[Any, ...]:
    return (scatter_add(g, *indices, shape=x.shape), *(None for _ in indices))


gather = linear(
    "gather",
    lambda x, *indices: x[indices],
    transpose=_gather_transpose,
    shape=_gather_shape,
    batch=_gather_batch,
    joint=True,
    lower=movement.gather,
    samples=[
        Sample(normal(4, 3), integers(4, 5)),
        Sample(normal(4, 3), integers(4, 2, 2), integers(3, 2)),
        Sample(normal(4, 3, 2), integers(4, 3, 1), integers(3, 2)),
    ],
    title="IndexBackward0",
    doc="x[indices] for integer arrays over the leading axes, broadcast together.",
)


def _flat(indices: tuple[Any, ...], shape: Shape) -> Any:
    """One index into the flattened leading axes for all index arrays; None if one is out of range."""
    total: Any = 0
    for index, n in zip(indices, shape, strict=False):
        if index.size and (index.min() < -n or index.max() >= n):
            return None
        total = total * n + np.where(index < 0, index + n, index)
    return total


_ROW = 16  # elements in a row from which rows are better added whole
_ROUNDS = 8


def _add_rows(g: Any, index: Any, shape: Shape) -> Any:
    """Zeros of `shape` with rows added at an array of places along axis 0: the first of each place, then the second,
    and so on. None if a place is out of range or has too many."""
    flat = np.where(index < 0, index + shape[0], index).reshape(-1)
    if flat.min() < 0 or flat.max() >= shape[0]:
        return None
    count = np.bincount(flat)
    rounds = int(count.max())
    if rounds > _ROUNDS:
        return None
    x = np.zeros(shape, g.dtype)
    rows = np.broadcast_to(g, (*index.shape, *shape[1:])).reshape(-1, *shape[1:])
    if rounds == 1:
        x[flat] = rows
        return x
    order = np.argsort(flat, kind="stable")
    turn = np.empty(len(flat), np.int64)
    turn[order] = np.arange(len(flat)) - np.repeat(np.cumsum(count) - count, count)
    for k in range(rounds):
        mine = np.flatnonzero(turn == k)
        x[flat[mine]] += rows[mine]
    return x


def _scatter_add(g: Any, *indices: Any, shape: Shape) -> Any:
    rest = shape[len(indices) :]
    if len(indices) == 1 and g.size and math.prod(rest) >= _ROW:
        x = _add_rows(g, indices[0], shape)
        if x is not None:
            return x
    x = np.zeros(shape, g.dtype)
    # NumPy adds at one index array into one axis a hundred times faster than at several or into rows: flatten to that.
    flat = _flat(indices, shape) if g.size > 200 and (rest or len(indices) > 1) else None
    if flat is None:
        np.add.at(x, indices, g)
    else:
        size = math.prod(rest)
        places = flat[..., None] * size + np.arange(size)
        np.add.at(x.reshape(-1), places.reshape(-1), np.broadcast_to(g, (*flat.shape, *rest)).reshape(-1))
    return x


def _scatter_batch(size: int, args: tuple[Any, ...], batched: tuple[bool, ...], shape: Shape) -> Any:
    g, *indices = args
    ready = _batched_indices(size, tuple(indices), batched[1:])
    rest = shape[len(indices) :]
    common = broadcast_shapes(*(i.shape for i in ready))
    if not batched[0]:
        g = broadcast_to(g, shape=(size, *g.shape))
    return scatter_add(broadcast_to(g, shape=(*common, *rest)), *ready, shape=(size, *shape))


scatter_add = linear(
    "scatter_add",
    _scatter_add,
    transpose=lambda g, _y, _x, *indices, shape: (gather(g, *indices), *(None for _ in indices)),
    shape=lambda g, *indices, shape: Spec(shape, g.dtype),
    batch=_scatter_batch,
    joint=True,
    lower=movement.scatter_add,
    samples=[
        Sample(normal(5, 3), integers(4, 5), shape=(4, 3)),
        Sample(normal(2, 2), integers(4, 2, 2), integers(3, 2), shape=(4, 3)),
        Sample(normal(5), integers(4, 5), shape=(4,)),
        Sample(normal(90, 3), integers(7, 90), shape=(7, 3)),
        Sample(normal(16, 14), integers(4, 16, 1), integers(3, 14), shape=(4, 3)),
    ],
    doc="Zeros of `shape` with the operand added at [indices]; repeated indices add up.",
)


def _index_update(x: Any, v: Any, *indices: Any) -> Any:
    y = np.array(x)
    y[indices] = v
    return y


def _kept(shape: Shape, v: Spec, indices: tuple[Any, ...]) -> Any:
    """For each written slice 1, or 0 if a later one overwrote it, shaped to multiply `v`."""
    common = v.shape[: len(v.shape) - (len(shape) - len(indices))]
    number = np.arange(int(np.prod(common))).reshape(common)
    last = gather(index_update(np.zeros(shape[: len(indices)], np.int64), number, *indices), *indices)
    kept = cast(equal(last, number), dtype=v.dtype)
    return reshape(kept, shape=(*common, *(1,) * (len(v.shape) - len(common))))


def _index_update_transpose(g: Any, _y: Any, _x: Any, v: Any, *indices: Any) -> tuple[Any, ...]:
    return (
        index_update(g, np.zeros(v.shape, v.dtype), *indices),
        gather(g, *indices) * _kept(g.shape, v, indices),
        *(None for _ in indices),
    )


def _index_update_batch(size: int, args: tuple[Any, ...], batched: tuple[bool, ...]) -> Any:
    x, v, *indices = args
    x, v = with_batch(size, (x, v), batched[:2])
    return index_update(x, v, *_batched_indices(size, tuple(indices), batched[2:]))


index_update = linear(
    "index_update",
    _index_update,
    transpose=_index_update_transpose,
    shape=lambda x, v, *indices: Spec(x.shape, x.dtype),
    batch=_index_update_batch,
    joint=True,
    lower=movement.index_update,
    samples=[
        Sample(normal(4, 3), normal(2, 3), np.array([2, 0])),
        Sample(normal(4, 3), normal(3, 3), np.array([2, 0, 2])),
        Sample(normal(4, 3), normal(2, 2), np.array([[2, 0], [1, 1]]), np.array([0, 2])),
    ],
    title="IndexPutBackward0",
    doc="x with v at [indices], integer arrays over the leading axes; of repeated indices the last one counts.",
)


# Along one axis


def along(index: Any, axis: int) -> tuple[Any, ...]:
    """Index arrays for every axis of `index`: itself at `axis`, open grids at the others."""
    rank = len(index.shape)
    return tuple(
        index if i == axis else np.arange(n).reshape((n, *(1,) * (rank - 1 - i))) for i, n in enumerate(index.shape)
    )


def take_along(x: Any, index: Any, axis: int) -> Any:
    """The elements of x that the integer array `index` names along `axis`.

    For axis 1: y[i, j, k] = x[i, index[i, j, k], k]. The ranks are equal; off `axis` no length of `index` exceeds x's.
    """
    return gather(x, *along(index, axis))


def put_along(x: Any, index: Any, v: Any, axis: int) -> Any:
    """x with v, of the shape of `index`, where `take_along` reads; of repeated places the last one counts."""
    return index_update(x, v, *along(index, axis))


def add_along(x: Any, index: Any, v: Any, axis: int) -> Any:
    """x with v, of the shape of `index`, added where `take_along` reads; repeated places add up."""
    return x + scatter_add(v, *along(index, axis), shape=tuple(x.shape))
