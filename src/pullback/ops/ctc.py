"""The likelihood of all alignments of a label sequence: the core of connectionist temporal classification.

Graves, Fernández, Gomez and Schmidhuber, "Connectionist temporal classification", ICML 2006. The states are a blank,
the first label, a blank, the second label, ..., a blank. At each step an alignment stays, goes one state on, or two
where `skips` says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pullback.ops.compare import less
from pullback.ops.elementwise import logaddexp, share, where
from pullback.ops.index import slice_
from pullback.ops.reduce import logsumexp
from pullback.ops.samples import Sample, normal
from pullback.ops.shape import concatenate, reshape, stack, sum_, transpose, with_batch
from pullback.ops.table import Op, general
from pullback.values.shape import Spec

__all__ = ["alignments"]


def _later(x: Any, by: int) -> Any:
    """x (n, states) moved by so many states, -inf moving in."""
    n, states = x.shape
    edge = np.full((n, min(by, states)), -math.inf, x.dtype)
    return concatenate(edge, slice_(x, index=(slice(None), slice(0, max(states - by, 0)))), axis=1)


def _earlier(x: Any, by: int) -> Any:
    """The transpose of `_later`: 0 moves in at the other end."""
    n, states = x.shape
    edge = np.zeros((n, min(by, states)), x.dtype)
    return concatenate(slice_(x, index=(slice(None), slice(by, None))), edge, axis=1)


def _step(e: Any, t: int) -> Any:
    return slice_(e, index=(t, slice(None), slice(None)))


def _entered(a: Any, b: Any, c: Any) -> Any:
    """log(exp(a) + exp(b) + exp(c)). NumPy's logaddexp takes element by element: for arrays by its vector functions."""
    if not type(a) is type(b) is type(c) is np.ndarray:
        return logaddexp(logaddexp(a, b), c)
    top = np.maximum(np.maximum(a, b), c)
    top[top == -math.inf] = 0.0
    total = np.exp(a - top)
    total += np.exp(b - top)
    total += np.exp(c - top)
    with np.errstate(divide="ignore"):
        np.log(total, out=total)
    total += top
    return total


def _forward(e: Any, skips: Any, lengths: Any) -> tuple[list[Any], list[Any]]:
    """log Σ exp of all alignments up to each state: before the first step and after each, and what each step adds its
    emissions to. A sequence's own stays as it is after its last step.
    """
    steps, n, states = e.shape
    begin = np.full((n, states), -math.inf, e.dtype)
    begin[:, 0] = 0.0
    reached: list[Any] = [begin]
    entered: list[Any] = []
    for t in range(steps):
        a = reached[-1]
        entered.append(_entered(a, _later(a, 1), where(skips, _later(a, 2), -math.inf)))
        reached.append(where(_runs(lengths, t), entered[-1] + _step(e, t), a))
    return reached, entered


def _runs(lengths: Any, t: int) -> Any:
    return reshape(less(t, lengths), shape=(*lengths.shape, 1))


def _total(last: Any, ends: Any) -> Any:
    return logsumexp(where(ends, last, -math.inf), axis=(1,), keepdims=False)


def _alignments(e: Any, skips: Any, ends: Any, lengths: Any) -> Any:
    with np.errstate(invalid="ignore"):
        return _total(_forward(e, skips, lengths)[0][-1], ends)


def _occupancy(e: Any, skips: Any, ends: Any, lengths: Any) -> Any:
    """The probability of each state at each step: ∂y/∂e. Backwards from the end, each state's share of what it entered,
    so that nothing overflows or cancels.
    """
    reached, entered = _forward(e, skips, lengths)
    last = where(ends, reached[-1], -math.inf)
    total = reshape(_total(reached[-1], ends), shape=(e.shape[1], 1))
    here, found = share(last, total), []
    for t in reversed(range(e.shape[0])):
        runs = _runs(lengths, t)
        found.append(where(runs, here, 0.0))
        a, sums = reached[t], entered[t]
        skipped = share(where(skips, _later(a, 2), -math.inf), sums)
        back = here * share(a, sums) + _earlier(here * share(_later(a, 1), sums), 1) + _earlier(here * skipped, 2)
        here = where(runs, back, here)
    return stack(*found[::-1], axis=0) if found else e * 0.0


def _push(tangents: Sequence[Any], _y: Any, e: Any, skips: Any, ends: Any, lengths: Any) -> Any:
    return sum_(_occupancy(e, skips, ends, lengths) * tangents[0], axis=(0, 2), keepdims=False)


def _pull(g: Any, _y: Any, e: Any, skips: Any, ends: Any, lengths: Any) -> Any:
    return _occupancy(e, skips, ends, lengths) * reshape(g, shape=(1, e.shape[1], 1))


def _batch(size: int, args: tuple[Any, ...], batched: tuple[bool, ...]) -> Any:
    e, skips, ends, lengths = with_batch(size, args, batched)
    steps, n, states = e.shape[1:]
    e = reshape(transpose(e, axes=(1, 0, 2, 3)), shape=(steps, size * n, states))
    masks = [reshape(x, shape=(size * n, states)) for x in (skips, ends)]
    return reshape(alignments(e, *masks, reshape(lengths, shape=(size * n,))), shape=(size, n))


_SKIPS = np.array([[0, 0, 0, 1, 0], [0, 0, 0, 0, 0]], bool)
_ENDS = np.array([[0, 0, 0, 1, 1], [0, 1, 1, 0, 0]], bool)
alignments: Op = general(
    "alignments",
    _alignments,
    vjp=(_pull, None, None, None),
    jvp=_push,
    shape=lambda e, skips, ends, lengths: Spec(e.shape[1:2], e.dtype),
    batch=_batch,
    samples=[Sample(normal(4, 2, 5), _SKIPS, _ENDS, np.array([4, 2]))],
    title="CtcLossBackward0",
    doc="""log Σ exp(Σ of e along an alignment) over all alignments, for log-probabilities e (steps, n, states), masks
    `skips` and `ends` (n, states) of the states that may be entered from two before and that an alignment may end in,
    and each sequence's number of steps, `lengths` (n). -inf if there is no alignment.""",
)
