"""Error functions, powers, cube roots and hypotenuses."""

from __future__ import annotations

import math

from .code import Code, Value
from .coefficients import COEFFICIENTS, CONSTANTS
from .exponential import power_of_two, reduce, scale, tail
from .logarithm import normal_split

__all__ = ["cbrt", "erf", "erfc", "hypot", "pow"]

JOIN = 0.875  # below, erf is a polynomial; above, the exponential of one


def erf(c: Code, x: Value) -> Value:
    """a + a·P(a²), or 1 − e^−Q(a − JOIN), with a = |x|."""
    a = c.abs(x)
    y = c.clamp(a, 0.0, 5.95 if x.type == "double" else 3.95) - JOIN
    n, r, _ = reduce(c, -c.polynomial(COEFFICIENTS["erf_tail", x.type], y))
    large = 1 - (1 + (r + tail(c, r))) * power_of_two(n)
    return c.signed(c.where(a < JOIN, small_erf(c, a), large), x)


def small_erf(c: Code, a: Value) -> Value:
    """erf a for 0 ≤ a ≤ JOIN."""
    return c.mad(a, c.polynomial(COEFFICIENTS["erf", a.type], a * a), a)


def erfc(c: Code, x: Value) -> Value:
    """e^−a²·(1 + P(t))/(1 + 2a) with a = |x|, t = 2a/(a + 3) − 1, or 1 − erf a for small a; 2 minus that for x < 0.

    M. M. Shepherd and J. G. Laframboise, Mathematics of Computation 36, 1981, for the transformation.
    """
    a = c.clamp(c.abs(x), 0.0, 27.3 if x.type == "double" else 10.2)
    square, square_low = c.two_product(a, a)
    n, r, error = reduce(c, -square)
    r, error = c.fast_two_sum(r, error - square_low)
    p = r + tail(c, r, error)
    q = c.polynomial(COEFFICIENTS["erfc", x.type], a * 2 / (a + 3) - 1)
    u, u_low = c.fast_two_sum(1.0, c.mad(p, q, p + q))
    v, v_low = c.two_sum(a * 2, 1.0)
    y = scale(c.quotient(u, u_low, v, v_low), n)
    y = c.where(a < 0.45, 1 - small_erf(c, a), y)
    return c.where(x < 0, 2 - y, y)


def pow(c: Code, x: Value, y: Value) -> Value:
    """2^(y·log₂|x|), negative for odd powers of negative numbers; the special values are those of C's `pow`."""
    type = x.type
    ax, ay = c.abs(x), c.abs(y)
    power = _power_single if type == "float" else _power_double
    # no logarithm but 0 is so small that a larger exponent would change the result; and 0·∞ does not arise
    z = power(c, ax.to("double"), c.clamp(y, -(2.0**80), 2.0**80).to("double")).to(type)
    whole = is_integer(c, ay)
    odd = whole & ~is_integer(c, ay * 0.5)
    z = c.where((x < 0) & (x > -math.inf) & ~whole, c.constant(math.nan, type), z)
    z = c.where(odd, c.signed(z, x), z)
    return c.where(x.equals(1.0) | y.equals(0.0), c.constant(1.0, type), z)


def is_integer(c: Code, a: Value) -> Value:
    """Whether a ≥ 0 is an integer."""
    big = 2.0**a.format.fraction
    return (a >= big) | ((a + big) - big).equals(a)


def logarithm_or_limit(c: Code, a: Value, y: Value) -> Value:
    """y = log a, or what it is where a ≥ 0 is 0, infinite or NaN."""
    y = c.where(a < math.inf, y, a)
    return c.where(a.equals(0.0), c.constant(-math.inf, a.type), y)


def _power_single(c: Code, a: Value, y: Value) -> Value:
    """a^y in double precision, accurate enough for single precision."""
    k, m = normal_split(c, a)
    s = (m - 1) / (m + 1)
    z = s * s
    q = s * c.mad(z, c.polynomial(COEFFICIENTS["log_single", "double"], z), 2.0)
    e = c.clamp(y * logarithm_or_limit(c, a, c.mad(q, 1 / math.log(2), k)), -160.0, 160.0)
    t = e + e.format.magic
    r = e - (t - e.format.magic)
    return c.mad(r, c.polynomial(COEFFICIENTS["exp2_single", "double"], r), 1.0) * power_of_two(t.bits)


