"""Results as text, as JSON, and as a page."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pullback as pb
from pullback.check.collect import Result
from pullback.check.report import Finding, excerpt

__all__ = ["as_json", "explanation", "print_results", "write_page"]

_COLUMNS: Final = ("gradient of", "verdict", "kind", "evaluations", "seconds")
_STYLES: Final = {
    "confirmed": "bold green",
    "refuted": "bold red",
    "undecided": "bold yellow",
    "unusable": "bold magenta",
}
_SHOWN, _ENTRIES = 3, 4


def print_results(results: Sequence[Result], seed: int) -> None:
    """Print a table, and what there is to say of those that are not confirmed; with rich if it is installed."""
    if not results:
        return
    rows = [_row(result) for result in results]
    note = f"seed {seed}"
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ModuleNotFoundError:
        print(_plain(rows), note, sep="\n")
    else:
        table = Table(caption=note, caption_justify="left")
        for i, column in enumerate(_COLUMNS):
            table.add_column(column, justify="right" if i > 2 else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell, _STYLES.get(cell, "")) for cell in row))
        Console(file=sys.stdout, width=None if sys.stdout.isatty() else 120).print(table)
    for result in results:
        if result.verdict != "confirmed":
            print()
            print("\n".join(explanation(result)))


def _row(result: Result) -> tuple[str, ...]:
    calls = "" if result.report is None else str(result.report.evaluations)
    name = f"{os.path.basename(result.file)}::{result.name}"
    return name, result.verdict, result.kind, calls, f"{result.seconds:.2f}"


def _plain(rows: Sequence[Sequence[str]]) -> str:
    table = [_COLUMNS, *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(_COLUMNS))]
    aligned = ((c.rjust(w) if i > 2 else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths))) for row in table)
    return "\n".join("  ".join(cells).rstrip() for cells in aligned)


def explanation(result: Result) -> Iterator[str]:
    """What there is to say of a result, line by line: why, and the source lines it is about."""
    yield f"{result.file}:{result.line}: gradient of {result.name}: {result.verdict.upper()}"
    if result.message:
        yield f"  {result.message}"
    if result.report is None:
        return
    explaining = [f for f in result.report.findings if f.kind != "entry" or f.score > 0.1]
    entries = [f for f in result.report.findings if f not in explaining]
    for number, finding in enumerate(explaining[:_SHOWN]):
        yield f"  {'or ' if number else ''}{finding.kind}: {finding.message}"
        yield from _source(finding)
    if result.report.lines:
        yield "  line by line:"
        yield from (f"    {line}" for line in _lines(result.report.lines))
    for finding in entries[:_ENTRIES]:
        yield f"    {finding.message}"
    if len(entries) > _ENTRIES:
        yield f"    and {len(entries) - _ENTRIES} more"


def _source(finding: Finding) -> Iterator[str]:
    """The lines of the user's code around the one a finding points at, which is marked."""
    shown = excerpt(finding.line or "")
    if shown:
        yield f"    {finding.line}"
        yield from (f"    {line}" for line in shown.splitlines())


def _lines(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The table of a hand-written backward: of each line what it is the cotangent of, and whether it is."""
    first = next((row for row in rows if row["verdict"] == "disagrees"), None)
    table = [
        (
            str(row["line"]).rpartition(":")[2],
            str(row["source"])[:60],
            f"cotangent of {row['matches']}" if row["matches"] else "",
            str(row["verdict"]),
        )
        for row in rows
    ]
    widths = [max(len(row[i]) for row in table) for i in range(3)]
    for row, (number, source, matches, verdict) in zip(rows, table):
        mark = ">" if row is first else " "
        yield f"{mark} {number:>{widths[0]}}  {source:{widths[1]}}  {matches:{widths[2]}}  {verdict}".rstrip()


def as_json(results: Sequence[Result], errors: Sequence[str], seed: int) -> str:
    """The results for other programs; what is not finite is null."""
    content = {
        "version": pb.__version__,
        "seed": seed,
        "results": [result.to_dict() for result in results],
        "errors": list(errors),
    }
    return json.dumps(_standard(content), indent=2, default=str)


def _standard(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _standard(x) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return [_standard(x) for x in value]
    if hasattr(value, "item") and not getattr(value, "shape", ()):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_page(results: Sequence[Result], path: Path) -> None:
    """Write the reports as one page. Raises `OSError`."""
    from pullback.show import check_page

    page = check_page([result.report for result in results if result.report is not None])
    path.write_text(page, encoding="utf-8")
