"""Entering compiled code from Python: `make_entry` gives a builtin function that checks its arguments and runs code.

One native function, `entry.ll`, serves every entry. Python hands it the builtin's `self`: a tuple whose first item is
an array of words, laid out as `entry.ll` describes, and whose other items are what these words point at. So dropping
the builtin frees everything, and there is nothing to release by hand. It reads arrays, floats and NumPy scalars where
CPython and NumPy keep their contents; that they do is verified on known objects first. If they don't (another
interpreter, free threading), `SlowEntry` does the same through ctypes. Large results get memory that is used again
(pool.py), unless the user has set a memory handler of NumPy.
"""

from __future__ import annotations

import ctypes
import functools
import math
import operator
import re
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import numpy as np

from pullback.compile.llvm import engine, pool, store
from pullback.tape.node import Handle, new_handle

__all__ = ["Input", "Output", "SlowEntry", "is_native", "make_entry"]

_NUMBERS = "?bBhHiIlLqQefdFD"  # the dtypes that compiled code knows, as NumPy's characters
_KINDS = ("array", "tensor", "float", "int", "bool", "scalar")
_MADE = {"none": 0, "array": 1, "scalar": 2}
_FIXED = {"float": np.dtype(np.float64), "int": np.dtype(np.int64), "bool": np.dtype(np.bool)}
_SCALARS = {"float": float, "int": int, "bool": bool}
_MOST = 4096  # leaves of an entry on the native function's stack
_C_CONTIGUOUS, _ALIGNED, _WRITEABLE = 0x1, 0x100, 0x400
_ALIGNMENT = 64
_METH_FASTCALL = 0x80
_SLOT_ALLOC = 47  # Py_tp_alloc
_MISSING = object()


class Input(NamedTuple):
    """What an argument must be; anything else is a miss.

    kind      "array": exactly `numpy.ndarray`, C-contiguous and aligned; "tensor": exactly one of `classes`, on such an
              array or, for shape (), a NumPy scalar; "float", "int", "bool": exactly Python's, which the code gets as
              float64, int64 and one byte; "scalar": a NumPy scalar of exactly this dtype.
    writable  whether the code writes it. Memory that is written and is also another argument's is a miss.
    node      what a tensor's `_node` must be: None, or the mark of a leaf.
    classes   by default the public tensor class alone.
    """

    kind: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...] = ()
    writable: bool = False
    node: object = None
    classes: tuple[type, ...] = ()

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


class Output(NamedTuple):
    """What becomes of an output of the code.

    kind   "array": a new array; "scalar": a NumPy scalar; "tensor": a tensor on one of these; "none": nothing is
           returned, the code writes input number `input` in place or, without one, scratch memory.
    """

    kind: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...] = ()
    input: int | None = None

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def make_entry(
    address: int,
    inputs: Sequence[Input],
    outputs: Sequence[Output],
    arena_bytes: int = 0,
    context: tuple[Any, ...] = (),
    miss: object = None,
    release_gil: bool = False,
    single: bool = False,
    keep: object = None,
) -> Callable[..., Any]:
    """A function of the arguments `inputs` that runs the code at `address` and returns the results among `outputs`.

    The result is a tuple, or the one result itself if `single`. Arguments that don't match give `miss`, and nothing has
    happened. `keep` lives as long as the function: the `Code` at `address`. Threads may call at once: the arena is one
    call's, and others meanwhile allocate their own. The GIL is released around the code with `release_gil`; it takes it
    again to call a function of its `context`.
    Raises `ValueError` for a contract that makes no sense.
    """
    inputs = [_checked_input(spec) for spec in inputs]
    outputs = [spec._replace(dtype=_checked_dtype(spec.dtype)) for spec in outputs]
    _check_outputs(inputs, outputs, single)
    offsets, size = _offsets(outputs, arena_bytes)
    contract = _Contract(address, inputs, outputs, offsets, size, context, miss, release_gil, single, keep)
    return _native_entry(contract) if is_native() and len(inputs) + len(outputs) <= _MOST else SlowEntry(contract)


class _Contract(NamedTuple):
    """The arguments of `make_entry`, checked. Scratch outputs are at `offsets` in an arena of `size` bytes."""

    address: int
    inputs: Sequence[Input]
    outputs: Sequence[Output]
    offsets: Sequence[int]
    size: int
    context: tuple[Any, ...]
    miss: object
    release_gil: bool
    single: bool
    keep: object


