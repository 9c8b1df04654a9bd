"""What NumPy's brackets mean, in terms of `slice`, `transpose`, `gather` and their writes."""

from __future__ import annotations

from types import EllipsisType
from typing import Any

import numpy as np

from pullback.ops.cast import cast
from pullback.ops.index import gather, index_update, slice_, slice_update
from pullback.ops.shape import broadcast_to, reshape, transpose
from pullback.tape.node import Handle, new_handle, wrap
from pullback.tensor.dispatch import as_handle, is_raw, link, materialize
from pullback.tensor.inplace import move, update

__all__ = ["getitem", "setitem"]


def _array_index(part: Any) -> Any:
    """An index array (an array, or a handle for a batch or symbol) if `part` is one, else None."""
    if isinstance(part, Handle):
        if not is_raw(part):
            if part.dtype.kind not in "iu":
                raise TypeError("an index that is batched or traced must be of integers; use pb.where for masks")
            return part
        part = part._value
        if part.ndim == 0 and part.dtype.kind in "iu":
            return None
    if isinstance(part, np.ndarray | list | tuple | range) or (isinstance(part, bool | np.bool_)):
        array = np.asarray(part)
        if array.dtype.kind == "b" or array.dtype.kind in "iu":
            return array
        if array.size == 0:
            return array.astype(np.int64)
        raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
    return None


def _normalize(index: Any, shape: tuple[int, ...]) -> tuple[list[Any], bool]:
    """The parts of an index, one for each axis of `shape` and each new axis, and whether one is an array.

    Raises `IndexError` for too many parts, an integer out of range, or a part of no known kind.
    """
    parts = list(index) if isinstance(index, tuple) else [index]
    ready: list[Any] = []
    advanced = False
    for part in parts:
        array = _array_index(part)
        if array is None:
            if isinstance(part, Handle):
                part = int(part._value)
            elif isinstance(part, np.integer):
                part = int(part)
            elif isinstance(part, slice):
                part = slice(*(None if s is None else int(s) for s in (part.start, part.stop, part.step)))
            elif not (part is None or part is Ellipsis or isinstance(part, int)):
                raise IndexError(
                    "only integers, slices (`:`), ellipsis (`...`), None and integer or boolean arrays are valid "
                    f"indices, not {type(part).__name__}"
                )
            ready.append(part)
            continue
        advanced = True
        if not isinstance(array, Handle) and array.dtype.kind == "b":
            ready.append(array)
        else:
            ready.append(array)
    used = sum(
        p.ndim if isinstance(p, np.ndarray) and p.dtype.kind == "b" else 0 if p is None or p is Ellipsis else 1
        for p in ready
    )
    if used > len(shape):
        raise IndexError(f"too many indices for tensor of dimension {len(shape)}")
    fill = [slice(None)] * (len(shape) - used)
    spots = [i for i, p in enumerate(ready) if isinstance(p, EllipsisType)]
    if len(spots) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    if spots:
        ready[spots[0] : spots[0] + 1] = fill
    else:
        ready += fill
    _check(ready, shape)
    return ready, advanced


def _check(parts: list[Any], shape: tuple[int, ...]) -> None:
    axis = 0
    for part in parts:
        if part is None:
            continue
        if isinstance(part, int) and not isinstance(part, bool) and not -shape[axis] <= part < shape[axis]:
            raise IndexError(f"index {part} is out of bounds for dimension {axis} with size {shape[axis]}")
        if isinstance(part, np.ndarray) and part.dtype.kind == "b":
            if part.shape != shape[axis : axis + part.ndim]:
                raise IndexError(
                    f"The shape of the mask {list(part.shape)} does not match the shape of the indexed tensor "
                    f"{list(shape)} at dimension {axis}"
                )
            axis += part.ndim
            continue
        axis += 1


