"""What shows of a function and of its backward before any differences are taken: both are watched while they run.

The function is run twice at the same point, the backward twice with the same cotangent and once with another one, and
whatever they could have changed is compared with how it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from pullback.check.adapters import adapter_for, is_inexact, spacing
from pullback.check.claim import Claim, read_claim
from pullback.check.compare import Verdict
from pullback.check.problem import Array, Problem, numbers_of, vector_of
from pullback.check.report import Finding
from pullback.transforms.tree import flatten

__all__ = ["Flight", "is_short", "is_single", "preflight"]

_SAME: Final = {8: 1e-9, 4: 1e-4, 2: 1e-2}  # what repeated calls may differ by, of the largest number, by bytes
_SHORT: Final = 12  # a float64 of no more significant bits than this may well be exact


class Watched:
    """Arrays in nested containers, as they were when this was made."""

    def __init__(self, what: Any) -> None:
        self._leaves = [x for x in flatten(what)[0] if hasattr(x, "dtype") and hasattr(x, "shape")]
        self._numbers = [adapter_for(x).array(x) for x in self._leaves]

    def changed(self) -> bool:
        """Whether one of them is another now."""
        now = (adapter_for(x).array(x) for x in self._leaves)
        return any(a.tobytes() != b.tobytes() for a, b in zip(now, self._numbers, strict=True))


@dataclass
class Flight:
    """What was found: the claim, the cotangent it is for, and findings that need no derivative.

    verdict  what follows of them alone, if anything does.
    again    runs the backward on fresh arguments, for any cotangent (as a vector), after the function.
    """

    problem: Problem
    cotangent: Array
    result: Any
    claim: Claim
    again: Callable[[Array], Array] | None = None
    verdict: Verdict | None = None
    reason: str = ""
    findings: list[Finding] = field(default_factory=list)
    kept: list[tuple[str, Watched]] = field(default_factory=list)

    def landed(self) -> list[Finding]:
        """What shows after differences were taken: what was returned at first, and is another by now."""
        names = [name for name, watched in self.kept if watched.changed()]
        if any(finding.kind in ("accumulate", "side_effect") for finding in self.findings):
            names = [name for name in names if name != "backward"]  # which says the same
        return [
            Finding(
                "aliases_output",
                f"what the {name} returned was changed by the next call: "
                "it returns memory that it uses again; return a copy",
                score=0.95,
            )
            for name in names
        ]


def preflight(problem: Problem, backward: Any, rng: np.random.Generator, scalar: bool) -> Flight:
    """Run the function and the backward, `(cotangent, *args) -> gradients`, watched.

    Raises `TypeError` and `ValueError` for arguments, a function or gradients that can't be checked.
    """
    if not problem.x.size:
        raise TypeError(_no_floats(problem))
    findings: list[Finding] = []
    args, kwargs = problem.arguments()
    before = Watched((args, kwargs))
    problem.calls += 1
    result = problem.f(*args, **kwargs)
    if before.changed():
        findings.append(
            Finding(
                "mutates_input",
                "the function changes its arguments: its derivative is that at the arguments as they were before, "
                "and a backward that sees the changed ones computes another",
                score=0.95,
            )
        )
    cotangent = _cotangent(result, rng, scalar)
    value = vector_of(result)
    run = _Backward(problem, backward, result)
    kept = Watched(result)
    around = [("what it was called with before", Watched((args, kwargs))), ("what the function returned", kept)]
    claim = run(cotangent)
    flight = Flight(problem, cotangent, result, claim, findings=findings, kept=[("function", kept)])
    flight.kept.append(("backward", Watched(run.returned)))
    findings += claim.findings
    changes = run.changes + [name for name, watched in around if watched.changed()]
    if changes:
        findings.append(
            Finding("side_effect", f"the backward changes {changes[0]}: work on a copy, or out of place", score=1.0)
        )
        flight.verdict = "refuted"
    _call_again(flight, run, rng, scalar)
    _function_again(flight, value)
    if claim.findings and flight.verdict is None:
        flight.verdict = "refuted"
    if any(f.kind == "nondeterministic" for f in findings):
        flight.verdict, flight.reason = "undecided", "the function gives different values for the same arguments"
    elif dtype := _lost_precision(flight):
        findings.append(dtype)
        flight.verdict = "refuted"
    flight.again = run.after_function
    return flight


class _Backward:
    """The user's backward: runs it on fresh arguments and reads what it returns."""

    def __init__(self, problem: Problem, backward: Callable[..., Any], result: Any) -> None:
        self.problem, self.backward = problem, backward
        self.outputs, self.tree = flatten(result)
        self.returned: Any = None
        self.changes: list[str] = []  # what it was seen to change

    def __call__(self, cotangent: Array) -> Claim:
        args, kwargs = self.problem.arguments()
        given = self.containers(cotangent)
        watched = [("the cotangent it is given", Watched(given))]
        for part in self.problem.parts:
            argument = args[part.argument] if isinstance(part.argument, int) else kwargs[part.argument]
            watched.append((f"its argument {part.path.partition('[')[0]}", Watched(argument)))
        self.returned = self.backward(given, *args, **kwargs)
        claim = read_claim(self.problem, self.returned)
        self.changes = [name for name, arrays in watched if arrays.changed()]
        return claim

    def after_function(self, cotangent: Array) -> Array:
        """The claim for a cotangent, the function having been run before at the same point."""
        self.problem.result()
        return self(cotangent).vector

    def containers(self, cotangent: Array) -> Any:
        """A cotangent in the containers of the function's result."""
        leaves, start = [], 0
        for output in self.outputs:
            array = adapter_for(output).array(output)
            if not is_inexact(output):
                leaves.append(output)
                continue
            size = array.size * (2 if array.dtype.kind == "c" else 1)
            piece = cotangent[start : start + size].copy()
            start += size
            numbers = piece.view(np.complex128) if array.dtype.kind == "c" else piece
            leaves.append(adapter_for(output).like(output, numbers.reshape(array.shape).astype(array.dtype)))
        return self.tree.unflatten(leaves)


