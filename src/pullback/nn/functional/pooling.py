"""Pooling over one, two and three dimensions: the largest, the mean or the p-norm of windows, and back."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from pullback.nn.functional.axes import each, shape_of, with_batch, without_batch
from pullback.ops import windows
from pullback.ops.control import stop_gradient
from pullback.ops.index import put_along, take_along
from pullback.ops.reduce import argmax, mean
from pullback.ops.resample import Taps, part_bounds, resample
from pullback.ops.shape import reshape
from pullback.ops.windows import Window
from pullback.tape.node import new_handle
from pullback.tensor.dispatch import as_handle
from pullback.tensor.gathering import index_of, where
from pullback.tensor.random import source

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool1d_with_indices",
    "adaptive_max_pool2d",
    "adaptive_max_pool2d_with_indices",
    "adaptive_max_pool3d",
    "adaptive_max_pool3d_with_indices",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "fractional_max_pool2d",
    "fractional_max_pool2d_with_indices",
    "fractional_max_pool3d",
    "fractional_max_pool3d_with_indices",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "max_pool1d",
    "max_pool1d_with_indices",
    "max_pool2d",
    "max_pool2d_with_indices",
    "max_pool3d",
    "max_pool3d_with_indices",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
]

RANKS: Final = (1, 2, 3)
_LETTERS: Final = ("width", "height", "depth")


def _entered(name: str, rank: int, input: Any) -> tuple[Any, bool]:
    """The input as (n, channels, ...), and whether it had no n."""
    x = as_handle(input)
    shape = shape_of(x)
    if len(shape) not in (rank + 1, rank + 2):
        raise RuntimeError(
            f"{name}: Expected {rank + 1}D or {rank + 2}D (batch mode) tensor with optional 0 dim batch size for "
            f"input, but got: {list(shape)}"
        )
    return with_batch(x, rank)


def _window(
    rank: int, size: Sequence[int], kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool
) -> Window:
    """The windows of a pooling; with `ceil` one may hang over the end, if it begins before."""
    kernel = each(kernel, rank, "kernel_size")
    stride = each(stride, rank, "stride") if stride not in (None, [], ()) else kernel
    padding, dilation = each(padding, rank, "padding"), each(dilation, rank, "dilation")
    if min(stride) <= 0:
        raise RuntimeError("stride should not be zero")
    if min(kernel) <= 0 or min(dilation) <= 0:
        raise RuntimeError("kernel size and dilation should be greater than zero")
    around, outs = [], []
    for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True):
        if p < 0 or p > (d * (k - 1) + 1) // 2:
            raise RuntimeError(
                f"pad should be at most half of effective kernel size, but got pad={p}, kernel_size={k} and "
                f"dilation={d}"
            )
        reach = d * (k - 1) + 1
        room = n + 2 * p - reach
        out = (-(-room // s) if ceil else room // s) + 1
        if ceil and (out - 1) * s >= n + p:
            out -= 1
        outs.append(out)
        around.append((p, (out - 1) * s + reach - n - p))
    if min(outs) < 1:
        raise RuntimeError(
            f"Given input size: {tuple(size)}. Calculated output size: {tuple(outs)}. Output size is too small"
        )
    return Window(kernel, stride, tuple(around), dilation)


# The largest. Of equals the first counts, in the order of memory; a NaN counts as larger than any number.


def _max_pool(rank: int) -> Callable[..., Any]:
    def pool(
        input: Any,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        x, dropped = _entered(name, rank, input)
        window = _window(rank, shape_of(x)[2:], kernel_size, stride, padding, dilation, ceil_mode)
        return _largest(x, window, dropped, return_indices)

    name = f"max_pool{rank}d"
    return _named(
        pool,
        name,
        f"""The largest element of each window over the last {rank} dimensions of `input` (n, channels, ...).

        `stride` is `kernel_size` unless given. The padding counts as -inf. `ceil_mode` keeps a last window that hangs
        over the end. With `return_indices` also where the elements were, counted along the flattened dimensions. Of
        equal elements the first is taken, and the gradient goes to it alone.
        Raises `RuntimeError` for numbers that don't fit.
        """,
    )


_picks: Final = {rank: windows.window_pick.titled(f"MaxPool{max(rank, 2)}DWithIndicesBackward0") for rank in RANKS}


def _largest(x: Any, window: Window, dropped: bool, return_indices: bool) -> Any:
    which = windows.window_argmax(x, window=window)
    y = without_batch(_picks[len(window.kernel)](x, which, window=window), dropped)
    if not return_indices:
        return y
    return y, without_batch(windows.window_index(which, window=window, size=shape_of(x)[2:]), dropped)


def _largest_of(x: Any, places: Any, out: tuple[int, ...], dropped: bool, return_indices: bool) -> Any:
    """The largest elements at `places` (cells, some) of each plane of x, or (n, channels, cells, some), as `out`."""
    lead = shape_of(x)[:2]
    planes = reshape(x, shape=(*lead, math.prod(shape_of(x)[2:])))
    *own, cells, some = places.shape
    places = np.broadcast_to(places, (*(own or (1, 1)), cells, some))
    read = np.broadcast_to(places.reshape(*places.shape[:2], cells * some), (*lead, cells * some))
    seen = reshape(take_along(stop_gradient(planes), read, 2), shape=(*lead, cells, some))
    which = argmax(seen, axis=3, keepdims=True)
    whole = np.broadcast_to(places, (*lead, cells, some))
    index = reshape(take_along(new_handle(whole), which, 3), shape=(*lead, cells))
    y = without_batch(reshape(take_along(planes, index, 2), shape=(*lead, *out)), dropped)
    if not return_indices:
        return y
    return y, without_batch(reshape(index, shape=(*lead, *out)), dropped)


def _flattened(axes: Sequence[Any], size: Sequence[int]) -> Any:
    """Places in flattened dimensions, (..., cells, some), from those along each of them, (..., out, some)."""
    total = axes[0]
    for n, axis in zip(size[1:], axes[1:], strict=True):
        total = total[..., :, None, :, None] * n + axis[..., None, :, None, :]
        *lead, a, b, c, d = total.shape
        total = total.reshape(*lead, a * b, c * d)
    return total


def _output_size(name: str, rank: int, size: Sequence[int], output_size: Any) -> tuple[int, ...]:
    wanted = tuple(output_size) if isinstance(output_size, Sequence) else (output_size,) * rank
    if len(wanted) != rank:
        raise RuntimeError(f"{name}: output_size must be {rank}")
    out = tuple(n if m is None else int(m) for n, m in zip(size, wanted, strict=True))
    if min(out) < 0:
        raise RuntimeError(f"{name}: elements of output_size must be greater than or equal to 0")
    if min(size) == 0:
        raise RuntimeError(f"{name}(): Expected input to have non-zero size for non-batch dimensions")
    return out


def _evenly(size: Sequence[int], out: Sequence[int]) -> bool:
    return all(m and n % m == 0 for n, m in zip(size, out, strict=True))


def _adaptive_max_pool(rank: int) -> Callable[..., Any]:
    def pool(input: Any, output_size: Any, return_indices: bool = False) -> Any:
        x, dropped = _entered(name, rank, input)
        size = shape_of(x)[2:]
        out = _output_size(name, rank, size, output_size)
        if _evenly(size, out):
            kernel = tuple(n // m for n, m in zip(size, out, strict=True))
            return _largest(x, Window(kernel, kernel, ((0, 0),) * rank, (1,) * rank), dropped, return_indices)
        axes = []
        for n, m in zip(size, out, strict=True):
            first, last = part_bounds(n, m)
            some = np.arange(int((last - first).max(initial=1)))
            axes.append(np.minimum(first[:, None] + some, last[:, None] - 1))  # the last one again where they are fewer
        return _largest_of(x, _flattened(axes, size), out, dropped, return_indices)

    name = f"adaptive_max_pool{rank}d"
    return _named(
        pool,
        name,
        f"""The largest element of each of `output_size` parts of the last {rank} dimensions.

        Part i of m along n elements runs from ⌊i·n/m⌋ to ⌈(i + 1)·n/m⌉; None means n parts.
        With `return_indices` also where they were.
        """,
    )


def _fractional_max_pool(rank: int) -> Callable[..., Any]:
    def pool(
        input: Any,
        kernel_size: Any,
        output_size: Any = None,
        output_ratio: Any = None,
        return_indices: bool = False,
        _random_samples: Any = None,
    ) -> Any:
        x, dropped = _entered(name, rank, input)
        lead, size = shape_of(x)[:2], shape_of(x)[2:]
        if output_size is None and output_ratio is None:
            raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
        if output_size is None:
            ratio = output_ratio if isinstance(output_ratio, Sequence) else (output_ratio,) * rank
            output_size = tuple(int(n * r) for n, r in zip(size, ratio, strict=True))
        kernel, out = each(kernel_size, rank, "kernel_size"), each(output_size, rank, "output_size")
        for axis, n, k, m in zip(reversed(_LETTERS[:rank]), size, kernel, out, strict=True):
            if m + k - 1 > n:
                raise RuntimeError(f"{name}(): pool {axis} {k} too large relative to input {axis} {n}")
        if _random_samples is None:
            samples = source().random((*lead, rank), x._value.dtype)
        else:
            samples = np.asarray(as_handle(_random_samples)._value).reshape(*lead, rank)
        order = range(rank) if rank == 3 else reversed(range(rank))  # PyTorch's: in two dimensions the width's first
        axes = [
            _begins(samples[..., i], n, m, k)[..., None] + np.arange(k)
            for i, n, m, k in zip(order, size, out, kernel, strict=True)
        ]
        return _largest_of(x, _flattened(axes, size), out, dropped, return_indices)

    name = f"fractional_max_pool{rank}d"
    return _named(
        pool,
        name,
        f"""The largest element of each of `output_size` windows placed at random steps over the last {rank} dimensions.

        `output_ratio` gives the size as a fraction of the input's. `_random_samples` (n, channels, {rank}) in [0, 1)
        place the windows. Source: B. Graham, "Fractional Max-Pooling" (2014), pseudorandom sequences.
        """,
    )


def _begins(sample: Any, size: int, out: int, kernel: int) -> Any:
    """Where the windows of one axis begin, (..., out)."""
    sample = sample[..., None]
    alpha = sample.dtype.type((size - kernel) / (out - 1) if out > 1 else 0)
    begins = ((np.arange(out).astype(sample.dtype) + sample) * alpha).astype(np.int64)
    begins -= (sample * alpha).astype(np.int64)
    begins[..., out - 1 :] = size - kernel
    return begins


def _max_unpool(rank: int) -> Callable[..., Any]:
    def unpool(
        input: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
    ) -> Any:
        x, dropped = _entered(name, rank, input)
        if as_handle(indices)._value.dtype.kind == "f":
            raise RuntimeError("elements in indices should be type int64 but got: Float")
        index = index_of(as_handle(indices), name)
        if tuple(index.shape) != tuple(as_handle(input).shape):
            raise RuntimeError(
                f"Expected shape of indices to be same as that of the input tensor ({list(as_handle(input).shape)}) "
                f"but got indices tensor with shape: {list(index.shape)}"
            )
        small = shape_of(x)[2:]
        kernel, padding = each(kernel_size, rank, "kernel_size"), each(padding, rank, "padding")
        stride = kernel if stride in (None, [], ()) else each(stride, rank, "stride")
        natural = [(m - 1) * s + k - 2 * p for m, s, k, p in zip(small, stride, kernel, padding, strict=True)]
        size = _unpooled(natural, stride, output_size)
        if isinstance(index, np.ndarray) and index.size and not 0 <= index.min() <= index.max() < math.prod(size):
            wrong = index[(index < 0) | (index >= math.prod(size))].flat[0]
            raise RuntimeError(
                f"Found an invalid max index: {wrong} (output volumes are of size {'x'.join(map(str, size))})"
            )
        cells = (*shape_of(x)[:2], math.prod(small))
        zeros = np.zeros((*cells[:2], math.prod(size)), x._value.dtype)
        y = put_along(zeros, reshape(index, shape=cells), reshape(x, shape=cells), 2)
        return without_batch(reshape(y, shape=(*cells[:2], *size)), dropped)

    name = f"max_unpool{rank}d"
    return _named(
        unpool,
        name,
        f"""The elements of `input` put back where `max_pool{rank}d` found them, zeros elsewhere.

        `indices` are that function's; `output_size` chooses among the sizes that pool to this one.
        Raises `RuntimeError` for indices that don't fit, `ValueError` for an `output_size` that doesn't.
        """,
    )


def _unpooled(natural: Sequence[int], stride: Sequence[int], output_size: Any) -> tuple[int, ...]:
    if output_size is None:
        return tuple(natural)
    rank = len(natural)
    wanted = tuple(output_size)[2:] if len(output_size) == rank + 2 else tuple(output_size)
    if len(wanted) != rank:
        raise ValueError(
            f"output_size should be a sequence containing {rank} or {rank + 2} elements, but it has a length of "
            f"'{len(wanted)}'"
        )
    for d, (n, s, m) in enumerate(zip(natural, stride, wanted, strict=True)):
        if not n - s < m < n + s:
            raise ValueError(f'invalid output_size "{wanted}" (dim {d} must be between {n - s} and {n + s})')
    return wanted


# The mean


def _avg_pool(rank: int) -> Callable[..., Any]:
    def pool(
        input: Any,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Any:
        x, dropped = _entered(name, rank, input)
        size = shape_of(x)[2:]
        if divisor_override == 0:
            raise RuntimeError("divisor must be not zero")
        window = _window(rank, size, kernel_size, stride, padding, 1, ceil_mode)
        count = "none" if divisor_override else "with" if count_include_pad else "without"
        for i, (n, m, k, s, (p, _)) in enumerate(zip(size, window.out(size), *window[:3], strict=True)):
            x = resample(x, axis=2 + i, taps=Taps("windows", n, m, (k, s, p, count)))
        return without_batch(x * (1 / divisor_override) if divisor_override else x, dropped)

    name = f"avg_pool{rank}d"
    return _named(
        pool,
        name,
        f"""The mean of each window over the last {rank} dimensions of `input` (n, channels, ...).

        `stride` is `kernel_size` unless given. Zeros in the padding count, unless `count_include_pad` is false;
        `divisor_override` replaces the count. `ceil_mode` keeps a last window that hangs over the end.
        Raises `RuntimeError` for numbers that don't fit.
        """,
    )


def _adaptive_avg_pool(rank: int) -> Callable[..., Any]:
    def pool(input: Any, output_size: Any) -> Any:
        x, dropped = _entered(name, rank, input)
        lead, size = shape_of(x)[:2], shape_of(x)[2:]
        out = _output_size(name, rank, size, output_size)
        if _evenly(size, out):
            parts = tuple(m for n, o in zip(size, out, strict=True) for m in (o, n // o))
            y = mean(reshape(x, shape=(*lead, *parts)), axis=tuple(range(3, 3 + 2 * rank, 2)), keepdims=False)
            return without_batch(y, dropped)
        for i, (n, m) in enumerate(zip(size, out, strict=True)):
            x = resample(x, axis=2 + i, taps=Taps("parts", n, m))
        return without_batch(x, dropped)

    name = f"adaptive_avg_pool{rank}d"
    return _named(
        pool,
        name,
        f"""The mean of each of `output_size` parts of the last {rank} dimensions.

        Part i of m along n elements runs from ⌊i·n/m⌋ to ⌈(i + 1)·n/m⌉; None means n parts.
        """,
    )


def _lp_pool(rank: int) -> Callable[..., Any]:
    def pool(input: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Any:
        x = as_handle(input)
        if math.isinf(norm_type):
            sign = math.copysign(1.0, norm_type)
            return _POOLS["max_pool", rank](x.abs() * sign, kernel_size, stride, 0, 1, ceil_mode) * sign
        mean = _POOLS["avg_pool", rank](x.pow(norm_type), kernel_size, stride, 0, ceil_mode)
        count = math.prod(each(kernel_size, rank, "kernel_size"))
        total = mean.relu() * count
        positive = total > 0
        return where(positive, where(positive, total, 1.0).pow(1.0 / norm_type), 0.0)

    return _named(
        pool,
        f"lp_pool{rank}d",
        f"""The p-norm (Σ xᵖ)^(1/p), p being `norm_type`, of each window over the last {rank} dimensions.

        Where the sum is 0 the gradient is 0. An infinite p gives the largest or smallest magnitude.
        """,
    )


def _named(function: Callable[..., Any], name: str, doc: str) -> Callable[..., Any]:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = inspect.cleandoc(doc)
    return function


def _with_indices(pool: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(pool)

    def both(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.arguments["return_indices"] = True
        return pool(*bound.args, **bound.kwargs)

    both.__signature__ = signature  # type: ignore[attr-defined]
    return _named(both, f"{pool.__name__}_with_indices", f"`{pool.__name__}` with `return_indices`.")


_MAKERS: Final = {
    "max_pool": (_max_pool, RANKS),
    "adaptive_max_pool": (_adaptive_max_pool, RANKS),
    "fractional_max_pool": (_fractional_max_pool, (2, 3)),
    "max_unpool": (_max_unpool, RANKS),
    "avg_pool": (_avg_pool, RANKS),
    "adaptive_avg_pool": (_adaptive_avg_pool, RANKS),
    "lp_pool": (_lp_pool, RANKS),
}
_POOLS: Final = {(kind, rank): make(rank) for kind, (make, ranks) in _MAKERS.items() for rank in ranks}
max_pool1d, max_pool2d, max_pool3d = (_POOLS["max_pool", 1], _POOLS["max_pool", 2], _POOLS["max_pool", 3])
adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d = (
    _POOLS["adaptive_max_pool", 1],
    _POOLS["adaptive_max_pool", 2],
    _POOLS["adaptive_max_pool", 3],
)
fractional_max_pool2d, fractional_max_pool3d = (_POOLS["fractional_max_pool", 2], _POOLS["fractional_max_pool", 3])
max_unpool1d, max_unpool2d, max_unpool3d = (_POOLS["max_unpool", 1], _POOLS["max_unpool", 2], _POOLS["max_unpool", 3])
avg_pool1d, avg_pool2d, avg_pool3d = (_POOLS["avg_pool", 1], _POOLS["avg_pool", 2], _POOLS["avg_pool", 3])
adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d = (
    _POOLS["adaptive_avg_pool", 1],
    _POOLS["adaptive_avg_pool", 2],
    _POOLS["adaptive_avg_pool", 3],
)
lp_pool1d, lp_pool2d, lp_pool3d = (_POOLS["lp_pool", 1], _POOLS["lp_pool", 2], _POOLS["lp_pool", 3])
max_pool1d_with_indices, max_pool2d_with_indices, max_pool3d_with_indices = (
    _with_indices(pool) for pool in (max_pool1d, max_pool2d, max_pool3d)
)
adaptive_max_pool1d_with_indices, adaptive_max_pool2d_with_indices, adaptive_max_pool3d_with_indices = (
    _with_indices(pool) for pool in (adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d)
)
fractional_max_pool2d_with_indices, fractional_max_pool3d_with_indices = (
    _with_indices(pool) for pool in (fractional_max_pool2d, fractional_max_pool3d)
)