class _Advanced:
    """An index with arrays, taken apart: a basic slice, a permutation that brings the indexed axes to the front, the
    index arrays, and the permutation that puts the result's axes where NumPy has them.
    """

    def __init__(self, parts: list[Any], shape: tuple[int, ...]) -> None:
        basic: list[Any] = []
        arrays: list[Any] = []
        axes: list[int] = []  # in the sliced operand
        spots: list[int] = []  # which part each array was: decides where its result goes
        axis = 0
        for spot, part in enumerate(parts):
            if isinstance(part, np.ndarray) and part.dtype.kind == "b" and part.ndim != 0:
                for found in np.nonzero(part):
                    basic.append(slice(None))
                    arrays.append(found)
                    axes.append(axis)
                    spots.append(spot)
                    axis += 1
            elif isinstance(part, np.ndarray) and part.dtype.kind == "b":
                basic.append(None)
                arrays.append(np.zeros(int(part), np.int64))
                axes.append(axis)
                spots.append(spot)
                axis += 1
            elif isinstance(part, np.ndarray | Handle):
                basic.append(slice(None))
                arrays.append(part)
                axes.append(axis)
                spots.append(spot)
                axis += 1
            elif part is None:
                basic.append(None)
                axis += 1
            elif isinstance(part, slice):
                basic.append(part)
                axis += 1
            else:  # beside arrays NumPy treats an integer as one
                basic.append(slice(None))
                arrays.append(np.asarray(part))
                axes.append(axis)
                spots.append(spot)
                axis += 1
        self.basic = tuple(basic)
        self.arrays = arrays
        rank = axis
        self.front = (*axes, *(i for i in range(rank) if i not in axes))
        common = max(len(a.shape) for a in arrays)
        together = max(spots) - min(spots) == len(set(spots)) - 1
        lead = axes[0] if together else 0  # free axes that stay in front of the index axes
        free = rank - len(axes)
        self.back = (
            *range(common, common + lead),
            *range(common),
            *range(common + lead, common + free),
        )
        self.is_basic_trivial = all(isinstance(p, slice) and p == slice(None) for p in self.basic)


def _identity(axes: tuple[int, ...]) -> bool:
    return axes == tuple(range(len(axes)))


def _inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argsort(axes))


def getitem(input: Any, index: Any) -> Any:
    """`input[index]`, for everything NumPy takes; basic indices give a view."""
    x = as_handle(input)
    parts, advanced = _normalize(index, tuple(x._value.shape))
    if not advanced:
        source = materialize(x)
        basic = tuple(parts)
        return link(wrap(slice_(x, index=basic)), x, source, slice_, {"index": basic})
    plan = _Advanced(parts, tuple(x._value.shape))
    if not plan.is_basic_trivial:
        x = slice_(x, index=plan.basic)
    if not _identity(plan.front):
        x = transpose(x, axes=plan.front)
    y = gather(x, *plan.arrays)
    return y if _identity(plan.back) else transpose(y, axes=plan.back)


def setitem(input: Any, index: Any, value: Any) -> None:
    """`input[index] = value`, recorded if either is tracked."""
    x = input
    parts, advanced = _normalize(index, tuple(x._value.shape))
    dtype = x._value.dtype
    if not isinstance(value, Handle):
        value = new_handle(np.asarray(value))
    if value.dtype.kind == "c" and dtype.kind != "c":
        raise RuntimeError(f"can't write {value.dtype} values into a {dtype} tensor")
    if value.dtype != dtype:
        value = cast(value, dtype=dtype)
    if not advanced:
        basic = tuple(parts)
        shape = np.broadcast_to(np.empty((), np.bool_), x._value.shape)[basic].shape
        value = _fit(value, shape)

        def write(array: Any) -> None:
            array[basic] = value._value

        update(x, slice_update, value, write=write, index=basic)
        return
    plan = _Advanced(parts, tuple(x._value.shape))
    inner = wrap(x) if plan.is_basic_trivial else slice_(x, index=plan.basic)
    front = inner if _identity(plan.front) else transpose(inner, axes=plan.front)
    shape = gather(new_handle(np.broadcast_to(np.empty((), np.bool_), front.shape)), *plan.arrays).shape
    value = _fit(value, shape if _identity(plan.back) else tuple(shape[a] for a in plan.back))
    if not _identity(plan.back):
        value = transpose(value, axes=_inverse(plan.back))
    if front is x:
        where = tuple(a._value if isinstance(a, Handle) else a for a in plan.arrays)

        def scatter(array: Any) -> None:
            array[where] = value._value

        update(x, index_update, value, *plan.arrays, write=scatter)
        return
    written = index_update(front, value, *plan.arrays)
    if front is not inner:
        written = transpose(written, axes=_inverse(plan.front))
    move(x, written if inner is x else slice_update(x, written, index=plan.basic))


def _fit(value: Any, shape: tuple[int, ...]) -> Any:
    """`value` broadcast to `shape`; leading axes of length 1 may go, as in NumPy."""
    while len(value.shape) > len(shape) and value.shape[0] == 1:
        value = reshape(value, shape=value.shape[1:])
    if tuple(value.shape) == tuple(shape):
        return value
    try:
        return broadcast_to(value, shape=tuple(shape))
    except ValueError:
        raise RuntimeError(
            f"shape mismatch: a value of shape {tuple(value.shape)} can't be broadcast to the indexed shape {tuple(shape)}"
        ) from None


class IndexMethods:
    """Reading and writing parts, as methods of `Tensor`."""

    __getitem__ = getitem
    __setitem__ = setitem
