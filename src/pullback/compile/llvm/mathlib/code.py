"""LLVM IR text, written with Python's operators.

A `Code` collects the instructions of one straight run of IR; its `Value`s are typed SSA values whose operators append
to it. Only what the mathematics library needs is here: floating point, integers of the same width, selects.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["FORMATS", "Code", "Format", "Value"]


@dataclass(frozen=True)
class Format:
    """A binary floating-point type of IEEE 754: its LLVM name, the integer of its width, bits of the fraction."""

    name: str
    suffix: str
    integer: str
    fraction: int
    bias: int

    @property
    def magic(self) -> float:
        """1.5·2^fraction: adding it rounds to an integer, which stands in the low bits of the sum."""
        return 1.5 * 2.0**self.fraction

    @property
    def sign(self) -> int:
        """The integer whose only bit is the sign."""
        return -(1 << (63 if self.integer == "i64" else 31))

    @property
    def tiny(self) -> float:
        """The smallest normal number."""
        return 2.0 ** (1 - self.bias)

    def encode(self, number: float) -> int:
        """The bits of a number, as a signed integer."""
        pack = ("<d", "<q") if self.name == "double" else ("<f", "<i")
        return int(struct.unpack(pack[1], struct.pack(pack[0], number))[0])


FORMATS = {
    "double": Format("double", "f64", "i64", 52, 1023),
    "float": Format("float", "f32", "i32", 23, 127),
}
_INTEGERS = {f.integer: f for f in FORMATS.values()}
Operand = "Value | float | int"


class Value:
    """An SSA value (or a constant) of a type, such as `double`, `i64` or `i1`. Python numbers take the other's type."""

    __slots__ = ("code", "text", "type")

    def __init__(self, code: Code, type: str, text: str) -> None:
        self.code, self.type, self.text = code, type, text

    @property
    def format(self) -> Format:
        """The format of this floating-point number."""
        return FORMATS[self.type]

    def _with(self, operation: str, other: Value | float, swap: bool = False) -> Value:
        b = self.code.constant(other, self.type)
        x, y = (b, self) if swap else (self, b)
        return self.code.emit(self.type, f"{operation} {self.type} {x.text}, {y.text}")

    def _arithmetic(self, name: str, other: Value | float, swap: bool = False) -> Value:
        return self._with("f" + name if self.type in FORMATS else name, other, swap)

    def _compare(self, relation: str, other: Value | float) -> Value:
        b = self.code.constant(other, self.type)
        if self.type in FORMATS:
            kind = "fcmp " + ("une" if relation == "ne" else "o" + relation)
        else:
            kind = "icmp " + (relation if relation in ("eq", "ne") else "s" + relation)
        return self.code.emit("i1", f"{kind} {self.type} {self.text}, {b.text}")

    def __add__(self, other: Value | float) -> Value:
        return self._arithmetic("add", other)

    def __sub__(self, other: Value | float) -> Value:
        return self._arithmetic("sub", other)

    def __rsub__(self, other: float) -> Value:
        return self._arithmetic("sub", other, swap=True)

    def __mul__(self, other: Value | float) -> Value:
        return self._arithmetic("mul", other)

    def __truediv__(self, other: Value | float) -> Value:
        return self._with("fdiv", other)

    def __rtruediv__(self, other: float) -> Value:
        return self._with("fdiv", other, swap=True)

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self) -> Value:
        if self.type in FORMATS:
            return self.code.emit(self.type, f"fneg {self.type} {self.text}")
        return 0 - self

    def __lt__(self, other: Value | float) -> Value:
        return self._compare("lt", other)

    def __le__(self, other: Value | float) -> Value:
        return self._compare("le", other)

    def __gt__(self, other: Value | float) -> Value:
        return self._compare("gt", other)

    def __ge__(self, other: Value | float) -> Value:
        return self._compare("ge", other)

    def equals(self, other: Value | float) -> Value:
        """Whether the two are equal; false of NaN."""
        return self._compare("eq", other)

    def differs(self, other: Value | float) -> Value:
        """Whether the two differ; true of NaN."""
        return self._compare("ne", other)

    def __and__(self, other: Value | int) -> Value:
        return self._with("and", other)

    def __or__(self, other: Value | int) -> Value:
        return self._with("or", other)

    def __xor__(self, other: Value | int) -> Value:
        return self._with("xor", other)

    def __invert__(self) -> Value:
        return self ^ (1 if self.type == "i1" else -1)

    def __lshift__(self, count: int) -> Value:
        return self._with("shl", count)

    def __rshift__(self, count: int) -> Value:
        """The logical shift: zeros come in."""
        return self._with("lshr", count)

    @property
    def bits(self) -> Value:
        """The bits of a floating-point number, as an integer."""
        return self.code.emit(self.format.integer, f"bitcast {self.type} {self.text} to {self.format.integer}")

    @property
    def number(self) -> Value:
        """The floating-point number of which these are the bits."""
        name = _INTEGERS[self.type].name
        return self.code.emit(name, f"bitcast {self.type} {self.text} to {name}")

    def to(self, type: str) -> Value:
        """The floating-point number in another format."""
        if type == self.type:
            return self
        return self.code.emit(type, f"{'fpext' if type == 'double' else 'fptrunc'} {self.type} {self.text} to {type}")


