"""The backward walk: nodes in the reverse of the order in which they were recorded, without recursion."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Any

import numpy as np

from pullback.ops.elementwise import add
from pullback.tape.node import Handle, LeafMark, Node, edge_of, new_handle, payload
from pullback.tape.state import modes, set_grad_enabled

__all__ = ["Cotangents", "accumulate_into_leaves", "reach", "walk"]

_RAW = (np.ndarray, np.generic)


def _add(mine: Any, g: Any) -> Any:
    """The sum of two cotangents of one value."""
    if isinstance(mine, _RAW) and isinstance(g, _RAW):
        return mine + g
    if mine is None or g is None:
        return g if mine is None else mine
    if type(mine) is tuple:
        return tuple(map(_add, mine, g))
    return add(mine, g)


class Cotangents(dict[Any, Any]):
    """Sums of cotangents by where they go, and which of the sums are arrays made here, ours to write and to give away."""

    __slots__ = ("owned",)

    def __init__(self) -> None:
        self.owned: set[Any] = set()

    def add(self, target: Any, g: Any) -> None:
        mine = self[target]
        if target in self.owned and type(g) is np.ndarray:
            np.add(mine, g, out=mine)
            return
        self[target] = total = _add(mine, g)
        if type(total) is np.ndarray:
            self.owned.add(target)


def walk(
    roots: Sequence[Handle],
    cotangents: Sequence[Any],
    inputs: Sequence[Handle] | None,
    retain_graph: bool,
    create_graph: bool,
    needed: set[Node] | None = None,
) -> tuple[Cotangents, list[Any]]:
    """Pull `cotangents` of `roots` back through the graph.

    The cotangents are arrays, or handles (needed when payloads are not arrays, or with `create_graph`). Returns what
    arrived at leaves, and the cotangents of `inputs` (None where nothing arrived). If `inputs` is given, only paths that
    lead to them are walked. Leaves' `.grad` are not touched: on an error nothing has changed.
    """
    lift = bool(cotangents) and isinstance(cotangents[0], Handle)
    heap: list[tuple[int, Node]] = []  # nodes with a cotangent; the last recorded comes first, so its sum is complete
    pending = Cotangents()
    leaves = Cotangents()
    captured: dict[Node, Any] = {}
    if inputs is not None:
        captured = {x._node: None for x in inputs if isinstance(x._node, Node)}
        needed = reach(roots, inputs)[0] if needed is None else needed
    for root, g in zip(roots, cotangents, strict=True):
        target = edge_of(root)
        if target in pending:
            pending.add(target, g)
        elif target in leaves:
            leaves.add(target, g)
        elif isinstance(target, Node):
            pending[target] = g
            heappush(heap, (-target.seq, target))
        else:
            leaves[target] = g
    anomaly = modes.anomaly
    while heap:
        _, node = heappop(heap)
        g = pending.pop(node)
        if node.hooks:
            g = _run_hooks(node.hooks, g)
        if needed is not None:
            if node in captured:
                captured[node] = g
            if node not in needed:
                continue
        grads = node.pull(g, lift, create_graph)
        if not retain_graph:
            node.release()
        if anomaly:
            _check_finite(node, g, grads)
        for edge, gradient in zip(node.edges, grads):  # noqa: B905 (both lengths are the op's arity)
            if edge is None or gradient is None:
                continue
            if isinstance(edge, Node):
                if edge in pending:
                    pending.add(edge, gradient)
                else:
                    pending[edge] = gradient
                    heappush(heap, (-edge.seq, edge))
            elif edge in leaves:
                leaves.add(edge, gradient)
            else:
                leaves[edge] = gradient
                if type(gradient) is np.ndarray and gradient is not g and gradient.base is None:
                    leaves.owned.add(edge)
    for leaf, g in leaves.items():
        if leaf._hooks:
            leaves[leaf] = _run_hooks(leaf._hooks, g)
            leaves.owned.discard(leaf)
    if inputs is None:
        return leaves, []
    return leaves, [captured[x._node] if isinstance(x._node, Node) else leaves.get(x) for x in inputs]


def reach(roots: Sequence[Handle], inputs: Sequence[Handle], since: int = 0) -> tuple[set[Node], bool]:
    """The nodes from which one of `inputs` can be reached, and whether anything else tracked can be: another leaf, or
    a node recorded before number `since` (not followed further).
    """
    goals = {x if isinstance(x._node, LeafMark) else x._node for x in inputs}
    foreign = False
    seen: set[Node] = set()
    stack: list[Any] = [edge_of(root) for root in roots]
    while stack:
        node = stack.pop()
        if node in goals or node is None:
            if not isinstance(node, Node) or node in seen:
                continue
        elif not isinstance(node, Node) or node.seq < since:
            foreign = True
            if not isinstance(node, Node) or since:
                continue
        if node not in seen:
            seen.add(node)
            stack += node.edges
    needed: set[Node] = set()
    for node in sorted(seen, key=lambda node: node.seq):
        if any(edge is not None and (edge in needed or edge in goals) for edge in node.edges):
            needed.add(node)
    return needed, foreign


def _run_hooks(hooks: dict[int, Any], g: Any) -> Any:
    """Hooks see a tensor and may return another to take its place."""
    handle = g if isinstance(g, Handle) else new_handle(g)
    for hook in list(hooks.values()):
        result = hook(handle)
        if result is not None:
            handle = result
    return handle if isinstance(g, Handle) else payload(handle)


def _check_finite(node: Node, g: Any, grads: Sequence[Any]) -> None:
    for i, gradient in enumerate(grads):
        value = gradient._value if isinstance(gradient, Handle) else gradient
        if isinstance(value, np.ndarray | np.generic) and np.isnan(value).any():
            raise RuntimeError(
                f"Function '{node.name()}' returned nan values in its {i}th output. "
                f"The operation was recorded at {node.location}"
            )


def accumulate_into_leaves(leaves: Cotangents, create_graph: bool) -> None:
    """Add what arrived at leaves to their `.grad`, as `backward()` does.

    An existing `.grad` is added to in place, unless the sum is to be differentiated itself.
    """
    for leaf, g in leaves.items():
        current = leaf._grad
        if current is None:
            if isinstance(g, Handle):
                leaf._grad = g
            else:
                leaf._grad = new_handle(g.copy() if type(g) is np.ndarray and leaf not in leaves.owned else g)
        elif isinstance(g, Handle) or not isinstance(current._value, _RAW):
            with set_grad_enabled(create_graph):
                leaf._grad = add(current, g)
        else:
            if type(current._value) is np.ndarray:
                np.add(current._value, g, out=current._value)
            else:
                current._value = current._value + g
            current._version += 1
