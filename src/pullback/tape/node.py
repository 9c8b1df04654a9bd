"""The tape: a `Handle` is a value plus its place on the tape, a `Node` is one recorded operation.

A value is an array, or a payload of its own kind (a `Symbol` while tracing, a dual number, a batch), or the handle of an
outer level. Levels order them: with `d` transforms active outside, a handle recorded at depth `d` has level 2d+1, the
payload of the d-th transform has level 2d, and an op is bound at the highest level among its operands. What belongs to a
lower level is a constant there. This keeps nested derivatives apart.

A node holds no handle of its own result, so graphs are freed by reference counting as soon as they are dropped.
"""

from __future__ import annotations

import itertools
import linecache
import os
import sys
import weakref
from collections.abc import Callable
from types import CodeType
from typing import Any, ClassVar, NamedTuple

import numpy as np

from pullback.ops.shape import sum_to
from pullback.ops.table import NONE, SPEC, VALUE, Op
from pullback.tape.state import modes
from pullback.values.shape import Shape, spec_of

__all__ = ["LEAF", "AccumulateGrad", "Handle", "LeafMark", "Location", "Node", "Projection", "content", "leaf_mark", "new_handle", "wrap"]

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_NO_PARAMS: dict[str, Any] = {}
next_number = itertools.count(1).__next__
_getframe = sys._getframe


class _InternalFiles(dict[str, bool]):
    """Whether a source file is pullback's own, looked up by its name."""

    def __missing__(self, file: str) -> bool:
        self[file] = found = file.startswith(_ROOT)
        return found


_is_internal = _InternalFiles()


class Location(NamedTuple):
    """A line of the user's program."""

    file: str
    line: int
    function: str

    @property
    def source(self) -> str:
        return linecache.getline(self.file, self.line).strip()

    def __str__(self) -> str:
        source = self.source
        return f'"{self.file}", line {self.line}, in {self.function}' + (f": `{source}`" if source else "")


class LeafMark:
    """Stands in a handle's place on the tape for "a leaf that requires a gradient"."""

    __slots__ = ("level",)

    def __init__(self, level: int) -> None:
        self.level = level


_leaf_marks: dict[int, LeafMark] = {}


def leaf_mark(depth: int) -> LeafMark:
    """The mark of leaves made `depth` transforms deep."""
    return _leaf_marks.setdefault(depth, LeafMark(depth))


LEAF = leaf_mark(0)


class Handle:
    """A value plus its place on the tape. `pullback.Tensor` is this with its methods.

    _value    the payload: an array, a NumPy scalar (an immutable 0-dim array), or a value of another kind.
    _node     None: not tracked; a `LeafMark`: a leaf that requires a gradient; a `Node`: the op that made it.
    _version  how often the memory was written in place; a view counts on its `_base`.
    _view     for a view: `(parent, op, params)`, how it was made.
    _views    weak references to the views of this base.
    """

    _value: Any
    _node: Node | LeafMark | None = None
    _version: int = 0
    _base: Handle | None = None
    _view: tuple[Handle, Op, dict[str, Any]] | None = None
    _views: list[weakref.ref[Handle]] | None = None
    _grad: Handle | None = None
    _hooks: dict[int, Callable[[Any], Any]] | None = None

    maker: ClassVar[type[Handle]]

    @property
    def level(self) -> int:
        node = self._node
        if node is not None:
            return 2 * node.level + 1
        return getattr(self._value, "level", -1)

    @property
    def shape(self) -> Any:
        return self._value.shape

    @property
    def dtype(self) -> Any:
        return self._value.dtype

    def bind(self, op: Op, args: tuple[Any, ...], params: dict[str, Any], level: int) -> Any:
        """Apply `op` at `level`, which is this handle's and the highest among `args`."""
        if level & 1 and level > 0:
            return _record(op, args, params, level >> 1)
        if level < 0:
            return wrap(op.evaluate(*map(payload, args), **params))
        return wrap(self._value.bind(op, tuple(_lowered(a, level) for a in args), params))

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)


Handle.maker = Handle


