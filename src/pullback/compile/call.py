"""A compiled function under the transforms: its call as one node of a tape, its jvp and its batch compiled in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pullback.tape.engine import walk
from pullback.tape.node import Handle, LeafMark, edge_of, is_inexact, new_handle, next_number
from pullback.tape.state import enable_grad, modes
from pullback.tensor.dispatch import is_raw
from pullback.transforms.calls import Call, Lanes, Pulling, bind, is_at, stripped
from pullback.transforms.forward import jvp
from pullback.transforms.lifting import to_handle
from pullback.transforms.program import as_program
from pullback.transforms.reverse import vjp
from pullback.transforms.tree import Tree, flatten
from pullback.transforms.vmap import vmap

if TYPE_CHECKING:
    from pullback.compile.jit import Jitted
    from pullback.compile.version import Version

__all__ = ["Given", "JitCall", "Layout", "laid_out"]


class Given:
    """The place of a result that is an argument itself: a leaf of the arguments, by number."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number


class Layout(NamedTuple):
    """The containers of a function's results, and for each leaf the number of a dynamic result, `(constant,)`, or what
    argument it is.
    """

    tree: Tree
    places: list[Any]

    def build(self, results: Sequence[Any], given: Sequence[Any]) -> Any:
        """What the caller gets, who gave arguments with these leaves."""
        return self.tree.unflatten(
            [p[0] if type(p) is tuple else given[p.number] if isinstance(p, Given) else results[p] for p in self.places]
        )


def laid_out(result: Any, given: Iterable[tuple[int, Any]]) -> tuple[list[Any], Layout]:
    """The Tensors and arrays that a function has computed, and where they are in what it returned. The rest is
    constant, Tensors that it has found outside included, or a leaf of its arguments, `given` with their numbers.
    """
    leaves, tree = flatten(result, registered=False)
    own = {id(x): Given(i) for i, x in given if isinstance(x, Handle)}
    dynamic: list[Any] = []
    places: list[Any] = []
    for leaf in leaves:
        if id(leaf) in own:
            places.append(own[id(leaf)])
        elif not isinstance(leaf, Handle | np.ndarray | np.generic) or _is_from_outside(leaf):
            places.append((leaf,))
        else:
            places.append(len(dynamic))
            dynamic.append(leaf)
    return dynamic, Layout(tree, places)


def _is_from_outside(leaf: Any) -> bool:
    return modes.tracer is not None and isinstance(leaf, Handle) and leaf._made is not modes.tracer


