"""`numpy.fft`: its transforms, over the ones `pb.fft` stands on, with NumPy's signatures and dtypes.

As NumPy's since 2.0, they keep single precision: float32 gives complex64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.ops.fourier import SWAPPED
from pullback.tape.node import Handle
from pullback.tensor.fft_namespace import KINDS, Sizes, shifted, too_short, transform
from pullback.tensor.numpy_api.operands import deliver, dtype_of, inexact, lift, one_axis, rank
from pullback.tensor.numpy_api.table import implements
from pullback.values.shape import Shape

__all__ = ["transformed", "transformed_over"]


def transformed(kind: str, a: Any, sizes: Sizes, axes: Shape, norm: str | None, out: Any = None) -> Any:
    """The transform of `kind` along `axes`, counted from the front, with NumPy's errors."""
    if norm not in (None, *SWAPPED):
        raise ValueError(f'Invalid norm value {norm}; should be "backward", "ortho" or "forward".')
    x = inexact(a)
    if dtype_of(x).kind == "c" and kind in ("rfft", "ihfft"):
        raise TypeError(f"numpy.fft.{kind} takes real numbers, not {dtype_of(x)}")
    if dtype_of(x) == np.float16:
        x = inexact(x, np.float32)
    short = too_short(x, kind, sizes, axes)
    if short is not None:
        raise ValueError(f"Invalid number of FFT data points ({short}) specified.")
    norm = norm or "backward"
    while len(set(axes)) < len(axes):  # a repeated axis is transformed that many times; NumPy begins with the last
        half = kind in ("rfft", "irfft")
        if kind == "irfft":
            x, axes, sizes = transform(x, "ifft", sizes[:1], axes[:1], norm), axes[1:], sizes[1:]
        else:
            x = transform(x, kind, sizes[-1:], axes[-1:], norm)
            axes, sizes, kind = axes[:-1], sizes[:-1], "fft" if half else kind
    return deliver(transform(x, kind, sizes, axes, norm), out)


def _enter_one(kind: str) -> None:
    def function(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None, out: Any = None) -> Any:
        x = lift(a)
        return transformed(kind, x, [None if n is None else int(n)], (one_axis(axis, rank(x)),), norm, out)

    function.__doc__ = f"{KINDS[kind]}."
    implements(f"fft.{kind}")(function)


def transformed_over(name: str, kind: str, a: Any, s: Any, axes: Any, norm: str | None, out: Any = None) -> Any:
    """The transform of `kind` along `axes` (None: all, or the last `len(s)`) made `s` long, as NumPy takes them."""
    x = lift(a)
    ndim = rank(x)
    if axes is None:
        axes = range(-(ndim if s is None else len(s)), 0)
    found = tuple(one_axis(axis, ndim) for axis in axes)
    if s is not None and len(s) != len(found):
        raise ValueError("Shape and axes have different lengths.")
    if not found:
        if kind not in ("fft", "ifft"):
            raise IndexError(f"{name} transforms one axis at least")
        return deliver(x, out)
    sizes: Sizes = [None] * len(found)
    if s is not None:
        sizes = [int(x.shape[axis]) if n == -1 else int(n) for n, axis in zip(s, found, strict=True)]
    return transformed(kind, x, sizes, found, norm, out)


def _enter_several(kind: str, suffix: str, last: tuple[int, ...] | None) -> None:
    def function(a: Any, s: Any = None, axes: Any = last, norm: str | None = None, out: Any = None) -> Any:
        return transformed_over(f"numpy.fft.{kind}{suffix}", kind, a, s, axes, norm, out)

    function.__doc__ = f"{KINDS[kind]}, over several axes."
    implements(f"fft.{kind}{suffix}")(function)


for _kind in KINDS:
    _enter_one(_kind)
for _kind in ("fft", "ifft", "rfft", "irfft"):
    _enter_several(_kind, "2", (-2, -1))
    _enter_several(_kind, "n", None)


def _shift(back: bool) -> Callable[..., Any]:
    def function(x: Any, axes: Any = None) -> Any:
        x = lift(x)
        ndim = rank(x)
        chosen = range(ndim) if axes is None else np.atleast_1d(axes)
        return shifted(x, tuple(one_axis(axis, ndim) for axis in chosen), back)

    function.__doc__ = "Frequency 0 first again." if back else "Frequency 0 in the middle."
    return function


implements("fft.fftshift")(_shift(False))
implements("fft.ifftshift")(_shift(True))


@implements("fft.fftfreq")
def _fftfreq(n: int, d: float = 1.0, device: Any = None) -> Any:
    """The frequencies of `fft`."""
    return lift(np.fft.fftfreq(n, d)) if not isinstance(d, Handle) else lift(np.fft.fftfreq(n)) / d


@implements("fft.rfftfreq")
def _rfftfreq(n: int, d: float = 1.0, device: Any = None) -> Any:
    """The frequencies of `rfft`."""
    return lift(np.fft.rfftfreq(n, d)) if not isinstance(d, Handle) else lift(np.fft.rfftfreq(n)) / d
