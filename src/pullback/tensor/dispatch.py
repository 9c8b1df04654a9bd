"""From Tensor operands to ops: PyTorch's promotion, and the fast path that plain arrays take.

The fast path serves operands that hold arrays of one dtype in the thread's ordinary mode; it does what `Op.__call__`
would do, in a fifth of the time. Everything else is promoted, cast and handed to the op.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.ops.cast import cast
from pullback.ops.control import stop_gradient
from pullback.ops.table import NONE, VALUE, Op
from pullback.tape.memory import keep, keep_both
from pullback.tape.node import FLOAT32, FLOAT64, Handle, LeafMark, Node, make, new_handle, set_node, wrap
from pullback.tape.state import TRACING, modes
from pullback.values.dtype import default_dtype, promote
from pullback.values.graph import Symbol
from pullback.values.shape import broadcast_shapes, spec_of

__all__ = [
    "apply",
    "as_handle",
    "binary",
    "is_raw",
    "materialize",
    "predicate",
    "promoted",
    "register_view",
    "stand_for",
    "to_dtype",
    "unary",
    "view",
]

_RAW = (np.ndarray, np.generic)
_NUMBER = (int, float, complex)
_NOTHING = (None, None, None)


def is_raw(handle: Handle) -> bool:
    """Whether a handle holds plain numbers, which nothing does while a function is traced to be compiled."""
    if TRACING and modes.tracer is not None:
        modes.tracer.lift(handle)
    return isinstance(handle._value, _RAW)


def materialize(handle: Handle) -> Any:
    """The handle's array, made from the NumPy scalar that a 0-dim result is held as, so that it can be aliased."""
    value = handle._value
    if isinstance(value, np.generic):
        handle._value = value = np.array(value)
    return value


def as_handle(value: Any) -> Any:
    """A Tensor for an operand: itself, or one that shares an array's memory, or holds a number's.

    Raises `TypeError` for anything else.
    """
    if isinstance(value, Handle):
        return value
    if isinstance(value, _RAW):
        return new_handle(value)
    if isinstance(value, _NUMBER):
        return new_handle(np.asarray(value))
    raise TypeError(
        f"expected a Tensor, an array or a number, not {type(value).__name__}; make one with pb.tensor(...)"
    )


def to_dtype(handle: Any, dtype: np.dtype[Any]) -> Any:
    """`handle` as `dtype`: itself if it has it already, else a cast, recorded unless it is to integers or booleans."""
    if handle.dtype == dtype:
        return handle
    dtype = np.dtype(dtype)
    return cast(handle if dtype.kind in "fc" else stop_gradient(handle), dtype=dtype)


_LIKE = {"b": True, "i": 1, "f": 1.0}


def stand_for(x: Any) -> Any:
    """What counts for an operand where dtypes meet: for a symbol of a Python number, such a number."""
    if isinstance(x, Handle):
        value = x._value
        if type(value) is Symbol and value.weak:
            return _LIKE[value.dtype.kind]
    return x


def _np_dtype(value: Any) -> np.dtype[Any]:
    return value._value.dtype if isinstance(value, Handle) else value.dtype  # type: ignore[no-any-return]


def promoted(*operands: Any, floating: bool = False) -> np.dtype[Any]:
    """The dtype that operands meet in: tensors, arrays and numbers, NumPy's scalars counting as numbers.

    PyTorch's promotion; but beside an array, as in PyTorch, and in functions that a transform runs for NumPy
    arguments, NumPy's. `floating` turns integers into the default float (into float64 by NumPy's rules).
    """
    numpy = modes.numpy
    if modes.special:
        operands = tuple(map(stand_for, operands))
    for x in operands:
        if isinstance(x, np.ndarray):
            numpy = True
        elif not isinstance(x, Handle | np.generic | int | float | complex):
            raise TypeError(f"expected a Tensor, an array or a number, not {type(x).__name__}")
    if numpy:
        dtype = np.result_type(*(_np_dtype(x) if isinstance(x, Handle) else x for x in operands))
        return np.dtype(np.float64) if floating and dtype.kind in "biu" else dtype
    specs: list[tuple[np.dtype[Any] | None, int, Any]] = []
    for x in operands:
        if isinstance(x, Handle):
            specs.append((_np_dtype(x), len(x._value.shape), None))
        else:
            specs.append((None, 0, x.item() if isinstance(x, np.generic) else x))
    dtype = promote(*specs)
    return default_dtype() if floating and dtype.kind in "biu" else dtype


