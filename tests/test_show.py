"""The show room: what a graph holds, what a page escapes, and that matplotlib is left as it was."""

import io
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import pullback as pb
from pullback import show
from pullback.show.graph import graph_tree
from pullback.show.style import COLOURS
from pullback.show.trace import trace_back

HOSTILE = "<script>alert('1')</script> & \"quotes\" $x_{1}$ \\frac [bold]\\n -- x"


@pytest.fixture(autouse=True)
def _matplotlib_is_left_alone():
    import matplotlib
    import matplotlib.pyplot as plt

    before, backend, figures = dict(matplotlib.rcParams), matplotlib.get_backend(), plt.get_fignums()
    yield
    assert dict(matplotlib.rcParams) == before
    assert matplotlib.get_backend() == backend
    assert plt.get_fignums() == figures


def small_graph():
    w = pb.tensor([1.0, 2.0], requires_grad=True)
    b = pb.tensor(3.0, requires_grad=True)
    y = (w * b).sum() + b * b
    return w, b, y


# What a graph holds


def test_every_node_and_every_shared_leaf_is_there_once():
    w, b, y = small_graph()
    trace = trace_back(y, {"w": w, "b": b})
    names = [v.name for v in trace.vertices.values()]
    assert sorted(names) == ["AddBackward0", "MulBackward0", "MulBackward0", "SumBackward0", "b", "w"]
    assert {v.name for v in trace.leaves} == {"w", "b"}
    by_number = {number: v.name for number, v in trace.vertices.items()}
    edges = sorted((by_number[operand], by_number[user]) for operand, user in trace.edges)
    assert edges == [
        ("MulBackward0", "AddBackward0"),
        ("MulBackward0", "SumBackward0"),
        ("SumBackward0", "AddBackward0"),
        ("b", "MulBackward0"),
        ("b", "MulBackward0"),
        ("b", "MulBackward0"),
        ("w", "MulBackward0"),
    ]
    assert trace.vertices[1] is trace.result
    assert trace.result.value == 3 * 3 + 9


def test_a_vertex_tells_shape_value_gradient_and_line():
    w, b, y = small_graph()
    y.backward(retain_graph=True)
    trace = trace_back(y, {"w": w, "b": b})
    leaf = next(v for v in trace.leaves if v.name == "b")
    assert (leaf.shape, leaf.dtype, leaf.value, leaf.gradient) == ((), np.float32, 3.0, 9.0)
    shapes = {v.name: v.shape for v in trace.vertices.values() if v.name != "MulBackward0"}
    assert shapes == {"AddBackward0": (), "SumBackward0": (), "w": (2,), "b": ()}
    assert sorted(v.shape for v in trace.vertices.values() if v.name == "MulBackward0") == [(), (2,)]
    location = trace.result.location
    assert Path(location.file).name == "test_show.py"
    assert "(w * b).sum() + b * b" in location.source


def test_a_graph_can_be_drawn_from_a_node_a_leaf_and_one_of_several_results():
    w, _, y = small_graph()
    assert len(trace_back(y.grad_fn).vertices) == 6
    assert [v.name for v in trace_back(w).vertices.values()] == ["leaf 1"]
    first, _ = pb.split(w * 2, 1)
    assert "MulBackward0" in [v.name for v in trace_back(first).vertices.values()]


def test_unnamed_leaves_are_numbered_and_pairs_name_them():
    w, b, y = small_graph()
    assert {v.name for v in trace_back(y).leaves} == {"leaf 1", "leaf 2"}
    assert {v.name for v in trace_back(y, iter([("w", w), ("b", b)])).leaves} == {"w", "b"}


def test_a_value_that_was_overwritten_is_not_shown():
    x = pb.tensor(2.0, requires_grad=True)
    h = x * 3
    y = h * h
    before = trace_back(y).vertices[2]
    assert before.value == 6.0
    with pb.no_grad():
        h.mul_(2)
    assert trace_back(y).vertices[2].value is None


