"""`pb.numpy`: NumPy's namespace over Tensors, for `import pullback.numpy as np`.

Its functions are those of the table; every one gives Tensors, with NumPy's dtypes, whether it was given Tensors, arrays
or numbers. So what `zeros` and `array` make can be written in place, and a program that fills an array step by step is
differentiated with nothing changed but its import. Everything else of NumPy (constants, dtypes, `newaxis`, `errstate`,
`random`, functions not in the table) is NumPy's own.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np

from pullback.tensor.numpy_api.table import FUNCTIONS, implementation

__all__ = ["numpy"]


class NumpyNamespace(ModuleType):
    """A module of NumPy's, its functions replaced by those of the table.

    >>> import pullback as pb
    >>> pb.numpy.sin(0.5)
    tensor(0.4794, dtype=torch.float64)
    >>> pb.numpy.linalg.norm([3.0, 4.0])
    tensor(5., dtype=torch.float64)
    >>> pb.numpy.pi
    3.141592653589793
    """

    def __init__(self, name: str, source: ModuleType) -> None:
        super().__init__(name, __doc__)
        self._source = source
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        found = getattr(self._source, name)
        if callable(found) and hasattr(found, "__name__"):
            found = implementation(found) or found
        setattr(self, name, found)
        return found

    def __dir__(self) -> list[str]:
        return sorted(name for name in dir(self._source) if not name.startswith("_"))


def _namespace(name: str, source: ModuleType) -> NumpyNamespace:
    module = NumpyNamespace(name, source)
    sys.modules[name] = module
    return module


numpy = _namespace("pullback.numpy", np)
for _path in sorted({name.rpartition(".")[0] for name in FUNCTIONS if "." in name}):
    _outer, _source = numpy, np
    for _inner in _path.split("."):  # `lib.stride_tricks` lies two levels down
        _source = getattr(_source, _inner)
        if _inner not in vars(_outer):
            setattr(_outer, _inner, _namespace(f"{_outer.__name__}.{_inner}", _source))
        _outer = getattr(_outer, _inner)
