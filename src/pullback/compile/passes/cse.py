"""Common subexpressions: what is computed twice from the same operands is computed once."""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np

from pullback.compile.passes.rewrite import Rewrite, has_effect
from pullback.values.graph import Graph, Instruction, Symbol

__all__ = ["COMMUTATIVE", "cse", "key_of"]

COMMUTATIVE: Final = frozenset(("add", "mul", "eq", "ne", "logical_and", "logical_or", "logical_xor"))


def key_of(value: Any) -> Any:
    """A key that two constants or parameters share only if nothing tells them apart: type, dtype, shape, every bit.

    So 1, 1.0 and True differ, 0.0 and -0.0 differ, and a NaN equals itself. Graphs are known by identity.
    """
    kind = type(value)
    if kind is int or kind is bool or kind is str:
        return kind, value
    if kind is float:
        return kind, struct.pack("d", value)
    if kind is complex:
        return kind, struct.pack("dd", value.real, value.imag)
    if isinstance(value, tuple):
        return (kind if hasattr(value, "_fields") else tuple, *map(key_of, value))
    if kind is slice:
        return kind, key_of(value.start), key_of(value.stop), key_of(value.step)
    if isinstance(value, np.ndarray | np.generic):
        once = value
        if isinstance(value, np.ndarray) and 0 in value.strides:  # repeated along an axis
            once = value[tuple([slice(None) if stride else slice(1) for stride in value.strides])]
        return "array", value.dtype.str, value.shape, once.shape, once.tobytes()
    if value is None or value is Ellipsis or isinstance(value, np.dtype):
        return kind, value
    return kind, id(value)


def cse(graph: Graph) -> Graph:
    """The graph with an instruction left out if an earlier one applies the same op to the same operands.

    Operands are the same if they are one symbol, or constants that agree bit for bit, in sums and products in either
    order; two inputs never are, whatever they held when the program was traced. The numbers are those of the earlier
    instruction: ops have no hidden state, but for those with effects, which are kept. Equal constants become one array.
    """
    seen: dict[Any, Any] = {}
    arrays: dict[Any, np.ndarray[Any, Any]] = {}  # one for each key
    keys: dict[int, Any] = {}  # of arrays of this graph, which lives on, so that no identity is used again
    new = Rewrite(graph, {})
    values, changed = new.values, False
    for step in graph.instructions:
        args = list(step.args)
        parts: list[Any] = [step.op.name]
        for i, arg in enumerate(args):
            if type(arg) is Symbol:
                args[i] = arg = values[arg]
            elif type(arg) is np.ndarray:
                array = arg
                arg = keys.get(id(array))
                if arg is None:
                    arg = keys[id(array)] = key_of(array)
                args[i] = arrays.setdefault(arg, array)
                changed = changed or args[i] is not array
            else:
                arg = key_of(arg)
            parts.append(arg)
        if (
            step.op.name in COMMUTATIVE
            and type(parts[1]) is type(parts[2]) is Symbol
            and parts[1].index > parts[2].index
        ):
            parts[1:] = parts[:0:-1]
        for name, value in sorted(step.params.items()):
            parts += (name, key_of(value))
        key = tuple(parts)
        result = None if has_effect(step.op) else seen.get(key)
        if result is None:
            result = seen[key] = new.append(Instruction(step.op, tuple(args), step.params, step.outputs))
        else:
            changed = True
        new.enter(step.outputs, result)
    return new.finish(graph) if changed else graph
