"""Losses: an elementwise function of prediction and target, reduced to its mean or sum or not at all, as one op.

Operands have one shape; the functions of `nn.functional` broadcast them. `cross_entropy` and `nll_loss` take a class
index for each row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pullback.ops.cast import cast
from pullback.ops.compare import equal, greater, less, less_equal, not_equal, sign
from pullback.ops.elementwise import abs_, clamp, exp, log, log1p, maximum, sigmoid, square, where, xlogy
from pullback.ops.fused import plain, signed
from pullback.ops.index import gather
from pullback.ops.lowering import Expansion
from pullback.ops.nn import log_softmax, softmax
from pullback.ops.reduce import amax
from pullback.ops.samples import Sample, integers, normal, positive
from pullback.ops.shape import reshape, sum_, with_batch
from pullback.ops.table import Op, general, linear
from pullback.values.shape import Spec

REDUCTIONS = ("none", "mean", "sum")


def _divided(g: Any, count: int, reduction: str) -> Any:
    return g * (1 / count if count else float("nan")) if reduction == "mean" else g


def _size(x: Any) -> int:
    size = 1
    for n in x.shape:
        size *= n
    return size


def _reduce(losses: Any, reduction: str) -> Any:
    """The NumPy reduction of an array of losses; half precision is summed in single, as PyTorch does."""
    if reduction == "none":
        return losses
    if losses.dtype.itemsize == 2:
        return _reduce(losses.astype(np.float32), reduction).astype(losses.dtype)
    total = np.add.reduce(losses, None)
    if reduction == "sum":
        return total
    return total / losses.dtype.type(losses.size) if losses.size else total * np.nan


def _reduce_in_ops(losses: Any, reduction: str) -> Any:
    if reduction == "none":
        return losses
    total = sum_(losses, axis=tuple(range(len(losses.shape))), keepdims=False)
    return total if reduction == "sum" else total / size if (size := _size(losses)) else total * float("nan")


def _reduce_each(losses: Any, reduction: str) -> Any:
    """The same for a batch of losses along axis 0, in ops."""
    if reduction == "none":
        return losses
    total = sum_(losses, axis=tuple(range(1, len(losses.shape))), keepdims=False)
    size = _size(losses)
    return _divided(total, size // losses.shape[0] if losses.shape[0] else 1, reduction)


def _loss(
    name: str,
    losses: Callable[..., Any],
    by_input: Callable[..., Any],
    by_target: Callable[..., Any],
    *,
    samples: Sequence[tuple[Any, Any, dict[str, Any]]],
    doc: str,
    checked: Callable[..., Any] | None = None,
    reduced: Callable[..., Any] | None = None,
) -> Op:
    """Enter a loss by its elementwise value and its partials `(g, x, t, **params)`, in ops.

    `checked` evaluates it in NumPy if some operands are refused; `reduced` evaluates the mean or sum faster than value
    by value.
    """
    evaluation = checked or losses

    def evaluate(x: Any, t: Any, reduction: str, **params: Any) -> Any:
        if reduced is not None and reduction != "none":
            return reduced(x, t, reduction)
        return _reduce(evaluation(x, t, **params), reduction)

    def push(tangents: Sequence[Any], y: Any, x: Any, t: Any, reduction: str, **params: Any) -> Any:
        terms = [
            rule(tangent, x, t, **params)
            for rule, tangent in zip((by_input, by_target), tangents, strict=True)
            if tangent is not None
        ]
        total = terms[0] if len(terms) == 1 else terms[0] + terms[1]
        if reduction == "none":
            return total
        return _divided(sum_(total, axis=tuple(range(len(x.shape))), keepdims=False), _size(x), reduction)

    def batch(size: int, args: tuple[Any, ...], batched: tuple[bool, ...], reduction: str, **params: Any) -> Any:
        return _reduce_each(op(*with_batch(size, args, batched), reduction="none", **params), reduction)

    def shape(x: Spec, t: Spec, reduction: str, **params: Any) -> Spec:
        return Spec(x.shape if reduction == "none" else (), np.result_type(x.dtype, t.dtype))

    op = general(
        name,
        evaluate,
        vjp=(
            lambda g, _y, x, t, reduction, **params: by_input(_divided(g, _size(x), reduction), x, t, **params),
            lambda g, _y, x, t, reduction, **params: by_target(_divided(g, _size(x), reduction), x, t, **params),
        ),
        jvp=push,
        shape=shape,
        batch=batch,
        lower=Expansion(lambda x, t, reduction, **params: _reduce_in_ops(losses(x, t, **params), reduction)),
        samples=[Sample(x, t, reduction=r, **params) for x, t, params in samples for r in REDUCTIONS],
        doc=doc,
    )
    return op


# Differences


def _squared(x: Any, t: Any, reduction: str) -> Any:
    d = (x - t).ravel()
    if d.size > 4096 or d.dtype.itemsize == 2 or d.dtype.kind not in "f":
        return _reduce(np.square(d), reduction)
    total = d.dot(d)
    if reduction == "sum":
        return total
    return total / d.dtype.type(d.size) if d.size else total * np.nan


_pair = (normal(2, 3), normal(2, 3))
mse_loss = _loss(
    "mse_loss",
    lambda x, t: square(x - t),
    lambda g, x, t: (x - t) * (g * 2.0),
    lambda g, x, t: (t - x) * (g * 2.0),
    samples=[(*_pair, {})],
    reduced=_squared,
    doc="(x - t)².",
)


def _signed_difference(g: Any, x: Any, t: Any) -> Any:
    d = x - t
    return signed(np.broadcast_to(g, d.shape), d) if plain(g, d) else sign(d) * g


l1_loss = _loss(
    "l1_loss",
    lambda x, t: abs_(x - t),
    _signed_difference,
    lambda g, x, t: _signed_difference(g, t, x),
    samples=[(*_pair, {})],
    doc="|x - t|, with slope 0 at 0.",
)


def _smooth_l1(x: Any, t: Any, beta: float) -> Any:
    d = abs_(x - t)
    return where(less(d, beta), d * d * (0.5 / beta), d - 0.5 * beta) if beta else d


def _smooth_l1_slope(g: Any, d: Any, beta: float) -> Any:
    return where(less(abs_(d), beta), d * (1 / beta), sign(d)) * g if beta else sign(d) * g


smooth_l1_loss = _loss(
    "smooth_l1_loss",
    _smooth_l1,
    lambda g, x, t, beta: _smooth_l1_slope(g, x - t, beta),
    lambda g, x, t, beta: _smooth_l1_slope(g, t - x, beta),
    samples=[(*_pair, {"beta": 1.0}), (*_pair, {"beta": 0.0})],
    doc="(x - t)²/(2·beta) where |x - t| < beta, |x - t| - beta/2 elsewhere.",
)


def _huber(x: Any, t: Any, delta: float) -> Any:
    d = abs_(x - t)
    return where(less_equal(d, delta), 0.5 * d * d, delta * (d - 0.5 * delta))


huber_loss = _loss(
    "huber_loss",
    _huber,
    lambda g, x, t, delta: clamp(x - t, min=-delta, max=delta) * g,
    lambda g, x, t, delta: clamp(t - x, min=-delta, max=delta) * g,
    samples=[(*_pair, {"delta": 1.0}), (*_pair, {"delta": 0.4})],
    doc="(x - t)²/2 where |x - t| <= delta, delta·(|x - t| - delta/2) elsewhere.",
)


# Probabilities

_LOG_FLOOR = -100.0  # PyTorch's bound for the logs of binary_cross_entropy
_TINY = 3.5e-44  # below exp(-100), and not 0 in single precision


def _bce(x: Any, t: Any) -> Any:
    return (t - 1) * maximum(log1p(-x), _LOG_FLOOR) - t * maximum(log(x), _LOG_FLOOR)


def _checked_bce(x: Any, t: Any) -> Any:
    with np.errstate(divide="ignore", invalid="ignore"):
        y = _bce(x, t)
    if np.isnan(np.add.reduce(y, None)) and not ((x >= 0) & (x <= 1)).all():
        raise RuntimeError("all elements of input should be between 0 and 1")
    return y


def _bce_by_target(g: Any, x: Any, t: Any) -> Any:
    no = clamp(log(clamp(1.0 - x, min=_TINY)), min=_LOG_FLOOR)
    yes = clamp(log(clamp(x, min=_TINY)), min=_LOG_FLOOR)
    return (no - yes) * g


def _probabilities(rng: np.random.Generator) -> Any:
    return rng.random((2, 3)) * 0.9 + 0.05


binary_cross_entropy = _loss(
    "binary_cross_entropy",
    _bce,
    lambda g, x, t: (x - t) / clamp(x * (1.0 - x), min=1e-12) * g,
    _bce_by_target,
    checked=_checked_bce,
    samples=[(_probabilities, _probabilities, {})],
    doc="""-t·log(x) - (1 - t)·log(1 - x) with the logs held above -100, so finite at x = 0 and 1.
    The slope in x is (x - t)/max(x(1 - x), 1e-12). x outside [0, 1] raises RuntimeError.""",
)
binary_cross_entropy_with_logits = _loss(
    "binary_cross_entropy_with_logits",
    lambda x, t: maximum(x, 0.0) - x * t + log1p(exp(-abs_(x))),
    lambda g, x, t: (sigmoid(x) - t) * g,
    lambda g, x, t: -x * g,
    samples=[(normal(2, 3), _probabilities, {})],
    doc="binary_cross_entropy(sigmoid(x), t), exact for logits of any size.",
)


def _kl_div(x: Any, t: Any, log_target: bool) -> Any:
    return exp(t) * (t - x) if log_target else xlogy(t, t) - t * x


def _kl_div_by_target(g: Any, x: Any, t: Any, log_target: bool) -> Any:
    if log_target:
        return exp(t) * (t - x + 1.0) * g
    positive = greater(t, 0.0)
    return where(positive, log(where(positive, t, 1.0)) + 1.0 - x, 0.0) * g


kl_div = _loss(
    "kl_div",
    _kl_div,
    lambda g, x, t, log_target: -(exp(t) if log_target else t) * g,
    _kl_div_by_target,
    samples=[(normal(2, 3), positive(2, 3), {"log_target": False}), (*_pair, {"log_target": True})],
    doc="t·(log t - x), 0 at t = 0; with `log_target` t is given by its log. x is a log-probability.",
)
del positive


# Class indices: a row of scores or log-probabilities for each target. Rows whose target is `ignore_index` don't count.


def _check_targets(target: Any, classes: int, ignore_index: int) -> Any:
    """A mask of the rows that count, None if all do. Raises `IndexError` for a target that is no class."""
    if not target.size:
        return None
    unsigned = target.view(f"u{target.itemsize}") if target.dtype.kind == "i" else target
    if np.maximum.reduce(unsigned) < classes and not 0 <= ignore_index < classes:  # a negative one is large, unsigned
        return None
    kept = target != ignore_index
    wrong = kept & ((target < 0) | (target >= classes))
    if wrong.any():
        raise IndexError(f"Target {target[wrong][0]} is out of bounds.")
    return kept


def _nll_loss(x: Any, target: Any, reduction: str, ignore_index: int) -> Any:
    kept = _check_targets(target, x.shape[1], ignore_index)
    rows = np.arange(len(target))
    if kept is None:
        return _reduce(-x[rows, target], reduction)
    losses = -x[rows, np.where(kept, target, 0)]
    if reduction == "none":
        return np.where(kept, losses, x.dtype.type(0))
    return _reduce(losses[kept], reduction)


def _counted(target: Any, ignore_index: int, dtype: Any) -> Any:
    """1 for each row that counts, 0 for the others."""
    return cast(not_equal(target, ignore_index), dtype=dtype)


def _row_weights(g: Any, target: Any, reduction: str, ignore_index: int) -> Any:
    """The cotangent of each row's loss, as a column."""
    counted = _counted(target, ignore_index, g.dtype)
    if reduction == "mean":
        g = g / sum_(counted, axis=(0,), keepdims=False)
    return reshape(counted * g, shape=(*target.shape, 1))


