"""`scipy.signal`: convolutions, filters and detrending, with derivatives in signals and in filter coefficients.

Arrays are left to SciPy.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from pullback.scipy.entries.numeric import one_by_one, plain, vector
from pullback.scipy.table import implements
from pullback.tape.node import Handle
from pullback.transforms.implicit import custom_linear_solve
from pullback.transforms.lifting import to_handle
from pullback.transforms.tree import flatten
from pullback.values.optional import scipy_module

__all__: list[str] = []


def _of_scipy(name: str, *args: Any, **kwargs: Any) -> Any:
    return getattr(scipy_module("signal"), name)(*plain(args, name), **plain(kwargs, name))


def _has_tensors(x: Any) -> bool:
    return any(isinstance(leaf, Handle) for leaf in flatten(x)[0])


def _is_complex(x: Any) -> bool:
    return bool((x._value if isinstance(x, Handle) else x).dtype.kind == "c")


def _shape(x: Any) -> tuple[int, ...]:
    return tuple(x.shape)


# Convolutions


def _cut(full: Any, first: tuple[int, ...], second: tuple[int, ...], mode: str) -> Any:
    """The part of a full convolution that `mode` asks for."""
    if mode == "full":
        return full
    sizes = first if mode == "same" else tuple(n - m + 1 for n, m in zip(first, second, strict=True))
    starts = [(whole - size) // 2 for whole, size in zip(_shape(full), sizes, strict=True)]
    return full[tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))]


def _covers(a: Any, b: Any) -> bool:
    """Whether the array `a` is at least as large as `b` along every axis."""
    return all(n >= m for n, m in zip(_shape(a), _shape(b), strict=True))


def _convolved(a: Any, b: Any, mode: str) -> Any:
    """The convolution of arrays of as many axes each: by sums along one axis, by Fourier transforms along more."""
    if mode not in ("full", "same", "valid"):
        raise ValueError("acceptable mode flags are 'valid', 'same', or 'full'")
    first, second = _shape(a), _shape(b)
    if len(first) != len(second):
        raise ValueError("in1 and in2 should have the same dimensionality")
    if mode == "valid" and not _covers(a, b):
        if not _covers(b, a):
            raise ValueError("For 'valid' mode, one must be at least as large as the other in every dimension")
        a, b, first, second = b, a, second, first
    if not first:
        return a * b
    if len(first) == 1:
        return _cut(np.convolve(a, b), first, second, mode)
    sizes = tuple(n + m - 1 for n, m in zip(first, second, strict=True))
    axes = tuple(range(len(sizes)))
    full: Any
    if _is_complex(a) or _is_complex(b):
        full = np.fft.ifftn(np.fft.fftn(a, sizes, axes) * np.fft.fftn(b, sizes, axes), sizes, axes)
    else:
        full = np.fft.irfftn(np.fft.rfftn(a, sizes, axes) * np.fft.rfftn(b, sizes, axes), sizes, axes)
    return _cut(full, first, second, mode)


def _mirrored(x: Any) -> Any:
    flipped = np.flip(x)
    return np.conj(flipped) if _is_complex(x) else flipped


@implements("signal.convolve")
def convolve(in1: Any, in2: Any, mode: str = "full", method: str = "auto") -> Any:
    """SciPy's; `method` chooses nothing for tensors: one axis is summed directly, more go by FFT."""
    if not _has_tensors((in1, in2)):
        return _of_scipy("convolve", in1, in2, mode, method)
    return _convolved(vector(in1), vector(in2), mode)


@implements("signal.fftconvolve", "signal.oaconvolve")
def fftconvolve(in1: Any, in2: Any, mode: str = "full", axes: Any = None) -> Any:
    """SciPy's; raises `NotImplementedError` for tensors along some axes only."""
    if not _has_tensors((in1, in2)):
        return _of_scipy("fftconvolve", in1, in2, mode, axes)
    if axes is not None:
        raise NotImplementedError("fftconvolve: of tensors along some axes only; vmap over the others")
    return _convolved(vector(in1), vector(in2), mode)


@implements("signal.correlate")
def correlate(in1: Any, in2: Any, mode: str = "full", method: str = "auto") -> Any:
    if not _has_tensors((in1, in2)):
        return _of_scipy("correlate", in1, in2, mode, method)
    a, b = vector(in1), vector(in2)
    return _correlated(a, b, mode)


def _correlated(a: Any, b: Any, mode: str) -> Any:
    swapped = mode == "valid" and not _covers(a, b)
    return _mirrored(_convolved(b, _mirrored(a), mode)) if swapped else _convolved(a, _mirrored(b), mode)


