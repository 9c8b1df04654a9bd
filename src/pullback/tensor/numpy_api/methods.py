"""Methods of NumPy's arrays that PyTorch's tensors lack, or know without NumPy's options."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from pullback.tape.node import Handle
from pullback.tape.state import modes
from pullback.tensor import conversion, reduction, shaping
from pullback.tensor.indexing import getitem, setitem
from pullback.tensor.numpy_api.operands import deliver, lift, raw, shape_of
from pullback.tensor.numpy_api.table import FUNCTIONS

__all__ = ["ArrayMethods", "Flat"]

_NUMPY_ONLY = frozenset(("where", "initial", "out"))  # keywords by which a call means NumPy's function


class Flat:
    """What `x.flat` is: the elements of x in order, to be iterated over, read and written by one index.

    >>> import pullback as pb
    >>> x = pb.zeros(2, 2)
    >>> x.flat[1:3] = [5.0, 6.0]
    >>> x.flat[1].item(), len(x.flat)
    (5.0, 4)
    """

    __slots__ = ("base",)

    def __init__(self, base: Any) -> None:
        self.base = base

    def __len__(self) -> int:
        return math.prod(shape_of(self.base))

    def _places(self, index: Any) -> tuple[Any, ...]:
        index = raw(index, "an index") if isinstance(index, Handle) else index
        return np.unravel_index(np.arange(len(self))[index], shape_of(self.base))

    def __getitem__(self, index: Any) -> Any:
        return getitem(self.base, self._places(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        places = self._places(index)
        values = FUNCTIONS["resize"](lift(value), np.shape(places[0])) if places else value
        setitem(self.base, places, values)

    def __iter__(self) -> Iterator[Any]:
        return iter(FUNCTIONS["ravel"](self.base)) if shape_of(self.base) else iter([self.base])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return FUNCTIONS["ravel"](self.base).__array__(dtype, copy)

    def copy(self) -> Any:
        """The elements in order, as a line of its own."""
        return FUNCTIONS["copy"](FUNCTIONS["ravel"](self.base))


class ArrayMethods:
    """Array methods of NumPy's; those that write do it in place."""

    def sum(self, *args: Any, **kwargs: Any) -> Any:
        """The sum over an axis or all: PyTorch's method, that also takes NumPy's `where`, `initial` and `out`."""
        if kwargs and not _NUMPY_ONLY.isdisjoint(kwargs):
            return FUNCTIONS["sum"](self, *args, **kwargs)
        return reduction.sum(self, *args, **kwargs)

    def mean(self, *args: Any, **kwargs: Any) -> Any:
        """The mean over an axis or all: PyTorch's method, that also takes NumPy's `where` and `out`."""
        if kwargs and not _NUMPY_ONLY.isdisjoint(kwargs):
            return FUNCTIONS["mean"](self, *args, **kwargs)
        return reduction.mean(self, *args, **kwargs)

    @property
    def flat(self) -> Flat:
        """The elements in order, to be iterated over, read and written."""
        return Flat(self)

    @flat.setter
    def flat(self, value: Any) -> None:
        Flat(self)[:] = value

    @property
    def strides(self) -> tuple[int, ...]:
        """How many bytes lie between neighbours along each axis."""
        return tuple(np.asarray(conversion.numbers(self, "strides")).strides)

    @property
    def imag(self) -> Any:
        """The imaginary part; of a real tensor zeros in a function run for NumPy arguments, else a `RuntimeError`."""
        return FUNCTIONS["imag"](self) if modes.numpy else conversion.imag(self)

    @imag.setter
    def imag(self, value: Any) -> None:
        conversion.imag(self)[...] = value

    def tobytes(self, order: str = "C") -> bytes:
        """The elements as bytes, without their gradient."""
        return np.asarray(conversion.numbers(self, "tobytes()")).tobytes(order)  # type: ignore[arg-type]

    def item(self, *index: Any) -> Any:
        """The one element, or the one at an index, as a Python number."""
        if not index:
            return conversion.ConversionMethods.item(self)  # type: ignore[arg-type]
        chosen = index[0] if len(index) == 1 else index
        return (getitem(self, chosen) if isinstance(chosen, tuple) else self.flat[chosen]).item()

    def conjugate(self) -> Any:
        """The complex conjugate; the tensor itself if it is real."""
        return conversion.conj(self)

    def argpartition(self, kth: Any, axis: int | None = -1) -> Any:
        """Indices that put the elements of rank `kth` into place along `axis`."""
        return FUNCTIONS["argpartition"](self, kth, axis)

    def partition(self, kth: Any, axis: int = -1) -> None:
        """Put the elements of rank `kth` into place along `axis`, in place."""
        deliver(FUNCTIONS["partition"](self, kth, axis), self)

    def put(self, *args: Any, **kwargs: Any) -> Any:
        """NumPy's `put(indices, values, mode)`, in place, in a function run for NumPy arguments; else PyTorch's."""
        torch = None if modes.numpy else getattr(super(), "put", None)
        return FUNCTIONS["put"](self, *args, **kwargs) if torch is None else torch(*args, **kwargs)

    def reshape(self, *shape: Any, order: str = "C", **kwargs: Any) -> Any:
        """PyTorch's `reshape`; NumPy's with an `order`, and in a function run for NumPy arguments."""
        if order == "C" and not modes.numpy:
            return shaping.reshape(self, *shape, **kwargs)
        return FUNCTIONS["reshape"](self, *(shape[:1] if len(shape) == 1 else (shape,)), order=order, **kwargs)

    def view(self, *args: Any, **kwargs: Any) -> Any:
        """PyTorch's `view(shape)` or `view(dtype)`; NumPy's `view()` is the same elements as another Tensor."""
        if not args and not kwargs:
            return getitem(self, Ellipsis)
        return super().view(*args, **kwargs)  # type: ignore[misc]

    def __round__(self, ndigits: int | None = None) -> Any:
        """`round(x, ndigits)`: each element rounded, halves to even; a Tensor of the same dtype."""
        return FUNCTIONS["round"](self, ndigits or 0)
