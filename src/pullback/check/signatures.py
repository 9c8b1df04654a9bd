"""What claimed numbers give away, laid beside the true ones: a constant ratio, a transpose, a shift.

Every argument whose gradient is wrong is looked at for itself; a kind that explains all of them explains the claim.
The scores are those of `explain`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from pullback.check.case import Case
from pullback.check.look import EXACT, Arr, Look, Side, Sign, names_of, width
from pullback.check.preflight import is_short
from pullback.check.problem import Array, Part, numbers_of
from pullback.check.ratios import ratios
from pullback.check.report import Finding

__all__ = ["explain"]

_FEW: Final = 0.34  # the share of an argument's entries that may be off for it to be single entries
_CUTS: Final[tuple[tuple[str, Callable[[Arr], Arr]], ...]] = (
    ("truncated", np.trunc),
    ("rounded", np.round),
    ("rounded down", np.floor),
)
_LARGE: Final = 500  # of numbers that are looked up among others, the most
_NOISY: Final = 3e-5
_ROUNDING: Final = 1e-4  # relative: an error below may be lost precision
_STRAIGHT: Final = frozenset("round rint around sign clip floor ceil trunc fix heaviside astype".split())
_CASTS: Final = frozenset("int int8 int16 int32 int64 intp astype round rint around floor ceil trunc fix".split())


def explain(case: Case) -> list[Finding]:
    """The findings that the numbers give: to rounding; if that gives none, those away from kinks, and those to the
    accuracy that noise leaves.
    """
    found = _misshapen(case) + _seen(Look(case))
    if any(finding.score >= 0.9 for finding in found):
        return found
    if case.outcome.kinks:
        smooth = [replace(finding, score=finding.score - 0.03) for finding in _seen(Look(case, smooth=True))]
        found += [finding for finding in smooth if finding.kind not in ("dtype", "entry", "zero")]
    rough = [replace(finding, score=finding.score - 0.05) for finding in _seen(Look(case, _NOISY))]
    return found + [finding for finding in rough if finding.kind not in ("dtype", "entry", "zero")]


def _seen(look: Look) -> list[Finding]:
    if not look.wrong:
        return []
    findings = _not_finite(look.wrong) + _other_cotangents(look) + _swapped(look.sides, look.wrong)
    multiples = ratios(look)
    signs = {side.part.leaf: list(multiples.get(side.part.leaf, [])) for side in look.wrong}
    for side in look.wrong:
        signs[side.part.leaf] += _signs(look, side, is_multiple=side.part.leaf in multiples)
    return findings + _merged(look.wrong, signs)


def _merged(wrong: list[Side], signs: dict[int, list[Sign]]) -> list[Finding]:
    """One finding for each kind: of all the arguments it explains."""
    by_kind: dict[str, dict[str, Sign]] = {}
    for side in wrong:
        for sign in signs[side.part.leaf]:
            kept = by_kind.setdefault(sign.kind, {})
            if side.name not in kept or sign.score > kept[side.name].score:
                kept[side.name] = sign
    findings = []
    for kind, found in by_kind.items():
        names = list(found)
        first = found[names[0]]
        whole = len(names) == len(wrong)
        score = min(sign.score for sign in found.values())
        if not whole:
            score = min(0.6, score) - 0.1 * (len(wrong) - len(names)) / len(wrong)
        message = f"the gradient of {names[0]} {first.message}"
        same = [name for name in names[1:] if found[name].message == first.message]
        if same:
            message = f"the gradients of {', '.join([names[0], *same][:4])} each: {first.message}"
        ratio = first.ratio
        findings.append(
            Finding(
                kind,
                message,
                argument=names[0] if len(names) == 1 else None,
                index=first.index,
                claimed=ratio,
                expected=None if ratio is None else 1.0,
                score=score,
            )
        )
    return findings


# One argument


def _signs(look: Look, side: Side, is_multiple: bool) -> Iterator[Sign]:
    """What the gradient of one argument shows, but for a constant ratio (`is_multiple`: it has one)."""
    case = look.case
    claimed, true = side.seen
    yield from _rounded(case, side, claimed, true)
    if not np.any(claimed):
        given = case.given.get(side.part.leaf, claimed)
        yield Sign("zero", "is None, and should not be zero" if given is None else "is zero, and should not be", 1.0)
        return
    if side.part.is_complex:
        yield from _conjugated(side, claimed, true)
    elif (off := int(np.sum(claimed * true < 0))) and claimed.size > 2 and side.same(np.abs(claimed), np.abs(true)):
        yield Sign("sign", f"has the other sign in {off} of {claimed.size} entries", 0.85)
    yield from _straight(look, side, claimed, true)
    if side.is_known:
        yield from _rearranged(look, side)
        yield from _unsummed(look, side)
        yield from _picked(look, side)
        if not is_multiple:
            yield from _lacking(case, side)
    yield from _few(side, claimed, true)


def _conjugated(side: Side, claimed: Arr, true: Arr) -> Iterator[Sign]:
    if side.fits(true.conj()):
        yield Sign("conj", "is the complex conjugate of what it should be", 1.0)
    elif side.fits(true.real.astype(complex)):
        yield Sign("conj", "has lost its imaginary part", 0.9)
    elif side.fits(1j * true) or side.fits(-1j * true):
        yield Sign("factor", "is off by a factor of i", 0.95)
    elif claimed.size > 1 and not side.same(claimed, true) and side.same(np.abs(claimed), np.abs(true)):
        yield Sign("conj", "has the right magnitudes and other phases: a conjugate is missing, or one too many", 0.95)


def _rounded(case: Case, side: Side, claimed: Arr, true: Arr) -> Iterator[Sign]:
    """Integers, and single precision."""
    given = case.given.get(side.part.leaf)
    for name, cut in () if side.part.is_complex else _CUTS:
        if np.all(np.abs(claimed - cut(true)) < 1e-9) and (np.any(claimed) or _is_integer(given)):
            sure = _is_integer(given) or bool(_CASTS & names_of(case.source))
            yield Sign("dtype", f"is {name} to integers", 1.0 if sure else 0.4)
            if sure:
                return
    if _is_integer(given) and np.any(claimed):
        assert given is not None
        yield Sign("dtype", f"holds integers ({given.dtype}): what is behind the point is lost", 0.8)
    if width(side.part) > EXACT or not np.any(claimed):
        return
    size = float(np.abs(true).max(initial=0.0))
    off = np.abs(claimed - true) / np.maximum(np.abs(true), 1e-3 * size + 1e-300)
    worst = float(off.max())
    if worst < _ROUNDING and np.mean((off > 1e-10) & (off < _ROUNDING)) > 0.5:
        score = 0.97 if worst < 1e-5 else 0.9
        yield Sign("dtype", f"is right to {worst:.0e} only: something was computed in single precision", score)
    numbers = numbers_of(claimed)
    with np.errstate(over="ignore"):
        if np.array_equal(numbers, numbers.astype(np.float32)) and not is_short(numbers):
            yield Sign("dtype", "consists of numbers in single precision", 0.9)


def _is_integer(given: Arr | None) -> bool:
    return given is not None and given.dtype.kind in "iu"


def _straight(look: Look, side: Side, claimed: Arr, true: Arr) -> Iterator[Sign]:
    """A gradient where the true one is zero, because of a step function, or a function cut off."""
    flat = (true == 0) & ~side.refuted if look.tape is None else true == 0
    used = _STRAIGHT & names_of(look.case.problem.f)
    step = ", ".join(sorted(used)) or "a step function"
    cotangent = look.case.cotangent
    if used and claimed.size == cotangent.size > 1 and side.same(claimed - true, cotangent.reshape(claimed.shape)):
        yield Sign("ste", f"is too large by the cotangent itself: it passes straight through {step}", 1.0)
        return
    if not np.any(flat & (claimed != 0)):
        return
    if flat.all():
        yield Sign("ste", f"is not zero, and the true one is: it passes straight through {step}", 1.0 if used else 0.8)
    elif side.same(claimed[~flat], true[~flat]):
        off = int(np.sum(flat & (claimed != 0)))
        score = 0.97 if used else 0.6
        yield Sign(
            "ste", f"is not zero in {off} entries where the true one is: it passes straight through {step}", score
        )


def _rearranged(look: Look, side: Side) -> Iterator[Sign]:
    """The right numbers at the wrong places."""
    claimed, true = side.claimed, side.true
    if claimed.size < 2:
        return
    for axes in itertools.permutations(range(true.ndim)) if 2 <= true.ndim <= 4 else ():
        if axes != tuple(range(true.ndim)):
            turned = true.transpose(axes)
            if turned.shape == true.shape and side.fits(turned):
                yield Sign("transpose", "is the transpose of what it should be", 1.0)
                return
            if turned.shape != true.shape and side.fits(turned.reshape(true.shape)):
                yield Sign("transpose", "is the transpose of what it should be, given another shape", 1.0)
                return
    for axis in range(true.ndim):
        if side.fits(np.roll(np.flip(true, axis), 1, axis)) and true.shape[axis] > 2:
            is_transform = any("fft" in name for name in names_of(look.case.problem.f))
            kind, why = ("conj", ": a conjugate of the spectrum is missing") if is_transform else ("index", "")
            yield Sign(kind, f"is reversed along axis {axis}, but for the first entry{why}", 1.0)
            return
        if side.fits(np.flip(true, axis)):
            yield Sign("index", f"is reversed along axis {axis}", 1.0)
            return
        length = true.shape[axis]
        for shift in range(1, length if length <= 64 else 3):
            for by in (shift, -shift):
                if 2 * shift <= length and side.fits(np.roll(true, by, axis)):
                    yield Sign("index", f"is shifted by {by} along axis {axis}", 1.0)
                    return
                if 4 * shift <= length or shift == 1 < length - 1:
                    here, there = (slice(shift, None), slice(None, -shift))[:: 1 if by > 0 else -1]
                    lead = (slice(None),) * axis
                    if side.same(claimed[(*lead, here)], true[(*lead, there)]):
                        yield Sign("index", f"is shifted by {by} along axis {axis}", 0.95)
                        return
    if side.same(claimed, true):
        return
    a, b = np.sort_complex(claimed.ravel()), np.sort_complex(true.ravel())
    if side.same(a, b) and np.unique(np.round(b / (np.abs(b).max() or 1.0), 6)).size > 1:
        yield Sign("index", "has the right numbers in another order", 0.95)


def _picked(look: Look, side: Side) -> Iterator[Sign]:
    """Entries of the cotangent, or of another argument's gradient, as they should be, but other ones."""
    claimed, true = numbers_of(side.claimed), numbers_of(side.true)
    pools = {"the cotangent": look.case.cotangent}
    pools |= {f"the gradient of {s.name}": numbers_of(s.true) for s in look.sides if s is not side and s.is_known}
    for name, pool in pools.items():
        if not 3 <= claimed.size <= pool.size <= _LARGE or np.unique(claimed).size < 3:
            continue
        if np.array_equal(np.sort(claimed), np.sort(pool)) or not (_all_in(claimed, pool) and _all_in(true, pool)):
            continue
        yield Sign("index", f"consists of entries of {name}, as it should, but of other ones", 0.95)
        return


