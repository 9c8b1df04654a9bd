"""One look for every picture: its colours, its fonts, and how a figure is saved.

Figures are made without pyplot and drawn under a style context that is undone afterwards, so that the reader's own
matplotlib settings and open figures stay as they are. An SVG carries a dark variant of its colours, which a viewer in
dark mode shows; everything else shows it light.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "SERIES", "missing", "new_figure", "save_figure", "styled"]

# Each colour on light paper, and what stands for it on dark. All of one role keep a contrast of 4.5 : 1 with the paper.
COLOURS = {
    "paper": ("#fffffe", "#15181e"),
    "ink": ("#1d222b", "#e7eaf0"),
    "muted": ("#5b6472", "#9aa4b4"),
    "line": ("#d5dae1", "#353c48"),
    "blue": ("#1f62b5", "#76aef0"),
    "orange": ("#a34a06", "#f0a35e"),
    "green": ("#227a45", "#6cc792"),
    "red": ("#b3261e", "#f28b82"),
    "purple": ("#7442a8", "#c19be8"),
    "blue wash": ("#e3edfa", "#1c2c44"),
    "green wash": ("#e2f3e8", "#193426"),
    "orange wash": ("#fcecdc", "#3d2b19"),
}
LIGHT = {name: light for name, (light, _) in COLOURS.items()}
SERIES = [LIGHT[name] for name in ("blue", "orange", "green", "purple", "red")]


def missing(name: str) -> ModuleNotFoundError:
    """The error for an optional package that is not there."""
    return ModuleNotFoundError(f"this needs {name}: pip install 'pullback[viz]'", name=name)


@contextmanager
def styled() -> Iterator[None]:
    """Matplotlib with this style and nothing of the reader's own; everything is as before afterwards."""
    try:
        import matplotlib.style
    except ModuleNotFoundError:
        raise missing("matplotlib") from None

    own = {
        "figure.facecolor": LIGHT["paper"],
        "savefig.facecolor": LIGHT["paper"],
        "figure.dpi": 100,
        "font.family": "DejaVu Sans",
        "font.size": 10,
        "text.color": LIGHT["ink"],
        "axes.facecolor": LIGHT["paper"],
        "axes.edgecolor": LIGHT["muted"],
        "axes.labelcolor": LIGHT["muted"],
        "axes.titlecolor": LIGHT["ink"],
        "axes.titlesize": 11,
        "axes.titlelocation": "left",
        "axes.titlepad": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.prop_cycle": f"cycler('color', {SERIES!r})",
        "grid.color": LIGHT["line"],
        "grid.linewidth": 0.7,
        "lines.linewidth": 1.8,
        "xtick.color": LIGHT["muted"],
        "ytick.color": LIGHT["muted"],
        "legend.frameon": False,
        "svg.fonttype": "path",
        "svg.hashsalt": "pullback",
    }
    with matplotlib.style.context(["default", own]):
        yield


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of its own (known to no pyplot) and its axes, row by row. Call it, and draw, inside `styled`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure to `path`, in the format of its suffix: `.svg` (with a dark variant) or `.png`.

    Missing folders are made. The same figure gives the same bytes. Raises `ValueError` for another suffix.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in (".svg", ".png"):
        raise ValueError(f"a picture is saved as .svg or .png, not as {path.name!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    metadata: dict[str, Any] = {"Date": None} if kind == ".svg" else {"Software": None}
    with styled():
        figure.savefig(buffer, format=kind[1:], metadata=metadata, dpi=100 if kind == ".svg" else 160)
    if kind == ".svg":
        path.write_text(with_dark_variant(buffer.getvalue().decode("utf-8")), encoding="utf-8")
    else:
        path.write_bytes(buffer.getvalue())
    return path


def with_dark_variant(svg: str) -> str:
    """The drawing with a style sheet that exchanges its colours where dark ones are preferred."""
    rules = [
        f'[style*="{part}: {light}"]{{{part}:{dark}!important}}'
        for light, dark in COLOURS.values()
        for part in ("fill", "stroke")
    ]
    sheet = f"<style>@media (prefers-color-scheme: dark){{{''.join(rules)}}}</style>"
    head, end, body = svg.partition(">\n <metadata>")
    if not end:
        head, end, body = svg.partition(">\n <defs>")
    return f"{head}>\n {sheet}{end[1:]}{body}" if end else svg
