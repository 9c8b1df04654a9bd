"""Matrix products: calls of our own routine, and for large ones of BLAS, which counts columns first and takes
everything by reference."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from pullback.compile.buffers import padded
from pullback.compile.llvm import gemm, threads
from pullback.compile.llvm.builder import INDEX, Emitter, literal, llvm_type
from pullback.compile.nodes import Contraction, Node

if TYPE_CHECKING:
    from pullback.compile.llvm.emit import Module, Run

__all__ = ["product"]

LARGE: Final = 1 << 31
"""Multiplications from which on a product is BLAS's, whose blocks suit them better."""
PARALLEL: Final = 1 << 23
"""Multiplications from which on threads share a product."""
_INT: Final = "i32"  # BLAS's integers
_Part = tuple[str, str] | None  # where a thread's part of a loop begins and ends; all of it


def product(run: Run, node: Node, pointers: Sequence[str], offsets: Sequence[int]) -> None:
    """Write the product of a node, from its operands' pointers into its own: one call for each matrix of the batch.
    Threads share a long one: its matrices if there are several, else its rows."""
    contraction = node.contraction
    assert contraction is not None
    batch, m, n, k = contraction
    module = run.module
    volume = m[0] * n[0] * k[0]
    count = math.prod(loop[0] for loop in batch)
    module.work += 2 * count * volume
    if volume >= LARGE and _blas_takes(contraction):
        _each(run.emit, node, pointers, offsets, None, _blas(module, run.emit, node))
        return
    rows = (m if n[2] == 1 else n)[0]
    extent = batch[0][0] if batch else rows
    size = padded(gemm.workspace(node.spec.dtype, rows, (n if n[2] == 1 else m)[0], k[0]))
    split = count * volume >= PARALLEL and threads.can_split()
    work = module.scratch(size * (threads.MOST if split else 1))

    def own(emit: Emitter, pointers: Sequence[str], work: str, part: _Part = None) -> None:
        matrices, lines = (part, None) if batch else (None, part)
        _each(emit, node, pointers, offsets, matrices, _own(module, emit, node, work, lines))

    def task(emit: Emitter, frame: Sequence[str]) -> None:
        offset = emit.line(f"mul i64 %t, {size}", INDEX)
        own(emit, frame[:3], emit.address("i8", frame[3], offset.name), ("%lo", "%hi"))

    if split:
        run.share([*pointers, work], extent, task, lambda emit: own(emit, pointers, work))
    else:
        own(run.emit, pointers, work)


def _blas_takes(contraction: Contraction) -> bool:
    """Whether operands lie as BLAS wants them, along one axis next to each other, and its integers hold all sizes."""
    _, m, n, k = contraction
    along = 1 in (m[1], k[1]) and 1 in (n[1], k[2]) and min(m[1], k[1], n[1], k[2]) > 0
    return along and max(*m, *n, *k) < 1 << 31  # of `_INT`


def _each(
    emit: Emitter,
    node: Node,
    pointers: Sequence[str],
    offsets: Sequence[int],
    part: _Part,
    call: Callable[..., None],
) -> None:
    """`call` with the addresses of each matrix of the batch; of its first loop only a part, if one is given."""
    assert node.contraction is not None
    batch = node.contraction.batch
    kind = llvm_type(node.spec.dtype)
    with contextlib.ExitStack() as loops:
        indices = []
        for depth, (extent, *_) in enumerate(batch):
            bounds = part if part is not None and depth == 0 else (0, extent)
            indices.append(loops.enter_context(emit.loop(*bounds)))
        addresses = []
        for number, pointer in enumerate(pointers):
            place = emit.place(offsets[number])
            for index, loop in zip(indices, batch, strict=True):
                if stride := loop[1 + number]:
                    step = emit.line(f"mul nsw i64 {index.name}, {stride}", INDEX)
                    place = emit.line(f"add nsw i64 {place.name}, {step.name}", INDEX)
            addresses.append(emit.address(kind, pointer, place.name))
        call(*addresses)


def _own(module: Module, emit: Emitter, node: Node, work: str, part: _Part) -> Callable[[str, str, str], None]:
    """What writes a call of `gemm`, for a part of the rows or all. Its results have contiguous rows: of others the
    transpose is computed."""
    assert node.contraction is not None
    _, (m, am, cm), (n, bn, cn), (k, ak, bk) = node.contraction
    name = module.gemm(node.spec.dtype)
    if cn == 1:
        rows, columns, left, right, row = m, n, (am, ak), (bk, bn), cm
    else:
        rows, columns, left, right, row = n, m, (bn, bk), (ak, am), cn
    kind = llvm_type(node.spec.dtype)

    def moved(pointer: str, stride: int) -> str:
        if part is None:
            return pointer
        offset = emit.line(f"mul nsw i64 {part[0]}, {stride}", INDEX)
        return emit.address(kind, pointer, offset.name)

    def call(a: str, b: str, c: str) -> None:
        first, second = (a, b) if cn == 1 else (b, a)
        first, c = moved(first, left[0]), moved(c, row)
        count = str(rows) if part is None else emit.line(f"sub i64 {part[1]}, {part[0]}", INDEX).name
        args = [
            f"ptr {first}", *(f"i64 {x}" for x in left), f"ptr {second}", *(f"i64 {x}" for x in right),
            f"ptr {c}", f"i64 {row}", f"i64 {count}", f"i64 {columns}", f"i64 {k}", f"ptr {work}",
        ]  # fmt: skip
        emit.do(f"call void @{name}({', '.join(args)})")

    return call


def _blas(module: Module, emit: Emitter, node: Node) -> Callable[[str, str, str], None]:
    """What writes a call of BLAS. A row-major result is the column-major transpose of the product of the transposed
    operands, in the other order."""
    assert node.contraction is not None
    _, (m, am, cm), (n, bn, cn), (k, ak, bk) = node.contraction
    dtype = node.spec.dtype
    rows, columns, ld = (n, m, cm) if cn == 1 else (m, n, cn)
    left, right = ((bn, bk), (ak, am)) if cn == 1 else ((am, ak), (bk, bn))
    name = ("d" if dtype == np.float64 else "s") + "gemm"
    module.routines.add(name)
    module.declared.add(f"declare void @{name}_({', '.join(['ptr'] * 13)})")
    kind = llvm_type(dtype)

    def constant(text: str, value_kind: str) -> str:
        symbol = f"@blas.{value_kind}.{text.replace('-', 'm')}"
        line = f"{symbol} = private unnamed_addr constant {value_kind} {text}"
        if line not in module.globals:
            module.globals.append(line)
        return symbol

    def operand(row: int, column: int) -> tuple[str, str]:
        """The flag and the leading dimension of an operand with these strides of its rows and columns."""
        flag = constant(str(ord("N" if row == 1 else "T")), "i8")
        return flag, constant(str(column if row == 1 else row), _INT)

    (xflag, xld), (yflag, yld) = operand(*left), operand(*right)
    one, zero = constant(literal(1, dtype), kind), constant(literal(0, dtype), kind)
    sizes = [constant(str(size), _INT) for size in (rows, columns, k)]

    def call(a: str, b: str, c: str) -> None:
        x, y = (b, a) if cn == 1 else (a, b)
        args = [xflag, yflag, *sizes, one, x, xld, y, yld, zero, c, constant(str(ld), _INT)]
        emit.do(f"call void @{name}_({', '.join('ptr ' + arg for arg in args)})")

    return call