def _all_in(numbers: Array, pool: Array) -> bool:
    """Whether all that is not zero stands in the pool."""
    nonzero = numbers[numbers != 0]
    near = np.abs(nonzero[:, None] - pool) <= 1e-12 * np.abs(nonzero[:, None])
    return bool(near.any(axis=1).all())


def _unsummed(look: Look, side: Side) -> Iterator[Sign]:
    """One share of a gradient that is a sum over a broadcast axis: the gradient of what it was added to shows them."""
    true = side.true
    for other in look.sides:
        if other is side or not other.is_known or other.true.ndim <= true.ndim:
            continue
        summed = tuple(range(other.true.ndim - true.ndim))
        if not side.same(other.true.sum(axis=summed), true):
            continue
        rows = other.true.reshape(-1, *true.shape)
        if any(side.fits(row) for row in rows[:64]):
            yield Sign("broadcast", f"is one row of what is to be summed, as {other.name} shows", 1.0)
            return


def _lacking(case: Case, side: Side) -> Iterator[Sign]:
    """What is missing is something simple: a multiple of the argument, the cotangent, a constant."""
    claimed, true = side.claimed, side.true
    missing = true - claimed
    if claimed.size < 2 or side.part.is_complex:
        return
    x = side.part.array(case.problem.x)
    size = float(np.abs(missing).max())
    noise = side.tolerance * float(np.abs(true).max())
    if size < 1e2 * noise or not np.any(claimed):
        return

    def is_multiple(of: Arr) -> float:
        length = float(np.sum(of * of))
        c = float(np.sum(missing * of)) / length if length else 0.0
        return c if c and bool(np.all(np.abs(missing - c * of) <= 1e-6 * size + noise)) else 0.0

    c = is_multiple(x)
    if c and float(np.abs(x).max()) > 0 and np.ptp(np.abs(x)) > 0:
        text = f"lacks {c:.6g}·{side.name}, the derivative of a term like {c / 2:.4g}·{side.name}²"
        yield Sign("missing_term", text, 1.0 if _is_written(c) else 0.9)
        return
    c = is_multiple(np.sign(x))
    if c and np.ptp(np.sign(x)) > 0:
        yield Sign("missing_term", f"lacks {c:.6g}·sign({side.name}), the derivative of a term like |{side.name}|", 1.0)
        return
    c = is_multiple(np.ones_like(x))
    if c:
        text = f"lacks a constant, {c:.6g}: the derivative of a linear term"
        yield Sign("missing_term", text, 0.9 if _is_written(c) else 0.8)
        return
    if case.cotangent.size == claimed.size and case.cotangent.size > 1:
        c = is_multiple(case.cotangent.reshape(claimed.shape))
        if c:
            text = "lacks the cotangent itself" if abs(c - 1) < 1e-6 else f"lacks {c:.6g} times the cotangent"
            yield Sign("missing_term", f"{text}: the path that leads around, as in x + g(x), is missing", 1.0)


