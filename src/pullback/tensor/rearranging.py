"""Functions that reorder, repeat and place elements, under PyTorch's names: copies, but `diagonal` and `meshgrid`."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.ops import shape as s
from pullback.ops.control import identity
from pullback.ops.diagonal import diag_embed as diag_embed_op
from pullback.ops.diagonal import diagonal as diagonal_op
from pullback.ops.diagonal import tril as tril_op
from pullback.ops.diagonal import triu as triu_op
from pullback.ops.index import gather
from pullback.tape.node import Handle, wrap
from pullback.tensor.dispatch import as_handle, is_raw, view
from pullback.tensor.joining import _cat
from pullback.tensor.mutation import rewrite
from pullback.tensor.operands import given_dim, rank
from pullback.tensor.shaping import expand, ints, reshape, swapped
from pullback.values.shape import normalize_axis

__all__ = [
    "cartesian_prod",
    "combinations",
    "diag",
    "diag_embed",
    "diagflat",
    "diagonal",
    "flip",
    "fliplr",
    "flipud",
    "meshgrid",
    "repeat_interleave",
    "roll",
    "rot90",
    "tile",
    "tril",
    "triu",
]

_repeat = s.reshape.titled("RepeatBackward0")
_rot90 = s.transpose.titled("Rot90Backward0")
_turned = s.flip.titled("Rot90Backward0")
_rolled = s.reshape.titled("RollBackward0")
_index_select = gather.titled("IndexSelectBackward0")
_diagonal_copy = diagonal_op.titled("DiagonalBackward0_copy")


# Order


def flip(input: Any, *given: Any, dims: Any = None) -> Any:
    """The order along `dims` reversed; a copy."""
    x = as_handle(input)
    axes = tuple(sorted(normalize_axis(d, rank(x)) for d in ints(given if dims is None else (dims,))))
    if len(set(axes)) < len(axes):
        raise RuntimeError(f"dim {axes} appears multiple times in the list of dims")
    return _owned(s.flip(x, axis=axes if rank(x) else ()))


def _owned(x: Any) -> Any:
    """`x` in memory of its own: an op that gave a view of its operand's memory is undone by a copy."""
    if is_raw(x) and isinstance(x._value, np.ndarray) and x._value.base is not None:
        x._value = x._value.copy()
    return x


def fliplr(input: Any) -> Any:
    """The order of the columns reversed; a copy."""
    if rank(as_handle(input)) < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return flip(input, 1)


def flipud(input: Any) -> Any:
    """The order of the rows reversed; a copy."""
    if rank(as_handle(input)) < 1:
        raise RuntimeError("Input must be >= 1-d.")
    return flip(input, 0)


def roll(input: Any, shifts: Any, dims: Any = None, *, axis: Any = None) -> Any:
    """Elements moved by `shifts` along `dims`, around the end; without `dims`, in the flattened tensor."""
    x = as_handle(input)
    dims = given_dim(dims, axis)
    if dims is None:
        shape = tuple(x.shape)
        flat = s.reshape(x, shape=(int(np.prod(shape)),))
        return _rolled(s.roll(flat, shift=ints((shifts,)), axis=(0,)), shape=shape)
    axes, steps = tuple(normalize_axis(d, rank(x)) for d in ints((dims,))), ints((shifts,))
    if len(axes) != len(steps):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(steps)}, dims:{len(axes)}")
    return s.roll(x, shift=steps, axis=axes)


def rot90(input: Any, k: int = 1, dims: Any = (0, 1)) -> Any:
    """Turned by `k` quarters in the plane of `dims`, from the first towards the second; a copy."""
    x = as_handle(input)
    ndim = rank(x)
    a, b = (normalize_axis(d, ndim) for d in dims)
    if ndim < 2 or a == b:
        raise RuntimeError(f"rot90: expected two different rotation dims, but got dim0 = {a} and dim1 = {b}")
    swap = swapped(ndim, a, b)
    match k % 4:
        case 0:
            return identity(x)
        case 1:
            return _owned(_rot90(s.flip(x, axis=(b,)), axes=swap))
        case 2:
            return _owned(_turned(x, axis=tuple(sorted((a, b)))))
        case _:
            return _owned(_turned(s.transpose(x, axes=swap), axis=(b,)))


