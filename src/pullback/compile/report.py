"""What the compiler did with a function: `pb.jit(f).show(*args)`, as text and as a page."""

from __future__ import annotations

import html
import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pullback.compile.autograd import cut
from pullback.compile.capture import Cell, Guard
from pullback.compile.history import History, Stage, Step
from pullback.compile.native import Native
from pullback.compile.origin import Origin, leaf_names
from pullback.compile.outline import Item, outline, reason, size
from pullback.compile.passes.pipeline import simplify
from pullback.tape.node import Handle
from pullback.transforms.tree import Tree
from pullback.values.graph import Graph, Symbol
from pullback.values.shape import spec_of

if TYPE_CHECKING:
    from pullback.compile.jit import Jitted
    from pullback.compile.version import Version

__all__ = ["Code", "Show", "State", "collapsed", "counts", "page_maker", "show"]

LONG: Final = 60
"""Lines of a graph that are printed; a page shows all of them."""

page_maker: list[Callable[[Show], str]] = []  # what makes pages stands above this room, and enters itself


class State(NamedTuple):
    """A place outside that the function reads or writes; `uses`: "read", "written", "read, written", "cleared", or
    "not needed" where no result depends on what was read."""

    name: str
    spec: str
    uses: str


@dataclass
class Code:
    """What was made of one graph.

    items   the schedule. `calls`: ops that call NumPy, and why.
    facts   sizes and times: names, and numbers with their units.
    """

    title: str
    items: list[Item]
    calls: list[tuple[str, str]]
    facts: list[tuple[str, str]]
    instructions: int
    arena: int
    lines: int
    milliseconds: float
    cached: bool

    def counted(self, kind: str) -> int:
        """How many items of the schedule are of a kind."""
        return sum(item.kind == kind for item in self.items)


@dataclass
class Show:
    """What the compiler did with a function for one kind of arguments. `str(show)` is all of it as text.

    stages   the graph as it went through the passes; of a function with a backward pass, first both in one, then each.
    codes    what was made of each graph: schedule, memory, sizes, times.
    state    what is read and written outside the arguments. `guards`: what must hold for the code to be used.
    """

    name: str
    arguments: list[tuple[str, str]]
    stages: list[Stage]
    codes: list[Code]
    state: list[State] = field(default_factory=list)
    guards: list[str] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """A sentence: the size before and after, and what the code consists of."""
        before = self.stages[0].steps[0].size
        after = " + ".join(str(code.instructions) for code in self.codes)
        parts = []
        for kind, one, many in _KINDS:
            n = sum(code.counted(kind) for code in self.codes)
            if n:
                parts.append(f"{n} {one if n == 1 else many}")
        cached = all(code.cached for code in self.codes)
        took = sum(code.milliseconds for code in self.codes)
        when = "found in the disk cache" if cached else f"compiled in {took:.0f} ms"
        return f"{before} instructions traced, {after} left; {', '.join(parts) or 'nothing to do'}; {when}"

    def page(self, path: str | os.PathLike[str]) -> Path:
        """Write all of it as one HTML page that opens offline. Returns the path.

        Missing folders are made; a page that was there is replaced.
        """
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_page(self), encoding="utf-8")
        return target

    def _repr_html_(self) -> str:
        return f'<iframe srcdoc="{html.escape(_page(self))}" style="width:100%;height:44rem;border:0"></iframe>'

    def __str__(self) -> str:
        return "\n".join(text for _, text in self._lines())

    def __repr__(self) -> str:
        return f"<{self.name}: {self.summary}>"

    def __rich__(self) -> Any:
        from rich.text import Text

        text = Text(no_wrap=True, overflow="ellipsis")
        for style, line in self._lines():
            text.append(line + "\n", _STYLES[style])
        text.rstrip()
        return text

    # As text: lines, each with a style

    def _lines(self) -> Iterator[tuple[str, str]]:
        yield "title", f"{self.name}: {self.summary}"
        yield from _table("Arguments", self.arguments)
        yield from _table("State", [tuple(state) for state in self.state])
        if self.guards:
            yield from _head("Used as long as")
            yield from _short([("plain", f"  {guard}") for guard in self.guards])
        for stage in self.stages:
            yield from _stage(stage)
        for code in self.codes:
            yield from _code(code)


