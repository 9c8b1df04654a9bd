"""Activation functions, elementwise: each stable over the whole range of its operand, with PyTorch's slopes at kinks.

`relu`, `sigmoid` and `tanh` are in `elementwise`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pullback.ops import fused, scalars
from pullback.ops.compare import greater, greater_equal, less, less_equal, logical_and, logical_or
from pullback.ops.elementwise import abs_, exp, sigmoid, tanh, where
from pullback.ops.lowering import Scalar
from pullback.ops.samples import Sample, normal, spread
from pullback.ops.scalars import clipped, inexact
from pullback.ops.special import erfc
from pullback.ops.table import elementwise

# Piecewise linear

leaky_relu = elementwise(
    "leaky_relu",
    lambda x, slope: np.where(x > 0, x, x * slope),
    lambda g, _y, x, slope: where(greater(x, 0.0), g, g * slope),
    lower=Scalar(lambda b, x, slope: b.where(x > 0, x, x * slope)),
    samples=[Sample(spread(2, 3), slope=0.01), Sample(spread(2, 3), slope=-0.5)],
    doc="x above 0, slope·x below; at 0 the slope is `slope`.",
)
hardtanh = elementwise(
    "hardtanh",
    lambda x, low, high: np.clip(x, low, high),
    lambda g, _y, x, low, high: where(logical_or(less_equal(x, low), greater_equal(x, high)), 0.0, g),
    lower=inexact(clipped),
    samples=[Sample(spread(2, 3), low=-0.5, high=0.6), Sample(spread(2, 3), low=0.0, high=6.0)],
    doc="x held between the numbers low and high; at the bounds the slope is 0.",
)
hardsigmoid = elementwise(
    "hardsigmoid",
    lambda x: np.clip(x + 3.0, 0.0, 6.0) / 6.0,
    lambda g, _y, x: where(logical_and(greater(x, -3.0), less(x, 3.0)), g * (1 / 6), 0.0),
    lower=Scalar(lambda b, x: clipped(b, x + 3, 0, 6) / 6),
    samples=[Sample(lambda rng: np.array([[-4.0, -1.0, 0.5], [2.0, 3.5, -2.0]]))],
    doc="(x + 3)/6 held between 0 and 1; slope 0 at x = ±3.",
)
hardswish = elementwise(
    "hardswish",
    lambda x: x * (np.clip(x + 3.0, 0.0, 6.0) / 6.0),
    lambda g, _y, x: where(
        less_equal(x, -3.0), 0.0, where(less(x, 3.0), g * (where(less(x, 3.0), x, 0.0) * (1 / 3) + 0.5), g)
    ),
    kernel=fused.hardswish,
    lower=Scalar(lambda b, x: x * (clipped(b, x + 3, 0, 6) / 6)),
    samples=[Sample(lambda rng: np.array([[-4.0, -1.0, 0.5], [2.0, 3.5, -2.0]]))],
    doc="x·hardsigmoid(x); slope 0 at x = -3 and 1 at x = 3.",
)
threshold = elementwise(
    "threshold",
    lambda x, threshold, value: np.where(x <= threshold, x.dtype.type(value), x),
    lambda g, _y, x, threshold, value: where(less_equal(x, threshold), 0.0, g),
    lower=inexact(lambda b, x, threshold, value: b.where(x <= threshold, value, x)),
    samples=[Sample(spread(2, 3), threshold=0.2, value=-1.0)],
    doc="x above the threshold, the number `value` at it and below.",
)
hardshrink = elementwise(
    "hardshrink",
    lambda x, lambd: np.where((x >= -lambd) & (x <= lambd), x.dtype.type(0), x),
    lambda g, _y, x, lambd: where(logical_and(greater_equal(x, -lambd), less_equal(x, lambd)), 0.0, g),
    lower=inexact(lambda b, x, lambd: b.where((x >= -lambd) & (x <= lambd), 0, x)),
    samples=[Sample(spread(2, 3), lambd=0.4)],
    doc="x outside [-lambd, lambd], 0 within.",
)
softshrink = elementwise(
    "softshrink",
    lambda x, lambd: x - np.clip(x, -lambd, lambd),
    lambda g, _y, x, lambd: where(logical_and(greater_equal(x, -lambd), less_equal(x, lambd)), 0.0, g),
    lower=inexact(lambda b, x, lambd: x - clipped(b, x, -lambd, lambd)),
    samples=[Sample(spread(2, 3), lambd=0.4)],
    doc="x moved towards 0 by lambd, 0 within [-lambd, lambd].",
)

# Smooth on both sides of 0


def _below(x: Any) -> Any:
    """x where negative, 0 elsewhere: keeps exp from overflowing on the branch that is not taken."""
    return where(less(x, 0.0), x, 0.0)


def _elu(x: Any, alpha: float, scale: float, rate: float) -> Any:
    return np.where(x > 0, scale * x, (scale * alpha) * np.expm1(rate * np.minimum(x, 0)))


elu = elementwise(
    "elu",
    _elu,
    lambda g, _y, x, alpha, scale, rate: where(
        less_equal(x, 0.0), g * ((scale * alpha * rate) * exp(_below(x) * rate)), g * scale
    ),
    lower=Scalar(scalars.elu),
    samples=[
        Sample(spread(2, 3), alpha=1.0, scale=1.0, rate=1.0),
        Sample(spread(2, 3), alpha=1.7, scale=1.1, rate=0.5),
    ],
    doc="scale·x above 0, scale·alpha·(exp(rate·x) - 1) below, which gives the slope at 0.",
)


def _softplus(x: Any, beta: float, threshold: float) -> Any:
    z = x * beta
    y = (np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))) / beta
    return np.where(z > threshold, x, y)


softplus = elementwise(
    "softplus",
    _softplus,
    lambda g, _y, x, beta, threshold: where(greater(x * beta, threshold), g, g * sigmoid(x * beta)),
    lower=Scalar(scalars.softplus),
    samples=[
        Sample(normal(2, 3), beta=1.0, threshold=20.0),
        Sample(normal(2, 3), beta=2.0, threshold=0.5),
        Sample(normal(2, 3), beta=-1.0, threshold=20.0),
    ],
    doc="log(1 + exp(beta·x))/beta, and x itself where beta·x exceeds the threshold, with slope 1 there.",
)
logsigmoid = elementwise(
    "log_sigmoid",
    lambda x: np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x))),
    lambda g, _y, x: g * sigmoid(-x),
    lower=Scalar(lambda b, x: b.minimum(x, 0) - b.call("log1p", b.call("exp", -b.abs(x)))),
    samples=[Sample(normal(2, 3))],
    doc="log(1/(1 + exp(-x))), without overflow or cancellation.",
)
silu = elementwise(
    "silu",
    lambda x: x * sigmoid.evaluate(x),
    lambda g, _y, x: g * _silu_slope(x, sigmoid(x)),
    lower=Scalar(lambda b, x: x * b.call("sigmoid", x)),
    samples=[Sample(normal(2, 3))],
    doc="x·sigmoid(x).",
)


def _silu_slope(x: Any, s: Any) -> Any:
    return s * (x * (1.0 - s) + 1.0)


def _mish_partial(g: Any, _y: Any, x: Any) -> Any:
    t = tanh(softplus(x, beta=1.0, threshold=20.0))
    return g * (t + x * sigmoid(x) * (1.0 - t * t))


mish = elementwise(
    "mish",
    lambda x: x * np.tanh(_softplus(x, 1.0, 20.0)),
    _mish_partial,
    lower=Scalar(lambda b, x: x * b.call("tanh", scalars.softplus(b, x, 1.0, 20.0))),
    samples=[Sample(normal(2, 3))],
    doc="x·tanh(softplus(x)).",
)


def _gelu_partial(g: Any, _y: Any, x: Any) -> Any:
    return g * (0.5 * erfc(x * -math.sqrt(0.5)) + x * (exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi))))


gelu = elementwise(
    "gelu",
    lambda x: x * (0.5 * erfc.evaluate(x * -math.sqrt(0.5))),
    _gelu_partial,
    lower=Scalar(lambda b, x: x * scalars.normal_distribution(b, x)),
    samples=[Sample(normal(2, 3))],
    doc="x·Φ(x), Φ being the standard normal distribution function.",
)
_GELU_RATE = 2 * math.sqrt(2 / math.pi)
_GELU_CUBIC = 0.044715


def _gelu_tanh_partial(g: Any, _y: Any, x: Any) -> Any:
    square = x * x
    s = sigmoid(x * ((square * _GELU_CUBIC + 1.0) * _GELU_RATE))
    slope = (square * (3 * _GELU_CUBIC) + 1.0) * _GELU_RATE
    return g * (s * (x * (1.0 - s) * slope + 1.0))


gelu_tanh = elementwise(
    "gelu_tanh",
    lambda x: x * sigmoid.evaluate(x * ((x * x * _GELU_CUBIC + 1.0) * _GELU_RATE)),
    _gelu_tanh_partial,
    lower=Scalar(lambda b, x: x * b.call("sigmoid", x * ((x * x * _GELU_CUBIC + 1) * _GELU_RATE))),
    samples=[Sample(normal(2, 3))],
    title="GeluBackward0",
    doc="x/2·(1 + tanh(√(2/π)(x + 0.044715x³))), which is near x·Φ(x); evaluated as x·sigmoid of twice the argument.",
)
softsign = elementwise(
    "softsign",
    lambda x: x / (np.abs(x) + 1.0),
    lambda g, _y, x: g / ((abs_(x) + 1.0) * (abs_(x) + 1.0)),
    lower=Scalar(lambda b, x: x / (b.abs(x) + 1)),
    samples=[Sample(normal(2, 3))],
    doc="x/(1 + |x|).",
)
tanhshrink = elementwise(
    "tanhshrink",
    lambda x: x - np.tanh(x),
    lambda g, _y, x: g * (tanh(x) * tanh(x)),
    lower=Scalar(lambda b, x: x - b.call("tanh", x)),
    samples=[Sample(normal(2, 3))],
    doc="x - tanh(x).",
)
