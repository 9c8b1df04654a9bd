"""The verifier: what every graph must satisfy, before a pass and after it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from pullback.compile.passes.rewrite import is_number, subgraphs
from pullback.ops.table import TABLE, Op
from pullback.values.graph import Graph, Instruction, Symbol
from pullback.values.shape import spec_of

__all__ = ["InvalidGraphError", "misuse", "verify"]


class InvalidGraphError(ValueError):
    """A graph that breaks a rule; the message names the instruction, and the pass that made it."""


def verify(graph: Graph, after: str = "") -> None:
    """Check a graph, and the graphs among its parameters.

    Every symbol belongs to the graph and is made once, before it is read; every instruction applies an op of the table
    to operands that the op's shape rule takes, and its results look as that rule says; constants are arrays and numbers
    whose memory nobody else writes.

    Raises `InvalidGraphError` naming the instruction, and the pass `after` which the graph was checked.
    """
    where = f" after the pass {after!r}" if after else ""
    known: set[Symbol] = set()

    def fail(step: Instruction | None, reason: str) -> InvalidGraphError:
        return InvalidGraphError(f"{reason}{where}" + (f", in\n  {step}" if step is not None else ""))

    def define(symbol: Symbol, step: Instruction | None) -> None:
        if not isinstance(symbol, Symbol):
            raise fail(step, f"{symbol!r} is made where a symbol should be")
        if symbol.graph is not graph:
            raise fail(step, f"%{symbol.index} belongs to another graph")
        if symbol in known:
            raise fail(step, f"%{symbol.index} is made twice")
        if symbol.index in indices:
            raise fail(step, f"%{symbol.index} has the number of another symbol")
        indices.add(symbol.index)
        known.add(symbol)

    def check(value: Any, step: Instruction | None) -> None:
        if isinstance(value, Symbol):
            if value.graph is not graph:
                raise fail(step, f"%{value.index} belongs to another graph")
            if value not in known:
                raise fail(step, f"%{value.index} is read before it is made")
        elif isinstance(value, np.ndarray):
            if step is not None and value.base is not None and value.flags.writeable:
                raise fail(step, "a constant is a view of memory that others can write")
        elif not isinstance(value, np.generic | bool | int | float | complex):
            raise fail(step, f"{value!r} is no operand")

    indices: set[int] = set()
    for symbol in graph.inputs:
        define(symbol, None)
    for step in graph.instructions:
        if getattr(step.op, "name", None) not in TABLE:
            raise fail(None, f"{step.op!r} is not in the table")
        for arg in step.args:
            check(arg, step)
        for inner in subgraphs(step.params):
            verify(inner, after)
        if reason := misuse(step.op, len(step.args), step.params):
            raise fail(step, reason)
        try:
            specs = step.op.shape(*(arg if is_number(arg) else spec_of(arg) for arg in step.args), **step.params)
        except Exception as error:
            raise fail(step, f"the operands do not fit ({type(error).__name__}: {error})") from error
        if isinstance(specs, list) != step.op.several:
            raise fail(step, f"{step.op.name} has {'several results' if step.op.several else 'one result'}")
        specs = specs if isinstance(specs, list) else [specs]
        if len(specs) != len(step.outputs):
            raise fail(step, f"there are {len(specs)} results, {len(step.outputs)} are named")
        for spec, symbol in zip(specs, step.outputs, strict=True):
            define(symbol, step)
            if symbol.spec != spec:
                raise fail(step, f"%{symbol.index} is {symbol.spec}, it should be {spec}")
    for output in graph.outputs:
        check(output, None)


@functools.cache
def _signature(evaluate: Any) -> inspect.Signature | None:
    """The signature of an evaluation; None for functions of NumPy's that don't tell theirs."""
    try:
        return inspect.signature(evaluate)
    except (TypeError, ValueError):
        return None


def misuse(op: Op, count: int, params: Mapping[str, Any]) -> str:
    """What is wrong with applying an op to `count` operands with these parameters; "" for nothing."""
    own = (
        len(op.rules)
        if isinstance(op.rules, tuple)
        else op.evaluate.nin
        if isinstance(op.evaluate, np.ufunc)
        else count
    )
    if count != own:
        return f"{op.name} takes {own} operands, not {count}"
    signature = None if isinstance(op.evaluate, np.ufunc) else _signature(op.evaluate)
    if signature is None or isinstance(op.evaluate, np.ufunc):
        return f"{op.name} takes no parameter {next(iter(params))!r}" if params else ""
    try:
        signature.bind(*range(count), **params)
    except TypeError as error:
        wrong = [name for name in params if name not in signature.parameters]
        return f"{op.name} takes no parameter {wrong[0]!r}" if wrong else f"{op.name}: {error}"
    return ""
