"""A run of a function written down: every value, where it was computed, and the way back, to be walked with changes.

The tape's nodes say how to go back; a listener on the tape adds the value of each, and the user's own names for them. A
`Walk` is one pass back over the nodes on plain arrays. `Change`s replace what arrives at a node, or what it hands on.
Tangents of a few random directions, pushed forward once, give the effect of a change on the gradient as an inner
product, without walking: for a change δ of the cotangent of a value v, `<gradient change, t> = <δ, dv·t>`.
"""

from __future__ import annotations

import linecache
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import CodeType, FrameType
from typing import Any, Final

import numpy as np

from pullback.check.problem import Array, Problem, numbers_of
from pullback.check.reference import on_tape
from pullback.ops.shape import sum_to
from pullback.ops.table import TABLE
from pullback.tape.engine import explore, leading
from pullback.tape.location import is_internal
from pullback.tape.node import Handle, Node, Projection, edge_of, leaf_mark, new_handle
from pullback.tape.state import enable_grad, modes
from pullback.transforms.forward import push
from pullback.transforms.tree import flatten

__all__ = ["Arr", "Change", "Edit", "Record", "Walk", "cotangents_like", "record"]

_STORED: Final = 200_000  # the largest array of which the value is copied; others may change under our hands
_argument = TABLE["identity"].titled("ArgumentBackward0")
Arr = np.ndarray[Any, Any]
Change = Callable[["Walk"], list[tuple[Node, Arr]]]
"""What is to be added, where, once the cotangent of the node it belongs to is complete."""


@dataclass(frozen=True)
class Edit:
    """A change of one step of the walk back.

    kind    one of `report.KINDS`.
    node    the step; `early`: its own cotangent is changed before it is handed on, else its operands' after.
    change  what to add.
    text    what it means, to follow "your gradient is what comes out if ".
    role    the same for the same mistake at another node.
    cost    the simpler the change, the lower.
    """

    kind: str
    node: Node
    change: Change
    text: str
    role: str
    cost: float
    early: bool = False


class _Listener:
    """Told of every value that is put on the tape."""

    def __init__(self) -> None:
        self.values: dict[Node, Any] = {}
        self.order: list[tuple[Node, FrameType | None]] = []

    def note(self, handle: Any) -> None:
        node, value = handle._node, handle._value
        if not isinstance(node, Node) or not isinstance(value, np.ndarray | np.generic):
            return
        if isinstance(value, np.ndarray) and value.size <= _STORED:
            value = value.copy()
        self.values[node] = np.asarray(value)
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and is_internal[frame.f_code.co_filename]:
            frame = frame.f_back
        self.order.append((node, frame))

    def read(self, variable: Any) -> Any:
        return None


@dataclass
class Walk:
    """One pass back: the cotangent that arrived at each node, what each handed on, and the shares that arrived."""

    cotangents: dict[Node, Any] = field(default_factory=dict)
    handed: dict[Node, Sequence[Any]] = field(default_factory=dict)
    shares: dict[Node, list[tuple[Node, int, Any]]] = field(default_factory=dict)


