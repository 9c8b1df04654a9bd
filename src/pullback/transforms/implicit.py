"""Derivatives of what an equation defines: the implicit function theorem, for any solver.

If `f(x, θ) = 0` defines `x(θ)`, then `∂f/∂x · dx = -∂f/∂θ · dθ`: the derivatives of x need a linear solve, and nothing
of how x was found. `defined_by` puts this rule on a solution, at every level that tracks θ, reverse and forward; the
linear solve in it is a solution that an equation defines again, which gives derivatives of every order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pullback.ops.control import stop_gradient as stop_gradient_op
from pullback.ops.shape import broadcast_to, transpose
from pullback.tape.node import Handle, Projection, content, edge_of, new_handle, next_number, payload, strip, wrap
from pullback.tape.state import enable_grad, modes, nested
from pullback.transforms.calls import Pulling, VjpCall, attach_results, bind, is_at
from pullback.transforms.custom import stop_gradient
from pullback.transforms.forward import Dual, jvp
from pullback.transforms.lifting import to_handle, unlike
from pullback.transforms.rerun import RerunNode, below, captured, levels
from pullback.transforms.reverse import _Recorded
from pullback.transforms.tree import Tree, flatten, map_leaves
from pullback.transforms.vmap import Batch, vmap

__all__ = ["custom_linear_solve", "custom_root", "defined_by", "dense_solve"]

Values = list[Any]  # handles
Map = Callable[[Values], Values]
Solve = Callable[[Map, Values], Values]  # (linear map, right-hand side) -> solution


def custom_root(
    f: Callable[[Any], Any],
    initial_guess: Any,
    solve: Callable[[Callable[[Any], Any], Any], Any],
    tangent_solve: Callable[[Callable[[Any], Any], Any], Any],
    has_aux: bool = False,
) -> Any:
    """A root of `f`, found by `solve`, with the derivatives of the root in whatever `f` closes over.

    `solve(f, initial_guess)` gives x with `f(x) = 0`, a container like the guess, as is the result of `f`; it may be
    any code, and is not differentiated. `tangent_solve(g, y)` solves `g(x) = y` for a linear function g: the derivative
    of `f` at the root in forward mode, its transpose in reverse mode. Reverse and forward mode, to any order; under
    `vmap` if `solve` and `tangent_solve` can be. With `has_aux`, `solve` gives `(x, aux)`, and so does this.

    >>> import numpy as np
    >>> import pullback as pb
    >>> def newton(f, x):
    ...     for _ in range(20):
    ...         x = x - f(x) / pb.grad(f)(x)
    ...     return x
    >>> root = lambda a: pb.custom_root(lambda x: x**3 - a, 1.0, newton, lambda g, y: y / g(1.0))
    >>> round(root(8.0), 12), round(pb.grad(root)(8.0), 12)
    (np.float64(2.0), np.float64(0.083333333333))
    """
    guess, tree = flatten(initial_guess)
    constant = _frozen(f)
    with nested():
        found = solve(constant, stop_gradient(initial_guess))
    found, aux = found if has_aux else (found, None)
    x, residual = _solution(found, tree, "solve"), _on_leaves(f, tree, "f")
    tangent = _solver(tangent_solve, tree, "tangent_solve")
    result = _returned(defined_by(residual, x, tangent, tangent), tree, [*guess, *flatten(found)[0]])
    return (result, stop_gradient(aux)) if has_aux else result


def custom_linear_solve(
    matvec: Callable[[Any], Any],
    b: Any,
    solve: Callable[[Callable[[Any], Any], Any], Any],
    transpose_solve: Callable[[Callable[[Any], Any], Any], Any] | None = None,
    symmetric: bool = False,
    has_aux: bool = False,
) -> Any:
    """The solution of `matvec(x) = b` that `solve(matvec, b)` finds, with derivatives in b and what `matvec` closes
    over.

    `matvec` is linear; x, b and its result are containers of one structure. `solve` may be any code, and is not
    differentiated. Reverse mode needs `transpose_solve(vecmat, b)`, which solves with the transpose; for a `symmetric`
    `matvec` that is `solve` itself. Reverse and forward mode, to any order; under `vmap` if the solvers can be. With
    `has_aux`, the solvers give `(x, aux)`, and so does this. Raises `TypeError` for reverse mode without
    `transpose_solve`.

    >>> import numpy as np
    >>> import pullback as pb
    >>> halve = lambda matvec, b: b / matvec(1.0)
    >>> x = lambda a: pb.custom_linear_solve(lambda x: a * x, 3.0, halve, symmetric=True)
    >>> x(2.0), pb.grad(x)(2.0)
    (np.float64(1.5), np.float64(-0.75))
    """
    leaves, tree = flatten(b)
    constant = _frozen(matvec)
    with nested():
        found = solve(constant, stop_gradient(b))
    found, aux = found if has_aux else (found, None)
    forth = _solver(solve, tree, "solve", has_aux)
    back = forth if symmetric else _solver(transpose_solve or _no_transpose, tree, "transpose_solve", has_aux)
    x = _linear(
        _on_leaves(matvec, tree, "matvec"), list(map(to_handle, leaves)), forth, back, _solution(found, tree, "solve")
    )
    result = _returned(x, tree, [*leaves, *flatten(found)[0]])
    return (result, stop_gradient(aux)) if has_aux else result


def _no_transpose(vecmat: Any, b: Any) -> Any:
    raise TypeError(
        "custom_linear_solve: reverse mode needs transpose_solve(vecmat, b), which solves with the transpose of "
        "matvec; for a symmetric matvec say symmetric=True"
    )


def dense_solve(matvec: Map, b: Values) -> Values:
    """The solution of `matvec(x) = b` through the matrix of `matvec`, for right-hand sides of any shapes.

    Itself made of ops, at the cost of as many products as b has entries, batched, and one dense solve.
    """
    sizes = [int(np.prod(x.shape)) for x in b]
    bounds = np.cumsum([0, *sizes])
    dtype = np.result_type(*(x._value.dtype for x in b))
    eye = np.eye(int(bounds[-1]), dtype=dtype)

    def split(flat: Any) -> Values:
        parts = zip(b, bounds[:-1], bounds[1:], strict=True)
        return [flat[..., start:stop].reshape(tuple(flat.shape)[:-1] + tuple(x.shape)) for x, start, stop in parts]

    def join(xs: Values) -> Any:
        return _concatenate([x.reshape(-1) for x in xs])

    rows = vmap(lambda unit: join(matvec(split(unit))))(new_handle(eye))
    return split(np.linalg.solve(rows.permute(1, 0), join(b)[:, None])[:, 0])


def _concatenate(xs: Values) -> Any:
    return np.concatenate(xs) if len(xs) > 1 else xs[0]


# Containers as lists of leaves


def _on_leaves(f: Callable[[Any], Any], tree: Tree, name: str) -> Map:
    return lambda xs: _solution(f(tree.unflatten(xs)), tree, name)


def _solver(solve: Callable[..., Any], tree: Tree, name: str, has_aux: bool = False) -> Solve:
    def run(matvec: Map, b: Values) -> Values:
        found = solve(lambda x: tree.unflatten(matvec(_solution(x, tree, name))), tree.unflatten(b))
        return _solution(found[0] if has_aux else found, tree, name)

    return run


def _solution(x: Any, tree: Tree, name: str) -> Values:
    leaves, found = flatten(x)
    if not found.same_as(tree):
        raise TypeError(f"{name} must give a container like that of the unknown, or the right-hand side")
    return list(map(to_handle, leaves))


def _returned(x: Values, tree: Tree, given: Sequence[Any]) -> Any:
    return tree.unflatten(list(map(unlike(given), x)))


# The rule


def defined_by(f: Map, x: Values, tangent_solve: Solve, transpose_solve: Solve) -> Values:
    """`x`, a constant with `f(x) = 0`, with the derivatives that it has as a root of `f`.

    `f` takes and gives values of the shapes of x. `tangent_solve(g, y)` and `transpose_solve(g, y)` solve `g(u) = y`
    for the linear map g that is the derivative of `f` at the root, and its transpose.
    """
    for level in sorted(set().union(*map(levels, f(x)))):
        attach = _on_tape if level & 1 else _as_duals
        x = attach(f, x, level, tangent_solve, transpose_solve)
    return x


def _linear(matvec: Map, b: Values, solve: Solve, transpose_solve: Solve, x: Values | None = None) -> Values:
    """The solution of `matvec(x) = b`, as what that equation defines; `x` if it is known."""
    if x is None:
        constant = _frozen(matvec)
        with nested():
            x = solve(constant, list(map(stop_gradient_op, b)))
        x = list(map(stop_gradient_op, x))
    return defined_by(lambda xs: [y - r for y, r in zip(matvec(xs), b, strict=True)], x, solve, transpose_solve)


def _frozen(f: Callable[[Any], Any], low: int = -1) -> Callable[[Any], Any]:
    """`f` with what it closes over being constant above level `low`.

    Transforms are not blind to its argument if they are deeper than this call, within `nested()`.
    """
    freeze = _Freeze(low, 2 * modes.depth + 1)

    def run(x: Any) -> Any:
        return map_leaves(freeze, f(map_leaves(freeze, x)))  # cotangents leave by the argument

    return run


class _Freeze:
    """The identity, but constant at levels above `low` up to `high`."""

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high

    def __call__(self, x: Any) -> Any:
        if not isinstance(x, Handle) or x.level <= self.high:
            return below(x, self.low)
        value = x._value
        if x._node is not None:
            return bind(VjpCall("Freeze", self._all, self._rule), [x])[0] if modes.grad else self(strip(x))
        if isinstance(value, Dual):
            primal, tangent = map(self, map(to_handle, (value.primal, value.tangent)))
            return new_handle(Dual(content(primal), content(tangent), value.level))
        return new_handle(Batch(content(self(to_handle(value.value))), value.level))

    def _all(self, xs: Values) -> Values:
        return list(map(self, xs))

    def _rule(self, args: Values, wanted: Sequence[bool], level: int, create_graph: bool) -> Pulling:
        return args if create_graph else self._all(args), [], lambda _, cotangents: self._all(cotangents)


def _derivative(f: Map, x: Values) -> Map:
    return lambda vs: list(jvp(lambda *xs: tuple(f(list(xs))), tuple(x), tuple(vs))[1])


def _transposed(f: Map, x: Values) -> Map:
    """The transpose of the derivative of `f` at `x`."""
    with nested(), enable_grad():
        record = _Recorded(lambda *xs: tuple(f(list(xs))), tuple(x), {}, range(len(x)), "implicit function")

    def pull(gs: Values) -> Values:
        with enable_grad():
            return record.pull(record.result, gs, retain=True, raw=False)  # what was frozen had more to it

    return pull


def _as_duals(f: Map, x: Values, level: int, tangent_solve: Solve, transpose_solve: Solve) -> Values:
    """`x` with its tangents at `level`."""
    lower = _frozen(f, level - 1)
    results = _frozen(f, level)(x)
    batches = _Batches([*results, *x], level)
    rhs = []
    for v, r in zip(x, map(batches.leave, results), strict=True):
        dual = r._value if r.level == level else None
        rhs.append(-batches.enter(to_handle(dual.tangent)) if dual is not None else v * 0.0)
    tangents = _linear(_derivative(lower, x), rhs, tangent_solve, transpose_solve)
    return [
        batches.enter(new_handle(Dual(content(batches.leave(v)), content(batches.leave(t)), level)))
        for v, t in zip(x, tangents, strict=True)
    ]


def _on_tape(f: Map, x: Values, level: int, tangent_solve: Solve, transpose_solve: Solve) -> Values:
    """`x` at its place on the tape of `level`, a node whose edges are all that `f` depends on there."""
    here, lower = _frozen(f, level), _frozen(f, level - 1)
    since = next_number()
    results = here(x)
    batches = _Batches([*results, *x], level)
    places = [edge_of(r) for r in map(batches.leave, results) if is_at(r, level >> 1)]
    edges = captured(places, since)
    held = list(map(batches.leave, x))

    def again(node: RerunNode, cotangents: Values, create_graph: bool) -> tuple[Values, Values]:
        root, at = x, lower
        if create_graph:
            count = len(held)
            tracked = [
                new_handle(payload(v), Projection(node, i, count) if count > 1 else node) for i, v in enumerate(held)
            ]
            root, at = list(map(batches.enter, tracked)), here

        def solve(*gs: Any) -> tuple[Any, ...]:
            return tuple(_linear(_transposed(at, root), list(gs), transpose_solve, tangent_solve))

        return [batches.leave(r) for r in here(root)], [-u for u in batches.apply(solve, cotangents)]

    node = RerunNode("ImplicitFunction", edges, held, level >> 1, again)
    return [batches.enter(v) for v in attach_results(node, held, [])]


class _Batches:
    """The batches around what a tape or a dual number holds: those above `level` that some of `xs` are in."""

    def __init__(self, xs: Sequence[Any], level: int) -> None:
        self.sizes: dict[int, int] = {}  # by level, the innermost, which is the highest, first
        for x in xs:
            while x.level > level:
                self.sizes[x.level] = x._value.value.shape[0]
                x = to_handle(x._value.value)
        self.levels = sorted(self.sizes, reverse=True)

    def leave(self, x: Any) -> Any:
        """What the batches hold of `x`, their axes in front."""
        for level in self.levels:
            if x.level == level:
                x = to_handle(x._value.value)
            else:
                x = wrap(broadcast_to(x, shape=(self.sizes[level], *x.shape)))
        return x

    def enter(self, x: Any) -> Any:
        """The opposite."""
        for level in reversed(self.levels):
            x = new_handle(Batch(content(x), level))
        return x

    def apply(self, function: Callable[..., tuple[Any, ...]], gs: Values) -> Values:
        """`function`, linear, of values with the axes of the batches in front.

        The values may be in batches of their own, made since: these go further in.
        """
        others: list[int] = []
        axis = len(self.levels)
        while self.levels and (top := max(g.level for g in gs)) >= self.levels[-1]:
            own = _Batches([g for g in gs if g.level == top], top - 1)
            if top & 1 or own.levels != [top]:
                raise RuntimeError(
                    "the derivative of an implicit function under vmap is differentiated outside of that vmap in a way "
                    "that can't be told from it; move the vmap outside, or use reverse mode with create_graph"
                )
            gs = [_moved(own.leave(g), 0, axis + len(others)) for g in gs]
            others.append(top)
        run = function
        for _ in others:
            run = vmap(run)
        us = [self.leave(u) for u in run(*map(self.enter, gs))]
        for n, level in reversed(list(enumerate(others))):
            us = [new_handle(Batch(content(_moved(u, axis + n, 0)), level)) for u in us]
        return us


def _moved(x: Any, source: int, target: int) -> Any:
    order = list(range(len(x.shape)))
    order.insert(target, order.pop(source))
    return wrap(transpose(x, axes=tuple(order)))
