"""A claimed linear map, a Jacobian or its product with tangents, against differences of a function of several results.

All results are differenced at once along a direction, each with an interval of its own. Directions are random within
groups of columns, and halving a refuted group finds the wrong columns; in them, the rows that are wrong are seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from pullback.check.compare import Verdict
from pullback.check.slope import Line, Slope, glance, slope

__all__ = ["Cell", "Indices", "MapExaminer", "MapOutcome", "signature"]

Array = np.ndarray[Any, np.dtype[np.float64]]
Indices = np.ndarray[Any, np.dtype[np.intp]]

_TIGHT: Final = 1e-3  # the widest interval, relative to what is measured, that still decides
_KINK: Final = 1e-4  # what one-sided slopes have to be apart, of a result, to be called so
_WRONG: Final = 8  # wrong columns to find before it is enough


@dataclass(frozen=True)
class Cell:
    """One entry of the map: the claim, what it should be, and the bound on that."""

    row: int
    column: int
    claimed: float
    expected: float
    bound: float


@dataclass
class MapOutcome:
    """What the comparison found. `columns` are those of the true map that were measured, all rows of each."""

    verdict: Verdict = "confirmed"
    reason: str = ""
    wrong: list[Cell] = field(default_factory=list)
    kinks: bool = False
    columns: dict[int, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class _Test:
    """One direction: what the claim says of it, and what was measured, in the results' units."""

    direction: Array
    found: Slope
    unit: Array
    value: Array
    error: Array
    claimed: Array
    refuted: np.ndarray[Any, np.dtype[np.bool_]]
    tight: np.ndarray[Any, np.dtype[np.bool_]]