_KINDS: Final = (
    ("loops", "nest of loops", "nests of loops"),
    ("numbers", "run of single numbers", "runs of single numbers"),
    ("product", "matrix product", "matrix products"),
    ("NumPy", "call of NumPy", "calls of NumPy"),
)
_STYLES: Final[Mapping[str, str]] = {
    "title": "bold",
    "head": "bold blue",
    "plain": "",
    "muted": "bright_black",
    "kept": "",
    "gone": "red",
    "new": "green",
    "rewired": "yellow",
    "loops": "blue",
    "numbers": "blue",
    "product": "green",
    "NumPy": "bold red",
}
_MARKS: Final = {"kept": " ", "gone": "-", "new": "+", "rewired": "~"}


def _head(title: str) -> Iterator[tuple[str, str]]:
    yield "plain", ""
    yield "head", title


def _table(title: str, rows: Sequence[tuple[str, ...]]) -> Iterator[tuple[str, str]]:
    if not rows:
        return
    yield from _head(title)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(n) for cell, n in zip(row, widths, strict=True)) for row in rows]
    yield from _short([("plain", f"  {line.rstrip()}") for line in lines])


def _stage(stage: Stage) -> Iterator[tuple[str, str]]:
    first, *passes = stage.steps
    yield from _head(f"{stage.title}: {first.size} instructions, {first.name}")
    yield from (("muted", f"  {symbol}  {name}") for symbol, name in stage.inputs)
    yield from _short([("kept", f"  {line.text}") for line in first.lines])
    yield "kept", f"  {first.returns}"
    if not any(step.lines for step in passes):
        yield "muted", f"  {', '.join(step.name for step in passes)}: nothing changed"
        return
    yield from _head(f"{stage.title}: the passes (- gone, + new, ~ reads something else)")
    for names, step in collapsed(passes):
        if step is None:
            yield "muted", f"  {', '.join(names)}: nothing changed"
            continue
        yield "plain", f"  {step.name}: {counts(step)}"
        changed = [line for line in step.lines if line.mark != "kept"]
        yield from _short([(line.mark, f"  {_MARKS[line.mark]} {line.text}") for line in changed])
    last = next(step for step in reversed(passes) if step.lines)
    yield from _head(f"{stage.title}: {last.size} instructions, after all passes")
    yield from _short([("kept", f"  {line.text}") for line in last.lines if line.mark != "gone"])
    yield "kept", f"  {last.returns}"


def collapsed(passes: Sequence[Step]) -> Iterator[tuple[list[str], Step | None]]:
    """Passes in order: those that found nothing together, by name, the others one by one."""
    idle: list[str] = []
    for step in passes:
        if not step.lines:
            idle.append(step.name)
            continue
        if idle:
            yield idle, None
        idle = []
        yield [step.name], step
    if idle:
        yield idle, None


def counts(step: Step) -> str:
    """What a pass did, in numbers."""
    words = {"gone": "gone", "new": "new", "rewired": "read something else"}
    found = [f"{step.marked(mark)} {word}" for mark, word in words.items() if step.marked(mark)]  # type: ignore[arg-type]
    return f"{', '.join(found) or 'another result'}; {step.size} instructions"


