"""A refuted claim, as those who explain it see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from pullback.check.adapters import Written
from pullback.check.compare import Outcome
from pullback.check.problem import Array, Part, Problem
from pullback.check.report import Finding

__all__ = ["Case"]


@dataclass(frozen=True)
class Case:
    """A function at a point, what was claimed of its gradient, and what is known of the true one.

    problem    the function and its arguments, as a function of a vector.
    cotangent  of the function's result, as a vector: 1 for a scalar function.
    claim      the claimed gradient, at `places`; 0 elsewhere.
    expected   the true gradient; NaN where it is not known.
    backward   the user's function, `(cotangent in the result's containers, *args)`; None for a claim in numbers.
    again      runs it for another vector of cotangents (or the same), on fresh arguments: its claim as a vector.
    source     what the user wrote it as: the function whose lines are to be shown; None if there is none.
    written    the rule that the user wrote for a framework, where the claim is the framework's own differentiation.
    lines, culprits  the table of a hand-written backward, line by line, and the lines that are wrong, once these have
               been looked for.
    given      by a part's leaf: the claimed array as it was returned, whatever its shape and dtype; None for None.
    """

    problem: Problem
    cotangent: Array
    claim: Array
    places: Array
    expected: Array
    outcome: Outcome
    again: Callable[[Array], Array] | None = None
    backward: Callable[..., Any] | None = None
    source: Callable[..., Any] | None = None
    given: Mapping[int, np.ndarray[Any, Any] | None] = field(default_factory=dict)
    written: Written | None = None
    lines: list[dict[str, Any]] = field(default_factory=list)
    culprits: list[Finding] = field(default_factory=list)

    @cached_property
    def known(self) -> np.ndarray[Any, Any]:
        """The places that are claimed and where the true gradient is known."""
        known: np.ndarray[Any, Any] = self.places[np.isfinite(self.expected[self.places])]
        return known

    def arrays(self, vector: Array) -> list[tuple[Part, np.ndarray[Any, Any]]]:
        """A vector's numbers as the arrays of the arguments that are claimed."""
        claimed = np.zeros(self.problem.x.size, bool)
        claimed[self.places] = True
        return [(part, part.array(vector)) for part in self.problem.parts if claimed[part.start : part.stop].all()]

    def is_reproduced(self, candidate: Array, tolerance: float = 1e-7) -> bool:
        """Whether a candidate vector is the claimed one, to rounding, wherever it is known; and where an entry was
        refuted, however small it is, nearer to the claim than the true one is.
        """
        known = self.places[np.isfinite(candidate[self.places])]
        if not known.size:
            return False
        a, b = self.claim[known], candidate[known]
        size = float(np.abs(b).max(initial=0.0))
        if np.any(np.abs(a - b) > tolerance * np.maximum(np.abs(b), 1e-3 * size) + 1e-300):
            return False
        wrong = self.outcome.wrong
        return all(abs(e.claimed - candidate[e.place]) <= 0.01 * abs(e.claimed - e.expected) for e in wrong)
