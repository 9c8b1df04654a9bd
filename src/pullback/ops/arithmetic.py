"""Arithmetic, choosing, rounding, powers, exponentials and logarithms, elementwise."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from pullback.ops import fused, kernels, scalars
from pullback.ops.cast import cast
from pullback.ops.compare import (
    equal,
    greater,
    greater_equal,
    isfinite,
    isnan,
    less,
    less_equal,
    logical_and,
    logical_or,
    sign,
)
from pullback.ops.lowering import Scalar
from pullback.ops.samples import (
    Sample,
    boolean,
    exactly,
    exponents,
    nonzero,
    normal,
    positive,
    spread,
    unit,
)
from pullback.ops.scalars import clipped, either, floating, function, numeric, rounded
from pullback.ops.table import UNSUPPORTED, Op, elementwise, nondifferentiable
from pullback.values.shape import Spec, broadcast_shapes

__all__ = [
    "add",
    "cbrt",
    "ceil",
    "clamp",
    "copysign",
    "deg2rad",
    "div",
    "exp",
    "exp2",
    "expm1",
    "floor",
    "floor_divide",
    "fmod",
    "frexp",
    "frexp_exponent",
    "heaviside",
    "ldexp",
    "lerp",
    "log",
    "log1p",
    "log2",
    "log10",
    "logaddexp",
    "logaddexp2",
    "logit",
    "maximum",
    "minimum",
    "mul",
    "nan_to_num",
    "neg",
    "nextafter",
    "over",
    "pow_",
    "rad2deg",
    "reciprocal",
    "relu",
    "remainder",
    "round_",
    "rsqrt",
    "share",
    "sigmoid",
    "sqrt",
    "square",
    "sub",
    "trunc",
    "where",
    "xlogy",
]


def over(g: Any, x: Any) -> Any:
    """g / x, for partials that have a pole. To be differentiated again it is a product: where g is 0, so is then what
    goes back to x, also at the pole."""
    return g / x if isinstance(x, _RAW) else g * reciprocal(x)


_RAW = (np.ndarray, np.generic, int, float, complex)

# Arithmetic

add = elementwise(
    "add",
    operator.add,
    lambda g, _y, _a, _b: g,
    lambda g, _y, _a, _b: g,
    lower=either(lambda _b, x, y: x + y, operator.or_),
    samples=[Sample(normal(2, 3), normal(2, 3)), Sample(normal(3), normal(2, 1)), Sample(normal(), normal(2))],
    doc="a + b.",
)
sub = elementwise(
    "sub",
    operator.sub,
    lambda g, _y, _a, _b: g,
    lambda g, _y, _a, _b: -g,
    lower=numeric(lambda _b, x, y: x - y),
    samples=[Sample(normal(2, 3), normal(2, 3)), Sample(normal(3), normal(2, 1))],
    doc="a - b.",
)
mul = elementwise(
    "mul",
    operator.mul,
    lambda g, _y, _a, b: g * b,
    lambda g, _y, a, _b: g * a,
    lower=either(lambda _b, x, y: x * y, operator.and_),
    samples=[Sample(normal(2, 3), normal(2, 3)), Sample(normal(3), normal(2, 1)), Sample(normal(2), 2.5)],
    doc="a · b.",
)
div = elementwise(
    "div",
    operator.truediv,
    lambda g, _y, _a, b: over(g, b),
    lambda g, y, _a, b: -g * (y / b),
    kernel=fused.div,
    lower=floating(lambda _b, x, y: x / y),
    samples=[Sample(normal(2, 3), nonzero(2, 3)), Sample(normal(3), nonzero(2, 1)), Sample(2.0, nonzero(3))],
    doc="a / b; NumPy's infinities and NaN at b = 0.",
)
neg = elementwise(
    "neg", operator.neg, lambda g, _y, _x: -g, lower=Scalar(lambda _b, x: -x), samples=[Sample(normal(2, 3))], doc="-x."
)


def _pow_base(g: Any, _y: Any, a: Any, b: Any) -> Any:
    if isinstance(b, int | float):
        if b == 2:
            return g * (a + a)  # NumPy adds arrays faster than it scales one by a Python number
        return g * (b * pow_(a, b - 1)) if b != 0 else g * 0.0
    return g * (b * pow_(a, where(logical_and(equal(a, 0), equal(b, 0)), 1.0, b) - 1))


def _pow_exponent(g: Any, y: Any, a: Any, b: Any) -> Any:
    if isinstance(a, int | float):
        if a == 0:
            return g * where(greater_equal(b, 0.0), 0.0, -y)
        return g * y * (math.log(a) if a > 0 else math.nan)
    return g * (y * log(where(logical_and(equal(a, 0), greater_equal(b, 0)), 1.0, a)))


pow_ = elementwise(
    "pow",
    operator.pow,
    _pow_base,
    _pow_exponent,
    kernel=fused.pow_,
    lower=Scalar(scalars.power),
    samples=[
        Sample(positive(2, 3), exponents(2, 3)),
        Sample(positive(3), exponents(2, 1)),
        Sample(normal(3), 2),
        Sample(normal(3), 3.0),
        Sample(normal(3), 0),
        Sample(2.0, normal(3)),
    ],
    doc="a ** b. At a = 0 the base's slope for b = 0 is 0, and so is the exponent's for b >= 0 (0 · log 0 = 0).",
)
fmod = elementwise(
    "fmod",
    np.fmod,
    lambda g, _y, _a, _b: g,
    lambda g, _y, a, b: -g * trunc(a / b),
    lower=numeric(lambda b, x, y: b.remainder(x, y)),
    samples=[Sample(spread(2, 3), nonzero(2, 3))],
    doc="Remainder of a / b with the sign of a; slopes as between the jumps.",
)
remainder = elementwise(
    "remainder",
    np.remainder,
    lambda g, _y, _a, _b: g,
    lambda g, _y, a, b: -g * floor(a / b),
    lower=numeric(scalars.remainder),
    samples=[Sample(spread(2, 3), nonzero(2, 3))],
    doc="Remainder of a / b with the sign of b; slopes as between the jumps.",
)
floor_divide = elementwise(
    "floor_divide",
    np.floor_divide,
    lambda g, _y, _a, _b: g * 0.0,
    lambda g, _y, _a, _b: g * 0.0,
    lower=numeric(scalars.floor_divide),
    samples=[Sample(spread(2, 3), nonzero(2, 3)), Sample(spread(3), 2)],
    doc="floor(a / b); slope 0, the jumps included.",
)
copysign = elementwise(
    "copysign",
    np.copysign,
    lambda g, y, a, _b: g * (sign(a) * sign(y)),
    lambda g, _y, _a, _b: g * 0.0,
    kernel=fused.copysign,
    lower=floating(lambda b, x, y: b.copysign(x, y)),
    samples=[Sample(nonzero(2, 3), nonzero(2, 3)), Sample(nonzero(3), nonzero(2, 1)), Sample(nonzero(3), -1.0)],
    doc="|a| with the sign of b, -0.0 counting as negative; slope 0 at a = 0 and in b.",
)
lerp = elementwise(
    "lerp",
    lambda a, b, w: a + w * (b - a),
    lambda g, _y, _a, _b, w: g * (1 - w),
    lambda g, _y, _a, _b, w: g * w,
    lambda g, _y, a, b, _w: g * (b - a),
    lower=numeric(lambda _b, x, y, w: x + w * (y - x)),
    samples=[Sample(normal(2, 3), normal(3), unit(2, 1)), Sample(normal(3), normal(3), 0.3)],
    doc="a + w · (b - a): from a to b as w goes from 0 to 1.",
)
deg2rad = elementwise(
    "deg2rad",
    np.deg2rad,
    lambda g, _y, _x: g * (math.pi / 180),
    lower=floating(lambda _b, x: x * (math.pi / 180)),
    samples=[Sample(normal(2, 3))],
    doc="Degrees to radians.",
)
rad2deg = elementwise(
    "rad2deg",
    np.rad2deg,
    lambda g, _y, _x: g * (180 / math.pi),
    lower=floating(lambda _b, x: x * (180 / math.pi)),
    samples=[Sample(normal(2, 3))],
    doc="Radians to degrees.",
)
ldexp = elementwise(
    "ldexp",
    lambda a, b: a * 2.0**b,
    lambda g, _y, _a, b: g * pow_(2.0, b),
    lambda g, y, _a, _b: g * (y * math.log(2)),
    lower=numeric(scalars.ldexp),
    samples=[Sample(normal(2, 3), normal(2, 3)), Sample(normal(3), 2.0)],
    doc="a · 2**b; b is of a's dtype and need not be whole.",
)
nextafter = elementwise(
    "nextafter",
    np.nextafter,
    lambda g, _y, _a, _b: g,
    lambda g, _y, _a, _b: g * 0.0,
    lower=UNSUPPORTED("NumPy takes the bits of a number apart"),
    samples=[Sample(normal(2, 3), normal(2, 3)), Sample(normal(3), 1.0)],
    doc="The next floating-point number after a in the direction of b; slope 1 in a and 0 in b.",
)
frexp_exponent: Op = nondifferentiable(
    "frexp_exponent",
    lambda x: np.frexp(x)[1],
    lower=UNSUPPORTED("NumPy takes the bits of a number apart"),
    samples=[Sample(normal(2, 3))],
    shape=lambda x: Spec(x.shape, np.dtype(np.int32)),
    batch=lambda size, args, batched: frexp_exponent(*args),
    doc="The exponent of x, so that x / 2**exponent is in [0.5, 1); 0 for 0.",
)
frexp = elementwise(
    "frexp",
    lambda x: np.frexp(x)[0],
    lambda g, _y, x: g * exp2(-cast(frexp_exponent(x), dtype=x.dtype)),
    kernel=fused.frexp,
    lower=UNSUPPORTED("NumPy takes the bits of a number apart"),
    samples=[Sample(exactly(0.7, -1.5, 3.1))],
    doc="x / 2**exponent, in [0.5, 1); the exponent counts as a constant.",
)


# Choosing. `where` comes first: the others' rules use it.


def _where_shape(condition: Any, a: Any, b: Any) -> Spec:
    specs = [s for s in (condition, a, b) if isinstance(s, Spec)]
    dtypes = [s.dtype if isinstance(s, Spec) else s for s in (a, b)]
    return Spec(broadcast_shapes(*(s.shape for s in specs)), np.result_type(*dtypes))


where: Op = elementwise(
    "where",
    kernels.select,
    None,
    lambda g, _y, c, _a, _b: where(c, g, 0.0),
    lambda g, _y, c, _a, _b: where(c, 0.0, g),
    lower=Scalar(scalars.select),
    samples=[
        Sample(boolean(2, 3), normal(2, 3), normal(2, 3)),
        Sample(boolean(3), normal(2, 1), normal(2, 3)),
        Sample(boolean(3), normal(3), 0.0),
    ],
    shape=_where_shape,
    masks=True,
    doc="a where the condition holds, b elsewhere; the branch not taken gets an exact 0, whatever its value.",
)


def _choose(wins: Any) -> Any:
    """The partial of the larger (or smaller) of two: g where mine wins or is NaN, half of g at ties."""

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
    kernel=fused.extremum(np.greater),
    lower=either(lambda b, x, y: b.maximum(x, y), operator.or_),
    samples=[Sample(spread(2, 3), normal(2, 3)), Sample(spread(3), normal(2, 1)), Sample(spread(3), 0.2)],
    masks=True,
    doc="The larger of a and b, NaN if either is; equal operands share the gradient evenly.",
)
minimum = elementwise(
    "minimum",
    np.minimum,
    lambda g, _y, a, b: _smaller(g, a, b),
    lambda g, _y, a, b: _smaller(g, b, a),
    kernel=fused.extremum(np.less),
    lower=either(lambda b, x, y: b.minimum(x, y), operator.and_),
    samples=[Sample(spread(2, 3), normal(2, 3)), Sample(spread(3), normal(2, 1))],
    masks=True,
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
    masks=True,
    lower=Scalar(lambda b, x, min=None, max=None: clipped(b, x, min, max)),
    samples=[Sample(spread(2, 3), min=-0.5, max=0.6), Sample(spread(4), min=0.0), Sample(spread(4), max=0.0)],
    doc="x held between the numbers min and max; at the bounds themselves the slope is 1.",
)

heaviside = elementwise(
    "heaviside",
    np.heaviside,
    lambda g, _y, _x, _h: g * 0.0,
    lambda g, _y, x, _h: where(equal(x, 0), g, 0.0),
    lower=floating(scalars.heaviside),
    samples=[Sample(spread(2, 3), normal(3)), Sample(np.array([-1.0, 0.0, 2.0]), normal(3))],
    doc="0 for x < 0, h at 0, 1 above; slope 0 in x, the step included.",
)
nan_to_num = elementwise(
    "nan_to_num",
    lambda x, nan=0.0, posinf=None, neginf=None: np.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf),
    lambda g, _y, x, nan=0.0, posinf=None, neginf=None: where(isfinite(x), g, 0.0),
    lower=Scalar(scalars.nan_to_num),
    samples=[
        Sample(exactly(0.5, math.nan, -2.0)),
        Sample(exactly(0.5, math.nan, math.inf, -math.inf), nan=1.0, posinf=2.0, neginf=-2.0),
    ],
    doc="x with numbers in place of NaN and infinities (None: the largest of the dtype); slope 0 where replaced.",
)

# Rounding: slope 0 everywhere, the jumps included.


def _steps(name: str, evaluate: Any, method: str, doc: str) -> Op:
    return elementwise(
        name, evaluate, lambda g, _y, _x: g * 0.0, lower=rounded(method), samples=[Sample(spread(2, 3))], doc=doc
    )


floor: Op = _steps("floor", np.floor, "floor", "The largest integer not above x; slope 0.")
ceil = _steps("ceil", np.ceil, "ceil", "The smallest integer not below x; slope 0.")
trunc: Op = _steps("trunc", np.trunc, "trunc", "x towards zero to an integer; slope 0.")
round_ = _steps("round", np.round, "rint", "x to the nearest integer, halves to even; slope 0.")

# Powers, exponentials, logarithms

square = elementwise(
    "square",
    np.square,
    lambda g, _y, x: g * (2 * x),
    kernel=fused.square,
    lower=Scalar(lambda _b, x: x * x),
    samples=[Sample(normal(2, 3))],
    doc="x².",
)
sqrt = elementwise(
    "sqrt",
    np.sqrt,
    lambda g, y, _x: over(g, 2 * y),
    lower=floating(lambda b, x: b.sqrt(x)),
    samples=[Sample(positive(2, 3))],
    doc="√x; NaN below 0, infinite slope at 0.",
)
rsqrt = elementwise(
    "rsqrt",
    lambda x: 1 / np.sqrt(x),
    lambda g, y, _x: g * (-0.5 * y * y * y),
    lower=floating(lambda b, x: 1 / b.sqrt(x)),
    samples=[Sample(positive(2, 3))],
    doc="1/√x.",
)
cbrt = elementwise(
    "cbrt",
    np.cbrt,
    lambda g, y, _x: over(g, 3 * y * y),
    lower=function("cbrt"),
    samples=[Sample(nonzero(2, 3))],
    doc="The real cube root.",
)
reciprocal = elementwise(
    "reciprocal",
    lambda x: 1 / x,
    lambda g, y, _x: -g * y * y,
    kernel=fused.reciprocal,
    lower=floating(lambda _b, x: 1 / x),
    samples=[Sample(nonzero(2, 3))],
    doc="1/x.",
)
exp = elementwise(
    "exp", np.exp, lambda g, y, _x: g * y, lower=function("exp"), samples=[Sample(normal(2, 3))], doc="e to the x."
)
exp2: Op = elementwise(
    "exp2",
    np.exp2,
    lambda g, y, _x: g * (y * math.log(2)),
    lower=function("exp2"),
    samples=[Sample(normal(2, 3))],
    doc="2 to the x.",
)
expm1 = elementwise(
    "expm1",
    np.expm1,
    lambda g, y, _x: g * (y + 1),
    lower=function("expm1"),
    samples=[Sample(normal(2, 3))],
    doc="exp(x) - 1, accurate at 0.",
)
log = elementwise(
    "log",
    np.log,
    lambda g, _y, x: over(g, x),
    lower=function("log"),
    samples=[Sample(positive(2, 3))],
    doc="The natural logarithm; -inf at 0, NaN below.",
)
log2 = elementwise(
    "log2",
    np.log2,
    lambda g, _y, x: over(g, x * math.log(2)),
    lower=function("log2"),
    samples=[Sample(positive(2, 3))],
    doc="Logarithm to base 2.",
)
log10 = elementwise(
    "log10",
    np.log10,
    lambda g, _y, x: over(g, x * math.log(10)),
    lower=function("log10"),
    samples=[Sample(positive(2, 3))],
    doc="Logarithm to base 10.",
)
log1p = elementwise(
    "log1p",
    np.log1p,
    lambda g, _y, x: over(g, x + 1),
    lower=function("log1p"),
    samples=[Sample(positive(2, 3))],
    title="Log1PBackward0",
    doc="log(1 + x), accurate at 0.",
)
logaddexp = elementwise(
    "logaddexp",
    np.logaddexp,
    lambda g, y, a, _b: g * share(a, y),
    lambda g, y, _a, b: g * share(b, y),
    lower=floating(scalars.logaddexp),
    samples=[Sample(normal(2, 3), normal(2, 3)), Sample(normal(3), normal(2, 1))],
    doc="log(exp(a) + exp(b)) without overflow; slope 0 where both are -inf.",
)


def share(x: Any, total: Any) -> Any:
    """exp(x - total), the part of exp(total) that is exp(x); 0 where total is -inf."""
    return exp(x - where(equal(total, -math.inf), 0.0, total))


_LN2 = math.log(2)
logaddexp2: Op = elementwise(
    "logaddexp2",
    np.logaddexp2,
    lambda g, y, a, _b: g * share(a * _LN2, y * _LN2),
    lambda g, y, _a, b: g * share(b * _LN2, y * _LN2),
    lower=floating(scalars.logaddexp2),
    samples=[Sample(normal(2, 3), normal(2, 3)), Sample(normal(3), normal(2, 1))],
    doc="log2(2**a + 2**b) without overflow; slope 0 where both are -inf.",
)
xlogy = elementwise(
    "xlogy",
    kernels.xlogy,
    lambda g, _y, a, b: g * log(where(logical_and(equal(a, 0), less_equal(b, 0)), 1.0, kernels.typed(b, a))),
    lambda g, _y, a, b: g * (a / where(logical_and(equal(a, 0), equal(b, 0)), 1.0, b)),
    kernel=fused.xlogy,
    lower=floating(scalars.xlogy),
    samples=[Sample(normal(2, 3), positive(2, 3)), Sample(normal(3), positive(2, 1)), Sample(2.0, positive(3))],
    doc="x · log(y), 0 where x is 0 and y a number; there the slopes are 0 too, in x for y <= 0, in y for y = 0.",
)
sigmoid = elementwise(
    "sigmoid",
    kernels.sigmoid,
    lambda g, y, _x: g * (y * (1 - y)),
    lower=function("sigmoid"),
    samples=[Sample(normal(2, 3))],
    doc="1 / (1 + exp(-x)); never overflows.",
)
logit = elementwise(
    "logit",
    lambda x: np.log(x / (1 - x)),
    lambda g, _y, x: g / (x * (1 - x)),
    lower=floating(lambda b, x: b.call("log", x / (1 - x))),
    samples=[Sample(lambda rng: rng.random((2, 3)) * 0.8 + 0.1)],
    doc="log(x / (1 - x)), the inverse of sigmoid: -inf at 0, inf at 1, NaN outside.",
)
relu = elementwise(
    "relu",
    lambda x: np.maximum(x, 0),
    lambda g, y, _x: where(greater(y, 0), g, 0.0),
    lower=Scalar(lambda b, x: b.maximum(x, 0)),
    samples=[Sample(spread(2, 3))],
    doc="max(x, 0); slope 0 at 0, NaN passes through with slope 0.",
)
