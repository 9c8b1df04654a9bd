"""LLVM IR as text, written through Python's operators: the `Builder` that the table's lowerings compute with."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pullback.compile.llvm.mathlib import symbol

__all__ = ["INDEX", "Emitter", "Lines", "Number", "literal", "llvm_type", "memory_type", "quotient"]

INDEX: Final = np.dtype(np.int64)
BOOL: Final = np.dtype(bool)
_FLOATS: Final = {np.dtype(np.float64): "double", np.dtype(np.float32): "float"}


def llvm_type(dtype: np.dtype[Any]) -> str:
    """The type of a number in a register: for dtypes that are only moved about, complex say, as many bits."""
    if dtype == BOOL:
        return "i1"
    return _FLOATS.get(dtype) or f"i{8 * dtype.itemsize}"


def memory_type(dtype: np.dtype[Any]) -> str:
    """The type of a number in memory, where a boolean is a byte."""
    return "i8" if dtype == BOOL else llvm_type(dtype)


def _rounded(number: Any, dtype: np.dtype[Any]) -> float:
    """The float of a dtype that a number becomes, too large ones infinity."""
    with np.errstate(over="ignore"):
        return float(dtype.type(number))


def literal(number: Any, dtype: np.dtype[Any]) -> str:
    """A constant: floats by their bits, so that nothing is rounded on the way."""
    if dtype.kind == "f":
        return f"0x{struct.unpack('<Q', struct.pack('<d', _rounded(number, dtype)))[0]:016X}"
    if dtype == BOOL:
        return "true" if number else "false"
    bits = 8 * dtype.itemsize
    wrapped = int(number) & ((1 << bits) - 1)
    return str(wrapped - (1 << bits) if wrapped >> (bits - 1) else wrapped)


class Number:
    """A number in a register of the function being written: its name (or a literal), and its dtype."""

    __slots__ = ("dtype", "emitter", "name")

    if TYPE_CHECKING:  # given by `_operator` below

        def __add__(self, other: Any) -> Number: ...
        def __radd__(self, other: Any) -> Number: ...
        def __sub__(self, other: Any) -> Number: ...
        def __rsub__(self, other: Any) -> Number: ...
        def __mul__(self, other: Any) -> Number: ...
        def __rmul__(self, other: Any) -> Number: ...
        def __truediv__(self, other: Any) -> Number: ...
        def __and__(self, other: Any) -> Number: ...
        def __or__(self, other: Any) -> Number: ...
        def __xor__(self, other: Any) -> Number: ...
        def __lt__(self, other: Any) -> Number: ...
        def __le__(self, other: Any) -> Number: ...
        def __gt__(self, other: Any) -> Number: ...
        def __ge__(self, other: Any) -> Number: ...

    __hash__ = None  # type: ignore[assignment]  # == would have to compute

    def __init__(self, emitter: Emitter, name: str, dtype: np.dtype[Any]) -> None:
        self.emitter = emitter
        self.name = name
        self.dtype = dtype

    def __repr__(self) -> str:
        return f"{llvm_type(self.dtype)} {self.name}"

    def __bool__(self) -> bool:
        raise TypeError("a lowering can't branch on a number that exists when the code runs: use b.where")

    def __neg__(self) -> Number:
        emit = self.emitter
        if self.dtype.kind == "f":
            return emit.line(f"fneg {self!r}", self.dtype)
        return emit.line(f"sub {llvm_type(self.dtype)} 0, {self.name}", self.dtype)

    def __invert__(self) -> Number:
        ones = "true" if self.dtype == BOOL else "-1"
        return self.emitter.line(f"xor {self!r}, {ones}", self.dtype)


def _operator(
    name: str, floats: str | None, signed: str | None, unsigned: str | None = None, result: np.dtype[Any] | None = None
) -> None:
    """Give `Number` an operator: the LLVM instruction for floats, for signed and for unsigned integers."""

    def apply(a: Number, b: Number) -> Number:
        kind = a.dtype.kind
        opcode = floats if kind == "f" else (unsigned or signed) if kind in "ub" else signed
        if opcode is None:
            raise TypeError(f"{name} is not for {a.dtype}")
        return a.emitter.line(f"{opcode} {a!r}, {b.name}", result or a.dtype)

    def forward(self: Number, other: Any) -> Any:
        return apply(*self.emitter.meet(self, other))

    def backward(self: Number, other: Any) -> Any:
        return apply(*self.emitter.meet(other, self))

    setattr(Number, f"__{name}__", forward)
    if result is None:
        setattr(Number, f"__r{name}__", backward)


_operator("add", "fadd", "add")
_operator("sub", "fsub", "sub")
_operator("mul", "fmul", "mul")
_operator("truediv", "fdiv", None)
_operator("and", None, "and")
_operator("or", None, "or")
_operator("xor", None, "xor")
_operator("lshift", None, "shl")
_operator("rshift", None, "ashr", "lshr")
for _name, _condition in (("lt", "lt"), ("le", "le"), ("gt", "gt"), ("ge", "ge")):
    _operator(_name, f"fcmp o{_condition}", f"icmp s{_condition}", f"icmp u{_condition}", BOOL)


def _intrinsic(name: str, operands: int = 1) -> Callable[..., Number]:
    def method(self: Emitter, *xs: Any) -> Number:
        return self.intrinsic(name, *self.meet(*xs))

    return method


class Lines:
    """The lines of one function as they are written; `heads`, allocas and the like, come before the others."""

    def __init__(self) -> None:
        self.heads: list[str] = []
        self.lines: list[str] = []
        self.count = 0

    def fresh(self, stem: str = "v") -> str:
        """A register that is not in use."""
        self.count += 1
        return f"%{stem}{self.count}"

    def do(self, text: str) -> None:
        """An instruction without a result, or a label."""
        self.lines.append(text if text.endswith(":") else f"  {text}")

    def alloca(self, kind: str, stem: str) -> str:
        """A register with the address of memory on the stack for something of this type."""
        name = self.fresh(stem)
        self.heads.append(f"  {name} = alloca {kind}")
        return name

    def address(self, kind: str, pointer: str, index: str | int) -> str:
        """A register with the address of an element of this type, counted from the pointer."""
        name = self.fresh("a")
        self.do(f"{name} = getelementptr inbounds {kind}, ptr {pointer}, i64 {index}")
        return name

    def definition(self, head: str) -> str:
        """The function of these lines, which end with its last `ret`."""
        return "\n".join([f"{head} {{", "entry:", *self.heads, *self.lines, "}"])


class Emitter(Lines):
    """The lines of one function, and what of the module they need."""

    def __init__(self) -> None:
        super().__init__()
        self.declared: set[str] = set()  # declarations of intrinsics and routines
        self.functions: set[tuple[str, str]] = set()  # of the mathematics library: (name, type)
        self.flagged = False  # whether an index may turn out to be out of bounds

    # Lines

    def line(self, text: str, dtype: np.dtype[Any]) -> Number:
        """An instruction whose result has this dtype."""
        name = self.fresh()
        self.lines.append(f"  {name} = {text}")
        return Number(self, name, dtype)

    @contextlib.contextmanager
    def loop(self, first: str | int, end: str | int, metadata: str = "") -> Iterator[Number]:
        """A loop around what is written meanwhile: its index goes from `first` up to `end`, which must be larger."""
        index = self.fresh("i")
        label = index[1:]
        self.do(f"br label %before.{label}")
        self.do(f"before.{label}:")
        self.do(f"br label %head.{label}")
        self.do(f"head.{label}:")
        self.do(f"{index} = phi i64 [ {first}, %before.{label} ], [ {index}.next, %latch.{label} ]")
        yield Number(self, index, INDEX)
        self.do(f"br label %latch.{label}")
        self.do(f"latch.{label}:")
        self.do(f"{index}.next = add nuw nsw i64 {index}, 1")
        self.do(f"{index}.more = icmp ult i64 {index}.next, {end}")
        self.do(f"br i1 {index}.more, label %head.{label}, label %exit.{label}{metadata}")
        self.do(f"exit.{label}:")

    # Operands

    def constant(self, number: Any, dtype: Any) -> Number:
        dtype = np.dtype(dtype)
        return Number(self, literal(number, dtype), dtype)

    def place(self, number: int) -> Number:
        """A number to index with."""
        return Number(self, str(number), INDEX)

    def index(self, i: Any, n: int) -> Number:
        """The place in [0, n) that an integer names; one outside is noted in the flag that `run` looks at."""
        i = self.cast(i, INDEX)
        i = self.where(i < 0, i + n, i)
        inside = self.line(f"icmp ult {i!r}, {n}", BOOL)
        self.flagged = True
        old = self.line("load i8, ptr %flag", np.dtype(np.uint8))
        bad = self.line(f"zext {(~inside)!r} to i8", old.dtype)
        self.do(f"store {(old | bad)!r}, ptr %flag")
        return self.where(inside, i, 0)

    def meet(self, *xs: Any) -> list[Number]:
        """Operands in the dtype that NumPy would promote them to, Python numbers being weak."""
        dtypes = {x.dtype for x in xs if isinstance(x, Number)}
        weak = [x for x in xs if not isinstance(x, Number)]
        kinds = set(map(type, weak))
        dtype = next(iter(dtypes)) if len(dtypes) == 1 else None
        if dtype is None or (dtype.kind != "f" and float in kinds) or (dtype == BOOL and int in kinds):
            dtype = np.result_type(*dtypes, *weak)
        return [self.cast(x, dtype) if isinstance(x, Number) else self.constant(x, dtype) for x in xs]

    # The protocol of `ops.lowering.Builder`

    def cast(self, x: Any, dtype: Any) -> Number:
        dtype = np.dtype(dtype)
        if not isinstance(x, Number):
            return self.constant(x, dtype)
        have = x.dtype
        if have == dtype:
            return x
        target = llvm_type(dtype)
        if dtype == BOOL:
            zero = "0.0" if have.kind == "f" else "0"
            return self.line(f"{'fcmp une' if have.kind == 'f' else 'icmp ne'} {x!r}, {zero}", dtype)
        if have.kind == "f":
            if dtype.kind == "f":
                return self.line(f"{'fpext' if dtype.itemsize > have.itemsize else 'fptrunc'} {x!r} to {target}", dtype)
            return self._float_to_integer(x, dtype)
        if dtype.kind == "f":
            return self.line(f"{'sitofp' if have.kind == 'i' else 'uitofp'} {x!r} to {target}", dtype)
        if have == BOOL or dtype.itemsize > have.itemsize:
            return self.line(f"{'sext' if have.kind == 'i' else 'zext'} {x!r} to {target}", dtype)
        if dtype.itemsize < have.itemsize:
            return self.line(f"trunc {x!r} to {target}", dtype)
        return Number(self, x.name, dtype)  # signedness is not in the bits

    def _float_to_integer(self, x: Number, dtype: np.dtype[Any]) -> Number:
        """As x86-64 converts, and NumPy there: through int64, whose least value stands for what doesn't fit."""
        if dtype.itemsize == 8 and dtype.kind == "u":
            high = x >= 2.0**63
            low = self._float_to_integer(self.where(high, x - 2.0**63, x), INDEX)
            bits = low ^ self.where(high, self.constant(-(2**63), INDEX), self.constant(0, INDEX))
            return Number(self, bits.name, dtype)
        wide = INDEX if dtype.itemsize == 8 or dtype == np.uint32 else np.dtype(np.int32)
        inside = (x >= -(2.0 ** (8 * wide.itemsize - 1))) & (x < 2.0 ** (8 * wide.itemsize - 1))
        safe = self.where(inside, x, 0.0)
        bits = self.line(f"fptosi {safe!r} to {llvm_type(wide)}", wide)
        least = self.constant(-(2 ** (8 * wide.itemsize - 1)), wide)
        return self.cast(self.where(inside, bits, least), dtype)

    def where(self, condition: Any, x: Any, y: Any) -> Number:
        if not isinstance(condition, Number):
            return self.meet(x, y)[0 if condition else 1]
        condition = self.cast(condition, BOOL)
        x, y = self.meet(x, y)
        return self.line(f"select i1 {condition.name}, {x!r}, {y!r}", x.dtype)

    def equal(self, x: Any, y: Any) -> Number:
        x, y = self.meet(x, y)
        return self.line(f"{'fcmp oeq' if x.dtype.kind == 'f' else 'icmp eq'} {x!r}, {y.name}", BOOL)

    def isnan(self, x: Any) -> Number:
        if x.dtype.kind != "f":
            return self.constant(False, BOOL)
        return self.line(f"fcmp uno {x!r}, {x.name}", BOOL)

    def intrinsic(self, name: str, *xs: Number) -> Number:
        """`llvm.name` of operands of one type."""
        kind = llvm_type(xs[0].dtype)
        full = f"@llvm.{name}.{'f' + str(8 * xs[0].dtype.itemsize) if xs[0].dtype.kind == 'f' else kind}"
        self.declared.add(f"declare {kind} {full}({', '.join([kind] * len(xs))})")
        return self.line(f"call {kind} {full}({', '.join(map(repr, xs))})", xs[0].dtype)

    def call(self, name: str, *xs: Any) -> Number:
        xs = tuple(self.meet(*xs))
        kind = llvm_type(xs[0].dtype)
        self.functions.add((name, kind))
        return self.line(f"call {kind} {symbol(name, kind)}({', '.join(map(repr, xs))})", xs[0].dtype)

    sqrt = _intrinsic("sqrt")
    floor = _intrinsic("floor")
    ceil = _intrinsic("ceil")
    trunc = _intrinsic("trunc")
    rint = _intrinsic("rint")
    copysign = _intrinsic("copysign")
    fma = _intrinsic("fma")

    def abs(self, x: Any) -> Number:
        if x.dtype.kind == "f":
            return self.intrinsic("fabs", x)
        return self.where(x < 0, -x, x) if x.dtype.kind == "i" else x

    def maximum(self, x: Any, y: Any) -> Number:
        x, y = self.meet(x, y)
        return self.intrinsic("maximum", x, y) if x.dtype.kind == "f" else self.where(x >= y, x, y)

    def minimum(self, x: Any, y: Any) -> Number:
        x, y = self.meet(x, y)
        return self.intrinsic("minimum", x, y) if x.dtype.kind == "f" else self.where(x <= y, x, y)

    def product(self, x: Number, y: Number) -> Number:
        """x·y, about to be added to a sum: both may be rounded as one."""
        return self.line(f"fmul contract {x!r}, {y.name}", x.dtype)

    def signbit(self, x: Any) -> Number:
        if x.dtype.kind != "f":
            return x < 0 if x.dtype.kind == "i" else self.constant(False, BOOL)
        kind = f"i{8 * x.dtype.itemsize}"
        bits = self.line(f"bitcast {x!r} to {kind}", np.dtype(f"i{x.dtype.itemsize}"))
        return bits < 0

    def divide(self, x: Any, y: Any) -> Number:
        return self._quotient(x, y, "div")

    def remainder(self, x: Any, y: Any) -> Number:
        return self._quotient(x, y, "rem")

    def _quotient(self, x: Any, y: Any, name: str) -> Number:
        """Guarded: division by 0, and of the least number by -1, must not trap."""
        x, y = self.meet(x, y)
        if x.dtype.kind == "f":
            return self.line(f"frem {x!r}, {y.name}", x.dtype)
        none = self.equal(y, 0)
        sign = "s" if x.dtype.kind == "i" else "u"
        if sign == "u":
            found = self.line(f"u{name} {x!r}, {self.where(none, 1, y).name}", x.dtype)
            return self.where(none, 0, found)
        flips = self.equal(y, -1)
        found = self.line(f"s{name} {x!r}, {self.where(none | flips, 1, y).name}", x.dtype)
        return self.where(none, 0, self.where(flips, -x if name == "div" else self.constant(0, x.dtype), found))