# Repetition


def repeat(input: Any, *sizes: Any) -> Any:
    """The tensor repeated `sizes[i]` times along each dimension, new ones in front; a copy.

    Raises `RuntimeError` for fewer sizes than dimensions.
    """
    x = as_handle(input)
    times = ints(sizes)
    shape = tuple(x._value.shape)
    lead = len(times) - len(shape)
    if lead < 0:
        raise RuntimeError("Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor")
    own = (1,) * lead + shape
    apart = s.reshape(x, shape=tuple(n for size in own for n in (1, size)))
    wide = identity(s.broadcast_to(apart, shape=tuple(n for pair in zip(times, own, strict=True) for n in pair)))
    return wrap(_repeat(wide, shape=tuple(k * n for k, n in zip(times, own, strict=True))))


def tile(input: Any, *dims: Any) -> Any:
    """`repeat`, with missing sizes taken as 1."""
    x = as_handle(input)
    times = ints(dims)
    return repeat(x, (1,) * (rank(x) - len(times)) + times)


def repeat_interleave(
    input: Any, repeats: Any, dim: int | None = None, *, output_size: int | None = None, axis: int | None = None
) -> Any:
    """Each entry along `dim` (of the flattened tensor, without `dim`) `repeats` times: one number, or one for each."""
    x = as_handle(input)
    dim = given_dim(dim, axis)
    if dim is None:
        x, dim = s.reshape(x, shape=(int(np.prod(x.shape)),)), 0
    shape = tuple(x.shape)
    at = normalize_axis(dim, len(shape))
    counts = np.asarray(repeats._value if isinstance(repeats, Handle) else repeats)
    if counts.size not in (1, shape[at]):
        raise RuntimeError("repeats must have the same size as input along dim")
    if (counts < 0).any():
        raise RuntimeError("repeats can not be negative")
    index = np.repeat(np.arange(shape[at]), counts.reshape(-1))
    lead = [np.arange(n).reshape((1,) * i + (n,) + (1,) * (at - i)) for i, n in enumerate(shape[:at])]
    return _index_select(x, *lead, index)


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Any, ...]:
    """Coordinate grids of vectors, as views: grid i varies along dimension i; the first two exchanged for "xy"."""
    found = [
        as_handle(x) for x in (tensors[0] if len(tensors) == 1 and isinstance(tensors[0], tuple | list) else tensors)
    ]
    if indexing not in ("ij", "xy"):
        raise RuntimeError(f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}')
    if any(rank(x) > 1 for x in found):
        raise RuntimeError("torch.meshgrid: Expected 0D or 1D tensor in the tensor list")
    places = list(range(len(found)))
    if indexing == "xy" and len(found) > 1:
        places[:2] = 1, 0
    sizes = [int(np.prod(x.shape)) for x in found]
    shape = [0] * len(found)
    for place, size in zip(places, sizes, strict=True):
        shape[place] = size
    return tuple(
        expand(reshape(x, [size if i == place else 1 for i in range(len(found))]), shape)
        for x, place, size in zip(found, places, sizes, strict=True)
    )


def cartesian_prod(*tensors: Any) -> Any:
    """All combinations of the elements of 1-D tensors, one a row (of one tensor: itself)."""
    if len(tensors) == 1:
        return as_handle(tensors[0])
    grids = [reshape(grid, -1, 1) for grid in meshgrid(*tensors)]
    return _cat(grids, 1)


