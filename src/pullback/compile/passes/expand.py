"""Expansion: composites are written out in simpler ops, as the op table states them."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from pullback.compile.passes.cse import key_of
from pullback.compile.passes.rewrite import Rewrite, rewrite
from pullback.ops.lowering import Expansion, Product
from pullback.ops.table import TABLE
from pullback.tape.node import Handle, new_handle
from pullback.tape.state import nested, no_grad, numpy_promotion
from pullback.values.graph import Graph, Instruction, Symbol
from pullback.values.shape import spec_of

__all__ = ["expand"]


def expand(graph: Graph) -> Graph:
    """The graph with every op whose native lowering is an `Expansion`, or has one beside it, replaced by what its rule
    computes, and what that is made of in turn.

    The numbers may differ from the op's NumPy evaluation at rounding level where the rule sums in another order.
    """
    bodies: dict[Any, Graph | None] = {}

    def rule(new: Rewrite, step: Instruction) -> Any:
        key = (
            step.op.name,
            *(arg.spec if type(arg) is Symbol else key_of(arg) for arg in step.args),
            *((name, key_of(value)) for name, value in step.params.items()),
        )
        if key not in bodies:
            bodies[key] = _body(step)
        body = bodies[key]
        if body is None:
            return None
        result = new.inline(body, tuple(arg for arg in step.args if type(arg) is Symbol))
        return result if step.op.several else result[0]

    return rewrite(graph, dict.fromkeys(_composites(len(TABLE)), rule))


@functools.lru_cache(maxsize=1)
def _composites(_size: int) -> tuple[str, ...]:
    """The ops that expand, of the table of this size, which grows but does not change."""
    return tuple(
        name
        for name, op in TABLE.items()
        if isinstance(op.lower, Expansion) or (isinstance(op.lower, Product) and op.lower.otherwise)
    )


def _body(step: Instruction) -> Graph | None:
    """The expansion of an instruction as a graph of its operands that are symbols; None where the rule has none."""
    lower = step.op.lower
    if isinstance(lower, Product) and lower.rule(*map(spec_of, step.args), **step.params) is not None:
        return None
    rule: Any = lower.otherwise if isinstance(lower, Product) else lower.rule
    body = Graph()
    with nested(), no_grad(), numpy_promotion(True):
        args = [new_handle(body.input(arg.spec)) if type(arg) is Symbol else arg for arg in step.args]
        result = rule(*args, **step.params)
    if result is NotImplemented:
        return None
    body.outputs = [_payload(value) for value in (result if isinstance(result, tuple | list) else (result,))]
    found = [spec_of(value) for value in body.outputs]
    expected = [symbol.spec for symbol in step.outputs]
    if found != expected:
        names = [", ".join(map(str, specs)) for specs in (found, expected)]
        raise TypeError(f"the expansion of {step.op.name} gives {names[0]}, not {names[1]}")
    return body


def _payload(value: Any) -> Any:
    """What a result is in the body: a symbol, through the tape's handles, or a constant."""
    while isinstance(value, Handle):
        value = value._value
    return value if isinstance(value, Symbol) else np.array(value)[()]
