"""Loops over the steps of sequences in JAX: recurrent layers, and the alignments of CTC.

Sequences of one length are a `lax.scan`, which JAX differentiates; packed ones of several lengths are unrolled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.compile.export.jax_rules.entry import Rule
from pullback.values.shape import Shape

__all__ = ["alignments_rule", "recurrent_rules"]

Cell = Callable[[tuple[Any, ...], Any], tuple[tuple[Any, ...], Any]]  # states, rows -> next states, results


def _over_steps(cell: Cell, pre: Any, states: tuple[Any, ...], sizes: Shape, reverse: bool) -> Any:
    """The results of a cell for all rows of `pre`; step t has `sizes[t]` rows, see `ops.recurrent`."""
    import jax.numpy as jnp
    from jax import lax

    if len(set(sizes)) == 1:
        steps = jnp.moveaxis(jnp.reshape(pre, (*pre.shape[:-2], len(sizes), sizes[0], pre.shape[-1])), -3, 0)
        rows = jnp.moveaxis(lax.scan(cell, states, steps, reverse=reverse)[1], 0, -3)
        return jnp.reshape(rows, (*pre.shape[:-1], rows.shape[-1]))
    bounds = [0, *np.cumsum(sizes).tolist()]
    found: list[Any] = [None] * len(sizes)
    for t in reversed(range(len(sizes))) if reverse else range(len(sizes)):
        mine = tuple(state[..., : sizes[t], :] for state in states)
        mine, found[t] = cell(mine, pre[..., bounds[t] : bounds[t + 1], :])
        states = tuple(x.at[..., : sizes[t], :].set(new) for x, new in zip(states, mine, strict=True))
    return jnp.concatenate(found, -2)


def recurrent_rules() -> dict[str, Rule]:
    """The rules of the recurrent layers, by the name of the op."""
    import jax
    import jax.numpy as jnp

    def times(x: Any, w: Any) -> Any:
        return x @ jnp.swapaxes(w, -1, -2)

    def rnn(pre: Any, h: Any, w: Any, sizes: Shape, reverse: bool, relu: bool) -> Any:
        def cell(states: tuple[Any, ...], x: Any) -> tuple[tuple[Any, ...], Any]:
            y = (jax.nn.relu if relu else jnp.tanh)(times(states[0], w) + x)
            return (y,), y

        return _over_steps(cell, pre, (h,), sizes, reverse)

    def lstm(pre: Any, h: Any, c: Any, w: Any, *proj: Any, sizes: Shape, reverse: bool) -> Any:
        def cell(states: tuple[Any, ...], x: Any) -> tuple[tuple[Any, ...], Any]:
            z = jnp.split(times(states[0], w) + x, 4, -1)
            i, f, o = (1 / (1 + jnp.exp(-z[k])) for k in (0, 1, 3))
            a = jnp.tanh(z[2])
            c = f * states[1] + i * a
            q = o * jnp.tanh(c)
            h = times(q, proj[0]) if proj else q
            return (h, c), jnp.concatenate([i, f, a, o, c, h], -1)

        return _over_steps(cell, pre, (h, c), sizes, reverse)

    def gru(pre: Any, h: Any, w: Any, b: Any, sizes: Shape, reverse: bool) -> Any:
        def cell(states: tuple[Any, ...], x: Any) -> tuple[tuple[Any, ...], Any]:
            x, z = (jnp.split(part, 3, -1) for part in (x, times(states[0], w) + b))
            r, u = (1 / (1 + jnp.exp(-(z[k] + x[k]))) for k in (0, 1))
            n = jnp.tanh(x[2] + r * z[2])
            y = n + u * (states[0] - n)
            return (y,), jnp.concatenate([r, u, n, z[2], y], -1)

        return _over_steps(cell, pre, (h,), sizes, reverse)

    return {"rnn_scan": rnn, "lstm_scan": lstm, "gru_scan": gru}


def alignments_rule() -> Rule:
    """The rule of the op `alignments`, see `ops.ctc`."""
    import jax.numpy as jnp
    from jax import lax

    def rule(e: Any, skips: Any, ends: Any, lengths: Any) -> Any:
        steps, n, states = e.shape

        def later(x: Any, by: int) -> Any:
            return jnp.pad(x, ((0, 0), (by, 0)), constant_values=-np.inf)[:, :states]

        def step(a: Any, now: tuple[Any, Any]) -> tuple[Any, None]:
            t, emitted = now
            entered = jnp.logaddexp(jnp.logaddexp(a, later(a, 1)), jnp.where(skips, later(a, 2), -np.inf))
            return jnp.where((t < lengths)[:, None], entered + emitted, a), None

        begin = jnp.full((n, states), -np.inf, e.dtype).at[:, 0].set(0)
        last = jnp.where(ends, lax.scan(step, begin, (jnp.arange(steps), e))[0], -np.inf)
        top = jnp.max(last, 1, keepdims=True)
        top = jnp.where(jnp.isfinite(top), top, 0)
        return (jnp.log(jnp.sum(jnp.exp(last - top), 1, keepdims=True)) + top)[:, 0]

    return rule
