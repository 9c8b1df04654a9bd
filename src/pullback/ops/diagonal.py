"""Diagonals and triangles of matrices. `diagonal` is a view; `diag_embed` is its transpose."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.ops import movement
from pullback.ops.samples import Sample, normal
from pullback.ops.shape import with_batch
from pullback.ops.table import Op, linear, same_shape
from pullback.values.shape import Shape, Spec

__all__ = ["diag_embed", "diagonal", "diagonal_update", "tril", "triu"]


def _diagonal(x: Any, offset: int, axis1: int, axis2: int) -> Any:
    y = x.diagonal(offset, axis1, axis2)
    if x.flags.writeable:
        y.flags.writeable = True  # NumPy hands the view out read-only
    return y


def _diagonal_shape(x: Spec, offset: int, axis1: int, axis2: int) -> Spec:
    rows, columns = x.shape[axis1], x.shape[axis2]
    length = max(0, min(rows + min(offset, 0), columns - max(offset, 0)))
    return Spec((*(n for i, n in enumerate(x.shape) if i not in (axis1, axis2)), length), x.dtype)


def _moved(op: Op, size: int, args: Any, offset: int, axis1: int, axis2: int, **params: Any) -> Any:
    return op(*args, offset=offset, axis1=axis1 + 1, axis2=axis2 + 1, **params)


diagonal: Op = linear(
    "diagonal",
    _diagonal,
    lambda g, _y, x, offset, axis1, axis2: diag_embed(g, shape=x.shape, offset=offset, axis1=axis1, axis2=axis2),
    shape=_diagonal_shape,
    batch=lambda size, args, batched, **params: _moved(diagonal, size, args, **params),
    lower=movement.diagonal,
    samples=[
        Sample(normal(3, 3), offset=0, axis1=0, axis2=1),
        Sample(normal(3, 4), offset=1, axis1=1, axis2=0),
        Sample(normal(3, 2, 4), offset=-1, axis1=0, axis2=2),
    ],
    writeback=lambda parent, new, **params: (diagonal_update, (parent, new), params),
    doc="The elements x[i, i + offset] of the plane of `axis1` and `axis2`, as the last axis; a view.",
)


def _diag_embed(v: Any, shape: Shape, offset: int, axis1: int, axis2: int) -> Any:
    x = np.zeros(shape, v.dtype)
    _diagonal(x, offset, axis1, axis2)[...] = v
    return x


diag_embed: Op = linear(
    "diag_embed",
    _diag_embed,
    lambda g, _y, _v, shape, offset, axis1, axis2: diagonal(g, offset=offset, axis1=axis1, axis2=axis2),
    shape=lambda v, shape, offset, axis1, axis2: Spec(shape, v.dtype),
    batch=lambda size, args, batched, shape, **params: _moved(diag_embed, size, args, shape=(size, *shape), **params),
    lower=movement.diag_embed,
    samples=[
        Sample(normal(3), shape=(3, 3), offset=0, axis1=0, axis2=1),
        Sample(normal(2, 3), shape=(4, 2, 3), offset=-1, axis1=0, axis2=2),
    ],
    doc="Zeros of `shape` with the operand's last axis on the diagonal that `diagonal` would read.",
)


def _diagonal_update(x: Any, v: Any, offset: int, axis1: int, axis2: int) -> Any:
    y = x.copy()
    _diagonal(y, offset, axis1, axis2)[...] = v
    return y


diagonal_update: Op = linear(
    "diagonal_update",
    _diagonal_update,
    lambda g, _y, _x, v, **params: diagonal_update(g, np.zeros(v.shape, v.dtype), **params),
    lambda g, _y, _x, _v, **params: diagonal(g, **params),
    shape=lambda x, v, offset, axis1, axis2: Spec(x.shape, x.dtype),
    batch=lambda size, args, batched, **params: _moved(
        diagonal_update, size, with_batch(size, args, batched), **params
    ),
    joint=True,
    lower=movement.diagonal_update,
    samples=[
        Sample(normal(3, 3), normal(3), offset=0, axis1=0, axis2=1),
        Sample(normal(3, 2, 4), normal(2, 2), offset=-1, axis1=0, axis2=2),
    ],
    title="CopySlices",
    doc="x with v, of the shape of its diagonal, on the diagonal.",
)


def _triangle(name: str, function: Any, lower: bool, doc: str) -> Op:
    op = linear(
        name,
        lambda x, diagonal: function(x, diagonal),
        lambda g, _y, _x, diagonal: op(g, diagonal=diagonal),
        shape=same_shape,
        batch=lambda size, args, batched, diagonal: op(*args, diagonal=diagonal),
        lower=movement.triangle(lower),
        samples=[Sample(normal(3, 4), diagonal=0), Sample(normal(2, 3, 3), diagonal=-1)],
        doc=doc,
    )
    return op


tril = _triangle("tril", np.tril, True, "The last two axes with zeros above the `diagonal`-th diagonal.")
triu = _triangle("triu", np.triu, False, "The last two axes with zeros below the `diagonal`-th diagonal.")
