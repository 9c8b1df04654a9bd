"""The first wrong line of a hand-written backward.

The forward runs on the tape and the backward as it is, both with their locals observed. Every forward local has its
true cotangent from the tape; every backward local is laid beside the one that it should be, by its name, by what
becomes of it, and by value. From each gradient that comes out wrong the search goes back through what its line has
read, and stops at what is right: the earliest wrong local on this side of what is right is where the error came in.
"""

from __future__ import annotations

import ast
import itertools
import os
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from pullback.check.adapters import adapter_for
from pullback.check.alike import error, is_plain, same, width
from pullback.check.case import Case
from pullback.check.matching import Match, Matching, Value, numbers_at
from pullback.check.naming import bases, canonical
from pullback.check.observe import Observer, Step
from pullback.check.problem import Array, Problem, numbers_of
from pullback.check.record import cotangents_like, record
from pullback.check.repair import Edit, edits, evaluate, expression_of
from pullback.check.report import Finding
from pullback.transforms.tree import flatten

__all__ = ["Located", "explain", "locate"]

_BEHIND: Final = 6
_SECONDS: Final = 2.0  # for the search for a correction


@dataclass(frozen=True)
class Located:
    """What was found: the culprits, and the table of the backward, line by line.

    A row has `line` (`file:line`), `function`, `source`, `local`, `matches` (what it is or should be the cotangent of),
    `forward` (the line of that), `how` (scaled, transposed, ...), `verdict` (agrees, disagrees, a value of the forward,
    unmatched), `error` and `bound` relative to the largest entry.
    """

    findings: list[Finding]
    lines: list[dict[str, Any]]


@dataclass(frozen=True)
class Culprit:
    """The step where an error came in, what it (or what was made of it) should be, and the change that makes it so."""

    step: Step
    match: Match
    edit: Edit | None = None


def explain(case: Case) -> list[Finding]:
    """The first wrong line of the backward that made a refuted claim.

    It is left in `case.culprits`, and the table of all lines in `case.lines`.
    """
    backward = case.backward
    if case.written is not None and case.written.whole:
        backward = case.written.run
    if backward is None:
        return []
    roots = [case.problem.f, case.source]
    if case.written is not None:
        roots += [case.written.forward, case.written.backward]
    found = _located(case.problem, backward, case.cotangent, roots, none_is_zero=True)
    case.lines[:], case.culprits[:] = found.lines, found.findings
    return found.findings


def locate(forward: Callable[..., Any], backward: Callable[..., Any], args: Sequence[Any], cotangent: Any) -> Located:
    """Where `backward(cotangent, *args)`, meant to be the way back through `forward(*args)`, goes wrong first.

    >>> def forward(x):
    ...     z = 3.0 * x
    ...     return np.sin(z)
    >>> def backward(dy, x):
    ...     dz = -dy * np.cos(3.0 * x)
    ...     return 3.0 * dz
    >>> located = locate(forward, backward, [np.array([1.0, 2.0])], np.ones(2))
    >>> [row["verdict"] for row in located.lines if row["local"] == "dz"]
    ['disagrees']
    """
    leaves, _ = flatten(cotangent)
    vector = np.concatenate([numbers_of(adapter_for(g).array(g)) for g in leaves])
    return _located(Problem(forward, args), backward, vector, [forward, backward])


def _located(
    problem: Problem,
    backward: Callable[..., Any],
    cotangent: Array,
    roots: Sequence[Any],
    none_is_zero: bool = False,
) -> Located:
    ahead, behind = Observer(*roots), Observer(*roots)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            found = ahead.run(record, problem, cotangent)
            if found is None:
                return Located([], [])
            result = problem.result()  # so that whatever the forward keeps for the backward is numbers again
            outs, tree = flatten(result)
            arrays = cotangents_like([adapter_for(x).array(x) for x in outs], cotangent)
            pieces = [x if g is None else adapter_for(x).like(x, g) for x, g in zip(outs, arrays, strict=True)]
            args, kwargs = problem.arguments()
            claimed = behind.run(backward, tree.unflatten(pieces), *args, **kwargs)
            return _Search(problem, found, ahead.steps, behind, claimed).located(none_is_zero)
        except Exception:  # whatever a user's code does when it is run once more
            return Located([], [])