def _one_hot(target: Any, classes: int, dtype: Any) -> Any:
    return cast(equal(reshape(target, shape=(*target.shape, 1)), np.arange(classes)), dtype=dtype)


def _rows_shape(x: Spec, target: Spec, reduction: str, ignore_index: int) -> Spec:
    return Spec(target.shape if reduction == "none" else (), x.dtype)


def _rows_batch(op: Callable[[], Op]) -> Callable[..., Any]:
    def batch(size: int, args: tuple[Any, ...], batched: tuple[bool, ...], reduction: str, ignore_index: int) -> Any:
        x, target = with_batch(size, args, batched)
        rows = size * x.shape[1]
        flat = reshape(x, shape=(rows, x.shape[2])), reshape(target, shape=(rows,))
        losses = reshape(op()(*flat, reduction="none", ignore_index=ignore_index), shape=target.shape)
        if reduction == "none":
            return losses
        total = sum_(losses, axis=(1,), keepdims=False)
        if reduction == "sum":
            return total
        return total / sum_(_counted(target, ignore_index, x.dtype), axis=(1,), keepdims=False)

    return batch


_row_samples = [
    *(Sample(normal(4, 3), integers(3, 4), reduction=r, ignore_index=-100) for r in REDUCTIONS),
    *(Sample(normal(4, 3), np.array([0, 2, 1, 2]), reduction=r, ignore_index=2) for r in REDUCTIONS),
]