def _cotangent(result: Any, rng: np.random.Generator, scalar: bool) -> Array:
    value = vector_of(result)
    if not scalar:
        if not value.size:
            raise TypeError(
                f"the function returns no floats, but {_described(result)}: there is nothing to differentiate"
            )
        coarsest = max(map(spacing, (x for x in flatten(result)[0] if is_inexact(x))))
        single = np.float64 if coarsest <= 2.0**-52 else np.float32 if coarsest <= 2.0**-23 else np.float16
        return rng.standard_normal(value.size).astype(single).astype(np.float64)  # exact in the result's dtype
    outputs = flatten(result)[0]
    if len(outputs) == 1 and not is_inexact(outputs[0]) and np.size(outputs[0]) == 1:
        raise TypeError(f"the function returns {_described(result)}: there is nothing to differentiate")
    if value.size != 1 or len(outputs) != 1:
        raise ValueError(
            f"the function returns {_described(result)}, not one real number: use check_vjp(f, vjp, *args), "
            "whose vjp takes a cotangent, or reduce the result, for instance to its sum"
        )
    return np.ones(1)


def _described(result: Any) -> str:
    shape = getattr(result, "shape", None)
    dtype = f" of {result.dtype}" if hasattr(result, "dtype") else ""
    return f"an array of shape {tuple(shape)}{dtype}" if shape else f"{type(result).__name__}{dtype}"


def _no_floats(problem: Problem) -> str:
    kinds = ", ".join(_described(x).replace("an array", "array") for x in (*problem.args, *problem.kwargs.values()))
    return (
        f"there are no floats among the arguments ({kinds or 'none at all'}): derivatives are with respect to floats; "
        "write 3.0 for 3, and x.astype(float) for an array of integers"
    )


# What calls that are repeated show


def _call_again(flight: Flight, run: _Backward, rng: np.random.Generator, scalar: bool) -> None:
    """Call the backward again with the same cotangent, and with another."""
    first = flight.claim
    try:
        second = run(flight.cotangent)
    except Exception:  # a backward may use up what the function has left for it
        flight.problem.result()
        second = run(flight.cotangent)
    off = _differing(flight.problem, first.vector, second.vector)
    if off:
        third = run(flight.cotangent)
        grown = second.vector - first.vector
        grows = grown @ first.vector > 0 and not _differing(flight.problem, third.vector - second.vector, grown)
        names = _listed(off)
        if grows:
            twice = not _differing(flight.problem, second.vector, 2 * first.vector, of=off)
            text = (
                "the second call of the backward returned twice the first"
                if twice
                else "every call of the backward adds the same to what the last one returned"
            )
            finding = Finding("accumulate", f"{text} ({names}): a buffer is not reset to zero", score=1.0)
        else:
            text = f"the second call of the backward, with the same arguments, returned something else ({names}): "
            finding = Finding("side_effect", text + "it changes something that it keeps", score=1.0)
        finding.argument = off[0] if len(off) == 1 else None
        flight.findings.append(finding)
        flight.verdict = "refuted"
    elif not scalar:
        other = rng.standard_normal(flight.cotangent.size)
        try:
            third = run(other)
        except Exception:
            flight.problem.result()
            third = run(other)
        _cotangent_matters(flight, third.vector)


