"""Writes the numbers of the compiler's mathematics library: `python docs/make_coefficients.py` (needs mpmath).

Each polynomial is the best of its degree: it minimises the largest weighted error on an interval, found by the exchange
algorithm of E. Remez (Comptes rendus 199, 1934) in 60 digits, and then rounded to the format. The weight makes that
error the relative error of the function that the polynomial is part of (absolute where another term dominates). The
degree is the least that brings it below a bound: 2^-57 or so for double precision, 2^-27 for single, so that what is
left of the permitted error goes to rounding. The functions are mpmath's; no number is taken from elsewhere.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import mpmath
import numpy as np
from mpmath import mp, mpf

mp.dps = 60
TARGET = Path(__file__).parents[1] / "src/pullback/compile/llvm/mathlib/coefficients.py"
Function = Callable[[mpf], mpf]


class Fit(NamedTuple):
    """A function to be approximated by a polynomial on [low, high], the weight of the error, and log₂ of its bound."""

    function: Function
    weight: Function
    low: mpf
    high: mpf
    bound: float


def remez(fit: Fit, count: int) -> tuple[list[mpf], mpf]:
    """The best polynomial with `count` coefficients, and its largest weighted error."""
    middle, radius = (fit.low + fit.high) / 2, (fit.high - fit.low) / 2
    scale = max(abs(fit.low), abs(fit.high))
    nodes = count + 1
    points = [middle - radius * mpmath.cos(mpmath.pi * (2 * i + mpf("1.01")) / (2 * nodes)) for i in range(nodes)]
    grid = [middle - radius * mpmath.cos(mpmath.pi * i / (16 * nodes)) for i in range(16 * nodes + 1)]
    values, weights = [fit.function(x) for x in grid], [fit.weight(x) for x in grid]
    best: tuple[list[mpf], mpf] = ([], mpmath.inf)
    for _ in range(10):
        matrix, right = mpmath.matrix(nodes, nodes), mpmath.matrix(nodes, 1)
        for i, x in enumerate(points):
            w = fit.weight(x)
            for j in range(count):
                matrix[i, j] = (x / scale) ** j * w
            matrix[i, count] = (-1) ** i
            right[i] = fit.function(x) * w
        with mp.workdps(200):  # the matrix is close to singular
            solution = mpmath.lu_solve(matrix, right)
        coefficients = [solution[j] / scale**j for j in range(count)]
        errors = [w * (v - mpmath.polyval(coefficients[::-1], x)) for w, v, x in zip(weights, values, grid)]
        worst = max(abs(e) for e in errors)
        if worst < best[1]:
            best = coefficients, worst
        peaks: list[int] = []  # the largest error of each run of one sign
        for k, e in enumerate(errors):
            if peaks and (errors[peaks[-1]] > 0) == (e > 0):
                if abs(e) > abs(errors[peaks[-1]]):
                    peaks[-1] = k
            elif e != 0:
                peaks.append(k)
        while len(peaks) > nodes:
            peaks.pop(0 if abs(errors[peaks[0]]) < abs(errors[peaks[-1]]) else -1)
        if len(peaks) < nodes or worst < abs(solution[count]) * mpf("1.02"):
            break
        points = [grid[k] for k in peaks]
    return best


def smallest(fit: Fit) -> tuple[list[mpf], mpf]:
    """The best polynomial of the lowest degree that keeps the bound."""
    count = 2
    while True:
        coefficients, error = remez(fit, count)
        if error < mpf(2) ** fit.bound:
            return coefficients, error
        count += 1


ROOT = mpmath.sqrt
LN2 = mpmath.log(2)
ZERO = mpf(10) ** -12  # where a series in z = x² begins: the quotients below are not defined at 0
S_MAX = (ROOT(2) - 1) / (ROOT(2) + 1)  # s = f/(2 + f) for 1 + f = √2
HALF_LN2 = LN2 / 2 * mpf("1.0002")


def of_root(function: Function) -> Function:
    """z ↦ function(√z)/√z."""
    return lambda z: function(ROOT(z)) / ROOT(z)


def erfcx(x: mpf) -> mpf:
    return mpmath.exp(x * x) * mpmath.erfc(x)


def slack(x: mpf) -> mpf:
    """The end of an interval, and a little more for rounding."""
    return x * mpf("1.0002")


def identity(z: mpf) -> mpf:
    return z


def fits(type: str) -> dict[str, Fit]:
    """What is approximated, by name."""
    double = type == "double"
    b = -57.0 if double else -27.0
    sine, arctangent = of_root(mpmath.sin), of_root(mpmath.atan)
    arcsine, artanh = of_root(mpmath.asin), of_root(mpmath.atanh)
    error, quarter, half = of_root(mpmath.erf), slack(mpmath.pi / 4) ** 2, slack(mpmath.pi / 2) ** 2
    join = mpf("0.875")
    end, top = (mpf("5.95"), mpf("27.3")) if double else (mpf("3.95"), mpf("10.2"))

    def scaled_tail(t: mpf) -> mpf:
        x = 3 * (1 + t) / (1 - t)
        return (1 + 2 * x) * erfcx(x)

    result = {
        # e^r = 1 + r + r²·P(r)
        "exp": Fit(
            lambda r: (mpmath.expm1(r) - r) / r**2, lambda r: r * r / mpmath.exp(r), -HALF_LN2, slack(HALF_LN2), b
        ),
        # 2^r = 1 + r·P(r)
        "exp2": Fit(lambda r: mpmath.expm1(r * LN2) / r, lambda r: r / 2**r, -mpf("0.5001"), mpf("0.5002"), b),
        # log((1 + s)/(1 − s)) = 2s + s·z·P(z), z = s²
        "log": Fit(lambda z: (2 * artanh(z) - 2) / z, identity, ZERO, slack(S_MAX**2), b - 0.5),
        # sin r = r + r·z·P(z) to π/2 and to π/4, cos r = 1 − z/2 + z²·P(z) to π/4, z = r²
        "sin": Fit(lambda z: (sine(z) - 1) / z, lambda z: z / sine(z), ZERO, half, b),
        "sin_quarter": Fit(lambda z: (sine(z) - 1) / z, lambda z: z / sine(z), ZERO, quarter, b - 1),
        "cos_quarter": Fit(lambda z: (mpmath.cos(ROOT(z)) - 1 + z / 2) / z**2, lambda z: z * z, ZERO, quarter, b),
        # atan t = t + t·z·P(z) to tan(π/8), asin x = x + x·z·P(z) to ½
        "atan": Fit(lambda z: (arctangent(z) - 1) / z, identity, ZERO, slack((ROOT(2) - 1) ** 2), b),
        "asin": Fit(lambda z: (arcsine(z) - 1) / z, identity, ZERO, slack(mpf("0.25")), b),
        # erf x = x + x·P(x²) up to the join, 1 − e^−P(x − join) above
        "erf": Fit(lambda z: error(z) - 1, lambda z: 1 / error(z), ZERO, slack(join**2), b),
        "erf_tail": Fit(
            lambda y: -mpmath.log(mpmath.erfc(join + y)),
            lambda y: mpmath.erfc(join + y) / mpmath.erf(join + y),
            -mpf("0.001"),
            end - join,
            b,
        ),
        # (1 + 2x)·e^x²·erfc x = 1 + P(t), x = 3(1 + t)/(1 − t)
        "erfc": Fit(lambda t: scaled_tail(t) - 1, lambda t: 1 / scaled_tail(t), mpf(-1), (top - 3) / (top + 3), b),
    }
    if double:
        # log((1 + s)/(1 − s)) = 2s·(1 + z/3 + z²·P(z)), with bits to spare for powers
        result["log_pow"] = Fit(lambda z: (artanh(z) - 1 - z / 3) / z**2, lambda z: z * z, ZERO, slack(S_MAX**2), -69.0)
        # for powers in single precision, computed in double precision
        result["log_single"] = result["log"]._replace(bound=-37.0)
        result["exp2_single"] = result["exp2"]._replace(bound=-28.0)
    return result


def coefficients(type: str) -> dict[str, tuple[list[mpf], mpf]]:
    """The polynomials for a format, each with its largest weighted error."""
    result = {name: smallest(fit) for name, fit in fits(type).items()}
    # 1/∛m, a first approximation
    start = Fit(lambda m: m ** (-mpf(1) / 3), lambda m: m ** (mpf(1) / 3), mpf(1), mpf(2), 0.0)
    result["cbrt"] = remez(start, 5 if type == "double" else 4)
    return result


# Constants as sums of numbers with so many bits each.
PI = mpmath.pi
CONSTANTS: dict[str, tuple[mpf, dict[str, tuple[int, ...]]]] = {
    "LN2": (LN2, {"double": (42, 53), "float": (15, 24)}),
    "LOG2E": (1 / LN2, {"double": (53, 53), "float": (24, 24)}),
    "LOG10E": (1 / mpmath.log(10), {"double": (53, 53), "float": (24, 24)}),
    "LOG10_2": (LN2 / mpmath.log(10), {"double": (42, 53), "float": (15, 24)}),
    "HALF_PI": (PI / 2, {"double": (53, 53, 53), "float": (24, 24, 24)}),
    "QUARTER_PI": (PI / 4, {"double": (50, 53), "float": (21, 24)}),
    "THIRD": (mpf(1) / 3, {"double": (53, 53)}),
}


def parts(x: mpf, widths: tuple[int, ...]) -> tuple[float, ...]:
    """x as a sum of numbers of so many bits, each the nearest to what is left."""
    result = []
    for width in widths:
        unit = mpf(2) ** (mpmath.frexp(x)[1] - width)
        part = mpmath.nint(x / unit) * unit
        result.append(float(part))
        x -= part
    return tuple(result)


def rounded(x: mpf, type: str) -> float:
    return float(x) if type == "double" else float(np.float32(float(x)))


def text() -> str:
    """The module of coefficients."""
    lines = [
        '"""Numbers of the mathematics library, written by `docs/make_coefficients.py`, which defines each one."""',
        "",
    ]
    lines += ['__all__ = ["COEFFICIENTS", "CONSTANTS", "TWO_OVER_PI"]', ""]
    lines.append("COEFFICIENTS: dict[tuple[str, str], tuple[float, ...]] = {")
    for type in ("double", "float"):
        for name, (numbers, error) in coefficients(type).items():
            lines.append(f'    ("{name}", "{type}"): (  # error 2^{float(mpmath.log(error, 2)):.1f}')
            lines += [f"        {rounded(x, type)!r}," for x in numbers]
            lines.append("    ),")
    lines += ["}", "", "CONSTANTS: dict[tuple[str, str], tuple[float, ...]] = {"]
    for name, (x, formats) in CONSTANTS.items():
        lines += [f'    ("{name}", "{type}"): {parts(x, widths)!r},' for type, widths in formats.items()]
    with mp.workdps(500):
        digits = f"{int(mpmath.floor(2 / mpmath.pi * mpf(2) ** 1280)):x}"
    lines += ["}", "", "# 2/π · 2^1280, rounded down", "TWO_OVER_PI = int("]
    lines += [f'    "{digits[i : i + 80]}"' for i in range(0, len(digits), 80)]
    return "\n".join([*lines, "    ,16,", ")", ""])


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
