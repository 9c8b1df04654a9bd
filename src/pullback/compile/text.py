"""Graphs as text that reads back identically: `values.printing` writes it, a small parser here reads it.

Nothing is evaluated: names are looked up in the op table and in a short list of records, numbers and strings are
converted, and every instruction's shapes are checked against what the text says.
"""

from __future__ import annotations

import ast
import base64
import binascii
import math
import re
import struct
from typing import Any, Final, NamedTuple, NoReturn

import numpy as np

from pullback.compile.verify import misuse
from pullback.ops.resample import Taps
from pullback.ops.table import TABLE
from pullback.ops.windows import Window
from pullback.values.graph import Graph, Symbol
from pullback.values.printing import Printer
from pullback.values.shape import Spec

__all__ = ["parse_graph", "print_graph"]

RECORDS: Final[dict[str, Any]] = {record.__name__: record for record in (Taps, Window)}
DEEPEST: Final = 50  # parentheses within parentheses
_WORDS: Final[dict[str, Any]] = {"True": True, "False": False, "None": None, "inf": math.inf}
_DTYPE: Final = re.compile(r"bool|u?int(8|16|32|64)|float(16|32|64|96|128)|complex(64|128|192|256)|>[iufc][0-9]{1,2}")
_TOKEN: Final = re.compile(
    r"""(?P<space>[ \t\r]+)|(?P<line>\n)
    |(?P<string>'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")
    |(?P<number>-inf\b|-?0x[0-9a-f]+|-?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)
    |(?P<name>[A-Za-z_][A-Za-z_0-9]*|>[a-z][0-9]+)
    |(?P<mark>\.\.\.|[()\[\]{},:=%@])
    |(?P<other>.)""",
    re.VERBOSE,
)


def print_graph(graph: Graph) -> str:
    """The graph as text, complete: large constants follow in a section of their own, each once.

    Raises `TypeError` for parameters that graphs do not hold.

    >>> from pullback.transforms.trace import trace
    >>> print(print_graph(trace(lambda x: x * 2.0, 1.5).graph))
    graph(%0: float64[])
      %1: float64[] = mul(%0, 2.0)
      return %1
    """
    printer = Printer()
    lines = [printer.graph(graph)]
    for i, array in enumerate(printer.constants):
        data = base64.b64encode(array.tobytes()).decode("ascii")
        lines.append(f"@{i}: {Spec(array.shape, array.dtype)} = '{data}'")
    return "\n".join(lines)


def parse_graph(text: str) -> Graph:
    """The graph that `print_graph` wrote: printed again it gives the same text.

    Raises `ValueError` with the line for text that is no graph.
    """
    return _Parser(text).whole()


class _Token(NamedTuple):
    kind: str
    text: str
    line: int


class _Bits(NamedTuple):
    """A NaN with these bits."""

    bits: int


class _Complex(NamedTuple):
    """A complex number, part by part: floats and NaNs with their bits."""

    parts: list[Any]


class _Array(NamedTuple):
    """Elements in braces, whose dtype follows."""

    values: list[Any]


