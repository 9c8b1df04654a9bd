"""Images at other places: interpolation to another size, and sampling along a grid of coordinates."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from pullback.nn.functional.axes import shape_of
from pullback.nn.functional.pooling import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d
from pullback.ops.cast import cast
from pullback.ops.compare import equal, greater, greater_equal, less, less_equal, logical_and, logical_or
from pullback.ops.control import stop_gradient
from pullback.ops.elementwise import abs_, floor, round_, where
from pullback.ops.index import gather
from pullback.ops.resample import Taps, resample
from pullback.ops.shape import pad as pad_op
from pullback.ops.shape import reshape, transpose
from pullback.tape.node import new_handle
from pullback.tensor.dispatch import as_handle
from pullback.values.dtype import type_name

__all__ = [
    "affine_grid",
    "grid_sample",
    "interpolate",
    "upsample",
    "upsample_bilinear",
    "upsample_nearest",
]

# To another size

_MODES: Final = {  # the kind of map, for how many spatial dimensions, and whether it takes align_corners
    "nearest": ("nearest", (1, 2, 3), False),
    "nearest-exact": ("nearest", (1, 2, 3), False),
    "linear": ("linear", (1,), True),
    "bilinear": ("linear", (2,), True),
    "bicubic": ("cubic", (2,), True),
    "trilinear": ("linear", (3,), True),
    "area": ("area", (1, 2, 3), False),
}
_ADAPTIVE: Final = {1: adaptive_avg_pool1d, 2: adaptive_avg_pool2d, 3: adaptive_avg_pool3d}


def interpolate(
    input: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Any:
    """`input` (n, channels, ...) over one to three dimensions at another `size`, or one `scale_factor` times as large.

    `mode` is "nearest", "nearest-exact", "linear", "bilinear", "bicubic" (a = -3/4), "trilinear" or "area" (means).
    `align_corners` puts the first and last elements on each other, otherwise the outer edges of the elements; a scale
    that leads to a rounded size is used as given, unless `recompute_scale_factor`. `antialias` widens the kernel of
    "bilinear" and "bicubic" when shrinking. Raises `ValueError` or `NotImplementedError` for what doesn't fit.

    >>> import pullback as pb
    >>> pb.nn.functional.interpolate(pb.tensor([[[0.0, 1.0]]]), size=4, mode="linear", align_corners=True)
    tensor([[[0.0000, 0.3333, 0.6667, 1.0000]]])
    """
    x = as_handle(input)
    shape = shape_of(x)
    spatial = shape[2:]
    rank = len(spatial)
    if mode in _MODES and not _MODES[mode][2] and align_corners is not None:
        raise ValueError(
            "align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic | trilinear"
        )
    out, scales = _target(spatial, size, scale_factor)
    if recompute_scale_factor:
        if scales is None:
            raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
        scales = None
    if antialias and (mode not in ("bilinear", "bicubic") or rank != 2):
        raise ValueError(
            "Anti-alias option is restricted to bilinear and bicubic modes and requires a 4-D tensor as input"
        )
    if mode not in _MODES or not 1 <= rank <= 3:
        raise NotImplementedError(
            f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {len(shape)}D) for the modes: "
            f"{' | '.join(_MODES)} (got {mode})"
        )
    kind, ranks, _ = _MODES[mode]
    if rank not in ranks:
        raise NotImplementedError(f"Got {len(shape)}D input, but {mode} mode needs {ranks[0] + 2}D input")
    if min((*out, *spatial)) <= 0:
        raise RuntimeError(
            f"Input and output sizes should be greater than 0, but got input (size: {list(spatial)}) and output "
            f"(size: {list(out)})"
        )
    if kind == "area":
        return _ADAPTIVE[rank](x, out)
    return _resized(x, kind, out, scales, (0.0 if mode == "nearest" else 0.5,), bool(align_corners), antialias)


def _target(spatial: Sequence[int], size: Any, scale_factor: Any) -> tuple[tuple[int, ...], tuple[float, ...] | None]:
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is None and scale_factor is None:
        raise ValueError("either size or scale_factor should be defined")
    given = size if size is not None else scale_factor
    values = tuple(given) if isinstance(given, Sequence) else (given,) * len(spatial)
    if len(values) != len(spatial):
        what = "output size" if size is not None else "scale_factor"
        raise ValueError(
            "Input and output must have the same number of spatial dimensions, but got input with spatial dimensions "
            f"of {list(spatial)} and {what} of {given}."
        )
    if size is not None:
        return tuple(map(int, values)), None
    scales = tuple(map(float, values))
    return tuple(math.floor(n * s) for n, s in zip(spatial, scales, strict=True)), scales


def _resized(
    x: Any,
    kind: str,
    out: Sequence[int],
    scales: Sequence[float | None] | None,
    shift: tuple[float, ...],
    align: bool,
    antialias: bool = False,
) -> Any:
    spatial = shape_of(x)[2:]
    each = list(enumerate(zip(spatial, out, scales or [None] * len(out), strict=True)))
    grows = math.prod(out) > math.prod(spatial)  # then begin with the last axis, which is slow, while it is short
    for i, (n, m, scale) in reversed(each) if grows else each:
        if n == m and (scale in (None, 1.0) or align):
            continue
        if kind == "nearest":
            taps = Taps(kind, n, m, (scale, *shift))
        elif antialias:
            taps = Taps("smooth", n, m, (align, scale, 1 if kind == "linear" else 2))
        else:
            taps = Taps(kind, n, m, (align, scale))
        x = resample(x, axis=2 + i, taps=taps)
    return x


def _upsample_bilinear2d_aa(
    input: Any,
    output_size: Any,
    align_corners: bool,
    scale_factors: Any = None,
    scales_h: float | None = None,
    scales_w: float | None = None,
) -> Any:
    """`interpolate(mode="bilinear", antialias=True)` under PyTorch's inner name; a scale may be beside the size."""
    x = as_handle(input)
    out, scales = _target(shape_of(x)[2:], output_size, scale_factors)
    return _resized(x, "linear", out, scales or (scales_h, scales_w), (), align_corners, True)