class Code:
    """Instructions in the making. `fma` tells that the target multiplies and adds with one rounding in hardware,
    `scales` that it has an instruction for x·2^n.

    `declarations` collects the intrinsics that were called and `tables` the constant arrays that were read.
    """

    def __init__(self, fma: bool = True, scales: bool = False) -> None:
        self.has_fma = fma
        self.scales = scales
        self.lines: list[str] = []
        self.declarations: set[str] = set()
        self.tables: dict[str, str] = {}

    def emit(self, type: str, text: str) -> Value:
        """Append `text` as an instruction that yields a value of a type."""
        name = f"%t{len(self.lines)}"
        self.lines.append(f"  {name} = {text}")
        return Value(self, type, name)

    def constant(self, number: Value | float, type: str) -> Value:
        """A Python number as a constant of the type; a Value is returned as it is."""
        if isinstance(number, Value):
            return number
        if type == "float":  # LLVM writes float constants with the bits of the double of the same value
            number = float(struct.unpack("<f", struct.pack("<f", number))[0])
        if type in FORMATS:
            return Value(self, type, f"0x{struct.unpack('<Q', struct.pack('<d', number))[0]:016X}")
        return Value(self, type, str(int(number)))

    def intrinsic(self, name: str, x: Value, *others: Value | float) -> Value:
        """The LLVM intrinsic `name`, whose operands and result are all of x's type."""
        operands = [x, *(self.constant(y, x.type) for y in others)]
        callee = f"@llvm.{name}.{x.format.suffix}"
        self.declarations.add(f"declare {x.type} {callee}({', '.join([x.type] * len(operands))})")
        return self.emit(x.type, f"call {x.type} {callee}({', '.join(f'{y.type} {y.text}' for y in operands)})")

    def ldexp(self, x: Value, n: Value) -> Value:
        """x·2^n for an integer that 32 bits hold, rounded once."""
        if n.type == "i64":
            n = self.emit("i32", f"trunc i64 {n.text} to i32")
        callee = f"@llvm.ldexp.{x.format.suffix}.i32"
        self.declarations.add(f"declare {x.type} {callee}({x.type}, i32)")
        return self.emit(x.type, f"call {x.type} {callee}({x.type} {x.text}, i32 {n.text})")

    def where(self, condition: Value, x: Value | float, y: Value | float) -> Value:
        """x where the condition holds, else y."""
        type = x.type if isinstance(x, Value) else y.type if isinstance(y, Value) else ""
        a, b = self.constant(x, type), self.constant(y, type)
        return self.emit(type, f"select i1 {condition.text}, {type} {a.text}, {type} {b.text}")

    def clamp(self, x: Value, low: float, high: float) -> Value:
        """x within bounds; NaN stays NaN."""
        x = self.where(x < low, low, x)
        return self.where(x > high, high, x)

    def abs(self, x: Value) -> Value:
        return self.intrinsic("fabs", x)

    def sqrt(self, x: Value) -> Value:
        return self.intrinsic("sqrt", x)

    def flip(self, x: Value, sign: Value) -> Value:
        """x, negated where the sign bit of the integer `sign` is set."""
        return (x.bits ^ (sign & x.format.sign)).number

    def signed(self, magnitude: Value, x: Value) -> Value:
        """A number that is not negative, with the sign of x."""
        return (magnitude.bits | (x.bits & x.format.sign)).number

    def mad(self, x: Value, y: Value | float, z: Value | float) -> Value:
        """x·y + z, with one rounding or two, whichever is fast."""
        return self.intrinsic("fmuladd", x, y, z)

    def fma(self, x: Value, y: Value | float, z: Value | float) -> Value:
        """x·y + z with one rounding; without the instruction, exact where z cancels most of x·y, else with two."""
        if self.has_fma:
            return self.intrinsic("fma", x, y, z)
        p, e = self.two_product(x, y)
        return (p + z) + e

    def two_product(self, x: Value, y: Value | float) -> tuple[Value, Value]:
        """x·y as a sum of two numbers, exactly (T. J. Dekker, Numer. Math. 18, 1971, where there is no fma)."""
        p = x * y
        if self.has_fma:
            return p, self.intrinsic("fma", x, y, -p)
        (xh, xl), (yh, yl) = self._halves(x), self._halves(self.constant(y, x.type))
        return p, ((xh * yh - p) + xh * yl + xl * yh) + xl * yl

    def _halves(self, x: Value) -> tuple[Value, Value]:
        t = x * (2.0 ** ((x.format.fraction + 2) // 2) + 1)
        high = t - (t - x)
        return high, x - high

    def two_sum(self, x: Value, y: Value | float) -> tuple[Value, Value]:
        """x + y as a sum of two numbers, exactly (D. E. Knuth, The Art of Computer Programming, 4.2.2)."""
        s = x + y
        b = s - x
        return s, (x - (s - b)) + (y - b)

    def fast_two_sum(self, x: Value | float, y: Value) -> tuple[Value, Value]:
        """`two_sum` where x is the larger, or zero."""
        s = x + y
        return s, y - (s - x)

    def quotient(self, x: Value, x_low: Value | float, y: Value, y_low: Value) -> Value:
        """(x + x_low)/(y + y_low) within 0.6 ulp, for sums of two numbers."""
        inverse = 1 / y
        q = x * inverse
        return self.mad(self.fma(-q, y, x) + (x_low - q * y_low), inverse, q)

    def polynomial(self, coefficients: Sequence[float], x: Value) -> Value:
        """The sum of coefficients[k]·x^k."""
        result: Value | float = coefficients[-1]
        for c in reversed(coefficients[:-1]):
            result = self.mad(x, result, c)
        assert isinstance(result, Value)
        return result

    def load(self, table: str, values: Sequence[float], index: Value) -> Value:
        """The double at an index (i64) of a constant table."""
        numbers = ", ".join(f"double {self.constant(v, 'double').text}" for v in values)
        self.tables[table] = f"{table} = private unnamed_addr constant [{len(values)} x double] [{numbers}], align 64"
        place = self.emit("ptr", f"getelementptr inbounds double, ptr {table}, i64 {index.text}")
        return self.emit("double", f"load double, ptr {place.text}, align 8")
