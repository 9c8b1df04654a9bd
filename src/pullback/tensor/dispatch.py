"""From Tensor operands to ops: PyTorch's promotion, and the fast path that plain arrays take.

The fast path serves operands that hold arrays of one dtype in the thread's ordinary mode; it does what `Op.__call__`
would do, in a fifth of the time. Everything else is promoted, cast and handed to the op.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.ops.cast import cast
from pullback.ops.table import NONE, VALUE, Op
from pullback.tape.node import Handle, LeafMark, Node, new_handle, wrap
from pullback.tape.state import modes
from pullback.values.dtype import default_dtype, promote
from pullback.values.shape import spec_of

__all__ = ["apply", "as_handle", "binary", "is_raw", "materialize", "predicate", "to_dtype", "unary", "view"]

_RAW = (np.ndarray, np.generic)
_NUMBER = (int, float, complex)
make = object.__new__


def is_raw(handle: Handle) -> bool:
    """Whether a handle holds plain numbers."""
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
    raise TypeError(f"expected a Tensor, an array or a number, not {type(value).__name__}; make one with pb.tensor(...)")


def to_dtype(handle: Any, dtype: np.dtype[Any]) -> Any:
    """`handle` as `dtype`: itself if it has it already, else a recorded cast."""
    return handle if handle.dtype == dtype else cast(handle, dtype=np.dtype(dtype))


def _np_dtype(value: Any) -> np.dtype[Any]:
    return value._value.dtype if isinstance(value, Handle) else value.dtype  # type: ignore[no-any-return]


def apply(op: Op, *operands: Any, floating: bool = False, **params: Any) -> Any:
    """Apply an elementwise op with PyTorch's promotion; `floating` turns integers into the default float first."""
    specs: list[tuple[np.dtype[Any] | None, int, Any]] = []
    for x in operands:
        if isinstance(x, Handle):
            specs.append((_np_dtype(x), len(x._value.shape), None))
        elif isinstance(x, _RAW):
            specs.append((x.dtype, x.ndim, None))
        elif isinstance(x, _NUMBER):
            specs.append((None, 0, x))
        else:
            raise TypeError(f"{op.name}: unsupported operand of type {type(x).__name__}")
    dtype = promote(*specs)
    if floating and dtype.kind in "biu":
        dtype = default_dtype()
    ready = []
    for x in operands:
        if isinstance(x, _NUMBER) and not isinstance(x, np.generic):
            ready.append(_weak(x, dtype))
        else:
            ready.append(to_dtype(as_handle(x), dtype))
    if not any(isinstance(x, Handle) for x in ready):
        ready[0] = new_handle(np.asarray(ready[0], dtype))
    return op(*ready, **params)


def _weak(number: complex, dtype: np.dtype[Any]) -> complex:
    """A Python number of the kind that takes `dtype` on when NumPy meets it."""
    if dtype.kind == "f" and isinstance(number, int):
        return float(number)
    return number


def binary(op: Op, *, floating: bool = False) -> Callable[[Any, Any], Any]:
    """A function of two operands with the fast path; `floating` for ops that turn integers into floats."""
    evaluate = op.evaluate
    left, right, both = op.needs((True, False)), op.needs((False, True)), op.needs((True, True))

    def function(input: Any, other: Any) -> Any:
        if modes.fast and isinstance(input, Handle):
            va = input._value
            kind = type(other)
            if kind is float or kind is int:
                if va.dtype.kind == "f":
                    y = evaluate(va, other)
                    result = make(Handle.maker)
                    result._value = y
                    na = input._node
                    if na is None:
                        return result
                    need_y, need_a, need_b = left
                    if need_a:
                        base = input._base
                        versions: Any = (0, input._version if base is None else base._version, 0)
                    else:
                        versions = None
                    result._node = node = Node(
                        op,
                        (input if type(na) is LeafMark else na, None),
                        (y if need_y else None, input if need_a else None, other if need_b else None),
                        versions,
                    )
                    if need_y:
                        node.output = (weakref.ref(result), 0)
                    return result
            elif isinstance(other, Handle):
                vb = other._value
                dtype = va.dtype
                if dtype is vb.dtype and (not floating or dtype.kind == "f"):
                    y = evaluate(va, vb)
                    result = make(Handle.maker)
                    result._value = y
                    na, nb = input._node, other._node
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
                    if need_a or need_b:
                        base_a, base_b = input._base, other._base
                        versions = (
                            0,
                            input._version if base_a is None else base_a._version,
                            other._version if base_b is None else base_b._version,
                        )
                        saved: Any = (y if need_y else None, input if need_a else None, other if need_b else None)
                    else:
                        versions = None
                        saved = (y if need_y else None, None, None)
                    result._node = node = Node(op, edges, saved, versions)
                    if va.shape != vb.shape:
                        node.shapes = (va.shape, vb.shape)
                    if need_y:
                        node.output = (weakref.ref(result), 0)
                    return result
        return apply(op, input, other, floating=floating)

    return function


def unary(op: Op, *, floating: bool = True) -> Callable[[Any], Any]:
    """A function of one operand with the fast path; `floating` for ops that turn integers into floats."""
    evaluate = op.evaluate
    need_y, need_x = op.needs((True,))

    def function(input: Any) -> Any:
        if modes.fast and isinstance(input, Handle):
            x = input._value
            if x.dtype.kind == "f":
                y = evaluate(x)
                result = make(Handle.maker)
                result._value = y
                place = input._node
                if place is None:
                    return result
                if need_x == VALUE:
                    base = input._base
                    versions: Any = (0, input._version if base is None else base._version)
                else:
                    versions = None
                result._node = node = Node(
                    op,
                    (input if type(place) is LeafMark else place,),
                    (y if need_y else None, input if need_x == VALUE else None if need_x == NONE else spec_of(x)),
                    versions,
                )
                if need_y:
                    node.output = (weakref.ref(result), 0)
                return result
        return apply(op, input, floating=floating)

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
    base = handle if handle._base is None else handle._base
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
