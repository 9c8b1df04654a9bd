"""Native lowerings of elementwise ops: `Scalar`s for common shapes of rule, and the rules that take more than a line.

A rule written here computes with `Value`s of one dtype: `numeric` and `floating` see to that. Python numbers among the
operands stay numbers under `numeric` and are made Values by `floating`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.ops.lowering import Scalar

__all__ = [
    "clipped",
    "comparison",
    "cosm1",
    "either",
    "elu",
    "entropy",
    "exprel",
    "floating",
    "floor_divide",
    "function",
    "heaviside",
    "inexact",
    "is_number",
    "isclose",
    "isfinite",
    "isinf",
    "ldexp",
    "logaddexp",
    "logaddexp2",
    "logical",
    "nan_to_num",
    "normal_distribution",
    "numeric",
    "power",
    "promoted",
    "relative",
    "remainder",
    "rounded",
    "select",
    "shifted",
    "sign",
    "sinc",
    "softplus",
    "truth",
    "xlog1py",
    "xlogy",
]

Rule = Callable[..., Any]


def is_number(x: Any) -> bool:
    """Whether an operand is a Python number, which was known when the code was made."""
    return isinstance(x, bool | int | float | complex)


def promoted(b: Any, *xs: Any) -> tuple[Any, ...]:
    """Values in the dtype that NumPy gives their sum; Python numbers as they are."""
    dtype = np.result_type(*(x if is_number(x) else x.dtype for x in xs))
    return tuple(x if is_number(x) or x.dtype == dtype else b.cast(x, dtype) for x in xs)


def floats(b: Any, *xs: Any) -> tuple[Any, ...]:
    """All operands as Values of one floating dtype, float64 for integers."""
    dtype = np.result_type(*(x if is_number(x) else x.dtype for x in xs))
    dtype = dtype if dtype.kind == "f" else np.dtype(np.float64)
    return tuple(b.constant(x, dtype) if is_number(x) else x if x.dtype == dtype else b.cast(x, dtype) for x in xs)


def numeric(rule: Rule) -> Scalar:
    """An op on operands of their common dtype."""
    return Scalar(lambda b, *xs, **params: rule(b, *promoted(b, *xs), **params))


def floating(rule: Rule) -> Scalar:
    """An op on operands of their common floating dtype."""
    return Scalar(lambda b, *xs, **params: rule(b, *floats(b, *xs), **params))


def inexact(rule: Rule) -> Scalar:
    """An op of one float with parameters that integers would round; not lowered for those."""
    return Scalar(lambda b, x, **params: rule(b, x, **params) if x.dtype.kind == "f" else NotImplemented)


def function(name: str) -> Scalar:
    """A function of the mathematics library."""
    return floating(lambda b, *xs: b.call(name, *xs))


def rounded(name: str) -> Scalar:
    """A rounding by the builder's method of that name; integers are whole already."""
    return Scalar(lambda b, x: getattr(b, name)(x) if x.dtype.kind == "f" else x)


def comparison(rule: Rule) -> Scalar:
    """A comparison of numbers, exact if one is a Python integer that the other's dtype lacks; booleans are 0 and 1."""

    def compare(b: Any, x: Any, y: Any) -> Any:
        numbers = [v for v in (x, y) if is_number(v)]
        xs = [v if is_number(v) else _wide(b, v, numbers) for v in (x, y)]
        return rule(b, *promoted(b, *xs))

    return Scalar(compare)


def _wide(b: Any, x: Any, numbers: list[Any]) -> Any:
    """x in a dtype that holds the numbers it meets."""
    x = b.cast(x, np.uint8) if x.dtype.kind == "b" else x
    if x.dtype.kind == "f" or all(isinstance(n, float) or _holds(x.dtype, n) for n in numbers):
        return x
    return b.cast(x, np.int64 if x.dtype.itemsize < 8 and all(_holds(np.int64, n) for n in numbers) else np.float64)


def _holds(dtype: Any, number: int) -> bool:
    limits = np.iinfo(dtype)
    return int(limits.min) <= number <= int(limits.max)


def logical(rule: Rule) -> Scalar:
    """A connective of truth values, those of numbers too."""
    return Scalar(lambda b, *xs: rule(*(truth(b, x) for x in xs)))


def truth(b: Any, x: Any) -> Any:
    """Whether x is not 0."""
    return b.constant(bool(x), bool) if is_number(x) else x if x.dtype.kind == "b" else b.cast(x, bool)


def either(rule: Rule, of_booleans: Rule) -> Scalar:
    """An op of numbers that is a connective of booleans: a sum, a product, an extremum."""

    def choose(b: Any, x: Any, y: Any) -> Any:
        if all(isinstance(v, bool) if is_number(v) else v.dtype.kind == "b" for v in (x, y)):
            return of_booleans(truth(b, x), truth(b, y))
        return rule(b, *promoted(b, x, y))

    return Scalar(choose)


