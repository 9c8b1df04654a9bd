"""NumPy's functions that write into an array, or give it back with elements put in, out or in another place.

The first write into a Tensor, as an assignment does; into a NumPy array they refuse to write what is tracked.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pullback.ops.index import along
from pullback.tape.node import Handle
from pullback.tensor.indexing import getitem, setitem
from pullback.tensor.numpy_api import shapes
from pullback.tensor.numpy_api.operands import (
    deliver,
    dtype_of,
    keep_old,
    lift,
    one_axis,
    promoted,
    rank,
    raw,
    select,
    shape_of,
    with_dtype,
)
from pullback.tensor.numpy_api.shapes import index_at, line
from pullback.tensor.numpy_api.table import implements


def _write(a: Any, index: Any, values: Any) -> None:
    """`a[index] = values`; into an array only what is not tracked."""
    if isinstance(a, Handle):
        setitem(a, index, with_dtype(values, dtype_of(a)))
        return
    values = lift(values)
    a[index] = deliver(values, np.empty(shape_of(values), a.dtype), "unsafe")


def _cycled(values: Any, count: int) -> Any:
    """The elements repeated, or cut off, to `count`."""
    flat = shapes.ravel(values)
    return getitem(flat, (np.resize(np.arange(shape_of(flat)[0]), count),))


def _shape(a: Any) -> tuple[int, ...]:
    return shape_of(lift(a))


@implements("put")
def put(a: Any, ind: Any, v: Any, mode: str = "raise") -> None:
    """In place; the values are repeated as needed."""
    places = np.ravel(raw(ind, "an index"))
    size = math.prod(_shape(a))
    if mode == "raise" and places.size and (places.min() < -size or places.max() >= size):
        raise IndexError(f"index {places[(places < -size) | (places >= size)][0]} is out of bounds for size {size}")
    places = np.clip(places, 0, size - 1) if mode == "clip" else places % size
    if places.size:
        _write(a, np.unravel_index(places, _shape(a)), _cycled(v, places.size))


@implements("place")
def place(arr: Any, mask: Any, vals: Any) -> None:
    """In place: the values in turn where the mask holds."""
    where = np.flatnonzero(raw(mask, "the mask"))
    if where.size:
        if not math.prod(_shape(lift(vals))):
            raise ValueError("Cannot insert from an empty array!")
        _write(arr, np.unravel_index(where, _shape(arr)), _cycled(vals, where.size))


@implements("putmask")
def putmask(a: Any, mask: Any, values: Any) -> None:
    """In place: where the mask holds the value at the same place, the values being repeated to the size of `a`."""
    shape = _shape(a)
    full = shapes.reshape(_cycled(values, math.prod(shape)), shape)
    copyto(a, full, "unsafe", shapes.reshape(lift(mask), shape))


@implements("copyto")
def copyto(dst: Any, src: Any, casting: str = "same_kind", where: Any = True) -> None:
    """In place."""
    if not isinstance(dst, Handle):
        mask = True if where is True else np.asarray(raw(where, "the mask"), bool)
        source = deliver(lift(src), np.empty(shape_of(lift(src)), dst.dtype), casting)
        np.copyto(dst, source, casting=casting, where=mask)  # type: ignore[arg-type]
        return
    new = shapes.broadcast_to(src, shape_of(dst))
    if not np.can_cast(dtype_of(new), dtype_of(dst), casting):  # type: ignore[arg-type]
        raise TypeError(f"Cannot cast array data from {dtype_of(new)!r} to {dtype_of(dst)!r} according to {casting!r}")
    new = with_dtype(new, dtype_of(dst))
    deliver(new if where is True else select(shapes.broadcast_to(where, shape_of(dst)), new, keep_old(dst, dst)), dst)


@implements("put_along_axis")
def put_along_axis(arr: Any, indices: Any, values: Any, axis: int | None) -> None:
    """In place; of repeated places the last one counts."""
    index = lift(indices)
    if axis is None:
        put(arr, index, shapes.broadcast_to(values, shape_of(index)))
        return
    axis = one_axis(axis, len(_shape(arr)))
    if rank(index) != len(_shape(arr)):
        raise ValueError("`indices` and `arr` must have the same number of dimensions")
    wide = tuple(m if i == axis else n for i, (m, n) in enumerate(zip(shape_of(index), _shape(arr), strict=True)))
    index = shapes.broadcast_to(index, wide)
    places = along(index, axis)
    if not isinstance(arr, Handle):
        places = tuple(np.asarray(raw(p, "an index")) for p in places)
    _write(arr, places, shapes.broadcast_to(values, wide))


@implements("fill_diagonal")
def fill_diagonal(a: Any, val: Any, wrap: bool = False) -> None:
    """In place: the main diagonal, going on below it if `wrap`; the values are repeated as needed."""
    shape = _shape(a)
    if len(shape) < 2:
        raise ValueError("array must be at least 2-d")
    if len(shape) == 2:
        step, end = shape[1] + 1, math.prod(shape) if wrap else shape[1] * shape[1]
    else:
        if len(set(shape)) != 1:
            raise ValueError("All dimensions of input must be of equal length")
        step, end = 1 + int(np.cumprod(shape[:-1]).sum()), math.prod(shape)
    put(a, np.arange(0, min(end, math.prod(shape)), step), val)


# Copies with elements put in and taken out


@implements("insert")
def insert(arr: Any, obj: Any, values: Any, axis: int | None = None) -> Any:
    """Before the places `obj` (an integer, a slice, integers or a mask)."""
    x, axis = line(arr, axis)
    size = shape_of(x)[axis]
    where = obj if isinstance(obj, slice) else np.asarray(raw(obj, "the place"))
    if isinstance(where, slice):
        where = np.arange(*where.indices(size))
    elif where.dtype == bool:
        where = np.flatnonzero(where)
    new = with_dtype(values, dtype_of(x))
    new = shapes.reshape(new, (1,) * (rank(x) - rank(new)) + shape_of(new)) if rank(new) < rank(x) else new
    if where.ndim == 0:
        new = shapes.moveaxis(new, 0, axis)
    count = shape_of(new)[axis] if where.size == 1 else where.size
    if where.size == 1:
        where = np.full(count, int(where.reshape(-1)[0]))
    wide = tuple(count if i == axis else n for i, n in enumerate(shape_of(x)))
    both = shapes.concatenate((x, shapes.broadcast_to(new, wide)), axis)
    order = np.insert(np.arange(size), where.astype(np.intp), np.arange(size, size + count))
    return getitem(both, index_at(axis, order))


@implements("delete")
def delete(arr: Any, obj: Any, axis: int | None = None) -> Any:
    x, axis = line(arr, axis)
    where = obj if isinstance(obj, slice) else raw(obj, "the place")
    return getitem(x, index_at(axis, np.delete(np.arange(shape_of(x)[axis]), where)))


@implements("resize")
def resize(a: Any, new_shape: Any) -> Any:
    """The elements in order, over and over until the shape is full."""
    shape = tuple(int(n) for n in np.atleast_1d(new_shape))
    if any(n < 0 for n in shape):
        raise ValueError("all elements of `new_shape` must be non-negative")
    x = lift(a)
    if not math.prod(shape_of(x)):
        return lift(np.zeros(shape, dtype_of(x)))
    return shapes.reshape(_cycled(x, math.prod(shape)), shape)


@implements("block")
def block(arrays: Any) -> Any:
    """Nested lists of blocks, joined along the last axis in the innermost list, along the one before in the next."""
    depth = _depth(arrays)
    parts = list(promoted(*(lift(x) for x in _leaves(arrays))))
    ndim = max(depth, *(rank(x) for x in parts))
    return _assembled(arrays, depth, ndim, iter(parts))


def _leaves(arrays: Any) -> list[Any]:
    return [x for part in arrays for x in _leaves(part)] if isinstance(arrays, list) else [arrays]


def _depth(arrays: Any) -> int:
    if isinstance(arrays, tuple):
        raise TypeError("tuple arguments are ambiguous; nest the blocks in lists")
    if not isinstance(arrays, list):
        return 0
    depths = {_depth(part) for part in arrays}
    if not depths:
        raise ValueError("List at arrays cannot be empty")
    if len(depths) > 1:
        raise ValueError("List depths are mismatched")
    return 1 + depths.pop()


def _assembled(arrays: Any, depth: int, ndim: int, parts: Any) -> Any:
    if not isinstance(arrays, list):
        x = next(parts)
        return shapes.reshape(x, (1,) * (ndim - rank(x)) + shape_of(x)) if rank(x) < ndim else x
    return shapes.concatenate([_assembled(part, depth - 1, ndim, parts) for part in arrays], axis=ndim - depth)
