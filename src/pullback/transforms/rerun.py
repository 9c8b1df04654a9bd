"""Results whose way back is found by running something again: what checkpoints and implicit functions share.

Such a result is one node of the tape. Its edges are all that the function used from outside itself: tracked arguments,
and what it closed over. The tape knows them, so that functions need not name them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from pullback.tape.engine import explore, leading, walk
from pullback.tape.node import Edge, Handle, Node, content, edge_of, new_handle, next_number, strip
from pullback.tape.state import enable_grad, modes, no_grad, numpy_promotion
from pullback.transforms.calls import CustomNode, is_at, stripped
from pullback.transforms.forward import Dual
from pullback.transforms.lifting import to_handle
from pullback.transforms.program import call
from pullback.transforms.vmap import Batch
from pullback.values.shape import spec_of

__all__ = ["Again", "RerunNode", "at_depth", "below", "captured", "exposed", "levels", "tracked_level"]

Again = Callable[["RerunNode", list[Any], bool], tuple[list[Any], list[Any]]]
"""`(node, cotangents of the results, create_graph)` -> handles on the tape, and cotangents to pull back from them."""


class _Rule(NamedTuple):
    """What a node knows of the function it is the place of."""

    name: str
    masks: bool = False
    plain: bool = False

    @property
    def title(self) -> str:
        return f"{self.name}Backward"


class RerunNode(CustomNode):
    """The place on the tape of the results of a function; `again` runs it once more when their cotangents arrive."""

    __slots__ = ("again", "depth")

    def __init__(self, name: str, edges: Sequence[Edge], outs: Sequence[Any], level: int, again: Again) -> None:
        Node.__init__(self, _Rule(name), tuple(edges), (), None, level=level)
        self.operands = []
        self.results = [spec_of(y) for y in outs]
        self.numpy = modes.numpy
        self.depth = modes.depth
        self.again: Again | None = again

    def pull(self, g: Any, lift: bool, create_graph: bool, gated: bool = False) -> Any:
        self._checked()
        assert self.again is not None
        cotangents = self.materialized(
            [
                None if d is None else d if isinstance(d, Handle) else new_handle(d)
                for d in (g if type(g) is tuple else (g,))
            ]
        )
        since = next_number()
        with numpy_promotion(self.numpy):
            with enable_grad(), at_depth(self.depth):
                run = (self, cotangents, create_graph)
                outs, gradients = call(self.again, run, {}) if self.numpy else self.again(*run)
            pairs = [(y, d) for y, d in zip(outs, gradients, strict=True) if is_at(y, self.level)]
            roots = [edge_of(y) for y, _ in pairs]
            inside, _ = explore(roots, self.edges, lambda edge: _is_outside(edge, since))
            with enable_grad() if lift else no_grad():
                _, _, found = walk(
                    roots,
                    [d if lift else d._value for _, d in pairs],
                    self.edges,
                    create_graph,
                    create_graph,
                    leading(inside, self.edges),
                )
        if lift and not create_graph:
            return [None if d is None else stripped(d, self.level) for d in found]
        return found

    def release(self) -> None:
        super().release()
        self.again = None


def _is_outside(edge: Any, since: int) -> bool:
    """Whether a place on the tape is from before record number `since`."""
    if isinstance(edge, Node):
        return edge.seq < since
    return not getattr(edge._node, "since", 0) >= since


def captured(roots: Sequence[Edge], since: int) -> list[Edge]:
    """The places on the tape from before record number `since` that `roots` depend on."""
    found: dict[Any, None] = {}
    seen: set[Any] = set()
    stack = list(roots)
    while stack:
        edge = stack.pop()
        if edge is None or edge in seen:
            continue
        seen.add(edge)
        if _is_outside(edge, since):
            found[edge] = None
        elif isinstance(edge, Node):
            stack += edge.edges
    return list(found)


@contextmanager
def at_depth(depth: int) -> Iterator[None]:
    """At least `depth` transforms deep, so that new ones stay apart from values of those that have ended."""
    previous = modes.depth
    modes.depth = max(previous, depth)
    modes.refresh()
    try:
        yield
    finally:
        modes.depth = previous
        modes.refresh()


# The levels within a value


def _inner(handle: Any) -> list[Any]:
    """What a handle holds of lower levels, as handles; its own place on the tape is not looked at."""
    value = handle._value
    parts = [value.primal, value.tangent] if isinstance(value, Dual) else [value.value] if _is_batch(value) else []
    if isinstance(value, Handle):
        parts = [value]
    return [part for part in parts if isinstance(part, Handle)]


def _is_batch(value: Any) -> bool:
    return isinstance(value, Batch)


def levels(x: Any) -> set[int]:
    """The levels that differentiate `x`: tapes (odd) and dual numbers (even), but not batches."""
    if not isinstance(x, Handle):
        return set()
    found = set() if x._node is None else {2 * x._node.level + 1}
    if isinstance(x._value, Dual):
        found.add(x._value.level)
    return found.union(*map(levels, _inner(x)))


def below(x: Any, level: int) -> Any:
    """`x` without what differentiates it above `level`."""
    if not isinstance(x, Handle) or x.level <= level:
        return x
    if x._node is not None:
        return below(strip(x), level)
    value = x._value
    if isinstance(value, Dual):
        return below(to_handle(value.primal), level)
    if isinstance(value, Batch) and isinstance(value.value, Handle):
        inner = below(value.value, level)
        return x if inner is value.value else new_handle(Batch(content(inner), value.level))
    return x


def tracked_level(outs: Sequence[Any]) -> int:
    """The highest tape that results are tracked on, as what a batch or a dual number holds too; -1 for none."""
    return max((level >> 1 for y in outs for level in levels(y) if level & 1), default=-1)


def exposed(x: Any, level: int, swap: Callable[[Any], Any]) -> Any:
    """`x` with `swap(handle)` for each handle tracked on the tape of `level`, within batches and dual numbers too."""
    if not isinstance(x, Handle):
        return x
    if is_at(x, level):
        return swap(x)
    value = x._value
    if x._node is not None:
        return x
    if isinstance(value, Handle):
        return exposed(value, level, swap)
    if isinstance(value, Dual):
        primal, tangent = (exposed(to_handle(part), level, swap) for part in (value.primal, value.tangent))
        return new_handle(Dual(content(primal), content(tangent), value.level))
    if isinstance(value, Batch):
        return new_handle(Batch(content(exposed(to_handle(value.value), level, swap)), value.level))
    return x
