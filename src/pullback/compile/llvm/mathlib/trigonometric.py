"""Sine, cosine, tangent, and the inverse functions.

Arguments are reduced by multiples of π/2, of which three parts are subtracted (W. J. Cody and W. Waite, 1980). That
serves below a bound, FAR. Beyond, x·2/π is formed from the bits of 2/π that matter (M. H. Payne and R. N. Hanek, SIGNUM
Newsletter 18, 1983): by functions of their own, which `patch` calls for the few arguments that need them.
"""

from __future__ import annotations

import math

from .code import Code, Value
from .coefficients import COEFFICIENTS, CONSTANTS, TWO_OVER_PI

__all__ = ["FAR", "acos", "asin", "atan", "atan2", "cos", "far_cos", "far_sin", "far_tan", "sin", "tan"]

FAR = {"double": 2.0**45, "float": 2.0**15}
STEP = 16  # exponents that share a row of the table of 2/π
ROWS = (1024 - 53) // STEP + 1


def two_over_pi(shift: int) -> list[float]:
    """2^shift·2/π mod 4 as a sum of four numbers of 53 bits."""
    scale = TWO_OVER_PI.bit_length() - shift
    rest = TWO_OVER_PI % (4 << scale)
    parts = []
    for _ in range(4):
        below = max(rest.bit_length() - 53, 0)
        part = rest >> below
        parts.append(math.ldexp(part, below - scale))
        rest -= part << below
    return parts


def reduce_far(c: Code, a: Value) -> tuple[Value, Value, Value]:
    """a = n·π/2 + r + l for any a ≥ 0 in double precision: n mod 4 as a number between −8 and 8, and r, l."""
    f = a.format
    j = (a.bits >> f.fraction) - (f.bias + f.fraction)
    j = c.where(j > 0, j, 0) >> (STEP.bit_length() - 1)
    x = (a.bits - (j << (f.fraction + STEP.bit_length() - 1))).number  # an integer where j > 0
    table = [v for i in range(ROWS) for v in two_over_pi(STEP * i)]
    factors = [c.load("@pb.two_over_pi", table, (j << 2) + k) for k in range(4)]

    def turn(v: Value) -> Value:
        """v mod 4, between −2 and 2."""
        return c.mad((v * 0.25 + f.magic) - f.magic, -4.0, v)

    (p0, e0), (p1, e1), (p2, e2) = (c.two_product(x, factor) for factor in factors[:3])
    h, low = c.two_sum(turn(p0), turn(e0))
    h, t = c.two_sum(h, turn(p1))
    n = (h + f.magic) - f.magic
    low, rest = c.two_sum(low, t)
    h, low = c.two_sum(h - n, low)
    small, t = c.two_sum(e1, p2)
    h, small = c.two_sum(h, small)
    h, low = c.fast_two_sum(h, low + small + (rest + t + c.mad(x, factors[3], e2)))
    high, tail, _ = CONSTANTS["HALF_PI", "double"]
    r, e = c.two_product(h, high)
    return n, c.where(a < math.inf, r, math.nan), c.mad(low, high, c.mad(h, tail, e))


def reduce(c: Code, a: Value, n: Value) -> tuple[Value, Value]:
    """a − n·π/2 as a sum of two numbers, for a below FAR."""
    p1, p2, p3 = CONSTANTS["HALF_PI", a.type]
    p, e = c.two_product(n, p2)
    r, t = c.two_sum(c.fma(n, -p1, a), -p)
    return r, c.mad(n, -p3, t - e)


def nearest(v: Value) -> tuple[Value, Value]:
    """The integer next to v, and an integer with its low bits."""
    t = v + v.format.magic
    return t - v.format.magic, t.bits


def top(n: Value) -> Value:
    """The lowest bit of an integer, moved to the sign's place."""
    return n << (n.number.format.sign.bit_length() - 1)


def half_turn_sine(c: Code, r: Value, low: Value) -> Value:
    """sin(r + low) for |r| ≤ π/2."""
    z, z_low = c.two_product(r, r)
    cosine = c.polynomial((1.0, -0.5, 1 / 24, -1 / 720), z)
    p = c.polynomial(COEFFICIENTS["sin", r.type], z)
    y = r + c.mad(r * z, p, c.mad(r * z_low, p, low * cosine))
    return c.clamp(y, -1.0, 1.0)


def sin(c: Code, x: Value) -> Value:
    """(−1)^k sin r where |x| = kπ + r."""
    a = c.abs(x)
    k, bits = nearest(a * (1 / math.pi))
    return c.flip(half_turn_sine(c, *reduce(c, a, k * 2)), top(bits) ^ x.bits)


def cos(c: Code, x: Value) -> Value:
    """−(−1)^k sin r where |x| = (k + ½)π + r."""
    a = c.abs(x)
    k, bits = nearest(c.mad(a, 1 / math.pi, -0.5))
    return c.flip(half_turn_sine(c, *reduce(c, a, c.mad(k, 2.0, 1.0))), ~top(bits))


def tan(c: Code, x: Value) -> Value:
    a = c.abs(x)
    k, bits = nearest(a * (2 / math.pi))
    return c.flip(quarter_tangent(c, bits, *reduce(c, a, k)), x.bits)


