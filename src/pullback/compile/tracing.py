"""Tracing a function to compile it: one run on symbols, and all that it did."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from pullback.compile.autograd import Joint, cotangents
from pullback.compile.call import Layout, laid_out
from pullback.compile.capture import Cell, Guard, Put, Tracer, Untraceable, is_tensor_cell
from pullback.compile.signature import Signature
from pullback.tape.node import Handle, leaf_mark, new_handle
from pullback.tape.state import modes, tracing
from pullback.tensor.conversion import PlainNumbersError
from pullback.transforms.lifting import run_program, to_handle
from pullback.transforms.tree import Tree
from pullback.values.graph import Graph, Symbol
from pullback.values.shape import Spec

__all__ = ["NeedsInteger", "Refused", "Traced", "trace"]


class Refused(Untraceable):
    """A function does something that can't be compiled; why."""


class Traced(NamedTuple):
    """A function traced at one kind of arguments.

    graph      inputs: the dynamic arguments, then the cells; outputs: so many `results`, what is written, gradients.
    written    outputs that go back into an input, by number.
    gradients  leaves and the output that is their `.grad` now (None: it was dropped).
    puts       outputs that a name outside is bound to, by number.
    tensors    whether the results are Tensors.
    joint      the cotangents of what requires gradients: the arguments `tracked`, by number, then the `captured`.
    """

    graph: Graph
    results: int
    layout: Layout
    cells: list[Cell]
    guards: list[Guard]
    written: dict[int, int]
    gradients: list[tuple[Any, int | None]]
    puts: dict[int, Put]
    tensors: bool
    joint: Joint | None
    tracked: list[int]
    captured: list[Any]


class NeedsInteger(Exception):
    """The value of an integer argument is needed while tracing."""

    def __init__(self, position: int) -> None:
        self.position = position


def trace(f: Callable[..., Any], leaves: list[Any], tree: Tree, signature: Signature) -> Traced:
    """Run `f` on symbols. What it has changed outside is put back, errors included."""
    graph = Graph(threading.get_ident())
    tracer = Tracer(graph)
    dynamic = signature.dynamic
    handles = []
    inner = list(leaves)
    for i in dynamic:
        value = to_handle(leaves[i])._value
        spec = Spec(tuple(value.shape), value.dtype.newbyteorder("="))
        symbol = graph.input(spec, type(leaves[i]) in (bool, int, float))
        inner[i] = handle = new_handle(symbol, leaf_mark(0) if i in signature.tracked else None)
        handle._made = tracer
        handles.append(handle)
    given = [handle._value for handle in handles]
    args, kwargs = tree.unflatten(inner)
    operands = [leaves[i] for i in dynamic] or [new_handle(np.float32(0))]
    joint = None
    try:
        with tracing(tracer):
            try:
                result = run_program(f, args, kwargs, operands)
                results, layout = laid_out(result, zip(dynamic, handles, strict=True))
            except (PlainNumbersError, TypeError):  # also of code that takes an integer apart in its own way
                needed = next((i for i in dynamic if type(leaves[i]) is int), None)
                if needed is not None:
                    raise NeedsInteger(needed) from None
                raise
            captured = [cell.handle for cell in tracer.cells if cell.kind == "handle" and cell.node is not None]
            if modes.grad:
                joint = cotangents(graph, results, [h for h in handles if h._node is not None] + captured)
    finally:
        tracer.settle()
    if tracer.rescheduled:
        raise TypeError(
            "a compiled function can't change the learning rate: it is read at each call, so call scheduler.step() "
            "after the compiled function, outside of it"
        )
    if tracer.refusal:
        raise Refused(tracer.refusal)
    graph.outputs = [_payload(out) for out in results]
    stores: dict[int, int] = {}
    for i, (handle, symbol) in enumerate(zip(handles, given, strict=True)):
        if handle._value is not symbol and isinstance(leaves[dynamic[i]], Handle | np.ndarray):
            stores[len(graph.outputs)] = i
            graph.outputs.append(_payload(handle))
    for cell in tracer.written:
        stores[len(graph.outputs)] = len(handles) + tracer.cells.index(cell)
        graph.outputs.append(_payload(cell.written))
    gradients: list[tuple[Any, int | None]] = []
    for leaf, grad in tracer.gradients:
        gradients.append((leaf, None if grad is None else len(graph.outputs)))
        if grad is not None:
            graph.outputs.append(_payload(grad))
    puts: dict[int, Put] = {}
    for put in tracer.puts:
        puts[len(graph.outputs)] = put
        graph.outputs.append(_payload(put.value))
    tensors = any(isinstance(leaves[i], Handle) for i in dynamic) or any(map(is_tensor_cell, tracer.cells))
    tensors = tensors or not graph.inputs
    return Traced(
        graph,
        len(results),
        layout,
        tracer.cells,
        tracer.guards,
        stores,
        gradients,
        puts,
        tensors,
        joint,
        [k for k, i in enumerate(dynamic) if i in signature.tracked],
        captured,
    )


def _payload(value: Any) -> Any:
    """What is under a handle: a symbol, or an array."""
    while isinstance(value, Handle):
        value = value._value
    return value if isinstance(value, Symbol) else np.array(value)
