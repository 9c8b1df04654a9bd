"""Discrete Fourier transforms: ops linear over the complex numbers, or over the reals.

The matrix of a transform, exp(∓2πi jk/n), is symmetric, so `fft` is its own transpose. `rfft` keeps the half of the
spectrum that the other half mirrors, and `irfft` reads that half for both: their transposes are each other, but for a
factor of 2 at the frequencies that stand for two. `norm` says which way the factor 1/n goes: "backward" puts it on the
inverse transforms, "forward" on the others, and "ortho" its square root on both.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from pullback.ops.cast import cast, conj, real_of
from pullback.ops.samples import Sample, complex_normal, normal
from pullback.ops.table import Op, linear, same_shape
from pullback.values.optional import from_scipy
from pullback.values.shape import Shape, Spec

__all__ = ["SWAPPED", "cosine", "fft", "irfft", "rfft", "sine"]

SWAPPED: Final = {"backward": "forward", "ortho": "ortho", "forward": "backward"}  # the norm of the opposite transform


def _complex_of(x: Spec) -> np.dtype[Any]:
    return np.result_type(x.dtype, np.complex64)


def _fft(x: Any, axes: Shape, norm: str, inverse: bool) -> Any:
    transform: Any = np.fft.ifftn if inverse else np.fft.fftn
    return transform(x, axes=axes, norm=norm)


def _fft_transpose(g: Any, _y: Any, x: Any, axes: Shape, norm: str, inverse: bool) -> Any:
    d = fft(g, axes=axes, norm=norm, inverse=inverse)
    return d if d.dtype == x.dtype else cast(d, dtype=x.dtype)


fft: Op = linear(
    "fft",
    _fft,
    _fft_transpose,
    shape=lambda x, axes, norm, inverse: Spec(x.shape, _complex_of(x)),
    batch=lambda size, args, batched, axes, **params: fft(*args, axes=tuple(a + 1 for a in axes), **params),
    samples=[
        Sample(complex_normal(5), axes=(0,), norm="backward", inverse=False),
        Sample(complex_normal(2, 4), axes=(1,), norm="ortho", inverse=True),
        Sample(complex_normal(3, 2, 4), axes=(2, 0), norm="backward", inverse=True),
        Sample(normal(3, 4), axes=(0, 1), norm="forward", inverse=False),
    ],
    title="FftC2CBackward0",
    doc="""The Fourier transform of x along each of `axes` (one at least): y[k] = Σ_j x[j] exp(-2πi jk/n), or with the
    opposite sign if `inverse`. The result is complex; a real operand gets a real gradient.""",
)


def _half_weights(spec: Any, n: int, axis: int, double: float) -> Any:
    """For each frequency of a half spectrum 1, or `double` where it stands for its mirror image too."""
    count = n // 2 + 1
    weights = np.full(count, double, np.empty(0, spec.dtype).real.dtype)
    weights[0] = 1.0
    if n % 2 == 0:
        weights[-1] = 1.0
    return weights.reshape((count,) + (1,) * (len(spec.shape) - 1 - axis))


def _rfft_transpose(g: Any, _y: Any, x: Any, axis: int, norm: str) -> Any:
    n = x.shape[axis]
    d = irfft(conj(g * _half_weights(g, n, axis, 0.5)), n=n, axis=axis, norm=SWAPPED[norm])
    return d if d.dtype == x.dtype else cast(d, dtype=x.dtype)


rfft: Op = linear(
    "rfft",
    lambda x, axis, norm: np.fft.rfft(x, axis=axis, norm=norm),
    _rfft_transpose,
    shape=lambda x, axis, norm: Spec((*x.shape[:axis], x.shape[axis] // 2 + 1, *x.shape[axis + 1 :]), _complex_of(x)),
    batch=lambda size, args, batched, axis, norm: rfft(*args, axis=axis + 1, norm=norm),
    samples=[
        Sample(normal(6), axis=0, norm="backward"),
        Sample(normal(2, 5), axis=1, norm="forward"),
        Sample(normal(4, 2), axis=0, norm="ortho"),
        Sample(normal(1, 3), axis=0, norm="backward"),
    ],
    title="FftR2CBackward0",
    doc="The frequencies 0 … n/2 of the Fourier transform of a real x along `axis`; the others are their conjugates.",
)


def _irfft_transpose(g: Any, _y: Any, x: Any, n: int, axis: int, norm: str) -> Any:
    d = rfft(g, axis=axis, norm=SWAPPED[norm])
    return d * _half_weights(d, n, axis, 2.0)


irfft: Op = linear(
    "irfft",
    lambda x, n, axis, norm: np.fft.irfft(x, n, axis, norm),
    _irfft_transpose,
    shape=lambda x, n, axis, norm: Spec((*x.shape[:axis], n, *x.shape[axis + 1 :]), real_of(x).dtype),
    batch=lambda size, args, batched, n, axis, norm: irfft(*args, n=n, axis=axis + 1, norm=norm),
    samples=[
        Sample(complex_normal(4), n=6, axis=0, norm="backward"),
        Sample(complex_normal(2, 3), n=5, axis=1, norm="forward"),
        Sample(complex_normal(3, 2), n=4, axis=0, norm="ortho"),
        Sample(complex_normal(1, 3), n=1, axis=0, norm="backward"),
    ],
    title="FftC2RBackward0",
    doc="""The real signal of length n whose frequencies 0 … n/2 along `axis` are x, which has n//2 + 1 of them. The
    imaginary parts of frequency 0, and of n/2 for an even n, are not read.""",
)


# Cosine and sine transforms

_TRANSPOSED: Final = {1: 1, 2: 3, 3: 2, 4: 4}


def _trigonometric(name: str, kernel: Any, what: str) -> Op:
    op = linear(
        name,
        lambda x, type, axis: kernel(x, type, axis=axis, norm="ortho"),
        lambda g, _y, _x, type, axis: op(g, type=_TRANSPOSED[type], axis=axis),
        shape=same_shape,
        batch=lambda size, args, batched, type, axis: op(*args, type=type, axis=axis + 1),
        samples=[
            Sample(normal(4), type=1, axis=0),
            Sample(normal(2, 5), type=2, axis=1),
            Sample(normal(5, 2), type=3, axis=0),
            Sample(normal(4), type=4, axis=0),
        ],
        doc=f"""The {what} transform of x along `axis`, of type 1 to 4, scaled to an orthogonal matrix: the matrices of
        types 1 and 4 are symmetric, those of types 2 and 3 each other's transposes.""",
    )
    return op


cosine = _trigonometric("cosine_transform", from_scipy("fft", "dct"), "discrete cosine")
sine = _trigonometric("sine_transform", from_scipy("fft", "dst"), "discrete sine")
