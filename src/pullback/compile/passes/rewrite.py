"""Rewriting: a graph built anew out of another one, through rules for single instructions.

A rule sees an instruction whose operands are those of the new graph already, and gives what stands for its result, or
None to keep it. Passes never change the graph they are given; where nothing fires they return it as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from pullback.ops.table import TABLE
from pullback.values.graph import Graph, Instruction, Symbol
from pullback.values.shape import spec_of

__all__ = [
    "Pass",
    "Rewrite",
    "Rule",
    "has_effect",
    "is_literal",
    "is_number",
    "rewrite",
    "shape_of",
    "subgraphs",
    "uses",
]

Rule = Callable[["Rewrite", Instruction], Any]
_NUMBERS: Final = (bool, int, float, complex)


class _Fired(Exception):
    """A rule of a trial wants to append."""


class Pass(NamedTuple):
    """A named rewrite of a graph."""

    name: str
    function: Callable[[Graph], Graph]


class Rewrite:
    """A graph in the making.

    values   what stands for each symbol of the source: a symbol of the new graph or a constant.
    makers   the instruction that makes a symbol of the new graph.
    trial    nothing is appended: rules see the source, and the first that fires says so by `_Fired` or its result.
    """

    __slots__ = ("graph", "makers", "rules", "trial", "values")

    def __init__(self, source: Graph, rules: Mapping[str, Rule], trial: bool = False) -> None:
        self.trial = trial
        self.graph = source if trial else Graph()
        self.rules = rules
        self.values: dict[Symbol, Any] = {}
        if not trial:
            self.values.update((symbol, self.graph.input(symbol.spec, symbol.weak)) for symbol in source.inputs)
        self.makers: dict[Symbol, Instruction] = {}

    def read(self, value: Any) -> Any:
        """What stands for an operand of the source."""
        return self.values[value] if type(value) is Symbol else value

    def enter(self, outputs: tuple[Symbol, ...], result: Any) -> None:
        """Have `result`, a value or the tuple of several, stand for these symbols of the source."""
        if type(result) is tuple:
            self.values.update(zip(outputs, result, strict=True))
        else:
            self.values[outputs[0]] = result

    def finish(self, source: Graph) -> Graph:
        """The new graph, complete with what stands for the outputs of the source."""
        self.graph.outputs = [self.read(value) for value in source.outputs]
        return self.graph

    def maker(self, value: Any, name: str | None = None) -> Instruction | None:
        """The instruction of the new graph that makes `value`, if there is one, and if it applies the op `name`."""
        step = self.makers.get(value) if type(value) is Symbol else None
        return step if step is not None and (name is None or step.op.name == name) else None

    def apply(self, name: str, *args: Any, **params: Any) -> Any:
        """Append the op `name`, or what its rule makes of it; return the result, or the tuple of results."""
        op = TABLE[name]
        specs = op.shape(*(arg if type(arg) in _NUMBERS else spec_of(arg) for arg in args), **params)
        found = specs if isinstance(specs, list) else [specs]
        return self.add(Instruction(op, args, params, tuple(Symbol(self.graph, -1, spec) for spec in found)))

    def add(self, step: Instruction) -> Any:
        """Append an instruction on values of the new graph, whose outputs say the specs, unless its rule replaces it;
        return the result, or the tuple of results if the op has several."""
        rule = self.rules.get(step.op.name)
        if rule is not None:
            result = rule(self, step)
            if result is not None:
                return result
        return self.append(step)

    def append(self, step: Instruction) -> Any:
        """Append an instruction of the caller's, whose outputs say the specs: they become symbols of the new graph."""
        if self.trial:
            raise _Fired
        graph, makers = self.graph, self.makers
        outputs = step.outputs = tuple([graph._symbol(symbol.spec) for symbol in step.outputs])
        graph.instructions.append(step)
        for symbol in outputs:
            makers[symbol] = step
        return outputs if step.op.several else outputs[0] if outputs else ()

    def inline(self, graph: Graph, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Append all of another graph, applied to values of this one; return what stands for its outputs."""
        known: dict[Symbol, Any] = dict(zip(graph.inputs, args, strict=True))

        def read(value: Any) -> Any:
            return known[value] if type(value) is Symbol else value

        for step in graph.instructions:
            result = self.add(Instruction(step.op, tuple(map(read, step.args)), step.params, step.outputs))
            known.update(zip(step.outputs, result if type(result) is tuple else (result,), strict=True))
        return tuple(map(read, graph.outputs))


def rewrite(source: Graph, rules: Mapping[str, Rule], default: Rule | None = None) -> Graph:
    """The graph with `rules`, by the name of the op, applied to its instructions in order, and to what they append.

    `default` is the rule of instructions of the source that have none of their own.
    """
    if not _fires(source, rules, default):
        return source
    new = Rewrite(source, rules)
    values, append, enter = new.values, new.append, new.enter
    for step in source.instructions:
        args = tuple([values[arg] if type(arg) is Symbol else arg for arg in step.args])
        candidate = Instruction(step.op, args, step.params, step.outputs)
        rule = rules.get(step.op.name, default)
        result = None if rule is None else rule(new, candidate)
        enter(step.outputs, append(candidate) if result is None else result)
    return new.finish(source)


def _fires(source: Graph, rules: Mapping[str, Rule], default: Rule | None) -> bool:
    """Whether a rule fires at all: cheaper found out than a graph is built that is the same."""
    trial = Rewrite(source, rules, trial=True)
    makers = trial.makers
    try:
        for step in source.instructions:
            rule = rules.get(step.op.name, default)
            if rule is not None and rule(trial, step) is not None:
                return True
            for symbol in step.outputs:
                makers[symbol] = step
    except _Fired:
        return True
    return False


def has_effect(op: Any) -> bool:
    """Whether the op does more than compute: such instructions are never removed, merged or moved."""
    return bool(getattr(op, "effect", False))


def is_number(value: Any) -> bool:
    """Whether an operand is a Python number, whose dtype follows the other operands."""
    return type(value) in _NUMBERS


def is_literal(value: Any) -> bool:
    """Whether an operand is a number known now: a Python number, a NumPy scalar or an array without axes."""
    return type(value) in _NUMBERS or isinstance(value, np.generic) or (type(value) is np.ndarray and not value.ndim)


def shape_of(value: Any) -> tuple[int, ...]:
    """The shape of an operand, () for a Python number."""
    return () if type(value) in _NUMBERS else tuple(value.shape)


def uses(graph: Graph) -> dict[Symbol, int]:
    """How often each symbol is read, the program's results included."""
    count: dict[Symbol, int] = {}
    for step in graph.instructions:
        for arg in step.args:
            if type(arg) is Symbol:
                count[arg] = count.get(arg, 0) + 1
    for output in graph.outputs:
        if type(output) is Symbol:
            count[output] = count.get(output, 0) + 1
    return count


def subgraphs(value: Any) -> Iterator[Graph]:
    """The graphs within a parameter, or within all of an instruction's parameters."""
    if isinstance(value, Graph):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from subgraphs(part)
    elif isinstance(value, tuple | list):
        for part in value:
            yield from subgraphs(part)
