"""NumPy evaluations of elementwise ops that take more than a line. Arrays and NumPy scalars in, the same out."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

__all__ = ["MANY", "bits", "select", "sigmoid", "sinc", "typed", "xlogy"]

_INTEGER: Final = {"f": np.dtype(np.int32), "d": np.dtype(np.int64)}
MANY: Final = 4096  # elements; below this the time goes into calls, above it into memory


def select(condition: Any, a: Any, b: Any) -> Any:
    """`np.where(condition, a, b)`, which on long irregular conditions waits for mispredicted branches: there by masking
    bits, more passes over the memory and ten times faster. `a` and `b` may be Python numbers.
    """
    if isinstance(condition, np.ndarray) and condition.size >= MANY and condition.dtype.char == "?":
        like = a if isinstance(a, np.ndarray) else b
        if isinstance(like, np.ndarray) and like.dtype.char in _INTEGER:
            dtype, shape = like.dtype, condition.shape
            if _fits(a, dtype, shape) and _fits(b, dtype, shape):
                return _masked(condition, a, b, dtype)
    return np.where(condition, a, b)


def _fits(x: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> bool:
    if isinstance(x, np.ndarray):
        return bool(x.dtype == dtype and x.shape == shape)
    return type(x) is float or type(x) is int


def _masked(condition: Any, a: Any, b: Any, dtype: np.dtype[Any]) -> Any:
    if _is_number(a) and a == 0:
        condition, a, b = np.logical_not(condition), b, a
    result = np.empty(condition.shape, dtype)  # it owns its memory, so that nobody need copy it
    mask = bits(result)
    mask[...] = np.negative(condition.view(np.int8))  # all bits where it holds
    x, y = (bits(v if isinstance(v, np.ndarray) else np.asarray(v, dtype)) for v in (a, b))
    if y.ndim == 0 and y == 0:
        np.bitwise_and(mask, x, out=mask)
    else:
        np.bitwise_and(mask, np.bitwise_xor(x, y), out=mask)
        np.bitwise_xor(mask, y, out=mask)
    return result


def bits(x: Any) -> Any:
    """An array of single or double precision as integers that share its memory."""
    return x.view(_INTEGER[x.dtype.char])


def typed(x: Any, like: Any) -> Any:
    """A Python number as an array of the dtype of another operand that is none."""
    return np.asarray(x, like.dtype) if _is_number(x) and not _is_number(like) else x


def _is_number(x: Any) -> bool:
    return isinstance(x, int | float) and not isinstance(x, np.generic)


def xlogy(x: Any, y: Any) -> Any:
    """x · log(y), 0 where x is 0 and y a number."""
    y = typed(y, x)
    return x * np.log(np.where(np.equal(x, 0) & ~np.isnan(y), 1.0, y))


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)): accurate everywhere, as where the exponential overflows the result is 0."""
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


def sinc(x: Any, order: int = 0) -> Any:
    """The n-th derivative f_n of sin(πx)/(πx).

    Away from 0 by x f_n + n f_{n-1} = π^(n-1) sin(πx + nπ/2), which is x f_0 = sin(πx)/π differentiated n times; near
    0, where that cancels, by the power series.
    """
    z = math.pi * x
    near = np.abs(z) < 1 + order
    far = np.where(near, 1.0, x)
    y = np.sin(math.pi * far) / (math.pi * far)
    for n in range(1, order + 1):
        y = (math.pi ** (n - 1) * np.sin(math.pi * far + n * (math.pi / 2)) - n * y) / far
    if near.any():
        y = np.asarray(y)
        z = np.asarray(z)[near]
        square = z * z
        first = (order + 1) // 2
        series = np.zeros_like(z)
        for k in range(first + 12 + 2 * order, first - 1, -1):
            series *= square
            series += (-1) ** k / ((2 * k + 1) * math.factorial(2 * k - order))
        y[near] = math.pi**order * z ** (2 * first - order) * series
    return y[()]
