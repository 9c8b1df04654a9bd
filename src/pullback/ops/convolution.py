"""Convolution, and its two transposes.

With stride s, dilation d and padding p, the sum Σ g[n,o,i] w[o,c,k] x[n,c,s i + d k - p] is linear in the input x, the
weight w and the output's cotangent g. Leave one of the three out and what is left is a map from the other two to its
place: `convolution` to g, `convolution_input` (a transposed convolution) to x, `convolution_weight` to w. Each is the
others' transpose, so all derivatives of all orders are among the three.

Shapes: x (n, groups·c, *size), w (groups·o, c, *kernel), g (n, groups·o, *out). All come down to products of matrices
with the windows of x laid out as columns, a part of the batch at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from pullback.ops.samples import Sample, complex_normal, normal
from pullback.ops.shape import broadcast_to, reshape, sum_, transpose
from pullback.ops.table import Op, general, linear
from pullback.ops.windows import Window, add_columns, columns
from pullback.values.shape import Shape, Spec

__all__ = ["biased_convolution", "convolution", "convolution_input", "convolution_weight"]

_PART = 1 << 20  # elements of columns at a time
_LONG = 128  # windows, from which on the elements of a batch are multiplied one by one


def _parts(count: int, each: int) -> Iterator[slice]:
    step = max(1, _PART // max(1, each))
    return (slice(i, i + step) for i in range(0, count, step))


def _pointwise(window: Window) -> bool:
    """Whether the columns are the operand itself."""
    return {*window.kernel, *window.stride} == {1} and not any(map(any, window.padding))


def _laid_out(x: Any, window: Window, groups: int, rows: int, cells: int) -> Any:
    """The windows of x as matrices (n, groups, c·kernel, out)."""
    laid = x if _pointwise(window) else columns(x, window)
    return laid.reshape(x.shape[0], groups, rows, cells)


def _joined(a: Any) -> Any:
    """(n, groups, rows, cells) as (groups, rows, n·cells)."""
    return a.transpose(1, 2, 0, 3).reshape(*a.shape[1:3], -1)


def _convolution(x: Any, w: Any, window: Window, groups: int) -> Any:
    n, out = x.shape[0], window.out(x.shape[2:])
    rows, cells, features = math.prod(w.shape[1:]), math.prod(out), w.shape[0] // groups
    matrix = w.reshape(groups, features, rows)
    y = np.empty((n, groups, features, cells), np.result_type(x, w))
    for part in _parts(n, groups * rows * cells):
        np.matmul(matrix, _laid_out(x[part], window, groups, rows, cells), out=y[part])
    return y.reshape(n, w.shape[0], *out)


def _convolution_input(g: Any, w: Any, window: Window, groups: int, size: Shape) -> Any:
    n, out = g.shape[0], g.shape[2:]
    rows, cells, features = math.prod(w.shape[1:]), math.prod(out), w.shape[0] // groups
    channels = groups * w.shape[1]
    matrix = w.reshape(groups, features, rows).swapaxes(1, 2)
    g = g.reshape(n, groups, features, cells)
    if _pointwise(window):
        return np.matmul(matrix, g).reshape(n, channels, *size)
    x = np.zeros((n, channels, *size), np.result_type(g, w))
    for part in _parts(n, groups * rows * cells):
        laid = matrix * g[part] if features == 1 else np.matmul(matrix, g[part])
        add_columns(laid.reshape(-1, channels, *window.kernel, *out), x[part], window)
    return x


def _convolution_weight(x: Any, g: Any, window: Window, groups: int) -> Any:
    n, out = x.shape[0], g.shape[2:]
    features, channels = g.shape[1] // groups, x.shape[1] // groups
    rows, cells = channels * math.prod(window.kernel), math.prod(out)
    g = g.reshape(n, groups, features, cells)
    w = np.zeros((groups, features, rows), np.result_type(x, g))
    for part in _parts(n, groups * rows * cells):
        laid = _laid_out(x[part], window, groups, rows, cells)
        if cells >= _LONG:
            w += np.matmul(g[part], laid.swapaxes(2, 3)).sum(0)
        else:  # the batch joins the sum: fewer and larger products
            w += np.matmul(_joined(g[part]), _joined(laid).swapaxes(1, 2))
    return w.reshape(groups * features, channels, *window.kernel)


# Batching: one of the axes that the batch can be made part of is in every operand that has the batch, and in the result


def _folds(groups: int) -> dict[str, dict[str, tuple[int, int]]]:
    """For each choice: the axis of x, w and g that takes the batch in, and what it is split into to put it second."""
    return {
        "xg": {"x": (0, 1), "g": (0, 1)},  # n
        "wg": {"w": (0, groups), "g": (1, groups)},  # output channels
        "xw": {"x": (1, groups), "w": (1, 1)},  # input channels
        "xwg": {"x": (1, 1), "w": (0, 1), "g": (1, 1)},  # groups
    }


def _absorb(a: Any, axis: int, lead: int) -> Any:
    """(size, ..., lead·rest, ...) as (..., lead·size·rest, ...)."""
    size, *shape = a.shape
    before, rest, after = shape[:axis], shape[axis] // lead, shape[axis + 1 :]
    a = reshape(a, shape=(size, *before, lead, rest, *after))
    order = (*range(1, axis + 2), 0, *range(axis + 2, len(a.shape)))
    return reshape(transpose(a, axes=order), shape=(*before, lead * size * rest, *after))


def _release(a: Any, size: int, axis: int, lead: int) -> Any:
    """What `_absorb` does, undone."""
    shape = a.shape
    before, rest, after = shape[:axis], shape[axis] // (lead * size), shape[axis + 1 :]
    a = reshape(a, shape=(*before, lead, size, rest, *after))
    order = (axis + 1, *range(axis + 1), *range(axis + 2, len(a.shape)))
    return reshape(transpose(a, axes=order), shape=(size, *before, lead * rest, *after))


def _batching(op: Callable[[], Op], roles: str, result: str) -> Callable[..., Any]:
    def rule(count: int, args: Any, batched: Any, /, *, groups: int, **params: Any) -> Any:
        having = {*(role for role, has in zip(roles, batched, strict=True) if has), result}
        folds = _folds(groups)["".join(role for role in "xwg" if role in having)]
        ready = [_absorb(a, *folds[role]) if has else a for a, role, has in zip(args, roles, batched, strict=True)]
        y = op()(*ready, groups=groups * count if len(having) == 3 else groups, **params)
        return _release(y, count, *folds[result])

    return rule


def _shape(x: Spec, w: Spec, window: Window, groups: int) -> Spec:
    out = window.out(x.shape[2:])
    if min(out, default=0) < 0:
        raise ValueError(f"convolution: a kernel of {window.kernel} does not fit into {x}")
    return Spec((x.shape[0], w.shape[0], *out), np.result_type(x.dtype, w.dtype))


_SAMPLES: tuple[tuple[Shape, Shape, Window, int], ...] = (
    ((2, 2, 5), (3, 2, 3), Window((3,), (1,), ((0, 0),), (1,)), 1),
    ((2, 4, 6), (4, 2, 2), Window((2,), (2,), ((1, 0),), (2,)), 2),
    ((1, 2, 5, 4), (2, 2, 2, 3), Window((2, 3), (2, 1), ((1, 1), (0, 1)), (1, 1)), 1),
    ((2, 2, 3, 3), (4, 1, 2, 2), Window((2, 2), (1, 2), ((-1, 1), (0, 0)), (1, 1)), 2),
    ((2, 3, 2, 2), (2, 3, 1, 1), Window((1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1)), 1),
    ((1, 1, 3, 3, 3), (2, 1, 2, 2, 2), Window((2, 2, 2), (1, 1, 1), ((0, 0),) * 3, (1, 1, 1)), 1),
)


def _output(x: Shape, w: Shape, window: Window) -> Shape:
    return (x[0], w[0], *window.out(x[2:]))


convolution: Op = linear(
    "convolution",
    _convolution,
    lambda g, _y, x, w, window, groups: convolution_input(g, w, window=window, groups=groups, size=x.shape[2:]),
    lambda g, _y, x, _w, window, groups: convolution_weight(x, g, window=window, groups=groups),
    shape=_shape,
    batch=_batching(lambda: convolution, "xw", "g"),
    samples=[
        *(Sample(normal(*x), normal(*w), window=window, groups=groups) for x, w, window, groups in _SAMPLES),
        Sample(complex_normal(1, 2, 4), complex_normal(2, 2, 2), window=_SAMPLES[1][2], groups=1),
    ],
    doc="x (n, groups·c, *size) correlated with each w (groups·o, c, *kernel) of its group: (n, groups·o, *out).",
)
convolution_input: Op = linear(
    "convolution_input",
    _convolution_input,
    lambda g, _y, _g, w, window, groups, size: convolution(g, w, window=window, groups=groups),
    lambda g, _y, u, _w, window, groups, size: convolution_weight(g, u, window=window, groups=groups),
    shape=lambda g, w, window, groups, size: Spec(
        (g.shape[0], groups * w.shape[1], *size), np.result_type(g.dtype, w.dtype)
    ),
    batch=_batching(lambda: convolution_input, "gw", "x"),
    samples=[
        Sample(normal(*_output(x, w, window)), normal(*w), window=window, groups=groups, size=x[2:])
        for x, w, window, groups in _SAMPLES
    ],
    title="ConvolutionBackward0",
    doc="The transpose of `convolution` in x: g (n, groups·o, *out) with w to (n, groups·c, *size).",
)
convolution_weight: Op = linear(
    "convolution_weight",
    _convolution_weight,
    lambda g, _y, x, u, window, groups: convolution_input(u, g, window=window, groups=groups, size=x.shape[2:]),
    lambda g, _y, x, _u, window, groups: convolution(x, g, window=window, groups=groups),
    shape=lambda x, g, window, groups: Spec(
        (g.shape[1], x.shape[1] // groups, *window.kernel), np.result_type(x.dtype, g.dtype)
    ),
    batch=_batching(lambda: convolution_weight, "xg", "w"),
    samples=[
        Sample(normal(*x), normal(*_output(x, w, window)), window=window, groups=groups)
        for x, w, window, groups in _SAMPLES
    ],
    doc="The transpose of `convolution` in w: x and g (n, groups·o, *out) to (groups·o, c, *kernel).",
)


# With a bias, which would otherwise cost a pass over the output and its memory twice


def _channel(b: Any, rank: int, lead: Shape = ()) -> Any:
    """A number for each channel, as (1, channels, 1, ...)."""
    return reshape(b, shape=(*lead, 1, b.shape[-1], *(1,) * rank))


def _biased(x: Any, w: Any, b: Any, window: Window, groups: int) -> Any:
    y = _convolution(x, w, window, groups)
    y += b.reshape(-1, *(1,) * len(window.kernel))
    return y


def _biased_jvp(tangents: Sequence[Any], y: Any, x: Any, w: Any, b: Any, window: Window, groups: int) -> Any:
    tx, tw, tb = tangents
    total = None if tx is None else convolution(tx, w, window=window, groups=groups)
    if tw is not None:
        term = convolution(x, tw, window=window, groups=groups)
        total = term if total is None else total + term
    if tb is not None:
        tb = _channel(tb, len(window.kernel))
        total = broadcast_to(tb, shape=y.shape) if total is None else total + tb
    return total


def _biased_batch(size: int, args: Any, batched: Any, window: Window, groups: int) -> Any:
    x, w, b = args
    rank = len(window.kernel)
    if batched[0] or batched[1]:
        y = convolution.batch(size, (x, w), batched[:2], window=window, groups=groups)
    else:
        y = convolution(x, w, window=window, groups=groups)
    return y + _channel(b, rank, (size,) if batched[2] else ())


biased_convolution: Op = general(
    "biased_convolution",
    _biased,
    vjp=(
        lambda g, _y, x, w, _b, window, groups: convolution_input(g, w, window=window, groups=groups, size=x.shape[2:]),
        lambda g, _y, x, _w, _b, window, groups: convolution_weight(x, g, window=window, groups=groups),
        lambda g, _y, _x, _w, _b, window, groups: sum_(g, axis=(0, *range(2, len(g.shape))), keepdims=False),
    ),
    jvp=_biased_jvp,
    shape=lambda x, w, b, window, groups: Spec(_shape(x, w, window, groups).shape, np.result_type(x.dtype, b.dtype)),
    batch=_biased_batch,
    samples=[
        Sample(normal(*x), normal(*w), normal(w[0]), window=window, groups=groups) for x, w, window, groups in _SAMPLES
    ],
    title="ConvolutionBackward0",
    doc="`convolution` plus a number for each output channel.",
)
