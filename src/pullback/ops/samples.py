"""Sample inputs: each op carries a few, and they generate its tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = [
    "Sample",
    "boolean",
    "complex_nonzero",
    "complex_normal",
    "definite",
    "exactly",
    "exponents",
    "integers",
    "nonzero",
    "normal",
    "positive",
    "regular",
    "separated",
    "spread",
    "unit",
]

Maker = Callable[[np.random.Generator], Any]


class Sample:
    """Operands of an op and its parameters.

    An operand is a maker `rng -> array`, or a fixed value, with respect to which the tests do not differentiate. Floats
    are made where the op is smooth.
    """

    __slots__ = ("args", "params")

    def __init__(self, *args: Any, **params: Any) -> None:
        self.args = args
        self.params = params

    def make(self, seed: int = 0) -> tuple[Any, ...]:
        """The operands, float64, the same for the same seed."""
        rng = np.random.default_rng(seed)
        return tuple(arg(rng) if callable(arg) else arg for arg in self.args)

    def __repr__(self) -> str:
        shapes = ",".join(str(np.shape(arg)).replace(" ", "") for arg in self.make())
        return shapes + "".join(f",{key}={value}" for key, value in self.params.items()).replace(" ", "")


def normal(*shape: int) -> Maker:
    """Standard normal numbers."""
    return lambda rng: rng.standard_normal(shape)


def positive(*shape: int) -> Maker:
    """Numbers in (0.2, 2.2)."""
    return lambda rng: rng.random(shape) * 2 + 0.2


def unit(*shape: int) -> Maker:
    """Numbers in (-0.9, 0.9)."""
    return lambda rng: rng.random(shape) * 1.8 - 0.9


def nonzero(*shape: int) -> Maker:
    """Numbers of either sign, at least 0.3 from zero."""
    return lambda rng: (rng.random(shape) + 0.3) * rng.choice([-1.0, 1.0], shape)


def spread(*shape: int) -> Maker:
    """Distinct numbers in random order, 0.35 apart and 0.025 from every multiple of 0.05: no ties, no kinks."""
    size = int(np.prod(shape))
    return lambda rng: (rng.permutation(size) - size // 2).reshape(shape) * 0.35 + 0.125


def exponents(*shape: int) -> Maker:
    """Numbers in (0.5, 2.5)."""
    return lambda rng: rng.random(shape) * 2 + 0.5


def integers(high: int, *shape: int) -> Maker:
    """Integers in [0, high)."""
    return lambda rng: rng.integers(0, high, shape)


def boolean(*shape: int) -> Maker:
    """Booleans, both values present where there is room."""
    return lambda rng: (np.arange(int(np.prod(shape))) % 2 == 0).reshape(shape)


def exactly(*values: Any) -> Maker:
    """These numbers, or rows of numbers."""
    return lambda rng: np.array(values)


def complex_normal(*shape: int) -> Maker:
    """Standard normal real and imaginary parts."""
    return lambda rng: rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def complex_nonzero(*shape: int) -> Maker:
    """Complex numbers at least 0.3 from zero."""
    return lambda rng: (rng.random(shape) + 0.3) * np.exp(2j * np.pi * rng.random(shape))


def regular(*shape: int, dtype: type = float) -> Maker:
    """Well-conditioned square matrices."""
    noise = normal(*shape) if dtype is float else complex_normal(*shape)
    return lambda rng: 0.4 * noise(rng) + 2 * np.eye(shape[-1])


def separated(*shape: int) -> Maker:
    """Matrices whose eigenvalues, and singular values, lie apart; elements clear of 0 keep signs of vectors."""
    noise = normal(*shape)
    return lambda rng: 0.1 * noise(rng) + 0.6 + 1.5 * np.eye(shape[-2], shape[-1]) * np.arange(1, shape[-1] + 1)


def definite(*shape: int, dtype: type = float) -> Maker:
    """Symmetric (Hermitian) positive definite matrices."""
    root = regular(*shape, dtype=dtype)

    def make(rng: np.random.Generator) -> Any:
        a = root(rng)
        return a @ a.conj().swapaxes(-1, -2)

    return make
