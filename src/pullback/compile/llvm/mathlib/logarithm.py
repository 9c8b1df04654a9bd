"""Logarithms, the inverse hyperbolic functions and powers.

x = 2^k·m with m in [√½, √2) and log x = k·ln 2 + log m. With f = m − 1 and s = f/(2 + f), log m = 2 artanh s, which the
form f − (f²/2 − s·(f²/2 + R)) of W. J. Cody and W. Waite (Software Manual for the Elementary Functions, 1980; as
rearranged in fdlibm) sums with an error below one ulp; R = z·P(z), z = s².
"""

from __future__ import annotations

import math

from .code import Code, Value
from .coefficients import COEFFICIENTS, CONSTANTS
from .exponential import limits, negligible, reduce, scale, small_exp

__all__ = ["acosh", "asinh", "atanh", "log", "log1p", "log2", "log10", "log_sigmoid", "softplus", "split"]


def split(c: Code, x: Value) -> tuple[Value, Value]:
    """k as a number and m, for a positive x that is not subnormal."""
    f = x.format
    root = f.encode(math.sqrt(0.5))
    i = x.bits + (f.encode(1.0) - root)
    k = ((i >> f.fraction) | f.encode(2.0**f.fraction)).number - (2.0**f.fraction + f.bias)
    return k, ((i & ((1 << f.fraction) - 1)) + root).number


def normal_split(c: Code, x: Value) -> tuple[Value, Value]:
    """`split` that takes subnormal numbers, too."""
    up = x.format.fraction + 2
    small = x < x.format.tiny
    k, m = split(c, c.where(small, x * 2.0**up, x))
    return k - c.where(small, c.constant(float(up), x.type), 0.0), m


def parts(c: Code, f: Value) -> tuple[Value, Value]:
    """h = f²/2 and q = s·(h + R): log(1 + f) = f − (h − q)."""
    s = f / (f + 2)
    z = s * s
    h = f * 0.5 * f
    return h, s * c.mad(z, c.polynomial(COEFFICIENTS["log", f.type], z), h)


def log_sum(c: Code, k: Value, f: Value, f_low: Value | None = None) -> Value:
    """k·ln 2 + log(1 + f + f_low)."""
    high, low = CONSTANTS["LN2", f.type]
    h, q = parts(c, f)
    if f_low is not None:
        q = c.mad(f_low, 1 - f, q)
    return c.mad(k, high, f - (h - c.mad(k, low, q)))


def domain(c: Code, x: Value, y: Value) -> Value:
    """The logarithm y of x, or what it is where x is not a positive number."""
    special = c.where(x.equals(0.0), c.constant(-math.inf, x.type), math.nan)
    return c.where(x > 0, c.where(x < math.inf, y, x), special)


def log(c: Code, x: Value) -> Value:
    k, m = normal_split(c, x)
    return domain(c, x, log_sum(c, k, m - 1))


def log_scaled(c: Code, x: Value, factor: str, unit: tuple[float, float]) -> Value:
    """k·unit + log(m)·factor, the logarithm to another base; the product is formed in double precision."""
    high, low = CONSTANTS[factor, x.type]
    k, m = normal_split(c, x)
    f = m - 1
    h, q = parts(c, f)
    e = c.fma(f * 0.5, f, -h)
    a = f - h
    b = ((f - a) - h) - e + q
    a, b = c.fast_two_sum(a, b)
    p, e = c.two_product(a, high)
    t, u = c.fast_two_sum(k * unit[0], p) if unit[1] == 0 else c.two_sum(k * unit[0], p)
    return domain(c, x, t + (u + c.mad(k, unit[1], c.mad(b, high, c.mad(a, low, e)))))


def log2(c: Code, x: Value) -> Value:
    return log_scaled(c, x, "LOG2E", (1.0, 0.0))


def log10(c: Code, x: Value) -> Value:
    high, low = CONSTANTS["LOG10_2", x.type]
    return log_scaled(c, x, "LOG10E", (high, low))


def log1p_kernel(c: Code, x: Value, low: Value | float = 0.0, k0: Value | float = 0.0) -> Value:
    """log(1 + x + low) + k0·ln 2 for x > −1, with what 1 + x loses to rounding put back into f."""
    u, e = c.two_sum(x, 1.0)
    e = e + low if isinstance(low, Value) else e
    k, m = split(c, u)
    twice_unscale = (m.bits - u.bits + x.format.encode(2.0)).number  # 2^(1 − k)
    return log_sum(c, k + k0 if isinstance(k0, Value) else k, *c.fast_two_sum(m - 1, e * 0.5 * twice_unscale))


def log1p(c: Code, x: Value) -> Value:
    y = log1p_kernel(c, x)
    special = c.where(x.equals(-1.0), c.constant(-math.inf, x.type), math.nan)
    y = c.where(x > -1, c.where(x < math.inf, y, x), special)
    return c.where(c.abs(x) < negligible(x), x, y)


def softplus(c: Code, x: Value) -> Value:
    """log(1 + e^x) = max(x, 0) + log(1 + e^−|x|)."""
    n, r, error = reduce(c, c.clamp(-c.abs(x), limits(x)[0], 0.0))
    e = scale(small_exp(c, r, error), n)
    y = c.where(e < negligible(x), e, log1p_kernel(c, e))
    return c.where(x < 0, y, x + y)


def log_sigmoid(c: Code, x: Value) -> Value:
    return -softplus(c, -x)


def asinh(c: Code, x: Value) -> Value:
    """log(a + √(a² + 1)) = log1p(a + a²/(1 + √(a² + 1))), and log a + log 2 for large a."""
    a = c.abs(x)
    large = a > 2.0 ** (x.format.fraction // 2 + 3)
    s = a * a
    z, low = c.fast_two_sum(a, c.where(large, c.constant(-1.0, x.type), s / (c.sqrt(s + 1) + 1)))
    y = log1p_kernel(c, z, low, c.where(large, c.constant(1.0, x.type), 0.0))
    y = c.where(a < 2.0 ** -(x.format.fraction // 2 + 2), a, y)
    return c.signed(c.where(a < math.inf, y, a), x)


def acosh(c: Code, x: Value) -> Value:
    """log1p(t + √(2t + t²)) with t = x − 1, and log x + log 2 for large x."""
    large = x > 2.0 ** (x.format.fraction // 2 + 3)
    t = x - 1
    z, low = c.fast_two_sum(c.where(large, c.constant(0.0, x.type), c.sqrt(c.mad(t, t, t * 2))), t)
    y = log1p_kernel(c, z, c.where(large, c.constant(0.0, x.type), low), c.where(large, c.constant(1.0, x.type), 0.0))
    return c.where(x >= 1, c.where(x < math.inf, y, x), math.nan)


def atanh(c: Code, x: Value) -> Value:
    """The series that the logarithm is made of for small a = |x|, or log1p(2a/(1 − a))/2."""
    a = c.abs(x)
    z = a * a
    small = c.mad(a * z, c.polynomial([v / 2 for v in COEFFICIENTS["log", x.type]], z), a)
    v, v_low = c.fast_two_sum(1.0, -a)
    u = c.where(a < 1, a * 2 / v, 0.0)
    low = (c.fma(-u, v, a * 2) - u * v_low) / v
    y = c.where(a < 0.17, small, log1p_kernel(c, u, low) * 0.5)
    return c.signed(c.where(a < 1, y, c.where(a.equals(1.0), c.constant(math.inf, x.type), math.nan)), x)