def test_what_is_not_on_a_tape_is_refused():
    with pytest.raises(TypeError, match="requires no gradient"):
        trace_back(pb.tensor(1.0))
    with pytest.raises(TypeError, match="got int"):
        trace_back(1)


def test_a_long_chain_needs_no_recursion():
    x = pb.tensor(1.0, requires_grad=True)
    y = x
    for _ in range(5000):
        y = y + 1
    assert len(trace_back(y).vertices) == 5001
    assert graph_tree(y).count("\n") == 5000
    with pytest.raises(ValueError, match="5001 vertices"):
        show.draw_graph(y)


def test_the_tree_says_everything_once():
    w, b, y = small_graph()
    y.backward(retain_graph=True)
    tree = graph_tree(y, {"w": w, "b": b})
    lines = tree.splitlines()
    assert len(lines) == 1 + len(trace_back(y).edges)
    assert lines[0].startswith("AddBackward0 #1  float32 = 18")
    assert sum("float32[2] = [1, 2]  grad [3, 3]" in line for line in lines) == 1
    assert sum(line.endswith("b, see #5") for line in lines) == 2


# Pictures


@pytest.mark.parametrize("horizontal", [False, True])
def test_a_graph_is_drawn_with_all_its_boxes(tmp_path, horizontal):
    pytest.importorskip("pygraphviz")
    w, _, y = small_graph()
    figure = show.draw_graph(y, {HOSTILE: w}, tmp_path / "new" / "graph.svg", horizontal=horizontal)
    (axes,) = figure.axes
    texts = [text.get_text() for text in axes.texts]
    assert sum(text == "MulBackward0" for text in texts) == 2
    assert any(text.startswith("<script>") for text in texts)
    boxes = [p.get_window_extent() for p in axes.patches if type(p).__name__ == "FancyBboxPatch"]
    assert len(boxes) == 6
    for i, a in enumerate(boxes):
        assert not any(a.overlaps(b) for b in boxes[i + 1 :])
    frame = figure.bbox
    assert all(frame.contains(*box.min) and frame.contains(*box.max) for box in boxes)
    for text in axes.texts:
        extent = text.get_window_extent()
        assert any(box.x0 <= extent.x0 and extent.x1 <= box.x1 for box in boxes), text.get_text()
    assert_is_svg(tmp_path / "new" / "graph.svg")


def assert_is_svg(path: Path) -> None:
    root = ET.parse(path).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert not [e for e in root.iter() if str(e.tag).endswith("script")]
    used = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", path.read_text(encoding="utf-8")))
    assert used <= {light for light, _ in COLOURS.values()} | {"#000000"}, "a colour without a dark variant"
    assert "prefers-color-scheme: dark" in root.find("{http://www.w3.org/2000/svg}style").text


CURVES = {
    "loss": lambda path: show.loss_curves({"a": [3.0, 2.0, 1.5], "b": [3.0, 2.5]}, HOSTILE, path, best=1),
    "descent": lambda path: show.descent_path(lambda x: x**2, [2.0, 1.0, 0.5], "x²", path, minimum=0),
    "one point": lambda path: show.descent_path(lambda x: x**2, [2.0], "x²", path),
    "contour": lambda path: show.contour_path(
        lambda x, y: x**2 + 3 * y**2,
        {"a": [[1, 1], [0.5, 0.1]], "b": [[1, 1], [0, 0]]},
        "q",
        path,
        minimum=(0, 0),
        log=True,
    ),
}


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("kind", [".svg", ".png"])
def test_a_curve_is_written_and_is_the_same_each_time(tmp_path, name, kind):
    from PIL import Image

    path = tmp_path / f"a{kind}"
    CURVES[name](path)
    first = path.read_bytes()
    CURVES[name](path)
    assert path.read_bytes() == first
    if kind == ".svg":
        assert_is_svg(path)
    else:
        with Image.open(io.BytesIO(first)) as image:
            assert image.format == "PNG"
            assert len(image.convert("RGB").getcolors(1 << 20)) > 2


