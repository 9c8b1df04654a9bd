"""Edits of steps along axes: reductions, broadcasts, matrix products."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from pullback.check.maker import Maker
from pullback.check.record import Edit
from pullback.tape.node import Node, Projection

__all__ = ["Axes"]


class Axes(Maker):
    """Edits of steps along axes."""

    def products(self, node: Node) -> Iterator[Edit]:
        """Of a matrix product: factors transposed or exchanged."""
        if node.op.name not in ("mm", "matmul", "mv", "dot"):
            return
        saved = self.record.saved(node)
        place = self.record.place(node)
        for i in self.operands(node):
            other = saved[2 - i]
            if not isinstance(other, np.ndarray) or other.ndim < 1:
                continue
            shape = self.record.values[node.edges[i]].shape  # type: ignore[index]
            for swap_g, swap_other, exchange in itertools.product((False, True), repeat=3):

                def product(g: Any, old: Any, _: Any, o: Any = other, s: Any = (swap_g, swap_other, exchange)) -> Any:
                    g = np.asarray(g)
                    a = np.swapaxes(g, -1, -2) if s[0] and g.ndim > 1 else g
                    b = np.swapaxes(o.conj(), -1, -2) if s[1] and o.ndim > 1 else o.conj()
                    a, b = (b, a) if s[2] else (a, b)
                    try:
                        if a.ndim == b.ndim == 1:
                            return np.outer(a, b)
                        return a @ b
                    except ValueError:
                        return None

                yield self.share(
                    node,
                    i,
                    "transpose",
                    product,
                    f"a factor is transposed on the way back through {place}",
                    f"product {swap_g}{swap_other}{exchange}",
                    0.9,
                )
            yield self.share(
                node,
                i,
                "wrong_formula",
                lambda g, old, _: np.asarray(g) if np.shape(g) == np.shape(old) else None,
                f"the product {place} is left out on the way back",
                "straight",
                1.3,
            )
            if other.shape == shape:
                yield self.share(
                    node,
                    i,
                    "wrong_formula",
                    lambda g, old, _, o=other: g * o if np.shape(g) == np.shape(o) else None,
                    f"{place} is taken for an elementwise product on the way back",
                    "elementwise",
                    1.4,
                )

    def reductions(self, node: Node) -> Iterator[Edit]:
        """Of a step along axes: the wrong axis, a sum for a mean; of a broadcast operand the sum over its axes."""
        record = self.record
        place = record.place(node)
        axis = node.params.get("axis")
        name = node.op.name
        if name in ("sum", "mean") and self.operands(node):
            x = record.values[node.edges[0]]  # type: ignore[index]
            axes = axis if isinstance(axis, tuple) else (axis,)
            n = math.prod(x.shape[a] for a in axes) if axes else 1
            if n > 1:
                ratio = float(n) if name == "mean" else 1.0 / n
                swapped = ("a sum", "a mean") if name == "mean" else ("a mean", "a sum")
                whole = len(axes) == x.ndim and not any(record.values[node].shape if node in record.values else ())
                yield self.share(
                    node,
                    0,
                    "one_over_n" if whole else "sum_for_mean",
                    lambda _g, old, _w, r=ratio: old * r,
                    f"{place} is differentiated as {swapped[0]} instead of {swapped[1]}",
                    "sum for mean",
                    1.0 if n > 2 else 1.5,
                )
            for size in {x.shape[a] for a in range(x.ndim)} | {math.prod(x.shape)}:
                if size > 1 and size != n and name == "mean":
                    yield self.share(
                        node,
                        0,
                        "axis" if size in x.shape else "sum_for_mean",
                        lambda _g, old, _w, r=n / size: old * r,
                        f"{place} is divided by {size} instead of {n} on the way back",
                        f"over {size}",
                        1.4,
                    )
        if name in ("amax", "amin") and self.operands(node):
            x = record.values[node.edges[0]]  # type: ignore[index]
            reads = record.saved(node)[0]
            keep = np.asarray(reads) if node.params["keepdims"] else np.expand_dims(reads, node.params["axis"])
            n = x.size // max(keep.size, 1)

            def wide(g: Any, old: Any) -> Any:
                return np.broadcast_to(np.reshape(g, keep.shape), np.shape(old))

            yield self.share(
                node,
                0,
                "wrong_formula",
                lambda g, old, _: wide(g, old) / n,
                f"{place} is differentiated as a mean",
                "as mean",
                1.2,
            )
            yield self.share(
                node,
                0,
                "wrong_formula",
                lambda g, old, _: wide(g, old) * 1.0,
                f"the gradient passes straight through {place} to all entries",
                "as sum",
                1.2,
            )
        if name == "var" and self.operands(node):
            x = record.values[node.edges[0]]  # type: ignore[index]
            over = node.params["axis"]
            m = max(math.prod(x.shape[a] for a in over) - node.params["correction"], 1e-300)

            def about(centre: Any, over: Any = over) -> Any:
                keep = tuple(1 if a in over else n for a, n in enumerate(x.shape))
                return lambda g, _o, _w: np.reshape(g, keep) * (2 / m) * (x - centre)

            text = f"{place} is differentiated without subtracting the mean"
            yield self.share(node, 0, "missing_term", about(0.0), text, "no mean", 1.0)
            for a in range(x.ndim):
                if (a,) != over:
                    text = f"{place} is differentiated about the mean along axis {a}"
                    yield self.share(node, 0, "axis", about(x.mean(a, keepdims=True)), text, f"mean {a}", 0.95)
        if name in ("softmax", "log_softmax") and self.operands(node):
            s = record.saved(node)[0]
            s = s if name == "softmax" else np.exp(s)
            yield self.share(
                node,
                0,
                "wrong_formula",
                lambda g, _o, _w: g * s * (1 - s),
                f"{place} is differentiated as if each entry were by itself",
                "by itself",
                1.0,
            )
        if axis is not None and record.result(node) is not None:
            x_rank = np.ndim(record.operand(node, 0)) if self.operands(node) else 0
            old_axes = axis if isinstance(axis, tuple) else (axis,)
            for size in range(1, x_rank + 1):
                for axes in itertools.combinations(range(x_rank), size):
                    if axes == old_axes or (not isinstance(axis, tuple) and size > 1):
                        continue
                    params = {**node.params, "axis": axes if isinstance(axis, tuple) else axes[0]}
                    kind = "index" if name in ("flip", "roll") else "axis"
                    yield self.pulled(
                        node,
                        kind,
                        f"{place} is differentiated along axis {axes[0] if size == 1 else axes}",
                        f"axis {axes}",
                        0.9,
                        None,
                        params,
                    )
        yield from self._spreads(node)

    def _spreads(self, node: Node) -> Iterator[Edit]:
        """A broadcast operand: what arrives is to be summed over the axes it was repeated along."""
        record = self.record
        y = record.result(node)
        if y is None or isinstance(node, Projection) or not isinstance(y, np.ndarray | np.generic):
            return
        wide = np.shape(y)
        place = record.place(node)
        for i in self.operands(node):
            shape = record.values[node.edges[i]].shape  # type: ignore[index]
            if node.op.name != "broadcast_to" and (node.shapes is None or shape == wide):
                continue
            lead = len(wide) - len(shape)
            axes = tuple(a for a in range(len(wide)) if a < lead or (shape[a - lead] == 1 and wide[a] != 1))
            if not axes:
                continue

            def full(g: Any, i: int = i) -> Any:
                if node.op.name == "broadcast_to":
                    return np.asarray(g)
                rule = node.op.rules[i]
                return np.asarray(rule(np.asarray(g), *record.saved(node), **node.params))

            def reduced(how: Any, shape: Any = shape, full: Any = full) -> Callable[[Any, Any, Any], Any]:
                return lambda g, old, _: (
                    np.reshape(how(np.broadcast_to(full(g), wide)), shape) if old is not None else None
                )

            title = self.operand_title(node, i)
            n = math.prod(wide[a] for a in axes)
            for text, kind, how in (
                ("the mean, instead of the sum,", "sum_for_mean", lambda g, over=axes: g.mean(over)),
                (
                    "the first entry, instead of the sum,",
                    "broadcast",
                    lambda g, over=axes: g[tuple(0 if a in over else slice(None) for a in range(g.ndim))],
                ),
                (
                    "the last entry, instead of the sum,",
                    "broadcast",
                    lambda g, over=axes: g[tuple(-1 if a in over else slice(None) for a in range(g.ndim))],
                ),
                ("the maximum, instead of the sum,", "broadcast", lambda g, over=axes: g.max(over)),
            ):
                if n > 1:
                    yield self.share(
                        node,
                        i,
                        kind,
                        reduced(how),
                        f"{text} over axis {axes} is handed to `{title}` by {place}",
                        text,
                        1.1,
                    )
            kept = math.prod(shape)
            for others in itertools.combinations(range(len(wide)), len(axes)):
                left = math.prod(m for a, m in enumerate(wide) if a not in others)
                if others != axes and left == kept and n > 1 and kept > 1:
                    yield self.share(
                        node,
                        i,
                        "axis",
                        reduced(lambda g, o=others: g.sum(o)),
                        f"the sum for `{title}` in {place} is over axis {others}, not {axes}",
                        f"other {others}",
                        1.0,
                    )
            for k in range(1, len(axes)):
                for some in itertools.combinations(axes, k):
                    yield self.share(
                        node,
                        i,
                        "broadcast",
                        reduced(
                            lambda g, o=some, over=axes: np.take(
                                g.sum(o, keepdims=True), 0, axis=next(a for a in over if a not in o)
                            )
                        ),
                        f"the sum for `{title}` in {place} is over axis {some} only",
                        f"some {some}",
                        1.4,
                    )
