"""Recurrent layers over a whole sequence: one op for all steps of a direction, with its rules.

Sequences of unequal length are packed: the rows of all sequences at step 0, then at step 1, and so on, the longest
sequence first, so that step t has `sizes[t]` rows and row r of each belongs to sequence r. Sequences of one length are
the case of equal sizes. `reverse` runs from the last step to the first. The operands are

    pre    (rows, gates·H)  what the inputs and the biases contribute to each step's gates
    h, c   (sequences, H)   the states before the first step that a sequence takes part in
    w      (gates·H, H)     the weight of the state before

and the result has for each row everything that its step computed, the state last, side by side. All rules are loops
over the steps; what does not depend on the step before is computed for all rows at once. Further axes may lead the last
two: all of an operand's peers have them, except that weights need not.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pullback.ops.compare import greater
from pullback.ops.elementwise import tanh, where
from pullback.ops.index import slice_
from pullback.ops.kernels import sigmoid
from pullback.ops.products import matmul, matrix_transpose
from pullback.ops.samples import Sample, normal
from pullback.ops.shape import broadcast_to, concatenate, reshape, sum_to
from pullback.ops.table import Op, general
from pullback.values.shape import Shape, Spec

__all__ = ["gru_scan", "lstm_scan", "rnn_scan"]


class Step(NamedTuple):
    """Rows start:stop. The first `kept` of them continue the rows from `before` on; the others begin with h0's."""

    start: int
    stop: int
    before: int
    kept: int


@functools.lru_cache(maxsize=256)
def _steps(sizes: Shape, reverse: bool) -> tuple[Step, ...]:
    """The steps in the order they are taken."""
    starts = [0]
    for n in sizes:
        starts.append(starts[-1] + n)
    found: list[Step] = []
    last, kept = 0, 0
    for t in reversed(range(len(sizes))) if reverse else range(len(sizes)):
        found.append(Step(starts[t], starts[t + 1], last, min(kept, sizes[t])))
        last, kept = starts[t], sizes[t]
    return tuple(found)


@functools.lru_cache(maxsize=256)
def _pieces(sizes: Shape, reverse: bool) -> tuple[tuple[bool, int, int], ...]:
    """The states before each row, in the rows' order, as ranges of the first states (True) or of the rows."""
    found: list[tuple[bool, int, int]] = []
    for step in sorted(_steps(sizes, reverse)):
        size = step.stop - step.start
        for piece in ((False, step.before, step.before + step.kept), (True, step.kept, size)):
            if piece[1] == piece[2]:
                continue
            if found and found[-1][0] == piece[0] and found[-1][2] == piece[1]:
                found[-1] = (piece[0], found[-1][1], piece[2])
            else:
                found.append(piece)
    return tuple(found)


# Parts of matrices, whatever leads them


def _rows(x: Any, start: int, stop: int) -> Any:
    if type(x) is np.ndarray:
        return x[..., start:stop, :]
    lead = (slice(None),) * (len(x.shape) - 2)
    return slice_(x, index=(*lead, slice(start, stop), slice(None)))


def _columns(x: Any, *sizes: int) -> list[Any]:
    """x cut into parts of so many columns."""
    found, start = [], 0
    lead = (slice(None),) * (len(x.shape) - 1)
    for n in sizes:
        index = (*lead, slice(start, start + n))
        found.append(x[index] if type(x) is np.ndarray else slice_(x, index=index))
        start += n
    return found


def _beside(*parts: Any) -> Any:
    return parts[0] if len(parts) == 1 else concatenate(*parts, axis=len(parts[0].shape) - 1)


def _below(*parts: Any) -> Any:
    return parts[0] if len(parts) == 1 else concatenate(*parts, axis=len(parts[0].shape) - 2)


def _before(first: Any, states: Any, sizes: Shape, reverse: bool) -> Any:
    """The state before each row."""
    return _below(*(_rows(first if fresh else states, a, b) for fresh, a, b in _pieces(sizes, reverse)))


