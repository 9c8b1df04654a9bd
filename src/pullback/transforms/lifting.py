"""What transforms share: turning arguments into operands, and results back into what the caller works with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pullback.tape.node import Handle, new_handle, payload
from pullback.tape.state import modes
from pullback.tensor.conversion import PlainNumbersError
from pullback.transforms.program import call

__all__ = ["as_operand", "run_program", "to_handle", "unlike"]


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


def run_program(f: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], operands: Sequence[Any]) -> Any:
    """The result of a function that a transform of `operands` runs: as a program, in which NumPy's functions reach
    pullback, with NumPy's promotion if no operand is a Tensor, else with what holds already.

    NumPy covers the error of `out[i] = x`, for an array `out`, with "setting an array element with a sequence": the
    first one is raised again, from the same line.
    """
    previous = modes.numpy
    modes.numpy = previous or not any(isinstance(x, Handle) for x in operands)
    try:
        return call(f, args, kwargs)
    except ValueError as error:
        reason = error.__cause__
        if isinstance(reason, PlainNumbersError):
            raise reason.with_traceback(error.__traceback__) from None
        raise
    finally:
        modes.numpy = previous


def unlike(arguments: Sequence[Any]) -> Callable[[Any], Any]:
    """How results go back to the caller: as NumPy's where no argument was a Tensor and nothing tracks them.

    Those of no axes are NumPy scalars, as the results of NumPy's own functions are.
    """
    if any(isinstance(x, Handle) for x in arguments):
        return lambda result: result

    def to_numpy(result: Any) -> Any:
        value = payload(result)
        if isinstance(value, np.ndarray):
            return value if value.ndim else value[()]
        return value if isinstance(value, np.generic) else result

    return to_numpy
