"""The graph of a computation as a picture and as text. Layout is Graphviz's `dot`, drawing is matplotlib's."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pullback.show.style import LIGHT, missing, new_figure, save_figure, styled
from pullback.show.trace import Params, Trace, Vertex, trace_back

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_graph", "graph_tree", "trace_back"]


_SMALL = 4  # arrays up to this size are shown with their numbers


def graph_tree(result: Any, params: Params = None) -> str:
    """The tape behind `result` as a tree of text, result first; what was shown before is only referred to.

    Takes what `trace_back` takes.

    >>> import pullback as pb
    >>> x = pb.tensor(3.0, requires_grad=True)
    >>> print(graph_tree((x * x).sin(), {"x": x}).replace("−", "-"))  # doctest: +ELLIPSIS
    SinBackward0 #1  float32 = 0.412118  ...
    └─ MulBackward0 #2  float32 = 9  ...
       ├─ x #3  float32 = 3
       └─ x, see #3
    """
    trace = result if isinstance(result, Trace) else trace_back(result, params)
    lines = []
    shown: set[int] = set()
    stack = [(1, "", "")]  # a vertex, what stands before it, and what stands before its operands
    while stack:
        number, head, indent = stack.pop()
        vertex = trace.vertices[number]
        if number in shown:
            lines.append(f"{head}{vertex.name}, see #{number}")
            continue
        shown.add(number)
        lines.append(head + _sentence(vertex))
        last = len(vertex.operands) - 1
        for i in range(last, -1, -1):
            branch, stem = ("└─ ", "   ") if i == last else ("├─ ", "│  ")
            stack.append((vertex.operands[i], indent + branch, indent + stem))
    return "\n".join(lines)


def _sentence(vertex: Vertex) -> str:
    parts = [f"{vertex.name} #{vertex.number}", " ".join(filter(None, [_kind(vertex), _equals(vertex.value)]))]
    if vertex.gradient is not None:
        parts.append("grad " + _numbers(vertex.gradient))
    if vertex.location is not None:
        file, line, _ = vertex.location
        parts.append(f"{os.path.basename(file)}:{line}  {vertex.location.source}".rstrip())
    return "  ".join(filter(None, parts))


def _kind(vertex: Vertex) -> str:
    if vertex.shape is None:
        return ""
    dims = f"[{', '.join(map(str, vertex.shape))}]" if vertex.shape else ""
    return f"{vertex.dtype}{dims}"


def _equals(value: Any) -> str:
    return "" if value is None or value.size > _SMALL else f"= {_numbers(value)}"


def _number(value: Any) -> str:
    return f"{value:.6g}" if np.iscomplexobj(value) else f"{float(value):.6g}"


def _numbers(array: Any) -> str:
    """The numbers of a small array, or the look of a large one."""
    if array.size > _SMALL:
        return f"{array.dtype}[{', '.join(map(str, array.shape))}]"
    text = ", ".join(map(_number, array.reshape(-1)))
    return text if array.ndim == 0 else f"[{text}]"


# The picture: everything in points (1/72 inch), y upwards, as Graphviz has it.

_TITLE, _BODY = 9.5, 7.5
_MARGIN = 7.0
_SOURCE_WIDTH = 34


class _Line(NamedTuple):
    text: str
    size: float
    colour: str
    mono: bool = False
    bold: bool = False

    @property
    def font(self) -> Any:
        from matplotlib.font_manager import FontProperties

        family = "DejaVu Sans Mono" if self.mono else "DejaVu Sans"
        return FontProperties(family=family, size=self.size, weight="bold" if self.bold else "normal")

    @property
    def width(self) -> float:
        from matplotlib.textpath import TextToPath

        return float(TextToPath().get_text_width_height_descent(self.text, self.font, ismath=False)[0])

    @property
    def height(self) -> float:
        return self.size * 1.4


def _label(vertex: Vertex) -> list[_Line]:
    colour = LIGHT["green"] if vertex.is_leaf else LIGHT["blue"]
    lines = [_Line(textwrap.shorten(vertex.name, 40, placeholder="…") or " ", _TITLE, colour, bold=True)]
    kind = " ".join(filter(None, [_kind(vertex), _equals(vertex.value)]))
    if kind:
        lines.append(_Line(kind, _BODY, LIGHT["ink"]))
    if vertex.gradient is not None:
        lines.append(_Line("grad " + _numbers(vertex.gradient), _BODY, LIGHT["orange"]))
    if vertex.location is not None:
        source = vertex.location.source
        if len(source) > _SOURCE_WIDTH:
            source = source[: _SOURCE_WIDTH - 1] + "…"
        if source:
            lines.append(_Line(source, _BODY, LIGHT["muted"], mono=True))
        file = os.path.basename(vertex.location.file)
        lines.append(_Line(f"{file}:{vertex.location.line}", _BODY - 1, LIGHT["muted"]))
    return lines


def draw_graph(
    result: Any, params: Params = None, path: str | os.PathLike[str] | None = None, *, horizontal: bool = False
) -> Figure:
    """Draw the tape from its leaves (green) to `result`; write it to `path` (.svg or .png) if given.

    Takes what `trace_back` takes. A box shows the operation, the dtype and shape of its result, its numbers if they are
    few, and the line that recorded it; a leaf shows its `.grad`. `horizontal` runs from left to right instead of
    downwards. Returns the matplotlib figure. Raises `ValueError` for a graph of more than 400 vertices, which nobody
    could read.
    """
    trace = trace_back(result, params)
    if len(trace.vertices) > 400:
        raise ValueError(f"the graph has {len(trace.vertices)} vertices: too many for a picture; see graph_tree")
    with styled():
        labels = {number: _label(vertex) for number, vertex in trace.vertices.items()}
        sizes = {
            number: (
                max(line.width for line in lines) + 2 * _MARGIN,
                sum(line.height for line in lines) + 1.4 * _MARGIN,
            )
            for number, lines in labels.items()
        }
        (width, height), centres, curves = _layout(trace, sizes, horizontal)
        figure = _draw(trace, labels, sizes, (width, height), centres, curves)
    if path is not None:
        save_figure(figure, path)
    return figure


Point = tuple[float, float]


def _layout(
    trace: Trace, sizes: dict[int, Point], horizontal: bool
) -> tuple[Point, dict[int, Point], list[list[Point]]]:
    """The size of the drawing, the centre of each box, and each arrow as points of its Bézier curves and its tip."""
    try:
        import pygraphviz
    except ModuleNotFoundError:
        raise missing("pygraphviz") from None

    graph = pygraphviz.AGraph(
        directed=True, strict=False, rankdir="LR" if horizontal else "TB", nodesep=0.25, ranksep=0.35
    )
    for number, (width, height) in sizes.items():
        graph.add_node(number, label="", shape="box", fixedsize="true", width=width / 72, height=height / 72)
    for i, (operand, user) in enumerate(trace.edges):
        graph.add_edge(operand, user, key=str(i))
    graph.layout("dot")
    _, _, right, top = map(float, graph.graph_attr["bb"].split(","))
    centres = {int(node): _point(node.attr["pos"]) for node in graph.nodes()}
    arrows = [graph.get_edge(*ends_and_key) for ends_and_key in graph.edges(keys=True)]
    return (right, top), centres, [_curve(arrow.attr["pos"]) for arrow in arrows]


def _point(text: str) -> Point:
    x, y = text.split(",")[-2:]
    return float(x), float(y)


def _curve(position: str) -> list[Point]:
    """Graphviz's `e,tip start control control end ...` as `start control control end ... tip`."""
    tip, *points = position.replace("\\\n", "").split()
    return [*map(_point, points), _point(tip)]


