"""Slopes and areas of samples, and what floating-point numbers are made of, under PyTorch's names."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.ops import elementwise as e
from pullback.ops.compare import gcd as gcd_op
from pullback.ops.compare import lcm as lcm_op
from pullback.ops.shape import sum_to
from pullback.tensor.conversion import conj
from pullback.tensor.dispatch import as_handle, binary
from pullback.tensor.numpy_api.operands import inexact
from pullback.tensor.numpy_api.signals import diff
from pullback.tensor.numpy_api.signals import gradient as numpy_gradient
from pullback.tensor.operands import rank
from pullback.tensor.reduction import sum
from pullback.tensor.results import result_type
from pullback.tensor.scanning import cumsum
from pullback.values.shape import normalize_axis

__all__ = [
    "conj_physical",
    "cumulative_trapezoid",
    "frexp",
    "gcd",
    "gradient",
    "lcm",
    "nextafter",
    "resolve_conj",
    "resolve_neg",
    "trapezoid",
    "trapz",
]

_frexp = result_type("frexp", "mantissa", "exponent")


def _areas(y: Any, x: Any, dx: Any, dim: int) -> tuple[Any, int]:
    """The areas of the trapezoids under neighbouring samples."""
    heights = inexact(y)
    if not rank(heights):
        raise RuntimeError("trapezoid: expected samples along at least one dimension")
    at = normalize_axis(dim, rank(heights))
    before = (slice(None),) * at
    sums = heights[(*before, slice(1, None))] + heights[(*before, slice(None, -1))]
    if x is None:
        return sums * (0.5 if dx is None else 0.5 * dx), at
    if dx is not None:
        raise RuntimeError("trapezoid: give x or dx, not both")
    place = as_handle(x)
    if rank(place) == 1:
        return sums * diff(place).reshape(-1, *(1,) * (rank(heights) - 1 - at)) * 0.5, at
    return sums * diff(place, axis=at - rank(heights)) * 0.5, at


def trapezoid(y: Any, x: Any = None, *, dx: Any = None, dim: int = -1) -> Any:
    """The integral of samples `y` along `dim` by the trapezoidal rule: at places `x`, or `dx` (1) apart.

    >>> import pullback as pb
    >>> pb.trapezoid(pb.tensor([1.0, 5.0, 10.0]))
    tensor(10.5000)
    """
    areas, at = _areas(y, x, dx, dim)
    return sum(areas, at)


trapz = trapezoid


def cumulative_trapezoid(y: Any, x: Any = None, *, dx: Any = None, dim: int = -1) -> Any:
    """The running sums of `trapezoid`, one fewer than there are samples."""
    return cumsum(*_areas(y, x, dx, dim))


def gradient(input: Any, *, spacing: Any = 1, dim: Any = None, edge_order: int = 1) -> tuple[Any, ...]:
    """The slopes of samples along each of `dim` (None: all), by differences of second order inside and of
    `edge_order` at the ends. `spacing` is a number, or for each dimension a number or a vector of places.

    >>> import pullback as pb
    >>> pb.gradient(pb.tensor([1.0, 4.0, 9.0]))
    (tensor([3., 4., 5.]),)
    """
    x = as_handle(input)
    dims = tuple(range(rank(x))) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    spacing = 1 if spacing is None else spacing
    if not isinstance(spacing, list | tuple):
        spacing = [spacing] * len(dims)
    if len(spacing) != len(dims):
        raise RuntimeError(
            f"torch.gradient expected spacing to be unspecified, a scalar, or a list of length equal to the number of "
            f"dims, but got {len(spacing)} for {len(dims)}"
        )
    spacing = [item.item() if isinstance(item, np.generic) else item for item in spacing]
    return tuple(
        numpy_gradient(x, step, axis=at, edge_order=edge_order) for at, step in zip(dims, spacing, strict=True)
    )


# Floating-point numbers


def frexp(input: Any) -> Any:
    """x as mantissa · 2**exponent with 0.5 <= |mantissa| < 1: a named tuple `(mantissa, exponent)`, exponents int32.

    The exponent counts as a constant: the slope of the mantissa is 2**-exponent.
    """
    x = as_handle(input)
    if x._value.dtype.kind != "f":
        raise RuntimeError("torch.frexp() only supports floating-point dtypes")
    return _frexp(e.frexp(x), e.frexp_exponent(x))


nextafter = binary(e.nextafter)
gcd, lcm = binary(gcd_op), binary(lcm_op)


# What PyTorch puts off, and NumPy doesn't: conjugates and negatives are always carried out.


def conj_physical(input: Any) -> Any:
    """The complex conjugate, carried out."""
    return conj(input)


def resolve_conj(input: Any) -> Any:
    """The tensor itself: conjugates are carried out at once."""
    return as_handle(input)


def resolve_neg(input: Any) -> Any:
    """The tensor itself: negatives are carried out at once."""
    return as_handle(input)


class CalculusMethods:
    """What numbers are made of, as methods of `Tensor`."""

    frexp, nextafter, gcd, lcm = frexp, nextafter, gcd, lcm
    conj_physical, resolve_conj, resolve_neg = conj_physical, resolve_conj, resolve_neg

    def sum_to_size(self, *size: Any) -> Any:
        """Summed over the dimensions along which `size` would be broadcast to this tensor's shape.

        Raises `RuntimeError` if it would not be.
        """
        wanted = tuple(size[0]) if len(size) == 1 and isinstance(size[0], list | tuple) else size
        shape = tuple(self._value.shape)  # type: ignore[attr-defined]
        late = shape[len(shape) - len(wanted) :]
        if len(wanted) > len(shape) or any(n not in (1, m) for n, m in zip(wanted, late, strict=True)):
            raise RuntimeError(f"size {{{list(wanted)}}} is not expandable to size {{{list(shape)}}}.")
        return sum_to(self, wanted)

    def bfloat16(self, *args: Any, **kwargs: Any) -> Any:
        """Raises `TypeError`: NumPy has no bfloat16."""
        raise TypeError("pullback's numbers are NumPy's, which has no bfloat16: use float16 or float32")

    def chalf(self, *args: Any, **kwargs: Any) -> Any:
        """Raises `TypeError`: NumPy has no complex numbers of half precision."""
        raise TypeError("pullback's numbers are NumPy's, which has no complex32: use complex64")
