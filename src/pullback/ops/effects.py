"""What a graph does besides computing: drawing random numbers, printing. Not ops: they are no functions of operands.

In a graph they stand where ops do. Nothing removes them, merges two of them or changes their order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.ops.table import UNSUPPORTED
from pullback.values.shape import Spec

__all__ = ["Effect", "draw", "say"]


class Effect:
    """Something to be done at every run: `evaluate(*arrays, **params)` does it, `shape` says what it gives."""

    effect = True
    several = False
    is_elementwise = False
    family = "effect"
    lower = UNSUPPORTED("an effect: Python is called")

    def __init__(self, name: str, evaluate: Callable[..., Any], shape: Callable[..., Spec]) -> None:
        self.name = name
        self.evaluate = evaluate
        self.shape = shape

    def __repr__(self) -> str:
        return f"<effect {self.name}>"


def _draw(*, sample: Callable[[Any], Any], source: Callable[[], Any], spec: Spec) -> Any:
    return np.asarray(sample(source()), spec.dtype)


def _say(*values: Any, write: Callable[..., Any]) -> Any:
    write(*values)
    return np.False_


draw = Effect("draw", _draw, lambda *, spec, **_: spec)
"""Random numbers: `sample(source())`, of shape and dtype `spec`."""

say = Effect("print", _say, lambda *_, **__: Spec((), np.dtype(bool)))
"""`write(*values)` is called with the values. The result means nothing."""