class Record:
    """A function's run: `nodes` in its order, the `inputs` among them, the result's nodes and their cotangents."""

    def __init__(
        self, inputs: list[Node], roots: list[tuple[Node, Any]], listener: _Listener, code: CodeType | None
    ) -> None:
        self.inputs = inputs
        self.roots = roots
        self.values = listener.values
        found, _ = explore([node for node, _ in roots], [])
        self.nodes = sorted(leading(found, [leaf for x in inputs for leaf in x.edges]), key=lambda node: node.seq)
        self.members = set(self.nodes)
        self.consumers: dict[Node, list[tuple[Node, int]]] = {}
        for node in self.nodes:
            for i, edge in enumerate(node.edges):
                if edge in self.members:
                    self.consumers.setdefault(edge, []).append((node, i))
        self.names: dict[Node, str] = {}
        self._name(listener.order, code)
        self._saved: dict[Node, tuple[Any, ...]] = {}
        self.still: set[Node] = set()
        self.true = self.walk({})
        self.still = self._still()
        if self.still:
            self.true = self.walk({})

    def _still(self) -> set[Node]:
        """Nodes where what arrives adds up to nothing, as at a maximum that is subtracted for the sake of range: nobody
        writes that way back, so no walk takes it.
        """
        found = set()
        true = self.true.cotangents
        for node, g in true.items():
            wide = [true[c] for c, _ in self.consumers.get(node, []) if isinstance(true.get(c), np.ndarray)]
            if node in self.inputs or not isinstance(g, np.ndarray | np.generic):
                continue
            if any(h.size > g.size for h in wide) and np.abs(g).sum() <= 1e-12 * max(np.abs(h).sum() for h in wide):
                found.add(node)
        return found

    # Names

    def _name(self, order: list[tuple[Node, FrameType | None]], code: CodeType | None) -> None:
        frames: list[FrameType] = []
        for _, frame in order:
            if frame is not None and frame not in frames and len(frames) < 400:
                frames.append(frame)
        frames.sort(key=lambda frame: frame.f_code is not code)
        for frame in frames:
            for name, value in list(frame.f_locals.items()):
                if isinstance(value, Handle) and isinstance(value._node, Node) and not name.startswith("_"):
                    self.names.setdefault(value._node, name)
        for (node, frame), (later, following) in zip(order, [*order[1:], (None, None)], strict=True):
            if node in self.names or node not in self.members or frame is None:
                continue
            line = node.location
            if later is not None and following is frame and later.location.line == line.line:
                continue  # not the last operation of its statement
            found = re.match(r"\s*([A-Za-z]\w*)\s*(?:[-+*/@]|\*\*|//)?=(?!=)", linecache.getline(line.file, line.line))
            if found:
                self.names[node] = found[1]

    @cached_property
    def named(self) -> list[Node]:
        """The nodes whose value the user gave a name, arguments included."""
        return [node for node in self.nodes if node in self.names]

    def expression(self, node: Node) -> str:
        """The user's source text of an operation; the op's name if there is none."""
        code = node.code
        position = next(_nth(code.co_positions(), node.lasti // 2), None)
        if position is None or None in position:
            return str(node.op.name)
        first, last, start, end = position
        if first != last:
            return node.location.source
        text = linecache.getline(code.co_filename, first or 0)
        found = text.encode()[start:end].decode(errors="replace").strip()
        return found or str(node.op.name)

    def title(self, node: Node) -> str:
        """How to call a value: the user's name for it, or the expression that made it."""
        return self.names.get(node) or self.expression(node)

    def line(self, node: Node) -> str | None:
        where = node.location
        return f"{where.file}:{where.line}" if where.line and not is_internal[where.file] else None

    def place(self, node: Node) -> str:
        """`sigmoid(z)` on line 12."""
        where = node.location
        if node.op is _argument:
            return f"argument `{self.title(node)}`"
        return f"`{self.expression(node)}` on line {where.line} of {os.path.basename(where.file)}"

    # The way back

    def operand(self, node: Node, i: int) -> Any:
        """The value of an operand; None where neither the tape nor the listener has it."""
        edge = node.edges[i] if i < len(node.edges) else None
        if edge in self.values:
            return self.values[edge]
        values = node.arrays()
        value = values[i + 1] if len(values) > i + 1 else None
        if isinstance(value, np.ndarray | np.generic | int | float | complex):
            return value
        y = self.values.get(node)
        if y is not None and node.op.name in ("add", "sub", "div") and node.edges[1 - i] in self.values:
            other = self.values[node.edges[1 - i]]  # type: ignore[index]
            if node.op.name == "div":
                return y * other if i == 0 else None
            return y - other if node.op.name == "add" else (y + other if i == 0 else other - y)
        return None

    def result(self, node: Node) -> Any:
        """The value of a node; a tuple where it has several."""
        if not node.op.several or isinstance(node, Projection):
            return self.values.get(node)
        parts: dict[int, Any] = {
            p.index: self.values.get(p) for p, _ in self.consumers.get(node, []) if isinstance(p, Projection)
        }
        saved = node.saved[0] if node.saved else None
        return saved if saved is not None else tuple(parts.get(i) for i in range(max(parts, default=-1) + 1))

    def saved(self, node: Node) -> tuple[Any, ...]:
        """What a node's rule reads, `(y, *xs)`, completed by the values that the rule itself has no need of."""
        found = self._saved.get(node)
        if found is None:
            kept = list(node.arrays())
            kept += [None] * (1 + len(node.edges) - len(kept))
            xs = [self.operand(node, i) for i in range(len(kept) - 1)]
            y = self.result(node) if kept[0] is None else kept[0]
            found = (y, *(old if x is None else x for x, old in zip(xs, kept[1:], strict=True)))
            self._saved[node] = found
        return found

    def pull(self, node: Node, g: Any, saved: Sequence[Any] | None = None, params: Any = None) -> Sequence[Any]:
        """What a node hands on; with `saved`, what it would if it had kept these values, or had these parameters."""
        if isinstance(node, Projection):
            parts: list[Any] = [None] * node.count
            parts[node.index] = g
            return [parts]
        if node.op is _argument:
            return [None]
        if saved is None and params is None:
            return node.pull(tuple(g) if isinstance(g, list) else g, False, False)  # type: ignore[no-any-return]
        rules, params = node.op.rules, node.params if params is None else params
        saved = self.saved(node) if saved is None else saved
        g = tuple(g) if isinstance(g, list) else g
        is_complex = not isinstance(g, tuple) and g.dtype.kind == "c"
        g = g.conj() if is_complex else g
        if isinstance(rules, tuple):
            shares = [
                None if edge is None or rule is None else rule(g, *saved, **params)
                for edge, rule in zip(node.edges, rules, strict=True)
            ]
        else:
            shares = list(rules(g, *saved, **params))
        if is_complex:
            shares = [None if share is None else share.conj() for share in shares]
        if node.shapes is not None:
            shares = [
                None if share is None else sum_to(share, shape) if _fits(shape, share.shape) else share
                for share, shape in zip(shares, node.shapes, strict=True)
            ]
        return shares

    def replay(self, changed: dict[Node, Any]) -> dict[Node, tuple[Any, ...]]:
        """What the rules would read, had the run gone on from other values: for the nodes where it is another."""
        values = dict(changed)
        found: dict[Node, tuple[Any, ...]] = {
            node: (value, *self.saved(node)[1:]) for node, value in changed.items() if node.op is not _argument
        }
        for node in self.nodes:
            if node in changed or not any(edge in values for edge in node.edges):
                continue
            if isinstance(node, Projection):
                values[node] = values[node.edges[0]][node.index]  # type: ignore[index]
                continue
            xs = list(self.saved(node)[1:])
            for i, edge in enumerate(node.edges):
                if edge in values:
                    xs[i] = values[edge]
            y = node.op.evaluate(*xs, **node.params)
            values[node] = y
            found[node] = (y, *xs)
        return found

    def walk(
        self,
        changes: dict[Node, list[tuple[bool, Change]]],
        saved: dict[Node, tuple[Any, ...]] | None = None,
        start: Iterable[tuple[Node, Any]] | None = None,
        until: Node | None = None,
    ) -> Walk:
        """One pass back. `changes[node]` are made when the node's cotangent is complete: before it is handed on (True:
        of the node's own), or after it (of its operands'). `saved` are values to read in place of those of the run.
        """
        walk = Walk()
        saved = saved or {}
        pending: dict[Node, Any] = {}
        for node, g in self.roots if start is None else start:
            pending[node] = _sum(pending.get(node), g)
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for node in reversed(self.nodes):
                if node not in pending or node in self.still:
                    continue
                walk.cotangents[node] = g = pending.pop(node)
                if node is until:
                    break
                mine = changes.get(node, ())
                for early, change in mine:
                    if early:
                        for _, delta in change(walk):
                            walk.cotangents[node] = g = g + delta
                walk.handed[node] = handed = self.pull(node, g, saved.get(node))
                for i, (edge, share) in enumerate(zip(node.edges, handed, strict=False)):
                    if share is None or edge not in self.members:
                        continue
                    if not isinstance(share, list):
                        walk.shares.setdefault(edge, []).append((node, i, share))
                    pending[edge] = _sum(pending.get(edge), share)
                for early, change in mine:
                    if not early:
                        for target, delta in change(walk):
                            pending[target] = _sum(pending.get(target), delta)
        return walk

    def gradient(self, walk: Walk, size: int) -> Array:
        """The vector of what arrived at the inputs."""
        pieces = []
        for node in self.inputs:
            like = self.values[node]
            g = walk.cotangents.get(node)
            g = np.zeros_like(like) if g is None else np.asarray(g)
            pieces.append(numbers_of(np.broadcast_to(g if like.dtype.kind == "c" else g.real, like.shape)))
        found = np.concatenate(pieces) if pieces else np.zeros(0)
        return found if found.size == size else np.full(size, np.nan)

    # Forward, along a few directions

    def tangents(self, directions: Sequence[Sequence[Arr]]) -> dict[Node, Arr]:
        """For each node the tangents of its value, one row for each direction (an array for each input)."""
        rows: list[dict[Node, Any]] = []
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for direction in directions:
                t: dict[Node, Any] = dict(zip(self.inputs, direction, strict=True))
                for node in self.nodes:
                    if node in t or node in self.still:
                        continue
                    if isinstance(node, Projection):
                        parts = t.get(node.edges[0])  # type: ignore[arg-type]
                        if parts is not None and parts[node.index] is not None:
                            t[node] = parts[node.index]
                        continue
                    mine = [t.get(edge) for edge in node.edges]  # type: ignore[arg-type]
                    if all(x is None for x in mine):
                        continue
                    y, *xs = self.saved(node)
                    if node.op.joint:  # what it is linear in and nobody kept: only the shape counts
                        xs = [np.zeros(y.shape if i == 0 else ()) if x is None else x for i, x in enumerate(xs)]
                    pushed = push(node.op, y, xs, mine, node.params)
                    if pushed is not None:
                        t[node] = pushed
                rows.append(t)
        found: dict[Node, Arr] = {}
        for node in self.nodes:
            value = self.values.get(node)
            if value is None:
                continue
            shape, kind = value.shape, np.result_type(value, np.float64)
            found[node] = np.stack(
                [numbers_of(np.broadcast_to(np.asarray(t.get(node, 0.0), kind), shape)) for t in rows]
            )
        return found


def _nth(positions: Any, n: int) -> Any:
    for i, position in enumerate(positions):
        if i == n:
            yield position
            return


def _fits(shape: Any, wide: Any) -> bool:
    """Whether `wide` is a shape that `shape` broadcasts to."""
    lead = len(wide) - len(shape)
    return lead >= 0 and all(n in (1, m) for n, m in zip(shape, wide[lead:], strict=True))


def _sum(a: Any, b: Any) -> Any:
    if a is None or b is None:
        return b if a is None else a
    if isinstance(a, list):
        return [_sum(x, y) for x, y in zip(a, b, strict=True)]
    return a + b


def record(problem: Problem, cotangent: Array) -> Record | None:
    """Run the problem's function on the tape, at its point; None if the tape can't."""
    previous = modes.session
    listener = _Listener()
    inputs: list[Node] = []
    modes.session = listener
    modes.refresh()
    try:
        with enable_grad(), warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            arrays = (part.array(problem.x).copy() for part in problem.parts)
            handles = [_argument(new_handle(array, leaf_mark(modes.depth))) for array in arrays]
            inputs += [handle._node for handle in handles]
            result = on_tape(problem, handles)
    finally:
        modes.session = previous
        modes.refresh()
    outs, _ = flatten(result)
    roots = []
    for out, g in zip(outs, cotangents_like(outs, cotangent), strict=True):
        if isinstance(out, Handle) and isinstance(edge_of(out), Node):
            roots.append((edge_of(out), g))
    code = getattr(getattr(problem.f, "__func__", problem.f), "__code__", None)
    found = Record(inputs, roots, listener, code)  # type: ignore[arg-type]
    for node, part in zip(inputs, problem.parts, strict=True):
        found.names[node] = part.path
    return found


def cotangents_like(outs: Sequence[Any], cotangent: Array) -> list[Any]:
    """A vector of cotangents as arrays like the results."""
    pieces: list[Any] = []
    start = 0
    for out in outs:
        value = out._value if isinstance(out, Handle) else np.asarray(out)
        if value.dtype.kind not in "fc":
            pieces.append(None)
            continue
        size = value.size * (2 if value.dtype.kind == "c" else 1)
        g = np.ascontiguousarray(cotangent[start : start + size])
        start += size
        g = g.view(complex) if value.dtype.kind == "c" else g
        pieces.append(g.reshape(value.shape).astype(value.dtype))
    return pieces
