"""The tape: a `Handle` is a value plus its place on the tape, a `Node` is one recorded operation.

A value is an array, or a payload of its own kind (a `Symbol` while tracing, a dual number, a batch), or the handle of
an outer level. Levels order them: with `d` transforms active outside, a handle recorded at depth `d` has level 2d+1,
the payload of the d-th transform has level 2d, and an op is bound at the highest level among its operands. What belongs
to a lower level is a constant there. This keeps nested derivatives apart.

A node holds no handle of its own result, so graphs are freed by reference counting as soon as they are dropped.
"""

from __future__ import annotations

import itertools
import sys
import weakref
from collections.abc import Callable, Sequence
from types import CodeType
from typing import Any, ClassVar

import numpy as np

from pullback.ops.control import gate
from pullback.ops.kernels import MANY
from pullback.ops.shape import sum_to
from pullback.ops.table import NONE, SPEC, VALUE, Op
from pullback.tape.hooks import HookHandle
from pullback.tape.location import Location, is_internal
from pullback.tape.memory import Lent, earlier, keep, version_of
from pullback.tape.state import TRACING, modes
from pullback.values.shape import Shape, Spec, broadcast_shapes, spec_of

__all__ = [
    "FLOAT32",
    "FLOAT64",
    "LEAF",
    "AccumulateGrad",
    "Edge",
    "Handle",
    "LeafMark",
    "Location",
    "Node",
    "Projection",
    "content",
    "leaf_mark",
    "make",
    "make_leaf",
    "new_handle",
    "set_node",
    "version_of",
    "wrap",
]

_ONE_TRACKED = (True,)
_NO_PARAMS: dict[str, Any] = {}
next_number = itertools.count(1).__next__
_getframe = sys._getframe
make = object.__new__
FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)  # to compare by identity: `.kind` costs a string


_user_code: CodeType | None = None  # the last code seen that is not pullback's own: loops need no look-up


class LeafMark:
    """Stands in a handle's place on the tape for "a leaf that requires a gradient".

    The leaves that a transform makes have a mark of their own, with the record number they were made at; 0 for others.
    """

    __slots__ = ("level", "since")

    def __init__(self, level: int, since: int = 0) -> None:
        self.level = level
        self.since = since


_leaf_marks: dict[int, LeafMark] = {}


def leaf_mark(depth: int) -> LeafMark:
    """The mark of leaves made `depth` transforms deep."""
    return _leaf_marks.setdefault(depth, LeafMark(depth))


LEAF = leaf_mark(0)


def make_leaf(handle: Handle) -> None:
    """Have `handle` require a gradient, as a leaf of the present depth."""
    handle._node = leaf_mark(modes.depth)
    # What a descent reads of it at every step is set here, though the class has it: Python finds that much quicker.
    handle._grad, handle._hooks, handle._after = handle._grad, handle._hooks, handle._after
    handle._version, handle._base = handle._version, handle._base