def _is_written(c: float) -> bool:
    """Whether people write such a coefficient before a term of a loss: a positive one, of few digits."""
    return c > 0 and abs(c - float(f"{c:.3g}")) <= 1e-6 * c


def _few(side: Side, claimed: Arr, true: Arr) -> Iterator[Sign]:
    """Single entries."""
    off = np.flatnonzero(side.off)
    if not 0 < off.size <= max(1, _FEW * claimed.size) or claimed.size < 3:
        return
    places = np.flatnonzero(np.isfinite(side.true).ravel())
    at = [tuple(int(i) for i in np.unravel_index(places[k], side.part.shape)) for k in off[:3]]
    which = ", ".join(str(list(index)) for index in at) + (", ..." if off.size > 3 else "")
    text = f"is off in {off.size} of its {side.claimed.size} entries: {which}"
    yield Sign("entry", text, 0.96 if off.size <= 0.2 * claimed.size or off.size == 1 else 0.85, index=at[0])


# Several arguments, and wrong shapes


def _not_finite(wrong: list[Side]) -> list[Finding]:
    for side in wrong:
        bad = np.argwhere(~np.isfinite(side.claimed) & np.isfinite(side.true))
        if bad.size or (side.claimed.ndim == 0 and not np.isfinite(side.claimed)):
            index = tuple(int(i) for i in bad[0]) if side.claimed.ndim else ()
            value = side.claimed[index]
            text = (
                f"the gradient of {side.name} is {value} in {max(len(bad), 1)} entries: 0/0, or ∞ − ∞, in the backward"
            )
            return [Finding("wrong_formula", text, argument=side.name, index=index, score=0.8)]
    return []


