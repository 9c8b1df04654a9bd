"""The tape behind a result, read into plain data: what was computed, from what, and on which line."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pullback.tape.node import AccumulateGrad, Handle, Location, Node, Projection, version_of
from pullback.values.shape import Spec, broadcast_shapes

__all__ = ["Trace", "Vertex", "trace_back"]

_RAW = (np.ndarray, np.generic)


@dataclass
class Vertex:
    """An operation or a leaf of the tape.

    `shape` and `dtype` are those of its result, None where the tape does not tell. `value` is the result itself, where
    the tape still has it, and `gradient` what a leaf's `.grad` holds; neither is copied. `location` is the user's line
    that made it, None for a leaf.
    """

    number: int  # 1 is the result, then in the order of the walk
    name: str
    is_leaf: bool
    shape: tuple[int, ...] | None = None
    dtype: np.dtype[Any] | None = None
    value: Any = None
    gradient: Any = None
    location: Location | None = None
    operands: list[int] = field(default_factory=list)  # numbers of the tracked operands, in order


@dataclass
class Trace:
    """The vertices of a tape by number; the first is the result."""

    vertices: dict[int, Vertex]

    @property
    def result(self) -> Vertex:
        return self.vertices[1]

    @property
    def leaves(self) -> list[Vertex]:
        """The leaves, in the order of the walk."""
        return [v for v in self.vertices.values() if v.is_leaf]

    @property
    def edges(self) -> list[tuple[int, int]]:
        """`(operand, result)` for every operand of every operation."""
        return [(operand, v.number) for v in self.vertices.values() for operand in v.operands]


Params = Mapping[str, Any] | Iterable[tuple[str, Any]] | None


def trace_back(result: Any, params: Params = None) -> Trace:
    """The tape from `result` (a tensor, or a node of the graph) back to its leaves.

    `params` names leaves: a mapping, or pairs as `model.named_parameters()` gives; others are called `leaf 1`,
    `leaf 2`, ... Every node and every leaf is one vertex, however many operations use it. Raises `TypeError` for what
    is not on a tape.

    >>> import pullback as pb
    >>> x = pb.tensor(3.0, requires_grad=True)
    >>> trace = trace_back(x * x, {"x": x})
    >>> trace.result.name, trace.result.value, trace.leaves[0].name, trace.edges
    ('MulBackward0', np.float32(9.0), 'x', [(2, 1), (2, 1)])
    """
    root = result._node if isinstance(result, Handle) else result
    if isinstance(result, Handle) and root is not None and not isinstance(root, Node):
        root = AccumulateGrad(result)
    if isinstance(root, Projection):
        root = root.next_functions[0][0]
    if not isinstance(root, Node | AccumulateGrad):
        what = "this tensor requires no gradient" if isinstance(result, Handle) else f"got {type(result).__name__}"
        raise TypeError(f"a graph is drawn from a tensor on the tape or a node of it: {what}")
    pairs = params.items() if isinstance(params, Mapping) else params or ()
    names = {id(tensor): str(name) for name, tensor in pairs}
    unnamed = (f"leaf {i}" for i in itertools.count(1))

    vertices: dict[int, Vertex] = {}
    nodes: dict[int, Node] = {}
    numbers: dict[Any, int] = {}
    stack: list[tuple[Any, int]] = [(root, 0)]
    while stack:
        found, user = stack.pop()
        number = numbers.get(found)
        if number is None:
            number = numbers[found] = len(numbers) + 1
            if isinstance(found, AccumulateGrad):
                vertices[number] = _leaf(number, found.variable, names.get(id(found.variable)) or next(unnamed))
            else:
                vertices[number] = Vertex(number, found.name(), False, location=found.location)
                nodes[number] = found
                stack += [(operand, number) for operand, _ in reversed(found.next_functions) if operand is not None]
        if user:
            vertices[user].operands.append(number)

    if isinstance(result, Handle) and isinstance(root, Node):
        _note(vertices[1], result._value)
    _note_saved(vertices, nodes, numbers)
    for node in sorted(nodes.values(), key=lambda node: node.seq):
        vertex = vertices[numbers[node]]
        if vertex.shape is None:
            _note(vertex, _infer(node, vertices, numbers))
    return Trace(vertices)


def _leaf(number: int, variable: Any, name: str) -> Vertex:
    vertex = Vertex(number, name, True)
    _note(vertex, variable._value)
    gradient = variable._grad
    if gradient is not None and isinstance(gradient._value, _RAW):
        vertex.gradient = gradient._value
    return vertex


def _note(vertex: Vertex, value: Any) -> None:
    """Fill in what a value, or a `Spec`, tells of its vertex."""
    if value is None:
        return
    if vertex.shape is None:
        vertex.shape, vertex.dtype = tuple(value.shape), value.dtype
    if isinstance(value, _RAW):
        vertex.value = value


def _note_saved(vertices: dict[int, Vertex], nodes: dict[int, Node], numbers: dict[Any, int]) -> None:
    """Fill in what nodes have saved for the backward pass: their own results and their operands."""
    for number, node in nodes.items():
        saved = node.saved
        if not saved or not hasattr(node.op, "evaluate"):
            continue
        if isinstance(saved[0], _RAW):
            _note(vertices[number], saved[0])
        versions = node.versions or (0,) * len(saved)
        for edge, item, version in zip(node.edges, saved[1:], versions[1:]):
            if not isinstance(edge, Node) or isinstance(edge, Projection) or item is None:
                continue
            operand = vertices[numbers[edge]]
            if isinstance(item, Spec):
                _note(operand, item)
            elif isinstance(item, Handle) and version_of(item) == version:
                _note(operand, item._value)


def _infer(node: Node, vertices: dict[int, Vertex], numbers: dict[Any, int]) -> Spec | None:
    """The shape of a node's result from those of its operands, where the op's rule can tell."""
    specs: list[Any] = []
    for (operand, _), edge in zip(node.next_functions, node.edges, strict=True):
        vertex = None if operand is None or isinstance(edge, Projection) else vertices[numbers[operand]]
        known = vertex is not None and vertex.shape is not None and vertex.dtype is not None
        specs.append(Spec(vertex.shape, vertex.dtype) if known else None)  # type: ignore[union-attr,arg-type]
    first = next((spec for spec in specs if spec is not None), None)
    if first is None:
        return None
    if getattr(node.op, "is_elementwise", False):
        return Spec(broadcast_shapes(*(node.shapes or (first.shape,))), first.dtype)
    if None in specs:
        for i, item in enumerate((node.saved or (None,))[1:]):
            if specs[i] is None and isinstance(item, Handle | np.ndarray | Spec):
                specs[i] = Spec(tuple(item.shape), np.dtype(item.dtype))
    if None in specs or not callable(getattr(node.op, "shape", None)):
        return None
    found = node.op.shape(*specs, **node.params)
    return found if isinstance(found, Spec) else None
