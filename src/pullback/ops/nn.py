"""Fused operations of neural networks: affine maps, softmax, normalisation, embedding lookup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pullback.ops.compare import not_equal
from pullback.ops.control import stop_gradient
from pullback.ops.elementwise import exp, log, rsqrt, sqrt, where
from pullback.ops.index import gather, scatter_add
from pullback.ops.linalg import matmul
from pullback.ops.lowering import Element, Expansion, Product
from pullback.ops.reduce import amax, mean
from pullback.ops.samples import Sample, integers, normal
from pullback.ops.shape import broadcast_to, reshape, sum_, sum_to, transpose
from pullback.ops.table import Op, general, same_shape
from pullback.ops.table import linear as linear_op
from pullback.values.shape import Shape, Spec

# Affine maps of the last axis, with the weight as PyTorch keeps it: (features out, features in).


def _product(x: Any, w: Any) -> Any:
    """x @ w.T as one matrix product, whatever the leading axes of x."""
    if x.ndim <= 2:
        return x.dot(w.T)
    return x.reshape(-1, x.shape[-1]).dot(w.T).reshape(*x.shape[:-1], w.shape[0])


def _rows(x: Any) -> Any:
    """x as a matrix: its leading axes made one."""
    shape = x.shape
    if len(shape) == 2:
        return x
    rows = 1
    for n in shape[:-1]:
        rows *= n
    return reshape(x, shape=(rows, shape[-1]))


def _matmul(a: Any, b: Any) -> Any:
    """The product of two matrices; of arrays without the detour through the op."""
    return a.dot(b) if type(a) is type(b) is np.ndarray else matmul(a, b)


def _back_to_input(g: Any, w: Any) -> Any:
    y = _matmul(_rows(g), w)
    return y if len(g.shape) == 2 else reshape(y, shape=(*g.shape[:-1], w.shape[1]))


def _back_to_weight(g: Any, x: Any) -> Any:
    g = _rows(g)
    return _matmul(g.T if type(g) is np.ndarray else transpose(g, axes=(1, 0)), _rows(x))


def _over_rows(g: Any) -> Any:
    if type(g) is np.ndarray and g.ndim == 2:
        return np.add.reduce(g, 0)
    return sum_(g, axis=tuple(range(len(g.shape) - 1)), keepdims=False)


def _project_shape(x: Spec, w: Spec, *b: Spec) -> Spec:
    if len(w.shape) != 2 or not x.shape or x.shape[-1] != w.shape[1] or any(v.shape != w.shape[:1] for v in b):
        raise ValueError(f"linear: {x} does not fit a weight of {w}" + "".join(f" and a bias of {v}" for v in b))
    return Spec((*x.shape[:-1], w.shape[0]), np.result_type(x.dtype, w.dtype, *(v.dtype for v in b)))


def _project_batch(size: int, args: tuple[Any, ...], batched: tuple[bool, ...]) -> Any:
    x, w, *b = args
    rank = len(x.shape) - batched[0]
    if batched[1]:
        wt = transpose(w, axes=(0, 2, 1))
        x = _rows_of_each(x, batched[0])
        y = matmul(x, wt)
        lead = args[0].shape[batched[0] : batched[0] + rank - 1]
        y = reshape(y, shape=(size, *lead, w.shape[1]))
    elif batched[0]:
        y = project(x, w)
    else:
        y = broadcast_to(project(x, w), shape=(size, *x.shape[:-1], w.shape[0]))
    if not b:
        return y
    bias = b[0]
    if batched[2]:
        bias = reshape(bias, shape=(size, *(1,) * (rank - 1), bias.shape[-1]))
    return y + bias


def _rows_of_each(x: Any, batched: bool) -> Any:
    if not batched:
        return _rows(x)
    rows = 1
    for n in x.shape[1:-1]:
        rows *= n
    return reshape(x, shape=(x.shape[0], rows, x.shape[-1]))


def _project_labels(x: Spec, w: Spec) -> tuple[Shape, Shape, Shape]:
    *lead, last = range(len(x.shape))
    return (*lead, last), (last + 1, last), (*lead, last + 1)


project = linear_op(
    "project",
    _product,
    lambda g, _y, _x, w: _back_to_input(g, w),
    lambda g, _y, x, _w: _back_to_weight(g, x),
    shape=_project_shape,
    batch=_project_batch,
    lower=Product(_project_labels),
    samples=[
        Sample(normal(4, 3), normal(2, 3)),
        Sample(normal(3), normal(2, 3)),
        Sample(normal(2, 4, 3), normal(2, 3)),
    ],
    title="MmBackward0",
    doc="x @ w.T over the last axis of x (*, in) with w (out, in): a linear layer without bias.",
)


def _affine(x: Any, w: Any, b: Any) -> Any:
    y = _product(x, w)
    y += b
    return y


def _affine_jvp(tangents: Sequence[Any], y: Any, x: Any, w: Any, b: Any) -> Any:
    tx, tw, tb = tangents
    total = None if tx is None else project(tx, w)
    if tw is not None:
        term = project(x, tw)
        total = term if total is None else total + term
    if tb is not None:
        total = broadcast_to(tb, shape=y.shape) if total is None else total + tb
    return total


affine = general(
    "affine",
    _affine,
    vjp=(
        lambda g, _y, _x, w, _b: _back_to_input(g, w),
        lambda g, _y, x, _w, _b: _back_to_weight(g, x),
        lambda g, _y, _x, _w, _b: _over_rows(g),
    ),
    jvp=_affine_jvp,
    shape=_project_shape,
    batch=_project_batch,
    lower=Expansion(lambda x, w, b: project(x, w) + b),
    samples=[
        Sample(normal(4, 3), normal(2, 3), normal(2)),
        Sample(normal(3), normal(2, 3), normal(2)),
        Sample(normal(2, 4, 3), normal(2, 3), normal(2)),
    ],
    title="AddmmBackward0",
    doc="x @ w.T + b over the last axis of x (*, in) with w (out, in) and b (out): a linear layer.",
)


# Softmax along one axis


def _softmax(x: Any, axis: int) -> Any:
    if not x.size:
        return x.copy()
    y = np.exp(x - np.maximum.reduce(x, axis, keepdims=True))
    y /= np.add.reduce(y, axis, keepdims=True)
    return y


def _log_softmax(x: Any, axis: int) -> Any:
    if not x.size:
        return x.copy()
    y = x - np.maximum.reduce(x, axis, keepdims=True)
    y -= np.log(np.add.reduce(np.exp(y), axis, keepdims=True))
    return y


def _shifted(x: Any, axis: int) -> Any:
    return x - amax(x, axis=(axis,), keepdims=True)


def _softmax_in_ops(x: Any, axis: int) -> Any:
    if 0 in x.shape:
        return NotImplemented
    y = exp(_shifted(x, axis))
    return y / sum_(y, axis=(axis,), keepdims=True)


def _log_softmax_in_ops(x: Any, axis: int) -> Any:
    if 0 in x.shape:
        return NotImplemented
    y = _shifted(x, axis)
    return y - log(sum_(exp(y), axis=(axis,), keepdims=True))


def _moved_batch(op: Any) -> Any:
    return lambda size, args, batched, axis: op()(*args, axis=axis + 1)


def _softmax_pull(g: Any, y: Any, axis: int) -> Any:
    return y * (g - sum_(g * y, axis=(axis,), keepdims=True))


softmax: Op = general(
    "softmax",
    _softmax,
    vjp=lambda g, y, _x, axis: (_softmax_pull(g, y, axis),),
    jvp=lambda tangents, y, x, axis: _softmax_pull(tangents[0], y, axis),
    shape=same_shape,
    batch=_moved_batch(lambda: softmax),
    lower=Expansion(_softmax_in_ops),
    samples=[Sample(normal(2, 3), axis=1), Sample(normal(2, 3), axis=0), Sample(normal(2, 3, 2), axis=1)],
    doc="exp(x) over its sum along `axis`, without overflow; 0 at x = -inf, NaN where a whole slice is.",
)
log_softmax: Op = general(
    "log_softmax",
    _log_softmax,
    vjp=lambda g, y, _x, axis: (g - exp(y) * sum_(g, axis=(axis,), keepdims=True),),
    jvp=lambda tangents, y, x, axis: tangents[0] - sum_(exp(y) * tangents[0], axis=(axis,), keepdims=True),
    shape=same_shape,
    batch=_moved_batch(lambda: log_softmax),
    lower=Expansion(_log_softmax_in_ops),
    samples=[Sample(normal(2, 3), axis=1), Sample(normal(2, 3), axis=0), Sample(normal(2, 3, 2), axis=1)],
    doc="log(softmax(x)) along `axis`, without overflow or cancellation; -inf at x = -inf.",
)


# Normalisation


def _count(shape: Shape, axis: Shape) -> int:
    count = 1
    for a in axis:
        count *= shape[a]
    return count


def _mean(x: Any, axis: Shape) -> Any:
    return sum_(x, axis=axis, keepdims=True) * (1 / max(_count(x.shape, axis), 1))


def _rstd(x: Any, axis: Shape, eps: float) -> Any:
    centred = x - _mean(x, axis)
    return rsqrt(_mean(centred * centred, axis) + eps)


def _standardize(x: Any, axis: Shape, eps: float) -> Any:
    y = x - x.mean(axis=axis, keepdims=True)
    variance = np.square(y).mean(axis=axis, keepdims=True)
    y /= np.sqrt(variance + eps)
    return y


def _standardize_in_ops(x: Any, axis: Shape, eps: float) -> Any:
    y = x - mean(x, axis=axis, keepdims=True)
    return y / sqrt(mean(y * y, axis=axis, keepdims=True) + eps)


def _standardize_push(t: Any, y: Any, x: Any, axis: Shape, eps: float) -> Any:
    """The Jacobian, rstd·(I - 11ᵀ/n - yyᵀ/n), times t: it is symmetric, so both modes use it."""
    return _rstd(x, axis, eps) * (t - _mean(t, axis) - y * _mean(t * y, axis))


standardize: Op = general(
    "standardize",
    _standardize,
    vjp=lambda g, y, x, axis, eps: (_standardize_push(g, y, x, axis, eps),),
    jvp=lambda tangents, y, x, axis, eps: _standardize_push(tangents[0], y, x, axis, eps),
    shape=same_shape,
    batch=lambda size, args, batched, axis, eps: standardize(*args, axis=tuple(a + 1 for a in axis), eps=eps),
    lower=Expansion(_standardize_in_ops),
    samples=[
        Sample(normal(3, 4), axis=(1,), eps=1e-5),
        Sample(normal(3, 4), axis=(0,), eps=0.1),
        Sample(normal(2, 3, 4), axis=(0, 2), eps=1e-5),
    ],
    title="NativeBatchNormBackward0",
    doc="(x - mean)/√(variance + eps) along `axis`, with the variance of the population; 0 where x is constant.",
)


def _layer_axes(x: Any, w: Any) -> Shape:
    return tuple(range(len(x.shape) - len(w.shape), len(x.shape)))


def _layer_norm_vjp(g: Any, _y: Any, x: Any, w: Any, _b: Any, eps: float) -> tuple[Any, Any, Any]:
    axis = _layer_axes(x, w)
    y = standardize(x, axis=axis, eps=eps)
    return (
        _standardize_push(g * w, y, x, axis, eps),
        sum_to(g * y, w.shape),
        sum_to(g, w.shape),
    )


def _layer_norm_jvp(tangents: Sequence[Any], y: Any, x: Any, w: Any, b: Any, eps: float) -> Any:
    tx, tw, tb = tangents
    axis = _layer_axes(x, w)
    normal = standardize(x, axis=axis, eps=eps)
    total = 0.0 if tx is None else _standardize_push(tx, normal, x, axis, eps) * w
    total = total if tw is None else normal * tw + total
    return broadcast_to(tb, shape=y.shape) + total if tb is not None else total


def _layer_norm_batch(size: int, args: tuple[Any, ...], batched: tuple[bool, ...], eps: float) -> Any:
    x, w, b = args
    shape = w.shape[batched[1] :]
    if not batched[0]:
        x = broadcast_to(x, shape=(size, *x.shape))
    ones = (1,) * (len(x.shape) - 1 - len(shape))
    w, b = (reshape(v, shape=(size, *ones, *shape)) if has else v for v, has in zip((w, b), batched[1:], strict=True))
    axis = tuple(range(len(x.shape) - len(shape), len(x.shape)))
    return standardize(x, axis=axis, eps=eps) * w + b


layer_norm = general(
    "layer_norm",
    lambda x, w, b, eps: _standardize(x, _layer_axes(x, w), eps) * w + b,
    vjp=_layer_norm_vjp,
    jvp=_layer_norm_jvp,
    shape=lambda x, w, b, eps: x,
    batch=_layer_norm_batch,
    lower=Expansion(lambda x, w, b, eps: standardize(x, axis=_layer_axes(x, w), eps=eps) * w + b),
    samples=[
        Sample(normal(3, 4), normal(4), normal(4), eps=1e-5),
        Sample(normal(2, 3, 4), normal(3, 4), normal(3, 4), eps=0.1),
        Sample(normal(4), normal(4), normal(4), eps=1e-5),
    ],
    title="NativeLayerNormBackward0",
    doc="standardize(x)·w + b over the trailing axes, those of w and b. Mean and variance are differentiated as well.",
)


# Embedding: rows of a table


def _kept(x: Any, index: Any, padding: int) -> Any:
    return reshape(not_equal(index, padding), shape=(*index.shape, *(1,) * (len(x.shape) - len(index.shape))))


def _masked(t: Any, index: Any, padding: int | None) -> Any:
    return t if padding is None else where(_kept(t, index, padding), t, 0.0)


def _embedding_batch(size: int, args: tuple[Any, ...], batched: tuple[bool, ...], padding: int | None) -> Any:
    w, index = args
    if not batched[0]:
        return embedding(w, index, padding=padding)
    shape = index.shape[batched[1] :]
    batch = np.arange(size).reshape(size, *(1,) * len(shape))
    if not batched[1]:
        index = broadcast_to(index, shape=(size, *shape))
    y = gather(w, batch, index)
    return y if padding is None else where(_kept(y, index, padding), y, stop_gradient(y))


def _embedding_shape(w: Spec, index: Spec, padding: int | None) -> Spec:
    return Spec((*index.shape, *w.shape[1:]), w.dtype)


def _row(b: Any, at: Sequence[Any], w: Any, index: Any, padding: int | None) -> Any:
    rank = len(index.shape)
    return w(b.index(index(*at[:rank]), w.shape[0]), *at[rank:]) if 0 not in w.shape else NotImplemented


embedding: Op = general(
    "embedding",
    lambda w, index, padding: w[index],
    vjp=(lambda g, _y, w, index, padding: scatter_add(_masked(g, index, padding), index, shape=w.shape), None),
    jvp=lambda tangents, y, w, index, padding: _masked(embedding(tangents[0], index, padding=None), index, padding),
    shape=_embedding_shape,
    batch=_embedding_batch,
    lower=Element(_row),
    samples=[
        Sample(normal(5, 3), integers(5, 2, 2), padding=None),
        Sample(normal(5, 3), np.array([1, 4, 1]), padding=4),
        Sample(normal(5, 3), np.array(2), padding=None),
    ],
    doc="w[index]: rows of the table w (rows, features) for an array of indices. Row `padding` gets no gradient.",
)