def isfinite(b: Any, x: Any) -> Any:
    return b.abs(x) < math.inf if x.dtype.kind == "f" else b.constant(True, bool)


def isinf(b: Any, x: Any) -> Any:
    return b.equal(b.abs(x), math.inf) if x.dtype.kind == "f" else b.constant(False, bool)


def sign(b: Any, x: Any) -> Any:
    below = x if x.dtype.kind == "u" else b.where(x < 0, -1, x)
    found = b.where(x > 0, 1, below)
    return b.where(b.equal(x, 0), 0, found)  # what is left is NaN


def isclose(b: Any, x: Any, y: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    near = (b.abs(x - y) <= b.abs(y) * rtol + atol) & isfinite(b, y)
    near = near | b.equal(x, y)
    return near | (b.isnan(x) & b.isnan(y)) if equal_nan else near


def select(b: Any, condition: Any, x: Any, y: Any) -> Any:
    """`where`: the condition may be a number, and so may both of the others."""
    if is_number(condition):
        return x if condition else y
    if is_number(x) and is_number(y):
        x = b.constant(x, np.result_type(x, y))
    return b.where(truth(b, condition), *promoted(b, x, y))


def clipped(b: Any, x: Any, low: float | None, high: float | None) -> Any:
    """x held between two numbers, as `np.clip` does it."""
    x = x if low is None else b.maximum(x, low)
    return x if high is None else b.minimum(x, high)


# Integer division, as the signs of NumPy's `//` and `%` have it. `b.remainder` leaves the sign of x.


def remainder(b: Any, x: Any, y: Any) -> Any:
    x, y = (b.constant(v, w.dtype) if is_number(v) else v for v, w in ((x, y), (y, x)))
    rest = b.remainder(x, y)
    if x.dtype.kind == "f":
        moved = b.where((y < 0) ^ (rest < 0), rest + y, rest)
        return b.where(b.equal(rest, 0), b.copysign(b.constant(0, x.dtype), y), moved)
    if x.dtype.kind == "u":
        return rest
    return b.where(b.equal(rest, 0), rest, b.where((rest ^ y) < 0, rest + y, rest))


def floor_divide(b: Any, x: Any, y: Any) -> Any:
    """For floats the steps of Python's `divmod`: the quotient is made whole from the exact remainder."""
    x, y = (b.constant(v, w.dtype) if is_number(v) else v for v, w in ((x, y), (y, x)))
    rest = b.remainder(x, y)
    if x.dtype.kind == "f":
        whole = (x - rest) / y
        whole = b.where(~b.equal(rest, 0) & ((y < 0) ^ (rest < 0)), whole - 1, whole)
        down = b.floor(whole)
        down = b.where(whole - down > 0.5, down + 1, down)
        quotient = x / y
        found = b.where(b.equal(whole, 0), b.copysign(b.constant(0, x.dtype), quotient), down)
        return b.where(b.equal(y, 0), quotient, found)
    quotient = b.divide(x, y)
    if x.dtype.kind == "u":
        return quotient
    return b.where(b.equal(rest, 0) | ~((rest ^ y) < 0), quotient, quotient - 1)


def shifted(b: Any, x: Any, y: Any, *, left: bool) -> Any:
    """x << y or x >> y of integers: all bits go where y is negative or the width of x or more."""
    x, y = (b.constant(v, w.dtype) if is_number(v) else v for v, w in ((x, y), (y, x)))
    width = 8 * x.dtype.itemsize
    inside = y < width if y.dtype.kind == "u" else (y >= 0) & (y < width)
    by = b.where(inside, y, 0)
    if left:
        return b.where(inside, x << by, 0)
    return b.where(inside, x >> by, 0 if x.dtype.kind == "u" else b.where(x < 0, -1, b.constant(0, x.dtype)))


# Powers

_MULTIPLIED = 4  # exponents up to this are repeated multiplications


def _times(x: Any, n: int) -> Any:
    """x to the n-th power, n >= 1."""
    found = None
    while True:
        if n & 1:
            found = x if found is None else found * x
        n >>= 1
        if not n:
            return found
        x = x * x


def power(b: Any, x: Any, y: Any) -> Any:
    if is_number(y):
        x = x if x.dtype.kind == "f" or isinstance(y, int) else b.cast(x, np.float64)
        if y == 0:
            return b.constant(1, x.dtype)
        if x.dtype.kind in "iu":
            return _times(x, y) if y > 0 else NotImplemented
        if float(y).is_integer() and abs(y) <= _MULTIPLIED:
            return _times(x, int(y)) if y > 0 else _times(1 / x, int(-y))
        if y == 0.5:
            return b.sqrt(x)
    elif is_number(x) and y.dtype.kind == "f" and x == 2:
        return b.call("exp2", y)
    if all(isinstance(v, int) if is_number(v) else v.dtype.kind in "biu" for v in (x, y)):
        return NotImplemented  # a negative exponent raises an error
    return b.call("pow", *floats(b, x, y))


def ldexp(b: Any, x: Any, y: Any) -> Any:
    return x * 2.0**y if is_number(y) else x * b.call("exp2", y)


# Logarithms and exponentials with care


def logaddexp(b: Any, x: Any, y: Any) -> Any:
    apart = b.maximum(x, y) + b.call("log1p", b.call("exp", -b.abs(x - y)))
    return b.where(b.equal(x, y), x + math.log(2), apart)  # infinities too


def logaddexp2(b: Any, x: Any, y: Any) -> Any:
    apart = b.maximum(x, y) + b.call("log1p", b.call("exp2", -b.abs(x - y))) * (1 / math.log(2))
    return b.where(b.equal(x, y), x + 1, apart)


def xlogy(b: Any, x: Any, y: Any) -> Any:
    return x * b.call("log", b.where(b.equal(x, 0) & ~b.isnan(y), 1, y))


def xlog1py(b: Any, x: Any, y: Any) -> Any:
    return x * b.call("log1p", b.where(b.equal(x, 0) & ~b.isnan(y), 0, y))


def entropy(b: Any, x: Any) -> Any:
    """-x log x, 0 at 0 and -inf below."""
    return b.where(x < 0, -math.inf, -x * b.call("log", b.where(x <= 0, 1, x)))


def relative(name: str) -> Scalar:
    """f(x) / x for a function of the library, 1 at 0."""

    def rule(b: Any, x: Any) -> Any:
        zero = b.equal(x, 0)
        return b.where(zero, 1, b.call(name, x) / b.where(zero, 1, x))

    return floating(rule)


def exprel(b: Any, x: Any) -> Any:
    zero = b.equal(x, 0)
    found = b.where(zero, 1, b.call("expm1", x) / b.where(zero, 1, x))
    return b.where(b.equal(x, math.inf), math.inf, found)


def cosm1(b: Any, x: Any) -> Any:
    s = b.call("sin", x * 0.5)
    return s * s * -2


def sinc(b: Any, x: Any, order: int = 0) -> Any:
    """As `kernels.sinc`: a recurrence in the order, and near 0 the power series."""
    near = b.abs(x * math.pi) < 1 + order
    far = b.where(near, 1, x)
    y = b.call("sin", far * math.pi) / (far * math.pi)
    for n in range(1, order + 1):
        y = (b.call("sin", far * math.pi + n * (math.pi / 2)) * math.pi ** (n - 1) - y * n) / far
    z = b.where(near, x, 0) * math.pi
    square = z * z
    first = (order + 1) // 2
    series = b.constant(0, x.dtype)
    for k in range(first + 12 + 2 * order, first - 1, -1):
        series = series * square + (-1) ** k / ((2 * k + 1) * math.factorial(2 * k - order))
    if (power := 2 * first - order) > 0:
        series = series * _times(z, power)
    return b.where(near, series * math.pi**order, y)


def nan_to_num(b: Any, x: Any, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Any:
    if x.dtype.kind != "f":
        return x
    limits = np.finfo(x.dtype)
    top, bottom = float(limits.max) if posinf is None else posinf, float(limits.min) if neginf is None else neginf
    finite = b.where(b.equal(x, math.inf), top, b.where(b.equal(x, -math.inf), bottom, x))
    return b.where(b.isnan(x), nan, finite)


def heaviside(b: Any, x: Any, h: Any) -> Any:
    return b.where(x > 0, 1, b.where(x < 0, 0, b.where(b.equal(x, 0), h, x)))


# Activations


def elu(b: Any, x: Any, alpha: float, scale: float, rate: float) -> Any:
    return b.where(x > 0, x * scale, b.call("expm1", b.minimum(x, 0) * rate) * (scale * alpha))


def softplus(b: Any, x: Any, beta: float, threshold: float) -> Any:
    z = x * beta
    y = (b.maximum(z, 0) + b.call("log1p", b.call("exp", -b.abs(z)))) / beta
    return b.where(z > threshold, x, y)


def normal_distribution(b: Any, x: Any) -> Any:
    """Φ(x) of the standard normal distribution, accurate in its lower tail."""
    return b.call("erfc", x * -math.sqrt(0.5)) * 0.5
