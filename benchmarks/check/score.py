"""What a checker said of every pair of the corpus, and what that is worth."""

from __future__ import annotations

import signal
import statistics
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any, Final
from unittest.mock import patch

import numpy as np
from benchmarks.check.plant import OF_F, SUBJECTS, Built, Fault, Subject

from pullback.check.run import check, check_vjp

__all__ = [
    "BLAME",
    "Answer",
    "Checker",
    "Result",
    "Score",
    "by_pullback",
    "cotangent_like",
    "is_small",
    "numbers_of",
    "results_of",
    "score",
    "verdict_of_pullback",
]

# The module that has to find a kind of fault: those that show before anything is differenced, those in the numbers
# themselves, and those that take the true backward to see.
BLAME: Final = {
    **dict.fromkeys("nondeterministic mutates_input aliases_output accumulate side_effect".split(), "preflight"),
    **dict.fromkeys("ignore_upstream dtype".split(), "preflight"),
    **dict.fromkeys("sign factor one_over_n transpose entry swapped_args broadcast zero index".split(), "signatures"),
    **dict.fromkeys("sum_for_mean missing_term wrong_point wrong_formula".split(), "neighbours"),
    **dict.fromkeys("overwrite axis ste conj".split(), "neighbours"),
}


@dataclass(frozen=True)
class Answer:
    """What a checker says of one claim. `verdict` is "confirmed", "refuted", "undecided" or "failed"."""

    verdict: str
    kinds: tuple[str, ...] = ()
    evaluations: int | None = None
    text: str = ""


LIMIT: Final = 20.0  # seconds of the processor for one claim

Checker = Callable[[Built, tuple[Any, ...], int], Answer]


@dataclass(frozen=True)
class Result:
    """One claim, and the answer to it."""

    subject: Subject
    fault: Fault | None
    seed: int
    answer: Answer
    seconds: float
    small: bool  # whether it is a fault that changes no number by 1 %

    @property
    def is_true(self) -> bool:
        """Whether what was claimed is right."""
        return self.fault is None or self.fault.is_right

    @property
    def name(self) -> str:
        return self.subject.name if self.fault is None else f"{self.subject.name}[{self.fault.kind}: {self.fault}]"

    @property
    def is_right(self) -> bool:
        """Whether the answer is."""
        if self.fault is None or self.fault.is_right:
            return self.answer.verdict == "confirmed"
        if self.fault.kind in OF_F:
            return self.answer.verdict != "confirmed"
        return self.answer.verdict == "refuted"

    @property
    def rank(self) -> int:
        """The place of the fault's kind among the kinds that were named, from 1; 0 if it was not named."""
        assert self.fault is not None
        return self.answer.kinds.index(self.fault.kind) + 1 if self.fault.kind in self.answer.kinds else 0

    @property
    def blame(self) -> str:
        """The module that has to do better."""
        if self.fault is None or self.fault.is_right:
            return "slope/compare"
        module = BLAME[self.fault.kind]
        return module if self.is_right or module == "preflight" else "slope/compare"


def by_pullback(built: Built, args: tuple[Any, ...], seed: int) -> Answer:
    """pullback's own answer."""
    report = (check_vjp if built.subject.is_vjp else check)(built.f, built.claim, *args, seed=seed)
    kinds = tuple(dict.fromkeys(finding.kind for finding in report.findings))
    return Answer(report.verdict, kinds, report.evaluations, str(report))


def verdict_of_pullback(built: Built, args: tuple[Any, ...], seed: int) -> Answer:
    """pullback's answer without a search for the explanation, which takes most of the time."""
    with patch("pullback.check.run.explain", lambda case, findings=(): list(findings)):
        return by_pullback(built, args, seed)


def results_of(
    checker: Checker,
    subjects: Sequence[Subject],
    seeds: Sequence[int] = (0,),
    *,
    faults: bool = True,
    only: str = "",
    every: int = 1,
    jobs: int = 1,
) -> list[Result]:
    """The results of a checker, one process or several.

    only   part of a function's name, a group, a family, or a kind.
    every  1 for all claims, 5 for each fifth.
    """

    number = {subject.name: i for i, subject in enumerate(subjects)}

    def of(subject: Subject) -> list[tuple[int, int, Answer, float, bool]]:
        found = []
        for i, fault in enumerate(subject.pairs):
            if only and only not in subject.name and only not in (subject.group, subject.family, fault and fault.kind):
                continue
            if (number[subject.name] + i) % every:
                continue
            if faults or fault is None or fault.is_right:
                found += [(i, seed, *_asked(checker, subject, fault, seed)) for seed in seeds]
        return found

    if jobs > 1:
        global _of
        _of = of
        with get_context("fork").Pool(jobs) as pool:
            found = pool.map(_in_process, [subject.name for subject in subjects], chunksize=1)
    else:
        found = [of(subject) for subject in subjects]
    return [Result(subject, subject.pairs[i], *rest) for subject, rows in zip(subjects, found) for i, *rest in rows]


