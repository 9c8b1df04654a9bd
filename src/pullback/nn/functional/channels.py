"""Channels made space, space made channels, channels mixed, and normalised by their neighbours."""

from __future__ import annotations

from typing import Any

from pullback.nn.functional.axes import shape_of
from pullback.ops.resample import Taps, resample
from pullback.ops.shape import reshape, transpose
from pullback.tensor.dispatch import as_handle

__all__ = ["channel_shuffle", "local_response_norm", "pixel_shuffle", "pixel_unshuffle"]


def _image(name: str, input: Any) -> tuple[Any, tuple[int, ...]]:
    x = as_handle(input)
    shape = shape_of(x)
    if len(shape) < 3:
        raise RuntimeError(
            f"{name} expects input to have at least 3 dimensions, but got input with {len(shape)} dimension(s)"
        )
    return x, shape


def pixel_shuffle(input: Any, upscale_factor: int) -> Any:
    """(..., c·r², h, w) as (..., c, h·r, w·r): r² channels become a square of r by r elements.

    Raises `RuntimeError` if the channels don't divide.
    """
    x, (*lead, channels, h, w) = _image("pixel_shuffle", input)
    r = int(upscale_factor)
    if r <= 0:
        raise RuntimeError(f"pixel_shuffle expects a positive upscale_factor, but got {r}")
    if channels % (r * r):
        raise RuntimeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of upscale_factor, "
            f"but input.size(-3)={channels} is not divisible by {r * r}"
        )
    c, n = channels // (r * r), len(lead)
    x = reshape(x, shape=(*lead, c, r, r, h, w))
    x = transpose(x, axes=(*range(n + 1), n + 3, n + 1, n + 4, n + 2))
    return reshape(x, shape=(*lead, c, h * r, w * r))


def pixel_unshuffle(input: Any, downscale_factor: int) -> Any:
    """(..., c, h·r, w·r) as (..., c·r², h, w): the inverse of `pixel_shuffle`.

    Raises `RuntimeError` if height or width don't divide.
    """
    x, (*lead, c, height, width) = _image("pixel_unshuffle", input)
    r = int(downscale_factor)
    if r <= 0:
        raise RuntimeError(f"pixel_unshuffle expects a positive downscale_factor, but got {r}")
    for what, size, dim in (("height", height, -2), ("width", width, -1)):
        if size % r:
            raise RuntimeError(
                f"pixel_unshuffle expects {what} to be divisible by downscale_factor, but input.size({dim})={size} "
                f"is not divisible by {r}"
            )
    h, w, n = height // r, width // r, len(lead)
    x = reshape(x, shape=(*lead, c, h, r, w, r))
    x = transpose(x, axes=(*range(n + 1), n + 2, n + 4, n + 1, n + 3))
    return reshape(x, shape=(*lead, c * r * r, h, w))


def channel_shuffle(input: Any, groups: int) -> Any:
    """The channels (axis 1) of each of the `groups` dealt out in turn: a transposed (groups, channels/groups).

    Raises `RuntimeError` if the channels don't divide.
    """
    x, (n, channels, *rest) = _image("channel_shuffle", input)
    if groups <= 0 or channels % groups:
        raise RuntimeError(
            f"Number of channels must be divisible by groups. Got {channels} channels and {groups} groups."
        )
    x = reshape(x, shape=(n, groups, channels // groups, *rest))
    x = transpose(x, axes=(0, 2, 1, *range(3, 3 + len(rest))))
    return reshape(x, shape=(n, channels, *rest))


native_channel_shuffle = channel_shuffle


def local_response_norm(input: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Any:
    """x/(k + alpha·mean of x² over `size` neighbouring channels)^beta; channels beyond the ends count as zeros.

    Raises `ValueError` for less than three dimensions.
    """
    x = as_handle(input)
    shape = shape_of(x)
    if len(shape) < 3:
        raise ValueError(f"Expected 3D or higher dimensionality input (got {len(shape)} dimensions)")
    taps = Taps("windows", shape[1], shape[1], (size, 1, size // 2, "none"))
    return x / (resample(x * x, axis=1, taps=taps) * (alpha / size) + k) ** beta
