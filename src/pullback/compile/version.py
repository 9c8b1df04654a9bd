"""One version of a compiled function: its code for one kind of arguments, and what a call does around it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import numpy as np

from pullback.compile.autograd import Passes, split
from pullback.compile.llvm.entry import Input, Output
from pullback.compile.native import Native
from pullback.compile.shortcut import Source, row
from pullback.compile.signature import Signature, Static
from pullback.compile.tracing import Traced
from pullback.tape.node import Handle, new_handle
from pullback.tape.state import modes
from pullback.transforms.lifting import to_handle
from pullback.transforms.tree import Tree
from pullback.values.shape import Spec

__all__ = ["Version", "overlap", "world"]

_MISS: Final = object()
world = threading.RLock()
"""Held while a function is traced, when Tensors outside hold symbols, and while what they hold is looked up."""


class Version:
    """The code of a function for one kind of arguments, and what a call does around it.

    native   the code; of the forward pass, if `passes` has one and a backward pass.
    quick    the shortest way to call it again: for positional arguments of the same kind, else it goes the long way,
             `slow`.
    """

    def __init__(
        self,
        traced: Traced,
        leaves: list[Any],
        tree: Tree,
        signature: Signature,
        slow: Callable[..., Any],
        compile: Callable[[Callable[..., Any]], Callable[..., Any]],
    ) -> None:
        self.traced = traced
        self.signature = signature
        self.passes: Passes | None = None
        given = [leaves[i] for i in signature.dynamic]
        specs = [_spec(symbol) for symbol in traced.graph.inputs]
        outputs = [_spec(out) for out in traced.graph.outputs]
        for j, i in traced.written.items():
            if outputs[j] != specs[i]:
                raise TypeError(
                    f"a compiled function keeps the shape and dtype of the state that it writes: {specs[i]} would "
                    f"become {outputs[j]}"
                )
        if traced.joint is None:
            self.native = Native(traced.graph, traced.written)
        else:
            self.passes = split(traced.graph, traced.joint, traced.written, compile)
            self.native = self.passes.forward
            outputs += self.passes.values
        self.targets = targets = set(traced.written.values())
        self.inputs = [_input(leaf, i in targets) for i, leaf in enumerate(given)]
        for i, cell in enumerate(traced.cells, len(given)):
            kind = {"option": "float", "grad": "tensor"}.get(cell.kind, "array")
            held = cell.read() if cell.kind in ("name", "cell") else None
            if isinstance(held, Handle):
                classes, node = (type(held),), held._node
                self.inputs.append(Input("tensor", specs[i].dtype, specs[i].shape, i in targets, node, classes))
                continue
            self.inputs.append(Input(kind, specs[i].dtype, specs[i].shape, writable=i in targets))
        self.given = len(given)
        self.place: dict[int, int] = {}  # of an output among what the code returns
        made = []
        for j, spec in enumerate(outputs):
            if j in traced.written:
                made.append(Output("none", spec.dtype, spec.shape, input=traced.written[j]))
                continue
            self.place[j] = len(self.place)
            put = traced.puts.get(j)
            tensor = put.tensor if put is not None else j >= traced.results or traced.tensors
            tensor = tensor and j < len(traced.graph.outputs)
            kind = "tensor" if tensor and self.passes is None else "array" if spec.shape else "scalar"
            made.append(Output(kind, spec.dtype, spec.shape))
        places = traced.layout.places
        alone = traced.layout.tree.rebuild is None and places == [0] and len(self.place) == 1
        self._alone = alone
        self.entry = self.native.entry(self.inputs, made, _MISS, alone)
        source = self._quick(tree, given)
        self.quick = slow if source is None else source.compiled(slow)

    def holds(self) -> bool:
        """Whether what was read by name while tracing is as it was."""
        return all(guard.holds() for guard in self.traced.guards)

    def _quick(self, tree: Tree, given: list[Any]) -> Source | None:
        """A function written for this version, from source: what is looked up is known, so nothing is looped over."""
        args, kwargs = tree.children
        traced = self.traced
        if kwargs.children or self.passes is not None:
            return None
        source = Source()
        static = [kind if isinstance(kind, Static) else None for kind in self.signature.key[1]]
        try:
            leaves = source.take(args, "args")
            source.leaves = leaves
            result = source.make(traced.layout.tree, iter(traced.layout.places))
        except Source.Unknown:
            return None
        flat = all(child.rebuild is None for child in args.children)
        in_order = traced.layout.places == list(range(len(self.place))) and result in ("{0}", row(len(self.place)))
        plain = not (traced.cells or traced.gradients or traced.guards or any(static) or self.targets)
        if plain and flat and in_order and not any(isinstance(x, Handle) for x in given):
            source = Source()  # the entry checks them all
            source.names |= {"MISS": _MISS, "entry": self.entry}
            source.line("r = entry(*args)")
            source.line("return SLOW if r is MISS else r")
            return source
        source.line(f"if modes.fast != {modes.fast}: return SLOW")
        source.names |= {"modes": modes, "MISS": _MISS, "entry": self.entry}
        for name, kind in zip(leaves, static, strict=True):
            if kind is not None:
                source.same(name, kind)
        for guard in traced.guards:
            source.guard(guard)
        names = [name for name, kind in zip(leaves, static, strict=True) if kind is None]
        if self.given > 1 and any(i < self.given for i in self.targets):
            source.names |= {"overlap": overlap, "targets": [i for i in self.targets if i < self.given]}
            source.line(f"if overlap(targets, ({', '.join(names)})): return SLOW")
        source.line(f"r = entry({', '.join([*names, *map(source.cell, traced.cells)])})")
        source.line("if r is MISS: return SLOW")
        for i in sorted(set(traced.written.values())):
            if i < self.given:
                if isinstance(given[i], Handle):
                    source.line(f"{names[i]}._version += 1")
            elif traced.cells[i - self.given].kind == "handle":
                source.line(f"{source.name(traced.cells[i - self.given].owner)}._version += 1")
        for leaf, j in traced.gradients:
            source.line(f"{source.name(leaf)}._grad = {None if j is None else f'r[{self.place[j]}]'}")
        for j, put in traced.puts.items():
            where = f"[{put.name!r}]" if isinstance(put.place, dict) else ".cell_contents"
            source.line(f"{source.name(put.place)}{where} = r[{self.place[j]}]")
        found = ["r"] if self._alone else [f"r[{self.place[j]}]" for j in range(traced.results)]
        source.line(f"return {result.format(*found)}")
        return source

    def run(self, given: list[Any]) -> list[Any]:
        """Its dynamic results for arguments of its kind, whatever their layout in memory."""
        found = self._enter(given)
        self._put(found)
        return found[: self.traced.results]

    def _put(self, found: Sequence[Any]) -> None:
        """Put gradients, and what names outside are bound to, where they belong."""
        for leaf, j in self.traced.gradients:
            leaf._grad = None if j is None else _tensor(found[self.place[j]])
        for j, put in self.traced.puts.items():
            value = found[self.place[j]]
            value = _tensor(value) if put.tensor else value
            if isinstance(put.place, dict):
                put.place[put.name] = value
            else:
                put.place.cell_contents = value

    def forward(self, given: list[Any], captured: Sequence[Any]) -> Any:
        """The forward pass: results, Tensors to save, and the way back; see `transforms.calls.Call.forward`."""
        passes, traced = self.passes, self.traced
        assert passes is not None
        assert traced.joint is not None
        inputs = [i for kind, i in passes.kept if kind == "input"]
        with world:
            arguments = [*given, *(cell.read() for cell in traced.cells)]
        for i in self.targets.intersection(inputs):  # the way back reads what was there before it is written
            arguments[i] = np.array(arguments[i]._value if isinstance(arguments[i], Handle) else arguments[i])
        found = self._enter(given)
        self._put(found)
        start = len(self.place) - len(passes.values)
        values = found[start:]
        kept = [arguments[i] if kind == "input" else values[i] for kind, i in passes.kept]
        owners = [*given, *(cell.owner for cell in traced.cells)]
        saved = [owners[i] for i in inputs if i not in self.targets and isinstance(owners[i], Handle)]
        wanted = [*traced.tracked, *range(self.given, self.given + len(captured))]
        count = self.given + len(captured)
        results = traced.joint.results

        def backward(_: Sequence[Any], cotangents: list[Any]) -> Sequence[Any]:
            answers: list[Any] = [None] * count
            for i, g in zip(wanted, passes.back(kept, [cotangents[k] for k in results]), strict=True):
                answers[i] = None if g is None else to_handle(g)
            return answers

        return [new_handle(x) for x in found[: traced.results]], saved, backward

    def _enter(self, given: list[Any]) -> list[Any]:
        with world:
            values: list[Any] = [*given, *(cell.read() for cell in self.traced.cells)]
        copies: list[tuple[Any, Any]] = []
        for i, (value, spec) in enumerate(zip(values, self.inputs, strict=True)):
            if spec.kind == "tensor":
                values[i] = _owned(value, spec, copies)
            elif spec.kind == "array":
                values[i] = _fitting(value, spec, copies)
        found = self.entry(*values)
        if found is _MISS:
            found = self.entry(*_apart(values, self.inputs, copies))
        if found is _MISS:
            raise TypeError("a compiled function was given an array that it can't read or write as it is")
        for place, copy in copies:
            np.copyto(place, copy)
        for i in set(self.traced.written.values()):
            owner = given[i] if i < self.given else self.traced.cells[i - self.given].owner
            if isinstance(owner, Handle):
                owner._version += 1
        return [found] if self._alone else list(found)


def _tensor(value: Any) -> Any:
    return value if isinstance(value, Handle) else new_handle(value)


def _spec(value: Any) -> Spec:
    return Spec(tuple(value.shape), value.dtype)


def overlap(targets: Iterable[int], given: Sequence[Any], owners: Sequence[Any] = ()) -> bool:
    """Whether a place that is written shares memory with another, an argument being one of the two."""
    places = [place._value if isinstance(place, Handle) else place for place in (*given, *owners)]
    return any(
        np.may_share_memory(places[i], places[j])
        for i in targets
        for j in range(len(places) if i < len(given) else len(given))
        if i != j and isinstance(places[i], np.ndarray) and isinstance(places[j], np.ndarray)
    )


def _input(leaf: Any, writable: bool) -> Input:
    if isinstance(leaf, Handle):
        value = leaf._value
        return Input("tensor", value.dtype, tuple(value.shape), writable, classes=(type(leaf),))
    if isinstance(leaf, np.ndarray):
        return Input("array", leaf.dtype.newbyteorder("="), leaf.shape, writable)
    if isinstance(leaf, np.generic):
        return Input("scalar", leaf.dtype)
    kind = type(leaf).__name__
    return Input(kind, np.asarray(leaf).dtype)


def _fitting(array: Any, spec: Input, copies: list[tuple[Any, Any]]) -> Any:
    """An array as the entry takes it: itself, or a copy that is copied back if it is written."""
    flags = array.flags
    fits = flags.c_contiguous and flags.aligned and (flags.writeable or not spec.writable)
    if fits and type(array) is np.ndarray and array.dtype.isnative:
        return array
    copy = np.array(array, spec.dtype, order="C", copy=True, subok=False)
    if spec.writable and isinstance(array, np.ndarray):
        copies.append((array, copy))
    return copy


def _owned(handle: Any, spec: Input, copies: list[tuple[Any, Any]]) -> Any:
    """A Tensor as the entry takes it: on no tape, on contiguous memory."""
    value = handle._value
    fitting = _fitting(value, spec, copies) if isinstance(value, np.ndarray) else value
    if fitting is value and handle._node is None and not (spec.writable and isinstance(value, np.generic)):
        return handle
    if isinstance(value, np.generic) and spec.writable:
        fitting = handle._value = np.array(value)
    twin = object.__new__(type(handle))
    twin._value, twin._version, twin._base = fitting, 0, None
    return twin


def _apart(values: list[Any], inputs: list[Input], copies: list[tuple[Any, Any]]) -> list[Any]:
    """Arguments without shared memory: what is written stays, the others are copied."""
    found = []
    for value, spec in zip(values, inputs, strict=True):
        if spec.kind == "array" and not spec.writable:
            value = np.array(value, order="C", copy=True)
        elif spec.kind == "tensor" and not spec.writable:
            value = _owned(new_handle(np.array(value._value, order="C", copy=True)), spec, copies)
        found.append(value)
    return found
