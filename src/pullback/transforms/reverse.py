"""Reverse mode as a transform of functions: the tape, over any nesting of containers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pullback.ops.control import identity
from pullback.tape.engine import reach, walk
from pullback.tape.node import Handle, leaf_mark, new_handle, next_number, strip, wrap
from pullback.tape.state import enable_grad, modes
from pullback.transforms.forward import jvp
from pullback.transforms.lifting import as_operand, to_handle, unlike
from pullback.transforms.tree import Tree, flatten
from pullback.transforms.vmap import vmap

__all__ = ["grad", "hessian", "hvp", "jacfwd", "jacobian", "jacrev", "value_and_grad", "vjp"]

ArgNums = int | Sequence[int]


def _as_leaf(x: Any, name: str) -> Any:
    """A new place on the tape for an argument: derivatives are with respect to it and nothing it was computed from."""
    handle = as_operand(x, name)
    if handle._node is None:
        return new_handle(handle._value, leaf_mark(modes.depth))
    return identity(handle)


class _Recorded:
    """A function's run on tracked arguments: what came out, and the way back."""

    def __init__(self, f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], argnums: Sequence[int], name: str) -> None:
        self.since = next_number()
        self.arguments: list[Any] = []  # as the caller gave them
        self.leaves: list[Any] = []
        self.trees: list[Tree] = []
        inner = list(args)
        for i in argnums:
            try:
                found, tree = flatten(args[i])
            except IndexError:
                raise TypeError(f"{name}: argnums names argument {i}, but {len(args)} were given") from None
            handles = [_as_leaf(x, name) for x in found]
            self.arguments += found
            self.leaves += handles
            self.trees.append(tree)
            inner[i] = tree.unflatten(handles)
        self.result = f(*inner, **kwargs)

    def pull(self, outs: Sequence[Any], cotangents: Sequence[Any], retain: bool = False) -> list[Any]:
        """Cotangents of the leaves, as handles, from those of `outs`; differentiable if anything outside needs it."""
        pairs = [(o, g) for o, g in zip(outs, cotangents, strict=True) if isinstance(o, Handle) and o._node is not None]
        roots = [o for o, _ in pairs]
        needed, foreign = reach(roots, self.leaves, self.since)
        create = foreign or any(g._node is not None for _, g in pairs)
        raw = not create and all(isinstance(h._value, np.ndarray | np.generic) for pair in pairs for h in pair)
        gradients = [g._value if raw else g for _, g in pairs]
        _, arrived = walk(roots, gradients, self.leaves, retain or create, create, needed)
        return [
            new_handle(np.zeros(x.shape, x._value.dtype)) if g is None else wrap(g)
            for x, g in zip(self.leaves, arrived, strict=True)
        ]

    def rebuild(self, gradients: list[Any]) -> list[Any]:
        """Gradients in the containers of the arguments, NumPy's if these were."""
        back = unlike(self.arguments)
        ready = [back(g) for g in gradients]
        result = []
        start = 0
        for tree in self.trees:
            result.append(tree.unflatten(ready[start : start + tree.size]))
            start += tree.size
        return result

    def release(self, result: Any) -> Any:
        """A result as the caller may see it: without its place on this tape, unless something outside tracks it too."""
        back = unlike(self.arguments)
        leaves, tree = flatten(result)
        return tree.unflatten([back(self._outside(x)) if isinstance(x, Handle) else x for x in leaves])

    def _outside(self, x: Any) -> Any:
        if x._node is None:
            return x
        _, foreign = reach([x], self.leaves, self.since)
        return x if foreign else strip(x)


