"""Other views of a tensor's memory, under PyTorch's names: strides, sliding windows, pairs of reals as complex numbers.

The functions named `_copy` are those of the views that give a copy, and those named `_scatter` give a copy of a tensor
with new numbers where a view would read.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from types import NoneType
from typing import Any

import numpy as np

from pullback.ops import strided as op
from pullback.ops.control import identity
from pullback.ops.diagonal import diagonal_update
from pullback.ops.index import index_update, slice_, slice_update
from pullback.ops.shape import reshape
from pullback.tape.node import Node, new_handle, wrap
from pullback.tensor import rearranging, shaping
from pullback.tensor.dispatch import as_handle, is_raw, materialize, register_view, to_dtype, view
from pullback.tensor.inplace import bump, check_writable
from pullback.tensor.joining import chunk, split, unbind
from pullback.tensor.operands import rank
from pullback.tensor.shaping import ints
from pullback.values.dtype import type_name
from pullback.values.shape import Shape, normalize_axis

__all__ = [
    "alias_copy",
    "as_strided",
    "as_strided_copy",
    "as_strided_scatter",
    "diagonal_copy",
    "diagonal_scatter",
    "expand_copy",
    "narrow_copy",
    "permute_copy",
    "select_copy",
    "select_scatter",
    "slice",
    "slice_copy",
    "slice_scatter",
    "split_copy",
    "split_with_sizes",
    "split_with_sizes_copy",
    "squeeze_copy",
    "t_copy",
    "transpose_copy",
    "unbind_copy",
    "unfold_copy",
    "unsafe_chunk",
    "unsafe_split",
    "unsafe_split_with_sizes",
    "unsqueeze_copy",
    "view_as_complex",
    "view_as_complex_copy",
    "view_as_real",
    "view_as_real_copy",
    "view_copy",
]

_sliced = slice_.titled("SliceBackward0")
_select_scatter, _slice_scatter = (slice_update.titled(f"{name}ScatterBackward0") for name in ("Select", "Slice"))
_diagonal_scatter = diagonal_update.titled("DiagonalScatterBackward0")


# Strides


def _storage(array: Any) -> Any:
    """The array that owns the memory of `array`."""
    base = array.base
    while base is not None:
        array = base if isinstance(base, np.ndarray) else array
        base = getattr(base, "base", None)  # NumPy's stride tricks put an object between a view and its array
    return array


def _offset(array: Any, storage: Any) -> int:
    return int(array.ctypes.data - storage.ctypes.data) // int(array.itemsize)


def _geometry(x: Any, size: Any, stride: Any, offset: int | None) -> tuple[Shape, Shape, int]:
    """A strided layout, checked. Raises `RuntimeError` if it is ill-formed."""
    shape, strides = ints((size,)), ints((stride,))
    if len(shape) != len(strides):
        raise RuntimeError("mismatch in length of strides and shape")
    if min(strides, default=0) < 0:
        raise RuntimeError(
            f"as_strided: Negative strides are not supported at the moment, got strides: {list(strides)}"
        )
    if offset is None:
        value = x._value
        owned = is_raw(x) and isinstance(value, np.ndarray)
        offset = _offset(value, _storage(value)) if owned else 0
    return shape, strides, int(offset)


def _extent(shape: Shape, strides: Shape, offset: int) -> int:
    """How long the memory must be for a layout."""
    return 0 if 0 in shape else offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) + 1


def _check_extent(x: Any, shape: Shape, strides: Shape, offset: int, size: int) -> None:
    if _extent(shape, strides, offset) > size or offset < 0:
        bytes_ = int(x._value.dtype.itemsize)
        raise RuntimeError(
            f"setStorage: sizes {list(shape)}, strides {list(strides)}, storage offset {offset}, and itemsize {bytes_} "
            f"requiring a storage size of {_extent(shape, strides, offset) * bytes_} are out of bounds for storage of "
            f"size {size * bytes_}"
        )


def _is_storage(x: Any) -> bool:
    """Whether the tensor is all of its memory in order (as it is taken to be where it has no memory)."""
    value = x._value
    if not is_raw(x) or not isinstance(value, np.ndarray):
        return True
    return bool(value.flags.c_contiguous) and _storage(value).size == value.size


def _root(x: Any) -> Any:
    """The tensor on whose memory `x` is a view, if it has the history of `x` too; else `x`."""
    root = x
    while root._view is not None and isinstance(root._node, Node | NoneType):
        root = root._view[0]
    same = root is x or (root._view is None and (root._node is None) == (x._node is None))
    return root if same and _is_storage(root) else x


def as_strided(input: Any, size: Any, stride: Any, storage_offset: int | None = None) -> Any:
    """The elements of the tensor's memory at `storage_offset` + Σ i·stride, with the shape `size`.

    A view of the tensor, or of the one that it is a view of; only of a leaf that is itself a part of another tensor's
    memory it is a copy, and its gradient flows to that leaf alone. (PyTorch lets no gradient flow to what a layout
    reads beyond a view.) Raises `RuntimeError` for a layout that goes beyond the memory.

    >>> import pullback as pb
    >>> pb.as_strided(pb.arange(6), (2, 2), (1, 2))
    tensor([[0, 2],
            [1, 3]])
    """
    x = as_handle(input)
    shape, strides, offset = _geometry(x, size, stride, storage_offset)
    x = _root(x)
    if _is_storage(x):
        _check_extent(x, shape, strides, offset, math.prod(x._value.shape))
        return view(op.as_strided, x, shape=shape, strides=strides, offset=offset)
    own, storage = _own_places(x, shape, strides, offset)
    flat = np.ascontiguousarray(storage).reshape(-1)
    memory = index_update(flat, reshape(x, shape=(own.size,)), own.reshape(-1))
    return wrap(op.as_strided(memory, shape=shape, strides=strides, offset=offset)).clone()


def _own_places(x: Any, shape: Shape, strides: Shape, offset: int) -> tuple[Any, Any]:
    """Where the elements of a view are in its memory, and the memory; the layout is checked against it."""
    array = x._value
    storage = _storage(array)
    _check_extent(x, shape, strides, offset, storage.size)
    steps = tuple(step // array.itemsize for step in array.strides)
    return op.places(array.shape, steps, _offset(array, storage)), storage


def as_strided_scatter(input: Any, src: Any, size: Any, stride: Any, storage_offset: int | None = None) -> Any:
    """`input` with `src` where `as_strided` would read."""
    x = as_handle(input)
    shape, strides, offset = _geometry(x, size, stride, storage_offset)
    _check_extent(x, shape, strides, offset, math.prod(x._value.shape))
    part = _source(src, shape, x)
    return op.as_strided_update(x, part, shape=shape, strides=strides, offset=offset)


def _source(src: Any, shape: Shape, x: Any) -> Any:
    part = as_handle(src)
    if tuple(part.shape) != shape:
        raise RuntimeError(
            f"expected src to have a size equal to the slice of self. src size = {list(part.shape)}, slice size = "
            f"{list(shape)}"
        )
    return to_dtype(part, x._value.dtype)


# Windows


def unfold(input: Any, dimension: int, size: int, step: int) -> Any:
    """The windows of `size` neighbours along `dimension`, `step` apart, each in a new last dimension; a view.

    Raises `RuntimeError` if a window is longer than the dimension.

    >>> import pullback as pb
    >>> pb.arange(5).unfold(0, 3, 1)
    tensor([[0, 1, 2],
            [1, 2, 3],
            [2, 3, 4]])
    """
    x = as_handle(input)
    axis = normalize_axis(dimension, rank(x))
    length = x._value.shape[axis] if rank(x) else 1
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    if not 0 <= size <= length:
        raise RuntimeError(f"maximum size for tensor at dimension {axis} is {length} but size is {size}")
    if not rank(x):
        return reshape(x, shape=(1,))[:size]
    if not size:
        counted = (*x._value.shape[:axis], length // step + 1, *x._value.shape[axis + 1 :], 0)
        return reshape(x[(builtins.slice(None),) * axis + (builtins.slice(0, 0),)], shape=counted)
    materialize(x)
    params = {"axis": axis, "size": size, "step": step}
    result = wrap(op.windows(x, **params))
    return register_view(result, x, op.windows, params) if is_raw(x) else result


# Complex numbers as pairs


def view_as_complex(input: Any) -> Any:
    """The complex numbers whose real and imaginary parts the last dimension, of length 2, holds; a view.

    Raises `RuntimeError` if that is not its length, or the dtype is not float32 or float64.
    """
    x = as_handle(input)
    value = x._value
    if value.dtype.kind != "f" or value.dtype.itemsize < 4:
        raise RuntimeError(
            "view_as_complex is only supported for half, float and double tensors, but got a tensor of scalar type: "
            f"{type_name(value.dtype)}"
        )
    if not value.shape:
        raise RuntimeError("Input tensor must have one or more dimensions")
    if value.shape[-1] != 2:
        raise RuntimeError("Tensor must have a last dimension of size 2")
    return view(op.view_as_complex, x)


def view_as_real(input: Any) -> Any:
    """The real and imaginary parts in a new last dimension; a view. Raises `RuntimeError` for a real tensor."""
    x = as_handle(input)
    if x._value.dtype.kind != "c":
        raise RuntimeError("view_as_real is only supported for complex tensors")
    return view(op.view_as_real, x)


# Parts, and copies of views


def slice(input: Any, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Any:
    """`input[start:end:step]` along `dim`; a view."""
    x = as_handle(input)
    return view(_sliced, x, index=_slice_index(x, dim, start, end, step))


def _slice_index(x: Any, dim: int, start: int | None, end: int | None, step: int) -> tuple[Any, ...]:
    if step <= 0:
        raise RuntimeError("slice step must be positive")
    return (builtins.slice(None),) * normalize_axis(dim, rank(x)) + (builtins.slice(start, end, step),)


def split_with_sizes(input: Any, split_sizes: Any, dim: int = 0) -> tuple[Any, ...]:
    """Parts of the given sizes along `dim`; views."""
    return split(input, ints((split_sizes,)), dim)


def _copies(name: str, function: Callable[..., Any], named: str | None = None) -> Callable[..., Any]:
    """`function`, whose results are views, with copies for results."""

    def copying(input: Any, *args: Any, **kwargs: Any) -> Any:
        found = function(as_handle(input), *args, **kwargs)
        return tuple(map(identity, found)) if isinstance(found, tuple) else identity(found)

    copying.__name__ = copying.__qualname__ = name
    copying.__doc__ = f"`{named or name.removesuffix('_copy')}` with a copy for a result, not a view."
    return copying


alias_copy = _copies("alias_copy", lambda x: x, "clone")
as_strided_copy = _copies("as_strided_copy", as_strided)
diagonal_copy = _copies("diagonal_copy", rearranging.diagonal)
expand_copy = _copies("expand_copy", shaping.expand)
narrow_copy = _copies("narrow_copy", shaping.narrow)
permute_copy = _copies("permute_copy", shaping.permute)
select_copy = _copies("select_copy", shaping.select)
slice_copy = _copies("slice_copy", slice)
split_copy = _copies("split_copy", split)
split_with_sizes_copy = _copies("split_with_sizes_copy", split_with_sizes)
squeeze_copy = _copies("squeeze_copy", shaping.squeeze)
t_copy = _copies("t_copy", shaping.t)
transpose_copy = _copies("transpose_copy", shaping.transpose)
unbind_copy = _copies("unbind_copy", unbind)
unfold_copy = _copies("unfold_copy", unfold)
unsqueeze_copy = _copies("unsqueeze_copy", shaping.unsqueeze)
view_as_complex_copy = _copies("view_as_complex_copy", view_as_complex)
view_as_real_copy = _copies("view_as_real_copy", view_as_real)
view_copy = _copies("view_copy", shaping.view_)
unsafe_chunk = _copies("unsafe_chunk", chunk, "chunk")
unsafe_split = _copies("unsafe_split", split, "split")
unsafe_split_with_sizes = _copies("unsafe_split_with_sizes", split_with_sizes, "split_with_sizes")


# Copies with new numbers where a view reads


def _written(slot: Any, input: Any, src: Any, index: tuple[Any, ...]) -> Any:
    x = as_handle(input)
    shape = tuple(int(n) for n in np.broadcast_to(False, tuple(x.shape))[index].shape)
    return slot(x, _source(src, shape, x), index=index)


def select_scatter(input: Any, src: Any, dim: int, index: int) -> Any:
    """`input` with `src` as the entry `index` along `dim`."""
    x = as_handle(input)
    axis = normalize_axis(dim, rank(x))
    if not -x.shape[axis] <= index < x.shape[axis]:
        raise IndexError(f"select(): index {index} out of range for tensor of size {list(x.shape)} at dimension {axis}")
    return _written(_select_scatter, x, src, (builtins.slice(None),) * axis + (int(index),))


def slice_scatter(
    input: Any, src: Any, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Any:
    """`input` with `src` where `slice` would read."""
    x = as_handle(input)
    return _written(_slice_scatter, x, src, _slice_index(x, dim, start, end, step))


def diagonal_scatter(input: Any, src: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """`input` with `src` where `diagonal` would read."""
    x = as_handle(input)
    a, b = normalize_axis(dim1, rank(x)), normalize_axis(dim2, rank(x))
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    shape = np.broadcast_to(False, tuple(x.shape)).diagonal(offset, a, b).shape
    part = _source(src, tuple(int(n) for n in shape), x)
    return _diagonal_scatter(x, part, offset=int(offset), axis1=a, axis2=b)


# In place: the tensor itself takes another shape


def _reshaping(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        check_writable(self)
        if self._base is not None or any(ref() is not None for ref in self._views or ()):
            raise RuntimeError(
                f"{name}() would change the shape of a tensor that shares its memory with a view, and the view would "
                f"not follow. Use the result of .{name[:-1]}() instead."
            )
        new = function(new_handle(self._value, self._node), *args, **kwargs)
        self._value, self._node = new._value, new._node
        bump(self)
        return self

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"""`{name[:-1]}` in place: this tensor takes the new shape.

        Raises `RuntimeError` for a view, or a tensor that has views.
        """
    return method


class StridedMethods:
    """Views by strides and windows, and copies with new numbers where a view reads, as methods of `Tensor`."""

    as_strided = as_strided
    as_strided_scatter = as_strided_scatter
    diagonal_scatter = diagonal_scatter
    narrow_copy = narrow_copy
    select_scatter = select_scatter
    slice_scatter = slice_scatter
    split_with_sizes = split_with_sizes
    unfold = unfold
    unsafe_chunk = unsafe_chunk
    unsafe_split = unsafe_split
    unsafe_split_with_sizes = unsafe_split_with_sizes

    squeeze_ = _reshaping("squeeze_", shaping.squeeze)
    unsqueeze_ = _reshaping("unsqueeze_", shaping.unsqueeze)
    t_ = _reshaping("t_", shaping.t)
    transpose_ = _reshaping("transpose_", shaping.transpose)
    swapaxes_ = swapdims_ = _reshaping("swapaxes_", shaping.swapaxes)
    as_strided_ = _reshaping("as_strided_", as_strided)
