"""Edits of local derivatives: another formula, or the right one at another point."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from pullback.check.composites import between
from pullback.check.formulas import applied
from pullback.check.maker import Maker, down
from pullback.check.record import Arr, Edit, Walk
from pullback.tape.node import Node, Projection

__all__ = ["Slopes"]

_STEPS: Final = frozenset(
    "round floor ceil trunc clamp floor_divide remainder heaviside hardtanh threshold".split()
)  # straight through them is a habit with a name
_POINTED: Final = frozenset(
    "sin cos tan tanh sigmoid log log1p log2 log10 sinh cosh asin acos atan gelu silu softplus elu".split()
)  # read at the output for the input, or the reverse, they give a formula that people do write
_MOVES: Final = frozenset(
    "identity reshape transpose broadcast_to sum mean slice gather flip roll concatenate stack split unbind pad cast "
    "slice_update index_update scatter_add embed diagonal real imag conj tril triu".split()
)  # they read no values


class Slopes(Maker):
    """Edits of local derivatives."""

    def substitutions(self, node: Node) -> Iterator[Edit]:
        """The rule reads another value of the same shape than it should."""
        record = self.record
        if isinstance(node, Projection) or node.op.name in _MOVES or node.op.name == "abs":
            return
        saved = record.saved(node)
        y = saved[0]
        place = record.place(node)
        reads = node.op.needs(tuple(edge is not None for edge in node.edges))
        for k, value in enumerate(saved):
            if not isinstance(value, np.ndarray | np.generic) or k >= len(reads) or reads[k] != 2:
                continue
            if value.dtype.kind not in "fc":
                if (value.dtype.kind in "iu" and value.ndim == 0) or value.dtype.kind not in "iu":
                    continue
                continue
            shape = np.shape(value)
            mine = record.title(node) if k == 0 else self.operand_title(node, k - 1)
            others: list[tuple[str, Any, str, float]] = []  # title, value, kind, cost
            pointed = node.op.name in _POINTED or node.op.family != "elementwise"
            own = "wrong_point" if pointed else "wrong_formula"
            if k > 0:
                others.append((record.title(node), y, own, 1.05 if pointed else 1.25))
            others += [
                (self.operand_title(node, i), saved[i + 1], own, 1.1 if pointed else 1.25)
                for i in range(len(saved) - 1)
                if i != k - 1
            ]
            edge = node if k == 0 else node.edges[k - 1]
            if isinstance(edge, Node) and edge in record.members and k > 0 and not isinstance(edge, Projection):
                behind = record.saved(edge)[1:]
                for j, other in enumerate(behind):
                    dropped: Any = behind[1 - j] if len(behind) == 2 else 0.0
                    moved = edge.op.name in ("add", "sub") and (
                        np.ndim(dropped) > 0 or isinstance(edge.edges[1 - j], Node)
                    )
                    kind = "wrong_point" if moved else "wrong_formula"
                    before = edge.edges[j] if j < len(edge.edges) else None
                    title = record.title(before) if isinstance(before, Node) else f"an operand of {record.place(edge)}"
                    others.append((title, other, kind, 1.3))
                others += [
                    (record.title(c), record.values[c], "wrong_point" if c in record.names else "wrong_formula", 1.4)
                    for c, _ in record.consumers.get(edge, [])
                    if c in record.values and c is not node
                ]
            others += [
                (record.title(other), record.values[other], "wrong_point", 1.35)
                for other in self.by_shape.get(shape, [])
            ]
            if value.dtype.kind == "c":
                text = f"{place} reads `{mine}` where it should read its conjugate"
                yield self.pulled(node, "conj", text, f"conj{k}", 0.6, (*saved[:k], np.conj(value), *saved[k + 1 :]))
            seen = {id(value)}
            for title, other, kind, cost in others:
                if not isinstance(other, np.ndarray | np.generic) or np.shape(other) != shape or id(other) in seen:
                    continue
                seen.add(id(other))
                changed = (*saved[:k], other, *saved[k + 1 :])
                text = f"{place} is differentiated at `{title}` instead of `{mine}`"
                yield self.pulled(node, kind, text, f"read{k} {title}", cost, changed)
            if value.ndim > 1 and shape[-1] == shape[-2]:
                changed = (*saved[:k], np.swapaxes(value, -1, -2), *saved[k + 1 :])
                text = f"{place} reads `{mine}` transposed on the way back"
                yield self.pulled(node, "transpose", text, f"swap{k}", 0.9, changed)
            for axis, n in enumerate(shape):
                if n > 1:
                    places = {
                        "reversed": np.flip(value, axis),
                        "shifted": np.roll(value, 1, axis),
                        "shifted back": np.roll(value, -1, axis),
                    }
                    for how, other in places.items():
                        changed = (*saved[:k], other, *saved[k + 1 :])
                        text = f"{place} reads `{mine}` {how} along axis {axis} on the way back"
                        yield self.pulled(node, "index", text, f"{how}{axis}{k}", 1.6, changed)

    def slopes(self, node: Node) -> Iterator[Edit]:
        """Of an elementwise step: the local derivative replaced by another function."""
        record = self.record
        if (node.op.family != "elementwise" and node.op.name != "abs") or node.op.name in ("add", "sub", "neg"):
            return
        y = record.result(node)
        if y is None:
            return
        place = record.place(node)
        for i in self.operands(node):
            target = node.edges[i]
            shape = np.shape(record.values[target])  # type: ignore[index]
            own: dict[Any, float] = {target: 0.0, node: 0.1}
            ones = np.ones_like(y)
            with np.errstate(all="ignore"):
                slope = record.pull(node, ones)[i] if shape == y.shape else None
            mine = f"`{record.title(target)}`"  # type: ignore[arg-type]
            if node.op.name in _STEPS:
                yield self.share(
                    node,
                    i,
                    "ste",
                    lambda g, old, _: down(g, old),
                    f"the gradient passes straight through {place}",
                    "straight",
                    0.5,
                )
            elif np.ndim(y) == np.ndim(record.values[target]):  # type: ignore[index]
                other = record.saved(node)[2 - i] if node.op.name == "mul" else None
                is_scale = other is not None and np.size(other) == 1
                yield self.share(
                    node,
                    i,
                    "factor" if is_scale else "wrong_formula",
                    lambda g, old, _: down(g, old),
                    f"the local derivative of {place} is left out",
                    "straight",
                    1.2,
                )
            if slope is None:
                continue
            right = {
                (text, c)
                for w in own
                if record.values[w].shape == y.shape
                for text, f in applied(record.values[w], self.formulas.setdefault(w, {}))
                for c in (1.0, -1.0, 2.0, 0.5)
                if np.allclose(c * f, slope, rtol=1e-9, atol=0.0)
            }
            for text, f in (
                ("the slope squared", slope * slope),
                ("1 / slope", _inverse(slope)),
                ("abs", np.abs(slope)),
            ):
                if np.isfinite(f).all():
                    yield self.share(
                        node,
                        i,
                        "wrong_formula",
                        lambda g, old, _, f=f: down(g * f, old),
                        f"the local derivative of {place} is {text}",
                        text,
                        1.9,
                    )
            factor = node.edges[1 - i] if node.op.name == "mul" else None  # its local derivative is the other factor
            if isinstance(factor, Node) and factor in record.values and factor not in own:
                own = {**own, factor: 0.15}
            others: dict[Any, float] = {**own, **{w: 0.3 for w in self.by_shape.get(y.shape, []) if w not in own}}
            for w, extra in others.items():
                if record.values[w].shape != y.shape:
                    continue
                for text, f in applied(record.values[w], self.formulas.setdefault(w, {})):
                    for c in (1.0, -1.0, 2.0, 0.5):
                        pointed = w not in own or node.op.name in _POINTED or _is_function(text)
                        moved = w is factor and _is_function(text) and c == 1.0
                        kind = "wrong_point" if ((text, c) in right and pointed) or moved else "wrong_formula"
                        shown = ("" if c == 1 else f"{c:g} * " if c != -1 else "-") + text.format(record.title(w))
                        cost = (
                            1.3 + extra + (0.0 if kind == "wrong_point" else 0.1) + 0.004 * len(text) + (c != 1) * 0.05
                        )
                        yield self.share(
                            node,
                            i,
                            kind,
                            lambda g, old, _, f=f, c=c: down(g * (c * f), old),
                            f"the local derivative of {place} with respect to {mine} is taken to be `{shown}`",
                            f"slope {text} {c} {record.names.get(w) if extra > 0.2 else extra}",
                            cost,
                        )
            if node.op.name == "pow" and isinstance(node.saved[2] if node.saved else None, int | float):
                yield from self._powers(node, float(node.saved[2]))  # type: ignore[index]

    def links(self, node: Node) -> Iterator[Edit]:
        """Of several elementwise steps in a row, as a sigmoid written out: the derivative of the whole."""
        record = self.record
        y = record.values.get(node)
        ends = [c for c, _ in record.consumers.get(node, [])]
        if y is None or node.op.family != "elementwise" or any(_is_same_line(c, node) for c in ends):
            return
        region, steps = [node], {node}
        for member in region:
            for edge in member.edges:
                if (
                    edge in record.values
                    and edge not in steps
                    and record.values[edge].shape == y.shape
                    and len(region) < 14
                ):
                    steps.add(edge)
                    if edge.op.family == "elementwise" and not (edge in record.names and record.names[edge] != "x"):
                        region.append(edge)
        starts = [
            v for v in steps if v is not node and v not in node.edges and (v in record.names or v in record.inputs)
        ]
        for start in sorted(starts, key=lambda v: -v.seq)[:3]:
            g = record.true.cotangents[node]
            whole = between(record, node, start, g)
            if np.shape(whole) != y.shape:
                continue
            slope = between(record, node, start, np.ones_like(g))
            if not np.isfinite(slope).all():
                continue

            def form(f: Any, start: Node = start, whole: Any = whole) -> Callable[[Walk], list[tuple[Node, Arr]]]:
                def change(walk: Walk) -> list[tuple[Node, Arr]]:
                    g = walk.cotangents[node]
                    old = whole if walk is record.true else between(record, node, start, g)
                    return [(start, g * f - old)]

                return change

            title = f"{record.place(node)}, as a function of `{record.title(start)}`,"
            simple: list[tuple[str, Any]] = [("1", np.ones_like(y)), ("the slope squared", slope * slope)]
            for text, f in simple:
                yield Edit("wrong_formula", node, form(f), f"{title} is differentiated to {text}", f"link {text}", 1.3)
            values = {node: y, start: record.values[start]}
            own = [(w, text, f) for w, v in values.items() for text, f in applied(v, self.formulas.setdefault(w, {}))]
            right = {
                (text, c) for _, text, f in own for c in (1.0, -1.0) if np.allclose(c * f, slope, rtol=1e-6, atol=1e-12)
            }
            others = [
                (w, text, f)
                for w in self.by_shape.get(y.shape, [])
                if w not in values
                for text, f in applied(record.values[w], self.formulas.setdefault(w, {}))
            ]
            for w, text, f in own + others:
                for c in (1.0, -1.0):
                    kind = "wrong_point" if (text, c) in right else "wrong_formula"
                    shown = ("-" if c < 0 else "") + text.format(record.title(w))
                    cost = (
                        (1.1 if kind == "wrong_point" else 1.2) + (0.3 if w not in values else 0.0) + 0.004 * len(text)
                    )
                    yield Edit(
                        kind,
                        node,
                        form(c * f),
                        f"{title} is differentiated to `{shown}`",
                        f"link {text} {c} {w is node} {w is start}",
                        cost + 0.05 * (c < 0),
                    )

    def _powers(self, node: Node, n: float) -> Iterator[Edit]:
        x = self.record.values.get(node.edges[0])  # type: ignore[arg-type]
        if x is None:
            return
        for c, m in itertools.product((1.0, n, n - 1, n + 1), (n - 2, n - 1, n, n + 1)):
            with np.errstate(all="ignore"):
                f = c * x**m
            if (c == n and m == n - 1) or not np.isfinite(f).all():
                continue
            kind = "factor" if m == n - 1 else "wrong_formula"
            yield self.share(
                node,
                0,
                kind,
                lambda g, old, _, f=f: down(g * f, old),
                f"the local derivative of {self.record.place(node)} is taken to be "
                f"`{c:g} * {self.record.title(node.edges[0])}**{m:g}`",  # type: ignore[arg-type]
                f"power {c} {m}",
                1.2,
            )


def _is_same_line(a: Node, b: Node) -> bool:
    return a.code is b.code and a.location.line == b.location.line


def _is_function(text: str) -> bool:
    """Whether a formula is more than powers."""
    return any(name in text for name in ("exp", "log", "sin", "cos", "tan", "sigmoid"))


def _inverse(x: Any) -> Any:
    with np.errstate(all="ignore"):
        return 1 / x
