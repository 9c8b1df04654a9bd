"""Padding: with a number, or with what is inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pullback.nn.functional.axes import shape_of
from pullback.ops.resample import Taps, resample
from pullback.ops.shape import pad as pad_op
from pullback.tensor.dispatch import as_handle

__all__ = ["pad"]


def pad(input: Any, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Any:
    """`input` with something around it: `pad` is (before, after) of the last dimension, then of the one before it, and
    so on; a negative number cuts off.

    `mode` is "constant" (`value`, 0 unless given), "reflect" (mirrored at the edge, which is not repeated), "replicate"
    (the edge repeated) or "circular" (from the other end); the last three are for one to three spatial dimensions of
    (n, channels, ...) or (channels, ...). Raises `RuntimeError` for widths that don't fit, `NotImplementedError` for
    another mode.

    >>> import pullback as pb
    >>> pb.nn.functional.pad(pb.ones(1, 2), (1, 1))
    tensor([[0., 1., 1., 0.]])
    >>> pb.nn.functional.pad(pb.arange(3.0).reshape(1, 3), (2, 1), "reflect")
    tensor([[2., 1., 0., 1., 2., 1.]])
    """
    x = as_handle(input)
    widths = [int(width) for width in pad]
    if len(widths) % 2:
        raise RuntimeError("Padding length must be divisible by 2")
    pairs = list(zip(widths[::2], widths[1::2], strict=True))
    ndim = len(shape_of(x))
    if len(pairs) > ndim:
        raise RuntimeError(
            "Padding length should be less than or equal to two times the input dimension but got padding length "
            f"{len(widths)} and input of dimension {ndim}"
        )
    if mode == "constant":
        around = ((0, 0),) * (ndim - len(pairs)) + tuple(reversed(pairs))
        return pad_op(x, widths=around, value=0.0 if value is None else value)
    if value is not None and value != 0:
        raise RuntimeError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if mode not in ("reflect", "replicate", "circular"):
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if not 1 <= len(pairs) <= 3 or ndim - len(pairs) not in (1, 2):
        raise NotImplementedError(f"Padding size {len(widths)} is not supported for {ndim}D input tensor.")
    for i, (before, after) in enumerate(pairs, 1):
        n = shape_of(x)[-i]
        _check(mode, n, before, after, ndim - i, shape_of(x))
        if before or after:
            x = resample(x, axis=ndim - i, taps=Taps("around", n, n + before + after, (before, mode)))
    return x * 1.0 if x is input else x


def _check(mode: str, n: int, before: int, after: int, dim: int, shape: Sequence[int]) -> None:
    if mode == "reflect" and max(before, after) >= n:
        raise RuntimeError(
            "Argument #4: Padding size should be less than the corresponding input dimension, but got: padding "
            f"({before}, {after}) at dimension {dim} of input {list(shape)}"
        )
    if mode == "circular" and max(before, after) > n:
        raise RuntimeError("Padding value causes wrapping around more than once.")
    if n + before + after < (mode != "replicate") or (n == 0 and (before > 0 or after > 0)):
        raise RuntimeError(
            f"input (size: {n}) at dimension {dim} is too small for padding ({before}, {after}) in mode {mode}"
        )