_of: Callable[[Subject], Any]  # what a forked process has to do


def _in_process(name: str) -> Any:
    return _of(SUBJECTS[name])


def _asked(checker: Checker, subject: Subject, fault: Fault | None, seed: int) -> tuple[Answer, float, bool]:
    """The answer to one claim, the seconds it took, and whether the fault is small."""
    built, args = subject.built(fault), subject.args(seed)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        start = time.process_time()
        try:
            with _limited(LIMIT):
                answer = checker(built, args, seed)
        except Exception as error:  # a checker that breaks has not decided
            answer = Answer("failed", text=f"{type(error).__name__}: {error}")
        seconds = time.process_time() - start
    return answer, seconds, is_small(subject, fault, seed)


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise `TimeoutError` in what takes more of the processor's time, where the system has alarms for it."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: Any) -> None:
        raise TimeoutError(f"it took more than {seconds:g} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def is_small(subject: Subject, fault: Fault | None, seed: int) -> bool:
    """Whether a fault changes every number of the gradient by less than 1 %, and some of them."""
    if fault is None or fault.is_right or fault.kind in (*OF_F, "dtype"):
        return False
    true, claimed = numbers_of(subject, None, seed), numbers_of(subject, fault, seed)
    if [a.shape for a in true] != [b.shape for b in claimed]:
        return False
    off = [np.max(np.abs(a - b) - 0.01 * np.abs(a), initial=-1.0) <= 0 for a, b in zip(true, claimed)]
    return all(off) and any(np.any(a != b) for a, b in zip(true, claimed))


def numbers_of(subject: Subject, fault: Fault | None, seed: int) -> list[np.ndarray[Any, Any]]:
    """The claimed gradients, of a cotangent of the seed."""
    built, args = subject.built(fault), subject.args(seed)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if subject.is_vjp:
            value = np.asarray(built.f(*args))
            cotangent = cotangent_like(value, seed)
            given = built.claim(cotangent, *subject.args(seed))
        else:
            given = built.claim(*args)
    pieces = given if isinstance(given, tuple) else (given,)
    return [np.asarray(np.zeros(0) if piece is None else piece) for piece in pieces]


def cotangent_like(value: np.ndarray[Any, Any], seed: int) -> np.ndarray[Any, Any]:
    """A random cotangent of a value; complex for a complex one."""
    real, imaginary = np.random.default_rng(seed).standard_normal((2, *value.shape))
    return (real + 1j * imaginary if value.dtype.kind == "c" else real).astype(value.dtype)


@dataclass
class Score:
    """The figures of one checker. Shares are from 0 to 1; NaN where there was nothing to judge."""

    false_alarms: dict[str, float] = field(default_factory=dict)  # by group, of the true claims
    found: dict[str, float] = field(default_factory=dict)  # by group, of the faults
    found_small: float = float("nan")
    useful_hard: float = float("nan")
    undecided: float = float("nan")
    first: float = float("nan")
    among_three: float = float("nan")
    evaluations: float = float("nan")
    seconds: float = float("nan")
    claims: int = 0
    faults: int = 0


def score(results: Sequence[Result]) -> Score:
    """The figures of some results."""
    true = [r for r in results if r.is_true]
    faulty = [r for r in results if not r.is_true]
    made = Score(claims=len(true), faults=len(faulty))
    for group in ("ordinary", "hard", "kinks"):
        made.false_alarms[group] = _share(r.answer.verdict == "refuted" for r in true if r.subject.group == group)
        made.found[group] = _share(r.is_right for r in faulty if r.subject.group == group)
    made.found_small = _share(r.is_right for r in faulty if r.small)
    made.useful_hard = _share(r.is_right for r in results if r.subject.group == "hard")
    decidable = [r for r in results if r.fault is None or r.fault.kind not in OF_F]
    made.undecided = _share(r.answer.verdict in ("undecided", "failed") for r in decidable)
    made.first = _share(r.rank == 1 for r in faulty)
    made.among_three = _share(1 <= r.rank <= 3 for r in faulty)
    counted = [r.answer.evaluations for r in results if r.answer.evaluations is not None]
    if counted:
        made.evaluations = float(statistics.median(counted))
    made.seconds = sum(r.seconds for r in results)
    return made


def _share(hits: Iterable[bool]) -> float:
    hits = list(hits)
    return sum(hits) / len(hits) if hits else float("nan")
