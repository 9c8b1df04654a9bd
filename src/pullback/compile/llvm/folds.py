"""Folds: what they begin with, and how two parts of one become one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from pullback.compile.buffers import padded
from pullback.compile.llvm.builder import INDEX, Emitter, Number, literal, memory_type
from pullback.compile.nodes import Node

__all__ = ["COMBINE", "combined", "identity", "joining", "part_of", "sums_floats"]

_BOOL = np.dtype(bool)

COMBINE: Final[dict[str, Callable[[Any, Any, Any], Any]]] = {
    "add": lambda b, x, y: x | y if x.dtype == _BOOL else x + y,
    "mul": lambda b, x, y: x * y,
    "max": lambda b, x, y: b.maximum(x, y),
    "min": lambda b, x, y: b.minimum(x, y),
    "and": lambda b, x, y: x & y,
    "or": lambda b, x, y: x | y,
}
"""One step of a fold, in the order given."""
_REASSOCIATED: Final = {"add": "fadd reassoc contract", "mul": "fmul reassoc"}


def combined(emit: Emitter, kind: str, total: Number, x: Number) -> Number:
    """Two parts of a fold as one. Of floats sums and products may be taken in any order."""
    opcode = _REASSOCIATED.get(kind) if total.dtype.kind == "f" else None
    if opcode is not None:
        return emit.line(f"{opcode} {total!r}, {x.name}", total.dtype)
    return emit.cast(COMBINE[kind](emit, total, x), total.dtype)


def part_of(emit: Emitter, apart: str, node: Node) -> str:
    """Where thread %t > 0 keeps what it folds."""
    before = emit.line("sub i64 %t, 1", INDEX)
    offset = emit.line(f"mul i64 {before.name}, {padded(node.nbytes)}", INDEX)
    return emit.address("i8", apart, offset.name)


def joining(name: str, node: Node) -> str:
    """A function that adds what one thread has folded to what another has. Intrinsics that it needs are declared by the
    fold itself."""
    emit, dtype = Emitter(), node.spec.dtype
    kind = memory_type(dtype)
    stored = np.dtype(np.uint8) if dtype == _BOOL else dtype
    with emit.loop(0, node.spec.size) as index:
        places = [emit.address(kind, pointer, index.name) for pointer in ("%into", "%other")]
        xs = [emit.line(f"load {kind}, ptr {place}", stored) for place in places]
        total = combined(emit, node.rule.kind, *(emit.cast(x, dtype) for x in xs))
        emit.do(f"store {emit.cast(total, stored)!r}, ptr {places[0]}")
    emit.do("ret void")
    return emit.definition(f"define internal void {name}(ptr noalias %into, ptr noalias %other)")


def identity(kind: str, dtype: np.dtype[Any]) -> str:
    """What a fold begins with."""
    if kind in ("add", "or"):
        return literal(0, dtype)
    if kind in ("mul", "and"):
        return literal(1, dtype)
    if dtype.kind == "f":
        return literal(-math.inf if kind == "max" else math.inf, dtype)
    if dtype == _BOOL:
        return literal(kind == "min", dtype)
    info = np.iinfo(dtype)
    return literal(info.min if kind == "max" else info.max, dtype)


def sums_floats(node: Node) -> bool:
    return node.rule.kind == "add" and node.spec.dtype.kind == "f"
