"""Functions that change the shape of tensors or the order of their elements, under PyTorch's names.

Those that PyTorch defines as views share memory here too, and writes through them are carried back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pullback.ops import shape as s
from pullback.ops.cast import conj
from pullback.tape.node import new_handle, wrap
from pullback.tensor.conversion import numbers
from pullback.tensor.dispatch import as_handle, materialize, view
from pullback.tensor.joining import JoinMethods, unbind
from pullback.tensor.operands import given_dim, rank
from pullback.values.dtype import DType
from pullback.values.shape import Shape, Size, normalize_axis, resolve_reshape
from pullback.values.shape import broadcast_shapes as common_shape

__all__ = [
    "adjoint",
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "broadcast_shapes",
    "broadcast_tensors",
    "broadcast_to",
    "flatten",
    "moveaxis",
    "movedim",
    "narrow",
    "permute",
    "ravel",
    "reshape",
    "select",
    "squeeze",
    "swapaxes",
    "swapdims",
    "t",
    "transpose",
    "unflatten",
    "unsqueeze",
]

_copied = s.reshape.titled("UnsafeViewBackward0")
_strided = s.reshape.titled("ReshapeAliasBackward0")
_expanded = s.reshape.titled("ExpandBackward0")
_unsqueeze = s.reshape.titled("UnsqueezeBackward0")
_squeeze = tuple(s.reshape.titled(f"SqueezeBackward{i}") for i in range(3))
_t = s.transpose.titled("TBackward0")
_transpose = s.transpose.titled("TransposeBackward0")


def ints(given: tuple[Any, ...]) -> tuple[int, ...]:
    """Integers given one by one or as one sequence."""
    if len(given) == 1 and isinstance(given[0], Sequence | np.ndarray):
        given = tuple(given[0])
    return tuple([n if type(n) is int else int(n) for n in given])


# Reshaping


def view_(input: Any, *shape: Any) -> Any:
    """The same memory under another shape; -1 stands for what is left. Or, with a dtype for the shape, as other numbers
    (without a gradient): the last dimension shrinks or grows with the size of an element.

    Raises `RuntimeError` if the shape does not fit, or if this memory can't be seen so without copying.
    """
    x = as_handle(input)
    if len(shape) == 1 and isinstance(shape[0], DType):
        return _reinterpreted(x, shape[0].dtype)
    value = materialize(x)
    result = view(s.reshape, x, shape=resolve_reshape(int(value.size), ints(shape)))
    if result._view is None and value.size:
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one dimension spans across two "
            "contiguous subspaces). Use .reshape(...) instead."
        )
    return result


def _reinterpreted(x: Any, dtype: np.dtype[Any]) -> Any:
    array = numbers(x, "view(dtype)")
    if array is x._value:
        array = materialize(x)
    if array.itemsize != dtype.itemsize and (not array.ndim or array.shape[-1] * array.itemsize % dtype.itemsize):
        raise RuntimeError(
            f"self.size(-1) must be divisible by {dtype.itemsize // array.itemsize or 1} to view {array.dtype} as "
            f"{dtype} (different element sizes), but got shape {list(array.shape)}"
        )
    result = new_handle(array.view(dtype))
    result._base = x if x._base is None else x._base  # writes are counted
    return result


def reshape(input: Any, *shape: Any) -> Any:
    """The elements in the same order under another shape; -1 stands for what is left. A view if possible, else a copy.

    Raises `RuntimeError` if the shape does not fit.

    >>> import pullback as pb
    >>> pb.reshape(pb.arange(6), (2, -1))
    tensor([[0, 1, 2],
            [3, 4, 5]])
    """
    x = as_handle(input)
    value = x._value
    return _reshaped(x, resolve_reshape(int(value.size), ints(shape)))


def _reshaped(x: Any, shape: Shape) -> Any:
    value = x._value
    if type(value) is not np.ndarray or value.flags.c_contiguous:
        return view(s.reshape, x, shape=shape)
    return view(_strided, x, shape=shape) if _viewable(value, shape) else wrap(_copied(x, shape=shape))


def _viewable(array: Any, shape: Shape) -> bool:
    y = array.reshape(shape)
    return y.base is array or (array.base is not None and y.base is array.base)


def view_as(input: Any, other: Any) -> Any:
    """`input.view(other.shape)`."""
    return view_(input, tuple(other.shape))


def reshape_as(input: Any, other: Any) -> Any:
    """`input.reshape(other.shape)`."""
    return reshape(input, tuple(other.shape))


def flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    """Dimensions `start_dim` to `end_dim` as one; a view where possible. A 0-dim tensor becomes one of one element."""
    x = as_handle(input)
    shape = tuple(x._value.shape)
    start, end = normalize_axis(start_dim, len(shape)), normalize_axis(end_dim, len(shape))
    if start > end:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if shape and start == end:
        return x
    return _reshaped(x, (*shape[:start], int(np.prod(shape[start : end + 1])), *shape[end + 1 :]))


def ravel(input: Any) -> Any:
    """All elements in one dimension; a view where possible."""
    return reshape(input, -1)


def unflatten(input: Any, dim: int, sizes: Any) -> Any:
    """Dimension `dim` as several, of the given sizes (one may be -1); a view."""
    x = as_handle(input)
    shape = tuple(x._value.shape)
    at = normalize_axis(dim, len(shape))
    try:
        parts = resolve_reshape(shape[at], ints((sizes,)))
    except RuntimeError:
        raise RuntimeError(
            f"unflatten: Provided sizes {list(ints((sizes,)))} don't multiply up to the size of dim {at} ({shape[at]})"
            " in the input tensor"
        ) from None
    return view(s.reshape, x, shape=(*shape[:at], *parts, *shape[at + 1 :]))


def unsqueeze(input: Any, dim: int | None = None, *, axis: int | None = None) -> Any:
    """A view with a new dimension of size 1 at `dim`."""
    x = as_handle(input)
    shape = tuple(x._value.shape)
    at = normalize_axis(given_dim(dim, axis), len(shape) + 1)
    return view(_unsqueeze, x, shape=(*shape[:at], 1, *shape[at:]))


def squeeze(input: Any, dim: Any = None, *, axis: Any = None) -> Any:
    """A view without the dimensions of size 1, or without those of them that are in `dim` (an int or a tuple)."""
    x = as_handle(input)
    shape = tuple(x._value.shape)
    dim = given_dim(dim, axis)
    if dim is None:
        gone: tuple[int, ...] = tuple(range(len(shape)))
    else:
        gone = tuple(normalize_axis(d, len(shape)) for d in ints((dim,)))
    op = _squeeze[0 if dim is None else 2 if isinstance(dim, Sequence) else 1]
    return view(op, x, shape=tuple(n for i, n in enumerate(shape) if n != 1 or i not in gone))


def atleast_1d(*tensors: Any) -> Any:
    """Each tensor with at least one dimension; one result for one tensor, else a tuple."""
    return _each(tensors, lambda x: x if rank(x) else reshape(x, 1))


def atleast_2d(*tensors: Any) -> Any:
    """Each tensor with at least two dimensions, new ones in front; one result for one tensor, else a tuple."""
    return _each(tensors, lambda x: reshape(x, 1, 1) if not rank(x) else unsqueeze(x, 0) if rank(x) == 1 else x)


def atleast_3d(*tensors: Any) -> Any:
    """Each tensor with at least three dimensions, as NumPy adds them; one result for one tensor, else a tuple."""

    def widen(x: Any) -> Any:
        ndim = rank(x)
        if ndim == 0:
            return reshape(x, 1, 1, 1)
        return unsqueeze(unsqueeze(x, 0), -1) if ndim == 1 else unsqueeze(x, -1) if ndim == 2 else x

    return _each(tensors, widen)


def _each(tensors: tuple[Any, ...], function: Any) -> Any:
    if len(tensors) == 1 and isinstance(tensors[0], tuple | list):
        return tuple(function(as_handle(x)) for x in tensors[0])
    results = tuple(function(as_handle(x)) for x in tensors)
    return results[0] if len(results) == 1 else results


# Permuting


def permute(input: Any, *dims: Any) -> Any:
    """The dimensions in another order; a view.

    Raises `RuntimeError` unless each dimension is named once.
    """
    x = as_handle(input)
    ndim = rank(x)
    order = ints(dims)
    if len(order) != ndim:
        raise RuntimeError(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired "
            f"ordering of dimensions i.e. input.dim() = {ndim} is not equal to len(dims) = {len(order)}"
        )
    axes = tuple([normalize_axis(d, ndim) for d in order])
    if len(set(axes)) < ndim:
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return view(s.transpose, x, axes=axes)


def swapped(ndim: int, a: int, b: int) -> Shape:
    """The order of the axes with `a` and `b` exchanged."""
    axes = list(range(ndim))
    axes[a], axes[b] = b, a
    return tuple(axes)


def transpose(input: Any, dim0: int, dim1: int) -> Any:
    """Two dimensions exchanged; a view."""
    x = as_handle(input)
    ndim = rank(x)
    a, b = normalize_axis(dim0, ndim), normalize_axis(dim1, ndim)
    return view(_transpose, x, axes=swapped(ndim, a, b) if ndim else ())


def swapaxes(input: Any, axis0: int, axis1: int) -> Any:
    """Two dimensions exchanged; a view."""
    return transpose(input, axis0, axis1)


swapdims = swapaxes


def t(input: Any) -> Any:
    """The transpose of a matrix; a view. Tensors of fewer dimensions are unchanged."""
    x = as_handle(input)
    ndim = rank(x)
    if ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {ndim}D")
    return view(_t, x, axes=tuple(reversed(range(ndim))))


def movedim(input: Any, source: Any, destination: Any) -> Any:
    """Dimensions `source` moved to the places `destination`, the others in order; a view."""
    x = as_handle(input)
    ndim = rank(x)
    old = [normalize_axis(d, ndim) for d in ints((source,))]
    new = [normalize_axis(d, ndim) for d in ints((destination,))]
    if len(old) != len(new):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({old} dims) should contain the same number of dims "
            f"as destination ({new} dims)"
        )
    for name, dims in (("source", old), ("destination", new)):
        if len(set(dims)) < len(dims):
            raise RuntimeError(f"movedim: repeated dim in `{name}` ({dims})")
    order = [d for d in range(ndim) if d not in old]
    for place, d in sorted(zip(new, old, strict=True)):
        order.insert(place, d)
    return view(s.transpose, x, axes=tuple(order))


moveaxis = movedim


def adjoint(input: Any) -> Any:
    """The conjugate transpose of the last two dimensions; a view for real tensors."""
    return conjugated(_matrix_transpose(as_handle(input), "adjoint()"))


def _matrix_transpose(x: Any, name: str) -> Any:
    ndim = rank(x)
    if ndim < 2:
        raise RuntimeError(f"{name} is only supported on matrices or batches of matrices. Got {ndim}-D tensor.")
    return view(_transpose, x, axes=swapped(ndim, ndim - 2, ndim - 1))


def conjugated(x: Any) -> Any:
    """The conjugate of a complex tensor; a real one itself."""
    return conj(x) if x._value.dtype.kind == "c" else x


def expand(input: Any, *sizes: Any) -> Any:
    """A view with dimensions of size 1 (and new ones in front) repeated to `sizes`; -1 keeps a size.

    Its elements share memory, so it can't be written in place. Raises `RuntimeError` if the sizes don't fit.
    """
    x = as_handle(input)
    own = tuple(x._value.shape)
    wanted = ints(sizes)
    if len(wanted) < len(own):
        raise RuntimeError(
            f"expand: the number of sizes provided ({len(wanted)}) must be greater or equal to the number of "
            f"dimensions in the tensor ({len(own)})"
        )
    lead = len(wanted) - len(own)
    have = (None,) * lead + own
    for i, (n, size) in reversed([*enumerate(zip(wanted, have, strict=True))]):
        if n == -1 and size is None:
            raise RuntimeError(
                f"The expanded size of the tensor (-1) isn't allowed in a leading, non-existing dimension {i}"
            )
        if size not in (None, 1, n) and n != -1:
            raise RuntimeError(
                f"The expanded size of the tensor ({n}) must match the existing size ({size}) at non-singleton "
                f"dimension {i}.  Target sizes: {list(wanted)}.  Tensor sizes: {list(own)}"
            )
    shape = tuple(size if n == -1 else n for n, size in zip(wanted, have, strict=True))
    if math.prod(shape) == math.prod(own):  # nothing is repeated
        return view(_expanded, x, shape=shape)
    return view(s.broadcast_to, x, shape=shape)


def broadcast_to(input: Any, shape: Any) -> Any:
    """`input.expand(shape)`."""
    return expand(input, shape)


def expand_as(input: Any, other: Any) -> Any:
    """`input.expand(other.shape)`."""
    return expand(input, tuple(other.shape))


def broadcast_shapes(*shapes: Any) -> Size:
    """The shape that tensors of these shapes (or lengths) broadcast to. Raises `RuntimeError` if there is none.

    >>> broadcast_shapes((2, 1), (3,), 3)
    torch.Size([2, 3])
    """
    return Size(common_shape(*((n,) if isinstance(n, int) else ints((n,)) for n in shapes)) if shapes else ())


def broadcast_tensors(*tensors: Any) -> tuple[Any, ...]:
    """The tensors expanded to their common shape.

    Raises `RuntimeError` if they have none.
    """
    found = [as_handle(x) for x in tensors]
    try:
        shape = common_shape(*(tuple(x.shape) for x in found))
    except ValueError as error:
        raise RuntimeError(f"The size of tensor a must match the size of tensor b: {error}") from None
    return tuple(expand(x, shape) for x in found)


# Parts


def narrow(input: Any, dim: int, start: Any, length: int) -> Any:
    """The `length` entries from `start` on along `dim`; a view.

    Raises `RuntimeError` if there are fewer.
    """
    x = as_handle(input)
    at = normalize_axis(dim, rank(x))
    size = x.shape[at]
    begin = int(start) + (size if start < 0 else 0)
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    if not 0 <= begin <= size or begin + length > size:
        raise RuntimeError(f"start ({int(start)}) + length ({length}) exceeds dimension size ({size}).")
    return x[(slice(None),) * at + (slice(begin, begin + length),)]


def select(input: Any, dim: int, index: int) -> Any:
    """The entry `index` along `dim`, which goes; a view."""
    x = as_handle(input)
    return x[(slice(None),) * normalize_axis(dim, rank(x)) + (index,)]


class ShapeMethods(JoinMethods):
    """Shape functions as methods of `Tensor`."""

    view = view_
    reshape = reshape
    view_as = view_as
    reshape_as = reshape_as
    flatten = flatten
    ravel = ravel
    unflatten = unflatten
    unsqueeze = unsqueeze
    squeeze = squeeze
    permute = permute
    transpose = transpose
    swapaxes = swapdims = swapaxes
    t = t
    movedim = moveaxis = movedim
    adjoint = adjoint
    expand = expand
    expand_as = expand_as
    broadcast_to = broadcast_to
    narrow = narrow
    select = select

    @property
    def T(self) -> Any:
        """The dimensions in reverse order; a view."""
        return view(s.transpose, self, axes=tuple(reversed(range(rank(self)))))

    @property
    def mT(self) -> Any:
        """The last two dimensions exchanged; a view."""
        return _matrix_transpose(self, "tensor.mT")

    @property
    def H(self) -> Any:
        """The conjugate transpose of a matrix; a view for real tensors."""
        ndim = rank(self)
        if ndim not in (0, 2):
            raise RuntimeError(f"tensor.H is only supported on matrices (2-D tensors). Got {ndim}-D tensor.")
        return adjoint(self) if ndim else conjugated(self)

    @property
    def mH(self) -> Any:
        """The conjugate transpose of the last two dimensions; a view for real tensors."""
        return adjoint(self)

    def __len__(self) -> int:
        shape = self._value.shape  # type: ignore[attr-defined]
        if not shape:
            raise TypeError("len() of a 0-d tensor")
        return int(shape[0])

    def __iter__(self) -> Iterator[Any]:
        if not self._value.shape:  # type: ignore[attr-defined]
            raise TypeError("iteration over a 0-d tensor")
        return iter(unbind(self))
