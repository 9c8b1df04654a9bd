"""The ways in which one step of a backward goes wrong, as changes of a walk.

Each `Edit` belongs to a node, reads the cotangent that arrived there and says what is to be added, where. Edits of the
same `role` at the nodes of one place in the source (the turns of a loop, the calls of a helper) can be made together.
"""

from __future__ import annotations

from collections.abc import Iterator

from pullback.check.axes import Axes
from pullback.check.composites import fused
from pullback.check.flows import Flows
from pullback.check.places import Places
from pullback.check.record import Edit, Record
from pullback.check.slopes import Slopes
from pullback.tape.node import Node

__all__ = ["edits"]


class _Everything(Flows, Slopes, Axes, Places):
    pass


def edits(record: Record, nodes: list[Node], plain: bool = False) -> Iterator[Edit]:
    """All edits of some nodes of a record, those of one kind after another; without the unlikelier ones if `plain`."""
    maker = _Everything(record)
    nodes = [node for node in reversed(nodes) if node in record.true.cotangents]
    families = [
        fused(record),
        maker.selections,
        maker.products,
        maker.reductions,
        maker.indices,
        maker.substitutions,
        maker.flows,
    ]
    families += [maker.links, maker.slopes] if plain else [maker.links, maker.slopes, maker.times_formula]
    for family in families:
        for node in nodes:
            try:
                yield from family(node)
            except (ArithmeticError, ValueError, TypeError, IndexError, KeyError, AttributeError, NotImplementedError):
                continue
