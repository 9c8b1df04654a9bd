"""The findings about a refuted claim, in one list: most likely first.

How explanations are ranked, all in one place. Each comes with a score, on a scale that all explainers share:

    1.0   reproduces every claimed number to rounding by one simple change, or was seen to happen (a buffer that grows)
    0.9   the same by two changes, or by one that is less simple
    0.8   fits the pattern of the wrong numbers, without reproducing them
    0.5   fits some of the arguments, or some of the numbers
    0.1   the wrong entries themselves

What the user's own source says breaks ties: where a small change of the first wrong line makes it right, and shows what
was confused (an axis, an index, a sum and a mean, a matrix and its transpose), an explanation of that kind goes before
its equals. A function that is none (it changes its arguments, or gives other values each time) comes before all that
follows from it.

Of equal scores the earlier explainer's goes first: what was seen happening before any differences (preflight), then
what shows in the numbers alone (signatures), which is simpler than an edit of the backward that comes out the same
(neighbours), then what was found line by line (locate). Of each kind the best one is kept, and takes from the others
what it does not say itself: the line, the step. The first wrong line of a backward is that of the likeliest
explanation, whoever has found it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from pullback.check.case import Case
from pullback.check.report import Finding

__all__ = ["explain", "ranked"]

_SHOWN: Final = frozenset({"axis", "index", "sum_for_mean", "transpose"})  # which a change of a line shows clearly
_WEIGHT: Final = 0.03  # of what the source shows: more than one rank of a list of equals, less than another change
_NO_FUNCTION: Final = frozenset({"nondeterministic", "mutates_input"})
_TELLING: Final = 0.3  # the least score of an explanation that says more than the wrong entries do
_FINAL: Final = frozenset({"dtype", "accumulate", "side_effect"})  # which no change of the formulas comes out as


def explainers() -> list[Callable[[Case], list[Finding]]]:
    """Those who explain, in the order in which they are asked."""
    from pullback.check import locate, neighbours, signatures

    return [signatures.explain, neighbours.explain, locate.explain]


def explain(case: Case, seen: Sequence[Finding] = ()) -> list[Finding]:
    """What explains a refuted claim, after what was `seen` before; most likely first."""
    findings = list(seen)
    for explainer in explainers():
        if any(finding.kind in _FINAL and finding.score > 0.95 for finding in findings):
            break
        try:
            findings += explainer(case)
        except Exception:  # a user's code may do what no explainer expects; the verdict stands without it
            continue
    return placed(ranked(supported(findings, case.culprits)), case.culprits)


def supported(findings: list[Finding], culprits: Sequence[Finding]) -> list[Finding]:
    """The findings, those of the kind that the first wrong line shows above their equals."""
    shown = {culprit.kind for culprit in culprits[:1]} & _SHOWN
    return [replace(f, score=f.score + _WEIGHT) if f.kind in shown and f.score > 0.9 else f for f in findings]


def placed(findings: list[Finding], culprits: Sequence[Finding]) -> list[Finding]:
    """The findings, with the first wrong line of the backward, if it is known, in the likeliest that it fits."""
    for culprit in culprits[:1]:
        for i, finding in enumerate(findings):
            fits = None in (finding.argument, culprit.argument) or finding.argument == culprit.argument
            if fits and finding.score >= _TELLING and finding.message != culprit.message:
                message = f"{finding.message}. It comes in here: {culprit.message}"
                findings[i] = replace(finding, message=message, line=culprit.line, step=culprit.step)
                break
    return findings


def ranked(findings: Sequence[Finding]) -> list[Finding]:
    """The findings by score, those of equal score in their order; one of each kind."""
    best: dict[str, Finding] = {}
    for finding in sorted(findings, key=lambda f: (f.kind not in _NO_FUNCTION, -round(f.score, 3))):
        kept = best.setdefault(finding.kind, finding)
        if kept is not finding and kept.argument in (None, finding.argument):
            best[finding.kind] = replace(kept, line=kept.line or finding.line, step=kept.step or finding.step)
    return list(best.values())
