"""Ops that steer differentiation itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.ops import movement
from pullback.ops.compare import equal
from pullback.ops.elementwise import where
from pullback.ops.lowering import Expansion
from pullback.ops.samples import Sample, nonzero, normal
from pullback.ops.shape import with_batch
from pullback.ops.table import NONE, SPEC, Op, general, linear, nondifferentiable, same_shape
from pullback.values.shape import Spec, broadcast_shapes

stop_gradient: Op = nondifferentiable(
    "stop_gradient",
    lambda x: x,
    shape=same_shape,
    batch=lambda size, args, batched: stop_gradient(*args),
    lower=movement.identity,
    samples=[Sample(normal(2, 3))],
    doc="x as a constant: no mode differentiates through it.",
)
identity: Op = linear(
    "identity",
    lambda x: x.copy(),
    lambda g, _y, _x: g,
    shape=same_shape,
    batch=lambda size, args, batched: identity(*args),
    lower=movement.identity,
    samples=[Sample(normal(2, 3))],
    title="CloneBackward0",
    doc="A copy of x; the gradient passes on.",
)


# A cotangent of 0 stays 0


def _gate_jvp(tangents: Any, _y: Any, _d: Any, g: Any) -> Any:
    """Where g is 0 and stays 0, d does not count, nor does its tangent."""
    td, tg = tangents
    if td is None:
        return None
    return gate(td, g) if tg is None else where(equal(g, 0), gate(td, tg), td)


gate: Op = general(
    "gate",
    lambda d, g: np.where(np.equal(g, 0), 0.0, d),
    vjp=(lambda u, _y, _d, g: u if isinstance(g, Spec) else gate(u, g), lambda _u, _y, _d, _g: None),
    jvp=_gate_jvp,
    shape=lambda d, g: Spec(broadcast_shapes(d.shape, g.shape), d.dtype),
    batch=lambda size, args, batched: gate(*with_batch(size, args, batched)),
    lower=Expansion(lambda d, g: where(equal(g, 0), 0.0, d)),
    samples=[
        Sample(normal(2, 3), nonzero(2, 3)),
        Sample(np.array([1.0, np.nan, np.inf, np.nan]), np.array([1.0, 0.0, 0.0, 2.0])),
    ],
    masks=True,
    doc="d, a cotangent made from the cotangent g (of the same shape), but 0 where g is 0, even if d is NaN there. The "
    "derivative is that of d = g · slope: d's own while g moves, and 0 where g is constantly 0.",
)
gate._needs[True, True] = (NONE, NONE, SPEC)  # g moves: its numbers are not kept, which tells the rule so
