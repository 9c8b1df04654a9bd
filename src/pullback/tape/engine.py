"""The backward walk: nodes in the reverse of the order in which they were recorded, without recursion."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from heapq import heappop, heappush
from typing import Any

import numpy as np

from pullback.ops.elementwise import add
from pullback.tape.node import Edge, Handle, Node, Projection, new_handle, payload
from pullback.tape.state import modes, set_grad_enabled

__all__ = ["Arrived", "accumulate_into_leaves", "explore", "leading", "reach", "walk"]

_RAW: Any = (np.ndarray, np.generic)
_NUMBERS = frozenset({np.float32, np.float64})


def _add(mine: Any, g: Any) -> Any:
    """The sum of two cotangents of one value."""
    if isinstance(mine, _RAW) and isinstance(g, _RAW):
        return mine + g
    if mine is None or g is None:
        return g if mine is None else mine
    return add(mine, g)


Arrived = tuple[dict[Any, Any], set[Any], list[Any]]
"""What a walk brought: cotangents by leaf, the leaves whose cotangent is an array made for them and held by nothing
else, and the cotangents of the goals (None where nothing arrived)."""


def walk(
    roots: Sequence[Edge],
    cotangents: Sequence[Any],
    goals: Sequence[Edge] | None,
    retain_graph: bool,
    create_graph: bool,
    needed: set[Node] | None = None,
) -> Arrived:
    """Pull `cotangents` of `roots` back through the graph.

    The cotangents are arrays, or handles (needed when payloads are not arrays, or with `create_graph`). If `goals` are
    given, only paths that lead to them are walked (through the nodes `needed`, if these are known). Leaves' `.grad` are
    not touched: on an error nothing has changed.
    """
    lift = bool(cotangents) and isinstance(cotangents[0], Handle)
    heap: list[tuple[int, Node]] = []  # nodes with a cotangent; the last recorded comes first, so its sum is complete
    pending: dict[Any, Any] = {}
    leaves: dict[Any, Any] = {}
    owned: set[Any] = set()  # nodes and leaves whose sum is an array made here, so that more can be added in place
    captured: dict[Node, Any]
    if goals is not None:
        captured = {goal: None for goal in goals if isinstance(goal, Node)}
        needed = reach(roots, goals) if needed is None else needed
    for target, g in zip(roots, cotangents, strict=True):
        if target in pending or target in leaves:
            _sum_up(pending if target in pending else leaves, owned, target, g)
        elif isinstance(target, Node):
            pending[target] = g
            heappush(heap, (-target.seq, target))
        else:
            leaves[target] = g
    gated: set[Edge] | None = None  # behind an op that selects: there a cotangent of 0 stays 0
    anomaly = modes.anomaly
    while heap:
        _, node = heappop(heap)
        g = pending.pop(node)
        if needed is not None:
            wanted = node in captured
            if not wanted and node not in needed:
                continue
            if node.hooks:
                g = _run_hooks(node.hooks, g)
            if wanted:
                captured[node] = g
                if node not in needed:
                    continue
        elif node.hooks:
            g = _run_hooks(node.hooks, g)
        if gated is not None or not node.op.plain:
            inside = gated is not None and node in gated
            if inside or node.op.masks:
                gated = gated or set()
                gated.update(node.edges)
            if node.__class__ is Projection:
                _collect(node, g, pending, heap)
                continue
            with np.errstate(all="ignore") if inside else nullcontext():  # 0 · inf, on its way to 0
                grads = node.pull(tuple(g) if g.__class__ is list else g, lift, create_graph, inside)
            if not retain_graph:
                node.release()
        else:
            grads = node.pull(g, lift, create_graph)
            if not retain_graph and (node.versions is not None or node.output is not None):
                node.saved = None  # as `release` does
        if anomaly:
            _check_finite(node, g, grads)
        for edge, gradient in zip(node.edges, grads):
            if edge is None or gradient is None:
                continue
            if edge in pending:
                _sum_up(pending, owned, edge, gradient)
            elif isinstance(edge, Node):
                pending[edge] = gradient
                heappush(heap, (-edge.seq, edge))
            elif edge in leaves:
                _sum_up(leaves, owned, edge, gradient)
            else:
                leaves[edge] = gradient
                if gradient.__class__ is np.ndarray and gradient is not g and gradient.base is None:
                    owned.add(edge)
    for leaf, g in leaves.items():
        if leaf._hooks and (goals is None or any(leaf is goal for goal in goals)):
            leaves[leaf] = _run_hooks(leaf._hooks, g)
            owned.discard(leaf)
    if goals is None:
        return leaves, owned, []
    found = [captured[goal] if isinstance(goal, Node) else leaves.get(goal) for goal in goals]
    return leaves, owned, found


def _sum_up(sums: dict[Any, Any], owned: set[Any], target: Any, g: Any) -> None:
    """Add `g` to the cotangent of `target`, in place if its array is ours."""
    mine = sums[target]
    kind = g.__class__
    if kind in _NUMBERS and mine.__class__ is kind:
        sums[target] = mine + g
    elif kind is np.ndarray and target in owned:
        np.add(mine, g, out=mine)
    else:
        sums[target] = total = _add(mine, g)
        if total.__class__ is np.ndarray:
            owned.add(target)
        else:
            owned.discard(target)  # an array of no dimensions and a number give a number


def explore(
    roots: Sequence[Edge], goals: Sequence[Edge], outside: Callable[[Any], bool] | None = None
) -> tuple[set[Node], bool]:
    """All nodes behind `roots`, and whether a leaf or a node that is `outside` is among what they depend on, apart from
    `goals`. Nodes outside are not followed.
    """
    ends = set(goals)
    foreign = False
    seen: set[Node] = set()
    stack = list(roots)
    while stack:
        edge = stack.pop()
        if edge is None or edge in seen:
            continue
        if outside is not None and outside(edge):
            foreign = foreign or edge not in ends
        elif isinstance(edge, Node):
            seen.add(edge)
            stack += edge.edges
    return seen, foreign


def reach(roots: Sequence[Edge], goals: Sequence[Edge]) -> set[Node]:
    """The nodes behind `roots` from which one of `goals` can be reached."""
    return leading(explore(roots, goals)[0], goals)


def leading(nodes: Iterable[Node], goals: Iterable[Edge]) -> set[Node]:
    """Those of `nodes` from which one of `goals` can be reached through them."""
    ends = set(goals)
    needed: set[Node] = set()
    for node in sorted(nodes, key=lambda node: node.seq):
        for edge in node.edges:
            if edge is not None and (edge in needed or edge in ends):
                needed.add(node)
                break
    return needed


def _collect(node: Projection, g: Any, pending: dict[Any, Any], heap: list[tuple[int, Node]]) -> None:
    """Put the cotangent of one of an op's results beside those of the others."""
    (source,) = node.edges
    assert isinstance(source, Node)
    parts = pending.get(source)
    if parts is None:
        pending[source] = parts = [None] * node.count
        heappush(heap, (-source.seq, source))
    parts[node.index] = _add(parts[node.index], g)


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


def accumulate_into_leaves(arrived: Arrived, create_graph: bool) -> None:
    """Add what arrived at leaves to their `.grad`, as `backward()` does.

    An existing `.grad` is added to in place, unless the sum is to be differentiated itself.
    """
    leaves, owned, _ = arrived
    tracer = modes.tracer
    if tracer is not None:
        for leaf in leaves:
            tracer.reads_grad(leaf)
    for leaf, g in leaves.items():
        current = leaf._grad
        if current is None:
            if isinstance(g, Handle):
                leaf._grad = g
            else:
                leaf._grad = new_handle(g.copy() if type(g) is np.ndarray and leaf not in owned else g)
        elif isinstance(g, Handle) or not isinstance(current._value, _RAW):
            with set_grad_enabled(create_graph):
                leaf._grad = add(current, g)
        else:
            if type(current._value) is np.ndarray:
                np.add(current._value, g, out=current._value)
            else:
                current._value = current._value + g
            current._version += 1
        if leaf._after is not None:
            for hook in list(leaf._after.values()):
                hook(leaf)
