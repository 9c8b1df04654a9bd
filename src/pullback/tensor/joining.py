"""Joining tensors, and taking them apart into views, under PyTorch's names."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from pullback.ops import shape as s
from pullback.ops.index import slice_
from pullback.tape.node import Handle, new_handle, wrap
from pullback.tensor.conversion import numbers
from pullback.tensor.dispatch import as_handle, link, materialize, to_dtype
from pullback.values.dtype import default_dtype, promote
from pullback.values.shape import normalize_axis

__all__ = [
    "block_diag",
    "cat",
    "chunk",
    "column_stack",
    "concat",
    "concatenate",
    "dsplit",
    "dstack",
    "hsplit",
    "hstack",
    "row_stack",
    "split",
    "stack",
    "tensor_split",
    "unbind",
    "vsplit",
    "vstack",
]

_split_sizes = s.split.titled("SplitWithSizesBackward0")
_slices = s.split.titled("SliceBackward0")


def _operands(tensors: Any, name: str) -> list[Any]:
    """The tensors of a sequence, promoted to one dtype.

    Raises `RuntimeError` if there are none.
    """
    found = [as_handle(x) for x in tensors]
    if not found:
        raise RuntimeError(f"{name} expects a non-empty TensorList")
    dtypes = {x._value.dtype for x in found}
    if len(dtypes) > 1:
        dtype = promote(*((x._value.dtype, len(x._value.shape), None) for x in found))
        found = [to_dtype(x, dtype) for x in found]
    return found


def _one(dim: int, axis: int | None) -> int:
    return dim if axis is None else axis


def cat(tensors: Any, dim: int = 0, *, axis: int | None = None) -> Any:
    """Tensors joined along the existing dimension `dim`, promoted to one dtype; a copy.

    Raises `RuntimeError` if there are none, or they differ in another dimension.

    >>> import pullback as pb
    >>> pb.cat([pb.ones(2), pb.zeros(1)])
    tensor([1., 1., 0.])
    """
    found = _operands(tensors, "torch.cat()")
    for i, x in enumerate(found):
        if not x._value.shape:
            raise RuntimeError(f"zero-dimensional tensor (at position {i}) cannot be concatenated")
    parts = [x for x in found if tuple(x._value.shape) != (0,)] or found[:1]  # PyTorch skips empty vectors
    return _cat(parts, normalize_axis(_one(dim, axis), len(parts[0]._value.shape)))


def _cat(parts: list[Any], axis: int) -> Any:
    first = parts[0]._value.shape
    for i, x in enumerate(parts):
        shape = x._value.shape
        if len(shape) != len(first):
            raise RuntimeError(f"Tensors must have same number of dimensions: got {len(first)} and {len(shape)}")
        if shape[:axis] != first[:axis] or shape[axis + 1 :] != first[axis + 1 :]:
            at = next(j for j in range(len(first)) if j != axis and shape[j] != first[j])
            raise RuntimeError(
                f"Sizes of tensors must match except in dimension {axis}. Expected size {first[at]} but got size "
                f"{shape[at]} for tensor number {i} in the list."
            )
    return s.concatenate(*parts, axis=axis)


concat = concatenate = cat


def stack(tensors: Any, dim: int = 0, *, axis: int | None = None) -> Any:
    """Tensors of one shape joined along a new dimension `dim`, promoted to one dtype; a copy.

    Raises `RuntimeError` if there are none, or their shapes differ.
    """
    found = _operands(tensors, "stack")
    first = tuple(found[0]._value.shape)
    for i, x in enumerate(found):
        if tuple(x._value.shape) != first:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(first)} at entry 0 and "
                f"{list(x._value.shape)} at entry {i}"
            )
    return s.stack(*found, axis=normalize_axis(_one(dim, axis), len(first) + 1))


def _widened(tensors: Any, name: str, shape_of: Any) -> list[Any]:
    return [
        x if tuple(x._value.shape) == (shape := shape_of(tuple(x._value.shape))) else s.reshape(x, shape=shape)
        for x in _operands(tensors, name)
    ]


def hstack(tensors: Any) -> Any:
    """Tensors joined along the second dimension, vectors along their only one."""
    parts = _widened(tensors, "hstack", lambda shape: shape or (1,))
    return _cat(parts, 0 if len(parts[0]._value.shape) == 1 else 1)


def vstack(tensors: Any) -> Any:
    """Tensors joined along the first dimension, vectors as rows."""
    return _cat(_widened(tensors, "vstack", lambda shape: shape if len(shape) > 1 else (1, *(shape or (1,)))), 0)


row_stack = vstack


def dstack(tensors: Any) -> Any:
    """Tensors joined along the third dimension; vectors and matrices get it."""

    def widen(shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(shape) > 2:
            return shape
        return (*shape, 1) if len(shape) == 2 else (1, *(shape or (1,)), 1)

    return _cat(_widened(tensors, "dstack", widen), 2)


def column_stack(tensors: Any) -> Any:
    """Tensors joined along the second dimension, vectors as columns."""
    parts = _widened(tensors, "column_stack", lambda shape: shape if len(shape) > 1 else (*(shape or (1,)), 1))
    return _cat(parts, 1)


def block_diag(*tensors: Any) -> Any:
    """The matrix with the given ones, promoted to one dtype, along its diagonal, and zeros elsewhere.

    Vectors count as rows, 0-dim tensors as 1 × 1. Raises `RuntimeError` for tensors of more dimensions.
    """
    if not tensors:
        return new_handle(np.zeros((1, 0), default_dtype()))
    found = _operands(tensors, "block_diag")
    for i, x in enumerate(found):
        if len(x._value.shape) > 2:
            raise RuntimeError(
                "torch.block_diag: Input tensors must have 2 or fewer dimensions. Input "
                f"{i} has {len(x._value.shape)} dimensions"
            )
    parts = _widened(found, "block_diag", lambda shape: (1,) * (2 - len(shape)) + shape)
    total = sum(x.shape[1] for x in parts)
    ends = accumulate(x.shape[1] for x in parts)
    rows = [
        s.pad(x, widths=((0, 0), (end - x.shape[1], total - end)), value=0.0)
        for x, end in zip(parts, ends, strict=True)
    ]
    return _cat(rows, 0)


# Taking apart: each part is a view, written back through its own slice.


def unbind(input: Any, dim: int = 0, *, axis: int | None = None) -> tuple[Any, ...]:
    """The slices along `dim`, as views without it."""
    x = as_handle(input)
    rank = len(x._value.shape)
    if not rank:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    at = normalize_axis(_one(dim, axis), rank)
    lead = (slice(None),) * at
    return _linked(x, s.unbind, {"axis": at}, [(*lead, i) for i in range(x._value.shape[at])])


def _linked(x: Any, op: Any, params: dict[str, Any], indices: Sequence[Any]) -> tuple[Any, ...]:
    """The results of an op that takes `x` apart, each registered as the view `x[index]`."""
    if not indices:
        return ()
    array = materialize(x)
    parts = wrap(op(x, **params))
    for part, index in zip(parts, indices, strict=True):
        if isinstance(part._value, np.generic):
            part._value = array[(*index, ...)]
        link(part, x, array, slice_, {"index": index})
    return parts  # type: ignore[no-any-return]


def _cut(x: Any, sizes: Sequence[int], axis: int, op: Any) -> tuple[Any, ...]:
    lead = (slice(None),) * axis
    ends = list(accumulate(sizes))
    indices = [(*lead, slice(end - size, end)) for end, size in zip(ends, sizes, strict=True)]
    return _linked(x, op, {"sizes": tuple(sizes), "axis": axis}, indices)


def split(input: Any, split_size_or_sections: Any, dim: int = 0, *, axis: int | None = None) -> tuple[Any, ...]:
    """Parts of the given size along `dim` (the last may be smaller), or of the given sizes; views.

    Raises `RuntimeError` if the sizes don't add up.
    """
    x = as_handle(input)
    at = normalize_axis(_one(dim, axis), len(x._value.shape))
    if not x._value.shape:
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    total = x._value.shape[at]
    if isinstance(split_size_or_sections, int):
        size = split_size_or_sections
        if size < 0 or (size == 0 and total):
            raise RuntimeError(f"split expects split_size be non-negative, but got split_size={size}")
        count = max(-(-total // size), 1) if size else 1
        sizes = [size] * (count - 1) + [total - size * (count - 1)]
        return _cut(x, sizes, at, s.split)
    sizes = [int(n) for n in split_size_or_sections]
    if sum(sizes) != total or any(n < 0 for n in sizes):
        raise RuntimeError(
            f"split_with_sizes expects split_sizes to sum exactly to {total} (input tensor's size at dimension {at}), "
            f"but got split_sizes={sizes}"
        )
    return _cut(x, sizes, at, _split_sizes)


def chunk(input: Any, chunks: int, dim: int = 0, *, axis: int | None = None) -> tuple[Any, ...]:
    """At most `chunks` parts of one size along `dim` (the last may be smaller); views."""
    x = as_handle(input)
    if chunks <= 0:
        raise RuntimeError("chunk expects `chunks` to be greater than 0, got: " + str(chunks))
    if not x._value.shape:
        raise RuntimeError("chunk expects at least a 1-dimensional tensor")
    at = normalize_axis(_one(dim, axis), len(x._value.shape))
    total = x._value.shape[at]
    if not total:
        return _cut(x, [0] * chunks, at, _split_sizes)
    return split(x, -(-total // chunks), at)


def tensor_split(input: Any, indices_or_sections: Any, dim: int = 0, *, axis: int | None = None) -> tuple[Any, ...]:
    """That many nearly equal parts along `dim`, or the parts between the given indices, as `np.array_split`; views."""
    x = as_handle(input)
    if not x._value.shape:
        raise RuntimeError("tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims")
    at = normalize_axis(_one(dim, axis), len(x._value.shape))
    total = x._value.shape[at]
    if isinstance(indices_or_sections, Handle):
        indices_or_sections = numbers(indices_or_sections, "tensor_split()").tolist()
    if isinstance(indices_or_sections, int):
        count = indices_or_sections
        if count <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {count}")
        small, larger = divmod(total, count)
        return _cut(x, [small + (i < larger) for i in range(count)], at, _slices)
    lead = (slice(None),) * at
    bounds = [0, *(int(i) for i in indices_or_sections), None]
    return tuple(x[(*lead, slice(a, b))] for a, b in pairwise(bounds))


def _by_dimension(input: Any, parts: Any, dim: int, name: str, least: int) -> tuple[Any, ...]:
    x = as_handle(input)
    rank = len(x._value.shape)
    if rank < least:
        raise RuntimeError(
            f"torch.{name} requires a tensor with at least {least} dimension, but got a tensor with {rank} dimensions!"
        )
    if isinstance(parts, int) and x._value.shape[dim] % parts:
        raise RuntimeError(
            f"torch.{name} attempted to split along dimension {dim}, but the size of the dimension "
            f"{x._value.shape[dim]} is not divisible by the split_size {parts}!"
        )
    return tensor_split(x, parts, dim)


def hsplit(input: Any, indices_or_sections: Any) -> tuple[Any, ...]:
    """Parts along the second dimension (a vector's only one); views. Sections must be equal."""
    return _by_dimension(input, indices_or_sections, 0 if len(as_handle(input)._value.shape) == 1 else 1, "hsplit", 1)


def vsplit(input: Any, indices_or_sections: Any) -> tuple[Any, ...]:
    """Parts along the first dimension; views. Sections must be equal."""
    return _by_dimension(input, indices_or_sections, 0, "vsplit", 2)


def dsplit(input: Any, indices_or_sections: Any) -> tuple[Any, ...]:
    """Parts along the third dimension; views. Sections must be equal."""
    return _by_dimension(input, indices_or_sections, 2, "dsplit", 3)


class JoinMethods:
    """Taking apart, as methods of `Tensor`."""

    unbind = unbind
    split = split
    chunk = chunk
    tensor_split = tensor_split
    hsplit = hsplit
    vsplit = vsplit
    dsplit = dsplit
