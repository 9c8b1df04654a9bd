"""Tracing: a function run once on symbols, its operations written down as a `Graph`.

There is no second differentiation for graphs: the tape records symbols as it records arrays, so the trace of a
gradient, or of a training step with its in-place writes, is the graph of all that it computes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from pullback.tape.node import Handle, LeafMark, leaf_mark, new_handle
from pullback.tape.state import modes, nested
from pullback.transforms.lifting import run_program, to_handle
from pullback.transforms.tree import Tree, flatten
from pullback.values.graph import Graph, Symbol
from pullback.values.shape import Spec

__all__ = ["Trace", "make_graph", "trace"]


class Trace(NamedTuple):
    """The graph of a function, the containers of its arguments and results, and how to run it.

    `written[i]` is the number of the output that holds argument leaf i after the call, if the function wrote it in
    place.
    """

    graph: Graph
    in_tree: Tree
    out_tree: Tree
    written: dict[int, int]

    def __call__(self, *args: Any) -> Any:
        """Run the graph in NumPy on arguments like those it was traced with: the results, in their containers.

        Raises `TypeError` for arguments in other containers, or of other shapes or dtypes.
        """
        leaves, tree = flatten(args)
        if not tree.same_as(self.in_tree):
            raise TypeError("the arguments are not in the containers that the function was traced with")
        arrays = []
        for i, (leaf, symbol) in enumerate(zip(leaves, self.graph.inputs, strict=True)):
            value = to_handle(leaf)._value
            if (tuple(value.shape), value.dtype) != symbol.spec:
                raise TypeError(
                    f"argument {i} is {Spec(tuple(value.shape), value.dtype)}, it was traced as {symbol.spec}"
                )
            arrays.append(value)
        outputs = self.graph(*arrays)[: self.out_tree.size]
        if any(isinstance(leaf, Handle) for leaf in leaves):
            outputs = tuple(map(new_handle, outputs))
        return self.out_tree.unflatten(outputs)


def trace(f: Callable[..., Any], *args: Any) -> Trace:
    """The graph of `f` at arguments of these shapes and dtypes, nested containers of Tensors, arrays and numbers.

    `f` is run once, on Tensors that hold symbols; an argument that requires a gradient does so in the trace. Tensors
    and arrays that `f` takes from elsewhere are constants of the graph. Python's own `if` and `while` on traced values
    raise an error.

    >>> import numpy as np
    >>> import pullback as pb
    >>> traced = trace(pb.grad(lambda x: np.sum(x * x)), np.array([1.0, 2.0]))
    >>> traced(np.array([3.0, 4.0]))
    array([6., 8.])
    """
    leaves, in_tree = flatten(args)
    graph = Graph()
    with nested():
        handles = []
        for leaf in leaves:
            source = to_handle(leaf)
            symbol = graph.input(Spec(tuple(source.shape), source._value.dtype), type(leaf) in (bool, int, float))
            is_leaf = type(source._node) is LeafMark
            handles.append(new_handle(symbol, leaf_mark(modes.depth) if is_leaf else None))
        given = [handle._value for handle in handles]
        result = run_program(f, in_tree.unflatten(handles), {}, leaves)
        outs, out_tree = flatten(result)
        graph.outputs = [_symbol_or_constant(out, graph) for out in outs]
        written = {}
        for i, (handle, symbol) in enumerate(zip(handles, given, strict=True)):
            if handle._value is not symbol:
                written[i] = len(graph.outputs)
                graph.outputs.append(_symbol_or_constant(handle, graph))
    return Trace(graph, in_tree, out_tree, written)


def make_graph(f: Callable[..., Any]) -> Callable[..., Trace]:
    """A function that gives the graph of `f` at arguments like those it is called with; see `trace`.

    >>> import numpy as np
    >>> import pullback as pb
    >>> print(pb.make_graph(pb.grad(np.sin))(0.5).graph)
    graph(%0: float64[])
      %1: float64[] = sin(%0)
      %2: float64[] = cos(%0)
      %3: float64[] = mul(1.0:float64, %2)
      return %3
    """
    return lambda *args: trace(f, *args)


def _symbol_or_constant(out: Any, graph: Graph) -> Any:
    """What a result is in the graph: a symbol, through the tape's handles, or an array."""
    value = out
    while isinstance(value, Handle):
        value = value._value
    if isinstance(value, Symbol):
        if value.graph is not graph:
            raise RuntimeError(f"{value!r} belongs to another trace; return it from that one instead")
        return value
    if isinstance(value, np.ndarray | np.generic | bool | int | float | complex):
        return np.array(value)[()]
    raise TypeError(f"a traced function returns Tensors, arrays and numbers, not {type(value).__name__}")