def _power_double(c: Code, a: Value, y: Value) -> Value:
    """a^y by way of y·log₂ a as a sum of two numbers."""
    h, low = log2_pair(c, a)
    h = logarithm_or_limit(c, a, h)
    e, e_low = c.two_product(y, h)
    e_low = c.where(c.abs(e) < 2000.0, c.mad(y, low, e_low), 0.0)
    e = c.clamp(e, -1100.0, 1100.0)
    t = e + e.format.magic
    r = (e - (t - e.format.magic)) + e_low
    return scale(c.mad(r, c.polynomial(COEFFICIENTS["exp2", "double"], r), 1.0), t.bits)


def log2_pair(c: Code, a: Value) -> tuple[Value, Value]:
    """log₂ a as a sum of two numbers, to 66 bits or so: artanh s = s·(1 + z·(⅓ + z·P(z))) with z = s²."""
    k, m = normal_split(c, a)
    u = m - 1
    v, v_low = c.two_sum(m, 1.0)
    s = u / v
    s_low = (c.fma(-s, v, u) - s * v_low) / v
    z, z_low = c.two_product(s, s)
    z_low = c.mad(s * 2, s_low, z_low)
    third, third_low = CONSTANTS["THIRD", a.type]
    p, p_low = c.two_product(z, third)
    p_low = c.mad(z_low, third, c.mad(z, third_low, p_low))
    p, p_low = c.fast_two_sum(p, c.mad(z * z, c.polynomial(COEFFICIENTS["log_pow", a.type], z), p_low))
    q, q_low = c.two_product(s, p)
    h, low = c.fast_two_sum(s, q)
    low = low + (s_low + c.mad(s_low, p, c.mad(s, p_low, q_low)))
    log2e, log2e_low = CONSTANTS["LOG2E", a.type]
    g, g_low = c.two_product(h, 2 * log2e)
    g_low = c.mad(low, 2 * log2e, c.mad(h, 2 * log2e_low, g_low))
    h, low = c.two_sum(k, g)
    return c.fast_two_sum(h, low + g_low)


def cbrt(c: Code, x: Value) -> Value:
    """2^q·∛v where |x| = 2^(3q)·v, ½√½ ≤ v < 2√2; 1/∛v by steps of third order, then ∛v = v/(∛v)² corrected once."""
    a = c.abs(x)
    k, m = normal_split(c, a)
    t = c.mad(k, 1 / 3, a.format.magic)
    r = c.mad(t - a.format.magic, -3.0, k)
    below, above, half = r < 0, r > 0, m < 1
    v = c.where(below, m * 0.5, c.where(above, m * 2, m))
    # the polynomial is for m between 1 and 2
    factor = c.where(below, c.constant(2 ** (1 / 3), a.type), c.where(above, c.constant(2 ** (-1 / 3), a.type), 1.0))
    w = factor * c.polynomial(COEFFICIENTS["cbrt", a.type], c.where(half, m * 2, m))
    w = c.where(half, w * 2 ** (1 / 3), w)
    for _ in range(2 if a.type == "double" else 1):
        d = 1 - v * w * w * w
        w = c.mad(w * d, c.mad(d, 2 / 9, 1 / 3), w)
    y = v * w * w
    square, square_low = c.two_product(y, y)
    d = c.mad(square_low, y, c.fma(square, y, -v))  # y³ − v
    y = (y - d * (w * w) * (1 / 3)) * power_of_two(t.bits)
    return c.signed(c.where((a > 0) & (a < math.inf), y, a), x)


def hypot(c: Code, x: Value, y: Value) -> Value:
    """√(x² + y²) without overflow on the way; infinite if either is, even beside NaN."""
    a, b = c.abs(x), c.abs(y)
    infinite = a.equals(math.inf) | b.equals(math.inf)
    u, v = a.to("double"), b.to("double")
    if x.type == "float":
        r = c.sqrt(c.mad(u, u, v * v)).to("float")
    else:
        larger = c.where(a < b, b, a)
        up, down = larger < 2.0**-400, larger > 2.0**400
        big, small = c.constant(2.0**600, x.type), c.constant(2.0**-600, x.type)
        u, v = (w * c.where(up, big, c.where(down, small, 1.0)) for w in (u, v))
        u, v = c.where(u < v, v, u), c.where(u < v, u, v)
        r = c.sqrt(c.mad(u, u, v * v)) * c.where(up, small, c.where(down, big, 1.0))
    return c.where(infinite, c.constant(math.inf, x.type), r)
