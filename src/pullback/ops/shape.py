"""Ops that move elements, each next to its transpose: broadcast and sum, concatenate and split."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pullback.ops import movement
from pullback.ops.lowering import Fold
from pullback.ops.samples import Sample, normal
from pullback.ops.table import Op, general, linear
from pullback.values.shape import Shape, Spec

# Reshape, permute, broadcast


def _writeback_reshape(parent: Any, new: Any, **params: Any) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    return reshape, (new,), {"shape": parent.shape}


reshape: Op = linear(
    "reshape",
    lambda x, shape: x.reshape(shape),
    lambda g, _y, x, shape: reshape(g, shape=x.shape),
    shape=lambda x, shape: Spec(shape, x.dtype),
    batch=lambda size, args, batched, shape: reshape(args[0], shape=(size, *shape)),
    lower=movement.reshape,
    samples=[Sample(normal(2, 3), shape=(3, 2)), Sample(normal(2, 3), shape=(6,)), Sample(normal(1, 1), shape=())],
    title="ViewBackward0",
    writeback=_writeback_reshape,
    doc="The same elements in the same order in another shape; `shape` is complete (no -1).",
)


def inverse(axes: Shape) -> Shape:
    """The permutation that undoes `axes`."""
    found = [0] * len(axes)
    for i, axis in enumerate(axes):
        found[axis] = i
    return tuple(found)


transpose: Op = linear(
    "transpose",
    lambda x, axes: x.transpose(axes),
    lambda g, _y, _x, axes: transpose(g, axes=inverse(axes)),
    shape=lambda x, axes: Spec(tuple(x.shape[a] for a in axes), x.dtype),
    batch=lambda size, args, batched, axes: transpose(args[0], axes=(0, *(a + 1 for a in axes))),
    lower=movement.transpose,
    samples=[Sample(normal(2, 3), axes=(1, 0)), Sample(normal(2, 3, 4), axes=(2, 0, 1))],
    title="PermuteBackward0",
    writeback=lambda parent, new, axes: (transpose, (new,), {"axes": inverse(axes)}),
    doc="Axes in another order: axis i of the result is axis `axes[i]` of x.",
)


def _broadcast_to(x: Any, shape: Shape) -> Any:
    if isinstance(x, np.generic) and math.prod(shape) <= 4096:
        y = np.empty(shape, x.dtype)
        y.fill(x)
        return y
    return np.broadcast_to(x, shape)


def _broadcast_batch(size: int, args: tuple[Any, ...], batched: tuple[bool, ...], shape: Shape) -> Any:
    (x,) = args
    ones = (1,) * (len(shape) - (len(x.shape) - 1))
    return broadcast_to(reshape(x, shape=(size, *ones, *x.shape[1:])), shape=(size, *shape))


broadcast_to = linear(
    "broadcast_to",
    _broadcast_to,
    lambda g, _y, x, shape: sum_to(g, x.shape),
    shape=lambda x, shape: Spec(shape, x.dtype),
    batch=_broadcast_batch,
    lower=movement.broadcast,
    samples=[
        Sample(normal(3), shape=(2, 3)),
        Sample(normal(2, 1), shape=(2, 3)),
        Sample(normal(), shape=(2, 3)),
    ],
    title="ExpandBackward0",
    doc="x repeated along new leading axes and axes of length 1, as NumPy broadcasts.",
)


def _sum(x: Any, axis: Shape, keepdims: Any) -> Any:
    return np.add.reduce(x, axis=axis if len(axis) < x.ndim else None, keepdims=keepdims, dtype=x.dtype)


def reduced(shape: Shape, axis: Shape, keepdims: bool) -> Shape:
    """The shape left after reducing `axis`."""
    return tuple(1 if i in axis else n for i, n in enumerate(shape) if keepdims or i not in axis)


def spread_over(g: Any, shape: Shape, axis: Shape, keepdims: bool) -> Any:
    """The transpose of a reduction's shape change: g repeated along the reduced axes."""
    if g.shape == shape:
        return g
    if not keepdims and g.shape:
        g = reshape(g, shape=reduced(shape, axis, True))
    return _broadcast_to(g, shape) if isinstance(g, np.generic) else broadcast_to(g, shape=shape)


