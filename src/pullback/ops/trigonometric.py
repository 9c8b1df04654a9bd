"""Trigonometric and hyperbolic functions, magnitudes and angles, elementwise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pullback.ops import fused, kernels, scalars
from pullback.ops.arithmetic import over, sqrt, square, where
from pullback.ops.cast import cast, conj, imag, real, real_of
from pullback.ops.compare import (
    equal,
    sign,
)
from pullback.ops.lowering import Scalar
from pullback.ops.samples import (
    Sample,
    complex_nonzero,
    exactly,
    nonzero,
    normal,
    unit,
)
from pullback.ops.scalars import floating, function
from pullback.ops.table import Op, elementwise, general

__all__ = [
    "abs_",
    "acos",
    "acosh",
    "angle",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "cos",
    "cosh",
    "hypot",
    "sgn",
    "sin",
    "sinc",
    "sinh",
    "tan",
    "tanh",
]


# Trigonometric and hyperbolic

sin = elementwise(
    "sin",
    np.sin,
    lambda g, _y, x: g * cos(x),
    lower=function("sin"),
    samples=[Sample(normal(2, 3))],
    doc="Sine of x radians.",
)
cos: Op = elementwise(
    "cos",
    np.cos,
    lambda g, _y, x: -g * sin(x),
    lower=function("cos"),
    samples=[Sample(normal(2, 3))],
    doc="Cosine of x radians.",
)
tan = elementwise(
    "tan",
    np.tan,
    lambda g, y, _x: g * (1 + y * y),
    lower=function("tan"),
    samples=[Sample(unit(2, 3))],
    doc="Tangent of x radians.",
)
asin = elementwise(
    "asin",
    np.arcsin,
    lambda g, _y, x: over(g, sqrt(1 - x * x)),
    kernel=fused.slope_by_root(1),
    lower=function("asin"),
    samples=[Sample(unit(2, 3))],
    doc="Inverse sine, on [-1, 1].",
)
acos = elementwise(
    "acos",
    np.arccos,
    lambda g, _y, x: over(-g, sqrt(1 - x * x)),
    kernel=fused.slope_by_root(-1),
    lower=function("acos"),
    samples=[Sample(unit(2, 3))],
    doc="Inverse cosine, on [-1, 1].",
)
atan = elementwise(
    "atan",
    np.arctan,
    lambda g, _y, x: g / (1 + x * x),
    lower=function("atan"),
    samples=[Sample(normal(2, 3))],
    doc="Inverse tangent.",
)
atan2 = elementwise(
    "atan2",
    np.arctan2,
    lambda g, _y, a, b: g * (b / _nonzero(a * a + b * b)),
    lambda g, _y, a, b: -g * (a / _nonzero(a * a + b * b)),
    kernel=fused.atan2,
    lower=function("atan2"),
    samples=[Sample(nonzero(2, 3), nonzero(2, 3)), Sample(nonzero(3), nonzero(2, 1))],
    doc="The angle of the point (b, a); slope 0 at the origin.",
)
hypot = elementwise(
    "hypot",
    np.hypot,
    lambda g, y, a, _b: g * (a / _nonzero(y)),
    lambda g, y, _a, b: g * (b / _nonzero(y)),
    lower=function("hypot"),
    samples=[Sample(nonzero(2, 3), nonzero(2, 3)), Sample(nonzero(3), nonzero(2, 1))],
    doc="√(a² + b²) without overflow; slope 0 at the origin.",
)
sinh = elementwise(
    "sinh",
    np.sinh,
    lambda g, _y, x: g * cosh(x),
    lower=function("sinh"),
    samples=[Sample(normal(2, 3))],
    doc="Hyperbolic sine.",
)
cosh: Op = elementwise(
    "cosh",
    np.cosh,
    lambda g, _y, x: g * sinh(x),
    lower=function("cosh"),
    samples=[Sample(normal(2, 3))],
    doc="Hyperbolic cosine.",
)
tanh = elementwise(
    "tanh",
    np.tanh,
    lambda g, y, _x: g * (1 - y * y),
    lower=function("tanh"),
    samples=[Sample(normal(2, 3))],
    doc="Hyperbolic tangent.",
)
asinh = elementwise(
    "asinh",
    np.arcsinh,
    lambda g, _y, x: g / sqrt(x * x + 1),
    lower=function("asinh"),
    samples=[Sample(normal(2, 3))],
    doc="Inverse hyperbolic sine.",
)
acosh = elementwise(
    "acosh",
    np.arccosh,
    lambda g, _y, x: over(g, sqrt(x * x - 1)),
    lower=function("acosh"),
    samples=[Sample(lambda rng: rng.random((2, 3)) + 1.2)],
    doc="Inverse hyperbolic cosine, on [1, ∞).",
)
atanh = elementwise(
    "atanh",
    np.arctanh,
    lambda g, _y, x: over(g, 1 - x * x),
    lower=function("atanh"),
    samples=[Sample(unit(2, 3))],
    doc="Inverse hyperbolic tangent, on (-1, 1).",
)
sinc: Op = elementwise(
    "sinc",
    kernels.sinc,
    lambda g, _y, x, order=0: g * sinc(x, order=order + 1),
    lower=floating(scalars.sinc),
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
    lower=Scalar(lambda b, x: b.abs(x)),
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
    lower=floating(lambda b, x: b.where(b.isnan(x), x, b.where(b.signbit(x), math.pi, b.constant(0, x.dtype)))),
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
    lower=Scalar(scalars.sign),
    samples=[Sample(nonzero(2, 3)), Sample(complex_nonzero(2, 3))],
    doc="x / |x|, 0 at 0: the sign, also of complex x; slope 0 at 0 and for real x.",
)
