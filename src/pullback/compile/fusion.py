"""Which loops are shared: nodes put together into nests, and where each value lives meanwhile.

At every level of loops the nodes are gone through in order, and each joins the group in which it can be computed in the
same iterations as what it reads. What it may share is a prefix of its loops: along those, it reads of the group's
values only the element of the same iteration, and no value that is still being folded. Inside a group the rest of the
loops is grouped in the same way, so that softmax becomes one loop over rows with three loops over columns inside.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from pullback.compile.nodes import Access, Node, Nodes
from pullback.compile.passes.rewrite import has_effect

__all__ = ["Leaf", "Nest", "Program", "Storage", "fuse"]

ROW_BYTES: Final = 1 << 18
"""Sharing fewer loops than could be shared makes rows that are kept between loops: only if one fits the cache."""
SHORT: Final = 64
"""Iterations of loops inside another for which it is not worth leaving that unvectorised."""
_CHEAP: Final = frozenset(
    "add sub mul neg abs square where cast maximum minimum eq ne lt le gt ge logical_and logical_or logical_not isnan "
    "isfinite sum".split()
)
WEIGHT: Final = 400
"""Nodes in one nest: past that compiling it takes longer than it saves."""


@dataclass
class Leaf:
    """A node, computed at this place of its loops."""

    node: Node


@dataclass
class Nest:
    """Loops number `level` to `level + len(extents)`, and what happens in each iteration."""

    level: int
    extents: tuple[int, ...]
    body: list[Leaf | Nest]

    @property
    def inner(self) -> int:
        """How many loops are around its body."""
        return self.level + len(self.extents)

    def leaves(self) -> Iterator[Node]:
        for item in self.body:
            if isinstance(item, Leaf):
                yield item.node
            else:
                yield from item.leaves()


@dataclass
class Storage:
    """Where a value is kept: `shared` loops enclose all who read it, so only its axes inside those take memory."""

    node: Node
    shared: int

    @property
    def axes(self) -> list[int]:
        """Which of the value's axes are in memory."""
        return [i for i, loop in enumerate(self.node.axes) if loop >= self.shared]

    @property
    def size(self) -> int:
        """Elements."""
        return math.prod(self.node.extents[i] for i in self.axes)


@dataclass
class Program:
    """What to do in order, and where the values are that outlive their iteration: those kept whole have `shared` 0.

    An item is a nest, something done by others (BLAS, Python), or a run of single numbers.
    """

    nodes: Nodes
    items: list[list[Leaf | Nest]]
    storage: dict[Node, Storage]


@dataclass
class _Group:
    extents: tuple[int, ...]
    nodes: list[Node] = field(default_factory=list)
    sources: set[Node] = field(default_factory=set)

    def add(self, node: Node) -> None:
        self.nodes.append(node)
        self.sources.add(node)
        self.sources.update(node.sources())

    def reads(self, other: _Group) -> bool:
        """Whether it needs what the other computes."""
        return not self.sources.isdisjoint(other.nodes)


def fuse(nodes: Nodes) -> Program:
    """The program that computes the outputs of `nodes`."""
    items: list[list[Leaf | Nest]] = []
    for item in _arrange(_live(nodes), 0):
        if items and _is_number(item) and _is_number(items[-1][0]):
            items[-1].append(item)
        else:
            items.append([item])
    return Program(nodes, items, _storage(nodes, items))


def _is_number(item: Leaf | Nest) -> bool:
    return isinstance(item, Leaf) and item.node.loops


def _live(nodes: Nodes) -> list[Node]:
    """What must be computed, in order."""
    needed = set(nodes.outputs)
    for node in nodes.nodes:
        if node.kind == "call" and node.instruction is not None and has_effect(node.instruction.op):
            needed.add(node)
    for node in reversed(nodes.nodes):
        if node in needed:
            needed.update(node.sources())
    return [node for node in nodes.nodes if node in needed and node.kind not in ("input", "constant")]


# Grouping


def _arrange(nodes: Sequence[Node], level: int) -> list[Leaf | Nest]:
    groups: list[_Group] = []
    place: dict[Node, int] = {}
    for node in nodes:
        earliest = 0
        for read in node.reads:
            if isinstance(read, Access) and read.node in place:
                whole = node.kind == "element" or not node.loops or not read.node.loops
                earliest = max(earliest, place[read.node] + whole)
        alone = _Group(node.domain[level:])
        alone.add(node)
        chosen, shared = None, 0
        for i in range(earliest, len(groups)) if node.loops else ():
            fits = _fit(groups[i], alone, level)
            if fits is not None and (chosen is None or fits > shared):
                chosen, shared = i, fits
        if chosen is None:
            chosen = len(groups)
            groups.append(alone)
        else:
            groups[chosen].extents = groups[chosen].extents[:shared]
            groups[chosen].add(node)
        place[node] = chosen
    items: list[Leaf | Nest] = []
    for group in _joined(groups, level):
        if group.extents and group.nodes[0].loops:
            items.append(Nest(level, group.extents, _arrange(group.nodes, level + len(group.extents))))
        else:
            items += map(Leaf, group.nodes)
    return items