def reduction_batch(op: Callable[[], Any]) -> Callable[..., Any]:
    """The batching rule of a reduction over `axis`: the axes move one to the right."""

    def rule(size: int, args: tuple[Any, ...], batched: tuple[bool, ...], *, axis: Shape, **params: Any) -> Any:
        return op()(*args, axis=tuple(a + 1 for a in axis), **params)

    return rule


sum_: Op = linear(
    "sum",
    _sum,
    lambda g, _y, x, axis, keepdims: spread_over(g, x.shape, axis, keepdims),
    shape=lambda x, axis, keepdims: Spec(reduced(x.shape, axis, keepdims), x.dtype),
    batch=reduction_batch(lambda: sum_),
    lower=Fold("add"),
    samples=[
        Sample(normal(2, 3), axis=(0, 1), keepdims=False),
        Sample(normal(2, 3), axis=(1,), keepdims=False),
        Sample(normal(2, 3), axis=(0,), keepdims=True),
        Sample(normal(2, 3), axis=(), keepdims=False),
        Sample(normal(2, 3, 4), axis=(0, 2), keepdims=False),
    ],
    doc="The sum over `axis` (a sorted tuple).",
)


@functools.lru_cache(maxsize=1024)
def _broadcast_axes(shape: Shape, wide: Shape) -> Shape:
    """The axes of `wide` along which `shape` was repeated."""
    lead = len(wide) - len(shape)
    return tuple(i for i in range(len(wide)) if i < lead or (shape[i - lead] == 1 and wide[i] != 1))


def sum_to(g: Any, shape: Shape) -> Any:
    """Sum `g` down to `shape`, from which it was broadcast."""
    axis = _broadcast_axes(shape, g.shape)
    if not axis:
        return g
    if type(g) is np.ndarray:
        return np.add.reduce(g, axis=axis).reshape(shape)
    g = sum_(g, axis=axis, keepdims=False)
    return g if g.shape == shape else reshape(g, shape=shape)


# Flip and roll


flip: Op = linear(
    "flip",
    lambda x, axis: np.flip(x, axis).copy(),
    lambda g, _y, _x, axis: flip(g, axis=axis),
    shape=lambda x, axis: x,
    batch=lambda size, args, batched, axis: flip(*args, axis=tuple(a + 1 for a in axis)),
    lower=movement.flip,
    samples=[Sample(normal(2, 3), axis=(1,)), Sample(normal(2, 3), axis=(0, 1))],
    doc="x with the order along `axis` reversed.",
)
roll: Op = linear(
    "roll",
    lambda x, shift, axis: np.roll(x, shift, axis),
    lambda g, _y, _x, shift, axis: roll(g, shift=tuple(-s for s in shift), axis=axis),
    shape=lambda x, shift, axis: x,
    batch=lambda size, args, batched, shift, axis: roll(*args, shift=shift, axis=tuple(a + 1 for a in axis)),
    lower=movement.roll,
    samples=[Sample(normal(2, 3), shift=(1,), axis=(1,)), Sample(normal(2, 3), shift=(1, -2), axis=(0, 1))],
    doc="x rotated by `shift` along `axis`.",
)


# Padding

Widths = tuple[tuple[int, int], ...]  # before and after, for each axis; a negative one cuts off


def _pad_shape(x: Spec, widths: Widths, value: float) -> Spec:
    shape = tuple(n + before + after for n, (before, after) in zip(x.shape, widths, strict=True))
    if min(shape, default=0) < 0:
        raise ValueError(f"pad: {widths} cuts more off than {x} has")
    return Spec(shape, x.dtype)


def _pad(x: Any, widths: Widths, value: float) -> Any:
    y = np.full(_pad_shape(x, widths, value).shape, value, x.dtype)
    kept = tuple(slice(max(0, -b), n - max(0, -a)) for n, (b, a) in zip(x.shape, widths, strict=True))
    place = tuple(slice(max(0, b), n - max(0, a)) for n, (b, a) in zip(y.shape, widths, strict=True))
    y[place] = x[kept]
    return y


def _padded(x: Any, widths: Widths, sign: int) -> Any:
    return pad(x, widths=tuple((sign * before, sign * after) for before, after in widths), value=0.0)


