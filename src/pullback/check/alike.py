"""Whether arrays of numbers are the same, or how one comes out of the other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from fractions import Fraction
from typing import Any, Final, Generic, TypeVar

import numpy as np

__all__ = ["Arr", "Index", "digest", "error", "fits", "is_plain", "is_sum_of", "ratio", "same", "width"]

Arr = np.ndarray[Any, Any]
T = TypeVar("T")

_WIDTHS: Final = {8: 1e-7, 4: 2e-4, 2: 2e-2}  # what counts as the same, by the bytes of a number


def width(*arrays: Arr) -> float:
    """How far numbers of these dtypes may be apart and count as the same, relative."""
    return max(_WIDTHS[min(8, x.dtype.itemsize // (2 if x.dtype.kind == "c" else 1))] for x in arrays)


def error(a: Arr, b: Arr) -> float:
    """How far `a` is from `b`, relative to the largest entry of `b`."""
    if a.shape != b.shape:
        return float("inf")
    size = float(np.abs(b).max(initial=0.0))
    off = float(np.abs(a - b).max(initial=0.0))
    return off / size if size else (0.0 if off == 0 else float("inf"))


def same(a: Arr, b: Arr) -> bool:
    """Whether `a` is `b`, to rounding."""
    if a.shape != b.shape:
        return False
    if not a.size:
        return True
    size = np.abs(b)
    return bool(np.all(np.abs(a - b) <= width(a, b) * (size + 1e-3 * size.max()) + 1e-300))


def ratio(a: Arr, b: Arr) -> float | None:
    """The number that `a` is `b` times, if there is one that is not 0."""
    if a.shape != b.shape or not a.size or a.dtype.kind == "c" or b.dtype.kind == "c":
        return None
    at = np.unravel_index(np.argmax(np.abs(b)), b.shape)
    if b[at] == 0 or not np.isfinite(a[at]) or a[at] == 0:
        return None
    found = float(a[at] / b[at])
    if a.size == 1:  # any two numbers have a ratio
        simple = float(Fraction(found).limit_denominator(12))
        found = simple if abs(simple) <= 12 else 0.0
    return found if found and same(a, found * b) else None


def is_plain(x: Arr) -> bool:
    """Whether an array is too simple to be recognised by its numbers."""
    if not x.size or not np.isfinite(x).all():
        return True
    return bool(np.all(x == x.flat[0])) and (x.size > 1 or bool(x.flat[0] in (0, 1)))


def fits(wide: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether an array of one shape may be meant for the other: the same, transposed, or still to be summed."""
    if wide == shape or wide == shape[::-1]:
        return True
    padded = (1,) * (len(wide) - len(shape)) + shape
    return len(padded) == len(wide) and bool(shape) and all(n in (1, m) for n, m in zip(padded, wide, strict=True))


def is_sum_of(true: Arr, x: Arr) -> bool:
    """Whether `true` is `x` summed over the axes that it lacks."""
    if x.ndim < true.ndim:
        return False
    padded = (1,) * (x.ndim - true.ndim) + true.shape
    axes = tuple(i for i, (n, m) in enumerate(zip(padded, x.shape, strict=True)) if n == 1 and m != 1)
    total = x.sum(axis=axes, keepdims=True)
    return total.size == true.size and same(total.reshape(true.shape), true)


def digest(x: Arr) -> bytes:
    """The same for arrays with the same shape and numbers, and for no others."""
    numbers = np.ascontiguousarray(x, complex if x.dtype.kind == "c" else float)
    return hashlib.blake2b(numbers.tobytes() + repr(x.shape).encode()).digest()


class Index(Generic[T]):
    """Finds what belongs to an array by its numbers."""

    def __init__(self, entries: Iterable[tuple[Arr, T]]) -> None:
        tables: dict[tuple[int, ...], list[tuple[float, Arr, T]]] = {}
        for array, value in entries:
            tables.setdefault(array.shape, []).append((_print(array), array, value))
        self.tables = {shape: (np.array([e[0] for e in rows]), rows) for shape, rows in tables.items()}

    def find(self, x: Arr) -> list[T]:
        """What belongs to the arrays that are the same as `x`."""
        if x.shape not in self.tables:
            return []
        prints, rows = self.tables[x.shape]
        near = np.abs(prints - _print(x)) <= 2 * width(x) * float(np.abs(x).sum()) + 1e-300
        return [rows[i][2] for i in np.flatnonzero(near) if same(x, rows[i][1])]


def _print(x: Arr) -> float:
    flat = x.reshape(-1)
    return float(np.real(flat @ np.cos(0.7 + 1.3 * np.arange(flat.size)))) if flat.size else 0.0
