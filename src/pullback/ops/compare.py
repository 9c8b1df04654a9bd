"""Comparisons, predicates and signs: piecewise constant, so they carry no derivative."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from pullback.ops import scalars
from pullback.ops.lowering import Lowering, Scalar
from pullback.ops.samples import Sample, boolean, integers, normal, spread
from pullback.ops.scalars import comparison, floating, logical, numeric
from pullback.ops.table import UNSUPPORTED, Unsupported, elementwise, elementwise_shape, nondifferentiable


def _predicate(name: str, function: Any, lower: Lowering, doc: str, *makers: Any) -> Any:
    return nondifferentiable(name, function, lower=lower, samples=[Sample(*makers)], doc=doc)


_pair = (spread(2, 3), normal(3))
equal = _predicate("eq", np.equal, comparison(lambda b, x, y: b.equal(x, y)), "a == b.", *_pair)
not_equal = _predicate("ne", np.not_equal, comparison(lambda b, x, y: ~b.equal(x, y)), "a != b.", *_pair)
less = _predicate("lt", np.less, comparison(lambda _b, x, y: x < y), "a < b.", *_pair)
less_equal = _predicate("le", np.less_equal, comparison(lambda _b, x, y: x <= y), "a <= b.", *_pair)
greater = _predicate("gt", np.greater, comparison(lambda _b, x, y: x > y), "a > b.", *_pair)
greater_equal = _predicate("ge", np.greater_equal, comparison(lambda _b, x, y: x >= y), "a >= b.", *_pair)
logical_and = _predicate("logical_and", np.logical_and, logical(operator.and_), "a and b.", boolean(2, 3), boolean(3))
logical_or = _predicate("logical_or", np.logical_or, logical(operator.or_), "a or b.", boolean(2, 3), boolean(3))
logical_xor = _predicate(
    "logical_xor", np.logical_xor, logical(operator.xor), "Exactly one of a, b.", boolean(2, 3), boolean(3)
)
logical_not = _predicate("logical_not", np.logical_not, logical(operator.invert), "not x.", boolean(2, 3))
isnan = _predicate("isnan", np.isnan, Scalar(lambda b, x: b.isnan(x)), "Whether x is not a number.", normal(2, 3))
isinf = _predicate("isinf", np.isinf, Scalar(scalars.isinf), "Whether x is infinite.", normal(2, 3))
isfinite = _predicate(
    "isfinite", np.isfinite, Scalar(scalars.isfinite), "Whether x is neither infinite nor NaN.", normal(2, 3)
)
signbit = _predicate(
    "signbit", np.signbit, Scalar(lambda b, x: b.signbit(x)), "Whether x is negative, -0.0 included.", normal(2, 3)
)


def _bitwise(name: str, function: Any, lower: Lowering | Unsupported, doc: str, *makers: Any) -> Any:
    return nondifferentiable(name, function, lower=lower, samples=[Sample(*makers)], doc=doc, shape=elementwise_shape)


_LOOP = UNSUPPORTED("a loop whose length depends on the numbers")
_bits = (integers(64, 2, 3), integers(8, 3))
bitwise_and = _bitwise(
    "bitwise_and", np.bitwise_and, numeric(lambda _b, x, y: x & y), "a & b of integers or booleans.", *_bits
)
bitwise_or = _bitwise(
    "bitwise_or", np.bitwise_or, numeric(lambda _b, x, y: x | y), "a | b of integers or booleans.", *_bits
)
bitwise_xor = _bitwise(
    "bitwise_xor", np.bitwise_xor, numeric(lambda _b, x, y: x ^ y), "a ^ b of integers or booleans.", *_bits
)
bitwise_not = _bitwise("bitwise_not", np.invert, Scalar(lambda _b, x: ~x), "~x of integers or booleans.", _bits[0])
left_shift = _bitwise(
    "left_shift",
    np.left_shift,
    numeric(lambda b, x, y: scalars.shifted(b, x, y, left=True)),
    "a << b of integers.",
    *_bits,
)
right_shift = _bitwise(
    "right_shift",
    np.right_shift,
    numeric(lambda b, x, y: scalars.shifted(b, x, y, left=False)),
    "a >> b of integers.",
    *_bits,
)
gcd = _bitwise("gcd", np.gcd, _LOOP, "The greatest common divisor of integers.", *_bits)
lcm = _bitwise("lcm", np.lcm, _LOOP, "The least common multiple of integers.", *_bits)

isclose = nondifferentiable(
    "isclose",
    lambda a, b, rtol=1e-5, atol=1e-8, equal_nan=False: np.isclose(a, b, rtol, atol, equal_nan),
    lower=floating(scalars.isclose),
    samples=[Sample(normal(2, 3), normal(2, 3)), Sample(normal(3), normal(3), rtol=10.0)],
    doc="|a - b| <= atol + rtol·|b|.",
)

sign = elementwise(
    "sign",
    np.sign,
    lambda g, _y, _x: g * 0.0,
    lower=Scalar(scalars.sign),
    samples=[Sample(spread(2, 3))],
    doc="-1, 0 or 1; slope 0.",
)
