"""Derivatives by differences, each with a bound on its own error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["differences"]

Array = NDArray[np.float64]


def differences(f: Callable[[Array], Any], x: Array) -> tuple[Array, Array]:
    """The gradient of `f` at `x` (float64, any shape) and a bound on the error of each entry.

    Central differences D at steps h and h/2 are extrapolated, R = (4 D(h/2) − D(h)) / 3 (Richardson 1911). The bound is
    what the two steps disagree by, |R − D(h/2)|, which is far more than what is left of the truncation error in R; and
    the rounding of f, taken as 16 units in the last place, carried through the same formula: 3 · 16 ε max|f| / h.
    """
    gradient, bound = np.empty_like(x), np.empty_like(x)
    for i in np.ndindex(x.shape):
        h = 2.0**-10 * max(1.0, abs(float(x[i])))
        values = []
        for step in (h, -h, h / 2, -h / 2):
            moved = x.copy()
            moved[i] += step
            values.append(float(f(moved)))
        wide, narrow = (values[0] - values[1]) / (2 * h), (values[2] - values[3]) / h
        gradient[i] = (4 * narrow - wide) / 3
        rounding = 48 * np.finfo(float).eps * max(map(abs, values)) / h
        bound[i] = abs(gradient[i] - narrow) + rounding
    return gradient, bound