class JitCall(Call):
    """A call of a compiled function whose dynamic arguments are the values that are bound.

    leaves   the leaves of its arguments, of which those at `dynamic` are bound; what is bound beyond them are Tensors
             that the function finds elsewhere and that require gradients.
    layout   how its results are laid out, once it has run.
    """

    def __init__(
        self, owner: Jitted, leaves: Sequence[Any], tree: Tree, dynamic: Sequence[int], version: Version | None = None
    ) -> None:
        self.owner = owner
        self.name = getattr(owner.function, "__name__", "jit")
        self.leaves = list(leaves)
        self.tree = tree
        self.dynamic = list(dynamic)
        self.version = version
        self._layout: Layout | None = None
        self._like: JitCall | None = None  # the call that a derived function was made for, which knows the layout
        for i in self.dynamic:
            self.leaves[i] = None

    @property
    def layout(self) -> Layout:
        """How its results are laid out; known once it has run."""
        known = self._layout or (None if self._like is None else self._like._layout)
        assert known is not None
        return known

    @property
    def title(self) -> str:
        return "CompiledBackward0"

    def _filled(self, args: Sequence[Any]) -> list[Any]:
        leaves = list(self.leaves)
        for i, arg in zip(self.dynamic, args, strict=False):
            leaves[i] = arg
        return leaves

    def _run(self, args: Sequence[Any]) -> list[Any]:
        """The function as it was written, on values of any kind: its dynamic results."""
        leaves = self._filled(args)
        positional, named = self.tree.unflatten(leaves)
        result = as_program(self.owner.function)(*positional, **named)
        results, self._layout = laid_out(result, enumerate(leaves))
        return results

    def primal(self, args: list[Any]) -> list[Any]:
        results, self._layout = self.owner.results(self._filled(args), self.tree)
        return results

    def forward(self, args: list[Any], wanted: Sequence[bool], level: int, create_graph: bool) -> Pulling:
        count = len(self.dynamic)
        if not create_graph and all(not isinstance(x, Handle) or (x._node is None and is_raw(x)) for x in args):
            tracked = {i for i, need in zip(self.dynamic, wanted, strict=False) if need}
            version = self.version or self.owner.find(self._filled(args), self.tree, tracked)
            if version.passes is not None:
                self._layout = version.traced.layout
                rule: Pulling = version.forward(args[:count], args[count:])
                return rule
        if create_graph and len(args) == count:
            return self._differentiable(args, wanted)
        leaves = args
        if not create_graph:
            leaves = [
                new_handle(to_handle(x)._value if to_handle(x)._node is None else x, LeafMark(level, next_number()))
                if need and i < count
                else x
                for i, (x, need) in enumerate(zip(args, wanted, strict=True))
            ]
        with enable_grad():
            outs = [to_handle(y) for y in self._run(leaves)]
        edges = [(i, edge_of(y)) for i, y in enumerate(outs) if is_at(y, level)]
        goals = [edge_of(x) for x, need in zip(leaves, wanted, strict=True) if need]

        def backward(saved: Sequence[Any], cotangents: list[Any]) -> Sequence[Any]:
            given = [cotangents[i] for i, _ in edges]
            _, _, arrived = walk([edge for _, edge in edges], given, goals, True, create_graph)
            found = iter(arrived)
            return [next(found) if need else None for need in wanted]

        return outs if create_graph else [stripped(y, level) for y in outs], [], backward

    def _differentiable(self, args: list[Any], wanted: Sequence[bool]) -> Pulling:
        """A rule whose way back is on the tape too: the backward pass as a compiled function of its own."""
        places = [i for i, need in enumerate(wanted) if need]

        def pulled(*values: Any) -> tuple[Any, ...]:
            fixed = list(values[: len(args)])

            def along(*xs: Any) -> tuple[Any, ...]:
                for i, x in zip(places, xs, strict=True):
                    fixed[i] = x
                return tuple([y for y in map(to_handle, self._run(fixed)) if is_inexact(y._value)])

            pull: Callable[[Any], tuple[Any, ...]] = vjp(along, *[values[i] for i in places])[1]
            return pull(tuple(values[len(args) :]))

        outs = [to_handle(y) for y in bind(self, args)]
        smooth = [i for i, y in enumerate(outs) if is_inexact(y._value)]

        def backward(saved: Sequence[Any], cotangents: list[Any]) -> Sequence[Any]:
            found = iter(self._derived(("pull", tuple(places)), pulled)(*args, *[cotangents[i] for i in smooth]))
            return [next(found) if need else None for need in wanted]

        return outs, [], backward

    def push(self, primals: list[Any], tangents: list[Any]) -> tuple[list[Any], list[Any]]:
        moving = [i for i, t in enumerate(tangents) if t is not None]

        def pushed(*values: Any) -> tuple[Any, ...]:
            fixed, directions = list(values[: len(primals)]), values[len(primals) :]

            def along(*xs: Any) -> tuple[Any, ...]:
                for i, x in zip(moving, xs, strict=True):
                    fixed[i] = x
                return tuple(map(to_handle, self._run(fixed)))

            outs, derivatives = jvp(along, tuple(values[i] for i in moving), tuple(directions))
            return (*outs, *derivatives)

        found = self._derived(("push", tuple(moving)), pushed)(*primals, *[tangents[i] for i in moving])
        half = len(found) // 2
        return list(found[:half]), [
            t if is_inexact(to_handle(y)._value) else None for y, t in zip(found[:half], found[half:], strict=True)
        ]

    def batched(self, lanes: Lanes) -> Call:
        axes = tuple([0 if has else None for has in lanes.flags])

        def mapped(*values: Any) -> tuple[Any, ...]:
            results: tuple[Any, ...] = vmap(lambda *xs: tuple(map(to_handle, self._run(xs))), in_axes=axes)(*values)
            return results

        derived = self._derived(("batch", axes), mapped)
        count = len(self.dynamic)
        call = JitCall(derived, range(count), flatten((tuple(range(count)), {}))[1], range(count))
        call.name = self.name
        return call

    def _derived(self, key: Any, function: Callable[..., Any]) -> Jitted:
        """The compiled function of what a transform makes of this one."""
        derived, self._like = self.owner.derived(key, self, function)
        return derived
