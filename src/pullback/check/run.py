"""The checks: `check`, `check_vjp`, `check_jvp`, `check_jacobian`, `check_hessian`."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from pullback.check.adapters import Written, adapter_of, conjugated, spacing
from pullback.check.case import Case
from pullback.check.compare import Examiner, Outcome
from pullback.check.explain import explain, ranked
from pullback.check.forms import NOTHING, own_autodiff, told_apart
from pullback.check.parallel import Spread
from pullback.check.preflight import Flight, is_single, preflight
from pullback.check.problem import EPS, Array, Problem
from pullback.check.reference import reference_gradient, rounding_of
from pullback.check.report import Finding, Report

__all__ = ["check", "check_vjp", "scales_of", "slack_of"]

_SLACK: Final = {2.0**-52: 3e-8, 2.0**-23: 5e-5, 2.0**-10: 2e-2, 2.0**-7: 0.1}  # allowed rounding, by the spacing
_SINGLE: Final = 2e-6  # the rounding, of numbers in float64, of a computation in which some step may be in float32
_ALIKE: Final = 1e-3  # what float32 and float64 may differ by, of the largest number


def check(f: Callable[..., Any], *args: Any, grad: Any = NOTHING, seed: int | None = None, jobs: int = 1) -> Report:
    """Whether a gradient of `f` at `args` is right: confirmed, refuted or undecided.

    `check(f, claim, *args)`: the claim about a scalar function is a function of the arguments, or the numbers; one
    gradient or a tuple with one for each argument. `grad=claim` says the same where the first argument could be
    either. `check(f, *args)`: the claim is the automatic differentiation of the framework that `f` is written in, with
    the backwards that a user has written for it: `torch.autograd.Function` (the class, too), `jax.custom_vjp`,
    `tf.custom_gradient`, `pb.custom_vjp`; with respect to the Tensors that have `requires_grad`, if any has.
    Gradients of complex numbers are in PyTorch's convention, those that JAX returns in JAX's.

    >>> import numpy as np
    >>> report = check(lambda x: np.sum(x**3), lambda x: 3 * x**2, np.array([1.0, 2.0]))
    >>> report.verdict
    'confirmed'
    >>> check(lambda x: np.sum(x**3), np.array([1.0, 2.0])).verdict
    'confirmed'
    """
    claim, args = told_apart(f, args, grad)
    if isinstance(claim, type(NOTHING)):
        own = own_autodiff(f, args)
        written = adapter_of(f, list(args)).written(f)
        source = None if written is None else written.backward
        return _checked(own.f, own.vjp, own.args, seed, scalar=False, source=source, written=written, jobs=jobs)
    gradient = claim if callable(claim) else lambda *_: claim
    source = claim if callable(claim) else None
    return _checked(f, lambda cotangent, *xs: gradient(*xs), args, seed, scalar=True, source=source, jobs=jobs)


def check_vjp(
    f: Callable[..., Any], vjp: Callable[..., Any], *args: Any, seed: int | None = None, jobs: int = 1
) -> Report:
    """Whether `vjp(cotangent, *args)` pulls cotangents of `f(*args)` back to those of the arguments."""
    return _checked(f, vjp, args, seed, scalar=False, source=vjp, jobs=jobs)


def _checked(
    f: Any,
    vjp: Any,
    args: Sequence[Any],
    seed: int | None,
    scalar: bool,
    source: Any = None,
    written: Written | None = None,
    jobs: int = 1,
) -> Report:
    seed = secrets.randbelow(2**32) if seed is None else seed
    rng = np.random.default_rng(seed)
    problem = Problem(f, args)
    flight = preflight(problem, conjugated(vjp), rng, scalar)
    report = Report("undecided", flight.findings, reason=flight.reason, seed=seed, name=getattr(f, "__name__", "f"))
    outcome = Outcome("undecided", flight.reason)
    reference = None
    coarsest = max(map(spacing, problem.floats(flight.result)))
    claimed = flight.claim.vector
    if flight.verdict != "undecided":
        u, claim = flight.cotangent, flight.claim
        reference = reference_gradient(problem, u)
        eps = problem.widen(flight.result)
        slack = slack_of(coarsest)
        if problem.double and flight.verdict is None:
            claimed, slack = _sharper(flight, slack)
        examiner = Examiner(
            Spread(problem, u, jobs),
            problem.x,
            claimed,
            scales_of(problem),
            rng,
            places=claim.places,
            reference=reference,
            unsure=None if reference is None else rounding_of(problem, u, reference),
            slack=slack,
            eps=eps,
        )
        outcome = examiner.examine()
        report.verdict = flight.verdict or outcome.verdict
        report.reason = outcome.reason
        if report.verdict == "confirmed" and outcome.expected is not None and coarsest <= EPS:
            lost = is_single(problem, claim.vector, outcome.expected)
            if lost is not None:
                report.verdict = "refuted"
                report.findings.append(lost)
        shared = flight.landed()
        report.findings += shared
        if report.verdict == "confirmed" and report.findings:
            report.verdict, report.reason = "undecided", "the gradient is right, but the function is not safe to call"
    if outcome.expected is None:
        outcome.expected = np.full_like(problem.x, np.nan)
        for entry in outcome.wrong:
            outcome.expected[entry.place] = entry.expected
    with problem.doubled():
        case = Case(
            problem,
            flight.cotangent,
            claimed,
            flight.claim.places,
            outcome.expected,
            outcome,
            again=flight.again,
            backward=vjp,
            source=source,
            given=flight.claim.given,
            written=written,
        )
        if report.verdict == "refuted":
            wrong = outcome.verdict == "refuted" or flight.claim.findings
            report.findings = explain(case, report.findings) if wrong else ranked(report.findings)
            report.lines = case.lines
        else:
            report.findings = ranked(report.findings)
    report.findings = report.findings + entries(problem, outcome)
    report.arguments = summaries(case)
    report.evaluations = problem.calls
    return report


def _sharper(flight: Flight, slack: float) -> tuple[Array, float]:
    """The claim as the backward makes it of float64 numbers, if that is no other claim, and the rounding it is allowed:
    something inside may still be float32.
    """
    given = flight.claim.vector
    if flight.again is None:
        return given, slack
    try:
        with flight.problem.doubled():
            found = flight.again(flight.cotangent)
    except Exception:  # a backward that is made for float32
        return given, slack
    for part in flight.problem.parts:
        a, b = given[part.start : part.stop], found[part.start : part.stop]
        if not np.all(np.abs(a - b) <= _ALIKE * np.abs(b).max(initial=0.0)):
            return given, slack
    return found, _SINGLE


def slack_of(eps: float) -> float:
    """The rounding that a claim is allowed, in numbers of this spacing."""
    return next((slack for spacing, slack in _SLACK.items() if eps <= spacing), 0.1)


def summaries(case: Case) -> list[dict[str, Any]]:
    """Of each argument that is claimed: its name, its shape, the claimed numbers and what they should be."""
    found = []
    for part in case.problem.parts:
        if part.leaf not in case.given:
            continue
        given = case.given[part.leaf]
        expected = part.array(case.expected)
        found.append(
            {
                "name": part.path,
                "shape": list(part.shape),
                "dtype": str(part.dtype),
                "claimed": "None" if given is None else _summary(given),
                "claimed_shape": None if given is None else list(given.shape),
                "expected": _summary(expected) if np.isfinite(expected).any() else "unknown",
            }
        )
    return found


def _summary(array: np.ndarray[Any, Any]) -> str:
    return np.array2string(array, precision=4, threshold=20, edgeitems=2, separator=", ")


def scales_of(problem: Problem) -> Array:
    """How far it makes sense to move each number: its size, or that of its neighbours if it is 0."""
    scales = np.abs(problem.x)
    for part in problem.parts:
        piece = scales[part.start : part.stop]
        filled = piece[piece > 0]
        piece[piece == 0] = float(np.median(filled)) if filled.size else 1.0
    return scales


def entries(problem: Problem, outcome: Outcome) -> list[Finding]:
    """The wrong entries as findings, and the kinks."""
    found = []
    for wrong in outcome.wrong:
        name, path, index = _entry(problem, wrong.place)
        text = f"{name} is claimed {wrong.claimed:.6g}, and should be {wrong.expected:.6g} ± {wrong.bound:.1g}"
        found.append(Finding("entry", text, path, index, wrong.claimed, wrong.expected, wrong.bound, score=0.1))
    refuted = {wrong.place: wrong.claimed for wrong in outcome.wrong}
    for place, low, high in outcome.kinks:
        name, path, index = _entry(problem, place)
        is_outside = not low <= refuted.get(place, low) <= high
        text = f"the function has a kink along {name}, with slopes {low:.6g} and {high:.6g}: "
        text += "the claim is not between them" if is_outside else "the claim is one of the conventions there are"
        found.append(Finding("kink", text, argument=path, index=index, score=0.05))
    return found


def _entry(problem: Problem, place: int) -> tuple[str, str, tuple[int, ...]]:
    """How to call an entry of the vector; the array it belongs to, and its index in it."""
    part = next(p for p in problem.parts if p.start <= place < p.stop)
    index = part.index(place)
    return f"{part.path}{list(index) if index else ''}", part.path, index