def apply(op: Op, *operands: Any, floating: bool = False, **params: Any) -> Any:
    """Apply an elementwise op to operands converted to the dtype they meet in, see `promoted`.

    Raises `TypeError` for operands that are not numbers, `ShapeError` if their shapes don't broadcast.
    """
    dtype = promoted(*operands, floating=floating)
    ready = []
    for x in operands:
        if isinstance(x, _NUMBER) and not isinstance(x, np.generic):
            ready.append(_weak(x, dtype))
        else:
            ready.append(to_dtype(as_handle(x), dtype))
    if not any(isinstance(x, Handle) for x in ready):
        ready[0] = new_handle(np.asarray(ready[0], dtype))
    if len(ready) > 1:
        broadcast_shapes(*[tuple(x.shape) for x in ready if isinstance(x, Handle)])
    return op(*ready, **params)


def _weak(number: complex, dtype: np.dtype[Any]) -> complex:
    """A Python number of the kind that takes `dtype` on when NumPy meets it; integers wrap around into its range."""
    kind = dtype.kind
    if kind == "f" and isinstance(number, int):
        return float(number)
    if kind in "iu" and isinstance(number, int) and not np.iinfo(dtype).min <= number <= np.iinfo(dtype).max:
        bits = 8 * int(dtype.itemsize)
        wrapped = number & ((1 << bits) - 1)
        return wrapped - (1 << bits) if kind == "i" and wrapped >> (bits - 1) else wrapped
    return number


def binary(
    op: Op, *, floating: bool = False, otherwise: Callable[[Any, Any], Any] | None = None
) -> Callable[[Any, Any], Any]:
    """A function of two operands with the fast path; `floating` for ops that turn integers into floats.

    `otherwise` stands in for `apply` off the fast path, and then the fast path is for floats alone.
    """
    evaluate = op.evaluate
    any_kind = not floating and otherwise is None
    rest = otherwise or functools.partial(apply, op, floating=floating)
    saves_nothing = not any(op.needs((True, True)))
    left, right, both = op.needs((True, False)), op.needs((False, True)), op.needs((True, True))
    left_y, left_a, left_b = left

    def function(input: Any, other: Any) -> Any:
        fast = modes.fast
        if fast and isinstance(input, Handle):
            va = input._value
            dtype = va.dtype
            maker = Handle.maker
            kind = type(other)
            if kind is maker or (kind is not float and kind is not int and isinstance(other, Handle)):
                vb = other._value
                if dtype is vb.dtype and (dtype is FLOAT32 or dtype is FLOAT64 or any_kind or dtype.kind == "f"):
                    try:
                        y = evaluate(va, vb)
                    except ValueError:
                        broadcast_shapes(va.shape, vb.shape)  # raises, if it was the shapes
                        raise
                    result: Any = make(maker)
                    result._value = y
                    result._version = 0
                    result._base = None
                    if fast != 2:
                        return result
                    na: Any = input._node
                    nb: Any = other._node
                    if na is None:
                        if nb is None:
                            return result
                        need_y, need_a, need_b = right
                        edges: Any = (None, other if type(nb) is LeafMark else nb)
                    elif nb is None:
                        need_y, need_a, need_b = left
                        edges = (input if type(na) is LeafMark else na, None)
                    else:
                        need_y, need_a, need_b = both
                        edges = (input if type(na) is LeafMark else na, other if type(nb) is LeafMark else nb)
                    versions: Any = None
                    if saves_nothing:
                        saved: Any = _NOTHING
                    else:
                        saved = (y if need_y else None, input if need_a else None, other if need_b else None)
                        if need_a or need_b:
                            if input._base is None and other._base is None:
                                input._kept = other._kept = True
                                versions = (0, input._version, other._version)
                            else:
                                saved, versions = keep_both(*saved)
                    result._node = node = set_node(make(Node), op, edges, saved, versions)
                    if va.shape != vb.shape:
                        node.shapes = (va.shape, vb.shape)
                    if need_y:
                        result._kept = True
                        node.output = (weakref.ref(result), 0)
                    return result
            elif (kind is float or kind is int) and (dtype is FLOAT32 or dtype is FLOAT64 or dtype.kind == "f"):
                y = evaluate(va, other)
                result = make(maker)
                result._value = y
                result._version = 0
                result._base = None
                na = input._node
                if na is None or fast != 2:
                    return result
                versions = kept = None
                if left_a:
                    kept, version = keep(input)
                    versions = (0, version, 0)
                result._node = node = set_node(
                    make(Node),
                    op,
                    (input if type(na) is LeafMark else na, None),
                    (y if left_y else None, kept, other if left_b else None),
                    versions,
                )
                if left_y:
                    result._kept = True
                    node.output = (weakref.ref(result), 0)
                return result
        return rest(input, other)

    function.__code__ = function.__code__.replace(co_name=op.name)
    return function