def test_a_vector_field_points_where_it_is_told():
    x, y = np.meshgrid([0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 2.0])
    figure = show.vector_field(x, y, 0 * x + 8, 0 * y, x * y)
    quiver = next(c for c in figure.axes[0].collections if type(c).__name__ == "Quiver")
    np.testing.assert_array_equal(quiver.XY, [[1, 1], [2, 1]])
    np.testing.assert_allclose(quiver.U, 2)  # the cube root of 8
    np.testing.assert_allclose(quiver.V, 0)


def test_the_readers_own_style_is_not_used():
    import matplotlib

    with matplotlib.rc_context({"axes.facecolor": "pink", "font.size": 40}):
        figure = show.loss_curves({"a": [1.0, 2.0]})
        assert matplotlib.rcParams["axes.facecolor"] == "pink"
    assert matplotlib.colors.to_hex(figure.axes[0].get_facecolor()) == COLOURS["paper"][0]
    assert figure.axes[0].xaxis.label.get_size() < 20


def test_a_picture_is_svg_or_png(tmp_path):
    figure = show.loss_curves({"a": [1.0, 2.0]})
    with pytest.raises(ValueError, match=r"not as 'a\.pdf'"):
        show.save_figure(figure, tmp_path / "a.pdf")


@pytest.mark.parametrize("shade", [0, 1])
def test_colours_can_be_read_on_the_paper(shade):
    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    def contrast(a, b):
        low, high = sorted((luminance(a), luminance(b)))
        return (high + 0.05) / (low + 0.05)

    papers = [pair[shade] for name, pair in COLOURS.items() if name == "paper" or name.endswith("wash")]
    for name in ("ink", "muted", "blue", "orange", "green", "red", "purple"):
        for paper in papers:
            assert contrast(COLOURS[name][shade], paper) >= 4.5, (name, paper)


# Tables


def test_a_table_prints_text_as_it_is():
    from rich.console import Console

    table = show.Table(HOSTILE, ["name", "number", "ok"], note="[red]note")
    table.add("[bold]x[/bold]", 1 / 3, True)
    table.add("y", None, np.False_)
    file = io.StringIO()
    Console(file=file, width=120, color_system=None).print(table.rich())
    text = file.getvalue()
    assert "[bold]x[/bold]" in text
    assert "[bold]\\n" in text
    assert "[red]note" in text
    assert "0.333333" in text
    assert "✓" in text
    assert "✗" in text
    with pytest.raises(ValueError, match="2 cells for 3 columns"):
        table.add(1, 2)


# Pages


class Reader(HTMLParser):
    """Collects what a browser would act on."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for key, value in attrs if key in ("src", "href")]

    def handle_data(self, data):
        self.text += data


def test_a_page_is_self_contained_and_escapes_everything(tmp_path):
    picture = show.save_figure(show.loss_curves({"a": [1.0, 2.0]}), tmp_path / "a.svg")
    table = show.Table(HOSTILE, [HOSTILE, "n"], note=HOSTILE)
    table.add(HOSTILE, 1.0)
    section = show.Section(HOSTILE).text(HOSTILE).code(HOSTILE).table(table).picture(picture, HOSTILE, 300)
    path = show.report(HOSTILE, [section], tmp_path / "sub" / "index.html", HOSTILE)
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    assert "script" not in reader.tags
    assert reader.text.count(HOSTILE) == 12
    assert {"table", "img", "pre", "figure"} <= set(reader.tags)
    assert all(link.startswith(("data:image/svg+xml;base64,", "#s1")) for link in reader.links)
    assert "http" not in re.sub("http-equiv", "", path.read_text(encoding="utf-8"))


def test_a_page_takes_png_and_nothing_else(tmp_path):
    picture = show.save_figure(show.loss_curves({"a": [1.0, 2.0]}), tmp_path / "a.png")
    assert "data:image/png;base64,iVBOR" in show.Section("s").picture(picture, "c").blocks[0]
    (tmp_path / "a.html").write_text("")
    with pytest.raises(ValueError, match=r"not 'a\.html'"):
        show.Section("s").picture(tmp_path / "a.html", "c")
