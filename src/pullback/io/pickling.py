"""Pickle as data: a reader that runs nothing, and a writer of the subset that PyTorch's safe loader accepts.

`pickle.Unpickler` with a restricted `find_class` still calls `__setstate__`, sets attributes by name and grows its memo
to whatever index the stream names. `execute` interprets the opcodes itself instead. The only values it can make are
plain Python data and what the caller's table of names returns, and the only calls it can make are into that table.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import struct
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import numpy as np

from pullback.io.leaves import CheckpointError, Leaf, ToLeaf
from pullback.values.dtype import DType
from pullback.values.shape import Size

__all__ = [
    "BUILTINS",
    "Emitter",
    "Function",
    "Internal",
    "bool_ops",
    "call_ops",
    "execute",
    "int_ops",
    "mismatch",
    "name_ops",
    "refuse",
    "str_ops",
    "tuple_ops",
]


class Internal:
    """A value that may be the argument of a call in the stream, but no part of the result."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "an argument list"


class _Arguments(tuple[Any, ...], Internal):
    """A tuple that holds something internal, and so is internal itself."""

    __slots__ = ()
    __repr__ = Internal.__repr__


class Function(Internal):
    """A name the stream may mention, and what calling it with a tuple of arguments returns (None: it is not called)."""

    __slots__ = ("call", "name")

    def __init__(self, name: str, call: Callable[[tuple[Any, ...]], object] | None = None) -> None:
        self.name = name
        self.call = call

    def __repr__(self) -> str:
        return f"the name {self.name!r}"


def refuse(what: str, advice: str) -> CheckpointError:
    """The error for something that is in the stream and will not be built."""
    return CheckpointError(f"the file holds {what}, which pullback does not build (nothing in it was run); {advice}")


def mismatch(name: str) -> CheckpointError:
    """The error for a call in the stream with arguments that its function does not take."""
    return CheckpointError(f"the file calls {name} with arguments it does not take; restore the file from its source")


# -- reading ---------------------------------------------------------------------------------------------------------

_SCALARS: Final = frozenset({str, int, float, bool, complex, bytes, type(None)})
_KEY_PARTS: Final = 1000
_PLAIN_ONLY: Final = "a checkpoint is made of tensors, plain values and containers of them"
_OPCODES: Final = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}
_LITERALS: Final = frozenset(
    "BININT BININT1 BININT2 LONG1 LONG4 BINFLOAT BINUNICODE SHORT_BINUNICODE BINUNICODE8 "
    "BINBYTES SHORT_BINBYTES BINBYTES8".split()
)


def _plain(items: list[Any]) -> list[Any]:
    for item in items:
        if isinstance(item, Internal):
            raise refuse(repr(item), _PLAIN_ONLY)
    return items


def _keys(items: Iterable[Any]) -> Iterable[Any]:
    """`items`, each checked to be fit for a dict key or a set: scalars, and tuples of them small enough to hash."""
    for item in items:
        if type(item) not in _SCALARS:
            _check_key(item)
        yield item


def _check_key(key: object) -> None:
    pending, parts = [key], 1
    while pending:
        part = pending.pop()
        if isinstance(part, tuple | frozenset) and (parts := parts + len(part)) <= _KEY_PARTS:
            pending.extend(part)
        elif type(part) not in _SCALARS:
            raise refuse(f"a dict key or set element made of {type(part).__name__}", "use strings or numbers as keys")


def _instructions(stream: io.BytesIO) -> Iterator[tuple[str, Any, int]]:
    """The name, the argument and the position of each instruction, up to the one that ends the stream.

    Raises `ValueError` for a damaged one. The instructions of the old text protocol come without their argument.
    """
    while True:
        position = stream.tell()
        opcode = _OPCODES.get(stream.read(1))
        if opcode is None:
            raise ValueError("it ends, or goes on with an instruction that does not exist")
        arg: Any = None
        if opcode.name == "GLOBAL":
            module, attribute = stream.readline(), stream.readline()
            if not attribute.endswith(b"\n"):
                raise ValueError("it ends in a name")
            arg = f"{module[:-1].decode()}.{attribute[:-1].decode()}"
        elif opcode.arg is not None and opcode.arg.n != pickletools.UP_TO_NEWLINE:
            arg = opcode.arg.reader(stream)
        yield opcode.name, arg, position
        if opcode.name == "STOP":
            return


