"""Functions that move elements without changing them, under PyTorch's names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pullback.ops import shape as s
from pullback.tape.node import wrap
from pullback.tensor.dispatch import as_handle, view


def _dims(dims: tuple[Any, ...]) -> tuple[int, ...]:
    """Dimensions given one by one or as one sequence."""
    return tuple(int(d) for d in (dims[0] if len(dims) == 1 and not isinstance(dims[0], int) else dims))


def permute(input: Any, *dims: Any) -> Any:
    """The axes in another order; a view."""
    x = as_handle(input)
    rank = len(x._value.shape)
    return view(s.transpose, x, axes=tuple(d % rank for d in _dims(dims)))


class ShapeMethods:
    """Shape functions as methods of `Tensor`."""

    permute = permute

    def __len__(self) -> int:
        shape = self._value.shape  # type: ignore[attr-defined]
        if not shape:
            raise TypeError("len() of a 0-d tensor")
        return int(shape[0])

    def __iter__(self) -> Iterator[Any]:
        if not self._value.shape:  # type: ignore[attr-defined]
            raise TypeError("iteration over a 0-d tensor")
        return iter(wrap(s.unbind(self, axis=0)))
