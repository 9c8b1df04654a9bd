"""Tables in the terminal."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

__all__ = ["show"]


def show(headings: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None) -> None:
    """Print a table; with rich where it is installed. Headings that begin with ">" are above numbers."""
    names = [heading.removeprefix(">") for heading in headings]
    if importlib.util.find_spec("rich"):
        from rich.console import Console
        from rich.table import Table

        table = Table(title=title)
        for heading, name in zip(headings, names, strict=True):
            table.add_column(name, justify="right" if heading != name else "left")
        for row in rows:
            table.add_row(*row)
        console = Console()
        console.print(table) if console.is_terminal else Console(width=200).print(table)
        return
    widths = [max(len(row[i]) for row in (names, *rows)) for i in range(len(names))]
    if title:
        print(title)
    for row in (names, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