def _cotangent_matters(flight: Flight, other: Array) -> None:
    """Whether the claim is another for another cotangent."""
    problem, claim = flight.problem, flight.claim.vector
    nonzero = [p for p in problem.parts if np.any(claim[p.start : p.stop])]
    same = [p.path for p in nonzero if np.array_equal(claim[p.start : p.stop], other[p.start : p.stop])]
    if same:
        which = "" if len(same) == len(nonzero) else f" of {_listed(same)}"
        flight.findings.append(
            Finding(
                "ignore_upstream",
                f"the gradient{which} is the same for another cotangent: the cotangent that arrives is not used",
                argument=same[0] if len(same) < len(nonzero) else None,
                score=1.0,
            )
        )


def _function_again(flight: Flight, value: Array) -> None:
    """Call the function again at the same point."""
    problem = flight.problem
    again = vector_of(problem.result())
    if _same(value, again):
        return
    third = vector_of(problem.result())
    off = float(np.nanmax(np.abs(again - value), initial=0.0)) if again.shape == value.shape else float("nan")
    if _same(again, third):
        text = (
            f"the function gives another value (by {off:.3g}) after the backward was called: it changes what both use"
        )
        flight.findings.append(Finding("side_effect", text, score=1.0))
        flight.verdict = "refuted"
    else:
        text = f"two calls of the function at the same point differ by {off:.3g}: fix the seed of what is random in it"
        flight.findings.append(Finding("nondeterministic", text, score=1.0))


def _same(a: Array, b: Array) -> bool:
    if a.shape != b.shape:
        return False
    size = float(np.nanmax(np.abs(a), initial=0.0))
    return bool(np.all((np.abs(a - b) <= 1e-9 * size) | (a == b) | (np.isnan(a) & np.isnan(b))))


def _differing(problem: Problem, a: Array, b: Array, of: list[str] | None = None) -> list[str]:
    """The paths of the parts in which two vectors differ by more than rounding."""
    found = []
    for part in problem.parts:
        if of is not None and part.path not in of:
            continue
        x, y = a[part.start : part.stop], b[part.start : part.stop]
        width = part.dtype.itemsize // (2 if part.is_complex else 1)
        size = max(float(np.nanmax(np.abs(v), initial=0.0)) for v in (x, y))
        if not np.all(
            (np.abs(x - y) <= _SAME.get(min(width, 8), 1e-2) * size) | (np.isnan(x) & np.isnan(y)) | (x == y)
        ):
            found.append(part.path)
    return found


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _lost_precision(flight: Flight) -> Finding | None:
    """A gradient in single precision where argument and result are in double."""
    outputs = [adapter_for(x).array(x).dtype for x in flatten(flight.result)[0] if is_inexact(x)]
    if any(d.itemsize < (16 if d.kind == "c" else 8) for d in outputs):
        return None
    for part in flight.problem.parts:
        array = flight.claim.given.get(part.leaf)
        if array is None or part.dtype not in (np.float64, np.complex128):
            continue
        if array.dtype in (np.float16, np.float32, np.complex64) and not is_short(numbers_of(array)):
            text = f"the gradient of {part.path} is {array.dtype}, {part.path} is {part.dtype}: precision is lost"
            return Finding("dtype", text, argument=part.path, score=1.0)
    return None


def is_single(problem: Problem, claim: Array, expected: Array) -> Finding | None:
    """Whether a claim in double precision consists of numbers in single precision, which the true ones do not."""
    for part in problem.parts:
        numbers, true = claim[part.start : part.stop], expected[part.start : part.stop]
        if part.dtype not in (np.float64, np.complex128) or not np.isfinite(true).all():
            continue
        with np.errstate(over="ignore"):
            single = numbers.astype(np.float32)
            off = np.abs(numbers - true) > 1e-9 * np.abs(true)
            if (
                np.array_equal(numbers, single)
                and 2 * off.sum() > off.size
                and np.array_equal(true.astype(np.float32), single)
            ):
                text = f"the gradient of {part.path} has been through single precision: it is right to 7 digits only"
                return Finding("dtype", text, argument=part.path, score=1.0)
    return None


def is_short(numbers: Array) -> bool:
    """Whether all numbers have so few significant bits that they may well be exact."""
    mantissa, _ = np.frexp(numbers[np.isfinite(numbers)])
    scaled = mantissa * 2.0**_SHORT
    return bool(np.all(scaled == np.round(scaled)))
