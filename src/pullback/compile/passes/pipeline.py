"""The order of the passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pullback.compile.passes.algebra import algebra
from pullback.compile.passes.cse import cse
from pullback.compile.passes.dce import dce
from pullback.compile.passes.expand import expand
from pullback.compile.passes.fold import fold
from pullback.compile.passes.layout import layout
from pullback.compile.passes.products import products
from pullback.compile.passes.rewrite import Pass, Rewrite, subgraphs
from pullback.compile.passes.scatter import scatter
from pullback.values.graph import Graph, Instruction

__all__ = ["PIPELINE", "simplify"]


def bodies(graph: Graph) -> Graph:
    """The graph with the graphs among its parameters, the bodies of loops and branches, simplified in turn."""
    if not any(next(subgraphs(step.params), None) is not None for step in graph.instructions):
        return graph
    new = Rewrite(graph, {})
    for step in graph.instructions:
        params = {name: _simplified(value) for name, value in step.params.items()}
        args = tuple(map(new.read, step.args))
        new.enter(step.outputs, new.append(Instruction(step.op, args, params, step.outputs)))
    return new.finish(graph)


def _simplified(value: Any) -> Any:
    if isinstance(value, Graph):
        return simplify(value)
    return tuple(map(_simplified, value)) if type(value) is tuple else value


_LOCAL: Final = (Pass("fold", fold), Pass("algebra", algebra), Pass("layout", layout))
PIPELINE: Final[tuple[Pass, ...]] = (
    Pass("bodies", bodies),
    Pass("expand", expand),
    Pass("dce", dce),
    Pass("cse", cse),
    *_LOCAL,
    Pass("scatter", scatter),
    *_LOCAL,
    Pass("dce", dce),
    Pass("cse", cse),
    Pass("products", products),
    Pass("dce", dce),
)


def simplify(graph: Graph, observe: Callable[[str, Graph], None] | None = None) -> Graph:
    """The graph after all passes. `observe(name, graph)` is called with what there was, as "trace", and with the graph
    after each pass, which is the same object where the pass found nothing. The graph given is not changed."""
    if observe is not None:
        observe("trace", graph)
    for name, function in PIPELINE:
        graph = function(graph)
        if observe is not None:
            observe(name, graph)
    return graph
