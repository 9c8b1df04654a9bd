"""Reverse mode as a transform of functions: the tape, over any nesting of containers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from pullback.ops.control import identity
from pullback.tape.engine import explore, reach, walk
from pullback.tape.node import Handle, LeafMark, Node, edge_of, make, new_handle, next_number, set_node, strip, wrap
from pullback.tape.state import enable_grad, modes
from pullback.transforms.forward import jvp
from pullback.transforms.lifting import as_operand, run_program, to_handle, unlike
from pullback.transforms.tree import Tree, flatten, map_leaves
from pullback.transforms.vmap import vmap

__all__ = ["grad", "hessian", "hvp", "jacfwd", "jacobian", "jacrev", "value_and_grad", "vjp"]

ArgNums = int | Sequence[int]
_RAW = (np.ndarray, np.generic)
argument = identity.titled("ArgumentBackward0")  # a copy of a tracked argument: the place of that argument in a run


def _as_leaf(x: Any, name: str, retain: bool) -> Any:
    """A new place on the tape for an argument: derivatives are with respect to it and nothing it was computed from.

    With `retain` it has memory of its own, since the caller may write to the argument before it is pulled back to.
    """
    handle = as_operand(x, name)
    if retain and type(handle._value) is np.ndarray:
        handle = new_handle(handle._value.copy(), handle._node)
    place = handle._node
    if place is not None and place.level == modes.depth:
        return argument(handle)
    # What is tracked outside of the transform we are in becomes the payload of a leaf inside.
    return new_handle(handle._value if place is None else handle, LeafMark(modes.depth, next_number()))


def _copy(leaf: Any) -> Any:
    """What the function gets of a leaf: a value that it may write to. Until it does, the memory is the caller's."""
    value, place = leaf._value, leaf._node
    if type(place) is not LeafMark or isinstance(value, np.generic):  # a scalar is not written to
        return leaf
    if type(value) is np.ndarray:
        value = value.view()
        value.flags.writeable = False
    return new_handle(value, set_node(make(Node), argument, (leaf,), (None, None), None, level=place.level))


class _Recorded:
    """A function's run on tracked arguments: what came out, and the way back."""

    def __init__(
        self,
        f: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        argnums: Sequence[int],
        name: str,
        retain: bool = False,
    ) -> None:
        self.retain = retain  # the caller is given the way back and the result, and may write to its own arrays
        self.since = next_number()
        self.depth = modes.depth
        self.arguments: list[Any] = []  # as the caller gave them
        self.leaves: list[Any] = []
        self.trees: list[Tree] = []
        inner = list(args)
        for i in argnums:
            try:
                found, tree = flatten(args[i])
            except IndexError:
                raise TypeError(f"{name}: argnums names argument {i}, but {len(args)} were given") from None
            handles = [_as_leaf(x, name, retain) for x in found]
            self.arguments += found
            self.leaves += handles
            self.trees.append(tree)
            inner[i] = tree.unflatten([_copy(x) for x in handles])
        self.goals = [edge_of(x) for x in self.leaves]
        self.back = unlike(self.arguments)
        self.result = run_program(f, inner, kwargs, self.arguments)

    def is_outside(self, edge: Any) -> bool:
        """Whether a node was recorded, or a leaf made, before this run."""
        if isinstance(edge, Node):
            return edge.seq < self.since
        place = edge._node
        return place is not None and not (type(place) is LeafMark and place.since >= self.since)

    def pull(self, outs: Sequence[Any], cotangents: Sequence[Any], retain: bool = False, raw: bool = True) -> list[Any]:
        """Cotangents of the leaves, as handles, from those of `outs`; differentiable if anything outside needs it.

        Numbers alone are walked with as arrays, unless `raw` is False: the record may hold more than the results show.
        """
        roots = []
        gradients: list[Any] = []
        create = False
        for out, g in zip(outs, cotangents, strict=True):
            if isinstance(out, Handle) and out._node is not None and out._node.level == self.depth:
                roots.append(edge_of(out))
                gradients.append(g)
                create = create or g._node is not None
                raw = raw and isinstance(out._value, _RAW) and isinstance(g._value, _RAW)
        needed, foreign = explore(roots, self.goals, self.is_outside)
        if foreign:
            create, needed = True, reach(roots, self.goals)
        if raw and not create:
            gradients = [g._value for g in gradients]
        _, _, arrived = walk(roots, gradients, self.goals, retain or create, create, needed)
        return [
            new_handle(np.zeros(x._value.shape, x._value.dtype)) if g is None else wrap(g)
            for x, g in zip(self.leaves, arrived, strict=True)
        ]

    def rebuild(self, gradients: list[Any]) -> list[Any]:
        """Gradients in the containers of the arguments, NumPy's if these were."""
        seen: set[int] = set()
        for i, g in enumerate(gradients):
            value = g._value
            if id(value) in seen:  # one cotangent arrived at two arguments: each has a gradient of its own
                plain = g._node is None and isinstance(value, _RAW)
                gradients[i] = new_handle(value.copy()) if plain else wrap(identity(g))
            seen.add(id(value))
        ready = iter([self.back(g) for g in gradients])
        return [tree.unflatten([next(ready) for _ in range(tree.size)]) for tree in self.trees]

    def release(self, result: Any) -> Any:
        """A result as the caller may see it: without its place on this tape, unless something outside tracks it too."""
        leaves, tree = flatten(result)
        return tree.unflatten([self._own(self.back(self._outside(x))) if isinstance(x, Handle) else x for x in leaves])

    def _own(self, x: Any) -> Any:
        """An array that the caller may write to."""
        return x.copy() if type(x) is np.ndarray and (self.retain or not x.flags.writeable) else x

    def _outside(self, x: Any) -> Any:
        if x._node is None or explore([edge_of(x)], self.goals, self.is_outside)[1]:
            return x
        return strip(x)


