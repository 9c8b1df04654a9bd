"""Each local of a backward laid beside the value of the forward whose cotangent it is, or should be."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from pullback.check.adapters import adapter_for
from pullback.check.alike import Arr, Index, digest, fits, is_plain, is_sum_of, ratio, same
from pullback.check.claim import read_claim
from pullback.check.naming import bases, canonical
from pullback.check.observe import Observer, Step
from pullback.check.problem import Part, Problem
from pullback.check.record import Record
from pullback.tape.node import Node
from pullback.transforms.tree import flatten

__all__ = ["Match", "Matching", "Value", "numbers_at"]

_NODES: Final = 5000  # of a longer run only the values that have a name are looked at
_SHARES: Final = 6
_STEPS: Final = 3000


@dataclass(frozen=True, eq=False)
class Value:
    """A value of the forward, or a share of its cotangent: that of one of its uses."""

    name: str
    where: str | None
    node: Node | None
    value: Arr | None
    cotangent: Arr | None
    order: int
    function: str = ""
    is_named: bool = True
    is_share: bool = False

    @cached_property
    def canonical(self) -> str:
        return canonical(self.name)

    @property
    def title(self) -> str:
        line = f" (line {self.where.rpartition(':')[2]})" if self.where else ""
        return f"`{self.name}`{line}"


@dataclass(eq=False)
class Match:
    """What a local of the backward was found to be."""

    verdict: str = "unmatched"
    target: Value | None = None
    how: str = ""
    found: Value | None = None  # what it is instead

    @property
    def is_right(self) -> bool:
        return self.verdict in ("agrees", "value") and not self.how


def _best(values: Sequence[Value]) -> Value:
    """Of several values with the same numbers the one to speak of: one that has a name, the first of these."""
    return min(values, key=lambda v: (not v.is_named, v.order))


class Matching:
    """Both runs, and what is known of each local of the backward."""

    def __init__(
        self, problem: Problem, forward: Record, ahead: Sequence[Step], behind: Observer, claimed: Any
    ) -> None:
        self.forward = forward
        self.values = self._values(ahead)
        self.by_name: dict[str, list[Value]] = {}
        for value in self.values:
            if value.is_named:
                self.by_name.setdefault(value.canonical, []).append(value)
        self.folded: dict[str, list[Value]] = {}
        for name, group in self.by_name.items():
            self.folded.setdefault(name.lower(), []).extend(group)
        cotangents = [(v.cotangent, v) for v in self.values if v.cotangent is not None and not is_plain(v.cotangent)]
        self.cotangents = Index(cotangents)
        self.numbers = Index((v.value, v) for v in self.values if v.value is not None)
        self.shares = Index((v.cotangent, v) for v in self._shares() if v.cotangent is not None)
        self.sizes = {n for v in self.values if v.value is not None for n in (*v.value.shape, v.value.size) if n > 2}
        influential = {
            step.key for step in ahead if isinstance(step.edge, Node) and step.edge in forward.true.cotangents
        }
        self.steps = [step for step in behind.steps if step.key not in influential or step.is_argument][:_STEPS]
        self.missing: list[Part] = []  # arguments whose gradient is None and is not zero
        self.leaves = self._leaves(problem, behind, claimed)
        self.end = behind.return_of(claimed)
        self.children: dict[Step, list[Step]] = {}
        for step in self.steps:
            for read in step.reads:
                self.children.setdefault(read, []).append(step)
        self.matches: dict[Step, Match] = {}
        self.occurrences: dict[Any, list[Step]] = {}
        for step in self.steps:
            self.occurrences.setdefault(step.key, []).append(step)
        for step in self.steps:
            self.matches[step] = self._match(step)

    def _values(self, ahead: Sequence[Step]) -> list[Value]:
        true = self.forward.true.cotangents
        found: list[Value] = []
        named: set[Any] = set()
        for step in ahead:
            g = true.get(step.edge) if isinstance(step.edge, Node) else None
            cotangent = np.asarray(g) if isinstance(g, np.ndarray | np.generic) else None
            node = step.edge if isinstance(step.edge, Node) else None
            named.add(node)
            order = node.seq if node is not None else 0
            name = step.code.co_name
            found.append(
                Value(step.name, step.where, node, step.value, cotangent, order, name, is_named=not step.is_result)
            )
        if len(self.forward.nodes) <= _NODES:
            for node in self.forward.nodes:
                g = true.get(node)
                line = self.forward.line(node)
                if node not in named and isinstance(g, np.ndarray | np.generic) and line is not None:
                    text, y = self.forward.expression(node), self.forward.values.get(node)
                    found.append(Value(text, line, node, y, np.asarray(g), node.seq, is_named=False))
        return found

    def _shares(self) -> list[Value]:
        """What each use of a value used more than once adds to its cotangent."""
        by_node = {v.node: v for v in reversed(self.values) if v.node is not None and v.is_named}
        found = []
        for node, value in by_node.items():
            assert node is not None
            arrays = self.shares_of(node)
            if 1 < len(arrays) <= _SHARES:
                for count in range(1, len(arrays)):
                    for some in itertools.combinations(arrays, count):
                        total = np.asarray(sum(some[1:], some[0]))
                        if not is_plain(total):
                            found.append(Value(value.name, value.where, node, None, total, value.order, is_share=True))
        return found

    def shares_of(self, node: Node) -> list[Arr]:
        shares = self.forward.true.shares.get(node, [])
        return [np.asarray(g) for _, _, g in shares if isinstance(g, np.ndarray | np.generic)]

    def _leaves(self, problem: Problem, behind: Observer, claimed: Any) -> dict[Step, tuple[Part, Value, Arr]]:
        """The steps that made what was returned: for each the argument, its true cotangent, and what was claimed."""
        given = read_claim(problem, claimed).given
        objects, _ = flatten(claimed)
        by_part: dict[Step, tuple[Part, Value, Arr]] = {}
        wrong: set[Step] = set()  # one local may be returned for two arguments
        last: dict[bytes, Step] = {}
        for step in self.steps:
            last[digest(step.value)] = step
        returned = {digest(numbers_at(x)): behind.step_of(x) for x in objects if x is not None}
        for part, node in zip(problem.parts, self.forward.inputs, strict=True):
            array = given.get(part.leaf)
            true = self.forward.true.cotangents.get(node)
            if array is None:
                if part.leaf in given and true is not None and np.any(true):
                    self.missing.append(part)
                continue
            true = np.zeros(part.shape) if true is None else np.asarray(true)
            made = returned.get(digest(array)) or last.get(digest(array))
            if made is not None and made not in wrong:
                if array.shape != true.shape or not same(array, true):
                    wrong.add(made)
                value = Value(part.path, None, node, None, true if part.is_complex else true.real, node.seq)
                by_part[made] = part, value, array
        return by_part

    def _match(self, step: Step) -> Match:
        x = step.value
        if step.is_argument and step not in self.leaves:  # its name is the called function's choice
            known = self.matches.get(step.reads[0]) if step.reads else None
            if known is not None:
                return known
            found = [] if is_plain(x) else self.cotangents.find(x)
            value = None if found else self._known(step)
            return Match("agrees", _best(found)) if found else Match("value" if value else "unmatched", value)
        leaf = self.leaves.get(step)
        if leaf is None:
            return self.matched(step)
        target = leaf[1]
        assert target.cotangent is not None
        if x.shape == target.cotangent.shape and same(x, target.cotangent):
            return Match("agrees", target)
        return Match("disagrees", target, self.how(x, target))

    def matched(self, step: Step) -> Match:
        """What a local is, whether it is returned or not."""
        x = step.value
        group = self.group_of(step)
        named = group or self.group_of(step, carried=True)
        exact = [v for v in named if v.cotangent is not None and same(x, v.cotangent)]
        if exact:
            return Match("agrees", exact[0])
        target = None if self._is_unfinished(step) else self._target(step, group)
        plain = is_plain(x)
        how = "" if target is None else self.how(x, target)
        others = [] if plain or how else self.cotangents.find(x)
        if others:
            other = _best(others)
            if target is not None and self._is_short(other, target):
                return Match("disagrees", target, "", other)
            return Match("agrees", other)
        shares = [] if plain or step.is_result else self.shares.find(x)
        if shares and (target is None or all(share.node is not target.node for share in shares)):
            return Match("agrees", shares[0], "a share")
        if target is None and (known := self._known(step)) is not None:
            return Match("value", known)
        if target is not None:
            return Match("disagrees", target, how)
        if not plain and x.size > 2:
            for kind, y in (("transposed", x.T), ("negated", -x), *((f"times {n}", x / n) for n in sorted(self.sizes))):
                if kind != "transposed" or x.ndim > 1:
                    others = self.cotangents.find(y)
                    if others:
                        return Match("disagrees", _best(others), kind)
        if self._is_recomputed(step):
            group = self.by_name[canonical(step.name)]
            return Match("differs", [v for v in group if v.value is not None and v.value.shape == x.shape][-1])
        return Match()

    def _known(self, step: Step) -> Value | None:
        """The value of the forward that a step is: of its own name, or found by its numbers."""
        x = step.value
        group = self.by_name.get(canonical(step.name), ())
        found = [v for v in group if v.value is not None and v.value.shape == x.shape and same(x, v.value)]
        found = found or ([] if is_plain(x) else self.numbers.find(x))
        return _best(found) if found else None

    def group_of(self, step: Step, carried: bool = False) -> list[Value]:
        """The values that a local is the cotangent of by its name."""
        for base in bases(step.name, carried):
            for table, name in ((self.by_name, base), (self.folded, base.lower())):
                group = [v for v in table.get(name, ()) if v.cotangent is not None]
                if group:
                    return group
        return []

    def _target(self, step: Step, group: Sequence[Value]) -> Value | None:
        """The one of the values of that name that the step should be the cotangent of."""
        fitting = [v for v in group if v.cotangent is not None and fits(step.value.shape, v.cotangent.shape)]
        alike = [v for v in fitting if v.cotangent is not None and v.cotangent.shape == step.value.shape]
        fitting = alike or fitting
        if not fitting:
            return None
        stem = step.code.co_name.replace("backward", "").replace("grad", "").replace("_", "").lower()
        related = [v for v in fitting if stem and stem in v.function.replace("_", "").lower()]
        fitting = sorted(related or fitting, key=lambda v: v.order)
        unique = list({id(v.node): v for v in fitting}.values())
        times = self.occurrences[step.key]
        back = times.index(step) + 1  # what is computed first going forward comes last going back
        return unique[-min(back, len(unique))]

    def _is_unfinished(self, step: Step) -> bool:
        """Whether a local is still being made: the same place is added or written to later, or started as zeros."""
        if any(child.name == step.name and child.call == step.call for child in self.children.get(step, ())):
            return True
        return not np.any(step.value) and any(
            s.name == step.name and s.call == step.call and s.number > step.number and s.line != step.line
            for s in self.steps
        )

    def _is_short(self, found: Value, target: Value) -> bool:
        """Whether a local stopped on the way, at a value that is further ahead than the one it is named for; or is
        that of another argument."""
        inputs = self.forward.inputs
        if found.node in inputs and target.node in inputs:
            return found.node is not target.node
        return found.order > target.order

    def _is_recomputed(self, step: Step) -> bool:
        group = [v for v in self.by_name.get(canonical(step.name), ()) if v.value is not None]
        if step.is_argument or step.is_result or not group or (bases(step.name) and self.group_of(step)):
            return False
        if not any(v.value is not None and v.value.shape == step.value.shape for v in group):
            return False
        return all(
            read.is_argument or self.matches[read].verdict == "value" for read in step.reads if read in self.matches
        )

    def how(self, x: Arr, target: Value) -> str:
        true = target.cotangent
        assert true is not None
        if x.shape != true.shape:
            if x.ndim > 1 and x.T.shape == true.shape and same(x.T, true):
                return "transposed"
            return "not summed" if is_sum_of(true, x) else "of another shape"
        times = ratio(x, true)
        if times is not None:
            if abs(times + 1) < 1e-6:
                return "negated"
            n = next((n for n in sorted(self.sizes) if abs(times / n - 1) < 1e-6 or abs(times * n - 1) < 1e-6), None)
            if n is not None:
                return f"times {n}" if times > 1 else f"divided by {n}"
            return f"times {times:.6g}"
        if x.ndim > 1 and x.T.shape == true.shape and same(x.T, true):
            return "transposed"
        return ""

    def is_mended(self, step: Step) -> bool:
        """Whether at least as much of what was made of a step is right as is off in the same way: then the step was
        meant as it is.
        """
        match = self.matches[step]
        seen = {step}
        stack = [step]
        right = alike = 0
        while stack:
            for child in self.children.get(stack.pop(), ()):
                if child in seen:
                    continue
                seen.add(child)
                other = self.matches[child]
                if other.is_right and other.verdict == "agrees":
                    right += 1
                elif child.is_argument or other.verdict == "unmatched" or _is_alias(child, step):
                    stack.append(child)
                elif other.how == match.how:
                    alike += 1
        return right >= alike if not self.group_of(step) else right >= max(alike, 1)

    def is_doubtful(self, step: Step) -> bool:
        """Whether nothing is known of a step, nor has anything right been made of it."""
        made = self.children.get(step, ())
        return (
            not step.is_argument
            and self.matches[step].verdict == "unmatched"
            and not any(self.matches[child].is_right for child in made)
        )

    def lacks(self, step: Step) -> bool:
        """Whether what is missing of a cotangent is the share of one or more of the value's uses."""
        target = self.matches[step].target
        true = target.cotangent if target is not None else None
        if target is None or true is None or target.node is None or true.shape != step.value.shape:
            return False
        shares = self.shares_of(target.node)
        if not 1 < len(shares) <= _SHARES:
            return False
        missing = true - step.value
        some = (c for k in range(1, len(shares)) for c in itertools.combinations(shares, k))
        return any(same(missing, np.broadcast_to(sum(c[1:], c[0]), missing.shape)) for c in some)

    def before(self, step: Step) -> list[Step]:
        """What the same call gave to the same place before."""
        return [s for s in self.steps if s.call == step.call and s.name == step.name and s.number < step.number]


def numbers_at(x: Any) -> Arr:
    return np.asarray(adapter_for(x).array(x))


def _is_alias(step: Step, other: Step) -> bool:
    """Whether a step only gives another one's value one more name."""
    return step.origin is other.origin
