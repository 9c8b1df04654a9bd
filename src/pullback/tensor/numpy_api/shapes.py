"""NumPy's functions that move elements without changing them: reshape, permute, broadcast, join, split, repeat, pad.

Where NumPy gives a view, so do these.
"""

from __future__ import annotations

import builtins
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pullback.ops import shape as s
from pullback.ops.control import identity
from pullback.tape.node import Handle
from pullback.tensor.dispatch import to_dtype, view
from pullback.tensor.indexing import getitem
from pullback.tensor.numpy_api.operands import (
    all_axes,
    broadcast,
    deliver,
    lift,
    one_axis,
    promoted,
    rank,
    raw,
    shape_of,
)
from pullback.tensor.numpy_api.table import implements
from pullback.tensor.strided import unfold
from pullback.values.shape import Shape, broadcast_shapes, resolve_reshape


def _sizes(shape: Any) -> Shape:
    """A shape given as an integer or a sequence of them."""
    return tuple(int(n) for n in shape) if np.iterable(shape) else (int(shape),)


def _check_order(order: Any, allowed: str) -> None:
    if order not in allowed:
        raise ValueError(f"order must be one of {', '.join(map(repr, allowed))}, not {order!r}")


def index_at(axis: int, index: Any) -> tuple[Any, ...]:
    """`index` along `axis`, everything along the axes before it."""
    return (*(slice(None),) * axis, index)


def line(a: Any, axis: int | None) -> tuple[Any, int]:
    """An operand and its axis counted from the front; the flattened operand if `axis` is None."""
    x = lift(a)
    return (ravel(x), 0) if axis is None else (x, one_axis(axis, rank(x)))


def permuted(x: Any, axes: Sequence[int]) -> Any:
    """The axes in another order; a view."""
    order = tuple(axes)
    return x if order == tuple(range(len(order))) else view(s.transpose, x, axes=order)


@implements("reshape")
def reshape(a: Any, /, shape: Any, order: str = "C", *, copy: bool | None = None) -> Any:
    _check_order(order, "CFA")
    x = lift(a)
    try:
        full = resolve_reshape(math.prod(shape_of(x)), _sizes(shape))
    except RuntimeError:
        raise ValueError(f"cannot reshape array of size {math.prod(shape_of(x))} into shape {_sizes(shape)}") from None
    if order == "F":
        back = view(s.reshape, permuted(x, range(rank(x))[::-1]), shape=full[::-1])
        y = permuted(back, range(len(full))[::-1])
    else:
        y = view(s.reshape, x, shape=full)
    return y.clone() if copy else y


@implements("ravel")
def ravel(a: Any, order: str = "C") -> Any:
    _check_order(order, "CFAK")
    return reshape(a, -1, "F" if order == "F" else "C")


@implements("transpose", "permute_dims")
def transpose(a: Any, axes: Any = None) -> Any:
    x = lift(a)
    if axes is None:
        return permuted(x, range(rank(x))[::-1])
    order = tuple(one_axis(i, rank(x)) for i in (axes if hasattr(axes, "__iter__") else (axes,)))
    if sorted(order) != list(range(rank(x))):
        raise ValueError("axes don't match array" if len(order) != rank(x) else "repeated axis in transpose")
    return permuted(x, order)


@implements("matrix_transpose", "linalg.matrix_transpose")
def matrix_transpose(x: Any, /) -> Any:
    return swapaxes(x, -1, -2)


@implements("swapaxes")
def swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    x = lift(a)
    order = list(range(rank(x)))
    i, j = one_axis(axis1, rank(x)), one_axis(axis2, rank(x))
    order[i], order[j] = order[j], order[i]
    return permuted(x, order)


@implements("moveaxis")
def moveaxis(a: Any, source: Any, destination: Any) -> Any:
    x = lift(a)
    sources = [one_axis(i, rank(x)) for i in _sizes(source)]
    destinations = [one_axis(i, rank(x)) for i in _sizes(destination)]
    if len(sources) != len(destinations):
        raise ValueError("`source` and `destination` arguments must have the same number of elements")
    order = [i for i in range(rank(x)) if i not in sources]
    for place, axis in sorted(zip(destinations, sources, strict=True)):
        order.insert(place, axis)
    return permuted(x, order)


@implements("rollaxis")
def rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    x = lift(a)
    axis = one_axis(axis, rank(x))
    start = start + rank(x) if start < 0 else start
    return moveaxis(x, axis, start - (axis < start))


@implements("squeeze")
def squeeze(a: Any, axis: Any = None) -> Any:
    x = lift(a)
    shape = shape_of(x)
    axes = tuple(i for i, n in enumerate(shape) if n == 1) if axis is None else all_axes(axis, rank(x))
    if builtins.any(shape[i] != 1 for i in axes):
        raise ValueError("cannot select an axis to squeeze out which has size not equal to one")
    return view(s.reshape, x, shape=tuple(n for i, n in enumerate(shape) if i not in axes))


