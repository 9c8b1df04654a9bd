"""Element types: PyTorch's names over NumPy's dtypes, and PyTorch's promotion rules."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

import numpy as np

__all__ = [
    "DTYPES",
    "DType",
    "as_dtype",
    "default_dtype",
    "promote",
    "scalar_dtype",
    "set_default_dtype",
    "type_name",
    "when_default_changes",
]


class DType:
    """An element type with PyTorch's name and look, equal to its NumPy counterpart.

    NumPy accepts it wherever it takes a dtype, and it compares equal to whatever NumPy would call the same type.

    >>> import numpy as np
    >>> float32 = as_dtype("float32")
    >>> float32, float32 == np.float32, np.zeros(2, float32).dtype
    (torch.float32, True, dtype('float32'))
    """

    __slots__ = ("dtype", "is_complex", "is_floating_point", "itemsize", "kind", "name")

    def __init__(self, name: str) -> None:
        self.name: Final = name
        self.dtype: Final = np.dtype(name)
        self.itemsize: Final = self.dtype.itemsize
        self.kind: Final = self.dtype.kind
        self.is_floating_point: Final = self.dtype.kind == "f"
        self.is_complex: Final = self.dtype.kind == "c"

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, DType):
            return self.dtype == other.dtype
        try:
            return bool(self.dtype == np.dtype(other))  # type: ignore[call-overload]
        except TypeError:
            return False

    def __hash__(self) -> int:
        return hash(self.dtype)

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return as_dtype, (self.name,)


_NAMES = ("float32 float64 float16 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool complex64 complex128").split()
DTYPES: Final[dict[str, DType]] = {name: DType(name) for name in _NAMES}
DTYPES.update(
    (alias, DTYPES[name])
    for alias, name in {
        "float": "float32",
        "double": "float64",
        "half": "float16",
        "short": "int16",
        "int": "int32",
        "long": "int64",
        "cfloat": "complex64",
        "cdouble": "complex128",
    }.items()
)
_BY_NUMPY: Final[dict[np.dtype[Any], DType]] = {DTYPES[name].dtype: DTYPES[name] for name in _NAMES}


def as_dtype(dtype: Any) -> DType:
    """The `DType` of a `DType`, a NumPy dtype, a scalar type (`float`, `np.int32`) or a NumPy dtype name.

    Raises `TypeError` for anything that is not a supported element type.
    """
    if isinstance(dtype, DType):
        return dtype
    try:
        return _BY_NUMPY[np.dtype(dtype).newbyteorder("=")]
    except (TypeError, KeyError):
        raise TypeError(f"{dtype!r} is not an element type of pullback; use one of {', '.join(_NAMES)}") from None


_TYPE_NAMES: Final = {
    "float16": "Half",
    "float32": "Float",
    "float64": "Double",
    "int8": "Char",
    "int16": "Short",
    "int32": "Int",
    "int64": "Long",
    "uint8": "Byte",
    "uint16": "UInt16",
    "uint32": "UInt32",
    "uint64": "UInt64",
    "bool": "Bool",
    "complex64": "ComplexFloat",
    "complex128": "ComplexDouble",
}


def type_name(dtype: np.dtype[Any]) -> str:
    """PyTorch's name of the scalar type, as it stands in its error messages: `Float`, `Long`."""
    return _TYPE_NAMES.get(dtype.name, dtype.name)


class _Default(threading.local):
    dtype: np.dtype[Any] = np.dtype("float32")


_default = _Default()


def default_dtype() -> np.dtype[Any]:
    """The dtype that Python floats get in the Tensor API (float32 unless set), as in PyTorch."""
    return _default.dtype


def set_default_dtype(dtype: Any) -> None:
    """Set the dtype that Python floats get in the Tensor API, for this thread.

    Raises `TypeError` if `dtype` is not a floating-point type.
    """
    chosen = as_dtype(dtype)
    if not chosen.is_floating_point:
        raise TypeError(f"only floating-point types are supported as the default type, not {chosen!r}")
    _default.dtype = chosen.dtype
    for tell in when_default_changes:
        tell()


when_default_changes: list[Callable[[], None]] = []
"""What is called when a default dtype has been set: code may have been compiled for another one."""

_COMPLEX_OF = {"float16": "complex64", "float32": "complex64", "float64": "complex128"}


def scalar_dtype(value: complex | bool) -> np.dtype[Any]:
    """The dtype PyTorch gives a Python number: bool, int64, the default float, or the matching complex."""
    if isinstance(value, bool):
        return np.dtype(bool)
    if isinstance(value, int):
        return np.dtype(np.int64)
    if isinstance(value, float):
        return _default.dtype
    return np.dtype(_COMPLEX_OF[_default.dtype.name])


_CATEGORY = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}


def _promote_pair(a: np.dtype[Any], b: np.dtype[Any]) -> np.dtype[Any]:
    """PyTorch's lattice: an integer never widens a float; otherwise NumPy's."""
    if a == b:
        return a
    if _CATEGORY[a.kind] > _CATEGORY[b.kind]:
        a, b = b, a
    if _CATEGORY[b.kind] >= 2 and _CATEGORY[a.kind] < 2:
        return b
    return np.promote_types(a, b)


def promote(*operands: tuple[np.dtype[Any] | None, int, Any]) -> np.dtype[Any]:
    """PyTorch's result dtype of operands given as `(dtype, ndim, value)`; `dtype` is None for a Python number.

    Tensors with dimensions outrank 0-dim tensors, and those outrank Python numbers: a lower rank changes the result
    only when its category (bool < integer < float < complex) is higher.

    >>> import numpy as np
    >>> promote((np.dtype("float32"), 1, None), (np.dtype("float64"), 0, None))
    dtype('float32')
    >>> promote((np.dtype("int64"), 1, None), (None, 0, 2.0))
    dtype('float32')
    """
    ranked: list[np.dtype[Any] | None] = [None, None, None]  # dimensioned, 0-dim, Python numbers
    for dtype, ndim, value in operands:
        rank = 2 if dtype is None else (0 if ndim else 1)
        found = scalar_dtype(value) if dtype is None else dtype
        best = ranked[rank]
        ranked[rank] = found if best is None else _promote_pair(best, found)
    result: np.dtype[Any] | None = None
    for dtype in ranked:
        if dtype is None:
            continue
        if result is None:
            result = dtype
        elif _CATEGORY[dtype.kind] > _CATEGORY[result.kind]:
            if dtype.kind == "c" and result.kind == "f":
                dtype = np.dtype(_COMPLEX_OF[result.name])
            result = _promote_pair(result, dtype)
    if result is None:
        raise TypeError("promote needs at least one operand")
    return result