class Handle:
    """A value plus its place on the tape. `pullback.Tensor` is this with its methods.

    _value    the payload: an array, a NumPy scalar (an immutable 0-dim array), or a value of another kind.
    _node     None: not tracked; a `LeafMark`: a leaf that requires a gradient; a `Node`: the op that made it.
    _version  how often the memory was written in place; a view counts on its `_base`.
    _kept     whether a node reads this value in the backward pass; what that means for writes: `tape.memory`.
    _lent     the parts of this memory that nodes read, `_earlier` values of it that nodes still read.
    _view     for a view: `(parent, op, params)`, how it was made.
    _views    weak references to the views of this base.
    _made     the tracer that it was made under: a compiled function's own, none of the state it finds.
    _hooks    called with the gradient that arrives; a result takes its place. `_after`: called when `.grad` has it.
    """

    _value: Any
    _node: Node | LeafMark | None = None
    _version: int = 0
    _kept: bool = False
    _lent: Lent | None = None
    _earlier: dict[int, Handle] | None = None
    _base: Handle | None = None
    _view: tuple[Handle, Op, dict[str, Any]] | None = None
    _views: list[weakref.ref[Handle]] | None = None
    _grad: Handle | None = None
    _made: Any = None
    _hooks: dict[int, Callable[[Any], Any]] | None = None
    _after: dict[int, Callable[[Any], Any]] | None = None

    maker: ClassVar[type[Handle]]
    rebinds: ClassVar[bool] = False  # whether it may take another array, so that saving it needs a copy of the handle

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

    def eager(self, op: Op, args: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """Apply `op` at once, and record it if the mode says so, if every payload is an array: in the thread's ordinary
        mode, or with no more than a `GradientTape` open.
        """
        taped = False
        fast = modes.fast
        if fast != 2:
            if fast:
                return wrap(op.evaluate(*[a._value if isinstance(a, Handle) else a for a in args], **params))
            tracer = modes.tracer
            if tracer is not None:
                for arg in args:
                    if isinstance(arg, Handle):
                        tracer.lift(arg)
                return NotImplemented
            taped = modes.session is not None and modes.grad and not modes.depth
            if not taped:
                return NotImplemented
        if len(args) > 1:
            try:
                y = op.evaluate(*[a._value if isinstance(a, Handle) else a for a in args], **params)
            except ValueError:
                if op.is_elementwise:  # if it was the shapes, say so in tensors' terms
                    broadcast_shapes(*[tuple(a.shape) for a in args if not isinstance(a, int | float | complex)])
                raise
            node = make_node(op, args, params, y, 0)
            return wrap(y) if node is None else attach(node, y)
        x = self._value
        y = op.evaluate(x, **params)
        place: Any = self._node
        if place is None or taped or op.family == "nondifferentiable" or type(y) is tuple:
            node = None if place is None else make_node(op, args, params, y, 0)
            return wrap(y) if node is None else attach(node, y)
        need_y, need_x = op.needs(_ONE_TRACKED)
        versions = None
        saved: Any = None
        if need_x == SPEC:
            saved = tuple.__new__(Spec, (x.shape, x.dtype))  # a third of the time of Spec(...)
        elif need_x:
            saved, version = keep(self)
            versions = (0, version)
        node = set_node(
            make(Node),
            op,
            (self if type(place) is LeafMark else place,),
            (y if need_y else None, saved),
            versions,
            params,
        )
        maker = Handle.maker
        result: Any = make(maker)
        result._value = y
        result._node = node
        result._version = 0
        result._base = None
        if need_y:
            result._kept = True
            node.output = (weakref.ref(result), 0)
        return result

    def bind(self, op: Op, args: tuple[Any, ...], params: dict[str, Any], level: int) -> Any:
        """Apply `op` at `level`, which is this handle's and the highest among `args`."""
        if level & 1 and level > 0:
            return _record(op, args, params, level >> 1)
        if level < 0:
            return wrap(op.evaluate(*map(payload, args), **params))
        return wrap(self._value.bind(op, tuple(_lowered(a, level) for a in args), params))


Handle.maker = Handle


def new_handle(value: Any, node: Node | LeafMark | None = None) -> Any:
    """A handle of the public type (`Tensor`) on a payload."""
    maker = Handle.maker
    handle: Any = make(maker)
    handle._value = value
    handle._version = 0  # set, though the class has them: Python finds what an instance has much quicker
    handle._base = None
    if node is not None:
        handle._node = node
    if TRACING and modes.tracer is not None:
        handle._made = modes.tracer
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


class Node:
    """A recorded operation: where cotangents go (`edges`) and what the backward pass reads (`saved`).

    An edge is the `Node` of an operand, the handle of a leaf operand, or None. `saved` is aligned with the rule's
    arguments, `(y, *xs)`: a payload for `y`, and for each operand a handle, a number, a `Spec` or None.
    """

    __slots__ = (
        "__weakref__",
        "code",
        "edges",
        "hooks",
        "lasti",
        "level",
        "op",
        "output",
        "params",
        "saved",
        "seq",
        "shapes",
        "versions",
    )

    op: Any
    edges: tuple[Node | Handle | None, ...]
    saved: tuple[Any, ...] | None
    versions: tuple[int, ...] | None
    params: dict[str, Any]
    shapes: tuple[Shape, ...] | None  # of the operands, where they were broadcast
    output: tuple[Callable[[], Handle | None], int] | None  # whose memory `saved[0]` is, and its version
    hooks: dict[int, Callable[[Any], Any]] | None
    level: int
    seq: int  # the record number: higher than those of the operands
    code: CodeType  # with `lasti`, the user's line
    lasti: int

    def __init__(
        self,
        op: Any,
        edges: tuple[Node | Handle | None, ...],
        saved: tuple[Any, ...] | None,
        versions: tuple[int, ...] | None,
        params: dict[str, Any] = _NO_PARAMS,
        level: int = 0,
    ) -> None:
        set_node(self, op, edges, saved, versions, params, level)

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

    def arrays(self) -> Sequence[Any]:
        """The saved `(y, *xs)` as arrays.

        Raises `RuntimeError` if they were freed, or changed in place since they were saved.
        """
        saved = self.saved
        if saved is None or self.output is not None:
            saved = self._checked()
        versions = self.versions
        if versions is None:
            return saved
        if len(saved) == 3:  # two operands, written out as in `pull`
            y, a, b = saved
            _, version_a, version_b = versions
            if isinstance(a, Handle):
                base = a._base
                if (a._version if base is None else base._version) != version_a:
                    a = self._as_saved("operand 0", a, version_a)
                a = a._value
            if isinstance(b, Handle):
                base = b._base
                if (b._version if base is None else base._version) != version_b:
                    b = self._as_saved("operand 1", b, version_b)
                b = b._value
            return y, a, b
        values: list[Any] = []
        for item, version in zip(saved, versions):
            if isinstance(item, Handle):
                base = item._base
                if (item._version if base is None else base._version) != version:
                    item = self._as_saved(f"operand {len(values) - 1}", item, version)
                item = item._value
            values.append(item)
        return values

    def handles(self, create_graph: bool) -> Sequence[Any]:
        """The saved `(y, *xs)` as handles: tracked with `create_graph`, else not at this node's level.

        Raises as `arrays` does.
        """
        saved = self._checked()
        values: list[Any] = []
        for item, version in zip(saved, self.versions or (0,) * len(saved), strict=True):
            if isinstance(item, Handle):
                if version_of(item) != version:
                    item = self._as_saved(f"operand {len(values) - 1}", item, version)
                if not create_graph and item._node is not None and item._node.level == self.level:
                    item = strip(item)
            elif isinstance(item, np.ndarray | np.generic):
                item = new_handle(item)
            values.append(item)
        y = saved[0]
        if type(y) is tuple:
            values[0] = tuple(
                [
                    new_handle(part, Projection(self, i, len(y)) if create_graph and is_inexact(part) else None)
                    for i, part in enumerate(y)
                ]
            )
        elif y is not None:
            values[0] = new_handle(y, self) if create_graph else (y if isinstance(y, Handle) else new_handle(y))
        return values

    def _checked(self) -> tuple[Any, ...]:
        """What was saved, if it is still there and the result, if that is part of it, still has its value."""
        saved = self.saved
        if saved is None:
            raise RuntimeError(
                f"Trying to backward through the graph a second time: what {self.name()} (recorded at {self.location}) "
                "had saved was freed by the first backward. Pass retain_graph=True to the first one if you need two."
            )
        if self.output is not None:
            ref, version = self.output
            holder = ref()
            if holder is not None and holder._version != version and isinstance(saved[0], np.ndarray | np.generic):
                self._as_saved("its own result", holder, version)  # if it is still there: `saved[0]` is its memory
        return saved

    def _as_saved(self, what: str, handle: Handle, version: int) -> Handle:
        """The value that a handle had at an earlier version. Raises `RuntimeError` if a write has destroyed it."""
        found = earlier(handle, version)
        if found is None:
            self._modified(what, handle, version, version_of(handle))
        assert found is not None
        return found

    def _modified(self, what: str, value: Any, expected: int, found: int) -> None:
        raise RuntimeError(
            "one of the variables needed for gradient computation has been modified by an inplace operation: "
            f"{what} of {self.name()}, {spec_of(value)}, "
            f"was saved at version {expected} and is at version {found} now. "
            f"The operation was recorded at {self.location}. Write to a copy (`.clone()`), or after backward()."
        )

    def pull(self, g: Any, lift: bool, create_graph: bool, gated: bool = False) -> Any:
        """Cotangents of the operands, aligned with `edges`, from the cotangent of the result.

        Works on arrays, or on handles if `lift`; with `create_graph` the handles stay tracked. If `gated`, an
        elementwise op turns a cotangent of 0 into cotangents of 0, whatever its slopes.
        """
        op = self.op
        rules = op.rules
        params = self.params
        values: Any = self.saved
        if lift:
            values = self.handles(create_graph)
        elif self.versions is not None or self.output is not None or values is None:
            values = self.arrays()
        conjugate = False
        if g.__class__ is not tuple:
            dtype = g.dtype
            if dtype is not FLOAT32 and dtype is not FLOAT64 and dtype.kind == "c":
                conjugate = True
                g = g.conj()
        grads: Any
        if (
            op.kernel is not None
            and not lift
            and g.__class__ is np.ndarray
            and g.size >= MANY
            and (grads := self._at_once(op.kernel, g, values)) is not None
        ):
            pass  # all cotangents at once
        elif type(rules) is not tuple:
            grads = rules(g, *values, **params)
        elif len(rules) == 2 and not params:  # arithmetic: by far the commonest, so written out
            y, a, b = values
            left, right = self.edges
            grads = (
                None if left is None else rules[0](g, y, a, b),
                None if right is None else rules[1](g, y, a, b),
            )
        elif len(rules) == 1:
            grads = (rules[0](g, *values, **params),)
        else:
            grads = [
                None if edge is None or rule is None else rule(g, *values, **params)
                for rule, edge in zip(rules, self.edges, strict=True)
            ]
        if conjugate:
            grads = [None if d is None else d.conj() for d in grads]
        if gated and op.family == "elementwise":
            grads = [None if d is None else _gated(d, g) for d in grads]
        shapes = self.shapes
        if shapes is not None:
            grads = [
                None if d is None else (d if d.shape == shape else sum_to(d, shape))
                for d, shape in zip(grads, shapes, strict=True)
            ]
        return grads

    def _at_once(self, kernel: Any, g: Any, values: Any) -> Any:
        """What the op's kernel makes of plain arrays; None if it doesn't suit them or not all operands are tracked."""
        if self.shapes is not None or None in self.edges:
            return None
        if any(x is not None and x.__class__ is not np.ndarray for x in values[1:]):
            return None
        return kernel(g, *values, **self.params)

    def release(self) -> None:
        """Drop what was saved, if it holds numbers."""
        if self.versions is not None or self.output is not None:
            self.saved = None


def _gated(d: Any, g: Any) -> Any:
    """The cotangent d, made from g, with zeros where g has them."""
    if isinstance(d, np.ndarray | np.generic) and np.isfinite(d).all():
        return d
    return gate(d, g)


class Projection(Node):
    """The place on the tape of one result of an op with several. The walk puts its cotangent beside the others'."""

    __slots__ = ("count", "index")

    def __init__(self, source: Node, index: int, count: int) -> None:
        super().__init__(source.op, (source,), (), None, level=source.level)
        self.index = index
        self.count = count


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


Edge = Node | Handle | None

# Recording


def set_node(
    node: Node,
    op: Any,
    edges: tuple[Edge, ...],
    saved: tuple[Any, ...] | None,
    versions: tuple[int, ...] | None,
    params: dict[str, Any] = _NO_PARAMS,
    level: int = 0,
) -> Node:
    """Fill in a new node, with the user's line. `set_node(make(Node), ...)` is `Node(...)` in two thirds of the time:
    Python calls functions quicker than classes.
    """
    global _user_code
    node.op = op
    node.edges = edges
    node.saved = saved
    node.versions = versions
    node.params = params
    node.level = level
    node.seq = next_number()
    node.shapes = None
    node.output = None
    node.hooks = None
    frame = _getframe(2)
    code = frame.f_code
    if code is not _user_code:
        while is_internal[code.co_filename] and frame.f_back is not None:
            frame = frame.f_back
            code = frame.f_code
        _user_code = code
    node.code = code
    node.lasti = frame.f_lasti
    return node


def edge_of(handle: Any) -> Edge:
    """Where a cotangent of `handle` goes."""
    node: Any = handle._node
    return handle if type(node) is LeafMark else node  # type: ignore[no-any-return]


def is_inexact(value: Any) -> bool:
    return value.dtype.kind in "fc"


def _spec(arg: Any) -> Spec:
    value = arg._value if isinstance(arg, Handle) else arg
    return Spec(value.shape, value.dtype)


def snapshot(arg: Any) -> Any:
    """An operand to save. Arrays are saved with their memory, whose writes are counted; a payload of another kind never
    changes, but its handle may move to another, so the handle is copied."""
    if not isinstance(arg, Handle):
        return arg
    if arg.rebinds:
        copy = new_handle(arg._value, arg._node)
        copy._base = arg if arg._base is None else arg._base
        return copy
    if not isinstance(arg._value, np.ndarray | np.generic):
        return arg if type(arg._node) is LeafMark else new_handle(arg._value, arg._node)
    return keep(arg)[0]


def _copied(part: Any) -> Any:
    """One of several results to save: the handle on it may be written to, and nothing would tell."""
    part = payload(part)
    return part.copy() if type(part) is np.ndarray else part


def make_node(op: Op, args: tuple[Any, ...], params: dict[str, Any], y: Any, level: int) -> Node | None:
    """The node of `y = op(*args, **params)`, or None if no operand tracked at `level` has a derivative there."""
    if op.family == "nondifferentiable":
        return None
    edges: list[Node | Handle | None] = []
    per_operand = type(op.rules) is tuple
    for i, arg in enumerate(args):
        place: Any = arg._node if isinstance(arg, Handle) else None
        if place is None or place.level != level or (per_operand and op.rules[i] is None):  # type: ignore[index]
            edges.append(None)
        else:
            edges.append(arg if type(place) is LeafMark else place)
    tracked = tuple([edge is not None for edge in edges])
    if True not in tracked:
        return None
    needs = op.needs(tracked)
    if op.joint:  # it is linear in every inexact operand, tracked or not: its rules read no more than their shapes
        needs = (needs[0], *[min(n, SPEC) if is_inexact(a) else n for a, n in zip(args, needs[1:], strict=True)])
    saved: list[Any] = [None if needs[0] != VALUE else tuple(map(_copied, y)) if type(y) is tuple else y]
    versions = None
    for arg, need in zip(args, needs[1:], strict=True):
        saved.append(None if need == NONE else _spec(arg) if need == SPEC else snapshot(arg))
    if VALUE in needs[1:]:
        versions = (0, *[version_of(item) if isinstance(item, Handle) else 0 for item in saved[1:]])
    node = set_node(make(Node), op, tuple(edges), tuple(saved), versions, params, level)
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
    y = op(*inner, **params)
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
        parts = tuple(
            [
                new_handle(payload(part), Projection(node, i, len(y)) if is_inexact(part) else None)
                for i, part in enumerate(y)
            ]
        )
        for part in parts:
            note(part)
        return parts
    handle = new_handle(payload(y), node)
    if node.saved and node.saved[0] is not None:
        handle._kept = True
        node.output = (weakref.ref(handle), 0)
    note(handle)
    return handle


def note(handle: Any) -> None:
    """Let an open `GradientTape` know of a handle that was put on the tape."""
    if modes.session is not None:
        modes.session.note(handle)