def upsample(
    input: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
) -> Any:
    """`interpolate` under its older name."""
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Any, size: Any = None, scale_factor: Any = None) -> Any:
    """`interpolate` in mode "nearest"."""
    return interpolate(input, size, scale_factor, "nearest")


def upsample_bilinear(input: Any, size: Any = None, scale_factor: Any = None) -> Any:
    """`interpolate` of images in mode "bilinear", corners aligned."""
    return interpolate(input, size, scale_factor, "bilinear", True)


# Along a grid


def affine_grid(theta: Any, size: Sequence[int], align_corners: bool | None = None) -> Any:
    """The grid for `grid_sample` of affine maps `theta` (n, 2, 3) to images of `size` (n, channels, height, width).

    In three dimensions (n, 3, 4) and (n, channels, depth, height, width). Raises `ValueError` for shapes that don't
    fit.
    """
    maps = as_handle(theta)
    rank = len(size) - 2
    if maps._value.dtype.kind != "f":
        raise ValueError(f"Expected theta to have floating point type, but got {type_name(maps._value.dtype)}")
    if rank not in (2, 3):
        raise NotImplementedError(
            f"affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms. Got size {size}."
        )
    if shape_of(maps) != (size[0], rank, rank + 1):
        raise ValueError(
            f"Expected a batch of {rank}D affine matrices of shape Nx{rank}x{rank + 1} for size {tuple(size)}. "
            f"Got {shape_of(maps)}."
        )
    if min(size) <= 0:
        raise ValueError(f"Expected non-zero, positive output size. Got {tuple(size)}")
    spatial = tuple(size[2:])
    axes = []
    for n in spatial:
        ends = 1 if align_corners else (n - 1) / n
        axes.append(np.linspace(-ends, ends, n) if n > 1 else np.zeros(1))
    places = np.stack([*reversed(np.meshgrid(*axes, indexing="ij")), np.ones(spatial)], -1)
    base = new_handle(places.reshape(-1, rank + 1).astype(maps._value.dtype))
    return reshape(base @ transpose(maps, axes=(0, 2, 1)), shape=(size[0], *spatial, rank))


_SAMPLING: Final = ("bilinear", "nearest", "bicubic")
_PADDING: Final = ("zeros", "border", "reflection")


def grid_sample(
    input: Any, grid: Any, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None
) -> Any:
    """`input` (n, channels, height, width) at the places `grid` (n, ..., ..., 2) of (x, y), -1 and 1 being its edges.

    In three dimensions (n, channels, depth, height, width) at (n, ..., ..., ..., 3). The edges are the outermost
    elements' middles if `align_corners`, else their outsides. `mode` is "bilinear" (linear each way), "nearest"
    or "bicubic" (two dimensions); `padding_mode` says what is outside: "zeros", the "border" or its "reflection".
    Raises `ValueError` for another mode, `RuntimeError` for shapes that don't fit.
    """
    x, places = as_handle(input), as_handle(grid)
    for what, value, known in (("mode", mode, _SAMPLING), ("padding_mode", padding_mode, _PADDING)):
        if value not in known:
            wanted = ", ".join(f"'{k}'" for k in known[:-1]) + f" or '{known[-1]}'"
            raise ValueError(f"nn.functional.grid_sample(): expected {what} to be {wanted}, but got: '{value}'")
    if align_corners is None:
        warnings.warn("grid_sample: align_corners is False unless given", stacklevel=2)
    _check_grid(shape_of(x), shape_of(places), mode)
    n, channels, *size = shape_of(x)
    out = shape_of(places)[1:-1]
    cells, whole = math.prod(out), math.prod(size)
    parts = [
        _along(places[..., i].reshape(n * cells, 1), length, mode, padding_mode, bool(align_corners))
        for i, length in enumerate(reversed(size))
    ]
    rank = len(size)
    rows = reshape(transpose(x, axes=(0, *range(2, 2 + rank), 1)), shape=(n * whole, channels))
    if padding_mode == "zeros":
        rows = pad_op(rows, widths=((0, 1), (0, 0)), value=0.0)  # the row that is read where nothing is
    total: Any = None
    for combination in itertools.product(*reversed(parts)):
        index: Any = np.repeat(np.arange(n), cells).reshape(n * cells, 1)
        inside: Any = None
        weight: Any = None
        for length, (place, valid, share) in zip(size, combination, strict=True):
            index = place + index * length
            inside = valid if inside is None else logical_and(inside, valid)
            weight = share if weight is None or share is None else weight * share
        if padding_mode == "zeros":
            index = where(inside, index, n * whole)
        value = gather(rows, reshape(index, shape=(n * cells,)))
        value = value if weight is None else value * weight
        total = value if total is None else total + value
    total = transpose(reshape(total, shape=(n, cells, channels)), axes=(0, 2, 1))
    return reshape(total, shape=(n, channels, *out))


