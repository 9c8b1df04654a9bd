"""What NumPy's brackets mean, in terms of `slice`, `transpose`, `gather` and their writes."""

from __future__ import annotations

from collections.abc import Sequence
from types import EllipsisType
from typing import Any

import numpy as np

from pullback.ops.cast import cast
from pullback.ops.elementwise import where
from pullback.ops.index import gather, index_update, slice_, slice_update
from pullback.ops.shape import broadcast_to, reshape, transpose
from pullback.tape.node import Handle, LeafMark, Node, make, new_handle, note, set_node, wrap
from pullback.tape.state import modes
from pullback.tensor.dispatch import as_handle, is_raw, link, materialize, register_view, to_dtype
from pullback.tensor.gathering import GatherMethods
from pullback.tensor.inplace import check_writable, move, update
from pullback.values.shape import Shape, Spec

_select = slice_.titled("SelectBackward0")
_unsqueeze = slice_.titled("UnsqueezeBackward0")
_alias = slice_.titled("AliasBackward0")
_index_of_view = transpose.titled("IndexBackward0")


def _array_index(part: Any) -> Any:
    """An index array (an array, or a handle for a batch or symbol) if `part` is one, else None."""
    if isinstance(part, Handle):
        if not is_raw(part):
            if part.dtype.kind not in "iu":
                raise IndexError("an index that is batched or traced must be of integers; use pb.where for masks")
            return part
        part = part._value
        if part.ndim == 0 and part.dtype.kind in "iu":
            return None
        part = np.array(part)  # the backward pass reads it, whatever is written to it until then
    elif isinstance(part, np.integer):
        return None
    elif isinstance(part, list | tuple):
        part = [p._value if isinstance(p, Handle) else p for p in part]
    if isinstance(part, np.ndarray | list | range | bool | np.bool_):
        array = np.array(part)
        if array.dtype.kind in "biu":
            return array
        if array.size == 0 and isinstance(part, list):
            return array.astype(np.int64)
        raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
    return None


def _integer(value: Any) -> Any:
    """A bound of a slice, an integer of any kind, as a Python one; None stays None."""
    if isinstance(value, Handle):
        value = value._value
    return value if value is None else value.__index__()


def _basic_part(part: Any) -> Any:
    """An integer, slice, None or Ellipsis with nothing but Python integers in it."""
    if part is None or isinstance(part, int | EllipsisType):
        return part
    if isinstance(part, slice):
        return slice(_integer(part.start), _integer(part.stop), _integer(part.step))
    if isinstance(part, Handle | np.integer):
        return _integer(part)
    raise IndexError(
        "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices "
        f"(got {type(part).__name__})"
    )


def _width(part: Any) -> int:
    """How many axes of the operand a part of an index stands for."""
    if isinstance(part, np.ndarray) and part.dtype.kind == "b":
        return part.ndim
    return 0 if part is None or part is Ellipsis else 1


def normalize_index(index: Any, shape: Shape) -> tuple[list[Any], bool]:
    """The parts of an index, one for each axis of `shape` and each new axis, and whether one is an array.

    Raises `IndexError` for too many parts, an integer out of range, or a part of no known kind.
    """
    given = index if isinstance(index, tuple) else (index,)
    parts: list[Any] = []
    advanced = False
    for part in given:
        array = _array_index(part)
        advanced |= array is not None
        parts.append(_basic_part(part) if array is None else array)
    used = sum(map(_width, parts))
    if used > len(shape):
        if not shape and all(isinstance(part, int) for part in parts):
            raise IndexError(
                "invalid index of a 0-dim tensor. Use `tensor.item()` to convert a 0-dim tensor to a Python number"
            )
        raise IndexError(f"too many indices for tensor of dimension {len(shape)}")
    dots = [i for i, part in enumerate(parts) if part is Ellipsis]
    if len(dots) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    fill: list[Any] = [slice(None)] * (len(shape) - used)
    if dots and not fill and advanced and modes.numpy:
        fill = [Ellipsis]  # stands for nothing, but NumPy counts it as standing between its neighbours
    spot = dots[0] if dots else len(parts)
    parts[spot : spot + len(dots)] = fill
    _check_bounds(parts, shape)
    return parts, advanced


