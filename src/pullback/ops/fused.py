"""Kernels of elementwise ops: the cotangents of all operands at once, on plain arrays.

Each restates the partials of its op, as `g` times the slopes, in fewer passes over memory: it shares what the partials
have in common and works in place. Where they need care (ties, poles, overflow) it finds out that nothing of the kind is
there, or gives None and leaves it to them. Arrays come in one shape; `y` and operands that no partial reads are None.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.ops.kernels import bits, select

__all__ = [
    "atan2",
    "copysign",
    "div",
    "extremum",
    "frexp",
    "hardswish",
    "plain",
    "pow_",
    "reciprocal",
    "signed",
    "slope_by_root",
    "square",
    "xlog1py",
    "xlogy",
]


def plain(g: Any, *arrays: Any) -> bool:
    """Whether these are arrays (the first may be a number) that rules written in NumPy alone can take."""
    return isinstance(g, np.ndarray | np.generic) and all(type(x) is np.ndarray for x in arrays)


def _binary(g: Any) -> bool:
    """Whether it is of single or double precision, whose bits the kernels know."""
    return g.dtype.char in "fd"


def _all_above(x: Any, bound: float) -> bool:
    """Whether every element is larger than `bound`, and so none is NaN."""
    return bool(x.size and np.minimum.reduce(x, None) > bound)


def extremum(wins: np.ufunc) -> Any:
    """The larger (or smaller) of two, where neither a tie nor NaN is."""

    def kernel(g: Any, _y: Any, a: Any, b: Any) -> Any:
        if not _binary(g):
            return None
        first = wins(a, b)
        if np.count_nonzero(first) + np.count_nonzero(wins(b, a)) != g.size:
            return None
        mine = select(first, g, 0.0)
        other = np.empty_like(mine)
        np.bitwise_xor(bits(mine), bits(g), out=bits(other))
        return mine, other

    return kernel


def div(g: Any, y: Any, _a: Any, b: Any) -> Any:
    """g/b and -(g/b)·y."""
    upper = g / b
    lower = upper * y
    return upper, np.negative(lower, out=lower)


def reciprocal(g: Any, y: Any, _x: Any) -> Any:
    """-g·y²."""
    d = np.square(y)
    d *= g
    return (np.negative(d, out=d),)


def square(g: Any, _y: Any, x: Any) -> Any:
    """2·g·x."""
    d = g * x
    d *= 2
    return (d,)


def pow_(g: Any, y: Any, a: Any, b: Any) -> Any:
    """g·b·y/a and g·y·log(a), where a is positive and y neither overflows nor loses digits."""
    if not _binary(g) or not _all_above(a, 0.0) or not _all_above(y, np.finfo(g.dtype).tiny):
        return None
    if not np.maximum.reduce(y, None) < np.inf:
        return None
    common = g * y
    base = common / a
    base *= b
    exponent = np.log(a)
    exponent *= common
    return base, exponent


def atan2(g: Any, _y: Any, a: Any, b: Any) -> Any:
    """g·b/r² and -g·a/r², where r² keeps its digits."""
    if not _binary(g):
        return None
    weight = a * a
    weight += b * b
    limits = np.finfo(g.dtype)
    if not _all_above(weight, limits.tiny / limits.eps):
        return None
    np.divide(1, weight, out=weight)
    upper = b * weight
    upper *= g
    lower = np.multiply(a, weight, out=weight)
    lower *= g
    return upper, np.negative(lower, out=lower)


def _has_sign(x: Any) -> bool:
    """Whether no element is 0 or NaN."""
    return bool(x.size and x.all() and not np.isnan(np.maximum.reduce(x, None)))


def _turned(g: Any, *xs: Any) -> Any:
    """g, negated once for each of one or two xs that is negative: by the sign bits."""
    d = np.empty_like(xs[0])
    found = bits(d)
    if len(xs) > 1:
        np.bitwise_xor(bits(xs[0]), bits(xs[1]), out=found)
        xs = (d,)
    np.bitwise_and(bits(xs[0]), np.iinfo(found.dtype).min, out=found)
    np.bitwise_xor(found, bits(g), out=found)
    return d


def signed(g: Any, x: Any) -> Any:
    """g · sign(x)."""
    return _turned(g, x) if _binary(g) and g.shape == x.shape and _has_sign(x) else g * np.sign(x)


def copysign(g: Any, y: Any, a: Any, _b: Any) -> Any:
    """g, its sign changed where a's was, and zeros."""
    return (_turned(g, a, y), g * 0.0) if _binary(g) and _has_sign(a) else None


def frexp(g: Any, _y: Any, x: Any) -> Any:
    """g over the power of 2 that x was divided by."""
    exponent = np.frexp(x)[1]
    return (np.ldexp(g, np.negative(exponent, out=exponent)),)


def xlogy(g: Any, _y: Any, a: Any, b: Any) -> Any:
    """g·log(b) and g·a/b, for positive b."""
    return _by_logarithm(np.log, g, a, b) if _binary(g) and _all_above(b, 0.0) else None


def xlog1py(g: Any, _y: Any, a: Any, b: Any) -> Any:
    """g·log(1 + b) and g·a/(1 + b), for b above -1."""
    return _by_logarithm(np.log1p, g, a, b, 1) if _binary(g) and _all_above(b, -1.0) else None


def _by_logarithm(logarithm: np.ufunc, g: Any, a: Any, b: Any, shift: int = 0) -> Any:
    factor = logarithm(b)
    factor *= g
    argument = a / (b + shift if shift else b)
    argument *= g
    return factor, argument


def slope_by_root(sign: int) -> Any:
    """±g/√(1 - x²)."""

    def kernel(g: Any, _y: Any, x: Any) -> Any:
        d = np.multiply(x, x)
        np.subtract(1, d, out=d)
        np.sqrt(d, out=d)
        np.divide(g, d, out=d)
        return (d if sign > 0 else np.negative(d, out=d),)

    return kernel


def hardswish(g: Any, _y: Any, x: Any) -> Any:
    """g·(x/3 + 1/2) between -3 and 3, 0 below, g above."""
    slope = x * (1 / 3)
    slope += 0.5
    slope = select(np.less(x, 3.0), slope, 1.0)
    slope *= g
    return (select(np.less_equal(x, -3.0), 0.0, slope),)