def _joined(groups: list[_Group], level: int) -> list[_Group]:
    """Groups that were begun apart, because nothing tied them together yet, and can share loops after all: the later
    one moves up to the earlier, if it reads nothing of those between, or the earlier down, if none of those reads it.
    """
    i = 0
    while i < len(groups):
        for j in range(i + 1, len(groups)):
            shared = _fit(groups[i], groups[j], level)
            if shared is None:
                continue
            between = groups[i + 1 : j]
            up = not any(groups[j].reads(group) for group in between)
            if not up and any(group.reads(groups[i]) for group in between):
                continue
            one = _Group(groups[i].extents[:shared])
            for node in sorted((*groups[i].nodes, *groups[j].nodes), key=lambda node: node.order):
                one.add(node)
            groups[i : j + 1] = [one, *between] if up else [*between, one]
            break
        else:
            i += 1
    return groups


def _fit(group: _Group, other: _Group, level: int) -> int | None:
    """How many loops a later group would share with a group, None if it should not."""
    if not (group.nodes[0].loops and other.nodes[0].loops):
        return None
    if not group.extents or not other.extents:
        return 0 if not group.extents and not other.extents else None
    shared = 0
    for a, b in zip(group.extents, other.extents, strict=False):
        if a != b:
            break
        shared += 1
    if not shared or len(group.nodes) + len(other.nodes) > WEIGHT:
        return None
    members = set(group.nodes)
    related = False
    for node in other.nodes:
        for read in node.reads:
            if not isinstance(read, Access) or read.node not in members:
                continue
            related = True
            shared = 0 if node.kind == "element" else min(shared, _aligned(read, level, shared))
    if not shared or not (related or other.sources & group.sources):
        return None
    if shared < len(group.extents):
        nodes = (*group.nodes, *other.nodes)
        row = max(math.prod(n.domain[level + shared :]) * n.spec.dtype.itemsize for n in nodes)
        whole = max(math.prod(n.domain[level:]) * n.spec.dtype.itemsize for n in nodes)
        if not related or (row > ROW_BYTES and row < whole) or group.extents[0] == 1:
            return None
    if _spoils(group, other, level + shared):
        return None
    return shared


def _spoils(group: _Group, other: _Group, depth: int) -> bool:
    """Whether short loops in one of two groups would keep costly work in the other, that is done in the `depth` loops
    around them, from being vectorised. Apart, it needs but a row to be kept between."""
    for flat, deep in ((group, other), (other, group)):
        inner = max(math.prod(node.domain[depth:]) for node in deep.nodes)
        if inner == 1 or inner > SHORT or any(len(node.domain) > depth for node in flat.nodes):
            continue
        row = max(math.prod(node.domain) * node.spec.dtype.itemsize for node in flat.nodes)
        outer = max(math.prod(node.domain[: depth - 1]) for node in flat.nodes) if depth > 1 else 1
        if row <= ROW_BYTES * outer and any(map(_is_costly, flat.nodes)):
            return True
    return False


def _is_costly(node: Node) -> bool:
    """Whether a node takes many instructions, or each of its iterations waits for the one before."""
    if node.kind == "point":
        return node.instruction is not None and node.instruction.op.name not in _CHEAP
    return node.kind == "fold" and max(node.folded) == len(node.domain) - 1


def _aligned(read: Access, level: int, shared: int) -> int:
    """How many of `shared` loops from `level` on a reader can be in together with what it reads: along each it reads
    the element of the same iteration."""
    source = read.node
    axis_of = {loop: i for i, loop in enumerate(source.axes)}
    for loop in range(level, level + shared):
        i = axis_of.get(loop)
        if i is None or read.at[i] != (loop, 1, 0):
            return loop - level
    return shared


# Storage


def _storage(nodes: Nodes, items: Sequence[Sequence[Leaf | Nest]]) -> dict[Node, Storage]:
    """The values that are read outside of the iteration that computes them, and how much of each is kept."""
    homes: dict[Node, tuple[Nest, ...]] = {}  # the loops in which its elements are there, for others to read
    bodies: dict[Node, tuple[Nest, ...]] = {}  # those in which it is computed: of a fold, also those it is folded over
    item_of: dict[Node, int] = {}

    def walk(part: Sequence[Leaf | Nest], path: tuple[Nest, ...], number: int) -> None:
        for item in part:
            if isinstance(item, Nest):
                walk(item.body, (*path, item), number)
                continue
            node = item.node
            bodies[node], item_of[node] = path, number
            home = path
            if node.kind == "fold":
                first = min(node.folded)
                home = tuple(nest for nest in path if nest.inner <= first)
            homes[node] = home

    for number, item in enumerate(items):
        walk(item, (), number)
    found: dict[Node, Storage] = {}

    def keep(node: Node, shared: int) -> None:
        known = found.get(node)
        if known is None or shared < known.shared:
            found[node] = Storage(node, shared)

    for node, home in homes.items():
        inner = home[-1].inner if home else 0
        if not node.loops:
            keep(node, 0)
        elif node.is_folded_in_memory or (node.kind == "fold" and any(loop >= inner for loop in node.axes)):
            keep(node, inner)
    for node, body in bodies.items():
        for read in node.reads:
            if not isinstance(read, Access) or read.node not in homes:
                continue
            source = read.node
            home = homes[source]
            common = 0
            for a, b in zip(home, body, strict=False):
                if a is not b:
                    break
                common += 1
            if node.kind == "element" or not node.loops or (not home and item_of[source] != item_of[node]):
                keep(source, 0)
            elif common < len(home):
                keep(source, home[common - 1].inner if common else 0)
    for node in nodes.outputs:
        keep(node, 0)
    return found
