"""Edits of steps that move or select entries: indices, slices, masks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from pullback.check.maker import Maker, down
from pullback.check.record import Edit
from pullback.tape.node import Node

__all__ = ["Places"]


class Places(Maker):
    """Edits of steps that move or select entries."""

    def indices(self, node: Node) -> Iterator[Edit]:
        """Of a step that reads or writes at indices: shifted, reversed, overwritten instead of added."""
        record = self.record
        name = node.op.name
        place = record.place(node)
        if name == "gather" and self.operands(node):
            saved = record.saved(node)
            x, index = record.values[node.edges[0]], saved[2:]  # type: ignore[index]

            def assigned(g: Any, old: Any, _: Any) -> Any:
                new = np.zeros_like(old)
                new[tuple(index)] = g
                return new

            yield self.share(
                node,
                0,
                "overwrite",
                assigned,
                f"repeated indices of {place} are overwritten, not added up",
                "assigned",
                0.8,
            )
            for k, which in enumerate(index):
                if not isinstance(which, np.ndarray) or which.dtype.kind not in "iu":
                    continue
                n = x.shape[k]
                for text, other in (
                    ("one too high", (which + 1) % n),
                    ("one too low", (which - 1) % n),
                    ("counted from the end", n - 1 - which),
                    ("reversed", which[::-1] if which.ndim else which),
                    ("shifted", np.roll(which, 1)),
                    ("shifted back", np.roll(which, -1)),
                    ("sorted", np.sort(which)),
                    ("left out", np.arange(which.size).reshape(which.shape) % n),
                    ("inverted", np.argsort(which) if which.ndim == 1 else which),
                ):
                    if other.shape == which.shape:
                        changed = (*saved[: 2 + k], other, *saved[3 + k :])
                        yield self.pulled(
                            node,
                            "index",
                            f"the indices of {place} are {text} on the way back",
                            f"gather {text}",
                            1.0,
                            changed,
                        )
        if name in ("slice", "slice_update", "embed") and "index" in node.params:
            index = node.params["index"]
            for k, part in enumerate(index):
                for step in (1, -1):
                    moved = _moved_index(part, step)
                    if moved is not None:
                        params = {**node.params, "index": (*index[:k], moved, *index[k + 1 :])}
                        yield self.pulled(
                            node,
                            "index",
                            f"the place of {place} is off by one on the way back",
                            f"slice {k} {step}",
                            1.0,
                            None,
                            params,
                        )
        if name == "difference" and self.operands(node) and not node.params["full"]:
            axis = node.params["axis"]

            def parts(g: Any, old: Any) -> tuple[Any, Any]:
                low, high = np.zeros_like(old), np.zeros_like(old)
                np.moveaxis(high, axis, 0)[1:] = np.moveaxis(g, axis, 0)
                np.moveaxis(low, axis, 0)[:-1] = np.moveaxis(-g, axis, 0)
                return low, high

            missing = "a term of the difference is left out on the way back through"
            yield self.share(
                node, 0, "missing_term", lambda g, old, _: parts(g, old)[0], f"{missing} {place}", "low", 1.0
            )
            yield self.share(
                node, 0, "missing_term", lambda g, old, _: parts(g, old)[1], f"{missing} {place}", "high", 1.0
            )

            def covered(g: Any, old: Any, _: Any, first: int = 0) -> Any:
                kept, under = parts(g, old)[first], parts(g, old)[1 - first]
                return np.where(parts(np.ones_like(g), old)[first] != 0, kept, under)

            text = f"of the two terms of {place} one overwrites the other on the way back"
            yield self.share(node, 0, "overwrite", covered, text, "over low", 0.9)
            yield self.share(node, 0, "overwrite", lambda g, o, w: covered(g, o, w, 1), text, "over high", 0.9)
        if name in ("tril", "triu") and self.operands(node):
            yield self.share(
                node,
                0,
                "index",
                lambda g, old, _: np.triu(g) if name == "tril" else np.tril(g),
                f"{place} keeps the other triangle on the way back",
                "other triangle",
                0.9,
            )
            yield self.share(
                node,
                0,
                "wrong_formula",
                lambda g, old, _: np.array(g),
                f"the gradient passes straight through {place}",
                "straight",
                0.9,
            )
        if name in ("flip", "roll"):
            for i in self.operands(node):
                for axis in range(np.ndim(record.values[node.edges[i]])):  # type: ignore[index]
                    yield self.share(
                        node,
                        i,
                        "index",
                        lambda g, _o, _w, a=axis: np.flip(g, a),
                        f"{place} is undone by a reversal",
                        f"reversal{axis}",
                        1.0,
                    )
            for i in self.operands(node):
                yield self.share(
                    node,
                    i,
                    "index",
                    lambda g, _o, _w: np.array(g),
                    f"{place} is not undone on the way back",
                    "as it is",
                    0.9,
                )
        if name == "roll":
            yield self.pulled(
                node,
                "index",
                f"{place} is rolled the wrong way on the way back",
                "wrong way",
                0.9,
                None,
                {**node.params, "shift": tuple(-s for s in node.params["shift"])},
            )
        if name in ("cumsum", "cumprod"):
            for i in self.operands(node):
                yield self.share(
                    node,
                    i,
                    "missing_term",
                    lambda g, old, _: np.array(g),
                    f"{place} passes each entry on by itself",
                    "itself",
                    1.0,
                )
            for i in self.operands(node):
                yield self.share(
                    node,
                    i,
                    "index",
                    lambda g, _o, _w: np.cumsum(g, node.params["axis"]),
                    f"{place} runs forward, not backward, on the way back",
                    "forward",
                    0.9,
                )
        if name == "transpose":
            yield self.share(
                node,
                0,
                "transpose",
                lambda g, old, _: np.transpose(g, node.params["axes"]),
                f"{place} is not undone on the way back",
                "axes",
                0.9,
            )
            yield self.share(
                node,
                0,
                "transpose",
                lambda g, old, _: np.reshape(g, np.shape(old)),
                f"{place} is undone by a reshape",
                "reshape",
                1.0,
            )
        if name == "reshape" and self.operands(node):
            yield self.share(
                node,
                0,
                "transpose",
                lambda g, old, _: np.ravel(g, "F").reshape(np.shape(old)),
                f"{place} is undone in the other order",
                "order F",
                1.0,
            )
            yield self.share(
                node,
                0,
                "transpose",
                lambda g, old, _: np.reshape(g, np.shape(old)[::-1]).T,
                f"{place} is undone in the other order",
                "order T",
                1.0,
            )

    def selections(self, node: Node) -> Iterator[Edit]:
        """Of a step that selects: everything passes, or what should not."""
        name = node.op.name
        place = self.record.place(node)
        if name in ("where", "maximum", "minimum", "relu", "clamp", "leaky_relu"):
            for i in self.operands(node):
                kind = "ste" if name == "clamp" else "wrong_formula"
                yield self.share(
                    node,
                    i,
                    kind,
                    lambda g, old, _: down(g, old),
                    f"the gradient passes straight through {place}",
                    "pass",
                    1.0,
                )
                yield self.share(
                    node,
                    i,
                    "wrong_formula",
                    lambda g, old, _: down(g, old) - old,
                    f"{place} passes the gradient on the wrong side",
                    "other side",
                    1.0,
                )


def _moved_index(part: Any, step: int) -> Any:
    if isinstance(part, int) and not isinstance(part, bool):
        return part + step
    if isinstance(part, slice) and (part.start is not None or part.stop is not None):
        start = (part.start or 0) + step
        stop = None if part.stop is None else part.stop + step
        return slice(start, stop, part.step) if start >= 0 else None
    return None
