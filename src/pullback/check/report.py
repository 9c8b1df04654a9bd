"""What a check found, as an object: the verdict, the findings, how it was come to."""

from __future__ import annotations

import html
import linecache
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from pullback.check.compare import Verdict

__all__ = ["KINDS", "Finding", "GradientError", "Report", "excerpt", "page_maker"]

KINDS: Final[dict[str, str]] = {
    "sign": "the sign is the other one",
    "factor": "a constant factor is off",
    "one_over_n": "the 1/n of a mean is missing, or one too many",
    "sum_for_mean": "a sum was taken where a mean belongs, or the reverse, over one axis",
    "transpose": "the gradient is transposed",
    "entry": "single entries are off",
    "missing_term": "a term, a path through the graph, is missing",
    "wrong_point": "a local derivative was taken at the wrong point",
    "wrong_formula": "a local derivative is wrong",
    "broadcast": "the sum over a broadcast axis is missing or wrong",
    "swapped_args": "the gradients of two arguments are exchanged",
    "accumulate": "gradients pile up from call to call",
    "overwrite": "a share of the gradient was overwritten where it should be added",
    "ignore_upstream": "the cotangent that arrives is not used",
    "index": "entries stand at the wrong index",
    "axis": "a reduction was over the wrong axis",
    "zero": "the gradient is zero, or is missing, where it is not",
    "dtype": "precision was lost, or integers were differentiated",
    "side_effect": "the backward changes its inputs, or what it keeps",
    "ste": "a function without a useful derivative was passed straight through",
    "conj": "a complex conjugate is missing, or one too many",
    "kink": "the function has a kink here: what is claimed is one of several conventions",
    "nondeterministic": "the function gives different values for the same arguments",
    "mutates_input": "the function changes its arguments",
    "aliases_output": "the function returns the same memory from call to call",
}


class GradientError(AssertionError):
    """A claimed gradient was refuted. `report` has the details."""

    def __init__(self, report: Report) -> None:
        super().__init__(str(report))
        self.report = report


@dataclass
class Finding:
    """One thing that was found, or one explanation of what was found.

    kind      one of `KINDS`.
    message   a sentence for the user.
    argument  the argument it is about, by name or position; None if it is about the function.
    index     the index of an entry within that argument.
    claimed, expected, bound  numbers of that entry, or of the ratio that was found.
    line      the line of the user's code it points at, `file:line`.
    step      the step of the forward or backward it concerns, as source text or the name of an op.
    score     how well it explains the claimed numbers, 0 to 1; findings are ordered by it.
    """

    kind: str
    message: str
    argument: str | int | None = None
    index: tuple[int, ...] | None = None
    claimed: float | None = None
    expected: float | None = None
    bound: float | None = None
    line: str | None = None
    step: str | None = None
    score: float = 0.5


def excerpt(line: str, around: int = 2) -> str:
    """The source around a line given as `file:line`, the line marked; empty if it can't be read."""
    name, _, number = line.rpartition(":")
    if not number.isdigit():
        return ""
    at = int(number)
    shown = [(n, linecache.getline(name, n)) for n in range(max(1, at - around), at + around + 1)]
    if not linecache.getline(name, at):
        return ""
    return "\n".join(f"{'>' if n == at else ' '} {n:4} {text.rstrip()}" for n, text in shown if text)


page_maker: list[Callable[[Sequence[Report]], str]] = []  # what makes pages stands above this room, and enters itself


def _page(reports: Sequence[Report]) -> str:
    if not page_maker:
        raise RuntimeError("pages are made by pullback.show: import pullback")
    return page_maker[0](reports)


@dataclass
class Report:
    """The result of a check. It is true only if the gradient was confirmed."""

    verdict: Verdict
    findings: list[Finding] = field(default_factory=list)
    evaluations: int = 0
    reason: str = ""
    seed: int = 0
    name: str = "f"
    what: str = "gradient"
    lines: list[dict[str, Any]] = field(default_factory=list)  # the table of a hand-written backward, line by line
    arguments: list[dict[str, Any]] = field(default_factory=list)  # per argument: name, shape, claimed, expected

    def __bool__(self) -> bool:
        return self.verdict == "confirmed"

    def raise_if_refuted(self) -> Report:
        """Raise `GradientError` if the gradient was refuted; else give the report."""
        if self.verdict == "refuted":
            raise GradientError(self)
        return self

    def to_dict(self) -> dict[str, Any]:
        """All of it as numbers, strings, lists and dicts, for JSON."""
        return asdict(self)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the report as one HTML page that opens offline. Returns the path.

        Raises `RuntimeError` where only the checker was imported and not the package, which makes pages.
        """
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_page([self]), encoding="utf-8")
        return target

    def _repr_html_(self) -> str:
        return f'<iframe srcdoc="{html.escape(_page([self]))}" style="width:100%;height:36rem;border:0"></iframe>'

    def __rich__(self) -> Any:
        from rich.markup import escape
        from rich.text import Text

        colour = {"confirmed": "green", "refuted": "red", "undecided": "yellow"}[self.verdict]
        first, *rest = str(self).splitlines()
        head = escape(first).replace(self.verdict.upper(), f"[bold {colour}]{self.verdict.upper()}[/]", 1)
        return Text.from_markup("\n".join([head, *map(escape, rest)]))

    def __str__(self) -> str:
        lines = [
            f"{self.what} of {self.name}: {self.verdict.upper()} ({self.evaluations} evaluations, seed {self.seed})"
        ]
        if self.reason:
            lines.append(f"  {self.reason}")
        for finding in self.findings:
            where = f" [{finding.line}]" if finding.line else ""
            lines.append(f"  {finding.kind}: {finding.message}{where}")
        return "\n".join(lines)
