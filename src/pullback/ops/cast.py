"""Element type and complex parts: ops linear over the reals."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.ops.samples import Sample, complex_normal, integers, normal
from pullback.ops.table import Op, linear
from pullback.values.shape import Spec


def _cast(x: Any, dtype: np.dtype[Any]) -> Any:
    if x.dtype.kind == "c" and dtype.kind != "c":
        x = x.real
    return x.astype(dtype)


def real_of(x: Spec) -> Spec:
    """`x` with the dtype of its real part."""
    return Spec(x.shape, np.empty(0, x.dtype).real.dtype)


cast: Op = linear(
    "cast",
    _cast,
    lambda g, _y, x, dtype: cast(g, dtype=x.dtype),
    shape=lambda x, dtype: Spec(x.shape, dtype),
    batch=lambda size, args, batched, dtype: cast(*args, dtype=dtype),
    samples=[
        Sample(normal(2, 3), dtype=np.dtype("complex128")),
        Sample(complex_normal(2, 3), dtype=np.dtype("float64")),
        Sample(normal(2, 3), dtype=np.dtype("float64")),
        Sample(integers(5, 2, 3), dtype=np.dtype("float32")),
    ],
    title="ToCopyBackward0",
    doc="x as another element type; complex to real takes the real part. Between inexact types the gradient passes on.",
)
real: Op = linear(
    "real",
    np.real,
    lambda g, _y, x: cast(g, dtype=x.dtype),
    shape=real_of,
    batch=lambda size, args, batched: real(*args),
    samples=[Sample(complex_normal(2, 3))],
    doc="The real part.",
)
imag: Op = linear(
    "imag",
    np.imag,
    lambda g, _y, x: cast(g, dtype=x.dtype) * 1j,
    shape=real_of,
    batch=lambda size, args, batched: imag(*args),
    samples=[Sample(complex_normal(2, 3))],
    doc="The imaginary part.",
)
conj: Op = linear(
    "conj",
    np.conj,
    lambda g, _y, _x: conj(g),
    shape=lambda x: x,
    batch=lambda size, args, batched: conj(*args),
    samples=[Sample(complex_normal(2, 3))],
    doc="The complex conjugate.",
)
