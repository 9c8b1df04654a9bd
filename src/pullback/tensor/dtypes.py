"""Questions about element types, under PyTorch's names."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.tape.node import Handle
from pullback.values.dtype import DType, as_dtype, default_dtype, promote

__all__ = ["can_cast", "finfo", "get_default_dtype", "iinfo", "promote_types", "result_type"]


class finfo:
    """The limits of a float dtype (of the default float without an argument).

    >>> finfo("float32").eps
    1.1920928955078125e-07
    """

    __slots__ = ("bits", "dtype", "eps", "max", "min", "resolution", "smallest_normal", "tiny")

    def __init__(self, type: Any = None) -> None:
        chosen = as_dtype(default_dtype() if type is None else type)
        if not (chosen.is_floating_point or chosen.is_complex):
            raise TypeError(f"finfo() requires a floating point input type, not {chosen!r}. Use iinfo for it")
        info = np.finfo(chosen.dtype)
        self.bits = int(info.bits)
        self.dtype = str(info.dtype)
        self.eps, self.max, self.min = float(info.eps), float(info.max), float(info.min)
        self.smallest_normal = self.tiny = float(info.smallest_normal)
        self.resolution = float(f"1e-{info.precision}")

    def __repr__(self) -> str:
        fields = (f"{name}={getattr(self, name):g}" for name in "resolution min max eps smallest_normal tiny".split())
        return f"finfo({', '.join(fields)}, dtype={self.dtype})"


class iinfo:
    """The limits of an integer dtype.

    >>> iinfo("uint8").max
    255
    """

    __slots__ = ("bits", "dtype", "max", "min")

    def __init__(self, type: Any) -> None:
        chosen = as_dtype(type)
        if chosen.kind == "b":
            raise TypeError("torch.bool is not supported by iinfo")
        if chosen.kind not in "iu":
            raise TypeError(f"iinfo() requires an integer input type, not {chosen!r}. Use finfo for it")
        info = np.iinfo(chosen.dtype)
        self.bits, self.dtype = int(info.bits), chosen.name
        self.min, self.max = int(info.min), int(info.max)

    def __repr__(self) -> str:
        return f"iinfo(min={self.min:g}, max={self.max:g}, dtype={self.dtype})"


def get_default_dtype() -> DType:
    """The dtype that Python floats become: float32, unless `set_default_dtype` said otherwise in this thread."""
    return as_dtype(default_dtype())


def _described(x: Any) -> tuple[np.dtype[Any] | None, int, Any]:
    if isinstance(x, Handle):
        return x._value.dtype, len(x._value.shape), None
    if isinstance(x, np.ndarray):
        return x.dtype, x.ndim, None
    return None, 0, x.item() if isinstance(x, np.generic) else x


def result_type(tensor1: Any, tensor2: Any) -> DType:
    """The dtype of an arithmetic result of two operands, tensors or numbers.

    >>> import pullback as pb
    >>> pb.result_type(pb.ones(2, dtype=pb.int32), 1.0)
    torch.float32
    """
    return as_dtype(promote(_described(tensor1), _described(tensor2)))


def promote_types(type1: Any, type2: Any) -> DType:
    """The smallest dtype both can be converted to by PyTorch's rules: an integer never widens a float."""
    a, b = as_dtype(type1).dtype, as_dtype(type2).dtype
    return as_dtype(promote((a, 1, None), (b, 1, None)))


def can_cast(from_: Any, to: Any) -> bool:
    """Whether a result of the one dtype may be written into the other: bool < integer < float < complex."""
    rank = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}
    return rank[as_dtype(from_).kind] <= rank[as_dtype(to).kind]