def _entering(step: Step, last: Any, first: Any) -> Any:
    """The states that a step begins with, from those of the step before."""
    size = step.stop - step.start
    if step.kept == size:
        return last if last.shape[-2] == size else _rows(last, 0, size)
    fresh = first if first.shape[-2] == size and not step.kept else _rows(first, step.kept, size)
    return _below(last, fresh) if step.kept else fresh


class _Carry:
    """The cotangent of one state, on its way back through the steps to the first states."""

    def __init__(self, g: Any) -> None:
        self.g = g  # what arrives at each row from outside
        self.later: Any = None  # and from the step that was taken after
        self.first: list[tuple[int, Any]] = []

    def at(self, step: Step) -> Any:
        g, later = _rows(self.g, step.start, step.stop), self.later
        if later is None:
            return g
        missing = step.stop - step.start - later.shape[-2]
        if missing:
            later = _below(later, np.zeros((*later.shape[:-2], missing, later.shape[-1]), later.dtype))
        return g + later

    def back(self, step: Step, d: Any) -> None:
        """Pass on the cotangent of the states that a step began with."""
        size = step.stop - step.start
        if step.kept == size:
            self.later = d
            return
        self.first.append((step.kept, _rows(d, step.kept, size)))
        self.later = _rows(d, 0, step.kept) if step.kept else None

    def whole(self) -> Any:
        return _below(*(d for _, d in sorted(self.first, key=lambda piece: piece[0])))


def _in_order(steps: Sequence[Step], parts: Sequence[Any]) -> Any:
    """What each step gave, in the rows' order."""
    return _below(*(part for _, part in sorted(zip(steps, parts, strict=True), key=lambda pair: pair[0].start)))


def _to_weight(d: Any, x: Any, w: Any) -> Any:
    """The cotangent of w where x @ w.T has the cotangent d."""
    return sum_to(matmul(matrix_transpose(d), x), w.shape)


def _times(x: Any, w: Any) -> Any:
    return matmul(x, matrix_transpose(w))


def _turned(w: Any) -> Any:
    """w.T in an array of its own, with which the many small products are quicker."""
    return np.ascontiguousarray(w.swapaxes(-1, -2))


def _plus(*terms: Any) -> Any:
    """The sum of those terms that are there; None if none is."""
    total = None
    for term in terms:
        if term is not None:
            total = term if total is None else total + term
    return total


def _is_zero(x: Any) -> bool:
    return type(x) is np.ndarray and not x.any()


def _shape_of(columns: Any) -> Any:
    def shape(pre: Spec, h: Spec, *others: Spec, sizes: Shape, **params: Any) -> Spec:
        if pre.shape[-2] != sum(sizes) or h.shape[-2] != max(sizes):
            raise ValueError(f"steps of {sizes} rows do not fit operands {pre} and {h}")
        return Spec((*pre.shape[:-1], columns(h, *others)), pre.dtype)

    return shape


def _batch_of(op: Any, states: int) -> Any:
    """The batching rule, of an op whose first `states` operands are rows and the others weights."""

    def batch(size: int, args: tuple[Any, ...], batched: tuple[bool, ...], **params: Any) -> Any:
        rank = max(len(x.shape) - has for x, has in zip(args[:states], batched, strict=False))
        ready = []
        for i, (x, has) in enumerate(zip(args, batched, strict=True)):
            missing = rank - (len(x.shape) - has)
            if has and missing:
                x = reshape(x, shape=(size, *(1,) * missing, *x.shape[1:]))
            elif i < states and not has:
                x = broadcast_to(x, shape=(size, *x.shape))
            ready.append(x)
        return op()(*ready, **params)

    return batch


# Elman's network


