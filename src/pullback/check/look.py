"""A refuted claim, laid out argument by argument for those who look at its numbers."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from pullback.check.case import Case
from pullback.check.problem import Part
from pullback.check.record import Record, record

__all__ = ["EXACT", "Arr", "Look", "Side", "Sign", "names_of", "width"]

Arr = np.ndarray[Any, Any]

EXACT: Final = 1e-7  # what counts as the same number in double precision
_WIDTHS: Final = {8: EXACT, 4: 2e-4, 2: 2e-2}  # by the bytes of a number


@dataclass(frozen=True)
class Side:
    """The gradient of one argument: claimed and true, in its shape; the true one NaN where it is not known."""

    part: Part
    claimed: Arr
    true: Arr
    tolerance: float
    refuted: Arr  # which of the known numbers were found to be wrong

    @property
    def name(self) -> str:
        return self.part.path

    @property
    def seen(self) -> tuple[Arr, Arr]:
        """The claimed and the true numbers, in rows, where the true ones are known."""
        known = np.isfinite(self.true)
        return self.claimed[known], self.true[known]

    @property
    def is_known(self) -> bool:
        return bool(np.isfinite(self.true).all())

    def same(self, a: Arr, b: Arr) -> bool:
        """Whether a is b, to rounding."""
        return bool(self.agree(a, b).all()) if a.shape == b.shape else False

    def agree(self, a: Arr, b: Arr) -> Arr:
        """Where a is b, to rounding."""
        size = float(np.abs(b).max(initial=0.0))
        with np.errstate(invalid="ignore"):
            return np.asarray(np.abs(a - b) <= self.tolerance * np.maximum(np.abs(b), 1e-3 * size) + 1e-300)

    def fits(self, candidate: Arr) -> bool:
        """Whether the claim is this, to rounding, and also where it is wrong by less than that."""
        claimed, true = self.seen
        numbers = candidate[np.isfinite(self.true)] if candidate.shape == self.true.shape else candidate
        if not self.same(claimed, numbers):
            return False
        off, left = np.abs(claimed - true)[self.refuted], np.abs(claimed - numbers)[self.refuted]
        return bool(np.all(left <= 0.01 * off))

    @property
    def off(self) -> Arr:
        """Which of the known numbers are wrong."""
        return np.asarray(~self.agree(*self.seen) | self.refuted)


@dataclass(frozen=True)
class Sign:
    """What the gradient of one argument shows. `ratio` is set where it is a constant times the true one."""

    kind: str
    message: str  # goes after "the gradient of w "
    score: float
    ratio: float | None = None
    index: tuple[int, ...] | None = None


class Look:
    """A case, looked at: the gradients of its arguments, those that are wrong, and the function's run. `tolerance` is
    what may at least pass for rounding; `smooth` leaves out the entries at kinks, which conventions decide.
    """

    def __init__(self, case: Case, tolerance: float = EXACT, smooth: bool = False) -> None:
        self.case = case
        self.sides = _sides(case, tolerance, smooth)
        self.wrong = [side for side in self.sides if side.off.any()]

    @cached_property
    def tape(self) -> Record | None:
        """The function's run on the tape; None if the tape can't run it."""
        try:
            return record(self.case.problem, self.case.cotangent)
        except Exception:  # whatever a user's function does on the tape
            return None


def _sides(case: Case, least: float, smooth: bool) -> list[Side]:
    """The gradients that can be compared number by number."""
    found = []
    kinks = {place for place, _, _ in case.outcome.kinks} if smooth else set()
    wrong = [entry for entry in case.outcome.wrong if entry.place not in kinks]
    rough = max((e.bound / max(abs(e.expected), abs(e.claimed - e.expected), 1e-300) for e in wrong), default=0.0)
    refuted = np.zeros(case.problem.x.size)
    refuted[[e.place for e in wrong]] = 1.0
    expected = case.expected.copy()
    expected[list(kinks)] = np.nan
    for (part, claimed), (_, true) in zip(case.arrays(case.claim), case.arrays(expected), strict=True):
        known = np.isfinite(true)
        if known.any():
            tolerance = max(width(part), least, min(3 * rough, 1e-2))
            found.append(Side(part, claimed, true, tolerance, np.abs(part.array(refuted)[known]) > 0))
    return found


def width(part: Part) -> float:
    """What counts as the same number in the precision of an argument."""
    return _WIDTHS.get(min(part.dtype.itemsize // (2 if part.is_complex else 1), 8), 2e-2)


def names_of(f: Any, depth: int = 4) -> set[str]:
    """The global names and attributes that a function's code uses, and the code of the functions it calls."""
    seen: set[Any] = set()
    names: set[str] = set()
    stack: list[tuple[Any, int]] = [(f, depth)]
    while stack:
        function, left = stack.pop()
        function = getattr(function, "__func__", function)
        code = getattr(function, "__code__", None)
        if code is None or code in seen or left == 0:
            continue
        seen.add(code)
        space = getattr(function, "__globals__", {})
        cells = [cell.cell_contents for cell in getattr(function, "__closure__", None) or () if _filled(cell)]
        for inner in itertools.chain([code], (c for c in code.co_consts if hasattr(c, "co_names"))):
            names.update(inner.co_names)
            stack += [(space[name], left - 1) for name in inner.co_names if name in space]
        stack += [(cell, left - 1) for cell in cells]
    return names


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
