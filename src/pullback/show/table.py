"""A table that can be printed and put on a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pullback.show.style import missing

if TYPE_CHECKING:
    from rich.table import Table as RichTable

__all__ = ["Table", "format_cell"]


def format_cell(value: Any) -> str:
    """A cell as text: `✓` and `✗` for truth values, six significant digits for numbers."""
    if value is None:
        return ""
    if is_truth(value):
        return "✓" if value else "✗"
    if isinstance(value, float | np.floating):
        return f"{float(value):.6g}"
    return str(value)


def is_truth(value: Any) -> bool:
    return isinstance(value, bool | np.bool_)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not is_truth(value)


@dataclass
class Table:
    """A titled table: rows of text, numbers and truth values under `columns`.

    >>> table = Table("Two numbers", ["name", "value", "right"])
    >>> table.add("a third", 1 / 3, True)
    >>> table.rows
    [('a third', 0.3333333333333333, True)]
    >>> print([format_cell(cell) for cell in table.rows[0]])
    ['a third', '0.333333', '✓']
    """

    title: str
    columns: Sequence[str]
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    note: str = ""

    def add(self, *cells: Any) -> None:
        """Add a row. Raises `ValueError` if it has not one cell for each column."""
        if len(cells) != len(self.columns):
            raise ValueError(f"{len(cells)} cells for {len(self.columns)} columns of {self.title!r}")
        self.rows.append(cells)

    def to_right(self, column: int) -> bool:
        """Whether a column holds numbers, and so stands to the right."""
        cells = [row[column] for row in self.rows if row[column] is not None]
        return bool(cells) and all(map(is_number, cells))

    def rich(self) -> RichTable:
        """The table as rich prints it. Text is shown as it is: markup in it means nothing."""
        try:
            from rich.table import Table as RichTable
            from rich.text import Text
        except ModuleNotFoundError:
            raise missing("rich") from None

        table = RichTable(
            title=Text(self.title, "bold"), title_justify="left", caption=Text(self.note) if self.note else None
        )
        table.caption_justify = "left"
        for i, name in enumerate(self.columns):
            table.add_column(Text(name), justify="right" if self.to_right(i) else "left")
        style = {True: "bold green", False: "bold red"}
        for row in self.rows:
            table.add_row(*(Text(format_cell(cell), style[bool(cell)] if is_truth(cell) else "") for cell in row))
        return table