def new_handle(value: Any, node: Node | LeafMark | None = None) -> Any:
    """A handle of the public type (`Tensor`) on a payload."""
    maker = Handle.maker
    handle = maker.__new__(maker)
    handle._value = value
    if node is not None:
        handle._node = node
    return handle


def wrap(result: Any) -> Any:
    """The result of an op as a handle, or a tuple of them."""
    if isinstance(result, tuple | list):
        return tuple(map(wrap, result))
    return result if isinstance(result, Handle) else new_handle(result)


def payload(value: Any) -> Any:
    """What a handle stands for one level down: its payload, or the handle itself if it is tracked."""
    if isinstance(value, Handle) and value._node is None:
        return value._value
    return value


def content(handle: Handle) -> Any:
    """What a dual number or a batch holds of a handle: its bare array, if that is all it is, else the handle."""
    value = handle._value
    return value if handle._node is None and isinstance(value, np.ndarray | np.generic) else handle


def strip(handle: Handle) -> Any:
    """A handle on the same payload that is not tracked at its own level."""
    value = handle._value
    return value if isinstance(value, Handle) else new_handle(value)


def _lowered(arg: Any, level: int) -> Any:
    if isinstance(arg, Handle) and arg._node is None:
        value = arg._value
        found = getattr(value, "level", -1)
        if found in (level, -1):
            return value
    return arg


def version_of(handle: Handle) -> int:
    base = handle._base
    return handle._version if base is None else base._version


