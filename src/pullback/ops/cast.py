"""Element type and complex parts: ops linear over the reals."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.ops.samples import Sample, normal
from pullback.ops.table import linear
from pullback.values.shape import Spec


def _complex(*shape: int) -> Any:
    return lambda rng: rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def _cast(x: Any, dtype: np.dtype[Any]) -> Any:
    if x.dtype.kind == "c" and dtype.kind != "c":
        x = x.real
    return x.astype(dtype)


def _real_of(x: Spec) -> Spec:
    return Spec(x.shape, np.empty(0, x.dtype).real.dtype)


cast = linear(
    "cast",
    _cast,
    lambda g, _y, x, dtype: cast(g, dtype=x.dtype),
    shape=lambda x, dtype: Spec(x.shape, dtype),
    batch=lambda size, args, batched, dtype: cast(*args, dtype=dtype),
    samples=[Sample(normal(2, 3), dtype=np.dtype("float32")), Sample(normal(2, 3), dtype=np.dtype("complex128"))],
    title="ToCopyBackward0",
    doc="x as another element type; complex to real takes the real part. Between inexact types the gradient passes on.",
)
real = linear(
    "real",
    np.real,
    lambda g, _y, x: cast(g, dtype=x.dtype),
    shape=_real_of,
    batch=lambda size, args, batched: real(*args),
    samples=[Sample(_complex(2, 3))],
    doc="The real part.",
)
imag = linear(
    "imag",
    np.imag,
    lambda g, _y, x: cast(g, dtype=x.dtype) * 1j,
    shape=_real_of,
    batch=lambda size, args, batched: imag(*args),
    samples=[Sample(_complex(2, 3))],
    doc="The imaginary part.",
)
conj = linear(
    "conj",
    np.conj,
    lambda g, _y, _x: conj(g),
    shape=lambda x: x,
    batch=lambda size, args, batched: conj(*args),
    samples=[Sample(_complex(2, 3))],
    doc="The complex conjugate.",
)
