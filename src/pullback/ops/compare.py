"""Comparisons, predicates and signs: piecewise constant, so they carry no derivative."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.ops.samples import Sample, boolean, integers, normal, spread
from pullback.ops.table import elementwise, elementwise_shape, nondifferentiable


def _predicate(name: str, function: Any, doc: str, *makers: Any) -> Any:
    return nondifferentiable(name, function, samples=[Sample(*makers)], doc=doc)


_pair = (spread(2, 3), normal(3))
equal = _predicate("eq", np.equal, "a == b.", *_pair)
not_equal = _predicate("ne", np.not_equal, "a != b.", *_pair)
less = _predicate("lt", np.less, "a < b.", *_pair)
less_equal = _predicate("le", np.less_equal, "a <= b.", *_pair)
greater = _predicate("gt", np.greater, "a > b.", *_pair)
greater_equal = _predicate("ge", np.greater_equal, "a >= b.", *_pair)
logical_and = _predicate("logical_and", np.logical_and, "a and b.", boolean(2, 3), boolean(3))
logical_or = _predicate("logical_or", np.logical_or, "a or b.", boolean(2, 3), boolean(3))
logical_xor = _predicate("logical_xor", np.logical_xor, "Exactly one of a, b.", boolean(2, 3), boolean(3))
logical_not = _predicate("logical_not", np.logical_not, "not x.", boolean(2, 3))
isnan = _predicate("isnan", np.isnan, "Whether x is not a number.", normal(2, 3))
isinf = _predicate("isinf", np.isinf, "Whether x is infinite.", normal(2, 3))
isfinite = _predicate("isfinite", np.isfinite, "Whether x is neither infinite nor NaN.", normal(2, 3))
signbit = _predicate("signbit", np.signbit, "Whether x is negative, -0.0 included.", normal(2, 3))


def _bitwise(name: str, function: Any, doc: str, *makers: Any) -> Any:
    return nondifferentiable(name, function, samples=[Sample(*makers)], doc=doc, shape=elementwise_shape)


_bits = (integers(64, 2, 3), integers(8, 3))
bitwise_and = _bitwise("bitwise_and", np.bitwise_and, "a & b of integers or booleans.", *_bits)
bitwise_or = _bitwise("bitwise_or", np.bitwise_or, "a | b of integers or booleans.", *_bits)
bitwise_xor = _bitwise("bitwise_xor", np.bitwise_xor, "a ^ b of integers or booleans.", *_bits)
bitwise_not = _bitwise("bitwise_not", np.invert, "~x of integers or booleans.", _bits[0])
left_shift = _bitwise("left_shift", np.left_shift, "a << b of integers.", *_bits)
right_shift = _bitwise("right_shift", np.right_shift, "a >> b of integers.", *_bits)
gcd = _bitwise("gcd", np.gcd, "The greatest common divisor of integers.", *_bits)
lcm = _bitwise("lcm", np.lcm, "The least common multiple of integers.", *_bits)

isclose = nondifferentiable(
    "isclose",
    lambda a, b, rtol=1e-5, atol=1e-8, equal_nan=False: np.isclose(a, b, rtol, atol, equal_nan),
    samples=[Sample(normal(2, 3), normal(2, 3)), Sample(normal(3), normal(3), rtol=10.0)],
    doc="|a - b| <= atol + rtol·|b|.",
)

sign = elementwise(
    "sign", np.sign, lambda g, _y, _x: g * 0.0, samples=[Sample(spread(2, 3))], doc="-1, 0 or 1; slope 0."
)
