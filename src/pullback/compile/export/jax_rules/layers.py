"""Operations of neural networks in JAX: affine maps, normalisation, losses, windows, convolutions, recurrent layers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pullback.compile.export.jax_rules.entry import Entry, Rule
from pullback.compile.export.jax_rules.recurrent import alignments_rule, recurrent_rules
from pullback.ops.windows import Window
from pullback.values.shape import Shape

__all__ = ["layer_entries"]

_MEET = frozenset(
    """project affine convolution convolution_input convolution_weight biased_convolution layer_norm mse_loss l1_loss
    smooth_l1_loss huber_loss binary_cross_entropy binary_cross_entropy_with_logits kl_div""".split()
)


def layer_entries() -> dict[str, Entry]:
    """The entries, by the name of the op."""
    rules = _maps() | _losses() | _windows() | _convolutions()
    rules["alignments"] = alignments_rule()
    native = recurrent_rules()
    return {
        **{name: Entry(rule, meets=name in _MEET) for name, rule in rules.items()},
        **{name: Entry(rule, native=True) for name, rule in native.items()},
    }


def _maps() -> dict[str, Rule]:
    import jax.numpy as jnp

    def log_softmax(x: Any, axis: int) -> Any:
        y = x - jnp.max(x, axis, keepdims=True, initial=-np.inf)
        return y - jnp.log(jnp.sum(jnp.exp(y), axis, keepdims=True))

    def softmax(x: Any, axis: int) -> Any:
        y = jnp.exp(x - jnp.max(x, axis, keepdims=True, initial=-np.inf))
        return y / jnp.sum(y, axis, keepdims=True)

    def standardize(x: Any, axis: Shape, eps: float) -> Any:
        y = x - jnp.mean(x, axis, keepdims=True)
        return y / jnp.sqrt(jnp.mean(jnp.square(y), axis, keepdims=True) + eps)

    def layer_norm(x: Any, w: Any, b: Any, eps: float) -> Any:
        return standardize(x, tuple(range(x.ndim - w.ndim, x.ndim)), eps) * w + b

    return {
        "project": lambda x, w: x @ w.T,
        "affine": lambda x, w, b: x @ w.T + b,
        "softmax": softmax,
        "log_softmax": log_softmax,
        "standardize": standardize,
        "layer_norm": layer_norm,
        "embedding": lambda w, index, padding: w[index],
    }


def _losses() -> dict[str, Rule]:
    import jax.numpy as jnp

    def reduced(losses: Any, reduction: str) -> Any:
        if reduction == "none":
            return losses
        wide = losses.astype(np.float32) if losses.dtype.itemsize == 2 else losses
        total = jnp.sum(wide)
        return total if reduction == "sum" else total / wide.size if wide.size else total * np.nan

    def loss(rule: Rule) -> Rule:
        return lambda x, t, reduction, **params: reduced(rule(x, t, **params), reduction)

    def smooth_l1(x: Any, t: Any, beta: float) -> Any:
        d = jnp.abs(x - t)
        return jnp.where(d < beta, d * d * (0.5 / beta), d - 0.5 * beta) if beta else d

    def huber(x: Any, t: Any, delta: float) -> Any:
        d = jnp.abs(x - t)
        return jnp.where(d <= delta, 0.5 * d * d, delta * (d - 0.5 * delta))

    def cross_entropy(x: Any, t: Any) -> Any:
        return (t - 1) * jnp.maximum(jnp.log1p(-x), -100) - t * jnp.maximum(jnp.log(x), -100)

    def divergence(x: Any, t: Any, log_target: bool) -> Any:
        return jnp.exp(t) * (t - x) if log_target else t * jnp.log(jnp.where(t == 0, 1, t)) - t * x

    def nll(x: Any, target: Any, reduction: str, ignore_index: int) -> Any:
        kept = target != ignore_index
        losses = -jnp.take_along_axis(x, jnp.where(kept, target, 0)[:, None], 1)[:, 0]
        losses = jnp.where(kept, losses, 0)
        if reduction == "mean":
            return reduced(losses, "sum") / jnp.sum(kept)
        return reduced(losses, reduction)

    log_softmax = _maps()["log_softmax"]
    return {
        "mse_loss": loss(lambda x, t: jnp.square(x - t)),
        "l1_loss": loss(lambda x, t: jnp.abs(x - t)),
        "smooth_l1_loss": loss(smooth_l1),
        "huber_loss": loss(huber),
        "binary_cross_entropy": loss(cross_entropy),
        "binary_cross_entropy_with_logits": loss(
            lambda x, t: jnp.maximum(x, 0) - x * t + jnp.log1p(jnp.exp(-jnp.abs(x)))
        ),
        "kl_div": loss(divergence),
        "nll_loss": nll,
        "cross_entropy": lambda x, target, reduction, ignore_index: nll(
            log_softmax(x, 1), target, reduction, ignore_index
        ),
    }


def _reads(size: int, out: int, kernel: int, stride: int, padding: tuple[int, int], dilation: int) -> tuple[Any, Any]:
    """For each element of a window along one axis (kernel, out): which it is of the operand, and whether it is one."""
    place = np.arange(kernel)[:, None] * dilation - padding[0] + np.arange(out) * stride
    inside = (place >= 0) & (place < size)
    return np.where(inside, place, 0), inside


def _windows() -> dict[str, Rule]:
    import jax
    import jax.numpy as jnp

    def laid_out(x: Any, window: Window, outside: Any) -> tuple[Any, Any]:
        """x (*, *size) as (*, *kernel, *out) with `outside` in the padding, and where it isn't padding."""
        n = len(window.kernel)
        lead = x.ndim - n
        size = x.shape[lead:]
        inside = np.ones((1,) * (2 * n), bool)
        for i, (m, out, *axis) in enumerate(zip(size, window.out(size), *window, strict=True)):
            place, mine = _reads(m, out, *axis)
            x = jnp.take(x, place, lead + 2 * i)
            inside = inside & mine.reshape([mine.shape[j - 2 * i] if j // 2 == i else 1 for j in range(2 * n)])
        x = jnp.where(inside, x, outside)
        order = (*range(0, 2 * n, 2), *range(1, 2 * n, 2))
        return jnp.transpose(x, (*range(lead), *(lead + i for i in order))), inside.transpose(order)

    def unfold(x: Any, window: Window) -> Any:
        return laid_out(x, window, 0)[0]

    def fold(y: Any, window: Window, size: Shape) -> Any:
        x = jax.ShapeDtypeStruct((*y.shape[: y.ndim - 2 * len(size)], *size), y.dtype)
        return jax.linear_transpose(lambda x: unfold(x, window), x)(y)[0]

    def flat(y: Any, window: Window) -> Any:
        """The axes of the kernel as one, in front of the windows'."""
        n = len(window.kernel)
        lead = y.ndim - 2 * n
        return jnp.reshape(y, (*y.shape[:lead], math.prod(window.kernel), *y.shape[lead + n :]))

    def numbers(which: Any, window: Window) -> Any:
        """Whether each element of a window is the one at the offset `which`."""
        n = len(window.kernel)
        offset = np.arange(math.prod(window.kernel)).reshape(*window.kernel, *(1,) * n)
        lead = which.shape[: which.ndim - n]
        return jnp.reshape(which, (*lead, *(1,) * n, *which.shape[which.ndim - n :])) == offset

    def argmax(x: Any, window: Window) -> Any:
        n = len(window.kernel)
        floating = jnp.issubdtype(x.dtype, jnp.floating)
        columns, inside = laid_out(x, window, -np.inf if floating else np.iinfo(x.dtype).min)
        columns, axis = flat(columns, window), x.ndim - n
        wins = columns == jnp.max(columns, axis, keepdims=True)
        if floating:
            wins = wins | jnp.isnan(columns)
        wins = wins & flat(jnp.broadcast_to(inside, (*window.kernel, *inside.shape[n:])), window)
        dtype = np.min_scalar_type(math.prod(window.kernel))
        return jnp.where(jnp.any(wins, axis), jnp.argmax(wins, axis), np.iinfo(dtype).max).astype(dtype)

    def pick(x: Any, which: Any, window: Window) -> Any:
        n = len(window.kernel)
        kernel = tuple(range(x.ndim - n, x.ndim))
        return jnp.sum(jnp.where(numbers(which, window), unfold(x, window), 0), kernel)

    def place(g: Any, which: Any, window: Window, size: Shape) -> Any:
        n = len(window.kernel)
        lead = g.shape[: g.ndim - n]
        each = jnp.reshape(g, (*lead, *(1,) * n, *g.shape[g.ndim - n :]))
        return fold(jnp.where(numbers(which, window), each, 0), window, size)

    def index(which: Any, window: Window, size: Shape) -> Any:
        out = which.shape[which.ndim - len(size) :]
        offsets = jnp.unravel_index(jnp.minimum(which.astype(int), math.prod(window.kernel) - 1), window.kernel)
        found: Any = 0
        for i, (n, m, _, s, (before, _), d, offset) in enumerate(zip(size, out, *window, offsets, strict=True)):
            begin = (np.arange(m) * s - before).reshape(-1, *(1,) * (len(out) - 1 - i))
            found = found * n + offset * d + begin
        return found

    return {
        "unfold": unfold,
        "fold": fold,
        "window_argmax": argmax,
        "window_pick": pick,
        "window_place": place,
        "window_index": index,
    }


def _convolutions() -> dict[str, Rule]:
    import jax
    from jax import lax

    def convolution(x: Any, w: Any, window: Window, groups: int) -> Any:
        return lax.conv_general_dilated(
            x, w, window.stride, window.padding, rhs_dilation=window.dilation, feature_group_count=groups
        )

    def to_input(g: Any, w: Any, window: Window, groups: int, size: Shape) -> Any:
        x = jax.ShapeDtypeStruct((g.shape[0], groups * w.shape[1], *size), g.dtype)
        return jax.linear_transpose(lambda x: convolution(x, w, window, groups), x)(g)[0]

    def to_weight(x: Any, g: Any, window: Window, groups: int) -> Any:
        w = jax.ShapeDtypeStruct((g.shape[1], x.shape[1] // groups, *window.kernel), g.dtype)
        return jax.linear_transpose(lambda w: convolution(x, w, window, groups), w)(g)[0]

    def biased(x: Any, w: Any, b: Any, window: Window, groups: int) -> Any:
        return convolution(x, w, window, groups) + b.reshape(-1, *(1,) * len(window.kernel))

    return {
        "convolution": convolution,
        "convolution_input": to_input,
        "convolution_weight": to_weight,
        "biased_convolution": biased,
    }