def _draw(
    trace: Trace,
    labels: dict[int, list[_Line]],
    sizes: dict[int, Point],
    extent: Point,
    centres: dict[int, Point],
    curves: list[list[Point]],
) -> Figure:
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
    from matplotlib.path import Path

    width, height = extent[0] + 16, extent[1] + 16
    figure, (axes,) = new_figure(width / 72, height / 72)
    figure.set_layout_engine("none")
    axes.set_position((0, 0, 1, 1))
    axes.set(xlim=(-8, extent[0] + 8), ylim=(-8, extent[1] + 8))
    axes.set_axis_off()
    for points in curves:
        *curve, tip = points
        path = Path([*curve, tip], [Path.MOVETO, *[Path.CURVE4] * (len(curve) - 1), Path.LINETO])
        arrow = FancyArrowPatch(path=path, arrowstyle="-|>", mutation_scale=8, lw=1, color=LIGHT["muted"], zorder=1)
        axes.add_patch(arrow)
    for number, vertex in trace.vertices.items():
        (x, y), (w, h) = centres[number], sizes[number]
        wash, edge = ("green wash", "green") if vertex.is_leaf else ("blue wash", "blue")
        axes.add_patch(
            FancyBboxPatch(
                (x - w / 2 + 3, y - h / 2 + 3), w - 6, h - 6, boxstyle="round,pad=3,rounding_size=4",
                facecolor=LIGHT[wash], edgecolor=LIGHT[edge], linewidth=1, zorder=2,
            )
        )  # fmt: skip
        for line, baseline in _baselines(labels[number], y + h / 2):
            axes.text(
                x, baseline, line.text, ha="center", va="baseline", fontproperties=line.font, color=line.colour,
                parse_math=False, zorder=3,
            )  # fmt: skip
    return figure


def _baselines(lines: list[_Line], top: float) -> Iterator[tuple[_Line, float]]:
    y = top - 0.7 * _MARGIN
    for line in lines:
        y -= line.height
        yield line, y + 0.3 * line.size
