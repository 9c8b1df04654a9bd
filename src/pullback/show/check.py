"""The page of a check: for each function the verdict, what explains it, the lines it points at, and the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pullback.check.report import Finding, Report, excerpt
from pullback.show.page import Section, page
from pullback.show.table import Table

__all__ = ["check_page"]


def check_page(reports: Sequence[Report], title: str = "Gradients, checked") -> str:
    """One self-contained HTML page about the results of checks.

    >>> from pullback.check import check
    >>> import numpy as np
    >>> "CONFIRMED" in check_page([check(np.sin, np.cos, 0.5)])
    True
    """
    counts = [f"{sum(r.verdict == v for r in reports)} {v}" for v in ("confirmed", "refuted", "undecided")]
    overview = Section("Overview").table(
        Table(
            "Every function that was checked",
            ["function", "verdict", "first explanation", "evaluations", "seed"],
            [(r.name, r.verdict, r.findings[0].kind if r.findings else "", r.evaluations, r.seed) for r in reports],
        )
    )
    return page(title, [overview, *map(_section, reports)], ", ".join(counts) + ".")


def _section(report: Report) -> Section:
    section = Section(f"{report.name}: {report.verdict.upper()}")
    if report.reason:
        section.text(report.reason)
    if report.findings:
        section.list([f"{f.kind}: {f.message}" for f in report.findings])
    shown: set[str] = set()
    for finding in report.findings:
        if finding.line and finding.line not in shown:
            shown.add(finding.line)
            source = excerpt(finding.line)
            if source:
                section.text(f"{finding.kind}, {finding.line}").code(source)
    if report.lines:
        section.table(_lines(report.lines))
    entries = [f for f in report.findings if f.index is not None]
    if entries:
        section.table(_entries(entries))
    if report.arguments:
        section.table(_arguments(report.arguments))
    return section


def _lines(lines: Sequence[dict[str, Any]]) -> Table:
    """The table of a hand-written backward, line by line."""
    columns = list(dict.fromkeys(key for row in lines for key in row))
    return Table("The backward, line by line", columns, [tuple(row.get(key, "") for key in columns) for row in lines])


def _entries(entries: Sequence[Finding]) -> Table:
    return Table(
        "Entries",
        ["argument", "index", "claimed", "expected", "± at most"],
        [(str(f.argument), str(list(f.index or ())), f.claimed, f.expected, f.bound) for f in entries],
    )


def _arguments(arguments: Sequence[dict[str, Any]]) -> Table:
    columns = list(dict.fromkeys(key for row in arguments for key in row))
    return Table("Arguments", columns, [tuple(str(row.get(key, "")) for key in columns) for row in arguments])
