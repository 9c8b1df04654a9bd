"""Which small change of the true backward gives the claimed numbers.

The function is run on the tape (`record`), its way back is changed at one step (`edits`), in the values that it reads
(`recomputations`), at every turn of a loop alike, or at two steps; a change that reproduces the claim to rounding
explains it, and names the line of the forward that it concerns. Changes are screened by their effect along a few random
directions, as inner products with tangents; what passes is walked in full.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from pullback.check.case import Case
from pullback.check.edits import edits
from pullback.check.problem import Array, numbers_of
from pullback.check.recompute import Recomputation, recomputations
from pullback.check.record import Edit, Record, record
from pullback.check.report import Finding
from pullback.tape.node import Node

__all__ = ["explain"]

_SECONDS: Final = 1.5  # of processor time
_PATIENCE: Final = 16  # how often the clock is asked for before it is read
_LARGE: Final = 20_000_000  # numbers in all tangents together
_FIRST: Final = 16  # edits that the search for a second one begins with
_TROUBLE: Final = (ArithmeticError, ValueError, TypeError, IndexError, KeyError, AttributeError, NotImplementedError)
_TOLERANCE: Final = {8: 1e-7, 4: 1e-4, 2: 2e-2}


class _OutOfTime(Exception):
    """The search has taken twice its time; what it found so far stands."""


@dataclass(frozen=True)
class _Hit:
    """Changes that reproduce the claim, times a constant."""

    edits: tuple[Edit | Recomputation, ...]
    ratio: float = 1.0

    @property
    def cost(self) -> float:
        return sum(edit.cost for edit in self.edits) + (0.0 if self.ratio == 1.0 else 2.0)


def explain(case: Case) -> list[Finding]:
    """Findings, the best first; none if no small change of the true backward gives the claim."""
    try:
        found = record(case.problem, case.cotangent)
        if found is None or not found.roots or not case.places.size:
            return []
        return _Search(case, found).findings()
    except Exception:  # whatever a user's function does; an explanation is not owed
        return []


class _Search:
    def __init__(self, case: Case, run: Record, seconds: float = _SECONDS) -> None:
        self.case, self.run = case, run
        self.start = time.thread_time()
        self.end = self.start + seconds
        self.asked, self.is_late = 0, False
        size = case.problem.x.size
        claimed = np.zeros(size, bool)
        claimed[case.places] = True
        self.tolerance = max(
            _TOLERANCE[min(8, p.dtype.itemsize // (2 if p.is_complex else 1))] for p in case.problem.parts
        )
        self.truth = run.gradient(run.true, size)
        self.directions = self._directions(claimed)
        self.tangents = run.tangents([[p.array(t) for p in case.problem.parts] for t in self.directions])
        self.scale = (
            np.abs(self.directions) @ (np.abs(np.where(claimed, case.claim, 0.0)) + np.abs(self.truth)) + 1e-300
        )
        self.target = self.directions @ np.where(claimed, case.claim, 0.0)
        self.base = self.directions @ self.truth
        self.hits: list[_Hit] = []
        self.ratios = _ratios(case, run)

    def _directions(self, claimed: Array) -> Array:
        case = self.case
        rng = np.random.default_rng(0)
        parts = [p for p in case.problem.parts if claimed[p.start : p.stop].any()]
        total = sum(value.size for value in self.run.values.values())
        count = int(np.clip(_LARGE // max(total, 1), 2, 12))
        count = min(count, max(4, 2 * len(parts)))
        sizes = np.maximum(np.abs(case.claim), np.abs(self.truth))
        rows = np.zeros((count, case.problem.x.size))
        for k in range(count):
            for part in parts if len(parts) * 2 > count else [parts[k % len(parts)]]:
                here = slice(part.start, part.stop)
                typical = float(np.sqrt(np.mean(sizes[here] ** 2))) or 1.0
                rows[k, here] = rng.standard_normal(part.stop - part.start) / typical
        return np.where(claimed & np.isfinite(case.claim) & np.isfinite(self.truth), rows, 0.0)

    # Measuring

    def effect(self, edit: Edit, walk: Any) -> Array | None:
        """The change of the gradient along the directions; None if there is none."""
        total = None
        try:
            with np.errstate(all="ignore"):
                for target, delta in edit.change(walk):
                    numbers = numbers_of(np.asarray(delta))
                    part = self.tangents[target] @ numbers
                    total = part if total is None else total + part
        except _TROUBLE:
            return None
        if total is None or not np.isfinite(total).all() or np.all(np.abs(total) <= 1e-13 * self.scale):
            return None
        return total

    def is_near(self, sketch: Array) -> bool:
        return bool(np.all(np.abs(sketch - self.target) <= 10 * self.tolerance * (self.scale + np.abs(sketch))))

    def walked(self, made: Sequence[Edit | Recomputation]) -> Array:
        """The gradient with changes made. Raises `_OutOfTime` long after the end of the search."""
        if time.thread_time() > 2 * self.end - self.start:
            raise _OutOfTime
        changes: dict[Node, list[Any]] = {}
        saved: dict[Node, tuple[Any, ...]] = {}
        try:
            for edit in made:
                if isinstance(edit, Recomputation):
                    saved.update(edit.saved())
                else:
                    changes.setdefault(edit.node, []).append((edit.early, edit.change))
            return self.run.gradient(self.run.walk(changes, saved), self.case.problem.x.size)
        except _TROUBLE:
            return np.full(self.case.problem.x.size, np.nan)

    def reproduces(self, made: Sequence[Edit | Recomputation], ratio: float = 1.0) -> bool:
        vector = self.walked(made) * ratio
        return bool(np.isfinite(vector[self.case.places]).all()) and self.case.is_reproduced(vector, self.tolerance)

    def is_over(self, patience: int = 1) -> bool:
        """Whether the time is up, as looked at each time or now and then: the clock of a thread may be slow to read."""
        self.asked += 1
        if self.asked % patience == 0:
            self.is_late = self.is_late or time.thread_time() > self.end
        return self.is_late

    # The search

    def findings(self) -> list[Finding]:
        known = self.case.known
        if known.size and not np.allclose(self.truth[known], self.case.expected[known], rtol=1e-3, atol=1e-300):
            return []  # the tape and the differences do not agree: nothing can be built on it
        if self.is_near(self.base) and self.case.is_reproduced(self.truth, self.tolerance):
            return []
        with suppress(_OutOfTime):
            self._search()
        return self._reported()

    def _search(self) -> None:
        self._unconjugated()
        listed, effects = self._single()
        if listed:
            self._multiples(listed, np.array(effects))
        if not self.hits:
            self._recomputed()
        if not self.hits and listed:
            sketches = np.array(effects)
            self._scaled(listed, sketches)
            if self.case.places.size > 2 and not self.hits:
                self._pairs(listed, sketches)
                self._second(listed, sketches)

    def _single(self) -> tuple[list[Edit], list[Array]]:
        """Edits of single nodes, and of all nodes that one place in the source made."""
        listed: list[Edit] = []
        effects: list[Array] = []
        turns: dict[Any, list[Node]] = {}
        for node in self.run.nodes:
            key = node if node in self.run.inputs else (node.code, node.lasti, node.op.name)
            turns.setdefault(key, []).append(node)
        once = [nodes[0] for nodes in turns.values() if len(nodes) == 1]
        often = [nodes for nodes in turns.values() if len(nodes) > 1]
        self._try(once, listed, effects, share=0.4)
        for nodes in often:
            first = len(listed)
            self._try(nodes, listed, effects, share=0.6, plain=len(nodes) > 3)
            self._alike(listed[first:], effects[first:])
            if not self.is_over():
                self._shifted(nodes, listed)
        return listed, effects

    def _try(
        self, nodes: list[Node], listed: list[Edit], effects: list[Array], share: float, plain: bool = False
    ) -> None:
        end = self.start + share * (self.end - self.start)
        for tried, edit in enumerate(edits(self.run, nodes, plain)):
            if tried % 64 == 0 and time.thread_time() > end:
                return
            effect = self.effect(edit, self.run.true)
            if effect is None:
                continue
            listed.append(edit)
            effects.append(effect)
            if self.is_near(self.base + effect) and self.reproduces([edit]):
                self.hits.append(_Hit((edit,)))

    def _unconjugated(self) -> None:
        """The whole way back without a conjugate."""
        if not any(p.is_complex for p in self.case.problem.parts):
            return
        roots = [(node, np.conj(g)) for node, g in self.run.roots]
        walk = self.run.walk({}, start=roots)
        walk.cotangents = {n: np.conj(walk.cotangents[n]) for n in self.run.inputs if n in walk.cotangents}
        if self.case.is_reproduced(self.run.gradient(walk, self.case.problem.x.size), self.tolerance):
            node = self.run.roots[0][0]
            text = "no step of the way back conjugates"
            self.hits.append(_Hit((Edit("conj", node, lambda walk: [], text, "all", 0.5),)))

    def _shifted(self, nodes: list[Node], listed: list[Edit]) -> None:
        """At every turn of a loop the rule reads what belongs to the turn before, or after."""
        run = self.run
        first = run.saved(nodes[0])
        reads = nodes[0].op.needs(tuple(edge is not None for edge in nodes[0].edges))
        for k, value in enumerate(first):
            if k >= len(reads) or reads[k] != 2 or not isinstance(value, np.ndarray | np.generic):
                continue
            own = [run.saved(node)[k] for node in nodes]
            if any(np.shape(x) != value.shape for x in own) or all(x is own[0] for x in own):
                continue
            ends = [own[0] * 0, *[run.values[x] for x in run.named if run.values[x].shape == value.shape][:8]]
            for step in (1, -1):
                inner = own[1:] if step == 1 else own[:-1]
                rolled = own[0] if step == 1 else own[-1]
                for end in (rolled, *ends):
                    if self.is_over():
                        return
                    changed = [*inner, end] if step == 1 else [end, *inner]
                    saved = {
                        n: (*run.saved(n)[:k], x, *run.saved(n)[k + 1 :]) for n, x in zip(nodes, changed, strict=True)
                    }
                    gradient = run.gradient(run.walk({}, saved), self.case.problem.x.size)
                    if self.case.is_reproduced(gradient, self.tolerance):
                        edge = None if k == 0 else nodes[0].edges[k - 1]
                        kind = (
                            "index"
                            if (isinstance(edge, Node) and edge.op.name in ("slice", "gather")) or (edge is None and k)
                            else "wrong_point"
                        )
                        turn = "next" if step == 1 else "previous"
                        mine = (
                            run.title(nodes[0])
                            if k == 0
                            else run.title(edge)
                            if isinstance(edge, Node)
                            else "its operand"
                        )
                        text = f"{run.place(nodes[0])} reads `{mine}` of the {turn} turn of the loop"
                        self.hits.append(_Hit((Edit(kind, nodes[0], lambda walk: [], text, "turn", 1.0),)))

    def _multiples(self, listed: list[Edit], sketches: Array) -> None:
        """A share that arrives times a constant: the effect is a multiple of that of leaving it out."""
        gap = self.target - self.base
        for edit, effect in zip(listed, sketches, strict=True):
            if edit.role.partition("@")[0] not in ("stop", "drop"):
                continue
            part = float(gap @ effect / (effect @ effect))
            ratio = 1.0 - part
            if (
                not np.isfinite(part)
                or np.abs(gap - part * effect).max() > 1e-5 * np.abs(gap).max()
                or abs(part) < 1e-9
                or abs(ratio) < 1e-9
            ):
                continue
            if self.is_over():
                return
            times = _times(edit, ratio, self.run)
            if times is not None and self.reproduces([times]):
                self.hits.append(_Hit((times,)))

    def _recomputed(self) -> None:
        for change in recomputations(self.run):
            if self.is_over():
                return
            if self.reproduces([change]):
                self.hits.append(_Hit((change,)))

    def _alike(self, listed: list[Edit], effects: list[Array]) -> None:
        """The same edit at every turn of a loop, every call of a helper."""
        groups: dict[Any, list[int]] = {}
        for k, edit in enumerate(listed):
            groups.setdefault((edit.node.code, edit.node.lasti, edit.role, edit.kind), []).append(k)
        walks = 0
        for group in sorted(groups.values(), key=lambda group: listed[group[0]].cost):
            if len(group) < 2 or self.is_over():
                continue
            made = [listed[k] for k in group]
            together = self.base + np.sum([effects[k] for k in group], axis=0)
            if self.is_near(together) or (walks < 500 and made[0].cost < 2.0):
                walks += 1
                if self.reproduces(made):
                    self.hits.append(_Hit((made[0],)))

    def _scaled(self, listed: list[Edit], sketches: Array) -> None:
        """One edit, and a constant ratio of all numbers."""
        made = (self.base + sketches) / self.scale
        target = self.target / self.scale
        with np.errstate(all="ignore"):
            ratios = made @ target / np.sum(made * made, axis=1)
            off = np.abs(ratios[:, None] * made - target).max(axis=1)
        for k in np.flatnonzero(off <= 100 * self.tolerance):
            ratio = next((r for r in self.ratios if abs(ratios[k] - r) <= 1e-5 * abs(r)), None)
            if ratio is not None and ratio != 1.0 and self.reproduces([listed[k]], ratio):
                self.hits.append(_Hit((listed[k],), ratio))

    def _pairs(self, listed: list[Edit], sketches: Array) -> None:
        """Two edits that do not meet: their effects add up."""
        weights = np.random.default_rng(1).standard_normal(sketches.shape[1]) / self.scale
        keys = sketches @ weights
        wanted = float((self.target - self.base) @ weights)
        order = np.argsort(keys)
        slack = 100 * self.tolerance * (abs(wanted) + np.abs(keys))
        low = np.searchsorted(keys[order], wanted - keys - slack)
        high = np.searchsorted(keys[order], wanted - keys + slack)
        tried = 0
        for i in np.flatnonzero(high > low):
            for j in order[low[i] : high[i]][:50]:
                if j <= i or not self.is_near(self.base + sketches[i] + sketches[j]):
                    continue
                tried += 1
                if tried > 300 or self.is_over():
                    return
                if self.reproduces([listed[i], listed[j]]):
                    self.hits.append(_Hit((listed[i], listed[j])))

    def _second(self, listed: list[Edit], sketches: Array) -> None:
        """A second edit after one that already comes nearer, where the two may lie on one path."""
        gap = (self.target - self.base) / self.scale
        effects = sketches / self.scale
        length = np.sum(effects * effects, axis=1)
        gain = (effects @ gap) ** 2 / np.where(length > 0, length, np.inf)
        near = -np.sum((effects - gap) ** 2, axis=1)
        chosen = dict.fromkeys([*np.argsort(-near)[:_FIRST].tolist(), *np.argsort(-gain)[:_FIRST].tolist()])
        for k in chosen:
            if self.is_over() or self.hits:
                return
            first = listed[k]
            try:
                walk = self.run.walk({first.node: [(first.early, first.change)]})
            except _TROUBLE:
                continue
            before = self.directions @ self.run.gradient(walk, self.case.problem.x.size)
            for second in listed:
                if second.node.seq > first.node.seq or second is first:
                    continue
                effect = self.effect(second, walk)
                if effect is not None and self.is_near(before + effect) and self.reproduces([first, second]):
                    self.hits.append(_Hit((first, second)))
                if self.is_over(_PATIENCE):
                    return

    # The report

    @property
    def _is_constant(self) -> bool:
        """Whether the claim of each argument is a constant times the truth."""
        claimed = np.isin(np.arange(self.truth.size), self.case.places)
        for part in self.case.problem.parts:
            here = slice(part.start, part.stop)
            if claimed[here].all() and part.stop > part.start:
                a, b = self.case.claim[here], self.truth[here]
                ratio = (a @ b) / (b @ b) if b.any() else 0.0
                if np.abs(a - ratio * b).max() > 1e-6 * np.abs(a).max(initial=1e-300):
                    return False
        return True

    def _reported(self) -> list[Finding]:
        again = _assigns_twice(self.case.source)
        self.hits.sort(key=lambda hit: hit.cost - (0.7 if again and hit.edits[0].kind == "overwrite" else 0.0))
        constant = self._is_constant
        found: dict[str, Finding] = {}
        for hit in self.hits:
            for place, edit in enumerate(hit.edits):
                kind = edit.kind
                if kind in ("factor", "sign", "one_over_n") and not constant:
                    kind = {"factor": "wrong_formula", "one_over_n": "sum_for_mean"}.get(kind, kind)
                if kind in found or (place and len(found) > 3):
                    continue
                text = " and ".join(e.text for e in hit.edits)
                if hit.ratio != 1.0:
                    text += f", and all of it times {hit.ratio:g}"
                score = (1.0 if len(hit.edits) == 1 and hit.ratio == 1.0 else 0.9) - 0.02 * len(found)
                found[kind] = Finding(
                    kind,
                    f"your gradient is what comes out if {text}",
                    line=self.run.line(edit.node),
                    step=self.run.expression(edit.node),
                    score=score,
                )
        return list(found.values())[:4]


def _assigns_twice(source: Any) -> bool:
    """Whether a function assigns a name again whose first value nobody has read, or assigns in a loop what began as
    zeros: then something may be overwritten.
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(source)))
    except (TypeError, OSError, SyntaxError, IndentationError):
        return False
    for block in (body for node in ast.walk(tree) for body in (getattr(node, "body", []),) if isinstance(body, list)):
        unread: set[str] = set()
        for statement in block:
            read = {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
            unread -= read
            inner = [n for n in ast.walk(statement) if isinstance(n, ast.Assign)]
            names = {ast.unparse(target) for n in inner for target in n.targets}
            if names & unread and (not isinstance(statement, ast.Assign) or names.isdisjoint(read)):
                return True
            if isinstance(statement, ast.Assign):
                unread |= {name for name in names if name.isidentifier()}
    return False


def _times(edit: Edit, ratio: float, run: Record) -> Edit | None:
    """The edit that hands on `ratio` times what `edit` leaves out."""
    node = edit.node
    target = node if edit.early else node.edges[int(edit.role.rpartition("@")[2])]
    value = run.values.get(target)  # type: ignore[arg-type]
    if value is None:
        return None
    nearest = next((r for r in (ratio, 1 / ratio) if abs(r - round(r)) < 1e-6 * abs(r)), None)
    if nearest is None and value.size < 3:
        return None  # of a single number, anything is a multiple
    sizes = {1}
    for near in (
        node,
        target,
        *(edge for edge in node.edges if isinstance(edge, Node)),
        *(c for c, _ in run.consumers.get(node, [])),
    ):
        if near in run.values:
            sizes |= {*run.values[near].shape, run.values[near].size}
    count = abs(round(nearest)) if nearest is not None else 0
    kind, cost = "wrong_formula", 2.4
    if nearest == -1.0 or (nearest is not None and round(nearest) == -1):
        kind, cost = "sign", 1.5
    elif count > 2 and count in sizes:
        kind, cost = "sum_for_mean", 1.6
    elif count in (2, 3, 4):
        kind, cost = "factor", 1.7
    shown = f"{ratio:.6g}" if abs(ratio) >= 1 or nearest is None else f"{'-' if ratio < 0 else ''}1/{count}"
    text = f"the gradient of `{run.title(target)}` is {shown} times what it should be"  # type: ignore[arg-type]
    if not edit.early:
        text = f"what comes to `{run.title(target)}` through {run.place(node)} is {shown} times what it should be"  # type: ignore[arg-type]
    part = edit.change

    def change(walk: Any) -> list[tuple[Node, Any]]:
        return [(at, delta * (1.0 - ratio)) for at, delta in part(walk)]

    return replace(
        edit,
        kind=kind,
        change=change,
        text=text,
        role=f"times {ratio:.9g}",
        cost=cost + (0.2 if target not in run.names else 0.0),
    )


def _ratios(case: Case, run: Record) -> list[float]:
    """Constants that gradients are off by."""
    sizes = {n for value in run.values.values() for n in (*value.shape, value.size) if n > 1}
    plain = [1.0, *(float(n) for n in sorted(sizes | {2, 3, 4}))]
    found = [r for n in plain for r in (n, 1 / n)]
    return [sign * r for r in found for sign in (1.0, -1.0)]
