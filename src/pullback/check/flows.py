"""Edits of what arrives at a value: a share left out, overwritten, in the wrong place, with a factor too many."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from pullback.check.formulas import applied
from pullback.check.maker import Maker, is_here
from pullback.check.record import Arr, Edit, Walk
from pullback.tape.node import Node

__all__ = ["Flows"]


class Flows(Maker):
    """Edits of what arrives at a value."""

    def flows(self, node: Node) -> Iterator[Edit]:
        """Changes of all that arrives at a value, and of what single steps hand to it."""
        record = self.record
        value = record.values.get(node)
        if value is None or not is_here(record, node):
            return
        name = f"`{record.title(node)}`"
        where = f"the gradient of {name}"
        is_input = node in record.inputs
        shares = record.true.shares.get(node, [])

        def both(kind: str, f: Any, text: str, role: str, cost: float) -> Iterator[Edit]:
            yield self.own(node, kind, lambda g, _: f(g), f"{where} {text}", role, cost)
            if len(shares) > 1:
                for consumer, i, _ in shares:
                    via = f"the share of {where} that comes through {record.place(consumer)} {text}"
                    above = 0.7 if kind == "sign" and is_input else 0.2
                    yield self.share(consumer, i, kind, lambda _g, old, _w: f(old), via, role, cost + above)

        if value.dtype.kind == "c" and not is_input:

            def unconjugated(walk: Walk) -> list[tuple[Node, Arr]]:
                new = record.pull(node, np.conj(walk.cotangents[node]))
                return [
                    (edge, np.conj(b) - a)
                    for edge, a, b in zip(node.edges, walk.handed[node], new, strict=False)
                    if edge in record.members and a is not None and not isinstance(a, list)
                ]

            text = f"{record.place(node)} does not conjugate on the way back"
            yield Edit("conj", node, unconjugated, text, "unconjugated", 0.7)
        yield from both("sign", lambda g: -g, "has the other sign", "sign", 1.0 if is_input else 1.5)
        if node.op.name == "conj" or value.dtype.kind == "c":
            yield from both("conj", np.conj, "is not conjugated", "conj", 0.6)
        if not is_input:
            yield self.own(
                node,
                "ignore_upstream",
                lambda g, _: np.ones_like(g),
                f"the cotangent of {name} is taken for ones",
                "ones",
                1.3,
            )
        if 1 < len(shares) <= 12:
            yield from self._overwritten(node, name)
        if len(shares) > 2:
            yield from self._assigned(node, name)
        yield self.own(
            node,
            "missing_term",
            lambda g, _: np.zeros_like(g),
            f"nothing is handed on through {name}, as if it were a constant"
            if not is_input
            else f"{where} is left out",
            "stop",
            1.25 if node in record.names else 1.35,
        )
        if len(shares) > 1:
            for consumer, i, _ in shares:
                yield self.share(
                    consumer,
                    i,
                    "missing_term",
                    lambda _g, old, _w: np.zeros_like(old),
                    f"the share of {where} that comes through {record.place(consumer)} is left out",
                    "drop",
                    1.2,
                )
        for axis, n in enumerate(value.shape):
            if n < 2:
                continue
            along = "" if len(value.shape) == 1 else f" along axis {axis}"
            yield from both("index", lambda g, a=axis: np.flip(g, a), f"is reversed{along}", f"flip{axis}", 1.5)
            for shift in (1, -1):
                text = f"is shifted by one{along}"
                yield from both("index", lambda g, a=axis, s=shift: np.roll(g, s, a), text, f"roll{axis}{shift}", 1.5)
                yield from both("index", lambda g, a=axis, s=shift: _moved(g, s, a), text, f"move{axis}{shift}", 1.55)

            def mean(g: Any, a: int = axis) -> Any:
                return np.broadcast_to(g.mean(a, keepdims=True), g.shape)

            yield from both("broadcast", mean, f"is averaged{along}", f"mean{axis}", 1.8)

            def total(g: Any, a: int = axis) -> Any:
                return np.broadcast_to(g.sum(a, keepdims=True), g.shape)

            yield from both("broadcast", total, f"is summed{along}", f"total{axis}", 1.8)

            def first(g: Any, a: int = axis) -> Any:
                return np.broadcast_to(np.take(g, [0], a), g.shape)

            yield from both("broadcast", first, f"is that of the first entry{along}", f"first{axis}", 1.9)
        if value.ndim > 1 and value.shape[-1] == value.shape[-2] > 1:
            yield from both("transpose", lambda g: np.swapaxes(g, -1, -2), "is transposed", "swap", 1.0)
        if value.ndim > 1:

            def order(g: Any) -> Any:
                return g.reshape(g.shape[::-1]).T if g.T.shape == g.shape else g.ravel("F").reshape(g.shape)

            yield from both("transpose", order, "is in the other order in memory", "order", 2.2)

    def _overwritten(self, node: Node, name: str) -> Iterator[Edit]:
        """A value used several times: a share, where it has entries, takes the place of another or of all others."""
        record = self.record
        shares = record.true.shares[node]
        masks = []
        for consumer, i, _ in shares:
            mask: Any = 1.0
            if consumer.op.name in ("slice", "gather"):
                ones = np.ones_like(record.true.cotangents[consumer])
                mask = record.pull(consumer, ones)[i] != 0
            masks.append(mask)
        count = len(shares)
        for k, (consumer, _, _) in enumerate(shares):
            lost = [[j for j in range(count) if j != k]]
            if count > 2:
                lost += [[j] for j in range(count) if j != k]
            for others in lost:

                def kept(g: Any, walk: Walk, k: int = k, others: list[int] = others) -> Any:
                    mine = walk.shares[node]
                    return g - masks[k] * sum(mine[j][2] for j in others) if len(mine) == count else None

                dropped = shares[others[0]][0]
                turns = {(shares[j][0].code, shares[j][0].lasti) for j in range(count)}
                if any(_is_partial(masks[k], masks[j]) for j in others):
                    cost = 1.1
                elif count > 2 and len(turns) == 1 and k == count - 1:
                    cost = 1.15  # the turns of a loop
                elif count == 2 and dropped.seq > consumer.seq and self._runs_beside(node, dropped, consumer):
                    cost = 1.21
                else:
                    cost = 1.7 if len(others) == count - 1 else 1.8
                what = "all others" if len(others) > 1 else f"that of {record.place(shares[others[0]][0])}"
                yield self.own(
                    node,
                    "overwrite",
                    kept,
                    f"the share of the gradient of {name} that comes through {record.place(consumer)} overwrites "
                    f"{what}, instead of being added",
                    f"over {k} {others}",
                    cost,
                )

    def _runs_beside(self, node: Node, one: Node, other: Node) -> bool:
        """Whether two uses of an array give arrays that meet again, and are no separate terms of a loss."""
        values = self.record.values
        if not all(x in values and values[x].ndim for x in (node, one, other)):
            return False
        stack, seen = [one], {one}
        while stack:
            here = stack.pop()
            if values.get(here) is not None and not values[here].ndim and here.op.name in ("add", "sub"):
                return False
            for after, _ in self.record.consumers.get(here, []):
                if after not in seen:
                    seen.add(after)
                    stack.append(after)
        return True

    def _assigned(self, node: Node, name: str) -> Iterator[Edit]:
        """A value read at many indices: what one place in the source hands back is assigned, not added."""
        record = self.record
        shares = record.true.shares[node]
        masks = []
        for consumer, i, _ in shares:
            if consumer.op.name not in ("slice", "gather"):
                return
            masks.append(record.pull(consumer, np.ones_like(record.true.cotangents[consumer]))[i] != 0)
        places = {(c.code, c.lasti): c for c, _, _ in shares}
        for (place, one), forward in itertools.product(places.items(), (True, False)):

            def assigned(g: Any, walk: Walk, place: Any = place, forward: bool = forward) -> Any:
                mine = walk.shares[node]
                if len(mine) != len(masks):
                    return None
                total = np.zeros_like(g)
                order = sorted(range(len(mine)), key=lambda k: mine[k][0].seq, reverse=not forward)
                for k in order:
                    consumer, _, part = mine[k]
                    total = (
                        np.where(masks[k], part, total) if (consumer.code, consumer.lasti) == place else total + part
                    )
                return total

            text = f"what comes back through {record.place(one)} is assigned to the gradient of {name}, not added to it"
            lost = record.true.cotangents[node] - assigned(record.true.cotangents[node], record.true)
            whole = any(np.allclose(lost, part, rtol=1e-9, atol=0.0) for _, _, part in shares)
            yield self.own(node, "overwrite", assigned, text, f"assigned {forward}", 1.6 if whole else 1.0)

    def times_formula(self, node: Node) -> Iterator[Edit]:
        """All that arrives at a value times a function of it, or of a named value of the same shape."""
        record = self.record
        value = record.values.get(node)
        if value is None or not is_here(record, node):
            return
        near = [edge for edge in node.edges if edge in record.values and record.values[edge].shape == value.shape]
        near += [
            c for c, _ in record.consumers.get(node, []) if c in record.values and record.values[c].shape == value.shape
        ]
        others = [node, *near, *self.by_shape.get(value.shape, [])]
        for other in dict.fromkeys(others):
            cost = 2.0 if other is node else 2.3 if other in record.names or other in near else 2.5
            for text, factor in applied(record.values[other], self.formulas.setdefault(other, {})):
                shown = text.format(record.title(other))
                yield self.own(
                    node,
                    "wrong_formula",
                    lambda g, _, f=factor: g * f,
                    f"the gradient of `{record.title(node)}` is multiplied by `{shown}` once too often",
                    f"formula {text}",
                    cost + 0.01 * len(text),
                )


def _is_partial(mine: Any, other: Any) -> bool:
    """Whether one share covers another in part: then overwriting it is more than leaving it out."""
    covered = np.broadcast_to(mine, np.shape(other))[np.asarray(other) != 0] if np.ndim(other) else np.asarray(mine)
    return bool(np.any(covered) and not np.all(covered))


def _moved(g: Any, step: int, axis: int) -> Any:
    """Shifted, with zeros coming in."""
    new = np.roll(g, step, axis)
    new[tuple(slice(None) if a != axis else (0 if step > 0 else -1) for a in range(new.ndim))] = 0
    return new
