"""Second derivatives along lines, from values alone, and a claimed Hessian against them.

`d·Hd` along random directions d decides; by polarisation, `4 a·Hb = (a+b)·H(a+b) - (a-b)·H(a-b)`, blocks of a refuted
matrix are tested, and halved until the wrong entries stand alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from pullback.check.linear import Cell, MapOutcome
from pullback.check.slope import Line

__all__ = ["curvature", "examine_curvature"]

Array = np.ndarray[Any, np.dtype[np.float64]]

_FIRST: Final = 2.0**-3
_ROWS: Final = 8
_WRONG: Final = 8
_SMALL: Final = 10  # of so few variables the whole matrix is measured


def curvature(line: Line, eps: float, first: float = _FIRST) -> tuple[float, float]:
    """The second derivative of a line at 0 and a bound on its error, by Romberg's table of second differences."""
    best, bound = np.nan, np.inf
    rounding = 4 * eps * float(np.abs(line(0.0)).max())
    middle = float(line(0.0)[0])
    for start in (first, first * 2.0**-4):
        previous: list[float] = []
        for row in range(_ROWS):
            h = start / 2**row
            entries = [(float(line(h)[0]) - 2 * middle + float(line(-h)[0])) / h**2]
            for column in range(1, row + 1):
                factor = 4.0**column
                entries.append((factor * entries[-1] - previous[column - 1]) / (factor - 1))
                error = max(abs(entries[-1] - entries[-2]), abs(entries[-1] - previous[column - 1]))
                error += 2 * rounding / h**2
                if error < bound:
                    best, bound = entries[-1], error
            previous = entries
        if bound <= 1e-7 * abs(best):
            break
    return best, 4 * bound


class _Curves:
    """A function's second derivatives along the directions of a matrix's blocks."""

    def __init__(self, f: Callable[[Array], Array], x: Array, matrix: Array, eps: float, slack: float) -> None:
        self.f, self.x, self.matrix, self.eps, self.slack = f, x, matrix, eps, slack

    def along(self, d: Array) -> tuple[float, float]:
        return curvature(Line(lambda t: self.f(self.x + t * d)), self.eps)

    def between(self, a: Array, b: Array) -> tuple[float, float]:
        """`a·Hb` with a bound."""
        if a is b:
            return self.along(a)
        (plus, e), (minus, g) = self.along(a + b), self.along(a - b)
        return (plus - minus) / 4, (e + g) / 4

    def is_refuted(self, a: Array, b: Array, value: float, error: float) -> bool:
        claimed = float(a @ self.matrix @ b)
        size = float(np.abs(a) @ np.abs(self.matrix) @ np.abs(b))
        return bool(np.isfinite(value)) and abs(claimed - value) > error + 10 * self.slack * size


def examine_curvature(
    f: Callable[[Array], Array],
    x: Array,
    matrix: Array,
    scales: Array,
    rng: np.random.Generator,
    *,
    slack: float,
    eps: float,
) -> MapOutcome:
    """Compare a claimed Hessian, of which the symmetric half counts, with second differences of a function."""
    matrix = (matrix + matrix.T) / 2
    curves = _Curves(f, x, matrix, eps, slack)
    outcome = MapOutcome()
    n = x.size
    for _ in range(3):
        d = rng.uniform(0.5, 1.5, n) * rng.choice([-1.0, 1.0], n) * scales
        value, error = curves.along(d)
        length = float(np.abs(d) @ np.abs(matrix) @ np.abs(d))
        if curves.is_refuted(d, d, value, error):
            _find(curves, d, outcome)
            if outcome.wrong:
                outcome.verdict = "refuted"
                break
        if not error <= 1e-3 * max(length, abs(value)) and not (length == 0 and error <= 1e-4 * np.abs(f(x)).max()):
            outcome.verdict = "undecided"
            outcome.reason = (
                "the function is too noisy for second differences: along a random direction the second derivative is "
                f"{value:.3g} ± {error:.1g}"
            )
    if outcome.verdict == "refuted" and n <= _SMALL:
        columns = np.zeros((n, n))
        for i in range(n):
            for j in range(i + 1):
                a, b = _unit(i, scales), _unit(j, scales)
                value, _ = curves.between(a, a if i == j else b)
                columns[i, j] = columns[j, i] = value / (scales[i] * scales[j])
        outcome.columns = {j: columns[:, j] for j in range(n)}
    return outcome


def _unit(i: int, scales: Array) -> Array:
    direction = np.zeros_like(scales)
    direction[i] = scales[i]
    return direction


def _find(curves: _Curves, d: Array, outcome: MapOutcome) -> None:
    """The wrong entries, by halving the blocks of a refuted direction; those above the diagonal only."""
    everything = np.arange(d.size)
    stack = [(everything, everything)]
    while stack and len(outcome.wrong) < _WRONG:
        rows, columns = stack.pop()
        a, b = np.zeros_like(d), np.zeros_like(d)
        a[rows], b[columns] = d[rows], d[columns]
        is_square = rows is columns
        value, error = curves.between(a, a if is_square else b)
        if not curves.is_refuted(a, b, value, error):
            continue
        if rows.size == columns.size == 1:
            i, j = int(rows[0]), int(columns[0])
            unit = d[i] * d[j]
            outcome.wrong.append(Cell(i, j, float(curves.matrix[i, j]), value / unit, abs(error / unit)))
        elif is_square:
            first, second = rows[: rows.size // 2], rows[rows.size // 2 :]
            stack += [(first, second), (second, second), (first, first)]
        elif rows.size >= columns.size:
            stack += [(rows[rows.size // 2 :], columns), (rows[: rows.size // 2], columns)]
        else:
            stack += [(rows, columns[columns.size // 2 :]), (rows, columns[: columns.size // 2])]