def _checked_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    dtype = np.dtype(dtype)
    if dtype.char not in _NUMBERS or not dtype.isnative:
        raise ValueError(f"compiled code takes and gives numbers of native byte order, not {dtype}")
    return dtype


def _checked_input(spec: Input) -> Input:
    dtype = _checked_dtype(spec.dtype)
    if spec.kind not in _KINDS:
        raise ValueError(f"an input's kind is one of {', '.join(_KINDS)}, not {spec.kind!r}")
    if spec.kind in _FIXED and dtype != _FIXED[spec.kind]:
        raise ValueError(f"a Python {spec.kind} is given to the code as {_FIXED[spec.kind]}, not {dtype}")
    if spec.kind not in ("array", "tensor") and (spec.shape or spec.writable):
        raise ValueError(f"an input of kind {spec.kind!r} has no shape and cannot be written")
    return spec._replace(dtype=dtype, classes=spec.classes or (Handle.maker,))


def _check_outputs(inputs: Sequence[Input], outputs: Sequence[Output], single: bool) -> None:
    for spec in outputs:
        if spec.kind not in ("tensor", *_MADE):
            raise ValueError(f"an output's kind is one of tensor, {', '.join(_MADE)}, not {spec.kind!r}")
        if spec.kind == "scalar" and spec.shape:
            raise ValueError(f"an output of kind 'scalar' has no shape, not {spec.shape}")
        if spec.input is not None:
            if spec.kind != "none":
                raise ValueError("only an output of kind 'none' is written to an input")
            target = inputs[spec.input]
            if not target.writable or (target.dtype, target.shape) != (spec.dtype, spec.shape):
                raise ValueError(f"output {spec} is written to input {target}, which isn't writable or another array")
    if single and sum(spec.kind != "none" for spec in outputs) != 1:
        raise ValueError("single=True needs exactly one output that is returned")


