"""What the functions of linear algebra share: their operands, checked as PyTorch checks them, and their errors."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.ops import shape as s
from pullback.ops.compare import greater
from pullback.ops.control import stop_gradient
from pullback.ops.diagonal import tril, triu
from pullback.ops.elementwise import where
from pullback.ops.factor import adjoint
from pullback.tape.node import wrap
from pullback.tensor.dispatch import as_handle, to_dtype
from pullback.tensor.shaping import conjugated
from pullback.values.dtype import type_name
from pullback.values.shape import Shape, broadcast_shapes

__all__ = [
    "LinAlgError",
    "attempted",
    "broadcast_lead",
    "completed",
    "eps_of",
    "from_triangle",
    "inexact",
    "is_vector",
    "matrix",
    "numbers_within",
    "real_dtype",
    "same_dtype",
    "square",
    "tolerances",
    "transposed",
    "zero_info",
]


class LinAlgError(RuntimeError):
    """A matrix is singular, or not positive definite, where it must not be."""


def inexact(input: Any, name: str) -> Any:
    """An operand of numbers that are not integers. Raises `RuntimeError`."""
    x = as_handle(input)
    if x._value.dtype.kind not in "fc":
        raise RuntimeError(
            f"linalg.{name}: Expected a floating point or complex tensor as input. Got {type_name(x._value.dtype)}"
        )
    return x


def matrix(input: Any, name: str) -> Any:
    """Matrices, of any shape. Raises `RuntimeError` for fewer than two dimensions, or integers."""
    x = inexact(input, name)
    if len(x._value.shape) < 2:
        raise RuntimeError(f"linalg.{name}: The input tensor A must have at least 2 dimensions.")
    return x


def square(input: Any, name: str) -> Any:
    """Matrices to factor. Raises `RuntimeError` if they are not square, or not floating-point."""
    x = matrix(input, name)
    rows, columns = x._value.shape[-2:]
    if rows != columns:
        raise RuntimeError(
            f"linalg.{name}: A must be batches of square matrices, but they are {rows} by {columns} matrices"
        )
    return x


def same_dtype(a: Any, b: Any, name: str) -> None:
    """Raise `RuntimeError` if two operands differ in dtype."""
    if a._value.dtype != b._value.dtype:
        raise RuntimeError(
            f"linalg.{name}: Expected A and B to have the same dtype, but found A of type "
            f"{type_name(a._value.dtype)} and B of type {type_name(b._value.dtype)} instead"
        )


def attempted(op: Any, *operands: Any, problem: str, **params: Any) -> Any:
    """The result of an op; `LinAlgError` with these words where NumPy's is raised."""
    try:
        return wrap(op(*operands, **params))
    except np.linalg.LinAlgError:
        raise LinAlgError(problem) from None


def transposed(x: Any, *, conjugate: bool = False) -> Any:
    """The transposes of matrices; with `conjugate` their adjoints."""
    n = len(x._value.shape)
    y = wrap(s.transpose(x, axes=(*range(n - 2), n - 1, n - 2)))
    return conjugated(y) if conjugate else y


def numbers_within(x: Any) -> Any:
    """The numbers that a tensor stands for, through dual numbers and batches; None in a trace."""
    value = x
    while not isinstance(value, np.ndarray | np.generic):
        value = next((getattr(value, part) for part in ("_value", "primal", "value") if hasattr(value, part)), None)
        if value is None:
            return None
    return value


def completed(x: Any, lower: bool) -> Any:
    """The Hermitian matrices of which one triangle is given."""
    if lower:
        return wrap(tril(x, diagonal=0) + adjoint(tril(x, diagonal=-1)))
    return wrap(triu(x, diagonal=0) + adjoint(triu(x, diagonal=1)))


def from_triangle(x: Any, lower: bool) -> Any:
    """The Hermitian matrices whose one triangle LAPACK would read: x itself, up to rounding, if it is Hermitian, so
    that the gradient is. Of others the triangle counts, in the gradient too. In a trace, where that is not known, the
    triangle gives the numbers and the gradient is Hermitian.
    """
    value = numbers_within(x)
    if value is None:
        known = stop_gradient(x)
        return wrap(completed(known, lower) + (x - known))
    slack = 100 * np.finfo(value.dtype).eps * np.max(np.abs(value), initial=0.0)
    skew = np.max(np.abs(value - adjoint(value)), initial=0.0)
    return x if skew <= slack else completed(x, lower)


def is_vector(a: Shape, b: Shape) -> bool:
    """Whether right-hand sides of shape b, for matrices of shape a, are vectors and not matrices."""
    return len(b) == 1 or (len(b) == len(a) - 1 and b == a[:-1])


def broadcast_lead(*xs: Any) -> list[Any]:
    """Matrices with their leading dimensions broadcast together."""
    lead = broadcast_shapes(*(tuple(x._value.shape)[:-2] for x in xs))
    wide = [(*lead, *tuple(x._value.shape)[-2:]) for x in xs]
    return [
        x if tuple(x._value.shape) == shape else wrap(s.broadcast_to(x, shape=shape))
        for x, shape in zip(xs, wide, strict=True)
    ]


def zero_info(x: Any) -> Any:
    """LAPACK's report of success for each matrix."""
    return np.zeros(tuple(x._value.shape)[:-2], np.int32)


def real_dtype(x: Any) -> np.dtype[Any]:
    """The dtype of the real part of x."""
    return np.empty(0, x._value.dtype).real.dtype


def eps_of(x: Any) -> float:
    """The spacing of numbers near 1 in the dtype of x."""
    return float(np.finfo(x._value.dtype).eps)


def tolerances(x: Any, atol: Any, rtol: Any) -> tuple[Any, Any]:
    """What counts as 0 among the singular values of x, absolutely and relative to the largest: one number for each
    matrix. Without either, and beside an `atol` of 0, eps times the larger side counts relatively.
    """
    shape = tuple(x._value.shape)
    low = _constant(0.0 if atol is None else atol, real_dtype(x))
    if rtol is None:
        relative = where(greater(low, 0.0), 0.0, np.asarray(eps_of(x) * max(shape[-2:]), real_dtype(x)))
    else:
        relative = _constant(rtol, real_dtype(x))
    return tuple(s.broadcast_to(t, shape=shape[:-2]) for t in (low, relative))


def _constant(x: Any, dtype: np.dtype[Any]) -> Any:
    if isinstance(x, int | float):
        return np.asarray(x, dtype)
    return to_dtype(wrap(stop_gradient(as_handle(x))), dtype)