def unary(op: Op, *, floating: bool = True, otherwise: Callable[[Any], Any] | None = None) -> Callable[[Any], Any]:
    """A function of one operand with the fast path; `floating` for ops that turn integers into floats.

    `otherwise` stands in for `apply` off the fast path.
    """
    evaluate = op.evaluate
    rest = otherwise or functools.partial(apply, op, floating=floating)
    need_y, need_x = op.needs((True,))

    def function(input: Any) -> Any:
        fast = modes.fast
        if fast and isinstance(input, Handle):
            x = input._value
            if x.dtype.kind == "f":
                y = evaluate(x)
                result = make(Handle.maker)
                result._value = y
                result._version = 0
                result._base = None
                place: Any = input._node
                if place is None or fast != 2:
                    return result
                versions: Any = None
                kept: Any = None
                if need_x == VALUE:
                    kept, version = keep(input)
                    versions = (0, version)
                elif need_x != NONE:
                    kept = spec_of(x)
                result._node = node = set_node(
                    make(Node),
                    op,
                    (input if type(place) is LeafMark else place,),
                    (y if need_y else None, kept),
                    versions,
                )
                if need_y:
                    result._kept = True
                    node.output = (weakref.ref(result), 0)
                return result
        return rest(input)

    function.__code__ = function.__code__.replace(co_name=op.name)
    return function


def predicate(op: Op) -> Callable[..., Any]:
    """A comparison or test: a boolean Tensor, never tracked."""

    def function(input: Any, *other: Any) -> Any:
        if isinstance(input, Handle) and is_raw(input) and len(other) == 1:
            b = other[0]
            vb = b._value if isinstance(b, Handle) else b
            if isinstance(vb, np.ndarray | np.generic | int | float):
                return new_handle(op.evaluate(input._value, vb))
        return op(*(x if isinstance(x, _NUMBER) else as_handle(x) for x in (input, *other)))

    function.__code__ = function.__code__.replace(co_name=op.name)
    return function


def view(op: Op, input: Any, **params: Any) -> Any:
    """Apply an op whose result shares memory with its operand, and remember that it does."""
    handle = as_handle(input)
    source = materialize(handle)
    result = wrap(op(handle, **params))
    return link(result, handle, source, op, params)


def link(result: Any, handle: Any, source: Any, op: Op, params: dict[str, Any]) -> Any:
    """Make `result` a view of `handle`, if it shares the memory of its array `source`."""
    y = result._value
    if type(y) is np.ndarray:
        owner = source.base
        if y.base is not source and (owner is None or y.base is not owner):
            return result  # a reshape that had to copy
    elif isinstance(y, np.generic):
        return result
    return register_view(result, handle, op, params)


def register_view(result: Any, handle: Any, op: Op, params: dict[str, Any]) -> Any:
    """Note that `result` is `op` applied to `handle`, on the same memory: a write to either moves both."""
    base = handle._base
    if base is None:
        base = handle
    result._base = base
    result._view = (handle, op, params)
    views = base._views
    if views is None:
        base._views = [weakref.ref(result)]
    else:
        if len(views) & (len(views) - 1) == 0 and len(views) >= 8:
            views[:] = [ref for ref in views if ref() is not None]
        views.append(weakref.ref(result))
    return result
