"""Elementwise ops. `partials[i](g, y, *xs)` is g times ∂y/∂x_i.

At kinks the conventions are PyTorch's, in every mode: |x| has slope 0 at 0, relu slope 0 at 0, `maximum` and `minimum`
split evenly between equal operands, `clamp` passes the gradient on at its bounds.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from pullback.ops.samples import Sample, boolean, exponents, nonzero, normal, positive, spread, unit
from pullback.ops.compare import equal, greater, greater_equal, isnan, less, logical_and, sign
from pullback.ops.table import elementwise, general, nondifferentiable
from pullback.values.shape import Spec, broadcast_shapes

# Arithmetic

add = elementwise(
    "add",
    operator.add,
    lambda g, _y, _a, _b: g,
    lambda g, _y, _a, _b: g,
    samples=[Sample(normal(2, 3), normal(2, 3)), Sample(normal(3), normal(2, 1)), Sample(normal(), normal(2))],
    doc="a + b.",
)
sub = elementwise(
    "sub",
    operator.sub,
    lambda g, _y, _a, _b: g,
    lambda g, _y, _a, _b: -g,
    samples=[Sample(normal(2, 3), normal(2, 3)), Sample(normal(3), normal(2, 1))],
    doc="a - b.",
)
mul = elementwise(
    "mul",
    operator.mul,
    lambda g, _y, _a, b: g * b,
    lambda g, _y, a, _b: g * a,
    samples=[Sample(normal(2, 3), normal(2, 3)), Sample(normal(3), normal(2, 1)), Sample(normal(2), 2.5)],
    doc="a · b.",
)
div = elementwise(
    "div",
    operator.truediv,
    lambda g, _y, _a, b: g / b,
    lambda g, y, _a, b: -g * (y / b),
    samples=[Sample(normal(2, 3), nonzero(2, 3)), Sample(normal(3), nonzero(2, 1)), Sample(2.0, nonzero(3))],
    doc="a / b; NumPy's infinities and NaN at b = 0.",
)
neg = elementwise("neg", operator.neg, lambda g, _y, _x: -g, samples=[Sample(normal(2, 3))], doc="-x.")


def _pow_base(g: Any, _y: Any, a: Any, b: Any) -> Any:
    if isinstance(b, int | float):
        if b == 2:
            return g * (2 * a)
        return g * (b * pow_(a, b - 1)) if b != 0 else g * 0.0
    return g * where(equal(b, 0), 0.0, b * pow_(a, b - 1))


def _pow_exponent(g: Any, y: Any, a: Any, b: Any) -> Any:
    if isinstance(a, int | float):
        return g * y * (math.log(a) if a > 0 else -math.inf if a == 0 else math.nan)
    safe = where(equal(a, 0), 1.0, a)
    return g * where(logical_and(equal(a, 0), greater_equal(b, 0)), 0.0, y * log(safe))


pow_ = elementwise(
    "pow",
    operator.pow,
    _pow_base,
    _pow_exponent,
    samples=[
        Sample(positive(2, 3), exponents(2, 3)),
        Sample(positive(3), exponents(2, 1)),
        Sample(normal(3), 2),
        Sample(normal(3), 3.0),
        Sample(normal(3), 0),
        Sample(2.0, normal(3)),
    ],
    doc="a ** b. The base's slope at b = 0 is 0 for every a; the exponent's slope at a = 0 is 0 for b >= 0 (0 · log 0 = 0).",
)
fmod = elementwise(
    "fmod",
    np.fmod,
    lambda g, _y, _a, _b: g,
    lambda g, _y, a, b: -g * trunc(a / b),
    samples=[Sample(spread(2, 3), nonzero(2, 3))],
    doc="Remainder of a / b with the sign of a; slopes as between the jumps.",
)
remainder = elementwise(
    "remainder",
    np.remainder,
    lambda g, _y, _a, _b: g,
    lambda g, _y, a, b: -g * floor(a / b),
    samples=[Sample(spread(2, 3), nonzero(2, 3))],
    doc="Remainder of a / b with the sign of b; slopes as between the jumps.",
)


# Choosing. `where` comes first: the others' rules use it.


def _where_shape(condition: Any, a: Any, b: Any) -> Spec:
    specs = [s for s in (condition, a, b) if isinstance(s, Spec)]
    dtypes = [s.dtype if isinstance(s, Spec) else s for s in (a, b)]
    return Spec(broadcast_shapes(*(s.shape for s in specs)), np.result_type(*dtypes))


where = elementwise(
    "where",
    np.where,
    None,
    lambda g, _y, c, _a, _b: where(c, g, 0.0),
    lambda g, _y, c, _a, _b: where(c, 0.0, g),
    samples=[
        Sample(boolean(2, 3), normal(2, 3), normal(2, 3)),
        Sample(boolean(3), normal(2, 1), normal(2, 3)),
        Sample(boolean(3), normal(3), 0.0),
    ],
    shape=_where_shape,
    doc="a where the condition holds, b elsewhere; the branch not taken gets an exact 0, whatever its value.",
)



def _choose(wins: Any) -> Any:
    """The partial of the larger (or smaller) of two: g where `wins(mine, other)`, half of g at ties, NaN's own at NaN."""

    def partial(g: Any, mine: Any, other: Any) -> Any:
        taken = logical_or(wins(mine, other), isnan(mine))
        return where(taken, g, where(equal(mine, other), 0.5 * g, 0.0))

    return partial


