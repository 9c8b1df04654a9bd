"""Buffers: which memory each value that is kept whole has.

Results have the memory that the caller hands in, or that of an argument they replace (donation); the rest shares one
arena, in which a value's memory is used again once its last reader has run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from pullback.compile.fusion import Leaf, Nest, Program
from pullback.compile.nodes import Access, Node

__all__ = ["Place", "Plan", "padded", "plan"]

ALIGNMENT: Final = 64
"""Bytes: a cache line, and the widest vector."""


class Place(NamedTuple):
    """Memory: an input or an output by number, the arena by offset in bytes, a constant by number."""

    kind: Literal["input", "output", "arena", "constant"]
    number: int


@dataclass
class Plan:
    """The memory of every value that is kept whole, the size of the arena, and what must be copied at the end: pairs of
    an output's node and the input that it could not be written over in time."""

    places: dict[Node, Place]
    arena: int = 0
    late: list[tuple[Node, int]] = field(default_factory=list)


def plan(program: Program, donated: Mapping[int, int]) -> Plan:
    """Buffers for a program; `donated` says for outputs, by number, which input's memory they take."""
    nodes = program.nodes
    places: dict[Node, Place] = {node: Place("input", i) for i, node in enumerate(nodes.inputs)}
    places |= {node: Place("constant", i) for i, (node, _) in enumerate(nodes.constants)}
    found = Plan(places)
    order = _Order(program)
    for j, node in enumerate(nodes.outputs):
        if j not in donated:
            places[node] = Place("output", j)
        elif order.may_replace(node, nodes.inputs[donated[j]]):
            places[node] = Place("input", donated[j])
        else:
            found.late.append((node, donated[j]))
    kept = [node for node, storage in program.storage.items() if storage.shared == 0 and node not in places]
    kept = [node for node in kept if node.kind != "alias" and not _has_parts(node)]
    found.arena = _allocate(kept, order, {node for node, _ in found.late}, places)
    for node in nodes.nodes:
        if node.kind == "alias":
            places[node] = places.get(node.reads[0].node, Place("arena", 0))  # or nobody reads it
    return found


def padded(nbytes: int) -> int:
    """The bytes that a value takes in the arena, where each begins at a multiple of `ALIGNMENT`."""
    return -(-max(nbytes, 1) // ALIGNMENT) * ALIGNMENT


def _has_parts(node: Node) -> bool:
    return node.kind == "call" and node.instruction is not None and len(node.instruction.outputs) > 1


class _Order:
    """When values are made and read, in items of the program."""

    def __init__(self, program: Program) -> None:
        self.made: dict[Node, int] = {}
        self.read: dict[Node, list[tuple[int, Node, Access]]] = {}
        self.body: dict[Node, tuple[int, int]] = {}  # the body a node is in, and its place there
        for time, item in enumerate(program.items):
            self._walk(item, time, time)
        for node in self.made:
            if node.kind == "part":  # written when the call is made
                self.made[node] = self.made[node.reads[0].node]
        self.count = len(program.items)

    def _walk(self, items: Sequence[Leaf | Nest], time: int, body: int) -> None:
        for i, item in enumerate(items):
            if isinstance(item, Nest):
                self._walk(item.body, time, id(item))
                continue
            node = item.node
            self.made[node] = time
            self.body[node] = (body, i)
            for read in node.reads:
                if isinstance(read, Access):
                    source = read.node
                    self.read.setdefault(source, []).append((time, node, read))
                    if source.kind in ("alias", "part"):
                        self.read.setdefault(source.reads[0].node, []).append((time, node, read))

    def last(self, node: Node) -> int:
        return max((time for time, _, _ in self.read.get(node, ())), default=self.made[node])

    def may_replace(self, node: Node, old: Node) -> bool:
        """Whether `node` can be written over `old`: every other read of an element of `old` has happened by then."""
        if node not in self.made:
            return False
        time = self.made[node]
        body, place = self.body[node]
        for when, reader, access in self.read.get(old, ()):
            if when < time:
                continue
            if when > time or not node.loops or not reader.loops or node.kind == "element" or reader.kind == "element":
                return False
            where, at = self.body[reader]
            same = all(axis == (loop, 1, 0) for axis, loop in zip(access.at, node.axes, strict=False))
            if where != body or at > place or not same or access.node is not old or node.kind != "point":
                return False
            if reader.kind != "point" or len(access.at) != len(node.axes):
                return False
        return node.spec == old.spec


def _allocate(kept: Sequence[Node], order: _Order, until_end: set[Node], places: dict[Node, Place]) -> int:
    """Offsets in the arena, first fit, and its size."""
    live: list[tuple[int, int, int]] = []  # offset, end, last use
    size = 0
    for node in sorted(kept, key=lambda node: order.made[node]):
        start, last = order.made[node], order.count if node in until_end else order.last(node)
        live = [block for block in live if block[2] >= start]
        need = padded(node.nbytes)
        offset = 0
        for low, high, _ in sorted(live):
            if offset + need <= low:
                break
            offset = max(offset, high)
        live.append((offset, offset + need, last))
        places[node] = Place("arena", offset)
        size = max(size, offset + need)
    return size