def quotient(emit: Emitter, x: Number, y: Any) -> Number:
    """x / y where y is a constant or the same in a whole loop, by its inverse as a sum of two numbers: one operation
    more than a product with the inverse, and rounded as a division but for one result in many millions, and for
    subnormal ones, which may be the next number.

    N. Brisebarre and J.-M. Muller, Correctly rounded multiplication by arbitrary precision constants (2008). Both parts
    of the inverse have one sign, so that no infinity meets another. Divisors near the ends of the range divide.
    """
    limit = 2.0**100 if x.dtype.itemsize == 4 else 2.0**1000
    if not isinstance(y, Number):
        divisor = _rounded(y, x.dtype)
        if not 1 / limit < abs(divisor) < limit:
            return x / emit.constant(y, x.dtype)
        exact = 1 / Fraction(divisor)
        near = x.dtype.type(float(exact))
        if abs(Fraction(float(near))) > abs(exact):
            near = np.nextafter(near, x.dtype.type(0))
        rest = float(exact - Fraction(float(near)))
        first = emit.constant(near, x.dtype)
        return emit.intrinsic("fma", x, first, x * emit.constant(rest, x.dtype)) if rest else x * first
    size = emit.abs(y)
    usual = (size > 1 / limit) & (size < limit)
    inverse = emit.constant(1, x.dtype) / y
    integer = np.dtype(f"i{x.dtype.itemsize}")
    bits = emit.line(f"bitcast {inverse!r} to {llvm_type(integer)}", integer)
    below = emit.line(f"bitcast {(bits - 1)!r} to {llvm_type(x.dtype)}", x.dtype)
    one = emit.constant(1, x.dtype)
    high = emit.where(emit.intrinsic("fma", -inverse, y, one) < 0, below, inverse)
    low = emit.intrinsic("fma", -high, y, one) * inverse
    return emit.where(usual, emit.intrinsic("fma", x, high, x * low), x / y)