def _argnums(argnums: ArgNums) -> tuple[int, ...]:
    return (argnums,) if isinstance(argnums, int) else tuple(argnums)


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
    numbers = _argnums(argnums)

    @functools.wraps(f)
    def run(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        with enable_grad():
            record = _Recorded(f, args, kwargs, numbers, "grad")
            value, aux = record.result if has_aux else (record.result, None)
            if not isinstance(value, Handle):
                value = to_handle(value)
            if tuple(value.shape) != () and np.prod(value.shape) != 1:
                raise TypeError(
                    f"grad needs a function that returns one number, this one returned shape {tuple(value.shape)}; "
                    "reduce it (np.sum, .mean()), or use pb.jacobian"
                )
            if value._value.dtype.kind != "f":
                raise TypeError(f"grad needs a real floating-point result, this one is {value._value.dtype}")
            seed = new_handle(np.ones(tuple(value.shape), value._value.dtype)[()])
            found = record.rebuild(record.pull([value], [seed]))
            gradient = found[0] if isinstance(argnums, int) else tuple(found)
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
    both = value_and_grad(f, argnums, has_aux)

    @functools.wraps(f)
    def run(*args: Any, **kwargs: Any) -> Any:
        value, gradient = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return run


def vjp(f: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """Value of `f(*primals)`, and the function that pulls a cotangent of it back to cotangents of the primals.

    Returns `(value, pullback)`, or `(value, pullback, aux)` with `has_aux`. `pullback(cotangent)` takes a container like the
    value, and gives a tuple with a container like each primal; it can be called any number of times.

    >>> import numpy as np
    >>> import pullback as pb
    >>> value, pull = pb.vjp(np.multiply, 3.0, 4.0)
    >>> pull(1.0)
    (np.float64(4.0), np.float64(3.0))
    """
    with enable_grad():
        record = _Recorded(f, primals, {}, range(len(primals)), "vjp")
    result, aux = record.result if has_aux else (record.result, None)
    outs, out_tree = flatten(result)

    def pullback(cotangent: Any) -> tuple[Any, ...]:
        found, tree = flatten(cotangent)
        if not tree.same_as(out_tree):
            raise TypeError("vjp: the cotangent must have the structure of the function's result")
        gs = [
            as_operand(g, "vjp cotangent", like=to_handle(out)) for g, out in zip(found, outs, strict=True)
        ]
        with enable_grad():
            return tuple(record.rebuild(record.pull(outs, gs, retain=True)))

    value = record.release(result)
    return (value, pullback, record.release(aux)) if has_aux else (value, pullback)


def _basis(x: Any) -> Any:
    """The unit vectors of the space of `x`, along a new first axis."""
    size = int(np.prod(x.shape))
    return np.eye(size, dtype=x._value.dtype).reshape((size, *x.shape))


def _stack_jacobian(
    columns: Callable[[Any], Any], handles: list[Any]
) -> list[list[Any]]:
    """For each handle, what `columns` gives for each of its unit vectors (zeros elsewhere), batched in front."""
    blocks = []
    for i, x in enumerate(handles):

        def one(direction: Any, i: int = i) -> Any:
            return columns(
                [direction if j == i else np.zeros(tuple(h.shape), h._value.dtype) for j, h in enumerate(handles)]
            )

        blocks.append(vmap(one)(_basis(x)))
    return blocks


def jacrev(f: Callable[..., Any], argnums: ArgNums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The Jacobian by reverse mode: one backward pass, batched over the entries of the result.

    The result has the structure of f's result, each leaf holding the structure of the argument, each leaf of that of shape
    `result.shape + argument.shape` (and a tuple of these if `argnums` is a tuple). Cheapest when the result is smaller than
    the arguments.

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
            result, aux = record.result if has_aux else (record.result, None)
            outs, out_tree = flatten(result)
            handles = [to_handle(out) for out in outs]

            def rows(cotangents: list[Any]) -> list[Any]:
                return record.pull(handles, [to_handle(g) for g in cotangents], retain=True)

            blocks = []
            for out, found in zip(handles, _stack_jacobian(rows, handles), strict=True):
                shaped = [wrap(g).reshape((*out.shape, *g.shape[1:])) for g in map(to_handle, found)]
                parts = record.rebuild(shaped)
                blocks.append(parts[0] if isinstance(argnums, int) else tuple(parts))
            jacobian = out_tree.unflatten(blocks)
            return (jacobian, record.release(aux)) if has_aux else jacobian

    return run


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
        aux: Any = None
        out_tree: Any = None
        back = unlike(leaves)

        def at(xs: list[Any]) -> Any:
            nonlocal out_tree
            inner = list(args)
            rest = list(xs)
            for i, (found, tree) in zip(numbers, flat, strict=True):
                inner[i] = tree.unflatten(rest[: len(found)])
                rest = rest[len(found) :]
            result = f(*inner, **kwargs)
            result, extra = result if has_aux else (result, None)
            outs, out_tree = flatten(result)
            return outs, extra

        def columns(directions: list[Any]) -> Any:
            nonlocal aux
            _, tangents, aux = jvp(at, (handles,), (directions,), has_aux=True)
            return tangents

        blocks = _stack_jacobian(columns, handles)  # [argument leaf][result leaf], batch in front
        table = []
        for outs in zip(*blocks, strict=True):
            row = []
            for x, block in zip(handles, outs, strict=True):
                block = to_handle(block)
                shape = (*x.shape, *block.shape[1:])
                moved = wrap(block).reshape(shape)
                rank, own = len(shape), len(x.shape)
                row.append(back(moved.permute((*range(own, rank), *range(own)))))
            parts = []
            for found, tree in flat:
                parts.append(tree.unflatten(row[: len(found)]))
                row = row[len(found) :]
            table.append(parts[0] if isinstance(argnums, int) else tuple(parts))
        jacobian = out_tree.unflatten(table)
        return (jacobian, aux) if has_aux else jacobian

    return run


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