class Node:
    """A recorded operation: where cotangents go (`edges`) and what the backward pass reads (`saved`).

    An edge is the `Node` of an operand, the handle of a leaf operand, or None. `saved` is aligned with the rule's
    arguments, `(y, *xs)`: a payload for `y`, and for each operand a handle, a number, a `Spec` or None.
    """

    params: dict[str, Any] = _NO_PARAMS
    shapes: tuple[Shape, ...] | None = None
    level: int = 0
    hooks: dict[int, Callable[[Any], Any]] | None = None
    output: tuple[weakref.ref[Handle], int] | None = None

    def __init__(
        self,
        op: Any,
        edges: tuple[Node | Handle | None, ...],
        saved: tuple[Any, ...] | None,
        versions: tuple[int, ...] | None,
        depth: int = 2,
    ) -> None:
        self.op = op
        self.edges = edges
        self.saved = saved
        self.versions = versions
        self.seq = next_number()
        frame = _getframe(depth)
        code: CodeType = frame.f_code
        while _is_internal[code.co_filename] and frame.f_back is not None:
            frame = frame.f_back
            code = frame.f_code
        self.code = code
        self.lasti = frame.f_lasti

    # What PyTorch shows of a node.

    def name(self) -> str:
        """The node's name, PyTorch's where PyTorch has the op: `MulBackward0`."""
        return str(self.op.title)

    def __repr__(self) -> str:
        return f"<{self.name()} object at {hex(id(self))}>"

    @property
    def next_functions(self) -> tuple[tuple[Node | AccumulateGrad | None, int], ...]:
        """For each operand the node its cotangent goes to and which of that node's results it was."""
        return tuple(_next_function(edge) for edge in self.edges)

    @property
    def location(self) -> Location:
        """The user's line that recorded the operation."""
        line = next((n for start, end, n in self.code.co_lines() if start <= self.lasti < end and n), 0)
        return Location(self.code.co_filename, line, self.code.co_name)

    def register_hook(self, hook: Callable[[Any], Any]) -> HookHandle:
        """Call `hook(cotangent)` when the cotangent of the node's result is complete; a result replaces it."""
        if self.hooks is None:
            self.hooks = {}
        return HookHandle(self.hooks, hook)

    # The backward step.

    def unpack(self, lift: bool, create_graph: bool) -> list[Any]:
        """The saved `(y, *xs)` as the rule wants them: arrays, or handles if `lift`.

        Raises `RuntimeError` if they were freed, or changed in place since they were saved.
        """
        if self.saved is None:
            raise RuntimeError(
                f"Trying to backward through the graph a second time: what {self.name()} (recorded at {self.location}) "
                "had saved was freed by the first backward. Pass retain_graph=True to the first one if you need two."
            )
        if self.output is not None:
            ref, version = self.output
            holder = ref()
            if holder is not None and holder._version != version:
                self._modified("its own result", self.saved[0], version, holder._version)
        values = []
        for item, version in zip(self.saved, self.versions, strict=True) if self.versions else ((x, 0) for x in self.saved):
            if isinstance(item, Handle):
                base = item._base
                now = item._version if base is None else base._version
                if now != version:
                    self._modified(f"operand {len(values) - 1}", item, version, now)
                if not lift:
                    item = item._value
                elif not create_graph and item._node is not None and item._node.level == self.level:
                    item = strip(item)
            elif lift and values and isinstance(item, np.ndarray | np.generic):
                item = new_handle(item)
            values.append(item)
        if lift and values[0] is not None:
            y = values[0]
            values[0] = new_handle(y, self) if create_graph else (y if isinstance(y, Handle) else new_handle(y))
        return values

    def _modified(self, what: str, value: Any, expected: int, found: int) -> None:
        raise RuntimeError(
            "one of the variables needed for gradient computation has been modified by an inplace operation: "
            f"{what} of {self.name()}, {spec_of(value)}, was saved at version {expected} and is at version {found} now. "
            f"The operation was recorded at {self.location}. Write to a copy (`.clone()`), or after backward()."
        )

    def pull(self, g: Any, lift: bool, create_graph: bool) -> Any:
        """Cotangents of the operands, aligned with `edges`, from the cotangent of the result.

        Works on arrays, or on handles if `lift`; with `create_graph` the handles stay tracked.
        """
        saved = self.saved
        if lift or self.output is not None or saved is None:
            values: Any = self.unpack(lift, create_graph)
        elif self.versions is None:
            values = saved
        else:
            values = []
            for item, version in zip(saved, self.versions):  # noqa: B905 (of one length since they were recorded)
                if isinstance(item, Handle):
                    base = item._base
                    if (item._version if base is None else base._version) != version:
                        self.unpack(lift, create_graph)  # raises
                    item = item._value
                values.append(item)
        rules = self.op.rules
        params = self.params
        conjugate = type(g) is not tuple and g.dtype.kind == "c"
        if conjugate:
            g = g.conj()
        if type(rules) is not tuple:
            grads: Any = rules(g, *values, **params)
        elif len(rules) == 1:
            grads = (rules[0](g, *values, **params),)
        elif len(rules) == 2 and not params:
            left, right = self.edges
            grads = (
                None if left is None else rules[0](g, *values),
                None if right is None else rules[1](g, *values),
            )
        else:
            grads = [
                None if edge is None or rule is None else rule(g, *values, **params)
                for rule, edge in zip(rules, self.edges, strict=True)
            ]
        if conjugate:
            grads = [None if d is None else d.conj() for d in grads]
        if self.shapes is not None:
            grads = [
                None if d is None else (d if d.shape == shape else sum_to(d, shape))
                for d, shape in zip(grads, self.shapes, strict=True)
            ]
        return grads

    def release(self) -> None:
        """Drop what was saved, if it holds numbers."""
        if self.versions is not None or self.output is not None:
            self.saved = None








class Projection(Node):
    """The place on the tape of one result of an op with several."""

    def __init__(self, source: Node, index: int, count: int) -> None:
        super().__init__(source.op, (source,), (), None)
        self.level = source.level
        self.index = index
        self.count = count

    def pull(self, g: Any, lift: bool, create_graph: bool) -> Any:
        return [tuple(g if i == self.index else None for i in range(self.count))]


class AccumulateGrad:
    """The end of the graph at a leaf: adds what arrives to `variable.grad`."""

    __slots__ = ("variable",)

    def __init__(self, variable: Handle) -> None:
        self.variable = variable

    def name(self) -> str:
        return "torch::autograd::AccumulateGrad"

    next_functions: ClassVar[tuple[()]] = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AccumulateGrad) and other.variable is self.variable

    def __hash__(self) -> int:
        return id(self.variable)

    def __repr__(self) -> str:
        return f"<AccumulateGrad object at {hex(id(self.variable))}>"


def _next_function(edge: Node | Handle | None) -> tuple[Node | AccumulateGrad | None, int]:
    if isinstance(edge, Handle):
        return AccumulateGrad(edge), 0
    if isinstance(edge, Projection):
        source = edge.edges[0]
        assert isinstance(source, Node)
        return source, edge.index
    return edge, 0


