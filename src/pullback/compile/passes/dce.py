"""Dead code: instructions whose results nobody reads are left out."""

from __future__ import annotations

from pullback.compile.passes.rewrite import Rewrite, has_effect
from pullback.values.graph import Graph, Instruction, Symbol

__all__ = ["dce"]


def dce(graph: Graph) -> Graph:
    """The graph without the instructions that no output and no effect depends on.

    No number changes: what is left out is never read. Inputs stay, read or not: they are the calling convention.
    """
    live = {value for value in graph.outputs if type(value) is Symbol}
    kept = []
    for step in reversed(graph.instructions):
        if not live.isdisjoint(step.outputs) or has_effect(step.op):
            live.update([arg for arg in step.args if type(arg) is Symbol])
            kept.append(step)
    if len(kept) == len(graph.instructions):
        return graph
    new = Rewrite(graph, {})
    values = new.values
    for step in reversed(kept):
        args = tuple([values[arg] if type(arg) is Symbol else arg for arg in step.args])
        new.enter(step.outputs, new.append(Instruction(step.op, args, step.params, step.outputs)))
    return new.finish(graph)