def combinations(input: Any, r: int = 2, with_replacement: bool = False) -> Any:
    """The combinations of `r` elements of a vector, one a row, in lexicographic order of their places.

    >>> import pullback as pb
    >>> pb.combinations(pb.tensor([1, 2, 3]))
    tensor([[1, 2],
            [1, 3],
            [2, 3]])
    """
    x = as_handle(input)
    if rank(x) != 1:
        raise RuntimeError("Expect a 1D vector, but got shape " + str(list(x._value.shape)))
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    if r == 0:
        return x[:0].detach()
    size = int(x._value.shape[0])
    rows = np.arange(size).reshape(-1, 1)
    for _ in range(r - 1):  # each row, followed by every element that may come after its last
        start = rows[:, -1] + (0 if with_replacement else 1)
        counts = size - start
        last = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts - start, counts)
        rows = np.concatenate([np.repeat(rows, counts, axis=0), last[:, None]], axis=1)
    return gather(x, rows)


# Triangles and diagonals


def _triangle(op: Any, input: Any, diagonal: int) -> Any:
    x = as_handle(input)
    if rank(x) < 2:
        raise RuntimeError(f"{op.name}: input tensor must have at least 2 dimensions")
    return op(x, diagonal=int(diagonal))


def tril(input: Any, diagonal: int = 0) -> Any:
    """The lower triangle of each matrix, up to the given diagonal; zero elsewhere.

    >>> import pullback as pb
    >>> pb.tril(pb.ones(2, 3))
    tensor([[1., 0., 0.],
            [1., 1., 0.]])
    """
    return _triangle(tril_op, input, diagonal)


def triu(input: Any, diagonal: int = 0) -> Any:
    """The upper triangle of each matrix, from the given diagonal; zero elsewhere."""
    return _triangle(triu_op, input, diagonal)


def diagonal(input: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """The diagonals of the planes of `dim1` and `dim2`, as the last dimension; a view."""
    x = as_handle(input)
    ndim = rank(x)
    a, b = normalize_axis(dim1, ndim), normalize_axis(dim2, ndim)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    return view(diagonal_op, x, offset=int(offset), axis1=a, axis2=b)


def diag_embed(input: Any, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """Zeros with the last dimension of `input` on the diagonals of the planes of `dim1` and `dim2`."""
    x = as_handle(input)
    ndim = rank(x) + 1
    a, b = normalize_axis(dim1, ndim), normalize_axis(dim2, ndim)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    size = x.shape[-1] + abs(offset)
    shape = [*x.shape[:-1]]
    for place in sorted((a, b)):
        shape.insert(place, size)
    return diag_embed_op(x, offset=int(offset), axis1=a, axis2=b, shape=tuple(shape))


def diag(input: Any, diagonal: int = 0) -> Any:
    """The diagonal of a matrix (a copy), or the matrix with a vector on its diagonal."""
    x = as_handle(input)
    ndim = rank(x)
    if ndim not in (1, 2):
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {ndim}D")
    if ndim == 1:
        return diag_embed(x, diagonal)
    return _owned(_diagonal_copy(x, offset=int(diagonal), axis1=0, axis2=1))


def diagflat(input: Any, offset: int = 0) -> Any:
    """The matrix with the elements of `input` on a diagonal."""
    return diag_embed(reshape(input, -1), offset)


def tril_(self: Any, diagonal: int = 0) -> Any:
    """`tril` in place."""
    return rewrite(self, tril, diagonal)


def triu_(self: Any, diagonal: int = 0) -> Any:
    """`triu` in place."""
    return rewrite(self, triu, diagonal)


def fill_diagonal_(self: Any, fill_value: Any) -> Any:
    """A matrix with `fill_value` on its diagonal, in place. Returns it; raises `RuntimeError` unless it is a matrix."""
    if rank(self) != 2:
        raise RuntimeError(f"fill_diagonal_(): expected a matrix, got {rank(self)} dimensions")
    diagonal(self).fill_(fill_value)
    return self


class RearrangeMethods:
    """Order, repetition and diagonals, as methods of `Tensor`."""

    flip = flip
    fliplr = fliplr
    flipud = flipud
    roll = roll
    rot90 = rot90
    repeat = repeat
    tile = tile
    repeat_interleave = repeat_interleave
    tril, tril_ = tril, tril_
    triu, triu_ = triu, triu_
    fill_diagonal_ = fill_diagonal_
    diagonal = diagonal
    diag_embed = diag_embed
    diag = diag
    diagflat = diagflat
