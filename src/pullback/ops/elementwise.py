"""Elementwise ops. `partials[i](g, y, *xs)` is g times ∂y/∂x_i.

At kinks the conventions are PyTorch's, in every mode: |x| has slope 0 at 0, relu slope 0 at 0, `maximum` and `minimum`
split evenly between equal operands, `clamp` passes the gradient on at its bounds.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from pullback.ops import fused, kernels
from pullback.ops.cast import cast, conj, imag, real, real_of
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
from pullback.ops.samples import (
    Sample,
    boolean,
    complex_nonzero,
    exactly,
    exponents,
    nonzero,
    normal,
    positive,
    spread,
    unit,
)
from pullback.ops.table import Op, elementwise, general, nondifferentiable
from pullback.values.shape import Spec, broadcast_shapes


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
    lambda g, _y, _a, b: over(g, b),
    lambda g, y, _a, b: -g * (y / b),
    kernel=fused.div,
    samples=[Sample(normal(2, 3), nonzero(2, 3)), Sample(normal(3), nonzero(2, 1)), Sample(2.0, nonzero(3))],
    doc="a / b; NumPy's infinities and NaN at b = 0.",
)
neg = elementwise("neg", operator.neg, lambda g, _y, _x: -g, samples=[Sample(normal(2, 3))], doc="-x.")


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
floor_divide = elementwise(
    "floor_divide",
    np.floor_divide,
    lambda g, _y, _a, _b: g * 0.0,
    lambda g, _y, _a, _b: g * 0.0,
    samples=[Sample(spread(2, 3), nonzero(2, 3)), Sample(spread(3), 2)],
    doc="floor(a / b); slope 0, the jumps included.",
)
copysign = elementwise(
    "copysign",
    np.copysign,
    lambda g, y, a, _b: g * (sign(a) * sign(y)),
    lambda g, _y, _a, _b: g * 0.0,
    kernel=fused.copysign,
    samples=[Sample(nonzero(2, 3), nonzero(2, 3)), Sample(nonzero(3), nonzero(2, 1)), Sample(nonzero(3), -1.0)],
    doc="|a| with the sign of b, -0.0 counting as negative; slope 0 at a = 0 and in b.",
)
lerp = elementwise(
    "lerp",
    lambda a, b, w: a + w * (b - a),
    lambda g, _y, _a, _b, w: g * (1 - w),
    lambda g, _y, _a, _b, w: g * w,
    lambda g, _y, a, b, _w: g * (b - a),
    samples=[Sample(normal(2, 3), normal(3), unit(2, 1)), Sample(normal(3), normal(3), 0.3)],
    doc="a + w · (b - a): from a to b as w goes from 0 to 1.",
)
deg2rad = elementwise(
    "deg2rad",
    np.deg2rad,
    lambda g, _y, _x: g * (math.pi / 180),
    samples=[Sample(normal(2, 3))],
    doc="Degrees to radians.",
)
rad2deg = elementwise(
    "rad2deg",
    np.rad2deg,
    lambda g, _y, _x: g * (180 / math.pi),
    samples=[Sample(normal(2, 3))],
    doc="Radians to degrees.",
)
ldexp = elementwise(
    "ldexp",
    lambda a, b: a * 2.0**b,
    lambda g, _y, _a, b: g * pow_(2.0, b),
    lambda g, y, _a, _b: g * (y * math.log(2)),
    samples=[Sample(normal(2, 3), normal(2, 3)), Sample(normal(3), 2.0)],
    doc="a · 2**b; b is of a's dtype and need not be whole.",
)
nextafter = elementwise(
    "nextafter",
    np.nextafter,
    lambda g, _y, _a, _b: g,
    lambda g, _y, _a, _b: g * 0.0,
    samples=[Sample(normal(2, 3), normal(2, 3)), Sample(normal(3), 1.0)],
    doc="The next floating-point number after a in the direction of b; slope 1 in a and 0 in b.",
)
frexp_exponent: Op = nondifferentiable(
    "frexp_exponent",
    lambda x: np.frexp(x)[1],
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
    samples=[Sample(spread(2, 3), min=-0.5, max=0.6), Sample(spread(4), min=0.0), Sample(spread(4), max=0.0)],
    doc="x held between the numbers min and max; at the bounds themselves the slope is 1.",
)

heaviside = elementwise(
    "heaviside",
    np.heaviside,
    lambda g, _y, _x, _h: g * 0.0,
    lambda g, _y, x, _h: where(equal(x, 0), g, 0.0),
    samples=[Sample(spread(2, 3), normal(3)), Sample(np.array([-1.0, 0.0, 2.0]), normal(3))],
    doc="0 for x < 0, h at 0, 1 above; slope 0 in x, the step included.",
)
nan_to_num = elementwise(
    "nan_to_num",
    lambda x, nan=0.0, posinf=None, neginf=None: np.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf),
    lambda g, _y, x, nan=0.0, posinf=None, neginf=None: where(isfinite(x), g, 0.0),
    samples=[
        Sample(exactly(0.5, math.nan, -2.0)),
        Sample(exactly(0.5, math.nan, math.inf, -math.inf), nan=1.0, posinf=2.0, neginf=-2.0),
    ],
    doc="x with numbers in place of NaN and infinities (None: the largest of the dtype); slope 0 where replaced.",
)

# Rounding: slope 0 everywhere, the jumps included.


def _steps(name: str, function: Any, doc: str) -> Op:
    return elementwise(name, function, lambda g, _y, _x: g * 0.0, samples=[Sample(spread(2, 3))], doc=doc)


floor: Op = _steps("floor", np.floor, "The largest integer not above x; slope 0.")
ceil = _steps("ceil", np.ceil, "The smallest integer not below x; slope 0.")
trunc: Op = _steps("trunc", np.trunc, "x towards zero to an integer; slope 0.")
round_ = _steps("round", np.round, "x to the nearest integer, halves to even; slope 0.")

# Powers, exponentials, logarithms

square = elementwise(
    "square",
    np.square,
    lambda g, _y, x: g * (2 * x),
    kernel=fused.square,
    samples=[Sample(normal(2, 3))],
    doc="x².",
)
sqrt = elementwise(
    "sqrt",
    np.sqrt,
    lambda g, y, _x: over(g, 2 * y),
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
    "cbrt", np.cbrt, lambda g, y, _x: over(g, 3 * y * y), samples=[Sample(nonzero(2, 3))], doc="The real cube root."
)
reciprocal = elementwise(
    "reciprocal",
    lambda x: 1 / x,
    lambda g, y, _x: -g * y * y,
    kernel=fused.reciprocal,
    samples=[Sample(nonzero(2, 3))],
    doc="1/x.",
)
exp = elementwise("exp", np.exp, lambda g, y, _x: g * y, samples=[Sample(normal(2, 3))], doc="e to the x.")
exp2: Op = elementwise(
    "exp2", np.exp2, lambda g, y, _x: g * (y * math.log(2)), samples=[Sample(normal(2, 3))], doc="2 to the x."
)
expm1 = elementwise(
    "expm1", np.expm1, lambda g, y, _x: g * (y + 1), samples=[Sample(normal(2, 3))], doc="exp(x) - 1, accurate at 0."
)
log = elementwise(
    "log",
    np.log,
    lambda g, _y, x: over(g, x),
    samples=[Sample(positive(2, 3))],
    doc="The natural logarithm; -inf at 0, NaN below.",
)
log2 = elementwise(
    "log2",
    np.log2,
    lambda g, _y, x: over(g, x * math.log(2)),
    samples=[Sample(positive(2, 3))],
    doc="Logarithm to base 2.",
)
log10 = elementwise(
    "log10",
    np.log10,
    lambda g, _y, x: over(g, x * math.log(10)),
    samples=[Sample(positive(2, 3))],
    doc="Logarithm to base 10.",
)
log1p = elementwise(
    "log1p",
    np.log1p,
    lambda g, _y, x: over(g, x + 1),
    samples=[Sample(positive(2, 3))],
    title="Log1PBackward0",
    doc="log(1 + x), accurate at 0.",
)
logaddexp = elementwise(
    "logaddexp",
    np.logaddexp,
    lambda g, y, a, _b: g * share(a, y),
    lambda g, y, _a, b: g * share(b, y),
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
    samples=[Sample(normal(2, 3), normal(2, 3)), Sample(normal(3), normal(2, 1))],
    doc="log2(2**a + 2**b) without overflow; slope 0 where both are -inf.",
)
xlogy = elementwise(
    "xlogy",
    kernels.xlogy,
    lambda g, _y, a, b: g * log(where(logical_and(equal(a, 0), less_equal(b, 0)), 1.0, kernels.typed(b, a))),
    lambda g, _y, a, b: g * (a / where(logical_and(equal(a, 0), equal(b, 0)), 1.0, b)),
    kernel=fused.xlogy,
    samples=[Sample(normal(2, 3), positive(2, 3)), Sample(normal(3), positive(2, 1)), Sample(2.0, positive(3))],
    doc="x · log(y), 0 where x is 0 and y a number; there the slopes are 0 too, in x for y <= 0, in y for y = 0.",
)
sigmoid = elementwise(
    "sigmoid",
    kernels.sigmoid,
    lambda g, y, _x: g * (y * (1 - y)),
    samples=[Sample(normal(2, 3))],
    doc="1 / (1 + exp(-x)); never overflows.",
)
logit = elementwise(
    "logit",
    lambda x: np.log(x / (1 - x)),
    lambda g, _y, x: g / (x * (1 - x)),
    samples=[Sample(lambda rng: rng.random((2, 3)) * 0.8 + 0.1)],
    doc="log(x / (1 - x)), the inverse of sigmoid: -inf at 0, inf at 1, NaN outside.",
)
relu = elementwise(
    "relu",
    lambda x: np.maximum(x, 0),
    lambda g, y, _x: where(greater(y, 0), g, 0.0),
    samples=[Sample(spread(2, 3))],
    doc="max(x, 0); slope 0 at 0, NaN passes through with slope 0.",
)


# Trigonometric and hyperbolic

sin = elementwise("sin", np.sin, lambda g, _y, x: g * cos(x), samples=[Sample(normal(2, 3))], doc="Sine of x radians.")
cos: Op = elementwise(
    "cos", np.cos, lambda g, _y, x: -g * sin(x), samples=[Sample(normal(2, 3))], doc="Cosine of x radians."
)
tan = elementwise(
    "tan", np.tan, lambda g, y, _x: g * (1 + y * y), samples=[Sample(unit(2, 3))], doc="Tangent of x radians."
)
asin = elementwise(
    "asin",
    np.arcsin,
    lambda g, _y, x: over(g, sqrt(1 - x * x)),
    kernel=fused.slope_by_root(1),
    samples=[Sample(unit(2, 3))],
    doc="Inverse sine, on [-1, 1].",
)
acos = elementwise(
    "acos",
    np.arccos,
    lambda g, _y, x: over(-g, sqrt(1 - x * x)),
    kernel=fused.slope_by_root(-1),
    samples=[Sample(unit(2, 3))],
    doc="Inverse cosine, on [-1, 1].",
)
atan = elementwise(
    "atan", np.arctan, lambda g, _y, x: g / (1 + x * x), samples=[Sample(normal(2, 3))], doc="Inverse tangent."
)
atan2 = elementwise(
    "atan2",
    np.arctan2,
    lambda g, _y, a, b: g * (b / _nonzero(a * a + b * b)),
    lambda g, _y, a, b: -g * (a / _nonzero(a * a + b * b)),
    kernel=fused.atan2,
    samples=[Sample(nonzero(2, 3), nonzero(2, 3)), Sample(nonzero(3), nonzero(2, 1))],
    doc="The angle of the point (b, a); slope 0 at the origin.",
)
hypot = elementwise(
    "hypot",
    np.hypot,
    lambda g, y, a, _b: g * (a / _nonzero(y)),
    lambda g, y, _a, b: g * (b / _nonzero(y)),
    samples=[Sample(nonzero(2, 3), nonzero(2, 3)), Sample(nonzero(3), nonzero(2, 1))],
    doc="√(a² + b²) without overflow; slope 0 at the origin.",
)
sinh = elementwise(
    "sinh", np.sinh, lambda g, _y, x: g * cosh(x), samples=[Sample(normal(2, 3))], doc="Hyperbolic sine."
)
cosh: Op = elementwise(
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
    lambda g, _y, x: over(g, sqrt(x * x - 1)),
    samples=[Sample(lambda rng: rng.random((2, 3)) + 1.2)],
    doc="Inverse hyperbolic cosine, on [1, ∞).",
)
atanh = elementwise(
    "atanh",
    np.arctanh,
    lambda g, _y, x: over(g, 1 - x * x),
    samples=[Sample(unit(2, 3))],
    doc="Inverse hyperbolic tangent, on (-1, 1).",
)
sinc: Op = elementwise(
    "sinc",
    kernels.sinc,
    lambda g, _y, x, order=0: g * sinc(x, order=order + 1),
    samples=[Sample(normal(2, 3)), Sample(exactly(0.0, 1e-4, 0.3, 2.0)), Sample(normal(3), order=2)],
    doc="sin(πx)/(πx), 1 at 0, or its derivative of the given order, exact at 0 too.",
)

# Magnitude and complex parts
# These read the modulus and the angle of a complex number, so they are not holomorphic and state both rules.


def _nonzero(x: Any) -> Any:
    return where(equal(x, 0), 1.0, x)


def _unit(x: Any) -> Any:
    """x / |x|, 0 at 0: of a complex x."""
    return x / cast(_nonzero(abs_(x)), dtype=x.dtype)


def _signed(g: Any, x: Any) -> Any:
    return fused.signed(g, x) if fused.plain(g, x) else g * sign(x)


abs_: Op = general(
    "abs",
    np.abs,
    vjp=lambda g, _y, x: (_signed(g, x) if x.dtype.kind != "c" else cast(g, dtype=x.dtype) * _unit(x),),
    jvp=lambda tangents, _y, x: tangents[0] * sign(x) if x.dtype.kind != "c" else real(tangents[0] * conj(_unit(x))),
    shape=real_of,
    batch=lambda size, args, batched: abs_(*args),
    samples=[Sample(nonzero(2, 3)), Sample(complex_nonzero(2, 3))],
    doc="|x|, also of complex x; slope 0 at 0.",
)


def _angle_vjp(g: Any, _y: Any, x: Any) -> tuple[Any]:
    if x.dtype.kind != "c":
        return (g * 0.0,)
    return (cast(g, dtype=x.dtype) * (1j * x) / cast(_nonzero(square(abs_(x))), dtype=x.dtype),)


def _angle_jvp(tangents: Any, _y: Any, x: Any) -> Any:
    if x.dtype.kind != "c":
        return tangents[0] * 0.0
    return imag(tangents[0] * conj(x)) / _nonzero(square(abs_(x)))


angle: Op = general(
    "angle",
    np.angle,
    vjp=_angle_vjp,
    jvp=_angle_jvp,
    shape=real_of,
    batch=lambda size, args, batched: angle(*args),
    samples=[Sample(nonzero(2, 3)), Sample(complex_nonzero(2, 3))],
    doc="The angle of complex x in radians, of real x 0 or π; slope 0 at 0 and for real x.",
)


def _sgn_push(t: Any, _y: Any, x: Any) -> Any:
    """The tangent of x / |x|: the part of t across x, over |x|."""
    if x.dtype.kind != "c":
        return t * 0.0
    u = _unit(x)
    return u * cast(imag(t * conj(u)) / _nonzero(abs_(x)), dtype=x.dtype) * 1j


sgn: Op = general(
    "sgn",
    np.sign,  # NumPy 2: x / |x| for complex x
    vjp=lambda g, y, x: (conj(_sgn_push(conj(g), y, x)),),  # symmetric over the reals; g comes conjugated
    jvp=lambda tangents, y, x: _sgn_push(tangents[0], y, x),
    shape=lambda x: x,
    batch=lambda size, args, batched: sgn(*args),
    samples=[Sample(nonzero(2, 3)), Sample(complex_nonzero(2, 3))],
    doc="x / |x|, 0 at 0: the sign, also of complex x; slope 0 at 0 and for real x.",
)
