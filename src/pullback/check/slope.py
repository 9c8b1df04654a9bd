"""The derivative of a function of one number at 0, from its values, with a bound on the error.

Central differences at steps that are halved are extrapolated to step 0 (Romberg's scheme for derivatives; the rule that
picks the best entry of the table and bounds its error by its neighbours is Ridders': C. Ridders, "Accurate
computation of F'(x) and F'(x)F''(x)", Advances in Engineering Software 4 (1982) 75-76). Where a first table does not
settle, because the function lives on a smaller scale, is noisy, or has a kink or the edge of its domain nearby, tables
at ever smaller steps are made, and the one that bounds the error best is taken. It is held against differences at
steps that belong to no table. Nothing is assumed of the noise but the last bit of float64: noise shows itself in
tables whose neighbouring entries disagree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

__all__ = ["Line", "Slope", "glance", "slope"]

Array = np.ndarray[Any, np.dtype[np.float64]]
Kind = Literal["smooth", "kink", "edge", "jump", "undefined"]

_EPS: Final = 2.0**-52
_FIRST: Final = 2.0**-5  # the first step, of a line whose unit is the scale of the variables
_ROWS: Final = 6  # of a table
_SHORT: Final = 4  # rows of the tables after the first
_SETTLED: Final = 1e-9  # an error that needs no smaller steps, relative to the slope
_SMALLEST: Final = 2.0**-45
_JUMP: Final = 2.0**-5  # from one table to the next
_SAFETY: Final = 3.0
_AT_THE_END: Final = 1e-3  # a convention at a kink is often one of the one-sided slopes: so much of the gap is added


class Line:
    """A function of one number, `t -> values`; values at the same t are found once.

    Where the function raises an arithmetic error or gives what is not finite, the values are NaN. `ahead`, if there is
    one, is told of several t for which values will be wanted, so that they can be found at the same time.
    """

    def __init__(self, f: Callable[[float], Any], ahead: Callable[[list[float]], None] | None = None) -> None:
        self._f = f
        self._ahead = ahead
        self._known: dict[float, Array] = {}

    def expect(self, ts: Iterable[float]) -> None:
        """Say that the values at `ts` will be wanted."""
        if self._ahead is not None:
            self._ahead([t for t in ts if t not in self._known])

    @property
    def evaluations(self) -> int:
        """At how many places the function was called."""
        return len(self._known)

    def __call__(self, t: float) -> Array:
        found = self._known.get(t)
        if found is None:
            try:
                with np.errstate(all="ignore"):
                    found = np.atleast_1d(np.asarray(self._f(t), np.float64))
            except (ArithmeticError, ValueError, np.linalg.LinAlgError):
                if t == 0:
                    raise
                found = np.full_like(self._known.get(0.0, np.zeros(1)), np.nan)
            self._known[t] = found
        return found


@dataclass(frozen=True)
class Slope:
    """A derivative: `value` with |true - value| <= `error`, for each of the function's values.

    `kind` says what was found: a smooth function; a kink, where `left` and `right` are the one-sided slopes and the
    value is between them; the edge of the domain, where the slope is from one side; a jump; or nothing finite at all.
    """

    value: Array
    error: Array
    kind: Kind
    left: Array | None = None
    right: Array | None = None
    step: float = 0.0
    noise: float = 0.0


def slope(line: Line, *, first: float = _FIRST, eps: float = _EPS) -> Slope:
    """The derivative of a line at 0. Takes some twenty to fifty evaluations, the fewer the smoother the line is.

    `eps` is the relative spacing of the numbers it is known to be rounded to.
    """
    rounding = 2 * eps * float(np.abs(line(0.0)).max())
    h = first
    while h > _SMALLEST and not (np.isfinite(line(h)).all() and np.isfinite(line(-h)).all()):
        h *= 0.25
    if h <= _SMALLEST:
        return _one_sided(line, first, rounding)
    best = _search(line, h, rounding)
    noise = max(rounding, noise_of(line, best.step / 16))
    if noise > 4 * rounding:
        best = _search(line, h, noise)
    kind, scale = _sides(line, best, noise)
    if kind == "kink":
        return _kink(line, h, noise)
    if kind == "jump":
        return Slope(best.value, np.full_like(best.value, np.inf), "jump")
    if scale < best.step:  # the sides meet below the steps of the table: nearer to 0 is nearer to the truth
        nearer = _table(line, scale, _SHORT, noise)
        apart = np.abs(nearer.value - best.value) > best.error + nearer.error
        best = Slope(
            np.where(apart, nearer.value, best.value), np.where(apart, nearer.error, best.error), "smooth", step=scale
        )
    return _confirmed(line, best, noise)


def _search(line: Line, h: float, noise: float, side: int = 0) -> Slope:
    """The best of the tables at steps from h down."""
    best = _table(line, h, _ROWS, noise, side)
    reach = h
    while not (best.error <= _SETTLED * np.abs(best.value)).all() and reach > _SMALLEST:
        reach *= _JUMP
        best = _better(best, _table(line, reach, _SHORT, noise, side))
        if (best.error <= 30 * _SETTLED * np.abs(best.value)).all() or (noise / reach > 1e3 * best.error).all():
            break
    return best


_FOURTH: Final = math.sqrt(70.0)  # by which a fourth difference is noisier than a value: 1 + 16 + 36 + 16 + 1 = 70


def noise_of(line: Line, spacing: float) -> float:
    """The error of a line's values: what is left of eight neighbouring ones in their fourth differences.

    (After J. Moré and S. Wild, "Estimating computational noise", SIAM J. Sci. Comput. 33 (2011) 1292-1314, who use
    differences of several orders.)
    """
    for side in (1, -1):  # on one side of 0, where there may be a kink
        line.expect(side * k * spacing for k in range(1, 9))
        values = np.stack([line(side * k * spacing) for k in range(1, 9)])
        if np.isfinite(values).all():
            return 2 * float(np.abs(np.diff(values, 4, axis=0)).max()) / _FOURTH
    return 0.0


def _table(line: Line, h: float, rows: int, noise: float, side: int = 0) -> Slope:
    """The best entry of a table of differences at steps h, h/2, h/4, ..., and the bound on its error; central ones, or
    to one `side`.
    """
    order = 1 if side else 2  # the powers of the step in the error: h², h⁴, ... or h, h², ...
    previous: list[Array] = []
    best: Slope | None = None
    growing = 0
    line.expect(sign * h / 2**row for row in range(rows) for sign in ((side,) if side else (1, -1)))
    for row in range(rows):
        step = h / 2**row
        if side:
            up, down = line(side * step), line(0.0)
            entry = side * (up - down) / step
        else:
            up, down = line(step), line(-step)
            entry = (up - down) / (2 * step)
        rounding = np.maximum(noise, _EPS * np.maximum(np.abs(up), np.abs(down))) / step
        entries = [entry]
        for column in range(1, row + 1):
            factor = 2.0 ** (order * column)
            entries.append((factor * entries[-1] - previous[column - 1]) / (factor - 1))
        for column in range(1, len(entries)):
            error = np.maximum(
                np.abs(entries[column] - entries[column - 1]), np.abs(entries[column] - previous[column - 1])
            )
            found = Slope(entries[column], error + 2 * rounding, "smooth", step=step)
            best = found if best is None else _better(best, found)
        if best is not None and (best.error <= _SETTLED * np.abs(best.value)).all() and row >= 3:
            break
        previous = entries
        if row >= 2:
            growing = growing + 1 if np.all(rounding > 3 * best.error) else 0  # type: ignore[union-attr]
            if growing >= 2:
                break
    assert best is not None
    return best


def _better(a: Slope, b: Slope) -> Slope:
    """Of two slopes the one with the smaller errors, value by value."""
    first = ~(b.error < a.error)  # NaN is never better
    if np.isnan(a.error).any():
        first &= ~np.isnan(a.error)
    if first.all():
        return a
    step = a.step if first.sum() * 2 > first.size else b.step
    return Slope(np.where(first, a.value, b.value), np.where(first, a.error, b.error), "smooth", step=step)


def _confirmed(line: Line, found: Slope, noise: float) -> Slope:
    """The slope with an error that covers what differences at a step of no table say."""
    step = 0.7 * max(found.step, 2.0**-30)
    wide, narrow = ((line(h) - line(-h)) / (2 * h) for h in (step, 0.5 * step))
    other = (4 * narrow - wide) / 3
    spread = np.abs(other - narrow) + 2 * noise / step
    beyond = np.maximum(np.abs(other - found.value) - spread, 0.0)
    beyond = np.where(np.isfinite(beyond), beyond, 0.0)
    return Slope(found.value, _SAFETY * (found.error + beyond), found.kind, step=found.step, noise=noise)


def glance(line: Line, like: Slope) -> Slope:
    """The derivative of a line like one whose slope is known, by six evaluations at the steps that served there."""
    table = _table(line, min(8 * like.step, _FIRST), 3, like.noise)
    return Slope(table.value, 10 * table.error, "smooth", step=table.step, noise=like.noise)


# Kinks, edges, jumps


def _sides(line: Line, best: Slope, noise: float) -> tuple[Kind, float]:
    """Whether the slopes to the left and to the right meet, and the step at which they have, or have not."""
    h = best.step
    before: Array | None = None
    apart = 0
    while h > _SMALLEST:
        right, left = (line(h) - line(0.0)) / h, (line(0.0) - line(-h)) / h
        gap = np.abs(right - left)
        size = np.maximum(np.abs(right), np.abs(left))
        if not np.any(gap > np.maximum(4 * noise / h, 1e-6 * size)):
            break
        if before is not None:
            if np.all(gap < 0.25 * before):
                return "smooth", h
            if np.all(gap > 8 * before) and np.all(gap * h > 30 * noise):
                return "jump", h
            apart += 1
        before = gap
        h *= 2.0**-6
    return ("kink", best.step) if apart >= 2 else ("smooth", best.step if before is None else h)


def _kink(line: Line, h: float, noise: float) -> Slope:
    right, left = (_search(line, h, noise, side) for side in (1, -1))
    error = (0.5 + _AT_THE_END) * np.abs(right.value - left.value) + _SAFETY * (left.error + right.error)
    return Slope((left.value + right.value) / 2, error, "kink", left.value, right.value, step=h)


def _one_sided(line: Line, first: float, noise: float) -> Slope:
    """The slope from the side on which the function is defined."""
    for side in (1, -1):
        h = first
        while h > _SMALLEST and not np.isfinite(line(side * h)).all():
            h *= 0.25
        if h <= _SMALLEST:
            continue
        best = _search(line, h, noise, side)
        return Slope(best.value, _SAFETY * best.error, "edge", step=best.step)
    nothing = np.full_like(line(0.0), np.nan)
    return Slope(nothing, np.full_like(nothing, np.inf), "undefined")
