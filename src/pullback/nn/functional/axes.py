"""What functions over one to three spatial dimensions share: sizes for each of them, and inputs without a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pullback.ops.shape import reshape

__all__: list[str] = []


def each(value: Any, rank: int, name: str) -> tuple[int, ...]:
    """An integer, or one for each dimension, as a tuple. Raises `RuntimeError` for another number of them."""
    if isinstance(value, Sequence):
        values = tuple(int(v) for v in value)
        if len(values) == 1:
            return values * rank
        if len(values) != rank:
            raise RuntimeError(
                f"expected {name} to be a single integer value or a list of {rank} values to match the convolution "
                f"dimensions, but got {name}={list(values)}"
            )
        return values
    return (int(value),) * rank


def shape_of(x: Any) -> tuple[int, ...]:
    """The shape of a Tensor as a plain tuple."""
    return tuple(x._value.shape)


def with_batch(x: Any, rank: int) -> tuple[Any, bool]:
    """The input (n, channels, ...), and whether it came without n."""
    shape = shape_of(x)
    if len(shape) == rank + 1:
        return reshape(x, shape=(1, *shape)), True
    return x, False


def without_batch(y: Any, dropped: bool) -> Any:
    """The result, without n if the input had none."""
    return reshape(y, shape=shape_of(y)[1:]) if dropped else y
