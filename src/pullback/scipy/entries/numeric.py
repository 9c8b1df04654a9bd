"""SciPy's solvers see numbers: functions of tensors as functions of arrays, and solutions back as tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pullback.tape.node import Handle, content, new_handle
from pullback.tape.state import no_grad
from pullback.tensor.conversion import numbers
from pullback.transforms.implicit import Solve, defined_by, dense_solve
from pullback.transforms.lifting import to_handle
from pullback.transforms.rerun import below, levels
from pullback.transforms.tree import flatten, map_leaves
from pullback.transforms.vmap import Batch

__all__ = ["attached", "elementwise_solve", "is_tracked", "on_numbers", "one_by_one", "plain", "vector"]


def plain(x: Any, what: str) -> Any:
    """The numbers of a container of tensors, arrays and numbers, whatever differentiates them.

    Raises `TypeError` if there are none: under `vmap`, or in a trace.
    """
    return map_leaves(lambda leaf: numbers(below(leaf, -1), what) if isinstance(leaf, Handle) else leaf, x)


def one_by_one(function: Callable[..., Any], *args: Any) -> Any:
    """`function` of tensors that may be in batches: called for one element after the other, the results stacked."""
    level = max((x.level for x in args if isinstance(x, Handle) and isinstance(x._value, Batch)), default=-1)
    if level < 0:
        return function(*args)
    inside = [isinstance(x, Handle) and x.level == level for x in args]
    values = [to_handle(x._value.value) if has else x for x, has in zip(args, inside, strict=True)]
    size = next(x.shape[0] for x, has in zip(values, inside, strict=True) if has)
    results = [
        one_by_one(function, *(x[i] if has else x for x, has in zip(values, inside, strict=True))) for i in range(size)
    ]
    stacked: Any = np.stack(list(map(to_handle, results)))
    return new_handle(Batch(content(stacked), level))


def is_tracked(x: Any) -> bool:
    """Whether anything in a container is differentiated."""
    return any(levels(leaf) for leaf in flatten(x)[0])


def on_numbers(f: Callable[..., Any], what: str) -> Callable[..., Any]:
    """`f` from numbers to numbers, for a solver."""

    def run(*args: Any, **kwargs: Any) -> Any:
        with no_grad():
            return plain(f(*args, **kwargs), what)

    return run


def vector(y: Any) -> Any:
    """What a function returned as one tensor or array: SciPy takes lists of numbers too."""
    if isinstance(y, Handle | np.ndarray | np.generic):
        return y
    if isinstance(y, list | tuple):
        parts: Sequence[Any] = [vector(part) for part in y]
        return np.stack(parts) if any(isinstance(part, Handle) for part in parts) else np.asarray(parts)
    return to_handle(y) if isinstance(y, Handle) else np.asarray(y)


def attached(residual: Callable[[Any], Any], x: Any, solve: Solve = dense_solve) -> Any:
    """`x`, at which `residual` is 0, with its derivatives as a tensor; as it is if there are none."""
    start = to_handle(np.asarray(x))
    (root,) = defined_by(lambda xs: [to_handle(vector(residual(xs[0]))).reshape(start.shape)], [start], solve, solve)
    return x if root is start else root


def elementwise_solve(matvec: Any, b: list[Any]) -> list[Any]:
    """Solve with a diagonal matrix."""
    return [y / d for y, d in zip(b, matvec([y * 0.0 + 1.0 for y in b]), strict=True)]