pad: Op = general(
    "pad",
    _pad,
    vjp=(lambda g, _y, _x, widths, value: _padded(g, widths, -1),),
    jvp=lambda tangents, _y, _x, widths, value: _padded(tangents[0], widths, 1),
    shape=_pad_shape,
    batch=lambda size, args, batched, widths, value: pad(*args, widths=((0, 0), *widths), value=value),
    lower=movement.pad,
    samples=[
        Sample(normal(2, 3), widths=((1, 0), (2, 1)), value=0.0),
        Sample(normal(3, 4), widths=((-1, 2), (0, -2)), value=1.5),
    ],
    title="ConstantPadNdBackward0",
    doc="x between `value`s: `widths` are how many before and after, negative to cut off, for each axis.",
)


# Concatenate and split


def _concatenate_shape(*xs: Spec, axis: int) -> Spec:
    shape = list(xs[0].shape)
    shape[axis] = sum(x.shape[axis] for x in xs)
    return Spec(tuple(shape), np.result_type(*(x.dtype for x in xs)))


def with_batch(size: int, args: Sequence[Any], batched: Sequence[bool]) -> list[Any]:
    """The operands, each with the batch axis in front."""
    return [a if has else broadcast_to(a, shape=(size, *a.shape)) for a, has in zip(args, batched, strict=True)]


concatenate: Op = linear(
    "concatenate",
    lambda *xs, axis: np.concatenate(xs, axis),
    transpose=lambda g, _y, *xs, axis: split(g, sizes=tuple(x.shape[axis] for x in xs), axis=axis),
    shape=_concatenate_shape,
    batch=lambda size, args, batched, axis: concatenate(*with_batch(size, args, batched), axis=axis + 1),
    joint=True,
    lower=movement.concatenate,
    samples=[Sample(normal(2, 3), normal(1, 3), axis=0), Sample(normal(2, 1), normal(2, 3), normal(2, 2), axis=1)],
    title="CatBackward0",
    doc="Operands joined along the existing axis `axis`.",
)


def _split(x: Any, sizes: Shape, axis: int) -> Any:
    return tuple(np.split(x, np.cumsum(sizes)[:-1], axis))


def _split_shape(x: Spec, sizes: Shape, axis: int) -> list[Spec]:
    return [Spec((*x.shape[:axis], n, *x.shape[axis + 1 :]), x.dtype) for n in sizes]


def filled(gs: Sequence[Any], specs: Sequence[Spec]) -> list[Any]:
    """The cotangents of an op's results, with zeros where none arrived."""
    return [np.zeros(s.shape, s.dtype) if g is None else g for g, s in zip(gs, specs, strict=True)]


split: Op = linear(
    "split",
    _split,
    lambda g, _y, x, sizes, axis: concatenate(*filled(g, _split_shape(x, sizes, axis)), axis=axis),
    shape=_split_shape,
    several=True,
    batch=lambda size, args, batched, sizes, axis: split(*args, sizes=sizes, axis=axis + 1),
    lower=movement.split,
    samples=[Sample(normal(2, 3), sizes=(1, 2), axis=1), Sample(normal(4, 2), sizes=(1, 2, 1), axis=0)],
    doc="x cut along `axis` into parts of the given sizes.",
)


def _unbind_shape(x: Spec, axis: int) -> list[Spec]:
    return [Spec(x.shape[:axis] + x.shape[axis + 1 :], x.dtype)] * x.shape[axis]


unbind: Op = linear(
    "unbind",
    lambda x, axis: tuple(np.moveaxis(x, axis, 0)),
    lambda g, _y, x, axis: stack(*filled(g, _unbind_shape(x, axis)), axis=axis),
    shape=_unbind_shape,
    several=True,
    batch=lambda size, args, batched, axis: unbind(*args, axis=axis + 1),
    lower=movement.unbind,
    samples=[Sample(normal(2, 3), axis=0), Sample(normal(2, 3), axis=1), Sample(normal(2), axis=0)],
    doc="The slices of x along `axis`.",
)
stack: Op = linear(
    "stack",
    lambda *xs, axis: np.stack(xs, axis),
    transpose=lambda g, _y, *_xs, axis: unbind(g, axis=axis),
    shape=lambda *xs, axis: Spec(
        (*xs[0].shape[:axis], len(xs), *xs[0].shape[axis:]), np.result_type(*(x.dtype for x in xs))
    ),
    batch=lambda size, args, batched, axis: stack(*with_batch(size, args, batched), axis=axis + 1),
    joint=True,
    lower=movement.stack,
    samples=[Sample(normal(2, 3), normal(2, 3), axis=0), Sample(normal(2), normal(2), normal(2), axis=1)],
    doc="Operands of one shape joined along a new axis `axis`.",
)