_BOUNDARIES = {"wrap": "wrap", "circular": "wrap", "symm": "symmetric", "symmetric": "symmetric"}


def _in_two_dimensions(name: str, mirror: bool) -> None:
    @implements(f"signal.{name}")
    def function(in1: Any, in2: Any, mode: str = "full", boundary: str = "fill", fillvalue: Any = 0) -> Any:
        if not _has_tensors((in1, in2, fillvalue)):
            return _of_scipy(name, in1, in2, mode, boundary, fillvalue)
        a, b = vector(in1), vector(in2)
        if len(_shape(a)) != 2 or len(_shape(b)) != 2:
            raise ValueError(f"{name} inputs must both be 2-D arrays")
        if mode == "valid":  # which never looks beyond the boundary
            return _correlated(a, b, mode) if mirror else _convolved(a, b, mode)
        kernel, margins = _mirrored(b) if mirror else b, [size - 1 for size in _shape(b)]
        if boundary == "fill":
            padded = np.pad(a - fillvalue, [(m, m) for m in margins]) + fillvalue
        else:
            pads: Any = _BOUNDARIES[boundary]
            rows, columns = (np.pad(np.arange(n), m, mode=pads) for n, m in zip(_shape(a), margins, strict=True))
            padded = a[rows[:, None], columns]
        full = _convolved(padded, kernel, "valid")
        if mode == "full":
            return full
        starts = [(margin + mirror) // 2 for margin in margins]
        return full[tuple(slice(start, start + n) for start, n in zip(starts, _shape(a), strict=True))]


for _name, _mirror in (("convolve2d", False), ("correlate2d", True)):
    _in_two_dimensions(_name, _mirror)


# Filters


def _delayed(x: Any, count: int) -> Any:
    """x, later by `count` steps along its last axis, after zeros."""
    size = x.shape[-1]
    count = min(count, size)
    return np.concatenate([x[..., :count] * 0.0, x[..., : size - count]], axis=-1)


def _taps(b: Any, x: Any) -> Any:
    """The sums of x and its delays, with the weights b, along the last axis."""
    if len(_shape(x)) == 1 and x.shape[0]:
        return np.convolve(x, b)[: x.shape[0]]
    total = x * b[0]
    for k in range(1, b.shape[0]):
        total = total + _delayed(x, k) * b[k]
    return total


def _recursive(a: Any, w: Any) -> Any:
    """The y of which `a` makes w, as `_taps` does, where a[0] is 1: along the last axis."""
    if a.shape[0] == 1 or not w.shape[-1]:
        return w

    def numbers(values: Any, weights: Any) -> Any:
        v, c = plain((values, weights), "lfilter")
        return to_handle(scipy_module("signal").lfilter([1.0], c, v))

    def solve(_matvec: Callable[[Any], Any], right: Any) -> Any:
        return one_by_one(numbers, right, a)

    def transpose_solve(_vecmat: Callable[[Any], Any], right: Any) -> Any:
        return np.flip(one_by_one(numbers, np.flip(to_handle(right), -1), a), -1)

    return custom_linear_solve(lambda y: _taps(a, to_handle(y)), to_handle(w), solve, transpose_solve)


@implements("signal.lfilter")
def lfilter(b: Any, a: Any, x: Any, axis: int = -1, zi: Any = None) -> Any:
    """SciPy's: with derivatives in the coefficients, the signal and the initial state."""
    if not _has_tensors((b, a, x, zi)):
        return _of_scipy("lfilter", b, a, x, axis, zi)
    b, a = (np.atleast_1d(vector(c)) for c in (b, a))
    b, a = b / a[0], a / a[0]
    signal = np.moveaxis(vector(x) * 1.0, axis, -1)
    driven = _taps(b, signal)
    order = max(b.shape[0], a.shape[0]) - 1
    size = signal.shape[-1]
    state: Any = None
    if zi is not None:
        state = np.moveaxis(vector(zi), axis, -1) if len(_shape(vector(zi))) > 1 else vector(zi)
        early = state[..., :size] + driven[..., :order] * 0.0 if order <= size else state[..., :size]
        driven = np.concatenate([driven[..., :order] + early, driven[..., order:]], axis=-1)
    y = _recursive(a, driven)
    result = np.moveaxis(y, -1, axis)
    if zi is None:
        return result
    ends = []
    for m in range(order):
        total = state[..., size + m] if size + m < order else y[..., :1].sum(-1) * 0.0
        for k in range(m + 1, order + 1):
            at = size + m - k
            if at >= 0:
                for c, values, sign in ((b, signal, 1.0), (a, y, -1.0)):
                    if k < c.shape[0]:
                        total = total + sign * c[k] * values[..., at]
        ends.append(total)
    return result, np.moveaxis(np.stack(ends, axis=-1), -1, axis)


@implements("signal.sosfilt")
def sosfilt(sos: Any, x: Any, axis: int = -1, zi: Any = None) -> Any:
    """SciPy's: one filter of second order after the other."""
    if not _has_tensors((sos, x, zi)):
        return _of_scipy("sosfilt", sos, x, axis, zi)
    sections = vector(sos)
    ends = []
    for i in range(sections.shape[0]):
        x = lfilter(sections[i, :3], sections[i, 3:], x, axis, None if zi is None else zi[i])
        if zi is not None:
            x, end = x
            ends.append(end)
    return x if zi is None else (x, np.stack(ends))


@implements("signal.detrend")
def detrend(data: Any, axis: int = -1, type: str = "linear", bp: Any = 0, overwrite_data: bool = False) -> Any:
    """SciPy's; nothing is overwritten."""
    if not _has_tensors(data):
        return _of_scipy("detrend", data, axis, type, bp)
    if type not in ("linear", "l", "constant", "c"):
        raise ValueError("Trend type must be 'linear' or 'constant'.")
    x = np.moveaxis(vector(data), axis, -1)
    size = x.shape[-1]
    if type in ("constant", "c"):
        return np.moveaxis(x - x.mean(-1, keepdims=True), -1, axis)
    breaks = np.sort(np.unique(np.concatenate([[0, size], np.atleast_1d(bp)]).astype(int)))
    if np.any(breaks > size):
        raise ValueError("Breakpoints must be less than length of data along given axis.")
    parts = []
    for start, stop in pairwise(breaks):
        line = np.stack([np.ones(stop - start), np.arange(stop - start) - (stop - start - 1) / 2.0])
        line = line / np.maximum(np.linalg.norm(line, axis=1, keepdims=True), 1e-300)  # orthonormal
        part = x[..., start:stop]
        parts.append(part - (part @ line.T) @ line)
    return np.moveaxis(np.concatenate(parts, axis=-1), -1, axis)


_EDGES = {"mirror": "reflect", "nearest": "edge", "wrap": "wrap"}


@implements("signal.savgol_filter")
def savgol_filter(
    x: Any,
    window_length: int,
    polyorder: int,
    deriv: int = 0,
    delta: float = 1.0,
    axis: int = -1,
    mode: str = "interp",
    cval: float = 0.0,
) -> Any:
    """SciPy's: a matrix product along the windows, and at the ends, by `mode`, with what lies beyond them."""
    if not _has_tensors(x):
        return _of_scipy("savgol_filter", x, window_length, polyorder, deriv, delta, axis, mode, cval)
    signal = scipy_module("signal")
    values = np.moveaxis(vector(x) * 1.0, axis, -1)
    size, half = values.shape[-1], window_length // 2
    before, after = (window_length - 1) // 2, half  # what a window has on either side
    weights = signal.savgol_coeffs(window_length, polyorder, deriv=deriv, delta=delta, use="dot")
    if mode not in (*_EDGES, "interp", "constant"):
        raise ValueError("mode must be 'mirror', 'constant', 'nearest' 'wrap' or 'interp'.")
    if mode == "interp" and window_length > size:
        raise ValueError("If mode is 'interp', window_length must be less than or equal to the size of x.")

    def windows(padded: Any) -> Any:
        places = np.arange(padded.shape[-1] - window_length + 1)[:, None] + np.arange(window_length)
        return padded[..., places] @ weights

    if mode == "interp":
        ends = signal.savgol_filter(np.eye(window_length), window_length, polyorder, deriv, delta, axis=0)
        first = values[..., :window_length] @ ends[:half].T
        last = values[..., size - window_length :] @ ends[window_length - half :].T
        inner = windows(values)[..., half - before :][..., : size - 2 * half]
        result = np.concatenate([first, inner, last], axis=-1)
    else:
        if mode == "constant":
            edge = np.full((*_shape(values)[:-1], 1), cval)
            padded = np.concatenate([*[edge] * before, values, *[edge] * after], axis=-1)
        else:
            edges: Any = _EDGES[mode]
            padded = values[..., np.pad(np.arange(size), (before, after), mode=edges)]
        result = windows(padded)
    return np.moveaxis(result, -1, axis)
