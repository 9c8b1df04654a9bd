"""From a graph to what is computed in loops: each value with the loops it takes and the elements it reads.

Views are gone here: a read says which element of which value, through whatever transposes, slices and broadcasts. Axes
of length 1 are gone too. What is left of a value are its *axes*, each of which is one of the loops of its *domain*; the
other loops are those it is folded over.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, NamedTuple

import numpy as np

from pullback.compile.llvm.builder import Emitter
from pullback.compile.passes.rewrite import has_effect
from pullback.ops.lowering import Element, Fold, Product, Scalar, Scan, Scatter, View
from pullback.values.graph import Graph, Instruction, Symbol
from pullback.values.shape import Shape, Spec, spec_of

__all__ = ["Access", "Axis", "Contraction", "Node", "Nodes", "Placed", "is_lowered", "row_major"]

Kind = Literal["input", "constant", "alias", "point", "element", "fold", "scan", "scatter", "product", "call", "part"]

INLINE_PRODUCT: Final = 24 * 24 * 24
"""Products of no more multiplications than this are loops among the others; larger ones are BLAS's."""


class Axis(NamedTuple):
    """An index as a function of another index tuple: start + step · i[axis], or start alone if axis is None."""

    axis: int | None
    step: int
    start: int


class Access(NamedTuple):
    """Which element of a node is read: its index along each of its axes."""

    node: Node
    at: tuple[Axis, ...]

    def then(self, outer: Sequence[Axis]) -> Access:
        """This access, whose indices are themselves given by `outer`."""
        return Access(self.node, tuple([_compose(axis, outer) for axis in self.at]))

    def strides(self, count: int) -> list[int]:
        """How far apart in memory neighbours along each of `count` indices are, in elements."""
        strides = [0] * count
        for (axis, step, _), stride in zip(self.at, row_major(self.node.extents), strict=True):
            if axis is not None:
                strides[axis] += step * stride
        return strides

    @property
    def offset(self) -> int:
        """Where in memory the index 0 is, in elements."""
        return sum(axis.start * stride for axis, stride in zip(self.at, row_major(self.node.extents), strict=True))


def _compose(axis: Axis, outer: Sequence[Axis]) -> Axis:
    if axis.axis is None:
        return axis
    inner = outer[axis.axis]
    return Axis(inner.axis, axis.step * inner.step, axis.start + axis.step * inner.start)


def _along(loop: int | None) -> Axis:
    """The index of a loop; 0 for an axis of length 1, which has none."""
    return Axis(None, 0, 0) if loop is None else Axis(loop, 1, 0)


def row_major(extents: Sequence[int]) -> list[int]:
    """The strides of a contiguous array, in elements."""
    strides = [1] * len(extents)
    for i in range(len(extents) - 2, -1, -1):
        strides[i] = strides[i + 1] * extents[i + 1]
    return strides


def _canonical(shape: Shape) -> tuple[tuple[int, ...], list[int | None]]:
    """A shape without axes of length 1, and where each axis has gone."""
    places: list[int | None] = []
    extents: list[int] = []
    for n in shape:
        places.append(None if n == 1 else len(extents))
        if n != 1:
            extents.append(n)
    return tuple(extents), places


