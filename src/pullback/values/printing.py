"""Graphs as text: the one printer. `compile.text` reads back what it writes, bit for bit.

    graph(%0: float64[3], %1: int64[])
      %2: float64[3] = mul(%0, 2.0)
      %3: float64[] = sum(%2) axis=(0,) keepdims=False
      return %3

A symbol is written with its dtype and shape where it is made. Operands without a symbol are Python numbers (`2.0`),
NumPy scalars (`2.0:float32`), small arrays (`{1.0, 2.0}:float64[2]`) and large ones (`@0:float64[784,128]`), whose
bytes stand in a section behind the graph. A parameter may be a graph: it stands in braces, with numbers of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from pullback.values.graph import Graph, Instruction, Symbol
from pullback.values.shape import Spec, spec_of

__all__ = ["Printer"]

INLINE: Final = 8  # elements of an array that is written where it stands


class Printer:
    """Writes graphs; `constants` holds the large arrays met on the way, each once, in the order of their numbers.

    `exact`: what has no text that reads back is an error, else it is written by name, for the eye alone.
    """

    def __init__(self, exact: bool = True) -> None:
        self.exact = exact
        self.constants: list[np.ndarray[Any, Any]] = []
        self._numbers: dict[Any, int] = {}

    def graph(self, graph: Graph, indent: str = "") -> str:
        """The lines of a graph, joined."""
        inputs = ", ".join(map(self.symbol, graph.inputs))
        body = [self.instruction(step, indent + "  ") for step in graph.instructions]
        outputs = ", ".join(map(self.operand, graph.outputs))
        return f"\n{indent}  ".join([f"graph({inputs})", *body, f"return {outputs}".rstrip()])

    def instruction(self, step: Instruction, indent: str = "  ") -> str:
        """One instruction; `indent` is that of its line."""
        outputs = ", ".join(map(self.symbol, step.outputs))
        args = ", ".join(map(self.operand, step.args))
        return f"{outputs}{' = ' if outputs else ''}{step.op.name}({args}){self.params(step, indent)}"

    def params(self, step: Instruction, indent: str = "  ") -> str:
        """The parameters of an instruction, each with a space before it."""
        return "".join(f" {name}={self.value(value, indent)}" for name, value in step.params.items())

    def number(self, symbol: Symbol) -> int:
        """The number that a symbol goes by."""
        return symbol.index

    def symbol(self, symbol: Symbol) -> str:
        """A symbol where it is made."""
        return f"%{self.number(symbol)}: {symbol.spec}"

    def operand(self, value: Any) -> str:
        """A symbol by its number, or a constant."""
        return f"%{self.number(value)}" if isinstance(value, Symbol) else self.value(value)

    def value(self, value: Any, indent: str = "  ") -> str:
        """A constant or a parameter.

        Raises `TypeError` for what graphs do not hold.
        """
        if isinstance(value, np.ndarray | np.generic):
            return self._array(np.asarray(value))
        if value is Ellipsis:
            return "..."
        if isinstance(value, float | complex):
            return _number(value)
        if value is None or isinstance(value, bool | int | str):
            return repr(value)
        if isinstance(value, Spec | np.dtype):
            return str(value)
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            fields = zip(value._fields, value, strict=True)
            return f"{type(value).__name__}({', '.join(f'{name}={self.value(v, indent)}' for name, v in fields)})"
        if isinstance(value, tuple | list):
            inside = ", ".join([self.value(v, indent) for v in value])
            return f"[{inside}]" if isinstance(value, list) else f"({inside}{',' if len(value) == 1 else ''})"
        if isinstance(value, slice):
            return f"slice({', '.join(map(self.value, (value.start, value.stop, value.step)))})"
        if isinstance(value, Graph):
            return f"{{\n{indent}  {self.graph(value, indent + '  ')}\n{indent}}}"
        if not self.exact:
            return f"<{getattr(value, '__qualname__', type(value).__name__)}>"
        raise TypeError(f"a graph does not hold {type(value).__name__} values")

    def _array(self, array: np.ndarray[Any, Any]) -> str:
        if array.dtype.kind not in "biufc":
            raise TypeError(f"a graph does not hold arrays of {array.dtype}")
        spec = spec_of(array)
        kind = str(spec) if spec.shape else str(spec.dtype)
        if array.size > INLINE or array.dtype.itemsize > (16 if array.dtype.kind == "c" else 8):
            return f"@{self._numbered(array)}:{kind}"
        numbers = _numbers(array.reshape(-1))
        return f"{next(iter(numbers))}:{kind}" if not spec.shape else f"{{{', '.join(numbers)}}}:{kind}"

    def _numbered(self, array: np.ndarray[Any, Any]) -> int:
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in self._numbers:
            self._numbers[key] = len(self.constants)
            self.constants.append(array)
        return self._numbers[key]


def _numbers(line: np.ndarray[Any, Any]) -> Iterable[str]:
    """The elements of an array of one axis, each exactly."""
    if line.dtype.kind == "c":
        return [f"complex({', '.join(_numbers(np.array([x.real, x.imag])))})" for x in line]
    if line.dtype.kind == "f":
        return [_nan(bits, line.dtype.itemsize) if np.isnan(x) else repr(float(x)) for x, bits in _with_bits(line)]
    return [repr(x.item()) for x in line]


def _with_bits(line: np.ndarray[Any, Any]) -> Iterable[tuple[Any, int]]:
    return zip(line, line.astype(line.dtype.newbyteorder("=")).view(f"u{line.dtype.itemsize}").tolist(), strict=True)


def _number(value: Any) -> str:
    """A Python float or complex number."""
    if isinstance(value, complex):
        return f"complex({_number(value.real)}, {_number(value.imag)})"
    return next(iter(_numbers(np.array([value])))) if math.isnan(value) else repr(value)


def _nan(bits: int, size: int) -> str:
    """`nan` for Python's own, else with its bits."""
    usual = int(np.array(math.nan, f"f{size}").view(f"u{size}"))
    return "nan" if bits == usual else f"nan({bits:#x})"