class _Parser:
    """A recursive descent over the tokens; symbols are known by their numbers in the text, graph by graph."""

    def __init__(self, text: str) -> None:
        lines = text.split("\n")
        end = next((i for i, line in enumerate(lines) if line.startswith("@")), len(lines))
        self.line = 1
        self.depth = 0
        self.constants = [self._constant(i, line, end + i + 1) for i, line in enumerate(lines[end:]) if line.strip()]
        self.tokens = self._tokens("\n".join(lines[:end]))
        self.place = 0

    # Tokens

    def fail(self, reason: str) -> NoReturn:
        raise ValueError(f"line {self.line}: {reason}")

    def _tokens(self, text: str) -> list[_Token]:
        tokens, self.line = [], 1
        for match in _TOKEN.finditer(text):
            kind = match.lastgroup or "other"
            if kind == "line":
                self.line += 1
            elif kind == "other":
                self.fail(f"{match.group()!r} is not expected")
            elif kind != "space":
                tokens.append(_Token(kind, match.group(), self.line))
        return [*tokens, _Token("end", "the end", self.line)]

    def peek(self, ahead: int = 0) -> str:
        return self.tokens[min(self.place + ahead, len(self.tokens) - 1)].text

    def take(self, kind: str = "", text: str = "") -> str:
        """The next token, which must be of this kind or be this text."""
        token = self.tokens[self.place]
        self.line = token.line
        if (kind and token.kind != kind) or (text and (token.text != text or token.kind == "string")):
            self.fail(f"{text or 'a ' + kind} is expected, not {token.text!r}")
        self.place += token.kind != "end"
        return token.text

    def at(self, text: str) -> bool:
        """Whether the next token is this one; then it is taken."""
        found = self.peek() == text and self.tokens[self.place].kind in ("mark", "name")
        self.place += found
        return found

    def items(self, close: str, item: Any) -> list[Any]:
        """What `item` reads, separated by commas, up to `close`."""
        found: list[Any] = []
        while not self.at(close):
            if found:
                self.take(text=",")
                if self.at(close):
                    break
            found.append(item())
        return found

    def natural(self) -> int:
        text = self.take("number")
        if not text.isdigit():
            self.fail(f"{text} is no number of a symbol or length")
        return self.integer(text)

    def integer(self, text: str) -> int:
        try:
            return int(text)
        except ValueError as error:
            self.fail(str(error))

    # Graphs

    def whole(self) -> Graph:
        graph = self.graph()
        self.take(text="the end")
        return graph

    def graph(self) -> Graph:
        graph = Graph()
        symbols: dict[int, Symbol] = {}
        self.take(text="graph")
        self.take(text="(")
        for number, spec in self.items(")", self.declared):
            self.define(symbols, number, graph.input(spec))
        while not self.at("return"):
            self.instruction(graph, symbols)
        if self.peek() not in ("}", "the end"):
            graph.outputs.append(self.operand(symbols))
            while self.at(","):
                graph.outputs.append(self.operand(symbols))
        return graph

    def declared(self) -> tuple[int, Spec]:
        self.take(text="%")
        number = self.natural()
        self.take(text=":")
        spec = self.spec()
        if isinstance(spec, np.dtype):
            self.fail(f"%{number} has no shape")
        return number, spec

    def define(self, symbols: dict[int, Symbol], number: int, symbol: Symbol) -> None:
        if number in symbols:
            self.fail(f"%{number} is made twice")
        symbols[number] = symbol

    def instruction(self, graph: Graph, symbols: dict[int, Symbol]) -> None:
        declared = []
        if self.peek() == "%":
            declared.append(self.declared())
            while self.at(","):
                declared.append(self.declared())
            self.take(text="=")
        name = self.take("name")
        if name not in TABLE:
            self.fail(f"there is no op {name!r}")
        line = self.line
        self.take(text="(")
        args = self.items(")", lambda: self.operand(symbols))
        params: dict[str, Any] = {}
        while self.peek(1) == "=":
            key = self.take("name")
            self.take(text="=")
            if key in params:
                self.fail(f"{key} is given twice")
            params[key] = self.value()
        if reason := misuse(TABLE[name], len(args), params):
            self.line = line
            self.fail(reason)
        try:
            result = graph.append(TABLE[name], tuple(args), params)
        except Exception as error:  # a shape rule may fail in any way on what it was not made for
            self.line = line
            self.fail(f"{name}: {type(error).__name__}: {error}")
        results = result if isinstance(result, tuple) else (result,)
        found = ", ".join(str(symbol.spec) for symbol in results)
        if [spec for _, spec in declared] != [symbol.spec for symbol in results]:
            self.line = line
            self.fail(f"{name} gives {found or 'nothing'}, not {', '.join(str(spec) for _, spec in declared)}")
        for (number, _), symbol in zip(declared, results, strict=True):
            self.define(symbols, number, symbol)

    def operand(self, symbols: dict[int, Symbol]) -> Any:
        if not self.at("%"):
            value = self.value()
            if not isinstance(value, np.ndarray | np.generic | bool | int | float | complex):
                self.fail(f"{value!r} is no operand")
            return value
        number = self.natural()
        if number not in symbols:
            self.fail(f"%{number} is read before it is made")
        return symbols[number]

    # Specs

    def spec(self) -> Any:
        """A dtype, or a `Spec` if lengths in brackets follow."""
        dtype = self.dtype(self.take("name"))
        if not self.at("["):
            return dtype
        return Spec(tuple(self.items("]", self.natural)), dtype)

    def dtype(self, name: str) -> np.dtype[Any]:
        if not _DTYPE.fullmatch(name):
            self.fail(f"there is no dtype {name!r}")
        try:
            return np.dtype(name)
        except TypeError:
            self.fail(f"there is no dtype {name!r} on this machine")

    # Values

    def value(self) -> Any:
        value = self.plain()
        if isinstance(value, _Array | _Bits | _Complex | bool | int | float):
            if self.at(":"):
                return self.array(value)
            if isinstance(value, _Array):
                self.fail("the dtype and the shape of an array are expected")
            if isinstance(value, _Complex):
                return complex(*map(self.float, value.parts))
            if isinstance(value, _Bits):
                return self.float(value)
        return value

    def float(self, value: Any) -> Any:
        """A Python float, of a NaN with its bits."""
        if not isinstance(value, _Bits):
            return value
        if not 0 <= value.bits < 1 << 64:
            self.fail("a NaN has 64 bits")
        return struct.unpack("d", struct.pack("Q", value.bits))[0]

    def plain(self) -> Any:
        self.depth += 1
        if self.depth > DEEPEST:
            self.fail("too deeply nested")
        value = self.one()
        self.depth -= 1
        return value

    def one(self) -> Any:
        token = self.tokens[self.place]
        if token.kind == "string":
            return self.string(self.take())
        if token.kind == "number":
            return self.number(self.take())
        if token.kind == "name":
            return self.named()
        if self.at("..."):
            return ...
        if self.at("("):
            return self.parenthesised()
        if self.at("["):
            return self.items("]", self.value)
        if self.at("{"):
            if self.peek() == "graph":
                graph = self.graph()
                self.take(text="}")
                return graph
            return _Array(self.items("}", self.plain))
        if self.at("@"):
            return self.large()
        self.line = token.line
        self.fail(f"{token.text!r} is not expected")

    def parenthesised(self) -> tuple[Any, ...]:
        start = self.place
        found = self.items(")", self.value)
        if len(found) == 1 and self.tokens[self.place - 2].text != ",":
            self.line = self.tokens[start].line
            self.fail("a tuple of one is written with a comma")
        return tuple(found)

    def string(self, text: str) -> str:
        try:
            return str(ast.literal_eval(text))  # a string and nothing else: the token says so
        except (SyntaxError, ValueError) as error:
            self.fail(f"no string: {error}")

    def number(self, text: str) -> Any:
        if text.lstrip("-").isdigit():
            return self.integer(text)
        if "x" in text:
            self.fail(f"{text} stands for the bits of a NaN only")
        return float(text)

    def named(self) -> Any:
        name = self.peek()
        if name in _WORDS:
            self.take()
            return _WORDS[name]
        if name == "nan":
            self.take()
            if not self.at("("):
                return math.nan
            text = self.take("number")
            self.take(text=")")
            return _Bits(int(text, 16) if text.startswith("0x") else self.fail(f"{text} are no bits"))
        if name == "complex":
            return self.complex()
        if self.peek(1) != "(":
            return self.spec()
        self.take()
        self.take(text="(")
        if name == "slice":
            parts = self.items(")", self.value)
            if len(parts) != 3:
                self.fail("a slice has three parts")
            return slice(*parts)
        if name not in RECORDS:
            self.fail(f"there is no record {name!r}")
        fields = dict(self.items(")", self.field))
        if tuple(fields) != RECORDS[name]._fields:
            self.fail(f"{name} has the fields {', '.join(RECORDS[name]._fields)}")
        return RECORDS[name](**fields)

    def field(self) -> tuple[str, Any]:
        name = self.take("name")
        self.take(text="=")
        return name, self.value()

    def complex(self) -> _Complex:
        self.take(text="complex")
        self.take(text="(")
        parts = self.items(")", self.plain)
        if len(parts) != 2 or not all(isinstance(part, float | _Bits) for part in parts):
            self.fail("a complex number has two parts")
        return _Complex(parts)

    # Arrays

    def array(self, value: Any) -> Any:
        """Elements as an array of the spec that follows; a NumPy scalar if that has no shape."""
        spec = self.spec()
        shape = spec.shape if isinstance(spec, Spec) else ()
        dtype = spec.dtype if isinstance(spec, Spec) else spec
        values = value.values if isinstance(value, _Array) else [value]
        if len(values) != math.prod(shape):
            self.fail(f"{len(values)} elements are not {spec}")
        line = np.empty(len(values), dtype)
        part = np.dtype(f"{dtype.str[0]}f{dtype.itemsize // 2}") if dtype.kind == "c" else dtype
        elements = line.view(part).reshape(len(values), dtype.itemsize // part.itemsize)
        for i, element in enumerate(values):
            parts = element.parts if isinstance(element, _Complex) else [element]
            if len(parts) != elements.shape[1]:
                self.fail(f"an element does not fit {dtype}")
            for j, number in enumerate(parts):
                self.put(elements, (i, j), number)
        found = line.reshape(shape)
        return found if shape or not dtype.isnative else found[()]  # NumPy's scalars are of native order

    def put(self, elements: np.ndarray[Any, Any], at: tuple[int, int], number: Any) -> None:
        kind, size = elements.dtype.kind, elements.dtype.itemsize
        if isinstance(number, _Bits):
            if kind != "f" or not 0 <= number.bits < 1 << 8 * size:
                self.fail(f"{number.bits:#x} are no bits of {elements.dtype}")
            native = np.array(number.bits, f"u{size}")
            elements.view(f"{elements.dtype.str[0]}u{size}")[at] = native
            return
        if type(number) is not {"b": bool, "i": int, "u": int, "f": float}[kind]:
            self.fail(f"{number!r} is no {elements.dtype}")
        try:
            elements[at] = number
        except OverflowError:
            self.fail(f"{number} is no {elements.dtype}")

    def large(self) -> np.ndarray[Any, Any]:
        """A constant of the section behind the graph, with its spec."""
        number = self.natural()
        self.take(text=":")
        spec = self.spec()
        if number >= len(self.constants):
            self.fail(f"@{number} does not follow the graph")
        array = self.constants[number]
        found = Spec(array.shape, array.dtype) if isinstance(spec, Spec) else array.dtype
        if found != spec or (not isinstance(spec, Spec) and array.shape):
            self.fail(f"@{number} is {Spec(array.shape, array.dtype)}, not {spec}")
        return array

    def _constant(self, number: int, text: str, line: int) -> np.ndarray[Any, Any]:
        """An array of the section: `@0: float64[2,3] = 'base64'`."""
        self.line = line
        match = re.fullmatch(r"@([0-9]{1,9}): ([A-Za-z0-9>]+)\[([0-9,]*)\] = '([A-Za-z0-9+/=]*)'\s*", text)
        if match is None or int(match[1]) != number:
            self.fail(f"the constant @{number} is expected")
        dtype = self.dtype(match[2])
        shape = tuple(self.integer(n) for n in match[3].split(",")) if match[3] else ()
        try:
            data = base64.b64decode(match[4], validate=True)
        except binascii.Error as error:
            self.fail(f"the bytes of @{number}: {error}")
        if len(data) != math.prod(shape) * dtype.itemsize:
            self.fail(f"@{number} has {len(data)} bytes, {Spec(shape, dtype)} takes others")
        return np.frombuffer(data, dtype).reshape(shape).copy()