class HookHandle:
    """A registered hook; `remove()` takes it off."""

    __slots__ = ("hooks", "key")

    def __init__(self, hooks: dict[int, Callable[[Any], Any]], hook: Callable[[Any], Any]) -> None:
        self.hooks = hooks
        self.key = next_number()
        hooks[self.key] = hook

    def remove(self) -> None:
        self.hooks.pop(self.key, None)


# Recording


def edge_of(handle: Any) -> Node | Handle | None:
    node = handle._node
    return handle if type(node) is LeafMark else node


def is_inexact(value: Any) -> bool:
    return value.dtype.kind in "fc"


def _snapshot(arg: Any) -> Any:
    """An operand to save. Arrays are saved with their memory, whose writes are counted; a payload of another kind never
    changes, but its handle may move to another, so the handle is copied."""
    if isinstance(arg, Handle) and type(arg._node) is not LeafMark and not isinstance(arg._value, np.ndarray | np.generic):
        return new_handle(arg._value, arg._node)
    return arg


def make_node(op: Op, args: tuple[Any, ...], params: dict[str, Any], y: Any, level: int) -> Node | None:
    """The node of `y = op(*args, **params)`, or None if no operand tracked at `level` has a derivative there."""
    if op.family == "nondifferentiable":
        return None
    edges: list[Node | Handle | None] = []
    per_operand = type(op.rules) is tuple
    for i, arg in enumerate(args):
        place = arg._node if isinstance(arg, Handle) else None
        if place is None or place.level != level or (per_operand and op.rules[i] is None):  # type: ignore[index]
            edges.append(None)
        else:
            edges.append(arg if type(place) is LeafMark else place)
    tracked = tuple([edge is not None for edge in edges])
    if True not in tracked:
        return None
    needs = op.needs(tracked)
    saved: list[Any] = [y if needs[0] == VALUE else None]
    versions = None
    for arg, need in zip(args, needs[1:], strict=True):
        saved.append(None if need == NONE else spec_of(arg) if need == SPEC else _snapshot(arg))
    if VALUE in needs[1:]:
        versions = (0, *[version_of(item) if isinstance(item, Handle) else 0 for item in saved[1:]])
    node = Node(op, tuple(edges), tuple(saved), versions, depth=3)
    if params:
        node.params = params
    if level:
        node.level = level
    if op.is_elementwise:
        found = tuple([np.shape(arg) if not isinstance(arg, Handle) else arg._value.shape for arg in args])
        if any(shape != y.shape for shape in found):
            node.shapes = found
    return node


def _record(op: Op, args: tuple[Any, ...], params: dict[str, Any], level: int) -> Any:
    inner = tuple(
        [
            _below(arg) if isinstance(arg, Handle) and arg._node is not None and arg._node.level == level else arg
            for arg in args
        ]
    )
    # In the thread's ordinary mode every payload is an array, so there is no lower level to dispatch to.
    y = op.evaluate(*map(payload, inner), **params) if modes.fast else op(*inner, **params)
    return place(op, args, params, y, level) if modes.grad else wrap(y)


def _below(handle: Handle) -> Any:
    value = handle._value
    if isinstance(value, np.ndarray | np.generic | Handle):
        return value
    return new_handle(value)


def place(op: Op, args: tuple[Any, ...], params: dict[str, Any], y: Any, level: int) -> Any:
    """Handles on the result `y` of an op, placed on the tape of `level`."""
    node = make_node(op, args, params, y if isinstance(y, tuple) else payload(y), level)
    if node is None:
        return wrap(y)
    return attach(node, y)


def attach(node: Node, y: Any) -> Any:
    """Handles on the payload(s) `y` whose place on the tape is `node`."""
    if isinstance(y, tuple | list):
        return tuple(
            [
                new_handle(payload(part), Projection(node, i, len(y)) if is_inexact(part) else None)
                for i, part in enumerate(y)
            ]
        )
    handle = new_handle(payload(y), node)
    if node.saved and node.saved[0] is not None:
        node.output = (weakref.ref(handle), 0)
    return handle
