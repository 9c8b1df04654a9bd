"""A schedule in words: what is done in order, in which loops, by whom, and where the values are kept meanwhile."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from pullback.compile.fusion import Leaf, Nest
from pullback.compile.history import Writer
from pullback.compile.llvm.emit import Module
from pullback.compile.llvm.nest import LOCAL_BYTES
from pullback.compile.llvm.products import LARGE
from pullback.compile.nodes import Access, Node, is_lowered
from pullback.values.graph import Symbol
from pullback.values.shape import spec_of

__all__ = ["Item", "Row", "outline", "reason", "size"]

Kind = Literal["loops", "numbers", "product", "NumPy"]

LETTERS: Final = "ijklmnpqrstuvw"
_SAID: Final = frozenset(("axis", "keepdims", "shape", "subscripts"))  # the indices and specs say it


class Row(NamedTuple):
    """A line of an item: how deep it stands in loops, what is done, and where the result is kept, if it is.

    head   whether it opens a loop.
    """

    depth: int
    text: str
    kept: str = ""
    head: bool = False


class Item(NamedTuple):
    """Something that is done: a nest of loops, a few single numbers, a matrix product, or a call of NumPy."""

    kind: Kind
    title: str
    rows: list[Row]


def size(nbytes: int) -> str:
    """A number of bytes, to be read."""
    for unit in ("bytes", "KiB", "MiB"):
        if nbytes < 1024:
            return f"{nbytes:.4g} {unit}"
        nbytes /= 1024  # type: ignore[assignment]
    return f"{nbytes:.4g} GiB"


def reason(node: Node) -> str:
    """Why NumPy is called for a node."""
    instruction = node.instruction
    assert instruction is not None
    said = getattr(instruction.op.lower, "reason", None)
    if said is not None:
        return str(said)
    operands = [spec_of(x) for x in instruction.args if isinstance(x, Symbol | np.ndarray | np.generic)]
    for spec in (*operands, *(y.spec for y in instruction.outputs)):
        if not is_lowered(spec.dtype):
            return f"there is no native code for {spec.dtype}"
    return "there is no native code for these operands and parameters"


def outline(module: Module, numbers: Mapping[Symbol, int], inputs: Sequence[str], outputs: Sequence[str]) -> list[Item]:
    """The items of a module's program in order; `numbers` of the values, names of the `inputs` and `outputs`."""
    return list(_Outline(module, numbers, inputs, outputs).items())