@implements("expand_dims")
def expand_dims(a: Any, axis: Any) -> Any:
    x = lift(a)
    added = _sizes(axis)
    total = rank(x) + len(added)
    axes = all_axes(added, total)
    rest = iter(shape_of(x))
    return view(s.reshape, x, shape=tuple(1 if i in axes else next(rest) for i in range(total)))


def _at_least(ndim: int) -> Any:
    def function(*arys: Any) -> Any:
        results = []
        for a in map(lift, arys):
            shape = shape_of(a)
            if ndim == 3 and len(shape) in (1, 2):
                shape = (1, *shape, 1) if len(shape) == 1 else (*shape, 1)
            else:
                shape = (1,) * (ndim - len(shape)) + shape
            results.append(a if shape == shape_of(a) else view(s.reshape, a, shape=shape))
        return results[0] if len(results) == 1 else tuple(results)

    return function


atleast_1d, atleast_2d, atleast_3d = (implements(f"atleast_{n}d")(_at_least(n)) for n in (1, 2, 3))


@implements("broadcast_to")
def broadcast_to(array: Any, shape: Any, subok: bool = False) -> Any:
    x = lift(array)
    full = _sizes(shape)
    if broadcast_shapes(shape_of(x), full) != full:
        raise ValueError(f"can't broadcast shape {shape_of(x)} to {full}")
    return broadcast(x, full)


@implements("broadcast_arrays")
def broadcast_arrays(*args: Any, subok: bool = False) -> tuple[Any, ...]:
    xs = [lift(a) for a in args]
    shape = broadcast_shapes(*map(shape_of, xs))
    return tuple(broadcast(x, shape) for x in xs)


# Join


def _parts(arrays: Any) -> list[Any]:
    """The operands of a join: a sequence, or a Tensor taken along its first axis."""
    parts = list(s.unbind(arrays, axis=0)) if isinstance(arrays, Handle) else [lift(a) for a in arrays]
    if not parts:
        raise ValueError("need at least one array to concatenate")
    return parts


def _same_dtype(parts: list[Any], dtype: Any) -> list[Any]:
    return [to_dtype(x, np.dtype(dtype)) for x in parts] if dtype is not None else list(promoted(*parts))


@implements("concatenate", "concat")
def concatenate(
    arrays: Any, /, axis: int | None = 0, out: Any = None, *, dtype: Any = None, casting: str = "same_kind"
) -> Any:
    parts = _same_dtype(_parts(arrays), dtype)
    if axis is None:
        parts, axis = [ravel(x) for x in parts], 0
    if builtins.any(rank(x) == 0 for x in parts):
        raise ValueError("zero-dimensional arrays cannot be concatenated")
    axis = one_axis(axis, rank(parts[0]))
    first = shape_of(parts[0])
    for x in parts:
        shape = shape_of(x)
        if len(shape) != len(first) or shape[:axis] + shape[axis + 1 :] != first[:axis] + first[axis + 1 :]:
            raise ValueError(
                f"can't concatenate along axis {axis}: shapes {', '.join(str(shape_of(x)) for x in parts)}"
            )
    return deliver(s.concatenate(*parts, axis=axis), out, casting)


