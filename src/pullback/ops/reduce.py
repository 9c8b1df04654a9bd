"""Reductions: a value for each line, plane or whole of an array. `axis` is a sorted tuple of axes, `keepdims` a bool.

`sum` stands beside its transpose `broadcast_to` in `ops.shape`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.ops.cast import cast, conj, real, real_of
from pullback.ops.compare import equal, isfinite, isnan, logical_or
from pullback.ops.elementwise import exp, log, share, sqrt, where
from pullback.ops.fused import plain
from pullback.ops.lowering import Expansion, Fold, Lowering
from pullback.ops.samples import Sample, boolean, complex_normal, exactly, normal, spread
from pullback.ops.scalars import truth
from pullback.ops.scan import cumprod, delayed
from pullback.ops.shape import inverse, reduced, reduction_batch, reshape, spread_over, sum_, transpose
from pullback.ops.table import Op, general, linear, nondifferentiable
from pullback.values.shape import Shape, Spec

__all__ = [
    "all_",
    "amax",
    "amin",
    "any_",
    "argmax",
    "argmin",
    "count_nonzero",
    "logsumexp",
    "mean",
    "norm",
    "prod",
    "std",
    "sum_",
    "var",
]


def _size(shape: Shape, axis: Shape) -> int:
    """The number of elements that one result is made of."""
    return math.prod(shape if len(axis) == len(shape) else [shape[a] for a in axis])


def _kept(x: Spec, axis: Shape, keepdims: bool) -> Spec:
    return Spec(reduced(x.shape, axis, keepdims), x.dtype)


def _real_kept(x: Spec, axis: Shape, keepdims: bool, **params: Any) -> Spec:
    return real_of(_kept(x, axis, keepdims))


def _along(make: Callable[..., Any]) -> list[Sample]:
    """A sample for each way to choose axes."""
    return [
        Sample(make(2, 3), axis=(0, 1), keepdims=False),
        Sample(make(2, 3), axis=(1,), keepdims=False),
        Sample(make(2, 3), axis=(0,), keepdims=True),
        Sample(make(2, 3, 4), axis=(0, 2), keepdims=False),
        Sample(make(2, 3), axis=(), keepdims=False),
        Sample(make(), axis=(), keepdims=False),
    ]


def _mean(x: Any, axis: Shape, keepdims: Any) -> Any:
    half = x.dtype.char == "e"  # summed in single precision, or it overflows at 65504
    total = np.add.reduce(x, axis=axis, keepdims=keepdims, dtype=np.float32 if half else x.dtype)
    y = total / _size(x.shape, axis)
    return y.astype(x.dtype) if half else y


def _mean_of_sum(x: Any, axis: Shape, keepdims: bool) -> Any:
    size = _size(x.shape, axis)
    return sum_(x, axis=axis, keepdims=keepdims) / size if size else NotImplemented


mean: Op = linear(
    "mean",
    _mean,
    lambda g, _y, x, axis, keepdims: spread_over(g / _size(x.shape, axis), x.shape, axis, keepdims),
    shape=_kept,
    batch=reduction_batch(lambda: mean),
    lower=Expansion(_mean_of_sum),
    samples=_along(normal),
    doc="The mean over `axis`; NaN of nothing.",
)


# Products. The derivative with respect to one factor is the product of the others, from both sides: right with zeros.


def _prod_vjp(g: Any, y: Any, x: Any, axis: Shape, keepdims: bool) -> tuple[Any]:
    spread = spread_over(g, x.shape, axis, keepdims)
    if plain(g, x) and isinstance(y, np.ndarray | np.generic) and x.dtype.kind == "f" and x.size:
        size = np.abs(y)
        if np.min(size) >= np.finfo(x.dtype).tiny and np.max(size) < np.inf:  # so no factor is 0: y/x is the rest
            return (spread_over(y, x.shape, axis, keepdims) / x * spread,)
    return (spread * _others(x, axis),)


def _others(x: Any, axis: Shape) -> Any:
    """For each element the product of all others that are reduced with it."""
    shape = x.shape
    order = (*(i for i in range(len(shape)) if i not in axis), *axis)
    front = tuple(shape[i] for i in order[: len(shape) - len(axis)])
    line = reshape(transpose(x, axes=order), shape=(*front, _size(shape, axis)))
    last = len(front)
    before = delayed(cumprod(line, axis=last), last, False, 1.0)
    after = delayed(cumprod(line, axis=last, reverse=True), last, True, 1.0)
    others = reshape(before * after, shape=tuple(shape[i] for i in order))
    return transpose(others, axes=inverse(order))


prod: Op = general(
    "prod",
    lambda x, axis, keepdims: np.multiply.reduce(x, axis=axis, keepdims=keepdims, dtype=x.dtype),
    vjp=_prod_vjp,
    jvp=lambda tangents, _y, x, axis, keepdims: sum_(tangents[0] * _others(x, axis), axis=axis, keepdims=keepdims),
    shape=_kept,
    batch=reduction_batch(lambda: prod),
    lower=Fold("mul"),
    samples=[
        *_along(normal),
        Sample(exactly([2.0, 0.0, 3.0], [0.0, 0.0, 5.0], [0.0, 0.0, 0.0]), axis=(1,), keepdims=False),
    ],
    doc="The product over `axis`; its derivatives of every order are right with any number of zeros.",
)


# Extrema


def _extremum(name: str, function: np.ufunc, lower: Lowering, doc: str) -> Op:
    def shares(y: Any, x: Any, axis: Shape, keepdims: bool) -> Any:
        """1 over the number of winners where x is one, 0 elsewhere."""
        wins = cast(logical_or(equal(x, spread_over(y, x.shape, axis, keepdims)), isnan(x)), dtype=x.dtype)
        return wins / spread_over(sum_(wins, axis=axis, keepdims=keepdims), x.shape, axis, keepdims)

    def vjp(g: Any, y: Any, x: Any, axis: Shape, keepdims: bool) -> tuple[Any]:
        if plain(g, x) and x.ndim:
            wins = x == spread_over(y, x.shape, axis, keepdims)
            if np.count_nonzero(wins) == np.size(y) and not np.isnan(y).any():  # so one in each line
                d = np.zeros(x.shape, g.dtype)
                places = np.flatnonzero(wins)
                d.reshape(-1)[places] = spread_over(g, x.shape, axis, keepdims)[np.unravel_index(places, x.shape)]
                return (d,)
        return (spread_over(g, x.shape, axis, keepdims) * shares(y, x, axis, keepdims),)

    def jvp(tangents: Any, y: Any, x: Any, axis: Shape, keepdims: bool) -> Any:
        return sum_(tangents[0] * shares(y, x, axis, keepdims), axis=axis, keepdims=keepdims)

    op = general(
        name,
        lambda x, axis, keepdims: function.reduce(x, axis=axis, keepdims=keepdims),
        vjp=vjp,
        jvp=jvp,
        shape=_kept,
        batch=reduction_batch(lambda: op),
        lower=lower,
        samples=_along(spread),
        doc=f"{doc} over `axis`, NaN if one is there; equal winners share the gradient evenly, and so do NaNs.",
    )
    return op


amax = _extremum("amax", np.maximum, Fold("max"), "The largest element")
amin = _extremum("amin", np.minimum, Fold("min"), "The smallest element")


def _index_op(name: str, function: Any, extremum: Op, doc: str) -> Op:
    def first(x: Any, axis: int, keepdims: bool) -> Any:
        """The least index of those that win."""
        wins = logical_or(equal(x, extremum(x, axis=(axis,), keepdims=True)), isnan(x))
        n = x.shape[axis]
        place = np.arange(n).reshape([n if i == axis else 1 for i in range(len(x.shape))])
        return amin(where(wins, place, n), axis=(axis,), keepdims=keepdims)

    op = nondifferentiable(
        name,
        lambda x, axis, keepdims: function(x, axis=axis, keepdims=keepdims),
        shape=lambda x, axis, keepdims: Spec(reduced(x.shape, (axis,), keepdims), np.dtype(np.int64)),
        batch=lambda size, args, batched, axis, keepdims: op(*args, axis=axis + 1, keepdims=keepdims),
        lower=Expansion(first),
        samples=[Sample(spread(2, 3), axis=1, keepdims=False), Sample(spread(2, 3), axis=0, keepdims=True)],
        doc=f"{doc} along the one `axis` (an integer): the first of equals, the first NaN if there is one.",
    )
    return op


argmax = _index_op("argmax", np.argmax, amax, "Where the largest element is")
argmin = _index_op("argmin", np.argmin, amin, "Where the smallest element is")


def _counting(name: str, evaluate: Any, dtype: Any, lower: Lowering, doc: str) -> Op:
    op = nondifferentiable(
        name,
        evaluate,
        shape=lambda x, axis, keepdims: Spec(reduced(x.shape, axis, keepdims), np.dtype(dtype)),
        batch=reduction_batch(lambda: op),
        lower=lower,
        samples=[*_along(boolean), Sample(np.array([[0.0, 1.5], [0.0, 0.0]]), axis=(1,), keepdims=False)],
        doc=doc,
    )
    return op


any_ = _counting(
    "any",
    lambda x, axis, keepdims: np.logical_or.reduce(x, axis=axis, keepdims=keepdims),
    bool,
    Fold("or", truth),
    "Whether an element over `axis` is not 0.",
)
all_ = _counting(
    "all",
    lambda x, axis, keepdims: np.logical_and.reduce(x, axis=axis, keepdims=keepdims),
    bool,
    Fold("and", truth),
    "Whether no element over `axis` is 0.",
)
count_nonzero = _counting(
    "count_nonzero",
    lambda x, axis, keepdims: np.add.reduce(np.not_equal(x, 0), axis=axis, keepdims=keepdims, dtype=np.int64),
    np.int64,
    Fold("add", lambda b, x: b.cast(truth(b, x), np.int64)),
    "How many elements over `axis` are not 0.",
)


# Smooth reductions


def _logsumexp(x: Any, axis: Shape, keepdims: Any) -> Any:
    top = np.maximum.reduce(x, axis=axis, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0.0)
    total = np.add.reduce(np.exp(x - top), axis=axis, keepdims=True)
    with np.errstate(divide="ignore"):
        y = np.log(total) + top
    return y if keepdims else y.reshape(reduced(x.shape, axis, False))[()]


def _logsumexp_in_ops(x: Any, axis: Shape, keepdims: bool) -> Any:
    if not _size(x.shape, axis):
        return NotImplemented
    top = amax(x, axis=axis, keepdims=True)
    top = where(isfinite(top), top, 0.0)
    y = log(sum_(exp(x - top), axis=axis, keepdims=True)) + top
    return y if keepdims else reshape(y, shape=reduced(x.shape, axis, False))


def _softmax(y: Any, x: Any, axis: Shape, keepdims: bool) -> Any:
    return share(x, spread_over(y, x.shape, axis, keepdims))


logsumexp: Op = general(
    "logsumexp",
    _logsumexp,
    vjp=lambda g, y, x, axis, keepdims: (spread_over(g, x.shape, axis, keepdims) * _softmax(y, x, axis, keepdims),),
    jvp=lambda tangents, y, x, axis, keepdims: sum_(
        tangents[0] * _softmax(y, x, axis, keepdims), axis=axis, keepdims=keepdims
    ),
    shape=_kept,
    batch=reduction_batch(lambda: logsumexp),
    lower=Expansion(_logsumexp_in_ops),
    samples=[*_along(normal), Sample(exactly([-np.inf, 1.0], [2.0, -np.inf]), axis=(1,), keepdims=False)],
    doc="log(sum(exp(x))) over `axis` without overflow; where every x is -inf it is -inf and its slopes are 0.",
)


# Spread and length: of complex numbers too. Then they are real and read conj(x), so both rules are stated.


def _squared(x: Any) -> Any:
    return x * x if x.dtype.kind != "c" else x.real * x.real + x.imag * x.imag


def _free(shape: Shape, axis: Shape, correction: float) -> float:
    """The degrees of freedom."""
    return max(float(_size(shape, axis) - correction), 0.0)


def _var(x: Any, axis: Shape, correction: float, keepdims: Any) -> Any:
    d = x - np.add.reduce(x, axis=axis, keepdims=True) / _size(x.shape, axis)
    return np.add.reduce(_squared(d), axis=axis, keepdims=keepdims) / _free(x.shape, axis, correction)


def _norm(x: Any, axis: Shape, keepdims: Any) -> Any:
    return np.sqrt(np.add.reduce(_squared(x), axis=axis, keepdims=keepdims))


def _centred(x: Any, axis: Shape) -> Any:
    return x - mean(x, axis=axis, keepdims=True)


def _var_in_ops(x: Any, axis: Shape, correction: float, keepdims: bool) -> Any:
    if x.dtype.kind == "c" or not _size(x.shape, axis):
        return NotImplemented
    d = _centred(x, axis)
    return sum_(d * d, axis=axis, keepdims=keepdims) / _free(x.shape, axis, correction)


def _norm_in_ops(x: Any, axis: Shape, keepdims: bool) -> Any:
    return NotImplemented if x.dtype.kind == "c" else sqrt(sum_(x * x, axis=axis, keepdims=keepdims))


def _inner(a: Any, b: Any, axis: Shape, keepdims: bool) -> Any:
    """The real inner product of a and b over `axis`."""
    product = a * b if a.dtype.kind != "c" else real(conj(a) * b)
    return sum_(product, axis=axis, keepdims=keepdims)


def _times(g: Any, x: Any, axis: Shape, keepdims: bool) -> Any:
    """The real g, spread over what was reduced, times x."""
    g = spread_over(g, x.shape, axis, keepdims)
    return (g if g.dtype == x.dtype else cast(g, dtype=x.dtype)) * x


def _nonzero(y: Any) -> Any:
    return where(equal(y, 0), 1.0, y)


def _var_vjp(g: Any, _y: Any, x: Any, axis: Shape, correction: float, keepdims: bool) -> tuple[Any]:
    return (_times(g * (2 / _free(x.shape, axis, correction)), _centred(x, axis), axis, keepdims),)


def _var_jvp(tangents: Any, _y: Any, x: Any, axis: Shape, correction: float, keepdims: bool) -> Any:
    return _inner(_centred(x, axis), tangents[0], axis, keepdims) * (2 / _free(x.shape, axis, correction))


var: Op = general(
    "var",
    _var,
    vjp=_var_vjp,
    jvp=_var_jvp,
    shape=_real_kept,
    batch=reduction_batch(lambda: var),
    lower=Expansion(_var_in_ops),
    samples=[
        Sample(normal(2, 3), axis=(0, 1), correction=1, keepdims=False),
        Sample(normal(2, 3), axis=(1,), correction=0, keepdims=True),
        Sample(normal(2, 3, 4), axis=(0, 2), correction=1.5, keepdims=False),
        Sample(complex_normal(2, 3), axis=(1,), correction=1, keepdims=False),
    ],
    doc="The variance over `axis`: the sum of |x - mean|² over the number of elements less `correction`.",
)


def _std_vjp(g: Any, y: Any, x: Any, axis: Shape, correction: float, keepdims: bool) -> tuple[Any]:
    return (_times(g / (_nonzero(y) * _free(x.shape, axis, correction)), _centred(x, axis), axis, keepdims),)


def _std_jvp(tangents: Any, y: Any, x: Any, axis: Shape, correction: float, keepdims: bool) -> Any:
    inner = _inner(_centred(x, axis), tangents[0], axis, keepdims)
    return inner / (_nonzero(y) * _free(x.shape, axis, correction))


std: Op = general(
    "std",
    lambda x, axis, correction, keepdims: np.sqrt(_var(x, axis, correction, keepdims)),
    vjp=_std_vjp,
    jvp=_std_jvp,
    shape=_real_kept,
    batch=reduction_batch(lambda: std),
    lower=Expansion(lambda x, **params: sqrt(var(x, **params))),
    samples=[
        Sample(normal(2, 3), axis=(0, 1), correction=1, keepdims=False),
        Sample(normal(2, 3), axis=(1,), correction=0, keepdims=True),
        Sample(complex_normal(2, 3), axis=(1,), correction=1, keepdims=False),
    ],
    doc="The square root of `var`; slope 0 where all elements are equal.",
)
norm: Op = general(
    "norm",
    _norm,
    vjp=lambda g, y, x, axis, keepdims: (_times(g / _nonzero(y), x, axis, keepdims),),
    jvp=lambda tangents, y, x, axis, keepdims: _inner(x, tangents[0], axis, keepdims) / _nonzero(y),
    shape=_real_kept,
    batch=reduction_batch(lambda: norm),
    lower=Expansion(_norm_in_ops),
    samples=[*_along(normal), Sample(complex_normal(2, 3), axis=(1,), keepdims=False)],
    title="LinalgVectorNormBackward0",
    doc="The Euclidean length over `axis`, √(sum of |x|²); subgradient 0 at 0.",
)
