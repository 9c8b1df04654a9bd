"""`scipy.fft`: Fourier transforms with SciPy's signatures, and the cosine and sine transforms.

`overwrite_x`, `workers` and `plan` are taken, and change nothing. Single precision is kept.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pullback.ops import fourier as f
from pullback.scipy.table import implements
from pullback.tensor.fft_namespace import KINDS, resized
from pullback.tensor.numpy_api import FUNCTIONS as NUMPY
from pullback.tensor.numpy_api.fourier import transformed, transformed_over
from pullback.tensor.numpy_api.operands import dtype_of, inexact, lift, one_axis, rank, shape_of


def _enter_one(kind: str) -> None:
    def function(
        x: Any,
        n: int | None = None,
        axis: int = -1,
        norm: str | None = None,
        overwrite_x: bool = False,
        workers: int | None = None,
        *,
        plan: Any = None,
    ) -> Any:
        x = lift(x)
        return transformed(kind, x, [None if n is None else int(n)], (one_axis(axis, rank(x)),), norm)

    function.__doc__ = f"{KINDS[kind]}."
    implements(f"fft.{kind}")(function)


def _enter_several(kind: str, suffix: str, last: tuple[int, ...] | None) -> None:
    def function(
        x: Any,
        s: Any = None,
        axes: Any = last,
        norm: str | None = None,
        overwrite_x: bool = False,
        workers: int | None = None,
        *,
        plan: Any = None,
    ) -> Any:
        return transformed_over(f"{kind}{suffix}", kind, x, s, axes, norm)

    function.__doc__ = f"{KINDS[kind]}, over several axes."
    implements(f"fft.{kind}{suffix}")(function)


for _kind in KINDS:
    _enter_one(_kind)
    _enter_several(_kind, "2", (-2, -1))
    _enter_several(_kind, "n", None)
for _name in ("fftshift", "ifftshift", "fftfreq", "rfftfreq"):
    implements(f"fft.{_name}")(NUMPY[f"fft.{_name}"])


# Cosine and sine transforms, from the orthogonal ones

_INVERSE = {1: 1, 2: 3, 3: 2, 4: 4}
# Where the plain transforms differ from a multiple of the orthogonal ones: by √2 at these ends of input and output.
_ENDS: dict[tuple[Any, int], tuple[tuple[int, ...], tuple[int, ...]]] = {
    (f.cosine, 1): ((0, -1), (0, -1)),
    (f.cosine, 2): ((), (0,)),
    (f.cosine, 3): ((0,), ()),
    (f.sine, 2): ((), (-1,)),
    (f.sine, 3): ((-1,), ()),
}


def _scaled_at(x: Any, axis: int, ends: tuple[int, ...], factor: float) -> Any:
    """`x` with its entries at `ends` of `axis` multiplied."""
    weights = np.ones(shape_of(x)[axis], np.empty(0, dtype_of(x)).real.dtype)
    weights[list(ends)] *= factor
    return x * weights.reshape((-1,) + (1,) * (rank(x) - 1 - axis)) if ends else x


def _trigonometric(
    op: Any, x: Any, type: int, n: int | None, axis: int, norm: str | None, straight: bool | None
) -> Any:
    """One cosine or sine transform. `straight`: whether it is orthogonal but for a factor (SciPy's `orthogonalize`)."""
    if type not in _INVERSE:
        raise ValueError(f"Invalid type ({type}) specified: it is 1, 2, 3 or 4")
    if norm not in (None, *f.SWAPPED):
        raise ValueError(f"Invalid norm value {norm!r}, should be 'backward', 'ortho' or 'forward'")
    length = shape_of(x)[axis] if n is None else int(n)
    if length < (2 if op is f.cosine and type == 1 else 1):
        raise ValueError(f"Invalid number of data points ({length}) specified")
    x = resized(x, (axis,), (length,))
    straight = norm == "ortho" if straight is None else straight
    before, after = ((), ()) if straight else _ENDS.get((op, type), ((), ()))
    period = 2 * (length if type != 1 else length - 1 if op is f.cosine else length + 1)
    y = op(_scaled_at(x, axis, before, math.sqrt(0.5)), type=type, axis=axis)
    y = _scaled_at(y, axis, after, math.sqrt(2.0))
    return y if norm == "ortho" else y * (1 / math.sqrt(period) if norm == "forward" else math.sqrt(period))


def _operand(x: Any) -> Any:
    x = inexact(x)
    return inexact(x, np.float32) if dtype_of(x) == np.float16 else x


def _enter_trigonometric(name: str, op: Any, inverse: bool) -> None:
    def kind(type: int, norm: str | None) -> tuple[int, str]:
        norm = norm or "backward"
        return (_INVERSE.get(type, type), f.SWAPPED.get(norm, norm)) if inverse else (type, norm)

    def one(
        x: Any,
        type: int = 2,
        n: int | None = None,
        axis: int = -1,
        norm: str | None = None,
        overwrite_x: bool = False,
        workers: int | None = None,
        orthogonalize: bool | None = None,
    ) -> Any:
        x = _operand(x)
        type, norm = kind(type, norm)
        return _trigonometric(op, x, type, n, one_axis(axis, rank(x)), norm, orthogonalize)

    def several(
        x: Any,
        type: int = 2,
        s: Any = None,
        axes: Any = None,
        norm: str | None = None,
        overwrite_x: bool = False,
        workers: int | None = None,
        *,
        orthogonalize: bool | None = None,
    ) -> Any:
        x = _operand(x)
        type, norm = kind(type, norm)
        sizes = None if s is None else np.atleast_1d(s).tolist()
        if axes is None:
            axes = range(-(rank(x) if sizes is None else len(sizes)), 0)
        found = [one_axis(int(a), rank(x)) for a in np.atleast_1d(axes)]
        for axis, n in zip(found, sizes or [None] * len(found), strict=True):
            x = _trigonometric(op, x, type, n, axis, norm, orthogonalize)
        return x

    what = f"{'inverse ' if inverse else ''}discrete {'cosine' if op is f.cosine else 'sine'} transform"
    for function, entry, where in ((one, name, "along an axis"), (several, f"{name}n", "over several axes")):
        function.__doc__ = f"The {what}, of type 1 to 4, {where}."
        implements(f"fft.{entry}")(function)


for _name, _op in (("dct", f.cosine), ("dst", f.sine)):
    _enter_trigonometric(_name, _op, False)
    _enter_trigonometric(f"i{_name}", _op, True)
