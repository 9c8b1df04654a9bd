"""One HTML page from text, tables, pictures and code: a single file that opens offline, light or dark."""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pullback.show.style import COLOURS
from pullback.show.table import Table, format_cell, is_truth

__all__ = ["Section", "page", "report"]

_KINDS = {".svg": "image/svg+xml", ".png": "image/png"}


@dataclass
class Section:
    """A part of a page: a title and what stands under it, in order.

    >>> section = Section("Descent").text("x goes down the slope.").code("x -= 0.1 * x.grad")
    >>> len(section.blocks)
    2
    """

    title: str
    blocks: list[str] = field(default_factory=list)  # finished HTML

    def text(self, paragraph: str) -> Section:
        """A paragraph of plain text."""
        self.blocks.append(f"<p>{html.escape(paragraph)}</p>")
        return self

    def code(self, source: str) -> Section:
        """Text in a fixed-width font, as it is."""
        self.blocks.append(f"<pre>{html.escape(source)}</pre>")
        return self

    def list(self, items: Sequence[str]) -> Section:
        """Lines of plain text, one under the other, numbered."""
        self.blocks.append("<ol>" + "".join(f"<li>{html.escape(item)}</li>" for item in items) + "</ol>")
        return self

    def table(self, table: Table) -> Section:
        """A table."""
        self.blocks.append(_table(table))
        return self

    def picture(self, path: str | os.PathLike[str], caption: str, width: int | None = None) -> Section:
        """A picture file (.svg or .png), put into the page itself; `width` in pixels, at most that of the page.

        Raises `ValueError` for another kind of file.
        """
        path = Path(path)
        kind = _KINDS.get(path.suffix.lower())
        if kind is None:
            raise ValueError(f"a page shows .svg and .png pictures, not {path.name!r}")
        data = base64.b64encode(path.read_bytes()).decode("ascii")
        size = f' style="width:{int(width)}px"' if width else ""
        text = html.escape(caption)
        self.blocks.append(
            f'<figure><img src="data:{kind};base64,{data}" alt="{text}"{size}><figcaption>{text}</figcaption></figure>'
        )
        return self


def _table(table: Table) -> str:
    align = [' class="number"' if table.to_right(i) else "" for i in range(len(table.columns))]
    head = "".join(f"<th{a}>{html.escape(name)}</th>" for a, name in zip(align, table.columns, strict=True))
    rows = []
    for row in table.rows:
        cells = []
        for cell, a in zip(row, align, strict=True):
            text = html.escape(format_cell(cell))
            mark = f' class="{"yes" if cell else "no"}"' if is_truth(cell) else a
            cells.append(f"<td{mark}>{text}</td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    note = f'<p class="note">{html.escape(table.note)}</p>' if table.note else ""
    return (
        f'<div class="table"><table><caption>{html.escape(table.title)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>{note}"
    )


def _variables(shade: int) -> str:
    return "".join(f"--{name.replace(' ', '-')}:{pair[shade]};" for name, pair in COLOURS.items())


_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # nothing is fetched, nothing runs
_STYLE = f"""
:root{{color-scheme:light dark;{_variables(0)}}}
@media (prefers-color-scheme: dark){{:root{{{_variables(1)}}}}}
*{{box-sizing:border-box}}
body{{margin:0 auto;padding:2rem 1.25rem 4rem;max-width:66rem;background:var(--paper);color:var(--ink);
  font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}}
h1{{font-size:1.9rem;line-height:1.2;margin:0 0 .75rem}}
h2{{font-size:1.3rem;margin:2.75rem 0 .5rem;padding-top:1.25rem;border-top:1px solid var(--line)}}
p{{max-width:46rem;margin:.6rem 0}}
nav ul{{list-style:none;padding:0;margin:.75rem 0}}
a{{color:var(--blue)}}
.table{{overflow-x:auto;margin:1.1rem 0 .4rem}}
table{{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums}}
caption{{text-align:left;font-weight:600;padding-bottom:.4rem}}
th,td{{padding:.32rem .8rem .32rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}}
th{{color:var(--muted);font-weight:600;white-space:nowrap}}
.number{{text-align:right;white-space:nowrap}}
.yes{{color:var(--green);font-weight:700}}
.no{{color:var(--red);font-weight:700}}
.note,figcaption{{color:var(--muted);font-size:.85rem}}
pre{{overflow-x:auto;padding:.8rem 1rem;border:1px solid var(--line);border-radius:6px;
  font-size:.82rem;line-height:1.45;font-family:ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace}}
figure{{margin:1.25rem 0}}
img{{max-width:100%;height:auto;border-radius:4px}}
"""


def page(title: str, sections: Sequence[Section], summary: str = "", style: str = "") -> str:
    """One self-contained page: no network, no script, every text escaped. `style`: rules for blocks of its own."""
    heading = html.escape(title)
    links = "".join(f'<li><a href="#s{i}">{html.escape(s.title)}</a></li>' for i, s in enumerate(sections, 1))
    body = "\n".join(
        f'<section id="s{i}"><h2>{html.escape(s.title)}</h2>\n' + "\n".join(s.blocks) + "\n</section>"
        for i, s in enumerate(sections, 1)
    )
    lead = f"<p>{html.escape(summary)}</p>" if summary else ""
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{heading}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><style>{_STYLE}{style}</style></head>\n'
        f"<body>\n<h1>{heading}</h1>\n{lead}<nav><ul>{links}</ul></nav>\n{body}\n</body></html>\n"
    )


def report(title: str, sections: Sequence[Section], path: str | os.PathLike[str], summary: str = "") -> Path:
    """Write one self-contained page; see `page`. Returns the path.

    Missing folders are made; a page that was there is replaced.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(title, sections, summary), encoding="utf-8")
    return path