def _rnn(pre: Any, h: Any, w: Any, sizes: Shape, reverse: bool, relu: bool) -> Any:
    y = np.empty((*pre.shape[:-1], h.shape[-1]), pre.dtype)
    wt, last = _turned(w), h
    for step in _steps(sizes, reverse):
        z = np.matmul(_entering(step, last, h), wt)
        z += _rows(pre, step.start, step.stop)
        last = _rows(y, step.start, step.stop)
        np.maximum(z, 0, out=last) if relu else np.tanh(z, out=last)
    return y


def _rnn_slope(y: Any, relu: bool) -> Any:
    return where(greater(y, 0.0), np.ones((), y.dtype), 0.0) if relu else 1.0 - y * y


def _rnn_vjp(g: Any, y: Any, _pre: Any, h: Any, w: Any, sizes: Shape, reverse: bool, relu: bool) -> tuple[Any, ...]:
    steps, slope, carry, parts = _steps(sizes, reverse), _rnn_slope(y, relu), _Carry(g), []
    for step in reversed(steps):
        parts.append(carry.at(step) * _rows(slope, step.start, step.stop))
        carry.back(step, matmul(parts[-1], w))
    d = _in_order(steps[::-1], parts)
    return d, carry.whole(), _to_weight(d, _before(h, y, sizes, reverse), w)


def _rnn_jvp(tangents: Sequence[Any], y: Any, pre: Any, h: Any, w: Any, sizes: Shape, reverse: bool, relu: bool) -> Any:
    t_pre, t_h, t_w = tangents
    steps, slope, parts = _steps(sizes, reverse), _rnn_slope(y, relu), []
    drive = _plus(t_pre, None if t_w is None else _times(_before(h, y, sizes, reverse), t_w))
    first = _given(t_h, h)
    last = first
    for step in steps:
        t = _times(_entering(step, last, first), w)
        t = t if drive is None else t + _rows(drive, step.start, step.stop)
        parts.append(last := t * _rows(slope, step.start, step.stop))
    return _in_order(steps, parts)


def _given(t: Any, x: Any) -> Any:
    return np.zeros(x.shape, x.dtype) if t is None else t


_FULL: dict[str, Any] = {"sizes": (2, 2, 2), "reverse": False}
_PACKED: dict[str, Any] = {"sizes": (3, 2, 1), "reverse": False}
_REVERSE: dict[str, Any] = {"sizes": (3, 2, 1), "reverse": True}


def _samples(gates: int, states: int, weights: Sequence[Any], *options: dict[str, Any]) -> list[Sample]:
    """Sequences of one length and of several, either way; two features."""
    found = []
    for option in options:
        n = option["sizes"][0]
        found.append(Sample(normal(6, 2 * gates), *[normal(n, 2)] * states, *weights, **option))
    return found


rnn_scan: Op = general(
    "rnn_scan",
    _rnn,
    vjp=_rnn_vjp,
    jvp=_rnn_jvp,
    shape=_shape_of(lambda h, w: h.shape[-1]),
    batch=_batch_of(lambda: rnn_scan, 2),
    samples=_samples(
        1, 1, [normal(2, 2)], *({**_FULL, "relu": r} for r in (False, True)), {**_PACKED, "relu": False},
        {**_REVERSE, "relu": False},
    ),
    title="RnnBackward0",
    doc="h' = tanh(pre + h @ w.T) for each step, or the relu of it (slope 0 at 0). The result is h' (rows, H).",
)  # fmt: skip


# Long short-term memory


def _lstm(pre: Any, h: Any, c: Any, w: Any, *proj: Any, sizes: Shape, reverse: bool) -> Any:
    size, out = c.shape[-1], h.shape[-1]
    y = np.empty((*pre.shape[:-1], 5 * size + out), pre.dtype)
    wt, last_h, last_c = _turned(w), h, c
    for step in _steps(sizes, reverse):
        z = np.matmul(_entering(step, last_h, h), wt)
        z += _rows(pre, step.start, step.stop)
        c_before = _entering(step, last_c, c)
        row = _rows(y, step.start, step.stop)
        i, f, a, o, last_c, last_h = _columns(row, size, size, size, size, size, out)
        row[..., : 4 * size] = sigmoid(z)
        np.tanh(z[..., 2 * size : 3 * size], out=a)
        np.multiply(f, c_before, out=last_c)
        last_c += i * a
        q = o * np.tanh(last_c)
        last_h[...] = np.matmul(q, proj[0].swapaxes(-1, -2)) if proj else q
    return y


