"""`autograd.scipy`: this module replaces itself by SciPy as autograd presents it."""

import sys
from importlib import import_module

import numpy as np
import scipy

from autograd._names import Presented
from pullback.scipy.table import FUNCTIONS


def _convolve(a, b, axes=None, dot_axes=((), ()), mode="full"):
    """autograd's convolution along pairs of axes, with a product along others. The result's axes: those of `a` and of
    `b` that are in no pair, then the convolved ones.
    """
    along_a, along_b = axes if axes is not None else (range(np.ndim(a)), range(np.ndim(b)))
    for i, j in zip(along_a, along_b, strict=True):
        n, m = a.shape[i], b.shape[j]
        margins = [(0, 0)] * np.ndim(a)
        margins[i] = (m - 1, m - 1)
        a = np.pad(a, margins)
        # Windows of the padded array, the last element of b on the first of each; the new axis goes to the end.
        kept = {"full": slice(0, n + m - 1), "same": slice((m - 1) // 2, (m - 1) // 2 + n)}.get(
            mode, slice(min(n, m) - 1, max(n, m))
        )
        places = np.arange(n + m - 1)[kept][:, None] + np.arange(m)
        a = np.moveaxis(np.take(a, places, axis=i), i, -1)  # (..., windows at axis i, ..., places)
        b = np.flip(b, j)
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    rank = np.ndim(a) - len(along_a)
    names_a = [next(letters) for _ in range(np.ndim(a))]
    names_b = [next(letters) for _ in range(np.ndim(b))]
    for k, (i, j) in enumerate(zip(along_a, along_b, strict=True)):
        names_b[j] = names_a[i]
        names_a[i], names_a[rank + k] = names_a[i], names_a[rank + k]
    for i, j in zip(*dot_axes, strict=True):
        names_b[j] = names_a[i]
    convolved = names_a[rank:]
    dotted = {names_a[i] for i in dot_axes[0]}
    summed = {names_a[i] for i in along_a}
    kept_a = [name for name in names_a[:rank] if name not in dotted | summed]
    kept_b = [name for name in names_b if name not in names_a]
    spelled = f"{''.join(names_a)},{''.join(names_b)}->{''.join(kept_a + kept_b + convolved)}"
    return np.einsum(spelled, a, b)


_here = Presented(__name__, scipy)
for _name in ("integrate", "linalg", "signal", "special", "stats"):
    _own = {"convolve": _convolve} if _name == "signal" else {}
    setattr(_here, _name, Presented(f"{__name__}.{_name}", import_module(f"scipy.{_name}"), **_own))
for _name in FUNCTIONS:
    if _name.startswith("stats."):
        _distribution = getattr(sys.modules[f"{__name__}.stats"], _name.removeprefix("stats."))
