"""The short-time Fourier transform, its inverse, and window functions, under PyTorch's names."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from pullback.ops.elementwise import mul
from pullback.ops.shape import pad
from pullback.ops.strided import overlap_add, windows
from pullback.tape.node import new_handle
from pullback.tensor.conversion import numbers
from pullback.tensor.creation import dtype_of, finished
from pullback.tensor.device import check_device
from pullback.tensor.dispatch import as_handle, to_dtype
from pullback.tensor.fft_namespace import transform
from pullback.tensor.indexing import getitem
from pullback.tensor.operands import rank
from pullback.tensor.shaping import transpose
from pullback.tensor.strided import view_as_real
from pullback.values.dtype import type_name

__all__ = [
    "bartlett_window",
    "blackman_window",
    "hamming_window",
    "hann_window",
    "istft",
    "kaiser_window",
    "stft",
]

_PAD_MODES: Final = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}  # NumPy's names


def _window(name: str, window: Any, length: int, n_fft: int, like: np.dtype[Any]) -> Any:
    """The window of `length` in the middle of `n_fft` zeros; of ones if none is given."""
    real = np.empty(0, like).real.dtype
    w = new_handle(np.ones(length, real)) if window is None else as_handle(window)
    if tuple(w.shape) != (length,):
        raise RuntimeError(f"{name}: expected a 1D window tensor of size equal to win_length={length}, got {w.shape}")
    before = (n_fft - length) // 2
    return pad(w, widths=((before, n_fft - length - before),), value=0.0) if length < n_fft else w


def _lengths(name: str, n_fft: int, hop_length: int | None, win_length: int | None, size: int) -> tuple[int, int]:
    hop = n_fft // 4 if hop_length is None else int(hop_length)
    length = n_fft if win_length is None else int(win_length)
    if not 0 < n_fft <= size:
        raise RuntimeError(f"{name}: expected 0 < n_fft <= {size}, but got n_fft={n_fft}")
    if hop <= 0:
        raise RuntimeError(f"{name}: expected hop_length > 0, but got hop_length={hop}")
    if not 0 < length <= n_fft:
        raise RuntimeError(f"{name}: expected 0 < win_length <= n_fft, but got win_length={length}")
    return hop, length


def _extended(x: Any, width: int, mode: str) -> Any:
    """`x` continued by `width` at both ends of its last dimension."""
    if mode == "constant":
        return pad(x, widths=((0, 0),) * (rank(x) - 1) + ((width, width),), value=0.0)
    if mode not in _PAD_MODES:
        raise NotImplementedError(f"stft: pad_mode {mode!r} is not one of constant, {', '.join(_PAD_MODES)}")
    size = int(x.shape[-1])
    if width >= size and mode == "reflect":
        raise RuntimeError(
            f"Padding size should be less than the corresponding input dimension, but got: padding ({width}, {width}) "
            f"at dimension {rank(x)} of input {list(x.shape)}"
        )
    index = np.pad(np.arange(size), width, mode=_PAD_MODES[mode])  # type: ignore[call-overload]
    return getitem(x, (Ellipsis, index))


def stft(
    input: Any,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Any = None,
    center: bool = True,
    pad_mode: str = "reflect",
    normalized: bool = False,
    onesided: bool | None = None,
    return_complex: bool | None = None,
) -> Any:
    """The Fourier transforms of the windows of a signal, or of each of a batch: a result [batch,] frequencies × frames.

    Windows of `n_fft` samples, `hop_length` (n_fft // 4) apart, are multiplied by `window`, of `win_length` (n_fft)
    numbers. With `center` the first is centred on sample 0, the signal being continued by `pad_mode` ("reflect",
    "replicate", "circular", "constant"). `normalized` divides by √n_fft; `onesided` (True for real input) keeps the
    frequencies 0 … n_fft/2. Without `return_complex`, parts are in a last dimension of 2. Differentiable in the signal
    and in the window. Raises `RuntimeError` for sizes that don't fit.

    >>> import pullback as pb
    >>> pb.stft(pb.ones(16), 4, return_complex=True).shape
    torch.Size([3, 17])
    """
    x = as_handle(input)
    if rank(x) not in (1, 2) or x._value.dtype.kind not in "fc":
        raise RuntimeError(
            f"stft: expected a 1D or 2D tensor of floating point or complex values, not {rank(x)}D of "
            f"{type_name(x._value.dtype)}"
        )
    complex_ = x._value.dtype.kind == "c" or (window is not None and as_handle(window)._value.dtype.kind == "c")
    if return_complex is None:
        if not complex_:
            raise RuntimeError(
                "stft requires the return_complex parameter be given for real inputs, and will further require that "
                "return_complex=True in a future PyTorch release."
            )
        return_complex = True
    if center:
        x = _extended(x, n_fft // 2, pad_mode)
    hop, length = _lengths("stft", n_fft, hop_length, win_length, int(x.shape[-1]))
    if onesided and complex_:
        raise RuntimeError("Cannot have onesided output if window or input is complex")
    frames = windows(x, axis=rank(x) - 1, size=n_fft, step=hop)
    frames = frames * _window("stft", window, length, n_fft, x._value.dtype)
    kind = "rfft" if onesided or (onesided is None and not complex_) else "fft"
    y = transform(frames, kind, [None], (rank(frames) - 1,), "ortho" if normalized else "backward")
    y = transpose(y, -1, -2)
    return y if return_complex else view_as_real(y)


def istft(
    input: Any,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Any = None,
    center: bool = True,
    normalized: bool = False,
    onesided: bool | None = None,
    length: int | None = None,
    return_complex: bool = False,
) -> Any:
    """The signal that `stft` was made of, as the least squares have it: Σ window · frame over Σ window².

    The other arguments are those that were given to `stft`; `length` is the length of the signal. Raises `RuntimeError`
    where the windows leave a gap.
    """
    x = as_handle(input)
    if rank(x) not in (2, 3) or x._value.dtype.kind != "c":
        raise RuntimeError(
            "istft requires a complex-valued input tensor matching the output from stft with return_complex=True."
        )
    frequencies, count = int(x.shape[-2]), int(x.shape[-1])
    half = (frequencies == n_fft // 2 + 1 and not return_complex) if onesided is None else onesided
    expected = n_fft // 2 + 1 if half else n_fft
    if frequencies != expected:
        raise RuntimeError(
            f"istft: expected the frequency dimension (3rd to the last) of the input tensor to match n_fft / 2 + 1 "
            f"when onesided=True or n_fft when onesided=False: {expected}, but got {frequencies}"
        )
    if half and return_complex:
        raise RuntimeError("istft: cannot have onesided input with return_complex=True")
    hop, wide = _lengths("istft", n_fft, hop_length, win_length, n_fft)
    w = _window("istft", window, wide, n_fft, x._value.dtype)
    x = transpose(x, -1, -2)
    last = (rank(x) - 1,)
    frames = transform(x, "irfft" if half else "ifft", [n_fft], last, "ortho" if normalized else "backward")
    frames = frames if return_complex or half else frames.real
    size = n_fft + hop * (count - 1)
    total = overlap_add(mul(*_aligned(frames, w)), axis=rank(x) - 2, step=hop, length=size)
    ones = new_handle(np.ones((count, 1), np.empty(0, x._value.dtype).real.dtype))
    envelope = overlap_add(ones * (w * w), axis=0, step=hop, length=size)
    start = n_fft // 2 if center else 0
    end = start + length if length is not None else size - start
    total, envelope = total[..., start:end], envelope[start:end]
    if np.abs(numbers(envelope.detach(), "istft()")).min(initial=math.inf) < 1e-11:
        raise RuntimeError("window overlap add min: 1")
    y = total / envelope
    missing = 0 if length is None else length - int(y.shape[-1])
    return pad(y, widths=((0, 0),) * (rank(y) - 1) + ((0, missing),), value=0.0) if missing > 0 else y


def _aligned(frames: Any, w: Any) -> tuple[Any, Any]:
    dtype = np.result_type(frames._value.dtype, w._value.dtype)
    return to_dtype(frames, dtype), to_dtype(w, dtype)


# Windows


def _made(name: str, function: Callable[..., Any], doc: str, **shape: float) -> Callable[..., Any]:
    def window(
        window_length: int,
        periodic: bool = True,
        *parameters: float,
        dtype: Any = None,
        device: Any = None,
        requires_grad: bool = False,
        **named: float,
    ) -> Any:
        check_device(device)
        if window_length < 0:
            raise RuntimeError(f"{name} requires non-negative window_length, got window_length={window_length}")
        given = {**shape, **dict(zip(shape, parameters, strict=False)), **named}
        if set(given) != set(shape) or len(parameters) > len(shape):
            raise TypeError(f"{name}() takes window_length, periodic{''.join(', ' + key for key in shape)}")
        n = np.arange(window_length)
        values = function(n, max(window_length - 1 + periodic, 1), **given) if window_length > 1 else np.ones(len(n))
        return finished(np.asarray(values, np.float64).astype(dtype_of(dtype)), requires_grad)

    window.__name__ = window.__qualname__ = name
    window.__doc__ = f"""{doc}, of `window_length` numbers.

    Periodic, as `stft` wants it, or symmetric if not `periodic`. Raises `RuntimeError` for a negative length.
    """
    return window


def _cosines(*weights: float) -> Callable[..., Any]:
    """Σ weights[k] cos(2π k i/n)."""
    return lambda i, n: sum(weight * np.cos(2 * math.pi * k * i / n) for k, weight in enumerate(weights))


bartlett_window = _made("bartlett_window", lambda i, n: 1 - np.abs(2 * i / n - 1), "A triangle, with zeros at its ends")
blackman_window = _made("blackman_window", _cosines(0.42, -0.5, 0.08), "Blackman's window")
hamming_window = _made(
    "hamming_window",
    lambda i, n, alpha, beta: alpha - beta * np.cos(2 * math.pi * i / n),
    "Hamming's window, alpha - beta cos",
    alpha=0.54,
    beta=0.46,
)
hann_window = _made("hann_window", _cosines(0.5, -0.5), "Hann's window, sin²")
kaiser_window = _made(
    "kaiser_window",
    lambda i, n, beta: np.i0(beta * np.sqrt(1 - (2 * i / n - 1) ** 2)) / np.i0(np.float64(beta)),
    "Kaiser's window, by the Bessel function I₀(beta √(1 - t²))",
    beta=12.0,
)


class ShortTimeMethods:
    """Short-time transforms as methods of `Tensor`."""

    stft = stft
    istft = istft
