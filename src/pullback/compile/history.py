"""What passes do to a graph, to look at: which instructions stay, go and come, a value keeping its number throughout.

Passes build graphs anew, with new numbers. Here instructions before and after a pass are paired: those that compute the
same from the same, and those of which only the operands were replaced; what is left over was removed or added.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pullback.values.graph import Graph, Instruction, Symbol
from pullback.values.printing import Printer

__all__ = ["History", "Line", "Stage", "Step", "Writer"]

Mark = Literal["kept", "gone", "new", "rewired"]


class Line(NamedTuple):
    """An instruction in what a pass made of a graph.

    fresh   the numbers of operands that it did not have before.
    """

    mark: Mark
    text: str
    fresh: frozenset[int] = frozenset()


class Step(NamedTuple):
    """A pass: the graph after it, what went included, and how many instructions it has; no lines if it found nothing.

    returns   the line of what the graph returns.
    """

    name: str
    lines: list[Line]
    size: int
    returns: str

    def marked(self, mark: Mark) -> int:
        """How many instructions have this mark."""
        return sum(line.mark == mark for line in self.lines)


class Stage(NamedTuple):
    """A graph on its way through the passes; the first step is how it began. `inputs`: its inputs, with their names."""

    title: str
    inputs: list[tuple[str, str]]
    steps: list[Step]


class Writer(Printer):
    """Writes instructions with the numbers given for symbols."""

    def __init__(self, numbers: Mapping[Symbol, int]) -> None:
        super().__init__(exact=False)
        self.numbers = numbers

    def number(self, symbol: Symbol) -> int:
        return self.numbers.get(symbol, symbol.index)


class History:
    """The graphs of a compilation in order, with one numbering. `numbers` holds that of every graph met so far."""

    def __init__(self) -> None:
        self.numbers: dict[Symbol, int] = {}
        self.writer = Writer(self.numbers)
        self._next = 0

    def stage(
        self,
        title: str,
        graphs: Sequence[tuple[str, Graph]],
        names: Sequence[str],
        origin: tuple[Graph, Sequence[Symbol]] | None = None,
    ) -> Stage:
        """A graph after each of these passes; `names` of its inputs. `origin`: the graph that it was cut out of, and
        what its inputs are in that."""
        first, graph = graphs[0]
        if origin is not None:
            self.numbers.update((x, self.numbers[y]) for x, y in zip(graph.inputs, origin[1], strict=True))
            self._pair(origin[0], graph)
        for symbol in graph.inputs:
            self._name(symbol)
        for symbol in _made(graph):
            self._name(symbol)
        inputs = [(self.writer.symbol(x), name) for x, name in zip(graph.inputs, names, strict=True)]
        lines = [Line("kept", self.writer.instruction(step)) for step in graph.instructions]
        steps = [Step(first, lines, len(lines), self._returns(graph))]
        for name, after in graphs[1:]:
            steps.append(self._step(name, graph, after))
            graph = after
        return Stage(title, inputs, steps)

    def same(self, graph: Graph, twin: Graph) -> None:
        """Give `twin`, a graph that the passes made of the same, the numbers of `graph`."""
        pairs = [*zip(graph.inputs, twin.inputs, strict=True), *zip(_made(graph), _made(twin), strict=True)]
        self.numbers.update((y, self.numbers[x]) for x, y in pairs)

    def _name(self, symbol: Symbol) -> None:
        if symbol not in self.numbers:
            self.numbers[symbol] = self._next
        self._next = max(self._next, self.numbers[symbol] + 1)

    def _returns(self, graph: Graph) -> str:
        return f"return {', '.join(map(self.writer.operand, graph.outputs))}".rstrip()

    def _step(self, name: str, before: Graph, after: Graph) -> Step:
        if after is before:
            return Step(name, [], len(after.instructions), "")
        self.numbers.update(zip(after.inputs, map(self.numbers.__getitem__, before.inputs), strict=True))
        pairs = self._pair(before, after)
        for symbol in _made(after):
            self._name(symbol)
        lines = list(self._lines(before, after, pairs))
        if all(line.mark == "kept" for line in lines) and self._returns(before) == self._returns(after):
            lines = []
        return Step(name, lines, len(after.instructions), self._returns(after))

    def _lines(self, before: Graph, after: Graph, pairs: Mapping[int, Instruction]) -> Iterator[Line]:
        """The instructions of both graphs as one list: what went stands where it was."""
        stayed = {id(old) for old in pairs.values()}
        gone: dict[int, list[Instruction]] = defaultdict(list)
        anchor = 0
        for old in before.instructions:
            if id(old) in stayed:
                anchor = id(old)
            else:
                gone[anchor].append(old)
        write = self.writer.instruction
        yield from (Line("gone", write(old)) for old in gone[0])
        for new in after.instructions:
            known = pairs.get(id(new))
            if known is None:
                yield Line("new", write(new))
                continue
            fresh = self._read(new) - self._read(known)
            text = write(new)
            yield Line("kept" if text == write(known) else "rewired", text, fresh)
            yield from (Line("gone", write(old)) for old in gone[id(known)])

    def _read(self, step: Instruction) -> frozenset[int]:
        return frozenset(self.numbers[x] for x in step.args if isinstance(x, Symbol))

    def _pair(self, before: Graph, after: Graph) -> dict[int, Instruction]:
        """The instruction of `before` for those of `after` (by id) that stand for one; their results are given its
        numbers."""
        pairing = _Pairing(self.numbers, self.writer, before)
        for new in after.instructions:
            pairing.exactly(new)
        pairing.backward(after)
        for new in after.instructions:
            if id(new) not in pairing.pairs and (pairing.exactly(new) or pairing.loosely(new)):
                pairing.doubtful.append(new)
        pairing.confirm(after)
        for new in after.instructions:
            if id(new) not in pairing.pairs:
                pairing.exactly(new)
        return pairing.pairs


def _made(graph: Graph) -> Iterator[Symbol]:
    for step in graph.instructions:
        yield from step.outputs


class _Pairing:
    """Instructions of a graph that wait for one that stands for them after a pass."""

    def __init__(self, numbers: dict[Symbol, int], writer: Writer, before: Graph) -> None:
        self.numbers = numbers
        self.writer = writer
        self.before = before
        self.pairs: dict[int, Instruction] = {}
        self.taken: set[int] = set()
        self.alive: set[int] = set()  # numbers that values of the new graph have
        self.doubtful: list[Instruction] = []  # those paired because of a loose pair, perhaps
        self.same: dict[Any, list[Instruction]] = defaultdict(list)
        self.alike: dict[Any, list[Instruction]] = defaultdict(list)
        for step in before.instructions:
            self.same[self._key(step, True)].append(step)
            self.alike[self._key(step, False)].append(step)

    def _key(self, step: Instruction, operands: bool) -> Any:
        """What an instruction computes, of which values if `operands`; None if one of those has no number yet."""
        args: list[Any] = []
        for arg in step.args:
            if not isinstance(arg, Symbol):
                args.append(self.writer.value(arg))
            elif not operands:
                args.append(None)
            elif arg in self.numbers:
                args.append(self.numbers[arg])
            else:
                return None
        return step.op.name, tuple(args), self.writer.params(step), tuple([y.spec for y in step.outputs])

    def _take(self, old: Instruction, new: Instruction) -> None:
        self.pairs[id(new)] = old
        self.taken.add(id(old))
        for y, x in zip(new.outputs, old.outputs, strict=True):
            self.numbers[y] = self.numbers[x]
            self.alive.add(self.numbers[x])

    def exactly(self, new: Instruction) -> bool:
        """Pair it with one that computes the same of the same values."""
        key = self._key(new, True)
        for old in self.same.get(key, ()) if key is not None else ():
            if id(old) not in self.taken:
                self._take(old, new)
                return True
        return False

    def backward(self, after: Graph) -> None:
        """Pair those that make the same result of the program, or the same operand of a pair."""
        makers = {y: step for graph in (self.before, after) for step in graph.instructions for y in step.outputs}
        stack = list(zip(self.before.outputs, after.outputs, strict=False))
        if len(self.before.outputs) != len(after.outputs):
            stack = []
        while stack:
            x, y = stack.pop()
            old = makers.get(x) if isinstance(x, Symbol) else None
            new = makers.get(y) if isinstance(y, Symbol) else None
            if old is None or new is None or id(new) in self.pairs or id(old) in self.taken:
                continue
            if self._key(old, False) == self._key(new, False) and old.outputs.index(x) == new.outputs.index(y):
                self._take(old, new)
                stack += zip(old.args, new.args, strict=True)

    def loosely(self, new: Instruction) -> bool:
        """Pair it with one that reads some of the same values and, in place of the others, values that are gone."""
        for old in self.alike.get(self._key(new, False), ()):
            if id(old) in self.taken:
                continue
            shared = 0
            for x, y in zip(old.args, new.args, strict=True):
                if not isinstance(x, Symbol):
                    continue
                if self.numbers.get(y) == self.numbers[x]:
                    shared += 1
                elif self.numbers[x] in self.alive:
                    break
            else:
                if shared:
                    self._take(old, new)
                    return True
        return False

    def confirm(self, after: Graph) -> None:
        """Undo doubtful pairs whose results are not read in the place of what they stand for: what they compute may be
        another value (where `neg(a) * b` became `neg(a * b)`, for instance)."""
        read: dict[Symbol, list[tuple[Any, int]]] = defaultdict(list)
        for step in (*self.before.instructions, *after.instructions):
            for i, arg in enumerate(step.args):
                if isinstance(arg, Symbol):
                    read[arg].append((id(step), i))
        for graph in (self.before, after):
            for i, out in enumerate(graph.outputs):
                if isinstance(out, Symbol):
                    read[out].append(("output", i))
        for new in reversed(self.doubtful):
            old = self.pairs[id(new)]
            places = {place for y in new.outputs for place in read[y]}
            places = {(id(self.pairs[n]) if n in self.pairs else n, i) for n, i in places}
            if places.isdisjoint(place for x in old.outputs for place in read[x]):
                del self.pairs[id(new)]
                self.taken.discard(id(old))
                for y in new.outputs:
                    del self.numbers[y]