def execute(program: bytes, find: Callable[[str], object], fetch: Callable[[object], object]) -> Any:
    """The value that the pickle `program` describes.

    `find(name)` gives what a dotted global name stands for (a `Function`, another `Internal`, or a plain value), and
    `fetch(id)` what a persistent id stands for; both raise `CheckpointError` to refuse. No attribute is looked up, set
    or called on anything the stream made, and memory stays in proportion to the stream's length.

    Raises `CheckpointError` for a damaged stream and for every opcode, name or value outside that.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}
    position = 0

    def since_mark() -> list[Any]:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    def damaged(why: str) -> CheckpointError:
        return CheckpointError(f"the pickle is damaged at byte {position}: {why}; restore the file from its source")

    def expect(kind: type, *others: type) -> Any:
        if type(stack[-1]) not in (kind, *others):
            raise damaged(f"a {kind.__name__} was expected, not a {type(stack[-1]).__name__}")
        return stack[-1]

    try:
        for instruction, arg, position in _instructions(io.BytesIO(program)):  # noqa: B007 (damaged reads position)
            match instruction:
                case "BINPUT" | "LONG_BINPUT":
                    memo[arg] = stack[-1]
                case "MEMOIZE":
                    memo[len(memo)] = stack[-1]
                case "BINGET" | "LONG_BINGET":
                    if arg not in memo:
                        raise damaged(f"memo entry {arg} was never stored, but read")
                    stack.append(memo[arg])
                case name if name in _LITERALS:
                    stack.append(arg)
                case "NONE":
                    stack.append(None)
                case "NEWTRUE" | "NEWFALSE" as name:
                    stack.append(name == "NEWTRUE")
                case "MARK":
                    marks.append(len(stack))
                case "EMPTY_TUPLE":
                    stack.append(())
                case "TUPLE" | "TUPLE1" | "TUPLE2" | "TUPLE3" as name:
                    items = since_mark() if name == "TUPLE" else [stack.pop() for _ in range(int(name[-1]))][::-1]
                    internal = any(isinstance(item, Internal) for item in items)
                    stack.append(_Arguments(items) if internal else tuple(items))
                case "EMPTY_LIST":
                    stack.append([])
                case "APPEND" | "APPENDS" as name:
                    items = _plain(since_mark() if name == "APPENDS" else [stack.pop()])
                    expect(list).extend(items)
                case "EMPTY_DICT":
                    stack.append({})
                case "SETITEM" | "SETITEMS" as name:
                    items = _plain(since_mark() if name == "SETITEMS" else [stack.pop(), stack.pop()][::-1])
                    if len(items) % 2:
                        raise damaged("a key without a value")
                    target = expect(dict, OrderedDict, Counter)
                    for key, value in zip(_keys(items[::2]), items[1::2], strict=True):
                        target[key] = value
                case "EMPTY_SET":
                    stack.append(set())
                case "ADDITEMS":
                    items = list(_keys(since_mark()))
                    expect(set).update(items)
                case "FROZENSET":
                    stack.append(frozenset(_keys(since_mark())))
                case "BYTEARRAY8":
                    stack.append(bytearray(arg))
                case "GLOBAL":
                    stack.append(find(arg))
                case "STACK_GLOBAL":
                    attribute, module = stack.pop(), stack.pop()
                    if type(module) is not str or type(attribute) is not str:
                        raise damaged("a global name that is no string")
                    stack.append(find(f"{module}.{attribute}"))
                case "REDUCE":
                    args, function = stack.pop(), stack.pop()
                    if not isinstance(function, Function) or function.call is None or not isinstance(args, tuple):
                        called = repr(function) if isinstance(function, Internal) else type(function).__name__
                        raise refuse(f"a call of {called}", _PLAIN_ONLY)
                    stack.append(function.call(args))
                case "BUILD":
                    state = stack.pop()
                    target = expect(OrderedDict)
                    if type(state) is not dict or state.keys() - {"_metadata"}:
                        raise refuse("an OrderedDict with attributes of its own", "save a dict instead")
                    vars(target).update(state)  # the layer versions of a state_dict
                case "BINPERSID":
                    stack.append(fetch(stack.pop()))
                case "PROTO" | "FRAME" | "STOP":
                    pass
                case name:
                    raise refuse(f"the pickle instruction {name}", _PLAIN_ONLY)
        return _plain(stack)[-1]
    except IndexError as error:
        raise damaged("a value is missing") from error
    except ValueError as error:
        raise damaged(str(error)) from error


def _make_bytes(args: tuple[Any, ...]) -> object:
    match args:
        case (str() as text, "latin1" | "latin-1") if all(ord(char) < 256 for char in text):
            return text.encode("latin-1")
    raise mismatch("_codecs.encode")


def _make_complex(args: tuple[Any, ...]) -> object:
    match args:
        case (float() as real, float() as imaginary):
            return complex(real, imaginary)
    raise mismatch("complex")


def _maker(name: str, make: Callable[[Any], object], accepted: type | None) -> Function:
    """The function `name` that makes a container from nothing, or from one argument of the `accepted` type."""

    def call(args: tuple[Any, ...]) -> object:
        if args == ():
            return make(())
        if len(args) == 1 and type(args[0]) is accepted:
            return make(args[0])
        raise mismatch(name)

    return Function(name, call)


BUILTINS: Final = {
    function.name: function
    for function in (
        _maker("builtins.set", lambda items: set(_keys(items)), list),
        _maker("builtins.frozenset", lambda items: frozenset(_keys(items)), list),
        _maker("builtins.bytearray", bytearray, bytes),
        _maker("builtins.bytes", bytes, None),
        _maker("collections.OrderedDict", OrderedDict, None),
        _maker("collections.Counter", Counter, dict),
        Function("builtins.complex", _make_complex),
        Function("_codecs.encode", _make_bytes),
    )
}
"""The functions of Python itself that a stream may call, each with its arguments checked."""


# -- writing ---------------------------------------------------------------------------------------------------------


def int_ops(value: int) -> bytes:
    """The opcodes that push an int."""
    if 0 <= value < 1 << 8:
        return pickle.BININT1 + struct.pack("<B", value)
    if 0 <= value < 1 << 16:
        return pickle.BININT2 + struct.pack("<H", value)
    if -1 << 31 <= value < 1 << 31:
        return pickle.BININT + struct.pack("<i", value)
    size = value.bit_length() // 8 + 1
    if size > 255:
        raise ValueError(f"cannot save an int of {value.bit_length()} bits, 2039 being the most; make it a str")
    return pickle.LONG1 + struct.pack("<B", size) + value.to_bytes(size, "little", signed=True)


def bool_ops(value: bool) -> bytes:
    """The opcode that pushes a bool."""
    return pickle.NEWTRUE if value else pickle.NEWFALSE


def str_ops(value: str) -> bytes:
    """The opcodes that push a str."""
    data = value.encode("utf-8", "surrogatepass")
    return pickle.BINUNICODE + struct.pack("<I", len(data)) + data


def tuple_ops(*items: bytes) -> bytes:
    """The opcodes that push a tuple of what the `items` push."""
    return pickle.MARK + b"".join(items) + pickle.TUPLE if items else pickle.EMPTY_TUPLE


def name_ops(name: str) -> bytes:
    """The opcodes that push what a dotted global name stands for."""
    module, _, attribute = name.rpartition(".")
    return pickle.GLOBAL + f"{module}\n{attribute}\n".encode()


def call_ops(name: str, *args: bytes) -> bytes:
    """The opcodes that call a global function with what the `args` push."""
    return name_ops(name) + tuple_ops(*args) + pickle.REDUCE


def _float_ops(value: float) -> bytes:
    return pickle.BINFLOAT + struct.pack(">d", value)


def _bytes_ops(value: bytes) -> bytes:
    return call_ops("_codecs.encode", str_ops(value.decode("latin-1")), str_ops("latin1"))


_ATOMS: Final[dict[type, Callable[[Any], bytes]]] = {
    type(None): lambda _: pickle.NONE,
    bool: bool_ops,
    int: int_ops,
    float: _float_ops,
    complex: lambda value: call_ops("builtins.complex", _float_ops(value.real), _float_ops(value.imag)),
    str: str_ops,
    bytes: _bytes_ops,
    bytearray: lambda value: call_ops("builtins.bytearray", _bytes_ops(value)),
    DType: lambda value: name_ops(f"torch.{value.name}"),
    Size: lambda value: call_ops("torch.Size", tuple_ops(*map(int_ops, value))),
}


class Emitter:
    """Writes one object as protocol-2 opcodes; an object met twice is written once, so identity and cycles survive.

    Tensors are set aside in `leaves`, and their opcodes filled in by `program` when it is known where their numbers go.
    """

    def __init__(self, to_leaf: ToLeaf) -> None:
        self.leaves: list[Leaf] = []
        self._to_leaf = to_leaf
        self._chunks: list[bytes | int] = [pickle.PROTO + b"\x02"]  # an int stands for the leaf of that number
        self._memo: dict[int, int] = {}
        self._path: list[str] = []

    def program(self, leaf_ops: Callable[[int], bytes]) -> bytes:
        """The whole stream, given the opcodes that push each leaf."""
        parts = (chunk if isinstance(chunk, bytes) else leaf_ops(chunk) for chunk in self._chunks)
        return b"".join(parts) + pickle.STOP

    def emit(self, obj: Any) -> None:
        """Write `obj`. Raises `TypeError` for what a checkpoint cannot hold, and names where it was found."""
        obj = _unboxed(obj)
        kind = type(obj)
        if atom := _ATOMS.get(kind):
            self._chunks.append(atom(obj))
        elif (seen := self._memo.get(id(obj))) is not None:
            self._chunks.append(pickle.LONG_BINGET + struct.pack("<I", seen))
        elif (leaf := self._to_leaf(obj)) is not None:
            self._chunks.append(len(self.leaves))
            self.leaves.append(leaf)
            self._remember(obj)
        elif kind is list:
            self._chunks.append(pickle.EMPTY_LIST)
            self._remember(obj)
            self._chunks.append(pickle.MARK)
            self._each(enumerate(obj))
            self._chunks.append(pickle.APPENDS)
        elif kind is dict or kind is OrderedDict:
            self._chunks.append(pickle.EMPTY_DICT if kind is dict else call_ops("collections.OrderedDict"))
            self._remember(obj)
            self._pairs(obj)
            if metadata := getattr(obj, "_metadata", None):
                self._pairs({"_metadata": metadata}, pickle.EMPTY_DICT)
                self._chunks.append(pickle.BUILD)
        elif kind is Counter:
            self._chunks.append(name_ops("collections.Counter"))
            self._pairs(obj, pickle.EMPTY_DICT)
            self._chunks.append(pickle.TUPLE1 + pickle.REDUCE)
            self._remember(obj)
        elif kind is tuple:
            self._chunks.append(pickle.MARK)
            self._each(enumerate(obj))
            self._chunks.append(pickle.TUPLE)
            self._remember(obj)
        elif kind is set:
            self._chunks.append(name_ops("builtins.set") + pickle.EMPTY_LIST + pickle.MARK)
            for item in obj:
                self._key(item)
            self._chunks.append(pickle.APPENDS + pickle.TUPLE1 + pickle.REDUCE)
            self._remember(obj)
        else:
            raise TypeError(f"cannot save {self._describe(obj)}; {_instead(obj)}")

    def _remember(self, obj: object) -> None:
        index = len(self._memo)
        self._memo[id(obj)] = index
        self._chunks.append(pickle.LONG_BINPUT + struct.pack("<I", index))

    def _each(self, items: Iterable[tuple[object, object]]) -> None:
        for where, item in items:
            self._path.append(f"[{where!r}]")
            self.emit(item)
            self._path.pop()

    def _pairs(self, pairs: dict[Any, Any], start: bytes = b"") -> None:
        self._chunks.append(start + pickle.MARK)
        for key, value in pairs.items():
            self._key(key)
            self._each([(key, value)])
        self._chunks.append(pickle.SETITEMS)

    def _key(self, key: object) -> None:
        try:
            _check_key(_unboxed(key))
            self.emit(key)
        except CheckpointError:
            what = self._describe(key)
            raise TypeError(f"cannot save {what} as a key or set element; use strings or numbers") from None

    def _describe(self, obj: object) -> str:
        kind = type(obj)
        return f"an object of type {kind.__module__}.{kind.__qualname__} at obj{''.join(self._path)}"


def _unboxed(obj: object) -> object:
    """A NumPy scalar as the Python number it is."""
    return obj.item() if isinstance(obj, np.number | np.bool_) else obj


def _instead(obj: object) -> str:
    if isinstance(obj, np.ndarray):
        return "make it a tensor, or a list with .tolist()"
    if callable(getattr(obj, "state_dict", None)):
        return "save its state_dict()"
    if isinstance(obj, dict | list | tuple | set | frozenset):
        return "make it a plain dict, list, tuple or set"
    return "a checkpoint holds tensors, numbers, strings, bytes, None, and dicts, lists, tuples and sets of them"