class MapExaminer:
    """Compares `claim`, which takes a direction to the derivatives of all results along it, with differences of `f`.

    `sizes` says how much the columns count, if that is known: those within three decades are tested together.
    """

    def __init__(
        self,
        f: Callable[[Array], Array],
        x: Array,
        claim: Callable[[Array], Array],
        scales: Array,
        rng: np.random.Generator,
        *,
        slack: float,
        eps: float,
    ) -> None:
        self.f, self.x, self.claim, self.scales, self.rng = f, x, claim, scales, rng
        self.slack, self.eps = slack, eps
        self.y = f(x)

    def test(self, columns: Indices) -> _Test:
        """Difference a random direction within the columns."""
        direction = np.zeros_like(self.x)
        weights = self.rng.uniform(0.5, 1.5, columns.size) * self.rng.choice([-1.0, 1.0], columns.size)
        direction[columns] = weights * self.scales[columns]
        claimed = self.claim(direction)
        unit = np.maximum(np.abs(self.y), np.abs(claimed))  # results of all sizes side by side
        unit = np.where((unit > 0) & np.isfinite(unit), unit, 1.0)
        return self._judged(slope(self._line(direction, unit), eps=self.eps), direction, unit, claimed)

    def _line(self, direction: Array, unit: Array) -> Line:
        return Line(lambda t: self.f(self.x + t * direction) / unit)

    def _judged(self, found: Slope, direction: Array, unit: Array, claimed: Array) -> _Test:
        value, error = found.value * unit, found.error * unit
        size = np.maximum(np.abs(claimed), np.abs(value))
        finite = np.isfinite(value)
        refuted = finite & ~(np.abs(claimed - value) <= error + 3 * self.slack * size) & (found.kind != "jump")
        tight = finite & (error <= np.maximum(_TIGHT * size, 1e-6 * unit)) | (found.kind == "kink")
        return _Test(direction, found, unit, value, error, claimed, refuted, tight)

    def _halves(self, columns: Indices, known: _Test) -> list[tuple[Indices, _Test]]:
        """A refuted group in two: one half is differenced, the other is what is left of the whole."""
        halves = columns[: columns.size // 2], columns[columns.size // 2 :]
        directions = [np.zeros_like(self.x), np.zeros_like(self.x)]
        for half, direction in zip(halves, directions, strict=True):
            direction[half] = known.direction[half]
        if known.found.kind != "smooth":
            return [(half, self.test(half)) for half in halves]
        first = glance(self._line(directions[0], known.unit), known.found)
        rest = replace(first, value=known.found.value - first.value, error=known.found.error + first.error)
        claimed = self.claim(directions[0])
        return [
            (halves[0], self._judged(first, directions[0], known.unit, claimed)),
            (halves[1], self._judged(rest, directions[1], known.unit, known.claimed - claimed)),
        ]

    def examine(self, groups: Sequence[Indices]) -> MapOutcome:
        """Compare the claim with differences, group by group of columns."""
        outcome = MapOutcome()
        for columns in groups:
            test = self.test(columns)
            if not test.refuted.any() and test.found.kind == "smooth":
                test = self.test(columns) if columns.size > 1 else test  # errors that cancel once don't do it twice
            outcome.kinks |= test.found.kind == "kink" and bool(np.any(test.error > _KINK * np.abs(test.unit)))
            if test.refuted.any():
                self._find(columns, test, outcome)
            elif not test.tight.all() and outcome.verdict == "confirmed":
                row = int(np.argmax(~test.tight))
                outcome.verdict = "undecided"
                outcome.reason = (
                    "the function jumps here: differences grow as the step shrinks"
                    if test.found.kind == "jump"
                    else "the function is too noisy for a decision: along a random direction the derivative of result "
                    f"{row} is {test.value[row]:.3g} ± {test.error[row]:.1g}"
                )
        return outcome

    def _find(self, columns: Indices, test: _Test, outcome: MapOutcome) -> None:
        stack = [(columns, test)]
        while stack and len({cell.column for cell in outcome.wrong}) < _WRONG:
            group, known = stack.pop()
            if not known.refuted.any():
                continue
            if group.size > 1:
                stack += reversed(self._halves(group, known))
                continue
            known = self.test(group)  # alone, at steps of its own
            if not known.refuted.any():
                continue
            outcome.verdict = "refuted"
            (column,) = group
            unit = known.direction[column]
            outcome.columns[int(column)] = known.value / unit
            for row in np.flatnonzero(known.refuted):
                value, error = known.value[row] / unit, abs(known.error[row] / unit)
                outcome.wrong.append(Cell(int(row), int(column), known.claimed[row] / unit, value, error))


def signature(claimed: Array, expected: Array, name: str, tolerance: float = 1e-6) -> tuple[str, str] | None:
    """The kind and a sentence for a matrix that is another one up to a simple change; None if it isn't."""

    def same(a: Array, b: Array) -> bool:
        size = np.abs(b).max(initial=0.0)
        return a.shape == b.shape and bool(np.all(np.abs(a - b) <= tolerance * np.maximum(np.abs(b), 1e-3 * size)))

    if not np.any(claimed):
        return "zero", f"{name} is zero, or missing"
    if claimed.ndim == 2 and min(claimed.shape) > 1 and same(claimed.T, expected):
        return "transpose", f"{name} is transposed: rows belong to results, columns to arguments"
    at = np.unravel_index(np.argmax(np.abs(expected)), expected.shape)
    ratio = float(claimed[at] / expected[at]) if expected[at] else 0.0
    if ratio and same(claimed, ratio * expected):
        if abs(ratio + 1) <= tolerance:
            return "sign", f"{name} has the wrong sign"
        for n in sorted({*expected.shape, expected.size} - {1, 2}):
            for factor, text in ((n, f"{n} times"), (1 / n, f"1/{n} of")):
                if abs(ratio / factor - 1) <= tolerance:
                    return "one_over_n", f"{name} is {text} what it should be, and {n} is a size of the data"
        return "factor", f"{name} is {ratio:.6g} times what it should be"
    for axis in range(claimed.ndim):
        what = ("rows", "columns")[axis] if claimed.ndim == 2 else "entries"
        if claimed.shape[axis] > 1 and same(np.flip(claimed, axis), expected):
            return "index", f"the {what} of {name} are in reverse"
        for shift in range(1, min(claimed.shape[axis], 4)):
            for k in (shift, -shift):
                if same(np.roll(claimed, -k, axis), expected):
                    return "index", f"the {what} of {name} are shifted by {k}"
    return None