def _other_cotangents(look: Look) -> list[Finding]:
    """Whether the claim is the gradient for another cotangent: ones, a reversed one, a conjugate."""
    case, tape = look.case, look.tape
    if case.cotangent.size < 2 or tape is None or len(tape.roots) != 1:
        return []
    ((root, u),) = tape.roots
    findings: dict[str, Finding] = {}
    for kind, message, other in _cotangents(u):
        if np.array_equal(other, u):
            continue
        found = tape.gradient(tape.walk({}, start=[(root, other)]), case.problem.x.size)
        reached = [s for s in look.wrong if s.is_known and s.fits(s.part.array(found))]
        if not reached or kind in findings or not any(np.any(s.claimed) for s in reached):
            continue
        whole = len(reached) == len(look.wrong)
        names = ", ".join(side.name for side in reached)
        text = f"the gradient{'' if whole else ' of ' + names} is that for {message}"
        findings[kind] = Finding(kind, text, argument=None if whole else names, score=1.0 if whole else 0.6)
    return list(findings.values())


def _cotangents(u: Arr) -> Iterator[tuple[str, str, Arr]]:
    """What a backward may take in the place of the cotangent."""
    yield "ignore_upstream", "ones as the cotangent: what arrives is not used", np.ones_like(u)
    if u.dtype.kind == "c":
        yield "conj", "the conjugate of the cotangent", u.conj()
        yield "conj", "the real part of the cotangent", u.real.astype(u.dtype)
    for axis in range(u.ndim):
        yield "index", f"the cotangent reversed along axis {axis}", np.flip(u, axis)
        for by in (1, -1):
            yield "index", f"the cotangent shifted by {by} along axis {axis}", np.roll(u, by, axis)
    if u.ndim == 2:
        yield "index", "the cotangent reversed along both axes", np.flip(u)
    if u.ndim == 2 and u.shape[0] == u.shape[1]:
        yield "transpose", "the transposed cotangent", u.T
    if u.ndim >= 2:
        yield "transpose", "the cotangent transposed, in another shape", u.T.reshape(u.shape)
        for axis in range(u.ndim):
            mean = np.broadcast_to(u.mean(axis=axis, keepdims=True), u.shape)
            yield "sum_for_mean", f"the mean of the cotangent over axis {axis}", mean


