"""What the parts of the demo share: saying, comparing and showing, on the terminal and on the page alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from rich.console import Console
from rich.text import Text

from pullback.show import Section, Table

__all__ = ["Check", "Part", "distance"]


@dataclass(frozen=True)
class Check:
    """A comparison: `error` is to be at most `bound`; or more, where a planted mistake is to be found (`wrong`)."""

    what: str
    error: float
    bound: float
    wrong: bool = False

    @property
    def agrees(self) -> bool:
        """Whether the error is within the bound; NaN is not."""
        return bool(self.error <= self.bound)

    @property
    def ok(self) -> bool:
        return self.agrees != self.wrong

    @property
    def verdict(self) -> str | bool:
        return "caught" if self.wrong and self.ok else self.ok


def distance(found: ArrayLike, expected: ArrayLike) -> float:
    """The largest difference over the largest expected number (over 1 if all are 0); NaN if anything is NaN."""
    a, b = np.asarray(found, float), np.asarray(expected, float)
    if a.shape != b.shape:
        raise ValueError(f"shapes {a.shape} and {b.shape} are compared")
    if a.size == 0:
        raise ValueError("nothing is compared")
    scale = np.abs(b).max()
    return float(np.abs(a - b).max() / (scale if scale > 0 else 1.0))


@dataclass
class Part:
    """One part of the demo while it runs."""

    number: int
    title: str
    out: Path
    console: Console
    quick: bool = False
    checks: list[Check] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.section = Section(f"{self.number}. {self.title}")

    # Checks

    def check(self, what: str, found: ArrayLike, expected: ArrayLike, bound: float, wrong: bool = False) -> Check:
        """Compare numbers, relative to the largest expected one."""
        return self.note(what, distance(found, expected), bound, wrong)

    def note(self, what: str, error: float, bound: float, wrong: bool = False) -> Check:
        """Enter a comparison of which the error is known."""
        self.checks.append(Check(what, float(error), float(bound), wrong))
        return self.checks[-1]

    def table(self, title: str, columns: Sequence[str], note: str = "") -> Table:
        """A table in which every row is a check; see `row`."""
        return Table(title, [*columns, "error", "allowed", "agree?"], note=note)

    def row(self, table: Table, *cells: Any, check: Check) -> None:
        """A row, and what came of its check."""
        table.add(*cells, f"{check.error:.1e}", f"{check.bound:.1e}", check.verdict)

    # Showing

    def say(self, paragraph: str) -> None:
        self.console.print(Text(paragraph), soft_wrap=False)
        self.section.text(paragraph)

    def code(self, text: str) -> None:
        self.console.print(Text(text), soft_wrap=True)
        self.section.code(text)

    def show(self, table: Table) -> None:
        self.console.print()
        self.console.print(table.rich())
        self.console.print()
        self.section.table(table)

    def picture(self, name: str, caption: str, draw: Callable[[Path], object], width: int = 640) -> None:
        """Have `draw` write `name` (.svg or .png) into the output folder, and put it on the page."""
        path = self.out / name
        draw(path)
        self.console.print(Text(f"→ {path}", style="dim"))
        self.section.picture(path, caption, width)

    def skip(self, what: str) -> None:
        """Say that something is left out, and why; the summary repeats it."""
        self.skipped.append(what)
        self.console.print(Text(f"skipped: {what}", style="bold yellow"))
        self.section.text(f"Skipped: {what}")

    @contextmanager
    def timed(self) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds = time.perf_counter() - start