def _short(lines: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The lines, or the first and last of many."""
    if len(lines) <= LONG:
        yield from lines
        return
    head = LONG * 2 // 3
    tail = LONG - head
    yield from lines[:head]
    yield "muted", f"  … {len(lines) - LONG} more: see .page(path)"
    yield from lines[-tail:]


def _code(code: Code) -> Iterator[tuple[str, str]]:
    yield from _head(f"{code.title}: the schedule")
    count = 0
    for i, item in enumerate(code.items):
        yield item.kind, f"  {i} {item.title}"
        count += len(item.rows)
        if count > 4 * LONG:
            continue
        width = max((2 * row.depth + len(row.text) for row in item.rows if row.kept), default=0)
        for row in item.rows:
            text = "  " * row.depth + row.text
            yield "plain", f"      {text.ljust(width) + '  -> ' + row.kept if row.kept else text}"
    if count > 4 * LONG:
        yield "muted", "  … what the last of them do: see .page(path)"
    yield from _table(f"{code.title}: sizes and times", code.facts)


def _page(show: Show) -> str:
    if not page_maker:
        raise RuntimeError("pages are made by pullback.show: import pullback")
    return page_maker[0](show)


# Gathering


def show(jitted: Jitted, version: Version, leaves: Sequence[Any], tree: Tree) -> Show:
    """What was done for a version of a function, and for arguments with these leaves."""
    return _Gathering(jitted, version, leaves, tree).show()


class _Gathering:
    def __init__(self, jitted: Jitted, version: Version, leaves: Sequence[Any], tree: Tree) -> None:
        self.version = version
        self.traced = version.traced
        self.function = jitted.function
        self.leaves = leaves
        self.names = _arguments(self.function, tree)
        guards = [(g.name, g.value) for g in self.traced.guards if g.kind == "name" and not isinstance(g.value, str)]
        given = [(name, leaf) for name, leaf in zip(self.names, leaves, strict=True) if not isinstance(leaf, Handle)]
        self.origin = Origin([("", self.function), *guards, *given])
        self.inputs = [self.names[i] for i in version.signature.dynamic] + list(map(self._cell, self.traced.cells))
        self.outputs = self._outputs()
        self.history = History()

    def show(self) -> Show:
        stages, codes = self._single() if self.version.passes is None else self._double()
        name = getattr(self.function, "__qualname__", type(self.function).__name__).rpartition("<locals>.")[2]
        arguments = [
            (name, _described(leaf, i in self.version.signature.dynamic))
            for i, (name, leaf) in enumerate(zip(self.names, self.leaves, strict=True))
        ]
        guards = list(dict.fromkeys(map(self._guard, self.traced.guards)))
        return Show(name, arguments, stages, codes, self._state(), guards)

    # Graphs and codes

    def _single(self) -> tuple[list[Stage], list[Code]]:
        steps = _observed(self.traced.graph)
        stage = self.history.stage("Graph", steps, self.inputs)
        return [stage], [self._code("Code", self.version.native, steps[-1][1], self.inputs, self.outputs)]

    def _double(self) -> tuple[list[Stage], list[Code]]:
        passes, joint = self.version.passes, self.traced.joint
        assert passes is not None
        assert joint is not None
        whole: list[tuple[str, Graph]] = []
        parts = cut(self.traced.graph, joint, lambda name, graph: whole.append((_FIRST.get(name, name), graph)))
        results = self.outputs[: self.traced.results]
        seeds = [f"cotangent of {results[i]}" for i in joint.results]
        both = [*self.inputs, *seeds]
        stages = [self.history.stage("Function and backward walk", whole, both)]
        own = parts.whole.inputs[: len(self.inputs)]
        kept = [f"kept for the backward pass: {i}" for i in range(len(parts.values))]
        needed = [self.inputs[i] if kind == "input" else kept[i] for kind, i in parts.kept] + seeds
        leaves = [self.inputs[i] for i in self.traced.tracked] + [
            self.origin.of(x) or f"a {spec_of(x._value)}" for x in self.traced.captured
        ]
        wanted = [f"cotangent of {name}" for name, g in zip(leaves, joint.found, strict=True) if g is not None]
        codes = []
        for title, native, graph, origin, inputs, outputs in (
            ("Forward pass", passes.forward, parts.forward, own, self.inputs, [*self.outputs, *kept]),
            ("Backward pass", passes.native, parts.backward, parts.needed, needed, wanted),
        ):
            steps = _observed(graph, "cut out")
            stages.append(self.history.stage(title, steps, inputs, (parts.whole, origin)))
            codes.append(self._code(title, native, steps[-1][1], inputs, outputs))
        return stages, codes

    def _code(self, title: str, native: Native, graph: Graph, inputs: Sequence[str], outputs: Sequence[str]) -> Code:
        module, timings = native.module, native.code.timings
        self.history.same(graph, native.graph)
        calls = [(node.instruction.op.name, reason(node)) for node in module.calls if node.instruction is not None]
        items = outline(module, self.history.numbers, inputs, outputs)
        places = [module.plan.places[node].kind for node in module.program.nodes.outputs]
        lines = module.ir.count("\n")
        took = sum(timings)
        facts = [
            ("instructions", str(len(native.graph.instructions))),
            ("items of the schedule", str(len(items))),
            ("ops that call NumPy", str(len(calls))),
            ("scratch memory (arena)", size(module.arena)),
            ("pieces of work that threads can share", str(module.shared)),
            ("results written over an input", f"{places.count('input')}"),
            ("results copied over one at the end", f"{len(module.plan.late)}"),
            ("constants outside the code", size(sum(x.nbytes for x in module.imports.values()))),
            ("LLVM IR before optimisation", f"{lines} lines"),
            ("machine code (object file)", size(len(native.code.object))),
            ("disk cache", "hit: linked only" if native.cached else "miss: compiled"),
        ]
        facts += [(f"time to {step}", f"{ms:.1f} ms") for step, ms in timings._asdict().items() if ms]
        return Code(
            title, items, calls, facts, len(native.graph.instructions), module.arena, lines, took, native.cached
        )

    # Names

    def _cell(self, cell: Cell) -> str:
        name = self.origin.of(cell.owner)
        if cell.kind == "option":
            return f"{name or 'options'}[{cell.name!r}]"
        if name is None:
            return f"{'a Tensor' if cell.kind != 'array' else 'an array'} from outside, {cell.symbol.spec}"
        return f"{name}.grad" if cell.kind == "grad" else name

    def _leaf(self, leaf: Any) -> str:
        known = [name for name, given in zip(self.names, self.leaves, strict=True) if given is leaf]
        return known[0] if known else self.origin.of(leaf) or f"a Tensor from outside, {spec_of(leaf._value)}"

    def _outputs(self) -> list[str]:
        traced = self.traced
        layout = traced.layout
        found = ["a result"] * len(traced.graph.outputs)
        leaves = leaf_names(Tree(tuple, None, (layout.tree,), lambda _, children: children), ["result"])
        for name, place in zip(leaves, layout.places, strict=True):
            if not isinstance(place, tuple):
                found[place] = name
        for j, i in traced.written.items():
            found[j] = self.inputs[i]
        for leaf, at in traced.gradients:
            if at is not None:
                found[at] = f"{self._leaf(leaf)}.grad"
        return found

    # State

    def _state(self) -> list[State]:
        traced = self.traced
        graph, passes = self.version.native.graph, self.version.passes
        symbols = {x for step in graph.instructions for x in step.args if isinstance(x, Symbol)}
        symbols |= {x for j, x in enumerate(graph.outputs) if isinstance(x, Symbol) and j not in traced.written}
        read = {i for i, x in enumerate(graph.inputs) if x in symbols}
        read |= {i for kind, i in (passes.kept if passes is not None else ()) if kind == "input"}
        written = set(traced.written.values())
        found = []
        for i, cell in enumerate(traced.cells, self.version.given):
            uses = [word for word, held in (("read", i in read), ("written", i in written)) if held]
            found.append(State(self.inputs[i], str(cell.symbol.spec), ", ".join(uses) or "not needed"))
        for leaf, at in traced.gradients:
            found.append(
                State(f"{self._leaf(leaf)}.grad", str(spec_of(leaf._value)), "cleared" if at is None else "written")
            )
        return found

    def _guard(self, guard: Guard) -> str:
        if guard.kind == "grad":
            return f"{self._leaf(guard.place)}.grad is {'None' if guard.value else 'not None'}"
        if guard.kind == "tracked":
            return f"{self._leaf(guard.place)} {'does not require' if guard.value else 'requires'} grad"
        if guard.kind == "items":
            named = [g for g in self.traced.guards if g.kind == "name" and g.value is guard.place]
            name = self.origin.within(named[0].place, named[0].name) if named else f"a {type(guard.place).__name__}"
            return f"what is in {name}"
        name = self.origin.of(guard.place) or "a variable of a closure"
        if guard.kind == "spec":
            name = self.origin.within(guard.place, guard.name) if guard.name else name
            return f"{name} is an array of the same shape and dtype"
        if guard.kind == "name":
            name = self.origin.within(guard.place, guard.name)
        if guard.is_plain:
            return f"{name} is {guard.value!r}"
        value = guard.value
        return f"{name} is the same {value if type(value) is tuple else type(value).__name__}"


_FIRST: Final = {"trace": "as traced"}


def _observed(graph: Graph, first: str = "as traced") -> list[tuple[str, Graph]]:
    """The graph as it goes through the passes."""
    found: list[tuple[str, Graph]] = []
    simplify(graph, lambda name, graph: found.append((name, graph)))
    found[0] = (first, graph)
    return found


def _arguments(function: Callable[..., Any], tree: Tree) -> list[str]:
    """The names of the leaves of a call's arguments."""
    positional, named = tree.children
    names = [f"argument {i}" for i in range(len(positional.children))]
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    for i in range(len(names)):
        if i < len(parameters) and parameters[i].kind in (
            inspect.Parameter.POSITIONAL_ONLY,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
        ):
            names[i] = parameters[i].name
            continue
        rest = next((j for j, p in enumerate(parameters) if p.kind is inspect.Parameter.VAR_POSITIONAL), None)
        if rest is not None:
            names[i] = f"{parameters[rest].name}[{i - rest}]"
    keys = named.rest[0] if named.children else []
    return leaf_names(positional, names) + leaf_names(named, list(map(str, keys)))


def _described(leaf: Any, dynamic: bool) -> str:
    if not dynamic:
        return f"{leaf!r}, static" if isinstance(leaf, str | int | float | bool) else f"a {type(leaf).__name__}, static"
    if isinstance(leaf, bool | int | float | complex):
        return f"a Python {type(leaf).__name__}"
    value = leaf._value if isinstance(leaf, Handle) else leaf
    needs = ", requires grad" if isinstance(leaf, Handle) and leaf._node is not None else ""
    return f"{spec_of(value)}{needs}"