def _nll_transpose(g: Any, _y: Any, x: Spec, target: Any, reduction: str, ignore_index: int) -> Any:
    weights = -_row_weights(g, target, reduction, ignore_index)
    if not isinstance(weights, np.ndarray):
        return _one_hot(target, x.shape[1], x.dtype) * weights
    d = np.zeros(x.shape, weights.dtype)
    rows = np.flatnonzero(target != ignore_index)
    d[rows, target[rows]] = weights[rows, 0]
    return d


def _reduce_rows(losses: Any, kept: Any, reduction: str) -> Any:
    total = _reduce_in_ops(losses, "none" if reduction == "none" else "sum")
    return total / sum_(cast(kept, dtype=losses.dtype), axis=(0,), keepdims=False) if reduction == "mean" else total


def _nll_in_ops(x: Any, target: Any, reduction: str, ignore_index: int) -> Any:
    if 0 in x.shape:
        return NotImplemented
    kept = not_equal(target, ignore_index)
    picked = gather(x, np.arange(x.shape[0]), where(kept, target, 0))
    return _reduce_rows(where(kept, -picked, 0), kept, reduction)


nll_loss: Op = linear(
    "nll_loss",
    _nll_loss,
    _nll_transpose,
    None,
    shape=_rows_shape,
    batch=_rows_batch(lambda: nll_loss),
    lower=Expansion(_nll_in_ops),
    samples=_row_samples,
    doc="-x[i, target[i]] of rows x (n, classes); the mean is over the rows that count, NaN if none does.",
)


