"""Tensors by the layout of their memory, and PyTorch's names for layouts.

Tensors here are arrays of any strides. Functions take the names of layouts, and need none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from pullback.tensor.creation import dtype_of, finished, shape_of
from pullback.tensor.device import check_device

__all__ = [
    "channels_last",
    "channels_last_3d",
    "contiguous_format",
    "empty_permuted",
    "empty_strided",
    "frombuffer",
    "is_same_size",
    "is_signed",
    "layout",
    "memory_format",
    "preserve_format",
    "strided",
]


class memory_format:
    """The order of the elements of a result in memory; only a name here."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"


class layout(memory_format):
    """How a tensor is stored; `strided` is the only one here."""

    __slots__ = ()


contiguous_format: Final = memory_format("contiguous_format")
preserve_format: Final = memory_format("preserve_format")
channels_last: Final = memory_format("channels_last")
channels_last_3d: Final = memory_format("channels_last_3d")
strided: Final = layout("strided")


def empty_strided(size: Any, stride: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
    """A tensor like those of `empty`, with the given strides, in elements."""
    check_device(device)
    shape, strides, wanted = shape_of("empty_strided", (size,)), tuple(map(int, stride)), dtype_of(dtype)
    length = 1 + sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) if 0 not in shape else 0
    memory = np.empty(length, wanted)
    steps = [step * wanted.itemsize for step in strides]
    return finished(np.ndarray(shape, wanted, memory, 0, steps) if length else np.empty(shape, wanted), requires_grad)


def empty_permuted(
    size: Any, physical_layout: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Any:
    """A tensor like those of `empty`, whose dimensions lie in memory in the order of `physical_layout`."""
    check_device(device)
    shape = shape_of("empty_permuted", (size,))
    order = tuple(map(int, physical_layout))
    if sorted(order) != [*range(len(shape))]:
        raise RuntimeError(f"empty_permuted: physical_layout {list(order)} is not an order of {len(shape)} dimensions")
    memory = np.empty([shape[i] for i in order], dtype_of(dtype))
    return finished(memory.transpose(np.argsort(order)), requires_grad)


def frombuffer(buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0, requires_grad: bool = False) -> Any:
    """A vector that shares the memory of an object with a buffer: `count` numbers (-1: all) from byte `offset` on."""
    return finished(np.frombuffer(buffer, dtype_of(dtype), count, offset), requires_grad)


def is_same_size(input: Any, other: Any) -> bool:
    """Whether two tensors have the same shape."""
    return tuple(input.shape) == tuple(other.shape)


def is_signed(input: Any) -> bool:
    """Whether the dtype of a tensor has negative numbers."""
    return input._value.dtype.kind in "ifc"


def _never(name: str) -> Callable[[Any], bool]:
    def method(self: Any) -> bool:
        return False

    method.__name__ = method.__qualname__ = name
    method.__doc__ = "False."
    return method


class LayoutMethods:
    """What PyTorch asks of a tensor's storage: it is in this process, on the CPU, dense."""

    is_cpu = True
    is_sparse = is_sparse_csr = is_quantized = is_nested = is_meta = is_mps = is_xla = False
    is_conj, is_neg, is_inference, is_shared, is_distributed = map(
        _never, ("is_conj", "is_neg", "is_inference", "is_shared", "is_distributed")
    )
    layout = strided
    is_same_size = is_same_size
    is_signed = is_signed

    def get_device(self) -> int:
        """-1, which stands for the CPU."""
        return -1

    def pin_memory(self, device: Any = None) -> Any:
        """This tensor."""
        return self

    def share_memory_(self) -> Any:
        """This tensor."""
        return self

    def is_pinned(self, device: Any = None) -> bool:
        """False."""
        return False

    def to_dense(self, dtype: Any = None, *, masked_grad: bool | None = None) -> Any:
        """This tensor, as `dtype` if one is given: it is dense."""
        return self if dtype is None else self.to(dtype)  # type: ignore[attr-defined]

    def to_sparse(self, *args: Any, **options: Any) -> Any:
        """Raises `NotImplementedError`: there are no sparse tensors."""
        raise NotImplementedError(
            "there are no sparse tensors in pullback. Keep the tensor dense; for sparse Jacobians there is "
            "pb.sparse_jacobian, which gives SciPy's."
        )