class _Outline:
    def __init__(
        self, module: Module, numbers: Mapping[Symbol, int], inputs: Sequence[str], outputs: Sequence[str]
    ) -> None:
        self.module = module
        self.writer = Writer(numbers)
        self.inputs = inputs
        self.outputs = outputs
        self.names: dict[Node, str] = {}
        nodes = module.program.nodes
        for node, symbol in zip(nodes.inputs, nodes.graph.inputs, strict=True):
            self.names[node] = self.writer.operand(symbol)
        for node, array in nodes.constants:
            text = self.writer.value(array)
            self.names[node] = text.rpartition(":")[0] if array.ndim else text
        for node in nodes.nodes:
            if node.instruction is not None and node.kind != "alias":
                self.names[node] = ", ".join(map(self.writer.operand, node.instruction.outputs))
            elif node.kind == "part":
                call = node.reads[0].node.instruction
                self.names[node] = self.writer.operand(call.outputs[node.rule])
            elif node.kind == "alias":
                shape = ", ".join(map(str, node.spec.shape))
                self.names[node] = f"{self.names[node.reads[0].node]}.reshape({shape})"
            elif node not in self.names:
                self.names[node] = f"copy{sum(name.startswith('copy') for name in self.names.values())}"

    def items(self) -> Iterator[Item]:
        for part in self.module.program.items:
            first = part[0]
            if isinstance(first, Nest) or first.node.loops or first.node.kind in ("scan", "scatter"):
                yield self._loops(part)
            elif first.node.kind == "product":
                yield self._product(first.node)
            elif first.node.kind == "call":
                yield self._call(first.node)

    def _call(self, node: Node) -> Item:
        assert node.instruction is not None
        effect = getattr(node.instruction.op, "effect", False)
        title = "calls Python: an effect" if effect else f"calls NumPy: {reason(node)}"
        return Item("NumPy", title, [Row(0, self._sentence(node), self._kept(node))])

    # Loops

    def _loops(self, part: Sequence[Leaf | Nest]) -> Item:
        nodes = [node for item in part for node in (item.leaves() if isinstance(item, Nest) else [item.node])]
        rows = list(self._rows(part, 0))
        work = f"{len(nodes)} operation{'s' * (len(nodes) > 1)}"
        if len(nodes) == len(part) and not any(node.domain for node in nodes):
            return Item("numbers", f"single numbers: {work}", rows)
        domain = max((node.domain for node in nodes), key=math.prod)
        return Item("loops", f"loops over {_extents(domain)}: {work}", rows)

    def _rows(self, part: Iterable[Leaf | Nest], depth: int) -> Iterator[Row]:
        for item in part:
            if isinstance(item, Nest):
                loops = (f"{_letter(item.level + j)} < {n}" for j, n in enumerate(item.extents))
                yield Row(depth, f"for {', '.join(loops)}:", head=True)
                yield from self._rows(item.body, depth + 1)
                continue
            node = item.node
            if node.kind in ("scan", "scatter"):
                yield from self._pass(node, depth)
            else:
                yield Row(depth, self._sentence(node), self._kept(node))

    def _pass(self, node: Node, depth: int) -> Iterator[Row]:
        """A scan or scatter: loops of its own."""
        assert node.instruction is not None
        operand = node.instruction.args[0]
        if node.kind == "scatter" and not node.rule.zeros:
            operand = node.instruction.args[1]
        loops = (f"{_letter(axis)} < {n}" for axis, n in enumerate(n for n in operand.shape if n != 1))
        yield Row(depth, f"for {', '.join(loops)}:", head=True)
        yield Row(depth + 1, self._sentence(node), self._kept(node))

    def _sentence(self, node: Node) -> str:
        """What a node does, as an instruction with indices."""
        target = self._name(node)
        if node.loops:
            target += _index([_letter(loop) for loop in node.axes])
        folded = f" over {', '.join(map(_letter, node.folded))}" if node.kind == "fold" else ""
        step = node.instruction
        if step is None:
            return f"{target} = {self._operand(node, node.reads[0])}"
        reads = ", ".join(self._operand(node, read) for read in node.reads)
        params = "".join(
            f" {name}={self.writer.value(value)}" for name, value in step.params.items() if name not in _SAID
        )
        if node.kind in ("call", "scan", "scatter", "element"):
            params = self.writer.params(step)
        return f"{target} = {step.op.name}({reads}){params}{folded}"

    def _operand(self, node: Node, read: Any) -> str:
        if not isinstance(read, Access):
            return self.writer.value(read)
        name = self._name(read.node)
        if node.kind not in ("point", "fold"):
            return name
        return name + _index([_position(axis) for axis in read.at])

    def _name(self, node: Node) -> str:
        return self.names[node]

    def _kept(self, node: Node) -> str:
        """Where a value is kept; empty if it never leaves the registers."""
        places, storage = self.module.plan.places, self.module.program.storage.get(node)
        if node.instruction is not None and len(node.instruction.outputs) > 1:
            parts = [x for x in self.module.program.nodes.nodes if x.kind == "part" and x.reads[0].node is node]
            return "; ".join(f"{self.names[part]}: {self._kept(part)}" for part in parts if part in places)
        if storage is None and node not in places:
            return ""
        if node in places and (storage is None or storage.shared == 0):
            place = places[node]
            if place.kind == "arena":
                late = [f", then {self.inputs[i]}" for kept, i in self.module.plan.late if kept is node]
                return f"arena at {place.number}, {size(node.nbytes)}{''.join(late)}"
            if place.kind == "input":
                return f"{self.inputs[place.number]}, in place"
            return self.outputs[place.number]
        if storage is None:
            return ""
        nbytes = storage.size * node.spec.dtype.itemsize
        where = "stack" if nbytes <= LOCAL_BYTES else "arena"
        extents = [node.extents[i] for i in storage.axes]
        return f"{where}, {f'row of {_extents(extents)}' if extents else 'a number'}"

    # Products

    def _product(self, node: Node) -> Item:
        assert node.contraction is not None
        batch, (m, *_), (n, *_), (k, *_) = node.contraction
        blas = m * n * k >= LARGE and self.module.routines
        times = f"{_extents([loop[0] for loop in batch])} times " if batch else ""
        text = f"matrix product{' by BLAS' if blas else ''}: {times}{m}×{k} by {k}×{n}"
        return Item("product", text, [Row(0, self._sentence(node), self._kept(node))])


def _letter(loop: int) -> str:
    return LETTERS[loop] if loop < len(LETTERS) else f"i{loop}"


def _extents(extents: Sequence[int]) -> str:
    return " × ".join(map(str, extents)) or "1"


def _index(positions: Sequence[str]) -> str:
    return f"[{', '.join(positions)}]" if positions else ""


def _position(axis: Any) -> str:
    """An index of an access: start + step · loop."""
    if axis.axis is None:
        return str(axis.start)
    loop = _letter(axis.axis)
    if axis.step == 1:
        return loop if not axis.start else f"{loop} + {axis.start}" if axis.start > 0 else f"{loop} - {-axis.start}"
    if axis.step == -1:
        return f"{axis.start} - {loop}"
    return f"{axis.step}·{loop}" + (f" + {axis.start}" if axis.start else "")
