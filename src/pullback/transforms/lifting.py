"""What transforms share: turning arguments into operands, and results back into what the caller works with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pullback.tape.node import Handle, new_handle, payload

__all__ = ["as_operand", "to_handle", "unlike"]


def to_handle(x: Any) -> Any:
    """A handle on an argument: a Tensor, an array or a number (float64 for a Python float)."""
    return x if isinstance(x, Handle) else new_handle(_array(x))


def _array(x: Any) -> Any:
    if isinstance(x, np.ndarray | np.generic):
        return x
    if isinstance(x, bool | int | float | complex):
        return np.asarray(x)[()]
    raise TypeError(f"expected an array, a number or a Tensor, not {type(x).__name__}")


def as_operand(x: Any, name: str, like: Any = None) -> Any:
    """A handle on something to differentiate with respect to; with `like`, on a tangent or cotangent for that.

    Raises `TypeError` for what has no derivative (integers, strings) or does not match `like` in shape.
    """
    handle = to_handle(x)
    dtype = handle._value.dtype
    if like is not None:
        if tuple(handle.shape) != tuple(like.shape):
            raise TypeError(f"{name}: shape {tuple(handle.shape)} does not match {tuple(like.shape)}")
        wanted = like._value.dtype
        if dtype != wanted:
            if not isinstance(handle._value, np.ndarray | np.generic) or (dtype.kind == "c" and wanted.kind != "c"):
                raise TypeError(f"{name}: dtype {dtype} does not match {wanted}")
            handle = new_handle(handle._value.astype(wanted))
        return handle
    if dtype.kind not in "fc":
        raise TypeError(
            f"{name}: can't differentiate with respect to {dtype} values: an integer has no neighbourhood. "
            "Pass floats (x * 1.0, np.asarray(x, float)), or leave the argument out with argnums."
        )
    return handle


def unlike(arguments: Sequence[Any]) -> Callable[[Any], Any]:
    """How results go back to the caller: as NumPy's where no argument was a Tensor and nothing tracks them."""
    if any(isinstance(x, Handle) for x in arguments):
        return lambda result: result

    def to_numpy(result: Any) -> Any:
        value = payload(result)
        return value if isinstance(value, np.ndarray | np.generic) else result

    return to_numpy