def cross_entropy_parts(x: Any, target: Any, reduction: str, ignore_index: int) -> tuple[Any, Any]:
    """The mean or sum of cross entropies in NumPy, and what the backward pass would compute again: exp(x - max), its
    row sums, and the targets' places in the flat array. None for the latter if rows are ignored."""
    rows, classes = x.shape
    if _check_targets(target, classes, ignore_index) is not None or not x.size:
        return _cross_entropy(x, target, reduction, ignore_index), None
    places = np.arange(0, rows * classes, classes)
    places += target
    z = x - np.maximum.reduce(x, 1, keepdims=True)
    picked = z.ravel()[places]
    np.exp(z, out=z)
    sums = np.add.reduce(z, 1, keepdims=True)
    total = np.add.reduce(np.log(sums), None) - np.add.reduce(picked)
    return total if reduction == "sum" else total / x.dtype.type(rows), (z, sums, places)


def _cross_entropy(x: Any, target: Any, reduction: str, ignore_index: int) -> Any:
    return _nll_loss(log_softmax.evaluate(x, 1), target, reduction, ignore_index)


def _cross_entropy_in_ops(x: Any, target: Any, reduction: str, ignore_index: int) -> Any:
    if 0 in x.shape:
        return NotImplemented
    top = amax(x, axis=(1,), keepdims=True)
    sums = sum_(exp(x - top), axis=(1,), keepdims=True)
    kept = not_equal(target, ignore_index)
    picked = gather(x, np.arange(x.shape[0]), where(kept, target, 0))
    losses = reshape(log(sums), shape=target.shape) - (picked - reshape(top, shape=target.shape))
    return _reduce_rows(where(kept, losses, 0), kept, reduction)


def _cross_entropy_vjp(
    g: Any, _y: Any, x: Any, target: Any, parts: Any = None, *, reduction: str, ignore_index: int
) -> tuple[Any, None]:
    if parts is not None and isinstance(g, np.generic):
        powers, sums, places = parts
        g = _divided(g, len(places), reduction)
        d = powers * (g / sums)
        d.ravel()[places] -= g
        return d, None
    d = softmax(x, axis=1) - _one_hot(target, x.shape[1], x.dtype)
    return d * _row_weights(g, target, reduction, ignore_index), None


def _cross_entropy_jvp(tangents: Sequence[Any], y: Any, x: Any, target: Any, reduction: str, ignore_index: int) -> Any:
    t = tangents[0]
    t = t - sum_(softmax(x, axis=1) * t, axis=(1,), keepdims=True)
    return nll_loss(t, target, reduction=reduction, ignore_index=ignore_index)


cross_entropy: Op = general(
    "cross_entropy",
    _cross_entropy,
    vjp=_cross_entropy_vjp,
    jvp=_cross_entropy_jvp,
    shape=_rows_shape,
    batch=_rows_batch(lambda: cross_entropy),
    lower=Expansion(_cross_entropy_in_ops),
    samples=_row_samples,
    title="NllLossBackward0",
    doc="""nll_loss(log_softmax(x), target) of rows x (n, classes), in one step.
    The rule takes `cross_entropy_parts` as a further operand, if they were kept.""",
)