class Node:
    """A value: where its elements come from.

    spec     its shape and dtype; `extents` are the lengths of its axes, 1s left out.
    domain   the extents of the loops it is computed in.
    axes     for each of its axes, which loop of the domain that is.
    reads    its operands: accesses by loop index (elements: by the operand's own index), or numbers.
    order    its place in the program.
    """

    __slots__ = ("axes", "contraction", "domain", "extents", "instruction", "kind", "order", "reads", "rule", "spec")

    def __init__(
        self,
        kind: Kind,
        spec: Spec,
        reads: Sequence[Any] = (),
        *,
        instruction: Instruction | None = None,
        domain: tuple[int, ...] | None = None,
        axes: tuple[int, ...] | None = None,
        rule: Any = None,
        contraction: Contraction | None = None,
    ) -> None:
        self.kind = kind
        self.spec = spec
        self.extents = _canonical(spec.shape)[0]
        self.domain = self.extents if domain is None else domain
        self.axes = tuple(range(len(self.extents))) if axes is None else axes
        self.reads = list(reads)
        self.instruction = instruction
        self.rule = rule
        self.contraction = contraction
        self.order = -1

    def __repr__(self) -> str:
        name = "" if self.instruction is None else f" {self.instruction.op.name}"
        return f"<{self.order}: {self.kind}{name} {self.spec} over {self.domain}>"

    @property
    def folded(self) -> list[int]:
        """The loops it is folded over."""
        return [a for a in range(len(self.domain)) if a not in self.axes]

    @property
    def is_folded_in_memory(self) -> bool:
        """Whether it is folded into many elements at once: it has axes inside the outermost loop it is folded over."""
        return self.kind == "fold" and any(loop > min(self.folded) for loop in self.axes)

    @property
    def nbytes(self) -> int:
        return int(self.spec.size * self.spec.dtype.itemsize)

    @property
    def loops(self) -> bool:
        """Whether it is computed in loops that can be shared with others."""
        return self.kind in ("point", "element", "fold")

    def sources(self) -> Iterable[Node]:
        """The nodes it reads."""
        return (read.node for read in self.reads if isinstance(read, Access))


@dataclass(frozen=True)
class Placed:
    """A point that depends on where it is: `rule(b, at, *xs)`, `at` the numbers of its loops."""

    rule: Callable[..., Any]


class Contraction(NamedTuple):
    """A matrix product for BLAS: extents and strides (of left, right, result) of its loops."""

    batch: tuple[tuple[int, int, int, int], ...]
    m: tuple[int, int, int]  # extent, stride in left, stride in result
    n: tuple[int, int, int]  # extent, stride in right, stride in result
    k: tuple[int, int, int]  # extent, stride in left, stride in right


def is_lowered(dtype: np.dtype[Any]) -> bool:
    """Whether numbers of this dtype have native code."""
    return dtype.isnative and (dtype.kind in "biu" or dtype in (np.float32, np.float64))


def _has_dtype(value: Any) -> bool:
    """Whether an operand has a dtype of its own, as all but Python numbers have."""
    return isinstance(value, Symbol | np.ndarray | np.generic)


