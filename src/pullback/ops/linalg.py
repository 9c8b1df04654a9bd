"""Products. Bilinear: each operand has a transpose that reads the other."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.ops.samples import Sample, normal
from pullback.ops.shape import broadcast_to, reshape, sum_to, transpose
from pullback.ops.table import linear
from pullback.values.shape import Shape, Spec, broadcast_shapes


def _swap(x: Any) -> Any:
    """The matrix transpose of the last two axes."""
    n = len(x.shape)
    return transpose(x, axes=(*range(n - 2), n - 1, n - 2))


def _matmul_shape(a: Spec, b: Spec) -> Spec:
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(f"matmul: the last axis of {a} and the second last of {b} differ")
    batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return Spec((*batch, a.shape[-2], b.shape[-1]), np.result_type(a.dtype, b.dtype))


def _matmul_batch(size: int, args: tuple[Any, ...], batched: tuple[bool, ...]) -> Any:
    a, b = args
    rank = max(len(x.shape) - has for x, has in zip(args, batched, strict=True))

    def widen(x: Any, has: bool) -> Any:
        missing = rank - (len(x.shape) - has)
        return reshape(x, shape=(size, *(1,) * missing, *x.shape[1:])) if has and missing else x

    return matmul(widen(a, batched[0]), widen(b, batched[1]))


matmul = linear(
    "matmul",
    np.matmul,
    lambda g, _y, a, b: sum_to(matmul(g, _swap(b)), a.shape),
    lambda g, _y, a, b: sum_to(matmul(_swap(a), g), b.shape),
    shape=_matmul_shape,
    batch=_matmul_batch,
    samples=[
        Sample(normal(2, 3), normal(3, 4)),
        Sample(normal(5, 2, 3), normal(5, 3, 4)),
        Sample(normal(2, 3), normal(5, 3, 4)),
        Sample(normal(5, 1, 2, 3), normal(4, 3, 2)),
    ],
    title="MmBackward0",
    doc="The matrix product of the last two axes; leading axes broadcast. Operands have at least two axes.",
)

__all__ = ["Shape", "broadcast_to", "matmul"]
