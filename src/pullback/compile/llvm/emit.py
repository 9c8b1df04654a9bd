"""From a program of loop nests to LLVM IR.

Each item of the program is a function of its own, whose pointers are told apart by `noalias`; `run` calls them one
after the other, and products and Python in between.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from pullback.compile.buffers import Place, Plan, padded, plan
from pullback.compile.fusion import Leaf, Nest, Program
from pullback.compile.llvm import threads
from pullback.compile.llvm.builder import Emitter, literal, memory_type
from pullback.compile.llvm.callback import call_ir
from pullback.compile.llvm.engine import has_fma, host_features
from pullback.compile.llvm.folds import joining, part_of
from pullback.compile.llvm.mathlib import source
from pullback.compile.llvm.nest import Function
from pullback.compile.llvm.products import product
from pullback.compile.nodes import Access, Node, is_lowered

__all__ = ["Module", "Run", "emit"]

CONSTANT_BYTES: Final = 1 << 12
"""Constants up to this size are in the code; larger ones are looked up by name when it is linked."""
SHORT: Final = range(9, 64)
"""Loops of these lengths are vectorised whole; shorter ones are unrolled."""
_LOOPS: Final = (
    '!0 = !{!"llvm.loop.mustprogress"}',
    '!1 = !{!"llvm.loop.vectorize.predicate.enable", i1 true}',
    '!2 = !{!"llvm.loop.unroll.disable"}',
    '!3 = !{!"llvm.loop.vectorize.followup_all", !0}',
)
_BOOL = np.dtype(bool)

_TEXT: Final = (
    "an index is out of bounds for its axis (found by compiled code: run the function without jit to see which)"
)
_OUTSIDE: Final = f"""\
@PyExc_IndexError = external global ptr
@pb.outside.text = private unnamed_addr constant [{len(_TEXT) + 1} x i8] c"{_TEXT}\\00"
declare i32 @PyGILState_Ensure()
declare void @PyGILState_Release(i32)
declare void @PyErr_SetString(ptr, ptr)
define internal void @pb.outside() noinline cold {{
  %state = call i32 @PyGILState_Ensure()
  %error = load ptr, ptr @PyExc_IndexError
  call void @PyErr_SetString(ptr %error, ptr @pb.outside.text)
  call void @PyGILState_Release(i32 %state)
  ret void
}}"""


class Module:
    """The IR of a function, and what it needs to run.

    arena      bytes of scratch memory.
    imports    constants that are not in the code, by symbol: arrays to be kept alive.
    calls      the call nodes that go to Python, in the order of their numbers.
    routines   BLAS routines, by name. `products`: of our own products, by symbol, the dtype.
    shared     how many pieces of work threads can share.
    work       a rough count of scalar operations.
    scratch_bytes  memory that calls in `run` need meanwhile, one after the other; see `scratch`.
    """

    def __init__(self, program: Program, donated: Mapping[int, int]) -> None:
        self.program = program
        self.plan: Plan = plan(program, donated)
        self.arena = self.plan.arena
        self.imports: dict[str, Any] = {}
        self.calls: list[Node] = []
        self.routines: set[str] = set()
        self.products: dict[str, np.dtype[Any]] = {}
        self.shared = 0
        self.work = 0
        self.scratch_bytes = 0
        self.definitions: list[str] = []
        self.globals: list[str] = []
        self.declared: set[str] = set()
        self.functions: set[tuple[str, str]] = set()
        self._constants: dict[int, str] = {}
        self.metadata = list(_LOOPS)
        self.ir = self._write()

    def constant(self, number: int) -> str:
        """The symbol of a constant array."""
        if number not in self._constants:
            _, array = self.program.nodes.constants[number]
            name = f"@constant.{number}"
            array = np.ascontiguousarray(array)
            if array.nbytes <= CONSTANT_BYTES and is_lowered(array.dtype):
                kind = memory_type(array.dtype)
                numbers = [int(x) if array.dtype == _BOOL else x for x in array.reshape(-1).tolist()]
                dtype = np.dtype(np.int8) if array.dtype == _BOOL else array.dtype
                body = ", ".join(f"{kind} {literal(x, dtype)}" for x in numbers)
                kinds = f"[{array.size} x {kind}]"
                self.globals.append(f"{name} = private unnamed_addr constant {kinds} [{body}], align 64")
            else:
                name = f"@pb.constant.{number}"
                self.imports[name[1:]] = array
                self.globals.append(f"{name} = external constant i8")
            self._constants[number] = name
        return self._constants[number]

    def reserve(self, nbytes: int) -> int:
        """Memory at the end of the arena; its offset."""
        offset = self.arena
        self.arena += padded(nbytes)
        return offset

    def gemm(self, dtype: np.dtype[Any]) -> str:
        """The symbol of our own matrix product; see `gemm.address`."""
        name = f"pb.gemm.{dtype.name}"
        self.products[name] = dtype
        sizes = "ptr, i64, i64, ptr, i64, i64, ptr, i64, i64, i64, i64, ptr"
        self.declared.add(f"declare void @{name}({sizes})")
        return name

    def scratch(self, nbytes: int) -> str:
        """A register with memory for one call in `run`, which the next call may use too."""
        self.scratch_bytes = max(self.scratch_bytes, nbytes)
        return "%scratch"

    def loop_metadata(self, extent: int) -> str:
        """A mark for an innermost loop: LLVM may vectorise it. A short one is vectorised whole, with what is left over
        masked, and unrolled only then: unrolled before, it leaves to be vectorised the loop around it, which need not
        run through memory."""
        n = len(self.metadata)
        self.metadata.append(f"!{n} = distinct !{{!{n}, !0{', !1, !2, !3' if extent in SHORT else ''}}}")
        return f", !llvm.loop !{n}"

    def take(self, emit: Emitter) -> None:
        """What a function that was written needs of the module."""
        self.declared |= emit.declared
        self.functions |= emit.functions

    def _write(self) -> str:
        run = Run(self)
        for i, item in enumerate(self.program.items):
            run.item(i, item)
        body = run.finish()
        definitions, declarations = source(
            self.functions, fma=has_fma(), scales=host_features()[1].get("avx512f", False)
        )
        head = sorted({*self.declared, *declarations})
        texts = [*([call_ir()] if self.calls else []), *([_OUTSIDE] if run.emit.flagged else [])]
        texts += [threads.RUNTIME] if self.shared else []
        lines = [line for text in texts for line in text.splitlines()]
        head = sorted({*head, *(line for line in lines if line.startswith("declare"))})
        helpers = [line for line in lines if not line.startswith("declare")]
        return "\n".join([*head, *self.globals, *helpers, definitions, *self.definitions, body, *self.metadata, ""])


class Run:
    """The function `run`: pointers to buffers, and the items in order."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.emit = Emitter()
        self.pointers: dict[Place, str] = {}

    def pointer(self, place: Place) -> str:
        """The register (or symbol) with the address of a buffer."""
        if place not in self.pointers:
            self.pointers[place] = self._pointer(place)
        return self.pointers[place]

    def _pointer(self, place: Place) -> str:
        emit = self.emit
        if place.kind == "constant":
            return self.module.constant(place.number)
        name = emit.fresh("p")
        if place.kind == "arena":
            emit.heads.append(f"  {name} = getelementptr inbounds i8, ptr %arena, i64 {place.number}")
        else:
            i = place.number + (len(self.module.program.nodes.inputs) if place.kind == "output" else 0)
            emit.heads.append(f"  {name}.at = getelementptr inbounds ptr, ptr %buffers, i64 {i}")
            emit.heads.append(f"  {name} = load ptr, ptr {name}.at")
        return name

    def _array(self, pointers: Sequence[str]) -> str:
        """The address of an array of these pointers, on the stack."""
        array = self.emit.alloca(f"[{len(pointers)} x ptr]", "array")
        for k, name in enumerate(pointers):
            self.emit.do(f"store ptr {name}, ptr {self.emit.address('ptr', array, k)}")
        return array

    def item(self, i: int, item: Sequence[Leaf | Nest]) -> None:
        """Write item number i of the program: a call of its function, or what it takes in `run` itself, which for other
        names of a value and for parts of a call's results is nothing."""
        first = item[0]
        if isinstance(first, Leaf) and not first.node.loops and first.node.kind not in ("scan", "scatter"):
            node = first.node
            if node.kind == "product":
                self._product(node)
            elif node.kind == "call":
                self._call(node)
            return
        function = Function(self.module, f"@nest.{i}", item)
        kernel = function.write()
        pointers = [self.pointer(place) for place in kernel]
        if function.emit.flagged:
            self.emit.flagged = True
            pointers.append("%flag")
        args = ", ".join(f"ptr {name}" for name in pointers)
        if function.extent is None:
            self.emit.do(f"call void @nest.{i}({args})")
        else:
            self._shared(i, function, kernel, pointers)

    def _shared(self, i: int, function: Function, kernel: Sequence[Place], pointers: Sequence[str]) -> None:
        """Call a nest whose outermost loop threads can share: what it folds, each folds into memory of its own."""
        module = self.module
        sums = [(kernel.index(module.plan.places[node]), node) for node in function.sums]
        parts = [module.reserve((threads.MOST - 1) * padded(node.nbytes)) for _, node in sums]

        def task(emit: Emitter, frame: Sequence[str]) -> None:
            args = list(frame[: len(pointers)])
            for (k, node), apart in zip(sums, frame[len(pointers) :], strict=True):
                first = emit.line("icmp eq i64 %t, 0", _BOOL)
                other = part_of(emit, apart, node)
                name = emit.fresh("p")
                emit.do(f"{name} = select i1 {first.name}, ptr {args[k]}, ptr {other}")
                args[k] = name
            if function.emit.flagged:
                args[len(kernel)] = emit.address("i8", args[len(kernel)], "%t")
            emit.do(f"call void @nest.{i}({', '.join(f'ptr {a}' for a in args)}, i64 %lo, i64 %hi)")

        def alone(emit: Emitter) -> None:
            emit.do(f"call void @nest.{i}({', '.join(f'ptr {a}' for a in pointers)}, i64 0, i64 {function.extent})")

        def join(emit: Emitter, frame: Sequence[str]) -> None:
            for (k, node), apart in zip(sums, frame[len(pointers) :], strict=True):
                module.definitions.append(joining(f"@join.{i}.{k}", node))
                emit.do(f"call void @join.{i}.{k}(ptr {frame[k]}, ptr {part_of(emit, apart, node)})")

        assert function.extent is not None
        apart = [self.pointer(Place("arena", offset)) for offset in parts]
        self.share([*pointers, *apart], function.extent, task, alone, join if sums else None)

    def share(
        self,
        pointers: Sequence[str],
        extent: int,
        task: Callable[[Emitter, Sequence[str]], None],
        alone: Callable[[Emitter], None],
        join: Callable[[Emitter, Sequence[str]], None] | None = None,
    ) -> None:
        """Write what `alone` does, or with several threads `task` for a part from %lo to %hi in thread number %t, and
        `join` for the parts %t of all threads but the first."""
        module, emit = self.module, self.emit
        number = module.shared
        module.shared += 1
        inner = Emitter()
        frame = [inner.fresh("p") for _ in pointers]
        for k, name in enumerate(frame):
            inner.do(f"{name} = load ptr, ptr {inner.address('ptr', '%frame', k)}")
        task(inner, frame)
        inner.do("ret void")
        head = f"define internal void @task.{number}(ptr %frame, i64 %lo, i64 %hi, i64 %t) noinline"
        module.definitions.append(inner.definition(head))
        module.take(inner)
        many, parts = emit.fresh("many"), emit.fresh("parts")
        label = f"go.{many[1:]}"
        emit.do(f"{many}.count = load i64, ptr @{threads.SYMBOL}")
        emit.do(f"{many} = icmp sgt i64 {many}.count, 1")
        emit.do(f"br i1 {many}, label %{label}, label %alone.{label}")
        emit.do(f"alone.{label}:")
        alone(emit)
        emit.do(f"br label %done.{label}")
        emit.do(f"{label}:")
        array = self._array(pointers)
        emit.do(f"{parts} = call i64 @pb.parallel(ptr @task.{number}, ptr {array}, i64 {extent})")
        if join is None:
            emit.do(f"br label %done.{label}")
        else:
            body = Emitter()
            join(body, [f"%q{k}" for k in range(len(pointers))])
            body.do("ret void")
            args = ", ".join(f"ptr {name}" for name in pointers)
            names = ", ".join(f"ptr %q{k}" for k in range(len(pointers)))
            module.definitions.append(body.definition(f"define internal void @joined.{number}({names}, i64 %t)"))
            emit.do(f"br label %test.{label}")
            emit.do(f"test.{label}:")
            emit.do(f"{parts}.t = phi i64 [ 1, %{label} ], [ {parts}.next, %join.{label} ]")
            emit.do(f"{parts}.more = icmp slt i64 {parts}.t, {parts}")
            emit.do(f"br i1 {parts}.more, label %join.{label}, label %done.{label}")
            emit.do(f"join.{label}:")
            emit.do(f"call void @joined.{number}({args}, i64 {parts}.t)")
            emit.do(f"{parts}.next = add nuw nsw i64 {parts}.t, 1")
            emit.do(f"br label %test.{label}")
        emit.do(f"done.{label}:")

    def _product(self, node: Node) -> None:
        places = self.module.plan.places
        a, b = node.reads
        pointers = [self.pointer(places[n]) for n in (a.node, b.node, node)]
        product(self, node, pointers, (a.offset, b.offset, 0))

    def _call(self, node: Node) -> None:
        module, emit = self.module, self.emit
        places = module.plan.places
        number = len(module.calls)
        module.calls.append(node)
        instruction = node.instruction
        assert instruction is not None
        pointers = [self.pointer(places[read.node]) for read in node.reads if isinstance(read, Access)]
        if len(instruction.outputs) == 1:
            pointers.append(self.pointer(places[node]))
        else:
            parts = {n.rule: n for n in module.program.nodes.nodes if n.kind == "part" and n.reads[0].node is node}
            for k in range(len(instruction.outputs)):
                part = parts.get(k)
                pointers.append(self.pointer(places[part]) if part is not None and part in places else "null")
        array = self._array(pointers)
        status, bad = emit.fresh("status"), emit.fresh("bad")
        emit.do(f"{status} = call i32 @pb.callback(ptr %context, i64 {number}, ptr {array})")
        emit.do(f"{bad} = icmp ne i32 {status}, 0")
        label = emit.fresh("go")[1:]
        emit.do(f"br i1 {bad}, label %failed, label %{label}")
        emit.do(f"{label}:")

    def finish(self) -> str:
        """Write what comes after the last item; the definition."""
        emit = self.emit
        if self.module.scratch_bytes:
            start = self.module.reserve(self.module.scratch_bytes)
            emit.heads.append(f"  %scratch = getelementptr inbounds i8, ptr %arena, i64 {start}")
        for node, i in self.module.plan.late:
            target, origin = self.pointer(Place("input", i)), self.pointer(self.module.plan.places[node])
            emit.declared.add("declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)")
            emit.do(f"call void @llvm.memcpy.p0.p0.i64(ptr {target}, ptr {origin}, i64 {node.nbytes}, i1 false)")
        if emit.flagged:
            kind = f"i{8 * threads.MOST}" if self.module.shared else "i8"
            emit.heads += [f"  %flag = alloca {kind}", f"  store {kind} 0, ptr %flag"]
            emit.do(f"%flagged = load {kind}, ptr %flag")
            emit.do(f"%outside = icmp ne {kind} %flagged, 0")
            emit.do("br i1 %outside, label %raise, label %good")
            emit.do("raise:")
            emit.do("call void @pb.outside()")
            emit.do("ret i32 -1")
            emit.do("good:")
        emit.do("ret i32 0")
        if self.module.calls:
            emit.do("failed:")
            emit.do("ret i32 -1")
        self.module.take(emit)
        return emit.definition("define i32 @run(ptr %buffers, ptr noalias %arena, ptr %context)")


def emit(program: Program, donated: Mapping[int, int]) -> Module:
    """The IR of a program; outputs in `donated` take the memory of the input given there."""
    return Module(program, donated)
