"""What NumPy's functions share: operands from whatever NumPy takes, NumPy's promotion, axes, `out=` and `where=`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from pullback.ops.control import stop_gradient
from pullback.ops.elementwise import where
from pullback.ops.shape import broadcast_to, stack
from pullback.tape.node import Handle, new_handle
from pullback.tape.state import modes
from pullback.tensor.conversion import numbers
from pullback.tensor.dispatch import as_handle, is_raw, stand_for, to_dtype
from pullback.tensor.inplace import check_writable, move
from pullback.tensor.operands import rank
from pullback.values.shape import Shape

__all__ = [
    "all_axes",
    "broadcast",
    "deliver",
    "dtype_of",
    "inexact",
    "is_number",
    "keep_old",
    "lift",
    "one_axis",
    "promoted",
    "rank",
    "raw",
    "select",
    "shape_of",
    "with_dtype",
]


def is_number(x: Any) -> bool:
    """Whether `x` is a Python number, which takes on the dtype of what it meets; a NumPy scalar has its own."""
    return isinstance(x, int | float | complex) and not isinstance(x, np.generic)


def _holds_tensor(items: Any) -> bool:
    return any(isinstance(x, Handle) or (isinstance(x, list | tuple) and _holds_tensor(x)) for x in items)


def lift(x: Any) -> Any:
    """A Tensor for what NumPy would make an array of: arrays, numbers, nested sequences that may hold Tensors."""
    if isinstance(x, Handle):
        return x
    if isinstance(x, list | tuple) and _holds_tensor(x):
        return stack(*promoted(*(lift(item) for item in x)), axis=0)
    value = np.asarray(x)
    if value.dtype.kind not in "biufc":
        raise TypeError(f"expected numbers, not {type(x).__name__} of dtype {value.dtype}")
    if not value.dtype.isnative:
        value = value.astype(value.dtype.newbyteorder("="))
    return new_handle(x if isinstance(x, np.generic) else value)


def raw(x: Any, what: str) -> Any:
    """The numbers of an operand that must be known while the function runs, such as indices.

    Raises `TypeError` naming `what` if they are batched or traced.
    """
    return numbers(stop_gradient(x), what) if isinstance(x, Handle) else np.asarray(x)


def shape_of(x: Any) -> Shape:
    """The shape of a Tensor as a plain tuple."""
    return tuple(x._value.shape)


def dtype_of(x: Any) -> np.dtype[Any]:
    """The NumPy dtype of a Tensor."""
    dtype: np.dtype[Any] = np.dtype(x._value.dtype)
    return dtype


def promoted(*operands: Any) -> tuple[Any, ...]:
    """The operands as Tensors of the dtype NumPy promotes them to; Python numbers among them are weak."""
    met = tuple(map(stand_for, operands)) if modes.special else operands
    dtype = np.result_type(*(x if is_number(x) else dtype_of(lift(x)) for x in met))
    return tuple(to_dtype(lift(x), dtype) for x in operands)


def with_dtype(x: Any, dtype: Any) -> Any:
    """`x` as a Tensor of `dtype`; of its own if that is None."""
    x = lift(x)
    return x if dtype is None else to_dtype(x, np.dtype(dtype))


def inexact(x: Any, dtype: Any = None) -> Any:
    """`x` as a Tensor of `dtype`; without one, of float64 for integers and booleans, else of its own."""
    x = lift(x)
    if dtype is None and dtype_of(x).kind in "biu":
        dtype = np.float64
    return with_dtype(x, dtype)


def one_axis(axis: Any, ndim: int) -> int:
    """`axis` counted from the front. Raises NumPy's `AxisError` when out of range."""
    return int(normalize_axis_index(int(axis), ndim))


def all_axes(axis: Any, ndim: int) -> Shape:
    """The axes meant by `axis` (None: all), counted from the front and sorted. Raises NumPy's `AxisError`."""
    if axis is None:
        return tuple(range(ndim))
    return tuple(sorted(int(a) for a in normalize_axis_tuple(axis, ndim)))


def broadcast(x: Any, shape: Shape) -> Any:
    """`x` broadcast to `shape`; itself if it has it."""
    return x if shape_of(x) == tuple(shape) else broadcast_to(x, shape=tuple(int(n) for n in shape))


def deliver(result: Any, out: Any, casting: str = "same_kind") -> Any:
    """The result of a function called with `out=`: written into a Tensor `out`, which is returned, or `result` if None.

    Raises `TypeError` where NumPy's casting forbids it, and for an array `out` if a gradient would be lost.
    """
    if isinstance(out, tuple):
        (out,) = out
    if out is None:
        return result
    own = dtype_of(result)
    if not np.can_cast(own, out.dtype, casting):  # type: ignore[arg-type]
        raise TypeError(f"Cannot cast output from {own!r} to {np.dtype(out.dtype)!r} with casting rule {casting!r}")
    if isinstance(out, Handle):
        check_writable(out)
        move(out, to_dtype(broadcast(as_handle(result), shape_of(out)), dtype_of(out)))
        return out
    if result._node is not None or not is_raw(result):
        raise TypeError(
            "can't write a tracked Tensor into a NumPy array (by out=, or by an in-place operator such as +=): its "
            "gradient would be lost. Write into a Tensor instead (np.zeros_like(tensor), pb.numpy.zeros(shape)), or "
            "detach() it."
        )
    np.copyto(out, result._value, casting=casting)  # type: ignore[arg-type]
    return out


def keep_old(x: Any, out: Any) -> Any:
    """An operand that `out=` is about to overwrite, with memory of its own; any other operand as it is."""
    if not (isinstance(out, Handle) and isinstance(x, Handle) and is_raw(x) and is_raw(out)):
        return x
    same = (x if x._base is None else x._base) is (out if out._base is None else out._base)
    return new_handle(x._value.copy(), x._node) if same else x


def select(mask: Any, chosen: Any, fill: Any) -> Any:
    """`chosen` where the mask holds and the number or Tensor `fill` elsewhere, in the dtype of `chosen`."""
    mask = to_dtype(lift(mask), np.dtype(bool))
    if isinstance(fill, Handle):
        return where(mask, chosen, to_dtype(fill, dtype_of(chosen)))
    return where(mask, chosen, fill)
