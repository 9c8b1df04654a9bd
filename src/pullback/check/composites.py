"""Functions written out in steps and differentiated in one: softmax, log-sum-exp, rows over their norm.

People write the derivative of the whole, `s * (g - sum(g * s))`, and go wrong in that. The steps are recognised in the
record, and the whole derivative is put in their place, with the mistakes it invites.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from pullback.check.record import Arr, Edit, Record, Walk
from pullback.tape.node import Node

__all__ = ["between", "fused"]

Form = tuple[str, str, Any, float]  # kind, text, what `g` becomes, cost


def fused(record: Record) -> Callable[[Node], Iterator[Edit]]:
    """For a node: the edits of the composites that end there."""

    def edits(node: Node) -> Iterator[Edit]:
        for start, title, forms in (*_softmax(record, node), *_log_sum_exp(record, node), *_scaled(record, node)):
            for kind, text, form, cost in forms:

                def change(walk: Walk, start: Node = start, form: Any = form) -> list[tuple[Node, Arr]]:
                    g = walk.cotangents[node]
                    new = form(g)
                    old = between(record, node, start, g)
                    return [] if np.shape(new) != np.shape(old) else [(start, new - old)]

                message = f"{title} of `{record.title(start)}`, {record.place(node)}, is differentiated as `{text}`"
                yield Edit(kind, node, change, message, f"{title} {text}", cost)
        yield from _statistics(record, node)

    return edits


def between(record: Record, node: Node, start: Node, g: Any) -> Any:
    """What arrives at `start` from the cotangent of `node`."""
    found = record.walk({}, start=[(node, g)], until=start).cotangents.get(start)
    return np.zeros_like(record.values[start]) if found is None else found


def _is(node: Any, *names: str) -> bool:
    return isinstance(node, Node) and node.op.name in names


def _axes(node: Node) -> tuple[int, ...]:
    axis = node.params["axis"]
    return axis if isinstance(axis, tuple) else (axis,)


def _softmax(record: Record, node: Node) -> Iterator[tuple[Node, str, list[Form]]]:
    if not _is(node, "div") or not _is(node.edges[0], "exp") or not _is(node.edges[1], "sum"):
        return
    e, total = node.edges
    if total.edges[0] is not e or not total.params["keepdims"]:  # type: ignore[union-attr]
        return
    axis = _axes(total)  # type: ignore[arg-type]
    start = e.edges[0]  # type: ignore[union-attr]
    s, ev = record.values[node], record.values[e]  # type: ignore[index]
    if start not in record.values:
        return

    def along(x: Arr, axis: Any = axis) -> Any:
        return x.sum(axis, keepdims=True)

    forms: list[Form] = [
        ("wrong_formula", "s * (1 - s) * g", lambda g: s * (1 - s) * g, 1.0),
        ("missing_term", "s * g", lambda g: s * g, 1.0),
        ("missing_term", "-s * sum(g * s)", lambda g: -s * along(g * s), 1.2),
        ("wrong_formula", "g - sum(g * s)", lambda g: g - along(g * s), 1.1),
        ("wrong_formula", "s * (g - sum(g))", lambda g: s * (g - along(g)), 1.0),
        ("wrong_formula", "s * (g - g * s)", lambda g: s * (g - g * s), 1.1),
        ("wrong_formula", "s * (g - mean(g * s))", lambda g: s * (g - (g * s).mean(axis, keepdims=True)), 1.1),
        ("wrong_formula", "s * (1 - s) * (g - sum(g * s))", lambda g: s * (1 - s) * (g - along(g * s)), 1.1),
        ("sign", "s * (g + sum(g * s))", lambda g: s * (g + along(g * s)), 1.1),
    ]
    for other in [(a,) for a in range(s.ndim) if (a,) != axis] + [tuple(range(s.ndim))]:
        wrong = ev / ev.sum(other, keepdims=True)
        forms += [
            (
                "axis",
                f"s * (g - sum(g * s)), the sum over axis {other}",
                lambda g, o=other: s * (g - along(g * s, o)),
                0.9,
            ),
            (
                "axis",
                f"a softmax along axis {other} with the sum over {axis}",
                lambda g, w=wrong: w * (g - along(g * w)),
                0.95,
            ),
            ("axis", f"a softmax along axis {other}", lambda g, w=wrong, o=other: w * (g - along(g * w, o)), 0.9),
        ]
    yield start, "the softmax", forms


def _log_sum_exp(record: Record, node: Node) -> Iterator[tuple[Node, str, list[Form]]]:
    if not _is(node, "log") or not _is(node.edges[0], "sum"):
        return
    total: Any = node.edges[0]
    e = total.edges[0]
    if not _is(e, "exp") or e.edges[0] not in record.values:
        return
    axis = _axes(total)
    ev = record.values[e]

    def wide(g: Arr) -> Arr:
        return np.asarray(g) if total.params["keepdims"] else np.expand_dims(g, axis)

    forms: list[Form] = [
        ("wrong_formula", "g * exp(x)", lambda g: wide(g) * ev, 1.0),
        ("wrong_formula", "g * sum(exp(x))", lambda g: wide(g) * ev.sum(axis, keepdims=True) + 0 * ev, 1.2),
    ]
    for other in [(a,) for a in range(ev.ndim) if (a,) != axis] + [tuple(range(ev.ndim))]:
        if other != axis:
            wrong = ev / ev.sum(other, keepdims=True)
            forms.append(("axis", f"a softmax along axis {other}", lambda g, w=wrong: wide(g) * w, 0.9))
    yield e.edges[0], "log-sum-exp", forms


def _scaled(record: Record, node: Node) -> Iterator[tuple[Node, str, list[Form]]]:
    """x / n where n is a norm, a root of a sum of squares, a sum of x along axes, itself kept broadcastable."""
    if not _is(node, "div") or not isinstance(node.edges[1], Node) or node.edges[0] not in record.values:
        return
    x, n = node.edges
    below: Any = n
    while _is(below, "add", "maximum", "reshape") and isinstance(below.edges[0], Node):
        below = below.edges[0]
    root = _is(below, "sqrt", "norm")
    inner = below.edges[0] if _is(below, "sqrt") else below
    while _is(inner, "add") and isinstance(inner.edges[0], Node):
        inner = inner.edges[0]
    if not root or "axis" not in inner.params or inner.op.name not in ("sum", "norm", "mean", "var"):
        return
    start: Any = x
    y, nv = record.values[node], record.values[n]  # type: ignore[index]
    axis = _axes(inner)
    mean = inner.op.name in ("mean", "var")
    if y.shape != record.values[start].shape:
        return

    def along(z: Arr, axis: Any = axis) -> Any:
        return z.mean(axis, keepdims=True) if mean else z.sum(axis, keepdims=True)

    forms: list[Form] = []
    xv = record.values[start]
    for other in [(a,) for a in range(y.ndim) if (a,) != axis] + [tuple(range(y.ndim))]:
        if other == axis:
            continue
        wrong = np.sqrt(along(xv * xv, other))
        yw = xv / wrong
        forms += [
            (
                "axis",
                f"(g - y * sum(g * y)) / n, the sum over axis {other}",
                lambda g, o=other: (g - y * along(g * y, o)) / nv,
                0.9,
            ),
            ("axis", f"with the norm along axis {other}", lambda g, w=wrong, z=yw: (g - z * along(g * z)) / w, 0.95),
            ("axis", f"all along axis {other}", lambda g, w=wrong, z=yw, o=other: (g - z * along(g * z, o)) / w, 0.9),
        ]
    forms += [
        ("wrong_formula", "g - y * sum(g * y)", lambda g: g - y * along(g * y), 1.0),
        ("wrong_formula", "(g - x * sum(g * x)) / n", lambda g: (g - xv * along(g * xv)) / nv, 1.1),
        ("wrong_formula", "(g - y * sum(g)) / n", lambda g: (g - y * along(g)) / nv, 1.1),
        ("wrong_formula", "(g - y * g * y) / n", lambda g: (g - y * g * y) / nv, 1.1),
    ]
    yield start, "the scaling", forms


def _statistics(record: Record, node: Node) -> Iterator[Edit]:
    """A sum or mean of x that is used against all of x again: its share is a sum, over the wrong axis."""
    if node.op.name not in ("sum", "mean") or node.edges[0] not in record.values:
        return
    x: Any = node.edges[0]
    shape = record.values[x].shape
    axis = _axes(node)
    for consumer, i in record.consumers.get(node, []):
        y = record.values.get(consumer)
        if consumer.op.family != "elementwise" or y is None or y.shape != shape or len(shape) < 2:
            continue

        def change(walk: Walk, other: Any, c: Node = consumer, i: int = i) -> list[tuple[Node, Arr]]:
            wide = np.broadcast_to(c.op.rules[i](walk.cotangents[c], *record.saved(c), **c.params), shape)
            reduce = np.mean if node.op.name == "mean" else np.sum
            new, old = (np.broadcast_to(reduce(wide, axis=a, keepdims=True), shape) for a in (other, axis))
            return [(x, new - old)]

        for other in [(a,) for a in range(len(shape)) if (a,) != axis] + [tuple(range(len(shape)))]:
            if other != axis:
                text = f"for {record.place(node)}, what comes back is summed over axis {other}, not {axis}"
                yield Edit("axis", consumer, partial(change, other=other), text, f"statistic {other}", 0.9)