class Nodes:
    """The nodes of a graph, in order: `nodes` are all that is computed, `inputs` and `outputs` as the graph's."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[Node] = []
        self.constants: list[tuple[Node, Any]] = []
        self._known: dict[int, Access] = {}  # by symbol: how an element of it is read
        self._aliases: dict[tuple[Node, Shape], Node] = {}
        self._copies: dict[tuple[Access, Shape], Node] = {}
        self.inputs = [self._input(symbol) for symbol in graph.inputs]
        for instruction in graph.instructions:
            self._add(instruction)
        taken: set[Node] = set()
        self.outputs = [self._output(out, taken) for out in graph.outputs]

    def _enter(self, node: Node) -> Node:
        node.order = len(self.nodes)
        self.nodes.append(node)
        return node

    def _know(self, symbol: Symbol, node: Node) -> None:
        self._known[symbol.index] = _whole(node)

    def _input(self, symbol: Symbol) -> Node:
        node = self._enter(Node("input", symbol.spec))
        self._know(symbol, node)
        return node

    def _output(self, out: Any, taken: set[Node]) -> Node:
        """The node whose elements a result is: one of its own, row by row in memory."""
        access = self._read(out)
        spec = spec_of(out)
        node = access.node
        owned = node.kind not in ("input", "constant", "alias") and node not in taken
        if not owned or access != _whole(node) or node.spec.shape != spec.shape:
            node = self._copy(access, spec, fresh=True)
        taken.add(node)
        return node

    # Reading

    def _read(self, value: Any) -> Access:
        """How an element of an operand is read, by its index in the operand's own shape."""
        if isinstance(value, Symbol):
            return self._known[value.index]
        array = np.asarray(value)
        node = Node("constant", spec_of(array))
        self.constants.append((node, array))
        return _whole(self._enter(node))

    def _reads(self, args: Sequence[Any], places: Sequence[int | None] | None = None) -> list[Any]:
        """Operands of a loop over `places`: accesses by loop index, and numbers."""
        reads: list[Any] = []
        for arg in args:
            if isinstance(arg, Symbol) or (isinstance(arg, np.ndarray) and arg.ndim):
                access = self._read(arg)
                if places is not None:
                    outer = list(map(_along, places))
                    access = access.then(outer[len(outer) - len(arg.shape) :])
                reads.append(access)
            elif isinstance(arg, np.ndarray | np.generic):
                reads.append(np.asarray(arg)[()])  # a typed number
            else:
                reads.append(arg)
        return reads

    def _copy(self, access: Access, spec: Spec, fresh: bool = False) -> Node:
        """A node of its own that holds what an access shows, row by row."""
        key = (access, tuple(spec.shape))
        if not fresh and key in self._copies:
            return self._copies[key]
        _, places = _canonical(spec.shape)
        outer = list(map(_along, places))
        node = self._enter(Node("point", spec, [access.then(outer)], rule=Scalar(lambda b, x: x)))
        if not fresh:
            self._copies[key] = node
        return node

    def _contiguous(self, value: Any) -> Node:
        """A node that holds an operand row by row: the one there is, or a copy."""
        access = self._read(value)
        spec = spec_of(value)
        if access == _whole(access.node) and access.node.extents == _canonical(spec.shape)[0]:
            return access.node
        return self._copy(access, spec)

    # One instruction

    def _add(self, instruction: Instruction) -> None:
        op, args = instruction.op, instruction.args
        outputs = instruction.outputs
        if not has_effect(op) and all(0 in y.shape for y in outputs):
            for y in outputs:
                self._known[y.index] = self._read(np.zeros(y.shape, y.dtype))
            return None
        lower = op.lower
        native = all(is_lowered(value.dtype) for value in (*filter(_has_dtype, args), *outputs))
        if native:
            if op.name == "reshape":
                return self._reshape(instruction)
            if isinstance(lower, View) and self._view(instruction, lower):
                return None
            if len(outputs) == 1:
                way = self._ways.get(type(lower))
                if way is not None and way(self, instruction, lower):
                    return None
        reads = [_whole(self._contiguous(a)) if isinstance(a, Symbol) else a for a in args]
        node = self._enter(Node("call", outputs[0].spec, reads, instruction=instruction, domain=()))
        if len(outputs) == 1:
            self._know(outputs[0], node)
            return None
        for i, y in enumerate(outputs):
            part = self._enter(Node("part", y.spec, [_whole(node)], rule=i, domain=()))
            self._know(y, part)
        return None

    def _reshape(self, instruction: Instruction) -> None:
        (x,), (y,) = instruction.args, instruction.outputs
        source = spec_of(x)
        if _canonical(source.shape)[0] == _canonical(y.shape)[0]:  # axes of length 1 come or go
            _, old = _canonical(source.shape)
            back = {place: axis for axis, place in enumerate(_canonical(y.shape)[1]) if place is not None}
            outer = [_along(None if place is None else back[place]) for place in old]
            self._known[y.index] = self._read(x).then(outer)
            return
        node = self._contiguous(x)
        if node.kind == "alias":
            node = node.reads[0].node
        key = (node, tuple(y.shape))
        if key not in self._aliases:
            self._aliases[key] = self._enter(Node("alias", y.spec, [_whole(node)], domain=()))
        self._know(y, self._aliases[key])

    def _view(self, instruction: Instruction, lower: View) -> bool:
        x = instruction.args[0]
        x = x if isinstance(x, Symbol) else np.asarray(x)
        maps = lower.rule(tuple(x.shape), **instruction.params)
        if maps is None:
            return False
        access = self._read(x)
        several = maps if len(instruction.outputs) > 1 or instruction.op.several else [maps]
        for y, index in zip(instruction.outputs, several, strict=True):
            outer = [Axis(*axis) for axis in index]
            _, places = _canonical(y.shape)
            # Along an axis of length 1 there is only the index 0.
            outer = [Axis(None, 0, a.start) if a.axis is None or places[a.axis] is None else a for a in outer]
            self._known[y.index] = access.then(outer)
        return True

    def _point(self, instruction: Instruction, lower: Scalar) -> bool:
        (y,) = instruction.outputs
        if not _computes(lower, instruction):
            return False
        _, places = _canonical(y.shape)
        reads = self._reads(instruction.args, places)
        self._know(y, self._enter(Node("point", y.spec, reads, instruction=instruction, rule=lower)))
        return True

    def _element(self, instruction: Instruction, lower: Element) -> bool:
        (y,) = instruction.outputs
        if not _covers(lower, instruction):
            return False
        reads = self._reads(instruction.args)
        self._know(y, self._enter(Node("element", y.spec, reads, instruction=instruction, rule=lower)))
        return True

    def _fold(self, instruction: Instruction, lower: Fold) -> bool:
        (x,), (y,) = instruction.args, instruction.outputs
        domain, places = _canonical(x.shape)
        axis = instruction.params["axis"]
        kept = tuple(p for a, p in enumerate(places) if p is not None and a not in axis)
        if lower.kind in ("max", "min") and 0 in domain:
            return False
        reads = self._reads([x], places)
        node = Node("fold", y.spec, reads, instruction=instruction, rule=lower, domain=domain, axes=kept)
        if len(kept) == len(domain):  # nothing is folded: each element once
            node.kind = "point"
            before, dtype = lower.before, y.spec.dtype
            node.rule = Scalar(lambda b, x, **_: b.cast(x if before is None else before(b, x), dtype))
        self._know(y, self._enter(node))
        return True

    def _scan(self, instruction: Instruction, lower: Scan) -> bool:
        (x,), (y,) = instruction.args, instruction.outputs
        axis = instruction.params["axis"]
        _, places = _canonical(x.shape)
        if not isinstance(x, Symbol) or not isinstance(axis, int) or not places or places[axis] is None:
            return False
        reads = self._reads([x], places)
        node = Node("scan", y.spec, reads, instruction=instruction, rule=(lower, places[axis]))
        self._know(y, self._enter(node))
        return True

    def _scatter(self, instruction: Instruction, lower: Scatter) -> bool:
        (y,) = instruction.outputs
        if self._one_in_each_row(instruction):
            return True
        reads = self._reads(instruction.args)
        if not isinstance(reads[0 if lower.zeros else 1], Access) or not _covers(lower, instruction):
            return False
        self._know(y, self._enter(Node("scatter", y.spec, reads, instruction=instruction, rule=lower)))
        return True

    def _one_in_each_row(self, instruction: Instruction) -> bool:
        """Zeros with one element of each row added, at a column that an index array says (the gradient of
        `x[np.arange(n), i]`): a comparison with the column in loops that others can share."""
        (y,) = instruction.outputs
        if instruction.op.name != "scatter_add" or len(instruction.args) != 3 or len(y.shape) != 2 or 1 in y.shape:
            return False
        g, rows, columns = instruction.args
        n, width = y.shape
        counts = isinstance(rows, np.ndarray) and rows.shape == (n,) and bool((rows == np.arange(n)).all())
        if not counts or 0 in y.shape or width >= 1 << 31 or any(spec_of(x).shape != (n,) for x in (g, columns)):
            return False
        places = self._enter(
            Node(
                "point",
                Spec((n,), np.dtype(np.int32)),
                self._reads([columns], [0]),
                rule=Scalar(lambda b, i: b.index(i, width)),
            )
        )
        reads = [Access(places, (Axis(0, 1, 0),)), *self._reads([g], [0])]
        rule = Placed(lambda b, at, place, x: b.where(b.equal(b.cast(at[1], np.int32), place), x, 0))
        self._know(y, self._enter(Node("point", y.spec, reads, rule=rule)))
        return True

    def _product(self, instruction: Instruction, lower: Product) -> bool:
        (y,) = instruction.outputs
        if len(instruction.args) != 2 or y.spec.dtype.kind != "f":
            return False
        a, b = instruction.args
        labels = lower.rule(spec_of(a), spec_of(b), **instruction.params)
        if labels is None or spec_of(a).dtype != y.spec.dtype or spec_of(b).dtype != y.spec.dtype:
            return False
        left, right, out = labels
        extent: dict[Any, int] = {}
        for label, n in zip((*left, *right), (*a.shape, *b.shape), strict=True):
            if n != 1 or label not in extent:
                extent[label] = n
        folded = [label for label in dict.fromkeys((*left, *right)) if label not in out]
        volume = math.prod(extent.values())
        matrix = (
            any(extent[x] > 1 for x in left if x not in right)
            and any(extent[x] > 1 for x in right if x not in left)
            and any(extent[x] > 1 for x in folded if x in left and x in right)
        )
        if matrix and volume > INLINE_PRODUCT and self._blas(instruction, labels, extent):
            return True
        return self._inline_product(instruction, labels, extent, folded)

    def _inline_product(self, instruction: Instruction, labels: Any, extent: dict[Any, int], folded: list[Any]) -> bool:
        """A product as a fold. The loop over what is summed comes first if both operands have it first (then rows are
        added up), before the last axis of the result if the right operand runs along that, else innermost."""
        left, right, out = labels
        a, b = instruction.args
        (y,) = instruction.outputs
        out = list(out)
        order = [*out, *folded]
        if folded and left and right and left[0] == right[0] == folded[0]:
            order = [*folded, *out]
        elif folded and out and right and right[-1] == out[-1] and out[-1] not in left:
            order = [*out[:-1], *folded, out[-1]]
        order = [label for label in order if extent[label] != 1]
        place = {label: i for i, label in enumerate(order)}
        reads = []
        for operand, names in ((a, left), (b, right)):
            outer = [_along(place.get(x) if n != 1 else None) for x, n in zip(names, operand.shape, strict=True)]
            reads.append(self._read(operand).then(outer))
        node = Node(
            "fold",
            y.spec,
            reads,
            instruction=instruction,
            domain=tuple(extent[label] for label in order),
            axes=tuple(place[label] for label in out if label in place),
            rule=Fold("add", before=lambda b, x, y: b.product(x, y)),
        )
        if len(node.axes) == len(node.domain):
            node.kind, node.rule = "point", Scalar(lambda b, x, y, **_: x * y)
        self._know(y, self._enter(node))
        return True

    def _blas(self, instruction: Instruction, labels: Any, extent: dict[Any, int]) -> bool:
        left, right, out = labels
        (y,) = instruction.outputs
        if (set(left) ^ set(right)) - set(out):
            return False  # one operand alone is summed over something
        accesses, strides = [], []
        for operand, names in zip(instruction.args, (left, right), strict=True):
            access, found = self._operand(operand, names)
            accesses.append(access)
            strides.append(found)
        result = dict(zip(out, row_major([extent[x] for x in out]), strict=True))
        live = [x for x in extent if extent[x] != 1]
        groups: dict[str, list[Any]] = {"m": [], "n": [], "k": [], "batch": []}
        for x in live:
            key = "k" if x not in out else "batch" if x in left and x in right else "m" if x in left else "n"
            groups[key].append(x)
        rows = strides[0], strides[1], result
        pairs = {"m": (0, 2), "n": (1, 2), "k": (0, 1)}
        single: dict[str, Any] = {}
        batch = [(extent[x], rows[0].get(x, 0), rows[1].get(x, 0), rows[2].get(x, 0)) for x in groups["batch"]]
        for key, (i, j) in pairs.items():
            merged = _merge([(extent[x], rows[i].get(x, 0), rows[j].get(x, 0)) for x in groups[key]])
            single[key] = merged.pop()
            if key == "k" and merged:
                return False  # sums over several axes that are not one in memory
            for n, s, t in merged:
                full = [0, 0, 0]
                full[i], full[j] = s, t
                batch.append((n, full[0], full[1], full[2]))
        m, n, k = single["m"], single["n"], single["k"]
        if 1 not in (m[2], n[2]):
            return False
        node = Node(
            "product",
            y.spec,
            accesses,
            instruction=instruction,
            domain=(),
            contraction=Contraction(tuple(batch), m, n, k),
        )
        self._know(y, self._enter(node))
        return True

    def _operand(self, operand: Any, names: Sequence[Any]) -> tuple[Access, dict[Any, int]]:
        """An operand of a product, and its strides by label. A view is read where it is: products take any strides."""
        access = self._read(operand)
        found = access.strides(len(operand.shape))
        return access, {x: s for x, s, n in zip(names, found, operand.shape, strict=True) if n != 1}

    _ways: ClassVar[dict[type, Callable[[Nodes, Instruction, Any], bool]]] = {
        Scalar: _point,
        Element: _element,
        Fold: _fold,
        Scan: _scan,
        Scatter: _scatter,
        Product: _product,
    }


