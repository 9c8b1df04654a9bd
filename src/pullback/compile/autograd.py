"""Compiled functions on eager tapes: a forward pass that keeps what the backward pass reads, and that pass.

Both are cut out of one graph: the function's, with the backward walk traced after it. What depends on the cotangents is
the backward pass; what it reads of the rest is kept by the forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from pullback.compile.llvm.entry import Input, Output
from pullback.compile.native import Native
from pullback.compile.passes.pipeline import simplify
from pullback.ops.lowering import View
from pullback.tape.engine import walk
from pullback.tape.node import Handle, edge_of, new_handle, wrap
from pullback.tape.state import enable_grad
from pullback.tensor.dispatch import is_raw
from pullback.values.graph import Graph, Symbol
from pullback.values.shape import Spec, spec_of

__all__ = ["Cut", "Joint", "Passes", "cotangents", "cut", "split"]


class Joint(NamedTuple):
    """The cotangents of a traced function, in its own graph.

    results   the numbers of the results that have a cotangent, and `seeds`, the inputs that these are.
    found     what arrives at each leaf: a symbol, a constant, or None.
    """

    results: list[int]
    seeds: list[Symbol]
    found: list[Any]


def cotangents(graph: Graph, outs: Sequence[Any], leaves: Sequence[Any]) -> Joint | None:
    """Go on tracing: the backward walk from `outs`, handles, to `leaves`; None if it leads to none of them, or if the
    function has walked it already and freed what it needs.
    """
    places = [i for i, out in enumerate(outs) if isinstance(out, Handle) and out._node is not None]
    if not places or not leaves:
        return None
    steps = len(graph.instructions)
    seeds = [graph.input(spec_of(outs[i])) for i in places]
    gradients = [new_handle(seed) for seed in seeds]
    try:
        with enable_grad():
            _, _, arrived = walk(
                [edge_of(outs[i]) for i in places], gradients, [edge_of(x) for x in leaves], True, False
            )
    except RuntimeError:
        arrived = [None]
    if all(g is None for g in arrived):
        del graph.instructions[steps:]
        graph.inputs = [symbol for symbol in graph.inputs if symbol not in seeds]
        return None
    found = [None if g is None else _payload(g) for g in arrived]
    return Joint(places, seeds, found)


def _payload(value: Any) -> Any:
    while isinstance(value, Handle):
        value = value._value
    return value


class Passes:
    """The two passes as native code.

    kept     what the backward pass is given, in order: `("input", i)`, an input of the forward pass, or `("value", k)`,
             the k-th value that the forward pass returns after its results.
    """

    def __init__(
        self,
        forward: Native,
        backward: Native,
        kept: list[tuple[str, int]],
        values: list[Spec],
        joint: Joint,
        specs: list[Spec],
        compile: Callable[[Callable[..., Any]], Callable[..., Any]],
    ) -> None:
        self.forward = forward
        self.values = values
        self.kept = kept
        self.joint = joint
        self.native = backward
        inputs = [Input("array", spec.dtype, spec.shape) for spec in specs]
        outputs = [Output("array", g.dtype, tuple(np.shape(g))) for g in backward.graph.outputs]
        self._entry = backward.entry(inputs, outputs, _MISS, False)
        self._compile = compile
        self._function: Callable[..., Any] | None = None
        self._wanted = [g is not None for g in joint.found]

    def back(self, given: Sequence[Any], cotangents: Sequence[Any]) -> list[Any]:
        """The cotangent of each leaf, as an array or None, from what was kept and the cotangents of the results."""
        if not all(is_raw(g) and g._node is None for g in cotangents):
            return self._back_through(given, cotangents)
        arrays = [_array(x) for x in (*given, *cotangents)]
        found = self._entry(*arrays)
        if found is _MISS:
            raise RuntimeError("the backward pass of a compiled function was given another shape or dtype")
        ready = iter(found)
        return [next(ready) if wanted else None for wanted in self._wanted]

    def _back_through(self, given: Sequence[Any], cotangents: Sequence[Any]) -> list[Any]:
        """The same for cotangents that a transform is working on: the graph as a function, compiled in turn."""
        if self._function is None:
            graph = self.native.graph
            self._function = self._compile(lambda *values: tuple(interpret(graph, values)))
        ready = iter(self._function(*[new_handle(_array(x)) for x in given], *cotangents))
        return [next(ready) if wanted else None for wanted in self._wanted]


def interpret(graph: Graph, values: Sequence[Any]) -> list[Any]:
    """The outputs of a graph for handles, its ops applied to them one by one."""
    known: dict[Symbol, Any] = dict(zip(graph.inputs, values, strict=True))

    def read(value: Any) -> Any:
        return known[value] if isinstance(value, Symbol) else value

    for step in graph.instructions:
        result = wrap(step.op(*map(read, step.args), **step.params))
        known.update(zip(step.outputs, result if isinstance(result, tuple) else (result,), strict=True))
    return [out if isinstance(out, Handle) else new_handle(out) for out in map(read, graph.outputs)]


_MISS = object()


def _array(x: Any) -> Any:
    array = np.asarray(x._value if isinstance(x, Handle) else x)
    return array if type(array) is np.ndarray and array.flags.c_contiguous and array.flags.aligned else np.array(array)


class Cut(NamedTuple):
    """The graph of a function and its backward walk, simplified, and the two passes cut out of it.

    needed   what the inputs of the backward pass are in `whole`: values of the forward pass, then the seeds.
    kept     see `Passes`; `values`: the specs of what the forward pass returns after its results.
    """

    whole: Graph
    forward: Graph
    backward: Graph
    needed: list[Symbol]
    kept: list[tuple[str, int]]
    values: list[Spec]


def cut(graph: Graph, joint: Joint, observe: Callable[[str, Graph], None] | None = None) -> Cut:
    """Cut the graph of a function and its backward walk in two; `observe` sees the whole before and after each pass."""
    seeds = set(joint.seeds)
    own = [symbol for symbol in graph.inputs if symbol not in seeds]
    arrived = [g for g in joint.found if g is not None]
    results, goals = len(graph.outputs), len(arrived)
    whole = graph.part([*own, *joint.seeds], [*graph.outputs, *arrived, *_effects(graph)])
    whole = simplify(whole, observe)
    inputs, late = whole.inputs[: len(own)], set(whole.inputs[len(own) :])
    for step in whole.instructions:
        if any(isinstance(a, Symbol) and a in late for a in step.args):
            late.update(step.outputs)
    needed = _needed(whole, late, whole.outputs[results : results + goals])
    place = {symbol: i for i, symbol in enumerate(inputs)}
    computed = [value for value in needed if value not in place]
    kept = [("input", place[v]) if v in place else ("value", computed.index(v)) for v in needed]
    forward = whole.part(inputs, [*whole.outputs[:results], *computed, *_effects(whole)])
    del forward.outputs[results + len(computed) :]
    given = [*needed, *whole.inputs[len(own) :]]
    backward = whole.part(given, whole.outputs[results : results + goals])
    return Cut(whole, forward, backward, given, kept, [value.spec for value in computed])


def split(
    graph: Graph,
    joint: Joint,
    donated: dict[int, int],
    compile: Callable[[Callable[..., Any]], Callable[..., Any]],
) -> Passes:
    """Both passes as native code. `compile` is for functions, `pb.jit`."""
    parts = cut(graph, joint)
    specs = [symbol.spec for symbol in parts.needed]
    forward, backward = Native(parts.forward, donated), Native(parts.backward, {})
    return Passes(forward, backward, parts.kept, parts.values, joint, specs, compile)


def _needed(graph: Graph, late: set[Symbol], goals: Sequence[Any]) -> list[Symbol]:
    """What the part of a graph that depends on the cotangents, `late`, reads of the rest. Views are made again."""
    makers = {y: step for step in graph.instructions for y in step.outputs}
    found: list[Symbol] = []
    seen: set[Symbol] = set()

    def want(value: Any) -> None:
        if not isinstance(value, Symbol) or value in seen:
            return
        seen.add(value)
        step = makers.get(value)
        if step is not None and (value in late or isinstance(step.op.lower, View) or step.op.name in _FREE):
            for arg in step.args:
                want(arg)
        elif value not in late:
            found.append(value)

    for step in graph.instructions:
        if any(y in late for y in step.outputs):
            for arg in step.args:
                want(arg)
    for goal in goals:
        want(goal)
    return found


_FREE = frozenset(("reshape", "identity", "stop_gradient"))


def _effects(graph: Graph) -> list[Symbol]:
    """The results of effects: they stay in the forward pass."""
    return [y for step in graph.instructions if getattr(step.op, "effect", False) for y in step.outputs]
