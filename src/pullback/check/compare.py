"""A claimed gradient against differences: confirmed, refuted, or undecided.

Directions decide, not entries. The places of the vector are sorted into classes whose entries count alike in a
derivative (`|claim| · scale` within three decades), so that no small entry hides behind a large one; one random
direction in each class is differenced, and the interval that comes out confirms the claim or refutes it. Where it is
refuted, halving the class finds the wrong entries; where there is a kink, halving sets the entries apart that have it.
`reference` is a second opinion, if there is one: a gradient by pullback's own tape. It counts for nothing until
differences have agreed with it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import numpy as np

from pullback.check.slope import Line, Slope, glance, slope

__all__ = ["Entry", "Examiner", "Outcome", "Verdict"]

Array = np.ndarray[Any, np.dtype[np.float64]]
Places = np.ndarray[Any, np.dtype[Any]]
Verdict = Literal["confirmed", "refuted", "undecided"]

_DECADES: Final = 3.0  # of a class
_WIDE: Final = 5.0
_CLASSES: Final = 6
_TIGHT: Final = 1e-3  # the widest interval, relative to the length of what is measured, that still decides
_WRONG: Final = 8  # wrong entries to find before it is enough
_NEGLIGIBLE: Final = (
    5e-5  # an error of an entry, relative, that is no mistake: constants cut short, a solver's tolerance
)
_NAMED: Final = 64  # of so many places those with a kink are named though the claim is right
_FEW: Final = 1e-3  # the share of entries that may count too little to be measured
_GROSS: Final = 0.05  # an error of a direction, relative, that refutes though no entry can be named
_TIED: Final = 10  # pairs of kinks that are looked at together
_SINGLY: Final = 12  # this many places are differenced one by one to show what was expected


@dataclass(frozen=True)
class Entry:
    """One entry of a gradient: the claim, what it should be, and the bound on that."""

    place: int
    claimed: float
    expected: float
    bound: float


@dataclass
class Outcome:
    """What the comparison found."""

    verdict: Verdict
    reason: str = ""
    wrong: list[Entry] = field(default_factory=list)
    kinks: list[tuple[int, float, float]] = field(default_factory=list)  # place, slope to the left, to the right
    expected: Array | None = None  # the gradient, as far as it is known; NaN where it is not
    enough: bool = True  # whether all wrong entries are in `wrong`


@dataclass(frozen=True)
class _Test:
    """One direction: what the claim says of it, and what was measured."""

    verdict: Verdict
    slope: Slope
    direction: Array
    predicted: float
    length: float


class Examiner:
    """Compares a claim with differences of a function.

    `f` takes a vector and gives one number, in an array; `x` is the point; `claim` the claimed gradient, `places` those
    of its entries that are claimed. `scales` says how far it makes sense to move each. `slack` is the rounding that the
    claim is allowed, relative; `eps` the spacing of the numbers that f works with. If `f` has a method `ahead`, it is
    told of points at which f will be called.
    """

    def __init__(
        self,
        f: Callable[[Array], Array],
        x: Array,
        claim: Array,
        scales: Array,
        rng: np.random.Generator,
        *,
        places: Places | None = None,
        reference: Array | None = None,
        unsure: Array | None = None,
        slack: float = 1e-6,
        eps: float = 2.0**-52,
    ) -> None:
        self.f, self.x, self.claim, self.scales, self.rng = f, x, claim, scales, rng
        self.places = np.arange(x.size) if places is None else places
        self.reference = reference
        self.unsure = np.zeros_like(x) if unsure is None else unsure
        self.slack, self.eps = slack, eps
        self.size = float(np.abs(f(x)).max(initial=0.0))
        self.norms: list[float] = []

    # One direction

    def test(self, places: Places, boost: float = 1.0, signs: Array | None = None, like: Slope | None = None) -> _Test:
        """Difference one random direction within `places`; with no more than a glance if a slope `like` it is known."""
        weights = self.rng.uniform(0.5, 1.5, places.size) * (
            self.rng.choice([-1.0, 1.0], places.size) if signs is None else signs
        )
        direction = np.zeros_like(self.x)
        direction[places] = weights * self.scales[places] * boost
        line = self._line(direction)
        return self._judged(slope(line, eps=self.eps) if like is None else glance(line, like), direction)

    def _line(self, direction: Array) -> Line:
        ahead = getattr(self.f, "ahead", None)
        return Line(
            lambda t: self.f(self.x + t * direction),
            None if ahead is None else lambda ts: ahead([self.x + t * direction for t in ts]),
        )

    def _judged(self, found: Slope, direction: Array) -> _Test:
        predicted = float(self.claim @ direction)
        length = float(np.linalg.norm(self.claim * direction))
        value, error = float(found.value[0]), float(found.error[0])
        slack = 3 * self.slack * length
        tight = _TIGHT * max(length, abs(value))
        if length == 0.0:
            tight = 1e-6 * max(self.size, *self.norms, 0.0) if self.norms else 1e-6 * self.size
        if not np.isfinite(value) or not np.isfinite(predicted):
            verdict: Verdict = "refuted" if np.isfinite(value) and found.kind != "jump" else "undecided"
        elif abs(predicted - value) > error + slack:
            verdict = "refuted"
        elif error <= tight or found.kind == "kink":
            verdict = "confirmed"
        else:
            verdict = "undecided"
        return _Test(verdict, found, direction, predicted, length)

    def _insistent(self, places: Places) -> _Test:
        """A test, with longer steps if it was the noise that left it undecided.

        Longer steps may leave the scale on which the function lives: what they say counts while it is within what the
        shorter ones said.
        """
        best = self.test(places)
        for boost in (30.0, 30.0):
            if best.verdict != "undecided" or best.slope.kind != "smooth":
                break
            direction = boost * best.direction
            again = self._judged(slope(self._line(direction), eps=self.eps), direction)
            apart = np.abs(again.slope.value - boost * best.slope.value)
            if again.slope.kind != "smooth" or not (apart <= boost * best.slope.error + again.slope.error).all():
                break
            best = again
        if best.verdict == "confirmed" and best.slope.kind == "smooth" and places.size > 1:
            second = self.test(places, like=best.slope)  # errors that cancel in one direction don't in two
            if second.verdict == "refuted":
                return self.test(places)
        return best

    # The claim

    def examine(self) -> Outcome:
        """Compare the claim with differences, and find what is wrong with it."""
        if not self.places.size:
            return Outcome("undecided", "there is nothing to differentiate with respect to")
        outcome = Outcome("confirmed")
        tests = []
        for places in self.classes(self.places):
            test = self._insistent(places)
            self.norms.append(test.length)
            tests.append((places, test))
        reference = self._valid_reference(test for _, test in tests)
        if reference is not None:
            outcome.expected = reference
            self._settle_by(reference, tests, outcome)
            return outcome
        for places, test in tests:
            self._settle(places, test, outcome)
        if outcome.verdict == "refuted" and self.places.size <= _SINGLY:
            self._complete(outcome)
        return outcome

    def classes(self, places: Places) -> list[Places]:
        """The places in groups whose entries contribute alike, the largest first; those claimed to be 0 last."""
        sizes = np.abs(self.claim[places]) * self.scales[places]
        if self.reference is not None:
            sizes = np.where(sizes > 0, sizes, np.abs(self.reference[places]) * self.scales[places])
        sizes = np.where(np.isfinite(sizes), sizes, 0.0)
        decades = _DECADES if self.reference is None else _WIDE  # then entries are compared one by one as well
        groups: list[Places] = []
        left = sizes > 0
        while left.any() and len(groups) < _CLASSES - 1:
            top = sizes[left].max()
            member = left & (sizes > top * 10.0**-decades)
            groups.append(places[member])
            left &= ~member
        rest = left | (sizes == 0)
        if rest.any():
            groups.append(places[rest])
        return groups

    def _valid_reference(self, tests: Any) -> Array | None:
        """The second opinion, if no differences contradict it."""
        reference = self.reference
        if reference is None or not np.isfinite(reference[self.places]).all():
            return None
        return reference if all(self._is_within(reference, test) for test in tests) else None

    def _is_within(self, gradient: Array, test: _Test) -> bool:
        """Whether what was measured in a test allows for a gradient."""
        value, error = float(test.slope.value[0]), float(test.slope.error[0])
        slack = 3 * self.slack * float(np.linalg.norm(gradient * test.direction))
        return bool(abs(gradient @ test.direction - value) <= error + slack)

    def _settle_by(self, reference: Array, tests: list[tuple[Places, _Test]], outcome: Outcome) -> None:
        """Judge the claim where it is not the reference, by differences in those places alone."""
        off = self._unlike(self.places, reference)
        if not off.size:
            for places, test in tests:
                if test.slope.kind == "kink" and places.size <= _NAMED:
                    self._without_kinks(places, test, outcome)
            return
        decided = (t for _, t in tests if t.verdict == "refuted" and t.slope.kind == "smooth")
        if not any(self._distance(test) > _GROSS for test in decided):
            off = self._contested(off, reference, outcome)
            if not off.size:
                return
        distance = np.abs((self.claim - reference)[off] * self.scales[off])
        outcome.verdict = "refuted"
        for place in off[np.argsort(-distance)][:_WRONG]:
            bound = self.slack * abs(reference[place])
            outcome.wrong.append(Entry(int(place), float(self.claim[place]), float(reference[place]), bound))
        outcome.enough = off.size <= _WRONG

    def _contested(self, off: Places, reference: Array, outcome: Outcome) -> Places:
        """The places where the claim is not the reference, and differences there alone are not for the claim either."""
        test = self._insistent(off)
        if test.slope.kind == "kink":
            off = self._without_kinks(off, test, outcome)
            if off.size:
                test = self._insistent(off)
        if not off.size or (test.verdict == "confirmed" and test.slope.kind == "kink"):
            return off[:0]
        if test.verdict != "refuted":
            if not self._is_within(reference, test):
                return off[:0]
            distance = np.abs((self.claim - reference)[off] * self.scales[off])
            if not distance.max() > _TIGHT * np.abs(reference[off] * self.scales[off]).max():
                outcome.verdict, outcome.reason = "undecided", _reason(test)
                return off[:0]
        return off

    def _settle(self, places: Places, test: _Test, outcome: Outcome) -> None:
        """Judge the claim for the places of one class."""
        if test.slope.kind == "kink":
            rest = self._without_kinks(places, test, outcome)
            if not rest.size:
                return
            if rest.size < places.size:
                places, test = rest, self._insistent(rest)
        if test.verdict == "refuted":
            self._find(places, test, outcome)
            if outcome.verdict == "confirmed" and places.size <= 2 * _SINGLY:  # halving lost it in the noise
                for place in places:
                    self._judge_alone(np.array([place]), outcome)
            if outcome.verdict == "confirmed":
                self._settle_unlocated(places, test, outcome)
        elif test.verdict == "undecided" and outcome.verdict == "confirmed":
            outcome.reason = _reason(test)
            if places.size > _FEW * self.places.size:
                outcome.verdict = "undecided"

    def _settle_unlocated(self, places: Places, test: _Test, outcome: Outcome) -> None:
        """Judge a claim that a direction refutes, though no single entry could be told to be wrong."""
        again = self._insistent(places)
        smooth = test.slope.kind == again.slope.kind == "smooth"
        counts = test.length >= _FEW * max(self.norms)  # what counts little drowns in the noise of what counts much
        if counts and smooth and all(t.verdict == "refuted" and self._distance(t) > _GROSS for t in (test, again)):
            outcome.verdict = "refuted"
        elif self._distance(test) > self._negligible():
            outcome.verdict = "undecided"
        else:
            return
        outcome.reason = (
            "differences along random directions contradict the claim, those of no single entry do: "
            f"a derivative is {test.slope.value[0]:.6g}, and the claim {test.predicted:.6g}"
        )

    def _distance(self, test: _Test) -> float:
        """How far the claim is outside of what was measured, relative to the length of what was measured."""
        value, error = float(test.slope.value[0]), float(test.slope.error[0])
        return (abs(test.predicted - value) - error) / max(test.length, abs(value), 1e-300)

    def _unlike(self, places: Places, reference: Array) -> Places:
        """The places where the claim is not the reference, by more than rounding and solvers' tolerances."""
        a, b, unsure = self.claim[places], reference[places], self.unsure[places]
        typical = float(np.max(np.abs(reference * self.scales), initial=0.0))
        part = max(1e-11, 0.1 * self.slack if self.slack > 1e-6 else 0.0)
        rounding = np.where(np.abs(b) <= 1e3 * unsure, part * typical, 0.0)  # what is 0 but for rounding
        scales = np.where(self.scales[places] > 0, self.scales[places], 1.0)
        allowed = self._negligible() * np.maximum(np.abs(a), np.abs(b)) + 16 * unsure + rounding / scales
        return places[~(np.abs(a - b) <= allowed)]

    def _negligible(self) -> float:
        return max(_NEGLIGIBLE, 10 * self.slack)

    def _find(self, places: Places, test: _Test, outcome: Outcome) -> None:
        """Halve a refuted class until the wrong entries stand alone. One half of a direction is differenced; the other
        is what is left of the whole.
        """
        stack = [(places, test)]
        while stack:
            if len(outcome.wrong) >= _WRONG:
                outcome.enough = False
                return
            group, known = stack.pop()
            if group.size == 1:
                self._judge_alone(group, outcome)
                continue
            halves = group[: group.size // 2], group[group.size // 2 :]
            directions = [np.zeros_like(self.x), np.zeros_like(self.x)]
            for half, direction in zip(halves, directions, strict=True):
                direction[half] = known.direction[half]
            first = glance(self._line(directions[0]), known.slope)
            rest = replace(first, value=known.slope.value - first.value, error=known.slope.error + first.error)
            judged = [self._judged(s, d) for s, d in zip((first, rest), directions, strict=True)]
            stack += [
                (half, t) for half, t in reversed(list(zip(halves, judged, strict=True))) if t.verdict == "refuted"
            ]

    def _judge_alone(self, place: Places, outcome: Outcome) -> None:
        """Difference a single entry, and note it if it is wrong."""
        alone = self.test(place)
        unit = alone.direction[place[0]]
        claimed = float(self.claim[place[0]])
        expected, bound = float(alone.slope.value[0]) / unit, abs(float(alone.slope.error[0]) / unit)
        if not abs(claimed - expected) <= bound + self._negligible() * max(abs(claimed), abs(expected)):
            outcome.verdict = "refuted"
            outcome.wrong.append(Entry(int(place[0]), claimed, expected, bound))

    def _without_kinks(self, places: Places, test: _Test, outcome: Outcome) -> Places:
        """The places without a kink; of the others, whether the claim is one of the slopes there are."""
        corner: dict[int, tuple[float, float]] = {}  # the slopes to the left and to the right
        stack = [(places, test)]
        while stack and len(corner) < 4 * _WRONG:
            group, known = stack.pop()
            if known.slope.left is None or known.slope.right is None:
                continue
            if group.size > 1:
                halves = group[: group.size // 2], group[group.size // 2 :]
                stack += [(half, self.test(half)) for half in halves]
                continue
            place = int(group[0])
            unit = known.direction[place]
            left, right = float(known.slope.left[0] / unit), float(known.slope.right[0] / unit)
            corner[place] = (left, right) if unit > 0 else (right, left)
            outcome.kinks.append((place, min(left, right), max(left, right)))
            if known.verdict == "refuted":
                self._refute(place, left, right, outcome)
        pairs = sorted(itertools.combinations(corner, 2), key=lambda pair: abs(float(np.diff(self.x[list(pair)])[0])))
        for pair in pairs[:_TIED]:  # ties are between equal numbers
            self._judge_tie(pair, corner, outcome)
        return np.setdiff1d(places, np.array(list(corner), int))

    def _judge_tie(self, pair: Sequence[int], corner: dict[int, tuple[float, float]], outcome: Outcome) -> None:
        """Of two entries with a kink each may lie between its slopes, and both together not: at a tie in a maximum the
        way along which it stays a tie is smooth. Kinks that have nothing to do with each other add up.
        """
        step = min(self.scales[place] for place in pair)
        direction = np.zeros_like(self.x)
        direction[list(pair)] = step
        joint = self._judged(slope(self._line(direction), eps=self.eps), direction)
        left, right = (
            float((joint.slope.value if side is None else side)[0]) / step
            for side in (joint.slope.left, joint.slope.right)
        )
        apart = abs(left - sum(corner[i][0] for i in pair)) + abs(right - sum(corner[i][1] for i in pair))
        if apart > 1e-3 * sum(abs(b - a) for a, b in (corner[i] for i in pair)) and joint.verdict == "refuted":
            self._refute(pair[0], *corner[pair[0]], outcome)

    def _refute(self, place: int, left: float, right: float, outcome: Outcome) -> None:
        if all(entry.place != place for entry in outcome.wrong):
            outcome.verdict = "refuted"
            entry = Entry(place, float(self.claim[place]), (left + right) / 2, abs(right - left) / 2)
            outcome.wrong.append(entry)

    def _complete(self, outcome: Outcome) -> None:
        """What every entry should be, one by one."""
        outcome.expected = np.full_like(self.x, np.nan)
        known = {entry.place: entry.expected for entry in outcome.wrong}
        for place in map(int, self.places):
            if place in known:
                outcome.expected[place] = known[place]
                continue
            test = self.test(np.array([place]))
            outcome.expected[place] = float(test.slope.value[0]) / test.direction[place]


def _reason(test: _Test) -> str:
    value, error = float(test.slope.value[0]), float(test.slope.error[0])
    if test.slope.kind == "jump":
        return "the function jumps here: differences grow as the step shrinks"
    if test.slope.kind == "undefined":
        return "the function has no finite values on either side of this point"
    return (
        "the function is too noisy for a decision: "
        f"along a random direction the derivative is {value:.3g} ± {error:.1g}, "
        f"and the claim {test.predicted:.3g}"
    )
