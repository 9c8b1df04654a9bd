"""Operands of `pb.scipy.linalg`, checked as SciPy checks them."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.ops.cast import cast
from pullback.tensor.dispatch import is_raw
from pullback.tensor.matrices import transposed
from pullback.tensor.numpy_api.operands import dtype_of, inexact, rank, shape_of

__all__ = ["adjoint", "conjugate", "operand"]


def operand(a: Any, check_finite: bool = True, *, square: bool = False, least: int = 2) -> Any:
    """An operand as SciPy checks it: float64 for integers, and single precision for half.

    Raises `ValueError` for numbers that are not finite, or matrices that are not square.
    """
    x = inexact(a)
    if dtype_of(x).char == "e":
        x = cast(x, dtype=np.dtype(np.float32))
    if check_finite and is_raw(x) and not np.isfinite(x._value).all():
        raise ValueError("array must not contain infs or NaNs")
    if rank(x) < least:
        raise ValueError(f"expected at least a {least}-D array, but this has shape {shape_of(x)}")
    if square and shape_of(x)[-1] != shape_of(x)[-2]:
        raise ValueError(f"expected square matrix, but this has shape {shape_of(x)}")
    return x


def adjoint(x: Any) -> Any:
    """The conjugate transposes of matrices."""
    return transposed(x, conjugate=True)


def conjugate(x: Any) -> Any:
    """The complex conjugate."""
    return x.conj() if dtype_of(x).kind == "c" else x