def _check_bounds(parts: list[Any], shape: Shape) -> None:
    axis = 0
    for part in parts:
        if isinstance(part, int) and not -shape[axis] <= part < shape[axis]:
            raise IndexError(f"index {part} is out of bounds for dimension {axis} with size {shape[axis]}")
        if isinstance(part, np.ndarray) and part.dtype.kind == "b" and part.shape != shape[axis : axis + part.ndim]:
            raise IndexError(
                f"The shape of the mask {list(part.shape)} at index 0 does not match the shape of the indexed tensor "
                f"{list(shape)} at index {axis}"
            )
        axis += _width(part)


class _Advanced:
    """An index with arrays, taken apart: a basic slice, a permutation that brings the indexed axes to the front, the
    index arrays, and the permutation that puts the result's axes where they belong: where the first index array stood
    if the arrays stand side by side, in front otherwise.

    An integer beside arrays is taken out first, as in PyTorch; in a function that a transform runs for NumPy arguments
    it counts as one of the arrays, as in NumPy. That differs where a slice stands between the two: x[0, :, index].
    """

    def __init__(self, parts: list[Any]) -> None:
        basic: list[Any] = []
        arrays: list[Any] = []
        axes: list[int] = []  # of the sliced operand
        spots: list[int] = []  # which part each array was
        integers: list[int] = []
        for spot, part in enumerate(parts):
            axis = len(basic) - len(integers)
            found: list[Any] = []
            if isinstance(part, int) and not isinstance(part, bool):
                integers.append(spot)
                basic.append(part)
            elif part is None or isinstance(part, slice):
                basic.append(part)
            elif part is Ellipsis:
                continue
            elif isinstance(part, np.ndarray) and part.dtype.kind == "b":
                found = list(np.nonzero(part)) if part.ndim else [np.zeros(int(part), np.int64)]
                basic += [slice(None)] * len(found) if part.ndim else [None]
            else:
                found = [part]
                basic.append(slice(None))
            arrays += found
            axes += range(axis, axis + len(found))
            spots += [spot] * len(found)
        self.basic = tuple(basic)
        self.arrays = arrays
        rank = len(basic) - len(integers)
        common = max(len(a.shape) for a in arrays)
        together = _together(sorted({*spots, *integers}), ()) if modes.numpy else _together(spots, integers)
        lead = axes[0] if together else 0  # free axes that stay in front of the index axes
        free = rank - len(axes)
        self.front = (*axes, *(i for i in range(rank) if i not in axes))
        self.back = (*range(common, common + lead), *range(common), *range(common + lead, common + free))
        self.is_whole = all(isinstance(part, slice) and part == slice(None) for part in basic)


def _together(spots: Sequence[int], ignored: Sequence[int]) -> bool:
    """Whether nothing stands between the parts at `spots`, but what is ignored."""
    return all(i in spots or i in ignored for i in range(min(spots), max(spots)))


def _identity(axes: Shape) -> bool:
    return axes == tuple(range(len(axes)))


def _inverse(axes: Shape) -> Shape:
    return tuple(int(i) for i in np.argsort(axes))


def _titled_slice(parts: tuple[Any, ...]) -> Any:
    """The slice op under the name of the last step that PyTorch would take."""
    op = _alias
    for part in parts:
        if part is None:
            op = _unsqueeze
        elif isinstance(part, int):
            op = _select
        elif part != slice(None):
            op = slice_
    return op


def _plain_slice(part: slice) -> bool:
    start, stop, step = part.start, part.stop, part.step
    return (
        (start is None or type(start) is int)
        and (stop is None or type(stop) is int)
        and (step is None or type(step) is int)
    )


