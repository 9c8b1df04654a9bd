"""Products of vectors and matrices: linear in each operand, whose transpose reads the other."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from pullback.ops.lowering import Product
from pullback.ops.samples import Sample, complex_normal, normal
from pullback.ops.shape import reshape, sum_, sum_to, transpose
from pullback.ops.table import Op, linear
from pullback.values.shape import Shape, Spec, broadcast_shapes

__all__ = ["dot", "matmul", "matrix_transpose", "mm", "mv", "outer"]


def matrix_transpose(x: Any) -> Any:
    """The last two axes exchanged."""
    n = len(x.shape)
    return transpose(x, axes=(*range(n - 2), n - 1, n - 2))


_swap = matrix_transpose


def outer(a: Any, b: Any) -> Any:
    """The matrix a[i] b[j] of two vectors."""
    if type(a) is type(b) is np.ndarray:
        return a.reshape(-1, 1).dot(b.reshape(1, -1))  # BLAS writes it faster than NumPy multiplies
    return reshape(a, shape=(*a.shape, 1)) * reshape(b, shape=(1, *b.shape))


def _column(x: Any) -> Any:
    return reshape(x, shape=(*x.shape, 1))


def _agree(name: str, a: Spec, b: Spec, ranks: tuple[int, int] | None = None) -> None:
    if ranks is not None and (len(a.shape), len(b.shape)) != ranks:
        raise ValueError(f"{name}: operands must have {ranks[0]} and {ranks[1]} axes, these are {a} and {b}")
    if a.shape[-1] != b.shape[-2 if len(b.shape) > 1 else -1]:
        raise ValueError(f"{name}: the lengths to sum over differ in {a} and {b}")


# A matrix times a matrix


def _matmul_shape(a: Spec, b: Spec) -> Spec:
    _agree("matmul", a, b)
    batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return Spec((*batch, a.shape[-2], b.shape[-1]), np.result_type(a.dtype, b.dtype))


def _matmul_batch(size: int, args: tuple[Any, ...], batched: tuple[bool, ...]) -> Any:
    a, b = args
    rank = max(len(x.shape) - has for x, has in zip(args, batched, strict=True))

    def widen(x: Any, has: bool) -> Any:
        missing = rank - (len(x.shape) - has)
        return reshape(x, shape=(size, *(1,) * missing, *x.shape[1:])) if has and missing else x

    return matmul(widen(a, batched[0]), widen(b, batched[1]))


def _matmul_labels(a: Spec, b: Spec) -> tuple[Shape, Shape, Shape]:
    """An axis of length 1 that is repeated has a label of its own, a sum of one term."""
    rank = max(len(a.shape), len(b.shape)) - 2
    lengths = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    own = itertools.count(rank + 3)

    def lead(x: Spec) -> Shape:
        first = rank - (len(x.shape) - 2)
        return tuple(next(own) if n != lengths[label] else label for label, n in enumerate(x.shape[:-2], first))

    rows, inner, columns = rank, rank + 1, rank + 2
    return (*lead(a), rows, inner), (*lead(b), inner, columns), (*range(rank), rows, columns)


matmul: Op = linear(
    "matmul",
    np.matmul,
    lambda g, _y, a, b: sum_to(matmul(g, _swap(b)), a.shape),
    lambda g, _y, a, b: sum_to(matmul(_swap(a), g), b.shape),
    shape=_matmul_shape,
    batch=_matmul_batch,
    lower=Product(_matmul_labels),
    samples=[
        Sample(normal(2, 3), normal(3, 4)),
        Sample(normal(5, 2, 3), normal(5, 3, 4)),
        Sample(normal(2, 3), normal(5, 3, 4)),
        Sample(normal(5, 1, 2, 3), normal(4, 3, 2)),
        Sample(complex_normal(2, 3), complex_normal(3, 2)),
    ],
    title="BmmBackward0",
    doc="The matrix product of the last two axes; leading axes broadcast. Operands have at least two axes.",
)


def _mm_shape(a: Spec, b: Spec) -> Spec:
    _agree("mm", a, b, (2, 2))
    return Spec((a.shape[0], b.shape[1]), np.result_type(a.dtype, b.dtype))


mm: Op = linear(
    "mm",
    np.dot,  # of two matrices the same as np.matmul, and quicker to start
    lambda g, _y, _a, b: mm(g, transpose(b, axes=(1, 0))),
    lambda g, _y, a, _b: mm(transpose(a, axes=(1, 0)), g),
    shape=_mm_shape,
    batch=_matmul_batch,
    lower=Product(lambda _a, _b: ((0, 1), (1, 2), (0, 2))),
    samples=[Sample(normal(2, 3), normal(3, 4)), Sample(complex_normal(2, 3), complex_normal(3, 2))],
    doc="The product of two matrices.",
)


# A matrix times a vector


def _mv_shape(a: Spec, b: Spec) -> Spec:
    _agree("mv", a, b, (2, 1))
    return Spec((a.shape[0],), np.result_type(a.dtype, b.dtype))


def _mv_batch(size: int, args: tuple[Any, ...], batched: tuple[bool, ...]) -> Any:
    a, b = args
    if not batched[1]:
        rows = mv(reshape(a, shape=(size * a.shape[1], a.shape[2])), b)
        return reshape(rows, shape=(size, a.shape[1]))
    if not batched[0]:
        return mm(b, _swap(a))
    return reshape(matmul(a, _column(b)), shape=(size, a.shape[1]))


mv: Op = linear(
    "mv",
    np.dot,
    lambda g, _y, _a, b: outer(g, b),
    lambda g, _y, a, _b: mv(transpose(a, axes=(1, 0)), g),
    shape=_mv_shape,
    batch=_mv_batch,
    lower=Product(lambda _a, _b: ((0, 1), (1,), (0,))),
    samples=[Sample(normal(2, 3), normal(3)), Sample(complex_normal(2, 3), complex_normal(3))],
    doc="The product of a matrix and a vector.",
)


# Two vectors


def _dot_shape(a: Spec, b: Spec) -> Spec:
    _agree("dot", a, b, (1, 1))
    return Spec((), np.result_type(a.dtype, b.dtype))


def _dot_batch(size: int, args: tuple[Any, ...], batched: tuple[bool, ...]) -> Any:
    a, b = args
    if batched[0] and batched[1]:
        return sum_(a * b, axis=(1,), keepdims=False)
    return mv(a, b) if batched[0] else mv(b, a)


dot = linear(
    "dot",
    np.dot,
    lambda g, _y, _a, b: g * b,
    lambda g, _y, a, _b: g * a,
    shape=_dot_shape,
    batch=_dot_batch,
    lower=Product(lambda _a, _b: ((0,), (0,), ())),
    samples=[Sample(normal(3), normal(3)), Sample(complex_normal(3), complex_normal(3))],
    doc="The sum of the products of two vectors' elements, without conjugation.",
)
