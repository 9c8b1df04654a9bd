"""`pb.fft`: Fourier transforms under the names of `torch.fft`.

One transform serves them all: `transform` cuts or pads an operand to the sizes asked for, and applies the ops along the
axes. The results are complex, or real where PyTorch's are; a real operand gets a real gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from pullback.ops import fourier as f
from pullback.ops.cast import conj
from pullback.ops.shape import pad
from pullback.ops.shape import roll as roll_op
from pullback.tape.node import new_handle
from pullback.tensor.creation import dtype_of
from pullback.tensor.device import check_device
from pullback.tensor.dispatch import as_handle, to_dtype
from pullback.tensor.operands import rank
from pullback.tensor.shaping import ints
from pullback.values.dtype import default_dtype, type_name
from pullback.values.shape import Shape, normalize_axis

__all__ = [
    "fft",
    "fft2",
    "fftfreq",
    "fftn",
    "fftshift",
    "hfft",
    "hfft2",
    "hfftn",
    "ifft",
    "ifft2",
    "ifftn",
    "ifftshift",
    "ihfft",
    "ihfft2",
    "ihfftn",
    "irfft",
    "irfft2",
    "irfftn",
    "rfft",
    "rfft2",
    "rfftfreq",
    "rfftn",
]

Sizes = Sequence[int | None]  # a length for each axis; None where nothing was asked for

# What each kind does, for the docstrings.
KINDS: Final = {
    "fft": "The Fourier transform",
    "ifft": "The inverse Fourier transform",
    "rfft": "The Fourier transform of a real signal: along the last dimension the first half of the frequencies",
    "irfft": "The inverse of `rfft`: a real signal, of an even length along the last dimension unless one is given",
    "hfft": "The Fourier transform, real, of a signal given by the half of it that its conjugate mirrors",
    "ihfft": "The inverse of `hfft`: the first half, along the last dimension, of the inverse transform of real input",
}


def resized(x: Any, axes: Shape, sizes: Sequence[int]) -> Any:
    """`x` cut off, or continued with zeros, to `sizes` along `axes`."""
    widths = [(0, 0)] * rank(x)
    for axis, size in zip(axes, sizes, strict=True):
        widths[axis] = (0, size - int(x.shape[axis]))
    return x if not any(after for _, after in widths) else pad(x, widths=tuple(widths), value=0.0)


def transform(x: Any, kind: str, sizes: Sizes, axes: Shape, norm: str) -> Any:
    """The transform of `kind`, one of `KINDS`, of a float or complex Tensor along `axes`, made `sizes` long.

    The half spectrum of the real kinds is along the last of `axes`. Lengths are positive, and `axes` are counted from
    the front. `hfft` and `ihfft` are `irfft` and `rfft` of the conjugate, with the norm of the other direction.
    """
    if kind in ("hfft", "ihfft"):
        x = x if x._value.dtype.kind != "c" else conj(x)
        y = transform(x, "irfft" if kind == "hfft" else "rfft", sizes, axes, f.SWAPPED[norm])
        return y if kind == "hfft" else conj(y)
    lengths = [int(x.shape[a]) if n is None else n for a, n in zip(axes, sizes, strict=True)]
    if kind == "irfft":
        full = 2 * (lengths[-1] - 1) if sizes[-1] is None else lengths[-1]
        lengths[-1] = full // 2 + 1
    x = resized(x, axes, lengths)
    others = axes if kind in ("fft", "ifft") else axes[:-1]
    if kind == "rfft":
        x = f.rfft(x, axis=axes[-1], norm=norm)
    elif x._value.dtype.kind != "c" and not others:
        x = to_dtype(x, np.result_type(x._value.dtype, np.complex64))
    if others:
        x = f.fft(x, axes=others, norm=norm, inverse=kind in ("ifft", "irfft"))
    return f.irfft(x, n=full, axis=axes[-1], norm=norm) if kind == "irfft" else x


def too_short(x: Any, kind: str, sizes: Sizes, axes: Shape) -> int | None:
    """The first length below 1 that a transform of `kind` would have; None if there is none."""
    for axis, n in zip(axes, sizes, strict=True):
        length = int(x.shape[axis]) if n is None else n
        if n is None and kind in ("irfft", "hfft") and axis == axes[-1]:
            length = 2 * (length - 1)
        if length < 1:
            return length
    return None


def _prepared(name: str, input: Any) -> Any:
    """An operand of `name` as float or complex. Raises `RuntimeError` for half precision, and what must be real."""
    x = as_handle(input)
    dtype = x._value.dtype
    if name.startswith(("rfft", "ihfft")) and dtype.kind == "c":
        raise RuntimeError(f"{name} expects a real input tensor, but got {type_name(dtype)}")
    if dtype == np.float16:
        raise RuntimeError("Unsupported dtype Half")
    return to_dtype(x, default_dtype()) if dtype.kind in "biu" else x


def _checked(kind: str, x: Any, sizes: Sizes, dims: Sequence[int], norm: str | None) -> tuple[Sizes, Shape, str]:
    """Sizes, axes and norm as `transform` takes them. Raises `RuntimeError` and `IndexError` as PyTorch does."""
    if norm not in (None, *f.SWAPPED):
        raise RuntimeError(f'Invalid normalization mode: "{norm}"')
    axes = tuple(normalize_axis(d, rank(x)) for d in dims)
    if len(set(axes)) < len(axes):
        raise RuntimeError("FFT dims must be unique")
    if not axes and kind not in ("fft", "ifft"):
        raise RuntimeError(f"{kind}n must transform at least one axis")
    asked = [None if n in (None, -1) else int(n) for n in sizes]
    short = too_short(x, kind, asked, axes)
    if short is not None:
        raise RuntimeError(f"Invalid number of data points ({short}) specified")
    return asked, axes, norm or "backward"


def _one(kind: str) -> Callable[..., Any]:
    def function(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None) -> Any:
        x = _prepared(kind, input)
        if not rank(x):
            raise RuntimeError("Dimension specified as -1 but tensor has no dimensions")
        return transform(x, kind, *_checked(kind, x, [n], [dim], norm))

    function.__doc__ = f"""{KINDS[kind]}, along `dim`.

    The input is first cut or padded with zeros to the length that `n` asks for; `norm` is "backward" (a factor 1/n on
    the inverse), "ortho" or "forward". Raises `RuntimeError` for lengths below 1.
    """
    return _named(function, kind)


def _several(kind: str, suffix: str, last: tuple[int, ...] | None) -> Callable[..., Any]:
    name = kind + suffix

    def function(input: Any, s: Any = None, dim: Any = last, norm: str | None = None) -> Any:
        x = _prepared(name, input)
        sizes = None if s is None else ints((s,))
        if dim is not None:
            dims = ints((dim,))
        else:
            count = rank(x) if sizes is None else len(sizes)
            if count > rank(x):
                raise RuntimeError(f"Got shape with {count} values but input tensor only has {rank(x)} dimensions.")
            dims = tuple(range(rank(x) - count, rank(x)))
        if sizes is not None and len(sizes) != len(dims):
            raise RuntimeError("When given, dim and shape arguments must have the same length")
        return transform(x, kind, *_checked(kind, x, [None] * len(dims) if sizes is None else sizes, dims, norm))

    where = "the last two dimensions, or" if last else "all dimensions, or the last `len(s)`, or"
    function.__doc__ = f"""{KINDS[kind]}, along {where} those in `dim`.

    `s` asks for lengths to which the input is first cut or padded with zeros (-1: as they are); `norm` is as in
    `{kind}`.
    """
    return _named(function, name)


def _named(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    function.__name__ = function.__qualname__ = name
    return function


fft, ifft, rfft, irfft, hfft, ihfft = map(_one, KINDS)
fft2, ifft2, rfft2, irfft2, hfft2, ihfft2 = (_several(kind, "2", (-2, -1)) for kind in KINDS)
fftn, ifftn, rfftn, irfftn, hfftn, ihfftn = (_several(kind, "n", None) for kind in KINDS)


# Frequencies


def shifted(x: Any, axes: Shape, back: bool) -> Any:
    """The halves of each of `axes` exchanged, so that frequency 0 is in the middle; or, `back`, first again."""
    steps = tuple(-(int(x.shape[a]) // 2) if back else int(x.shape[a]) // 2 for a in axes)
    return roll_op(x, shift=steps, axis=axes)


def _shift(input: Any, dim: Any, back: bool) -> Any:
    x = as_handle(input)
    return shifted(
        x, tuple(normalize_axis(d, rank(x)) for d in (range(rank(x)) if dim is None else ints((dim,)))), back
    )


def fftshift(input: Any, dim: Any = None) -> Any:
    """The halves of the dimensions in `dim` (None: all) exchanged, which puts frequency 0 in the middle.

    >>> import pullback as pb
    >>> pb.fft.fftshift(pb.fft.fftfreq(4))
    tensor([-0.5000, -0.2500,  0.0000,  0.2500])
    """
    return _shift(input, dim, False)


def ifftshift(input: Any, dim: Any = None) -> Any:
    """The inverse of `fftshift`."""
    return _shift(input, dim, True)


def fftfreq(n: int, d: float = 1.0, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
    """The frequencies of `fft` of n samples that are `d` apart: 0, 1, …, -2, -1, over n·d."""
    return _frequencies(np.fft.fftfreq(n, d), dtype, device, requires_grad)


def rfftfreq(n: int, d: float = 1.0, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
    """The frequencies of `rfft` of n samples that are `d` apart: 0, 1, …, n/2, over n·d."""
    return _frequencies(np.fft.rfftfreq(n, d), dtype, device, requires_grad)


def _frequencies(values: Any, dtype: Any, device: Any, requires_grad: bool) -> Any:
    check_device(device)
    result = new_handle(values.astype(dtype_of(dtype)))
    return result.requires_grad_() if requires_grad else result
