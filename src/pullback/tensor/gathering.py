"""Reading and writing elements by index tensors and masks, under PyTorch's names."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pullback.ops.compare import not_equal
from pullback.ops.control import identity
from pullback.ops.elementwise import add
from pullback.ops.elementwise import where as where_op
from pullback.ops.index import gather as gather_op
from pullback.ops.index import index_update
from pullback.ops.index import scatter_add as scatter_add_op
from pullback.ops.shape import broadcast_to, reshape
from pullback.tape.node import Handle, new_handle, wrap
from pullback.tensor.dispatch import as_handle, is_raw, promoted, to_dtype
from pullback.tensor.inplace import check_writable, move
from pullback.tensor.meeting import reduced_into
from pullback.values.dtype import type_name
from pullback.values.shape import Shape, broadcast_shapes, normalize_axis

__all__ = [
    "gather",
    "index_add",
    "index_copy",
    "index_fill",
    "index_put",
    "index_select",
    "masked_fill",
    "masked_scatter",
    "masked_select",
    "scatter",
    "scatter_add",
    "take",
    "take_along_dim",
    "unravel_index",
    "where",
]

_gather = gather_op.titled("GatherBackward0")
_index_select = gather_op.titled("IndexSelectBackward0")
_masked_select = gather_op.titled("MaskedSelectBackward0")
_take = gather_op.titled("TakeBackward0")
_scatter = index_update.titled("ScatterBackward0")
_scatter_number = index_update.titled("ScatterBackward1")
_index_copy = index_update.titled("IndexCopyBackward0")
_index_fill = index_update.titled("IndexFillBackward0")
_scatter_sum = add.titled("ScatterAddBackward0")
_index_sum = add.titled("IndexAddBackward0")
_put_sum = add.titled("IndexPutBackward0")
_masked_fill = where_op.titled("MaskedFillBackward0")
_masked_fill_tensor = where_op.titled("MaskedFillBackward1")


def _dim(dim: int | None, axis: int | None, ndim: int) -> int:
    """The one dimension meant by `dim` or `axis`, counted from the front."""
    if (dim is None) == (axis is None):
        raise TypeError("give the dimension once, as dim or axis")
    return normalize_axis(dim if axis is None else axis, ndim)  # type: ignore[arg-type]


def index_of(value: Any, name: str) -> Any:
    """An operand that holds integers: an array (a copy: the backward pass reads it), or a handle on a batch or symbol.

    Raises `RuntimeError` for another dtype.
    """
    if isinstance(value, Handle) and not is_raw(value):
        found: Any = value
    else:
        found = np.array(value._value if isinstance(value, Handle) else value)
        if not found.size and found.dtype.kind == "f":
            found = found.astype(np.int64)
    if found.dtype.kind not in "iu":
        raise RuntimeError(f"{name}(): Expected dtype int64 for index, got {found.dtype}")
    return found


def _check_range(index: Any, size: int, name: str, lowest: int = 0) -> None:
    """Raise `IndexError` if an index array has entries outside [lowest, size)."""
    if isinstance(index, np.ndarray) and index.size and (index.min() < lowest or index.max() >= size):
        wrong = index[(index < lowest) | (index >= size)].flat[0]
        raise IndexError(f"{name}(): index {wrong} is out of bounds for dimension with size {size}")


def _grid(index: Any, axis: int) -> tuple[Any, ...]:
    """Index arrays that address `x[i, ..., index[i, ..., k], ...]`: `index` on `axis`, its positions on the others."""
    shape = tuple(index.shape)
    rank = len(shape)
    return tuple(
        index if i == axis else np.arange(n).reshape((1,) * i + (n,) + (1,) * (rank - i - 1))
        for i, n in enumerate(shape)
    )


def _at(index: Any, axis: int, shape: Shape) -> tuple[Any, ...]:
    """Index arrays that address `x[:, index, ...]`, the axes before `axis` in full."""
    lead = [np.arange(n).reshape((1,) * i + (n,) + (1,) * (axis - i)) for i, n in enumerate(shape[:axis])]
    return (*lead, index)


def _match(x: Any, value: Any, name: str) -> Any:
    """`value` as a handle of the dtype of `x`. Raises `RuntimeError` if it is a tensor of another dtype."""
    if not isinstance(value, Handle):
        return new_handle(np.asarray(value, x._value.dtype))
    if value._value.dtype != x._value.dtype:
        raise RuntimeError(f"{name}(): Expected self.dtype to be equal to src.dtype")
    return value


def _in_place(x: Any, new: Any) -> Any:
    check_writable(x)
    move(x, new)
    return x


# Along one dimension


def index_select(input: Any, dim: int | None = None, index: Any = None, *, axis: int | None = None) -> Any:
    """The entries of `input` at the 1-D integer tensor `index` along `dim`; a copy.

    Raises `IndexError` for indices out of range or of more than one dimension.

    >>> import pullback as pb
    >>> pb.index_select(pb.tensor([[1, 2], [3, 4]]), 1, pb.tensor([1, 1]))
    tensor([[2, 2],
            [4, 4]])
    """
    x = as_handle(input)
    shape = tuple(x._value.shape)
    at = _dim(dim, axis, len(shape))
    where_ = index_of(index, "index_select")
    if len(where_.shape) > 1:
        raise IndexError("index_select(): Index is supposed to be a vector")
    _check_range(where_, shape[at] if shape else 1, "index_select")
    if not shape:
        return reshape(_index_select(reshape(x, shape=(1,)), where_), shape=())
    if not where_.shape:
        where_ = where_.reshape(1)
    return _index_select(x, *_at(where_, at, shape))


def gather(input: Any, dim: int | None = None, index: Any = None, *, axis: int | None = None) -> Any:
    """`out[i][j] = input[index[i][j]][j]` (for dim 0): one entry along `dim` for each entry of `index`; a copy.

    `index` has as many dimensions as `input`, and is no longer than it in any but `dim`. Raises `RuntimeError`
    otherwise, and for indices out of range.
    """
    x = as_handle(input)
    shape = tuple(x._value.shape)
    at = _dim(dim, axis, len(shape))
    where_ = index_of(index, "gather")
    if 0 in where_.shape:  # whatever its dimensions, as in PyTorch
        return _gather(reshape(x, shape=(int(np.prod(shape)),)), where_)
    _check_grid(where_, at, shape, "gather")
    if not shape:
        return reshape(_gather(reshape(x, shape=(1,)), where_), shape=where_.shape)
    return _gather(x, *_grid(where_, at))


def _check_grid(index: Any, axis: int, shape: Shape, name: str) -> None:
    if len(index.shape) != len(shape) and not (len(shape) == 0 and len(index.shape) == 1):
        raise RuntimeError("Index tensor must have the same number of dimensions as input tensor")
    if any(n > size for i, (n, size) in enumerate(zip(index.shape, shape)) if i != axis):
        raise RuntimeError(
            f"Size does not match at dimension {next(i for i, n in enumerate(index.shape) if n > shape[i])} expected "
            f"index {list(index.shape)} to be no larger than self {list(shape)} apart from dimension {axis}"
        )
    try:
        _check_range(index, shape[axis] if shape else 1, name)
    except IndexError as error:
        raise RuntimeError(str(error).replace(f"{name}(): ", "")) from None


def take_along_dim(input: Any, indices: Any, dim: int | None = None, *, axis: int | None = None) -> Any:
    """`np.take_along_axis`: `gather` with the other dimensions broadcast; without `dim`, from the flattened input."""
    x = as_handle(input)
    where_ = index_of(indices, "take_along_dim")
    if dim is None and axis is None:
        x, where_ = reshape(x, shape=(int(np.prod(x.shape)),)), where_.reshape(-1)
        at = 0
    else:
        at = _dim(dim, axis, len(x.shape))
    shape = tuple(x.shape)
    if len(where_.shape) != len(shape):
        raise RuntimeError(
            "torch.take_along_dim(): input and indices should have the same number of dimensions, "
            f"but got {len(shape)} dimensions for input, and {len(where_.shape)} dimensions for indices"
        )
    common = broadcast_shapes(*(tuple(1 if i == at else n for i, n in enumerate(s)) for s in (shape, where_.shape)))
    x = wrap(broadcast_to(x, shape=(*common[:at], shape[at], *common[at + 1 :])))
    where_ = broadcast_to(where_, shape=(*common[:at], where_.shape[at], *common[at + 1 :]))
    _check_range(where_, shape[at], "take_along_dim", -shape[at])
    return _gather(x, *_grid(where_, at))


def take(input: Any, index: Any) -> Any:
    """The entries of the flattened input at `index`, in its shape; negative indices count from the end."""
    x = as_handle(input)
    where_ = index_of(index, "take")
    size = int(np.prod(x.shape))
    _check_range(where_, size, "take", -size)
    return _take(reshape(x, shape=(size,)), where_)


def unravel_index(indices: Any, shape: Any) -> tuple[Any, ...]:
    """Where positions in the flattened tensor of a `shape` are in it: an index tensor for each dimension.

    Raises `ValueError` for positions out of range.
    """
    where_ = index_of(indices, "unravel_index")
    sizes = (shape,) if isinstance(shape, int) else tuple(int(n) for n in shape)
    found: list[Any] = []
    rest: Any = where_ if isinstance(where_, Handle) else new_handle(where_.astype(np.int64))
    if isinstance(where_, np.ndarray) and where_.size and not 0 <= where_.min() <= where_.max() < math.prod(sizes):
        raise ValueError(f"indices are out of range for a tensor of shape {sizes}")
    for n in reversed(sizes):
        found.append(rest % n)
        rest = rest // n
    return tuple(reversed(found))


def _src_part(src: Any, index: Any) -> Any:
    """The part of `src` that stands under `index`."""
    shape = tuple(index.shape)
    if len(src.shape) != len(shape) or any(n > m for n, m in zip(shape, src.shape)):
        raise RuntimeError(f"Expected index {list(shape)} to be no larger than src {list(src.shape)} in any dimension")
    return src if tuple(src.shape) == shape else src[tuple(slice(0, n) for n in shape)]


def scatter(
    input: Any,
    dim: int | None = None,
    index: Any = None,
    src: Any = None,
    *,
    value: Any = None,
    reduce: str | None = None,
    axis: int | None = None,
) -> Any:
    """`input` with `src` (a tensor or a number) written: `out[index[i][j]][j] = src[i][j]` for dim 0; of repeated
    indices the last one counts. The gradient of what is overwritten is 0.

    With `reduce`, "add" or "multiply", the numbers there are added to or multiplied instead.

    Raises `RuntimeError` for shapes that don't fit, a `src` of another dtype, or indices out of range.
    """
    x = as_handle(input)
    shape = tuple(x._value.shape)
    at = _dim(dim, axis, len(shape))
    where_ = index_of(index, "scatter")
    _check_grid(where_, at, shape, "scatter")
    src = value if src is None else src
    if reduce is not None:
        return _scatter_reduced(x, at, where_, src, reduce)
    if not isinstance(src, Handle | np.ndarray):
        number = new_handle(np.full(where_.shape, src, x._value.dtype))
        return _scatter_number(x, number, *_grid(where_, at))
    return _scatter(x, _src_part(_match(x, src, "scatter"), where_), *_grid(where_, at))


def _scatter_reduced(x: Any, axis: int, index: Any, src: Any, reduce: str) -> Any:
    if reduce not in ("add", "multiply"):
        raise RuntimeError("reduce argument must be either add or multiply.")
    if not isinstance(src, Handle | np.ndarray):
        src = new_handle(np.full(index.shape, src, x._value.dtype))
    part = _src_part(_match(x, src, "scatter"), index)
    return reduced_into(x, part, _grid(index, axis), "sum" if reduce == "add" else "prod", True)


def scatter_add(
    input: Any, dim: int | None = None, index: Any = None, src: Any = None, *, axis: int | None = None
) -> Any:
    """`input` with `src` added: `out[index[i][j]][j] += src[i][j]` for dim 0; repeated indices add up.

    Raises as `scatter` does.
    """
    x = as_handle(input)
    shape = tuple(x._value.shape)
    at = _dim(dim, axis, len(shape))
    where_ = index_of(index, "scatter_add")
    _check_grid(where_, at, shape, "scatter_add")
    part = _src_part(_match(x, src, "scatter"), where_)
    return _scatter_sum(x, scatter_add_op(part, *_grid(where_, at), shape=shape))


def index_add(
    input: Any,
    dim: int | None = None,
    index: Any = None,
    source: Any = None,
    *,
    alpha: complex = 1,
    axis: int | None = None,
) -> Any:
    """`input` with `alpha · source` added at `index` along `dim`: `out[index[i]] += source[i]`; repetitions add."""
    x = as_handle(input)
    shape = tuple(x._value.shape)
    at = _dim(dim, axis, len(shape))
    if not shape:
        return _of_vectors(index_add, x, index, source, alpha=alpha)
    where_, part = _rows(x, at, index, source, "index_add")
    part = part if alpha == 1 else part * alpha
    return _index_sum(x, scatter_add_op(part, *_at(where_, at, shape), shape=shape))


def index_copy(
    input: Any, dim: int | None = None, index: Any = None, source: Any = None, *, axis: int | None = None
) -> Any:
    """`input` with `source` at `index` along `dim`: `out[index[i]] = source[i]`."""
    x = as_handle(input)
    shape = tuple(x._value.shape)
    at = _dim(dim, axis, len(shape))
    if not shape:
        return _of_vectors(index_copy, x, index, source)
    where_, part = _rows(x, at, index, source, "index_copy")
    return _index_copy(x, part, *_at(where_, at, shape))


def index_fill(
    input: Any, dim: int | None = None, index: Any = None, value: Any = None, *, axis: int | None = None
) -> Any:
    """`input` with `value` (a number or a 0-dim tensor) at `index` along `dim`."""
    x = as_handle(input)
    shape = tuple(x._value.shape)
    at = _dim(dim, axis, len(shape))
    if not shape:
        return reshape(index_fill(reshape(x, shape=(1,)), 0, index, value), shape=())
    where_ = index_of(index, "index_fill").reshape(-1)
    _check_range(where_, shape[at], "index_fill", -shape[at])
    part = as_handle(value)
    if tuple(part.shape) != ():
        raise RuntimeError("index_fill_ only supports a 0-dimensional value tensor")
    part = broadcast_to(to_dtype(part, x._value.dtype), shape=(*shape[:at], len(where_), *shape[at + 1 :]))
    return _index_fill(x, part, *_at(where_, at, shape))


def _of_vectors(function: Any, x: Any, index: Any, source: Any, **options: Any) -> Any:
    """A write along a dimension of a 0-dim `x`, which counts as a vector of one element."""
    part = reshape(source, shape=(1,)) if isinstance(source, Handle) and tuple(source.shape) == () else source
    return reshape(function(reshape(x, shape=(1,)), 0, index, part, **options), shape=())


def _rows(x: Any, axis: int, index: Any, source: Any, name: str) -> tuple[Any, Any]:
    """The index vector and the source of a write along `axis`, checked."""
    where_ = index_of(index, name)
    if len(where_.shape) > 1:
        raise IndexError(f"{name}(): Index is supposed to be a vector")
    if not where_.shape:
        where_ = where_.reshape(1)
    shape = tuple(x._value.shape)
    part = as_handle(source)
    if part._value.dtype != x._value.dtype:
        raise RuntimeError(f"{name}(): self and source expected to have the same dtype")
    wanted = (*shape[:axis], where_.shape[0], *shape[axis + 1 :])
    if tuple(part.shape) != wanted:
        raise RuntimeError(
            f"{name}(): source of shape {list(part.shape)} does not match the indexed shape {list(wanted)}"
        )
    _check_range(where_, shape[axis], name)
    return where_, part


# By index tensors and masks


def index_put(input: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    """`input` with `values` written at `[indices]` (a tuple of index tensors or masks), or added if `accumulate`.

    Raises `IndexError` and `RuntimeError` as writing by brackets does.
    """
    x = as_handle(input)
    index = tuple(slice(None) if i is None else i for i in indices)
    if not accumulate:
        result = identity(x)
        result[index] = values
        return result
    part = as_handle(values)
    if part._value.dtype != x._value.dtype:
        raise RuntimeError("Index put requires the source and destination dtypes match")
    numbers = np.arange(int(np.prod(x.shape))).reshape(x.shape)[
        tuple(i._value if isinstance(i, Handle) else i for i in index)
    ]
    part = reshape(wrap(broadcast_to(part, shape=numbers.shape)), shape=(numbers.size,))
    total = scatter_add_op(part, numbers.reshape(-1), shape=(int(np.prod(x.shape)),))
    return _put_sum(x, reshape(total, shape=tuple(x.shape)))


def masked_select(input: Any, mask: Any) -> Any:
    """The entries where the boolean `mask` holds, as a vector; both are broadcast together first."""
    x, m = as_handle(input), _mask(mask, "masked_select")
    shape = broadcast_shapes(tuple(x.shape), tuple(m.shape))
    where_ = np.nonzero(np.broadcast_to(m._value, shape).reshape(-1))
    return _masked_select(reshape(wrap(broadcast_to(x, shape=shape)), shape=(int(np.prod(shape)),)), *where_)


def _mask(mask: Any, name: str) -> Any:
    m = as_handle(mask)
    if m._value.dtype.kind != "b":
        raise RuntimeError(f"{name}: expected BoolTensor for mask")
    return m


def masked_fill(input: Any, mask: Any, value: Any) -> Any:
    """`input` with `value` (a number or a 0-dim tensor) where the boolean `mask` holds; no gradient flows back there.

    >>> import pullback as pb
    >>> pb.tensor([1.0, 2.0]).masked_fill(pb.tensor([True, False]), float("-inf"))
    tensor([-inf, 2.])
    """
    x, m = as_handle(input), as_handle(mask)
    if m._value.dtype.kind != "b":
        raise RuntimeError(f"masked_fill_ only supports boolean masks, but got mask with dtype {m._value.dtype}")
    dtype = x._value.dtype
    if not isinstance(value, Handle):
        return _masked_fill(m, new_handle(dtype.type(value)), x)
    if tuple(value.shape) != ():
        raise RuntimeError(
            f"masked_fill_ only supports a 0-dimensional value tensor, but got tensor with "
            f"{len(value.shape)} dimension(s)."
        )
    return _masked_fill_tensor(m, to_dtype(value, dtype), x)


def masked_scatter(input: Any, mask: Any, source: Any) -> Any:
    """`input` with the first entries of `source` in the places where the boolean `mask` holds, in order."""
    x, m, part = as_handle(input), _mask(mask, "masked_scatter"), as_handle(source)
    shape = broadcast_shapes(tuple(x.shape), tuple(m.shape))
    where_ = np.nonzero(np.broadcast_to(m._value, shape))
    size = int(np.prod(part.shape))
    if size < len(where_[0]):
        raise RuntimeError("masked_scatter: expected self and source to have same dtypes and enough source elements")
    flat = reshape(part, shape=(size,))[: len(where_[0])]
    return index_update(wrap(broadcast_to(x, shape=shape)), to_dtype(flat, x._value.dtype), *where_)


def where(condition: Any, input: Any = None, other: Any = None) -> Any:
    """`input` where `condition` holds, `other` elsewhere, broadcast together; with the condition alone, the indices
    where it holds, as a tuple of vectors.

    Operands are promoted; the branch not taken gets an exact zero gradient, whatever its value.

    >>> import pullback as pb
    >>> x = pb.tensor([4.0, 0.0], requires_grad=True)
    >>> pb.where(x > 0, x.sqrt(), x).sum().backward()
    """
    c = as_handle(condition)
    if input is None and other is None:
        return tuple(new_handle(found) for found in np.nonzero(np.atleast_1d(c._value)))
    if c._value.dtype == np.uint8:
        c = not_equal(c, 0)
    if c._value.dtype.kind != "b":
        raise RuntimeError(
            f"where expected condition to be a boolean tensor, but got a tensor with dtype {type_name(c._value.dtype)}"
        )
    dtype = promoted(input, other)
    a, b = (to_dtype(x, dtype) if isinstance(x, Handle) else new_handle(np.asarray(x, dtype)) for x in (input, other))
    return where_op(c, a, b)


def _where_method(self: Any, condition: Any, other: Any) -> Any:
    return where(condition, self, other)


class GatherMethods:
    """Reading and writing by index tensors and masks, as methods of `Tensor`."""

    index_select = index_select
    gather = gather
    take = take
    take_along_dim = take_along_dim
    masked_select = masked_select
    masked_fill = masked_fill
    masked_scatter = masked_scatter
    scatter = scatter
    scatter_add = scatter_add
    index_add = index_add
    index_copy = index_copy
    index_fill = index_fill
    index_put = index_put
    where = _where_method

    def masked_fill_(self, mask: Any, value: Any) -> Any:
        """`masked_fill`, in place."""
        return _in_place(self, masked_fill(self, mask, value))

    def masked_scatter_(self, mask: Any, source: Any) -> Any:
        """`masked_scatter`, in place."""
        return _in_place(self, masked_scatter(self, mask, source))

    def scatter_(self, *args: Any, **kwargs: Any) -> Any:
        """`scatter`, in place."""
        return _in_place(self, scatter(self, *args, **kwargs))

    def scatter_add_(self, *args: Any, **kwargs: Any) -> Any:
        """`scatter_add`, in place."""
        return _in_place(self, scatter_add(self, *args, **kwargs))

    def index_add_(self, *args: Any, **kwargs: Any) -> Any:
        """`index_add`, in place."""
        return _in_place(self, index_add(self, *args, **kwargs))

    def index_copy_(self, *args: Any, **kwargs: Any) -> Any:
        """`index_copy`, in place."""
        return _in_place(self, index_copy(self, *args, **kwargs))

    def index_fill_(self, *args: Any, **kwargs: Any) -> Any:
        """`index_fill`, in place."""
        return _in_place(self, index_fill(self, *args, **kwargs))

    def index_put_(self, indices: Any, values: Any, accumulate: bool = False) -> Any:
        """`index_put`, in place."""
        if accumulate:
            return _in_place(self, index_put(self, indices, values, True))
        self[tuple(slice(None) if i is None else i for i in indices)] = values  # type: ignore[index]
        return self