@implements("stack")
def stack(arrays: Any, axis: int = 0, out: Any = None, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    parts = _same_dtype(_parts(arrays), dtype)
    if len({shape_of(x) for x in parts}) != 1:
        raise ValueError("all input arrays must have the same shape")
    return deliver(s.stack(*parts, axis=one_axis(axis, rank(parts[0]) + 1)), out, casting)


@implements("vstack")
def vstack(tup: Any, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    return concatenate([atleast_2d(x) for x in _parts(tup)], 0, dtype=dtype, casting=casting)


@implements("hstack")
def hstack(tup: Any, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    parts = [atleast_1d(x) for x in _parts(tup)]
    return concatenate(parts, 0 if rank(parts[0]) == 1 else 1, dtype=dtype, casting=casting)


@implements("dstack")
def dstack(tup: Any) -> Any:
    return concatenate([atleast_3d(x) for x in _parts(tup)], 2)


@implements("column_stack")
def column_stack(tup: Any) -> Any:
    parts = [x if rank(x) >= 2 else reshape(x, (-1, 1)) for x in _parts(tup)]
    return concatenate(parts, 1)


@implements("append")
def append(arr: Any, values: Any, axis: int | None = None) -> Any:
    return concatenate((arr, values), axis)


# Split


@implements("array_split")
def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    x = lift(ary)
    axis = one_axis(axis, rank(x))
    size = shape_of(x)[axis]
    if np.iterable(indices_or_sections):
        cuts = [0, *(int(i) for i in indices_or_sections), size]
    else:
        count = int(indices_or_sections)
        if count <= 0:
            raise ValueError("number sections must be larger than 0.")
        each, extra = divmod(size, count)
        cuts = [i * each + builtins.min(i, extra) for i in range(count + 1)]
    return [getitem(x, index_at(axis, slice(a, b))) for a, b in itertools.pairwise(cuts)]


@implements("split")
def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    x = lift(ary)
    if not np.iterable(indices_or_sections) and shape_of(x)[one_axis(axis, rank(x))] % int(indices_or_sections):
        raise ValueError("array split does not result in an equal division")
    return array_split(x, indices_or_sections, axis)


@implements("hsplit")
def hsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    return split(ary, indices_or_sections, 1 if rank(lift(ary)) > 1 else 0)


@implements("vsplit")
def vsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    if rank(lift(ary)) < 2:
        raise ValueError("vsplit only works on arrays of 2 or more dimensions")
    return split(ary, indices_or_sections, 0)


@implements("dsplit")
def dsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    if rank(lift(ary)) < 3:
        raise ValueError("dsplit only works on arrays of 3 or more dimensions")
    return split(ary, indices_or_sections, 2)


@implements("unstack")
def unstack(x: Any, /, *, axis: int = 0) -> tuple[Any, ...]:
    front = moveaxis(x, axis, 0)
    return tuple(getitem(front, i) for i in range(shape_of(front)[0]))


# Repeat, reverse, rotate


@implements("tile")
def tile(A: Any, reps: Any) -> Any:
    x = lift(A)
    times = _sizes(reps)
    ndim = builtins.max(rank(x), len(times))
    times = (1,) * (ndim - len(times)) + times
    shape = (1,) * (ndim - rank(x)) + shape_of(x)
    apart = s.reshape(x, shape=tuple(n for size in shape for n in (1, size)))
    wide = broadcast(apart, tuple(n for pair in zip(times, shape, strict=True) for n in pair))
    tiled = s.reshape(wide, shape=tuple(t * n for t, n in zip(times, shape, strict=True)))
    return identity(tiled) if builtins.any(n == 1 for n in shape) else tiled  # where NumPy's reshape is a view


@implements("repeat")
def repeat(a: Any, repeats: Any, axis: int | None = None) -> Any:
    x, axis = line(a, axis if rank(lift(a)) or axis not in (0, -1) else None)  # NumPy lets a number be a line
    return getitem(x, index_at(axis, np.repeat(np.arange(shape_of(x)[axis]), raw(repeats, "repeats"))))


@implements("flip")
def flip(m: Any, axis: Any = None) -> Any:
    x = lift(m)
    axes = all_axes(axis, rank(x))
    return getitem(x, tuple(slice(None, None, -1 if i in axes else None) for i in range(rank(x))))


@implements("fliplr")
def fliplr(m: Any) -> Any:
    if rank(lift(m)) < 2:
        raise ValueError("Input must be >= 2-d.")
    return flip(m, 1)


@implements("flipud")
def flipud(m: Any) -> Any:
    if rank(lift(m)) < 1:
        raise ValueError("Input must be >= 1-d.")
    return flip(m, 0)


@implements("rot90")
def rot90(m: Any, k: int = 1, axes: Any = (0, 1)) -> Any:
    x = lift(m)
    first, second = (one_axis(i, rank(x)) for i in axes)
    if first == second:
        raise ValueError("Axes must be different.")
    turned = flip(x, second) if k % 4 in (1, 2) else x
    turned = flip(turned, first) if k % 4 in (2, 3) else turned
    return swapaxes(turned, first, second) if k % 2 else turned


@implements("roll")
def roll(a: Any, shift: Any, axis: Any = None) -> Any:
    x = lift(a)
    if axis is None:
        return s.reshape(roll(ravel(x), shift, 0), shape=shape_of(x))
    shifts, axes = np.broadcast_arrays(np.atleast_1d(shift), np.atleast_1d(axis))
    total: dict[int, int] = {}
    for n, i in zip(shifts.tolist(), axes.tolist(), strict=True):
        i = one_axis(i, rank(x))
        total[i] = total.get(i, 0) + n
    return s.roll(x, shift=tuple(total.values()), axis=tuple(total))


@implements("lib.stride_tricks.sliding_window_view")
def sliding_window_view(
    x: Any, window_shape: Any, axis: Any = None, *, subok: bool = False, writeable: bool = False
) -> Any:
    """Windows along `axis`, one axis for each of `window_shape`; a view, which can't be written."""
    x = lift(x)
    sizes = _sizes(window_shape)
    axes = range(rank(x)) if axis is None else _sizes(axis)
    if len(axes) != len(sizes):
        raise ValueError(
            f"Must provide matching length window_shape and axis; got {len(sizes)} window_shape elements and "
            f"{len(axes)} axes elements."
        )
    for size, at in zip(sizes, [one_axis(a, rank(x)) for a in axes], strict=True):
        if size < 0:
            raise ValueError("`window_shape` cannot contain negative values")
        if size > shape_of(x)[at]:
            raise ValueError("window shape cannot be larger than input array shape")
        x = unfold(x, at, size, 1)
    return x