def _lstm_parts(y: Any, size: int, out: int) -> tuple[Any, Any, list[Any]]:
    """The slopes of the gates, those of the state's tanh times its gate, and the parts of the result."""
    parts = _columns(y, size, size, size, size, size, out)
    i, f, a, o, c, _ = parts
    s = tanh(c)
    slopes = _beside(i * (1.0 - i), f * (1.0 - f), 1.0 - a * a, o * (1.0 - o))
    return slopes, o * (1.0 - s * s), [*parts[:4], s, c]


def _lstm_vjp(
    g: Any, y: Any, _pre: Any, h: Any, c: Any, w: Any, *proj: Any, sizes: Shape, reverse: bool
) -> tuple[Any, ...]:
    size, out = c.shape[-1], h.shape[-1]
    steps = _steps(sizes, reverse)
    slopes, bend, (i, f, a, o, s, cells) = _lstm_parts(y, size, out)
    reach = slopes * _beside(a, _before(c, cells, sizes, reverse), i, s)
    g_gates, g_cell, g_state = _columns(g, 4 * size, size, out)
    extra = None if _is_zero(g_gates) else g_gates * slopes
    h_before = _before(h, _columns(y, 5 * size, out)[1], sizes, reverse)
    if extra is None and not proj and len(set(sizes)) == 1 and g.ndim == 2 and type(reach) is type(w) is np.ndarray:
        d, d_h, d_c = _lstm_back(g_state, g_cell, reach, bend, f, w, steps)
        return d, d_h, d_c, _to_weight(d, h_before, w)
    cell, state, parts, arrived = _Carry(g_cell), _Carry(g_state), [], []
    for step in reversed(steps):
        here = step.start, step.stop
        d_h = state.at(step)
        arrived.append(d_h)
        d_q = matmul(d_h, proj[0]) if proj else d_h
        d_c = cell.at(step) + d_q * _rows(bend, *here)
        d = _beside(d_c, d_c, d_c, d_q) * _rows(reach, *here)
        if extra is not None:
            d = d + _rows(extra, *here)
        parts.append(d)
        state.back(step, matmul(d, w))
        cell.back(step, d_c * _rows(f, *here))
    d = _in_order(steps[::-1], parts)
    found = d, state.whole(), cell.whole(), _to_weight(d, h_before, w)
    return (*found, _to_weight(_in_order(steps[::-1], arrived), o * s, proj[0])) if proj else found


def _lstm_back(
    g_state: Any, g_cell: Any, reach: Any, bend: Any, f: Any, w: Any, steps: Sequence[Step]
) -> tuple[Any, Any, Any]:
    """The steps of `_lstm_vjp` for arrays and sequences of one length, in place: in half the time."""
    size = f.shape[1]
    n = steps[0].stop - steps[0].start
    d = np.empty_like(reach)
    by_gate, slopes = (x.reshape(len(x), 4, size) for x in (d, reach))
    d_h, d_c = np.zeros((2, n, size), d.dtype)
    for step in reversed(steps):
        rows = slice(step.start, step.stop)
        d_h += g_state[rows]
        d_c += g_cell[rows]
        d_c += d_h * bend[rows]
        np.multiply(slopes[rows, :3], d_c[:, None], out=by_gate[rows, :3])
        np.multiply(slopes[rows, 3], d_h, out=by_gate[rows, 3])
        d_h = np.matmul(d[rows], w)
        d_c *= f[rows]
    return d, d_h, d_c


