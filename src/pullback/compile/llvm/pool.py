"""Memory of large results that is used again: fresh pages can cost several times what it takes to fill them.

The pool is a memory handler of NumPy (NEP 49) in native code, `pool.ll`. An array made under it owns its data as any
other does. When the array dies, its memory stays as an idle block for the next result that it fits, with at most an
eighth to spare. At most `LIMIT` bytes are idle, or an eighth of the machine's memory, beyond which the block longest
idle is freed; and none for more than `PATIENCE` seconds, as the next large result that comes or goes finds. If the
system has no memory left, all idle blocks are freed first. A forked process has copies of them, as of all else.

NumPy calls its handlers with the GIL held, which is the lock here too. Arrays may die on any thread, and after all
modules have gone: the code stays until the process ends.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from pathlib import Path
from string import Template
from typing import Any, Final, NamedTuple

from pullback.compile.llvm import store

__all__ = ["LEAST", "LIMIT", "PATIENCE", "Pool", "pool"]

LEAST: Final = 1 << 20
"""Bytes of a result from which on its memory comes from here."""
LIMIT: Final = 512 << 20
"""Bytes that are idle at most."""
PATIENCE: Final = 10
"""Seconds that a block is idle at most."""
_SLOTS = 512  # idle blocks
_HUGE = 1 << 21  # bytes of a huge page, to which blocks are aligned
_TITLE = b"pullback"


class _State(ctypes.Structure):
    """%Pool in pool.ll."""

    _fields_ = (
        ("handler", ctypes.c_char * 128),
        ("functions", ctypes.c_void_p * 5),
        ("trim", ctypes.c_void_p),
        ("count", ctypes.c_int64),
        ("held", ctypes.c_int64),
        ("limit", ctypes.c_int64),
        ("name", ctypes.c_void_p),
    )


class Pool(NamedTuple):
    """The pool of this process.

    capsule   the handler, as NumPy takes it.
    state     `held` bytes in `count` blocks are idle, and `limit` may be.
    trim      free what has been idle for so many seconds.
    """

    capsule: object
    state: Any
    trim: Any


@functools.cache
def pool() -> Pool | None:
    """The pool, or None where there is no `mmap`."""
    if sys.platform == "win32":
        return None
    import mmap

    text = Template(Path(__file__).with_name("pool.ll").read_text(encoding="utf-8")).substitute(
        title=_TITLE.decode() + "\\00" * (127 - len(_TITLE)),
        page=mmap.PAGESIZE,
        huge=_HUGE,
        flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS,
        advice=getattr(mmap, "MADV_HUGEPAGE", 0),
        patience=PATIENCE,
        least=LEAST,
        slots=_SLOTS,
    )
    code = store.compiled(text, "pool")
    code.pin()
    state = _State.from_address(code.address)
    state.limit = min(LIMIT, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 8)
    new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)(
        ("PyCapsule_New", ctypes.pythonapi)
    )
    trim = ctypes.PYFUNCTYPE(None, ctypes.c_int64)(state.trim)
    return Pool(new(code.address, state.name, None), state, trim)