def _swapped(sides: list[Side], wrong: list[Side]) -> list[Finding]:
    """Two gradients in each other's place."""
    for a, b in itertools.combinations(sides, 2):
        if a not in wrong and b not in wrong:
            continue
        if (
            a.claimed.size != b.claimed.size
            or not (a.is_known and b.is_known)
            or a.same(a.true, b.true.reshape(a.true.shape))
        ):
            continue
        crossed = a.fits(b.true.reshape(a.true.shape)), b.fits(a.true.reshape(b.true.shape))
        if not any(crossed) or not np.any(a.claimed):
            continue
        if all(crossed):
            rest = [side for side in wrong if side not in (a, b)]
            text = f"the gradients of {a.name} and {b.name} are exchanged"
            return [Finding("swapped_args", text, argument=a.name, score=0.6 if rest else 1.0)]
        one, other = (a, b) if crossed[0] else (b, a)
        text = f"the gradient of {one.name} is that of {other.name}"
        return [Finding("swapped_args", text, argument=one.name, score=0.95 if len(wrong) == 1 else 0.6)]
    return []


def _misshapen(case: Case) -> list[Finding]:
    """Gradients of another shape than their argument."""
    findings = []
    parts = {part.leaf: part for part in case.problem.parts}
    for leaf, given in case.given.items():
        part = parts[leaf]
        if given is None or given.shape == part.shape or given.size == 1 == part.stop - part.start:
            continue
        true = part.array(case.expected)
        findings.append(_shape_finding(case, part, given, true))
    return findings


def _shape_finding(case: Case, part: Part, given: Arr, true: Arr) -> Finding:
    side = Side(part, given, true, width(part), np.zeros(0, bool))
    start = f"the gradient of {part.path} has shape {given.shape}, {part.path} has {part.shape}: "
    for other in case.problem.parts:
        back = case.given.get(other.leaf)
        if other is not part and other.shape == given.shape and back is not None and back.shape == part.shape:
            text = f"{start}it is exchanged with that of {other.path}"
            return Finding("swapped_args", text, argument=part.path, score=1.0)
    if sorted(given.shape) == sorted(part.shape) and given.ndim > 1:
        exact = side.same(given.T, true)
        return Finding("transpose", f"{start}it is transposed", argument=part.path, score=1.0 if exact else 0.9)
    if given.size == true.size:
        text = f"{start}give it the shape of {part.path}"
        return Finding(
            "broadcast", text, argument=part.path, score=1.0 if side.same(given.reshape(part.shape), true) else 0.8
        )
    lead = given.ndim - true.ndim
    if lead >= 0:
        aligned = (1,) * lead + true.shape
        axes = tuple(i for i, (n, m) in enumerate(zip(given.shape, aligned, strict=True)) if n != m or i < lead)
        if all(aligned[i] == 1 for i in axes):
            summed = given.sum(axis=axes).reshape(true.shape) if true.size == given.sum(axis=axes).size else None
            exact = summed is not None and side.same(summed, true)
            text = f"{start}it is not summed over the axes {axes} that {part.path} is broadcast along"
            return Finding("broadcast", text, argument=part.path, score=1.0 if exact else 0.9)
    return Finding(
        "broadcast", f"{start}it was summed, or broadcast, along the wrong axes", argument=part.path, score=0.8
    )