def _plain_op(index: Any) -> Any:
    """The op of an index made of integers and slices only, None for any other."""
    op = None
    for part in index:
        kind = type(part)
        if kind is int:
            op = _select
        elif kind is slice and _plain_slice(part):
            op = slice_
        else:
            return None
    return op


def getitem(input: Any, index: Any) -> Any:
    """`input[index]`, for everything NumPy takes.

    Integers, slices (negative steps too), None and Ellipsis give a view; index arrays and masks a copy. Raises
    `IndexError` for what is out of bounds, does not fit, or is no index.

    >>> import pullback as pb
    >>> x = pb.arange(12.0).reshape(3, 4)
    >>> x[1:, -1], x[x > 9], x[[0, 2], [1, 1]]
    (tensor([ 7., 11.]), tensor([10., 11.]), tensor([1., 9.]))
    """
    array = input._value
    kind = type(index)
    op: Any
    if type(array) is np.ndarray and (kind is int or kind is slice or kind is tuple):
        if kind is int:
            op, parts = _select, (index,)
        elif kind is slice:
            op, parts = slice_ if _plain_slice(index) else None, (index,)
        else:
            op, parts = _plain_op(index), index
        if op is not None:
            try:
                y = array[(*parts, ...)]  # with the dots an element comes as a 0-dim array, that shares memory
            except IndexError:
                normalize_index(index, array.shape)  # raises with PyTorch's words
                raise
            return _basic_view(input, array, y, op, {"index": parts})
    x = as_handle(input)
    normal, advanced = normalize_index(index, tuple(x._value.shape))
    if not advanced:
        basic = tuple(normal)
        op, params = _titled_slice(basic), {"index": basic}
        array = materialize(x)
        dots = index is Ellipsis or (kind is tuple and any(part is Ellipsis for part in index))
        if type(array) is np.ndarray:
            return _basic_view(x, array, array[(*basic, ...)], op, params, dots)
        result = wrap(op(x, **params))
        return result if _is_scalar(result._value, dots) else link(result, x, array, op, params)
    plan = _Advanced(normal)
    if not plan.is_whole:
        x = slice_(x, index=plan.basic)
    if not _identity(plan.front):
        x = transpose(x, axes=plan.front)
    y = gather(x, *plan.arrays)
    return y if _identity(plan.back) else _index_of_view(y, axes=plan.back)


def _is_scalar(y: Any, dots: bool) -> bool:
    """Whether a NumPy program reads one element, as a scalar that later writes don't change; with dots it is a view."""
    return modes.numpy and not y.shape and not dots


def _basic_view(x: Any, array: Any, y: Any, op: Any, params: dict[str, Any], dots: bool = False) -> Any:
    """The view `y` of the array of `x`, placed on the tape and registered as a view; `view()` without its overhead."""
    result = make(Handle.maker)
    result._value = y
    result._version = 0
    result._base = None
    place = x._node
    if place is not None and modes.grad:
        edge = x if type(place) is LeafMark else place
        result._node = set_node(
            make(Node), op, (edge,), (None, Spec(array.shape, array.dtype)), None, params, place.level
        )
        if modes.special:
            note(result)
    if _is_scalar(y, dots):
        result._value = y[()]
        return result
    return register_view(result, x, op, params)


