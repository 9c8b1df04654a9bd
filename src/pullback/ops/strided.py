"""Other views of the same memory: strides, sliding windows, pairs of reals as complex numbers.

`windows` and `overlap_add` are each other's transposes, as are `view_as_complex` and `view_as_real`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from pullback.ops import movement
from pullback.ops.cast import conj, real_of
from pullback.ops.index import scatter_add
from pullback.ops.samples import Sample, complex_normal, normal
from pullback.ops.shape import reshape, with_batch
from pullback.ops.table import UNSUPPORTED, Op, linear
from pullback.values.shape import Shape, Spec

__all__ = ["as_strided", "overlap_add", "places", "view_as_complex", "view_as_real", "windows"]


# Strides

_FEW = 32  # slices to add one after the other rather than element by element


def places(shape: Shape, strides: Shape, offset: int) -> Any:
    """Where in its memory, in elements, a strided array has its elements: an integer array of `shape`."""
    found = np.full(shape, offset, np.int64)
    for axis, (n, stride) in enumerate(zip(shape, strides, strict=True)):
        found += (np.arange(n) * stride).reshape((n,) + (1,) * (len(shape) - 1 - axis))
    return found


def _as_strided(x: Any, shape: Shape, strides: Shape, offset: int) -> Any:
    if 0 in shape:
        return np.zeros(shape, x.dtype)
    memory = np.ascontiguousarray(x)
    return np.ndarray(shape, x.dtype, memory, offset * x.itemsize, [s * x.itemsize for s in strides])


def _looped(shape: Shape, strides: Shape) -> list[int]:
    """Axes to loop over, so that the others reach no element twice."""
    reach, looped = 1, []
    for axis in sorted((i for i, n in enumerate(shape) if n > 1), key=lambda i: strides[i]):
        if strides[axis] < reach:
            looped.append(axis)
        else:
            reach = strides[axis] * (shape[axis] - 1) + reach
    return looped


def _as_strided_transpose(g: Any, _y: Any, x: Any, shape: Shape, strides: Shape, offset: int) -> Any:
    looped = _looped(shape, strides)
    if type(g) is np.ndarray and g.size and math.prod(shape[a] for a in looped) <= _FEW:
        d = np.zeros(x.shape, g.dtype)
        place, value = (np.moveaxis(v, looped, range(len(looped))) for v in (_as_strided(d, shape, strides, offset), g))
        if not looped:
            place[...] = value
        for at in np.ndindex(*place.shape[: len(looped)]) if looped else ():
            place[at] += value[at]
        return d
    where, size = places(shape, strides, offset).reshape(-1), math.prod(x.shape)
    return reshape(scatter_add(reshape(g, shape=(len(where),)), where, shape=(size,)), shape=x.shape)


def _as_strided_writeback(parent: Any, new: Any, shape: Shape, strides: Shape, offset: int) -> Any:
    return as_strided_update, (parent, new), {"shape": shape, "strides": strides, "offset": offset}


as_strided: Op = linear(
    "as_strided",
    _as_strided,
    _as_strided_transpose,
    shape=lambda x, shape, strides, offset: Spec(shape, x.dtype),
    batch=lambda size, args, batched, shape, strides, offset: as_strided(
        *args, shape=(size, *shape), strides=(math.prod(args[0].shape[1:]), *strides), offset=offset
    ),
    lower=movement.as_strided,
    samples=[
        Sample(normal(3, 3), shape=(2, 2), strides=(1, 2), offset=1),
        Sample(normal(16), shape=(2, 2, 3), strides=(1, 0, 7), offset=0),
        Sample(normal(4), shape=(), strides=(), offset=2),
        Sample(normal(4), shape=(0, 2), strides=(1, 1), offset=3),
    ],
    writeback=_as_strided_writeback,
    doc="The elements of x, in order of memory, at `offset` + Σ i·stride; a view of a contiguous x.",
)


def _as_strided_update(x: Any, v: Any, shape: Shape, strides: Shape, offset: int) -> Any:
    y = np.array(x, order="C")
    if not v.size:
        pass
    elif _looped(shape, strides):
        y.reshape(-1)[places(shape, strides, offset)] = v
    else:
        _as_strided(y, shape, strides, offset)[...] = v
    return y


def _update_value(g: Any, _y: Any, x: Any, v: Any, shape: Shape, strides: Shape, offset: int) -> Any:
    d = as_strided(g, shape=shape, strides=strides, offset=offset)
    if not _looped(shape, strides):
        return d
    where = places(shape, strides, offset)
    last = np.empty(math.prod(g.shape), np.int64)
    last[where] = np.arange(where.size).reshape(shape)
    kept = last[where] == np.arange(where.size).reshape(shape)
    return d if kept.all() else d * kept.astype(g.dtype)


as_strided_update: Op = linear(
    "as_strided_update",
    _as_strided_update,
    lambda g, _y, _x, v, **params: as_strided_update(g, np.zeros(v.shape, v.dtype), **params),
    _update_value,
    shape=lambda x, v, shape, strides, offset: Spec(x.shape, x.dtype),
    batch=lambda size, args, batched, shape, strides, offset: as_strided_update(
        *with_batch(size, args, batched),
        shape=(size, *shape),
        strides=(math.prod(args[0].shape[batched[0] :]), *strides),
        offset=offset,
    ),
    joint=True,
    lower=movement.as_strided_update,
    samples=[
        Sample(normal(3, 3), normal(2, 2), shape=(2, 2), strides=(1, 3), offset=1),
        Sample(normal(6), normal(2, 3), shape=(2, 3), strides=(1, 2), offset=0),
        Sample(normal(6), normal(2, 3), shape=(2, 3), strides=(1, 1), offset=0),
    ],
    title="AsStridedScatterBackward0",
    doc="x with v where `as_strided` reads; of elements that are read several times the last one counts.",
)


# Windows


def _windows(x: Any, axis: int, size: int, step: int) -> Any:
    return sliding_window_view(x, size, axis)[(slice(None),) * axis + (slice(None, None, step),)]


def _windows_shape(x: Spec, axis: int, size: int, step: int) -> Spec:
    count = (x.shape[axis] - size) // step + 1
    return Spec((*x.shape[:axis], count, *x.shape[axis + 1 :], size), x.dtype)


windows: Op = linear(
    "windows",
    _windows,
    lambda g, _y, x, axis, size, step: overlap_add(g, axis=axis, step=step, length=x.shape[axis]),
    shape=_windows_shape,
    batch=lambda size_, args, batched, axis, size, step: windows(*args, axis=axis + 1, size=size, step=step),
    lower=movement.windows,
    samples=[
        Sample(normal(6), axis=0, size=3, step=1),
        Sample(normal(7, 2), axis=0, size=3, step=2),
        Sample(normal(2, 7, 3), axis=1, size=2, step=4),
        Sample(normal(4), axis=0, size=4, step=1),
    ],
    title="UnfoldBackward0",
    doc="""The windows of `size` neighbours along `axis`, `step` apart: `axis` counts them, and what stands in a window
    is the last axis. A view.""",
)


def _overlap_add(g: Any, axis: int, step: int, length: int) -> Any:
    g = np.moveaxis(g, axis, -2)
    count, size = g.shape[-2:]
    x = np.zeros((*g.shape[:-2], length), g.dtype)
    if not count:
        pass
    elif size <= count:
        for i in range(size):
            x[..., i : i + step * (count - 1) + 1 : step] += g[..., i]
    else:
        for i in range(count):
            x[..., i * step : i * step + size] += g[..., i, :]
    return np.moveaxis(x, -1, axis)


def _overlap_add_shape(g: Spec, axis: int, step: int, length: int) -> Spec:
    return Spec((*g.shape[:axis], length, *g.shape[axis + 1 : -1]), g.dtype)


overlap_add: Op = linear(
    "overlap_add",
    _overlap_add,
    lambda g, _y, x, axis, step, length: _windows_like(g, x.shape, axis, step),
    shape=_overlap_add_shape,
    batch=lambda size, args, batched, axis, step, length: overlap_add(*args, axis=axis + 1, step=step, length=length),
    lower=movement.overlap_add,
    samples=[
        Sample(normal(4, 3), axis=0, step=1, length=6),
        Sample(normal(3, 2, 3), axis=0, step=2, length=8),
        Sample(normal(2, 2, 3), axis=1, step=4, length=7),
    ],
    doc="""Zeros of `length` along `axis` with windows (the last axis of x) added, `step` apart, where they overlap and
    elsewhere: the transpose of `windows`.""",
)


def _windows_like(g: Any, shape: Shape, axis: int, step: int) -> Any:
    """The windows of g, as many as `shape` has along `axis`."""
    y = windows(g, axis=axis, size=shape[-1], step=step)
    return y if y.shape[axis] == shape[axis] else y[(slice(None),) * axis + (slice(0, shape[axis]),)]


# Complex numbers as pairs


def _view_as_complex(x: Any) -> Any:
    dtype = np.result_type(x.dtype, np.complex64)
    if x.dtype.itemsize * 2 != dtype.itemsize or x.strides[-1] != x.itemsize:
        x = np.ascontiguousarray(x, dtype.type().real.dtype)
    return x.view(dtype)[..., 0]


def _view_as_real(x: Any) -> Any:
    x = np.asarray(x)
    return x[..., None].view(x.real.dtype)


view_as_complex: Op = linear(
    "view_as_complex",
    _view_as_complex,
    lambda g, _y, _x: view_as_real(conj(g)),
    shape=lambda x: Spec(x.shape[:-1], np.result_type(x.dtype, np.complex64)),
    batch=lambda size, args, batched: view_as_complex(*args),
    lower=UNSUPPORTED("complex numbers are computed by NumPy"),
    samples=[Sample(normal(3, 2)), Sample(normal(2))],
    writeback=lambda parent, new: (view_as_real, (new,), {}),
    doc="The complex numbers x[..., 0] + x[..., 1]·i of a real x whose last axis has length 2; a view.",
)
view_as_real: Op = linear(
    "view_as_real",
    _view_as_real,
    lambda g, _y, _x: view_as_complex(g),
    shape=lambda x: Spec((*x.shape, 2), real_of(x).dtype),
    batch=lambda size, args, batched: view_as_real(*args),
    lower=UNSUPPORTED("complex numbers are computed by NumPy"),
    samples=[Sample(complex_normal(3)), Sample(complex_normal(2, 1))],
    writeback=lambda parent, new: (view_as_complex, (new,), {}),
    doc="The real and imaginary parts of a complex x, as a new last axis of length 2; a view.",
)
