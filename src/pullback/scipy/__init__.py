"""`pb.scipy`: SciPy's functions over Tensors, with SciPy's names and signatures.

The namespaces `pb.scipy.linalg`, `pb.scipy.special`, ... hold what the table has under their names.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from pullback.scipy import entries as entries
from pullback.scipy import programs as programs
from pullback.scipy.table import FUNCTIONS

__all__ = ["fft", "integrate", "interpolate", "linalg", "optimize", "signal", "special", "stats"]


class _Namespace(ModuleType):
    """One of SciPy's modules: its functions are those of the table."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{__name__}.{name}", f"SciPy's `{name}` over Tensors.")
        self._prefix = f"{name}."
        sys.modules[self.__name__] = self

    def __getattr__(self, name: str) -> Any:
        found = FUNCTIONS.get(self._prefix + name)
        if found is None:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return found

    def __dir__(self) -> list[str]:
        return sorted(name.removeprefix(self._prefix) for name in FUNCTIONS if name.startswith(self._prefix))


fft, integrate, interpolate, linalg, optimize, signal, special, stats = map(_Namespace, __all__)
