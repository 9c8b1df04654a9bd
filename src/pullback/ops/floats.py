"""How numbers are made up of bits."""

from __future__ import annotations

import numpy as np

from pullback.ops.samples import Sample, integers, nonzero
from pullback.ops.table import UNSUPPORTED, Op, elementwise, nondifferentiable
from pullback.values.shape import Spec

__all__ = ["bitwise_count", "spacing"]

spacing = elementwise(
    "spacing",
    np.spacing,
    lambda g, _y, _x: g * 0.0,
    lower=UNSUPPORTED("NumPy takes the bits of a number apart"),
    samples=[Sample(nonzero(2, 3))],
    doc="How far the next larger float is; slope 0.",
)
bitwise_count: Op = nondifferentiable(
    "bitwise_count",
    np.bitwise_count,
    shape=lambda x: Spec(x.shape, np.dtype(np.uint8)),
    batch=lambda size, args, batched: bitwise_count(*args),
    lower=UNSUPPORTED("NumPy takes the bits of a number apart"),
    samples=[Sample(integers(20, 2, 3))],
    doc="How many bits of |x| are 1.",
)