_larger, _smaller = _choose(greater), _choose(less)

maximum = elementwise(
    "maximum",
    np.maximum,
    lambda g, _y, a, b: _larger(g, a, b),
    lambda g, _y, a, b: _larger(g, b, a),
    samples=[Sample(spread(2, 3), normal(2, 3)), Sample(spread(3), normal(2, 1)), Sample(spread(3), 0.2)],
    doc="The larger of a and b, NaN if either is; equal operands share the gradient evenly.",
)
minimum = elementwise(
    "minimum",
    np.minimum,
    lambda g, _y, a, b: _smaller(g, a, b),
    lambda g, _y, a, b: _smaller(g, b, a),
    samples=[Sample(spread(2, 3), normal(2, 3)), Sample(spread(3), normal(2, 1))],
    doc="The smaller of a and b, NaN if either is; equal operands share the gradient evenly.",
)


def _inside(x: Any, min: Any, max: Any) -> Any:
    low = True if min is None else greater_equal(x, min)
    high = True if max is None else less_equal(x, max)
    return logical_and(low, high) if low is not True and high is not True else high if low is True else low


clamp = elementwise(
    "clamp",
    lambda x, min=None, max=None: np.clip(x, min, max),
    lambda g, _y, x, min=None, max=None: where(_inside(x, min, max), g, 0.0),
    samples=[Sample(spread(2, 3), min=-0.5, max=0.6), Sample(spread(4), min=0.0), Sample(spread(4), max=0.0)],
    doc="x held between the numbers min and max; at the bounds themselves the slope is 1.",
)

# Rounding: slope 0 everywhere, the jumps included.

floor, ceil, trunc, round_ = (
    elementwise(name, function, lambda g, _y, _x: g * 0.0, samples=[Sample(spread(2, 3))], doc=doc + "; slope 0.")
    for name, function, doc in [
        ("floor", np.floor, "The largest integer not above x"),
        ("ceil", np.ceil, "The smallest integer not below x"),
        ("trunc", np.trunc, "x towards zero to an integer"),
        ("round", np.round, "x to the nearest integer, halves to even"),
    ]
)

# Powers, exponentials, logarithms

square = elementwise("square", np.square, lambda g, _y, x: g * (2 * x), samples=[Sample(normal(2, 3))], doc="x².")
sqrt = elementwise(
    "sqrt",
    np.sqrt,
    lambda g, y, _x: g / (2 * y),
    samples=[Sample(positive(2, 3))],
    doc="√x; NaN below 0, infinite slope at 0.",
)
rsqrt = elementwise(
    "rsqrt",
    lambda x: 1 / np.sqrt(x),
    lambda g, y, _x: g * (-0.5 * y * y * y),
    samples=[Sample(positive(2, 3))],
    doc="1/√x.",
)
cbrt = elementwise(
    "cbrt", np.cbrt, lambda g, y, _x: g / (3 * y * y), samples=[Sample(nonzero(2, 3))], doc="The real cube root."
)
reciprocal = elementwise(
    "reciprocal", lambda x: 1 / x, lambda g, y, _x: -g * y * y, samples=[Sample(nonzero(2, 3))], doc="1/x."
)
exp = elementwise("exp", np.exp, lambda g, y, _x: g * y, samples=[Sample(normal(2, 3))], doc="e to the x.")
exp2 = elementwise(
    "exp2", np.exp2, lambda g, y, _x: g * (y * math.log(2)), samples=[Sample(normal(2, 3))], doc="2 to the x."
)
expm1 = elementwise(
    "expm1", np.expm1, lambda g, y, _x: g * (y + 1), samples=[Sample(normal(2, 3))], doc="exp(x) - 1, accurate at 0."
)
log = elementwise(
    "log",
    np.log,
    lambda g, _y, x: g / x,
    samples=[Sample(positive(2, 3))],
    doc="The natural logarithm; -inf at 0, NaN below.",
)
log2 = elementwise(
    "log2", np.log2, lambda g, _y, x: g / (x * math.log(2)), samples=[Sample(positive(2, 3))], doc="Logarithm to base 2."
)
log10 = elementwise(
    "log10",
    np.log10,
    lambda g, _y, x: g / (x * math.log(10)),
    samples=[Sample(positive(2, 3))],
    doc="Logarithm to base 10.",
)
log1p = elementwise(
    "log1p", np.log1p, lambda g, _y, x: g / (x + 1), samples=[Sample(positive(2, 3))], doc="log(1 + x), accurate at 0."
)
logaddexp = elementwise(
    "logaddexp",
    np.logaddexp,
    lambda g, y, a, _b: g * _share(a, y),
    lambda g, y, _a, b: g * _share(b, y),
    samples=[Sample(normal(2, 3), normal(2, 3)), Sample(normal(3), normal(2, 1))],
    doc="log(exp(a) + exp(b)) without overflow.",
)


