"""What functions of tensors take: operands, and a dimension given as `dim` or as `axis`."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from pullback.tape.node import Handle
from pullback.tensor.dispatch import promoted
from pullback.values.dtype import type_name

__all__ = ["NUMBERS", "OPERANDS", "checked", "given_dim", "rank", "unimplemented"]

NUMBERS: Final = (int, float, complex, np.generic)
OPERANDS: Final = (Handle, np.ndarray, *NUMBERS)


def checked(name: str, x: Any) -> Any:
    """`x`, if it is a tensor, an array or a number. Raises `TypeError` naming the function if it is not."""
    if not isinstance(x, OPERANDS):
        raise TypeError(f"{name}(): argument must be Tensor, not {type(x).__name__}")
    return x


def rank(x: Any) -> int:
    """The number of dimensions of a Tensor."""
    return len(x._value.shape)


def given_dim(dim: Any, axis: Any) -> Any:
    """What was given as `dim` or as `axis`; None if neither was."""
    if axis is None:
        return dim
    if dim is not None:
        raise TypeError("give dim or axis, not both")
    return axis


def unimplemented(kernel: str, *operands: Any, kinds: str) -> None:
    """Raise `NotImplementedError` if the operands' common dtype is of one of `kinds`."""
    dtype = promoted(*operands)
    if dtype.kind in kinds:
        raise NotImplementedError(f"\"{kernel}\" not implemented for '{type_name(dtype)}'")
