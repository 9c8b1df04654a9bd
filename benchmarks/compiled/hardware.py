"""What one core of this machine can do: bytes to and from memory, and flops in a large product."""

from __future__ import annotations

from functools import partial
from typing import Final, NamedTuple

import numpy as np
from benchmarks.timing import Step, timed_in_turn

__all__ = ["Hardware", "measured"]

LENGTH: Final = 1 << 24  # float64 elements of each array: 128 MB, beyond the caches
ORDER: Final = 1024  # of the matrices


class Hardware(NamedTuple):
    """Bytes a second, and flops a second by dtype."""

    bandwidth: float
    peak: dict[str, float]


def measured(rounds: int = 7) -> Hardware:
    """The best of copy, add and triad, after J. D. McCalpin, Memory bandwidth and machine balance in current high
    performance computers (1995), by NumPy in place (its triad takes two passes); and NumPy's matrix product."""
    a, b, c = (np.ones(LENGTH) for _ in range(3))

    def triad() -> None:
        np.multiply(c, 3.0, out=a)
        np.add(a, b, out=a)

    moved = {"copy": 2, "add": 3, "triad": 5}
    steps: dict[str, Step] = {
        "copy": lambda: np.copyto(a, b),
        "add": lambda: np.add(b, c, out=a),
        "triad": triad,
    }
    times = timed_in_turn(steps, dict.fromkeys(steps, 1), rounds)
    bandwidth = max(moved[name] * a.nbytes / seconds for name, seconds in times.items())

    products: dict[str, Step] = {}
    for dtype in ("float32", "float64"):
        x = np.random.default_rng(0).standard_normal((ORDER, ORDER)).astype(dtype)
        products[dtype] = partial(np.matmul, x, x, out=np.empty_like(x))
    times = timed_in_turn(products, dict.fromkeys(products, 2), rounds)
    return Hardware(bandwidth, {dtype: 2 * ORDER**3 / seconds for dtype, seconds in times.items()})