def _check_grid(x: tuple[int, ...], grid: tuple[int, ...], mode: str) -> None:
    if len(x) not in (4, 5) or len(x) != len(grid):
        raise RuntimeError(
            "grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but got input with "
            f"sizes {list(x)} and grid with sizes {list(grid)}"
        )
    if x[0] != grid[0]:
        raise RuntimeError(
            "grid_sampler(): expected grid and input to have same batch size, but got input with sizes "
            f"{list(x)} and grid with sizes {list(grid)}"
        )
    if grid[-1] != len(x) - 2:
        raise RuntimeError(
            f"grid_sampler(): expected grid to have size {len(x) - 2} in last dimension, but got grid with sizes "
            f"{list(grid)}"
        )
    if min(x[2:]) == 0:
        raise RuntimeError(
            f"grid_sampler(): expected input to have non-empty spatial dimensions, but input has sizes {list(x)}"
        )
    if len(x) == 5 and mode == "bicubic":
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")


_Part = tuple[Any, Any, Any]  # an index along one axis, whether it is inside, and its weight (None: 1)


def _along(at: Any, n: int, mode: str, padding: str, align: bool) -> list[_Part]:
    """The elements along one axis of length n that coordinates in [-1, 1] read."""
    at = (at + 1.0) * ((n - 1) / 2) if align else ((at + 1.0) * n - 1.0) * 0.5
    if mode != "bicubic":
        at = _brought_in(at, n, padding, align)
    if padding == "zeros":  # what lies further out than a kernel reaches reads nothing, be it infinite or NaN
        reach = 2.0 if mode == "bicubic" else 1.0
        at = where(logical_and(greater(at, -reach), less(at, n - 1 + reach)), at, -2.0 * reach)
    if mode == "nearest":
        return [_read(round_(stop_gradient(at), decimals=0), n, None)]
    left = floor(stop_gradient(at))
    share = at - left
    if mode == "bilinear":
        return [_read(left, n, 1.0 - share), _read(left + 1.0, n, share)]
    return [
        _read(_brought_in(left + float(k), n, padding, align), n, _cubic(abs_(share - float(k)), k in (0, 1)))
        for k in (-1, 0, 1, 2)
    ]


def _read(place: Any, n: int, weight: Any) -> _Part:
    inside = logical_and(greater_equal(place, 0.0), less_equal(place, n - 1.0))
    return cast(where(inside, place, 0.0), dtype=np.dtype(np.int64)), inside, weight


def _cubic(x: Any, near: bool) -> Any:
    """The cubic convolution kernel with a = -3/4 at a distance below 1 (near) or between 1 and 2."""
    if near:
        return (1.25 * x - 2.25) * x * x + 1.0
    return ((-0.75 * x + 3.75) * x - 6.0) * x + 3.0


def _brought_in(at: Any, n: int, padding: str, align: bool) -> Any:
    """Coordinates beyond the ends, brought in by the padding mode. At the ends themselves the slope is 0."""
    if padding == "zeros":
        return at
    if padding == "reflection":
        low, span = (0.0, n - 1.0) if align else (-0.5, float(n))
        if span == 0:
            return at * 0.0
        at = abs_(at - low)
        turns = floor(stop_gradient(at) * (1 / span))
        rest = at - turns * span
        at = where(equal(turns - 2.0 * floor(turns * 0.5), 0.0), rest, span - rest) + low
    low_end, high_end = less_equal(at, 0.0), greater_equal(at, n - 1.0)
    at = where(logical_or(low_end, high_end), 0.0, at)
    return where(high_end, n - 1.0, at)


def grid_sampler(input: Any, grid: Any, interpolation_mode: int, padding_mode: int, align_corners: bool) -> Any:
    """`grid_sample` with its modes by number."""
    return grid_sample(input, grid, _SAMPLING[interpolation_mode], _PADDING[padding_mode], align_corners)


grid_sampler_2d = grid_sampler_3d = grid_sampler