def _whole(node: Node) -> Access:
    """An element of a node by its index in the node's own shape."""
    return Access(node, tuple([Axis(axis, 1, 0) for axis, n in enumerate(node.spec.shape) if n != 1]))


class _Probe:
    """An operand for a rule to look at, that has no elements."""

    def __init__(self, spec: Spec) -> None:
        self.shape, self.dtype = spec

    def __call__(self, *index: Any) -> Any:
        raise _Read


class _Read(Exception):
    """A rule has begun to read: it covers these operands."""


def _covers(lower: Element | Scatter, instruction: Instruction) -> bool:
    """Whether a rule covers operands of these shapes; it says so before it reads."""
    probes = [_Probe(spec_of(a)) if _has_dtype(a) else a for a in instruction.args]
    emit = Emitter()
    looped = instruction.args[0 if lower.zeros else 1] if isinstance(lower, Scatter) else instruction.outputs[0]
    at = tuple([emit.place(0) for _ in looped.shape])
    try:
        return lower.rule(emit, at, *probes, **instruction.params) is not NotImplemented
    except _Read:
        return True


def _computes(lower: Scalar, instruction: Instruction) -> bool:
    """Whether a rule covers operands of these dtypes; floats it always does."""
    args = [a if _has_dtype(a) else None for a in instruction.args]
    if all(a is None or a.dtype.kind == "f" for a in args):
        return True
    emit = Emitter()
    xs = [n if a is None else emit.constant(0, a.dtype) for a, n in zip(args, instruction.args, strict=True)]
    return lower.rule(emit, *xs, **instruction.params) is not NotImplemented


def _merge(loops: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Loops of one group, outermost first, those that run through memory together being one."""
    merged: list[tuple[int, int, int]] = []
    for loop in sorted(loops, key=lambda loop: (-loop[1], -loop[2])):
        if merged and merged[-1][1] == loop[0] * loop[1] and merged[-1][2] == loop[0] * loop[2]:
            merged[-1] = (merged[-1][0] * loop[0], loop[1], loop[2])
        else:
            merged.append(loop)
    return merged
