"""Writing in place: memory shared with views is written, and every handle on it moves to its new place on the tape.

A write gives the handle a new value in single-assignment form. For plain arrays that value is the same memory, and its
version goes up; for symbols, batches and duals it is a new payload. Either way a write through a view is carried to its
base by each view op's `writeback`, and from there to the base's other views.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.ops.table import VALUE, Op
from pullback.tape.memory import own
from pullback.tape.node import Handle, LeafMark, Node, make_node, new_handle, note, payload
from pullback.tape.state import modes
from pullback.tensor.dispatch import is_raw, materialize
from pullback.values.dtype import type_name

__all__ = ["bump", "check_writable", "move", "store", "update"]


def bump(handle: Handle) -> None:
    """Count a write to the memory of `handle`, which the op that made it may have saved as its result."""
    base = handle if handle._base is None else handle._base
    base._version += 1
    node = base._node
    memory = isinstance(base._value, np.ndarray | np.generic)
    if memory and isinstance(node, Node) and node.output is not None and node.output[0]() is base:
        written = new_handle(base._value)  # knows of the write when `base` is gone
        written._version, written._earlier = base._version, base._earlier
        node.output = (lambda: written, node.output[1])


def check_writable(handle: Handle) -> None:
    """Raise `RuntimeError` for a write that would be recorded on a leaf (or a view of one) that requires a gradient, or
    that would change several elements at once because they share memory.
    """
    if handle._view is not None and (type(handle._value) is not np.ndarray or not handle._value.flags.writeable):
        _check_elements_apart(handle)
    if not modes.grad:
        return
    if type(handle._node) is LeafMark:
        raise RuntimeError(
            "a leaf Variable that requires grad is being used in an in-place operation. "
            "Update it under `with pb.no_grad():`, or write to a copy."
        )
    root = handle
    while root._view is not None:
        root = root._view[0]
    if root is not handle and type(root._node) is LeafMark:
        raise RuntimeError(
            "a view of a leaf Variable that requires grad is being used in an in-place operation. "
            "Update it under `with pb.no_grad():`, or write to a copy."
        )


def _check_elements_apart(handle: Handle) -> None:
    view = handle._view
    while view is not None:
        parent, op, _ = view
        if op.writeback is None:
            raise RuntimeError(
                "unsupported operation: more than one element of the written-to tensor refers to a single memory "
                "location. Please clone() the tensor before performing the operation."
            )
        view = parent._view


def store(handle: Handle, y: Any) -> None:
    """Put the numbers `y` into the memory of `handle`.

    Raises `RuntimeError` if their shape or kind doesn't fit.
    """
    value = handle._value
    if np.shape(y) != value.shape:
        raise RuntimeError(
            f"output with shape {list(value.shape)} doesn't match the broadcast shape {list(np.shape(y))}"
        )
    if not np.can_cast(y.dtype, value.dtype, "same_kind"):
        raise RuntimeError(
            f"result type {type_name(y.dtype)} can't be cast to the desired output type {type_name(value.dtype)}"
        )
    if isinstance(value, np.generic):
        handle._value = value.dtype.type(y)
    else:
        np.copyto(value, y, casting="same_kind")


def update(
    handle: Any,
    op: Op,
    *others: Any,
    write: Callable[[Any], None] | None = None,
    part: Any = ...,
    **params: Any,
) -> Any:
    """`handle` becomes `op(handle, *others, **params)`; `write(array)` does it in memory, if that is cheaper.

    What is written is no more than `handle[part]`, for a basic index `part`.
    """
    check_writable(handle)
    if modes.numpy and is_raw(handle):
        own(handle, None if part is ... else handle._value[part])
    raw = is_raw(handle) and all(not isinstance(x, Handle) or is_raw(x) for x in others)
    places = [x._node for x in (handle, *others) if isinstance(x, Handle) and x._node is not None]
    tracked = modes.grad and bool(places)
    if raw and not tracked:
        if write is not None:
            write(materialize(handle))
        else:
            store(handle, op.evaluate(handle._value, *map(_raw, others), **params))
        bump(handle)
        return handle
    if not raw:
        old = new_handle(handle._value, handle._node)
        move(handle, op(old, *(old if x is handle else x for x in others), **params))
        return handle
    flags = tuple(isinstance(x, Handle) and x._node is not None for x in (handle, *others))
    _, own_need, *needs = op.needs(flags)
    reads_old = own_need == VALUE or any(x is handle for x in others)
    old = new_handle(handle._value.copy() if reads_old else handle._value, handle._node)
    others = tuple(
        old if x is handle else _apart(x, handle) if need == VALUE and modes.numpy else x
        for x, need in zip(others, needs, strict=True)
    )
    if write is not None:
        write(materialize(handle))
        y = handle._value
    else:
        y = op.evaluate(old._value, *map(_raw, others), **params)
        store(handle, y)
    level = max(place.level for place in places)
    node = make_node(op, (old, *others), params, handle._value, level)
    bump(handle)
    _settle(handle, node, True)
    return handle


def _apart(x: Any, handle: Handle) -> Any:
    """`x` on memory of its own, if a write to `handle` would change it."""
    base = handle if handle._base is None else handle._base
    if not isinstance(x, Handle) or (x if x._base is None else x._base) is not base:
        return x
    return new_handle(x._value.copy(), x._node)


def _raw(x: Any) -> Any:
    return x._value if isinstance(x, Handle) else x


def move(handle: Any, new: Any) -> None:
    """`handle` becomes the value `new`, recorded or not, whatever its kind."""
    raw = is_raw(handle) and isinstance(new, Handle) and is_raw(new)
    if raw:
        if modes.numpy:
            own(handle)
        store(handle, new._value)
    else:
        handle._value = new._value
    bump(handle)
    _settle(handle, new._node if modes.grad else handle._node, raw)


def _settle(handle: Any, place: Any, raw: bool) -> None:
    """Give `handle` its new place on the tape, and carry the write to its base and to the base's other views."""
    if modes.grad:
        handle._node = place
        note(handle)
        if isinstance(place, Node) and place.saved and place.saved[0] is not None:
            holder = handle if handle._base is None else handle._base
            holder._kept = True
            place.output = (weakref.ref(holder), holder._version)
    elif raw:
        return
    base = handle if handle._base is None else handle._base
    path = {id(handle)}
    child = handle
    while child._view is not None:
        parent, op, params = child._view
        assert op.writeback is not None
        back, args, kwargs = op.writeback(parent, child, **params)
        if raw:
            level = max((h._node.level for h in (parent, child) if h._node is not None), default=-1)
            parent._node = make_node(back, args, kwargs, parent._value, level) if level >= 0 else None
        else:
            new = back(*args, **kwargs)
            parent._value, parent._node = payload(new) if new._node is None else new._value, new._node
        note(parent)
        path.add(id(parent))
        child = parent
    for ref in base._views or ():
        other = ref()
        if other is None or id(other) in path:
            continue
        parent, op, params = other._view
        if raw:
            node = parent._node
            other._node = None if node is None else make_node(op, (parent,), params, other._value, node.level)
        else:
            new = op(parent, **params)
            other._value, other._node = new._value, new._node
        note(other)
