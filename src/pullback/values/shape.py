"""Shape algebra: what a value looks like, and how shapes broadcast."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "Shape",
    "ShapeError",
    "Size",
    "Spec",
    "broadcast_shapes",
    "normalize_axes",
    "normalize_axis",
    "resolve_reshape",
    "spec_of",
]

Shape = tuple[int, ...]


class Spec(NamedTuple):
    """What is known of a value without its numbers: shape and dtype."""

    shape: Shape
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


def spec_of(value: Any) -> Spec:
    """The `Spec` of an array, a Tensor or a symbol; Python numbers have NumPy's dtype and shape ()."""
    try:
        dtype = value.dtype
    except AttributeError:
        value = np.asarray(value)
        dtype = value.dtype
    return Spec(tuple(value.shape), np.dtype(dtype))


class ShapeError(RuntimeError, ValueError):
    """Shapes that don't fit together: a `RuntimeError` as in PyTorch, and a `ValueError` as in NumPy."""


def _mismatch(shapes: tuple[Shape, ...]) -> str:
    """What is wrong with shapes that don't broadcast, beginning with PyTorch's words."""
    rank = max(map(len, shapes))
    names = ", ".join(map(str, shapes))
    for i in range(1, rank + 1):
        lengths = [n for n in dict.fromkeys(shape[-i] for shape in shapes if len(shape) >= i) if n != 1]
        if len(lengths) > 1:
            return (
                f"The size of tensor a ({lengths[0]}) must match the size of tensor b ({lengths[1]}) at non-singleton "
                f"dimension {rank - i}: shapes {names} can't be broadcast together"
            )
    return f"shapes {names} can't be broadcast together"


def broadcast_shapes(*shapes: Shape) -> Shape:
    """The shape NumPy broadcasts `shapes` to.

    Raises `ShapeError` naming the shapes if they don't broadcast.
    """
    first = shapes[0]
    if all(shape == first for shape in shapes):
        return first
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise ShapeError(_mismatch(shapes)) from None


def normalize_axis(axis: int, ndim: int) -> int:
    """`axis` counted from the front; a 0-dim value counts as having one axis, as in PyTorch.

    Raises `IndexError` when out of range.
    """
    axis = int(axis)
    size = ndim or 1
    if not -size <= axis < size:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-size}, {size - 1}], but got {axis})")
    return axis % size


def normalize_axes(axis: int | Iterable[int] | None, ndim: int) -> Shape:
    """The axes meant by `axis` (None: all), counted from the front and sorted.

    Raises `IndexError` when out of range, `ValueError` when an axis is repeated.
    """
    if axis is None:
        return tuple(range(ndim))
    if isinstance(axis, Iterable):
        axes = tuple(normalize_axis(a, ndim) for a in axis)
        if len(set(axes)) < len(axes):
            raise ValueError(f"an axis appears more than once in {axes}")
    else:
        axes = (normalize_axis(axis, ndim),)
    return tuple(sorted(axes)) if ndim else ()


def resolve_reshape(size: int, shape: Sequence[int]) -> Shape:
    """`shape` with its one -1, if any, replaced by what `size` elements leave for it.

    Raises `RuntimeError`, worded as PyTorch's, if they don't fit.
    """
    dims = [int(n) for n in shape]
    known = 1
    if any(n < -1 for n in dims):
        raise RuntimeError(f"invalid shape dimension {min(dims)} in {dims}")
    for n in dims:
        known *= n if n != -1 else 1
    if dims.count(-1) > 1:
        raise RuntimeError("only one dimension can be inferred")
    if -1 in dims and known and size % known == 0:
        dims[dims.index(-1)] = size // known
        known = size
    if known != size or -1 in dims:
        raise RuntimeError(f"shape '{list(map(int, shape))}' is invalid for input of size {size}")
    return tuple(dims)


class Size(tuple[int, ...]):
    """A shape with PyTorch's look.

    >>> Size((2, 3)), Size((2, 3)).numel()
    (torch.Size([2, 3]), 6)
    """

    __slots__ = ()

    def numel(self) -> int:
        """The number of elements."""
        return int(np.prod(self, dtype=np.int64))

    def __repr__(self) -> str:
        return f"torch.Size({list(self)})"
