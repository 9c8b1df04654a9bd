"""What the makers of edits share: how an edit is put together, and the values that may be confused with each other."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from pullback.check.record import Arr, Edit, Record, Walk
from pullback.ops.shape import sum_to
from pullback.tape.node import Node

__all__ = ["Maker", "down", "is_here"]

_NAMED: Final = 12  # values of one shape that are tried in each other's place


class Maker:
    """Edits of a record, node by node."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.formulas: dict[Node, dict[str, Arr | None]] = {}
        self.by_shape: dict[Any, list[Node]] = {}
        for node in record.named:
            if node in record.values:
                same = self.by_shape.setdefault(record.values[node].shape, [])
                if len(same) < _NAMED:
                    same.append(node)

    def own(self, node: Node, kind: str, f: Any, text: str, role: str, cost: float) -> Edit:
        """The node's own cotangent becomes `f(g, walk)`."""

        def change(walk: Walk) -> list[tuple[Node, Arr]]:
            g = walk.cotangents[node]
            new = f(g, walk)
            return [] if new is None or np.shape(new) != np.shape(g) else [(node, new - g)]

        return Edit(kind, node, change, text, role, cost, early=True)

    def share(self, node: Node, i: int, kind: str, f: Any, text: str, role: str, cost: float) -> Edit:
        """What the node hands to operand i, `old` from `g`, becomes `f(g, old, walk)`."""
        target = node.edges[i]
        assert isinstance(target, Node)

        def change(walk: Walk) -> list[tuple[Node, Arr]]:
            old = walk.handed[node][i]
            new = f(walk.cotangents[node], old, walk)
            return [] if new is None or np.shape(new) != np.shape(old) else [(target, new - old)]

        return Edit(kind, node, change, text, f"{role}@{i}", cost)

    def pulled(
        self, node: Node, kind: str, text: str, role: str, cost: float, saved: Any = None, params: Any = None
    ) -> Edit:
        """The node's rule reads other values, or has other parameters."""
        record = self.record

        def change(walk: Walk) -> list[tuple[Node, Arr]]:
            new = record.pull(node, walk.cotangents[node], saved, params)
            return [
                (edge, b - a)
                for edge, a, b in zip(node.edges, walk.handed[node], new, strict=False)
                if edge in record.members and a is not None and b is not None and np.shape(a) == np.shape(b)
            ]

        return Edit(kind, node, change, text, role, cost)

    def operands(self, node: Node) -> list[int]:
        return [i for i, edge in enumerate(node.edges) if edge in self.record.members]

    def operand_title(self, node: Node, i: int) -> str:
        edge = node.edges[i]
        return self.record.title(edge) if isinstance(edge, Node) else f"operand {i}"


def down(new: Any, old: Any) -> Any:
    """A share that was not summed yet, summed over what was broadcast."""
    return new if np.shape(new) == np.shape(old) else sum_to(np.asarray(new), np.shape(old))


def is_here(record: Record, node: Node) -> bool:
    """Whether a node has a value, and one cotangent."""
    g = record.true.cotangents.get(node)
    return node in record.values and isinstance(g, np.ndarray | np.generic)
