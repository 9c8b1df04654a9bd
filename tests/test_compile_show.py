"""What `pb.jit(f).show(*args)` says: passes, schedule, state and guards, as text and as a page."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import pullback as pb
from pullback.compile.history import History
from pullback.compile.passes.pipeline import PIPELINE, simplify
from pullback.transforms.trace import trace
from pullback.values.graph import Graph
from pullback.values.shape import Spec
from random_programs import programs

pytest.importorskip("llvmlite")
F = pb.nn.functional


def cross_entropy(x, y):
    z = x - np.max(x, axis=1, keepdims=True)
    return -np.mean(np.sum(y * (z - np.log(np.sum(np.exp(z), axis=1, keepdims=True))), axis=1))


def part(text, title):
    """The lines below a title."""
    (found,) = re.findall(rf"^{title}.*\n((?:  .*\n)*)", text + "\n", re.MULTILINE)
    return found


X = np.cos(np.arange(640.0)).reshape(64, 10)


# As text


def test_a_small_function_in_full():
    def f(x):
        y = np.exp(x)
        np.log(y)
        return np.sum(y * 1.0, axis=1) * 2.0

    text = str(pb.jit(f).show(np.zeros((3, 4))))
    text = re.sub(r"compiled in \d+ ms|found in the disk cache", "SOMEHOW", text.partition("\n\nCode: sizes")[0])
    assert (
        text
        == """\
f: 5 instructions traced, 3 left; 1 nest of loops; SOMEHOW

Arguments
  x  float64[3,4]

Graph: 5 instructions, as traced
  %0: float64[3,4]  x
  %1: float64[3,4] = exp(%0)
  %2: float64[3,4] = log(%1)
  %3: float64[3,4] = mul(%1, 1.0)
  %4: float64[3] = sum(%3) axis=(1,) keepdims=False
  %5: float64[3] = mul(%4, 2.0)
  return %5

Graph: the passes (- gone, + new, ~ reads something else)
  bodies, expand: nothing changed
  dce: 1 gone; 4 instructions
  - %2: float64[3,4] = log(%1)
  cse, fold: nothing changed
  algebra: 1 gone, 1 read something else; 3 instructions
  - %3: float64[3,4] = mul(%1, 1.0)
  ~ %4: float64[3] = sum(%1) axis=(1,) keepdims=False
  layout, scatter, fold, algebra, layout, dce, cse, products, dce: nothing changed

Graph: 3 instructions, after all passes
  %1: float64[3,4] = exp(%0)
  %4: float64[3] = sum(%1) axis=(1,) keepdims=False
  %5: float64[3] = mul(%4, 2.0)
  return %5

