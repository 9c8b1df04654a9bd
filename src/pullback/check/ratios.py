"""A gradient that is the true one times a constant: what the constant is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Final

import numpy as np

from pullback.check.case import Case
from pullback.check.look import Look, Side, Sign
from pullback.check.record import Record

__all__ = ["ratios"]

_FEW: Final = 4  # up to so many, n/(n - 1) is a plain ratio like others
_CHANCE: Final = 0.2  # the score of a ratio of single numbers that is no plain one: any two numbers have a ratio


def ratios(look: Look) -> dict[int, list[Sign]]:
    """For the arguments whose gradient is the true one times a constant: what the constant is."""
    found: dict[int, list[Sign]] = {}
    constants: dict[int, float] = {}
    for side in look.wrong:
        ratio = _ratio(side)
        if ratio is not None:
            constants[side.part.leaf] = ratio
    for side in look.wrong:
        ratio = constants.get(side.part.leaf)
        if ratio is None:
            continue
        numbers = sum(
            int(np.count_nonzero(s.seen[1]))
            for s in look.wrong
            if s.part.leaf in constants and abs(constants[s.part.leaf] / ratio - 1) < 1e-6
        )
        everywhere = all(
            s.part.leaf in constants and abs(constants[s.part.leaf] / ratio - 1) < 10 * s.tolerance
            for s in look.sides
            if bool(np.any(s.seen[1]))
        )
        found[side.part.leaf] = list(_named_ratio(look, side, ratio, numbers > 1, everywhere))
    return found


def _ratio(side: Side) -> float | None:
    """The constant c with claimed = c · true, if there is one other than 0."""
    claimed, true = side.seen
    size = float(np.abs(true).max(initial=0.0))
    large = np.abs(true) > 1e-3 * size
    if not size or not np.isfinite(claimed).all():
        return None
    with np.errstate(all="ignore"):
        ratios = claimed[large] / true[large]
    c = complex(np.median(ratios.real)) if side.part.is_complex else complex(np.median(ratios))
    if c.imag or not c.real or abs(c.real - 1) < 10 * side.tolerance or not side.fits(c.real * true):
        return None
    return float(c.real)


def _named_ratio(look: Look, side: Side, ratio: float, several: bool, everywhere: bool) -> Iterator[Sign]:
    """What a constant ratio tells. `everywhere` says that it is the same for all arguments."""
    near: Callable[[float], bool] = lambda r: abs(ratio / r - 1) < 3 * side.tolerance  # noqa: E731
    if near(-1.0):
        yield Sign("sign", "has the other sign", 1.0, ratio)
        return
    simple = Fraction(ratio).limit_denominator(12)
    nice = (
        simple != 0 and near(float(simple)) and max(abs(simple.numerator), simple.denominator) <= (12 if several else 4)
    )
    sized = False
    lengths = _lengths(look, side, everywhere)
    for n, where, partial in lengths:
        for r, text in ((float(n), f"is {n} times too large"), (1.0 / n, f"is {n} times too small")):
            if not near(r) and not near(-r):
                continue
            score = 0.97 if n == 2 else 1.0
            score -= 0.0 if near(r) else 0.1
            first, second = ("sum_for_mean", "one_over_n") if partial else ("one_over_n", "sum_for_mean")
            yield Sign(first, f"{text}: {n} is {where}", score, ratio)
            yield Sign(second, f"{text}: {n} is {where}", score - 0.02, ratio)
            sized = True
            break
        if n > _FEW and (near(n / (n - 1)) or near((n - 1) / n)):
            yield Sign("one_over_n", f"is off by {n}/{n - 1}: 1/n for 1/(n - 1), where n is {where}", 0.97, ratio)
        if sized:
            break
    text = f"is {ratio:.6g} times what it should be" if not nice else f"is {simple} times what it should be"
    slight = 0.8 < ratio < 1.25  # nothing but a constant explains that
    near_one = abs(ratio - 1) < 0.02
    score = 1.0 if nice or near_one else _CHANCE if not several else 1.0 if slight else 0.985
    if {abs(simple.numerator), simple.denominator} <= {n for n, _, _ in lengths}:
        score = min(score, 0.985)  # one axis taken for another
    if sized:
        score = 1.0 if abs(simple) in (2, Fraction(1, 2)) else 0.93
    if ratio < 0:
        score -= 0.05
        yield Sign("sign", f"has the other sign, and is {abs(ratio):.6g} times what it should be", score - 0.1, ratio)
    yield Sign("factor", text, score, ratio)


def _lengths(look: Look, side: Side, everywhere: bool) -> list[tuple[int, str, bool]]:
    """The numbers that an n may be: what it is the length of, and whether that is an axis summed for itself."""
    found: dict[int, tuple[str, bool]] = {}

    def note(n: int, where: str, partial: bool) -> None:
        if n > 1:
            found.setdefault(n, (where, partial))

    case, tape = look.case, look.tape
    if tape is not None and not everywhere:
        for n, over in _broadcast(tape, case, side):
            note(n, f"the length of what {side.name} is broadcast over, and its gradient summed over ({over})", True)
    if tape is not None:
        for node in tape.nodes:
            if node.op.name not in ("sum", "mean"):
                continue
            shape = np.shape(tape.operand(node, 0))
            axis = node.params.get("axis")
            axes = range(len(shape)) if axis is None else axis
            n = int(np.prod([shape[a] for a in axes]))
            partial = len(axes) < len(shape)
            what = f"the length of axis {', '.join(map(str, axes))}" if partial else "the size"
            note(n, f"{what} of what is summed in {tape.place(node)}", partial)
            for a in axes:
                note(shape[a], f"the length of axis {a} of what is summed in {tape.place(node)}", partial or a > 0)
    arrays = [(part.path, part.shape) for part in case.problem.parts]
    arrays += [("the result", np.shape(case.cotangent))] if case.cotangent.size > 1 else []
    for name, shape in arrays:
        note(int(np.prod(shape)), f"the size of {name}", False)
        for a, length in enumerate(shape):
            note(length, f"the length of axis {a} of {name}", a > 0)
    return [(n, *rest) for n, rest in found.items()]


def _broadcast(tape: Record, case: Case, side: Side) -> Iterator[tuple[int, str]]:
    """How many times an argument, or what is computed of each of its entries, is used by operations that broadcast."""
    size = side.part.stop - side.part.start
    stack = [node for node, part in zip(tape.inputs, case.problem.parts, strict=True) if part.leaf == side.part.leaf]
    seen = set(stack)
    while stack:
        node = stack.pop()
        for user, _ in tape.consumers.get(node, []):
            value = tape.values.get(user)
            if value is None or user in seen or user.op.name in ("matmul", "einsum", "tensordot"):
                continue
            seen.add(user)
            if value.size > size:
                yield value.size // max(size, 1), tape.place(user)
            elif value.size == size:
                stack.append(user)