def _share(x: Any, total: Any) -> Any:
    """exp(x - total), also where both are infinite."""
    return exp(where(equal(x, total), 0.0, x - total))


# Trigonometric and hyperbolic

sin = elementwise("sin", np.sin, lambda g, _y, x: g * cos(x), samples=[Sample(normal(2, 3))], doc="Sine of x radians.")
cos = elementwise("cos", np.cos, lambda g, _y, x: -g * sin(x), samples=[Sample(normal(2, 3))], doc="Cosine of x radians.")
tan = elementwise(
    "tan", np.tan, lambda g, y, _x: g * (1 + y * y), samples=[Sample(unit(2, 3))], doc="Tangent of x radians."
)
asin = elementwise(
    "asin", np.arcsin, lambda g, _y, x: g / sqrt(1 - x * x), samples=[Sample(unit(2, 3))], doc="Inverse sine, on [-1, 1]."
)
acos = elementwise(
    "acos",
    np.arccos,
    lambda g, _y, x: -g / sqrt(1 - x * x),
    samples=[Sample(unit(2, 3))],
    doc="Inverse cosine, on [-1, 1].",
)
atan = elementwise(
    "atan", np.arctan, lambda g, _y, x: g / (1 + x * x), samples=[Sample(normal(2, 3))], doc="Inverse tangent."
)
atan2 = elementwise(
    "atan2",
    np.arctan2,
    lambda g, _y, a, b: g * (b / (a * a + b * b)),
    lambda g, _y, a, b: -g * (a / (a * a + b * b)),
    samples=[Sample(nonzero(2, 3), nonzero(2, 3)), Sample(nonzero(3), nonzero(2, 1))],
    doc="The angle of the point (b, a).",
)
hypot = elementwise(
    "hypot",
    np.hypot,
    lambda g, y, a, _b: g * (a / where(equal(y, 0), 1.0, y)),
    lambda g, y, _a, b: g * (b / where(equal(y, 0), 1.0, y)),
    samples=[Sample(nonzero(2, 3), nonzero(2, 3)), Sample(nonzero(3), nonzero(2, 1))],
    doc="√(a² + b²) without overflow; slope 0 at the origin.",
)
sinh = elementwise(
    "sinh", np.sinh, lambda g, _y, x: g * cosh(x), samples=[Sample(normal(2, 3))], doc="Hyperbolic sine."
)
cosh = elementwise(
    "cosh", np.cosh, lambda g, _y, x: g * sinh(x), samples=[Sample(normal(2, 3))], doc="Hyperbolic cosine."
)
tanh = elementwise(
    "tanh", np.tanh, lambda g, y, _x: g * (1 - y * y), samples=[Sample(normal(2, 3))], doc="Hyperbolic tangent."
)
asinh = elementwise(
    "asinh",
    np.arcsinh,
    lambda g, _y, x: g / sqrt(x * x + 1),
    samples=[Sample(normal(2, 3))],
    doc="Inverse hyperbolic sine.",
)
acosh = elementwise(
    "acosh",
    np.arccosh,
    lambda g, _y, x: g / sqrt(x * x - 1),
    samples=[Sample(lambda rng: rng.random((2, 3)) + 1.2)],
    doc="Inverse hyperbolic cosine, on [1, ∞).",
)
atanh = elementwise(
    "atanh",
    np.arctanh,
    lambda g, _y, x: g / (1 - x * x),
    samples=[Sample(unit(2, 3))],
    doc="Inverse hyperbolic tangent, on (-1, 1).",
)


# Magnitude and complex parts


def _abs_vjp(g: Any, y: Any, x: Any) -> tuple[Any]:
    return (g * sign(x),) if x.dtype.kind != "c" else (g * (x / where(equal(y, 0), 1.0, y)),)


def _abs_jvp(tangents: Any, y: Any, x: Any) -> Any:
    (t,) = tangents
    return t * sign(x) if x.dtype.kind != "c" else real(t * conj(x)) / where(equal(y, 0), 1.0, y)


def _real_of(x: Spec) -> Spec:
    return Spec(x.shape, np.empty(0, x.dtype).real.dtype)


def _same_batch(op: Any) -> Any:
    return lambda size, args, batched, **params: op(*args, **params)


abs_ = general(
    "abs",
    np.abs,
    vjp=_abs_vjp,
    jvp=_abs_jvp,
    shape=_real_of,
    batch=lambda size, args, batched: abs_(*args),
    samples=[Sample(nonzero(2, 3)), Sample(lambda rng: rng.standard_normal((2, 3)) + 1j * rng.standard_normal((2, 3)))],
    doc="|x|, also of complex x; slope 0 at 0.",
)
