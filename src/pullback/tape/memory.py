"""Memory that nodes read in the backward pass, and writes to it.

PyTorch's rule: what a node has saved must not be written; every write counts a version up, and the backward pass
raises where it has moved on. NumPy's programs write all the time, and mean it. In them (`modes.numpy`) a write
first moves the array away from the memory that nodes read: `own` does that, only if something was kept of the array
since it last moved, and only if what is written overlaps it. A time-stepping loop `u[t + 1] = f(u[t])` keeps rows and
writes others, so nothing moves at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.exceptions import TooHardError
from numpy.lib.array_utils import byte_bounds

from pullback.tape.state import modes

if TYPE_CHECKING:
    from pullback.tape.node import Handle

__all__ = ["Lent", "earlier", "keep", "keep_both", "keep_view", "own", "version_of"]


class Lent:
    """The parts of an array that nodes read through views: runs of bytes, and views that are no runs."""

    __slots__ = ("everything", "runs", "scattered")

    _MANY = 64  # with more runs or scattered views than this the whole array counts as read

    def __init__(self) -> None:
        self.runs: list[tuple[int, int]] = []
        self.scattered: list[Any] = []
        self.everything = False

    def add(self, array: Any) -> None:
        """Note a part. Loops go through an array run by run, so a run that touches the last one is joined to it."""
        if array.flags.c_contiguous:
            start = array.__array_interface__["data"][0]
            stop = start + array.nbytes
            if self.runs and start <= self.runs[-1][1] and self.runs[-1][0] <= stop:
                low, high = self.runs.pop()
                start, stop = min(low, start), max(high, stop)
            self.runs.append((start, stop))
        else:
            self.scattered.append(array)
        self.everything = max(len(self.runs), len(self.scattered)) > self._MANY

    def reads(self, array: Any) -> bool:
        """Whether `array`, which is about to be written, may overlap with a part."""
        if self.everything:
            return True
        start, stop = byte_bounds(array)
        return any(start < high and low < stop for low, high in self.runs) or any(
            _overlap(array, part) for part in self.scattered
        )


def _overlap(a: Any, b: Any) -> bool:
    try:
        return bool(np.shares_memory(a, b, max_work=10_000))  # type: ignore[arg-type]
    except TooHardError:
        return True


def version_of(handle: Handle) -> int:
    """How often the memory of `handle` was written."""
    base = handle._base
    return handle._version if base is None else base._version


def keep_view(view: Handle) -> Handle:
    """What a node saves of a view: the view, whose version counts on its base; in NumPy's programs the memory alone,
    noted on the base as lent.
    """
    base = view._base
    if not modes.numpy or type(view._value) is not np.ndarray or base is None:
        return view
    if base._lent is None:
        base._lent = Lent()
    base._lent.add(view._value)
    return _snapshot(view)


def keep(handle: Handle) -> tuple[Handle, int]:
    """What a node saves of an operand that it reads, and its version."""
    if handle._base is None:
        handle._kept = True
        return handle, handle._version
    saved = keep_view(handle)
    return saved, version_of(saved)


def keep_both(
    y: Any, a: Handle | None, b: Handle | None
) -> tuple[tuple[Any, Handle | None, Handle | None], tuple[int, int, int]]:
    """What a node saves of its result and of two operands, None for one that it doesn't read; and their versions.

    Written out for operands that are no views: it is on the path of every product.
    """
    version_a = version_b = 0
    if a is not None:
        if a._base is None:
            a._kept = True
            version_a = a._version
        else:
            a, version_a = keep(a)
    if b is not None:
        if b._base is None:
            b._kept = True
            version_b = b._version
        else:
            b, version_b = keep(b)
    return (y, a, b), (0, version_a, version_b)


def earlier(handle: Handle, version: int) -> Handle | None:
    """The value that `handle` had at a version, if it was kept."""
    return None if handle._earlier is None else handle._earlier.get(version)


def own(handle: Handle, part: Any = None) -> None:
    """Before a NumPy program writes to the memory of `handle`, or to `part` of it: move the array to memory of its own,
    if a node reads what will be written or if it is an array that must not be written, such as the caller's.
    """
    base = handle if handle._base is None else handle._base
    value, lent = base._value, base._lent
    if type(value) is not np.ndarray:
        _leave(base)  # a 0-dim value that is no memory yet: there is nothing to move
    elif (
        base._kept
        or not value.flags.writeable
        or (lent is not None and lent.reads(handle._value if part is None else part))
    ):
        _leave(base)
        base._value = value.copy()
        for ref in base._views or ():
            view = ref()
            if view is not None and view._view is not None:
                parent, op, params = view._view
                value = op.evaluate(parent._value, **params)
                if type(value) is not np.ndarray:  # NumPy gives a scalar for one element
                    value = parent._value[(*params["index"], ...)]
                view._value = value


def _leave(base: Handle) -> None:
    """Keep the present value for the nodes that read it."""
    if base._kept:
        if base._earlier is None:
            base._earlier = {}
        base._earlier[base._version] = _snapshot(base)
    base._kept = False
    base._lent = None


def _snapshot(handle: Handle) -> Handle:
    """A handle on the same memory, at the same place on the tape."""
    copy: Handle = object.__new__(handle.maker)
    copy._value, copy._node, copy._version, copy._base = handle._value, handle._node, 0, None
    return copy
