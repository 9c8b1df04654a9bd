"""The show room: graphs drawn, curves plotted, tables printed, and reports written as one offline page.

Needs the extra `viz` (matplotlib, rich, pygraphviz); each is imported when first used.
"""

from pullback.show.check import check_page
from pullback.show.compile import compile_page
from pullback.show.curves import contour_path, descent_path, loss_curves, vector_field
from pullback.show.graph import draw_graph, graph_tree, trace_back
from pullback.show.page import Section, page, report
from pullback.show.style import save_figure
from pullback.show.table import Table

__all__ = [
    "Section",
    "Table",
    "check_page",
    "compile_page",
    "contour_path",
    "descent_path",
    "draw_graph",
    "graph_tree",
    "loss_curves",
    "page",
    "report",
    "save_figure",
    "trace_back",
    "vector_field",
]
