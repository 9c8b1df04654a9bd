"""What a tensor is to a file: an array and two flags. Every format is written against this, and nothing above it.

Bytes become arrays here, in one place, because the bytes may be hostile: see `elements`.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "CheckpointError", "FromLeaf", "Leaf", "ToLeaf", "elements"]

Array: TypeAlias = npt.NDArray[Any]


class CheckpointError(pickle.UnpicklingError):
    """A checkpoint was not read: damaged, in another format, or holding what pullback refuses to build.

    The message says which, and what to do. Nothing in the file has been run.
    """


class Leaf(NamedTuple):
    """A tensor as a file sees it."""

    array: Array
    requires_grad: bool = False
    is_parameter: bool = False


ToLeaf: TypeAlias = Callable[[object], Leaf | None]  # None: not a tensor
FromLeaf: TypeAlias = Callable[[Leaf], object]


def elements(raw: Array, dtype: str, *, swapped: bool = False) -> Array:
    """The 1-D array of `dtype` whose bytes are `raw` (1-D, uint8), sharing its memory where NumPy has the type.

    NumPy lacks bfloat16: those numbers are widened to float32, which holds each of them exactly. Booleans are made
    0 or 1 in `raw` first, because NumPy's indexing relies on it. `swapped` says that the other byte order was written.

    >>> elements(np.array([0x80, 0x3F], np.uint8), "bfloat16")
    array([1.], dtype=float32)
    """
    if dtype == "bfloat16":
        halves = elements(raw, "uint16", swapped=swapped)
        return (halves.astype(np.uint32) << 16).view(np.float32)
    if dtype == "bool":
        np.not_equal(raw, 0, out=raw.view(np.bool_))
    whole = raw.size - raw.size % np.dtype(dtype).itemsize
    array = raw[:whole].view(dtype)
    return array.byteswap() if swapped else array