def _lstm_jvp(
    tangents: Sequence[Any],
    y: Any,
    pre: Any,
    h: Any,
    c: Any,
    w: Any,
    *proj: Any,
    sizes: Shape,
    reverse: bool,
) -> Any:
    t_pre, t_h, t_c, t_w, *t_proj = tangents
    size, out = c.shape[-1], h.shape[-1]
    steps = _steps(sizes, reverse)
    slopes, bend, (i, f, a, o, s, cells) = _lstm_parts(y, size, out)
    h_before = _before(h, _columns(y, 5 * size, out)[1], sizes, reverse)
    reach = _beside(a, _before(c, cells, sizes, reverse), i, s)
    drive = _plus(t_pre, None if t_w is None else _times(h_before, t_w))
    first_h, first_c = _given(t_h, h), _given(t_c, c)
    last_h, last_c, rows = first_h, first_c, []
    through = _times(o * s, t_proj[0]) if proj and t_proj[0] is not None else None
    for step in steps:
        here = step.start, step.stop
        t = _times(_entering(step, last_h, first_h), w)
        t = (t if drive is None else t + _rows(drive, *here)) * _rows(slopes, *here)
        by_i, by_f, by_a, by_o = _columns(t * _rows(reach, *here), size, size, size, size)
        last_c = by_i + by_f + by_a + _entering(step, last_c, first_c) * _rows(f, *here)
        last_h = by_o + last_c * _rows(bend, *here)
        if proj:
            last_h = _plus(_times(last_h, proj[0]), None if through is None else _rows(through, *here))
        rows.append(_beside(t, last_c, last_h))
    return _in_order(steps, rows)


lstm_scan: Op = general(
    "lstm_scan",
    _lstm,
    vjp=_lstm_vjp,
    jvp=_lstm_jvp,
    shape=_shape_of(lambda h, c, *_: 5 * c.shape[-1] + h.shape[-1]),
    batch=_batch_of(lambda: lstm_scan, 3),
    samples=[
        *_samples(4, 2, [normal(8, 2)], _FULL, _REVERSE),
        Sample(normal(6, 8), normal(3, 1), normal(3, 2), normal(8, 1), normal(1, 2), **_PACKED),
    ],
    title="LstmBackward0",
    doc="""The gates i, f, a, o are sigmoid(pre + h @ w.T), for a the tanh; c' = f c + i a; h' = o tanh(c'), or of that
    its product with a last operand (out, H), transposed. The result is [i f a o c' h'] (rows, 5·H + out).""",
)


# Gated recurrent unit


def _gru(pre: Any, h: Any, w: Any, b: Any, sizes: Shape, reverse: bool) -> Any:
    size = h.shape[-1]
    y = np.empty((*pre.shape[:-1], 5 * size), pre.dtype)
    wt, last = _turned(w), h
    for step in _steps(sizes, reverse):
        h_before = _entering(step, last, h)
        z = np.matmul(h_before, wt)
        z += b
        x = _rows(pre, step.start, step.stop)
        row = _rows(y, step.start, step.stop)
        row[..., : 2 * size] = sigmoid(z[..., : 2 * size] + x[..., : 2 * size])
        r, u, n, m, last = _columns(row, *[size] * 5)
        m[...] = z[..., 2 * size :]
        np.tanh(x[..., 2 * size :] + r * m, out=n)
        np.subtract(h_before, n, out=last)
        last *= u
        last += n
    return y


def _gru_parts(y: Any, h: Any, sizes: Shape, reverse: bool) -> tuple[Any, Any, Any, list[Any]]:
    """The state before each row, the slopes of the gates r and u, that of the candidate, and the result's parts."""
    parts = _columns(y, *[h.shape[-1]] * 5)
    r, u, n, _, states = parts
    return _before(h, states, sizes, reverse), _beside(r * (1.0 - r), u * (1.0 - u)), 1.0 - n * n, parts


