"""An op's entry in the table of JAX expressions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["Entry", "Rule"]

Rule = Callable[..., Any]


class Entry(NamedTuple):
    """What an op is in JAX.

    rule    `(*arrays, **params) -> array`, or a tuple of arrays. Operands that are Python numbers stay Python numbers.
    meets   the operands are brought to the dtype in which they meet in NumPy first, as JAX's own promotion differs.
    native  JAX differentiates the expression as pullback does the op, or at less cost; other ops bring their own rule.
    push    the tangent in JAX, `(tangents, *operands, **params)` with None for a tangent of 0, where the op's own rule
            is not linear in the tangents as JAX must see it to turn it round.
    """

    rule: Rule
    meets: bool = False
    native: bool = False
    push: Rule | None = None