class _Search(Matching):
    """Goes back from the gradients that are wrong."""

    def _is_cut(self, step: Step) -> bool:
        match = self.matches.get(step)
        if match is None or match.verdict in ("agrees", "value"):
            return True
        return match.verdict == "disagrees" and bool(match.how) and step not in self.leaves and self.is_mended(step)

    def _region(self, leaf: Step) -> set[Step]:
        """What a wrong gradient was made of, as far as nothing right comes in between."""
        region = {leaf}
        stack = [leaf]
        while stack:
            for read in stack.pop().reads:
                if read not in region and not self._is_cut(read):
                    region.add(read)
                    stack.append(read)
        return region

    def culprit(self, leaf: Step) -> Culprit:
        """The earliest wrong step behind a wrong gradient with nothing right in between."""
        region = self._region(leaf)
        return self._refined(min(self._bad(region) or [leaf], key=lambda s: s.number), region)

    def _bad(self, region: set[Step]) -> list[Step]:
        return [s for s in region if self.matches[s].verdict in ("disagrees", "differs") and not s.is_argument]

    def _common(self, wrong: Sequence[Step]) -> Culprit | None:
        """The first step of which nothing is known, if all wrong gradients were made of it and of nothing else that is
        wrong.
        """
        if len(wrong) < 2:
            return None
        regions = [self._region(leaf) for leaf in wrong]
        shared = set.intersection(*regions)
        if any(set(self._bad(region)) - set(wrong) for region in regions):
            return None
        first = min(
            (s for s in shared if self.is_doubtful(s) and np.any(s.value)), key=lambda s: s.number, default=None
        )
        if first is None:
            return None
        for candidate in sorted(filter(self.is_doubtful, shared), key=lambda s: s.number)[:_BEHIND]:
            for edit in edits(candidate, self.until):
                if all(
                    self._comes_out(leaf, {candidate: edit.value}, region)
                    for leaf, region in zip(wrong, regions, strict=True)
                ):
                    return Culprit(candidate, self.matches[wrong[0]], edit)
        return Culprit(first, self.matches[wrong[0]])

    def _returned(self, leaf: Step) -> Culprit | None:
        """The `return`, if what is right for something else is returned there for an argument."""
        part, target, _ = self.leaves[leaf]
        if self.end is None or leaf.is_result or canonical(part.path) in bases(leaf.name):
            return None
        if leaf.call != self.end.call:
            return None
        own = self.matched(leaf)
        named = [value for value in self.group_of(leaf) if value.node is not target.node]
        others = [p for p, t, _ in self.leaves.values() if t.cotangent is not None and same(leaf.value, t.cotangent)]
        right = any(self.matches[child].is_right for child in self.children.get(leaf, ()))
        if (named and others) or leaf.is_argument or right or own.is_right:
            found = Value(others[0].path, None, None, None, leaf.value, 0) if others else own.target
            return Culprit(
                self.end, Match("disagrees", target, "", found or Value(leaf.name, None, None, None, None, 0))
            )
        return None

    def _refined(self, step: Step, region: set[Step]) -> Culprit:
        """Of `dz = da * slope` with a right `da` it is the slope that is wrong; so it is with the terms of a sum, and
        with what a local was before something right was added.
        """
        match = self.matches[step]
        if match.target is None or match.how or match.found is not None or not np.any(step.value):
            return Culprit(step, match)
        if self.lacks(step):
            return Culprit(self._overwriter(step), match)
        for candidate in (step, *self._behind(step, region)):
            for edit in edits(candidate, self.until):
                if self._comes_out(step, {candidate: edit.value}, region):
                    return Culprit(candidate, match, edit)
        while True:
            start = next(
                (r for r in step.reads if r in region and r.name == step.name and self._is_start(step, r)), None
            )
            if start is None:
                break
            step = start
        operands = _operands(step)
        doubtful = [r for r in step.reads if r in region and r.name in operands and self.is_doubtful(r)]
        return Culprit(doubtful[0] if len(doubtful) == 1 else step, match)

    def _behind(self, step: Step, region: set[Step]) -> list[Step]:
        """The steps behind a wrong one of which nothing is known, the last first."""
        found = [s for s in region if s.number < step.number and s.call == step.call and self.is_doubtful(s)]
        return sorted(found, key=lambda s: -s.number)[:_BEHIND]

    def _comes_out(self, step: Step, changed: dict[Step, Any], region: set[Step]) -> bool:
        """Whether a step is what it should be with the changed values of steps before it."""
        for later in sorted(region, key=lambda s: s.number):
            if later in changed or later.number > step.number or not any(r in changed for r in later.reads):
                continue
            expression = expression_of(later)
            names = {r.name: changed[r] for r in later.reads if r in changed}
            value = None if expression is None else evaluate(later, expression, names)
            if value is None:
                return False
            changed[later] = value
        target = self.matches[step].target
        if step not in changed or target is None or target.cotangent is None:
            return False
        try:
            found = numbers_at(changed[step])
        except Exception:  # the change has made something else of it
            return False
        return found.dtype.kind in "fc" and same(found, target.cotangent) and found.shape == target.cotangent.shape

    def _overwriter(self, step: Step) -> Step:
        """The step that dropped what the same place had before, of those that a local was made in; else `step`."""
        before = [s for s in self.before(step) if not s.is_argument and np.any(s.value)]
        for earlier, later in reversed(list(itertools.pairwise([*before, step]))):
            if earlier not in later.reads and earlier.key != later.key:
                return later
        return step

    def _is_start(self, step: Step, earlier: Step) -> bool:
        """Whether the wrong value is something wrong plus a share that is right: then it is the start that is wrong."""
        if step.value.shape != earlier.value.shape:
            return False
        added = step.value - earlier.value
        return not is_plain(added) and bool(self.shares.find(added))

    def located(self, none_is_zero: bool) -> Located:
        """The culprits and the table; None as a gradient says that there is none, or claims zeros."""
        self.until = time.monotonic() + _SECONDS
        found: dict[Step, tuple[Culprit, list[str]]] = {}
        wrong = [leaf for leaf in self.leaves if not self.matches[leaf].is_right]
        common = self._common(wrong)
        for leaf in wrong:
            culprit = self._returned(leaf) or common or self.culprit(leaf)
            found.setdefault(culprit.step, (culprit, []))[1].append(self.leaves[leaf][0].path)
        ranked = sorted(found.items(), key=lambda item: (-len(item[1][1]), item[0].number))
        findings = [self._finding(culprit, paths, 0.1 * (i > 0)) for i, (_, (culprit, paths)) in enumerate(ranked)]
        if none_is_zero and self.missing and self.end is not None:
            names = ", ".join(part.path for part in self.missing)
            place = f"line {self.end.line} of {os.path.basename(self.end.code.co_filename)}"
            text = f"None is returned on {place} as the gradient of {names}, which is not zero"
            step = self.end.statement.text
            findings.append(Finding("zero", text, self.missing[0].path, line=self.end.where, step=step, score=0.7))
        return Located(findings, self.table())

    def _finding(self, culprit: Culprit, paths: Sequence[str], less: float) -> Finding:
        step = culprit.step
        kind, text, score = self._judged(step, culprit.match)
        place = f"line {step.line} of {os.path.basename(step.code.co_filename)}"
        message = f"`{step.name}` on {place} {text}"
        if step is not self.end:
            message += "; what that line reads is right"
        if culprit.edit is not None:
            kind, score = culprit.edit.kind, 0.7
            if any(self.matches[s].verdict == "agrees" for s in self.steps if s.name == culprit.edit.name):
                kind = "wrong_formula"  # another cotangent, not another point
            message += f". Right would be `{culprit.edit.text}`"
        return Finding(
            kind,
            message,
            argument=paths[0] if len(paths) == 1 else None,
            line=step.where,
            step=step.statement.text,
            score=score - less,
        )

    def _judged(self, step: Step, match: Match) -> tuple[str, str, float]:
        """The kind of error, a sentence about it, and how sure it is."""
        target, x = match.target, step.value
        if target is not None and step in self.matches and self.matches[step].how == "a share":
            text = f"drops what `{step.name}` was before: it should be added to the cotangent of {target.title}"
            return "overwrite", text, 0.8
        if match.verdict == "differs" and target is not None:
            return "wrong_point", f"is another value than {target.title} of the forward", 0.6
        if target is None or target.cotangent is None:
            return "wrong_formula", "is wrong", 0.3
        true = target.cotangent
        should = f"should be the cotangent of {target.title}"
        if step is self.end and match.found is not None:
            others = {part.path for part, *_ in self.leaves.values()}
            kind = "swapped_args" if match.found.name in others else "wrong_formula"
            return kind, f"returns that of {match.found.title} as the gradient of {target.title}", 0.6
        if self.matches[step].verdict == "unmatched":
            return "wrong_formula", f"is wrong: with it the cotangent of {target.title} does not come out", 0.45
        if match.found is not None:
            is_input = match.found.node in self.forward.inputs
            kind = "swapped_args" if is_input else "wrong_formula"
            return kind, f"{should}, and is that of {match.found.title}", 0.8 if is_input else 0.5
        if x.size and not np.any(x) and np.any(true):
            return "zero", f"{should}, and is zero", 0.8
        if match.how in _KINDS:
            return _KINDS[match.how], f"{should}, and is it {match.how}", 0.8
        if match.how.startswith(("times ", "divided by ")):
            number = match.how.rpartition(" ")[2]
            is_size = float(number) in self.sizes and float(number) != 2
            return "one_over_n" if is_size else "factor", f"{should}, and is it {match.how}", 0.8
        if match.how == "not summed":
            return "broadcast", f"{should}, shape {true.shape}, and is not summed over the broadcast axes", 0.8
        if match.how:
            return "broadcast", f"{should}, shape {true.shape}, and has shape {x.shape}", 0.5
        if self.lacks(step):
            was = any(s.key != step.key and s not in step.reads and not s.is_argument for s in self.before(step))
            kind = "overwrite" if was else "missing_term"
            return kind, f"{should}, and lacks the share of one of the uses of `{target.name}`", 0.8
        for axis in range(x.ndim):
            if x.shape == true.shape and x.shape[axis] > 1 and same(np.flip(x, axis), true):
                return "index", f"{should}, and is it reversed along axis {axis}", 0.8
            if x.shape == true.shape and any(same(np.roll(x, k, axis), true) for k in (1, -1)):
                return "index", f"{should}, and is it shifted along axis {axis}", 0.8
        if x.shape == true.shape and x.size > 3:
            off = np.abs(x - true) > width(x) * (np.abs(true) + 1e-3 * np.abs(true).max())
            if 0 < np.count_nonzero(off) <= max(1, x.size // 10):
                return "entry", f"{should}, and {np.count_nonzero(off)} of its {x.size} entries are off", 0.5
        return "wrong_formula", should + ", and is not", 0.45

    def table(self) -> list[dict[str, Any]]:
        rows = []
        for (code, _, _), steps in self.occurrences.items():
            worst = next((s for s in steps if self.matches[s].verdict in ("disagrees", "differs")), steps[-1])
            if len(steps) > 1 and self.matches[steps[-1]].verdict == "agrees":
                worst = steps[-1]
            match = self.matches[worst]
            verdict = {"value": "a value", "differs": "disagrees"}.get(match.verdict, match.verdict)
            if match.verdict == "disagrees" and match.how and worst not in self.leaves and self.is_mended(worst):
                verdict = "agrees"
            if worst.is_argument and match.verdict != "agrees":
                continue
            target = match.target
            true = None
            if target is not None:
                true = target.value if match.verdict in ("value", "differs") else target.cotangent
            rows.append(
                {
                    "line": worst.where,
                    "function": code.co_name,
                    "source": worst.statement.text,
                    "local": worst.name,
                    "matches": None if target is None else target.name,
                    "forward": None if target is None else target.where,
                    "how": match.how,
                    "verdict": verdict,
                    "error": None if true is None else error(worst.value, true),
                    "bound": width(worst.value),
                    "order": worst.number,
                }
            )
        return sorted(rows, key=lambda row: row.pop("order"))


_KINDS: Final = {"negated": "sign", "transposed": "transpose"}


def _operands(step: Step) -> set[str]:
    """The names that a statement multiplies, or adds up; none if it does something else."""
    statement = step.statement.only
    value = getattr(statement, "value", None)
    if not isinstance(value, ast.BinOp):
        return set()
    found: set[str] = set()
    stack: list[ast.expr] = [value]
    while stack:
        part = stack.pop()
        if isinstance(part, ast.BinOp) and isinstance(part.op, ast.Mult | ast.Div | ast.Add | ast.Sub):
            stack += [part.left, part.right]
        elif isinstance(part, ast.UnaryOp):
            stack.append(part.operand)
        else:
            found.add(ast.unparse(part))
    return found