def _gru_vjp(g: Any, y: Any, _pre: Any, h: Any, w: Any, b: Any, sizes: Shape, reverse: bool) -> tuple[Any, ...]:
    size = h.shape[-1]
    steps = _steps(sizes, reverse)
    h_before, slopes, bend, (r, u, n, m, _) = _gru_parts(y, h, sizes, reverse)
    fresh, rise = (1.0 - u) * bend, h_before - n
    g_gates, g_n, g_m, g_state = _columns(g, 2 * size, size, size, size)
    extra = None if _is_zero(g_gates) and _is_zero(g_n) and _is_zero(g_m) else (g_gates * slopes, g_n * bend, g_m)
    state, inner, outer = _Carry(g_state), [], []
    for step in reversed(steps):
        here = step.start, step.stop
        d_h = state.at(step)
        d_n = d_h * _rows(fresh, *here)
        if extra is not None:
            d_n = d_n + _rows(extra[1], *here)
        d_gates = _beside(d_n * _rows(m, *here), d_h * _rows(rise, *here)) * _rows(slopes, *here)
        d_m = d_n * _rows(r, *here)
        if extra is not None:
            d_gates, d_m = d_gates + _rows(extra[0], *here), d_m + _rows(extra[2], *here)
        inner.append(_beside(d_gates, d_m))
        outer.append(_beside(d_gates, d_n))
        state.back(step, d_h * _rows(u, *here) + matmul(inner[-1], w))
    d = _in_order(steps[::-1], inner)
    return _in_order(steps[::-1], outer), state.whole(), _to_weight(d, h_before, w), sum_to(d, b.shape)


def _gru_jvp(tangents: Sequence[Any], y: Any, pre: Any, h: Any, w: Any, b: Any, sizes: Shape, reverse: bool) -> Any:
    t_pre, t_h, t_w, t_b = tangents
    size = h.shape[-1]
    steps = _steps(sizes, reverse)
    h_before, slopes, bend, (r, u, n, m, _) = _gru_parts(y, h, sizes, reverse)
    rise, rest = h_before - n, 1.0 - u
    drive = _plus(None if t_w is None else _times(h_before, t_w), t_b)
    if drive is not None and drive.shape != pre.shape:
        drive = broadcast_to(drive, shape=pre.shape)
    first = _given(t_h, h)
    last, rows = first, []
    for step in steps:
        here = step.start, step.stop
        t_before = _entering(step, last, first)
        t = _times(t_before, w)
        t = t if drive is None else t + _rows(drive, *here)
        t_gates, t_m = _columns(t, 2 * size, size)
        t_n = _rows(r, *here) * t_m
        if t_pre is not None:
            x_gates, x_n = _columns(_rows(t_pre, *here), 2 * size, size)
            t_gates, t_n = t_gates + x_gates, t_n + x_n
        t_gates = t_gates * _rows(slopes, *here)
        t_r, t_u = _columns(t_gates, size, size)
        t_n = (t_n + t_r * _rows(m, *here)) * _rows(bend, *here)
        last = t_before * _rows(u, *here) + t_n * _rows(rest, *here) + t_u * _rows(rise, *here)
        rows.append(_beside(t_gates, t_n, t_m, last))
    return _in_order(steps, rows)


gru_scan: Op = general(
    "gru_scan",
    _gru,
    vjp=_gru_vjp,
    jvp=_gru_jvp,
    shape=_shape_of(lambda h, *_: 5 * h.shape[-1]),
    batch=_batch_of(lambda: gru_scan, 2),
    samples=_samples(3, 1, [normal(6, 2), normal(1, 6)], _FULL, _PACKED, _REVERSE),
    title="GruBackward0",
    doc="""With [p q m] = h @ w.T + b (b is (1, 3·H)) and pre = [x y z]: r = sigmoid(x + p), u = sigmoid(y + q),
    n = tanh(z + r m), h' = u h + (1 - u) n. The result is [r u n m h'] (rows, 5·H).""",
)
