"""Ops that steer differentiation itself."""

from __future__ import annotations

from pullback.ops.samples import Sample, normal
from pullback.ops.table import linear, nondifferentiable

stop_gradient = nondifferentiable(
    "stop_gradient",
    lambda x: x,
    shape=lambda x: x,
    batch=lambda size, args, batched: stop_gradient(*args),
    samples=[Sample(normal(2, 3))],
    doc="x as a constant: no mode differentiates through it.",
)
identity = linear(
    "identity",
    lambda x: x.copy(),
    lambda g, _y, _x: g,
    shape=lambda x: x,
    batch=lambda size, args, batched: identity(*args),
    samples=[Sample(normal(2, 3))],
    title="CloneBackward0",
    doc="A copy of x; the gradient passes on.",
)

