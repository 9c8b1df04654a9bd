"""Graphs as JAX functions, so that a program can go where XLA goes: a GPU, a TPU, a mesh of many devices."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from pullback.compile.export.jax_rules.entry import Entry
from pullback.ops.lowering import Expansion
from pullback.ops.table import Op
from pullback.tape.node import Handle, LeafMark, leaf_mark, new_handle
from pullback.tensor.random import get_rng_state
from pullback.transforms.forward import push
from pullback.transforms.trace import Trace, trace
from pullback.transforms.tree import Tree, flatten
from pullback.values.graph import Graph, Symbol

__all__ = ["export_jax"]

_NUMBERS: Final = (bool, int, float, complex)


def export_jax(f: Callable[..., Any]) -> Callable[..., Any]:
    """A JAX function that computes what `f` computes, to be jitted, differentiated, vectorised and sharded by JAX.

    It takes nested containers (`nn.Module`s too) of JAX arrays, NumPy arrays, Tensors and numbers, and gives JAX arrays
    in the containers of f's result. f is traced once for each structure of plain containers, shapes and dtypes (at
    every call, where an argument is a container of another kind), with its arguments unknown: arrays and modules that
    it takes from elsewhere are constants, and what it prints or counts happens then. As under `jax.jit`, an index out
    of range and a matrix that can't be factorised raise nothing; and the dtype of every result is pullback's.

    `jax.grad` of the result, and every other derivative that JAX takes, follows pullback's rules, kinks included; a
    gradient taken inside, as in `pb.export_jax(pb.grad(f))`, is part of the graph.

    Without `jax_enable_x64`, JAX halves 64-bit arguments, and integers have 32 bits throughout; floats of 64 bits that
    arise inside f, from its constants say, raise `TypeError`, as do element types that NumPy lacks. Raises
    `NotImplementedError` where f draws random numbers, or for an op that JAX can't express, naming it.

    >>> import jax
    >>> import numpy as np
    >>> import pullback as pb
    >>> rosenbrock = pb.export_jax(lambda x, y: (1 - x) ** 2 + 100 * (y - x**2) ** 2)
    >>> jax.jit(jax.grad(rosenbrock, argnums=(0, 1)))(np.float32(1.0), np.float32(2.0))
    (Array(-400., dtype=float32), Array(200., dtype=float32))
    """
    traces: dict[Any, Trace] = {}

    @functools.wraps(f, updated=())
    def exported(*args: Any, **kwargs: Any) -> Any:
        leaves, tree = flatten((args, kwargs) if kwargs else args)
        arrays = [_argument(leaf) for leaf in leaves]
        given = [_stand_in(leaf, array) for leaf, array in zip(leaves, arrays, strict=True)]
        layout = _layout(tree)
        key = (layout, tuple(_kind(x) for x in given))
        traced = traces.get(key) if layout is not None else None
        if traced is None:
            traced = _traced(f, tree.unflatten(given), bool(kwargs))
            if layout is not None:
                traces[key] = traced
        outputs = run(traced.graph, arrays)
        return traced.out_tree.unflatten(outputs[: traced.out_tree.size])

    return exported


def _traced(f: Callable[..., Any], arguments: Any, by_name: bool) -> Trace:
    before = get_rng_state()
    traced = trace(lambda args, kwargs: f(*args, **kwargs), *arguments) if by_name else trace(f, *arguments)
    if not np.array_equal(before.numpy(), get_rng_state().numpy()):
        raise _unknown("draws random numbers, which would be the same at every call: draw them by jax.random outside")
    return traced


def _unknown(what: str) -> NotImplementedError:
    return NotImplementedError(f"export_jax: the function {what}")


# Arguments


def _argument(leaf: Any) -> Any:
    """The JAX array of an argument."""
    import jax.numpy as jnp

    if isinstance(leaf, Handle):
        place, leaf = leaf._node, leaf._value
        if not isinstance(leaf, np.ndarray | np.generic) or (place is not None and place is not leaf_mark(place.level)):
            raise TypeError(
                "export_jax: pullback's transforms end at an exported function; differentiate it by JAX's, or detach() "
                "its arguments"
            )
    try:
        array = jnp.asarray(leaf)
        known = np.dtype(array.dtype).kind in "biufc"
    except TypeError:
        known = False
    if not known:
        raise TypeError(f"export_jax: expected arrays and numbers, got {leaf!r}; give other arguments by a closure")
    return array


def _stand_in(leaf: Any, array: Any) -> Any:
    """What an argument is traced with: its shape and dtype; a number; a Tensor, which may require a gradient."""
    if type(leaf) in _NUMBERS:
        return leaf
    zeros = np.broadcast_to(np.zeros((), array.dtype), array.shape)
    if not isinstance(leaf, Handle):
        return zeros
    return new_handle(zeros, leaf._node if type(leaf._node) is LeafMark else None)


def _kind(x: Any) -> Any:
    if type(x) in _NUMBERS:
        return type(x)
    return tuple(x.shape), np.dtype(x.dtype), isinstance(x, Handle) and (x._node is not None, True)


def _layout(tree: Tree) -> Any:
    """The containers as something hashable; None where one has contents that are not leaves."""
    if tree.rebuild is None:
        return "leaf"
    if not (tree.kind in (tuple, list, dict, type(None)) or issubclass(tree.kind or object, tuple)):
        return None
    children = tuple(map(_layout, tree.children))
    if None in children:
        return None
    return tree.kind, tuple(tree.rest[1]) if tree.kind is dict else None, children


# Running a graph


@functools.cache
def table() -> dict[str, Entry]:
    """What each op is in JAX, by its name."""
    from pullback.compile.export.jax_rules.arrays import array_entries
    from pullback.compile.export.jax_rules.elementwise import elementwise_entries
    from pullback.compile.export.jax_rules.layers import layer_entries
    from pullback.compile.export.jax_rules.matrices import matrix_entries

    return elementwise_entries() | array_entries() | matrix_entries() | layer_entries()


def run(graph: Graph, arrays: Sequence[Any]) -> list[Any]:
    """The outputs of a graph at JAX arrays."""
    import jax.numpy as jnp

    known: dict[int, Any] = {}
    for symbol, array in zip(graph.inputs, arrays, strict=True):
        known[symbol.index] = array.astype(_held(symbol.dtype, "an argument", symbol.weak))

    def read(value: Any) -> Any:
        return known[value.index] if isinstance(value, Symbol) else value

    for step in graph.instructions:
        call = _Call(step.op, step.params, tuple(_dtype_of(arg) for arg in step.args), step.outputs)
        results = call.apply([read(arg) for arg in step.args])
        known.update(zip((symbol.index for symbol in step.outputs), results, strict=True))
    return [jnp.asarray(_constant(read(output))) for output in graph.outputs]


def _dtype_of(arg: Any) -> Any:
    """How an operand takes part in promotion: by its dtype, or as a Python number."""
    return arg.dtype if isinstance(arg, Symbol | np.ndarray | np.generic) else arg


def _held(dtype: np.dtype[Any], what: str, weak: bool = False) -> Any:
    """The dtype that JAX has for values of a dtype of the graph. Raises `TypeError` if it would drop half of a float,
    other than a Python number (`weak`)."""
    from jax import dtypes

    held = dtypes.canonicalize_dtype(dtype)
    if held != dtype and dtype.kind in "fc" and not weak:
        raise TypeError(
            f"export_jax: {what} is {dtype}, which JAX has only after jax.config.update('jax_enable_x64', True); "
            f"or have the function compute in {held}: look for constants of NumPy's default dtype and for "
            "integers that meet floats"
        )
    return held


def _constant(value: Any) -> Any:
    """A constant of the graph as JAX may hold it."""
    if isinstance(value, np.ndarray | np.generic):
        held = _held(value.dtype, "a constant")
        if held != value.dtype:
            limits = np.iinfo(held)
            if value.size and (value.min() < limits.min or value.max() > limits.max):
                raise OverflowError(f"export_jax: an integer constant does not fit into {held}; enable jax_enable_x64")
            return value.astype(held)
    return value


class _Call(NamedTuple):
    """An op with its parameters, the dtypes of its operands (or Python numbers), and its results' symbols."""

    op: Op
    params: dict[str, Any]
    kinds: tuple[Any, ...]
    outputs: tuple[Symbol, ...]

    def apply(self, operands: Sequence[Any]) -> tuple[Any, ...]:
        """The results at operands, which are JAX arrays, constants and Python numbers."""
        import jax
        from jax.custom_derivatives import SymbolicZero

        operands = [_constant(x) for x in operands]
        entry = table().get(self.op.name)
        places = [i for i, x in enumerate(operands) if isinstance(x, jax.Array)]
        if self.op.family == "effect":
            raise _unknown(f"draws random numbers or prints ({self.op.name})")
        if not places:
            results = self.op.evaluate(*operands, **self.params)
            return results if isinstance(results, tuple) else (results,)
        own = self.op.family in ("elementwise", "general")
        if entry is not None and (entry.native or not own):
            return self._evaluate(entry, operands)

        def filled(arrays: Sequence[Any]) -> list[Any]:
            found = list(operands)
            for i, array in zip(places, arrays, strict=True):
                found[i] = array
            return found

        arrays = [operands[i] for i in places]
        if entry is None:
            return self._expanded(arrays, filled)

        def evaluate(*arrays: Any) -> tuple[Any, ...]:
            return self._evaluate(entry, filled(arrays))

        def rule(arrays: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
            results = self._evaluate(entry, filled(arrays))
            moving = {i: t for i, t in zip(places, tangents, strict=True) if not isinstance(t, SymbolicZero)}
            return results, self._tangents(entry, results, filled(arrays), moving)

        call: Callable[..., tuple[Any, ...]] = jax.custom_jvp(evaluate)
        call.defjvp(rule, symbolic_zeros=True)  # type: ignore[attr-defined]
        return call(*arrays)

    def _evaluate(self, entry: Entry, operands: Sequence[Any]) -> tuple[Any, ...]:
        """The results by the expression in JAX."""
        import jax.numpy as jnp

        if entry.meets:
            common = _held(np.result_type(*self.kinds), self.op.name, weak=all(y.weak for y in self.outputs))
            operands = [x if isinstance(x, _NUMBERS) else jnp.asarray(x, common) for x in operands]
        held = [_held(y.dtype, f"the result of {self.op.name}", y.weak) for y in self.outputs]
        results = entry.rule(*operands, **self.params)
        results = results if isinstance(results, tuple) else (results,)
        return tuple(jnp.asarray(y).astype(dtype) for y, dtype in zip(results, held, strict=True))

    def _tangents(
        self, entry: Entry, results: Sequence[Any], operands: Sequence[Any], moving: dict[int, Any]
    ) -> tuple[Any, ...]:
        """The tangents of the results, from those of some operands."""
        import jax
        import jax.numpy as jnp

        if entry.push is not None:
            pushed = [entry.push([moving.get(i) for i in range(len(operands))], *operands, **self.params)]
        else:
            pushed = self._pushed(results, operands, moving)
        found = []
        for y, t in zip(results, pushed, strict=True):
            if not jnp.issubdtype(y.dtype, jnp.inexact):
                found.append(np.zeros(y.shape, jax.dtypes.float0))
            else:
                found.append(jnp.zeros_like(y) if t is None else jnp.broadcast_to(t, y.shape).astype(y.dtype))
        return tuple(found)

    def _pushed(self, results: Sequence[Any], operands: Sequence[Any], moving: dict[int, Any]) -> list[Any]:
        """The tangents by the op's own rule, traced and run; None where they are 0."""
        import jax

        held = {i: x for i, x in enumerate(operands) if isinstance(x, jax.Array)}
        constants = dict(enumerate(operands))

        def derivative(tangents: list[Any], results: list[Any], arrays: list[Any]) -> Any:
            primals = list((constants | dict(zip(held, arrays, strict=True))).values())
            directions = dict(zip(moving, tangents, strict=True))
            y = tuple(results) if self.op.several else results[0]
            return push(self.op, y, primals, [directions.get(i) for i in range(len(primals))], self.params)

        leaves, tree = flatten(([*moving.values()], list(results), [*held.values()]))
        traced = trace(derivative, *tree.unflatten([new_handle(_stand_in(None, x)) for x in leaves]))
        found = iter(run(traced.graph, leaves))
        parts = traced.out_tree.children if self.op.several else (traced.out_tree,)
        return [next(found) if part.rebuild is None else None for part in parts]

    def _expanded(self, arrays: Sequence[Any], filled: Callable[[Sequence[Any]], list[Any]]) -> tuple[Any, ...]:
        """The results by other ops, where the op's lowering is written with them."""
        lower = self.op.lower

        def expansion(*xs: Any) -> Any:
            y = lower.rule(*filled(xs), **self.params) if isinstance(lower, Expansion) else NotImplemented
            if y is NotImplemented:
                raise _unknown(f"uses the op {self.op.name!r}, which has no expression in JAX")
            return y

        traced = trace(expansion, *(new_handle(_stand_in(None, x)) for x in arrays))
        return tuple(run(traced.graph, arrays))
