"""Matrix products of our own: packed panels and a tile of the result in registers, as LLVM IR for this machine.

The method is that of K. Goto and R. van de Geijn, Anatomy of high-performance matrix multiplication (2008), with the
loops of F. Van Zee and R. van de Geijn, BLIS (2015). It takes any strides, so transposed operands are not copied, has
nothing to set up, which pays for products of a few thousand to some million multiplications, and uses the widest
vectors there are, which not every BLAS does on every processor. The code is compiled once in a process for each dtype.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from pullback.compile.llvm import engine, store
from pullback.compile.llvm.builder import Lines

__all__ = ["address", "workspace"]

_DEPTH = 256
"""How much of what is summed over is packed at once: a panel of the right operand then fits the first cache."""
_LEFT_BYTES, _RIGHT_BYTES = 1 << 18, 1 << 20
"""How much of the operands is packed at once: half of a second cache, and some of the third."""
_lock = threading.Lock()  # a second code for a dtype would replace the first
_codes: dict[np.dtype[Any], engine.Code] = {}


class _Tile(NamedTuple):
    """What the registers hold: `rows` (tall and short) of `vectors` vectors (wide and narrow) of `lanes` numbers."""

    kind: str
    bytes: int
    lanes: int
    rows: tuple[int, int]
    vectors: tuple[int, int]


@functools.cache
def _tile(dtype: np.dtype[Any]) -> _Tile:
    """As many sums as there are registers for, but for two or three that hold operands."""
    _, features = engine.host_features()
    if features.get("avx512f"):
        width, rows = 64, (14, 8)
    elif features.get("avx"):
        width, rows = 32, (6, 3)
    elif features.get("neon"):
        width, rows = 16, (12, 6)
    else:
        width, rows = 16, (6, 3)
    kind = "float" if dtype == np.float32 else "double"
    return _Tile(kind, dtype.itemsize, width // dtype.itemsize, rows, (2, 1))


def _blocks(tile: _Tile) -> tuple[int, int]:
    """Rows of the left operand and columns of the right one that are packed at once: whole panels."""
    tall, wide = tile.rows[0], tile.vectors[0] * tile.lanes
    depth = _DEPTH * tile.bytes
    return _LEFT_BYTES // depth // tall * tall, _RIGHT_BYTES // depth // wide * wide


def workspace(dtype: np.dtype[Any], m: int, n: int, k: int) -> int:
    """Bytes of scratch memory for a product of (m, k) and (k, n)."""
    tile = _tile(dtype)
    rows, columns = _blocks(tile)
    tall, wide = tile.rows[0], tile.vectors[0] * tile.lanes
    panels = min(rows, -(-m // tall) * tall) + min(columns, -(-n // wide) * wide)
    # Past the last panel of each operand packing writes up to `lanes` steps more.
    return (panels * min(k, _DEPTH) + 2 * tile.lanes * max(tall, wide)) * tile.bytes + 256


def _code(dtype: np.dtype[Any]) -> engine.Code:
    """The code for a dtype. It is never dropped, as the compiled functions that call it know its address only."""
    with _lock:
        if dtype not in _codes:
            _codes[dtype] = _compiled(_Writer(_tile(dtype)).module())
        return _codes[dtype]


def _compiled(ir: str) -> engine.Code:
    key = store.key(ir)
    found = store.read(key)
    if found is not None:
        return engine.link(found.object, "gemm")
    code = engine.load(ir, "gemm", slp=False, vectorize=False)
    store.write(key, code.object)
    return code


def address(dtype: np.dtype[Any]) -> int:
    """The address of `void gemm(a, row, column, b, row, column, c, row, m, n, k, work)`: c = a b, where `row` and
    `column` are how far apart in memory neighbours in a column and in a row are, in elements; the rows of c are
    contiguous. `work` is 64-byte aligned memory of `workspace` bytes."""
    return _code(dtype).address


class _Writer(Lines):
    """The IR text. Variables are in memory until LLVM promotes them."""

    def __init__(self, tile: _Tile) -> None:
        super().__init__()
        self.tile = tile
        self.kind = tile.kind
        self.vector = f"<{tile.lanes} x {tile.kind}>"

    def module(self) -> str:
        tile = self.tile
        kind, lanes = self.kind, tile.lanes
        short = {"float": "f32", "double": "f64"}[kind]
        head = [
            f"declare {self.vector} @llvm.fmuladd.v{lanes}{short}({self.vector}, {self.vector}, {self.vector})",
            f"declare {self.vector} @llvm.masked.load.v{lanes}{short}.p0(ptr, i32, <{lanes} x i1>, {self.vector})",
            f"declare void @llvm.masked.store.v{lanes}{short}.p0({self.vector}, ptr, i32, <{lanes} x i1>)",
        ]
        self.fma = f"@llvm.fmuladd.v{lanes}{short}"
        self.load = f"@llvm.masked.load.v{lanes}{short}.p0"
        self.store = f"@llvm.masked.store.v{lanes}{short}.p0"
        functions = [self.pack()]
        functions += [self.kernel(rows, vectors) for rows in tile.rows for vectors in tile.vectors]
        return "\n".join([*head, *functions, self.driver(), ""])

    # Statements

    def let(self, text: str) -> str:
        name = self.fresh()
        self.do(f"{name} = {text}")
        return name

    def add(self, a: str, b: str | int) -> str:
        return self.let(f"add nsw i64 {a}, {b}")

    def mul(self, a: str, b: str | int) -> str:
        return self.let(f"mul nsw i64 {a}, {b}")

    def least(self, a: str, b: str | int) -> str:
        return self.let(f"select i1 {self.let(f'icmp slt i64 {a}, {b}')}, i64 {a}, i64 {b}")

    def at(self, pointer: str, index: str | int) -> str:
        return self.address(self.kind, pointer, index)

    @contextlib.contextmanager
    def loop(self, start: str | int, end: str | int, step: str | int = 1) -> Iterator[str]:
        """start, start + step, ... below end."""
        slot = self.alloca("i64", "slot")
        label = slot[1:]
        self.do(f"store i64 {start}, ptr {slot}")
        self.do(f"br label %test.{label}")
        self.do(f"test.{label}:")
        index = self.let(f"load i64, ptr {slot}")
        self.do(f"br i1 {self.let(f'icmp slt i64 {index}, {end}')}, label %body.{label}, label %exit.{label}")
        self.do(f"body.{label}:")
        yield index
        self.do(f"store i64 {self.add(index, step)}, ptr {slot}")
        self.do(f"br label %test.{label}")
        self.do(f"exit.{label}:")

    @contextlib.contextmanager
    def when(self, condition: str) -> Iterator[None]:
        label = self.fresh("when")[1:]
        self.do(f"br i1 {condition}, label %{label}, label %end.{label}")
        self.do(f"{label}:")
        yield
        self.do(f"br label %end.{label}")
        self.do(f"end.{label}:")

    def function(self, head: str) -> str:
        self.do("ret void")
        text = self.definition(head)
        self.lines, self.heads = [], []
        return text

    # A panel: for each of k steps `width` numbers, one of each row of it

    def pack(self) -> str:
        """dst[p·width + i] = src[i·row + p·column] for i < count ≤ lanes; rows past `valid` are whatever they are.

        Up to `lanes` steps more than k are written: where the next panel comes, or what is left over of the memory."""
        lanes, size = self.tile.lanes, self.tile.bytes
        kept = self.mask("%count")
        target = "%dst"

        def put(x: str, p: str, last: int = 0) -> None:
            place = self.at(target, self.mul(self.add(p, last), "%width"))
            self.do(f"call void {self.store}({self.vector} {x}, ptr {place}, i32 {size}, <{lanes} x i1> {kept})")

        with self.when(self.let("icmp eq i64 %row, 1")):
            there = self.mask("%valid")
            with self.loop(0, "%k") as p:
                source = self.at("%src", self.mul(p, "%column"))
                x = self.let(
                    f"call {self.vector} {self.load}(ptr {source}, i32 {size}, <{lanes} x i1> {there}, "
                    f"{self.vector} zeroinitializer)"
                )
                put(x, p)
            self.do("ret void")
            self.do(f"{self.fresh('dead')[1:]}:")
        done = self.let(f"select i1 {self.let('icmp eq i64 %column, 1')}, i64 %k, i64 0")
        last = self.let("sub i64 %valid, 1")
        rows = [self.at("%src", self.mul(self.least(str(i), last), "%row")) for i in range(lanes)]
        with self.loop(0, done, lanes) as p:
            there = self.mask(self.let(f"sub i64 %k, {p}"))
            block = [
                self.let(
                    f"call {self.vector} {self.load}(ptr {self.at(row, p)}, i32 {size}, <{lanes} x i1> {there}, "
                    f"{self.vector} zeroinitializer)"
                )
                for row in rows
            ]
            for number, x in enumerate(self.transposed(block)):
                put(x, p, number)
        with self.loop(done, "%k") as p, self.loop(0, "%valid") as i:
            source = self.at("%src", self.add(self.mul(i, "%row"), self.mul(p, "%column")))
            x = self.let(f"load {self.kind}, ptr {source}")
            self.do(f"store {self.kind} {x}, ptr {self.at('%dst', self.add(self.mul(p, '%width'), i))}")
        return self.function(
            "define internal void @pack(ptr noalias %dst, i64 %width, ptr noalias readonly %src, i64 %row, "
            "i64 %column, i64 %k, i64 %valid, i64 %count) noinline"
        )

    def mask(self, count: str) -> str:
        """Which lanes are below a number."""
        lanes = self.tile.lanes
        steps = ", ".join(f"i64 {i}" for i in range(lanes))
        one = self.let(f"insertelement <{lanes} x i64> poison, i64 {count}, i64 0")
        every = self.let(
            f"shufflevector <{lanes} x i64> {one}, <{lanes} x i64> poison, <{lanes} x i32> zeroinitializer"
        )
        return self.let(f"icmp slt <{lanes} x i64> <{steps}>, {every}")

    def transposed(self, rows: Sequence[str]) -> list[str]:
        """A square of vectors, its rows becoming its columns: halves of pairs are swapped, quarters, and so on."""
        n = len(rows)
        rows = list(rows)
        size = n // 2
        while size:
            for i in range(n):
                if i & size:
                    continue
                a, b = rows[i], rows[i + size]
                low = [j if not j & size else n + j - size for j in range(n)]
                high = [j + size if not j & size else n + j for j in range(n)]
                for place, mask in ((i, low), (i + size, high)):
                    text = ", ".join(f"i32 {m}" for m in mask)
                    rows[place] = self.let(f"shufflevector {self.vector} {a}, {self.vector} {b}, <{n} x i32> <{text}>")
            size //= 2
        return rows

    # A tile of the result

    def kernel(self, rows: int, vectors: int) -> str:
        """c = a b (+ c if %more) for one panel of each: sums of outer products, in registers."""
        lanes, kind, vector = self.tile.lanes, self.kind, self.vector
        width = vectors * lanes
        sums = [[self.fresh("sum") for _ in range(vectors)] for _ in range(rows)]
        next_ = {name: self.fresh("next") for row in sums for name in row}
        self.do("br label %step")
        self.do("step:")
        self.do("%p = phi i64 [ 0, %entry ], [ %p.next, %step ]")
        for name, after in next_.items():
            self.do(f"{name} = phi {vector} [ zeroinitializer, %entry ], [ {after}, %step ]")
        a, b = self.at("%a", self.mul("%p", rows)), self.at("%b", self.mul("%p", width))
        right = [
            self.let(f"load {vector}, ptr {self.at(b, v * lanes)}, align {self.tile.bytes}") for v in range(vectors)
        ]
        for i, row in enumerate(sums):
            x = self.let(f"load {kind}, ptr {self.at(a, i)}")
            one = self.let(f"insertelement {vector} poison, {kind} {x}, i64 0")
            left = self.let(f"shufflevector {vector} {one}, {vector} poison, <{lanes} x i32> zeroinitializer")
            for name, y in zip(row, right, strict=True):
                self.do(f"{next_[name]} = call {vector} {self.fma}({vector} {left}, {vector} {y}, {vector} {name})")
        self.do("%p.next = add nuw nsw i64 %p, 1")
        self.do("%again = icmp ult i64 %p.next, %k")
        self.do("br i1 %again, label %step, label %out")
        self.do("out:")
        tall = self.let(f"icmp sge i64 %m, {rows}")
        wide = self.let(f"icmp sge i64 %n, {width}")
        fits = self.let(f"and i1 {tall}, {wide}")
        self.do(f"br i1 {fits}, label %direct, label %part")
        self.do("direct:")
        places = [[self.at(self.at("%c", self.mul("%ld", i)), v * lanes) for v in range(vectors)] for i in range(rows)]
        self.do("br i1 %more, label %on, label %fresh")
        for label in ("fresh", "on"):
            self.do(f"{label}:")
            for row, slots in zip(sums, places, strict=True):
                for name, slot in zip(row, slots, strict=True):
                    total = next_[name]
                    if label == "on":
                        old = self.let(f"load {vector}, ptr {slot}, align {self.tile.bytes}")
                        total = self.let(f"fadd {vector} {old}, {total}")
                    self.do(f"store {vector} {total}, ptr {slot}, align {self.tile.bytes}")
            self.do("ret void")
        self.do("part:")
        masks = [self.mask(self.let(f"sub i64 %n, {v * lanes}")) for v in range(vectors)]
        kept = []
        for i in range(rows):
            inside = self.let(f"icmp sgt i64 %m, {i}")
            kept.append([
                self.let(f"select i1 {inside}, <{lanes} x i1> {lane}, <{lanes} x i1> zeroinitializer") for lane in masks
            ])  # fmt: skip
        self.do("br i1 %more, label %part.on, label %part.fresh")
        for label in ("part.fresh", "part.on"):
            self.do(f"{label}:")
            for i, (row, lane) in enumerate(zip(sums, kept, strict=True)):
                for v, name in enumerate(row):
                    total, mask = next_[name], f"<{lanes} x i1> {lane[v]}"
                    place = f"ptr {self.at(self.at('%c', self.mul('%ld', i)), v * lanes)}, i32 {self.tile.bytes}"
                    if label == "part.on":
                        old = self.let(f"call {vector} {self.load}({place}, {mask}, {vector} zeroinitializer)")
                        total = self.let(f"fadd {vector} {old}, {total}")
                    self.do(f"call void {self.store}({vector} {total}, {place}, {mask})")
            self.do("ret void")
        self.do("dead:")
        return self.function(
            f"define internal void @tile{rows}x{vectors}(ptr noalias readonly %a, ptr noalias readonly %b, i64 %k, "
            "ptr noalias %c, i64 %ld, i64 %m, i64 %n, i1 %more) noinline"
        )

    # Blocks

    def driver(self) -> str:
        tile = self.tile
        tall, short = tile.rows
        wide, narrow = (v * tile.lanes for v in tile.vectors)
        rows, columns = _blocks(tile)

        @contextlib.contextmanager
        def panels(count: str, sizes: tuple[int, int]) -> Iterator[tuple[str, str, str]]:
            """A loop over panels: where each starts, what is left there, and whether it is a large one."""
            with self.loop(0, count, sizes[0]) as start:
                left = self.let(f"sub i64 {count}, {start}")
                yield start, left, self.let(f"icmp sgt i64 {left}, {sizes[1]}")

        def pack(target: str, source: str, row: str, column: str, k: str, count: str, sizes: tuple[int, int]) -> None:
            """Panels of `count` rows."""
            with panels(count, sizes) as (start, left, large):
                width = self.let(f"select i1 {large}, i64 {sizes[0]}, i64 {sizes[1]}")
                rows = self.least(left, width)
                to, of = self.at(target, self.mul(start, k)), self.at(source, self.mul(start, row))
                with self.loop(0, rows, tile.lanes) as i:
                    valid = self.least(self.let(f"sub i64 {rows}, {i}"), tile.lanes)
                    kept = self.least(self.let(f"sub i64 {width}, {i}"), tile.lanes)
                    self.do(
                        f"call void @pack(ptr {self.at(to, i)}, i64 {width}, ptr {self.at(of, self.mul(i, row))}, "
                        f"i64 {row}, i64 {column}, i64 {k}, i64 {valid}, i64 {kept})"
                    )

        with self.loop(0, "%n", columns) as jc, self.loop(0, "%k", _DEPTH) as pc:
            n = self.least(self.let(f"sub i64 %n, {jc}"), columns)
            k = self.least(self.let(f"sub i64 %k, {pc}"), _DEPTH)
            more = self.let(f"icmp ne i64 {pc}, 0")
            right = self.at("%b", self.add(self.mul(pc, "%b.row"), self.mul(jc, "%b.column")))
            pack("%work", right, "%b.column", "%b.row", k, n, (wide, narrow))
            whole = self.let(f"and i64 {self.add(n, wide - 1)}, -{wide}")
            packed = self.at("%work", self.add(self.mul(whole, k), tile.lanes))
            with self.loop(0, "%m", rows) as ic:
                m = self.least(self.let(f"sub i64 %m, {ic}"), rows)
                above = self.at("%a", self.add(self.mul(ic, "%a.row"), self.mul(pc, "%a.column")))
                pack(packed, above, "%a.row", "%a.column", k, m, (tall, short))
                with (
                    panels(n, (wide, narrow)) as (j, n_left, n_large),
                    panels(m, (tall, short)) as (i, m_left, m_large),
                ):
                    x, y = self.at(packed, self.mul(i, k)), self.at("%work", self.mul(j, k))
                    place = self.add(self.mul(self.add(ic, i), "%c.row"), self.add(jc, j))
                    z = self.at("%c", place)
                    number = self.let(f"select i1 {n_large}, i32 0, i32 1")
                    number = self.let(f"add i32 {number}, {self.let(f'select i1 {m_large}, i32 0, i32 2')}")
                    label = self.fresh("tile")[1:]
                    self.do(
                        f"switch i32 {number}, label %{label}.0 [ i32 1, label %{label}.1 i32 2, label %{label}.2 "
                        f"i32 3, label %{label}.3 ]"
                    )
                    for t, (r, v) in enumerate((r, v) for r in tile.rows for v in tile.vectors):
                        self.do(f"{label}.{t}:")
                        self.do(
                            f"call void @tile{r}x{v}(ptr {x}, ptr {y}, i64 {k}, ptr {z}, i64 %c.row, i64 {m_left}, "
                            f"i64 {n_left}, i1 {more})"
                        )
                        self.do(f"br label %{label}")
                    self.do(f"{label}:")
        return self.function(
            "define void @gemm(ptr readonly %a, i64 %a.row, i64 %a.column, ptr readonly %b, i64 %b.row, i64 %b.column, "
            "ptr noalias %c, i64 %c.row, i64 %m, i64 %n, i64 %k, ptr noalias %work)"
        )