def _argnums(argnums: ArgNums) -> tuple[int, ...]:
    return (argnums,) if isinstance(argnums, int) else tuple(argnums)


def _scalar_gradient(
    f: Callable[..., Any], argnums: ArgNums, has_aux: bool, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[_Recorded, Any, Any, Any]:
    """The run of a scalar function, its value and what else it returned, both still on the tape, and its gradient."""
    record = _Recorded(f, args, kwargs, _argnums(argnums), "grad")
    value, aux = _with_aux(record.result, has_aux, "grad")
    value = to_handle(value)
    shape, dtype = tuple(value.shape), value._value.dtype
    if shape and np.prod(shape) != 1:
        raise TypeError(
            f"grad needs a function that returns one number, this one returned shape {shape}; "
            "reduce it (np.sum, .mean()), or use pb.jacobian"
        )
    if dtype.kind != "f":
        raise TypeError(f"grad needs a real floating-point result, this one is {dtype}")
    seed = new_handle(np.ones(shape, dtype) if shape else np.dtype(dtype).type(1))
    found = record.rebuild(record.pull([value], [seed]))
    return record, value, aux, found[0] if isinstance(argnums, int) else tuple(found)


def _with_aux(result: Any, has_aux: bool, name: str) -> tuple[Any, Any]:
    if not has_aux:
        return result, None
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(f"{name}: with has_aux the function returns a pair (value, aux), not {type(result).__name__}")
    return result


def value_and_grad(
    f: Callable[..., Any], argnums: ArgNums = 0, has_aux: bool = False
) -> Callable[..., tuple[Any, Any]]:
    """A function that gives the value of a scalar function and its gradient in one forward and one backward pass.

    `argnums` names the arguments to differentiate (a tuple gives a tuple of gradients); each may be a nested container
    of float arrays, numbers or Tensors, and its gradient has the same structure, shapes and dtypes. With `has_aux`, f
    returns `(value, aux)` and the result is `((value, aux), gradient)`. Results are NumPy's if the differentiated
    arguments were. Raises `TypeError` for integer arguments or a result that is not one number.

    >>> import numpy as np
    >>> import pullback as pb
    >>> pb.value_and_grad(lambda x: np.sum(x**2))(np.array([1.0, 2.0]))
    (np.float64(5.0), array([2., 4.]))
    """

    @functools.wraps(f)
    def run(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        with enable_grad():
            record, value, aux, gradient = _scalar_gradient(f, argnums, has_aux, args, kwargs)
            value = record.release(value)
            return ((value, record.release(aux)), gradient) if has_aux else (value, gradient)

    return run


def grad(f: Callable[..., Any], argnums: ArgNums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The gradient of a scalar function, as a function; see `value_and_grad`. With `has_aux`: `(gradient, aux)`.

    >>> import numpy as np
    >>> import pullback as pb
    >>> pb.grad(np.sin)(0.0)
    np.float64(1.0)
    >>> pb.grad(pb.grad(lambda x: x**3))(2.0)
    np.float64(12.0)
    """

    @functools.wraps(f)
    def run(*args: Any, **kwargs: Any) -> Any:
        with enable_grad():
            record, _, aux, gradient = _scalar_gradient(f, argnums, has_aux, args, kwargs)
            return (gradient, record.release(aux)) if has_aux else gradient

    return run


def vjp(f: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """Value of `f(*primals)`, and the function that pulls a cotangent of it back to cotangents of the primals.

    Returns `(value, pullback)`, or `(value, pullback, aux)` with `has_aux`. `pullback(cotangent)` takes a container
    like the value, and gives a tuple with a container like each primal; it can be called any number of times.

    >>> import numpy as np
    >>> import pullback as pb
    >>> value, pull = pb.vjp(np.multiply, 3.0, 4.0)
    >>> pull(1.0)
    (np.float64(4.0), np.float64(3.0))
    """
    with enable_grad():
        record = _Recorded(f, primals, {}, range(len(primals)), "vjp", retain=True)
    result, aux = _with_aux(record.result, has_aux, "vjp")
    outs, out_tree = flatten(result)

    def pullback(cotangent: Any) -> tuple[Any, ...]:
        found, tree = flatten(cotangent)
        if not tree.same_as(out_tree):
            raise TypeError("vjp: the cotangent must have the structure of the function's result")
        gs = [as_operand(g, "vjp cotangent", like=to_handle(out)) for g, out in zip(found, outs, strict=True)]
        with enable_grad():
            return tuple(record.rebuild(record.pull(outs, gs, retain=True)))

    value = record.release(result)
    return (value, pullback, record.release(aux)) if has_aux else (value, pullback)


def _basis(xs: Sequence[Any]) -> tuple[list[Any], list[int]]:
    """The unit vectors of the space of all of `xs` together, along a new first axis, and where each one's begin and
    end.
    """
    sizes = [int(np.prod(x.shape)) for x in xs]
    bounds = [0, *np.cumsum(sizes).tolist()]
    units = []
    for x, start, size in zip(xs, bounds, sizes, strict=False):
        block = np.zeros((bounds[-1], size), x._value.dtype)
        np.fill_diagonal(block[start:], 1)
        units.append(new_handle(block.reshape((bounds[-1], *x.shape))))
    return units, bounds


def jacrev(f: Callable[..., Any], argnums: ArgNums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The Jacobian by reverse mode: one backward pass, batched over the entries of the result.

    The result has the structure of f's result, each leaf holding the structure of the argument, each leaf of that of
    shape `result.shape + argument.shape` (and a tuple of these if `argnums` is a tuple). Cheapest when the result is
    smaller than the arguments.

    >>> import numpy as np
    >>> import pullback as pb
    >>> pb.jacrev(lambda x: x**2)(np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """
    numbers = _argnums(argnums)

    @functools.wraps(f)
    def run(*args: Any, **kwargs: Any) -> Any:
        with enable_grad():
            record = _Recorded(f, args, kwargs, numbers, "jacrev")
            result, aux = _with_aux(record.result, has_aux, "jacrev")
            outs, out_tree = flatten(result)
            handles = [to_handle(out) for out in outs]
            units, bounds = _basis(handles)
            rows = vmap(lambda *gs: record.pull(handles, gs, retain=True))(*units)  # [argument leaf], results in front
            blocks = []
            for out, (start, stop) in zip(handles, pairwise(bounds), strict=True):
                parts = record.rebuild([_block(row, start, stop, (*out.shape, *row.shape[1:])) for row in rows])
                blocks.append(parts[0] if isinstance(argnums, int) else tuple(parts))
            jacobian = out_tree.unflatten(blocks)
            return (jacobian, record.release(aux)) if has_aux else jacobian

    return run


def _block(rows: Any, start: int, stop: int, shape: tuple[int, ...]) -> Any:
    """Some of the rows of a matrix of derivatives, in another shape."""
    if stop - start < rows.shape[0]:
        rows = rows[start:stop]
    return rows.reshape(shape)


def jacfwd(f: Callable[..., Any], argnums: ArgNums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The Jacobian by forward mode: one forward pass, batched over the entries of the arguments.

    Laid out as `jacrev`'s. Cheapest when the arguments are smaller than the result.
    """
    numbers = _argnums(argnums)

    @functools.wraps(f)
    def run(*args: Any, **kwargs: Any) -> Any:
        flat = [flatten(args[i]) for i in numbers]
        leaves = [x for found, _ in flat for x in found]
        handles = [as_operand(x, "jacfwd") for x in leaves]
        units, bounds = _basis(handles)
        back = unlike(leaves)
        aux: Any = None
        out_tree: Any = None

        def at(*xs: Any) -> Any:
            nonlocal out_tree
            inner = list(args)
            rest = iter(xs)
            for i, (found, tree) in zip(numbers, flat, strict=True):
                inner[i] = tree.unflatten([next(rest) for _ in found])
            result, extra = _with_aux(run_program(f, inner, kwargs, leaves), has_aux, "jacfwd")
            outs, out_tree = flatten(result)
            return outs, extra

        def push(*tangents: Any) -> Any:
            nonlocal aux
            _, derivatives, aux = jvp(at, handles, tangents, has_aux=True)
            aux = map_leaves(lambda x: back(x) if isinstance(x, Handle) else x, aux)
            return derivatives

        columns = vmap(push)(*units)  # [result leaf], arguments in front
        table = []
        for column in map(to_handle, columns):
            rank = len(column.shape)
            shape = tuple(column.shape)[1:]
            column = column.permute((*range(1, rank), 0))  # arguments last
            row = [
                back(_columns(column, start, stop, (*shape, *x.shape)))
                for x, (start, stop) in zip(handles, pairwise(bounds), strict=True)
            ]
            rest = iter(row)
            parts = [tree.unflatten([next(rest) for _ in found]) for found, tree in flat]
            table.append(parts[0] if isinstance(argnums, int) else tuple(parts))
        jacobian = out_tree.unflatten(table)
        return (jacobian, aux) if has_aux else jacobian

    return run


def _columns(matrix: Any, start: int, stop: int, shape: tuple[int, ...]) -> Any:
    if stop - start < matrix.shape[-1]:
        matrix = matrix[..., start:stop]
    return matrix.reshape(shape)


jacobian = jacrev


def hessian(f: Callable[..., Any], argnums: ArgNums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The matrix of second derivatives of a scalar function: forward over reverse mode.

    >>> import pullback as pb
    >>> import numpy as np
    >>> pb.hessian(lambda x: x[0] ** 2 * x[1])(np.array([1.0, 3.0]))
    array([[6., 2.],
           [2., 0.]])
    """
    return jacfwd(jacrev(f, argnums, has_aux), argnums, has_aux)


def hvp(f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """The Hessian of the scalar function `f` at `primals` times `tangents`, without forming the matrix.

    Both are tuples of containers, one for each argument; the result is a container like the first argument if there is
    one argument, else a tuple.

    >>> import numpy as np
    >>> import pullback as pb
    >>> pb.hvp(lambda x: np.sum(x**3), (np.array([1.0, 2.0]),), (np.array([1.0, 0.0]),))
    array([6., 0.])
    """
    numbers: ArgNums = 0 if len(primals) == 1 else tuple(range(len(primals)))
    return jvp(grad(f, numbers), tuple(primals), tuple(tangents))[1]
