"""Exponentials, the hyperbolic functions and what is built on them.

x = n·ln 2 + r with |r| ≤ ln 2 / 2, so that e^x = 2^n·(1 + p) with p = e^r − 1 from a polynomial.
"""

from __future__ import annotations

from .code import Code, Value
from .coefficients import COEFFICIENTS, CONSTANTS

__all__ = [
    "cosh",
    "exp",
    "exp2",
    "expm1",
    "power_of_two",
    "reduce",
    "scale",
    "sigmoid",
    "sinh",
    "small_exp",
    "tail",
    "tanh",
]


def reduce(c: Code, x: Value) -> tuple[Value, Value, Value]:
    """The bits that hold n (see `power_of_two`), and r as a sum of two numbers."""
    high, low = CONSTANTS["LN2", x.type]
    t = c.mad(x, CONSTANTS["LOG2E", x.type][0], x.format.magic)
    n = t - x.format.magic
    r, error = c.fast_two_sum(c.mad(n, -high, x), n * -low)
    return t.bits, r, error


def reduce_once(c: Code, x: Value) -> tuple[Value, Value]:
    """As `reduce`, r as one number."""
    high, low = CONSTANTS["LN2", x.type]
    t = c.mad(x, CONSTANTS["LOG2E", x.type][0], x.format.magic)
    n = t - x.format.magic
    return t.bits, c.mad(n, -low, c.mad(n, -high, x))


def power_of_two(n: Value) -> Value:
    """2^n, for n in the low bits of an integer."""
    format = n.number.format
    return ((n + format.bias) << format.fraction).number


def scale(p: Value, n: Value) -> Value:
    """p·2^n, for n as `reduce` gives it; n may pass the exponents of numbers, and a subnormal result is rounded once:
    in two steps, unless there is an instruction for it."""
    if p.code.scales:
        return p.code.ldexp(p, n - p.format.encode(p.format.magic))
    half = n >> 1
    return p * power_of_two(half) * power_of_two(n - half)


def tail(c: Code, r: Value, error: Value | float = 0.0) -> Value:
    """e^(r + error) − 1 − r for a reduced r."""
    return c.mad(r * r, c.polynomial(COEFFICIENTS["exp", r.type], r), error)


def small_exp(c: Code, r: Value, error: Value) -> Value:
    """e^(r + error) for a reduced r, within 0.6 ulp."""
    one, lost = c.fast_two_sum(1.0, r)
    return one + (lost + tail(c, r, error))


def limits(x: Value) -> tuple[float, float]:
    """Where e^x is certainly 0 and e^x/2 certainly infinite."""
    return (-746.0, 710.48) if x.type == "double" else (-104.0, 89.42)


def negligible(x: Value) -> float:
    """Below it in size, x stands for any function that is x + O(x²)."""
    return 0.5 / (1 << x.format.fraction)


def exp(c: Code, x: Value) -> Value:
    n, r = reduce_once(c, c.clamp(x, *limits(x)))
    return scale(1 + tail(c, r, r), n)


def exp2(c: Code, x: Value) -> Value:
    bound = x.format.bias + 1.0
    x = c.clamp(x, -bound - x.format.fraction - 2, bound)
    t = x + x.format.magic
    r = x - (t - x.format.magic)
    return scale(c.mad(r, c.polynomial(COEFFICIENTS["exp2", x.type], r), 1), t.bits)


def quarter_expm1(c: Code, x: Value) -> tuple[Value, Value]:
    """(e^x − 1)/4 as a sum of two numbers; it does not overflow before e^x/2 does."""
    n, r, error = reduce(c, x)
    s = power_of_two(n - 2)
    y, low = c.fast_two_sum(s - 0.25, s * r)
    return c.fast_two_sum(y, c.mad(s, tail(c, r, error), low))


def expm1(c: Code, x: Value) -> Value:
    y, _ = quarter_expm1(c, c.clamp(x, -x.format.fraction - 4.0, limits(x)[1]))
    return c.where(c.abs(x) < negligible(x), x, y * 4)


def sinh(c: Code, x: Value) -> Value:
    """(E + E/(E + 1))/2 with E = e^|x| − 1."""
    a = c.abs(x)
    e, low = quarter_expm1(c, c.clamp(a, 0.0, limits(x)[1]))
    inverse = 1 / (e * 2 + 0.5)
    y = e * 2 + c.mad(e, inverse, low * c.mad(inverse * 0.5, inverse, 2.0))
    return c.signed(c.where(a < negligible(x), a, y), x)


def cosh(c: Code, x: Value) -> Value:
    n, r, _ = reduce(c, c.clamp(c.abs(x), 0.0, limits(x)[1]))
    e = (1 + (r + tail(c, r))) * power_of_two(n - 2)
    return e * 2 + 0.125 / e


def tanh(c: Code, x: Value) -> Value:
    """−e/(e + 2) with e = e^−2|x| − 1."""
    n, r = reduce_once(c, c.clamp(c.abs(x) * -2, -50.0, 0.0))
    s = power_of_two(n)
    e = c.mad(s, tail(c, r, r), s - 1)
    return c.signed(c.abs(c.quotient(e, 0.0, *c.fast_two_sum(2.0, e))), x)


def sigmoid(c: Code, x: Value) -> Value:
    """1/(1 + e^−x), from e^−|x| so that no number overflows."""
    n, r, error = reduce(c, c.clamp(-c.abs(x), limits(x)[0], 0.0))
    e = scale(small_exp(c, r, error), n)
    d, low = c.fast_two_sum(1.0, e)
    return c.quotient(c.where(x < 0, e, 1.0), 0.0, d, low)
