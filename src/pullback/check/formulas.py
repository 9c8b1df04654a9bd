"""Functions of one value that people write for a local derivative, right or wrong: by their text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

__all__ = ["FORMULAS", "applied"]

Arr = np.ndarray[Any, Any]


def _sigmoid(x: Arr) -> Arr:
    return 1 / (1 + np.exp(-x))


FORMULAS: Final[dict[str, Callable[[Arr], Arr]]] = {
    "{0}": lambda x: x,
    "1 - {0}": lambda x: 1 - x,
    "1 + {0}": lambda x: 1 + x,
    "{0} * (1 - {0})": lambda x: x * (1 - x),
    "{0}**2": lambda x: x * x,
    "1 - {0}**2": lambda x: 1 - x * x,
    "1 + {0}**2": lambda x: 1 + x * x,
    "1 / {0}": lambda x: 1 / x,
    "1 / {0}**2": lambda x: 1 / (x * x),
    "cos({0})": np.cos,
    "sin({0})": np.sin,
    "exp({0})": np.exp,
    "exp(-{0})": lambda x: np.exp(-x),
    "log({0})": np.log,
    "sqrt({0})": np.sqrt,
    "1 / sqrt({0})": lambda x: 1 / np.sqrt(x),
    "{0}**3": lambda x: x * x * x,
    "tanh({0})": np.tanh,
    "1 - tanh({0})**2": lambda x: 1 - np.tanh(x) ** 2,
    "sigmoid({0})": _sigmoid,
    "1 - sigmoid({0})": lambda x: 1 - _sigmoid(x),
    "sigmoid'({0})": lambda x: _sigmoid(x) * (1 - _sigmoid(x)),
    "({0} > 0)": lambda x: (x.real > 0) * 1.0,
    "({0} < 0)": lambda x: (x.real < 0) * 1.0,
    "sign({0})": np.sign,
    "abs({0})": np.abs,
    "1 / abs({0})": lambda x: 1 / np.abs(x),
    "1 / (1 - {0})": lambda x: 1 / (1 - x),
    "1 / (1 + {0})": lambda x: 1 / (1 + x),
    "1 / ({0} * (1 - {0}))": lambda x: 1 / (x * (1 - x)),
    "1 / (1 + {0}**2)": lambda x: 1 / (1 + x * x),
    "1 / (1 - {0}**2)": lambda x: 1 / (1 - x * x),
    "1 / sqrt(1 - {0}**2)": lambda x: 1 / np.sqrt(1 - x * x),
    "1 / sqrt(1 + {0}**2)": lambda x: 1 / np.sqrt(1 + x * x),
    "sqrt(1 - {0}**2)": lambda x: np.sqrt(1 - x * x),
    "1 / {0}**3": lambda x: 1 / (x * x * x),
    "1 / {0}**1.5": lambda x: x**-1.5,
    "{0}**1.5": lambda x: x**1.5,
    "1 / cos({0})**2": lambda x: 1 / np.cos(x) ** 2,
    "tan({0})": np.tan,
    "cosh({0})": np.cosh,
    "sinh({0})": np.sinh,
    "exp(-{0}**2)": lambda x: np.exp(-x * x),
    "exp(-{0}**2 / 2)": lambda x: np.exp(-x * x / 2),
}


def applied(value: Arr, cache: dict[str, Arr | None], names: list[str] | None = None) -> Iterator[tuple[str, Arr]]:
    """The formulas of a value, those that are finite, by their text."""
    for name in names or FORMULAS:
        if name not in cache:
            with np.errstate(all="ignore"):
                found = FORMULAS[name](value)
            useless = not np.isfinite(found).all() or ((found == found.reshape(-1)[:1]).all() and "0)" in name)
            cache[name] = None if useless else found
        result = cache[name]
        if result is not None:
            yield name, result