def setitem(input: Any, index: Any, value: Any) -> None:
    """`input[index] = value`, recorded if either is tracked; of repeated indices the last one counts.

    `value` is broadcast to the shape of `input[index]` and converted to its dtype. Raises `IndexError` as reading does,
    `RuntimeError` if the value does not fit, or if `input` is a leaf that requires a gradient.
    """
    x = input
    if isinstance(index, Handle) and index.dtype.kind == "b" and not is_raw(index):
        _write_where(x, index, value)
        return
    parts, advanced = normalize_index(index, tuple(x._value.shape))
    if not advanced and _is_view_of(value, x, tuple(parts)):
        return  # x[i] += v has written through the view x[i] already
    dtype = x._value.dtype
    if not isinstance(value, Handle):
        value = new_handle(np.asarray(value))
    if value.dtype.kind == "c" and dtype.kind != "c":
        raise RuntimeError(f"can't write {value.dtype} values into a {dtype} tensor")
    if value.dtype != dtype:
        value = cast(value, dtype=dtype)
    if not advanced:
        basic = tuple(parts)
        value = _fit(value, _shape_after(tuple(x._value.shape), basic))

        def write(array: Any) -> None:
            array[basic] = value._value

        update(x, slice_update, value, write=write, part=(*basic, ...), index=basic)
        return
    check_writable(x)
    plan = _Advanced(parts)
    inner = x if plan.is_whole else slice_(x, index=plan.basic)
    front = inner if _identity(plan.front) else transpose(inner, axes=plan.front)
    indexed = np.broadcast_shapes(*(a.shape for a in plan.arrays)) + tuple(front.shape[len(plan.arrays) :])
    value = _fit(value, tuple(indexed[a] for a in plan.back))
    if not _identity(plan.back):
        value = transpose(value, axes=_inverse(plan.back))
    if front is x:
        spots = tuple(a._value if isinstance(a, Handle) else a for a in plan.arrays)

        def scatter(array: Any) -> None:
            array[spots] = value._value

        update(x, index_update, value, *plan.arrays, write=scatter)
        return
    written = index_update(front, value, *plan.arrays)
    if front is not inner:
        written = transpose(written, axes=_inverse(plan.front))
    move(x, written if inner is x else slice_update(x, written, index=plan.basic))


def _write_where(x: Any, mask: Any, value: Any) -> None:
    """`x[mask] = value` for a batched or traced mask: how many elements it takes is not known, so one value for all."""
    value = to_dtype(as_handle(value), x.dtype)
    own, rest = tuple(mask._value.shape), tuple(x._value.shape)[len(mask._value.shape) :]
    if own != tuple(x._value.shape)[: len(own)] or np.broadcast_shapes(tuple(value._value.shape), rest) != rest:
        raise IndexError(
            "a batched or traced mask takes one value for all the elements it selects, "
            f"of a shape that broadcasts to {list(rest)}; this one has {list(value._value.shape)}. Write pb.where."
        )
    check_writable(x)
    mask = reshape(mask, shape=own + (1,) * len(rest))
    move(x, where(mask, wrap(broadcast_to(value, shape=tuple(x._value.shape))), new_handle(x._value, x._node)))


def _is_view_of(value: Any, x: Any, index: tuple[Any, ...]) -> bool:
    """Whether `value` is the view `x[index]`, and still shares the memory of `x`."""
    view = value._view if isinstance(value, Handle) else None
    if view is None or view[0] is not x or view[1].name != slice_.name:
        return False
    if type(x._value) is np.ndarray and value._value.base is not (x._value if x._value.base is None else x._value.base):
        return False
    return normalize_index(view[2]["index"], tuple(x._value.shape))[0] == list(index)


def _shape_after(shape: Shape, basic: tuple[Any, ...]) -> Shape:
    return tuple(np.broadcast_to(np.empty((), np.bool_), shape)[basic].shape)


def _fit(value: Any, shape: Shape) -> Any:
    """`value` broadcast to `shape`; leading axes of length 1 may go, as in NumPy."""
    own = tuple(value.shape)
    while len(own) > len(shape) and own[0] == 1:
        own = own[1:]
    if own != tuple(value.shape):
        value = reshape(value, shape=own)
    if own == shape:
        return value
    try:
        return wrap(broadcast_to(value, shape=shape))
    except ValueError:
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {list(own)} cannot be broadcast to indexing result of shape "
            f"{list(shape)}"
        ) from None


class IndexMethods(GatherMethods):
    """Reading and writing parts, as methods of `Tensor`."""

    __getitem__ = getitem
    __setitem__ = setitem