Code: the schedule
  0 loops over 3 × 4: 3 operations
      for i < 3:
        for j < 4:
          %1[i, j] = exp(%0[i, j])
          %4[i] = sum(%1[i, j]) over j
        %5[i] = mul(%4[i], 2.0)  -> result"""
    )


def test_every_pass_is_named_once_and_in_order():
    show = pb.jit(pb.grad(cross_entropy)).show(X, X)
    (stage,) = show.stages
    assert [step.name for step in stage.steps] == ["as traced", *(name for name, _ in PIPELINE)]


def test_the_schedule_names_values_of_the_graph_that_the_passes_left():
    show = pb.jit(pb.grad(cross_entropy)).show(X, X)
    text = str(show)
    graph = part(text, "Graph: .* as traced") + part(text, "Graph: .* after all passes")
    schedule = part(text, "Code: the schedule")
    for number in set(re.findall(r"%\d+", schedule)):
        assert re.search(rf"^ +{number}: ", graph, re.MULTILINE), number
    assert schedule.startswith("  0 loops over 64 × 10: ")
    assert "-> result" in schedule
    assert "-> stack, row of 10" in schedule


def test_products_and_calls_of_numpy():
    def f(x, w):
        return np.linalg.svd(x @ w)[1], np.fft.fft(x)

    text = str(pb.jit(f).show(X, np.ones((10, 100))))
    schedule = part(text, "Code: the schedule")
    assert "0 matrix product: 64×10 by 10×100\n" in schedule
    svd, fft = re.findall(r"calls NumPy: (.*)\n +(.*)", schedule)
    assert svd[0] == pb.jit(f).version(X, np.ones((10, 100))).native.module.calls[0].instruction.op.lower.reason
    assert "= svd(" in svd[1]
    assert svd[1].endswith("  -> %4: result[0]")  # the only one of the three that is read
    assert "= fft(" in fft[1]
    assert "-> result[1]" in fft[1]


def test_code_from_the_disk_cache():
    first, second = (pb.jit(lambda x: np.tan(x) + 0.625).show(X) for _ in range(2))
    assert second.codes[0].cached
    assert second.summary.endswith("; found in the disk cache")
    assert ("disk cache", "hit: linked only") in second.codes[0].facts
    assert first.stages == second.stages


def test_who_multiplies():
    large, small = np.empty((1300, 1300)), np.empty((5, 40, 30))
    show = pb.jit(lambda x, y: (x @ x.T, y @ np.ones((30, 50)))).show(large, small)
    titles = [item.title for item in show.codes[0].items if item.kind == "product"]
    assert titles == ["matrix product by BLAS: 1300×1300 by 1300×1300", "matrix product: 200×30 by 30×50"]


def test_the_reason_is_the_dtype_where_it_is():
    show = pb.jit(lambda x: x * 2.0).show(np.ones(3, np.float16))
    assert show.codes[0].calls == [("mul", "there is no native code for float16")]
    assert "1 call of NumPy" in show.summary


def test_views_copies_scans_and_scatters():
    def f(x):
        x[2] = 0.0
        return np.cumsum(x[::2], axis=0), x.T[::-1], np.flip(x, 0)[1:] + 1.0

    schedule = part(str(pb.jit(f).show(np.ones((6, 4)))), "Code: the schedule")
    assert "cumsum(" in schedule
    assert re.search(r"for i < 3, j < 4:", schedule)
    assert re.search(r"\[j, 3 - i\]", schedule), schedule
    assert re.search(r"\[4 - i, j\], 1.0\)", schedule), schedule


def test_arguments_of_all_kinds():
    def f(batch, scale, flag, *rest, mode, table):
        return batch["x"] * scale + rest[0][1] + table["k"] if flag else batch["x"]

    show = pb.jit(f, static_argnums=2).show({"x": X, "y": X}, 2.0, True, (1, X), mode="fast", table={"k": 3.0})
    assert dict(show.arguments) == {
        "batch['x']": "float64[64,10]",
        "batch['y']": "float64[64,10]",
        "scale": "a Python float",
        "flag": "True, static",
        "rest[0][0]": "a Python int",
        "rest[0][1]": "float64[64,10]",
        "mode": "'fast', static",
        "table['k']": "a Python float",
    }


# State and guards


def training(optimizer=pb.optim.Adam):
    pb.manual_seed(0)
    model = pb.nn.Sequential(pb.nn.Linear(20, 30), pb.nn.ReLU(), pb.nn.Dropout(0.5), pb.nn.Linear(30, 5))
    opt = optimizer(model.parameters(), lr=0.1)

    def step(x, y):
        opt.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        opt.step()
        return loss

    return pb.jit(step), pb.randn(8, 20), pb.zeros(8, dtype=pb.int64)


def test_state_has_the_names_of_a_module_and_an_optimizer():
    f, x, y = training()
    show = f.show(x, y)
    state = {name: (spec, uses) for name, spec, uses in show.state}
    assert state["model.0.weight"] == ("float32[30,20]", "read, written")
    assert state["opt.param_groups[0]['lr']"] == ("float64[]", "read")
    assert state["opt.state[model.3.bias]['exp_avg_sq']"] == ("float32[5]", "read, written")
    assert state["model.3.bias.grad"] == ("float32[5]", "written")
    assert len(show.state) == 4 + 1 + 3 * 4 + 4
    assert "model is the same Sequential" in show.guards
    assert "model.2.training is True" in show.guards
    assert "opt.param_groups[0]['betas'] is the same (0.9, 0.999)" in show.guards
    text = str(show)
    assert "-> model.0.weight, in place" in text
    assert "calls Python: an effect" in text  # the mask of the dropout
    assert "= draw() sample=<" in str(f.graph(x, y))
    assert show.stages[0].inputs[2] == ("%2: float32[30,20]", "model.0.weight")


def test_showing_runs_nothing_and_compiles_once():
    f, x, y = training()
    before = [cell.read().copy() for cell in f.version(x, y).traced.cells if cell.kind == "handle"]
    str(f.show(x, y)), f.show(x, y)
    assert f.cache_info().misses == 1
    for a, cell in zip(before, (c for c in f.version(x, y).traced.cells if c.kind == "handle"), strict=True):
        np.testing.assert_array_equal(a, cell.read())


class Trainer:
    def __init__(self):
        self.model = pb.nn.Linear(3, 2)
        self.opt = pb.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)

    def step(self, x):
        self.opt.zero_grad()
        loss = self.model(x).pow(2).mean()
        loss.backward()
        self.opt.step()
        return loss


def test_a_method_and_a_step_that_makes_state():
    f = pb.jit(Trainer().step)
    x = pb.ones(4, 3)
    with pytest.raises(TypeError, match="Call the function once, then look at it"):
        f.show(x)
    f(x)
    show = f.show(x)
    assert show.name == "Trainer.step"
    assert [s.name for s in show.state] == [
        "self.model.weight",
        "self.model.bias",
        "self.opt.param_groups[0]['lr']",
        "self.opt.state[self.model.weight]['momentum_buffer']",
        "self.opt.state[self.model.bias]['momentum_buffer']",
        "self.model.weight.grad",
        "self.model.bias.grad",
    ]
    assert "self.opt.param_groups[0]['momentum'] is 0.9" in show.guards
    assert {"self.model.weight is the same Parameter", "self.opt is the same SGD"} <= set(show.guards)


SCALE = 2.0
TABLE = {"w": pb.tensor([1.0, 2.0])}


def test_globals_closures_and_gradients_that_are_read():
    offset = pb.tensor([3.0, 4.0], requires_grad=True)

    def f(x):
        (x * SCALE + offset * TABLE["w"]).sum().backward()

    show = pb.jit(f).show(pb.ones(2))
    assert [(s.name, s.uses) for s in show.state] == [
        ("offset", "not needed"),
        ("TABLE['w']", "read"),
        ("offset.grad", "written"),
    ]
    assert set(show.guards) == {
        "SCALE is 2.0",
        "TABLE is the same dict",
        "what is in TABLE",
        "offset is the same Tensor",
        "offset.grad is None",
        "offset requires grad",
    }


def test_both_passes_of_a_function_on_a_tape():
    w = pb.randn(20, 30, requires_grad=True)
    f = pb.jit(lambda x: pb.tanh(x @ w).sum())
    x = pb.randn(8, 20, requires_grad=True)
    show = f.show(x)
    text = str(show)
    assert [stage.title for stage in show.stages] == ["Function and backward walk", "Forward pass", "Backward pass"]
    assert [code.title for code in show.codes] == ["Forward pass", "Backward pass"]
    assert dict(show.arguments) == {"x": "float32[8,20], requires grad"}
    assert "-> result" in part(text, "Forward pass: the schedule")
    assert "-> kept for the backward pass: 0" in part(text, "Forward pass: the schedule")
    backward = part(text, "Backward pass: the schedule")
    assert "-> cotangent of x" in backward
    assert "-> cotangent of w" in backward
    # one numbering: what the backward pass reads is what the forward pass makes
    (kept,) = [symbol for symbol, name in show.stages[2].inputs if name.startswith("kept")]
    assert f"\n  {kept} = " in part(text, "Forward pass: .* cut out")
    for ask in (f.llvm, f.asm):
        assert "The forward pass" in ask(x)
        assert "The backward pass" in ask(x)
    assert f.llvm(x).count(" i32 @run(") == 2


# How instructions are paired


def small(*steps):
    """A graph of one input: `steps` are ops by name, applied to values by number or to constants."""
    from pullback.ops.table import TABLE as ops

    graph = Graph()
    values = [graph.input(Spec((4,), np.dtype(np.float64)))]
    for name, *args in steps:
        values.append(graph.append(ops[name], tuple(values[a] if type(a) is int else a for a in args), {}))
    graph.outputs = [values[-1]]
    return graph


def marks(before, after):
    step = History().stage("", [("before", before), ("after", after)], ["x"]).steps[1]
    return [(line.mark, line.text.replace("float64[4]", "")) for line in step.lines]


def test_what_is_not_touched_keeps_its_number_and_what_is_moved_is_no_change():
    a = small(("exp", 0), ("sin", 0), ("add", 1, 2))
    assert marks(a, small(("exp", 0), ("sin", 0), ("add", 1, 2))) == []
    assert marks(a, small(("sin", 0), ("exp", 0), ("add", 2, 1))) == []


def test_a_value_that_was_replaced():
    a = small(("exp", 0), ("neg", 1), ("sin", 2), ("add", 3, 0))
    assert marks(a, small(("exp", 0), ("cos", 1), ("sin", 2), ("add", 3, 0))) == [
        ("kept", "%1:  = exp(%0)"),
        ("gone", "%2:  = neg(%1)"),
        ("new", "%5:  = cos(%1)"),
        ("rewired", "%3:  = sin(%5)"),
        ("kept", "%4:  = add(%3, %0)"),
    ]


def test_another_constant_is_another_value():
    a = small(("mul", 0, 2.0), ("exp", 1))
    assert [mark for mark, _ in marks(a, small(("mul", 0, 3.0), ("exp", 1)))] == ["gone", "new", "rewired"]


def test_a_factor_that_moves_out_makes_other_values():
    a = small(("neg", 0), ("mul", 1, 0), ("exp", 2))
    found = marks(a, small(("mul", 0, 0), ("neg", 1), ("exp", 2)))
    assert ("rewired", "%3:  = exp(%5)") in found
    assert ("gone", "%2:  = mul(%1, %0)") in found


def numbered_alike(graph, inputs):
    """Check that values of one number are equal, in the graphs of all passes; how many there are."""
    graphs = []
    simplify(graph, lambda name, graph: graphs.append((name, graph)))
    history = History()
    history.stage("", graphs, [""] * len(inputs))
    known = {}
    shared = 0
    with np.errstate(all="ignore"):
        for name, after in graphs:
            for symbol, value in computed(after, inputs).items():
                wanted = known.setdefault(history.numbers[symbol], value)
                shared += wanted is not value
                slack = 1e-3 if value.dtype == np.float32 else 1e-8
                np.testing.assert_allclose(value, wanted, rtol=slack, atol=slack, err_msg=f"{name}: {symbol}\n{graph}")
    return shared


def test_numbers_stay_what_they_are_through_all_passes():
    rng = np.random.default_rng(0)
    graph = trace(pb.grad(cross_entropy), X, X).graph
    assert numbered_alike(graph, [rng.standard_normal(s.shape) for s in graph.inputs]) > 100


@settings(max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(programs(floats=True))
def test_numbers_of_random_programs(p):
    scope = {"np": np, "pb": pb}
    exec(p.finish(), scope)

    def loss(*args):
        return sum((np.sum(np.tanh(y)) for y in scope["program"](*args) if y.dtype.kind == "f"), 0.0 * np.sum(args[0]))

    arrays = [x.copy() for x in p.inputs]
    with np.errstate(all="ignore"):
        graph = trace(pb.grad(loss), *arrays).graph
    numbered_alike(graph, arrays)


def computed(graph, inputs):
    """All values of a graph."""
    outputs, symbols = graph.outputs, [y for step in graph.instructions for y in step.outputs]
    graph.outputs = symbols
    try:
        return dict(zip(symbols, graph(*inputs), strict=True))
    finally:
        graph.outputs = outputs


# As a page


class Checker(HTMLParser):
    """Tags that close, addresses and ids."""

    def __init__(self, text):
        super().__init__()
        self.open, self.links, self.ids, self.tags, self.text = [], set(), [], set(), []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        values = dict(attrs)
        if "id" in values:
            self.ids.append(values["id"])
        self.links.update(values[name] for name in ("href", "src") if name in values)
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def page_of(show, tmp_path):
    path = show.page(tmp_path / "deep" / "show.html")
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["plain", "training", "passes", "numpy"])
def test_a_page_is_whole_and_offline(tmp_path, kind):
    if kind == "training":
        f, *args = training()
    elif kind == "passes":
        f, args = pb.jit(lambda x: (x.sin() * x).sum()), [pb.ones(3, requires_grad=True)]
    else:
        f, args = pb.jit(np.linalg.svd if kind == "numpy" else pb.grad(cross_entropy)), [X] * (1 + (kind == "plain"))
    show = f.show(*args)
    text = page_of(show, tmp_path)
    found = Checker(text)
    assert "script" not in found.tags
    assert all(link.startswith("#") for link in found.links), found.links
    assert len(set(found.ids)) == len(found.ids)
    assert {link[1:] for link in found.links} <= set(found.ids)
    assert not re.search(r"https?://|@import|url\(", text)
    said = "".join(found.text)
    assert f"{show.name}, compiled" in said
    for code in show.codes:
        for item in code.items:
            for row in item.rows:
                assert row.text in said
    for stage in show.stages:
        for step in stage.steps:
            assert step.name in said
            for line in step.lines:
                assert line.text in said
    for name, spec, uses in show.state:
        assert {part for part in (name, spec, uses) if part not in said} == set()
    assert all(guard in said for guard in show.guards)


def test_a_page_escapes_what_it_is_given(tmp_path):
    def f(x, mode):
        return x * 2.0

    f.__qualname__ = "<script>alert(1)</script>"
    show = pb.jit(f).show({"<img src=x>&": X}["<img src=x>&"], "<b>'\"&")
    for text in (page_of(show, tmp_path), show._repr_html_()):
        assert "<script" not in text
        assert "<b>'" not in text
    wide = pb.jit(lambda table: table["<img src=x>"] + 1.0).show({"<img src=x>": X})
    assert "<img" not in page_of(wide, tmp_path)


def test_long_graphs_are_short_in_a_terminal_and_whole_on_a_page(tmp_path):
    def f(x):
        for i in range(150):
            x = np.sin(x) * (i + 0.5)
        return x

    show = pb.jit(f).show(np.ones(3))
    text = str(show)
    assert "… 240 more: see .page(path)" in text
    assert len(text.splitlines()) < 500
    assert "149.5" in page_of(show, tmp_path)


def test_rich_prints_the_same_text():
    rich = pytest.importorskip("rich.console")
    show = pb.jit(pb.grad(cross_entropy)).show(X, X)
    with open("/dev/null", "w") as nowhere:
        console = rich.Console(file=nowhere, record=True, width=200)
        console.print(show)
    lines = [line.rstrip() for line in console.export_text().splitlines()]
    assert lines == [line.rstrip() for line in str(show).splitlines()]
    assert repr(show).startswith("<cross_entropy: 35 instructions traced")


def test_modules_and_optimizers_among_the_arguments():
    model = pb.nn.Linear(3, 2)
    optimizer = pb.optim.SGD(model.parameters(), lr=0.1)

    @pb.jit
    def step(model, optimizer, x):
        optimizer.zero_grad()
        loss = model(x).pow(2).mean()
        loss.backward()
        optimizer.step()
        return loss

    losses = [step(model, optimizer, pb.ones(4, 3)).item() for _ in range(3)]
    assert losses[2] < losses[1] < losses[0]
    assert step.cache_info().misses == 1
    assert "model.weight" in str(step.show(model, optimizer, pb.ones(4, 3)))
