"""Values that a backward reads and that were computed anew, wrongly: the forward with one step changed.

A backward often begins by running the forward again. A mistake there (a bias left out, an activation forgotten, the
wrong axis) reaches every local derivative that reads what follows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pullback.check.record import Record
from pullback.tape.node import Node, Projection

__all__ = ["Recomputation", "recomputations"]


@dataclass(frozen=True)
class Recomputation:
    """The values of a run that went on from another value at `node`. Fields as in `Edit`."""

    kind: str
    node: Node
    record: Record
    value: Any
    text: str
    cost: float

    def saved(self) -> dict[Node, tuple[Any, ...]]:
        """What the rules read then."""
        with np.errstate(all="ignore"):
            return self.record.replay({self.node: self.value})


def recomputations(record: Record) -> Iterator[Recomputation]:
    """Runs with one step changed."""
    for node in record.nodes:
        value = record.values.get(node)
        if value is None or isinstance(node, Projection):
            continue
        try:
            for kind, other, text, cost in _changed(record, node, value):
                if np.shape(other) == value.shape or kind == "axis":
                    yield Recomputation(kind, node, record, other, text, cost)
        except (ArithmeticError, ValueError, TypeError, IndexError, KeyError, AttributeError):
            continue


def _changed(record: Record, node: Node, value: Any) -> Iterator[tuple[str, Any, str, float]]:
    name = node.op.name
    title = record.title(node)
    again = "is computed anew on the way back"
    is_input = node in record.inputs
    if not is_input:
        saved = record.saved(node)
        place = record.place(node)
        for i, x in enumerate(saved[1:]):
            if not isinstance(x, np.ndarray | np.generic | float | int):
                continue
            x = np.asarray(x)
            if x.dtype.kind not in "fciu" or (x.dtype.kind == "c") > (value.dtype.kind == "c"):
                continue
            x = x.astype(value.dtype)
            if not _broadcasts(x.shape, value.shape):
                continue
            if name in ("add", "sub"):
                dropped = _operand_title(record, node, 1 - i)
                other = x if name == "add" or i == 0 else -x
                yield (
                    "wrong_point" if np.ndim(saved[2 - i]) or isinstance(node.edges[1 - i], Node) else "wrong_formula",
                    np.broadcast_to(other, value.shape).copy(),
                    f"{place} {again} without `{dropped}`",
                    1.5,
                )
            elif x.shape == value.shape:
                yield "wrong_formula", x, f"{place} {again} as `{_operand_title(record, node, i)}`", 1.45
        if name == "sub":
            yield "sign", -value, f"{place} {again} with the other sign", 1.4
        if name == "add" and len(saved) == 3:
            for i in (1, 2):
                x = np.asarray(saved[i])
                if x.dtype.kind in "fc":
                    yield (
                        "sign",
                        value - 2 * x,
                        f"{place} {again} with another sign of `{_operand_title(record, node, i - 1)}`",
                        1.5,
                    )
        axis = node.params.get("axis")
        if axis is not None and isinstance(node.edges[0], Node):
            x = record.values[node.edges[0]]
            for other_axis in range(x.ndim):
                axes: Any = (other_axis,) if isinstance(axis, tuple) else other_axis
                if axes != axis:
                    other = node.op.evaluate(x, **{**node.params, "axis": axes})
                    yield "axis", other, f"{place} {again} along axis {other_axis}", 1.3
        if name in ("sum", "mean") and node.edges and isinstance(node.edges[0], Node):
            n = record.values[node.edges[0]].size // max(value.size, 1)
            if n > 1:
                yield (
                    "sum_for_mean",
                    value * (n if name == "mean" else 1 / n),
                    f"{place} {again} as a {'sum' if name == 'mean' else 'mean'}",
                    1.5,
                )
        yield "missing_term", np.zeros_like(value), f"`{title}` is taken for 0 on the way back", 1.9
    if value.ndim > 1 and value.shape[-1] == value.shape[-2]:
        yield "transpose", np.swapaxes(value, -1, -2).copy(), f"`{title}` is transposed on the way back", 1.3
    for named in record.named:
        if named is not node and record.values[named].shape == value.shape and value.ndim:
            text = f"`{record.title(named)}` is used for `{title}` on the way back"
            yield "wrong_point", record.values[named], text, 1.5 if named in node.edges or node in named.edges else 1.8
    for axis, n in enumerate(value.shape):
        if n > 1:
            yield "index", np.flip(value, axis).copy(), f"`{title}` is reversed along axis {axis} on the way back", 1.9
            yield "index", np.roll(value, 1, axis), f"`{title}` is shifted along axis {axis} on the way back", 1.9
            yield "index", np.roll(value, -1, axis), f"`{title}` is shifted along axis {axis} on the way back", 1.9


def _operand_title(record: Record, node: Node, i: int) -> str:
    edge = node.edges[i]
    return record.title(edge) if isinstance(edge, Node) else f"the other operand of {record.expression(node)}"


def _broadcasts(shape: tuple[int, ...], wide: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, wide) == wide
    except ValueError:
        return False