def _offsets(outputs: Sequence[Output], arena_bytes: int) -> tuple[list[int], int]:
    """Where the scratch outputs are in the arena, behind what the code needs itself, and how large that makes it."""
    offsets = []
    for spec in outputs:
        arena_bytes = -(-arena_bytes // _ALIGNMENT) * _ALIGNMENT
        offsets.append(arena_bytes)
        if spec.kind == "none" and spec.input is None:
            arena_bytes += spec.nbytes
    return offsets, arena_bytes


def _aligned(size: int) -> tuple[np.ndarray[Any, Any], int]:
    """New memory and the first address in it that is a multiple of 64. Pages are taken when they are first written."""
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    return memory, -(-memory.ctypes.data // _ALIGNMENT) * _ALIGNMENT


# -- the native entry -------------------------------------------------------------------------------------------------


class _MethodDef(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


class _Native(NamedTuple):
    """What all entries share, and each keeps alive: a builtin is read through its method definition to the last."""

    code: engine.Code
    method: _MethodDef
    new: Callable[..., Any]
    empty: int
    scalar: int
    handle: int
    default: int
    alloc: Callable[[type], int]


@functools.cache
def _tuple_items() -> int:
    """The offset of a tuple's items."""
    return tuple.__basicsize__


def _address(symbol: Any) -> int:
    return int(ctypes.cast(symbol, ctypes.c_void_p).value or 0)


def _word(address: int) -> int:
    return int(ctypes.c_uint64.from_address(address).value)


@functools.cache
def is_native() -> bool:
    """Whether objects are laid out as `entry.ll` reads them: CPython with the GIL, of 64 bits, and NumPy 2."""
    if sys.implementation.name != "cpython" or struct.calcsize("P") != 8 or sys.byteorder != "little":
        return False
    if not getattr(sys, "_is_gil_enabled", lambda: True)() or "free-threading" in sys.version:
        return False
    array = np.arange(6.0).reshape(2, 3)
    number, pair = 1.5, (array, object())
    facts = [
        (_word(id(array) + 8), id(np.ndarray)),
        (_word(id(array) + 16), array.ctypes.data),
        (_word(id(array) + 24) & 0xFFFFFFFF, 2),
        ([_word(_word(id(array) + 32) + 8 * k) for k in range(2)], [2, 3]),
        ([_word(_word(id(array) + 40) + 8 * k) for k in range(2)], [24, 8]),
        (_word(id(array) + 56), id(array.dtype)),
        (_word(id(array) + 64) & 0xFFFFFFFF, int(array.flags.num)),
        (int(array.flags.num) & (_C_CONTIGUOUS | _ALIGNED | _WRITEABLE), _C_CONTIGUOUS | _ALIGNED | _WRITEABLE),
        (ctypes.c_double.from_address(id(number) + 16).value, number),
        (_word(id(pair) + _tuple_items()), id(array)),
        (_word(id(pair) + _tuple_items() + 8), id(pair[1])),
    ]
    for char in _NUMBERS:
        dtype = np.dtype(char)
        value = dtype.type(1)
        facts += [
            (ctypes.string_at(id(value) + 16, dtype.itemsize), value.tobytes()),
            (ctypes.string_at(id(dtype) + 26, 1), (b"=" if dtype.itemsize > 1 else b"|")),
            (_word(id(dtype) + 24) >> 32, dtype.num),
        ]
    return all(found == expected for found, expected in facts)


@functools.cache
def _native() -> _Native:
    text = Template(Path(__file__).with_name("entry.ll").read_text(encoding="utf-8")).substitute(items=_tuple_items())
    api = ctypes.pythonapi
    imports = {name: _address(getattr(api, name)) for name in re.findall(r"@(_?Py\w+)", text)}
    code = store.compiled(text, "enter", imports)
    new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)(
        ("PyCFunction_NewEx", api)
    )
    pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_GetPointer", api))
    slot = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_int)(("PyType_GetSlot", api))
    table = pointer(np._core.multiarray._ARRAY_API, None)  # type: ignore[attr-defined]
    method = _MethodDef(b"compiled", code.address, _METH_FASTCALL, b"Compiled code.")
    return _Native(
        code,
        method,
        functools.partial(new, ctypes.addressof(method)),
        empty=_word(table + 8 * 94),
        scalar=_word(table + 8 * 60),
        handle=_word(table + 8 * 304),
        default=_word(_word(table + 8 * 306)),
        alloc=lambda kind: int(slot(kind, _SLOT_ALLOC)),
    )


_HEAD, _INPUT, _OUTPUT = 21, 9, 11  # words of the structures in entry.ll


def _native_entry(contract: _Contract) -> Callable[..., Any]:
    native = _native()
    address, inputs, outputs, offsets, size, context, miss, release_gil, single, keep = contract
    keeps: list[Any] = [keep, context, miss, native]

    def pointer(thing: Any) -> int:
        keeps.append(thing)
        return id(thing)

    def words(values: Sequence[int]) -> int:
        array = np.array([*values, 0], np.int64)
        keeps.append(array)
        return int(array.ctypes.data)

    memory, arena = _aligned(size)
    keeps.append(memory)
    maker = Handle.maker
    records = []
    for i in inputs:
        flags = _C_CONTIGUOUS | _ALIGNED | (_WRITEABLE if i.writable else 0)
        records += [
            _KINDS.index(i.kind),
            pointer(i.dtype),
            len(i.shape),
            words(i.shape),
            pointer(i.dtype.type),
            words([pointer(kind) for kind in i.classes]),
            pointer(i.node),
            flags | i.writable << 32,
            i.nbytes,
        ]
    for o, offset in zip(outputs, offsets, strict=True):
        dtype = o.dtype
        kind = ("array" if o.shape else "scalar") if o.kind == "tensor" else o.kind
        large = pool.pool() if kind == "array" and o.nbytes >= pool.LEAST else None
        is_new = kind == "scalar" and dtype.kind != "b"  # booleans are two objects that exist
        records += [
            _MADE[kind],
            pointer(dtype),
            len(o.shape),
            words(o.shape),
            -1 if o.input is None else o.input,
            offset,
            pointer(dtype.type),
            native.alloc(dtype.type) if is_new else 0,
            pointer(maker) if o.kind == "tensor" else 0,
            native.alloc(maker) if o.kind == "tensor" else 0,
            pointer(large.capsule) if large is not None else 0,
        ]
    block = np.empty(_HEAD + len(records), np.int64)
    base = int(block.ctypes.data)
    block[:] = [
        address,
        len(inputs),
        len(outputs),
        -1 if single else sum(o.kind != "none" for o in outputs),
        arena,
        size,
        release_gil << 32,
        id(context),
        id(miss),
        id(np.ndarray),
        native.empty,
        native.scalar,
        *(pointer(sys.intern(name)) for name in ("_value", "_node", "_version", "_base")),
        pointer(0),
        base + 8 * _HEAD,
        base + 8 * (_HEAD + _INPUT * len(inputs)),
        native.handle,
        native.default,
        *records,
    ]
    return native.new((block, *keeps), None)  # type: ignore[no-any-return]


# -- the same in Python -----------------------------------------------------------------------------------------------


class SlowEntry:
    """What `make_entry` does, in Python and ctypes."""

    def __init__(self, contract: _Contract) -> None:
        self.contract = contract
        self.memory, self.arena = _aligned(contract.size)
        self.free = threading.Lock()
        # Code that may raise keeps the GIL: ctypes looks for an exception only then.
        prototype = ctypes.CFUNCTYPE if contract.release_gil and not contract.context else ctypes.PYFUNCTYPE
        kinds = (ctypes.c_void_p, ctypes.c_void_p, ctypes.py_object)
        self.code = prototype(ctypes.c_int32, *kinds)(contract.address)

    def __call__(self, *args: Any) -> Any:
        _, inputs, outputs, offsets, size, context, miss, _, single, _ = self.contract
        if len(args) != len(inputs):
            return miss
        arrays = [array for array in map(_argument, args, inputs) if array is not None]
        if len(arrays) != len(args) or _overlap(arrays, inputs):
            return miss
        own = self.free.acquire(blocking=False)
        try:
            memory, arena = (self.memory, self.arena) if own else _aligned(size)
            results, places = [], [array.ctypes.data for array in arrays]
            for spec, offset in zip(outputs, offsets, strict=True):
                if spec.kind != "none":
                    results.append(np.empty(spec.shape, spec.dtype))
                    places.append(results[-1].ctypes.data)
                else:
                    places.append(arena + offset if spec.input is None else places[spec.input])
            status = self.code((ctypes.c_void_p * len(places))(*places), arena, context)
            del memory
        finally:
            if own:
                self.free.release()
        if status:
            raise SystemError("compiled code failed without an exception")
        returned = [spec for spec in outputs if spec.kind != "none"]
        made = [_result(array, spec) for array, spec in zip(results, returned, strict=True)]
        return made[0] if single else tuple(made)


def _argument(x: Any, spec: Input) -> np.ndarray[Any, Any] | None:
    """An argument as the array that the code gets, or None if it isn't as expected."""
    if spec.kind in _SCALARS:
        if type(x) is not _SCALARS[spec.kind]:
            return None
        try:
            return np.array(x, spec.dtype)
        except OverflowError:
            return None
    if spec.kind == "tensor":
        if type(x) not in spec.classes or getattr(x, "_node", _MISSING) is not spec.node:
            return None
        x = getattr(x, "_value", None)
    is_number = type(x) is spec.dtype.type and not spec.writable
    if spec.kind == "scalar" or (spec.kind == "tensor" and not spec.shape and type(x) is not np.ndarray):
        return np.array(x) if is_number else None
    if type(x) is not np.ndarray or x.dtype != spec.dtype or x.dtype.num != spec.dtype.num or x.shape != spec.shape:
        return None
    flags = x.flags
    return x if flags.c_contiguous and flags.aligned and (flags.writeable or not spec.writable) else None


def _overlap(arrays: Sequence[Any], inputs: Sequence[Input]) -> bool:
    starts = [array.ctypes.data for array in arrays]
    ends = list(map(operator.add, starts, (spec.nbytes for spec in inputs)))
    return any(
        spec.writable and any(i != j and starts[i] < ends[j] and starts[j] < ends[i] for j in range(len(arrays)))
        for i, spec in enumerate(inputs)
    )


def _result(array: np.ndarray[Any, Any], spec: Output) -> Any:
    if spec.kind == "array":
        return array
    value = array if spec.shape else array[()]
    return value if spec.kind == "scalar" else new_handle(value)
