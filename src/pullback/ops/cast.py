"""Element type and complex parts: ops linear over the reals."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.ops import movement
from pullback.ops.lowering import Scalar
from pullback.ops.samples import Sample, complex_normal, integers, normal
from pullback.ops.shape import with_batch
from pullback.ops.table import UNSUPPORTED, Op, linear
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
    lower=Scalar(lambda b, x, dtype: b.cast(x, dtype)),
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
    lower=movement.identity,
    samples=[Sample(complex_normal(2, 3))],
    writeback=lambda parent, new: (real_update, (parent, new), {}),
    doc="The real part; a view.",
)
imag: Op = linear(
    "imag",
    np.imag,
    lambda g, _y, x: cast(g, dtype=x.dtype) * 1j,
    shape=real_of,
    batch=lambda size, args, batched: imag(*args),
    lower=Scalar(lambda b, x: b.constant(0, x.dtype)),
    samples=[Sample(complex_normal(2, 3))],
    writeback=lambda parent, new: (imag_update, (parent, new), {}),
    doc="The imaginary part; a view.",
)
real_update: Op = linear(
    "real_update",
    lambda x, new: new + 1j * x.imag,
    lambda g, _y, _x, _new: cast(imag(g), dtype=g.dtype) * 1j,
    lambda g, _y, _x, _new: real(g),
    shape=lambda x, _new: x,
    batch=lambda size, args, batched: real_update(*with_batch(size, args, batched)),
    joint=True,
    lower=UNSUPPORTED("complex numbers are computed by NumPy"),
    samples=[Sample(complex_normal(2, 3), normal(2, 3))],
    doc="x with `new` for its real part: what a write to the view `real` does.",
)
imag_update: Op = linear(
    "imag_update",
    lambda x, new: x.real + 1j * new,
    lambda g, _y, _x, _new: cast(real(g), dtype=g.dtype),
    lambda g, _y, _x, _new: -imag(g),
    shape=lambda x, _new: x,
    batch=lambda size, args, batched: imag_update(*with_batch(size, args, batched)),
    joint=True,
    lower=UNSUPPORTED("complex numbers are computed by NumPy"),
    samples=[Sample(complex_normal(2, 3), normal(2, 3))],
    doc="x with `new` for its imaginary part: what a write to the view `imag` does.",
)
conj: Op = linear(
    "conj",
    np.conj,
    lambda g, _y, _x: conj(g),
    shape=lambda x: x,
    batch=lambda size, args, batched: conj(*args),
    lower=movement.identity,
    samples=[Sample(complex_normal(2, 3))],
    doc="The complex conjugate.",
)