def quarters(c: Code, r: Value, low: Value) -> tuple[tuple[Value, Value], tuple[Value, Value]]:
    """The sine and the cosine of r + low for |r| ≤ π/4, each a sum of two numbers."""
    z = r * r
    h = z * 0.5
    tail = c.mad(r * z, c.polynomial(COEFFICIENTS["sin_quarter", r.type], z), low * (1 - h))
    one, lost = c.fast_two_sum(1.0, -h)
    rest = c.mad(z * z, c.polynomial(COEFFICIENTS["cos_quarter", r.type], z), lost - r * low)
    return c.fast_two_sum(r, tail), c.fast_two_sum(one, rest)


def quarter_tangent(c: Code, n: Value, r: Value, low: Value) -> Value:
    """tan(n·π/2 + r + low): the tangent of r, or for odd n minus its inverse."""
    (s, s_low), (k, k_low) = quarters(c, r, low)
    odd = (n & 1).differs(0)
    u, u_low = c.where(odd, k, s), c.where(odd, k_low, s_low)
    v, v_low = c.where(odd, s, k), c.where(odd, s_low, k_low)
    return c.flip(c.quotient(u, u_low, v, v_low), top(n))


def far_sin(c: Code, x: Value) -> Value:
    """The sine of any number in double precision."""
    n, r, low = reduce_far(c, c.abs(x))
    _, bits = nearest(n)
    (s, _), (k, _) = quarters(c, r, low)
    return c.flip(c.where((bits & 1).differs(0), k, s), top(bits >> 1) ^ x.bits)


def far_cos(c: Code, x: Value) -> Value:
    """The cosine of any number in double precision."""
    n, r, low = reduce_far(c, c.abs(x))
    _, bits = nearest(n)
    (s, _), (k, _) = quarters(c, r, low)
    return c.flip(c.where((bits & 1).differs(0), s, k), top((bits + 1) >> 1))


def far_tan(c: Code, x: Value) -> Value:
    """The tangent of any number in double precision."""
    n, r, low = reduce_far(c, c.abs(x))
    return c.flip(quarter_tangent(c, nearest(n)[1], r, low), x.bits)


def small_atan(c: Code, t: Value) -> Value:
    """atan t − t for |t| ≤ tan(π/8)."""
    z = t * t
    return t * z * c.polynomial(COEFFICIENTS["atan", t.type], z)


def atan(c: Code, x: Value) -> Value:
    return atan2(c, x, c.constant(1.0, x.type))


def atan2(c: Code, y: Value, x: Value) -> Value:
    """The angle of (x, y), from the octant and the arctangent of a quotient between −tan(π/8) and tan(π/8)."""
    f = y.format
    a, b = c.abs(y), c.abs(x)
    steep = a > b
    top, bottom = c.where(steep, b, a), c.where(steep, a, b)
    one = c.constant(1.0, y.type)
    up = c.where(bottom < 2.0 ** -(f.bias // 2), c.constant(2.0 ** (f.bias // 2), y.type), one)
    factor = c.where(bottom > 2.0 ** (f.bias - 2), c.constant(0.25, y.type), up)
    top, bottom = top * factor, bottom * factor
    infinite = top.equals(math.inf)
    middle = (top > bottom * (math.sqrt(2) - 1)) | infinite
    u = c.where(middle, c.where(infinite, c.constant(0.0, y.type), top - bottom), top)
    v = c.where(middle, top + bottom, c.where(bottom.equals(0.0), one, bottom))
    t = u / v
    k = c.where(middle, one, 0.0)
    k = c.where(steep, 2 - k, k)
    back = x.bits < 0
    k = c.where(back, 4 - k, k)
    # each of the two reflections turns the sense of the angle
    t = c.where(steep, -t, t)
    t = c.where(back, -t, t)
    high, low = CONSTANTS["QUARTER_PI", y.type]
    r = k * high + (t + c.mad(k, low, small_atan(c, t)))
    return c.signed(c.abs(r), y)


def asin_tail(c: Code, z: Value) -> Value:
    """(asin √z − √z)/√z for z ≤ ¼."""
    return z * c.polynomial(COEFFICIENTS["asin", z.type], z)


def asin(c: Code, x: Value) -> Value:
    """Up to ½ a polynomial, above it π/2 − 2 asin √((1 − a)/2)."""
    a = c.abs(x)
    large = a > 0.5
    z = c.where(large, c.mad(a, -0.5, 0.5), a * a)
    s = c.sqrt(z)
    e = root_error(c, s, z)
    t = asin_tail(c, z)
    small = c.mad(a, t, a)
    high, low = CONSTANTS["QUARTER_PI", x.type]
    y = 2 * high - (2 * s - (2 * low - 2 * c.mad(s, t, e)))
    return c.signed(c.where(large, y, small), x)


def root_error(c: Code, s: Value, z: Value) -> Value:
    """√z − s for the rounded root s."""
    r = -c.fma(s, s, -z) * 0.5 / s
    return c.where(z > 0, r, z * 0.0)


def acos(c: Code, x: Value) -> Value:
    a = c.abs(x)
    large = a > 0.5
    z = c.where(large, c.mad(a, -0.5, 0.5), a * a)
    s = c.where(large, c.sqrt(z), a)
    t = c.mad(s, asin_tail(c, z), c.where(large, root_error(c, s, z), 0.0))
    high, low = CONSTANTS["QUARTER_PI", x.type]
    quarter, half = 2 * high, 4 * high
    near_one = 2 * (s + t)
    near_minus = half - (2 * s - (4 * low - 2 * t))
    sx, tx = c.flip(s, x.bits), c.flip(t, x.bits)
    middle = quarter - (sx - (2 * low - tx))
    return c.where(large, c.where(x < 0, near_minus, near_one), middle)
