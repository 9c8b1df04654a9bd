"""One item of a program as a function: loops with what is computed in them.

Loops are written plainly: LLVM hoists, vectorises and unrolls them. What is decided here is which loops are one, where
the rows are that are kept for an iteration (on the stack, if they are short), which loop threads can share, and that a
long innermost loop is run through in pieces.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pullback.compile.buffers import Place
from pullback.compile.fusion import Leaf, Nest, Program
from pullback.compile.llvm import threads
from pullback.compile.llvm.builder import INDEX, Emitter, Number, llvm_type, memory_type, quotient
from pullback.compile.llvm.engine import has_fma
from pullback.compile.llvm.folds import COMBINE, combined, identity, sums_floats
from pullback.compile.nodes import Access, Axis, Node, Placed, row_major

if TYPE_CHECKING:
    from pullback.compile.llvm.emit import Module

__all__ = ["LOCAL_BYTES", "Function"]

LOCAL_BYTES: Final = 1 << 13
"""Rows up to this size are on the stack, where LLVM can keep them in registers; larger ones in the arena."""
STACK_BYTES: Final = 1 << 17
"""All rows of a function that are on the stack: threads that others have started may not have much."""
MANY: Final = 16
"""Divisions by one number from which on its inverse is worth computing."""
BLOCK: Final = 4096
"""Iterations in a piece of a long loop."""
APART: Final = 256
"""Iterations from which on the call of a function does not matter."""
PARALLEL: Final = 1 << 18
"""Values computed in a nest from which on threads share it: a hundred microseconds or so."""
_BOOL, _DOUBLE = np.dtype(bool), np.dtype(np.float64)


class Function:
    """One item of the program as a function of the buffers it touches."""

    def __init__(self, module: Module, name: str, items: Sequence[Leaf | Nest]) -> None:
        self.module = module
        self.name = name
        self.items = items
        self.emit = Emitter()
        self.places: dict[Place, str] = {}
        self.written: set[Place] = set()
        self.locals: dict[Node, str] = {}
        self.indices: list[Number] = []
        self.scopes: list[dict[Node, Number]] = [{}]
        self.accumulators: dict[Node, str] = {}
        self.wholes: dict[Node, str] = {}  # accumulators of what is folded piece by piece, meanwhile
        self.doubles: set[Node] = set()  # folds whose accumulators are double
        self.trips = 1
        self.steps = 0  # iterations of innermost loops, all told
        self.stack = 0  # bytes of rows on it
        self.extent: int | None = None  # of the outermost loop, if threads can share it
        self.sums: list[Node] = []  # what is folded over that

    def write(self) -> list[Place]:
        """Write the definition; the buffers that it takes, in the order of its parameters."""
        self._share()
        self._body(self.items)
        self.emit.do("ret void")
        params = []
        for place, name in self.places.items():
            access = "" if place in self.written else " readonly"
            params.append(f"ptr noalias nocapture nonnull{access} {name}")
        if self.emit.flagged:
            params.append("ptr noalias nocapture nonnull %flag")
        if self.extent is not None:
            params += ["i64 %lo", "i64 %hi"]
        apart = " noinline" if self.steps > APART else ""  # LLVM takes longer for one large function than for several
        self.module.definitions.append(
            self.emit.definition(f"define internal void {self.name}({', '.join(params)}){apart}")
        )
        self.module.take(self.emit)
        return list(self.places)

    def _share(self) -> None:
        """Find out whether threads can share the outermost loop: there is enough to do, and nothing but what is on the
        stack is kept for an iteration."""
        first = self.items[0]
        if len(self.items) > 1 or not isinstance(first, Nest) or not threads.can_split():
            return
        nodes = list(first.leaves())
        storage = self.module.program.storage
        rows = [storage[node] for node in nodes if node in storage and storage[node].shared]
        sizes = [row.size * row.node.spec.dtype.itemsize for row in rows]
        if max(sizes, default=0) > LOCAL_BYTES or sum(sizes) > STACK_BYTES:
            return
        if any(not node.loops for node in nodes) or sum(math.prod(node.domain) for node in nodes) < PARALLEL:
            return
        merged = _merged(self.module.program, first)
        last = merged.index(False)
        self.extent = math.prod(first.extents[: last + 1])
        self.sums = [node for node in nodes if node.kind == "fold" and min(node.folded) <= last]
        if last + 1 == len(first.extents) and all(isinstance(item, Leaf) for item in first.body):
            block = _block(self.extent, self.sums)
            self.extent = self.extent if block is None else -(-self.extent // block)

    # Memory

    def _buffer(self, node: Node, write: bool = False) -> tuple[str, list[int | None]]:
        """The pointer to where a node is kept, and the stride of each of its axes (None: not in memory)."""
        storage = self.module.program.storage.get(node)
        places = self.module.plan.places
        if node in places and (storage is None or storage.shared == 0):
            place = places[node]
            if place not in self.places:
                self.places[place] = f"%b{len(self.places)}"
            if write:
                self.written.add(place)
            return self.places[place], list(row_major(node.extents))
        assert storage is not None, node
        strides: list[int | None] = [None] * len(node.extents)
        kept = storage.axes
        for axis, stride in zip(kept, row_major([node.extents[i] for i in kept]), strict=True):
            strides[axis] = stride
        if node not in self.locals:
            self.locals[node] = self._local(node, storage.size)
        return self.locals[node], strides

    def _local(self, node: Node, size: int) -> str:
        nbytes = size * node.spec.dtype.itemsize
        if nbytes <= LOCAL_BYTES and self.stack + nbytes <= STACK_BYTES:
            self.stack += nbytes
            return self.emit.alloca(f"[{size} x {memory_type(node.spec.dtype)}], align 64", "row")
        place = Place("arena", self.module.reserve(nbytes))
        self.places[place] = f"%b{len(self.places)}"
        self.written.add(place)
        return self.places[place]

    def _address(self, pointer: str, dtype: np.dtype[Any], terms: Sequence[tuple[Number, int]], start: int) -> str:
        """The address of an element: start + Σ index · stride."""
        emit = self.emit
        total: Number | None = None
        for index, stride in terms:
            if stride == 0:
                continue
            part = index if stride == 1 else emit.line(f"mul nsw i64 {index.name}, {stride}", INDEX)
            total = part if total is None else emit.line(f"add nsw i64 {total.name}, {part.name}", INDEX)
        if start:
            total = emit.place(start) if total is None else emit.line(f"add nsw i64 {total.name}, {start}", INDEX)
        return pointer if total is None else emit.address(memory_type(dtype), pointer, total.name)

    def _load(self, address: str, dtype: np.dtype[Any]) -> Number:
        emit = self.emit
        if dtype == _BOOL:
            byte = emit.line(f"load i8, ptr {address}", np.dtype(np.uint8))
            return emit.line(f"trunc {byte!r} to i1", dtype)
        return emit.line(f"load {llvm_type(dtype)}, ptr {address}, align {dtype.alignment}", dtype)

    def _store(self, value: Number, address: str) -> None:
        emit = self.emit
        if value.dtype == _BOOL:
            value = emit.line(f"zext {value!r} to i8", np.dtype(np.uint8))
        emit.do(f"store {value!r}, ptr {address}, align {value.dtype.alignment}")

    def read(self, access: Access, indices: Sequence[Number]) -> Number:
        """An element of a node, the access's indices being these numbers."""
        node = access.node
        for scope in reversed(self.scopes):
            if node in scope:
                return scope[node]
        pointer, strides = self._buffer(node)
        terms, start = [], 0
        for (axis, step, first), stride in zip(access.at, strides, strict=True):
            if stride is None:
                continue
            start += first * stride
            if axis is not None:
                terms.append((indices[axis], step * stride))
        return self._load(self._address(pointer, node.spec.dtype, terms, start), node.spec.dtype)

    def _own(self, node: Node) -> str:
        """The address of the element of a node that this iteration makes."""
        pointer, strides = self._buffer(node, write=True)
        terms = [(self.indices[loop], s) for loop, s in zip(node.axes, strides, strict=True) if s is not None]
        return self._address(pointer, node.spec.dtype, terms, 0)

    # Loops

    def _loop(
        self, extent: int, innermost: bool, shared: bool = False, end: Number | None = None
    ) -> contextlib.AbstractContextManager[Number]:
        """A loop around what is written meanwhile. A shared one has its bounds from the function's caller; `end` is for
        one whose extent is known when the code runs only."""
        first, last = ("%lo", "%hi") if shared else (0, extent if end is None else end.name)
        return self.emit.loop(first, last, self.module.loop_metadata(extent) if innermost else "")

    def _body(self, items: Sequence[Leaf | Nest]) -> None:
        for item in items:
            if isinstance(item, Nest):
                self._nest(item)
            else:
                self._leaf(item.node)

    def _nest(self, nest: Nest) -> None:
        folds = [node for node in nest.leaves() if node.kind == "fold"]
        self._open(nest, 0, folds, _merged(self.module.program, nest))

    def _open(self, nest: Nest, j: int, folds: Sequence[Node], merged: Sequence[bool]) -> None:
        """Loop j of a nest, and those inside it; one that is merged is run through by the next."""
        if j == len(nest.extents):
            self._body(nest.body)
            return
        last = j
        while last + 1 < len(nest.extents) and merged[last]:
            last += 1
        extent = math.prod(nest.extents[j : last + 1])
        levels = range(nest.level + j, nest.level + last + 1)
        mine = [node for node in folds if min(node.folded) in levels]
        innermost = last + 1 == len(nest.extents) and all(isinstance(item, Leaf) for item in nest.body)
        block = _block(extent, mine) if innermost else None
        for node in mine:
            self._begin(node, block is not None)
        if extent:
            self.trips *= extent
            self.steps += self.trips if innermost else 0
            outer = len(self.indices)
            shared = self.extent is not None and nest is self.items[0] and j == 0
            with contextlib.ExitStack() as loops:
                if block is None:
                    index = loops.enter_context(self._loop(extent, innermost, shared))
                else:
                    start = loops.enter_context(self._loop(-(-extent // block), False, shared)) * block
                    left = self.emit.constant(extent, INDEX) - start
                    rest = None if extent % block == 0 else self.emit.where(left < block, left, block)
                    for node in mine:
                        self._begin_piece(node)
                        loops.callback(self._end_piece, node)
                    index = start + loops.enter_context(self._loop(block, True, end=rest))
                self.indices += [self.emit.place(0)] * (last - j) + [index]
                self.scopes.append({})
                self._open(nest, last + 1, folds, merged)
                self.scopes.pop()
                del self.indices[outer:]
            self.trips //= extent
        for node in mine:
            self._end(node)

    # Folds

    def _accumulator(self, dtype: np.dtype[Any], first: str) -> str:
        """The address of a number that is folded into, on the stack; `first` is what it begins with."""
        name = self.emit.alloca(llvm_type(dtype), "acc")
        self.emit.do(f"store {llvm_type(dtype)} {first}, ptr {name}")
        return name

    def _accumulated(self, name: str, dtype: np.dtype[Any]) -> Number:
        return self.emit.line(f"load {llvm_type(dtype)}, ptr {name}", dtype)

    def _begin(self, node: Node, pieces: bool) -> None:
        """Make the accumulator of a fold, or its elements, what it begins with."""
        emit, dtype = self.emit, node.spec.dtype
        if not node.is_folded_in_memory:
            dtype = _DOUBLE if pieces and sums_floats(node) else dtype
            self.accumulators[node] = self._accumulator(dtype, identity(node.rule.kind, dtype))
            return
        pointer, strides = self._buffer(node, write=True)
        known = len(self.indices)
        terms = [
            (self.indices[loop], s)
            for loop, s in zip(node.axes, strides, strict=True)
            if s is not None and loop < known
        ]
        base = self._address(pointer, dtype, terms, 0)
        first = min(node.folded)
        count = math.prod(n for n, loop in zip(node.extents, node.axes, strict=True) if loop > first)
        if count:
            with self._loop(count, True) as index:
                start = Number(emit, identity(node.rule.kind, dtype), dtype)
                self._store(start, self._address(base, dtype, [(index, 1)], 0))

    def _begin_piece(self, node: Node) -> None:
        """Fold a piece of a long loop apart: sums of single precision are then added up in double precision."""
        if not sums_floats(node) or node.is_folded_in_memory:
            return
        self.wholes[node] = self.accumulators[node]
        self.accumulators[node] = self._accumulator(node.spec.dtype, identity("add", node.spec.dtype))

    def _end_piece(self, node: Node) -> None:
        if node not in self.wholes:
            return
        emit, whole = self.emit, self.wholes.pop(node)
        part = self._accumulated(self.accumulators[node], node.spec.dtype)
        total = self._accumulated(whole, _DOUBLE)
        emit.do(f"store {total + emit.cast(part, _DOUBLE)!r}, ptr {whole}")
        self.accumulators[node] = whole
        self.doubles.add(node)

    def _fold(self, node: Node) -> None:
        emit, dtype, rule = self.emit, node.spec.dtype, node.rule
        xs = self._operands(node)
        x = emit.cast(rule.before(emit, *xs) if rule.before is not None else xs[0], dtype)
        if node.is_folded_in_memory:
            address = self._own(node)
            self._store(combined(emit, rule.kind, self._load(address, dtype), x), address)
        else:
            address = self.accumulators[node]
            emit.do(f"store {combined(emit, rule.kind, self._accumulated(address, dtype), x)!r}, ptr {address}")

    def _end(self, node: Node) -> None:
        """What has been folded, as a value."""
        if node.is_folded_in_memory:
            return
        total = self._accumulated(self.accumulators[node], _DOUBLE if node in self.doubles else node.spec.dtype)
        self._settle(node, self.emit.cast(total, node.spec.dtype))

    # Nodes

    def _operands(self, node: Node) -> list[Any]:
        """What a node reads in this iteration; Python numbers as they are."""
        return [self.read(x, self.indices) if isinstance(x, Access) else self.typed(x) for x in node.reads]

    def typed(self, x: Any) -> Any:
        """A NumPy scalar as a constant."""
        return self.emit.constant(x.item(), x.dtype) if isinstance(x, np.generic) else x

    def _params(self, node: Node) -> dict[str, Any]:
        return {} if node.instruction is None else node.instruction.params

    def _settle(self, node: Node, value: Number) -> None:
        """Make a value known to those inside this iteration, and store it if others read it."""
        self.scopes[-1][node] = value
        if node in self.module.program.storage:
            self._store(value, self._own(node))

    def _leaf(self, node: Node) -> None:
        self.module.work += self.trips
        if node.kind == "fold":
            self._fold(node)
        elif node.kind == "point":
            place = [self.indices] if isinstance(node.rule, Placed) else []
            xs = self._operands(node)
            if _divides_all(node):
                value = quotient(self.emit, xs[0], xs[1])
            else:
                value = node.rule.rule(self.emit, *place, *xs, **self._params(node))
            self._settle(node, self.emit.cast(value, node.spec.dtype))
        elif node.kind == "element":
            value = node.rule.rule(self.emit, self._at(node.spec.shape), *self._readers(node), **self._params(node))
            self._settle(node, self.emit.cast(value, node.spec.dtype))
        elif node.kind == "scan":
            self._scan(node)
        elif node.kind == "scatter":
            self._scatter(node)
        else:
            raise AssertionError(node)

    def _at(self, shape: Sequence[int]) -> tuple[Number, ...]:
        """The index of this iteration in a shape, axes of length 1 included."""
        loops = iter(self.indices)
        return tuple(self.emit.place(0) if n == 1 else next(loops) for n in shape)

    def _readers(self, node: Node) -> list[Any]:
        args = () if node.instruction is None else node.instruction.args
        return [
            _Reader(self, x, a) if isinstance(x, Access | np.generic) else x
            for x, a in zip(node.reads, args, strict=True)
        ]

    def _around(self, extents: Sequence[int], body: Callable[[], None]) -> None:
        """`body` inside plain loops."""
        if 0 in extents:
            return
        outer = len(self.indices)
        with contextlib.ExitStack() as loops:
            for n in extents:
                self.indices.append(loops.enter_context(self._loop(n, False)))
            self.trips *= math.prod(extents)
            self.scopes.append({})
            body()
            self.scopes.pop()
            self.trips //= math.prod(extents)
        del self.indices[outer:]

    def _scan(self, node: Node) -> None:
        emit, dtype = self.emit, node.spec.dtype
        rule, along = node.rule
        reverse = self._params(node).get("reverse", False)
        order = [a for a in range(len(node.domain)) if a != along]

        def line() -> None:
            name = self._accumulator(dtype, identity(rule.kind, dtype))
            outer = list(self.indices)
            with self._loop(node.domain[along], False) as index:
                place = emit.place(node.domain[along] - 1) - index if reverse else index
                self.indices[:] = [*outer[:along], place, *outer[along:]]
                x = emit.cast(self._operands(node)[0], dtype)
                total = emit.cast(COMBINE[rule.kind](emit, self._accumulated(name, dtype), x), dtype)
                emit.do(f"store {total!r}, ptr {name}")
                self._store(total, self._own(node))
                self.indices[:] = outer

        if node.domain[along]:
            self._around([node.domain[a] for a in order], line)

    def _scatter(self, node: Node) -> None:
        emit, dtype = self.emit, node.spec.dtype
        rule = node.rule
        readers = self._readers(node)
        pointer, _ = self._buffer(node, write=True)

        def begin() -> None:
            value = emit.constant(0, dtype) if rule.zeros else readers[0](*self._at(node.spec.shape))
            self._store(emit.cast(value, dtype), self._own(node))

        self._around(node.extents, begin)
        updates = readers[0 if rule.zeros else 1]
        shape = updates.shape

        def put() -> None:
            at = self._at(shape)
            index = [
                emit.place(i) if isinstance(i, int) else i for i in rule.rule(emit, at, *readers, **self._params(node))
            ]
            strides = row_major(node.spec.shape)
            address = self._address(pointer, dtype, list(zip(index, strides, strict=True)), 0)
            x = emit.cast(updates(*at), dtype)
            if rule.add:
                x = COMBINE["add"](emit, self._load(address, dtype), x)
            self._store(x, address)

        self._around([n for n in shape if n != 1], put)


class _Reader:
    """An operand that a rule reads wherever it likes."""

    def __init__(self, function: Function, access: Any, argument: Any) -> None:
        self.function = function
        self.access = access
        self.shape = tuple(argument.shape)
        self.dtype = argument.dtype

    def __call__(self, *index: Any) -> Any:
        emit = self.function.emit
        if not isinstance(self.access, Access):
            return self.function.typed(self.access)
        numbers = [i if isinstance(i, Number) else emit.place(i) for i in index]
        return self.function.read(self.access, [emit.cast(i, INDEX) for i in numbers])


def _block(extent: int, folds: Sequence[Node]) -> int | None:
    """How long the pieces of a long innermost loop are, if it is to be one over pieces with one inside.

    Sums over pieces lose less to rounding than a long one, and a length that is a whole number of vectors leaves
    nothing over: that is half of the code. Where only shorter or odd pieces come out even, sums alone are worth it.
    """
    if extent < 2 * BLOCK:
        return None
    for block in range(BLOCK, BLOCK // 4 - 1, -64):
        if extent % block == 0:
            return block
    return BLOCK if any(map(sums_floats, folds)) else None


def _divides_all(node: Node) -> bool:
    """Whether a node divides in its innermost loop by a number that stays the same there."""
    if node.instruction is None or node.instruction.op.name != "div" or not has_fma():
        return False
    x, y = node.reads
    if not isinstance(x, Access) or x.node.spec.dtype != node.spec.dtype or node.spec.dtype.kind != "f":
        return False
    last = len(node.domain) - 1
    if isinstance(y, Access):
        fixed = y.node.spec.dtype == node.spec.dtype and all(axis.axis != last for axis in y.at)
        return fixed and last >= 0 and node.domain[last] >= MANY
    return type(y) is not complex


def _merged(program: Program, nest: Nest) -> list[bool]:
    """For each loop of a nest whether it and the next are one: everything in it runs through memory as if they were."""
    count = len(nest.extents)
    merged = [False] * count
    if count < 2 or any(isinstance(item, Nest) or _needs_place(item.node) for item in nest.body):
        return merged
    rows: list[dict[int, int]] = []
    nodes = list(nest.leaves())
    inside = set(nodes)
    for node in nodes:
        for read in node.reads:
            if isinstance(read, Access) and (read.node not in inside or read.node in program.storage):
                rows.append(_strides(program, read.node, read.at))
        if node in program.storage:
            rows.append(_strides(program, node, [Axis(loop, 1, 0) for loop in node.axes]))
    for j in range(count - 1):
        a, b = nest.level + j, nest.level + j + 1
        n = nest.extents[j + 1]
        together = all(row.get(a, 0) == row.get(b, 0) * n for row in rows)
        merged[j] = together and all((a in node.axes) == (b in node.axes) for node in nodes)
    return merged


def _needs_place(node: Node) -> bool:
    """Whether a node is computed from the numbers of its loops, not only from what it reads there."""
    return node.kind == "element" or isinstance(node.rule, Placed)


def _strides(program: Program, node: Node, index: Sequence[Axis]) -> dict[int, int]:
    """How far apart in memory what an access reads is, by loop."""
    storage = program.storage.get(node)
    kept = range(len(node.extents)) if storage is None else storage.axes
    strides = dict(zip(kept, row_major([node.extents[i] for i in kept]), strict=True))
    found: dict[int, int] = {}
    for i, (axis, step, _) in enumerate(index):
        if axis is not None:
            found[axis] = found.get(axis, 0) + step * strides.get(i, 0)
    return found
